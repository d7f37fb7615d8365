/* What the commands without an endpoint share: a loop, a key, a km_discovery, and an end. */
#ifndef KM_CMD_NODE_FINDER_H
#define KM_CMD_NODE_FINDER_H

#include "cmd/node/discovery.h"

typedef struct finder_options {
  discovery_options discovery;
  const char *secret_key, *key_file, *log;
  bool json;
} finder_options;

#define FINDER_OPTIONS_MAX 32

/* Appends the rows of `o`; `publishes`: those of a secret key, and for telling of oneself, too. */
void finder_add_options(cli_option table[FINDER_OPTIONS_MAX], finder_options *o, bool publishes);

typedef struct finder {
  cli_output out;
  km_loop *loop;
  km_secret_key *key; /* NULL: none was given */
  km_discovery *discovery;
  km_timer *timer, *renewal; /* the command's own, cancelled at the end */
  int status;
  bool done;
} finder;

/* `setup`: only lan, no_mdns, no_publish count. 0, or an exit status after the error was printed.
 * `f` must be zeroed. */
int finder_open(finder *f, const finder_options *o, const discovery_setup *setup);
/* Runs until finder_finish, or a signal (130), frees all, returns the exit status. */
int finder_run(finder *f);
void finder_finish(finder *f, int status);

#endif /* KM_CMD_NODE_FINDER_H */
