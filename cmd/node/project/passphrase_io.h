/* Passphrases of sealed keys: from a file, the environment, or a person. */
#ifndef KM_CMD_NODE_PROJECT_PASSPHRASE_IO_H
#define KM_CMD_NODE_PROJECT_PASSPHRASE_IO_H

#include <stdbool.h>
#include <stddef.h>

#include <keymesh/error.h>

#define PASSPHRASE_MAX 1024

typedef struct passphrase {
  char text[PASSPHRASE_MAX + 1];
  size_t len;
} passphrase;

typedef struct passphrase_source {
  const char *file;   /* NULL: none; its first line */
  const char *env;    /* the name of a variable; NULL: none */
  const char *prompt; /* what a person is asked; NULL: nobody is */
  bool twice;         /* it is a new one */
} passphrase_source;

/* 0, KM_ERR_FILE_NOT_FOUND, KM_ERR_KEY_FILE_MODE (others may read the file), KM_ERR_INVALID (empty,
 * too long, or not twice the same), KM_ERR_NOT_FOUND (there is no source of one). */
KM_NODISCARD int passphrase_get(passphrase *ret, const passphrase_source *source, km_errinfo *err);
void passphrase_wipe(passphrase *p);

#endif /* KM_CMD_NODE_PROJECT_PASSPHRASE_IO_H */
