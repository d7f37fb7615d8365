/* Messages that come in several pieces, put together. Only while one is incomplete does it hold a
 * buffer; these come from a pool with a bound over all clients. Pure. */
#ifndef KM_RELAY_ASSEMBLY_H
#define KM_RELAY_ASSEMBLY_H

#include "base/env.h"
#include "relay/frame.h"

#define KM_ASSEMBLY_SIZES 3
#define KM_ASSEMBLY_SPARES 64 /* of each size, kept for the next */

struct km_assembly_buffer;

/* All zero: nothing has come. */
typedef struct km_assembly {
  struct km_assembly_buffer *buffer;
  size_t len;
  struct km_assembly *older, *newer; /* of those that hold a buffer */
} km_assembly;

typedef struct km_assembly_pool {
  const km_env *env;
  struct km_assembly_buffer *spare[KM_ASSEMBLY_SIZES];
  unsigned spares[KM_ASSEMBLY_SIZES];
  size_t bytes, max_bytes; /* in use */
  km_assembly *oldest, *newest;
} km_assembly_pool;

void km_assembly_pool_init(km_assembly_pool *pool, const km_env *env, size_t max_bytes);
void km_assembly_pool_clear(km_assembly_pool *pool); /* all assemblies must have been reset */

/* 0; KM_ERR_RELAY_PROTOCOL: longer than `max` (at most KM_RELAY_MAX_MESSAGE); KM_ERR_LIMIT: the
 * pool is used up, which ends once pool->oldest was reset; KM_ERR_NOMEM. What came before stays. */
KM_NODISCARD int km_assembly_add(km_assembly *a, km_assembly_pool *pool, const uint8_t *bytes,
                                 size_t len, size_t max);
const uint8_t *km_assembly_bytes(const km_assembly *a); /* a->len of them, after the first add */
void km_assembly_reset(km_assembly *a, km_assembly_pool *pool);

static inline bool km_assembly_is_empty(const km_assembly *a) {
  return a->buffer == NULL;
}

#endif /* KM_RELAY_ASSEMBLY_H */
