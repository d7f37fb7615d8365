#include "test/endpoint/lab.h"

#include <time.h>

#include "test/endpoint/tap.h"

enum { PATTERN = 65521, TURN_MS = 50 }; /* a prime: repeats fit no power of two */

/* --- time and memory ------------------------------------------------------------------------- */

uint64_t lab_now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

bool lab_turn(lab *l, uint64_t until_ms) {
  uint64_t now = lab_now_ms();
  if (now >= until_ms) {
    return false;
  }
  uint64_t left = until_ms - now;
  km_loop_run_once(l->loop, left < TURN_MS ? (int)left : TURN_MS);
  return true;
}

void lab_run_for(lab *l, unsigned ms) {
  uint64_t until = lab_now_ms() + ms;
  while (lab_turn(l, until)) {
  }
}

void *lab_alloc(lab *l, size_t size) {
  void *p = calloc(1, size);
  void **grown = realloc(l->garbage, (l->garbage_count + 1) * sizeof *grown);
  assert_true(p != NULL && grown != NULL);
  l->garbage = grown;
  l->garbage[l->garbage_count++] = p;
  return p;
}

void lab_open(lab *l) {
  memset(l, 0, sizeof *l);
  assert_true(sodium_init() >= 0);
  assert_int_equal(km_loop_new(&l->loop), 0);
}

void lab_close(lab *l) {
  for (size_t i = 0; i < l->endpoint_count; i++) {
    km_endpoint_close(l->endpoints[i]->ep);
  }
  for (size_t i = 0; i < l->endpoint_count; i++) {
    LAB_WAIT(l, l->endpoints[i]->ep == NULL);
  }
  lab_taps_close(l);
  assert_int_equal(km_loop_free(l->loop), 0);
  for (size_t i = 0; i < l->garbage_count; i++) {
    free(l->garbage[i]);
  }
  free(l->garbage);
}

/* --- streams --------------------------------------------------------------------------------- */

/* The byte of the pattern at an offset; `block` holds PATTERN of them. */
static const uint8_t *pattern(void) {
  static uint8_t block[2 * PATTERN];
  if (block[1] == 0) {
    for (uint32_t i = 0; i < PATTERN; i++) {
      block[i] = block[i + PATTERN] = (uint8_t)((i * 2654435761u) >> 21 | 1u);
    }
  }
  return block;
}

static void send_pattern(lab_stream *s) {
  while (s->stream != NULL && s->sent < s->to_send) {
    uint64_t left = s->to_send - s->sent;
    size_t len = left < PATTERN ? (size_t)left : PATTERN;
    size_t taken = 0;
    int rv = km_stream_write(s->stream, pattern() + s->sent % PATTERN, len,
                             s->finish && len == left, &taken, NULL);
    if (rv != 0 || taken == 0) {
      return;
    }
    s->sent += taken;
  }
}

static void send_echo(lab_stream *s) {
  size_t done = 0;
  while (done < s->echo_len) {
    size_t taken = 0;
    if (km_stream_write(s->stream, s->echo + done, s->echo_len - done, s->echo_fin, &taken, NULL) !=
        0) {
      km_stream_consume(s->stream, s->echo_len); /* nobody wants it any more */
      s->echo_len = 0;
      return;
    }
    if (taken == 0) {
      break;
    }
    done += taken;
    km_stream_consume(s->stream, taken);
  }
  s->echo_len -= done;
  if (s->echo_len > 0) {
    memmove(s->echo, s->echo + done, s->echo_len);
  }
}

static void keep_echo(lab_stream *s, const void *data, size_t len) {
  if (s->echo_len + len > s->echo_cap) {
    s->echo_cap = 2 * (s->echo_len + len);
    s->echo = realloc(s->echo, s->echo_cap);
    assert_non_null(s->echo);
  }
  if (len > 0) {
    memcpy(s->echo + s->echo_len, data, len);
  }
  s->echo_len += len;
}

static void on_data(void *ctx, km_stream *stream, const void *data, size_t len, bool fin) {
  lab_stream *s = ctx;
  assert_ptr_equal(stream, s->stream);
  assert_int_equal(s->fins, 0); /* nothing comes behind the end */
  for (size_t i = 0; i < len && s->received + i < sizeof s->first; i++) {
    s->first[s->received + i] = ((const uint8_t *)data)[i];
  }
  crypto_hash_sha256_update(&s->hash, data, len);
  s->received += len;
  s->fins += fin;
  if (s->mode != LAB_ECHO) {
    return;
  }
  keep_echo(s, data, len);
  s->echo_fin = fin;
  if (fin && s->echo_len == 0) {
    (void)!km_stream_write(stream, NULL, 0, true, NULL, NULL);
  }
  send_echo(s);
}

static void on_writable(void *ctx, km_stream *stream) {
  lab_stream *s = ctx;
  assert_ptr_equal(stream, s->stream);
  s->on_writable++;
  send_pattern(s);
  if (s->mode == LAB_ECHO) {
    send_echo(s);
  }
}

static void on_delivered(void *ctx, km_stream *stream) {
  lab_stream *s = ctx;
  assert_ptr_equal(stream, s->stream);
  s->on_delivered++;
}

static void on_reset(void *ctx, km_stream *stream, uint64_t code) {
  lab_stream *s = ctx;
  assert_ptr_equal(stream, s->stream);
  s->reset = true;
  s->reset_code = code;
}

static void on_stopped(void *ctx, km_stream *stream, uint64_t code) {
  lab_stream *s = ctx;
  assert_ptr_equal(stream, s->stream);
  s->stopped = true;
  s->stop_code = code;
}

static void on_stream_closed(void *ctx, km_stream *stream, int error) {
  lab_stream *s = ctx;
  assert_ptr_equal(stream, s->stream);
  s->stream = NULL;
  s->closed = true;
  s->error = error;
  s->closed_order = ++s->owner->lab->closed_streams;
  free(s->echo);
  s->echo = NULL;
  s->echo_len = s->echo_cap = 0;
}

static const km_stream_callbacks stream_callbacks = {
    .size = sizeof stream_callbacks,
    .on_data = on_data,
    .on_writable = on_writable,
    .on_delivered = on_delivered,
    .on_reset = on_reset,
    .on_stopped = on_stopped,
    .on_closed = on_stream_closed,
};

static lab_stream *stream_new(lab_conn *c, lab_mode mode) {
  lab_stream *s = lab_alloc(c->lab, sizeof *s);
  s->owner = c;
  s->mode = mode;
  crypto_hash_sha256_init(&s->hash);
  return s;
}

lab_stream *lab_stream_open(lab_conn *c, bool bidi) {
  lab_stream *s = stream_new(c, LAB_RECORD);
  assert_int_equal(km_conn_open_stream(c->conn, &s->stream, bidi, &stream_callbacks, s), 0);
  return s;
}

void lab_stream_send(lab_stream *s, uint64_t bytes, bool finish) {
  s->to_send += bytes;
  s->finish = finish;
  send_pattern(s);
}

void lab_stream_write_text(lab_stream *s, const char *text, bool fin) {
  size_t taken = 0;
  assert_int_equal(km_stream_write(s->stream, text, strlen(text), fin, &taken, NULL), 0);
  assert_int_equal(taken, strlen(text));
}

void lab_expect_pattern(lab_stream *s, uint64_t bytes) {
  crypto_hash_sha256_state state;
  uint8_t want[crypto_hash_sha256_BYTES], got[crypto_hash_sha256_BYTES];
  assert_true(s->received == bytes);
  assert_int_equal(s->fins, 1);
  crypto_hash_sha256_init(&state);
  for (uint64_t at = 0; at < bytes;) {
    uint64_t len = bytes - at < PATTERN ? bytes - at : PATTERN;
    crypto_hash_sha256_update(&state, pattern() + at % PATTERN, len);
    at += len;
  }
  crypto_hash_sha256_final(&state, want);
  crypto_hash_sha256_final(&s->hash, got);
  assert_memory_equal(want, got, sizeof want);
}

void lab_expect_echo(lab_conn *c, uint64_t bytes) {
  lab_stream *s = lab_stream_open(c, true);
  if (bytes == 0) {
    assert_int_equal(km_stream_write(s->stream, NULL, 0, true, NULL, NULL), 0);
  }
  lab_stream_send(s, bytes, true);
  LAB_WAIT(c->lab, s->closed);
  assert_int_equal(s->error, 0);
  assert_int_equal(s->on_delivered, 1);
  lab_expect_pattern(s, bytes);
}

/* --- connections ----------------------------------------------------------------------------- */

static void on_connected(void *ctx, km_conn *conn) {
  lab_conn *c = ctx;
  assert_ptr_equal(conn, c->conn);
  assert_int_equal(c->connected + c->closed, 0);
  assert_true(km_conn_is_connected(conn));
  c->connected++;
}

static void on_stream(void *ctx, km_conn *conn, km_stream *stream) {
  lab_conn *c = ctx;
  assert_ptr_equal(conn, c->conn);
  assert_int_equal(c->connected, 1);
  assert_false(km_stream_is_local(stream));
  if (c->refuse_streams) {
    return;
  }
  assert_true(c->stream_count < LAB_MAX_STREAMS);
  lab_stream *s = stream_new(c, c->stream_mode);
  s->stream = stream;
  c->streams[c->stream_count++] = s;
  km_stream_hold_credit(stream, s->mode != LAB_RECORD);
  km_stream_set_callbacks(stream, &stream_callbacks, s);
}

static void on_datagram(void *ctx, km_conn *conn, const void *data, size_t len) {
  lab_conn *c = ctx;
  c->datagrams++;
  c->datagram_len = len;
  assert_true(len <= sizeof c->datagram);
  if (len > 0) {
    memcpy(c->datagram, data, len);
  }
  if (c->datagram_hook != NULL) {
    c->datagram_hook(c);
  }
  if (c->echo_datagrams) {
    (void)!km_conn_send_datagram(conn, data, len);
  }
}

static void on_datagrams_sendable(void *ctx, km_conn *conn) {
  (void)conn;
  ((lab_conn *)ctx)->datagrams_sendable++;
}

static void on_streams_available(void *ctx, km_conn *conn) {
  (void)conn;
  ((lab_conn *)ctx)->streams_available++;
}

static void on_path(void *ctx, km_conn *conn, const km_path_info *path) {
  lab_conn *c = ctx;
  assert_ptr_equal(conn, c->conn);
  c->path_changes++;
  c->path = *path;
}

static void on_early_data(void *ctx, km_conn *conn, bool accepted) {
  lab_conn *c = ctx;
  assert_ptr_equal(conn, c->conn);
  c->early_answers++;
  c->early_accepted = accepted;
}

static void on_closed(void *ctx, km_conn *conn, const km_close_info *info) {
  lab_conn *c = ctx;
  assert_ptr_equal(conn, c->conn);
  for (size_t i = 0; i < c->stream_count; i++) {
    assert_true(c->streams[i]->closed); /* streams end before their connection */
  }
  assert_true(info->reason_len <= sizeof c->reason);
  assert_true(info->text[0] != '\0');
  c->closed++;
  c->conn = NULL;
  c->info = *info;
  if (info->reason_len > 0) {
    memcpy(c->reason, info->reason, info->reason_len);
  }
  c->info.reason = c->reason;
}

static const km_conn_callbacks conn_callbacks = {
    .size = sizeof conn_callbacks,
    .on_connected = on_connected,
    .on_stream = on_stream,
    .on_datagram = on_datagram,
    .on_datagrams_sendable = on_datagrams_sendable,
    .on_streams_available = on_streams_available,
    .on_path = on_path,
    .on_early_data = on_early_data,
    .on_closed = on_closed,
};

/* The first callback of an accepted connection: gives it a recorder of its own. */
static void on_accepted(void *ctx, km_conn *conn) {
  lab_endpoint *e = ctx;
  lab_conn *c = lab_alloc(e->lab, sizeof *c);
  assert_false(km_conn_is_client(conn));
  c->lab = e->lab;
  c->conn = conn;
  c->stream_mode = e->stream_mode;
  c->refuse_streams = e->refuse_streams;
  c->echo_datagrams = e->echo_datagrams;
  assert_true(e->accepted_count < LAB_MAX_ACCEPTED);
  e->accepted[e->accepted_count++] = c;
  km_conn_set_callbacks(conn, &conn_callbacks, c);
  on_connected(c, conn);
}

lab_conn *lab_dial_with(lab_endpoint *from, const km_addr *addr, const char *alpn,
                        const km_dial_options *options) {
  km_errinfo err = {0};
  lab_conn *c = lab_alloc(from->lab, sizeof *c);
  c->lab = from->lab;
  int rv = km_endpoint_dial(from->ep, &c->conn, addr, alpn, &conn_callbacks, c, options, &err);
  if (rv != 0) {
    fail_msg("dial: %s: %s", km_error_name(rv), err.text);
  }
  return c;
}

km_addr *lab_addr(const lab_endpoint *e, const km_udp_addr *at) {
  km_addr *addr;
  assert_int_equal(km_addr_new(&addr, km_endpoint_id(e->ep)), 0);
  assert_int_equal(km_addr_add_udp(addr, at == NULL ? &e->addr : at), 0);
  return addr;
}

lab_conn *lab_dial(lab_endpoint *from, const lab_endpoint *to, const km_udp_addr *at) {
  km_addr *addr = lab_addr(to, at);
  lab_conn *c = lab_dial_with(from, addr, LAB_ALPN, NULL);
  km_addr_free(addr);
  return c;
}

lab_conn *lab_connect(lab_endpoint *from, lab_endpoint *to, const km_udp_addr *at) {
  size_t before = to->accepted_count;
  lab_conn *c = lab_dial(from, to, at);
  LAB_WAIT(from->lab, c->closed > 0 || (c->connected > 0 && to->accepted_count > before));
  if (c->closed > 0) {
    fail_msg("connect: %s: %s", km_error_name(c->info.error), c->info.text);
  }
  return c;
}

void lab_conn_close(lab_conn *c, uint64_t code, const char *reason) {
  km_conn_close(c->conn, code, reason, reason == NULL ? 0 : strlen(reason));
  LAB_WAIT(c->lab, c->closed > 0);
}

/* --- endpoints ------------------------------------------------------------------------------- */

void lab_options(km_endpoint_options *ret) {
  static const km_udp_addr loopback = {.family = 4, .ip = {127, 0, 0, 1}};
  km_endpoint_options_default(ret);
  ret->bind = &loopback;
  ret->bind_count = 1;
  const char *filter = getenv("KM_TEST_LOG"); /* "info,quic=trace": for people who look for a bug */
  if (filter != NULL && km_log_filter_parse(&ret->log_filter, filter, NULL) == 0) {
    ret->log = km_log_to_stderr;
  }
}

km_secret_key *lab_key(uint8_t number) {
  uint8_t seed[KM_SECRET_KEY_BYTES];
  km_secret_key *key;
  memset(seed, number, sizeof seed);
  assert_int_equal(km_secret_key_from_bytes(&key, seed), 0);
  return key;
}

static km_accept_verdict on_incoming(void *ctx, const km_incoming *incoming) {
  lab_endpoint *e = ctx;
  e->incoming++;
  e->incoming_validated += incoming->validated;
  assert_true(incoming->remote.family == 4 || incoming->remote.family == 6);
  return e->verdict;
}

static bool on_peer(void *ctx, const km_id *peer, const char *alpn) {
  lab_endpoint *e = ctx;
  static const km_id nobody = {{0}};
  e->peers_seen++;
  assert_false(km_id_equal(peer, &nobody));
  assert_true(alpn[0] != '\0');
  return !e->refuse_peers;
}

static void on_endpoint_closed(void *ctx, km_endpoint *endpoint) {
  lab_endpoint *e = ctx;
  assert_ptr_equal(endpoint, e->ep);
  for (size_t i = 0; i < e->accepted_count; i++) {
    assert_int_equal(e->accepted[i]->closed, 1);
  }
  e->ep = NULL;
}

lab_endpoint *lab_endpoint_open(lab *l, const km_endpoint_options *options) {
  km_errinfo err = {0};
  km_endpoint_options opt;
  lab_endpoint *e = lab_alloc(l, sizeof *e);
  lab_options(&opt);
  if (options != NULL) {
    opt = *options;
  }
  e->lab = l;
  opt.ctx = e;
  opt.callbacks = (km_endpoint_callbacks){.size = sizeof opt.callbacks,
                                          .on_incoming = on_incoming,
                                          .on_peer = on_peer,
                                          .on_closed = on_endpoint_closed};
  int rv = km_endpoint_open(&e->ep, l->loop, &opt, &err);
  if (rv != 0) {
    fail_msg("open: %s: %s", km_error_name(rv), err.text);
  }
  assert_true(km_endpoint_bound(e->ep, &e->addr, 1) == 1);
  assert_true(l->endpoint_count < sizeof l->endpoints / sizeof l->endpoints[0]);
  l->endpoints[l->endpoint_count++] = e;
  return e;
}

void lab_accept(lab_endpoint *e, const char *alpn) {
  const km_protocol protocol = {
      .size = sizeof protocol,
      .alpn = alpn,
      .conn = {.on_connected = on_accepted},
      .ctx = e,
  };
  assert_int_equal(km_endpoint_add_protocol(e->ep, &protocol, NULL), 0);
}

lab_endpoint *lab_server_open(lab *l, const km_endpoint_options *options, lab_mode mode) {
  lab_endpoint *e = lab_endpoint_open(l, options);
  e->stream_mode = mode;
  lab_accept(e, LAB_ALPN);
  return e;
}

void lab_endpoint_close(lab_endpoint *e) {
  km_endpoint_close(e->ep);
  LAB_WAIT(e->lab, e->ep == NULL);
}

km_endpoint_stats lab_stats(const lab_endpoint *e) {
  km_endpoint_stats stats = {.size = sizeof stats};
  assert_int_equal(km_endpoint_get_stats(e->ep, &stats), 0);
  return stats;
}
