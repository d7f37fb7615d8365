/* What HTTP servers on a km_lws have in common: listeners, and who is at the other end. */
#ifndef KM_BASE_IO_LWS_LISTEN_IO_H
#define KM_BASE_IO_LWS_LISTEN_IO_H

#include <keymesh/addr.h>

#include "base/io/lws_io.h"

/* Keep it where it is as long as the km_lws lives: libwebsockets does not copy the texts. */
typedef struct km_lws_listener {
  struct lws_vhost *vhost;
  char ip[KM_UDP_ADDR_TEXT_CAP];
  char name[32];
} km_lws_listener;

/* Listens on `at` (port 0: any). `info` has protocols, timeouts and TLS; the rest is filled in.
 * `what` begins the sentence of an error: "cannot listen on". 0, KM_ERR_ADDR_IN_USE,
 * KM_ERR_PERMISSION, KM_ERR_ADDR_NOT_AVAILABLE or KM_ERR_SYSTEM. */
KM_NODISCARD int km_lws_listen(km_lws_listener *ret, km_lws *l, const km_udp_addr *at,
                               struct lws_context_creation_info *info, const char *what,
                               km_errinfo *err);
/* `at` with the real port. */
km_udp_addr km_lws_listener_bound(const km_lws_listener *listener, const km_udp_addr *at);

/* The peer of a TCP socket; mapped IPv4 as IPv4. */
bool km_lws_peer(int fd, km_udp_addr *ret);

/* Whether a request's first line says its version of HTTP. Without one it was cut short: lws takes
 * a %0a in the url for the line's end, and makes a field of what follows, which a proxy before us
 * has not seen. */
bool km_lws_has_version(struct lws *wsi);

/* At most as many connections as the limit of open files has room for; `wanted` 0: as many. */
uint32_t km_lws_fit_connections(uint32_t wanted);

#endif /* KM_BASE_IO_LWS_LISTEN_IO_H */
