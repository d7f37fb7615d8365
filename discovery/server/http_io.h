/* The HTTP side of a discovery server: signed packets by PUT and GET, DNS over HTTPS, and pages for
 * people and monitors. Loop thread only. */
#ifndef KM_DISCOVERY_SERVER_HTTP_IO_H
#define KM_DISCOVERY_SERVER_HTTP_IO_H

#include "discovery/server/server.h"

typedef struct km_dns_http km_dns_http;

/* Beyond the limit, for a moment: those that were told to go, to make room. */
#define KM_DNS_HTTP_EVICTED_MAX 32

/* Takes `http`, `https`, the certificate and the limits of requests and connections out of
 * `config`. `zone` and `store` outlive it. Errors as of km_dns_server_new. */
KM_NODISCARD int km_dns_http_new(km_dns_http **ret, const km_dns_server_config *config,
                                 km_zone *zone, km_packet_store *store, km_errinfo *err);
void km_dns_http_free(km_dns_http *s); /* cuts everybody off; NULL does nothing */

KM_NODISCARD int km_dns_http_reload(km_dns_http *s, km_errinfo *err);
/* As km_dns_server_shutdown. */
void km_dns_http_shutdown(km_dns_http *s, uint32_t grace_ms, void (*on_done)(void *ctx), void *ctx);
size_t km_dns_http_bound(const km_dns_http *s, km_udp_addr *ret, size_t cap);
/* Fills what is counted here, and nothing else. */
void km_dns_http_get_stats(const km_dns_http *s, km_dns_server_stats *ret);

#endif /* KM_DISCOVERY_SERVER_HTTP_IO_H */
