#include "holepunch/pcp.h"

#include <string.h>

#include "base/wire.h"

#define VERSION 2
#define ANSWER 0x80
#define HEADER_LEN 24
enum { OP_ANNOUNCE = 0, OP_MAP = 1, PROTOCOL_UDP = 17 };

static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

const char *km_pcp_result_name(unsigned result) {
  static const char *const names[] = {
      "SUCCESS",          "UNSUPP_VERSION",        "NOT_AUTHORIZED",   "MALFORMED_REQUEST",
      "UNSUPP_OPCODE",    "UNSUPP_OPTION",         "MALFORMED_OPTION", "NETWORK_FAILURE",
      "NO_RESOURCES",     "UNSUPP_PROTOCOL",       "USER_EX_QUOTA",    "CANNOT_PROVIDE_EXTERNAL",
      "ADDRESS_MISMATCH", "EXCESSIVE_REMOTE_PEERS"};
  return result < sizeof names / sizeof names[0] ? names[result] : "?";
}

/* IPv4 is written as ::ffff:a.b.c.d (RFC 6887 section 5). */
static void put_ip(km_wr *wr, const km_udp_addr *addr) {
  if (addr->family == 6) {
    km_wr_bytes(wr, addr->ip, 16);
  } else {
    km_wr_bytes(wr, mapped_prefix, sizeof mapped_prefix);
    km_wr_bytes(wr, addr->ip, 4); /* zeros without an address: any IPv4 one */
  }
}

static km_udp_addr get_ip(const uint8_t *bytes) {
  km_udp_addr ret = {.family = 6};
  if (memcmp(bytes, mapped_prefix, sizeof mapped_prefix) == 0) {
    ret.family = 4;
    memcpy(ret.ip, bytes + sizeof mapped_prefix, 4);
  } else {
    memcpy(ret.ip, bytes, 16);
  }
  return ret;
}

/* Sections 7.1 and 11.1. */
void km_pcp_map_request(uint8_t ret[KM_PCP_MAP_LEN], const km_pcp_map *map,
                        const km_udp_addr *client, uint32_t lifetime_s) {
  static const uint8_t zero[3] = {0};
  km_wr wr = km_wr_init(ret, KM_PCP_MAP_LEN);
  km_wr_u8(&wr, VERSION);
  km_wr_u8(&wr, OP_MAP);
  km_wr_be(&wr, 0, 2);
  km_wr_be(&wr, lifetime_s, 4);
  put_ip(&wr, client);
  km_wr_bytes(&wr, map->nonce, KM_PCP_NONCE_LEN);
  km_wr_u8(&wr, PROTOCOL_UDP);
  km_wr_bytes(&wr, zero, sizeof zero);
  km_wr_be(&wr, map->internal_port, 2);
  km_wr_be(&wr, map->external.port, 2);
  if (map->external.family == 0 && client->family == 6) {
    const km_udp_addr any = {.family = 6};
    put_ip(&wr, &any);
  } else {
    put_ip(&wr, &map->external);
  }
}

/* Section 11.1's body; the protocol was asked for and must come back. */
static bool read_map(km_pcp_map *ret, km_rd *rd) {
  const uint8_t *nonce = km_rd_bytes(rd, KM_PCP_NONCE_LEN);
  uint8_t protocol = km_rd_u8(rd);
  (void)km_rd_bytes(rd, 3);
  uint16_t internal = (uint16_t)km_rd_be(rd, 2), external = (uint16_t)km_rd_be(rd, 2);
  const uint8_t *ip = km_rd_bytes(rd, 16);
  if (rd->failed || protocol != PROTOCOL_UDP) {
    return false;
  }
  *ret = (km_pcp_map){.internal_port = internal, .external = get_ip(ip)};
  memcpy(ret->nonce, nonce, KM_PCP_NONCE_LEN);
  ret->external.port = external;
  return true;
}

/* Section 8.3: what is not of this length is dropped, and so is what is no answer. */
bool km_pcp_read(km_pcp_answer *ret, const uint8_t *bytes, size_t len) {
  km_rd rd = km_rd_init(bytes, len);
  uint8_t version = km_rd_u8(&rd), op = km_rd_u8(&rd);
  km_pcp_answer a = {.version = version};
  (void)km_rd_u8(&rd);
  a.result = km_rd_u8(&rd);
  if (rd.failed || (op & ANSWER) == 0 || version == 0 /* NAT-PMP */) {
    return false;
  }
  if (a.result == KM_PCP_UNSUPP_VERSION) {
    a.kind = KM_PCP_OTHER_VERSION; /* what follows may be of that version as well: section 9 */
    *ret = a;
    return true;
  }
  a.lifetime_s = (uint32_t)km_rd_be(&rd, 4);
  a.epoch_s = (uint32_t)km_rd_be(&rd, 4);
  (void)km_rd_bytes(&rd, 12);
  if (rd.failed || version != VERSION || len > KM_PCP_MAX_LEN || len % 4 != 0) {
    return false;
  }
  switch (op & ~ANSWER) {
  case OP_ANNOUNCE:
    a.kind = KM_PCP_ANNOUNCE;
    break;
  case OP_MAP:
    a.kind = KM_PCP_MAP;
    a.has_map = read_map(&a.map, &rd);
    if (!a.has_map) { /* then nobody can tell what it answers */
      return false;
    }
    break;
  default:
    return false;
  }
  *ret = a;
  return true;
}
