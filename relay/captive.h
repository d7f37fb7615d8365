/* Does a captive portal answer in the place of a relay? GET /generate_204 over plain HTTP with a
 * challenge, which only a relay repeats (iroh-relay/src/server.rs, serve_no_content_handler). Pure.
 */
#ifndef KM_RELAY_CAPTIVE_H
#define KM_RELAY_CAPTIVE_H

#include <keymesh/net_report.h>

#include "relay/url.h"

#define KM_CAPTIVE_CHALLENGE_CAP 33 /* hexadecimal, with the NUL */
#define KM_CAPTIVE_REQUEST_CAP 640
#define KM_CAPTIVE_ANSWER_MAX 4096 /* bytes of headers that are read */

/* Where a relay has it: plain HTTP, on port 80 when the relay itself is behind TLS. */
void km_captive_url(km_relay_url *ret, const km_relay_url *relay);
/* Returns the length of the request. */
size_t km_captive_request(char ret[KM_CAPTIVE_REQUEST_CAP], const km_relay_url *url,
                          const char *challenge);
/* What came so far; `ended`: no more comes. KM_NET_NO: this is a relay; KM_NET_YES: somebody else
 * answers for it; KM_NET_UNKNOWN: not all has come, or nothing. */
km_net_answer km_captive_read(const char *text, size_t len, bool ended, const char *challenge);

#endif /* KM_RELAY_CAPTIVE_H */
