/* Relay urls, normalised as iroh prints them: the WHATWG URL standard, so that equal relays are
 * equal strings. */
#ifndef KM_BASE_RELAY_URL_H
#define KM_BASE_RELAY_URL_H

#include <keymesh/addr.h>
#include <stddef.h>

/* Writes the normalised url and a NUL. Returns the length without the NUL or KM_ERR_BAD_RELAY_URL,
 * also when the result does not fit into `cap`.
 *
 * Taken: any scheme with "//" and a host. Not taken although the standard has them: urls without a
 * host (no relay is there), and hosts in letters beyond ASCII, which must be written in their
 * "xn--" form (it is what iroh prints, too). */
int km_relay_url_normalise(char *ret, size_t cap, const char *url, size_t len, km_errinfo *err);

/* The same for a relay that somebody names to us, not a ticket: http, https, ws or wss. Another
 * scheme is a slip of the pen there. */
int km_relay_url_take(char *ret, size_t cap, const char *url, size_t len, km_errinfo *err);

#endif /* KM_BASE_RELAY_URL_H */
