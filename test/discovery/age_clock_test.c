/* A clock that does not believe every jump. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "discovery/server/age_clock.h"

enum { BEGIN = 1800000000 };

static km_ts at(uint64_t s) {
  return (1000 + s) * KM_NS_PER_S;
}

static void follows_small_steps(void **state) {
  (void)state;
  km_age_clock c;
  km_age_clock_init(&c, BEGIN, at(0));
  assert_int_equal(km_age_clock_now(&c, BEGIN, at(0)), BEGIN);
  assert_int_equal(km_age_clock_now(&c, BEGIN + 100, at(100)), BEGIN + 100);
  assert_int_equal(km_age_clock_now(&c, BEGIN + 700, at(100)), BEGIN + 700);
  assert_int_equal(km_age_clock_now(&c, BEGIN + 100, at(100)), BEGIN + 100);
}

static void a_jump_that_is_taken_back_is_nothing(void **state) {
  (void)state;
  km_age_clock c;
  for (int sign = -1; sign <= 1; sign += 2) {
    int64_t wrong = BEGIN + sign * (int64_t)1000000000;
    km_age_clock_init(&c, BEGIN, at(0));
    assert_int_equal(km_age_clock_now(&c, wrong, at(10)), BEGIN + 10);
    assert_int_equal(km_age_clock_now(&c, wrong + 890, at(900)), BEGIN + 900);
    assert_int_equal(km_age_clock_now(&c, BEGIN + 901, at(901)), BEGIN + 901);
    /* The next one has its own time. */
    assert_int_equal(km_age_clock_now(&c, wrong, at(1000)), BEGIN + 1000);
    assert_int_equal(km_age_clock_now(&c, wrong, at(1800)), BEGIN + 1800);
  }
}

static void a_jump_that_stays_is_believed(void **state) {
  (void)state;
  km_age_clock c;
  km_age_clock_init(&c, 0, at(0)); /* no battery */
  assert_int_equal(km_age_clock_now(&c, BEGIN, at(5)), 5);
  assert_int_equal(km_age_clock_now(&c, BEGIN + 899, at(904)), 904);
  assert_int_equal(km_age_clock_now(&c, BEGIN + 900, at(905)), BEGIN + 900);
  assert_int_equal(km_age_clock_now(&c, BEGIN + 901, at(906)), BEGIN + 901);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(follows_small_steps),
      cmocka_unit_test(a_jump_that_is_taken_back_is_nothing),
      cmocka_unit_test(a_jump_that_stays_is_believed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
