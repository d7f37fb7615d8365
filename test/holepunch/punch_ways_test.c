/* Which ways there are, how one opens, how it is judged, how it dies. */
#include "punch_lab.h"

#define PEER "192.0.2.1:4000"
#define OTHER "192.0.2.66:4000"

static void a_way_opens_only_on_a_pong_from_the_pinged_address(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_want(&l, 0);
  lab_called(&l, 0, PEER, 0);
  uint8_t tx[KM_DISCO_TX_LEN];
  memcpy(tx, lab_last_ping(&l, PEER)->msg.tx, sizeof tx);
  assert_false(lab_pong(&l, tx, OTHER, 30)); /* the right number, another address */
  km_disco_message msg = {.type = KM_DISCO_PONG};
  memcpy(msg.tx, tx, sizeof tx);
  km_punch_way other_socket = {.via = 7, .addr = lab_addr(PEER)};
  assert_false(km_punch_input(l.p, &other_socket, &msg, MS(30)));
  assert_false(km_punch_input(l.p, NULL, &msg, MS(30))); /* through the relay */
  tx[0] ^= 1;
  assert_false(lab_pong(&l, tx, PEER, 30)); /* the right address, another number */
  tx[0] ^= 1;
  lab_pull(&l);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_OPEN), 0);
  assert_true(lab_pong(&l, tx, PEER, 31));
  assert_true(km_udp_addr_equal(&lab_last(&l, KM_PUNCH_OUT_OPEN)->way.addr,
                                &(km_udp_addr){.family = 4, .port = 4000, .ip = {192, 0, 2, 1}}));
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_OPEN);
  km_punch_stats stats;
  km_punch_get_stats(l.p, &stats);
  assert_int_equal(stats.pongs_received, 5);
  assert_int_equal(stats.pongs_stray, 4);
  assert_int_equal(stats.successes, 1);
  assert_int_equal(stats.time_to_direct_ns, MS(31));
  lab_clear(&l);
}

static void a_pong_counts_once(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_want(&l, 0);
  lab_called(&l, 0, PEER, 0);
  const uint8_t *tx = lab_last_ping(&l, PEER)->msg.tx;
  assert_true(lab_pong(&l, tx, PEER, 30));
  assert_false(lab_pong(&l, tx, PEER, 31));
  assert_int_equal(lab_info(&l, PEER).pongs, 1);
  lab_clear(&l);
}

static void a_pong_counts_for_thirty_seconds(void **state) {
  (void)state;
  lab l;
  for (int late = 0; late < 2; late++) {
    lab_init(&l);
    lab_want(&l, 0);
    lab_called(&l, 0, PEER, 0);
    uint8_t tx[KM_DISCO_TX_LEN];
    memcpy(tx, lab_last_ping(&l, PEER)->msg.tx, sizeof tx);
    lab_run(&l, 29000); /* one attempt was in vain meanwhile */
    assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_OPEN), 0);
    assert_true(lab_pong(&l, tx, PEER, late ? 30001 : 30000) == !late);
    assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_OPEN), !late);
    lab_clear(&l);
  }
}

static void a_late_pong_opens_while_waiting(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_want(&l, 0);
  lab_called(&l, 0, PEER, 0);
  lab_run(&l, 10000);
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_WAITING);
  assert_true(lab_pong(&l, lab_last_ping(&l, PEER)->msg.tx, PEER, 10001));
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_OPEN);
  lab_clear(&l);
}

static void a_ping_from_an_unknown_address_is_a_candidate(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_want(&l, 0);
  lab_ping(&l, OTHER, 5);
  assert_int_equal(lab_pings(&l, OTHER), 1); /* at once */
  assert_int_equal(lab_info(&l, OTHER).source, KM_CANDIDATE_PEER_REFLEXIVE);
  assert_int_equal(lab_info(&l, OTHER).state, KM_PUNCH_WAY_PROBING);
  assert_true(lab_pong(&l, lab_last_ping(&l, OTHER)->msg.tx, OTHER, 20));
  assert_int_equal(lab_info(&l, OTHER).state, KM_PUNCH_WAY_OPEN);
  assert_int_equal(lab_info(&l, OTHER).rtt_ns, MS(15));
  lab_clear(&l);
}

static void pings_are_answered_by_pings_every_fifty_ms_at_most(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_want(&l, 0);
  for (uint64_t ms = 5; ms < 55; ms++) {
    lab_ping(&l, OTHER, ms);
  }
  assert_int_equal(lab_pings(&l, OTHER), 1);
  lab_ping(&l, OTHER, 55);
  assert_int_equal(lab_pings(&l, OTHER), 2);
  lab_clear(&l);
}

static void at_rest_a_ping_is_remembered_and_nothing_is_sent(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_ping(&l, OTHER, 5);
  lab_called(&l, KM_CALL_ANSWER, PEER, 6);
  assert_int_equal(l.count, 0);
  assert_true(km_punch_deadline(l.p) == KM_TS_NEVER);
  assert_true(lab_knows(&l, OTHER) && lab_knows(&l, PEER));
  lab_want(&l, 100);
  assert_int_equal(lab_pings(&l, OTHER), 1);
  assert_int_equal(lab_pings(&l, PEER), 1);
  lab_clear(&l);
}

static void our_own_addresses_are_no_candidates(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_want(&l, 0);
  lab_called(&l, 0, PEER, 0);
  lab_local(&l, PEER, KM_NAT_MAPPING_NONE, KM_NAT_FILTERING_NONE, 1);
  assert_false(lab_knows(&l, PEER)); /* it turned out to be ours */
  lab_called(&l, 0, PEER, 2);
  lab_ping(&l, PEER, 3);
  assert_false(lab_knows(&l, PEER));
  const km_candidate own[] = {{.source = KM_CANDIDATE_INTERFACE, .addr = lab_addr("192.0.2.7:7")},
                              {.source = KM_CANDIDATE_INTERFACE, .addr = lab_addr(OTHER)},
                              {.source = KM_CANDIDATE_SEEN, .addr = lab_addr(PEER)}};
  const km_nat_info nat = {0};
  km_punch_set_local(l.p, own, COUNT_OF(own), &nat, NULL, MS(4));
  lab_called(&l, 0, OTHER, 5);
  assert_false(lab_knows(&l, OTHER));
  lab_called(&l, 0, PEER, 6);
  assert_true(lab_knows(&l, PEER)); /* ours as somebody says, who may lie */
  lab_clear(&l);
}

static void loopback_is_for_two_on_one_machine(void **state) {
  (void)state;
  const char *const peers[] = {"127.0.0.1:4000", "[::1]:4000"};
  for (size_t i = 0; i < 2; i++) {
    lab l;
    lab_init(&l);
    lab_called(&l, 0, peers[i], 0);
    assert_false(lab_knows(&l, peers[i]));
    lab_local(&l, "127.0.0.1:5000", 0, 0, 1);
    lab_called(&l, 0, peers[i], 2);
    assert_true(lab_knows(&l, peers[i]));
    lab_local(&l, "192.0.2.7:5000", 0, 0, 3);
    assert_false(lab_knows(&l, peers[i]));
    const km_candidate lie = {.source = KM_CANDIDATE_SEEN, .addr = lab_addr("127.0.0.1:5000")};
    const km_nat_info nat = {0};
    km_punch_set_local(l.p, &lie, 1, &nat, NULL, MS(4));
    lab_called(&l, 0, peers[i], 5);
    assert_false(lab_knows(&l, peers[i]));
    lab_clear(&l);
  }
}

static void addresses_that_may_not_be_probed_are_not(void **state) {
  (void)state;
  const char *const bad[] = {"224.0.0.1:4000", "0.0.0.0:4000", "255.255.255.255:4000",
                             "[ff02::1]:4000", "[::]:4000"};
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    lab l;
    lab_init(&l);
    lab_want(&l, 0);
    lab_called(&l, 0, bad[i], 1);
    km_udp_addr addr = lab_addr(bad[i]);
    km_punch_add(l.p, &addr, KM_CANDIDATE_GIVEN, MS(2));
    lab_ping(&l, bad[i], 3);
    assert_false(lab_knows(&l, bad[i]));
    assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_PING), 0);
    lab_clear(&l);
  }
}

static void ipv6_is_treated_alike(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_want(&l, 0);
  lab_called(&l, 0, "[2001:db8::1]:4000", 1);
  assert_int_equal(lab_pings(&l, "[2001:db8::1]:4000"), 1);
  assert_true(
      lab_pong(&l, lab_last_ping(&l, "[2001:db8::1]:4000")->msg.tx, "[2001:db8::1]:4000", 9));
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_OPEN), 1);
  lab_clear(&l);
}

static void a_given_address_is_pinged_at_once(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  km_udp_addr addr = lab_addr(PEER), later = lab_addr(OTHER);
  km_punch_add(l.p, &addr, KM_CANDIDATE_GIVEN, 0);
  lab_pull(&l);
  assert_int_equal(l.count, 0);
  lab_want(&l, 1);
  assert_int_equal(lab_pings(&l, PEER), 1);
  km_punch_add(l.p, &later, KM_CANDIDATE_GIVEN, MS(2));
  lab_pull(&l);
  assert_int_equal(lab_pings(&l, OTHER), 1);
  km_punch_add(l.p, &later, KM_CANDIDATE_GIVEN, MS(3)); /* known */
  lab_pull(&l);
  assert_int_equal(lab_pings(&l, OTHER), 1);
  lab_clear(&l);
}

static void a_new_call_replaces_the_candidates_of_the_former(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  const char *const first[] = {PEER, OTHER, "192.0.2.3:3", "192.0.2.4:4", NULL};
  const char *const second[] = {OTHER, NULL};
  km_udp_addr given = lab_addr("192.0.2.4:4");
  km_punch_add(l.p, &given, KM_CANDIDATE_GIVEN, 0);
  lab_want(&l, 0);
  km_disco_message msg = lab_call(0, first, KM_CANDIDATE_INTERFACE);
  assert_true(km_punch_input(l.p, NULL, &msg, 0));
  lab_pull(&l);
  assert_int_equal(lab_info(&l, "192.0.2.4:4").source, KM_CANDIDATE_GIVEN | KM_CANDIDATE_INTERFACE);
  assert_true(lab_pong(&l, lab_last_ping(&l, "192.0.2.3:3")->msg.tx, "192.0.2.3:3", 9));
  msg = lab_call(0, second, KM_CANDIDATE_MAPPED);
  assert_true(km_punch_input(l.p, NULL, &msg, MS(10)));
  assert_false(lab_knows(&l, PEER));
  assert_int_equal(lab_info(&l, OTHER).source, KM_CANDIDATE_MAPPED);
  assert_int_equal(lab_info(&l, "192.0.2.3:3").state, KM_PUNCH_WAY_OPEN); /* proven */
  assert_int_equal(lab_info(&l, "192.0.2.4:4").source, KM_CANDIDATE_GIVEN);
  lab_clear(&l);
}

static void sources_that_no_call_can_know_are_not_believed(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  const char *const addrs[] = {PEER, NULL};
  km_disco_message msg = lab_call(0, addrs, KM_CANDIDATE_GIVEN);
  assert_true(km_punch_input(l.p, NULL, &msg, 0));
  assert_int_equal(lab_info(&l, PEER).source, KM_CANDIDATE_SEEN);
  lab_clear(&l);
}

static void strangers_push_out_strangers_only(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, PEER);
  lab_called(&l, 0, OTHER, 1000);
  for (unsigned i = 0; i < 2000; i++) {
    char from[32];
    (void)snprintf(from, sizeof from, "198.51.%u.%u:%u", i / 250, 1 + i % 250, 1000 + i);
    lab_ping(&l, from, 1001 + i);
  }
  assert_int_equal(lab_info(&l, PEER).state, KM_PUNCH_WAY_OPEN);
  assert_true(lab_knows(&l, OTHER));
  assert_true(lab_knows(&l, "198.51.7.250:2999")); /* the newest */
  km_punch_way_info ways[KM_PUNCH_MAX_WAYS];
  assert_int_equal(km_punch_ways(l.p, ways, KM_PUNCH_MAX_WAYS), 2 + 16);
  lab_clear(&l);
}

static void a_full_table_keeps_what_is_open_or_used(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, PEER);
  for (unsigned call = 0; call < 4; call++) {
    for (unsigned i = 0; i < 32; i++) {
      km_udp_addr addr = {.family = 4, .port = (uint16_t)(1 + call * 32 + i), .ip = {192, 0, 2, 9}};
      km_punch_add(l.p, &addr, KM_CANDIDATE_GIVEN, MS(1000));
      lab_pull(&l);
    }
  }
  km_punch_way_info ways[KM_PUNCH_MAX_WAYS + 1];
  assert_int_equal(km_punch_ways(l.p, ways, KM_PUNCH_MAX_WAYS + 1), KM_PUNCH_MAX_WAYS);
  assert_int_equal(lab_info(&l, PEER).state, KM_PUNCH_WAY_OPEN);
  assert_false(lab_knows(&l, "192.0.2.9:1")); /* the oldest made room */
  assert_true(lab_knows(&l, "192.0.2.9:128"));
  assert_int_equal(km_punch_ways(l.p, ways, 3), 3);
  lab_clear(&l);
}

static void what_once_worked_outlives_what_never_did(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, PEER);
  km_punch_way way = lab_way(PEER);
  l.now = MS(1000);
  km_punch_suspect(l.p, &way, MS(1000));
  lab_run(&l, 2000);
  assert_int_equal(lab_info(&l, PEER).state, KM_PUNCH_WAY_DEAD);
  for (unsigned i = 0; i < 2 * KM_PUNCH_MAX_WAYS; i++) {
    km_udp_addr addr = {.family = 4, .port = (uint16_t)(1 + i), .ip = {192, 0, 2, 9}};
    km_punch_add(l.p, &addr, KM_CANDIDATE_GIVEN, MS(2000));
    lab_pull(&l);
  }
  assert_true(lab_knows(&l, PEER));
  lab_clear(&l);
}

static void pings_before_the_hole_was_there_are_no_losses(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_want(&l, 0);
  lab_called(&l, 0, PEER, 0);
  lab_run(&l, 100); /* the second round */
  assert_true(lab_pong(&l, lab_last_ping(&l, PEER)->msg.tx, PEER, 130));
  lab_run(&l, 3000);
  assert_int_equal(lab_info(&l, PEER).state, KM_PUNCH_WAY_OPEN);
  assert_int_equal(lab_info(&l, PEER).loss_permille, 0);
  assert_int_equal(lab_events(&l, KM_PUNCH_EVENT_SUSPECT), 0);
  lab_clear(&l);
}

static void no_round_trip_is_zero(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_want(&l, 0);
  lab_called(&l, 0, PEER, 0);
  assert_true(lab_pong(&l, lab_last_ping(&l, PEER)->msg.tx, PEER, 0));
  assert_int_equal(lab_info(&l, PEER).rtt_ns, 1); /* 0 is "never answered" */
  lab_clear(&l);
}

static void round_trips_are_smoothed_and_losses_counted(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, PEER); /* a round trip of 30 ms */
  km_punch_way way = lab_way(PEER);
  assert_int_equal(lab_info(&l, PEER).rtt_ns, MS(30));
  assert_int_equal(lab_info(&l, PEER).loss_permille, 0);
  km_punch_way_info info = lab_info(&l, PEER);
  km_udp_addr observed = lab_addr("203.0.113.9:999");
  assert_true(km_udp_addr_equal(&info.observed, &observed));
  km_punch_suspect(l.p, &way, MS(1000));
  l.now = MS(1000);
  lab_run(&l, 1030); /* two pings are out */
  assert_int_equal(lab_pings(&l, PEER), 2);
  assert_true(lab_pong(&l, lab_last_ping(&l, PEER)->msg.tx, PEER, 1095)); /* sent at 1,025: 70 ms */
  assert_int_equal(lab_info(&l, PEER).rtt_ns, MS(35));
  lab_run(&l, 1400);
  assert_int_equal(lab_info(&l, PEER).loss_permille, 333); /* the other one, of three */
  lab_clear(&l);
}

static void a_way_in_use_is_pinged_after_eight_silent_seconds(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, PEER); /* heard at 30 ms */
  km_punch_way way = lab_way(PEER);
  lab_run(&l, 20000);
  assert_int_equal(lab_pings(&l, PEER), 0); /* nobody uses it */
  km_punch_heard(l.p, &way, MS(20000));
  km_punch_use(l.p, &way, true, MS(20000));
  km_punch_use(l.p, &way, true, MS(20000));
  assert_int_equal(km_punch_deadline(l.p), MS(28000));
  km_punch_heard(l.p, &way, MS(22000));
  assert_int_equal(km_punch_deadline(l.p), MS(30000));
  lab_run(&l, 30000);
  assert_int_equal(lab_pings(&l, PEER), 1);
  assert_true(lab_pong(&l, lab_last_ping(&l, PEER)->msg.tx, PEER, 30030));
  km_punch_use(l.p, &way, false, MS(30030)); /* one of two */
  assert_int_equal(km_punch_deadline(l.p), MS(38030));
  km_punch_use(l.p, &way, false, MS(30030));
  assert_true(km_punch_deadline(l.p) > MS(38030));
  km_punch_use(l.p, &way, false, MS(30030)); /* once too often changes nothing */
  assert_true(km_punch_deadline(l.p) > MS(38030));
  lab_clear(&l);
}

static void a_suspected_way_dies_after_five_unanswered_pings(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, PEER);
  km_punch_way way = lab_way(PEER);
  l.now = MS(1000);
  km_punch_suspect(l.p, &way, MS(1000));
  lab_pull(&l);
  assert_int_equal(lab_pings(&l, PEER), 1); /* at once */
  assert_int_equal(lab_info(&l, PEER).state, KM_PUNCH_WAY_SUSPECT);
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_OPEN);
  km_punch_suspect(l.p, &way, MS(1001)); /* known */
  lab_run(&l, 1299);                     /* 25 ms apart, the last at 1,100; 200 ms each */
  assert_int_equal(lab_pings(&l, PEER), 5);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_DEAD), 0);
  lab_forget(&l);
  lab_run(&l, 1300);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_DEAD), 1);
  assert_int_equal(lab_info(&l, PEER).state, KM_PUNCH_WAY_DEAD);
  assert_true(lab_info(&l, PEER).opened_at == KM_TS_NEVER);
  assert_int_equal(lab_info(&l, PEER).heard_at, MS(30));
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_ROUNDS); /* the last one */
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_CALL), 1);
  assert_int_equal(lab_pings(&l, PEER), 1);
  assert_true(lab_pong(&l, lab_last_ping(&l, PEER)->msg.tx, PEER, 1330));
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_OPEN), 1);
  lab_clear(&l);
}

static void a_pong_ends_a_suspicion(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, PEER);
  km_punch_way way = lab_way(PEER);
  l.now = MS(1000);
  km_punch_suspect(l.p, &way, MS(1000));
  lab_run(&l, 1060);
  lab_pong(&l, lab_last_ping(&l, PEER)->msg.tx, PEER, 1080);
  assert_int_equal(lab_info(&l, PEER).state, KM_PUNCH_WAY_OPEN);
  lab_run(&l, 5000);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_DEAD), 0);
  assert_int_equal(lab_pings(&l, PEER), 3);
  lab_clear(&l);
}

static void a_lost_keep_alive_makes_suspicious(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, PEER);
  km_punch_way way = lab_way(PEER);
  km_punch_use(l.p, &way, true, MS(1000));
  lab_run(&l, 8030); /* eight seconds after it was heard */
  assert_int_equal(lab_pings(&l, PEER), 1);
  lab_run(&l, 8229);
  assert_int_equal(lab_info(&l, PEER).state, KM_PUNCH_WAY_OPEN);
  lab_run(&l, 8230);
  assert_int_equal(lab_info(&l, PEER).state, KM_PUNCH_WAY_SUSPECT);
  lab_run(&l, 9000);                                /* where pings were lost before, six must be */
  assert_int_equal(lab_pings(&l, PEER), 1 + 6 + 3); /* and the rounds since 8,555 */
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_DEAD), 1);
  lab_clear(&l);
}

static void what_was_heard_since_excuses_a_lost_keep_alive(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, PEER);
  km_punch_way way = lab_way(PEER);
  km_punch_use(l.p, &way, true, MS(1000));
  lab_run(&l, 8030);
  km_punch_heard(l.p, &way, MS(8100));
  lab_run(&l, 8300);
  assert_int_equal(lab_info(&l, PEER).state, KM_PUNCH_WAY_OPEN);
  lab_clear(&l);
}

static void what_is_not_open_is_neither_suspected_nor_heard(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  km_punch_way way = lab_way(PEER), unknown = lab_way(OTHER);
  lab_want(&l, 0);
  lab_called(&l, 0, PEER, 0);
  lab_forget(&l);
  km_punch_suspect(l.p, &way, MS(1));
  km_punch_suspect(l.p, &unknown, MS(1));
  km_punch_heard(l.p, &unknown, MS(1));
  km_punch_use(l.p, &unknown, true, MS(1));
  lab_pull(&l);
  assert_int_equal(l.count, 0);
  km_punch_heard(l.p, &way, MS(2)); /* no proof, but a reason to ping */
  lab_pull(&l);
  assert_int_equal(lab_pings(&l, PEER), 1);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_OPEN), 0);
  lab_clear(&l);
}

static void a_dead_way_is_opened_by_its_late_pong(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, PEER);
  km_punch_way way = lab_way(PEER);
  l.now = MS(1000);
  km_punch_suspect(l.p, &way, MS(1000));
  lab_pull(&l);
  uint8_t tx[KM_DISCO_TX_LEN];
  memcpy(tx, lab_last_ping(&l, PEER)->msg.tx, sizeof tx);
  lab_run(&l, 1300);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_DEAD), 1);
  assert_true(lab_pong(&l, tx, PEER, 2000));
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_OPEN), 1);
  assert_true(lab_info(&l, PEER).rtt_ns > MS(100)); /* and shows how slow it became */
  lab_clear(&l);
}

static void a_socket_that_is_gone_takes_its_ways_along(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_want(&l, 0);
  km_disco_message ping = {.type = KM_DISCO_PING};
  km_punch_way way = {.via = 3, .addr = lab_addr(PEER)};
  assert_true(km_punch_input(l.p, &way, &ping, MS(1)));
  lab_pull(&l);
  km_disco_message pong = {.type = KM_DISCO_PONG};
  memcpy(pong.tx, lab_last(&l, KM_PUNCH_OUT_PING)->msg.tx, sizeof pong.tx);
  assert_int_equal(lab_last(&l, KM_PUNCH_OUT_PING)->way.via, 3);
  assert_true(km_punch_input(l.p, &way, &pong, MS(9)));
  lab_pull(&l);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_OPEN), 1);
  km_punch_via_gone(l.p, 0); /* that one never is */
  km_punch_via_gone(l.p, 4);
  lab_pull(&l);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_DEAD), 0);
  km_punch_way unproven = {.via = 3, .addr = lab_addr(OTHER)};
  assert_true(km_punch_input(l.p, &unproven, &ping, MS(10)));
  lab_forget(&l);
  km_punch_via_gone(l.p, 3);
  lab_pull(&l);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_PING), 0);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_DEAD), 1);
  km_punch_way_info info;
  assert_false(km_punch_find(l.p, &way, &info));
  assert_false(km_punch_find(l.p, &unproven, &info));
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_ROUNDS);
  lab_clear(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_way_opens_only_on_a_pong_from_the_pinged_address),
      cmocka_unit_test(a_pong_counts_once),
      cmocka_unit_test(a_pong_counts_for_thirty_seconds),
      cmocka_unit_test(a_late_pong_opens_while_waiting),
      cmocka_unit_test(a_ping_from_an_unknown_address_is_a_candidate),
      cmocka_unit_test(pings_are_answered_by_pings_every_fifty_ms_at_most),
      cmocka_unit_test(at_rest_a_ping_is_remembered_and_nothing_is_sent),
      cmocka_unit_test(our_own_addresses_are_no_candidates),
      cmocka_unit_test(loopback_is_for_two_on_one_machine),
      cmocka_unit_test(addresses_that_may_not_be_probed_are_not),
      cmocka_unit_test(ipv6_is_treated_alike),
      cmocka_unit_test(a_given_address_is_pinged_at_once),
      cmocka_unit_test(a_new_call_replaces_the_candidates_of_the_former),
      cmocka_unit_test(sources_that_no_call_can_know_are_not_believed),
      cmocka_unit_test(strangers_push_out_strangers_only),
      cmocka_unit_test(a_full_table_keeps_what_is_open_or_used),
      cmocka_unit_test(what_once_worked_outlives_what_never_did),
      cmocka_unit_test(pings_before_the_hole_was_there_are_no_losses),
      cmocka_unit_test(no_round_trip_is_zero),
      cmocka_unit_test(round_trips_are_smoothed_and_losses_counted),
      cmocka_unit_test(a_way_in_use_is_pinged_after_eight_silent_seconds),
      cmocka_unit_test(a_suspected_way_dies_after_five_unanswered_pings),
      cmocka_unit_test(a_pong_ends_a_suspicion),
      cmocka_unit_test(a_lost_keep_alive_makes_suspicious),
      cmocka_unit_test(what_was_heard_since_excuses_a_lost_keep_alive),
      cmocka_unit_test(what_is_not_open_is_neither_suspected_nor_heard),
      cmocka_unit_test(a_dead_way_is_opened_by_its_late_pong),
      cmocka_unit_test(a_socket_that_is_gone_takes_its_ways_along),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
