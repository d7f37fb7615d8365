/* Rules, verdicts and advice, as values. */
#include "holepunch/net_report.h"

#include "holepunch/nat_rules.h"
#include "test/base/test_env.h"

static km_udp_addr addr_of(const char *text) {
  km_udp_addr ret;
  assert_int_equal(km_udp_addr_parse(&ret, text, strlen(text), NULL), 0);
  return ret;
}

/* --- rules ------------------------------------------------------------------------------------ */

static void plausible_answers(void **state) {
  (void)state;
  const km_udp_addr own = addr_of("10.0.0.2:4000");
  static const struct {
    const char *server, *mapped;
    bool plausible;
  } cases[] = {
      {"192.0.2.1:3478", "198.51.100.1:5", true},
      {"192.0.2.1:3478", "10.0.0.1:5", false}, /* the internet does not see that */
      {"192.0.2.1:3478", "10.0.0.2:5", true},  /* but this is ours: there is no NAT */
      {"10.9.9.9:3478", "10.0.0.1:5", true},   /* a server in our own network */
      {"[2001:db8::1]:3478", "[fd00::1]:5", false},
      {"[fd00::9]:3478", "[fd00::1]:5", true},
      {"192.0.2.1:3478", "198.51.100.1:0", false},
      {"192.0.2.1:3478", "0.1.2.3:5", false},
      {"192.0.2.1:3478", "127.0.0.1:5", false},
      {"127.0.0.1:3478", "127.0.0.1:5", true},
      {"192.0.2.1:3478", "169.254.0.1:5", false},
      {"192.0.2.1:3478", "223.255.255.255:5", true},
      {"192.0.2.1:3478", "224.0.0.1:5", false},
      {"192.0.2.1:3478", "255.255.255.255:5", false},
      {"[2001:db8::1]:3478", "[2001:db8::2]:5", true},
      {"[2001:db8::1]:3478", "[::]:5", false},
      {"[2001:db8::1]:3478", "[::1]:5", false},
      {"[::1]:3478", "[::1]:5", true},
      {"[2001:db8::1]:3478", "[fe80::1]:5", false},
      {"[2001:db8::1]:3478", "[fec0::1]:5", true},
      {"[2001:db8::1]:3478", "[ff02::1]:5", false},
      {"[2001:db8::1]:3478", "198.51.100.1:5", true}, /* NAT64 */
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    const km_udp_addr server = addr_of(cases[i].server), mapped = addr_of(cases[i].mapped);
    if (km_nat_answer_plausible(&server, &mapped, &own, 1) != cases[i].plausible) {
      fail_msg("%s says %s", cases[i].server, cases[i].mapped);
    }
  }
  const km_udp_addr server = addr_of("192.0.2.1:3478"), none = {.port = 5};
  assert_false(km_nat_answer_plausible(&server, &none, &own, 1));
}

static void plausible_other_addresses(void **state) {
  (void)state;
  static const struct {
    const char *server, *other;
    bool plausible;
  } cases[] = {
      {"192.0.2.1:3478", "192.0.2.2:3479", true},
      {"192.0.2.1:3478", "192.0.2.2:3478", false},
      {"192.0.2.1:3478", "192.0.2.1:3479", false},
      {"192.0.2.1:3478", "[2001:db8::1]:3479", false},
      {"192.0.2.1:3478", "10.0.0.1:3479", false},
      {"192.0.2.1:3478", "172.16.0.1:3479", false},
      {"192.0.2.1:3478", "172.31.0.1:3479", false},
      {"192.0.2.1:3478", "172.32.0.1:3479", true},
      {"192.0.2.1:3478", "192.168.1.1:3479", false},
      {"192.0.2.1:3478", "100.64.0.1:3479", false},
      {"192.0.2.1:3478", "100.128.0.1:3479", true},
      {"10.0.0.1:3478", "10.0.0.2:3479", true},
      {"192.0.2.1:3478", "127.0.0.2:3479", false},
      {"127.0.0.1:3478", "127.0.0.2:3479", true},
      {"127.0.0.1:3478", "192.0.2.2:3479", false},
      {"[2001:db8::1]:3478", "[2001:db8::2]:3479", true},
      {"[2001:db8::1]:3478", "[fd00::2]:3479", false},
      {"[fc00::1]:3478", "[fd00::2]:3479", true},
      {"192.0.2.1:3478", "192.0.2.2:0", false},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    const km_udp_addr server = addr_of(cases[i].server), other = addr_of(cases[i].other);
    if (km_nat_other_plausible(&server, &other) != cases[i].plausible) {
      fail_msg("%s sends us to %s", cases[i].server, cases[i].other);
    }
  }
}

typedef struct answer_row {
  const char *server, *mapped;
} answer_row;

static size_t fill(km_nat_seen ret[8], const answer_row *rows) {
  size_t count = 0;
  for (; count < 8 && rows[count].server != NULL; count++) {
    ret[count] = (km_nat_seen){.server = addr_of(rows[count].server),
                               .mapped = addr_of(rows[count].mapped),
                               .order = (uint32_t)count + 1};
  }
  return count;
}

static void mappings(void **state) {
  (void)state;
  static const struct {
    km_nat_mapping wanted;
    answer_row rows[6];
  } cases[] = {
      {KM_NAT_MAPPING_UNKNOWN, {{NULL, NULL}}},
      {KM_NAT_MAPPING_UNKNOWN, {{"192.0.2.1:1", "198.51.100.1:9"}}},
      {KM_NAT_MAPPING_NONE, {{"192.0.2.1:1", "10.0.0.2:4000"}}},
      {KM_NAT_MAPPING_UNKNOWN, {{"192.0.2.1:1", "10.0.0.2:4001"}}},
      {KM_NAT_MAPPING_NONE, {{"192.0.2.1:1", "198.51.100.1:9"}, {"10.0.0.9:1", "10.0.0.2:4000"}}},
      {KM_NAT_MAPPING_ENDPOINT_INDEPENDENT,
       {{"192.0.2.1:1", "198.51.100.1:9"}, {"192.0.2.2:1", "198.51.100.1:9"}}},
      {KM_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT,
       {{"192.0.2.1:1", "198.51.100.1:9"}, {"192.0.2.2:1", "198.51.100.1:10"}}},
      {KM_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT, /* a pool of addresses is no better */
       {{"192.0.2.1:1", "198.51.100.1:9"}, {"192.0.2.2:1", "198.51.100.2:9"}}},
      {KM_NAT_MAPPING_ADDRESS_DEPENDENT,
       {{"192.0.2.1:1", "198.51.100.1:9"},
        {"192.0.2.2:1", "198.51.100.1:10"},
        {"192.0.2.2:2", "198.51.100.1:10"}}},
      {KM_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT,
       {{"192.0.2.1:1", "198.51.100.1:9"},
        {"192.0.2.2:1", "198.51.100.1:10"},
        {"192.0.2.2:2", "198.51.100.1:11"}}},
      {KM_NAT_MAPPING_UNKNOWN, /* one server, twice */
       {{"192.0.2.1:1", "198.51.100.1:9"}, {"192.0.2.1:1", "198.51.100.1:10"}}},
      {KM_NAT_MAPPING_UNKNOWN, /* one of them through NAT64 */
       {{"[2001:db8::1]:1", "[2001:db8::9]:9"}, {"[64:ff9b::1]:1", "198.51.100.1:9"}}},
  };
  const km_udp_addr own[] = {addr_of("10.0.0.1:4000"), addr_of("10.0.0.2:4000")};
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    km_nat_seen seen[8];
    size_t count = fill(seen, cases[i].rows);
    assert_int_equal(km_nat_mapping_of(seen, count, own, COUNT_OF(own)), cases[i].wanted);
  }
}

static void port_steps(void **state) {
  (void)state;
  static const struct {
    int wanted;
    uint16_t ports[6];
    uint32_t orders[6];
  } cases[] = {
      {0, {1000}, {1}},
      {1, {1000, 1001}, {1, 2}},
      {-2, {1000, 998}, {1, 2}},
      {0, {1000, 1000}, {1, 2}},
      {0, {1000, 2000}, {1, 2}},
      {64, {1000, 1064}, {1, 2}},
      {0, {1000, 1065}, {1, 2}},
      {0, {1000, 1001}, {1, 3}},                   /* a gap says nothing */
      {2, {1002, 1000, 1004}, {2, 1, 3}},          /* the order of asking */
      {1, {1000, 1001, 1002, 1009}, {1, 2, 3, 4}}, /* somebody else in between */
      {0, {1000, 1001, 1005}, {1, 2, 3}},          /* neither is seen twice */
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    km_nat_seen seen[6];
    size_t count = 0;
    for (; count < 6 && cases[i].ports[count] != 0; count++) {
      seen[count] = (km_nat_seen){.server = addr_of("192.0.2.1:1"),
                                  .mapped = addr_of("198.51.100.1:1"),
                                  .order = cases[i].orders[count]};
      seen[count].mapped.port = cases[i].ports[count];
    }
    assert_int_equal(km_nat_port_step_of(seen, count), cases[i].wanted);
  }
  km_nat_seen two[2] = {
      {.server = addr_of("192.0.2.1:1"), .mapped = addr_of("198.51.100.1:5"), .order = 1},
      {.server = addr_of("192.0.2.2:1"), .mapped = addr_of("198.51.100.2:6"), .order = 2}};
  assert_int_equal(km_nat_port_step_of(two, 2), 0); /* addresses of a pool */
  assert_int_equal(km_nat_port_step_of(NULL, 0), 0);
}

/* --- names ------------------------------------------------------------------------------------ */

static void names(void **state) {
  (void)state;
  static const char *const mapping[] = {
      "unknown", "none", "endpoint-independent", "address-dependent", "address-and-port-dependent",
      "unknown"};
  static const char *const verdict[] = {"unknown",  "open",        "easy NAT",
                                        "hard NAT", "UDP blocked", "unknown"};
  for (int i = 0; i < 6; i++) {
    assert_string_equal(km_nat_mapping_name((km_nat_mapping)i), mapping[i]);
    assert_string_equal(km_nat_filtering_name((km_nat_filtering)i), mapping[i]);
    assert_string_equal(km_nat_verdict_name((km_nat_verdict)i), verdict[i]);
    assert_true(strlen(km_nat_verdict_text((km_nat_verdict)i)) > 20);
  }
}

/* --- verdicts --------------------------------------------------------------------------------- */

static void verdicts(void **state) {
  (void)state;
  for (int m = 0; m <= KM_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT; m++) {
    for (int f = 0; f <= KM_NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT; f++) {
      km_nat_verdict wanted = KM_NAT_VERDICT_HARD;
      if (m == KM_NAT_MAPPING_UNKNOWN) {
        wanted = KM_NAT_VERDICT_UNKNOWN;
      } else if (m == KM_NAT_MAPPING_NONE) {
        wanted = f == KM_NAT_FILTERING_NONE ? KM_NAT_VERDICT_OPEN : KM_NAT_VERDICT_EASY;
      } else if (m == KM_NAT_MAPPING_ENDPOINT_INDEPENDENT) {
        wanted = KM_NAT_VERDICT_EASY;
      }
      assert_int_equal(km_nat_verdict_of((km_nat_mapping)m, (km_nat_filtering)f), wanted);
    }
  }
}

static km_net_report blank(void) {
  km_net_report r = {.size = sizeof r};
  r.udp4.bound = r.udp6.bound = true;
  return r;
}

static void add_relay(km_net_report *r, const char *error) {
  km_net_relay *relay = &r->relays[r->relay_count++];
  (void)snprintf(relay->error, sizeof relay->error, "%s", error);
  relay->latency_us = error[0] == '\0' ? 1000 : 0;
}

static void add_stun(km_net_report *r, const char *addr) {
  km_net_stun *s = &r->stun[r->stun_count++];
  if (addr != NULL) {
    s->addr = addr_of(addr);
  }
}

static bool advises(const km_net_report *r, const char *part) {
  for (size_t i = 0; i < r->advice_count; i++) {
    if (strstr(r->advice[i], part) != NULL) {
      return true;
    }
  }
  return false;
}

static void work(km_net_family *f, km_nat_mapping mapping, km_nat_filtering filtering) {
  f->works = true;
  f->mapping = mapping;
  f->filtering = filtering;
}

static void the_good_cases_need_no_advice(void **state) {
  (void)state;
  km_net_report r = blank();
  add_relay(&r, "");
  add_stun(&r, "192.0.2.1:3478");
  work(&r.udp4, KM_NAT_MAPPING_NONE, KM_NAT_FILTERING_NONE);
  r.advice_count = 3; /* of an earlier conclusion */
  km_net_report_conclude(&r);
  assert_int_equal(r.verdict, KM_NAT_VERDICT_OPEN);
  assert_int_equal(r.advice_count, 0);
  work(&r.udp4, KM_NAT_MAPPING_ENDPOINT_INDEPENDENT, KM_NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT);
  km_net_report_conclude(&r);
  assert_int_equal(r.verdict, KM_NAT_VERDICT_EASY);
  assert_int_equal(r.advice_count, 0);
  r.udp4 = (km_net_family){0};
  work(&r.udp6, KM_NAT_MAPPING_NONE, KM_NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT);
  km_net_report_conclude(&r);
  assert_int_equal(r.verdict, KM_NAT_VERDICT_EASY);
}

static void blocked(void **state) {
  (void)state;
  km_net_report r = blank();
  add_relay(&r, "");
  add_stun(&r, "192.0.2.1:3478");
  km_net_report_conclude(&r);
  assert_int_equal(r.verdict, KM_NAT_VERDICT_UDP_BLOCKED);
  assert_true(advises(&r, "let UDP out"));
  r.captive_portal = KM_NET_YES;
  km_net_report_conclude(&r);
  assert_true(advises(&r, "log in"));
  assert_false(advises(&r, "let UDP out"));
  /* Without a relay one cannot tell, and supposes it. */
  r = blank();
  add_stun(&r, "192.0.2.1:3478");
  km_net_report_conclude(&r);
  assert_int_equal(r.verdict, KM_NAT_VERDICT_UDP_BLOCKED);
  assert_true(advises(&r, "Name a relay too"));
  assert_false(advises(&r, "online"));
  /* Nothing works at all: that is not UDP's fault. */
  r = blank();
  add_stun(&r, "192.0.2.1:3478");
  add_relay(&r, "no route to host");
  km_net_report_conclude(&r);
  assert_int_equal(r.verdict, KM_NAT_VERDICT_UNKNOWN);
  assert_true(advises(&r, "online"));
}

static void nobody_to_ask(void **state) {
  (void)state;
  km_net_report r = blank();
  km_net_report_conclude(&r);
  assert_int_equal(r.verdict, KM_NAT_VERDICT_UNKNOWN);
  assert_true(advises(&r, "--relay URL"));
  add_relay(&r, "");
  km_net_report_conclude(&r);
  assert_int_equal(r.advice_count, 0); /* no STUN server is known: nothing was asked */
  add_stun(&r, NULL);                  /* a name without an address */
  km_net_report_conclude(&r);
  assert_int_equal(r.verdict, KM_NAT_VERDICT_UNKNOWN);
  assert_true(advises(&r, "DNS"));
}

static void one_server_is_not_enough(void **state) {
  (void)state;
  km_net_report r = blank();
  add_stun(&r, "192.0.2.1:3478");
  work(&r.udp4, KM_NAT_MAPPING_UNKNOWN, KM_NAT_FILTERING_UNKNOWN);
  km_net_report_conclude(&r);
  assert_int_equal(r.verdict, KM_NAT_VERDICT_UNKNOWN);
  assert_true(advises(&r, "second one"));
}

static void hard(void **state) {
  (void)state;
  km_net_report r = blank();
  add_stun(&r, "192.0.2.1:3478");
  add_relay(&r, "");
  work(&r.udp4, KM_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT,
       KM_NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT);
  km_net_report_conclude(&r);
  assert_int_equal(r.verdict, KM_NAT_VERDICT_HARD);
  assert_true(advises(&r, "UPnP"));
  assert_true(advises(&r, "your provider offers it"));
  work(&r.udp6, KM_NAT_MAPPING_NONE, KM_NAT_FILTERING_ADDRESS_DEPENDENT);
  km_net_report_conclude(&r);
  assert_int_equal(r.verdict, KM_NAT_VERDICT_HARD);
  assert_true(advises(&r, "IPv6 works here"));
  assert_false(advises(&r, "your provider offers it"));
  r.portmap.external = addr_of("203.0.113.9:4000");
  km_net_report_conclude(&r);
  assert_true(advises(&r, "opened a port"));
  assert_false(advises(&r, "CGNAT"));
  static const char *const outsides[] = {"100.64.3.4:4000", "192.168.1.2:4000", "10.1.1.1:4000",
                                         "203.0.113.8:4000"};
  r.udp4.public_addr = addr_of("203.0.113.9:51000");
  for (size_t i = 0; i < COUNT_OF(outsides); i++) {
    r.portmap.external = addr_of(outsides[i]);
    km_net_report_conclude(&r);
    assert_true(advises(&r, "CGNAT"));
    assert_false(advises(&r, "makes up"));
    assert_true(advises(&r, "UPnP"));
  }
  r.portmap.external = addr_of("203.0.113.9:4000");
  km_net_report_conclude(&r);
  assert_false(advises(&r, "CGNAT"));
}

static void an_open_port_where_it_is_needed(void **state) {
  (void)state;
  km_net_report r = blank();
  add_stun(&r, "192.0.2.1:3478");
  r.portmap.external = addr_of("203.0.113.9:4000");
  r.udp4.public_addr = addr_of("203.0.113.9:4000");
  static const struct {
    km_nat_mapping mapping;
    bool needed;
  } cases[] = {{KM_NAT_MAPPING_UNKNOWN, true},
               {KM_NAT_MAPPING_ENDPOINT_INDEPENDENT, false},
               {KM_NAT_MAPPING_ADDRESS_DEPENDENT, true}};
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    work(&r.udp4, cases[i].mapping, KM_NAT_FILTERING_UNKNOWN);
    km_net_report_conclude(&r);
    assert_int_equal(advises(&r, "opened a port for this endpoint"), cases[i].needed);
  }
}

static void smaller_things(void **state) {
  (void)state;
  km_net_report r = blank();
  add_stun(&r, "192.0.2.1:3478");
  add_relay(&r, "");
  add_relay(&r, "no answer");
  work(&r.udp4, KM_NAT_MAPPING_ENDPOINT_INDEPENDENT, KM_NAT_FILTERING_ADDRESS_DEPENDENT);
  km_net_report_conclude(&r);
  assert_int_equal(r.verdict, KM_NAT_VERDICT_EASY);
  assert_true(advises(&r, "Not every relay"));
  for (size_t i = 0; i < r.advice_count; i++) { /* whole sentences, not cut */
    size_t len = strlen(r.advice[i]);
    assert_int_equal(r.advice[i][len - 1], '.');
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(plausible_answers),
      cmocka_unit_test(plausible_other_addresses),
      cmocka_unit_test(mappings),
      cmocka_unit_test(port_steps),
      cmocka_unit_test(names),
      cmocka_unit_test(verdicts),
      cmocka_unit_test(the_good_cases_need_no_advice),
      cmocka_unit_test(blocked),
      cmocka_unit_test(nobody_to_ask),
      cmocka_unit_test(one_server_is_not_enough),
      cmocka_unit_test(hard),
      cmocka_unit_test(an_open_port_where_it_is_needed),
      cmocka_unit_test(smaller_things),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
