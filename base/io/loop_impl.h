/* The inside of a km_loop. Included by base/io/ only. */
#ifndef KM_BASE_IO_LOOP_IMPL_H
#define KM_BASE_IO_LOOP_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "base/io/loop_io.h"

struct km_loop {
  uv_loop_t *uv; /* &own, or the application's */
  uv_loop_t own;
  uv_prepare_t prepare;
  uv_check_t check;
  uv_idle_t idle;   /* active while a deferred call is armed */
  uv_timer_t limit; /* of km_loop_run_once */
  uv_async_t async;
  uv_thread_t thread; /* that ran the loop last */
  km_ts now;
  bool now_valid;
  size_t open; /* polls, deadlines, deferred calls and timers */
  int handles_left;

  struct km_defer *defers;
  struct km_defer *cursor; /* the next to run, so that a call may free any other */

  uv_mutex_t lock; /* of the members below */
  bool closing;
  struct km_posted *posted_first, *posted_last;
};

#endif /* KM_BASE_IO_LOOP_IMPL_H */
