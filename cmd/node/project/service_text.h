/* Text that grows, for files that are generated. */
#ifndef KM_CMD_NODE_PROJECT_SERVICE_TEXT_H
#define KM_CMD_NODE_PROJECT_SERVICE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include <keymesh/error.h>

typedef struct text_out {
  char *text; /* NUL-terminated once something was added; free with km_env_free */
  size_t len, cap;
  bool failed; /* there was no memory: what follows is dropped */
} text_out;

void text_add(text_out *t, const char *text);
void text_add_bytes(text_out *t, const char *bytes, size_t len);
void text_add_char(text_out *t, char c);
void text_addf(text_out *t, const char *fmt, ...) KM_PRINTF(2, 3);
/* Gives the text away. 0 or KM_ERR_NOMEM. */
KM_NODISCARD int text_take(text_out *t, char **ret, km_errinfo *err);

#endif /* KM_CMD_NODE_PROJECT_SERVICE_TEXT_H */
