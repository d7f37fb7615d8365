/* Which differences a network monitor tells of, and when. */
#include "magicsock/netmon_state.h"

#include "magicsock/mapped_addr.h"
#include "magicsock/netmon.h"
#include "test/base/test_env.h"

#define MS KM_NS_PER_MS
#define S KM_NS_PER_S
#define ADDED KM_NETMON_ADDRESS_ADDED
#define LOST KM_NETMON_ADDRESS_LOST
#define ROUTE KM_NETMON_ROUTE
#define RESUMED KM_NETMON_RESUMED

static km_udp_addr addr_of(const char *ip, size_t len) {
  char text[80];
  km_udp_addr ret;
  bool v6 = memchr(ip, ':', len) != NULL;
  int n = snprintf(text, sizeof text, v6 ? "[%.*s]:0" : "%.*s:0", (int)len, ip);
  assert_int_equal(km_udp_addr_parse(&ret, text, (size_t)n, NULL), 0);
  return ret;
}

/* "10.0.0.2 fe80::1 !10.9.9.9 >10.0.0.1%3/100": addresses, one that is tentative, a route to a
 * gateway at an interface with a metric. */
static void read_word(km_netmon_picture *p, const char *word, size_t len) {
  if (word[0] != '>') {
    bool tentative = word[0] == '!';
    km_udp_addr addr = addr_of(word + tentative, len - tentative);
    km_netmon_picture_add_addr(p, &addr, tentative ? KM_NETMON_TENTATIVE : 0);
    return;
  }
  const char *at = memchr(word, '%', len);
  km_default_route route = {0};
  assert_non_null(at);
  assert_int_equal(sscanf(at, "%%%u/%u", &route.ifindex, &route.metric), 2);
  route.gateway = addr_of(word + 1, (size_t)(at - word) - 1);
  route.family = route.gateway.family;
  route.part = len > 0 && word[len - 1] == 'h' ? KM_ROUTE_UPPER_HALF : KM_ROUTE_ALL;
  km_netmon_picture_add_route(p, &route);
}

static void read_picture(km_netmon_picture *p, const char *text) {
  memset(p, 0, sizeof *p);
  while (*text != '\0') {
    size_t len = strcspn(text, " ");
    if (len > 0) {
      read_word(p, text, len);
    }
    text += len + (text[len] == ' ');
  }
}

static void differences_that_matter(void **state) {
  (void)state;
  static const struct {
    const char *before, *now;
    unsigned what;
  } cases[] = {
      {"", "", 0},
      {"", "10.0.0.2", ADDED},
      {"10.0.0.2", "", LOST},
      {"10.0.0.2", "10.0.0.3", ADDED | LOST},
      {"10.0.0.2 10.0.0.1", "10.0.0.1 10.0.0.2", 0}, /* in any order */
      {"10.0.0.2", "10.0.0.2 10.0.0.2", 0},          /* one address on two interfaces */
      {"10.0.0.2", "10.0.0.2 2001:db8::2", ADDED},
      {"10.0.0.1 10.0.0.3", "10.0.0.1 10.0.0.2 10.0.0.3", ADDED},
      {"10.0.0.1 10.0.0.2 10.0.0.3", "10.0.0.1 10.0.0.3", LOST},
      {"", "fe80::1", 0},     /* every virtual interface has one */
      {"", "169.254.1.1", 0}, /* no DHCP server answered */
      {"", "127.0.0.1 ::1", 0},
      {"", "127.1.2.3", 0},
      {"", "!2001:db8::2", 0}, /* a tentative one cannot be used yet */
      {"!2001:db8::2", "2001:db8::2", ADDED},
      {"", "fd15:70a:510b::1", 0}, /* ours, of the mapped range */
      {"", ">10.0.0.1%2/100", ROUTE},
      {">10.0.0.1%2/100", "", ROUTE},
      {">10.0.0.1%2/100", ">10.0.0.254%2/100", ROUTE},
      {">10.0.0.1%2/100", ">10.0.0.1%3/100", ROUTE},
      {">10.0.0.1%2/100", ">10.0.0.1%2/600", 0},                 /* leads to the same */
      {">10.0.0.1%2/100", ">10.0.0.1%2/100 >10.1.0.1%3/600", 0}, /* the second is idle */
      {">10.1.0.1%3/600 >10.0.0.1%2/100", ">10.0.0.1%2/100", 0},
      {">10.0.0.1%2/100 >10.1.0.1%3/600", ">10.1.0.1%3/600", ROUTE}, /* now it is not */
      {">10.0.0.1%2/100", ">10.0.0.1%2/100 >10.0.0.9%2/100", ROUTE}, /* two at once */
      {">10.0.0.1%2/100", ">10.0.0.1%2/100 >fe80::1%2/1024", ROUTE}, /* IPv6 came */
      {">10.0.0.1%2/100", ">10.0.0.1%2/100 >10.9.0.1%9/0h", ROUTE},  /* a VPN takes a half */
      {"10.0.0.2 >10.0.0.1%2/100", "10.1.0.2 >10.1.0.1%3/600", ADDED | LOST | ROUTE},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    km_netmon_picture before, now;
    read_picture(&before, cases[i].before);
    read_picture(&now, cases[i].now);
    print_message("'%s' -> '%s'\n", cases[i].before, cases[i].now);
    assert_int_equal(km_netmon_picture_diff(&before, &now), cases[i].what);
    assert_int_equal(km_netmon_picture_diff(&now, &now), 0);
  }
}

static void flags_scope_and_port_are_left_out(void **state) {
  (void)state;
  km_netmon_picture p = {0};
  km_udp_addr addr = addr_of("10.0.0.2", 8);
  km_netmon_picture_add_addr(&p, &addr, KM_NETMON_LOOPBACK);
  assert_int_equal(p.addr_count, 0);
  addr.port = 7;
  km_netmon_picture_add_addr(&p, &addr, 0);
  addr.port = 8;
  addr.scope_id = 3;
  km_netmon_picture_add_addr(&p, &addr, 0);
  addr.family = 0;
  km_netmon_picture_add_addr(&p, &addr, 0);
  assert_int_equal(p.addr_count, 1);
  assert_int_equal(p.addrs[0].port, 0);
}

/* Whatever the order, the same ones are kept. */
static void more_than_there_is_room_for(void **state) {
  (void)state;
  km_netmon_picture up = {0}, down = {0};
  for (unsigned i = 0; i < 1000; i++) {
    km_udp_addr a = {.family = 4, .ip = {10, 0, (uint8_t)(i >> 8), (uint8_t)i}};
    km_udp_addr b = {.family = 4, .ip = {10, 0, (uint8_t)((999 - i) >> 8), (uint8_t)(999 - i)}};
    km_netmon_picture_add_addr(&up, &a, 0);
    km_netmon_picture_add_addr(&down, &b, 0);
    km_netmon_picture_add_route(&up, &(km_default_route){.family = 4, .ifindex = i});
    km_netmon_picture_add_route(&down, &(km_default_route){.family = 4, .ifindex = 999 - i});
  }
  assert_int_equal(up.addr_count, KM_NETMON_MAX_ADDRS);
  assert_int_equal(up.route_count, KM_NETMON_MAX_ROUTES);
  assert_int_equal(km_netmon_picture_diff(&up, &down), 0);
  assert_int_equal(up.addrs[KM_NETMON_MAX_ADDRS - 1].ip[3], KM_NETMON_MAX_ADDRS - 1);
  assert_int_equal(up.routes[KM_NETMON_MAX_ROUTES - 1].ifindex, KM_NETMON_MAX_ROUTES - 1);
}

static km_netmon_state fresh(km_ts now) {
  static const km_netmon_picture none;
  km_netmon_state s;
  km_netmon_state_init(&s, &none, now, 0, KM_NETMON_TICK_NS);
  return s;
}

static void changes_settle_before_they_are_told(void **state) {
  (void)state;
  km_netmon_picture p;
  km_netmon_state s = fresh(7 * S);
  assert_int_equal(km_netmon_state_deadline(&s), 22 * S);
  assert_int_equal(km_netmon_state_due(&s, 8 * S, 0), KM_NETMON_DUE_NOTHING);
  km_netmon_state_touch(&s, 8 * S);
  assert_int_equal(km_netmon_state_deadline(&s), 8 * S + 100 * MS);
  km_netmon_state_touch(&s, 8 * S + 60 * MS);
  assert_int_equal(km_netmon_state_due(&s, 8 * S + 100 * MS, 0), KM_NETMON_DUE_NOTHING);
  assert_int_equal(km_netmon_state_deadline(&s), 8 * S + 160 * MS);
  assert_int_equal(km_netmon_state_due(&s, 8 * S + 160 * MS, 0), KM_NETMON_DUE_SETTLED);
  read_picture(&p, "10.0.0.2");
  assert_int_equal(km_netmon_state_settle(&s, &p), ADDED);
  assert_int_equal(km_netmon_state_settle(&s, &p), 0); /* once */
  assert_int_equal(km_netmon_state_deadline(&s), 22 * S);
}

static void but_do_not_wait_for_ever(void **state) {
  (void)state;
  km_netmon_state s = fresh(0);
  km_ts now = S;
  for (; now < 2 * S; now += 50 * MS) {
    assert_int_equal(km_netmon_state_due(&s, now, 0), KM_NETMON_DUE_NOTHING);
    km_netmon_state_touch(&s, now);
  }
  assert_int_equal(km_netmon_state_deadline(&s), 2 * S);
  assert_int_equal(km_netmon_state_due(&s, now, 0), KM_NETMON_DUE_SETTLED);
  km_netmon_state_touch(&s, now); /* and again a second for the next */
  assert_int_equal(km_netmon_state_deadline(&s), now + 100 * MS);
}

static void an_address_that_flaps_is_not_told(void **state) {
  (void)state;
  km_netmon_picture p;
  km_netmon_state s = fresh(0);
  read_picture(&p, "10.0.0.2 >10.0.0.1%2/100");
  assert_int_equal(km_netmon_state_settle(&s, &p), ADDED | ROUTE);
  km_netmon_state_touch(&s, S); /* lost, and here again before anybody looked */
  assert_int_equal(km_netmon_state_due(&s, S + 100 * MS, 0), KM_NETMON_DUE_SETTLED);
  assert_int_equal(km_netmon_state_settle(&s, &p), 0);
}

static void ticks_come_at_their_rate(void **state) {
  (void)state;
  km_netmon_state s = fresh(0);
  assert_int_equal(km_netmon_state_due(&s, 15 * S, 0), KM_NETMON_DUE_TICK);
  assert_int_equal(km_netmon_state_due(&s, 15 * S, 0), KM_NETMON_DUE_NOTHING);
  assert_int_equal(km_netmon_state_deadline(&s), 30 * S);
  assert_int_equal(km_netmon_state_due(&s, 33 * S, 0), KM_NETMON_DUE_TICK); /* a little late */
  assert_int_equal(km_netmon_state_deadline(&s), 48 * S);
}

/* Clocks at events: our own, and by how much the other is ahead. */
static void sleep_is_noticed(void **state) {
  (void)state;
  static const struct {
    const char *what;
    km_ts now;
    uint64_t slept_ns;
    bool resumed;
  } steps[] = {
      {"nothing", 10 * S, 100 * S, false},
      {"clocks drift", 12 * S, 104 * S, false},
      {"and drift", 14 * S, 108 * S, false},
      {"five seconds are not enough", 14 * S, 113 * S, false},
      {"asleep for six", 15 * S, 119 * S, true},
      {"told once", 16 * S, 119 * S, false},
      {"a clock that is set back is no sleep", 17 * S, 3 * S, false},
      {"what counts is how much it grew", 18 * S, 9 * S, true},
      {"the tick, in time", 33 * S, 9 * S, false},
      {"stopped for a while: the tick is overdue", 54 * S, 9 * S, true},
      {"then as ever", 55 * S, 9 * S, false},
  };
  static const km_netmon_picture none;
  km_netmon_state s;
  km_netmon_state_init(&s, &none, 5 * S, 100 * S, KM_NETMON_TICK_NS);
  for (size_t i = 0; i < COUNT_OF(steps); i++) {
    print_message("%s\n", steps[i].what);
    km_netmon_due due = km_netmon_state_due(&s, steps[i].now, steps[i].slept_ns);
    assert_int_not_equal(due, KM_NETMON_DUE_SETTLED);
    if (steps[i].resumed) {
      km_ts at = km_netmon_state_deadline(&s);
      assert_int_equal(at, steps[i].now + 100 * MS); /* with the picture of afterwards */
      due = km_netmon_state_due(&s, at, steps[i].slept_ns);
      assert_int_equal(due, KM_NETMON_DUE_SETTLED);
    }
    assert_int_equal(km_netmon_state_settle(&s, &none), steps[i].resumed ? RESUMED : 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(differences_that_matter),
      cmocka_unit_test(flags_scope_and_port_are_left_out),
      cmocka_unit_test(more_than_there_is_room_for),
      cmocka_unit_test(changes_settle_before_they_are_told),
      cmocka_unit_test(but_do_not_wait_for_ever),
      cmocka_unit_test(an_address_that_flaps_is_not_told),
      cmocka_unit_test(ticks_come_at_their_rate),
      cmocka_unit_test(sleep_is_noticed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
