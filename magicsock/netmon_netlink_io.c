/* A network monitor's knowledge from rtnetlink. What the kernel tells is only taken as a reason to
 * look anew: that needs no account of every message, and none that is lost does harm. */
#include <errno.h>
#include <unistd.h>

#include "holepunch/rtnetlink_io.h"
#include "magicsock/netmon_driver.h"

#define MAX_LINKS 65536u

typedef struct link_flags {
  uint32_t ifindex;
  unsigned flags;
} link_flags;

typedef struct netlink_driver {
  const km_env *env;
  int fd;
  km_poll *poll;
  void (*changed)(void *ctx, bool broken);
  void *ctx;
  /* of the look that is under way */
  km_netmon_picture *picture;
  link_flags *links;
  size_t link_count, link_cap;
  bool no_memory;
} netlink_driver;

/* --- looking --------------------------------------------------------------------------------- */

static void on_link(void *ctx, const km_rtnl_msg *msg) {
  netlink_driver *d = ctx;
  if (msg->interrupted) {
    d->link_count = 0;
  }
  if (msg->kind != KM_RTNL_LINK || d->link_count == MAX_LINKS) {
    return;
  }
  if (d->link_count == d->link_cap) {
    size_t cap = d->link_cap > 0 ? d->link_cap * 2 : 16;
    link_flags *grown = km_env_realloc(d->env, d->links, cap, sizeof *grown);
    if (grown == NULL) {
      d->no_memory = true;
      return;
    }
    d->links = grown;
    d->link_cap = cap;
  }
  d->links[d->link_count++] = (link_flags){.ifindex = msg->ifindex, .flags = msg->flags};
}

static unsigned flags_of(const netlink_driver *d, uint32_t ifindex) {
  for (size_t i = 0; i < d->link_count; i++) {
    if (d->links[i].ifindex == ifindex) {
      return d->links[i].flags;
    }
  }
  return 0; /* it came after the links were told: there will be another look */
}

static void on_addr(void *ctx, const km_rtnl_msg *msg) {
  netlink_driver *d = ctx;
  if (msg->interrupted) {
    d->picture->addr_count = 0;
  }
  if (msg->kind != KM_RTNL_ADDR) {
    return;
  }
  unsigned of_link = flags_of(d, msg->ifindex);
  if ((of_link & KM_RTNL_UP) != 0) {
    unsigned flags = ((of_link & KM_RTNL_LOOPBACK) != 0 ? KM_NETMON_LOOPBACK : 0u) |
                     ((msg->flags & KM_RTNL_TENTATIVE) != 0 ? KM_NETMON_TENTATIVE : 0u);
    km_netmon_picture_add_addr(d->picture, &msg->addr, flags);
  }
}

/* Both families' dumps add to one picture: a new try adds the same once more, and what went in
 * between was a change that is told of. */
static void on_route(void *ctx, const km_rtnl_msg *msg) {
  netlink_driver *d = ctx;
  for (size_t i = 0; msg->kind == KM_RTNL_ROUTE && i < msg->hop_count; i++) {
    km_netmon_picture_add_route(d->picture, &msg->hops[i]);
  }
}

static int look(void *driver, km_netmon_picture *ret, km_errinfo *err) {
  netlink_driver *d = driver;
  d->picture = ret;
  d->link_count = 0;
  d->no_memory = false;
  int rv = km_rtnl_dump(d->env, KM_RTNL_ASK_LINKS, on_link, d, err);
  rv = rv == 0 ? km_rtnl_dump(d->env, KM_RTNL_ASK_ADDRS, on_addr, d, err) : rv;
  rv = rv == 0 ? km_rtnl_dump(d->env, KM_RTNL_ASK_ROUTES_V4, on_route, d, err) : rv;
  rv = rv == 0 ? km_rtnl_dump(d->env, KM_RTNL_ASK_ROUTES_V6, on_route, d, err) : rv;
  if (rv == 0 && d->no_memory) {
    rv = km_fail(err, KM_ERR_NOMEM, NULL);
  }
  km_env_free(d->env, d->links);
  d->links = NULL;
  d->link_cap = 0;
  return rv;
}

/* --- listening ------------------------------------------------------------------------------- */

static void on_readable(void *ctx, int events) {
  netlink_driver *d = ctx;
  (void)events;
  km_rtnl_heard heard = km_rtnl_hear(d->fd);
  if (heard != KM_RTNL_NOTHING) {
    d->changed(d->ctx, heard == KM_RTNL_BROKEN); /* may close us */
  }
}

static void close_driver(void *driver) {
  netlink_driver *d = driver;
  if (d == NULL) {
    return;
  }
  km_poll_free(d->poll);
  if (d->fd >= 0) {
    (void)close(d->fd); /* nothing was written to it */
  }
  km_env_free(d->env, d);
}

/* Some sandboxes hand out the socket and then refuse to answer: that is asked for at once. */
static int begin(netlink_driver *d, km_loop *loop, km_errinfo *err) {
  d->fd = km_rtnl_listen();
  if (d->fd < 0) {
    return km_fail_errno(err, errno, "cannot listen to rtnetlink");
  }
  int rv = km_poll_new(&d->poll, loop, d->fd, on_readable, d);
  rv = rv == 0 ? km_poll_set(d->poll, KM_POLL_READ) : rv;
  if (rv != 0) {
    return km_fail(err, rv, "cannot watch a netlink socket");
  }
  km_netmon_picture *probe = km_env_zalloc(d->env, 1, sizeof *probe);
  rv = probe != NULL ? look(d, probe, err) : km_fail(err, KM_ERR_NOMEM, NULL);
  km_env_free(d->env, probe);
  return rv == KM_ERR_AGAIN ? 0 : rv;
}

static int open_driver(void **ret, const km_env *env, km_loop *loop,
                       void (*changed)(void *ctx, bool broken), void *ctx, km_errinfo *err) {
  netlink_driver *d = km_env_zalloc(env, 1, sizeof *d);
  if (d == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  d->env = env;
  d->fd = -1;
  d->changed = changed;
  d->ctx = ctx;
  int rv = begin(d, loop, err);
  if (rv != 0) {
    close_driver(d);
    return rv;
  }
  *ret = d;
  return 0;
}

const km_netmon_driver km_netmon_netlink = {.name = "netlink",
                                            .tick_ns = KM_NETMON_TICK_NS,
                                            .tells = true,
                                            .open = open_driver,
                                            .look = look,
                                            .close = close_driver};
