/* Which protocol maps a port, and when it is asked. */
#include "test/holepunch/portmap_lab.h"

/* --- who maps --------------------------------------------------------------------------------- */

static void all_are_asked_at_once(void **state) {
  (void)state;
  lab l;
  start(&l);
  assert_int_equal(count_of(&l, PCP), 1);
  assert_int_equal(count_of(&l, ADDRESS), 1);
  assert_int_equal(count_of(&l, FIND), 1);
  assert_int_equal(count_of(&l, TELL), 1);
  assert_true(status(&l).probing);
  const uint8_t *asked = nth(&l, PCP, 0)->out.bytes;
  assert_int_equal(asked[42] << 8 | asked[43], PORT); /* the same port outside, if it can be had */
  assert_memory_equal(asked + 20, local.ip, 4);
}

static void pcp_maps_when_it_answers(void **state) {
  (void)state;
  lab l;
  start(&l);
  run_to(&l, l.now + 20 * MS);
  pcp_grants(&l, 7200);
  km_portmap_status s = status(&l);
  assert_int_equal(s.protocol, KM_PORTMAP_PCP);
  assert_true(km_udp_addr_equal(&s.external, &outside));
  assert_int_equal(s.lifetime_s, 7200);
  assert_int_equal(s.found, BIT(KM_PORTMAP_PCP));
  assert_false(s.probing);
  forget(&l);
  natpmp_address(&l, (uint32_t)(l.now / S)); /* there as well, and not needed */
  upnp_found(&l, NULL);
  assert_int_equal(status(&l).found,
                   BIT(KM_PORTMAP_PCP) | BIT(KM_PORTMAP_NATPMP) | BIT(KM_PORTMAP_UPNP));
  run_to(&l, l.now + 60 * S);
  assert_int_equal(count_of(&l, MAP) + count_of(&l, UPNP_MAP) + count_of(&l, PCP), 0);
}

static void natpmp_gives_pcp_half_a_second(void **state) {
  (void)state;
  lab l;
  start(&l);
  km_ts begin = l.now;
  run_to(&l, begin + 10 * MS);
  natpmp_address(&l, 1000);
  run_to(&l, begin + 499 * MS);
  assert_int_equal(count_of(&l, MAP), 0);
  run_to(&l, begin + 600 * MS);
  assert_int_equal(nth(&l, MAP, 0)->at, begin + 500 * MS);
  natpmp_mapped(&l, PORT, 3600);
  km_portmap_status s = status(&l);
  assert_int_equal(s.protocol, KM_PORTMAP_NATPMP);
  assert_true(km_udp_addr_equal(&s.external, &outside));
  assert_int_equal(s.lifetime_s, 3600);
  forget(&l);
  pcp_grants(&l, 7200); /* late: noted, but who holds goes on */
  assert_int_equal(status(&l).protocol, KM_PORTMAP_NATPMP);
  assert_int_equal(status(&l).found, BIT(KM_PORTMAP_PCP) | BIT(KM_PORTMAP_NATPMP));
  run_to(&l, l.now + 60 * S);
  assert_int_equal(count_of(&l, PCP), 0);
}

static void a_gateway_of_natpmp_says_that_it_is_none_of_pcp(void **state) {
  (void)state;
  lab l;
  start(&l);
  km_ts begin = l.now;
  natpmp_refuses(&l, 1, KM_NATPMP_UNSUPP_VERSION); /* to the PCP request: RFC 6887 appendix A */
  natpmp_address(&l, 1000);
  assert_int_equal(nth(&l, MAP, 0)->at, begin); /* nothing to wait for */
  natpmp_mapped(&l, PORT, 7200);
  assert_int_equal(status(&l).protocol, KM_PORTMAP_NATPMP);
  assert_int_equal(status(&l).found, BIT(KM_PORTMAP_NATPMP));
}

static void a_gateway_of_pcp_alone_refuses_natpmp(void **state) {
  (void)state;
  static const uint8_t bytes[] = {2, 129, 0, KM_PCP_UNSUPP_VERSION, 0, 0, 0, 0};
  lab l;
  start(&l);
  km_portmap_core_input(&l.c, bytes, sizeof bytes, l.now);
  pull(&l);
  forget(&l);
  run_to(&l, l.now + 100 * S);
  assert_int_equal(count_of(&l, ADDRESS), 0);
  assert_int_not_equal(count_of(&l, PCP), 0);
}

static void upnp_comes_last(void **state) {
  (void)state;
  lab l;
  start(&l);
  km_ts begin = l.now;
  run_to(&l, begin + 100 * MS);
  upnp_found(&l, NULL);
  run_to(&l, begin + 2 * S);
  assert_int_equal(nth(&l, UPNP_MAP, 0)->at, begin + 1500 * MS);
  assert_int_equal(nth(&l, UPNP_MAP, 0)->out.internal_port, PORT);
  assert_int_equal(nth(&l, UPNP_MAP, 0)->out.external_port, PORT);
  assert_int_equal(nth(&l, UPNP_MAP, 0)->out.lifetime_s, 7200);
  upnp_mapped(&l, 0, NULL); /* for ever: renewed all the same */
  assert_int_equal(status(&l).protocol, KM_PORTMAP_UPNP);
  assert_int_equal(status(&l).lifetime_s, 7200);
}

static void upnp_does_not_wait_for_those_who_said_no(void **state) {
  (void)state;
  lab l;
  start(&l);
  upnp_found(&l, NULL);
  assert_int_equal(count_of(&l, UPNP_MAP), 0);
  km_portmap_core_no_listener(&l.c, l.now);
  pull(&l);
  assert_int_equal(count_of(&l, UPNP_MAP), 1);
}

static void but_for_those_who_may_still_answer(void **state) {
  (void)state;
  lab l;
  start(&l);
  km_ts begin = l.now;
  upnp_found(&l, NULL);
  pcp_answer(&l, &(answer){.result = KM_PCP_NO_RESOURCES});
  run_to(&l, begin + 1400 * MS);
  assert_int_equal(count_of(&l, UPNP_MAP), 0); /* NAT-PMP may */
  run_to(&l, begin + 1600 * MS);
  assert_int_equal(count_of(&l, UPNP_MAP), 1);
  natpmp_address(&l, 1000);
  natpmp_mapped(&l, PORT, 3600);
  assert_int_equal(status(&l).protocol, KM_PORTMAP_NATPMP);
  upnp_mapped(&l, 7200, NULL); /* too late */
  assert_int_equal(status(&l).protocol, KM_PORTMAP_NATPMP);
  assert_int_equal(status(&l).lifetime_s, 3600);
}

static void only_what_is_allowed(void **state) {
  (void)state;
  static const struct {
    km_portmap_protocol only;
    kind asks;
  } cases[] = {{KM_PORTMAP_PCP, PCP}, {KM_PORTMAP_NATPMP, ADDRESS}, {KM_PORTMAP_UPNP, FIND}};
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    lab l;
    start_with(&l, (uint8_t)BIT(cases[i].only));
    run_to(&l, l.now + 100 * S);
    assert_int_not_equal(count_of(&l, cases[i].asks), 0);
    for (kind other = PCP; other < TELL; other++) {
      assert_true(other == cases[i].asks || count_of(&l, other) == 0);
    }
  }
}

/* --- repeating -------------------------------------------------------------------------------- */

/* RFC 6887 section 8.1.1: 3 s, doubled up to 1,024 s, each spread by a tenth. */
static void pcp_asks_again(void **state) {
  (void)state;
  lab l;
  start_with(&l, BIT(KM_PORTMAP_PCP));
  run_to(&l, l.now + 10000 * S);
  km_ts before = 0;
  assert_true(count_of(&l, PCP) > 12);
  for (size_t i = 1; i < count_of(&l, PCP); i++) {
    km_ts wait = nth(&l, PCP, i)->at - nth(&l, PCP, i - 1)->at;
    km_ts base = i == 1 ? 3 * S : before * 2 < 1024 * S ? before * 2 : 1024 * S;
    assert_in_range(wait, base - base / 10, base + base / 10);
    before = wait;
  }
}

/* RFC 6886 section 3.1: 250 ms, doubled; nine times. */
static void natpmp_asks_nine_times(void **state) {
  (void)state;
  lab l;
  start_with(&l, BIT(KM_PORTMAP_NATPMP));
  km_ts begin = l.now;
  run_to(&l, begin + 600 * S);
  assert_int_equal(count_of(&l, ADDRESS), 9);
  for (size_t i = 0; i < 9; i++) {
    assert_int_equal(nth(&l, ADDRESS, i)->at, begin + 250 * MS * ((1u << i) - 1));
  }
  run_to(&l, begin + 2 * 3600 * S);
  assert_int_equal(count_of(&l, ADDRESS), 18); /* and an hour later once more */
}

static void upnp_is_searched_ever_less(void **state) {
  (void)state;
  lab l;
  start_with(&l, BIT(KM_PORTMAP_UPNP));
  for (int i = 0; i < 20; i++) {
    upnp_found(&l, "no gateway answers");
    run_to(&l, km_portmap_core_deadline(&l.c));
  }
  km_ts apart = nth(&l, FIND, 1)->at - nth(&l, FIND, 0)->at;
  assert_int_equal(apart, 60 * S);
  apart = nth(&l, FIND, 2)->at - nth(&l, FIND, 1)->at;
  assert_int_equal(apart, 120 * S);
  apart = nth(&l, FIND, 19)->at - nth(&l, FIND, 18)->at;
  assert_int_equal(apart, 3600 * S);
}

/* --- what is not believed --------------------------------------------------------------------- */

static void answers_to_nothing_asked(void **state) {
  (void)state;
  lab l;
  start(&l);
  forget(&l);
  l.c.nonce[3] ^= 1; /* somebody who did not see our request */
  km_portmap_core other = l.c;
  pcp_grants(&l, 7200);
  assert_int_equal(status(&l).protocol, KM_PORTMAP_PCP); /* the harness works */
  l.c = other;
  uint8_t bytes[KM_PCP_MAP_LEN];
  km_pcp_map map = {.internal_port = PORT, .external = outside};
  km_pcp_map_request(bytes, &map, &local, 7200);
  bytes[1] |= 0x80;
  km_portmap_core_input(&l.c, bytes, sizeof bytes, l.now);
  assert_int_equal(status(&l).protocol, KM_PORTMAP_NONE);
  assert_int_equal(status(&l).found, 0);
  memcpy(bytes + 24, l.c.nonce, KM_PCP_NONCE_LEN);
  bytes[41] ^= 1; /* of another port of ours */
  km_portmap_core_input(&l.c, bytes, sizeof bytes, l.now);
  assert_int_equal(status(&l).found, 0);
  natpmp_mapped(&l, PORT, 7200); /* no mapping was asked for yet */
  assert_int_equal(status(&l).protocol, KM_PORTMAP_NONE);
  natpmp_address(&l, 1000);
  natpmp_mapped(&l, PORT, 7200); /* nor yet */
  assert_int_equal(status(&l).protocol, KM_PORTMAP_NONE);
  run_to(&l, l.now + S);
  natpmp_mapped(&l, PORT + 1, 7200);
  assert_int_equal(status(&l).protocol, KM_PORTMAP_NONE);
}

static void grants_of_no_use(void **state) {
  (void)state;
  static const answer answers[] = {
      {.lifetime_s = 0, .external = {.family = 4, .port = 1, .ip = {203, 0, 113, 9}}},
      {.lifetime_s = 7200, .external = {.family = 4, .port = 0, .ip = {203, 0, 113, 9}}},
      {.lifetime_s = 7200, .external = {.family = 4, .port = 1}},
      {.lifetime_s = 7200, .external = {.family = 6, .port = 1, .ip = {0x20, 1}}},
  };
  for (size_t i = 0; i < COUNT_OF(answers); i++) {
    lab l;
    start_with(&l, BIT(KM_PORTMAP_PCP));
    pcp_answer(&l, &answers[i]);
    assert_int_equal(status(&l).protocol, KM_PORTMAP_NONE);
    assert_non_null(strstr(status(&l).trouble, "PCP says nothing of use"));
    forget(&l);
    run_to(&l, l.now + 29 * S);
    assert_int_equal(count_of(&l, PCP), 0);
    run_to(&l, l.now + 2 * S);
    assert_int_equal(count_of(&l, PCP), 1);
  }
}

/* Private ones are told: two NATs in a row are the caller's affair. */
static void any_external_address_is_told(void **state) {
  (void)state;
  lab l;
  start(&l);
  pcp_answer(
      &l, &(answer){.lifetime_s = 60, .external = {.family = 4, .port = 7, .ip = {100, 64, 0, 9}}});
  assert_int_equal(status(&l).protocol, KM_PORTMAP_PCP);
}

static void refusals(void **state) {
  (void)state;
  static const struct {
    uint32_t lifetime_s, again_s;
  } cases[] = {{0, 30}, {30, 30}, {1800, 1800}, {UINT32_MAX, 3600}};
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    lab l;
    start_with(&l, BIT(KM_PORTMAP_PCP));
    pcp_answer(&l, &(answer){.result = KM_PCP_NOT_AUTHORIZED, .lifetime_s = cases[i].lifetime_s});
    km_portmap_status s = status(&l);
    assert_int_equal(s.found, BIT(KM_PORTMAP_PCP));
    assert_false(s.probing);
    assert_string_equal(
        s.trouble, "the router maps no port (PCP says NOT_AUTHORIZED): look at its UPnP settings");
    assert_int_equal(km_portmap_core_deadline(&l.c), l.now + cases[i].again_s * S);
  }
}

static void the_next_one_maps_when_one_refuses(void **state) {
  (void)state;
  lab l;
  start(&l);
  natpmp_address(&l, 1000);
  upnp_found(&l, NULL);
  pcp_answer(&l, &(answer){.result = KM_PCP_NO_RESOURCES});
  assert_int_equal(count_of(&l, MAP), 1);
  natpmp_refuses(&l, 1, KM_NATPMP_NO_RESOURCES);
  assert_int_equal(count_of(&l, UPNP_MAP), 1);
  upnp_mapped(&l, 0, "ConflictInMappingEntry (718)");
  km_portmap_status s = status(&l);
  assert_false(s.probing);
  assert_non_null(strstr(s.trouble, "UPnP says ConflictInMappingEntry (718)"));
  assert_int_equal(s.found, BIT(KM_PORTMAP_PCP) | BIT(KM_PORTMAP_NATPMP) | BIT(KM_PORTMAP_UPNP));
}

static void nobody_listens(void **state) {
  (void)state;
  lab l;
  start(&l);
  km_portmap_core_no_listener(&l.c, l.now);
  upnp_found(&l, "no gateway answers");
  assert_false(status(&l).probing); /* a result, and at once */
  assert_non_null(strstr(status(&l).trouble, "no PCP, NAT-PMP or UPnP"));
  forget(&l);
  run_to(&l, l.now + 599 * S);
  assert_int_equal(count_of(&l, PCP) + count_of(&l, ADDRESS), 0);
  run_to(&l, l.now + 2 * S);
  assert_int_equal(count_of(&l, PCP), 1);
  pcp_grants(&l, 7200);
  km_portmap_core_no_listener(&l.c, l.now); /* it restarts: the mapping has time left */
  assert_int_equal(status(&l).protocol, KM_PORTMAP_PCP);
}

/* --- ports and gateways ----------------------------------------------------------------------- */

static void a_port_is_given_back(void **state) {
  (void)state;
  lab l;
  start(&l);
  pcp_grants(&l, 7200);
  forget(&l);
  km_portmap_core_set_port(&l.c, 0, l.now);
  pull(&l);
  assert_int_equal(count_of(&l, PCP_DELETE), 1);
  assert_memory_equal(nth(&l, PCP_DELETE, 0)->out.bytes + 24, l.c.nonce, KM_PCP_NONCE_LEN);
  assert_int_equal(
      nth(&l, PCP_DELETE, 0)->out.bytes[40] << 8 | nth(&l, PCP_DELETE, 0)->out.bytes[41], PORT);
  assert_int_equal(count_of(&l, TELL), 1);
  assert_int_equal(status(&l).protocol, KM_PORTMAP_NONE);
  assert_string_equal(status(&l).trouble, "");
  assert_int_equal(km_portmap_core_deadline(&l.c), KM_TS_NEVER);
  forget(&l);
  pcp_grants(&l, 7200); /* too late */
  natpmp_address(&l, 1);
  upnp_found(&l, NULL);
  announce(&l, true, 0);
  km_portmap_core_timeout(&l.c, l.now + 9000 * S);
  km_portmap_core_set_port(&l.c, 0, l.now);
  pull(&l);
  assert_int_equal(l.count, 0);

  start_with(&l, BIT(KM_PORTMAP_NATPMP));
  natpmp_address(&l, 1000);
  natpmp_mapped(&l, PORT, 7200);
  km_portmap_core_set_port(&l.c, 0, l.now);
  pull(&l);
  static const uint8_t want[] = {0, 1, 0, 0, PORT >> 8, PORT & 0xff, 0, 0, 0, 0, 0, 0};
  assert_memory_equal(nth(&l, MAP_DELETE, 0)->out.bytes, want, sizeof want);

  start_with(&l, BIT(KM_PORTMAP_UPNP));
  upnp_found(&l, NULL);
  run_to(&l, l.now + 2 * S);
  upnp_mapped(&l, 7200, NULL);
  km_portmap_core_set_port(&l.c, 0, l.now);
  pull(&l);
  assert_int_equal(nth(&l, UNMAP, 0)->out.external_port, outside.port);
}

static void a_port_is_exchanged(void **state) {
  (void)state;
  lab l;
  start(&l);
  pcp_grants(&l, 7200);
  forget(&l);
  km_portmap_core_set_port(&l.c, PORT, l.now); /* the same */
  pull(&l);
  assert_int_equal(l.count, 0);
  km_portmap_core_set_port(&l.c, PORT + 1, l.now);
  pull(&l);
  assert_int_equal(count_of(&l, PCP_DELETE), 1);
  assert_int_equal(count_of(&l, PCP), 1);
  assert_int_equal(nth(&l, PCP, 0)->out.bytes[43], (PORT + 1) & 0xff);
  assert_true(status(&l).probing);
  pcp_grants(&l, 7200);
  assert_int_equal(status(&l).protocol, KM_PORTMAP_PCP);
}

static void gateways_come_and_go(void **state) {
  (void)state;
  static const km_udp_addr none;
  lab l;
  start(&l);
  pcp_grants(&l, 7200);
  forget(&l);
  km_portmap_core_set_gateway(&l.c, &none, &none, "there is no default gateway", l.now);
  pull(&l);
  assert_int_equal(count_of(&l, PCP_DELETE), 0); /* whom would it be sent to? */
  assert_int_equal(count_of(&l, TELL), 1);
  assert_string_equal(status(&l).trouble, "there is no default gateway");
  assert_int_equal(status(&l).found, 0);
  assert_int_equal(km_portmap_core_deadline(&l.c), KM_TS_NEVER);
  run_to(&l, l.now + 100 * S);
  km_portmap_core_set_gateway(&l.c, &gateway, &local, NULL, l.now);
  pull(&l);
  assert_int_equal(count_of(&l, PCP), 1);
  assert_true(status(&l).probing);
  assert_string_equal(status(&l).trouble, "");
  pcp_answer(&l, &(answer){.lifetime_s = 7200, .epoch_s = 1, .external = outside});
  assert_int_equal(status(&l).protocol, KM_PORTMAP_PCP); /* its clock is another one */
}

/* --- whatever happens ------------------------------------------------------------------------- */

/* Random answers at random times: it always sleeps in between, sends little, tells no nonsense. */
static void whatever_happens(void **state) {
  (void)state;
  static lab l;
  uint32_t seed = 1;
  start(&l);
  size_t sent = 0;
  km_ts begin = l.now;
  for (int i = 0; i < 200000; i++) {
    seed = seed * 1664525u + 1013904223u;
    uint32_t dice = seed >> 8;
    l.count = 0;
    switch (dice % 16) {
    case 0:
      pcp_grants(&l, dice);
      break;
    case 1:
      pcp_answer(&l, &(answer){.result = (uint8_t)(dice >> 4),
                               .lifetime_s = dice,
                               .epoch_s = dice % 10000,
                               .external = outside});
      break;
    case 2:
      natpmp_address(&l, dice % 3 == 0 ? dice : (uint32_t)(l.now / S));
      break;
    case 3:
      natpmp_mapped(&l, l.c.port, dice % 5 == 0 ? 0 : dice);
      break;
    case 4:
      natpmp_refuses(&l, dice & 1, (uint8_t)(1 + dice % 5));
      break;
    case 5:
      upnp_found(&l, dice % 32 < 16 ? NULL : "no");
      break;
    case 6:
      upnp_mapped(&l, dice, dice % 32 < 16 ? NULL : "no");
      break;
    case 7:
      announce(&l, dice & 32, dice % 100);
      break;
    case 8:
      km_portmap_core_no_listener(&l.c, l.now);
      pull(&l);
      break;
    default:
      run_to(&l, l.now + (dice % 64 == 9 ? 5000 * S : (dice % 7) * S));
      break;
    }
    for (kind k = PCP; k < TELL; k++) {
      sent += count_of(&l, k);
    }
    km_portmap_status s = status(&l);
    assert_true((s.protocol == KM_PORTMAP_NONE) == (s.external.family == 0));
    assert_true(s.protocol == KM_PORTMAP_NONE || (!s.probing && s.trouble[0] == '\0'));
    assert_true(s.protocol == KM_PORTMAP_NONE || (s.lifetime_s > 0 && s.lifetime_s <= 86400));
    assert_true(s.protocol != KM_PORTMAP_NONE || s.probing || s.trouble[0] != '\0');
    assert_true(km_portmap_core_deadline(&l.c) != KM_TS_NEVER);
  }
  assert_true(sent < 2 * ((l.now - begin) / S)); /* hostile answers now and then, all the time */
  assert_int_equal(l.t.live, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(all_are_asked_at_once),
      cmocka_unit_test(pcp_maps_when_it_answers),
      cmocka_unit_test(natpmp_gives_pcp_half_a_second),
      cmocka_unit_test(a_gateway_of_natpmp_says_that_it_is_none_of_pcp),
      cmocka_unit_test(a_gateway_of_pcp_alone_refuses_natpmp),
      cmocka_unit_test(upnp_comes_last),
      cmocka_unit_test(upnp_does_not_wait_for_those_who_said_no),
      cmocka_unit_test(but_for_those_who_may_still_answer),
      cmocka_unit_test(only_what_is_allowed),
      cmocka_unit_test(pcp_asks_again),
      cmocka_unit_test(natpmp_asks_nine_times),
      cmocka_unit_test(upnp_is_searched_ever_less),
      cmocka_unit_test(answers_to_nothing_asked),
      cmocka_unit_test(grants_of_no_use),
      cmocka_unit_test(any_external_address_is_told),
      cmocka_unit_test(refusals),
      cmocka_unit_test(the_next_one_maps_when_one_refuses),
      cmocka_unit_test(nobody_listens),
      cmocka_unit_test(a_port_is_given_back),
      cmocka_unit_test(a_port_is_exchanged),
      cmocka_unit_test(gateways_come_and_go),
      cmocka_unit_test(whatever_happens),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
