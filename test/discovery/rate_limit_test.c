/* Rates a source. Time is an argument. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "discovery/server/rate_limit.h"

static km_udp_addr v4(uint32_t ip) {
  km_udp_addr a = {.family = 4, .port = 1};
  for (int i = 0; i < 4; i++) {
    a.ip[i] = (uint8_t)(ip >> (24 - 8 * i));
  }
  return a;
}

static km_udp_addr v6(uint64_t prefix, uint64_t rest) {
  km_udp_addr a = {.family = 6, .port = 1};
  for (int i = 0; i < 8; i++) {
    a.ip[i] = (uint8_t)(prefix >> (56 - 8 * i));
    a.ip[8 + i] = (uint8_t)(rest >> (56 - 8 * i));
  }
  return a;
}

static km_rate_limit *limit_of(uint32_t per_second, uint32_t burst) {
  km_rate_limit *l;
  assert_int_equal(km_rate_limit_new(&l, &km_env_system, per_second, burst), 0);
  return l;
}

static size_t take_all(km_rate_limit *l, km_udp_addr source, km_ts now) {
  size_t taken = 0;
  while (km_rate_limit_take(l, &source, now)) {
    taken++;
  }
  return taken;
}

static void test_rate_and_burst(void **state) {
  (void)state;
  km_rate_limit *l = limit_of(100, 20);
  km_ts now = 5 * KM_NS_PER_S;
  assert_int_equal(take_all(l, v4(1), now), 20);
  assert_int_equal(take_all(l, v4(1), now + 9 * KM_NS_PER_MS), 0);
  assert_int_equal(take_all(l, v4(1), now + 10 * KM_NS_PER_MS), 1);
  assert_int_equal(take_all(l, v4(1), now + 110 * KM_NS_PER_MS), 10);
  assert_int_equal(take_all(l, v4(1), now + 3600 * KM_NS_PER_S), 20);
  /* Time that stands still or goes back gives nothing. */
  assert_int_equal(take_all(l, v4(1), now), 0);
  km_rate_limit_free(l);
}

static void test_sources_are_apart(void **state) {
  (void)state;
  km_rate_limit *l = limit_of(1, 3);
  km_ts now = KM_NS_PER_S;
  for (uint32_t i = 0; i < 1000; i++) {
    assert_int_equal(take_all(l, v4(0xc0000200 + i), now), 3);
  }
  for (uint32_t i = 0; i < 1000; i++) {
    assert_int_equal(take_all(l, v4(0xc0000200 + i), now), 0);
  }
  km_rate_limit_free(l);
}

static void test_what_one_source_is(void **state) {
  (void)state;
  km_rate_limit *l = limit_of(1, 4);
  km_udp_addr other_port = v4(7);
  other_port.port = 2;
  assert_int_equal(take_all(l, v4(7), 0), 4);
  assert_int_equal(take_all(l, other_port, 0), 0);
  km_udp_addr mapped = v6(0, UINT64_C(0xffff00000007));
  assert_int_equal(take_all(l, mapped, 0), 0);
  /* An IPv6 /56. */
  assert_int_equal(take_all(l, v6(UINT64_C(0x20010db800aabb00), 1), 0), 4);
  assert_int_equal(take_all(l, v6(UINT64_C(0x20010db800aabbff), 99), 0), 0);
  assert_int_equal(take_all(l, v6(UINT64_C(0x20010db800aabc00), 1), 0), 4);
  km_rate_limit_free(l);
}

static void test_no_limit(void **state) {
  (void)state;
  km_rate_limit *l = limit_of(0, 0);
  km_udp_addr a = v4(1);
  for (int i = 0; i < 100000; i++) {
    assert_true(km_rate_limit_take(l, &a, 0));
  }
  km_rate_limit_free(l);
  l = limit_of(10, 0); /* a burst of none is one: nothing could ever come */
  assert_int_equal(take_all(l, v4(1), 0), 1);
  km_rate_limit_free(l);
  l = limit_of(UINT32_MAX, UINT32_MAX);
  assert_true(km_rate_limit_take(l, &a, 0));
  km_rate_limit_free(l);
  km_rate_limit_free(NULL);
}

static void test_per_minute(void **state) {
  (void)state;
  km_rate_limit *l;
  assert_int_equal(km_rate_limit_new_per_minute(&l, &km_env_system, 4, 2), 0);
  assert_int_equal(take_all(l, v4(1), 0), 2);
  assert_int_equal(take_all(l, v4(1), 14 * KM_NS_PER_S), 0);
  assert_int_equal(take_all(l, v4(1), 15 * KM_NS_PER_S), 1);
  assert_int_equal(take_all(l, v4(1), 600 * KM_NS_PER_S), 2);
  km_rate_limit_free(l);
  assert_int_equal(km_rate_limit_new_per_minute(&l, &km_env_system, 1, UINT32_MAX), 0);
  km_udp_addr a = v4(1);
  assert_true(km_rate_limit_take(l, &a, 0));
  km_rate_limit_free(l);
}

/* Many more sources than there is room for: none gets more than its share, the one that is limited
 * stays so, and the memory is what it was. */
static void test_a_flood_of_forged_sources(void **state) {
  (void)state;
  km_rate_limit *l = limit_of(1, 2);
  assert_int_equal(take_all(l, v4(1), 0), 2);
  size_t taken = 0;
  for (uint32_t i = 0; i < 500000; i++) {
    km_udp_addr a = v4(0x0a000000 + i);
    taken += km_rate_limit_take(l, &a, 0);
  }
  assert_true(taken > 60000 && taken <= 2 * 65536);
  assert_int_equal(take_all(l, v4(1), 0), 0);
  assert_int_equal(take_all(l, v4(1), KM_NS_PER_S), 1);
  /* When it is over, all is as before. */
  assert_int_equal(take_all(l, v4(0x0b000001), 10 * KM_NS_PER_S), 2);
  km_rate_limit_free(l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_rate_and_burst),     cmocka_unit_test(test_sources_are_apart),
      cmocka_unit_test(test_what_one_source_is), cmocka_unit_test(test_no_limit),
      cmocka_unit_test(test_per_minute),         cmocka_unit_test(test_a_flood_of_forged_sources),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
