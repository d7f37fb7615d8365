#include "base/addr_impl.h"

#include "test/base/test_env.h"

static const km_id some_id = {{1}};

static km_udp_addr udp(const char *text) {
  km_udp_addr addr;
  assert_int_equal(km_udp_addr_parse(&addr, text, strlen(text), NULL), 0);
  return addr;
}

static void assert_udp_at(const km_addr *addr, size_t index, const char *expected) {
  const km_udp_addr *at = km_addr_udp_at(addr, index);
  assert_non_null(at);
  char text[KM_UDP_ADDR_TEXT_CAP];
  assert_true(km_udp_addr_format(at, text, sizeof text) > 0);
  assert_string_equal(text, expected);
}

static void keeps_the_order_of_iroh_without_duplicates(void **state) {
  (void)state;
  static const char *const in[] = {"[fe80::1%4]:9", "203.0.113.7:9", "[::1]:9",    "10.0.0.2:9",
                                   "10.0.0.1:10",   "10.0.0.1:9",    "10.0.0.1:9", "[fe80::1]:9"};
  static const char *const out[] = {"10.0.0.1:9",    "10.0.0.1:10", "10.0.0.2:9",
                                    "203.0.113.7:9", "[::1]:9",     "[fe80::1]:9"};
  km_addr *addr;
  assert_int_equal(km_addr_new(&addr, &some_id), 0);
  for (size_t i = 0; i < COUNT_OF(in); i++) {
    km_udp_addr one = udp(in[i]);
    assert_int_equal(km_addr_add_udp(addr, &one), 0);
  }
  assert_int_equal(km_addr_udp_count(addr), COUNT_OF(out));
  for (size_t i = 0; i < COUNT_OF(out); i++) {
    assert_udp_at(addr, i, out[i]);
  }
  assert_null(km_addr_udp_at(addr, COUNT_OF(out)));
  assert_true(km_id_equal(km_addr_id(addr), &some_id));
  km_addr_free(addr);
  km_addr_free(NULL);
}

static void relays_are_normalised_sorted_and_unique(void **state) {
  (void)state;
  static const char *const in[] = {"https://b", "https://a:443", "HTTPS://A/", "https://c./",
                                   "https://b/"};
  km_addr *addr;
  assert_int_equal(km_addr_new(&addr, &some_id), 0);
  for (size_t i = 0; i < COUNT_OF(in); i++) {
    assert_int_equal(km_addr_add_relay(addr, in[i], strlen(in[i]), NULL), 0);
  }
  assert_int_equal(km_addr_relay_count(addr), 3);
  assert_string_equal(km_addr_relay_at(addr, 0), "https://a/");
  assert_string_equal(km_addr_relay_at(addr, 1), "https://b/");
  assert_string_equal(km_addr_relay_at(addr, 2), "https://c./");
  assert_null(km_addr_relay_at(addr, 3));
  km_errinfo err;
  assert_int_equal(km_addr_add_relay(addr, "nonsense", 8, &err), KM_ERR_BAD_RELAY_URL);
  assert_non_null(strstr(err.text, "nonsense"));
  assert_int_equal(km_addr_relay_count(addr), 3);
  km_addr_free(addr);
}

static void addresses_that_cannot_be_dialled_are_refused(void **state) {
  (void)state;
  km_addr *addr;
  assert_int_equal(km_addr_new(&addr, &some_id), 0);
  km_udp_addr one = udp("192.0.2.1:0");
  assert_int_equal(km_addr_add_udp(addr, &one), KM_ERR_BAD_ADDR);
  one = (km_udp_addr){.port = 1};
  assert_int_equal(km_addr_add_udp(addr, &one), KM_ERR_BAD_ADDR);
  one.family = 5;
  assert_int_equal(km_addr_add_udp(addr, &one), KM_ERR_BAD_ADDR);
  assert_int_equal(km_addr_udp_count(addr), 0);
  km_addr_free(addr);
}

static void both_lists_have_limits(void **state) {
  (void)state;
  km_addr *addr;
  assert_int_equal(km_addr_new(&addr, &some_id), 0);
  km_udp_addr one = udp("192.0.2.1:1");
  for (int i = 0; i < KM_ADDR_MAX_DIRECT; i++) {
    one.port = (uint16_t)(1000 - i); /* each goes to the front */
    assert_int_equal(km_addr_add_udp(addr, &one), 0);
  }
  assert_int_equal(km_addr_add_udp(addr, &one), 0); /* it is there already */
  one.port = 1;
  assert_int_equal(km_addr_add_udp(addr, &one), KM_ERR_LIMIT);
  assert_int_equal(km_addr_udp_count(addr), KM_ADDR_MAX_DIRECT);

  char url[] = "https://a";
  for (int i = 0; i < KM_ADDR_MAX_RELAYS; i++) {
    url[8] = (char)('z' - i);
    assert_int_equal(km_addr_add_relay(addr, url, sizeof url - 1, NULL), 0);
  }
  assert_int_equal(km_addr_add_relay(addr, url, sizeof url - 1, NULL), 0);
  km_errinfo err;
  assert_int_equal(km_addr_add_relay(addr, "https://a", 9, &err), KM_ERR_LIMIT);
  assert_int_equal(err.code, KM_ERR_LIMIT);
  assert_int_equal(km_addr_relay_count(addr), KM_ADDR_MAX_RELAYS);
  km_addr_free(addr);
}

static int build_and_copy(const km_env *env) {
  km_addr *addr;
  km_addr *copy = NULL;
  int rv = km_addr_new_in(&addr, env, &some_id);
  if (rv != 0) {
    return rv;
  }
  km_udp_addr one = udp("192.0.2.1:1");
  rv = km_addr_add_udp(addr, &one);
  if (rv == 0) {
    rv = km_addr_add_relay(addr, "https://a", 9, NULL);
  }
  if (rv == 0) {
    rv = km_addr_add_relay(addr, "https://b", 9, NULL);
  }
  if (rv == 0) {
    rv = km_addr_copy(&copy, addr);
  }
  km_addr_free(addr);
  if (rv == 0) {
    /* The copy does not lean on the original. */
    assert_int_equal(km_addr_relay_count(copy), 2);
    assert_string_equal(km_addr_relay_at(copy, 1), "https://b/");
    assert_udp_at(copy, 0, "192.0.2.1:1");
    km_addr_free(copy);
  }
  return rv;
}

static void running_out_of_memory_leaks_nothing(void **state) {
  (void)state;
  const long needed = 6; /* two objects with two urls each */
  for (long n = 0; n <= needed; n++) {
    test_env t;
    test_env_init(&t);
    t.fail_after = n;
    assert_int_equal(build_and_copy(&t.env), n < needed ? KM_ERR_NOMEM : 0);
    assert_int_equal(t.live, 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(keeps_the_order_of_iroh_without_duplicates),
      cmocka_unit_test(relays_are_normalised_sorted_and_unique),
      cmocka_unit_test(addresses_that_cannot_be_dialled_are_refused),
      cmocka_unit_test(both_lists_have_limits),
      cmocka_unit_test(running_out_of_memory_leaks_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
