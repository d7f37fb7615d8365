#include <sodium.h>
#include <stdlib.h>
#include <time.h>

#include "base/env.h"

static void *system_alloc(void *ctx, size_t size) {
  (void)ctx;
  return malloc(size);
}

static void *system_realloc(void *ctx, void *ptr, size_t size) {
  (void)ctx;
  return realloc(ptr, size);
}

static void system_free(void *ctx, void *ptr) {
  (void)ctx;
  free(ptr);
}

/* libsodium aborts the program when the kernel gives no randomness: there is no safe way on. */
static void system_random(void *ctx, void *buf, size_t len) {
  (void)ctx;
  if (sodium_init() < 0) {
    abort();
  }
  randombytes_buf(buf, len);
}

const km_env km_env_system = {
    .alloc = system_alloc,
    .realloc = system_realloc,
    .free = system_free,
    .random = system_random,
};

km_ts km_clock_now(void) {
  struct timespec ts;
  /* Cannot fail: the clock is required by POSIX and the pointer is valid. */
  (void)clock_gettime(CLOCK_MONOTONIC, &ts);
  return (km_ts)ts.tv_sec * KM_NS_PER_S + (km_ts)ts.tv_nsec;
}

km_wall km_clock_wall(void) {
  struct timespec ts;
  (void)clock_gettime(CLOCK_REALTIME, &ts); /* as above */
  return (km_wall){.unix_ns = (int64_t)ts.tv_sec * (int64_t)KM_NS_PER_S + (int64_t)ts.tv_nsec};
}
