#include "base/io/lws_listen_io.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/udp_addr.h"

#define SPARE_FDS 64 /* for what else the process has open */
#define LWS_MOST_FDS 10000000
#define LWS_FDS_BEYOND 2560 /* that is what lws makes of a limit above LWS_MOST_FDS */

/* lws does not say why it cannot listen: this does. */
static int try_bind(const km_udp_addr *at, const char *what, km_errinfo *err) {
  struct sockaddr_storage ss;
  char text[KM_UDP_ADDR_TEXT_CAP];
  const int one = 1;
  socklen_t len = km_udp_addr_to_sockaddr(at, &ss);
  (void)km_udp_addr_format(at, text, sizeof text);
  int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    return km_fail_errno(err, errno, "%s %s", what, text);
  }
  (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one); /* as lws does */
  int rv = bind(fd, (struct sockaddr *)&ss, len) == 0 && listen(fd, 1) == 0 ? 0 : errno;
  (void)close(fd);
  bool low = at->port < 1024 && (rv == EACCES || rv == EPERM);
  return rv == 0 ? 0
                 : km_fail_errno(err, rv, "%s %s%s", what, text,
                                 low ? " (ports below 1024 are for root)" : "");
}

/* "192.0.2.1", "2001:db8::1"; NULL for all addresses. */
static const char *interface_of(char buf[KM_UDP_ADDR_TEXT_CAP], const km_udp_addr *at) {
  static const uint8_t any[16];
  if (memcmp(at->ip, any, sizeof any) == 0) {
    return NULL;
  }
  (void)km_udp_addr_format(at, buf, KM_UDP_ADDR_TEXT_CAP);
  char *ip = at->family == 6 ? buf + 1 : buf;
  ip[strcspn(ip, at->family == 6 ? "%]" : ":")] = '\0';
  return ip;
}

int km_lws_listen(km_lws_listener *ret, km_lws *l, const km_udp_addr *at,
                  struct lws_context_creation_info *info, const char *what, km_errinfo *err) {
  int rv = try_bind(at, what, err);
  if (rv != 0) {
    return rv;
  }
  info->port = at->port;
  info->iface = interface_of(ret->ip, at);
  /* No request can ask for a listener by this name: it would have to know an address of ours. */
  (void)snprintf(ret->name, sizeof ret->name, "listener-%p", (void *)ret);
  info->vhost_name = ret->name;
  info->options |= LWS_SERVER_OPTION_FAIL_UPON_UNABLE_TO_BIND |
                   (at->family == 4 ? LWS_SERVER_OPTION_DISABLE_IPV6 : 0);
  ret->vhost = lws_create_vhost(km_lws_context(l), info);
  if (ret->vhost == NULL) {
    char text[KM_UDP_ADDR_TEXT_CAP];
    (void)km_udp_addr_format(at, text, sizeof text);
    return km_fail(err, KM_ERR_SYSTEM, "%s %s: libwebsockets refused", what, text);
  }
  km_lws_touch(l);
  return 0;
}

km_udp_addr km_lws_listener_bound(const km_lws_listener *listener, const km_udp_addr *at) {
  km_udp_addr bound = *at;
  bound.port = (uint16_t)lws_get_vhost_listen_port(listener->vhost);
  return bound;
}

bool km_lws_peer(int fd, km_udp_addr *ret) {
  struct sockaddr_storage ss;
  socklen_t len = sizeof ss;
  static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
  if (getpeername(fd, (struct sockaddr *)&ss, &len) != 0 ||
      !km_udp_addr_from_sockaddr(ret, (const struct sockaddr *)&ss, len)) {
    return false;
  }
  if (ret->family == 6 && memcmp(ret->ip, mapped, sizeof mapped) == 0) {
    memmove(ret->ip, ret->ip + 12, 4);
    memset(ret->ip + 4, 0, 12);
    ret->family = 4;
  }
  return true;
}

bool km_lws_has_version(struct lws *wsi) {
  return lws_hdr_total_length(wsi, WSI_TOKEN_HTTP) > 0;
}

uint32_t km_lws_fit_connections(uint32_t wanted) {
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) {
    return wanted;
  }
  rlim_t most = files.rlim_cur > LWS_MOST_FDS ? LWS_FDS_BEYOND : files.rlim_cur;
  most = most > 2 * SPARE_FDS ? most - SPARE_FDS : most / 2;
  return wanted == 0 || wanted > most ? (uint32_t)most : wanted;
}
