/* The node as a program that stays: what run.c opens and closes, and what hangs on it. */
#ifndef KM_CMD_NODE_DAEMON_DAEMON_H
#define KM_CMD_NODE_DAEMON_DAEMON_H

#include "cmd/cli/output.h"
#include "cmd/cli/service.h"
#include "cmd/node/daemon/control_io.h"
#include "cmd/node/daemon/hook_io.h"
#include "cmd/node/daemon/line_queue_io.h"
#include "cmd/node/daemon/log_file_io.h"
#if __has_include("cmd/node/ctl/shell_io.h")
#include "cmd/node/ctl/shell_io.h"
#define DAEMON_HAS_SHELL 1
#else
#define DAEMON_HAS_SHELL 0
#endif
#include "cmd/node/page/status_page_io.h"

#define STATUS_PORT_CONFIGURED UINT64_MAX

typedef struct run_options {
  const char *config, *bind_host;
  uint64_t status_port; /* STATUS_PORT_CONFIGURED: not given */
  uint64_t timeout_s;   /* of --once-handshake; 0: one attempt each */
  bool no_status, once, interactive, json;
} run_options;

typedef struct once once; /* --once-handshake, under way */

typedef struct node_daemon {
  const run_options *options;
  cli_output out;
  line_queue *lines; /* of `out`; NULL with a shell, which shares the terminal */
  project *project;  /* as it is now */
  project *first;    /* as it was at the start, which is what needs a restart to change */
  log_file log;
  km_logger logger;
  km_loop *loop;
  cli_service service;
  km_discovery *discovery;
  km_endpoint *endpoint;
  node_context node; /* its project is `project` */
  hook *hook;
  status_page *page;
  control_server *control;
#if DAEMON_HAS_SHELL
  shell *shell;
#endif
  once *once; /* NULL: runs until it is stopped */
  km_timer *ready_timer, *stop_timer;
  bool ready, stopping;
  bool half;  /* the last reload was not complete */
  int status; /* to exit with */
} node_daemon;

#define DAEMON_LOG(d, level, event, ...)                                                           \
  KM_LOG(&(d)->logger, level, KM_LOGC_MESH, NULL, NULL, event, __VA_ARGS__)

/* Ends it with this status; again does nothing. */
void daemon_stop(node_daemon *d, int status);

/* daemon_endpoint.c: sockets, relays and discovery, as the project says. */
KM_NODISCARD int daemon_open_endpoint(node_daemon *d, const km_secret_key *key, km_errinfo *err);
bool daemon_has_relays(const node_daemon *d);

/* daemon_events.c: what the mesh tells, for people, machines, the page and the hook. */
void daemon_set_callbacks(node_daemon *d, km_mesh_options *options);
void daemon_tell_ready(node_daemon *d);
void daemon_tell_relay(node_daemon *d);

/* daemon_reload.c: node_context's reload. */
int daemon_reload(void *d, cJSON **ret, km_errinfo *err);
/* Peers of security.allow, who are let in as configured ones are. */
KM_NODISCARD int daemon_add_allowed(node_daemon *d, km_errinfo *err);

/* daemon_block.c: who is put into security.block, or taken out, while the node runs. */
KM_NODISCARD int daemon_block(node_daemon *d, const km_id *id, km_errinfo *err);
/* False: it stays blocked, by hand or by a revocation. */
bool daemon_unblock(node_daemon *d, const km_id *id);
/* Ends what a reload blocked: from the start on the configuration says it. */
void daemon_forget_blocked(node_daemon *d);

/* once.c */
KM_NODISCARD int once_start(node_daemon *d, km_mesh_options *options, km_errinfo *err);
void once_begin(node_daemon *d); /* the mesh runs */
void once_peer(node_daemon *d, const km_peer_status *peer);
void once_free(once *o); /* NULL does nothing */

#endif /* KM_CMD_NODE_DAEMON_DAEMON_H */
