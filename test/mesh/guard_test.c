/* What one peer may do: faults end in being cut off, rates in waiting. */
#include "endpoint/mesh/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define S KM_NS_PER_S

static void faults_are_counted_by_kind(void **state) {
  (void)state;
  km_guard g;
  km_guard_init(&g, 60, 10, 100, 0);
  assert_false(km_guard_fault(&g, KM_FAULT_FORGED, 1));
  assert_false(km_guard_fault(&g, KM_FAULT_FORGED, 1));
  assert_false(km_guard_fault(&g, KM_FAULT_FUTURE, 1));
  assert_false(km_guard_fault(&g, KM_FAULT_FORBIDDEN, 1));
  assert_false(km_guard_fault(&g, KM_FAULT_MALFORMED, 1));
  assert_int_equal(g.faults.forged, 2);
  assert_int_equal(g.faults.future, 1);
  assert_int_equal(g.faults.forbidden, 1);
  assert_int_equal(g.faults.malformed, 1);
  assert_int_equal(g.faults.cut, 0);
}

static void one_too_many_cuts_off_for_ten_minutes(void **state) {
  (void)state;
  km_guard g;
  km_guard_init(&g, 60, 10, 3, 0);
  assert_false(km_guard_fault(&g, KM_FAULT_FORGED, 0));
  assert_false(km_guard_fault(&g, KM_FAULT_FORBIDDEN, 5 * S));
  assert_false(km_guard_is_cut(&g, 5 * S));
  assert_true(km_guard_fault(&g, KM_FAULT_MALFORMED, 6 * S));
  assert_int_equal(g.faults.cut, 1);
  assert_true(km_guard_is_cut(&g, 6 * S));
  assert_true(km_guard_is_cut(&g, 605 * S));
  assert_false(km_guard_is_cut(&g, 606 * S));
}

static void faults_far_apart_do_not_add_up(void **state) {
  (void)state;
  km_guard g;
  km_guard_init(&g, 60, 10, 2, 0);
  for (km_ts at = 0; at < 100; at++) {
    assert_false(km_guard_fault(&g, KM_FAULT_FORGED, at * 600 * S));
  }
  assert_true(km_guard_fault(&g, KM_FAULT_FORGED, 99 * 600 * S + 1));
}

static void what_others_wrote_cuts_nobody_off(void **state) {
  (void)state;
  km_guard g;
  km_guard_init(&g, 60, 10, 1, 0);
  for (int i = 0; i < 1000; i++) {
    assert_false(km_guard_fault(&g, KM_FAULT_UNWELCOME, 1));
  }
  assert_int_equal(g.faults.forbidden, 1000);
  assert_true(km_guard_fault(&g, KM_FAULT_FORBIDDEN, 1));
}

static void clocks_that_are_wrong_cut_nobody_off(void **state) {
  (void)state;
  km_guard g;
  km_guard_init(&g, 60, 10, 1, 0);
  for (int i = 0; i < 1000; i++) {
    assert_false(km_guard_fault(&g, KM_FAULT_FUTURE, 1));
  }
  assert_int_equal(g.faults.future, 1000);
  assert_true(km_guard_fault(&g, KM_FAULT_FORGED, 1));
}

static void messages_have_a_minutes_worth_at_once(void **state) {
  (void)state;
  km_guard g;
  km_guard_init(&g, 60, 10, 16, 0);
  for (int i = 0; i < 60; i++) {
    assert_true(km_guard_message(&g, 0));
  }
  assert_false(km_guard_message(&g, 0));
  assert_int_equal(g.faults.flooded, 1);
  /* It was taken: what is owed is a second's worth. */
  km_ts when = km_guard_when(&g, 0);
  assert_true(when >= 1 * S && when < 1 * S + S / 100);
  assert_true(km_guard_message(&g, when + 1 * S));
  assert_false(km_guard_is_cut(&g, when));
}

static void a_rate_below_one_a_second_is_kept(void **state) {
  (void)state;
  km_guard g;
  km_guard_init(&g, 6, 10, 16, 0);
  for (int i = 0; i < 6; i++) {
    assert_true(km_guard_message(&g, 0));
  }
  assert_false(km_guard_message(&g, 0));
  km_ts when = km_guard_when(&g, 0);
  assert_true(when >= 10 * S && when < 10 * S + S / 10);
}

static void entries_have_their_own_rate(void **state) {
  (void)state;
  km_guard g;
  km_guard_init(&g, 60, 10, 16, 0);
  for (int i = 0; i < 600; i++) {
    assert_true(km_guard_entry(&g, 0));
  }
  assert_false(km_guard_entry(&g, 0));
  assert_true(km_guard_when(&g, 0) >= S / 10);
  assert_true(km_guard_message(&g, 0));
}

static void statements_that_are_known_cost_little(void **state) {
  (void)state;
  km_guard g;
  km_guard_init(&g, 60, 10, 16, 0);
  for (int i = 0; i < 1024; i++) {
    assert_true(km_guard_statement(&g, true, 0));
  }
  for (int i = 0; i < (3600 - 1024) / 6; i++) {
    assert_true(km_guard_statement(&g, false, 0));
  }
  assert_true(km_guard_statement(&g, true, 0) && km_guard_statement(&g, true, 0));
  assert_false(km_guard_statement(&g, false, 0));
}

/* What they make us read counts, so large shares are compared less often than small ones. */
static void synchronizations_cost_what_is_read_for_them(void **state) {
  (void)state;
  km_guard g;
  km_guard_init(&g, 0, 0, 16, 0);
  for (km_ts now = 0; now < 1000 * S; now += 60 * S) { /* the default, of the largest share */
    assert_true(km_guard_may_sync(&g, now));
    km_guard_sync_read(&g, 10000000, now);
  }
  assert_int_equal(g.faults.flooded, 0);
  km_guard_init(&g, 0, 0, 16, 0);
  unsigned small = 0;
  for (; km_guard_may_sync(&g, 0); small++) {
    km_guard_sync_read(&g, 0, 0);
  }
  assert_int_equal(small, 10001);
  assert_true(km_guard_may_sync(&g, S / 100));
  km_guard_sync_read(&g, 10000000, S / 100);
  assert_false(km_guard_may_sync(&g, 40 * S));
  assert_true(km_guard_may_sync(&g, 60 * S));
  assert_true(g.faults.flooded > 0 && km_guard_rests_at(&g, 60 * S) > 100 * S);
}

static void synchronizations_that_fail_have_an_end(void **state) {
  (void)state;
  km_guard g;
  km_guard_init(&g, 0, 0, 16, 0);
  for (int i = 0; i < 61; i++) {
    assert_true(km_guard_may_sync(&g, 0));
    km_guard_sync_failed(&g, 0);
  }
  assert_false(km_guard_may_sync(&g, 0));
  assert_true(km_guard_may_sync(&g, 3 * S));
  assert_true(km_guard_rests_at(&g, 3 * S) > 50 * S);
}

static void what_is_held_against_it_ends(void **state) {
  (void)state;
  km_guard g;
  km_guard_init(&g, 60, 10, 2, 0);
  assert_int_equal(km_guard_rests_at(&g, 7), 7);
  assert_true(km_guard_entry(&g, 7));
  assert_true(km_guard_rests_at(&g, 7) > 7 && km_guard_rests_at(&g, 7) <= 7 + 2 * S);
  assert_false(km_guard_fault(&g, KM_FAULT_FORGED, 7));
  assert_int_equal(km_guard_rests_at(&g, 8), 7 + 600 * S);
  assert_true(km_guard_fault(&g, KM_FAULT_FORGED, 9));
  assert_int_equal(km_guard_rests_at(&g, 10), 9 + 600 * S);
}

static void without_limits_nothing_waits(void **state) {
  (void)state;
  km_guard g;
  km_guard_init(&g, 0, 0, 16, 0);
  for (int i = 0; i < 100000; i++) {
    assert_true(km_guard_entry(&g, 7));
    assert_true(km_guard_message(&g, 7));
  }
  assert_int_equal(km_guard_when(&g, 7), 7);
}

static km_udp_addr source_of(const char *text) {
  km_udp_addr addr;
  assert_int_equal(km_udp_addr_parse(&addr, text, strlen(text), NULL), 0);
  return km_guard_source(&addr);
}

static bool same_source(const char *a, const char *b) {
  km_udp_addr x = source_of(a), y = source_of(b);
  return km_udp_addr_equal(&x, &y);
}

static void an_ipv6_network_is_one_source(void **state) {
  (void)state;
  assert_true(same_source("192.0.2.1:1", "192.0.2.1:2"));
  assert_false(same_source("192.0.2.1:1", "192.0.2.2:1"));
  assert_true(same_source("[2001:db8:1:2::1]:1", "[2001:db8:1:2:ffff:1:2:3]:9"));
  assert_false(same_source("[2001:db8:1:2::1]:1", "[2001:db8:1:3::1]:1"));
  assert_true(same_source("[::ffff:192.0.2.1]:1", "192.0.2.1:1"));
  assert_false(same_source("[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.2]:1"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_ipv6_network_is_one_source),
      cmocka_unit_test(faults_are_counted_by_kind),
      cmocka_unit_test(one_too_many_cuts_off_for_ten_minutes),
      cmocka_unit_test(faults_far_apart_do_not_add_up),
      cmocka_unit_test(what_others_wrote_cuts_nobody_off),
      cmocka_unit_test(clocks_that_are_wrong_cut_nobody_off),
      cmocka_unit_test(messages_have_a_minutes_worth_at_once),
      cmocka_unit_test(a_rate_below_one_a_second_is_kept),
      cmocka_unit_test(entries_have_their_own_rate),
      cmocka_unit_test(statements_that_are_known_cost_little),
      cmocka_unit_test(synchronizations_cost_what_is_read_for_them),
      cmocka_unit_test(synchronizations_that_fail_have_an_end),
      cmocka_unit_test(what_is_held_against_it_ends),
      cmocka_unit_test(without_limits_nothing_waits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
