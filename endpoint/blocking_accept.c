/* The accepting side: filters, the queue of connections, the wait for them. */
#include <string.h>

#include "endpoint/blocking_impl.h"

/* --- on the loop thread ---------------------------------------------------------------------- */

static bool queue_is_full(km_blocking *b) {
  km_blocking_lock(b);
  bool full = b->accept_count >= KM_BLOCKING_ACCEPT_QUEUE;
  km_blocking_unlock(b);
  return full;
}

/* Refusing here costs the least and tells the peer while it still dials. */
static km_accept_verdict on_incoming(void *ctx, const km_incoming *incoming) {
  km_blocking *b = ctx;
  if (queue_is_full(b)) {
    return KM_ACCEPT_REFUSE;
  }
  return b->user.on_incoming == NULL ? KM_ACCEPT : b->user.on_incoming(b->user_ctx, incoming);
}

/* Handshakes that were under way when the queue filled up end here. */
static bool on_peer(void *ctx, const km_id *peer, const char *alpn) {
  km_blocking *b = ctx;
  if (queue_is_full(b)) {
    return false;
  }
  return b->user.on_peer == NULL || b->user.on_peer(b->user_ctx, peer, alpn);
}

void km_blocking_take_filters(km_blocking *b, km_endpoint_options *options) {
  b->user = options->callbacks;
  b->user_ctx = options->ctx;
  b->has_relays = options->relay_mode != KM_RELAY_MODE_DISABLED &&
                  options->relay_mode != KM_RELAY_MODE_DIAL_ONLY;
  options->callbacks = (km_endpoint_callbacks){.size = sizeof options->callbacks,
                                               .on_incoming = on_incoming,
                                               .on_peer = on_peer,
                                               .on_home_relay = km_blocking_on_home_relay};
  options->ctx = b;
}

static void on_accepted(void *ctx, km_conn *conn) {
  km_blocking *b = ctx;
  km_blocking_lock(b);
  km_bconn *c = b->closing || b->accept_count >= KM_BLOCKING_ACCEPT_QUEUE ? NULL : km_bconn_new(b);
  if (c == NULL) {
    km_blocking_unlock(b);
    km_conn_close(conn, 0, NULL, 0);
    return;
  }
  c->conn = conn;
  c->refs++; /* for `conn`, beside the one of the queue */
  c->connected = true;
  c->remote_id = *km_conn_remote_id(conn);
  const char *alpn = km_conn_alpn(conn);
  memcpy(c->alpn, alpn, strnlen(alpn, KM_BLOCKING_ALPN_MAX));
  km_list_append(&b->accept_queue, &c->queue_node);
  b->accept_count++;
  (void)pthread_cond_broadcast(&b->cond); /* not all wait for this */
  km_blocking_unlock(b);
  km_conn_set_callbacks(conn, &km_bconn_callbacks, c);
}

static void add_protocol(km_blocking *b, km_bwork *work) {
  km_bquestion *q = KM_LIST_ITEM(work, km_bquestion, work);
  if (b->closing) {
    km_bop_finish(&q->op, KM_ERR_CLOSED);
    return;
  }
  const km_protocol protocol = {
      .size = sizeof protocol, .alpn = q->alpn, .conn = {.on_connected = on_accepted}, .ctx = b};
  km_bop_begin(b, &q->op);
  int rv = km_endpoint_add_protocol(b->endpoint, &protocol, &q->op.err);
  km_bop_end(b, &q->op);
  km_bop_finish(&q->op, rv);
}

/* --- on other threads ------------------------------------------------------------------------ */

int km_blocking_listen(km_blocking *b, const char *alpn, km_errinfo *err) {
  if (b == NULL || alpn == NULL) {
    return km_fail(err, KM_ERR_INVALID, "km_blocking_listen needs an endpoint and an ALPN");
  }
  km_bquestion q = {.alpn = alpn};
  return km_blocking_ask(b, &q, add_protocol, err);
}

static km_bconn *take_accepted(km_blocking *b) {
  km_bconn *c = KM_LIST_ITEM(b->accept_queue.next, km_bconn, queue_node);
  km_list_remove(&c->queue_node);
  b->accept_count--;
  return c;
}

int km_blocking_accept(km_blocking *b, km_bconn **ret, int timeout_ms, km_errinfo *err) {
  if (b == NULL || ret == NULL) {
    return km_fail(err, KM_ERR_INVALID, "km_blocking_accept needs a place for the result");
  }
  int rv = km_blocking_enter_wait(b, err);
  if (rv != 0) {
    return rv;
  }
  km_bdeadline deadline = km_bdeadline_in(timeout_ms);
  bool late = false;
  while (km_list_empty(&b->accept_queue) && !b->closing && !late) {
    late = !km_bcond_wait(&b->cond, &b->mutex, &deadline);
  }
  if (b->closing) {
    rv = km_bfail_closing(err);
  } else if (km_list_empty(&b->accept_queue)) {
    rv = km_bfail_timeout(err, timeout_ms, "no connection came");
  } else {
    *ret = take_accepted(b);
  }
  km_blocking_leave(b);
  return rv;
}
