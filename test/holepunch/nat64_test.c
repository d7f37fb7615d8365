#include "holepunch/nat64.h"

#include <string.h>

#include "test/base/test_env.h"

typedef struct row {
  uint8_t bits;
  const char *prefix, *address; /* of 192.0.2.33, RFC 6052 section 2.4 */
} row;

static const row rows[] = {
    {32, "2001:db8::", "2001:db8:c000:221::"},
    {40, "2001:db8:100::", "2001:db8:1c0:2:21::"},
    {48, "2001:db8:122::", "2001:db8:122:c000:2:2100::"},
    {56, "2001:db8:122:300::", "2001:db8:122:3c0:0:221::"},
    {64, "2001:db8:122:344::", "2001:db8:122:344:c0:2:2100::"},
    {96, "2001:db8:122:344::", "2001:db8:122:344::c000:221"},
    {96, "64:ff9b::", "64:ff9b::c000:221"},
};

static km_udp_addr parse(const char *ip, uint16_t port) {
  char text[KM_UDP_ADDR_TEXT_CAP];
  km_udp_addr ret;
  bool v6 = strchr(ip, ':') != NULL;
  int len = snprintf(text, sizeof text, v6 ? "[%s]:%u" : "%s:%u", ip, port);
  assert_int_equal(km_udp_addr_parse(&ret, text, (size_t)len, NULL), 0);
  return ret;
}

static km_nat64 nat64_of(const row *r) {
  const km_udp_addr addr = parse(r->prefix, 1);
  km_nat64 nat64 = {.bits = r->bits};
  memcpy(nat64.prefix, addr.ip, r->bits / 8);
  return nat64;
}

static void addresses_are_written_as_the_rfc_has_them(void **state) {
  (void)state;
  const km_udp_addr v4 = parse("192.0.2.33", 4433);
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    const km_nat64 nat64 = nat64_of(&rows[i]);
    const km_udp_addr want = parse(rows[i].address, 4433);
    km_udp_addr got;
    assert_true(km_nat64_write(&nat64, &v4, &got));
    assert_true(km_udp_addr_equal(&got, &want));
  }
}

static void a_prefix_of_any_length_is_read_off_both_well_known_addresses(void **state) {
  (void)state;
  static const char *const known[] = {"192.0.0.170", "192.0.0.171"};
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    for (size_t k = 0; k < 2; k++) {
      const km_nat64 nat64 = nat64_of(&rows[i]);
      const km_udp_addr v4 = parse(known[k], 0x1234);
      km_udp_addr addr;
      km_nat64 read;
      assert_true(km_nat64_write(&nat64, &v4, &addr));
      assert_true(km_nat64_read(&read, &addr));
      assert_int_equal(read.bits, nat64.bits);
      assert_memory_equal(read.prefix, nat64.prefix, sizeof read.prefix);
    }
  }
}

static void anything_else_is_refused(void **state) {
  (void)state;
  static const char *const wrong[] = {"2001:db8::1", "64:ff9b::c000:221", "::", "192.0.0.170"};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    const km_udp_addr addr = parse(wrong[i], 1);
    km_nat64 read = {0};
    assert_false(km_nat64_read(&read, &addr));
    assert_int_equal(read.bits, 0);
  }
  const km_udp_addr v4 = parse("192.0.2.33", 1), v6 = parse("2001:db8::1", 1);
  const km_nat64 none = {0}, known = nat64_of(&rows[0]);
  km_udp_addr ret;
  assert_false(km_nat64_write(&none, &v4, &ret));
  assert_false(km_nat64_write(&known, &v6, &ret));
}

static void private_addresses_have_none_under_the_well_known_prefix(void **state) {
  (void)state;
  static const char *const internal[] = {"10.0.0.1",    "127.0.0.1",   "172.16.0.1", "172.31.9.9",
                                         "192.168.1.2", "169.254.0.1", "100.64.0.1"};
  const row *well_known = &rows[sizeof rows / sizeof rows[0] - 1];
  for (size_t i = 0; i < sizeof internal / sizeof internal[0]; i++) {
    const km_udp_addr v4 = parse(internal[i], 1);
    const km_nat64 known = nat64_of(well_known), own = nat64_of(&rows[0]);
    km_udp_addr ret;
    assert_false(km_nat64_write(&known, &v4, &ret));
    assert_true(km_nat64_write(&own, &v4, &ret));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(addresses_are_written_as_the_rfc_has_them),
      cmocka_unit_test(a_prefix_of_any_length_is_read_off_both_well_known_addresses),
      cmocka_unit_test(anything_else_is_refused),
      cmocka_unit_test(private_addresses_have_none_under_the_well_known_prefix),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
