/* A shell command that is run for each message: the message's JSON is its standard input, and
 * nothing of it gets into the command. A few run at once, the rest waits; none runs for ever. The
 * process must ignore SIGPIPE, as cli_signals_watch has it: a command need not read. */
#ifndef KM_CMD_NODE_DAEMON_HOOK_IO_H
#define KM_CMD_NODE_DAEMON_HOOK_IO_H

#include <keymesh/loop.h>

#include "base/env.h"

#define HOOK_RUNNING_MAX 4
#define HOOK_WAITING_MAX 1000
#define HOOK_WAITING_BYTES ((size_t)16 << 20) /* of their JSON; a message has 1 MiB at most */
#define HOOK_LIMIT_MS 60000

typedef struct hook hook;

typedef struct hook_config {
  km_loop *loop;
  const char *folder;      /* it runs there */
  uint32_t limit_ms;       /* 0: HOOK_LIMIT_MS */
  const km_logger *logger; /* outlives it; failures are told there */
} hook_config;

/* What one run is told. */
typedef struct hook_message {
  const char *id, *type, *sender; /* $KM_MESSAGE_ID, $KM_MESSAGE_TYPE, $KM_MESSAGE_SENDER */
  const char *json;
} hook_message;

KM_NODISCARD int hook_open(hook **ret, const hook_config *config);
/* For messages from now on; NULL: none. 0 or KM_ERR_NOMEM. */
KM_NODISCARD int hook_set_command(hook *h, const char *command);
/* Runs it, or puts it into the queue. A full queue is told in the log. */
void hook_run(hook *h, const hook_message *message);
bool hook_is_busy(const hook *h);
/* What runs is sent SIGTERM, what waits is dropped. NULL does nothing. */
void hook_close(hook *h);

#endif /* KM_CMD_NODE_DAEMON_HOOK_IO_H */
