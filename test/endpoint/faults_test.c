/* Bad networks: loss, corruption, order, duplicates, silence, NATs that forget. */
#include "test/endpoint/tap.h"
#include "test/link/proxy_child.h"

enum { MIB = 1 << 20, LONG_S = 300 };

static void transfer(lab *l, lab_conn *c, uint64_t bytes) {
  lab_stream *s = lab_stream_open(c, true);
  lab_stream_send(s, bytes, true);
  LAB_WAIT_S(l, LONG_S, s->closed || c->closed > 0);
  if (c->closed > 0) {
    fail_msg("%s: %s", km_error_name(c->info.error), c->info.text);
  }
  assert_int_equal(s->error, 0);
  lab_expect_pattern(s, bytes);
}

/* The whole of it through the program, with its own sockets and signals: both ways, so that the
 * acknowledgements are lost, too. */
static void sixty_four_mebibytes_at_ten_percent_loss(void **state) {
  (void)state;
  lab l;
  proxy_child proxy;
  const char *const args[] = {"--loss", "10%", "--seed", "1", NULL};
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  proxy_child_start(&proxy, &server->addr, args);
  lab_conn *c = lab_connect(lab_endpoint_open(&l, NULL), server, &proxy.listen);
  transfer(&l, c, 64 * MIB);
  lab_close(&l);
  proxy_child_stop(&proxy);
  assert_true(proxy_child_stat(&proxy, "up", "lost") > 1000);
  assert_true(proxy_child_stat(&proxy, "down", "lost") > 1000);
}

static void transfer_over(const link_options *options, km_congestion congestion, uint64_t bytes) {
  lab l;
  km_endpoint_options opt;
  lab_open(&l);
  lab_options(&opt);
  opt.congestion = congestion;
  lab_endpoint *server = lab_server_open(&l, &opt, LAB_ECHO);
  lab_tap *tap = lab_tap_open(&l, &server->addr, options);
  lab_conn *c = lab_connect(lab_endpoint_open(&l, &opt), server, &tap->addr);
  transfer(&l, c, bytes);
  lab_close(&l);
}

static void corruption_is_repaired(void **state) {
  (void)state;
  link_options o;
  link_options_default(&o);
  o.corrupt = 0.05;
  transfer_over(&o, KM_CC_CUBIC, 8 * MIB);
}

static void reordering_is_repaired(void **state) {
  (void)state;
  link_options o;
  link_options_default(&o);
  o.reorder = 0.2;
  o.delay_ns = 2000000;
  transfer_over(&o, KM_CC_CUBIC, 8 * MIB);
}

static void duplicates_are_dropped(void **state) {
  (void)state;
  link_options o;
  link_options_default(&o);
  o.dup = 0.3;
  transfer_over(&o, KM_CC_CUBIC, 8 * MIB);
}

static void everything_at_once_under_each_congestion_control(void **state) {
  (void)state;
  static const km_congestion all[] = {KM_CC_CUBIC, KM_CC_BBR, KM_CC_RENO};
  link_options o;
  link_options_default(&o);
  o.loss = o.dup = o.corrupt = o.reorder = 0.02;
  o.delay_ns = 5000000;
  o.jitter_ns = 3000000;
  o.rate_bps = 200000000;
  for (size_t i = 0; i < 3; i++) {
    transfer_over(&o, all[i], 2 * MIB);
  }
}

static void many_connections_under_heavy_loss_come_about(void **state) {
  (void)state;
  enum { COUNT = 20 };
  lab l;
  km_endpoint_options opt;
  link_options o;
  link_options_default(&o);
  o.loss = 0.15;
  lab_open(&l);
  lab_options(&opt);
  opt.handshake_timeout_ms = 60000; /* backing off takes time */
  lab_endpoint *server = lab_server_open(&l, &opt, LAB_ECHO);
  for (int i = 0; i < COUNT; i++) {
    lab_tap *tap = lab_tap_open(&l, &server->addr, &o);
    tap->seed_up = (uint64_t)i * 2 + 100;
    tap->seed_down = (uint64_t)i * 2 + 101;
    lab_endpoint *client = i % 10 == 0 ? lab_endpoint_open(&l, &opt) : l.endpoints[i / 10 + 1];
    lab_conn *c = lab_connect(client, server, &tap->addr);
    lab_expect_echo(c, 20000);
  }
  lab_close(&l);
}

/* --- silence --------------------------------------------------------------------------------- */

static void a_vanished_peer_is_reported_within_the_idle_timeout(void **state) {
  (void)state;
  enum { IDLE_MS = 1500 };
  lab l;
  km_endpoint_options opt;
  lab_open(&l);
  lab_options(&opt);
  opt.idle_timeout_ms = IDLE_MS;
  opt.keep_alive_ms = 300;
  lab_endpoint *server = lab_server_open(&l, &opt, LAB_ECHO);
  lab_tap *tap = lab_tap_open(&l, &server->addr, NULL);
  lab_conn *c = lab_connect(lab_endpoint_open(&l, &opt), server, &tap->addr);
  lab_expect_echo(c, 10000);
  lab_run_for(&l, 2 * IDLE_MS); /* quiet, but kept alive */
  assert_int_equal(c->closed, 0);
  lab_tap_blackhole(tap, true);
  lab_stream *s = lab_stream_open(c, true);
  lab_stream_send(s, 100000, true);
  uint64_t from = lab_now_ms();
  lab_conn *other = server->accepted[0];
  LAB_WAIT(&l, c->closed > 0 && other->closed > 0);
  uint64_t took = lab_now_ms() - from;
  /* From the last packet that came, at most a keep-alive before; sending may start the timer anew
   * once (RFC 9000 section 10.1). */
  assert_in_range(took, IDLE_MS - 400, 2 * IDLE_MS + 500);
  assert_int_equal(c->info.error, KM_ERR_IDLE_TIMEOUT);
  assert_int_equal(other->info.error, KM_ERR_IDLE_TIMEOUT);
  assert_int_equal(c->info.origin, KM_CLOSE_LOCAL_TRANSPORT);
  assert_int_equal(s->error, KM_ERR_CLOSED);
  lab_close(&l);
}

static void a_short_silence_is_survived(void **state) {
  (void)state;
  lab l;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  lab_tap *tap = lab_tap_open(&l, &server->addr, NULL);
  lab_conn *c = lab_connect(lab_endpoint_open(&l, NULL), server, &tap->addr);
  lab_stream *s = lab_stream_open(c, true);
  lab_stream_send(s, 16 * MIB, true);
  LAB_WAIT(&l, s->received > MIB);
  lab_tap_blackhole(tap, true);
  lab_run_for(&l, 800);
  lab_tap_blackhole(tap, false);
  LAB_WAIT(&l, s->closed);
  lab_expect_pattern(s, 16 * MIB);
  lab_close(&l);
}

static void an_idle_connection_lives_by_its_keep_alive(void **state) {
  (void)state;
  enum { IDLE_MS = 600 };
  lab l;
  km_endpoint_options opt;
  lab_open(&l);
  lab_options(&opt);
  opt.idle_timeout_ms = IDLE_MS;
  opt.keep_alive_ms = 0;
  lab_endpoint *server = lab_server_open(&l, &opt, LAB_ECHO);
  lab_endpoint *client = lab_endpoint_open(&l, &opt);
  lab_conn *kept = lab_connect(client, server, NULL);
  lab_conn *quiet = lab_connect(client, server, NULL);
  km_conn_set_keep_alive(kept->conn, IDLE_MS / 4);
  LAB_WAIT(&l, quiet->closed > 0);
  assert_int_equal(quiet->info.error, KM_ERR_IDLE_TIMEOUT);
  lab_run_for(&l, 3 * IDLE_MS);
  assert_int_equal(kept->closed, 0);
  lab_expect_echo(kept, 1000);
  km_conn_set_keep_alive(kept->conn, 0);
  LAB_WAIT(&l, kept->closed > 0);
  assert_int_equal(kept->info.error, KM_ERR_IDLE_TIMEOUT);
  lab_close(&l);
}

/* --- NATs ------------------------------------------------------------------------------------ */

/* In the middle of a transfer the proxy moves its upstream socket, as a NAT that lost its table. */
static void a_nat_rebinding_is_survived(void **state) {
  (void)state;
  lab l;
  proxy_child proxy;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  const char *const args[] = {"--delay", "2", NULL};
  proxy_child_start(&proxy, &server->addr, args);
  lab_conn *c = lab_connect(lab_endpoint_open(&l, NULL), server, &proxy.listen);
  lab_stream *s = lab_stream_open(c, true);
  lab_stream_send(s, 32 * MIB, true);
  for (unsigned i = 1; i <= 3; i++) {
    LAB_WAIT(&l, s->received > (uint64_t)i * 4 * MIB);
    proxy_child_rebind(&proxy);
    LAB_WAIT(&l, server->accepted[0]->path_changes >= i);
  }
  LAB_WAIT(&l, s->closed);
  lab_expect_pattern(s, 32 * MIB);
  assert_int_equal(c->path_changes, 0); /* the client sees nothing of it */
  lab_close(&l);
  proxy_child_stop(&proxy);
  assert_int_equal(proxy_child_stat(&proxy, NULL, "rebinds"), 3);
}

static void an_idle_connection_survives_a_rebinding(void **state) {
  (void)state;
  lab l;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  lab_tap *tap = lab_tap_open(&l, &server->addr, NULL);
  lab_conn *c = lab_connect(lab_endpoint_open(&l, NULL), server, &tap->addr);
  lab_expect_echo(c, 1000);
  lab_tap_rebind(tap);
  lab_expect_echo(c, 100000);
  assert_int_equal(server->accepted[0]->path_changes, 1);
  lab_close(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sixty_four_mebibytes_at_ten_percent_loss),
      cmocka_unit_test(corruption_is_repaired),
      cmocka_unit_test(reordering_is_repaired),
      cmocka_unit_test(duplicates_are_dropped),
      cmocka_unit_test(everything_at_once_under_each_congestion_control),
      cmocka_unit_test(many_connections_under_heavy_loss_come_about),
      cmocka_unit_test(a_vanished_peer_is_reported_within_the_idle_timeout),
      cmocka_unit_test(a_short_silence_is_survived),
      cmocka_unit_test(an_idle_connection_lives_by_its_keep_alive),
      cmocka_unit_test(a_nat_rebinding_is_survived),
      cmocka_unit_test(an_idle_connection_survives_a_rebinding),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
