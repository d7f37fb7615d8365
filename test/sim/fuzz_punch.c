/* Two hole-punching cores, and a world that the input decides on. The simulator checks what punch.h
 * promises at every step and aborts; here also that it ends, and that silence follows. */
#include <stdlib.h>

#include "sim_world.h"

#define OPS 30

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

static uint64_t packets(const sim_world *w) {
  return w->net.peers[0].sent_packets + w->net.peers[1].sent_packets;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  sim_world w = {0};
  sim_net_init(&w.net, len);
  w.net.choices = data;
  w.net.choice_count = len;
  sim_world_build(&w);
  for (int i = 0; i < OPS && w.net.choice_count > 0; i++) {
    sim_world_op(&w);
  }
  sim_world_heal(&w);
  for (size_t i = 0; i < 2; i++) {
    sim_peer_want(&w.net.peers[i], false);
  }
  sim_net_run(&w.net, SIM_S(5));
  uint64_t sent = packets(&w);
  sim_net_run(&w.net, SIM_S(1000));
  check(packets(&w) == sent);
  sim_net_clear(&w.net);
  return 0;
}
