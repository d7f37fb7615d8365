/* Streams: the application's side of them, and what ngtcp2 reports about them. */
#include <string.h>

#include "endpoint/conn_impl.h"

/* A writer is woken when this part of its buffer is free, not for every acknowledged byte. */
#define WAKE_FRACTION 4u

/* --- life ------------------------------------------------------------------------------------ */

static void link_front(km_stream **first, km_stream *s) {
  s->prev = NULL;
  s->next = *first;
  if (s->next != NULL) {
    s->next->prev = s;
  }
  *first = s;
}

km_stream *km_stream_new(km_conn *conn, int64_t id, bool bidi, bool local) {
  km_stream *s = km_env_zalloc(&conn->ep->env, 1, sizeof *s);
  if (s == NULL) {
    return NULL;
  }
  s->conn = conn;
  s->id = id;
  s->bidi = bidi;
  s->local = local;
  km_send_queue_init(&s->send);
  if (!bidi && local) {
    s->fin_received = true;
  } else if (!bidi) {
    s->fin_queued = s->fin_sent = s->fin_acked = s->delivered = true;
  }
  if (id >= 0) {
    link_front(&conn->streams, s);
    conn->stream_count++;
  }
  return s;
}

static bool can_send(const km_stream *s) {
  return s->bidi || s->local;
}

static bool can_receive(const km_stream *s) {
  return s->bidi || !s->local;
}

static void append_waiting(km_conn *conn, km_stream *s) {
  s->waiting = true;
  s->prev = conn->waiting_last;
  if (conn->waiting_last == NULL) {
    conn->waiting_first = s;
  } else {
    conn->waiting_last->next = s;
  }
  conn->waiting_last = s;
  conn->waiting_count++;
}

static void unlink_stream(km_stream *s) {
  km_conn *conn = s->conn;
  if (s->prev != NULL) {
    s->prev->next = s->next;
  } else if (s->waiting) {
    conn->waiting_first = s->next;
  } else {
    conn->streams = s->next;
  }
  if (s->next != NULL) {
    s->next->prev = s->prev;
  } else if (s->waiting) {
    conn->waiting_last = s->prev;
  }
  if (s->waiting) {
    conn->waiting_count--;
  } else {
    conn->stream_count--;
  }
  s->waiting = false;
  s->prev = s->next = NULL;
}

/* Gives back what the peer was promised and the application never took. */
static void return_credit(km_stream *s, bool stream_lives) {
  uint64_t n = s->uncredited;
  s->uncredited = 0;
  if (n == 0 || s->conn->quic == NULL) {
    return;
  }
  ngtcp2_conn_extend_max_offset(s->conn->quic, n);
  if (stream_lives) {
    (void)ngtcp2_conn_extend_max_stream_offset(s->conn->quic, s->id, n);
  }
}

static void tell_delivered(km_stream *s) {
  if (s->delivered || !s->fin_acked || km_send_queue_buffered(&s->send) > 0) {
    return;
  }
  s->delivered = true;
  if (s->cb.on_delivered != NULL && s->conn->state != KM_CONN_CLOSING) {
    s->cb.on_delivered(s->ctx, s);
  }
}

void km_stream_finish(km_stream *s, int error) {
  km_conn *conn = s->conn;
  if (error == 0 && s->fin_sent && !s->reset_sent) {
    s->fin_acked = true; /* QUIC closes a stream only when all of it was acknowledged */
    tell_delivered(s);
  }
  return_credit(s, false);
  km_stream_sched_remove(&conn->sched, &s->sched);
  unlink_stream(s);
  s->reset_sent = s->stop_sent = true; /* a release function may try to write */
  km_send_queue_clear(&s->send, &conn->ep->send_pool);
  if (s->cb.on_closed != NULL) {
    s->cb.on_closed(s->ctx, s, error);
  }
  km_env_free(&conn->ep->env, s);
}

/* --- opening --------------------------------------------------------------------------------- */

static int give_id(km_conn *conn, km_stream *s) {
  int rv = s->bidi ? ngtcp2_conn_open_bidi_stream(conn->quic, &s->id, s)
                   : ngtcp2_conn_open_uni_stream(conn->quic, &s->id, s);
  if (rv != 0) {
    s->id = -1;
    return rv == NGTCP2_ERR_STREAM_ID_BLOCKED ? KM_ERR_STREAM_LIMIT : KM_ERR_NOMEM;
  }
  s->early = !conn->progress.completed;
  return 0;
}

static bool may_have_ids(const km_conn *conn) {
  return conn->progress.completed || !conn->is_client || conn->early == KM_EARLY_PENDING;
}

/* Takes over what was asked of the stream while it waited. */
static void catch_up(km_stream *s) {
  ngtcp2_conn *quic = s->conn->quic;
  if (s->reset_sent) {
    (void)ngtcp2_conn_shutdown_stream_write(quic, 0, s->id, s->reset_code);
  }
  if (s->stop_sent) {
    (void)ngtcp2_conn_shutdown_stream_read(quic, 0, s->id, s->stop_code);
  }
  km_stream_became_ready(s);
}

void km_stream_start_waiting(km_conn *conn) {
  while (conn->waiting_first != NULL && conn->state != KM_CONN_CLOSING) {
    km_stream *s = conn->waiting_first;
    int rv = give_id(conn, s);
    if (rv == KM_ERR_STREAM_LIMIT) {
      return;
    }
    if (rv != 0) {
      km_stream_finish(s, rv);
      continue;
    }
    unlink_stream(s);
    link_front(&conn->streams, s);
    conn->stream_count++;
    catch_up(s);
  }
}

/* QUIC counts from the first id again: what callbacks of the first stream do to the others, or
 * open, must not meet under the same id. */
void km_stream_lose_early(km_conn *conn) {
  for (km_stream *s = conn->streams; s != NULL; s = s->next) {
    s->id = -1;
    s->lost = s->reset_sent = s->stop_sent = true;
    km_stream_sched_remove(&conn->sched, &s->sched);
  }
  km_stream *next;
  for (km_stream *s = conn->streams; s != NULL; s = next) {
    next = s->next; /* new ones go to the front */
    if (s->lost) {
      km_stream_finish(s, KM_ERR_EARLY_DATA_REJECTED);
    }
  }
}

static void take_callbacks(km_stream *s, const km_stream_callbacks *callbacks, void *ctx) {
  memset(&s->cb, 0, sizeof s->cb);
  s->has_callbacks = callbacks != NULL;
  if (callbacks != NULL) {
    size_t size =
        callbacks->size == 0 || callbacks->size > sizeof s->cb ? sizeof s->cb : callbacks->size;
    memcpy(&s->cb, callbacks, size);
  }
  s->ctx = ctx;
}

static void want_streams(km_conn *conn, bool bidi) {
  if (bidi) {
    conn->bidi_wanted = true;
  } else {
    conn->uni_wanted = true;
  }
}

int km_conn_open_stream(km_conn *conn, km_stream **ret, bool bidi,
                        const km_stream_callbacks *callbacks, void *ctx) {
  if (conn == NULL || ret == NULL) {
    return KM_ERR_INVALID;
  }
  if (conn->state == KM_CONN_CLOSING) {
    return KM_ERR_CLOSED;
  }
  if (!conn->is_client && !conn->reported_connected) {
    return KM_ERR_STATE;
  }
  bool wait = !may_have_ids(conn) || conn->waiting_first != NULL;
  if (wait && conn->waiting_count >= KM_CONN_MAX_WAITING_STREAMS) {
    want_streams(conn, bidi);
    return KM_ERR_STREAM_LIMIT;
  }
  km_stream *s = km_stream_new(conn, -1, bidi, true);
  if (s == NULL) {
    return KM_ERR_NOMEM;
  }
  int rv = wait ? 0 : give_id(conn, s);
  if (rv != 0) {
    if (rv == KM_ERR_STREAM_LIMIT) {
      want_streams(conn, bidi);
    }
    km_env_free(&conn->ep->env, s);
    return rv;
  }
  take_callbacks(s, callbacks, ctx);
  if (wait) {
    append_waiting(conn, s);
  } else {
    link_front(&conn->streams, s);
    conn->stream_count++;
  }
  *ret = s;
  return 0;
}

/* --- questions ------------------------------------------------------------------------------- */

void km_stream_set_callbacks(km_stream *s, const km_stream_callbacks *callbacks, void *ctx) {
  take_callbacks(s, callbacks, ctx);
}

void *km_stream_ctx(const km_stream *s) {
  return s->ctx;
}

km_conn *km_stream_conn(const km_stream *s) {
  return s->conn;
}

int64_t km_stream_id(const km_stream *s) {
  return s->id;
}

bool km_stream_is_bidi(const km_stream *s) {
  return s->bidi;
}

bool km_stream_is_local(const km_stream *s) {
  return s->local;
}

int8_t km_stream_priority(const km_stream *s) {
  return s->sched.priority;
}

void km_stream_set_priority(km_stream *s, int8_t priority) {
  bool queued = s->sched.queued;
  km_stream_sched_remove(&s->conn->sched, &s->sched);
  s->sched.priority = priority;
  if (queued) {
    km_stream_sched_add(&s->conn->sched, &s->sched);
  }
}

/* --- sending --------------------------------------------------------------------------------- */

bool km_stream_frames_full(const km_stream *s) {
  return s->frames_old + s->frames_new >= KM_STREAM_MAX_FRAMES;
}

void km_stream_became_ready(km_stream *s) {
  bool has = km_send_queue_waiting(&s->send) > 0 || (s->fin_queued && !s->fin_sent);
  if (s->id < 0 || !has || s->flow_blocked || s->reset_sent || s->stopped ||
      km_stream_frames_full(s)) {
    return;
  }
  km_stream_sched_add(&s->conn->sched, &s->sched);
  km_conn_mark_dirty(s->conn);
}

static int check_writable(const km_stream *s, const void *data, size_t len, km_errinfo *err) {
  if (s == NULL || (data == NULL && len > 0)) {
    return km_fail(err, KM_ERR_INVALID, "a stream and data are needed");
  }
  if (!can_send(s)) {
    return km_fail(err, KM_ERR_INVALID, "the stream is receive-only: the peer opened it one-way");
  }
  if (s->conn->state == KM_CONN_CLOSING) {
    return km_fail(err, KM_ERR_CLOSED, "the connection is closing");
  }
  if (s->stopped) {
    int rv = km_fail(err, KM_ERR_STREAM_STOPPED, "the peer stopped reading the stream, code %llu",
                     (unsigned long long)s->peer_code);
    if (err != NULL) {
      err->peer_code = s->peer_code;
    }
    return rv;
  }
  return s->fin_queued || s->reset_sent ? km_fail(err, KM_ERR_STREAM_FINISHED, NULL) : 0;
}

static size_t room_of(const km_stream *s) {
  uint64_t used = km_send_queue_buffered(&s->send);
  uint32_t cap = s->conn->ep->opt.send_buffer;
  return used >= cap ? 0 : (size_t)(cap - used);
}

int km_stream_write(km_stream *s, const void *data, size_t len, bool fin, size_t *accepted,
                    km_errinfo *err) {
  int rv = check_writable(s, data, len, err);
  if (rv != 0) {
    return rv;
  }
  if (accepted == NULL && len > 0) {
    return km_fail(err, KM_ERR_INVALID, "`accepted` may be NULL only without data");
  }
  size_t room = room_of(s);
  size_t want = len < room ? len : room;
  size_t taken = want == 0 ? 0 : km_send_queue_copy(&s->send, &s->conn->ep->send_pool, data, want);
  if (taken == 0 && want > 0) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  if (taken < len) {
    s->wants_writable = true;
  } else {
    s->fin_queued = fin;
  }
  if (accepted != NULL) {
    *accepted = taken;
  }
  km_stream_became_ready(s);
  return 0;
}

int km_stream_write_ref(km_stream *s, const void *data, size_t len, bool fin,
                        void (*release)(void *ctx, const void *data, size_t len), void *ctx,
                        km_errinfo *err) {
  int rv = check_writable(s, data, len, err);
  if (rv != 0) {
    return rv;
  }
  if (len == 0 || release == NULL || len > s->conn->ep->opt.send_buffer) {
    return km_fail(err, KM_ERR_INVALID, "lend 1 to %u bytes, and give a release function",
                   s->conn->ep->opt.send_buffer);
  }
  if (room_of(s) == 0) {
    s->wants_writable = true;
    return km_fail(err, KM_ERR_AGAIN, "the stream's buffer is full");
  }
  rv = km_send_queue_lend(&s->send, &s->conn->ep->send_pool, data, len, release, ctx);
  if (rv != 0) {
    return km_fail(err, rv, NULL);
  }
  s->fin_queued = fin;
  km_stream_became_ready(s);
  return 0;
}

size_t km_stream_writable(const km_stream *s) {
  return check_writable(s, NULL, 0, NULL) != 0 ? 0 : room_of(s);
}

int km_stream_reset(km_stream *s, uint64_t code) {
  if (s == NULL || !can_send(s) || code > KM_QUIC_CODE_MAX) {
    return KM_ERR_INVALID;
  }
  if (s->conn->state == KM_CONN_CLOSING) {
    return KM_ERR_CLOSED;
  }
  if (s->reset_sent || s->fin_acked) {
    return 0;
  }
  s->reset_sent = true;
  s->reset_code = code;
  if (s->error == 0) {
    s->error = KM_ERR_STREAM_RESET;
  }
  km_stream_sched_remove(&s->conn->sched, &s->sched);
  if (s->id >= 0) {
    (void)ngtcp2_conn_shutdown_stream_write(s->conn->quic, 0, s->id, code);
  }
  km_conn_mark_dirty(s->conn);
  return 0;
}

void km_stream_data_acked(km_stream *s, uint64_t offset, uint64_t len) {
  (void)offset;
  if (len > km_send_queue_buffered(&s->send)) {
    return; /* of a stream that was reset and let go of its bytes */
  }
  km_send_queue_acked(&s->send, &s->conn->ep->send_pool, len);
  bool all = km_send_queue_buffered(&s->send) == 0;
  if (s->send.acked >= s->frames_old_end) {
    s->frames_old = s->send.acked == s->send.sent ? 0 : s->frames_new;
    s->frames_new = 0;
    s->frames_old_end = s->send.sent;
  }
  s->fin_acked = s->fin_acked || (s->fin_sent && (len == 0 || (all && s->fin_with_data)));
  km_stream_became_ready(s); /* it may have waited for frames to be acknowledged */
  tell_delivered(s);
  if (s->wants_writable && room_of(s) >= s->conn->ep->opt.send_buffer / WAKE_FRACTION) {
    s->wants_writable = false;
    if (s->cb.on_writable != NULL && s->conn->state != KM_CONN_CLOSING) {
      s->cb.on_writable(s->ctx, s);
    }
  }
}

void km_stream_was_stopped(km_stream *s, uint64_t code) {
  if (s->fin_acked || s->stopped) {
    return;
  }
  s->stopped = true;
  s->peer_code = code;
  if (s->error == 0) {
    s->error = KM_ERR_STREAM_STOPPED;
  }
  km_stream_sched_remove(&s->conn->sched, &s->sched);
  if (s->cb.on_stopped != NULL && s->conn->state != KM_CONN_CLOSING) {
    s->cb.on_stopped(s->ctx, s, code);
  }
}

/* --- receiving ------------------------------------------------------------------------------- */

void km_stream_data_came(km_stream *s, const uint8_t *data, size_t len, bool fin) {
  s->conn->stream_rx += len;
  s->fin_received = s->fin_received || fin;
  s->uncredited += len;
  if (s->cb.on_data == NULL || s->stop_sent) {
    return_credit(s, true);
    return;
  }
  /* ngtcp2 has no pointer for an end without bytes; applications hand it to memcpy. */
  s->cb.on_data(s->ctx, s, len == 0 ? (const uint8_t *)"" : data, len, fin);
  if (!s->hold_credit) {
    return_credit(s, true);
  }
}

void km_stream_hold_credit(km_stream *s, bool hold) {
  s->hold_credit = hold;
  if (!hold && s->id >= 0 && s->conn->state != KM_CONN_CLOSING) {
    return_credit(s, true);
    km_conn_mark_dirty(s->conn);
  }
}

void km_stream_consume(km_stream *s, size_t len) {
  uint64_t n = len < s->uncredited ? len : s->uncredited;
  if (n == 0 || s->conn->state == KM_CONN_CLOSING) {
    return;
  }
  uint64_t rest = s->uncredited - n;
  s->uncredited = n;
  return_credit(s, true);
  s->uncredited = rest;
  km_conn_mark_dirty(s->conn);
}

int km_stream_stop(km_stream *s, uint64_t code) {
  if (s == NULL || !can_receive(s) || code > KM_QUIC_CODE_MAX) {
    return KM_ERR_INVALID;
  }
  if (s->conn->state == KM_CONN_CLOSING) {
    return KM_ERR_CLOSED;
  }
  if (s->stop_sent || s->fin_received || s->reset_received) {
    return 0;
  }
  s->stop_sent = true;
  s->stop_code = code;
  if (s->id >= 0) {
    (void)ngtcp2_conn_shutdown_stream_read(s->conn->quic, 0, s->id, code);
    if (!s->conn->in_quic) {
      return_credit(s, true);
    }
  }
  km_conn_mark_dirty(s->conn);
  return 0;
}

void km_stream_was_reset(km_stream *s, uint64_t code) {
  s->reset_received = true;
  if (s->error == 0) {
    s->error = KM_ERR_STREAM_RESET;
  }
  return_credit(s, true);
  if (s->cb.on_reset != NULL && s->conn->state != KM_CONN_CLOSING) {
    s->cb.on_reset(s->ctx, s, code);
  }
}
