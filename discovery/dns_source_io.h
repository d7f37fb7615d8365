/* The DNS source, for tests that bring a configuration of their own. */
#ifndef KM_DISCOVERY_DNS_SOURCE_IO_H
#define KM_DISCOVERY_DNS_SOURCE_IO_H

#include <keymesh/discovery.h>

#define KM_DNS_IN_FLIGHT 256 /* questions at once, of all look-ups of a source */

/* As km_discovery_add_dns; `resolv_conf`: a file instead of the system's, NULL: the system's. */
KM_NODISCARD int km_dns_source_add(km_discovery *d, const km_dns_options *options,
                                   const char *resolv_conf, km_errinfo *err);

#endif /* KM_DISCOVERY_DNS_SOURCE_IO_H */
