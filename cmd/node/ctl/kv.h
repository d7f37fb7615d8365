/* km-node kv: its parts. */
#ifndef KM_CMD_NODE_CTL_KV_H
#define KM_CMD_NODE_CTL_KV_H

#include "cmd/node/ctl/ctl.h"

#define KV_VALUE_MAX (1u << 20) /* of km_store_options.max_value */

/* Writes all entries of a share (NULL: of all) to stdout, a JSON object a line. The exit status. */
int kv_export(ctl *c, const char *share);
/* Reads such lines from stdin into `share` (NULL: into the share each of them names), batch by
 * batch. Stops at the first line that is bad, and names it. The exit status. */
int kv_import(ctl *c, const char *share);

#endif /* KM_CMD_NODE_CTL_KV_H */
