/* A discovery server, put together of its parts. */
#include "discovery/server/server.h"

#include "base/io/lws_listen_io.h"
#include "discovery/server/http_io.h"

#define OTHER_FILES 32 /* more than the 64 that km_lws_fit_connections leaves: our listeners */
#define TCP_MORE 10    /* so many times as over UDP, where sources are forged */

struct km_dns_server {
  const km_env *env;
  km_packet_store *store;
  km_zone *zone;
  km_rate_limit *queries, *tcp_queries;
  km_dns_io *dns;
  km_dns_http *http;
};

void km_dns_server_config_default(km_dns_server_config *ret) {
  *ret = (km_dns_server_config){
      .negative_ttl_s = 60,
      .store = {.max_packets = 1000000,
                .max_age_s = 7 * 24 * 3600,
                .cache_bytes = 64u << 20,
                .full_sync = true},
      .dns_per_second = 200,
      .dns_burst = 400,
      .http_per_second = 50,
      .http_burst = 200,
      .put_per_minute = 30,
      .put_burst = 60,
      .client = KM_DNS_SERVER_PEER,
      .max_http = 20000,
      .max_http_per_addr = 256,
      .request_timeout_ms = 15000,
      .max_tcp = 2000,
      .max_tcp_per_addr = 64,
      .tcp_idle_ms = 10000,
  };
}

static int find_packet(void *ctx, const km_id *id, km_pkarr *ret, int64_t *stored) {
  return km_packet_store_get(ctx, id, ret, stored);
}

static int open_zone(km_dns_server *s, const km_dns_server_config *config, km_errinfo *err) {
  const km_zone_config zone = {.env = config->env,
                               .origins = config->origins,
                               .origin_count = config->origin_count,
                               .soa_mname = config->soa_mname,
                               .soa_rname = config->soa_rname,
                               .negative_ttl_s = config->negative_ttl_s,
                               .packet = find_packet,
                               .ctx = s->store};
  int rv = km_zone_new(&s->zone, &zone, err);
  for (size_t i = 0; rv == 0 && i < config->record_count; i++) {
    const km_dns_server_record *r = &config->records[i];
    rv = km_zone_add(s->zone, r->owner, r->type, r->value, r->ttl_s, err);
  }
  return rv;
}

static uint32_t times_more(uint32_t rate) {
  return rate < UINT32_MAX / TCP_MORE ? rate * TCP_MORE : UINT32_MAX;
}

static int open_dns(km_dns_server *s, const km_dns_server_config *config, km_errinfo *err) {
  if (config->dns_count == 0) {
    return 0;
  }
  int rv = km_rate_limit_new(&s->queries, config->env, config->dns_per_second, config->dns_burst);
  rv = rv != 0 ? rv
               : km_rate_limit_new(&s->tcp_queries, config->env, times_more(config->dns_per_second),
                                   times_more(config->dns_burst));
  if (rv != 0) {
    return km_fail(err, rv, NULL);
  }
  const km_dns_io_config dns = {.env = config->env,
                                .loop = config->loop,
                                .zone = s->zone,
                                .bind = config->dns,
                                .bind_count = config->dns_count,
                                .max_tcp = config->max_tcp,
                                .max_tcp_per_addr = config->max_tcp_per_addr,
                                .tcp_idle_ms = config->tcp_idle_ms,
                                .limit = s->queries,
                                .tcp_limit = s->tcp_queries};
  return km_dns_io_new(&s->dns, &dns, err);
}

/* Shares out what descriptors there are: without any libwebsockets would do nothing but find out,
 * all the time. */
static void fit_connections(km_dns_server_config *config) {
  const uint32_t others = OTHER_FILES + KM_DNS_HTTP_EVICTED_MAX;
  uint32_t most = km_lws_fit_connections(0);
  uint32_t room = most > 2 * others ? most - others : most / 2;
  uint32_t tcp = config->dns_count == 0 ? 0 : room / 4;
  tcp = config->max_tcp < tcp ? config->max_tcp : tcp;
  config->max_tcp = tcp;
  config->max_http = config->max_http < room - tcp ? config->max_http : room - tcp;
}

static int open_server(km_dns_server *s, const km_dns_server_config *wanted, km_errinfo *err) {
  km_dns_server_config fitting = *wanted;
  const km_dns_server_config *config = &fitting;
  fit_connections(&fitting);
  km_packet_store_config store = config->store;
  store.env = config->env;
  store.loop = config->loop;
  int rv = km_packet_store_open(&s->store, &store, err);
  rv = rv != 0 ? rv : open_zone(s, config, err);
  rv = rv != 0 ? rv : open_dns(s, config, err);
  return rv != 0 ? rv : km_dns_http_new(&s->http, config, s->zone, s->store, err);
}

int km_dns_server_new(km_dns_server **ret, const km_dns_server_config *config, km_errinfo *err) {
  if (config->dns_count + config->http_count + config->https_count == 0) {
    return km_fail(err, KM_ERR_INVALID, "there is no address to listen on");
  }
  km_dns_server *s = km_env_zalloc(config->env, 1, sizeof *s);
  if (s == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  s->env = config->env;
  int rv = open_server(s, config, err);
  if (rv != 0) {
    km_dns_server_free(s);
    return rv;
  }
  *ret = s;
  return 0;
}

void km_dns_server_free(km_dns_server *s) {
  if (s == NULL) {
    return;
  }
  km_dns_http_free(s->http);
  if (s->dns != NULL) {
    km_dns_io_free(s->dns);
  }
  km_rate_limit_free(s->queries);
  km_rate_limit_free(s->tcp_queries);
  km_zone_free(s->zone);
  if (s->store != NULL) {
    km_packet_store_close(s->store);
  }
  km_env_free(s->env, s);
}

int km_dns_server_reload(km_dns_server *s, km_errinfo *err) {
  return km_dns_http_reload(s->http, err);
}

/* Questions are answered until the end: each is under way as soon as it is there. */
void km_dns_server_shutdown(km_dns_server *s, uint32_t grace_ms, void (*on_done)(void *ctx),
                            void *ctx) {
  km_dns_http_shutdown(s->http, grace_ms, on_done, ctx);
}

size_t km_dns_server_bound_dns(const km_dns_server *s, km_udp_addr *ret, size_t cap) {
  return s->dns == NULL ? 0 : km_dns_io_bound(s->dns, ret, cap);
}

size_t km_dns_server_bound_http(const km_dns_server *s, km_udp_addr *ret, size_t cap) {
  return km_dns_http_bound(s->http, ret, cap);
}

void km_dns_server_get_stats(const km_dns_server *s, km_dns_server_stats *ret) {
  km_dns_http_get_stats(s->http, ret);
  km_zone_get_stats(s->zone, &ret->zone);
  if (s->dns != NULL) {
    km_dns_io_get_stats(s->dns, &ret->dns);
  }
  km_packet_store_get_stats(s->store, &ret->store);
}
