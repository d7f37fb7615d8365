/* What a command says: sentences for people, or one JSON object a line for machines. */
#ifndef KM_CMD_CLI_OUTPUT_H
#define KM_CMD_CLI_OUTPUT_H

#include <cjson/cJSON.h>
#include <keymesh/keymesh.h>
#include <stdbool.h>
#include <stddef.h>

/* Exit statuses; scripts rely on them. */
enum {
  CLI_EXIT_OK = 0,
  CLI_EXIT_FAILED = 1,
  CLI_EXIT_USAGE = 2,
  CLI_EXIT_UNREACHABLE = 3,
  CLI_EXIT_WRONG_KEY = 4,
  CLI_EXIT_ALPN = 5,
  CLI_EXIT_LOST = 6,
  CLI_EXIT_RELAYED = 7 /* km-node why: connected, not directly */
};

typedef struct cli_output {
  bool json;
  /* Takes the lines instead of stdout, without their ends; NULL: none does. */
  void (*line)(void *ctx, const char *text);
  void *ctx;
} cli_output;

void cli_output_init(cli_output *out, bool json);

/* A new event object; NULL without --json or memory. cli_emit prints and frees it. */
cJSON *cli_event(const cli_output *out, const char *name);
void cli_emit(cJSON *event);
/* The same for an output whose lines somebody else takes. */
void cli_emit_to(const cli_output *out, cJSON *event);
void cli_add_text(cJSON *event, const char *name, const char *text);
/* Bytes of a peer: shown as they are when they are UTF-8, else as hex. */
void cli_add_bytes(cJSON *event, const char *name, const void *bytes, size_t len);
void cli_add_number(cJSON *event, const char *name, double value);
void cli_add_null(cJSON *event, const char *name);
/* Members "path", "addr" and "rtt_ms". */
void cli_add_path(cJSON *event, const km_path_info *path);

/* A line for people on stdout; nothing with --json. */
void cli_say(const cli_output *out, const char *fmt, ...) KM_PRINTF(2, 3);

/* True when somebody sits there and waits: progress may be shown on stderr. */
bool cli_watched(const cli_output *out);

/* An error: event on stdout with --json, a sentence and what to do about it on stderr without.
 * Returns `status`. */
int cli_error(const cli_output *out, int status, const km_errinfo *err);
/* The exit status that an error of the library stands for. */
int cli_status_of(int code);

const char *cli_path_name(const km_path_info *path);
#define CLI_PATH_TEXT_CAP 300
/* The peer's address, or the relay's url; cut to fit. Returns `buf`. */
const char *cli_path_addr(const km_path_info *path, char buf[CLI_PATH_TEXT_CAP]);

#endif /* KM_CMD_CLI_OUTPUT_H */
