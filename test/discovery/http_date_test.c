/* Dates of HTTP headers, against the C library's calendar. */
#include "discovery/server/http_date.h"

#include <time.h>

#include "test/base/test_env.h"

static void like_the_system(void **state) {
  (void)state;
  char text[KM_HTTP_DATE_CAP], wanted[64];
  int64_t back;
  /* Some time of each day until 2400, which is one cycle of leap years and more. */
  for (int64_t day = 0; day < 157060; day++) {
    int64_t at = day * 86400 + day * 7919 % 86400;
    const time_t system_time = (time_t)at;
    struct tm tm;
    assert_non_null(gmtime_r(&system_time, &tm));
    assert_true(strftime(wanted, sizeof wanted, "%a, %d %b %Y %H:%M:%S GMT", &tm) > 0);
    assert_true(km_http_date_write(text, at));
    assert_string_equal(text, wanted);
    assert_true(km_http_date_read(&back, text));
    assert_int_equal(back, at);
  }
}

static void ends(void **state) {
  (void)state;
  char text[KM_HTTP_DATE_CAP];
  int64_t at;
  assert_true(km_http_date_write(text, 0));
  assert_string_equal(text, "Thu, 01 Jan 1970 00:00:00 GMT");
  assert_true(km_http_date_write(text, INT64_C(253402300799)));
  assert_string_equal(text, "Fri, 31 Dec 9999 23:59:59 GMT");
  assert_true(km_http_date_read(&at, text));
  assert_int_equal(at, INT64_C(253402300799));
  assert_false(km_http_date_write(text, -1));
  assert_false(km_http_date_write(text, INT64_C(253402300800)));
  assert_false(km_http_date_write(text, INT64_MAX));
  assert_false(km_http_date_write(text, INT64_MIN));
}

static void no_dates(void **state) {
  (void)state;
  const char *const texts[] = {
      "",
      "yesterday",
      "Sunday, 06-Nov-94 08:49:37 GMT", /* obsolete forms */
      "Sun Nov  6 08:49:37 1994",
      "Sun, 06 Nov 1994 08:49:37 UTC",
      "Sun, 06 Nov 1994 08:49:37 GMT ",
      "Sun, 06 Nov 1994 08:49:37",
      "Sun, 6 Nov 1994 08:49:37 GMT",
      "Sun, 06 nov 1994 08:49:37 GMT",
      "Sun, 06 Foo 1994 08:49:37 GMT",
      "Sun, 00 Nov 1994 08:49:37 GMT",
      "Sun, 31 Nov 1994 08:49:37 GMT",
      "Wed, 29 Feb 2023 08:49:37 GMT",
      "Sun, 06 Nov 1969 08:49:37 GMT",
      "Sun, 06 Nov 1994 24:00:00 GMT",
      "Sun, 06 Nov 1994 08:60:00 GMT",
      "Sun, 06 Nov 1994 08:49:61 GMT",
      "Sun, 06 Nov 1994 08:4x:37 GMT",
      "Sun, 06 Nov -994 08:49:37 GMT",
  };
  for (size_t i = 0; i < COUNT_OF(texts); i++) {
    int64_t at = 42;
    assert_false(km_http_date_read(&at, texts[i]));
    assert_int_equal(at, 42);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(like_the_system),
      cmocka_unit_test(ends),
      cmocka_unit_test(no_dates),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
