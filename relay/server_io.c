/* The relay server: listeners, connections and their deadlines. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "relay/server_impl.h"

/* Read at once from a connection, into one buffer for all; written at once. lws reserves as much a
 * connection, and does not touch it: it is address space, not memory. */
#define READ_BYTES 65536
#define WRITE_BYTES 65536
#define RESTART_SPREAD_MAX_MS 60000
/* One address may take a quarter of what is accepted at once, in a second. */
#define ADDR_SHARE 4
#define ADDR_SHARE_MIN 64

/* TLS, the upgrade and the challenge are three exchanges; the rest is for packets that are lost. */
#define ESTABLISH_TRIPS 6

void km_relay_server_limits_default(km_relay_server_limits *ret) {
  *ret = (km_relay_server_limits){
      .connections = 60000,
      .connections_per_addr = 4096,
      .accepts_per_second = 1000,
      .accept_burst = 10000,
      .establish_timeout_ms = 30000, /* iroh's ESTABLISH_TIMEOUT */
      .write_timeout_ms = 2000,      /* iroh's SERVER_WRITE_TIMEOUT */
      .queued_bytes = 256u << 20,
      .partial_bytes = 64u << 20,
  };
}

/* --- connections ----------------------------------------------------------------------------- */

uint64_t km_server_round_trip(const km_server_conn *c) {
#ifdef TCP_INFO
  struct tcp_info info;
  socklen_t len = sizeof info;
  memset(&info, 0, sizeof info);
  if (getsockopt(lws_get_socket_fd(c->conn.wsi), IPPROTO_TCP, TCP_INFO, &info, &len) == 0) {
    return info.tcpi_rtt * (KM_NS_PER_MS / 1000);
  }
#endif
  return 0;
}

uint64_t km_server_write_patience(const km_server_conn *c) {
  return km_relay_patience(c->s->config.limits.write_timeout_ms * KM_NS_PER_MS, KM_RELAY_TRIPS,
                           km_server_round_trip(c), KM_RELAY_PONG_MAX);
}

static uint64_t establish_patience(const km_server_conn *c) {
  return km_relay_patience(c->s->config.limits.establish_timeout_ms * KM_NS_PER_MS, ESTABLISH_TRIPS,
                           km_server_round_trip(c), KM_RELAY_SERVER_ESTABLISH_MAX);
}

static km_ts write_deadline(const km_server_conn *c) {
  return c->blocked_since == KM_TS_NEVER ? KM_TS_NEVER : c->blocked_since + c->write_ns;
}

void km_server_conn_arm(km_server_conn *c) {
  km_ts at = c->established_by, blocked = write_deadline(c);
  at = blocked < at ? blocked : at;
  at = c->paused_until < at ? c->paused_until : at;
  if (c->state == KM_SERVER_RELAYING && c->paused_until == KM_TS_NEVER) {
    km_ts ping = km_switchboard_deadline(&c->client);
    at = ping < at ? ping : at;
  }
  km_lws_conn_set_deadline(&c->conn, at);
}

void km_server_conn_kill(km_server_conn *c) {
  if (c->state == KM_SERVER_RELAYING) {
    c->s->stats.disconnects++;
    km_switchboard_leave(&c->s->sb, &c->client);
  }
  km_server_forget_login(c);
  km_assembly_reset(&c->part, &c->s->parts);
  c->state = KM_SERVER_CLOSING;
  c->established_by = c->blocked_since = c->paused_until = KM_TS_NEVER;
  km_lws_conn_kill(&c->conn, c->s->lws);
}

static void on_late(km_lws_conn *conn) {
  km_server_conn *c = KM_SERVER_CONN(conn);
  km_relay_server *s = c->s;
  km_ts now = km_server_now(s);
  if (c->established_by <= now) {
    s->stats.timeouts_establish += c->state != KM_SERVER_CLOSING;
    km_server_conn_kill(c);
  } else if (write_deadline(c) <= now) {
    s->stats.timeouts_write++;
    km_server_conn_kill(c);
  } else if (!km_server_relay_tick(c, now)) {
    km_server_conn_kill(c);
  } else {
    km_server_conn_arm(c);
  }
}

static void check_stopped(km_relay_server *s) {
  if (s->stopping && s->conns.count == 0 && s->on_stopped != NULL) {
    void (*on_stopped)(void *ctx) = s->on_stopped;
    s->on_stopped = NULL;
    on_stopped(s->stopped_ctx); /* from the end of a turn: it may free the server */
  }
}

static void on_flush(void *ctx) {
  km_relay_server *s = ctx;
  km_server_flush(s);
  check_stopped(s);
}

static bool takes_its_share(km_relay_server *s, const km_udp_addr *remote) {
  km_ts now = km_server_now(s);
  uint32_t share = s->config.limits.accept_burst / ADDR_SHARE;
  if (s->config.limits.accepts_per_second == 0 || s->config.limits.connections_per_addr == 0) {
    return true;
  }
  if (now - s->recent_since >= KM_NS_PER_S) {
    km_addr_counter_clear(&s->recent);
    s->recent_since = now;
  }
  return km_addr_counter_get(&s->recent, remote) <
             (share > ADDR_SHARE_MIN ? share : ADDR_SHARE_MIN) &&
         km_addr_counter_add(&s->recent, remote) == 0;
}

/* Before anything is spent on a connection. */
static bool may_enter(km_relay_server *s, int fd) {
  const km_relay_server_limits *l = &s->config.limits;
  km_udp_addr remote;
  s->stats.accepted++;
  bool may = !s->stopping && km_lws_peer(fd, &remote) &&
             (l->connections == 0 || s->conns.count < l->connections) &&
             (l->connections_per_addr == 0 ||
              km_addr_counter_get(&s->by_addr, &remote) < l->connections_per_addr) &&
             takes_its_share(s, &remote) && km_token_bucket_take(&s->accepts, km_server_now(s));
  s->stats.refused_limit += !may;
  return may;
}

static int enter(km_relay_server *s, struct lws *wsi) {
  km_server_conn *c = km_env_zalloc(s->config.env, 1, sizeof *c);
  if (c == NULL) {
    return -1;
  }
  c->s = s;
  c->blocked_since = c->paused_until = KM_TS_NEVER;
  if (!km_lws_conns_enter(&s->conns, &c->conn, wsi)) {
    km_env_free(s->config.env, c);
    return -1;
  }
  if (km_addr_counter_add(&s->by_addr, &c->conn.remote) != 0) {
    km_lws_conns_leave(&c->conn);
    km_env_free(s->config.env, c);
    return -1;
  }
  c->established_by = km_server_now(s) + establish_patience(c);
  km_server_conn_arm(c);
  return 0;
}

static void leave(km_server_conn *c) {
  km_relay_server *s = c->s;
  if (c->state == KM_SERVER_RELAYING) {
    s->stats.disconnects++;
  }
  km_switchboard_leave(&s->sb, &c->client);
  km_server_forget_login(c);
  km_server_let_go(c);
  km_addr_counter_remove(&s->by_addr, &c->conn.remote);
  km_lws_conns_leave(&c->conn);
  km_env_free(s->config.env, c->token);
  km_env_free(s->config.env, c);
  km_defer_run(s->flush);
}

void km_relay_server_decide(km_relay_server *s, uint64_t login, const char *denial) {
  /* Most are decided in the order in which they came. */
  km_server_conn *c = s->first_login;
  while (c != NULL && c->login < login) {
    c = c->next_login;
  }
  if (c != NULL && c->login == login) {
    km_server_decided(c, denial);
  }
}

/* --- lws ------------------------------------------------------------------------------------- */

static int on_conn(km_server_conn *c, enum lws_callback_reasons reason, void *in, size_t len) {
  switch (reason) {
  case LWS_CALLBACK_HTTP:
    return km_lws_has_version(c->conn.wsi) ? km_server_http(c, in) : -1;
  case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
    return km_server_check_upgrade(c, in);
  case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
    return km_server_read_login(c) ? 0 : -1;
  case LWS_CALLBACK_ADD_HEADERS:
    return c->version == 0 ? 0 : km_server_fix_version(c, in);
  case LWS_CALLBACK_ESTABLISHED:
    return km_server_upgraded(c);
  case LWS_CALLBACK_RECEIVE_PONG: /* and pings: third_party/patches */
    km_server_control_frame(c, len);
    return 0;
  case LWS_CALLBACK_RECEIVE:
    return km_server_received(c, in, len);
  case LWS_CALLBACK_SERVER_WRITEABLE:
    return km_server_writable(c);
  case LWS_CALLBACK_WSI_DESTROY:
    leave(c);
    return 0;
  default:
    return 0;
  }
}

static int callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t len) {
  km_relay_server *s = km_lws_user(lws_get_context(wsi));
  (void)user;
  switch (reason) {
  case LWS_CALLBACK_OPENSSL_LOAD_EXTRA_SERVER_VERIFY_CERTS:
    if (s->tls != NULL) {
      km_lws_tls_attach(s->tls, user);
    }
    return 0;
  case LWS_CALLBACK_FILTER_NETWORK_CONNECTION:
    return may_enter(s, (int)(intptr_t)in) ? 0 : 1;
  case LWS_CALLBACK_SERVER_NEW_CLIENT_INSTANTIATED:
    return enter(s, wsi);
  default: {
    km_lws_conn *c = km_lws_conns_find(wsi);
    return c == NULL ? 0 : on_conn(KM_SERVER_CONN(c), reason, in, len);
  }
  }
}

static const struct lws_protocols protocols[] = {
    {"(http)", callback, 0, 0, 0, NULL, WRITE_BYTES}, /* no client can ask for that by its name */
    {KM_RELAY_PROTOCOL_V2, callback, 0, READ_BYTES, 0, NULL, WRITE_BYTES},
    {KM_RELAY_PROTOCOL_V1, callback, 0, READ_BYTES, 0, NULL, WRITE_BYTES},
    LWS_PROTOCOL_LIST_TERM,
};

/* --- listeners ------------------------------------------------------------------------------- */

/* Of each stage of a login. Our own timeouts come first, and count, but where round trips take so
 * long. */
static unsigned timeout_of_lws(const km_relay_server *s) {
  return s->config.limits.establish_timeout_ms / 1000 + 5;
}

static int listen_on(km_relay_server *s, const km_udp_addr *at, bool tls, km_errinfo *err) {
  struct lws_context_creation_info info = {
      .protocols = protocols,
      .keepalive_timeout = (int)timeout_of_lws(s),
      .timeout_secs_ah_idle = timeout_of_lws(s),
  };
  if (tls) {
    km_lws_tls_fill(s->tls, &info);
  }
  int rv =
      km_lws_listen(&s->listeners[s->listener_count], s->lws, at, &info, "cannot listen on", err);
  s->listener_count += rv == 0;
  return rv;
}

static int listen_all(km_relay_server *s, const km_relay_server_config *config, km_errinfo *err) {
  int rv = 0;
  for (size_t i = 0; rv == 0 && i < config->http_count; i++) {
    rv = listen_on(s, &config->http[i], false, err);
  }
  for (size_t i = 0; rv == 0 && i < config->https_count; i++) {
    rv = listen_on(s, &config->https[i], true, err);
  }
  return rv;
}

size_t km_relay_server_bound(const km_relay_server *s, km_udp_addr *ret, size_t cap) {
  size_t count = 0;
  for (size_t i = 0; i < s->listener_count && count < cap; i++) {
    const km_udp_addr *at =
        i < s->config.http_count ? &s->config.http[i] : &s->config.https[i - s->config.http_count];
    ret[count++] = km_lws_listener_bound(&s->listeners[i], at);
  }
  return count;
}

/* --- life ------------------------------------------------------------------------------------ */

static size_t bytes_limit(uint64_t limit) {
  return limit == 0 || limit > SIZE_MAX / 2 ? SIZE_MAX / 2 : (size_t)limit;
}

/* A connection that there is no descriptor for is refused like any other one too many. */
static void fit_limits(km_relay_server_limits *l) {
  l->connections = km_lws_fit_connections(l->connections);
  if (l->rx_burst == 0) {
    l->rx_burst = l->rx_bytes_per_second / 10;
  }
}

static int make_parts(km_relay_server *s, km_errinfo *err) {
  const km_relay_server_limits *l = &s->config.limits;
  const km_env *env = s->config.env;
  fit_limits(&s->config.limits);
  km_assembly_pool_init(&s->parts, env, bytes_limit(l->partial_bytes));
  km_addr_counter_init(&s->by_addr, env);
  km_addr_counter_init(&s->recent, env);
  km_token_bucket_init(&s->accepts, l->accepts_per_second,
                       l->accept_burst > 0 ? l->accept_burst : l->accepts_per_second,
                       km_server_now(s));
  int rv = km_switchboard_init(&s->sb, env, bytes_limit(l->queued_bytes));
  if (rv == 0) {
    rv = km_lws_conns_init(&s->conns, env, s->config.loop, on_late);
  }
  if (rv == 0) {
    rv = km_defer_new(&s->flush, s->config.loop, on_flush, s);
  }
  return rv == 0 ? 0 : km_fail(err, rv, NULL);
}

static int make_lws(km_relay_server *s, km_errinfo *err) {
  struct lws_context_creation_info info = {
      .port = CONTEXT_PORT_NO_LISTEN,
      .protocols = protocols,
      .pt_serv_buf_size = READ_BYTES + LWS_PRE,
      .options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS | LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT,
      .fd_limit_per_thread = 0,
      .timeout_secs = timeout_of_lws(s),
      .max_http_header_pool = 0, /* one a connection: who dawdles keeps nobody else waiting */
      .max_http_header_data = 4096,
  };
  return km_lws_new(&s->lws, s->config.env, s->config.loop, &info, s, err);
}

static int copy_binds(km_relay_server *s, const km_relay_server_config *config) {
  size_t count = config->http_count + config->https_count;
  km_udp_addr *all = km_env_zalloc(config->env, count, sizeof *all);
  if (all == NULL) {
    return KM_ERR_NOMEM;
  }
  for (size_t i = 0; i < count; i++) {
    all[i] = i < config->http_count ? config->http[i] : config->https[i - config->http_count];
  }
  s->config.http = all; /* and https behind them */
  s->config.https = all + config->http_count;
  return 0;
}

static int open_server(km_relay_server *s, const km_relay_server_config *config, km_errinfo *err) {
  if (config->http_count + config->https_count == 0 ||
      config->http_count > KM_RELAY_SERVER_MAX_BINDS ||
      config->https_count > KM_RELAY_SERVER_MAX_BINDS) {
    return km_fail(err, KM_ERR_INVALID, "give 1 to %d addresses to listen on",
                   KM_RELAY_SERVER_MAX_BINDS);
  }
  int rv = copy_binds(s, config);
  if (rv != 0) {
    return km_fail(err, rv, NULL);
  }
  rv = make_parts(s, err);
  if (rv == 0 && config->https_count > 0) {
    rv = km_lws_tls_new(&s->tls, config->env, config->cert_file, config->key_file, KM_ERR_RELAY_TLS,
                        err);
  }
  if (rv == 0) {
    rv = make_lws(s, err);
  }
  return rv == 0 ? listen_all(s, config, err) : rv;
}

int km_relay_server_new(km_relay_server **ret, const km_relay_server_config *config,
                        km_errinfo *err) {
  km_relay_server *s = km_env_zalloc(config->env, 1, sizeof *s);
  if (s == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  s->config = *config;
  s->config.http = s->config.https = NULL;
  s->config.cert_file = s->config.key_file = NULL;
  int rv = open_server(s, config, err);
  if (rv != 0) {
    km_relay_server_free(s);
    return rv;
  }
  *ret = s;
  return 0;
}

void km_relay_server_free(km_relay_server *s) {
  if (s == NULL) {
    return;
  }
  km_lws_free(s->lws); /* every connection leaves */
  km_lws_tls_free(s->tls);
  km_switchboard_clear(&s->sb);
  km_assembly_pool_clear(&s->parts);
  km_lws_conns_clear(&s->conns);
  if (s->by_addr.env != NULL) { /* make_parts came so far */
    km_addr_counter_clear(&s->by_addr);
    km_addr_counter_clear(&s->recent);
  }
  km_defer_free(s->flush);
  km_env_free(s->config.env, (void *)(uintptr_t)s->config.http);
  km_env_free(s->config.env, s);
}

int km_relay_server_reload(km_relay_server *s, km_errinfo *err) {
  return s->tls == NULL ? km_fail(err, KM_ERR_STATE, "there is no certificate: HTTPS is off")
                        : km_lws_tls_reload(s->tls, err);
}

void km_relay_server_shutdown(km_relay_server *s, uint32_t grace_ms, void (*on_done)(void *ctx),
                              void *ctx) {
  km_ts until = km_server_now(s) + grace_ms * KM_NS_PER_MS;
  s->stopping = true;
  s->on_stopped = on_done;
  s->stopped_ctx = ctx;
  /* They come back spread over this time: a TLS handshake costs up to a millisecond. */
  uint64_t spread =
      s->sb.stats.clients < RESTART_SPREAD_MAX_MS ? s->sb.stats.clients : RESTART_SPREAD_MAX_MS;
  km_switchboard_restarting(&s->sb, spread > grace_ms / 2 ? (uint32_t)spread : grace_ms / 2, 60000);
  for (km_list *at = s->conns.all.next; at != &s->conns.all; at = at->next) {
    km_server_conn *c = KM_SERVER_CONN(KM_LIST_ITEM(at, km_lws_conn, node));
    if (c->state == KM_SERVER_RELAYING) {
      s->stats.disconnects++;
      c->state = KM_SERVER_CLOSING;
      c->established_by = until;
      (void)lws_callback_on_writable(c->conn.wsi);
      km_server_conn_arm(c);
    } else if (c->state != KM_SERVER_CLOSING) {
      km_server_conn_kill(c);
    }
  }
  km_lws_touch(s->lws);
  km_defer_run(s->flush);
}

void km_relay_server_get_stats(const km_relay_server *s, km_relay_server_stats *ret) {
  const km_switch_stats *b = &s->sb.stats;
  *ret = s->stats;
  ret->connections = s->conns.count;
  ret->clients = b->clients;
  ret->ids = b->ids;
  ret->messages_rx = b->rx_messages;
  ret->bytes_rx = b->rx_bytes;
  ret->datagrams = b->datagrams;
  ret->datagram_bytes = b->datagram_bytes;
  ret->dropped_absent = b->dropped_absent;
  ret->dropped_full = b->dropped_full;
  ret->dropped_others = b->dropped_others;
  ret->gone_sent = b->gone_sent;
  ret->pings_rx = b->pings_rx;
  ret->pings_tx = b->pings_tx;
  ret->pongs_rx = b->pongs_rx;
  ret->replaced = b->replaced;
  ret->rate_limited = b->rate_limited;
  ret->rate_limited_clients = b->rate_limited_clients;
  ret->bad_messages = b->bad_messages;
  ret->queued_bytes = s->sb.pool.bytes;
  ret->partial_bytes = s->parts.bytes;
}
