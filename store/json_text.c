#include "store/json_text.h"

#include <stdint.h>
#include <string.h>

#include "base/text.h"

typedef struct scan {
  const char *at, *end;
} scan;

/* --- scalars ---------------------------------------------------------------------------------- */

static void skip_space(scan *s) {
  while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r')) {
    s->at++;
  }
}

static bool take(scan *s, char c) {
  if (s->at == s->end || *s->at != c) {
    return false;
  }
  s->at++;
  return true;
}

static bool take_word(scan *s, const char *word) {
  size_t len = strlen(word);
  if ((size_t)(s->end - s->at) < len || memcmp(s->at, word, len) != 0) {
    return false;
  }
  s->at += len;
  return true;
}

static size_t take_digits(scan *s) {
  const char *from = s->at;
  while (s->at < s->end && *s->at >= '0' && *s->at <= '9') {
    s->at++;
  }
  return (size_t)(s->at - from);
}

static bool take_parts_of_number(scan *s) {
  (void)take(s, '-'); /* may be there */
  if (!take(s, '0') && take_digits(s) == 0) {
    return false;
  }
  if (take(s, '.') && take_digits(s) == 0) {
    return false;
  }
  if (take(s, 'e') || take(s, 'E')) {
    if (!take(s, '+')) {
      (void)take(s, '-'); /* may be there */
    }
    return take_digits(s) > 0;
  }
  return true;
}

static bool take_number(scan *s) {
  const char *from = s->at;
  return take_parts_of_number(s) && s->at - from <= KM_JSON_NUMBER_MAX;
}

static bool take_hex4(scan *s, unsigned *ret) {
  *ret = 0;
  for (int i = 0; i < 4; i++, s->at++) {
    if (s->at == s->end) {
      return false;
    }
    char c = *s->at;
    unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                     : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                     : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10
                                            : 16;
    if (digit == 16) {
      return false;
    }
    *ret = *ret << 4 | digit;
  }
  return true;
}

/* Behind the backslash. */
static bool take_escape(scan *s) {
  unsigned unit;
  if (!take(s, 'u')) {
    return s->at < s->end && *s->at != '\0' && strchr("\"\\/bfnrt", *s->at++) != NULL;
  }
  if (!take_hex4(s, &unit) || unit == 0 || (unit >= 0xdc00 && unit <= 0xdfff)) {
    return false;
  }
  if (unit < 0xd800 || unit > 0xdbff) {
    return true;
  }
  return take_word(s, "\\u") && take_hex4(s, &unit) && unit >= 0xdc00 && unit <= 0xdfff;
}

static bool take_string(scan *s) {
  if (!take(s, '"')) {
    return false;
  }
  while (s->at < s->end && *s->at != '"') {
    if (take(s, '\\')) {
      if (!take_escape(s)) {
        return false;
      }
      continue;
    }
    size_t n = km_utf8_sequence(s->at, (size_t)(s->end - s->at));
    if (n == 0 || (uint8_t)*s->at < 0x20) {
      return false;
    }
    s->at += n;
  }
  return take(s, '"');
}

static bool take_scalar(scan *s) {
  if (s->at == s->end) {
    return false;
  }
  switch (*s->at) {
  case '"':
    return take_string(s);
  case 't':
    return take_word(s, "true");
  case 'f':
    return take_word(s, "false");
  case 'n':
    return take_word(s, "null");
  default:
    return take_number(s);
  }
}

/* --- arrays and objects ----------------------------------------------------------------------- */

/* A member's name and its colon. */
static bool take_name(scan *s) {
  skip_space(s);
  if (!take_string(s)) {
    return false;
  }
  skip_space(s);
  return take(s, ':');
}

/* Behind a value: closes what ends here; then, if something is still open, the comma and an
 * object's next name. */
static bool take_ends(scan *s, const char *closers, size_t *depth) {
  skip_space(s);
  while (*depth > 0 && take(s, closers[*depth - 1])) {
    --*depth;
    skip_space(s);
  }
  if (*depth == 0) {
    return true;
  }
  return take(s, ',') && (closers[*depth - 1] == ']' || take_name(s));
}

bool km_json_text_ok(const char *text, size_t len) {
  scan s = {.at = text, .end = text + len};
  char closers[KM_JSON_DEPTH_MAX];
  size_t depth = 0;
  do {
    skip_space(&s);
    bool object = take(&s, '{');
    if (object || take(&s, '[')) {
      if (depth == sizeof closers) {
        return false;
      }
      closers[depth++] = object ? '}' : ']';
      skip_space(&s);
      if (s.at == s.end || *s.at != closers[depth - 1]) {
        if (object && !take_name(&s)) {
          return false;
        }
        continue;
      }
    } else if (!take_scalar(&s)) {
      return false;
    }
    if (!take_ends(&s, closers, &depth)) {
      return false;
    }
  } while (depth > 0);
  return s.at == s.end;
}
