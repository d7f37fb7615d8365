#include "cmd/node/ctl/keys.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

#define ESC 0x1b
#define CTRL(c) ((char)((c)&0x1f))
#define SEQUENCE_MAX 16 /* longer ones are no keys */

/* What stands behind "ESC [" or "ESC O" (ECMA-48, xterm). */
static void translate(keys_key *ret, const char *sequence) {
  static const struct {
    const char *sequence;
    char text[3];
  } known[] = {
      {"A", {CTRL('p')}},   {"B", {CTRL('n')}},   {"C", {CTRL('f')}},   {"D", {CTRL('b')}},
      {"H", {CTRL('a')}},   {"F", {CTRL('e')}},   {"1~", {CTRL('a')}},  {"4~", {CTRL('e')}},
      {"7~", {CTRL('a')}},  {"8~", {CTRL('e')}},  {"3~", {CTRL('_')}},  {"1;5C", {ESC, 'f'}},
      {"1;5D", {ESC, 'b'}}, {"1;3C", {ESC, 'f'}}, {"1;3D", {ESC, 'b'}},
  };
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    if (strcmp(known[i].sequence, sequence) == 0) {
      (void)snprintf(ret->text, sizeof ret->text, "%s", known[i].text);
    }
  }
}

/* Behind "ESC [" or "ESC O": parameters, then a final byte. */
static void take_sequence(keys_key *ret, const uint8_t *bytes, size_t len) {
  char sequence[SEQUENCE_MAX + 1];
  size_t n = 0;
  while (n < len && n < SEQUENCE_MAX) {
    uint8_t c = bytes[n];
    sequence[n++] = (char)c;
    if (c >= 0x40 && c <= 0x7e) {
      sequence[n] = '\0';
      ret->used = 2 + n;
      translate(ret, sequence);
      return;
    }
    if (c < 0x20 || c > 0x7e) {
      ret->used = 2 + n - 1; /* broken off: this byte is a key of its own */
      return;
    }
  }
  ret->used = n == SEQUENCE_MAX ? 2 + n : 0;
}

static void take_escape(keys_key *ret, const uint8_t *bytes, size_t len) {
  static const char meta[] = {'f', 'b', 'd', 0x7f, 0};
  if (len == 1) {
    return;
  }
  uint8_t c = bytes[1];
  if (c == '[' || c == 'O') {
    take_sequence(ret, bytes + 2, len - 2);
  } else if (c < 0x20) {
    ret->used = 1; /* ESC by itself */
  } else {
    ret->used = 2;
    if (c != 0 && strchr(meta, c) != NULL) {
      (void)snprintf(ret->text, sizeof ret->text, "%c%c", ESC, c);
    }
  }
}

static size_t expected(uint8_t first) {
  bool leads = first >= 0xc2 && first <= 0xf4;
  return !leads ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
}

static void take_character(keys_key *ret, const uint8_t *bytes, size_t len) {
  size_t n = km_utf8_sequence((const char *)bytes, len);
  if (n > 0 && n < sizeof ret->text) {
    ret->used = n;
    if (!km_utf8_is_control((const char *)bytes, n)) {
      memcpy(ret->text, bytes, n);
    }
  } else {
    ret->used = len < expected(bytes[0]) ? 0 : 1;
  }
}

void keys_next(keys_key *ret, const uint8_t *bytes, size_t len) {
  /* Of the line editor's own; those that would wait for more (quoted insert, prefixes) and those of
   * the terminal driver (flow control, signals) are left out. */
  static const char controls[] = "abcdefhijklmnprtuwy";
  memset(ret, 0, sizeof *ret);
  uint8_t c = bytes[0];
  if (c == ESC) {
    take_escape(ret, bytes, len);
  } else if (c < 0x20 || c == 0x7f) {
    ret->used = 1;
    bool taken = c == 0x7f || (c > 0 && c < 27 && strchr(controls, c + 'a' - 1) != NULL);
    ret->text[0] = taken ? (char)c : '\0';
  } else {
    take_character(ret, bytes, len);
  }
}
