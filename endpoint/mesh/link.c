/* One connection: its control stream, the session on it, and whose its other streams are. */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "endpoint/mesh/mesh_impl.h"
#include "store/store_impl.h"

#define REFUSAL_NS (2 * KM_NS_PER_S) /* that a refused peer has to take the reason */
#define CONFIRM_NS KM_NS_PER_S       /* see set_up */

enum {
  HANDSHAKES_MAX = 64, /* of accepted links of peers that are not configured */
  LINKS_A_PEER = 4,
  CONTROL_PRIORITY = 100,
  CODE_UNKNOWN_STREAM = 1,
  CODE_TOO_EARLY = 2
};

static km_ts now_of(const km_link *l) {
  return km_loop_now(l->mesh->loop);
}

static km_wall wall_of(const km_link *l) {
  return km_store_wall(l->mesh->store);
}

#define LINK_LOG(l, level, event, ...)                                                             \
  KM_LOG(&(l)->mesh->env->logger, level, KM_LOGC_MESH, &(l)->peer->id, NULL, event, __VA_ARGS__)

/* --- closing --------------------------------------------------------------------------------- */

static void set_why(km_link *l, const char *why) {
  if (l->why[0] == '\0') {
    (void)snprintf(l->why, sizeof l->why, "%s", why);
  }
}

void km_link_close(km_link *l, uint64_t code, const char *reason) {
  if (l->closing) {
    return;
  }
  l->closing = true;
  l->code = code;
  set_why(l, reason);
  km_timer_heap_set(&l->mesh->timers, &l->tick, KM_TS_NEVER);
  km_conn_close(l->conn, code, reason, strlen(reason));
}

bool km_link_fault(km_link *l, km_fault fault, const char *what) {
  km_mesh *m = l->mesh;
  LINK_LOG(l, fault == KM_FAULT_UNWELCOME ? KM_LOG_DEBUG : KM_LOG_WARN, "fault", "%s", what);
  switch (fault) {
  case KM_FAULT_FORGED:
    m->stats.faults.forged++;
    break;
  case KM_FAULT_FUTURE:
    m->stats.faults.future++;
    break;
  case KM_FAULT_FORBIDDEN:
  case KM_FAULT_UNWELCOME:
    m->stats.faults.forbidden++;
    break;
  case KM_FAULT_MALFORMED:
    m->stats.faults.malformed++;
    break;
  }
  if (km_guard_fault(&l->peer->guard, fault, now_of(l))) {
    char text[160];
    m->stats.faults.cut++;
    (void)snprintf(text, sizeof text, "cut off for too many faults, the last: %s", what);
    set_why(l, text);
    km_link_close(l, KM_MESH_CUT, "too many faults");
  }
  return !l->closing;
}

bool km_link_shares(const km_link *l, const char *share) {
  km_session_info info;
  size_t i = 0;
  km_session_get_info(l->session, &info);
  while (i < info.caps->share_count && strcmp(info.caps->shares[i], share) != 0) {
    i++;
  }
  return i < info.caps->share_count &&
         km_gate_access(l->mesh, &l->peer->id, share, NULL) != KM_ACCESS_NONE;
}

/* --- control stream -------------------------------------------------------------------------- */

static void flush(km_link *l) {
  const uint8_t *bytes;
  size_t len;
  while (l->control != NULL && !l->closing && (len = km_session_output(l->session, &bytes)) > 0) {
    size_t taken = 0;
    if (km_stream_write(l->control, bytes, len, false, &taken, NULL) != 0) {
      return; /* its on_closed follows */
    }
    km_session_sent(l->session, taken);
    if (taken < len) {
      return; /* on_writable */
    }
  }
  if (l->refusing && l->control != NULL && !l->closing) {
    (void)!km_stream_write(l->control, NULL, 0, true, NULL, NULL); /* on_delivered closes */
  }
}

void km_link_set_tick(km_link *l) {
  if (l->closing) {
    return;
  }
  km_ts at = km_session_next(l->session);
  at = l->close_at < at ? l->close_at : at;
  at = l->confirm_at < at ? l->confirm_at : at;
  km_timer_heap_set(&l->mesh->timers, &l->tick, at);
  km_mesh_wake(l->mesh);
}

int km_link_start_services(km_link *l) {
  if (l->push != NULL || l->closing) {
    return 0;
  }
  int rv = km_push_start(l);
  if (rv == 0) {
    rv = km_sync_streams_start(l);
  }
  if (rv == 0) {
    km_link_service_set(l);
    km_defer_run(l->mesh->work);
  }
  return rv;
}

static void confirm(km_link *l, bool proven) {
  l->confirm_at = KM_TS_NEVER;
  if (!l->closing && l->session_up && !l->dialled && (!l->up || (proven && !l->proven))) {
    l->proven = proven;
    km_mpeer_confirmed(l, proven);
    if (proven) {
      km_push_proven(l);
    }
  }
}

/* The dialling side knows that both are up. The accepting side waits for a first sign that its ACK
 * arrived before it opens streams: they could overtake it. Who gives none gets a second. */
static void set_up(km_link *l) {
  if (l->dialled && !km_gate_lets_in(l->mesh, &l->peer->id)) {
    km_link_close(l, KM_MESH_REVOKED, "it is not trusted here any more"); /* since it was dialled */
    return;
  }
  l->session_up = true;
  l->up = l->dialled;
  l->up_at = now_of(l);
  l->confirm_at = l->dialled ? KM_TS_NEVER : l->up_at + CONFIRM_NS;
  km_session_info info;
  km_session_get_info(l->session, &info);
  char node[KM_TEXT_QUOTED_CAP(KM_NODE_ID_MAX)];
  LINK_LOG(l, KM_LOG_INFO, "up", "side=%s node=%s version=%s", l->dialled ? "dialled" : "accepted",
           km_text_quote(node, sizeof node, info.node_id), info.version);
  km_mpeer_session_up(l);
}

static void set_refused(km_link *l) {
  km_session_info info;
  char text[160];
  km_session_get_info(l->session, &info);
  if (l->duplicate) {
    km_link_close(l, KM_MESH_DUPLICATE, "another connection lives on");
    return;
  }
  (void)snprintf(text, sizeof text, "%s: %s",
                 l->dialled ? "refused by the peer" : "the peer is refused here", info.reason);
  set_why(l, text);
  char quoted[KM_TEXT_QUOTED_CAP(sizeof text)];
  LINK_LOG(l, KM_LOG_INFO, "refused", "why=%s", km_text_quote(quoted, sizeof quoted, text));
  l->refused = true;
  if (l->dialled) {
    l->mesh->stats.refused_out++;
    km_link_close(l, KM_MESH_BYE, "");
    return;
  }
  l->mesh->stats.refused_in++;
  l->refusing = true;
  l->close_at = now_of(l) + REFUSAL_NS;
}

static void handle(km_link *l, km_session_event event, const km_errinfo *err) {
  switch (event) {
  case KM_SESSION_NOTHING:
    return;
  case KM_SESSION_UP:
    set_up(l);
    return;
  case KM_SESSION_REFUSED:
    set_refused(l);
    return;
  case KM_SESSION_SILENT:
    km_link_close(l, KM_MESH_SILENT, err->text);
    return;
  case KM_SESSION_BROKEN:
    set_why(l, err->text);
    if (err->code == KM_ERR_NOMEM || km_link_fault(l, KM_FAULT_MALFORMED, err->text)) {
      km_link_close(l, KM_MESH_BROKEN, err->text);
    }
    return;
  }
}

static void run_session(km_link *l, const uint8_t *data, size_t len) {
  km_errinfo err = {0};
  km_session_info before, after;
  km_session_get_info(l->session, &before);
  km_session_event event = km_session_receive(l->session, data, len, now_of(l), wall_of(l), &err);
  while (event != KM_SESSION_NOTHING && !l->closing) {
    handle(l, event, &err);
    event = l->closing ? KM_SESSION_NOTHING
                       : km_session_receive(l->session, NULL, 0, now_of(l), wall_of(l), &err);
  }
  km_session_get_info(l->session, &after);
  l->mesh->stats.heartbeats_in += after.heartbeats_in - before.heartbeats_in;
  l->mesh->stats.heartbeats_out += after.heartbeats_out - before.heartbeats_out;
  flush(l);
  if (after.heartbeats_in > 0) {
    confirm(l, true);
  }
  km_link_set_tick(l);
}

static void on_tick(km_timer_node *node) {
  km_link *l = KM_LIST_ITEM(node, km_link, tick);
  km_errinfo err = {0};
  km_ts now = now_of(l);
  if (now >= l->close_at) {
    km_link_close(l, l->refusing ? KM_MESH_REFUSED : KM_MESH_DUPLICATE,
                  l->refusing ? "refused" : "another connection lives on");
    return;
  }
  if (now >= l->confirm_at) {
    confirm(l, false);
  }
  km_session_info before, after;
  km_session_get_info(l->session, &before);
  km_session_event event = km_session_tick(l->session, now, wall_of(l), &err);
  km_session_get_info(l->session, &after);
  l->mesh->stats.heartbeats_out += after.heartbeats_out - before.heartbeats_out;
  handle(l, event, &err);
  flush(l);
  km_link_set_tick(l);
}

static void on_control_data(void *ctx, km_stream *stream, const void *data, size_t len, bool fin) {
  (void)stream;
  km_link *l = ctx;
  if (l->closing || l->refusing) {
    return;
  }
  run_session(l, data, len);
  if (fin && !l->refusing) {
    km_link_close(l, KM_MESH_BROKEN, "the control stream was ended");
  }
}

static void on_control_writable(void *ctx, km_stream *stream) {
  (void)stream;
  flush(ctx);
}

static void on_control_delivered(void *ctx, km_stream *stream) {
  (void)stream;
  km_link *l = ctx;
  if (l->refusing) {
    km_session_info info;
    km_session_get_info(l->session, &info);
    km_link_close(l, KM_MESH_REFUSED, info.reason);
  }
}

static void on_control_reset(void *ctx, km_stream *stream, uint64_t code) {
  (void)stream;
  (void)code;
  km_link *l = ctx;
  if (!l->refusing) {
    km_link_close(l, KM_MESH_BROKEN, "the control stream was broken off");
  }
}

static void on_control_closed(void *ctx, km_stream *stream, int error) {
  (void)stream;
  km_link *l = ctx;
  l->control = NULL;
  if (error != KM_ERR_CLOSED && !l->refusing) {
    km_link_close(l, KM_MESH_BROKEN, "the control stream was broken off");
  }
}

static const km_stream_callbacks control_callbacks = {.size = sizeof control_callbacks,
                                                      .on_data = on_control_data,
                                                      .on_writable = on_control_writable,
                                                      .on_delivered = on_control_delivered,
                                                      .on_reset = on_control_reset,
                                                      .on_stopped = on_control_reset,
                                                      .on_closed = on_control_closed};

/* --- other streams --------------------------------------------------------------------------- */

static void reject(km_stream *s, uint64_t code) {
  km_stream_set_callbacks(s, NULL, NULL);
  if (km_stream_is_bidi(s)) {
    (void)km_stream_reset(s, code);
  }
  (void)km_stream_stop(s, code);
}

/* The first bytes of a stream: the first of them says whose it is. */
static void on_first_data(void *ctx, km_stream *s, const void *data, size_t len, bool fin) {
  km_link *l = ctx;
  const uint8_t *bytes = data;
  if (!l->session_up || l->closing || l->refusing) {
    reject(s, CODE_TOO_EARLY);
    return;
  }
  confirm(l, true);
  km_mpeer_used(l);
  if (len > 0 && bytes[0] == KM_STREAM_PUSH && !km_stream_is_bidi(s) && l->push != NULL) {
    km_push_stream(l, s, bytes + 1, len - 1, fin);
  } else if (len > 0 && bytes[0] == KM_STREAM_SYNC && km_stream_is_bidi(s) && l->syncs != NULL) {
    km_sync_streams_incoming(l, s, bytes + 1, len - 1, fin);
  } else if (len > 0 || fin) {
    reject(s, CODE_UNKNOWN_STREAM);
  }
}

static const km_stream_callbacks first_callbacks = {.size = sizeof first_callbacks,
                                                    .on_data = on_first_data};

/* --- connection ------------------------------------------------------------------------------ */

static void on_stream(void *ctx, km_conn *conn, km_stream *s) {
  (void)conn;
  km_link *l = ctx;
  if (!l->dialled && l->control == NULL && !l->session_up && km_stream_id(s) == 0) {
    l->control = s;
    km_stream_set_priority(s, CONTROL_PRIORITY);
    km_stream_set_callbacks(s, &control_callbacks, l);
    return;
  }
  km_stream_set_callbacks(s, &first_callbacks, l);
}

static const char *refuse(void *ctx, const km_control *hello) {
  km_link *l = ctx;
  km_mesh *m = l->mesh;
  if (m->closing) {
    return "it is going away";
  }
  if (km_guard_is_cut(&l->peer->guard, now_of(l))) {
    return "cut off for its faults";
  }
  const char *reason = km_gate_refuses(m, &l->peer->id, hello->node_id);
  if (reason == NULL && km_mpeer_is_duplicate(l, hello->instance)) {
    l->duplicate = true;
    return "another connection lives on";
  }
  return reason;
}

/* What the peer may read from us, and what we can do. */
static int say_capabilities(km_link *l) {
  const km_mesh_options *o = &l->mesh->options;
  const km_env *env = l->mesh->env;
  km_capabilities *c = &l->allowed;
  c->shares = km_env_zalloc(env, o->share_count + 1, sizeof *c->shares);
  c->features = km_env_zalloc(env, o->feature_count + 1, sizeof *c->features);
  if (c->shares == NULL || c->features == NULL) {
    return KM_ERR_NOMEM;
  }
  for (size_t i = 0; i < o->share_count; i++) {
    if (km_gate_access(l->mesh, &l->peer->id, o->shares[i].name, NULL) == KM_ACCESS_NONE) {
      continue;
    }
    c->shares[c->share_count] = km_env_strdup(env, o->shares[i].name);
    if (c->shares[c->share_count] == NULL) {
      return KM_ERR_NOMEM;
    }
    c->share_count++;
  }
  for (; c->feature_count < o->feature_count; c->feature_count++) {
    c->features[c->feature_count] = km_env_strdup(env, o->features[c->feature_count]);
    if (c->features[c->feature_count] == NULL) {
      return KM_ERR_NOMEM;
    }
  }
  return 0;
}

static int start_session(km_link *l) {
  const km_mesh_options *o = &l->mesh->options;
  km_session_config config = {.env = l->mesh->env,
                              .initiator = l->dialled,
                              .node_id = l->mesh->node_id,
                              .instance = l->mesh->instance,
                              .caps = &l->allowed,
                              .heartbeat_ns = o->heartbeat_ms * KM_NS_PER_MS,
                              .silence_ns = o->heartbeat_timeout_ms * KM_NS_PER_MS,
                              .hello_timeout_ns = o->connect_timeout_ms * KM_NS_PER_MS,
                              .refuse = refuse,
                              .ctx = l};
  int rv = say_capabilities(l);
  return rv == 0 ? km_session_new(&l->session, &config, now_of(l), wall_of(l)) : rv;
}

static void on_dialled(void *ctx, km_conn *conn) {
  km_link *l = ctx;
  km_errinfo err;
  const km_link *other = l->peer->link;
  if (l->closing) {
    return;
  }
  if (other != NULL && other->proven && !other->closing) {
    /* It came while this one was on its way. The peer has not heard of this one yet. */
    km_link_close(l, KM_MESH_DUPLICATE, "another connection lives on");
    return;
  }
  int rv = km_conn_open_stream(conn, &l->control, true, &control_callbacks, l);
  if (rv != 0) {
    (void)km_fail(&err, rv, "no control stream: %s", km_strerror(rv));
    km_link_close(l, KM_MESH_BROKEN, err.text);
    return;
  }
  km_stream_set_priority(l->control, CONTROL_PRIORITY);
  rv = start_session(l);
  if (rv != 0) {
    km_link_close(l, KM_MESH_BROKEN, km_strerror(rv));
    return;
  }
  if (l->peer->link == NULL) {
    km_mpeer_set_state(l->peer, KM_PEER_HANDSHAKE);
  }
  flush(l);
  km_link_set_tick(l);
}

static void link_free(km_link *l) {
  km_mesh *m = l->mesh;
  km_timer_heap_set(&m->timers, &l->tick, KM_TS_NEVER);
  km_timer_heap_set(&m->timers, &l->service, KM_TS_NEVER);
  km_session_free(l->session);
  km_capabilities_free(m->env, &l->allowed);
  km_env_free(m->env, l);
}

static void unlist(km_link *l) {
  km_link **at = &l->mesh->links;
  while (*at != l) {
    at = &(*at)->next;
  }
  *at = l->next;
  l->mesh->link_count--;
}

static void on_conn_closed(void *ctx, km_conn *conn, const km_close_info *info) {
  (void)conn;
  km_link *l = ctx;
  km_mesh *m = l->mesh;
  unlist(l);
  l->up = false;
  km_push_stop(l);
  km_sync_streams_stop(l);
  km_mpeer_link_ended(l, info);
  link_free(l);
  if (m->closing && m->links == NULL) {
    km_defer_run(m->work);
  }
}

static void on_path(void *ctx, km_conn *conn, const km_path_info *path) {
  (void)conn;
  (void)path;
  km_link *l = ctx;
  if (l->peer->link == l) {
    km_mpeer_keep_info(l->peer, l);
    km_mpeer_report(l->peer);
  }
}

static const km_conn_callbacks link_callbacks = {.size = sizeof link_callbacks,
                                                 .on_connected = on_dialled,
                                                 .on_stream = on_stream,
                                                 .on_path = on_path,
                                                 .on_closed = on_conn_closed};

static km_link *link_new(km_mpeer *p, bool dialled) {
  km_mesh *m = p->mesh;
  km_link *l = km_env_zalloc(m->env, 1, sizeof *l);
  if (l == NULL) {
    return NULL;
  }
  l->mesh = m;
  l->peer = p;
  l->dialled = dialled;
  l->tick.fire = on_tick;
  l->tick.at = l->service.at = KM_TS_NEVER;
  l->confirm_at = l->close_at = KM_TS_NEVER;
  m->link_count++;
  if (km_mesh_reserve_timers(m) != 0) {
    m->link_count--;
    km_env_free(m->env, l);
    return NULL;
  }
  l->next = m->links;
  m->links = l;
  return l;
}

static int dial(km_mpeer *p, const km_addr *addr, km_errinfo *err) {
  km_mesh *m = p->mesh;
  const km_dial_options options = {.size = sizeof options,
                                   .timeout_ms = m->options.connect_timeout_ms};
  km_link *l = link_new(p, true);
  if (l == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  int rv = km_endpoint_dial(m->endpoint, &l->conn, addr, KM_MESH_ALPN, &link_callbacks, l, &options,
                            err);
  if (rv != 0) {
    unlist(l);
    link_free(l);
    return rv;
  }
  p->dialling = l->conn;
  return 0;
}

int km_link_dial(km_mpeer *p, km_errinfo *err) {
  km_addr *addr = NULL;
  if (p->addr != NULL) {
    return dial(p, p->addr, err);
  }
  int rv = km_addr_new(&addr, &p->id); /* for discovery to find */
  rv = rv == 0 ? dial(p, addr, err) : km_fail(err, rv, NULL);
  km_addr_free(addr);
  return rv;
}

/* --- accepting ------------------------------------------------------------------------------- */

/* Why one more connection is too many; NULL: it is not. */
static const char *too_many(km_mesh *m, const km_id *id, const km_udp_addr *source) {
  uint32_t of_peer = 0, of_addr = 0, handshakes = 0;
  for (const km_link *l = m->links; l != NULL; l = l->next) {
    of_peer += km_id_equal(&l->peer->id, id) && !l->closing;
    of_addr += !l->dialled && source->family != 0 && l->source.family == source->family &&
               memcmp(l->source.ip, source->ip, sizeof source->ip) == 0;
    handshakes += !l->dialled && !l->session_up && !l->peer->configured;
  }
  if (of_peer >= LINKS_A_PEER) {
    return "too many connections of this peer";
  }
  if (of_addr >= m->options.max_conns_per_addr) {
    return "too many connections from this address";
  }
  return handshakes >= HANDSHAKES_MAX && !km_gate_counts(m, id) ? "busy, try again later" : NULL;
}

static void turn_away(km_mesh *m, km_conn *conn, const char *reason) {
  KM_LOG(&m->env->logger, KM_LOG_INFO, KM_LOGC_MESH, km_conn_remote_id(conn), NULL, "turned_away",
         "%s", reason);
  m->stats.refused_in++;
  km_conn_set_callbacks(conn, NULL, NULL);
  km_conn_close(conn, KM_MESH_REFUSED, reason, strlen(reason));
}

static void on_accepted(void *ctx, km_conn *conn) {
  km_mesh *m = ctx;
  km_path_info path = {0};
  km_udp_addr source = {0};
  const km_id *id = km_conn_remote_id(conn);
  if (km_conn_path(conn, &path) == 0 && path.kind == KM_PATH_DIRECT) {
    source = km_guard_source(&path.remote);
  }
  const char *reason = m->closing ? "it is going away" : too_many(m, id, &source);
  km_mpeer *p = reason != NULL ? NULL : km_mpeer_get(m, id);
  km_link *l = p == NULL ? NULL : link_new(p, false);
  if (l == NULL) {
    turn_away(m, conn, reason != NULL ? reason : "no room for one more peer");
    m->reap_due = true;
    km_defer_run(m->work);
    return;
  }
  l->conn = conn;
  l->source = source;
  km_conn_set_callbacks(conn, &link_callbacks, l);
  int rv = start_session(l);
  if (rv != 0) {
    km_link_close(l, KM_MESH_BROKEN, km_strerror(rv));
    return;
  }
  km_link_set_tick(l);
}

/* From on_connected on, a connection has the callbacks of its link. */
const km_conn_callbacks km_link_accept_callbacks = {.size = sizeof km_link_accept_callbacks,
                                                    .on_connected = on_accepted};
