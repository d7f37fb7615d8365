#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/udp_addr.h"
#include "discovery/server/dns_io_impl.h"

/* RFC 7766: many questions a connection, answered in their order. A connection has the idle time
 * for each whole question, and for taking all answers that wait; bytes that trickle in or out do
 * not make it longer. While answers wait, nothing is read; neither is while its source has had its
 * share of questions: what is asked then is answered later. */

#define ACCEPTS 64 /* a turn of the loop */
#define BACKLOG 1024
#define RESUME_NS (20 * KM_NS_PER_MS) /* when connections that wait for their turn go on */
#define PATIENCE_NS KM_NS_PER_S       /* for a question that is not whole, when others want in */
#define ACCEPT_PAUSE_NS (100 * KM_NS_PER_MS) /* when there are no descriptors */

typedef struct km_dns_conn {
  km_list node, turn; /* of all; of those that wait for their turn */
  bool paused;
  km_dns_io *io;
  km_poll *poll;
  int fd;
  km_udp_addr peer;
  km_ts since;  /* the last whole question, or that all answers were taken */
  bool half;    /* the peer sends no more */
  uint8_t *out; /* what the socket did not take yet; NULL: nothing */
  size_t out_len, out_at;
  size_t in_len, in_at; /* in `in`: what came, what of it is done */
  uint8_t in[2 + KM_DNS_TCP_QUERY_MAX];
} km_dns_conn;

static void conn_close(km_dns_conn *c) {
  km_dns_io *io = c->io;
  km_list_remove(&c->node);
  km_list_remove(&c->turn);
  io->conn_count--;
  km_addr_counter_remove(&io->per_addr, &c->peer);
  km_poll_free(c->poll);
  (void)close(c->fd); /* there is nothing to do about errors */
  km_env_free(io->env, c->out);
  km_env_free(io->env, c);
}

static void set_timer(km_dns_io *io) {
  km_ts at = io->accept_at < io->resume_at ? io->accept_at : io->resume_at;
  if (!km_list_empty(&io->conns)) {
    const km_dns_conn *first = KM_LIST_ITEM(io->conns.next, km_dns_conn, node);
    km_ts idle = first->since + io->tcp_idle_ns;
    at = idle < at ? idle : at;
  }
  km_deadline_set(io->timer, at);
}

static void touch(km_dns_conn *c) {
  c->since = km_loop_now(c->io->loop);
  km_list_remove(&c->node);
  km_list_append(&c->io->conns, &c->node);
}

/* --- answers ---------------------------------------------------------------------------------- */

/* What the socket takes of it: a count, or -1. */
static ssize_t push(const km_dns_conn *c, const uint8_t *bytes, size_t len) {
  ssize_t n;
  do {
    n = send(c->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  return n < 0 && (errno == EAGAIN || errno == ENOBUFS) ? 0 : n;
}

/* Sends, and keeps what does not fit. False: the connection is over. */
static bool conn_send(km_dns_conn *c, const uint8_t *bytes, size_t len) {
  ssize_t n = push(c, bytes, len);
  if (n < 0) {
    return false;
  }
  size_t sent = (size_t)n;
  if (sent == len) {
    return true;
  }
  c->out = km_env_alloc(c->io->env, len - sent);
  if (c->out == NULL) {
    return false;
  }
  memcpy(c->out, bytes + sent, len - sent);
  c->out_len = len - sent;
  c->out_at = 0;
  return km_poll_set(c->poll, KM_POLL_WRITE) == 0;
}

/* Whether the source may ask now. */
static bool take_turn(km_dns_conn *c) {
  km_dns_io *io = c->io;
  return io->tcp_limit == NULL ||
         km_rate_limit_take(io->tcp_limit, &c->peer, km_loop_now(io->loop));
}

/* Answers the next whole question into `ret`. The length; 0: there is none; -1: this is no
 * resolver; -2: it is not its turn. */
static int answer_next(km_dns_conn *c, uint8_t *ret) {
  const uint8_t *at = c->in + c->in_at;
  size_t left = c->in_len - c->in_at;
  if (left < 2) {
    return 0;
  }
  size_t len = (size_t)at[0] << 8 | at[1];
  if (len < KM_DNS_HEADER || len > KM_DNS_TCP_QUERY_MAX) {
    return -1;
  }
  if (left < 2 + len) {
    return 0;
  }
  if (!take_turn(c)) {
    return -2;
  }
  c->in_at += 2 + len;
  c->io->stats.tcp_queries++;
  size_t n = km_zone_answer(c->io->zone, at + 2, len, KM_ZONE_TCP, ret + 2, NULL);
  if (n == 0) {
    return -1;
  }
  ret[0] = (uint8_t)(n >> 8);
  ret[1] = (uint8_t)n;
  touch(c);
  return (int)(2 + n);
}

static bool pause_conn(km_dns_conn *c) {
  km_dns_io *io = c->io;
  io->stats.limited++;
  c->paused = true;
  km_list_remove(&c->turn);
  km_list_append(&io->paused, &c->turn);
  if (io->resume_at == KM_TS_NEVER) {
    io->resume_at = km_loop_now(io->loop) + RESUME_NS;
  }
  return km_poll_set(c->poll, 0) == 0;
}

/* Answers the whole questions in the buffer until the socket is full, many answers a call. False:
 * the connection is over. */
static bool answer_all(km_dns_conn *c) {
  uint8_t *scratch = c->io->scratch;
  for (int n = 1; c->out == NULL && n != 0;) {
    size_t used = 0;
    do {
      n = answer_next(c, scratch + used);
      used += n > 0 ? (size_t)n : 0;
    } while (n > 0 && used < KM_DNS_TCP_GATHER);
    if ((used > 0 && !conn_send(c, scratch, used)) || n == -1) {
      return false;
    }
    if (n == -2) {
      return c->out != NULL || pause_conn(c);
    }
  }
  if (c->out != NULL) {
    return true;
  }
  memmove(c->in, c->in + c->in_at, c->in_len - c->in_at);
  c->in_len -= c->in_at;
  c->in_at = 0;
  return !c->half;
}

static bool on_writable(km_dns_conn *c) {
  ssize_t n = push(c, c->out + c->out_at, c->out_len - c->out_at);
  if (n < 0) {
    return false;
  }
  c->out_at += (size_t)n;
  if (c->out_at < c->out_len) {
    return true;
  }
  km_env_free(c->io->env, c->out);
  c->out = NULL;
  touch(c);
  if (!answer_all(c)) {
    return false;
  }
  return c->out != NULL || c->paused || km_poll_set(c->poll, KM_POLL_READ) == 0;
}

/* Those that waited for their turn try again, each once. */
static void resume_all(km_dns_io *io) {
  km_list list;
  km_list_init(&list);
  while (!km_list_empty(&io->paused)) {
    km_list *item = io->paused.next;
    km_list_remove(item);
    km_list_append(&list, item);
  }
  io->resume_at = KM_TS_NEVER;
  while (!km_list_empty(&list)) {
    km_dns_conn *c = KM_LIST_ITEM(list.next, km_dns_conn, turn);
    km_list_remove(&c->turn);
    c->paused = false;
    if (!answer_all(c) ||
        (!c->paused && c->out == NULL && km_poll_set(c->poll, KM_POLL_READ) != 0)) {
      conn_close(c);
    }
  }
}

static bool on_readable(km_dns_conn *c) {
  ssize_t n;
  do {
    n = recv(c->fd, c->in + c->in_len, sizeof c->in - c->in_len, MSG_DONTWAIT);
  } while (n < 0 && errno == EINTR);
  if (n < 0) {
    return errno == EAGAIN;
  }
  c->half = n == 0;
  c->in_len += (size_t)n;
  return answer_all(c);
}

static void on_conn(void *ctx, int events) {
  km_dns_conn *c = ctx;
  km_dns_io *io = c->io;
  (void)events; /* which of both it waits for is known, and errors come out of either */
  /* One that is paused waits for nothing: the other side is gone. */
  if (c->paused || !(c->out != NULL ? on_writable(c) : on_readable(c))) {
    conn_close(c);
  }
  set_timer(io);
}

/* --- accepting -------------------------------------------------------------------------------- */

/* Makes room: the connection that is quiet for longest goes if it waits for nothing, or has been
 * slow for long enough. RFC 7766 section 6.2.3 lets a server close idle ones at any time. */
static bool close_idle(km_dns_io *io) {
  if (km_list_empty(&io->conns)) {
    return false;
  }
  km_dns_conn *c = KM_LIST_ITEM(io->conns.next, km_dns_conn, node);
  km_ts quiet = km_loop_now(io->loop) - c->since;
  bool waits = c->out != NULL || c->in_len > 0;
  if (quiet == 0 || (waits && quiet < PATIENCE_NS)) {
    return false;
  }
  conn_close(c);
  return true;
}

static bool may_come(km_dns_io *io, const km_udp_addr *peer) {
  return km_addr_counter_get(&io->per_addr, peer) < io->max_tcp_per_addr &&
         (io->conn_count < io->max_tcp || close_idle(io));
}

static int conn_new(km_dns_io *io, int fd, const km_udp_addr *peer) {
  km_dns_conn *c = km_env_alloc(io->env, sizeof *c);
  if (c == NULL) {
    return KM_ERR_NOMEM;
  }
  memset(c, 0, offsetof(km_dns_conn, in));
  c->io = io;
  c->fd = fd;
  c->peer = *peer;
  km_list_init(&c->node);
  km_list_init(&c->turn);
  int rv = km_addr_counter_add(&io->per_addr, peer);
  if (rv != 0) {
    km_env_free(io->env, c);
    return rv;
  }
  rv = km_poll_new(&c->poll, io->loop, fd, on_conn, c);
  if (rv == 0 && (rv = km_poll_set(c->poll, KM_POLL_READ)) != 0) {
    km_poll_free(c->poll);
  }
  if (rv != 0) {
    km_addr_counter_remove(&io->per_addr, peer);
    km_env_free(io->env, c);
    return rv;
  }
  io->conn_count++;
  io->stats.tcp_connections++;
  touch(c);
  return 0;
}

static int accept_one(int listener, struct sockaddr_storage *from, socklen_t *len) {
#if defined(SOCK_NONBLOCK) && defined(SOCK_CLOEXEC)
  return accept4(listener, (struct sockaddr *)from, len, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
  int fd = accept(listener, (struct sockaddr *)from, len);
  if (fd >= 0) {
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
  }
  return fd;
#endif
}

static void pause_accepting(km_dns_io *io) {
  for (size_t i = 0; i < io->count; i++) {
    if (io->tcp[i].poll != NULL && km_poll_set(io->tcp[i].poll, 0) != 0) {
      return; /* it spins, but works */
    }
  }
  io->accept_at = km_loop_now(io->loop) + ACCEPT_PAUSE_NS;
}

/* False: nothing more to accept now. */
static bool accept_next(km_dns_socket *s) {
  km_dns_io *io = s->io;
  struct sockaddr_storage from;
  socklen_t len = sizeof from;
  km_udp_addr peer;
  int fd = accept_one(s->fd, &from, &len);
  if (fd < 0) {
    bool none_left = errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
    if (none_left && !close_idle(io)) {
      KM_LOG(&io->env->logger, KM_LOG_WARN, KM_LOGC_DISCOVERY, NULL, NULL, "dns-accept-failed",
             "%s: waiting a little", strerror(errno));
      pause_accepting(io);
      return false;
    }
    return errno != EAGAIN && errno != EWOULDBLOCK;
  }
  if (!km_udp_addr_from_sockaddr(&peer, (struct sockaddr *)&from, len) || !may_come(io, &peer) ||
      conn_new(io, fd, &peer) != 0) {
    io->stats.tcp_refused++;
    (void)close(fd); /* there is nothing to do about errors */
    return true;
  }
  int on = 1;
  (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* a help only */
  return true;
}

static void on_acceptable(void *ctx, int events) {
  km_dns_socket *s = ctx;
  (void)events;
  for (int i = 0; i < ACCEPTS && accept_next(s); i++) {
  }
  set_timer(s->io);
}

void km_dns_tcp_on_timer(km_dns_io *io) {
  km_ts now = km_loop_now(io->loop);
  while (!km_list_empty(&io->conns)) {
    km_dns_conn *c = KM_LIST_ITEM(io->conns.next, km_dns_conn, node);
    if (now < c->since + io->tcp_idle_ns) {
      break;
    }
    conn_close(c);
  }
  if (now >= io->resume_at) {
    resume_all(io);
  }
  if (now >= io->accept_at) {
    io->accept_at = KM_TS_NEVER;
    for (size_t i = 0; i < io->count; i++) {
      if (io->tcp[i].poll != NULL && km_poll_set(io->tcp[i].poll, KM_POLL_READ) != 0) {
        io->accept_at = now + ACCEPT_PAUSE_NS;
      }
    }
  }
  set_timer(io);
}

void km_dns_tcp_close_all(km_dns_io *io) {
  while (!km_list_empty(&io->conns)) {
    conn_close(KM_LIST_ITEM(io->conns.next, km_dns_conn, node));
  }
}

int km_dns_tcp_open(km_dns_io *io, km_dns_socket *ret, const km_udp_addr *bind, km_errinfo *err) {
  int rv = km_dns_socket_open(io, ret, bind, SOCK_STREAM, err);
  if (rv != 0) {
    return rv;
  }
  if (listen(ret->fd, BACKLOG) != 0) {
    return km_fail_errno(err, errno, "cannot listen for DNS over TCP");
  }
  rv = km_poll_new(&ret->poll, io->loop, ret->fd, on_acceptable, ret);
  if (rv == 0) {
    rv = km_poll_set(ret->poll, KM_POLL_READ);
  }
  return rv == 0 ? 0 : km_fail(err, rv, NULL);
}
