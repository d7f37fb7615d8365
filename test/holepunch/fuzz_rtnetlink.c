/* Any datagram: no crash, an end, and nothing that the kernel could not have meant. */
#include <stdlib.h>

#include "holepunch/rtnetlink.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  km_rtnl_reader r;
  km_rtnl_msg msg;
  km_rtnl_reader_init(&r, data, len);
  for (size_t count = 0; km_rtnl_next(&r, &msg); count++) {
    check(count < len / 16 + 1 && r.at <= r.end && !r.damaged);
    check(msg.hop_count <= KM_RTNL_MAX_HOPS && (msg.hop_count == 0 || msg.kind == KM_RTNL_ROUTE));
    check(msg.error >= 0 && msg.error < 4096);
    check((msg.addr.family != 0) == (msg.kind == KM_RTNL_ADDR));
    for (size_t i = 0; i < msg.hop_count; i++) {
      const km_default_route *hop = &msg.hops[i];
      check(hop->ifindex != 0 && hop->part <= KM_ROUTE_UPPER_HALF);
      check(hop->family == 4 || hop->family == 6);
      check(km_default_route_compare(hop, hop) == 0);
    }
  }
  check(r.damaged || r.at == r.end);
  return 0;
}
