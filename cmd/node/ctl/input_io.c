#include "cmd/node/ctl/input_io.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"

static int fail(km_errinfo *err, const char *verb, const char *path) {
  int number = errno;
  int code = number == ENOENT                      ? KM_ERR_FILE_NOT_FOUND
             : number == EACCES || number == EROFS ? KM_ERR_PERMISSION
             : number == ENOSPC                    ? KM_ERR_NO_SPACE
                                                   : KM_ERR_IO;
  (void)km_fail(err, code, "cannot %s %.100s: %s", verb, path, strerror(number));
  err->sys_errno = number;
  return code;
}

static int read_all(FILE *f, const char *name, size_t max, uint8_t **ret, size_t *ret_len,
                    km_errinfo *err) {
  size_t cap = 4096, len = 0, n;
  uint8_t *bytes = malloc(cap + 1);
  while (bytes != NULL && (n = fread(bytes + len, 1, cap - len, f)) > 0) {
    len += n;
    if (len > max) {
      free(bytes);
      return km_fail(err, KM_ERR_LIMIT, "%.100s has more than %zu bytes", name, max);
    }
    if (len == cap) {
      cap *= 2;
      uint8_t *more = realloc(bytes, cap + 1);
      if (more == NULL) {
        free(bytes);
      }
      bytes = more;
    }
  }
  if (bytes == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  if (ferror(f) != 0) {
    free(bytes);
    return fail(err, "read", name);
  }
  bytes[len] = 0;
  *ret = bytes;
  *ret_len = len;
  return 0;
}

int input_read(const char *path, size_t max, uint8_t **ret, size_t *ret_len, km_errinfo *err) {
  if (strcmp(path, "-") == 0) {
    return read_all(stdin, "standard input", max, ret, ret_len, err);
  }
  FILE *f = fopen(path, "rbe");
  if (f == NULL) {
    return fail(err, "open", path);
  }
  int rv = read_all(f, path, max, ret, ret_len, err);
  (void)fclose(f); /* nothing was written */
  return rv;
}

static bool make_room(char **line, size_t *cap, size_t used) {
  if (used < *cap) {
    return true;
  }
  size_t wanted = *cap == 0 ? 256 : 2 * *cap;
  char *more = realloc(*line, wanted);
  if (more == NULL) {
    return false;
  }
  *line = more;
  *cap = wanted;
  return true;
}

int input_line(FILE *from, size_t max, char **line, size_t *cap, size_t *ret_len, km_errinfo *err) {
  size_t len = 0;
  int c;
  *ret_len = 0;
  while ((c = getc_unlocked(from)) != EOF && c != '\n') {
    if (len == max) {
      return km_fail(err, KM_ERR_LIMIT, "it has more than %zu bytes", max);
    }
    if (!make_room(line, cap, len + 1)) {
      return km_fail(err, KM_ERR_NOMEM, NULL);
    }
    (*line)[len++] = (char)c;
  }
  if (c == EOF && ferror(from) != 0) {
    return fail(err, "read", "the input");
  }
  if (!make_room(line, cap, len)) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  if (len > 0 && (*line)[len - 1] == '\r') {
    len--;
  }
  (*line)[len] = '\0';
  *ret_len = len;
  return c == EOF && len == 0 ? 0 : 1;
}

int output_write(const char *path, const uint8_t *bytes, size_t len, km_errinfo *err) {
  FILE *f = path == NULL ? stdout : fopen(path, "wbe");
  if (f == NULL) {
    return fail(err, "write", path);
  }
  bool ok = fwrite(bytes, 1, len, f) == len && fflush(f) == 0;
  int rv = ok ? 0 : fail(err, "write", path == NULL ? "standard output" : path);
  if (path != NULL && fclose(f) != 0 && rv == 0) {
    rv = fail(err, "write", path);
  }
  return rv;
}
