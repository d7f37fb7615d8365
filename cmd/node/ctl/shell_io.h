/* The shell on standard input: beside a running node, or as a program of its own. */
#ifndef KM_CMD_NODE_CTL_SHELL_IO_H
#define KM_CMD_NODE_CTL_SHELL_IO_H

#include "cmd/node/ctl/shell.h"

typedef struct shell shell;

/* `km-node run --interactive`: reads commands from standard input on the node's loop, without
 * keeping the loop from its work. On a terminal Ctrl-C is a key of the shell, no signal. `on_quit`:
 * quit, Ctrl-D or the end of the input, with the exit status of the last command that failed (0 on
 * a terminal); shell_detach may be called in it. 0, KM_ERR_NOMEM or KM_ERR_SYSTEM. */
KM_NODISCARD int shell_attach(shell **ret, node_context *node,
                              void (*on_quit)(void *ctx, int status), void *ctx, km_errinfo *err);
/* The terminal is as before. Call it before the loop is freed. NULL does nothing. */
void shell_detach(shell *s);

typedef struct shell_setup {
  km_loop *loop;
  const project *project;
  bool json;
  shell_ask_fn ask;
  void *ask_ctx;
  const char *greeting; /* to a terminal */
  void (*on_quit)(void *ctx, int status);
  void *ctx;
} shell_setup;

/* The same for whoever asks in another way. */
KM_NODISCARD int shell_start(shell **ret, const shell_setup *setup, km_errinfo *err);

#endif /* KM_CMD_NODE_CTL_SHELL_IO_H */
