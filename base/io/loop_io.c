/* The loop, on libuv. */
#include "base/io/loop_io.h"

#include <keymesh/uv.h>
#include <stdlib.h>
#include <string.h>

#include "base/io/loop_impl.h"

/* --- deferred calls -------------------------------------------------------------------------- */

struct km_defer {
  km_loop *loop;
  void (*fn)(void *ctx);
  void *ctx;
  bool armed;
  struct km_defer *prev, *next;
};

static void on_idle(uv_idle_t *idle) {
  (void)idle; /* its being active is what keeps the loop from sleeping */
}

/* Each armed call runs once; what is armed meanwhile has its turn before the loop sleeps. */
static void run_deferred(km_loop *loop) {
  (void)uv_idle_stop(&loop->idle);
  loop->cursor = loop->defers;
  while (loop->cursor != NULL) {
    km_defer *d = loop->cursor;
    loop->cursor = d->next;
    if (d->armed) {
      d->armed = false;
      d->fn(d->ctx);
    }
  }
}

int km_defer_new(km_defer **ret, km_loop *loop, void (*fn)(void *ctx), void *ctx) {
  km_defer *d = calloc(1, sizeof *d);
  if (d == NULL) {
    return KM_ERR_NOMEM;
  }
  d->loop = loop;
  d->fn = fn;
  d->ctx = ctx;
  d->next = loop->defers;
  if (d->next != NULL) {
    d->next->prev = d;
  }
  loop->defers = d;
  loop->open++;
  *ret = d;
  return 0;
}

void km_defer_run(km_defer *d) {
  if (!d->armed) {
    d->armed = true;
    (void)uv_idle_start(&d->loop->idle, on_idle); /* fails only for a NULL callback */
  }
}

void km_defer_free(km_defer *d) {
  if (d == NULL) {
    return;
  }
  km_loop *loop = d->loop;
  if (loop->cursor == d) {
    loop->cursor = d->next;
  }
  if (d->prev != NULL) {
    d->prev->next = d->next;
  } else {
    loop->defers = d->next;
  }
  if (d->next != NULL) {
    d->next->prev = d->prev;
  }
  loop->open--;
  free(d);
}

/* --- calls from other threads ---------------------------------------------------------------- */

typedef struct km_posted {
  struct km_posted *next;
  void (*fn)(void *ctx);
  void *ctx;
} km_posted;

int km_loop_post(km_loop *loop, void (*fn)(void *ctx), void *ctx) {
  km_posted *p = malloc(sizeof *p);
  if (p == NULL) {
    return KM_ERR_NOMEM;
  }
  *p = (km_posted){.fn = fn, .ctx = ctx};
  uv_mutex_lock(&loop->lock);
  if (loop->closing) {
    uv_mutex_unlock(&loop->lock);
    free(p);
    return KM_ERR_CLOSED;
  }
  if (loop->posted_last == NULL) {
    loop->posted_first = p;
  } else {
    loop->posted_last->next = p;
  }
  loop->posted_last = p;
  /* Inside the lock, so that the handle cannot be closed between the check and the send. */
  (void)uv_async_send(&loop->async);
  uv_mutex_unlock(&loop->lock);
  return 0;
}

static km_posted *take_posted(km_loop *loop) {
  uv_mutex_lock(&loop->lock);
  km_posted *first = loop->posted_first;
  loop->posted_first = loop->posted_last = NULL;
  uv_mutex_unlock(&loop->lock);
  return first;
}

static void run_posted(km_loop *loop) {
  km_posted *p = take_posted(loop);
  while (p != NULL) {
    km_posted *next = p->next;
    p->fn(p->ctx);
    free(p);
    p = next;
  }
}

/* --- turns ----------------------------------------------------------------------------------- */

/* Before the loop may sleep. */
static void on_prepare(uv_prepare_t *prepare) {
  km_loop *loop = prepare->data;
  run_deferred(loop);
  loop->now_valid = false;
}

/* After it woke and ran what was ready. */
static void on_check(uv_check_t *check) {
  km_loop *loop = check->data;
  run_deferred(loop);
  loop->now_valid = false;
}

static void on_async(uv_async_t *async) {
  run_posted(async->data);
}

km_ts km_loop_now(km_loop *loop) {
  if (!loop->now_valid) {
    km_loop_update(loop);
  }
  return loop->now;
}

void km_loop_update(km_loop *loop) {
  km_ts now = km_clock_now();
  loop->now = now > loop->now ? now : loop->now;
  loop->now_valid = true;
}

bool km_loop_on_thread(const km_loop *loop) {
  uv_thread_t self = uv_thread_self();
  return uv_thread_equal(&loop->thread, &self) != 0;
}

/* --- life ------------------------------------------------------------------------------------ */

static void start_handles(km_loop *loop) {
  /* None of these fails: they only link a handle into the loop. */
  (void)uv_prepare_init(loop->uv, &loop->prepare);
  (void)uv_check_init(loop->uv, &loop->check);
  (void)uv_idle_init(loop->uv, &loop->idle);
  (void)uv_timer_init(loop->uv, &loop->limit);
  loop->prepare.data = loop->check.data = loop->idle.data = loop->limit.data = loop;
  loop->async.data = loop;
  (void)uv_prepare_start(&loop->prepare, on_prepare);
  (void)uv_check_start(&loop->check, on_check);
  /* Our own handles keep no loop running; an armed deferred call does. */
  uv_unref((uv_handle_t *)&loop->prepare);
  uv_unref((uv_handle_t *)&loop->check);
  uv_unref((uv_handle_t *)&loop->async);
}

static int make_loop(km_loop **ret, uv_loop_t *foreign) {
  km_loop *loop = calloc(1, sizeof *loop);
  if (loop == NULL) {
    return KM_ERR_NOMEM;
  }
  loop->uv = foreign != NULL ? foreign : &loop->own;
  loop->thread = uv_thread_self();
  if (uv_mutex_init(&loop->lock) != 0) {
    free(loop);
    return KM_ERR_SYSTEM;
  }
  if (foreign == NULL && uv_loop_init(&loop->own) != 0) {
    uv_mutex_destroy(&loop->lock);
    free(loop);
    return KM_ERR_SYSTEM;
  }
  if (uv_async_init(loop->uv, &loop->async, on_async) != 0) {
    if (foreign == NULL) {
      (void)uv_loop_close(&loop->own);
    }
    uv_mutex_destroy(&loop->lock);
    free(loop);
    return KM_ERR_SYSTEM;
  }
  start_handles(loop);
  *ret = loop;
  return 0;
}

int km_loop_new(km_loop **ret) {
  return ret == NULL ? KM_ERR_INVALID : make_loop(ret, NULL);
}

int km_loop_from_uv(km_loop **ret, uv_loop_t *uv) {
  return ret == NULL || uv == NULL ? KM_ERR_INVALID : make_loop(ret, uv);
}

uv_loop_t *km_loop_uv(const km_loop *loop) {
  return loop->uv;
}

static void drop_posted(km_loop *loop) {
  km_posted *p = take_posted(loop);
  while (p != NULL) {
    km_posted *next = p->next;
    free(p);
    p = next;
  }
}

static void on_handle_closed(uv_handle_t *handle) {
  km_loop *loop = handle->data;
  if (--loop->handles_left > 0) {
    return;
  }
  drop_posted(loop);
  uv_mutex_destroy(&loop->lock);
  if (loop->uv != &loop->own) {
    free(loop); /* a wrapper goes with its last handle; an own loop in km_loop_free */
  }
}

int km_loop_free(km_loop *loop) {
  if (loop == NULL) {
    return 0;
  }
  if (loop->open > 0) {
    return KM_ERR_STATE;
  }
  uv_mutex_lock(&loop->lock);
  loop->closing = true;
  uv_mutex_unlock(&loop->lock);
  bool own = loop->uv == &loop->own;
  loop->handles_left = 5;
  uv_close((uv_handle_t *)&loop->limit, on_handle_closed);
  uv_close((uv_handle_t *)&loop->prepare, on_handle_closed);
  uv_close((uv_handle_t *)&loop->check, on_handle_closed);
  uv_close((uv_handle_t *)&loop->idle, on_handle_closed);
  uv_close((uv_handle_t *)&loop->async, on_handle_closed);
  if (own) {
    while (uv_run(&loop->own, UV_RUN_NOWAIT) != 0) {
      /* closes what still waits for its close callback */
    }
    (void)uv_loop_close(&loop->own);
    free(loop);
  }
  return 0;
}

/* --- running --------------------------------------------------------------------------------- */

static void begin_run(km_loop *loop) {
  loop->thread = uv_thread_self();
  loop->now_valid = false;
  run_posted(loop);
}

int km_loop_run(km_loop *loop) {
  begin_run(loop);
  (void)uv_run(loop->uv, UV_RUN_DEFAULT);
  loop->now_valid = false;
  return 0;
}

static void on_limit(uv_timer_t *timer) {
  (void)timer; /* its firing is what ends the wait */
}

int km_loop_run_once(km_loop *loop, int timeout_ms) {
  if (timeout_ms == 0) {
    return km_loop_run_nowait(loop);
  }
  if (timeout_ms > 0) {
    uv_update_time(loop->uv);
    (void)uv_timer_start(&loop->limit, on_limit, (uint64_t)timeout_ms, 0);
  }
  begin_run(loop);
  (void)uv_run(loop->uv, UV_RUN_ONCE);
  loop->now_valid = false;
  (void)uv_timer_stop(&loop->limit);
  return 0;
}

int km_loop_run_nowait(km_loop *loop) {
  begin_run(loop);
  (void)uv_run(loop->uv, UV_RUN_NOWAIT);
  loop->now_valid = false;
  return 0;
}

void km_loop_stop(km_loop *loop) {
  uv_stop(loop->uv);
}

int km_loop_fd(const km_loop *loop) {
  return uv_backend_fd(loop->uv);
}

int km_loop_timeout_ms(const km_loop *loop) {
  uv_update_time(loop->uv);
  return uv_backend_timeout(loop->uv);
}
