/* Mappings that are renewed, end, or are forgotten by the gateway. */
#include "test/holepunch/portmap_lab.h"

/* --- renewing and losing ---------------------------------------------------------------------- */

static void half_a_lifetime_later(void **state) {
  (void)state;
  lab l;
  start(&l);
  pcp_grants(&l, 7200);
  for (int i = 0; i < 5; i++) {
    forget(&l);
    km_ts granted = l.now;
    run_to(&l, granted + 4500 * S);
    assert_int_equal(count_of(&l, PCP), 1);
    const event *e = nth(&l, PCP, 0);
    assert_in_range(e->at, granted + 3600 * S, granted + 4500 * S);
    assert_memory_equal(e->out.bytes + 24, l.c.nonce, KM_PCP_NONCE_LEN);
    assert_int_equal(e->out.bytes[42] << 8 | e->out.bytes[43], outside.port);
    assert_memory_equal(e->out.bytes + 56, outside.ip, 4); /* the one that it has */
    l.now = e->at;
    pcp_grants(&l, 7200);
    assert_int_equal(count_of(&l, TELL), 0); /* nothing changed */
  }
}

static void natpmp_renews_in_two_steps(void **state) {
  (void)state;
  lab l;
  start_with(&l, BIT(KM_PORTMAP_NATPMP));
  natpmp_address(&l, 1000);
  natpmp_mapped(&l, PORT, 7200);
  assert_int_equal(status(&l).protocol, KM_PORTMAP_NATPMP);
  forget(&l);
  run_to(&l, l.now + 4500 * S);
  assert_int_equal(count_of(&l, ADDRESS), 1);
  assert_int_equal(count_of(&l, MAP), 0);
  natpmp_address(&l, (uint32_t)(l.now / S));
  assert_int_equal(count_of(&l, MAP), 1);
  assert_int_equal(nth(&l, MAP, 0)->out.bytes[6] << 8 | nth(&l, MAP, 0)->out.bytes[7],
                   outside.port);
  natpmp_mapped(&l, PORT, 7200);
  assert_int_equal(count_of(&l, TELL), 0);
  forget(&l);
  natpmp_address(&l, (uint32_t)(l.now / S)); /* once more, unasked: nothing follows */
  assert_int_equal(l.count, 0);
}

static void upnp_renews_by_its_job(void **state) {
  (void)state;
  lab l;
  start_with(&l, BIT(KM_PORTMAP_UPNP));
  upnp_found(&l, NULL);
  run_to(&l, l.now + 2 * S);
  upnp_mapped(&l, 3600, NULL);
  forget(&l);
  run_to(&l, l.now + 2250 * S);
  assert_int_equal(count_of(&l, UPNP_MAP), 1);
  assert_int_equal(nth(&l, UPNP_MAP, 0)->out.external_port, outside.port);
  upnp_mapped(&l, 3600, NULL);
  assert_int_equal(count_of(&l, TELL), 0);
  forget(&l);
  run_to(&l, l.now + 2250 * S);
  upnp_mapped(&l, 0, "an error"); /* the mapping has time left */
  assert_int_equal(status(&l).protocol, KM_PORTMAP_UPNP);
  forget(&l);
  for (int i = 0; i < 100 && status(&l).protocol == KM_PORTMAP_UPNP; i++) {
    run_to(&l, km_portmap_core_deadline(&l.c));
    upnp_mapped(&l, 0, "an error");
  }
  assert_int_equal(status(&l).protocol, KM_PORTMAP_NONE);
  assert_in_range(count_of(&l, UPNP_MAP), 8, 16);
  assert_int_equal(count_of(&l, FIND), 1);
}

/* RFC 6887 section 11.2.1: at 1/2, 3/4, 7/8, ..., four seconds apart. */
static void a_gateway_that_fell_silent(void **state) {
  (void)state;
  lab l;
  start_with(&l, BIT(KM_PORTMAP_PCP));
  pcp_grants(&l, 7200);
  km_ts granted = l.now, expires = granted + 7200 * S;
  forget(&l);
  run_to(&l, expires - 1);
  assert_in_range(count_of(&l, PCP), 8, 16);
  km_ts before = granted;
  for (size_t i = 0; i < count_of(&l, PCP); i++) {
    km_ts at = nth(&l, PCP, i)->at, left = expires - before;
    assert_true(at - before >= 4 * S);
    assert_true(left < 8 * S || at - before >= left / 2);
    before = at;
  }
  assert_int_equal(status(&l).protocol, KM_PORTMAP_PCP);
  forget(&l);
  run_to(&l, expires);
  km_portmap_status s = status(&l);
  assert_int_equal(s.protocol, KM_PORTMAP_NONE);
  assert_int_equal(s.external.family, 0);
  assert_true(s.probing);
  assert_int_equal(count_of(&l, PCP), 1); /* from the beginning */
  assert_int_equal(nth(&l, PCP, 0)->out.bytes[42] << 8 | nth(&l, PCP, 0)->out.bytes[43],
                   outside.port); /* the same port again, if it can be had */
  run_to(&l, expires + 5 * S);
  assert_false(status(&l).probing);
  assert_non_null(strstr(status(&l).trouble, "forward UDP port 4433 by hand"));
}

static void lifetimes_of_all_sizes(void **state) {
  (void)state;
  static const struct {
    uint32_t granted_s, said_s, first_s, last_s;
  } cases[] = {
      {1, 1, 4, 7},
      {5, 5, 4, 7},
      {10, 10, 5, 7},
      {120, 120, 60, 75},
      {86400, 86400, 43200, 54000},
      {86401, 86400, 43200, 54000},
      {UINT32_MAX, 86400, 43200, 54000},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    lab l;
    start_with(&l, BIT(KM_PORTMAP_PCP));
    pcp_grants(&l, cases[i].granted_s);
    assert_int_equal(status(&l).lifetime_s, cases[i].said_s);
    km_ts wait = km_portmap_core_deadline(&l.c) - l.now;
    assert_in_range(wait, cases[i].first_s * S, cases[i].last_s * S);
  }
}

/* --- a gateway that forgot -------------------------------------------------------------------- */

static void clocks_that_do_not_fit(void **state) {
  (void)state;
  static const struct {
    const char *what;
    uint32_t before_s, elapsed_s, now_s;
    bool forgot_pcp, forgot_natpmp; /* as RFC 6887 and RFC 6886 have it */
  } cases[] = {
      {"as ours", 5000, 1000, 6000, false, false},
      {"a second back", 5000, 0, 4999, false, false},
      {"two seconds back", 5000, 0, 4998, true, true},
      {"from the start", 5000, 1000, 0, true, true},
      {"a little slow", 5000, 1600, 6500, false, false},
      {"slow by more than 1/16", 5000, 1600, 6490, true, false},
      {"slow by more than 1/8", 5000, 1600, 6390, true, true},
      {"a little fast", 5000, 1500, 6600, false, false},
      {"fast by more than 1/16", 5000, 1500, 6605, true, false},
      {"started after its grant, with an account as old", 3, 5, 3, true, true},
  };
  for (size_t i = 0; i < 2 * COUNT_OF(cases); i++) {
    bool pcp = i % 2 == 0, want = pcp ? cases[i / 2].forgot_pcp : cases[i / 2].forgot_natpmp;
    lab l;
    print_message("%s, %s\n", pcp ? "PCP" : "NAT-PMP", cases[i / 2].what);
    start(&l);
    natpmp_address(&l, cases[i / 2].before_s);
    pcp_answer(
        &l, &(answer){.lifetime_s = 7200, .epoch_s = cases[i / 2].before_s, .external = outside});
    run_to(&l, l.now + cases[i / 2].elapsed_s * S);
    forget(&l);
    announce(&l, pcp, cases[i / 2].now_s);
    run_to(&l, l.now + 5 * S);
    assert_int_equal(count_of(&l, PCP) > 0, want);
    assert_int_equal(status(&l).protocol, KM_PORTMAP_PCP); /* until it says otherwise */
  }
}

static void it_is_asked_until_it_answers(void **state) {
  (void)state;
  lab l;
  start(&l);
  pcp_grants(&l, 7200);
  run_to(&l, l.now + 100 * S);
  forget(&l);
  km_ts told = l.now;
  announce(&l, true, 0);
  run_to(&l, told + 70 * S);
  assert_in_range(count_of(&l, PCP), 4, 6);
  assert_true(nth(&l, PCP, 0)->at <= told + 5 * S);
  assert_int_equal(nth(&l, PCP, 1)->at - nth(&l, PCP, 0)->at, 4 * S);
  assert_int_equal(nth(&l, PCP, 2)->at - nth(&l, PCP, 1)->at, 8 * S);
  assert_int_equal(nth(&l, PCP, 3)->at - nth(&l, PCP, 2)->at, 16 * S);
  pcp_answer(&l, &(answer){.lifetime_s = 7200,
                           .epoch_s = 70,
                           .external = {.family = 4, .port = 50001, .ip = {203, 0, 113, 9}}});
  assert_int_equal(status(&l).external.port, 50001);
  forget(&l);
  run_to(&l, l.now + 3000 * S); /* and all is as ever */
  assert_int_equal(count_of(&l, PCP), 0);
}

static void it_forgot_and_refuses(void **state) {
  (void)state;
  lab l;
  start(&l);
  pcp_grants(&l, 7200);
  run_to(&l, l.now + 100 * S);
  pcp_answer(&l, &(answer){.result = KM_PCP_NO_RESOURCES, .epoch_s = (uint32_t)(l.now / S)});
  assert_int_equal(status(&l).protocol, KM_PORTMAP_PCP); /* the clock fits: it has the mapping */
  forget(&l);
  pcp_answer(&l, &(answer){.result = KM_PCP_NO_RESOURCES, .epoch_s = 3});
  assert_int_equal(status(&l).protocol, KM_PORTMAP_NONE);
  assert_int_equal(count_of(&l, ADDRESS), 1);
}

static void its_address_changed(void **state) {
  (void)state;
  lab l;
  start_with(&l, BIT(KM_PORTMAP_NATPMP));
  natpmp_address(&l, 1000);
  natpmp_mapped(&l, PORT, 7200);
  forget(&l);
  uint8_t bytes[12] = {0, 128, 0, 0, 0, 0, 0, 0, 203, 0, 113, 77};
  put(bytes + 4, 1000, 4);
  km_portmap_core_announced(&l.c, bytes, sizeof bytes, l.now);
  run_to(&l, l.now + 5 * S);
  assert_int_not_equal(count_of(&l, ADDRESS), 0);
  put(bytes + 4, (uint32_t)(l.now / S), 4);
  km_portmap_core_input(&l.c, bytes, sizeof bytes, l.now);
  pull(&l);
  natpmp_mapped(&l, PORT, 7200);
  assert_int_equal(status(&l).external.ip[3], 77);
}

static void one_that_comes_up_is_asked(void **state) {
  (void)state;
  lab l;
  start(&l);
  km_portmap_core_no_listener(&l.c, l.now);
  upnp_found(&l, "no gateway answers");
  run_to(&l, l.now + 6 * S);
  forget(&l);
  for (int i = 0; i < 100; i++) { /* however often it says so */
    announce(&l, true, 0);
  }
  run_to(&l, l.now + 5 * S);
  assert_int_equal(count_of(&l, PCP), 2); /* once, and its first repetition */
  assert_true(status(&l).probing);

  start(&l);
  for (int i = 0; i < 100; i++) {
    announce(&l, true, 0); /* it is being asked already */
  }
  run_to(&l, l.now + 8 * S);
  assert_int_equal(count_of(&l, FIND), 1);
  assert_int_equal(count_of(&l, PCP), 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(half_a_lifetime_later),        cmocka_unit_test(natpmp_renews_in_two_steps),
      cmocka_unit_test(upnp_renews_by_its_job),       cmocka_unit_test(a_gateway_that_fell_silent),
      cmocka_unit_test(lifetimes_of_all_sizes),       cmocka_unit_test(clocks_that_do_not_fit),
      cmocka_unit_test(it_is_asked_until_it_answers), cmocka_unit_test(it_forgot_and_refuses),
      cmocka_unit_test(its_address_changed),          cmocka_unit_test(one_that_comes_up_is_asked),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
