#include "holepunch/natpmp.h"

#include <string.h>

#include "base/wire.h"

#define VERSION 0
#define ANSWER 0x80
enum { OP_ADDRESS = 0, OP_MAP_UDP = 1 };

const char *km_natpmp_result_name(unsigned result) {
  static const char *const names[] = {"SUCCESS",         "UNSUPP_VERSION", "NOT_AUTHORIZED",
                                      "NETWORK_FAILURE", "NO_RESOURCES",   "UNSUPP_OPCODE"};
  return result < sizeof names / sizeof names[0] ? names[result] : "?";
}

/* Section 3.2. */
void km_natpmp_address_request(uint8_t ret[KM_NATPMP_ADDRESS_LEN]) {
  ret[0] = VERSION;
  ret[1] = OP_ADDRESS;
}

/* Section 3.3. */
void km_natpmp_map_request(uint8_t ret[KM_NATPMP_MAP_LEN], uint16_t internal_port,
                           uint16_t external_port, uint32_t lifetime_s) {
  km_wr wr = km_wr_init(ret, KM_NATPMP_MAP_LEN);
  km_wr_u8(&wr, VERSION);
  km_wr_u8(&wr, OP_MAP_UDP);
  km_wr_be(&wr, 0, 2);
  km_wr_be(&wr, internal_port, 2);
  km_wr_be(&wr, external_port, 2);
  km_wr_be(&wr, lifetime_s, 4);
}

/* What failed may end after the epoch (section 3.5). */
bool km_natpmp_read(km_natpmp_answer *ret, const uint8_t *bytes, size_t len) {
  km_rd rd = km_rd_init(bytes, len);
  km_natpmp_answer a = {0};
  uint8_t version = km_rd_u8(&rd), op = km_rd_u8(&rd);
  a.result = (uint16_t)km_rd_be(&rd, 2);
  a.epoch_s = (uint32_t)km_rd_be(&rd, 4);
  a.op = (uint8_t)(op & ~ANSWER);
  if (rd.failed || version != VERSION || (op & ANSWER) == 0) {
    return false;
  }
  if (a.result != KM_NATPMP_SUCCESS) {
    a.kind = KM_NATPMP_FAILED;
  } else if (a.op == OP_ADDRESS) {
    a.kind = KM_NATPMP_ADDRESS;
    const uint8_t *ip = km_rd_bytes(&rd, sizeof a.ip);
    if (ip != NULL) {
      memcpy(a.ip, ip, sizeof a.ip);
    }
  } else if (a.op == OP_MAP_UDP) {
    a.kind = KM_NATPMP_MAP;
    a.internal_port = (uint16_t)km_rd_be(&rd, 2);
    a.external_port = (uint16_t)km_rd_be(&rd, 2);
    a.lifetime_s = (uint32_t)km_rd_be(&rd, 4);
  } else {
    return false;
  }
  if (rd.failed) {
    return false;
  }
  *ret = a;
  return true;
}
