/* km-node perf: the two halves' common parts. */
#include "cmd/node/perf.h"

#include <stdio.h>
#include <string.h>

void perf_put64(uint8_t *to, uint64_t value) {
  for (int i = 7; i >= 0; i--) {
    to[i] = (uint8_t)value;
    value >>= 8;
  }
}

uint64_t perf_get64(const uint8_t *from) {
  uint64_t value = 0;
  for (int i = 0; i < 8; i++) {
    value = value << 8 | from[i];
  }
  return value;
}

int cmd_perf(int argc, char **argv) {
  if (argc > 0 && strcmp(argv[0], "server") == 0) {
    return perf_server(argc - 1, argv + 1);
  }
  if (argc > 0 && strcmp(argv[0], "client") == 0) {
    return perf_client(argc - 1, argv + 1);
  }
  bool help = argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0);
  (void)fprintf(help ? stdout : stderr,
                "usage: km-node perf server|client ...\n\n"
                "Measures goodput, latency, handshakes and memory between two processes.\n\n"
                "Example:\n  km-node perf server           # prints a ticket\n"
                "  km-node perf client TICKET\n");
  return help ? CLI_EXIT_OK : CLI_EXIT_USAGE;
}
