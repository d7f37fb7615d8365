/* A rate with a burst: nothing else looks at a clock, so every time here is made up. */
#include "base/token_bucket.h"
#include "test/base/test_env.h"

#define T0 (UINT64_C(1000) * KM_NS_PER_S)

static void no_rate_is_no_limit(void **state) {
  (void)state;
  km_token_bucket b;
  km_token_bucket_init(&b, 0, 0, T0);
  for (int i = 0; i < 1000; i++) {
    assert_true(km_token_bucket_take(&b, T0));
    assert_true(km_token_bucket_spend(&b, UINT64_MAX, T0));
  }
  assert_int_equal(km_token_bucket_when(&b, T0), T0);
}

static void a_burst_and_then_the_rate(void **state) {
  (void)state;
  km_token_bucket b;
  km_token_bucket_init(&b, 10, 3, T0);
  for (int i = 0; i < 3; i++) {
    assert_true(km_token_bucket_take(&b, T0));
  }
  assert_false(km_token_bucket_take(&b, T0));
  assert_false(km_token_bucket_take(&b, T0 + 99 * KM_NS_PER_MS));
  assert_true(km_token_bucket_take(&b, T0 + 100 * KM_NS_PER_MS));
  assert_false(km_token_bucket_take(&b, T0 + 100 * KM_NS_PER_MS));
  /* It fills up to its burst and not further, however long it takes. */
  for (unsigned later = 1; later < 4; later++) {
    km_ts now = T0 + later * 100000 * KM_NS_PER_S;
    for (int i = 0; i < 3; i++) {
      assert_true(km_token_bucket_take(&b, now));
    }
    assert_false(km_token_bucket_take(&b, now));
  }
}

/* However oddly it is asked: what a part of a token took is not forgotten. */
static void the_rate_holds_over_time(void **state) {
  (void)state;
  static const uint64_t steps_ms[] = {1, 7, 90, 130, 390, 999, 1001};
  for (size_t i = 0; i < COUNT_OF(steps_ms); i++) {
    km_token_bucket b;
    uint64_t taken = 0, step = steps_ms[i] * KM_NS_PER_MS, seconds = 1000;
    km_token_bucket_init(&b, 5, 100, T0);
    for (km_ts now = T0; now < T0 + seconds * KM_NS_PER_S; now += step) {
      while (km_token_bucket_take(&b, now)) {
        taken++;
      }
    }
    assert_in_range(taken, 100 + 5 * (seconds - 2), 100 + 5 * seconds);
  }
}

/* What a full bucket waited is no part of a token. */
static void the_rate_begins_when_it_is_full_no_more(void **state) {
  (void)state;
  km_token_bucket b;
  km_token_bucket_init(&b, 10, 3, T0);
  km_ts begin = T0 + 99 * KM_NS_PER_MS;
  for (int i = 0; i < 3; i++) {
    assert_true(km_token_bucket_take(&b, begin));
  }
  assert_false(km_token_bucket_take(&b, begin + 99 * KM_NS_PER_MS));
  assert_true(km_token_bucket_take(&b, begin + 100 * KM_NS_PER_MS));
}

static void a_debt_is_paid_when_it_says(void **state) {
  (void)state;
  static const uint64_t rates[] = {1,       3,       1000,      999999,
                                   1000000, 1234567, 125000000, UINT64_C(40000000000)};
  for (size_t i = 0; i < COUNT_OF(rates); i++) {
    for (uint64_t debt = 1; debt < 70000; debt = debt * 7 + 1) {
      km_token_bucket b;
      km_token_bucket_init(&b, rates[i], 10, T0);
      assert_true(km_token_bucket_spend(&b, 10, T0));
      assert_int_equal(km_token_bucket_when(&b, T0), T0);
      assert_false(km_token_bucket_spend(&b, debt, T0));
      km_ts when = km_token_bucket_when(&b, T0);
      uint64_t exact = debt / rates[i] * KM_NS_PER_S + debt % rates[i] * KM_NS_PER_S / rates[i];
      assert_in_range(when - T0, exact, exact + 2001); /* to the microsecond */
      assert_true(km_token_bucket_spend(&b, 0, when));
    }
  }
}

static void a_clock_that_stands_or_goes_back(void **state) {
  (void)state;
  km_token_bucket b;
  km_token_bucket_init(&b, 1000, 1, T0);
  assert_true(km_token_bucket_take(&b, T0));
  assert_false(km_token_bucket_take(&b, T0));
  assert_false(km_token_bucket_take(&b, T0 - KM_NS_PER_S));
  assert_true(km_token_bucket_take(&b, T0 + KM_NS_PER_MS));
}

static void huge_numbers_do_no_harm(void **state) {
  (void)state;
  km_token_bucket b;
  km_token_bucket_init(&b, UINT64_MAX, UINT64_MAX, T0);
  assert_true(km_token_bucket_spend(&b, 1, T0));
  for (int i = 0; i < 1000; i++) {
    (void)km_token_bucket_spend(&b, UINT64_MAX, T0);
  }
  km_ts when = km_token_bucket_when(&b, T0);
  assert_in_range(when, T0 + KM_NS_PER_S, T0 + 2000 * KM_NS_PER_S);
  assert_true(km_token_bucket_spend(&b, 0, when));
  assert_true(km_token_bucket_spend(&b, 0, KM_TS_NEVER - 1));
  km_token_bucket_init(&b, 1, UINT64_MAX, T0);
  assert_true(km_token_bucket_take(&b, KM_TS_NEVER - 1));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(no_rate_is_no_limit),
      cmocka_unit_test(a_burst_and_then_the_rate),
      cmocka_unit_test(the_rate_holds_over_time),
      cmocka_unit_test(the_rate_begins_when_it_is_full_no_more),
      cmocka_unit_test(a_debt_is_paid_when_it_says),
      cmocka_unit_test(a_clock_that_stands_or_goes_back),
      cmocka_unit_test(huge_numbers_do_no_harm),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
