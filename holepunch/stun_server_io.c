#include "holepunch/stun_server_io.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/udp_addr.h"
#include "holepunch/stun.h"

/* A turn of the loop belongs to others as well: what is left is readable in the next. */
#define PACKETS_PER_TURN 64
#define PERIOD_NS (100 * KM_NS_PER_MS) /* the rate is kept in pieces of this */
#define MAX_REQUEST 600 /* longer ones cannot be read to the end, and are no requests */

/* Each alternate has three sockets beside the one it goes with: the other port, the other address,
 * both. */
enum { OTHER_PORT = 1, OTHER_IP = 2, OTHER_BOTH = 3, MAX_SOCKETS = 4 + 3 * 2 };
_Static_assert(MAX_SOCKETS == KM_STUN_SERVER_MAX_BINDS + 3 * KM_STUN_SERVER_MAX_ALTERNATES,
               "sockets of all binds and alternates");

typedef struct stun_socket {
  struct km_stun_server *server;
  km_udp_addr bound;
  km_poll *poll;
  int fd;
  struct stun_socket **group; /* of four, by OTHER_* as seen from the first; NULL: no alternate */
  unsigned place;             /* in it */
} stun_socket;

struct km_stun_server {
  const km_env *env;
  km_loop *loop;
  stun_socket sockets[MAX_SOCKETS]; /* those of the binds first */
  size_t count;
  stun_socket *groups[KM_STUN_SERVER_MAX_ALTERNATES][4];
  uint32_t per_period, left;
  km_ts period;
  km_stun_server_stats stats;
};

/* A packet, and where it came from and came to: the answer goes the same way back, or a client
 * behind a NAT would never see it. */
typedef struct packet {
  struct sockaddr_storage from;
  struct iovec bytes;
  struct msghdr msg;
  _Alignas(struct cmsghdr) uint8_t control[256];
  uint8_t data[MAX_REQUEST];
} packet;

/* --- answering ------------------------------------------------------------------------------- */

static bool within_rate(km_stun_server *s) {
  km_ts now = km_loop_now(s->loop);
  if (now - s->period >= PERIOD_NS) {
    s->period = now;
    s->left = s->per_period;
  }
  if (s->left == 0) {
    return false;
  }
  s->left--;
  return true;
}

/* IPv4 on an IPv6 socket is shown as ::ffff:a.b.c.d; what the client has is a.b.c.d. */
static bool source_of(km_udp_addr *ret, const packet *p) {
  static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  km_udp_addr addr;
  if (!km_udp_addr_from_sockaddr(&addr, (const struct sockaddr *)&p->from, p->msg.msg_namelen)) {
    return false;
  }
  *ret = addr;
  if (addr.family == 6 && memcmp(addr.ip, mapped, sizeof mapped) == 0) {
    *ret = (km_udp_addr){.family = 4, .port = addr.port};
    memcpy(ret->ip, addr.ip + sizeof mapped, 4);
  }
  return true;
}

/* Keeps only the address that the packet was sent to. The kernel takes what it gave us, but for
 * IPv4's ipi_addr, which on the way out is ipi_spec_dst. */
static void turn_control(packet *p) {
  struct cmsghdr *found = NULL;
  if ((p->msg.msg_flags & MSG_CTRUNC) == 0) {
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&p->msg); c != NULL; c = CMSG_NXTHDR(&p->msg, c)) {
      if ((c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) ||
          (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO)) {
        found = c;
        break;
      }
    }
  }
  if (found == NULL) {
    p->msg.msg_control = NULL;
    p->msg.msg_controllen = 0;
    return;
  }
  if (found->cmsg_level == IPPROTO_IP) {
    struct in_pktinfo info;
    memcpy(&info, CMSG_DATA(found), sizeof info);
    info.ipi_spec_dst = info.ipi_addr;
    info.ipi_ifindex = 0; /* routing decides */
    memcpy(CMSG_DATA(found), &info, sizeof info);
  } else {
    struct in6_pktinfo info;
    memcpy(&info, CMSG_DATA(found), sizeof info);
    if (!IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr)) {
      info.ipi6_ifindex = 0;
    }
    memcpy(CMSG_DATA(found), &info, sizeof info);
  }
  size_t space = CMSG_SPACE(found->cmsg_len - CMSG_LEN(0));
  memmove(p->control, found, found->cmsg_len);
  p->msg.msg_control = p->control;
  p->msg.msg_controllen = space;
}

/* Writes the answer, and finds the socket that it leaves from. 0: none is due. */
static size_t write_answer(const stun_socket *so, uint8_t ret[KM_STUN_MAX_LONG_ANSWER],
                           km_stun_message *request, const km_udp_addr *from,
                           const stun_socket **ret_from) {
  *ret_from = so;
  if (so->group == NULL) {
    return km_stun_answer(ret, request, from);
  }
  km_stun_allow_change(request);
  if (request->unknown_count == 0) {
    *ret_from = so->group[so->place ^ ((request->change_ip ? OTHER_IP : 0U) |
                                       (request->change_port ? OTHER_PORT : 0U))];
  }
  return km_stun_answer_long(ret, request, from, &(*ret_from)->bound,
                             &so->group[so->place ^ OTHER_BOTH]->bound);
}

static void answer(stun_socket *so, packet *p, size_t len) {
  km_stun_server *s = so->server;
  const stun_socket *leaves;
  km_stun_message request;
  km_udp_addr from;
  s->stats.received++;
  if ((p->msg.msg_flags & MSG_TRUNC) != 0 || !km_stun_read(&request, p->data, len) ||
      !source_of(&from, p) || from.port == 0) {
    s->stats.not_stun++;
    return;
  }
  uint8_t out[KM_STUN_MAX_LONG_ANSWER];
  size_t out_len = write_answer(so, out, &request, &from, &leaves);
  if (out_len == 0) {
    s->stats.ignored++;
    return;
  }
  if (!within_rate(s)) {
    s->stats.over_rate++;
    return;
  }
  if (so->group == NULL) {
    turn_control(p);
  } else { /* bound to one address each */
    p->msg.msg_control = NULL;
    p->msg.msg_controllen = 0;
  }
  p->bytes = (struct iovec){.iov_base = out, .iov_len = out_len};
  p->msg.msg_flags = 0;
  /* A full socket buffer (EAGAIN, ENOBUFS) is a reason to say less, not to wait: clients ask
   * again. */
  ssize_t sent = sendmsg(leaves->fd, &p->msg, MSG_DONTWAIT);
  p->bytes = (struct iovec){.iov_len = 0}; /* the answer ends here */
  if (sent < 0) {
    s->stats.send_dropped++;
  } else if (request.unknown_count > 0) {
    s->stats.refused++;
  } else {
    s->stats.answered++;
  }
}

static void on_readable(void *ctx, int events) {
  stun_socket *so = ctx;
  (void)events;
  for (unsigned i = 0; i < PACKETS_PER_TURN; i++) {
    packet p;
    p.bytes = (struct iovec){.iov_base = p.data, .iov_len = sizeof p.data};
    p.msg = (struct msghdr){.msg_name = &p.from,
                            .msg_namelen = sizeof p.from,
                            .msg_iov = &p.bytes,
                            .msg_iovlen = 1,
                            .msg_control = p.control,
                            .msg_controllen = sizeof p.control};
    ssize_t len = recvmsg(so->fd, &p.msg, MSG_DONTWAIT);
    if (len >= 0) {
      answer(so, &p, (size_t)len);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return;
    } /* anything else is the echo of an answer that did not arrive (ICMP), or a signal */
  }
}

/* --- opening --------------------------------------------------------------------------------- */

static bool is_wildcard(const km_udp_addr *addr) {
  static const uint8_t zero[16] = {0};
  return memcmp(addr->ip, zero, addr->family == 4 ? 4 : 16) == 0;
}

static bool set_int(int fd, int level, int name, int value) {
  return setsockopt(fd, level, name, &value, (socklen_t)sizeof value) == 0;
}

/* False with errno. */
static bool set_options(int fd, const km_udp_addr *to) {
  if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
    return false;
  }
  if (to->family == 4) {
    return set_int(fd, IPPROTO_IP, IP_PKTINFO, 1);
  }
  return set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, is_wildcard(to) ? 0 : 1) &&
         set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
}

static bool bind_socket(stun_socket *so, const km_udp_addr *to) {
  struct sockaddr_storage addr;
  socklen_t len = km_udp_addr_to_sockaddr(to, &addr);
  if (bind(so->fd, (const struct sockaddr *)&addr, len) != 0) {
    return false;
  }
  len = (socklen_t)sizeof addr;
  if (getsockname(so->fd, (struct sockaddr *)&addr, &len) != 0) {
    return false;
  }
  return km_udp_addr_from_sockaddr(&so->bound, (const struct sockaddr *)&addr, len);
}

static int open_socket(km_stun_server *s, const km_udp_addr *to, km_errinfo *err) {
  stun_socket *so = &s->sockets[s->count];
  char text[KM_UDP_ADDR_TEXT_CAP];
  if (to->family == 0 || km_udp_addr_format(to, text, sizeof text) < 0) {
    return km_fail(err, KM_ERR_INVALID, "a STUN server needs an address to bind");
  }
  *so = (stun_socket){.server = s};
  so->fd = socket(to->family == 4 ? AF_INET : AF_INET6, SOCK_DGRAM, 0);
  if (so->fd < 0) {
    return km_fail_errno(err, errno, "cannot open a STUN socket for %s", text);
  }
  s->count++; /* from here on km_stun_server_free closes it */
  if (!set_options(so->fd, to) || !bind_socket(so, to)) {
    return km_fail_errno(err, errno, "cannot bind the STUN server to %s", text);
  }
  int rv = km_poll_new(&so->poll, s->loop, so->fd, on_readable, so);
  if (rv == 0) {
    rv = km_poll_set(so->poll, KM_POLL_READ);
  }
  return rv == 0 ? 0 : km_fail(err, rv, "cannot watch the STUN socket %s", text);
}

/* The first bound socket that the alternate can go with; NULL: there is none. */
static stun_socket *partner_of(km_stun_server *s, size_t binds, const km_udp_addr *alternate) {
  for (size_t i = 0; i < binds; i++) {
    stun_socket *so = &s->sockets[i];
    if (so->bound.family == alternate->family) {
      bool good = so->group == NULL && !is_wildcard(&so->bound) && !is_wildcard(alternate) &&
                  memcmp(so->bound.ip, alternate->ip, sizeof alternate->ip) != 0 &&
                  so->bound.port != alternate->port;
      return good ? so : NULL;
    }
  }
  return NULL;
}

static int open_in_group(km_stun_server *s, stun_socket **group, unsigned place,
                         const km_udp_addr *ip, uint16_t port, km_errinfo *err) {
  km_udp_addr to = *ip;
  to.port = port;
  int rv = open_socket(s, &to, err);
  if (rv == 0) {
    group[place] = &s->sockets[s->count - 1];
    group[place]->group = group;
    group[place]->place = place;
  }
  return rv;
}

static int open_alternate(km_stun_server *s, size_t binds, size_t i, const km_udp_addr *alternate,
                          km_errinfo *err) {
  stun_socket *first = partner_of(s, binds, alternate), **group = s->groups[i];
  if (first == NULL) {
    return km_fail(err, KM_ERR_INVALID,
                   "a STUN server's alternate address differs in address and port from a bound one "
                   "of its family, and neither is a wildcard");
  }
  int rv = open_in_group(s, group, OTHER_BOTH, alternate, alternate->port, err);
  if (rv == 0) {
    rv = open_in_group(s, group, OTHER_PORT, &first->bound, group[OTHER_BOTH]->bound.port, err);
  }
  if (rv == 0) {
    rv = open_in_group(s, group, OTHER_IP, alternate, first->bound.port, err);
  }
  if (rv == 0) {
    group[0] = first;
    first->group = group;
  }
  return rv;
}

static int open_all(km_stun_server *s, const km_stun_server_config *config, km_errinfo *err) {
  int rv = 0;
  for (size_t i = 0; rv == 0 && i < config->bind_count; i++) {
    rv = open_socket(s, &config->binds[i], err);
  }
  for (size_t i = 0; rv == 0 && i < config->alternate_count; i++) {
    rv = open_alternate(s, config->bind_count, i, &config->alternates[i], err);
  }
  return rv;
}

int km_stun_server_new(km_stun_server **ret, const km_stun_server_config *config, km_errinfo *err) {
  if (config->bind_count == 0 || config->bind_count > KM_STUN_SERVER_MAX_BINDS) {
    return km_fail(err, KM_ERR_INVALID, "a STUN server binds 1 to %d addresses",
                   KM_STUN_SERVER_MAX_BINDS);
  }
  if (config->alternate_count > KM_STUN_SERVER_MAX_ALTERNATES) {
    return km_fail(err, KM_ERR_INVALID, "a STUN server has at most %d alternate addresses",
                   KM_STUN_SERVER_MAX_ALTERNATES);
  }
  km_stun_server *s = km_env_zalloc(config->env, 1, sizeof *s);
  if (s == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  uint32_t rate = config->max_per_second > 0 ? config->max_per_second : KM_STUN_SERVER_RATE;
  s->env = config->env;
  s->loop = config->loop;
  s->per_period = rate / 10 > 0 ? rate / 10 : 1;
  s->left = s->per_period;
  s->period = km_loop_now(s->loop);
  int rv = open_all(s, config, err);
  if (rv != 0) {
    km_stun_server_free(s);
    return rv;
  }
  *ret = s;
  return 0;
}

void km_stun_server_free(km_stun_server *s) {
  if (s == NULL) {
    return;
  }
  for (size_t i = 0; i < s->count; i++) {
    if (s->sockets[i].poll != NULL) {
      km_poll_free(s->sockets[i].poll);
    }
    close(s->sockets[i].fd);
  }
  km_env_free(s->env, s);
}

const km_udp_addr *km_stun_server_bound(const km_stun_server *s, size_t i) {
  return &s->sockets[i].bound;
}

const km_udp_addr *km_stun_server_alternate(const km_stun_server *s, size_t i) {
  return &s->groups[i][OTHER_BOTH]->bound;
}

const km_stun_server_stats *km_stun_server_get_stats(const km_stun_server *s) {
  return &s->stats;
}
