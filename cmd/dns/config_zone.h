/* The part of a configuration that makes the zone: origins and static records. */
#ifndef KM_CMD_DNS_CONFIG_ZONE_H
#define KM_CMD_DNS_CONFIG_ZONE_H

#include "cmd/dns/config.h"

static inline dns_config *dns_config_of(const config_reader *r) {
  return r->config;
}

int config_read_zone(config_reader *r);
/* Those of --dev, where the file names none. */
int config_dev_zone(dns_config *c);

#endif /* KM_CMD_DNS_CONFIG_ZONE_H */
