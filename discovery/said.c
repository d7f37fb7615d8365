/* Why a look-up found nothing: one sentence out of what each source said. */
#include <stdio.h>
#include <string.h>

#include "discovery/core.h"

#define INTRO "nobody knows it: "
#define SEPARATOR "; "

/* What counts as the look-up's own code. That somebody was asked and said no is the most there is
 * to know; else the first failure; else that all were silent. */
static int code_of(const km_said *said, size_t count) {
  int failed = 0, silent = 0;
  for (size_t i = 0; i < count; i++) {
    int code = said[i].err.code;
    if (code == KM_ERR_NOT_FOUND) {
      return code;
    }
    if (code == KM_ERR_TIMEOUT) {
      silent = code;
    } else if (failed == 0) {
      failed = code;
    }
  }
  return failed != 0 ? failed : silent != 0 ? silent : KM_ERR_NOT_FOUND;
}

static const char *text_of(const km_said *said) {
  const char *text = said->err.text[0] != '\0' ? said->err.text : km_strerror(said->err.code);
  size_t len = strlen(said->source);
  bool named = strncmp(text, said->source, len) == 0 && strncmp(text + len, ": ", 2) == 0;
  return named ? text + len + 2 : text;
}

/* "name: text" with the text cut to `limit` bytes; long ones end in "...". */
static size_t one(char *buf, size_t cap, const km_said *said, size_t limit) {
  const char *text = text_of(said);
  size_t len = strnlen(text, sizeof said->err.text);
  bool cut = len > limit;
  int keep = (int)(cut ? (limit > 3 ? limit - 3 : 0) : len);
  int n = snprintf(buf, cap, "%s: %.*s%s", said->source, keep, text, cut ? "..." : "");
  return n < 0 ? 0 : (size_t)n;
}

static size_t all(char *buf, size_t cap, const km_said *said, size_t count, size_t limit) {
  size_t len = 0;
  for (size_t i = 0; i < count; i++) {
    if (said[i].err.code != 0) {
      size_t left = len < cap ? cap - len : 0;
      if (len > 0) {
        (void)snprintf(buf + (left > 0 ? len : 0), left, "%s", SEPARATOR);
        len += sizeof SEPARATOR - 1;
        left = len < cap ? cap - len : 0;
      }
      len += one(buf + (left > 0 ? len : 0), left, &said[i], limit);
    }
  }
  return len;
}

/* Those that had nothing to say are named only when nobody else is. */
static void silent_text(char *buf, size_t cap, const km_said *said, size_t count) {
  size_t len = 0;
  for (size_t i = 0; i < count && len < cap; i++) {
    int n = snprintf(buf + len, cap - len, "%s%s", i > 0 ? ", " : "", said[i].source);
    len += n > 0 ? (size_t)n : 0;
  }
}

void km_said_summary(const km_said *said, size_t count, km_errinfo *ret) {
  char text[sizeof ret->text - sizeof INTRO + 1];
  bool spoken = false;
  for (size_t i = 0; i < count; i++) {
    spoken = spoken || said[i].err.code != 0;
  }
  if (!spoken && count <= 1) {
    (void)km_fail(ret, KM_ERR_NOT_FOUND,
                  "nobody knows it: only the address book was asked; add a source (DNS, PKARR, "
                  "mDNS), or give a ticket");
    return;
  }
  if (!spoken) {
    silent_text(text, sizeof text, said, count);
    (void)km_fail(ret, KM_ERR_NOT_FOUND, "nobody knows it: not in %s", text);
    return;
  }
  size_t limit = sizeof text;
  while (limit > 0 && all(text, sizeof text, said, count, limit) >= sizeof text) {
    limit--;
  }
  (void)all(text, sizeof text, said, count, limit);
  (void)km_fail(ret, code_of(said, count), INTRO "%s", text);
}
