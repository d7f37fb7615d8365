/* Key files. */
#include <errno.h>
#include <fcntl.h>
#include <keymesh/id.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/env.h"
#include "base/sealed_key.h"
#include "base/secret_key.h"

#define FILE_MAX 4096
#define PASSPHRASE_MAX 1024

/* The codes that id.h promises; whatever else the system may say is an I/O error. */
static int fail(km_errinfo *err, int sys_errno, const char *verb, const char *path) {
  int code = km_fail_errno(err, sys_errno, "cannot %s the key file %s", verb, path);
  switch (code) {
  case KM_ERR_FILE_NOT_FOUND:
  case KM_ERR_FILE_EXISTS:
  case KM_ERR_PERMISSION:
  case KM_ERR_NO_SPACE:
  case KM_ERR_NOMEM:
    return code;
  default:
    if (err != NULL) {
      err->code = KM_ERR_IO;
    }
    return KM_ERR_IO;
  }
}

/* --- reading --------------------------------------------------------------------------------- */

/* Checks the open file, so that what was checked is what is read. */
static int check_file(int fd, const char *path, km_errinfo *err) {
  struct stat st;
  if (fstat(fd, &st) != 0) {
    return fail(err, errno, "read", path);
  }
  if (!S_ISREG(st.st_mode)) {
    return km_fail(err, KM_ERR_BAD_KEY_FILE, "the key file %s is not a regular file", path);
  }
  if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    return km_fail(err, KM_ERR_KEY_FILE_MODE,
                   "the key file %s can be read by others (mode %04o): run chmod 600 on it", path,
                   (unsigned)(st.st_mode & 07777));
  }
  if (st.st_uid != geteuid() && st.st_uid != 0 && geteuid() != 0) {
    return km_fail(err, KM_ERR_KEY_FILE_MODE, "the key file %s belongs to another user", path);
  }
  if (st.st_size > FILE_MAX) {
    return km_fail(err, KM_ERR_BAD_KEY_FILE, "the key file %s is longer than %d bytes", path,
                   FILE_MAX);
  }
  return 0;
}

static int read_all(int fd, const char *path, char *buf, size_t cap, size_t *ret_len,
                    km_errinfo *err) {
  size_t len = 0;
  for (;;) {
    ssize_t n = read(fd, buf + len, cap - len);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      return fail(err, errno, "read", path);
    }
    len += (size_t)n;
    if (n == 0 || len == cap) {
      *ret_len = len;
      return 0;
    }
  }
}

/* Reads the whole file into `buf`, which the caller wipes. */
static int read_file(const char *path, char buf[FILE_MAX + 1], size_t *ret_len, km_errinfo *err) {
  if (path == NULL) {
    return km_fail(err, KM_ERR_FILE_NOT_FOUND, "no key file was named");
  }
  /* Without O_NONBLOCK a named pipe would hold us up. */
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) {
    return fail(err, errno, "open", path);
  }
  int rv = check_file(fd, path, err);
  if (rv == 0) {
    rv = read_all(fd, path, buf, FILE_MAX + 1, ret_len, err);
  }
  (void)close(fd);
  return rv;
}

static int parse_file(km_secret_key **ret, const char *path, const char *text, size_t len,
                      km_errinfo *err) {
  if (km_sealed_key_is(text, len)) {
    return km_fail(err, KM_ERR_KEY_SEALED,
                   "the key file %s is sealed: it is opened with its passphrase only", path);
  }
  if (len > 0 && text[len - 1] == '\n') {
    len--;
  }
  int rv = km_secret_key_parse(ret, text, len, NULL);
  if (rv == KM_ERR_BAD_KEY) {
    return km_fail(err, KM_ERR_BAD_KEY_FILE, "the key file %s holds no secret key%s", path,
                   len == 0 ? ": it is empty" : "");
  }
  return rv == 0 ? 0 : km_fail(err, rv, NULL);
}

int km_secret_key_load(km_secret_key **ret, const char *path, km_errinfo *err) {
  char buf[FILE_MAX + 1];
  size_t len = 0;
  int rv = read_file(ret == NULL ? NULL : path, buf, &len, err);
  if (rv == 0) {
    rv = parse_file(ret, path, buf, len, err);
  }
  sodium_memzero(buf, sizeof buf);
  return rv;
}

bool km_secret_key_is_sealed(const char *path) {
  char buf[FILE_MAX + 1];
  size_t len = 0;
  bool sealed = read_file(path, buf, &len, NULL) == 0 && km_sealed_key_is(buf, len);
  sodium_memzero(buf, sizeof buf);
  return sealed;
}

static int unseal(km_secret_key **ret, const char *path, const char *text, size_t text_len,
                  const char *passphrase, size_t len, km_errinfo *err) {
  uint8_t seed[KM_SECRET_KEY_BYTES];
  if (!km_sealed_key_is(text, text_len)) {
    return km_fail(err, KM_ERR_BAD_KEY_FILE,
                   "the key file %s is not sealed: it needs no passphrase", path);
  }
  int rv = km_sealed_key_decode(seed, text, text_len, passphrase, len);
  switch (rv) {
  case 0:
    rv = km_secret_key_from_bytes(ret, seed);
    sodium_memzero(seed, sizeof seed);
    return rv == 0 ? 0 : km_fail(err, rv, NULL);
  case KM_ERR_BAD_KEY:
    return km_fail(err, KM_ERR_BAD_KEY_FILE,
                   "the key file %s is sealed in a way that is not known, or damaged", path);
  case KM_ERR_CRYPTO:
    return km_fail(err, KM_ERR_KEY_SEALED, "the passphrase does not open the key file %s", path);
  case KM_ERR_NOMEM:
    return km_fail(err, rv, "there is not enough memory to open the key file %s", path);
  default:
    return km_fail(err, rv, NULL);
  }
}

int km_secret_key_load_sealed(km_secret_key **ret, const char *path, const char *passphrase,
                              size_t len, km_errinfo *err) {
  char buf[FILE_MAX + 1];
  size_t text_len = 0;
  if (passphrase == NULL || len == 0 || len > PASSPHRASE_MAX) {
    return km_fail(err, KM_ERR_INVALID, "a passphrase has 1 to %d bytes", PASSPHRASE_MAX);
  }
  int rv = read_file(ret == NULL ? NULL : path, buf, &text_len, err);
  if (rv == 0) {
    rv = unseal(ret, path, buf, text_len, passphrase, len, err);
  }
  sodium_memzero(buf, sizeof buf);
  return rv;
}

/* --- writing --------------------------------------------------------------------------------- */

static int write_all(int fd, const char *text, size_t len) {
  while (len > 0) {
    ssize_t n = write(fd, text, len);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      return errno;
    }
    text += n;
    len -= (size_t)n;
  }
  return fsync(fd) == 0 ? 0 : errno;
}

/* Makes the name durable; where the directory cannot be opened it is the file system's matter. */
static void sync_directory(const char *path) {
  char dir[FILE_MAX];
  const char *slash = strrchr(path, '/');
  size_t len = slash == NULL ? 0 : (size_t)(slash - path);
  if (len >= sizeof dir) {
    return;
  }
  memcpy(dir, path, len);
  dir[len] = '\0';
  int fd = open(slash == NULL ? "." : (len == 0 ? "/" : dir), O_RDONLY | O_CLOEXEC | O_DIRECTORY);
  if (fd >= 0) {
    (void)fsync(fd);
    (void)close(fd);
  }
}

/* The key goes to a temporary file first; link() then gives it its name, and fails where a file of
 * that name is. */
static int write_new(const char *path, const char *text, size_t len, km_errinfo *err) {
  size_t cap = strlen(path) + sizeof ".XXXXXX";
  char *temp = malloc(cap);
  if (temp == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  (void)snprintf(temp, cap, "%s.XXXXXX", path);
  int fd = mkostemp(temp, O_CLOEXEC); /* mode 0600 */
  if (fd < 0) {
    int rv = fail(err, errno, "write", path);
    free(temp);
    return rv;
  }
  int failed = write_all(fd, text, len);
  if (close(fd) != 0 && failed == 0) {
    failed = errno;
  }
  if (failed == 0 && link(temp, path) != 0) {
    failed = errno;
  }
  (void)unlink(temp);
  free(temp);
  if (failed == 0) {
    sync_directory(path);
    return 0;
  }
  return fail(err, failed, "write", path);
}

int km_secret_key_save(const km_secret_key *key, const char *path, km_errinfo *err) {
  if (key == NULL || path == NULL || path[0] == '\0') {
    return km_fail(err, KM_ERR_FILE_NOT_FOUND, "no key file was named");
  }
  char text[KM_SECRET_KEY_TEXT_CAP];
  int len = km_secret_key_format(key, KM_KEY_PEM, text, sizeof text);
  int rv = len < 0 ? km_fail(err, len, NULL) : write_new(path, text, (size_t)len, err);
  sodium_memzero(text, sizeof text);
  return rv;
}

int km_secret_key_save_sealed(const km_secret_key *key, const char *path, const char *passphrase,
                              size_t len, km_errinfo *err) {
  if (key == NULL || path == NULL || path[0] == '\0') {
    return km_fail(err, KM_ERR_FILE_NOT_FOUND, "no key file was named");
  }
  if (passphrase == NULL || len == 0 || len > PASSPHRASE_MAX) {
    return km_fail(err, KM_ERR_INVALID, "a passphrase has 1 to %d bytes", PASSPHRASE_MAX);
  }
  char text[KM_SEALED_TEXT_CAP];
  km_sealed_config config = {.passes = crypto_pwhash_OPSLIMIT_MODERATE,
                             .memory_kib = crypto_pwhash_MEMLIMIT_MODERATE / 1024};
  randombytes_buf(config.salt, sizeof config.salt);
  randombytes_buf(config.nonce, sizeof config.nonce);
  int n =
      km_sealed_key_encode(km_secret_key_seed(key), passphrase, len, &config, text, sizeof text);
  return n < 0 ? km_fail(err, n, "the key cannot be sealed: %s", km_strerror(n))
               : write_new(path, text, (size_t)n, err);
}
