/* What a relay is told to be: a TOML file with iroh-relay's keys (iroh-relay/src/main.rs), some of
 * our own, and a few environment variables. Reads the files that the configuration names, and
 * changes nothing. */
#ifndef KM_CMD_RELAY_CONFIG_H
#define KM_CMD_RELAY_CONFIG_H

#include <keymesh/addr.h>

#include "cmd/cli/config_read.h"
#include "relay/access.h"
#include "relay/server.h"

/* Ports of iroh-relay/src/defaults.rs, and of --dev in its main.rs. */
#define RELAY_DEV_PORT 3340
#define RELAY_HTTP_PORT 80
#define RELAY_HTTPS_PORT 443
#define RELAY_METRICS_PORT 9090
#define RELAY_STUN_PORT 3478

#define RELAY_CONFIG_MAX_BINDS CONFIG_MAX_BINDS

typedef config_binds relay_binds;

typedef struct relay_config {
  const km_env *env;
  bool dev;
  bool enable_relay, enable_stun, enable_metrics, enable_tls;
  relay_binds http, https, stun, metrics; /* metrics: one */
  relay_binds stun_alt;                   /* RFC 5780; none, or one a family */
  char *cert_file, *key_file;             /* with enable_tls */
  bool reload_daily;                      /* cert_mode "Reloading" */
  km_relay_server_limits limits;
  uint32_t stun_per_second;
  uint32_t grace_ms; /* for clients to leave at the end */
  km_relay_access access;
  char *ask_url, *ask_bearer, *ask_ca; /* KM_RELAY_ACCESS_HTTP; the last two may be NULL */
  uint32_t ask_timeout_ms;
} relay_config;

/* Variables that go before the file, as in iroh-relay: for access.shared_token, and for
 * access.http.bearer_token. */
#define RELAY_ENV_ACCESS_TOKEN "IROH_RELAY_ACCESS_TOKEN"
#define RELAY_ENV_BEARER_TOKEN "IROH_RELAY_HTTP_BEARER_TOKEN"

/* `path` NULL: the defaults. 0, or a negative KM_ERR_* with a sentence that names file and line.
 * What is odd but works is logged to env->logger. Free it in either case. */
KM_NODISCARD int relay_config_load(relay_config *ret, const km_env *env, const char *path, bool dev,
                                   km_errinfo *err);
void relay_config_free(relay_config *c);

/* The first key that differs and that a running relay cannot change; NULL: there is none. */
const char *relay_config_needs_restart(const relay_config *running, const relay_config *fresh);

/* "everyone", "allowlist", ... */
const char *relay_access_name(km_relay_access_kind kind);

#endif /* KM_CMD_RELAY_CONFIG_H */
