/* Learns how long our NAT keeps a mapping. Pure.
 *
 * Some carriers' NATs drop a mapping after a fixed time (50 to 75 s), used or not. Our outer
 * address then changes though our socket did not. A life is measured from the first to the last
 * time that the address was seen, and counts when the change was noticed soon (the last quarter of
 * the time until then was not unobserved): what is not looked at for long may have died of
 * idleness. Two such lives in a row of about the same length (within a quarter of the longer)
 * between KM_MAPPING_LIFE_MIN and KM_MAPPING_LIFE_MAX teach the life, the shorter of both; from
 * then on the shell binds a fresh socket and punches anew when three quarters of it are over,
 * before the old mapping dies. A mapping seen half as long again as that, or a changed network,
 * unlearns it. One of these a family. */
#ifndef KM_HOLEPUNCH_MAPPING_LIFE_H
#define KM_HOLEPUNCH_MAPPING_LIFE_H

#include <keymesh/addr.h>

#include "base/env.h"

#define KM_MAPPING_LIFE_MIN (10 * KM_NS_PER_S)  /* shorter ones would keep us busy for nothing */
#define KM_MAPPING_LIFE_MAX (600 * KM_NS_PER_S) /* longer ones do not hurt */

typedef struct km_mapping_life {
  km_udp_addr outer; /* family 0: not known */
  km_ts born;        /* of the present mapping */
  km_ts last_seen;
  uint64_t last_life; /* 0: none */
  uint64_t life;      /* learnt; 0: not */
} km_mapping_life;

void km_mapping_life_init(km_mapping_life *m);
/* The socket of the family is a new one (what was learnt stays), or the network changed (`forget`:
 * nothing stays). */
void km_mapping_life_restart(km_mapping_life *m, bool forget, km_ts now);
/* Somebody (a STUN server, a peer) saw us at this address. For NATs whose mapping is endpoint-
 * independent only: with others two observers see two addresses, and nothing has died. `now` never
 * goes back. */
void km_mapping_life_observed(km_mapping_life *m, const km_udp_addr *outer, km_ts now);
/* When to bind a fresh socket; KM_TS_NEVER: no need, or nobody has seen us since the last one. */
km_ts km_mapping_life_renew_at(const km_mapping_life *m);

#endif /* KM_HOLEPUNCH_MAPPING_LIFE_H */
