/* What tickets see of a km_addr, and constructors with an environment of their own. */
#ifndef KM_BASE_ADDR_IMPL_H
#define KM_BASE_ADDR_IMPL_H

#include <keymesh/addr.h>

#include "base/env.h"

struct km_addr {
  const km_env *env;
  km_id id;
  size_t udp_count;
  size_t relay_count;
  km_udp_addr udp[KM_ADDR_MAX_DIRECT]; /* ascending, km_udp_addr_compare */
  char *relays[KM_ADDR_MAX_RELAYS];    /* ascending by bytes */
};

KM_NODISCARD int km_addr_new_in(km_addr **ret, const km_env *env, const km_id *id);

/* km_addr_add_udp without its refusal of port 0, which tickets may carry. */
KM_NODISCARD int km_addr_insert_udp(km_addr *addr, const km_udp_addr *udp);

#endif /* KM_BASE_ADDR_IMPL_H */
