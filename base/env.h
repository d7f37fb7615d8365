/* What a core is handed instead of reaching for it: memory, randomness, a log. Time is never in
 * here: it is an argument of every step, so that no core can look at a clock. */
#ifndef KM_BASE_ENV_H
#define KM_BASE_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <keymesh/error.h>
#include <keymesh/log.h>

/* Monotonic time in nanoseconds. */
typedef uint64_t km_ts;
#define KM_TS_NEVER UINT64_MAX
#define KM_NS_PER_MS UINT64_C(1000000)
#define KM_NS_PER_S UINT64_C(1000000000)

/* Wall time; a type of its own, so that it is never compared with a km_ts. */
typedef struct km_wall {
  int64_t unix_ns;
} km_wall;

/* Where log entries go. An all-zero logger drops everything. */
typedef struct km_logger {
  km_log_fn sink;
  void *ctx;
  km_log_filter filter;
} km_logger;

typedef struct km_env {
  void *ctx;
  /* size > 0. NULL on failure. Memory is uninitialised. */
  void *(*alloc)(void *ctx, size_t size);
  void *(*realloc)(void *ctx, void *ptr, size_t size);
  void (*free)(void *ctx, void *ptr); /* takes NULL */
  /* Fills buf; never fails. */
  void (*random)(void *ctx, void *buf, size_t len);
  km_logger logger;
} km_env;

/* malloc and libsodium's generator (base/env_io.c). */
extern const km_env km_env_system;

void *km_env_alloc(const km_env *env, size_t size);
void *km_env_zalloc(const km_env *env, size_t count, size_t size); /* overflow-checked, zeroed */
char *km_env_strdup(const km_env *env, const char *text); /* NULL when there is no memory */
/* Grows an array of `size`-byte elements; overflow-checked. NULL leaves `ptr` as it was. */
void *km_env_realloc(const km_env *env, void *ptr, size_t count, size_t size);
void km_env_free(const km_env *env, void *ptr);
void km_env_random(const km_env *env, void *buf, size_t len);
uint64_t km_env_random_below(const km_env *env, uint64_t bound); /* uniform; bound > 0 */

/* The two clocks (base/env_io.c): shells call them once a loop turn, cores never. */
km_ts km_clock_now(void);
km_wall km_clock_wall(void);

/* Fills `err` (may be NULL) and returns `code`. The text is built by printf rules, cut to fit and
 * cleaned of control characters; a NULL fmt takes km_strerror(code). */
int km_fail(km_errinfo *err, int code, const char *fmt, ...) KM_PRINTF(3, 4);
/* The same with errno: maps it to a code (EADDRINUSE -> KM_ERR_ADDR_IN_USE, ...; KM_ERR_SYSTEM
 * when nothing fits better) and appends its sentence to the text. */
int km_fail_errno(km_errinfo *err, int sys_errno, const char *fmt, ...) KM_PRINTF(3, 4);
int km_error_from_errno(int sys_errno);

/* Logs through a logger; arguments are evaluated only when the level passes.
 * KM_LOG(&env->logger, KM_LOG_INFO, KM_LOGC_PATH, peer, path, "selected", "rtt_us=%u", rtt) */
#define KM_LOG(logger, level_, component_, peer_, path_, event_, ...)                              \
  do {                                                                                             \
    const km_logger *km_log_l_ = (logger);                                                         \
    if (km_log_l_->sink != NULL && km_log_l_->filter.level[component_] >= (uint8_t)(level_)) {     \
      km_log_emit(km_log_l_, (level_), (component_), (peer_), (path_), (event_), __VA_ARGS__);     \
    }                                                                                              \
  } while (0)

void km_log_emit(const km_logger *logger, km_log_level level, km_log_component component,
                 const km_id *peer, const char *path, const char *event, const char *fmt, ...)
    KM_PRINTF(7, 8);

#endif /* KM_BASE_ENV_H */
