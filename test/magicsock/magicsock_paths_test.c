/* Paths over real sockets on loopback: their limit, re-bound sockets, mixed paths; each test with
 * both socket drivers. */
#include "test/magicsock/node.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static const km_udp_driver *driver;

static node_options on(const char *bind) {
  return (node_options){.bind = {bind}, .driver = driver};
}

/* Paths */

static void paths_are_limited(void **state) {
  (void)state;
  node n;
  node_options o = on("127.0.0.1:0");
  o.max_paths = 3;
  node_open(&n, &o);
  km_path *paths[3], *more;
  km_udp_addr to = addr_of("127.0.0.1:1000");
  km_path_key key;
  for (size_t i = 0; i < 3; i++) {
    to.port++;
    paths[i] = path_to(&n, to);
  }
  assert_int_equal(km_magicsock_path_count(n.ms), 3);
  assert_ptr_equal(path_to(&n, to), paths[2]); /* one that is there is no new one */
  km_path_unref(n.ms, paths[2]);
  to.port++;
  assert_int_equal(km_magicsock_key(n.ms, &to, &key), 0);
  assert_int_equal(km_magicsock_path(n.ms, &key, &more), KM_ERR_LIMIT);
  assert_int_equal(km_mixed_new(n.ms, &key, 1, &more), KM_ERR_LIMIT);
  assert_int_equal(km_magicsock_path_count(n.ms), 3);
  km_path_unref(n.ms, paths[0]);
  assert_int_equal(km_mixed_new(n.ms, &key, 1, &more),
                   KM_ERR_LIMIT); /* no room for the candidate */
  assert_int_equal(km_magicsock_path_count(n.ms), 2);
  assert_int_equal(km_magicsock_path(n.ms, &key, &more), 0);
  km_path_unref(n.ms, more);
  km_path_unref(n.ms, paths[1]);
  km_path_unref(n.ms, paths[2]);
  node_close(&n);
}

static void without_relays_there_are_no_relay_paths(void **state) {
  (void)state;
  node n;
  node_options o = on("127.0.0.1:0");
  node_open(&n, &o);
  km_path_key key;
  memset(&key, 0, sizeof key);
  key.way = KM_WAY_RELAY;
  key.peer.bytes[0] = 1;
  km_path *path;
  const char *home;
  assert_int_equal(km_magicsock_path(n.ms, &key, &path), KM_ERR_CLOSED);
  assert_int_equal(km_magicsock_relay_key(n.ms, "http://relay.example/", &key.peer, &key),
                   KM_ERR_NO_NETWORK);
  assert_int_equal(km_magicsock_home(n.ms, &home, 1), 0);
  assert_null(km_magicsock_relay_url(n.ms, &key));
  km_magicsock_network_changed(n.ms);
  uint8_t data[40];
  packet_fill(data, sizeof data, 0);
  km_magicsock_reply(n.ms, &key, data, sizeof data);
  assert_int_equal(node_stats(&n).tx_packets, 0);
  node_close(&n);
}

/* Rebinding */

static void old_sockets_live_as_long_as_their_paths(void **state) {
  (void)state;
  node a, b;
  node_options o = on("127.0.0.1:0");
  node_open(&a, &o);
  node_open(&b, &o);
  km_udp_addr first = node_addr(&a, 4), any = addr_of("127.0.0.1:0"), bound[2];
  km_path *old = path_to(&a, node_addr(&b, 4));
  km_path_key old_key = old->key;
  km_errinfo err = {0};
  assert_int_equal(km_magicsock_rebind(a.ms, &any, &err), 0);
  assert_int_equal(km_magicsock_bound(a.ms, bound, 2), 1);
  assert_false(km_udp_addr_equal(&bound[0], &first));

  km_path *fresh = path_to(&a, node_addr(&b, 4));
  assert_ptr_not_equal(fresh, old);
  assert_int_not_equal(fresh->index, old->index);
  assert_int_not_equal(km_path_index_of(&fresh->local.sa, KM_PATH_LOCAL_LEN),
                       km_path_index_of(&old->local.sa, KM_PATH_LOCAL_LEN));

  /* Both work, each from its own port and both ways. */
  uint8_t data[64];
  packet_fill(data, sizeof data, 3);
  km_magicsock_send(a.ms, old, data, sizeof data, sizeof data, 0);
  WAIT_FOR(b.count == 1);
  km_magicsock_send(a.ms, fresh, data, sizeof data, sizeof data, 0);
  WAIT_FOR(b.count == 2);
  assert_true(km_udp_addr_equal(&b.packets[0].from.remote, &first));
  assert_true(km_udp_addr_equal(&b.packets[1].from.remote, &bound[0]));
  km_magicsock_reply(b.ms, &b.packets[0].from, data, sizeof data);
  WAIT_FOR(a.count == 1);
  assert_ptr_equal(km_magicsock_find(a.ms, &a.packets[0].from), old);
  km_magicsock_reply(b.ms, &b.packets[1].from, data, sizeof data);
  WAIT_FOR(a.count == 2);
  assert_ptr_equal(km_magicsock_find(a.ms, &a.packets[1].from), fresh);

  /* With its last path the old one goes: its port is free, its key is dead. */
  km_path_ref(old);
  km_path_unref(a.ms, old);
  assert_int_equal(km_magicsock_rebind(a.ms, &first, NULL), KM_ERR_ADDR_IN_USE);
  km_path_unref(a.ms, old);
  km_path *none;
  assert_int_equal(km_magicsock_path(a.ms, &old_key, &none), KM_ERR_CLOSED);
  km_magicsock_reply(a.ms, &old_key, data, sizeof data); /* goes nowhere */
  assert_int_equal(km_magicsock_rebind(a.ms, &first, &err), 0);
  /* The slot is used again, and yet the old key does not fit it. */
  assert_int_equal(km_magicsock_path(a.ms, &old_key, &none), KM_ERR_CLOSED);
  km_path_unref(a.ms, fresh);
  node_close(&a);
  node_close(&b);
}

static void rebinding_one_family_leaves_the_other(void **state) {
  (void)state;
  if (!have_ipv6()) {
    skip();
  }
  node n;
  node_options o = {.bind = {"127.0.0.1:0", "127.0.0.2:0", "[::1]:0"}, .driver = driver};
  node_open(&n, &o);
  km_udp_addr before[4], after[4], any = addr_of("127.0.0.1:0");
  assert_int_equal(km_magicsock_bound(n.ms, before, 4), 3);
  assert_int_equal(km_magicsock_rebind(n.ms, &any, NULL), 0);
  assert_int_equal(km_magicsock_bound(n.ms, after, 4), 2);
  bool kept = km_udp_addr_equal(&after[0], &before[2]) || km_udp_addr_equal(&after[1], &before[2]);
  assert_true(kept);
  node_close(&n);
}

static void sockets_are_limited(void **state) {
  (void)state;
  node n;
  node_options o = on("127.0.0.1:0");
  node_open(&n, &o);
  km_path *paths[KM_MAGICSOCK_MAX_SOCKETS];
  km_udp_addr to = addr_of("127.0.0.1:4000"), any = addr_of("127.0.0.1:0");
  for (size_t i = 0; i < KM_MAGICSOCK_MAX_SOCKETS; i++) {
    paths[i] = path_to(&n, to);
    km_errinfo err = {0};
    int rv = km_magicsock_rebind(n.ms, &any, &err);
    assert_int_equal(rv, i + 1 < KM_MAGICSOCK_MAX_SOCKETS ? 0 : KM_ERR_LIMIT);
    assert_int_equal(err.text[0] != '\0', rv != 0);
  }
  km_path_unref(n.ms, paths[3]);
  assert_int_equal(km_magicsock_rebind(n.ms, &any, NULL), 0);
  for (size_t i = 0; i < KM_MAGICSOCK_MAX_SOCKETS; i++) {
    if (i != 3) {
      km_path_unref(n.ms, paths[i]);
    }
  }
  km_udp_addr bound[2];
  assert_int_equal(km_magicsock_bound(n.ms, bound, 2), 1);
  node_close(&n);
}

/* Drops the last path of the very socket whose packets are being handed over. */
static void rebind_and_leave(node *n, const km_rx_batch *rx) {
  (void)rx;
  km_path **path = n->ctx;
  if (*path == NULL) {
    return;
  }
  km_udp_addr any = addr_of("127.0.0.1:0");
  assert_int_equal(km_magicsock_rebind(n->ms, &any, NULL), 0);
  km_path_unref(n->ms, *path);
  *path = NULL;
}

static void a_socket_may_be_left_while_it_is_read(void **state) {
  (void)state;
  node n;
  node_options o = on("127.0.0.1:0");
  node_open(&n, &o);
  km_udp_addr own, first = node_addr(&n, 4);
  int fd = raw_open("127.0.0.1:0", &own);
  km_path *path = path_to(&n, own);
  n.ctx = &path;
  n.on_rx = rebind_and_leave;
  uint8_t data[30];
  for (uint32_t i = 0; i < 20; i++) {
    packet_fill(data, sizeof data, i);
    raw_send(fd, first, data, sizeof data);
  }
  WAIT_FOR(n.done_calls == 1);
  packets_expect(&n, 20 * sizeof data, sizeof data, 0);         /* what had come is not lost */
  assert_int_equal(km_magicsock_rebind(n.ms, &first, NULL), 0); /* it has gone since */
  close(fd);
  node_close(&n);
}

/* Mixed paths */

static void mixed_goes_everywhere_until_one_answers(void **state) {
  (void)state;
  enum { PEERS = 3 };
  node n;
  node_options o = on("127.0.0.1:0");
  node_open(&n, &o);
  int fds[PEERS + 1];
  km_udp_addr addrs[PEERS + 1];
  km_path_key keys[PEERS + 1];
  for (size_t i = 0; i < PEERS + 1; i++) {
    fds[i] = raw_open("127.0.0.1:0", &addrs[i]);
    assert_int_equal(km_magicsock_key(n.ms, &addrs[i], &keys[i]), 0);
  }
  km_path *mixed;
  assert_int_equal(km_mixed_new(n.ms, keys, PEERS, &mixed), 0);
  assert_int_equal(km_mixed_count(mixed), PEERS);
  assert_int_equal(km_magicsock_path_count(n.ms), PEERS + 1);
  assert_int_equal(mixed->key.way, KM_WAY_MIXED);
  assert_int_equal(km_mixed_add(n.ms, mixed, &keys[1]), 0); /* known */
  assert_int_equal(km_mixed_count(mixed), PEERS);
  assert_int_equal(km_mixed_add(n.ms, mixed, &keys[PEERS]), 0);
  assert_int_equal(km_mixed_count(mixed), PEERS + 1);
  assert_null(km_mixed_at(mixed, PEERS + 1));

  uint8_t data[2 * 900], got[1000];
  packets_fill(data, sizeof data, 900, 0);
  km_magicsock_send(n.ms, mixed, data, sizeof data, 900, 0);
  for (size_t i = 0; i < PEERS + 1; i++) {
    for (size_t k = 0; k < 2; k++) {
      assert_int_equal(raw_recv(fds[i], got, sizeof got, NULL), 900);
      assert_memory_equal(got, data + k * 900, 900);
    }
  }

  raw_send(fds[2], node_addr(&n, 4), data, 900);
  WAIT_FOR(n.count == 1);
  km_path *answered = km_mixed_candidate(mixed, &n.packets[0].from);
  assert_non_null(answered);
  assert_true(km_udp_addr_equal(&answered->key.remote, &addrs[2]));
  assert_null(km_mixed_current(mixed));
  km_mixed_answered(mixed, answered);
  assert_ptr_equal(km_mixed_current(mixed), answered);
  packet_fill(data, 100, 50);
  km_magicsock_send(n.ms, mixed, data, 100, 100, 0);
  km_mixed_answered(mixed, NULL);
  packet_fill(data + 100, 101, 51);
  km_magicsock_send(n.ms, mixed, data + 100, 101, 101, 0);
  for (size_t i = 0; i < PEERS + 1; i++) {
    if (i == 2) {
      assert_int_equal(raw_recv(fds[i], got, sizeof got, NULL), 100);
    }
    assert_int_equal(raw_recv(fds[i], got, sizeof got, NULL), 101);
  }
  assert_int_equal(mixed->tx_packets, 4);
  assert_int_equal(answered->tx_packets, 4);
  assert_int_equal(km_mixed_at(mixed, 0)->tx_packets, 3);

  /* A candidate that became a path of its own outlives the mixed one. */
  km_path_ref(answered);
  km_path_unref(n.ms, mixed);
  assert_int_equal(km_magicsock_path_count(n.ms), 1);
  km_path_unref(n.ms, answered);
  for (size_t i = 0; i < PEERS + 1; i++) {
    close(fds[i]);
  }
  node_close(&n);
}

static void mixed_is_limited_and_cleans_up(void **state) {
  (void)state;
  node n;
  node_options o = on("127.0.0.1:0");
  node_open(&n, &o);
  km_path_key keys[KM_MIXED_MAX_CANDIDATES + 1];
  km_udp_addr to = addr_of("127.0.0.1:1000");
  for (size_t i = 0; i <= KM_MIXED_MAX_CANDIDATES; i++) {
    to.port++;
    assert_int_equal(km_magicsock_key(n.ms, &to, &keys[i]), 0);
  }
  km_path *mixed;
  assert_int_equal(km_mixed_new(n.ms, keys, KM_MIXED_MAX_CANDIDATES + 1, &mixed), KM_ERR_LIMIT);
  assert_int_equal(km_magicsock_path_count(n.ms), 0);
  assert_int_equal(km_mixed_new(n.ms, keys, KM_MIXED_MAX_CANDIDATES, &mixed), 0);
  assert_int_equal(km_mixed_add(n.ms, mixed, &keys[KM_MIXED_MAX_CANDIDATES]), KM_ERR_LIMIT);
  assert_int_equal(km_magicsock_path_count(n.ms), KM_MIXED_MAX_CANDIDATES + 1);
  km_path_unref(n.ms, mixed);
  assert_int_equal(km_magicsock_path_count(n.ms), 0);

  /* One dead key: nothing is left behind. */
  keys[2].socket_generation++;
  assert_int_equal(km_mixed_new(n.ms, keys, 4, &mixed), KM_ERR_CLOSED);
  assert_int_equal(km_magicsock_path_count(n.ms), 0);

  /* None yet: candidates come later. */
  assert_int_equal(km_mixed_new(n.ms, NULL, 0, &mixed), 0);
  assert_true(km_path_can_send(n.ms, mixed));
  uint8_t data[20];
  packet_fill(data, sizeof data, 0);
  km_magicsock_send(n.ms, mixed, data, sizeof data, sizeof data, 0);
  assert_int_equal(mixed->last_errno, ENETUNREACH);
  km_path_unref(n.ms, mixed);
  node_close(&n);
}

static size_t received(int fd) {
  uint8_t got[100];
  size_t count = 0;
  while (recv(fd, got, sizeof got, MSG_DONTWAIT) > 0) {
    count++;
  }
  return count;
}

/* Nobody vouches for the second one. */
static void a_candidate_may_have_an_allowance(void **state) {
  (void)state;
  enum { ALLOWANCE = 5, LEN = 40 };
  node n;
  node_options o = on("127.0.0.1:0");
  km_udp_addr at[3];
  km_path_key keys[3];
  int fd[3];
  uint8_t data[2 * LEN];
  km_path *mixed;
  node_open(&n, &o);
  for (int i = 0; i < 3; i++) {
    fd[i] = raw_open("127.0.0.1:0", &at[i]);
    assert_int_equal(km_magicsock_key(n.ms, &at[i], &keys[i]), 0);
  }
  assert_int_equal(km_mixed_new(n.ms, keys, 1, &mixed), 0);
  assert_int_equal(km_mixed_add_stranger(n.ms, mixed, &keys[1], ALLOWANCE), 0);
  assert_int_equal(km_mixed_allowance(mixed, &keys[0]), KM_MIXED_UNLIMITED);
  assert_int_equal(km_mixed_allowance(mixed, &keys[1]), ALLOWANCE);
  km_mixed_grows(n.ms, mixed, true);
  packets_fill(data, sizeof data, LEN, 0);
  for (int i = 0; i < 4; i++) { /* two packets each time */
    km_magicsock_send(n.ms, mixed, data, sizeof data, LEN, 0);
  }
  assert_int_equal(received(fd[0]), 8);
  assert_int_equal(received(fd[1]), 4); /* a batch goes there whole or not at all */
  assert_int_equal(km_mixed_allowance(mixed, &keys[1]), 1);
  /* What a later one is sent at once counts too. */
  assert_int_equal(km_mixed_add_stranger(n.ms, mixed, &keys[2], 3), 0);
  assert_int_equal(received(fd[2]), 2);
  assert_int_equal(km_mixed_allowance(mixed, &keys[2]), 1);
  km_mixed_allow(mixed, &keys[1], KM_MIXED_UNLIMITED);
  km_magicsock_send(n.ms, mixed, data, sizeof data, LEN, 0);
  assert_int_equal(received(fd[1]), 2);
  assert_int_equal(received(fd[2]), 0);
  assert_true(km_mixed_remove(n.ms, mixed, &keys[2]));
  assert_false(km_mixed_remove(n.ms, mixed, &keys[2]));
  assert_int_equal(km_mixed_count(mixed), 2);
  km_mixed_answered(mixed, km_mixed_candidate(mixed, &keys[1]));
  assert_false(km_mixed_remove(n.ms, mixed, &keys[1])); /* the one that answered stays */
  km_path_unref(n.ms, mixed);
  assert_int_equal(km_magicsock_path_count(n.ms), 0);
  for (int i = 0; i < 3; i++) {
    close(fd[i]);
  }
  node_close(&n);
}

/* Of all mixed paths together. */
static void strangers_are_sent_so_much_a_second(void **state) {
  (void)state;
  enum { LEN = 40, MORE = 200 };
  node n;
  node_options o = on("127.0.0.1:0");
  km_udp_addr at;
  km_path_key key;
  uint8_t data[LEN];
  km_path *mixed[2];
  size_t count = 0;
  node_open(&n, &o);
  int fd = raw_open("127.0.0.1:0", &at);
  assert_int_equal(km_magicsock_key(n.ms, &at, &key), 0);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(km_mixed_new(n.ms, NULL, 0, &mixed[i]), 0);
    assert_int_equal(km_mixed_add_stranger(n.ms, mixed[i], &key, 2 * KM_STRANGERS_BURST), 0);
  }
  packet_fill(data, sizeof data, 0);
  km_ts begin = km_clock_now();
  for (int i = 0; i < KM_STRANGERS_BURST / 2 + MORE; i++) {
    for (int k = 0; k < 2; k++) {
      km_magicsock_send(n.ms, mixed[k], data, sizeof data, sizeof data, 0);
      count += received(fd);
    }
  }
  uint64_t since = (km_clock_now() - begin) * KM_STRANGERS_PER_SECOND / KM_NS_PER_S;
  assert_true(count >= KM_STRANGERS_BURST);
  assert_true(count <= KM_STRANGERS_BURST + since + 1);
  for (int k = 0; k < 2; k++) {
    km_path_unref(n.ms, mixed[k]);
  }
  close(fd);
  node_close(&n);
}

static int run(const char *name, const km_udp_driver *with) {
  driver = with;
#define T(name) cmocka_unit_test_setup_teardown(name, node_setup, node_teardown)
  const struct CMUnitTest tests[] = {
      T(paths_are_limited),
      T(without_relays_there_are_no_relay_paths),
      T(old_sockets_live_as_long_as_their_paths),
      T(rebinding_one_family_leaves_the_other),
      T(sockets_are_limited),
      T(a_socket_may_be_left_while_it_is_read),
      T(mixed_goes_everywhere_until_one_answers),
      T(mixed_is_limited_and_cleans_up),
      T(a_candidate_may_have_an_allowance),
      T(strangers_are_sent_so_much_a_second),
  };
  return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void) {
  int failed = run("magicsock paths, portable driver", &km_udp_posix);
#if defined(__linux__)
  failed += run("magicsock paths, Linux driver", &km_udp_linux);
#endif
  return failed != 0;
}
