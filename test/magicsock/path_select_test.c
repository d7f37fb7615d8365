/* Which way is taken: a table, and properties over many random sets of ways. */
#include "magicsock/path_select.h"

#include "test/base/test_env.h"

#define MS(milliseconds) ((uint64_t)(milliseconds)*KM_NS_PER_MS)
#define MAX_WAYS 12

/* Random enough for tests, and the same everywhere (splitmix64). */
static uint64_t next_random(uint64_t *seed) {
  uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

static uint64_t below(uint64_t *seed, uint64_t bound) {
  return next_random(seed) % bound;
}

/* --- the table ------------------------------------------------------------------------------- */

enum { DEAD = 1, RELAY = 2, CURRENT = 4, V6 = 8 };

typedef struct way {
  unsigned what;
  double rtt_ms;
  uint32_t loss;
} way;

typedef struct row {
  const char *why;
  way ways[4]; /* until one without anything */
  size_t wanted;
} row;

static const row table[] = {
    {"nothing there", {{0}}, 0},
    {"nothing usable", {{DEAD, 10, 0}, {DEAD | RELAY, 10, 0}}, 2},
    {"only a relay", {{RELAY, 50, 0}}, 0},
    {"direct beats a faster relay", {{RELAY | CURRENT, 1, 0}, {0, 900, 0}}, 1},
    {"also when it was not measured", {{RELAY | CURRENT, 1, 0}, {V6, 0, 0}}, 1},
    {"also when it loses a lot", {{RELAY | CURRENT, 1, 0}, {0, 900, 900}}, 1},
    {"a dead one does not", {{RELAY | CURRENT, 50, 0}, {DEAD, 1, 0}}, 0},
    {"the present one died", {{RELAY, 50, 0}, {DEAD | CURRENT, 1, 0}}, 0},
    {"it died, there is another", {{RELAY, 1, 0}, {DEAD | CURRENT, 1, 0}, {0, 90, 0}}, 2},
    {"the fastest", {{0, 30, 0}, {0, 20, 0}, {0, 25, 0}}, 1},
    {"any measured one before others", {{V6, 0, 0}, {0, 3000, 0}}, 1},
    {"equal: the first", {{0, 20, 0}, {0, 20, 0}}, 0},
    {"5 ms less: switch", {{CURRENT, 20, 0}, {0, 15, 0}}, 1},
    {"a little less than that: stay", {{CURRENT, 20, 0}, {0, 15.000001, 0}}, 0},
    {"IPv6 counts 3 ms less", {{0, 20, 0}, {V6, 22.9, 0}}, 1},
    {"and no more than that", {{0, 20, 0}, {V6, 23.1, 0}}, 0},
    {"a switch to IPv6", {{CURRENT, 20, 0}, {V6, 18, 0}}, 1},
    {"a switch away from it", {{CURRENT | V6, 20, 0}, {0, 12.1, 0}}, 0},
    {"a switch away from it, worth it", {{CURRENT | V6, 20, 0}, {0, 12, 0}}, 1},
    {"IPv6 faster than 3 ms", {{V6, 1, 0}, {V6, 2, 0}}, 0},
    {"the present one not measured", {{CURRENT, 0, 0}, {0, 3000, 0}}, 1},
    {"none measured: stay", {{V6, 0, 0}, {V6 | CURRENT, 0, 0}}, 1},
    {"loss of 10 %: 2 + 10 ms", {{CURRENT, 20, 100}, {0, 27, 0}}, 1},
    {"the same, not enough", {{CURRENT, 20, 100}, {0, 27.1, 0}}, 0},
    {"loss weighs more on long ways", {{CURRENT, 300, 100}, {0, 335, 0}}, 1},
    {"a lossless way may be far longer", {{0, 20, 500}, {0, 79, 0}}, 1},
    {"more than everything is everything", {{0, 20, 4000000000}, {0, 20, 1000}}, 0},
    {"relays: the present one stays", {{RELAY, 10, 0}, {RELAY | CURRENT, 300, 0}}, 1},
    {"though it was not measured", {{RELAY, 10, 0}, {RELAY | CURRENT, 0, 0}}, 1},
    {"unless it died", {{RELAY, 10, 0}, {RELAY | CURRENT | DEAD, 1, 0}, {RELAY, 5, 0}}, 2},
    {"a way of 300 years", {{0, 1e13, 1000}, {V6, 0, 0}}, 0},
};

static size_t fill(km_path_sample *ret, const row *r) {
  size_t count = 0;
  while (count < COUNT_OF(r->ways) && (r->ways[count].what != 0 || r->ways[count].rtt_ms > 0)) {
    const way *w = &r->ways[count];
    ret[count] = (km_path_sample){.usable = (w->what & DEAD) == 0,
                                  .relay = (w->what & RELAY) != 0,
                                  .current = (w->what & CURRENT) != 0,
                                  .family = (w->what & V6) != 0 ? 6 : 4,
                                  .rtt_ns = (uint64_t)(w->rtt_ms * 1e6 + 0.5),
                                  .loss_permille = w->loss,
                                  .order = 10 + count};
    count++;
  }
  return count;
}

static void the_table(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT_OF(table); i++) {
    km_path_sample ways[4];
    size_t count = fill(ways, &table[i]), got = km_path_select(ways, count);
    if (got != table[i].wanted) {
      fail_msg("%s: %zu, not %zu", table[i].why, got, table[i].wanted);
    }
  }
}

/* --- properties ------------------------------------------------------------------------------ */

/* Round trips from a small set, so that ties and near ties are common. */
static size_t random_ways(km_path_sample *ret, uint64_t *seed) {
  size_t count = below(seed, MAX_WAYS + 1);
  for (size_t i = 0; i < count; i++) {
    ret[i] = (km_path_sample){.usable = below(seed, 4) > 0,
                              .relay = below(seed, 3) == 0,
                              .family = below(seed, 2) == 0 ? 4 : 6,
                              .rtt_ns = MS(below(seed, 30)) + below(seed, 3),
                              .loss_permille = (uint32_t)(below(seed, 3) * below(seed, 500)),
                              .order = 100 + i};
  }
  if (count > 0 && below(seed, 2) == 0) {
    ret[below(seed, count)].current = true;
  }
  return count;
}

static uint64_t order_of_choice(const km_path_sample *ways, size_t count) {
  size_t got = km_path_select(ways, count);
  assert_true(got <= count);
  return got < count ? ways[got].order : 0;
}

static void shuffle(km_path_sample *ways, size_t count, uint64_t *seed) {
  for (size_t i = count; i > 1; i--) {
    size_t j = below(seed, i);
    km_path_sample other = ways[j];
    ways[j] = ways[i - 1];
    ways[i - 1] = other;
  }
}

static void the_order_of_the_samples_is_irrelevant(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 20000; seed++) {
    uint64_t random = seed;
    km_path_sample ways[MAX_WAYS];
    size_t count = random_ways(ways, &random);
    uint64_t wanted = order_of_choice(ways, count);
    for (int i = 0; i < 5; i++) {
      shuffle(ways, count, &random);
      assert_int_equal(order_of_choice(ways, count), wanted);
    }
  }
}

static void only_what_works_and_direct_first(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 20000; seed++) {
    uint64_t random = seed;
    km_path_sample ways[MAX_WAYS];
    size_t count = random_ways(ways, &random), got = km_path_select(ways, count);
    bool direct = false, usable = false;
    for (size_t i = 0; i < count; i++) {
      usable = usable || ways[i].usable;
      direct = direct || (ways[i].usable && !ways[i].relay);
    }
    assert_int_equal(got < count, usable);
    if (usable) {
      assert_true(ways[got].usable);
      assert_int_equal(ways[got].relay, !direct);
    }
  }
}

static void take(km_path_sample *ways, size_t count, size_t chosen) {
  for (size_t i = 0; i < count; i++) {
    ways[i].current = i == chosen;
  }
}

static void who_was_taken_stays(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 20000; seed++) {
    uint64_t random = seed;
    km_path_sample ways[MAX_WAYS];
    size_t count = random_ways(ways, &random), got = km_path_select(ways, count);
    take(ways, count, got);
    assert_int_equal(km_path_select(ways, count), got);
  }
}

/* A set of ways whose round trips jitter: each is `base` and up to `jitter` more. */
typedef struct jittery {
  km_path_sample ways[MAX_WAYS];
  uint64_t base[MAX_WAYS];
  size_t count, current; /* `current` is `count` at first when it is none of them */
  uint64_t random;
} jittery;

static void jittery_begin(jittery *j, uint64_t seed, size_t most) {
  j->random = seed;
  do {
    j->count = random_ways(j->ways, &j->random);
  } while (j->count > most);
  for (size_t i = 0; i < j->count; i++) {
    j->ways[i].loss_permille = 0;
    j->base[i] = MS(1) + MS(below(&j->random, 30));
  }
  j->current = below(&j->random, j->count + 1);
}

/* One more look at them. Returns whether there was a switch. */
static bool jittery_step(jittery *j, uint64_t jitter) {
  size_t before = j->current;
  for (size_t i = 0; i < j->count; i++) {
    j->ways[i].rtt_ns = j->base[i] + below(&j->random, jitter);
  }
  take(j->ways, j->count, before);
  j->current = km_path_select(j->ways, j->count);
  return j->current != before;
}

static uint64_t jittery_cost(const jittery *j, size_t i) {
  return j->base[i] + (j->ways[i].family == 6 ? 0 : KM_SELECT_IPV6_BONUS_NS);
}

static void jitter_below_5_ms_causes_no_second_switch_between_two(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 10000; seed++) {
    jittery j;
    jittery_begin(&j, seed, 2);
    size_t switches = 0, start = j.current;
    for (int round = 0; round < 50; round++) {
      switches += jittery_step(&j, MS(5));
    }
    assert_true(switches <= (start < j.count ? 1 : 2)); /* the first choice is none of jitter's */
  }
}

/* Of more than two, each way taken for a shorter one is shorter: none is ever come back to. */
static void jitter_below_5_ms_never_leads_to_a_longer_way(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 3000; seed++) {
    jittery j;
    jittery_begin(&j, seed, MAX_WAYS);
    for (int round = 0; round < 50; round++) {
      size_t before = j.current;
      if (jittery_step(&j, MS(5)) && before < j.count && j.ways[before].usable &&
          !j.ways[before].relay) {
        assert_true(jittery_cost(&j, j.current) < jittery_cost(&j, before));
      }
    }
  }
}

static void half_as_much_jitter_causes_no_second_switch_at_all(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 3000; seed++) {
    jittery j;
    size_t switches = 0;
    jittery_begin(&j, seed, MAX_WAYS);
    for (int round = 0; round < 50; round++) {
      switches += jittery_step(&j, MS(5) / 2);
    }
    assert_true(switches <= 1);
  }
}

static void a_better_way_is_never_passed_over_for_long(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 20000; seed++) {
    uint64_t random = seed;
    km_path_sample ways[MAX_WAYS];
    size_t count = random_ways(ways, &random);
    for (size_t i = 0; i < count; i++) {
      ways[i].loss_permille = 0;
      ways[i].family = 4;
    }
    size_t got = km_path_select(ways, count);
    for (size_t i = 0; got < count && !ways[got].relay && i < count; i++) {
      if (ways[i].usable && !ways[i].relay && ways[i].rtt_ns != 0) {
        assert_true(ways[got].rtt_ns != 0 && ways[got].rtt_ns < ways[i].rtt_ns + MS(5));
      }
    }
  }
}

static void extremes(void **state) {
  (void)state;
  km_path_sample ways[2] = {
      {.usable = true, .family = 4, .rtt_ns = UINT64_MAX, .loss_permille = UINT32_MAX, .order = 1},
      {.usable = true, .family = 6, .rtt_ns = 0, .loss_permille = 0, .order = 0}};
  assert_int_equal(km_path_select(ways, 2), 0);
  ways[1].current = true;
  assert_int_equal(km_path_select(ways, 2), 0);
  ways[1].rtt_ns = 1;
  assert_int_equal(km_path_select(ways, 2), 1);
  ways[1] = (km_path_sample){.usable = true, .family = 4, .rtt_ns = MS(3600000), .order = 2};
  assert_int_equal(km_path_select(ways, 2), 1);
  assert_int_equal(km_path_select(NULL, 0), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_table),
      cmocka_unit_test(the_order_of_the_samples_is_irrelevant),
      cmocka_unit_test(only_what_works_and_direct_first),
      cmocka_unit_test(who_was_taken_stays),
      cmocka_unit_test(jitter_below_5_ms_causes_no_second_switch_between_two),
      cmocka_unit_test(jitter_below_5_ms_never_leads_to_a_longer_way),
      cmocka_unit_test(half_as_much_jitter_causes_no_second_switch_at_all),
      cmocka_unit_test(a_better_way_is_never_passed_over_for_long),
      cmocka_unit_test(extremes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
