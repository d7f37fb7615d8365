#include "base/env.h"

#include <string.h>

void *km_env_alloc(const km_env *env, size_t size) {
  return env->alloc(env->ctx, size > 0 ? size : 1);
}

void *km_env_zalloc(const km_env *env, size_t count, size_t size) {
  if (size != 0 && count > SIZE_MAX / size) {
    return NULL;
  }
  void *ptr = km_env_alloc(env, count * size);
  if (ptr != NULL) {
    memset(ptr, 0, count * size);
  }
  return ptr;
}

char *km_env_strdup(const km_env *env, const char *text) {
  size_t size = strlen(text) + 1;
  char *copy = km_env_alloc(env, size);
  if (copy != NULL) {
    memcpy(copy, text, size);
  }
  return copy;
}

void *km_env_realloc(const km_env *env, void *ptr, size_t count, size_t size) {
  if (size != 0 && count > SIZE_MAX / size) {
    return NULL;
  }
  size_t bytes = count * size;
  return env->realloc(env->ctx, ptr, bytes > 0 ? bytes : 1);
}

void km_env_free(const km_env *env, void *ptr) {
  env->free(env->ctx, ptr);
}

void km_env_random(const km_env *env, void *buf, size_t len) {
  if (len > 0) {
    env->random(env->ctx, buf, len);
  }
}

uint64_t km_env_random_below(const km_env *env, uint64_t bound) {
  /* 2^64 mod bound: values below it would make the low remainders more likely. */
  uint64_t skip = (UINT64_MAX - bound + 1) % bound;
  uint64_t value;
  do {
    km_env_random(env, &value, sizeof value);
  } while (value < skip);
  return value % bound;
}
