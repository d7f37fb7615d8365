/* The precise timer of modules. */
#include "base/io/loop_impl.h"

#if defined(__linux__) && !defined(KM_NO_TIMERFD)
#include <errno.h>
#include <poll.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* A timerfd. To set one costs more than to receive a batch of packets, and a busy loop moves its
 * deadlines every turn and does not sleep in between. So the descriptor is set only before the loop
 * sleeps, and only when the deadline came nearer; until then every turn compares with the clock.
 * A deadline that moves away leaves the descriptor alone: it fires once for many of them. */
struct km_deadline {
  km_loop *loop;
  km_poll *poll;
  int fd;
  km_ts at;    /* when to call, KM_TS_NEVER while disarmed */
  km_ts armed; /* when the descriptor fires; after `at` only while listed */
  void (*fn)(void *ctx);
  void *ctx;
  km_deadline **link; /* what points at this one in a list, NULL while in none */
  km_deadline *next;
};

static void link_first(km_deadline **list, km_deadline *d) {
  d->next = *list;
  if (d->next != NULL) {
    d->next->link = &d->next;
  }
  d->link = list;
  *list = d;
}

static void unlink_deadline(km_deadline *d) {
  if (d->link != NULL) {
    *d->link = d->next;
    if (d->next != NULL) {
      d->next->link = d->link;
    }
    d->link = NULL;
  }
}

static void arm(km_deadline *d) {
  /* The kernel counts in signed nanoseconds, and 0 would disarm. */
  km_ts when = d->at == 0 ? 1 : d->at < INT64_MAX ? d->at : INT64_MAX;
  const struct itimerspec spec = {
      .it_value = {.tv_sec = (time_t)(when / KM_NS_PER_S), .tv_nsec = (long)(when % KM_NS_PER_S)}};
  d->armed = d->at;
  (void)timerfd_settime(d->fd, TFD_TIMER_ABSTIME, &spec, NULL); /* fails for bad values only */
}

void km_loop_arm_deadlines(km_loop *loop) {
  while (loop->unarmed != NULL) {
    km_deadline *d = loop->unarmed;
    unlink_deadline(d);
    if (d->at < d->armed) {
      arm(d);
    }
  }
  km_loop_may_sleep(loop);
}

static bool is_due(const km_loop *loop, km_ts now) {
  const km_deadline *d = loop->unarmed;
  while (d != NULL && d->at > now) {
    d = d->next;
  }
  return d != NULL;
}

static bool has_events(const km_loop *loop) {
  struct pollfd p = {.fd = uv_backend_fd(loop->uv), .events = POLLIN};
  return poll(&p, 1, 0) > 0;
}

void km_loop_prepare_deadlines(km_loop *loop) {
  if (loop->unarmed != NULL && !is_due(loop, km_clock_now()) && !has_events(loop)) {
    km_loop_arm_deadlines(loop);
  }
}

/* What is set meanwhile waits for the next turn. */
void km_loop_run_deadlines(km_loop *loop) {
  km_deadline *listed = loop->unarmed;
  if (listed == NULL) {
    return;
  }
  loop->unarmed = NULL;
  listed->link = &listed;
  while (listed != NULL) {
    km_deadline *d = listed;
    unlink_deadline(d);
    if (d->at > km_loop_now(loop)) {
      km_deadline_set(d, d->at);
    } else {
      d->at = KM_TS_NEVER;
      d->fn(d->ctx); /* may free it, and others */
    }
  }
  km_loop_may_sleep(loop);
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
  if (at < d->armed && d->link == NULL) {
    link_first(&d->loop->unarmed, d);
    km_loop_stay_awake(d->loop);
  }
}

void km_deadline_free(km_deadline *d) {
  if (d == NULL) {
    return;
  }
  const km_env *env = d->loop->env;
  unlink_deadline(d);
  km_loop_may_sleep(d->loop);
  km_poll_free(d->poll);
  if (d->fd >= 0) {
    (void)close(d->fd); /* nothing was written to it */
  }
  km_env_free(env, d);
}

#else /* libuv's milliseconds, rounded up */

void km_loop_arm_deadlines(km_loop *loop) {
  (void)loop; /* nothing waits to be armed */
}

void km_loop_prepare_deadlines(km_loop *loop) {
  (void)loop;
}

void km_loop_run_deadlines(km_loop *loop) {
  (void)loop;
}

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
