#include "cmd/cli/file_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "base/env.h"

/* Room for one more byte and the NUL. 0 or an errno. */
static int make_room(file_text *f, size_t *cap) {
  if (f->len + 1 < *cap) {
    return 0;
  }
  if (f->len > FILE_MAX) {
    return EFBIG;
  }
  size_t wanted = *cap == 0 ? 4096 : *cap * 2;
  char *grown = realloc(f->bytes, wanted);
  if (grown == NULL) {
    return ENOMEM;
  }
  f->bytes = grown;
  *cap = wanted;
  return 0;
}

/* Reads to the end, in steps, as not every file knows its length. 0 or an errno. */
static int read_all(int fd, file_text *f) {
  size_t cap = 0;
  int sys_errno;
  while ((sys_errno = make_room(f, &cap)) == 0) {
    ssize_t n = read(fd, f->bytes + f->len, cap - f->len - 1);
    if (n == 0) {
      f->bytes[f->len] = '\0';
      return f->len > FILE_MAX ? EFBIG : 0;
    }
    if (n < 0 && errno != EINTR) {
      return errno;
    }
    f->len += n > 0 ? (size_t)n : 0;
  }
  return sys_errno;
}

static bool is_world_readable(const struct stat *st) {
  return S_ISREG(st->st_mode) && (st->st_mode & S_IROTH) != 0;
}

int file_read(file_text *ret, const char *path, const char *what, km_errinfo *err) {
  struct stat st;
  *ret = (file_text){0};
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
  if (fd < 0) {
    return km_fail_errno(err, errno, "cannot read the %s %.80s", what, path);
  }
  int sys_errno = fstat(fd, &st) != 0 ? errno : read_all(fd, ret);
  (void)close(fd); /* was only read */
  if (sys_errno == 0) {
    ret->world_readable = is_world_readable(&st);
    return 0;
  }
  file_free(ret);
  if (sys_errno == EISDIR || sys_errno == EFBIG) {
    return km_fail(err, KM_ERR_INVALID, "cannot read the %s %.80s: it is %s", what, path,
                   sys_errno == EISDIR ? "a folder" : "longer than 8 MiB");
  }
  return km_fail_errno(err, sys_errno, "cannot read the %s %.80s", what, path);
}

bool file_is_world_readable(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && is_world_readable(&st);
}

void file_free(file_text *f) {
  if (f->bytes != NULL) {
    sodium_memzero(f->bytes, f->len);
  }
  free(f->bytes);
  *f = (file_text){0};
}
