/* The inside of a km_loop. Included by base/io/ and its tests only. */
#ifndef KM_BASE_IO_LOOP_IMPL_H
#define KM_BASE_IO_LOOP_IMPL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "base/io/loop_io.h"

struct km_loop {
  const km_env *env;
  uv_loop_t *uv; /* &own, or the application's */
  uv_loop_t own;
  uv_prepare_t prepare; /* referenced while something is open, so that the loop goes on */
  uv_check_t check;
  uv_idle_t idle;   /* active while a deferred call is armed: libuv does not sleep then */
  uv_timer_t limit; /* of km_loop_run_once */
  uv_async_t wake;
  int handles_left; /* of these five, while they close */

  _Atomic(uv_thread_t) thread; /* that ran the loop last */
  km_ts now;                   /* never goes back */
  bool now_valid;              /* `now` is the time of the present turn */
  int in_callback;
  bool running; /* inside km_loop_run and its kin */
  bool stopped;
  bool once;    /* inside km_loop_run_once ... */
  bool handled; /* ... which has had its event and must not wait for another */
  bool changed; /* a watch was changed that libuv has not told the kernel yet */
  size_t open;  /* polls, deadlines, deferred calls and timers */

  km_defer *armed;      /* deferred calls for the end of the turn */
  km_defer *due;        /* those of them being run now */
  km_deadline *unarmed; /* deadlines that the kernel was not told of yet */

  uv_mutex_t lock; /* of the members below */
  bool closing;
  struct km_posted *posted_first, *posted_last;
};

/* With memory from `env`, whose functions other threads must be able to call (km_loop_post). */
KM_NODISCARD int km_loop_new_in(km_loop **ret, const km_env *env);
KM_NODISCARD int km_loop_from_uv_in(km_loop **ret, const km_env *env, uv_loop_t *uv);

/* Around every call of ours that libuv makes: thread and time of the turn. */
void km_loop_enter(km_loop *loop);
void km_loop_leave(km_loop *loop);
/* The turn's time is over: the loop may have slept before the next call. */
void km_loop_end_turn(km_loop *loop);

/* Keeps the loop from sleeping until it may again, which it may not while a call is armed or a
 * deadline is unarmed. */
void km_loop_stay_awake(km_loop *loop);
void km_loop_may_sleep(km_loop *loop);

/* Counts what is open. */
void km_loop_opened(km_loop *loop);
void km_loop_shut(km_loop *loop);

/* Runs the deferred calls that are armed now (base/io/defer_io.c). */
void km_loop_run_deferred(km_loop *loop);

/* Deadlines (base/io/deadline_io.c). Tells the kernel of all, for a loop that may sleep now. */
void km_loop_arm_deadlines(km_loop *loop);
/* The same where the loop is about to sleep, and not where something is due or ready. */
void km_loop_prepare_deadlines(km_loop *loop);
/* Calls those that are due without the kernel having been told. */
void km_loop_run_deadlines(km_loop *loop);

/* Calls from other threads (base/io/post_io.c). */
bool km_loop_has_posts(km_loop *loop);
void km_loop_run_posts(km_loop *loop);
void km_loop_on_wake(uv_async_t *wake);

#endif /* KM_BASE_IO_LOOP_IMPL_H */
