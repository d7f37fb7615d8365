/* The sentence of a look-up that found nothing. */
#include "discovery/core.h"
#include "test/base/test_env.h"

static km_said said(const char *source, int code, const char *text) {
  km_said ret = {.source = source, .err = {.code = code}};
  (void)snprintf(ret.err.text, sizeof ret.err.text, "%s", text);
  return ret;
}

static void expect(const km_said *all, size_t count, int code, const char *text) {
  km_errinfo err = {0};
  km_said_summary(all, count, &err);
  assert_int_equal(err.code, code);
  assert_string_equal(err.text, text);
}

static void codes(void **state) {
  (void)state;
  const km_said a[] = {said("dns", KM_ERR_TIMEOUT, "x"), said("mdns", KM_ERR_TIMEOUT, "y")};
  expect(a, 2, KM_ERR_TIMEOUT, "nobody knows it: dns: x; mdns: y");
  const km_said b[] = {said("memory", 0, ""), said("dns", KM_ERR_DNS, "x"),
                       said("pkarr", KM_ERR_SERVER_TLS, "z")};
  expect(b, 3, KM_ERR_DNS, "nobody knows it: dns: x; pkarr: z");
  const km_said c[] = {said("dns", KM_ERR_DNS, "x"), said("pkarr", KM_ERR_NOT_FOUND, "z")};
  expect(c, 2, KM_ERR_NOT_FOUND, "nobody knows it: dns: x; pkarr: z");
  const km_said d[] = {said("memory", 0, ""), said("cache", 0, ""), said("file", 0, "")};
  expect(d, 3, KM_ERR_NOT_FOUND, "nobody knows it: not in memory, cache, file");
}

static void long_ones_share(void **state) {
  (void)state;
  char text[192];
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  km_said all[KM_DISCOVERY_MAX_SOURCES];
  for (size_t n = 1; n <= COUNT_OF(all); n++) {
    for (size_t i = 0; i < n; i++) {
      all[i] = said("abcd", KM_ERR_NOT_FOUND, text);
    }
    if (n > 1) {
      all[n - 1] = said("last", KM_ERR_NOT_FOUND, "no");
    }
    km_errinfo err = {0};
    km_said_summary(all, n, &err);
    size_t len = strlen(err.text);
    assert_true(len < sizeof err.text);
    if (n <= 12) { /* all have their say, and short ones all of it */
      assert_true(len > sizeof err.text - 1 - n);
      assert_true(n == 1 || strcmp(err.text + len - 8, "last: no") == 0);
      assert_non_null(strstr(err.text, "..."));
    }
  }
}

static void many_silent_ones(void **state) {
  (void)state;
  km_said all[KM_DISCOVERY_MAX_SOURCES];
  for (size_t i = 0; i < COUNT_OF(all); i++) {
    all[i] = said("abcdefghijklmnop", 0, "");
  }
  km_errinfo err = {0};
  km_said_summary(all, COUNT_OF(all), &err);
  assert_int_equal(err.code, KM_ERR_NOT_FOUND);
  assert_true(strlen(err.text) < sizeof err.text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(codes),
      cmocka_unit_test(long_ones_share),
      cmocka_unit_test(many_silent_ones),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
