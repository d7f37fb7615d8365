#include "peer.h"

#include <stdlib.h>
#include <string.h>

static const km_conn_callbacks callbacks;

static peer_conn *conn_new(peer *self) {
  peer_conn *pc = calloc(1, sizeof *pc);
  if (!pc)
    abort();
  pc->peer = self;
  pc->number = ++self->last_conn;
  pc->next = self->conns;
  self->conns = pc;
  return pc;
}

static void conn_free(peer_conn *pc) {
  peer_conn **at = &pc->peer->conns;
  while (*at != pc)
    at = &(*at)->next;
  *at = pc->next;
  peer_asking_free(pc);
  cJSON_Delete(pc->early_flow);
  free(pc);
}

peer_conn *peer_conn_of(peer *self, const cJSON *request) {
  int number = peer_int(request, "conn", 0);
  for (peer_conn *pc = self->conns; pc; pc = pc->next) {
    if (pc->number == number)
      return pc;
  }
  peer_fail(peer_int(request, "id", 0), KM_ERR_NOT_FOUND, "no such connection");
  return NULL;
}

static void on_accepted(void *ctx, km_conn *conn) {
  peer_conn *pc = conn_new(ctx);
  pc->conn = conn;
  pc->connected = true;
  km_conn_set_callbacks(conn, &callbacks, pc);
  cJSON *line = peer_event("connected");
  cJSON_AddNumberToObject(line, "conn", pc->number);
  peer_add_id(line, "remote", km_conn_remote_id(conn));
  cJSON_AddStringToObject(line, "alpn", km_conn_alpn(conn));
  peer_send(line);
}

const km_conn_callbacks peer_accepted_callbacks = {
    .size = sizeof(km_conn_callbacks),
    .on_connected = on_accepted,
};

static const char *early_name(km_early_state state) {
  switch (state) {
  case KM_EARLY_PENDING:
    return "pending";
  case KM_EARLY_ACCEPTED:
    return "accepted";
  case KM_EARLY_REJECTED:
    return "rejected";
  case KM_EARLY_NONE:
    break;
  }
  return "none";
}

/* The answer to `dial` is due when the handshake is done and, with early data, its stream ended. */
static void answer_dial(peer_conn *pc) {
  if (pc->dial_request == 0 || !pc->connected || (pc->early && !pc->early_flow))
    return;
  cJSON *line = peer_answer_to(pc->dial_request);
  pc->dial_request = 0;
  cJSON_AddNumberToObject(line, "conn", pc->number);
  peer_add_id(line, "remote", km_conn_remote_id(pc->conn));
  cJSON_AddStringToObject(line, "alpn", km_conn_alpn(pc->conn));
  if (pc->early) {
    cJSON_AddStringToObject(line, "early", early_name(km_conn_early_state(pc->conn)));
    cJSON_AddItemToObject(line, "flow", pc->early_flow);
    pc->early_flow = NULL;
  }
  peer_send(line);
}

void peer_early_ended(peer_conn *pc, cJSON *flow) {
  pc->early_flow = flow;
  answer_dial(pc);
}

static void on_connected(void *ctx, km_conn *conn) {
  peer_conn *pc = ctx;
  (void)conn;
  pc->connected = true;
  answer_dial(pc);
}

static void on_stream(void *ctx, km_conn *conn, km_stream *stream) {
  (void)conn;
  peer_serve_stream(ctx, stream);
}

static void on_datagram(void *ctx, km_conn *conn, const void *data, size_t len) {
  (void)conn;
  peer_datagram_came(ctx, data, len);
}

static void on_streams_available(void *ctx, km_conn *conn) {
  (void)conn;
  peer_transfer_resume(ctx);
}

static void on_path(void *ctx, km_conn *conn, const km_path_info *path) {
  static const char *const kinds[] = {"none", "direct", "relay"};
  const peer_conn *pc = ctx;
  (void)conn;
  cJSON *line = peer_event("path");
  cJSON_AddNumberToObject(line, "conn", pc->number);
  cJSON_AddStringToObject(line, "kind", kinds[path->kind]);
  peer_add_udp(line, "remote", &path->remote);
  peer_add_udp(line, "local", &path->local);
  peer_send(line);
}

static const char *ended_by(const km_close_info *info) {
  if (info->error == KM_ERR_IDLE_TIMEOUT)
    return "timeout";
  if (info->error == KM_ERR_RESET_BY_PEER)
    return "reset";
  if (info->origin == KM_CLOSE_REMOTE_APP || info->origin == KM_CLOSE_REMOTE_TRANSPORT) {
    return "peer";
  }
  return "local";
}

static void add_ending(cJSON *line, const km_close_info *info) {
  char reason[1025] = "";
  memcpy(reason, info->reason_len ? info->reason : (const uint8_t *)"", info->reason_len);
  reason[info->reason_len] = '\0';
  cJSON_AddStringToObject(line, "by", ended_by(info));
  cJSON_AddBoolToObject(line, "app", info->application);
  peer_add_code(line, "code", info->code);
  cJSON_AddStringToObject(line, "reason", reason);
  cJSON_AddStringToObject(line, "error", km_error_name(info->error));
  cJSON_AddStringToObject(line, "text", info->text);
}

static void on_closed(void *ctx, km_conn *conn, const km_close_info *info) {
  peer_conn *pc = ctx;
  cJSON *line;
  (void)conn;
  if (pc->dial_request != 0) {
    line = peer_answer_to(pc->dial_request);
    cJSON_ReplaceItemInObjectCaseSensitive(line, "ok", cJSON_CreateFalse());
  } else {
    line = peer_event("closed");
    cJSON_AddNumberToObject(line, "conn", pc->number);
  }
  add_ending(line, info);
  peer_send(line);
  conn_free(pc);
}

static const km_conn_callbacks callbacks = {
    .size = sizeof callbacks,
    .on_connected = on_connected,
    .on_stream = on_stream,
    .on_datagram = on_datagram,
    .on_streams_available = on_streams_available,
    .on_path = on_path,
    .on_closed = on_closed,
};

void peer_dial(peer *self, const cJSON *request) {
  int id = peer_int(request, "id", 0);
  int early = peer_int(request, "early", -1);
  km_addr *addr;
  km_errinfo err = {0};
  if (peer_read_addr(&addr, request, &err) != 0) {
    peer_fail_info(id, &err);
    return;
  }
  peer_conn *pc = conn_new(self);
  pc->early = early >= 0;
  const km_dial_options options = {.size = sizeof options, .early_data = pc->early};
  int rc = km_endpoint_dial(self->endpoint, &pc->conn, addr, peer_text(request, "alpn"), &callbacks,
                            pc, &options, &err);
  km_addr_free(addr);
  if (rc != 0) {
    conn_free(pc);
    peer_fail(id, rc, err.text);
    return;
  }
  pc->dial_request = id;
  if (!pc->early)
    return;
  rc = peer_transfer_early(pc, (uint64_t)early);
  if (rc != 0)
    peer_early_ended(pc, cJSON_CreateString(km_error_name(rc)));
}

static void add_paths(cJSON *line, const km_conn *conn) {
  km_path_info infos[16];
  size_t count = km_conn_paths(conn, infos, sizeof infos / sizeof infos[0]);
  cJSON *paths = cJSON_AddArrayToObject(line, "paths");
  for (size_t i = 0; i < count; i++) {
    cJSON *path = cJSON_CreateObject();
    if (infos[i].relay_url != NULL)
      cJSON_AddStringToObject(path, "remote", infos[i].relay_url);
    else
      peer_add_udp(path, "remote", &infos[i].remote);
    peer_add_udp(path, "local", &infos[i].local);
    cJSON_AddBoolToObject(path, "selected", infos[i].selected);
    peer_add_u64(path, "rx_bytes", infos[i].rx_bytes);
    cJSON_AddItemToArray(paths, path);
  }
}

void peer_stats(peer *self, const cJSON *request) {
  const peer_conn *pc = peer_conn_of(self, request);
  km_conn_stats stats = {.size = sizeof stats};
  km_path_info path = {0};
  if (!pc)
    return;
  int rc = km_conn_get_stats(pc->conn, &stats);
  if (rc == 0)
    rc = km_conn_path(pc->conn, &path);
  if (rc != 0) {
    peer_fail(peer_int(request, "id", 0), rc, NULL);
    return;
  }
  cJSON *line = peer_answer(request);
  peer_add_u64(line, "tx_packets", stats.tx_packets);
  peer_add_u64(line, "rx_packets", stats.rx_packets);
  peer_add_u64(line, "key_updates", stats.key_updates);
  peer_add_u64(line, "migrations", stats.migrations);
  peer_add_u64(line, "mtu", stats.mtu);
  cJSON_AddBoolToObject(line, "resumed", stats.resumed);
  cJSON_AddStringToObject(line, "cipher", stats.cipher ? stats.cipher : "");
  cJSON_AddStringToObject(line, "group", stats.group ? stats.group : "");
  peer_add_udp(line, "local", &path.local);
  add_paths(line, pc->conn);
  peer_send(line);
}

void peer_update_keys(peer *self, const cJSON *request) {
  const peer_conn *pc = peer_conn_of(self, request);
  if (!pc)
    return;
  int rc = km_conn_update_keys(pc->conn);
  if (rc != 0)
    peer_fail(peer_int(request, "id", 0), rc, NULL);
  else
    peer_ok(request);
}

void peer_close(peer *self, const cJSON *request) {
  const peer_conn *pc = peer_conn_of(self, request);
  if (!pc)
    return;
  const char *reason = peer_text(request, "reason");
  km_conn_close(pc->conn, peer_code(request, "code"), reason, strlen(reason));
  peer_ok(request);
}
