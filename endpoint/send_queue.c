#include "endpoint/send_queue.h"

#include <assert.h>
#include <string.h>

struct km_send_block {
  km_send_block *next;
  const uint8_t *data; /* own bytes behind the header, or lent ones */
  size_t len;          /* bytes filled */
  size_t acked;        /* of them acknowledged, from the front */
  size_t cap;          /* room for own bytes, 0 for lent ones */
  km_release_fn release;
  void *release_ctx;
};

#define FULL_CAP (KM_SEND_BLOCK_BYTES - sizeof(km_send_block))
#define SMALL_CAP 1000u

static uint8_t *own_bytes(km_send_block *b) {
  return (uint8_t *)(b + 1);
}

void km_send_pool_init(km_send_pool *pool, const km_env *env) {
  pool->env = env;
  pool->free = NULL;
  pool->free_count = 0;
}

void km_send_pool_clear(km_send_pool *pool) {
  while (pool->free != NULL) {
    km_send_block *b = pool->free;
    pool->free = b->next;
    km_env_free(pool->env, b);
  }
  pool->free_count = 0;
}

static km_send_block *block_new(km_send_pool *pool, size_t want) {
  km_send_block *b;
  size_t cap = want <= SMALL_CAP ? SMALL_CAP : FULL_CAP;
  if (cap == FULL_CAP && pool->free != NULL) {
    b = pool->free;
    pool->free = b->next;
    pool->free_count--;
  } else {
    b = km_env_alloc(pool->env, sizeof *b + cap);
    if (b == NULL) {
      return NULL;
    }
  }
  memset(b, 0, sizeof *b);
  b->data = own_bytes(b);
  b->cap = cap;
  return b;
}

static void block_free(km_send_pool *pool, km_send_block *b) {
  if (b->release != NULL) {
    b->release(b->release_ctx, b->data, b->len);
  }
  if (b->cap == FULL_CAP && pool->free_count < KM_SEND_POOL_BLOCKS) {
    b->next = pool->free;
    pool->free = b;
    pool->free_count++;
    return;
  }
  km_env_free(pool->env, b);
}

static void append(km_send_queue *q, km_send_block *b) {
  if (q->tail == NULL) {
    q->head = b;
  } else {
    q->tail->next = b;
  }
  q->tail = b;
  if (q->next == NULL) {
    q->next = b;
    q->next_offset = 0;
  }
}

void km_send_queue_init(km_send_queue *q) {
  memset(q, 0, sizeof *q);
}

void km_send_queue_clear(km_send_queue *q, km_send_pool *pool) {
  km_send_block *b = q->head;
  q->head = q->tail = q->next = NULL;
  q->acked = q->sent = q->end;
  while (b != NULL) {
    km_send_block *next = b->next;
    block_free(pool, b);
    b = next;
  }
}

/* Bytes already in a block stay where they are; only the room behind them is used. */
static size_t fill_tail(km_send_queue *q, const uint8_t *data, size_t len) {
  km_send_block *b = q->tail;
  if (b == NULL || b->len >= b->cap) {
    return 0;
  }
  size_t n = b->cap - b->len < len ? b->cap - b->len : len;
  memcpy(own_bytes(b) + b->len, data, n);
  if (q->next == NULL) {
    q->next = b;
    q->next_offset = b->len;
  }
  b->len += n;
  q->end += n;
  return n;
}

size_t km_send_queue_copy(km_send_queue *q, km_send_pool *pool, const uint8_t *data, size_t len) {
  size_t done = len == 0 ? 0 : fill_tail(q, data, len);
  while (done < len) {
    km_send_block *b = block_new(pool, len - done);
    if (b == NULL) {
      break;
    }
    append(q, b);
    done += fill_tail(q, data + done, len - done);
  }
  return done;
}

int km_send_queue_lend(km_send_queue *q, km_send_pool *pool, const uint8_t *data, size_t len,
                       km_release_fn release, void *ctx) {
  assert(len > 0);
  km_send_block *b = km_env_zalloc(pool->env, 1, sizeof *b);
  if (b == NULL) {
    return KM_ERR_NOMEM;
  }
  b->data = data;
  b->len = len;
  b->release = release;
  b->release_ctx = ctx;
  append(q, b);
  q->end += len;
  return 0;
}

size_t km_send_queue_peek(const km_send_queue *q, km_send_vec *vec, size_t cap, size_t enough) {
  size_t n = 0, total = 0;
  size_t offset = q->next_offset;
  for (const km_send_block *b = q->next; b != NULL && n < cap && total < enough; b = b->next) {
    if (b->len > offset) {
      vec[n].base = b->data + offset;
      vec[n].len = b->len - offset;
      total += vec[n].len;
      n++;
    }
    offset = 0;
  }
  return n;
}

void km_send_queue_sent(km_send_queue *q, size_t len) {
  assert(len <= km_send_queue_waiting(q));
  q->sent += len;
  while (len > 0) {
    size_t left = q->next->len - q->next_offset;
    if (len < left) {
      q->next_offset += len;
      return;
    }
    len -= left;
    q->next = q->next->next;
    q->next_offset = 0;
  }
}

void km_send_queue_acked(km_send_queue *q, km_send_pool *pool, uint64_t len) {
  assert(len <= q->sent - q->acked);
  q->acked += len;
  while (len > 0) {
    km_send_block *b = q->head;
    assert(b != NULL);
    size_t left = b->len - b->acked;
    if (len < left) {
      b->acked += (size_t)len;
      return;
    }
    len -= left;
    assert(b != q->next);
    q->head = b->next;
    if (q->head == NULL) {
      q->tail = NULL;
    }
    block_free(pool, b);
  }
}
