#include "cmd/node/ctl/words.h"

#include <stdlib.h>
#include <string.h>

#include "base/enc.h"
#include "base/env.h"

typedef struct splitter {
  const char *p, *end;
  char *to;
  const char *bad; /* a sentence; NULL: all well so far */
  bool partial;
} splitter;

static bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* What follows \x: two hex digits, not 00. */
static bool take_hex(splitter *s) {
  char digits[2];
  uint8_t byte = 0;
  for (size_t i = 0; i < 2; i++) {
    char c = s->end - s->p > (ptrdiff_t)i ? s->p[i] : '\0';
    digits[i] = c >= 'A' && c <= 'F' ? (char)(c - 'A' + 'a') : c;
  }
  if (!km_hex_decode(&byte, 1, digits, 2) || byte == 0) {
    return false;
  }
  *s->to++ = (char)byte;
  s->p += 2;
  return true;
}

/* Behind a backslash in double quotes. Those that mean nothing stay with their backslash. */
static void take_escape(splitter *s) {
  static const char from[] = "\\\"nrt", to[] = "\\\"\n\r\t";
  if (s->p == s->end) {
    s->bad = s->partial ? NULL : "a quote is not closed";
    return;
  }
  char c = *s->p;
  const char *known = c == '\0' ? NULL : strchr(from, c);
  if (known != NULL) {
    *s->to++ = to[known - from];
    s->p++;
  } else if (c == 'x') {
    s->p++;
    if (!take_hex(s) && !s->partial) {
      s->bad = "\\x needs two hex digits that are not 00";
    }
  } else {
    *s->to++ = '\\';
  }
}

/* Behind the quote that opens, to behind the one that closes. Returns the quote if none does. */
static char take_quoted(splitter *s, char quote) {
  while (s->p < s->end && s->bad == NULL) {
    char c = *s->p++;
    if (c == quote) {
      return 0;
    }
    if (c == '\\' && quote == '"') {
      take_escape(s);
    } else {
      *s->to++ = c;
    }
  }
  if (s->bad == NULL && !s->partial) {
    s->bad = "a quote is not closed";
  }
  return quote;
}

/* One word, from its first character. Returns a quote that is still open. */
static char take_word(splitter *s) {
  char open = 0;
  while (s->p < s->end && !is_blank(*s->p) && s->bad == NULL && open == 0) {
    char c = *s->p++;
    if (c == '\'' || c == '"') {
      open = take_quoted(s, c);
    } else if (c != '\\') {
      *s->to++ = c;
    } else if (s->p < s->end) {
      *s->to++ = *s->p++;
    } else if (!s->partial) {
      s->bad = "there is nothing behind the last backslash";
    }
  }
  *s->to++ = '\0';
  return open;
}

static void split(word_list *ret, splitter *s, const char *line) {
  ret->ended = true;
  for (;;) {
    while (s->p < s->end && is_blank(*s->p)) {
      s->p++;
    }
    if (s->p == s->end || s->bad != NULL || (ret->count == 0 && *s->p == '#')) {
      return;
    }
    if (ret->count == WORDS_MAX) {
      s->bad = "that are too many words: quote what belongs together";
      return;
    }
    ret->from[ret->count] = (size_t)(s->p - line);
    ret->at[ret->count++] = s->to;
    ret->quote = take_word(s);
    ret->ended = s->p < s->end;
  }
}

static int run(word_list *ret, splitter *s, const char *line, size_t len) {
  memset(ret, 0, sizeof *ret);
  /* No word is longer than what it is written as, and each but the last has a blank behind it. */
  ret->text = malloc(len + 1);
  if (ret->text == NULL) {
    return KM_ERR_NOMEM;
  }
  s->p = line;
  s->end = line + len;
  s->to = ret->text;
  split(ret, s, line);
  return 0;
}

int words_split(word_list *ret, const char *line, km_errinfo *err) {
  splitter s = {0};
  int rv = run(ret, &s, line, strlen(line));
  if (rv == 0 && s.bad != NULL) {
    words_free(ret);
    rv = KM_ERR_INVALID;
  }
  if (rv != 0) {
    (void)km_fail(err, rv, "%s", s.bad != NULL ? s.bad : km_strerror(rv));
  }
  return rv;
}

int words_split_partial(word_list *ret, const char *line, size_t len) {
  splitter s = {.partial = true};
  return run(ret, &s, line, len);
}

void words_free(word_list *w) {
  free(w->text);
  memset(w, 0, sizeof *w);
}

/* --- and back --------------------------------------------------------------------------------- */

static bool is_plain(const char *word) {
  return word[0] != '\0' && word[0] != '#' && strpbrk(word, " \t\r\n\\'\"") == NULL;
}

/* In double quotes. */
static size_t escape(char *to, char c) {
  static const char from[] = "\\\"\n\r\t", names[] = "\\\"nrt";
  const char *known = strchr(from, c);
  if (known == NULL) {
    to[0] = c;
    return 1;
  }
  to[0] = '\\';
  to[1] = names[known - from];
  return 2;
}

char *words_quote(const char *word, char quote) {
  if (quote == 0) {
    quote = is_plain(word) ? 0 : '"';
  }
  char *ret = malloc(4 * strlen(word) + 3), *to = ret;
  if (ret == NULL) {
    return NULL;
  }
  if (quote != 0) {
    *to++ = quote;
  }
  for (const char *p = word; *p != '\0'; p++) {
    if (quote == '"') {
      to += escape(to, *p);
    } else if (quote == '\'' && *p == '\'') {
      memcpy(to, "'\\''", 4); /* closed, one by a backslash, opened again */
      to += 4;
    } else {
      *to++ = *p;
    }
  }
  if (quote != 0) {
    *to++ = quote;
  }
  *to = '\0';
  return ret;
}
