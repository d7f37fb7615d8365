#include "discovery/server/http_date.h"

#include <stdio.h>
#include <string.h>

#define DAY_S 86400
#define YEAR_10000_S INT64_C(253402300800)

static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
static const char weekdays[] = "ThuFriSatSunMonTueWed"; /* from 1970-01-01 on */

static bool is_leap(int64_t year) {
  return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int days_of(int64_t year, int month) {
  static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  return days[month] + (month == 1 && is_leap(year));
}

/* Days from 1970-01-01 to the first of January of a year. */
static int64_t days_to(int64_t year) {
  int64_t before = year - 1;
  return (year - 1970) * 365 + (before / 4 - before / 100 + before / 400) -
         (1969 / 4 - 1969 / 100 + 1969 / 400);
}

bool km_http_date_write(char ret[KM_HTTP_DATE_CAP], int64_t unix_s) {
  if (unix_s < 0 || unix_s >= YEAR_10000_S) {
    return false;
  }
  int64_t days = unix_s / DAY_S, year = 1970 + days / 366;
  int seconds = (int)(unix_s % DAY_S), month = 0;
  while (days_to(year + 1) <= days) {
    year++;
  }
  int day = (int)(days - days_to(year));
  while (day >= days_of(year, month)) {
    day -= days_of(year, month++);
  }
  return snprintf(ret, KM_HTTP_DATE_CAP, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT",
                  weekdays + days % 7 * 3, day + 1, months + month * 3, (int)year, seconds / 3600,
                  seconds / 60 % 60, seconds % 60) == KM_HTTP_DATE_CAP - 1;
}

/* `digits` decimal digits; below 0: they are not. */
static int number(const char *text, int digits) {
  int value = 0;
  for (int i = 0; i < digits; i++) {
    if (text[i] < '0' || text[i] > '9') {
      return -1;
    }
    value = value * 10 + (text[i] - '0');
  }
  return value;
}

bool km_http_date_read(int64_t *ret, const char *text) {
  static const char form[] = "..., .. ... .... ..:..:.. GMT";
  if (strlen(text) != sizeof form - 1) {
    return false;
  }
  for (size_t i = 0; i < sizeof form - 1; i++) {
    if (form[i] != '.' && form[i] != text[i]) {
      return false;
    }
  }
  int month = 0, year = number(text + 12, 4), day = number(text + 5, 2);
  while (month < 12 && memcmp(months + month * 3, text + 8, 3) != 0) {
    month++;
  }
  int hour = number(text + 17, 2), minute = number(text + 20, 2), second = number(text + 23, 2);
  if (month == 12 || year < 1970 || day < 1 || day > days_of(year, month) || hour < 0 ||
      hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60) {
    return false;
  }
  int64_t days = days_to(year) + day - 1;
  for (int i = 0; i < month; i++) {
    days += days_of(year, i);
  }
  *ret = days * DAY_S + hour * 3600 + minute * 60 + second;
  return true;
}
