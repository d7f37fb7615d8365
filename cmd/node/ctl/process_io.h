/* Another process, whose end is waited for. */
#ifndef KM_CMD_NODE_CTL_PROCESS_IO_H
#define KM_CMD_NODE_CTL_PROCESS_IO_H

#include <stdbool.h>

typedef struct process_watch {
  long pid;
  int fd; /* of the process, where the system has such; -1 */
} process_watch;

/* Of a process that runs now; 0: one that cannot be seen from here. */
void process_watch_open(process_watch *w, long pid);
/* Waits so long at most. True: it has ended. */
bool process_watch_ended(const process_watch *w, int wait_ms);
void process_watch_close(process_watch *w);

#endif /* KM_CMD_NODE_CTL_PROCESS_IO_H */
