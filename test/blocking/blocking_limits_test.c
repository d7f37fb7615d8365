/* What is kept for an application that does not fetch it is bounded. Looks inside, to see how much
 * is kept. */
#include "pair.h"

#include "endpoint/blocking_impl.h"
#include "endpoint/endpoint_impl.h"

#define LOCKED(b, variable, expression)                                                            \
  do {                                                                                             \
    km_blocking_lock(b);                                                                           \
    (variable) = (expression);                                                                     \
    km_blocking_unlock(b);                                                                         \
  } while (0)

/* --- connections ----------------------------------------------------------------------------- */

static void test_accept_queue(void **state) {
  (void)state;
  pair p;
  km_bconn *dialled[KM_BLOCKING_ACCEPT_QUEUE + 2] = {NULL};
  km_bconn *accepted = NULL;
  km_errinfo err;
  pair_open(&p, NULL, NULL);
  for (size_t i = 0; i < KM_BLOCKING_ACCEPT_QUEUE; i++) {
    assert_int_equal(km_blocking_dial(p.client, &dialled[i], p.addr, PAIR_ALPN, PATIENCE_MS, &err),
                     0);
  }
  assert_int_equal(km_blocking_dial(p.client, &dialled[KM_BLOCKING_ACCEPT_QUEUE], p.addr, PAIR_ALPN,
                                    PATIENCE_MS, &err),
                   KM_ERR_REFUSED);

  /* Whoever is taken out makes room for one, and they come in the order of their arrival. */
  assert_int_equal(km_blocking_accept(p.server, &accepted, PATIENCE_MS, &err), 0);
  km_bconn_close(dialled[0], 42, NULL, 0);
  km_close_info info;
  assert_int_equal(km_bconn_wait_closed(accepted, &info, PATIENCE_MS), 0);
  assert_int_equal(info.code, 42);
  km_bconn_free(accepted);
  assert_int_equal(km_blocking_dial(p.client, &dialled[KM_BLOCKING_ACCEPT_QUEUE], p.addr, PAIR_ALPN,
                                    PATIENCE_MS, &err),
                   0);
  assert_int_equal(km_blocking_dial(p.client, &dialled[KM_BLOCKING_ACCEPT_QUEUE + 1], p.addr,
                                    PAIR_ALPN, PATIENCE_MS, &err),
                   KM_ERR_REFUSED);
  for (size_t i = 0; i <= KM_BLOCKING_ACCEPT_QUEUE; i++) {
    km_bconn_free(dialled[i]);
  }
  pair_close(&p);
}

/* --- bytes ----------------------------------------------------------------------------------- */

enum { WINDOW = 65536, TOTAL = 3 << 20 };

static int write_total(void *arg) {
  return pattern_write(arg, TOTAL);
}

static void test_slow_reader(void **state) {
  (void)state;
  pair p;
  km_bstream *a, *b;
  km_endpoint_options opt;
  km_errinfo err;
  task writer;
  size_t kept = 0;
  pair_options(&opt);
  opt.stream_window = WINDOW;
  opt.send_buffer = WINDOW;
  pair_connect(&p, &opt, &opt);
  assert_int_equal(km_bconn_open(p.at_client, &a, true, PATIENCE_MS, &err), 0);
  task_start(&writer, write_total, a);
  assert_int_equal(km_bconn_accept(p.at_server, &b, PATIENCE_MS, &err), 0);
  while (kept < WINDOW) {
    LOCKED(p.server, kept, b->rx.len);
    assert_true(kept <= WINDOW);
    sleep_ms(1);
  }
  task_wait_asleep(&writer); /* its buffer is full as well */
  sleep_ms(100);
  LOCKED(p.server, kept, b->rx.len);
  assert_int_equal(kept, WINDOW);
  assert_int_equal(pattern_read(b, TOTAL), 0); /* nothing was lost by waiting */
  assert_int_equal(task_join(&writer), 0);
  km_bstream_free(a);
  km_bstream_free(b);
  pair_close(&p);
}

/* One stream that is not read holds up no other. */
static void test_slow_reader_beside_others(void **state) {
  (void)state;
  pair p;
  km_bstream *a, *b, *c, *d;
  km_endpoint_options opt;
  km_errinfo err;
  task writer;
  pair_options(&opt);
  opt.stream_window = WINDOW;
  opt.send_buffer = WINDOW;
  pair_connect(&p, &opt, &opt);
  pair_stream(&p, &a, &b);
  task_start(&writer, write_total, a);
  task_wait_asleep(&writer);
  task second;
  assert_int_equal(km_bconn_open(p.at_client, &c, false, PATIENCE_MS, &err), 0);
  task_start(&second, write_total, c);
  assert_int_equal(km_bconn_accept(p.at_server, &d, PATIENCE_MS, &err), 0);
  assert_int_equal(pattern_read(d, TOTAL), 0);
  assert_int_equal(task_join(&second), 0);
  assert_int_equal(pattern_read(b, TOTAL), 0);
  assert_int_equal(task_join(&writer), 0);
  km_bstream_free(a);
  km_bstream_free(b);
  km_bstream_free(c);
  km_bstream_free(d);
  pair_close(&p);
}

/* Bytes that are dropped unread give their credit back: the connection's window does not leak. */
static void test_dropped_bytes_give_credit(void **state) {
  (void)state;
  pair p;
  km_bstream *a, *b;
  km_endpoint_options opt;
  km_errinfo err;
  static const uint8_t data[WINDOW];
  pair_options(&opt);
  opt.stream_window = WINDOW;
  opt.connection_window = 2 * WINDOW;
  pair_connect(&p, NULL, &opt);
  for (unsigned i = 0; i < 20; i++) { /* ten times the connection's window */
    size_t kept = 0;
    pair_stream(&p, &a, &b);
    assert_int_equal(km_bstream_write(a, data, sizeof data, true, PATIENCE_MS, &err), 0);
    while (kept < WINDOW / 2) {
      LOCKED(p.server, kept, b->rx.len);
      sleep_ms(1);
    }
    if (i % 2 == 0) {
      km_bstream_stop(b, 0);
    }
    km_bstream_free(b);
    km_bstream_free(a);
  }
  pair_close(&p);
}

/* --- streams and datagrams ------------------------------------------------------------------- */

static bool has_streams(km_blocking *b, const km_bconn *c) {
  bool any;
  LOCKED(b, any, !km_list_empty(&c->streams));
  return any;
}

static size_t streams_waiting(pair *p) {
  size_t count;
  LOCKED(p->server, count, p->at_server->incoming_count);
  return count;
}

/* The number in the newest datagram that is kept, and how many are; 0 while there is none. */
static uint32_t newest_datagram(pair *p, size_t *ret_count) {
  uint32_t number = 0;
  km_blocking_lock(p->server);
  *ret_count = p->at_server->datagram_count;
  if (*ret_count > 0) {
    memcpy(&number, KM_LIST_ITEM(p->at_server->datagrams.prev, km_bdatagram, node)->data,
           sizeof number);
  }
  km_blocking_unlock(p->server);
  return number;
}

/* Short one-way streams end before they are taken: only the backlog bounds them. */
static void test_stream_backlog(void **state) {
  (void)state;
  pair p;
  km_bstream *s;
  km_endpoint_options opt;
  km_errinfo err;
  size_t backlog;
  pair_options(&opt);
  opt.max_streams_uni = 10;
  opt.max_streams_bidi = 0;
  pair_connect(&p, NULL, &opt);
  LOCKED(p.server, backlog, p.server->stream_backlog);
  assert_int_equal(backlog, 10 + KM_BLOCKING_STREAM_BACKLOG);
  for (size_t i = 0; i < backlog + 50; i++) {
    assert_int_equal(km_bconn_open(p.at_client, &s, false, PATIENCE_MS, &err), 0);
    int rv = km_bstream_write(s, "x", 1, true, PATIENCE_MS, &err);
    assert_true(rv == 0 || (rv == KM_ERR_STREAM_STOPPED && i >= backlog));
    km_bstream_free(s);
  }
  WAIT_FOR(!has_streams(p.client, p.at_client)); /* all were acknowledged: all were seen */
  assert_int_equal(streams_waiting(&p), backlog);
  size_t bytes;
  LOCKED(p.server, bytes, p.at_server->incoming_bytes);
  assert_int_equal(bytes, backlog);
  for (size_t i = 0; i < backlog; i++) {
    assert_int_equal(km_bconn_accept(p.at_server, &s, 0, &err), 0);
    km_bstream_free(s);
  }
  LOCKED(p.server, bytes, p.at_server->incoming_bytes);
  assert_int_equal(bytes, 0);
  pair_close(&p);
}

/* The same by bytes: a stream is taken in while what waits is less than a window's worth; those
 * that are open at that time may still bring what they have. */
static void test_stream_backlog_bytes(void **state) {
  (void)state;
  enum { MAX_BYTES = 64 << 10, EACH = 8 << 10, OPEN = 4, STREAMS = 40 };
  static uint8_t data[EACH];
  pair p;
  km_bstream *s;
  km_endpoint_options opt;
  km_errinfo err;
  pair_options(&opt);
  opt.connection_window = MAX_BYTES;
  opt.stream_window = EACH;
  opt.max_streams_uni = OPEN;
  pair_connect(&p, NULL, &opt);
  for (size_t i = 0; i < STREAMS; i++) {
    assert_int_equal(km_bconn_open(p.at_client, &s, false, PATIENCE_MS, &err), 0);
    int rv = km_bstream_write(s, data, sizeof data, true, PATIENCE_MS, &err);
    assert_true(rv == 0 || rv == KM_ERR_STREAM_STOPPED);
    km_bstream_free(s);
  }
  WAIT_FOR(!has_streams(p.client, p.at_client));
  size_t bytes;
  LOCKED(p.server, bytes, p.at_server->incoming_bytes);
  assert_in_range(bytes, MAX_BYTES, MAX_BYTES + OPEN * EACH);
  assert_int_equal(streams_waiting(&p), bytes / EACH);
  pair_close(&p);
}

static void test_oldest_datagram_goes(void **state) {
  (void)state;
  pair p;
  km_errinfo err;
  enum { SENT = 300 };
  uint32_t number = 0;
  size_t n, count = 0;
  pair_connect(&p, NULL, NULL);
  for (uint32_t i = 0; i < SENT; i++) {
    assert_int_equal(km_bconn_send_datagram(p.at_client, &i, sizeof i, PATIENCE_MS, &err), 0);
  }
  WAIT_FOR(newest_datagram(&p, &count) == SENT - 1);
  assert_int_equal(count, KM_BLOCKING_DATAGRAM_QUEUE);
  for (uint32_t i = 0; i < KM_BLOCKING_DATAGRAM_QUEUE; i++) {
    assert_int_equal(km_bconn_recv_datagram(p.at_server, &number, sizeof number, &n, 0, &err), 0);
    assert_int_equal(n, sizeof number);
    assert_int_equal(number, SENT - KM_BLOCKING_DATAGRAM_QUEUE + i);
  }
  assert_int_equal(km_bconn_recv_datagram(p.at_server, &number, sizeof number, &n, 0, &err),
                   KM_ERR_TIMEOUT);
  pair_close(&p);
}

/* --- callbacks of the endpoint --------------------------------------------------------------- */

static void note_home(void *ctx, km_endpoint *endpoint) {
  *(km_endpoint **)ctx = endpoint;
}

/* The wrapper has callbacks of its own; it hands on what is not for itself. */
static void test_home_relay_is_told(void **state) {
  (void)state;
  pair p;
  km_endpoint *told = NULL;
  km_endpoint_options opt;
  pair_options(&opt);
  opt.callbacks = (km_endpoint_callbacks){.size = sizeof opt.callbacks, .on_home_relay = note_home};
  opt.ctx = &told;
  pair_open(&p, &opt, NULL);
  const km_endpoint_options *inner = &p.client->endpoint->opt;
  assert_non_null(inner->callbacks.on_home_relay);
  inner->callbacks.on_home_relay(inner->ctx, p.client->endpoint);
  assert_ptr_equal(told, p.client->endpoint);
  inner = &p.server->endpoint->opt; /* and without one nothing happens */
  inner->callbacks.on_home_relay(inner->ctx, p.server->endpoint);
  pair_close(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_accept_queue),
      cmocka_unit_test(test_slow_reader),
      cmocka_unit_test(test_slow_reader_beside_others),
      cmocka_unit_test(test_dropped_bytes_give_credit),
      cmocka_unit_test(test_stream_backlog),
      cmocka_unit_test(test_stream_backlog_bytes),
      cmocka_unit_test(test_oldest_datagram_goes),
      cmocka_unit_test(test_home_relay_is_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
