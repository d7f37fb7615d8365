/* How commands ask a node: the daemon of the project when one runs, else the store itself. */
#ifndef KM_CMD_NODE_CTL_CTL_H
#define KM_CMD_NODE_CTL_CTL_H

#include "cmd/cli/options.h"
#include "cmd/cli/output.h"
#include "cmd/node/ctl/show.h"
#include "cmd/node/daemon/control_io.h"

/* Options that all of them take. */
typedef struct ctl_options {
  const char *config;
  bool json, full;
} ctl_options;

/* Their rows of an option table. */
#define CTL_OPTIONS(o)                                                                             \
  {"--config",                                                                                     \
   CLI_TEXT,                                                                                       \
   &(o)->config,                                                                                   \
   "FILE",                                                                                         \
   "keymesh.yaml or its folder (default $KM_PROJECT, or here)",                                    \
   0,                                                                                              \
   0},                                                                                             \
  {                                                                                                \
    "--json", CLI_FLAG, &(o)->json, NULL, "one JSON object a line", 0, 0                           \
  }

#define CTL_OPTION_LONG(o)                                                                         \
  { "--long", CLI_FLAG, &(o)->full, NULL, "show ids, values and times in full", 0, 0 }

typedef struct ctl {
  show show;
  project *project;
  control_client *client; /* of the daemon; NULL: none runs */
  km_secret_key *key;     /* once it was needed */
  node_context node;      /* without one: the store, once a request needs it */
} ctl;

/* Answers, in the order they come. Both may be NULL; what they are given is the caller's. */
typedef struct ctl_reader {
  void (*row)(void *ctx, cJSON *row);
  void (*result)(void *ctx, cJSON *result); /* `result` may be NULL */
  void *ctx;
} ctl_reader;

/* Reads the project, looks for its daemon. Where the file has a mistake a daemon that runs is asked
 * all the same, after a warning. 0, or an exit status after the error was printed; then there is
 * nothing to close. */
int ctl_open(ctl *c, const ctl_options *options);
/* The same for what reads the file again or writes to it: a mistake in it is an error. */
int ctl_open_strict(ctl *c, const ctl_options *options);
void ctl_close(ctl *c);

/* Without a daemon: opens the store now, not at the first request. 0 or an error. */
int ctl_open_store(ctl *c, km_errinfo *err);
/* Lets others have it until it is needed again. */
void ctl_release_store(ctl *c);

/* One request to its end. `args` is freed; NULL is no memory. 0 or the error's code. */
int ctl_ask(ctl *c, const char *name, cJSON *args, const ctl_reader *reader, km_errinfo *err);
/* The same, shown (show.h); errors are printed. The exit status. */
int ctl_run(ctl *c, const char *name, cJSON *args);
/* Prints an error. The exit status it stands for. */
int ctl_say_error(const cli_output *out, const km_errinfo *err);
int ctl_fail(const ctl *c, const km_errinfo *err);

/* ctl_open, ctl_run, ctl_close. */
int ctl_once(const ctl_options *options, const char *name, cJSON *args);

/* Complains of the command line, with the exit status for it. */
int ctl_usage(bool json, const km_errinfo *err);

/* Arguments: text NULL is left out. */
cJSON *ctl_args(const char *name, const char *text, ...) __attribute__((sentinel));

#endif /* KM_CMD_NODE_CTL_CTL_H */
