/* Default routes, and the gateways they lead to. Pure; gateway_io.h asks the system. */
#ifndef KM_HOLEPUNCH_GATEWAY_H
#define KM_HOLEPUNCH_GATEWAY_H

#include <keymesh/addr.h>

/* What a default route covers. VPN software likes to put two halves before the real one. */
enum { KM_ROUTE_ALL = 0, KM_ROUTE_LOWER_HALF = 1, KM_ROUTE_UPPER_HALF = 2 };

/* One way out. */
typedef struct km_default_route {
  uint8_t family; /* 4 or 6: of what is routed */
  uint8_t part;   /* KM_ROUTE_* */
  uint32_t table;
  uint32_t metric; /* lower is preferred */
  uint32_t ifindex;
  km_udp_addr gateway; /* port 0; family 0: the link itself, which is so for tunnels */
} km_default_route;

/* Orders by all fields; 0: equal. */
int km_default_route_compare(const km_default_route *a, const km_default_route *b);

/* The way to the gateway: the main table's whole default route with an address of the same family,
 * lowest metric first. A tunnel has none. `b` of family 0 is worse than any that counts. */
bool km_gateway_route_better(const km_default_route *a, const km_default_route *b);

/* RFC 1918, RFC 6598 (carriers' own) and link-local IPv4: no address of the internet. */
bool km_gateway_is_private(const km_udp_addr *addr);

/* An address that a gateway's UPnP description may name, "http://192.168.1.1:5000/..." of HTTP and
 * a plain private IPv4 address. A hostile answer must not make us call on anybody else, least of
 * all on ourselves. `ret` is whom it names. */
bool km_gateway_url_allowed(km_udp_addr *ret, const char *url);

#endif /* KM_HOLEPUNCH_GATEWAY_H */
