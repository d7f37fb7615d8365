/* The relay client with the real server: login, two endpoints of one id, an orderly restart. */
#include "relay/server.h"
#include "test/relay/client_lab.h"

typedef struct real_relay {
  km_relay_server *s;
  uint16_t port;
  const char *denial; /* for everybody; NULL: all are let in */
  bool stopped;
} real_relay;

static void authorize(void *ctx, km_relay_server *server, const km_relay_login *login) {
  const real_relay *r = ctx;
  km_relay_server_decide(server, login->number, r->denial);
}

static void open_real(real_relay *r, uint16_t port) {
  const km_udp_addr at = {.family = 4, .ip = {127, 0, 0, 1}, .port = port};
  km_relay_server_config config = {.env = &km_env_system,
                                   .loop = lab_loop,
                                   .http = &at,
                                   .http_count = 1,
                                   .relay_over_http = true,
                                   .version = "test",
                                   .authorize = authorize,
                                   .ctx = r};
  km_udp_addr bound;
  km_relay_server_limits_default(&config.limits);
  assert_int_equal(km_relay_server_new(&r->s, &config, NULL), 0);
  assert_int_equal(km_relay_server_bound(r->s, &bound, 1), 1);
  r->port = bound.port;
}

static km_relay_server_stats stats_of(const real_relay *r) {
  km_relay_server_stats stats;
  km_relay_server_get_stats(r->s, &stats);
  return stats;
}

static void dial(lab_client *l, uint16_t port) {
  char url[256];
  lab_client_dial(l, lab_url(url, "http", "127.0.0.1", port));
}

static unsigned connects_of(const lab_client *l) {
  km_relay_client_stats stats;
  km_relay_client_get_stats(l->c, &stats);
  return (unsigned)stats.connects;
}

static void run_turns(int count) {
  for (int i = 0; i < count; i++) {
    km_loop_run_once(lab_loop, 20);
  }
}

static void datagrams_reach_the_peer(void **state) {
  (void)state;
  real_relay r = {0};
  lab_client one = {0}, two = {0};
  km_id to;
  uint8_t data[6000] = {0x40};
  open_real(&r, 0);
  lab_client_open(&one, NULL, NULL);
  lab_client_open(&two, NULL, NULL);
  dial(&one, r.port);
  dial(&two, r.port);
  LAB_WAIT_FOR(one.states[KM_RELAY_CLIENT_CONNECTED] + two.states[KM_RELAY_CLIENT_CONNECTED] == 2);
  km_secret_key_id(two.key, &to);
  assert_int_equal(km_relay_client_send(one.c, &to, 2, data, sizeof data, 1200), 0);
  LAB_WAIT_FOR(two.bytes == sizeof data);
  assert_int_equal(two.segment, 1200);
  assert_int_equal(two.ecn, 2);
  km_secret_key_id(one.key, &to);
  assert_true(km_id_equal(&two.peer, &to));
  km_relay_server_stats stats = stats_of(&r);
  assert_int_equal(stats.upgrades_v2, 2);
  assert_int_equal(stats.logins_challenge, 2);
  assert_int_equal(km_relay_client_send(two.c, &to, 0, data, 1, 1), 0); /* now it knows of it */
  LAB_WAIT_FOR(one.batches == 1);
  lab_client_close(&two);
  LAB_WAIT_FOR(one.gone == 1);
  lab_client_close(&one);
  km_relay_server_free(r.s);
}

static void a_denial_is_a_sentence(void **state) {
  (void)state;
  real_relay r = {.denial = "closed on Sundays"};
  lab_client l = {0};
  open_real(&r, 0);
  lab_client_open(&l, NULL, NULL);
  dial(&l, r.port);
  LAB_WAIT_FOR(l.states[KM_RELAY_CLIENT_WAITING] > 0);
  assert_int_equal(l.why.code, KM_ERR_RELAY_DENIED);
  assert_non_null(strstr(l.why.text, "closed on Sundays"));
  r.denial = NULL;
  LAB_WAIT_FOR(l.states[KM_RELAY_CLIENT_CONNECTED] == 1); /* it had tried on */
  lab_client_close(&l);
  km_relay_server_free(r.s);
}

/* Two endpoints of one key: the newer one is served, the older is told, and neither chases. */
static void two_of_one_id_do_not_chase_each_other(void **state) {
  (void)state;
  real_relay r = {0};
  lab_client one = {0}, two = {0};
  open_real(&r, 0);
  lab_client_open(&one, NULL, NULL);
  lab_client_open_as(&two, one.key);
  dial(&one, r.port);
  LAB_WAIT_FOR(km_relay_client_rtt(one.c) > 0);
  dial(&two, r.port);
  LAB_WAIT_FOR(one.elsewhere == 1 && km_relay_client_rtt(two.c) > 0);
  run_turns(50);
  assert_int_equal(connects_of(&one), 1);
  assert_int_equal(connects_of(&two), 1);
  assert_int_equal(one.elsewhere, 1);
  assert_int_equal(two.elsewhere, 0);
  lab_client_close(&two);
  LAB_WAIT_FOR(one.alone == 1);
  assert_int_equal(connects_of(&one), 1);
  lab_client_close(&one);
  km_relay_server_free(r.s);
}

static void on_stopped(void *ctx) {
  ((real_relay *)ctx)->stopped = true;
}

/* It says Restarting, and comes back: so does everybody, and without a message about it. */
static void a_restart_is_survived(void **state) {
  (void)state;
  enum { CLIENTS = 8 };
  real_relay r = {0}, again = {0};
  lab_client l[CLIENTS] = {{0}};
  open_real(&r, 0);
  for (size_t i = 0; i < CLIENTS; i++) {
    lab_client_open(&l[i], NULL, NULL);
    dial(&l[i], r.port);
  }
  LAB_WAIT_FOR(stats_of(&r).clients == CLIENTS);
  for (size_t i = 0; i < CLIENTS; i++) {
    LAB_WAIT_FOR(km_relay_client_rtt(l[i].c) > 0);
  }
  km_relay_server_shutdown(r.s, 2000, on_stopped, &r);
  LAB_WAIT_FOR(r.stopped);
  km_relay_server_free(r.s);
  for (size_t i = 0; i < CLIENTS; i++) {
    LAB_WAIT_FOR(l[i].states[KM_RELAY_CLIENT_WAITING] > 0);
  }
  open_real(&again, r.port);
  LAB_WAIT_FOR(stats_of(&again).clients == CLIENTS);
  for (size_t i = 0; i < CLIENTS; i++) {
    lab_client_close(&l[i]);
  }
  km_relay_server_free(again.s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(datagrams_reach_the_peer),
      cmocka_unit_test(a_denial_is_a_sentence),
      cmocka_unit_test(two_of_one_id_do_not_chase_each_other),
      cmocka_unit_test(a_restart_is_survived),
  };
  return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
