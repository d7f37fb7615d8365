/* What the unit tests of base/ share: cmocka's includes, and an environment whose memory is counted
 * and can be made to fail at the n-th request. */
#ifndef KM_TEST_BASE_TEST_ENV_H
#define KM_TEST_BASE_TEST_ENV_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/env.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

typedef struct test_env {
  km_env env;
  long live;       /* allocations not freed yet */
  long fail_after; /* this many requests succeed, all later ones fail; -1: none fails */
  uint8_t random;  /* the next byte of "randomness", counting up */
} test_env;

static inline bool test_env_may(test_env *t) {
  if (t->fail_after > 0) {
    t->fail_after--;
    return true;
  }
  return t->fail_after < 0;
}

static inline void *test_env_alloc(void *ctx, size_t size) {
  test_env *t = ctx;
  assert_true(size > 0);
  if (!test_env_may(t)) {
    return NULL;
  }
  void *ptr = malloc(size);
  assert_non_null(ptr);
  memset(ptr, 0xa5, size);
  t->live++;
  return ptr;
}

static inline void *test_env_realloc(void *ctx, void *ptr, size_t size) {
  test_env *t = ctx;
  assert_true(size > 0);
  if (!test_env_may(t)) {
    return NULL;
  }
  t->live += ptr == NULL;
  void *grown = realloc(ptr, size);
  assert_non_null(grown);
  return grown;
}

static inline void test_env_free(void *ctx, void *ptr) {
  test_env *t = ctx;
  t->live -= ptr != NULL;
  free(ptr);
}

static inline void test_env_random(void *ctx, void *buf, size_t len) {
  test_env *t = ctx;
  for (size_t i = 0; i < len; i++) {
    ((uint8_t *)buf)[i] = t->random++;
  }
}

static inline void test_env_init(test_env *t) {
  *t = (test_env){.fail_after = -1};
  t->env = (km_env){.ctx = t,
                    .alloc = test_env_alloc,
                    .realloc = test_env_realloc,
                    .free = test_env_free,
                    .random = test_env_random};
}

#endif /* KM_TEST_BASE_TEST_ENV_H */
