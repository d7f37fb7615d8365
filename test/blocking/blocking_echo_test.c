/* Data through the blocking calls, from few and from many threads. */
#include "pair.h"

#define MIB (UINT64_C(1) << 20)

static int run_echo(void *arg) {
  return echo_stream(arg);
}

static int write_16_mib(void *arg) {
  return pattern_write(arg, 16 * MIB);
}

static int read_16_mib(void *arg) {
  return pattern_read(arg, 16 * MIB);
}

/* 16 MiB there and back from both sides at once: two streams, one opened by each. */
static void test_echo_both_ways(void **state) {
  (void)state;
  pair p;
  km_bstream *s[4]; /* ours and theirs, opened by the client; the same opened by the server */
  task tasks[6];
  km_errinfo err;
  pair_connect(&p, NULL, NULL);
  assert_int_equal(km_bconn_open(p.at_client, &s[0], true, PATIENCE_MS, &err), 0);
  assert_int_equal(km_bconn_open(p.at_server, &s[2], true, PATIENCE_MS, &err), 0);
  task_start(&tasks[0], write_16_mib, s[0]);
  task_start(&tasks[1], write_16_mib, s[2]);
  assert_int_equal(km_bconn_accept(p.at_server, &s[1], PATIENCE_MS, &err), 0);
  assert_int_equal(km_bconn_accept(p.at_client, &s[3], PATIENCE_MS, &err), 0);
  task_start(&tasks[2], run_echo, s[1]);
  task_start(&tasks[3], run_echo, s[3]);
  task_start(&tasks[4], read_16_mib, s[0]);
  task_start(&tasks[5], read_16_mib, s[2]);
  for (size_t i = 0; i < 6; i++) {
    assert_int_equal(task_join(&tasks[i]), 0);
  }
  for (size_t i = 0; i < 4; i++) {
    km_bstream_free(s[i]);
  }
  pair_close(&p);
}

/* A stream in one direction, and what its two ends cannot do. */
static void test_one_way(void **state) {
  (void)state;
  pair p;
  km_bstream *out, *in;
  km_errinfo err;
  char buf[8];
  size_t n = 99;
  pair_connect(&p, NULL, NULL);
  assert_int_equal(km_bconn_open(p.at_client, &out, false, PATIENCE_MS, &err), 0);
  assert_int_equal(km_bstream_write(out, "abc", 3, true, PATIENCE_MS, &err), 0);
  assert_int_equal(km_bstream_write(out, "d", 1, false, PATIENCE_MS, &err), KM_ERR_STREAM_FINISHED);
  assert_int_equal(km_bstream_read(out, buf, sizeof buf, &n, 0, &err), KM_ERR_INVALID);
  assert_int_equal(km_bconn_accept(p.at_server, &in, PATIENCE_MS, &err), 0);
  assert_int_equal(km_bstream_write(in, "d", 1, false, 0, &err), KM_ERR_INVALID);
  assert_int_equal(km_bstream_read(in, buf, 2, &n, PATIENCE_MS, &err), 0);
  assert_int_equal(n, 2);
  assert_memory_equal(buf, "ab", 2);
  assert_int_equal(km_bstream_read(in, buf, 2, &n, PATIENCE_MS, &err), 0);
  assert_int_equal(n, 1);
  assert_int_equal(buf[0], 'c');
  for (int again = 0; again < 2; again++) { /* the end stays the end */
    n = 99;
    assert_int_equal(km_bstream_read(in, buf, sizeof buf, &n, PATIENCE_MS, &err), 0);
    assert_int_equal(n, 0);
  }
  km_bstream_free(in);
  km_bstream_free(out);
  pair_close(&p);
}

static void test_names(void **state) {
  (void)state;
  pair p;
  pair_connect(&p, NULL, NULL);
  assert_true(km_id_equal(km_bconn_remote_id(p.at_client), km_blocking_id(p.server)));
  assert_true(km_id_equal(km_bconn_remote_id(p.at_server), km_blocking_id(p.client)));
  assert_true(km_id_equal(km_addr_id(p.addr), km_blocking_id(p.server)));
  assert_string_equal(km_bconn_alpn(p.at_client), PAIR_ALPN);
  assert_string_equal(km_bconn_alpn(p.at_server), PAIR_ALPN);
  pair_close(&p);
}

static void test_reset_and_stop(void **state) {
  (void)state;
  pair p;
  km_bstream *a, *b;
  km_errinfo err = {0};
  char buf[8];
  size_t n;
  pair_connect(&p, NULL, NULL);
  pair_stream(&p, &a, &b);
  km_bstream_reset(a, 7);
  assert_int_equal(km_bstream_read(b, buf, sizeof buf, &n, PATIENCE_MS, &err), KM_ERR_STREAM_RESET);
  assert_int_equal(err.peer_code, 7);
  assert_int_equal(km_bstream_write(a, "x", 1, false, 0, &err), KM_ERR_STREAM_FINISHED);
  km_bstream_stop(a, 9);
  assert_int_equal(km_bstream_read(a, buf, sizeof buf, &n, 0, &err), KM_ERR_CLOSED);
  int rv;
  do { /* until the peer's wish is here */
    rv = km_bstream_write(b, "x", 1, false, PATIENCE_MS, &err);
  } while (rv == 0);
  assert_int_equal(rv, KM_ERR_STREAM_STOPPED);
  assert_int_equal(err.peer_code, 9);
  km_bstream_free(a);
  km_bstream_free(b);
  pair_close(&p);
}

static void test_largest_code(void **state) {
  (void)state;
  pair p;
  km_bstream *a, *b;
  km_errinfo err = {0};
  char buf[8];
  size_t n;
  pair_connect(&p, NULL, NULL);
  pair_stream(&p, &a, &b);
  km_bstream_reset(a, UINT64_MAX);
  assert_int_equal(km_bstream_read(b, buf, sizeof buf, &n, PATIENCE_MS, &err), KM_ERR_STREAM_RESET);
  assert_true(err.peer_code == (UINT64_C(1) << 62) - 1);
  km_bstream_free(a);
  km_bstream_free(b);
  pair_close(&p);
}

/* What a freed handle leaves behind: finished data arrives, an unfinished stream is reset. */
static void test_free_delivers_or_resets(void **state) {
  (void)state;
  pair p;
  km_bstream *a, *b;
  km_errinfo err = {0};
  pair_connect(&p, NULL, NULL);
  assert_int_equal(km_bconn_open(p.at_client, &a, true, PATIENCE_MS, &err), 0);
  assert_int_equal(pattern_write(a, 300000), 0);
  km_bstream_free(a);
  assert_int_equal(km_bconn_accept(p.at_server, &b, PATIENCE_MS, &err), 0);
  assert_int_equal(pattern_read(b, 300000), 0);
  int rv;
  do { /* the freed side reads no more */
    rv = km_bstream_write(b, "x", 1, false, PATIENCE_MS, &err);
  } while (rv == 0);
  assert_int_equal(rv, KM_ERR_STREAM_STOPPED);
  assert_int_equal(err.peer_code, 0);
  km_bstream_free(b);

  char buf[8];
  size_t n;
  pair_stream(&p, &a, &b);
  km_bstream_free(a);
  assert_int_equal(km_bstream_read(b, buf, sizeof buf, &n, PATIENCE_MS, &err), KM_ERR_STREAM_RESET);
  assert_int_equal(err.peer_code, 0);
  km_bstream_free(b);
  pair_close(&p);
}

/* --- many threads on one km_blocking --------------------------------------------------------- */

enum { THREADS = 12, ROUNDS = 6 };

static int serve_streams(void *arg) {
  km_bconn *c = arg;
  km_bstream *s;
  int rv;
  while ((rv = km_bconn_accept(c, &s, PATIENCE_MS, NULL)) == 0) {
    rv = echo_stream(s);
    km_bstream_free(s);
    if (rv != 0) {
      return rv;
    }
  }
  return rv == KM_ERR_CLOSED_BY_PEER || rv == KM_ERR_CLOSED ? 0 : rv;
}

static int echo_once(km_bconn *c, uint64_t len) {
  km_bstream *s;
  int rv = km_bconn_open(c, &s, true, PATIENCE_MS, NULL);
  if (rv == 0) {
    rv = pattern_write(s, len);
    rv = rv == 0 ? pattern_read(s, len) : rv;
    km_bstream_free(s);
  }
  return rv;
}

static int use_shared_conn(void *arg) {
  int rv = 0;
  for (uint64_t i = 0; rv == 0 && i < ROUNDS; i++) {
    rv = echo_once(arg, i * 9000 + 1);
  }
  return rv;
}

static void test_threads_share_a_connection(void **state) {
  (void)state;
  pair p;
  task servers[THREADS], clients[THREADS];
  pair_connect(&p, NULL, NULL);
  for (size_t i = 0; i < THREADS; i++) {
    task_start(&servers[i], serve_streams, p.at_server);
    task_start(&clients[i], use_shared_conn, p.at_client);
  }
  for (size_t i = 0; i < THREADS; i++) {
    assert_int_equal(task_join(&clients[i]), 0);
  }
  km_bconn_close(p.at_client, 0, NULL, 0);
  for (size_t i = 0; i < THREADS; i++) {
    assert_int_equal(task_join(&servers[i]), 0);
  }
  pair_close(&p);
}

static int serve_conns(void *arg) {
  km_bconn *c;
  int rv;
  while ((rv = km_blocking_accept(arg, &c, PATIENCE_MS, NULL)) == 0) {
    rv = serve_streams(c);
    km_bconn_free(c);
    if (rv != 0) {
      return rv;
    }
  }
  return rv;
}

static int dial_and_echo(void *arg) {
  pair *p = arg;
  int rv = 0;
  for (unsigned i = 0; rv == 0 && i < ROUNDS; i++) {
    km_bconn *c;
    rv = km_blocking_dial(p->client, &c, p->addr, PAIR_ALPN, PATIENCE_MS, NULL);
    if (rv == 0) {
      rv = echo_once(c, 5000);
      km_bconn_free(c);
    }
  }
  return rv;
}

static void test_threads_share_an_endpoint(void **state) {
  (void)state;
  pair p;
  task servers[THREADS], clients[THREADS];
  pair_open(&p, NULL, NULL);
  for (size_t i = 0; i < THREADS; i++) {
    task_start(&servers[i], serve_conns, p.server);
    task_start(&clients[i], dial_and_echo, &p);
  }
  for (size_t i = 0; i < THREADS; i++) {
    assert_int_equal(task_join(&clients[i]), 0);
  }
  for (size_t i = 0; i < THREADS; i++) {
    task_wait_asleep(&servers[i]);
  }
  km_blocking_close(p.server);
  p.server = NULL;
  for (size_t i = 0; i < THREADS; i++) {
    assert_int_equal(task_join(&servers[i]), KM_ERR_CLOSED);
  }
  pair_close(&p);
}

static void test_datagrams(void **state) {
  (void)state;
  pair p;
  km_errinfo err = {0};
  char buf[4];
  size_t n = 0;
  static const uint8_t huge[2000];
  pair_connect(&p, NULL, NULL);
  assert_int_equal(km_bconn_send_datagram(p.at_client, "hello", 5, PATIENCE_MS, &err), 0);
  assert_int_equal(km_bconn_recv_datagram(p.at_server, buf, sizeof buf, &n, PATIENCE_MS, &err), 0);
  assert_int_equal(n, 5); /* the length it had */
  assert_memory_equal(buf, "hell", 4);
  assert_int_equal(km_bconn_send_datagram(p.at_server, NULL, 0, PATIENCE_MS, &err), 0);
  assert_int_equal(km_bconn_recv_datagram(p.at_client, NULL, 0, &n, PATIENCE_MS, &err), 0);
  assert_int_equal(n, 0);
  assert_int_equal(km_bconn_send_datagram(p.at_client, huge, sizeof huge, PATIENCE_MS, &err),
                   KM_ERR_DATAGRAM_TOO_LARGE);
  pair_close(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_names),
      cmocka_unit_test(test_one_way),
      cmocka_unit_test(test_datagrams),
      cmocka_unit_test(test_reset_and_stop),
      cmocka_unit_test(test_largest_code),
      cmocka_unit_test(test_free_delivers_or_resets),
      cmocka_unit_test(test_echo_both_ways),
      cmocka_unit_test(test_threads_share_a_connection),
      cmocka_unit_test(test_threads_share_an_endpoint),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
