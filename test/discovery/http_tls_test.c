/* Whom the HTTP client believes: certificates made by http_tls_test.sh, in the folder that is
 * argument 1, served by hostile_http.py. */
#include "discovery/http_client_io.h"

#include "test/discovery/net_lab.h"

static const char *folder;

static const char *file(const char *name) {
  static char paths[4][512];
  static unsigned next;
  char *path = paths[next++ % COUNT_OF(paths)];
  (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
  return path;
}

typedef struct result {
  unsigned count;
  int status;
  km_errinfo err;
} result;

static void on_answer(void *ctx, const km_http_answer *answer, const km_errinfo *err) {
  result *r = ctx;
  r->count++;
  r->status = answer->status;
  r->err = *err;
}

/* A GET of a server with this certificate, by a client that trusts `ca`. */
static result ask(const char *cert, const char *ca, const char *host, bool old_tls) {
  lab_peer server;
  km_http_client *client;
  km_http_request *request;
  result r = {0};
  char url[128];
  const char *args[] = {
      "--cert", file(cert), "--key", file("key.pem"), old_tls ? "--old-tls" : NULL, NULL};
  lab_peer_start(&server, "hostile_http.py", args);
  const km_http_client_config config = {
      .env = &km_env_system, .loop = lab_loop, .ca_file = ca != NULL ? file(ca) : NULL};
  assert_int_equal(km_http_client_new(&client, &config, NULL), 0);
  (void)snprintf(url, sizeof url, "https://%s:%d/plain", host, server.port);
  const km_http_request_config request_config = {
      .url = url, .max_answer = 100, .timeout_ns = 20 * KM_NS_PER_S};
  assert_int_equal(km_http_request_new(&request, client, &request_config, on_answer, &r, NULL), 0);
  LAB_UNTIL(r.count > 0);
  km_http_client_free(client);
  lab_peer_stop(&server);
  return r;
}

static void a_good_certificate_is_believed(void **state) {
  (void)state;
  static const char *const hosts[] = {"localhost", "127.0.0.1"};
  for (size_t i = 0; i < COUNT_OF(hosts); i++) {
    result r = ask("good.pem", "root.pem", hosts[i], false);
    if (r.status != 200) {
      fail_msg("%s: %s", hosts[i], r.err.text);
    }
  }
}

static void others_are_not(void **state) {
  (void)state;
  static const struct {
    const char *cert, *ca, *host, *text;
    bool old_tls;
  } cases[] = {
      {"good.pem", "stranger.pem", "localhost", "not signed by an authority", false},
      {"good.pem", NULL, "localhost", "not signed by an authority", false},
      {"other.pem", "root.pem", "localhost", "another name", false},
      {"other.pem", "root.pem", "127.0.0.1", "another name", false},
      {"expired.pem", "root.pem", "localhost", "expired", false},
      {"good.pem", "root.pem", "localhost", "", true},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    result r = ask(cases[i].cert, cases[i].ca, cases[i].host, cases[i].old_tls);
    /* the reason is lost where the server is so quick that lws fails at once */
    bool why =
        strstr(r.err.text, cases[i].text) != NULL || strstr(r.err.text, "will not do") != NULL;
    if (r.status != 0 || r.err.code != KM_ERR_SERVER_TLS || !why) {
      fail_msg("case %zu: %d, %d %s", i, r.status, r.err.code, r.err.text);
    }
  }
}

static void a_ca_file_is_looked_at_at_once(void **state) {
  (void)state;
  km_http_client *client;
  km_errinfo err;
  km_http_client_config config = {
      .env = &km_env_system, .loop = lab_loop, .ca_file = file("garbage.pem")};
  assert_int_equal(km_http_client_new(&client, &config, &err), KM_ERR_SERVER_TLS);
  assert_int_equal(err.code, KM_ERR_SERVER_TLS);
  config.ca_file = file("nowhere.pem");
  assert_int_equal(km_http_client_new(&client, &config, &err), KM_ERR_FILE_NOT_FOUND);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_good_certificate_is_believed, lab_setup, lab_teardown),
      cmocka_unit_test_setup_teardown(others_are_not, lab_setup, lab_teardown),
      cmocka_unit_test_setup_teardown(a_ca_file_is_looked_at_at_once, lab_setup, lab_teardown),
  };
  if (argc != 2) {
    return 2;
  }
  folder = argv[1];
  return cmocka_run_group_tests(tests, NULL, NULL);
}
