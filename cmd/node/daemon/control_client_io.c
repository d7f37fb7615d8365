/* The client's end of the control socket: blocking. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/env.h"
#include "cmd/node/daemon/control_io.h"
#include "cmd/node/daemon/control_line.h"
#include "cmd/node/daemon/control_path_io.h"

#define ANSWER_MAX (16u << 20) /* bytes of a line: a value of 1 MiB in base64, or many peers */

struct control_client {
  int fd;
  double next_id;
  char *buf;
  size_t len, cap;
  size_t taken; /* of the bytes in it, by the line that was given last */
};

int control_client_open(control_client **ret, const char *path, km_errinfo *err) {
  int fd;
  int rv = control_path_check(path, err);
  if (rv != 0) {
    return rv;
  }
  int number = control_path_connect(path, &fd);
  if (number == ENOENT || number == ECONNREFUSED || number == ENOTDIR) {
    return km_fail(err, KM_ERR_NOT_FOUND, "no daemon runs: start it with km-node run");
  }
  if (number != 0) {
    return km_fail_errno(err, number, "cannot reach the daemon at %.100s", path);
  }
  control_client *c = calloc(1, sizeof *c);
  if (c == NULL) {
    (void)close(fd);
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  c->fd = fd;
  *ret = c;
  return 0;
}

void control_client_close(control_client *c) {
  if (c != NULL) {
    (void)close(c->fd);
    free(c->buf);
    free(c);
  }
}

void control_client_patience(control_client *c, uint64_t seconds) {
  const struct timeval limit = {.tv_sec = (time_t)seconds};
  (void)setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

long control_client_pid(const control_client *c) {
  return control_peer_pid(c->fd);
}

/* --- lines ------------------------------------------------------------------------------------ */

static int lost(km_errinfo *err) {
  return km_fail(err, KM_ERR_CLOSED, "the daemon ended, or closed the connection");
}

static int write_all(control_client *c, const char *bytes, size_t len, km_errinfo *err) {
  while (len > 0) {
    ssize_t n = send(c->fd, bytes, len, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      return errno == EPIPE || errno == ECONNRESET
                 ? lost(err)
                 : km_fail_errno(err, errno, "cannot ask the daemon");
    }
    bytes += n;
    len -= (size_t)n;
  }
  return 0;
}

static int read_more(control_client *c, km_errinfo *err) {
  if (c->len == c->cap) {
    size_t cap = c->cap == 0 ? 65536 : 2 * c->cap;
    char *buf = cap > ANSWER_MAX ? NULL : realloc(c->buf, cap);
    if (buf == NULL) {
      return km_fail(err, cap > ANSWER_MAX ? KM_ERR_LIMIT : KM_ERR_NOMEM,
                     "an answer of the daemon is too large");
    }
    c->buf = buf;
    c->cap = cap;
  }
  ssize_t n;
  do {
    n = recv(c->fd, c->buf + c->len, c->cap - c->len, 0);
  } while (n < 0 && errno == EINTR);
  if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
    return km_fail(err, KM_ERR_TIMEOUT, "the daemon does not answer");
  }
  if (n <= 0) {
    return n == 0 || errno == ECONNRESET ? lost(err)
                                         : km_fail_errno(err, errno, "cannot hear the daemon");
  }
  c->len += (size_t)n;
  return 0;
}

/* The next line; valid until the next call. */
static int read_line(control_client *c, const char **ret, size_t *ret_len, km_errinfo *err) {
  size_t looked = 0;
  if (c->taken > 0) {
    memmove(c->buf, c->buf + c->taken, c->len - c->taken);
    c->len -= c->taken;
    c->taken = 0;
  }
  for (;;) {
    const char *end = c->len == looked ? NULL : memchr(c->buf + looked, '\n', c->len - looked);
    if (end != NULL) {
      *ret = c->buf;
      *ret_len = (size_t)(end - c->buf);
      c->taken = *ret_len + 1;
      return 0;
    }
    looked = c->len;
    int rv = read_more(c, err);
    if (rv != 0) {
      return rv;
    }
  }
}

/* --- requests --------------------------------------------------------------------------------- */

static int ask(control_client *c, const char *name, const cJSON *args, km_errinfo *err) {
  cJSON *o = cJSON_CreateObject();
  bool made = o != NULL && cJSON_AddNumberToObject(o, "id", ++c->next_id) != NULL &&
              cJSON_AddStringToObject(o, "cmd", name) != NULL &&
              (args == NULL || cJSON_AddItemReferenceToObject(o, "args", (cJSON *)(uintptr_t)args));
  char *text = made ? cJSON_PrintUnformatted(o) : NULL;
  cJSON_Delete(o);
  if (text == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  size_t len = strlen(text);
  int rv = len < CONTROL_LINE_MAX
               ? 0
               : km_fail(err, KM_ERR_LIMIT, "the request is longer than 4 MiB: split it");
  text[len] = '\n';
  rv = rv != 0 ? rv : write_all(c, text, len + 1, err);
  cJSON_free(text);
  return rv;
}

/* True: that was the end. */
static bool take_answer(const control_client *c, cJSON *answer, const request_reply *reply,
                        cJSON **ret, int *ret_rv, km_errinfo *err) {
  const cJSON *id = cJSON_GetObjectItemCaseSensitive(answer, "id");
  const cJSON *ok = cJSON_GetObjectItemCaseSensitive(answer, "ok");
  bool ours = cJSON_IsNumber(id) && id->valuedouble == c->next_id;
  cJSON *row = ours ? cJSON_DetachItemFromObjectCaseSensitive(answer, "row") : NULL;
  if (row != NULL) {
    reply->row(reply->ctx, row);
    return false;
  }
  if (!cJSON_IsBool(ok) || (!ours && !cJSON_IsNull(id))) {
    return false; /* the end of one that came before */
  }
  if (ours && cJSON_IsTrue(ok)) {
    *ret = cJSON_DetachItemFromObjectCaseSensitive(answer, "result");
    return true;
  }
  control_read_error(answer, err);
  *ret_rv = err->code;
  return true;
}

static int run(control_client *c, const char *name, const cJSON *args, const request_reply *reply,
               cJSON **ret, km_errinfo *err) {
  const char *line;
  size_t len;
  bool ended = false;
  int rv = ask(c, name, args, err);
  /* One that was refused as a whole is told before it is read: see what it was. */
  rv = rv == KM_ERR_CLOSED ? 0 : rv;
  while (rv == 0 && !ended) {
    rv = read_line(c, &line, &len, err);
    cJSON *answer = rv == 0 ? cJSON_ParseWithLength(line, len) : NULL;
    if (rv == 0 && answer == NULL) {
      rv = km_fail(err, KM_ERR_INTERNAL, "what answers there is no daemon of ours");
    }
    ended = answer != NULL && take_answer(c, answer, reply, ret, &rv, err);
    cJSON_Delete(answer);
  }
  return rv;
}

int control_client_run(control_client *c, const char *name, const cJSON *args,
                       const request_reply *reply, km_errinfo *err) {
  cJSON *result = NULL;
  km_errinfo own = {0};
  int rv = run(c, name, args, reply, &result, &own);
  if (rv != 0 && err != NULL) {
    *err = own;
  }
  reply->done(reply->ctx, result, rv != 0 ? &own : NULL);
  return rv;
}
