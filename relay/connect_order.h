/* The order in which the addresses of a host are tried. Pure. */
#ifndef KM_RELAY_CONNECT_ORDER_H
#define KM_RELAY_CONNECT_ORDER_H

#include <keymesh/addr.h>

/* Families alternate, beginning with the first address's; within one the order stays (RFC 8305
 * section 4). Then `last`, if it is there, goes to the end. */
void km_relay_order_addresses(km_udp_addr *addrs, size_t count, const km_udp_addr *last);

#endif /* KM_RELAY_CONNECT_ORDER_H */
