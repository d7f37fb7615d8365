/* The daemon's control socket: a Unix socket in the project's folder (mode 0600), a JSON object a
 * line: {"id":1,"cmd":"kv.put","args":{...}} in, {"id":1,"row":{...}} and {"id":1,"ok":true,
 * "result":{...}} or {"id":1,"ok":false,"error":{"code":"NOT_FOUND","text":"...","hint":"..."}}
 * out. Both ends. */
#ifndef KM_CMD_NODE_DAEMON_CONTROL_IO_H
#define KM_CMD_NODE_DAEMON_CONTROL_IO_H

#include "cmd/node/daemon/request.h"

typedef struct control_server control_server;
/* A socket that nobody listens on is taken over; one that somebody does: KM_ERR_STATE. */
KM_NODISCARD int control_server_open(control_server **ret, node_context *node, const char *path,
                                     km_errinfo *err);
void control_server_close(control_server *s); /* NULL does nothing; unlinks the socket */

/* The client's end: blocking, for commands. */
typedef struct control_client control_client;
/* KM_ERR_NOT_FOUND: no daemon runs. */
KM_NODISCARD int control_client_open(control_client **ret, const char *path, km_errinfo *err);
void control_client_close(control_client *c);
/* How long an answer is waited for; then it is KM_ERR_TIMEOUT. Without it: for ever. */
void control_client_patience(control_client *c, uint64_t seconds);
/* The process that listens there; 0: it cannot be seen from here. */
long control_client_pid(const control_client *c);
/* One request to its end; rows and result as with request_run. Returns 0 or the error's code. */
KM_NODISCARD int control_client_run(control_client *c, const char *name, const cJSON *args,
                                    const request_reply *reply, km_errinfo *err);

#endif /* KM_CMD_NODE_DAEMON_CONTROL_IO_H */
