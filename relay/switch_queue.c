#include "relay/switch_queue.h"

#include <string.h>

#define HEADER_MAX 10 /* of an unmasked WebSocket frame */

void km_switch_pool_init(km_switch_pool *pool, const km_env *env, size_t max_bytes) {
  *pool = (km_switch_pool){.env = env, .max_bytes = max_bytes};
}

static void clear_spares(km_switch_pool *pool, km_switch_spares *spares) {
  while (spares->first != NULL) {
    km_switch_block *b = spares->first;
    spares->first = b->next;
    km_env_free(pool->env, b);
  }
  spares->count = 0;
}

void km_switch_pool_clear(km_switch_pool *pool) {
  clear_spares(pool, &pool->small);
  clear_spares(pool, &pool->full);
}

void km_switch_pool_hold(km_switch_pool *pool, size_t bytes) {
  pool->bytes += bytes;
}

void km_switch_pool_let_go(km_switch_pool *pool, size_t bytes) {
  pool->bytes -= bytes;
}

/* Where blocks of that size are kept; NULL: nowhere. */
static km_switch_spares *spares_of(km_switch_pool *pool, size_t cap) {
  return cap == KM_SWITCH_SMALL ? &pool->small : cap == KM_SWITCH_BLOCK ? &pool->full : NULL;
}

static km_switch_block *take(km_switch_pool *pool, size_t cap) {
  km_switch_spares *spares = spares_of(pool, cap);
  km_switch_block *b = spares == NULL ? NULL : spares->first;
  if (b != NULL) {
    spares->first = b->next;
    spares->count--;
  } else {
    b = km_env_alloc(pool->env, sizeof *b + cap);
  }
  if (b == NULL) {
    return NULL;
  }
  b->next = NULL;
  b->len = 0;
  b->cap = cap;
  b->datagrams = b->others = 0;
  pool->bytes += cap;
  return b;
}

static void give_back(km_switch_pool *pool, km_switch_block *b) {
  km_switch_spares *spares = spares_of(pool, b->cap);
  pool->bytes -= b->cap;
  if (spares != NULL && spares->count < KM_SWITCH_POOL_MAX) {
    b->next = spares->first;
    spares->first = b;
    spares->count++;
  } else {
    km_env_free(pool->env, b);
  }
}

/* A new last block with room for `need` bytes. Everybody may have one as long as there is room. */
static km_switch_block *extend(km_switch_queue *q, km_switch_pool *pool, size_t need) {
  size_t cap = q->first == NULL && need <= KM_SWITCH_SMALL ? KM_SWITCH_SMALL
               : need <= KM_SWITCH_BLOCK                   ? KM_SWITCH_BLOCK
                                                           : need;
  size_t left = pool->max_bytes - pool->bytes;
  if (cap > left || (q->first != NULL && q->bytes + cap > left / 4)) {
    return NULL;
  }
  km_switch_block *b = take(pool, cap);
  if (b == NULL) {
    return NULL;
  }
  if (q->last == NULL) {
    q->first = b;
  } else {
    q->last->next = b;
  }
  q->last = b;
  q->bytes += cap;
  return b;
}

void km_switch_queue_clear(km_switch_queue *q, km_switch_pool *pool) {
  while (q->first != NULL) {
    km_switch_queue_pop(q, pool);
  }
}

/* RFC 6455 section 5.2: final, binary, not masked. */
static size_t put_header(uint8_t *at, size_t len) {
  at[0] = 0x82;
  if (len < 126) {
    at[1] = (uint8_t)len;
    return 2;
  }
  if (len < 65536) {
    at[1] = 126;
    at[2] = (uint8_t)(len >> 8);
    at[3] = (uint8_t)len;
    return 4;
  }
  at[1] = 127;
  memset(at + 2, 0, 4);
  for (int i = 0; i < 4; i++) {
    at[6 + i] = (uint8_t)(len >> (24 - 8 * i));
  }
  return HEADER_MAX;
}

bool km_switch_queue_add(km_switch_queue *q, km_switch_pool *pool, bool datagram,
                         const uint8_t *head, size_t head_len, const uint8_t *body,
                         size_t body_len) {
  if (datagram ? q->datagrams >= KM_SWITCH_DATAGRAMS : q->others >= KM_SWITCH_OTHERS) {
    return false;
  }
  size_t len = head_len + body_len;
  km_switch_block *b = q->last;
  if (b == NULL || b->cap - b->len < HEADER_MAX + len) {
    b = extend(q, pool, HEADER_MAX + len);
    if (b == NULL) {
      return false;
    }
  }
  b->len += put_header(b->bytes + b->len, len);
  memcpy(b->bytes + b->len, head, head_len);
  b->len += head_len;
  if (body_len > 0) {
    memcpy(b->bytes + b->len, body, body_len);
    b->len += body_len;
  }
  b->datagrams += datagram;
  b->others += !datagram;
  q->datagrams += datagram;
  q->others += !datagram;
  return true;
}

uint8_t *km_switch_queue_first(const km_switch_queue *q, size_t *ret_len) {
  km_switch_block *b = q->first;
  *ret_len = b == NULL ? 0 : b->len;
  return b == NULL ? NULL : b->bytes;
}

void km_switch_queue_pop(km_switch_queue *q, km_switch_pool *pool) {
  km_switch_block *b = q->first;
  q->first = b->next;
  if (q->first == NULL) {
    q->last = NULL;
  }
  q->datagrams -= b->datagrams;
  q->others -= b->others;
  q->bytes -= b->cap;
  give_back(pool, b);
}
