/* The status page's life: its listener, connections and their deadlines. */
#include "cmd/node/page/status_page_io.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/ip_text.h"
#include "base/udp_addr.h"
#include "cmd/node/page/page_impl_io.h"

#define SECONDS_OF_LWS 15 /* our own deadlines come first */

/* --- connections ----------------------------------------------------------------------------- */

static page_conn *conn_of(km_lws_conn *c) {
  return KM_LIST_ITEM(c, page_conn, conn);
}

void page_conn_arm(page_conn *c) {
  km_lws_conn_set_deadline(&c->conn, page_now(c->s) + PAGE_PATIENCE_NS);
}

void page_conn_disarm(page_conn *c) {
  km_lws_conn_set_deadline(&c->conn, KM_TS_NEVER);
}

static void closing(page_conn *c) {
  c->state = PAGE_CONN_CLOSING;
  page_watch_end(c);
}

void page_conn_kill(page_conn *c) {
  closing(c);
  km_lws_conn_kill(&c->conn, c->s->lws);
}

static void on_late(km_lws_conn *c) {
  page_conn_kill(conn_of(c));
}

/* Whoever holds connections that do nothing keeps nobody out: the one that has been without a step
 * for longest goes. Watchers have no deadline, and a limit of their own. */
static bool make_room(status_page *s) {
  km_lws_conn *nearest = km_lws_conns_nearest(&s->conns);
  if (nearest == NULL || s->conns.evicted >= PAGE_EVICTED_MAX ||
      page_now(s) < nearest->timer.at - PAGE_PATIENCE_NS + PAGE_EVICT_AFTER_NS) {
    return false;
  }
  closing(conn_of(nearest));
  km_lws_conn_evict(nearest, s->lws);
  return true;
}

static bool may_enter(status_page *s) {
  return km_lws_conns_held(&s->conns) < PAGE_CONNECTIONS || make_room(s);
}

/* Where the connection came in. */
static bool local_of(int fd, km_udp_addr *ret) {
  struct sockaddr_storage ss;
  socklen_t len = sizeof ss;
  return getsockname(fd, (struct sockaddr *)&ss, &len) == 0 &&
         km_udp_addr_from_sockaddr(ret, (const struct sockaddr *)&ss, len);
}

static int enter(status_page *s, struct lws *wsi) {
  page_conn *c = km_env_zalloc(s->env, 1, sizeof *c);
  if (c == NULL) {
    return -1;
  }
  c->s = s;
  if (!local_of(lws_get_socket_fd(wsi), &c->local) ||
      !km_lws_conns_enter(&s->conns, &c->conn, wsi)) {
    km_env_free(s->env, c);
    return -1;
  }
  page_conn_arm(c);
  return 0;
}

static void leave(page_conn *c) {
  status_page *s = c->s;
  page_watch_end(c);
  km_lws_conns_leave(&c->conn);
  page_body_unref(s->env, c->body);
  page_body_unref(s->env, c->due);
  km_env_free(s->env, c);
}

/* --- lws ------------------------------------------------------------------------------------- */

static int on_request(page_conn *c, const char *uri) {
  lws_set_timeout(c->conn.wsi, NO_PENDING_TIMEOUT, 0); /* ours runs */
  page_conn_arm(c);
  return page_request(c, uri);
}

static int on_writable(page_conn *c) {
  return c->state == PAGE_CONN_SENDING    ? page_reply_go_on(c)
         : c->state == PAGE_CONN_WATCHING ? page_watch_go_on(c)
                                          : 0;
}

static int on_conn(page_conn *c, enum lws_callback_reasons reason, const char *in) {
  switch (reason) {
  case LWS_CALLBACK_HTTP:
    return on_request(c, in);
  case LWS_CALLBACK_HTTP_WRITEABLE:
    return on_writable(c);
  case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
  case LWS_CALLBACK_HTTP_BODY:
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
  status_page *s = wsi == NULL ? NULL : km_lws_user(lws_get_context(wsi));
  (void)user;
  (void)len;
  switch (reason) {
  case LWS_CALLBACK_FILTER_NETWORK_CONNECTION:
    return s == NULL || !may_enter(s) ? 1 : 0;
  case LWS_CALLBACK_SERVER_NEW_CLIENT_INSTANTIATED:
    return s == NULL ? -1 : enter(s, wsi);
  default: {
    km_lws_conn *c = km_lws_conns_find(wsi);
    return c == NULL ? 0 : on_conn(conn_of(c), reason, in);
  }
  }
}

static const struct lws_protocols protocols[] = {
    {"(http)", callback, 0, 0, 0, NULL, PAGE_CHUNK},
    LWS_PROTOCOL_LIST_TERM,
};

/* --- life ------------------------------------------------------------------------------------ */

static int read_bind(km_udp_addr *ret, const status_page_config *config, km_errinfo *err) {
  const char *host = strcmp(config->host, "localhost") == 0 ? "127.0.0.1" : config->host;
  *ret = (km_udp_addr){.port = config->port};
  ret->family = km_ip_parse(ret->ip, host, strlen(host));
  if (ret->family == 0) {
    return km_fail(err, KM_ERR_INVALID,
                   "the status page cannot be served on \"%s\": status_http.host has to be an IP "
                   "address",
                   config->host);
  }
  if (!page_is_loopback(ret) && (config->token == NULL || *config->token == '\0')) {
    return km_fail(err, KM_ERR_PERMISSION,
                   "the status page is not served on %s without a token: set status_http.token, or "
                   "leave status_http.host at 127.0.0.1",
                   config->host);
  }
  return 0;
}

static int make_parts(status_page *s, const status_page_config *config) {
  s->host = km_env_strdup(s->env, config->host);
  if (s->host == NULL) {
    return KM_ERR_NOMEM;
  }
  s->has_token = config->token != NULL && *config->token != '\0';
  if (s->has_token) {
    page_token_init(&s->token, config->token);
  }
  page_guesses_init(&s->guesses, s->env, page_now(s));
  int rv = page_documents_init(s);
  rv = rv != 0 ? rv : km_lws_conns_init(&s->conns, s->env, s->node->loop, on_late);
  rv = rv != 0 ? rv : km_deadline_new(&s->tick, s->node->loop, page_watch_tick, s);
  return rv != 0 ? rv : km_deadline_new(&s->look, s->node->loop, page_look, s);
}

static int start(status_page *s, const km_udp_addr *bind, km_errinfo *err) {
  struct lws_context_creation_info info = {
      .port = CONTEXT_PORT_NO_LISTEN,
      .protocols = protocols,
      .pt_serv_buf_size = PAGE_CHUNK + LWS_PRE,
      .options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
      .gid = (gid_t)-1,
      .uid = (uid_t)-1,
      .timeout_secs = SECONDS_OF_LWS,
      .max_http_header_pool = 0, /* one a connection: who dawdles keeps nobody else waiting */
      .max_http_header_data = PAGE_REQUEST_HEAD_MAX,
  };
  struct lws_context_creation_info listener = {
      .protocols = protocols,
      .keepalive_timeout = SECONDS_OF_LWS,
      .timeout_secs_ah_idle = SECONDS_OF_LWS,
  };
  int rv = km_lws_new(&s->lws, s->env, s->node->loop, &info, s, err);
  if (rv == 0) {
    rv = km_lws_listen(&s->listener, s->lws, bind, &listener, "cannot serve the status page on",
                       err);
  }
  if (rv == 0) {
    s->bound = km_lws_listener_bound(&s->listener, bind);
    (void)snprintf(s->cookie_name, sizeof s->cookie_name, "km_status_%u", s->bound.port);
  }
  return rv;
}

static int port_is_taken(const km_udp_addr *bind, km_errinfo *err) {
  char at[KM_UDP_ADDR_TEXT_CAP];
  (void)km_udp_addr_format(bind, at, sizeof at);
  return km_fail(err, KM_ERR_ADDR_IN_USE,
                 "cannot serve the status page on %s: another program has that port, another node "
                 "perhaps; status_http.port and --status-port choose",
                 at);
}

int status_page_open(status_page **ret, const status_page_config *config, km_errinfo *err) {
  km_udp_addr bind;
  int rv = read_bind(&bind, config, err);
  if (rv != 0) {
    return rv;
  }
  status_page *s = km_env_zalloc(&km_env_system, 1, sizeof *s);
  if (s == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  s->env = &km_env_system;
  s->node = config->node;
  page_history_init(&s->history, s->env);
  rv = make_parts(s, config);
  rv = rv != 0 ? km_fail(err, rv, NULL) : start(s, &bind, err);
  if (rv != 0) {
    status_page_close(s);
    return rv == KM_ERR_ADDR_IN_USE ? port_is_taken(&bind, err) : rv;
  }
  page_look(s);
  *ret = s;
  return 0;
}

void status_page_close(status_page *s) {
  if (s == NULL) {
    return;
  }
  km_lws_free(s->lws);
  km_lws_conns_clear(&s->conns);
  km_deadline_free(s->tick);
  km_deadline_free(s->look);
  page_history_clear(&s->history);
  page_body_unref(s->env, s->page.body);
  page_body_unref(s->env, s->login.body);
  page_body_unref(s->env, s->event);
  cJSON_free(s->told);
  km_env_free(s->env, s->host);
  km_env_free(s->env, s);
}

const km_udp_addr *status_page_bound(const status_page *s) {
  return &s->bound;
}
