/* Command lines, from tables. */
#ifndef KM_CMD_CLI_OPTIONS_H
#define KM_CMD_CLI_OPTIONS_H

#include <keymesh/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum cli_kind {
  CLI_FLAG,   /* bool * */
  CLI_TEXT,   /* const char ** */
  CLI_NUMBER, /* uint64_t *, within min and max */
  CLI_LIST    /* cli_list *, may be given several times */
} cli_kind;

#define CLI_LIST_MAX 40

typedef struct cli_list {
  const char *at[CLI_LIST_MAX];
  size_t count;
} cli_list;

typedef struct cli_option {
  const char *name; /* "--bind" */
  cli_kind kind;
  void *target;
  const char *value; /* what --help calls the value: "IP:PORT" */
  const char *help;
  uint64_t min, max;
} cli_option;

typedef struct cli_command {
  const char *name; /* "km-node node1" */
  const char *usage;
  const char *about;
  const char *example;
  const cli_option *options; /* ends with a NULL name */
  size_t min_words, max_words;
} cli_command;

/* Words that are no options. */
typedef struct cli_words {
  const char *at[CLI_LIST_MAX];
  size_t count;
} cli_words;

typedef enum cli_result { CLI_RUN, CLI_HELPED, CLI_BAD } cli_result;

/* Fills the targets. CLI_HELPED: --help was printed. CLI_BAD: a sentence was left in `err`. */
cli_result cli_parse(const cli_command *command, int argc, char **argv, cli_words *ret_words,
                     km_errinfo *err);
void cli_print_help(const cli_command *command);

/* What --log says, else $KM_LOG; NULL: neither, or nothing in it. */
const char *cli_log_filter(const char *option);

/* The nearest of `names` (NULL-terminated) to a mistyped word, or NULL. */
const char *cli_did_you_mean(const char *word, const char *const *names);

#endif /* KM_CMD_CLI_OPTIONS_H */
