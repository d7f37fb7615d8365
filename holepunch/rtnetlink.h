/* rtnetlink (netlink(7), rtnetlink(7)): the few messages that tell of interfaces, their addresses
 * and default routes. Pure; rtnetlink_io.h asks the kernel. */
#ifndef KM_HOLEPUNCH_RTNETLINK_H
#define KM_HOLEPUNCH_RTNETLINK_H

#include "holepunch/gateway.h"

#define KM_RTNL_MAX_HOPS 8 /* ways of one multipath route that are read */

typedef enum km_rtnl_kind {
  KM_RTNL_OTHER, /* does not concern us */
  KM_RTNL_LINK,
  KM_RTNL_ADDR,
  KM_RTNL_ROUTE, /* a default route; all other routes are KM_RTNL_OTHER */
  KM_RTNL_DONE,  /* end of a dump */
  KM_RTNL_ERROR  /* the answer to a request that failed */
} km_rtnl_kind;

enum {
  KM_RTNL_UP = 1,        /* link */
  KM_RTNL_LOOPBACK = 2,  /* link */
  KM_RTNL_TENTATIVE = 4, /* address: not ours yet, or no more: its duplicate was found */
};

typedef struct km_rtnl_msg {
  km_rtnl_kind kind;
  bool gone;        /* told of for the last time */
  bool interrupted; /* the dump that this belongs to is not of one moment (NLM_F_DUMP_INTR) */
  uint32_t seq;
  int error;        /* of KM_RTNL_ERROR and KM_RTNL_DONE: an errno, 0: none */
  uint32_t ifindex; /* link, address */
  unsigned flags;   /* link, address: KM_RTNL_* */
  km_udp_addr addr; /* address; port 0 */
  size_t hop_count; /* route; 0: nothing can be sent through it now */
  km_default_route hops[KM_RTNL_MAX_HOPS];
} km_rtnl_msg;

typedef struct km_rtnl_reader {
  const uint8_t *at, *end;
  bool damaged; /* the datagram was cut, or is none of netlink */
} km_rtnl_reader;

void km_rtnl_reader_init(km_rtnl_reader *ret, const uint8_t *bytes, size_t len);
/* The next message of a datagram; false: there is none left. */
bool km_rtnl_next(km_rtnl_reader *r, km_rtnl_msg *ret);

/* What a dump can ask for. */
typedef enum km_rtnl_what {
  KM_RTNL_ASK_LINKS,
  KM_RTNL_ASK_ADDRS,
  KM_RTNL_ASK_ROUTES_V4,
  KM_RTNL_ASK_ROUTES_V6
} km_rtnl_what;

#define KM_RTNL_REQUEST_CAP 64
/* Writes the request for a dump; its length. */
size_t km_rtnl_request(uint8_t ret[KM_RTNL_REQUEST_CAP], km_rtnl_what what, uint32_t seq);

#endif /* KM_HOLEPUNCH_RTNETLINK_H */
