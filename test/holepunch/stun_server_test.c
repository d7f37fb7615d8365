/* The STUN server on real sockets. */
#include "holepunch/stun_server_io.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/udp_addr.h"
#include "holepunch/stun.h"
#include "test/base/test_env.h"

#define LIMIT_MS 20000

typedef struct lab {
  km_loop *loop;
  km_stun_server *server;
} lab;

static km_udp_addr addr_of(const char *text) {
  km_udp_addr ret;
  assert_int_equal(km_udp_addr_parse(&ret, text, strlen(text), NULL), 0);
  return ret;
}

static void start(lab *l, uint32_t rate, size_t count, const char *const *binds) {
  km_stun_server_config config = {.env = &km_env_system, .bind_count = count};
  km_errinfo err = {0};
  assert_int_equal(km_loop_new(&l->loop), 0);
  config.loop = l->loop;
  config.max_per_second = rate;
  for (size_t i = 0; i < count; i++) {
    config.binds[i] = addr_of(binds[i]);
  }
  assert_int_equal(km_stun_server_new(&l->server, &config, &err), 0);
}

static void stop(lab *l) {
  km_stun_server_free(l->server);
  assert_int_equal(km_loop_free(l->loop), 0);
}

/* A client's socket, bound to an address of its own. */
static int client(const char *bind_to, km_udp_addr *ret_own) {
  struct sockaddr_storage ss;
  km_udp_addr own = addr_of(bind_to);
  socklen_t len = km_udp_addr_to_sockaddr(&own, &ss);
  int fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  assert_true(fd >= 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&ss, len), 0);
  len = sizeof ss;
  assert_int_equal(getsockname(fd, (struct sockaddr *)&ss, &len), 0);
  assert_true(km_udp_addr_from_sockaddr(ret_own, (struct sockaddr *)&ss, len));
  return fd;
}

static void send_to(int fd, const km_udp_addr *to, const void *bytes, size_t len) {
  struct sockaddr_storage ss;
  socklen_t ss_len = km_udp_addr_to_sockaddr(to, &ss);
  assert_int_equal(sendto(fd, bytes, len, 0, (struct sockaddr *)&ss, ss_len), (ssize_t)len);
}

/* Runs the server until the client has something; its length and where it came from. */
static size_t receive(lab *l, int fd, uint8_t *ret, size_t cap, km_udp_addr *ret_from) {
  for (int waited = 0; waited < LIMIT_MS; waited += 10) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    struct sockaddr_storage ss;
    socklen_t ss_len = sizeof ss;
    (void)km_loop_run_once(l->loop, 0);
    if (poll(&p, 1, 10) == 1) {
      ssize_t n = recvfrom(fd, ret, cap, 0, (struct sockaddr *)&ss, &ss_len);
      assert_true(n > 0);
      assert_true(km_udp_addr_from_sockaddr(ret_from, (struct sockaddr *)&ss, ss_len));
      return (size_t)n;
    }
  }
  fail_msg("no answer");
  return 0;
}

/* Until the server has seen so many packets. */
static void run_until(lab *l, uint64_t received) {
  for (int i = 0; i < LIMIT_MS && km_stun_server_get_stats(l->server)->received < received; i++) {
    (void)km_loop_run_once(l->loop, 1);
  }
  assert_int_equal(km_stun_server_get_stats(l->server)->received, received);
}

/* Asks `to` from `own`: the answer says `own` and comes from where it was asked. */
static void check_asked(lab *l, const char *bind_to, const km_udp_addr *to) {
  uint8_t id[KM_STUN_ID_LEN], request[KM_STUN_REQUEST_LEN], answer[200];
  km_udp_addr own, from, mapped;
  int fd = client(bind_to, &own);
  km_env_random(&km_env_system, id, sizeof id);
  km_stun_request(request, id);
  send_to(fd, to, request, sizeof request);
  size_t len = receive(l, fd, answer, sizeof answer, &from);
  assert_int_equal(km_stun_response_read(&mapped, id, answer, len, NULL), 0);
  assert_true(km_udp_addr_equal(&mapped, &own));
  assert_true(km_udp_addr_equal(&from, to));
  (void)close(fd);
}

static void one_address_of_each_family(void **state) {
  (void)state;
  lab l;
  start(&l, 0, 2, (const char *const[]){"127.0.0.1:0", "[::1]:0"});
  assert_true(km_stun_server_bound(l.server, 0)->port > 0);
  check_asked(&l, "127.0.0.1:0", km_stun_server_bound(l.server, 0));
  check_asked(&l, "[::1]:0", km_stun_server_bound(l.server, 1));
  const km_stun_server_stats *s = km_stun_server_get_stats(l.server);
  assert_int_equal(s->received, 2);
  assert_int_equal(s->answered, 2);
  stop(&l);
}

/* All of 127/8 is ours: the answer must come from the very address that was asked, and say a plain
 * IPv4 address. */
static void every_address_at_once(void **state) {
  (void)state;
  static const char *const wildcards[] = {"[::]:0", "0.0.0.0:0"};
  for (size_t i = 0; i < COUNT_OF(wildcards); i++) {
    lab l;
    start(&l, 0, 1, &wildcards[i]);
    static const char *const hosts[] = {"127.0.0.1:1", "127.0.0.2:1", "127.3.2.1:1", "[::1]:1"};
    for (size_t k = 0; k < (i == 0 ? 4 : 3); k++) {
      km_udp_addr to = addr_of(hosts[k]);
      to.port = km_stun_server_bound(l.server, 0)->port;
      check_asked(&l, to.family == 4 ? "127.9.9.9:0" : "[::1]:0", &to);
    }
    stop(&l);
  }
}

static void what_gets_no_answer(void **state) {
  (void)state;
  lab l;
  km_udp_addr own;
  uint8_t id[KM_STUN_ID_LEN] = {0}, request[2000] = {0};
  start(&l, 0, 1, (const char *const[]){"127.0.0.1:0"});
  const km_udp_addr *to = km_stun_server_bound(l.server, 0);
  int fd = client("127.0.0.1:0", &own);
  km_stun_request(request, id);
  send_to(fd, to, request, 0);
  send_to(fd, to, "x", 1);
  send_to(fd, to, request, KM_STUN_REQUEST_LEN - 1);
  send_to(fd, to, request, KM_STUN_REQUEST_LEN + 4);
  send_to(fd, to, request, sizeof request); /* longer than is read */
  static const uint8_t whole[] = {0, 1, 2, 68, 0x21, 0x12, 0xa4, 0x42, 1,    2, 3, 4,
                                  5, 6, 7, 8,  9,    10,   11,   12,   0x80, 0, 2, 64};
  uint8_t cut[604] = {0}; /* longer than is read, though the part that is read makes sense */
  memcpy(cut, whole, sizeof whole);
  send_to(fd, to, cut, sizeof cut);
  run_until(&l, 6);
  request[0] = 1; /* a success response: an answer to it could go round for ever */
  send_to(fd, to, request, KM_STUN_HEADER_LEN);
  request[3] = 0; /* the header alone, without the fingerprint */
  send_to(fd, to, request, KM_STUN_HEADER_LEN);
  run_until(&l, 8);
  const km_stun_server_stats *s = km_stun_server_get_stats(l.server);
  assert_int_equal(s->not_stun, 7);
  assert_int_equal(s->ignored, 1);
  assert_int_equal(s->answered + s->refused + s->send_dropped + s->over_rate, 0);
  uint8_t none;
  assert_int_equal(recv(fd, &none, 1, MSG_DONTWAIT), -1);
  (void)close(fd);
  stop(&l);
}

static void unknown_attributes_are_refused(void **state) {
  (void)state;
  lab l;
  km_udp_addr own, from, mapped;
  km_errinfo err = {0};
  static const uint8_t request[] = {0, 1, 0, 4, 0x21, 0x12, 0xa4, 0x42, 1,    2, 3, 4,
                                    5, 6, 7, 8, 9,    10,   11,   12,   0x7f, 0, 0, 0};
  uint8_t answer[200];
  start(&l, 0, 1, (const char *const[]){"[::1]:0"});
  int fd = client("[::1]:0", &own);
  send_to(fd, km_stun_server_bound(l.server, 0), request, sizeof request);
  size_t len = receive(&l, fd, answer, sizeof answer, &from);
  assert_int_equal(km_stun_response_read(&mapped, request + 8, answer, len, &err), KM_ERR_REFUSED);
  assert_int_equal(err.peer_code, 420);
  assert_int_equal(km_stun_server_get_stats(l.server)->refused, 1);
  (void)close(fd);
  stop(&l);
}

static void no_more_than_its_rate(void **state) {
  (void)state;
  lab l;
  km_udp_addr own;
  uint8_t id[KM_STUN_ID_LEN] = {0}, request[KM_STUN_REQUEST_LEN];
  start(&l, 50, 1, (const char *const[]){"127.0.0.1:0"}); /* 5 a tenth of a second */
  int fd = client("127.0.0.1:0", &own);
  km_ts begin = km_clock_now();
  km_stun_request(request, id);
  for (int i = 0; i < 60; i++) {
    send_to(fd, km_stun_server_bound(l.server, 0), request, sizeof request);
  }
  run_until(&l, 60);
  uint64_t periods = (km_clock_now() - begin) / (100 * KM_NS_PER_MS) + 2;
  const km_stun_server_stats *s = km_stun_server_get_stats(l.server);
  assert_int_equal(s->answered + s->over_rate, 60);
  assert_in_range(s->answered, 5, 5 * periods);
  (void)close(fd);
  stop(&l);
}

/* --- RFC 5780 --------------------------------------------------------------------------------- */

static void start_alternate(lab *l, const char *bind_to, const char *alternate) {
  km_errinfo err = {0};
  assert_int_equal(km_loop_new(&l->loop), 0);
  km_stun_server_config config = {
      .env = &km_env_system, .loop = l->loop, .bind_count = 1, .alternate_count = 1};
  config.binds[0] = addr_of(bind_to);
  config.alternates[0] = addr_of(alternate);
  if (km_stun_server_new(&l->server, &config, &err) != 0) {
    fail_msg("%s", err.text);
  }
}

/* What each of the four sockets answers to each of the four requests, and from where. */
static void four_sockets(void **state) {
  (void)state;
  lab l;
  km_udp_addr own;
  start_alternate(&l, "127.0.0.1:0", "127.0.0.2:0");
  const km_udp_addr one = *km_stun_server_bound(l.server, 0);
  const km_udp_addr two = *km_stun_server_alternate(l.server, 0);
  int fd = client("127.0.0.1:0", &own);
  for (unsigned at = 0; at < 16; at++) {
    bool to_ip = (at & 1) != 0, to_port = (at & 2) != 0;
    bool change_ip = (at & 4) != 0, change_port = (at & 8) != 0;
    km_udp_addr to = to_ip ? two : one, wanted = to_ip != change_ip ? two : one;
    km_udp_addr other = to_ip ? one : two, from;
    to.port = to_port ? two.port : one.port;
    wanted.port = to_port != change_port ? two.port : one.port;
    other.port = to_port ? one.port : two.port;
    uint8_t id[KM_STUN_ID_LEN] = {(uint8_t)at}, request[KM_STUN_MAX_REQUEST], answer[200];
    size_t len = km_stun_request_change(request, id, change_ip, change_port);
    send_to(fd, &to, request, len);
    len = receive(&l, fd, answer, sizeof answer, &from);
    km_stun_message msg;
    assert_true(km_stun_read(&msg, answer, len));
    assert_int_equal(km_stun_response_check(&msg, id, NULL), 0);
    assert_true(km_udp_addr_equal(&msg.mapped, &own));
    assert_true(km_udp_addr_equal(&from, &wanted));
    assert_true(km_udp_addr_equal(&msg.origin, &wanted));
    assert_true(km_udp_addr_equal(&msg.other, &other));
  }
  assert_int_equal(km_stun_server_get_stats(l.server)->answered, 16);
  (void)close(fd);
  stop(&l);
}

/* What it does not know is refused, by the one who was asked. */
static void an_alternate_refuses_too(void **state) {
  (void)state;
  static const uint8_t request[] = {0, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42, 1,  2, 3,
                                    4, 5, 6, 7,  8,    9,    10,   11,   12, 0, 3,
                                    0, 4, 0, 0,  0,    6,    0x7f, 0,    0,  0};
  lab l;
  km_udp_addr own, from;
  km_stun_message msg;
  uint8_t answer[200];
  start_alternate(&l, "127.0.0.1:0", "127.0.0.2:0");
  int fd = client("127.0.0.1:0", &own);
  send_to(fd, km_stun_server_bound(l.server, 0), request, sizeof request);
  size_t len = receive(&l, fd, answer, sizeof answer, &from);
  assert_true(km_stun_read(&msg, answer, len));
  assert_int_equal(msg.error, 420);
  assert_true(km_udp_addr_equal(&from, km_stun_server_bound(l.server, 0)));
  assert_int_equal(km_stun_server_get_stats(l.server)->refused, 1);
  (void)close(fd);
  stop(&l);
}

static void alternates_that_are_none(void **state) {
  (void)state;
  static const char *const bad[][2] = {
      {"127.0.0.1:0", "127.0.0.1:0"}, /* the same address */
      {"127.0.0.1:0", "[::1]:0"},     /* of the other family */
      {"0.0.0.0:0", "127.0.0.2:0"},   /* a wildcard says nothing */
      {"127.0.0.1:0", "0.0.0.0:0"},
  };
  lab l;
  km_stun_server *none = NULL;
  km_errinfo err = {0};
  assert_int_equal(km_loop_new(&l.loop), 0);
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    km_stun_server_config config = {
        .env = &km_env_system, .loop = l.loop, .bind_count = 1, .alternate_count = 1};
    config.binds[0] = addr_of(bad[i][0]);
    config.alternates[0] = addr_of(bad[i][1]);
    assert_int_equal(km_stun_server_new(&none, &config, &err), KM_ERR_INVALID);
  }
  km_stun_server_config config = {
      .env = &km_env_system, .loop = l.loop, .bind_count = 1, .alternate_count = 2};
  config.binds[0] = addr_of("127.0.0.1:0");
  config.alternates[0] = addr_of("127.0.0.2:0");
  config.alternates[1] = addr_of("127.0.0.3:0"); /* one is enough for a bound address */
  assert_int_equal(km_stun_server_new(&none, &config, &err), KM_ERR_INVALID);
  config.alternate_count = 3;
  assert_int_equal(km_stun_server_new(&none, &config, &err), KM_ERR_INVALID);
  config.alternate_count = 1;
  config.alternates[0] = addr_of("192.0.2.1:0");
  assert_int_equal(km_stun_server_new(&none, &config, &err), KM_ERR_ADDR_NOT_AVAILABLE);
  assert_null(none);
  assert_int_equal(km_loop_free(l.loop), 0);
}

static void addresses_that_cannot_be_had(void **state) {
  (void)state;
  lab l;
  km_errinfo err = {0};
  km_stun_server *other = NULL;
  start(&l, 0, 1, (const char *const[]){"127.0.0.1:0"});
  km_stun_server_config config = {.env = &km_env_system, .loop = l.loop, .bind_count = 2};
  config.binds[0] = addr_of("127.0.0.1:0"); /* this one is had, and given back */
  config.binds[1] = *km_stun_server_bound(l.server, 0);
  assert_int_equal(km_stun_server_new(&other, &config, &err), KM_ERR_ADDR_IN_USE);
  assert_non_null(strstr(err.text, "127.0.0.1:"));
  config.binds[1] = addr_of("192.0.2.1:0");
  assert_int_equal(km_stun_server_new(&other, &config, &err), KM_ERR_ADDR_NOT_AVAILABLE);
  config.binds[1] = (km_udp_addr){.family = 0};
  assert_int_equal(km_stun_server_new(&other, &config, &err), KM_ERR_INVALID);
  config.bind_count = 0;
  assert_int_equal(km_stun_server_new(&other, &config, &err), KM_ERR_INVALID);
  config.bind_count = KM_STUN_SERVER_MAX_BINDS + 1;
  assert_int_equal(km_stun_server_new(&other, &config, &err), KM_ERR_INVALID);
  assert_null(other);
  km_stun_server_free(NULL);
  stop(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(one_address_of_each_family),
      cmocka_unit_test(every_address_at_once),
      cmocka_unit_test(what_gets_no_answer),
      cmocka_unit_test(unknown_attributes_are_refused),
      cmocka_unit_test(no_more_than_its_rate),
      cmocka_unit_test(four_sockets),
      cmocka_unit_test(an_alternate_refuses_too),
      cmocka_unit_test(alternates_that_are_none),
      cmocka_unit_test(addresses_that_cannot_be_had),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
