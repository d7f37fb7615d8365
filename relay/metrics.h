/* What a relay counts, as OpenMetrics text. Names are iroh-relay's where it counts the same
 * (iroh-relay/src/server/metrics.rs), Prometheus' own for the process, ours for the rest. Pure. */
#ifndef KM_RELAY_METRICS_H
#define KM_RELAY_METRICS_H

#include "holepunch/stun_server_io.h"
#include "relay/access_http_io.h"
#include "relay/server.h"

#define KM_RELAY_METRICS_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"
#define KM_RELAY_METRICS_MAX 16384 /* bytes that the text never exceeds */

/* What the system says about this process; -1 where it does not. */
typedef struct km_process_stats {
  int64_t resident_bytes, virtual_bytes;
  int64_t open_fds, max_fds;
  double cpu_seconds, start_time; /* start: UNIX time */
} km_process_stats;

typedef struct km_relay_metrics {
  const char *version;
  bool has_relay, has_stun, has_asker; /* that it runs at all */
  km_relay_server_stats relay;
  km_stun_server_stats stun;
  km_relay_asker_stats asker;
  km_process_stats process;
} km_relay_metrics;

/* Writes the text and a NUL. Returns its length, or KM_ERR_BUFFER. */
int km_relay_metrics_write(char *ret, size_t cap, const km_relay_metrics *m);

#endif /* KM_RELAY_METRICS_H */
