/* The key-value store by its interface: put, get, delete, list, watch, batches, what survives. */
#include "test/store/kv_fixture.h"

#include <sys/stat.h>

/* --- one entry -------------------------------------------------------------------------------- */

static void test_put_get_delete(void **state) {
  kv_fixture *f = *state;
  kv_expect(f, "notes", "a", NULL);
  kv_put(f, "notes", "a", "one");
  kv_expect(f, "notes", "a", "one");
  kv_put(f, "notes", "a", "two");
  kv_expect(f, "notes", "a", "two");
  kv_expect(f, "others", "a", NULL);
  kv_delete(f, "notes", "a");
  kv_expect(f, "notes", "a", NULL);
  assert_int_equal(km_kv_delete(f->store, "notes", "a", &f->err), KM_ERR_NOT_FOUND);
  assert_string_equal(f->err.text, "the share notes has no entry a");
  assert_int_equal(km_kv_delete(f->store, "nothing", "a", NULL), KM_ERR_NOT_FOUND);
  kv_put(f, "notes", "a", "three");
  kv_expect(f, "notes", "a", "three");
  km_kv_stats stats;
  km_kv_get_stats(f->store, &stats);
  assert_int_equal(stats.puts, 3);
  assert_int_equal(stats.deletes, 1);
}

static void test_fields(void **state) {
  kv_fixture *f = *state;
  km_kv_entry e;
  kv_put(f, "notes", "a", "one");
  KV_OK(f, km_kv_get(f->store, "notes", "a", &e, &f->err));
  assert_int_equal(e.clock, kv_clock(f, 0));
  assert_true(e.own);
  assert_false(e.deleted);
  assert_true(km_id_equal(&e.author, km_store_id(f->store)));
  assert_true(km_id_equal(&e.author, &f->ids[0]));
  kv_put(f, "notes", "a", "two");
  KV_OK(f, km_kv_get(f->store, "notes", "a", &e, &f->err));
  assert_int_equal(e.clock, kv_clock(f, 0) + 1);
}

static void test_any_bytes(void **state) {
  kv_fixture *f = *state;
  km_kv_entry e;
  uint8_t bytes[256];
  for (size_t i = 0; i < sizeof bytes; i++) {
    bytes[i] = (uint8_t)i;
  }
  KV_OK(f, km_kv_put(f->store, "s", "bytes", bytes, sizeof bytes, &f->err));
  KV_OK(f, km_kv_get(f->store, "s", "bytes", &e, &f->err));
  assert_int_equal(e.value_len, sizeof bytes);
  assert_memory_equal(e.value, bytes, sizeof bytes);
  KV_OK(f, km_kv_put(f->store, "s", "empty", NULL, 0, &f->err));
  KV_OK(f, km_kv_get(f->store, "s", "empty", &e, &f->err));
  assert_non_null(e.value);
  assert_int_equal(e.value_len, 0);
  assert_false(e.deleted);
}

static void expect_invalid(kv_fixture *f, const char *share, const char *key, size_t len,
                           const char *why) {
  static uint8_t value[65537];
  f->err = (km_errinfo){0};
  assert_int_equal(km_kv_put(f->store, share, key, value, len, &f->err), KM_ERR_INVALID);
  if (strstr(f->err.text, why) == NULL) {
    fail_msg("'%s' does not say '%s'", f->err.text, why);
  }
}

static void test_limits(void **state) {
  kv_fixture *f = *state;
  char key[258];
  memset(key, 'k', sizeof key);
  key[257] = '\0';
  expect_invalid(f, "notes", key, 1, "a key has 1 to 256 bytes, not 257");
  expect_invalid(f, "notes", "", 1, "a key has 1 to 256 bytes, not 0");
  expect_invalid(f, "notes", "../x", 1, "no part of a key");
  expect_invalid(f, "notes", "x\n", 1, "control character at its byte 2");
  expect_invalid(f, "notes", "x\xff", 1, "not UTF-8 at its byte 2");
  expect_invalid(f, "notes", "x", 65537, "up to 65536 bytes, not 65537");
  expect_invalid(f, "", "x", 1, "1 to 64 bytes");
  expect_invalid(f, "no/tes", "x", 1, "letters, digits");
  key[256] = '\0';
  static uint8_t largest[65536];
  KV_OK(f, km_kv_put(f->store, "notes", key, largest, sizeof largest, &f->err));
  km_kv_entry e;
  KV_OK(f, km_kv_get(f->store, "notes", key, &e, &f->err));
  assert_int_equal(e.value_len, sizeof largest);
  assert_int_equal(km_kv_get(f->store, "notes", "../x", &e, NULL), KM_ERR_INVALID);
  assert_int_equal(km_kv_delete(f->store, "notes", "/", NULL), KM_ERR_INVALID);
  assert_int_equal(km_kv_list(f->store, "?", NULL, NULL, NULL, NULL), KM_ERR_INVALID);
}

static void test_options(void **state) {
  kv_fixture *f = *state;
  km_store *s;
  km_store_options o;
  km_store_options_default(&o);
  assert_int_equal(km_store_open(&s, &o, NULL), KM_ERR_INVALID); /* no key */
  o.secret_key = f->keys[1];
  o.max_key = 1025;
  assert_int_equal(km_store_open(&s, &o, NULL), KM_ERR_INVALID);
  o.max_key = 4;
  o.max_value = 0;
  assert_int_equal(km_store_open(&s, &o, NULL), KM_ERR_INVALID);
  o.max_value = 1048577;
  assert_int_equal(km_store_open(&s, &o, NULL), KM_ERR_INVALID);
  o.max_value = 3;
  o.max_skew_ms = 86400001;
  assert_int_equal(km_store_open(&s, &o, NULL), KM_ERR_INVALID);
  o.max_skew_ms = 0;
  o.size = 8;
  assert_int_equal(km_store_open(&s, &o, NULL), KM_ERR_INVALID);
  o.size = sizeof o;
  assert_int_equal(km_store_open(&s, &o, NULL), 0);
  assert_int_equal(km_kv_put(s, "s", "12345", "1", 1, NULL), KM_ERR_INVALID);
  assert_int_equal(km_kv_put(s, "s", "1234", "1234", 4, NULL), KM_ERR_INVALID);
  assert_int_equal(km_kv_put(s, "s", "1234", "123", 3, NULL), 0);
  km_store_close(s);
}

/* --- list ------------------------------------------------------------------------------------- */

typedef struct seen {
  char text[512];
  kv_fixture *f;
} seen;

static void on_entry(void *ctx, const km_kv_entry *e) {
  seen *s = ctx;
  size_t len = strlen(s->text);
  assert_int_equal(e->value == NULL, e->deleted);
  (void)snprintf(s->text + len, sizeof s->text - len, "%s%s%s=%.*s", len > 0 ? " " : "",
                 e->deleted ? "-" : "", e->key, (int)e->value_len,
                 e->deleted ? "" : (const char *)e->value);
}

static void expect_list(kv_fixture *f, const km_kv_query *q, const char *want) {
  seen s = {.text = ""};
  int64_t count = km_kv_list(f->store, "notes", q, on_entry, &s, &f->err);
  assert_string_equal(s.text, want);
  int64_t words = want[0] != '\0';
  for (const char *c = want; *c != '\0'; c++) {
    words += *c == ' ';
  }
  assert_int_equal(count, words);
}

static void test_list(void **state) {
  kv_fixture *f = *state;
  expect_list(f, NULL, "");
  static const char *const keys[] = {"b/2", "a", "b/1", "\xc3\xa4", "b", "c", "b/10"};
  for (size_t i = 0; i < COUNT_OF(keys); i++) {
    char value[8];
    (void)snprintf(value, sizeof value, "%zu", i);
    kv_put(f, "notes", keys[i], value);
  }
  kv_put(f, "other", "b/3", "x");
  kv_delete(f, "notes", "b/10");
  expect_list(f, NULL, "a=1 b=4 b/1=2 b/2=0 c=5 \xc3\xa4=3");
  km_kv_query q = {.size = sizeof q, .with_deleted = true};
  expect_list(f, &q, "a=1 b=4 b/1=2 -b/10= b/2=0 c=5 \xc3\xa4=3");
  q.prefix = "b/";
  expect_list(f, &q, "b/1=2 -b/10= b/2=0");
  q.with_deleted = false;
  expect_list(f, &q, "b/1=2 b/2=0");
  q.after = "b/1";
  expect_list(f, &q, "b/2=0");
  q.after = "b/2";
  expect_list(f, &q, "");
  q.after = "a"; /* before the prefix */
  expect_list(f, &q, "b/1=2 b/2=0");
  q.after = "zzz";
  expect_list(f, &q, "");
  q = (km_kv_query){.size = sizeof q, .limit = 2};
  expect_list(f, &q, "a=1 b=4");
  q.after = "b";
  expect_list(f, &q, "b/1=2 b/2=0");
  q.after = "b/2";
  expect_list(f, &q, "c=5 \xc3\xa4=3");
  q.after = "\xc3\xa4";
  expect_list(f, &q, "");
  q = (km_kv_query){.size = sizeof q, .prefix = "\xc3"}; /* half a character */
  expect_list(f, &q, "\xc3\xa4=3");
  q.prefix = "\xff";
  expect_list(f, &q, "");
}

typedef struct run {
  uint64_t next;
  km_store *store;
} run;

/* Reads the store from inside. */
static void on_numbered(void *ctx, const km_kv_entry *e) {
  run *r = ctx;
  char key[32];
  (void)snprintf(key, sizeof key, "key/%05u", (unsigned)r->next);
  assert_string_equal(e->key, key);
  km_kv_entry other;
  assert_int_equal(km_kv_get(r->store, "big", "key/00000", &other, NULL), 0);
  assert_int_equal(km_kv_list(r->store, "big",
                              &(km_kv_query){.size = sizeof(km_kv_query), .limit = 3},
                              (km_kv_fn)on_entry, &(seen){.text = ""}, NULL),
                   3);
  assert_string_equal(e->key, key);
  r->next++;
}

static void test_list_pages(void **state) {
  kv_fixture *f = *state;
  static uint8_t value[9000]; /* so that pages end by their bytes as well */
  const unsigned count = 333;
  KV_OK(f, km_kv_begin(f->store, &f->err));
  for (unsigned i = 0; i < count; i++) {
    char key[32];
    (void)snprintf(key, sizeof key, "key/%05u", i);
    KV_OK(f, km_kv_put(f->store, "big", key, value, i > 200 ? sizeof value : 5, &f->err));
  }
  KV_OK(f, km_kv_commit(f->store, &f->err));
  run r = {.store = f->store};
  assert_int_equal(km_kv_list(f->store, "big", NULL, on_numbered, &r, &f->err), count);
  assert_int_equal(r.next, count);
  r.next = 0;
  assert_int_equal(km_kv_list(f->store, "big",
                              &(km_kv_query){.size = sizeof(km_kv_query), .limit = 130},
                              on_numbered, &r, &f->err),
                   130);
}

static void on_share(void *ctx, const char *share, uint64_t entries, uint64_t deleted,
                     uint64_t bytes) {
  char *text = ctx;
  size_t len = strlen(text);
  (void)snprintf(text + len, 256 - len, "%s %u %u %u;", share, (unsigned)entries, (unsigned)deleted,
                 (unsigned)bytes);
}

static void test_shares(void **state) {
  kv_fixture *f = *state;
  char text[256] = "";
  assert_int_equal(km_kv_shares(f->store, on_share, text, &f->err), 0);
  kv_put(f, "zoo", "ab", "123");
  kv_put(f, "zoo", "ab", "12345");
  kv_put(f, "zoo", "c", "1");
  kv_delete(f, "zoo", "c");
  kv_put(f, "Alpha", "x", "");
  assert_int_equal(km_kv_shares(f->store, on_share, text, &f->err), 2);
  assert_string_equal(text, "Alpha 1 0 1;zoo 1 1 8;");
  text[0] = '\0';
  assert_int_equal(km_kv_shares(f->store, on_share, text, &f->err), 2);
  assert_string_equal(text, "Alpha 1 0 1;zoo 1 1 8;");
  KV_OK(f, km_kv_begin(f->store, &f->err));
  kv_put(f, "new", "x", "");
  text[0] = '\0';
  assert_int_equal(km_kv_shares(f->store, on_share, text, &f->err), 3);
  assert_string_equal(text, "Alpha 1 0 1;new 1 0 1;zoo 1 1 8;");
  km_kv_rollback(f->store);
  kv_pass_ms(f, 2 * KV_DAY_MS);
  assert_int_equal(km_kv_collect(f->store, &f->err), 1);
  text[0] = '\0';
  assert_int_equal(km_kv_shares(f->store, on_share, text, &f->err), 2);
  assert_string_equal(text, "Alpha 1 0 1;zoo 1 0 7;");
}

/* --- watch ------------------------------------------------------------------------------------ */

static void test_watch(void **state) {
  kv_fixture *f = *state;
  km_kv_watch *all, *some;
  seen s_all = {.text = ""}, s_some = {.text = ""};
  kv_put(f, "notes", "before", "0");
  KV_OK(f, km_kv_watch_start(&all, f->store, NULL, NULL, on_entry, &s_all, &f->err));
  KV_OK(f, km_kv_watch_start(&some, f->store, "notes", "b/", on_entry, &s_some, &f->err));
  kv_put(f, "notes", "a", "1");
  kv_put(f, "notes", "b/1", "2");
  kv_put(f, "other", "b/1", "3");
  kv_delete(f, "notes", "b/1");
  assert_int_equal(km_kv_delete(f->store, "notes", "b/1", NULL), KM_ERR_NOT_FOUND);
  assert_string_equal(s_all.text, "a=1 b/1=2 b/1=3 -b/1=");
  assert_string_equal(s_some.text, "b/1=2 -b/1=");
  km_kv_watch_cancel(some);
  kv_put(f, "notes", "b/2", "4");
  assert_string_equal(s_some.text, "b/1=2 -b/1=");
  km_kv_watch_cancel(all);
  km_kv_watch_cancel(NULL);
  assert_int_equal(km_kv_watch_start(&all, f->store, "no share", NULL, on_entry, NULL, NULL),
                   KM_ERR_INVALID);
}

static void test_watch_batch(void **state) {
  kv_fixture *f = *state;
  km_kv_watch *w;
  seen s = {.text = ""};
  KV_OK(f, km_kv_watch_start(&w, f->store, "notes", NULL, on_entry, &s, &f->err));
  KV_OK(f, km_kv_begin(f->store, &f->err));
  kv_put(f, "notes", "a", "1");
  kv_put(f, "notes", "b", "2");
  kv_put(f, "notes", "a", "3");
  assert_string_equal(s.text, "");
  KV_OK(f, km_kv_commit(f->store, &f->err));
  assert_string_equal(s.text, "b=2 a=3"); /* what was replaced meanwhile is not told */
  s.text[0] = '\0';
  KV_OK(f, km_kv_begin(f->store, &f->err));
  kv_put(f, "notes", "c", "4");
  km_kv_rollback(f->store);
  assert_string_equal(s.text, "");
  KV_OK(f, km_kv_begin(f->store, &f->err));
  KV_OK(f, km_kv_commit(f->store, &f->err));
  assert_string_equal(s.text, "");
  km_kv_watch_cancel(w);
}

/* From a watcher everything may be called. */
typedef struct busy {
  kv_fixture *f;
  km_kv_watch *self, *other, *born;
  seen inner;
  unsigned calls;
} busy;

static void on_busy(void *ctx, const km_kv_entry *e) {
  busy *b = ctx;
  kv_fixture *f = b->f;
  b->calls++;
  if (strcmp(e->key, "start") != 0) {
    return;
  }
  kv_expect(f, "notes", "start", "x"); /* it is stored by now */
  km_kv_watch_cancel(b->other);        /* which comes behind us */
  KV_OK(f, km_kv_watch_start(&b->born, f->store, NULL, NULL, on_entry, &b->inner, &f->err));
  KV_OK(f, km_kv_begin(f->store, &f->err));
  kv_put(f, "notes", "inner", "y");
  KV_OK(f, km_kv_commit(f->store, &f->err));
  assert_string_equal(e->key, "start");
  assert_memory_equal(e->value, "x", 1);
  km_kv_watch_cancel(b->self);
}

static void run_busy(kv_fixture *f, bool batch) {
  busy b = {.f = f};
  seen other = {.text = ""};
  KV_OK(f, km_kv_watch_start(&b.self, f->store, NULL, NULL, on_busy, &b, &f->err));
  KV_OK(f, km_kv_watch_start(&b.other, f->store, NULL, NULL, on_entry, &other, &f->err));
  if (batch) {
    KV_OK(f, km_kv_begin(f->store, &f->err));
  }
  kv_put(f, "notes", "start", "x");
  if (batch) {
    KV_OK(f, km_kv_commit(f->store, &f->err));
  }
  assert_string_equal(other.text, "");
  assert_string_equal(b.inner.text, "inner=y"); /* not what went on when it was born */
  assert_int_equal(b.calls, 2);
  kv_put(f, "notes", "later", "z");
  assert_int_equal(b.calls, 2);
  assert_string_equal(b.inner.text, "inner=y later=z");
  km_kv_watch_cancel(b.born);
}

static void test_watcher_does_everything(void **state) {
  run_busy(*state, false);
  run_busy(*state, true);
}

typedef struct hook {
  unsigned calls;
  char share[KM_SHARE_NAME_MAX + 1];
  km_item item;
  bool own;
  km_id from;
} hook;

static void on_hook(void *ctx, const char *share, const km_item *item, const km_id *from) {
  hook *h = ctx;
  h->calls++;
  (void)snprintf(h->share, sizeof h->share, "%s", share);
  h->item = *item;
  h->own = from == NULL;
  if (from != NULL) {
    h->from = *from;
  }
}

static void test_hook(void **state) {
  kv_fixture *f = *state;
  for (int batch = 0; batch < 2; batch++) {
    hook h = {0};
    km_entry e;
    km_kv_on_change(f->store, on_hook, &h);
    if (batch) {
      KV_OK(f, km_kv_begin(f->store, &f->err));
    }
    kv_put(f, "notes", "a", batch ? "2" : "1");
    if (batch) {
      assert_int_equal(h.calls, 0);
      KV_OK(f, km_kv_commit(f->store, &f->err));
    }
    assert_int_equal(h.calls, 1);
    assert_true(h.own);
    assert_string_equal(h.share, "notes");
    KV_OK(f, km_kv_find(f->store, "notes", &h.item, &e, &f->err));
    assert_int_equal(km_entry_verify(&e), 0);
    const km_entry *theirs = kv_signed(f, 1, "notes", "b", batch ? "y" : "x", kv_clock(f, batch));
    if (batch) {
      KV_OK(f, km_kv_begin(f->store, &f->err));
    }
    assert_int_equal(km_kv_apply(f->store, theirs, &f->ids[2], &f->err), KM_KV_NEW);
    if (batch) {
      KV_OK(f, km_kv_commit(f->store, &f->err));
    }
    assert_int_equal(h.calls, 2);
    assert_false(h.own);
    assert_true(km_id_equal(&h.from, &f->ids[2]));
    km_kv_on_change(f->store, NULL, NULL);
  }
}

/* --- batches ---------------------------------------------------------------------------------- */

static void test_batch(void **state) {
  kv_fixture *f = *state;
  kv_put(f, "notes", "a", "1");
  assert_int_equal(km_kv_commit(f->store, &f->err), KM_ERR_STATE);
  km_kv_rollback(f->store);
  KV_OK(f, km_kv_begin(f->store, &f->err));
  assert_int_equal(km_kv_begin(f->store, &f->err), KM_ERR_STATE);
  kv_put(f, "notes", "a", "2");
  kv_put(f, "fresh", "x", "1");
  kv_expect(f, "notes", "a", "2");
  km_kv_rollback(f->store);
  kv_expect(f, "notes", "a", "1");
  kv_expect(f, "fresh", "x", NULL);
  KV_OK(f, km_kv_begin(f->store, &f->err));
  kv_put(f, "fresh", "x", "2"); /* its share was forgotten with the batch */
  kv_put(f, "another", "x", "3");
  KV_OK(f, km_kv_commit(f->store, &f->err));
  kv_reopen(f);
  kv_expect(f, "notes", "a", "1");
  kv_expect(f, "fresh", "x", "2");
  kv_expect(f, "another", "x", "3");
}

static void test_close_in_batch(void **state) {
  kv_fixture *f = *state;
  kv_put(f, "notes", "a", "1");
  KV_OK(f, km_kv_begin(f->store, &f->err));
  kv_put(f, "notes", "a", "2");
  kv_reopen(f);
  kv_expect(f, "notes", "a", "1");
}

/* --- clock ------------------------------------------------------------------------------------ */

static uint64_t clock_of(kv_fixture *f, const char *key) {
  km_kv_entry e;
  KV_OK(f, km_kv_get(f->store, "notes", key, &e, &f->err));
  return e.clock;
}

static void test_clock_survives(void **state) {
  kv_fixture *f = *state;
  kv_put(f, "other", "z", "1");
  kv_pass_ms(f, 1000);
  kv_put(f, "notes", "a", "1");
  uint64_t before = clock_of(f, "a");
  kv_pass_ms(f, -3600 * 1000); /* the machine's clock goes back by an hour */
  kv_reopen(f);
  kv_put(f, "notes", "a", "2");
  assert_int_equal(clock_of(f, "a"), before + 1);
  kv_expect(f, "notes", "a", "2");
}

/* Neither do change numbers and clock fall when the highest entry is forgotten. */
static void test_highest_was_deleted(void **state) {
  kv_fixture *f = *state;
  kv_put(f, "notes", "a", "1");
  kv_delete(f, "notes", "a");
  uint64_t seq = km_kv_seq(f->store), clock = f->store->clock.last;
  kv_pass_ms(f, 2 * KV_DAY_MS);
  assert_int_equal(km_kv_collect(f->store, &f->err), 1);
  kv_pass_ms(f, -2 * KV_DAY_MS);
  kv_reopen(f);
  assert_int_equal(km_kv_seq(f->store), seq);
  kv_put(f, "notes", "a", "2");
  assert_int_equal(km_kv_seq(f->store), seq + 1);
  assert_int_equal(clock_of(f, "a"), clock + 1);
}

static void test_clock_far_ahead(void **state) {
  kv_fixture *f = *state;
  kv_put(f, "notes", "a", "1");
  kv_pass_ms(f, -KV_DAY_MS - 1000);
  assert_int_equal(km_kv_put(f->store, "notes", "a", "2", 1, &f->err), KM_ERR_LIMIT);
  assert_non_null(strstr(f->err.text, "86401 s ahead of this machine's clock"));
  assert_non_null(strstr(f->err.text, "if it is, export them")); /* the clock may be right by now */
  kv_expect(f, "notes", "a", "1");
  kv_pass_ms(f, 2000);
  kv_put(f, "notes", "a", "2");
}

/* --- the file --------------------------------------------------------------------------------- */

static void test_file(void **state) {
  kv_fixture *f = *state;
  struct stat st;
  assert_int_equal(stat(f->path, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
  km_store *second = NULL;
  assert_int_equal(kv_open_store(f, 0, f->path, &second), KM_ERR_STORE_BUSY);
  assert_null(second);
  kv_put(f, "notes", "a", "1");
  km_store_close(f->store);
  f->store = NULL;
  assert_int_equal(kv_open_store(f, 1, f->path, &second), KM_ERR_STATE);
  assert_non_null(strstr(f->err.text, "belongs to another key"));
  kv_must_open(f);
  kv_expect(f, "notes", "a", "1");
  char path[256];
  (void)snprintf(path, sizeof path, "%s/nowhere/store.db", f->dir);
  assert_int_equal(kv_open_store(f, 0, path, &second), KM_ERR_FILE_NOT_FOUND);
}

static void test_in_memory(void **state) {
  kv_fixture *f = *state;
  km_store *s;
  assert_int_equal(kv_open_store(f, 3, NULL, &s), 0);
  assert_int_equal(km_kv_put(s, "notes", "a", "1", 1, NULL), 0);
  assert_int_equal(km_store_check(s, NULL), 0);
  assert_true(km_id_equal(km_store_id(s), &f->ids[3]));
  km_store_close(s);
  km_store_close(NULL);
}

/* --- hash ------------------------------------------------------------------------------------- */

static void hash_of(kv_fixture *f, km_store *s, uint8_t ret[KM_KV_HASH_BYTES]) {
  KV_OK(f, km_kv_hash(s, "notes", ret, &f->err));
}

static void test_hash(void **state) {
  kv_fixture *f = *state;
  km_store *other;
  uint8_t a[KM_KV_HASH_BYTES], b[KM_KV_HASH_BYTES], empty[KM_KV_HASH_BYTES];
  assert_int_equal(kv_open_store(f, 3, NULL, &other), 0);
  hash_of(f, f->store, empty);
  hash_of(f, other, b);
  assert_memory_equal(empty, b, sizeof b);
  const int count = 700; /* of several slices */
  for (int i = 0; i < count; i++) {
    char key[16], yek[16];
    (void)snprintf(key, sizeof key, "k%d", i);
    (void)snprintf(yek, sizeof yek, "k%d", count - 1 - i);
    uint64_t clock = kv_clock(f, 0);
    assert_int_equal(
        km_kv_apply(f->store, kv_signed(f, 1, "notes", key, "v", clock), &f->ids[1], &f->err),
        KM_KV_NEW);
    assert_int_equal(
        km_kv_apply(other, kv_signed(f, 1, "notes", yek, "v", clock), &f->ids[1], &f->err),
        KM_KV_NEW);
    hash_of(f, f->store, a);
    hash_of(f, other, b);
    assert_int_equal(memcmp(a, b, sizeof a) == 0, i == count - 1);
  }
  assert_int_not_equal(memcmp(a, empty, sizeof a), 0);
  kv_put(f, "else", "x", "y"); /* another share */
  hash_of(f, f->store, b);
  assert_memory_equal(a, b, sizeof a);
  kv_delete(f, "notes", "k5");
  hash_of(f, f->store, b);
  assert_memory_not_equal(a, b, sizeof a);
  km_store_close(other);
}

/* --- forgetting deletions --------------------------------------------------------------------- */

static int64_t deletions(kv_fixture *f) {
  seen s = {.text = ""};
  km_kv_query q = {.size = sizeof q, .with_deleted = true};
  int64_t all = km_kv_list(f->store, "notes", &q, on_entry, &s, &f->err);
  return all - km_kv_list(f->store, "notes", NULL, on_entry, &(seen){.text = ""}, &f->err);
}

static void test_collect_by_age(void **state) {
  kv_fixture *f = *state;
  kv_put(f, "notes", "a", "1");
  kv_put(f, "notes", "b", "1");
  kv_delete(f, "notes", "a");
  assert_int_equal(km_kv_collect(f->store, &f->err), 0);
  kv_pass_ms(f, KV_DAY_MS - 1000);
  kv_delete(f, "notes", "b");
  assert_int_equal(km_kv_collect(f->store, &f->err), 0);
  kv_pass_ms(f, 2000);
  assert_int_equal(km_kv_collect(f->store, &f->err), 1);
  assert_int_equal(deletions(f), 1);
  kv_pass_ms(f, KV_DAY_MS);
  assert_int_equal(km_kv_collect(f->store, &f->err), 1);
  assert_int_equal(km_kv_collect(f->store, &f->err), 0);
  assert_int_equal(deletions(f), 0);
}

static void test_collect_waits_for_readers(void **state) {
  kv_fixture *f = *state;
  KV_OK(f, km_kv_set_readers(f->store, "notes", &f->ids[1], 2, &f->err));
  kv_put(f, "notes", "a", "1");
  uint64_t before = km_kv_seq(f->store);
  kv_delete(f, "notes", "a");
  kv_pass_ms(f, 2 * KV_DAY_MS);
  assert_int_equal(km_kv_collect(f->store, &f->err), 0);
  KV_OK(f, km_kv_synced(f->store, "notes", &f->ids[1], km_kv_seq(f->store), &f->err));
  KV_OK(f, km_kv_synced(f->store, "notes", &f->ids[2], before, &f->err));
  assert_int_equal(km_kv_collect(f->store, &f->err), 0);
  KV_OK(f,
        km_kv_synced(f->store, "notes", &f->ids[3], km_kv_seq(f->store), &f->err)); /* no reader */
  assert_int_equal(km_kv_collect(f->store, &f->err), 0);
  kv_reopen(f); /* all this is remembered */
  assert_int_equal(km_kv_collect(f->store, &f->err), 0);
  KV_OK(f, km_kv_synced(f->store, "notes", &f->ids[2], km_kv_seq(f->store), &f->err));
  KV_OK(f, km_kv_synced(f->store, "notes", &f->ids[2], before, &f->err)); /* never back */
  assert_int_equal(km_kv_collect(f->store, &f->err), 1);
}

static void test_readers_change(void **state) {
  kv_fixture *f = *state;
  KV_OK(f, km_kv_set_readers(f->store, "notes", &f->ids[1], 2, &f->err));
  kv_put(f, "notes", "a", "1");
  kv_delete(f, "notes", "a");
  kv_pass_ms(f, 2 * KV_DAY_MS);
  uint64_t seq = km_kv_seq(f->store);
  KV_OK(f, km_kv_synced(f->store, "notes", &f->ids[1], seq, &f->err));
  KV_OK(f, km_kv_set_readers(f->store, "notes", &f->ids[1], 2, &f->err));
  assert_int_equal(km_kv_collect(f->store, &f->err), 0);
  /* A new reader has to have it first. */
  const km_id readers[] = {f->ids[1], f->ids[3]};
  KV_OK(f, km_kv_set_readers(f->store, "notes", readers, 2, &f->err));
  assert_int_equal(km_kv_collect(f->store, &f->err), 0);
  /* Who may read no more is not waited for, and the first did not lose what it had. */
  KV_OK(f, km_kv_set_readers(f->store, "notes", &f->ids[1], 1, &f->err));
  assert_int_equal(km_kv_collect(f->store, &f->err), 1);
  KV_OK(f, km_kv_set_readers(f->store, "notes", NULL, 0, &f->err));
}

/* A deletion that comes back after it was forgotten does not wait for all readers again, but stays
 * for a day, and is not pushed on: who gave it back would only do so again. */
static void test_returned_deletion(void **state) {
  kv_fixture *f = *state;
  KV_OK(f, km_kv_set_readers(f->store, "notes", &f->ids[1], 2, &f->err));
  uint64_t old = kv_clock(f, 0), later = kv_clock(f, 5);
  const km_entry *e = kv_signed(f, 1, "notes", "a", NULL, old);
  assert_int_equal(km_kv_apply(f->store, e, &f->ids[1], &f->err), KM_KV_NEW);
  kv_pass_ms(f, 2 * KV_DAY_MS);
  for (size_t i = 1; i <= 2; i++) {
    KV_OK(f, km_kv_synced(f->store, "notes", &f->ids[i], km_kv_seq(f->store), &f->err));
  }
  assert_int_equal(km_kv_collect(f->store, &f->err), 1);
  kv_reopen(f);
  hook h = {0};
  km_kv_on_change(f->store, on_hook, &h);
  e = kv_signed(f, 1, "notes", "a", NULL, old);
  assert_int_equal(km_kv_apply(f->store, e, &f->ids[2], &f->err), KM_KV_NEW);
  assert_int_equal(h.calls, 0);
  assert_int_equal(
      km_kv_apply(f->store, kv_signed(f, 1, "notes", "b", NULL, later), &f->ids[2], &f->err),
      KM_KV_NEW); /* this one was never here */
  assert_int_equal(h.calls, 1);
  assert_int_equal(deletions(f), 2);
  for (int hour = 0; hour < 23; hour++) {
    assert_int_equal(km_kv_collect(f->store, &f->err), 0);
    kv_pass_ms(f, KV_DAY_MS / 24);
    kv_reopen(f);
  }
  int64_t collected = 0;
  for (int hour = 0; hour <= 25; hour++) {
    kv_pass_ms(f, KV_DAY_MS / 24);
    collected += km_kv_collect(f->store, &f->err);
  }
  assert_int_equal(collected, 1);
  assert_int_equal(deletions(f), 1);
}

/* A deletion that was forgotten in a batch that was given up is not forgotten. */
static void test_collect_rolled_back(void **state) {
  kv_fixture *f = *state;
  KV_OK(f, km_kv_set_readers(f->store, "notes", &f->ids[1], 1, &f->err));
  kv_put(f, "notes", "a", "1");
  kv_delete(f, "notes", "a");
  KV_OK(f, km_kv_synced(f->store, "notes", &f->ids[1], km_kv_seq(f->store), &f->err));
  kv_pass_ms(f, 2 * KV_DAY_MS);
  KV_OK(f, km_kv_begin(f->store, &f->err));
  assert_int_equal(km_kv_collect(f->store, &f->err), 1);
  km_kv_rollback(f->store);
  assert_int_equal(deletions(f), 1);
  /* So another old one is not taken for one that came back. */
  const km_entry *e = kv_signed(f, 1, "notes", "b", NULL, kv_clock(f, -3 * KV_DAY_MS));
  assert_int_equal(km_kv_apply(f->store, e, &f->ids[1], &f->err), KM_KV_NEW);
  assert_int_equal(km_kv_collect(f->store, &f->err), 1);
  assert_int_equal(deletions(f), 1);
}

/* --- signatures ------------------------------------------------------------------------------- */

static void test_signed_in_background(void **state) {
  kv_fixture *f = *state;
  assert_int_equal(kv_unchecked(f->store), 0);
  for (int i = 0; i < 10; i++) {
    char key[16];
    (void)snprintf(key, sizeof key, "k%d", i);
    kv_put(f, "notes", key, "v");
  }
  assert_int_equal(kv_unchecked(f->store), 10);
  KV_OK(f, km_kv_verify(f->store, "notes", "k0", &f->err));
  assert_int_equal(km_kv_check_some(f->store, 4, &f->err), 6);
  kv_reopen(f);
  assert_int_equal(kv_unchecked(f->store), 6);
  assert_int_equal(km_kv_check_some(f->store, 100, &f->err), 0);
  assert_int_equal(km_kv_check_some(f->store, 100, &f->err), 0);
  KV_OK(f, km_kv_verify(f->store, "notes", "k9", &f->err));
  assert_int_equal(km_kv_verify(f->store, "notes", "k10", &f->err), KM_ERR_NOT_FOUND);
  KV_OK(f, km_store_check(f->store, &f->err));
  /* Signatures made before are the ones that others get. */
  km_item items[10];
  km_entry e;
  assert_int_equal(km_kv_items(f->store, "notes", NULL, items, 10, &f->err), 10);
  for (size_t i = 0; i < 10; i++) {
    KV_OK(f, km_kv_find(f->store, "notes", &items[i], &e, &f->err));
    assert_int_equal(km_entry_verify(&e), 0);
  }
}

/* Asking for an entry signs it and writes nothing. */
static void test_signed_when_asked(void **state) {
  kv_fixture *f = *state;
  km_item item;
  km_entry e;
  kv_put(f, "notes", "a", "1");
  assert_int_equal(km_kv_items(f->store, "notes", NULL, &item, 1, &f->err), 1);
  for (int i = 0; i < 3; i++) {
    KV_OK(f, km_kv_find(f->store, "notes", &item, &e, &f->err));
    assert_int_equal(km_entry_verify(&e), 0);
    assert_memory_equal(e.key, "a", 1);
    assert_memory_equal(e.share, "notes", 5);
  }
  assert_int_equal(kv_unchecked(f->store), 1);
  assert_int_equal(km_kv_check_some(f->store, 1, &f->err), 0);
  KV_OK(f, km_kv_find(f->store, "notes", &item, &e, &f->err));
  assert_int_equal(km_entry_verify(&e), 0);
  item.hash[0] ^= 1;
  assert_int_equal(km_kv_find(f->store, "notes", &item, &e, &f->err), KM_ERR_NOT_FOUND);
  assert_int_equal(km_kv_find(f->store, "none", &item, &e, &f->err), KM_ERR_NOT_FOUND);
}

/* What a batch signed is not lost from sight when the batch is. */
static void test_check_rolled_back(void **state) {
  kv_fixture *f = *state;
  kv_put(f, "notes", "a", "1");
  KV_OK(f, km_kv_begin(f->store, &f->err));
  assert_int_equal(km_kv_check_some(f->store, 8, &f->err), 0);
  km_kv_rollback(f->store);
  assert_int_equal(kv_unchecked(f->store), 1);
  assert_int_equal(km_kv_check_some(f->store, 8, &f->err), 0);
  kv_reopen(f);
  assert_int_equal(kv_unchecked(f->store), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      KV_TEST(test_put_get_delete),
      KV_TEST(test_fields),
      KV_TEST(test_any_bytes),
      KV_TEST(test_limits),
      KV_TEST(test_options),
      KV_TEST(test_list),
      KV_TEST(test_list_pages),
      KV_TEST(test_shares),
      KV_TEST(test_watch),
      KV_TEST(test_watch_batch),
      KV_TEST(test_watcher_does_everything),
      KV_TEST(test_hook),
      KV_TEST(test_batch),
      KV_TEST(test_close_in_batch),
      KV_TEST(test_clock_survives),
      KV_TEST(test_highest_was_deleted),
      KV_TEST(test_clock_far_ahead),
      KV_TEST(test_file),
      KV_TEST(test_in_memory),
      KV_TEST(test_hash),
      KV_TEST(test_collect_by_age),
      KV_TEST(test_collect_waits_for_readers),
      KV_TEST(test_readers_change),
      KV_TEST(test_returned_deletion),
      KV_TEST(test_collect_rolled_back),
      KV_TEST(test_signed_in_background),
      KV_TEST(test_signed_when_asked),
      KV_TEST(test_check_rolled_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
