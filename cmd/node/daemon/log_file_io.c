#include "cmd/node/daemon/log_file_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/env.h"

int log_file_open(log_file *ret, const char *path, km_errinfo *err) {
  *ret = (log_file){.fd = -1};
  if (path == NULL) {
    return 0;
  }
  int fd = open(
      path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW, 0600);
  if (fd < 0) {
    return km_fail_errno(err, errno, "cannot write the log %.120s", path);
  }
  ret->path = km_env_strdup(&km_env_system, path);
  if (ret->path == NULL) {
    (void)close(fd);
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  ret->fd = fd;
  return 0;
}

int log_file_reopen(log_file *f, const char *path, km_errinfo *err) {
  log_file fresh;
  int rv = log_file_open(&fresh, path, err);
  if (rv == 0) {
    fresh.lines = f->lines;
    log_file_close(f);
    *f = fresh;
  }
  return rv;
}

void log_file_close(log_file *f) {
  if (f->fd >= 0) {
    (void)close(f->fd);
  }
  km_env_free(&km_env_system, f->path);
  *f = (log_file){.fd = -1};
}

/* --- standard error --------------------------------------------------------------------------- */

static char *lost_line(void *ctx, uint64_t lines) {
  char text[96], line[256];
  (void)ctx;
  (void)snprintf(text, sizeof text, "lines=%llu nobody read them, or the disk was full",
                 (unsigned long long)lines);
  const km_log_entry entry = {.unix_ns = km_clock_wall().unix_ns,
                              .level = KM_LOG_WARN,
                              .component = KM_LOGC_MESH,
                              .event = "lost",
                              .text = text};
  (void)km_log_format(&entry, line, sizeof line);
  return strdup(line);
}

int log_file_queue(log_file *f, km_loop *loop) {
  return isatty(STDERR_FILENO) != 0
             ? 0
             : line_queue_open(&f->lines, loop, STDERR_FILENO, lost_line, NULL);
}

void log_file_unqueue(log_file *f) {
  (void)line_queue_close(f->lines); /* who could be told? */
  f->lines = NULL;
}

static void write_stderr(const log_file *f, const km_log_entry *entry) {
  char line[1024];
  if (f->lines == NULL) {
    km_log_to_stderr(NULL, entry);
    return;
  }
  int saved = errno;
  (void)km_log_format(entry, line, sizeof line);
  line_queue_add(f->lines, line);
  errno = saved;
}

/* --- writing ---------------------------------------------------------------------------------- */

void log_file_write(void *ctx, const km_log_entry *entry) {
  const log_file *f = ctx;
  char line[1024];
  if (f->fd < 0) {
    write_stderr(f, entry);
    return;
  }
  int saved = errno;
  size_t len = km_log_format(entry, line, sizeof line - 1);
  line[len++] = '\n';
  /* A full disk costs lines, and nothing else. */
  ssize_t n;
  do {
    n = write(f->fd, line, len);
  } while (n < 0 && errno == EINTR);
  errno = saved;
}
