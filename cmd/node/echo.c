#include "cmd/node/echo.h"

#include <stdlib.h>
#include <string.h>

#include "cmd/node/report.h"

/* Bytes that came and do not fit into the stream's send buffer yet. They are not credited to the
 * peer, so there are never more than one receive window of them. */
typedef struct echo {
  node *n;
  km_conn *conn;
  uint8_t *held;
  size_t held_len, held_cap;
  bool fin, one_way, reset;
  uint64_t received, sent;
} echo;

static bool hold(echo *e, const uint8_t *data, size_t len) {
  if (e->held_len + len > e->held_cap) {
    size_t cap = (e->held_len + len) * 2;
    uint8_t *bigger = realloc(e->held, cap);
    if (bigger == NULL) {
      return false;
    }
    e->held = bigger;
    e->held_cap = cap;
  }
  if (len > 0) {
    memcpy(e->held + e->held_len, data, len);
  }
  e->held_len += len;
  return true;
}

/* Sends what is held, as far as it fits. */
static void drain(echo *e, km_stream *s) {
  size_t taken = 0;
  if ((e->held_len == 0 && !e->fin) || e->reset) {
    return;
  }
  if (km_stream_write(s, e->held, e->held_len, e->fin, &taken, NULL) != 0) {
    km_stream_consume(s, e->held_len); /* stopped by the peer: what comes is dropped */
    e->held_len = 0;
    return;
  }
  e->sent += taken;
  e->held_len -= taken;
  if (taken > 0) {
    memmove(e->held, e->held + taken, e->held_len);
    km_stream_consume(s, taken);
  }
  if (e->held_len == 0) {
    free(e->held);
    e->held = NULL;
    e->held_cap = 0;
  }
}

static void on_data(void *ctx, km_stream *s, const void *data, size_t len, bool fin) {
  echo *e = ctx;
  e->received += len;
  e->fin = e->fin || fin;
  if (e->one_way) {
    km_stream_consume(s, len);
    return;
  }
  if (!hold(e, data, len)) {
    (void)km_stream_reset(s, 1);
    (void)km_stream_stop(s, 1);
    e->reset = true;
    return;
  }
  drain(e, s);
}

static void on_writable(void *ctx, km_stream *s) {
  drain(ctx, s);
}

static void on_reset(void *ctx, km_stream *s, uint64_t code) {
  echo *e = ctx;
  e->reset = true;
  if (!e->one_way) {
    (void)km_stream_reset(s, code); /* the echo of a reset */
  }
}

static void on_closed(void *ctx, km_stream *s, int error) {
  echo *e = ctx;
  (void)error;
  report_stream(e->n, e->conn, s, e->received, e->sent);
  free(e->held);
  free(e);
}

void echo_serve(node *n, km_conn *conn, km_stream *stream) {
  static const km_stream_callbacks callbacks = {
      .size = sizeof callbacks,
      .on_data = on_data,
      .on_writable = on_writable,
      .on_reset = on_reset,
      .on_closed = on_closed,
  };
  echo *e = calloc(1, sizeof *e);
  if (e == NULL) {
    return; /* without callbacks the library resets it */
  }
  e->n = n;
  e->conn = conn;
  e->one_way = !km_stream_is_bidi(stream);
  km_stream_hold_credit(stream, true);
  km_stream_set_callbacks(stream, &callbacks, e);
}
