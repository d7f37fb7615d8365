/* A network monitor's knowledge by portable means: the interfaces' addresses, and which of them
 * the system would send from. No portable call tells a default route, but a connected UDP socket,
 * which sends nothing, gets the source address that belongs to it.
 *
 * Not uv_interface_addresses: it hides interfaces without a carrier, so that a bridge without
 * containers would come and go. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/udp_addr.h"
#include "magicsock/interfaces_io.h"
#include "magicsock/netmon_driver.h"

static void add_interface(void *ctx, const km_udp_addr *addr, bool loopback) {
  km_netmon_picture_add_addr(ctx, addr, loopback ? KM_NETMON_LOOPBACK : 0);
}

/* Which own address leads to `to`? */
static bool source_towards(const km_udp_addr *to, km_udp_addr *ret) {
  struct sockaddr_storage ss;
  socklen_t len = km_udp_addr_to_sockaddr(to, &ss);
  int fd = socket(ss.ss_family, SOCK_DGRAM, 0);
  if (fd < 0) {
    return false;
  }
  bool ok = connect(fd, (const struct sockaddr *)&ss, len) == 0;
  len = (socklen_t)sizeof ss;
  ok = ok && getsockname(fd, (struct sockaddr *)&ss, &len) == 0 &&
       km_udp_addr_from_sockaddr(ret, (const struct sockaddr *)&ss, len);
  (void)close(fd); /* nothing was sent */
  return ok;
}

/* Where interfaces cannot be listed the address is news as well. */
static void add_source(km_netmon_picture *ret, const km_udp_addr *to) {
  km_udp_addr source;
  if (source_towards(to, &source)) {
    source.port = 0;
    km_netmon_picture_add_addr(ret, &source, 0);
    km_netmon_picture_add_route(ret, &(km_default_route){.family = to->family, .gateway = source});
  }
}

static int look(void *driver, km_netmon_picture *ret, km_errinfo *err) {
  /* Addresses of documentation (RFC 5737, RFC 3849): nobody's, so the default route has them. */
  static const km_udp_addr v4 = {.family = 4, .port = 9, .ip = {192, 0, 2, 1}};
  static const km_udp_addr v6 = {.family = 6, .port = 9, .ip = {0x20, 0x01, 0x0d, 0xb8, [15] = 1}};
  (void)driver;
  (void)err;
  km_interface_each(add_interface, ret);
  add_source(ret, &v4);
  add_source(ret, &v6);
  return 0;
}

static int open_driver(void **ret, const km_env *env, km_loop *loop,
                       void (*changed)(void *ctx, bool broken), void *ctx, km_errinfo *err) {
  static const char nothing; /* there is no state, but a driver that is open is not NULL */
  (void)env;
  (void)loop;
  (void)changed;
  (void)ctx;
  (void)err;
  *ret = (void *)(uintptr_t)&nothing;
  return 0;
}

static void close_driver(void *driver) {
  (void)driver;
}

const km_netmon_driver km_netmon_poll = {.name = "poll",
                                         .tick_ns = 5 * KM_NS_PER_S,
                                         .tells = false,
                                         .open = open_driver,
                                         .look = look,
                                         .close = close_driver};
