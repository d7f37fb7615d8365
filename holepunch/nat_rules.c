#include "holepunch/nat_rules.h"

#include <stdlib.h>
#include <string.h>

#define STEP_MAX 64 /* beyond it a NAT with many users, or chance */
#define SEEN_MAX 32

/* --- addresses -------------------------------------------------------------------------------- */

static bool same_ip(const km_udp_addr *a, const km_udp_addr *b) {
  return a->family == b->family && memcmp(a->ip, b->ip, a->family == 4 ? 4 : 16) == 0;
}

static bool is_loopback(const km_udp_addr *a) {
  static const uint8_t one[16] = {[15] = 1};
  return a->family == 4 ? a->ip[0] == 127 : memcmp(a->ip, one, 16) == 0;
}

/* Unspecified, "this network", multicast, broadcast, link-local: nothing that others could send
 * to. */
static bool is_useless(const km_udp_addr *a) {
  static const uint8_t zero[16] = {0};
  const uint8_t *ip = a->ip;
  if (a->family == 4) {
    return ip[0] == 0 || ip[0] >= 224 || (ip[0] == 169 && ip[1] == 254);
  }
  return a->family != 6 || memcmp(ip, zero, 16) == 0 || ip[0] == 0xff ||
         (ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80);
}

/* RFC 1918, RFC 6598, RFC 4193. */
bool km_nat_is_private(const km_udp_addr *a) {
  const uint8_t *ip = a->ip;
  if (a->family == 4) {
    return ip[0] == 10 || (ip[0] == 172 && (ip[1] & 0xf0) == 16) ||
           (ip[0] == 192 && ip[1] == 168) || (ip[0] == 100 && (ip[1] & 0xc0) == 64);
  }
  return (ip[0] & 0xfe) == 0xfc;
}

/* `any_port`: an address of this machine; else, of that very socket. */
static bool is_own(const km_udp_addr *addr, const km_udp_addr *own, size_t count, bool any_port) {
  for (size_t i = 0; i < count; i++) {
    if (same_ip(addr, &own[i]) && (any_port || addr->port == own[i].port)) {
      return true;
    }
  }
  return false;
}

/* Where others than this machine may be. */
static bool is_reachable(const km_udp_addr *from, const km_udp_addr *addr) {
  return addr->port != 0 && !is_useless(addr) && (is_loopback(from) || !is_loopback(addr));
}

bool km_nat_answer_plausible(const km_udp_addr *server, const km_udp_addr *mapped,
                             const km_udp_addr *own, size_t own_count) {
  return is_reachable(server, mapped) && (!km_nat_is_private(mapped) || km_nat_is_private(server) ||
                                          is_own(mapped, own, own_count, true));
}

bool km_nat_other_plausible(const km_udp_addr *server, const km_udp_addr *other) {
  return other->family == server->family && other->port != server->port &&
         !same_ip(other, server) && is_reachable(server, other) &&
         (!km_nat_is_private(other) || km_nat_is_private(server)) &&
         (!is_loopback(server) || is_loopback(other));
}

/* --- mapping ---------------------------------------------------------------------------------- */

/* What two answers say about each other. */
typedef struct pairs {
  unsigned ip_same, ip_differs;     /* servers with different addresses: mapped alike or not */
  unsigned port_same, port_differs; /* one address, different ports */
} pairs;

static void compare(pairs *p, const km_nat_seen *a, const km_nat_seen *b) {
  bool alike = km_udp_addr_equal(&a->mapped, &b->mapped);
  if (a->mapped.family != b->mapped.family || km_udp_addr_equal(&a->server, &b->server)) {
    return; /* one of them through NAT64: another NAT */
  }
  if (same_ip(&a->server, &b->server)) {
    p->port_same += alike;
    p->port_differs += !alike;
  } else {
    p->ip_same += alike;
    p->ip_differs += !alike;
  }
}

km_nat_mapping km_nat_mapping_of(const km_nat_seen *seen, size_t count, const km_udp_addr *own,
                                 size_t own_count) {
  pairs p = {0};
  for (size_t i = 0; i < count; i++) {
    if (is_own(&seen[i].mapped, own, own_count, false)) {
      return KM_NAT_MAPPING_NONE;
    }
    for (size_t k = i + 1; k < count; k++) {
      compare(&p, &seen[i], &seen[k]);
    }
  }
  if (p.port_differs > 0) {
    return KM_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT;
  }
  if (p.ip_differs > 0) {
    return p.port_same > 0 ? KM_NAT_MAPPING_ADDRESS_DEPENDENT
                           : KM_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT;
  }
  return p.ip_same > 0 ? KM_NAT_MAPPING_ENDPOINT_INDEPENDENT : KM_NAT_MAPPING_UNKNOWN;
}

/* --- ports ------------------------------------------------------------------------------------ */

static int by_order(const void *a, const void *b) {
  const km_nat_seen *x = a, *y = b;
  return (x->order > y->order) - (x->order < y->order);
}

/* Between neighbours in the order of asking; a neighbour that did not answer leaves a gap that says
 * nothing. */
static size_t steps_of(int ret[SEEN_MAX], const km_nat_seen *sorted, size_t count) {
  size_t n = 0;
  for (size_t i = 1; i < count; i++) {
    const km_nat_seen *a = &sorted[i - 1], *b = &sorted[i];
    if (b->order == a->order + 1 && same_ip(&a->mapped, &b->mapped) &&
        a->mapped.port != b->mapped.port) {
      ret[n++] = (int)b->mapped.port - (int)a->mapped.port;
    }
  }
  return n;
}

int16_t km_nat_port_step_of(const km_nat_seen *seen, size_t count) {
  km_nat_seen sorted[SEEN_MAX];
  int steps[SEEN_MAX], best = 0;
  size_t most = 0;
  count = count < SEEN_MAX ? count : SEEN_MAX;
  if (count == 0) {
    return 0;
  }
  memcpy(sorted, seen, count * sizeof *seen);
  qsort(sorted, count, sizeof *sorted, by_order);
  size_t n = steps_of(steps, sorted, count);
  for (size_t i = 0; i < n; i++) {
    size_t times = 0;
    for (size_t k = 0; k < n; k++) {
      times += steps[k] == steps[i];
    }
    if (times > most) {
      most = times;
      best = steps[i];
    }
  }
  bool trusted = most > 1 || n == 1;
  return trusted && abs(best) <= STEP_MAX ? (int16_t)best : 0;
}

/* --- filtering -------------------------------------------------------------------------------- */

km_nat_filtering km_nat_filtering_of(km_nat_mapping mapping, const km_nat_filter_tests *tests) {
  if (tests->from_both) {
    return mapping == KM_NAT_MAPPING_NONE ? KM_NAT_FILTERING_NONE
                                          : KM_NAT_FILTERING_ENDPOINT_INDEPENDENT;
  }
  return tests->from_port ? KM_NAT_FILTERING_ADDRESS_DEPENDENT
                          : KM_NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT;
}
