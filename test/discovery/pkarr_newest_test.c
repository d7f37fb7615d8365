/* Older packets than one that was seen are refused. */
#include "discovery/pkarr_newest.h"

#include "test/base/test_env.h"

static test_env t;
static km_pkarr_newest newest;

static int setup(void **state) {
  (void)state;
  test_env_init(&t);
  km_pkarr_newest_init(&newest, &t.env);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  km_pkarr_newest_clear(&newest);
  assert_int_equal(t.live, 0);
  return 0;
}

static bool take(unsigned key, uint64_t timestamp_us) {
  km_id id = {{(uint8_t)key, (uint8_t)(key >> 8)}};
  return km_pkarr_newest_take(&newest, &id, timestamp_us);
}

static void older_packets_are_refused(void **state) {
  (void)state;
  assert_true(take(1, 100));
  assert_true(take(1, 100));
  assert_false(take(1, 99));
  assert_true(take(1, 101));
  assert_false(take(1, 100));
  assert_true(take(2, 0));
  assert_true(take(1, UINT64_MAX));
  assert_false(take(1, UINT64_MAX - 1));
}

static void many_keys_have_a_limit(void **state) {
  (void)state;
  for (unsigned i = 0; i < KM_PKARR_NEWEST_MAX; i++) {
    assert_true(take(i, 100 + i));
  }
  assert_false(take(0, 99)); /* used, so that the next one is the oldest */
  assert_true(take(KM_PKARR_NEWEST_MAX, 1));
  assert_int_equal(newest.count, KM_PKARR_NEWEST_MAX);
  assert_false(take(0, 99));
  assert_false(take(2, 101));
  assert_true(take(1, 1)); /* forgotten */
}

static void without_memory_it_is_not_remembered(void **state) {
  (void)state;
  t.fail_after = 0;
  assert_true(take(1, 100));
  assert_true(take(1, 99));
  t.fail_after = 1;
  for (unsigned i = 0; i < 16; i++) {
    assert_true(take(i, 100));
  }
  assert_true(take(16, 100)); /* in the place of the oldest */
  assert_int_equal(newest.count, 16);
  assert_false(take(1, 99));
  assert_true(take(0, 99));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(older_packets_are_refused, setup, teardown),
      cmocka_unit_test_setup_teardown(many_keys_have_a_limit, setup, teardown),
      cmocka_unit_test_setup_teardown(without_memory_it_is_not_remembered, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
