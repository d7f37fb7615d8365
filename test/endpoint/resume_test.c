/* Second connections: session tickets, 0-RTT accepted, rejected, replayed. */
#include <unistd.h>

#include "endpoint/conn_impl.h"
#include "test/endpoint/tap.h"

static const km_dial_options early = {.size = sizeof early, .early_data = true};

typedef struct fixture {
  lab l;
  km_secret_key *key;
  lab_endpoint *server, *client;
  lab_tap *tap;
  km_addr *addr; /* the server through the tap */
} fixture;

static lab_endpoint *open_server(fixture *f, bool accept_early) {
  km_endpoint_options opt;
  lab_options(&opt);
  opt.secret_key = f->key;
  opt.early_data = accept_early;
  return lab_server_open(&f->l, &opt, LAB_ECHO);
}

static void open_fixture(fixture *f) {
  lab_open(&f->l);
  f->key = lab_key(3);
  f->server = open_server(f, true);
  f->client = lab_endpoint_open(&f->l, NULL);
  f->tap = lab_tap_open(&f->l, &f->server->addr, NULL);
  f->addr = lab_addr(f->server, &f->tap->addr);
}

static void close_fixture(fixture *f) {
  km_addr_free(f->addr);
  km_secret_key_free(f->key);
  lab_close(&f->l);
}

/* One whole connection, which leaves a ticket with the client. */
static void leave_ticket(fixture *f) {
  lab_conn *c = lab_connect(f->client, f->server, &f->tap->addr);
  lab_expect_echo(c, 1000);
  lab_run_for(&f->l, 100);
  lab_conn_close(c, 0, NULL);
  f->tap->recorded_count = 0;
}

/* Dials with early data and sends a text in it. */
static lab_conn *dial_early(fixture *f, lab_stream **ret, const char *text) {
  lab_conn *c = lab_dial_with(f->client, f->addr, LAB_ALPN, &early);
  *ret = lab_stream_open(c, true);
  lab_stream_write_text(*ret, text, true);
  return c;
}

static bool is_resumed(const lab_conn *c) {
  km_conn_stats stats = {.size = sizeof stats};
  assert_int_equal(km_conn_get_stats(c->conn, &stats), 0);
  return stats.resumed;
}

static void a_first_dial_has_nothing_to_resume(void **state) {
  (void)state;
  fixture f;
  lab_stream *s;
  open_fixture(&f);
  lab_conn *c = dial_early(&f, &s, "early?");
  assert_int_equal(km_conn_early_state(c->conn), KM_EARLY_NONE);
  LAB_WAIT(&f.l, s->closed);
  assert_memory_equal(s->first, "early?", 6);
  assert_int_equal(c->early_answers, 0);
  assert_false(is_resumed(c));
  close_fixture(&f);
}

static void early_data_is_accepted(void **state) {
  (void)state;
  fixture f;
  lab_stream *s;
  open_fixture(&f);
  leave_ticket(&f);
  lab_conn *c = dial_early(&f, &s, "in the first flight");
  assert_int_equal(km_conn_early_state(c->conn), KM_EARLY_PENDING);
  assert_true(km_stream_id(s->stream) >= 0);
  LAB_WAIT(&f.l, s->closed);
  assert_int_equal(s->error, 0);
  assert_memory_equal(s->first, "in the first flight", 19);
  assert_int_equal(c->early_answers, 1);
  assert_true(c->early_accepted);
  assert_int_equal(km_conn_early_state(c->conn), KM_EARLY_ACCEPTED);
  assert_true(is_resumed(c));
  /* A resumed connection has no certificate: the id came with the ticket. */
  lab_conn *accepted = f.server->accepted[f.server->accepted_count - 1];
  assert_true(km_id_equal(km_conn_remote_id(accepted->conn), km_endpoint_id(f.client->ep)));
  assert_true(is_resumed(accepted));
  assert_int_equal(f.server->peers_seen, 2); /* the filter is asked for resumed peers, too */
  close_fixture(&f);
}

static void a_dial_without_early_data_may_resume(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f);
  leave_ticket(&f);
  lab_conn *c = lab_connect(f.client, f.server, &f.tap->addr);
  assert_int_equal(km_conn_early_state(c->conn), KM_EARLY_NONE);
  assert_int_equal(c->early_answers, 0);
  lab_expect_echo(c, 1000);
  close_fixture(&f);
}

static void expect_rejection(fixture *f) {
  lab_stream *s;
  lab_conn *c = dial_early(f, &s, "too early");
  assert_int_equal(km_conn_early_state(c->conn), KM_EARLY_PENDING);
  LAB_WAIT(&f->l, s->closed && c->connected);
  assert_int_equal(s->error, KM_ERR_EARLY_DATA_REJECTED);
  assert_int_equal(s->received, 0);
  assert_int_equal(c->early_answers, 1);
  assert_false(c->early_accepted);
  assert_int_equal(km_conn_early_state(c->conn), KM_EARLY_REJECTED);
  lab_expect_echo(c, 50000); /* the connection itself is sound */
}

static void a_server_that_forgot_its_tickets_rejects(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f);
  leave_ticket(&f);
  f.server = open_server(&f, true);
  lab_tap_redirect(f.tap, &f.server->addr);
  expect_rejection(&f);
  assert_int_equal(f.server->accepted[0]->stream_count, 1); /* only the later stream */
  close_fixture(&f);
}

/* A release function that lends again, as one that streams a file would: the stream is gone. */
typedef struct lender {
  km_stream *stream;
  unsigned released, lent_again;
  uint8_t data[3000];
} lender;

static void release_and_lend(void *ctx, const void *data, size_t len) {
  lender *x = ctx;
  x->released++;
  x->lent_again += km_stream_write_ref(x->stream, data, len, false, release_and_lend, x, NULL) == 0;
}

static void lent_early_data_comes_back_once_when_rejected(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f);
  leave_ticket(&f);
  f.server = open_server(&f, true);
  lab_tap_redirect(f.tap, &f.server->addr);
  lab_conn *c = lab_dial_with(f.client, f.addr, LAB_ALPN, &early);
  lab_stream *s = lab_stream_open(c, true);
  lender *x = lab_alloc(&f.l, sizeof *x);
  x->stream = s->stream;
  assert_int_equal(
      km_stream_write_ref(s->stream, x->data, sizeof x->data, false, release_and_lend, x, NULL), 0);
  LAB_WAIT(&f.l, s->closed && c->connected);
  assert_int_equal(s->error, KM_ERR_EARLY_DATA_REJECTED);
  assert_int_equal(x->released, 1);
  assert_int_equal(x->lent_again, 0);
  lab_expect_echo(c, 50000);
  close_fixture(&f);
}

/* As rustls does on every dial after the first: the session is resumed, nothing is sent early. */
static void a_server_without_early_data_gives_no_chance_of_it(void **state) {
  (void)state;
  fixture f;
  lab_stream *s;
  open_fixture(&f);
  lab_endpoint_close(f.server);
  f.server = open_server(&f, false);
  lab_tap_redirect(f.tap, &f.server->addr);
  leave_ticket(&f);
  lab_conn *c = dial_early(&f, &s, "hello");
  LAB_WAIT(&f.l, s->closed && (c->connected || c->closed));
  if (c->closed > 0) {
    fail_msg("%s: %s", km_error_name(c->info.error), c->info.text);
  }
  assert_false(c->early_accepted);
  assert_true(s->error == 0 || s->error == KM_ERR_EARLY_DATA_REJECTED);
  lab_expect_echo(c, 1000);
  close_fixture(&f);
}

static void a_ticket_is_for_one_protocol(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f);
  lab_accept(f.server, "km/other/1");
  leave_ticket(&f);
  lab_conn *c = lab_dial_with(f.client, f.addr, "km/other/1", &early);
  assert_int_equal(km_conn_early_state(c->conn), KM_EARLY_NONE);
  LAB_WAIT(&f.l, c->connected > 0);
  close_fixture(&f);
}

static void a_ticket_is_used_once(void **state) {
  (void)state;
  fixture f;
  lab_stream *a, *b;
  open_fixture(&f);
  leave_ticket(&f);
  lab_conn *c = dial_early(&f, &a, "one");
  lab_conn *d = dial_early(&f, &b, "two"); /* at the same time: the ticket is taken */
  assert_int_equal(km_conn_early_state(c->conn), KM_EARLY_PENDING);
  assert_int_equal(km_conn_early_state(d->conn), KM_EARLY_NONE);
  LAB_WAIT(&f.l, a->closed && b->closed);
  assert_memory_equal(a->first, "one", 3);
  assert_memory_equal(b->first, "two", 3);
  close_fixture(&f);
}

/* An attacker sends the recorded first flight again when the connection is gone. RFC 8446 section
 * 8: nothing in it may be acted upon twice. */
static void a_replayed_first_flight_is_not_acted_upon(void **state) {
  (void)state;
  fixture f;
  lab_stream *s;
  km_udp_addr unused;
  open_fixture(&f);
  leave_ticket(&f);
  lab_conn *c = dial_early(&f, &s, "pay 100");
  LAB_WAIT(&f.l, s->closed);
  assert_true(c->early_accepted);
  size_t flight = f.tap->recorded_count;
  assert_true(flight >= 1);
  lab_conn_close(c, 0, NULL);
  lab_run_for(&f.l, 3500); /* until nothing of it is remembered as a connection */
  size_t accepted = f.server->accepted_count;
  int fd = raw_open(&unused);
  for (size_t i = 0; i < flight; i++) {
    raw_send(fd, &f.server->addr, f.tap->recorded[i].data, f.tap->recorded[i].len);
  }
  LAB_WAIT(&f.l, lab_stats(f.server).half_open == 1); /* it does look like a new handshake */
  lab_run_for(&f.l, 300);
  assert_int_equal(f.server->accepted_count, accepted);
  size_t streams = 0;
  for (size_t i = 0; i < f.server->accepted_count; i++) {
    streams += f.server->accepted[i]->stream_count;
  }
  assert_int_equal(streams, 2); /* one of each real connection */
  close(fd);
  close_fixture(&f);
}

/* Streams that meddle with each other as they end: ids are given out again from 0. */
typedef struct meddler {
  lab_conn *conn;
  km_stream *streams[2]; /* NULL once closed */
  lab_stream *fresh;
  int errors[2];
} meddler;

static void on_meddler_closed(void *ctx, km_stream *stream, int error) {
  meddler *m = ctx;
  size_t i = m->streams[0] == stream ? 0 : 1;
  km_stream *other = m->streams[1 - i];
  m->streams[i] = NULL;
  m->errors[i] = error;
  if (m->fresh != NULL) {
    return;
  }
  m->fresh = lab_stream_open(m->conn, true);
  lab_stream_write_text(m->fresh, "anew", true);
  assert_non_null(other);
  assert_int_equal(km_stream_reset(other, 9), 0);
  assert_int_equal(km_stream_stop(other, 9), 0);
  km_stream_consume(other, 1000);
}

static void rejected_streams_leave_new_ones_alone(void **state) {
  (void)state;
  static const km_stream_callbacks callbacks = {.size = sizeof callbacks,
                                                .on_closed = on_meddler_closed};
  fixture f;
  size_t taken;
  open_fixture(&f);
  leave_ticket(&f);
  f.server = open_server(&f, true);
  lab_tap_redirect(f.tap, &f.server->addr);
  lab_conn *c = lab_dial_with(f.client, f.addr, LAB_ALPN, &early);
  meddler *m = lab_alloc(&f.l, sizeof *m);
  m->conn = c;
  for (size_t i = 0; i < 2; i++) {
    assert_int_equal(km_conn_open_stream(c->conn, &m->streams[i], true, &callbacks, m), 0);
    assert_int_equal(km_stream_id(m->streams[i]), 4 * i);
    assert_int_equal(km_stream_write(m->streams[i], "early", 5, true, &taken, NULL), 0);
  }
  LAB_WAIT(&f.l, m->fresh != NULL && m->fresh->closed);
  assert_int_equal(m->errors[0], KM_ERR_EARLY_DATA_REJECTED);
  assert_int_equal(m->errors[1], KM_ERR_EARLY_DATA_REJECTED);
  assert_int_equal(m->fresh->error, 0);
  assert_int_equal(m->fresh->received, 4);
  assert_false(m->fresh->reset || m->fresh->stopped);
  close_fixture(&f);
}

/* A server that sends datagrams as soon as it hears of a connection. */
typedef struct eager {
  bool early;
  int first_answer, last_answer;
  unsigned sendable;
} eager;

static void on_eager_sendable(void *ctx, km_conn *conn) {
  eager *e = ctx;
  e->sendable++;
  e->last_answer = km_conn_send_datagram(conn, "welcome", 7);
}

static void on_eager_connected(void *ctx, km_conn *conn) {
  eager *e = ctx;
  e->early = km_conn_early_state(conn) == KM_EARLY_ACCEPTED;
  e->first_answer = km_conn_send_datagram(conn, "welcome", 7);
}

static void datagrams_wait_for_the_end_of_an_early_handshake(void **state) {
  (void)state;
  static const char alpn[] = "km/eager/1";
  fixture f;
  eager e = {0};
  open_fixture(&f);
  const km_protocol protocol = {
      .size = sizeof protocol,
      .alpn = alpn,
      .conn = {.on_connected = on_eager_connected, .on_datagrams_sendable = on_eager_sendable},
      .ctx = &e};
  assert_int_equal(km_endpoint_add_protocol(f.server->ep, &protocol, NULL), 0);
  lab_conn *c = lab_dial_with(f.client, f.addr, alpn, NULL);
  LAB_WAIT(&f.l, c->datagrams == 1);
  assert_false(e.early);
  assert_int_equal(e.first_answer, 0);
  lab_run_for(&f.l, 100);
  lab_conn_close(c, 0, NULL);
  c = lab_dial_with(f.client, f.addr, alpn, &early);
  lab_stream *s = lab_stream_open(c, true);
  lab_stream_write_text(s, "first", true);
  LAB_WAIT(&f.l, c->datagrams == 1);
  assert_true(e.early);
  assert_int_equal(e.first_answer, KM_ERR_AGAIN);
  assert_int_equal(e.sendable, 1);
  assert_int_equal(e.last_answer, 0);
  assert_memory_equal(c->datagram, "welcome", 7);
  close_fixture(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_first_dial_has_nothing_to_resume),
      cmocka_unit_test(early_data_is_accepted),
      cmocka_unit_test(a_dial_without_early_data_may_resume),
      cmocka_unit_test(a_server_that_forgot_its_tickets_rejects),
      cmocka_unit_test(lent_early_data_comes_back_once_when_rejected),
      cmocka_unit_test(a_server_without_early_data_gives_no_chance_of_it),
      cmocka_unit_test(a_ticket_is_for_one_protocol),
      cmocka_unit_test(a_ticket_is_used_once),
      cmocka_unit_test(rejected_streams_leave_new_ones_alone),
      cmocka_unit_test(datagrams_wait_for_the_end_of_an_early_handshake),
      cmocka_unit_test(a_replayed_first_flight_is_not_acted_upon),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
