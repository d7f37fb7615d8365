/* Values of a configuration file, checked: each function leaves its target alone when the key is
 * not there, and says what is wrong with file, line and key. */
#ifndef KM_CMD_CLI_CONFIG_READ_H
#define KM_CMD_CLI_CONFIG_READ_H

#include <keymesh/addr.h>
#include <stdint.h>

#include "cmd/cli/toml.h"

#define CONFIG_MAX_BINDS 4

/* Addresses to listen on. */
typedef struct config_binds {
  km_udp_addr at[CONFIG_MAX_BINDS];
  size_t count;
} config_binds;

typedef struct config_reader {
  void *config; /* what the program makes of it */
  toml *toml;
  km_errinfo *err;
  const char *program;      /* "km-relay" */
  const char *const *known; /* all keys, for who mistyped one; ends with NULL */
  bool has_secrets;         /* the program's: a token stands in the file itself */
} config_reader;

/* KM_ERR_INVALID; the key need not be there. */
int config_bad(config_reader *r, const char *key, const char *fmt, ...) KM_PRINTF(3, 4);

int config_bad_value(config_reader *r, const toml_value *v, const char *fmt, ...) KM_PRINTF(3, 4);

int config_bool(config_reader *r, const char *key, bool *ret);
int config_number(config_reader *r, const char *key, uint64_t *ret, uint64_t min, uint64_t max);
int config_real(config_reader *r, const char *key, double *ret, double min, double max);
int config_text(config_reader *r, const char *key, const char **ret); /* not empty; borrowed */
int config_list(config_reader *r, const char *key, const toml_value **ret);
int config_table(config_reader *r, const char *key); /* if it is there, then as a table */
/* An address, or a list of them. */
int config_addrs(config_reader *r, const char *key, config_binds *ret);
void config_ignore(config_reader *r, const char *key);

/* A copy of `path`, or of dir/name when that is NULL. */
int config_copy_path(config_reader *r, char **ret, const char *path, const char *dir,
                     const char *name);

/* Complains about the first key that nobody asked for. */
int config_check_unknown(config_reader *r);

#endif /* KM_CMD_CLI_CONFIG_READ_H */
