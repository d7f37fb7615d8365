/* A mesh: opened and closed, its timers and turns, the hooks of its store. */
#include <string.h>

#include "endpoint/conn_impl.h"
#include "endpoint/mesh/mesh_impl.h"

#define HOURLY (3600 * KM_NS_PER_S)
#define RECHECK (5 * KM_NS_PER_S) /* how late an expired trust ends */
#define FIRST_CLEANUP (60 * KM_NS_PER_S)
/* Readers only hold up the forgetting of deletions: one too many may stay for a while. To go
 * through all of them takes its time, and trust may change often. */
#define READERS_AFTER (60 * KM_NS_PER_S)
#define CHECK_AFTER (100 * KM_NS_PER_MS) /* so that a put does not cost a second transaction */

enum {
  /* Signatures that were put off: less than a millisecond of a turn. A synchronization comes first,
   * but may not hold them up for good. */
  CHECKS_A_TURN = 8,
  CHECKS_A_TURN_SYNCING = 1,
  TIMERS_A_LINK = 4,
  TIMERS_OF_MESH = 8
};

#define MESH_LOG(m, level, event, ...)                                                             \
  KM_LOG(&(m)->env->logger, level, KM_LOGC_MESH, NULL, NULL, event, __VA_ARGS__)

int km_mesh_reserve_timers(km_mesh *m) {
  return km_timer_heap_reserve(&m->timers,
                               m->peer_count + TIMERS_A_LINK * m->link_count + TIMERS_OF_MESH);
}

void km_mesh_wake(km_mesh *m) {
  if (m->deadline != NULL) {
    km_deadline_set(m->deadline, km_timer_heap_next(&m->timers));
  }
}

/* As many as there are: one that is set to now again waits for the next turn. */
static void on_deadline(void *ctx) {
  km_mesh *m = ctx;
  km_ts now = km_loop_now(m->loop);
  km_timer_node *node;
  for (size_t left = m->timers.count; left > 0 && (node = km_timer_heap_pop(&m->timers, now));
       left--) {
    node->fire(node);
  }
  km_mesh_wake(m);
}

static void set_timer(km_mesh *m, km_timer_node *node, uint64_t after_ns) {
  km_timer_heap_set(&m->timers, node, km_loop_now(m->loop) + after_ns);
  km_mesh_wake(m);
}

/* --- what comes back every while ------------------------------------------------------------- */

/* The side with the lower id begins synchronizations. */
static void on_sync_timer(km_timer_node *node) {
  km_mesh *m = KM_LIST_ITEM(node, km_mesh, sync_timer);
  for (km_mpeer *p = m->peers; p != NULL; p = p->next) {
    if (p->link != NULL && p->link->syncs != NULL &&
        memcmp(km_store_id(m->store)->bytes, p->id.bytes, KM_ID_BYTES) < 0) {
      (void)km_sync_streams_now(p->link);
    }
  }
  set_timer(m, node, m->options.sync_interval_ms * KM_NS_PER_MS);
}

/* Trust may have expired. */
static void on_recheck(km_timer_node *node) {
  km_mesh *m = KM_LIST_ITEM(node, km_mesh, recheck);
  m->recheck_due = true;
  km_defer_run(m->work);
  set_timer(m, node, RECHECK);
}

static void note_failure(km_mesh *m, const char *what, const km_errinfo *err) {
  MESH_LOG(m, KM_LOG_ERROR, "store", "%s: %s", what, err->text);
}

static void on_hourly(km_timer_node *node) {
  km_mesh *m = KM_LIST_ITEM(node, km_mesh, hourly);
  km_errinfo err;
  if (km_trust_cleanup(m->store, &err) < 0) {
    note_failure(m, "cleaning up trust", &err);
  }
  if (km_outbox_cleanup(m->store, &err) < 0) {
    note_failure(m, "cleaning up messages", &err);
  }
  if (km_gate_set_readers(m, &err) != 0) {     /* without those whose trust ran out */
    note_failure(m, "noting who reads", &err); /* then nothing is forgotten: one may be missing */
  } else if (km_kv_collect(m->store, &err) < 0) {
    note_failure(m, "forgetting deletions", &err);
  }
  set_timer(m, node, HOURLY);
}

/* --- hooks of the store ---------------------------------------------------------------------- */

static void on_check(km_timer_node *node) {
  km_mesh *m = KM_LIST_ITEM(node, km_mesh, check);
  m->check_due = true;
  km_defer_run(m->work);
}

static void on_kv_change(void *ctx, const char *share, const km_item *item, const km_id *from) {
  km_mesh *m = ctx;
  if (!m->check_due && m->check.index == 0) {
    set_timer(m, &m->check, CHECK_AFTER);
  }
  km_push_change(m, share, item, from);
}

static void on_kv_forged(void *ctx, const km_id *author) {
  km_mesh *m = ctx;
  for (km_link *l = m->links; l != NULL; l = l->next) {
    if (l->up && !l->closing && km_id_equal(&l->peer->id, author)) {
      (void)km_link_fault(l, KM_FAULT_FORGED, "an entry of its own with a wrong signature");
    }
  }
}

static void on_outbox_change(void *ctx, const km_id *to) {
  km_push_outbox(ctx, to);
}

static void on_readers(km_timer_node *node) {
  km_mesh *m = KM_LIST_ITEM(node, km_mesh, readers);
  m->readers_due = true;
  km_defer_run(m->work);
}

/* It reads, or does not, from now on; what follows from that for others waits. */
static void note_reader(km_mesh *m, const km_id *id) {
  bool counted;
  km_errinfo err;
  int rv = km_gate_set_reader(m, id, &counted, &err);
  if (rv != 0) {
    note_failure(m, "noting who reads", &err);
  }
  if ((rv != 0 || counted) && m->readers.index == 0) {
    set_timer(m, &m->readers, READERS_AFTER);
  }
}

/* Whoever lost our trust is cut off here and now, whatever else is to be done at the end of the
 * turn. */
static void on_trust_change(void *ctx, const km_id *id, const km_statement *s) {
  km_mesh *m = ctx;
  if (s != NULL) {
    km_push_statement(m, s, NULL);
  }
  km_gate_changed(m);
  m->recheck_due = true;
  km_defer_run(m->work);
  for (km_link *l = m->links; l != NULL; l = l->next) {
    if (km_id_equal(&l->peer->id, id) && (l->session_up || l->dialled) && !l->closing &&
        !km_gate_lets_in(m, id)) {
      km_link_close(l, KM_MESH_REVOKED, "it is not trusted here any more");
    }
  }
  note_reader(m, id);
}

static bool is_configured(void *ctx, const km_id *id) {
  return km_gate_is_configured(ctx, id);
}

static void set_hooks(km_mesh *m, bool on) {
  km_kv_on_change(m->store, on ? on_kv_change : NULL, on ? m : NULL);
  km_kv_on_forged(m->store, on ? on_kv_forged : NULL, on ? m : NULL);
  km_outbox_on_change(m->store, on ? on_outbox_change : NULL, on ? m : NULL);
  km_trust_on_configured(m->store, on ? is_configured : NULL, on ? m : NULL);
  km_trust_on_change(m->store, on ? on_trust_change : NULL, on ? m : NULL);
}

/* --- the work of a turn ---------------------------------------------------------------------- */

static bool check_some(km_mesh *m, bool syncing) {
  km_errinfo err;
  size_t max = syncing ? CHECKS_A_TURN_SYNCING : CHECKS_A_TURN;
  int64_t left = m->check_due ? km_kv_check_some(m->store, max, &err) : 0;
  m->check_due = left > 0;
  if (left < 0) {
    note_failure(m, "checking signatures", &err);
  }
  return m->check_due;
}

static void do_due(km_mesh *m) {
  km_errinfo err;
  if (m->recheck_due) {
    m->recheck_due = false;
    km_mpeers_recheck(m);
  }
  if (m->readers_due) {
    m->readers_due = false;
    if (km_gate_set_readers(m, &err) != 0) {
      note_failure(m, "noting who reads", &err);
    }
  }
  km_gate_requests(m);
  km_mpeers_report(m);
}

static void free_mesh(km_mesh *m) {
  const km_env env = m->own_env;
  km_mpeers_free(m);
  km_gate_close(m);
  km_timer_heap_clear(&m->timers);
  km_deadline_free(m->deadline);
  km_defer_free(m->work);
  km_env_free(&env, m->lists);
  km_env_free(&env, (void *)m->allowed_names);
  km_env_free(&env, m->node_id);
  km_env_free(&env, m);
}

/* The pointer is good until on_closed returned, as that of an endpoint. */
static void end(km_mesh *m) {
  km_defer *work = m->work;
  m->work = NULL;
  km_defer_free(work);
  km_deadline_free(m->deadline);
  m->deadline = NULL;
  if (m->options.callbacks.on_closed != NULL) {
    m->options.callbacks.on_closed(m->options.ctx, m);
  }
  free_mesh(m);
}

static void on_work(void *ctx) {
  km_mesh *m = ctx;
  bool more = false, syncing = false;
  if (!m->closing) {
    do_due(m);
  }
  for (km_link *l = m->links; l != NULL && !m->closing; l = l->next) {
    km_push_work(l);
    more = km_sync_streams_work(l) || more;
    syncing = km_sync_streams_busy(l) || syncing;
  }
  if (!m->closing) {
    more = check_some(m, syncing) || more;
  }
  if (m->reap_due && !m->closing) {
    m->reap_due = false;
    km_mpeers_reap(m);
  }
  if (m->closing && m->links == NULL) {
    end(m);
  } else if (more) {
    km_defer_run(m->work); /* in the next turn, after what came meanwhile */
  }
}

/* --- life ------------------------------------------------------------------------------------ */

static int set_identity(km_mesh *m, const km_mesh_options *options) {
  char id[KM_ID_TEXT_CAP];
  (void)km_id_format(km_endpoint_id(m->endpoint), KM_ID_SHORT, id, sizeof id);
  m->node_id = km_env_strdup(m->env, options->node_id == NULL ? id : options->node_id);
  while (m->instance == 0) {
    km_env_random(m->env, &m->instance, sizeof m->instance);
  }
  return m->node_id == NULL ? KM_ERR_NOMEM : 0;
}

static void set_env(km_mesh *m, const km_mesh_options *options) {
  m->own_env = m->endpoint->env;
  m->env = &m->own_env;
  if (options->log != NULL) {
    m->own_env.logger =
        (km_logger){.sink = options->log, .ctx = options->log_ctx, .filter = options->log_filter};
  }
}

static int open_parts(km_mesh *m, const km_mesh_options *options) {
  int rv = set_identity(m, options);
  rv = rv == 0 ? km_gate_open(m) : rv;
  rv = rv == 0 ? km_mesh_reserve_timers(m) : rv;
  rv = rv == 0 ? km_deadline_new(&m->deadline, m->loop, on_deadline, m) : rv;
  return rv == 0 ? km_defer_new(&m->work, m->loop, on_work, m) : rv;
}

static int accept_on_endpoint(km_mesh *m, km_errinfo *err) {
  const km_protocol protocol = {
      .size = sizeof protocol, .alpn = KM_MESH_ALPN, .conn = km_link_accept_callbacks, .ctx = m};
  int rv = km_endpoint_add_protocol(m->endpoint, &protocol, err);
  return rv == KM_ERR_INVALID ? km_fail(err, KM_ERR_STATE, "the endpoint has a mesh already") : rv;
}

/* Accepted connections whose handshake is not done yet know the mesh and nothing else does. */
static void leave_endpoint(km_mesh *m) {
  (void)km_endpoint_remove_protocol(m->endpoint, KM_MESH_ALPN);
  for (km_list *at = m->endpoint->conns.next; at != &m->endpoint->conns; at = at->next) {
    km_conn *conn = KM_LIST_ITEM(at, km_conn, all);
    if (km_conn_ctx(conn) == m) {
      km_conn_set_callbacks(conn, NULL, NULL);
      km_conn_close(conn, KM_MESH_BYE, NULL, 0);
    }
  }
}

static int add_peers(km_mesh *m, const km_mesh_options *options, km_errinfo *err) {
  int rv = 0;
  for (size_t i = 0; rv == 0 && i < options->peer_count; i++) {
    const km_mpeer *p = km_mpeer_find(m, &options->peers[i].id);
    rv = p != NULL && p->configured ? km_fail(err, KM_ERR_INVALID, "a peer is there twice")
                                    : km_mpeer_add(m, &options->peers[i], err);
  }
  return rv;
}

static int open_mesh(km_mesh *m, const km_mesh_options *options, km_errinfo *err) {
  int rv = km_mesh_options_copy(m, options, err);
  if (rv != 0) {
    return rv;
  }
  m->store = options->store;
  if (!km_id_equal(km_store_id(m->store), km_endpoint_id(m->endpoint))) {
    return km_fail(err, KM_ERR_STATE, "the store is of another key than the endpoint");
  }
  if (open_parts(m, options) != 0) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  return accept_on_endpoint(m, err);
}

/* Peers are dialled from the loop: until then nothing has begun, and an invalid one stops all. */
static void begin(km_mesh *m) {
  set_hooks(m, true);
  m->sync_timer.fire = on_sync_timer;
  m->hourly.fire = on_hourly;
  m->check.fire = on_check;
  m->readers.fire = on_readers;
  set_timer(m, &m->sync_timer, m->options.sync_interval_ms * KM_NS_PER_MS);
  set_timer(m, &m->hourly, FIRST_CLEANUP);
  m->recheck.fire = on_recheck;
  set_timer(m, &m->recheck, RECHECK);
  m->opening = false;
  for (km_mpeer *p = m->peers; p != NULL; p = p->next) {
    set_timer(m, &p->retry, 0);
  }
  m->check_due = m->readers_due = true;
  km_defer_run(m->work);
}

int km_mesh_open(km_mesh **ret, km_endpoint *endpoint, const km_mesh_options *options,
                 km_errinfo *err) {
  if (ret == NULL || endpoint == NULL || options == NULL) {
    return km_fail(err, KM_ERR_INVALID, "an endpoint and options are needed");
  }
  km_mesh *m = km_env_zalloc(&endpoint->env, 1, sizeof *m);
  if (m == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  m->endpoint = endpoint;
  m->loop = endpoint->loop;
  set_env(m, options);
  m->opening = true;
  m->sync_timer.at = m->hourly.at = m->recheck.at = KM_TS_NEVER;
  km_timer_heap_init(&m->timers, m->env);
  int rv = open_mesh(m, options, err);
  if (rv != 0) {
    free_mesh(m);
    return rv;
  }
  rv = add_peers(m, options, err);
  if (rv != 0) {
    leave_endpoint(m);
    free_mesh(m);
    return rv;
  }
  begin(m);
  *ret = m;
  return 0;
}

void km_mesh_close(km_mesh *mesh) {
  if (mesh == NULL || mesh->closing) {
    return;
  }
  mesh->closing = true;
  set_hooks(mesh, false);
  leave_endpoint(mesh);
  for (km_link *l = mesh->links; l != NULL; l = l->next) {
    km_link_close(l, KM_MESH_BYE, "");
  }
  km_defer_run(mesh->work);
}

km_endpoint *km_mesh_endpoint(const km_mesh *mesh) {
  return mesh->endpoint;
}

km_store *km_mesh_store(const km_mesh *mesh) {
  return mesh->store;
}
