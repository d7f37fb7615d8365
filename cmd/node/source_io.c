#include "cmd/node/source_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GREETING "hello from km-node"
#define COMPARE_BYTES 65536

struct source {
  const char *text; /* NULL: a file */
  int fd;
  uint64_t size;
  uint8_t compare[COMPARE_BYTES];
};

static int failed(km_errinfo *err, int code, const char *what, const char *path) {
  memset(err, 0, sizeof *err);
  err->code = code;
  err->sys_errno = errno;
  (void)snprintf(err->text, sizeof err->text, "%s %.100s: %s", what, path, strerror(errno));
  return code;
}

/* Standard input can be read once only. */
static int spool_stdin(km_errinfo *err) {
  char buf[COMPARE_BYTES];
  FILE *file = tmpfile();
  size_t n;
  if (file == NULL) {
    return failed(err, KM_ERR_IO, "cannot put aside", "standard input");
  }
  while ((n = fread(buf, 1, sizeof buf, stdin)) > 0) {
    if (fwrite(buf, 1, n, file) != n) {
      break;
    }
  }
  int fd = ferror(stdin) || ferror(file) || fflush(file) != 0 ? -1 : dup(fileno(file));
  int rv = fd < 0 ? failed(err, KM_ERR_IO, "cannot put aside", "standard input") : fd;
  (void)fclose(file);
  return rv;
}

/* O_NONBLOCK: a FIFO without a writer must not hold us. */
static int open_file(source *s, const char *path, km_errinfo *err) {
  struct stat st;
  s->fd = strcmp(path, "-") == 0 ? spool_stdin(err) : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (s->fd == -1) {
    return failed(err, KM_ERR_FILE_NOT_FOUND, "cannot read", path);
  }
  if (s->fd < 0) {
    return s->fd;
  }
  if (fstat(s->fd, &st) != 0) {
    return failed(err, KM_ERR_IO, "cannot read", path);
  }
  if (!S_ISREG(st.st_mode)) {
    err->code = KM_ERR_INVALID;
    (void)snprintf(err->text, sizeof err->text,
                   "%.100s is no regular file; to send what a pipe gives, use --file -", path);
    return err->code;
  }
  s->size = (uint64_t)st.st_size;
  return 0;
}

int source_open(source **ret, const char *text, const char *file, km_errinfo *err) {
  memset(err, 0, sizeof *err);
  if (text != NULL && file != NULL) {
    err->code = KM_ERR_INVALID;
    (void)snprintf(err->text, sizeof err->text, "give --send or --file, not both");
    return err->code;
  }
  source *s = calloc(1, sizeof *s);
  if (s == NULL) {
    err->code = KM_ERR_NOMEM;
    return err->code;
  }
  s->fd = -1;
  int rv = 0;
  if (file != NULL) {
    rv = open_file(s, file, err);
  } else {
    s->text = text != NULL ? text : GREETING;
    s->size = strlen(s->text);
  }
  if (rv != 0) {
    source_close(s);
    return rv;
  }
  *ret = s;
  return 0;
}

void source_close(source *s) {
  if (s->fd >= 0) {
    (void)close(s->fd);
  }
  free(s);
}

uint64_t source_size(const source *s) {
  return s->size;
}

bool source_read(source *s, uint64_t offset, void *buf, size_t len) {
  if (offset > s->size || len > s->size - offset) {
    return false;
  }
  if (s->text != NULL) {
    memcpy(buf, s->text + offset, len);
    return true;
  }
  uint8_t *to = buf;
  while (len > 0) {
    ssize_t n = pread(s->fd, to, len, (off_t)offset);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      return false;
    }
    to += n;
    len -= (size_t)n;
    offset += (uint64_t)n;
  }
  return true;
}

int source_compare(source *s, uint64_t offset, const void *data, size_t len) {
  const uint8_t *at = data;
  while (len > 0) {
    size_t n = len < COMPARE_BYTES ? len : COMPARE_BYTES;
    if (offset > s->size || n > s->size - offset) {
      return KM_ERR_CRYPTO; /* longer than what was sent */
    }
    if (!source_read(s, offset, s->compare, n)) {
      return KM_ERR_IO;
    }
    if (memcmp(s->compare, at, n) != 0) {
      return KM_ERR_CRYPTO;
    }
    at += n;
    len -= n;
    offset += n;
  }
  return 0;
}
