/* A km_bstream: written, read, broken off, freed. */
#include "endpoint/blocking_impl.h"

/* While the reader has more to read, credit is given back in pieces of this size. */
#define CREDIT_BYTES ((size_t)65536)

typedef struct write_op {
  km_bop op;
  const uint8_t *data;
  size_t len, taken;
  bool fin;
} write_op;

/* --- its life -------------------------------------------------------------------------------- */

static void run(km_blocking *b, km_bwork *work);

km_bstream *km_bstream_new(km_bconn *c) {
  km_bstream *s = km_env_zalloc(&km_env_system, 1, sizeof *s);
  if (s == NULL || km_bcond_init(&s->readable) != 0) {
    km_env_free(&km_env_system, s);
    return NULL;
  }
  s->conn = c;
  c->refs++;
  s->refs = 1;
  km_list_init(&s->all);
  km_list_append(&c->streams, &s->all);
  km_list_init(&s->queue_node);
  km_list_init(&s->write_ops);
  km_bwork_init(&s->work, run);
  return s;
}

void km_bstream_unref(km_bstream *s) {
  if (--s->refs > 0) {
    return;
  }
  km_brx_clear(&s->rx);
  km_list_remove(&s->all);
  (void)pthread_cond_destroy(&s->readable);
  km_bconn_unref(s->conn);
  km_env_free(&km_env_system, s);
}

static int kick(km_bstream *s) {
  km_blocking *b = s->conn->b;
  if (b->ended) {
    return KM_ERR_CLOSED;
  }
  if (!km_bwork_queued(&s->work)) {
    s->refs++; /* until run() */
  }
  return km_bwork_queue(b, &s->work);
}

void km_bstream_wake_all(km_bstream *s) {
  (void)pthread_cond_broadcast(&s->readable);
  km_bop_wake_all(&s->write_ops);
}

/* Bytes that nobody will read make room for others at once. */
static void drop_unread(km_bstream *s) {
  if (!s->accepted) {
    s->conn->incoming_bytes -= s->rx.len;
  }
  s->to_credit += s->rx.len;
  km_brx_clear(&s->rx);
}

void km_bstream_release(km_bstream *s) {
  drop_unread(s);
  s->freed = true;
  if (s->can_send && !s->fin_sent && !s->reset_wanted) {
    s->reset_wanted = true;
    s->reset_code = 0;
  }
  if (s->can_receive && !s->rx_fin && !s->rx_reset && !s->stop_wanted) {
    s->stop_wanted = true;
    s->stop_code = 0;
  }
  km_bstream_wake_all(s);
  (void)kick(s);
  km_bstream_unref(s);
}

/* --- on the loop thread ---------------------------------------------------------------------- */

/* Why writing goes no further; 0 while it does. KM_ERR_CANCELLED: what ended the connection, as
 * soon as that is known. */
static int write_error(const km_bstream *s) {
  if (s->fin_sent || s->reset_wanted) {
    return KM_ERR_STREAM_FINISHED;
  }
  if (s->tx_stopped) {
    return KM_ERR_STREAM_STOPPED;
  }
  if (s->end_error == KM_ERR_CLOSED) {
    return KM_ERR_CANCELLED;
  }
  return s->end_error;
}

static void fail_writes(km_bstream *s, int rv) {
  while (!km_list_empty(&s->write_ops)) {
    km_bop_finish(KM_LIST_ITEM(s->write_ops.next, km_bop, node), rv);
  }
}

static void try_write(km_bstream *s) {
  if (s->stream == NULL || km_list_empty(&s->write_ops)) {
    return;
  }
  write_op *w = KM_LIST_ITEM(s->write_ops.next, write_op, op.node);
  const uint8_t *data = w->len == 0 ? NULL : w->data + w->taken;
  size_t accepted = 0;
  km_bop_begin(s->conn->b, &w->op);
  int rv = km_stream_write(s->stream, data, w->len - w->taken, w->fin, &accepted, &w->op.err);
  km_bop_end(s->conn->b, &w->op);
  if (rv == KM_ERR_CLOSED) {
    return; /* the on_closed of the connection follows and says why */
  }
  if (rv == 0) {
    w->taken += accepted;
    if (w->taken < w->len) {
      return; /* on_writable tells when to go on */
    }
    s->fin_sent = w->fin;
  }
  km_bop_finish(&w->op, rv);
}

static void give_credit(km_bstream *s, size_t len) {
  km_blocking_unlock(s->conn->b);
  km_stream_consume(s->stream, len);
  km_blocking_lock(s->conn->b);
}

static void break_off(km_bstream *s) {
  bool reset = s->reset_wanted, stop = s->stop_wanted, freed = s->freed;
  uint64_t reset_code = s->reset_code, stop_code = s->stop_code;
  km_blocking_unlock(s->conn->b);
  if (stop || freed) {
    km_stream_hold_credit(s->stream, false); /* what still comes is dropped */
  }
  if (reset) {
    (void)km_stream_reset(s->stream, reset_code);
  }
  if (stop) {
    (void)km_stream_stop(s->stream, stop_code);
  }
  km_blocking_lock(s->conn->b);
}

static void run(km_blocking *b, km_bwork *work) {
  (void)b;
  km_bstream *s = KM_LIST_ITEM(work, km_bstream, work);
  size_t credit = s->to_credit;
  s->to_credit = 0;
  if (s->stream != NULL && credit > 0) {
    give_credit(s, credit);
  }
  if (s->stream != NULL && (s->reset_wanted || s->stop_wanted || s->freed)) {
    break_off(s);
  }
  try_write(s);
  km_bstream_unref(s);
}

/* Mutex held. False: nobody wants the bytes. */
static bool keep(km_bstream *s, const void *data, size_t len, bool fin) {
  if (s->freed || s->stop_wanted) {
    return false;
  }
  if (len > 0 && km_brx_append(&s->rx, data, len) != 0) {
    s->rx_nomem = s->stop_wanted = true;
    drop_unread(s);
    (void)kick(s);
    return false;
  }
  if (!s->accepted) {
    s->conn->incoming_bytes += len;
  }
  s->rx_fin = fin;
  return true;
}

static void on_data(void *ctx, km_stream *stream, const void *data, size_t len, bool fin) {
  km_bstream *s = ctx;
  km_blocking *b = s->conn->b;
  km_blocking_lock(b);
  bool kept = keep(s, data, len, fin);
  (void)pthread_cond_broadcast(&s->readable);
  km_blocking_unlock(b);
  if (!kept) {
    km_stream_consume(stream, len);
  }
}

static void on_writable(void *ctx, km_stream *stream) {
  (void)stream;
  km_bstream *s = ctx;
  km_blocking *b = s->conn->b;
  km_blocking_lock(b);
  try_write(s);
  km_blocking_unlock(b);
}

static void on_reset(void *ctx, km_stream *stream, uint64_t code) {
  (void)stream;
  km_bstream *s = ctx;
  km_blocking_lock(s->conn->b);
  s->rx_reset = true;
  s->rx_reset_code = code;
  (void)pthread_cond_broadcast(&s->readable);
  km_blocking_unlock(s->conn->b);
}

static void on_stopped(void *ctx, km_stream *stream, uint64_t code) {
  (void)stream;
  km_bstream *s = ctx;
  km_blocking_lock(s->conn->b);
  s->tx_stopped = true;
  s->tx_stop_code = code;
  fail_writes(s, KM_ERR_STREAM_STOPPED);
  km_blocking_unlock(s->conn->b);
}

/* When the connection ends, its own on_closed follows in this turn and says why. */
static void on_closed(void *ctx, km_stream *stream, int error) {
  (void)stream;
  km_bstream *s = ctx;
  km_blocking *b = s->conn->b;
  km_blocking_lock(b);
  s->stream = NULL;
  s->end_error = error;
  if (error != KM_ERR_CLOSED) {
    int rv = write_error(s);
    fail_writes(s, rv == 0 ? KM_ERR_STREAM_FINISHED : rv);
    (void)pthread_cond_broadcast(&s->readable);
  }
  km_bstream_unref(s);
  km_blocking_unlock(b);
}

const km_stream_callbacks km_bstream_callbacks = {
    .size = sizeof(km_stream_callbacks),
    .on_data = on_data,
    .on_writable = on_writable,
    .on_reset = on_reset,
    .on_stopped = on_stopped,
    .on_closed = on_closed,
};

/* --- writing --------------------------------------------------------------------------------- */

static int fail_write(const km_bstream *s, int rv, const km_errinfo *from, km_errinfo *err) {
  switch (rv) {
  case KM_ERR_CANCELLED:
  case KM_ERR_CLOSED:
    return km_bconn_fail(s->conn, err);
  case KM_ERR_STREAM_STOPPED:
    (void)km_fail(err, rv, NULL);
    if (err != NULL) {
      err->peer_code = s->tx_stop_code;
    }
    return rv;
  default:
    return km_bfail_copy(err, rv, from);
  }
}

static int check_write(const km_bstream *s, km_errinfo *err) {
  const km_errinfo none = {0};
  if (!s->can_send) {
    return km_fail(err, KM_ERR_INVALID, "the stream is receive-only");
  }
  if (!km_list_empty(&s->write_ops)) {
    return km_fail(err, KM_ERR_STATE, "another thread is writing to this stream");
  }
  int rv = write_error(s);
  if (rv == 0 || rv == KM_ERR_CANCELLED) { /* an end whose reason is not known yet is waited for */
    rv = s->conn->ending ? KM_ERR_CANCELLED : 0;
  }
  return rv == 0 ? 0 : fail_write(s, rv, &none, err);
}

static int write_all(km_bstream *s, const void *data, size_t len, bool fin, int timeout_ms,
                     km_errinfo *err) {
  int rv = check_write(s, err);
  if (rv != 0 || (len == 0 && !fin)) {
    return rv;
  }
  write_op w = {.data = data, .len = len, .fin = fin};
  if (km_bop_init(&w.op) != 0) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  km_bdeadline deadline = km_bdeadline_in(timeout_ms);
  km_list_append(&s->write_ops, &w.op.node);
  rv = kick(s);
  if (rv == 0) {
    rv = km_bop_wait(s->conn->b, &w.op, &s->conn->ending, &deadline);
  }
  km_list_remove(&w.op.node);
  km_bop_clear(&w.op);
  if (rv == KM_ERR_TIMEOUT) {
    return km_bfail_timeout(err, timeout_ms, "the peer did not take all of the data");
  }
  return rv == 0 ? 0 : fail_write(s, rv, &w.op.err, err);
}

int km_bstream_write(km_bstream *s, const void *data, size_t len, bool fin, int timeout_ms,
                     km_errinfo *err) {
  if (s == NULL || (data == NULL && len > 0)) {
    return km_fail(err, KM_ERR_INVALID, "km_bstream_write needs a stream and data");
  }
  km_blocking *b = s->conn->b;
  int rv = km_blocking_enter_wait(b, err);
  if (rv != 0) {
    return rv;
  }
  s->refs++;
  rv = write_all(s, data, len, fin, timeout_ms, err);
  km_bstream_unref(s);
  km_blocking_leave(b);
  return rv;
}

/* --- reading --------------------------------------------------------------------------------- */

static bool can_read(const km_bstream *s) {
  return s->rx.len > 0 || s->rx_fin || s->rx_reset || s->stop_wanted || s->freed ||
         s->conn->ending || s->conn->b->closing ||
         (s->end_error != 0 && s->end_error != KM_ERR_CLOSED);
}

/* Nothing is left to read: why? 0 is the end of the stream. */
static int read_end(const km_bstream *s, km_errinfo *err) {
  if (s->conn->b->closing) {
    return km_bfail_closing(err);
  }
  if (s->rx_nomem) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  if (s->stop_wanted || s->freed) {
    return km_fail(err, KM_ERR_CLOSED, "this side stopped reading the stream");
  }
  if (s->rx_fin) {
    return 0;
  }
  if (s->rx_reset) {
    (void)km_fail(err, KM_ERR_STREAM_RESET, NULL);
    if (err != NULL) {
      err->peer_code = s->rx_reset_code;
    }
    return KM_ERR_STREAM_RESET;
  }
  return s->conn->ending ? km_bconn_fail(s->conn, err) : km_fail(err, s->end_error, NULL);
}

/* Mutex held. The bytes in `ret_whole` are still to be copied. */
static int read_some(km_bstream *s, void *buf, size_t cap, size_t *ret_len,
                     km_brx_chunk **ret_whole, int timeout_ms, km_errinfo *err) {
  km_bdeadline deadline = km_bdeadline_in(timeout_ms);
  bool late = false;
  while (!can_read(s) && !late) {
    late = !km_bcond_wait(&s->readable, &s->conn->b->mutex, &deadline);
  }
  if (!can_read(s)) {
    return km_bfail_timeout(err, timeout_ms, "nothing came");
  }
  if (s->rx.len == 0 || s->stop_wanted || s->freed || s->conn->b->closing) {
    int rv = read_end(s, err);
    *ret_len = rv == 0 ? 0 : *ret_len;
    return rv;
  }
  *ret_len = km_brx_take(&s->rx, buf, cap, ret_whole);
  s->to_credit += *ret_len;
  if (s->rx.len == 0 || s->to_credit >= CREDIT_BYTES) {
    (void)kick(s);
  }
  return 0;
}

int km_bstream_read(km_bstream *s, void *buf, size_t cap, size_t *ret_len, int timeout_ms,
                    km_errinfo *err) {
  if (s == NULL || buf == NULL || cap == 0 || ret_len == NULL) {
    return km_fail(err, KM_ERR_INVALID,
                   "km_bstream_read needs a stream, a buffer and a place for "
                   "the length");
  }
  if (!s->can_receive) {
    return km_fail(err, KM_ERR_INVALID, "the stream is send-only");
  }
  km_blocking *b = s->conn->b;
  int rv = km_blocking_enter_wait(b, err);
  if (rv != 0) {
    return rv;
  }
  km_brx_chunk *whole = NULL;
  s->refs++;
  rv = read_some(s, buf, cap, ret_len, &whole, timeout_ms, err);
  km_bstream_unref(s);
  km_blocking_leave(b);
  km_brx_copy_whole(whole, buf);
  return rv;
}

/* --- breaking off and freeing ---------------------------------------------------------------- */

/* A call that returns nothing cannot refuse a code: more than fits counts as the most that fits. */
static uint64_t cut_code(uint64_t code) {
  return code < KM_BLOCKING_CODE_MAX ? code : KM_BLOCKING_CODE_MAX;
}

void km_bstream_reset(km_bstream *s, uint64_t code) {
  if (s == NULL) {
    return;
  }
  km_blocking *b = s->conn->b;
  km_blocking_enter(b);
  if (s->can_send && !s->reset_wanted) {
    s->reset_wanted = true;
    s->reset_code = cut_code(code);
    fail_writes(s, KM_ERR_STREAM_FINISHED);
    (void)kick(s);
  }
  km_blocking_leave(b);
}

void km_bstream_stop(km_bstream *s, uint64_t code) {
  if (s == NULL) {
    return;
  }
  km_blocking *b = s->conn->b;
  km_blocking_enter(b);
  if (s->can_receive && !s->stop_wanted) {
    s->stop_wanted = true;
    s->stop_code = cut_code(code);
    drop_unread(s);
    km_bstream_wake_all(s);
    (void)kick(s);
  }
  km_blocking_leave(b);
}

void km_bstream_free(km_bstream *s) {
  if (s == NULL) {
    return;
  }
  km_blocking *b = s->conn->b;
  km_blocking_enter(b);
  km_bstream_release(s);
  km_blocking_leave(b);
}
