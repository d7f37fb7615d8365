/* What a relay counts, as OpenMetrics text. Names are iroh-relay's where it counts the same
 * (iroh-relay/src/server/metrics.rs), Prometheus' own for the process, ours for the rest. Pure. */
#ifndef KM_RELAY_METRICS_H
#define KM_RELAY_METRICS_H

#include "base/metrics_text.h"
#include "holepunch/stun_server_io.h"
#include "relay/access_http_io.h"
#include "relay/server.h"

#define KM_RELAY_METRICS_MAX 16384 /* bytes that the text never exceeds */

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
