#include "relay/backoff.h"

uint64_t km_relay_jitter(const km_env *env, uint64_t most) {
  return km_env_random_below(env, most + 1);
}

uint64_t km_relay_backoff_next(km_relay_backoff *b, const km_env *env, uint64_t ceiling) {
  uint64_t most = KM_RELAY_BACKOFF_FIRST << (b->tries < 16 ? b->tries : 16);
  b->tries++;
  return km_relay_jitter(env, most < ceiling ? most : ceiling);
}
