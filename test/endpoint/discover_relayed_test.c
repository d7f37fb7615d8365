/* Dials by id through relays that somebody named: a real relay server and real endpoints. */
#include <unistd.h>

#include "base/env.h"
#include "endpoint/conn_impl.h"
#include "relay/server.h"
#include "test/endpoint/tap.h"

/* Nobody is there. */
#define FOREIGN "http://127.0.0.66:7/"

typedef struct fixture {
  lab l;
  km_relay_server *relay;
  char url[64];
  km_discovery *discovery;
  km_query *query; /* the one under way */
  km_addr *worked; /* what was remembered last */
  unsigned remembered;
  lab_endpoint *server, *client;
} fixture;

static void on_resolve(void *ctx, km_query *query, const km_id *id) {
  fixture *f = ctx;
  (void)id;
  f->query = query;
}

static void on_cancel(void *ctx, km_query *query) {
  fixture *f = ctx;
  f->query = f->query == query ? NULL : f->query;
}

static void on_learn(void *ctx, const km_found *found, bool worked) {
  fixture *f = ctx;
  if (worked) {
    km_addr_free(f->worked);
    assert_int_equal(km_addr_copy(&f->worked, found->addr), 0);
    f->remembered++;
  }
}

static void open_relay(fixture *f) {
  km_errinfo err = {0};
  const km_udp_addr at = {.family = 4, .ip = {127, 0, 0, 1}};
  km_udp_addr bound;
  km_relay_server_config config = {.env = &km_env_system,
                                   .loop = f->l.loop,
                                   .http = &at,
                                   .http_count = 1,
                                   .relay_over_http = true,
                                   .version = "test"};
  km_relay_server_limits_default(&config.limits);
  assert_int_equal(km_relay_server_new(&f->relay, &config, &err), 0);
  assert_int_equal(km_relay_server_bound(f->relay, &bound, 1), 1);
  (void)snprintf(f->url, sizeof f->url, "http://127.0.0.1:%u/", (unsigned)bound.port);
}

/* The server is at the relay if `at_relay`, and tells nobody its addresses. */
static void open_fixture(fixture *f, bool at_relay) {
  static const km_source_ops ops = {.size = sizeof ops,
                                    .name = "oracle",
                                    .resolve = on_resolve,
                                    .cancel = on_cancel,
                                    .learn = on_learn};
  km_endpoint_options options;
  memset(f, 0, sizeof *f);
  lab_open(&f->l);
  open_relay(f);
  const char *urls[] = {f->url};
  lab_options(&options);
  options.path_policy = KM_POLICY_ANY;
  if (at_relay) {
    options.relay_mode = KM_RELAY_MODE_CUSTOM;
    options.relay_urls = urls;
    options.relay_url_count = 1;
  }
  f->server = lab_server_open(&f->l, &options, LAB_ECHO);
  LAB_WAIT(&f->l, !at_relay || km_endpoint_online(f->server->ep));
  assert_int_equal(km_discovery_new(&f->discovery, f->l.loop, NULL, NULL), 0);
  assert_int_equal(km_discovery_add(f->discovery, NULL, &ops, f, NULL), 0);
  lab_options(&options);
  options.discovery = f->discovery;
  f->client = lab_endpoint_open(&f->l, &options);
}

static void close_fixture(fixture *f) {
  lab_endpoint_close(f->client);
  km_discovery_free(f->discovery);
  km_addr_free(f->worked);
  km_relay_server_free(f->relay);
  lab_close(&f->l);
}

static km_addr *addr_of(const fixture *f, const km_udp_addr *at, const char *relay) {
  km_addr *addr;
  assert_int_equal(km_addr_new(&addr, km_endpoint_id(f->server->ep)), 0);
  if (at != NULL) {
    assert_int_equal(km_addr_add_udp(addr, at), 0);
  }
  if (relay != NULL) {
    assert_int_equal(km_addr_add_relay(addr, relay, strlen(relay), NULL), 0);
  }
  return addr;
}

static lab_conn *dial(fixture *f, const km_udp_addr *at, const char *relay) {
  km_addr *addr = addr_of(f, at, relay);
  lab_conn *c = lab_dial_with(f->client, addr, LAB_ALPN, NULL);
  km_addr_free(addr);
  LAB_WAIT(&f->l, f->query != NULL);
  return c;
}

static void tell(fixture *f, bool proven, const km_udp_addr *at, const char *relay) {
  km_addr *addr = addr_of(f, at, relay);
  const km_found found = {.size = sizeof found, .addr = addr, .proven = proven};
  km_query_found(f->query, &found);
  km_addr_free(addr);
  (void)lab_turn(&f->l, lab_now_ms() + 5);
}

static void tell_no_more(fixture *f) {
  km_query *query = f->query;
  f->query = NULL;
  km_query_done(query, NULL);
}

static km_path_kind kind_of(const lab_conn *c) {
  km_path_info path;
  assert_int_equal(km_conn_path(c->conn, &path), 0);
  return path.kind;
}

static void expect_connected(fixture *f, lab_conn *c) {
  LAB_WAIT(&f->l, c->connected > 0 || c->closed > 0);
  if (c->closed > 0) {
    fail_msg("%s: %s", km_error_name(c->info.error), c->info.text);
  }
  lab_expect_echo(c, 1000);
}

static void a_claimed_relay_is_enough(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f, true);
  lab_conn *c = dial(&f, NULL, NULL);
  tell(&f, false, NULL, f.url);
  expect_connected(&f, c);
  assert_int_equal(kind_of(c), KM_PATH_RELAY);
  LAB_WAIT(&f.l, f.worked != NULL);
  assert_int_equal(km_addr_relay_count(f.worked), 1);
  assert_string_equal(km_addr_relay_at(f.worked, 0), f.url);
  close_fixture(&f);
}

static void a_claimed_relay_waits_for_others(void **state) {
  (void)state;
  fixture f;
  km_udp_addr dead;
  open_fixture(&f, true);
  int fd = raw_open(&dead);
  /* Where an address answers nobody connects to it. */
  lab_conn *c = dial(&f, NULL, NULL);
  tell(&f, false, &f.server->addr, FOREIGN);
  expect_connected(&f, c);
  assert_int_equal(kind_of(c), KM_PATH_DIRECT);
  lab_run_for(&f.l, 20);
  assert_false(km_magicsock_knows_relay(f.client->ep->ms, FOREIGN));
  tell_no_more(&f);
  /* Where none does it is tried. */
  c = dial(&f, NULL, NULL);
  tell(&f, false, &dead, f.url);
  assert_int_equal(km_mixed_count(c->conn->mixed), 1);
  expect_connected(&f, c);
  assert_int_equal(kind_of(c), KM_PATH_RELAY);
  (void)close(fd);
  close_fixture(&f);
}

static void relays_that_were_only_named_are_not_remembered(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f, true);
  km_addr *ticket = addr_of(&f, NULL, f.url);
  assert_int_equal(km_addr_add_relay(ticket, FOREIGN, strlen(FOREIGN), NULL), 0);
  lab_conn *c = lab_dial_with(f.client, ticket, LAB_ALPN, NULL);
  km_addr_free(ticket);
  LAB_WAIT(&f.l, f.query != NULL);
  tell(&f, false, NULL, "http://127.0.0.67:7/");
  expect_connected(&f, c);
  tell(&f, false, NULL, "http://127.0.0.68:7/");
  LAB_WAIT(&f.l, kind_of(c) == KM_PATH_RELAY && f.remembered > 0);
  tell(&f, false, &f.server->addr, NULL); /* and another path is found */
  LAB_WAIT(&f.l, kind_of(c) == KM_PATH_DIRECT);
  LAB_WAIT(&f.l, km_addr_udp_count(f.worked) == 1);
  assert_int_equal(km_addr_relay_count(f.worked), 1);
  assert_string_equal(km_addr_relay_at(f.worked, 0), f.url);
  close_fixture(&f);
}

/* Its entry among the relays was given up when the direct way answered. */
static void a_claimed_relay_is_there_when_the_direct_way_is_lost(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f, true);
  lab_tap *tap = lab_tap_open(&f.l, &f.server->addr, NULL);
  lab_conn *c = dial(&f, NULL, NULL);
  tell(&f, false, &tap->addr, f.url);
  tell_no_more(&f);
  expect_connected(&f, c);
  assert_int_equal(kind_of(c), KM_PATH_DIRECT);
  LAB_WAIT(&f.l, !km_magicsock_knows_relay(f.client->ep->ms, f.url));
  for (int i = 0; i < 2; i++) {
    lab_tap_blackhole(tap, true);
    lab_expect_echo(c, 1000000);
    assert_int_equal(kind_of(c), KM_PATH_RELAY);
    lab_tap_blackhole(tap, false);
    LAB_WAIT(&f.l, kind_of(c) == KM_PATH_DIRECT);
  }
  close_fixture(&f);
}

static bool is_lost(void *ctx, const uint8_t *data, size_t len) {
  (void)data;
  (void)len;
  return *(const bool *)ctx;
}

/* What is found while relays alone are tried is tried on with all others. */
static void what_is_found_meanwhile_is_kept(void **state) {
  (void)state;
  fixture f;
  km_udp_addr dead;
  bool lost = true;
  open_fixture(&f, false);
  int fd = raw_open(&dead);
  lab_tap *tap = lab_tap_open(&f.l, &f.server->addr, NULL);
  tap->lost = is_lost;
  tap->lost_ctx = &lost;
  lab_conn *c = dial(&f, &dead, f.url);
  LAB_WAIT(&f.l, c->closed > 0 || c->conn->set_aside != NULL);
  assert_int_equal(c->closed, 0);
  tell(&f, true, &tap->addr, NULL);
  km_ts attempt = c->conn->attempt_at;
  LAB_WAIT(&f.l, c->closed > 0 || c->conn->attempt_at != attempt);
  lost = false;
  expect_connected(&f, c);
  (void)close(fd);
  close_fixture(&f);
}

int main(int argc, char **argv) {
  cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_claimed_relay_is_enough),
      cmocka_unit_test(a_claimed_relay_waits_for_others),
      cmocka_unit_test(relays_that_were_only_named_are_not_remembered),
      cmocka_unit_test(a_claimed_relay_is_there_when_the_direct_way_is_lost),
      cmocka_unit_test(what_is_found_meanwhile_is_kept),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
