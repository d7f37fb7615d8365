/* Events that accepting and dialling commands have in common. */
#ifndef KM_CMD_NODE_REPORT_H
#define KM_CMD_NODE_REPORT_H

#include "cmd/node/node.h"

void report_connected(const node *n, const km_conn *conn);
void report_path(const node *n, const km_conn *conn, const km_path_info *path);
void report_stream(const node *n, const km_conn *conn, const km_stream *stream, uint64_t received,
                   uint64_t sent);
void report_closed(const node *n, const km_conn *conn, const km_close_info *info);

#endif /* KM_CMD_NODE_REPORT_H */
