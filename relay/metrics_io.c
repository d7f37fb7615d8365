#include "relay/metrics_io.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/io/lws_io.h"
#include "base/udp_addr.h"

#define CONNECTIONS 16 /* scrapers at once; the fds beyond these are refused */

struct km_relay_metrics_server {
  km_relay_metrics_config config;
  km_lws *lws;
  km_udp_addr bound;
  char host[KM_UDP_ADDR_TEXT_CAP]; /* lws keeps a pointer to it */
  unsigned open;
};

/* --- answering ------------------------------------------------------------------------------- */

static int reply(struct lws *wsi, unsigned status, const char *type, const char *body, size_t len) {
  uint8_t buf[LWS_PRE + 512 + KM_RELAY_METRICS_MAX];
  uint8_t *start = buf + LWS_PRE, *at = start, *end = start + 512;
  if (lws_add_http_common_headers(wsi, status, type, len, &at, end) != 0 ||
      lws_finalize_http_header(wsi, &at, end) != 0) {
    return -1;
  }
  memcpy(at, body, len);
  at += len;
  if (lws_write(wsi, start, (size_t)(at - start), LWS_WRITE_HTTP_HEADERS) < 0) {
    return -1;
  }
  return lws_http_transaction_completed(wsi) != 0 ? -1 : 0;
}

static int reply_metrics(km_relay_metrics_server *s, struct lws *wsi) {
  static const char no_room[] = "the metrics do not fit\n";
  char body[KM_RELAY_METRICS_MAX];
  km_relay_metrics m = {.version = s->config.version};
  km_process_stats_read(&m.process);
  s->config.fill(s->config.ctx, &m);
  int len = km_relay_metrics_write(body, sizeof body, &m);
  if (len < 0) {
    return reply(wsi, 500, "text/plain", no_room, sizeof no_room - 1);
  }
  return reply(wsi, 200, KM_RELAY_METRICS_TYPE, body, (size_t)len);
}

static int on_request(km_relay_metrics_server *s, struct lws *wsi, const char *uri) {
  static const char not_found[] = "Not Found: see /metrics\n";
  static const char not_get[] = "GET only\n";
  if (lws_hdr_total_length(wsi, WSI_TOKEN_GET_URI) <= 0) {
    return reply(wsi, 405, "text/plain", not_get, sizeof not_get - 1);
  }
  if (strcmp(uri, "/metrics") != 0) {
    return reply(wsi, 404, "text/plain", not_found, sizeof not_found - 1);
  }
  return reply_metrics(s, wsi);
}

static int on_lws(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                  size_t len) {
  km_relay_metrics_server *s = wsi != NULL ? km_lws_user(lws_get_context(wsi)) : NULL;
  if (s == NULL) {
    return km_lws_callback(wsi, reason, user, in, len);
  }
  switch (reason) {
  case LWS_CALLBACK_FILTER_NETWORK_CONNECTION:
    return s->open >= CONNECTIONS ? -1 : 0;
  case LWS_CALLBACK_SERVER_NEW_CLIENT_INSTANTIATED:
    s->open++;
    return 0;
  case LWS_CALLBACK_WSI_DESTROY:
    s->open -= s->open > 0;
    return 0;
  case LWS_CALLBACK_HTTP:
    return on_request(s, wsi, in);
  case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
    return -1;
  default:
    return km_lws_callback(wsi, reason, user, in, len);
  }
}

/* --- life ------------------------------------------------------------------------------------ */

static const struct lws_protocols protocols[] = {
    {.name = "km-relay-metrics", .callback = on_lws},
    LWS_PROTOCOL_LIST_TERM,
};

/* lws does not say why it cannot listen; this does. */
static int try_bind(const km_udp_addr *at, km_errinfo *err) {
  struct sockaddr_storage addr;
  char text[KM_UDP_ADDR_TEXT_CAP] = "";
  socklen_t len = km_udp_addr_to_sockaddr(at, &addr);
  int one = 1;
  (void)km_udp_addr_format(at, text, sizeof text);
  int fd = socket(at->family == 4 ? AF_INET : AF_INET6, SOCK_STREAM, 0);
  if (fd < 0) {
    return km_fail_errno(err, errno, "cannot serve metrics on %s", text);
  }
  (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one); /* as lws does */
  bool bound = bind(fd, (const struct sockaddr *)&addr, len) == 0 && listen(fd, 1) == 0;
  int sys_errno = errno;
  (void)close(fd);
  return bound ? 0 : km_fail_errno(err, sys_errno, "cannot serve metrics on %s", text);
}

/* "192.0.2.1" or "2001:db8::1"; NULL for all addresses. */
static const char *interface_of(char buf[KM_UDP_ADDR_TEXT_CAP], const km_udp_addr *at) {
  static const uint8_t any[16] = {0};
  if (memcmp(at->ip, any, sizeof any) == 0) {
    return NULL;
  }
  (void)km_udp_addr_format(at, buf, KM_UDP_ADDR_TEXT_CAP);
  char *ip = at->family == 6 ? buf + 1 : buf;
  ip[strcspn(ip, at->family == 6 ? "%]" : ":")] = '\0';
  return ip;
}

static int listen_on(km_relay_metrics_server *s, km_errinfo *err) {
  const km_udp_addr *at = &s->config.bind;
  int rv = try_bind(at, err);
  if (rv != 0) {
    return rv;
  }
  struct lws_context_creation_info info = {
      .vhost_name = "metrics",
      .port = at->port,
      .iface = interface_of(s->host, at),
      .protocols = protocols,
      .options = LWS_SERVER_OPTION_FAIL_UPON_UNABLE_TO_BIND |
                 (at->family == 4 ? LWS_SERVER_OPTION_DISABLE_IPV6 : 0),
      .keepalive_timeout = 60,
      .timeout_secs = 10,
  };
  struct lws_vhost *vhost = lws_create_vhost(km_lws_context(s->lws), &info);
  if (vhost == NULL) {
    return km_fail(err, KM_ERR_SYSTEM, "libwebsockets cannot listen for metrics");
  }
  s->bound = *at;
  s->bound.port = (uint16_t)lws_get_vhost_listen_port(vhost);
  km_lws_touch(s->lws);
  return 0;
}

int km_relay_metrics_server_new(km_relay_metrics_server **ret,
                                const km_relay_metrics_config *config, km_errinfo *err) {
  km_relay_metrics_server *s = km_env_zalloc(config->env, 1, sizeof *s);
  if (s == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  s->config = *config;
  struct lws_context_creation_info info = {
      .port = CONTEXT_PORT_NO_LISTEN,
      .protocols = protocols,
      .options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
      .gid = (gid_t)-1,
      .uid = (uid_t)-1,
      .max_http_header_data = 4096,
      .max_http_header_pool = CONNECTIONS,
      .timeout_secs = 10,
  };
  int rv = km_lws_new(&s->lws, config->env, config->loop, &info, s, err);
  rv = rv == 0 ? listen_on(s, err) : rv;
  if (rv != 0) {
    km_relay_metrics_server_free(s);
    return rv;
  }
  *ret = s;
  return 0;
}

void km_relay_metrics_server_free(km_relay_metrics_server *s) {
  if (s != NULL) {
    km_lws_free(s->lws);
    km_env_free(s->config.env, s);
  }
}

const km_udp_addr *km_relay_metrics_server_bound(const km_relay_metrics_server *s) {
  return &s->bound;
}
