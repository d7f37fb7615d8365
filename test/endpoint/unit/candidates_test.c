/* endpoint/candidates.c: who has room in a dial, and who makes it. */
#include "test_env.h"

#include "endpoint/candidates.h"
#include "magicsock/mixed.h"

typedef struct fixture {
  test_env t;
  km_path_table *table;
  km_path *mixed;
  km_candidates c;
} fixture;

static void open_fixture(fixture *f) {
  memset(f, 0, sizeof *f);
  test_env_init(&f->t, 1);
  assert_int_equal(km_path_table_new(&f->table, &f->t.env, 1000), 0);
  assert_int_equal(km_mixed_make(f->table, &f->t.env, &f->mixed), 0);
}

static void free_path(fixture *f, km_path *path) {
  km_path_table_remove(f->table, path);
  km_env_free(&f->t.env, path);
}

static void close_fixture(fixture *f) {
  km_mixed_answered(f->mixed, NULL);
  while (km_mixed_count(f->mixed) > 0) {
    const km_path *last = km_mixed_at(f->mixed, km_mixed_count(f->mixed) - 1);
    free_path(f, km_mixed_take_out(f->mixed, &last->key));
  }
  km_candidates_clear(&f->c, &f->t.env);
  km_path_table_remove(f->table, f->mixed);
  km_mixed_free(&f->t.env, f->mixed);
  km_path_table_del(f->table);
  assert_int_equal(f->t.live, 0);
}

static km_path_key direct(uint16_t port) {
  return (km_path_key){.way = KM_WAY_DIRECT,
                       .remote = {.family = 4, .port = port, .ip = {127, 0, 0, 1}}};
}

static void tried(fixture *f, const km_path_key *key) {
  km_path *path;
  assert_int_equal(km_path_table_make(f->table, key, &path), 0);
  assert_int_equal(km_mixed_append(&f->t.env, f->mixed, path, KM_CLAIM_PACKETS), 0);
}

static km_told answer(fixture *f, const char *source, bool proven) {
  const km_found found = {.size = sizeof found, .source = source, .proven = proven};
  return km_candidates_answer(&f->c, &found);
}

/* As a dial does it. Returns whether it was taken. */
static bool take(fixture *f, km_told *fresh, uint16_t port) {
  fresh->key = direct(port);
  if (!km_candidates_may_take(&f->c, fresh, KM_WAY_DIRECT)) {
    return false;
  }
  if (km_candidates_are_full(&f->c, f->mixed, fresh, KM_WAY_DIRECT)) {
    km_told *victim = km_candidates_victim(&f->c, f->mixed, fresh, KM_WAY_DIRECT);
    if (victim == NULL) {
      return false;
    }
    free_path(f, km_mixed_take_out(f->mixed, &victim->key));
    victim->out = true;
  }
  assert_non_null(km_candidates_add(&f->c, &f->t.env, fresh));
  tried(f, &fresh->key);
  return true;
}

static size_t take_many(fixture *f, const char *source, bool proven, uint16_t port, uint16_t n) {
  km_told fresh = answer(f, source, proven);
  size_t count = 0;
  for (uint16_t i = 0; i < n; i++) {
    count += take(f, &fresh, (uint16_t)(port + i));
  }
  return count;
}

static size_t tried_from(const fixture *f, uint16_t port, uint16_t n) {
  size_t count = 0;
  for (uint16_t i = 0; i < n; i++) {
    const km_path_key key = direct((uint16_t)(port + i));
    count += km_mixed_candidate(f->mixed, &key) != NULL;
  }
  return count;
}

static void ranks(void **state) {
  (void)state;
  assert_int_equal(km_rank_of_found(&(km_found){.source = "memory"}), KM_RANK_GIVEN);
  assert_int_equal(km_rank_of_found(&(km_found){.source = "file"}), KM_RANK_GIVEN);
  assert_int_equal(km_rank_of_found(&(km_found){.source = "cache", .worked = true}),
                   KM_RANK_WORKED);
  assert_int_equal(km_rank_of_found(&(km_found){.source = "cache"}), KM_RANK_CLAIMED);
  assert_int_equal(km_rank_of_found(&(km_found){.source = "pkarr", .proven = true}),
                   KM_RANK_SIGNED);
  assert_int_equal(km_rank_of_found(&(km_found){.source = "mdns"}), KM_RANK_CLAIMED);
}

static void claims_share_places(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f);
  assert_int_equal(take_many(&f, "mdns", false, 1000, 32), KM_CLAIMS_AT_ONCE);
  /* Another answer of the same source has its part, and so has another source. */
  assert_int_equal(take_many(&f, "mdns", false, 2000, 8), KM_CLAIMS_AT_ONCE / 2);
  assert_int_equal(tried_from(&f, 1000, 32), KM_CLAIMS_AT_ONCE / 2);
  assert_int_equal(take_many(&f, "dns", false, 3000, 8), KM_CLAIMS_AT_ONCE / 2);
  assert_int_equal(tried_from(&f, 1000, 32), KM_CLAIMS_AT_ONCE / 4);
  assert_int_equal(tried_from(&f, 2000, 8), KM_CLAIMS_AT_ONCE / 4);
  assert_int_equal(km_mixed_count(f.mixed), KM_CLAIMS_AT_ONCE);
  /* A source with more than its part takes nothing from others. */
  assert_int_equal(take_many(&f, "mdns", false, 4000, 8), 2);
  assert_int_equal(tried_from(&f, 3000, 8), KM_CLAIMS_AT_ONCE / 2);
  close_fixture(&f);
}

static void claims_of_a_source_are_bounded(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f);
  size_t taken = 0;
  for (uint16_t i = 0; i < 100; i++) {
    taken += take_many(&f, "mdns", false, (uint16_t)(1000 + 8 * i), 8);
  }
  assert_int_equal(taken, KM_CLAIMS_OF_SOURCE);
  assert_int_equal(take_many(&f, "dns", false, 9000, 4), 4);
  close_fixture(&f);
}

static void better_ones_replace_worse_ones(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f);
  for (uint16_t i = 0; i < KM_MIXED_MAX_CANDIDATES - KM_CLAIMS_AT_ONCE; i++) {
    const km_path_key key = direct((uint16_t)(100 + i)); /* given */
    tried(&f, &key);
  }
  assert_int_equal(take_many(&f, "mdns", false, 1000, 32), KM_CLAIMS_AT_ONCE);
  const km_path_key answered = direct(1000);
  km_mixed_answered(f.mixed, km_mixed_candidate(f.mixed, &answered));
  /* All but the one that answered; what is given stays. */
  assert_int_equal(take_many(&f, "pkarr", true, 2000, 32), KM_CLAIMS_AT_ONCE - 1);
  assert_int_equal(tried_from(&f, 1000, 32), 1);
  assert_int_equal(tried_from(&f, 100, 40), KM_MIXED_MAX_CANDIDATES - KM_CLAIMS_AT_ONCE);
  assert_int_equal(take_many(&f, "dns", false, 3000, 4), 0);
  /* With the next look-up what was signed is old, and makes room even for claims. */
  km_candidates_age(&f.c);
  assert_int_equal(take_many(&f, "dns", false, 3000, 4), 4);
  assert_int_equal(tried_from(&f, 2000, 32), KM_CLAIMS_AT_ONCE - 5);
  close_fixture(&f);
}

static void wrong_ones_taint_their_answer(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f);
  assert_int_equal(take_many(&f, "mdns", false, 1000, 5), 5);
  assert_int_equal(take_many(&f, "mdns", false, 2000, 5), 5);
  const km_path_key other = direct(1004), another = direct(2000);
  for (uint16_t i = 0; i < KM_CLAIMS_WRONG_OF_ANSWER; i++) {
    const km_path_key key = direct((uint16_t)(1000 + i));
    assert_false(km_candidates_is_tainted(&f.c, km_candidates_find(&f.c, &other)));
    km_candidates_wrong(&f.c, km_candidates_find(&f.c, &key), i == 0);
  }
  assert_true(km_candidates_is_tainted(&f.c, km_candidates_find(&f.c, &other)));
  assert_false(km_candidates_is_tainted(&f.c, km_candidates_find(&f.c, &another)));
  assert_int_equal(f.c.claims_wrong, KM_CLAIMS_WRONG_OF_ANSWER);
  assert_int_equal(f.c.mutes, 1);
  for (uint16_t i = 0; i < 5; i++) {
    const km_path_key key = direct((uint16_t)(2000 + i));
    km_candidates_wrong(&f.c, km_candidates_find(&f.c, &key), false);
  }
  assert_int_equal(f.c.claims_wrong, KM_CLAIMS_WRONG_MAX);
  assert_int_equal(take_many(&f, "dns", false, 3000, 4), 0); /* no claims any more */
  assert_int_equal(take_many(&f, "pkarr", true, 4000, 4), 4);
  const km_path_key was_signed = direct(4000);
  assert_false(km_candidates_is_tainted(&f.c, km_candidates_find(&f.c, &was_signed)));
  close_fixture(&f);
}

static void what_is_remembered_is_bounded(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f);
  km_told fresh = answer(&f, "pkarr", true);
  for (uint16_t i = 0; i < KM_CANDIDATES_MAX_TOLD; i++) {
    fresh.key = direct((uint16_t)(1 + i));
    assert_non_null(km_candidates_add(&f.c, &f.t.env, &fresh));
  }
  fresh.key = direct(9999);
  assert_null(km_candidates_add(&f.c, &f.t.env, &fresh));
  close_fixture(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ranks),
      cmocka_unit_test(claims_share_places),
      cmocka_unit_test(claims_of_a_source_are_bounded),
      cmocka_unit_test(better_ones_replace_worse_ones),
      cmocka_unit_test(wrong_ones_taint_their_answer),
      cmocka_unit_test(what_is_remembered_is_bounded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
