#include "cmd/node/ctl/table.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

void table_init(table *t, const char *const *heads) {
  memset(t, 0, sizeof *t);
  t->heads = heads;
  while (heads[t->columns] != NULL && t->columns < TABLE_COLUMNS_MAX) {
    t->columns++;
  }
}

size_t table_width(const char *text) {
  size_t width = 0;
  for (; *text != '\0'; text++) {
    width += ((uint8_t)*text & 0xc0) != 0x80 ? 1 : 0; /* not a byte that goes on */
  }
  return width;
}

static bool grow(table *t) {
  if (t->count + t->columns <= t->cap) {
    return true;
  }
  size_t cap = t->cap == 0 ? 16 * t->columns : 2 * t->cap;
  char **cells = realloc(t->cells, cap * sizeof *cells);
  if (cells == NULL) {
    return false;
  }
  t->cells = cells;
  t->cap = cap;
  return true;
}

void table_add(table *t, const char *const *cells) {
  size_t n = 0;
  if (!grow(t)) {
    return;
  }
  for (; n < t->columns; n++) {
    char *cell = strdup(cells[n] == NULL ? "" : cells[n]);
    if (cell == NULL) {
      break;
    }
    km_text_clean(cell);
    t->cells[t->count + n] = cell;
  }
  if (n == t->columns) {
    t->count += n;
    return;
  }
  while (n-- > 0) {
    free(t->cells[t->count + n]);
  }
}

size_t table_rows(const table *t) {
  return t->columns == 0 ? 0 : t->count / t->columns;
}

static void pad(size_t n) {
  while (n-- > 0) {
    (void)putchar(' ');
  }
}

/* A row without blanks at its end. */
static void print_row(const table *t, const char *const *cells, const size_t *widths, bool head) {
  size_t owed = 0;
  for (size_t i = 0; i < t->columns; i++) {
    bool right = t->heads[i][0] == '>';
    const char *text = cells[i] + (head && right ? 1 : 0);
    size_t width = table_width(text);
    size_t rest = widths[i] > width ? widths[i] - width : 0;
    owed += right ? rest : 0;
    if (width > 0) {
      pad(owed);
      (void)fputs(text, stdout);
      owed = right ? 0 : rest;
    } else {
      owed += right ? 0 : rest;
    }
    owed += 2;
  }
}

void table_print(table *t, bool colour) {
  size_t widths[TABLE_COLUMNS_MAX] = {0};
  for (size_t i = 0; i < t->columns && t->count > 0; i++) {
    widths[i] = table_width(t->heads[i]) - (t->heads[i][0] == '>' ? 1 : 0);
    for (size_t at = i; at < t->count; at += t->columns) {
      size_t width = table_width(t->cells[at]);
      widths[i] = width > widths[i] ? width : widths[i];
    }
  }
  if (t->count > 0) {
    (void)fputs(colour ? "\033[1m" : "", stdout);
    print_row(t, t->heads, widths, true);
    (void)fputs(colour ? "\033[0m\n" : "\n", stdout);
  }
  for (size_t at = 0; at < t->count; at += t->columns) {
    print_row(t, (const char *const *)&t->cells[at], widths, false);
    (void)putchar('\n');
  }
  table_free(t);
}

void table_free(table *t) {
  for (size_t i = 0; i < t->count; i++) {
    free(t->cells[i]);
  }
  free(t->cells);
  t->cells = NULL;
  t->count = t->cap = 0;
}
