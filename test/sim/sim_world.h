/* Two endpoints behind any NATs, over any links, to which anything happens: what is chosen comes
 * from the net's seed, or from the bytes of a fuzzer. */
#ifndef KM_TEST_SIM_WORLD_H
#define KM_TEST_SIM_WORLD_H

#include "sim_net.h"

typedef struct sim_world {
  sim_net net; /* made by sim_net_init */
  sim_kind kinds[2];
  bool ip6;      /* both have it */
  bool measured; /* both know their NATs */
} sim_world;

void sim_world_build(sim_world *w); /* both want a direct way */
void sim_world_op(sim_world *w);    /* something happens, then time goes by */
void sim_world_heal(sim_world *w);  /* nothing is cut, lost or scarce any more */

#endif /* KM_TEST_SIM_WORLD_H */
