#include "endpoint/qlog_io.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "endpoint/conn_impl.h"

/* Of a handshake whose client is not known yet; more is lost. */
#define EARLY_MAX 32768u

struct km_qlog {
  const km_env *env;
  FILE *file; /* NULL: not begun, or ended by a full disk */
  char *path; /* NULL once begun */
  uint8_t *early;
  size_t early_len, early_cap;
};

int km_qlog_check_dir(const char *dir, km_errinfo *err) {
  struct stat st;
  if (stat(dir, &st) != 0) {
    return km_fail_errno(err, errno, "cannot write qlog files to %s", dir);
  }
  if (!S_ISDIR(st.st_mode)) {
    return km_fail(err, KM_ERR_FILE_NOT_FOUND, "cannot write qlog files to %s: not a directory",
                   dir);
  }
  if (access(dir, W_OK | X_OK) != 0) {
    return km_fail_errno(err, errno, "cannot write qlog files to %s", dir);
  }
  return 0;
}

static FILE *open_file(const km_env *env, const char *path) {
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
  if (file == NULL) {
    KM_LOG(&env->logger, KM_LOG_WARN, KM_LOGC_QUIC, NULL, NULL, "qlog-failed",
           "cannot create %s (errno %d)", path, errno);
    if (fd >= 0) {
      close(fd);
    }
  }
  return file;
}

km_qlog *km_qlog_new(const km_env *env, const char *dir, const uint8_t *cid, size_t cid_len,
                     bool client) {
  char path[4096], hex[2 * KM_CID_MAX + 1];
  if (cid_len > KM_CID_MAX) {
    return NULL;
  }
  sodium_bin2hex(hex, sizeof hex, cid, cid_len);
  int n = snprintf(path, sizeof path, "%s/%s_%s.sqlog", dir, hex, client ? "client" : "server");
  if (n < 0 || (size_t)n >= sizeof path) {
    return NULL;
  }
  km_qlog *qlog = km_env_zalloc(env, 1, sizeof *qlog);
  if (qlog == NULL) {
    return NULL;
  }
  qlog->env = env;
  qlog->path = km_env_alloc(env, (size_t)n + 1);
  if (qlog->path == NULL) {
    km_env_free(env, qlog);
    return NULL;
  }
  memcpy(qlog->path, path, (size_t)n + 1);
  return qlog;
}

/* A full disk ends the log, not the connection. */
static void write_file(km_qlog *qlog, const void *data, size_t len) {
  if (qlog->file != NULL && fwrite(data, 1, len, qlog->file) != len) {
    KM_LOG(&qlog->env->logger, KM_LOG_WARN, KM_LOGC_QUIC, NULL, NULL, "qlog-failed",
           "writing stopped (errno %d)", errno);
    (void)fclose(qlog->file);
    qlog->file = NULL;
  }
}

static void forget_early(km_qlog *qlog) {
  km_env_free(qlog->env, qlog->early);
  qlog->early = NULL;
  qlog->early_len = qlog->early_cap = 0;
}

void km_qlog_begin(km_qlog *qlog) {
  if (qlog == NULL || qlog->path == NULL) {
    return;
  }
  qlog->file = open_file(qlog->env, qlog->path);
  km_env_free(qlog->env, qlog->path);
  qlog->path = NULL;
  if (qlog->early_len > 0) {
    write_file(qlog, qlog->early, qlog->early_len);
  }
  forget_early(qlog);
}

void km_qlog_free(km_qlog *qlog) {
  if (qlog == NULL) {
    return;
  }
  if (qlog->file != NULL) {
    (void)fclose(qlog->file);
  }
  forget_early(qlog);
  km_env_free(qlog->env, qlog->path);
  km_env_free(qlog->env, qlog);
}

/* Whole records or nothing. */
static void keep_early(km_qlog *qlog, const void *data, size_t len) {
  if (len > EARLY_MAX - qlog->early_len) {
    return;
  }
  if (qlog->early_len + len > qlog->early_cap) {
    size_t cap = 2 * (qlog->early_len + len);
    uint8_t *grown = km_env_alloc(qlog->env, cap);
    if (grown == NULL) {
      return;
    }
    if (qlog->early_len > 0) {
      memcpy(grown, qlog->early, qlog->early_len);
    }
    km_env_free(qlog->env, qlog->early);
    qlog->early = grown;
    qlog->early_cap = cap;
  }
  memcpy(qlog->early + qlog->early_len, data, len);
  qlog->early_len += len;
}

void km_qlog_write(void *user_data, uint32_t flags, const void *data, size_t len) {
  const km_conn *conn = user_data;
  km_qlog *qlog = conn->qlog;
  (void)flags;
  if (qlog == NULL || len == 0) {
    return;
  }
  if (qlog->path != NULL) {
    keep_early(qlog, data, len);
  } else {
    write_file(qlog, data, len);
  }
}
