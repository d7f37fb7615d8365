#include <stdlib.h>
#include <string.h>

#include "cmd/cli/options.h"
#include "cmd/node/daemon/request_impl.h"

static const request_command *const groups[] = {
    request_status_commands, request_kv_commands,      request_list_commands,
    request_peer_commands,   request_message_commands, request_security_commands,
};

#define GROUPS (sizeof groups / sizeof groups[0])

/* In the order of the groups; a test checks that they are the same. */
static const char *const names[] = {
    "health",       "status",         "peers",         "shares",        "stats",
    "why",          "sync",           "cleanup",       "reload",        "stop",
    "request-keys", "request-access", "kv.put",        "kv.get",        "kv.delete",
    "kv.import",    "kv.verify",      "kv.hash",       "kv.list",       "kv.export",
    "kv.watch",     "peer.list",      "peer.trust",    "peer.block",    "peer.revoke",
    "peer.forget",  "peer.recommend", "peer.withdraw", "peer.requests", "peer.approve",
    "peer.deny",    "peer.dial",      "peer.access",   "announce",      "send",
    "broadcast",    "messages",       "outbox",        "outbox.cancel", "security.status",
    NULL,
};

const char *const *request_names(void) {
  return names;
}

static const request_command *find(const char *name) {
  for (size_t i = 0; i < GROUPS; i++) {
    for (const request_command *c = groups[i]; c->name != NULL; c++) {
      if (strcmp(c->name, name) == 0) {
        return c;
      }
    }
  }
  return NULL;
}

bool request_needs_daemon(const char *name) {
  const request_command *command = find(name);
  return command == NULL || command->daemon;
}

/* --- checks ----------------------------------------------------------------------------------- */

static bool takes(const request_command *command, const char *arg) {
  size_t len = strlen(arg);
  if (len == 0) { /* which strstr finds everywhere */
    return false;
  }
  for (const char *at = command->args; (at = strstr(at, arg)) != NULL; at += len) {
    bool begins = at == command->args || at[-1] == ' ';
    if (begins && at[len] == ' ') {
      return true;
    }
  }
  return false;
}

static int check_args(const request_command *command, const cJSON *args, km_errinfo *err) {
  const cJSON *arg;
  if (args == NULL) {
    return 0;
  }
  if (!cJSON_IsObject(args)) {
    return km_fail(err, KM_ERR_INVALID, "the arguments of %s must be a JSON object", command->name);
  }
  cJSON_ArrayForEach(arg, args) {
    if (arg->string == NULL || !takes(command, arg->string)) {
      return km_fail(err, KM_ERR_INVALID, "%s takes no argument '%.40s'%s%s", command->name,
                     arg->string == NULL ? "" : arg->string,
                     command->args[0] == '\0' ? "" : "; it takes: ", command->args);
    }
  }
  return 0;
}

static int unknown(const char *name, km_errinfo *err) {
  const char *near = cli_did_you_mean(name, names);
  return km_fail(err, KM_ERR_INVALID, "no command '%.40s'%s%s%s", name,
                 near == NULL ? "" : ": did you mean ", near == NULL ? "" : near,
                 near == NULL ? "" : "?");
}

static int check(const node_context *node, const request_command *command, const char *name,
                 const cJSON *args, km_errinfo *err) {
  if (command == NULL) {
    return unknown(name, err);
  }
  if (command->daemon && node->mesh == NULL) {
    return km_fail(err, KM_ERR_STATE, "no daemon runs: start it with km-node run");
  }
  return check_args(command, args, err);
}

/* --- running ---------------------------------------------------------------------------------- */

static void free_request(request *r) {
  if (r->handle != NULL) {
    *r->handle = NULL;
  }
  if (r->clear != NULL) {
    r->clear(r);
  }
  free(r);
}

static void finish(const request_reply *reply, cJSON *result, const km_errinfo *err) {
  if (err != NULL) {
    cJSON_Delete(result);
    result = NULL;
  }
  reply->done(reply->ctx, result, err);
}

void request_end(request *r, cJSON *result, const km_errinfo *err) {
  const request_reply reply = r->reply;
  free_request(r);
  finish(&reply, result, err);
}

static void run(request *r, const cJSON *args) {
  km_errinfo err = {0};
  cJSON *result = NULL;
  int rv = r->command->run(r, args, &result, &err);
  if (rv == REQUEST_GOES_ON) {
    request_resume(r);
    return;
  }
  if (rv < 0 && err.code == 0) {
    (void)km_fail(&err, rv, NULL);
  }
  request_end(r, result, rv < 0 ? &err : NULL);
}

void request_run(node_context *node, const char *name, const cJSON *args,
                 const request_reply *reply, request **ret) {
  km_errinfo err = {0};
  const request_command *command = find(name);
  int rv = check(node, command, name, args, &err);
  request *r = rv == 0 && command != NULL ? calloc(1, sizeof *r) : NULL;
  if (rv == 0 && r == NULL) {
    (void)km_fail(&err, KM_ERR_NOMEM, NULL);
  }
  if (ret != NULL) {
    *ret = r;
  }
  if (r == NULL) {
    finish(reply, NULL, &err);
    return;
  }
  request *handle = r; /* NULL once it is done */
  *r = (request){.node = node, .command = command, .reply = *reply, .handle = &handle};
  run(r, args);
  if (handle != NULL) {
    handle->handle = NULL;
  } else if (ret != NULL) {
    *ret = NULL;
  }
}

void request_resume(request *r) {
  if (r != NULL && r->resume != NULL) {
    r->resume(r);
  }
}

void request_cancel(request *r) {
  if (r != NULL) {
    free_request(r);
  }
}

/* --- answers ---------------------------------------------------------------------------------- */

void request_row(request *r, cJSON *row) {
  if (row != NULL) {
    r->rows++;
    r->reply.row(r->reply.ctx, row);
  }
}

size_t request_backlog(const request *r) {
  return r->reply.backlog == NULL ? 0 : r->reply.backlog(r->reply.ctx);
}

int request_result(cJSON *result, cJSON **ret, km_errinfo *err) {
  *ret = result;
  return result != NULL ? 0 : km_fail(err, KM_ERR_NOMEM, NULL);
}

int request_count(const request *r, cJSON **ret, km_errinfo *err) {
  cJSON *result = cJSON_CreateObject();
  put_number(result, "count", (double)r->rows);
  return request_result(result, ret, err);
}

void request_end_list(request *r, int rv, km_errinfo *err) {
  cJSON *result = NULL;
  rv = rv != 0 ? rv : request_count(r, &result, err);
  request_end(r, result, rv != 0 ? err : NULL);
}
