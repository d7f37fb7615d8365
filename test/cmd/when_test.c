/* Times as people write and read them. */
#include "cmd/node/ctl/when.h"

#include "test/base/test_env.h"

#define NOW INT64_C(1800000000) /* 2027-01-15 08:00:00 UTC, by date(1) */

static void check_span(const char *text, int64_t wanted) {
  int64_t s = -1;
  km_errinfo err = {0};
  if (when_parse_duration(&s, text, &err) != 0) {
    fail_msg("%s: %s", text, err.text);
  }
  assert_int_equal(s, wanted);
}

static void check_bad_span(const char *text) {
  int64_t s = -1;
  km_errinfo err = {0};
  assert_int_equal(when_parse_duration(&s, text, &err), KM_ERR_INVALID);
  assert_non_null(strstr(err.text, "no time span"));
  assert_int_equal(s, -1);
}

static void spans(void **state) {
  (void)state;
  check_span("90s", 90);
  check_span("15m", 900);
  check_span("24h", 86400);
  check_span("7d", 604800);
  check_span("2w", 1209600);
  check_span("1h30m", 5400);
  check_span("36525d", INT64_C(3155760000));
  const char *const bad[] = {"",     "7",   "d",      "7 d",          "-7d",         "7D", "0s",
                             "1.5h", "7dd", "36526d", "99999999999s", "9999999999w", "1y"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    check_bad_span(bad[i]);
  }
}

static void check_moment(const char *text, int64_t wanted) {
  int64_t at = -1;
  km_errinfo err = {0};
  if (when_parse(&at, text, NOW, &err) != 0) {
    fail_msg("%s: %s", text, err.text);
  }
  assert_int_equal(at, wanted);
}

static void check_bad_moment(const char *text, const char *wanted) {
  int64_t at = -1;
  km_errinfo err = {0};
  assert_int_equal(when_parse(&at, text, NOW, &err), KM_ERR_INVALID);
  if (strstr(err.text, wanted) == NULL) {
    fail_msg("%s: '%s', not '%s'", text, err.text, wanted);
  }
  assert_int_equal(at, -1);
}

static void moments(void **state) {
  (void)state;
  check_moment("never", 0);
  check_moment("24h", NOW + 86400);
  check_moment("2027-01-15", NOW - 28800 + 86399); /* to the end of that day */
  check_moment("2027-01-15T08:00:01Z", NOW + 1);
  check_moment("2027-01-15T08:01Z", NOW + 60);
  check_moment("2028-02-29", INT64_C(1835481599));
  check_moment("2099-12-31T23:59:59Z", INT64_C(4102444799));
  check_bad_moment("2027-01-14", "past");
  check_bad_moment("2027-01-15T08:00Z", "past");
  const char *const bad[] = {"",
                             "2027",
                             "2027-13-01",
                             "2027-02-29",
                             "2027-2-31",
                             "2027-00-10",
                             "2028-02-30",
                             "2027-06-31",
                             "tomorrow",
                             "2028-01-01T",
                             "2028-01-01T24:00Z",
                             "2028-01-01T10:60Z",
                             "2028-01-01T10:00",
                             "2028-01-01 10:00Z",
                             "2028-01-01T10:00:60Z",
                             "2028-01-01x"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    check_bad_moment(bad[i], "no time");
  }
}

static void check_ago(int64_t s, const char *wanted) {
  char buf[WHEN_TEXT_CAP];
  assert_string_equal(when_ago(buf, (NOW - s) * 1000, NOW * 1000), wanted);
}

static void ago(void **state) {
  (void)state;
  char buf[WHEN_TEXT_CAP];
  assert_string_equal(when_ago(buf, 0, NOW * 1000), "never");
  check_ago(0, "now");
  check_ago(3, "3 s ago");
  check_ago(59, "59 s ago");
  check_ago(60, "1 min ago");
  check_ago(7199, "1 h ago");
  check_ago(7200, "2 h ago");
  check_ago(86400 * 400, "400 d ago");
  check_ago(-3600, "in 1 h");
  assert_string_equal(when_ago(buf, NOW * 1000 - 999, NOW * 1000), "now");
}

static void spans_for_people(void **state) {
  (void)state;
  char buf[WHEN_TEXT_CAP];
  assert_string_equal(when_span(buf, 0), "0 s");
  assert_string_equal(when_span(buf, -5), "0 s");
  assert_string_equal(when_span(buf, 4999), "4 s");
  assert_string_equal(when_span(buf, 125000), "2 min 5 s");
  assert_string_equal(when_span(buf, 3600000), "1 h");
  assert_string_equal(when_span(buf, 3600000 + 59000), "1 h");
  assert_string_equal(when_span(buf, INT64_C(86400000) * 5 + 7200000), "5 d 2 h");
}

static void dates(void **state) {
  (void)state;
  char buf[WHEN_TEXT_CAP];
  assert_string_equal(when_date(buf, 0), "never");
  assert_string_equal(when_date(buf, 1), "1970-01-01 00:00:01 UTC");
  assert_string_equal(when_date(buf, NOW), "2027-01-15 08:00:00 UTC");
  assert_string_equal(when_date(buf, INT64_C(1835481599)), "2028-02-29 23:59:59 UTC");
  assert_string_equal(when_date(buf, INT64_C(1835481600)), "2028-03-01 00:00:00 UTC");
  assert_string_equal(when_date(buf, INT64_C(4102444799)), "2099-12-31 23:59:59 UTC");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(spans), cmocka_unit_test(moments),
      cmocka_unit_test(ago),   cmocka_unit_test(spans_for_people),
      cmocka_unit_test(dates),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
