/* When a DNS question is asked again: the same is asked several times at growing distances, whether
 * or not the earlier ones are still open, and the first usable answer wins (iroh: DNS_STAGGERING_MS
 * of address_lookup/dns.rs, jitter of iroh-dns/src/dns.rs). Pure. */
#ifndef KM_DISCOVERY_DNS_RETRY_H
#define KM_DISCOVERY_DNS_RETRY_H

#include "base/env.h"

#define KM_DNS_ATTEMPTS 7

typedef struct km_dns_retry {
  km_ts at[KM_DNS_ATTEMPTS];
  km_ts ends;
  unsigned begun;
  unsigned failed; /* of those begun */
} km_dns_retry;

typedef enum km_dns_retry_step {
  KM_DNS_RETRY_WAIT,   /* until km_dns_retry_at */
  KM_DNS_RETRY_BEGIN,  /* an attempt is due */
  KM_DNS_RETRY_FAILED, /* all attempts have */
  KM_DNS_RETRY_TIMEOUT
} km_dns_retry_step;

void km_dns_retry_init(km_dns_retry *r, const km_env *env, km_ts now, uint64_t timeout_ns);
km_dns_retry_step km_dns_retry_next(const km_dns_retry *r, km_ts now);
void km_dns_retry_begun(km_dns_retry *r);
/* An attempt ended without an answer that could be used. */
void km_dns_retry_failed(km_dns_retry *r);
/* When to look again. */
km_ts km_dns_retry_at(const km_dns_retry *r);

#endif /* KM_DISCOVERY_DNS_RETRY_H */
