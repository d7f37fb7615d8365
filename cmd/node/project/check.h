/* What `km-node check` finds out, in rows. */
#ifndef KM_CMD_NODE_PROJECT_CHECK_H
#define KM_CMD_NODE_PROJECT_CHECK_H

#include "cmd/cli/output.h"
#include "cmd/node/project/project_impl.h"

typedef enum check_level { CHECK_OK, CHECK_WARNING, CHECK_ERROR } check_level;

typedef struct check {
  cli_output out;
  project_file *file;
  certs certs;
  km_secret_key *key; /* NULL: not to be had */
  km_id own;          /* with a key */
  size_t counts[CHECK_ERROR + 1];
} check;

/* A row. `hint`: how to mend it; NULL: nothing to do. */
void check_row(check *c, check_level level, const char *topic, const char *hint, const char *fmt,
               ...) KM_PRINTF(5, 6);
/* The same of an error of a function. */
void check_row_err(check *c, const char *topic, const char *hint, const km_errinfo *err);

/* Peers and shares (check_peers.c). */
void check_peers(check *c);
void check_shares(check *c);
/* Key, certificates, store (check_store.c). */
void check_key(check *c);
void check_store(check *c);
/* Whether ports are free (check_ports_io.c). */
void check_ports(check *c);

#endif /* KM_CMD_NODE_PROJECT_CHECK_H */
