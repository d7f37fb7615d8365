/* Checks and copies the options of an endpoint. */
#ifndef KM_ENDPOINT_OPTIONS_H
#define KM_ENDPOINT_OPTIONS_H

#include <keymesh/endpoint.h>

/* Takes the caller's options, which may be of an older or newer header, over defaults. `from` NULL
 * is all defaults. 0 or KM_ERR_INVALID or KM_ERR_BAD_RELAY_URL with a text naming the option. */
KM_NODISCARD int km_options_take(km_endpoint_options *ret, const km_endpoint_options *from,
                                 km_errinfo *err);

#endif /* KM_ENDPOINT_OPTIONS_H */
