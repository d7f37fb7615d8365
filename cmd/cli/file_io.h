/* Small files, read whole. */
#ifndef KM_CMD_CLI_FILE_IO_H
#define KM_CMD_CLI_FILE_IO_H

#include <stdbool.h>
#include <stddef.h>

#include <keymesh/error.h>

#define FILE_MAX (8u << 20)

typedef struct file_text {
  char *bytes; /* from malloc, with a NUL behind */
  size_t len;
  bool world_readable;
} file_text;

/* 0, KM_ERR_FILE_NOT_FOUND, KM_ERR_PERMISSION, KM_ERR_INVALID (a folder, or too long),
 * KM_ERR_SYSTEM or KM_ERR_NOMEM. `what`: "configuration". */
KM_NODISCARD int file_read(file_text *ret, const char *path, const char *what, km_errinfo *err);
/* False also when it cannot be seen. */
bool file_is_world_readable(const char *path);
void file_free(file_text *f); /* wipes it: there may be secrets in it */

#endif /* KM_CMD_CLI_FILE_IO_H */
