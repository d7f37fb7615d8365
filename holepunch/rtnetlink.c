#include "holepunch/rtnetlink.h"

#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "base/udp_addr.h"

/* Since Linux 5.6: leave the counters of a link out, they are most of the answer. */
#define EXT_FILTER_SKIP_STATS 8u

/* --- attributes: length and type of 16 bits each, padded to 4 bytes, of this machine's order - */

typedef struct attr {
  uint16_t type;
  const uint8_t *data;
  size_t len;
} attr;

typedef struct span {
  const uint8_t *at;
  size_t len;
} span;

static size_t padded(size_t len) {
  return (len + 3) & ~(size_t)3;
}

static void skip(span *s, size_t len) {
  len = len < s->len ? len : s->len;
  s->at += len;
  s->len -= len;
}

static bool next_attr(span *s, attr *ret) {
  struct rtattr head;
  if (s->len < sizeof head) {
    return false;
  }
  memcpy(&head, s->at, sizeof head);
  if (head.rta_len < sizeof head || head.rta_len > s->len) {
    return false;
  }
  *ret = (attr){.type = (uint16_t)(head.rta_type & NLA_TYPE_MASK),
                .data = s->at + sizeof head,
                .len = head.rta_len - sizeof head};
  skip(s, padded(head.rta_len));
  return true;
}

static uint32_t attr_u32(const attr *a) {
  uint32_t value = 0;
  if (a->len == sizeof value) {
    memcpy(&value, a->data, sizeof value);
  }
  return value;
}

/* An IP address is told apart by its length. Untouched if it is none. */
static void read_ip(km_udp_addr *ret, const uint8_t *bytes, size_t len, uint32_t ifindex) {
  if (len != 4 && len != 16) {
    return;
  }
  *ret = (km_udp_addr){.family = len == 4 ? 4 : 6};
  memcpy(ret->ip, bytes, len);
  if (len == 16 && ret->ip[0] == 0xfe && (ret->ip[1] & 0xc0) == 0x80) {
    ret->scope_id = ifindex;
  }
}

/* --- links and addresses --------------------------------------------------------------------- */

static void read_link(km_rtnl_msg *ret, span body, bool gone) {
  struct ifinfomsg head;
  if (body.len < sizeof head) {
    return;
  }
  memcpy(&head, body.at, sizeof head);
  ret->kind = KM_RTNL_LINK;
  ret->gone = gone;
  ret->ifindex = (uint32_t)head.ifi_index;
  ret->flags = ((head.ifi_flags & IFF_UP) != 0 ? KM_RTNL_UP : 0u) |
               ((head.ifi_flags & IFF_LOOPBACK) != 0 ? KM_RTNL_LOOPBACK : 0u);
}

static void read_addr(km_rtnl_msg *ret, span body, bool gone) {
  struct ifaddrmsg head;
  if (body.len < sizeof head) {
    return;
  }
  memcpy(&head, body.at, sizeof head);
  uint32_t flags = head.ifa_flags;
  km_udp_addr addr = {0}, local = {0};
  attr a;
  skip(&body, padded(sizeof head));
  while (next_attr(&body, &a)) {
    if (a.type == IFA_ADDRESS) {
      read_ip(&addr, a.data, a.len, head.ifa_index);
    } else if (a.type == IFA_LOCAL) {
      read_ip(&local, a.data, a.len, head.ifa_index);
    } else if (a.type == IFA_FLAGS && a.len == 4) {
      flags = attr_u32(&a);
    }
  }
  /* Where both are given, IFA_ADDRESS is the other end of a point-to-point link. */
  ret->addr = local.family != 0 ? local : addr;
  ret->kind = ret->addr.family != 0 ? KM_RTNL_ADDR : KM_RTNL_OTHER;
  ret->gone = gone;
  ret->ifindex = head.ifa_index;
  bool usable = (flags & IFA_F_DADFAILED) == 0 &&
                ((flags & IFA_F_TENTATIVE) == 0 || (flags & IFA_F_OPTIMISTIC) != 0);
  ret->flags = usable ? 0 : KM_RTNL_TENTATIVE;
}

/* --- routes ---------------------------------------------------------------------------------- */

static void add_hop(km_rtnl_msg *ret, const km_default_route *hop, unsigned flags) {
  bool dead = (flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN)) != 0;
  if (!dead && hop->ifindex != 0 && ret->hop_count < KM_RTNL_MAX_HOPS) {
    ret->hops[ret->hop_count++] = *hop;
  }
}

/* RTA_VIA: an IPv4 route through an IPv6 gateway (RFC 5549) has its address behind a family. */
static void read_gateway(km_default_route *ret, const attr *a) {
  if (a->type == RTA_GATEWAY) {
    read_ip(&ret->gateway, a->data, a->len, ret->ifindex);
  } else if (a->type == RTA_VIA && a->len > sizeof(uint16_t)) {
    read_ip(&ret->gateway, a->data + sizeof(uint16_t), a->len - sizeof(uint16_t), ret->ifindex);
  }
}

static void read_multipath(km_rtnl_msg *ret, const km_default_route *route, span hops) {
  struct rtnexthop head;
  while (hops.len >= sizeof head) {
    memcpy(&head, hops.at, sizeof head);
    if (head.rtnh_len < sizeof head || head.rtnh_len > hops.len) {
      return;
    }
    km_default_route hop = *route;
    hop.ifindex = (uint32_t)head.rtnh_ifindex;
    span attrs = {.at = hops.at, .len = head.rtnh_len};
    attr a;
    skip(&attrs, sizeof head);
    while (next_attr(&attrs, &a)) {
      read_gateway(&hop, &a);
    }
    add_hop(ret, &hop, head.rtnh_flags);
    skip(&hops, padded(head.rtnh_len));
  }
}

/* Ours are default routes, or halves of one, of this machine's own making. */
static bool is_default(const struct rtmsg *head, const attr *dst, uint8_t *ret_part) {
  if ((head->rtm_family != AF_INET && head->rtm_family != AF_INET6) || head->rtm_dst_len > 1 ||
      head->rtm_src_len != 0 || head->rtm_type != RTN_UNICAST ||
      head->rtm_table == RT_TABLE_LOCAL || (head->rtm_flags & RTM_F_CLONED) != 0) {
    return false;
  }
  bool upper = dst->len > 0 && (dst->data[0] & 0x80) != 0;
  *ret_part = head->rtm_dst_len == 0 ? KM_ROUTE_ALL
              : upper                ? KM_ROUTE_UPPER_HALF
                                     : KM_ROUTE_LOWER_HALF;
  return true;
}

static void read_route(km_rtnl_msg *ret, span body, bool gone) {
  struct rtmsg head;
  if (body.len < sizeof head) {
    return;
  }
  memcpy(&head, body.at, sizeof head);
  skip(&body, padded(sizeof head));
  km_default_route route = {.family = head.rtm_family == AF_INET ? 4 : 6, .table = head.rtm_table};
  attr a, dst = {0}, via = {0};
  span hops = {0};
  while (next_attr(&body, &a)) {
    switch (a.type) {
    case RTA_DST:
      dst = a;
      break;
    case RTA_OIF:
      route.ifindex = attr_u32(&a);
      break;
    case RTA_PRIORITY:
      route.metric = attr_u32(&a);
      break;
    case RTA_TABLE:
      route.table = attr_u32(&a);
      break;
    case RTA_GATEWAY:
    case RTA_VIA:
      via = a; /* its interface may come later */
      break;
    case RTA_MULTIPATH:
      hops = (span){.at = a.data, .len = a.len};
      break;
    default:
      break;
    }
  }
  if (!is_default(&head, &dst, &route.part)) {
    return;
  }
  ret->kind = KM_RTNL_ROUTE;
  ret->gone = gone;
  read_gateway(&route, &via);
  add_hop(ret, &route, head.rtm_flags);
  read_multipath(ret, &route, hops);
}

/* --- messages -------------------------------------------------------------------------------- */

/* An errno, negative, stands first in the answer to a request; in the end of a dump as well. */
static int read_error(span body) {
  int32_t error = 0;
  if (body.len >= sizeof error) {
    memcpy(&error, body.at, sizeof error);
  }
  return error < 0 && error > -4096 ? (int)-error : 0;
}

static void read_body(km_rtnl_msg *ret, uint16_t type, span body) {
  switch (type) {
  case NLMSG_DONE:
    ret->kind = KM_RTNL_DONE;
    ret->error = read_error(body);
    break;
  case NLMSG_ERROR:
    ret->kind = KM_RTNL_ERROR;
    ret->error = read_error(body);
    break;
  case RTM_NEWLINK:
  case RTM_DELLINK:
    read_link(ret, body, type == RTM_DELLINK);
    break;
  case RTM_NEWADDR:
  case RTM_DELADDR:
    read_addr(ret, body, type == RTM_DELADDR);
    break;
  case RTM_NEWROUTE:
  case RTM_DELROUTE:
    read_route(ret, body, type == RTM_DELROUTE);
    break;
  default:
    break;
  }
}

void km_rtnl_reader_init(km_rtnl_reader *ret, const uint8_t *bytes, size_t len) {
  *ret = (km_rtnl_reader){.at = bytes, .end = bytes + len};
}

bool km_rtnl_next(km_rtnl_reader *r, km_rtnl_msg *ret) {
  struct nlmsghdr head;
  size_t left = (size_t)(r->end - r->at);
  if (left == 0 || r->damaged) {
    return false;
  }
  if (left >= sizeof head) {
    memcpy(&head, r->at, sizeof head);
  }
  if (left < sizeof head || head.nlmsg_len < sizeof head || head.nlmsg_len > left) {
    r->damaged = true;
    return false;
  }
  memset(ret, 0, sizeof *ret);
  ret->seq = head.nlmsg_seq;
  ret->interrupted = (head.nlmsg_flags & NLM_F_DUMP_INTR) != 0;
  span body = {.at = r->at + sizeof head, .len = head.nlmsg_len - sizeof head};
  read_body(ret, head.nlmsg_type, body);
  size_t step = padded(head.nlmsg_len);
  r->at += step < left ? step : left;
  return true;
}

/* --- requests -------------------------------------------------------------------------------- */

static size_t finish_request(uint8_t *ret, uint16_t type, uint32_t seq, const void *body,
                             size_t len) {
  const struct nlmsghdr head = {.nlmsg_len = (uint32_t)(sizeof head + len),
                                .nlmsg_type = type,
                                .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
                                .nlmsg_seq = seq};
  memcpy(ret, &head, sizeof head);
  memcpy(ret + sizeof head, body, len);
  return head.nlmsg_len;
}

size_t km_rtnl_request(uint8_t ret[KM_RTNL_REQUEST_CAP], km_rtnl_what what, uint32_t seq) {
  if (what == KM_RTNL_ASK_LINKS) {
    struct {
      struct ifinfomsg info;
      struct rtattr attr;
      uint32_t mask;
    } ask = {.attr = {.rta_len = sizeof ask.attr + sizeof ask.mask, .rta_type = IFLA_EXT_MASK},
             .mask = EXT_FILTER_SKIP_STATS};
    return finish_request(ret, RTM_GETLINK, seq, &ask, sizeof ask);
  }
  if (what == KM_RTNL_ASK_ADDRS) {
    const struct ifaddrmsg ask = {.ifa_family = AF_UNSPEC};
    return finish_request(ret, RTM_GETADDR, seq, &ask, sizeof ask);
  }
  const struct rtmsg ask = {.rtm_family = what == KM_RTNL_ASK_ROUTES_V4 ? AF_INET : AF_INET6};
  return finish_request(ret, RTM_GETROUTE, seq, &ask, sizeof ask);
}
