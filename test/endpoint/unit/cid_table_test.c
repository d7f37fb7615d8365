/* endpoint/cid_table.c: who owns a connection id. */
#include "test_env.h"

#include <sodium.h>

#include "endpoint/cid_table.h"

static int start_sodium(void **state) {
  (void)state;
  return sodium_init() < 0 ? -1 : 0;
}

static void empty_table_knows_nobody(void **state) {
  (void)state;
  test_env t;
  km_cid_table table;
  km_cid_owner owner = {KM_CID_OWNER_CONN};
  const uint8_t cid[8] = {1};
  test_env_init(&t, 1);
  km_cid_table_init(&table, &t.env);
  assert_null(km_cid_table_find(&table, cid, 8));
  assert_false(km_cid_table_move(&table, cid, 8, &owner));
  km_cid_table_remove(&table, cid, 8, &owner);
  km_cid_table_clear(&table);
  assert_int_equal(t.live, 0);
}

static void find_looks_at_bytes_and_length(void **state) {
  (void)state;
  test_env t;
  km_cid_table table;
  km_cid_owner a = {KM_CID_OWNER_CONN}, b = {KM_CID_OWNER_CONN}, c = {KM_CID_OWNER_TOMBSTONE};
  const uint8_t cid[21] = {1, 2, 3, 4, 5, 6, 7, 8, 0};
  test_env_init(&t, 1);
  km_cid_table_init(&table, &t.env);
  assert_int_equal(km_cid_table_add(&table, cid, 8, &a), 0);
  assert_int_equal(km_cid_table_add(&table, cid, 9, &b), 0); /* one zero byte longer */
  assert_int_equal(km_cid_table_add(&table, cid, 0, &c), 0);
  assert_int_equal(km_cid_table_add(&table, cid, 20, &c), 0);
  assert_ptr_equal(km_cid_table_find(&table, cid, 8), &a);
  assert_ptr_equal(km_cid_table_find(&table, cid, 9), &b);
  assert_ptr_equal(km_cid_table_find(&table, cid, 0), &c);
  assert_ptr_equal(km_cid_table_find(&table, cid, 20), &c);
  assert_null(km_cid_table_find(&table, cid, 7));
  assert_null(km_cid_table_find(&table, cid + 1, 8));
  km_cid_table_clear(&table);
  assert_int_equal(t.live, 0);
}

static void lengths_beyond_the_protocol_are_refused(void **state) {
  (void)state;
  test_env t;
  km_cid_table table;
  km_cid_owner owner = {KM_CID_OWNER_CONN};
  const uint8_t cid[32] = {9};
  test_env_init(&t, 1);
  km_cid_table_init(&table, &t.env);
  assert_int_equal(km_cid_table_add(&table, cid, 21, &owner), KM_ERR_INVALID);
  assert_int_equal(km_cid_table_add(&table, cid, 8, &owner), 0);
  assert_null(km_cid_table_find(&table, cid, 21));
  assert_false(km_cid_table_move(&table, cid, 21, &owner));
  km_cid_table_remove(&table, cid, 21, &owner);
  assert_int_equal(table.count, 1);
  km_cid_table_clear(&table);
}

static void an_id_has_one_owner(void **state) {
  (void)state;
  test_env t;
  km_cid_table table;
  km_cid_owner a = {KM_CID_OWNER_CONN}, b = {KM_CID_OWNER_TOMBSTONE};
  const uint8_t cid[8] = {7, 7};
  test_env_init(&t, 1);
  km_cid_table_init(&table, &t.env);
  assert_int_equal(km_cid_table_add(&table, cid, 8, &a), 0);
  assert_int_equal(km_cid_table_add(&table, cid, 8, &b), KM_ERR_STATE);
  assert_int_equal(km_cid_table_add(&table, cid, 8, &a), KM_ERR_STATE);
  assert_ptr_equal(km_cid_table_find(&table, cid, 8), &a);
  km_cid_table_remove(&table, cid, 8, &b); /* not its owner */
  km_cid_table_remove(&table, cid, 8, NULL);
  assert_ptr_equal(km_cid_table_find(&table, cid, 8), &a);
  assert_true(km_cid_table_move(&table, cid, 8, &b));
  assert_ptr_equal(km_cid_table_find(&table, cid, 8), &b);
  assert_int_equal(km_cid_table_find(&table, cid, 8)->kind, KM_CID_OWNER_TOMBSTONE);
  km_cid_table_remove(&table, cid, 8, &b);
  assert_null(km_cid_table_find(&table, cid, 8));
  assert_false(km_cid_table_move(&table, cid, 8, &a));
  assert_int_equal(table.count, 0);
  assert_int_equal(km_cid_table_add(&table, cid, 8, &a), 0);
  km_cid_table_clear(&table);
}

static void lack_of_memory_changes_nothing(void **state) {
  (void)state;
  test_env t;
  km_cid_table table;
  km_cid_owner owner = {KM_CID_OWNER_CONN};
  uint8_t cid[4] = {0};
  test_env_init(&t, 1);
  km_cid_table_init(&table, &t.env);
  t.fail_after = 0;
  assert_int_equal(km_cid_table_add(&table, cid, 4, &owner), KM_ERR_NOMEM);
  t.fail_after = 1;
  uint8_t n = 0;
  int rv;
  while ((rv = km_cid_table_add(&table, (cid[0] = n, cid), 4, &owner)) == 0) {
    n++;
  }
  assert_int_equal(rv, KM_ERR_NOMEM);
  assert_int_equal(n, 32); /* half of the first 64 slots */
  for (uint8_t i = 0; i < n; i++) {
    cid[0] = i;
    assert_ptr_equal(km_cid_table_find(&table, cid, 4), &owner);
  }
  cid[0] = n;
  assert_null(km_cid_table_find(&table, cid, 4));
  t.fail_after = -1;
  assert_int_equal(km_cid_table_add(&table, cid, 4, &owner), 0);
  km_cid_table_clear(&table);
  assert_int_equal(t.live, 0);
}

static void the_hash_depends_on_the_key(void **state) {
  (void)state;
  test_env t;
  km_cid_table a, b;
  test_env_init(&t, 1);
  km_cid_table_init(&a, &t.env);
  km_cid_table_init(&b, &t.env);
  assert_memory_not_equal(a.key, b.key, sizeof a.key);
}

enum { IDS = 600, OWNERS = 4, STEPS = 60000 };

typedef struct model_cid {
  uint8_t len, data[KM_CID_MAX];
  km_cid_owner *owner;
} model_cid;

static void make_ids(model_cid *ids, test_rng *rng) {
  for (size_t i = 0; i < IDS; i++) {
    ids[i].owner = NULL;
    ids[i].len = (uint8_t)(4 + test_rng_below(rng, KM_CID_MAX - 3));
    for (size_t k = 0; k < ids[i].len; k++) {
      ids[i].data[k] = (uint8_t)test_rng_next(rng);
    }
    ids[i].data[0] = (uint8_t)i; /* all differ */
    ids[i].data[1] = (uint8_t)(i >> 8);
  }
}

/* Grows past several doublings and shrinks again, with every id looked up after each step batch. */
static void behaves_like_an_array(void **state) {
  (void)state;
  test_env t;
  test_rng rng = {.state = 5};
  km_cid_table table;
  km_cid_owner owners[OWNERS] = {{KM_CID_OWNER_CONN}};
  static model_cid ids[IDS];
  size_t count = 0;
  test_env_init(&t, 11);
  km_cid_table_init(&table, &t.env);
  make_ids(ids, &rng);
  for (int step = 0; step < STEPS; step++) {
    model_cid *m = &ids[test_rng_below(&rng, IDS)];
    km_cid_owner *owner = &owners[test_rng_below(&rng, OWNERS)];
    /* The mix changes over time: fill, churn, empty. */
    size_t adds = step < STEPS / 3 ? 7 : step < 2 * STEPS / 3 ? 4 : 1;
    if (test_rng_below(&rng, 10) < adds) {
      int rv = km_cid_table_add(&table, m->data, m->len, owner);
      assert_int_equal(rv, m->owner == NULL ? 0 : KM_ERR_STATE);
      if (rv == 0) {
        m->owner = owner;
        count++;
      }
    } else if (test_rng_below(&rng, 8) == 0) {
      assert_int_equal(km_cid_table_move(&table, m->data, m->len, owner), m->owner != NULL);
      m->owner = m->owner == NULL ? NULL : owner;
    } else {
      km_cid_table_remove(&table, m->data, m->len, owner);
      if (m->owner == owner) {
        m->owner = NULL;
        count--;
      }
    }
    assert_int_equal(table.count, count);
    assert_ptr_equal(km_cid_table_find(&table, m->data, m->len), m->owner);
    if (step % 50 == 0) {
      for (size_t i = 0; i < IDS; i++) {
        assert_ptr_equal(km_cid_table_find(&table, ids[i].data, ids[i].len), ids[i].owner);
      }
    }
  }
  km_cid_table_clear(&table);
  assert_int_equal(t.live, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(empty_table_knows_nobody),
      cmocka_unit_test(find_looks_at_bytes_and_length),
      cmocka_unit_test(lengths_beyond_the_protocol_are_refused),
      cmocka_unit_test(an_id_has_one_owner),
      cmocka_unit_test(lack_of_memory_changes_nothing),
      cmocka_unit_test(the_hash_depends_on_the_key),
      cmocka_unit_test(behaves_like_an_array),
  };
  return cmocka_run_group_tests(tests, start_sodium, NULL);
}
