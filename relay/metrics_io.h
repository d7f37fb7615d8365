/* Serves a relay's metrics over plain HTTP on a port of its own: GET /metrics. Loop thread only. */
#ifndef KM_RELAY_METRICS_IO_H
#define KM_RELAY_METRICS_IO_H

#include "base/io/metrics_page_io.h"
#include "relay/metrics.h"

typedef struct km_relay_metrics_server km_relay_metrics_server;

typedef struct km_relay_metrics_config {
  const km_env *env; /* outlives it */
  km_loop *loop;
  km_udp_addr bind;    /* port 0 takes any */
  const char *version; /* of the program; static */
  /* Fills what is known now; process statistics are there already. */
  void (*fill)(void *ctx, km_relay_metrics *ret);
  void *ctx;
} km_relay_metrics_config;

/* 0; KM_ERR_ADDR_IN_USE, KM_ERR_PERMISSION, KM_ERR_ADDR_NOT_AVAILABLE; KM_ERR_SYSTEM;
 * KM_ERR_NOMEM. */
KM_NODISCARD int km_relay_metrics_server_new(km_relay_metrics_server **ret,
                                             const km_relay_metrics_config *config,
                                             km_errinfo *err);
void km_relay_metrics_server_free(km_relay_metrics_server *s); /* NULL does nothing */
/* With the real port. */
const km_udp_addr *km_relay_metrics_server_bound(const km_relay_metrics_server *s);

#endif /* KM_RELAY_METRICS_IO_H */
