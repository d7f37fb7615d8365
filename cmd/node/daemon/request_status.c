/* The node itself. */
#include <keymesh/uv.h>
#include <string.h>

#include "cmd/node/daemon/request_impl.h"
#include "store/outbox.h"

static int run_health(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  (void)args;
  return request_result(report_health(r->node), ret, err);
}

static int run_peers(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  (void)args;
  return request_result(report_peers(r->node), ret, err);
}

static int run_shares(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  (void)args;
  return request_result(report_shares(r->node), ret, err);
}

/* --- status ----------------------------------------------------------------------------------- */

void put_address(cJSON *to, km_endpoint *endpoint) {
  char ticket[KM_TICKET_MAX];
  km_addr *addr;
  put_text(to, "relay", km_endpoint_home_relay(endpoint));
  if (km_endpoint_addr(endpoint, &addr) != 0) {
    return;
  }
  put_text(to, "ticket", km_ticket_format(addr, ticket, sizeof ticket, NULL) == 0 ? ticket : NULL);
  cJSON *list = to == NULL ? NULL : cJSON_AddArrayToObject(to, "direct");
  for (size_t i = 0; list != NULL && i < km_addr_udp_count(addr); i++) {
    char text[KM_UDP_ADDR_TEXT_CAP];
    (void)km_udp_addr_format(km_addr_udp_at(addr, i), text, sizeof text);
    (void)cJSON_AddItemToArray(list, cJSON_CreateString(text));
  }
  km_addr_free(addr);
}

typedef struct sums {
  double shares, entries, deleted, bytes;
} sums;

static void add_share(void *ctx, const char *share, uint64_t entries, uint64_t deleted,
                      uint64_t bytes) {
  sums *s = ctx;
  (void)share;
  s->shares++;
  s->entries += (double)entries;
  s->deleted += (double)deleted;
  s->bytes += (double)bytes;
}

static int put_store(cJSON *to, const node_context *node, km_errinfo *err) {
  sums s = {0};
  int64_t count = km_kv_shares(node->store, add_share, &s, err);
  count = count < 0 ? count : km_outbox_count_own(node->store, err);
  cJSON *o = to == NULL ? NULL : cJSON_AddObjectToObject(to, "store");
  put_text(o, "path", node->project->store_path);
  put_number(o, "shares", s.shares);
  put_number(o, "entries", s.entries);
  put_number(o, "deleted", s.deleted);
  put_number(o, "bytes", s.bytes);
  put_number(to, "waiting_messages", (double)count);
  return count < 0 ? (int)count : 0;
}

static int run_status(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  node_context *node = r->node;
  km_mesh_stats stats = {.size = sizeof stats};
  (void)args;
  cJSON *o = report_health(node);
  put_seconds(o, "started", node->started_ms);
  put_number(o, "pid", (double)uv_os_getpid());
  put_text(o, "config", node->project->config_path);
  put_text(o, "security_level", km_security_level_name(node->project->level));
  put_address(o, km_mesh_endpoint(node->mesh));
  if (km_mesh_get_stats(node->mesh, &stats) == 0) {
    put_number(o, "syncs", (double)stats.syncs);
    put_number(o, "syncs_failed", (double)stats.syncs_failed);
  }
  int rv = put_store(o, node, err);
  if (rv != 0) {
    cJSON_Delete(o);
    return rv;
  }
  return request_result(o, ret, err);
}

/* --- totals ----------------------------------------------------------------------------------- */

static int run_stats(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  km_mesh_stats s = {.size = sizeof s};
  (void)args;
  int rv = km_mesh_get_stats(r->node->mesh, &s);
  if (rv != 0) {
    return km_fail(err, rv, NULL);
  }
  const struct {
    const char *name;
    uint64_t value;
  } rows[] = {
      {"peers", s.peers},
      {"connected", s.connected},
      {"handshakes", s.handshakes},
      {"refused_in", s.refused_in},
      {"refused_out", s.refused_out},
      {"heartbeats_in", s.heartbeats_in},
      {"heartbeats_out", s.heartbeats_out},
      {"syncs", s.syncs},
      {"syncs_failed", s.syncs_failed},
      {"entries_in", s.entries_in},
      {"entries_out", s.entries_out},
      {"entries_relayed", s.entries_relayed},
      {"messages_in", s.messages_in},
      {"messages_out", s.messages_out},
      {"messages_relayed", s.messages_relayed},
  };
  cJSON *o = cJSON_CreateObject();
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    put_number(o, rows[i].name, (double)rows[i].value);
  }
  put_faults(o, &s.faults);
  return request_result(o, ret, err);
}

/* --- why -------------------------------------------------------------------------------------- */

static cJSON *explanation_json(const km_explanation *ex) {
  static const char *const paths[] = {"none", "direct", "relay"};
  cJSON *o = cJSON_CreateObject();
  put_text(o, "reason", km_explain_reason_name(ex->reason));
  put_text(o, "sentence", ex->why);
  put_text(o, "advice", ex->advice);
  put_text(o, "path", paths[ex->path.kind]);
  put_number(o, "attempts", (double)ex->attempts);
  put_number(o, "age_s", (double)ex->age_ms / 1000.0);
  cJSON *lines = o == NULL ? NULL : cJSON_AddArrayToObject(o, "lines");
  for (size_t i = 0; lines != NULL && i < ex->event_count; i++) {
    cJSON *line = cJSON_CreateObject();
    put_number(line, "at_s", (double)ex->events[i].at_ms / 1000.0);
    put_text(line, "event", km_explain_event_name(ex->events[i].kind));
    put_number(line, "times", ex->events[i].times);
    put_text(line, "text", ex->events[i].text);
    (void)cJSON_AddItemToArray(lines, line);
  }
  return o;
}

static int run_why(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  km_id id;
  km_explanation *ex;
  int rv = arg_peer(r, args, &id, NULL, err);
  if (rv != 0) {
    return rv;
  }
  km_conn *conn = km_peer_conn(r->node->mesh, &id);
  if (conn == NULL) {
    return km_fail(err, KM_ERR_NOT_FOUND,
                   "there is no connection to it now: km-node peers says what it waits for");
  }
  rv = km_conn_explain(conn, &ex);
  if (rv != 0) {
    return km_fail(err, rv, NULL);
  }
  cJSON *o = explanation_json(ex);
  km_explanation_free(ex);
  put_id(o, "id", &id);
  return request_result(o, ret, err);
}

/* --- work ------------------------------------------------------------------------------------- */

static int one_number(const char *name, double number, cJSON **ret, km_errinfo *err) {
  cJSON *o = cJSON_CreateObject();
  put_number(o, name, number);
  return request_result(o, ret, err);
}

static int run_sync(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  km_id id;
  km_mesh_stats stats = {.size = sizeof stats};
  bool all = cJSON_GetObjectItemCaseSensitive(args, "peer") == NULL;
  int rv = all ? 0 : arg_peer(r, args, &id, NULL, err);
  if (rv != 0) {
    return rv;
  }
  rv = km_mesh_sync(r->node->mesh, all ? NULL : &id);
  if (rv != 0) {
    return km_fail(err, rv, all ? "no peer is connected" : "that peer is not connected");
  }
  (void)km_mesh_get_stats(r->node->mesh, &stats);
  return one_number("peers", all ? (double)stats.connected : 1, ret, err);
}

static int run_cleanup(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  (void)args;
  int64_t count = km_kv_collect(r->node->store, err);
  return count < 0 ? (int)count : one_number("collected", (double)count, ret, err);
}

static int run_request_keys(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  (void)args;
  return one_number("asked", (double)km_mesh_request_statements(r->node->mesh), ret, err);
}

static int run_request_access(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  (void)args;
  return one_number("dialled", (double)km_mesh_request_access(r->node->mesh), ret, err);
}

static int run_reload(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  (void)args;
  if (r->node->reload == NULL) {
    return km_fail(err, KM_ERR_STATE, "this node has no configuration to read again");
  }
  return r->node->reload(r->node->daemon, ret, err);
}

static int run_stop(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  (void)args;
  (void)ret;
  if (r->node->stop == NULL) {
    return km_fail(err, KM_ERR_STATE, "this node cannot be stopped from here");
  }
  r->node->stop(r->node->daemon);
  return 0;
}

const request_command request_status_commands[] = {
    {"health", "", true, run_health},
    {"status", "", true, run_status},
    {"peers", "", true, run_peers},
    {"shares", "", false, run_shares},
    {"stats", "", true, run_stats},
    {"why", "peer ", true, run_why},
    {"sync", "peer ", true, run_sync},
    {"cleanup", "", false, run_cleanup},
    {"reload", "", true, run_reload},
    {"stop", "", true, run_stop},
    {"request-keys", "", true, run_request_keys},
    {"request-access", "", true, run_request_access},
    {0},
};
