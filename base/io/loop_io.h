/* The loop as modules see it: one turn, one "now", one precise timer, one deferred call. */
#ifndef KM_BASE_IO_LOOP_IO_H
#define KM_BASE_IO_LOOP_IO_H

#include <keymesh/loop.h>

#include "base/env.h"

/* The time of this loop turn: sampled when a turn's first callback runs, never going back. Call
 * km_loop_update after work that took long. */
km_ts km_loop_now(km_loop *loop);
void km_loop_update(km_loop *loop);

/* Watches a descriptor. Events: bits of KM_POLL_*. The watch is closed asynchronously: after
 * km_poll_free no callback runs, and the descriptor may be closed at once. */
typedef struct km_poll km_poll;
enum { KM_POLL_READ = 1, KM_POLL_WRITE = 2 };
typedef void (*km_poll_fn)(void *ctx, int events);
KM_NODISCARD int km_poll_new(km_poll **ret, km_loop *loop, int fd, km_poll_fn fn, void *ctx);
KM_NODISCARD int km_poll_set(km_poll *poll, int events); /* 0 pauses */
void km_poll_free(km_poll *poll);

/* A re-armable timer with microsecond precision where the system has one (timerfd), else rounded
 * up to milliseconds. Fires at or after the deadline, never before. */
typedef struct km_deadline km_deadline;
KM_NODISCARD int km_deadline_new(km_deadline **ret, km_loop *loop, void (*fn)(void *ctx),
                                 void *ctx);
void km_deadline_set(km_deadline *d, km_ts at); /* KM_TS_NEVER disarms; re-arming later is free */
void km_deadline_free(km_deadline *d);

/* A call at the end of this loop turn, before the loop can sleep: km_defer_run arms it (again is
 * harmless), the callback runs once. While armed, km_loop_timeout_ms is 0. */
typedef struct km_defer km_defer;
KM_NODISCARD int km_defer_new(km_defer **ret, km_loop *loop, void (*fn)(void *ctx), void *ctx);
void km_defer_run(km_defer *d);
void km_defer_free(km_defer *d);

/* True on the thread the loop belongs to (the one that ran it last, or that made it). */
bool km_loop_on_thread(const km_loop *loop);

#endif /* KM_BASE_IO_LOOP_IO_H */
