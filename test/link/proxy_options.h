/* The command line of km-udp-proxy. Pure. */
#ifndef KM_TEST_LINK_PROXY_OPTIONS_H
#define KM_TEST_LINK_PROXY_OPTIONS_H

#include <keymesh/addr.h>

#include "test/link/link.h"

typedef struct proxy_options {
  km_udp_addr listen, to;
  link_options link; /* of both directions */
  uint64_t seed;
  bool json;
} proxy_options;

#define PROXY_USAGE                                                                                \
  "usage: km-udp-proxy --listen IP:PORT --to IP:PORT [--loss P] [--delay MS] [--jitter MS]\n"      \
  "                    [--reorder P] [--dup P] [--corrupt P] [--rate MBIT] [--queue BYTES]\n"      \
  "                    [--seed N] [--json]\n"                                                      \
  "P is a probability, 0.1 or 10%. SIGUSR1 swallows everything, or stops doing so; SIGUSR2 "       \
  "moves\n"                                                                                        \
  "the upstream sockets to new ports, as a NAT that lost its table.\n"

/* 0, or KM_ERR_INVALID and the like with a sentence in `err`. */
KM_NODISCARD int proxy_options_parse(proxy_options *ret, int argc, char **argv, km_errinfo *err);

#endif /* KM_TEST_LINK_PROXY_OPTIONS_H */
