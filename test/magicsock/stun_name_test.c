/* How STUN servers are named on command lines. */
#include "magicsock/report_io.h"

#include "test/base/test_env.h"

static void good_names(void **state) {
  (void)state;
  static const struct {
    const char *name, *host;
    uint16_t port;
  } cases[] = {
      {"stun.example.org", "stun.example.org", 3478},
      {"stun.example.org:19302", "stun.example.org", 19302},
      {"192.0.2.1", "192.0.2.1", 3478},
      {"192.0.2.1:1", "192.0.2.1", 1},
      {"[2001:db8::1]", "2001:db8::1", 3478},
      {"[2001:db8::1]:65535", "2001:db8::1", 65535},
      {"2001:db8::1", "2001:db8::1", 3478}, /* as a relay's url has it, without its brackets */
      {"x:00080", "x", 80},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    char host[KM_STUN_HOST_CAP];
    uint16_t port = 0;
    assert_int_equal(km_stun_name_read(host, &port, cases[i].name, NULL), 0);
    assert_string_equal(host, cases[i].host);
    assert_int_equal(port, cases[i].port);
  }
}

static void bad_names(void **state) {
  (void)state;
  static const char *const names[] = {
      "",    ":3478",     "x:",   "x:0",     "x:65536",     "x:999999",  "x:1x",    "x: 1",
      "a b", "stun:x/y",  "[::1", "[]",      "[x]:1",       "[::1]3478", "[::1]:",  "user@x",
      "x\n", "h\xc3\xa9", "x:-1", "[::1]:0", "http://x:1/", "stun:x:1",  "1::2::3", "[1::2::3]:1",
  };
  for (size_t i = 0; i < COUNT_OF(names); i++) {
    char host[KM_STUN_HOST_CAP] = "untouched";
    uint16_t port = 7;
    km_errinfo err = {0};
    if (km_stun_name_read(host, &port, names[i], &err) != KM_ERR_INVALID) {
      fail_msg("'%s' was taken", names[i]);
    }
    assert_string_equal(host, "untouched");
    assert_int_equal(port, 7);
    assert_int_equal(err.code, KM_ERR_INVALID);
  }
}

static void long_names(void **state) {
  (void)state;
  char name[KM_STUN_HOST_CAP + 1], host[KM_STUN_HOST_CAP];
  uint16_t port;
  memset(name, 'x', sizeof name);
  name[KM_STUN_HOST_CAP] = '\0';
  assert_int_equal(km_stun_name_read(host, &port, name, NULL), KM_ERR_INVALID);
  name[KM_STUN_HOST_CAP - 1] = '\0';
  assert_int_equal(km_stun_name_read(host, &port, name, NULL), 0);
  assert_string_equal(host, name);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(good_names),
      cmocka_unit_test(bad_names),
      cmocka_unit_test(long_names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
