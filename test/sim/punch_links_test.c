/* Ways over time: how long they are believed, how soon their death is noticed, what is sent when
 * nothing happens. All in virtual time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim_net.h"

typedef struct pair {
  sim_net net;
  sim_peer *a, *b;
} pair;

static void meet(pair *p, uint64_t seed, sim_link direct, sim_link relay, sim_kind a, sim_kind b) {
  sim_net_init(&p->net, seed);
  p->net.direct = direct;
  p->net.relay = relay;
  p->a = sim_net_peer(&p->net, sim_net_kind(&p->net, a));
  p->b = sim_net_peer(&p->net, sim_net_kind(&p->net, b));
  sim_peer_gather(p->a);
  sim_peer_gather(p->b);
  sim_peer_want(p->a, true);
  sim_peer_want(p->b, true);
}

static void meet_at_home(pair *p, uint64_t rtt_ms) {
  sim_link link = {.delay = SIM_MS(rtt_ms) / 2};
  meet(p, 7, link, link, SIM_KIND_PORT, SIM_KIND_PORT);
  assert_true(sim_net_run_to_open(&p->net, SIM_S(5)));
  sim_net_run(&p->net, SIM_S(5));
}

static void use_both(pair *p) {
  sim_peer_use(p->a);
  sim_peer_use(p->b);
}

static void a_bad_link_is_not_a_dead_way(void **state) {
  (void)state;
  sim_link bad = {.delay = SIM_MS(300), .jitter = SIM_MS(60), .loss = 80};
  for (uint64_t seed = 1; seed <= 5; seed++) {
    pair p;
    meet(&p, seed, bad, bad, SIM_KIND_PORT, SIM_KIND_PORT);
    assert_true(sim_net_run_to_open(&p.net, SIM_S(30)));
    use_both(&p);
    sim_net_run(&p.net, SIM_S(10 * 3600));
    assert_int_equal(p.a->deaths + p.b->deaths, 0);
    sim_net_clear(&p.net);
  }
}

/* From the suspicion of a connection to the death of the way. */
static uint64_t notices_within(uint64_t rtt_ms) {
  pair p;
  meet_at_home(&p, rtt_ms);
  use_both(&p);
  sim_net_run(&p.net, SIM_S(100));
  p.net.cut = true;
  km_ts start = p.net.now;
  km_punch_suspect(p.a->core, &p.a->open[0], start);
  sim_peer_pull(p.a);
  while (p.a->open_count > 0) {
    sim_net_run(&p.net, SIM_MS(1));
  }
  uint64_t took = (p.net.now - start) / SIM_MS(1);
  sim_net_clear(&p.net);
  return took;
}

static void death_is_noticed_fast(void **state) {
  (void)state;
  assert_true(notices_within(2) < 400);
  assert_true(notices_within(30) < 400);
  assert_true(notices_within(600) < 3500);
}

static void death_is_noticed_without_a_hint_while_in_use(void **state) {
  (void)state;
  pair p;
  meet_at_home(&p, 30);
  use_both(&p);
  p.net.cut = true;
  sim_net_run(&p.net, SIM_S(6));
  assert_int_equal(p.a->open_count, 0);
  assert_int_equal(p.b->open_count, 0);
  p.net.cut = false;
  assert_true(sim_net_run_to_open(&p.net, SIM_S(35))); /* the longest gap: waits of 15 s */
  sim_net_clear(&p.net);
}

static void what_is_heard_clears_a_suspicion(void **state) {
  (void)state;
  pair p;
  meet_at_home(&p, 30);
  km_punch_way way = p.a->open[0];
  km_punch_suspect(p.a->core, &way, p.net.now);
  sim_peer_pull(p.a);
  km_punch_way_info info;
  assert_true(km_punch_find(p.a->core, &way, &info));
  assert_int_equal(info.state, KM_PUNCH_WAY_SUSPECT);
  km_punch_heard(p.a->core, &way, p.net.now + SIM_MS(1));
  assert_true(km_punch_find(p.a->core, &way, &info));
  assert_int_equal(info.state, KM_PUNCH_WAY_OPEN);
  sim_net_clear(&p.net);
}

static void a_satellite_link_of_ten_seconds_connects(void **state) {
  (void)state;
  sim_link far = {.delay = SIM_S(5), .jitter = SIM_MS(300)};
  pair p;
  meet(&p, 3, far, far, SIM_KIND_PORT, SIM_KIND_PORT);
  assert_true(sim_net_run_to_open(&p.net, SIM_S(60)));
  sim_net_run(&p.net, SIM_S(3600));
  assert_int_equal(p.a->deaths + p.b->deaths, 0);
  sim_net_clear(&p.net);
}

static uint64_t packets_of_an_hour(pair *p) {
  sim_net_run(&p->net, SIM_S(60));
  uint64_t before = p->a->sent_packets;
  sim_net_run(&p->net, SIM_S(3600));
  return p->a->sent_packets - before;
}

static void only_ways_in_use_are_kept_alive(void **state) {
  (void)state;
  pair p;
  meet_at_home(&p, 30);
  /* A look at the other candidates a minute, pongs for the peer's included. */
  uint64_t unused = packets_of_an_hour(&p);
  assert_in_range(unused, 60, 60 * 16);
  use_both(&p);
  /* A ping each five seconds, and a pong to each of the peer's. */
  uint64_t used = packets_of_an_hour(&p);
  assert_in_range(used, 2 * 600, 2 * 720 + 60 * 14);
  assert_int_equal(p.a->deaths, 0);
  sim_net_clear(&p.net);
}

static void a_way_that_is_heard_is_not_pinged(void **state) {
  (void)state;
  pair p;
  meet_at_home(&p, 30);
  sim_peer_use(p.a);
  km_punch_way_info before, after;
  assert_true(km_punch_find(p.a->core, &p.a->open[0], &before));
  for (int i = 0; i < 150; i++) { /* the looks at other candidates included */
    km_punch_heard(p.a->core, &p.a->open[0], p.net.now);
    sim_net_run(&p.net, SIM_S(1));
  }
  assert_true(km_punch_find(p.a->core, &p.a->open[0], &after));
  assert_in_range(after.pings - before.pings, 0, 6); /* calls of the peer, by both ways */
  sim_net_clear(&p.net);
}

static void a_rebound_nat_is_overcome(void **state) {
  (void)state;
  pair p;
  sim_link link = {.delay = SIM_MS(15)};
  meet(&p, 11, link, link, SIM_KIND_SYMMETRIC, SIM_KIND_ADDRESS);
  assert_true(sim_net_run_to_open(&p.net, SIM_S(5)));
  use_both(&p);
  sim_nat_flush(p.a->behind4);
  km_ts start = p.net.now;
  sim_net_run(&p.net, SIM_S(7));
  assert_true(sim_net_run_to_open(&p.net, SIM_S(1)));
  assert_true(p.net.now - start < SIM_S(8));
  sim_net_clear(&p.net);
}

static void move(sim_peer *peer) {
  sim_peer_move(peer, peer->behind4);
  sim_nat_flush(peer->behind4);
  peer->behind4->ip.ip[2]++;
  km_punch_network_changed(peer->core, peer->net->now);
  sim_peer_pull(peer);
}

static void both_change_their_network_at_once(void **state) {
  (void)state;
  for (uint64_t rtt = 10; rtt < 400; rtt += 50) {
    pair p;
    meet_at_home(&p, rtt);
    use_both(&p);
    km_punch_way old = p.a->open[0];
    move(p.a);
    move(p.b);
    sim_net_run(&p.net, SIM_MS(rtt)); /* to ask a STUN server */
    sim_peer_gather(p.a);
    sim_peer_gather(p.b);
    sim_net_run(&p.net, SIM_S(2));
    assert_true(p.a->open_count > 0 && p.b->open_count > 0);
    assert_false(km_udp_addr_equal(&p.a->open[0].addr, &old.addr));
    sim_net_clear(&p.net);
  }
}

static void a_new_way_is_found_while_the_old_one_lives(void **state) {
  (void)state;
  pair p;
  meet_at_home(&p, 30);
  assert_int_equal(p.a->open_count, 1);
  sim_peer_give_ip6(p.a, NULL);
  sim_peer_give_ip6(p.b, NULL);
  sim_peer_gather(p.a);
  sim_peer_gather(p.b);
  sim_net_run(&p.net, SIM_S(1));
  assert_int_equal(p.a->open_count, 2);
  assert_int_equal(p.b->open_count, 2);
  sim_net_clear(&p.net);
}

static void a_peer_that_speaks_no_disco_is_hardly_called(void **state) {
  (void)state;
  sim_net net;
  sim_net_init(&net, 1);
  sim_peer *peer = sim_net_peer(&net, sim_net_kind(&net, SIM_KIND_PORT));
  sim_peer_want(peer, true);
  sim_net_run(&net, SIM_S(60));
  assert_in_range(peer->sent_calls, 3, 6);
  uint64_t before = peer->sent_calls;
  sim_net_run(&net, SIM_S(3600));
  assert_in_range(peer->sent_calls - before, 10, 16); /* one in five minutes, in the end */
  sim_net_clear(&net);
}

/* A call a millisecond, each with 32 other addresses: the simulator sees to the pings. */
static void a_stream_of_calls_costs_little(void **state) {
  (void)state;
  sim_net net;
  sim_net_init(&net, 1);
  sim_peer *peer = sim_net_peer(&net, NULL);
  sim_peer_want(peer, true);
  km_disco_message call = {.type = KM_DISCO_CALL_ME_MAYBE, .call.flags = KM_CALL_ANSWER};
  call.call.count = KM_DISCO_MAX_CANDIDATES;
  for (uint32_t ms = 0; ms < 60000; ms++) {
    for (size_t i = 0; i < call.call.count; i++) {
      call.call.candidates[i] = (km_candidate){
          .source = KM_CANDIDATE_INTERFACE,
          .addr = {.family = 4, .port = (uint16_t)(1024 + ms), .ip = {11, 0, 0, (uint8_t)i}}};
    }
    sim_inject(peer, 0, NULL, &call);
    sim_net_run(&net, SIM_MS(1));
  }
  assert_true(peer->sent_calls <= 30);
  assert_true(peer->sent_packets <= 32 * 6 * 24);
  km_punch_way_info ways[KM_PUNCH_MAX_WAYS + 1];
  assert_true(km_punch_ways(peer->core, ways, KM_PUNCH_MAX_WAYS + 1) <= KM_PUNCH_MAX_WAYS);
  sim_net_clear(&net);
}

/* Some carriers forget a mapping after a minute, used or not. */
static void a_mapping_that_dies_by_the_clock_is_soon_replaced(void **state) {
  (void)state;
  pair p;
  meet_at_home(&p, 30);
  use_both(&p);
  p.a->behind4->config.fixed = SIM_S(60);
  p.a->behind4->config.ports = SIM_PORTS_RANDOM;
  uint64_t without = 0;
  for (uint64_t ms = 0; ms < 600000; ms += 10) {
    size_t before = p.a->open_count;
    sim_net_run(&p.net, SIM_MS(10));
    if (before == 0 && p.a->open_count > 0) {
      sim_peer_use(p.a);
    }
    without += p.a->open_count == 0 ? 10 : 0;
  }
  assert_in_range(p.a->deaths, 5, 15);
  assert_true(without / p.a->deaths < 1000);
  sim_net_clear(&p.net);
}

static void four_share_two_nats(void **state) {
  (void)state;
  sim_net net;
  sim_net_init(&net, 9);
  sim_nat *nats[] = {sim_net_kind(&net, SIM_KIND_PORT), sim_net_kind(&net, SIM_KIND_PORT)};
  for (size_t i = 0; i < 4; i++) {
    sim_peer_gather(sim_net_peer(&net, nats[i % 2]));
  }
  for (size_t i = 0; i < 4; i++) {
    sim_peer_want(&net.peers[i], true);
  }
  assert_true(sim_net_run_to_open(&net, SIM_S(1)));
  sim_net_clear(&net);
}

static void two_behind_one_nat_meet_at_home(void **state) {
  (void)state;
  sim_net net;
  sim_net_init(&net, 5);
  sim_nat *nat = sim_net_kind(&net, SIM_KIND_SYMMETRIC);
  sim_peer *a = sim_net_peer(&net, nat), *b = sim_net_peer(&net, nat);
  sim_peer_gather(a);
  sim_peer_gather(b);
  sim_peer_want(a, true);
  sim_peer_want(b, true);
  assert_true(sim_net_run_to_open(&net, SIM_S(1)));
  assert_true(km_udp_addr_equal(
      &(km_udp_addr){.family = 4,
                     .port = b->port,
                     .ip = {b->ip4.ip[0], b->ip4.ip[1], b->ip4.ip[2], b->ip4.ip[3]}},
      &a->open[0].addr));
  sim_net_clear(&net);
}

/* Two homes behind one carrier's NAT, which turns packets around, or does not. */
static bool meet_behind_a_carrier(bool hairpin) {
  sim_net net;
  sim_net_init(&net, 5);
  sim_nat_config carrier = {.mapping = KM_NAT_MAPPING_ENDPOINT_INDEPENDENT,
                            .filtering = KM_NAT_FILTERING_ENDPOINT_INDEPENDENT,
                            .ports = SIM_PORTS_RANDOM,
                            .hairpin = hairpin};
  sim_nat_config home = {.mapping = KM_NAT_MAPPING_ENDPOINT_INDEPENDENT,
                         .filtering = KM_NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT,
                         .ports = SIM_PORTS_RANDOM};
  sim_nat *outer = sim_net_nat(&net, &carrier, NULL);
  sim_peer *a = sim_net_peer(&net, sim_net_nat(&net, &home, outer));
  sim_peer *b = sim_net_peer(&net, sim_net_nat(&net, &home, outer));
  sim_peer_gather(a);
  sim_peer_gather(b);
  sim_peer_want(a, true);
  sim_peer_want(b, true);
  bool met = sim_net_run_to_open(&net, SIM_S(10));
  sim_net_clear(&net);
  return met;
}

static void hairpinning_decides_behind_a_carrier(void **state) {
  (void)state;
  assert_true(meet_behind_a_carrier(true));
  assert_false(meet_behind_a_carrier(false));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_bad_link_is_not_a_dead_way),
      cmocka_unit_test(death_is_noticed_fast),
      cmocka_unit_test(death_is_noticed_without_a_hint_while_in_use),
      cmocka_unit_test(what_is_heard_clears_a_suspicion),
      cmocka_unit_test(a_satellite_link_of_ten_seconds_connects),
      cmocka_unit_test(only_ways_in_use_are_kept_alive),
      cmocka_unit_test(a_way_that_is_heard_is_not_pinged),
      cmocka_unit_test(a_rebound_nat_is_overcome),
      cmocka_unit_test(both_change_their_network_at_once),
      cmocka_unit_test(a_new_way_is_found_while_the_old_one_lives),
      cmocka_unit_test(a_peer_that_speaks_no_disco_is_hardly_called),
      cmocka_unit_test(a_stream_of_calls_costs_little),
      cmocka_unit_test(a_mapping_that_dies_by_the_clock_is_soon_replaced),
      cmocka_unit_test(four_share_two_nats),
      cmocka_unit_test(two_behind_one_nat_meet_at_home),
      cmocka_unit_test(hairpinning_decides_behind_a_carrier),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
