/* A discovery server that runs: its parts, and what signals make of them. */
#ifndef KM_CMD_DNS_DNS_H
#define KM_CMD_DNS_DNS_H

#include "base/env.h"
#include "cmd/cli/output.h"

typedef struct dns_options {
  const char *config; /* file; NULL: none */
  bool dev;
  km_logger logger;
  bool log_given; /* on the command line or in the environment: it goes before the file's */
} dns_options;

/* Runs until a signal ends it. Returns the exit status. */
int dns_run(const cli_output *out, const dns_options *o);
/* Only looks whether it could: configuration, zone, certificate. */
int dns_check(const cli_output *out, const dns_options *o);

#endif /* KM_CMD_DNS_DNS_H */
