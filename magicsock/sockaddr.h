/* km_udp_addr to the short socket address that paths carry. */
#ifndef KM_MAGICSOCK_SOCKADDR_H
#define KM_MAGICSOCK_SOCKADDR_H

#include <string.h>

#include "base/udp_addr.h"
#include "magicsock/path.h"

/* Returns the length, 0 for an address without a family. */
static inline socklen_t km_sockaddr_set(km_sockaddr *ret, const km_udp_addr *addr) {
  struct sockaddr_storage storage;
  memset(&storage, 0, sizeof storage);
  socklen_t len = km_udp_addr_to_sockaddr(addr, &storage);
  memcpy(ret, &storage, sizeof *ret);
  return len;
}

#endif /* KM_MAGICSOCK_SOCKADDR_H */
