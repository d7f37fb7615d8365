/* What a peer has and we refused: found again by share, forgotten when it is welcome, bounded. */
#include "store/refused.h"

#include "test/base/test_env.h"

static km_item item_of(uint64_t clock) {
  km_item item = {.clock = clock, .hash = {(uint8_t)clock}};
  return item;
}

static km_id author_of(unsigned n) {
  km_id id = {{(uint8_t)n, (uint8_t)(n >> 8)}};
  return id;
}

static bool nobody(void *ctx, const char *share, const km_id *author) {
  (void)ctx;
  (void)share;
  (void)author;
  return false;
}

static bool this_one(void *ctx, const char *share, const km_id *author) {
  (void)share;
  return km_id_equal(ctx, author);
}

static void add(km_refused *r, const char *share, uint64_t clock, unsigned author) {
  km_item item = item_of(clock);
  km_id id = author_of(author);
  km_refused_add(r, share, &item, author == 0 ? NULL : &id);
}

static void sorted_without_repeats_and_by_share(void **state) {
  (void)state;
  km_refused *r;
  const km_item *list;
  assert_int_equal(km_refused_new(&r, &km_env_system), 0);
  assert_int_equal(km_refused_list(r, "docs", nobody, NULL, &list), 0);
  static const uint64_t clocks[] = {5, 3, 9, 3, 5, 1};
  for (size_t i = 0; i < COUNT_OF(clocks); i++) {
    add(r, "docs", clocks[i], 1 + i % 2);
  }
  add(r, "notes", 4, 1);
  assert_int_equal(km_refused_list(r, "docs", nobody, NULL, &list), 4);
  assert_int_equal(list[0].clock, 1);
  assert_int_equal(list[1].clock, 3);
  assert_int_equal(list[2].clock, 5);
  assert_int_equal(list[3].clock, 9);
  assert_int_equal(km_refused_list(r, "notes", nobody, NULL, &list), 1);
  assert_int_equal(km_refused_list(r, "doc", nobody, NULL, &list), 0);
  km_item gone = item_of(3);
  km_refused_drop(r, "docs", &gone);
  km_refused_drop(r, "notes", &gone);
  assert_int_equal(km_refused_list(r, "docs", nobody, NULL, &list), 3);
  assert_int_equal(km_refused_list(r, "notes", nobody, NULL, &list), 1);
  km_refused_free(r);
}

static void who_is_welcome_is_forgotten_and_what_is_too_large_is_not(void **state) {
  (void)state;
  km_refused *r;
  const km_item *list;
  km_id two = author_of(2);
  assert_int_equal(km_refused_new(&r, &km_env_system), 0);
  add(r, "docs", 1, 1);
  add(r, "docs", 2, 2);
  add(r, "docs", 3, 0); /* whoever wrote it */
  add(r, "notes", 4, 2);
  assert_int_equal(km_refused_list(r, "docs", this_one, &two, &list), 2);
  assert_int_equal(list[0].clock, 1);
  assert_int_equal(list[1].clock, 3);
  assert_int_equal(km_refused_list(r, "docs", nobody, NULL, &list), 2); /* for good */
  assert_int_equal(km_refused_list(r, "notes", nobody, NULL, &list), 1);
  km_refused_free(r);
}

static void so_many_items_and_groups(void **state) {
  (void)state;
  km_refused *r;
  const km_item *list;
  km_id last = author_of(KM_REFUSED_GROUPS_MAX);
  assert_int_equal(km_refused_new(&r, &km_env_system), 0);
  for (unsigned i = 1; i <= KM_REFUSED_GROUPS_MAX + 3; i++) {
    add(r, "docs", i, i);
  }
  assert_int_equal(km_refused_list(r, "docs", nobody, NULL, &list), KM_REFUSED_GROUPS_MAX);
  /* Room again for another one. */
  assert_int_equal(km_refused_list(r, "docs", this_one, &last, &list), KM_REFUSED_GROUPS_MAX - 1);
  add(r, "docs", 1000, 1000);
  add(r, "docs", 1001, 1001);
  assert_int_equal(km_refused_list(r, "docs", nobody, NULL, &list), KM_REFUSED_GROUPS_MAX);
  for (unsigned i = 0; i < 2 * KM_REFUSED_MAX; i++) {
    add(r, "docs", 10000 + i, 1);
  }
  assert_int_equal(km_refused_list(r, "docs", nobody, NULL, &list), KM_REFUSED_MAX);
  km_refused_free(r);
  km_refused_free(NULL);
}

static void without_memory_less_is_remembered(void **state) {
  (void)state;
  for (unsigned failing = 1; failing < 6; failing++) {
    test_env env;
    km_refused *r = NULL;
    const km_item *list;
    test_env_init(&env);
    env.fail_after = failing;
    if (km_refused_new(&r, &env.env) == 0) {
      add(r, "docs", 1, 1);
      int64_t count = km_refused_list(r, "docs", nobody, NULL, &list);
      assert_true(count == KM_ERR_NOMEM || count == 0 || count == 1);
    }
    km_refused_free(r);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sorted_without_repeats_and_by_share),
      cmocka_unit_test(who_is_welcome_is_forgotten_and_what_is_too_large_is_not),
      cmocka_unit_test(so_many_items_and_groups),
      cmocka_unit_test(without_memory_less_is_remembered),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
