#include "cmd/relay/config.h"

#include <stdlib.h>
#include <string.h>

#include "cmd/relay/config_access.h"
#include "cmd/cli/file_io.h"
#include "holepunch/stun_server_io.h"

#define DEFAULT_GRACE_MS 3000
#define MAX_MS 3600000
#define MAX_BURST UINT32_MAX

/* --- what iroh-relay knows and we do not ----------------------------------------------------- */

static int refuse_foreign(config_reader *r) {
  bool quic = false, http_only = false;
  int rv = config_bool(r, "enable_quic_addr_discovery", &quic);
  rv = rv != 0 ? rv : config_bool(r, "tls.dangerous_http_only", &http_only);
  if (rv == 0 && quic) {
    return config_bad(
        r, "enable_quic_addr_discovery",
        "km-relay has no QUIC address discovery; set it to false, STUN does the same");
  }
  if (rv == 0 && http_only) {
    return config_bad(r, "tls.dangerous_http_only", "start km-relay with --dev instead");
  }
  return rv;
}

/* Keys that mean nothing here, in files that were written for iroh-relay. */
static int skip_foreign(config_reader *r) {
  static const char *const texts[] = {"tls.quic_bind_addr", "tls.contact"};
  uint64_t number;
  bool yes;
  config_ignore(r, "tls.hostname"); /* a text or a list of texts */
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    const char *text = NULL;
    int rv = config_text(r, texts[i], &text);
    if (rv != 0) {
      return rv;
    }
  }
  int rv = config_bool(r, "tls.prod_tls", &yes);
  return rv != 0 ? rv : config_number(r, "key_cache_capacity", &number, 0, INT64_MAX);
}

/* --- TLS ------------------------------------------------------------------------------------- */

static int read_cert_mode(config_reader *r) {
  const char *mode = "Manual";
  int rv = config_text(r, "tls.cert_mode", &mode);
  if (rv != 0) {
    return rv;
  }
  if (relay_config_of(r)->dev) { /* TLS is off: let be what only a real relay needs */
    return 0;
  }
  if (strcmp(mode, "LetsEncrypt") == 0) {
    return config_bad(
        r, "tls.cert_mode",
        "km-relay fetches no certificates from Let's Encrypt by itself: let certbot do "
        "it, and say \"Manual\" here");
  }
  relay_config_of(r)->reload_daily = strcmp(mode, "Reloading") == 0;
  if (strcmp(mode, "Manual") != 0 && !relay_config_of(r)->reload_daily) {
    return config_bad(r, "tls.cert_mode", "this is \"Manual\" or \"Reloading\"");
  }
  return 0;
}

static int read_tls(config_reader *r) {
  relay_config *c = r->config;
  const char *dir = ".", *cert = NULL, *key = NULL;
  c->enable_tls = toml_has_table(r->toml, "tls") && !c->dev && c->enable_relay;
  int rv = config_table(r, "tls");
  rv = rv != 0 ? rv : config_addrs(r, "tls.https_bind_addr", &c->https);
  rv = rv != 0 ? rv : read_cert_mode(r);
  rv = rv != 0 ? rv : config_text(r, "tls.cert_dir", &dir);
  rv = rv != 0 ? rv : config_text(r, "tls.manual_cert_path", &cert);
  rv = rv != 0 ? rv : config_text(r, "tls.manual_key_path", &key);
  rv = rv != 0 ? rv : config_copy_path(r, &c->cert_file, cert, dir, "default.crt");
  rv = rv != 0 ? rv : config_copy_path(r, &c->key_file, key, dir, "default.key");
  if (rv == 0 && c->enable_tls && file_is_world_readable(c->key_file)) {
    KM_LOG(&c->env->logger, KM_LOG_WARN, KM_LOGC_RELAY, NULL, NULL, "key-readable",
           "the private key %s can be read by everybody: chmod 640", c->key_file);
  }
  return rv;
}

/* --- limits ---------------------------------------------------------------------------------- */

static int read_rate(config_reader *r) {
  km_relay_server_limits *l = &relay_config_of(r)->limits;
  double per_second = -1;
  uint64_t burst = l->accept_burst;
  int rv = config_real(r, "limits.accept_conn_limit", &per_second, 0, 1e6);
  rv = rv != 0 ? rv : config_number(r, "limits.accept_conn_burst", &burst, 1, 1000000);
  if (rv == 0 && per_second >= 0) { /* a relay that takes less than one a second takes one */
    l->accepts_per_second = per_second > 0 && per_second < 1 ? 1 : (uint32_t)per_second;
  }
  l->accept_burst = (uint32_t)burst;
  return rv;
}

static int read_client_rate(config_reader *r) {
  static const char rate[] = "limits.client.rx.bytes_per_second";
  static const char burst[] = "limits.client.rx.max_burst_bytes";
  km_relay_server_limits *l = &relay_config_of(r)->limits;
  int rv = config_table(r, "limits.client");
  rv = rv != 0 ? rv : config_table(r, "limits.client.rx");
  rv = rv != 0 ? rv : config_number(r, rate, &l->rx_bytes_per_second, 1, UINT32_MAX);
  rv = rv != 0 ? rv : config_number(r, burst, &l->rx_burst, 1, MAX_BURST);
  if (rv == 0 && l->rx_burst > 0 && l->rx_bytes_per_second == 0) {
    return config_bad(r, burst, "this needs %s beside it", "bytes_per_second");
  }
  return rv;
}

static int read_limits(config_reader *r) {
  relay_config *c = r->config;
  km_relay_server_limits *l = &c->limits;
  const struct {
    const char *key;
    uint32_t *target;
    uint32_t min, max;
  } numbers[] = {
      {"limits.max_connections", &l->connections, 1, 1000000},
      {"limits.max_connections_per_addr", &l->connections_per_addr, 0, 1000000},
      {"limits.establish_timeout_ms", &l->establish_timeout_ms, 100, MAX_MS},
      {"limits.write_timeout_ms", &l->write_timeout_ms, 100, MAX_MS},
      {"limits.shutdown_grace_ms", &c->grace_ms, 0, MAX_MS},
      {"limits.stun_per_second", &c->stun_per_second, 1, 10000000},
  };
  int rv = config_table(r, "limits");
  for (size_t i = 0; rv == 0 && i < sizeof numbers / sizeof numbers[0]; i++) {
    uint64_t value = *numbers[i].target;
    rv = config_number(r, numbers[i].key, &value, numbers[i].min, numbers[i].max);
    *numbers[i].target = (uint32_t)value;
  }
  rv = rv != 0 ? rv
               : config_number(r, "limits.max_queued_bytes", &l->queued_bytes, 65536, INT64_MAX);
  rv = rv != 0 ? rv
               : config_number(r, "limits.max_partial_bytes", &l->partial_bytes, 65536, INT64_MAX);
  rv = rv != 0 ? rv : read_rate(r);
  return rv != 0 ? rv : read_client_rate(r);
}

/* --- addresses ------------------------------------------------------------------------------- */

/* The same is checked when the server is made; here the line is known, and nothing runs yet. */
static int check_stun_alt(config_reader *r) {
  static const uint8_t any[16] = {0};
  const relay_config *c = r->config;
  for (size_t i = 0; i < c->stun_alt.count; i++) {
    const km_udp_addr *alt = &c->stun_alt.at[i], *with = NULL;
    for (size_t k = 0; with == NULL && k < c->stun.count; k++) {
      with = c->stun.at[k].family == alt->family ? &c->stun.at[k] : NULL;
    }
    if (i >= KM_STUN_SERVER_MAX_ALTERNATES || (i == 1 && alt->family == c->stun_alt.at[0].family)) {
      return config_bad(r, "stun_alt_addr", "there is one alternate address a family");
    }
    if (with == NULL || memcmp(with->ip, any, sizeof any) == 0 ||
        memcmp(alt->ip, any, sizeof any) == 0 || memcmp(with->ip, alt->ip, sizeof any) == 0 ||
        (with->port == alt->port && alt->port != 0)) {
      return config_bad(r, "stun_alt_addr",
                        "it goes with a stun_bind_addr of its family: two addresses of this "
                        "machine, each named in full, with different ports");
    }
  }
  return 0;
}

static int read_binds(config_reader *r) {
  relay_config *c = r->config;
  int rv = config_bool(r, "enable_relay", &c->enable_relay);
  rv = rv != 0 ? rv : config_bool(r, "enable_stun", &c->enable_stun);
  rv = rv != 0 ? rv : config_bool(r, "enable_metrics", &c->enable_metrics);
  rv = rv != 0 ? rv : config_addrs(r, "http_bind_addr", &c->http);
  rv = rv != 0 ? rv : config_addrs(r, "stun_bind_addr", &c->stun);
  rv = rv != 0 ? rv : config_addrs(r, "stun_alt_addr", &c->stun_alt);
  rv = rv != 0 ? rv : check_stun_alt(r);
  rv = rv != 0 ? rv : config_addrs(r, "metrics_bind_addr", &c->metrics);
  if (rv == 0 && c->metrics.count > 1) {
    return config_bad(r, "metrics_bind_addr", "there is one address for metrics");
  }
  return rv;
}

/* Where nothing is said: the addresses of the plain HTTP listener, with a port of their own. */
static void follow(relay_binds *binds, const relay_binds *model, size_t max, uint16_t port) {
  if (binds->count > 0) {
    return;
  }
  binds->count = model->count < max ? model->count : max;
  for (size_t i = 0; i < binds->count; i++) {
    binds->at[i] = model->at[i];
    binds->at[i].port = port;
  }
}

static void fill_binds(relay_config *c) {
  const relay_binds everywhere = {.at = {{.family = 6}}, .count = 1};
  const relay_binds here = {.at = {{.family = 4, .ip = {127, 0, 0, 1}}}, .count = 1};
  follow(&c->http, &everywhere, 1, c->dev ? RELAY_DEV_PORT : RELAY_HTTP_PORT);
  follow(&c->https, &c->http, RELAY_CONFIG_MAX_BINDS, RELAY_HTTPS_PORT);
  follow(&c->stun, &c->http, RELAY_CONFIG_MAX_BINDS, RELAY_STUN_PORT);
  follow(&c->metrics, &here, 1, RELAY_METRICS_PORT); /* says too much for everybody */
}

/* --- the whole ------------------------------------------------------------------------------- */

static int read_all(config_reader *r) {
  relay_config *c = r->config;
  int rv = refuse_foreign(r);
  rv = rv != 0 ? rv : skip_foreign(r);
  rv = rv != 0 ? rv : read_binds(r);
  rv = rv != 0 ? rv : read_tls(r);
  rv = rv != 0 ? rv : read_limits(r);
  rv = rv != 0 ? rv : config_read_access(r);
  rv = rv != 0 ? rv : config_check_unknown(r);
  if (rv == 0 && !c->enable_relay && !c->enable_stun) {
    return config_bad(r, "enable_relay", "with enable_stun off as well nothing is left to do");
  }
  return rv;
}

/* What people may have meant. */
static const char *const known[] = {"enable_relay",
                                    "enable_stun",
                                    "enable_metrics",
                                    "http_bind_addr",
                                    "stun_bind_addr",
                                    "stun_alt_addr",
                                    "metrics_bind_addr",
                                    "tls.https_bind_addr",
                                    "tls.cert_mode",
                                    "tls.cert_dir",
                                    "tls.manual_cert_path",
                                    "tls.manual_key_path",
                                    "limits.accept_conn_limit",
                                    "limits.accept_conn_burst",
                                    "limits.max_connections",
                                    "limits.max_connections_per_addr",
                                    "limits.establish_timeout_ms",
                                    "limits.write_timeout_ms",
                                    "limits.shutdown_grace_ms",
                                    "limits.stun_per_second",
                                    "limits.max_queued_bytes",
                                    "limits.max_partial_bytes",
                                    "limits.client.rx.bytes_per_second",
                                    "limits.client.rx.max_burst_bytes",
                                    "access",
                                    "access.allowlist",
                                    "access.allowlist_file",
                                    "access.denylist",
                                    "access.denylist_file",
                                    "access.shared_token",
                                    "access.shared_token_file",
                                    "access.http.url",
                                    "access.http.bearer_token",
                                    "access.http.bearer_token_file",
                                    "access.http.ca_file",
                                    "access.http.timeout_ms",
                                    NULL};

static int read_file(relay_config *c, const char *path, km_errinfo *err) {
  file_text file;
  toml t;
  const char *slash = strrchr(path, '/');
  const char *name = strlen(path) > 60 && slash != NULL ? slash + 1 : path;
  int rv = file_read(&file, path, "configuration", err);
  if (rv != 0) {
    return rv;
  }
  rv = toml_parse(&t, name, file.bytes, file.len, err);
  if (rv == 0) {
    config_reader r = {.config = c, .toml = &t, .err = err, .program = "km-relay", .known = known};
    rv = read_all(&r);
    if (rv == 0 && r.has_secrets && file.world_readable) {
      KM_LOG(&c->env->logger, KM_LOG_WARN, KM_LOGC_RELAY, NULL, NULL, "config-readable",
             "%s has tokens in it and can be read by everybody: chmod 640, or put them into a file "
             "of their own",
             path);
    }
    toml_free(&t);
  }
  file_free(&file);
  return rv;
}

int relay_config_load(relay_config *ret, const km_env *env, const char *path, bool dev,
                      km_errinfo *err) {
  *ret = (relay_config){.env = env,
                        .dev = dev,
                        .enable_relay = true,
                        .enable_stun = true,
                        .enable_metrics = true,
                        .grace_ms = DEFAULT_GRACE_MS};
  km_relay_access_init(&ret->access, env, KM_RELAY_ACCESS_EVERYONE);
  km_relay_server_limits_default(&ret->limits);
  int rv = path == NULL ? 0 : read_file(ret, path, err);
  fill_binds(ret);
  return rv;
}

void relay_config_free(relay_config *c) {
  if (c->env == NULL) {
    return;
  }
  km_relay_access_clear(&c->access);
  free(c->cert_file);
  free(c->key_file);
  free(c->ask_url);
  free(c->ask_bearer);
  free(c->ask_ca);
  *c = (relay_config){0};
}

/* --- reloading ------------------------------------------------------------------------------- */

static bool same_binds(const relay_binds *a, const relay_binds *b) {
  bool same = a->count == b->count;
  for (size_t i = 0; same && i < a->count; i++) {
    same = km_udp_addr_equal(&a->at[i], &b->at[i]);
  }
  return same;
}

static bool same_text(const char *a, const char *b) {
  return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool same_limits(const km_relay_server_limits *a, const km_relay_server_limits *b) {
  return a->connections == b->connections && a->connections_per_addr == b->connections_per_addr &&
         a->accepts_per_second == b->accepts_per_second && a->accept_burst == b->accept_burst &&
         a->rx_bytes_per_second == b->rx_bytes_per_second && a->rx_burst == b->rx_burst &&
         a->establish_timeout_ms == b->establish_timeout_ms &&
         a->write_timeout_ms == b->write_timeout_ms && a->queued_bytes == b->queued_bytes &&
         a->partial_bytes == b->partial_bytes;
}

const char *relay_config_needs_restart(const relay_config *a, const relay_config *b) {
  const struct {
    bool same;
    const char *key;
  } parts[] = {
      {a->enable_relay == b->enable_relay, "enable_relay"},
      {a->enable_stun == b->enable_stun, "enable_stun"},
      {a->enable_metrics == b->enable_metrics, "enable_metrics"},
      {same_binds(&a->http, &b->http), "http_bind_addr"},
      {same_binds(&a->stun, &b->stun), "stun_bind_addr"},
      {same_binds(&a->stun_alt, &b->stun_alt), "stun_alt_addr"},
      {same_binds(&a->metrics, &b->metrics), "metrics_bind_addr"},
      {a->enable_tls == b->enable_tls, "tls"},
      {!a->enable_tls || same_binds(&a->https, &b->https), "tls.https_bind_addr"},
      {!a->enable_tls || same_text(a->cert_file, b->cert_file), "tls.manual_cert_path"},
      {!a->enable_tls || same_text(a->key_file, b->key_file), "tls.manual_key_path"},
      {a->reload_daily == b->reload_daily, "tls.cert_mode"},
      {same_limits(&a->limits, &b->limits), "limits"},
      {a->stun_per_second == b->stun_per_second, "limits.stun_per_second"},
      {a->grace_ms == b->grace_ms, "limits.shutdown_grace_ms"},
  };
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
    if (!parts[i].same) {
      return parts[i].key;
    }
  }
  return NULL;
}
