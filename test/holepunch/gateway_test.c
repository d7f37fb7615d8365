/* Which gateway, and whom its papers may name. */
#include "holepunch/gateway.h"

#include "test/base/test_env.h"

static void the_main_default_route(void **state) {
  (void)state;
  const km_udp_addr gw = {.family = 4, .ip = {192, 168, 1, 1}};
  const km_default_route none = {0};
  const km_default_route good = {
      .family = 4, .table = 254, .metric = 100, .ifindex = 2, .gateway = gw};
  km_default_route other = good;
  assert_true(km_gateway_route_better(&good, &none));
  assert_false(km_gateway_route_better(&good, &good));
  other.metric = 50;
  assert_true(km_gateway_route_better(&other, &good));
  assert_false(km_gateway_route_better(&good, &other));
  other.part = KM_ROUTE_LOWER_HALF; /* a VPN's */
  assert_false(km_gateway_route_better(&other, &none));
  other = good;
  other.table = 77;
  assert_false(km_gateway_route_better(&other, &none));
  other = good;
  other.gateway.family = 0; /* a tunnel */
  assert_false(km_gateway_route_better(&other, &none));
  other.gateway.family = 6; /* cannot be asked for an IPv4 port */
  assert_false(km_gateway_route_better(&other, &none));
}

static void private_addresses(void **state) {
  (void)state;
  static const struct {
    uint8_t ip[4];
    bool private;
  } cases[] = {
      {{10, 1, 2, 3}, true},    {{9, 255, 255, 255}, false}, {{11, 0, 0, 0}, false},
      {{172, 16, 0, 1}, true},  {{172, 31, 255, 255}, true}, {{172, 15, 0, 1}, false},
      {{172, 32, 0, 1}, false}, {{192, 168, 0, 1}, true},    {{192, 169, 0, 1}, false},
      {{100, 64, 0, 1}, true},  {{100, 127, 0, 1}, true},    {{100, 128, 0, 1}, false},
      {{169, 254, 1, 1}, true}, {{127, 0, 0, 1}, false},     {{0, 0, 0, 0}, false},
      {{224, 0, 0, 1}, false},  {{203, 0, 113, 1}, false},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    km_udp_addr addr = {.family = 4};
    memcpy(addr.ip, cases[i].ip, 4);
    assert_int_equal(km_gateway_is_private(&addr), cases[i].private);
    addr.family = 6;
    assert_false(km_gateway_is_private(&addr));
  }
}

static void urls(void **state) {
  (void)state;
  static const struct {
    const char *url;
    uint16_t port; /* 0: not allowed */
  } cases[] = {
      {"http://192.168.1.1:5000/rootDesc.xml", 5000},
      {"http://192.168.1.1/rootDesc.xml", 80},
      {"http://192.168.1.1", 80},
      {"http://192.168.1.1:65535", 65535},
      {"http://192.168.1.1:65536/", 0},
      {"http://192.168.1.1:0/", 0},
      {"http://192.168.1.1:/", 0},
      {"http://192.168.1.1:80x/", 0},
      {"http://192.168.1.1:99999999999999999999/", 0},
      {"http://127.0.0.1:5000/", 0},
      {"http://0.0.0.0/", 0},
      {"http://203.0.113.1/", 0},
      {"http://224.0.0.1/", 0},
      {"http://192.168.1.1.example/", 0},
      {"http://192.168.1/", 0},
      {"http://192.168.1.01/", 0},
      {"http://3232235777/", 0},
      {"http://router/", 0},
      {"http://192.168.1.1@203.0.113.1/", 0},
      {"http://192.168.1.1:80@203.0.113.1/", 0},
      {"http://192.168.1.1?x:1/", 0},
      {"http://192.168.1.1#@x/", 0},
      {"http://[fe80::1]/", 0},
      {"http:// 192.168.1.1/", 0},
      {"https://192.168.1.1/", 0},
      {"HTTP://192.168.1.1/", 0},
      {"file:///etc/passwd", 0},
      {"http://", 0},
      {"http:/", 0},
      {"", 0},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    km_udp_addr addr = {.port = 7};
    print_message("'%s'\n", cases[i].url);
    assert_int_equal(km_gateway_url_allowed(&addr, cases[i].url), cases[i].port != 0);
    assert_int_equal(addr.port, cases[i].port != 0 ? cases[i].port : 7);
    assert_int_equal(addr.family, cases[i].port != 0 ? 4 : 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_main_default_route),
      cmocka_unit_test(private_addresses),
      cmocka_unit_test(urls),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
