/* Two endpoints behind any NATs, over any links, to which anything happens. The promises are
 * checked by the simulator at each step; here that it ends well.
 *
 * KM_SIM_SEED=n runs that one only, KM_SIM_COUNT=n so many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim_world.h"

#define SEEDS 2000
#define OPS 25

static bool is_trying(const sim_peer *peer) {
  km_punch_state state = km_punch_get_state(peer->core);
  return state == KM_PUNCH_ROUNDS || state == KM_PUNCH_GUESSING;
}

static void check_ends(sim_world *w, uint64_t seed) {
  bool meet = w->ip6 || (sim_kinds_meet(w->kinds[0], w->kinds[1]) && w->measured);
  for (size_t i = 0; i < 2; i++) {
    km_punch_state state = km_punch_get_state(w->net.peers[i].core);
    bool good = meet ? state == KM_PUNCH_OPEN : state == KM_PUNCH_OPEN || state == KM_PUNCH_WAITING;
    if (!good) {
      print_error("KM_SIM_SEED=%llu\n%s x %s: peer %zu is in state %d\n", (unsigned long long)seed,
                  sim_kind_name(w->kinds[0]), sim_kind_name(w->kinds[1]), i, (int)state);
    }
    assert_true(good);
  }
}

static void check_rests(sim_world *w) {
  sim_net *net = &w->net;
  uint64_t sent = 0, after = 0;
  for (size_t i = 0; i < 2; i++) {
    sim_peer_want(&net->peers[i], false);
  }
  sim_net_run(net, SIM_S(5)); /* what was on the way is still answered */
  for (size_t i = 0; i < 2; i++) {
    sent += net->peers[i].sent_packets;
  }
  sim_net_run(net, SIM_S(3600));
  for (size_t i = 0; i < 2; i++) {
    after += net->peers[i].sent_packets;
  }
  assert_int_equal(after, sent);
}

static uint64_t run(uint64_t seed) {
  sim_world w = {0};
  sim_net_init(&w.net, seed);
  sim_world_build(&w);
  uint32_t ops = sim_below(&w.net, OPS);
  for (uint32_t i = 0; i < ops; i++) {
    sim_world_op(&w);
  }
  sim_world_heal(&w);
  sim_net_run(&w.net, SIM_S(330)); /* longer than the longest wait */
  for (int i = 0; i < 60 && (is_trying(&w.net.peers[0]) || is_trying(&w.net.peers[1])); i++) {
    sim_net_run(&w.net, SIM_MS(500));
  }
  check_ends(&w, seed);
  check_rests(&w);
  uint64_t trace = w.net.trace;
  sim_net_clear(&w.net);
  return trace;
}

static uint64_t number_of(const char *name, uint64_t fallback) {
  const char *text = getenv(name);
  return text != NULL ? strtoull(text, NULL, 10) : fallback;
}

static void whatever_happens_it_ends_well(void **state) {
  (void)state;
  if (getenv("KM_SIM_SEED") != NULL) {
    (void)run(number_of("KM_SIM_SEED", 0));
    return;
  }
  uint64_t count = number_of("KM_SIM_COUNT", SEEDS);
  for (uint64_t seed = 1; seed <= count; seed++) {
    (void)run(seed);
  }
}

static void the_same_seed_gives_the_same_run(void **state) {
  (void)state;
  assert_true(run(42) == run(42));
  assert_true(run(42) != run(43));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_same_seed_gives_the_same_run),
      cmocka_unit_test(whatever_happens_it_ends_well),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
