/* NATs and firewalls as pure functions of time: RFC 4787 mapping x filtering, port allocation,
 * lifetimes, hairpinning. One of these stands between an inner and an outer segment; several in a
 * row are a double NAT. */
#ifndef KM_TEST_SIM_NAT_H
#define KM_TEST_SIM_NAT_H

#include "base/env.h"
#include "holepunch/nat.h"

typedef enum sim_ports {
  SIM_PORTS_PRESERVE, /* the inner port when it is free, else a random one */
  SIM_PORTS_SEQUENCE, /* `step` further each time */
  SIM_PORTS_RANDOM
} sim_ports;

typedef struct sim_nat_config {
  uint8_t mapping;   /* KM_NAT_MAPPING_NONE: a firewall, addresses stay as they are */
  uint8_t filtering; /* KM_NAT_FILTERING_* */
  sim_ports ports;
  int16_t step;
  uint64_t idle;  /* a mapping without outgoing packets lives so long; 0: for ever */
  uint64_t fixed; /* a mapping lives so long at all; 0: for ever */
  bool hairpin;
  bool blocked; /* lets no UDP through */
} sim_nat_config;

typedef struct sim_mapping {
  km_udp_addr inner, outer;
  km_udp_addr dst; /* what it is for, as far as the kind of mapping looks at it */
  km_ts born, used;
} sim_mapping;

typedef struct sim_permit {
  km_udp_addr outer, dst;
  km_ts used;
} sim_permit;

typedef struct sim_nat {
  struct sim_nat *parent; /* the segment outside; NULL: the internet */
  sim_nat_config config;
  km_udp_addr ip; /* its own; port 0 */
  uint16_t next_port;
  uint64_t seed;
  sim_mapping *mappings;
  size_t mapping_count, mapping_cap;
  sim_permit *permits;
  size_t permit_count, permit_cap;
} sim_nat;

uint64_t sim_random(uint64_t *seed); /* splitmix64 */

void sim_nat_init(sim_nat *nat, const sim_nat_config *config, const km_udp_addr *ip, uint64_t seed);
void sim_nat_clear(sim_nat *nat);
void sim_nat_flush(sim_nat *nat); /* it was switched off and on */

/* A packet leaves: its source as it is outside. False: it is dropped. */
bool sim_nat_out(sim_nat *nat, km_udp_addr *src, const km_udp_addr *dst, km_ts now);
/* A packet arrives from outside: its destination as it is inside. False: it is dropped. */
bool sim_nat_in(sim_nat *nat, const km_udp_addr *src, km_udp_addr *dst, km_ts now);

#endif /* KM_TEST_SIM_NAT_H */
