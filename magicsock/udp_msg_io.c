/* Addresses and control messages of socket calls, for both drivers. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>

#include "magicsock/udp.h"

#if defined(__linux__) && !defined(UDP_GRO)
#define UDP_GRO 104 /* linux/udp.h, since 5.0 */
#endif

enum { ECN_MASK = 3 };

static void add_cmsg(struct msghdr *msg, size_t *used, int level, int type, const void *data,
                     size_t len) {
  struct cmsghdr *c = (struct cmsghdr *)(void *)((char *)msg->msg_control + *used);
  memset(c, 0, CMSG_SPACE(len));
  c->cmsg_level = level;
  c->cmsg_type = type;
  c->cmsg_len = CMSG_LEN(len);
  memcpy(CMSG_DATA(c), data, len);
  *used += CMSG_SPACE(len);
}

static void add_source(struct msghdr *msg, size_t *used, bool v6, const uint8_t *local_ip) {
  if (v6) {
    struct in6_pktinfo info;
    memset(&info, 0, sizeof info);
    memcpy(&info.ipi6_addr, local_ip, 16);
    add_cmsg(msg, used, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
    return;
  }
#if defined(IP_PKTINFO)
  struct in_pktinfo info;
  memset(&info, 0, sizeof info);
  memcpy(&info.ipi_spec_dst, local_ip, 4);
  add_cmsg(msg, used, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
#endif
}

void km_udp_control_fill(const km_udp *udp, struct msghdr *msg, km_udp_control *control,
                         const km_udp_tx *tx, size_t gso_segment) {
  bool v6 = udp->bound.family == 6;
  size_t used = 0;
  msg->msg_control = control->bytes;
  if (udp->ecn && (tx->ecn & ECN_MASK) != 0) {
    int tos = tx->ecn & ECN_MASK;
    add_cmsg(msg, &used, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_TCLASS : IP_TOS, &tos,
             sizeof tos);
  }
  if (tx->local_ip != NULL) {
    add_source(msg, &used, v6, tx->local_ip);
  }
#if defined(__linux__)
  if (gso_segment != 0) {
    uint16_t segment = (uint16_t)gso_segment;
    add_cmsg(msg, &used, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof segment);
  }
#else
  (void)gso_segment; /* only the Linux driver asks for it */
#endif
  msg->msg_controllen = used;
  if (used == 0) {
    msg->msg_control = NULL;
  }
}

static void read_cmsg_v4(struct cmsghdr *c, km_udp_rx *ret) {
#if defined(IP_RECVTOS)
  /* Linux labels it IP_TOS, the BSDs IP_RECVTOS; one byte in both cases. */
  if (c->cmsg_type == IP_TOS || c->cmsg_type == IP_RECVTOS) {
    ret->ecn = CMSG_DATA(c)[0] & ECN_MASK;
  }
#endif
#if defined(IP_PKTINFO)
  if (c->cmsg_type == IP_PKTINFO) {
    struct in_pktinfo info;
    memcpy(&info, CMSG_DATA(c), sizeof info);
    /* Not ipi_addr, which may be a broadcast address: nothing can be sent from that. */
    memcpy(ret->local_ip, &info.ipi_spec_dst, 4);
  }
#endif
}

static void read_cmsg_v6(struct cmsghdr *c, km_udp_rx *ret) {
  if (c->cmsg_type == IPV6_TCLASS) {
    int tclass;
    memcpy(&tclass, CMSG_DATA(c), sizeof tclass);
    ret->ecn = (uint8_t)(tclass & ECN_MASK);
  } else if (c->cmsg_type == IPV6_PKTINFO) {
    struct in6_pktinfo info;
    memcpy(&info, CMSG_DATA(c), sizeof info);
    if (!IN6_IS_ADDR_MULTICAST(&info.ipi6_addr)) {
      memcpy(ret->local_ip, &info.ipi6_addr, 16);
    }
  }
}

void km_udp_control_read(const km_udp *udp, struct msghdr *msg, size_t len, km_udp_rx *ret) {
  memset(ret, 0, sizeof *ret);
  ret->data = msg->msg_iov->iov_base;
  ret->len = len;
  ret->segment = len;
  ret->truncated = (msg->msg_flags & MSG_TRUNC) != 0;
  if (!km_udp_addr_from_sockaddr(&ret->from, msg->msg_name, msg->msg_namelen)) {
    ret->from.family = 0;
  }
  for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
    if (c->cmsg_level == IPPROTO_IP) {
      read_cmsg_v4(c, ret);
    } else if (c->cmsg_level == IPPROTO_IPV6) {
      read_cmsg_v6(c, ret);
    }
#if defined(__linux__)
    else if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
      int segment;
      memcpy(&segment, CMSG_DATA(c), sizeof segment);
      if (segment > 0) {
        ret->segment = (size_t)segment;
      }
    }
#endif
  }
  if (ret->segment == 0) {
    ret->segment = 1;
  }
  (void)udp;
}

km_udp_verdict km_udp_send_verdict(int sys_errno) {
  switch (sys_errno) {
  case EAGAIN:
#if EAGAIN != EWOULDBLOCK
  case EWOULDBLOCK:
#endif
    return KM_UDP_BLOCKED;
  case EINTR:
    return KM_UDP_RETRY;
  case EBADF:
  case ENOTSOCK:
  case EPIPE: /* iOS takes the sockets of an application that slept */
  case ENOTCONN:
    return KM_UDP_DEAD;
  case ENOBUFS:
  case ENOMEM:
    return KM_UDP_FULL;
  case ECONNREFUSED:
  case ECONNRESET:
    return KM_UDP_EARLIER;
  default:
    return KM_UDP_DROP;
  }
}

void km_udp_report_sent(km_udp_tx_report *report, size_t bytes, size_t packets) {
  report->done += bytes;
  report->sent_bytes += bytes;
  report->sent_packets += (uint32_t)packets;
}

static void report_dropped(const km_udp_tx *tx, size_t bytes, km_udp_tx_report *report) {
  report->done += bytes;
  report->dropped_packets += (uint32_t)((bytes + tx->segment - 1) / tx->segment);
}

int km_udp_send_failed(const km_udp_tx *tx, int sys_errno, km_udp_tx_report *report) {
  size_t left = tx->len - report->done;
  km_udp_verdict verdict = km_udp_send_verdict(sys_errno);
  if (verdict == KM_UDP_EARLIER && !report->retried) {
    report->retried = true; /* telling it cleared it; twice in a row it is about this packet */
    verdict = KM_UDP_RETRY;
  }
  switch (verdict) {
  case KM_UDP_RETRY:
    return 0;
  case KM_UDP_BLOCKED:
    return KM_ERR_AGAIN;
  case KM_UDP_FULL:
    return KM_ERR_LIMIT;
  case KM_UDP_DEAD:
    report->last_errno = sys_errno;
    report_dropped(tx, left, report);
    return KM_ERR_CLOSED;
  case KM_UDP_EARLIER:
  case KM_UDP_DROP:
  default:
    report->last_errno = sys_errno;
    /* A datagram too long says something about those of its length only, the last one may be
     * shorter. Everything else says something about the way: the rest would fare alike. */
    if (sys_errno == EMSGSIZE && left > tx->segment && left % tx->segment != 0) {
      left -= left % tx->segment;
    }
    report_dropped(tx, left, report);
    return 0;
  }
}
