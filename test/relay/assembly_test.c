/* Messages in pieces, and what all of them together may hold. */
#include "relay/assembly.h"
#include "test/base/test_env.h"

#define SMALL 2048
#define MIDDLE 16384
#define MOST KM_RELAY_MAX_MESSAGE

static test_env env;
static km_assembly_pool pool;
static uint8_t data[MOST + 1];

static int setup(void **state) {
  (void)state;
  test_env_init(&env);
  for (size_t i = 0; i < sizeof data; i++) {
    data[i] = (uint8_t)(i * 31 + i / 251);
  }
  km_assembly_pool_init(&pool, &env.env, 1 << 20);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  assert_int_equal(pool.bytes, 0);
  assert_null(pool.oldest);
  assert_null(pool.newest);
  km_assembly_pool_clear(&pool);
  assert_int_equal(env.live, 0);
  return 0;
}

static int add(km_assembly *a, size_t from, size_t len) {
  return km_assembly_add(a, &pool, data + from, len, MOST);
}

static void pieces_of_any_size_make_the_message(void **state) {
  (void)state;
  static const size_t steps[] = {1, 100, SMALL - 1, SMALL, SMALL + 1, MIDDLE, MIDDLE + 1, MOST};
  for (size_t i = 0; i < COUNT_OF(steps); i++) {
    km_assembly a = {0};
    assert_true(km_assembly_is_empty(&a));
    for (size_t at = 0; at < MOST; at += steps[i]) {
      assert_int_equal(add(&a, at, at + steps[i] < MOST ? steps[i] : MOST - at), 0);
      assert_false(km_assembly_is_empty(&a));
    }
    assert_int_equal(a.len, MOST);
    assert_memory_equal(km_assembly_bytes(&a), data, MOST);
    assert_int_equal(pool.bytes, MOST); /* the smaller ones went back */
    km_assembly_reset(&a, &pool);
    assert_true(km_assembly_is_empty(&a));
  }
  km_assembly a = {0};
  km_assembly_reset(&a, &pool); /* nothing to give back */
}

static void an_empty_piece_is_one(void **state) {
  (void)state;
  km_assembly a = {0};
  assert_int_equal(km_assembly_add(&a, &pool, NULL, 0, MOST), 0);
  assert_false(km_assembly_is_empty(&a));
  assert_int_equal(a.len, 0);
  assert_non_null(km_assembly_bytes(&a));
  assert_int_equal(add(&a, 0, 5), 0);
  assert_memory_equal(km_assembly_bytes(&a), data, 5);
  km_assembly_reset(&a, &pool);
}

static void buffers_are_no_bigger_than_needed(void **state) {
  (void)state;
  km_assembly a = {0};
  static const struct {
    size_t add, bytes;
  } steps[] = {{SMALL, SMALL}, {1, MIDDLE}, {MIDDLE - SMALL - 1, MIDDLE}, {1, MOST}};
  for (size_t i = 0; i < COUNT_OF(steps); i++) {
    assert_int_equal(add(&a, 0, steps[i].add), 0);
    assert_int_equal(pool.bytes, steps[i].bytes);
  }
  km_assembly_reset(&a, &pool);
}

static void too_long_is_refused_and_changes_nothing(void **state) {
  (void)state;
  km_assembly a = {0};
  assert_int_equal(add(&a, 0, MOST + 1), KM_ERR_RELAY_PROTOCOL);
  assert_true(km_assembly_is_empty(&a));
  assert_int_equal(add(&a, 0, MOST), 0);
  assert_int_equal(add(&a, 0, 1), KM_ERR_RELAY_PROTOCOL);
  assert_int_equal(km_assembly_add(&a, &pool, data, SIZE_MAX, MOST), KM_ERR_RELAY_PROTOCOL);
  assert_int_equal(a.len, MOST);
  km_assembly_reset(&a, &pool);
  /* A limit of the moment, as before the login. */
  assert_int_equal(km_assembly_add(&a, &pool, data, 90, 100), 0);
  assert_int_equal(km_assembly_add(&a, &pool, data, 11, 100), KM_ERR_RELAY_PROTOCOL);
  assert_int_equal(km_assembly_add(&a, &pool, data + 90, 10, 100), 0);
  assert_memory_equal(km_assembly_bytes(&a), data, 100);
  km_assembly_reset(&a, &pool);
}

static void all_together_are_bounded(void **state) {
  (void)state;
  km_assembly a[8] = {0};
  pool.max_bytes = 3 * SMALL;
  for (int i = 0; i < 3; i++) {
    assert_int_equal(add(&a[i], 0, 10), 0);
  }
  assert_int_equal(add(&a[3], 0, 10), KM_ERR_LIMIT);
  assert_true(km_assembly_is_empty(&a[3]));
  assert_int_equal(add(&a[2], 10, SMALL), KM_ERR_LIMIT);
  assert_int_equal(a[2].len, 10); /* it keeps what it had */
  assert_memory_equal(km_assembly_bytes(&a[2]), data, 10);
  assert_int_equal(add(&a[2], 10, SMALL - 10), 0); /* as that needs nothing new */
  assert_ptr_equal(pool.oldest, &a[0]);
  km_assembly_reset(&a[0], &pool);
  assert_int_equal(add(&a[3], 0, 10), 0);
  for (int i = 1; i < 4; i++) {
    km_assembly_reset(&a[i], &pool);
  }
  pool.max_bytes = SMALL - 1;
  assert_int_equal(add(&a[0], 0, 1), KM_ERR_LIMIT);
  assert_null(pool.oldest);
}

static void the_oldest_is_known(void **state) {
  (void)state;
  km_assembly a[4] = {0};
  for (int i = 0; i < 4; i++) {
    assert_int_equal(add(&a[i], 0, 10), 0);
    assert_ptr_equal(pool.oldest, &a[0]);
    assert_ptr_equal(pool.newest, &a[i]);
  }
  assert_int_equal(add(&a[0], 0, SMALL), 0); /* growing makes nobody younger */
  assert_ptr_equal(pool.oldest, &a[0]);
  km_assembly_reset(&a[1], &pool); /* from the middle */
  km_assembly_reset(&a[0], &pool);
  assert_ptr_equal(pool.oldest, &a[2]);
  km_assembly_reset(&a[3], &pool);
  assert_ptr_equal(pool.newest, &a[2]);
  assert_int_equal(add(&a[0], 0, 10), 0);
  assert_ptr_equal(pool.oldest, &a[2]);
  km_assembly_reset(&a[2], &pool);
  assert_ptr_equal(pool.oldest, &a[0]);
  km_assembly_reset(&a[0], &pool);
}

static void spares_are_used_again_and_bounded(void **state) {
  (void)state;
  enum { MANY = 2 * KM_ASSEMBLY_SPARES };
  static km_assembly a[MANY];
  pool.max_bytes = (size_t)MANY * SMALL;
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < MANY; i++) {
      assert_int_equal(add(&a[i], 0, 1), 0);
    }
    assert_int_equal(env.live, MANY);
    for (int i = 0; i < MANY; i++) {
      km_assembly_reset(&a[i], &pool);
    }
    assert_int_equal(env.live, KM_ASSEMBLY_SPARES);
  }
  env.fail_after = 0; /* what is spare needs no memory */
  for (int i = 0; i < KM_ASSEMBLY_SPARES; i++) {
    assert_int_equal(add(&a[i], 0, 1), 0);
  }
  assert_int_equal(add(&a[KM_ASSEMBLY_SPARES], 0, 1), KM_ERR_NOMEM);
  for (int i = 0; i < KM_ASSEMBLY_SPARES; i++) {
    km_assembly_reset(&a[i], &pool);
  }
}

static void without_memory_what_came_stays(void **state) {
  (void)state;
  km_assembly a = {0};
  env.fail_after = 1;
  assert_int_equal(add(&a, 0, SMALL), 0);
  assert_int_equal(add(&a, 0, 1), KM_ERR_NOMEM);
  assert_int_equal(a.len, SMALL);
  assert_int_equal(pool.bytes, SMALL);
  env.fail_after = -1;
  assert_int_equal(add(&a, SMALL, 1), 0);
  assert_memory_equal(km_assembly_bytes(&a), data, SMALL + 1);
  km_assembly_reset(&a, &pool);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(pieces_of_any_size_make_the_message),
      TEST(an_empty_piece_is_one),
      TEST(buffers_are_no_bigger_than_needed),
      TEST(too_long_is_refused_and_changes_nothing),
      TEST(all_together_are_bounded),
      TEST(the_oldest_is_known),
      TEST(spares_are_used_again_and_bounded),
      TEST(without_memory_what_came_stays),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
