/* The inside of km-node perf client. */
#ifndef KM_CMD_NODE_PERF_CLIENT_H
#define KM_CMD_NODE_PERF_CLIENT_H

#include "cmd/node/perf.h"

#define PERF_STREAMS_MAX 100
#define PERF_SAMPLES_MAX 1000000u

typedef struct perf {
  node n;
  km_addr *addr;
  km_conn *conn; /* over which streams run and questions are asked */
  bool wanted[8], done;
  size_t mode;
  uint64_t streams, seconds, size, connections, parallel;
  uint64_t wait_direct_s; /* for a direct path, before the first mode; 0: not at all */
  bool waiting;
  km_timer *timer; /* of the wait, or of idle; NULL: none */

  perf_usage server_before, client_before;
  uint64_t started, until, ended;

  uint64_t bytes, open; /* bulk */
  uint32_t *samples;    /* latency, handshake: microseconds */
  size_t sample_count;
  uint64_t sent_at;
  uint64_t left; /* latency: bytes of the request not sent yet */
  bool sending;

  uint64_t dialled, connected, closed; /* handshake, memory */

  km_conn_stats idle_before, idle_after;
  perf_usage client_after; /* idle */
} perf;

typedef void (*perf_then)(perf *p, const perf_usage *server);

/* Asks the server for its CPU time and memory. */
void perf_ask_usage(perf *p, perf_then then);
void perf_next_mode(perf *p);
void perf_fail(perf *p, int code, const char *text);
const char *perf_mode_name(const perf *p);

/* perf_bulk.c, perf_latency.c, perf_conns.c, perf_idle.c */
void perf_bulk_start(perf *p);
void perf_latency_start(perf *p);
void perf_handshake_start(perf *p);
void perf_memory_start(perf *p);
void perf_idle_start(perf *p);

/* Sorted samples; `percent` 0 to 100. */
void perf_sort(perf *p);
uint32_t perf_percentile(const perf *p, unsigned percent);
int perf_sample(perf *p, uint64_t microseconds);
void perf_drop_samples(perf *p);

#endif /* KM_CMD_NODE_PERF_CLIENT_H */
