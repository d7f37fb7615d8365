/* Attempts to find a way: when they begin, what they do, when they are given up. */
#include "punch_lab.h"

#define PEER "192.0.2.1:4000"
#define OTHER "192.0.2.66:4000"

static void a_wish_calls_and_pings_at_once(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_local(&l, "198.51.100.1:1", KM_NAT_MAPPING_ENDPOINT_INDEPENDENT, 4, 0);
  km_udp_addr given = lab_addr(PEER);
  km_punch_add(l.p, &given, KM_CANDIDATE_GIVEN, 0);
  lab_pull(&l);
  assert_int_equal(l.count, 0);
  assert_true(km_punch_deadline(l.p) == KM_TS_NEVER);
  lab_want(&l, 0);
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_ROUNDS);
  assert_int_equal(lab_pings(&l, PEER), 1);
  const km_call_me_maybe *call = &lab_last(&l, KM_PUNCH_OUT_CALL)->msg.call;
  assert_int_equal(call->flags, KM_CALL_ANSWER);
  assert_int_equal(call->count, 1);
  assert_int_equal(call->candidates[0].source, KM_CANDIDATE_INTERFACE);
  assert_int_equal(call->nat.mapping4, KM_NAT_MAPPING_ENDPOINT_INDEPENDENT);
  assert_string_equal(call->relay_url, "https://relay.test./");
  lab_want(&l, 1); /* again changes nothing */
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_CALL), 1);
  lab_clear(&l);
}

static void rounds_double_their_gaps(void **state) {
  (void)state;
  const uint64_t at[] = {0, 100, 300, 700, 1500, 3100};
  lab l;
  lab_init(&l);
  km_udp_addr given = lab_addr(PEER);
  km_punch_add(l.p, &given, KM_CANDIDATE_GIVEN, 0);
  lab_want(&l, 0);
  lab_run(&l, 4099);
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_ROUNDS);
  size_t n = 0;
  for (size_t i = 0; i < l.count; i++) {
    if (l.outs[i].kind == KM_PUNCH_OUT_PING) {
      assert_true(n < COUNT_OF(at));
      assert_int_equal(l.outs[i].at, MS(at[n++]));
    }
  }
  assert_int_equal(n, COUNT_OF(at));
  lab_run(&l, 4100);
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_WAITING);
  lab_clear(&l);
}

static void rounds_are_spaced_by_the_relay(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  km_udp_addr given = lab_addr(PEER);
  km_punch_relay_rtt(l.p, MS(600));
  km_punch_add(l.p, &given, KM_CANDIDATE_GIVEN, 0);
  lab_want(&l, 0);
  lab_run(&l, 299);
  assert_int_equal(lab_pings(&l, PEER), 1);
  lab_run(&l, 300);
  assert_int_equal(lab_pings(&l, PEER), 2);
  lab_run(&l, 10499); /* 300 * 31 for the last round, and twice 600 */
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_ROUNDS);
  lab_run(&l, 10500);
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_WAITING);
  lab_clear(&l);
}

static void waits_double_up_to_five_minutes(void **state) {
  (void)state;
  const uint64_t waits[] = {15, 30, 60, 120, 240, 300, 300};
  lab l;
  lab_init(&l);
  lab_want(&l, 0);
  uint64_t ms = 0;
  for (size_t i = 0; i < COUNT_OF(waits); i++) {
    ms += 4100; /* the attempt */
    lab_run(&l, ms);
    assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_WAITING);
    ms += waits[i] * 1000;
    lab_run(&l, ms - 1);
    assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_WAITING);
    lab_run(&l, ms);
    assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_ROUNDS);
  }
  km_punch_stats stats;
  km_punch_get_stats(l.p, &stats);
  assert_int_equal(stats.attempts, 1 + COUNT_OF(waits));
  assert_int_equal(stats.successes, 0);
  lab_clear(&l);
}

static void a_silent_peer_is_called_thrice_then_once_an_attempt(void **state) {
  (void)state;
  const uint64_t at[] = {0, 1000, 3000, 19100, 53200};
  lab l;
  lab_init(&l);
  lab_want(&l, 0);
  lab_run(&l, 60000);
  size_t n = 0;
  for (size_t i = 0; i < l.count; i++) {
    assert_int_equal(l.outs[i].kind, KM_PUNCH_OUT_CALL);
    assert_true(n < COUNT_OF(at));
    assert_int_equal(l.outs[i].msg.call.flags, KM_CALL_ANSWER);
    assert_int_equal(l.outs[i].at, MS(at[n++]));
  }
  assert_int_equal(n, COUNT_OF(at));
  assert_null(km_punch_peer(l.p));
  lab_clear(&l);
}

static void a_peer_that_answered_is_not_called_again(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_want(&l, 0);
  lab_called(&l, 0, PEER, 50);
  lab_run(&l, 4000);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_CALL), 1);
  assert_int_equal(km_punch_peer(l.p)->count, 1);
  km_punch_stats stats;
  km_punch_get_stats(l.p, &stats);
  assert_int_equal(stats.calls_sent, 1);
  assert_int_equal(stats.calls_received, 1);
  assert_int_equal(stats.pings_sent, lab_pings(&l, PEER));
  assert_int_equal(lab_info(&l, PEER).pings, lab_pings(&l, PEER));
  lab_clear(&l);
}

static void a_slow_relay_is_given_time_to_answer(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  km_punch_relay_rtt(l.p, MS(2000));
  lab_want(&l, 0);
  lab_run(&l, 5999);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_CALL), 1);
  lab_run(&l, 6000);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_CALL), 2);
  lab_clear(&l);
}

static void an_answer_is_given_when_asked_for_and_asks_for_none(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_want(&l, 0);
  lab_called(&l, KM_CALL_ANSWER, PEER, 499); /* ours is on its way */
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_CALL), 1);
  lab_called(&l, 0, PEER, 501);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_CALL), 1);
  lab_called(&l, KM_CALL_ANSWER, PEER, 502);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_CALL), 2);
  assert_int_equal(lab_last(&l, KM_PUNCH_OUT_CALL)->msg.call.flags, 0);
  lab_clear(&l);
}

static void a_call_begins_the_rounds_anew(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_want(&l, 0);
  lab_run(&l, 2000);
  lab_called(&l, 0, PEER, 2000);
  lab_run(&l, 2300);
  assert_int_equal(lab_pings(&l, PEER), 3); /* 2,000, 2,100, 2,300 */
  lab_run(&l, 6099);
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_ROUNDS);
  lab_run(&l, 6100);
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_WAITING);
  lab_called(&l, KM_CALL_ANSWER, PEER, 7000);
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_ROUNDS);
  assert_int_equal(lab_last(&l, KM_PUNCH_OUT_CALL)->msg.call.flags, 0); /* the peer knows */
  lab_run(&l, 11100);
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_WAITING);
  lab_run(&l, 26099); /* 15 s: a call does not count for the back-off */
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_WAITING);
  lab_run(&l, 26100);
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_ROUNDS);
  lab_clear(&l);
}

static void calls_in_a_stream_begin_six_times_rounds_and_then_one_in_five_seconds(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_want(&l, 0);
  lab_run(&l, 10000);
  lab_forget(&l);
  for (uint64_t ms = 10001; ms < 14000; ms += 100) {
    lab_called(&l, KM_CALL_ANSWER, PEER, ms); /* nothing runs between them */
  }
  assert_int_equal(lab_pings(&l, PEER), 6);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_CALL), 2); /* 500 ms apart at least */
  assert_int_equal(km_punch_peer(l.p)->count, 1);
  lab_forget(&l);
  lab_called(&l, 0, OTHER, 15002); /* 5 s after the first */
  assert_int_equal(lab_pings(&l, OTHER), 1);
  lab_forget(&l);
  lab_called(&l, 0, PEER, 15003);
  assert_int_equal(lab_pings(&l, PEER), 0);
  assert_true(lab_knows(&l, PEER)); /* what it says is believed all the same */
  lab_clear(&l);
}

static void a_call_while_open_checks_what_is_open(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, PEER);
  lab_called(&l, 0, OTHER, 2000);
  assert_int_equal(lab_pings(&l, PEER), 1); /* does the peer hear nothing? */
  assert_int_equal(lab_pings(&l, OTHER), 1);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_CALL), 0);
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_OPEN);
  lab_run(&l, 2199);
  assert_int_equal(lab_info(&l, PEER).state, KM_PUNCH_WAY_OPEN);
  lab_run(&l, 2200);
  assert_int_equal(lab_info(&l, PEER).state, KM_PUNCH_WAY_SUSPECT);
  lab_clear(&l);
}

static void other_candidates_are_tried_again_each_minute(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_want(&l, 0);
  const char *const both[] = {PEER, OTHER, NULL};
  km_disco_message msg = lab_call(0, both, KM_CANDIDATE_INTERFACE);
  assert_true(km_punch_input(l.p, NULL, &msg, 0));
  lab_pull(&l);
  assert_true(lab_pong(&l, lab_last_ping(&l, PEER)->msg.tx, PEER, 30));
  lab_run(&l, 60029);
  assert_int_equal(lab_pings(&l, OTHER), 3); /* two more rounds after the success */
  lab_forget(&l);
  lab_run(&l, 60030);
  assert_int_equal(lab_pings(&l, OTHER), 1);
  assert_int_equal(lab_pings(&l, PEER), 1);             /* nobody uses it: is it still there? */
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_CALL), 1); /* ours is the greater id */
  assert_int_equal(lab_last(&l, KM_PUNCH_OUT_CALL)->msg.call.flags, 0);
  assert_true(lab_pong(&l, lab_last_ping(&l, PEER)->msg.tx, PEER, 60060));
  lab_run(&l, 120029);
  assert_int_equal(lab_pings(&l, OTHER), 2);
  lab_run(&l, 120030);
  assert_int_equal(lab_pings(&l, OTHER), 3);
  lab_clear(&l);
}

static void without_other_candidates_nobody_is_called(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, PEER);
  lab_run(&l, 60030);
  assert_int_equal(lab_pings(&l, PEER), 1);
  assert_int_equal(l.count, 1);
  lab_clear(&l);
}

static void the_lesser_id_does_not_call_for_that(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  km_punch_del(l.p);
  km_punch_config config = {.env = &l.env.env, .budget = &l.budget, .peer.bytes[0] = 9};
  assert_int_equal(km_punch_new(&l.p, &config, 0), 0);
  lab_open(&l, PEER);
  km_udp_addr other = lab_addr(OTHER);
  km_punch_add(l.p, &other, KM_CANDIDATE_GIVEN, MS(1000));
  lab_run(&l, 60030);
  assert_int_equal(lab_pings(&l, OTHER), 2);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_CALL), 0);
  lab_clear(&l);
}

static void changed_candidates_are_told(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_want(&l, 0);
  lab_local(&l, "198.51.100.1:1", 0, 0, 20);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_CALL), 1); /* just called: a little later */
  lab_run(&l, 99);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_CALL), 1);
  lab_run(&l, 100);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_CALL), 2);
  assert_int_equal(lab_last(&l, KM_PUNCH_OUT_CALL)->msg.call.count, 1);
  assert_int_equal(lab_last(&l, KM_PUNCH_OUT_CALL)->msg.call.flags, KM_CALL_ANSWER);
  lab_run(&l, 10000);
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_WAITING);
  lab_forget(&l);
  lab_local(&l, "198.51.100.1:1", 0, 0, 10000); /* as before */
  assert_int_equal(l.count, 0);
  lab_local(&l, "198.51.100.1:1", 2, 0, 10000); /* the NAT is known now */
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_ROUNDS);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_CALL), 1);
  lab_clear(&l);
}

static void changed_candidates_begin_the_rounds_anew(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_want(&l, 0);
  lab_called(&l, 0, PEER, 0);
  lab_run(&l, 2000);
  lab_forget(&l);
  lab_local(&l, "198.51.100.1:1", 0, 0, 2000);
  assert_int_equal(lab_pings(&l, PEER), 1);
  assert_int_equal(lab_events(&l, KM_PUNCH_EVENT_LOCAL), 1);
  lab_run(&l, 2300);
  assert_int_equal(lab_pings(&l, PEER), 3);
  lab_clear(&l);
}

static void a_call_checks_what_is_in_use_too(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, PEER);
  km_punch_way way = lab_way(PEER);
  km_punch_use(l.p, &way, true, MS(1000));
  lab_called(&l, 0, PEER, 1001);
  assert_int_equal(lab_pings(&l, PEER), 1);
  lab_clear(&l);
}

static void changed_candidates_are_told_while_open(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, PEER);
  lab_local(&l, "198.51.100.1:1", 0, 0, 2000);
  assert_int_equal(lab_last(&l, KM_PUNCH_OUT_CALL)->msg.call.flags, 0);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_PING), 0);
  lab_clear(&l);
}

static void at_rest_changed_candidates_are_kept_for_later(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  km_candidate own[KM_DISCO_MAX_CANDIDATES + 8];
  char url[KM_DISCO_MAX_URL + 2];
  for (size_t i = 0; i < COUNT_OF(own); i++) {
    own[i] = (km_candidate){.source = KM_CANDIDATE_INTERFACE, .addr = lab_addr(OTHER)};
    own[i].addr.port = (uint16_t)(1 + i);
  }
  memset(url, 'a', sizeof url);
  url[sizeof url - 1] = '\0';
  km_nat_info nat = {0};
  km_punch_set_local(l.p, own, COUNT_OF(own), &nat, url, MS(1));
  lab_pull(&l);
  assert_int_equal(l.count, 0);
  lab_want(&l, 2);
  assert_int_equal(lab_last(&l, KM_PUNCH_OUT_CALL)->msg.call.count, KM_DISCO_MAX_CANDIDATES);
  assert_string_equal(lab_last(&l, KM_PUNCH_OUT_CALL)->msg.call.relay_url, ""); /* too long */
  lab_clear(&l);
}

static void a_changed_network_puts_all_in_doubt(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, PEER);
  lab_called(&l, 0, OTHER, 1000);
  lab_run(&l, 1190);
  lab_forget(&l);
  l.now = MS(1190);
  km_punch_network_changed(l.p, MS(1190));
  lab_pull(&l);
  assert_int_equal(lab_info(&l, PEER).state, KM_PUNCH_WAY_SUSPECT);
  assert_int_equal(lab_pings(&l, PEER), 1);
  assert_int_equal(lab_pings(&l, OTHER), 1);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_CALL), 1);
  lab_run(&l, 1600); /* the round trip may be another one here: half a second a ping */
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_DEAD), 0);
  lab_run(&l, 1790);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_DEAD), 1);
  lab_clear(&l);
}

static void a_changed_network_restarts_a_suspicion(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, PEER);
  km_punch_way way = lab_way(PEER);
  l.now = MS(1000);
  km_punch_suspect(l.p, &way, MS(1000));
  lab_run(&l, 1200);
  km_punch_network_changed(l.p, MS(1200));
  lab_run(&l, 1700); /* half a second for each ping from the new network */
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_DEAD), 0);
  lab_clear(&l);
}

static void one_pong_ends_the_doubt_of_a_new_network(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, PEER);
  km_punch_way way = lab_way(PEER);
  l.now = MS(1000);
  km_punch_network_changed(l.p, MS(1000));
  lab_pull(&l);
  assert_true(lab_pong(&l, lab_last_ping(&l, PEER)->msg.tx, PEER, 1050));
  assert_int_equal(lab_info(&l, PEER).rtt_ns, MS(50)); /* measured anew, not smoothed */
  lab_run(&l, 5000);
  lab_forget(&l);
  km_punch_suspect(l.p, &way, MS(5000));
  lab_run(&l, 5399); /* 100 ms of pings, 200 ms for the last */
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_DEAD), 1);
  lab_clear(&l);
}

static void a_changed_network_ends_the_wait(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_want(&l, 0);
  lab_run(&l, 100000);
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_WAITING);
  km_punch_network_changed(l.p, MS(100000));
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_ROUNDS);
  lab_run(&l, 104100);
  lab_run(&l, 104100 + 15000); /* the waits begin anew as well */
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_ROUNDS);
  lab_clear(&l);
}

static void at_rest_a_changed_network_ends_all_ways(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, PEER);
  km_punch_want(l.p, false, MS(1000));
  km_punch_network_changed(l.p, MS(1001));
  lab_pull(&l);
  assert_int_equal(l.count, 1);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_DEAD), 1);
  lab_clear(&l);
}

static void nothing_is_sent_at_rest(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, PEER);
  km_punch_way way = lab_way(PEER);
  km_punch_use(l.p, &way, true, MS(1000));
  km_punch_suspect(l.p, &way, MS(1000));
  km_punch_want(l.p, false, MS(1000));
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_RESTING);
  assert_true(km_punch_deadline(l.p) == KM_TS_NEVER);
  km_punch_timeout(l.p, MS(1000000));
  km_punch_suspect(l.p, &way, MS(1000000));
  lab_called(&l, KM_CALL_ANSWER, OTHER, 1000001);
  lab_ping(&l, OTHER, 1000002);
  km_punch_timeout(l.p, MS(1000003));
  lab_pull(&l);
  assert_int_equal(l.count, 0);
  lab_clear(&l);
}

static void a_new_wish_takes_up_what_is_fresh(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, PEER); /* heard at 30 ms */
  km_punch_want(l.p, false, MS(2000));
  lab_want(&l, 5030);
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_OPEN);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_DEAD), 0);
  km_punch_want(l.p, false, MS(5031));
  lab_forget(&l);
  lab_want(&l, 5032); /* more than 5 s ago */
  assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_ROUNDS);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_DEAD), 1);
  assert_int_equal(lab_pings(&l, PEER), 1);
  lab_clear(&l);
}

static void ways_that_are_silent_for_long_are_forgotten(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, PEER);
  lab_called(&l, 0, OTHER, 1000); /* PEER is not listed any more */
  km_punch_way way = lab_way(PEER);
  l.now = MS(1001);
  km_punch_suspect(l.p, &way, MS(1001));
  lab_run(&l, 250000);
  assert_true(lab_knows(&l, PEER));
  lab_run(&l, 1000000);
  assert_false(lab_knows(&l, PEER));
  assert_true(lab_knows(&l, OTHER));
  lab_clear(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_wish_calls_and_pings_at_once),
      cmocka_unit_test(rounds_double_their_gaps),
      cmocka_unit_test(rounds_are_spaced_by_the_relay),
      cmocka_unit_test(waits_double_up_to_five_minutes),
      cmocka_unit_test(a_silent_peer_is_called_thrice_then_once_an_attempt),
      cmocka_unit_test(a_peer_that_answered_is_not_called_again),
      cmocka_unit_test(a_slow_relay_is_given_time_to_answer),
      cmocka_unit_test(an_answer_is_given_when_asked_for_and_asks_for_none),
      cmocka_unit_test(a_call_begins_the_rounds_anew),
      cmocka_unit_test(calls_in_a_stream_begin_six_times_rounds_and_then_one_in_five_seconds),
      cmocka_unit_test(a_call_while_open_checks_what_is_open),
      cmocka_unit_test(other_candidates_are_tried_again_each_minute),
      cmocka_unit_test(without_other_candidates_nobody_is_called),
      cmocka_unit_test(the_lesser_id_does_not_call_for_that),
      cmocka_unit_test(changed_candidates_are_told),
      cmocka_unit_test(changed_candidates_begin_the_rounds_anew),
      cmocka_unit_test(a_call_checks_what_is_in_use_too),
      cmocka_unit_test(changed_candidates_are_told_while_open),
      cmocka_unit_test(at_rest_changed_candidates_are_kept_for_later),
      cmocka_unit_test(a_changed_network_puts_all_in_doubt),
      cmocka_unit_test(a_changed_network_restarts_a_suspicion),
      cmocka_unit_test(one_pong_ends_the_doubt_of_a_new_network),
      cmocka_unit_test(a_changed_network_ends_the_wait),
      cmocka_unit_test(at_rest_a_changed_network_ends_all_ways),
      cmocka_unit_test(nothing_is_sent_at_rest),
      cmocka_unit_test(a_new_wish_takes_up_what_is_fresh),
      cmocka_unit_test(ways_that_are_silent_for_long_are_forgotten),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
