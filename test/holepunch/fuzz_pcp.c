/* Any packet: no crash; what is read as PCP is not NAT-PMP as well; a mapping that is read can be
 * asked for again and reads the same. */
#include <stdlib.h>
#include <string.h>

#include "holepunch/natpmp.h"
#include "holepunch/pcp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  km_pcp_answer a, back;
  km_natpmp_answer natpmp;
  uint8_t bytes[KM_PCP_MAP_LEN];
  if (!km_pcp_read(&a, data, len)) {
    return 0;
  }
  check(!km_natpmp_read(&natpmp, data, len));
  check(km_pcp_result_name(a.result)[0] != '\0');
  if (a.kind != KM_PCP_MAP) {
    check(!a.has_map);
    return 0;
  }
  check(a.has_map && a.version == 2 && len >= KM_PCP_MAP_LEN);
  check(a.map.external.family == 4 || a.map.external.family == 6);
  const km_udp_addr client = {.family = a.map.external.family};
  km_pcp_map_request(bytes, &a.map, &client, a.lifetime_s);
  check(!km_pcp_read(&back, bytes, sizeof bytes)); /* a request is no answer */
  bytes[1] |= 0x80;
  bytes[3] = a.result;
  check(km_pcp_read(&back, bytes, sizeof bytes));
  check(back.lifetime_s == a.lifetime_s && back.map.internal_port == a.map.internal_port);
  check(km_udp_addr_equal(&back.map.external, &a.map.external));
  check(memcmp(back.map.nonce, a.map.nonce, sizeof a.map.nonce) == 0);
  return 0;
}
