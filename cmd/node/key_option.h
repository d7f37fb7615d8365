/* The secret key that a command line names. */
#ifndef KM_CMD_NODE_KEY_OPTION_H
#define KM_CMD_NODE_KEY_OPTION_H

#include <keymesh/id.h>

/* `text` or `file` or neither (then `ret` stays as it is). 0 or an error with a sentence. */
int key_option_load(const char *text, const char *file, km_secret_key **ret, km_errinfo *err);

#endif /* KM_CMD_NODE_KEY_OPTION_H */
