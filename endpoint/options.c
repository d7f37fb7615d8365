#include "endpoint/options.h"

#include <string.h>

#include "base/env.h"
#include "relay/url.h"

void km_endpoint_options_default(km_endpoint_options *options) {
  *options = (km_endpoint_options){
      .size = sizeof *options,
      .relay_mode = KM_RELAY_MODE_DIAL_ONLY,
      .relay_check_ms = 1000,
      .path_policy = KM_POLICY_PREFER_DIRECT,
      .direct_within_ms = 10000,
      .port_mapping = true,
      .network_monitor = true,
      .publish = true,
      .congestion = KM_CC_CUBIC,
      .ecn = true,
      .pmtud = true,
      .gso = true,
      .early_data = true,
      .idle_timeout_ms = 30000,
      .keep_alive_ms = 5000,
      .handshake_timeout_ms = 30000,
      .max_streams_bidi = 100,
      .max_streams_uni = 100,
      .stream_window = 1250000, /* iroh's */
      .connection_window = 8u << 20,
      .send_buffer = 1u << 20,
      .datagram_queue = 256,
      .max_udp_payload = 1452, /* 1,500 less IPv6 and UDP headers */
      .max_connections = 65536,
      .max_half_open = 1024,
      .max_half_open_per_addr = 64,
      .retry_threshold = 128,
  };
  memset(options->log_filter.level, KM_LOG_INFO, sizeof options->log_filter.level);
}

typedef struct bound {
  const char *name;
  uint32_t value, min, max;
} bound;

static int check_bounds(const km_endpoint_options *o, km_errinfo *err) {
  const bound bounds[] = {
      {"relay_check_ms", o->relay_check_ms, 200, 60000},
      {"direct_within_ms", o->direct_within_ms, 1, 600000},
      {"idle_timeout_ms", o->idle_timeout_ms, 1, 600000},
      {"keep_alive_ms", o->keep_alive_ms, 0, 600000},
      {"handshake_timeout_ms", o->handshake_timeout_ms, 100, 600000},
      {"max_streams_bidi", o->max_streams_bidi, 0, 65536},
      {"max_streams_uni", o->max_streams_uni, 0, 65536},
      {"stream_window", o->stream_window, 1024, 8u << 20},
      {"connection_window", o->connection_window, 1024, 64u << 20},
      {"send_buffer", o->send_buffer, 4096, 8u << 20},
      {"datagram_queue", o->datagram_queue, 1, 65536},
      {"max_udp_payload", o->max_udp_payload, 1200, 65527},
      {"max_connections", o->max_connections, 1, 1u << 20},
      {"max_half_open", o->max_half_open, 1, 1u << 20},
      {"max_half_open_per_addr", o->max_half_open_per_addr, 1, 1u << 20},
      {"retry_threshold", o->retry_threshold, 0, 1u << 20},
  };
  for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
    const bound *b = &bounds[i];
    if (b->value < b->min || b->value > b->max) {
      return km_fail(err, KM_ERR_INVALID, "option %s is %u, allowed are %u to %u", b->name,
                     b->value, b->min, b->max);
    }
  }
  return 0;
}

static int check_relays(const km_endpoint_options *o, km_errinfo *err) {
  if (o->relay_mode < KM_RELAY_MODE_DISABLED || o->relay_mode > KM_RELAY_MODE_DIAL_ONLY) {
    return km_fail(err, KM_ERR_INVALID, "option relay_mode is not one of km_relay_mode");
  }
  if (o->relay_token != NULL && !km_relay_token_is_valid(o->relay_token)) {
    return km_fail(err, KM_ERR_INVALID,
                   "option relay_token: a relay's token is 1 to %d visible ASCII characters",
                   KM_RELAY_TOKEN_MAX);
  }
  if (o->relay_mode != KM_RELAY_MODE_CUSTOM) {
    return 0;
  }
  if (o->relay_url_count == 0 || o->relay_url_count > KM_ADDR_MAX_RELAYS || o->relay_urls == NULL) {
    return km_fail(err, KM_ERR_INVALID, "relay_mode is custom: give 1 to %d relay_urls",
                   KM_ADDR_MAX_RELAYS);
  }
  const km_id nobody = {{0}};
  km_addr *scratch;
  int rv = km_addr_new(&scratch, &nobody);
  for (size_t i = 0; rv == 0 && i < o->relay_url_count; i++) {
    const char *url = o->relay_urls[i];
    rv = url == NULL ? km_fail(err, KM_ERR_INVALID, "relay_urls[%zu] is NULL", i)
                     : km_addr_add_relay(scratch, url, strlen(url), err);
  }
  km_addr_free(scratch);
  return rv;
}

static int check_bind(const km_endpoint_options *o, km_errinfo *err) {
  if (o->bind_count > KM_ENDPOINT_MAX_SOCKETS || (o->bind_count > 0 && o->bind == NULL)) {
    return km_fail(err, KM_ERR_INVALID, "option bind: give at most %d addresses",
                   KM_ENDPOINT_MAX_SOCKETS);
  }
  for (size_t i = 0; i < o->bind_count; i++) {
    if (o->bind[i].family != 4 && o->bind[i].family != 6) {
      return km_fail(err, KM_ERR_INVALID, "option bind[%zu] is neither IPv4 nor IPv6", i);
    }
  }
  return 0;
}

int km_options_take(km_endpoint_options *ret, const km_endpoint_options *from, km_errinfo *err) {
  km_endpoint_options_default(ret);
  if (from == NULL) {
    return 0;
  }
  if (from->size < offsetof(km_endpoint_options, callbacks) || from->size > 65536) {
    return km_fail(err, KM_ERR_INVALID,
                   "options.size is %zu: fill the options with km_endpoint_options_default",
                   from->size);
  }
  memcpy(ret, from, from->size < sizeof *ret ? from->size : sizeof *ret);
  ret->size = sizeof *ret;
  if (ret->congestion < KM_CC_CUBIC || ret->congestion > KM_CC_RENO) {
    return km_fail(err, KM_ERR_INVALID, "option congestion is not one of km_congestion");
  }
  if (ret->path_policy < KM_POLICY_DEFAULT || ret->path_policy > KM_POLICY_RELAY_ONLY) {
    return km_fail(err, KM_ERR_INVALID, "option path_policy is not one of km_path_policy");
  }
  if (ret->path_policy == KM_POLICY_DEFAULT) {
    ret->path_policy = KM_POLICY_PREFER_DIRECT;
  }
  int rv = check_bounds(ret, err);
  if (rv == 0) {
    rv = check_relays(ret, err);
  }
  if (rv == 0 && ret->stun_server_count > 0 && ret->stun_servers == NULL) {
    rv = km_fail(err, KM_ERR_INVALID, "option stun_servers is NULL, but their count is not 0");
  }
  return rv != 0 ? rv : check_bind(ret, err);
}
