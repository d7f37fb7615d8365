#include "cmd/cli/config_read.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "cmd/cli/options.h"

int config_bad_value(config_reader *r, const toml_value *v, const char *fmt, ...) {
  char text[300];
  va_list args;
  va_start(args, fmt);
  (void)vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  return km_fail(r->err, KM_ERR_INVALID, "%s:%d: %s: %s", r->toml->name, v->line, v->path, text);
}

int config_bad(config_reader *r, const char *key, const char *fmt, ...) {
  char text[300];
  va_list args;
  va_start(args, fmt);
  (void)vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  const toml_value *v = toml_find(r->toml, key);
  if (v != NULL) {
    return config_bad_value(r, v, "%s", text);
  }
  return km_fail(r->err, KM_ERR_INVALID, "%s: %s: %s", r->toml->name, key, text);
}

static int check_kind(config_reader *r, const toml_value *v, toml_kind kind, const char *what) {
  return v->kind == kind ? 0 : config_bad_value(r, v, "this has to be %s", what);
}

int config_bool(config_reader *r, const char *key, bool *ret) {
  const toml_value *v = toml_find(r->toml, key);
  int rv = v == NULL ? 0 : check_kind(r, v, TOML_BOOL, "true or false");
  if (v != NULL && rv == 0) {
    *ret = v->number != 0;
  }
  return rv;
}

int config_number(config_reader *r, const char *key, uint64_t *ret, uint64_t min, uint64_t max) {
  const toml_value *v = toml_find(r->toml, key);
  int rv = v == NULL ? 0 : check_kind(r, v, TOML_INTEGER, "a whole number");
  if (v == NULL || rv != 0) {
    return rv;
  }
  if (v->number < 0 || (uint64_t)v->number < min || (uint64_t)v->number > max) {
    return config_bad_value(r, v, "this has to be from %" PRIu64 " to %" PRIu64, min, max);
  }
  *ret = (uint64_t)v->number;
  return 0;
}

int config_real(config_reader *r, const char *key, double *ret, double min, double max) {
  const toml_value *v = toml_find(r->toml, key);
  if (v == NULL) {
    return 0;
  }
  if (v->kind != TOML_INTEGER && v->kind != TOML_FLOAT) {
    return config_bad_value(r, v, "this has to be a number");
  }
  if (!(v->real >= min && v->real <= max)) {
    return config_bad_value(r, v, "this has to be from %.0f to %.0f", min, max);
  }
  *ret = v->real;
  return 0;
}

int config_text(config_reader *r, const char *key, const char **ret) {
  const toml_value *v = toml_find(r->toml, key);
  int rv = v == NULL ? 0 : check_kind(r, v, TOML_TEXT, "a text in quotes");
  if (v == NULL || rv != 0) {
    return rv;
  }
  if (v->text[0] == '\0') {
    return config_bad_value(r, v, "this must not be empty");
  }
  *ret = v->text;
  return 0;
}

int config_list(config_reader *r, const char *key, const toml_value **ret) {
  const toml_value *v = toml_find(r->toml, key);
  int rv = v == NULL ? 0 : check_kind(r, v, TOML_ARRAY, "a list of texts: [\"...\", \"...\"]");
  if (v != NULL && rv == 0) {
    *ret = v;
  }
  return rv;
}

int config_table(config_reader *r, const char *key) {
  const toml_value *v = toml_find(r->toml, key);
  return v == NULL ? 0 : check_kind(r, v, TOML_TABLE, "a table");
}

static int add_bind(config_reader *r, const toml_value *v, config_binds *ret, const char *text) {
  km_errinfo why;
  if (ret->count == CONFIG_MAX_BINDS) {
    return config_bad_value(r, v, "these are more than %d addresses", CONFIG_MAX_BINDS);
  }
  if (km_udp_addr_parse(&ret->at[ret->count], text, strlen(text), &why) != 0) {
    return config_bad_value(
        r, v, "'%.60s' is no address with a port, as \"[::]:80\" or \"192.0.2.1:80\"", text);
  }
  ret->count++;
  return 0;
}

int config_addrs(config_reader *r, const char *key, config_binds *ret) {
  const toml_value *v = toml_find(r->toml, key);
  if (v == NULL) {
    return 0;
  }
  if (v->kind == TOML_TEXT) {
    return add_bind(r, v, ret, v->text);
  }
  if (v->kind != TOML_ARRAY || v->item_count == 0) {
    return config_bad_value(r, v, "this has to be an address in quotes, or a list of them");
  }
  int rv = 0;
  for (size_t i = 0; rv == 0 && i < v->item_count; i++) {
    rv = add_bind(r, v, ret, v->items[i]);
  }
  return rv;
}

void config_ignore(config_reader *r, const char *key) {
  (void)toml_find(r->toml, key);
}

int config_copy_path(config_reader *r, char **ret, const char *path, const char *dir,
                     const char *name) {
  const char *slash = path == NULL ? "/" : "";
  size_t size = (path == NULL ? strlen(dir) + strlen(name) + 1 : strlen(path)) + 1;
  *ret = malloc(size);
  if (*ret == NULL) {
    return km_fail(r->err, KM_ERR_NOMEM, NULL);
  }
  (void)snprintf(*ret, size, "%s%s%s", path == NULL ? dir : path, slash, path == NULL ? name : "");
  return 0;
}

int config_check_unknown(config_reader *r) {
  for (size_t i = 0; i < r->toml->count; i++) {
    const toml_value *v = &r->toml->values[i];
    if (!v->used) {
      const char *near = cli_did_you_mean(v->path, r->known);
      return config_bad_value(r, v, "%s knows no %s of this name%s%s%s", r->program,
                              v->kind == TOML_TABLE ? "table" : "key",
                              near == NULL ? "" : "; did you mean ", near == NULL ? "" : near,
                              near == NULL ? "" : "?");
    }
  }
  return 0;
}
