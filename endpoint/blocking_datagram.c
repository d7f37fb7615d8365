/* Datagrams of a connection: sent one at a time, received into a short queue. */
#include <string.h>

#include "endpoint/blocking_impl.h"

/* --- sending --------------------------------------------------------------------------------- */

typedef struct datagram_op {
  km_bop op;
  const void *data;
  size_t len;
} datagram_op;

void km_bconn_try_datagrams(km_bconn *c) {
  while (c->conn != NULL && !c->ending && !km_list_empty(&c->datagram_ops)) {
    datagram_op *d = KM_LIST_ITEM(c->datagram_ops.next, datagram_op, op.node);
    km_bop_begin(c->b, &d->op);
    int rv = km_conn_send_datagram(c->conn, d->data, d->len);
    km_bop_end(c->b, &d->op);
    if (rv == KM_ERR_AGAIN || rv == KM_ERR_CLOSED) { /* on_closed follows and says why */
      km_bop_wait_on(&c->datagram_ops);
      return;
    }
    km_bop_finish(&d->op, rv);
  }
}

static int send_datagram(km_bconn *c, const void *data, size_t len, int timeout_ms,
                         km_errinfo *err) {
  if (c->ending) {
    return km_bconn_fail(c, err);
  }
  datagram_op d = {.data = data, .len = len};
  if (km_bop_init(&d.op) != 0) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  km_bdeadline deadline = km_bdeadline_in(timeout_ms);
  km_list_append(&c->datagram_ops, &d.op.node);
  int rv = km_bconn_kick(c);
  if (rv == 0) {
    rv = km_bop_wait(c->b, &d.op, &c->ending, &deadline);
  }
  km_list_remove(&d.op.node);
  km_bop_clear(&d.op);
  if (rv == KM_ERR_TIMEOUT) {
    return km_bfail_timeout(err, timeout_ms, "the datagram queue did not drain");
  }
  if (rv == KM_ERR_CANCELLED || rv == KM_ERR_CLOSED) {
    return km_bconn_fail(c, err);
  }
  return rv == 0 ? 0 : km_fail(err, rv, NULL);
}

int km_bconn_send_datagram(km_bconn *conn, const void *data, size_t len, int timeout_ms,
                           km_errinfo *err) {
  if (conn == NULL || (data == NULL && len > 0)) {
    return km_fail(err, KM_ERR_INVALID, "km_bconn_send_datagram needs a connection and data");
  }
  km_blocking *b = conn->b;
  int rv = km_blocking_enter_wait(b, err);
  if (rv != 0) {
    return rv;
  }
  conn->refs++;
  rv = send_datagram(conn, data, len, timeout_ms, err);
  km_bconn_unref(conn);
  km_blocking_leave(b);
  return rv;
}

/* --- receiving ------------------------------------------------------------------------------- */

static km_bdatagram *take_first(km_bconn *c) {
  km_bdatagram *d = KM_LIST_ITEM(c->datagrams.next, km_bdatagram, node);
  km_list_remove(&d->node);
  c->datagram_count--;
  return d;
}

void km_bconn_on_datagram(void *ctx, km_conn *conn, const void *data, size_t len) {
  (void)conn;
  km_bconn *c = ctx;
  km_bdatagram *d = km_env_alloc(&km_env_system, sizeof *d + len);
  if (d == NULL) {
    return; /* a datagram may get lost */
  }
  km_list_init(&d->node);
  d->len = len;
  if (len > 0) {
    memcpy(d->data, data, len);
  }
  km_bdatagram *dropped = NULL;
  km_blocking_lock(c->b);
  if (c->freed) {
    dropped = d;
  } else {
    dropped = c->datagram_count < KM_BLOCKING_DATAGRAM_QUEUE ? NULL : take_first(c);
    km_list_append(&c->datagrams, &d->node);
    c->datagram_count++;
    (void)pthread_cond_broadcast(&c->cond);
  }
  km_blocking_unlock(c->b);
  km_env_free(&km_env_system, dropped);
}

void km_bconn_drop_datagrams(km_bconn *c) {
  while (!km_list_empty(&c->datagrams)) {
    km_env_free(&km_env_system, take_first(c));
  }
}

static int wait_datagram(km_bconn *c, km_bdatagram **ret, int timeout_ms, km_errinfo *err) {
  km_bdeadline deadline = km_bdeadline_in(timeout_ms);
  bool late = false;
  while (km_list_empty(&c->datagrams) && !c->ending && !c->b->closing && !late) {
    late = !km_bcond_wait(&c->cond, &c->b->mutex, &deadline);
  }
  if (c->b->closing || (c->ending && km_list_empty(&c->datagrams))) {
    return km_bconn_fail(c, err);
  }
  if (km_list_empty(&c->datagrams)) {
    return km_bfail_timeout(err, timeout_ms, "no datagram came");
  }
  *ret = take_first(c);
  return 0;
}

int km_bconn_recv_datagram(km_bconn *conn, void *buf, size_t cap, size_t *ret_len, int timeout_ms,
                           km_errinfo *err) {
  if (conn == NULL || ret_len == NULL || (buf == NULL && cap > 0)) {
    return km_fail(err, KM_ERR_INVALID,
                   "km_bconn_recv_datagram needs a connection, a buffer and a "
                   "place for the length");
  }
  km_blocking *b = conn->b;
  int rv = km_blocking_enter_wait(b, err);
  if (rv != 0) {
    return rv;
  }
  km_bdatagram *d = NULL;
  conn->refs++;
  rv = wait_datagram(conn, &d, timeout_ms, err);
  km_bconn_unref(conn);
  km_blocking_leave(b);
  if (d == NULL) {
    return rv;
  }
  size_t n = d->len < cap ? d->len : cap;
  if (n > 0) {
    memcpy(buf, d->data, n);
  }
  *ret_len = d->len;
  km_env_free(&km_env_system, d);
  return 0;
}
