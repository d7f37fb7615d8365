/* The sockets and interfaces of multicast DNS, and km_discovery_add_mdns. */
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/udp_addr.h"
#include "discovery/discovery_impl.h"
#include "discovery/mdns_sign.h"
#include "discovery/mdns_source.h"
#ifdef __linux__
#include "holepunch/rtnetlink_io.h"
#endif

#define NAMES_MAX 16
#define DATAGRAMS_PER_TURN 32
#define LOOK_EVERY (10 * KM_NS_PER_S)  /* at interfaces; netlink tells of most changes at once */
#define LOOK_SELDOM (60 * KM_NS_PER_S) /* the same where netlink tells */
#define LOOK_SOON (1 * KM_NS_PER_S)    /* an IPv6 address is not ours yet, */
#define LOOK_SOON_TIMES 10             /* or never will be: another host has it */
#define HOPS 255                       /* RFC 6762 section 11 */

static const uint8_t group4[16] = {224, 0, 0, 251};
static const uint8_t group6[16] = {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfb};

typedef struct mdns_io mdns_io;

typedef struct mdns_socket {
  mdns_io *io;
  uint32_t index;
  uint8_t family;
  int fd;
  km_poll *poll;
} mdns_socket;

struct mdns_io {
  const km_env *env;
  km_loop *loop;
  km_discovery *discovery;
  km_id id; /* ours, when there is a key */
  km_mdns_source *source;
  char names[NAMES_MAX][IF_NAMESIZE];
  size_t name_count; /* 0: all */
  mdns_socket *sockets[KM_MDNS_LINKS_MAX];
  size_t socket_count;
  km_deadline *timer, *look;
  bool blind;    /* interfaces could not be listed the last time */
  unsigned soon; /* how many times in a row it is looked soon again */
  int netlink;   /* -1: none */
  km_poll *netlink_poll;
};

static void arm(mdns_io *io) {
  km_deadline_set(io->timer, km_mdns_source_next(io->source));
}

/* --- sockets --- */

static int set_int(int fd, int level, int name, int value) {
  return setsockopt(fd, level, name, &value, sizeof value);
}

/* Others on this machine have the port too. */
static int bind_shared(int fd, uint8_t family) {
  struct sockaddr_storage ss;
  km_udp_addr any = {.family = family, .port = KM_MDNS_PORT};
  socklen_t len = km_udp_addr_to_sockaddr(&any, &ss);
  if (set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1) != 0) {
    return -1;
  }
#ifdef SO_REUSEPORT
  if (set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1) != 0) {
    return -1;
  }
#endif
  if (family == 6 && set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) != 0) {
    return -1;
  }
  return bind(fd, (const struct sockaddr *)&ss, len);
}

static int join4(int fd, const km_mdns_link *l) {
  struct ip_mreqn group = {.imr_ifindex = (int)l->index};
  if (l->net_count > 0 && l->nets[0].addr.ip[0] == 127) {
    memcpy(&group.imr_address, l->nets[0].addr.ip, 4); /* Linux would send from 0.0.0.0 */
  }
  memcpy(&group.imr_multiaddr, group4, 4);
#ifdef IP_MULTICAST_ALL
  (void)set_int(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0); /* else what other sockets joined comes too;
                                                         it is dropped when read */
#endif
  return setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group) == 0 &&
                 setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &group, sizeof group) == 0 &&
                 set_int(fd, IPPROTO_IP, IP_MULTICAST_TTL, HOPS) == 0 &&
                 set_int(fd, IPPROTO_IP, IP_TTL, HOPS) == 0 &&
                 set_int(fd, IPPROTO_IP, IP_MULTICAST_LOOP, 1) == 0 &&
                 set_int(fd, IPPROTO_IP, IP_PKTINFO, 1) == 0
             ? 0
             : -1;
}

static int join6(int fd, const km_mdns_link *l) {
  struct ipv6_mreq group = {.ipv6mr_interface = l->index};
  memcpy(&group.ipv6mr_multiaddr, group6, 16);
#ifdef IPV6_MULTICAST_ALL
  (void)set_int(fd, IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0); /* as above */
#endif
  return setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &group, sizeof group) == 0 &&
                 set_int(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, (int)l->index) == 0 &&
                 set_int(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, HOPS) == 0 &&
                 set_int(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, HOPS) == 0 &&
                 set_int(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 1) == 0 &&
                 set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) == 0
             ? 0
             : -1;
}

static int new_fd(uint8_t family) {
  return socket(family == 4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static void to_group(km_udp_addr *ret, uint32_t index, uint8_t family) {
  *ret = (km_udp_addr){.family = family, .port = KM_MDNS_PORT};
  memcpy(ret->ip, family == 4 ? group4 : group6, sizeof ret->ip);
  ret->scope_id = family == 6 ? index : 0;
}

static void on_readable(void *ctx, int events);

static void close_socket(mdns_socket *s) {
  km_poll_free(s->poll);
  if (s->fd >= 0) {
    (void)close(s->fd); /* nothing waits to be written */
  }
  km_env_free(s->io->env, s);
}

static mdns_socket *open_socket(mdns_io *io, const km_mdns_link *l) {
  mdns_socket *s = km_env_zalloc(io->env, 1, sizeof *s);
  if (s == NULL) {
    return NULL;
  }
  *s = (mdns_socket){.io = io, .index = l->index, .family = l->family, .fd = new_fd(l->family)};
  if (s->fd < 0 || bind_shared(s->fd, l->family) != 0 ||
      (l->family == 4 ? join4(s->fd, l) : join6(s->fd, l)) != 0) {
    KM_LOG(&io->env->logger, KM_LOG_DEBUG, KM_LOGC_DISCOVERY, NULL, NULL, "mdns interface",
           "not used: index=%u ipv%u: %s", (unsigned)l->index, (unsigned)l->family,
           strerror(errno));
    close_socket(s);
    return NULL;
  }
  if (km_poll_new(&s->poll, io->loop, s->fd, on_readable, s) != 0 ||
      km_poll_set(s->poll, KM_POLL_READ) != 0) {
    close_socket(s);
    return NULL;
  }
  return s;
}

static mdns_socket *find_socket(const mdns_io *io, uint32_t index, uint8_t family) {
  for (size_t i = 0; i < io->socket_count; i++) {
    if (io->sockets[i]->index == index && io->sockets[i]->family == family) {
      return io->sockets[i];
    }
  }
  return NULL;
}

static void on_send(void *ctx, uint32_t index, uint8_t family, const km_udp_addr *to,
                    const uint8_t *bytes, size_t len) {
  mdns_io *io = ctx;
  const mdns_socket *s = find_socket(io, index, family);
  struct sockaddr_storage ss;
  km_udp_addr group;
  if (s == NULL) {
    return;
  }
  to_group(&group, index, family);
  socklen_t ss_len = km_udp_addr_to_sockaddr(to != NULL ? to : &group, &ss);
  if (sendto(s->fd, bytes, len, 0, (const struct sockaddr *)&ss, ss_len) < 0) {
    KM_LOG(&io->env->logger, KM_LOG_DEBUG, KM_LOGC_DISCOVERY, NULL, NULL, "mdns not sent",
           "index=%u ipv%u: %s", (unsigned)index, (unsigned)family, strerror(errno));
  }
}

/* --- receiving --- */

/* By which interface it came, and whether it was sent to all. */
static bool read_pktinfo(struct msghdr *msg, km_mdns_arrival *ret) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
    if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
      struct in_pktinfo info;
      memcpy(&info, CMSG_DATA(c), sizeof info);
      ret->index = (uint32_t)info.ipi_ifindex;
      ret->multicast = memcmp(&info.ipi_addr, group4, 4) == 0;
      return true;
    }
    if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
      struct in6_pktinfo info;
      memcpy(&info, CMSG_DATA(c), sizeof info);
      ret->index = (uint32_t)info.ipi6_ifindex;
      ret->multicast = memcmp(&info.ipi6_addr, group6, 16) == 0;
      return true;
    }
  }
  return false;
}

/* False: nothing is left. */
static bool receive_one(mdns_socket *s) {
  uint8_t bytes[KM_MDNS_RECEIVE_MAX];
  char control[128] __attribute__((aligned(sizeof(size_t))));
  struct sockaddr_storage from;
  struct iovec iov = {.iov_base = bytes, .iov_len = sizeof bytes};
  struct msghdr msg = {.msg_name = &from,
                       .msg_namelen = sizeof from,
                       .msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control,
                       .msg_controllen = sizeof control};
  km_mdns_arrival arrival = {0};
  ssize_t len = recvmsg(s->fd, &msg, 0);
  if (len < 0) {
    return errno == EINTR; /* errors of earlier packets that could not be delivered end here too */
  }
  if ((msg.msg_flags & MSG_TRUNC) == 0 && read_pktinfo(&msg, &arrival) &&
      (!arrival.multicast || arrival.index == s->index) &&
      km_udp_addr_from_sockaddr(&arrival.from, (const struct sockaddr *)&from, msg.msg_namelen)) {
    km_mdns_receive(km_mdns_source_node(s->io->source), &arrival, bytes, (size_t)len,
                    km_loop_now(s->io->loop), km_clock_wall());
  }
  return true;
}

static void on_readable(void *ctx, int events) {
  mdns_socket *s = ctx;
  (void)events;
  for (int i = 0; i < DATAGRAMS_PER_TURN && receive_one(s); i++) {
  }
  arm(s->io);
}

/* --- interfaces --- */

static bool is_named(const mdns_io *io, const char *name) {
  for (size_t i = 0; i < io->name_count; i++) {
    if (strcmp(io->names[i], name) == 0) {
      return true;
    }
  }
  return false;
}

static bool is_fit(const mdns_io *io, const struct ifaddrs *at) {
  unsigned needed = IFF_UP | IFF_MULTICAST;
  if (io->name_count > 0) { /* loopback too, when it is named */
    return (at->ifa_flags & IFF_UP) != 0 && is_named(io, at->ifa_name);
  }
  return (at->ifa_flags & needed) == needed && (at->ifa_flags & IFF_LOOPBACK) == 0;
}

static uint8_t bits_of(const struct sockaddr *mask, uint8_t family) {
  km_udp_addr m = {0};
  uint8_t bits = 0;
  size_t len = family == 4 ? 4 : 16;
  if (mask == NULL) {
    return (uint8_t)(8 * len);
  }
  /* Some systems give masks no family. */
  if (family == 4) {
    memcpy(m.ip, &((const struct sockaddr_in *)(const void *)mask)->sin_addr, len);
  } else {
    memcpy(m.ip, &((const struct sockaddr_in6 *)(const void *)mask)->sin6_addr, len);
  }
  while (bits < 8 * len && (m.ip[bits / 8] & 0x80 >> bits % 8) != 0) {
    bits++;
  }
  return bits;
}

/* An IPv6 address that is still being checked for duplicates cannot be sent from. */
static bool can_send6(uint32_t index) {
  struct sockaddr_storage ss;
  km_udp_addr group;
  int fd = new_fd(6);
  to_group(&group, index, 6);
  socklen_t len = km_udp_addr_to_sockaddr(&group, &ss);
  bool can = fd >= 0 && connect(fd, (const struct sockaddr *)&ss, len) == 0;
  if (fd >= 0) {
    (void)close(fd);
  }
  return can;
}

static km_mdns_link *link_of(km_mdns_link *links, size_t *count, uint32_t index, uint8_t family) {
  for (size_t i = 0; i < *count; i++) {
    if (links[i].index == index && links[i].family == family) {
      return &links[i];
    }
  }
  if (*count == KM_MDNS_LINKS_MAX) {
    return NULL;
  }
  links[*count] = (km_mdns_link){.index = index, .family = family};
  return &links[(*count)++];
}

/* False: it cannot be told now. */
static bool list_links(const mdns_io *io, km_mdns_link links[KM_MDNS_LINKS_MAX], size_t *ret) {
  struct ifaddrs *list = NULL;
  size_t count = 0;
  if (getifaddrs(&list) != 0) {
    return false;
  }
  for (const struct ifaddrs *at = list; at != NULL; at = at->ifa_next) {
    km_mdns_net net;
    socklen_t len = sizeof(struct sockaddr_in6);
    if (at->ifa_addr == NULL || !is_fit(io, at) ||
        !km_udp_addr_from_sockaddr(&net.addr, at->ifa_addr, len)) {
      continue;
    }
    net.bits = bits_of(at->ifa_netmask, net.addr.family);
    km_mdns_link *l = link_of(links, &count, if_nametoindex(at->ifa_name), net.addr.family);
    if (l != NULL && l->index != 0 && l->net_count < KM_MDNS_NETS_MAX) {
      l->nets[l->net_count++] = net;
    }
  }
  freeifaddrs(list);
  *ret = count;
  return true;
}

static void drop_sockets(mdns_io *io, const km_mdns_link *links, size_t count) {
  size_t kept = 0;
  for (size_t i = 0; i < io->socket_count; i++) {
    mdns_socket *s = io->sockets[i];
    bool there = false;
    for (size_t k = 0; k < count; k++) {
      there = there || (links[k].index == s->index && links[k].family == s->family);
    }
    if (there) {
      io->sockets[kept++] = s;
    } else {
      close_socket(s);
    }
  }
  io->socket_count = kept;
}

/* False: there is one that may be of use soon. */
static bool look_at_links(mdns_io *io) {
  km_mdns_link links[KM_MDNS_LINKS_MAX];
  size_t found, usable = 0;
  bool ready = true;
  if (!list_links(io, links, &found)) { /* no descriptor is left, say: all stays as it is */
    KM_LOG(&io->env->logger, io->blind ? KM_LOG_DEBUG : KM_LOG_WARN, KM_LOGC_DISCOVERY, NULL, NULL,
           "mdns interfaces", "cannot be listed, those in use stay: %s", strerror(errno));
    io->blind = true;
    return false;
  }
  io->blind = false;
  drop_sockets(io, links, found);
  for (size_t i = 0; i < found; i++) {
    mdns_socket *s = find_socket(io, links[i].index, links[i].family);
    bool can_send = s != NULL || links[i].family == 4 || can_send6(links[i].index);
    ready = ready && can_send;
    if (s == NULL && can_send) {
      s = open_socket(io, &links[i]);
      if (s != NULL) {
        io->sockets[io->socket_count++] = s;
      }
    }
    if (s != NULL) {
      links[usable++] = links[i];
    }
  }
  km_mdns_set_links(km_mdns_source_node(io->source), links, usable, km_loop_now(io->loop));
  return ready;
}

static void on_look(void *ctx) {
  mdns_io *io = ctx;
  io->soon = look_at_links(io) ? 0 : io->soon + 1;
  bool soon = io->soon > 0 && io->soon <= LOOK_SOON_TIMES;
  km_ts often = io->netlink >= 0 && !io->blind ? LOOK_SELDOM : LOOK_EVERY;
  km_deadline_set(io->look, km_loop_now(io->loop) + (soon ? LOOK_SOON : often));
  arm(io);
}

#ifdef __linux__
static void on_netlink(void *ctx, int events) {
  mdns_io *io = ctx;
  (void)events;
  km_rtnl_heard heard = km_rtnl_hear(io->netlink);
  if (heard == KM_RTNL_BROKEN) {
    km_poll_free(io->netlink_poll); /* interfaces are looked at by the clock */
    (void)close(io->netlink);
    io->netlink_poll = NULL;
    io->netlink = -1;
  } else if (heard == KM_RTNL_CHANGED) {
    on_look(io);
  }
}

static void open_netlink(mdns_io *io) {
  io->netlink = km_rtnl_listen();
  if (io->netlink >= 0 &&
      (km_poll_new(&io->netlink_poll, io->loop, io->netlink, on_netlink, io) != 0 ||
       km_poll_set(io->netlink_poll, KM_POLL_READ) != 0)) {
    km_poll_free(io->netlink_poll);
    (void)close(io->netlink);
    io->netlink_poll = NULL;
    io->netlink = -1;
  }
}
#else
static void open_netlink(mdns_io *io) {
  (void)io;
}
#endif

/* --- the source --- */

static void on_timer(void *ctx) {
  mdns_io *io = ctx;
  km_mdns_source_step(io->source, km_loop_now(io->loop), km_clock_wall());
  arm(io);
}

static void op_publish(void *ctx, const km_peer_info *info) {
  mdns_io *io = ctx;
  km_mdns_publish(km_mdns_source_node(io->source), info, km_loop_now(io->loop));
  arm(io);
}

static void op_resolve(void *ctx, km_query *query, const km_id *id) {
  mdns_io *io = ctx;
  km_mdns_source_resolve(io->source, query, id, km_loop_now(io->loop));
  arm(io);
}

static void op_cancel(void *ctx, km_query *query) {
  mdns_io *io = ctx;
  km_mdns_source_cancel(io->source, query);
  arm(io);
}

static void op_watch(void *ctx, bool on) {
  mdns_io *io = ctx;
  km_mdns_source_watch(io->source, on, km_loop_now(io->loop));
  arm(io);
}

static int op_publish_state(void *ctx, size_t index, km_publish_state *ret) {
  const mdns_io *io = ctx;
  return km_mdns_source_publish_state(io->source, index, ret);
}

static void op_close(void *ctx) {
  mdns_io *io = ctx;
  if (io->source != NULL) {
    km_mdns_publish(km_mdns_source_node(io->source), NULL, km_loop_now(io->loop)); /* goodbye */
  }
  drop_sockets(io, NULL, 0);
  km_poll_free(io->netlink_poll);
  if (io->netlink >= 0) {
    (void)close(io->netlink);
  }
  km_deadline_free(io->timer);
  km_deadline_free(io->look);
  km_mdns_source_free(io->source);
  km_env_free(io->env, io);
}

/* From the state, so that also the next process begins above it. Where the clock was set back the
 * last time is among the latest there: the next one is whole milliseconds later. */
static uint64_t on_time(void *ctx, km_wall wall) {
  const mdns_io *io = ctx;
  km_discovery_state *state = km_discovery_get_state(io->discovery);
  uint64_t us = km_discovery_state_timestamp(state, &io->id, wall);
  if (us / 1000 > km_mdns_time(wall)) {
    us += 2000; /* a goodbye has the one between */
    km_discovery_state_seen(state, &io->id, us);
  }
  return us / 1000;
}

static const km_source_ops ops = {
    .size = sizeof ops,
    .name = "mdns",
    .publish = op_publish,
    .resolve = op_resolve,
    .cancel = op_cancel,
    .watch = op_watch,
    .publish_state = op_publish_state,
    .close = op_close,
};

static int set_names(mdns_io *io, const km_mdns_options *o, km_errinfo *err) {
  if (o->interface_count == 0) {
    return 0;
  }
  if (o->interface_count > NAMES_MAX) {
    return km_fail(err, KM_ERR_LIMIT, "mDNS takes at most %d interfaces, not %zu", NAMES_MAX,
                   o->interface_count);
  }
  for (size_t i = 0; i < o->interface_count; i++) {
    size_t len = o->interfaces == NULL || o->interfaces[i] == NULL ? 0 : strlen(o->interfaces[i]);
    if (len == 0 || len >= IF_NAMESIZE) {
      return km_fail(err, KM_ERR_INVALID, "\"%s\" is no name of an interface",
                     len == 0 ? "" : o->interfaces[i]);
    }
    memcpy(io->names[io->name_count++], o->interfaces[i], len + 1);
  }
  return 0;
}

/* Whether the port can be had: with one family at least, and with neither held by another. */
static int try_port(km_errinfo *err) {
  int reason = 0;
  bool had = false;
  for (uint8_t family = 4; family <= 6; family += 2) {
    int fd = new_fd(family);
    int failed = fd < 0 || bind_shared(fd, family) != 0 ? errno : 0;
    reason = reason == 0 || failed == EADDRINUSE ? failed : reason;
    had = had || failed == 0;
    if (fd >= 0) {
      (void)close(fd);
    }
  }
  if (had && reason != EADDRINUSE) {
    return 0;
  }
  return km_fail_errno(err, reason, "mDNS cannot have UDP port %d", KM_MDNS_PORT);
}

static int start(mdns_io *io, km_discovery *d, const km_mdns_options *o, km_errinfo *err) {
  km_mdns_source_config config = {.env = io->env,
                                  .key = km_discovery_key(d),
                                  .options = o,
                                  .send = on_send,
                                  .time_ms = on_time,
                                  .ctx = io};
  if (config.key != NULL) {
    km_secret_key_id(config.key, &io->id);
  }
  int rv = set_names(io, o, err);
  rv = rv == 0 ? try_port(err) : rv;
  rv = rv == 0 ? km_mdns_source_new(&io->source, &config, km_loop_now(io->loop), err) : rv;
  if (rv == 0 && (km_deadline_new(&io->timer, io->loop, on_timer, io) != 0 ||
                  km_deadline_new(&io->look, io->loop, on_look, io) != 0)) {
    rv = km_fail(err, KM_ERR_NOMEM, NULL);
  }
  return rv;
}

int km_discovery_add_mdns(km_discovery *discovery, const km_mdns_options *options,
                          km_errinfo *err) {
  km_mdns_options o = {.size = sizeof o};
  if (discovery == NULL || (options != NULL && options->size < sizeof options->size)) {
    return km_fail(err, KM_ERR_INVALID, "km_mdns_options.size is not set");
  }
  if (options != NULL) {
    memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
  }
  const km_env *env = km_discovery_env(discovery);
  mdns_io *io = km_env_zalloc(env, 1, sizeof *io);
  km_source *source = NULL;
  if (io == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  io->env = env;
  io->discovery = discovery;
  io->loop = km_discovery_loop(discovery);
  io->netlink = -1;
  int rv = start(io, discovery, &o, err);
  rv = rv == 0 ? km_discovery_add(discovery, &source, &ops, io, err) : rv;
  if (rv != 0) {
    op_close(io);
    return rv;
  }
  km_mdns_source_attach(io->source, source);
  open_netlink(io);
  on_look(io);
  return 0;
}
