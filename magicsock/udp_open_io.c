/* Opening a socket with the options both drivers want. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "magicsock/udp.h"

#if defined(__linux__) && !defined(UDP_GRO)
#define UDP_GRO 104 /* linux/udp.h, since 5.0 */
#endif

/* 56 ms of 1 Gbit/s. The kernel gives less, without a word, when net.core.[rw]mem_max is lower. */
#define WANTED_BUFFER_BYTES (7 * 1024 * 1024)

static bool set_int(const km_udp *udp, int level, int name, int value) {
  return udp->calls->setsockopt(udp->calls->ctx, udp->fd, level, name, &value,
                                (socklen_t)sizeof value) == 0;
}

static int get_int(int fd, int level, int name) {
  int value = 0;
  socklen_t len = (socklen_t)sizeof value;
  return getsockopt(fd, level, name, &value, &len) == 0 ? value : -1;
}

/* DF on every packet, and no say for the kernel's own path MTU cache: QUIC searches the MTU itself
 * (RFC 9000 section 14), and ICMP messages that anybody can forge must not shrink it. */
static void set_dont_fragment(const km_udp *udp, bool v6) {
#if defined(IP_MTU_DISCOVER) && defined(IP_PMTUDISC_PROBE)
  if (v6) {
    (void)set_int(udp, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE); /* best effort */
  } else {
    (void)set_int(udp, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE); /* best effort */
  }
#elif defined(IP_DONTFRAG)
  if (!v6) {
    (void)set_int(udp, IPPROTO_IP, IP_DONTFRAG, 1); /* best effort */
  }
#endif
#if defined(IPV6_DONTFRAG)
  if (v6) {
    (void)set_int(udp, IPPROTO_IPV6, IPV6_DONTFRAG, 1); /* best effort */
  }
#endif
}

static bool set_ecn(const km_udp *udp, bool v6) {
  if (v6) {
    return set_int(udp, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
  }
#if defined(IP_RECVTOS)
  return set_int(udp, IPPROTO_IP, IP_RECVTOS, 1);
#else
  return false;
#endif
}

static void set_packet_info(const km_udp *udp, bool v6) {
  if (v6) {
    (void)set_int(udp, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1); /* without it: the system's source */
    return;
  }
#if defined(IP_PKTINFO)
  (void)set_int(udp, IPPROTO_IP, IP_PKTINFO, 1); /* without it: the system's choice of source */
#endif
}

/* Without a kernel that knows UDP_SEGMENT the control message would be ignored, and a whole batch
 * leave as one datagram: ask first. 0 is what it is anyway. */
static void set_offload(km_udp *udp) {
#if defined(__linux__)
  udp->gso = set_int(udp, IPPROTO_UDP, UDP_SEGMENT, 0);
  udp->gro = set_int(udp, IPPROTO_UDP, UDP_GRO, 1);
#else
  (void)udp;
#endif
}

static void set_buffers(const km_udp *udp, const km_logger *logger) {
  (void)set_int(udp, SOL_SOCKET, SO_RCVBUF, WANTED_BUFFER_BYTES); /* what was given is logged */
  (void)set_int(udp, SOL_SOCKET, SO_SNDBUF, WANTED_BUFFER_BYTES);
  char text[KM_UDP_ADDR_TEXT_CAP];
  if (km_udp_addr_format(&udp->bound, text, sizeof text) < 0) {
    text[0] = '\0';
  }
  KM_LOG(logger, KM_LOG_DEBUG, KM_LOGC_UDP, NULL, NULL, "socket-open",
         "addr=%s rcvbuf=%d sndbuf=%d gso=%d gro=%d ecn=%d", text,
         get_int(udp->fd, SOL_SOCKET, SO_RCVBUF), get_int(udp->fd, SOL_SOCKET, SO_SNDBUF), udp->gso,
         udp->gro, udp->ecn);
}

static int open_fd(const km_udp_calls *calls, bool v6) {
  int domain = v6 ? AF_INET6 : AF_INET;
#if defined(SOCK_NONBLOCK) && defined(SOCK_CLOEXEC)
  return calls->socket(calls->ctx, domain, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
#else
  int fd = calls->socket(calls->ctx, domain, SOCK_DGRAM, 0);
  if (fd >= 0 && (fcntl(fd, F_SETFL, O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)) {
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
  }
  return fd;
#endif
}

static bool is_wildcard(const km_udp_addr *addr) {
  static const uint8_t zero[16];
  return memcmp(addr->ip, zero, addr->family == 4 ? 4 : 16) == 0;
}

/* Binds and reads the address back. Returns 0 or errno. */
static int bind_fd(km_udp *udp, const km_udp_addr *to, bool v6) {
  km_sockaddr addr;
  socklen_t len = km_sockaddr_set(&addr, to);
  /* IPv6 only: IPv4 has sockets of its own, and [::]:P must not take 0.0.0.0:P from them. */
  if (v6 && !set_int(udp, IPPROTO_IPV6, IPV6_V6ONLY, 1)) {
    return errno;
  }
  if (udp->calls->bind(udp->calls->ctx, udp->fd, &addr.sa, len) != 0) {
    return errno;
  }
  len = (socklen_t)sizeof addr;
  if (getsockname(udp->fd, &addr.sa, &len) != 0) {
    return errno;
  }
  return km_udp_addr_from_sockaddr(&udp->bound, &addr.sa, len) ? 0 : EAFNOSUPPORT;
}

/* What a person can make of a failed socket or bind call. */
static int open_failed(km_errinfo *err, const km_udp_addr *to, const char *text, int sys_errno) {
  bool no_ipv6 = sys_errno == EAFNOSUPPORT || (sys_errno == EADDRNOTAVAIL && is_wildcard(to));
  if (to->family == 6 && no_ipv6) {
    int rv =
        km_fail(err, KM_ERR_ADDR_NOT_AVAILABLE, "cannot bind %s: IPv6 is off on this system", text);
    if (err != NULL) {
      err->sys_errno = sys_errno;
    }
    return rv;
  }
  bool low = to->port > 0 && to->port < 1024 && (sys_errno == EACCES || sys_errno == EPERM);
  return km_fail_errno(err, sys_errno, "cannot bind %s%s", text,
                       low ? " (ports below 1024 are for root)" : "");
}

int km_udp_open(km_udp *ret, const km_udp_options *options, const km_logger *logger,
                km_errinfo *err) {
  char text[KM_UDP_ADDR_TEXT_CAP];
  if (km_udp_addr_format(&options->bind, text, sizeof text) < 0) {
    return km_fail(err, KM_ERR_BAD_ADDR, "cannot bind: an address is IPv4 or IPv6");
  }
  bool v6 = options->bind.family == 6;
  km_udp udp = {.calls = options->calls != NULL ? options->calls : &km_udp_system_calls};
  udp.fd = open_fd(udp.calls, v6);
  if (udp.fd < 0) {
    return open_failed(err, &options->bind, text, errno);
  }
  set_dont_fragment(&udp, v6);
  int sys_errno = bind_fd(&udp, &options->bind, v6);
  if (sys_errno != 0) {
    close(udp.fd);
    return open_failed(err, &options->bind, text, sys_errno);
  }
  udp.wildcard = is_wildcard(&udp.bound);
  udp.ecn = options->ecn && set_ecn(&udp, v6);
  if (udp.wildcard) {
    set_packet_info(&udp, v6);
  }
  if (options->gso) {
    set_offload(&udp);
  }
  set_buffers(&udp, logger);
  *ret = udp;
  return 0;
}

void km_udp_close(km_udp *udp) {
  if (udp->fd >= 0) {
    close(udp->fd);
    udp->fd = -1;
  }
}

int km_udp_rx_pool_new(km_udp_rx_pool **ret, const km_env *env) {
  km_udp_rx_pool *pool = km_env_alloc(env, sizeof *pool);
  if (pool == NULL) {
    return KM_ERR_NOMEM;
  }
  /* Not zeroed: pages become resident when a packet first lands in them, and an idle endpoint
   * receives everything into the first buffer. */
  pool->buffers = km_env_alloc(env, (size_t)KM_UDP_RX_BUFFERS * KM_UDP_RX_BUFFER);
  if (pool->buffers == NULL) {
    km_env_free(env, pool);
    return KM_ERR_NOMEM;
  }
  *ret = pool;
  return 0;
}

void km_udp_rx_pool_del(const km_env *env, km_udp_rx_pool *pool) {
  if (pool != NULL) {
    km_env_free(env, pool->buffers);
    km_env_free(env, pool);
  }
}

const km_udp_driver *km_udp_default_driver(void) {
#if defined(__linux__) && !defined(KM_UDP_POSIX)
  return &km_udp_linux;
#else
  return &km_udp_posix;
#endif
}
