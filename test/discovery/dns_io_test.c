/* The DNS server on loopback sockets: clients of our own, and dig and kdig where they are there. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/udp_addr.h"
#include "discovery/server/dns_io.h"
#include "server_lab.h"

/* The library's clock (test/endpoint/wrap_clock_io.c); the header brings a lab of its own. */
void clock_forward(uint64_t ns);
void clock_freeze(bool on);

enum { IDLE_MS = 5000 };

typedef struct lab {
  lab_key key;
  km_pkarr packet;
  km_loop *loop;
  km_zone *zone;
  km_rate_limit *limit, *tcp_limit;
  km_dns_io *dns;
  km_dns_io_config config;
  km_udp_addr bind[4], bound[4];
  char name[512], big[512];
} lab;

static int find_packet(void *ctx, const km_id *id, km_pkarr *ret, int64_t *stored) {
  const lab *l = ctx;
  (void)stored;
  *ret = l->packet;
  return km_id_equal(&l->packet.id, id);
}

static void bind_to(lab *l, const char *text) {
  km_udp_addr *a = &l->bind[l->config.bind_count++];
  assert_int_equal(km_udp_addr_parse(a, text, strlen(text), NULL), 0);
}

static void start(lab *l) {
  if (l->config.bind_count == 0) {
    bind_to(l, "127.0.0.1:0");
  }
  l->config.limit = l->limit;
  l->config.tcp_limit = l->tcp_limit;
  km_errinfo err = {0};
  if (km_dns_io_new(&l->dns, &l->config, &err) != 0) {
    fail_msg("%s", err.text);
  }
  assert_int_equal(km_dns_io_bound(l->dns, l->bound, 4), l->config.bind_count);
}

static int set_up(void **state) {
  static const char *const origins[] = {"dns.test"};
  lab *l = calloc(1, sizeof *l);
  assert_non_null(l);
  lab_key_init(&l->key, 1);
  char records[1024];
  (void)snprintf(records, sizeof records,
                 "_iroh.@ TXT 30 relay=https://relay.test/\n"
                 "big.@ TXT 30 a%0200d\nbig.@ TXT 30 b%0200d\nbig.@ TXT 30 c%0200d\n",
                 1, 2, 3);
  lab_packet(&l->packet, &l->key, 1, records);
  (void)snprintf(l->name, sizeof l->name, "_iroh.%s.dns.test", l->key.z32);
  (void)snprintf(l->big, sizeof l->big, "big.%s.dns.test", l->key.z32);
  km_zone_config zone = {.env = &km_env_system,
                         .origins = origins,
                         .origin_count = 1,
                         .negative_ttl_s = 60,
                         .packet = find_packet,
                         .ctx = l};
  assert_int_equal(km_loop_new(&l->loop), 0);
  assert_int_equal(km_zone_new(&l->zone, &zone, NULL), 0);
  l->config = (km_dns_io_config){.env = &km_env_system,
                                 .loop = l->loop,
                                 .zone = l->zone,
                                 .bind = l->bind,
                                 .max_tcp = 64,
                                 .max_tcp_per_addr = 32,
                                 .tcp_idle_ms = IDLE_MS};
  *state = l;
  return 0;
}

static int tear_down(void **state) {
  lab *l = *state;
  km_dns_io_free(l->dns);
  km_zone_free(l->zone);
  km_rate_limit_free(l->limit);
  km_rate_limit_free(l->tcp_limit);
  (void)km_loop_run_nowait(l->loop);
  assert_int_equal(km_loop_free(l->loop), 0);
  lab_key_clear(&l->key);
  free(l);
  return 0;
}

static km_dns_io_stats stats_of(const lab *l) {
  km_dns_io_stats stats;
  km_dns_io_get_stats(l->dns, &stats);
  return stats;
}

/* --- clients ---------------------------------------------------------------------------------- */

static int connect_to(int type, const km_udp_addr *to) {
  struct sockaddr_storage addr;
  socklen_t len = km_udp_addr_to_sockaddr(to, &addr);
  int fd = socket(addr.ss_family, type, 0);
  assert_true(fd >= 0);
  assert_int_equal(connect(fd, (struct sockaddr *)&addr, len), 0);
  assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
  return fd;
}

/* Runs the server until `fd` has something, for at most `ms`. */
static bool wait_for(lab *l, int fd, int ms) {
  for (int waited = 0;; waited += 5) {
    (void)km_loop_run_nowait(l->loop);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int n = poll(&p, 1, waited < ms ? 5 : 0);
    assert_true(n >= 0);
    if (n > 0 || waited >= ms) {
      return n > 0;
    }
  }
}

static ssize_t receive(lab *l, int fd, uint8_t *ret, size_t cap) {
  assert_true(wait_for(l, fd, 10000));
  return recv(fd, ret, cap, 0);
}

static const char *ask_udp(lab *l, const km_udp_addr *to, const char *name, uint16_t edns) {
  static char text[LAB_TEXT_CAP];
  uint8_t query[512], answer[4096];
  int fd = connect_to(SOCK_DGRAM, to);
  size_t len = lab_query(query, name, lab_type("TXT"), edns);
  assert_int_equal(send(fd, query, len, 0), (ssize_t)len);
  ssize_t n = receive(l, fd, answer, sizeof answer);
  assert_true(n > 0);
  lab_render(text, answer, (size_t)n, &l->key);
  assert_int_equal(close(fd), 0);
  return text;
}

/* `count` questions as TCP has them, with ids from `first`. Returns the length. */
static size_t fill_tcp(const lab *l, uint8_t *ret, size_t count, unsigned first, bool big) {
  size_t len = 0;
  for (size_t i = 0; i < count; i++) {
    size_t n = lab_query(ret + len + 2, big ? l->big : l->name, lab_type("TXT"), 0);
    ret[len] = (uint8_t)(n >> 8);
    ret[len + 1] = (uint8_t)n;
    ret[len + 2] = (uint8_t)((first + i) >> 8);
    ret[len + 3] = (uint8_t)(first + i);
    len += 2 + n;
  }
  return len;
}

/* Reads `count` answers whose ids begin with `first`. */
static void expect_tcp(lab *l, int fd, size_t count, unsigned first) {
  uint8_t buf[65537];
  for (size_t i = 0; i < count; i++) {
    size_t have = 0, want = 2;
    while (have < want) {
      ssize_t n = receive(l, fd, buf + have, want - have);
      if (n <= 0) {
        fail_msg("answer %zu of %zu: %s", i, count, n == 0 ? "closed" : strerror(errno));
      }
      have += (size_t)n;
      want = have >= 2 ? 2 + ((size_t)buf[0] << 8 | buf[1]) : 2;
    }
    assert_int_equal((unsigned)buf[2] << 8 | buf[3], first + i);
    char text[LAB_TEXT_CAP];
    lab_render(text, buf + 2, want - 2, &l->key);
    assert_int_equal(strncmp(text, "NOERROR aa rd | ", 16), 0);
  }
}

static void send_all(lab *l, int fd, const uint8_t *bytes, size_t len) {
  while (len > 0) {
    ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
    if (n < 0) {
      assert_int_equal(errno, EAGAIN);
      (void)km_loop_run_nowait(l->loop);
      continue;
    }
    bytes += n;
    len -= (size_t)n;
  }
}

static bool is_closed(lab *l, int fd, int ms) {
  uint8_t buf[4096];
  while (wait_for(l, fd, ms)) {
    ssize_t n = recv(fd, buf, sizeof buf, 0);
    if (n <= 0) {
      return n == 0 || errno == ECONNRESET;
    }
  }
  return false;
}

/* --- UDP -------------------------------------------------------------------------------------- */

#define ANSWER "NOERROR aa rd | _iroh.@.dns.test. 30 TXT relay=https://relay.test/"

static void test_udp(void **state) {
  lab *l = *state;
  start(l);
  assert_true(l->bound[0].port != 0);
  assert_string_equal(ask_udp(l, &l->bound[0], l->name, 0), ANSWER);
  assert_string_equal(ask_udp(l, &l->bound[0], l->name, 1232), ANSWER " | add . 0 OPT 1232 0 0");
  assert_string_equal(ask_udp(l, &l->bound[0], l->big, 0), "NOERROR aa tc rd");
  assert_string_equal(ask_udp(l, &l->bound[0], "elsewhere.test", 0), "REFUSED rd");
  assert_int_equal(stats_of(l).udp_queries, 4);
}

static void test_many_at_once(void **state) {
  lab *l = *state;
  start(l);
  int fd = connect_to(SOCK_DGRAM, &l->bound[0]);
  uint8_t query[512], answer[2048];
  bool seen[700] = {false};
  size_t len = lab_query(query, l->name, lab_type("TXT"), 0);
  for (unsigned i = 0; i < 700; i++) {
    query[0] = (uint8_t)(i >> 8);
    query[1] = (uint8_t)i;
    assert_int_equal(send(fd, query, len, 0), (ssize_t)len);
    if (i % 100 == 99) {
      assert_int_equal(send(fd, "x", 1, 0), 1);    /* no question */
      assert_int_equal(send(fd, answer, 0, 0), 0); /* nothing at all */
    }
    if (i % 140 == 139) { /* more would not fit into the client's buffer */
      for (unsigned j = 0; j < 140; j++) {
        ssize_t n = receive(l, fd, answer, sizeof answer);
        assert_true(n > (ssize_t)len);
        unsigned id = (unsigned)answer[0] << 8 | answer[1];
        assert_true(id < 700 && !seen[id]);
        seen[id] = true;
      }
    }
  }
  assert_false(wait_for(l, fd, 20));
  assert_int_equal(close(fd), 0);
}

/* A resolver takes answers from the address only that it asked. */
static void test_answers_leave_from_where_was_asked(void **state) {
  lab *l = *state;
  bind_to(l, "0.0.0.0:0");
  start(l);
  for (uint8_t last = 1; last < 6; last++) {
    km_udp_addr to = {.family = 4, .port = l->bound[0].port, .ip = {127, 0, 0, last}};
    assert_string_equal(ask_udp(l, &to, l->name, 0), ANSWER);
  }
}

static bool has_ipv6(void) {
  int fd = socket(AF_INET6, SOCK_DGRAM, 0);
  struct sockaddr_in6 loopback = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
  bool ok = fd >= 0 && bind(fd, (struct sockaddr *)&loopback, sizeof loopback) == 0;
  if (fd >= 0) {
    (void)close(fd);
  }
  return ok;
}

static void expect_udp_and_tcp(lab *l, const km_udp_addr *to) {
  uint8_t buf[512];
  assert_string_equal(ask_udp(l, to, l->name, 0), ANSWER);
  int fd = connect_to(SOCK_STREAM, to);
  send_all(l, fd, buf, fill_tcp(l, buf, 1, 7, false));
  expect_tcp(l, fd, 1, 7);
  assert_int_equal(close(fd), 0);
}

static void test_ipv6_beside_ipv4(void **state) {
  lab *l = *state;
  if (!has_ipv6()) {
    skip();
  }
  bind_to(l, "127.0.0.1:0");
  bind_to(l, "[::]:0");
  bind_to(l, "[::1]:0");
  start(l);
  km_udp_addr any = {.family = 6, .port = l->bound[1].port, .ip = {[15] = 1}};
  assert_string_equal(ask_udp(l, &l->bound[0], l->name, 0), ANSWER);
  expect_udp_and_tcp(l, &any);
  assert_string_equal(ask_udp(l, &l->bound[2], l->name, 0), ANSWER);
}

/* [::] alone is for both families. */
static void test_all_addresses_of_both_families(void **state) {
  lab *l = *state;
  if (!has_ipv6()) {
    skip();
  }
  bind_to(l, "[::]:0");
  start(l);
  uint16_t port = l->bound[0].port;
  expect_udp_and_tcp(l, &(km_udp_addr){.family = 4, .port = port, .ip = {127, 0, 0, 1}});
  expect_udp_and_tcp(l, &(km_udp_addr){.family = 6, .port = port, .ip = {[15] = 1}});
}

static void test_limited_sources(void **state) {
  lab *l = *state;
  bind_to(l, "0.0.0.0:0");
  assert_int_equal(km_rate_limit_new(&l->limit, &km_env_system, 10, 20), 0);
  start(l);
  clock_freeze(true);
  km_udp_addr to = {.family = 4, .port = l->bound[0].port, .ip = {127, 0, 0, 1}};
  int fd = connect_to(SOCK_DGRAM, &to);
  uint8_t query[512], answer[2048];
  size_t len = lab_query(query, l->big, lab_type("TXT"), 1232);
  for (int i = 0; i < 100; i++) {
    assert_int_equal(send(fd, query, len, 0), (ssize_t)len);
  }
  size_t whole = 0, cut = 0;
  while (wait_for(l, fd, 50)) {
    ssize_t n = recv(fd, answer, sizeof answer, 0);
    bool tc = (answer[2] & 2) != 0;
    assert_true(n > 0 && (!tc || n <= (ssize_t)len)); /* never more than what was asked with */
    *(tc ? &cut : &whole) += 1;
  }
  clock_freeze(false);
  assert_int_equal(whole, 20);
  assert_int_equal(cut, 40); /* every second one of the rest */
  assert_int_equal(stats_of(l).limited, 80);
  /* By TCP it is served: that address is not forged. */
  int tcp = connect_to(SOCK_STREAM, &to);
  uint8_t buf[8192];
  send_all(l, tcp, buf, fill_tcp(l, buf, 30, 1, false));
  expect_tcp(l, tcp, 30, 1);
  assert_int_equal(close(tcp), 0);
  assert_int_equal(close(fd), 0);
}

/* --- TCP -------------------------------------------------------------------------------------- */

static void test_tcp_pipelining(void **state) {
  lab *l = *state;
  start(l);
  int fd = connect_to(SOCK_STREAM, &l->bound[0]);
  static uint8_t buf[65536];
  size_t len = fill_tcp(l, buf, 400, 1000, false);
  send_all(l, fd, buf, len);
  expect_tcp(l, fd, 400, 1000);
  /* Byte by byte, and then two at once with a cut in the second one's length. */
  len = fill_tcp(l, buf, 3, 5, true);
  size_t one = len / 3;
  for (size_t i = 0; i < one; i++) {
    send_all(l, fd, buf + i, 1);
    (void)km_loop_run_nowait(l->loop);
  }
  expect_tcp(l, fd, 1, 5);
  send_all(l, fd, buf + one, one + 1);
  expect_tcp(l, fd, 1, 6);
  send_all(l, fd, buf + 2 * one + 1, one - 1);
  expect_tcp(l, fd, 1, 7);
  assert_int_equal(stats_of(l).tcp_queries, 403);
  assert_int_equal(stats_of(l).tcp_connections, 1);
  assert_int_equal(close(fd), 0);
}

static void test_tcp_half_closed(void **state) {
  lab *l = *state;
  start(l);
  int fd = connect_to(SOCK_STREAM, &l->bound[0]);
  uint8_t buf[4096];
  send_all(l, fd, buf, fill_tcp(l, buf, 20, 1, true));
  assert_int_equal(shutdown(fd, SHUT_WR), 0);
  expect_tcp(l, fd, 20, 1);
  assert_true(is_closed(l, fd, 1000));
  assert_int_equal(close(fd), 0);
}

static void test_tcp_nonsense(void **state) {
  lab *l = *state;
  start(l);
  static const struct {
    uint8_t bytes[20], len;
  } list[] = {
      {{0, 0}, 2},                                                /* an empty message */
      {{0, 11, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0}, 13},             /* shorter than a header */
      {{0xff, 0xff}, 2},                                          /* longer than questions are */
      {{0, 12, 0x12, 0x34, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 14}, /* a response */
      {{'G', 'E', 'T', ' ', '/', ' ', 'H', 'T', 'T', 'P'}, 10},   /* another protocol */
  };
  for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
    int fd = connect_to(SOCK_STREAM, &l->bound[0]);
    send_all(l, fd, list[i].bytes, list[i].len);
    assert_true(is_closed(l, fd, 2000));
    assert_int_equal(close(fd), 0);
  }
  /* What cannot be read is answered, and the connection goes on. */
  int fd = connect_to(SOCK_STREAM, &l->bound[0]);
  uint8_t buf[1024] = {0, 12, 0x12, 0x34, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0};
  send_all(l, fd, buf, 14);
  assert_int_equal(receive(l, fd, buf, sizeof buf), 14);
  assert_int_equal(buf[5] & 0xf, 1);
  send_all(l, fd, buf, fill_tcp(l, buf, 1, 3, false));
  expect_tcp(l, fd, 1, 3);
  assert_int_equal(close(fd), 0);
}

static void forward_ms(lab *l, uint64_t ms) {
  clock_forward(ms * KM_NS_PER_MS);
  for (int i = 0; i < 3; i++) {
    (void)km_loop_run_once(l->loop, 5);
  }
}

static void test_tcp_idle(void **state) {
  lab *l = *state;
  start(l);
  int busy = connect_to(SOCK_STREAM, &l->bound[0]);
  int quiet = connect_to(SOCK_STREAM, &l->bound[0]);
  int slow = connect_to(SOCK_STREAM, &l->bound[0]);
  uint8_t buf[512];
  size_t len = fill_tcp(l, buf, 1, 1, false);
  for (size_t i = 0; i < 6; i++) {
    forward_ms(l, IDLE_MS / 4);
    send_all(l, busy, buf, len);
    expect_tcp(l, busy, 1, 1);
    if (i < 3) {
      send_all(l, slow, buf + i, 1); /* bytes that trickle in are no question */
    }
  }
  assert_true(is_closed(l, quiet, 100));
  assert_true(is_closed(l, slow, 100));
  send_all(l, busy, buf, len);
  expect_tcp(l, busy, 1, 1);
  forward_ms(l, IDLE_MS + 1);
  assert_true(is_closed(l, busy, 100));
  assert_int_equal(close(busy) + close(quiet) + close(slow), 0);
}

/* Who asks and asks, and does not read: is read from no more, and cut. */
static void test_tcp_slow_reader(void **state) {
  lab *l = *state;
  start(l);
  int fd = connect_to(SOCK_STREAM, &l->bound[0]);
  static uint8_t buf[65536];
  size_t len = fill_tcp(l, buf, 300, 1, true), at = 0, stalls = 0;
  while (stalls < 200) {
    ssize_t n = send(fd, buf + at, len - at, MSG_NOSIGNAL);
    if (n < 0) {
      assert_int_equal(errno, EAGAIN);
      stalls++;
      (void)km_loop_run_nowait(l->loop);
      continue;
    }
    at = (at + (size_t)n) % len;
  }
  uint64_t answered = stats_of(l).tcp_queries;
  (void)km_loop_run_nowait(l->loop);
  assert_int_equal(stats_of(l).tcp_queries, answered);
  /* Others are served all the while. */
  assert_string_equal(ask_udp(l, &l->bound[0], l->name, 0), ANSWER);
  int other = connect_to(SOCK_STREAM, &l->bound[0]);
  uint8_t one[512];
  send_all(l, other, one, fill_tcp(l, one, 1, 9, false));
  expect_tcp(l, other, 1, 9);
  forward_ms(l, IDLE_MS + 1);
  assert_true(is_closed(l, fd, 1000));
  assert_int_equal(close(fd) + close(other), 0);
}

static void test_tcp_late_reader(void **state) {
  lab *l = *state;
  l->config.tcp_idle_ms = 600000; /* under valgrind it is very late */
  start(l);
  int fd = connect_to(SOCK_STREAM, &l->bound[0]);
  static uint8_t buf[65536];
  size_t rounds = 0, at = 0, stalls = 0, len = fill_tcp(l, buf, 60, 0, true);
  while (stalls < 100) {
    ssize_t n = send(fd, buf + at, len - at, MSG_NOSIGNAL);
    if (n < 0) {
      stalls++;
      (void)km_loop_run_nowait(l->loop);
      continue;
    }
    at += (size_t)n;
    rounds += at == len;
    at %= len;
  }
  assert_true(rounds > 0);
  for (size_t i = 0; i < rounds; i++) {
    expect_tcp(l, fd, 60, 0);
  }
  send_all(l, fd, buf + at, len - at);
  expect_tcp(l, fd, 60, 0);
  assert_int_equal(close(fd), 0);
}

static void test_tcp_limits(void **state) {
  lab *l = *state;
  l->config.max_tcp = 6;
  l->config.max_tcp_per_addr = 4;
  bind_to(l, "0.0.0.0:0");
  start(l);
  km_udp_addr to = {.family = 4, .port = l->bound[0].port, .ip = {127, 0, 0, 1}};
  int fds[5];
  for (size_t i = 0; i < 5; i++) {
    fds[i] = connect_to(SOCK_STREAM, &to);
    (void)km_loop_run_once(l->loop, 100);
  }
  assert_true(is_closed(l, fds[4], 1000)); /* one too many of this address */
  assert_int_equal(stats_of(l).tcp_refused, 1);
  uint8_t buf[512];
  for (size_t i = 0; i < 4; i++) {
    send_all(l, fds[i], buf, fill_tcp(l, buf, 1, 1, false));
    expect_tcp(l, fds[i], 1, 1);
  }
  /* Others find room, for idle ones go: the one that is quiet for longest first. */
  int others[4];
  for (size_t i = 0; i < 4; i++) {
    clock_forward(KM_NS_PER_MS);
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr = {htonl(0x7f000009)}};
    others[i] = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(others[i], (struct sockaddr *)&from, sizeof from), 0);
    struct sockaddr_storage addr;
    socklen_t len = km_udp_addr_to_sockaddr(&to, &addr);
    assert_int_equal(connect(others[i], (struct sockaddr *)&addr, len), 0);
    send_all(l, others[i], buf, fill_tcp(l, buf, 1, 2, false));
    expect_tcp(l, others[i], 1, 2);
  }
  assert_true(is_closed(l, fds[0], 100) && is_closed(l, fds[1], 100));
  send_all(l, fds[2], buf, fill_tcp(l, buf, 1, 3, false));
  expect_tcp(l, fds[2], 1, 3);
  for (size_t i = 0; i < 4; i++) {
    assert_int_equal(close(others[i]) + close(fds[i]), 0);
  }
  assert_int_equal(close(fds[4]), 0);
  /* Those that went are not counted any more. */
  (void)wait_for(l, 0, 20);
  for (size_t i = 0; i < 4; i++) {
    fds[i] = connect_to(SOCK_STREAM, &to);
    send_all(l, fds[i], buf, fill_tcp(l, buf, 1, 4, false));
    expect_tcp(l, fds[i], 1, 4);
  }
  for (size_t i = 0; i < 4; i++) {
    assert_int_equal(close(fds[i]), 0);
  }
}

/* Who asks too much waits, and gets all answers; nobody else does. */
static void test_tcp_rate(void **state) {
  lab *l = *state;
  bind_to(l, "0.0.0.0:0");
  assert_int_equal(km_rate_limit_new(&l->tcp_limit, &km_env_system, 100, 50), 0);
  start(l);
  clock_freeze(true);
  km_udp_addr to = {.family = 4, .port = l->bound[0].port, .ip = {127, 0, 0, 1}};
  int fds[3];
  static uint8_t buf[65536];
  for (unsigned i = 0; i < 3; i++) {
    fds[i] = connect_to(SOCK_STREAM, &to);
  }
  send_all(l, fds[0], buf, fill_tcp(l, buf, 120, 0, false));
  expect_tcp(l, fds[0], 50, 0);
  assert_false(wait_for(l, fds[0], 30));
  assert_true(stats_of(l).limited > 0);
  /* Another connection is of the same source; UDP has a rate of its own. */
  send_all(l, fds[1], buf, fill_tcp(l, buf, 10, 1000, false));
  assert_int_equal(shutdown(fds[1], SHUT_WR), 0);
  send_all(l, fds[2], buf, fill_tcp(l, buf, 10, 2000, false));
  assert_false(wait_for(l, fds[1], 30));
  assert_int_equal(stats_of(l).tcp_queries, 50);
  assert_string_equal(ask_udp(l, &to, l->name, 0), ANSWER);
  assert_int_equal(close(fds[2]), 0); /* while it waits */
  clock_freeze(false);
  for (int i = 0; i < 20; i++) {
    clock_forward(200 * KM_NS_PER_MS);
    (void)km_loop_run_once(l->loop, 10);
  }
  expect_tcp(l, fds[0], 70, 50);
  expect_tcp(l, fds[1], 10, 1000);
  assert_true(is_closed(l, fds[1], 1000));
  /* It goes on as before. */
  send_all(l, fds[0], buf, fill_tcp(l, buf, 1, 9, false));
  expect_tcp(l, fds[0], 1, 9);
  assert_int_equal(close(fds[0]) + close(fds[1]), 0);
}

/* Who holds all connections with half a question keeps nobody out. */
static void test_tcp_slow_ones_make_room(void **state) {
  lab *l = *state;
  l->config.max_tcp = 4;
  start(l);
  int fds[4];
  uint8_t buf[512] = {0};
  for (size_t i = 0; i < 4; i++) {
    fds[i] = connect_to(SOCK_STREAM, &l->bound[0]);
    send_all(l, fds[i], buf, 1);
    (void)km_loop_run_once(l->loop, 100);
    (void)wait_for(l, fds[i], 10);
  }
  clock_forward(500 * KM_NS_PER_MS);
  int early = connect_to(SOCK_STREAM, &l->bound[0]);
  assert_true(is_closed(l, early, 1000)); /* they may be slow for a second */
  clock_forward(600 * KM_NS_PER_MS);
  int next = connect_to(SOCK_STREAM, &l->bound[0]);
  send_all(l, next, buf, fill_tcp(l, buf, 1, 9, false));
  expect_tcp(l, next, 1, 9);
  assert_true(is_closed(l, fds[0], 1000));
  assert_false(is_closed(l, fds[1], 10));
  for (size_t i = 0; i < 4; i++) {
    assert_int_equal(close(fds[i]), 0);
  }
  assert_int_equal(close(early) + close(next), 0);
}

static void test_no_descriptors(void **state) {
  lab *l = *state;
  const char *preload = getenv("LD_PRELOAD");
  if (preload != NULL && strstr(preload, "vgpreload") != NULL) {
    skip(); /* valgrind counts descriptors itself, and closes what is one too many */
  }
  start(l);
  int busy = connect_to(SOCK_STREAM, &l->bound[0]);
  int waiting = connect_to(SOCK_STREAM, &l->bound[0]);
  struct rlimit before, none;
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
  none = before;
  none.rlim_cur = (rlim_t)waiting + 1;
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
  int udp = busy; /* no further socket can be opened: those that are there must do */
  for (int i = 0; i < 20; i++) {
    (void)km_loop_run_once(l->loop, 1);
  }
  assert_int_equal(stats_of(l).tcp_connections, 0);
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
  uint8_t buf[512];
  for (int i = 0; i < 2; i++) {
    int fd = i == 0 ? udp : waiting;
    send_all(l, fd, buf, fill_tcp(l, buf, 1, 1, false));
    expect_tcp(l, fd, 1, 1);
  }
  assert_int_equal(close(busy) + close(waiting), 0);
}

static void test_addresses(void **state) {
  lab *l = *state;
  start(l);
  km_dns_io *second;
  km_errinfo err = {0};
  km_dns_io_config config = l->config;
  config.bind = l->bound;
  assert_int_equal(km_dns_io_new(&second, &config, &err), KM_ERR_ADDR_IN_USE);
  assert_non_null(strstr(err.text, "127.0.0.1:"));
  km_udp_addr other = {.family = 4, .ip = {192, 0, 2, 1}};
  config.bind = &other;
  assert_int_equal(km_dns_io_new(&second, &config, &err), KM_ERR_ADDR_NOT_AVAILABLE);
  config.bind_count = 0;
  assert_int_equal(km_dns_io_new(&second, &config, &err), KM_ERR_INVALID);
  km_dns_io_free(NULL);
  /* Again at once, on the same port, with a connection of before. */
  int fd = connect_to(SOCK_STREAM, &l->bound[0]);
  uint8_t buf[512];
  send_all(l, fd, buf, fill_tcp(l, buf, 1, 1, false));
  expect_tcp(l, fd, 1, 1);
  km_dns_io_free(l->dns);
  l->bind[0] = l->bound[0];
  start(l);
  assert_int_equal(close(fd), 0);
  assert_string_equal(ask_udp(l, &l->bound[0], l->name, 0), ANSWER);
}

/* --- programs of others ----------------------------------------------------------------------- */

/* Runs a shell command while the server runs; its output. Returns its status. */
static int run_program(lab *l, const char *command, char ret[LAB_TEXT_CAP]) {
  int pipes[2];
  assert_int_equal(pipe(pipes), 0);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    (void)dup2(pipes[1], STDOUT_FILENO);
    (void)execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
  }
  (void)close(pipes[1]);
  size_t len = 0;
  ssize_t n;
  do {
    assert_true(wait_for(l, pipes[0], 30000));
    n = read(pipes[0], ret + len, LAB_TEXT_CAP - 1 - len);
    len += n > 0 ? (size_t)n : 0;
  } while (n > 0);
  ret[len] = '\0';
  (void)close(pipes[0]);
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void ask_with(lab *l, const char *program) {
  char command[1024], text[LAB_TEXT_CAP];
  (void)snprintf(command, sizeof command, "command -v %s > /dev/null", program);
  if (run_program(l, command, text) != 0) {
    print_message("%s is not there\n", program);
    return;
  }
  static const struct {
    const char *options;
    bool big;
    const char *wants[4];
  } list[] = {
      {"+noall +answer +comments +noedns", false, {"status: NOERROR", "relay=https", " aa"}},
      {"+noall +answer +comments +bufsize=1232", false, {"status: NOERROR", "relay=https"}},
      {"+noall +answer +comments +tcp", false, {"status: NOERROR", "relay=https", " aa"}},
      {"+noall +answer +comments +noedns", true, {"status: NOERROR", "\"c000", "\"a000"}},
      {"+noall +answer +comments +noedns +ignore", true, {"status: NOERROR", " tc"}},
      {"+noall +comments +noedns -c CH", false, {"status: REFUSED"}},
      {"+noall +comments +noedns -t AXFR", false, {""}},
      {"+noall +comments +noedns +opcode=UPDATE", false, {"status: NOTIMP"}},
      {"+noall +comments +dnssec", false, {"status: NOERROR"}},
      {"+noall +comments +edns=7", false, {"status: BADVERS"}},
      {"+noall +authority +comments +noedns -t A", false, {"status: NOERROR", "SOA"}},
  };
  bool kdig = strcmp(program, "kdig") == 0;
  for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
    if (kdig && strstr(list[i].options, "opcode") != NULL) {
      continue;
    }
    bool negotiates = strstr(list[i].options, "edns=7") != NULL && !kdig;
    (void)snprintf(command, sizeof command, "%s @127.0.0.1 -p %u +norec +timeout=5 %s %s %s TXT",
                   program, l->bound[0].port, list[i].options,
                   kdig         ? "+header"
                   : negotiates ? "+noednsnegotiation"
                                : "",
                   list[i].big ? l->big : l->name);
    if (strstr(list[i].options, "-t ") != NULL) {
      command[strlen(command) - 4] = '\0';
    }
    (void)run_program(l, command, text);
    for (size_t j = 0; j < 4 && list[i].wants[j] != NULL; j++) {
      if (strstr(text, list[i].wants[j]) == NULL) {
        fail_msg("%s\ngave\n%s\nwithout \"%s\"", command, text, list[i].wants[j]);
      }
    }
    if (strstr(text, "alformed") != NULL || strstr(text, "WARNING: Message") != NULL) {
      fail_msg("%s\ngave\n%s", command, text);
    }
  }
}

static void test_dig(void **state) {
  lab *l = *state;
  start(l);
  ask_with(l, "dig");
}

static void test_kdig(void **state) {
  lab *l = *state;
  start(l);
  ask_with(l, "kdig");
}

int main(void) {
  const struct CMUnitTest tests[] = {
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
      TEST(test_udp),
      TEST(test_many_at_once),
      TEST(test_answers_leave_from_where_was_asked),
      TEST(test_ipv6_beside_ipv4),
      TEST(test_all_addresses_of_both_families),
      TEST(test_limited_sources),
      TEST(test_tcp_pipelining),
      TEST(test_tcp_half_closed),
      TEST(test_tcp_nonsense),
      TEST(test_tcp_idle),
      TEST(test_tcp_slow_reader),
      TEST(test_tcp_late_reader),
      TEST(test_tcp_limits),
      TEST(test_tcp_rate),
      TEST(test_tcp_slow_ones_make_room),
      TEST(test_no_descriptors),
      TEST(test_addresses),
      TEST(test_dig),
      TEST(test_kdig),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
