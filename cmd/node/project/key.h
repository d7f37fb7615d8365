/* The file of the project's key, plain or sealed with a passphrase. */
#ifndef KM_CMD_NODE_PROJECT_KEY_H
#define KM_CMD_NODE_PROJECT_KEY_H

#include <stdbool.h>

#include <keymesh/id.h>

#include "cmd/node/project/passphrase_io.h"

/* True for a file that looks like a sealed key; false also when it cannot be read. */
bool key_is_sealed(const char *path);
/* Reads it; a sealed one with the passphrase that `source` gives. */
KM_NODISCARD int key_read(km_secret_key **ret, const char *path, const passphrase_source *source,
                          km_errinfo *err);
/* Writes a new file; `p` NULL: not sealed. */
KM_NODISCARD int key_write(const km_secret_key *key, const char *path, const passphrase *p,
                           km_errinfo *err);

#endif /* KM_CMD_NODE_PROJECT_KEY_H */
