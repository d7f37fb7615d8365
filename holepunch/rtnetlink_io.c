#include "holepunch/rtnetlink_io.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define FIRST_CAP 32768u /* what the kernel fills at most, unless one message alone is longer */
#define MAX_CAP (1u << 20)
#define MAX_TRIES 5
#define DATAGRAMS_PER_TURN 64

typedef struct dump {
  const km_env *env;
  int fd;
  uint32_t seq;
  uint8_t *bytes;
  size_t cap;
  void (*fn)(void *ctx, const km_rtnl_msg *msg);
  void *ctx;
} dump;

/* How a try ended. */
typedef enum outcome { GOING_ON, COMPLETE, TORN, CUT, FAILED } outcome;

static int open_socket(int type) {
  return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | type, NETLINK_ROUTE);
}

/* A datagram of the kernel's. Its length; -1 with errno; EMSGSIZE: it did not fit. Whoever else
 * writes to the socket is not listened to (0). */
static ssize_t receive(int fd, uint8_t *bytes, size_t cap) {
  struct sockaddr_nl from = {0};
  struct iovec iov = {.iov_base = bytes, .iov_len = cap};
  struct msghdr msg = {
      .msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &iov, .msg_iovlen = 1};
  ssize_t len;
  do {
    len = recvmsg(fd, &msg, 0);
  } while (len < 0 && errno == EINTR);
  if (len >= 0 && (msg.msg_namelen != sizeof from || from.nl_pid != 0)) {
    return 0;
  }
  if (len >= 0 && (msg.msg_flags & MSG_TRUNC) != 0) {
    errno = EMSGSIZE;
    return -1;
  }
  return len;
}

static outcome read_datagram(dump *d, size_t len, bool *torn) {
  km_rtnl_reader r;
  km_rtnl_msg msg;
  km_rtnl_reader_init(&r, d->bytes, len);
  while (km_rtnl_next(&r, &msg)) {
    if (msg.seq != d->seq) {
      continue; /* the rest of a dump that was given up */
    }
    *torn = *torn || msg.interrupted;
    if (msg.kind == KM_RTNL_ERROR || (msg.kind == KM_RTNL_DONE && msg.error != 0)) {
      errno = msg.error != 0 ? msg.error : EPROTO;
      return FAILED;
    }
    if (msg.kind == KM_RTNL_DONE) {
      return *torn ? TORN : COMPLETE;
    }
    msg.interrupted = false; /* for `fn` that means: anew */
    d->fn(d->ctx, &msg);
  }
  return r.damaged ? CUT : GOING_ON;
}

static outcome try_dump(dump *d, km_rtnl_what what) {
  uint8_t request[KM_RTNL_REQUEST_CAP];
  size_t len = km_rtnl_request(request, what, ++d->seq);
  const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  if (sendto(d->fd, request, len, 0, (const struct sockaddr *)&kernel, sizeof kernel) < 0) {
    return FAILED;
  }
  outcome now = GOING_ON;
  bool torn = false;
  while (now == GOING_ON) {
    ssize_t got = receive(d->fd, d->bytes, d->cap);
    if (got < 0) {
      return errno == EMSGSIZE || errno == ENOBUFS ? CUT : FAILED;
    }
    now = read_datagram(d, (size_t)got, &torn);
  }
  return now;
}

/* A longer buffer for the next try; the kernel makes its datagrams as long as the reader's. */
static bool grow(dump *d) {
  uint8_t *grown = d->cap < MAX_CAP ? km_env_realloc(d->env, d->bytes, d->cap * 2, 1) : NULL;
  if (grown != NULL) {
    d->bytes = grown;
    d->cap *= 2;
  }
  return grown != NULL;
}

static int run_dump(dump *d, km_rtnl_what what, km_errinfo *err) {
  for (int i = 0; i < MAX_TRIES; i++) {
    if (i > 0) {
      d->fn(d->ctx, &(km_rtnl_msg){.kind = KM_RTNL_OTHER, .interrupted = true});
    }
    outcome end = try_dump(d, what);
    if (end == COMPLETE) {
      return 0;
    }
    if (end == FAILED) {
      return km_fail_errno(err, errno, "the kernel did not tell of interfaces and routes");
    }
    if (end == CUT && !grow(d)) {
      return km_fail(err, KM_ERR_NOMEM, NULL);
    }
  }
  return km_fail(err, KM_ERR_AGAIN, "interfaces and routes change faster than they can be read");
}

int km_rtnl_dump(const km_env *env, km_rtnl_what what,
                 void (*fn)(void *ctx, const km_rtnl_msg *msg), void *ctx, km_errinfo *err) {
  const struct timeval patience = {.tv_sec = 1}; /* the kernel answers within the call */
  dump d = {.env = env, .cap = FIRST_CAP, .fn = fn, .ctx = ctx, .fd = open_socket(0)};
  if (d.fd < 0 || setsockopt(d.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0) {
    int rv = km_fail_errno(err, errno, "cannot open a netlink socket");
    if (d.fd >= 0) {
      (void)close(d.fd);
    }
    return rv;
  }
  d.bytes = km_env_alloc(env, d.cap);
  int rv = d.bytes != NULL ? run_dump(&d, what, err) : km_fail(err, KM_ERR_NOMEM, NULL);
  km_env_free(env, d.bytes);
  (void)close(d.fd); /* nothing waits to be written */
  return rv;
}

int km_rtnl_listen(void) {
  const struct sockaddr_nl own = {.nl_family = AF_NETLINK,
                                  .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR |
                                               RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR |
                                               RTMGRP_IPV6_ROUTE};
  int fd = open_socket(SOCK_NONBLOCK);
  if (fd >= 0 && bind(fd, (const struct sockaddr *)&own, sizeof own) != 0) {
    int reason = errno;
    (void)close(fd);
    errno = reason;
    return -1;
  }
  return fd;
}

static bool concerns(const km_rtnl_msg *msg) {
  switch (msg->kind) {
  case KM_RTNL_LINK:
  case KM_RTNL_ROUTE:
    return true;
  case KM_RTNL_ADDR: /* every link that comes up gets a link-local one: nothing changes by it */
    return msg->addr.scope_id == 0;
  default:
    return false;
  }
}

km_rtnl_heard km_rtnl_hear(int fd) {
  uint8_t bytes[8192];
  km_rtnl_heard heard = KM_RTNL_NOTHING;
  for (int i = 0; i < DATAGRAMS_PER_TURN; i++) {
    ssize_t len = receive(fd, bytes, sizeof bytes);
    if (len < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      return heard;
    }
    if (len < 0 && errno != ENOBUFS && errno != EMSGSIZE && errno != ENOMEM) {
      return KM_RTNL_BROKEN;
    }
    km_rtnl_reader r;
    km_rtnl_msg msg;
    km_rtnl_reader_init(&r, bytes, len > 0 ? (size_t)len : 0);
    while (km_rtnl_next(&r, &msg)) {
      heard = concerns(&msg) ? KM_RTNL_CHANGED : heard;
    }
    heard = len < 0 || r.damaged ? KM_RTNL_CHANGED : heard; /* something was lost */
  }
  return heard;
}
