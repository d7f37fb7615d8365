/* The addresses of this machine's interfaces. */
#ifndef KM_MAGICSOCK_INTERFACES_IO_H
#define KM_MAGICSOCK_INTERFACES_IO_H

#include <keymesh/addr.h>

/* Calls `fn` with each address (port 0) of the interfaces that are up, in the system's order.
 * Without link-local IPv6 addresses, which say nothing without their interface, and without ours
 * of the mapped range. Calls nothing when the system does not tell. */
void km_interface_each(void (*fn)(void *ctx, const km_udp_addr *addr, bool loopback), void *ctx);

bool km_udp_addr_is_loopback(const km_udp_addr *addr);

#endif /* KM_MAGICSOCK_INTERFACES_IO_H */
