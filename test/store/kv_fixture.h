/* Stores in a folder of their own, with a clock that tests turn. */
#ifndef KM_TEST_STORE_KV_FIXTURE_H
#define KM_TEST_STORE_KV_FIXTURE_H

#include "store/kv_sync.h"
#include "store/store_impl.h"
#include "test/base/test_env.h"

#define KV_START_MS INT64_C(1760000000000)
#define KV_DAY_MS INT64_C(86400000)

typedef struct kv_fixture {
  char dir[64];
  char path[128];
  km_wall now;
  km_secret_key *keys[4]; /* the store has the first */
  km_id ids[4];
  km_store *store;
  km_errinfo err;
} kv_fixture;

static inline km_wall kv_wall(void *ctx) {
  return ((const kv_fixture *)ctx)->now;
}

static inline void kv_set_ms(kv_fixture *f, int64_t ms) {
  f->now.unix_ns = ms * (int64_t)KM_NS_PER_MS;
}

static inline void kv_pass_ms(kv_fixture *f, int64_t ms) {
  f->now.unix_ns += ms * (int64_t)KM_NS_PER_MS;
}

/* The store of the key with this number, at `path` or in memory. */
static inline int kv_open_store(kv_fixture *f, size_t key, const char *path, km_store **ret) {
  km_store_options o;
  km_store_options_default(&o);
  o.path = path;
  o.secret_key = f->keys[key];
  o.durability = KM_DURABLE_PROCESS; /* tests do not cut the power */
  return km_store_open_with(ret, &o, &km_env_system, kv_wall, f, &f->err);
}

static inline void kv_must_open(kv_fixture *f) {
  if (kv_open_store(f, 0, f->path, &f->store) != 0) {
    fail_msg("%s", f->err.text);
  }
}

static inline void kv_reopen(kv_fixture *f) {
  km_store_close(f->store);
  f->store = NULL;
  kv_must_open(f);
}

static inline int kv_set_up(void **state) {
  kv_fixture *f = calloc(1, sizeof *f);
  assert_non_null(f);
  const char *base = getenv("TMPDIR");
  (void)snprintf(f->dir, sizeof f->dir, "%s/km-kv-XXXXXX", base != NULL ? base : "/tmp");
  assert_non_null(mkdtemp(f->dir));
  (void)snprintf(f->path, sizeof f->path, "%s/store.db", f->dir);
  for (size_t i = 0; i < COUNT_OF(f->keys); i++) {
    uint8_t seed[KM_SECRET_KEY_BYTES] = {(uint8_t)(i + 1)};
    assert_int_equal(km_secret_key_from_bytes(&f->keys[i], seed), 0);
    km_secret_key_id(f->keys[i], &f->ids[i]);
  }
  kv_set_ms(f, KV_START_MS);
  *state = f;
  return 0;
}

static inline int kv_set_up_open(void **state) {
  int rv = kv_set_up(state);
  kv_must_open(*state);
  return rv;
}

static inline int kv_tear_down(void **state) {
  kv_fixture *f = *state;
  char command[128];
  km_store_close(f->store);
  for (size_t i = 0; i < COUNT_OF(f->keys); i++) {
    km_secret_key_free(f->keys[i]);
  }
  (void)snprintf(command, sizeof command, "rm -rf '%s'", f->dir);
  assert_int_equal(system(command), 0);
  free(f);
  return 0;
}

#define KV_OK(f, call)                                                                             \
  do {                                                                                             \
    if ((call) != 0) {                                                                             \
      fail_msg("%s", (f)->err.text);                                                               \
    }                                                                                              \
  } while (0)

static inline void kv_put(kv_fixture *f, const char *share, const char *key, const char *value) {
  KV_OK(f, km_kv_put(f->store, share, key, value, strlen(value), &f->err));
}

static inline void kv_delete(kv_fixture *f, const char *share, const char *key) {
  KV_OK(f, km_kv_delete(f->store, share, key, &f->err));
}

/* `value` NULL: there is none. */
static inline void kv_expect(kv_fixture *f, const char *share, const char *key, const char *value) {
  km_kv_entry e;
  int rv = km_kv_get(f->store, share, key, &e, &f->err);
  if (value == NULL) {
    assert_int_equal(rv, KM_ERR_NOT_FOUND);
    return;
  }
  if (rv != 0) {
    fail_msg("%s: %s", key, f->err.text);
  }
  assert_string_equal(e.share, share);
  assert_string_equal(e.key, key);
  assert_int_equal(e.value_len, strlen(value));
  assert_memory_equal(e.value, value, strlen(value));
}

/* An entry of the key with this number; valid until the next one. */
static inline const km_entry *kv_signed(const kv_fixture *f, size_t author, const char *share,
                                        const char *key, const char *value, uint64_t clock) {
  static km_entry e;
  static uint8_t sig[KM_SIGNATURE_BYTES];
  e = (km_entry){.share = share,
                 .share_len = (uint32_t)strlen(share),
                 .key = key,
                 .key_len = (uint32_t)strlen(key),
                 .value = (const uint8_t *)value,
                 .value_len = value != NULL ? (uint32_t)strlen(value) : 0,
                 .clock = clock,
                 .author = f->ids[author],
                 .flags = value != NULL ? 0 : KM_ENTRY_DELETED};
  km_entry_sign(&e, f->keys[author], sig);
  e.sig = sig;
  return &e;
}

static inline uint64_t kv_clock(const kv_fixture *f, int64_t ms_from_now) {
  km_wall wall = {.unix_ns = f->now.unix_ns + ms_from_now * (int64_t)KM_NS_PER_MS};
  return km_hlc_from_wall(wall);
}

static inline uint64_t kv_unchecked(const km_store *store) {
  km_kv_stats stats;
  km_kv_get_stats(store, &stats);
  return stats.unchecked;
}

#define KV_TEST(f) cmocka_unit_test_setup_teardown(f, kv_set_up_open, kv_tear_down)

#endif /* KM_TEST_STORE_KV_FIXTURE_H */
