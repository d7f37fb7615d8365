/* SIGINT and SIGTERM as a call on the loop. */
#ifndef KM_CMD_CLI_SIGNALS_IO_H
#define KM_CMD_CLI_SIGNALS_IO_H

#include <keymesh/loop.h>

/* Calls `fn(ctx)` from the loop at the first SIGINT or SIGTERM; a second ends the process at once.
 * SIGPIPE is ignored. Once a process. 0 or KM_ERR_SYSTEM. */
KM_NODISCARD int cli_signals_watch(km_loop *loop, void (*fn)(void *ctx), void *ctx);
void cli_signals_stop(void);

#endif /* KM_CMD_CLI_SIGNALS_IO_H */
