#include "endpoint/keylog_io.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/env.h"

#define LINE_MAX_BYTES 512

/* Of the open file: nobody else may read what is going to be in it. */
static int check_file(int fd, const char *path, km_errinfo *err) {
  struct stat st;
  if (fstat(fd, &st) != 0) {
    return km_fail_errno(err, errno, "cannot open the key log %s", path);
  }
  if (!S_ISREG(st.st_mode)) {
    return km_fail(err, KM_ERR_INVALID, "the key log %s is not a regular file", path);
  }
  if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    return km_fail(err, KM_ERR_PERMISSION,
                   "the key log %s can be read by others (mode %04o): run chmod 600 on it", path,
                   (unsigned)(st.st_mode & 07777));
  }
  if (st.st_uid != geteuid()) {
    return km_fail(err, KM_ERR_PERMISSION, "the key log %s belongs to another user", path);
  }
  return 0;
}

int km_keylog_open(const char *path, km_errinfo *err) {
  int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
  if (fd < 0 && errno == ELOOP) {
    return km_fail(err, KM_ERR_INVALID, "the key log %s is a symbolic link", path);
  }
  if (fd < 0 && errno == ENXIO) { /* a FIFO that nobody reads */
    return km_fail(err, KM_ERR_INVALID, "the key log %s is not a regular file", path);
  }
  if (fd < 0) {
    return km_fail_errno(err, errno, "cannot open the key log %s", path);
  }
  int rv = check_file(fd, path, err);
  if (rv != 0) {
    (void)close(fd);
    return rv;
  }
  return fd;
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
