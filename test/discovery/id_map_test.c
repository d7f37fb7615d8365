#include "discovery/id_map.h"

#include "test/base/test_env.h"

static km_id id_of(uint32_t number) {
  km_id id = {{0}};
  memcpy(id.bytes, &number, sizeof number);
  return id;
}

static void as_a_plain_array(void **state) {
  (void)state;
  test_env t;
  test_env_init(&t);
  km_id_map map;
  km_id_map_init(&map, &t.env);
  static char values[512];
  bool there[512] = {false};
  size_t count = 0;
  uint32_t random = 1;
  for (int i = 0; i < 200000; i++) {
    random = random * 1664525 + 1013904223;
    uint32_t n = (random >> 8) % 512;
    km_id id = id_of(n);
    assert_ptr_equal(km_id_map_get(&map, &id), there[n] ? &values[n] : NULL);
    if ((random >> 28) < 8) {
      assert_int_equal(km_id_map_set(&map, &id, &values[n]), 0);
      count += there[n] ? 0 : 1;
      there[n] = true;
    } else {
      assert_ptr_equal(km_id_map_take(&map, &id), there[n] ? &values[n] : NULL);
      count -= there[n] ? 1 : 0;
      there[n] = false;
    }
    assert_int_equal(map.count, count);
  }
  size_t at = 0, seen = 0;
  for (km_id_slot *slot; (slot = km_id_map_next(&map, &at)) != NULL; seen++) {
    size_t n = (size_t)((char *)slot->value - values);
    km_id id = id_of((uint32_t)n);
    assert_true(there[n] && km_id_equal(&id, &slot->id));
  }
  assert_int_equal(seen, count);
  assert_true(map.cap <= 1024);
  km_id_map_clear(&map);
  assert_int_equal(t.live, 0);
}

static void without_memory(void **state) {
  (void)state;
  test_env t;
  test_env_init(&t);
  km_id_map map;
  km_id_map_init(&map, &t.env);
  char value;
  uint32_t n = 0;
  t.fail_after = 0;
  km_id first = id_of(0);
  assert_null(km_id_map_get(&map, &first));
  assert_null(km_id_map_take(&map, &first));
  assert_int_equal(km_id_map_set(&map, &first, &value), KM_ERR_NOMEM);
  t.fail_after = 1;
  for (int rv = 0; rv == 0; n++) {
    km_id id = id_of(n);
    rv = km_id_map_set(&map, &id, &value);
  }
  assert_true(n > 4);
  for (uint32_t i = 0; i + 1 < n; i++) { /* all others are still there, and can be replaced */
    km_id id = id_of(i);
    assert_ptr_equal(km_id_map_get(&map, &id), &value);
    assert_int_equal(km_id_map_set(&map, &id, &map), 0);
  }
  km_id_map_clear(&map);
  assert_int_equal(t.live, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(as_a_plain_array),
      cmocka_unit_test(without_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
