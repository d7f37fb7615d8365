#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "magicsock/home_relay.h"

#define NONE KM_HOME_NONE
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* One letter a relay: u untried, U up, S up but shaky, d down; its latency in milliseconds, 0
 * unknown. */
typedef struct scene {
  const char *what;
  const char *states;
  uint64_t ms[4];
  int home; /* before */
  int want_home, want_standby;
  const char *keep; /* x: kept */
  int standby_1;    /* before; 0: none, else index + 1 */
} scene;

static const scene scenes[] = {
    {"nothing is known: the first two are tried", "uuu", {0}, NONE, NONE, NONE, "xx-", 0},
    {"one relay is all there is", "u", {0}, NONE, NONE, NONE, "x", 0},
    {"and home when it is up", "U", {0}, NONE, 0, NONE, "x", 0},
    {"and kept being tried when it is down", "d", {0}, 0, NONE, NONE, "x", 0},
    {"the nearest two are kept", "uuuu", {40, 10, 30, 20}, NONE, NONE, NONE, "-x-x", 0},
    {"one that is up serves until the nearest is", "Uuu", {40, 10, 30}, NONE, 0, NONE, "xxx", 0},
    {"the nearest becomes home", "uUU", {40, 10, 30}, NONE, 1, 2, "-xx", 0},
    {"a little better is not worth moving", "UU-", {30, 21}, 0, 0, 1, "xx-", 0},
    {"two thirds are", "UU", {30, 20}, 0, 1, 0, "xx", 0},
    {"but only when it is up", "Uu", {30, 10}, 0, 0, NONE, "xx", 0},
    {"home without a latency stays", "UU", {0, 1}, 0, 0, 1, "xx", 0},
    {"and is not left for one without", "UU", {30, 0}, 0, 0, 1, "xx", 0},
    {"home died: its standby takes over", "dU", {10, 30}, 0, 1, NONE, "xx", 0},
    {"and a third is warmed up", "dUu", {10, 30, 50}, 0, 1, NONE, "-xx", 0},
    {"what is down comes last", "ddu", {1, 2, 90}, NONE, NONE, NONE, "x-x", 0},
    {"all are down: the nearest are tried", "ddd", {30, 10, 20}, 1, NONE, NONE, "-xx", 0},
    {"back again, not better by far: stays standby", "UU", {25, 30}, 1, 1, 0, "xx", 0},
    {"back again and far better, but not for long yet", "SU", {10, 30}, 1, 1, 0, "xx", 0},
    {"then home again", "UU", {10, 30}, 1, 0, 1, "xx", 0},
    {"home died: a steady one before a near one", "dUS", {10, 30, 20}, 0, 1, 2, "-xx", 0},
    {"all are shaky: the nearest", "SS", {30, 10}, NONE, 1, 0, "xx", 0},
    {"the standby stays while none is far better", "UUU", {10, 30, 25}, 0, 0, 1, "xx-", 2},
    {"and also against one that is not up", "UUu", {10, 30, 25}, 0, 0, 1, "xx-", 2},
    {"one that is far better is warmed up first", "UUu", {10, 30, 15}, 0, 0, 1, "x-x", 2},
    {"and takes its place", "UUU", {10, 30, 15}, 0, 0, 2, "x-x", 2},
    {"home and standby change places", "UUU", {60, 10, 30}, 0, 1, 2, "-xx", 2},
    {"home moves, and was not far worse than others", "UUU", {40, 10, 30}, 0, 1, 0, "xx-", 2},
    {"home died: the standby, and a new one", "dUuu", {10, 30, 60, 50}, 0, 1, NONE, "-x-x", 2},
};

static void plans_are_made_by_the_rules(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT_OF(scenes); i++) {
    const scene *s = &scenes[i];
    km_home_relay relays[4];
    size_t count = 0;
    for (; s->states[count] != '\0' && s->states[count] != '-'; count++) {
      relays[count] = (km_home_relay){.state = strchr("US", s->states[count]) != NULL ? KM_HOME_UP
                                               : s->states[count] == 'd'              ? KM_HOME_DOWN
                                                                         : KM_HOME_UNTRIED,
                                      .latency_ns = s->ms[count] * 1000000,
                                      .shaky = s->states[count] == 'S'};
    }
    km_home_plan plan;
    km_home_plan_make(&plan, relays, count, s->home, s->standby_1 - 1);
    print_message("%s\n", s->what);
    assert_int_equal(plan.home, s->want_home);
    assert_int_equal(plan.standby, s->want_standby);
    for (size_t k = 0; k < KM_ADDR_MAX_RELAYS; k++) {
      assert_int_equal(plan.keep[k], k < count && s->keep[k] == 'x');
    }
  }
}

/* Two relays in the same room answer within microseconds, now this one first, now that one. */
static void what_nobody_notices_is_not_worth_moving(void **state) {
  (void)state;
  km_home_relay relays[] = {{KM_HOME_UP, 1200000, false}, {KM_HOME_UP, 210000, false}};
  km_home_plan plan;
  km_home_plan_make(&plan, relays, 2, 0, 1);
  assert_int_equal(plan.home, 0);
  relays[0].latency_ns = 1210000;
  km_home_plan_make(&plan, relays, 2, 0, 1);
  assert_int_equal(plan.home, 1);
  assert_int_equal(plan.standby, 0);
}

static void no_relays_need_no_plan(void **state) {
  (void)state;
  km_home_plan plan;
  memset(&plan, 1, sizeof plan);
  km_home_plan_make(&plan, NULL, 0, NONE, NONE);
  assert_int_equal(plan.home, NONE);
  assert_int_equal(plan.standby, NONE);
  assert_false(plan.keep[0]);
}

/* Whatever happens, home is up and kept, and a plan made twice is the same plan. */
static void check_stability(const km_home_relay relays[3], int home, int standby) {
  km_home_plan first, second;
  km_home_plan_make(&first, relays, 3, home, standby);
  km_home_plan_make(&second, relays, 3, first.home, first.standby);
  assert_int_equal(first.home, second.home);
  for (size_t i = 0; i < 3; i++) {
    assert_true(first.home != NONE || relays[i].state != KM_HOME_UP);
  }
  if (first.home != NONE) {
    assert_int_equal(relays[first.home].state, KM_HOME_UP);
    assert_true(first.keep[first.home]);
    assert_int_not_equal(first.home, first.standby);
  }
  if (first.standby != NONE) {
    assert_int_equal(relays[first.standby].state, KM_HOME_UP);
  }
}

static void plans_are_stable(void **state) {
  (void)state;
  enum { KINDS = 3 * 3 * 2 };
  for (unsigned code = 0; code < KINDS * KINDS * KINDS * 16; code++) {
    km_home_relay relays[3];
    unsigned rest = code;
    for (size_t i = 0; i < 3; i++) {
      relays[i] = (km_home_relay){.state = (km_home_state)(rest % 3),
                                  .latency_ns = (rest / 3 % 3) * 10000000,
                                  .shaky = rest / 9 % 2 == 1};
      rest /= KINDS;
    }
    check_stability(relays, (int)(rest % 4) - 1, (int)(rest / 4) - 1);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(plans_are_made_by_the_rules),
      cmocka_unit_test(what_nobody_notices_is_not_worth_moving),
      cmocka_unit_test(no_relays_need_no_plan),
      cmocka_unit_test(plans_are_stable),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
