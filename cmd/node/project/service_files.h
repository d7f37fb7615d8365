/* The files that make a node start by itself, as text: systemd units, launchd's property lists,
 * Windows' start-up scripts. Pure. */
#ifndef KM_CMD_NODE_PROJECT_SERVICE_FILES_H
#define KM_CMD_NODE_PROJECT_SERVICE_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <keymesh/error.h>

#define SERVICE_WRITABLE_MAX 6

typedef struct service_spec {
  const char *name;    /* "km-node" */
  const char *program; /* absolute paths; of Windows for its files */
  const char *config;
  const char *node_id;                        /* for the description */
  const char *writable[SERVICE_WRITABLE_MAX]; /* folders that the node writes to; NULL: no more */
  const char *log_file;                       /* NULL: standard error */
  const char *user;                           /* whose node it is; NULL: who starts it */
  bool system;                                /* of the machine, else of the one who logs in */
  bool low_port;                              /* below 1024 */
  bool runs_hooks;                            /* commands of others run in it */
} service_spec;

/* Each: the caller's text to free with km_env_free, NUL-terminated. KM_ERR_INVALID: a path that
 * cannot be written there; KM_ERR_NOMEM. */
KM_NODISCARD int service_systemd(char **ret, const service_spec *s, km_errinfo *err);
KM_NODISCARD int service_launchd(char **ret, const service_spec *s, km_errinfo *err);
/* A script for the start-up folder. */
KM_NODISCARD int service_windows_cmd(char **ret, const service_spec *s, km_errinfo *err);
/* The same for all users of the machine, as a file for reg import. */
KM_NODISCARD int service_windows_reg(char **ret, const service_spec *s, km_errinfo *err);

/* 1 to 64 of a-z A-Z 0-9 . _ -, a letter or digit first. */
bool service_name_is_good(const char *name);

#endif /* KM_CMD_NODE_PROJECT_SERVICE_FILES_H */
