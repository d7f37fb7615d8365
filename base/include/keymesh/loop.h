/**
 * @file keymesh/loop.h
 * The event loop an endpoint lives on.
 *
 * Three ways to drive it: let KeyMesh run it (km_loop_run); poll its descriptor inside a loop of
 * your own (km_loop_fd, km_loop_timeout_ms, km_loop_run_nowait); or hand in a libuv loop
 * (keymesh/uv.h). A loop belongs to one thread: whatever uses it, callbacks included, runs there.
 * Only km_loop_post may be called from other threads.
 *
 * @code
 *   km_loop *loop;
 *   if (km_loop_new(&loop) != 0) return 1;
 *   ... make endpoints ...
 *   while (running) {
 *     struct pollfd p = {km_loop_fd(loop), POLLIN, 0};
 *     poll(&p, 1, km_loop_timeout_ms(loop));
 *     km_loop_run_nowait(loop);
 *   }
 *   km_loop_free(loop);
 * @endcode
 */
#ifndef KEYMESH_LOOP_H
#define KEYMESH_LOOP_H

#include <stdint.h>

#include <keymesh/error.h>
#include <keymesh/export.h>

KM_BEGIN_DECLS

typedef struct km_loop km_loop;

/** A new loop. Returns 0, KM_ERR_NOMEM or KM_ERR_SYSTEM. */
KM_EXPORT KM_NODISCARD int km_loop_new(km_loop **ret);

/**
 * Frees a loop. Close every endpoint on it first (their on_closed must have run).
 * @return 0, or KM_ERR_STATE when something is still open on it (nothing is freed then)
 */
KM_EXPORT int km_loop_free(km_loop *loop);

/** Runs until km_loop_stop or until nothing is open on the loop. Returns 0. */
KM_EXPORT int km_loop_run(km_loop *loop);

/** Waits for one round of events, at most `timeout_ms` (-1 = no limit), and handles it. */
KM_EXPORT int km_loop_run_once(km_loop *loop, int timeout_ms);

/** Handles what is ready now; never waits. */
KM_EXPORT int km_loop_run_nowait(km_loop *loop);

/** Makes km_loop_run return after the present round. Loop thread only. */
KM_EXPORT void km_loop_stop(km_loop *loop);

/**
 * A descriptor that is readable when the loop has something to do; poll it for POLLIN in a loop of
 * your own. -1 where the platform has none.
 */
KM_EXPORT int km_loop_fd(const km_loop *loop);

/** Milliseconds until the loop must be run even if its descriptor stays quiet; -1 = no limit. */
KM_EXPORT int km_loop_timeout_ms(const km_loop *loop);

/**
 * Calls `fn(ctx)` once on the loop thread, soon. The only function here that any thread may call.
 * Wakes run in the order in which they were posted.
 * @return 0, KM_ERR_NOMEM, or KM_ERR_CLOSED when the loop is being freed
 */
KM_EXPORT KM_NODISCARD int km_loop_post(km_loop *loop, void (*fn)(void *ctx), void *ctx);

/** A one-shot timer, for applications that have no timers of their own. */
typedef struct km_timer km_timer;

/**
 * Calls `fn(ctx)` once, `delay_ms` from now. The timer frees itself after the call.
 * @return 0 or KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int km_timer_start(km_timer **ret, km_loop *loop, uint64_t delay_ms,
                                          void (*fn)(void *ctx), void *ctx);

/** Stops and frees a timer that has not fired. NULL does nothing. Loop thread only. */
KM_EXPORT void km_timer_cancel(km_timer *timer);

KM_END_DECLS

#endif /* KEYMESH_LOOP_H */
