#include "relay/client_link_io.h"

#include "base/udp_addr.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <wolfssl/ssl.h>

#include "relay/auth.h"
#include "relay/client_core.h"
#include "relay/client_queue.h"
#include "relay/trust_io.h"

/* Longer than all deadlines of ours. */
#define LWS_SECONDS ((unsigned)(KM_RELAY_ATTEMPT_MAX / KM_NS_PER_S) + 10)
_Static_assert(LWS_PRE <= KM_RELAY_QUEUE_ROOM, "the queue leaves too little room before a frame");

typedef enum link_phase { PHASE_TLS, PHASE_HTTP, PHASE_UP } link_phase;

struct km_relay_link {
  km_relay_clients *all;
  km_relay_link *next;
  const km_relay_url *url;
  const char *token; /* NULL: none */
  km_relay_link_callbacks cb;
  struct lws *wsi;
  int fd; /* until lws has it */
  bool plain_get;
  bool starting; /* inside km_relay_link_new */
  bool closed;   /* nobody wants to hear of it any more */
  bool over;     /* on_closed is done or due with `why` */
  bool broken;   /* a write failed */
  bool gone;     /* lws has freed its part */
  link_phase phase;
  km_relay_version version;
  int status; /* HTTP */
  km_errinfo why;
  uint8_t *parts; /* of a message that comes in pieces */
  size_t parts_len;
  unsigned inside; /* callbacks of this connection */
};

/* --- ends ------------------------------------------------------------------------------------ */

static void unlink_link(km_relay_link *link) {
  km_relay_link **at = &link->all->links;
  while (*at != link) {
    at = &(*at)->next;
  }
  *at = link->next;
}

static void free_link(km_relay_link *link) {
  unlink_link(link);
  if (link->fd >= 0) {
    (void)close(link->fd); /* nothing was written to it */
  }
  km_env_free(link->all->env, link->parts);
  km_env_free(link->all->env, link);
}

/* Tells the owner once. */
static void end(km_relay_link *link, const km_errinfo *why) {
  if (link->over) {
    return;
  }
  link->over = true;
  link->why = *why;
  if (!link->closed && !link->starting) {
    link->closed = true;
    link->cb.on_closed(link->cb.ctx, &link->why);
  }
}

static void end_with(km_relay_link *link, int code, const char *text) {
  km_errinfo why;
  (void)km_fail(&why, code, "%s", text);
  end(link, &why);
}

/* lws must not free a connection in its own callback; a return value of -1 makes it do so then.
 * `now`: the link is gone afterwards, unless another connection is being called back. */
static void kill_link(km_relay_link *link, bool now) {
  if (link->wsi == NULL || link->inside > 0) {
    return;
  }
  now = now && link->all->inside == 0;
  lws_set_timeout(link->wsi, PENDING_TIMEOUT_KILLED_BY_PARENT,
                  now ? LWS_TO_KILL_SYNC : LWS_TO_KILL_ASYNC);
}

static void say_goodbye(km_relay_link *link) {
  /* lws only closes in its own time, so this is the frame as it is on the wire (RFC 6455 section
   * 5.5.1): final, opcode 8; masked, 2 bytes; a mask of zeros; code 1000. */
  uint8_t frame[LWS_PRE + 8] = {0};
  uint8_t *at = frame + LWS_PRE;
  at[0] = 0x88;
  at[1] = 0x82;
  at[6] = LWS_CLOSE_STATUS_NORMAL >> 8;
  at[7] = LWS_CLOSE_STATUS_NORMAL & 0xff;
  /* A failure changes nothing: the connection is closed right after. */
  (void)lws_write(link->wsi, at, 8, LWS_WRITE_HTTP);
}

void km_relay_link_close(km_relay_link *link, bool goodbye) {
  if (link == NULL || link->closed) {
    return;
  }
  link->closed = true;
  if (link->wsi == NULL) {
    return; /* inside of its last callback, or of km_relay_link_new */
  }
  if (goodbye && link->phase == PHASE_UP && !link->plain_get && km_relay_link_is_free(link)) {
    say_goodbye(link);
  }
  km_lws *lws = link->all->lws;
  kill_link(link, true);
  km_lws_touch(lws);
}

/* --- what went wrong ------------------------------------------------------------------------- */

/* lws names a failure of TLS by wolfSSL's number alone, and by nothing where it fails while lws is
 * told to connect: a relay that is near, or this program slow. */
static void fail_tls(km_relay_link *link, const char *text) {
  const char *what = strstr(text, "unk ");
  int number = what != NULL ? (int)strtol(what + 4, NULL, 10) : 0; /* 0: none */
  km_errinfo why;
  (void)km_fail(&why, KM_ERR_RELAY_TLS, "TLS with %.80s failed: %s", link->url->host,
                text[0] != '\0' ? km_relay_trust_explain(number)
                                : "its certificate or its version of TLS will not do");
  end(link, &why);
}

static void fail_http(km_relay_link *link, const char *text) {
  km_errinfo why;
  const char *host = link->url->host;
  if (link->status != 0 && link->status != 101) {
    (void)km_fail(&why, KM_ERR_RELAY_HTTP, "%.80s answered HTTP %d%s", host, link->status,
                  link->plain_get ? "" : " to the upgrade to WebSocket");
    why.peer_code = (uint64_t)link->status;
  } else if (strncmp(text, "HS: PROTOCOL", 12) == 0) {
    (void)km_fail(&why, KM_ERR_RELAY_PROTOCOL,
                  "%.80s chose a WebSocket protocol that was not offered", host);
  } else if (strncmp(text, "HS: ", 4) == 0 || strstr(text, "header") != NULL) {
    (void)km_fail(&why, KM_ERR_RELAY_HTTP, "%.80s does not answer as a WebSocket server does: %s",
                  host, text);
  } else {
    (void)km_fail(&why, KM_ERR_RELAY_HTTP, "%.80s hung up instead of answering (%s)", host, text);
  }
  end(link, &why);
}

static void on_connection_error(km_relay_link *link, const char *in, size_t len) {
  char text[128];
  size_t n = len < sizeof text ? len : sizeof text - 1;
  memcpy(text, in != NULL ? in : "", in != NULL ? n : 0);
  text[in != NULL ? n : 0] = '\0';
  if (link->phase == PHASE_TLS && link->url->tls) {
    fail_tls(link, text);
  } else {
    fail_http(link, text);
  }
}

/* --- the request ----------------------------------------------------------------------------- */

static int add_header(km_relay_link *link, const char *name, const char *value, uint8_t **at,
                      uint8_t *end_of) {
  return lws_add_http_header_by_name(link->wsi, (const uint8_t *)name, (const uint8_t *)value,
                                     (int)strlen(value), at, end_of);
}

/* Sparing a round trip: a signature over keying material of this very TLS session. Whoever cannot
 * check it sends a challenge. */
static int add_auth(km_relay_link *link, uint8_t **at, uint8_t *end_of) {
  WOLFSSL *ssl = (WOLFSSL *)lws_get_ssl(link->wsi);
  uint8_t exported[KM_RELAY_EXPORTED_LEN];
  char value[KM_RELAY_AUTH_HEADER_LEN + 1];
  const km_id *id = &link->all->id;
  if (ssl == NULL) {
    return 0;
  }
  int rv = wolfSSL_export_keying_material(ssl, exported, sizeof exported, KM_RELAY_EXPORTER_LABEL,
                                          strlen(KM_RELAY_EXPORTER_LABEL), id->bytes,
                                          sizeof id->bytes, 1);
  wolfSSL_FreeArrays(ssl); /* kept for this only */
  if (rv != WOLFSSL_SUCCESS) {
    return 0;
  }
  km_relay_auth_header_write(value, link->all->key, exported);
  return add_header(link, KM_RELAY_AUTH_HEADER ":", value, at, end_of);
}

static int add_token(km_relay_link *link, uint8_t **at, uint8_t *end_of) {
  char value[sizeof "Bearer " + KM_RELAY_TOKEN_MAX];
  if (link->token == NULL) {
    return 0;
  }
  (void)snprintf(value, sizeof value, "Bearer %s", link->token);
  return add_header(link, "authorization:", value, at, end_of);
}

static int on_request(km_relay_link *link, uint8_t **at, size_t room) {
  uint8_t *end_of = *at + room;
  link->phase = PHASE_HTTP;
  if (link->all->user_agent != NULL &&
      add_header(link, "user-agent:", link->all->user_agent, at, end_of) != 0) {
    return -1;
  }
  if (link->plain_get) {
    if (add_header(link, "accept:", "*/*", at, end_of) != 0) {
      return -1;
    }
  } else if (add_auth(link, at, end_of) != 0 || add_token(link, at, end_of) != 0) {
    return -1;
  }
  if (!link->closed && link->cb.on_request != NULL) {
    link->cb.on_request(link->cb.ctx);
  }
  return 0;
}

static int on_answer(km_relay_link *link) {
  link->status = (int)lws_http_client_http_response(link->wsi);
  if (!link->plain_get) {
    return 0; /* lws looks at the rest */
  }
  if (!link->closed) {
    link->cb.on_status(link->cb.ctx, link->status);
  }
  return -1; /* that was all */
}

/* Which of the protocols offered the server took. */
static int on_choice(km_relay_link *link) {
  char name[32] = "";
  if (link->plain_get) {
    return 0;
  }
  (void)lws_hdr_copy(link->wsi, name, sizeof name, WSI_TOKEN_PROTOCOL); /* too long: none of ours */
  if (strcmp(name, KM_RELAY_PROTOCOL_V2) != 0 && strcmp(name, KM_RELAY_PROTOCOL_V1) != 0) {
    end_with(link, KM_ERR_RELAY_PROTOCOL, "the relay chose no WebSocket protocol that we offered");
    return -1;
  }
  link->version = strcmp(name, KM_RELAY_PROTOCOL_V2) == 0 ? KM_RELAY_V2 : KM_RELAY_V1;
  return 0;
}

/* --- messages -------------------------------------------------------------------------------- */

static int too_long(km_relay_link *link) {
  end_with(link, KM_ERR_RELAY_PROTOCOL, "the relay sent a message longer than 65,537 bytes");
  return -1;
}

static int on_receive(km_relay_link *link, const uint8_t *data, size_t len) {
  if (!lws_frame_is_binary(link->wsi)) {
    return 0; /* text is tolerated and says nothing */
  }
  bool whole = lws_is_final_fragment(link->wsi) != 0;
  size_t rest = lws_remaining_packet_payload(link->wsi);
  if (len > KM_RELAY_MAX_MESSAGE || rest > KM_RELAY_MAX_MESSAGE ||
      link->parts_len + len + rest > KM_RELAY_MAX_MESSAGE) {
    return too_long(link);
  }
  if (whole && link->parts_len == 0) {
    link->cb.on_message(link->cb.ctx, data, len);
    return 0;
  }
  if (link->parts == NULL) {
    link->parts = km_env_alloc(link->all->env, KM_RELAY_MAX_MESSAGE);
    if (link->parts == NULL) {
      end_with(link, KM_ERR_NOMEM, "no memory for a message of the relay");
      return -1;
    }
  }
  memcpy(link->parts + link->parts_len, data, len);
  link->parts_len += len;
  if (whole) {
    len = link->parts_len;
    link->parts_len = 0;
    link->cb.on_message(link->cb.ctx, link->parts, len);
  }
  return 0;
}

bool km_relay_link_is_free(const km_relay_link *link) {
  return link->wsi != NULL && !link->over && !link->broken && link->phase == PHASE_UP &&
         lws_partial_buffered(link->wsi) == 0;
}

bool km_relay_link_send(km_relay_link *link, uint8_t *msg, size_t len) {
  if (!link->broken && lws_write(link->wsi, msg, len, LWS_WRITE_BINARY) >= 0) {
    return true;
  }
  if (!link->broken) {
    link->broken = true;
    kill_link(link, false); /* the caller is in the middle of its queue */
    km_lws_touch(link->all->lws);
  }
  return false;
}

bool km_relay_link_local(const km_relay_link *link, km_udp_addr *ret) {
  struct sockaddr_storage from;
  socklen_t len = sizeof from;
  return link->wsi != NULL && !link->gone &&
         getsockname(lws_get_socket_fd(link->wsi), (struct sockaddr *)&from, &len) == 0 &&
         km_udp_addr_from_sockaddr(ret, (const struct sockaddr *)&from, len);
}

void km_relay_link_let_in(km_relay_link *link, bool let) {
  if (link->wsi != NULL && !link->over) {
    (void)lws_rx_flow_control(link->wsi, let ? 1 : 0); /* fails for what is being closed */
    km_lws_touch(link->all->lws);
  }
}

/* --- lws ------------------------------------------------------------------------------------- */

static void on_gone(km_relay_link *link) {
  if (!link->closed && link->phase == PHASE_UP) {
    end_with(link, KM_ERR_RELAY_LOST, "the relay closed the connection");
  } else if (!link->closed) {
    on_connection_error(link, NULL, 0);
  }
  link->wsi = NULL;
  link->gone = true;
}

static int dispatch(km_relay_link *link, enum lws_callback_reasons reason, void *in, size_t len) {
  switch (reason) {
  case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
    on_connection_error(link, in, len);
    return 0;
  case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
    return on_request(link, (uint8_t **)in, len);
  case LWS_CALLBACK_ESTABLISHED_CLIENT_HTTP:
    return on_answer(link);
  case LWS_CALLBACK_CLIENT_FILTER_PRE_ESTABLISH:
    return on_choice(link);
  case LWS_CALLBACK_CLIENT_ESTABLISHED:
    link->phase = PHASE_UP;
    link->cb.on_upgraded(link->cb.ctx, link->version);
    return 0;
  case LWS_CALLBACK_CLIENT_RECEIVE:
    return on_receive(link, in, len);
  case LWS_CALLBACK_CLIENT_WRITEABLE:
    if (link->phase == PHASE_UP) {
      link->cb.on_writable(link->cb.ctx);
    }
    return 0;
  case LWS_CALLBACK_CLIENT_CLOSED:
    end_with(link, KM_ERR_RELAY_LOST, "the relay closed the connection");
    return 0;
  default:
    return 0;
  }
}

/* The socket that lws made for itself becomes another name of ours, which is connected: lws's own
 * connect() then finds that done. */
static int give_socket(km_relay_link *link, int lws_fd) {
  if (link->fd < 0) {
    return -1;
  }
  int rv = dup2(link->fd, lws_fd);
  (void)close(link->fd); /* nothing was written through this name of it */
  link->fd = -1;
  return rv < 0 || fcntl(lws_fd, F_SETFD, FD_CLOEXEC) != 0 ? -1 : 0;
}

/* True where a return value ends the connection. */
static bool can_refuse(enum lws_callback_reasons reason) {
  switch (reason) {
  case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
  case LWS_CALLBACK_ESTABLISHED_CLIENT_HTTP:
  case LWS_CALLBACK_CLIENT_FILTER_PRE_ESTABLISH:
  case LWS_CALLBACK_CLIENT_ESTABLISHED:
  case LWS_CALLBACK_CLIENT_RECEIVE:
  case LWS_CALLBACK_CLIENT_WRITEABLE:
    return true;
  default:
    return false;
  }
}

static int on_lws(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                  size_t len) {
  km_relay_link *link = wsi != NULL ? lws_get_opaque_user_data(wsi) : NULL;
  if (link == NULL) {
    return km_lws_callback(wsi, reason, user, in, len);
  }
  km_relay_clients *all = link->all;
  int rv = 0;
  all->inside++;
  link->inside++;
  link->wsi = wsi;
  if (reason == LWS_CALLBACK_WSI_DESTROY) {
    on_gone(link);
  } else if (reason == LWS_CALLBACK_CONNECTING) {
    rv = give_socket(link, (int)(intptr_t)in);
  } else {
    rv = link->closed ? 0 : dispatch(link, reason, in, len);
    if (can_refuse(reason) && (link->closed || link->broken)) {
      rv = -1;
    }
  }
  link->inside--;
  if (link->gone && !link->starting) {
    free_link(link);
  }
  all->inside--;
  return rv;
}

static const struct lws_protocols protocols[] = {
    {.name = "km-relay-client",
     .callback = on_lws,
     .rx_buffer_size = KM_RELAY_MAX_MESSAGE,
     .tx_packet_size = KM_RELAY_MAX_MESSAGE + KM_RELAY_MAX_HEADER},
    LWS_PROTOCOL_LIST_TERM,
};

static void fill_request(struct lws_client_connect_info *info, const km_relay_link *link,
                         const char *address, const km_udp_addr *remote) {
  *info = (struct lws_client_connect_info){
      .context = km_lws_context(link->all->lws),
      .address = address,
      .port = remote->port,
      .ssl_connection = LCCSCF_HTTP_NO_FOLLOW_REDIRECT | (link->url->tls ? LCCSCF_USE_SSL : 0),
      .path = link->plain_get ? "/ping" : link->url->path,
      .host = link->url->authority,
      .protocol = link->plain_get ? NULL : KM_RELAY_PROTOCOL_V2 ", " KM_RELAY_PROTOCOL_V1,
      .method = link->plain_get ? "GET" : NULL,
      .local_protocol_name = protocols[0].name,
      .opaque_user_data = (void *)link,
      .ietf_version_or_minus_one = -1,
  };
}

/* "192.0.2.1" or "2001:db8::1": lws takes it for a socket's family. */
static void write_address(char ret[KM_UDP_ADDR_TEXT_CAP], const km_udp_addr *remote) {
  char text[KM_UDP_ADDR_TEXT_CAP] = "";
  (void)km_udp_addr_format(remote, text, sizeof text);
  size_t from = text[0] == '[' ? 1 : 0;
  size_t len = strcspn(text + from, remote->family == 6 ? "%]" : ":");
  memcpy(ret, text + from, len);
  ret[len] = '\0';
}

static int start_link(km_relay_link *link, const km_udp_addr *remote, km_errinfo *err) {
  struct lws_client_connect_info info;
  char address[KM_UDP_ADDR_TEXT_CAP];
  write_address(address, remote);
  fill_request(&info, link, address, remote);
  link->starting = true;
  link->all->inside++;
  struct lws *wsi = lws_client_connect_via_info(&info);
  link->all->inside--;
  link->starting = false;
  if (wsi != NULL && !link->gone && !link->over) {
    link->wsi = wsi;
    return 0;
  }
  int rv = link->over ? link->why.code : KM_ERR_INTERNAL;
  if (link->over && err != NULL) {
    *err = link->why;
  } else {
    (void)km_fail(err, rv, "libwebsockets refused to connect");
  }
  link->closed = true;
  if (wsi == NULL || link->gone) {
    free_link(link);
  } else {
    kill_link(link, true);
  }
  return rv;
}

int km_relay_link_new(km_relay_link **ret, km_relay_clients *all,
                      const km_relay_link_config *config, const km_relay_link_callbacks *cb,
                      km_errinfo *err) {
  km_relay_link *link = km_env_zalloc(all->env, 1, sizeof *link);
  if (link == NULL) {
    (void)close(config->fd); /* nothing was written to it */
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  link->all = all;
  link->url = config->url;
  link->token = config->token;
  link->cb = *cb;
  link->fd = config->fd;
  link->plain_get = config->plain_get;
  link->next = all->links;
  all->links = link;
  int rv = start_link(link, &config->remote, err);
  km_lws_touch(all->lws);
  if (rv == 0) {
    *ret = link;
  }
  return rv;
}

/* --- what all share -------------------------------------------------------------------------- */

static const char *read_env(void *ctx, const char *name) {
  (void)ctx;
  return getenv(name);
}

int km_relay_clients_proxy(km_relay_proxy *ret, const km_relay_url *url, km_errinfo *err) {
  return km_relay_proxy_choose(ret, url, read_env, NULL, err);
}

static int make_context(km_relay_clients *all, km_errinfo *err) {
  struct lws_context_creation_info info = {
      .port = CONTEXT_PORT_NO_LISTEN,
      .protocols = protocols,
      .options = LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT | LWS_SERVER_OPTION_DISABLE_OS_CA_CERTS,
      .provided_client_ssl_ctx = (SSL_CTX *)all->tls,
      .http_proxy_address = "", /* the environment is ours to read */
      .gid = (gid_t)-1,
      .uid = (uid_t)-1,
      .pt_serv_buf_size = KM_RELAY_MAX_MESSAGE + 1,
      .fd_limit_per_thread = 256,
      .timeout_secs = LWS_SECONDS,
      .connect_timeout_secs = LWS_SECONDS,
  };
  return km_lws_new(&all->lws, all->env, all->loop, &info, all, err);
}

int km_relay_clients_new(km_relay_clients **ret, const km_relay_clients_config *config,
                         km_errinfo *err) {
  km_relay_clients *all = km_env_zalloc(config->env, 1, sizeof *all);
  if (all == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  all->env = config->env;
  all->loop = config->loop;
  all->key = config->key;
  km_secret_key_id(config->key, &all->id);
  all->tx = km_env_alloc(all->env, LWS_PRE + KM_RELAY_MAX_MESSAGE);
  int rv = all->tx != NULL ? 0 : km_fail(err, KM_ERR_NOMEM, NULL);
  if (rv == 0 && config->user_agent != NULL) {
    all->user_agent = km_env_strdup(all->env, config->user_agent);
    rv = all->user_agent != NULL ? 0 : km_fail(err, KM_ERR_NOMEM, NULL);
  }
  rv = rv == 0 ? km_relay_trust_new(&all->tls, all->env, config->ca_file, err) : rv;
  rv = rv == 0 ? make_context(all, err) : rv;
  if (rv != 0) {
    km_relay_clients_free(all);
    return rv;
  }
  *ret = all;
  return 0;
}

void km_relay_clients_free(km_relay_clients *all) {
  if (all == NULL) {
    return;
  }
  km_lws_free(all->lws); /* frees the links */
  wolfSSL_CTX_free(all->tls);
  km_env_free(all->env, all->user_agent);
  km_env_free(all->env, all->tx);
  km_env_free(all->env, all);
}
