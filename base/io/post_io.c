/* Calls that other threads ask for. */
#include "base/io/loop_impl.h"

typedef struct km_posted {
  struct km_posted *next;
  void (*fn)(void *ctx);
  void *ctx;
} km_posted;

int km_loop_post(km_loop *loop, void (*fn)(void *ctx), void *ctx) {
  km_posted *p = km_env_alloc(loop->env, sizeof *p);
  if (p == NULL) {
    return KM_ERR_NOMEM;
  }
  *p = (km_posted){.fn = fn, .ctx = ctx};
  uv_mutex_lock(&loop->lock);
  bool closing = loop->closing;
  if (!closing) {
    if (loop->posted_last == NULL) {
      loop->posted_first = p;
    } else {
      loop->posted_last->next = p;
    }
    loop->posted_last = p;
    /* Under the lock: the handle cannot be closed between the check and this. */
    (void)uv_async_send(&loop->wake); /* fails for a wrong handle only */
  }
  uv_mutex_unlock(&loop->lock);
  if (closing) {
    km_env_free(loop->env, p);
    return KM_ERR_CLOSED;
  }
  return 0;
}

static km_posted *take_first(km_loop *loop) {
  uv_mutex_lock(&loop->lock);
  km_posted *p = loop->posted_first;
  if (p != NULL) {
    loop->posted_first = p->next;
    if (p->next == NULL) {
      loop->posted_last = NULL;
    }
  }
  uv_mutex_unlock(&loop->lock);
  return p;
}

static km_posted *peek_last(km_loop *loop) {
  uv_mutex_lock(&loop->lock);
  km_posted *p = loop->posted_last;
  uv_mutex_unlock(&loop->lock);
  return p;
}

bool km_loop_has_posts(km_loop *loop) {
  return peek_last(loop) != NULL;
}

/* Up to the one that is last now: a call that posts itself must not hold up the loop. They are
 * taken one by one, so that a call which frees the loop finds the others still there. */
void km_loop_run_posts(km_loop *loop) {
  const km_posted *last = peek_last(loop);
  bool more = last != NULL;
  while (more) {
    km_posted *p = take_first(loop);
    if (p == NULL) {
      return;
    }
    more = p != last;
    void (*fn)(void *ctx) = p->fn;
    void *ctx = p->ctx;
    km_env_free(loop->env, p);
    fn(ctx);
  }
}

void km_loop_on_wake(uv_async_t *wake) {
  km_loop *loop = wake->data;
  km_loop_enter(loop);
  km_loop_run_posts(loop);
  km_loop_leave(loop);
}
