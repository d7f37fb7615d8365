/* The table of peers: who is dialled when, which of its links is the peer's.
 *
 * Two connections of one pair come to be when both dial at once. The side with the lower id decides
 * which one lives, alone: the other side closes none of the two, and so there is no moment in which
 * each closed what the other one kept. It keeps the one it dialled itself, and closes the other
 * when it knows that its own is up on both sides, not before. docs/protocol-mesh.md. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "endpoint/mesh/mesh_impl.h"
#include "store/store_impl.h"

#define UP_FOR_A_WHILE (10 * KM_NS_PER_S)

static km_ts now_of(const km_mesh *m) {
  return km_loop_now(m->loop);
}

static int64_t wall_ms(const km_mesh *m) {
  return km_store_wall(m->store).unix_ns / (int64_t)KM_NS_PER_MS;
}

/* --- table ----------------------------------------------------------------------------------- */

static size_t bucket_of(const km_id *id) {
  return ((size_t)id->bytes[0] << 8 | id->bytes[1]) % KM_MPEER_BUCKETS;
}

km_mpeer *km_mpeer_find(const km_mesh *m, const km_id *id) {
  km_mpeer *p = m->buckets[bucket_of(id)];
  while (p != NULL && !km_id_equal(&p->id, id)) {
    p = p->same_bucket;
  }
  return p;
}

static void unlist(km_mpeer *p) {
  km_mpeer **at = &p->mesh->peers;
  while (*at != p) {
    at = &(*at)->next;
  }
  *at = p->next;
}

/* Configured ones come first, in the order of their adding. */
static void enlist(km_mpeer *p) {
  km_mpeer **at = &p->mesh->peers;
  while (*at != NULL && (!p->configured || (*at)->configured)) {
    at = &(*at)->next;
  }
  p->next = *at;
  *at = p;
}

static void free_configured(km_mpeer *p) {
  const km_env *env = p->mesh->env;
  km_env_free(env, p->name);
  km_env_free(env, p->grants);
  km_addr_free(p->addr);
  p->name = NULL;
  p->grants = NULL;
  p->grant_count = 0;
  p->addr = NULL;
}

static void peer_free(km_mpeer *p) {
  km_mesh *m = p->mesh;
  km_mpeer **at = &m->buckets[bucket_of(&p->id)];
  while (*at != p) {
    at = &(*at)->same_bucket;
  }
  *at = p->same_bucket;
  unlist(p);
  m->peer_count--;
  km_timer_heap_set(&m->timers, &p->retry, KM_TS_NEVER);
  free_configured(p);
  km_capabilities_free(m->env, &p->remote);
  km_env_free(m->env, p->last_error);
  km_env_free(m->env, p->node_id);
  km_env_free(m->env, p->remote_version);
  km_env_free(m->env, p->reached);
  km_env_free(m->env, p);
}

static bool has_links(const km_mpeer *p) {
  const km_link *l = p->mesh->links;
  while (l != NULL && l->peer != p) {
    l = l->next;
  }
  return l != NULL;
}

/* Nobody needs it: what is known of its faults is needed until they are forgiven. */
static bool is_idle(const km_mpeer *p, bool forgive) {
  km_ts now = now_of(p->mesh);
  bool watched = km_guard_rests_at(&p->guard, now) > now;
  return !p->configured && (forgive || !watched) && !has_links(p);
}

void km_mpeers_reap(km_mesh *m) {
  for (km_mpeer *p = m->peers, *next; p != NULL; p = next) {
    next = p->next;
    if (is_idle(p, false)) {
      peer_free(p);
    }
  }
}

void km_mpeers_free(km_mesh *m) {
  while (m->peers != NULL) {
    peer_free(m->peers);
  }
}

/* A full table makes room by forgetting a stranger, the one last that is cut off for its faults. */
static bool has_room(km_mesh *m) {
  if (m->peer_count < KM_MESH_MAX_PEERS) {
    return true;
  }
  km_mpeer *stranger = NULL;
  for (km_mpeer *p = m->peers; p != NULL; p = p->next) {
    bool cut = km_guard_is_cut(&p->guard, now_of(m));
    if ((stranger == NULL || !cut) && is_idle(p, true) && !p->report_due) {
      stranger = p;
      if (!cut) {
        break;
      }
    }
  }
  if (stranger != NULL) {
    peer_free(stranger);
  }
  return stranger != NULL;
}

static void on_retry(km_timer_node *node) {
  km_mpeer *p = KM_LIST_ITEM(node, km_mpeer, retry);
  p->next_attempt_ms = 0;
  if (p->configured) {
    km_mpeer_dial(p);
  } else {
    p->mesh->reap_due = true;
    km_defer_run(p->mesh->work);
  }
}

km_mpeer *km_mpeer_get(km_mesh *m, const km_id *id) {
  km_mpeer *p = km_mpeer_find(m, id);
  if (p != NULL) {
    return p;
  }
  if (!has_room(m)) {
    return NULL;
  }
  p = km_env_zalloc(m->env, 1, sizeof *p);
  if (p == NULL) {
    return NULL;
  }
  const km_mesh_options *o = &m->options;
  p->mesh = m;
  p->id = *id;
  p->retry.fire = on_retry;
  p->retry.at = KM_TS_NEVER;
  p->backoff = (km_backoff){.waits_ms = o->backoff_ms,
                            .count = o->backoff_count,
                            .jitter_percent = o->backoff_jitter_percent};
  /* One less than the other side has room for, so that rounding makes no debt there. */
  uint64_t burst =
      o->rate_per_minute > 0 ? (o->rate_per_minute - 1) * (uint64_t)KM_PACE_A_MESSAGE : 0;
  km_token_bucket_init(&p->pace, o->rate_per_minute, burst, now_of(m));
  km_guard_init(&p->guard, o->rate_per_minute, o->rate_per_second, o->max_faults, now_of(m));
  m->peer_count++;
  if (km_mesh_reserve_timers(m) != 0) {
    m->peer_count--;
    km_env_free(m->env, p);
    return NULL;
  }
  km_mpeer **bucket = &m->buckets[bucket_of(id)];
  p->same_bucket = *bucket;
  *bucket = p;
  enlist(p);
  return p;
}

/* --- what is told of it ---------------------------------------------------------------------- */

void km_mpeer_error(km_mpeer *p, const char *fmt, ...) {
  char text[256];
  va_list args;
  va_start(args, fmt);
  (void)vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  char *copy = km_env_strdup(p->mesh->env, text);
  if (copy != NULL) { /* else the last one is better than none */
    km_env_free(p->mesh->env, p->last_error);
    p->last_error = copy;
  }
}

void km_mpeer_report(km_mpeer *p) {
  p->report_due = true;
  km_defer_run(p->mesh->work);
}

void km_mpeer_set_state(km_mpeer *p, km_peer_state state) {
  if (p->state != state) {
    p->state = state;
    km_mpeer_report(p);
  }
}

void km_mpeers_report(km_mesh *m) {
  km_mpeer *p = m->peers;
  size_t left = m->peer_count; /* what the callbacks cause waits for the next turn */
  while (p != NULL && left > 0 && !m->closing) {
    if (!p->report_due) {
      p = p->next;
      continue;
    }
    p->report_due = false;
    left--;
    if (m->options.callbacks.on_peer != NULL) {
      km_peer_status status = {.size = sizeof status};
      if (km_peer_get(m, &p->id, &status) == 0) {
        m->options.callbacks.on_peer(m->options.ctx, m, &status);
      }
      p = m->peers; /* the callback may have changed the table */
    }
  }
}

static void keep_text(const km_env *env, char **text, const char *now) {
  if (*text == NULL || strcmp(*text, now) != 0) {
    char *copy = km_env_strdup(env, now);
    if (copy != NULL) {
      km_env_free(env, *text);
      *text = copy;
    }
  }
}

static bool copy_texts(const km_env *env, char ***ret, size_t *ret_count, char *const *from,
                       size_t count) {
  *ret = count == 0 ? NULL : km_env_zalloc(env, count, sizeof **ret);
  if (*ret == NULL) {
    return count == 0;
  }
  for (*ret_count = 0; *ret_count < count; (*ret_count)++) {
    (*ret)[*ret_count] = km_env_strdup(env, from[*ret_count]);
    if ((*ret)[*ret_count] == NULL) {
      return false;
    }
  }
  return true;
}

static void keep_capabilities(const km_env *env, km_capabilities *kept,
                              const km_capabilities *now) {
  km_capabilities copy = {0};
  if (copy_texts(env, &copy.shares, &copy.share_count, now->shares, now->share_count) &&
      copy_texts(env, &copy.features, &copy.feature_count, now->features, now->feature_count)) {
    km_capabilities_free(env, kept);
    *kept = copy;
  } else {
    km_capabilities_free(env, &copy);
  }
}

static void keep_reached(km_mpeer *p, const km_link *l) {
  km_path_info path;
  char text[KM_UDP_ADDR_TEXT_CAP];
  if (km_conn_path(l->conn, &path) != 0) {
    return;
  }
  if (path.kind == KM_PATH_RELAY && path.relay_url != NULL) {
    keep_text(p->mesh->env, &p->reached, path.relay_url);
  } else if (path.kind == KM_PATH_DIRECT &&
             km_udp_addr_format(&path.remote, text, sizeof text) > 0) {
    keep_text(p->mesh->env, &p->reached, text);
  }
}

/* Figures; the rest of what is kept does not change while a session is up. */
void km_mpeer_keep_info(km_mpeer *p, const km_link *l) {
  km_session_info info;
  km_session_get_info(l->session, &info);
  p->last_hello_ms = info.hello_ms;
  p->last_ack_ms = info.ack_ms;
  p->last_heartbeat_ms = info.heartbeat_ms > 0 ? info.heartbeat_ms : p->last_heartbeat_ms;
  p->rtt_us = info.rtt_us;
  p->jitter_us = info.jitter_us;
  keep_reached(p, l);
}

static void keep_introduction(km_mpeer *p, const km_link *l) {
  km_session_info info;
  km_session_get_info(l->session, &info);
  keep_text(p->mesh->env, &p->node_id, info.node_id);
  keep_text(p->mesh->env, &p->remote_version, info.version);
  keep_capabilities(p->mesh->env, &p->remote, info.caps);
}

/* --- dialling -------------------------------------------------------------------------------- */

static void wait_for(km_mpeer *p, uint64_t wait_ns) {
  km_mesh *m = p->mesh;
  km_timer_heap_set(&m->timers, &p->retry, now_of(m) + wait_ns);
  p->next_attempt_ms = wall_ms(p->mesh) + (int64_t)(wait_ns / KM_NS_PER_MS);
  km_mesh_wake(m);
}

static void stop_waiting(km_mpeer *p) {
  km_timer_heap_set(&p->mesh->timers, &p->retry, KM_TS_NEVER);
  p->next_attempt_ms = 0;
}

static void wait_for_next(km_mpeer *p, bool refused) {
  km_mesh *m = p->mesh;
  km_ts now = now_of(m);
  if (!p->configured || !p->dial) {
    km_mpeer_set_state(p, refused ? KM_PEER_REFUSED : KM_PEER_IDLE);
    return;
  }
  uint64_t wait =
      refused ? km_backoff_longest(&p->backoff, m->env) : km_backoff_next(&p->backoff, m->env);
  if (km_guard_is_cut(&p->guard, now) && p->guard.cut_until - now > wait) {
    wait = p->guard.cut_until - now;
  }
  wait_for(p, wait);
  km_mpeer_set_state(p, refused ? KM_PEER_REFUSED : KM_PEER_WAITING);
  km_mpeer_report(p); /* the same state with another error is news */
}

static km_link *spare_link(const km_mpeer *p) {
  km_link *l = p->mesh->links;
  while (l != NULL && (l->peer != p || !l->session_up || l->closing)) {
    l = l->next;
  }
  return l;
}

void km_mpeer_dial(km_mpeer *p) {
  km_mesh *m = p->mesh;
  km_errinfo err;
  if (m->opening || m->closing || !p->configured || !p->dial || p->link != NULL ||
      p->dialling != NULL || spare_link(p) != NULL) {
    return;
  }
  stop_waiting(p);
  p->refused_here = false;
  if (km_guard_is_cut(&p->guard, now_of(m))) {
    km_mpeer_error(p, "it is cut off for its faults");
    wait_for_next(p, true);
    return;
  }
  if (!km_gate_lets_in(m, &p->id)) {
    km_mpeer_error(p, "it is not trusted here, and so it is not dialled");
    p->refused_here = true;
    wait_for_next(p, true);
    return;
  }
  if (km_link_dial(p, &err) != 0) {
    km_mpeer_error(p, "%s", err.text);
    wait_for_next(p, false);
    return;
  }
  km_mpeer_set_state(p, KM_PEER_DIALLING);
}

/* --- which link is the peer's ---------------------------------------------------------------- */

static bool decides(const km_mpeer *p) {
  return memcmp(km_store_id(p->mesh->store)->bytes, p->id.bytes, KM_ID_BYTES) < 0;
}

static bool other_instance(const km_link *l, uint64_t instance) {
  km_session_info info;
  km_session_get_info(l->session, &info);
  return info.instance != 0 && instance != 0 && info.instance != instance;
}

/* The peer cannot have dialled at the same time: it did so because it lost the old one. */
static bool is_stale(const km_link *l) {
  uint64_t dial_ns = l->mesh->options.connect_timeout_ms * KM_NS_PER_MS;
  return now_of(l->mesh) >= l->up_at + 2 * dial_ns;
}

bool km_mpeer_is_duplicate(const km_link *l, uint64_t instance) {
  const km_mpeer *p = l->peer;
  const km_link *old = p->link;
  return decides(p) && old != NULL && !old->closing && old->dialled && old->up &&
         !other_instance(old, instance) && !is_stale(old);
}

static void take(km_link *l) {
  km_mpeer *p = l->peer;
  km_mesh *m = p->mesh;
  km_link *old = p->link;
  p->link = l;
  stop_waiting(p);
  km_env_free(m->env, p->last_error);
  p->last_error = NULL;
  if (old == NULL) {
    p->connected_ms = wall_ms(p->mesh);
  }
  keep_introduction(p, l);
  km_mpeer_keep_info(p, l);
  km_mpeer_set_state(p, KM_PEER_CONNECTED);
  if (l->up) {
    int rv = km_link_start_services(l);
    if (rv != 0) {
      km_link_close(l, KM_MESH_BROKEN, km_strerror(rv));
    }
  }
}

static void replace(km_link *old, km_link *l) {
  take(l);
  km_link_close(old, KM_MESH_DUPLICATE, "another connection took its place");
}

void km_mpeer_session_up(km_link *l) {
  km_mpeer *p = l->peer;
  km_link *old = p->link;
  km_session_info info;
  km_session_get_info(l->session, &info);
  if (p->dialling == l->conn) {
    p->dialling = NULL;
  }
  p->mesh->stats.handshakes++;
  if (old == NULL || old->closing) {
    take(l);
    return;
  }
  if (other_instance(old, info.instance) || old->dialled == l->dialled || decides(p)) {
    /* The old one is dead: the peer was started again, or whoever dialled has lost it. Or it is
     * ours to decide: what we dialled stays, and what was dialled to us came here only over an old
     * one that is stale (km_mpeer_is_duplicate). */
    replace(old, l);
  } else if (!old->up) {
    take(l); /* the peer may not know of the old one; it can still prove itself */
  }
  /* Else the other side decides, and closes one of the two. */
}

void km_mpeer_confirmed(km_link *l, bool proven) {
  km_mpeer *p = l->peer;
  km_link *old = p->link;
  l->up = true;
  if (old == l || old == NULL || old->closing) {
    take(l);
    return;
  }
  if (proven && !decides(p) && !l->dialled && old->dialled) {
    /* The peer has it, and will close the old one. If that word is lost, it goes by itself. */
    uint64_t dial_ns = l->mesh->options.connect_timeout_ms * KM_NS_PER_MS;
    take(l);
    old->close_at = now_of(l->mesh) + dial_ns;
    km_link_set_tick(old);
  }
}

void km_mpeer_used(km_link *l) {
  if (l->up && l->push == NULL && (l->peer->link == l || !decides(l->peer))) {
    take(l); /* the other side decided for it */
  }
}

/* --- the end of a link ----------------------------------------------------------------------- */

static bool closed_by_peer(const km_close_info *info) {
  return info->origin == KM_CLOSE_REMOTE_APP && info->application;
}

static void error_by_peer(km_mpeer *p, const km_close_info *info) {
  static const char *const said[] = {
      [KM_MESH_BYE] = "the peer said goodbye",
      [KM_MESH_REFUSED] = "the peer refused",
      [KM_MESH_DUPLICATE] = "the peer holds on to an older connection",
      [KM_MESH_BROKEN] = "the peer found the protocol broken",
      [KM_MESH_SILENT] = "the peer heard nothing of us",
      [KM_MESH_CUT] = "the peer cut us off for faults",
      [KM_MESH_REVOKED] = "the peer does not trust this node any more",
  };
  char reason[KM_CONTROL_REASON_MAX + 1];
  (void)snprintf(reason, sizeof reason, "%.*s",
                 (int)(info->reason_len < sizeof reason ? info->reason_len : sizeof reason - 1),
                 info->reason_len > 0 ? (const char *)info->reason : "");
  km_text_clean(reason);
  if (info->code < sizeof said / sizeof said[0]) {
    km_mpeer_error(p, "%s%s%s", said[info->code], reason[0] == '\0' ? "" : ": ", reason);
  } else {
    km_mpeer_error(p, "the peer closed with code %llu%s%s", (unsigned long long)info->code,
                   reason[0] == '\0' ? "" : ": ", reason);
  }
}

static void note_error(km_mpeer *p, const km_link *l, const km_close_info *info) {
  if (l->why[0] != '\0') {
    km_mpeer_error(p, "%s", l->why);
  } else if (closed_by_peer(info)) {
    error_by_peer(p, info);
  } else {
    km_mpeer_error(p, "%s", info->text);
  }
  char why[KM_TEXT_QUOTED_CAP(256)];
  KM_LOG(&p->mesh->env->logger, KM_LOG_INFO, KM_LOGC_MESH, &p->id, p->reached, "lost", "why=%s",
         km_text_quote(why, sizeof why, p->last_error == NULL ? "" : p->last_error));
}

static bool was_refused(const km_link *l, const km_close_info *info) {
  if (l->closing) {
    return l->refused || l->code == KM_MESH_REVOKED || l->code == KM_MESH_CUT;
  }
  return closed_by_peer(info) && (info->code == KM_MESH_REFUSED || info->code == KM_MESH_REVOKED ||
                                  info->code == KM_MESH_CUT);
}

static bool was_duplicate(const km_link *l, const km_close_info *info) {
  return l->closing ? l->code == KM_MESH_DUPLICATE
                    : closed_by_peer(info) && info->code == KM_MESH_DUPLICATE;
}

static void forget_attempts(km_mpeer *p, const km_link *l) {
  const km_mesh_options *o = &p->mesh->options;
  uint64_t beat = o->heartbeat_ms * KM_NS_PER_MS;
  uint64_t while_ns = beat < UP_FOR_A_WHILE ? beat : UP_FOR_A_WHILE;
  if (l->session_up && now_of(p->mesh) - l->up_at >= while_ns) {
    km_backoff_reset(&p->backoff);
  }
}

/* Nothing is left of the peer's connections, and none is coming. */
static void peer_is_lost(km_mpeer *p, const km_link *l, const km_close_info *info) {
  bool at_once = l->closing && l->code == KM_MESH_BYE && !l->refused;
  if (at_once) { /* by us, for another one (km_peer_add) */
    km_mpeer_set_state(p, KM_PEER_IDLE);
    km_mpeer_dial(p);
    return;
  }
  note_error(p, l, info);
  p->refused_here = l->closing && l->code == KM_MESH_REVOKED;
  wait_for_next(p, was_refused(l, info));
}

void km_mpeer_link_ended(km_link *l, const km_close_info *info) {
  km_mpeer *p = l->peer;
  km_mesh *m = p->mesh;
  bool was_link = p->link == l, was_dialled = p->dialling == l->conn;
  forget_attempts(p, l);
  p->dialling = was_dialled ? NULL : p->dialling;
  if (was_link) {
    km_mpeer_keep_info(p, l);
    p->link = NULL;
    km_link *spare = spare_link(p);
    if (spare != NULL) {
      take(spare);
    } else {
      p->connected_ms = 0;
      km_mpeer_set_state(p, p->dialling != NULL ? KM_PEER_DIALLING : KM_PEER_IDLE);
    }
  }
  if (!p->configured) {
    m->reap_due = true;
    km_defer_run(m->work);
    km_timer_heap_set(&m->timers, &p->retry, km_guard_rests_at(&p->guard, now_of(m)) + 1);
    km_mesh_wake(m);
  }
  if (m->closing || p->link != NULL || spare_link(p) != NULL) {
    return;
  }
  if (p->dialling != NULL) { /* that goes on, but what was is over */
    if (was_link && !was_duplicate(l, info)) {
      note_error(p, l, info);
      km_mpeer_report(p);
    }
    return;
  }
  if (was_link || was_dialled) {
    peer_is_lost(p, l, info);
  } else if (p->configured && !was_duplicate(l, info)) {
    note_error(p, l, info); /* one of its own that did not come up */
    km_mpeer_report(p);
  }
}

/* --- what the program asks for --------------------------------------------------------------- */

static int check_grants(const km_mesh *m, const km_mesh_peer *peer, km_errinfo *err) {
  size_t place;
  for (size_t i = 0; i < peer->grant_count; i++) {
    const km_mesh_grant *g = &peer->grants[i];
    if (g->share == NULL || !km_mesh_has_share(m, g->share, &place)) {
      return km_fail(err, KM_ERR_INVALID, "a peer is granted the share %s, which is not there",
                     g->share == NULL ? "(null)" : g->share);
    }
    if (g->access > KM_ACCESS_WRITE) {
      return km_fail(err, KM_ERR_INVALID, "the access to share %s is not a km_access", g->share);
    }
  }
  return 0;
}

static int check_peer(const km_mesh *m, const km_mesh_peer *peer, km_errinfo *err) {
  if (peer == NULL || peer->size != sizeof *peer) {
    return km_fail(err, KM_ERR_INVALID, "km_mesh_peer.size must be sizeof(km_mesh_peer)");
  }
  if (km_id_equal(&peer->id, km_store_id(m->store))) {
    return km_fail(err, KM_ERR_INVALID, "a peer has this node's own id");
  }
  if (peer->addr != NULL && !km_id_equal(km_addr_id(peer->addr), &peer->id)) {
    return km_fail(err, KM_ERR_INVALID, "the address of a peer is of another id");
  }
  int rv = peer->name == NULL
               ? 0
               : km_mesh_text_check(peer->name, KM_PEER_NAME_MAX, "a peer's name", err);
  return rv == 0 ? check_grants(m, peer, err) : rv;
}

/* Copies what is configured of a peer; the names of shares are the mesh's own. */
static int copy_configured(km_mpeer *to, const km_mesh *m, const km_mesh_peer *peer) {
  if (peer->name != NULL && (to->name = km_env_strdup(m->env, peer->name)) == NULL) {
    return KM_ERR_NOMEM;
  }
  if (peer->addr != NULL && km_addr_copy(&to->addr, peer->addr) != 0) {
    return KM_ERR_NOMEM;
  }
  if (peer->grant_count > 0) {
    to->grants = km_env_zalloc(m->env, peer->grant_count, sizeof *to->grants);
    if (to->grants == NULL) {
      return KM_ERR_NOMEM;
    }
  }
  for (size_t i = 0; i < peer->grant_count; i++) {
    size_t place = 0;
    (void)km_mesh_has_share(m, peer->grants[i].share, &place);
    to->grants[i] =
        (km_mesh_grant){.share = m->options.shares[place].name, .access = peer->grants[i].access};
  }
  to->grant_count = peer->grant_count;
  return 0;
}

static bool same_grants(const km_mpeer *a, const km_mpeer *b) {
  if (a->grant_count != b->grant_count) {
    return false;
  }
  for (size_t i = 0; i < a->grant_count; i++) {
    if (a->grants[i].share != b->grants[i].share || a->grants[i].access != b->grants[i].access) {
      return false;
    }
  }
  return true;
}

static void close_links(km_mpeer *p, const char *reason) {
  for (km_link *l = p->mesh->links; l != NULL; l = l->next) {
    if (l->peer == p) {
      km_link_close(l, KM_MESH_BYE, reason);
    }
  }
}

int km_mpeer_add(km_mesh *m, const km_mesh_peer *peer, km_errinfo *err) {
  int rv = check_peer(m, peer, err);
  if (rv != 0) {
    return rv;
  }
  km_mpeer made = {.mesh = m};
  km_mpeer *p = copy_configured(&made, m, peer) == 0 ? km_mpeer_get(m, &peer->id) : NULL;
  if (p == NULL) {
    free_configured(&made);
    return m->peer_count >= KM_MESH_MAX_PEERS
               ? km_fail(err, KM_ERR_LIMIT, "a mesh has at most %d peers", KM_MESH_MAX_PEERS)
               : km_fail(err, KM_ERR_NOMEM, NULL);
  }
  bool same = p->configured && same_grants(p, &made);
  free_configured(p);
  p->name = made.name;
  p->addr = made.addr;
  p->grants = made.grants;
  p->grant_count = made.grant_count;
  p->dial = peer->dial;
  p->by_trust = peer->by_trust;
  if (!p->configured) {
    unlist(p);
    p->configured = true;
    enlist(p);
  }
  if (!same) { /* what was said in the handshake is not true any more */
    close_links(p, "its configuration changed");
  }
  m->readers_due = true;
  km_gate_changed(m);
  km_backoff_reset(&p->backoff);
  km_mpeer_dial(p);
  km_mpeer_report(p);
  return 0;
}

int km_peer_add(km_mesh *mesh, const km_mesh_peer *peer, km_errinfo *err) {
  return mesh->closing ? km_fail(err, KM_ERR_INVALID, "the mesh is closing")
                       : km_mpeer_add(mesh, peer, err);
}

int km_peer_remove(km_mesh *mesh, const km_id *id) {
  km_mpeer *p = km_mpeer_find(mesh, id);
  if (p == NULL || !p->configured) {
    return KM_ERR_NOT_FOUND;
  }
  unlist(p);
  p->configured = p->dial = p->by_trust = false;
  free_configured(p);
  enlist(p);
  stop_waiting(p);
  close_links(p, "it was taken out of the configuration");
  mesh->reap_due = mesh->readers_due = true;
  km_defer_run(mesh->work);
  return 0;
}

int km_peer_dial(km_mesh *mesh, const km_id *id) {
  km_mpeer *p = km_mpeer_find(mesh, id);
  if (p == NULL || !p->configured) {
    return KM_ERR_NOT_FOUND;
  }
  bool dial = p->dial;
  p->dial = true; /* this once, if it is one that only dials us */
  km_mpeer_dial(p);
  p->dial = dial;
  if (!dial && p->link == NULL && p->dialling == NULL) { /* it failed at once: that was all */
    stop_waiting(p);
    km_mpeer_set_state(p, p->state == KM_PEER_REFUSED ? KM_PEER_REFUSED : KM_PEER_IDLE);
  }
  return 0;
}

size_t km_mesh_request_access(km_mesh *mesh) {
  size_t count = 0;
  for (km_mpeer *p = mesh->peers; p != NULL && p->configured; p = p->next) {
    if (p->state == KM_PEER_REFUSED && p->link == NULL && p->dialling == NULL) {
      count += km_peer_dial(mesh, &p->id) == 0;
    }
  }
  return count;
}

/* Trust changed: who is not let in any more goes, who is let in now is dialled. */
void km_mpeers_recheck(km_mesh *m) {
  for (km_link *l = m->links; l != NULL; l = l->next) {
    if ((l->session_up || l->dialled) && !l->closing && !km_gate_lets_in(m, &l->peer->id)) {
      km_link_close(l, KM_MESH_REVOKED, "it is not trusted here any more");
    }
  }
  for (km_mpeer *p = m->peers; p != NULL && p->configured; p = p->next) {
    if (p->refused_here && km_gate_lets_in(m, &p->id)) {
      km_mpeer_dial(p);
    }
  }
}
