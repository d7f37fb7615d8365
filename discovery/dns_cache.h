/* Answers of name servers, for as long as they may be used again. Pure. */
#ifndef KM_DISCOVERY_DNS_CACHE_H
#define KM_DISCOVERY_DNS_CACHE_H

#include "base/env.h"
#include "base/list.h"

#define KM_DNS_CACHE_ENTRIES 256   /* the least recently used one makes room */
#define KM_DNS_CACHE_BYTES 4096    /* longer answers are not kept */
#define KM_DNS_CACHE_TTL 300       /* seconds; longer is not believed: peers move */
#define KM_DNS_CACHE_TTL_ABSENT 10 /* that there is nothing: peers come */

typedef struct km_dns_cached {
  km_list node;
  char *name;
  uint8_t *bytes; /* a DNS message; NULL: there is nothing of the name */
  size_t len;
  km_ts since, until;
} km_dns_cached;

typedef struct km_dns_cache {
  const km_env *env;
  km_list entries; /* the most recently used first */
  size_t count;
} km_dns_cache;

void km_dns_cache_init(km_dns_cache *c, const km_env *env);
void km_dns_cache_clear(km_dns_cache *c);

/* Names are compared to the byte: they are ours. NULL: not known. Valid until the next call. */
const km_dns_cached *km_dns_cache_get(km_dns_cache *c, const char *name, km_ts now);
/* Both are copied; without memory nothing is kept. That there is nothing does not replace what is
 * known and lives: of several answers to one question the later one may know less. */
void km_dns_cache_put(km_dns_cache *c, const char *name, const uint8_t *bytes, size_t len,
                      uint32_t ttl_s, km_ts now);

#endif /* KM_DISCOVERY_DNS_CACHE_H */
