/* The part of TOML 1.0 that files for relays use: tables, dotted and quoted keys, basic
 * and literal strings on one line, integers, booleans, arrays of these, inline tables. Dates,
 * floats, multi-line strings and arrays of tables are refused by name. Pure. */
#ifndef KM_CMD_RELAY_TOML_H
#define KM_CMD_RELAY_TOML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <keymesh/error.h>

typedef enum toml_kind { TOML_TEXT, TOML_INTEGER, TOML_BOOL, TOML_ARRAY, TOML_TABLE } toml_kind;

typedef struct toml_value {
  char *path; /* "tls.cert_mode"; keys of tables joined by dots */
  toml_kind kind;
  int line;
  char *text;     /* TOML_TEXT */
  int64_t number; /* TOML_INTEGER, TOML_BOOL */
  char **items;   /* TOML_ARRAY: texts */
  size_t item_count;
  bool used; /* the reader's: what nobody asked for is unknown */
} toml_value;

typedef struct toml {
  toml_value *values;
  size_t count, cap;
} toml;

/* Reads `len` bytes. 0, KM_ERR_INVALID (err has line and reason) or KM_ERR_NOMEM. */
int toml_parse(toml *ret, const char *text, size_t len, km_errinfo *err);
void toml_free(toml *t);
/* The value of a path, marked as used; NULL when it is not there. */
toml_value *toml_find(toml *t, const char *path);

#endif /* KM_CMD_RELAY_TOML_H */
