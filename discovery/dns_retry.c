#include "discovery/dns_retry.h"

/* After the beginning, not after each other. */
static const uint64_t delays_ms[KM_DNS_ATTEMPTS] = {0, 200, 300, 600, 1000, 2000, 3000};
enum { JITTER_PERCENT = 20 };

void km_dns_retry_init(km_dns_retry *r, const km_env *env, km_ts now, uint64_t timeout_ns) {
  *r = (km_dns_retry){.ends = now + timeout_ns};
  for (size_t i = 0; i < KM_DNS_ATTEMPTS; i++) {
    uint64_t delay = delays_ms[i] * KM_NS_PER_MS;
    uint64_t jitter = delay / 100 * JITTER_PERCENT;
    r->at[i] = now + delay - jitter + km_env_random_below(env, 2 * jitter + 1);
  }
}

km_dns_retry_step km_dns_retry_next(const km_dns_retry *r, km_ts now) {
  if (now >= r->ends) {
    return KM_DNS_RETRY_TIMEOUT;
  }
  if (r->begun < KM_DNS_ATTEMPTS) {
    return now >= r->at[r->begun] ? KM_DNS_RETRY_BEGIN : KM_DNS_RETRY_WAIT;
  }
  return r->failed == KM_DNS_ATTEMPTS ? KM_DNS_RETRY_FAILED : KM_DNS_RETRY_WAIT;
}

void km_dns_retry_begun(km_dns_retry *r) {
  r->begun++;
}

void km_dns_retry_failed(km_dns_retry *r) {
  r->failed++;
}

km_ts km_dns_retry_at(const km_dns_retry *r) {
  if (r->begun == KM_DNS_ATTEMPTS || r->at[r->begun] > r->ends) {
    return r->ends;
  }
  return r->at[r->begun];
}
