/* What a program is told of peers and of the mesh. */
#include <string.h>

#include "endpoint/mesh/mesh_impl.h"

static const char *or_empty(const char *text) {
  return text == NULL ? "" : text;
}

/* The first way that is configured, as text. */
static const char *configured_addr(const km_mpeer *p, char buf[KM_UDP_ADDR_TEXT_CAP]) {
  if (p->addr == NULL) {
    return "";
  }
  if (km_addr_udp_count(p->addr) > 0 &&
      km_udp_addr_format(km_addr_udp_at(p->addr, 0), buf, KM_UDP_ADDR_TEXT_CAP) > 0) {
    return buf;
  }
  return or_empty(km_addr_relay_at(p->addr, 0));
}

static size_t allowed_shares(km_mesh *m, const km_mpeer *p) {
  size_t count = 0;
  for (size_t i = 0; i < m->options.share_count; i++) {
    const char *name = m->options.shares[i].name;
    if (km_gate_access(m, &p->id, name, NULL) != KM_ACCESS_NONE) {
      m->allowed_names[count++] = name;
    }
  }
  return count;
}

static uint64_t waiting_messages(km_mesh *m, const km_id *peer) {
  int64_t count = km_outbox_count(m->store, peer, NULL);
  return count < 0 ? 0 : (uint64_t)count;
}

static void fill(km_mesh *m, km_mpeer *p, km_peer_status *s) {
  s->id = p->id;
  s->name = p->name != NULL ? p->name : km_trust_name(m->store, &p->id, m->name_text);
  s->node_id = or_empty(p->node_id);
  s->addr = p->reached != NULL ? p->reached : configured_addr(p, m->addr_text);
  s->state = p->state;
  s->configured = p->configured && !p->by_trust;
  s->last_error = p->last_error;
  s->last_hello_ms = p->last_hello_ms;
  s->last_ack_ms = p->last_ack_ms;
  s->last_heartbeat_ms = p->last_heartbeat_ms;
  s->connected_ms = p->connected_ms;
  s->next_attempt_ms = p->next_attempt_ms;
  s->attempts = p->link != NULL ? 0 : p->backoff.attempts;
  s->allowed_shares = m->allowed_names;
  s->allowed_share_count = allowed_shares(m, p);
  s->remote_shares = (const char *const *)p->remote.shares;
  s->remote_share_count = p->remote.share_count;
  s->remote_features = (const char *const *)p->remote.features;
  s->remote_feature_count = p->remote.feature_count;
  s->remote_version = or_empty(p->remote_version);
  s->rtt_us = p->rtt_us;
  s->jitter_us = p->jitter_us;
  s->last_sync_ms = p->last_sync_ms;
  s->entries_in = p->entries_in;
  s->entries_out = p->entries_out;
  s->messages_in = p->messages_in;
  s->messages_out = p->messages_out;
  s->waiting_messages = waiting_messages(m, &p->id);
  s->faults = p->guard.faults;
}

static void status_of(km_mesh *m, km_mpeer *p, km_peer_status *s) {
  *s = (km_peer_status){.size = sizeof *s};
  if (p->link != NULL) {
    km_path_info path;
    km_mpeer_keep_info(p, p->link);
    s->dialled_by_us = p->link->dialled;
    s->path = km_conn_path(p->link->conn, &path) == 0 ? path.kind : KM_PATH_NONE;
    s->syncing = km_sync_streams_busy(p->link);
  }
  fill(m, p, s);
}

int km_peer_get(km_mesh *mesh, const km_id *id, km_peer_status *ret) {
  km_mpeer *p = km_mpeer_find(mesh, id);
  if (p == NULL) {
    return KM_ERR_NOT_FOUND;
  }
  km_peer_status s;
  size_t size = ret->size < sizeof s ? ret->size : sizeof s;
  status_of(mesh, p, &s);
  s.size = ret->size;
  memcpy(ret, &s, size);
  return 0;
}

/* By id, because the callback may add and remove peers. */
size_t km_peer_list(km_mesh *mesh, km_peer_fn fn, void *ctx) {
  size_t count = 0, told = 0;
  km_id *ids = km_env_zalloc(mesh->env, mesh->peer_count + 1, sizeof *ids);
  for (const km_mpeer *p = mesh->peers; p != NULL && ids != NULL; p = p->next) {
    ids[count++] = p->id;
  }
  for (size_t i = 0; i < count; i++) {
    km_mpeer *p = km_mpeer_find(mesh, &ids[i]);
    km_peer_status s;
    if (p != NULL) {
      status_of(mesh, p, &s);
      fn(ctx, &s);
      told++;
    }
  }
  km_env_free(mesh->env, ids);
  return told;
}

km_conn *km_peer_conn(km_mesh *mesh, const km_id *id) {
  const km_mpeer *p = km_mpeer_find(mesh, id);
  return p == NULL || p->link == NULL || p->link->closing ? NULL : p->link->conn;
}

int km_mesh_sync(km_mesh *mesh, const km_id *peer) {
  if (peer != NULL) {
    const km_mpeer *p = km_mpeer_find(mesh, peer);
    bool up = p != NULL && p->link != NULL && km_sync_streams_now(p->link) == 0;
    return up ? 0 : KM_ERR_NOT_FOUND;
  }
  for (const km_mpeer *p = mesh->peers; p != NULL; p = p->next) {
    if (p->link != NULL) {
      (void)km_sync_streams_now(p->link);
    }
  }
  return 0;
}

size_t km_mesh_request_statements(km_mesh *mesh) {
  size_t count = 0;
  for (const km_mpeer *p = mesh->peers; p != NULL; p = p->next) {
    if (p->link != NULL && p->link->push != NULL && !p->link->closing) {
      km_push_request_statements(p->link);
      count++;
    }
  }
  return count;
}

km_access km_mesh_access(km_mesh *mesh, const km_id *peer, const char *share,
                         const char **ret_reason) {
  const char *reason;
  km_access access = km_gate_access(mesh, peer, share, &reason);
  if (access != KM_ACCESS_NONE && !km_id_equal(peer, km_store_id(mesh->store)) &&
      !km_gate_lets_in(mesh, peer)) {
    access = KM_ACCESS_NONE;
    reason = "it is not let in here";
  }
  if (ret_reason != NULL) {
    *ret_reason = reason;
  }
  return access;
}

int km_mesh_get_stats(km_mesh *mesh, km_mesh_stats *ret) {
  if (ret == NULL || ret->size < sizeof ret->size) {
    return KM_ERR_INVALID;
  }
  km_mesh_stats s = mesh->stats;
  s.size = ret->size;
  s.peers = mesh->peer_count;
  s.connected = 0;
  for (const km_mpeer *p = mesh->peers; p != NULL; p = p->next) {
    s.connected += p->link != NULL;
  }
  memcpy(ret, &s, ret->size < sizeof s ? ret->size : sizeof s);
  return 0;
}
