#include "relay/metrics_io.h"

struct km_relay_metrics_server {
  km_relay_metrics_config config;
  km_metrics_page *page;
};

static int write_page(void *ctx, char *ret, size_t cap) {
  km_relay_metrics_server *s = ctx;
  km_relay_metrics m = {.version = s->config.version};
  km_process_stats_read(&m.process);
  s->config.fill(s->config.ctx, &m);
  return km_relay_metrics_write(ret, cap, &m);
}

int km_relay_metrics_server_new(km_relay_metrics_server **ret,
                                const km_relay_metrics_config *config, km_errinfo *err) {
  km_relay_metrics_server *s = km_env_zalloc(config->env, 1, sizeof *s);
  if (s == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  s->config = *config;
  const km_metrics_page_config page = {.env = config->env,
                                       .loop = config->loop,
                                       .bind = config->bind,
                                       .write = write_page,
                                       .ctx = s};
  int rv = km_metrics_page_new(&s->page, &page, err);
  if (rv != 0) {
    km_relay_metrics_server_free(s);
    return rv;
  }
  *ret = s;
  return 0;
}

void km_relay_metrics_server_free(km_relay_metrics_server *s) {
  if (s != NULL) {
    km_metrics_page_free(s->page);
    km_env_free(s->config.env, s);
  }
}

const km_udp_addr *km_relay_metrics_server_bound(const km_relay_metrics_server *s) {
  return km_metrics_page_bound(s->page);
}
