#include "relay/assembly.h"

#include <string.h>

typedef struct km_assembly_buffer {
  struct km_assembly_buffer *next;
  unsigned size; /* index of sizes[] */
  uint8_t bytes[];
} km_assembly_buffer;

/* A packet; a batch of them; the longest message. */
static const size_t sizes[KM_ASSEMBLY_SIZES] = {2048, 16384, KM_RELAY_MAX_MESSAGE};

void km_assembly_pool_init(km_assembly_pool *pool, const km_env *env, size_t max_bytes) {
  *pool = (km_assembly_pool){.env = env, .max_bytes = max_bytes};
}

void km_assembly_pool_clear(km_assembly_pool *pool) {
  for (unsigned i = 0; i < KM_ASSEMBLY_SIZES; i++) {
    while (pool->spare[i] != NULL) {
      km_assembly_buffer *b = pool->spare[i];
      pool->spare[i] = b->next;
      km_env_free(pool->env, b);
    }
    pool->spares[i] = 0;
  }
}

static int take(km_assembly_pool *pool, size_t need, km_assembly_buffer **ret) {
  unsigned size = 0;
  while (size + 1 < KM_ASSEMBLY_SIZES && sizes[size] < need) {
    size++;
  }
  if (sizes[size] > pool->max_bytes - pool->bytes) {
    return KM_ERR_LIMIT;
  }
  km_assembly_buffer *b = pool->spare[size];
  if (b != NULL) {
    pool->spare[size] = b->next;
    pool->spares[size]--;
  } else {
    b = km_env_alloc(pool->env, sizeof *b + sizes[size]);
  }
  if (b == NULL) {
    return KM_ERR_NOMEM;
  }
  b->size = size;
  pool->bytes += sizes[size];
  *ret = b;
  return 0;
}

static void give_back(km_assembly_pool *pool, km_assembly_buffer *b) {
  unsigned size = b->size;
  pool->bytes -= sizes[size];
  if (pool->spares[size] >= KM_ASSEMBLY_SPARES) {
    km_env_free(pool->env, b);
    return;
  }
  b->next = pool->spare[size];
  pool->spare[size] = b;
  pool->spares[size]++;
}

static void list(km_assembly *a, km_assembly_pool *pool) {
  a->older = pool->newest;
  a->newer = NULL;
  *(pool->newest == NULL ? &pool->oldest : &pool->newest->newer) = a;
  pool->newest = a;
}

static void unlist(km_assembly *a, km_assembly_pool *pool) {
  *(a->older == NULL ? &pool->oldest : &a->older->newer) = a->newer;
  *(a->newer == NULL ? &pool->newest : &a->newer->older) = a->older;
}

/* Room for `need` bytes; keeps those that are there. */
static int make_room(km_assembly *a, km_assembly_pool *pool, size_t need) {
  km_assembly_buffer *b = NULL;
  int rv = take(pool, need, &b);
  if (rv != 0) {
    return rv;
  }
  if (a->buffer == NULL) {
    list(a, pool);
  } else {
    memcpy(b->bytes, a->buffer->bytes, a->len);
    give_back(pool, a->buffer);
  }
  a->buffer = b;
  return 0;
}

int km_assembly_add(km_assembly *a, km_assembly_pool *pool, const uint8_t *bytes, size_t len,
                    size_t max) {
  if (len > max || a->len > max - len) {
    return KM_ERR_RELAY_PROTOCOL;
  }
  size_t need = a->len + len;
  if (a->buffer == NULL || need > sizes[a->buffer->size]) {
    int rv = make_room(a, pool, need);
    if (rv != 0) {
      return rv;
    }
  }
  if (len > 0) {
    memcpy(a->buffer->bytes + a->len, bytes, len);
  }
  a->len = need;
  return 0;
}

const uint8_t *km_assembly_bytes(const km_assembly *a) {
  return a->buffer->bytes;
}

void km_assembly_reset(km_assembly *a, km_assembly_pool *pool) {
  if (a->buffer != NULL) {
    give_back(pool, a->buffer);
    unlist(a, pool);
  }
  *a = (km_assembly){0};
}
