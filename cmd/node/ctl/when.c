#include "cmd/node/ctl/when.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"

#define MINUTE 60
#define HOUR 3600
#define DAY 86400
#define LIFETIME (INT64_C(36525) * DAY) /* a hundred years */

/* --- durations -------------------------------------------------------------------------------- */

static int64_t unit_of(char c) {
  switch (c) {
  case 's':
    return 1;
  case 'm':
    return MINUTE;
  case 'h':
    return HOUR;
  case 'd':
    return DAY;
  case 'w':
    return 7 * DAY;
  default:
    return 0;
  }
}

static int64_t take_digits(const char **p, size_t max) {
  int64_t value = 0;
  size_t n = 0;
  while (n < max && **p >= '0' && **p <= '9') {
    value = value * 10 + (**p - '0');
    (*p)++;
    n++;
  }
  return n == 0 ? -1 : value;
}

static int64_t parse_duration(const char *text) {
  int64_t total = 0;
  if (text[0] == '\0') {
    return -1;
  }
  while (*text != '\0') {
    int64_t value = take_digits(&text, 10);
    int64_t unit = unit_of(*text);
    if (value < 0 || unit == 0 || value > LIFETIME / unit) {
      return -1;
    }
    total += value * unit;
    if (total > LIFETIME) {
      return -1;
    }
    text++;
  }
  return total == 0 ? -1 : total;
}

int when_parse_duration(int64_t *ret_s, const char *text, km_errinfo *err) {
  int64_t s = parse_duration(text);
  if (s < 0) {
    return km_fail(err, KM_ERR_INVALID, "'%.40s' is no time span: write 90s, 15m, 24h, 7d or 2w",
                   text);
  }
  *ret_s = s;
  return 0;
}

/* --- dates ------------------------------------------------------------------------------------ */

/* Days since 1970-01-01 in the Gregorian calendar. March is the first month: a leap day is last. */
static int64_t days_of(int64_t year, int64_t month, int64_t day) {
  int64_t y = month > 2 ? year : year - 1;
  int64_t m = (month + 9) % 12;
  int64_t first = y * 365 + y / 4 - y / 100 + y / 400;
  return first + (153 * m + 2) / 5 + day - 1 - 719468;
}

static int64_t month_days(int64_t year, int64_t month) {
  bool december = month == 12;
  return days_of(december ? year + 1 : year, december ? 1 : month + 1, 1) - days_of(year, month, 1);
}

static bool take(const char **p, char c) {
  bool there = **p == c;
  *p += there ? 1 : 0;
  return there;
}

/* "18:00Z", "18:00:00Z"; -1 if it is none. */
static int64_t parse_clock(const char *p) {
  int64_t hour = take_digits(&p, 2);
  int64_t minute = take(&p, ':') ? take_digits(&p, 2) : -1;
  int64_t second = take(&p, ':') ? take_digits(&p, 2) : 0;
  bool ok = hour >= 0 && hour < 24 && minute >= 0 && minute < 60 && second >= 0 && second < 60;
  return ok && take(&p, 'Z') && *p == '\0' ? hour * HOUR + minute * MINUTE + second : -1;
}

static int64_t parse_date(const char *p) {
  int64_t year = take_digits(&p, 4);
  int64_t month = take(&p, '-') ? take_digits(&p, 2) : -1;
  int64_t day = take(&p, '-') ? take_digits(&p, 2) : -1;
  if (year < 1970 || month < 1 || month > 12 || day < 1 || day > month_days(year, month)) {
    return -1;
  }
  int64_t start = days_of(year, month, day) * DAY;
  if (*p == '\0') {
    return start + DAY - 1;
  }
  int64_t clock = take(&p, 'T') ? parse_clock(p) : -1;
  return clock < 0 ? -1 : start + clock;
}

int when_parse(int64_t *ret, const char *text, int64_t now, km_errinfo *err) {
  if (strcmp(text, "never") == 0) {
    *ret = 0;
    return 0;
  }
  int64_t span = parse_duration(text);
  int64_t at = span > 0 ? now + span : parse_date(text);
  if (at < 0) {
    return km_fail(
        err, KM_ERR_INVALID,
        "'%.40s' is no time: write a span such as 24h or 7d, a date such as 2030-12-31 or "
        "2030-12-31T18:00Z, or never",
        text);
  }
  if (at <= now) {
    return km_fail(err, KM_ERR_INVALID, "%.40s is in the past", text);
  }
  *ret = at;
  return 0;
}

/* --- for people ------------------------------------------------------------------------------- */

static const char *span_text(char *buf, int64_t s) {
  static const struct {
    int64_t s;
    const char *name;
  } units[] = {{DAY, "d"}, {HOUR, "h"}, {MINUTE, "min"}, {1, "s"}};
  size_t i = 0;
  while (i < 3 && s < units[i].s) {
    i++;
  }
  (void)snprintf(buf, WHEN_TEXT_CAP, "%lld %s", (long long)(s / units[i].s), units[i].name);
  return buf;
}

const char *when_ago(char buf[WHEN_TEXT_CAP], int64_t then_ms, int64_t now_ms) {
  char span[WHEN_TEXT_CAP];
  int64_t ago = (now_ms - then_ms) / 1000;
  if (then_ms == 0) {
    (void)snprintf(buf, WHEN_TEXT_CAP, "never");
  } else if (ago == 0) {
    (void)snprintf(buf, WHEN_TEXT_CAP, "now");
  } else {
    (void)span_text(span, ago < 0 ? -ago : ago);
    (void)snprintf(buf, WHEN_TEXT_CAP, ago < 0 ? "in %.30s" : "%.30s ago", span);
  }
  return buf;
}

const char *when_span(char buf[WHEN_TEXT_CAP], int64_t ms) {
  int64_t s = ms < 0 ? 0 : ms / 1000;
  int64_t rest = s >= DAY      ? s % DAY / HOUR * HOUR
                 : s >= HOUR   ? s % HOUR / MINUTE * MINUTE
                 : s >= MINUTE ? s % MINUTE
                               : 0;
  char second[WHEN_TEXT_CAP];
  (void)span_text(buf, s);
  if (rest > 0) {
    size_t used = strlen(buf);
    (void)snprintf(buf + used, WHEN_TEXT_CAP - used, " %.15s", span_text(second, rest));
  }
  return buf;
}

const char *when_date(char buf[WHEN_TEXT_CAP], int64_t s) {
  if (s <= 0) {
    (void)snprintf(buf, WHEN_TEXT_CAP, "never");
    return buf;
  }
  int64_t days = s / DAY, year = 1970 + days / 366, month = 1;
  while (days_of(year + 1, 1, 1) <= days) {
    year++;
  }
  days -= days_of(year, 1, 1);
  while (days >= month_days(year, month)) {
    days -= month_days(year, month++);
  }
  (void)snprintf(buf, WHEN_TEXT_CAP, "%04d-%02d-%02d %02d:%02d:%02d UTC", (int)year, (int)month,
                 (int)days + 1, (int)(s % DAY / HOUR), (int)(s % HOUR / MINUTE), (int)(s % MINUTE));
  return buf;
}
