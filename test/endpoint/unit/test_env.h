/* What every unit test of endpoint/ shares: an environment whose memory is counted and can be made
 * to fail, and whose randomness is a fixed sequence; random choices for model checks. */
#ifndef KM_TEST_ENDPOINT_UNIT_TEST_ENV_H
#define KM_TEST_ENDPOINT_UNIT_TEST_ENV_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/env.h"

/* SplitMix64: small, seedable, good enough to choose test cases. */
typedef struct test_rng {
  uint64_t state;
} test_rng;

static inline uint64_t test_rng_next(test_rng *rng) {
  uint64_t z = (rng->state += UINT64_C(0x9e3779b97f4a7c15));
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

static inline size_t test_rng_below(test_rng *rng, size_t bound) {
  return (size_t)(test_rng_next(rng) % bound);
}

typedef struct test_env {
  km_env env;
  test_rng rng;
  long live;       /* allocations not freed yet */
  long fail_after; /* this many allocations succeed, later ones fail; -1: none fails */
} test_env;

static inline bool test_env_may_alloc(test_env *t) {
  if (t->fail_after == 0) {
    return false;
  }
  if (t->fail_after > 0) {
    t->fail_after--;
  }
  return true;
}

static inline void *test_env_alloc(void *ctx, size_t size) {
  test_env *t = ctx;
  assert_true(size > 0);
  if (!test_env_may_alloc(t)) {
    return NULL;
  }
  void *p = malloc(size);
  assert_non_null(p);
  memset(p, 0xa5, size); /* uninitialised, visibly */
  t->live++;
  return p;
}

static inline void *test_env_realloc(void *ctx, void *ptr, size_t size) {
  test_env *t = ctx;
  assert_true(size > 0);
  if (!test_env_may_alloc(t)) {
    return NULL;
  }
  void *p = realloc(ptr, size);
  assert_non_null(p);
  t->live += ptr == NULL;
  return p;
}

static inline void test_env_free(void *ctx, void *ptr) {
  test_env *t = ctx;
  if (ptr != NULL) {
    t->live--;
  }
  free(ptr);
}

static inline void test_env_random(void *ctx, void *buf, size_t len) {
  test_env *t = ctx;
  uint8_t *bytes = buf;
  for (size_t i = 0; i < len; i++) {
    bytes[i] = (uint8_t)test_rng_next(&t->rng);
  }
}

static inline void test_env_init(test_env *t, uint64_t seed) {
  memset(t, 0, sizeof *t);
  t->env.ctx = t;
  t->env.alloc = test_env_alloc;
  t->env.realloc = test_env_realloc;
  t->env.free = test_env_free;
  t->env.random = test_env_random;
  t->rng.state = seed;
  t->fail_after = -1;
}

#endif /* KM_TEST_ENDPOINT_UNIT_TEST_ENV_H */
