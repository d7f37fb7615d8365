#include "cmd/dns/config.h"

#include <stdlib.h>
#include <string.h>

#include "cmd/cli/file_io.h"
#include "cmd/dns/config_zone.h"

#define DEFAULT_GRACE_MS 3000
#define MAX_MS 3600000

/* --- listeners ------------------------------------------------------------------------------- */

static int read_binds(config_reader *r) {
  dns_config *c = dns_config_of(r);
  int rv = config_table(r, "dns");
  rv = rv != 0 ? rv : config_table(r, "http");
  rv = rv != 0 ? rv : config_table(r, "https");
  rv = rv != 0 ? rv : config_table(r, "metrics");
  rv = rv != 0 ? rv : config_addrs(r, "dns.bind", &c->dns);
  rv = rv != 0 ? rv : config_addrs(r, "http.bind", &c->http);
  rv = rv != 0 ? rv : config_addrs(r, "https.bind", &c->https);
  rv = rv != 0 ? rv : config_addrs(r, "metrics.bind", &c->metrics);
  rv = rv != 0 ? rv : config_bool(r, "dns.enable", &c->enable_dns);
  rv = rv != 0 ? rv : config_bool(r, "metrics.enable", &c->enable_metrics);
  if (rv == 0 && c->metrics.count > 1) {
    return config_bad(r, "metrics.bind", "there is one address for metrics");
  }
  c->enable_https = toml_has_table(r->toml, "https");
  c->enable_http = !c->enable_https || toml_has_table(r->toml, "http");
  return rv;
}

static int copy_text(config_reader *r, const char *key, char **ret) {
  const char *text = NULL;
  int rv = config_text(r, key, &text);
  if (rv == 0 && text != NULL) {
    *ret = strdup(text);
    rv = *ret == NULL ? km_fail(r->err, KM_ERR_NOMEM, NULL) : 0;
  }
  return rv;
}

static int read_tls(config_reader *r) {
  dns_config *c = dns_config_of(r);
  int rv = copy_text(r, "https.cert_file", &c->cert_file);
  rv = rv != 0 ? rv : copy_text(r, "https.key_file", &c->key_file);
  if (rv == 0 && c->enable_https && (c->cert_file == NULL || c->key_file == NULL)) {
    return config_bad(r, c->cert_file == NULL ? "https.cert_file" : "https.key_file",
                      "HTTPS needs the PEM files of a certificate and of its key");
  }
  if (rv == 0 && c->enable_https && file_is_world_readable(c->key_file)) {
    KM_LOG(&c->env->logger, KM_LOG_WARN, KM_LOGC_DISCOVERY, NULL, NULL, "key-readable",
           "the private key %s can be read by everybody: chmod 640", c->key_file);
  }
  return rv;
}

/* Where nothing is said. */
static void fill_binds(dns_config *c) {
  const km_udp_addr everywhere = {.family = 6}, here = {.family = 4, .ip = {127, 0, 0, 1}};
  const km_udp_addr *where = c->dev ? &here : &everywhere;
  const struct {
    config_binds *binds;
    const km_udp_addr *at;
    uint16_t port;
  } table[] = {
      {&c->dns, where, c->dev ? DNS_DEV_DNS_PORT : 53},
      {&c->http, where, c->dev ? DNS_DEV_HTTP_PORT : 80},
      {&c->https, where, c->dev ? 8443 : 443},
      {&c->metrics, &here, DNS_METRICS_PORT}, /* says too much for everybody */
  };
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
    if (table[i].binds->count == 0) {
      table[i].binds->at[0] = *table[i].at;
      table[i].binds->at[0].port = table[i].port;
      table[i].binds->count = 1;
    }
  }
}

/* --- store and limits ------------------------------------------------------------------------ */

static int read_numbers(config_reader *r) {
  dns_config *c = dns_config_of(r);
  km_dns_server_config *s = &c->server;
  const struct {
    const char *key;
    uint32_t *target;
    uint32_t min, max;
  } numbers[] = {
      {"dns.negative_ttl_s", &s->negative_ttl_s, 0, 86400},
      {"store.max_age_s", &s->store.max_age_s, 0, UINT32_MAX},
      {"limits.dns_per_second", &s->dns_per_second, 0, 10000000},
      {"limits.dns_burst", &s->dns_burst, 1, 10000000},
      {"limits.http_per_second", &s->http_per_second, 0, 10000000},
      {"limits.http_burst", &s->http_burst, 1, 10000000},
      {"limits.put_per_minute", &s->put_per_minute, 0, 10000000},
      {"limits.put_burst", &s->put_burst, 1, 10000000},
      {"limits.max_http_connections", &s->max_http, 1, 1000000},
      {"limits.max_http_connections_per_addr", &s->max_http_per_addr, 0, 1000000},
      {"limits.request_timeout_ms", &s->request_timeout_ms, 100, MAX_MS},
      {"limits.max_tcp_connections", &s->max_tcp, 1, 1000000},
      {"limits.max_tcp_connections_per_addr", &s->max_tcp_per_addr, 1, 1000000},
      {"limits.tcp_idle_ms", &s->tcp_idle_ms, 100, MAX_MS},
      {"limits.shutdown_grace_ms", &c->grace_ms, 0, MAX_MS},
  };
  int rv = config_table(r, "limits");
  for (size_t i = 0; rv == 0 && i < sizeof numbers / sizeof numbers[0]; i++) {
    uint64_t value = *numbers[i].target;
    rv = config_number(r, numbers[i].key, &value, numbers[i].min, numbers[i].max);
    *numbers[i].target = (uint32_t)value;
  }
  return rv;
}

static int read_client(config_reader *r) {
  const char *client = "peer";
  int rv = config_text(r, "limits.client", &client);
  bool forwarded = strcmp(client, "forwarded") == 0;
  if (rv == 0 && !forwarded && strcmp(client, "peer") != 0) {
    return config_bad(r, "limits.client",
                      "this is \"peer\", or \"forwarded\" behind a proxy of your own");
  }
  dns_config_of(r)->server.client = forwarded ? KM_DNS_SERVER_FORWARDED : KM_DNS_SERVER_PEER;
  return rv;
}

static int read_store(config_reader *r) {
  dns_config *c = dns_config_of(r);
  km_packet_store_config *s = &c->server.store;
  bool memory = c->dev;
  uint64_t packets = s->max_packets, bytes = s->cache_bytes;
  int rv = config_table(r, "store");
  rv = rv != 0 ? rv : copy_text(r, "store.path", &c->store_path);
  rv = rv != 0 ? rv : config_bool(r, "store.memory", &memory);
  rv = rv != 0 ? rv : config_bool(r, "store.full_sync", &s->full_sync);
  rv = rv != 0 ? rv : config_number(r, "store.max_packets", &packets, 0, 1000000000);
  rv = rv != 0 ? rv : config_number(r, "store.cache_bytes", &bytes, 65536, INT64_MAX);
  if (rv != 0) {
    return rv;
  }
  s->max_packets = (size_t)packets;
  s->cache_bytes = (size_t)bytes;
  if (c->store_path != NULL && memory && !c->dev) {
    return config_bad(r, "store.memory", "either in memory, or at a path");
  }
  if (c->store_path == NULL && !memory) {
    c->store_path = strdup(DNS_STORE_PATH);
    return c->store_path == NULL ? km_fail(r->err, KM_ERR_NOMEM, NULL) : 0;
  }
  return 0;
}

/* --- the whole ------------------------------------------------------------------------------- */

static const char *const known[] = {"origins",
                                    "records",
                                    "log",
                                    "dns.enable",
                                    "dns.bind",
                                    "dns.soa_mname",
                                    "dns.soa_rname",
                                    "dns.negative_ttl_s",
                                    "http.bind",
                                    "https.bind",
                                    "https.cert_file",
                                    "https.key_file",
                                    "store.path",
                                    "store.memory",
                                    "store.full_sync",
                                    "store.max_packets",
                                    "store.max_age_s",
                                    "store.cache_bytes",
                                    "limits.client",
                                    "limits.dns_per_second",
                                    "limits.dns_burst",
                                    "limits.http_per_second",
                                    "limits.http_burst",
                                    "limits.put_per_minute",
                                    "limits.put_burst",
                                    "limits.max_http_connections",
                                    "limits.max_http_connections_per_addr",
                                    "limits.request_timeout_ms",
                                    "limits.max_tcp_connections",
                                    "limits.max_tcp_connections_per_addr",
                                    "limits.tcp_idle_ms",
                                    "limits.shutdown_grace_ms",
                                    "metrics.enable",
                                    "metrics.bind",
                                    NULL};

static int read_log(config_reader *r) {
  dns_config *c = dns_config_of(r);
  km_log_filter filter;
  km_errinfo why = {0};
  int rv = copy_text(r, "log", &c->log);
  if (rv == 0 && c->log != NULL && km_log_filter_parse(&filter, c->log, &why) != 0) {
    return config_bad(r, "log", "%s", why.text);
  }
  return rv;
}

static int read_all(config_reader *r) {
  static const char *const later[] = {"origins", "records", "https.cert_file", "https.key_file"};
  dns_config *c = dns_config_of(r);
  int rv = read_binds(r);
  rv = rv != 0 ? rv : copy_text(r, "dns.soa_mname", &c->mname);
  rv = rv != 0 ? rv : copy_text(r, "dns.soa_rname", &c->rname);
  rv = rv != 0 ? rv : read_numbers(r);
  rv = rv != 0 ? rv : read_client(r);
  rv = rv != 0 ? rv : read_store(r);
  rv = rv != 0 ? rv : read_log(r);
  /* A key that was mistyped is a nearer reason than that it is missing. */
  for (size_t i = 0; i < sizeof later / sizeof later[0]; i++) {
    config_ignore(r, later[i]);
  }
  rv = rv != 0 ? rv : config_check_unknown(r);
  rv = rv != 0 ? rv : config_read_zone(r);
  return rv != 0 ? rv : read_tls(r);
}

static int read_file(dns_config *c, const char *path, km_errinfo *err) {
  file_text file;
  toml t;
  const char *slash = strrchr(path, '/');
  const char *name = strlen(path) > 60 && slash != NULL ? slash + 1 : path;
  int rv = file_read(&file, path, "configuration", err);
  if (rv != 0) {
    return rv;
  }
  c->text = strdup(file.bytes);
  rv = toml_parse(&t, name, file.bytes, file.len, err);
  if (rv == 0) {
    config_reader r = {.config = c, .toml = &t, .err = err, .program = "km-dns", .known = known};
    rv = read_all(&r);
    toml_free(&t);
  }
  file_free(&file);
  return rv;
}

/* Limits are for strangers: on one's own machine they would only be in the way of tests. */
static void lift_limits(km_dns_server_config *s) {
  s->dns_per_second = s->http_per_second = s->put_per_minute = 0;
  s->max_http_per_addr = 0;
  s->max_http = 1000; /* ulimit -n is low where people try things out */
  s->max_tcp = s->max_tcp_per_addr = 200;
}

int dns_config_load(dns_config *ret, const km_env *env, const char *path, bool dev,
                    km_errinfo *err) {
  *ret = (dns_config){.env = env,
                      .dev = dev,
                      .enable_dns = true,
                      .enable_http = true,
                      .enable_metrics = true,
                      .grace_ms = DEFAULT_GRACE_MS};
  km_dns_server_config_default(&ret->server);
  if (dev) {
    lift_limits(&ret->server);
  }
  int rv = path != NULL ? read_file(ret, path, err) : 0;
  if (path == NULL && config_dev_zone(ret) != 0) {
    rv = km_fail(err, KM_ERR_NOMEM, NULL);
  }
  fill_binds(ret);
  ret->server.cert_file = ret->cert_file;
  ret->server.key_file = ret->key_file;
  ret->server.soa_mname = ret->mname;
  ret->server.soa_rname = ret->rname;
  ret->server.store.path = ret->store_path;
  return rv;
}

static void free_list(char **list, size_t count) {
  for (size_t i = 0; list != NULL && i < count; i++) {
    free(list[i]);
  }
  free(list);
}

void dns_config_free(dns_config *c) {
  free_list(c->origins, c->origin_count);
  free_list(c->record_texts, c->record_count);
  free(c->records);
  free(c->text);
  free(c->cert_file);
  free(c->key_file);
  free(c->store_path);
  free(c->mname);
  free(c->rname);
  free(c->log);
  *c = (dns_config){0};
}
