#include "holepunch/gateway_io.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/udp_addr.h"

#ifdef __linux__
#include "holepunch/rtnetlink_io.h"

typedef struct search {
  km_default_route best; /* family 0: none yet */
} search;

static void on_route(void *ctx, const km_rtnl_msg *msg) {
  search *s = ctx;
  if (msg->interrupted) {
    s->best.family = 0;
  }
  for (size_t i = 0; msg->kind == KM_RTNL_ROUTE && i < msg->hop_count; i++) {
    if (km_gateway_route_better(&msg->hops[i], &s->best)) {
      s->best = msg->hops[i];
    }
  }
}

static int find_route(const km_env *env, uint8_t family, km_default_route *ret, km_errinfo *err) {
  search s = {0};
  km_rtnl_what what = family == 4 ? KM_RTNL_ASK_ROUTES_V4 : KM_RTNL_ASK_ROUTES_V6;
  int rv = km_rtnl_dump(env, what, on_route, &s, err);
  if (rv != 0 && rv != KM_ERR_AGAIN) {
    return rv;
  }
  if (s.best.family == 0) {
    return km_fail(err, KM_ERR_NO_NETWORK, "there is no default gateway");
  }
  *ret = s.best;
  return 0;
}

#else /* routing sockets, where there are any, are another dialect on each system */

static int find_route(const km_env *env, uint8_t family, km_default_route *ret, km_errinfo *err) {
  (void)env;
  (void)family;
  (void)ret;
  return km_fail(err, KM_ERR_UNSUPPORTED, "the default gateway is not known on this system");
}
#endif

/* A connected UDP socket has the address it would send from, and sends nothing. */
static int find_local(const km_udp_addr *to, km_udp_addr *ret, km_errinfo *err) {
  struct sockaddr_storage ss;
  km_udp_addr target = *to;
  target.port = 9;
  socklen_t len = km_udp_addr_to_sockaddr(&target, &ss);
  int fd = socket(ss.ss_family, SOCK_DGRAM, 0);
  if (fd < 0) {
    return km_fail_errno(err, errno, "cannot open a socket towards the gateway");
  }
  int rv = connect(fd, (const struct sockaddr *)&ss, len);
  len = (socklen_t)sizeof ss;
  rv = rv == 0 ? getsockname(fd, (struct sockaddr *)&ss, &len) : rv;
  if (rv != 0 || !km_udp_addr_from_sockaddr(ret, (const struct sockaddr *)&ss, len)) {
    rv = km_fail_errno(err, errno, "the gateway cannot be reached");
  }
  (void)close(fd); /* nothing was sent */
  ret->port = 0;
  return rv;
}

int km_gateway_find(const km_env *env, uint8_t family, km_gateway *ret, km_errinfo *err) {
  km_default_route route;
  km_gateway found = {0};
  int rv = find_route(env, family, &route, err);
  if (rv == 0) {
    found.addr = route.gateway;
    rv = find_local(&found.addr, &found.local, err);
  }
  if (rv == 0) {
    *ret = found;
  }
  return rv;
}
