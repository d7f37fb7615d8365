#include "magicsock/netmon_state.h"

#include <string.h>

#include "base/udp_addr.h"
#include "magicsock/mapped_addr.h"
#include "magicsock/netmon.h"

/* --- pictures -------------------------------------------------------------------------------- */

static bool is_link_local(const km_udp_addr *addr) {
  return addr->family == 4 ? addr->ip[0] == 169 && addr->ip[1] == 254
                           : addr->ip[0] == 0xfe && (addr->ip[1] & 0xc0) == 0x80;
}

static bool is_loopback(const km_udp_addr *addr) {
  static const uint8_t one[16] = {[15] = 1};
  return addr->family == 4 ? addr->ip[0] == 127 : memcmp(addr->ip, one, sizeof one) == 0;
}

/* A place in a sorted array of `max`; `count` grows unless the last one falls out. `max`: it is
 * beyond the end of a full array. */
static size_t make_room(void *array, size_t *count, size_t max, size_t size, size_t at) {
  uint8_t *items = array;
  if (at == max) {
    return max;
  }
  *count += *count < max;
  memmove(items + (at + 1) * size, items + at * size, (*count - at - 1) * size);
  return at;
}

void km_netmon_picture_add_addr(km_netmon_picture *p, const km_udp_addr *addr, unsigned flags) {
  if ((addr->family != 4 && addr->family != 6) || flags != 0 || is_link_local(addr) ||
      is_loopback(addr) || km_mapped_addr_is(addr)) {
    return;
  }
  km_udp_addr plain = *addr;
  plain.port = 0;
  plain.scope_id = 0;
  size_t at = 0;
  while (at < p->addr_count && km_udp_addr_compare(&p->addrs[at], &plain) < 0) {
    at++;
  }
  if (at < p->addr_count && km_udp_addr_compare(&p->addrs[at], &plain) == 0) {
    return;
  }
  at = make_room(p->addrs, &p->addr_count, KM_NETMON_MAX_ADDRS, sizeof p->addrs[0], at);
  if (at < KM_NETMON_MAX_ADDRS) {
    p->addrs[at] = plain;
  }
}

static bool same_purpose(const km_default_route *a, const km_default_route *b) {
  return a->family == b->family && a->part == b->part && a->table == b->table;
}

static void remove_route(km_netmon_picture *p, size_t at) {
  p->route_count--;
  memmove(&p->routes[at], &p->routes[at + 1], (p->route_count - at) * sizeof p->routes[0]);
}

/* Of one purpose only those with the lowest metric are in the picture. */
void km_netmon_picture_add_route(km_netmon_picture *p, const km_default_route *route) {
  for (size_t i = p->route_count; i-- > 0;) {
    if (same_purpose(&p->routes[i], route) && p->routes[i].metric != route->metric) {
      if (p->routes[i].metric < route->metric) {
        return;
      }
      remove_route(p, i);
    }
  }
  size_t at = 0;
  while (at < p->route_count && km_default_route_compare(&p->routes[at], route) < 0) {
    at++;
  }
  if (at < p->route_count && km_default_route_compare(&p->routes[at], route) == 0) {
    return;
  }
  at = make_room(p->routes, &p->route_count, KM_NETMON_MAX_ROUTES, sizeof p->routes[0], at);
  if (at < KM_NETMON_MAX_ROUTES) {
    p->routes[at] = *route;
  }
}

static unsigned diff_addrs(const km_netmon_picture *before, const km_netmon_picture *now) {
  unsigned what = 0;
  size_t b = 0, n = 0;
  while (b < before->addr_count || n < now->addr_count) {
    int order = b == before->addr_count ? 1
                : n == now->addr_count  ? -1
                                        : km_udp_addr_compare(&before->addrs[b], &now->addrs[n]);
    what |= order < 0 ? KM_NETMON_ADDRESS_LOST : order > 0 ? KM_NETMON_ADDRESS_ADDED : 0u;
    b += order <= 0;
    n += order >= 0;
  }
  return what;
}

/* A metric alone decides nothing once it has decided which routes are the best. */
static bool same_way(const km_default_route *a, const km_default_route *b) {
  km_default_route other = *b;
  other.metric = a->metric;
  return km_default_route_compare(a, &other) == 0;
}

unsigned km_netmon_picture_diff(const km_netmon_picture *before, const km_netmon_picture *now) {
  unsigned what = diff_addrs(before, now);
  bool same = before->route_count == now->route_count;
  for (size_t i = 0; same && i < now->route_count; i++) {
    same = same_way(&before->routes[i], &now->routes[i]);
  }
  return what | (same ? 0 : KM_NETMON_ROUTE);
}

/* --- time ------------------------------------------------------------------------------------ */

void km_netmon_state_init(km_netmon_state *s, const km_netmon_picture *picture, km_ts now,
                          uint64_t slept_ns, km_ts tick_ns) {
  *s = (km_netmon_state){.told = *picture,
                         .first = KM_TS_NEVER,
                         .last = KM_TS_NEVER,
                         .tick = now + tick_ns,
                         .tick_ns = tick_ns,
                         .slept_ns = slept_ns};
}

void km_netmon_state_touch(km_netmon_state *s, km_ts now) {
  if (s->first == KM_TS_NEVER) {
    s->first = now;
  }
  s->last = now;
}

/* A machine that slept is ahead on one clock. A process that was stopped finds that the tick is
 * long overdue. */
void km_netmon_state_clocks(km_netmon_state *s, km_ts now, uint64_t slept_ns) {
  bool jumped = slept_ns > s->slept_ns && slept_ns - s->slept_ns > KM_NETMON_JUMP_NS;
  bool late = now > s->tick && now - s->tick > KM_NETMON_JUMP_NS;
  s->slept_ns = slept_ns;
  if (jumped || late) {
    s->resumed = true;
    s->tick = now + s->tick_ns;
    km_netmon_state_touch(s, now);
  }
}

static km_ts settled_at(const km_netmon_state *s) {
  if (s->first == KM_TS_NEVER) {
    return KM_TS_NEVER;
  }
  km_ts quiet = s->last + KM_NETMON_QUIET_NS, longest = s->first + KM_NETMON_LONGEST_NS;
  return quiet < longest ? quiet : longest;
}

km_ts km_netmon_state_deadline(const km_netmon_state *s) {
  km_ts settled = settled_at(s);
  return settled < s->tick ? settled : s->tick;
}

km_netmon_due km_netmon_state_due(km_netmon_state *s, km_ts now, uint64_t slept_ns) {
  km_netmon_state_clocks(s, now, slept_ns);
  if (settled_at(s) <= now) {
    s->first = s->last = KM_TS_NEVER;
    return KM_NETMON_DUE_SETTLED;
  }
  if (s->tick <= now) {
    s->tick = now + s->tick_ns;
    return KM_NETMON_DUE_TICK;
  }
  return KM_NETMON_DUE_NOTHING;
}

unsigned km_netmon_state_settle(km_netmon_state *s, const km_netmon_picture *picture) {
  unsigned what = km_netmon_picture_diff(&s->told, picture) | (s->resumed ? KM_NETMON_RESUMED : 0);
  s->told = *picture;
  s->resumed = false;
  return what;
}
