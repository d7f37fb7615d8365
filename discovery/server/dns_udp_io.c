#include <errno.h>
#include <netinet/in.h>
#include <stdalign.h>
#include <string.h>
#include <sys/socket.h>

#include "base/udp_addr.h"
#include "discovery/server/dns_io_impl.h"

/* Datagrams come and go many a call. Answers leave from the address that was asked: a resolver
 * takes no others. What a source sends beyond its rate is dropped, but for every second one, which
 * gets an empty answer with TC set: a resolver whose address others forge comes by TCP then, and
 * who forges gets back no more bytes than it sends ("slip", as in response rate limiting). */

#define BATCHES 8 /* a turn of the loop */
#define SLIP 2
#define RECEIVE_BUFFER (4 * 1024 * 1024)
#define CONTROL_CAP 64

typedef struct control {
  alignas(struct cmsghdr) uint8_t bytes[CONTROL_CAP];
} control;

#if defined(__linux__)
typedef struct mmsghdr datagram;
#else
typedef struct datagram {
  struct msghdr msg_hdr;
  unsigned msg_len;
} datagram;
#endif

struct km_dns_udp_pool {
  datagram in[KM_DNS_UDP_BATCH], out[KM_DNS_UDP_BATCH];
  struct iovec in_iov[KM_DNS_UDP_BATCH], out_iov[KM_DNS_UDP_BATCH];
  struct sockaddr_storage names[KM_DNS_UDP_BATCH];
  control controls[KM_DNS_UDP_BATCH];
  uint8_t queries[KM_DNS_UDP_BATCH][KM_DNS_UDP_QUERY_MAX];
  /* Answers one behind the other; each is written with all the room that any may need. */
  uint8_t answers[KM_DNS_UDP_BATCH * KM_DNS_UDP_MAX + KM_ZONE_ANSWER_MAX];
};

int km_dns_udp_pool_new(km_dns_udp_pool **ret, const km_env *env) {
  *ret = km_env_alloc(env, sizeof **ret); /* not zeroed: pages come into use as batches grow */
  return *ret != NULL ? 0 : KM_ERR_NOMEM;
}

void km_dns_udp_pool_free(const km_env *env, km_dns_udp_pool *pool) {
  km_env_free(env, pool);
}

/* --- batches ---------------------------------------------------------------------------------- */

/* Returns the count, 0 or below: nothing is there, or errno. */
static int receive(int fd, datagram *list, unsigned count) {
#if defined(__linux__)
  return recvmmsg(fd, list, count, MSG_DONTWAIT, NULL);
#else
  unsigned got = 0;
  for (; got < count; got++) {
    ssize_t n = recvmsg(fd, &list[got].msg_hdr, MSG_DONTWAIT);
    if (n < 0) {
      return got > 0 ? (int)got : -1;
    }
    list[got].msg_len = (unsigned)n;
  }
  return (int)got;
#endif
}

static int transmit(int fd, datagram *list, unsigned count) {
#if defined(__linux__)
  return sendmmsg(fd, list, count, MSG_DONTWAIT);
#else
  unsigned sent = 0;
  for (; sent < count; sent++) {
    if (sendmsg(fd, &list[sent].msg_hdr, MSG_DONTWAIT) < 0) {
      return sent > 0 ? (int)sent : -1;
    }
  }
  return (int)sent;
#endif
}

static int receive_batch(const km_dns_socket *s, km_dns_udp_pool *p) {
  for (size_t i = 0; i < KM_DNS_UDP_BATCH; i++) {
    p->in_iov[i] = (struct iovec){p->queries[i], KM_DNS_UDP_QUERY_MAX};
    p->in[i].msg_len = 0;
    p->in[i].msg_hdr = (struct msghdr){.msg_name = &p->names[i],
                                       .msg_namelen = sizeof p->names[i],
                                       .msg_iov = &p->in_iov[i],
                                       .msg_iovlen = 1};
    if (s->wildcard) {
      p->in[i].msg_hdr.msg_control = p->controls[i].bytes;
      p->in[i].msg_hdr.msg_controllen = CONTROL_CAP;
    }
  }
  int count;
  do {
    count = receive(s->fd, p->in, KM_DNS_UDP_BATCH);
  } while (count < 0 && errno == EINTR);
  return count;
}

/* Those that cannot be sent are left out: whoever asked asks again. */
static void send_batch(const km_dns_socket *s, km_dns_udp_pool *p, unsigned count) {
  unsigned done = 0;
  while (done < count) {
    int sent = transmit(s->fd, p->out + done, count - done);
    if (sent > 0) {
      done += (unsigned)sent;
    } else if (errno == EINTR) {
      continue;
    } else if (errno == EAGAIN || errno == ENOBUFS) {
      s->io->stats.tx_errors += count - done;
      return;
    } else {
      s->io->stats.tx_errors++;
      done++;
    }
  }
}

/* --- one question ----------------------------------------------------------------------------- */

static bool is_link_local(const struct in6_addr *ip) {
  return IN6_IS_ADDR_LINKLOCAL(ip);
}

/* Makes of what says where the question arrived what says from where the answer leaves. */
static void turn_control(struct msghdr *msg) {
  struct cmsghdr *c = msg->msg_controllen > 0 ? CMSG_FIRSTHDR(msg) : NULL;
  if (c != NULL && c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
    struct in6_pktinfo info;
    memcpy(&info, CMSG_DATA(c), sizeof info);
    if (!IN6_IS_ADDR_MULTICAST(&info.ipi6_addr)) {
      info.ipi6_ifindex = is_link_local(&info.ipi6_addr) ? info.ipi6_ifindex : 0;
      memcpy(CMSG_DATA(c), &info, sizeof info);
      return;
    }
#if defined(IP_PKTINFO)
  } else if (c != NULL && c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
    struct in_pktinfo info;
    memcpy(&info, CMSG_DATA(c), sizeof info);
    info.ipi_ifindex = 0; /* the route may be another way than it came */
    memcpy(CMSG_DATA(c), &info, sizeof info);
    return;
#endif
  }
  msg->msg_control = NULL;
  msg->msg_controllen = 0;
}

/* The answer's length; 0: none. */
static size_t answer(km_dns_io *io, const uint8_t *query, size_t len, const struct msghdr *from,
                     uint8_t *ret) {
  km_udp_addr source;
  if (!km_udp_addr_from_sockaddr(&source, from->msg_name, from->msg_namelen) || source.port == 0) {
    return 0;
  }
  io->stats.udp_queries++;
  if (io->limit == NULL || km_rate_limit_take(io->limit, &source, km_loop_now(io->loop))) {
    return km_zone_answer(io->zone, query, len, KM_ZONE_UDP, ret, NULL);
  }
  io->stats.limited++;
  return ++io->slip % SLIP == 0 ? km_dns_truncated(ret, query, len) : 0;
}

static unsigned answer_batch(km_dns_io *io, km_dns_udp_pool *p, unsigned count) {
  unsigned answers = 0;
  uint8_t *at = p->answers;
  for (unsigned i = 0; i < count; i++) {
    struct msghdr *in = &p->in[i].msg_hdr;
    if ((in->msg_flags & MSG_TRUNC) != 0) {
      continue;
    }
    size_t n = answer(io, p->queries[i], p->in[i].msg_len, in, at);
    if (n == 0) {
      continue;
    }
    p->out_iov[answers] = (struct iovec){at, n};
    p->out[answers].msg_hdr = (struct msghdr){.msg_name = in->msg_name,
                                              .msg_namelen = in->msg_namelen,
                                              .msg_iov = &p->out_iov[answers],
                                              .msg_iovlen = 1,
                                              .msg_control = in->msg_control,
                                              .msg_controllen = in->msg_controllen};
    turn_control(&p->out[answers].msg_hdr);
    answers++;
    at += n; /* at most KM_DNS_UDP_MAX */
  }
  return answers;
}

static void on_readable(void *ctx, int events) {
  km_dns_socket *s = ctx;
  (void)events;
  for (int i = 0; i < BATCHES; i++) {
    int count = receive_batch(s, s->io->pool);
    if (count < 0 && errno != EAGAIN && i < BATCHES - 1) {
      continue; /* an error of an earlier answer: telling it clears it */
    }
    if (count <= 0) {
      return;
    }
    send_batch(s, s->io->pool, answer_batch(s->io, s->io->pool, (unsigned)count));
    if (count < KM_DNS_UDP_BATCH) {
      return;
    }
  }
}

/* --- the socket ------------------------------------------------------------------------------- */

static bool set_int(int fd, int level, int name, int value) {
  return setsockopt(fd, level, name, &value, (socklen_t)sizeof value) == 0;
}

/* Answers of 1,232 bytes fit everywhere; the kernel's path MTU, which anybody can forge with ICMP,
 * must not cut them into fragments. */
static void set_options(const km_dns_socket *s) {
  (void)set_int(s->fd, SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER); /* the kernel gives what it likes */
#if defined(IPV6_PMTUDISC_OMIT) && defined(IP_PMTUDISC_OMIT)
  if (s->v6) {
    (void)set_int(s->fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_OMIT); /* best effort */
  } else {
    (void)set_int(s->fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_OMIT); /* best effort */
  }
#endif
  if (!s->wildcard) {
    return;
  }
  if (s->v6) {
    (void)set_int(s->fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1); /* else the system's choice */
  }
#if defined(IP_PKTINFO)
  if (!s->v6) {
    (void)set_int(s->fd, IPPROTO_IP, IP_PKTINFO, 1); /* else the system's choice */
  }
#endif
}

int km_dns_udp_open(km_dns_io *io, km_dns_socket *ret, const km_udp_addr *bind, km_errinfo *err) {
  int rv = km_dns_socket_open(io, ret, bind, SOCK_DGRAM, err);
  if (rv != 0) {
    return rv;
  }
  set_options(ret);
  rv = km_poll_new(&ret->poll, io->loop, ret->fd, on_readable, ret);
  if (rv == 0) {
    rv = km_poll_set(ret->poll, KM_POLL_READ);
  }
  return rv == 0 ? 0 : km_fail(err, rv, NULL);
}
