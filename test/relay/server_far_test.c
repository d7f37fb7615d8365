/* Clients that are far away by what TCP has measured, which is made up here: the server gives them
 * more time, and that has bounds. */
#include "relay/ping.h"
#include "test/relay/server_lab.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#define MS KM_NS_PER_MS

static uint32_t rtt_us; /* of all connections */

int __real_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *len);

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *len) {
  int rv = __real_getsockopt(fd, level, name, value, len);
  if (rv == 0 && level == IPPROTO_TCP && name == TCP_INFO) {
    ((struct tcp_info *)value)->tcpi_rtt = rtt_us;
  }
  return rv;
}

/* How long a connection is left alone that says nothing. */
static uint64_t time_to_log_in(uint32_t timeout_ms) {
  lab_server server;
  lab_raw silent = {0};
  lab_server_init(&server);
  server.config.limits.establish_timeout_ms = timeout_ms;
  lab_server_open(&server);
  km_ts before = km_clock_now();
  lab_raw_open(&silent, server.port, 0);
  lab_raw_await_end(&silent);
  uint64_t took = km_clock_now() - before;
  LAB_WAIT_FOR(lab_stats(&server).timeouts_establish == 1);
  lab_raw_close(&silent);
  lab_server_close(&server);
  return took;
}

static void a_login_has_six_round_trips(void **state) {
  (void)state;
  rtt_us = 500000;
  assert_true(time_to_log_in(200) >= 2990 * MS);
  rtt_us = 10; /* and what is configured, where that is more */
  assert_true(time_to_log_in(200) >= 190 * MS);
}

/* Whoever makes TCP believe in an hour has no hour. */
static void a_login_has_ninety_seconds_at_most(void **state) {
  (void)state;
  assert_int_equal(km_relay_patience(30 * KM_NS_PER_S, 6, UINT32_MAX * UINT64_C(1000),
                                     KM_RELAY_SERVER_ESTABLISH_MAX),
                   90 * KM_NS_PER_S);
}

/* Sends to one that does not read until something waits for it, then how long that does. */
static uint64_t time_to_take_something(uint32_t timeout_ms) {
  lab_server server;
  lab_raw deaf = {0}, sender = {0};
  static uint8_t data[20000];
  lab_server_init(&server);
  server.config.limits.write_timeout_ms = timeout_ms;
  lab_server_open(&server);
  lab_raw_login(&deaf, server.port, KM_RELAY_V2);
  lab_raw_login(&sender, server.port, KM_RELAY_V2);
  lab_raw_deaf(&deaf);
  while (lab_stats(&server).queued_bytes == 0) {
    assert_true(lab_raw_send(&sender, (km_relay_frame){.type = KM_RELAY_TO_RELAY,
                                                       .peer = deaf.id,
                                                       .data = data,
                                                       .len = sizeof data}));
    km_loop_run_once(lab_loop, 0);
  }
  km_ts before = km_clock_now();
  LAB_WAIT_FOR(lab_stats(&server).timeouts_write == 1);
  uint64_t took = km_clock_now() - before;
  lab_raw_close(&deaf);
  lab_raw_close(&sender);
  lab_server_close(&server);
  return took;
}

static void what_is_written_has_three(void **state) {
  (void)state;
  rtt_us = 1000000;
  assert_true(time_to_take_something(200) >= 2000 * MS);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_login_has_six_round_trips),
      cmocka_unit_test(a_login_has_ninety_seconds_at_most),
      cmocka_unit_test(what_is_written_has_three),
  };
  return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
