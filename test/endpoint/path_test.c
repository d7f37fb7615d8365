/* Ways to a peer: several addresses at once, moving to another, new sockets. */
#include <unistd.h>

#include "endpoint/conn_impl.h"
#include "test/endpoint/tap.h"

static km_udp_addr loopback(uint8_t family, uint8_t last) {
  km_udp_addr a = {.family = family};
  if (family == 4) {
    memcpy(a.ip, (uint8_t[]){127, 0, 0, last}, 4);
  } else {
    a.ip[15] = 1;
  }
  return a;
}

static bool has_ipv6(void) {
  lab l;
  km_endpoint_options opt;
  const km_udp_addr at = loopback(6, 1);
  km_endpoint *ep;
  lab_open(&l);
  lab_options(&opt);
  opt.bind = &at;
  bool has = km_endpoint_open(&ep, l.loop, &opt, NULL) == 0;
  if (has) {
    km_endpoint_close(ep);
    lab_run_for(&l, 50);
  }
  lab_close(&l);
  return has;
}

static void the_first_flight_goes_everywhere(void **state) {
  (void)state;
  lab l;
  km_udp_addr silent, closed;
  km_addr *addr;
  uint8_t buf[2048];
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  lab_endpoint *client = lab_endpoint_open(&l, NULL);
  int fd = raw_open(&silent), gone = raw_open(&closed);
  close(gone); /* the kernel says "connection refused" for this one */
  assert_int_equal(km_addr_new(&addr, km_endpoint_id(server->ep)), 0);
  assert_int_equal(km_addr_add_udp(addr, &closed), 0);
  assert_int_equal(km_addr_add_udp(addr, &silent), 0);
  assert_int_equal(km_addr_add_udp(addr, &server->addr), 0);
  uint64_t from = lab_now_ms();
  lab_conn *c = lab_dial_with(client, addr, LAB_ALPN, NULL);
  LAB_WAIT(&l, c->connected > 0 || c->closed > 0);
  assert_int_equal(c->closed, 0);
  assert_true(lab_now_ms() - from < 5000); /* nobody waited for the dead ones to time out */
  assert_true(raw_recv(fd, buf, sizeof buf, NULL) >= 1200); /* it was tried */
  lab_expect_echo(c, 500000);
  km_path_info path;
  assert_int_equal(km_conn_path(c->conn, &path), 0);
  assert_true(km_udp_addr_equal(&path.remote, &server->addr));
  lab_run_for(&l, 100);
  while (raw_recv(fd, buf, sizeof buf, NULL) > 0) {
  }
  lab_expect_echo(c, 100000);
  assert_int_equal(raw_recv(fd, buf, sizeof buf, NULL),
                   0); /* then only where the answer came from */
  km_addr_free(addr);
  close(fd);
  lab_close(&l);
}

static void all_addresses_of_a_full_list_are_tried(void **state) {
  (void)state;
  lab l;
  km_addr *addr;
  int fds[KM_ADDR_MAX_DIRECT];
  uint8_t buf[2048];
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  assert_int_equal(km_addr_new(&addr, km_endpoint_id(server->ep)), 0);
  for (size_t i = 0; i + 1 < KM_ADDR_MAX_DIRECT; i++) {
    km_udp_addr at;
    fds[i] = raw_open(&at);
    assert_int_equal(km_addr_add_udp(addr, &at), 0);
  }
  assert_int_equal(km_addr_add_udp(addr, &server->addr), 0);
  lab_conn *c = lab_dial_with(lab_endpoint_open(&l, NULL), addr, LAB_ALPN, NULL);
  LAB_WAIT(&l, c->connected > 0);
  lab_expect_echo(c, 1000);
  for (size_t i = 0; i + 1 < KM_ADDR_MAX_DIRECT; i++) {
    assert_true(raw_recv(fds[i], buf, sizeof buf, NULL) >= 1200);
    close(fds[i]);
  }
  km_addr_free(addr);
  lab_close(&l);
}

static void both_families_work(void **state) {
  (void)state;
  if (!has_ipv6()) {
    skip();
  }
  lab l;
  km_endpoint_options opt;
  const km_udp_addr v6 = loopback(6, 1);
  lab_open(&l);
  lab_options(&opt);
  opt.bind = &v6;
  lab_endpoint *server = lab_server_open(&l, &opt, LAB_ECHO);
  lab_endpoint *client = lab_endpoint_open(&l, &opt);
  lab_conn *c = lab_connect(client, server, NULL);
  lab_expect_echo(c, 100000);
  km_path_info path;
  assert_int_equal(km_conn_path(c->conn, &path), 0);
  assert_int_equal(path.remote.family, 6);
  km_addr *addr = lab_addr(server, NULL);
  km_errinfo err = {0};
  km_conn *conn;
  lab_endpoint *v4_only = lab_endpoint_open(&l, NULL);
  assert_int_equal(km_endpoint_dial(v4_only->ep, &conn, addr, LAB_ALPN, NULL, NULL, NULL, &err),
                   KM_ERR_NO_ADDRESS);
  assert_true(err.text[0] != '\0');
  km_addr_free(addr);
  lab_close(&l);
}

/* --- moving ---------------------------------------------------------------------------------- */

static void a_connection_moves_to_another_address(void **state) {
  (void)state;
  lab l;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  lab_tap *other_way = lab_tap_open(&l, &server->addr, NULL);
  lab_conn *c = lab_connect(lab_endpoint_open(&l, NULL), server, NULL);
  lab_stream *s = lab_stream_open(c, true);
  lab_stream_send(s, 32 << 20, true);
  LAB_WAIT(&l, s->received > 4 << 20);
  km_errinfo err = {0};
  int rv = km_conn_migrate(c->conn, &other_way->addr, &err);
  if (rv != 0) {
    fail_msg("%s: %s", km_error_name(rv), err.text);
  }
  LAB_WAIT(&l, c->path_changes == 1);
  assert_true(km_udp_addr_equal(&c->path.remote, &other_way->addr));
  assert_true(c->path.selected && c->path.validated);
  LAB_WAIT(&l, s->closed);
  lab_expect_pattern(s, 32 << 20);
  assert_true(server->accepted[0]->path_changes >= 1);
  km_conn_stats stats = {.size = sizeof stats};
  assert_int_equal(km_conn_get_stats(c->conn, &stats), 0);
  assert_int_equal(stats.migrations, 1);
  /* The first way may die now. */
  assert_int_equal(km_conn_migrate(server->accepted[0]->conn, &other_way->addr, &err),
                   KM_ERR_STATE); /* the dialling side decides */
  assert_true(err.text[0] != '\0');
  lab_expect_echo(c, 100000);
  lab_close(&l);
}

/* The way back was validated before: QUIC takes it at once, and nothing stays under test. */
static void a_connection_moves_back_at_once(void **state) {
  (void)state;
  lab l;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  lab_tap *ways[2] = {lab_tap_open(&l, &server->addr, NULL), lab_tap_open(&l, &server->addr, NULL)};
  lab_conn *c = lab_connect(lab_endpoint_open(&l, NULL), server, NULL);
  for (unsigned i = 0; i < 2; i++) {
    lab_expect_echo(c, 1000);
    LAB_WAIT(&l, km_conn_migrate(c->conn, &ways[i]->addr, NULL) == 0);
    assert_non_null(c->conn->probing);
    LAB_WAIT(&l, c->path_changes == i + 1);
    assert_null(c->conn->probing);
  }
  lab_expect_echo(c, 1000);
  LAB_WAIT(&l, km_conn_migrate(c->conn, &ways[0]->addr, NULL) == 0);
  assert_null(c->conn->probing);
  LAB_WAIT(&l, c->path_changes == 3);
  assert_true(km_udp_addr_equal(&c->path.remote, &ways[0]->addr));
  lab_expect_echo(c, 1000);
  lab_close(&l);
}

static void a_move_to_a_dead_address_does_not_hurt(void **state) {
  (void)state;
  lab l;
  km_udp_addr silent;
  km_path_info path;
  lab_open(&l);
  int fd = raw_open(&silent);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  lab_conn *c = lab_connect(lab_endpoint_open(&l, NULL), server, NULL);
  lab_expect_echo(c, 1000);
  assert_int_equal(km_conn_migrate(c->conn, &silent, NULL), 0);
  lab_expect_echo(c, 8 << 20);
  lab_run_for(&l, 1500);
  lab_expect_echo(c, 1000);
  assert_int_equal(km_conn_path(c->conn, &path), 0);
  assert_true(km_udp_addr_equal(&path.remote, &server->addr));
  assert_int_equal(c->path_changes, 0);
  close(fd);
  lab_close(&l);
}

static void a_fresh_socket_takes_the_connections_over(void **state) {
  (void)state;
  lab l;
  lab_open(&l);
  const km_udp_addr at = loopback(4, 1);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  lab_endpoint *client = lab_endpoint_open(&l, NULL);
  lab_conn *c = lab_connect(client, server, NULL);
  lab_stream *s = lab_stream_open(c, true);
  lab_stream_send(s, 32 << 20, true);
  for (unsigned i = 1; i <= 3; i++) {
    LAB_WAIT(&l, s->received > (uint64_t)i * 4 << 20);
    assert_int_equal(km_endpoint_rebind(client->ep, &at, NULL), 0);
    LAB_WAIT(&l, c->path_changes >= i);
    assert_false(km_udp_addr_equal(&c->path.local, &client->addr));
  }
  LAB_WAIT(&l, s->closed);
  lab_expect_pattern(s, 32 << 20);
  lab_expect_echo(lab_connect(client, server, NULL), 1000);
  lab_close(&l);
}

static void accepted_connections_survive_a_rebind_of_the_server(void **state) {
  (void)state;
  lab l;
  lab_open(&l);
  const km_udp_addr at = loopback(4, 1);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  lab_conn *c = lab_connect(lab_endpoint_open(&l, NULL), server, NULL);
  assert_int_equal(km_endpoint_rebind(server->ep, &at, NULL), 0);
  lab_expect_echo(c, 1 << 20);
  lab_close(&l);
}

/* A client that changes its port all the time makes the server keep a bounded number of paths. */
static void paths_of_a_connection_are_bounded(void **state) {
  (void)state;
  enum { MOVES = 30, MAX_PATHS = 8 };
  lab l;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  lab_tap *tap = lab_tap_open(&l, &server->addr, NULL);
  lab_conn *c = lab_connect(lab_endpoint_open(&l, NULL), server, &tap->addr);
  for (int i = 0; i < MOVES; i++) {
    lab_tap_rebind(tap);
    lab_expect_echo(c, 3000);
    assert_true(lab_stats(server).paths <= MAX_PATHS);
  }
  assert_true(server->accepted[0]->path_changes >= MOVES / 2);
  lab_close(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_first_flight_goes_everywhere),
      cmocka_unit_test(all_addresses_of_a_full_list_are_tried),
      cmocka_unit_test(both_families_work),
      cmocka_unit_test(a_connection_moves_to_another_address),
      cmocka_unit_test(a_connection_moves_back_at_once),
      cmocka_unit_test(a_move_to_a_dead_address_does_not_hurt),
      cmocka_unit_test(a_fresh_socket_takes_the_connections_over),
      cmocka_unit_test(accepted_connections_survive_a_rebind_of_the_server),
      cmocka_unit_test(paths_of_a_connection_are_bounded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
