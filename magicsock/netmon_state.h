/* What a network monitor makes of what it sees: which differences matter, and when to tell. Pure:
 * pictures of the network and clocks in, sets of KM_NETMON_* out.
 *
 * Not told are differences of loopback and link-local addresses, of the mapped range, of addresses
 * that are not ours yet (duplicate detection) or that are merely deprecated, and of routes that
 * another one of lower metric makes idle. So a container's virtual interface that comes and goes
 * is not told. */
#ifndef KM_MAGICSOCK_NETMON_STATE_H
#define KM_MAGICSOCK_NETMON_STATE_H

#include "base/env.h"
#include "holepunch/gateway.h"

#define KM_NETMON_QUIET_NS (100 * KM_NS_PER_MS)
#define KM_NETMON_LONGEST_NS KM_NS_PER_S
#define KM_NETMON_JUMP_NS (5 * KM_NS_PER_S)
#define KM_NETMON_TICK_NS (15 * KM_NS_PER_S) /* how often the clocks are compared */

#define KM_NETMON_MAX_ADDRS 128 /* what is beyond, in the order of addresses, is not watched */
#define KM_NETMON_MAX_ROUTES 16

/* The network at one moment, in order and without what does not matter. */
typedef struct km_netmon_picture {
  size_t addr_count;
  km_udp_addr addrs[KM_NETMON_MAX_ADDRS];
  size_t route_count;
  km_default_route routes[KM_NETMON_MAX_ROUTES]; /* the best of each family, part and table */
} km_netmon_picture;

enum { KM_NETMON_LOOPBACK = 1, KM_NETMON_TENTATIVE = 2 }; /* of an address */

/* All-zero is the empty picture. The order in which things are added does not matter. */
void km_netmon_picture_add_addr(km_netmon_picture *p, const km_udp_addr *addr, unsigned flags);
void km_netmon_picture_add_route(km_netmon_picture *p, const km_default_route *route);
/* The set of KM_NETMON_* that leads from one to the other. */
unsigned km_netmon_picture_diff(const km_netmon_picture *before, const km_netmon_picture *now);

typedef struct km_netmon_state {
  km_netmon_picture told; /* the picture that the listener knows */
  bool resumed;           /* to be told */
  km_ts first, last;      /* change that is not settled; KM_TS_NEVER: none */
  km_ts tick, tick_ns;
  uint64_t slept_ns;
} km_netmon_state;

/* `slept_ns`: by how much a clock that goes on while the machine sleeps is ahead of one that does
 * not. `tick_ns`: how often to look for oneself, KM_NETMON_TICK_NS or less. */
void km_netmon_state_init(km_netmon_state *s, const km_netmon_picture *picture, km_ts now,
                          uint64_t slept_ns, km_ts tick_ns);
/* Something may have changed. */
void km_netmon_state_touch(km_netmon_state *s, km_ts now);
/* Compares the clocks: at each event. */
void km_netmon_state_clocks(km_netmon_state *s, km_ts now, uint64_t slept_ns);
/* When to call km_netmon_state_due. */
km_ts km_netmon_state_deadline(const km_netmon_state *s);

typedef enum km_netmon_due {
  KM_NETMON_DUE_NOTHING,
  KM_NETMON_DUE_TICK,   /* time to look for oneself */
  KM_NETMON_DUE_SETTLED /* take a picture and hand it over */
} km_netmon_due;
/* Also compares the clocks. */
km_netmon_due km_netmon_state_due(km_netmon_state *s, km_ts now, uint64_t slept_ns);
/* The settled picture; what is to be told, 0: nothing. */
unsigned km_netmon_state_settle(km_netmon_state *s, const km_netmon_picture *picture);

#endif /* KM_MAGICSOCK_NETMON_STATE_H */
