/* The Linux driver: many datagrams a call. */
#include "magicsock/udp.h"

#if defined(__linux__)

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static int linux_recv(km_udp *udp, km_udp_rx_pool *pool, unsigned want, km_udp_rx *ret) {
  struct mmsghdr msgs[KM_UDP_RX_BUFFERS];
  struct iovec iovs[KM_UDP_RX_BUFFERS];
  if (want > KM_UDP_RX_BUFFERS) {
    want = KM_UDP_RX_BUFFERS;
  }
  for (unsigned i = 0; i < want; i++) {
    iovs[i] = (struct iovec){pool->buffers + (size_t)i * KM_UDP_RX_BUFFER, KM_UDP_RX_BUFFER};
    msgs[i].msg_len = 0;
    msgs[i].msg_hdr = (struct msghdr){.msg_name = &pool->names[i],
                                      .msg_namelen = (socklen_t)sizeof pool->names[i],
                                      .msg_iov = &iovs[i],
                                      .msg_iovlen = 1,
                                      .msg_control = pool->controls[i].bytes,
                                      .msg_controllen = KM_UDP_CONTROL_CAP};
  }
  int count;
  do {
    count = udp->calls->recvmmsg(udp->calls->ctx, udp->fd, msgs, want, MSG_DONTWAIT);
  } while (count < 0 && errno == EINTR);
  if (count < 0) {
    return km_udp_recv_failed(errno);
  }
  for (int i = 0; i < count; i++) {
    km_udp_control_read(udp, &msgs[i].msg_hdr, msgs[i].msg_len, &ret[i]);
  }
  return count;
}

/* EIO: a device or tunnel without checksum offload. EINVAL: a kernel without GSO for this socket,
 * but also (before 6.13) a segment above the route's MTU, or a source address that has gone.
 * EMSGSIZE: such a segment since 6.13, or a driver's own limit. */
static bool may_be_gso(int sys_errno) {
  return sys_errno == EIO || sys_errno == EINVAL || sys_errno == EMSGSIZE ||
         sys_errno == EOPNOTSUPP;
}

/* One call for `len` bytes, cut into segments by the kernel. Returns 0 when they are dealt with,
 * KM_ERR_UNSUPPORTED when they should be tried one by one, else as km_udp_driver.send. */
static int send_gso(km_udp *udp, const km_udp_tx *tx, size_t len, km_udp_tx_report *report) {
  km_udp_control control;
  km_sockaddr to = *tx->to;
  struct iovec iov = {km_udp_unconst(tx->data + report->done), len};
  struct msghdr msg = {
      .msg_name = &to, .msg_namelen = tx->to_len, .msg_iov = &iov, .msg_iovlen = 1};
  km_udp_control_fill(udp, &msg, &control, tx, len > tx->segment ? tx->segment : 0);
  for (;;) {
    report->calls++;
    if (udp->calls->sendmsg(udp->calls->ctx, udp->fd, &msg, MSG_DONTWAIT) >= 0) {
      km_udp_report_sent(report, len, (len + tx->segment - 1) / tx->segment);
      return 0;
    }
    if (errno == EINTR) {
      continue;
    }
    if (len > tx->segment && may_be_gso(errno)) {
      return KM_ERR_UNSUPPORTED;
    }
    return km_udp_send_failed(tx, errno, report);
  }
}

/* The next `len` bytes as datagrams of their own, as many a call as there are. */
static int send_each(km_udp *udp, const km_udp_tx *tx, size_t len, km_udp_tx_report *report) {
  struct mmsghdr msgs[KM_UDP_MAX_SEGMENTS];
  struct iovec iovs[KM_UDP_MAX_SEGMENTS];
  km_udp_control control;
  km_sockaddr to = *tx->to;
  struct msghdr msg = {.msg_name = &to, .msg_namelen = tx->to_len, .msg_iovlen = 1};
  km_udp_control_fill(udp, &msg, &control, tx, 0);
  size_t end = report->done + len;
  while (report->done < end) {
    unsigned count = 0;
    for (size_t at = report->done; at < end && count < KM_UDP_MAX_SEGMENTS; count++) {
      size_t left = end - at;
      size_t n = left < tx->segment ? left : tx->segment;
      iovs[count] = (struct iovec){km_udp_unconst(tx->data + at), n};
      msgs[count] = (struct mmsghdr){.msg_hdr = msg};
      msgs[count].msg_hdr.msg_iov = &iovs[count];
      at += n;
    }
    report->calls++;
    int sent = udp->calls->sendmmsg(udp->calls->ctx, udp->fd, msgs, count, MSG_DONTWAIT);
    if (sent > 0) {
      for (int i = 0; i < sent; i++) {
        km_udp_report_sent(report, iovs[i].iov_len, 1);
      }
      continue;
    }
    int rv = km_udp_send_failed(tx, sent < 0 ? errno : EAGAIN, report);
    if (rv != 0) {
      return rv;
    }
  }
  return 0;
}

static size_t next_piece(const km_udp *udp, const km_udp_tx *tx, size_t done) {
  size_t most = udp->bound.family == 6 ? KM_UDP_MAX_PAYLOAD_V6 : KM_UDP_MAX_PAYLOAD_V4;
  size_t segments = most / tx->segment;
  if (segments > KM_UDP_MAX_SEGMENTS) {
    segments = KM_UDP_MAX_SEGMENTS;
  }
  if (segments == 0) {
    segments = 1; /* too long for any packet: the kernel says EMSGSIZE */
  }
  size_t left = tx->len - done;
  return left < segments * tx->segment ? left : segments * tx->segment;
}

/* The datagrams one by one tell what a refused batch was about: if all of them pass, it was GSO. */
static int send_without_gso(km_udp *udp, const km_udp_tx *tx, size_t len,
                            km_udp_tx_report *report) {
  uint32_t sent = report->sent_packets, dropped = report->dropped_packets;
  int rv = send_each(udp, tx, len, report);
  if (report->sent_packets > sent && report->dropped_packets == dropped) {
    udp->gso = false;
  }
  return rv;
}

static int linux_send(km_udp *udp, const km_udp_tx *tx, km_udp_tx_report *report) {
  memset(report, 0, sizeof *report);
  while (report->done < tx->len) {
    size_t len = next_piece(udp, tx, report->done);
    int rv;
    if (udp->gso || len <= tx->segment) {
      rv = send_gso(udp, tx, len, report);
    } else {
      rv = send_each(udp, tx, len, report);
    }
    if (rv == KM_ERR_UNSUPPORTED) {
      rv = send_without_gso(udp, tx, len, report);
    }
    if (rv != 0) {
      return rv;
    }
  }
  return 0;
}

const km_udp_driver km_udp_linux = {.name = "linux", .recv = linux_recv, .send = linux_send};

#endif /* __linux__ */
