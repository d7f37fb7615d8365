/* Signed packets at relays: published there by PUT and looked up by GET of "<url>/<z-base-32 id>"
 * (iroh/src/address_lookup/pkarr.rs; pubky/pkarr, design/relays.md). */
#include <stdio.h>
#include <string.h>

#include "base/list.h"
#include "base/relay_url.h"
#include "discovery/discovery_impl.h"
#include "discovery/http_client_io.h"
#include "discovery/pkarr.h"
#include "discovery/pkarr_newest.h"
#include "discovery/pkarr_publisher.h"

enum {
  RELAYS_MAX = 8,
  TIMEOUT_MS = 10000,
  REPUBLISH_S = 300,
  REPUBLISH_MIN_S = 10,
  TTL_S = 30,
  DAY_S = 86400,
  ID_LETTERS = 52
};
#define LEARN_NS (3 * KM_NS_PER_S) /* publishing does not wait longer for a timestamp */
#define LONG_AFTER_1970_US (UINT64_C(86400) * 365 * 1000000)
#define CONTENT_TYPE "application/x-pkarr-signed-packet"

struct pkarr_source;

typedef struct relay {
  struct pkarr_source *s;
  char url[KM_RELAY_URL_MAX]; /* without final slashes */
  char host[80];              /* for sentences */
  km_pkarr_publisher publisher;
  km_http_request *request; /* of the publisher */
  uint64_t sent_us;         /* timestamp of what is being put, */
  uint64_t put_us;          /* timestamp of what was put there last; 0: nothing was */
  km_errinfo error;         /* of the last attempt; code 0: none */
} relay;

/* A request of a look-up. */
typedef struct asked {
  struct ask *of;
  relay *relay;
  km_http_request *request;
} asked;

/* A look-up. */
typedef struct ask {
  struct pkarr_source *s;
  km_list node;
  km_query *query;
  km_id id;
  asked at[RELAYS_MAX];
  size_t open;
  bool found;
  km_pkarr best; /* the newest packet so far, if found */
  km_errinfo why;
} ask;

typedef struct pkarr_source {
  km_discovery *d;
  const km_env *env;
  km_loop *loop;
  const km_secret_key *key; /* NULL: nothing can be published */
  km_id id;
  relay relays[RELAYS_MAX];
  size_t relay_count;
  bool direct;
  uint32_t ttl_s;
  uint64_t timeout_ns;
  km_http_client *http;
  km_deadline *timer;
  km_list asks;
  km_pkarr_newest newest;
  bool wanted;     /* there is something to publish */
  bool signable;   /* and it fits into a packet: `draft` is it */
  bool published;  /* something was, at some time */
  km_pkarr draft;  /* its message */
  km_pkarr packet; /* the same, signed: all relays get these bytes */
  km_ts signed_at; /* 0: it is to be signed anew */
  uint64_t republish_ns;
  km_errinfo refused; /* why it is not signable */
} pkarr_source;

/* --- what all requests share ----------------------------------------------------------------- */

static int begin_http(relay *r, km_http_request **ret, const km_id *id,
                      const km_http_request_config *config, km_http_fn fn, void *ctx,
                      km_errinfo *err) {
  char url[KM_RELAY_URL_MAX + KM_ID_TEXT_CAP];
  char z32[KM_ID_TEXT_CAP];
  km_http_request_config c = *config;
  (void)km_id_format(id, KM_ID_Z32, z32, sizeof z32); /* fits */
  (void)snprintf(url, sizeof url, "%s/%s", r->url, z32);
  c.url = url;
  return km_http_request_new(ret, r->s->http, &c, fn, ctx, err);
}

/* A status other than of success, as an error. */
static void explain_status(km_errinfo *ret, const relay *r, int status) {
  if (status == 404) {
    (void)km_fail(ret, KM_ERR_NOT_FOUND, "%s has no packet of it", r->host);
  } else {
    (void)km_fail(ret, KM_ERR_SERVER_HTTP, "%s answered HTTP %d", r->host, status);
  }
  ret->peer_code = (uint64_t)status;
}

/* --- publishing ------------------------------------------------------------------------------ */

static void run(pkarr_source *s);

static void log_put(const relay *r, bool ok) {
  const km_logger *log = &r->s->env->logger;
  if (ok) {
    KM_LOG(log, KM_LOG_DEBUG, KM_LOGC_DISCOVERY, NULL, NULL, "published", "at=%s", r->host);
  } else {
    km_log_level level = r->publisher.failures == 1 ? KM_LOG_WARN : KM_LOG_DEBUG;
    KM_LOG(log, level, KM_LOGC_DISCOVERY, NULL, NULL, "publish-failed", "at=%s failures=%u why=%s",
           r->host, (unsigned)r->publisher.failures, r->error.text);
  }
}

static km_publish_result result_of(relay *r, const km_http_answer *answer, const km_errinfo *err) {
  r->error = (km_errinfo){0};
  if (err->code != 0) {
    r->error = *err;
    return KM_PUBLISH_FAILED;
  }
  if (answer->status >= 200 && answer->status <= 299) {
    return KM_PUBLISH_OK;
  }
  if (answer->status == 409 || answer->status == 412 || answer->status == 428) {
    (void)km_fail(&r->error, KM_ERR_STALE_PACKET, "%s has a newer packet of this key", r->host);
    r->error.peer_code = (uint64_t)answer->status;
    return KM_PUBLISH_NEWER;
  }
  (void)km_fail(&r->error, KM_ERR_SERVER_HTTP, "%s answered HTTP %d%s", r->host, answer->status,
                answer->status == 404 ? ": is the path right?" : "");
  r->error.peer_code = (uint64_t)answer->status;
  return KM_PUBLISH_FAILED;
}

static void on_put(void *ctx, const km_http_answer *answer, const km_errinfo *err) {
  relay *r = ctx;
  r->request = NULL;
  km_publish_result result = result_of(r, answer, err);
  if (result == KM_PUBLISH_OK) {
    r->put_us = r->sent_us;
  } else if (result == KM_PUBLISH_NEWER && r->sent_us == r->s->packet.timestamp_us) {
    r->s->signed_at = 0;
  }
  km_pkarr_publisher_put(&r->publisher, km_loop_now(r->s->loop), result, answer->retry_after_s);
  log_put(r, result == KM_PUBLISH_OK);
  run(r->s);
}

/* One signature for all relays: whoever read one of them must find what the others have no older.
 * A relay that has it already begins the next round, and the others follow. */
static int sign(pkarr_source *s, const relay *r, km_ts now) {
  if (s->signed_at != 0 && r->put_us != s->packet.timestamp_us &&
      now - s->signed_at < s->republish_ns) {
    return 0;
  }
  km_discovery_state *state = km_discovery_get_state(s->d);
  uint64_t timestamp = km_discovery_state_timestamp(state, &s->id, km_clock_wall());
  int rv = km_pkarr_sign(&s->packet, s->key, timestamp, s->draft.dns, s->draft.dns_len);
  s->signed_at = rv == 0 ? now : 0;
  for (size_t i = 0; rv == 0 && i < s->relay_count; i++) {
    km_pkarr_publisher_renewed(&s->relays[i].publisher, now);
  }
  return rv;
}

static void put(relay *r, km_ts now) {
  pkarr_source *s = r->s;
  uint8_t payload[KM_PKARR_PAYLOAD_MAX];
  km_pkarr_publisher_begun(&r->publisher, now, KM_PUBLISH_PUT);
  int rv = sign(s, r, now);
  if (rv == 0) {
    r->sent_us = s->packet.timestamp_us;
    const km_http_request_config config = {.method = KM_HTTP_PUT,
                                           .content_type = CONTENT_TYPE,
                                           .accept = "*/*",
                                           .body = payload,
                                           .body_len = km_pkarr_write(&s->packet, payload),
                                           .timeout_ns = s->timeout_ns};
    rv = begin_http(r, &r->request, &s->id, &config, on_put, r, &r->error);
  }
  if (rv != 0) {
    r->error.code = rv;
    km_pkarr_publisher_put(&r->publisher, now, KM_PUBLISH_FAILED, 0);
    log_put(r, false);
  }
}

/* The packet of ours that the relay has; whatever else it says does not matter here. */
static void on_own(void *ctx, const km_http_answer *answer, const km_errinfo *err) {
  relay *r = ctx;
  pkarr_source *s = r->s;
  km_pkarr packet;
  km_errinfo why;
  r->request = NULL;
  if (err->code == 0 && answer->status == 200 &&
      km_pkarr_read(&packet, &s->id, answer->body, answer->len, &why) == 0) {
    km_discovery_state_seen(km_discovery_get_state(s->d), &s->id, packet.timestamp_us);
    if (km_pkarr_compare(&packet, &s->packet) > 0) {
      s->signed_at = 0;
    }
  }
  km_pkarr_publisher_got(&r->publisher, km_loop_now(s->loop));
  run(s);
}

static void learn(relay *r, km_ts now) {
  pkarr_source *s = r->s;
  const km_http_request_config config = {.method = KM_HTTP_GET,
                                         .accept = "*/*",
                                         .max_answer = KM_PKARR_PAYLOAD_MAX,
                                         .timeout_ns =
                                             s->timeout_ns < LEARN_NS ? s->timeout_ns : LEARN_NS};
  km_errinfo why;
  km_pkarr_publisher_begun(&r->publisher, now, KM_PUBLISH_GET);
  if (begin_http(r, &r->request, &s->id, &config, on_own, r, &why) != 0) {
    km_pkarr_publisher_got(&r->publisher, now); /* the PUT will say it */
  }
}

/* Begins what is due. */
static void run(pkarr_source *s) {
  km_ts now = km_loop_now(s->loop);
  km_ts wake = KM_TS_NEVER;
  for (size_t i = 0; i < s->relay_count; i++) {
    relay *r = &s->relays[i];
    km_publish_step step;
    while ((step = km_pkarr_publisher_next(&r->publisher, now)) != KM_PUBLISH_WAIT) {
      if (step == KM_PUBLISH_PUT) {
        put(r, now);
      } else {
        learn(r, now);
      }
    }
    km_ts at = km_pkarr_publisher_at(&r->publisher);
    wake = at < wake ? at : wake;
  }
  km_deadline_set(s->timer, wake);
}

static void on_timer(void *ctx) {
  run(ctx);
}

static void tell_publishers(pkarr_source *s) {
  km_ts now = km_loop_now(s->loop);
  for (size_t i = 0; i < s->relay_count; i++) {
    relay *r = &s->relays[i];
    if (!s->signable) {
      r->error = s->refused;
    }
    km_pkarr_publisher_changed(&r->publisher, now, s->wanted && s->signable);
  }
  run(s);
}

static bool says_nothing(const km_peer_info *info) {
  return km_addr_relay_count(info->addr) == 0 && km_addr_udp_count(info->addr) == 0 &&
         (info->user_data == NULL || info->user_data[0] == '\0') && info->record_len == 0;
}

/* As iroh: what the filter leaves is published even if that is nothing, so that what was there
 * before is replaced; who never had anything to say publishes nothing. What cannot be reached any
 * more stays at the relays until it is too old for them: there is nothing to delete it with. */
static void publish(void *ctx, const km_peer_info *info) {
  pkarr_source *s = ctx;
  if (s->key == NULL || (info == NULL && !s->wanted) ||
      (info != NULL && says_nothing(info) && !s->published)) {
    return;
  }
  if (info == NULL) {
    s->wanted = s->signable = false;
    s->refused = (km_errinfo){0};
    tell_publishers(s);
    return;
  }
  km_pkarr draft;
  km_errinfo why = {0};
  bool signable = km_pkarr_from_info(&draft, s->key, 1, info, s->direct, s->ttl_s, &why) == 0;
  if (s->wanted && signable && s->signable && draft.dns_len == s->draft.dns_len &&
      memcmp(draft.dns, s->draft.dns, draft.dns_len) == 0) {
    return; /* what changed is not published here */
  }
  s->wanted = true;
  s->signable = signable;
  s->published = s->published || signable;
  s->refused = signable ? (km_errinfo){0} : why;
  if (signable) {
    s->draft = draft;
    s->signed_at = 0;
  }
  tell_publishers(s);
}

static int publish_state(void *ctx, size_t index, km_publish_state *ret) {
  const pkarr_source *s = ctx;
  if (index >= s->relay_count) {
    return KM_ERR_NOT_FOUND;
  }
  const relay *r = &s->relays[index];
  ret->where = r->url;
  ret->wanted = s->wanted;
  ret->done = r->publisher.done;
  ret->failures = r->publisher.failures;
  ret->error = r->error;
  return 0;
}

/* --- looking up ------------------------------------------------------------------------------ */

static void free_ask(ask *a) {
  for (size_t i = 0; i < a->s->relay_count; i++) {
    km_http_request_cancel(a->at[i].request);
  }
  km_list_remove(&a->node);
  km_env_free(a->s->env, a);
}

/* The sentence that says most comes first. */
static int weight(int code) {
  switch (code) {
  case 0:
    return 0;
  case KM_ERR_NOT_FOUND:
    return 1;
  case KM_ERR_BAD_PACKET:
  case KM_ERR_STALE_PACKET:
    return 3;
  default:
    return 2;
  }
}

static void note(ask *a, const km_errinfo *why) {
  if (weight(why->code) > weight(a->why.code)) {
    a->why = *why;
  }
}

static int tell(ask *a, const km_pkarr *packet, km_errinfo *err) {
  km_details details;
  km_found found;
  if (km_details_init(&details, a->s->env, &a->id) != 0) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  int rv = km_pkarr_details(packet, &details);
  if (rv == 0) {
    uint64_t ms = packet->timestamp_us / 1000;
    km_details_found(&details, &found);
    found.published_ms = (int64_t)ms; /* fits: a 64-bit number divided by 1000 */
    found.proven = true;
    a->found = true;
    a->best = *packet;
    km_query_found(a->query, &found);
  } else {
    (void)km_fail(err, rv, rv == KM_ERR_BAD_PACKET ? "the packet's DNS message is damaged" : NULL);
  }
  km_details_clear(&details);
  return rv;
}

/* Two memories: one of this process, which works also where the disk fails, and one that lasts. */
static bool is_newest(ask *a, const km_pkarr *packet) {
  km_discovery_state *state = km_discovery_get_state(a->s->d);
  return km_pkarr_newest_take(&a->s->newest, &a->id, packet->timestamp_us) &&
         km_discovery_state_newest(state, &a->id, packet->timestamp_us, km_clock_wall());
}

/* 0, or why the packet is not believed. */
static int take_packet(ask *a, const relay *r, const km_http_answer *answer, km_errinfo *err) {
  km_pkarr packet;
  int rv = km_pkarr_read(&packet, &a->id, answer->body, answer->len, err);
  if (rv != 0) {
    return rv;
  }
  int order = a->found ? km_pkarr_compare(&packet, &a->best) : 1;
  if (order == 0) {
    return 0; /* another relay said the same */
  }
  if (order < 0 || !is_newest(a, &packet)) {
    return km_fail(err, KM_ERR_STALE_PACKET, "the packet at %s is older than what is known",
                   r->host);
  }
  return tell(a, &packet, err);
}

static void end_if_over(ask *a) {
  if (a->open > 0) {
    return;
  }
  km_query *query = a->query;
  bool found = a->found;
  km_errinfo why = a->why;
  free_ask(a);
  km_query_done(query, found ? NULL : &why);
}

static void on_packet(void *ctx, const km_http_answer *answer, const km_errinfo *err) {
  asked *q = ctx;
  ask *a = q->of;
  km_errinfo why = *err;
  q->request = NULL;
  a->open--;
  if (why.code == 0 && (answer->status < 200 || answer->status > 299)) {
    explain_status(&why, q->relay, answer->status);
  }
  if (why.code == 0) {
    (void)take_packet(a, q->relay, answer, &why);
  }
  note(a, &why);
  end_if_over(a);
}

static void resolve(void *ctx, km_query *query, const km_id *id) {
  pkarr_source *s = ctx;
  km_errinfo why = {0};
  ask *a = km_env_zalloc(s->env, 1, sizeof *a);
  if (a == NULL) {
    (void)km_fail(&why, KM_ERR_NOMEM, NULL);
    km_query_done(query, &why);
    return;
  }
  a->s = s;
  a->query = query;
  a->id = *id;
  km_list_init(&a->node);
  km_list_append(&s->asks, &a->node);
  km_query_set_data(query, a);
  const km_http_request_config config = {.method = KM_HTTP_GET,
                                         .accept = "*/*",
                                         .max_answer = KM_PKARR_PAYLOAD_MAX,
                                         .timeout_ns = s->timeout_ns};
  for (size_t i = 0; i < s->relay_count; i++) {
    asked *q = &a->at[i];
    q->of = a;
    q->relay = &s->relays[i];
    if (begin_http(q->relay, &q->request, id, &config, on_packet, q, &why) == 0) {
      a->open++;
    } else {
      note(a, &why);
    }
  }
  end_if_over(a);
}

static void cancel(void *ctx, km_query *query) {
  (void)ctx;
  free_ask(km_query_data(query));
}

/* --- life ------------------------------------------------------------------------------------ */

static void close_source(void *ctx) {
  pkarr_source *s = ctx;
  while (!km_list_empty(&s->asks)) {
    free_ask(KM_LIST_ITEM(s->asks.next, ask, node));
  }
  km_http_client_free(s->http); /* ends the requests of publishers */
  km_deadline_free(s->timer);
  km_pkarr_newest_clear(&s->newest);
  km_env_free(s->env, s);
}

/* True where a packet of ours was given a timestamp before, in this process or an earlier one: the
 * next one is above it, whatever the clock says, and so far from 1970. */
static bool has_published(pkarr_source *s) {
  const km_wall beginning = {.unix_ns = 0};
  return km_discovery_state_timestamp(km_discovery_get_state(s->d), &s->id, beginning) >
         LONG_AFTER_1970_US;
}

static int take_relay(pkarr_source *s, const char *text, km_errinfo *err) {
  relay *r = &s->relays[s->relay_count];
  size_t len = text != NULL ? strlen(text) : 0;
  const char *host = text != NULL ? strstr(text, "://") : NULL;
  if (host == NULL || (strncmp(text, "http://", 7) != 0 && strncmp(text, "https://", 8) != 0) ||
      strpbrk(text, "?#@") != NULL ||
      km_relay_url_normalise(r->url, sizeof r->url - ID_LETTERS - 1, text, len, err) < 0) {
    return km_fail(err, KM_ERR_INVALID,
                   "not a PKARR relay's url: \"%.80s\"; write https://host/path",
                   text != NULL ? text : "");
  }
  len = strlen(r->url);
  while (r->url[len - 1] == '/') {
    r->url[--len] = '\0';
  }
  host = strstr(r->url, "://") + 3;
  (void)snprintf(r->host, sizeof r->host, "%.*s", (int)strcspn(host, "/"), host);
  r->s = s;
  s->relay_count++;
  return 0;
}

static int take_relays(pkarr_source *s, const km_pkarr_options *o, km_errinfo *err) {
  if (o->relay_count > RELAYS_MAX) {
    return km_fail(err, KM_ERR_LIMIT, "at most %d PKARR relays", RELAYS_MAX);
  }
  if (o->relay_count == 0) {
    return take_relay(s, KM_PKARR_RELAY_IROH, err);
  }
  int rv = 0;
  for (size_t i = 0; i < o->relay_count && rv == 0; i++) {
    rv = take_relay(s, o->relays[i], err);
  }
  return rv;
}

static int check(const km_pkarr_options *o, km_errinfo *err) {
  if (o->republish_s != 0 && (o->republish_s < REPUBLISH_MIN_S || o->republish_s > DAY_S)) {
    return km_fail(err, KM_ERR_INVALID, "republish_s is %u: 10 to 86,400 are possible",
                   (unsigned)o->republish_s);
  }
  if (o->ttl_s > DAY_S) {
    return km_fail(err, KM_ERR_INVALID, "ttl_s is %u: 1 to 86,400 are possible",
                   (unsigned)o->ttl_s);
  }
  if (o->no_publish && o->no_resolve) {
    return km_fail(err, KM_ERR_INVALID, "neither publish nor resolve: nothing is left to do");
  }
  return 0;
}

static int set_up(pkarr_source *s, const km_pkarr_options *o, km_errinfo *err) {
  const km_http_client_config http = {
      .env = s->env, .loop = s->loop, .ca_file = o->ca_file, .user_agent = "keymesh"};
  uint64_t republish = (o->republish_s != 0 ? o->republish_s : REPUBLISH_S) * KM_NS_PER_S;
  s->direct = o->publish_direct;
  s->republish_ns = republish;
  s->ttl_s = o->ttl_s != 0 ? o->ttl_s : TTL_S;
  s->timeout_ns = (o->timeout_ms != 0 ? o->timeout_ms : TIMEOUT_MS) * KM_NS_PER_MS;
  int rv = take_relays(s, o, err);
  rv = rv == 0 ? km_http_client_new(&s->http, &http, err) : rv;
  if (rv == 0 && (rv = km_deadline_new(&s->timer, s->loop, on_timer, s)) != 0) {
    (void)km_fail(err, rv, NULL);
  }
  if (rv == 0 && s->key != NULL) {
    km_secret_key_id(s->key, &s->id);
  }
  bool learn = s->key != NULL && !o->no_publish && rv == 0 && !has_published(s);
  for (size_t i = 0; i < s->relay_count; i++) {
    km_pkarr_publisher_init(&s->relays[i].publisher, s->env, republish, learn);
  }
  return rv;
}

int km_discovery_add_pkarr(km_discovery *d, const km_pkarr_options *options, km_errinfo *err) {
  km_pkarr_options o = {.size = sizeof o};
  if (d == NULL) {
    return km_fail(err, KM_ERR_INVALID, "a km_discovery is needed");
  }
  if (options != NULL) {
    if (options->size < sizeof options->size) {
      return km_fail(err, KM_ERR_INVALID, "km_pkarr_options.size is not set");
    }
    memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
  }
  int rv = check(&o, err);
  const km_env *env = km_discovery_env(d);
  pkarr_source *s = rv == 0 ? km_env_zalloc(env, 1, sizeof *s) : NULL;
  if (s == NULL) {
    return rv != 0 ? rv : km_fail(err, KM_ERR_NOMEM, NULL);
  }
  s->d = d;
  s->env = env;
  s->loop = km_discovery_loop(d);
  s->key = km_discovery_key(d);
  km_list_init(&s->asks);
  km_pkarr_newest_init(&s->newest, env);
  km_source_ops ops = {.size = sizeof ops, .name = "pkarr", .close = close_source};
  if (!o.no_publish) {
    ops.publish = publish;
    ops.publish_state = publish_state;
  }
  if (!o.no_resolve) {
    ops.resolve = resolve;
    ops.cancel = cancel;
  }
  rv = set_up(s, &o, err);
  rv = rv == 0 ? km_discovery_add(d, NULL, &ops, s, err) : rv;
  if (rv != 0) {
    close_source(s);
  }
  return rv;
}
