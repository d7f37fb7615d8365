#include <keymesh/log.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/env.h"
#include "base/text.h"

static const char *const level_names[] = {
    [KM_LOG_OFF] = "off",   [KM_LOG_ERROR] = "error", [KM_LOG_WARN] = "warn",
    [KM_LOG_INFO] = "info", [KM_LOG_DEBUG] = "debug", [KM_LOG_TRACE] = "trace",
};

static const char *const component_names[] = {
    [KM_LOGC_ENDPOINT] = "endpoint", [KM_LOGC_QUIC] = "quic",   [KM_LOGC_TLS] = "tls",
    [KM_LOGC_PATH] = "path",         [KM_LOGC_UDP] = "udp",     [KM_LOGC_PUNCH] = "punch",
    [KM_LOGC_RELAY] = "relay",       [KM_LOGC_STORE] = "store", [KM_LOGC_DISCOVERY] = "discovery",
    [KM_LOGC_MESH] = "mesh",
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
_Static_assert(COUNT(component_names) == KM_LOGC_COUNT_, "a name for each component");

const char *km_log_level_name(km_log_level level) {
  return (size_t)level < COUNT(level_names) ? level_names[level] : "unknown";
}

const char *km_log_component_name(km_log_component component) {
  return (size_t)component < COUNT(component_names) ? component_names[component] : "unknown";
}

/* The index of a name, -1 where there is none. */
static int find_name(const char *const names[], size_t count, const char *text, size_t len) {
  for (size_t i = 0; i < count; i++) {
    if (strlen(names[i]) == len && memcmp(names[i], text, len) == 0) {
      return (int)i;
    }
  }
  return -1;
}

static int apply_part(km_log_filter *filter, const char *part, size_t len, km_errinfo *err) {
  const char *equals = memchr(part, '=', len);
  const char *name = equals != NULL ? equals + 1 : part;
  int level = find_name(level_names, COUNT(level_names), name, (size_t)(part + len - name));
  if (level < 0) {
    return km_fail(err, KM_ERR_INVALID,
                   "'%.*s' names no log level: use off, error, warn, info, debug or trace",
                   len < 60 ? (int)len : 60, part);
  }
  if (equals == NULL) {
    memset(filter->level, level, sizeof filter->level);
    return 0;
  }
  size_t name_len = (size_t)(equals - part);
  int component = find_name(component_names, COUNT(component_names), part, name_len);
  if (component < 0) {
    return km_fail(err, KM_ERR_INVALID,
                   "'%.*s' is no part of the log: use endpoint, quic, tls, path, udp, punch, "
                   "relay, discovery or store",
                   name_len < 60 ? (int)name_len : 60, part);
  }
  filter->level[component] = (uint8_t)level;
  return 0;
}

int km_log_filter_parse(km_log_filter *ret, const char *text, km_errinfo *err) {
  km_log_filter filter = {{0}};
  const char *part = text;
  for (;;) {
    size_t len = strcspn(part, ",");
    int rv = apply_part(&filter, part, len, err);
    if (rv != 0) {
      return rv;
    }
    if (part[len] == '\0') {
      *ret = filter;
      return 0;
    }
    part += len + 1;
  }
}

/* A line under construction; what does not fit as a whole ends it. */
typedef struct line {
  char *buf;
  size_t cap;
  size_t len;
  bool full;
} line;

static void put(line *l, const char *bytes, size_t len) {
  if (l->full || len >= l->cap - l->len) {
    l->full = true;
    return;
  }
  memcpy(l->buf + l->len, bytes, len);
  l->len += len;
}

static void put_escaped(line *l, const char *text) {
  size_t left = strlen(text);
  while (left > 0) {
    size_t n = km_utf8_sequence(text, left);
    if (n > 0 && !km_utf8_is_control(text, n)) {
      put(l, text, n);
    } else {
      n = 1;
      char hex[5];
      (void)snprintf(hex, sizeof hex, "\\x%02x", (unsigned)(uint8_t)*text); /* fits */
      put(l, *text == '\n' ? "\\n" : hex, *text == '\n' ? 2 : 4);
    }
    text += n;
    left -= n;
  }
}

/* "2026-01-02T03:04:05.678Z". Days to a date as in the proleptic Gregorian calendar, with years
 * that begin in March so that the leap day comes last. */
static void put_time(line *l, int64_t unix_ns) {
  const int64_t day_ms = 86400000;
  int64_t ms = unix_ns / 1000000 - (unix_ns % 1000000 < 0);
  int64_t days = ms / day_ms - (ms % day_ms < 0);
  int64_t of_day = ms - days * day_ms;
  int64_t z = days + 719468; /* days since 0000-03-01 */
  int64_t era = (z >= 0 ? z : z - 146096) / 146097;
  int64_t of_era = z - era * 146097;
  int64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
  int64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  int64_t month_index = (5 * of_year + 2) / 153; /* 0 is March */
  int day = (int)(of_year - (153 * month_index + 2) / 5 + 1);
  int month = (int)(month_index < 10 ? month_index + 3 : month_index - 9);
  int year = (int)(year_of_era + era * 400 + (month <= 2));
  char text[64];
  int len = snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", year, month, day,
                     (int)(of_day / 3600000), (int)(of_day / 60000 % 60), (int)(of_day / 1000 % 60),
                     (int)(of_day % 1000));
  put(l, text, (size_t)len);
}

static void put_field(line *l, const char *name, const char *value) {
  put_escaped(l, name);
  put_escaped(l, value);
}

size_t km_log_format(const km_log_entry *entry, char *buf, size_t cap) {
  if (cap == 0) {
    return 0;
  }
  line l = {.buf = buf, .cap = cap};
  put_time(&l, entry->unix_ns);
  put_field(&l, " ", km_log_level_name(entry->level));
  put_field(&l, " ", km_log_component_name(entry->component));
  if (entry->peer != NULL) {
    char peer[KM_ID_TEXT_CAP];
    (void)km_id_format(entry->peer, KM_ID_SHORT, peer, sizeof peer); /* always fits */
    put_field(&l, " peer=", peer);
  }
  if (entry->path != NULL) {
    put_field(&l, " path=", entry->path);
  }
  put_field(&l, " ", entry->event != NULL ? entry->event : "");
  if (entry->text != NULL && entry->text[0] != '\0') {
    put_field(&l, " ", entry->text);
  }
  buf[l.len] = '\0';
  return l.len;
}

/* The query of a relay's url may be a secret. */
static const char *without_query(const char *path, char *buf, size_t cap) {
  size_t len = path == NULL ? 0 : strcspn(path, "?");
  if (len == 0 || path[len] == '\0') {
    return path;
  }
  (void)snprintf(buf, cap, "%.*s", len < cap ? (int)len : (int)cap - 1, path);
  return buf;
}

void km_log_emit(const km_logger *logger, km_log_level level, km_log_component component,
                 const km_id *peer, const char *path, const char *event, const char *fmt, ...) {
  char text[512], shown[300];
  va_list args;
  va_start(args, fmt);
  if (vsnprintf(text, sizeof text, fmt, args) < 0) {
    text[0] = '\0';
  }
  va_end(args);
  km_text_clean(text);
  km_log_entry entry = {
      .unix_ns = km_clock_wall().unix_ns,
      .level = level,
      .component = component,
      .peer = peer,
      .path = without_query(path, shown, sizeof shown),
      .event = event,
      .text = text,
  };
  logger->sink(logger->ctx, &entry);
}
