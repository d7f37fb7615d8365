#include "cmd/node/record_file_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/enc.h"
#include "base/env.h"

#define TEXT_MAX (2 * KM_RECORD_BYTES_MAX + 2) /* with a newline and one too many */

int record_file_read(const char *path, uint8_t ret[KM_RECORD_BYTES_MAX], km_errinfo *err) {
  char text[TEXT_MAX];
  struct stat st;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0 || fstat(fd, &st) != 0) {
    int rv = km_fail_errno(err, errno, "cannot read %.100s", path);
    if (fd >= 0) {
      (void)close(fd);
    }
    return rv;
  }
  ssize_t n = S_ISREG(st.st_mode) ? read(fd, text, sizeof text) : -1;
  (void)close(fd);
  size_t len = n < 0 ? 0 : (size_t)n;
  while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r')) {
    len--;
  }
  if (len == 0 || len % 2 != 0 || len / 2 > KM_RECORD_BYTES_MAX ||
      !km_hex_decode(ret, len / 2, text, len)) {
    return km_fail(err, KM_ERR_BAD_RECORD, "%.100s holds no key name record", path);
  }
  return (int)(len / 2);
}

static bool write_all(int fd, const char *text, size_t len) {
  while (len > 0) {
    ssize_t n = write(fd, text, len);
    if (n < 0 && errno != EINTR) {
      return false;
    }
    text += n > 0 ? n : 0;
    len -= n > 0 ? (size_t)n : 0;
  }
  return true;
}

int record_file_write(const char *path, const uint8_t *record, size_t len, km_errinfo *err) {
  char text[TEXT_MAX], temporary[4096];
  int n = snprintf(temporary, sizeof temporary, "%s.%ld", path, (long)getpid());
  if (n < 0 || (size_t)n >= sizeof temporary || len > KM_RECORD_BYTES_MAX) {
    return km_fail(err, KM_ERR_INVALID, "the path of the record's file is too long");
  }
  km_hex_encode(text, record, len);
  text[2 * len] = '\n';
  int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  bool ok = fd >= 0 && write_all(fd, text, 2 * len + 1) && fsync(fd) == 0;
  int saved = errno;
  if (fd >= 0 && close(fd) != 0 && ok) {
    ok = false;
    saved = errno;
  }
  if (ok && rename(temporary, path) != 0) {
    ok = false;
    saved = errno;
  }
  if (ok) {
    return 0;
  }
  if (fd >= 0) {
    (void)unlink(temporary);
  }
  return km_fail_errno(err, saved, "cannot write %.100s", path);
}
