#include "discovery/http_client_io.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include "base/io/lws_io.h"
#include "base/list.h"
#include "base/relay_url.h"
#include "relay/connect_io.h"
#include "relay/trust_io.h"

enum {
  IN_FLIGHT_MAX = KM_HTTP_IN_FLIGHT,
  WAITING_MAX = KM_HTTP_WAITING,
  HOSTS = 8,
  HEADERS_MAX = 8192,
  READ_AT_ONCE = 2048,
  LWS_SECONDS = 86400 /* deadlines are ours */
};
/* A look-up of a name is a thread, and many requests go to the same host. */
#define KNOWN_NS (30 * KM_NS_PER_S)
#define TIMEOUT_MAX (3600 * KM_NS_PER_S)

typedef enum request_state {
  REQUEST_WAITING,
  REQUEST_DIALLING,
  REQUEST_TLS,  /* lws has the socket; no byte of the request is out */
  REQUEST_HTTP, /* request or answer are on their way */
  REQUEST_DONE  /* the callback is due */
} request_state;

/* Where a host was reached. */
typedef struct host {
  char name[KM_RELAY_HOST_CAP]; /* "": unused */
  uint16_t port;
  km_udp_addr known; /* family 0: not known */
  km_ts known_until;
  km_http_request *leader; /* looks the name up; the others wait for it */
} host;

struct km_http_request {
  km_http_client *c;
  km_list node; /* oldest first */
  request_state state;
  km_ts deadline;
  km_http_method method;
  km_relay_url url; /* without the path */
  char path[KM_RELAY_URL_MAX];
  char *content_type, *accept;
  uint8_t *body; /* LWS_PRE bytes before it */
  size_t body_len;
  km_relay_proxy proxy;

  km_relay_dial *dial;
  bool dialled_known; /* not the name, but where it was last */
  int fd;             /* until lws has it */
  struct lws *wsi;
  const char *read_from; /* where lws was told to put what it reads */
  char *const *read_at;  /* and where it is now */
  bool chunked;

  km_http_answer answer;
  uint8_t *bytes; /* of the answer's body, max_answer of them */
  size_t max_answer;
  km_errinfo why; /* there is no answer */
  km_http_fn fn;
  void *ctx;
};

struct km_http_client {
  const km_env *env;
  km_loop *loop;
  const char *user_agent;
  char *ca_file; /* NULL: the system's */
  struct WOLFSSL_CTX *tls;
  km_lws *lws[2]; /* without and with TLS; made when needed */
  km_deadline *timer;
  km_defer *later;
  km_list requests;
  size_t waiting, in_flight;
  host hosts[HOSTS];
  km_http_request *telling; /* its callback runs */
};

/* --- ends ------------------------------------------------------------------------------------ */

static void arm(km_http_client *c) {
  km_ts first = KM_TS_NEVER;
  for (km_list *n = c->requests.next; n != &c->requests; n = n->next) {
    const km_http_request *r = KM_LIST_ITEM(n, km_http_request, node);
    if (r->state != REQUEST_DONE && r->deadline < first) {
      first = r->deadline;
    }
  }
  km_deadline_set(c->timer, first);
}

static void stop_leading(km_http_request *r) {
  for (size_t i = 0; i < HOSTS; i++) {
    if (r->c->hosts[i].leader == r) {
      r->c->hosts[i].leader = NULL;
    }
  }
}

/* Nothing outside of us knows of it afterwards. Not from inside a callback of lws. */
static void let_go(km_http_request *r) {
  stop_leading(r);
  km_relay_dial_free(r->dial);
  r->dial = NULL;
  if (r->fd >= 0) {
    (void)close(r->fd); /* nothing was written to it */
    r->fd = -1;
  }
  if (r->wsi != NULL) {
    lws_set_opaque_user_data(r->wsi, NULL);
    lws_set_timeout(r->wsi, PENDING_TIMEOUT_KILLED_BY_PARENT, LWS_TO_KILL_ASYNC);
    r->wsi = NULL;
    km_lws_touch(r->c->lws[r->url.tls]);
  }
}

static void free_request(km_http_request *r) {
  const km_env *env = r->c->env;
  let_go(r);
  km_list_remove(&r->node);
  km_env_free(env, r->content_type);
  km_env_free(env, r->accept);
  km_env_free(env, r->body);
  km_env_free(env, r->bytes);
  km_env_free(env, r);
}

/* The callback runs from `later`, outside of lws and of the dial. */
static void finish(km_http_request *r) {
  if (r->state == REQUEST_DONE) {
    return;
  }
  *(r->state == REQUEST_WAITING ? &r->c->waiting : &r->c->in_flight) -= 1;
  r->state = REQUEST_DONE;
  km_defer_run(r->c->later);
}

static void fail_with(km_http_request *r, const km_errinfo *why) {
  if (r->state != REQUEST_DONE) {
    r->why = *why;
    r->answer = (km_http_answer){0};
    finish(r);
  }
}

static void fail(km_http_request *r, int code, const char *what) {
  km_errinfo why;
  (void)km_fail(&why, code, "%.80s %.90s", r->url.host, what);
  fail_with(r, &why);
}

static void on_broken(km_http_request *r, const char *in, size_t len) {
  char text[96] = "";
  if (in != NULL) {
    size_t n = len < sizeof text - 1 ? len : sizeof text - 1;
    memcpy(text, in, n);
    text[n] = '\0';
  }
  if (r->state == REQUEST_TLS && r->url.tls) {
    const char *number = strstr(text, "unk "); /* all that lws says of wolfSSL's reason */
    km_errinfo why;
    /* And it says nothing at all where it fails while it is told to connect: the peer was quick. */
    (void)km_fail(&why, KM_ERR_SERVER_TLS, "TLS with %.80s failed: %s", r->url.host,
                  number != NULL    ? km_relay_trust_explain((int)strtol(number + 4, NULL, 10))
                  : text[0] != '\0' ? text
                                    : "its certificate or its version of TLS will not do");
    fail_with(r, &why);
  } else if (r->answer.status != 0) {
    fail(r, KM_ERR_SERVER_UNREACHABLE, "hung up in the middle of its answer");
  } else if (strncmp(text, "HS: ", 4) == 0 || strstr(text, "header") != NULL) {
    fail(r, KM_ERR_SERVER_HTTP, "does not answer as an HTTP server does");
  } else {
    fail(r, KM_ERR_SERVER_UNREACHABLE, "hung up instead of answering");
  }
}

/* --- the request ----------------------------------------------------------------------------- */

static bool add(km_http_request *r, const char *name, const char *value, uint8_t **at,
                uint8_t *end) {
  return value == NULL ||
         lws_add_http_header_by_name(r->wsi, (const uint8_t *)name, (const uint8_t *)value,
                                     (int)strlen(value), at, end) == 0;
}

static int on_headers_due(km_http_request *r, uint8_t **at, size_t room) {
  uint8_t *end = *at + room;
  char length[24];
  (void)snprintf(length, sizeof length, "%zu", r->body_len);
  r->state = REQUEST_HTTP;
  bool sends = r->method != KM_HTTP_GET;
  if (!add(r, "user-agent:", r->c->user_agent, at, end) || !add(r, "accept:", r->accept, at, end) ||
      !add(r, "content-type:", r->content_type, at, end) ||
      !add(r, "content-length:", sends ? length : NULL, at, end)) {
    fail(r, KM_ERR_INVALID, "cannot be sent so many headers");
    return -1;
  }
  lws_client_http_body_pending(r->wsi, sends && r->body_len > 0);
  return 0;
}

/* What the socket does not take now lws keeps. */
static int on_body_due(km_http_request *r) {
  if (r->method == KM_HTTP_GET || r->body_len == 0) {
    return 0;
  }
  int sent = lws_write(r->wsi, r->body + LWS_PRE, r->body_len, LWS_WRITE_HTTP_FINAL);
  r->body_len = 0;
  lws_client_http_body_pending(r->wsi, 0);
  return sent < 0 ? -1 : 0;
}

/* --- the answer ------------------------------------------------------------------------------ */

static void read_retry_after(km_http_request *r) {
  lws_usec_t us = 0;
  if (lws_http_check_retry_after(r->wsi, &us) == 0 && us > 0) {
    uint64_t s = (uint64_t)us / LWS_US_PER_SEC;
    r->answer.retry_after_s = s < UINT32_MAX ? (uint32_t)s : UINT32_MAX;
  }
}

/* True when there is a transfer coding other than "chunked", which is all that lws undoes. */
static bool is_coded(km_http_request *r) {
  char coding[16] = "";
  int len = lws_hdr_total_length(r->wsi, WSI_TOKEN_HTTP_TRANSFER_ENCODING);
  if (len == 0) {
    return false;
  }
  r->chunked = lws_hdr_copy(r->wsi, coding, sizeof coding, WSI_TOKEN_HTTP_TRANSFER_ENCODING) > 0 &&
               strcmp(coding, "chunked") == 0;
  return !r->chunked;
}

/* The body of an error is of no use to us, nor is one that was not asked for. */
static int on_status(km_http_request *r) {
  int status = (int)lws_http_client_http_response(r->wsi);
  if (status < 200 || status > 599) {
    fail(r, KM_ERR_SERVER_HTTP, "does not answer as an HTTP server does");
    return -1;
  }
  r->answer.status = status;
  read_retry_after(r);
  if (status > 299 || status == 204 || r->max_answer == 0) {
    finish(r);
    return -1;
  }
  if (is_coded(r)) {
    fail(r, KM_ERR_SERVER_HTTP, "answers in a transfer coding that was not asked for");
    return -1;
  }
  if (r->max_answer > 0) {
    r->bytes = km_env_alloc(r->c->env, r->max_answer);
    if (r->bytes == NULL) {
      fail(r, KM_ERR_NOMEM, "answered, but there is no memory");
      return -1;
    }
  }
  return 0;
}

/* Asks lws for what has come; it hands it over in LWS_CALLBACK_RECEIVE_CLIENT_HTTP_READ. */
static int on_readable(km_http_request *r) {
  char buf[LWS_PRE + READ_AT_ONCE], *at = buf + LWS_PRE;
  int room = READ_AT_ONCE;
  r->read_from = at;
  r->read_at = &at;
  int rv = lws_http_client_read(r->wsi, &at, &room);
  r->read_at = NULL;
  return rv < 0 ? -1 : 0;
}

static int on_body(km_http_request *r, const char *bytes, size_t len) {
  if (len > READ_AT_ONCE) { /* lws takes a chunk's length for a signed number */
    fail(r, KM_ERR_SERVER_HTTP, "sends chunks of an impossible length");
    return -1;
  }
  if (len > r->max_answer - r->answer.len) {
    fail(r, KM_ERR_LIMIT, "answers with more than was asked for");
    return -1;
  }
  if (len > 0) {
    memcpy(r->bytes + r->answer.len, bytes, len);
  }
  r->answer.len += len;
  return 0;
}

/* lws says so as well when the connection ends before the last chunk: it has read nothing then. */
static int on_complete(km_http_request *r) {
  if (r->chunked && r->read_at != NULL && *r->read_at == r->read_from) {
    fail(r, KM_ERR_SERVER_UNREACHABLE, "hung up in the middle of its answer");
  } else {
    finish(r);
  }
  return -1;
}

/* --- lws ------------------------------------------------------------------------------------- */

/* The socket that lws made for itself becomes another name of ours, which is connected. */
static int give_socket(km_http_request *r, int lws_fd) {
  if (r->fd < 0) {
    return -1;
  }
  int rv = dup2(r->fd, lws_fd);
  (void)close(r->fd); /* nothing was written through this name of it */
  r->fd = -1;
  return rv < 0 || fcntl(lws_fd, F_SETFD, FD_CLOEXEC) != 0 ? -1 : 0;
}

static int dispatch(km_http_request *r, enum lws_callback_reasons reason, void *in, size_t len) {
  switch (reason) {
  case LWS_CALLBACK_CONNECTING:
    return give_socket(r, (int)(intptr_t)in);
  case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
    return on_headers_due(r, (uint8_t **)in, len);
  case LWS_CALLBACK_CLIENT_HTTP_WRITEABLE:
    return on_body_due(r);
  case LWS_CALLBACK_ESTABLISHED_CLIENT_HTTP:
    return on_status(r);
  case LWS_CALLBACK_RECEIVE_CLIENT_HTTP:
    return on_readable(r);
  case LWS_CALLBACK_RECEIVE_CLIENT_HTTP_READ:
    return on_body(r, in, len);
  case LWS_CALLBACK_COMPLETED_CLIENT_HTTP:
    return on_complete(r);
  case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
    on_broken(r, in, len);
    return 0;
  case LWS_CALLBACK_CLOSED_CLIENT_HTTP:
    on_broken(r, NULL, 0);
    return 0;
  default:
    return 0;
  }
}

/* True where a return value ends the connection; elsewhere it would keep lws from tidying up. */
static bool can_refuse(enum lws_callback_reasons reason) {
  switch (reason) {
  case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
  case LWS_CALLBACK_CLIENT_HTTP_WRITEABLE:
  case LWS_CALLBACK_ESTABLISHED_CLIENT_HTTP:
  case LWS_CALLBACK_RECEIVE_CLIENT_HTTP:
  case LWS_CALLBACK_RECEIVE_CLIENT_HTTP_READ:
  case LWS_CALLBACK_COMPLETED_CLIENT_HTTP:
    return true;
  default:
    return false;
  }
}

static int on_lws(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                  size_t len) {
  km_http_request *r = wsi != NULL ? lws_get_opaque_user_data(wsi) : NULL;
  if (r == NULL) {
    return km_lws_callback(wsi, reason, user, in, len);
  }
  if (reason == LWS_CALLBACK_WSI_DESTROY) {
    r->wsi = NULL;
    on_broken(r, NULL, 0);
    return 0;
  }
  r->wsi = wsi;
  return r->state != REQUEST_DONE ? dispatch(r, reason, in, len) : can_refuse(reason) ? -1 : 0;
}

static const struct lws_protocols protocols[] = {
    {.name = "km-http-client", .callback = on_lws},
    LWS_PROTOCOL_LIST_TERM,
};

static int make_trust(km_http_client *c, km_errinfo *err) {
  if (c->tls != NULL) {
    return 0;
  }
  int rv = km_relay_trust_new(&c->tls, c->env, c->ca_file, err);
  if (rv == KM_ERR_RELAY_TLS) {
    rv = KM_ERR_SERVER_TLS;
    if (err != NULL) {
      err->code = rv;
    }
  }
  return rv;
}

static int make_context(km_http_client *c, bool tls, km_errinfo *err) {
  if (c->lws[tls] != NULL) {
    return 0;
  }
  int rv = tls ? make_trust(c, err) : 0;
  if (rv != 0) {
    return rv;
  }
  struct lws_context_creation_info info = {
      .port = CONTEXT_PORT_NO_LISTEN,
      .protocols = protocols,
      .options =
          (tls ? LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT : 0) | LWS_SERVER_OPTION_DISABLE_OS_CA_CERTS,
      .provided_client_ssl_ctx = tls ? (SSL_CTX *)c->tls : NULL,
      .http_proxy_address = "", /* the environment is ours to read */
      .gid = (gid_t)-1,
      .uid = (uid_t)-1,
      .max_http_header_data = HEADERS_MAX,
      .fd_limit_per_thread = IN_FLIGHT_MAX * 2,
      .timeout_secs = LWS_SECONDS,
      .connect_timeout_secs = LWS_SECONDS,
  };
  return km_lws_new(&c->lws[tls], c->env, c->loop, &info, c, err);
}

/* --- connecting ------------------------------------------------------------------------------ */

/* "192.0.2.1" or "2001:db8::1": lws takes it for a socket's family. */
static void write_ip(char ret[KM_UDP_ADDR_TEXT_CAP], const km_udp_addr *addr) {
  char text[KM_UDP_ADDR_TEXT_CAP] = "";
  (void)km_udp_addr_format(addr, text, sizeof text);
  size_t from = addr->family == 6 ? 1 : 0;
  size_t len = strcspn(text + from, addr->family == 6 ? "%]" : ":");
  memcpy(ret, text + from, len);
  ret[len] = '\0';
}

static void begin_request(km_http_request *r, const km_udp_addr *remote) {
  static const char *const methods[] = {"GET", "PUT", "POST"};
  km_lws *lws = r->c->lws[r->url.tls];
  char address[KM_UDP_ADDR_TEXT_CAP];
  write_ip(address, remote);
  const struct lws_client_connect_info info = {
      .context = km_lws_context(lws),
      .address = address,
      .port = remote->port,
      .ssl_connection = LCCSCF_HTTP_NO_FOLLOW_REDIRECT | (r->url.tls ? LCCSCF_USE_SSL : 0),
      .path = r->path,
      .host = r->url.authority,
      .method = methods[r->method],
      .local_protocol_name = protocols[0].name,
      .opaque_user_data = r,
      .ietf_version_or_minus_one = -1,
  };
  r->state = REQUEST_TLS;
  struct lws *wsi = lws_client_connect_via_info(&info);
  if (wsi == NULL) {
    r->wsi = NULL;
    fail(r, KM_ERR_SYSTEM, "cannot be connected to: libwebsockets refused");
  } else if (r->state != REQUEST_DONE) {
    r->wsi = wsi;
  }
  km_lws_touch(lws);
}

static bool is_host(const host *h, const km_relay_url *url) {
  return h->port == url->port && strcmp(h->name, url->host) == 0;
}

/* NULL: all places are taken by hosts whose names are being looked up. */
static host *get_host(km_http_client *c, const km_relay_url *url) {
  host *oldest = NULL;
  for (size_t i = 0; i < HOSTS; i++) {
    host *h = &c->hosts[i];
    if (is_host(h, url)) {
      return h;
    }
    if (h->leader == NULL && (oldest == NULL || h->known_until < oldest->known_until)) {
      oldest = h;
    }
  }
  if (oldest != NULL) {
    *oldest = (host){.port = url->port};
    memcpy(oldest->name, url->host, sizeof oldest->name);
  }
  return oldest;
}

/* Those that waited for the name fare as the one that looked it up. */
static void fail_followers(km_http_client *c, const host *h, const km_errinfo *why) {
  for (km_list *n = c->requests.next; n != &c->requests; n = n->next) {
    km_http_request *r = KM_LIST_ITEM(n, km_http_request, node);
    if (r->state == REQUEST_WAITING && is_host(h, &r->url)) {
      fail_with(r, why);
    }
  }
}

static void on_undialled(km_http_request *r, host *h, const km_errinfo *err) {
  km_errinfo why = *err;
  why.code = why.code == KM_ERR_RELAY_UNREACHABLE ? KM_ERR_SERVER_UNREACHABLE : why.code;
  if (h != NULL) {
    h->known.family = 0;
  }
  if (r->dialled_known) { /* it may have moved */
    r->dialled_known = false;
    r->state = REQUEST_WAITING;
    r->c->in_flight--;
    r->c->waiting++;
    km_defer_run(r->c->later);
    return;
  }
  fail_with(r, &why);
  if (h != NULL) {
    fail_followers(r->c, h, &why);
  }
}

static void on_dialled(void *ctx, int fd, const km_udp_addr *remote, const km_errinfo *err) {
  km_http_request *r = ctx;
  km_http_client *c = r->c;
  km_relay_dial_free(r->dial);
  r->dial = NULL;
  stop_leading(r);
  if (r->state == REQUEST_DONE) { /* its time was over in this very turn */
    if (fd >= 0) {
      (void)close(fd); /* nothing was written to it */
    }
    return;
  }
  host *h = get_host(c, &r->url);
  if (fd < 0) {
    on_undialled(r, h, err);
    return;
  }
  if (h != NULL) {
    h->known = *remote;
    h->known_until = km_loop_now(c->loop) + KNOWN_NS;
  }
  r->fd = fd;
  begin_request(r, remote);
  km_defer_run(c->later); /* the others know the way now */
}

static void begin(km_http_request *r) {
  km_http_client *c = r->c;
  host *h = get_host(c, &r->url);
  bool known = h != NULL && h->known.family != 0 && km_loop_now(c->loop) < h->known_until;
  if (!known && h != NULL && h->leader != NULL) {
    return; /* wait for it */
  }
  const km_relay_dial_config config = {.env = c->env,
                                       .loop = c->loop,
                                       .url = &r->url,
                                       .proxy = &r->proxy,
                                       .addrs = known ? &h->known : NULL,
                                       .addr_count = known ? 1 : 0};
  c->waiting--;
  c->in_flight++;
  r->state = REQUEST_DIALLING;
  r->dialled_known = known;
  int rv = km_relay_dial_new(&r->dial, &config, on_dialled, r);
  if (rv != 0) {
    fail(r, rv, "cannot be looked up now");
  } else if (!known && h != NULL) {
    h->leader = r;
  }
}

static void begin_waiting(km_http_client *c) {
  for (km_list *n = c->requests.next; n != &c->requests && c->in_flight < IN_FLIGHT_MAX;
       n = n->next) {
    km_http_request *r = KM_LIST_ITEM(n, km_http_request, node);
    if (r->state == REQUEST_WAITING) {
      begin(r);
    }
  }
}

/* --- telling --------------------------------------------------------------------------------- */

static km_http_request *find_done(km_http_client *c) {
  for (km_list *n = c->requests.next; n != &c->requests; n = n->next) {
    km_http_request *r = KM_LIST_ITEM(n, km_http_request, node);
    if (r->state == REQUEST_DONE) {
      return r;
    }
  }
  return NULL;
}

/* The callback may begin and cancel requests, this one included. */
static void tell(km_http_client *c, km_http_request *r) {
  km_list_remove(&r->node);
  let_go(r);
  r->answer.body = r->bytes;
  c->telling = r;
  r->fn(r->ctx, &r->answer, &r->why);
  c->telling = NULL;
  free_request(r);
}

static void on_later(void *ctx) {
  km_http_client *c = ctx;
  for (km_http_request *r = find_done(c); r != NULL; r = find_done(c)) {
    tell(c, r);
  }
  begin_waiting(c);
  arm(c);
}

static void on_timer(void *ctx) {
  km_http_client *c = ctx;
  km_ts now = km_loop_now(c->loop);
  for (km_list *n = c->requests.next; n != &c->requests; n = n->next) {
    km_http_request *r = KM_LIST_ITEM(n, km_http_request, node);
    if (r->state != REQUEST_DONE && r->deadline <= now) {
      fail(r, KM_ERR_TIMEOUT, "did not answer in time");
    }
  }
  arm(c);
}

/* --- life ------------------------------------------------------------------------------------ */

static int read_url(km_http_request *r, const char *url, km_errinfo *err) {
  char whole[KM_RELAY_URL_MAX];
  if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0) {
    return km_fail(err, KM_ERR_INVALID, "%.100s: the url must begin with http:// or https://", url);
  }
  int rv = km_relay_url_normalise(whole, sizeof whole, url, strlen(url), err);
  if (rv >= 0) {
    const char *authority = strstr(whole, "://") + 3;
    size_t len = strcspn(authority, "/?#");
    if (memchr(authority, '@', len) != NULL) {
      return km_fail(err, KM_ERR_INVALID, "%.100s: the url must not have a user in it", url);
    }
    whole[strcspn(whole, "#")] = '\0';
    const char *path = authority + len;
    memcpy(r->path, *path != '\0' ? path : "/", *path != '\0' ? strlen(path) + 1 : 2);
    rv = km_relay_url_read(&r->url, whole, err);
  }
  if (rv == KM_ERR_BAD_RELAY_URL) {
    return km_fail(err, KM_ERR_INVALID, "%.100s is no url of an http server", url);
  }
  return rv;
}

static const char *read_env(void *ctx, const char *name) {
  (void)ctx;
  return getenv(name);
}

static bool copy_text(const km_env *env, char **ret, const char *text) {
  *ret = text != NULL ? km_env_strdup(env, text) : NULL;
  return text == NULL || *ret != NULL;
}

static int set_up(km_http_request *r, const km_http_request_config *config, km_errinfo *err) {
  km_http_client *c = r->c;
  int rv = read_url(r, config->url, err);
  rv = rv == 0 ? km_relay_proxy_choose(&r->proxy, &r->url, read_env, NULL, err) : rv;
  rv = rv == 0 ? make_context(c, r->url.tls, err) : rv;
  if (rv != 0) {
    return rv;
  }
  r->body = km_env_alloc(c->env, LWS_PRE + config->body_len);
  if (r->body == NULL || !copy_text(c->env, &r->content_type, config->content_type) ||
      !copy_text(c->env, &r->accept, config->accept)) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  if (config->body_len > 0) {
    memcpy(r->body + LWS_PRE, config->body, config->body_len);
  }
  r->body_len = config->body_len;
  return 0;
}

int km_http_request_new(km_http_request **ret, km_http_client *c,
                        const km_http_request_config *config, km_http_fn fn, void *ctx,
                        km_errinfo *err) {
  if (c->waiting >= WAITING_MAX) {
    return km_fail(err, KM_ERR_LIMIT, "%d requests to discovery servers wait already", WAITING_MAX);
  }
  km_http_request *r = km_env_zalloc(c->env, 1, sizeof *r);
  if (r == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  km_ts timeout = config->timeout_ns < TIMEOUT_MAX ? config->timeout_ns : TIMEOUT_MAX;
  r->c = c;
  r->fd = -1;
  r->method = config->method;
  r->max_answer = config->max_answer;
  r->deadline = km_loop_now(c->loop) + timeout;
  r->fn = fn;
  r->ctx = ctx;
  km_list_init(&r->node);
  int rv = set_up(r, config, err);
  if (rv != 0) {
    free_request(r);
    return rv;
  }
  km_list_append(&c->requests, &r->node);
  c->waiting++;
  km_defer_run(c->later);
  *ret = r;
  return 0;
}

void km_http_request_cancel(km_http_request *r) {
  if (r == NULL || r->c->telling == r) {
    return;
  }
  km_http_client *c = r->c;
  if (r->state != REQUEST_DONE) {
    *(r->state == REQUEST_WAITING ? &c->waiting : &c->in_flight) -= 1;
  }
  free_request(r);
  km_defer_run(c->later); /* others may go on */
}

int km_http_client_new(km_http_client **ret, const km_http_client_config *config, km_errinfo *err) {
  km_http_client *c = km_env_zalloc(config->env, 1, sizeof *c);
  if (c == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  c->env = config->env;
  c->loop = config->loop;
  c->user_agent = config->user_agent;
  km_list_init(&c->requests);
  int rv = copy_text(c->env, &c->ca_file, config->ca_file) ? 0 : km_fail(err, KM_ERR_NOMEM, NULL);
  rv = rv == 0 && c->ca_file != NULL ? make_trust(c, err) : rv;
  if (rv == 0 && ((rv = km_deadline_new(&c->timer, c->loop, on_timer, c)) != 0 ||
                  (rv = km_defer_new(&c->later, c->loop, on_later, c)) != 0)) {
    (void)km_fail(err, rv, NULL);
  }
  if (rv != 0) {
    km_http_client_free(c);
    return rv;
  }
  *ret = c;
  return 0;
}

void km_http_client_free(km_http_client *c) {
  if (c == NULL) {
    return;
  }
  while (!km_list_empty(&c->requests)) {
    free_request(KM_LIST_ITEM(c->requests.next, km_http_request, node));
  }
  km_lws_free(c->lws[0]);
  km_lws_free(c->lws[1]);
  wolfSSL_CTX_free(c->tls);
  km_defer_free(c->later);
  km_deadline_free(c->timer);
  km_env_free(c->env, c->ca_file);
  km_env_free(c->env, c);
}
