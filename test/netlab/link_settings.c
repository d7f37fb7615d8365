#include "test/netlab/link_settings.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"

#define MAX_MS 60000.0
#define MAX_MBIT 100000.0
#define MAX_BYTES 1073741824.0
#define MAX_BURST 10000.0

/* A finite number from 0 to `high` that is the whole text but for `suffix`. */
static bool number(double *ret, const char *text, const char *suffix, double high) {
  char *end;
  double value = strtod(text, &end);
  if (end == text || strcmp(end, suffix) != 0 || !isfinite(value) || value < 0 || value > high) {
    return false;
  }
  *ret = value;
  return true;
}

static bool probability(double *ret, const char *text) {
  if (number(ret, text, "", 1)) {
    return true;
  }
  double percent;
  if (!number(&percent, text, "%", 100)) {
    return false;
  }
  *ret = percent / 100;
  return true;
}

static bool milliseconds(uint64_t *ret_ns, const char *text) {
  double ms;
  if (!number(&ms, text, "", MAX_MS)) {
    return false;
  }
  *ret_ns = (uint64_t)(ms * 1e6);
  return true;
}

static bool megabits(uint64_t *ret_bps, const char *text) {
  double mbit;
  if (!number(&mbit, text, "", MAX_MBIT)) {
    return false;
  }
  *ret_bps = (uint64_t)(mbit * 1e6);
  return true;
}

static bool bytes(size_t *ret, const char *text) {
  double value;
  if (!number(&value, text, "", MAX_BYTES) || value != floor(value)) {
    return false;
  }
  *ret = (size_t)value;
  return true;
}

static bool on_or_off(bool *ret, const char *text) {
  *ret = strcmp(text, "on") == 0;
  return *ret || strcmp(text, "off") == 0;
}

typedef enum value_kind { PROBABILITY, TIME, RATE, BYTES, SWITCH, BURST } value_kind;

typedef struct setting {
  const char *name;
  value_kind kind;
  size_t offset; /* in pipe_options */
} setting;

static const setting settings[] = {
    {"delay=", TIME, offsetof(pipe_options, link.delay_ns)},
    {"jitter=", TIME, offsetof(pipe_options, link.jitter_ns)},
    {"loss=", PROBABILITY, offsetof(pipe_options, link.loss)},
    {"burst=", BURST, offsetof(pipe_options, burst)},
    {"reorder=", PROBABILITY, offsetof(pipe_options, link.reorder)},
    {"hold=", TIME, offsetof(pipe_options, link.reorder_hold_ns)},
    {"dup=", PROBABILITY, offsetof(pipe_options, link.dup)},
    {"corrupt=", PROBABILITY, offsetof(pipe_options, link.corrupt)},
    {"rate=", RATE, offsetof(pipe_options, link.rate_bps)},
    {"queue=", BYTES, offsetof(pipe_options, link.queue_bytes)},
    {"buffer=", BYTES, offsetof(pipe_options, buffer_bytes)},
    {"max=", BYTES, offsetof(pipe_options, max_len)},
    {"cut=", SWITCH, offsetof(pipe_options, blackhole)},
};

static bool set(void *field, value_kind kind, const char *text) {
  switch (kind) {
  case PROBABILITY:
    return probability(field, text);
  case TIME:
    return milliseconds(field, text);
  case RATE:
    return megabits(field, text);
  case BYTES:
    return bytes(field, text);
  case SWITCH:
    return on_or_off(field, text);
  case BURST:
    return number(field, text, "", MAX_BURST);
  }
  return false;
}

int settings_word(pipe_options *options, const char *word, km_errinfo *err) {
  for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
    const setting *s = &settings[i];
    size_t len = strlen(s->name);
    if (strncmp(word, s->name, len) != 0) {
      continue;
    }
    pipe_options changed = *options;
    if (!set((char *)&changed + s->offset, s->kind, word + len)) {
      return km_fail(err, KM_ERR_INVALID, "%s does not take '%s'", s->name, word + len);
    }
    *options = changed;
    return 0;
  }
  return km_fail(err, KM_ERR_INVALID, "unknown setting '%s'", word);
}

int settings_line(pipe_options *ab, pipe_options *ba, char *line, km_errinfo *err) {
  pipe_options there = *ab, back = *ba;
  bool to = true, from = true;
  char *rest = line, *word = strtok_r(rest, " \n", &rest);
  if (word != NULL && (strcmp(word, "ab") == 0 || strcmp(word, "ba") == 0)) {
    to = word[0] == 'a';
    from = !to;
    word = strtok_r(rest, " \n", &rest);
  } else if (word != NULL && strcmp(word, "both") == 0) {
    word = strtok_r(rest, " \n", &rest);
  }
  for (; word != NULL; word = strtok_r(rest, " \n", &rest)) {
    int rv = to ? settings_word(&there, word, err) : 0;
    if (rv == 0 && from) {
      rv = settings_word(&back, word, err);
    }
    if (rv != 0) {
      return rv;
    }
  }
  *ab = there;
  *ba = back;
  return 0;
}
