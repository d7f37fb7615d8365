#include "endpoint/keylog_io.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <unistd.h>

#include "base/env.h"

#define LINE_MAX_BYTES 512

int km_keylog_open(const char *path, km_errinfo *err) {
  int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  return fd >= 0 ? fd : km_fail_errno(err, errno, "cannot open the key log %s", path);
}

void km_keylog_write(int fd, const char *line) {
  char buf[LINE_MAX_BYTES];
  size_t len = strlen(line);
  if (len + 1 > sizeof buf) {
    return;
  }
  memcpy(buf, line, len);
  buf[len] = '\n';
  /* One write a line, so that lines of several processes do not mix. What cannot be written is
   * lost: a debugging aid must not stop a connection. */
  ssize_t n = write(fd, buf, len + 1);
  (void)n;
  sodium_memzero(buf, sizeof buf);
}

void km_keylog_close(int fd) {
  (void)close(fd);
}
