/* A km_bconn: dialled, closed, waited for, freed. */
#include <string.h>

#include "endpoint/blocking_impl.h"

/* --- its life -------------------------------------------------------------------------------- */

static void run(km_blocking *b, km_bwork *work);

km_bconn *km_bconn_new(km_blocking *b) {
  km_bconn *c = km_env_zalloc(&km_env_system, 1, sizeof *c);
  if (c == NULL || km_bcond_init(&c->cond) != 0) {
    km_env_free(&km_env_system, c);
    return NULL;
  }
  c->b = b;
  b->refs++;
  c->refs = 1;
  km_list_init(&c->all);
  km_list_append(&b->conns, &c->all);
  km_list_init(&c->queue_node);
  km_bwork_init(&c->work, run);
  km_list_init(&c->streams);
  km_list_init(&c->incoming);
  km_list_init(&c->open_ops);
  km_list_init(&c->datagram_ops);
  km_list_init(&c->datagrams);
  return c;
}

void km_bconn_unref(km_bconn *c) {
  if (--c->refs > 0) {
    return;
  }
  km_addr_free(c->dial_addr);
  km_list_remove(&c->all);
  (void)pthread_cond_destroy(&c->cond);
  km_blocking_unref(c->b);
  km_env_free(&km_env_system, c);
}

int km_bconn_kick(km_bconn *c) {
  if (c->b->ended) {
    return KM_ERR_CLOSED;
  }
  if (!km_bwork_queued(&c->work)) {
    c->refs++; /* until run() */
  }
  return km_bwork_queue(c->b, &c->work);
}

void km_bconn_wake_all(km_bconn *c) {
  (void)pthread_cond_broadcast(&c->cond);
  km_bop_wake_all(&c->open_ops);
  km_bop_wake_all(&c->datagram_ops);
  for (km_list *n = c->streams.next; n != &c->streams; n = n->next) {
    km_bstream_wake_all(KM_LIST_ITEM(n, km_bstream, all));
  }
}

int km_bconn_fail(const km_bconn *c, km_errinfo *err) {
  if (c->b->closing) {
    return km_bfail_closing(err);
  }
  if (!c->closed || c->info.error == KM_OK) {
    return km_fail(err, KM_ERR_CLOSED, "the connection was closed on this side");
  }
  int rv = km_fail(err, c->info.error, "%s", c->info.text);
  if (err != NULL) {
    err->peer_code = c->info.code;
  }
  return rv;
}

static void want_close(km_bconn *c, uint64_t code, const void *reason, size_t len) {
  if (c->ending) {
    return;
  }
  c->close_wanted = c->ending = true;
  c->close_code = code;
  c->reason_len = len < KM_BLOCKING_REASON_MAX ? len : KM_BLOCKING_REASON_MAX;
  if (reason == NULL) {
    c->reason_len = 0;
  } else {
    memcpy(c->reason, reason, c->reason_len);
  }
  km_bconn_wake_all(c);
  (void)km_bconn_kick(c);
}

void km_bconn_release(km_bconn *c) {
  c->freed = true;
  want_close(c, 0, NULL, 0);
  while (!km_list_empty(&c->incoming)) {
    km_bstream *s = KM_LIST_ITEM(c->incoming.next, km_bstream, queue_node);
    km_list_remove(&s->queue_node);
    km_bstream_release(s);
  }
  km_bconn_drop_datagrams(c);
  km_bconn_unref(c);
}

/* --- on the loop thread ---------------------------------------------------------------------- */

static void on_connected(void *ctx, km_conn *conn) {
  (void)conn;
  km_bconn *c = ctx;
  km_blocking_lock(c->b);
  c->connected = true;
  (void)pthread_cond_broadcast(&c->cond);
  km_blocking_unlock(c->b);
}

static void on_closed(void *ctx, km_conn *conn, const km_close_info *info) {
  (void)conn;
  km_bconn *c = ctx;
  km_blocking *b = c->b;
  km_blocking_lock(b);
  c->conn = NULL;
  c->info = *info;
  c->info.reason = c->reason;
  if (c->info.reason_len > KM_BLOCKING_REASON_MAX) {
    c->info.reason_len = KM_BLOCKING_REASON_MAX;
  }
  if (c->info.reason_len > 0) {
    memcpy(c->reason, info->reason, c->info.reason_len);
  }
  c->closed = c->ending = true;
  km_bconn_wake_all(c);
  km_bconn_unref(c);
  km_blocking_unlock(b);
}

static void on_datagrams_sendable(void *ctx, km_conn *conn) {
  (void)conn;
  km_bconn *c = ctx;
  km_blocking *b = c->b;
  km_blocking_lock(b);
  km_bconn_try_datagrams(c);
  km_blocking_unlock(b);
}

static void on_streams_available(void *ctx, km_conn *conn) {
  (void)conn;
  km_bconn *c = ctx;
  km_blocking *b = c->b;
  km_blocking_lock(b);
  km_bconn_try_opens(c);
  km_blocking_unlock(b);
}

const km_conn_callbacks km_bconn_callbacks = {
    .size = sizeof(km_conn_callbacks),
    .on_connected = on_connected,
    .on_stream = km_bconn_on_stream,
    .on_datagram = km_bconn_on_datagram,
    .on_datagrams_sendable = on_datagrams_sendable,
    .on_streams_available = on_streams_available,
    .on_closed = on_closed,
};

static void dial(km_bconn *c) {
  km_blocking *b = c->b;
  km_addr *addr = c->dial_addr;
  km_conn *conn = NULL;
  int rv = KM_ERR_CLOSED;
  c->dial_addr = NULL;
  if (!b->closing && !c->close_wanted) {
    km_blocking_unlock(b);
    rv = km_endpoint_dial(b->endpoint, &conn, addr, c->alpn, &km_bconn_callbacks, c, NULL,
                          &c->dial_err);
    km_blocking_lock(b);
  }
  km_addr_free(addr);
  if (rv == 0) {
    c->conn = conn;
    c->refs++; /* for `conn` */
  }
  c->dial_rv = rv;
  c->dial_tried = true;
  (void)pthread_cond_broadcast(&c->cond);
}

static void close_conn(km_bconn *c) {
  c->close_begun = true;
  km_blocking_unlock(c->b);
  km_conn_close(c->conn, c->close_code, c->reason, c->reason_len);
  km_blocking_lock(c->b);
}

static void run(km_blocking *b, km_bwork *work) {
  (void)b;
  km_bconn *c = KM_LIST_ITEM(work, km_bconn, work);
  if (c->dial_addr != NULL) {
    dial(c);
  }
  if (c->conn != NULL && !c->close_begun) {
    if (c->close_wanted) {
      close_conn(c);
    } else {
      km_bconn_try_opens(c);
      km_bconn_try_datagrams(c);
    }
  }
  km_bconn_unref(c);
}

/* --- dialling -------------------------------------------------------------------------------- */

static km_bconn *new_dialled(km_blocking *b, const km_addr *addr, const char *alpn, int *ret_rv) {
  km_bconn *c = km_bconn_new(b);
  if (c == NULL) {
    *ret_rv = KM_ERR_NOMEM;
    return NULL;
  }
  c->remote_id = *km_addr_id(addr);
  memcpy(c->alpn, alpn, strlen(alpn));
  *ret_rv = km_addr_copy(&c->dial_addr, addr);
  if (*ret_rv != 0) {
    c->dial_addr = NULL;
    km_bconn_unref(c);
    return NULL;
  }
  return c;
}

/* 0 when connected. */
static int wait_dialled(km_bconn *c, int timeout_ms, km_errinfo *err) {
  km_blocking *b = c->b;
  const km_bdeadline never = {.never = true};
  km_bdeadline deadline = km_bdeadline_in(timeout_ms);
  bool late = false;
  while (!c->connected && !c->closed && !b->closing && c->dial_rv == 0 &&
         !(late && c->dial_tried)) {
    late = !km_bcond_wait(&c->cond, &b->mutex, late ? &never : &deadline) || late;
  }
  if (b->closing) {
    return km_bfail_closing(err);
  }
  if (c->connected) {
    return 0;
  }
  if (c->dial_rv != 0) {
    return km_bfail_copy(err, c->dial_rv, &c->dial_err);
  }
  return c->closed ? km_bconn_fail(c, err)
                   : km_bfail_timeout(err, timeout_ms, "the peer did not answer");
}

int km_blocking_dial(km_blocking *b, km_bconn **ret, const km_addr *addr, const char *alpn,
                     int timeout_ms, km_errinfo *err) {
  if (b == NULL || ret == NULL || addr == NULL || alpn == NULL) {
    return km_fail(err, KM_ERR_INVALID,
                   "km_blocking_dial needs an address, an ALPN and a place "
                   "for the result");
  }
  if (alpn[0] == '\0' || strnlen(alpn, KM_BLOCKING_ALPN_MAX + 1) > KM_BLOCKING_ALPN_MAX) {
    return km_fail(err, KM_ERR_BAD_ALPN, "an ALPN has 1 to %d bytes", KM_BLOCKING_ALPN_MAX);
  }
  int rv = km_blocking_enter_wait(b, err);
  if (rv != 0) {
    return rv;
  }
  km_bconn *c = new_dialled(b, addr, alpn, &rv);
  if (c == NULL) {
    km_blocking_leave(b);
    return km_fail(err, rv, NULL);
  }
  rv = km_bconn_kick(c);
  rv = rv != 0 ? km_fail(err, rv, NULL) : wait_dialled(c, timeout_ms, err);
  if (rv == 0) {
    *ret = c;
  } else {
    km_bconn_release(c);
  }
  km_blocking_leave(b);
  return rv;
}

/* --- calls ----------------------------------------------------------------------------------- */

const km_id *km_bconn_remote_id(const km_bconn *conn) {
  return &conn->remote_id;
}

const char *km_bconn_alpn(const km_bconn *conn) {
  return conn->alpn;
}

void km_bconn_close(km_bconn *conn, uint64_t code, const void *reason, size_t len) {
  if (conn == NULL) {
    return;
  }
  km_blocking *b = conn->b;
  km_blocking_enter(b);
  want_close(conn, code, reason, len);
  km_blocking_leave(b);
}

int km_bconn_wait_closed(km_bconn *conn, km_close_info *ret, int timeout_ms) {
  if (conn == NULL || ret == NULL) {
    return KM_ERR_INVALID;
  }
  km_blocking *b = conn->b;
  km_blocking_enter(b);
  if (!b->ended && pthread_equal(pthread_self(), b->loop_thread)) {
    km_blocking_leave(b);
    return KM_ERR_THREAD;
  }
  km_bdeadline deadline = km_bdeadline_in(timeout_ms);
  bool late = false;
  conn->refs++;
  while (!conn->closed && !late) {
    late = !km_bcond_wait(&conn->cond, &b->mutex, &deadline);
  }
  int rv = conn->closed ? 0 : KM_ERR_TIMEOUT;
  if (rv == 0) {
    *ret = conn->info;
  }
  km_bconn_unref(conn);
  km_blocking_leave(b);
  return rv;
}

void km_bconn_free(km_bconn *conn) {
  if (conn == NULL) {
    return;
  }
  km_blocking *b = conn->b;
  km_blocking_enter(b);
  km_bconn_release(conn);
  km_blocking_leave(b);
}
