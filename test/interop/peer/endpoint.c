#include "peer.h"

#include <stdlib.h>
#include <string.h>

static km_accept_verdict on_incoming(void *ctx, const km_incoming *incoming) {
  const peer *self = ctx;
  if (self->incoming == KM_ACCEPT_RETRY && incoming->validated)
    return KM_ACCEPT;
  return self->incoming;
}

static void answer_open(peer *self, const cJSON *request);

static void on_home_relay(void *ctx, km_endpoint *endpoint) {
  peer *self = ctx;
  if (self->open_request != NULL && km_endpoint_online(endpoint)) {
    answer_open(self, self->open_request);
    cJSON_Delete(self->open_request);
    self->open_request = NULL;
  }
}

static void on_closed(void *ctx, km_endpoint *endpoint) {
  peer *self = ctx;
  (void)endpoint;
  cJSON_Delete(self->open_request);
  self->open_request = NULL;
  self->endpoint = NULL;
  self->finished = true;
}

static km_accept_verdict verdict_of(const char *name) {
  if (strcmp(name, "refuse") == 0)
    return KM_ACCEPT_REFUSE;
  if (strcmp(name, "ignore") == 0)
    return KM_ACCEPT_IGNORE;
  if (strcmp(name, "retry") == 0)
    return KM_ACCEPT_RETRY;
  return KM_ACCEPT;
}

/* Reads `bind` into `ret`, which has KM_ENDPOINT_MAX_SOCKETS places. */
static int read_binds(km_udp_addr *ret, size_t *count, const cJSON *request, km_errinfo *err) {
  const cJSON *item;
  *count = 0;
  cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(request, "bind")) {
    const char *text = cJSON_GetStringValue(item);
    if (*count == KM_ENDPOINT_MAX_SOCKETS)
      return err->code = KM_ERR_LIMIT;
    int rc = km_udp_addr_parse(&ret[*count], text, strlen(text), err);
    if (rc != 0)
      return err->code = rc;
    *count += 1;
  }
  return 0;
}

/* Logs and key logs are for whoever looks into a failed case: set the variables and run it. */
static void set_debugging(km_endpoint_options *options) {
  const char *filter = getenv("KM_INTEROP_LOG");
  options->keylog_file = getenv("KM_INTEROP_KEYLOG");
  options->qlog_dir = getenv("KM_INTEROP_QLOG");
  if (filter && km_log_filter_parse(&options->log_filter, filter, NULL) == 0) {
    options->log = km_log_to_stderr;
  }
}

static int add_protocols(peer *self, const cJSON *request, km_errinfo *err) {
  const cJSON *item;
  cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(request, "alpns")) {
    const km_protocol protocol = {
        .size = sizeof protocol,
        .alpn = cJSON_GetStringValue(item),
        .conn = peer_accepted_callbacks,
        .ctx = self,
    };
    int rc = km_endpoint_add_protocol(self->endpoint, &protocol, err);
    if (rc != 0)
      return err->code = rc;
  }
  return 0;
}

/* Own relays: `urls` has KM_ADDR_MAX_RELAYS places, which point into the request. */
static int read_relays(km_endpoint_options *options, const char **urls, const cJSON *request,
                       km_errinfo *err) {
  const cJSON *item;
  cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(request, "relays")) {
    if (options->relay_url_count == KM_ADDR_MAX_RELAYS)
      return err->code = KM_ERR_LIMIT;
    urls[options->relay_url_count++] = cJSON_GetStringValue(item);
    options->relay_mode = KM_RELAY_MODE_CUSTOM;
  }
  options->relay_urls = urls;
  return 0;
}

static int open_endpoint(peer *self, const cJSON *request, km_errinfo *err) {
  km_udp_addr binds[KM_ENDPOINT_MAX_SOCKETS];
  km_secret_key *key = NULL;
  const char *relays[KM_ADDR_MAX_RELAYS];
  km_endpoint_options options;
  km_endpoint_options_default(&options);
  int rc = read_binds(binds, &options.bind_count, request, err);
  if (rc == 0)
    rc = read_relays(&options, relays, request, err);
  if (rc != 0)
    return rc;
  const char *secret = peer_text(request, "secret");
  if (*secret && (rc = km_secret_key_parse(&key, secret, strlen(secret), err)) != 0)
    return rc;

  options.bind = binds;
  options.secret_key = key;
  options.idle_timeout_ms =
      (uint32_t)peer_int(request, "idle_timeout_ms", (int)options.idle_timeout_ms);
  options.keep_alive_ms = (uint32_t)peer_int(request, "keep_alive_ms", (int)options.keep_alive_ms);
  options.max_streams_bidi =
      (uint32_t)peer_int(request, "max_streams_bidi", (int)options.max_streams_bidi);
  options.prefer_post_quantum = peer_flag(request, "prefer_post_quantum");
  if (strcmp(peer_text(request, "policy"), "any") == 0)
    options.path_policy = KM_POLICY_ANY;
  if (peer_flag(request, "bbr"))
    options.congestion = KM_CC_BBR;
  options.callbacks = (km_endpoint_callbacks){
      .size = sizeof options.callbacks,
      .on_incoming = on_incoming,
      .on_home_relay = on_home_relay,
      .on_closed = on_closed,
  };
  options.ctx = self;
  set_debugging(&options);
  self->incoming = verdict_of(peer_text(request, "incoming"));
  rc = km_endpoint_open(&self->endpoint, self->loop, &options, err);
  km_secret_key_free(key);
  return rc == 0 ? add_protocols(self, request, err) : rc;
}

static void add_bound(const peer *self, cJSON *line) {
  km_udp_addr bound[KM_ENDPOINT_MAX_SOCKETS];
  size_t count = km_endpoint_bound(self->endpoint, bound, KM_ENDPOINT_MAX_SOCKETS);
  cJSON *addrs = cJSON_AddArrayToObject(line, "addrs");
  for (size_t i = 0; i < count; i++)
    cJSON_AddItemToArray(addrs, peer_udp_json(&bound[i]));
}

void peer_open(peer *self, const cJSON *request) {
  km_errinfo err = {0};
  if (self->endpoint) {
    peer_fail(peer_int(request, "id", 0), KM_ERR_STATE, "the endpoint is open already");
    return;
  }
  if (open_endpoint(self, request, &err) != 0) {
    peer_fail_info(peer_int(request, "id", 0), &err);
    return;
  }
  if (cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(request, "relays")) > 0)
    self->open_request = cJSON_Duplicate(request, true);
  else
    answer_open(self, request);
}

static void answer_open(peer *self, const cJSON *request) {
  cJSON *line = peer_answer(request);
  peer_add_id(line, "remote", km_endpoint_id(self->endpoint));
  add_bound(self, line);
  peer_send(line);
}

void peer_rebind(peer *self, const cJSON *request) {
  const char *text = peer_text(request, "bind");
  km_udp_addr bind;
  km_errinfo err = {0};
  int rc = km_udp_addr_parse(&bind, text, strlen(text), &err);
  if (rc == 0)
    rc = km_endpoint_rebind(self->endpoint, &bind, &err);
  if (rc != 0) {
    peer_fail(peer_int(request, "id", 0), rc, err.text);
    return;
  }
  cJSON *line = peer_answer(request);
  add_bound(self, line);
  peer_send(line);
}

void peer_totals(peer *self, const cJSON *request) {
  km_endpoint_stats stats = {.size = sizeof stats};
  (void)km_endpoint_get_stats(self->endpoint, &stats);
  cJSON *line = peer_answer(request);
  peer_add_u64(line, "refused", stats.refused);
  peer_add_u64(line, "retries_sent", stats.retries_sent);
  peer_send(line);
}

/* Answered when the endpoint is gone, see main.c. */
void peer_shutdown(peer *self, const cJSON *request) {
  self->shutdown_request = peer_int(request, "id", 0);
  if (self->endpoint)
    km_endpoint_close(self->endpoint);
  else
    self->finished = true;
}
