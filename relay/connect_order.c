#include "relay/connect_order.h"

/* Takes addrs[from] out and puts it in at `to`. */
static void move(km_udp_addr *addrs, size_t from, size_t to) {
  km_udp_addr moved = addrs[from];
  for (; from > to; from--) {
    addrs[from] = addrs[from - 1];
  }
  for (; from < to; from++) {
    addrs[from] = addrs[from + 1];
  }
  addrs[to] = moved;
}

void km_relay_order_addresses(km_udp_addr *addrs, size_t count, const km_udp_addr *last) {
  for (size_t i = 1; i < count; i++) {
    size_t next = i;
    while (next < count && addrs[next].family == addrs[i - 1].family) {
      next++;
    }
    if (next == count) {
      break; /* one family is used up */
    }
    move(addrs, next, i);
  }
  for (size_t i = 0; i + 1 < count; i++) {
    if (km_udp_addr_equal(&addrs[i], last)) {
      move(addrs, i, count - 1);
      break;
    }
  }
}
