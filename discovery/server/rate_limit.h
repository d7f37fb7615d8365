/* A rate a source: one IPv4 address, or one IPv6 /56. Sources share a table of fixed size, whose
 * slots are chosen by a keyed hash, so that nobody can fill the memory. Pure. */
#ifndef KM_DISCOVERY_SERVER_RATE_LIMIT_H
#define KM_DISCOVERY_SERVER_RATE_LIMIT_H

#include <keymesh/addr.h>

#include "base/env.h"

#define KM_DNS_SOURCE_V6_BYTES 7 /* a /56: what one customer has at least */

typedef struct km_rate_limit km_rate_limit;

/* `per_second` 0: no limit. */
KM_NODISCARD int km_rate_limit_new(km_rate_limit **ret, const km_env *env, uint32_t per_second,
                                   uint32_t burst);
/* The same for rare things: so many a minute. */
KM_NODISCARD int km_rate_limit_new_per_minute(km_rate_limit **ret, const km_env *env,
                                              uint32_t per_minute, uint32_t burst);
void km_rate_limit_free(km_rate_limit *l);
/* Takes one; false: the source has had its share. */
bool km_rate_limit_take(km_rate_limit *l, const km_udp_addr *source, km_ts now);

#endif /* KM_DISCOVERY_SERVER_RATE_LIMIT_H */
