/* endpoint/mesh/backoff.c: waits between attempts. */
#include "test/endpoint/unit/test_env.h"

#include "endpoint/mesh/backoff.h"

static const uint32_t waits[] = {1000, 3000, 10000, 30000};

static km_backoff with_jitter(uint8_t percent) {
  return (km_backoff){
      .waits_ms = waits, .count = sizeof waits / sizeof waits[0], .jitter_percent = percent};
}

static void without_jitter_waits_are_those_of_the_list_and_the_last_repeats(void **state) {
  (void)state;
  test_env t;
  test_env_init(&t, 1);
  km_backoff b = with_jitter(0);
  const uint64_t seconds[] = {1, 3, 10, 30, 30, 30};
  for (size_t i = 0; i < sizeof seconds / sizeof seconds[0]; i++) {
    assert_int_equal(km_backoff_next(&b, &t.env), seconds[i] * KM_NS_PER_S);
    assert_int_equal(b.attempts, i + 1);
  }
}

static void a_reset_begins_anew(void **state) {
  (void)state;
  test_env t;
  test_env_init(&t, 2);
  km_backoff b = with_jitter(0);
  (void)km_backoff_next(&b, &t.env);
  (void)km_backoff_next(&b, &t.env);
  km_backoff_reset(&b);
  assert_int_equal(b.attempts, 0);
  assert_int_equal(km_backoff_next(&b, &t.env), KM_NS_PER_S);
}

static void a_refusal_waits_the_longest_wherever_it_stands(void **state) {
  (void)state;
  test_env t;
  test_env_init(&t, 3);
  static const uint32_t hill[] = {1000, 60000, 5000};
  km_backoff b = {.waits_ms = hill, .count = 3};
  assert_int_equal(km_backoff_longest(&b, &t.env), 60 * KM_NS_PER_S);
  assert_int_equal(b.attempts, 1);
  assert_int_equal(km_backoff_next(&b, &t.env), 60 * KM_NS_PER_S); /* the second of the list */
}

/* All of the range is used, and nothing beyond it. */
static void jitter_spreads_over_its_whole_range(void **state) {
  (void)state;
  test_env t;
  test_env_init(&t, 4);
  km_backoff b = with_jitter(20);
  uint64_t least = UINT64_MAX, most = 0, sum = 0;
  enum { DRAWS = 20000 };
  for (int i = 0; i < DRAWS; i++) {
    km_backoff_reset(&b);
    uint64_t wait = km_backoff_next(&b, &t.env);
    least = wait < least ? wait : least;
    most = wait > most ? wait : most;
    sum += wait;
  }
  assert_in_range(least, 800 * KM_NS_PER_MS, 801 * KM_NS_PER_MS);
  assert_in_range(most, 1199 * KM_NS_PER_MS, 1200 * KM_NS_PER_MS);
  assert_in_range(sum / DRAWS, 995 * KM_NS_PER_MS, 1005 * KM_NS_PER_MS);
}

static void attempts_do_not_wrap(void **state) {
  (void)state;
  test_env t;
  test_env_init(&t, 5);
  km_backoff b = with_jitter(0);
  b.attempts = UINT32_MAX;
  assert_int_equal(km_backoff_next(&b, &t.env), 30 * KM_NS_PER_S);
  assert_int_equal(b.attempts, UINT32_MAX);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(without_jitter_waits_are_those_of_the_list_and_the_last_repeats),
      cmocka_unit_test(a_reset_begins_anew),
      cmocka_unit_test(a_refusal_waits_the_longest_wherever_it_stands),
      cmocka_unit_test(jitter_spreads_over_its_whole_range),
      cmocka_unit_test(attempts_do_not_wrap),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
