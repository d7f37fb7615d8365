/* Dials over a relay that is far away, by a round trip that is made up here. The relay is real, and
 * near. */
#include "base/env.h"
#include "endpoint/conn_impl.h"
#include "endpoint/redial.h"
#include "relay/server.h"
#include "test/endpoint/lab.h"

enum { USUAL_MS = 500 };

static uint64_t round_trip;
static unsigned asked;

uint64_t __wrap_km_magicsock_relay_round_trip(const km_magicsock *ms, const km_path_key *key);

uint64_t __wrap_km_magicsock_relay_round_trip(const km_magicsock *ms, const km_path_key *key) {
  (void)ms;
  (void)key;
  asked++;
  return round_trip;
}

typedef struct fixture {
  lab l;
  km_relay_server *relay;
  char url[64];
  const char *urls[1];
  km_secret_key *key; /* of a peer that is not there yet */
  lab_endpoint *client;
  lab_conn *c;
} fixture;

static void relay_open(fixture *f) {
  const km_udp_addr at = {.family = 4, .ip = {127, 0, 0, 1}};
  km_udp_addr bound;
  km_relay_server_config config = {.env = &km_env_system,
                                   .loop = f->l.loop,
                                   .http = &at,
                                   .http_count = 1,
                                   .relay_over_http = true,
                                   .version = "test"};
  km_relay_server_limits_default(&config.limits);
  assert_int_equal(km_relay_server_new(&f->relay, &config, NULL), 0);
  assert_int_equal(km_relay_server_bound(f->relay, &bound, 1), 1);
  (void)snprintf(f->url, sizeof f->url, "http://127.0.0.1:%u/", (unsigned)bound.port);
  f->urls[0] = f->url;
}

/* Dials the peer over the relay; `timeout_ms` 0: as long as the endpoint says. */
static void open_fixture(fixture *f, uint64_t rtt, uint32_t timeout_ms) {
  km_endpoint_options opt;
  km_addr *addr;
  km_id id;
  const km_dial_options options = {.size = sizeof options, .timeout_ms = timeout_ms};
  round_trip = rtt;
  asked = 0;
  lab_open(&f->l);
  relay_open(f);
  f->key = lab_key(7);
  km_secret_key_id(f->key, &id);
  lab_options(&opt);
  opt.handshake_timeout_ms = USUAL_MS;
  f->client = lab_endpoint_open(&f->l, &opt);
  assert_int_equal(km_addr_new(&addr, &id), 0);
  assert_int_equal(km_addr_add_relay(addr, f->url, strlen(f->url), NULL), 0);
  f->c = lab_dial_with(f->client, addr, LAB_ALPN, &options);
  km_addr_free(addr);
}

static void close_fixture(fixture *f) {
  km_secret_key_free(f->key);
  km_relay_server_free(f->relay);
  lab_close(&f->l);
}

static void it_has_twelve_round_trips(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f, 200 * KM_NS_PER_MS, 0);
  uint64_t from = lab_now_ms();
  LAB_WAIT(&f.l, f.c->closed > 0);
  assert_true(lab_now_ms() - from >= 2300);
  assert_int_equal(f.c->info.error, KM_ERR_UNREACHABLE);
  close_fixture(&f);
}

static void who_answers_within_them_is_connected(void **state) {
  (void)state;
  fixture f;
  km_endpoint_options opt;
  open_fixture(&f, 2 * KM_NS_PER_S, 0);
  lab_run_for(&f.l, USUAL_MS + 300);
  assert_int_equal(f.c->closed, 0);
  lab_options(&opt);
  opt.secret_key = f.key;
  opt.relay_mode = KM_RELAY_MODE_CUSTOM;
  opt.relay_urls = f.urls;
  opt.relay_url_count = 1;
  lab_endpoint *peer = lab_server_open(&f.l, &opt, LAB_ECHO);
  LAB_WAIT(&f.l, f.c->connected > 0 || f.c->closed > 0);
  assert_int_equal(f.c->closed, 0);
  lab_expect_echo(f.c, 10000);
  assert_int_equal(peer->accepted_count, 1);
  close_fixture(&f);
}

static void it_has_two_minutes_at_most(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f, UINT64_MAX, 0);
  const km_conn *conn = f.c->conn;
  LAB_WAIT(&f.l, asked > 0);
  assert_int_equal(conn->handshake_deadline - conn->started, 120 * KM_NS_PER_S);
  assert_int_equal(conn->state, KM_CONN_HANDSHAKE);
  lab_conn_close(f.c, 0, NULL);
  LAB_WAIT(&f.l, f.c->closed > 0);
  close_fixture(&f);
}

static void a_near_relay_makes_no_difference(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f, USUAL_MS * KM_NS_PER_MS / 12, 0);
  LAB_WAIT(&f.l, f.c->closed > 0);
  assert_true(asked > 0);
  assert_int_equal(f.c->info.error, KM_ERR_UNREACHABLE);
  close_fixture(&f);
}

/* Whoever says how long it may take is not kept waiting longer. */
static void a_time_of_its_own_is_kept(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f, 10 * KM_NS_PER_S, USUAL_MS);
  LAB_WAIT(&f.l, f.c->closed > 0);
  assert_int_equal(asked, 0);
  assert_int_equal(f.c->info.error, KM_ERR_UNREACHABLE);
  close_fixture(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(it_has_twelve_round_trips),
      cmocka_unit_test(who_answers_within_them_is_connected),
      cmocka_unit_test(it_has_two_minutes_at_most),
      cmocka_unit_test(a_near_relay_makes_no_difference),
      cmocka_unit_test(a_time_of_its_own_is_kept),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
