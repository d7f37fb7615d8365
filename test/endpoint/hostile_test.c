/* Strangers at an endpoint's door: floods, forgeries, replays, noise. */
#include <arpa/inet.h>
#include <malloc.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test/endpoint/initial.h"
#include "test/endpoint/tap.h"

typedef struct rng {
  uint64_t state;
} rng;

static void fill(rng *r, uint8_t *out, size_t len) {
  for (size_t i = 0; i < len; i++) {
    out[i] = (uint8_t)link_splitmix(&r->state);
  }
}

/* The first packet of a real dial, taken apart. */
static initial real_initial(lab *l, const lab_endpoint *server) {
  km_udp_addr sink;
  uint8_t buf[INITIAL_MAX];
  initial in;
  int fd = raw_open(&sink);
  lab_endpoint *client = lab_endpoint_open(l, NULL);
  lab_conn *c = lab_dial(client, server, &sink);
  size_t n = raw_wait(l, fd, buf, sizeof buf);
  assert_true(initial_open(&in, buf, n));
  lab_conn_close(c, 0, NULL);
  lab_endpoint_close(client);
  close(fd);
  return in;
}

static size_t forge(initial *in, rng *r, uint8_t out[INITIAL_MAX]) {
  in->dcid_len = 18;
  fill(r, in->dcid, in->dcid_len);
  return initial_seal(in, out);
}

/* A socket on another loopback address. */
static int raw_open_at(uint8_t third, uint8_t fourth) {
  struct sockaddr_in in = {.sin_family = AF_INET,
                           .sin_addr.s_addr = htonl(0x7f000000u | (uint32_t)third << 8 | fourth)};
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  assert_true(fd >= 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof in), 0);
  return fd;
}

static lab_endpoint *client_at(lab *l, uint8_t third, uint8_t fourth) {
  const km_udp_addr at = {.family = 4, .ip = {127, 0, third, fourth}};
  km_endpoint_options opt;
  lab_options(&opt);
  opt.bind = &at;
  return lab_endpoint_open(l, &opt);
}

static void drain(int fd) {
  uint8_t buf[2048];
  while (raw_recv(fd, buf, sizeof buf, NULL) > 0) {
  }
}

static void sealing_undoes_opening(void **state) {
  (void)state;
  lab l;
  rng r = {5};
  initial again;
  uint8_t out[INITIAL_MAX];
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  initial in = real_initial(&l, server);
  size_t n = forge(&in, &r, out);
  assert_in_range(n, 1200, 1500);
  assert_true(initial_open(&again, out, n));
  assert_memory_equal(again.payload, in.payload, in.payload_len);
  out[n - 1] ^= 1;
  assert_false(initial_open(&again, out, n));
  lab_close(&l);
}

static void a_flood_from_one_address_is_capped(void **state) {
  (void)state;
  enum { PACKETS = 6000, CAP = 64 };
  lab l;
  rng r = {1};
  uint8_t out[INITIAL_MAX];
  km_udp_addr unused;
  km_endpoint_options opt;
  lab_open(&l);
  lab_options(&opt);
  opt.handshake_timeout_ms = 3000;
  lab_endpoint *server = lab_server_open(&l, &opt, LAB_ECHO);
  initial in = real_initial(&l, server);
  int fd = raw_open(&unused);
  size_t before = mallinfo2().uordblks;
  for (int i = 0; i < PACKETS; i++) {
    size_t n = forge(&in, &r, out);
    raw_send(fd, &server->addr, out, n);
    if (i % 50 == 49) {
      (void)lab_turn(&l, lab_now_ms() + 1);
      drain(fd);
      assert_true(lab_stats(server).half_open <= CAP);
    }
  }
  lab_run_for(&l, 50);
  km_endpoint_stats stats = lab_stats(server);
  assert_in_range(stats.half_open, 1, CAP);
  assert_true(stats.retries_sent > 0);
  assert_int_equal(stats.accepted, 0);
  /* 64 handshakes and their TLS state, nothing a packet. */
  assert_true(mallinfo2().uordblks < before + CAP * (300u << 10));

  /* Others do not notice, and who shares the address can prove that it is there. */
  lab_conn *c = lab_connect(client_at(&l, 0, 2), server, NULL);
  lab_expect_echo(c, 10000);
  lab_run_for(&l, 150); /* a fresh budget of stateless answers */
  c = lab_connect(lab_endpoint_open(&l, NULL), server, NULL);
  lab_expect_echo(c, 10000);
  LAB_WAIT(&l, lab_stats(server).half_open == 0); /* the forged ones time out */
  close(fd);
  lab_close(&l);
}

static void from_many_addresses_retry_is_asked_for(void **state) {
  (void)state;
  enum { SOURCES = 200, THRESHOLD = 16 };
  lab l;
  rng r = {2};
  uint8_t out[INITIAL_MAX];
  km_endpoint_options opt;
  lab_open(&l);
  lab_options(&opt);
  opt.retry_threshold = THRESHOLD;
  lab_endpoint *server = lab_server_open(&l, &opt, LAB_ECHO);
  initial in = real_initial(&l, server);
  for (unsigned i = 0; i < SOURCES; i++) {
    int fd = raw_open_at(1, (uint8_t)(i + 1));
    size_t n = forge(&in, &r, out);
    raw_send(fd, &server->addr, out, n);
    (void)lab_turn(&l, lab_now_ms() + 1);
    close(fd);
  }
  lab_run_for(&l, 20);
  assert_int_equal(lab_stats(server).half_open, THRESHOLD);
  assert_true(lab_stats(server).retries_sent >= (SOURCES - THRESHOLD) / 2);
  lab_run_for(&l, 150);
  unsigned validated = server->incoming_validated;
  lab_conn *c = lab_connect(client_at(&l, 2, 2), server, NULL);
  lab_expect_echo(c, 1000);
  assert_int_equal(server->incoming_validated, validated + 1);
  lab_close(&l);
}

/* RFC 9000 section 8.1: at most three times what an unproven address sent. */
static void an_unproven_address_gets_three_times_at_most(void **state) {
  (void)state;
  lab l;
  rng r = {3};
  uint8_t out[INITIAL_MAX], buf[2048];
  km_udp_addr unused;
  size_t received = 0, n;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  initial in = real_initial(&l, server);
  int fd = raw_open(&unused);
  size_t sent = forge(&in, &r, out);
  raw_send(fd, &server->addr, out, sent);
  received += raw_wait(&l, fd, buf, sizeof buf);
  lab_run_for(&l, 2500); /* repeats count, too */
  while ((n = raw_recv(fd, buf, sizeof buf, NULL)) > 0) {
    received += n;
  }
  assert_in_range(received, sent, 3 * sent);
  close(fd);
  lab_close(&l);
}

static void one_initial_repeated_is_one_handshake(void **state) {
  (void)state;
  lab l;
  rng r = {4};
  uint8_t out[INITIAL_MAX];
  km_udp_addr unused;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  initial in = real_initial(&l, server);
  int fd = raw_open(&unused);
  size_t n = forge(&in, &r, out);
  for (int i = 0; i < 100; i++) {
    raw_send(fd, &server->addr, out, n);
  }
  lab_run_for(&l, 100);
  assert_int_equal(lab_stats(server).half_open, 1);
  assert_int_equal(lab_stats(server).retries_sent, 0);
  close(fd);
  lab_close(&l);
}

static void a_forged_retry_token_is_refused(void **state) {
  (void)state;
  lab l;
  rng r = {6};
  uint8_t out[INITIAL_MAX], buf[2048];
  km_udp_addr unused;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  initial in = real_initial(&l, server);
  int fd = raw_open(&unused);
  in.token_len = 90;
  fill(&r, in.token, in.token_len);
  in.token[0] = 0xb7; /* ngtcp2's mark of its second Retry token format */
  size_t n = forge(&in, &r, out);
  raw_send(fd, &server->addr, out, n);
  size_t answer = raw_wait(&l, fd, buf, sizeof buf);
  assert_true((buf[0] & 0xf0) == 0xc0 && answer < 300); /* a lone Initial: CONNECTION_CLOSE */
  assert_int_equal(lab_stats(server).half_open, 0);
  assert_int_equal(lab_stats(server).refused, 1);
  in.token[0] = 0x00; /* of no known kind: as if there were none */
  n = forge(&in, &r, out);
  raw_send(fd, &server->addr, out, n);
  LAB_WAIT(&l, lab_stats(server).half_open == 1);
  close(fd);
  lab_close(&l);
}

/* --- answers without state ------------------------------------------------------------------- */

static size_t unknown_version(uint8_t *out, size_t len) {
  memset(out, 0, len);
  memcpy(out,
         "\xc0\x1a\x2b\x3c\x4d\x08"
         "DESTCONN"
         "\x05"
         "SOURC",
         6 + 8 + 1 + 5);
  return len;
}

static void an_unknown_version_is_negotiated(void **state) {
  (void)state;
  lab l;
  uint8_t out[1300], buf[2048];
  km_udp_addr unused;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  int fd = raw_open(&unused);
  raw_send(fd, &server->addr, out, unknown_version(out, 1199)); /* too short to be answered */
  raw_send(fd, &server->addr, out, unknown_version(out, 1200));
  size_t n = raw_wait(&l, fd, buf, sizeof buf);
  assert_true((buf[0] & 0x80) != 0);
  assert_memory_equal(buf + 1,
                      "\0\0\0\0\x05SOURC\x08"
                      "DESTCONN",
                      4 + 6 + 9);
  bool has_v1 = false;
  for (size_t at = 20; at + 4 <= n; at += 4) {
    has_v1 = has_v1 || memcmp(buf + at, "\0\0\0\1", 4) == 0;
    assert_memory_not_equal(buf + at, "\x1a\x2b\x3c\x4d", 4); /* never what was asked for */
  }
  assert_true(has_v1);
  assert_int_equal((n - 20) % 4, 0);
  lab_run_for(&l, 50);
  assert_int_equal(lab_stats(server).version_negotiations_sent, 1);
  close(fd);
  lab_close(&l);
}

static void answers_without_state_have_a_budget(void **state) {
  (void)state;
  enum { PACKETS = 20000 };
  lab l;
  uint8_t out[1300];
  km_udp_addr unused;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  int fd = raw_open(&unused);
  unknown_version(out, 1200);
  uint64_t start = lab_now_ms();
  for (int i = 0; i < PACKETS; i++) {
    raw_send(fd, &server->addr, out, 1200);
    if (i % 100 == 99) {
      (void)lab_turn(&l, lab_now_ms() + 1);
      drain(fd);
    }
  }
  lab_run_for(&l, 20);
  uint64_t periods = (lab_now_ms() - start) / 100 + 2; /* 1,000 answers in 100 ms */
  uint64_t sent = lab_stats(server).version_negotiations_sent;
  assert_true(sent > 0);
  assert_true(sent <= periods * 1000);
  close(fd);
  lab_close(&l);
}

static void an_unknown_connection_gets_a_shorter_reset(void **state) {
  (void)state;
  lab l;
  rng r = {7};
  uint8_t out[1200], buf[2048];
  km_udp_addr unused;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  int fd = raw_open(&unused);
  fill(&r, out, sizeof out);
  out[0] = 0x40;
  for (size_t len = 1; len < 43; len++) {
    raw_send(fd, &server->addr, out, len);
  }
  lab_run_for(&l, 50);
  assert_int_equal(raw_recv(fd, buf, sizeof buf, NULL), 0);
  static const size_t lens[] = {43, 44, 100, 1200};
  for (size_t i = 0; i < 4; i++) {
    raw_send(fd, &server->addr, out, lens[i]);
    size_t n = raw_wait(&l, fd, buf, sizeof buf);
    assert_true(n < lens[i] && n >= 21);
    assert_int_equal(buf[0] & 0xc0, 0x40); /* looks like a short header */
  }
  assert_int_equal(lab_stats(server).resets_sent, 4);
  close(fd);
  lab_close(&l);
}

/* The server lost its memory, but not its key: the client must not wait for its idle timeout. */
static void a_restarted_server_resets_its_clients(void **state) {
  (void)state;
  lab l;
  km_endpoint_options opt;
  lab_open(&l);
  lab_options(&opt);
  km_secret_key *key = lab_key(9);
  opt.secret_key = key;
  lab_endpoint *server = lab_server_open(&l, &opt, LAB_ECHO);
  lab_endpoint *reborn = lab_server_open(&l, &opt, LAB_ECHO);
  km_secret_key_free(key);
  lab_tap *tap = lab_tap_open(&l, &server->addr, NULL);
  lab_conn *c = lab_connect(lab_endpoint_open(&l, NULL), server, &tap->addr);
  lab_expect_echo(c, 1000);
  lab_tap_redirect(tap, &reborn->addr);
  lab_stream_send(lab_stream_open(c, true), 1000, true);
  LAB_WAIT_S(&l, 5, c->closed > 0);
  assert_int_equal(c->info.error, KM_ERR_RESET_BY_PEER);
  assert_int_equal(c->info.origin, KM_CLOSE_REMOTE_TRANSPORT);
  assert_true(lab_stats(reborn).resets_sent > 0);
  lab_close(&l);
}

/* --- noise ----------------------------------------------------------------------------------- */

static void noise_does_not_disturb_a_connection(void **state) {
  (void)state;
  enum { PACKETS = 20000 };
  lab l;
  rng r = {8};
  uint8_t noise[1500];
  km_udp_addr unused;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  lab_endpoint *client = lab_endpoint_open(&l, NULL);
  lab_conn *c = lab_connect(client, server, NULL);
  int fd = raw_open(&unused);
  for (int i = 0; i < PACKETS; i++) {
    size_t len = 1 + (size_t)(link_splitmix(&r.state) % sizeof noise);
    fill(&r, noise, len);
    if (i % 4 == 0) { /* some look like version 1 */
      memcpy(noise + 1, "\0\0\0\1", len < 5 ? len - 1 : 4);
      noise[0] |= 0xc0;
    }
    raw_send(fd, i % 2 == 0 ? &server->addr : &client->addr, noise, len);
    if (i % 50 == 49) {
      (void)lab_turn(&l, lab_now_ms() + 1);
      drain(fd);
    }
  }
  lab_expect_echo(c, 100000);
  assert_int_equal(lab_stats(server).half_open, 0);
  close(fd);
  lab_close(&l);
}

/* Every cut of a real Initial, and one flipped bit in each of its bytes. */
static void damaged_initials_make_no_connection(void **state) {
  (void)state;
  lab l;
  rng r = {10};
  uint8_t out[INITIAL_MAX];
  km_udp_addr unused;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  initial in = real_initial(&l, server);
  int fd = raw_open(&unused);
  size_t n = forge(&in, &r, out);
  for (size_t i = 0; i < n; i++) {
    raw_send(fd, &server->addr, out, i);
    if (i % 50 == 49) {
      (void)lab_turn(&l, lab_now_ms() + 1);
      drain(fd);
    }
  }
  lab_run_for(&l, 20);
  for (size_t i = 30; i < n; i++) { /* behind the ids and lengths: only the tag sees it */
    out[i] ^= (uint8_t)(1u << i % 8);
    raw_send(fd, &server->addr, out, n);
    out[i] ^= (uint8_t)(1u << i % 8);
    if (i % 50 == 49) {
      (void)lab_turn(&l, lab_now_ms() + 1);
      drain(fd);
    }
  }
  lab_run_for(&l, 50);
  assert_int_equal(lab_stats(server).half_open, 0);
  assert_int_equal(server->accepted_count, 0);
  lab_conn *c = lab_connect(client_at(&l, 0, 3), server, NULL);
  lab_expect_echo(c, 1000);
  close(fd);
  lab_close(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sealing_undoes_opening),
      cmocka_unit_test(a_flood_from_one_address_is_capped),
      cmocka_unit_test(from_many_addresses_retry_is_asked_for),
      cmocka_unit_test(an_unproven_address_gets_three_times_at_most),
      cmocka_unit_test(one_initial_repeated_is_one_handshake),
      cmocka_unit_test(a_forged_retry_token_is_refused),
      cmocka_unit_test(an_unknown_version_is_negotiated),
      cmocka_unit_test(answers_without_state_have_a_budget),
      cmocka_unit_test(an_unknown_connection_gets_a_shorter_reset),
      cmocka_unit_test(a_restarted_server_resets_its_clients),
      cmocka_unit_test(noise_does_not_disturb_a_connection),
      cmocka_unit_test(damaged_initials_make_no_connection),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
