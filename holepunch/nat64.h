/* NAT64: how a host that has IPv6 only writes an IPv4 address (RFC 6052), and how it finds out (RFC
 * 7050). Pure. */
#ifndef KM_HOLEPUNCH_NAT64_H
#define KM_HOLEPUNCH_NAT64_H

#include <keymesh/addr.h>

/* A name that has only IPv4 addresses: IPv6 ones come from a translator (RFC 7050 section 3). */
#define KM_NAT64_NAME "ipv4only.arpa"

typedef struct km_nat64 {
  uint8_t bits; /* of the prefix: 32, 40, 48, 56, 64 or 96; 0: none is known */
  uint8_t prefix[12];
} km_nat64;

/* Reads the prefix off an address that the name has. False: it is no translated one. */
bool km_nat64_read(km_nat64 *ret, const km_udp_addr *addr);
/* The IPv6 address under which an IPv4 address is reached. False: no prefix, no IPv4 address, or a
 * private one that has none under this prefix. */
bool km_nat64_write(const km_nat64 *nat64, const km_udp_addr *v4, km_udp_addr *ret);

#endif /* KM_HOLEPUNCH_NAT64_H */
