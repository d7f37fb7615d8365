/* Answers DNS questions (RFC 1034, 1035): names under our origins with a key's label out of signed
 * packets, everything else under them out of static records. What is under no origin is refused,
 * and under the origin "." also what is neither below a key nor has a static record. Pure. */
#ifndef KM_DISCOVERY_SERVER_ZONE_H
#define KM_DISCOVERY_SERVER_ZONE_H

#include "discovery/pkarr.h"

typedef struct km_zone km_zone;

#define KM_ZONE_MAX_ORIGINS 16
#define KM_ZONE_MAX_RECORDS 4096

typedef struct km_zone_config {
  const km_env *env; /* outlives it */
  /* Domains that we are the authority for; "." is the root: `_iroh.<z32>` alone. */
  const char *const *origins;
  size_t origin_count;
  const char *soa_mname, *soa_rname; /* NULL: "ns.<origin>", "hostmaster.<origin>" */
  uint32_t negative_ttl_s;           /* SOA minimum, RFC 2308 */
  /* The packet of a key: 1; 0: there is none; below 0: that cannot be known (SERVFAIL). */
  int (*packet)(void *ctx, const km_id *id, km_pkarr *ret, int64_t *stored);
  void *ctx;
} km_zone_config;

KM_NODISCARD int km_zone_new(km_zone **ret, const km_zone_config *config, km_errinfo *err);
void km_zone_free(km_zone *z);

/* A static record: owner (with or without final dot, below an origin), type ("A", "AAAA", "NS",
 * "CNAME", "TXT", "MX", "CAA", "SRV"), its value in zone file form, TTL. 0, KM_ERR_INVALID (the
 * text says what is wrong), KM_ERR_LIMIT, KM_ERR_NOMEM. */
KM_NODISCARD int km_zone_add(km_zone *z, const char *owner, const char *type, const char *value,
                             uint32_t ttl_s, km_errinfo *err);

/* What is wrong with the zone as a whole: an NS of it without an address. 0; KM_ERR_INVALID when a
 * record of ours says so; KM_ERR_STATE when there are no NS records and the SOA's name has none. */
KM_NODISCARD int km_zone_check(const km_zone *z, km_errinfo *err);

typedef enum km_zone_transport { KM_ZONE_UDP, KM_ZONE_TCP, KM_ZONE_HTTPS } km_zone_transport;

#define KM_ZONE_ANSWER_MAX 65535

/* Answers the message `query` into `ret` (at least KM_ZONE_ANSWER_MAX bytes). Over UDP an answer
 * that exceeds 512 bytes, or what EDNS allows up to 1,232, is cut with TC set. Returns the length;
 * 0: no answer is due (a response, or too short to have a header). `ret_ttl_s` (may be NULL): the
 * least TTL, of negative answers too, for HTTP caches. */
size_t km_zone_answer(km_zone *z, const uint8_t *query, size_t len, km_zone_transport transport,
                      uint8_t *ret, uint32_t *ret_ttl_s);

typedef struct km_zone_stats {
  uint64_t queries, answered, nodata, nxdomain, refused, formerr, notimp, servfail, truncated;
} km_zone_stats;
void km_zone_get_stats(const km_zone *z, km_zone_stats *ret);

#endif /* KM_DISCOVERY_SERVER_ZONE_H */
