/* The relay client over TLS: whom it trusts, the header that spares a round trip, and data.
 * client_tls_test FOLDER; client_tls_test.sh makes the certificates there. */
#include "relay/server.h"
#include "test/relay/client_lab.h"

static const char *folder;
static km_id peer_id;

static const char *in_folder(const char *name, char buf[512]) {
  assert_in_range(snprintf(buf, 512, "%s/%s", folder, name), 1, 511);
  return buf;
}

static void open_relay(lab_relay *r, const char *cert) {
  char cert_path[512], key_path[512];
  lab_relay_open(r, "127.0.0.1", 0, in_folder(cert, cert_path), in_folder("key.pem", key_path));
}

static void open_client(lab_client *l, const char *ca) {
  char path[512];
  lab_client_open(l, NULL, ca != NULL ? in_folder(ca, path) : NULL);
}

static bool is_up(const lab_client *l) {
  return l->states[KM_RELAY_CLIENT_CONNECTED] > 0;
}

static bool has_failed(const lab_client *l) {
  return l->states[KM_RELAY_CLIENT_WAITING] > 0;
}

static void connects_without_a_round_trip_for_the_challenge(void **state) {
  (void)state;
  static const char *const hosts[] = {"localhost", "127.0.0.1"};
  for (size_t i = 0; i < COUNT_OF(hosts); i++) {
    lab_relay r = {.echo = true};
    lab_client l = {0};
    char url[256];
    open_relay(&r, "good.pem");
    open_client(&l, "root.pem");
    lab_client_dial(&l, lab_url(url, "https", hosts[i], r.port));
    LAB_WAIT_FOR(km_relay_client_rtt(l.c) > 0);
    assert_true(is_up(&l));
    assert_int_equal(r.by_header, 1);
    assert_int_equal(r.by_challenge, 0);
    assert_int_equal(km_relay_client_send(l.c, &peer_id, 1, (const uint8_t *)"tls", 3, 3), 0);
    LAB_WAIT_FOR(l.batches == 1);
    assert_int_equal(l.ecn, 1);
    km_relay_client_free(l.c);
    l.c = NULL;
    LAB_WAIT_FOR(r.close_code == 1000);
    lab_client_close(&l);
    lab_relay_close(&r);
  }
}

static void falls_back_to_the_challenge(void **state) {
  (void)state;
  lab_relay r = {.ignore_header = true};
  lab_client l = {0};
  char url[256];
  open_relay(&r, "good.pem");
  open_client(&l, "root.pem");
  lab_client_dial(&l, lab_url(url, "wss", "localhost", r.port));
  LAB_WAIT_FOR(is_up(&l));
  assert_int_equal(r.by_header, 0);
  assert_int_equal(r.by_challenge, 1);
  lab_client_close(&l);
  lab_relay_close(&r);
}

/* Both logins at the real server: the header over TLS, the challenge without it. */
static void the_real_server_takes_the_header(void **state) {
  (void)state;
  char cert[512], key[512], url[256];
  const km_udp_addr at = {.family = 4, .ip = {127, 0, 0, 1}};
  km_relay_server_config config = {.env = &km_env_system,
                                   .loop = lab_loop,
                                   .http = &at,
                                   .http_count = 1,
                                   .https = &at,
                                   .https_count = 1,
                                   .cert_file = in_folder("good.pem", cert),
                                   .key_file = in_folder("key.pem", key),
                                   .relay_over_http = true,
                                   .version = "test"};
  km_relay_server *s;
  km_relay_server_stats stats;
  km_udp_addr bound[2];
  lab_client tls = {0}, plain = {0};
  km_id to;
  km_relay_server_limits_default(&config.limits);
  assert_int_equal(km_relay_server_new(&s, &config, NULL), 0);
  assert_int_equal(km_relay_server_bound(s, bound, 2), 2);
  open_client(&tls, "root.pem");
  open_client(&plain, NULL);
  lab_client_dial(&tls, lab_url(url, "https", "localhost", bound[1].port));
  lab_client_dial(&plain, lab_url(url, "http", "127.0.0.1", bound[0].port));
  LAB_WAIT_FOR(km_relay_client_rtt(tls.c) > 0 && km_relay_client_rtt(plain.c) > 0);
  km_relay_server_get_stats(s, &stats);
  assert_int_equal(stats.logins_header, 1);
  assert_int_equal(stats.logins_challenge, 1);
  assert_int_equal(stats.upgrades_v2, 2);
  km_secret_key_id(tls.key, &to);
  assert_int_equal(km_relay_client_send(plain.c, &to, 0, (const uint8_t *)"over", 4, 4), 0);
  LAB_WAIT_FOR(tls.bytes == 4);
  lab_client_close(&tls);
  lab_client_close(&plain);
  km_relay_server_free(s);
}

/* Without --relay-ca the system's authorities count, and who they are can be said. */
static void the_trust_store_may_be_named(void **state) {
  (void)state;
  lab_relay r = {0};
  lab_client l = {0};
  char url[256], path[512];
  open_relay(&r, "good.pem");
  setenv("SSL_CERT_FILE", in_folder("root.pem", path), 1);
  open_client(&l, NULL);
  lab_client_dial(&l, lab_url(url, "https", "localhost", r.port));
  LAB_WAIT_FOR(is_up(&l));
  lab_client_close(&l);
  unsetenv("SSL_CERT_FILE");
  lab_relay_close(&r);
}

/* kill -9 of the relay in the middle of a transfer. */
static void a_send_may_find_the_connection_broken(void **state) {
  (void)state;
  lab_relay r = {.echo = true};
  lab_client l = {0};
  char url[256];
  uint8_t data[60000] = {1};
  open_relay(&r, "good.pem");
  open_client(&l, "root.pem");
  lab_client_dial(&l, lab_url(url, "https", "localhost", r.port));
  LAB_WAIT_FOR(km_relay_client_rtt(l.c) > 0);
  lab_relay_drop(&r);
  for (int i = 0; i < 3; i++) {
    assert_int_equal(km_relay_client_send(l.c, &peer_id, 0, data, sizeof data, 1200), 0);
  }
  LAB_WAIT_FOR(l.states[KM_RELAY_CLIENT_CONNECTED] == 2);
  assert_int_equal(km_relay_client_send(l.c, &peer_id, 0, data, 10, 10), 0);
  LAB_WAIT_FOR(l.batches == 1);
  lab_client_close(&l);
  lab_relay_close(&r);
}

/* How a dial of localhost ends that should not succeed. */
static km_errinfo fail_with(const char *cert, const char *ca) {
  lab_relay r = {0};
  lab_client l = {0};
  char url[256];
  open_relay(&r, cert);
  open_client(&l, ca);
  lab_client_dial(&l, lab_url(url, "https", "localhost", r.port));
  LAB_WAIT_FOR(has_failed(&l));
  assert_false(is_up(&l));
  assert_int_equal(r.upgrades, 0); /* nothing was said to it */
  assert_int_equal(r.request[0], '\0');
  km_errinfo why = l.why;
  lab_client_close(&l);
  lab_relay_close(&r);
  return why;
}

static void refuses_what_it_cannot_trust(void **state) {
  (void)state;
  static const struct {
    const char *cert, *ca, *says;
  } cases[] = {
      {"other.pem", "root.pem", "another name"},
      {"good.pem", "stranger.pem", "authority"},
      {"good.pem", NULL, "authority"}, /* the system knows nothing of our root */
      {"expired.pem", "root.pem", "expired"},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    km_errinfo why = fail_with(cases[i].cert, cases[i].ca);
    assert_int_equal(why.code, KM_ERR_RELAY_TLS);
    if (strstr(why.text, cases[i].says) == NULL) {
      fail_msg("%s: %s", cases[i].cert, why.text);
    }
  }
}

static void a_server_without_tls_is_refused(void **state) {
  (void)state;
  lab_relay r = {.raw_answer = "", .hang_up = true};
  lab_client l = {0};
  char url[256];
  lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
  open_client(&l, "root.pem");
  lab_client_dial(&l, lab_url(url, "https", "localhost", r.port));
  LAB_WAIT_FOR(r.accepts > 0);
  lab_relay_send(&r, 2, "this is no ServerHello but something else", 41);
  LAB_WAIT_FOR(has_failed(&l));
  assert_int_equal(l.why.code, KM_ERR_RELAY_TLS);
  assert_non_null(strstr(l.why.text, "does not speak TLS"));
  lab_client_close(&l);
  lab_relay_close(&r);
}

static void one_that_hangs_up_is_told(void **state) {
  (void)state;
  lab_relay r = {0};
  lab_client l = {0};
  char url[256];
  lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
  open_client(&l, "root.pem");
  lab_client_dial(&l, lab_url(url, "https", "localhost", r.port));
  LAB_WAIT_FOR(r.accepts > 0);
  lab_relay_drop(&r);
  LAB_WAIT_FOR(has_failed(&l));
  assert_int_equal(l.why.code, KM_ERR_RELAY_TLS);
  assert_non_null(strstr(l.why.text, "hung up"));
  lab_client_close(&l);
  lab_relay_close(&r);
}

static void bad_ca_files_are_named(void **state) {
  (void)state;
  char path[512];
  km_secret_key *key;
  km_relay_clients *all;
  km_errinfo err;
  assert_int_equal(km_secret_key_generate(&key), 0);
  km_relay_clients_config config = {.env = &km_env_system, .loop = lab_loop, .key = key};
  config.ca_file = in_folder("missing.pem", path);
  assert_int_equal(km_relay_clients_new(&all, &config, &err), KM_ERR_FILE_NOT_FOUND);
  assert_non_null(strstr(err.text, "missing.pem"));
  config.ca_file = in_folder("garbage.pem", path);
  assert_int_equal(km_relay_clients_new(&all, &config, &err), KM_ERR_RELAY_TLS);
  assert_non_null(strstr(err.text, "garbage.pem"));
  config.ca_file = folder;
  assert_int_equal(km_relay_clients_new(&all, &config, &err), KM_ERR_RELAY_TLS);
  km_secret_key_free(key);
}

static void tells_of_the_connection_before_its_data(void **state) {
  (void)state;
  uint8_t datagram[64];
  km_relay_frame f = {
      .type = KM_RELAY_TO_CLIENT, .peer = peer_id, .data = (const uint8_t *)"hello", .len = 5};
  int n = km_relay_frame_write(datagram, sizeof datagram, &f);
  lab_relay r = {.with_confirm = datagram, .with_confirm_len = (size_t)n};
  lab_client l = {0};
  char url[256];
  open_relay(&r, "good.pem");
  open_client(&l, "root.pem");
  lab_client_dial(&l, lab_url(url, "https", "localhost", r.port));
  LAB_WAIT_FOR(l.batches == 1);
  assert_false(l.data_before_state);
  lab_client_close(&l);
  lab_relay_close(&r);
}

/* Records of 16 KiB, several to a read: some of them wait inside TLS with a silent socket. */
static void moves_a_lot(void **state) {
  (void)state;
  lab_relay r = {.echo = true};
  lab_client l = {0};
  char url[256];
  uint8_t data[60000];
  memset(data, 3, sizeof data);
  open_relay(&r, "good.pem");
  open_client(&l, "root.pem");
  lab_client_dial(&l, lab_url(url, "https", "localhost", r.port));
  LAB_WAIT_FOR(is_up(&l));
  unsigned sent = 0;
  while (sent < 200) {
    unsigned room = l.batches + 4; /* the lab's relay blocks while it writes */
    while (sent < room && km_relay_client_send(l.c, &peer_id, 0, data, sizeof data, 1200) == 0) {
      sent++;
    }
    LAB_WAIT_FOR(l.batches + 4 > sent);
  }
  LAB_WAIT_FOR(l.batches == sent);
  assert_int_equal(l.bytes, (size_t)sent * sizeof data);
  assert_int_equal(r.datagram_bytes, l.bytes);
  assert_false(has_failed(&l));
  lab_client_close(&l);
  lab_relay_close(&r);
}

static void goes_through_a_proxy(void **state) {
  (void)state;
  lab_relay r = {0};
  lab_proxy p = {0};
  lab_client l = {0};
  char url[256], proxy[64];
  open_relay(&r, "good.pem");
  lab_proxy_open(&p);
  snprintf(proxy, sizeof proxy, "http://127.0.0.1:%u", (unsigned)p.port);
  setenv("HTTPS_PROXY", proxy, 1);
  open_client(&l, "root.pem");
  lab_client_dial(&l, lab_url(url, "https", "relay.test", r.port));
  LAB_WAIT_FOR(is_up(&l));
  assert_int_equal(p.connects, 1);
  assert_int_equal(r.by_header, 1);
  lab_client_close(&l);
  unsetenv("HTTPS_PROXY");
  lab_proxy_close(&p);
  lab_relay_close(&r);
}

static void on_probed(void *ctx, const km_relay_probe_result *result) {
  *(km_relay_probe_result *)ctx = *result;
}

static void a_probe_does_not_count_tls(void **state) {
  (void)state;
  lab_relay r = {0};
  lab_client l = {0};
  km_relay_probe_result result = {.status = -1};
  km_relay_probe *p;
  char url[256];
  open_relay(&r, "good.pem");
  open_client(&l, "root.pem");
  assert_int_equal(km_relay_probe_new(&p, l.all, lab_url(url, "https", "localhost", r.port),
                                      20 * KM_NS_PER_S, on_probed, &result, NULL),
                   0);
  LAB_WAIT_FOR(result.status != -1);
  assert_int_equal(result.err.code, 0);
  assert_int_equal(result.status, 200);
  assert_true(result.rtt_ns > 0 && result.connect_ns > 0);
  assert_int_equal(result.remote.port, r.port);
  lab_relay_close(&r);

  lab_relay wrong = {0};
  open_relay(&wrong, "other.pem");
  result.status = -1;
  assert_int_equal(km_relay_probe_new(&p, l.all, lab_url(url, "https", "localhost", wrong.port),
                                      20 * KM_NS_PER_S, on_probed, &result, NULL),
                   0);
  LAB_WAIT_FOR(result.status != -1);
  assert_int_equal(result.err.code, KM_ERR_RELAY_TLS);
  assert_int_equal(result.remote.family, 0);
  lab_client_close(&l);
  lab_relay_close(&wrong);
}

static void may_be_freed_at_any_time(void **state) {
  (void)state;
  for (unsigned turns = 0; turns < 30; turns++) {
    lab_relay r = {0};
    lab_client l = {0};
    char url[256];
    open_relay(&r, "good.pem");
    open_client(&l, "root.pem");
    lab_client_dial(&l, lab_url(url, "https", "127.0.0.1", r.port));
    for (unsigned i = 0; i < turns; i++) {
      km_loop_run_nowait(lab_loop);
    }
    lab_client_close(&l);
    lab_relay_close(&r);
  }
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
    return 2;
  }
  folder = argv[1];
  memset(peer_id.bytes, 7, sizeof peer_id.bytes);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(connects_without_a_round_trip_for_the_challenge),
      cmocka_unit_test(falls_back_to_the_challenge),
      cmocka_unit_test(the_real_server_takes_the_header),
      cmocka_unit_test(the_trust_store_may_be_named),
      cmocka_unit_test(a_send_may_find_the_connection_broken),
      cmocka_unit_test(refuses_what_it_cannot_trust),
      cmocka_unit_test(a_server_without_tls_is_refused),
      cmocka_unit_test(one_that_hangs_up_is_told),
      cmocka_unit_test(bad_ca_files_are_named),
      cmocka_unit_test(tells_of_the_connection_before_its_data),
      cmocka_unit_test(moves_a_lot),
      cmocka_unit_test(goes_through_a_proxy),
      cmocka_unit_test(a_probe_does_not_count_tls),
      cmocka_unit_test(may_be_freed_at_any_time),
  };
  return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
