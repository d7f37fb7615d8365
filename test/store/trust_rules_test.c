/* The rules of the security levels: a table, and every question there is. */
#include "store/trust_rules.h"

#include "test/base/test_env.h"

static void levels_have_names(void **state) {
  (void)state;
  static const char *const names[] = {"development", "signed", "secure", "strict"};
  for (int i = 0; i < 4; i++) {
    km_security_level level = (km_security_level)99;
    assert_string_equal(km_security_level_name((km_security_level)i), names[i]);
    assert_int_equal(km_security_level_parse(&level, names[i]), 0);
    assert_int_equal(level, i);
  }
  km_security_level level = KM_SECURITY_SIGNED;
  static const char *const bad[] = {"", "Secure", "secure ", "paranoid", NULL};
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    assert_int_equal(km_security_level_parse(&level, bad[i]), KM_ERR_INVALID);
  }
  assert_int_equal(level, KM_SECURITY_SIGNED);
  assert_string_equal(km_security_level_name((km_security_level)4), "unknown");
}

static void levels_are_what_the_header_says(void **state) {
  (void)state;
  /* strangers in, first use, queue, recommendations, revocations, private key */
  static const bool expected[4][6] = {
      {true, false, false, false, false, false},
      {true, true, false, false, false, false},
      {false, false, true, true, false, false},
      {false, false, false, false, true, true},
  };
  for (int i = 0; i < 4; i++) {
    const km_security_rules *r = km_security_rules_of((km_security_level)i);
    assert_int_equal(r->lets_strangers_in, expected[i][0]);
    assert_int_equal(r->remembers_first_use, expected[i][1]);
    assert_int_equal(r->queues_strangers, expected[i][2]);
    assert_int_equal(r->takes_recommendations, expected[i][3]);
    assert_int_equal(r->takes_revocations, expected[i][4]);
    assert_int_equal(r->needs_private_key, expected[i][5]);
    assert_non_null(strchr(r->summary, '.'));
  }
  assert_ptr_equal(km_security_rules_of((km_security_level)17),
                   km_security_rules_of(KM_SECURITY_STRICT));
}

/* What a person reading keymesh/trust.h would say, level by level. */
static km_trust_verdict by_the_book(const km_trust_question *q, const char **why) {
  bool trusted = q->state == KM_TRUST_TRUSTED && !q->expired &&
                 q->origin != KM_TRUST_BY_RECOMMENDATION && q->origin != KM_TRUST_BY_FIRST_USE;
  bool used = q->state == KM_TRUST_TRUSTED && !q->expired && q->origin == KM_TRUST_BY_FIRST_USE;
  bool ran_out = q->state == KM_TRUST_TRUSTED && q->expired;
  *why = "";
  if (q->state == KM_TRUST_BLOCKED || q->blocked_by_config) {
    *why = "blocked";
    return KM_LET_OUT;
  }
  if (q->configured || trusted) {
    return KM_LET_IN;
  }
  switch (q->level) {
  case KM_SECURITY_DEVELOPMENT:
    return KM_LET_IN;
  case KM_SECURITY_SIGNED:
    *why = ran_out ? "trust expired" : "";
    return ran_out ? KM_LET_OUT : used ? KM_LET_IN : KM_LET_IN_FIRST;
  case KM_SECURITY_SECURE:
    if (q->threshold != 0 && q->recommended_by >= q->threshold) {
      return KM_LET_IN;
    }
    *why = ran_out ? "trust expired" : "waiting for approval";
    return KM_LET_WAIT;
  case KM_SECURITY_STRICT:
  default:
    *why = ran_out ? "trust expired" : "not trusted here";
    return KM_LET_OUT;
  }
}

/* One number for each question: mixed radix. */
static km_trust_question question(unsigned n) {
  km_trust_question q = {0};
  q.level = (km_security_level)(n % 4);
  n /= 4;
  q.configured = n % 2;
  n /= 2;
  q.blocked_by_config = n % 2;
  n /= 2;
  q.expired = n % 2;
  n /= 2;
  q.state = (km_trust_state)(n % 4);
  n /= 4;
  q.origin = (km_trust_origin)(n % 6);
  n /= 6;
  q.recommended_by = n % 4;
  n /= 4;
  q.threshold = n % 4;
  return q;
}

#define QUESTIONS (4u * 2 * 2 * 2 * 4 * 6 * 4 * 4)

static void every_question_is_answered_by_the_book(void **state) {
  (void)state;
  unsigned verdicts[4] = {0};
  for (unsigned n = 0; n < QUESTIONS; n++) {
    km_trust_question q = question(n);
    const char *reason = NULL, *expected_reason = NULL;
    km_trust_verdict expected = by_the_book(&q, &expected_reason);
    km_trust_verdict verdict = km_trust_decide(&q, &reason);
    if (verdict != expected || strcmp(reason, expected_reason) != 0) {
      fail_msg("question %u: %d \"%s\", not %d \"%s\"", n, verdict, reason, expected,
               expected_reason);
    }
    verdicts[verdict]++;
  }
  for (size_t i = 0; i < COUNT_OF(verdicts); i++) {
    assert_true(verdicts[i] > 0);
  }
}

/* The properties that security rests on, each for all questions. */
static void what_must_hold_at_every_level(void **state) {
  (void)state;
  for (unsigned n = 0; n < QUESTIONS; n++) {
    km_trust_question q = question(n);
    const char *reason;
    km_trust_verdict verdict = km_trust_decide(&q, &reason);
    bool in = verdict == KM_LET_IN || verdict == KM_LET_IN_FIRST;
    if (q.state == KM_TRUST_BLOCKED || q.blocked_by_config) {
      assert_false(in);
    }
    assert_int_equal(in, reason[0] == '\0');
    /* A recommendation more never keeps anybody out, */
    if (in) {
      km_trust_question more = q;
      more.recommended_by++;
      assert_true(km_trust_decide(&more, &reason) <= KM_LET_IN_FIRST);
    }
    /* and a stricter level never lets in whom a laxer one refuses, but for who was trusted up to a
     * date: signed has no queue and no recommendations. */
    if (in && q.level > KM_SECURITY_DEVELOPMENT && !(q.state == KM_TRUST_TRUSTED && q.expired)) {
      km_trust_question laxer = q;
      laxer.level = (km_security_level)(q.level - 1);
      assert_true(km_trust_decide(&laxer, &reason) <= KM_LET_IN_FIRST);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(levels_have_names),
      cmocka_unit_test(levels_are_what_the_header_says),
      cmocka_unit_test(every_question_is_answered_by_the_book),
      cmocka_unit_test(what_must_hold_at_every_level),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
