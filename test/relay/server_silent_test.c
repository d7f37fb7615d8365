/* Clients that fall silent: the server pings them after 16 to 20 s and waits 5 s, so this takes a
 * while; all of them are tried at once. */
#include "test/relay/server_lab.h"

#include <sys/socket.h>
#include <unistd.h>

/* Looks for a ping among what came. */
static bool was_pinged(lab_raw *r, uint8_t pong[9]) {
  unsigned opcode;
  const uint8_t *msg;
  size_t len;
  while (r->rx_len > 0 && lab_raw_next(r, &opcode, &msg, &len)) {
    if (msg[0] == KM_RELAY_PING) {
      memcpy(pong, msg, 9);
      pong[0] = KM_RELAY_PONG;
      return true;
    }
  }
  return false;
}

/* Ten seconds' worth of its rate, and the pong behind it: that it is not heard in time is not its
 * fault. */
static void answer_behind_a_burst(lab_raw *r, const km_id *to, const uint8_t pong[9]) {
  static uint8_t data[1000];
  for (int i = 0; i < 80; i++) {
    assert_true(lab_raw_send(
        r, (km_relay_frame){
               .type = KM_RELAY_TO_RELAY, .peer = *to, .data = data, .len = sizeof data}));
  }
  assert_true(lab_raw_frame(r, 0x82, pong, 9));
}

static void half_open_connections_are_found_out(void **state) {
  (void)state;
  lab_server server;
  lab_raw gone = {0}, partial = {0}, alive = {0}, limited = {0};
  lab_client real = {0};
  char url[256];
  uint8_t pong[9];
  unsigned pings = 0;
  bool answered = false;
  lab_server_init(&server);
  server.config.limits.rx_bytes_per_second = 8000;
  server.config.limits.rx_burst = 1000;
  lab_server_open(&server);
  lab_client_open(&real, NULL, NULL);
  lab_client_dial(&real, lab_url(url, "http", "127.0.0.1", server.port));
  km_ts before = km_clock_now();
  lab_raw_login(&gone, server.port, KM_RELAY_V2);
  lab_raw_login(&partial, server.port, KM_RELAY_V2);
  lab_raw_login(&alive, server.port, KM_RELAY_V2);
  lab_raw_login(&limited, server.port, KM_RELAY_V2);
  assert_true(lab_raw_frame(&partial, 0x02, "\x04 a message that never ends", 27));
  while (!gone.ended || !partial.ended || pings == 0 || lab_stats(&server).pongs_rx < 2) {
    assert_true(km_clock_now() - before < 120 * KM_NS_PER_S);
    assert_false(limited.ended);
    km_loop_run_once(lab_loop, 50);
    if (was_pinged(&alive, pong)) {
      assert_true(lab_raw_frame(&alive, 0x82, pong, 9));
      pings++;
    }
    if (!answered && was_pinged(&limited, pong)) {
      answer_behind_a_burst(&limited, &alive.id, pong);
      answered = true;
    }
  }
  assert_true(km_clock_now() - before >= 20 * KM_NS_PER_S);
  km_relay_server_stats stats = lab_stats(&server);
  assert_int_equal(stats.timeouts_ping, 2);
  assert_int_equal(stats.disconnects, 2);
  assert_int_equal(stats.clients, 3);
  assert_int_equal(stats.datagrams, 80);
  assert_true(stats.rate_limited >= 1);
  assert_true(stats.pings_tx >= 4);
  assert_false(alive.ended);
  assert_int_equal(real.states[KM_RELAY_CLIENT_WAITING], 0);
  lab_client_close(&real);
  lab_raw_close(&gone);
  lab_raw_close(&partial);
  lab_raw_close(&alive);
  lab_raw_close(&limited);
  lab_server_close(&server);
}

/* One that never catches up, but reads, is left alone however long that takes. */
static void who_reads_slowly_stays(void **state) {
  (void)state;
  lab_server server;
  lab_raw slow = {0}, sender = {0};
  static uint8_t data[20000], sink[400000]; /* 512 of them are more than a socket takes at once */
  lab_server_init(&server);
  server.config.limits.write_timeout_ms = 4000;
  lab_server_open(&server);
  lab_raw_login(&slow, server.port, KM_RELAY_V2);
  lab_raw_login(&sender, server.port, KM_RELAY_V2);
  lab_raw_deaf(&slow); /* from here on it is read by hand */
  km_ts end = km_clock_now() + 10 * KM_NS_PER_S;
  while (km_clock_now() < end) {
    uint64_t dropped = lab_stats(&server).dropped_full;
    while (lab_stats(&server).dropped_full == dropped) { /* its queue is always full */
      assert_true(lab_raw_send(&sender, (km_relay_frame){.type = KM_RELAY_TO_RELAY,
                                                         .peer = slow.id,
                                                         .data = data,
                                                         .len = sizeof data}));
      km_loop_run_once(lab_loop, 0);
      assert_int_equal(lab_stats(&server).clients, 2);
    }
    assert_true(recv(slow.fd, sink, sizeof sink, MSG_DONTWAIT) > 0);
    usleep(50000);
  }
  assert_int_equal(lab_stats(&server).timeouts_write, 0);
  assert_int_equal(lab_stats(&server).clients, 2);
  LAB_WAIT_FOR(lab_stats(&server).timeouts_write == 1); /* when it stops */
  lab_raw_close(&slow);
  lab_raw_close(&sender);
  lab_server_close(&server);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(half_open_connections_are_found_out),
      cmocka_unit_test(who_reads_slowly_stays),
  };
  return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
