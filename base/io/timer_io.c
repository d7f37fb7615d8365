/* One-shot timers for applications. */
#include "base/io/loop_impl.h"

struct km_timer {
  uv_timer_t handle;
  km_loop *loop;
  km_ts due;
  bool closing; /* it fired, or was cancelled */
  void (*fn)(void *ctx);
  void *ctx;
};

static void on_closed(uv_handle_t *handle) {
  km_timer *timer = handle->data;
  km_env_free(timer->loop->env, timer);
}

static void close_timer(km_timer *timer) {
  timer->closing = true;
  km_loop_shut(timer->loop);
  uv_close((uv_handle_t *)&timer->handle, on_closed);
}

static void on_due(uv_timer_t *handle);

/* libuv counts in whole milliseconds of a clock that may lag, so what is left is counted anew when
 * it says that the time has come. */
static void start(km_timer *timer) {
  km_ts now = km_clock_now();
  km_ts left = timer->due > now ? timer->due - now : 0;
  uv_update_time(timer->loop->uv);
  /* Fails only while closing, and for a NULL callback. */
  (void)uv_timer_start(&timer->handle, on_due, left / KM_NS_PER_MS + (left % KM_NS_PER_MS != 0), 0);
}

static void on_due(uv_timer_t *handle) {
  km_timer *timer = handle->data;
  km_loop *loop = timer->loop;
  if (timer->due > km_clock_now()) {
    start(timer);
    return;
  }
  /* The application may have slept since the last turn: no time of before is valid. */
  km_loop_end_turn(loop);
  km_loop_enter(loop);
  close_timer(timer);
  timer->fn(timer->ctx);
  km_loop_leave(loop);
  km_loop_end_turn(loop);
}

int km_timer_start(km_timer **ret, km_loop *loop, uint64_t delay_ms, void (*fn)(void *ctx),
                   void *ctx) {
  km_timer *timer = km_env_zalloc(loop->env, 1, sizeof *timer);
  if (timer == NULL) {
    return KM_ERR_NOMEM;
  }
  km_ts now = km_clock_now();
  timer->loop = loop;
  timer->due =
      delay_ms < (KM_TS_NEVER - now) / KM_NS_PER_MS ? now + delay_ms * KM_NS_PER_MS : KM_TS_NEVER;
  timer->fn = fn;
  timer->ctx = ctx;
  (void)uv_timer_init(loop->uv, &timer->handle); /* always 0 */
  timer->handle.data = timer;
  km_loop_opened(loop);
  start(timer);
  *ret = timer;
  return 0;
}

void km_timer_cancel(km_timer *timer) {
  if (timer != NULL && !timer->closing) {
    close_timer(timer);
  }
}
