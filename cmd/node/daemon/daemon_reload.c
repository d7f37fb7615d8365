/* keymesh.yaml, read again while the node runs. */
#include <stdlib.h>
#include <string.h>

#include "cmd/node/daemon/daemon.h"
#include "cmd/node/daemon/request_impl.h"

/* What a reload did: sentences. */
typedef struct report {
  cJSON *changed, *restart;
} report;

static void say(cJSON *list, const char *fmt, const char *what) {
  char text[KM_ID_TEXT_CAP + 64];
  (void)snprintf(text, sizeof text, fmt, what);
  (void)cJSON_AddItemToArray(list, cJSON_CreateString(text));
}

static void say_id(cJSON *list, const char *fmt, const km_id *id, const char *name) {
  char hex[KM_ID_TEXT_CAP];
  (void)km_id_format(id, KM_ID_SHORT, hex, sizeof hex);
  say(list, fmt, name != NULL && name[0] != '\0' ? name : hex);
}

static bool same_text(const char *a, const char *b) {
  return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* --- peers ------------------------------------------------------------------------------------ */

static bool same_addr(const km_addr *a, const km_addr *b) {
  char ta[KM_TICKET_MAX], tb[KM_TICKET_MAX];
  if (a == NULL || b == NULL) {
    return a == b;
  }
  return km_ticket_format(a, ta, sizeof ta, NULL) == 0 &&
         km_ticket_format(b, tb, sizeof tb, NULL) == 0 && strcmp(ta, tb) == 0;
}

static bool same_peer(const km_mesh_peer *a, const km_mesh_peer *b) {
  bool same = same_text(a->name, b->name) && a->dial == b->dial && same_addr(a->addr, b->addr) &&
              a->grant_count == b->grant_count;
  for (size_t i = 0; same && i < a->grant_count; i++) {
    same = a->grants[i].access == b->grants[i].access &&
           same_text(a->grants[i].share, b->grants[i].share);
  }
  return same;
}

static const km_mesh_peer *find_peer(const km_mesh_options *o, const km_id *id) {
  for (size_t i = 0; i < o->peer_count; i++) {
    if (km_id_equal(&o->peers[i].id, id)) {
      return &o->peers[i];
    }
  }
  return NULL;
}

static bool has_id(const km_id *ids, size_t count, const km_id *id) {
  size_t i = 0;
  while (i < count && !km_id_equal(&ids[i], id)) {
    i++;
  }
  return i < count;
}

static int add_peers(node_daemon *d, const km_mesh_options *was, const km_mesh_options *is,
                     report *r, km_errinfo *err) {
  for (size_t i = 0; i < is->peer_count; i++) {
    const km_mesh_peer *peer = &is->peers[i];
    const km_mesh_peer *before = find_peer(was, &peer->id);
    if (!d->half && before != NULL && same_peer(before, peer)) {
      continue;
    }
    int rv = km_peer_add(d->node.mesh, peer, err);
    if (rv != 0) {
      return rv;
    }
    say_id(r->changed, before == NULL ? "peer %s was added" : "peer %s was changed", &peer->id,
           peer->name);
  }
  return 0;
}

/* Those that stay in security.allow are added again, as such. */
static void remove_peers(node_daemon *d, const km_mesh_options *was, const km_mesh_options *is,
                         report *r) {
  for (size_t i = 0; i < was->peer_count; i++) {
    if (find_peer(is, &was->peers[i].id) == NULL) {
      (void)km_peer_remove(d->node.mesh, &was->peers[i].id);
      say_id(r->changed, "peer %s was removed", &was->peers[i].id, was->peers[i].name);
    }
  }
}

/* --- allow and block -------------------------------------------------------------------------- */

static int add_allowed(node_daemon *d, const project *p, km_errinfo *err) {
  km_mesh_options o;
  project_mesh_options(p, &o);
  for (size_t i = 0; i < p->allow_count; i++) {
    km_peer_status status = {.size = sizeof status};
    bool known = km_peer_get(d->node.mesh, &p->allow[i], &status) == 0 && status.configured;
    if (find_peer(&o, &p->allow[i]) != NULL || known) {
      continue;
    }
    const km_mesh_peer peer = {.size = sizeof peer, .id = p->allow[i]};
    int rv = km_peer_add(d->node.mesh, &peer, err);
    if (rv != 0) {
      return rv;
    }
  }
  return 0;
}

int daemon_add_allowed(node_daemon *d, km_errinfo *err) {
  return add_allowed(d, d->project, err);
}

static void remove_allowed(node_daemon *d, const project *was, const project *is, report *r) {
  km_mesh_options o;
  project_mesh_options(is, &o);
  for (size_t i = 0; i < was->allow_count; i++) {
    const km_id *id = &was->allow[i];
    if (!has_id(is->allow, is->allow_count, id)) {
      say_id(r->changed, "%s is no longer allowed", id, NULL);
      if (find_peer(&o, id) == NULL) {
        (void)km_peer_remove(d->node.mesh, id);
      }
    }
  }
}

static void unblock(node_daemon *d, const project *was, const project *is, report *r) {
  for (size_t i = 0; i < was->block_count; i++) {
    const km_id *id = &was->block[i];
    if (has_id(is->block, is->block_count, id)) {
      continue;
    }
    if (has_id(d->first->block, d->first->block_count, id)) {
      say(r->restart, "%s", "security.block: who was taken out stays blocked until then");
      continue;
    }
    say_id(r->changed,
           daemon_unblock(d, id) ? "%s is no longer blocked"
                                 : "%s stays blocked: km-node peer list says why",
           id, NULL);
  }
}

static int block(node_daemon *d, const project *was, const project *is, report *r,
                 km_errinfo *err) {
  for (size_t i = 0; i < is->block_count; i++) {
    const km_id *id = &is->block[i];
    if (!d->half && has_id(was->block, was->block_count, id)) {
      continue;
    }
    int rv = daemon_block(d, id, err);
    if (rv != 0) {
      return rv;
    }
    say_id(r->changed, "%s is blocked", id, NULL);
  }
  return 0;
}

/* --- what needs a restart --------------------------------------------------------------------- */

static bool same_list(char *const *a, size_t a_count, char *const *b, size_t b_count) {
  bool same = a_count == b_count;
  for (size_t i = 0; same && i < a_count; i++) {
    same = strcmp(a[i], b[i]) == 0;
  }
  return same;
}

static bool same_shares(const project *a, const project *b) {
  bool same = a->share_count == b->share_count;
  for (size_t i = 0; same && i < a->share_count; i++) {
    same = strcmp(a->shares[i].name, b->shares[i].name) == 0 &&
           a->shares[i].others == b->shares[i].others;
  }
  return same;
}

static bool same_limits(const project *a, const project *b) {
  return a->max_message == b->max_message && a->rate_per_minute == b->rate_per_minute &&
         a->rate_per_second == b->rate_per_second && a->max_faults == b->max_faults &&
         a->max_conns_per_addr == b->max_conns_per_addr;
}

static bool same_connectivity(const project *a, const project *b) {
  return a->heartbeat_ms == b->heartbeat_ms && a->heartbeat_timeout_ms == b->heartbeat_timeout_ms &&
         a->connect_timeout_ms == b->connect_timeout_ms &&
         a->sync_interval_ms == b->sync_interval_ms && a->backoff_count == b->backoff_count &&
         memcmp(a->backoff_ms, b->backoff_ms, a->backoff_count * sizeof a->backoff_ms[0]) == 0 &&
         a->backoff_jitter_percent == b->backoff_jitter_percent && a->relay_mode == b->relay_mode &&
         a->port_mapping == b->port_mapping && same_text(a->relay_ca_file, b->relay_ca_file) &&
         same_list(a->relay_urls, a->relay_url_count, b->relay_urls, b->relay_url_count);
}

static bool same_discovery(const project *a, const project *b) {
  return a->mdns == b->mdns && a->publish == b->publish && a->publish_direct == b->publish_direct &&
         same_list(a->pkarr_urls, a->pkarr_url_count, b->pkarr_urls, b->pkarr_url_count) &&
         same_list(a->dns_origins, a->dns_origin_count, b->dns_origins, b->dns_origin_count);
}

static bool same_store(const project *a, const project *b) {
  return same_text(a->store_path, b->store_path) && a->durability == b->durability &&
         a->max_key == b->max_key && a->max_value == b->max_value &&
         a->max_skew_ms == b->max_skew_ms && a->tombstone_min_s == b->tombstone_min_s;
}

static bool same_security(const project *a, const project *b) {
  return a->level == b->level && a->recommend_threshold == b->recommend_threshold &&
         a->accept_revocations == b->accept_revocations && same_text(a->key_file, b->key_file) &&
         same_list(a->fingerprints, a->fingerprint_count, b->fingerprints, b->fingerprint_count);
}

static bool same_node(const project *a, const project *b) {
  return same_text(a->node_id, b->node_id) && same_text(a->bind_host, b->bind_host) &&
         a->listen_port == b->listen_port && same_text(a->control_path, b->control_path);
}

static bool same_status(const project *a, const project *b) {
  return a->status_enabled == b->status_enabled && a->status_port == b->status_port &&
         same_text(a->status_host, b->status_host) && same_text(a->status_token, b->status_token);
}

static void say_restarts(const project *a, const project *b, report *r) {
  const struct {
    bool same;
    const char *text;
  } rows[] = {
      {same_node(a, b), "node: name, addresses or control socket"},
      {same_security(a, b), "security: level, key, recommendations, revocations or fingerprints"},
      {same_shares(a, b), "shares: names or what others may do"},
      {same_store(a, b), "store"},
      {same_limits(a, b), "limits"},
      {same_connectivity(a, b), "connectivity"},
      {same_discovery(a, b), "discovery"},
      {same_status(a, b), "status_http"},
      {a->log_level == b->log_level, "logging.level"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    if (!rows[i].same) {
      say(r->restart, "%s", rows[i].text);
    }
  }
}

/* --- all of it -------------------------------------------------------------------------------- */

/* First what cannot fail. After a failure the next reload does all the rest again: `half`. */
static int apply(node_daemon *d, const project *fresh, report *r, km_errinfo *err) {
  km_mesh_options was, is;
  project_mesh_options(d->project, &was);
  project_mesh_options(fresh, &is);
  remove_allowed(d, d->project, fresh, r);
  remove_peers(d, &was, &is, r);
  unblock(d, d->project, fresh, r);
  int rv = block(d, d->project, fresh, r, err);
  rv = rv != 0 ? rv : add_peers(d, &was, &is, r, err);
  rv = rv != 0 ? rv : add_allowed(d, fresh, err);
  rv = rv != 0 ? rv : hook_set_command(d->hook, fresh->on_message);
  if (rv == 0 && !same_text(d->project->on_message, fresh->on_message)) {
    say(r->changed, "%s", "hooks.on_message was changed");
  }
  return rv;
}

static void replace(node_daemon *d, project *fresh) {
  if (d->project != d->first) {
    project_free(d->project);
  }
  d->project = fresh;
  d->node.project = fresh;
}

static int not_complete(int rv, km_errinfo *err) {
  const km_errinfo why = *err;
  return km_fail(err, rv, "keymesh.yaml took effect in part only: %.200s; reload again",
                 why.text[0] != '\0' ? why.text : km_strerror(rv));
}

static int reload(node_daemon *d, report *r, km_errinfo *err) {
  project *fresh;
  int rv = log_file_reopen(&d->log, d->project->log_file, err);
  rv = rv != 0 ? rv : project_load(&fresh, d->project->config_path, err);
  if (rv != 0) {
    return rv;
  }
  if (!same_text(fresh->log_file, d->project->log_file)) {
    rv = log_file_reopen(&d->log, fresh->log_file, err);
  }
  if (rv != 0) {
    project_free(fresh);
    return rv;
  }
  rv = apply(d, fresh, r, err);
  d->half = rv != 0;
  say_restarts(d->first, fresh, r);
  replace(d, fresh);
  return rv == 0 ? 0 : not_complete(rv, err);
}

static void tell_failure(node_daemon *d, const char *why) {
  cJSON *event = cli_event(&d->out, "reload_failed");
  put_text(event, "text", why);
  cli_emit_to(&d->out, event);
  DAEMON_LOG(d, KM_LOG_ERROR, "reload-failed", "%s%s", why,
             d->half ? "" : "; the old configuration stays");
}

int daemon_reload(void *ctx, cJSON **ret, km_errinfo *err) {
  node_daemon *d = ctx;
  if (d->stopping) { /* the hook is gone, and the mesh about to be */
    return km_fail(err, KM_ERR_STATE, "the node is ending: there is nothing to read again");
  }
  cJSON *o = cJSON_CreateObject();
  report r = {.changed = cJSON_AddArrayToObject(o, "changed"),
              .restart = cJSON_AddArrayToObject(o, "restart")};
  int rv = reload(d, &r, err);
  if (rv != 0) {
    tell_failure(d, err->text[0] != '\0' ? err->text : km_strerror(rv));
    cJSON_Delete(o);
    return rv;
  }
  DAEMON_LOG(d, KM_LOG_INFO, "reloaded", "changes=%d restart_needed=%s",
             cJSON_GetArraySize(r.changed), cJSON_GetArraySize(r.restart) > 0 ? "yes" : "no");
  cJSON *event = cli_event(&d->out, "reloaded");
  if (event != NULL) {
    (void)cJSON_AddItemToObject(event, "changed", cJSON_Duplicate(r.changed, true));
    (void)cJSON_AddItemToObject(event, "restart", cJSON_Duplicate(r.restart, true));
  }
  cli_emit_to(&d->out, event);
  if (d->page != NULL) {
    status_page_changed(d->page);
  }
  *ret = o;
  return 0;
}
