#include "cmd/node/ctl/process_io.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

void process_watch_open(process_watch *w, long pid) {
  *w = (process_watch){.pid = pid, .fd = -1};
#ifdef SYS_pidfd_open
  /* Sees the end also of one that nobody has waited for yet, and takes no other process for it. */
  if (pid > 0) {
    w->fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
  }
#endif
}

bool process_watch_ended(const process_watch *w, int wait_ms) {
  struct pollfd end = {.fd = w->fd, .events = POLLIN};
  if (w->fd >= 0) {
    return poll(&end, 1, wait_ms) > 0;
  }
  bool gone = w->pid > 0 && kill((pid_t)w->pid, 0) != 0 && errno == ESRCH;
  if (!gone) {
    (void)poll(NULL, 0, wait_ms);
  }
  return gone;
}

void process_watch_close(process_watch *w) {
  if (w->fd >= 0) {
    (void)close(w->fd);
    w->fd = -1;
  }
}
