#include "discovery/server/dns_io.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/udp_addr.h"
#include "discovery/server/dns_io_impl.h"

#define PORT_TRIES 32 /* for a port that is free for UDP and TCP */

/* --- sockets ---------------------------------------------------------------------------------- */

static bool is_wildcard(const km_udp_addr *addr) {
  static const uint8_t zero[16];
  return memcmp(addr->ip, zero, addr->family == 4 ? 4 : 16) == 0;
}

static int open_fd(bool v6, int type) {
  int domain = v6 ? AF_INET6 : AF_INET;
#if defined(SOCK_NONBLOCK) && defined(SOCK_CLOEXEC)
  return socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
#else
  int fd = socket(domain, type, 0);
  if (fd >= 0 && (fcntl(fd, F_SETFL, O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)) {
    int saved = errno;
    (void)close(fd);
    errno = saved;
    return -1;
  }
  return fd;
#endif
}

/* Returns 0 or errno. */
static int bind_fd(km_dns_socket *s, const km_udp_addr *to, int type) {
  struct sockaddr_storage addr;
  socklen_t len = km_udp_addr_to_sockaddr(to, &addr);
  int on = 1;
  if (s->v6 && setsockopt(s->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) != 0) {
    return errno; /* [::] must not take the port of 0.0.0.0 */
  }
  if (type == SOCK_STREAM && setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) {
    return errno; /* connections of the process before must not keep us from starting */
  }
  if (bind(s->fd, (struct sockaddr *)&addr, len) != 0) {
    return errno;
  }
  len = (socklen_t)sizeof addr;
  if (getsockname(s->fd, (struct sockaddr *)&addr, &len) != 0) {
    return errno;
  }
  return km_udp_addr_from_sockaddr(&s->bound, (struct sockaddr *)&addr, len) ? 0 : EAFNOSUPPORT;
}

int km_dns_socket_open(km_dns_io *io, km_dns_socket *ret, const km_udp_addr *bind, int type,
                       km_errinfo *err) {
  char text[KM_UDP_ADDR_TEXT_CAP];
  *ret = (km_dns_socket){.io = io, .fd = -1, .v6 = bind->family == 6};
  if ((bind->family != 4 && bind->family != 6) || km_udp_addr_format(bind, text, sizeof text) < 0) {
    return km_fail(err, KM_ERR_BAD_ADDR, "cannot bind: an address is IPv4 or IPv6");
  }
  ret->fd = open_fd(ret->v6, type);
  int sys_errno = ret->fd < 0 ? errno : bind_fd(ret, bind, type);
  if (sys_errno != 0) {
    bool low = bind->port < 1024 && (sys_errno == EACCES || sys_errno == EPERM);
    return km_fail_errno(err, sys_errno, "cannot bind %s for DNS over %s%s", text,
                         type == SOCK_DGRAM ? "UDP" : "TCP",
                         low ? " (ports below 1024 are for root)" : "");
  }
  ret->wildcard = is_wildcard(&ret->bound);
  return 0;
}

void km_dns_socket_close(km_dns_socket *s) {
  km_poll_free(s->poll);
  s->poll = NULL;
  if (s->fd >= 0) {
    (void)close(s->fd); /* there is nothing to do about errors */
    s->fd = -1;
  }
}

static void close_pair(km_dns_io *io, size_t at) {
  km_dns_socket_close(&io->udp[at]);
  km_dns_socket_close(&io->tcp[at]);
}

/* UDP and TCP on the same port. */
static int open_pair(km_dns_io *io, size_t at, const km_udp_addr *bind, km_errinfo *err) {
  int rv = 0;
  for (int i = 0; i < PORT_TRIES; i++) {
    rv = km_dns_tcp_open(io, &io->tcp[at], bind, err);
    if (rv != 0) {
      return rv;
    }
    km_udp_addr same = *bind;
    same.port = io->tcp[at].bound.port;
    rv = km_dns_udp_open(io, &io->udp[at], &same, err);
    if (rv != KM_ERR_ADDR_IN_USE || bind->port != 0) {
      return rv;
    }
    close_pair(io, at);
  }
  return rv;
}

/* No IPv4 address is named, so [::] is for both families. Sockets of their own, and not one for
 * both: addresses stay what they are, for limits too, and not all systems have such sockets. */
static bool takes_ipv4_too(const km_dns_io_config *config, const km_udp_addr *bind) {
  for (size_t i = 0; i < config->bind_count; i++) {
    if (config->bind[i].family == 4) {
      return false;
    }
  }
  return bind->family == 6 && is_wildcard(bind);
}

static int open_at(km_dns_io *io, size_t at, const km_dns_io_config *config, km_errinfo *err) {
  const km_udp_addr *bind = &config->bind[at];
  size_t beside = io->bind_count + at;
  int rv = open_pair(io, at, bind, err);
  if (rv != 0 || !takes_ipv4_too(config, bind)) {
    return rv;
  }
  for (int i = 0; i < PORT_TRIES; i++) {
    km_udp_addr v4 = {.family = 4, .port = io->udp[at].bound.port};
    rv = open_pair(io, beside, &v4, err);
    if (rv != KM_ERR_ADDR_IN_USE || bind->port != 0) {
      return rv;
    }
    close_pair(io, beside);
    close_pair(io, at);
    rv = open_pair(io, at, bind, err);
    if (rv != 0) {
      return rv;
    }
  }
  return KM_ERR_ADDR_IN_USE;
}

/* --- the whole -------------------------------------------------------------------------------- */

static void on_timer(void *ctx) {
  km_dns_tcp_on_timer(ctx);
}

static int set_up(km_dns_io *d, size_t bind_count) {
  size_t count = 2 * bind_count;
  d->bind_count = bind_count;
  d->udp = km_env_zalloc(d->env, count, sizeof *d->udp);
  d->tcp = km_env_zalloc(d->env, count, sizeof *d->tcp);
  d->scratch = km_env_alloc(d->env, KM_DNS_TCP_GATHER + 2 + KM_ZONE_ANSWER_MAX);
  if (d->udp == NULL || d->tcp == NULL || d->scratch == NULL) {
    return KM_ERR_NOMEM;
  }
  for (; d->count < count; d->count++) {
    d->udp[d->count].fd = d->tcp[d->count].fd = -1;
  }
  int rv = km_dns_udp_pool_new(&d->pool, d->env);
  return rv != 0 ? rv : km_deadline_new(&d->timer, d->loop, on_timer, d);
}

int km_dns_io_new(km_dns_io **ret, const km_dns_io_config *config, km_errinfo *err) {
  if (config->bind_count == 0) {
    return km_fail(err, KM_ERR_INVALID, "no address to serve DNS at");
  }
  km_dns_io *d = km_env_zalloc(config->env, 1, sizeof *d);
  if (d == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  d->env = config->env;
  d->loop = config->loop;
  d->zone = config->zone;
  d->limit = config->limit;
  d->tcp_limit = config->tcp_limit;
  d->max_tcp = config->max_tcp;
  d->max_tcp_per_addr = config->max_tcp_per_addr;
  d->tcp_idle_ns = config->tcp_idle_ms * KM_NS_PER_MS;
  d->accept_at = d->resume_at = KM_TS_NEVER;
  km_list_init(&d->conns);
  km_list_init(&d->paused);
  km_addr_counter_init_net(&d->per_addr, d->env, KM_DNS_SOURCE_V6_BYTES);
  int rv = set_up(d, config->bind_count);
  if (rv != 0) {
    rv = km_fail(err, rv, NULL);
  }
  for (size_t i = 0; rv == 0 && i < config->bind_count; i++) {
    rv = open_at(d, i, config, err);
  }
  if (rv != 0) {
    km_dns_io_free(d);
    return rv;
  }
  *ret = d;
  return 0;
}

void km_dns_io_free(km_dns_io *d) {
  if (d == NULL) {
    return;
  }
  km_dns_tcp_close_all(d);
  for (size_t i = 0; i < d->count; i++) {
    close_pair(d, i);
  }
  km_deadline_free(d->timer);
  km_dns_udp_pool_free(d->env, d->pool);
  km_addr_counter_clear(&d->per_addr);
  km_env_free(d->env, d->scratch);
  km_env_free(d->env, d->udp);
  km_env_free(d->env, d->tcp);
  km_env_free(d->env, d);
}

size_t km_dns_io_bound(const km_dns_io *d, km_udp_addr *ret, size_t cap) {
  for (size_t i = 0; i < d->bind_count && i < cap; i++) {
    ret[i] = d->udp[i].bound;
  }
  return d->bind_count;
}

void km_dns_io_get_stats(const km_dns_io *d, km_dns_io_stats *ret) {
  *ret = d->stats;
}
