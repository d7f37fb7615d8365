#include "cmd/dns/dns.h"

#include <string.h>

#include <keymesh/keymesh.h>

#include "base/io/metrics_page_io.h"
#include "cmd/cli/file_io.h"
#include "cmd/cli/service.h"
#include "cmd/cli/system_io.h"
#include "cmd/dns/config.h"
#include "cmd/dns/report.h"
#include "discovery/server/metrics.h"

#define EXIT_STORE 3    /* to start again does not help */
#define OTHER_FILES 160 /* descriptors that are no connections: database, listeners, metrics */

typedef struct dns {
  const cli_output *out;
  const dns_options *options;
  km_env env;
  km_loop *loop;
  dns_config config;
  km_dns_server *server;
  km_metrics_page *metrics;
  uint64_t files; /* descriptors that we may have */
  cli_service service;
} dns;

#define LOG(d, level, event, ...)                                                                  \
  KM_LOG(&(d)->env.logger, level, KM_LOGC_DISCOVERY, NULL, NULL, event, __VA_ARGS__)

static const char *sentence(const km_errinfo *err) {
  return err->text[0] != '\0' ? err->text : km_strerror(err->code);
}

/* --- reloading ------------------------------------------------------------------------------- */

static bool reload_certificate(dns *d) {
  km_errinfo err = {0};
  if (!d->config.enable_https) {
    return false;
  }
  if (km_dns_server_reload(d->server, &err) != 0) {
    LOG(d, KM_LOG_ERROR, "certificate-failed", "%s; the old certificate stays", sentence(&err));
    return false;
  }
  LOG(d, KM_LOG_INFO, "certificate-reloaded", "%s", d->config.cert_file);
  return true;
}

/* Nobody should believe that a changed file is in force. */
static void look_at_config(dns *d) {
  dns_config fresh;
  km_errinfo err = {0};
  if (d->options->config == NULL) {
    return;
  }
  if (dns_config_load(&fresh, &d->env, d->options->config, d->options->dev, &err) != 0) {
    LOG(d, KM_LOG_ERROR, "reload-failed", "%s; the old configuration stays", sentence(&err));
  } else if (d->config.text != NULL && strcmp(fresh.text, d->config.text) != 0) {
    LOG(d, KM_LOG_WARN, "restart-needed", "%s has changed, which a restart alone brings about",
        d->options->config);
  }
  dns_config_free(&fresh);
}

static void on_reload(void *ctx) {
  dns *d = ctx;
  look_at_config(d);
  report_reloaded(d->out, reload_certificate(d));
}

/* --- parts ----------------------------------------------------------------------------------- */

static int write_metrics(void *ctx, char *ret, size_t cap) {
  const dns *d = ctx;
  km_dns_metrics m = {.version = km_version()};
  km_dns_server_get_stats(d->server, &m.server);
  km_process_stats_read(&m.process);
  return km_dns_metrics_write(ret, cap, &m);
}

static int load(dns *d, km_errinfo *err) {
  if (d->options->config == NULL && !d->options->dev) {
    return km_fail(err, KM_ERR_INVALID,
                   "give --config FILE, or --dev to try it out; see km-dns --help");
  }
  int rv = dns_config_load(&d->config, &d->env, d->options->config, d->options->dev, err);
  if (rv == 0 && d->config.log != NULL && !d->options->log_given) {
    rv = km_log_filter_parse(&d->env.logger.filter, d->config.log, err);
  }
  const km_errinfo *advice = &d->config.zone_advice;
  if (rv == 0 && advice->text[0] != '\0' && d->config.enable_dns && !d->config.dev) {
    LOG(d, KM_LOG_WARN, "no-name-server", "%s", advice->text);
  }
  return rv;
}

static int start_server(dns *d, km_errinfo *err) {
  const dns_config *c = &d->config;
  km_dns_server_config config = c->server;
  config.env = &d->env;
  config.loop = d->loop;
  config.version = km_version();
  config.dns = c->dns.at;
  config.http = c->http.at;
  config.https = c->https.at;
  config.dns_count = c->enable_dns ? c->dns.count : 0;
  config.http_count = c->enable_http ? c->http.count : 0;
  config.https_count = c->enable_https ? c->https.count : 0;
  return km_dns_server_new(&d->server, &config, err);
}

static int start_metrics(dns *d, km_errinfo *err) {
  const km_metrics_page_config config = {.env = &d->env,
                                         .loop = d->loop,
                                         .bind = d->config.metrics.at[0],
                                         .write = write_metrics,
                                         .ctx = d};
  int rv = d->config.enable_metrics ? km_metrics_page_new(&d->metrics, &config, err) : 0;
  if (rv != 0 && d->config.dev) { /* the server itself is what counts */
    LOG(d, KM_LOG_WARN, "left-out", "%s; going on without it", sentence(err));
    return 0;
  }
  return rv;
}

static uint64_t wanted_files(const dns *d) {
  return (uint64_t)d->config.server.max_http + d->config.server.max_tcp + OTHER_FILES;
}

static void tell_limits(const dns *d) {
  if (d->files < wanted_files(d)) {
    LOG(d, KM_LOG_WARN, "few-descriptors",
        "the system allows %llu open files (LimitNOFILE=, ulimit -n), and the limits of "
        "connections are %llu: there will be fewer, a quarter of them for DNS",
        (unsigned long long)d->files, (unsigned long long)wanted_files(d) - OTHER_FILES);
  }
}

static int start(dns *d, km_errinfo *err) {
  int rv = load(d, err);
  if (rv != 0) {
    return rv;
  }
  d->files = system_raise_nofile(wanted_files(d));
  rv = km_loop_new(&d->loop);
  rv = rv != 0 ? km_fail(err, rv, NULL) : start_server(d, err);
  return rv != 0 ? rv : start_metrics(d, err);
}

static void stop_parts(dns *d) {
  cli_service_end(&d->service);
  km_metrics_page_free(d->metrics);
  km_dns_server_free(d->server);
  if (d->loop != NULL) {
    (void)km_loop_free(d->loop);
  }
  dns_config_free(&d->config);
}

/* --- ready and stop -------------------------------------------------------------------------- */

static void tell_ready(const dns *d) {
  report_ready_info info = {.config = &d->config};
  km_udp_addr at[2 * KM_DNS_SERVER_MAX_BINDS];
  size_t count = km_dns_server_bound_http(d->server, at, sizeof at / sizeof at[0]);
  size_t plain = d->config.enable_http ? d->config.http.count : 0;
  for (size_t i = 0; i < count; i++) {
    config_binds *to = i < plain ? &info.http : &info.https;
    to->at[to->count++] = at[i];
  }
  info.dns.count = km_dns_server_bound_dns(d->server, info.dns.at, CONFIG_MAX_BINDS);
  if (d->metrics != NULL) {
    info.metrics.at[info.metrics.count++] = *km_metrics_page_bound(d->metrics);
  }
  tell_limits(d);
  report_ready(d->out, &info);
  cli_service_ready();
}

static void on_stopped(void *ctx) {
  dns *d = ctx;
  km_loop_stop(d->loop);
}

static void on_stop(void *ctx) {
  dns *d = ctx;
  report_stopping(d->out);
  km_dns_server_shutdown(d->server, d->config.grace_ms, on_stopped, d);
}

/* --- the program ----------------------------------------------------------------------------- */

static int fail(const dns *d, const km_errinfo *err) {
  bool system = err->code == KM_ERR_NOMEM || err->code == KM_ERR_SYSTEM ||
                err->code == KM_ERR_NO_SPACE || err->code == KM_ERR_STORE ||
                err->code == KM_ERR_STORE_BUSY;
  return cli_error(d->out,
                   err->code == KM_ERR_STORE_DAMAGED ? EXIT_STORE
                   : system                          ? CLI_EXIT_FAILED
                                                     : CLI_EXIT_USAGE,
                   err);
}

int dns_run(const cli_output *out, const dns_options *o) {
  dns d = {.out = out, .options = o, .env = km_env_system};
  km_errinfo err = {0};
  int status = CLI_EXIT_OK;
  d.env.logger = o->logger;
  int rv = start(&d, &err);
  if (rv == 0) {
    d.service =
        (cli_service){.loop = d.loop, .on_stop = on_stop, .on_reload = on_reload, .ctx = &d};
    rv = cli_service_start(&d.service, &err);
  }
  if (rv != 0) {
    status = fail(&d, &err);
  } else {
    tell_ready(&d);
    (void)km_loop_run(d.loop);
  }
  stop_parts(&d);
  return status;
}

/* The certificate is tried by a server that nobody finds, and the store is left alone. */
static int try_certificate(dns *d, km_errinfo *err) {
  const km_udp_addr nowhere = {.family = 4, .ip = {127, 0, 0, 1}};
  d->config.enable_dns = d->config.enable_http = false;
  d->config.https = (config_binds){.at = {nowhere}, .count = 1};
  d->config.server.store.path = NULL;
  int rv = km_loop_new(&d->loop);
  return rv != 0 ? km_fail(err, rv, NULL) : start_server(d, err);
}

int dns_check(const cli_output *out, const dns_options *o) {
  dns d = {.out = out, .options = o, .env = km_env_system};
  km_errinfo err = {0};
  int status = CLI_EXIT_OK;
  d.env.logger = o->logger;
  int rv = load(&d, &err);
  if (rv == 0 && d.config.enable_https) {
    rv = try_certificate(&d, &err);
  }
  if (rv != 0) {
    status = fail(&d, &err);
  } else {
    cli_emit(cli_event(out, "checked"));
    cli_say(out, "%s is good", o->config == NULL ? "the built-in configuration" : o->config);
  }
  stop_parts(&d);
  return status;
}
