#include "cmd/node/project/service_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/env.h"

void text_add_bytes(text_out *t, const char *bytes, size_t len) {
  if (!t->failed && t->len + len + 1 > t->cap) {
    size_t cap = 2 * (t->len + len + 1);
    char *grown = km_env_realloc(&km_env_system, t->text, cap, 1);
    t->failed = grown == NULL;
    t->text = grown == NULL ? t->text : grown;
    t->cap = grown == NULL ? t->cap : cap;
  }
  if (t->failed) {
    return;
  }
  memcpy(t->text + t->len, bytes, len);
  t->len += len;
  t->text[t->len] = '\0';
}

void text_add(text_out *t, const char *text) {
  text_add_bytes(t, text, strlen(text));
}

void text_add_char(text_out *t, char c) {
  text_add_bytes(t, &c, 1);
}

void text_addf(text_out *t, const char *fmt, ...) {
  char text[512];
  va_list args;
  va_start(args, fmt);
  (void)vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  text_add(t, text);
}

int text_take(text_out *t, char **ret, km_errinfo *err) {
  if (t->failed || t->text == NULL) {
    km_env_free(&km_env_system, t->text);
    *t = (text_out){0};
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  *ret = t->text;
  *t = (text_out){0};
  return 0;
}
