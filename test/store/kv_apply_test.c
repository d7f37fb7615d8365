/* Entries of others: every verdict, what is checked when, and that their order, repetition and the
 * way they come by change nothing. */
#include "test/store/kv_fixture.h"

static int apply(kv_fixture *f, const km_entry *e, size_t from) {
  return km_kv_apply(f->store, e, &f->ids[from], &f->err);
}

/* --- verdicts --------------------------------------------------------------------------------- */

static void test_new_known_old(void **state) {
  kv_fixture *f = *state;
  uint64_t clock = kv_clock(f, 0);
  assert_int_equal(apply(f, kv_signed(f, 1, "notes", "a", "1", clock), 1), KM_KV_NEW);
  kv_expect(f, "notes", "a", "1");
  assert_int_equal(apply(f, kv_signed(f, 1, "notes", "a", "1", clock), 2), KM_KV_KNOWN);
  assert_int_equal(apply(f, kv_signed(f, 1, "notes", "a", "0", clock - 1), 1), KM_KV_OLD);
  assert_int_equal(apply(f, kv_signed(f, 1, "notes", "a", NULL, clock - 1), 1), KM_KV_OLD);
  assert_int_equal(apply(f, kv_signed(f, 2, "notes", "a", "2", clock + 1), 1), KM_KV_NEW);
  kv_expect(f, "notes", "a", "2");
  assert_int_equal(apply(f, kv_signed(f, 1, "notes", "a", NULL, clock + 2), 1), KM_KV_NEW);
  kv_expect(f, "notes", "a", NULL);
  assert_int_equal(apply(f, kv_signed(f, 1, "other", "a", "1", clock), 1), KM_KV_NEW);
  kv_expect(f, "other", "a", "1");
  km_kv_stats stats;
  km_kv_get_stats(f->store, &stats);
  assert_int_equal(stats.applied_new, 4);
  assert_int_equal(stats.applied_known, 1);
  assert_int_equal(stats.applied_old, 2);
}

/* What an entry replaces is not offered to others any more. */
static void test_replaced_item_goes(void **state) {
  kv_fixture *f = *state;
  km_item items[3];
  uint64_t clock = kv_clock(f, 0);
  assert_int_equal(apply(f, kv_signed(f, 1, "notes", "a", "1", clock), 1), KM_KV_NEW);
  assert_int_equal(apply(f, kv_signed(f, 1, "notes", "a", "2", clock + 9), 1), KM_KV_NEW);
  kv_put(f, "notes", "a", "3");
  assert_int_equal(km_kv_items(f->store, "notes", NULL, items, 3, &f->err), 1);
  km_entry e;
  KV_OK(f, km_kv_find(f->store, "notes", &items[0], &e, &f->err));
  assert_memory_equal(e.value, "3", 1);
}

static void test_equal_clocks(void **state) {
  kv_fixture *f = *state;
  uint64_t clock = kv_clock(f, 0);
  bool second_is_higher = memcmp(f->ids[2].bytes, f->ids[1].bytes, KM_ID_BYTES) > 0;
  assert_int_equal(apply(f, kv_signed(f, 1, "notes", "a", "of 1", clock), 1), KM_KV_NEW);
  assert_int_equal(apply(f, kv_signed(f, 2, "notes", "a", "of 2", clock), 2),
                   second_is_higher ? KM_KV_NEW : KM_KV_OLD);
  kv_expect(f, "notes", "a", second_is_higher ? "of 2" : "of 1");
}

static void test_future(void **state) {
  kv_fixture *f = *state;
  assert_int_equal(apply(f, kv_signed(f, 1, "notes", "a", "1", kv_clock(f, 60001)), 1),
                   KM_KV_FUTURE);
  assert_int_equal(apply(f, kv_signed(f, 1, "notes", "a", "1", UINT64_MAX), 1), KM_KV_FUTURE);
  assert_int_equal(apply(f, kv_signed(f, 1, "notes", "a", "1", UINT64_C(1) << 63), 2),
                   KM_KV_FUTURE);
  kv_expect(f, "notes", "a", NULL);
  assert_int_equal(apply(f, kv_signed(f, 1, "notes", "a", "1", kv_clock(f, 60000)), 1), KM_KV_NEW);
  kv_put(f, "notes", "a", "ours"); /* goes on from there, or it would be lost */
  kv_expect(f, "notes", "a", "ours");
  km_kv_stats stats;
  km_kv_get_stats(f->store, &stats);
  assert_int_equal(stats.refused_future, 3);
}

/* Other stores may allow more. */
static void test_too_large(void **state) {
  kv_fixture *f = *state;
  char key[258];
  static uint8_t value[65537];
  memset(key, 'k', sizeof key);
  key[257] = '\0';
  assert_int_equal(apply(f, kv_signed(f, 1, "notes", key, "x", 1), 1), KM_ERR_INVALID);
  km_entry e = *kv_signed(f, 1, "notes", "a", "x", 1);
  e.value = value;
  e.value_len = sizeof value;
  assert_int_equal(apply(f, &e, 1), KM_ERR_INVALID);
  key[256] = '\0';
  assert_int_equal(apply(f, kv_signed(f, 1, "notes", key, "x", 1), 1), KM_KV_NEW);
}

/* --- signatures ------------------------------------------------------------------------------- */

static const km_entry *forged(const kv_fixture *f, const char *value, uint64_t clock) {
  static km_entry e;
  e = *kv_signed(f, 1, "notes", "a", "what was signed", clock);
  e.value = (const uint8_t *)value;
  e.value_len = (uint32_t)strlen(value);
  return &e;
}

static void test_forged_by_third(void **state) {
  kv_fixture *f = *state;
  uint64_t clock = kv_clock(f, 0), seq = km_kv_seq(f->store), last = f->store->clock.last;
  assert_int_equal(apply(f, forged(f, "x", clock), 2), KM_KV_FORGED);
  kv_expect(f, "notes", "a", NULL);
  assert_int_equal(km_kv_seq(f->store), seq);
  assert_int_equal(f->store->clock.last, last); /* who forges does not move our clock */
  km_entry e = *kv_signed(f, 1, "notes", "a", "x", clock);
  e.sig = NULL;
  assert_int_equal(apply(f, &e, 2), KM_KV_FORGED);
  /* A good one of another share is none of this. */
  e = *kv_signed(f, 1, "other", "a", "x", clock);
  e.share = "notes";
  assert_int_equal(apply(f, &e, 2), KM_KV_FORGED);
  km_kv_stats stats;
  km_kv_get_stats(f->store, &stats);
  assert_int_equal(stats.refused_forged, 3);
  assert_int_equal(stats.unchecked, 0);
}

/* Who says something in another's name is not believed because the connection is his own; nor is
 * somebody who speaks in ours. */
static void test_in_our_name(void **state) {
  kv_fixture *f = *state;
  km_entry e = *kv_signed(f, 1, "notes", "a", "x", kv_clock(f, 0));
  e.author = f->ids[0];
  assert_int_equal(apply(f, &e, 1), KM_KV_FORGED);
  /* Our own from before a restore comes back. */
  assert_int_equal(apply(f, kv_signed(f, 0, "notes", "a", "x", kv_clock(f, 0)), 1), KM_KV_NEW);
  km_kv_entry got;
  KV_OK(f, km_kv_get(f->store, "notes", "a", &got, &f->err));
  assert_true(got.own);
}

/* Its author itself sent it: believed, and taken out before anybody else gets it. */
static void test_forged_by_author(void **state) {
  kv_fixture *f = *state;
  km_item item;
  km_entry e;
  for (int way = 0; way < 3; way++) {
    assert_int_equal(apply(f, forged(f, "x", kv_clock(f, way)), 1), KM_KV_NEW);
    kv_expect(f, "notes", "a", "x");
    assert_int_equal(km_kv_items(f->store, "notes", NULL, &item, 1, &f->err), 1);
    assert_int_equal(km_kv_verify(f->store, "notes", "a", &f->err), KM_ERR_CRYPTO);
    if (way == 0) {
      assert_int_equal(km_kv_check_some(f->store, 10, &f->err), 0);
    } else if (way == 1) {
      assert_int_equal(km_kv_find(f->store, "notes", &item, &e, &f->err), KM_ERR_NOT_FOUND);
    } else {
      kv_reopen(f); /* what is to do is not forgotten */
      assert_true(kv_unchecked(f->store) > 0);
      assert_int_equal(km_kv_check_some(f->store, 10, &f->err), 0);
    }
    kv_expect(f, "notes", "a", NULL);
    assert_int_equal(km_kv_items(f->store, "notes", NULL, &item, 1, &f->err), 0);
  }
}

/* What an entry replaces of another author's is not given away for a signature nobody looked at. */
static void test_forged_by_author_over_ours(void **state) {
  kv_fixture *f = *state;
  kv_put(f, "notes", "a", "precious");
  assert_int_equal(apply(f, forged(f, "x", kv_clock(f, 1000)), 1), KM_KV_FORGED);
  assert_int_equal(km_kv_check_some(f->store, 10, &f->err), 0);
  kv_expect(f, "notes", "a", "precious");
  const km_entry *e = kv_signed(f, 1, "notes", "a", "theirs", kv_clock(f, 1000));
  assert_int_equal(apply(f, e, 1), KM_KV_NEW);
  kv_expect(f, "notes", "a", "theirs");
  assert_int_equal(kv_unchecked(f->store), 0); /* it was looked at before it was taken */
}

static void test_checked_before_passed_on(void **state) {
  kv_fixture *f = *state;
  km_item item;
  km_entry e;
  assert_int_equal(apply(f, kv_signed(f, 1, "notes", "a", "x", kv_clock(f, 0)), 1), KM_KV_NEW);
  assert_int_equal(kv_unchecked(f->store), 1);
  assert_int_equal(km_kv_items(f->store, "notes", NULL, &item, 1, &f->err), 1);
  KV_OK(f, km_kv_find(f->store, "notes", &item, &e, &f->err));
  assert_int_equal(km_entry_verify(&e), 0);
  assert_int_equal(km_kv_check_some(f->store, 1, &f->err), 0);
  KV_OK(f, km_kv_find(f->store, "notes", &item, &e, &f->err));
  assert_int_equal(km_entry_verify(&e), 0);
  /* One that a third peer brought was checked when it came. */
  assert_int_equal(apply(f, kv_signed(f, 1, "notes", "b", "x", kv_clock(f, 0)), 2), KM_KV_NEW);
  assert_int_equal(kv_unchecked(f->store), 0);
}

/* Change numbers are not given twice after the entry with the highest was taken out. */
static void test_seq_after_forged(void **state) {
  kv_fixture *f = *state;
  assert_int_equal(apply(f, forged(f, "x", kv_clock(f, 0)), 1), KM_KV_NEW);
  uint64_t seq = km_kv_seq(f->store);
  assert_int_equal(km_kv_check_some(f->store, 1, &f->err), 0);
  kv_reopen(f);
  assert_int_equal(km_kv_seq(f->store), seq);
}

/* --- items ------------------------------------------------------------------------------------ */

static void test_items_in_order(void **state) {
  kv_fixture *f = *state;
  const size_t count = 100;
  for (size_t i = 0; i < count; i++) {
    char key[16];
    (void)snprintf(key, sizeof key, "k%zu", i);
    uint64_t clock = kv_clock(f, (int64_t)(i * 37 % 10)); /* ten of each */
    assert_int_equal(apply(f, kv_signed(f, 1, "notes", key, "x", clock), 1), KM_KV_NEW);
  }
  km_item all[101], slice[7];
  assert_int_equal(km_kv_items(f->store, "notes", NULL, all, 101, &f->err), count);
  for (size_t i = 1; i < count; i++) {
    assert_true(all[i - 1].clock < all[i].clock ||
                (all[i - 1].clock == all[i].clock &&
                 memcmp(all[i - 1].hash, all[i].hash, sizeof all[i].hash) < 0));
  }
  size_t at = 0;
  int64_t n;
  while ((n = km_kv_items(f->store, "notes", at > 0 ? &all[at - 1] : NULL, slice, 7, &f->err)) >
         0) {
    assert_memory_equal(slice, &all[at], (size_t)n * sizeof slice[0]);
    at += (size_t)n;
  }
  assert_int_equal(n, 0);
  assert_int_equal(at, count);
  assert_int_equal(km_kv_items(f->store, "notes", NULL, slice, 0, &f->err), 0);
  assert_int_equal(km_kv_items(f->store, "nothing", NULL, slice, 7, &f->err), 0);
  assert_int_equal(km_kv_items(f->store, "no share", NULL, slice, 7, &f->err), KM_ERR_INVALID);
}

/* --- convergence ------------------------------------------------------------------------------ */

/* All that is drawn comes from this number, so that a failure can be had again. */
typedef struct dice {
  uint64_t state;
} dice;

static uint64_t below(dice *d, uint64_t bound) {
  d->state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
  uint64_t z = d->state;
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return (z ^ z >> 31) % bound;
}

enum { ENTRIES = 24, KEYS = 3, SCHEDULES = 200 };

typedef struct drawn {
  km_entry entry;
  uint8_t sig[KM_SIGNATURE_BYTES], hash[KM_ENTRY_HASH_BYTES];
  char key[16], value[8];
  size_t author;
} drawn;

/* Few keys and few clocks, so that many are equal; also of one author. */
static void draw(const kv_fixture *f, dice *d, drawn *e, unsigned number) {
  e->author = 1 + below(d, 3);
  (void)snprintf(e->key, sizeof e->key, "k%u", (unsigned)below(d, KEYS));
  (void)snprintf(e->value, sizeof e->value, "v%u", number);
  bool deleted = below(d, 4) == 0;
  e->entry = *kv_signed(f, e->author, "notes", e->key, deleted ? NULL : e->value,
                        kv_clock(f, 0) + below(d, 4));
  memcpy(e->sig, e->entry.sig, sizeof e->sig);
  e->entry.sig = e->sig;
  km_entry_hash(&e->entry, e->hash);
}

/* Who has to win, by the definition. */
static const drawn *winner_of(const drawn *all, const char *key) {
  const drawn *best = NULL;
  for (size_t i = 0; i < ENTRIES; i++) {
    const drawn *e = &all[i];
    if (strcmp(e->key, key) == 0 &&
        (best == NULL ||
         km_entry_compare(e->entry.clock, &e->entry.author, e->hash, best->entry.clock,
                          &best->entry.author, best->hash) > 0)) {
      best = e;
    }
  }
  return best;
}

/* Every entry at least once, in any order, some of them often, by any peer. */
static void deliver(kv_fixture *f, dice *d, const drawn *all, km_store *s) {
  size_t order[ENTRIES * 2];
  for (size_t i = 0; i < COUNT_OF(order); i++) {
    order[i] = i < ENTRIES ? i : below(d, ENTRIES);
  }
  for (size_t i = COUNT_OF(order) - 1; i > 0; i--) {
    size_t j = below(d, i + 1), t = order[i];
    order[i] = order[j];
    order[j] = t;
  }
  bool batch = false;
  for (size_t i = 0; i < COUNT_OF(order); i++) {
    if (below(d, 6) == 0) {
      KV_OK(f, batch ? km_kv_commit(s, &f->err) : km_kv_begin(s, &f->err));
      batch = !batch;
    }
    const drawn *e = &all[order[i]];
    size_t from = below(d, 2) == 0 ? e->author : 1 + below(d, 3);
    int rv = km_kv_apply(s, &e->entry, &f->ids[from], &f->err);
    assert_in_range(rv, KM_KV_NEW, KM_KV_OLD);
    if (below(d, 8) == 0) {
      assert_true(km_kv_check_some(s, 1 + below(d, 4), &f->err) >= 0);
    }
  }
  if (batch) {
    KV_OK(f, km_kv_commit(s, &f->err));
  }
}

static void expect_winners(kv_fixture *f, const drawn *all, km_store *s) {
  km_item items[KEYS + 1];
  size_t have = 0;
  for (unsigned k = 0; k < KEYS; k++) {
    char key[16];
    (void)snprintf(key, sizeof key, "k%u", k);
    const drawn *want = winner_of(all, key);
    have += want != NULL;
    if (want == NULL) {
      continue;
    }
    km_item item = {.clock = want->entry.clock};
    memcpy(item.hash, want->hash, sizeof item.hash);
    km_entry e;
    KV_OK(f, km_kv_find(s, "notes", &item, &e, &f->err));
    assert_int_equal(km_entry_verify(&e), 0);
    assert_int_equal(e.value_len, want->entry.value_len);
  }
  assert_int_equal(km_kv_items(s, "notes", NULL, items, COUNT_OF(items), &f->err), have);
}

static void test_any_order(void **state) {
  kv_fixture *f = *state;
  dice d = {.state = 6};
  for (int schedule = 0; schedule < SCHEDULES; schedule++) {
    drawn all[ENTRIES];
    uint8_t first[KM_KV_HASH_BYTES], second[KM_KV_HASH_BYTES];
    km_store *a, *b;
    for (unsigned i = 0; i < ENTRIES; i++) {
      draw(f, &d, &all[i], i);
    }
    KV_OK(f, kv_open_store(f, 0, NULL, &a));
    KV_OK(f, kv_open_store(f, 0, NULL, &b));
    deliver(f, &d, all, a);
    deliver(f, &d, all, b);
    expect_winners(f, all, a);
    KV_OK(f, km_kv_hash(a, "notes", first, &f->err));
    KV_OK(f, km_kv_hash(b, "notes", second, &f->err));
    assert_memory_equal(first, second, sizeof first);
    deliver(f, &d, all, a); /* again changes nothing */
    KV_OK(f, km_kv_hash(a, "notes", second, &f->err));
    assert_memory_equal(first, second, sizeof first);
    if (schedule % 50 == 0) {
      KV_OK(f, km_store_check(a, &f->err));
    }
    km_store_close(a);
    km_store_close(b);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      KV_TEST(test_new_known_old),
      KV_TEST(test_replaced_item_goes),
      KV_TEST(test_equal_clocks),
      KV_TEST(test_future),
      KV_TEST(test_too_large),
      KV_TEST(test_forged_by_third),
      KV_TEST(test_in_our_name),
      KV_TEST(test_forged_by_author),
      KV_TEST(test_forged_by_author_over_ours),
      KV_TEST(test_checked_before_passed_on),
      KV_TEST(test_seq_after_forged),
      KV_TEST(test_items_in_order),
      KV_TEST(test_any_order),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
