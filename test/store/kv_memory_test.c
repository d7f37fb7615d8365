/* Memory that runs out anywhere: said as that, nothing leaks, what was stored stays. */
#include "test/store/kv_fixture.h"

typedef struct lab {
  kv_fixture *f;
  test_env env;
} lab;

static void count_entry(void *ctx, const km_kv_entry *e) {
  (void)e;
  ++*(unsigned *)ctx;
}

static void count_share(void *ctx, const char *share, uint64_t entries, uint64_t deleted,
                        uint64_t bytes) {
  (void)share;
  (void)deleted;
  (void)bytes;
  *(uint64_t *)ctx += entries;
}

static int open_store(lab *l, km_store **ret) {
  km_store_options o;
  km_store_options_default(&o);
  o.path = l->f->path;
  o.secret_key = l->f->keys[0];
  o.durability = KM_DURABLE_PROCESS;
  return km_store_open_with(ret, &o, &l->env.env, kv_wall, l->f, &l->f->err);
}

/* Everything that takes memory, until it fails first. */
static int use(kv_fixture *f, km_store *s, unsigned *events) {
  static const uint8_t large[2000];
  km_kv_watch *watch;
  km_kv_entry e;
  uint64_t entries = 0;
  unsigned listed = 0;
  int rv = km_kv_watch_start(&watch, s, NULL, "a", count_entry, events, &f->err);
  if (rv != 0) {
    return rv;
  }
  rv = km_kv_begin(s, &f->err);
  for (unsigned i = 0; rv == 0 && i < 70; i++) { /* more changes than there is room for at first */
    char key[16];
    (void)snprintf(key, sizeof key, "a%u", i);
    rv = km_kv_put(s, "notes", key, large, sizeof large, &f->err);
  }
  if (rv == 0) {
    rv = km_kv_commit(s, &f->err);
  } else {
    km_kv_rollback(s);
  }
  km_kv_watch_cancel(watch);
  if (rv == 0) {
    rv = km_kv_get(s, "notes", "a1", &e, &f->err);
  }
  int64_t n = rv == 0 ? km_kv_list(s, "notes", NULL, count_entry, &listed, &f->err) : rv;
  if (n >= 0) {
    assert_int_equal(listed, 70);
    n = km_kv_shares(s, count_share, &entries, &f->err);
  }
  if (n >= 0) {
    assert_int_equal(entries, 71); /* one of another share */
    n = km_kv_check_some(s, 100, &f->err);
  }
  return n < 0 ? (int)n : 0;
}

/* True when nothing failed. */
static bool once(lab *l, long after) {
  km_store *s = NULL;
  unsigned events = 0;
  l->f->err = (km_errinfo){0};
  l->env.fail_after = after;
  int rv = open_store(l, &s);
  if (rv == 0) {
    rv = use(l->f, s, &events);
    km_store_close(s);
  }
  assert_int_equal(l->env.live, 0);
  if (rv != 0) {
    assert_int_equal(rv, KM_ERR_NOMEM);
    assert_int_equal(l->f->err.code, KM_ERR_NOMEM);
    assert_true(events <= 70); /* what cannot be read back is not told */
  }
  assert_true(rv != 0 || events == 70);
  return rv == 0;
}

static void test_every_request_fails(void **state) {
  kv_fixture *f = *state;
  lab l = {.f = f};
  test_env_init(&l.env);
  kv_must_open(f);
  kv_put(f, "other", "a", "kept");
  km_store_close(f->store);
  f->store = NULL;
  long after = 0;
  while (!once(&l, after)) {
    after++;
    assert_true(after < 1000);
  }
  assert_true(after > 50); /* they did fail one by one */
  kv_must_open(f);
  kv_expect(f, "other", "a", "kept");
  KV_OK(f, km_store_check(f->store, &f->err));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_every_request_fails, kv_set_up, kv_tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
