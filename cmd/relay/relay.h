/* A relay that runs: its server, STUN, metrics, and what signals make of them. */
#ifndef KM_CMD_RELAY_RELAY_H
#define KM_CMD_RELAY_RELAY_H

#include "cmd/cli/output.h"
#include "cmd/relay/config.h"

typedef struct relay_options {
  const char *config; /* file; NULL: none */
  bool dev;
  km_logger logger;
} relay_options;

/* Runs until a signal ends it. Returns the exit status. */
int relay_run(const cli_output *out, const relay_options *o);
/* Only looks whether it could: configuration, lists, certificate. */
int relay_check(const cli_output *out, const relay_options *o);

#endif /* KM_CMD_RELAY_RELAY_H */
