/* The part of TOML 1.0 that our configuration files use: tables, dotted and quoted keys,
 * basic and literal strings on one line, decimal numbers, booleans, arrays of strings, inline
 * tables. Dates, other bases, multi-line strings and arrays of tables are refused by name. Pure. */
#ifndef KM_CMD_CLI_TOML_H
#define KM_CMD_CLI_TOML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <keymesh/error.h>

typedef enum toml_kind {
  TOML_TEXT,
  TOML_INTEGER,
  TOML_FLOAT,
  TOML_BOOL,
  TOML_ARRAY,
  TOML_TABLE /* [a header], or an inline table */
} toml_kind;

typedef struct toml_value {
  char *path; /* "tls.cert_mode"; keys of tables joined by dots */
  toml_kind kind;
  int line;
  char *text;     /* TOML_TEXT */
  int64_t number; /* TOML_INTEGER, TOML_BOOL */
  double real;    /* TOML_FLOAT, TOML_INTEGER */
  char **items;   /* TOML_ARRAY: texts */
  size_t item_count;
  bool open; /* TOML_TABLE: more keys may come */
  bool used; /* the reader's: what nobody asked for is unknown */
} toml_value;

typedef struct toml {
  const char *name; /* of the file, for errors; the caller's */
  toml_value *values;
  size_t count, cap;
} toml;

/* Reads `len` bytes. 0, KM_ERR_INVALID or KM_ERR_NOMEM. An error's text begins "NAME:LINE: ". */
int toml_parse(toml *ret, const char *name, const char *text, size_t len, km_errinfo *err);
void toml_free(toml *t);
/* The value of a path, marked as used; NULL when it is not there. */
toml_value *toml_find(toml *t, const char *path);
/* True when there is a value in that table, or its header. */
bool toml_has_table(const toml *t, const char *path);

#endif /* KM_CMD_CLI_TOML_H */
