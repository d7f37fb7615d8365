/* endpoint/stream_sched.c: who sends next. */
#include "test_env.h"

#include "endpoint/stream_sched.h"

static void assert_order(const km_stream_sched *sched, const km_sched_node *nodes,
                         const size_t *want, size_t count) {
  const km_sched_node *n = km_stream_sched_first(sched);
  const km_sched_node *before = NULL;
  for (size_t i = 0; i < count; i++) {
    assert_non_null(n);
    assert_ptr_equal(n, &nodes[want[i]]);
    assert_ptr_equal(n->prev, before);
    assert_true(n->queued);
    before = n;
    n = n->next;
  }
  assert_null(n);
  assert_ptr_equal(sched->last, before);
}

static void higher_priority_goes_first(void **state) {
  (void)state;
  km_stream_sched s = {NULL, NULL};
  km_sched_node n[5];
  memset(n, 0, sizeof n);
  assert_null(km_stream_sched_first(&s));
  n[1].priority = 5;
  n[2].priority = INT8_MIN;
  n[3].priority = INT8_MAX;
  n[4].priority = 5;
  for (size_t i = 0; i < 5; i++) {
    km_stream_sched_add(&s, &n[i]);
  }
  assert_order(&s, n, (size_t[]){3, 1, 4, 0, 2}, 5);
  km_stream_sched_add(&s, &n[0]); /* queued: stays */
  assert_order(&s, n, (size_t[]){3, 1, 4, 0, 2}, 5);
}

static void equals_take_turns(void **state) {
  (void)state;
  km_stream_sched s = {NULL, NULL};
  km_sched_node n[4];
  memset(n, 0, sizeof n);
  n[3].priority = -1;
  for (size_t i = 0; i < 4; i++) {
    km_stream_sched_add(&s, &n[i]);
  }
  km_stream_sched_rotate(&s, &n[0]);
  assert_order(&s, n, (size_t[]){1, 2, 0, 3}, 4);
  km_stream_sched_rotate(&s, &n[1]);
  km_stream_sched_rotate(&s, &n[2]);
  assert_order(&s, n, (size_t[]){0, 1, 2, 3}, 4);
  km_stream_sched_rotate(&s, &n[3]); /* last of all */
  km_stream_sched_rotate(&s, &n[2]); /* last of its equals */
  assert_order(&s, n, (size_t[]){0, 1, 2, 3}, 4);
  km_stream_sched_remove(&s, &n[1]);
  km_stream_sched_rotate(&s, &n[1]); /* not queued */
  assert_order(&s, n, (size_t[]){0, 2, 3}, 3);
}

static void remove_takes_any_place_and_may_repeat(void **state) {
  (void)state;
  km_stream_sched s = {NULL, NULL};
  km_sched_node n[3];
  memset(n, 0, sizeof n);
  for (size_t i = 0; i < 3; i++) {
    km_stream_sched_add(&s, &n[i]);
  }
  km_stream_sched_remove(&s, &n[1]);
  km_stream_sched_remove(&s, &n[1]);
  assert_false(n[1].queued);
  assert_order(&s, n, (size_t[]){0, 2}, 2);
  km_stream_sched_remove(&s, &n[2]);
  km_stream_sched_remove(&s, &n[0]);
  assert_order(&s, n, NULL, 0);
  km_stream_sched_add(&s, &n[2]);
  assert_order(&s, n, (size_t[]){2}, 1);
}

enum { NODES = 32, STEPS = 50000 };

typedef struct model {
  size_t order[NODES];
  size_t count;
} model;

static bool model_find(const model *m, size_t node, size_t *at) {
  for (*at = 0; *at < m->count; ++*at) {
    if (m->order[*at] == node) {
      return true;
    }
  }
  return false;
}

static void model_remove(model *m, size_t node) {
  size_t at;
  if (model_find(m, node, &at)) {
    m->count--;
    memmove(&m->order[at], &m->order[at + 1], (m->count - at) * sizeof m->order[0]);
  }
}

static void model_add(model *m, const km_sched_node *nodes, size_t node) {
  size_t at;
  if (model_find(m, node, &at)) {
    return;
  }
  for (at = 0; at < m->count && nodes[m->order[at]].priority >= nodes[node].priority; at++) {
  }
  memmove(&m->order[at + 1], &m->order[at], (m->count - at) * sizeof m->order[0]);
  m->order[at] = node;
  m->count++;
}

static void behaves_like_a_sorted_array(void **state) {
  (void)state;
  test_rng rng = {.state = 99};
  km_stream_sched s = {NULL, NULL};
  km_sched_node nodes[NODES];
  model m = {.count = 0};
  memset(nodes, 0, sizeof nodes);
  for (int step = 0; step < STEPS; step++) {
    size_t i = test_rng_below(&rng, NODES), at;
    switch (test_rng_below(&rng, 3)) {
    case 0:
      if (!nodes[i].queued) {
        nodes[i].priority = (int8_t)((int)test_rng_below(&rng, 5) - 2);
      }
      km_stream_sched_add(&s, &nodes[i]);
      model_add(&m, nodes, i);
      break;
    case 1:
      km_stream_sched_remove(&s, &nodes[i]);
      model_remove(&m, i);
      break;
    default:
      km_stream_sched_rotate(&s, &nodes[i]);
      if (model_find(&m, i, &at)) {
        model_remove(&m, i);
        model_add(&m, nodes, i);
      }
    }
    assert_order(&s, nodes, m.order, m.count);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(higher_priority_goes_first),
      cmocka_unit_test(equals_take_turns),
      cmocka_unit_test(remove_takes_any_place_and_may_repeat),
      cmocka_unit_test(behaves_like_a_sorted_array),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
