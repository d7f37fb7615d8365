/* magicsock/ over real sockets on loopback, each test with both socket drivers. */
#include "test/magicsock/node.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const km_udp_driver *driver;

static node_options on(const char *bind) {
  return (node_options){.bind = {bind}, .driver = driver};
}

static void need_ipv6(void) {
  if (!have_ipv6()) {
    skip();
  }
}

static bool is_loopback_v4(const km_udp_addr *a) {
  return a->family == 4 && a->ip[0] == 127;
}

/* Binding */

/* Where IPv6 is switched off by sysctl, [::] can still be bound though ::1 is not there. */
static bool can_bind_any_ipv6(void) {
  int fd = socket(AF_INET6, SOCK_DGRAM, 0);
  struct sockaddr_in6 any = {.sin6_family = AF_INET6};
  bool can = fd >= 0 && bind(fd, (const struct sockaddr *)&any, sizeof any) == 0;
  if (fd >= 0) {
    close(fd);
  }
  return can;
}

static void default_binds_each_family_the_system_has(void **state) {
  (void)state;
  node n;
  node_open(&n, &(node_options){.driver = driver});
  km_udp_addr bound[4];
  size_t count = km_magicsock_bound(n.ms, bound, 4);
  assert_int_equal(count, can_bind_any_ipv6() ? 2 : 1);
  assert_int_equal(bound[0].family, 4);
  assert_int_not_equal(bound[0].port, 0);
  if (count == 2) {
    assert_int_equal(bound[1].family, 6);
    assert_int_not_equal(bound[1].port, 0);
  }
  assert_int_equal(km_magicsock_bound(n.ms, bound, 1), 1);
  node_close(&n);
}

static void both_families_share_a_port_number(void **state) {
  (void)state;
  need_ipv6();
  node a, b;
  node_open(&a, &(node_options){.bind = {"[::]:0"}, .driver = driver});
  km_udp_addr v6 = node_addr(&a, 6);
  char text[KM_UDP_ADDR_TEXT_CAP];
  (void)snprintf(text, sizeof text, "0.0.0.0:%u", v6.port);
  node_options same = on(text);
  km_errinfo err = {0};
  int rv = node_try(&b, &same, &err);
  if (rv == KM_ERR_ADDR_IN_USE) {
    node_close(&a);
    skip(); /* somebody else has the IPv4 port */
  }
  assert_int_equal(rv, 0); /* [::] did not take the IPv4 side */
  node_close(&b);
  node_close(&a);
}

static void expect_error(const char *bind, int code) {
  node n;
  km_errinfo err = {0};
  node_options o = on(bind);
  assert_int_equal(node_try(&n, &o, &err), code);
  assert_int_equal(err.code, code);
  if (strstr(err.text, bind) == NULL) {
    fail_msg("\"%s\" does not name %s", err.text, bind);
  }
}

static void port_in_use_is_named(void **state) {
  (void)state;
  node a;
  node_options o = on("127.0.0.1:0");
  node_open(&a, &o);
  km_udp_addr taken = node_addr(&a, 4);
  char text[KM_UDP_ADDR_TEXT_CAP];
  assert_true(km_udp_addr_format(&taken, text, sizeof text) > 0);
  expect_error(text, KM_ERR_ADDR_IN_USE);

  km_errinfo err = {0};
  assert_int_equal(km_magicsock_rebind(a.ms, &taken, &err), KM_ERR_ADDR_IN_USE);
  assert_non_null(strstr(err.text, text));
  km_udp_addr still;
  assert_int_equal(km_magicsock_bound(a.ms, &still, 1), 1); /* a failed rebind changes nothing */
  assert_true(km_udp_addr_equal(&still, &taken));
  node_close(&a);
}

static void foreign_address_is_named(void **state) {
  (void)state;
  expect_error("198.51.100.7:0", KM_ERR_ADDR_NOT_AVAILABLE);
  if (have_ipv6()) {
    expect_error("[2001:db8::7]:0", KM_ERR_ADDR_NOT_AVAILABLE);
  }
}

static void candidates_are_bound_addresses_or_interfaces(void **state) {
  (void)state;
  node n;
  node_options o = {.bind = {"127.0.0.1:0", "0.0.0.0:0"}, .driver = driver};
  node_open(&n, &o);
  km_udp_addr bound[2], got[64];
  assert_int_equal(km_magicsock_bound(n.ms, bound, 2), 2);
  size_t count = km_magicsock_candidates(n.ms, got, 64);
  assert_true(count >= 1);
  assert_true(km_udp_addr_equal(&got[0], &bound[0])); /* bound by name: always there */
  for (size_t i = 1; i < count; i++) {
    assert_int_equal(got[i].family, 4);
    assert_int_equal(got[i].port, bound[1].port);
    assert_false(is_loopback_v4(&got[i])); /* there is something else */
    for (size_t j = 0; j < i; j++) {
      assert_false(km_udp_addr_equal(&got[i], &got[j]));
    }
  }
  assert_int_equal(km_magicsock_candidates(n.ms, got, 1), 1);
  node_close(&n);

  /* A wildcard alone: addresses of interfaces, never the wildcard itself. */
  o = on("0.0.0.0:0");
  node_open(&n, &o);
  assert_int_equal(km_magicsock_bound(n.ms, bound, 1), 1);
  count = km_magicsock_candidates(n.ms, got, 64);
  for (size_t i = 0; i < count; i++) {
    static const uint8_t any[4];
    assert_memory_not_equal(got[i].ip, any, 4);
    assert_int_equal(got[i].port, bound[0].port);
    assert_int_equal(is_loopback_v4(&got[i]), is_loopback_v4(&got[0])); /* all or none */
  }
  node_close(&n);
}

/* Keys */

static void keys_have_one_spelling(void **state) {
  (void)state;
  node n;
  node_options o = on("127.0.0.1:0");
  node_open(&n, &o);
  km_path_key plain, mapped, other;
  km_udp_addr v4 = addr_of("127.0.0.1:4000");
  assert_int_equal(km_magicsock_key(n.ms, &v4, &plain), 0);
  km_udp_addr dressed = {.family = 6, .port = 4000, .ip = {[10] = 0xff, [11] = 0xff, 127, 0, 0, 1}};
  assert_int_equal(km_magicsock_key(n.ms, &dressed, &mapped), 0);
  assert_true(km_path_key_matches(&plain, &mapped));
  assert_memory_equal(&plain, &mapped, sizeof plain);

  km_udp_addr v6 = addr_of("[2001:db8::1]:4000");
  assert_int_equal(km_magicsock_key(n.ms, &v6, &other), KM_ERR_NO_NETWORK);
  km_udp_addr no_port = addr_of("127.0.0.1:1");
  no_port.port = 0;
  assert_int_equal(km_magicsock_key(n.ms, &no_port, &other), KM_ERR_BAD_ADDR);
  km_udp_addr ours = addr_of("[fd15:70a:510b::1]:12345");
  assert_int_equal(km_magicsock_key(n.ms, &ours, &other), KM_ERR_BAD_ADDR);
  assert_int_equal(km_magicsock_key(n.ms, &(km_udp_addr){.port = 1}, &other), KM_ERR_BAD_ADDR);

  plain.socket = 255;
  km_path *path;
  assert_int_equal(km_magicsock_path(n.ms, &plain, &path), KM_ERR_CLOSED);
  plain.way = KM_WAY_MIXED;
  assert_int_equal(km_magicsock_path(n.ms, &plain, &path), KM_ERR_INVALID);
  node_close(&n);
}

static void loopback_is_reached_through_the_socket_that_can(void **state) {
  (void)state;
  node n;
  node_options o = {.bind = {"127.0.0.1:0", "0.0.0.0:0"}, .driver = driver};
  node_open(&n, &o);
  km_path_key near, far;
  km_udp_addr to_near = addr_of("127.0.0.9:4000"), to_far = addr_of("198.51.100.7:4000");
  assert_int_equal(km_magicsock_key(n.ms, &to_near, &near), 0);
  assert_int_equal(km_magicsock_key(n.ms, &to_far, &far), 0);
  assert_int_equal(near.socket, 0);
  assert_int_equal(far.socket, 1);
  node_close(&n);
}

/* Sending and receiving */

static void there_and_back(const char *bind, uint8_t family) {
  node a, b;
  node_options o = on(bind);
  node_open(&a, &o);
  node_open(&b, &o);
  km_path *to_b = path_to(&a, node_addr(&b, family));
  uint8_t data[1200];
  packets_fill(data, sizeof data, sizeof data, 7);
  km_magicsock_send(a.ms, to_b, data, sizeof data, sizeof data, 0);
  WAIT_FOR(b.done_calls > 0);
  packets_expect(&b, sizeof data, sizeof data, 7);

  km_path_key from = b.packets[0].from;
  km_udp_addr a_addr = node_addr(&a, family);
  assert_true(km_udp_addr_equal(&from.remote, &a_addr));
  assert_null(km_magicsock_find(b.ms, &from));
  km_path *to_a;
  assert_int_equal(km_magicsock_path(b.ms, &from, &to_a), 0);
  assert_ptr_equal(km_magicsock_find(b.ms, &from), to_a);

  packets_fill(data, 300, 300, 8);
  km_magicsock_send(b.ms, to_a, data, 300, 300, 0);
  WAIT_FOR(a.done_calls > 0);
  packets_expect(&a, 300, 300, 8);
  /* The answer is found to be on the path that was dialled. */
  assert_ptr_equal(km_magicsock_find(a.ms, &a.packets[0].from), to_b);

  km_magicsock_reply(b.ms, &from, data, 300);
  WAIT_FOR(a.count == 2);
  assert_memory_equal(a.packets[1].data, data, 300);

  assert_int_equal(to_b->tx_bytes, sizeof data);
  assert_int_equal(to_b->tx_packets, 1);
  assert_int_equal(to_b->last_errno, 0);
  assert_int_equal(node_stats(&b).tx_packets, 2);
  assert_int_equal(node_stats(&b).rx_packets, 1);
  assert_int_equal(node_stats(&b).rx_bytes, sizeof data);
  km_udp_addr local = km_magicsock_local_of(a.ms, to_b);
  assert_int_equal(local.family, family);
  km_path_unref(a.ms, to_b);
  km_path_unref(b.ms, to_a);
  node_close(&a);
  node_close(&b);
}

static void there_and_back_v4(void **state) {
  (void)state;
  there_and_back("127.0.0.1:0", 4);
}

static void there_and_back_v4_wildcard(void **state) {
  (void)state;
  there_and_back("0.0.0.0:0", 4);
}

static void there_and_back_v6(void **state) {
  (void)state;
  need_ipv6();
  there_and_back("[::1]:0", 6);
}

static void there_and_back_v6_wildcard(void **state) {
  (void)state;
  need_ipv6();
  there_and_back("[::]:0", 6);
}

static void one_endpoint_speaks_both_families(void **state) {
  (void)state;
  need_ipv6();
  node a, b;
  node_open(&a, &(node_options){.driver = driver});
  node_open(&b, &(node_options){.driver = driver});
  km_path *v4 = path_to(&a, node_addr(&b, 4)), *v6 = path_to(&a, node_addr(&b, 6));
  assert_ptr_not_equal(v4, v6);
  uint8_t data[100];
  packet_fill(data, sizeof data, 1);
  km_magicsock_send(a.ms, v4, data, sizeof data, sizeof data, 0);
  WAIT_FOR(b.count == 1);
  assert_int_equal(b.packets[0].from.remote.family, 4);
  km_magicsock_send(a.ms, v6, data, sizeof data, sizeof data, 0);
  WAIT_FOR(b.count == 2);
  assert_int_equal(b.packets[1].from.remote.family, 6);
  km_path_unref(a.ms, v4);
  km_path_unref(a.ms, v6);
  node_close(&a);
  node_close(&b);
}

static void batch(const char *bind, uint8_t family, size_t len, size_t segment, bool gso) {
  node a, b;
  node_options o = on(bind);
  o.no_gso = !gso;
  node_open(&a, &o);
  node_open(&b, &o);
  km_path *path = path_to(&a, node_addr(&b, family));
  uint8_t *data = malloc(len);
  assert_non_null(data);
  packets_fill(data, len, segment, 1000);
  km_magicsock_send(a.ms, path, data, len, segment, 0);
  size_t packets = (len + segment - 1) / segment;
  WAIT_FOR(b.count >= packets && b.since_done == 0);
  packets_expect(&b, len, segment, 1000);
  km_magicsock_stats sent = node_stats(&a), got = node_stats(&b);
  assert_int_equal(sent.tx_packets, packets);
  assert_int_equal(sent.tx_bytes, len);
  assert_int_equal(sent.tx_errors, 0);
  assert_int_equal(got.rx_packets, packets);
  assert_int_equal(got.rx_bytes, len);
  km_path_unref(a.ms, path);
  node_close(&a);
  node_close(&b);
  free(data);
}

static void batches_arrive_whole_and_in_order(void **state) {
  (void)state;
  static const struct {
    size_t len, segment;
  } cases[] = {
      {1200, 1200},
      {20 * 1200, 1200},
      {20 * 1200 + 700, 1200},
      {2 * 1452 + 5, 1452},
      {65535, 1444} /* more bytes than a send takes */,
      {65535, 500} /* more segments */,
      {64 * 1000, 1000},
      {65 * 1000 + 5, 1000},
      {9000 * 3, 9000},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    for (int gso = 0; gso <= 1; gso++) {
      batch("127.0.0.1:0", 4, cases[i].len, cases[i].segment, gso == 1);
      if (have_ipv6()) {
        batch("[::1]:0", 6, cases[i].len, cases[i].segment, gso == 1);
      }
    }
  }
}

/* Where the kernel can, a batch is one system call, and one callback at the receiver. */
static void offload_saves_calls(void **state) {
  (void)state;
#if defined(__linux__)
  if (driver != &km_udp_linux) {
    skip();
  }
  node a, b;
  node_options o = on("127.0.0.1:0");
  node_open(&a, &o);
  node_open(&b, &o);
  if (!a.ms->sockets[0].udp.gso || !b.ms->sockets[0].udp.gro) {
    node_close(&a);
    node_close(&b);
    skip();
  }
  km_path *path = path_to(&a, node_addr(&b, 4));
  uint8_t data[40 * 1200];
  packets_fill(data, sizeof data, 1200, 0);
  km_magicsock_send(a.ms, path, data, sizeof data, 1200, 0);
  WAIT_FOR(b.count == 40);
  assert_int_equal(node_stats(&a).tx_batches, 1);
  assert_int_equal(node_stats(&b).rx_batches, 1);
  assert_int_equal(b.batches, 1);
  km_path_unref(a.ms, path);
  node_close(&a);
  node_close(&b);
#else
  skip();
#endif
}

static void ecn_reaches(const char *bind, uint8_t family, bool sender_on, bool receiver_on) {
  node a, b;
  node_options o = on(bind);
  o.no_ecn = !sender_on;
  node_open(&a, &o);
  o.no_ecn = !receiver_on;
  node_open(&b, &o);
  km_path *path = path_to(&a, node_addr(&b, family));
  uint8_t data[3 * 1000];
  packets_fill(data, sizeof data, 1000, 0);
  for (uint8_t ecn = 0; ecn < 4; ecn++) {
    node_forget(&b);
    km_magicsock_send(a.ms, path, data, sizeof data, 1000, ecn);
    WAIT_FOR(b.count == 3);
    for (size_t i = 0; i < 3; i++) {
      assert_int_equal(b.packets[i].ecn, sender_on && receiver_on ? ecn : 0);
    }
  }
  km_path_unref(a.ms, path);
  node_close(&a);
  node_close(&b);
}

static void ecn_bits_arrive_when_both_want_them(void **state) {
  (void)state;
  for (int which = 0; which < 4; which++) {
    ecn_reaches("127.0.0.1:0", 4, (which & 1) != 0, (which & 2) != 0);
    ecn_reaches("0.0.0.0:0", 4, (which & 1) != 0, (which & 2) != 0);
    if (have_ipv6()) {
      ecn_reaches("[::1]:0", 6, (which & 1) != 0, (which & 2) != 0);
      ecn_reaches("[::]:0", 6, (which & 1) != 0, (which & 2) != 0);
    }
  }
}

static void answers_leave_from_the_address_they_came_to(void **state) {
  (void)state;
  node n;
  node_options o = on("0.0.0.0:0");
  node_open(&n, &o);
  km_udp_addr own, second = addr_of("127.0.0.2:1"), third = addr_of("127.0.0.3:1"), from;
  second.port = third.port = node_addr(&n, 4).port;
  int fd = raw_open("127.0.0.1:0", &own);
  uint8_t data[60], got[100];
  packet_fill(data, sizeof data, 1);
  raw_send(fd, second, data, sizeof data);
  WAIT_FOR(n.count == 1);
  raw_send(fd, third, data, sizeof data);
  WAIT_FOR(n.count == 2);

  /* The same peer at two addresses of ours: two paths, each answering from its own. */
  km_path *paths[2];
  for (size_t i = 0; i < 2; i++) {
    assert_int_equal(km_magicsock_path(n.ms, &n.packets[i].from, &paths[i]), 0);
    km_magicsock_send(n.ms, paths[i], data, sizeof data, sizeof data, 0);
    assert_int_equal(raw_recv(fd, got, sizeof got, &from), (ssize_t)sizeof data);
    assert_true(km_udp_addr_equal(&from, i == 0 ? &second : &third));
    km_magicsock_reply(n.ms, &n.packets[i].from, data, sizeof data);
    assert_int_equal(raw_recv(fd, got, sizeof got, &from), (ssize_t)sizeof data);
    assert_true(km_udp_addr_equal(&from, i == 0 ? &second : &third));
  }
  assert_ptr_not_equal(paths[0], paths[1]);
  km_path_unref(n.ms, paths[0]);
  km_path_unref(n.ms, paths[1]);
  close(fd);
  node_close(&n);
}

static void batches_too_leave_from_the_address_asked_for(void **state) {
  (void)state;
  node a, b;
  node_options wild = on("0.0.0.0:0"), named = on("127.0.0.1:0");
  node_open(&a, &named);
  node_open(&b, &wild);
  km_udp_addr second = addr_of("127.0.0.2:1");
  second.port = node_addr(&b, 4).port;
  km_path *there = path_to(&a, second), *back;
  uint8_t data[10 * 1100];
  packets_fill(data, sizeof data, 1100, 0);
  km_magicsock_send(a.ms, there, data, sizeof data, 1100, 2);
  WAIT_FOR(b.count == 10);
  assert_int_equal(km_magicsock_path(b.ms, &b.packets[0].from, &back), 0);
  km_magicsock_send(b.ms, back, data, sizeof data, 1100, 1); /* three control messages at once */
  WAIT_FOR(a.count == 10);
  packets_expect(&a, sizeof data, 1100, 0);
  assert_true(km_udp_addr_equal(&a.packets[0].from.remote, &second));
  assert_int_equal(a.packets[9].ecn, 1);
  km_path_unref(a.ms, there);
  km_path_unref(b.ms, back);
  node_close(&a);
  node_close(&b);
}

static void what_is_not_quic_is_counted_and_kept_away(void **state) {
  (void)state;
  node n;
  node_options o = on("127.0.0.1:0");
  node_open(&n, &o);
  km_udp_addr own;
  int fd = raw_open("127.0.0.1:0", &own);
  uint8_t quic[50], stun[20] = {0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, disco[100] = {1},
                    noise[9] = {0x20};
  packet_fill(quic, sizeof quic, 0);
  raw_send(fd, node_addr(&n, 4), stun, sizeof stun);
  raw_send(fd, node_addr(&n, 4), disco, sizeof disco);
  raw_send(fd, node_addr(&n, 4), noise, sizeof noise);
  raw_send(fd, node_addr(&n, 4), "", 0);
  raw_send(fd, node_addr(&n, 4), quic, sizeof quic);
  WAIT_FOR(n.count == 1);
  packets_expect(&n, sizeof quic, sizeof quic, 0);
  assert_int_equal(node_stats(&n).rx_not_quic, 4);
  close(fd);
  node_close(&n);
}

static void batches_are_cut_around_what_is_not_quic(void **state) {
  (void)state;
  node a, b;
  node_options o = on("127.0.0.1:0");
  node_open(&a, &o);
  node_open(&b, &o);
  km_path *path = path_to(&a, node_addr(&b, 4));
  uint8_t data[8 * 500];
  packets_fill(data, sizeof data, 500, 0);
  data[0] = data[3 * 500] = data[4 * 500] = data[7 * 500] = 0x02;
  km_magicsock_send(a.ms, path, data, sizeof data, 500, 0);
  WAIT_FOR(b.count >= 4 && b.since_done == 0 && node_stats(&b).rx_not_quic == 4);
  static const uint8_t left[] = {1, 2, 5, 6};
  assert_int_equal(b.count, 4);
  for (size_t i = 0; i < 4; i++) {
    assert_memory_equal(b.packets[i].data, data + left[i] * 500, 500);
  }
  km_path_unref(a.ms, path);
  node_close(&a);
  node_close(&b);
}

static void a_turn_is_bounded(void **state) {
  (void)state;
  enum { PACKETS = 2000 };
  node n;
  node_options o = on("127.0.0.1:0");
  node_open(&n, &o);
  km_udp_addr own;
  int fd = raw_open("127.0.0.1:0", &own);
  uint8_t data[20];
  for (uint32_t i = 0; i < PACKETS; i++) {
    packet_fill(data, sizeof data, i);
    raw_send(fd, node_addr(&n, 4), data, sizeof data);
  }
  WAIT_FOR(n.count == PACKETS && n.since_done == 0);
  packets_expect(&n, PACKETS * sizeof data, sizeof data, 0);
  assert_true(n.most_between_done <= 64);
  assert_true(n.done_calls >= PACKETS / 64);
  close(fd);
  node_close(&n);
}

/* Nobody listens there: the kernel is told by ICMP, and the socket stays as good as it was. */
static void a_refusing_peer_harms_nobody(void **state) {
  (void)state;
  node a, b;
  node_options o = on("127.0.0.1:0");
  node_open(&a, &o);
  node_open(&b, &o);
  km_udp_addr gone;
  int fd = raw_open("127.0.0.1:0", &gone);
  close(fd);
  km_path *dead = path_to(&a, gone), *good = path_to(&a, node_addr(&b, 4));
  uint8_t data[100];
  for (uint32_t i = 0; i < 50; i++) {
    packet_fill(data, sizeof data, i);
    km_magicsock_send(a.ms, dead, data, sizeof data, sizeof data, 0);
    km_magicsock_send(a.ms, good, data, sizeof data, sizeof data, 0);
  }
  WAIT_FOR(b.count == 50);
  packets_expect(&b, 50 * sizeof data, sizeof data, 0);
  km_path_unref(a.ms, dead);
  km_path_unref(a.ms, good);
  node_close(&a);
  node_close(&b);
}

static void a_datagram_too_long_is_lost_alone(void **state) {
  (void)state;
  node a, b;
  node_options o = on("127.0.0.1:0");
  node_open(&a, &o);
  node_open(&b, &o);
  km_path *path = path_to(&a, node_addr(&b, 4));
  uint8_t *data = malloc(KM_MAGICSOCK_MAX_BATCH);
  assert_non_null(data);
  packet_fill(data, KM_MAGICSOCK_MAX_BATCH, 0);
  km_magicsock_send(a.ms, path, data, KM_MAGICSOCK_MAX_BATCH, KM_MAGICSOCK_MAX_BATCH, 0);
  assert_int_equal(path->last_errno, EMSGSIZE);
  assert_int_equal(node_stats(&a).tx_errors, 1);
  assert_true(km_path_can_send(a.ms, path));
  packet_fill(data, 1200, 5);
  km_magicsock_send(a.ms, path, data, 1200, 1200, 0);
  assert_int_equal(path->last_errno, 0);
  WAIT_FOR(b.count == 1);
  packets_expect(&b, 1200, 1200, 5);
  free(data);
  km_path_unref(a.ms, path);
  node_close(&a);
  node_close(&b);
}

/* The kernel puts datagrams together and cuts them where the buffer ends. */
static void what_did_not_fit_is_dropped(void **state) {
  (void)state;
  node a, b;
  faults fault;
  uint8_t data[1000];
  faults_init(&fault);
  node_open(&a, &(node_options){.bind = {"127.0.0.1:0"}, .driver = driver, .faults = &fault});
  node_open(&b, &(node_options){.bind = {"127.0.0.1:0"}, .driver = driver});
  km_path *path = path_to(&b, node_addr(&a, 4));
  packet_fill(data, sizeof data, 0);
  fault.recv_cut = 1;
  km_magicsock_send(b.ms, path, data, sizeof data, sizeof data, 0);
  WAIT_FOR(node_stats(&a).rx_truncated == 1);
  assert_int_equal(a.count, 0);
  assert_int_equal(node_stats(&a).rx_packets, 0);
  km_magicsock_send(b.ms, path, data, sizeof data, sizeof data, 0);
  WAIT_FOR(a.count == 1);
  assert_int_equal(node_stats(&a).rx_truncated, 1);
  km_path_unref(b.ms, path);
  node_close(&a);
  node_close(&b);
}

static int run(const char *name, const km_udp_driver *with) {
  driver = with;
#define T(name) cmocka_unit_test_setup_teardown(name, node_setup, node_teardown)
  const struct CMUnitTest tests[] = {
      T(what_did_not_fit_is_dropped),
      T(default_binds_each_family_the_system_has),
      T(both_families_share_a_port_number),
      T(port_in_use_is_named),
      T(foreign_address_is_named),
      T(candidates_are_bound_addresses_or_interfaces),
      T(keys_have_one_spelling),
      T(loopback_is_reached_through_the_socket_that_can),
      T(there_and_back_v4),
      T(there_and_back_v4_wildcard),
      T(there_and_back_v6),
      T(there_and_back_v6_wildcard),
      T(one_endpoint_speaks_both_families),
      T(batches_arrive_whole_and_in_order),
      T(offload_saves_calls),
      T(ecn_bits_arrive_when_both_want_them),
      T(answers_leave_from_the_address_they_came_to),
      T(batches_too_leave_from_the_address_asked_for),
      T(what_is_not_quic_is_counted_and_kept_away),
      T(batches_are_cut_around_what_is_not_quic),
      T(a_turn_is_bounded),
      T(a_refusing_peer_harms_nobody),
      T(a_datagram_too_long_is_lost_alone),
  };
  return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void) {
  int failed = run("magicsock, portable driver", &km_udp_posix);
#if defined(__linux__)
  failed += run("magicsock, Linux driver", &km_udp_linux);
#endif
  return failed != 0;
}
