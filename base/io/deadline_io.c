/* The precise timer of modules. */
#include "base/io/loop_impl.h"

#if defined(__linux__) && !defined(KM_NO_TIMERFD)
#include <errno.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* A timerfd that is moved only when the deadline comes nearer: most deadlines move away before they
 * come due, and then the descriptor fires once for many of them and is set anew. */
struct km_deadline {
  km_loop *loop;
  km_poll *poll;
  int fd;
  km_ts at;    /* when to call, KM_TS_NEVER while disarmed */
  km_ts armed; /* when the descriptor fires, never after `at` */
  void (*fn)(void *ctx);
  void *ctx;
};

static void arm(km_deadline *d, km_ts at) {
  /* The kernel counts in signed nanoseconds, and 0 would disarm. */
  km_ts when = at == 0 ? 1 : at < INT64_MAX ? at : INT64_MAX;
  const struct itimerspec spec = {
      .it_value = {.tv_sec = (time_t)(when / KM_NS_PER_S), .tv_nsec = (long)(when % KM_NS_PER_S)}};
  d->armed = at;
  (void)timerfd_settime(d->fd, TFD_TIMER_ABSTIME, &spec, NULL); /* fails for bad values only */
}

static void on_fire(void *ctx, int events) {
  km_deadline *d = ctx;
  (void)events;
  uint64_t count;
  if (read(d->fd, &count, sizeof count) < 0) {
    return; /* EAGAIN: it was moved after it fired */
  }
  d->armed = KM_TS_NEVER;
  if (d->at > km_loop_now(d->loop)) {
    km_loop_update(d->loop); /* the turn may have begun before the time came */
  }
  if (d->at > km_loop_now(d->loop)) {
    km_deadline_set(d, d->at);
    return;
  }
  d->at = KM_TS_NEVER;
  d->fn(d->ctx); /* may free it */
}

int km_deadline_new(km_deadline **ret, km_loop *loop, void (*fn)(void *ctx), void *ctx) {
  km_deadline *d = km_env_alloc(loop->env, sizeof *d);
  if (d == NULL) {
    return KM_ERR_NOMEM;
  }
  *d = (km_deadline){.loop = loop, .at = KM_TS_NEVER, .armed = KM_TS_NEVER, .fn = fn, .ctx = ctx};
  d->fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  int rv = d->fd >= 0 ? km_poll_new(&d->poll, loop, d->fd, on_fire, d)
                      : (errno == ENOMEM ? KM_ERR_NOMEM : KM_ERR_SYSTEM);
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
  d->at = at;
  if (at < d->armed) {
    arm(d, at);
  }
}

void km_deadline_free(km_deadline *d) {
  if (d == NULL) {
    return;
  }
  const km_env *env = d->loop->env;
  km_poll_free(d->poll);
  if (d->fd >= 0) {
    (void)close(d->fd); /* nothing was written to it */
  }
  km_env_free(env, d);
}

#else /* libuv's milliseconds, rounded up */

struct km_deadline {
  uv_timer_t handle;
  km_loop *loop;
  km_ts at;
  void (*fn)(void *ctx);
  void *ctx;
};

static void on_due(uv_timer_t *handle) {
  km_deadline *d = handle->data;
  km_loop *loop = d->loop;
  km_loop_end_turn(loop);
  km_loop_enter(loop);
  if (d->at > km_loop_now(loop)) {
    km_deadline_set(d, d->at);
  } else {
    d->at = KM_TS_NEVER;
    d->fn(d->ctx); /* may free it; the memory stays until libuv has closed it */
  }
  km_loop_leave(loop);
  km_loop_end_turn(loop);
}

static void on_closed(uv_handle_t *handle) {
  km_deadline *d = handle->data;
  km_env_free(d->loop->env, d);
}

int km_deadline_new(km_deadline **ret, km_loop *loop, void (*fn)(void *ctx), void *ctx) {
  km_deadline *d = km_env_zalloc(loop->env, 1, sizeof *d);
  if (d == NULL) {
    return KM_ERR_NOMEM;
  }
  d->loop = loop;
  d->at = KM_TS_NEVER;
  d->fn = fn;
  d->ctx = ctx;
  (void)uv_timer_init(loop->uv, &d->handle); /* always 0 */
  d->handle.data = d;
  km_loop_opened(loop);
  *ret = d;
  return 0;
}

void km_deadline_set(km_deadline *d, km_ts at) {
  d->at = at;
  if (at == KM_TS_NEVER) {
    (void)uv_timer_stop(&d->handle); /* always 0 */
    return;
  }
  km_ts now = km_clock_now();
  km_ts left = at > now ? at - now : 0;
  uv_update_time(d->loop->uv);
  /* Fails only while closing, and for a NULL callback. */
  (void)uv_timer_start(&d->handle, on_due, left / KM_NS_PER_MS + (left % KM_NS_PER_MS != 0), 0);
}

void km_deadline_free(km_deadline *d) {
  if (d != NULL) {
    km_loop_shut(d->loop);
    uv_close((uv_handle_t *)&d->handle, on_closed);
  }
}
#endif
