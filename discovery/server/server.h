/* A discovery server: signed packets in by HTTP, DNS out by UDP, TCP and HTTPS. What km-dns is made
 * of. Loop thread only. */
#ifndef KM_DISCOVERY_SERVER_SERVER_H
#define KM_DISCOVERY_SERVER_SERVER_H

#include "discovery/server/dns_io.h"
#include "discovery/server/packet_store_io.h"
#include "discovery/server/zone.h"

typedef struct km_dns_server km_dns_server;

#define KM_DNS_SERVER_MAX_BINDS 8

typedef struct km_dns_server_record {
  const char *owner, *type, *value;
  uint32_t ttl_s;
} km_dns_server_record;

/* Whose address counts for limits. */
typedef enum km_dns_server_client {
  KM_DNS_SERVER_PEER,     /* the connection's */
  KM_DNS_SERVER_FORWARDED /* the last entry of X-Forwarded-For: behind a proxy of ours */
} km_dns_server_client;

typedef struct km_dns_server_config {
  const km_env *env; /* outlives the server */
  km_loop *loop;
  const km_udp_addr *dns, *http, *https; /* port 0 takes any */
  size_t dns_count, http_count, https_count;
  const char *cert_file, *key_file; /* PEM; needed with `https` */
  const char *const *origins;
  size_t origin_count;
  const km_dns_server_record *records;
  size_t record_count;
  const char *soa_mname, *soa_rname; /* NULL: made of the origin */
  uint32_t negative_ttl_s;
  km_packet_store_config store;         /* env and loop are filled in */
  uint32_t dns_per_second, dns_burst;   /* queries a source; 0: no limit */
  uint32_t http_per_second, http_burst; /* requests a source, of any kind */
  uint32_t put_per_minute, put_burst;   /* publishes a source */
  km_dns_server_client client;
  uint32_t max_http; /* connections */
  uint32_t max_http_per_addr;
  uint32_t request_timeout_ms; /* from accept to the end of a request, and idle */
  uint32_t max_tcp, max_tcp_per_addr, tcp_idle_ms; /* DNS over TCP */
  const char *version;                             /* for the health page */
} km_dns_server_config;

void km_dns_server_config_default(km_dns_server_config *ret);

/* 0, or a sentence: KM_ERR_ADDR_IN_USE, KM_ERR_PERMISSION, KM_ERR_INVALID (a record, an origin),
 * KM_ERR_SERVER_TLS, KM_ERR_FILE_NOT_FOUND, KM_ERR_STORE*, KM_ERR_NOMEM. */
KM_NODISCARD int km_dns_server_new(km_dns_server **ret, const km_dns_server_config *config,
                                   km_errinfo *err);
void km_dns_server_free(km_dns_server *s); /* what was accepted is on disk when it returns */
KM_NODISCARD int km_dns_server_reload(km_dns_server *s, km_errinfo *err); /* certificate and key */
/* Accepts nothing new; what is under way may end. `on_done` runs once. */
void km_dns_server_shutdown(km_dns_server *s, uint32_t grace_ms, void (*on_done)(void *ctx),
                            void *ctx);
size_t km_dns_server_bound_dns(const km_dns_server *s, km_udp_addr *ret, size_t cap);
/* http first, then https. */
size_t km_dns_server_bound_http(const km_dns_server *s, km_udp_addr *ret, size_t cap);

typedef struct km_dns_server_stats {
  km_zone_stats zone;
  km_dns_io_stats dns;
  km_packet_store_stats store;
  uint64_t http_connections; /* now */
  uint64_t http_refused;     /* connections, for a limit */
  uint64_t http_requests, http_limited, http_bad;
  uint64_t pkarr_puts, pkarr_bad, pkarr_stale, pkarr_limited, pkarr_gets, pkarr_absent;
  uint64_t doh_get, doh_post, doh_json;
} km_dns_server_stats;
void km_dns_server_get_stats(const km_dns_server *s, km_dns_server_stats *ret);

#endif /* KM_DISCOVERY_SERVER_SERVER_H */
