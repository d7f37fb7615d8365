/* The relay client through proxies, and its probes, on real sockets without TLS. */
#include "test/relay/client_lab.h"

static const km_id peer_id = {{7, 7, 7}};

static bool is_up(const lab_client *l) {
  return l->states[KM_RELAY_CLIENT_CONNECTED] > 0;
}

static bool has_failed(const lab_client *l) {
  return l->states[KM_RELAY_CLIENT_WAITING] > 0;
}

/* --- proxies --------------------------------------------------------------------------------- */

static void goes_through_a_proxy(void **state) {
  (void)state;
  lab_relay r = {.echo = true};
  lab_proxy p = {.auth = "Proxy-Authorization: Basic dTpwQHc=\r\n"};
  lab_client l = {0};
  char url[256], proxy[256];
  lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
  lab_proxy_open(&p);
  snprintf(proxy, sizeof proxy, "http://u:p%%40w@127.0.0.1:%u", (unsigned)p.port);
  setenv("http_proxy", proxy, 1);
  lab_client_open(&l, NULL, NULL);
  /* The proxy looks names up, not we. */
  lab_client_dial(&l, lab_url(url, "http", "relay.test", r.port));
  LAB_WAIT_FOR(is_up(&l));
  assert_int_equal(p.connects, 1);
  assert_int_equal(strncmp(p.request, "CONNECT relay.test:", 19), 0);
  assert_int_equal(km_relay_client_send(l.c, &peer_id, 0, (const uint8_t *)"x", 1, 1), 0);
  LAB_WAIT_FOR(l.batches == 1);
  lab_client_close(&l);
  unsetenv("http_proxy");
  lab_proxy_close(&p);
  lab_relay_close(&r);
}

static void a_proxy_may_refuse(void **state) {
  (void)state;
  static const char *const answers[] = {"HTTP/1.1 403 Forbidden\r\n\r\n",
                                        "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
                                        "220 mail.test ESMTP\r\n", ""};
  for (size_t i = 0; i < COUNT_OF(answers); i++) {
    lab_proxy p = {.answer = answers[i]};
    lab_client l = {0};
    char proxy[64];
    lab_proxy_open(&p);
    snprintf(proxy, sizeof proxy, "127.0.0.1:%u", (unsigned)p.port);
    setenv("http_proxy", proxy, 1);
    lab_client_open(&l, NULL, NULL);
    lab_client_dial(&l, "http://relay.test/");
    LAB_WAIT_FOR(has_failed(&l));
    assert_int_equal(l.why.code, KM_ERR_RELAY_UNREACHABLE);
    assert_non_null(strstr(l.why.text, "127.0.0.1"));
    lab_client_close(&l);
    unsetenv("http_proxy");
    lab_proxy_close(&p);
  }
}

static void no_proxy_is_heeded(void **state) {
  (void)state;
  lab_relay r = {0};
  lab_client l = {0};
  char url[256];
  lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
  setenv("http_proxy", "http://127.0.0.1:1", 1);
  setenv("no_proxy", "example.org,127.0.0.0/8", 1);
  lab_client_open(&l, NULL, NULL);
  lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", r.port));
  LAB_WAIT_FOR(is_up(&l));
  lab_client_close(&l);
  unsetenv("http_proxy");
  unsetenv("no_proxy");
  lab_relay_close(&r);
}

/* --- probes ---------------------------------------------------------------------------------- */

typedef struct probed {
  unsigned done;
  km_relay_probe_result result;
} probed;

static void on_probed(void *ctx, const km_relay_probe_result *result) {
  probed *p = ctx;
  p->done++;
  p->result = *result;
}

static km_relay_probe_result probe(const char *url, uint64_t timeout) {
  lab_client l = {0};
  probed p = {0};
  km_relay_probe *probe_ptr;
  lab_client_open(&l, NULL, NULL);
  assert_int_equal(km_relay_probe_new(&probe_ptr, l.all, url, timeout, on_probed, &p, NULL), 0);
  LAB_WAIT_FOR(p.done == 1);
  for (int i = 0; i < 5; i++) {
    km_loop_run_once(lab_loop, 2);
  }
  assert_int_equal(p.done, 1);
  lab_client_close(&l);
  return p.result;
}

static void a_probe_measures(void **state) {
  (void)state;
  lab_relay r = {0};
  char url[256];
  lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
  km_relay_probe_result result = probe(lab_url(url, "http", "127.0.0.1", r.port), 20 * KM_NS_PER_S);
  assert_int_equal(result.err.code, 0);
  assert_int_equal(result.status, 200);
  assert_true(result.rtt_ns > 0 && result.connect_ns > 0);
  assert_int_equal(result.remote.family, 4);
  assert_int_equal(result.remote.port, r.port);
  assert_non_null(strstr(r.request, "GET /ping HTTP/1.1\r\n"));
  assert_non_null(strstr(r.request, "accept: */*\r\n"));
  lab_relay_close(&r);
}

static void a_probe_fails_in_time(void **state) {
  (void)state;
  char url[256];
  km_relay_probe_result result =
      probe(lab_url(url, "http", "127.0.0.1", lab_dead_port()), 20 * KM_NS_PER_S);
  assert_int_equal(result.err.code, KM_ERR_RELAY_UNREACHABLE);
  assert_int_equal(result.remote.family, 0);
  lab_relay silent = {.silent = true};
  lab_relay_open(&silent, "127.0.0.1", 0, NULL, NULL);
  result = probe(lab_url(url, "http", "127.0.0.1", silent.port), 100 * KM_NS_PER_MS);
  assert_int_equal(result.err.code, KM_ERR_RELAY_UNREACHABLE);
  lab_relay_close(&silent);
  lab_relay busy = {.raw_answer = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"};
  lab_relay_open(&busy, "127.0.0.1", 0, NULL, NULL);
  result = probe(lab_url(url, "http", "127.0.0.1", busy.port), 20 * KM_NS_PER_S);
  assert_int_equal(result.err.code, KM_ERR_RELAY_HTTP);
  assert_int_equal(result.status, 503);
  lab_relay_close(&busy);
  lab_relay gone = {.raw_answer = "", .hang_up = true};
  lab_relay_open(&gone, "127.0.0.1", 0, NULL, NULL);
  result = probe(lab_url(url, "http", "127.0.0.1", gone.port), 20 * KM_NS_PER_S);
  assert_int_equal(result.err.code, KM_ERR_RELAY_HTTP);
  lab_relay_close(&gone);
}

static void a_probe_may_be_given_up(void **state) {
  (void)state;
  for (unsigned turns = 0; turns < 12; turns++) {
    lab_relay r = {.silent = turns % 2 == 1};
    lab_client l = {0};
    probed p = {0};
    char url[256];
    km_relay_probe *probe_ptr;
    lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
    lab_client_open(&l, NULL, NULL);
    assert_int_equal(km_relay_probe_new(&probe_ptr, l.all,
                                        lab_url(url, "http", "127.0.0.1", r.port), KM_NS_PER_S,
                                        on_probed, &p, NULL),
                     0);
    for (unsigned i = 0; i < turns && p.done == 0; i++) {
      km_loop_run_nowait(lab_loop);
    }
    if (p.done == 0) {
      km_relay_probe_free(probe_ptr);
    }
    lab_client_close(&l);
    lab_relay_close(&r);
  }
}

static void bad_urls_are_refused(void **state) {
  (void)state;
  lab_client l = {0};
  km_relay_probe *p;
  lab_client_open(&l, NULL, NULL);
  assert_int_equal(km_relay_probe_new(&p, l.all, "http:///", KM_NS_PER_S, on_probed, NULL, NULL),
                   KM_ERR_BAD_RELAY_URL);
  setenv("http_proxy", "socks5://127.0.0.1:1080", 1);
  assert_int_equal(km_relay_probe_new(&p, l.all, "http://a/", KM_NS_PER_S, on_probed, NULL, NULL),
                   KM_ERR_UNSUPPORTED);
  lab_client_dial(&l, "http://a/");
  LAB_WAIT_FOR(has_failed(&l));
  assert_int_equal(l.why.code, KM_ERR_UNSUPPORTED);
  unsetenv("http_proxy");
  lab_client_close(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(goes_through_a_proxy),  cmocka_unit_test(a_proxy_may_refuse),
      cmocka_unit_test(no_proxy_is_heeded),    cmocka_unit_test(a_probe_measures),
      cmocka_unit_test(a_probe_fails_in_time), cmocka_unit_test(a_probe_may_be_given_up),
      cmocka_unit_test(bad_urls_are_refused),
  };
  return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
