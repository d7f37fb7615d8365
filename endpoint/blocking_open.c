/* How a connection comes to its streams: opened here, or by the peer. */
#include "endpoint/blocking_impl.h"

/* --- opened here ----------------------------------------------------------------------------- */

typedef struct open_op {
  km_bop op;
  km_bstream *stream; /* made before, so that there is always a place for what was opened */
} open_op;

/* Mutex held; lets go of it. Returns what km_conn_open_stream did. */
static int open_one(km_bconn *c, open_op *o) {
  km_stream *stream = NULL;
  bool bidi = o->stream->can_receive;
  km_bop_begin(c->b, &o->op);
  int rv = km_conn_open_stream(c->conn, &stream, bidi, &km_bstream_callbacks, o->stream);
  if (rv == 0 && bidi) {
    km_stream_hold_credit(stream, true);
  }
  km_bop_end(c->b, &o->op);
  if (rv == 0) {
    o->stream->stream = stream;
    o->stream->refs++; /* for `stream` */
  }
  return rv;
}

void km_bconn_try_opens(km_bconn *c) {
  while (c->conn != NULL && !c->ending && !km_list_empty(&c->open_ops)) {
    open_op *o = KM_LIST_ITEM(c->open_ops.next, open_op, op.node);
    int rv = open_one(c, o);
    if (rv == KM_ERR_STREAM_LIMIT || rv == KM_ERR_CLOSED) { /* on_closed follows and says why */
      km_bop_wait_on(&c->open_ops);
      return;
    }
    km_bop_finish(&o->op, rv);
  }
}

static int wait_opened(km_bconn *c, open_op *o, int timeout_ms, km_errinfo *err) {
  km_bdeadline deadline = km_bdeadline_in(timeout_ms);
  km_list_append(&c->open_ops, &o->op.node);
  int rv = km_bconn_kick(c);
  if (rv != 0) {
    km_list_remove(&o->op.node);
    return km_fail(err, rv, NULL);
  }
  rv = km_bop_wait(c->b, &o->op, &c->ending, &deadline);
  if (rv == 0) {
    return 0;
  }
  if (rv == KM_ERR_TIMEOUT) {
    return km_bfail_timeout(err, timeout_ms, "the peer allowed no more streams");
  }
  return rv == KM_ERR_CANCELLED || rv == KM_ERR_CLOSED ? km_bconn_fail(c, err)
                                                       : km_fail(err, rv, NULL);
}

static int open_stream(km_bconn *c, km_bstream **ret, bool bidi, int timeout_ms, km_errinfo *err) {
  if (c->ending) {
    return km_bconn_fail(c, err);
  }
  open_op o;
  if (km_bop_init(&o.op) != 0) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  o.stream = km_bstream_new(c);
  if (o.stream == NULL) {
    km_bop_clear(&o.op);
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  o.stream->accepted = true;
  o.stream->can_send = true;
  o.stream->can_receive = bidi;
  int rv = wait_opened(c, &o, timeout_ms, err);
  if (rv == 0) {
    *ret = o.stream;
  } else {
    km_bstream_release(o.stream);
  }
  km_bop_clear(&o.op);
  return rv;
}

int km_bconn_open(km_bconn *conn, km_bstream **ret, bool bidi, int timeout_ms, km_errinfo *err) {
  if (conn == NULL || ret == NULL) {
    return km_fail(err, KM_ERR_INVALID,
                   "km_bconn_open needs a connection and a place for the "
                   "result");
  }
  km_blocking *b = conn->b;
  int rv = km_blocking_enter_wait(b, err);
  if (rv != 0) {
    return rv;
  }
  conn->refs++;
  rv = open_stream(conn, ret, bidi, timeout_ms, err);
  km_bconn_unref(conn);
  km_blocking_leave(b);
  return rv;
}

/* --- opened by the peer ---------------------------------------------------------------------- */

static bool has_room(const km_bconn *c) {
  return c->incoming_count < c->b->stream_backlog && c->incoming_bytes < c->b->stream_backlog_bytes;
}

void km_bconn_on_stream(void *ctx, km_conn *conn, km_stream *stream) {
  (void)conn;
  km_bconn *c = ctx;
  km_blocking *b = c->b;
  km_blocking_lock(b);
  km_bstream *s = c->ending || !has_room(c) ? NULL : km_bstream_new(c);
  if (s == NULL) {
    km_blocking_unlock(b);
    return; /* without callbacks it is reset */
  }
  s->refs++; /* for `stream`, beside the one of the queue */
  s->stream = stream;
  s->can_receive = true;
  s->can_send = km_stream_is_bidi(stream);
  km_list_append(&c->incoming, &s->queue_node);
  c->incoming_count++;
  (void)pthread_cond_broadcast(&c->cond);
  km_blocking_unlock(b);
  km_stream_set_callbacks(stream, &km_bstream_callbacks, s);
  km_stream_hold_credit(stream, true);
}

static km_bstream *take_incoming(km_bconn *c) {
  km_bstream *s = KM_LIST_ITEM(c->incoming.next, km_bstream, queue_node);
  km_list_remove(&s->queue_node);
  c->incoming_count--;
  c->incoming_bytes -= s->rx.len;
  s->accepted = true;
  return s;
}

int km_bconn_accept(km_bconn *conn, km_bstream **ret, int timeout_ms, km_errinfo *err) {
  if (conn == NULL || ret == NULL) {
    return km_fail(err, KM_ERR_INVALID,
                   "km_bconn_accept needs a connection and a place for the "
                   "result");
  }
  km_blocking *b = conn->b;
  int rv = km_blocking_enter_wait(b, err);
  if (rv != 0) {
    return rv;
  }
  km_bdeadline deadline = km_bdeadline_in(timeout_ms);
  bool late = false;
  conn->refs++;
  while (km_list_empty(&conn->incoming) && !conn->ending && !b->closing && !late) {
    late = !km_bcond_wait(&conn->cond, &b->mutex, &deadline);
  }
  if (b->closing || (conn->ending && km_list_empty(&conn->incoming))) {
    rv = km_bconn_fail(conn, err);
  } else if (km_list_empty(&conn->incoming)) {
    rv = km_bfail_timeout(err, timeout_ms, "the peer opened no stream");
  } else {
    *ret = take_incoming(conn);
  }
  km_bconn_unref(conn);
  km_blocking_leave(b);
  return rv;
}
