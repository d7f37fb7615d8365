/* Calls at the end of the turn. */
#include "base/io/loop_impl.h"

struct km_defer {
  km_loop *loop;
  void (*fn)(void *ctx);
  void *ctx;
  km_defer **link; /* what points at this one in a list, NULL while not armed */
  km_defer *next;
};

static void link_first(km_defer **list, km_defer *d) {
  d->next = *list;
  if (d->next != NULL) {
    d->next->link = &d->next;
  }
  d->link = list;
  *list = d;
}

static void unlink_defer(km_defer *d) {
  if (d->link != NULL) {
    *d->link = d->next;
    if (d->next != NULL) {
      d->next->link = d->link;
    }
    d->link = NULL;
  }
}

int km_defer_new(km_defer **ret, km_loop *loop, void (*fn)(void *ctx), void *ctx) {
  km_defer *d = km_env_alloc(loop->env, sizeof *d);
  if (d == NULL) {
    return KM_ERR_NOMEM;
  }
  *d = (km_defer){.loop = loop, .fn = fn, .ctx = ctx};
  km_loop_opened(loop);
  *ret = d;
  return 0;
}

void km_defer_run(km_defer *d) {
  if (d->link == NULL) {
    link_first(&d->loop->armed, d);
    km_loop_stay_awake(d->loop);
  }
}

void km_defer_free(km_defer *d) {
  if (d == NULL) {
    return;
  }
  km_loop *loop = d->loop;
  unlink_defer(d);
  km_loop_may_sleep(loop);
  km_loop_shut(loop);
  km_env_free(loop->env, d);
}

/* What is armed meanwhile waits for the next time: the idle handle stays active for it. */
void km_loop_run_deferred(km_loop *loop) {
  /* Armed first, run first: the list is reversed on its way. */
  while (loop->armed != NULL) {
    km_defer *d = loop->armed;
    unlink_defer(d);
    link_first(&loop->due, d);
  }
  while (loop->due != NULL) {
    km_defer *d = loop->due;
    unlink_defer(d);
    d->fn(d->ctx); /* may free it */
  }
  km_loop_may_sleep(loop);
}
