#include "base/relay_url.h"

#include "test/base/test_env.h"

/* Checked against the WHATWG parser of node 20 and, through tickets, against the real binding. */
static const struct {
  const char *in, *out; /* NULL where the text is refused */
} cases[] = {
    {"https://relay.example.com", "https://relay.example.com/"},
    {"https://use1-1.relay.n0.iroh.link./", "https://use1-1.relay.n0.iroh.link./"},
    {"HTTPS://Relay.Example.COM:443/", "https://relay.example.com/"},
    {"http://h:80", "http://h/"},
    {"http://h:443", "http://h:443/"},
    {"ws://h:80/", "ws://h/"},
    {"wss://h:443/", "wss://h/"},
    {"ftp://x:21", "ftp://x/"},
    {"http://h:", "http://h/"},
    {"http://h:00080/", "http://h/"},
    {"http://h:0/", "http://h:0/"},
    {"http://h:65535/", "http://h:65535/"},
    {"http://h:65536/", NULL},
    {"http://h:8x/", NULL},
    {"http://h:-1/", NULL},
    /* Hosts. */
    {"http://127.1", "http://127.0.0.1/"},
    {"http://0x7f.1", "http://127.0.0.1/"},
    {"http://0300.1", "http://192.0.0.1/"},
    {"http://4294967295", "http://255.255.255.255/"},
    {"http://4294967296", NULL},
    {"http://1.2.3.4.", "http://1.2.3.4/"},
    {"http://1.2.3.256", NULL},
    {"http://1.256.3.4", NULL},
    {"http://1.2.3.4.5", NULL},
    {"http://1..2", NULL},
    {"http://09", NULL},
    {"http://a.1", NULL},
    {"http://a.0x", NULL},
    {"http://0x", "http://0.0.0.0/"},
    {"http://0xg", "http://0xg/"},
    {"http://a..b", "http://a..b/"},
    {"http://[2001:DB8:0:0:1::1]:8080", "http://[2001:db8::1:0:0:1]:8080/"},
    {"http://[::ffff:1.2.3.4]/", "http://[::ffff:102:304]/"},
    {"http://[::1", NULL},
    {"http://[]", NULL},
    {"http://[::1]x", NULL},
    {"http://h%41", "http://ha/"},
    {"http://h%", NULL},
    {"http://a%20b", NULL},
    {"http://a b", NULL},
    {"http://a<b", NULL},
    {"http://a|b", NULL},
    {"http://a%00b", NULL},
    {"http://a\x7f"
     "b",
     NULL},
    {"http://xn--bcher-kva.de", "http://xn--bcher-kva.de/"},
    {"http://b\xc3\xbc"
     "cher.de",
     NULL},
    {"http://b%C3%BCcher.de", NULL},
    {"http://", NULL},
    {"http://:80", NULL},
    {"http://?x", NULL},
    /* Paths, queries, fragments, user names. */
    {"http://h/a/./b/../c", "http://h/a/c"},
    {"http://h/..", "http://h/"},
    {"http://h/a/..", "http://h/"},
    {"http://h/a/%2e%2E/x", "http://h/x"},
    {"http://h/.%2e/%2e", "http://h/"},
    {"http://h/a//../b", "http://h/a/b"},
    {"http://h/...", "http://h/..."},
    {"http://h\\a\\..\\b", "http://h/b"},
    {"http://h/a b\"<>`{}\xc3\xa9", "http://h/a%20b%22%3C%3E%60%7B%7D%C3%A9"},
    {"http://h/%zz", "http://h/%zz"},
    {"http://h?", "http://h/?"},
    {"http://h#", "http://h/#"},
    {"http://h/?a='b'?c#d'#e`", "http://h/?a=%27b%27?c#d'#e%60"},
    {"http://u:p@h/", "http://u:p@h/"},
    {"http://u:@h/", "http://u@h/"},
    {"http://:p@h/", "http://:p@h/"},
    {"http://@h/", "http://h/"},
    {"http://a@b:c:d@h/", "http://a%40b:c%3Ad@h/"},
    {"http://u@", NULL},
    /* Spellings of the beginning. */
    {"  \thttp://h\n", "http://h/"},
    {"ht\ntp://h/a\tb", "http://h/ab"},
    {"http:h", "http://h/"},
    {"http:////h", "http://h/"},
    {"http:\\\\h", "http://h/"},
    {"foo://Bar", "foo://Bar"},
    {"foo://Bar:80/a/../b", "foo://Bar:80/b"},
    {"foo://b\xc3\xbc/?'", "foo://b%C3%BC/?'"},
    {"foo://b r", NULL},
    {"foo:///x", NULL},
    {"foo:bar", NULL},
    {"file:///x", NULL},
    {"mailto:x", NULL},
    {"foo", NULL},
    {"", NULL},
    {"://h", NULL},
    {"1http://h", NULL},
    {"h\xffttp://h", NULL},
    {"http://h/\xff", NULL},
};

static void normalises_as_the_url_standard_says(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    char url[KM_RELAY_URL_MAX + 1];
    km_errinfo err = {0};
    int rv = km_relay_url_normalise(url, sizeof url, cases[i].in, strlen(cases[i].in), &err);
    if (cases[i].out == NULL) {
      assert_int_equal(rv, KM_ERR_BAD_RELAY_URL);
      assert_int_equal(err.code, KM_ERR_BAD_RELAY_URL);
      assert_true(strlen(err.text) > 20);
      continue;
    }
    assert_int_equal(rv, (int)strlen(cases[i].out));
    assert_string_equal(url, cases[i].out);
    /* What is normal stays as it is. */
    char again[KM_RELAY_URL_MAX + 1];
    assert_int_equal(km_relay_url_normalise(again, sizeof again, url, (size_t)rv, NULL), rv);
    assert_string_equal(again, url);
  }
}

static void lengths_are_bounded(void **state) {
  (void)state;
  char in[KM_RELAY_URL_MAX + 10];
  char url[KM_RELAY_URL_MAX + 1];
  memset(in, 'a', sizeof in);
  memcpy(in, "http://h/", 9);
  assert_int_equal(km_relay_url_normalise(url, sizeof url, in, KM_RELAY_URL_MAX, NULL),
                   KM_RELAY_URL_MAX);
  assert_int_equal(km_relay_url_normalise(url, sizeof url, in, KM_RELAY_URL_MAX + 1, NULL),
                   KM_ERR_BAD_RELAY_URL);
  /* Percent-encoding makes three bytes of one. */
  memset(in + 9, '"', sizeof in - 9);
  assert_int_equal(km_relay_url_normalise(url, sizeof url, in, KM_RELAY_URL_MAX, NULL),
                   KM_ERR_BAD_RELAY_URL);
  /* A host beyond any name. */
  memset(in, 'a', sizeof in);
  memcpy(in, "http://", 7);
  assert_int_equal(km_relay_url_normalise(url, sizeof url, in, 2000, NULL), KM_ERR_BAD_RELAY_URL);
  memcpy(in, "foo://", 6);
  assert_int_equal(km_relay_url_normalise(url, sizeof url, in, 2000, NULL), KM_ERR_BAD_RELAY_URL);
  /* Every too small buffer is refused and not overrun. */
  for (size_t cap = 0; cap <= 10; cap++) {
    memset(url, 0x7e, sizeof url);
    int rv = km_relay_url_normalise(url, cap, "http://h:8", 10, NULL);
    assert_int_equal(rv, KM_ERR_BAD_RELAY_URL);
    assert_int_equal(url[cap], 0x7e);
  }
  assert_int_equal(km_relay_url_normalise(url, 12, "http://h:8", 10, NULL), 11);
}

static void own_relays_are_of_http(void **state) {
  (void)state;
  static const char *const good[] = {"https://h", "HTTP://h:8", "wss://h", "ws://h:3340/"};
  static const char *const others[] = {"ftp://h", "htps://h", "file://h/", "https2://h",
                                       "nonsense"};
  char url[KM_RELAY_URL_MAX + 1];
  km_errinfo err;
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
    char other[KM_RELAY_URL_MAX + 1];
    size_t len = strlen(good[i]);
    assert_int_equal(km_relay_url_take(url, sizeof url, good[i], len, NULL),
                     km_relay_url_normalise(other, sizeof other, good[i], len, NULL));
    assert_string_equal(url, other);
  }
  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
    assert_int_equal(km_relay_url_take(url, sizeof url, others[i], strlen(others[i]), &err),
                     KM_ERR_BAD_RELAY_URL);
    assert_non_null(strstr(err.text, "write https://host/"));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(normalises_as_the_url_standard_says),
      cmocka_unit_test(lengths_are_bounded),
      cmocka_unit_test(own_relays_are_of_http),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
