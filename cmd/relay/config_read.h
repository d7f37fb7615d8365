/* Values of a configuration file, checked: each function leaves its target alone when the key is
 * not there, and says what is wrong with file, line and key. For config*.c. */
#ifndef KM_CMD_RELAY_CONFIG_READ_H
#define KM_CMD_RELAY_CONFIG_READ_H

#include "cmd/relay/config.h"
#include "cmd/relay/toml.h"

typedef struct config_reader {
  relay_config *config;
  toml *toml;
  km_errinfo *err;
  bool has_secrets; /* a token stands in the file itself */
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
int config_binds(config_reader *r, const char *key, relay_binds *ret);
void config_ignore(config_reader *r, const char *key);

/* A copy of `path`, or of dir/name when that is NULL. */
int config_copy_path(config_reader *r, char **ret, const char *path, const char *dir,
                     const char *name);

/* Complains about the first key that nobody asked for. */
int config_check_unknown(config_reader *r);

#endif /* KM_CMD_RELAY_CONFIG_READ_H */
