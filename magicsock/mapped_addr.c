#include "magicsock/mapped_addr.h"

#include <arpa/inet.h>
#include <string.h>

/* iroh/src/socket/mapped_addrs.rs: fd15:070a:510b, then 16 bits of subnet, 64 bits of number. */
static const uint8_t prefix[6] = {0xfd, 0x15, 0x07, 0x0a, 0x51, 0x0b};

void km_mapped_addr_set(km_sockaddr *ret, uint16_t subnet, uint64_t number) {
  memset(ret, 0, sizeof *ret);
  ret->in6.sin6_family = AF_INET6;
  ret->in6.sin6_port = htons(KM_MAPPED_PORT);
  uint8_t *ip = ret->in6.sin6_addr.s6_addr;
  memcpy(ip, prefix, sizeof prefix);
  ip[6] = (uint8_t)(subnet >> 8);
  ip[7] = (uint8_t)(subnet & 0xff);
  for (int i = 15; i >= 8; i--) {
    ip[i] = (uint8_t)(number & 0xff);
    number >>= 8;
  }
}

km_udp_addr km_mapped_udp_addr(uint16_t subnet, uint64_t number) {
  km_sockaddr mapped;
  km_udp_addr ret = {.family = 6, .port = KM_MAPPED_PORT};
  km_mapped_addr_set(&mapped, subnet, number);
  memcpy(ret.ip, mapped.in6.sin6_addr.s6_addr, sizeof ret.ip);
  return ret;
}

bool km_mapped_addr_get(const struct sockaddr *addr, socklen_t len, uint16_t *ret_subnet,
                        uint64_t *ret_number) {
  struct sockaddr_in6 in6;
  if (len < (socklen_t)sizeof in6 || addr->sa_family != AF_INET6) {
    return false;
  }
  memcpy(&in6, addr, sizeof in6);
  const uint8_t *ip = in6.sin6_addr.s6_addr;
  if (in6.sin6_port != htons(KM_MAPPED_PORT) || memcmp(ip, prefix, sizeof prefix) != 0) {
    return false;
  }
  if (ret_subnet != NULL) {
    *ret_subnet = (uint16_t)((ip[6] << 8) | ip[7]);
  }
  if (ret_number != NULL) {
    uint64_t number = 0;
    for (int i = 8; i < 16; i++) {
      number = (number << 8) | ip[i];
    }
    *ret_number = number;
  }
  return true;
}

bool km_mapped_addr_is(const km_udp_addr *addr) {
  return addr->family == 6 && memcmp(addr->ip, prefix, sizeof prefix) == 0;
}

uint32_t km_path_index_of(const struct sockaddr *local, socklen_t len) {
  uint16_t subnet;
  uint64_t number;
  if (!km_mapped_addr_get(local, len, &subnet, &number) || subnet != KM_MAPPED_LOCAL ||
      number > UINT32_MAX) {
    return 0;
  }
  return (uint32_t)number;
}
