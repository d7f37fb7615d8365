/* km-node peer add, remove: peers of keymesh.yaml. */
#ifndef KM_CMD_NODE_CTL_PEER_CONFIG_H
#define KM_CMD_NODE_CTL_PEER_CONFIG_H

#include "cmd/node/ctl/ctl.h"

typedef struct peer_config_options {
  ctl_options common;
  const char *name;     /* NULL: none */
  cli_list addrs;       /* "IP:PORT" */
  cli_list shares_mode; /* "SHARE=ro" or rw */
} peer_config_options;

/* Write it into the file, then let the running node read it. The exit status. */
int peer_config_add(const peer_config_options *o, const char *peer);
int peer_config_remove(const peer_config_options *o, const char *peer);

#endif /* KM_CMD_NODE_CTL_PEER_CONFIG_H */
