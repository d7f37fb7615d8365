#include "endpoint/mesh/backoff.h"

static uint64_t jittered(const km_backoff *b, uint32_t wait_ms, const km_env *env) {
  uint64_t wait = wait_ms * KM_NS_PER_MS;
  uint64_t spread = wait / 100 * b->jitter_percent;
  return wait - spread + km_env_random_below(env, 2 * spread + 1);
}

static void count_failure(km_backoff *b) {
  b->attempts += b->attempts < UINT32_MAX ? 1 : 0;
}

uint64_t km_backoff_next(km_backoff *b, const km_env *env) {
  size_t at = b->attempts < b->count ? b->attempts : b->count - 1;
  count_failure(b);
  return jittered(b, b->waits_ms[at], env);
}

uint64_t km_backoff_longest(km_backoff *b, const km_env *env) {
  uint32_t longest = 0;
  for (size_t i = 0; i < b->count; i++) {
    longest = b->waits_ms[i] > longest ? b->waits_ms[i] : longest;
  }
  count_failure(b);
  return jittered(b, longest, env);
}

void km_backoff_reset(km_backoff *b) {
  b->attempts = 0;
}
