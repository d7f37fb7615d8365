/* The daemon's log: a file that can be reopened, or stderr. */
#ifndef KM_CMD_NODE_DAEMON_LOG_FILE_IO_H
#define KM_CMD_NODE_DAEMON_LOG_FILE_IO_H

#include <keymesh/log.h>

#include "cmd/node/daemon/line_queue_io.h"

typedef struct log_file {
  char *path;        /* NULL: stderr */
  int fd;            /* -1: stderr */
  line_queue *lines; /* of stderr; NULL: it is written to at once */
} log_file;

/* `path` NULL: stderr. 0, or an error with its sentence. */
KM_NODISCARD int log_file_open(log_file *ret, const char *path, km_errinfo *err);
/* Opens it anew, under another name if `path` differs: it was renamed by who rotates logs. On
 * failure the old one is written on. */
KM_NODISCARD int log_file_reopen(log_file *f, const char *path, km_errinfo *err);
/* From now on lines for stderr wait in a queue when nobody reads them, until it is ended. On a
 * terminal, whose lines have colours, it does nothing. 0 or KM_ERR_NOMEM. */
KM_NODISCARD int log_file_queue(log_file *f, km_loop *loop);
void log_file_unqueue(log_file *f);
void log_file_close(log_file *f);

void log_file_write(void *ctx, const km_log_entry *entry); /* a km_log_fn; ctx: log_file */

#endif /* KM_CMD_NODE_DAEMON_LOG_FILE_IO_H */
