/* The portable driver: one datagram a call. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "magicsock/udp.h"

static int system_socket(void *ctx, int domain, int type, int protocol) {
  (void)ctx;
  return socket(domain, type, protocol);
}

static int system_bind(void *ctx, int fd, const struct sockaddr *addr, socklen_t len) {
  (void)ctx;
  return bind(fd, addr, len);
}

static int system_setsockopt(void *ctx, int fd, int level, int name, const void *value,
                             socklen_t len) {
  (void)ctx;
  return setsockopt(fd, level, name, value, len);
}

static ssize_t system_sendmsg(void *ctx, int fd, const struct msghdr *msg, int flags) {
  (void)ctx;
  return sendmsg(fd, msg, flags);
}

static ssize_t system_recvmsg(void *ctx, int fd, struct msghdr *msg, int flags) {
  (void)ctx;
  return recvmsg(fd, msg, flags);
}

#if defined(__linux__)
static int system_sendmmsg(void *ctx, int fd, struct mmsghdr *msgs, unsigned count, int flags) {
  (void)ctx;
  return sendmmsg(fd, msgs, count, flags);
}

static int system_recvmmsg(void *ctx, int fd, struct mmsghdr *msgs, unsigned count, int flags) {
  (void)ctx;
  return recvmmsg(fd, msgs, count, flags, NULL);
}
#endif

const km_udp_calls km_udp_system_calls = {
    .socket = system_socket,
    .bind = system_bind,
    .setsockopt = system_setsockopt,
    .sendmsg = system_sendmsg,
    .recvmsg = system_recvmsg,
#if defined(__linux__)
    .sendmmsg = system_sendmmsg,
    .recvmmsg = system_recvmmsg,
#endif
};

int km_udp_recv_failed(int sys_errno) {
  switch (sys_errno) {
  case EAGAIN:
#if EAGAIN != EWOULDBLOCK
  case EWOULDBLOCK:
#endif
  case ENOMEM:
  case ENOBUFS:
    return 0; /* short of memory: the next turn of the loop tries again */
  case EBADF:
  case ENOTSOCK:
  case ENOTCONN:
  case EINVAL:
  case EFAULT:
    return KM_ERR_CLOSED;
  default:
    /* An ICMP message or a link that went down: reported once, the socket is as good as before. */
    return KM_ERR_AGAIN;
  }
}

static int posix_recv(km_udp *udp, km_udp_rx_pool *pool, unsigned want, km_udp_rx *ret) {
  unsigned count = 0;
  while (count < want) {
    struct iovec iov = {pool->buffers + (size_t)count * KM_UDP_RX_BUFFER, KM_UDP_RX_BUFFER};
    struct msghdr msg = {.msg_name = &pool->names[count],
                         .msg_namelen = (socklen_t)sizeof pool->names[count],
                         .msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = pool->controls[count].bytes,
                         .msg_controllen = KM_UDP_CONTROL_CAP};
    ssize_t len = udp->calls->recvmsg(udp->calls->ctx, udp->fd, &msg, MSG_DONTWAIT);
    if (len < 0 && errno == EINTR) {
      continue;
    }
    if (len < 0) {
      return count > 0 ? (int)count : km_udp_recv_failed(errno);
    }
    km_udp_control_read(udp, &msg, (size_t)len, &ret[count]);
    count++;
  }
  return (int)count;
}

static int posix_send(km_udp *udp, const km_udp_tx *tx, km_udp_tx_report *report) {
  memset(report, 0, sizeof *report);
  km_udp_control control;
  struct iovec iov;
  /* sendmsg only reads these, but struct msghdr has no const. */
  km_sockaddr to = *tx->to;
  struct msghdr msg = {
      .msg_name = &to, .msg_namelen = tx->to_len, .msg_iov = &iov, .msg_iovlen = 1};
  km_udp_control_fill(udp, &msg, &control, tx, 0);
  while (report->done < tx->len) {
    size_t left = tx->len - report->done;
    iov.iov_len = left < tx->segment ? left : tx->segment;
    iov.iov_base = km_udp_unconst(tx->data + report->done);
    report->calls++;
    if (udp->calls->sendmsg(udp->calls->ctx, udp->fd, &msg, MSG_DONTWAIT) >= 0) {
      km_udp_report_sent(report, iov.iov_len, 1);
      continue;
    }
    int rv = km_udp_send_failed(tx, errno, report);
    if (rv != 0) {
      return rv;
    }
  }
  return 0;
}

const km_udp_driver km_udp_posix = {.name = "posix", .recv = posix_recv, .send = posix_send};
