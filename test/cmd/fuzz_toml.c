/* Any file: no crash; what is read makes sense, what is not has a sentence with its line. */
#include <stdlib.h>
#include <string.h>

#include "cmd/cli/toml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

static void check_value(toml *t, toml_value *v) {
  check(v->path != NULL && v->path[0] != '\0' && v->line >= 1);
  check(toml_find(t, v->path) == v && v->used); /* a path is there once */
  check((v->kind == TOML_TEXT) == (v->text != NULL));
  check(v->kind == TOML_ARRAY || v->item_count == 0);
  for (size_t i = 0; i < v->item_count; i++) {
    check(v->items[i] != NULL);
  }
  check(v->kind != TOML_BOOL || v->number == 0 || v->number == 1);
  check(v->kind != TOML_TABLE || toml_has_table(t, v->path));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  toml t;
  km_errinfo err = {0};
  int rv = toml_parse(&t, "f", (const char *)data, len, &err);
  if (rv != 0) {
    check(rv == KM_ERR_INVALID && err.code == rv && strncmp(err.text, "f:", 2) == 0);
    check(t.count == 0 && t.values == NULL);
    return 0;
  }
  for (size_t i = 0; i < t.count; i++) {
    check_value(&t, &t.values[i]);
  }
  toml_free(&t);
  return 0;
}
