/* A km_blocking: opened, asked, closed. */
#include <string.h>

#include "endpoint/blocking_impl.h"

/* --- opening and closing --------------------------------------------------------------------- */

static void on_endpoint_closed(void *ctx, km_endpoint *endpoint) {
  (void)endpoint;
  km_blocking *b = ctx;
  b->endpoint_closed = true;
  km_loop_stop(b->loop);
}

static int take_options(km_blocking *b, km_endpoint_options *ret,
                        const km_endpoint_options *options, km_errinfo *err) {
  km_endpoint_options_default(ret);
  if (options != NULL) {
    if (options->size < offsetof(km_endpoint_options, callbacks) || options->size > 65536) {
      return km_fail(err, KM_ERR_INVALID,
                     "options.size is %zu: fill the options with km_endpoint_options_default",
                     options->size);
    }
    memcpy(ret, options, options->size < sizeof *ret ? options->size : sizeof *ret);
    ret->size = sizeof *ret;
  }
  if (ret->callbacks.on_closed != NULL) {
    return km_fail(err, KM_ERR_INVALID,
                   "callbacks.on_closed must be NULL: km_blocking_close returns when it is closed");
  }
  if (ret->discovery != NULL) {
    return km_fail(
        err, KM_ERR_INVALID,
        "options.discovery must be NULL: it lives on a loop, and this endpoint has one of "
        "its own; see km_blocking_open_with");
  }
  b->stream_backlog =
      (size_t)ret->max_streams_bidi + ret->max_streams_uni + KM_BLOCKING_STREAM_BACKLOG;
  b->stream_backlog_bytes = ret->connection_window;
  km_blocking_take_filters(b, ret);
  ret->callbacks.on_closed = on_endpoint_closed;
  return 0;
}

static int init(km_blocking *b) {
  if (pthread_mutex_init(&b->mutex, NULL) != 0) {
    return KM_ERR_NOMEM;
  }
  int rv = km_bcond_init(&b->cond);
  if (rv != 0) {
    (void)pthread_mutex_destroy(&b->mutex);
    return rv;
  }
  b->refs = 1;
  km_list_init(&b->work);
  km_list_init(&b->conns);
  km_list_init(&b->accept_queue);
  return 0;
}

int km_blocking_open(km_blocking **ret, const km_endpoint_options *options, km_errinfo *err) {
  return km_blocking_open_with(ret, options, NULL, err);
}

int km_blocking_open_with(km_blocking **ret, const km_endpoint_options *options,
                          const km_blocking_discovery *discovery, km_errinfo *err) {
  if (discovery != NULL && discovery->size < sizeof *discovery) {
    return km_fail(err, KM_ERR_INVALID, "the size of km_blocking_discovery is not set");
  }
  if (ret == NULL) {
    return km_fail(err, KM_ERR_INVALID, "km_blocking_open needs a place for the result");
  }
  km_blocking *b = km_env_zalloc(&km_env_system, 1, sizeof *b);
  if (b == NULL || init(b) != 0) {
    km_env_free(&km_env_system, b);
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  km_endpoint_options opt;
  int rv = take_options(b, &opt, options, err);
  if (rv == 0) {
    rv = km_blocking_start(b, &opt, discovery, err);
  }
  if (rv != 0) {
    km_blocking_lock(b);
    km_blocking_leave(b);
    return rv;
  }
  *ret = b;
  return 0;
}

static void wake_everybody(km_blocking *b) {
  (void)pthread_cond_broadcast(&b->cond);
  for (km_list *n = b->conns.next; n != &b->conns; n = n->next) {
    km_bconn_wake_all(KM_LIST_ITEM(n, km_bconn, all));
  }
}

void km_blocking_close(km_blocking *b) {
  if (b == NULL) {
    return;
  }
  km_blocking_lock(b);
  if (pthread_equal(pthread_self(), b->loop_thread)) {
    km_blocking_unlock(b);
    return; /* a thread cannot wait for its own end; a callback must not do this */
  }
  b->closing = true;
  wake_everybody(b);
  while (km_blocking_wake(b) == KM_ERR_NOMEM) {
    km_bdeadline soon = km_bdeadline_in(10); /* memory may come back */
    (void)km_bcond_wait(&b->cond, &b->mutex, &soon);
  }
  km_blocking_unlock(b);
  (void)pthread_join(b->thread, NULL);

  km_blocking_lock(b);
  while (!km_list_empty(&b->accept_queue)) {
    km_bconn *c = KM_LIST_ITEM(b->accept_queue.next, km_bconn, queue_node);
    km_list_remove(&c->queue_node);
    km_bconn_release(c);
  }
  km_blocking_leave(b);
}

/* --- questions ------------------------------------------------------------------------------- */

static void answer_addr(km_blocking *b, km_bwork *work) {
  km_bquestion *q = KM_LIST_ITEM(work, km_bquestion, work);
  if (b->closing) {
    km_bop_finish(&q->op, KM_ERR_CLOSED);
    return;
  }
  km_bop_begin(b, &q->op);
  int rv = km_endpoint_addr(b->endpoint, &q->addr);
  km_bop_end(b, &q->op);
  km_bop_finish(&q->op, rv);
}

const km_id *km_blocking_id(const km_blocking *b) {
  return &b->id;
}

int km_blocking_addr(km_blocking *b, km_addr **ret) {
  if (b == NULL || ret == NULL) {
    return KM_ERR_INVALID;
  }
  km_bquestion q = {.addr = NULL};
  int rv = km_blocking_ask(b, &q, answer_addr, NULL);
  if (rv == 0) {
    *ret = q.addr;
  }
  return rv;
}
