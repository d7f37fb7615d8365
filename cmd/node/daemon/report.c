/* The JSON of /health, /peers and /shares. */
#include <string.h>

#include "cmd/node/daemon/request_impl.h"

const char *peer_state_name(km_peer_state state) {
  static const char *const names[] = {"idle",      "dialling", "handshake",
                                      "connected", "waiting",  "refused"};
  return (size_t)state < sizeof names / sizeof names[0] ? names[state] : "unknown";
}

/* --- health ----------------------------------------------------------------------------------- */

cJSON *report_health(node_context *node) {
  int64_t now_ms = km_clock_wall().unix_ns / (int64_t)KM_NS_PER_MS;
  int64_t time_s = now_ms / 1000, uptime_s = (now_ms - node->started_ms) / 1000;
  km_mesh_stats stats = {.size = sizeof stats};
  cJSON *o = cJSON_CreateObject();
  put_flag(o, "ok", node->mesh != NULL);
  put_text(o, "node_id", node->project->node_id);
  put_number(o, "time", (double)time_s);
  put_id(o, "id", km_store_id(node->store));
  put_text(o, "version", km_version());
  put_number(o, "uptime_s", (double)uptime_s);
  if (node->mesh != NULL && km_mesh_get_stats(node->mesh, &stats) == 0) {
    put_number(o, "peers", (double)stats.peers);
    put_number(o, "connected", (double)stats.connected);
  }
  return o;
}

/* --- peers ------------------------------------------------------------------------------------ */

static void put_or_null(cJSON *to, const char *name, const char *text) {
  put_text(to, name, text == NULL || text[0] == '\0' ? NULL : text);
}

static void put_fingerprint(cJSON *to, const km_id *id) {
  char text[KM_ID_TEXT_CAP];
  (void)km_id_format(id, KM_ID_FINGERPRINT, text, sizeof text);
  put_text(to, "fingerprint", text);
}

/* What the first KeyMesh told of a peer. */
static void put_seed_members(cJSON *to, const km_peer_status *peer) {
  put_id(to, "id", &peer->id);
  put_text(to, "addr", peer->addr);
  put_flag(to, "connected", peer->state == KM_PEER_CONNECTED);
  put_text(to, "last_error", peer->last_error);
  put_seconds(to, "last_hello_ts", peer->last_hello_ms);
  put_seconds(to, "last_ack_ts", peer->last_ack_ms);
  put_seconds(to, "last_heartbeat_ts", peer->last_heartbeat_ms);
  put_texts(to, "allowed_shares", peer->allowed_shares, peer->allowed_share_count);
  put_fingerprint(to, &peer->id);
  cJSON *remote = to == NULL ? NULL : cJSON_AddObjectToObject(to, "remote_capabilities");
  if (peer->remote_version != NULL && peer->remote_version[0] != '\0') {
    put_texts(remote, "shares", peer->remote_shares, peer->remote_share_count);
    put_texts(remote, "features", peer->remote_features, peer->remote_feature_count);
  }
}

void put_faults(cJSON *to, const km_peer_faults *faults) {
  cJSON *o = to == NULL ? NULL : cJSON_AddObjectToObject(to, "faults");
  put_number(o, "forged", (double)faults->forged);
  put_number(o, "future", (double)faults->future);
  put_number(o, "forbidden", (double)faults->forbidden);
  put_number(o, "malformed", (double)faults->malformed);
  put_number(o, "flooded", (double)faults->flooded);
  put_number(o, "cut", (double)faults->cut);
}

static void put_ms(cJSON *to, const char *name, uint64_t us) {
  if (us == 0) {
    put_text(to, name, NULL);
  } else {
    put_number(to, name, (double)us / 1000.0);
  }
}

static void put_our_members(cJSON *to, const km_peer_status *peer) {
  static const char *const paths[] = {"none", "direct", "relay"};
  put_text(to, "name", peer->name);
  put_or_null(to, "node_id", peer->node_id);
  put_flag(to, "configured", peer->configured);
  put_text(to, "state", peer_state_name(peer->state));
  put_flag(to, "dialled", peer->dialled_by_us);
  put_or_null(to, "version", peer->remote_version);
  put_text(to, "path", paths[peer->path]);
  put_ms(to, "rtt_ms", peer->rtt_us);
  put_ms(to, "jitter_ms", peer->jitter_us);
  put_seconds(to, "connected_since", peer->connected_ms);
  put_seconds(to, "next_attempt", peer->next_attempt_ms);
  put_number(to, "attempts", peer->attempts);
  put_flag(to, "syncing", peer->syncing);
  put_seconds(to, "last_sync_ts", peer->last_sync_ms);
  put_number(to, "entries_in", (double)peer->entries_in);
  put_number(to, "entries_out", (double)peer->entries_out);
  put_number(to, "messages_in", (double)peer->messages_in);
  put_number(to, "messages_out", (double)peer->messages_out);
  put_number(to, "waiting_messages", (double)peer->waiting_messages);
  put_faults(to, &peer->faults);
}

void put_peer(cJSON *to, const km_peer_status *peer) {
  put_seed_members(to, peer);
  put_our_members(to, peer);
}

static cJSON *peer_json(const km_peer_status *peer) {
  cJSON *o = cJSON_CreateObject();
  put_peer(o, peer);
  return o;
}

static void on_peer(void *ctx, const km_peer_status *peer) {
  (void)cJSON_AddItemToArray(ctx, peer_json(peer));
}

/* Of the configuration alone: no daemon runs. */
static void add_configured(cJSON *list, const project *p) {
  for (size_t i = 0; i < p->peer_count; i++) {
    const project_peer *peer = &p->peers[i];
    km_peer_status status = {.size = sizeof status,
                             .id = peer->id,
                             .name = peer->name != NULL ? peer->name : "",
                             .addr = peer->addr_text != NULL ? peer->addr_text : "",
                             .configured = true,
                             .state = KM_PEER_IDLE};
    if (peer->has_id) {
      (void)cJSON_AddItemToArray(list, peer_json(&status));
    }
  }
}

cJSON *report_peers(node_context *node) {
  cJSON *o = cJSON_CreateObject();
  cJSON *list = o == NULL ? NULL : cJSON_AddArrayToObject(o, "peers");
  if (list == NULL) {
    cJSON_Delete(o);
    return NULL;
  }
  if (node->mesh != NULL) {
    (void)km_peer_list(node->mesh, on_peer, list);
  } else {
    add_configured(list, node->project);
  }
  return o;
}

/* --- shares ----------------------------------------------------------------------------------- */

static void on_share(void *ctx, const char *share, uint64_t entries, uint64_t deleted,
                     uint64_t bytes) {
  cJSON *o;
  cJSON_ArrayForEach(o, (cJSON *)ctx) {
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, "name"));
    if (name != NULL && strcmp(name, share) == 0) {
      cJSON_SetNumberValue(cJSON_GetObjectItemCaseSensitive(o, "entries"), (double)entries);
      cJSON_SetNumberValue(cJSON_GetObjectItemCaseSensitive(o, "deleted"), (double)deleted);
      cJSON_SetNumberValue(cJSON_GetObjectItemCaseSensitive(o, "bytes"), (double)bytes);
    }
  }
}

static cJSON *share_json(const project_share *share) {
  static const char *const access[] = {"none", "ro", "rw"};
  cJSON *o = cJSON_CreateObject();
  put_text(o, "name", share->name);
  put_text(o, "path", share->path);
  put_flag(o, "delete_propagation", share->delete_propagation);
  put_text(o, "others", access[share->others]);
  put_number(o, "entries", 0);
  put_number(o, "deleted", 0);
  put_number(o, "bytes", 0);
  return o;
}

cJSON *report_shares(node_context *node) {
  cJSON *o = cJSON_CreateObject();
  cJSON *list = o == NULL ? NULL : cJSON_AddArrayToObject(o, "shares");
  if (list == NULL) {
    cJSON_Delete(o);
    return NULL;
  }
  for (size_t i = 0; i < node->project->share_count; i++) {
    (void)cJSON_AddItemToArray(list, share_json(&node->project->shares[i]));
  }
  /* A store that cannot be read shows as empty here; every other command says why. */
  (void)!km_kv_shares(node->store, on_share, list, NULL);
  return o;
}
