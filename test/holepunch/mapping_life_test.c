/* What is learnt of the life of a mapping, and what is not. Times are in seconds. */
#include "holepunch/mapping_life.h"

#include "test/base/test_env.h"

#define S(seconds) ((km_ts)(seconds)*KM_NS_PER_S)
#define NEVER (-1)

/* The outer address with this port; 0: none. */
static km_udp_addr outer(uint16_t port) {
  return (km_udp_addr){.family = port != 0 ? 4 : 0, .port = port, .ip = {192, 0, 2, 1}};
}

static void seen(km_mapping_life *m, uint16_t port, unsigned at) {
  km_udp_addr addr = outer(port);
  km_mapping_life_observed(m, &addr, S(at));
}

/* Seen every `step` seconds, the first time at `from`, the last time at `to`. */
static void lives(km_mapping_life *m, uint16_t port, unsigned from, unsigned to, unsigned step) {
  for (unsigned at = from; at < to; at += step) {
    seen(m, port, at);
  }
  seen(m, port, to);
}

static void assert_renewal(const km_mapping_life *m, int at) {
  assert_int_equal(km_mapping_life_renew_at(m), at == NEVER ? KM_TS_NEVER : S(at));
}

/* Two mappings that lived for 60 s, a third one born at 122 s. */
static km_mapping_life learnt(void) {
  km_mapping_life m;
  km_mapping_life_init(&m);
  lives(&m, 1, 0, 60, 5);
  lives(&m, 2, 61, 121, 5);
  seen(&m, 3, 122);
  return m;
}

static void two_lives_teach(void **state) {
  (void)state;
  km_mapping_life m;
  km_mapping_life_init(&m);
  assert_renewal(&m, NEVER);
  lives(&m, 1, 0, 60, 5);
  assert_renewal(&m, NEVER);
  lives(&m, 2, 61, 121, 5);
  assert_renewal(&m, NEVER); /* one life is known, the second goes on */
  seen(&m, 3, 122);
  assert_renewal(&m, 122 + 45);
  seen(&m, 3, 130);
  assert_renewal(&m, 122 + 45);
}

static void a_mapping_that_lives_teaches_nothing(void **state) {
  (void)state;
  km_mapping_life m;
  km_mapping_life_init(&m);
  lives(&m, 1, 0, 100000, 20);
  assert_renewal(&m, NEVER);
}

static void which_lives_are_alike(void **state) {
  (void)state;
  static const struct {
    unsigned first, second;
    unsigned life; /* 0: not learnt */
  } cases[] = {
      {60, 60, 60},    {60, 45, 45}, /* a quarter of the longer one */
      {45, 60, 45},    {60, 44, 0},   {44, 60, 0},   {60, 120, 0},
      {10, 10, 10},    {9, 9, 0},     {9, 10, 0}, /* shorter than those that count */
      {600, 600, 600}, {600, 601, 0}, {601, 601, 0},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    km_mapping_life m;
    unsigned second = cases[i].first + 1, third = second + cases[i].second + 1;
    km_mapping_life_init(&m);
    lives(&m, 1, 0, cases[i].first, 1);
    lives(&m, 2, second, third - 1, 1);
    seen(&m, 3, third);
    assert_int_equal(m.life, S(cases[i].life));
    if (cases[i].life == 0) {
      assert_renewal(&m, NEVER);
    } else {
      assert_int_equal(km_mapping_life_renew_at(&m), S(third) + S(cases[i].life) * 3 / 4);
    }
  }
}

/* A mapping that nobody looked at may have died of idleness. */
static void what_nobody_looked_at_does_not_count(void **state) {
  (void)state;
  static const struct {
    unsigned last_seen, gone;
    bool counts;
  } cases[] = {{60, 61, true}, {60, 80, true}, {60, 81, false}, {0, 60, false}, {30, 60, false}};
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    km_mapping_life m;
    unsigned second = cases[i].gone;
    km_mapping_life_init(&m);
    lives(&m, 1, 0, cases[i].last_seen, 60);
    lives(&m, 2, second, second + cases[i].last_seen, 60);
    seen(&m, 3, second + cases[i].gone);
    assert_int_equal(m.life != 0, cases[i].counts);
  }
}

/* Such a death leaves what was measured before and after it. */
static void a_death_that_does_not_count_changes_nothing(void **state) {
  (void)state;
  km_mapping_life m = learnt();
  seen(&m, 3, 130);
  seen(&m, 4, 500);
  assert_renewal(&m, 500 + 45);
  lives(&m, 4, 505, 560, 5);
  seen(&m, 5, 561);
  assert_renewal(&m, 561 + 45);
}

static void lives_in_a_row(void **state) {
  (void)state;
  km_mapping_life m;
  km_mapping_life_init(&m);
  lives(&m, 1, 0, 60, 5);
  lives(&m, 2, 61, 64, 1); /* a short one between them */
  lives(&m, 3, 65, 125, 5);
  seen(&m, 4, 126);
  assert_renewal(&m, NEVER);
  lives(&m, 4, 126, 186, 5);
  seen(&m, 5, 187);
  assert_renewal(&m, 187 + 45);
}

static void another_life_is_learnt_in_its_place(void **state) {
  (void)state;
  km_mapping_life m = learnt();
  lives(&m, 3, 122, 152, 5); /* 30 s */
  seen(&m, 4, 153);
  assert_renewal(&m, 153 + 45); /* once may be chance */
  lives(&m, 4, 153, 183, 5);
  seen(&m, 5, 184);
  assert_int_equal(km_mapping_life_renew_at(&m), S(184) + S(30) * 3 / 4);
}

static void a_longer_life_unlearns(void **state) {
  (void)state;
  km_mapping_life m = learnt();
  lives(&m, 3, 122, 212, 5); /* 90 s: half as long again */
  assert_renewal(&m, 122 + 45);
  seen(&m, 3, 213);
  assert_renewal(&m, NEVER);
  assert_int_equal(m.last_life, 0);
  m = learnt();
  lives(&m, 3, 122, 213, 91);
  assert_renewal(&m, NEVER);
}

static void a_fresh_socket_begins_anew_and_knows(void **state) {
  (void)state;
  km_mapping_life m = learnt();
  km_mapping_life_restart(&m, false, S(167));
  assert_renewal(&m, NEVER); /* until somebody sees it */
  seen(&m, 0, 168);
  assert_renewal(&m, NEVER);
  seen(&m, 7, 169);
  assert_renewal(&m, 169 + 45);
  /* Its address is another one, and that is no death. */
  assert_int_equal(m.last_life, S(60));
  assert_int_equal(m.life, S(60));
}

static void another_network_is_another_nat(void **state) {
  (void)state;
  km_mapping_life m = learnt();
  km_mapping_life_restart(&m, true, S(130));
  assert_renewal(&m, NEVER);
  lives(&m, 4, 131, 191, 5);
  seen(&m, 5, 192);
  assert_renewal(&m, NEVER);
  /* Also half of what was measured is forgotten. */
  km_mapping_life_init(&m);
  lives(&m, 1, 0, 60, 5);
  seen(&m, 2, 61);
  km_mapping_life_restart(&m, true, S(62));
  lives(&m, 3, 63, 123, 5);
  seen(&m, 4, 124);
  assert_renewal(&m, NEVER);
  /* A fresh socket on the same network forgets none. */
  km_mapping_life_init(&m);
  lives(&m, 1, 0, 60, 5);
  seen(&m, 2, 61);
  km_mapping_life_restart(&m, false, S(62));
  lives(&m, 3, 63, 123, 5);
  seen(&m, 4, 124);
  assert_renewal(&m, 124 + 45);
}

static void odd_observations(void **state) {
  (void)state;
  km_mapping_life m = learnt();
  seen(&m, 0, 125); /* no address */
  assert_renewal(&m, 122 + 45);
  seen(&m, 9, 100); /* time does not go back: a late one says nothing */
  assert_renewal(&m, 122 + 45);
  assert_int_equal(m.outer.port, 3);
  /* Another address with the same port is another mapping. */
  km_udp_addr moved = outer(3);
  moved.ip[3] = 2;
  km_mapping_life_observed(&m, &moved, S(130));
  assert_renewal(&m, 130 + 45);
}

/* Whatever is seen: a renewal is only ever asked for after a life that two mappings in a row had,
 * and lies within the present mapping's. */
static void random_observations(void **state) {
  (void)state;
  for (unsigned seed = 1; seed <= 2000; seed++) {
    km_mapping_life m;
    uint32_t random = seed * 2654435761u;
    unsigned now = 0;
    km_mapping_life_init(&m);
    for (unsigned i = 0; i < 300; i++) {
      random = random * 1664525u + 1013904223u;
      now += (random >> 8) % 16;
      if (random >> 26 == 0) {
        km_mapping_life_restart(&m, random % 8 == 0, S(now));
      } else {
        seen(&m, (uint16_t)(1 + ((random >> 24) % 16 == 0 ? i : m.outer.port)), now);
      }
      km_ts renew_at = km_mapping_life_renew_at(&m);
      assert_true(m.life == 0 || (m.life >= KM_MAPPING_LIFE_MIN && m.life <= KM_MAPPING_LIFE_MAX));
      assert_int_equal(renew_at == KM_TS_NEVER, m.life == 0 || m.outer.family == 0);
      assert_true(renew_at == KM_TS_NEVER || (renew_at > m.born && renew_at - m.born < m.life));
      assert_true(m.born <= m.last_seen && m.last_seen <= S(now));
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(two_lives_teach),
      cmocka_unit_test(a_mapping_that_lives_teaches_nothing),
      cmocka_unit_test(which_lives_are_alike),
      cmocka_unit_test(what_nobody_looked_at_does_not_count),
      cmocka_unit_test(a_death_that_does_not_count_changes_nothing),
      cmocka_unit_test(lives_in_a_row),
      cmocka_unit_test(another_life_is_learnt_in_its_place),
      cmocka_unit_test(a_longer_life_unlearns),
      cmocka_unit_test(a_fresh_socket_begins_anew_and_knows),
      cmocka_unit_test(another_network_is_another_nat),
      cmocka_unit_test(odd_observations),
      cmocka_unit_test(random_observations),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
