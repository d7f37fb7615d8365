/* The `access` part of a configuration file. */
#ifndef KM_CMD_RELAY_CONFIG_ACCESS_H
#define KM_CMD_RELAY_CONFIG_ACCESS_H

#include "cmd/relay/config.h"

static inline relay_config *relay_config_of(const config_reader *r) {
  return r->config;
}

int config_read_access(config_reader *r);

#endif /* KM_CMD_RELAY_CONFIG_ACCESS_H */
