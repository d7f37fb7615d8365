/* When to try again: exponential with full jitter, so that clients of one relay spread. Pure. */
#ifndef KM_RELAY_BACKOFF_H
#define KM_RELAY_BACKOFF_H

#include "base/env.h"

#define KM_RELAY_BACKOFF_FIRST (10 * KM_NS_PER_MS)
#define KM_RELAY_BACKOFF_MAX (16 * KM_NS_PER_S)
/* The ceiling while connections of peers may still be waiting for the relay. */
#define KM_RELAY_BACKOFF_MISSED (4 * KM_NS_PER_S)
#define KM_RELAY_MISSED_FOR (30 * KM_NS_PER_S)   /* QUIC's usual idle timeout */
#define KM_RELAY_BACKOFF_SHORT (1 * KM_NS_PER_S) /* the ceiling while a relay says it restarts */
#define KM_RELAY_AGAIN_MAX (100 * KM_NS_PER_MS)  /* after a connection that worked */

typedef struct km_relay_backoff {
  unsigned tries;
} km_relay_backoff;

/* The next wait, below 10 ms, 20 ms, ... `ceiling`. */
uint64_t km_relay_backoff_next(km_relay_backoff *b, const km_env *env, uint64_t ceiling);
/* Uniform in [0, most]. */
uint64_t km_relay_jitter(const km_env *env, uint64_t most);

#endif /* KM_RELAY_BACKOFF_H */
