/* HTTP proxies: which one the environment asks for (by curl's rules), what is said to it (RFC 9110
 * section 9.3.6, CONNECT) and what it answers. Pure. */
#ifndef KM_RELAY_CONNECT_PROXY_H
#define KM_RELAY_CONNECT_PROXY_H

#include "relay/url.h"

#define KM_RELAY_PROXY_AUTH_CAP 512
#define KM_RELAY_PROXY_REQUEST_CAP 2048
#define KM_RELAY_PROXY_ANSWER_MAX 8192 /* bytes of a proxy's headers */

typedef struct km_relay_proxy {
  bool used;
  char host[KM_RELAY_HOST_CAP];
  uint16_t port;
  char auth[KM_RELAY_PROXY_AUTH_CAP]; /* base64 of user:password; may be empty */
} km_relay_proxy;

/* Reads a variable of the environment, NULL when unset. */
typedef const char *(*km_relay_getenv_fn)(void *ctx, const char *name);

/* Looks at http_proxy or https_proxy/HTTPS_PROXY (by `url->tls`), all_proxy/ALL_PROXY and
 * no_proxy/NO_PROXY. 0 (`ret->used` tells), or KM_ERR_UNSUPPORTED for a proxy that is not
 * "[http://][user:password@]host[:port]". */
KM_NODISCARD int km_relay_proxy_choose(km_relay_proxy *ret, const km_relay_url *url,
                                       km_relay_getenv_fn get, void *ctx, km_errinfo *err);

/* Returns the length of the request. */
size_t km_relay_proxy_request(char ret[KM_RELAY_PROXY_REQUEST_CAP], const km_relay_proxy *proxy,
                              const km_relay_url *url);
/* What came from the proxy so far. 1: the tunnel is there; 0: not all has come; or
 * KM_ERR_RELAY_UNREACHABLE. */
KM_NODISCARD int km_relay_proxy_answer(const char *text, size_t len, const km_relay_proxy *proxy,
                                       km_errinfo *err);

#endif /* KM_RELAY_CONNECT_PROXY_H */
