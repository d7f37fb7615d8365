/* Keys and stores of several nodes, with a clock that tests turn. */
#ifndef KM_TEST_STORE_TRUST_LAB_H
#define KM_TEST_STORE_TRUST_LAB_H

#include <unistd.h>

#include "base/enc.h"
#include "store/store_impl.h"
#include "test/base/test_env.h"

#define START_S INT64_C(1800000000)

/* The key of seed nn nn nn ... */
static inline km_secret_key *lab_key(unsigned n) {
  uint8_t seed[KM_SECRET_KEY_BYTES];
  km_secret_key *key;
  for (size_t i = 0; i < sizeof seed; i++) {
    seed[i] = (uint8_t)(n >> (8 * (i % 4)));
  }
  assert_int_equal(km_secret_key_from_bytes(&key, seed), 0);
  return key;
}

static inline km_id lab_id(unsigned n) {
  km_secret_key *key = lab_key(n);
  km_id id;
  km_secret_key_id(key, &id);
  km_secret_key_free(key);
  return id;
}

/* The key of seed 01 02 ... 20, which the examples of the documents use. */
static inline km_secret_key *lab_example_key(void) {
  uint8_t seed[KM_SECRET_KEY_BYTES];
  km_secret_key *key;
  for (size_t i = 0; i < sizeof seed; i++) {
    seed[i] = (uint8_t)(i + 1);
  }
  assert_int_equal(km_secret_key_from_bytes(&key, seed), 0);
  return key;
}

/* The hex between the fences that stand behind a line with `mark`. The number of bytes. */
static inline size_t lab_from_document(uint8_t *ret, size_t cap, const char *path,
                                       const char *mark) {
  FILE *file = fopen(path, "r");
  char line[512];
  int fences = -1;
  size_t len = 0;
  assert_non_null(file);
  while (fences < 2 && fgets(line, sizeof line, file) != NULL) {
    line[strcspn(line, "\n")] = '\0';
    if (fences < 0) {
      fences = strstr(line, mark) != NULL ? 0 : -1;
    } else if (strcmp(line, "```") == 0) {
      fences++;
    } else if (fences == 1) {
      size_t n = strlen(line) / 2;
      assert_true(len + n <= cap && km_hex_decode(ret + len, n, line, 2 * n));
      len += n;
    }
  }
  assert_int_equal(fclose(file), 0);
  assert_int_equal(fences, 2);
  return len;
}

typedef struct lab {
  km_store *store;
  test_env env;
  km_wall now;
  char dir[64], path[96];
  unsigned owner;
} lab;

static inline km_wall lab_wall(void *ctx) {
  return ((lab *)ctx)->now;
}

static inline void lab_open(lab *l) {
  km_store_options options;
  km_errinfo err = {0};
  km_store_options_default(&options);
  km_secret_key *key = lab_key(l->owner);
  options.secret_key = key;
  options.path = l->path;
  options.durability = KM_DURABLE_PROCESS;
  if (km_store_open_with(&l->store, &options, &l->env.env, lab_wall, l, &err) != 0) {
    fail_msg("%s", err.text);
  }
  km_secret_key_free(key);
}

/* As after a restart. */
static inline void lab_reopen(lab *l) {
  km_store_close(l->store);
  assert_int_equal(l->env.live, 0);
  lab_open(l);
}

static inline void lab_pass(lab *l, int64_t seconds) {
  l->now.unix_ns += seconds * (int64_t)KM_NS_PER_S;
}

static inline int64_t lab_now(const lab *l) {
  return l->now.unix_ns / (int64_t)KM_NS_PER_S;
}

static inline int lab_set_up(void **state) {
  lab *l = calloc(1, sizeof *l);
  assert_non_null(l);
  test_env_init(&l->env);
  l->env.env.random = km_env_system.random; /* two messages alike are two */
  l->now.unix_ns = START_S * (int64_t)KM_NS_PER_S;
  l->owner = 1;
  const char *base = getenv("TMPDIR");
  (void)snprintf(l->dir, sizeof l->dir, "%s/km-lab-XXXXXX", base != NULL ? base : "/tmp");
  assert_non_null(mkdtemp(l->dir));
  (void)snprintf(l->path, sizeof l->path, "%s/store", l->dir);
  lab_open(l);
  *state = l;
  return 0;
}

static inline int lab_tear_down(void **state) {
  lab *l = *state;
  km_store_close(l->store);
  assert_int_equal(l->env.live, 0);
  static const char *const endings[] = {"", "-wal", "-shm", "-journal"};
  for (size_t i = 0; i < COUNT_OF(endings); i++) {
    char path[128];
    (void)snprintf(path, sizeof path, "%s%s", l->path, endings[i]);
    (void)unlink(path); /* not all are there */
  }
  assert_int_equal(rmdir(l->dir), 0);
  free(l);
  return 0;
}

#endif /* KM_TEST_STORE_TRUST_LAB_H */
