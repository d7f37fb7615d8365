/* A dial with several addresses of which some are wrong: out of date, or somebody else's by now. */
#include <unistd.h>

#include "base/wire.h"
#include "endpoint/conn_impl.h"
#include "test/endpoint/tap.h"

enum { SLOW_MS = 50 };

typedef struct fixture {
  lab l;
  lab_endpoint *server, *client;
  lab_tap *slow; /* to the server, so that the wrong ones are faster */
  km_addr *addr; /* of the server, no address yet */
} fixture;

static void open_fixture(fixture *f) {
  link_options options;
  lab_open(&f->l);
  link_options_default(&options);
  options.delay_ns = SLOW_MS * KM_NS_PER_MS;
  f->server = lab_server_open(&f->l, NULL, LAB_ECHO);
  f->client = lab_endpoint_open(&f->l, NULL);
  f->slow = lab_tap_open(&f->l, &f->server->addr, &options);
  assert_int_equal(km_addr_new(&f->addr, km_endpoint_id(f->server->ep)), 0);
}

static void close_fixture(fixture *f) {
  km_addr_free(f->addr);
  lab_close(&f->l);
}

static void add(fixture *f, const km_udp_addr *at) {
  assert_int_equal(km_addr_add_udp(f->addr, at), 0);
}

static lab_conn *dial(fixture *f) {
  return lab_dial_with(f->client, f->addr, LAB_ALPN, NULL);
}

static lab_conn *dial_until_settled(fixture *f) {
  lab_conn *c = dial(f);
  LAB_WAIT(&f->l, c->connected > 0 || c->closed > 0);
  return c;
}

static void expect_right(fixture *f, lab_conn *c) {
  if (c->closed > 0) {
    fail_msg("%s: %s", km_error_name(c->info.error), c->info.text);
  }
  km_path_info path;
  assert_int_equal(km_conn_path(c->conn, &path), 0);
  assert_true(km_udp_addr_equal(&path.remote, &f->slow->addr));
  lab_expect_echo(c, 100000);
}

static void another_key_at_one_address(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f);
  lab_endpoint *other = lab_server_open(&f.l, NULL, LAB_ECHO);
  add(&f, &other->addr);
  add(&f, &f.slow->addr);
  lab_conn *c = dial(&f);
  km_conn_set_keep_alive(c->conn, 77);
  lab_stream *s = lab_stream_open(c, true);
  lab_stream_send(s, 50000, true);
  LAB_WAIT(&f.l, c->closed > 0 || s->closed);
  expect_right(&f, c);
  assert_int_equal(s->error, 0);
  lab_expect_pattern(s, 50000);
  assert_int_equal(c->conn->keep_alive_ms, 77);
  assert_int_equal(other->accepted_count, 0);
  assert_int_equal(lab_stats(f.client).dialled, 1);
  LAB_WAIT(&f.l, lab_stats(other).half_open == 0); /* it was told */
  close_fixture(&f);
}

static void several_wrong_ones(void **state) {
  (void)state;
  enum { OTHERS = 5 };
  fixture f;
  open_fixture(&f);
  for (int i = 0; i < OTHERS; i++) {
    add(&f, &lab_server_open(&f.l, NULL, LAB_ECHO)->addr);
  }
  add(&f, &f.slow->addr);
  expect_right(&f, dial_until_settled(&f));
  LAB_WAIT(&f.l, lab_stats(f.client).paths == 2); /* the one in use, and the mixed one */
  close_fixture(&f);
}

static void a_refusal_at_one_address(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f);
  lab_endpoint *full = lab_server_open(&f.l, NULL, LAB_ECHO);
  full->verdict = KM_ACCEPT_REFUSE;
  lab_endpoint *mute = lab_endpoint_open(&f.l, NULL); /* accepts no protocol at all */
  lab_endpoint *foreign = lab_endpoint_open(&f.l, NULL);
  lab_accept(foreign, "km/other/1");
  add(&f, &full->addr);
  add(&f, &mute->addr);
  add(&f, &foreign->addr);
  add(&f, &f.slow->addr);
  expect_right(&f, dial_until_settled(&f));
  close_fixture(&f);
}

/* RFC 9000 section 17.2.1: the ids of the packet that it answers, the other way round. */
static void answer_with_other_versions(int fd, lab *l) {
  static const uint8_t version[4] = {0x1a, 0x2a, 0x3a, 0x4a};
  uint8_t in[2048], out[128] = {0x80};
  km_udp_addr from;
  size_t n = 0;
  LAB_WAIT(l, (n = raw_recv(fd, in, sizeof in, &from)) > 0);
  size_t dcid_len = in[5], scid_len = in[6 + dcid_len];
  assert_true(dcid_len <= 20 && scid_len <= 20 && 7 + dcid_len + scid_len < n);
  size_t at = 5;
  out[at++] = (uint8_t)scid_len;
  memcpy(out + at, in + 7 + dcid_len, scid_len);
  at += scid_len;
  out[at++] = (uint8_t)dcid_len;
  memcpy(out + at, in + 6, dcid_len);
  at += dcid_len;
  memcpy(out + at, version, sizeof version);
  raw_send(fd, &from, out, at + sizeof version);
}

static void other_versions_at_one_address(void **state) {
  (void)state;
  fixture f;
  km_udp_addr old;
  open_fixture(&f);
  int fd = raw_open(&old);
  add(&f, &old);
  add(&f, &f.slow->addr);
  lab_conn *c = dial(&f);
  answer_with_other_versions(fd, &f.l);
  LAB_WAIT(&f.l, c->connected > 0 || c->closed > 0);
  expect_right(&f, c);
  close(fd);
  close_fixture(&f);
}

static void all_wrong(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f);
  for (int i = 0; i < 3; i++) {
    add(&f, &lab_server_open(&f.l, NULL, LAB_ECHO)->addr);
  }
  lab_conn *c = dial(&f);
  lab_stream *s = lab_stream_open(c, true);
  LAB_WAIT_S(&f.l, 4, c->closed > 0); /* nobody is left to be waited for */
  assert_int_equal(c->connected, 0);
  assert_int_equal(c->info.error, KM_ERR_WRONG_PEER);
  assert_true(s->closed);
  close_fixture(&f);
}

static void a_wrong_one_and_silence(void **state) {
  (void)state;
  fixture f;
  km_udp_addr silent;
  open_fixture(&f);
  int fd = raw_open(&silent);
  lab_endpoint *full = lab_server_open(&f.l, NULL, LAB_ECHO);
  full->verdict = KM_ACCEPT_REFUSE;
  add(&f, &silent);
  add(&f, &full->addr);
  lab_conn *c = dial(&f);
  LAB_WAIT_S(&f.l, 20, c->closed > 0);             /* long before the handshake's 30 s */
  assert_int_equal(c->info.error, KM_ERR_REFUSED); /* and not that nobody was there */
  close(fd);
  close_fixture(&f);
}

static void the_time_of_the_dial_is_for_all_rounds(void **state) {
  (void)state;
  fixture f;
  km_udp_addr silent;
  open_fixture(&f);
  int fd = raw_open(&silent);
  add(&f, &silent);
  add(&f, &lab_server_open(&f.l, NULL, LAB_ECHO)->addr);
  const km_dial_options quick = {.size = sizeof quick, .timeout_ms = 700};
  uint64_t from = lab_now_ms();
  lab_conn *c = lab_dial_with(f.client, f.addr, LAB_ALPN, &quick);
  LAB_WAIT_S(&f.l, 4, c->closed > 0);
  assert_true(lab_now_ms() - from >= 600);
  assert_int_equal(c->info.error, KM_ERR_WRONG_PEER);
  close(fd);
  close_fixture(&f);
}

/* An application that closes the connection while its early streams end. */
static void close_it(void *ctx, km_stream *stream, int error) {
  (void)ctx;
  assert_int_equal(error, KM_ERR_EARLY_DATA_REJECTED);
  km_conn_close(km_stream_conn(stream), 5, NULL, 0);
}

static void early_data_is_lost_with_a_round(void **state) {
  (void)state;
  const km_dial_options early = {.size = sizeof early, .early_data = true};
  const km_stream_callbacks closing = {.size = sizeof closing, .on_closed = close_it};
  for (int closes = 0; closes < 2; closes++) {
    fixture f;
    km_stream *rude;
    open_fixture(&f);
    lab_conn *c = lab_connect(f.client, f.server, NULL); /* leaves a ticket */
    lab_expect_echo(c, 1000);
    LAB_WAIT(&f.l, c->conn->progress.ticket_received);
    lab_conn_close(c, 0, NULL);
    lab_endpoint *other = lab_server_open(&f.l, NULL, LAB_ECHO);
    add(&f, &other->addr);
    add(&f, &f.slow->addr);
    c = lab_dial_with(f.client, f.addr, LAB_ALPN, &early);
    assert_int_equal(km_conn_early_state(c->conn), KM_EARLY_PENDING);
    lab_stream *s = lab_stream_open(c, true);
    lab_stream_write_text(s, "early", true);
    if (closes != 0) {
      assert_int_equal(km_conn_open_stream(c->conn, &rude, true, &closing, NULL), 0);
    }
    LAB_WAIT(&f.l, s->closed);
    assert_int_equal(s->error, KM_ERR_EARLY_DATA_REJECTED);
    LAB_WAIT(&f.l, c->connected > 0 || c->closed > 0);
    if (closes != 0) {
      assert_int_equal(c->closed, 1);
      assert_int_equal(c->info.origin, KM_CLOSE_LOCAL_APP);
    } else {
      LAB_WAIT(&f.l, c->early_answers == 1);
      assert_false(c->early_accepted);
      assert_int_equal(km_conn_early_state(c->conn), KM_EARLY_REJECTED);
      expect_right(&f, c);
    }
    close_fixture(&f);
  }
}

static void it_can_be_closed_in_between(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f);
  lab_endpoint *other = lab_server_open(&f.l, NULL, LAB_ECHO);
  add(&f, &other->addr);
  add(&f, &f.slow->addr);
  lab_conn *c = dial(&f);
  LAB_WAIT(&f.l, c->conn->verdict != NULL);
  lab_conn_close(c, 3, "changed my mind");
  assert_int_equal(c->info.origin, KM_CLOSE_LOCAL_APP);
  LAB_WAIT(&f.l, lab_stats(f.client).paths == 0);
  close_fixture(&f);
}

/* --- answers, and then silence ---------------------------------------------------------------- */

static bool all_but_the_first(void *ctx, const uint8_t *data, size_t len) {
  unsigned *seen = ctx;
  (void)data;
  (void)len;
  return (*seen)++ > 0;
}

static void add_one_that_falls_silent(fixture *f, const lab_endpoint *behind, unsigned *seen) {
  lab_tap *tap = lab_tap_open(&f->l, &behind->addr, NULL);
  *seen = 0;
  tap->lost = all_but_the_first;
  tap->lost_ctx = seen;
  add(f, &tap->addr);
  add(f, &f->slow->addr);
}

/* The bytes of the first packet, which is an Initial, of a datagram (RFC 9000 section 17.2.2). */
static size_t first_packet(const uint8_t *datagram, size_t len) {
  km_rd rd = km_rd_init(datagram, len);
  (void)km_rd_bytes(&rd, 5);                      /* flags, version */
  (void)km_rd_bytes(&rd, km_rd_u8(&rd));          /* destination */
  (void)km_rd_bytes(&rd, km_rd_u8(&rd));          /* source */
  (void)km_rd_bytes(&rd, km_rd_quic_varint(&rd)); /* token */
  (void)km_rd_bytes(&rd, km_rd_quic_varint(&rd));
  assert_false(rd.failed);
  return len - km_rd_left(&rd);
}

/* Whoever holds one of the addresses needs no key to begin a handshake: it passes on what another
 * server answered, a ServerHello, and says no more. */
static void who_answers_and_then_is_silent_is_dropped(void **state) {
  (void)state;
  fixture f;
  km_udp_addr here, unused, client;
  uint8_t buf[2048];
  size_t len;
  open_fixture(&f);
  lab_endpoint *other = lab_server_open(&f.l, NULL, LAB_ECHO);
  int front = raw_open(&here), back = raw_open(&unused);
  add(&f, &here);
  add(&f, &f.slow->addr);
  lab_conn *c = dial(&f);
  LAB_WAIT(&f.l, (len = raw_recv(front, buf, sizeof buf, &client)) > 0);
  raw_send(back, &other->addr, buf, len);
  len = first_packet(buf, raw_wait(&f.l, back, buf, sizeof buf));
  memset(buf + len, 0x40, 1200 - len); /* no packet that anybody knows */
  raw_send(front, &client, buf, 1200);
  LAB_WAIT(&f.l, c->connected > 0 || c->closed > 0);
  expect_right(&f, c);
  close(front);
  close(back);
  close_fixture(&f);
}

/* A Retry's token goes to all, and the right one does not know it. */
static void a_foreign_token_is_not_the_right_ones_fault(void **state) {
  (void)state;
  fixture f;
  unsigned seen;
  open_fixture(&f);
  lab_endpoint *other = lab_server_open(&f.l, NULL, LAB_ECHO);
  other->verdict = KM_ACCEPT_RETRY;
  add_one_that_falls_silent(&f, other, &seen);
  expect_right(&f, dial_until_settled(&f));
  assert_true(seen > 1);
  close_fixture(&f);
}

int main(int argc, char **argv) {
  cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(another_key_at_one_address),
      cmocka_unit_test(several_wrong_ones),
      cmocka_unit_test(a_refusal_at_one_address),
      cmocka_unit_test(other_versions_at_one_address),
      cmocka_unit_test(all_wrong),
      cmocka_unit_test(a_wrong_one_and_silence),
      cmocka_unit_test(the_time_of_the_dial_is_for_all_rounds),
      cmocka_unit_test(early_data_is_lost_with_a_round),
      cmocka_unit_test(it_can_be_closed_in_between),
      cmocka_unit_test(who_answers_and_then_is_silent_is_dropped),
      cmocka_unit_test(a_foreign_token_is_not_the_right_ones_fault),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
