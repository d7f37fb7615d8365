/* Looking one id up, for commands. */
#ifndef KM_CMD_NODE_RESOLVE_H
#define KM_CMD_NODE_RESOLVE_H

#include "cmd/node/finder.h"

/* The id of a command line: an id in any form but z-base-32, or a ticket. 0 or an exit status. */
int resolve_parse_id(const cli_output *out, const char *text, km_id *ret);

#endif /* KM_CMD_NODE_RESOLVE_H */
