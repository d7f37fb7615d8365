/* The command line of km-netlab-transfer. Pure. */
#ifndef KM_TEST_NETLAB_TRANSFER_OPTIONS_H
#define KM_TEST_NETLAB_TRANSFER_OPTIONS_H

#include <keymesh/keymesh.h>

#define TRANSFER_MAX_RELAYS 4

typedef struct transfer_options {
  const char *peer; /* ticket or id; NULL: accept */
  uint64_t send;    /* bytes; 0: only receive */
  bool hold;        /* lines on standard input say when */
  uint32_t gap_ms;  /* pauses from so long on are told */
  const char *relays[TRANSFER_MAX_RELAYS];
  size_t relay_count;
  km_udp_addr bind;
  km_congestion congestion;
  uint32_t timeout_ms; /* of the handshake and of a silent connection; 0: the defaults */
  const char *log;
  const char *key; /* secret key in hex; NULL: a fresh one */
} transfer_options;

#define TRANSFER_USAGE                                                                             \
  "usage: km-netlab-transfer accept|dial [TICKET|ID] [--send BYTES] [--hold] [--relay URL]...\n"   \
  "  [--bind IP:PORT] [--gap MS] [--congestion cubic|bbr|reno] [--timeout MS] [--log FILTER]\n"    \
  "  [--key HEX]\n"                                                                                \
  "With --hold it waits for lines on standard input: go (send now), paths, stats, network (as\n"   \
  "if the network had changed), quit; and ends with its input.\n"

/* 0, or an error with a sentence. */
KM_NODISCARD int transfer_options_parse(transfer_options *ret, int argc, char **argv,
                                        km_errinfo *err);

#endif /* KM_TEST_NETLAB_TRANSFER_OPTIONS_H */
