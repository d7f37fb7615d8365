#include "base/io/metrics_page_io.h"

#include <string.h>

#include "base/io/lws_listen_io.h"

#define CONNECTIONS 16 /* scrapers at once; the fds beyond these are refused */

struct km_metrics_page {
  km_metrics_page_config config;
  km_lws *lws;
  km_lws_listener listener;
  km_udp_addr bound;
  unsigned open;
};

/* --- answering ------------------------------------------------------------------------------- */

static int reply(struct lws *wsi, unsigned status, const char *type, const char *body, size_t len) {
  uint8_t buf[LWS_PRE + 512 + KM_METRICS_PAGE_MAX];
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

static int reply_text(struct lws *wsi, unsigned status, const char *text) {
  return reply(wsi, status, "text/plain", text, strlen(text));
}

static int on_request(km_metrics_page *p, struct lws *wsi, const char *uri) {
  char body[KM_METRICS_PAGE_MAX];
  if (!km_lws_has_version(wsi)) {
    return -1;
  }
  if (lws_hdr_total_length(wsi, WSI_TOKEN_GET_URI) <= 0) {
    return reply_text(wsi, 405, "GET only\n");
  }
  if (strcmp(uri, "/metrics") != 0) {
    return reply_text(wsi, 404, "Not Found: see /metrics\n");
  }
  int len = p->config.write(p->config.ctx, body, sizeof body);
  if (len < 0) {
    return reply_text(wsi, 500, "the metrics do not fit\n");
  }
  return reply(wsi, 200, KM_METRICS_TYPE, body, (size_t)len);
}

static int on_lws(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                  size_t len) {
  km_metrics_page *p = wsi != NULL ? km_lws_user(lws_get_context(wsi)) : NULL;
  if (p == NULL) {
    return km_lws_callback(wsi, reason, user, in, len);
  }
  switch (reason) {
  case LWS_CALLBACK_FILTER_NETWORK_CONNECTION:
    return p->open >= CONNECTIONS ? -1 : 0;
  case LWS_CALLBACK_SERVER_NEW_CLIENT_INSTANTIATED:
    p->open++;
    return 0;
  case LWS_CALLBACK_WSI_DESTROY:
    p->open -= p->open > 0;
    return 0;
  case LWS_CALLBACK_HTTP:
    return on_request(p, wsi, in);
  case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
    return -1;
  default:
    return km_lws_callback(wsi, reason, user, in, len);
  }
}

/* --- life ------------------------------------------------------------------------------------ */

static const struct lws_protocols protocols[] = {
    {.name = "metrics", .callback = on_lws},
    LWS_PROTOCOL_LIST_TERM,
};

static int listen_on(km_metrics_page *p, km_errinfo *err) {
  struct lws_context_creation_info info = {
      .protocols = protocols,
      .keepalive_timeout = 60,
      .timeout_secs = 10,
  };
  int rv =
      km_lws_listen(&p->listener, p->lws, &p->config.bind, &info, "cannot serve metrics on", err);
  if (rv == 0) {
    p->bound = km_lws_listener_bound(&p->listener, &p->config.bind);
  }
  return rv;
}

int km_metrics_page_new(km_metrics_page **ret, const km_metrics_page_config *config,
                        km_errinfo *err) {
  km_metrics_page *p = km_env_zalloc(config->env, 1, sizeof *p);
  if (p == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  p->config = *config;
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
  int rv = km_lws_new(&p->lws, config->env, config->loop, &info, p, err);
  rv = rv == 0 ? listen_on(p, err) : rv;
  if (rv != 0) {
    km_metrics_page_free(p);
    return rv;
  }
  *ret = p;
  return 0;
}

void km_metrics_page_free(km_metrics_page *p) {
  if (p != NULL) {
    km_lws_free(p->lws);
    km_env_free(p->config.env, p);
  }
}

const km_udp_addr *km_metrics_page_bound(const km_metrics_page *p) {
  return &p->bound;
}
