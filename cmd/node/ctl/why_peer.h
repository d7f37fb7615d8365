/* km-node why for peers of a running node: of the connection that is there. */
#ifndef KM_CMD_NODE_CTL_WHY_PEER_H
#define KM_CMD_NODE_CTL_WHY_PEER_H

#include "cmd/node/ctl/ctl.h"

/* Neither an id nor a ticket: only a node knows whom it means. */
bool why_peer_is_name(const char *word);
/* Asks the node that runs on the project. The exit status; -1: there is none. */
int why_peer(const ctl_options *options, const char *name);

#endif /* KM_CMD_NODE_CTL_WHY_PEER_H */
