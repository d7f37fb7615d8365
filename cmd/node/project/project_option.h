/* What the commands of a project have in common: --config, --json, and reading the project. */
#ifndef KM_CMD_NODE_PROJECT_PROJECT_OPTION_H
#define KM_CMD_NODE_PROJECT_PROJECT_OPTION_H

#include "cmd/cli/options.h"
#include "cmd/cli/output.h"

typedef struct project_option {
  const char *config;
  bool json;
} project_option;

/* Rows of an option table. */
#define PROJECT_OPTION_ROWS(o)                                                                     \
  {"--config",                                                                                     \
   CLI_TEXT,                                                                                       \
   &(o).config,                                                                                    \
   "PATH",                                                                                         \
   "the project's configuration or folder; else $KM_PROJECT, else here",                           \
   0,                                                                                              \
   0},                                                                                             \
  {                                                                                                \
    "--json", CLI_FLAG, &(o).json, NULL, "one JSON object a line", 0, 0                            \
  }

#endif /* KM_CMD_NODE_PROJECT_PROJECT_OPTION_H */
