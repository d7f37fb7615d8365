/* The accepting side of the echo protocol: every byte of a stream goes back on it. */
#ifndef KM_CMD_NODE_ECHO_H
#define KM_CMD_NODE_ECHO_H

#include "cmd/node/node.h"

/* Serves a stream that the peer opened; one-way streams are read and counted. */
void echo_serve(node *n, km_conn *conn, km_stream *stream);

#endif /* KM_CMD_NODE_ECHO_H */
