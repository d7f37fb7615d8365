#include "base/udp_addr.h"

#include <netinet/in.h>

#include "test/base/test_env.h"

static void reads_and_prints(void **state) {
  (void)state;
  static const struct {
    const char *in, *out;
    uint8_t family;
    uint16_t port;
    uint32_t scope;
  } cases[] = {
      {"192.0.2.1:4433", "192.0.2.1:4433", 4, 4433, 0},
      {"0.0.0.0:0", "0.0.0.0:0", 4, 0, 0},
      {"[2001:DB8::1]:65535", "[2001:db8::1]:65535", 6, 65535, 0},
      {"[::]:1", "[::]:1", 6, 1, 0},
      {"[::ffff:10.0.0.1]:9", "[::ffff:10.0.0.1]:9", 6, 9, 0},
      {"[fe80::1%2]:4433", "[fe80::1%2]:4433", 6, 4433, 2},
      {"[fe80::1%4294967295]:1", "[fe80::1%4294967295]:1", 6, 1, UINT32_MAX},
      {"[fe80::1%0]:1", "[fe80::1]:1", 6, 1, 0},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    km_udp_addr addr;
    km_errinfo err;
    assert_int_equal(km_udp_addr_parse(&addr, cases[i].in, strlen(cases[i].in), &err), 0);
    assert_int_equal(addr.family, cases[i].family);
    assert_int_equal(addr.port, cases[i].port);
    assert_int_equal(addr.scope_id, cases[i].scope);
    char text[KM_UDP_ADDR_TEXT_CAP];
    int len = (int)strlen(cases[i].out);
    assert_int_equal(km_udp_addr_format(&addr, text, sizeof text), len);
    assert_string_equal(text, cases[i].out);
    assert_int_equal(km_udp_addr_format(&addr, text, (size_t)len + 1), len);
    assert_int_equal(km_udp_addr_format(&addr, text, (size_t)len), KM_ERR_BUFFER);
  }
  km_udp_addr none = {0};
  char text[KM_UDP_ADDR_TEXT_CAP];
  assert_int_equal(km_udp_addr_format(&none, text, sizeof text), 4);
  assert_string_equal(text, "none");
}

static void the_longest_address_fits_its_buffer(void **state) {
  (void)state;
  km_udp_addr addr = {.family = 6, .port = 65535, .scope_id = UINT32_MAX};
  memset(addr.ip, 0xff, sizeof addr.ip);
  char text[KM_UDP_ADDR_TEXT_CAP];
  assert_true(km_udp_addr_format(&addr, text, sizeof text) > 0);
}

static void refuses_anything_else(void **state) {
  (void)state;
  static const char *const bad[] = {
      "",
      ":",
      "1.2.3.4",
      "1.2.3.4:",
      "1.2.3.4:65536",
      "1.2.3.4:99999999999",
      "1.2.3.4:080",
      "1.2.3.4:+1",
      "1.2.3.4: 1",
      "1.2.3.4:1 ",
      "01.2.3.4:1",
      "::1:1",
      "[::1]",
      "[::1]1",
      "[::1:1",
      "[]:1",
      "[1.2.3.4]:1",
      "[::1%1]:1",
      "[2001:db8::1%1]:1",
      "[fe80::1%]:1",
      "[fe80::1%eth0]:1",
      "[fe80::1%4294967296]:1",
      "[fe80::1%01]:1",
      "[fe80::1%-1]:1",
      "localhost:1",
      "é:1",
      "1.2.3.4:1\n",
  };
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    km_udp_addr addr = {.family = 99};
    km_errinfo err = {0};
    assert_int_equal(km_udp_addr_parse(&addr, bad[i], strlen(bad[i]), &err), KM_ERR_BAD_ADDR);
    assert_int_equal(addr.family, 99);
    assert_int_equal(err.code, KM_ERR_BAD_ADDR);
    assert_true(strlen(err.text) > 20);
  }
  /* Bytes behind the length are not read, a NUL within is no end. */
  km_udp_addr addr;
  assert_int_equal(km_udp_addr_parse(&addr, "1.2.3.4:123", 10, NULL), 0);
  assert_int_equal(addr.port, 12);
  assert_int_equal(km_udp_addr_parse(&addr, "1.2.3.4:1\0", 10, NULL), KM_ERR_BAD_ADDR);
}

static void goes_through_sockaddr_and_back(void **state) {
  (void)state;
  static const char *const texts[] = {"192.0.2.1:4433", "[2001:db8::1]:1", "[fe80::1%3]:65535"};
  for (size_t i = 0; i < COUNT_OF(texts); i++) {
    km_udp_addr addr;
    assert_int_equal(km_udp_addr_parse(&addr, texts[i], strlen(texts[i]), NULL), 0);
    struct sockaddr_storage ss;
    memset(&ss, 0xa5, sizeof ss);
    socklen_t len = km_udp_addr_to_sockaddr(&addr, &ss);
    km_udp_addr back;
    assert_true(km_udp_addr_from_sockaddr(&back, (const struct sockaddr *)&ss, len));
    assert_true(km_udp_addr_equal(&addr, &back));
    /* Too short for its family, however little is missing. */
    for (socklen_t shorter = 0; shorter < len; shorter++) {
      assert_false(km_udp_addr_from_sockaddr(&back, (const struct sockaddr *)&ss, shorter));
    }
  }
  struct sockaddr_storage ss;
  km_udp_addr none = {0};
  assert_int_equal(km_udp_addr_to_sockaddr(&none, &ss), 0);
  ss.ss_family = AF_UNIX;
  assert_false(km_udp_addr_from_sockaddr(&none, (const struct sockaddr *)&ss, sizeof ss));
}

static void reads_a_sockaddr_at_any_alignment(void **state) {
  (void)state;
  km_udp_addr addr;
  assert_int_equal(km_udp_addr_parse(&addr, "[2001:db8::7]:7", 15, NULL), 0);
  struct sockaddr_storage ss;
  socklen_t len = km_udp_addr_to_sockaddr(&addr, &ss);
  uint8_t buf[sizeof ss + 8];
  for (size_t shift = 0; shift < 8; shift++) {
    memcpy(buf + shift, &ss, len);
    km_udp_addr back;
    const void *at = buf + shift;
    assert_true(km_udp_addr_from_sockaddr(&back, at, len));
    assert_true(km_udp_addr_equal(&addr, &back));
  }
}

static void a_scope_stays_with_link_local_addresses_only(void **state) {
  (void)state;
  struct sockaddr_in6 in = {.sin6_family = AF_INET6, .sin6_scope_id = 5};
  in.sin6_addr.s6_addr[0] = 0x20;
  km_udp_addr addr;
  assert_true(km_udp_addr_from_sockaddr(&addr, (const struct sockaddr *)&in, sizeof in));
  assert_int_equal(addr.scope_id, 0);
  in.sin6_addr.s6_addr[0] = 0xfe;
  in.sin6_addr.s6_addr[1] = 0xbf;
  assert_true(km_udp_addr_from_sockaddr(&addr, (const struct sockaddr *)&in, sizeof in));
  assert_int_equal(addr.scope_id, 5);
}

static void the_order_is_by_family_bytes_port(void **state) {
  (void)state;
  static const char *const ordered[] = {"10.0.0.1:9",    "10.0.0.1:10",   "10.0.0.2:1",
                                        "203.0.113.7:9", "[::1]:9",       "[::ffff:10.0.0.1]:9",
                                        "[fe80::1]:9",   "[fe80::1%1]:9", "[fe80::1%2]:9"};
  km_udp_addr addrs[COUNT_OF(ordered)];
  for (size_t i = 0; i < COUNT_OF(ordered); i++) {
    assert_int_equal(km_udp_addr_parse(&addrs[i], ordered[i], strlen(ordered[i]), NULL), 0);
  }
  for (size_t i = 0; i < COUNT_OF(ordered); i++) {
    for (size_t j = 0; j < COUNT_OF(ordered); j++) {
      int order = km_udp_addr_compare(&addrs[i], &addrs[j]);
      assert_int_equal((order > 0) - (order < 0), (i > j) - (i < j));
      assert_int_equal(km_udp_addr_equal(&addrs[i], &addrs[j]), i == j);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(reads_and_prints),
      cmocka_unit_test(the_longest_address_fits_its_buffer),
      cmocka_unit_test(refuses_anything_else),
      cmocka_unit_test(goes_through_sockaddr_and_back),
      cmocka_unit_test(reads_a_sockaddr_at_any_alignment),
      cmocka_unit_test(a_scope_stays_with_link_local_addresses_only),
      cmocka_unit_test(the_order_is_by_family_bytes_port),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
