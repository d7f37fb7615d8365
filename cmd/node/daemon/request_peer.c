/* Whom the node lets in, and connections to them. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cmd/node/daemon/request_impl.h"
#include "store/trust_db.h"

/* NULL: not in the configuration, or without a name. */
static const char *configured_name(const node_context *node, const km_id *id) {
  const project *p = node->project;
  for (size_t i = 0; p != NULL && i < p->peer_count; i++) {
    if (p->peers[i].has_id && km_id_equal(&p->peers[i].id, id)) {
      return p->peers[i].name;
    }
  }
  return NULL;
}

const char *peer_name(node_context *node, const km_id *id, char buf[KM_PEER_NAME_MAX + 1]) {
  const char *name = configured_name(node, id);
  if (name == NULL) {
    return km_trust_name(node->store, id, buf);
  }
  (void)snprintf(buf, KM_PEER_NAME_MAX + 1, "%s", name);
  return buf;
}

/* UNIX seconds; what lies behind us, the library refuses. */
static int arg_expires(const cJSON *args, int64_t *ret, km_errinfo *err) {
  double seconds;
  int rv = arg_number(args, "expires", 0, 0, 1e11, &seconds, err);
  *ret = (int64_t)seconds;
  return rv;
}

static bool is_configured(const node_context *node, const km_id *id) {
  const project *p = node->project;
  for (size_t i = 0; p != NULL && i < p->peer_count; i++) {
    if (p->peers[i].has_id && km_id_equal(&p->peers[i].id, id)) {
      return true;
    }
  }
  return false;
}

/* Whom nobody named when it was decided has the configuration's name. */
static cJSON *decision_json(const node_context *node, const km_trust_info *info) {
  km_trust_info named = *info;
  const char *name = configured_name(node, &info->id);
  if (named.name[0] == '\0' && name != NULL) {
    named.name = name;
  }
  return trust_json(&named);
}

/* The peer as it is known after a change. */
static int known(request *r, const km_id *id, cJSON **ret, km_errinfo *err) {
  km_trust_info info;
  int rv = km_trust_get(r->node->store, id, &info, err);
  if (rv != 0) {
    return rv;
  }
  cJSON *o = decision_json(r->node, &info);
  put_flag(o, "configured", is_configured(r->node, id));
  return request_result(o, ret, err);
}

static int only_id(const km_id *id, cJSON **ret, km_errinfo *err) {
  cJSON *o = cJSON_CreateObject();
  put_id(o, "id", id);
  return request_result(o, ret, err);
}

/* --- trust ------------------------------------------------------------------------------------ */

static int run_trust(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  km_id id;
  const char *name, *note;
  int64_t expires;
  int rv = arg_peer_decided(r, args, &id, err);
  rv = rv != 0 ? rv : arg_text(args, "name", false, &name, err);
  rv = rv != 0 ? rv : arg_text(args, "note", false, &note, err);
  rv = rv != 0 ? rv : arg_expires(args, &expires, err);
  rv = rv != 0 ? rv : km_trust_add(r->node->store, &id, name, note, expires, err);
  return rv != 0 ? rv : known(r, &id, ret, err);
}

static int run_block(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  km_id id;
  const char *note;
  int rv = arg_peer_decided(r, args, &id, err);
  rv = rv != 0 ? rv : arg_text(args, "note", false, &note, err);
  rv = rv != 0 ? rv : km_trust_block(r->node->store, &id, note, err);
  return rv != 0 ? rv : known(r, &id, ret, err);
}

static int run_revoke(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  km_id id;
  const char *reason;
  int rv = arg_peer_decided(r, args, &id, err);
  rv = rv != 0 ? rv : arg_text(args, "reason", false, &reason, err);
  rv = rv != 0 ? rv : km_trust_revoke(r->node->store, &id, reason, err);
  return rv != 0 ? rv : known(r, &id, ret, err);
}

static int run_forget(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  km_id id;
  int rv = arg_peer_decided(r, args, &id, err);
  rv = rv != 0 ? rv : km_trust_forget(r->node->store, &id, err);
  if (rv != 0) {
    return rv;
  }
  km_peer_status status = {.size = sizeof status};
  km_mesh *mesh = r->node->mesh;
  if (mesh != NULL && km_peer_get(mesh, &id, &status) == 0 && !status.configured) {
    (void)km_peer_remove(mesh, &id); /* one that peer.dial added */
  }
  return only_id(&id, ret, err);
}

static int run_recommend(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  km_id id;
  const char *name;
  int64_t expires;
  int rv = arg_peer_decided(r, args, &id, err);
  rv = rv != 0 ? rv : arg_text(args, "name", false, &name, err);
  rv = rv != 0 ? rv : arg_expires(args, &expires, err);
  rv = rv != 0 ? rv : km_trust_recommend(r->node->store, &id, name, expires, err);
  return rv != 0 ? rv : only_id(&id, ret, err);
}

static int run_withdraw(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  km_id id;
  int rv = arg_peer_decided(r, args, &id, err);
  rv = rv != 0 ? rv : km_trust_withdraw(r->node->store, &id, err);
  return rv != 0 ? rv : only_id(&id, ret, err);
}

static int run_approve(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  km_id id;
  int rv = arg_peer_decided(r, args, &id, err);
  rv = rv != 0 ? rv : km_trust_approve(r->node->store, &id, err);
  return rv != 0 ? rv : known(r, &id, ret, err);
}

static int run_deny(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  km_id id;
  int rv = arg_peer_decided(r, args, &id, err);
  rv = rv != 0 ? rv : km_trust_deny(r->node->store, &id, err);
  return rv != 0 ? rv : known(r, &id, ret, err);
}

/* --- lists ------------------------------------------------------------------------------------ */

static void on_known(void *ctx, const km_trust_info *info) {
  request *r = ctx;
  request_row(r, decision_json(r->node, info));
}

static int list_state(request *r, km_trust_state state, cJSON **ret, km_errinfo *err) {
  int64_t count = km_trust_list(r->node->store, state, on_known, r, err);
  return count < 0 ? (int)count : request_count(r, ret, err);
}

static int run_list(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  static const struct {
    const char *name;
    km_trust_state state;
  } states[] = {
      {"trusted", KM_TRUST_TRUSTED}, {"pending", KM_TRUST_PENDING}, {"blocked", KM_TRUST_BLOCKED}};
  const char *state;
  int rv = arg_text(args, "state", false, &state, err);
  if (rv != 0 || state == NULL) {
    return rv != 0 ? rv : list_state(r, KM_TRUST_UNKNOWN, ret, err);
  }
  for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
    if (strcmp(states[i].name, state) == 0) {
      return list_state(r, states[i].state, ret, err);
    }
  }
  return km_fail(err, KM_ERR_INVALID, "'state' is trusted, pending or blocked, not '%.20s'", state);
}

static int run_requests(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  (void)args;
  return list_state(r, KM_TRUST_PENDING, ret, err);
}

/* --- connections ------------------------------------------------------------------------------ */

/* One that the mesh does not know yet: it is let in, and dialled again, for as long as it is
 * trusted. */
static int dial_new(request *r, const km_id *id, const km_addr *addr, km_errinfo *err) {
  char name[KM_PEER_NAME_MAX + 1];
  km_trust_info info;
  int rv = km_trust_get(r->node->store, id, &info, NULL);
  if (rv != 0 || info.state != KM_TRUST_TRUSTED) {
    return km_fail(
        err, KM_ERR_STATE,
        "it is not trusted here: km-node peer trust lets it in, and km-node peer add puts "
        "it into keymesh.yaml");
  }
  (void)peer_name(r->node, id, name);
  const km_mesh_peer peer = {.size = sizeof peer,
                             .id = *id,
                             .name = name[0] == '\0' ? NULL : name,
                             .addr = addr,
                             .dial = true,
                             .by_trust = true};
  return km_peer_add(r->node->mesh, &peer, err);
}

static int run_dial(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  km_id id;
  km_addr *addr;
  km_peer_status status = {.size = sizeof status};
  int rv = arg_peer(r, args, &id, &addr, err);
  if (rv != 0) {
    return rv;
  }
  rv = km_peer_dial(r->node->mesh, &id);
  rv = rv == KM_ERR_NOT_FOUND ? dial_new(r, &id, addr, err) : rv;
  km_addr_free(addr);
  if (rv != 0) {
    return rv;
  }
  cJSON *o = cJSON_CreateObject();
  put_id(o, "id", &id);
  if (km_peer_get(r->node->mesh, &id, &status) == 0) {
    put_text(o, "state", peer_state_name(status.state));
  }
  return request_result(o, ret, err);
}

static int run_access(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  static const char *const names[] = {"none", "ro", "rw"};
  km_id id;
  const char *share, *reason = NULL;
  int rv = arg_peer(r, args, &id, NULL, err);
  rv = rv != 0 ? rv : arg_text(args, "share", true, &share, err);
  if (rv != 0) {
    return rv;
  }
  km_access access = km_mesh_access(r->node->mesh, &id, share, &reason);
  cJSON *o = cJSON_CreateObject();
  put_id(o, "id", &id);
  put_text(o, "share", share);
  put_text(o, "access", names[access]);
  put_text(o, "reason", reason);
  return request_result(o, ret, err);
}

const request_command request_peer_commands[] = {
    {"peer.list", "state ", false, run_list},
    {"peer.trust", "peer name note expires ", false, run_trust},
    {"peer.block", "peer note ", false, run_block},
    {"peer.revoke", "peer reason ", false, run_revoke},
    {"peer.forget", "peer ", false, run_forget},
    {"peer.recommend", "peer name expires ", false, run_recommend},
    {"peer.withdraw", "peer ", false, run_withdraw},
    {"peer.requests", "", false, run_requests},
    {"peer.approve", "peer ", false, run_approve},
    {"peer.deny", "peer ", false, run_deny},
    {"peer.dial", "peer ", true, run_dial},
    {"peer.access", "peer share ", true, run_access},
    {0},
};
