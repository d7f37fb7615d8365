/* Between the threads: the mutex, the work list of the loop thread, operations that wait for it. */
#include "endpoint/blocking_impl.h"

/* --- the mutex ------------------------------------------------------------------------------- */

void km_blocking_enter(km_blocking *b) {
  km_blocking_lock(b);
  b->refs++;
}

void km_blocking_leave(km_blocking *b) {
  bool last = --b->refs == 0;
  km_blocking_unlock(b);
  if (last) {
    (void)pthread_cond_destroy(&b->cond);
    (void)pthread_mutex_destroy(&b->mutex);
    km_env_free(&km_env_system, b);
  }
}

void km_blocking_unref(km_blocking *b) {
  b->refs--;
}

int km_blocking_enter_wait(km_blocking *b, km_errinfo *err) {
  km_blocking_enter(b);
  int rv = 0;
  if (!b->ended && pthread_equal(pthread_self(), b->loop_thread)) {
    rv = km_fail(err, KM_ERR_THREAD, "a callback must not wait for its own thread");
  } else if (b->closing) {
    rv = km_bfail_closing(err);
  }
  if (rv != 0) {
    km_blocking_leave(b);
  }
  return rv;
}

/* --- work ------------------------------------------------------------------------------------ */

void km_bwork_init(km_bwork *work, void (*run)(km_blocking *b, km_bwork *work)) {
  km_list_init(&work->node);
  work->run = run;
}

bool km_bwork_queued(const km_bwork *work) {
  return !km_list_empty(&work->node);
}

void km_bwork_run_all(km_blocking *b) {
  km_list batch;
  km_list_take_all(&batch, &b->work); /* what is added meanwhile has its own turn of the loop */
  while (!km_list_empty(&batch)) {
    km_bwork *work = KM_LIST_ITEM(batch.next, km_bwork, node);
    km_list_remove(&work->node);
    work->run(b, work);
  }
}

static void begin_close(km_blocking *b) {
  b->close_begun = true;
  km_blocking_unlock(b);
  km_endpoint_close(b->endpoint);
  km_blocking_lock(b);
}

static void on_wake(void *ctx) {
  km_blocking *b = ctx;
  km_blocking_lock(b);
  b->posted = false;
  km_bwork_run_all(b);
  if (b->closing && !b->close_begun) {
    begin_close(b);
  }
  km_blocking_unlock(b);
}

int km_blocking_wake(km_blocking *b) {
  if (b->ended) {
    return KM_ERR_CLOSED;
  }
  if (!b->posted) {
    int rv = km_loop_post(b->loop, on_wake, b);
    if (rv != 0) {
      return rv;
    }
    b->posted = true;
  }
  return 0;
}

int km_bwork_queue(km_blocking *b, km_bwork *work) {
  if (b->ended) {
    return KM_ERR_CLOSED;
  }
  km_list_append(&b->work, &work->node);
  return km_blocking_wake(b);
}

/* --- operations ------------------------------------------------------------------------------ */

int km_bop_init(km_bop *op) {
  *op = (km_bop){0};
  km_list_init(&op->node);
  return km_bcond_init(&op->cond);
}

void km_bop_clear(km_bop *op) {
  (void)pthread_cond_destroy(&op->cond);
}

void km_bop_begin(km_blocking *b, km_bop *op) {
  op->busy = true;
  km_blocking_unlock(b);
}

void km_bop_end(km_blocking *b, km_bop *op) {
  km_blocking_lock(b);
  op->busy = false;
  op->tried = true;
  (void)pthread_cond_signal(&op->cond);
}

void km_bop_finish(km_bop *op, int rv) {
  km_list_remove(&op->node);
  op->rv = rv;
  op->done = true;
  (void)pthread_cond_signal(&op->cond);
}

void km_bop_wait_on(km_list *ops) {
  for (km_list *n = ops->next; n != ops; n = n->next) {
    km_bop *op = KM_LIST_ITEM(n, km_bop, node);
    op->tried = true;
    (void)pthread_cond_signal(&op->cond);
  }
}

void km_bop_wake_all(km_list *ops) {
  for (km_list *n = ops->next; n != ops; n = n->next) {
    (void)pthread_cond_signal(&KM_LIST_ITEM(n, km_bop, node)->cond);
  }
}

int km_bop_wait(km_blocking *b, km_bop *op, const bool *ended, const km_bdeadline *deadline) {
  const km_bdeadline never = {.never = true};
  bool late = false;
  while (!op->done && !b->closing && !*ended && !(late && op->tried)) {
    /* The first try takes no longer than the loop thread needs to get to it. */
    late = !km_bcond_wait(&op->cond, &b->mutex, late ? &never : deadline) || late;
  }
  while (op->busy) {
    (void)km_bcond_wait(&op->cond, &b->mutex, &never);
  }
  km_list_remove(&op->node);
  if (op->done) {
    return op->rv;
  }
  if (b->closing) {
    return KM_ERR_CLOSED;
  }
  return *ended ? KM_ERR_CANCELLED : KM_ERR_TIMEOUT;
}

int km_blocking_ask(km_blocking *b, km_bquestion *q, void (*run)(km_blocking *b, km_bwork *work),
                    km_errinfo *err) {
  const km_bdeadline never = {.never = true};
  const bool ended = false;
  int rv = km_blocking_enter_wait(b, err);
  if (rv != 0) {
    return rv;
  }
  if (km_bop_init(&q->op) != 0) {
    km_blocking_leave(b);
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  km_bwork_init(&q->work, run);
  rv = km_bwork_queue(b, &q->work);
  if (rv == 0) {
    rv = km_bop_wait(b, &q->op, &ended, &never);
  }
  km_list_remove(&q->work.node); /* still there if nobody came to answer */
  km_bop_clear(&q->op);
  km_blocking_leave(b);
  return rv == 0 ? 0 : km_bfail_copy(err, rv, &q->op.err);
}

/* --- sentences ------------------------------------------------------------------------------- */

int km_bfail_closing(km_errinfo *err) {
  return km_fail(err, KM_ERR_CLOSED, "the endpoint was closed (km_blocking_close)");
}

int km_bfail_timeout(km_errinfo *err, int timeout_ms, const char *what) {
  return km_fail(err, KM_ERR_TIMEOUT, "%s within %d ms; wait longer or try again", what,
                 timeout_ms);
}

int km_bfail_copy(km_errinfo *err, int rv, const km_errinfo *from) {
  if (from->code != rv) {
    return km_fail(err, rv, NULL);
  }
  if (err != NULL) {
    *err = *from;
  }
  return rv;
}
