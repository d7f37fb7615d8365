/* Waiting for a relay: a real one, on a loop of this thread. */
#include <keymesh/loop.h>
#include <stdio.h>

#include "base/env.h"
#include "relay/server.h"
#include "test/blocking/pair.h"

typedef struct waiter {
  km_blocking *b;
  int timeout_ms;
  atomic_bool done;
} waiter;

static int wait_online(void *arg) {
  waiter *w = arg;
  km_errinfo err;
  int rv = km_blocking_wait_online(w->b, w->timeout_ms, &err);
  atomic_store(&w->done, true);
  return rv;
}

static km_relay_server *relay_open(km_loop *loop, char url[64]) {
  km_errinfo err;
  km_udp_addr bound;
  km_relay_server *s;
  const km_udp_addr at = {.family = 4, .ip = {127, 0, 0, 1}};
  km_relay_server_config config = {.env = &km_env_system,
                                   .loop = loop,
                                   .http = &at,
                                   .http_count = 1,
                                   .relay_over_http = true,
                                   .version = "test"};
  km_relay_server_limits_default(&config.limits);
  assert_int_equal(km_relay_server_new(&s, &config, &err), 0);
  assert_int_equal(km_relay_server_bound(s, &bound, 1), 1);
  (void)snprintf(url, 64, "http://127.0.0.1:%u/", (unsigned)bound.port);
  return s;
}

static void test_an_endpoint_comes_online(void **state) {
  (void)state;
  km_loop *loop;
  km_addr *addr;
  char url[64];
  km_errinfo err;
  task t;
  waiter w = {.timeout_ms = PATIENCE_MS};
  assert_int_equal(km_loop_new(&loop), 0);
  km_relay_server *relay = relay_open(loop, url);
  const char *urls[] = {url};
  km_endpoint_options opt;
  pair_options(&opt);
  opt.relay_mode = KM_RELAY_MODE_CUSTOM;
  opt.relay_urls = urls;
  opt.relay_url_count = 1;
  assert_int_equal(km_blocking_open(&w.b, &opt, &err), 0);
  /* The relay's loop does not run yet. */
  assert_int_equal(km_blocking_wait_online(w.b, 0, &err), KM_ERR_TIMEOUT);
  assert_int_equal(km_blocking_wait_online(w.b, 20, &err), KM_ERR_TIMEOUT);
  task_start(&t, wait_online, &w);
  while (!atomic_load(&w.done)) {
    km_loop_run_once(loop, 10);
  }
  assert_int_equal(task_join(&t), 0);
  assert_int_equal(km_blocking_addr(w.b, &addr), 0);
  assert_int_equal(km_addr_relay_count(addr), 1);
  assert_string_equal(km_addr_relay_at(addr, 0), url);
  km_addr_free(addr);
  km_blocking_close(w.b);
  km_relay_server_free(relay);
  assert_int_equal(km_loop_free(loop), 0);
}

static void test_nobody_waits_for_ever(void **state) {
  (void)state;
  static const char *const urls[] = {"http://127.0.0.1:1/"};
  km_errinfo err;
  km_endpoint_options opt;
  waiter w = {.timeout_ms = -1};
  task t;
  pair_options(&opt);
  assert_int_equal(km_blocking_wait_online(NULL, 0, &err), KM_ERR_INVALID);
  assert_int_equal(km_blocking_open(&w.b, &opt, &err), 0); /* it only dials */
  assert_int_equal(km_blocking_wait_online(w.b, -1, &err), KM_ERR_STATE);
  km_blocking_close(w.b);
  opt.relay_mode = KM_RELAY_MODE_CUSTOM;
  opt.relay_urls = urls;
  opt.relay_url_count = 1;
  assert_int_equal(km_blocking_open(&w.b, &opt, &err), 0);
  assert_int_equal(km_blocking_wait_online(w.b, 10, &err), KM_ERR_TIMEOUT);
  task_start(&t, wait_online, &w);
  task_wait_asleep(&t);
  km_blocking_close(w.b);
  assert_int_equal(task_join(&t), KM_ERR_CLOSED);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_an_endpoint_comes_online),
      cmocka_unit_test(test_nobody_waits_for_ever),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
