#include "relay/access_http_io.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include "base/addr_counter.h"
#include "base/enc.h"
#include "base/io/lws_io.h"
#include "base/relay_url.h"
#include "relay/connect_io.h"
#include "relay/trust_io.h"

#define BEARER_MAX 2048
static const char yes[] = "true";

typedef enum ask_state {
  ASK_WAITING,
  ASK_DIALLING,
  ASK_ASKING,
  ASK_DONE /* on_answer is due */
} ask_state;

typedef struct ask {
  km_relay_asker *a;
  struct ask *next, *prev; /* oldest first, and so in the order of deadlines */
  uint64_t number;
  km_id id;
  km_udp_addr remote;
  km_ts deadline;
  ask_state state;
  km_relay_dial *dial;
  struct lws *wsi;
  int fd; /* until lws has it */
  int status;
  char body[sizeof yes]; /* one more than fits a yes */
  size_t body_len;
  bool complete; /* all of the answer was read */
  bool allowed;
} ask;

/* A look-up is a thread, and strangers with fresh keys make many questions. */
#define KNOWN_NS (30 * KM_NS_PER_S)

struct km_relay_asker {
  km_relay_asker_config config;
  km_relay_url url; /* host, port; the path is `path` */
  char path[KM_RELAY_URL_MAX];
  char *authorization; /* value of the header; NULL: none */
  km_relay_proxy proxy;
  km_udp_addr known; /* where the last one got through; family 0: not known */
  km_ts known_until;
  struct WOLFSSL_CTX *tls;
  km_lws *lws;
  km_deadline *timer;
  km_defer *later;
  ask *first, *last;
  km_addr_counter by_addr; /* questions */
  km_relay_asker_stats stats;
};

/* --- the list -------------------------------------------------------------------------------- */

static void append(km_relay_asker *a, ask *q) {
  q->prev = a->last;
  q->next = NULL;
  *(a->last != NULL ? &a->last->next : &a->first) = q;
  a->last = q;
}

static void take_out(km_relay_asker *a, ask *q) {
  *(q->prev != NULL ? &q->prev->next : &a->first) = q->next;
  *(q->next != NULL ? &q->next->prev : &a->last) = q->prev;
  km_addr_counter_remove(&a->by_addr, &q->remote);
}

static void arm(km_relay_asker *a) {
  const ask *q = a->first;
  while (q != NULL && q->state == ASK_DONE) {
    q = q->next;
  }
  km_deadline_set(a->timer, q != NULL ? q->deadline : KM_TS_NEVER);
}

/* --- ends ------------------------------------------------------------------------------------ */

static void let_go(ask *q) {
  km_relay_dial_free(q->dial);
  q->dial = NULL;
  if (q->fd >= 0) {
    (void)close(q->fd); /* nothing was written to it */
    q->fd = -1;
  }
  if (q->wsi != NULL) {
    lws_set_opaque_user_data(q->wsi, NULL);
    lws_set_timeout(q->wsi, PENDING_TIMEOUT_KILLED_BY_PARENT, LWS_TO_KILL_ASYNC);
    q->wsi = NULL;
    km_lws_touch(q->a->lws);
  }
}

/* The answer is handed over from `later`, outside of lws and of the dial. */
static void finish(ask *q, bool answered, const char *why) {
  km_relay_asker *a = q->a;
  if (q->state == ASK_DONE) {
    return;
  }
  *(q->state == ASK_WAITING ? &a->stats.waiting : &a->stats.in_flight) -= 1;
  q->state = ASK_DONE;
  q->allowed = answered && q->status == 200 && q->body_len == sizeof yes - 1 &&
               memcmp(q->body, yes, sizeof yes - 1) == 0;
  a->stats.allowed += q->allowed;
  a->stats.denied += answered && !q->allowed;
  a->stats.failed += !answered;
  if (!answered) {
    KM_LOG(&a->config.env->logger, KM_LOG_WARN, KM_LOGC_RELAY, &q->id, NULL, "access-unanswered",
           "host=%s why=%s", a->url.host, why);
  }
  km_defer_run(a->later);
}

/* --- the request ----------------------------------------------------------------------------- */

static bool add(struct lws *wsi, const char *name, const char *value, uint8_t **at, uint8_t *end) {
  return lws_add_http_header_by_name(wsi, (const uint8_t *)name, (const uint8_t *)value,
                                     (int)strlen(value), at, end) == 0;
}

static int add_headers(const ask *q, uint8_t **at, size_t room) {
  char id[2 * KM_ID_BYTES + 1];
  uint8_t *end = *at + room;
  const char *authorization = q->a->authorization;
  km_hex_encode(id, q->id.bytes, sizeof q->id.bytes);
  bool whole = add(q->wsi, "x-iroh-endpoint-id:", id, at, end) &&
               add(q->wsi, "x-iroh-nodeid:", id, at, end) &&
               add(q->wsi, "accept:", "*/*", at, end) &&
               add(q->wsi, "user-agent:", "km-relay", at, end) &&
               add(q->wsi, "content-length:", "0", at, end) &&
               (authorization == NULL || add(q->wsi, "authorization:", authorization, at, end));
  return whole ? 0 : -1;
}

static void keep_body(ask *q, const char *bytes, size_t len) {
  size_t room = sizeof q->body - q->body_len;
  size_t n = len < room ? len : room;
  memcpy(q->body + q->body_len, bytes, n);
  q->body_len += n;
}

/* Asks lws for what has come; it hands it over in LWS_CALLBACK_RECEIVE_CLIENT_HTTP_READ. */
static int read_body(struct lws *wsi) {
  char buf[LWS_PRE + 1024], *at = buf + LWS_PRE;
  int room = (int)sizeof buf - LWS_PRE;
  return lws_http_client_read(wsi, &at, &room) < 0 ? -1 : 0;
}

/* The socket that lws made for itself becomes another name of ours, which is connected. */
static int give_socket(ask *q, int lws_fd) {
  if (q->fd < 0) {
    return -1;
  }
  int rv = dup2(q->fd, lws_fd);
  (void)close(q->fd); /* nothing was written through this name of it */
  q->fd = -1;
  return rv < 0 ? -1 : 0;
}

static int on_status(ask *q) {
  q->status = (int)lws_http_client_http_response(q->wsi);
  if (q->status == 200) {
    return 0;
  }
  finish(q, true, NULL);
  return -1;
}

static int on_body(ask *q, const char *bytes, size_t len) {
  keep_body(q, bytes, len);
  if (q->body_len < sizeof q->body) {
    return 0;
  }
  finish(q, true, NULL); /* too long for a yes */
  return -1;
}

static int dispatch(ask *q, enum lws_callback_reasons reason, void *in, size_t len) {
  switch (reason) {
  case LWS_CALLBACK_CONNECTING:
    return give_socket(q, (int)(intptr_t)in);
  case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
    return add_headers(q, (uint8_t **)in, len);
  case LWS_CALLBACK_ESTABLISHED_CLIENT_HTTP:
    return on_status(q);
  case LWS_CALLBACK_RECEIVE_CLIENT_HTTP:
    return read_body(q->wsi);
  case LWS_CALLBACK_RECEIVE_CLIENT_HTTP_READ:
    return on_body(q, in, len);
  case LWS_CALLBACK_COMPLETED_CLIENT_HTTP:
    finish(q, true, NULL);
    return -1;
  case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
    finish(q, false, in != NULL ? (const char *)in : "the connection broke");
    return 0;
  case LWS_CALLBACK_CLOSED_CLIENT_HTTP:
    finish(q, false, "it hung up");
    return 0;
  case LWS_CALLBACK_WSI_DESTROY:
    q->wsi = NULL;
    finish(q, false, "it hung up");
    return 0;
  default:
    return 0;
  }
}

static int on_lws(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                  size_t len) {
  ask *q = wsi != NULL ? lws_get_opaque_user_data(wsi) : NULL;
  if (q == NULL) {
    return km_lws_callback(wsi, reason, user, in, len);
  }
  if (reason != LWS_CALLBACK_WSI_DESTROY) {
    q->wsi = wsi;
  }
  return dispatch(q, reason, in, len);
}

static const struct lws_protocols protocols[] = {
    {.name = "km-relay-access", .callback = on_lws},
    LWS_PROTOCOL_LIST_TERM,
};

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

static void begin_request(ask *q, const km_udp_addr *remote) {
  km_relay_asker *a = q->a;
  char address[KM_UDP_ADDR_TEXT_CAP];
  write_ip(address, remote);
  const struct lws_client_connect_info info = {
      .context = km_lws_context(a->lws),
      .address = address,
      .port = remote->port,
      .ssl_connection = LCCSCF_HTTP_NO_FOLLOW_REDIRECT | (a->url.tls ? LCCSCF_USE_SSL : 0),
      .path = a->path,
      .host = a->url.authority,
      .method = "POST",
      .local_protocol_name = protocols[0].name,
      .opaque_user_data = q,
      .ietf_version_or_minus_one = -1,
  };
  q->state = ASK_ASKING;
  struct lws *wsi = lws_client_connect_via_info(&info);
  if (wsi == NULL) {
    finish(q, false, "libwebsockets refused to connect");
  } else if (q->state == ASK_ASKING) {
    q->wsi = wsi;
  }
  km_lws_touch(a->lws);
}

static void on_dialled(void *ctx, int fd, const km_udp_addr *remote, const km_errinfo *err) {
  ask *q = ctx;
  km_relay_dial_free(q->dial);
  q->dial = NULL;
  if (q->state == ASK_DONE) { /* its time was over in this very turn */
    if (fd >= 0) {
      (void)close(fd); /* nothing was written to it */
    }
    return;
  }
  km_relay_asker *a = q->a;
  if (fd < 0) {
    a->known.family = 0;
    finish(q, false, err->text);
    return;
  }
  a->known = *remote;
  a->known_until = km_loop_now(a->config.loop) + KNOWN_NS;
  q->fd = fd;
  begin_request(q, remote);
}

static void begin(ask *q) {
  km_relay_asker *a = q->a;
  bool known = a->known.family != 0 && km_loop_now(a->config.loop) < a->known_until;
  const km_relay_dial_config config = {.env = a->config.env,
                                       .loop = a->config.loop,
                                       .url = &a->url,
                                       .proxy = &a->proxy,
                                       .addrs = &a->known,
                                       .addr_count = known ? 1 : 0};
  a->stats.waiting--;
  a->stats.in_flight++;
  q->state = ASK_DIALLING;
  if (km_relay_dial_new(&q->dial, &config, on_dialled, q) != 0) {
    finish(q, false, "out of memory");
  }
}

static void begin_waiting(km_relay_asker *a) {
  for (ask *q = a->first, *next; q != NULL && a->stats.in_flight < a->config.in_flight; q = next) {
    next = q->next;
    if (q->state == ASK_WAITING) {
      begin(q);
    }
  }
}

static void on_later(void *ctx) {
  km_relay_asker *a = ctx;
  ask *done = NULL, *next;
  for (ask *q = a->first; q != NULL; q = next) {
    next = q->next;
    if (q->state == ASK_DONE) {
      take_out(a, q);
      let_go(q);
      q->next = done;
      done = q;
    }
  }
  begin_waiting(a);
  arm(a);
  for (; done != NULL; done = next) {
    next = done->next;
    a->config.on_answer(a->config.ctx, done->number, done->allowed);
    km_env_free(a->config.env, done);
  }
}

static void on_timer(void *ctx) {
  km_relay_asker *a = ctx;
  km_ts now = km_loop_now(a->config.loop);
  for (ask *q = a->first; q != NULL && q->deadline <= now; q = q->next) {
    finish(q, false, "no answer in time");
  }
  arm(a);
}

int km_relay_ask(km_relay_asker *a, uint64_t number, const km_id *id, const km_udp_addr *remote) {
  if (a->stats.waiting >= KM_RELAY_ASK_WAITING ||
      (!a->config.behind_proxy &&
       km_addr_counter_get(&a->by_addr, remote) >= KM_RELAY_ASK_PER_ADDR)) {
    return KM_ERR_LIMIT;
  }
  ask *q = km_env_zalloc(a->config.env, 1, sizeof *q);
  if (q == NULL || km_addr_counter_add(&a->by_addr, remote) != 0) {
    km_env_free(a->config.env, q);
    return KM_ERR_NOMEM;
  }
  q->a = a;
  q->number = number;
  q->id = *id;
  q->remote = *remote;
  q->fd = -1;
  q->deadline = km_loop_now(a->config.loop) + a->config.timeout_ns;
  append(a, q);
  a->stats.asked++;
  a->stats.waiting++;
  begin_waiting(a);
  arm(a);
  return 0;
}

const km_relay_asker_stats *km_relay_asker_get_stats(const km_relay_asker *a) {
  return &a->stats;
}

/* --- life ------------------------------------------------------------------------------------ */

/* Host and port as for a relay; the path is the url's own. */
static int read_url(km_relay_asker *a, const char *url, km_errinfo *err) {
  char whole[KM_RELAY_URL_MAX];
  if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0) {
    return km_fail(err, KM_ERR_BAD_RELAY_URL, "the access url must begin with http:// or https://");
  }
  int rv = km_relay_url_normalise(whole, sizeof whole, url, strlen(url), err);
  if (rv < 0) {
    return rv;
  }
  const char *authority = strstr(whole, "://") + 3;
  size_t len = strcspn(authority, "/?#");
  if (memchr(authority, '@', len) != NULL) {
    return km_fail(err, KM_ERR_BAD_RELAY_URL,
                   "the access url must not have a user in it: use bearer_token");
  }
  whole[strcspn(whole, "#")] = '\0';
  const char *path = authority + len;
  memcpy(a->path, *path != '\0' ? path : "/", *path != '\0' ? strlen(path) + 1 : 2);
  return km_relay_url_read(&a->url, whole, err);
}

static int read_bearer(km_relay_asker *a, const char *bearer, km_errinfo *err) {
  static const char scheme[] = "Bearer ";
  size_t len = bearer != NULL ? strlen(bearer) : 0;
  if (bearer == NULL) {
    return 0;
  }
  for (size_t i = 0; i < len; i++) {
    if (bearer[i] <= ' ' || bearer[i] > '~') {
      return km_fail(err, KM_ERR_INVALID, "the bearer token must be visible ASCII characters");
    }
  }
  if (len == 0 || len > BEARER_MAX) {
    return km_fail(err, KM_ERR_INVALID, "the bearer token must have 1 to %d characters",
                   BEARER_MAX);
  }
  a->authorization = km_env_alloc(a->config.env, sizeof scheme + len);
  if (a->authorization == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  memcpy(a->authorization, scheme, sizeof scheme - 1);
  memcpy(a->authorization + sizeof scheme - 1, bearer, len + 1);
  return 0;
}

static const char *read_env(void *ctx, const char *name) {
  (void)ctx;
  return getenv(name);
}

static int make_context(km_relay_asker *a, km_errinfo *err) {
  struct lws_context_creation_info info = {
      .port = CONTEXT_PORT_NO_LISTEN,
      .protocols = protocols,
      .options = LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT | LWS_SERVER_OPTION_DISABLE_OS_CA_CERTS,
      .provided_client_ssl_ctx = (SSL_CTX *)a->tls,
      .http_proxy_address = "", /* the environment is ours to read */
      .gid = (gid_t)-1,
      .uid = (uid_t)-1,
      .timeout_secs = 60, /* longer than our own */
      .connect_timeout_secs = 60,
  };
  return km_lws_new(&a->lws, a->config.env, a->config.loop, &info, a, err);
}

static int set_up(km_relay_asker *a, km_errinfo *err) {
  int rv = read_url(a, a->config.url, err);
  rv = rv == 0 ? read_bearer(a, a->config.bearer, err) : rv;
  rv = rv == 0 ? km_relay_proxy_choose(&a->proxy, &a->url, read_env, NULL, err) : rv;
  if (rv == 0 && a->url.tls) {
    rv = km_relay_trust_new(&a->tls, a->config.env, a->config.ca_file, err);
  }
  rv = rv == 0 ? make_context(a, err) : rv;
  rv = rv == 0 ? km_deadline_new(&a->timer, a->config.loop, on_timer, a) : rv;
  return rv == 0 ? km_defer_new(&a->later, a->config.loop, on_later, a) : rv;
}

int km_relay_asker_new(km_relay_asker **ret, const km_relay_asker_config *config, km_errinfo *err) {
  km_relay_asker *a = km_env_zalloc(config->env, 1, sizeof *a);
  if (a == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  a->config = *config;
  km_addr_counter_init(&a->by_addr, config->env);
  a->config.timeout_ns = config->timeout_ns > 0 ? config->timeout_ns : KM_RELAY_ASK_TIMEOUT;
  a->config.in_flight = config->in_flight > 0 ? config->in_flight : KM_RELAY_ASK_IN_FLIGHT;
  int rv = set_up(a, err);
  a->config.url = a->config.bearer = a->config.ca_file = NULL; /* the caller's */
  if (rv != 0) {
    km_relay_asker_free(a);
    return rv;
  }
  *ret = a;
  return 0;
}

void km_relay_asker_free(km_relay_asker *a) {
  if (a == NULL) {
    return;
  }
  for (ask *q = a->first; q != NULL; q = q->next) {
    let_go(q);
  }
  km_lws_free(a->lws);
  while (a->first != NULL) {
    ask *q = a->first;
    take_out(a, q);
    km_env_free(a->config.env, q);
  }
  km_addr_counter_clear(&a->by_addr);
  wolfSSL_CTX_free(a->tls);
  km_defer_free(a->later);
  km_deadline_free(a->timer);
  km_env_free(a->config.env, a->authorization);
  km_env_free(a->config.env, a);
}
