#include "test/store/kv_fixture.h"
#include "test/store/sim_pair.h"

/* The fixture's store is the first node's; a second one beside it, of the second key. */
typedef struct lab {
  kv_fixture *f;
  km_store *a, *b;
  sim_pair pair;
} lab;

static int set_up(void **state) {
  lab *l = calloc(1, sizeof *l);
  void *f;
  assert_non_null(l);
  assert_int_equal(kv_set_up(&f), 0);
  l->f = f;
  KV_OK(l->f, kv_open_store(l->f, 0, NULL, &l->a));
  KV_OK(l->f, kv_open_store(l->f, 1, NULL, &l->b));
  sim_pair_init(&l->pair, l->a, l->b);
  *state = l;
  return 0;
}

static int tear_down(void **state) {
  lab *l = *state;
  void *f = l->f;
  sim_pair_free(&l->pair);
  km_store_close(l->a);
  km_store_close(l->b);
  free(l);
  return kv_tear_down(&f);
}

static void put(lab *l, km_store *store, const char *key, const char *value) {
  kv_pass_ms(l->f, 10);
  KV_OK(l->f, km_kv_put(store, "docs", key, value, strlen(value), &l->f->err));
}

static void put_many(lab *l, km_store *store, const char *prefix, unsigned count) {
  char key[64];
  for (unsigned i = 0; i < count; i++) {
    (void)snprintf(key, sizeof key, "%s/%06u", prefix, i);
    put(l, store, key, "some value of a usual length");
  }
}

static void sync_with(lab *l, unsigned first, size_t piece) {
  sim_pair_free(&l->pair);
  sim_pair_init(&l->pair, first == 0 ? l->a : l->b, first == 0 ? l->b : l->a);
  sim_pair_begin(&l->pair, "docs");
  sim_pair_run(&l->pair, piece);
  if (!sim_pair_done(&l->pair)) {
    fail_msg("%s / %s", l->pair.end[0].err.text, l->pair.end[1].err.text);
  }
}

static void assert_same(lab *l) {
  uint8_t x[KM_KV_HASH_BYTES], y[KM_KV_HASH_BYTES];
  KV_OK(l->f, km_kv_hash(l->a, "docs", x, &l->f->err));
  KV_OK(l->f, km_kv_hash(l->b, "docs", y, &l->f->err));
  assert_memory_equal(x, y, sizeof x);
}

static km_sync_stats stats_of(const lab *l, unsigned end) {
  return sim_pair_stats(&l->pair, end);
}

/* --- What is exchanged --- */

static void test_empty_stores(void **state) {
  lab *l = *state;
  sync_with(l, 0, 1000000);
  assert_int_equal(stats_of(l, 0).entries_sent, 0);
  assert_int_equal(stats_of(l, 1).entries_sent, 0);
}

static void test_either_side_may_have_all(void **state) {
  lab *l = *state;
  put_many(l, l->a, "a", 3000);
  sync_with(l, 0, 1000000);
  assert_same(l);
  assert_int_equal(stats_of(l, 0).entries_sent, 3000);
  assert_int_equal(stats_of(l, 1).entries_new, 3000);
  put_many(l, l->b, "b", 3000);
  sync_with(l, 0, 1000000);
  assert_same(l);
  assert_int_equal(stats_of(l, 0).entries_new, 3000);
  assert_int_equal(stats_of(l, 0).entries_sent, 0);
}

static void test_both_sides_have_new_ones(void **state) {
  lab *l = *state;
  put_many(l, l->a, "common", 500);
  sync_with(l, 0, 1000000);
  put_many(l, l->a, "a", 300);
  put_many(l, l->b, "b", 200);
  sync_with(l, 1, 1000000);
  assert_same(l);
  assert_int_equal(stats_of(l, 0).entries_sent, 200);
  assert_int_equal(stats_of(l, 1).entries_sent, 300);
  sync_with(l, 0, 1000000);
  assert_int_equal(stats_of(l, 0).entries_sent + stats_of(l, 1).entries_sent, 0);
}

static void test_deletions_spread(void **state) {
  lab *l = *state;
  km_kv_entry e;
  put_many(l, l->a, "a", 20);
  sync_with(l, 0, 1000000);
  kv_pass_ms(l->f, 10);
  KV_OK(l->f, km_kv_delete(l->b, "docs", "a/000007", &l->f->err));
  sync_with(l, 0, 1000000);
  assert_same(l);
  assert_int_equal(km_kv_get(l->a, "docs", "a/000007", &e, NULL), KM_ERR_NOT_FOUND);
}

static void test_values_of_all_sizes(void **state) {
  static const size_t sizes[] = {0, 1, 65535, 65536, 40000, 40000, 100};
  lab *l = *state;
  uint8_t *value = calloc(65536, 1);
  assert_non_null(value);
  for (unsigned i = 0; i < COUNT_OF(sizes); i++) {
    char key[8];
    (void)snprintf(key, sizeof key, "k%u", i);
    value[0] = (uint8_t)i;
    kv_pass_ms(l->f, 10);
    KV_OK(l->f, km_kv_put(l->a, "docs", key, value, sizes[i], &l->f->err));
  }
  free(value);
  sync_with(l, 1, 1000000);
  assert_same(l);
}

static void test_other_shares_are_left_alone(void **state) {
  lab *l = *state;
  km_kv_entry e;
  put_many(l, l->a, "a", 5);
  KV_OK(l->f, km_kv_put(l->a, "private", "k", "v", 1, &l->f->err));
  sync_with(l, 0, 1000000);
  assert_int_equal(km_kv_get(l->b, "private", "k", &e, NULL), KM_ERR_NOT_FOUND);
  assert_string_equal(km_sync_share(l->pair.end[1].sync), "docs");
}

/* --- Entries that were replaced are not sent --- */

/* The newest ones stay as they are: from them on everything counts as new. */
static void update(lab *l, km_store *store, unsigned from, unsigned to) {
  char key[64];
  for (unsigned i = from; i < to; i++) {
    (void)snprintf(key, sizeof key, "common/%06u", (i * 37) % 1900);
    put(l, store, key, "updated");
  }
}

static void test_updates_of_one_side(void **state) {
  lab *l = *state;
  put_many(l, l->a, "common", 2000);
  sync_with(l, 0, 1000000);
  for (unsigned first = 0; first < 2; first++) {
    update(l, l->a, first * 100, first * 100 + 100);
    sync_with(l, first, 1000000);
    assert_same(l);
    assert_int_equal(stats_of(l, first).entries_sent, 100); /* end 0 or 1: that of store a */
    assert_int_equal(stats_of(l, 1 - first).entries_sent, 0);
    assert_int_equal(stats_of(l, 1 - first).entries_new, 100);
  }
}

static void test_updates_of_both_sides(void **state) {
  lab *l = *state;
  put_many(l, l->a, "common", 2000);
  sync_with(l, 0, 1000000);
  for (unsigned i = 0; i < 100; i++) { /* by turns */
    update(l, l->a, i, i + 1);
    update(l, l->b, 1000 + i, 1000 + i + 1);
  }
  sync_with(l, 1, 1000000);
  assert_same(l);
  assert_int_equal(stats_of(l, 0).entries_sent, 100);
  assert_int_equal(stats_of(l, 1).entries_sent, 100);
  assert_int_equal(stats_of(l, 0).entries_old + stats_of(l, 1).entries_old, 0);
}

/* A push has brought the newest entry already, so that it is no border between old and new. */
static void test_updates_with_a_push(void **state) {
  lab *l = *state;
  km_entry e;
  km_item newest;
  km_kv_entry found;
  put_many(l, l->a, "common", 2000);
  sync_with(l, 0, 1000000);
  update(l, l->a, 0, 50);
  update(l, l->b, 1000, 1050);
  put(l, l->b, "pushed", "value");
  assert_int_equal(km_kv_get(l->b, "docs", "pushed", &found, NULL), 0);
  newest = (km_item){found.clock, {0}};
  km_item items[1];
  newest.clock--;
  assert_int_equal(km_kv_items(l->b, "docs", &newest, items, 1, NULL), 1);
  KV_OK(l->f, km_kv_find(l->b, "docs", &items[0], &e, &l->f->err));
  assert_int_equal(km_kv_apply(l->a, &e, km_store_id(l->b), &l->f->err), KM_KV_NEW);
  sync_with(l, 0, 1000000);
  assert_same(l);
  assert_int_equal(stats_of(l, 0).entries_sent, 50);
  assert_int_equal(stats_of(l, 1).entries_sent, 50);
}

/* The other side does not wait for ever when entries alternate in time. */
static void test_waiting_ends(void **state) {
  lab *l = *state;
  km_entry e;
  km_item items[1], before;
  km_kv_entry found;
  for (unsigned i = 0; i < 200; i++) {
    char key[16];
    (void)snprintf(key, sizeof key, "%u", i);
    put(l, i % 2 == 0 ? l->a : l->b, key, "value");
  }
  put(l, l->b, "pushed", "value");
  assert_int_equal(km_kv_get(l->b, "docs", "pushed", &found, NULL), 0);
  before = (km_item){found.clock - 1, {0}};
  assert_int_equal(km_kv_items(l->b, "docs", &before, items, 1, NULL), 1);
  KV_OK(l->f, km_kv_find(l->b, "docs", &items[0], &e, &l->f->err));
  assert_int_equal(km_kv_apply(l->a, &e, km_store_id(l->b), &l->f->err), KM_KV_NEW);
  sync_with(l, 0, 1000000);
  assert_same(l);
  /* Each turn is a frame of its own, and 200 would be 2,400 bytes. */
  uint64_t entries = 200 * (1 + 8 + KM_ID_BYTES + KM_SIGNATURE_BYTES + 16);
  assert_true(stats_of(l, 0).sent_bytes + stats_of(l, 1).sent_bytes < entries + 1200);
}

/* Written while the session runs: what it was to send is gone, and left out. */
static void test_replaced_meanwhile(void **state) {
  lab *l = *state;
  put_many(l, l->a, "a", 100);
  sim_pair_begin(&l->pair, "docs");
  while (stats_of(l, 1).rounds == 0) {
    (void)sim_pair_work(&l->pair, 0);
    (void)sim_pair_send(&l->pair, 0, 100000);
    (void)sim_pair_deliver(&l->pair, 0, 100000);
    (void)sim_pair_work(&l->pair, 1);
  }
  put_many(l, l->a, "a", 40);
  sim_pair_run(&l->pair, 100000);
  assert_true(sim_pair_done(&l->pair));
  assert_int_equal(stats_of(l, 0).entries_sent, 60);
  sync_with(l, 0, 100000);
  assert_same(l);
}

/* --- Pieces --- */

static void test_any_pieces(void **state) {
  static const size_t pieces[] = {1, 2, 3, 5, 64, 1000};
  lab *l = *state;
  for (unsigned i = 0; i < COUNT_OF(pieces); i++) {
    char prefix[8];
    (void)snprintf(prefix, sizeof prefix, "p%u", i);
    put_many(l, l->a, prefix, 60);
    prefix[0] = 'q';
    put_many(l, l->b, prefix, 40);
    sync_with(l, i % 2, pieces[i]);
    assert_same(l);
    for (unsigned end = 0; end < 2; end++) {
      assert_int_equal(stats_of(l, end).sent_bytes, stats_of(l, 1 - end).received_bytes);
    }
  }
}

/* --- Who may what --- */

static bool nobody_reads(void *ctx, const char *share) {
  (void)ctx;
  (void)share;
  return false;
}

static void check_refused(lab *l, const char *share, char sentence[192]) {
  sim_pair_free(&l->pair);
  sim_pair_init(&l->pair, l->a, l->b);
  l->pair.end[1].may_read = nobody_reads;
  sim_pair_begin(&l->pair, share);
  sim_pair_run(&l->pair, 1000);
  assert_int_equal(km_sync_get_state(l->pair.end[0].sync), KM_SYNC_FAILED);
  assert_int_equal(km_sync_get_state(l->pair.end[1].sync), KM_SYNC_FAILED);
  assert_int_equal(l->pair.end[0].err.code, KM_ERR_PERMISSION);
  assert_int_equal(l->pair.end[1].err.code, KM_ERR_PERMISSION);
  memcpy(sentence, l->pair.end[0].err.text, sizeof l->pair.end[0].err.text);
}

/* Whether there is such a share is not told: not by the words, not by the number of bytes. */
static void test_a_share_that_may_not_be_read(void **state) {
  lab *l = *state;
  char sentences[2][192];
  put_many(l, l->b, "b", 100);
  check_refused(l, "docs", sentences[0]);
  uint64_t bytes = stats_of(l, 1).sent_bytes;
  check_refused(l, "none", sentences[1]);
  assert_string_equal(sentences[0], sentences[1]);
  assert_int_equal(stats_of(l, 1).sent_bytes, bytes);
  assert_null(strstr(sentences[0], "docs"));
}

static void test_who_begins_must_let_it_be_read(void **state) {
  lab *l = *state;
  km_sync *s;
  km_sync_config config = {.env = &km_env_system,
                           .store = l->a,
                           .peer = l->f->ids[1],
                           .initiator = true,
                           .share = "docs",
                           .may_read = nobody_reads};
  assert_int_equal(km_sync_new(&s, &config), KM_ERR_PERMISSION);
  config.share = "../docs";
  assert_int_equal(km_sync_new(&s, &config), KM_ERR_INVALID);
  config.share = NULL;
  assert_int_equal(km_sync_new(&s, &config), KM_ERR_INVALID);
  km_sync_free(NULL);
}

static bool only_id(void *ctx, const char *share, const km_id *author) {
  assert_string_equal(share, "docs");
  return km_id_equal(author, ctx);
}

static void collect_after_days(lab *l, km_store *store, int64_t expected) {
  kv_pass_ms(l->f, 3 * KV_DAY_MS);
  int64_t collected = km_kv_collect(store, &l->f->err);
  if (collected < 0) {
    fail_msg("%s", l->f->err.text);
  }
  assert_int_equal(collected, expected);
}

/* Refused entries are counted, and who sent them learns that not all was taken: its deletions are
 * not forgotten. */
static void test_authors_that_may_not_write(void **state) {
  lab *l = *state;
  put(l, l->a, "by a", "value");
  put(l, l->a, "gone", "value");
  KV_OK(l->f, km_kv_delete(l->a, "docs", "gone", &l->f->err));
  put(l, l->b, "by b", "value");
  KV_OK(l->f, km_kv_set_readers(l->a, "docs", &l->f->ids[1], 1, &l->f->err));
  l->pair.end[1].may_write = only_id;
  l->pair.end[1].ctx = &l->f->ids[1];
  sim_pair_begin(&l->pair, "docs");
  sim_pair_run(&l->pair, 1000);
  assert_true(sim_pair_done(&l->pair));
  assert_int_equal(stats_of(l, 1).entries_forbidden, 2);
  assert_int_equal(stats_of(l, 1).entries_new, 0);
  assert_int_equal(stats_of(l, 0).entries_new, 1);
  collect_after_days(l, l->a, 0);
  sync_with(l, 0, 1000);
  assert_same(l);
  collect_after_days(l, l->a, 1);
}

/* A session of a, who begins, and b, who lets only itself write. */
static void sync_refusing(lab *l, km_refused *refused) {
  sim_pair_free(&l->pair);
  sim_pair_init(&l->pair, l->a, l->b);
  l->pair.end[1].may_write = only_id;
  l->pair.end[1].ctx = &l->f->ids[1];
  l->pair.end[1].refused = refused;
  sim_pair_begin(&l->pair, "docs");
  sim_pair_run(&l->pair, 1000);
  if (!sim_pair_done(&l->pair)) {
    fail_msg("%s / %s", l->pair.end[0].err.text, l->pair.end[1].err.text);
  }
}

static void test_what_was_refused_does_not_come_again(void **state) {
  lab *l = *state;
  km_refused *refused;
  assert_int_equal(km_refused_new(&refused, &km_env_system), 0);
  put_many(l, l->a, "a", 300);
  put(l, l->a, "gone", "value");
  KV_OK(l->f, km_kv_delete(l->a, "docs", "gone", &l->f->err));
  put_many(l, l->b, "b", 50);
  KV_OK(l->f, km_kv_set_readers(l->a, "docs", &l->f->ids[1], 1, &l->f->err));
  sync_refusing(l, refused);
  assert_int_equal(stats_of(l, 1).entries_forbidden, 301);
  assert_int_equal(stats_of(l, 0).entries_new, 50);
  uint64_t bytes = stats_of(l, 0).sent_bytes;
  for (unsigned i = 0; i < 3; i++) {
    sync_refusing(l, refused);
    assert_int_equal(stats_of(l, 0).entries_sent, 0);
    assert_int_equal(stats_of(l, 1).entries_sent, 0);
    assert_int_equal(stats_of(l, 1).entries_forbidden, 0);
    assert_true(stats_of(l, 0).sent_bytes < bytes / 50);
  }
  uint64_t rounds = stats_of(l, 1).rounds;
  collect_after_days(l, l->a, 0); /* it still was not taken */
  /* One that was replaced comes once, and the old one is not missed. */
  put(l, l->a, "a/000007", "another value");
  put(l, l->b, "news", "value");
  sync_refusing(l, refused);
  assert_int_equal(stats_of(l, 1).entries_forbidden, 1);
  assert_int_equal(stats_of(l, 0).entries_new, 1);
  sync_refusing(l, refused);
  assert_int_equal(stats_of(l, 0).entries_sent, 0);
  sync_refusing(l, refused);
  assert_int_equal(stats_of(l, 1).rounds, rounds); /* nothing differs */
  const km_item *items;                            /* the old one is forgotten */
  assert_int_equal(km_refused_list(refused, "docs", only_id, &l->f->ids[1], &items), 301);
  /* And all of them when they are welcome. */
  sim_pair_free(&l->pair);
  sim_pair_init(&l->pair, l->a, l->b);
  l->pair.end[1].refused = refused;
  sim_pair_begin(&l->pair, "docs");
  sim_pair_run(&l->pair, 1000);
  assert_true(sim_pair_done(&l->pair));
  assert_int_equal(stats_of(l, 1).entries_new, 301);
  assert_same(l);
  sync_with(l, 0, 1000);
  collect_after_days(l, l->a, 1);
  km_refused_free(refused);
}

static void test_clocks_that_run_ahead(void **state) {
  lab *l = *state;
  kv_pass_ms(l->f, 600000);
  KV_OK(l->f, km_kv_put(l->a, "docs", "k", "v", 1, &l->f->err));
  kv_pass_ms(l->f, -600000);
  sync_with(l, 0, 1000);
  assert_int_equal(stats_of(l, 1).entries_future, 1);
  assert_int_equal(stats_of(l, 1).entries_new, 0);
  kv_pass_ms(l->f, 600000);
  sync_with(l, 1, 1000);
  assert_int_equal(stats_of(l, 0).entries_new, 1);
  assert_same(l);
}

/* --- Batches of others --- */

static void test_open_batches(void **state) {
  lab *l = *state;
  km_kv_entry e;
  put_many(l, l->a, "a", 10);
  KV_OK(l->f, km_kv_begin(l->b, &l->f->err));
  KV_OK(l->f, km_kv_put(l->b, "docs", "undone", "v", 1, &l->f->err));
  sim_pair_begin(&l->pair, "docs");
  for (unsigned i = 0; i < 100; i++) {
    for (unsigned end = 0; end < 2; end++) {
      (void)sim_pair_work(&l->pair, end);
      (void)sim_pair_send(&l->pair, end, 1000);
      (void)sim_pair_deliver(&l->pair, end, 1000);
    }
  }
  assert_int_equal(stats_of(l, 1).rounds, 0); /* it waits, and says that it has work to do */
  assert_true(sim_pair_work(&l->pair, 1));
  km_kv_rollback(l->b);
  sim_pair_run(&l->pair, 1000);
  assert_true(sim_pair_done(&l->pair));
  assert_int_equal(km_kv_get(l->a, "docs", "undone", &e, NULL), KM_ERR_NOT_FOUND);
  assert_same(l);
}

/* --- Memory --- */

typedef struct meter {
  km_env env;
  size_t now, peak;
  long left; /* requests that succeed; -1: all */
} meter;

typedef struct block {
  size_t size;
  size_t padding;
} block;

static void *meter_realloc(void *ctx, void *ptr, size_t size) {
  meter *m = ctx;
  block *old = ptr != NULL ? (block *)ptr - 1 : NULL;
  if (m->left == 0) {
    return NULL;
  }
  m->left -= m->left > 0;
  size_t had = old != NULL ? old->size : 0;
  block *b = realloc(old, sizeof *b + size);
  assert_non_null(b);
  b->size = size;
  m->now += size - had;
  m->peak = m->now > m->peak ? m->now : m->peak;
  return b + 1;
}

static void *meter_alloc(void *ctx, size_t size) {
  return meter_realloc(ctx, NULL, size);
}

static void meter_free(void *ctx, void *ptr) {
  meter *m = ctx;
  if (ptr != NULL) {
    m->now -= ((block *)ptr - 1)->size;
    free((block *)ptr - 1);
  }
}

static meter meter_new(void) {
  return (meter){.env = {.alloc = meter_alloc,
                         .realloc = meter_realloc,
                         .free = meter_free,
                         .random = km_env_system.random},
                 .left = -1};
}

static km_sync_config config_of(const lab *l, unsigned end, const km_env *env) {
  const sim_end *e = &l->pair.end[end];
  return (km_sync_config){.env = env,
                          .store = e->store,
                          .peer = *km_store_id(l->pair.end[1 - end].store),
                          .initiator = end == 0,
                          .share = end == 0 ? "docs" : NULL,
                          .may_read = e->may_read,
                          .may_write = e->may_write,
                          .ctx = e->ctx};
}

/* 40 MB to send: neither who sends nor who gets it all at once keeps more than a few frames. */
static void test_memory_stays_small(void **state) {
  lab *l = *state;
  meter meters[2] = {meter_new(), meter_new()};
  uint8_t *value = calloc(65536, 1);
  assert_non_null(value);
  KV_OK(l->f, km_kv_begin(l->a, &l->f->err));
  for (unsigned i = 0; i < 640; i++) {
    char key[16];
    (void)snprintf(key, sizeof key, "%u", i);
    KV_OK(l->f, km_kv_put(l->a, "docs", key, value, 65536, &l->f->err));
  }
  KV_OK(l->f, km_kv_commit(l->a, &l->f->err));
  free(value);
  km_sync_config config[2];
  for (unsigned i = 0; i < 2; i++) {
    meters[i].env.ctx = &meters[i];
    config[i] = config_of(l, i, &meters[i].env);
  }
  sim_pair_begin_with(&l->pair, &config[0], &config[1]);
  while (!l->pair.end[0].out.fin && stats_of(l, 0).entries_sent < 640) {
    (void)sim_pair_work(&l->pair, 0);
    while (sim_pair_send(&l->pair, 0, SIZE_MAX)) {
      (void)sim_pair_deliver(&l->pair, 0, SIZE_MAX); /* whether or not the other side works */
    }
    if (stats_of(l, 0).entries_sent == 0) {
      (void)sim_pair_work(&l->pair, 1);
    }
    while (sim_pair_send(&l->pair, 1, SIZE_MAX)) {
      (void)sim_pair_deliver(&l->pair, 1, SIZE_MAX);
    }
  }
  sim_pair_run(&l->pair, SIZE_MAX);
  assert_true(sim_pair_done(&l->pair));
  assert_same(l);
  assert_true(l->pair.end[0].longest_out < 330000);
  assert_true(meters[0].peak < 1500000);
  assert_true(meters[1].peak < 5000000);
  sim_pair_free(&l->pair);
  assert_int_equal(meters[0].now + meters[1].now, 0);
}

/* Whichever request for memory fails: that end says so, the other one learns of it or goes on. */
static void test_no_memory(void **state) {
  lab *l = *state;
  put_many(l, l->a, "a", 30);
  put_many(l, l->b, "b", 30);
  for (unsigned end = 0; end < 2; end++) {
    bool done = false;
    for (long left = 1; !done; left++) {
      meter m = meter_new();
      m.env.ctx = &m;
      sim_pair_free(&l->pair);
      sim_pair_init(&l->pair, l->a, l->b);
      km_sync_config config[2] = {config_of(l, 0, end == 0 ? &m.env : &km_env_system),
                                  config_of(l, 1, end == 1 ? &m.env : &km_env_system)};
      m.left = left;
      sim_pair_begin_with(&l->pair, &config[0], &config[1]);
      sim_pair_run(&l->pair, 10000);
      km_errinfo err = {0};
      int code = km_sync_error(l->pair.end[end].sync, &err);
      assert_true(code == 0 || code == KM_ERR_NOMEM);
      assert_int_equal(code, err.code);
      done = sim_pair_done(&l->pair);
      assert_int_equal(done, code == 0);
      sim_pair_free(&l->pair);
      assert_int_equal(m.now, 0);
    }
  }
  assert_same(l);
}

/* One that takes no more messages than the other one sends is never at fault. */
static void test_sets_for_many_sessions(void **state) {
  lab *l = *state;
  unsigned sessions = 0;
  for (unsigned i = 0; i < 1000; i++) {
    char prefix[16];
    (void)snprintf(prefix, sizeof prefix, "%u", i);
    put_many(l, i % 2 == 0 ? l->a : l->b, prefix, 3);
  }
  for (uint64_t moved = 1; moved > 0; sessions++) {
    sim_pair_free(&l->pair);
    sim_pair_init(&l->pair, l->a, l->b);
    km_sync_config config[2];
    for (unsigned i = 0; i < 2; i++) {
      config[i] = config_of(l, i, &km_env_system);
      config[i].max_message = KM_RECONCILE_MESSAGE_MIN;
      config[i].max_rounds = 7;
      config[i].max_needs = 500;
    }
    sim_pair_begin_with(&l->pair, &config[0], &config[1]);
    sim_pair_run(&l->pair, 100000);
    assert_true(sim_pair_done(&l->pair));
    moved = stats_of(l, 0).entries_new + stats_of(l, 1).entries_new;
  }
  assert_true(sessions > 3);
  assert_same(l);
}

/* Also when the session goes no further. */
static void test_items_are_counted_as_they_are_read(void **state) {
  lab *l = *state;
  put_many(l, l->a, "a", 4100);
  sim_pair_begin(&l->pair, "docs");
  assert_int_equal(stats_of(l, 0).items_read, 0);
  assert_true(sim_pair_work(&l->pair, 0));
  assert_int_equal(stats_of(l, 0).items_read, 4096);
  assert_true(sim_pair_work(&l->pair, 0));
  assert_int_equal(stats_of(l, 0).items_read, 4100);
}

static void test_too_many_items(void **state) {
  lab *l = *state;
  put_many(l, l->b, "b", 100);
  km_sync_config config[2] = {config_of(l, 0, &km_env_system), config_of(l, 1, &km_env_system)};
  config[1].max_items = 99;
  sim_pair_begin_with(&l->pair, &config[0], &config[1]);
  sim_pair_run(&l->pair, 1000);
  assert_int_equal(l->pair.end[0].err.code, KM_ERR_LIMIT);
  assert_int_equal(l->pair.end[1].err.code, KM_ERR_LIMIT);
  assert_non_null(strstr(l->pair.end[0].err.text, "99"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_empty_stores, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_either_side_may_have_all, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_both_sides_have_new_ones, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_deletions_spread, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_values_of_all_sizes, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_other_shares_are_left_alone, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_updates_of_one_side, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_updates_of_both_sides, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_updates_with_a_push, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_waiting_ends, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_replaced_meanwhile, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_any_pieces, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_a_share_that_may_not_be_read, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_who_begins_must_let_it_be_read, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_authors_that_may_not_write, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_what_was_refused_does_not_come_again, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_clocks_that_run_ahead, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_open_batches, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_memory_stays_small, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_no_memory, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_sets_for_many_sessions, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_items_are_counted_as_they_are_read, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_too_many_items, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
