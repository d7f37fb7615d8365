/* What a discovery server is told to be: a TOML file. Reads it, and changes nothing. */
#ifndef KM_CMD_DNS_CONFIG_H
#define KM_CMD_DNS_CONFIG_H

#include "cmd/cli/config_read.h"
#include "discovery/server/server.h"

/* Ports of iroh-dns-server, in its config.dev.toml and src/config.rs. */
#define DNS_DEV_HTTP_PORT 8080
#define DNS_DEV_DNS_PORT 5300
#define DNS_METRICS_PORT 9117

#define DNS_STORE_PATH "/var/lib/km-dns/packets.db"

typedef struct dns_config {
  const km_env *env;
  bool dev;
  char *text; /* the file as it was read; NULL: none */
  bool enable_dns, enable_http, enable_https, enable_metrics;
  config_binds dns, http, https, metrics; /* metrics: one */
  /* Everything else; pointers in it are to the members below, and addresses are not set. */
  km_dns_server_config server;
  char *cert_file, *key_file, *store_path, *mname, *rname, *log;
  char **origins;
  size_t origin_count;
  char **record_texts; /* what `records` points into */
  km_dns_server_record *records;
  size_t record_count;
  km_errinfo zone_advice; /* no text: the zone is whole */
  uint32_t grace_ms;      /* for requests to end */
} dns_config;

/* `path` NULL: the defaults, for --dev alone. 0, or a negative KM_ERR_* with a sentence that names
 * file and line. Free it in either case. */
KM_NODISCARD int dns_config_load(dns_config *ret, const km_env *env, const char *path, bool dev,
                                 km_errinfo *err);
void dns_config_free(dns_config *c);

#endif /* KM_CMD_DNS_CONFIG_H */
