/* Guessing the ports of a hard NAT: when, how many, how fast. */
#include "punch_lab.h"

#define EASY KM_NAT_MAPPING_ENDPOINT_INDEPENDENT
#define HARD KM_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT
#define STRICT KM_NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT
#define LAX KM_NAT_FILTERING_ADDRESS_DEPENDENT

#define PEER "192.0.2.1:4000"

/* Both NATs are known, and the rounds ran in vain for `ms`. */
static void set_up(lab *l, km_nat_info own, km_nat_info peer, uint8_t source, uint64_t ms) {
  lab_init(l);
  lab_local(l, "198.51.100.1:1", own.mapping4, own.filtering4, 0);
  lab_want(l, 0);
  const char *const addrs[] = {PEER, NULL};
  km_disco_message msg = lab_call(0, addrs, source);
  msg.call.nat = peer;
  assert_true(km_punch_input(l->p, NULL, &msg, 0));
  lab_pull(l);
  lab_run(l, ms);
}

static km_punch_state state_of(km_nat_info own, km_nat_info peer, uint8_t source) {
  lab l;
  set_up(&l, own, peer, source, 310);
  km_punch_state state = km_punch_get_state(l.p);
  lab_clear(&l);
  return state;
}

static uint64_t guessing_event(const lab *l) {
  km_punch_event events[KM_PUNCH_MAX_EVENTS];
  size_t count = km_punch_events(l->p, events, KM_PUNCH_MAX_EVENTS);
  assert_int_equal(lab_events(l, KM_PUNCH_EVENT_GUESSING), 1);
  while (count > 1 && events[count - 1].kind != KM_PUNCH_EVENT_GUESSING) {
    count--;
  }
  return events[count - 1].value;
}

static void only_hard_nats_before_strict_filters_are_guessed_at(void **state) {
  (void)state;
  const km_nat_info easy = {.mapping4 = EASY, .filtering4 = STRICT};
  const km_nat_info lax = {.mapping4 = EASY, .filtering4 = LAX};
  const km_nat_info hard = {.mapping4 = HARD, .filtering4 = STRICT};
  const km_nat_info by_address = {.mapping4 = KM_NAT_MAPPING_ADDRESS_DEPENDENT};
  const km_nat_info unknown = {0};
  const km_nat_info open = {.mapping4 = KM_NAT_MAPPING_NONE, .filtering4 = KM_NAT_FILTERING_NONE};
  const km_nat_info cone = {.mapping4 = EASY, .filtering4 = KM_NAT_FILTERING_ENDPOINT_INDEPENDENT};
  const uint8_t outer = KM_CANDIDATE_REFLEXIVE;
  assert_int_equal(state_of(easy, hard, outer), KM_PUNCH_GUESSING);
  assert_int_equal(state_of(easy, by_address, outer), KM_PUNCH_GUESSING);
  assert_int_equal(state_of(hard, easy, outer), KM_PUNCH_GUESSING);
  assert_int_equal(state_of(hard, hard, outer), KM_PUNCH_GUESSING);
  assert_int_equal(state_of(unknown, hard, outer), KM_PUNCH_GUESSING);
  assert_int_equal(state_of(easy, easy, outer), KM_PUNCH_ROUNDS);
  assert_int_equal(state_of(unknown, unknown, outer), KM_PUNCH_ROUNDS);
  assert_int_equal(state_of(lax, hard, outer), KM_PUNCH_ROUNDS);
  assert_int_equal(state_of(hard, lax, outer), KM_PUNCH_ROUNDS);
  assert_int_equal(state_of(open, hard, outer), KM_PUNCH_ROUNDS);
  assert_int_equal(state_of(hard, cone, outer), KM_PUNCH_ROUNDS);
  assert_int_equal(state_of(easy, hard, KM_CANDIDATE_INTERFACE), KM_PUNCH_ROUNDS); /* at what? */
  assert_int_equal(state_of(easy, hard, KM_CANDIDATE_SEEN), KM_PUNCH_GUESSING);
}

static void it_begins_after_two_rounds_in_vain(void **state) {
  (void)state;
  const km_nat_info easy = {.mapping4 = EASY, .filtering4 = STRICT};
  const km_nat_info hard = {.mapping4 = HARD, .filtering4 = STRICT};
  lab l;
  set_up(&l, easy, hard, KM_CANDIDATE_REFLEXIVE, 299);
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_ROUNDS);
  lab_run(&l, 300);
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_GUESSING);
  lab_run(&l, 3100);
  assert_int_equal(lab_pings(&l, PEER), 6); /* the rounds go on */
  lab_clear(&l);
}

static void guesses_are_distinct_ports_of_the_peer_a_few_a_second(void **state) {
  (void)state;
  const km_nat_info easy = {.mapping4 = EASY, .filtering4 = STRICT};
  const km_nat_info hard = {.mapping4 = HARD, .filtering4 = STRICT};
  static uint8_t seen[65536];
  static uint32_t per_second[64];
  km_udp_addr peer = lab_addr(PEER);
  lab l;
  set_up(&l, easy, hard, KM_CANDIDATE_REFLEXIVE, 14000);
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_WAITING);
  size_t guesses = 0;
  for (size_t i = 0; i < l.count; i++) {
    const km_udp_addr *addr = &l.outs[i].way.addr;
    if (l.outs[i].kind != KM_PUNCH_OUT_PING || km_udp_addr_equal(addr, &peer)) {
      continue;
    }
    assert_memory_equal(addr->ip, peer.ip, 4);
    assert_true(addr->port >= 1024);
    assert_int_equal(seen[addr->port], 0);
    seen[addr->port] = 1;
    assert_true(++per_second[l.outs[i].at / KM_NS_PER_S] <= 150);
    guesses++;
  }
  assert_int_equal(guesses, KM_PUNCH_MAX_GUESSES);
  km_punch_stats stats;
  km_punch_get_stats(l.p, &stats);
  assert_int_equal(stats.guesses, guesses);
  assert_int_equal(guessing_event(&l), guesses);
  lab_clear(&l);
}

static void guesses_that_the_budget_keeps_back_come_later(void **state) {
  (void)state;
  const km_nat_info easy = {.mapping4 = EASY, .filtering4 = STRICT};
  const km_nat_info hard = {.mapping4 = HARD, .filtering4 = STRICT};
  lab l;
  set_up(&l, easy, hard, KM_CANDIDATE_REFLEXIVE, 310);
  lab_forget(&l);
  l.budget = (km_probe_budget){.left = 0, .refilled = MS(400)}; /* other peers used it */
  lab_run(&l, 400);
  assert_int_equal(l.count, 0);
  km_punch_stats stats;
  km_punch_get_stats(l.p, &stats);
  assert_int_equal(stats.put_off, 5); /* a tick of 20 ms each */
  lab_run(&l, 15000);
  km_punch_get_stats(l.p, &stats);
  assert_int_equal(stats.guesses, KM_PUNCH_MAX_GUESSES);
  lab_clear(&l);
}

/* The peer's outer addresses are two, one of them with two ports. */
static void call_with_three(lab *l, km_nat_info own, km_nat_info peer) {
  const char *const addrs[] = {PEER, "192.0.2.1:4001", "192.0.2.2:4000", NULL};
  lab_init(l);
  lab_local(l, "198.51.100.1:1", own.mapping4, own.filtering4, 0);
  lab_want(l, 0);
  km_disco_message msg = lab_call(0, addrs, KM_CANDIDATE_REFLEXIVE);
  msg.call.nat = peer;
  assert_true(km_punch_input(l->p, NULL, &msg, 0));
  lab_pull(l);
  lab_run(l, 300);
  lab_forget(l);
}

static void ports_are_guessed_of_two_addresses(void **state) {
  (void)state;
  const km_nat_info easy = {.mapping4 = EASY, .filtering4 = STRICT};
  const km_nat_info hard = {.mapping4 = HARD, .filtering4 = STRICT};
  lab l;
  size_t guesses[3] = {0};
  call_with_three(&l, easy, hard);
  lab_run(&l, 690);
  for (size_t i = 0; i < l.count; i++) {
    assert_in_range(l.outs[i].way.addr.ip[3], 1, 2);
    guesses[l.outs[i].way.addr.ip[3]]++;
  }
  assert_true(guesses[1] >= 20 && guesses[2] >= 20);
  lab_clear(&l);
}

static void a_spray_goes_to_two_ports(void **state) {
  (void)state;
  const km_nat_info easy = {.mapping4 = EASY, .filtering4 = STRICT};
  const km_nat_info hard = {.mapping4 = HARD, .filtering4 = STRICT};
  const km_via vias[] = {1, 2, 3};
  lab l;
  size_t pings[2] = {0};
  call_with_three(&l, hard, easy);
  km_punch_spray_ready(l.p, vias, 3, MS(300));
  lab_run(&l, 690);
  for (size_t i = 0; i < l.count; i++) {
    if (l.outs[i].way.via != 0) {
      assert_int_equal(l.outs[i].way.addr.ip[3], 1);
      pings[l.outs[i].way.addr.port - 4000]++;
    }
  }
  assert_int_equal(pings[0], 3);
  assert_int_equal(pings[1], 3);
  lab_clear(&l);
}

static void predicted_ports_come_first(void **state) {
  (void)state;
  const km_nat_info easy = {.mapping4 = EASY, .filtering4 = STRICT};
  const km_nat_info hard = {.mapping4 = HARD, .filtering4 = STRICT, .port_step = -2};
  lab l;
  set_up(&l, easy, hard, KM_CANDIDATE_REFLEXIVE, 299);
  lab_forget(&l);
  lab_run(&l, 690); /* before the next round, which is at 700 */
  unsigned n = 0;
  for (size_t i = 0; i < l.count && n < 32; i++) {
    if (l.outs[i].way.addr.port != 4000) {
      assert_int_equal(l.outs[i].way.addr.port, 4000 - 2 * ++n);
    }
  }
  assert_int_equal(n, 32);
  lab_clear(&l);
}

static void predicted_ports_wrap_around(void **state) {
  (void)state;
  const km_nat_info easy = {.mapping4 = EASY, .filtering4 = STRICT};
  const km_nat_info hard = {.mapping4 = HARD, .filtering4 = STRICT, .port_step = 32767};
  lab l;
  set_up(&l, easy, hard, KM_CANDIDATE_REFLEXIVE, 600);
  for (size_t i = 0; i < l.count; i++) {
    assert_true(l.outs[i].kind != KM_PUNCH_OUT_PING || l.outs[i].way.addr.port >= 1024);
  }
  lab_clear(&l);
}

static bool pong_to(lab *l, const lab_out *ping, uint64_t at_ms) {
  km_disco_message pong = {.type = KM_DISCO_PONG};
  memcpy(pong.tx, ping->msg.tx, sizeof pong.tx);
  l->now = MS(at_ms);
  bool ours = km_punch_input(l->p, &ping->way, &pong, l->now);
  lab_pull(l);
  return ours;
}

static void a_good_guess_opens_a_way_and_ends_the_guessing(void **state) {
  (void)state;
  const km_nat_info easy = {.mapping4 = EASY, .filtering4 = STRICT};
  const km_nat_info hard = {.mapping4 = HARD, .filtering4 = STRICT};
  lab l;
  set_up(&l, easy, hard, KM_CANDIDATE_REFLEXIVE, 1000);
  lab_out ping = *lab_last(&l, KM_PUNCH_OUT_PING);
  lab_out elsewhere = ping;
  elsewhere.way.addr.port ^= 1;
  assert_false(pong_to(&l, &elsewhere, 1030)); /* not where that ping went */
  assert_true(pong_to(&l, &ping, 1031));
  assert_true(km_udp_addr_equal(&lab_last(&l, KM_PUNCH_OUT_OPEN)->way.addr, &ping.way.addr));
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_OPEN);
  km_punch_way_info info;
  assert_true(km_punch_find(l.p, &ping.way, &info));
  assert_int_equal(info.source, KM_CANDIDATE_GUESSED);
  assert_int_equal(info.rtt_ns, MS(31));
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_SPRAY_END), 0); /* there were no sockets */
  lab_forget(&l);
  lab_run(&l, 5000);
  for (size_t i = 0; i < l.count; i++) {
    assert_int_equal(l.outs[i].way.addr.port, 4000); /* rounds that were left, no more guesses */
  }
  lab_clear(&l);
}

static void a_guess_is_remembered_after_its_attempt(void **state) {
  (void)state;
  const km_nat_info easy = {.mapping4 = EASY, .filtering4 = STRICT};
  const km_nat_info hard = {.mapping4 = HARD, .filtering4 = STRICT};
  for (int late = 0; late < 2; late++) {
    lab l;
    set_up(&l, easy, hard, KM_CANDIDATE_REFLEXIVE, 7000);
    lab_out ping = *lab_last(&l, KM_PUNCH_OUT_PING);
    lab_run(&l, 10000);
    assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_WAITING);
    assert_true(pong_to(&l, &ping, ping.at / KM_NS_PER_MS + 30000 + (uint64_t)late) == !late);
    lab_clear(&l);
  }
}

static void spray(lab *l, uint64_t ms) {
  const km_nat_info easy = {.mapping4 = EASY, .filtering4 = STRICT};
  const km_nat_info hard = {.mapping4 = HARD, .filtering4 = STRICT};
  set_up(l, hard, easy, KM_CANDIDATE_REFLEXIVE, 300);
  const lab_out *out = lab_last(l, KM_PUNCH_OUT_SPRAY);
  assert_int_equal(out->count, KM_PUNCH_SPRAY_SOCKETS);
  assert_int_equal(out->way.addr.family, 4);
  km_via vias[KM_PUNCH_SPRAY_SOCKETS];
  for (size_t i = 0; i < COUNT_OF(vias); i++) {
    vias[i] = (km_via)(i + 1);
  }
  km_punch_spray_ready(l->p, vias, COUNT_OF(vias), MS(300));
  lab_run(l, ms);
}

static size_t sprayed(const lab *l, km_via via) {
  size_t n = 0;
  for (size_t i = 0; i < l->count; i++) {
    n += l->outs[i].kind == KM_PUNCH_OUT_PING && l->outs[i].way.via == via;
  }
  return n;
}

static void a_spray_pings_the_peer_from_every_socket(void **state) {
  (void)state;
  lab l;
  spray(&l, 2500);
  km_udp_addr peer = lab_addr(PEER);
  for (km_via via = 1; via <= KM_PUNCH_SPRAY_SOCKETS; via++) {
    assert_int_equal(sprayed(&l, via), 1);
  }
  for (size_t i = 0; i < l.count; i++) {
    assert_true(l.outs[i].kind != KM_PUNCH_OUT_PING ||
                km_udp_addr_equal(&l.outs[i].way.addr, &peer));
  }
  lab_run(&l, 5500);
  assert_int_equal(sprayed(&l, 1), 2); /* again after three seconds */
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_SPRAY_END), 0);
  lab_run(&l, 10299); /* nine seconds, and one for what is on its way */
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_SPRAY_END), 0);
  lab_run(&l, 10300);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_SPRAY_END), 1);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_SPRAY), 1);
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_WAITING);
  assert_int_equal(guessing_event(&l), KM_PUNCH_SPRAY_SOCKETS);
  lab_clear(&l);
}

static void a_socket_that_is_met_stays(void **state) {
  (void)state;
  lab l;
  spray(&l, 2500);
  km_punch_way way = {.via = 77, .addr = lab_addr(PEER)};
  km_punch_way lost = {.via = 78, .addr = lab_addr(PEER)};
  km_disco_message ping = {.type = KM_DISCO_PING};
  assert_true(km_punch_input(l.p, &lost, &ping, MS(2501)));
  assert_true(km_punch_input(l.p, &way, &ping, MS(2501)));
  lab_pull(&l);
  lab_out answer = *lab_last(&l, KM_PUNCH_OUT_PING);
  assert_int_equal(answer.way.via, 77);
  assert_true(pong_to(&l, &answer, 2530));
  assert_int_equal(lab_last(&l, KM_PUNCH_OUT_OPEN)->way.via, 77);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_SPRAY_END), 1);
  km_punch_way_info info;
  assert_false(km_punch_find(l.p, &lost, &info)); /* its socket is closed */
  lab_run(&l, 3000);
  lab_forget(&l);
  km_punch_suspect(l.p, &way, MS(3000));
  lab_run(&l, 4000);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_DEAD), 1);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_SPRAY_END), 1); /* nothing needs it any more */
  assert_false(km_punch_find(l.p, &way, &info));
  lab_clear(&l);
}

static void a_pong_to_a_spray_opens_as_well(void **state) {
  (void)state;
  lab l;
  spray(&l, 400);
  lab_out ping = *lab_last(&l, KM_PUNCH_OUT_PING);
  assert_true(ping.way.via != 0);
  assert_true(pong_to(&l, &ping, 430));
  assert_int_equal(lab_last(&l, KM_PUNCH_OUT_OPEN)->way.via, ping.way.via);
  lab_clear(&l);
}

static void without_sockets_the_spray_ends(void **state) {
  (void)state;
  const km_nat_info easy = {.mapping4 = EASY, .filtering4 = STRICT};
  const km_nat_info hard = {.mapping4 = HARD, .filtering4 = STRICT};
  lab l;
  set_up(&l, hard, easy, KM_CANDIDATE_REFLEXIVE, 300);
  km_punch_spray_ready(l.p, NULL, 0, MS(300));
  lab_run(&l, 4099);
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_GUESSING); /* the rounds go on */
  lab_run(&l, 4100);
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_WAITING);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_SPRAY_END), 0);
  lab_clear(&l);
}

static void sockets_that_nobody_brings_are_waited_for_in_bounds(void **state) {
  (void)state;
  const km_nat_info easy = {.mapping4 = EASY, .filtering4 = STRICT};
  const km_nat_info hard = {.mapping4 = HARD, .filtering4 = STRICT};
  lab l;
  set_up(&l, hard, easy, KM_CANDIDATE_REFLEXIVE, 9300);
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_WAITING);
  km_via via = 1;
  km_punch_spray_ready(l.p, NULL, 0, MS(9400));
  lab_pull(&l);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_SPRAY_END), 0);
  km_punch_spray_ready(l.p, &via, 1, MS(9400)); /* too late: close it */
  lab_pull(&l);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_SPRAY_END), 1);
  assert_int_equal(sprayed(&l, 1), 0);
  lab_clear(&l);
}

static void sockets_may_go_while_spraying(void **state) {
  (void)state;
  lab l;
  spray(&l, 310);
  for (km_via via = 1; via <= KM_PUNCH_SPRAY_SOCKETS - 5; via++) {
    km_punch_via_gone(l.p, via);
  }
  lab_pull(&l);
  lab_forget(&l);
  lab_run(&l, 7000);
  for (km_via via = 1; via <= KM_PUNCH_SPRAY_SOCKETS - 5; via++) {
    assert_int_equal(sprayed(&l, via), 0);
  }
  assert_true(sprayed(&l, KM_PUNCH_SPRAY_SOCKETS) > 0);
  for (km_via via = 1; via <= KM_PUNCH_SPRAY_SOCKETS; via++) {
    km_punch_via_gone(l.p, via);
  }
  lab_forget(&l);
  lab_run(&l, 20000);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_PING), lab_pings(&l, PEER));
  lab_clear(&l);
}

static void at_rest_the_sockets_are_closed(void **state) {
  (void)state;
  lab l;
  spray(&l, 2500);
  lab_forget(&l);
  km_punch_want(l.p, false, MS(2500));
  lab_run(&l, 100000);
  assert_int_equal(l.count, 1);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_SPRAY_END), 1);
  lab_clear(&l);
}

static void two_sequential_nats_count_toward_each_other(void **state) {
  (void)state;
  const km_nat_info own = {.mapping4 = HARD, .filtering4 = STRICT};
  const km_nat_info peer = {.mapping4 = HARD, .filtering4 = STRICT, .port_step = 3};
  lab l;
  set_up(&l, own, peer, KM_CANDIDATE_REFLEXIVE, 299);
  lab_forget(&l);
  lab_run(&l, 14000); /* one attempt */
  size_t guesses = 0;
  uint16_t last = 0;
  for (size_t i = 0; i < l.count; i++) {
    uint16_t port = l.outs[i].way.addr.port;
    if (l.outs[i].kind == KM_PUNCH_OUT_PING && port != 4000) {
      assert_true(last == 0 || port == last - 3); /* ours is the greater id: downward */
      last = port;
      guesses++;
    }
  }
  assert_in_range(guesses, 32, 33);
  assert_int_equal(last, 4003);
  lab_clear(&l);
}

static void two_random_nats_are_tried_a_little(void **state) {
  (void)state;
  const km_nat_info hard = {.mapping4 = HARD, .filtering4 = STRICT};
  lab l;
  set_up(&l, hard, hard, KM_CANDIDATE_REFLEXIVE, 14000);
  km_punch_stats stats;
  km_punch_get_stats(l.p, &stats);
  assert_int_equal(stats.guesses, 64);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_SPRAY), 0);
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_WAITING);
  lab_clear(&l);
}

static void without_memory_nothing_is_guessed(void **state) {
  (void)state;
  const km_nat_info easy = {.mapping4 = EASY, .filtering4 = STRICT};
  const km_nat_info hard = {.mapping4 = HARD, .filtering4 = STRICT};
  lab l;
  set_up(&l, easy, hard, KM_CANDIDATE_REFLEXIVE, 299);
  l.env.fail_after = 0;
  lab_run(&l, 4100);
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_WAITING);
  l.env.fail_after = -1;
  lab_run(&l, 4100 + 15000 + 300);
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_GUESSING);
  lab_clear(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(only_hard_nats_before_strict_filters_are_guessed_at),
      cmocka_unit_test(it_begins_after_two_rounds_in_vain),
      cmocka_unit_test(guesses_are_distinct_ports_of_the_peer_a_few_a_second),
      cmocka_unit_test(guesses_that_the_budget_keeps_back_come_later),
      cmocka_unit_test(ports_are_guessed_of_two_addresses),
      cmocka_unit_test(a_spray_goes_to_two_ports),
      cmocka_unit_test(predicted_ports_come_first),
      cmocka_unit_test(predicted_ports_wrap_around),
      cmocka_unit_test(a_good_guess_opens_a_way_and_ends_the_guessing),
      cmocka_unit_test(a_guess_is_remembered_after_its_attempt),
      cmocka_unit_test(a_spray_pings_the_peer_from_every_socket),
      cmocka_unit_test(a_socket_that_is_met_stays),
      cmocka_unit_test(a_pong_to_a_spray_opens_as_well),
      cmocka_unit_test(without_sockets_the_spray_ends),
      cmocka_unit_test(sockets_that_nobody_brings_are_waited_for_in_bounds),
      cmocka_unit_test(sockets_may_go_while_spraying),
      cmocka_unit_test(at_rest_the_sockets_are_closed),
      cmocka_unit_test(two_sequential_nats_count_toward_each_other),
      cmocka_unit_test(two_random_nats_are_tried_a_little),
      cmocka_unit_test(without_memory_nothing_is_guessed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
