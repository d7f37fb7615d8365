#include "cmd/cli/toml.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"

#define PATH_CAP 256
#define TEXT_CAP 4096
#define MAX_VALUES 1000
#define MAX_ITEMS 65536

typedef struct reader {
  const char *at, *end;
  int line;
  toml *t;
  km_errinfo *err;
  char table[PATH_CAP];
} reader;

static int bad(const reader *r, const char *what) {
  return km_fail(r->err, KM_ERR_INVALID, "%s:%d: %s", r->t->name, r->line, what);
}

static char *copy(const char *text, size_t len) {
  char *ret = malloc(len + 1);
  if (ret != NULL) {
    memcpy(ret, text, len);
    ret[len] = '\0';
  }
  return ret;
}

/* --- white space ----------------------------------------------------------------------------- */

static void skip_blanks(reader *r) {
  while (r->at < r->end && (*r->at == ' ' || *r->at == '\t')) {
    r->at++;
  }
}

static void skip_comment(reader *r) {
  if (r->at < r->end && *r->at == '#') {
    while (r->at < r->end && *r->at != '\n') {
      r->at++;
    }
  }
}

static bool take(reader *r, char c) {
  if (r->at < r->end && *r->at == c) {
    r->at++;
    return true;
  }
  return false;
}

static bool take_newline(reader *r) {
  if (r->end - r->at >= 2 && r->at[0] == '\r' && r->at[1] == '\n') {
    r->at++;
  }
  if (!take(r, '\n')) {
    return false;
  }
  r->line++;
  return true;
}

/* Blanks, comments and line ends. */
static void skip_lines(reader *r) {
  do {
    skip_blanks(r);
    skip_comment(r);
  } while (take_newline(r));
}

static int end_of_line(reader *r) {
  skip_blanks(r);
  skip_comment(r);
  return r->at == r->end || take_newline(r) ? 0 : bad(r, "something stands behind the value");
}

/* --- strings --------------------------------------------------------------------------------- */

static int put_code_point(reader *r, char *ret, size_t *len, size_t digits) {
  unsigned long code = 0;
  for (size_t i = 0; i < digits; i++, r->at++) {
    if (r->at == r->end || !isxdigit((unsigned char)*r->at)) {
      return bad(r, "a \\u escape needs hex digits");
    }
    char digit[2] = {*r->at, '\0'};
    code = code * 16 + strtoul(digit, NULL, 16);
  }
  if (code == 0 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) || *len + 4 >= TEXT_CAP) {
    return bad(r, "a \\u escape is no character");
  }
  if (code < 0x80) {
    ret[(*len)++] = (char)code;
    return 0;
  }
  int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  static const unsigned first[] = {0, 0xc0, 0xe0, 0xf0};
  ret[(*len)++] = (char)(first[more] | code >> (6 * more));
  while (more-- > 0) {
    ret[(*len)++] = (char)(0x80 | (code >> (6 * more) & 0x3f));
  }
  return 0;
}

static int escape(reader *r, char *ret, size_t *len) {
  static const char names[] = "btnfr\"\\", values[] = "\b\t\n\f\r\"\\";
  char c = r->at < r->end ? *r->at++ : '\0';
  const char *found = c == '\0' ? NULL : strchr(names, c);
  if (found != NULL) {
    ret[(*len)++] = values[found - names];
    return 0;
  }
  return c == 'u'   ? put_code_point(r, ret, len, 4)
         : c == 'U' ? put_code_point(r, ret, len, 8)
                    : bad(r, "an unknown escape in a string");
}

/* A string in either quotes, whose first was seen at *r->at. */
static int read_string(reader *r, char ret[TEXT_CAP], size_t *ret_len) {
  const char quote = *r->at++;
  size_t len = 0;
  if (r->end - r->at >= 2 && r->at[0] == quote && r->at[1] == quote) {
    return bad(r, "strings over several lines are not known here");
  }
  for (;;) {
    if (r->at == r->end || *r->at == '\n' || *r->at == '\0') {
      return bad(r, "a string has no end");
    }
    if (len + 8 >= TEXT_CAP) {
      return bad(r, "a string is longer than 4,087 bytes");
    }
    char c = *r->at++;
    if (c == quote) {
      ret[len] = '\0';
      *ret_len = len;
      return 0;
    }
    if (c == '\\' && quote == '"') {
      int rv = escape(r, ret, &len);
      if (rv != 0) {
        return rv;
      }
    } else if ((unsigned char)c < 0x20 && c != '\t') {
      return bad(r, "a control character in a string");
    } else {
      ret[len++] = c;
    }
  }
}

/* --- keys ------------------------------------------------------------------------------------ */

static bool is_bare(char c) {
  return isalnum((unsigned char)c) || c == '_' || c == '-';
}

static int append(reader *r, char path[PATH_CAP], const char *key, size_t len) {
  size_t used = strlen(path);
  if (len == 0 || memchr(key, '.', len) != NULL) {
    return bad(r, "a quoted key is empty or has a dot in it: no key here is called so");
  }
  if (used + len + 2 > PATH_CAP) {
    return bad(r, "a key is too long");
  }
  if (used > 0) {
    path[used++] = '.';
  }
  memcpy(path + used, key, len);
  path[used + len] = '\0';
  return 0;
}

/* Appends a key, which may have parts, to `path`. */
static int read_key(reader *r, char path[PATH_CAP]) {
  char text[TEXT_CAP];
  int rv;
  do {
    skip_blanks(r);
    if (r->at < r->end && (*r->at == '"' || *r->at == '\'')) {
      size_t len = 0;
      rv = read_string(r, text, &len);
      rv = rv != 0 ? rv : append(r, path, text, len);
    } else {
      const char *from = r->at;
      while (r->at < r->end && is_bare(*r->at)) {
        r->at++;
      }
      rv = r->at == from ? bad(r, "a key was expected")
                         : append(r, path, from, (size_t)(r->at - from));
    }
    if (rv != 0) {
      return rv;
    }
    skip_blanks(r);
  } while (take(r, '.'));
  return 0;
}

/* --- values ---------------------------------------------------------------------------------- */

static int read_value(reader *r, const char *path);

/* True when `path` lies in the table `of`. */
static bool is_in(const char *path, const char *of) {
  size_t len = strlen(of);
  return strncmp(path, of, len) == 0 && path[len] == '.';
}

/* The same key twice, and keys that are a value and a table at once. */
static int check_new(reader *r, const char *path, toml_kind kind) {
  for (size_t i = 0; i < r->t->count; i++) {
    const toml_value *v = &r->t->values[i];
    bool same = strcmp(v->path, path) == 0;
    bool within = is_in(path, v->path) && !v->open;
    bool around = kind != TOML_TABLE && is_in(v->path, path);
    if (same || within || around) {
      return km_fail(r->err, KM_ERR_INVALID, "%s:%d: %.80s was given before, in line %d",
                     r->t->name, r->line, same ? path : v->path, v->line);
    }
  }
  return 0;
}

static int grow(reader *r) {
  toml *t = r->t;
  if (t->count == MAX_VALUES) {
    return bad(r, "there are more than 1,000 values");
  }
  if (t->count < t->cap) {
    return 0;
  }
  size_t cap = t->cap == 0 ? 16 : t->cap * 2;
  toml_value *values = realloc(t->values, cap * sizeof *values);
  if (values == NULL) {
    return km_fail(r->err, KM_ERR_NOMEM, NULL);
  }
  t->values = values;
  t->cap = cap;
  return 0;
}

/* NULL: r->err says why. */
static toml_value *add(reader *r, const char *path, toml_kind kind) {
  toml *t = r->t;
  if (check_new(r, path, kind) != 0 || grow(r) != 0) {
    return NULL;
  }
  toml_value *v = &t->values[t->count];
  *v = (toml_value){.kind = kind, .line = r->line, .path = copy(path, strlen(path))};
  if (v->path == NULL) {
    (void)km_fail(r->err, KM_ERR_NOMEM, NULL);
    return NULL;
  }
  t->count++;
  return v;
}

static int read_text(reader *r, const char *path) {
  char text[TEXT_CAP];
  size_t len = 0;
  int rv = read_string(r, text, &len);
  if (rv != 0) {
    return rv;
  }
  toml_value *v = add(r, path, TOML_TEXT);
  if (v == NULL) {
    return r->err->code;
  }
  v->text = copy(text, len);
  return v->text == NULL ? km_fail(r->err, KM_ERR_NOMEM, NULL) : 0;
}

static int add_item(reader *r, toml_value *v, const char *text, size_t len) {
  if (v->item_count == MAX_ITEMS) {
    return bad(r, "a list has more than 65,536 entries");
  }
  if ((v->item_count & (v->item_count - 1)) == 0) { /* grows at powers of two */
    size_t cap = v->item_count == 0 ? 1 : v->item_count * 2;
    char **items = realloc(v->items, cap * sizeof *items);
    if (items == NULL) {
      return km_fail(r->err, KM_ERR_NOMEM, NULL);
    }
    v->items = items;
  }
  v->items[v->item_count] = copy(text, len);
  if (v->items[v->item_count] == NULL) {
    return km_fail(r->err, KM_ERR_NOMEM, NULL);
  }
  v->item_count++;
  return 0;
}

static int read_array(reader *r, const char *path) {
  char text[TEXT_CAP];
  toml_value *v = add(r, path, TOML_ARRAY);
  if (v == NULL) {
    return r->err->code;
  }
  r->at++;
  for (;;) {
    skip_lines(r);
    if (take(r, ']')) {
      return 0;
    }
    size_t len = 0;
    if (r->at == r->end || (*r->at != '"' && *r->at != '\'')) {
      return bad(r, "a list may hold strings only");
    }
    int rv = read_string(r, text, &len);
    rv = rv != 0 ? rv : add_item(r, v, text, len);
    if (rv != 0) {
      return rv;
    }
    skip_lines(r);
    if (!take(r, ',') && (r->at == r->end || *r->at != ']')) {
      return bad(r, "a comma or ] was expected");
    }
  }
}

static int read_pair(reader *r, const char *table) {
  char path[PATH_CAP];
  (void)snprintf(path, sizeof path, "%s", table);
  int rv = read_key(r, path);
  if (rv == 0 && !take(r, '=')) {
    rv = bad(r, "= was expected behind the key");
  }
  if (rv == 0) {
    skip_blanks(r);
    rv = read_value(r, path);
  }
  return rv;
}

static int read_inline_pairs(reader *r, const char *path) {
  skip_blanks(r);
  if (take(r, '}')) {
    return 0;
  }
  do {
    int rv = read_pair(r, path);
    if (rv != 0) {
      return rv;
    }
    skip_blanks(r);
  } while (take(r, ','));
  return take(r, '}') ? 0 : bad(r, "a comma or } was expected");
}

static int read_inline_table(reader *r, const char *path) {
  size_t at = r->t->count; /* pairs in it may move the array */
  r->at++;
  toml_value *v = add(r, path, TOML_TABLE);
  if (v == NULL) {
    return r->err->code;
  }
  v->open = true;
  int rv = read_inline_pairs(r, path);
  r->t->values[at].open = false;
  return rv;
}

/* Digits with single underscores between them. Returns how many characters, 0 for none. */
static size_t digits(const char *text) {
  size_t n = 0;
  while (isdigit((unsigned char)text[n]) ||
         (text[n] == '_' && n > 0 && text[n - 1] != '_' && isdigit((unsigned char)text[n + 1]))) {
    n++;
  }
  return n;
}

/* A decimal integer or float of TOML, to the end of the word. */
static bool is_number(const char *word, bool *ret_float) {
  const char *at = word + (*word == '+' || *word == '-');
  size_t n = digits(at);
  bool good = n > 0 && (n == 1 || at[0] != '0');
  at += n;
  *ret_float = false;
  if (good && *at == '.') {
    n = digits(++at);
    good = n > 0;
    at += n;
    *ret_float = true;
  }
  if (good && (*at == 'e' || *at == 'E')) {
    at++;
    at += *at == '+' || *at == '-';
    n = digits(at);
    good = n > 0;
    at += n;
    *ret_float = true;
  }
  return good && *at == '\0';
}

static void drop_underscores(char *word) {
  char *to = word;
  for (const char *at = word; *at != '\0'; at++) {
    if (*at != '_') {
      *to++ = *at;
    }
  }
  *to = '\0';
}

static int read_word(reader *r, const char *path) {
  char word[32] = "";
  size_t len = 0;
  while (r->at < r->end && (is_bare(*r->at) || *r->at == '+' || *r->at == '.' || *r->at == ':')) {
    if (len + 1 == sizeof word) {
      return bad(r, "a value is too long");
    }
    word[len++] = *r->at++;
  }
  word[len] = '\0';
  bool yes = strcmp(word, "true") == 0, is_float = false;
  bool is_bool = yes || strcmp(word, "false") == 0;
  if (!is_bool && !is_number(word, &is_float)) {
    return bad(r, "a string in quotes, a decimal number, true, false, a list or { was expected");
  }
  drop_underscores(word);
  if (!is_bool && !is_float && strlen(word) > 18) {
    return bad(r, "a number has more than 18 digits");
  }
  toml_value *v = add(r, path, is_bool ? TOML_BOOL : is_float ? TOML_FLOAT : TOML_INTEGER);
  if (v == NULL) {
    return r->err->code;
  }
  v->number = is_bool ? yes : is_float ? 0 : strtoll(word, NULL, 10);
  v->real = is_bool ? 0 : strtod(word, NULL);
  return 0;
}

static int read_value(reader *r, const char *path) {
  switch (r->at < r->end ? *r->at : '\0') {
  case '"':
  case '\'':
    return read_text(r, path);
  case '[':
    return read_array(r, path);
  case '{':
    return read_inline_table(r, path);
  default:
    return read_word(r, path);
  }
}

/* --- the file -------------------------------------------------------------------------------- */

static int read_header(reader *r) {
  r->at++;
  if (r->at < r->end && *r->at == '[') {
    return bad(r, "lists of tables are not known here");
  }
  r->table[0] = '\0';
  int rv = read_key(r, r->table);
  if (rv == 0 && !take(r, ']')) {
    rv = bad(r, "] was expected");
  }
  toml_value *v = rv == 0 ? add(r, r->table, TOML_TABLE) : NULL;
  if (v != NULL) {
    v->open = true;
  }
  return v != NULL ? 0 : r->err->code;
}

/* Some editors begin every file with a byte order mark. */
static void skip_mark(reader *r) {
  if (r->end - r->at >= 3 && memcmp(r->at, "\xef\xbb\xbf", 3) == 0) {
    r->at += 3;
  }
}

int toml_parse(toml *ret, const char *name, const char *text, size_t len, km_errinfo *err) {
  km_errinfo unused;
  reader r = {
      .at = text, .end = text + len, .line = 1, .t = ret, .err = err == NULL ? &unused : err};
  *ret = (toml){.name = name};
  int rv = 0;
  skip_mark(&r);
  while (rv == 0) {
    skip_lines(&r);
    if (r.at == r.end) {
      return 0;
    }
    rv = *r.at == '[' ? read_header(&r) : read_pair(&r, r.table);
    rv = rv != 0 ? rv : end_of_line(&r);
  }
  toml_free(ret);
  return rv;
}

void toml_free(toml *t) {
  for (size_t i = 0; i < t->count; i++) {
    toml_value *v = &t->values[i];
    for (size_t k = 0; k < v->item_count; k++) {
      free(v->items[k]);
    }
    free(v->items);
    free(v->text);
    free(v->path);
  }
  free(t->values);
  *t = (toml){0};
}

toml_value *toml_find(toml *t, const char *path) {
  for (size_t i = 0; i < t->count; i++) {
    if (strcmp(t->values[i].path, path) == 0) {
      t->values[i].used = true;
      return &t->values[i];
    }
  }
  return NULL;
}

bool toml_has_table(const toml *t, const char *path) {
  for (size_t i = 0; i < t->count; i++) {
    const toml_value *v = &t->values[i];
    if (is_in(v->path, path) || (v->kind == TOML_TABLE && strcmp(v->path, path) == 0)) {
      return true;
    }
  }
  return false;
}
