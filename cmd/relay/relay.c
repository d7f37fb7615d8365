#include "cmd/relay/relay.h"

#include <string.h>

#include <keymesh/keymesh.h>

#include "cmd/cli/service.h"
#include "cmd/cli/system_io.h"
#include "cmd/relay/admit.h"
#include "cmd/relay/report.h"
#include "holepunch/stun_server_io.h"
#include "relay/metrics_io.h"

#define RELOAD_EVERY_MS (24 * 3600 * 1000ull) /* iroh-relay's DEFAULT_CERT_RELOAD_INTERVAL */
#define OTHER_FILES                                                                                \
  128 /* descriptors that are no connections of the relay: STUN, metrics, asking */

typedef struct relay {
  const cli_output *out;
  const relay_options *options;
  km_env env;
  km_loop *loop;
  relay_config config;
  admit *admit;
  km_relay_server *server;
  km_stun_server *stun;
  km_relay_metrics_server *metrics;
  km_timer *reload_timer;
  uint64_t files;       /* descriptors that we may have */
  uint32_t connections; /* as many as wanted, or as they are enough for */
  cli_service service;
} relay;

#define LOG(r, level, event, ...)                                                                  \
  KM_LOG(&(r)->env.logger, level, KM_LOGC_RELAY, NULL, NULL, event, __VA_ARGS__)

static const char *sentence(const km_errinfo *err) {
  return err->text[0] != '\0' ? err->text : km_strerror(err->code);
}

/* --- reloading ------------------------------------------------------------------------------- */

static bool reload_config(relay *r) {
  relay_config fresh;
  km_errinfo err = {0};
  int rv = relay_config_load(&fresh, &r->env, r->options->config, r->options->dev, &err);
  rv = rv != 0 ? rv : admit_replace(r->admit, &fresh, &err);
  if (rv != 0) {
    LOG(r, KM_LOG_ERROR, "reload-failed", "%s; the old configuration stays", sentence(&err));
  } else {
    const char *key = relay_config_needs_restart(&r->config, &fresh);
    LOG(r, KM_LOG_INFO, "reloaded", "access=%s", relay_access_name(admit_kind(r->admit)));
    if (key != NULL) {
      LOG(r, KM_LOG_WARN, "restart-needed", "%s has changed, which a restart alone brings about",
          key);
    }
  }
  relay_config_free(&fresh);
  return rv == 0;
}

static bool reload_certificate(relay *r) {
  km_errinfo err = {0};
  if (r->server == NULL || !r->config.enable_tls) {
    return false;
  }
  if (km_relay_server_reload(r->server, &err) != 0) {
    LOG(r, KM_LOG_ERROR, "certificate-failed", "%s; the old certificate stays", sentence(&err));
    return false;
  }
  LOG(r, KM_LOG_INFO, "certificate-reloaded", "%s", r->config.cert_file);
  return true;
}

static void on_reload(void *ctx) {
  relay *r = ctx;
  bool configuration = reload_config(r);
  report_reloaded(r->out, configuration, reload_certificate(r));
}

static void on_reload_timer(void *ctx);

static void plan_reload(relay *r) {
  if (km_timer_start(&r->reload_timer, r->loop, RELOAD_EVERY_MS, on_reload_timer, r) != 0) {
    LOG(r, KM_LOG_ERROR, "no-reload-timer", "out of memory: SIGHUP still reloads the certificate");
  }
}

static void on_reload_timer(void *ctx) {
  relay *r = ctx;
  r->reload_timer = NULL;
  (void)reload_certificate(r);
  plan_reload(r);
}

/* --- parts ----------------------------------------------------------------------------------- */

static void fill_metrics(void *ctx, km_relay_metrics *ret) {
  const relay *r = ctx;
  ret->has_relay = r->server != NULL;
  ret->has_stun = r->stun != NULL;
  if (r->server != NULL) {
    km_relay_server_get_stats(r->server, &ret->relay);
  }
  if (r->stun != NULL) {
    ret->stun = *km_stun_server_get_stats(r->stun);
  }
  const km_relay_asker_stats *asked = admit_asker_stats(r->admit);
  ret->has_asker = asked != NULL;
  if (asked != NULL) {
    ret->asker = *asked;
  }
}

static int start_server(relay *r, km_errinfo *err) {
  const relay_config *c = &r->config;
  km_relay_server_config config = {
      .env = &r->env,
      .loop = r->loop,
      .http = c->http.at,
      .http_count = c->http.count,
      .https = c->https.at,
      .https_count = c->enable_tls ? c->https.count : 0,
      .cert_file = c->cert_file,
      .key_file = c->key_file,
      .relay_over_http = !c->enable_tls,
      .limits = c->limits,
      .version = km_version(),
      .authorize = admit_authorize,
      .ctx = r->admit,
  };
  config.limits.connections = r->connections;
  return c->enable_relay ? km_relay_server_new(&r->server, &config, err) : 0;
}

static int start_stun(relay *r, km_errinfo *err) {
  const relay_config *c = &r->config;
  km_stun_server_config config = {.env = &r->env,
                                  .loop = r->loop,
                                  .bind_count = c->stun.count,
                                  .alternate_count = c->stun_alt.count,
                                  .max_per_second = c->stun_per_second};
  memcpy(config.binds, c->stun.at, sizeof config.binds);
  memcpy(config.alternates, c->stun_alt.at, sizeof config.alternates);
  return c->enable_stun ? km_stun_server_new(&r->stun, &config, err) : 0;
}

static int start_metrics(relay *r, km_errinfo *err) {
  const relay_config *c = &r->config;
  const km_relay_metrics_config config = {.env = &r->env,
                                          .loop = r->loop,
                                          .bind = c->metrics.at[0],
                                          .version = km_version(),
                                          .fill = fill_metrics,
                                          .ctx = r};
  return c->enable_metrics ? km_relay_metrics_server_new(&r->metrics, &config, err) : 0;
}

/* For development the relay itself is what counts. */
static int forgive(const relay *r, int rv, const km_errinfo *err) {
  if (rv == 0 || !r->config.dev) {
    return rv;
  }
  LOG(r, KM_LOG_WARN, "left-out", "%s; going on without it", sentence(err));
  return 0;
}

/* Connections that there are no descriptors for would be accepted, and fail. */
static void fit_limits(relay *r) {
  uint32_t wanted = r->config.limits.connections;
  r->files = system_raise_nofile((uint64_t)wanted + OTHER_FILES);
  uint64_t room = r->files > 2 * OTHER_FILES ? r->files - OTHER_FILES : r->files / 2;
  r->connections = wanted > room ? (uint32_t)room : wanted;
}

static void tell_limits(const relay *r) {
  if (r->connections != r->config.limits.connections) {
    LOG(r, KM_LOG_WARN, "few-descriptors",
        "the system allows %llu open files (LimitNOFILE=, ulimit -n): %u connections instead of %u",
        (unsigned long long)r->files, r->connections, r->config.limits.connections);
  }
}

static int start(relay *r, km_errinfo *err) {
  int rv = relay_config_load(&r->config, &r->env, r->options->config, r->options->dev, err);
  if (rv != 0) {
    return rv;
  }
  fit_limits(r);
  rv = km_loop_new(&r->loop);
  rv = rv != 0 ? km_fail(err, rv, NULL) : admit_new(&r->admit, r->loop, &r->config, err);
  rv = rv != 0 ? rv : start_server(r, err);
  rv = rv != 0 ? rv : forgive(r, start_stun(r, err), err);
  return rv != 0 ? rv : forgive(r, start_metrics(r, err), err);
}

static void stop_parts(relay *r) {
  km_timer_cancel(r->reload_timer);
  cli_service_end(&r->service);
  km_relay_metrics_server_free(r->metrics);
  km_stun_server_free(r->stun);
  km_relay_server_free(r->server);
  admit_free(r->admit);
  if (r->loop != NULL) {
    (void)km_loop_free(r->loop);
  }
  relay_config_free(&r->config);
}

/* --- ready ----------------------------------------------------------------------------------- */

static void split_bound(const relay *r, report_ready_info *ret) {
  km_udp_addr at[2 * KM_RELAY_SERVER_MAX_BINDS];
  size_t count =
      r->server == NULL ? 0 : km_relay_server_bound(r->server, at, sizeof at / sizeof at[0]);
  for (size_t i = 0; i < count; i++) {
    relay_binds *to = i < r->config.http.count ? &ret->http : &ret->https;
    to->at[to->count++] = at[i];
  }
}

static void tell_ready(const relay *r) {
  report_ready_info info = {.dev = r->config.dev,
                            .access = relay_access_name(admit_kind(r->admit))};
  split_bound(r, &info);
  for (size_t i = 0; r->stun != NULL && i < r->config.stun.count; i++) {
    info.stun.at[info.stun.count++] = *km_stun_server_bound(r->stun, i);
  }
  for (size_t i = 0; r->stun != NULL && i < r->config.stun_alt.count; i++) {
    info.stun_alt.at[info.stun_alt.count++] = *km_stun_server_alternate(r->stun, i);
  }
  if (r->metrics != NULL) {
    info.metrics.at[info.metrics.count++] = *km_relay_metrics_server_bound(r->metrics);
  }
  tell_limits(r);
  report_ready(r->out, &info);
  cli_service_ready();
}

/* --- signals --------------------------------------------------------------------------------- */

static void on_stopped(void *ctx) {
  relay *r = ctx;
  km_loop_stop(r->loop);
}

static void on_stop(void *ctx) {
  relay *r = ctx;
  report_stopping(r->out);
  if (r->server == NULL) {
    on_stopped(r);
  } else {
    km_relay_server_shutdown(r->server, r->config.grace_ms, on_stopped, r);
  }
}

/* --- the program ----------------------------------------------------------------------------- */

static int fail(const relay *r, const km_errinfo *err) {
  bool system = err->code == KM_ERR_NOMEM || err->code == KM_ERR_SYSTEM;
  return cli_error(r->out, system ? CLI_EXIT_FAILED : CLI_EXIT_USAGE, err);
}

int relay_run(const cli_output *out, const relay_options *o) {
  relay r = {.out = out, .options = o, .env = km_env_system};
  km_errinfo err = {0};
  int status = CLI_EXIT_OK;
  r.env.logger = o->logger;
  int rv = start(&r, &err);
  if (rv == 0) {
    r.service =
        (cli_service){.loop = r.loop, .on_stop = on_stop, .on_reload = on_reload, .ctx = &r};
    rv = cli_service_start(&r.service, &err);
  }
  if (rv != 0) {
    status = fail(&r, &err);
  } else {
    if (r.config.enable_tls && r.config.reload_daily) {
      plan_reload(&r);
    }
    tell_ready(&r);
    (void)km_loop_run(r.loop);
  }
  stop_parts(&r);
  return status;
}

/* The certificate is tried by a server that nobody finds. */
static int try_certificate(relay *r, km_errinfo *err) {
  const km_udp_addr nowhere = {.family = 4, .ip = {127, 0, 0, 1}};
  r->connections = 1;
  r->config.http.count = 0;
  r->config.https = (relay_binds){.at = {nowhere}, .count = 1};
  return r->config.enable_tls ? start_server(r, err) : 0;
}

int relay_check(const cli_output *out, const relay_options *o) {
  relay r = {.out = out, .options = o, .env = km_env_system};
  km_errinfo err = {0};
  int status = CLI_EXIT_OK;
  r.env.logger = o->logger;
  int rv = relay_config_load(&r.config, &r.env, o->config, o->dev, &err);
  if (rv == 0) {
    rv = km_loop_new(&r.loop);
    rv = rv != 0 ? km_fail(&err, rv, NULL) : admit_new(&r.admit, r.loop, &r.config, &err);
    rv = rv != 0 ? rv : try_certificate(&r, &err);
  }
  if (rv != 0) {
    status = fail(&r, &err);
  } else {
    cJSON *event = cli_event(out, "checked");
    cli_add_text(event, "access", relay_access_name(admit_kind(r.admit)));
    cli_emit(event);
    cli_say(out, "%s is good", o->config == NULL ? "the built-in configuration" : o->config);
  }
  stop_parts(&r);
  return status;
}
