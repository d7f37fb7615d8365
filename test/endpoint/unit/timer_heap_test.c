/* endpoint/timer_heap.c: the nearest deadline first. */
#include "test_env.h"

#include "base/timer_heap.h"

static void empty_heap_has_nothing_due(void **state) {
  (void)state;
  test_env t;
  test_env_init(&t, 1);
  km_timer_heap heap;
  km_timer_heap_init(&heap, &t.env);
  assert_true(km_timer_heap_next(&heap) == KM_TS_NEVER);
  assert_null(km_timer_heap_pop(&heap, KM_TS_NEVER));
  km_timer_heap_clear(&heap);
  assert_int_equal(t.live, 0);
}

static void reserve_grows_and_reports_lack_of_memory(void **state) {
  (void)state;
  test_env t;
  test_env_init(&t, 1);
  km_timer_heap heap;
  km_timer_heap_init(&heap, &t.env);
  assert_int_equal(km_timer_heap_reserve(&heap, 0), 0);
  assert_int_equal(t.live, 0);
  assert_int_equal(km_timer_heap_reserve(&heap, 17), 0);
  km_timer_node a = {.at = 0};
  km_timer_heap_set(&heap, &a, 5);
  t.fail_after = 0;
  assert_int_equal(km_timer_heap_reserve(&heap, 17), 0); /* has that much already */
  assert_int_equal(km_timer_heap_reserve(&heap, 1000), KM_ERR_NOMEM);
  assert_true(km_timer_heap_next(&heap) == 5); /* as it was */
  t.fail_after = -1;
  assert_int_equal(km_timer_heap_reserve(&heap, SIZE_MAX), KM_ERR_NOMEM);
  assert_int_equal(km_timer_heap_reserve(&heap, 1000), 0);
  assert_true(km_timer_heap_next(&heap) == 5);
  km_timer_heap_clear(&heap);
  assert_int_equal(t.live, 0);
}

static void pop_waits_for_the_deadline(void **state) {
  (void)state;
  test_env t;
  test_env_init(&t, 1);
  km_timer_heap heap;
  km_timer_heap_init(&heap, &t.env);
  assert_int_equal(km_timer_heap_reserve(&heap, 2), 0);
  km_timer_node a = {.at = 0}, b = {.at = 0};
  km_timer_heap_set(&heap, &a, 20);
  km_timer_heap_set(&heap, &b, 10);
  assert_null(km_timer_heap_pop(&heap, 9));
  assert_ptr_equal(km_timer_heap_pop(&heap, 10), &b);
  assert_int_equal(b.index, 0);
  assert_null(km_timer_heap_pop(&heap, 19));
  assert_ptr_equal(km_timer_heap_pop(&heap, 100), &a);
  assert_null(km_timer_heap_pop(&heap, 100));
  km_timer_heap_clear(&heap);
}

static void set_moves_and_never_takes_out(void **state) {
  (void)state;
  test_env t;
  test_env_init(&t, 1);
  km_timer_heap heap;
  km_timer_heap_init(&heap, &t.env);
  assert_int_equal(km_timer_heap_reserve(&heap, 3), 0);
  km_timer_node n[3] = {{.at = 0}, {.at = 0}, {.at = 0}};
  for (size_t i = 0; i < 3; i++) {
    km_timer_heap_set(&heap, &n[i], 10 * (i + 1));
  }
  km_timer_heap_set(&heap, &n[2], 5); /* up */
  assert_true(km_timer_heap_next(&heap) == 5);
  km_timer_heap_set(&heap, &n[2], 25); /* down */
  assert_true(km_timer_heap_next(&heap) == 10);
  km_timer_heap_set(&heap, &n[2], 25); /* the same again */
  km_timer_heap_set(&heap, &n[0], KM_TS_NEVER);
  assert_int_equal(n[0].index, 0);
  assert_true(km_timer_heap_next(&heap) == 20);
  km_timer_heap_set(&heap, &n[0], KM_TS_NEVER); /* out of it already */
  assert_int_equal(heap.count, 2);
  km_timer_heap_set(&heap, &n[1], KM_TS_NEVER);
  km_timer_heap_set(&heap, &n[2], KM_TS_NEVER);
  assert_true(km_timer_heap_next(&heap) == KM_TS_NEVER);
  km_timer_heap_clear(&heap);
}

enum { NODES = 200, STEPS = 100000 };

static km_ts nearest(const km_ts *at) {
  km_ts best = KM_TS_NEVER;
  for (size_t i = 0; i < NODES; i++) {
    best = at[i] < best ? at[i] : best;
  }
  return best;
}

/* Against an array of deadlines; few distinct values, so that equals are common. */
static void behaves_like_an_array(void **state) {
  (void)state;
  test_env t;
  test_env_init(&t, 1);
  test_rng rng = {.state = 42};
  km_timer_heap heap;
  km_timer_node nodes[NODES];
  km_ts at[NODES];
  km_timer_heap_init(&heap, &t.env);
  assert_int_equal(km_timer_heap_reserve(&heap, NODES), 0);
  memset(nodes, 0, sizeof nodes);
  for (size_t i = 0; i < NODES; i++) {
    at[i] = KM_TS_NEVER;
  }
  for (int step = 0; step < STEPS; step++) {
    size_t i = test_rng_below(&rng, NODES);
    size_t what = test_rng_below(&rng, 10);
    if (what < 7) {
      at[i] = test_rng_below(&rng, 300);
      km_timer_heap_set(&heap, &nodes[i], at[i]);
    } else if (what < 8) {
      at[i] = KM_TS_NEVER;
      km_timer_heap_set(&heap, &nodes[i], at[i]);
    } else {
      km_ts now = test_rng_below(&rng, 40);
      km_timer_node *due = km_timer_heap_pop(&heap, now);
      assert_int_equal(due != NULL, nearest(at) <= now);
      if (due != NULL) {
        size_t which = (size_t)(due - nodes);
        assert_true(at[which] == nearest(at));
        at[which] = KM_TS_NEVER;
      }
    }
    assert_true(km_timer_heap_next(&heap) == nearest(at));
  }
  km_timer_heap_clear(&heap);
  assert_int_equal(t.live, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(empty_heap_has_nothing_due),
      cmocka_unit_test(reserve_grows_and_reports_lack_of_memory),
      cmocka_unit_test(pop_waits_for_the_deadline),
      cmocka_unit_test(set_moves_and_never_takes_out),
      cmocka_unit_test(behaves_like_an_array),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
