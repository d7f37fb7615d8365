#include "test/netlab/link_frame.h"

enum {
  TYPE_ARP = 0x0806,
  TYPE_IPV6 = 0x86dd,
  NEXT_ICMPV6 = 58,
  ROUTER_SOLICITATION = 133,
  NEIGHBOUR_ADVERTISEMENT = 136,
  IPV6_HEAD = 40
};

bool frame_is_neighbour(const uint8_t *frame, size_t len) {
  if (len < FRAME_HEAD) {
    return false;
  }
  unsigned type = (unsigned)frame[12] << 8 | frame[13];
  if (type == TYPE_ARP) {
    return true;
  }
  if (type != TYPE_IPV6 || len <= FRAME_HEAD + IPV6_HEAD || frame[FRAME_HEAD + 6] != NEXT_ICMPV6) {
    return false;
  }
  uint8_t message = frame[FRAME_HEAD + IPV6_HEAD];
  return message >= ROUTER_SOLICITATION && message <= NEIGHBOUR_ADVERTISEMENT;
}
