#include "relay/connect_io.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/udp_addr.h"
#include "relay/connect_order.h"
#include "relay/resolve_io.h"

typedef struct attempt {
  km_relay_dial *dial;
  km_udp_addr to;
  int fd; /* -1: not begun, or over */
  km_poll *poll;
} attempt;

struct km_relay_dial {
  const km_env *env;
  km_loop *loop;
  km_relay_url url;
  km_relay_proxy proxy;
  km_udp_addr last;
  km_relay_dial_fn fn;
  void *ctx;

  km_resolve *lookup;
  int lookup_status;
  km_deadline *timer;
  km_defer *later; /* goes on after what must not call back itself */
  attempt attempts[KM_RELAY_MAX_ADDRESSES];
  size_t count, begun, open;
  km_errinfo err; /* of the last failure */

  attempt *tunnel; /* connected to the proxy, talking to it */
  char text[KM_RELAY_PROXY_ANSWER_MAX];
  size_t text_len;
  size_t sent; /* of the request */
};

static const char *host_of(const km_relay_dial *d) {
  return d->proxy.used ? d->proxy.host : d->url.host;
}

/* --- ends ------------------------------------------------------------------------------------ */

static void stop(attempt *a) {
  km_poll_free(a->poll);
  a->poll = NULL;
  if (a->fd >= 0) {
    (void)close(a->fd); /* nothing of ours is in it */
    a->fd = -1;
    a->dial->open--;
  }
}

static void forget_lookup(km_relay_dial *d) {
  km_resolve_free(d->lookup);
  d->lookup = NULL;
}

static void stop_all(km_relay_dial *d) {
  forget_lookup(d);
  km_deadline_set(d->timer, KM_TS_NEVER);
  for (size_t i = 0; i < d->begun; i++) {
    stop(&d->attempts[i]);
  }
}

/* The last thing a callback does: the dial may be gone afterwards. */
static void fail(km_relay_dial *d) {
  stop_all(d);
  km_errinfo err = d->err;
  d->fn(d->ctx, -1, NULL, &err);
}

static void succeed(km_relay_dial *d, attempt *a) {
  km_udp_addr remote = a->to;
  int fd = a->fd;
  km_poll_free(a->poll);
  a->poll = NULL;
  a->fd = -1;
  d->open--;
  stop_all(d);
  d->fn(d->ctx, fd, &remote, NULL);
}

static void note_errno(km_relay_dial *d, const km_udp_addr *to, int sys_errno) {
  char text[KM_UDP_ADDR_TEXT_CAP] = "";
  (void)km_udp_addr_format(to, text, sizeof text);
  (void)km_fail(&d->err, KM_ERR_RELAY_UNREACHABLE, "cannot connect to %.80s at %s: %s", host_of(d),
                text, strerror(sys_errno));
  d->err.sys_errno = sys_errno;
}

/* --- the proxy ------------------------------------------------------------------------------- */

static void go_on(km_relay_dial *d);

/* True when all of the request is out. */
static bool send_request(km_relay_dial *d, attempt *a) {
  char request[KM_RELAY_PROXY_REQUEST_CAP];
  size_t len = km_relay_proxy_request(request, &d->proxy, &d->url);
  while (d->sent < len) {
    ssize_t n = send(a->fd, request + d->sent, len - d->sent, MSG_NOSIGNAL);
    if (n < 0) {
      return false; /* what it was comes with the next read */
    }
    d->sent += (size_t)n;
  }
  return true;
}

/* One byte after the other would be safe, too; but what follows the headers is the relay's, which
 * does not speak first. 1, 0 (more must come) or an error. */
static int read_answer(km_relay_dial *d, attempt *a) {
  ssize_t n = recv(a->fd, d->text + d->text_len, sizeof d->text - d->text_len, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
    return 0;
  }
  if (n <= 0) {
    return km_fail(&d->err, KM_ERR_RELAY_UNREACHABLE, "the proxy %.80s hung up: %s", d->proxy.host,
                   n < 0 ? strerror(errno) : "end of data");
  }
  d->text_len += (size_t)n;
  return km_relay_proxy_answer(d->text, d->text_len, &d->proxy, &d->err);
}

static void on_tunnel(void *ctx, int events) {
  attempt *a = ctx;
  km_relay_dial *d = a->dial;
  bool sent = send_request(d, a);
  int rv = (events & KM_POLL_READ) != 0 ? read_answer(d, a) : 0;
  if (rv == 0 && km_poll_set(a->poll, sent ? KM_POLL_READ : KM_POLL_READ | KM_POLL_WRITE) != 0) {
    rv = km_fail(&d->err, KM_ERR_SYSTEM, "cannot watch a socket");
  }
  if (rv < 0) {
    fail(d);
  } else if (rv > 0) {
    succeed(d, a);
  }
}

/* The others are too late: the proxy answers here. */
static void begin_tunnel(km_relay_dial *d, attempt *a) {
  d->tunnel = a;
  km_deadline_set(d->timer, KM_TS_NEVER);
  for (size_t i = 0; i < d->begun; i++) {
    if (&d->attempts[i] != a) {
      stop(&d->attempts[i]);
    }
  }
  km_poll_free(a->poll);
  a->poll = NULL;
  if (km_poll_new(&a->poll, d->loop, a->fd, on_tunnel, a) != 0 ||
      km_poll_set(a->poll, KM_POLL_READ | KM_POLL_WRITE) != 0) {
    (void)km_fail(&d->err, KM_ERR_SYSTEM, "cannot watch a socket");
    fail(d);
  }
}

/* --- addresses ------------------------------------------------------------------------------- */

static void on_connected(void *ctx, int events) {
  (void)events;
  attempt *a = ctx;
  km_relay_dial *d = a->dial;
  int sys_errno = 0;
  socklen_t len = sizeof sys_errno;
  if (getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &sys_errno, &len) != 0) {
    sys_errno = errno;
  }
  if (sys_errno == 0 && !d->proxy.used) {
    succeed(d, a);
  } else if (sys_errno == 0) {
    begin_tunnel(d, a);
  } else {
    note_errno(d, &a->to, sys_errno);
    stop(a);
    go_on(d);
  }
}

/* 0 or errno. */
static int open_socket(attempt *a, struct sockaddr_storage *sa, socklen_t *len) {
  *len = km_udp_addr_to_sockaddr(&a->to, sa);
  a->fd = socket(sa->ss_family, SOCK_STREAM, 0);
  if (a->fd < 0) {
    return errno;
  }
  a->dial->open++;
  int one = 1;
  int flags = fcntl(a->fd, F_GETFL);
  if (flags < 0 || fcntl(a->fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
      fcntl(a->fd, F_SETFD, FD_CLOEXEC) != 0) {
    return errno;
  }
  /* Small packets go out at once; without it the connection only is slower. */
  (void)setsockopt(a->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return 0;
}

static int start(attempt *a) {
  struct sockaddr_storage sa;
  socklen_t len = 0;
  int sys_errno = open_socket(a, &sa, &len);
  if (sys_errno != 0) {
    return sys_errno;
  }
  if (connect(a->fd, (const struct sockaddr *)&sa, len) != 0 && errno != EINPROGRESS) {
    return errno;
  }
  if (km_poll_new(&a->poll, a->dial->loop, a->fd, on_connected, a) != 0 ||
      km_poll_set(a->poll, KM_POLL_WRITE) != 0) {
    return ENOMEM;
  }
  return 0;
}

/* Begins the next address: after the head start of the one before, or when that failed. */
static void go_on(km_relay_dial *d) {
  while (d->begun < d->count) {
    attempt *a = &d->attempts[d->begun++];
    int sys_errno = start(a);
    if (sys_errno == 0) {
      bool more = d->begun < d->count;
      km_deadline_set(d->timer, more ? km_loop_now(d->loop) + KM_RELAY_NEXT_ADDRESS : KM_TS_NEVER);
      return;
    }
    note_errno(d, &a->to, sys_errno);
    stop(a);
  }
  if (d->open == 0) {
    fail(d);
  }
}

static void set_addresses(km_relay_dial *d, km_udp_addr *addrs, size_t count) {
  km_relay_order_addresses(addrs, count, &d->last);
  for (size_t i = 0; i < count; i++) {
    d->attempts[i] = (attempt){.dial = d, .to = addrs[i], .fd = -1};
  }
  d->count = count;
}

/* --- the name -------------------------------------------------------------------------------- */

static void on_looked_up(void *ctx, const km_resolve_result *result) {
  km_relay_dial *d = ctx;
  forget_lookup(d);
  d->lookup_status = result->status;
  km_udp_addr addrs[KM_RELAY_MAX_ADDRESSES];
  memcpy(addrs, result->addrs, sizeof addrs);
  set_addresses(d, addrs, result->count);
  km_defer_run(d->later);
}

static int look_up(km_relay_dial *d, uint16_t port) {
  km_deadline_set(d->timer, km_loop_now(d->loop) + KM_RELAY_DNS_DEADLINE);
  return km_resolve_new(&d->lookup, d->env, d->loop, host_of(d), port, on_looked_up, d);
}

static void on_timer(void *ctx) {
  km_relay_dial *d = ctx;
  if (d->lookup != NULL) {
    (void)km_fail(&d->err, KM_ERR_RELAY_UNREACHABLE, "the name %.80s was not resolved within 3 s",
                  host_of(d));
    fail(d);
  } else {
    go_on(d);
  }
}

static void on_later(void *ctx) {
  km_relay_dial *d = ctx;
  if (d->count == 0) {
    (void)km_fail(&d->err, KM_ERR_RELAY_UNREACHABLE, "cannot resolve the name %.80s: %s",
                  host_of(d),
                  d->lookup_status != 0 ? gai_strerror(d->lookup_status) : "it has no address");
  }
  go_on(d);
}

/* --- life ------------------------------------------------------------------------------------ */

static bool know_addresses(km_relay_dial *d, const km_relay_dial_config *config, uint16_t port) {
  km_udp_addr addrs[KM_RELAY_MAX_ADDRESSES];
  size_t count = 0;
  for (; count < config->addr_count && count < KM_RELAY_MAX_ADDRESSES; count++) {
    addrs[count] = config->addrs[count];
  }
  if (count == 0 && km_relay_host_literal(host_of(d), port, &addrs[0])) {
    count = 1;
  }
  if (count > 0) {
    set_addresses(d, addrs, count);
  }
  return count > 0;
}

int km_relay_dial_new(km_relay_dial **ret, const km_relay_dial_config *config, km_relay_dial_fn fn,
                      void *ctx) {
  km_relay_dial *d = km_env_zalloc(config->env, 1, sizeof *d);
  if (d == NULL) {
    return KM_ERR_NOMEM;
  }
  d->env = config->env;
  d->loop = config->loop;
  d->url = *config->url;
  d->proxy = *config->proxy;
  d->last = config->last;
  d->fn = fn;
  d->ctx = ctx;
  int rv = km_deadline_new(&d->timer, d->loop, on_timer, d);
  rv = rv == 0 ? km_defer_new(&d->later, d->loop, on_later, d) : rv;
  uint16_t port = d->proxy.used ? d->proxy.port : d->url.port;
  if (rv == 0 && know_addresses(d, config, port)) {
    km_defer_run(d->later);
  } else if (rv == 0) {
    rv = look_up(d, port);
  }
  if (rv != 0) {
    km_relay_dial_free(d);
    return rv;
  }
  *ret = d;
  return 0;
}

void km_relay_dial_free(km_relay_dial *d) {
  if (d == NULL) {
    return;
  }
  forget_lookup(d);
  for (size_t i = 0; i < d->begun; i++) {
    stop(&d->attempts[i]);
  }
  km_defer_free(d->later);
  km_deadline_free(d->timer);
  km_env_free(d->env, d);
}
