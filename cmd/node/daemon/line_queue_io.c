#include "cmd/node/daemon/line_queue_io.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RETRY_MS 20
#define DISK_RETRY_MS 1000
#define PATIENCE_MS 1000 /* at the end, with who reads nothing */
#define FIRST_CAP 4096

#ifndef PIPE_BUF
#define PIPE_BUF 512 /* POSIX: never less */
#endif

struct line_queue {
  km_loop *loop;
  int fd;
  line_queue_lost_fn lost_line;
  void *ctx;
  km_timer *timer;
  char *bytes;
  size_t start, len, cap; /* what waits: `len` bytes from `start` */
  uint64_t lost;          /* lines */
  int broken;             /* the errno of a write: no other is tried */
  int held;               /* the errno of the last write: a disk that may take more later */
};

/* --- the bytes -------------------------------------------------------------------------------- */

static bool make_room(line_queue *q, size_t more) {
  if (q->start > 0 && q->start + q->len + more > q->cap) {
    memmove(q->bytes, q->bytes + q->start, q->len);
    q->start = 0;
  }
  if (q->len + more <= q->cap) {
    return true;
  }
  size_t cap = q->cap == 0 ? FIRST_CAP : q->cap;
  while (cap < q->len + more) {
    cap *= 2;
  }
  char *bytes = realloc(q->bytes, cap);
  if (bytes != NULL) {
    q->bytes = bytes;
    q->cap = cap;
  }
  return bytes != NULL;
}

static bool append(line_queue *q, const char *line) {
  size_t len = strlen(line);
  if (len >= LINE_QUEUE_MAX - q->len || !make_room(q, len + 1)) {
    return false;
  }
  char *end = q->bytes + q->start + q->len;
  memcpy(end, line, len);
  end[len] = '\n';
  q->len += len + 1;
  return true;
}

static void give_up(line_queue *q, int sys_errno) {
  q->broken = sys_errno;
  q->start = q->len = 0;
}

/* A terminal that is gone says EIO too, for ever. */
static bool may_pass(int sys_errno, bool hung_up) {
  return sys_errno == ENOSPC || sys_errno == EDQUOT || sys_errno == EFBIG ||
         (sys_errno == EIO && !hung_up);
}

/* After a write that failed. False: not now. */
static bool go_on(line_queue *q, int sys_errno, bool hung_up) {
  if (sys_errno == EAGAIN) {
    return false;
  }
  if (may_pass(sys_errno, hung_up)) {
    q->held = sys_errno;
    return false;
  }
  if (sys_errno != EINTR) {
    give_up(q, sys_errno);
  }
  return true;
}

/* Whole lines while they fit: another queue may write to the same pipe. */
static size_t piece_len(const line_queue *q) {
  const char *from = q->bytes + q->start;
  size_t len = q->len;
  if (len > PIPE_BUF) {
    len = PIPE_BUF;
    while (len > 0 && from[len - 1] != '\n') {
      len--;
    }
  }
  return len > 0 ? len : PIPE_BUF;
}

/* A piece, if that does not block: a pipe that is ready takes PIPE_BUF bytes (POSIX, write). False:
 * not now. */
static bool write_piece(line_queue *q, int wait_ms) {
  struct pollfd ready = {.fd = q->fd, .events = POLLOUT};
  int rv = poll(&ready, 1, wait_ms);
  if (rv <= 0) {
    return rv < 0 && errno == EINTR;
  }
  ssize_t n = write(q->fd, q->bytes + q->start, piece_len(q));
  if (n < 0) {
    return go_on(q, errno, (ready.revents & POLLHUP) != 0);
  }
  q->held = 0;
  q->start += (size_t)n;
  q->len -= (size_t)n;
  return true;
}

static bool write_all(line_queue *q, int wait_ms) {
  while (q->len > 0 && write_piece(q, wait_ms)) {
  }
  if (q->len == 0) {
    q->start = 0;
  }
  return q->len == 0;
}

/* --- the queue -------------------------------------------------------------------------------- */

static void tell_lost(line_queue *q) {
  char *line = q->lost == 0 || q->broken != 0 ? NULL : q->lost_line(q->ctx, q->lost);
  if (line != NULL && append(q, line)) {
    q->lost = 0;
  }
  free(line);
}

static void on_timer(void *ctx);

static void flush(line_queue *q) {
  if (q->held != 0 && q->timer != NULL) {
    return; /* a disk is not asked again for each line */
  }
  if (write_all(q, 0) && q->lost > 0) {
    tell_lost(q);
    (void)write_all(q, 0);
  }
  if (q->len > 0 && q->timer == NULL &&
      km_timer_start(&q->timer, q->loop, q->held != 0 ? DISK_RETRY_MS : RETRY_MS, on_timer, q) !=
          0) {
    q->timer = NULL; /* no memory: the next line tries again */
  }
}

static void on_timer(void *ctx) {
  line_queue *q = ctx;
  q->timer = NULL;
  flush(q);
}

void line_queue_add(line_queue *q, const char *line) {
  if (q->broken != 0) {
    return;
  }
  /* Once some are missing, none follows before that is told. */
  if (q->lost > 0 || !append(q, line)) {
    q->lost++;
  }
  flush(q);
}

int line_queue_open(line_queue **ret, km_loop *loop, int fd, line_queue_lost_fn lost, void *ctx) {
  line_queue *q = calloc(1, sizeof *q);
  if (q == NULL) {
    return KM_ERR_NOMEM;
  }
  *q = (line_queue){.loop = loop, .fd = fd, .lost_line = lost, .ctx = ctx};
  *ret = q;
  return 0;
}

int line_queue_close(line_queue *q) {
  if (q == NULL) {
    return 0;
  }
  km_timer_cancel(q->timer);
  if (write_all(q, PATIENCE_MS) && q->lost > 0) {
    tell_lost(q);
  }
  (void)write_all(q, PATIENCE_MS);
  int broken = q->len > 0 ? q->held : q->broken == EPIPE ? 0 : q->broken;
  free(q->bytes);
  free(q);
  return broken;
}
