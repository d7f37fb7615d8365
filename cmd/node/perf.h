/* The perf protocol, docs/protocol-perf.md: one command a bidirectional stream.
 *
 *   client: command (1) | argument (8, big-endian) | bytes ... FIN
 *   server: answer ... FIN
 */
#ifndef KM_CMD_NODE_PERF_H
#define KM_CMD_NODE_PERF_H

#include "cmd/node/node.h"

#define PERF_ALPN "km/perf/1"
#define PERF_HEAD_BYTES 9

enum {
  PERF_UPLOAD = 'U',   /* what follows is counted; the answer is the count (8) */
  PERF_DOWNLOAD = 'D', /* the answer is zeros, for `argument` milliseconds */
  PERF_REQUEST = 'R',  /* the answer is `argument` zeros, once the request's FIN is there */
  PERF_USAGE = 'S'     /* the answer is CPU time in ns (8) and resident bytes (8) */
};

#define PERF_REQUEST_MAX (1u << 20)

void perf_put64(uint8_t *to, uint64_t value);
uint64_t perf_get64(const uint8_t *from);

/* What this process used so far. */
typedef struct perf_usage {
  uint64_t cpu_ns, resident;
} perf_usage;
perf_usage perf_usage_now(void);
uint64_t perf_now_ns(void);

int perf_server(int argc, char **argv);
int perf_client(int argc, char **argv);

#endif /* KM_CMD_NODE_PERF_H */
