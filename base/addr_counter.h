/* How many of something each source has: one IPv4 address, or one IPv6 network. Pure. */
#ifndef KM_BASE_ADDR_COUNTER_H
#define KM_BASE_ADDR_COUNTER_H

#include "base/env.h"

#include <keymesh/addr.h>

typedef struct km_addr_count {
  uint64_t prefix; /* family and network bits, never 0 */
  uint32_t count;  /* 0: the slot is free */
} km_addr_count;

typedef struct km_addr_counter {
  const km_env *env;
  km_addr_count *slots;
  size_t cap, used;
  uint8_t v6_bytes; /* of an address that count */
  uint8_t key[16];
} km_addr_counter;

void km_addr_counter_init(km_addr_counter *counter, const km_env *env); /* of IPv6 a /64 */
/* The same with a shorter IPv6 network, of 1 to 8 bytes: 7 is a /56, what one customer has. */
void km_addr_counter_init_net(km_addr_counter *counter, const km_env *env, uint8_t v6_bytes);
void km_addr_counter_clear(km_addr_counter *counter);
KM_NODISCARD int km_addr_counter_add(km_addr_counter *counter, const km_udp_addr *addr);
void km_addr_counter_remove(km_addr_counter *counter, const km_udp_addr *addr);
uint32_t km_addr_counter_get(const km_addr_counter *counter, const km_udp_addr *addr);

#endif /* KM_BASE_ADDR_COUNTER_H */
