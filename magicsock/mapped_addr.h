/* Addresses that exist only inside this process, in iroh's unique-local IPv6 range
 * (iroh/src/socket/mapped_addrs.rs): fd15:070a:510b:<subnet>::/64, port 12345.
 *
 *   subnet 0      a mixed path: "all addresses of that endpoint"
 *   subnet 1      a relay path: (relay, endpoint id)
 *   subnet 0xffff the synthetic local address of a path (ours, not iroh's)
 */
#ifndef KM_MAGICSOCK_MAPPED_ADDR_H
#define KM_MAGICSOCK_MAPPED_ADDR_H

#include "magicsock/path.h"

#define KM_MAPPED_PORT 12345
enum { KM_MAPPED_MIXED = 0, KM_MAPPED_RELAY = 1, KM_MAPPED_LOCAL = 0xffff };

/* Writes the mapped address of `number` in a subnet. */
void km_mapped_addr_set(km_sockaddr *ret, uint16_t subnet, uint64_t number);
/* The same as a plain address. */
km_udp_addr km_mapped_udp_addr(uint16_t subnet, uint64_t number);
/* True when `addr` is in our range; `ret_subnet` and `ret_number` may be NULL. */
bool km_mapped_addr_get(const struct sockaddr *addr, socklen_t len, uint16_t *ret_subnet,
                        uint64_t *ret_number);
/* True for any address of the range: such a one never comes from or goes to the network. */
bool km_mapped_addr_is(const km_udp_addr *addr);

#endif /* KM_MAGICSOCK_MAPPED_ADDR_H */
