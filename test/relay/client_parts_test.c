/* The small parts of the relay client: urls, proxies, the order of addresses, the queue. */
#include "relay/client_queue.h"
#include "relay/connect_order.h"
#include "relay/connect_proxy.h"
#include "test/base/test_env.h"

/* --- urls ------------------------------------------------------------------------------------ */

static void urls_are_taken_apart(void **state) {
  (void)state;
  static const struct {
    const char *url, *host, *authority, *path;
    uint16_t port;
    bool tls;
  } good[] = {
      {"https://use1-1.relay.n0.iroh.link./", "use1-1.relay.n0.iroh.link",
       "use1-1.relay.n0.iroh.link", "/relay", 443, true},
      {"http://127.0.0.1:3340/", "127.0.0.1", "127.0.0.1:3340", "/relay", 3340, false},
      {"https://[2001:db8::1]:8443/", "2001:db8::1", "[2001:db8::1]:8443", "/relay", 8443, true},
      {"https://[::1]/", "::1", "[::1]", "/relay", 443, true},
      {"ws://a/", "a", "a", "/relay", 80, false},
      {"wss://a:80/", "a", "a:80", "/relay", 80, true},
      {"relay://a/", "a", "a", "/relay", 443, true},
      {"https://a", "a", "a", "/relay", 443, true},
      {"https://u:p@a/some/path?x=1#f", "a", "a", "/relay", 443, true},
      {"https://a/?token=t%20t&x=1", "a", "a", "/relay?token=t%20t", 443, true},
      {"https://a/?x=1&token=abc#token=no", "a", "a", "/relay?token=abc", 443, true},
      {"https://a/?nottoken=abc", "a", "a", "/relay", 443, true},
      {"https://a/#?token=abc", "a", "a", "/relay", 443, true},
  };
  for (size_t i = 0; i < COUNT_OF(good); i++) {
    km_relay_url url;
    km_errinfo err = {.text = ""};
    if (km_relay_url_read(&url, good[i].url, &err) != 0) {
      fail_msg("%s: %s", good[i].url, err.text);
    }
    assert_string_equal(url.host, good[i].host);
    assert_string_equal(url.authority, good[i].authority);
    assert_string_equal(url.path, good[i].path);
    assert_int_equal(url.port, good[i].port);
    assert_int_equal(url.tls, good[i].tls);
  }
}

static void bad_urls_are_refused(void **state) {
  (void)state;
  static const char *const bad[] = {"",
                                    "a",
                                    "https:/a",
                                    "https://",
                                    "https:///x",
                                    "https://a:/",
                                    "https://a:0/",
                                    "https://a:65536/",
                                    "https://a:1x/",
                                    "https://[::1/",
                                    "https://[::1]x/",
                                    "https://:80/",
                                    "https://u@/"};
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    km_relay_url url;
    assert_int_equal(km_relay_url_read(&url, bad[i], NULL), KM_ERR_BAD_RELAY_URL);
  }
  char text[600] = "https://";
  memset(text + 8, 'a', 300);
  km_relay_url url;
  assert_int_equal(km_relay_url_read(&url, text, NULL), KM_ERR_BAD_RELAY_URL);
  char long_token[KM_RELAY_URL_MAX + 64] = "https://a/?token=";
  memset(long_token + 17, 'x', KM_RELAY_URL_MAX);
  assert_int_equal(km_relay_url_read(&url, long_token, NULL), KM_ERR_BAD_RELAY_URL);
}

static void literals_are_known(void **state) {
  (void)state;
  km_udp_addr addr;
  assert_true(km_relay_host_literal("192.0.2.1", 443, &addr));
  assert_int_equal(addr.family, 4);
  assert_int_equal(addr.port, 443);
  assert_true(km_relay_host_literal("2001:db8::1", 80, &addr));
  assert_int_equal(addr.family, 6);
  assert_false(km_relay_host_literal("example.org", 80, &addr));
  assert_false(km_relay_host_literal("192.0.2", 80, &addr));
}

/* --- proxies --------------------------------------------------------------------------------- */

typedef struct variable {
  const char *name, *value;
} variable;

static const char *get(void *ctx, const char *name) {
  for (const variable *v = ctx; v->name != NULL; v++) {
    if (strcmp(v->name, name) == 0) {
      return v->value;
    }
  }
  return NULL;
}

static km_relay_proxy choose(const char *url_text, variable a, variable b) {
  variable all[] = {a, b, {NULL, NULL}};
  if (a.name == NULL) {
    all[0] = b;
    all[1].name = NULL;
  }
  km_relay_url url;
  km_relay_proxy proxy;
  assert_int_equal(km_relay_url_read(&url, url_text, NULL), 0);
  assert_int_equal(km_relay_proxy_choose(&proxy, &url, get, all, NULL), 0);
  return proxy;
}

#define NONE                                                                                       \
  (variable) {                                                                                     \
    NULL, NULL                                                                                     \
  }
#define VAR(name, value)                                                                           \
  (variable) {                                                                                     \
    name, value                                                                                    \
  }

static void the_scheme_chooses_the_variable(void **state) {
  (void)state;
  assert_false(choose("https://a/", NONE, NONE).used);
  assert_true(choose("https://a/", VAR("https_proxy", "p:1"), NONE).used);
  assert_true(choose("https://a/", VAR("HTTPS_PROXY", "p:1"), NONE).used);
  assert_true(choose("wss://a/", VAR("ALL_PROXY", "p:1"), NONE).used);
  assert_true(choose("http://a/", VAR("all_proxy", "p:1"), NONE).used);
  assert_true(choose("http://a/", VAR("http_proxy", "p:1"), NONE).used);
  assert_false(choose("http://a/", VAR("HTTP_PROXY", "p:1"), NONE).used); /* httpoxy */
  assert_false(choose("http://a/", VAR("https_proxy", "p:1"), NONE).used);
  assert_false(choose("https://a/", VAR("http_proxy", "p:1"), NONE).used);
  km_relay_proxy p = choose("https://a/", VAR("https_proxy", "one:1"), VAR("ALL_PROXY", "two:2"));
  assert_string_equal(p.host, "one");
  assert_false(choose("https://a/", VAR("https_proxy", ""), VAR("ALL_PROXY", "two:2")).used);
}

static void proxies_are_read(void **state) {
  (void)state;
  static const struct {
    const char *text, *host, *auth;
    uint16_t port;
  } good[] = {
      {"http://proxy.test:3128", "proxy.test", "", 3128},
      {"HTTP://proxy.test:3128/", "proxy.test", "", 3128},
      {"proxy.test:8080", "proxy.test", "", 8080},
      {"proxy.test", "proxy.test", "", 1080},
      {"http://[2001:db8::1]:80", "2001:db8::1", "", 80},
      {"http://[2001:db8::1]", "2001:db8::1", "", 1080},
      {"http://proxy.test:80", "proxy.test", "", 80},
      {"http://user:pass@proxy.test:1", "proxy.test", "dXNlcjpwYXNz", 1},
      {"http://u%40x:p%3A@proxy.test:1", "proxy.test", "dUB4OnA6", 1},
      {"http://user@proxy.test:1", "proxy.test", "dXNlcjo=", 1},
      {"user:p@ss@proxy.test:1", "proxy.test", "dXNlcjpwQHNz", 1},
  };
  for (size_t i = 0; i < COUNT_OF(good); i++) {
    km_relay_proxy p = choose("https://a/", VAR("https_proxy", good[i].text), NONE);
    assert_true(p.used);
    assert_string_equal(p.host, good[i].host);
    assert_string_equal(p.auth, good[i].auth);
    assert_int_equal(p.port, good[i].port);
  }
  static const char *const bad[] = {"socks5://p:1", "https://p:1", "http://", "http://p:0",
                                    "http://p:99999"};
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    variable all[] = {{"https_proxy", bad[i]}, {NULL, NULL}};
    km_relay_url url;
    km_relay_proxy proxy;
    km_errinfo err;
    assert_int_equal(km_relay_url_read(&url, "https://a/", NULL), 0);
    assert_int_equal(km_relay_proxy_choose(&proxy, &url, get, all, &err), KM_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "https_proxy"));
  }
}

static void no_proxy_exempts(void **state) {
  (void)state;
  static const struct {
    const char *url, *list;
    bool used;
  } cases[] = {
      {"https://a.example.org/", "example.org", false},
      {"https://a.example.org/", ".example.org", false},
      {"https://example.org/", ".example.org", false},
      {"https://a.example.org/", "x, EXAMPLE.org ,y", false},
      {"https://a.example.org/", "x y example.org.", false},
      {"https://notexample.org/", "example.org", true},
      {"https://example.org/", "a.example.org", true},
      {"https://example.org/", "*", false},
      {"https://example.org/", "", true},
      {"https://example.org/", ",,", true},
      {"https://127.0.0.1/", "127.0.0.1", false},
      {"https://127.0.0.1/", "127.0.0.0/8", false},
      {"https://127.0.0.1/", "126.0.0.0/8", true},
      {"https://192.0.2.129/", "192.0.2.128/25", false},
      {"https://192.0.2.127/", "192.0.2.128/25", true},
      {"https://192.0.2.127/", "0.0.0.0/0", false},
      {"https://192.0.2.127/", "192.0.2.0/33", true},
      {"https://[2001:db8::1]/", "2001:db8::/32", false},
      {"https://[2001:db8::1]/", "2001:db8::1", false},
      {"https://[2001:db9::1]/", "2001:db8::/32", true},
      {"https://192.0.2.1/", "2.1", true}, /* an address is no name */
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    bool used =
        choose(cases[i].url, VAR("https_proxy", "p:1"), VAR("NO_PROXY", cases[i].list)).used;
    if (used != cases[i].used) {
      fail_msg("%s with no_proxy=%s", cases[i].url, cases[i].list);
    }
  }
}

static void connect_is_spoken(void **state) {
  (void)state;
  char request[KM_RELAY_PROXY_REQUEST_CAP];
  km_relay_url url;
  km_relay_proxy proxy = {.used = true, .host = "p", .port = 1, .auth = "dXNlcjo="};
  assert_int_equal(km_relay_url_read(&url, "https://[2001:db8::1]:8443/", NULL), 0);
  request[km_relay_proxy_request(request, &proxy, &url)] = '\0';
  assert_string_equal(request, "CONNECT [2001:db8::1]:8443 HTTP/1.1\r\n"
                               "Host: [2001:db8::1]:8443\r\n"
                               "Proxy-Authorization: Basic dXNlcjo=\r\n\r\n");
  proxy.auth[0] = '\0';
  assert_int_equal(km_relay_url_read(&url, "http://relay.test/", NULL), 0);
  request[km_relay_proxy_request(request, &proxy, &url)] = '\0';
  assert_string_equal(request, "CONNECT relay.test:80 HTTP/1.1\r\nHost: relay.test:80\r\n\r\n");
}

static void answers_are_read_byte_by_byte(void **state) {
  (void)state;
  km_relay_proxy proxy = {.used = true, .host = "p"};
  static const char good[] = "HTTP/1.1 200 OK\r\nVia: x\r\n\r\n";
  static const char no[] = "HTTP/1.0 407 Who?\r\n\r\n";
  static const char junk[] = "SSH-2.0-x";
  km_errinfo err;
  for (size_t n = 0; n < sizeof good - 1; n++) {
    assert_int_equal(km_relay_proxy_answer(good, n, &proxy, &err), 0);
  }
  assert_int_equal(km_relay_proxy_answer(good, sizeof good - 1, &proxy, &err), 1);
  assert_int_equal(km_relay_proxy_answer(no, sizeof no - 1, &proxy, &err),
                   KM_ERR_RELAY_UNREACHABLE);
  assert_non_null(strstr(err.text, "407"));
  assert_int_equal(km_relay_proxy_answer(junk, 1, &proxy, &err), KM_ERR_RELAY_UNREACHABLE);
  char *much = malloc(KM_RELAY_PROXY_ANSWER_MAX);
  memset(much, 'a', KM_RELAY_PROXY_ANSWER_MAX);
  memcpy(much, good, 15);
  assert_int_equal(km_relay_proxy_answer(much, KM_RELAY_PROXY_ANSWER_MAX - 1, &proxy, &err), 0);
  assert_int_equal(km_relay_proxy_answer(much, KM_RELAY_PROXY_ANSWER_MAX, &proxy, &err),
                   KM_ERR_RELAY_UNREACHABLE);
  free(much);
}

/* --- addresses ------------------------------------------------------------------------------- */

static void expect_order(const char *families, const char *want, unsigned last) {
  km_udp_addr addrs[16], none = {.family = 0};
  size_t count = strlen(families);
  for (size_t i = 0; i < count; i++) {
    addrs[i] = (km_udp_addr){.family = families[i] == '6' ? 6 : 4, .port = (uint16_t)(i + 1)};
  }
  km_udp_addr bad = last > 0 ? addrs[last - 1] : none;
  km_relay_order_addresses(addrs, count, &bad);
  char got[17] = "";
  for (size_t i = 0; i < count; i++) {
    got[i] = (char)('a' + addrs[i].port - 1);
  }
  assert_string_equal(got, want);
}

static void families_take_turns(void **state) {
  (void)state;
  expect_order("", "", 0);
  expect_order("6", "a", 1);
  expect_order("666444", "adbecf", 0);
  expect_order("446", "acb", 0);
  expect_order("6664", "adbc", 0);
  expect_order("4646", "abcd", 0);
  expect_order("444", "abc", 0);
  expect_order("64", "ba", 1); /* the one that did no good comes last */
  expect_order("666444", "dbecfa", 1);
  expect_order("64", "ab", 2);
}

/* --- the queue ------------------------------------------------------------------------------- */

static void push(km_relay_queue *q, uint8_t value, size_t len) {
  uint8_t *frame = km_relay_queue_add(q, len);
  assert_non_null(frame);
  memset(frame, value, len);
}

static void pull(km_relay_queue *q, uint8_t value, size_t len) {
  size_t got;
  uint8_t *frame = km_relay_queue_first(q, &got);
  assert_non_null(frame);
  assert_int_equal(got, len);
  for (size_t i = 0; i < len; i++) {
    assert_int_equal(frame[i], value);
  }
  memset(frame - KM_RELAY_QUEUE_ROOM, 0xee, KM_RELAY_QUEUE_ROOM + len); /* as a write does */
  km_relay_queue_drop_first(q);
}

static void frames_leave_as_they_came(void **state) {
  (void)state;
  test_env env;
  test_env_init(&env);
  km_relay_queue q;
  km_relay_queue_init(&q, &env.env);
  assert_null(km_relay_queue_first(&q, &(size_t){0}));
  unsigned in = 0, out = 0;
  uint32_t seed = 12345;
  for (int round = 0; round < 20000; round++) {
    seed = seed * 1664525 + 1013904223;
    if ((seed >> 16 & 1) != 0 && km_relay_queue_has_room(&q, 1, 3000) && in - out < 200) {
      push(&q, (uint8_t)in, 1 + (in * 37) % 3000);
      in++;
    } else if (out < in) {
      pull(&q, (uint8_t)out, 1 + (out * 37) % 3000);
      out++;
    }
  }
  while (out < in) {
    pull(&q, (uint8_t)out, 1 + (out * 37) % 3000);
    out++;
  }
  assert_int_equal(q.used, 0);
  assert_true(in > 5000);
  km_relay_queue_free(&q);
  assert_int_equal(env.live, 0);
}

static void it_is_full_at_its_limits(void **state) {
  (void)state;
  test_env env;
  test_env_init(&env);
  km_relay_queue q;
  km_relay_queue_init(&q, &env.env);
  for (unsigned i = 0; i < KM_RELAY_QUEUE_FRAMES; i++) {
    push(&q, (uint8_t)i, 100);
  }
  assert_null(km_relay_queue_add(&q, 100));
  assert_false(km_relay_queue_has_room(&q, 1, 1));
  for (unsigned i = 0; i < KM_RELAY_QUEUE_FRAMES; i++) {
    pull(&q, (uint8_t)i, 100);
  }
  size_t frames = KM_RELAY_QUEUE_BYTES / 65536;
  for (size_t i = 0; i < frames; i++) {
    push(&q, (uint8_t)i, 65536);
  }
  assert_null(km_relay_queue_add(&q, 1));
  pull(&q, 0, 65536);
  push(&q, 99, 65536);
  assert_null(km_relay_queue_add(&q, 1));
  for (size_t i = 1; i < frames; i++) {
    pull(&q, (uint8_t)i, 65536);
  }
  pull(&q, 99, 65536);
  long live = env.live;
  for (int i = 0; i < 1000; i++) { /* no memory for what comes later */
    push(&q, 1, 65536);
    push(&q, 2, 1);
    pull(&q, 1, 65536);
    pull(&q, 2, 1);
  }
  assert_int_equal(env.live, live);
  km_relay_queue_free(&q);
  assert_int_equal(env.live, 0);
}

static void want_of_memory_refuses(void **state) {
  (void)state;
  test_env env;
  test_env_init(&env);
  km_relay_queue q;
  km_relay_queue_init(&q, &env.env);
  env.fail_after = 0;
  assert_null(km_relay_queue_add(&q, 10));
  env.fail_after = 1;
  push(&q, 5, 10);
  assert_null(km_relay_queue_add(&q, 1 << 20));
  pull(&q, 5, 10);
  km_relay_queue_free(&q);
  assert_int_equal(env.live, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(urls_are_taken_apart),     cmocka_unit_test(bad_urls_are_refused),
      cmocka_unit_test(literals_are_known),       cmocka_unit_test(the_scheme_chooses_the_variable),
      cmocka_unit_test(proxies_are_read),         cmocka_unit_test(no_proxy_exempts),
      cmocka_unit_test(connect_is_spoken),        cmocka_unit_test(answers_are_read_byte_by_byte),
      cmocka_unit_test(families_take_turns),      cmocka_unit_test(frames_leave_as_they_came),
      cmocka_unit_test(it_is_full_at_its_limits), cmocka_unit_test(want_of_memory_refuses),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
