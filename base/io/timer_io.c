/* Timers: km_timer for applications (milliseconds), km_deadline for modules (as precise as the
 * system allows). */
#include <stdlib.h>

#include "base/io/loop_impl.h"

struct km_timer {
  uv_timer_t handle;
  km_loop *loop;
  void (*fn)(void *ctx);
  void *ctx;
};

static void on_timer_closed(uv_handle_t *handle) {
  free(handle->data);
}

static void close_timer(km_timer *timer) {
  timer->loop->open--;
  uv_close((uv_handle_t *)&timer->handle, on_timer_closed);
}

static void on_timer(uv_timer_t *handle) {
  km_timer *timer = handle->data;
  void (*fn)(void *) = timer->fn;
  void *ctx = timer->ctx;
  close_timer(timer); /* first: the call may free the loop's owner, never the handle's memory */
  fn(ctx);
}

int km_timer_start(km_timer **ret, km_loop *loop, uint64_t delay_ms, void (*fn)(void *ctx),
                   void *ctx) {
  if (ret == NULL || loop == NULL || fn == NULL) {
    return KM_ERR_INVALID;
  }
  km_timer *timer = calloc(1, sizeof *timer);
  if (timer == NULL) {
    return KM_ERR_NOMEM;
  }
  timer->loop = loop;
  timer->fn = fn;
  timer->ctx = ctx;
  (void)uv_timer_init(loop->uv, &timer->handle);
  timer->handle.data = timer;
  uv_update_time(loop->uv);
  (void)uv_timer_start(&timer->handle, on_timer, delay_ms, 0);
  loop->open++;
  *ret = timer;
  return 0;
}

void km_timer_cancel(km_timer *timer) {
  if (timer != NULL) {
    close_timer(timer);
  }
}

/* --- deadlines ------------------------------------------------------------------------------- */

#ifdef __linux__
#include <errno.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* A timerfd that is moved only when a deadline comes nearer: most deadlines move away before they
 * come due, and then the descriptor fires once for many of them and is set anew. */
struct km_deadline {
  km_loop *loop;
  km_poll *poll;
  int fd;
  km_ts want, armed;
  void (*fn)(void *ctx);
  void *ctx;
};

static void arm(km_deadline *d, km_ts at) {
  const struct itimerspec spec = {
      .it_value = {.tv_sec = (time_t)(at / KM_NS_PER_S), .tv_nsec = (long)(at % KM_NS_PER_S)}};
  d->armed = at;
  (void)timerfd_settime(d->fd, TFD_TIMER_ABSTIME, &spec, NULL); /* fails for bad values only */
}

static void on_fire(void *ctx, int events) {
  km_deadline *d = ctx;
  uint64_t count;
  (void)events;
  ssize_t n = read(d->fd, &count, sizeof count); /* EAGAIN: moved since it fired */
  (void)n;
  d->armed = KM_TS_NEVER;
  if (d->want == KM_TS_NEVER) {
    return;
  }
  km_loop_update(d->loop); /* a turn's time may be older than the deadline that ended its sleep */
  if (d->want > km_loop_now(d->loop)) {
    arm(d, d->want);
    return;
  }
  d->want = KM_TS_NEVER;
  d->fn(d->ctx);
}

int km_deadline_new(km_deadline **ret, km_loop *loop, void (*fn)(void *ctx), void *ctx) {
  km_deadline *d = calloc(1, sizeof *d);
  if (d == NULL) {
    return KM_ERR_NOMEM;
  }
  *d = (km_deadline){.loop = loop, .want = KM_TS_NEVER, .armed = KM_TS_NEVER, .fn = fn, .ctx = ctx};
  d->fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (d->fd < 0) {
    free(d);
    return KM_ERR_SYSTEM;
  }
  int rv = km_poll_new(&d->poll, loop, d->fd, on_fire, d);
  if (rv == 0) {
    rv = km_poll_set(d->poll, KM_POLL_READ);
  }
  if (rv != 0) {
    km_deadline_free(d);
    return rv;
  }
  *ret = d;
  return 0;
}

void km_deadline_set(km_deadline *d, km_ts at) {
  d->want = at;
  if (at < d->armed) {
    arm(d, at == 0 ? 1 : at); /* 0 would disarm */
  }
}

void km_deadline_free(km_deadline *d) {
  if (d == NULL) {
    return;
  }
  km_poll_free(d->poll);
  (void)close(d->fd);
  free(d);
}

#else /* not Linux: libuv's milliseconds, rounded up */

struct km_deadline {
  uv_timer_t handle;
  km_loop *loop;
  km_ts want;
  void (*fn)(void *ctx);
  void *ctx;
};

static void start(km_deadline *d);

static void on_due(uv_timer_t *handle) {
  km_deadline *d = handle->data;
  km_loop_update(d->loop);
  if (d->want > km_loop_now(d->loop)) {
    start(d);
    return;
  }
  d->want = KM_TS_NEVER;
  d->fn(d->ctx);
}

static void start(km_deadline *d) {
  km_ts now = km_clock_now();
  uint64_t ms = d->want <= now ? 0 : (d->want - now + KM_NS_PER_MS - 1) / KM_NS_PER_MS;
  uv_update_time(d->loop->uv);
  (void)uv_timer_start(&d->handle, on_due, ms, 0);
}

int km_deadline_new(km_deadline **ret, km_loop *loop, void (*fn)(void *ctx), void *ctx) {
  km_deadline *d = calloc(1, sizeof *d);
  if (d == NULL) {
    return KM_ERR_NOMEM;
  }
  d->loop = loop;
  d->want = KM_TS_NEVER;
  d->fn = fn;
  d->ctx = ctx;
  (void)uv_timer_init(loop->uv, &d->handle);
  d->handle.data = d;
  loop->open++;
  *ret = d;
  return 0;
}

void km_deadline_set(km_deadline *d, km_ts at) {
  d->want = at;
  if (at == KM_TS_NEVER) {
    (void)uv_timer_stop(&d->handle);
  } else {
    start(d);
  }
}

static void on_deadline_closed(uv_handle_t *handle) {
  free(handle->data);
}

void km_deadline_free(km_deadline *d) {
  if (d != NULL) {
    d->loop->open--;
    uv_close((uv_handle_t *)&d->handle, on_deadline_closed);
  }
}
#endif
