/* Budgets, the time line, time at its ends, memory that is not there. */
#include "punch_lab.h"

#define PEER "192.0.2.1:4000"

static km_disco_message big_call(uint8_t net) {
  km_disco_message msg = {.type = KM_DISCO_CALL_ME_MAYBE, .call.count = KM_DISCO_MAX_CANDIDATES};
  for (size_t i = 0; i < msg.call.count; i++) {
    msg.call.candidates[i] =
        (km_candidate){.source = KM_CANDIDATE_INTERFACE,
                       .addr = {.family = 4, .port = 9, .ip = {10, 0, net, (uint8_t)i}}};
  }
  return msg;
}

static void a_bucket_refills_steadily(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  assert_int_equal(l.budget.left, KM_PROBE_BURST);
  lab_want(&l, 0);
  for (unsigned i = 0; i < 6; i++) { /* 6 * 32 pings at once */
    km_disco_message msg = big_call((uint8_t)i);
    assert_true(km_punch_input(l.p, NULL, &msg, 0));
    lab_pull(&l);
  }
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_PING), KM_PROBE_BURST / 2); /* a peer's half */
  assert_int_equal(l.budget.left, KM_PROBE_BURST / 2);
  km_punch_stats stats;
  km_punch_get_stats(l.p, &stats);
  assert_in_range(stats.put_off, 32, 6 * 32 - KM_PROBE_BURST / 2);
  assert_int_equal(lab_events(&l, KM_PUNCH_EVENT_BUDGET), 1);
  lab_run(&l, 99); /* 150 a second */
  assert_in_range(lab_outs(&l, KM_PUNCH_OUT_PING), 150 + 12, 150 + 15);
  lab_clear(&l);
}

static void all_peers_share_one_budget(void **state) {
  (void)state;
  lab l[3];
  size_t sent = 0;
  for (size_t i = 0; i < 3; i++) {
    lab_init(&l[i]);
    km_punch_del(l[i].p);
    km_punch_config config = {.env = &l[i].env.env, .budget = &l[0].budget};
    assert_int_equal(km_punch_new(&l[i].p, &config, 0), 0);
    lab_want(&l[i], 0);
    for (unsigned k = 0; k < 6; k++) {
      km_disco_message msg = big_call((uint8_t)k);
      assert_true(km_punch_input(l[i].p, NULL, &msg, 0));
      lab_pull(&l[i]);
    }
    sent += lab_outs(&l[i], KM_PUNCH_OUT_PING);
  }
  assert_int_equal(sent, KM_PROBE_BURST);
  for (size_t i = 0; i < 3; i++) {
    lab_clear(&l[i]);
  }
}

static void what_is_open_needs_no_budget(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, PEER);
  l.budget = (km_probe_budget){.left = 0, .refilled = MS(1000)};
  km_punch_way way = lab_way(PEER);
  l.now = MS(1000);
  km_punch_suspect(l.p, &way, MS(1000));
  lab_pull(&l);
  assert_int_equal(lab_pings(&l, PEER), 1);
  lab_clear(&l);
}

static void the_time_line_tells_what_was_tried_in_order(void **state) {
  (void)state;
  const km_punch_event_kind kinds[] = {KM_PUNCH_EVENT_STATE,     KM_PUNCH_EVENT_CALL_SENT,
                                       KM_PUNCH_EVENT_CALL_CAME, KM_PUNCH_EVENT_CANDIDATE,
                                       KM_PUNCH_EVENT_PING_SENT, KM_PUNCH_EVENT_PING_CAME,
                                       KM_PUNCH_EVENT_OPEN,      KM_PUNCH_EVENT_STATE};
  lab l;
  lab_init(&l);
  lab_want(&l, 0);
  lab_called(&l, 0, PEER, 1);
  lab_ping(&l, PEER, 20);
  assert_true(lab_pong(&l, lab_last_ping(&l, PEER)->msg.tx, PEER, 30));
  km_punch_event events[KM_PUNCH_MAX_EVENTS];
  assert_int_equal(km_punch_events(l.p, events, KM_PUNCH_MAX_EVENTS), COUNT_OF(kinds));
  for (size_t i = 0; i < COUNT_OF(kinds); i++) {
    assert_int_equal(events[i].kind, kinds[i]);
  }
  assert_int_equal(events[0].value, KM_PUNCH_ROUNDS);
  assert_int_equal(events[0].way.addr.family, 0);
  assert_int_equal(events[3].value, KM_CANDIDATE_REFLEXIVE);
  assert_int_equal(events[3].way.addr.port, 4000);
  assert_int_equal(events[4].value, 1); /* the round */
  assert_int_equal(events[6].at, MS(30));
  assert_int_equal(events[6].value, 10000); /* us, from the second ping */
  assert_int_equal(events[7].value, KM_PUNCH_OPEN);
  assert_int_equal(km_punch_events(l.p, events, 1), 1);
  assert_int_equal(events[0].kind, KM_PUNCH_EVENT_STATE);
  assert_int_equal(events[0].value, KM_PUNCH_OPEN); /* the newest */
  lab_clear(&l);
}

static void the_time_line_forgets_the_oldest(void **state) {
  (void)state;
  for (int scarce = 0; scarce < 2; scarce++) {
    lab l;
    lab_init(&l);
    lab_called(&l, 0, PEER, 0);
    l.env.fail_after = scarce ? 0 : -1;
    for (uint64_t ms = 1; ms <= 1000; ms++) {
      lab_called(&l, 0, PEER, ms);
    }
    km_punch_event events[KM_PUNCH_MAX_EVENTS];
    size_t count = km_punch_events(l.p, events, KM_PUNCH_MAX_EVENTS);
    assert_int_equal(count, scarce ? 16 : KM_PUNCH_MAX_EVENTS);
    for (size_t i = 0; i < count; i++) {
      assert_int_equal(events[i].at, MS(1000 - count + 1 + i));
    }
    lab_clear(&l);
  }
}

static void a_machine_that_slept_asks_before_it_believes(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, PEER);
  km_punch_way way = lab_way(PEER);
  km_punch_use(l.p, &way, true, MS(1000));
  lab_run(&l, 5030); /* a keep-alive is out */
  lab_forget(&l);
  l.now = MS(3600000);
  km_punch_timeout(l.p, MS(3600000));
  lab_pull(&l);
  assert_int_equal(lab_info(&l, PEER).state, KM_PUNCH_WAY_SUSPECT);
  assert_int_equal(lab_outs(&l, KM_PUNCH_OUT_DEAD), 0);
  assert_true(lab_pings(&l, PEER) >= 1);
  assert_true(lab_pong(&l, lab_last_ping(&l, PEER)->msg.tx, PEER, 3600030));
  assert_int_equal(lab_info(&l, PEER).state, KM_PUNCH_WAY_OPEN);
  lab_clear(&l);
}

static void time_at_its_ends_is_survived(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, PEER);
  km_punch_way way = lab_way(PEER);
  km_punch_use(l.p, &way, true, MS(1000));
  const km_ts odd[] = {KM_TS_NEVER - 1, 0, KM_TS_NEVER - 1, 1, KM_TS_NEVER};
  for (size_t i = 0; i < COUNT_OF(odd); i++) {
    km_punch_timeout(l.p, odd[i]);
    l.now = odd[i];
    lab_pull(&l);
    km_punch_suspect(l.p, &way, odd[i]);
    km_punch_network_changed(l.p, odd[i]);
    km_punch_heard(l.p, &way, odd[i]);
    lab_pull(&l);
    km_ts deadline = km_punch_deadline(l.p);
    assert_true(deadline != KM_TS_NEVER);
  }
  lab_clear(&l);
}

static void early_calls_do_no_harm(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_want(&l, 0);
  lab_called(&l, 0, PEER, 0);
  lab_forget(&l);
  for (uint64_t ms = 0; ms < 100; ms++) {
    km_punch_timeout(l.p, MS(ms));
    lab_pull(&l);
  }
  assert_int_equal(l.count, 0);
  lab_clear(&l);
}

static void del_takes_null(void **state) {
  (void)state;
  km_punch_del(NULL);
}

/* All that allocates: ways, the time line, guessing. */
static void live_through(lab *l) {
  lab_local(l, "198.51.100.1:1", KM_NAT_MAPPING_ENDPOINT_INDEPENDENT, 0, 0);
  lab_want(l, 0);
  for (unsigned i = 0; i < 3; i++) {
    km_disco_message msg = big_call((uint8_t)i);
    msg.call.nat.mapping4 = KM_NAT_MAPPING_ADDRESS_DEPENDENT;
    msg.call.candidates[0].source = KM_CANDIDATE_REFLEXIVE;
    assert_true(km_punch_input(l->p, NULL, &msg, MS(1 + i)));
    lab_pull(l);
  }
  lab_ping(l, "192.0.2.8:8", 5);
  lab_run(l, 1000);
  if (lab_knows(l, "192.0.2.8:8")) {
    lab_pong(l, lab_last_ping(l, "192.0.2.8:8")->msg.tx, "192.0.2.8:8", 1001);
    assert_int_equal(km_punch_get_state(l->p), KM_PUNCH_OPEN);
  }
  lab_run(l, 4000);
  km_punch_network_changed(l->p, MS(4000));
  lab_run(l, 30000);
  km_punch_want(l->p, false, MS(30000));
  lab_pull(l);
}

static void any_allocation_may_fail(void **state) {
  (void)state;
  bool failed = true;
  for (long n = 0; failed; n++) {
    test_env env;
    test_env_init(&env);
    env.fail_after = n;
    km_probe_budget budget;
    km_probe_budget_init(&budget, 0);
    km_punch_config config = {.env = &env.env, .budget = &budget};
    km_punch *p = NULL;
    if (n == 0) {
      assert_int_equal(km_punch_new(&p, &config, 0), KM_ERR_NOMEM);
      assert_null(p);
      continue;
    }
    for (int for_ever = 0; for_ever < 2; for_ever++) {
      lab l;
      lab_init(&l);
      l.env.fail_after = n - 1;
      live_through(&l);
      failed = l.env.fail_after == 0;
      l.env.fail_after = -1; /* there is memory again */
      lab_forget(&l);
      lab_want(&l, 31000);
      lab_ping(&l, "192.0.2.8:8", 31001);
      assert_true(lab_pong(&l, lab_last_ping(&l, "192.0.2.8:8")->msg.tx, "192.0.2.8:8", 31030));
      assert_int_equal(km_punch_get_state(l.p), KM_PUNCH_OPEN);
      lab_clear(&l);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_bucket_refills_steadily),
      cmocka_unit_test(all_peers_share_one_budget),
      cmocka_unit_test(what_is_open_needs_no_budget),
      cmocka_unit_test(the_time_line_tells_what_was_tried_in_order),
      cmocka_unit_test(the_time_line_forgets_the_oldest),
      cmocka_unit_test(a_machine_that_slept_asks_before_it_believes),
      cmocka_unit_test(time_at_its_ends_is_survived),
      cmocka_unit_test(early_calls_do_no_harm),
      cmocka_unit_test(del_takes_null),
      cmocka_unit_test(any_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
