/* The HTTP side of a discovery server: listeners, connections and their deadlines. */
#include "discovery/server/http_io.h"

#include <string.h>

#include "discovery/server/http_impl.h"

#define READ_BYTES 16384
#define WRITE_BYTES 65536
#define HEAD_BYTES KM_DNS_HTTP_REQUEST_HEAD_MAX /* a question in its url is below that */
#define PATIENCE_NS KM_NS_PER_S                 /* before one can be ended to make room */

/* --- connections ----------------------------------------------------------------------------- */

static km_dns_http_conn *conn_of(km_lws_conn *c) {
  return KM_LIST_ITEM(c, km_dns_http_conn, conn);
}

void km_dns_http_arm(km_dns_http_conn *c) {
  const km_dns_http *s = c->s;
  km_lws_conn_set_deadline(&c->conn,
                           km_dns_http_now(s) + s->config.request_timeout_ms * KM_NS_PER_MS);
}

void km_dns_http_kill(km_dns_http_conn *c) {
  c->state = KM_DNS_HTTP_CLOSING;
  km_lws_conn_kill(&c->conn, c->s->lws);
}

static void on_late(km_lws_conn *c) {
  km_dns_http_kill(conn_of(c));
}

static void on_check(void *ctx) {
  km_dns_http *s = ctx;
  if (s->stopping && s->conns.count == 0 && s->on_stopped != NULL) {
    void (*on_stopped)(void *ctx) = s->on_stopped;
    s->on_stopped = NULL;
    on_stopped(s->stopped_ctx); /* from the end of a turn: it may free the server */
  }
}

/* Behind a proxy all connections come from its address. */
static bool counts_addresses(const km_dns_http *s) {
  return s->config.max_http_per_addr > 0 && s->config.client == KM_DNS_SERVER_PEER;
}

/* Whoever holds connections that do nothing keeps nobody out: the one that has been without a step
 * for longest goes, unless it waits for us. */
static bool make_room(km_dns_http *s) {
  km_lws_conn *nearest = km_lws_conns_nearest(&s->conns);
  if (nearest == NULL || s->conns.evicted >= KM_DNS_HTTP_EVICTED_MAX) {
    return false;
  }
  km_dns_http_conn *c = conn_of(nearest);
  km_ts began = nearest->timer.at - s->config.request_timeout_ms * KM_NS_PER_MS;
  if (c->state == KM_DNS_HTTP_WAITING || km_dns_http_now(s) < began + PATIENCE_NS) {
    return false;
  }
  c->state = KM_DNS_HTTP_CLOSING;
  s->stats.http_refused++;
  km_lws_conn_evict(nearest, s->lws);
  return true;
}

static bool is_tls(const km_dns_http *s, struct lws *listener) {
  const struct lws_vhost *vhost = lws_get_vhost(listener);
  for (size_t i = s->config.http_count; i < s->listener_count; i++) {
    if (s->listeners[i].vhost == vhost) {
      return true;
    }
  }
  return false;
}

/* A handshake costs more than most requests: it counts as one. Not those of our own proxy. */
static bool may_shake_hands(km_dns_http *s, struct lws *listener, const km_udp_addr *remote) {
  bool may = s->config.client != KM_DNS_SERVER_PEER || !is_tls(s, listener) ||
             km_rate_limit_take(s->requests, remote, km_dns_http_now(s));
  s->stats.http_limited += !may;
  return may;
}

/* Before anything is spent on a connection. */
static bool may_enter(km_dns_http *s, struct lws *listener, int fd) {
  km_udp_addr remote;
  bool may = !s->stopping && km_lws_peer(fd, &remote) &&
             (!counts_addresses(s) ||
              km_addr_counter_get(&s->by_addr, &remote) < s->config.max_http_per_addr) &&
             may_shake_hands(s, listener, &remote) &&
             (km_lws_conns_held(&s->conns) < s->config.max_http || make_room(s));
  s->stats.http_refused += !may;
  return may;
}

static int enter(km_dns_http *s, struct lws *wsi) {
  km_dns_http_conn *c = km_env_zalloc(s->config.env, 1, sizeof *c);
  if (c == NULL) {
    return -1;
  }
  c->s = s;
  if (!km_lws_conns_enter(&s->conns, &c->conn, wsi)) {
    km_env_free(s->config.env, c);
    return -1;
  }
  if (km_addr_counter_add(&s->by_addr, &c->conn.remote) != 0) {
    km_lws_conns_leave(&c->conn);
    km_env_free(s->config.env, c);
    return -1;
  }
  km_dns_http_arm(c);
  return 0;
}

static void leave(km_dns_http_conn *c) {
  km_dns_http *s = c->s;
  km_packet_store_forget(s->store, c);
  km_addr_counter_remove(&s->by_addr, &c->conn.remote);
  km_lws_conns_leave(&c->conn);
  km_env_free(s->config.env, c->body);
  km_env_free(s->config.env, c);
  km_defer_run(s->check);
}

/* --- lws ------------------------------------------------------------------------------------- */

/* HTTP/2 is offered by some clients in passing: the request is answered as if it had not been.
 * lws tells of others after it has refused them; their heads are gone by then. */
static bool may_ignore_upgrade(struct lws *wsi, const char *to) {
  return lws_hdr_total_length(wsi, WSI_TOKEN_UPGRADE) > 0 && strcmp(to, "h2c") == 0;
}

static int on_conn(km_dns_http_conn *c, enum lws_callback_reasons reason, void *in, size_t len) {
  switch (reason) {
  case LWS_CALLBACK_HTTP:
    return km_dns_http_request(c, in);
  case LWS_CALLBACK_HTTP_BODY:
    return km_dns_http_received(c, in, len);
  case LWS_CALLBACK_HTTP_BODY_COMPLETION:
    return km_dns_http_received_all(c);
  case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
    return may_ignore_upgrade(c->conn.wsi, in) ? 0 : -1;
  case LWS_CALLBACK_RAW_ADOPT: /* what becomes of CONNECT */
  case LWS_CALLBACK_RAW_RX:
    return -1;
  case LWS_CALLBACK_WSI_DESTROY:
    leave(c);
    return 0;
  default:
    return 0;
  }
}

static int callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t len) {
  km_dns_http *s = km_lws_user(lws_get_context(wsi));
  switch (reason) {
  case LWS_CALLBACK_OPENSSL_LOAD_EXTRA_SERVER_VERIFY_CERTS:
    if (s->tls != NULL) {
      km_lws_tls_attach(s->tls, user);
    }
    return 0;
  case LWS_CALLBACK_FILTER_NETWORK_CONNECTION:
    return may_enter(s, wsi, (int)(intptr_t)in) ? 0 : 1;
  case LWS_CALLBACK_SERVER_NEW_CLIENT_INSTANTIATED:
    return enter(s, wsi);
  default: {
    km_lws_conn *c = km_lws_conns_find(wsi);
    return c == NULL ? 0 : on_conn(conn_of(c), reason, in, len);
  }
  }
}

static const struct lws_protocols protocols[] = {
    {"(http)", callback, 0, 0, 0, NULL, WRITE_BYTES},
    LWS_PROTOCOL_LIST_TERM,
};

/* --- life ------------------------------------------------------------------------------------ */

/* Our own deadlines come first. */
static unsigned timeout_of_lws(const km_dns_http *s) {
  return s->config.request_timeout_ms / 1000 + 5;
}

static int listen_all(km_dns_http *s, km_errinfo *err) {
  size_t count = s->config.http_count + s->config.https_count;
  int rv = 0;
  for (size_t i = 0; rv == 0 && i < count; i++) {
    struct lws_context_creation_info info = {
        .protocols = protocols,
        .keepalive_timeout = (int)timeout_of_lws(s),
        .timeout_secs_ah_idle = timeout_of_lws(s),
    };
    if (i >= s->config.http_count) {
      km_lws_tls_fill(s->tls, &info);
    }
    rv = km_lws_listen(&s->listeners[i], s->lws, &s->binds[i], &info, "cannot listen on", err);
    s->listener_count += rv == 0;
  }
  return rv;
}

static int copy_binds(km_dns_http *s, const km_dns_server_config *config) {
  size_t count = config->http_count + config->https_count;
  s->binds = km_env_zalloc(config->env, count + 1, sizeof *s->binds);
  if (s->binds == NULL) {
    return KM_ERR_NOMEM;
  }
  for (size_t i = 0; i < count; i++) {
    s->binds[i] = i < config->http_count ? config->http[i] : config->https[i - config->http_count];
  }
  return 0;
}

static int make_parts(km_dns_http *s, const km_dns_server_config *config) {
  const km_env *env = config->env;
  km_addr_counter_init_net(&s->by_addr, env, KM_DNS_SOURCE_V6_BYTES);
  s->config.max_http = km_lws_fit_connections(config->max_http);
  int rv = copy_binds(s, config);
  rv = rv != 0 ? rv
               : km_rate_limit_new(&s->requests, env, config->http_per_second, config->http_burst);
  rv = rv != 0
           ? rv
           : km_rate_limit_new_per_minute(&s->puts, env, config->put_per_minute, config->put_burst);
  rv = rv != 0 ? rv : km_lws_conns_init(&s->conns, env, config->loop, on_late);
  return rv != 0 ? rv : km_defer_new(&s->check, config->loop, on_check, s);
}

static int make_lws(km_dns_http *s, km_errinfo *err) {
  struct lws_context_creation_info info = {
      .port = CONTEXT_PORT_NO_LISTEN,
      .protocols = protocols,
      .pt_serv_buf_size = READ_BYTES + LWS_PRE,
      .options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS | LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT,
      .timeout_secs = timeout_of_lws(s),
      .max_http_header_pool = 0, /* one a connection: who dawdles keeps nobody else waiting */
      .max_http_header_data = HEAD_BYTES,
  };
  return km_lws_new(&s->lws, s->config.env, s->config.loop, &info, s, err);
}

static int open_server(km_dns_http *s, const km_dns_server_config *config, km_errinfo *err) {
  int rv = make_parts(s, config);
  if (rv != 0) {
    return km_fail(err, rv, NULL);
  }
  if (config->https_count > 0) {
    rv = km_lws_tls_new(&s->tls, config->env, config->cert_file, config->key_file,
                        KM_ERR_SERVER_TLS, err);
  }
  rv = rv != 0 ? rv : make_lws(s, err);
  return rv != 0 ? rv : listen_all(s, err);
}

int km_dns_http_new(km_dns_http **ret, const km_dns_server_config *config, km_zone *zone,
                    km_packet_store *store, km_errinfo *err) {
  if (config->http_count > KM_DNS_SERVER_MAX_BINDS ||
      config->https_count > KM_DNS_SERVER_MAX_BINDS) {
    return km_fail(err, KM_ERR_INVALID, "these are more than %d addresses to listen on",
                   KM_DNS_SERVER_MAX_BINDS);
  }
  km_dns_http *s = km_env_zalloc(config->env, 1, sizeof *s);
  if (s == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  s->config = *config;
  s->config.dns = s->config.http = s->config.https = NULL;
  s->config.cert_file = s->config.key_file = NULL;
  s->config.origins = NULL;
  s->config.records = NULL;
  s->zone = zone;
  s->store = store;
  int rv = open_server(s, config, err);
  if (rv != 0) {
    km_dns_http_free(s);
    return rv;
  }
  *ret = s;
  return 0;
}

void km_dns_http_free(km_dns_http *s) {
  if (s == NULL) {
    return;
  }
  const km_env *env = s->config.env;
  km_lws_free(s->lws); /* every connection leaves */
  km_lws_tls_free(s->tls);
  km_lws_conns_clear(&s->conns);
  km_addr_counter_clear(&s->by_addr);
  km_rate_limit_free(s->requests);
  km_rate_limit_free(s->puts);
  km_defer_free(s->check);
  km_env_free(env, s->binds);
  km_env_free(env, s);
}

int km_dns_http_reload(km_dns_http *s, km_errinfo *err) {
  return s->tls == NULL ? km_fail(err, KM_ERR_STATE, "there is no certificate: HTTPS is off")
                        : km_lws_tls_reload(s->tls, err);
}

void km_dns_http_shutdown(km_dns_http *s, uint32_t grace_ms, void (*on_done)(void *ctx),
                          void *ctx) {
  km_ts until = km_dns_http_now(s) + grace_ms * KM_NS_PER_MS;
  s->stopping = true;
  s->on_stopped = on_done;
  s->stopped_ctx = ctx;
  for (km_list *at = s->conns.all.next; at != &s->conns.all; at = at->next) {
    km_dns_http_conn *c = conn_of(KM_LIST_ITEM(at, km_lws_conn, node));
    if (c->state == KM_DNS_HTTP_IDLE && !lws_partial_buffered(c->conn.wsi)) {
      km_dns_http_kill(c);
    } else if (c->state != KM_DNS_HTTP_CLOSING && c->conn.timer.at > until) {
      km_lws_conn_set_deadline(&c->conn, until);
    }
  }
  km_defer_run(s->check);
}

size_t km_dns_http_bound(const km_dns_http *s, km_udp_addr *ret, size_t cap) {
  size_t count = 0;
  for (; count < s->listener_count && count < cap; count++) {
    ret[count] = km_lws_listener_bound(&s->listeners[count], &s->binds[count]);
  }
  return count;
}

void km_dns_http_get_stats(const km_dns_http *s, km_dns_server_stats *ret) {
  *ret = s->stats;
  ret->http_connections = s->conns.count;
}
