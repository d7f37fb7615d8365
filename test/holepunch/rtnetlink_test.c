/* rtnetlink messages as the kernel writes them, and as nobody should. */
#include "holepunch/rtnetlink.h"

#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "test/base/test_env.h"

/* A datagram being written. */
typedef struct datagram {
  _Alignas(8) uint8_t bytes[1024];
  size_t len, begin; /* of the last message */
} datagram;

static void put(datagram *d, const void *bytes, size_t len) {
  assert_true(d->len + len + 4 <= sizeof d->bytes);
  if (len > 0) {
    memcpy(d->bytes + d->len, bytes, len);
  }
  d->len += len;
  while (d->len % 4 != 0) {
    d->bytes[d->len++] = 0;
  }
  uint32_t whole = (uint32_t)(d->len - d->begin);
  memcpy(d->bytes + d->begin, &whole, sizeof whole);
}

static void begin(datagram *d, uint16_t type, uint16_t flags, const void *body, size_t len) {
  const struct nlmsghdr head = {.nlmsg_type = type, .nlmsg_flags = flags, .nlmsg_seq = 7};
  d->begin = d->len;
  put(d, &head, sizeof head);
  put(d, body, len);
}

static void put_attr(datagram *d, uint16_t type, const void *bytes, size_t len) {
  const struct rtattr head = {.rta_len = (uint16_t)(sizeof head + len), .rta_type = type};
  put(d, &head, sizeof head);
  put(d, bytes, len);
}

static void put_u32(datagram *d, uint16_t type, uint32_t value) {
  put_attr(d, type, &value, sizeof value);
}

static const uint8_t gw4[4] = {192, 168, 1, 1}, own4[4] = {192, 168, 1, 7};
static const uint8_t gw6[16] = {0xfe, 0x80, [15] = 1}, own6[16] = {0x20, 1, 0x0d, 0xb8, [15] = 7};

/* The only message of a datagram. */
static km_rtnl_msg only(const datagram *d) {
  km_rtnl_reader r;
  km_rtnl_msg ret, none;
  km_rtnl_reader_init(&r, d->bytes, d->len);
  assert_true(km_rtnl_next(&r, &ret));
  assert_int_equal(ret.seq, 7);
  assert_false(km_rtnl_next(&r, &none));
  assert_false(r.damaged);
  return ret;
}

static void links(void **state) {
  (void)state;
  static const struct {
    unsigned flags, want;
  } cases[] = {{IFF_UP | IFF_RUNNING, KM_RTNL_UP},
               {IFF_UP | IFF_LOOPBACK, KM_RTNL_UP | KM_RTNL_LOOPBACK},
               {IFF_RUNNING, 0}};
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    datagram d = {0};
    const struct ifinfomsg info = {.ifi_index = 3, .ifi_flags = cases[i].flags};
    begin(&d, i == 2 ? RTM_DELLINK : RTM_NEWLINK, 0, &info, sizeof info);
    put_attr(&d, IFLA_IFNAME, "eth0", 5);
    km_rtnl_msg msg = only(&d);
    assert_int_equal(msg.kind, KM_RTNL_LINK);
    assert_int_equal(msg.ifindex, 3);
    assert_int_equal(msg.flags, cases[i].want);
    assert_int_equal(msg.gone, i == 2);
  }
}

static km_rtnl_msg address(uint8_t flags, uint32_t long_flags, const void *local, const void *addr,
                           size_t len) {
  datagram d = {0};
  const struct ifaddrmsg info = {.ifa_index = 3, .ifa_flags = flags};
  begin(&d, RTM_NEWADDR, 0, &info, sizeof info);
  if (addr != NULL) {
    put_attr(&d, IFA_ADDRESS, addr, len);
  }
  if (local != NULL) {
    put_attr(&d, IFA_LOCAL, local, len);
  }
  if (long_flags != 0) {
    put_u32(&d, IFA_FLAGS, long_flags);
  }
  return only(&d);
}

static void addresses(void **state) {
  (void)state;
  km_rtnl_msg msg = address(0, 0, own4, gw4, 4); /* of a tunnel: gw4 is its other end */
  assert_int_equal(msg.kind, KM_RTNL_ADDR);
  assert_int_equal(msg.addr.family, 4);
  assert_memory_equal(msg.addr.ip, own4, 4);
  assert_int_equal(msg.ifindex, 3);
  msg = address(0, 0, NULL, own6, 16);
  assert_int_equal(msg.addr.family, 6);
  assert_int_equal(msg.addr.scope_id, 0);
  assert_memory_equal(msg.addr.ip, own6, 16);
  msg = address(0, 0, NULL, gw6, 16);
  assert_int_equal(msg.addr.scope_id, 3); /* link-local */
  assert_int_equal(address(0, 0, NULL, NULL, 0).kind, KM_RTNL_OTHER);
  assert_int_equal(address(0, 0, NULL, own6, 15).kind, KM_RTNL_OTHER);
  assert_int_equal(address(IFA_F_TENTATIVE, 0, NULL, own6, 16).flags, KM_RTNL_TENTATIVE);
  assert_int_equal(address(0, IFA_F_DADFAILED | IFA_F_PERMANENT, NULL, own6, 16).flags,
                   KM_RTNL_TENTATIVE);
  assert_int_equal(address(0, IFA_F_TENTATIVE | IFA_F_OPTIMISTIC, NULL, own6, 16).flags, 0);
  /* The short flags hold the low bits only, and count for nothing beside the long ones. */
  assert_int_equal(address(IFA_F_TENTATIVE, IFA_F_DEPRECATED, NULL, own6, 16).flags, 0);
}

static void begin_route(datagram *d, const struct rtmsg *info) {
  memset(d, 0, sizeof *d);
  begin(d, RTM_NEWROUTE, 0, info, sizeof *info);
}

static void a_default_route(void **state) {
  (void)state;
  datagram d;
  struct rtmsg info = {.rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN, .rtm_type = RTN_UNICAST};
  begin_route(&d, &info);
  put_u32(&d, RTA_TABLE, 1000);
  put_attr(&d, RTA_GATEWAY, gw4, 4);
  put_u32(&d, RTA_OIF, 3);
  put_u32(&d, RTA_PRIORITY, 100);
  km_rtnl_msg msg = only(&d);
  const km_default_route want = {.family = 4,
                                 .table = 1000,
                                 .metric = 100,
                                 .ifindex = 3,
                                 .gateway = {.family = 4, .ip = {192, 168, 1, 1}}};
  assert_int_equal(msg.kind, KM_RTNL_ROUTE);
  assert_int_equal(msg.hop_count, 1);
  assert_int_equal(km_default_route_compare(&msg.hops[0], &want), 0);

  info.rtm_family = AF_INET6;
  begin_route(&d, &info);
  put_attr(&d, RTA_GATEWAY, gw6, 16);
  put_u32(&d, RTA_OIF, 4); /* after the gateway, whose scope it is */
  msg = only(&d);
  assert_int_equal(msg.hops[0].family, 6);
  assert_int_equal(msg.hops[0].table, RT_TABLE_MAIN);
  assert_int_equal(msg.hops[0].gateway.scope_id, 4);

  info.rtm_family = AF_INET; /* through an IPv6 gateway (RFC 5549) */
  begin_route(&d, &info);
  uint8_t via[18] = {[0] = AF_INET6};
  memcpy(via + 2, gw6, 16);
  put_attr(&d, RTA_VIA, via, sizeof via);
  put_u32(&d, RTA_OIF, 4);
  msg = only(&d);
  assert_int_equal(msg.hops[0].family, 4);
  assert_int_equal(msg.hops[0].gateway.family, 6);

  begin_route(&d, &info); /* a tunnel has no gateway */
  put_u32(&d, RTA_OIF, 9);
  msg = only(&d);
  assert_int_equal(msg.hop_count, 1);
  assert_int_equal(msg.hops[0].gateway.family, 0);
}

static void routes_that_lead_nowhere(void **state) {
  (void)state;
  static const struct {
    struct rtmsg info;
    km_rtnl_kind kind;
    uint8_t dst;
    uint8_t part;
    size_t hops;
  } cases[] = {
      {{.rtm_family = AF_INET, .rtm_type = RTN_UNICAST, .rtm_dst_len = 1},
       KM_RTNL_ROUTE,
       128,
       2,
       1},
      {{.rtm_family = AF_INET, .rtm_type = RTN_UNICAST, .rtm_dst_len = 1}, KM_RTNL_ROUTE, 0, 1, 1},
      {{.rtm_family = AF_INET6, .rtm_type = RTN_UNICAST, .rtm_dst_len = 2}, KM_RTNL_OTHER, 0, 0, 0},
      {{.rtm_family = AF_INET, .rtm_type = RTN_UNREACHABLE}, KM_RTNL_OTHER, 0, 0, 0},
      {{.rtm_family = AF_INET, .rtm_type = RTN_BLACKHOLE}, KM_RTNL_OTHER, 0, 0, 0},
      {{.rtm_family = AF_UNIX, .rtm_type = RTN_UNICAST}, KM_RTNL_OTHER, 0, 0, 0},
      {{.rtm_family = AF_INET, .rtm_type = RTN_UNICAST, .rtm_table = RT_TABLE_LOCAL},
       KM_RTNL_OTHER,
       0,
       0,
       0},
      {{.rtm_family = AF_INET6, .rtm_type = RTN_UNICAST, .rtm_flags = RTM_F_CLONED},
       KM_RTNL_OTHER,
       0,
       0,
       0},
      {{.rtm_family = AF_INET6, .rtm_type = RTN_UNICAST, .rtm_src_len = 64},
       KM_RTNL_OTHER,
       0,
       0,
       0},
      {{.rtm_family = AF_INET, .rtm_type = RTN_UNICAST, .rtm_flags = RTNH_F_LINKDOWN},
       KM_RTNL_ROUTE,
       0,
       0,
       0},
      {{.rtm_family = AF_INET, .rtm_type = RTN_UNICAST, .rtm_flags = RTNH_F_DEAD},
       KM_RTNL_ROUTE,
       0,
       0,
       0},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    datagram d;
    const uint8_t dst[16] = {cases[i].dst};
    begin_route(&d, &cases[i].info);
    if (cases[i].info.rtm_dst_len > 0) {
      put_attr(&d, RTA_DST, dst, 4);
    }
    put_u32(&d, RTA_OIF, 3);
    km_rtnl_msg msg = only(&d);
    assert_int_equal(msg.kind, cases[i].kind);
    assert_int_equal(msg.hop_count, cases[i].hops);
    assert_int_equal(msg.hops[0].part, cases[i].part);
  }
}

static void several_ways_at_once(void **state) {
  (void)state;
  uint8_t hops[400];
  size_t len = 0;
  for (int i = 0; i < 12; i++) {
    struct rtnexthop hop = {.rtnh_len = 16, .rtnh_ifindex = 10 + i};
    const struct rtattr head = {.rta_len = 8, .rta_type = RTA_GATEWAY};
    hop.rtnh_flags = i == 1 ? RTNH_F_LINKDOWN : 0;
    memcpy(hops + len, &hop, 8);
    memcpy(hops + len + 8, &head, 4);
    memcpy(hops + len + 12, (uint8_t[]){10, 0, 0, (uint8_t)i}, 4);
    len += 16;
  }
  static const struct {
    size_t len, want;
  } cases[] = {{48, 2}, {47, 1}, {192, KM_RTNL_MAX_HOPS}, {7, 0}};
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    datagram d;
    begin_route(&d, &(struct rtmsg){.rtm_family = AF_INET, .rtm_type = RTN_UNICAST});
    put_attr(&d, RTA_MULTIPATH, hops, cases[i].len);
    km_rtnl_msg msg = only(&d);
    assert_int_equal(msg.kind, KM_RTNL_ROUTE);
    assert_int_equal(msg.hop_count, cases[i].want);
    if (cases[i].want == 2) {
      assert_int_equal(msg.hops[1].ifindex, 12);
      assert_int_equal(msg.hops[1].gateway.ip[3], 2);
    }
  }
}

static void ends_and_errors(void **state) {
  (void)state;
  datagram d = {0};
  int32_t error = 0;
  begin(&d, NLMSG_DONE, NLM_F_DUMP_INTR, &error, sizeof error);
  km_rtnl_msg msg = only(&d);
  assert_int_equal(msg.kind, KM_RTNL_DONE);
  assert_true(msg.interrupted);
  assert_int_equal(msg.error, 0);
  memset(&d, 0, sizeof d);
  error = -1;
  begin(&d, NLMSG_ERROR, 0, &error, sizeof error);
  msg = only(&d);
  assert_int_equal(msg.kind, KM_RTNL_ERROR);
  assert_int_equal(msg.error, 1);
  assert_false(msg.interrupted);
  memset(&d, 0, sizeof d);
  error = INT32_MIN; /* no errno */
  begin(&d, NLMSG_ERROR, 0, &error, sizeof error);
  assert_int_equal(only(&d).error, 0);
  memset(&d, 0, sizeof d);
  begin(&d, NLMSG_ERROR, 0, NULL, 0);
  assert_int_equal(only(&d).error, 0);
}

/* Several in one datagram, and the same cut off anywhere. */
static void cut_anywhere(void **state) {
  (void)state;
  datagram d = {0};
  const struct ifinfomsg link = {.ifi_index = 3};
  const struct ifaddrmsg addr = {.ifa_index = 3};
  begin(&d, RTM_NEWLINK, 0, &link, sizeof link);
  size_t first = d.len;
  begin(&d, RTM_NEWADDR, 0, &addr, sizeof addr);
  put_attr(&d, IFA_LOCAL, own4, 4);
  for (size_t len = 0; len <= d.len; len++) {
    uint8_t *copy = malloc(len + 1); /* of exactly that length, for the sanitizer's sake */
    km_rtnl_reader r;
    km_rtnl_msg msg;
    size_t count = 0;
    assert_non_null(copy);
    memcpy(copy, d.bytes, len);
    km_rtnl_reader_init(&r, copy, len);
    while (km_rtnl_next(&r, &msg)) {
      count++;
    }
    assert_int_equal(count, len == d.len ? 2 : len >= first);
    assert_int_equal(r.damaged, len != 0 && len != first && len != d.len);
    free(copy);
  }
  for (uint16_t type = RTM_NEWLINK; type <= RTM_DELROUTE; type++) { /* without a body */
    memset(&d, 0, sizeof d);
    begin(&d, type, 0, NULL, 0);
    assert_int_equal(only(&d).kind, KM_RTNL_OTHER);
  }
}

static void routes_are_ordered(void **state) {
  (void)state;
  static const km_default_route sorted[] = {
      {.family = 4},
      {.family = 4, .gateway = {.family = 4}},
      {.family = 4, .gateway = {.family = 4, .ip = {1}}},
      {.family = 4, .ifindex = 1},
      {.family = 4, .metric = 1},
      {.family = 4, .table = 1},
      {.family = 4, .part = KM_ROUTE_UPPER_HALF},
      {.family = 6},
  };
  for (size_t i = 0; i < COUNT_OF(sorted); i++) {
    for (size_t k = 0; k < COUNT_OF(sorted); k++) {
      int order = km_default_route_compare(&sorted[i], &sorted[k]);
      assert_int_equal(order < 0 ? -1 : order > 0, i < k ? -1 : i > k);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(links),
      cmocka_unit_test(addresses),
      cmocka_unit_test(a_default_route),
      cmocka_unit_test(routes_that_lead_nowhere),
      cmocka_unit_test(several_ways_at_once),
      cmocka_unit_test(ends_and_errors),
      cmocka_unit_test(cut_anywhere),
      cmocka_unit_test(routes_are_ordered),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
