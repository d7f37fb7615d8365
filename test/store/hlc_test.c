/* The hybrid logical clock: it follows the machine's and never falls, whatever that one does. */
#include "store/hlc.h"

#include "test/base/test_env.h"

#define MS(n) ((km_wall){.unix_ns = (int64_t)(n) * (int64_t)KM_NS_PER_MS})
#define AT(ms, counter) ((uint64_t)(ms) << KM_HLC_COUNTER_BITS | (counter))
#define FAR UINT64_C(86400000)

static uint64_t next(km_hlc *h, km_wall wall) {
  uint64_t clock = 0;
  assert_int_equal(km_hlc_next(h, wall, FAR, &clock), 0);
  assert_int_equal(clock, h->last);
  return clock;
}

static void test_wall(void **state) {
  (void)state;
  assert_int_equal(km_hlc_from_wall(MS(1000)), AT(1000, 0));
  assert_int_equal(km_hlc_from_wall((km_wall){.unix_ns = 1999999}), AT(1, 0));
  assert_int_equal(km_hlc_from_wall((km_wall){.unix_ns = -1}), 0);
  assert_int_equal(km_hlc_from_wall((km_wall){.unix_ns = INT64_MIN}), 0);
  assert_int_equal(km_hlc_ms(AT(1234567890123, 77)), 1234567890123);
}

static void test_follows_wall(void **state) {
  (void)state;
  km_hlc h = {0};
  assert_int_equal(next(&h, MS(5000)), AT(5000, 0));
  assert_int_equal(next(&h, MS(5000)), AT(5000, 1));
  assert_int_equal(next(&h, MS(5000)), AT(5000, 2));
  assert_int_equal(next(&h, MS(5001)), AT(5001, 0));
}

static void test_wall_goes_back(void **state) {
  (void)state;
  km_hlc h = {0};
  (void)next(&h, MS(5000));
  assert_int_equal(next(&h, MS(3000)), AT(5000, 1));
  assert_int_equal(next(&h, MS(-1)), AT(5000, 2));
  assert_int_equal(next(&h, MS(5002)), AT(5002, 0));
}

static void test_counter_runs_over(void **state) {
  (void)state;
  km_hlc h = {.last = AT(5000, 0xffff)};
  assert_int_equal(next(&h, MS(5000)), AT(5001, 0));
  assert_int_equal(next(&h, MS(5000)), AT(5001, 1));
}

static void test_too_far_ahead(void **state) {
  (void)state;
  uint64_t clock = 42;
  km_hlc h = {.last = AT(2000, 0)};
  assert_int_equal(km_hlc_next(&h, MS(999), 1000, &clock), KM_ERR_LIMIT);
  assert_int_equal(clock, 42);
  assert_int_equal(h.last, AT(2000, 0));
  assert_int_equal(km_hlc_next(&h, MS(1000), 1000, &clock), 0);
  assert_int_equal(clock, AT(2000, 1));
  /* The step itself can be the one that is too far. */
  h.last = AT(2000, 0xffff);
  assert_int_equal(km_hlc_next(&h, MS(1000), 1000, &clock), KM_ERR_LIMIT);
  h.last = UINT64_MAX;
  assert_int_equal(km_hlc_next(&h, MS(1000), UINT64_MAX, &clock), KM_ERR_LIMIT);
  assert_int_equal(h.last, UINT64_MAX);
}

static void test_sees(void **state) {
  (void)state;
  km_hlc h = {0};
  (void)next(&h, MS(5000));
  assert_int_equal(km_hlc_see(&h, AT(5060, 9), MS(5000), 60), 0);
  assert_int_equal(next(&h, MS(5001)), AT(5060, 10));
  assert_int_equal(km_hlc_see(&h, AT(5061, 0), MS(5000), 60), KM_ERR_LIMIT);
  assert_int_equal(h.last, AT(5060, 10));
  assert_int_equal(km_hlc_see(&h, UINT64_MAX, MS(5000), 60), KM_ERR_LIMIT);
  assert_int_equal(km_hlc_see(&h, AT(100, 0), MS(5000), 60), 0); /* the past changes nothing */
  assert_int_equal(h.last, AT(5060, 10));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_wall),           cmocka_unit_test(test_follows_wall),
      cmocka_unit_test(test_wall_goes_back), cmocka_unit_test(test_counter_runs_over),
      cmocka_unit_test(test_too_far_ahead),  cmocka_unit_test(test_sees),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
