/* base/list.h: the intrusive list. */
#include "test_env.h"

#include "base/list.h"

typedef struct item {
  int value;
  km_list link;
} item;

/* Compares a list with `count` values, walking it both ways. */
static void assert_holds(const km_list *list, const int *values, size_t count) {
  const km_list *node = list->next;
  for (size_t i = 0; i < count; i++, node = node->next) {
    assert_ptr_not_equal(node, list);
    assert_int_equal(KM_LIST_ITEM(node, item, link)->value, values[i]);
    assert_ptr_equal(node->next->prev, node);
  }
  assert_ptr_equal(node, list);
  node = list->prev;
  for (size_t i = count; i > 0; i--, node = node->prev) {
    assert_int_equal(KM_LIST_ITEM(node, item, link)->value, values[i - 1]);
  }
  assert_ptr_equal(node, list);
}

static void new_list_is_empty(void **state) {
  (void)state;
  km_list list;
  km_list_init(&list);
  assert_true(km_list_empty(&list));
  assert_holds(&list, NULL, 0);
}

static void append_keeps_order_and_ignores_members(void **state) {
  (void)state;
  km_list list;
  item a[3] = {{.value = 1}, {.value = 2}, {.value = 3}};
  km_list_init(&list);
  for (size_t i = 0; i < 3; i++) {
    km_list_init(&a[i].link);
    km_list_append(&list, &a[i].link);
  }
  assert_false(km_list_empty(&list));
  assert_holds(&list, (int[]){1, 2, 3}, 3);
  km_list_append(&list, &a[0].link); /* in it already: stays where it is */
  assert_holds(&list, (int[]){1, 2, 3}, 3);
}

static void remove_takes_any_place_and_may_repeat(void **state) {
  (void)state;
  km_list list;
  item a[4] = {{.value = 1}, {.value = 2}, {.value = 3}, {.value = 4}};
  km_list_init(&list);
  for (size_t i = 0; i < 4; i++) {
    km_list_init(&a[i].link);
    km_list_append(&list, &a[i].link);
  }
  km_list_remove(&a[1].link);
  assert_holds(&list, (int[]){1, 3, 4}, 3);
  assert_true(km_list_empty(&a[1].link));
  km_list_remove(&a[1].link);
  assert_holds(&list, (int[]){1, 3, 4}, 3);
  km_list_remove(&a[0].link);
  km_list_remove(&a[3].link);
  assert_holds(&list, (int[]){3}, 1);
  km_list_append(&list, &a[0].link); /* removed nodes can come back */
  assert_holds(&list, (int[]){3, 1}, 2);
  km_list_remove(&a[2].link);
  km_list_remove(&a[0].link);
  assert_true(km_list_empty(&list));
}

static void take_all_moves_everything(void **state) {
  (void)state;
  km_list from, to;
  item a[2] = {{.value = 1}, {.value = 2}};
  km_list_init(&from);
  km_list_take_all(&to, &from);
  assert_true(km_list_empty(&to));
  for (size_t i = 0; i < 2; i++) {
    km_list_init(&a[i].link);
    km_list_append(&from, &a[i].link);
  }
  km_list_take_all(&to, &from);
  assert_true(km_list_empty(&from));
  assert_holds(&to, (int[]){1, 2}, 2);
  km_list_remove(&a[0].link);
  km_list_append(&from, &a[0].link);
  assert_holds(&from, (int[]){1}, 1);
  assert_holds(&to, (int[]){2}, 1);
}

enum { ITEMS = 24, STEPS = 20000 };

/* A list as an array. */
typedef struct model {
  int values[ITEMS];
  size_t count;
} model;

static void model_remove(model *m, int value) {
  for (size_t i = 0; i < m->count; i++) {
    if (m->values[i] == value) {
      m->count--;
      memmove(&m->values[i], &m->values[i + 1], (m->count - i) * sizeof m->values[0]);
      return;
    }
  }
}

static bool model_has(const model *m, int value) {
  for (size_t i = 0; i < m->count; i++) {
    if (m->values[i] == value) {
      return true;
    }
  }
  return false;
}

static void behaves_like_an_array(void **state) {
  (void)state;
  test_rng rng = {.state = 7};
  km_list list;
  item items[ITEMS];
  model m = {.count = 0};
  km_list_init(&list);
  for (int i = 0; i < ITEMS; i++) {
    items[i].value = i;
    km_list_init(&items[i].link);
  }
  for (int step = 0; step < STEPS; step++) {
    int i = (int)test_rng_below(&rng, ITEMS);
    if (test_rng_below(&rng, 2) == 0) {
      km_list_append(&list, &items[i].link);
      if (!model_has(&m, i)) {
        m.values[m.count++] = i;
      }
    } else {
      km_list_remove(&items[i].link);
      model_remove(&m, i);
    }
    assert_holds(&list, m.values, m.count);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(new_list_is_empty),
      cmocka_unit_test(append_keeps_order_and_ignores_members),
      cmocka_unit_test(remove_takes_any_place_and_may_repeat),
      cmocka_unit_test(take_all_moves_everything),
      cmocka_unit_test(behaves_like_an_array),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
