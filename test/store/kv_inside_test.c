/* What the interface does not show: the database's settings, what is noted as signed, batches that
 * others break. */
#include "store/kv_impl.h"
#include "test/store/kv_fixture.h"

/* --- settings --------------------------------------------------------------------------------- */

static void expect_pragma(km_store *s, const char *sql, const char *want) {
  km_db_stmt *stmt;
  assert_int_equal(km_db_prepare(s->db, &stmt, sql, NULL), 0);
  assert_int_equal(km_db_step(stmt, NULL), 1);
  assert_string_equal(km_db_text(stmt, 0), want);
  km_db_reset(stmt);
}

static void test_settings(void **state) {
  kv_fixture *f = *state;
  static const km_durability durabilities[] = {KM_DURABLE_PROCESS, KM_DURABLE_POWER};
  for (size_t i = 0; i < COUNT_OF(durabilities); i++) {
    km_store_options o;
    km_store_options_default(&o);
    assert_int_equal(o.durability, KM_DURABLE_POWER);
    o.path = f->path;
    o.secret_key = f->keys[0];
    o.durability = durabilities[i];
    KV_OK(f, km_store_open(&f->store, &o, &f->err));
    expect_pragma(f->store, "PRAGMA journal_mode", "wal");
    expect_pragma(f->store, "PRAGMA locking_mode", "exclusive");
    expect_pragma(f->store, "PRAGMA synchronous", i == 0 ? "1" : "2"); /* NORMAL, FULL */
    km_store_close(f->store);
    f->store = NULL;
  }
}

/* --- signed in the background ----------------------------------------------------------------- */

static unsigned state_of(kv_fixture *f, const char *key) {
  km_kv_entry e;
  KV_OK(f, km_kv_get(f->store, "notes", key, &e, &f->err));
  assert_int_equal(f->store->kv->row.entry.sig == NULL, f->store->kv->row.state == KM_KV_TO_SIGN);
  return f->store->kv->row.state;
}

static void test_signature_is_noted(void **state) {
  kv_fixture *f = *state;
  km_item item;
  km_entry e;
  kv_put(f, "notes", "a", "1");
  assert_int_equal(km_kv_items(f->store, "notes", NULL, &item, 1, &f->err), 1);
  KV_OK(f, km_kv_find(f->store, "notes", &item, &e, &f->err));
  assert_int_equal(state_of(f, "a"), KM_KV_TO_SIGN); /* asking writes nothing */
  assert_int_equal(km_kv_check_some(f->store, 1, &f->err), 0);
  assert_int_equal(state_of(f, "a"), 0);
}

/* A transaction for every few of them would cost an fsync each. */
static void test_proofs_are_noted_together(void **state) {
  kv_fixture *f = *state;
  const unsigned count = KM_KV_PROOFS + 40;
  char key[16];
  KV_OK(f, km_kv_begin(f->store, &f->err));
  for (unsigned i = 0; i < count; i++) {
    (void)snprintf(key, sizeof key, "k%u", i);
    kv_put(f, "notes", key, "x");
  }
  KV_OK(f, km_kv_commit(f->store, &f->err));
  for (unsigned done = 8; done < KM_KV_PROOFS; done += 8) {
    assert_int_equal(km_kv_check_some(f->store, 8, &f->err), count - done);
    assert_int_equal(state_of(f, "k0"), KM_KV_TO_SIGN);
  }
  assert_int_equal(km_kv_check_some(f->store, 8, &f->err), 40);
  assert_int_equal(state_of(f, "k0"), 0);
  assert_int_equal(state_of(f, key), KM_KV_TO_SIGN);
  assert_int_equal(km_kv_check_some(f->store, 40, &f->err), 0);
  assert_int_equal(state_of(f, key), 0);
}

/* What was not there when the others were looked at, and is again. */
static void test_back_after_a_rollback(void **state) {
  kv_fixture *f = *state;
  kv_put(f, "notes", "a", "1");
  kv_put(f, "notes", "b", "1");
  KV_OK(f, km_kv_begin(f->store, &f->err));
  kv_put(f, "notes", "a", "2");
  assert_int_equal(km_kv_check_some(f->store, 1, &f->err), 1); /* "b" */
  km_kv_rollback(f->store);
  assert_int_equal(km_kv_check_some(f->store, 8, &f->err), 0);
  assert_int_equal(state_of(f, "a"), 0);
  assert_int_equal(state_of(f, "b"), 0);
  kv_reopen(f);
  assert_int_equal(kv_unchecked(f->store), 0);
}

/* Numbers of rows that were replaced are passed over, more of them than one look takes. */
static void test_gap_of_numbers(void **state) {
  kv_fixture *f = *state;
  const unsigned count = 10000;
  KV_OK(f, km_kv_begin(f->store, &f->err));
  for (unsigned i = 0; i < count; i++) {
    kv_put(f, "notes", i == 7000 ? "once" : "often", "x");
  }
  KV_OK(f, km_kv_commit(f->store, &f->err));
  assert_int_equal(kv_unchecked(f->store), count);
  int64_t left = count;
  for (unsigned calls = 0; left > 0; calls++) {
    int64_t now = km_kv_check_some(f->store, 1, &f->err);
    assert_true(now >= 0 && now < left && calls < 10);
    left = now;
  }
  assert_int_equal(state_of(f, "once"), 0);
  assert_int_equal(state_of(f, "often"), 0);
}

/* --- forgetting deletions --------------------------------------------------------------------- */

/* That a deletion came back is seen without opening the store again, too. */
static void test_returned_deletion(void **state) {
  kv_fixture *f = *state;
  KV_OK(f, km_kv_set_readers(f->store, "notes", &f->ids[1], 1, &f->err));
  const km_entry *e = kv_signed(f, 1, "notes", "a", NULL, kv_clock(f, 0));
  assert_int_equal(km_kv_apply(f->store, e, &f->ids[1], &f->err), KM_KV_NEW);
  KV_OK(f, km_kv_synced(f->store, "notes", &f->ids[1], km_kv_seq(f->store), &f->err));
  kv_pass_ms(f, 2 * KV_DAY_MS);
  assert_int_equal(km_kv_collect(f->store, &f->err), 1);
  for (int times = 0; times < 3; times++) {
    assert_int_equal(km_kv_apply(f->store, e, &f->ids[1], &f->err), KM_KV_NEW);
    assert_int_equal(km_kv_collect(f->store, &f->err), 0);
    kv_pass_ms(f, KV_DAY_MS); /* from here on it counts as having been here, */
    assert_int_equal(km_kv_collect(f->store, &f->err), 0);
    assert_int_equal(km_kv_apply(f->store, e, &f->ids[1], &f->err), KM_KV_KNOWN);
    kv_pass_ms(f, KV_DAY_MS); /* and a day later it goes */
    assert_int_equal(km_kv_collect(f->store, &f->err), 1);
  }
}

/* --- damage that SQLite does not see ---------------------------------------------------------- */

static void count_rows(void *ctx, const km_kv_entry *e) {
  (void)e;
  ++*(unsigned *)ctx;
}

static void test_keys_that_cannot_be(void **state) {
  kv_fixture *f = *state;
  unsigned rows = 0;
  kv_put(f, "notes", "a", "1");
  KV_OK(f, km_db_exec(f->store->db,
                      "UPDATE kv_entry SET key = CAST(printf('%.30000c', 'a') AS BLOB)", &f->err));
  kv_reopen(f);
  assert_int_equal(km_kv_list(f->store, "notes", NULL, count_rows, &rows, &f->err),
                   KM_ERR_STORE_DAMAGED);
  assert_int_equal(rows, 0);
}

static void test_values_that_cannot_be(void **state) {
  kv_fixture *f = *state;
  km_kv_entry e;
  kv_put(f, "notes", "a", "1");
  KV_OK(f, km_db_exec(f->store->db, "UPDATE kv_entry SET value = zeroblob(1048577)", &f->err));
  assert_int_equal(km_kv_get(f->store, "notes", "a", &e, &f->err), KM_ERR_STORE_DAMAGED);
}

/* Reconciliation counts on it that there are no two. */
static void test_two_rows_of_one_item(void **state) {
  kv_fixture *f = *state;
  km_item items[4];
  uint8_t hash[KM_KV_HASH_BYTES];
  kv_put(f, "notes", "a", "1");
  kv_put(f, "notes", "b", "2");
  kv_put(f, "notes", "c", "3");
  assert_int_equal(km_kv_items(f->store, "notes", NULL, items, 4, &f->err), 3);
  KV_OK(f, km_db_exec(f->store->db,
                      "UPDATE kv_entry SET clock = 7, hash = zeroblob(16)"
                      " WHERE key <> CAST('a' AS BLOB)",
                      &f->err));
  assert_int_equal(km_kv_items(f->store, "notes", NULL, items, 4, &f->err), KM_ERR_STORE_DAMAGED);
  assert_int_equal(km_kv_hash(f->store, "notes", hash, &f->err), KM_ERR_STORE_DAMAGED);
}

/* --- callers that give nothing ---------------------------------------------------------------- */

static void test_nothing_given(void **state) {
  kv_fixture *f = *state;
  km_kv_entry e;
  km_item item;
  uint8_t hash[KM_KV_HASH_BYTES];
  kv_put(f, "notes", "a", "1");
  assert_int_equal(km_kv_put(f->store, NULL, "a", "1", 1, &f->err), KM_ERR_INVALID);
  assert_int_equal(km_kv_put(f->store, "notes", NULL, "1", 1, &f->err), KM_ERR_INVALID);
  assert_int_equal(km_kv_put(f->store, "notes", "a", NULL, 1, &f->err), KM_ERR_INVALID);
  assert_int_equal(km_kv_get(f->store, NULL, "a", &e, &f->err), KM_ERR_INVALID);
  assert_int_equal(km_kv_get(f->store, "notes", NULL, &e, &f->err), KM_ERR_INVALID);
  assert_int_equal(km_kv_delete(f->store, "notes", NULL, &f->err), KM_ERR_INVALID);
  assert_int_equal(km_kv_verify(f->store, NULL, NULL, &f->err), KM_ERR_INVALID);
  assert_int_equal(km_kv_hash(f->store, NULL, hash, &f->err), KM_ERR_INVALID);
  assert_int_equal(km_kv_items(f->store, NULL, NULL, &item, 1, &f->err), KM_ERR_INVALID);
  assert_int_equal(km_kv_list(f->store, NULL, NULL, NULL, NULL, &f->err), KM_ERR_INVALID);
  /* Who gives no function counts. */
  assert_int_equal(km_kv_list(f->store, "notes", NULL, NULL, NULL, &f->err), 1);
  assert_int_equal(km_kv_shares(f->store, NULL, NULL, &f->err), 1);
  assert_int_equal(km_trust_add(f->store, &f->ids[1], NULL, NULL, 0, &f->err), 0);
  assert_int_equal(km_trust_list(f->store, KM_TRUST_UNKNOWN, NULL, NULL, &f->err), 1);
}

/* --- batches that others break ---------------------------------------------------------------- */

/* Other users of the database may run into a full disk, which ends the transaction. */
static void test_broken_by_others(void **state) {
  kv_fixture *f = *state;
  kv_put(f, "notes", "a", "1");
  KV_OK(f, km_kv_begin(f->store, &f->err));
  kv_put(f, "notes", "a", "2");
  KV_OK(f, km_db_exec(f->store->db, "ROLLBACK", &f->err));
  assert_int_equal(km_kv_put(f->store, "notes", "a", "3", 1, &f->err), KM_ERR_STORE);
  assert_non_null(strstr(f->err.text, "the batch was given up"));
  const km_entry *e = kv_signed(f, 1, "notes", "b", "x", kv_clock(f, 0));
  assert_int_equal(km_kv_apply(f->store, e, &f->ids[1], &f->err), KM_ERR_STORE);
  assert_int_equal(km_kv_check_some(f->store, 10, &f->err), KM_ERR_STORE);
  assert_int_equal(km_kv_begin(f->store, &f->err), KM_ERR_STATE);
  assert_int_equal(km_kv_commit(f->store, &f->err), KM_ERR_STORE);
  kv_expect(f, "notes", "a", "1");
  kv_put(f, "notes", "a", "4");
  kv_reopen(f);
  kv_expect(f, "notes", "a", "4");
  kv_expect(f, "notes", "b", NULL);
}

/* --- readers ---------------------------------------------------------------------------------- */

enum { MANY_READERS = 1000 };

static km_id reader_id(unsigned n) {
  km_id id = {{0}};
  id.bytes[0] = (uint8_t)(n * 167); /* not in the order of the numbers */
  id.bytes[1] = (uint8_t)(n >> 8);
  id.bytes[31] = (uint8_t)n;
  return id;
}

static int64_t number(kv_fixture *f, const char *sql) {
  km_db_stmt *stmt;
  assert_int_equal(km_db_prepare(f->store->db, &stmt, sql, NULL), 0);
  assert_int_equal(km_db_step(stmt, NULL), 1);
  int64_t n = km_db_int(stmt, 0);
  km_db_reset(stmt);
  return n;
}

typedef struct expected {
  unsigned from, step, seen;
} expected;

static void is_expected(void *ctx, const km_id *peer) {
  expected *e = ctx;
  for (unsigned n = e->from; n < MANY_READERS; n += e->step) {
    km_id id = reader_id(n);
    if (km_id_equal(&id, peer)) {
      e->seen++;
      return;
    }
  }
  fail_msg("one that is not wanted");
}

/* Sets every `step`th from `from` on, the highest number first if `backwards`, and one twice. */
static void set_some(kv_fixture *f, unsigned from, unsigned step, bool backwards) {
  static km_id ids[MANY_READERS + 1];
  size_t count = 0;
  for (unsigned n = from; n < MANY_READERS; n += step) {
    ids[count++] = reader_id(n);
  }
  for (size_t i = 0; backwards && i < count / 2; i++) {
    km_id id = ids[i];
    ids[i] = ids[count - 1 - i];
    ids[count - 1 - i] = id;
  }
  ids[count] = ids[0];
  KV_OK(f, km_kv_set_readers(f->store, "notes", ids, count + 1, &f->err));
  expected e = {.from = from, .step = step};
  assert_int_equal(km_kv_readers(f->store, "notes", is_expected, &e, &f->err), count);
  assert_int_equal(e.seen, count);
}

/* Those that are wanted still keep what they have, in whatever order they are named. */
static void test_many_readers(void **state) {
  kv_fixture *f = *state;
  km_id third = reader_id(3), other = reader_id(1);
  KV_OK(f, km_kv_set_readers(f->store, "other", &other, 1, &f->err));
  set_some(f, 0, 1, true);
  KV_OK(f, km_kv_synced(f->store, "notes", &third, 7, &f->err));
  set_some(f, 0, 3, false);
  set_some(f, 0, 1, false);
  set_some(f, 1, 2, true);
  assert_int_equal(number(f, "SELECT max(seq) FROM kv_reader"), 7);
  set_some(f, 0, 2, true);
  assert_int_equal(number(f, "SELECT max(seq) FROM kv_reader"), 0);
  KV_OK(f, km_kv_set_readers(f->store, "notes", NULL, 0, &f->err));
  assert_int_equal(number(f, "SELECT count(*) FROM kv_reader"), 1); /* of the other share */
}

/* All are looked at once, not again for each that goes. */
static void test_unwanted_go_in_one_pass(void **state) {
  kv_fixture *f = *state;
  set_some(f, 0, 1, false);
  KV_OK(f, km_db_exec(f->store->db, "CREATE TEMP TABLE look(peer BLOB)", &f->err));
  KV_OK(f, km_db_prepare(f->store->db, &f->store->kv->readers,
                         "INSERT INTO look SELECT peer FROM kv_reader WHERE share = ? ORDER BY peer"
                         " RETURNING peer",
                         &f->err));
  KV_OK(f, km_kv_set_readers(f->store, "notes", f->ids, 2, &f->err));
  assert_int_equal(number(f, "SELECT count(*) FROM look"), MANY_READERS);
  assert_int_equal(number(f, "SELECT count(*) FROM kv_reader"), 2);
}

static void test_one_reader_less(void **state) {
  kv_fixture *f = *state;
  KV_OK(f, km_kv_drop_reader(f->store, "notes", &f->ids[1], &f->err)); /* no such share yet */
  KV_OK(f, km_kv_set_readers(f->store, "notes", &f->ids[1], 2, &f->err));
  KV_OK(f, km_kv_drop_reader(f->store, "notes", &f->ids[3], &f->err));
  assert_int_equal(number(f, "SELECT count(*) FROM kv_reader"), 2);
  KV_OK(f, km_kv_drop_reader(f->store, "notes", &f->ids[1], &f->err));
  assert_int_equal(number(f, "SELECT count(*) FROM kv_reader"), 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_settings, kv_set_up, kv_tear_down),
      KV_TEST(test_signature_is_noted),
      KV_TEST(test_proofs_are_noted_together),
      KV_TEST(test_back_after_a_rollback),
      KV_TEST(test_gap_of_numbers),
      KV_TEST(test_returned_deletion),
      KV_TEST(test_keys_that_cannot_be),
      KV_TEST(test_values_that_cannot_be),
      KV_TEST(test_two_rows_of_one_item),
      KV_TEST(test_nothing_given),
      KV_TEST(test_broken_by_others),
      KV_TEST(test_many_readers),
      KV_TEST(test_unwanted_go_in_one_pass),
      KV_TEST(test_one_reader_less),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
