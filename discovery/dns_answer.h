/* What a name server's answer is worth, and for how long. Pure. */
#ifndef KM_DISCOVERY_DNS_ANSWER_H
#define KM_DISCOVERY_DNS_ANSWER_H

#include <ares.h>

#include "base/env.h"

#include <keymesh/id.h>

/* Of the answer; or, for names that are not there, of the zone's SOA (RFC 2308 section 5). */
uint32_t km_dns_answer_ttl(const ares_dns_record_t *record, bool absent);
/* It has something of ours about `id`. Others put TXT records there too: those of a whole zone, a
 * sender policy, what an alias leads to. */
bool km_dns_answer_says(const km_env *env, const km_id *id, const uint8_t *bytes, size_t len,
                        const char *origin);

#endif /* KM_DISCOVERY_DNS_ANSWER_H */
