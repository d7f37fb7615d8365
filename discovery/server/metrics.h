/* What a discovery server counts, as OpenMetrics text. Pure. */
#ifndef KM_DISCOVERY_SERVER_METRICS_H
#define KM_DISCOVERY_SERVER_METRICS_H

#include "base/metrics_text.h"
#include "discovery/server/server.h"

typedef struct km_dns_metrics {
  const char *version;
  km_dns_server_stats server;
  km_process_stats process;
} km_dns_metrics;

/* Writes the text and a NUL. Returns its length, or KM_ERR_BUFFER. */
int km_dns_metrics_write(char *ret, size_t cap, const km_dns_metrics *m);

#endif /* KM_DISCOVERY_SERVER_METRICS_H */
