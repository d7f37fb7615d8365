/* What km-dns says on stdout. */
#ifndef KM_CMD_DNS_REPORT_H
#define KM_CMD_DNS_REPORT_H

#include "cmd/cli/output.h"
#include "cmd/dns/config.h"

/* Where things really are; a count of 0: nowhere. */
typedef struct report_ready_info {
  const dns_config *config;
  config_binds dns, http, https, metrics;
} report_ready_info;

void report_ready(const cli_output *out, const report_ready_info *r);
/* What a reload did; false: the old stays. */
void report_reloaded(const cli_output *out, bool certificate);
void report_stopping(const cli_output *out);

#endif /* KM_CMD_DNS_REPORT_H */
