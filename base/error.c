#include <keymesh/error.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/env.h"
#include "base/text.h"

typedef struct error_entry {
  int code;
  const char *name;
  const char *sentence;
  const char *hint;
} error_entry;

static const error_entry entries[] = {
    {KM_OK, "OK", "success", ""},
#define KM_ERR(name, number, sentence, hint) {(number), #name, (sentence), (hint)},
#include <keymesh/error.def>
#undef KM_ERR
};

static const error_entry *find(int code) {
  static const error_entry unknown = {0, "UNKNOWN", "unknown error", ""};
  for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++) {
    if (entries[i].code == code) {
      return &entries[i];
    }
  }
  return &unknown;
}

const char *km_error_name(int code) {
  return find(code)->name;
}

const char *km_strerror(int code) {
  return find(code)->sentence;
}

const char *km_error_hint(int code) {
  return find(code)->hint;
}

int km_fail(km_errinfo *err, int code, const char *fmt, ...) {
  if (err == NULL) {
    return code;
  }
  /* Formatted aside: an argument may point into `err` itself. */
  char text[sizeof err->text];
  if (fmt != NULL) {
    va_list args;
    va_start(args, fmt);
    if (vsnprintf(text, sizeof text, fmt, args) < 0) {
      text[0] = '\0';
    }
    va_end(args);
  } else {
    (void)snprintf(text, sizeof text, "%s", km_strerror(code)); /* fits: a test checks them all */
  }
  km_text_clean(text);
  memset(err, 0, sizeof *err);
  err->code = code;
  memcpy(err->text, text, sizeof text);
  return code;
}
