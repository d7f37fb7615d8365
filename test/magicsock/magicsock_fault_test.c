/* What magicsock/ does when the kernel says no, each test with both socket drivers. */
#include "test/magicsock/node.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const km_udp_driver *driver;
static faults fault;

static node_options faulty(const char *bind) {
  faults_init(&fault);
  return (node_options){.bind = {bind}, .driver = driver, .faults = &fault};
}

static bool is_linux_driver(void) {
#if defined(__linux__)
  return driver == &km_udp_linux;
#else
  return false;
#endif
}

/* Two nodes, `a` with faults, and a path from it to `b`. */
typedef struct pair {
  node a, b;
  km_path *path;
} pair;

static void pair_open(pair *p) {
  node_options o = faulty("127.0.0.1:0");
  node_open(&p->a, &o);
  o.faults = NULL;
  node_open(&p->b, &o);
  p->path = path_to(&p->a, node_addr(&p->b, 4));
}

static void pair_close(pair *p) {
  km_path_unref(p->a.ms, p->path);
  node_close(&p->a);
  node_close(&p->b);
}

static void send_packets(pair *p, size_t len, size_t segment, uint32_t first) {
  uint8_t *data = malloc(len);
  assert_non_null(data);
  packets_fill(data, len, segment, first);
  km_magicsock_send(p->a.ms, p->path, data, len, segment, 0);
  free(data); /* what is kept was copied */
}

/* Opening */

static void sockets_are_made_as_quic_wants_them(void **state) {
  (void)state;
  for (int v6 = 0; v6 <= (have_ipv6() ? 1 : 0); v6++) {
    const km_udp_options options = {
        .bind = addr_of(v6 != 0 ? "[::]:0" : "0.0.0.0:0"), .gso = true, .ecn = true};
    km_udp udp;
    km_errinfo err = {0};
    assert_int_equal(km_udp_open(&udp, &options, &km_env_system.logger, &err), 0);
    assert_true((fcntl(udp.fd, F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(udp.fd, F_GETFD) & FD_CLOEXEC) != 0);
    assert_true(udp.wildcard && udp.ecn);
    assert_int_not_equal(udp.bound.port, 0);
    int value = -1;
    socklen_t len = sizeof value;
#if defined(__linux__)
    int level = v6 != 0 ? IPPROTO_IPV6 : IPPROTO_IP;
    int name = v6 != 0 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER;
    assert_int_equal(getsockopt(udp.fd, level, name, &value, &len), 0);
    assert_int_equal(value, IP_PMTUDISC_PROBE); /* the same number for IPv6 */
#endif
    if (v6 != 0) {
      assert_int_equal(getsockopt(udp.fd, IPPROTO_IPV6, IPV6_V6ONLY, &value, &len), 0);
      assert_int_equal(value, 1);
    }
    km_udp_close(&udp);
    assert_int_equal(udp.fd, -1);
  }
}

static void expect_error(const char *bind, int code, int sys_errno, const char *more) {
  node n;
  km_errinfo err = {0};
  node_options o = {.bind = {bind}, .driver = driver, .faults = &fault};
  assert_int_equal(node_try(&n, &o, &err), code);
  assert_int_equal(err.sys_errno, sys_errno);
  if (strstr(err.text, bind) == NULL || strstr(err.text, more) == NULL) {
    fail_msg("\"%s\" names neither %s nor %s", err.text, bind, more);
  }
}

static void refused_binds_name_the_address(void **state) {
  (void)state;
  faults_init(&fault);
  fault.bind_errno = EACCES;
  expect_error("127.0.0.1:443", KM_ERR_PERMISSION, EACCES, "ermission");
  fault.bind_errno = EADDRNOTAVAIL;
  expect_error("[::]:4433", KM_ERR_ADDR_NOT_AVAILABLE, EADDRNOTAVAIL, "IPv6 is off");
  faults_init(&fault);
  fault.socket_errno = EAFNOSUPPORT;
  expect_error("[::1]:4433", KM_ERR_ADDR_NOT_AVAILABLE, EAFNOSUPPORT, "IPv6 is off");
  fault.socket_errno = EMFILE;
  expect_error("127.0.0.1:4433", KM_ERR_SYSTEM, EMFILE, "files");
  faults_init(&fault);
  fault.option_errno = ENOPROTOOPT;
  fault.option_level = IPPROTO_IPV6;
  fault.option_name = IPV6_V6ONLY;
  if (have_ipv6()) {
    expect_error("[::1]:0", KM_ERR_SYSTEM, ENOPROTOOPT, "");
  }
}

static void the_default_does_without_ipv6(void **state) {
  (void)state;
  faults_init(&fault);
  fault.socket_errno = EAFNOSUPPORT;
  fault.socket_domain = AF_INET6;
  node n;
  node_options o = {.driver = driver, .faults = &fault};
  node_open(&n, &o);
  km_udp_addr bound[2];
  assert_int_equal(km_magicsock_bound(n.ms, bound, 2), 1);
  assert_int_equal(bound[0].family, 4);
  node_close(&n);

  fault.socket_domain = 0; /* neither family: an error */
  km_errinfo err = {0};
  assert_int_not_equal(node_try(&n, &o, &err), 0);
  assert_non_null(strstr(err.text, "0.0.0.0:0"));

  faults_init(&fault); /* a socket refused for another reason is an error too */
  fault.socket_errno = EMFILE;
  fault.socket_domain = AF_INET6;
  assert_int_equal(node_try(&n, &o, &err), KM_ERR_SYSTEM);
  assert_non_null(strstr(err.text, "[::]:0"));
}

static void works_without_option(int level, int name, const char *bind) {
  node_options o = faulty(bind);
  fault.option_errno = ENOPROTOOPT;
  fault.option_level = level;
  fault.option_name = name;
  node a, b;
  node_open(&a, &o);
  node_open(&b, &o);
  km_path *path = path_to(&a, node_addr(&b, a.ms->sockets[0].udp.bound.family));
  uint8_t data[10 * 1000];
  packets_fill(data, sizeof data, 1000, 0);
  km_magicsock_send(a.ms, path, data, sizeof data, 1000, 1);
  WAIT_FOR(b.count == 10 && b.since_done == 0);
  packets_expect(&b, sizeof data, 1000, 0);
  km_magicsock_reply(b.ms, &b.packets[0].from, data, 1000);
  WAIT_FOR(a.count == 1);
  assert_ptr_equal(km_magicsock_find(a.ms, &a.packets[0].from), path);
  km_path_unref(a.ms, path);
  node_close(&a);
  node_close(&b);
}

static void every_option_but_one_is_a_bonus(void **state) {
  (void)state;
#if defined(__linux__)
  works_without_option(IPPROTO_UDP, 104 /* UDP_GRO */, "127.0.0.1:0");
  works_without_option(IPPROTO_UDP, 103 /* UDP_SEGMENT */, "127.0.0.1:0");
  works_without_option(IPPROTO_IP, IP_PKTINFO, "0.0.0.0:0");
  works_without_option(IPPROTO_IP, IP_RECVTOS, "0.0.0.0:0");
  works_without_option(IPPROTO_IP, IP_MTU_DISCOVER, "127.0.0.1:0");
#endif
  works_without_option(SOL_SOCKET, SO_RCVBUF, "127.0.0.1:0");
  works_without_option(SOL_SOCKET, SO_SNDBUF, "127.0.0.1:0");
  if (have_ipv6()) {
    works_without_option(IPPROTO_IPV6, IPV6_RECVPKTINFO, "[::]:0");
    works_without_option(IPPROTO_IPV6, IPV6_RECVTCLASS, "[::]:0");
  }
}

/* GSO */

static void a_kernel_that_stops_taking_batches(int sys_errno) {
  pair p;
  pair_open(&p);
  if (!is_linux_driver() || !p.a.ms->sockets[0].udp.gso) {
    pair_close(&p);
    skip();
  }
  enum { LEN = 30 * 1200 + 77, PACKETS = 31 };
  send_packets(&p, LEN, 1200, 0);
  assert_int_equal(fault.gso_calls, 1);
  fault.send_gso_only = true;
  fault.send_errno = sys_errno;
  fault.send_fails = UINT_MAX;
  send_packets(&p, LEN, 1200, PACKETS);
  assert_int_equal(fault.gso_calls, 2);
  send_packets(&p, LEN, 1200, 2 * PACKETS);
  assert_int_equal(fault.gso_calls, 2); /* remembered */
  assert_false(p.a.ms->sockets[0].udp.gso);
  WAIT_FOR(p.b.count >= 3 * PACKETS && p.b.since_done == 0);
  assert_int_equal(p.b.count, 3 * PACKETS);
  for (uint32_t i = 0; i < p.b.count; i++) {
    uint8_t want[1200];
    size_t len = i % PACKETS == PACKETS - 1 ? 77 : 1200;
    packet_fill(want, len, i);
    assert_int_equal(p.b.packets[i].len, len);
    assert_memory_equal(p.b.packets[i].data, want, len);
  }
  assert_int_equal(node_stats(&p.a).tx_errors, 0);
  assert_int_equal(p.path->last_errno, 0);
  pair_close(&p);
}

static void gso_refused_mid_run_loses_nothing(void **state) {
  (void)state;
  a_kernel_that_stops_taking_batches(EIO);
  a_kernel_that_stops_taking_batches(EINVAL);
  a_kernel_that_stops_taking_batches(EMSGSIZE);
}

/* Kernels before 6.9 take no more than 64 segments, and none takes more than an IP packet holds. */
static void no_call_carries_more_than_kernels_take(void **state) {
  (void)state;
  for (int v6 = 0; v6 <= (have_ipv6() ? 1 : 0); v6++) {
    const char *bind = v6 != 0 ? "[::1]:0" : "127.0.0.1:0";
    size_t most = v6 != 0 ? 65487 : 65507;
    node a, b;
    node_options o = faulty(bind);
    node_open(&a, &o);
    o.faults = NULL;
    node_open(&b, &o);
    km_path *path = path_to(&a, node_addr(&b, v6 != 0 ? 6 : 4));
    uint8_t *data = malloc(KM_MAGICSOCK_MAX_BATCH);
    assert_non_null(data);
    static const size_t segments[] = {100, 500, 1017, 1200, 1444, 8188, 16377, 32754, 40000};
    for (size_t i = 0; i < sizeof segments / sizeof segments[0]; i++) {
      size_t count = (KM_MAGICSOCK_MAX_BATCH + segments[i] - 1) / segments[i];
      node_forget(&b);
      packets_fill(data, KM_MAGICSOCK_MAX_BATCH, segments[i], 0);
      km_magicsock_send(a.ms, path, data, KM_MAGICSOCK_MAX_BATCH, segments[i], 0);
      WAIT_FOR(b.count >= count);
      packets_expect(&b, KM_MAGICSOCK_MAX_BATCH, segments[i], 0);
    }
    assert_true(fault.most_segments <= 64);
    assert_true(fault.most_bytes <= most);
    assert_int_equal(fault.gso_calls > 0, is_linux_driver() && a.ms->sockets[0].udp.gso);
    free(data);
    km_path_unref(a.ms, path);
    node_close(&a);
    node_close(&b);
  }
}

/* Without GSO as with it: what one call left over goes into the next. */
static void sends_that_take_less_than_asked(void **state) {
  (void)state;
  if (!is_linux_driver()) {
    skip();
  }
  pair p;
  pair_open(&p);
  p.a.ms->sockets[0].udp.gso = false;
  fault.send_at_most = 3;
  send_packets(&p, 20 * 500, 500, 0);
  assert_int_equal(fault.send_calls, 7);
  WAIT_FOR(p.b.count >= 20 && p.b.since_done == 0);
  packets_expect(&p.b, 20 * 500, 500, 0);
  pair_close(&p);
}

static void packets_too_long_do_not_cost_gso(void **state) {
  (void)state;
  pair p;
  pair_open(&p);
  bool gso = p.a.ms->sockets[0].udp.gso;
  fault.send_errno = EMSGSIZE;
  fault.send_fails = UINT_MAX;
  fault.send_longer = 1400;
  send_packets(&p, 3 * 1450 + 900, 1450, 100); /* the tail is short enough */
  assert_int_equal(p.path->last_errno, EMSGSIZE);
  assert_int_equal(node_stats(&p.a).tx_errors, 3);
  assert_true(km_path_can_send(p.a.ms, p.path));
  send_packets(&p, 5 * 1200, 1200, 0);
  assert_int_equal(p.path->last_errno, 0);
  assert_int_equal(p.a.ms->sockets[0].udp.gso, gso);
  WAIT_FOR(p.b.count >= 6 && p.b.since_done == 0);
  assert_int_equal(p.b.count, 6);
  assert_int_equal(p.b.packets[0].len, 900);
  pair_close(&p);
}

/* Sending that fails */

static void a_batch_the_way_refuses_is_lost(void **state) {
  (void)state;
  static const int errnos[] = {EPERM, ENETUNREACH, EHOSTUNREACH, ENETDOWN, EACCES, EADDRNOTAVAIL};
  for (size_t i = 0; i < sizeof errnos / sizeof errnos[0]; i++) {
    pair p;
    pair_open(&p);
    fault.send_errno = errnos[i];
    fault.send_fails = UINT_MAX;
    send_packets(&p, 10 * 1000, 1000, 0);
    assert_int_equal(p.path->last_errno, errnos[i]);
    assert_int_equal(fault.send_calls, 1); /* the firewall is asked once, not ten times */
    assert_int_equal(node_stats(&p.a).tx_errors, 10);
    assert_int_equal(node_stats(&p.a).tx_packets, 0);
    assert_true(km_path_can_send(p.a.ms, p.path));
    fault.send_fails = 0;
    send_packets(&p, 1000, 1000, 0);
    assert_int_equal(p.path->last_errno, 0);
    WAIT_FOR(p.b.count == 1);
    pair_close(&p);
  }
}

static void an_error_of_an_earlier_packet_costs_nothing(void **state) {
  (void)state;
  pair p;
  pair_open(&p);
  fault.send_errno = ECONNREFUSED;
  fault.send_fails = 1;
  send_packets(&p, 4 * 1000, 1000, 0);
  assert_int_equal(p.path->last_errno, 0);
  WAIT_FOR(p.b.count >= 4);
  packets_expect(&p.b, 4 * 1000, 1000, 0);

  fault.send_fails = UINT_MAX; /* and one that stays does not hold us up */
  send_packets(&p, 1000, 1000, 0);
  assert_int_equal(p.path->last_errno, ECONNREFUSED);
  assert_int_equal(node_stats(&p.a).tx_errors, 1);
  pair_close(&p);
}

static void a_signal_is_no_error(void **state) {
  (void)state;
  pair p;
  pair_open(&p);
  fault.send_errno = EINTR;
  fault.send_fails = 3;
  send_packets(&p, 4 * 1000, 1000, 0);
  WAIT_FOR(p.b.count >= 4);
  packets_expect(&p.b, 4 * 1000, 1000, 0);
  fault.recv_errno = EINTR;
  fault.recv_fails = 3;
  km_magicsock_reply(p.b.ms, &p.b.packets[0].from, p.b.packets[0].data, 1000);
  WAIT_FOR(p.a.count == 1);
  assert_int_equal(fault.recv_fails, 0);
  pair_close(&p);
}

static void a_blocked_socket_keeps_one_batch(void **state) {
  (void)state;
  enum { LEN = 12 * 1200 + 300 };
  pair p;
  pair_open(&p);
  km_udp_addr elsewhere = addr_of("127.0.0.1:9");
  km_path *neighbour = path_to(&p.a, elsewhere);
  fault.send_errno = EAGAIN;
  fault.send_fails = 2; /* once now, once when the loop tries again */
  send_packets(&p, LEN, 1200, 0);
  assert_false(km_path_can_send(p.a.ms, p.path));
  assert_false(km_path_can_send(p.a.ms, neighbour)); /* the same socket */
  assert_int_equal(node_stats(&p.a).tx_blocked, 1);
  assert_int_equal(p.path->last_errno, 0);
  send_packets(&p, 2 * 100, 100, 900); /* who does not ask loses */
  assert_int_equal(node_stats(&p.a).tx_errors, 2);
  assert_int_equal(p.path->last_errno, EAGAIN);
  WAIT_FOR(p.a.writable_calls > 0);
  assert_int_equal(p.a.writable_calls, 1);
  assert_int_equal(fault.send_fails, 0);
  assert_true(km_path_can_send(p.a.ms, p.path));
  send_packets(&p, 3 * 1200, 1200, 13);
  WAIT_FOR(p.b.count >= 16 && p.b.since_done == 0);
  assert_int_equal(p.b.count, 16);
  for (uint32_t i = 0; i < 16; i++) {
    uint8_t want[1200];
    size_t len = i == 12 ? 300 : 1200;
    packet_fill(want, len, i);
    assert_int_equal(p.b.packets[i].len, len);
    assert_memory_equal(p.b.packets[i].data, want, len);
  }
  assert_int_equal(p.path->tx_packets, 16); /* the kept ones counted when they left */
  assert_int_equal(p.path->last_errno, 0);
  km_path_unref(p.a.ms, neighbour);
  pair_close(&p);
}

static void a_kept_batch_can_leave_in_parts(void **state) {
  (void)state;
  pair p;
  pair_open(&p);
  p.a.ms->sockets[0].udp.gso = false;
  fault.send_at_most = 3;
  fault.send_errno = EAGAIN;
  fault.send_passes = 2; /* blocked in the middle, and again in the middle of what was kept */
  fault.send_fails = 1;
  send_packets(&p, 20 * 700 + 9, 700, 0);
  assert_int_equal(fault.send_fails, 0);
  uint64_t at_once = p.path->tx_packets;
  assert_int_equal(at_once, is_linux_driver() ? 6 : 2);
  fault.send_passes = 2;
  fault.send_fails = 1;
  WAIT_FOR(fault.send_fails == 0);
  assert_int_equal(p.path->tx_packets, 2 * at_once);
  assert_int_equal(p.a.writable_calls, 0);
  WAIT_FOR(p.b.count >= 21 && p.b.since_done == 0);
  packets_expect(&p.b, 20 * 700 + 9, 700, 0);
  assert_int_equal(p.a.writable_calls, 1);
  assert_int_equal(node_stats(&p.a).tx_errors, 0);
  pair_close(&p);
}

/* A kept batch goes where and how it was meant to. */
static void a_kept_batch_keeps_its_source_and_ecn(void **state) {
  (void)state;
  node a, b;
  node_options o = faulty("0.0.0.0:0");
  node_open(&b, &o);
  o.faults = NULL;
  o.bind[0] = "127.0.0.1:0";
  node_open(&a, &o);
  km_udp_addr second = addr_of("127.0.0.2:1");
  second.port = node_addr(&b, 4).port;
  km_path *there = path_to(&a, second);
  uint8_t data[2 * 800];
  packets_fill(data, sizeof data, 800, 0);
  km_magicsock_send(a.ms, there, data, sizeof data, 800, 0);
  WAIT_FOR(b.count == 2);
  km_path *back;
  assert_int_equal(km_magicsock_path(b.ms, &b.packets[0].from, &back), 0);
  fault.send_errno = EAGAIN;
  fault.send_fails = 1;
  km_magicsock_send(b.ms, back, data, sizeof data, 800, 2);
  assert_false(km_path_can_send(b.ms, back));
  km_path_unref(b.ms, back); /* what is kept needs no path */
  WAIT_FOR(a.count == 2);
  packets_expect(&a, sizeof data, 800, 0);
  assert_int_equal(a.packets[1].ecn, 2);
  assert_true(km_udp_addr_equal(&a.packets[0].from.remote, &second));
  km_path_unref(a.ms, there);
  node_close(&a);
  node_close(&b);
}

static void send_more(node *n) {
  pair *p = n->ctx;
  send_packets(p, 1000, 1000, n->writable_calls);
}

static void on_writable_may_send_and_block_again(void **state) {
  (void)state;
  pair p;
  pair_open(&p);
  p.a.ctx = &p;
  p.a.on_writable = send_more;
  fault.send_errno = EAGAIN;
  fault.send_fails = 1;
  send_packets(&p, 1000, 1000, 0);
  WAIT_FOR(p.a.writable_calls == 1);
  fault.send_fails = 1;
  send_packets(&p, 1000, 1000, 2);
  WAIT_FOR(p.a.writable_calls == 2);
  WAIT_FOR(p.b.count == 4);
  static const uint32_t order[] = {0, 1, 2, 2};
  for (size_t i = 0; i < 4; i++) {
    assert_int_equal(p.b.packets[i].data[4], order[i]);
  }
  pair_close(&p);
}

static void a_mixed_path_can_send_while_one_target_can(void **state) {
  (void)state;
  if (!have_ipv6()) {
    skip();
  }
  node a, b;
  faults_init(&fault);
  node_open(&b, &(node_options){.driver = driver});
  node_open(&a, &(node_options){.driver = driver, .faults = &fault});
  km_udp_addr v4 = node_addr(&b, 4), v6 = node_addr(&b, 6);
  km_path_key keys[2];
  assert_int_equal(km_magicsock_key(a.ms, &v4, &keys[0]), 0);
  assert_int_equal(km_magicsock_key(a.ms, &v6, &keys[1]), 0);
  km_path *mixed;
  assert_int_equal(km_mixed_new(a.ms, keys, 2, &mixed), 0);
  uint8_t data[400];
  packet_fill(data, sizeof data, 0);
  fault.send_errno = EAGAIN;
  fault.send_fails = 1; /* the IPv4 socket */
  km_magicsock_send(a.ms, mixed, data, sizeof data, sizeof data, 0);
  assert_true(km_path_can_send(a.ms, mixed));
  assert_false(km_path_can_send(a.ms, km_mixed_at(mixed, 0)));
  assert_true(km_path_can_send(a.ms, km_mixed_at(mixed, 1)));
  km_mixed_answered(mixed, km_mixed_at(mixed, 0));
  assert_false(km_path_can_send(a.ms, mixed));
  km_mixed_answered(mixed, NULL);
  packet_fill(data, sizeof data, 1);
  km_magicsock_send(a.ms, mixed, data, sizeof data, sizeof data, 0); /* by IPv6 only */
  assert_int_equal(node_stats(&a).tx_errors, 0);
  WAIT_FOR(b.count == 3 && a.writable_calls == 1);
  assert_true(km_path_can_send(a.ms, km_mixed_at(mixed, 0)));

  /* One candidate that cannot be reached is no failure of the whole. */
  fault.send_errno = ENETUNREACH;
  fault.send_fails = 1;
  km_magicsock_send(a.ms, mixed, data, sizeof data, sizeof data, 0);
  assert_int_equal(km_mixed_at(mixed, 0)->last_errno, ENETUNREACH);
  assert_int_equal(mixed->last_errno, 0);
  fault.send_fails = 2;
  km_magicsock_send(a.ms, mixed, data, sizeof data, sizeof data, 0);
  assert_int_equal(mixed->last_errno, ENETUNREACH);
  km_path_unref(a.ms, mixed);
  node_close(&a);
  node_close(&b);
}

static void a_full_queue_is_tried_again(void **state) {
  (void)state;
  pair p;
  pair_open(&p);
  fault.send_errno = ENOBUFS;
  fault.send_fails = 4;
  km_ts start = km_loop_now(test_loop);
  send_packets(&p, 6 * 1000, 1000, 0);
  assert_false(km_path_can_send(p.a.ms, p.path));
  assert_true(p.a.ms->sockets[0].retry_at >= start + KM_NS_PER_MS);
  WAIT_FOR(p.a.writable_calls > 0);
  assert_int_equal(fault.send_calls, 4 + (is_linux_driver() ? 1 : 6));
  assert_true(km_path_can_send(p.a.ms, p.path));
  WAIT_FOR(p.b.count >= 6 && p.b.since_done == 0);
  packets_expect(&p.b, 6 * 1000, 1000, 0);
  pair_close(&p);
}

static void a_queue_that_stays_full_is_given_up(void **state) {
  (void)state;
  pair p;
  pair_open(&p);
  fault.send_errno = ENOBUFS;
  fault.send_fails = UINT_MAX;
  send_packets(&p, 6 * 1000, 1000, 0);
  WAIT_FOR(p.a.writable_calls > 0);
  assert_true(fault.send_calls <= 8);
  assert_int_equal(p.path->last_errno, ENOBUFS);
  assert_int_equal(node_stats(&p.a).tx_errors, 6);
  assert_true(km_path_can_send(p.a.ms, p.path));
  fault.send_fails = 3; /* the next batch gets its tries too */
  send_packets(&p, 1000, 1000, 0);
  WAIT_FOR(p.b.count == 1);
  packets_expect(&p.b, 1000, 1000, 0);
  assert_int_equal(node_stats(&p.a).tx_errors, 6);
  pair_close(&p);
}

/* Who waits for a socket that goes away must not wait for ever. */
static void leaving_a_blocked_socket_wakes_its_waiters(void **state) {
  (void)state;
  pair p;
  pair_open(&p);
  fault.send_errno = ENOBUFS;
  fault.send_fails = UINT_MAX;
  send_packets(&p, 2 * 1000, 1000, 0);
  km_udp_addr any = addr_of("127.0.0.1:0");
  assert_int_equal(km_magicsock_rebind(p.a.ms, &any, NULL), 0);
  km_path *fresh = path_to(&p.a, node_addr(&p.b, 4));
  assert_true(km_path_can_send(p.a.ms, fresh));
  km_path_unref(p.a.ms, p.path);
  p.path = fresh;
  assert_int_equal(p.a.writable_calls, 0); /* not from inside of that */
  WAIT_FOR(p.a.writable_calls == 1);
  assert_int_equal(node_stats(&p.a).tx_errors, 2);
  fault.send_fails = 0;
  send_packets(&p, 1000, 1000, 0);
  WAIT_FOR(p.b.count == 1);
  pair_close(&p);
}

/* Receiving that fails */

static void errors_on_receive_are_passed_over(void **state) {
  (void)state;
  static const int errnos[] = {ECONNREFUSED, EHOSTUNREACH, ENETDOWN, ENOMEM};
  pair p;
  pair_open(&p);
  send_packets(&p, 1000, 1000, 0);
  WAIT_FOR(p.b.count == 1);
  for (size_t i = 0; i < sizeof errnos / sizeof errnos[0]; i++) {
    node_forget(&p.a);
    fault.recv_errno = errnos[i];
    fault.recv_fails = 2;
    km_magicsock_reply(p.b.ms, &p.b.packets[0].from, p.b.packets[0].data, 1000);
    WAIT_FOR(p.a.count == 1);
    assert_int_equal(fault.recv_fails, 0);
  }
  pair_close(&p);
}

static void a_socket_full_of_errors_cannot_hold_the_loop(void **state) {
  (void)state;
  pair p;
  pair_open(&p);
  send_packets(&p, 1000, 1000, 0);
  WAIT_FOR(p.b.count == 1);
  fault.recv_errno = ECONNREFUSED;
  fault.recv_fails = UINT_MAX;
  km_magicsock_reply(p.b.ms, &p.b.packets[0].from, p.b.packets[0].data, 1000);
  while (fault.recv_calls == 0) {
    km_loop_run_once(test_loop, 1000);
  }
  unsigned before = fault.recv_calls;
  km_loop_run_once(test_loop, 1000);
  assert_true(fault.recv_calls - before <= 8); /* it came back, and not after ages */
  fault.recv_fails = 0;
  WAIT_FOR(p.a.count == 1);
  pair_close(&p);
}

/* A real one: on a connected socket the kernel reports ICMP errors, and poll sees them. */
static void a_socket_is_watched_on_after_an_error(void **state) {
  (void)state;
  node n;
  node_options o = faulty("127.0.0.1:0");
  node_open(&n, &o);
  km_udp_addr peer, again;
  int raw = raw_open("127.0.0.1:0", &peer);
  char text[KM_UDP_ADDR_TEXT_CAP];
  assert_true(km_udp_addr_format(&peer, text, sizeof text) > 0);
  km_sockaddr to;
  socklen_t len = km_sockaddr_set(&to, &peer);
  int fd = n.ms->sockets[0].udp.fd;
  uint8_t data[30];
  packet_fill(data, sizeof data, 0);
  for (unsigned round = 1; round <= 3; round++) {
    assert_int_equal(connect(fd, &to.sa, len), 0);
    close(raw);
    assert_int_equal(send(fd, data, sizeof data, 0), (ssize_t)sizeof data);
    unsigned calls = fault.recv_calls;
    WAIT_FOR(fault.recv_calls > calls);
    raw = raw_open(text, &again);
    raw_send(raw, node_addr(&n, 4), data, sizeof data);
    WAIT_FOR(n.count == round);
  }
  assert_int_equal(n.ms->sockets[0].state, KM_SOCKET_CURRENT);
  close(raw);
  node_close(&n);
}

static void a_dead_socket_is_replaced_by_rebinding(void **state) {
  (void)state;
  for (int by_send = 0; by_send <= 1; by_send++) {
    pair p;
    pair_open(&p);
    send_packets(&p, 1000, 1000, 0);
    WAIT_FOR(p.b.count == 1);
    if (by_send != 0) {
      fault.send_errno = EBADF;
      fault.send_fails = UINT_MAX;
      send_packets(&p, 1000, 1000, 1);
    } else {
      fault.recv_errno = EBADF;
      fault.recv_fails = UINT_MAX;
      km_magicsock_reply(p.b.ms, &p.b.packets[0].from, p.b.packets[0].data, 1000);
    }
    WAIT_FOR(p.a.ms->sockets[0].state == KM_SOCKET_DEAD);
    unsigned calls = fault.send_calls;
    send_packets(&p, 1000, 1000, 1);
    assert_int_equal(fault.send_calls, calls); /* nothing is tried on it */
    assert_int_equal(p.path->last_errno, EBADF);
    assert_true(km_path_can_send(p.a.ms, p.path));
    km_udp_addr to = node_addr(&p.b, 4), any = addr_of("127.0.0.1:0"), bound;
    km_path_key key;
    assert_int_equal(km_magicsock_bound(p.a.ms, &bound, 1), 0);
    assert_int_equal(km_magicsock_key(p.a.ms, &to, &key), KM_ERR_NO_NETWORK);
    fault.send_fails = fault.recv_fails = 0;
    assert_int_equal(km_magicsock_rebind(p.a.ms, &any, NULL), 0);
    km_path_unref(p.a.ms, p.path);
    assert_int_equal(p.a.ms->sockets[0].state, KM_SOCKET_FREE);
    p.path = path_to(&p.a, to);
    send_packets(&p, 1000, 1000, 1);
    WAIT_FOR(p.b.count == 2);
    pair_close(&p);
  }
}

/* Out of memory */

typedef struct oom {
  size_t calls, fail_at;
} oom;

static void *oom_alloc(void *ctx, size_t size) {
  oom *o = ctx;
  return ++o->calls == o->fail_at ? NULL : km_env_system.alloc(km_env_system.ctx, size);
}

static void *oom_realloc(void *ctx, void *ptr, size_t size) {
  oom *o = ctx;
  return ++o->calls == o->fail_at ? NULL : km_env_system.realloc(km_env_system.ctx, ptr, size);
}

static void oom_free(void *ctx, void *ptr) {
  (void)ctx;
  km_env_system.free(km_env_system.ctx, ptr);
}

static void oom_random(void *ctx, void *buf, size_t len) {
  (void)ctx;
  km_env_system.random(km_env_system.ctx, buf, len);
}

static km_env oom_env(oom *o) {
  return (km_env){
      .ctx = o, .alloc = oom_alloc, .realloc = oom_realloc, .free = oom_free, .random = oom_random};
}

static void every_failed_allocation_is_survived(void **state) {
  (void)state;
  for (size_t fail_at = 1;; fail_at++) {
    oom o = {.fail_at = fail_at};
    const km_env env = oom_env(&o);
    node_options options = faulty("127.0.0.1:0");
    options.env = &env;
    node n;
    km_errinfo err = {0};
    int rv = node_try(&n, &options, &err);
    if (rv != 0) {
      assert_int_equal(rv, KM_ERR_NOMEM);
      continue;
    }
    km_udp_addr to = addr_of("127.0.0.1:9");
    km_path_key key;
    km_path *path = NULL, *mixed = NULL;
    assert_int_equal(km_magicsock_key(n.ms, &to, &key), 0);
    int path_rv = km_magicsock_path(n.ms, &key, &path);
    int mixed_rv = km_mixed_new(n.ms, &key, 1, &mixed);
    fault.send_errno = EAGAIN;
    fault.send_fails = 1;
    if (path_rv == 0) {
      uint8_t data[100];
      packet_fill(data, sizeof data, 0);
      km_magicsock_send(n.ms, path, data, sizeof data, sizeof data, 0);
      if (o.calls == o.fail_at) { /* nowhere to keep it: lost, and nobody waits */
        assert_int_equal(path->last_errno, ENOMEM);
        assert_true(km_path_can_send(n.ms, path));
      }
      km_path_unref(n.ms, path);
    }
    if (mixed_rv == 0) {
      km_path_unref(n.ms, mixed);
    }
    bool failed = path_rv != 0 || mixed_rv != 0;
    assert_true(!failed || path_rv == KM_ERR_NOMEM || mixed_rv == KM_ERR_NOMEM);
    node_close(&n);
    if (o.calls < o.fail_at) {
      assert_false(failed);
      return;
    }
  }
}

static int run(const char *name, const km_udp_driver *with) {
  driver = with;
#define T(name) cmocka_unit_test_setup_teardown(name, node_setup, node_teardown)
  const struct CMUnitTest tests[] = {
      T(sockets_are_made_as_quic_wants_them),
      T(refused_binds_name_the_address),
      T(the_default_does_without_ipv6),
      T(every_option_but_one_is_a_bonus),
      T(gso_refused_mid_run_loses_nothing),
      T(no_call_carries_more_than_kernels_take),
      T(sends_that_take_less_than_asked),
      T(packets_too_long_do_not_cost_gso),
      T(a_batch_the_way_refuses_is_lost),
      T(an_error_of_an_earlier_packet_costs_nothing),
      T(a_signal_is_no_error),
      T(a_blocked_socket_keeps_one_batch),
      T(a_kept_batch_can_leave_in_parts),
      T(a_kept_batch_keeps_its_source_and_ecn),
      T(on_writable_may_send_and_block_again),
      T(a_mixed_path_can_send_while_one_target_can),
      T(a_full_queue_is_tried_again),
      T(a_queue_that_stays_full_is_given_up),
      T(leaving_a_blocked_socket_wakes_its_waiters),
      T(errors_on_receive_are_passed_over),
      T(a_socket_full_of_errors_cannot_hold_the_loop),
      T(a_socket_is_watched_on_after_an_error),
      T(a_dead_socket_is_replaced_by_rebinding),
      T(every_failed_allocation_is_survived),
  };
  return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void) {
  int failed = run("magicsock faults, portable driver", &km_udp_posix);
#if defined(__linux__)
  failed += run("magicsock faults, Linux driver", &km_udp_linux);
#endif
  return failed != 0;
}
