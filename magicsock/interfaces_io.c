#include "magicsock/interfaces_io.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

#include "base/udp_addr.h"
#include "magicsock/mapped_addr.h"

bool km_udp_addr_is_loopback(const km_udp_addr *addr) {
  if (addr->family == 4) {
    return addr->ip[0] == 127;
  }
  static const uint8_t one[16] = {[15] = 1};
  return addr->family == 6 && memcmp(addr->ip, one, sizeof one) == 0;
}

static bool is_link_local_v6(const km_udp_addr *addr) {
  return addr->family == 6 && addr->ip[0] == 0xfe && (addr->ip[1] & 0xc0) == 0x80;
}

static bool read_address(const struct ifaddrs *at, km_udp_addr *ret) {
  if (at->ifa_addr == NULL || (at->ifa_flags & IFF_UP) == 0) {
    return false;
  }
  socklen_t len;
  switch (at->ifa_addr->sa_family) {
  case AF_INET:
    len = (socklen_t)sizeof(struct sockaddr_in);
    break;
  case AF_INET6:
    len = (socklen_t)sizeof(struct sockaddr_in6);
    break;
  default:
    return false;
  }
  return km_udp_addr_from_sockaddr(ret, at->ifa_addr, len);
}

void km_interface_each(void (*fn)(void *ctx, const km_udp_addr *addr, bool loopback), void *ctx) {
  struct ifaddrs *list;
  if (getifaddrs(&list) != 0) {
    return;
  }
  for (const struct ifaddrs *at = list; at != NULL; at = at->ifa_next) {
    km_udp_addr addr;
    if (!read_address(at, &addr) || is_link_local_v6(&addr) || km_mapped_addr_is(&addr)) {
      continue;
    }
    addr.port = 0;
    addr.scope_id = 0;
    bool loopback = (at->ifa_flags & IFF_LOOPBACK) != 0 || km_udp_addr_is_loopback(&addr);
    fn(ctx, &addr, loopback);
  }
  freeifaddrs(list);
}
