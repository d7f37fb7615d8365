/* Waits between attempts: a list whose last member repeats, with jitter. Pure. */
#ifndef KM_ENDPOINT_MESH_BACKOFF_H
#define KM_ENDPOINT_MESH_BACKOFF_H

#include "base/env.h"

typedef struct km_backoff {
  const uint32_t *waits_ms; /* borrowed; at least one */
  size_t count;
  uint8_t jitter_percent;
  uint32_t attempts; /* failed since the last km_backoff_reset */
} km_backoff;

/* Nanoseconds to wait after one more failure. */
uint64_t km_backoff_next(km_backoff *b, const km_env *env);
uint64_t km_backoff_longest(km_backoff *b, const km_env *env); /* for refusals */
void km_backoff_reset(km_backoff *b);

#endif /* KM_ENDPOINT_MESH_BACKOFF_H */
