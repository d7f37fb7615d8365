/* What can be asked of a node: one table of commands for the control socket, the shell, and the
 * programs when no daemon runs. A request is a name and a JSON object; answers are JSON objects.
 * The commands, their arguments and answers: docs/control.md. */
#ifndef KM_CMD_NODE_DAEMON_REQUEST_H
#define KM_CMD_NODE_DAEMON_REQUEST_H

#include <cjson/cJSON.h>

#include "cmd/node/project/project.h"

typedef struct node_context {
  km_loop *loop;
  km_store *store;
  km_mesh *mesh; /* NULL: no daemon runs, only the store is here */
  const project *project;
  int64_t started_ms; /* UNIX milliseconds */
  /* Of the daemon; NULL without one. */
  void *daemon;
  /* Reads keymesh.yaml again. `*ret` says what changed, and what needs a restart. */
  int (*reload)(void *daemon, cJSON **ret, km_errinfo *err);
  void (*stop)(void *daemon); /* ends the daemon, soon */
} node_context;

typedef struct request request; /* one under way */

#define REQUEST_PAUSE (1u << 20)
#define REQUEST_OVERRUN (32u << 20)

typedef struct request_reply {
  /* An answer of several: a row of a list, an event of a watch. `row` belongs to the callee, who
   * must not cancel the request from in here. */
  void (*row)(void *ctx, cJSON *row);
  /* The end: `err` NULL: done, `result` may be NULL; it belongs to the callee too. The request is
   * gone when it returns. */
  void (*done)(void *ctx, cJSON *result, const km_errinfo *err);
  void *ctx;
  /* Bytes that wait because who reads is slow; may be NULL: none. From REQUEST_PAUSE on long lists
   * wait for request_resume, from REQUEST_OVERRUN on a watch ends with KM_ERR_LIMIT. */
  size_t (*backlog)(void *ctx);
} request_reply;

/* Runs "kv.put", "peers", ... `args` is borrowed; NULL is an empty object. Answers may come before
 * it returns; a watch goes on until request_cancel. `*ret` (may be NULL) is NULL when it is done
 * already. */
void request_run(node_context *node, const char *name, const cJSON *args,
                 const request_reply *reply, request **ret);
void request_resume(
    request *r); /* the backlog is gone: goes on; it may be done when this returns */
void request_cancel(request *r); /* NULL does nothing; no callback follows */

/* Names of all commands, NULL at the end; for completion and "did you mean". */
const char *const *request_names(void);
/* True when the command is answered by a running daemon alone, false for those that only need the
 * store. Unknown names: true. */
bool request_needs_daemon(const char *name);

/* The JSON of the status page and of `peers`, `health`, `shares`: the first KeyMesh's members, and
 * ours beside them. Free with cJSON_Delete; NULL: no memory. */
cJSON *report_health(node_context *node);
cJSON *report_peers(node_context *node);
cJSON *report_shares(node_context *node);

#endif /* KM_CMD_NODE_DAEMON_REQUEST_H */
