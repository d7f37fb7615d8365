#include "holepunch/nat64.h"

#include <string.h>

/* Byte 8 is always zero; the IPv4 address stands behind the prefix and goes round it (RFC 6052
 * section 2.2). */
static void put_v4(uint8_t ip[16], uint8_t bits, const uint8_t v4[4]) {
  size_t at = bits / 8;
  for (size_t i = 0; i < 4; i++) {
    at += at == 8 ? 1 : 0;
    ip[at++] = v4[i];
  }
}

/* Not under the well-known prefix (RFC 6052 section 3.1). */
static bool is_private(const uint8_t ip[4]) {
  return ip[0] == 10 || ip[0] == 127 || (ip[0] == 172 && (ip[1] & 0xf0) == 16) ||
         (ip[0] == 192 && ip[1] == 168) || (ip[0] == 169 && ip[1] == 254) ||
         (ip[0] == 100 && (ip[1] & 0xc0) == 64);
}

static bool is_well_known(const km_nat64 *nat64) {
  static const uint8_t prefix[12] = {0x00, 0x64, 0xff, 0x9b};
  return nat64->bits == 96 && memcmp(nat64->prefix, prefix, sizeof prefix) == 0;
}

bool km_nat64_write(const km_nat64 *nat64, const km_udp_addr *v4, km_udp_addr *ret) {
  if (nat64->bits == 0 || v4->family != 4 || (is_well_known(nat64) && is_private(v4->ip))) {
    return false;
  }
  *ret = (km_udp_addr){.family = 6, .port = v4->port};
  memcpy(ret->ip, nat64->prefix, nat64->bits / 8);
  put_v4(ret->ip, nat64->bits, v4->ip);
  return true;
}

bool km_nat64_read(km_nat64 *ret, const km_udp_addr *addr) {
  static const uint8_t lengths[] = {96, 64, 56, 48, 40, 32};
  static const uint8_t well_known[2][4] = {{192, 0, 0, 170}, {192, 0, 0, 171}};
  if (addr->family != 6) {
    return false;
  }
  for (size_t i = 0; i < sizeof lengths; i++) {
    for (size_t k = 0; k < 2; k++) {
      km_nat64 guess = {.bits = lengths[i]};
      memcpy(guess.prefix, addr->ip, lengths[i] / 8);
      km_udp_addr v4 = {.family = 4, .port = addr->port}, again;
      memcpy(v4.ip, well_known[k], 4);
      if (km_nat64_write(&guess, &v4, &again) && memcmp(again.ip, addr->ip, 16) == 0) {
        *ret = guess;
        return true;
      }
    }
  }
  return false;
}
