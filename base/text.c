#include "base/text.h"

#include <string.h>

static int is_continuation(char c) {
  return ((uint8_t)c & 0xc0) == 0x80;
}

/* Length that the first byte promises, 0 for a byte that cannot be first. */
static size_t promised_length(uint8_t first) {
  if (first < 0x80) {
    return 1;
  }
  if (first >= 0xc2 && first <= 0xdf) {
    return 2;
  }
  if (first >= 0xe0 && first <= 0xef) {
    return 3;
  }
  return first >= 0xf0 && first <= 0xf4 ? 4 : 0;
}

size_t km_utf8_sequence(const char *text, size_t len) {
  if (len == 0) {
    return 0;
  }
  uint8_t first = (uint8_t)text[0];
  size_t need = promised_length(first);
  if (need == 0 || need > len) {
    return 0;
  }
  for (size_t i = 1; i < need; i++) {
    if (!is_continuation(text[i])) {
      return 0;
    }
  }
  if (need >= 3) {
    /* Overlong forms, surrogates, and code points beyond U+10FFFF. */
    uint8_t second = (uint8_t)text[1];
    if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ||
        (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f)) {
      return 0;
    }
  }
  return need;
}

int km_utf8_is_control(const char *sequence, size_t len) {
  uint8_t first = (uint8_t)sequence[0];
  if (len == 1) {
    return first < 0x20 || first == 0x7f;
  }
  return len == 2 && first == 0xc2 && (uint8_t)sequence[1] < 0xa0;
}

bool km_utf8_is_hidden(const char *sequence, size_t len) {
  const uint8_t *s = (const uint8_t *)sequence;
  if (len == 2) {
    return s[0] == 0xd8 && s[1] == 0x9c; /* U+061C */
  }
  if (len != 3) {
    return false;
  }
  unsigned c = (s[0] & 0x0fu) << 12 | (s[1] & 0x3fu) << 6 | (s[2] & 0x3fu);
  return c == 0x200b || c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e) || c == 0x2060 ||
         (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

bool km_text_is_utf8(const char *text, size_t len) {
  for (size_t at = 0, n; at < len; at += n) {
    n = km_utf8_sequence(text + at, len - at);
    if (n == 0 || text[at] == '\0') {
      return false;
    }
  }
  return true;
}

bool km_text_is_clean(const char *text, size_t len) {
  for (size_t at = 0, n; at < len; at += n) {
    n = km_utf8_sequence(text + at, len - at);
    if (n == 0 || km_utf8_is_control(text + at, n)) {
      return false;
    }
  }
  return true;
}

void km_text_clean(char *text) {
  size_t len = strlen(text);
  size_t at = 0;
  while (at < len) {
    size_t n = km_utf8_sequence(text + at, len - at);
    if (n == 0) {
      size_t need = promised_length((uint8_t)text[at]);
      size_t have = 1;
      while (at + have < len && is_continuation(text[at + have])) {
        have++;
      }
      if (need > have && at + have == len) {
        text[at] = '\0';
        return;
      }
      text[at++] = '?';
    } else if (km_utf8_is_control(text + at, n) || km_utf8_is_hidden(text + at, n)) {
      memset(text + at, '?', n);
      at += n;
    } else {
      at += n;
    }
  }
}

const char *km_text_quote(char *buf, size_t cap, const char *text) {
  size_t left = strlen(text);
  size_t len = 0;
  buf[len++] = '"';
  while (left > 0) {
    size_t n = km_utf8_sequence(text, left), used = n > 0 ? n : 1;
    bool escaped = *text == '"' || *text == '\\';
    bool clean = n > 0 && !km_utf8_is_control(text, n) && !km_utf8_is_hidden(text, n);
    size_t need = clean ? used + (escaped ? 1 : 0) : 1;
    if (need > cap - 2 - len) {
      break;
    }
    if (escaped) {
      buf[len++] = '\\';
    }
    memcpy(buf + len, clean ? text : "?", clean ? used : 1);
    len += clean ? used : 1;
    text += used;
    left -= used;
  }
  buf[len++] = '"';
  buf[len] = '\0';
  return buf;
}
