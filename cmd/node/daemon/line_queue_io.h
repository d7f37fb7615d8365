/* Lines for a program that reads our output, or does not: a pipe that nobody reads must
 * not stop the node, nor a full disk silence it. What cannot be written at once waits; past a limit
 * lines are left out, which is told when there is room again. */
#ifndef KM_CMD_NODE_DAEMON_LINE_QUEUE_IO_H
#define KM_CMD_NODE_DAEMON_LINE_QUEUE_IO_H

#include <keymesh/loop.h>
#include <stdbool.h>
#include <stdint.h>

#define LINE_QUEUE_MAX ((size_t)4 << 20) /* bytes that wait */

typedef struct line_queue line_queue;

/* What was left out, as a line to be written in its place; free with free(). NULL: none. */
typedef char *(*line_queue_lost_fn)(void *ctx, uint64_t lines);

/* For `fd`, which stays the caller's. 0 or KM_ERR_NOMEM. */
KM_NODISCARD int line_queue_open(line_queue **ret, km_loop *loop, int fd, line_queue_lost_fn lost,
                                 void *ctx);
void line_queue_add(line_queue *q, const char *line);
/* Writes what waits as long as somebody reads it. 0, or the errno of a write that failed for
 * another reason than that the reader left: for good, or the last one, of a full disk. NULL does
 * nothing. */
int line_queue_close(line_queue *q);

#endif /* KM_CMD_NODE_DAEMON_LINE_QUEUE_IO_H */
