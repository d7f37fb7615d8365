#include "cmd/node/ctl/page_client_io.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/env.h"

#define WAIT_S 5
#define ANSWER_MAX (16u << 20)

static int fail_system(km_errinfo *err, uint16_t port) {
  int number = errno;
  bool late = number == EAGAIN || number == EWOULDBLOCK || number == EINPROGRESS;
  (void)km_fail(err, late ? KM_ERR_TIMEOUT : KM_ERR_UNREACHABLE, "127.0.0.1:%u: %s", (unsigned)port,
                late                     ? "no answer"
                : number == ECONNREFUSED ? "nobody serves a status page there"
                                         : strerror(number));
  err->sys_errno = number;
  return err->code;
}

static int dial(uint16_t port, km_errinfo *err) {
  const struct timeval wait = {.tv_sec = WAIT_S};
  struct sockaddr_in to = {
      .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    return km_fail(err, KM_ERR_SYSTEM, "no socket: %s", strerror(errno));
  }
  bool ok = setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) == 0 &&
            setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait) == 0 &&
            connect(fd, (const struct sockaddr *)&to, sizeof to) == 0;
  if (!ok) {
    int rv = fail_system(err, port);
    (void)close(fd);
    return rv;
  }
  return fd;
}

/* HTTP/1.0: the answer comes as it is and ends with the connection (RFC 1945). */
static int ask(int fd, uint16_t port, const char *path, km_errinfo *err) {
  char text[256];
  int len = snprintf(text, sizeof text, "GET %s HTTP/1.0\r\nHost: 127.0.0.1:%u\r\n\r\n", path,
                     (unsigned)port);
  if (len < 0 || (size_t)len >= sizeof text) {
    return km_fail(err, KM_ERR_INVALID, "the path is too long");
  }
  return send(fd, text, (size_t)len, MSG_NOSIGNAL) == len ? 0 : fail_system(err, port);
}

static int take_all(int fd, uint16_t port, char **ret, km_errinfo *err) {
  size_t len = 0, cap = 4096;
  char *text = malloc(cap + 1);
  ssize_t n = 1;
  while (text != NULL && (n = recv(fd, text + len, cap - len, 0)) > 0) {
    len += (size_t)n;
    if (len == cap && cap < ANSWER_MAX) {
      cap *= 2;
      char *more = realloc(text, cap + 1);
      if (more == NULL) {
        free(text);
      }
      text = more;
    } else if (len == cap) {
      free(text);
      return km_fail(err, KM_ERR_LIMIT, "the answer is too long");
    }
  }
  if (text == NULL || n < 0) {
    free(text);
    return n < 0 ? fail_system(err, port) : km_fail(err, KM_ERR_NOMEM, NULL);
  }
  text[len] = '\0';
  *ret = text;
  return 0;
}

/* "HTTP/1.x 200 OK", headers, an empty line, the JSON. */
static int parse(const char *text, uint16_t port, cJSON **ret, km_errinfo *err) {
  const char *status = strchr(text, ' ');
  const char *body = strstr(text, "\r\n\r\n");
  if (strncmp(text, "HTTP/1.", 7) != 0 || status == NULL || body == NULL) {
    return km_fail(err, KM_ERR_SERVER_HTTP, "127.0.0.1:%u speaks no HTTP", (unsigned)port);
  }
  long code = strtol(status, NULL, 10);
  if (code != 200) {
    return km_fail(err, KM_ERR_SERVER_HTTP, "127.0.0.1:%u answers with status %ld%s",
                   (unsigned)port, code,
                   code == 401 || code == 403 ? ": it wants its token; ask without --port" : "");
  }
  *ret = cJSON_Parse(body + 4);
  if (!cJSON_IsObject(*ret)) {
    cJSON_Delete(*ret);
    return km_fail(err, KM_ERR_SERVER_HTTP, "127.0.0.1:%u is no status page of km-node",
                   (unsigned)port);
  }
  return 0;
}

int page_client_get(cJSON **ret, uint16_t port, const char *path, km_errinfo *err) {
  char *text = NULL;
  int fd = dial(port, err);
  if (fd < 0) {
    return fd;
  }
  int rv = ask(fd, port, path, err);
  rv = rv == 0 ? take_all(fd, port, &text, err) : rv;
  (void)close(fd);
  if (text != NULL) {
    rv = parse(text, port, ret, err);
    free(text);
  }
  return rv;
}
