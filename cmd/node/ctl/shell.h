/* The shell without its terminal: lines in, requests out, answers shown. */
#ifndef KM_CMD_NODE_CTL_SHELL_H
#define KM_CMD_NODE_CTL_SHELL_H

#include "cmd/node/ctl/show.h"
#include "cmd/node/ctl/words.h"
#include "cmd/node/daemon/request.h"

/* Whom it asks: as request_run, except that `args` is freed. */
typedef void (*shell_ask_fn)(void *ctx, const char *name, cJSON *args, const request_reply *reply,
                             request **ret);

typedef struct shell_core {
  show show;
  const project *project;
  shell_ask_fn ask;
  void *ask_ctx;
  void (*on_idle)(void *ctx); /* a command that went on has ended; may be NULL */
  void *idle_ctx;
  char share[KM_SHARE_NAME_MAX + 1]; /* that commands are about when they name none; "": none */
  request *running;
  bool waiting, in_line; /* for an answer; within shell_core_line */
  bool quit;
  int status; /* the exit status of the last command that failed */
} shell_core;

/* Uses the first configured share. */
void shell_core_init(shell_core *s, const project *p, bool json, shell_ask_fn ask, void *ask_ctx);
/* Runs a line. When `waiting` is true afterwards it goes on, until on_idle or
 * shell_core_cancel. */
void shell_core_line(shell_core *s, const char *line);
void shell_core_close(shell_core *s);
void shell_core_cancel(shell_core *s); /* nothing is under way: does nothing */
/* Prints an error and keeps its exit status. */
void shell_core_fail(shell_core *s, const km_errinfo *err);
#define SHELL_PROMPT_CAP (KM_SHARE_NAME_MAX + 8)
const char *shell_core_prompt(const shell_core *s, char buf[SHELL_PROMPT_CAP]);

/* --- commands (shell_commands.c) --- */

/* What a command needs, word by word, as members of its request:
 *   "key"     a word, which must be there
 *   "share?"  a word that may be left out
 *   "share?@" the same: without it the share in use
 *   "@share"  the share in use, without a word
 *   "json..." JSON: the rest of the line as it is
 * "value" may be any bytes; "limit" is a number. */
typedef struct shell_command {
  const char *name, *request; /* request NULL: the shell's own */
  const char *args;
  const char *usage, *help;
} shell_command;

extern const shell_command shell_commands[]; /* ends with a NULL name */
const shell_command *shell_command_find(const char *name);
/* The arguments of its request. 0 or KM_ERR_INVALID, KM_ERR_NOMEM. */
KM_NODISCARD int shell_command_args(const shell_core *s, const shell_command *command,
                                    const word_list *w, const char *line, cJSON **ret,
                                    km_errinfo *err);
/* Which member the word number `at` (1: behind the command) is; "" for none. Cut to fit. */
void shell_command_member(const shell_command *command, size_t at, char *buf, size_t cap);
/* Prints the list of commands, or of one. */
void shell_help(const shell_core *s, const char *name);

/* --- completion (shell_complete.c) --- */

typedef struct shell_choices {
  char **at; /* what the word could be, sorted, each once */
  size_t count, cap;
  char *insert; /* what the word becomes, quoted where need be; NULL: as it is */
  size_t from;  /* the word's first byte in the line */
} shell_choices;

/* What the word that ends at byte `len` of the line could become. Free with shell_choices_free. */
void shell_complete(shell_core *s, const char *line, size_t len, shell_choices *ret);
void shell_choices_free(shell_choices *c);

#endif /* KM_CMD_NODE_CTL_SHELL_H */
