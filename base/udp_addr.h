/* km_udp_addr to and from the system's socket addresses. */
#ifndef KM_BASE_UDP_ADDR_H
#define KM_BASE_UDP_ADDR_H

#include <keymesh/addr.h>
#include <sys/socket.h>

/* True for an IPv4 or IPv6 address of sufficient `len`; the scope is kept for link-local ones only.
 * `ret` is untouched on failure. */
bool km_udp_addr_from_sockaddr(km_udp_addr *ret, const struct sockaddr *sa, socklen_t len);

/* Fills all of `ret` and returns the length, 0 for an address without a family. */
socklen_t km_udp_addr_to_sockaddr(const km_udp_addr *addr, struct sockaddr_storage *ret);

/* The order iroh writes addresses in: IPv4 before IPv6, then by bytes, then by port. */
int km_udp_addr_compare(const km_udp_addr *a, const km_udp_addr *b);

#endif /* KM_BASE_UDP_ADDR_H */
