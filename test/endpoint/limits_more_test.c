/* Bounds of docs/limits.md that need time to pass or many strangers: tokens and their lives, what
 * is left of closed connections, paths. */
#include <unistd.h>

#include "endpoint/conn_impl.h"
#include "test/endpoint/frames.h"
#include "test/endpoint/initial.h"
#include "test/endpoint/tap.h"
#include "test/endpoint/wrap.h"

enum { CONNECTION_REFUSED = 0x02, INVALID_TOKEN = 0x0b, NO_APPLICATION_PROTOCOL = 0x178 };
enum { TAG = 16, CID = KM_CID_LEN };

/* Somebody who has a real first packet and a socket, and forges with them. */
typedef struct stranger {
  lab *l;
  const lab_endpoint *server;
  int fd;
  initial in; /* the next packet */
  uint64_t random;
} stranger;

static void stranger_open(stranger *s, lab *l, const lab_endpoint *server, const char *alpn) {
  km_udp_addr sink, unused;
  uint8_t buf[INITIAL_MAX];
  int fd = raw_open(&sink);
  lab_endpoint *client = lab_endpoint_open(l, NULL);
  *s = (stranger){.l = l, .server = server, .fd = raw_open(&unused), .random = 1};
  km_addr *addr = lab_addr(server, &sink);
  lab_conn *c = lab_dial_with(client, addr, alpn, NULL);
  km_addr_free(addr);
  size_t n = raw_wait(l, fd, buf, sizeof buf);
  assert_true(initial_open(&s->in, buf, n));
  lab_conn_close(c, 0, NULL);
  lab_endpoint_close(client);
  close(fd);
}

static void new_dcid(stranger *s) {
  uint64_t id = link_splitmix(&s->random);
  s->in.dcid_len = CID;
  memcpy(s->in.dcid, &id, CID);
}

static void send_initial(stranger *s) {
  uint8_t out[INITIAL_MAX];
  raw_send(s->fd, &s->server->addr, out, initial_seal(&s->in, out));
}

/* Asks for a Retry, so that the next packet proves the address. */
static void prove_address(stranger *s) {
  uint8_t buf[INITIAL_MAX];
  size_t n;
  new_dcid(s);
  s->in.token_len = 0;
  send_initial(s);
  do { /* other handshakes repeat their flights */
    n = raw_wait(s->l, s->fd, buf, sizeof buf);
  } while ((buf[0] & 0xf0) != 0xf0);
  size_t at = 5 + 1 + (size_t)buf[5];
  s->in.dcid_len = buf[at];
  assert_true(at + 1 + s->in.dcid_len + TAG < n && s->in.dcid_len <= sizeof s->in.dcid);
  memcpy(s->in.dcid, buf + at + 1, s->in.dcid_len);
  at += 1 + s->in.dcid_len;
  s->in.token_len = n - TAG - at;
  assert_true(s->in.token_len <= sizeof s->in.token);
  memcpy(s->in.token, buf + at, s->in.token_len);
}

/* The code of the CONNECTION_CLOSE that answers the last packet. */
static uint64_t close_code(stranger *s) {
  uint8_t buf[INITIAL_MAX];
  initial answer;
  frame f;
  for (;;) {
    size_t n = raw_wait(s->l, s->fd, buf, sizeof buf);
    if (initial_open_answer(&answer, buf, n, s->in.dcid, s->in.dcid_len) &&
        frame_find(answer.payload, answer.payload_len, FRAME_CLOSE, &f)) {
      return f.first;
    }
  }
}

static lab_endpoint *server_that_asks_for_retry(lab *l, const km_endpoint_options *opt) {
  lab_endpoint *server = lab_server_open(l, opt, LAB_ECHO);
  server->verdict = KM_ACCEPT_RETRY;
  return server;
}

static lab_endpoint *client_at(lab *l, uint8_t last) {
  const km_udp_addr at = {.family = 4, .ip = {127, 0, 0, last}};
  km_endpoint_options opt;
  lab_options(&opt);
  opt.bind = &at;
  return lab_endpoint_open(l, &opt);
}

/* --- tokens ---------------------------------------------------------------------------------- */

static void a_proven_address_has_a_cap_of_its_own(void **state) {
  (void)state;
  enum { CAP = 4 };
  lab l;
  stranger s;
  km_endpoint_options opt;
  lab_open(&l);
  lab_options(&opt);
  opt.max_half_open_per_addr = CAP;
  opt.handshake_timeout_ms = 4000;
  lab_endpoint *server = server_that_asks_for_retry(&l, &opt);
  stranger_open(&s, &l, server, LAB_ALPN);
  for (size_t i = 1; i <= CAP; i++) {
    prove_address(&s);
    send_initial(&s);
    LAB_WAIT(&l, lab_stats(server).half_open == i);
  }
  assert_int_equal(server->incoming_validated, CAP);
  prove_address(&s); /* the unproven share is still free: Retry, not a refusal */
  send_initial(&s);
  assert_int_equal(close_code(&s), CONNECTION_REFUSED);
  assert_int_equal(lab_stats(server).half_open, CAP);
  assert_int_equal(lab_stats(server).refused, 1);
  lab_expect_echo(lab_connect(client_at(&l, 2), server, NULL), 1000);
  LAB_WAIT(&l, lab_stats(server).half_open == 0);
  lab_expect_echo(lab_connect(lab_endpoint_open(&l, NULL), server, NULL), 1000);
  close(s.fd);
  lab_close(&l);
}

static void a_retry_token_lives_for_ten_seconds(void **state) {
  (void)state;
  lab l;
  stranger s;
  lab_open(&l);
  lab_endpoint *server = server_that_asks_for_retry(&l, NULL);
  stranger_open(&s, &l, server, LAB_ALPN);
  clock_freeze(true);
  prove_address(&s);
  clock_forward(10 * KM_NS_PER_S - KM_NS_PER_MS);
  send_initial(&s);
  LAB_WAIT(&l, lab_stats(server).half_open == 1);
  assert_int_equal(server->incoming_validated, 1);
  prove_address(&s);
  clock_forward(10 * KM_NS_PER_S + KM_NS_PER_MS);
  send_initial(&s);
  assert_int_equal(close_code(&s), INVALID_TOKEN);
  assert_int_equal(lab_stats(server).half_open, 1);
  assert_int_equal(lab_stats(server).refused, 1);
  clock_freeze(false);
  close(s.fd);
  lab_close(&l);
}

/* Connects and says whether the server took a token of NEW_TOKEN as a proof. */
static bool proven_by_new_token(lab_endpoint *client, lab_endpoint *server) {
  unsigned before = server->incoming_validated;
  lab_conn *c = lab_connect(client, server, NULL);
  lab_expect_echo(c, 1000); /* NEW_TOKEN has come, too */
  lab_conn_close(c, 0, NULL);
  LAB_WAIT(client->lab, lab_stats(server).connections == 0);
  return server->incoming_validated > before;
}

static void a_new_token_lives_for_a_day(void **state) {
  (void)state;
  const uint64_t day = UINT64_C(86400) * KM_NS_PER_S, minute = 60 * KM_NS_PER_S;
  lab l;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  lab_endpoint *client = lab_endpoint_open(&l, NULL);
  assert_false(proven_by_new_token(client, server)); /* the first time there is none */
  assert_true(proven_by_new_token(client, server));
  clock_forward(day - minute);
  assert_true(proven_by_new_token(client, server));
  clock_forward(day + minute);
  assert_false(proven_by_new_token(client, server)); /* as if there were none */
  assert_true(proven_by_new_token(client, server));
  assert_int_equal(lab_stats(server).refused, 0);
  lab_close(&l);
}

/* --- tombstones ------------------------------------------------------------------------------ */

/* Its handshakes fail at once: the connection is made and closed. */
static const char unknown[] = "unknown";

static size_t count_packets(int fd) {
  uint8_t buf[2048];
  size_t count = 0;
  while (raw_recv(fd, buf, sizeof buf, NULL) > 0) {
    count++;
  }
  return count;
}

static void a_closed_connection_answers_ever_less(void **state) {
  (void)state;
  enum { REPEATS = 40 };
  lab l;
  stranger s;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  stranger_open(&s, &l, server, unknown);
  new_dcid(&s);
  clock_freeze(true); /* a tombstone lives for 300 ms here */
  send_initial(&s);
  assert_int_equal(close_code(&s), NO_APPLICATION_PROTOCOL);
  assert_int_equal(server->ep->tombstone_count, 1);
  for (unsigned i = 1; i <= REPEATS; i++) {
    send_initial(&s);
    lab_run_for(&l, 5);
    bool power_of_two = (i & (i - 1)) == 0;
    assert_int_equal(count_packets(s.fd), power_of_two ? 1 : 0);
  }
  assert_int_equal(lab_stats(server).half_open, 0);
  clock_freeze(false);
  LAB_WAIT(&l, server->ep->tombstone_count == 0);
  close(s.fd);
  lab_close(&l);
}

static void send_short(stranger *s, const uint8_t dcid[CID]) {
  uint8_t packet[100] = {0x40};
  memcpy(packet + 1, dcid, CID);
  raw_send(s->fd, &s->server->addr, packet, sizeof packet);
}

static void closed_connections_that_answer_are_bounded(void **state) {
  (void)state;
  enum { BURST = 32 };
  lab l;
  stranger s;
  uint8_t early[CID];
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  stranger_open(&s, &l, server, unknown);
  new_dcid(&s);
  memcpy(early, s.in.dcid, CID);
  clock_freeze(true);
  send_initial(&s);
  for (unsigned i = 1; i < KM_ENDPOINT_MAX_TOMBSTONES + BURST; i++) {
    new_dcid(&s);
    send_initial(&s);
    if (i % BURST == 0) {
      lab_run_for(&l, 1);
      count_packets(s.fd);
    }
  }
  LAB_WAIT(&l, server->ep->tombstone_count == KM_ENDPOINT_MAX_TOMBSTONES);
  new_dcid(&s);
  send_initial(&s); /* it is closed and told so all the same */
  assert_int_equal(close_code(&s), NO_APPLICATION_PROTOCOL);
  assert_int_equal(server->ep->tombstone_count, KM_ENDPOINT_MAX_TOMBSTONES);
  assert_int_equal(lab_stats(server).resets_sent, 0);
  send_short(&s, early);
  lab_run_for(&l, 20);
  assert_int_equal(lab_stats(server).resets_sent, 0); /* this one is remembered */
  send_short(&s, s.in.dcid);
  LAB_WAIT(&l, lab_stats(server).resets_sent == 1);
  clock_freeze(false);
  clock_forward(3 * KM_NS_PER_S);
  LAB_WAIT(&l, server->ep->tombstone_count == 0);
  lab_expect_echo(lab_connect(lab_endpoint_open(&l, NULL), server, NULL), 1000);
  close(s.fd);
  lab_close(&l);
}

/* Somebody who saw a connection id, and sends short packets from another address. */
static void a_closed_connection_does_not_amplify(void **state) {
  (void)state;
  enum { SMALL = 10, REASON = 999 };
  static char reason[REASON];
  lab l;
  km_udp_addr unused;
  uint8_t packet[1200] = {0x40}, buf[2048];
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  lab_conn *c = lab_connect(lab_endpoint_open(&l, NULL), server, NULL);
  const ngtcp2_cid *cid = ngtcp2_conn_get_dcid2(c->conn->quic);
  memcpy(packet + 1, cid->data, cid->datalen);
  memset(reason, 'x', sizeof reason);
  clock_freeze(true);
  km_conn_close(server->accepted[0]->conn, 1, reason, sizeof reason);
  LAB_WAIT(&l, server->ep->tombstone_count == 1);
  int fd = raw_open(&unused);
  size_t in = 0, out = 0, n;
  for (int i = 0; i < 100; i++) {
    raw_send(fd, &server->addr, packet, SMALL);
    out += SMALL;
    lab_run_for(&l, 2);
    while ((n = raw_recv(fd, buf, sizeof buf, NULL)) > 0) {
      in += n;
    }
    assert_true(in <= 3 * out);
  }
  assert_true(in > REASON); /* they add up to an answer */
  raw_send(fd, &server->addr, packet, sizeof packet);
  lab_run_for(&l, 5);
  clock_freeze(false);
  close(fd);
  lab_close(&l);
}

/* --- answers without state ------------------------------------------------------------------- */

static void a_flood_of_junk_does_not_stop_retry(void **state) {
  (void)state;
  enum { JUNK = KM_STATELESS_PER_PERIOD + 200, BURST = 50 };
  lab l;
  stranger s;
  uint8_t unknown_version[1200] = {0xc0, 0x1a, 0x1a, 0x1a, 0x1a, 8};
  uint8_t id[CID] = {1};
  lab_open(&l);
  lab_endpoint *server = server_that_asks_for_retry(&l, NULL);
  stranger_open(&s, &l, server, LAB_ALPN);
  clock_freeze(true); /* one period */
  for (unsigned i = 0; i < JUNK; i++) {
    send_short(&s, id);
    raw_send(s.fd, &server->addr, unknown_version, sizeof unknown_version);
    if (i % BURST == 0) {
      lab_run_for(&l, 2);
      count_packets(s.fd);
    }
  }
  lab_run_for(&l, 20);
  assert_int_equal(lab_stats(server).resets_sent, KM_STATELESS_PER_PERIOD);
  assert_int_equal(lab_stats(server).version_negotiations_sent, KM_STATELESS_PER_PERIOD);
  assert_int_equal(lab_stats(server).retries_sent, 0);
  count_packets(s.fd);
  prove_address(&s);
  assert_int_equal(lab_stats(server).retries_sent, 1);
  server->verdict = KM_ACCEPT_REFUSE;
  send_initial(&s);
  assert_int_equal(close_code(&s), CONNECTION_REFUSED);
  clock_freeze(false);
  close(s.fd);
  lab_close(&l);
}

/* --- handshake bytes ------------------------------------------------------------------------- */

/* A CRYPTO frame that leaves a hole and ends at `end`. */
static void crypto_behind_a_hole(initial *in, uint64_t end) {
  uint8_t *at = in->payload;
  *at++ = FRAME_CRYPTO;
  at = put_varint(at, end - 100);
  at = put_varint(at, 100);
  memset(at, 'x', 100);
  in->payload_len = (size_t)(at + 100 - in->payload);
}

/* Nothing of a first packet is kept for who has not proved an address, and of others no more than
 * 16 KiB. */
static void first_handshake_bytes_are_bounded(void **state) {
  (void)state;
  enum { MAX = 16384 };
  lab l;
  stranger s;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  stranger_open(&s, &l, server, LAB_ALPN);
  new_dcid(&s);
  crypto_behind_a_hole(&s.in, MAX + 1);
  send_initial(&s);
  lab_run_for(&l, 50);
  assert_int_equal(count_packets(s.fd), 0);
  crypto_behind_a_hole(&s.in, MAX);
  prove_address(&s); /* no one asked for it: what has a hole needs a proof */
  assert_int_equal(lab_stats(server).half_open, 0);
  assert_int_equal(lab_stats(server).retries_sent, 1);
  crypto_behind_a_hole(&s.in, MAX + 1);
  send_initial(&s);
  lab_run_for(&l, 50);
  assert_int_equal(lab_stats(server).half_open, 0);
  crypto_behind_a_hole(&s.in, MAX);
  send_initial(&s);
  LAB_WAIT(&l, lab_stats(server).half_open == 1);
  close(s.fd);
  lab_close(&l);
}

/* --- paths ----------------------------------------------------------------------------------- */

/* A dial tries every address of a full list, and takes a path for each. */
static void paths_of_an_endpoint_are_bounded(void **state) {
  (void)state;
  enum { CONNECTIONS = 2, MAX = CONNECTIONS * KM_CONN_MAX_PATHS + KM_MIXED_MAX_CANDIDATES + 1 };
  lab l;
  km_endpoint_options opt;
  km_udp_addr silent;
  km_addr *addr;
  km_conn *conn = NULL;
  lab_open(&l);
  lab_options(&opt);
  opt.max_connections = CONNECTIONS;
  int fd = raw_open(&silent);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  lab_endpoint *client = lab_endpoint_open(&l, &opt);
  assert_int_equal(km_addr_new(&addr, km_endpoint_id(server->ep)), 0);
  for (uint8_t i = 0; i < KM_ADDR_MAX_DIRECT; i++) {
    silent.ip[3] = (uint8_t)(i + 2);
    assert_int_equal(km_addr_add_udp(addr, &silent), 0);
  }
  lab_conn *c = lab_dial_with(client, addr, LAB_ALPN, NULL);
  assert_int_equal(lab_stats(client).paths, KM_ADDR_MAX_DIRECT + 1);
  km_addr *others;
  assert_int_equal(km_addr_new(&others, km_endpoint_id(server->ep)), 0);
  for (uint8_t i = 0; i < KM_ADDR_MAX_DIRECT; i++) {
    silent.ip[3] = (uint8_t)(i + 100);
    assert_int_equal(km_addr_add_udp(others, &silent), 0);
  }
  assert_int_equal(km_endpoint_dial(client->ep, &conn, others, LAB_ALPN, NULL, NULL, NULL, NULL),
                   KM_ERR_LIMIT);
  assert_true(lab_stats(client).paths <= MAX);
  lab_expect_echo(lab_connect(client, server, NULL), 1000); /* one more fits */
  lab_conn_close(c, 0, NULL);
  LAB_WAIT(&l, lab_stats(client).paths < KM_ADDR_MAX_DIRECT);
  c = lab_dial_with(client, others, LAB_ALPN, NULL);
  assert_int_equal(c->closed, 0);
  km_addr_free(addr);
  km_addr_free(others);
  close(fd);
  lab_close(&l);
}

/* The next packets of the client come from `fd`, enough for the server to answer with several. */
static void hop(lab_tap *tap, lab_conn *c, int fd) {
  enum { PACKETS = 3 };
  static const uint8_t news[1000];
  tap->recorded_count = 0;
  for (size_t i = 0; i < PACKETS; i++) {
    assert_int_equal(km_conn_send_datagram(c->conn, news, sizeof news), 0);
  }
  LAB_WAIT(tap->l, tap->recorded_count >= PACKETS);
  for (size_t i = 0; i < tap->recorded_count; i++) {
    raw_send(fd, &tap->server, tap->recorded[i].data, tap->recorded[i].len);
  }
  LAB_WAIT(tap->l, count_packets(fd) > 0);
}

static void count_challenges(void *ctx, plain_packet *packet) {
  unsigned *count = ctx;
  frame f;
  *count += frame_find(packet->data, packet->len, FRAME_PATH_CHALLENGE, &f);
}

/* A new address takes the validation of the one before away: the newest is challenged again, the
 * others hear nothing more. */
static void one_path_is_validated_at_a_time(void **state) {
  (void)state;
  enum { HOPS = 3 };
  lab l;
  int fds[HOPS];
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  lab_tap *tap = lab_tap_open(&l, &server->addr, NULL);
  lab_conn *c = lab_connect(lab_endpoint_open(&l, NULL), server, &tap->addr);
  lab_expect_echo(c, 100000);
  lab_tap_blackhole(tap, true);
  for (size_t i = 0; i < HOPS; i++) {
    km_udp_addr unused;
    fds[i] = raw_open(&unused);
    hop(tap, c, fds[i]);
  }
  for (size_t i = 0; i < HOPS; i++) {
    count_packets(fds[i]);
  }
  unsigned challenges = 0;
  packets_watch(count_challenges, &challenges);
  LAB_WAIT(&l, challenges >= 2); /* as many as ngtcp2 sends at once */
  packets_watch(NULL, NULL);
  lab_run_for(&l, 100);
  assert_true(count_packets(fds[HOPS - 1]) >= 2);
  for (size_t i = 0; i + 1 < HOPS; i++) {
    assert_int_equal(count_packets(fds[i]), 0);
  }
  assert_true(lab_stats(server).paths <= HOPS + 1);
  lab_tap_blackhole(tap, false);
  lab_expect_echo(c, 1000); /* where it was all the time */
  for (size_t i = 0; i < HOPS; i++) {
    close(fds[i]);
  }
  lab_close(&l);
}

/* The clock is the program's: a test that failed must not leave it standing. */
static int let_time_pass(void **state) {
  (void)state;
  clock_freeze(false);
  packets_watch(NULL, NULL);
  return 0;
}

int main(int argc, char **argv) {
  cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(a_proven_address_has_a_cap_of_its_own, let_time_pass),
      cmocka_unit_test_teardown(a_retry_token_lives_for_ten_seconds, let_time_pass),
      cmocka_unit_test_teardown(a_new_token_lives_for_a_day, let_time_pass),
      cmocka_unit_test_teardown(a_closed_connection_answers_ever_less, let_time_pass),
      cmocka_unit_test_teardown(closed_connections_that_answer_are_bounded, let_time_pass),
      cmocka_unit_test_teardown(a_closed_connection_does_not_amplify, let_time_pass),
      cmocka_unit_test_teardown(a_flood_of_junk_does_not_stop_retry, let_time_pass),
      cmocka_unit_test_teardown(first_handshake_bytes_are_bounded, let_time_pass),
      cmocka_unit_test_teardown(paths_of_an_endpoint_are_bounded, let_time_pass),
      cmocka_unit_test_teardown(one_path_is_validated_at_a_time, let_time_pass),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
