#include "test/base/test_env.h"

static void memory_is_counted_and_zeroed(void **state) {
  (void)state;
  test_env t;
  test_env_init(&t);
  uint8_t *p = km_env_zalloc(&t.env, 3, 5);
  assert_non_null(p);
  for (int i = 0; i < 15; i++) {
    assert_int_equal(p[i], 0);
  }
  p[14] = 7;
  p = km_env_realloc(&t.env, p, 100, 4);
  assert_non_null(p);
  assert_int_equal(p[14], 7);
  km_env_free(&t.env, p);
  km_env_free(&t.env, NULL);
  /* An environment is never asked for nothing. */
  void *empty = km_env_alloc(&t.env, 0);
  assert_non_null(empty);
  empty = km_env_realloc(&t.env, empty, 0, 8);
  assert_non_null(empty);
  km_env_free(&t.env, empty);
  assert_int_equal(t.live, 0);
}

static void sizes_that_overflow_are_refused(void **state) {
  (void)state;
  test_env t;
  test_env_init(&t);
  assert_null(km_env_zalloc(&t.env, SIZE_MAX / 2, 3));
  int kept = 42;
  assert_null(km_env_realloc(&t.env, &kept, SIZE_MAX / 8 + 1, 8));
  assert_int_equal(kept, 42);
  t.fail_after = 0;
  assert_null(km_env_zalloc(&t.env, 1, 1));
  assert_int_equal(t.live, 0);
}

/* Gives 64-bit values from a list, so that the rejection of biased ones can be seen. */
typedef struct listed {
  const uint64_t *values;
  size_t used;
} listed;

static void listed_random(void *ctx, void *buf, size_t len) {
  listed *l = ctx;
  assert_int_equal(len, sizeof *l->values);
  memcpy(buf, &l->values[l->used++], len);
}

static void random_below_rejects_the_biased_rest(void **state) {
  (void)state;
  const uint64_t values[] = {0, 5, 6, UINT64_MAX};
  listed l = {.values = values};
  km_env env = {.ctx = &l, .random = listed_random};
  /* 2^64 mod 10 is 6: the six lowest values would favour 0 to 5. */
  assert_int_equal(km_env_random_below(&env, 10), 6);
  assert_int_equal(l.used, 3);
  assert_int_equal(km_env_random_below(&env, 10), 5);
  l.used = 0;
  assert_int_equal(km_env_random_below(&env, 1), 0);
  assert_int_equal(l.used, 1);
  l.used = 3;
  assert_true(km_env_random_below(&env, UINT64_C(1) << 63) == (UINT64_C(1) << 63) - 1);
}

static void the_system_environment_works(void **state) {
  (void)state;
  uint8_t *p = km_env_alloc(&km_env_system, 64);
  assert_non_null(p);
  memset(p, 0, 64);
  km_env_random(&km_env_system, p, 64);
  uint8_t any = 0;
  for (int i = 0; i < 64; i++) {
    any |= p[i];
  }
  assert_int_not_equal(any, 0); /* fails once in 2^512 runs */
  p = km_env_realloc(&km_env_system, p, 2, 64);
  assert_non_null(p);
  km_env_free(&km_env_system, p);
  km_env_random(&km_env_system, NULL, 0);

  km_ts before = km_clock_now();
  assert_true(km_clock_now() >= before);
  assert_true(km_clock_wall().unix_ns > INT64_C(1700000000) * 1000000000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(memory_is_counted_and_zeroed),
      cmocka_unit_test(sizes_that_overflow_are_refused),
      cmocka_unit_test(random_below_rejects_the_biased_rest),
      cmocka_unit_test(the_system_environment_works),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
