/* Every bound on state that a peer can drive: what happens at it and beyond (docs/limits.md). */
#include <unistd.h>

#include "test/endpoint/initial.h"
#include "test/endpoint/tap.h"

static const km_dial_options quick = {.size = sizeof quick, .timeout_ms = 3000};

static lab_conn *dial_until_settled(lab *l, lab_endpoint *from, const lab_endpoint *to) {
  km_addr *addr = lab_addr(to, NULL);
  lab_conn *c = lab_dial_with(from, addr, LAB_ALPN, &quick);
  km_addr_free(addr);
  LAB_WAIT(l, c->connected > 0 || c->closed > 0);
  return c;
}

static void connections_beyond_the_limit_are_refused(void **state) {
  (void)state;
  enum { MAX = 3 };
  lab l;
  km_endpoint_options opt;
  lab_conn *c[MAX];
  lab_open(&l);
  lab_options(&opt);
  opt.max_connections = MAX;
  lab_endpoint *server = lab_server_open(&l, &opt, LAB_ECHO);
  lab_endpoint *client = lab_endpoint_open(&l, NULL);
  for (size_t i = 0; i < MAX; i++) {
    c[i] = lab_connect(client, server, NULL);
  }
  lab_conn *more = dial_until_settled(&l, client, server);
  assert_int_equal(more->closed, 1);
  assert_int_equal(more->info.error, KM_ERR_REFUSED);
  assert_int_equal(lab_stats(server).connections, MAX);
  lab_conn_close(c[0], 0, NULL);
  LAB_WAIT(&l, lab_stats(server).connections == MAX - 1);
  lab_expect_echo(lab_connect(client, server, NULL), 1000);
  for (size_t i = 1; i < MAX; i++) {
    lab_expect_echo(c[i], 1000);
  }
  lab_close(&l);
}

static void dials_beyond_the_limit_fail_at_once(void **state) {
  (void)state;
  lab l;
  km_endpoint_options opt;
  km_conn *conn;
  km_errinfo err = {0};
  lab_open(&l);
  lab_options(&opt);
  opt.max_connections = 1;
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  lab_endpoint *client = lab_endpoint_open(&l, &opt);
  lab_connect(client, server, NULL);
  km_addr *addr = lab_addr(server, NULL);
  assert_int_equal(km_endpoint_dial(client->ep, &conn, addr, LAB_ALPN, NULL, NULL, NULL, &err),
                   KM_ERR_LIMIT);
  assert_non_null(strstr(err.text, "1"));
  km_addr_free(addr);
  lab_close(&l);
}

static void half_open_handshakes_beyond_the_limit_are_refused(void **state) {
  (void)state;
  enum { MAX = 5, PACKETS = 40 };
  lab l;
  km_endpoint_options opt;
  km_udp_addr sink, unused;
  uint8_t buf[INITIAL_MAX];
  initial in;
  uint64_t random = 1;
  lab_open(&l);
  lab_options(&opt);
  opt.max_half_open = MAX;
  opt.handshake_timeout_ms = 1500;
  lab_endpoint *server = lab_server_open(&l, &opt, LAB_ECHO);
  lab_endpoint *client = lab_endpoint_open(&l, NULL);
  int fd = raw_open(&sink), attacker = raw_open(&unused);
  lab_conn *c = lab_dial(client, server, &sink);
  size_t n = raw_wait(&l, fd, buf, sizeof buf);
  assert_true(initial_open(&in, buf, n));
  lab_conn_close(c, 0, NULL);
  for (int i = 0; i < PACKETS; i++) {
    uint64_t id = link_splitmix(&random);
    in.dcid_len = sizeof id;
    memcpy(in.dcid, &id, sizeof id);
    raw_send(attacker, &server->addr, buf, initial_seal(&in, buf));
  }
  LAB_WAIT(&l, lab_stats(server).half_open == MAX);
  lab_run_for(&l, 50);
  assert_int_equal(lab_stats(server).half_open, MAX);
  assert_int_equal(lab_stats(server).refused, PACKETS - MAX);
  c = dial_until_settled(&l, client, server);
  assert_int_equal(c->info.error, KM_ERR_REFUSED);
  LAB_WAIT(&l, lab_stats(server).half_open == 0); /* the handshake timeout frees them */
  lab_expect_echo(lab_connect(client, server, NULL), 1000);
  close(fd);
  close(attacker);
  lab_close(&l);
}

/* --- streams --------------------------------------------------------------------------------- */

static void streams_beyond_the_limit_wait(void **state) {
  (void)state;
  enum { MAX = 3 };
  lab l;
  km_endpoint_options opt;
  km_stream *more;
  lab_open(&l);
  lab_options(&opt);
  opt.max_streams_bidi = MAX;
  opt.max_streams_uni = 0;
  lab_endpoint *server = lab_server_open(&l, &opt, LAB_RECORD);
  lab_conn *c = lab_connect(lab_endpoint_open(&l, NULL), server, NULL);
  lab_conn *s = server->accepted[0];
  lab_stream *streams[MAX];
  for (size_t i = 0; i < MAX; i++) {
    streams[i] = lab_stream_open(c, true);
    lab_stream_write_text(streams[i], "x", false);
  }
  assert_int_equal(km_conn_open_stream(c->conn, &more, true, NULL, NULL), KM_ERR_STREAM_LIMIT);
  assert_int_equal(km_conn_open_stream(c->conn, &more, false, NULL, NULL), KM_ERR_STREAM_LIMIT);
  LAB_WAIT(&l, s->stream_count == MAX);
  assert_int_equal(c->streams_available, 0);
  assert_int_equal(km_stream_reset(streams[0]->stream, 0), 0);
  assert_int_equal(km_stream_stop(streams[0]->stream, 0), 0);
  LAB_WAIT(&l, c->streams_available > 0);
  lab_stream *again = lab_stream_open(c, true);
  lab_stream_write_text(again, "y", true);
  LAB_WAIT(&l, s->stream_count == MAX + 1);
  lab_close(&l);
}

/* Streams come and go far beyond the number that may be open at once. */
static void a_thousand_streams_in_a_row(void **state) {
  (void)state;
  enum { MAX = 4, COUNT = 1000 };
  lab l;
  km_endpoint_options opt;
  lab_open(&l);
  lab_options(&opt);
  opt.max_streams_bidi = MAX;
  lab_endpoint *server = lab_server_open(&l, &opt, LAB_ECHO);
  lab_conn *c = lab_connect(lab_endpoint_open(&l, NULL), server, NULL);
  for (int i = 0; i < COUNT; i++) {
    lab_expect_echo(c, (uint64_t)i % 50);
  }
  lab_close(&l);
}

static void streams_waiting_for_the_handshake_are_bounded(void **state) {
  (void)state;
  enum { MAX = 100 };
  lab l;
  km_stream *more;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  lab_conn *c = lab_dial(lab_endpoint_open(&l, NULL), server, NULL);
  lab_stream *streams[MAX];
  for (size_t i = 0; i < MAX; i++) {
    streams[i] = lab_stream_open(c, true);
    lab_stream_write_text(streams[i], "early bird", true);
  }
  assert_int_equal(km_conn_open_stream(c->conn, &more, true, NULL, NULL), KM_ERR_STREAM_LIMIT);
  for (size_t i = 0; i < MAX; i++) {
    LAB_WAIT(&l, streams[i]->closed);
    assert_int_equal(streams[i]->error, 0);
    assert_int_equal(streams[i]->received, 10);
  }
  LAB_WAIT(&l, km_conn_open_stream(c->conn, &more, true, NULL, NULL) == 0);
  assert_true(c->streams_available > 0);
  lab_close(&l);
}

/* --- datagrams ------------------------------------------------------------------------------- */

static void queued_datagrams_are_bounded(void **state) {
  (void)state;
  enum { MAX = 4 };
  lab l;
  km_endpoint_options opt;
  lab_open(&l);
  lab_options(&opt);
  opt.datagram_queue = MAX;
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_RECORD);
  lab_conn *c = lab_connect(lab_endpoint_open(&l, &opt), server, NULL);
  for (int i = 0; i < MAX; i++) {
    assert_int_equal(km_conn_send_datagram(c->conn, "datagram", 8), 0);
  }
  assert_int_equal(km_conn_send_datagram(c->conn, "one more", 8), KM_ERR_AGAIN);
  LAB_WAIT(&l, c->datagrams_sendable == 1);
  assert_int_equal(km_conn_send_datagram(c->conn, "one more", 8), 0);
  LAB_WAIT(&l, server->accepted[0]->datagrams == MAX + 1);
  lab_close(&l);
}

static void a_datagram_must_fit_a_packet(void **state) {
  (void)state;
  static uint8_t huge[70000];
  lab l;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_RECORD);
  lab_conn *c = lab_dial(lab_endpoint_open(&l, NULL), server, NULL);
  assert_int_equal(km_conn_send_datagram(c->conn, "x", 1), KM_ERR_STATE);
  assert_int_equal(km_conn_max_datagram(c->conn), 0);
  LAB_WAIT(&l, c->connected > 0 && server->accepted_count > 0);
  lab_run_for(&l, 300); /* path MTU discovery ends */
  size_t max = km_conn_max_datagram(c->conn);
  assert_int_equal(km_conn_send_datagram(c->conn, huge, max + 1), KM_ERR_DATAGRAM_TOO_LARGE);
  assert_int_equal(km_conn_send_datagram(c->conn, huge, sizeof huge), KM_ERR_DATAGRAM_TOO_LARGE);
  assert_int_equal(km_conn_send_datagram(c->conn, huge, SIZE_MAX), KM_ERR_DATAGRAM_TOO_LARGE);
  assert_int_equal(km_conn_send_datagram(c->conn, huge, max), 0);
  LAB_WAIT(&l, server->accepted[0]->datagrams == 1);
  assert_int_equal(server->accepted[0]->datagram_len, max);
  lab_close(&l);
}

/* --- the rest -------------------------------------------------------------------------------- */

static void protocols_are_bounded(void **state) {
  (void)state;
  enum { MAX = 64 };
  lab l;
  char name[300];
  lab_open(&l);
  lab_endpoint *e = lab_endpoint_open(&l, NULL);
  km_protocol p = {.size = sizeof p, .alpn = name};
  for (int i = 0; i < MAX; i++) {
    snprintf(name, sizeof name, "protocol/%d", i);
    assert_int_equal(km_endpoint_add_protocol(e->ep, &p, NULL), 0);
  }
  km_errinfo err = {0};
  assert_int_equal(km_endpoint_add_protocol(e->ep, &p, &err), KM_ERR_INVALID); /* there already */
  snprintf(name, sizeof name, "one more");
  assert_int_equal(km_endpoint_add_protocol(e->ep, &p, &err), KM_ERR_LIMIT);
  assert_int_equal(km_endpoint_remove_protocol(e->ep, "protocol/7"), 0);
  memset(name, 'n', 256);
  name[256] = '\0';
  assert_int_equal(km_endpoint_add_protocol(e->ep, &p, &err), KM_ERR_BAD_ALPN);
  name[255] = '\0';
  assert_int_equal(km_endpoint_add_protocol(e->ep, &p, &err), 0);
  name[0] = '\0';
  assert_int_equal(km_endpoint_add_protocol(e->ep, &p, &err), KM_ERR_BAD_ALPN);
  lab_close(&l);
}

static void sockets_are_bounded(void **state) {
  (void)state;
  lab l;
  km_endpoint_options opt;
  km_udp_addr many[KM_ENDPOINT_MAX_SOCKETS + 1];
  km_endpoint *ep = NULL;
  km_errinfo err = {0};
  lab_open(&l);
  lab_options(&opt);
  for (size_t i = 0; i <= KM_ENDPOINT_MAX_SOCKETS; i++) {
    many[i] = (km_udp_addr){.family = 4, .ip = {127, 0, 0, (uint8_t)(i + 1)}};
  }
  opt.bind = many;
  opt.bind_count = KM_ENDPOINT_MAX_SOCKETS + 1;
  assert_int_equal(km_endpoint_open(&ep, l.loop, &opt, &err), KM_ERR_INVALID);
  assert_non_null(strstr(err.text, "8"));
  assert_null(ep);
  lab_close(&l);
}

/* Closed connections leave nothing behind but what still answers, and that goes, too. */
static void connections_in_a_row_leave_nothing(void **state) {
  (void)state;
  enum { COUNT = 150 };
  lab l;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  lab_endpoint *client = lab_endpoint_open(&l, NULL);
  for (int i = 0; i < COUNT; i++) {
    lab_conn *c = lab_connect(client, server, NULL);
    lab_conn_close(c, 0, NULL);
  }
  LAB_WAIT(&l, lab_stats(server).connections == 0 && lab_stats(client).connections == 0);
  LAB_WAIT(&l, lab_stats(server).paths == 0 && lab_stats(client).paths == 0);
  assert_int_equal(lab_stats(server).accepted, COUNT);
  assert_int_equal(lab_stats(client).dialled, COUNT);
  assert_int_equal(lab_stats(server).half_open, 0);
  lab_close(&l);
}

static void a_handshake_has_a_time_limit(void **state) {
  (void)state;
  lab l;
  km_udp_addr silent;
  km_endpoint_options opt;
  lab_open(&l);
  int fd = raw_open(&silent);
  lab_options(&opt);
  opt.handshake_timeout_ms = 400;
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  uint64_t from = lab_now_ms();
  lab_conn *c = lab_dial(lab_endpoint_open(&l, &opt), server, &silent);
  LAB_WAIT(&l, c->closed > 0);
  assert_true(lab_now_ms() - from >= 395);
  assert_int_equal(c->info.error, KM_ERR_UNREACHABLE);
  close(fd);
  lab_close(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(connections_beyond_the_limit_are_refused),
      cmocka_unit_test(dials_beyond_the_limit_fail_at_once),
      cmocka_unit_test(half_open_handshakes_beyond_the_limit_are_refused),
      cmocka_unit_test(streams_beyond_the_limit_wait),
      cmocka_unit_test(a_thousand_streams_in_a_row),
      cmocka_unit_test(streams_waiting_for_the_handshake_are_bounded),
      cmocka_unit_test(queued_datagrams_are_bounded),
      cmocka_unit_test(a_datagram_must_fit_a_packet),
      cmocka_unit_test(protocols_are_bounded),
      cmocka_unit_test(sockets_are_bounded),
      cmocka_unit_test(connections_in_a_row_leave_nothing),
      cmocka_unit_test(a_handshake_has_a_time_limit),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
