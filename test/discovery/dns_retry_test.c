/* Repetitions of a DNS question, by a clock of ours. */
#include "discovery/dns_retry.h"

#include "test/base/test_env.h"

#define MS KM_NS_PER_MS
#define START (1000 * KM_NS_PER_S)

static const uint64_t delays_ms[KM_DNS_ATTEMPTS] = {0, 200, 300, 600, 1000, 2000, 3000};

static uint64_t seed;

static void draw(void *ctx, void *buf, size_t len) {
  (void)ctx;
  for (size_t i = 0; i < len; i++) {
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    ((uint8_t *)buf)[i] = (uint8_t)(seed >> 56);
  }
}

static void attempts_are_at_their_times_with_a_fifth_of_jitter(void **state) {
  (void)state;
  km_env env = {.random = draw};
  uint64_t lowest[KM_DNS_ATTEMPTS], highest[KM_DNS_ATTEMPTS] = {0};
  memset(lowest, 0xff, sizeof lowest);
  for (int round = 0; round < 2000; round++) {
    km_dns_retry r;
    km_dns_retry_init(&r, &env, START, 10 * KM_NS_PER_S);
    for (size_t i = 0; i < KM_DNS_ATTEMPTS; i++) {
      uint64_t after = r.at[i] - START;
      lowest[i] = after < lowest[i] ? after : lowest[i];
      highest[i] = after > highest[i] ? after : highest[i];
    }
  }
  assert_int_equal(lowest[0], 0);
  assert_int_equal(highest[0], 0);
  for (size_t i = 1; i < KM_DNS_ATTEMPTS; i++) {
    uint64_t delay = delays_ms[i] * MS, jitter = delay / 5, near = delay / 50;
    assert_in_range(lowest[i], delay - jitter, delay - jitter + near);
    assert_in_range(highest[i], delay + jitter - near, delay + jitter);
  }
}

static void the_first_is_at_once_and_all_failures_end_it(void **state) {
  (void)state;
  test_env t;
  km_dns_retry r;
  test_env_init(&t);
  km_dns_retry_init(&r, &t.env, START, 10 * KM_NS_PER_S);
  km_ts now = START;
  for (unsigned i = 0; i < KM_DNS_ATTEMPTS; i++) {
    assert_int_equal(km_dns_retry_at(&r), r.at[i]);
    now = km_dns_retry_at(&r);
    if (i > 0) {
      assert_int_equal(km_dns_retry_next(&r, now - 1), KM_DNS_RETRY_WAIT);
    }
    assert_int_equal(km_dns_retry_next(&r, now), KM_DNS_RETRY_BEGIN);
    km_dns_retry_begun(&r);
  }
  assert_int_equal(km_dns_retry_next(&r, now), KM_DNS_RETRY_WAIT);
  assert_int_equal(km_dns_retry_at(&r), START + 10 * KM_NS_PER_S);
  for (unsigned i = 0; i < KM_DNS_ATTEMPTS; i++) {
    assert_int_equal(km_dns_retry_next(&r, now), KM_DNS_RETRY_WAIT);
    km_dns_retry_failed(&r);
  }
  assert_int_equal(km_dns_retry_next(&r, now), KM_DNS_RETRY_FAILED);
}

/* One that failed is not repeated sooner: a server that is overloaded answers so, too. */
static void a_failure_does_not_hurry_the_next(void **state) {
  (void)state;
  test_env t;
  km_dns_retry r;
  test_env_init(&t);
  km_dns_retry_init(&r, &t.env, START, 10 * KM_NS_PER_S);
  km_dns_retry_begun(&r);
  km_dns_retry_failed(&r);
  assert_int_equal(km_dns_retry_next(&r, START + 1), KM_DNS_RETRY_WAIT);
  assert_int_equal(km_dns_retry_at(&r), r.at[1]);
}

static void time_is_over_at_the_end(void **state) {
  (void)state;
  test_env t;
  km_dns_retry r;
  test_env_init(&t);
  km_dns_retry_init(&r, &t.env, START, 700 * MS);
  km_dns_retry_begun(&r);
  km_dns_retry_begun(&r);
  km_dns_retry_begun(&r);
  km_dns_retry_begun(&r); /* the next one would be at a second */
  assert_int_equal(km_dns_retry_at(&r), START + 700 * MS);
  assert_int_equal(km_dns_retry_next(&r, START + 700 * MS - 1), KM_DNS_RETRY_WAIT);
  assert_int_equal(km_dns_retry_next(&r, START + 700 * MS), KM_DNS_RETRY_TIMEOUT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(attempts_are_at_their_times_with_a_fifth_of_jitter),
      cmocka_unit_test(the_first_is_at_once_and_all_failures_end_it),
      cmocka_unit_test(a_failure_does_not_hurry_the_next),
      cmocka_unit_test(time_is_over_at_the_end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
