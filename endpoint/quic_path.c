/* Paths of a connection: what ngtcp2 sees as (local, remote) addresses, and the km_path behind.
 *
 * Dialling: the first flight goes over a mixed path; a migration adds another. Every path has its
 * own synthetic local address, because ngtcp2 moves a client only when that changes.
 * Accepting: all paths share one local address, so that a peer whose address changed under it (NAT
 * rebinding) keeps its connection id, as RFC 9000 section 9.5 allows; paths differ by remote. */
#include <stdio.h>
#include <string.h>

#include "base/udp_addr.h"
#include "endpoint/conn_impl.h"
#include "endpoint/discover.h"
#include "endpoint/intake.h"

#define PRUNE_AFTER_PTOS 3u
#define SILENT_PTOS 3u
#define SILENT_TRIPS 2u
#define HEARD_NS (10 * KM_NS_PER_MS) /* how exactly the last genuine packet is remembered */
#define SILENT_DIRECT_NS (400 * KM_NS_PER_MS)
#define REOPEN_NS KM_NS_PER_S /* between two times that all candidates are tried */
#define SEEK_MIN_NS KM_NS_PER_S
#define SEEK_MAX_NS (60 * KM_NS_PER_S)
/* A peer on ngtcp2 checks the way that was left for up to three seconds (RFC 9000 section 9.3.3),
 * and does not go back to it meanwhile. */
#define SEEK_AFTER_LOSS_NS (5 * KM_NS_PER_S)
#define PRUNE_AFTER_MIN_NS (3 * KM_NS_PER_S)

/* Scope ids are left out, as in ngtcp2's own comparison. */
static bool same_sockaddr(const struct sockaddr *a, const struct sockaddr *b) {
  if (a->sa_family != b->sa_family) {
    return false;
  }
  if (a->sa_family == AF_INET) {
    const struct sockaddr_in *x = (const void *)a, *y = (const void *)b;
    return x->sin_port == y->sin_port && x->sin_addr.s_addr == y->sin_addr.s_addr;
  }
  const struct sockaddr_in6 *x = (const void *)a, *y = (const void *)b;
  return x->sin6_port == y->sin6_port &&
         memcmp(&x->sin6_addr, &y->sin6_addr, sizeof x->sin6_addr) == 0;
}

static void fill(const km_quic_path *cp, ngtcp2_path *ret) {
  *ret = (ngtcp2_path){{(ngtcp2_sockaddr *)(uintptr_t)&cp->local.sa, KM_PATH_LOCAL_LEN},
                       {(ngtcp2_sockaddr *)(uintptr_t)&cp->path->remote.sa, cp->path->remote_len},
                       NULL};
}

static km_quic_path *entry_of(km_conn *conn, const km_path *path) {
  for (size_t i = 0; i < conn->path_count; i++) {
    if (conn->paths[i].path == path) {
      return &conn->paths[i];
    }
  }
  return NULL;
}

km_quic_path *km_quic_path_of_addrs(km_conn *conn, const ngtcp2_path *path) {
  for (size_t i = 0; i < conn->path_count; i++) {
    km_quic_path *cp = &conn->paths[i];
    if (same_sockaddr(&cp->local.sa, path->local.addr) &&
        same_sockaddr(&cp->path->remote.sa, path->remote.addr)) {
      return cp;
    }
  }
  return NULL;
}

static const km_quic_path *in_use(const km_conn *conn) {
  return conn->quic == NULL
             ? NULL
             : km_quic_path_of_addrs((km_conn *)(uintptr_t)conn, ngtcp2_conn_get_path2(conn->quic));
}

km_path *km_quic_path_concrete(km_path *path) {
  return path->key.way == KM_WAY_MIXED ? km_mixed_current(path) : path;
}

km_path *km_quic_path_current(const km_conn *conn) {
  const km_quic_path *cp = in_use(conn);
  km_path *path = cp == NULL ? NULL : km_quic_path_concrete(cp->path);
  return path != NULL || !conn->progress.completed ? path : conn->current; /* reopened: the last */
}

/* A path of the connection, by itself or as a candidate. `path` may be freed: only compared. */
static bool is_held(const km_conn *conn, const km_path *path) {
  for (size_t i = 0; i < conn->path_count; i++) {
    const km_path *of = conn->paths[i].path;
    size_t count = of->key.way == KM_WAY_MIXED ? km_mixed_count(of) : 0;
    bool held = of == path;
    for (size_t k = 0; k < count && !held; k++) {
      held = km_mixed_at(of, k) == path;
    }
    if (held) {
      return true;
    }
  }
  return false;
}

/* Looked up again then; never left pointing at what may be freed. */
void km_quic_path_check_held(km_conn *conn) {
  if (!is_held(conn, conn->current)) {
    conn->current = NULL;
  }
}

static void remove_entry(km_conn *conn, size_t i) {
  km_path *path = conn->paths[i].path;
  if (path == conn->mixed) {
    conn->mixed = NULL;
  }
  if (path == conn->probing) {
    conn->probing = NULL;
  }
  conn->path_count--;
  memmove(&conn->paths[i], &conn->paths[i + 1], (conn->path_count - i) * sizeof conn->paths[0]);
  km_quic_path_check_held(conn);
  km_path_unref(conn->ep->ms, path);
}

/* Makes room by giving up what is least missed: not in use, not being probed, unproven first. */
static bool make_room(km_conn *conn) {
  const km_quic_path *used = in_use(conn);
  size_t victim = conn->path_count;
  for (size_t i = 0; i < conn->path_count; i++) {
    const km_quic_path *cp = &conn->paths[i];
    if (cp == used || cp->path == conn->probing || cp->path == conn->mixed) {
      continue;
    }
    const km_quic_path *best = victim < conn->path_count ? &conn->paths[victim] : NULL;
    if (best == NULL || (best->validated && !cp->validated) ||
        (best->validated == cp->validated && cp->last_rx < best->last_rx)) {
      victim = i;
    }
  }
  if (victim == conn->path_count) {
    return false;
  }
  remove_entry(conn, victim);
  return true;
}

int km_quic_path_add(km_conn *conn, km_path *path) {
  if (conn->path_count == KM_CONN_MAX_PATHS && !make_room(conn)) {
    return KM_ERR_LIMIT;
  }
  km_quic_path *cp = &conn->paths[conn->path_count++];
  *cp = (km_quic_path){.path = path};
  cp->local = conn->is_client ? path->local : conn->server_local;
  cp->last_rx = km_endpoint_now(conn->ep);
  return 0;
}

/* --- receiving ------------------------------------------------------------------------------- */

/* A mixed path that is settled is the candidate that answered, and nobody else. */
static bool belongs_to(const km_conn *conn, const km_quic_path *cp, const km_path_key *from) {
  if (cp->path->key.way != KM_WAY_MIXED) {
    return km_path_key_matches(&cp->path->key, from);
  }
  const km_path *candidate = km_mixed_candidate(cp->path, from);
  bool open = cp->path == conn->mixed && !conn->mixed_final;
  return candidate != NULL && (open || candidate == km_mixed_current(cp->path));
}

/* Several may have the same way under them. */
static km_quic_path *client_entry(km_conn *conn, const km_path_key *from) {
  const km_quic_path *probing = conn->probing == NULL ? NULL : entry_of(conn, conn->probing);
  const km_quic_path *first[] = {probing, in_use(conn)};
  for (size_t i = 0; i < sizeof first / sizeof first[0]; i++) {
    if (first[i] != NULL && belongs_to(conn, first[i], from)) {
      return (km_quic_path *)(uintptr_t)first[i];
    }
  }
  for (size_t i = 0; i < conn->path_count; i++) {
    if (belongs_to(conn, &conn->paths[i], from)) {
      return &conn->paths[i];
    }
  }
  return NULL;
}

static km_quic_path *server_entry(km_conn *conn, const km_path_key *from) {
  for (size_t i = 0; i < conn->path_count; i++) {
    if (km_path_key_matches(&conn->paths[i].path->key, from)) {
      return &conn->paths[i];
    }
  }
  return NULL;
}

bool km_quic_path_of_source(km_conn *conn, const km_path_key *from, ngtcp2_path_storage *ret,
                            km_quic_path **ret_known) {
  km_quic_path *cp = conn->is_client ? client_entry(conn, from) : server_entry(conn, from);
  *ret_known = cp;
  ngtcp2_path_storage_zero(ret);
  if (cp != NULL) {
    ngtcp2_path path;
    fill(cp, &path);
    ngtcp2_path_copy(&ret->path, &path);
    return true;
  }
  /* RFC 9000 section 9: no moving before the handshake is done. Copies of a first flight that
   * came by several ways end here. */
  if (conn->is_client || !conn->progress.completed) {
    return false;
  }
  if (from->way == KM_WAY_DIRECT && !km_quic_select_may_be_direct(conn)) {
    return false;
  }
  if (from->way == KM_WAY_RELAY && !km_id_equal(&from->peer, &conn->remote_id)) {
    return false; /* the relay says that it is of somebody else */
  }
  struct sockaddr_storage remote;
  const ngtcp2_path path = {
      {&conn->server_local.sa, KM_PATH_LOCAL_LEN},
      {(ngtcp2_sockaddr *)&remote, km_udp_addr_to_sockaddr(&from->remote, &remote)},
      NULL};
  ngtcp2_path_copy(&ret->path, &path);
  return true;
}

static void learn(km_conn *conn, const km_path_key *from) {
  km_path *path;
  if (km_magicsock_path(conn->ep->ms, from, &path) != 0) {
    return; /* the peer stays where it was */
  }
  /* The same remote through another socket of ours: ngtcp2 cannot tell them apart, so the newer
   * way takes the place of the older. */
  for (size_t i = 0; i < conn->path_count; i++) {
    if (same_sockaddr(&conn->paths[i].path->remote.sa, &path->remote.sa)) {
      km_path_unref(conn->ep->ms, conn->paths[i].path);
      conn->paths[i].path = path;
      conn->current = NULL;
      return;
    }
  }
  if (km_quic_path_add(conn, path) != 0) {
    km_path_unref(conn->ep->ms, path);
  }
}

/* To ask QUIC for every packet would cost more than it tells. */
bool km_quic_path_is_curious(const km_conn *conn, const km_quic_path *known,
                             const km_path_key *from) {
  if (known == NULL || km_endpoint_now(conn->ep) - known->last_rx >= HEARD_NS) {
    return true;
  }
  return known->path->key.way == KM_WAY_MIXED &&
         (!conn->mixed_final ||
          km_mixed_candidate(known->path, from) != km_mixed_current(known->path));
}

void km_quic_path_received(km_quic_path *known, size_t bytes) {
  km_path_received(km_quic_path_concrete(known->path), 1, bytes);
}

static uint64_t packets_sent(const km_conn *conn) {
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info2(conn->quic, &info);
  return info.pkt_sent;
}

/* While much is under way over the old path, its packets come in before anything may be sent: no
 * answer yet to what goes to all. */
static bool all_were_tried(const km_conn *conn) {
  return !conn->progress.completed || packets_sent(conn) > conn->reopened_tx;
}

void km_quic_path_accepted(km_conn *conn, km_quic_path *known, const km_path_key *from,
                           size_t bytes) {
  if (known == NULL) {
    learn(conn, from);
    known = server_entry(conn, from);
    if (known == NULL) {
      return;
    }
  }
  km_path *path = known->path;
  if (path->key.way == KM_WAY_MIXED) {
    path = km_mixed_candidate(path, from);
    if (known->path == conn->mixed && !conn->mixed_final && all_were_tried(conn)) {
      km_mixed_answered(known->path, path);
      conn->mixed_final = conn->progress.completed; /* reopened: one answer is enough */
      if (conn->mixed_final) {
        km_intake_settle(conn);
      }
    }
  }
  known->last_rx = km_endpoint_now(conn->ep);
  if (path != NULL) {
    km_path_received(path, 1, bytes);
    km_quic_select_heard(conn, &path->key);
  }
}

/* --- the path in use ------------------------------------------------------------------------- */

void km_quic_path_settle(km_conn *conn) {
  if (conn->mixed != NULL) {
    if (conn->answering != NULL) {
      km_mixed_answered(conn->mixed, conn->answering);
    }
    conn->mixed_final = true;
    km_intake_settle(conn);
    conn->seek_wait = SEEK_MIN_NS;
    conn->seek_at = km_endpoint_now(conn->ep) + SEEK_MIN_NS;
  }
  if (conn->path_count > 0) {
    conn->paths[0].validated = true; /* by the handshake, RFC 9000 section 8.1 */
  }
}

static bool uses_mixed(const km_conn *conn) {
  const km_quic_path *cp = in_use(conn);
  return cp != NULL && cp->path == conn->mixed;
}

bool km_quic_path_is_open_first_flight(const km_conn *conn) {
  return uses_mixed(conn) && !conn->mixed_final;
}

km_ts km_quic_path_last_heard(const km_conn *conn) {
  const km_quic_path *cp = in_use(conn);
  return cp == NULL ? 0 : cp->last_rx;
}

void km_quic_path_check(km_conn *conn) {
  if (conn->state != KM_CONN_CONNECTED || !conn->progress.completed) {
    return;
  }
  km_path *now = km_quic_path_current(conn);
  if (now == NULL || now == conn->current) {
    return;
  }
  conn->current = now;
  conn->migrations++;
  km_conn_note_event(conn, KM_EXPLAIN_EVENT_PATH, &now->key, 0);
  conn->prune_at = km_endpoint_now(conn->ep) + PRUNE_AFTER_MIN_NS +
                   PRUNE_AFTER_PTOS * ngtcp2_conn_get_pto2(conn->quic);
  CONN_LOG(conn, KM_LOG_INFO, KM_LOGC_PATH, "selected", "changes=%llu",
           (unsigned long long)conn->migrations);
  km_quic_select_path_changed(conn);
  km_discover_worked(conn);
  if (conn->cb.on_path != NULL) {
    km_path_info info;
    km_quic_path_info(conn, now, &info);
    conn->cb.on_path(conn->ctx, conn, &info);
  }
}

void km_quic_path_refresh(km_conn *conn) {
  if (conn->mixed != NULL && conn->progress.completed) {
    km_mixed_refresh(conn->ep->ms, conn->mixed, uses_mixed(conn));
    km_quic_path_check_held(conn);
  }
}

void km_quic_path_prune(km_conn *conn) {
  km_quic_path_refresh(conn);
  km_ts now = km_endpoint_now(conn->ep);
  km_ts quiet = PRUNE_AFTER_PTOS * ngtcp2_conn_get_pto2(conn->quic);
  conn->prune_at = KM_TS_NEVER;
  for (size_t i = conn->path_count; i-- > 0;) {
    km_quic_path *cp = &conn->paths[i];
    if (cp == in_use(conn) || cp->path == conn->probing || cp->path == conn->mixed) {
      continue; /* the mixed one has the candidates, for when this way is lost */
    }
    if (now - cp->last_rx < quiet) {
      conn->prune_at = now + quiet;
      continue;
    }
    remove_entry(conn, i);
  }
}

void km_quic_paths_clear(km_conn *conn) {
  while (conn->path_count > 0) {
    remove_entry(conn, conn->path_count - 1);
  }
}

void km_quic_path_validated(km_conn *conn, const ngtcp2_path *path, bool ok) {
  km_quic_path *cp = km_quic_path_of_addrs(conn, path);
  if (cp == NULL) {
    return;
  }
  cp->validated = ok;
  if (cp->path == conn->probing) {
    conn->probing = NULL;
    if (!ok) {
      km_conn_note_event(conn, KM_EXPLAIN_EVENT_MOVE_FAILED, &cp->path->key, 0);
      km_log_level level = conn->seek_wait > 0 ? KM_LOG_DEBUG : KM_LOG_WARN; /* only tried */
      CONN_LOG(conn, level, KM_LOGC_PATH, "validation-failed", "%s",
               "the peer did not answer on the new path; staying on the old one");
      km_quic_select_avoid(conn, &cp->path->key);
    }
    if (ok) {
      conn->select.again_at = km_endpoint_now(conn->ep); /* another may be better by now */
    }
  }
}

/* --- migration ------------------------------------------------------------------------------- */

static int migration_error(int liberr, km_errinfo *err) {
  switch (liberr) {
  case NGTCP2_ERR_INVALID_STATE:
    return km_fail(err, KM_ERR_STATE, "the handshake is not confirmed yet, or the peer forbids it");
  case NGTCP2_ERR_CONN_ID_BLOCKED:
    return km_fail(err, KM_ERR_PATH_REFUSED, "the peer gave no connection id for another path");
  case NGTCP2_ERR_NOMEM:
    return km_fail(err, KM_ERR_NOMEM, NULL);
  default:
    return km_fail(err, KM_ERR_PATH_REFUSED, "migration is not possible: %s",
                   ngtcp2_strerror(liberr));
  }
}

/* The entry of a way's path, made if need be. */
static int entry_for(km_conn *conn, const km_path_key *key, km_quic_path **ret) {
  km_path *path;
  int rv = km_magicsock_path(conn->ep->ms, key, &path);
  if (rv != 0) {
    return rv;
  }
  *ret = entry_of(conn, path);
  if (*ret != NULL) {
    km_path_unref(conn->ep->ms, path);
    return 0;
  }
  rv = km_quic_path_add(conn, path);
  if (rv != 0) {
    km_path_unref(conn->ep->ms, path);
    return rv;
  }
  *ret = entry_of(conn, path);
  return 0;
}

int km_quic_migrate(km_conn *conn, const km_path_key *key, km_errinfo *err) {
  if (!conn->is_client || !conn->progress.confirmed) {
    return km_fail(err, KM_ERR_STATE,
                   conn->is_client ? "the handshake is not confirmed yet"
                                   : "only the side that dialled can move a connection");
  }
  if (conn->in_quic) {
    conn->migration_key = *key;
    conn->migration_due = true;
    km_conn_mark_dirty(conn);
    return 0;
  }
  const km_path *current = km_quic_path_current(conn);
  if (current != NULL && km_path_key_matches(&current->key, key)) {
    return 0;
  }
  km_quic_path *cp;
  int rv = entry_for(conn, key, &cp);
  if (rv == KM_ERR_LIMIT) {
    return km_fail(err, rv, "the connection has %d paths already", KM_CONN_MAX_PATHS);
  }
  if (rv != 0) {
    return km_fail(err, rv, NULL);
  }
  ngtcp2_path to;
  fill(cp, &to);
  rv = ngtcp2_conn_initiate_migration(conn->quic, &to, km_endpoint_now(conn->ep));
  km_conn_mark_dirty(conn);
  if (rv != 0) {
    conn->prune_at = km_endpoint_now(conn->ep);
    km_conn_note_event(conn, KM_EXPLAIN_EVENT_MOVE_REFUSED, key, 0);
    return migration_error(rv, err);
  }
  km_conn_note_event(conn, KM_EXPLAIN_EVENT_MOVE_TRIED, key, 0);
  /* ngtcp2 goes at once to a path that it validated before: then no result follows. */
  const km_quic_path *used = in_use(conn);
  conn->probing = used == cp ? NULL : cp->path;
  return 0;
}

/* --- when a way is lost, or a better one may be there ----------------------------------------- */

typedef struct key_list {
  km_path_key at[KM_MIXED_MAX_CANDIDATES];
  size_t count;
} key_list;

static void add_key(key_list *list, const km_path_key *key) {
  for (size_t i = 0; i < list->count; i++) {
    if (km_path_key_matches(&list->at[i], key)) {
      return;
    }
  }
  if (list->count < KM_MIXED_MAX_CANDIDATES) {
    list->at[list->count++] = *key;
  }
}

/* Through the sockets of now; without one of that family it is none. */
static void add_current_key(const km_conn *conn, key_list *list, const km_path_key *given) {
  km_path_key key = *given;
  if (key.way == KM_WAY_DIRECT && !km_quic_select_may_be_direct(conn)) {
    return;
  }
  if (key.way != KM_WAY_DIRECT || km_magicsock_key(conn->ep->ms, &given->remote, &key) == 0) {
    add_key(list, &key);
  }
}

/* The candidates of the dial. */
static void add_given(const km_conn *conn, key_list *list) {
  for (size_t i = 0; i < km_mixed_count(conn->mixed); i++) {
    add_current_key(conn, list, &km_mixed_at(conn->mixed, i)->key);
  }
  for (size_t i = 0; i < conn->set_aside_count; i++) {
    add_current_key(conn, list, &conn->set_aside[i]);
  }
}

/* And what was found since. */
static void add_found(const km_conn *conn, key_list *list) {
  const km_remote_user *user = &conn->select.user;
  const km_punch *punch = km_remote_punch(user);
  km_path_key key;
  for (size_t i = 0; km_remote_relay_at(user, i, &key); i++) {
    add_key(list, &key);
  }
  if (punch == NULL || !km_quic_select_may_be_direct(conn)) {
    return;
  }
  km_punch_way_info ways[KM_PUNCH_MAX_WAYS];
  size_t count = km_punch_ways(punch, ways, KM_PUNCH_MAX_WAYS);
  for (size_t i = 0; i < count; i++) {
    bool worked = ways[i].opened_at != KM_TS_NEVER || ways[i].heard_at != KM_TS_NEVER;
    if (worked && km_remote_key(user, &ways[i].way, &key) == 0) {
      add_key(list, &key);
    }
  }
}

/* The candidate that answers first is taken, and is final as after the handshake. It is another
 * path, with a connection id, a congestion window and an MTU of its own (RFC 9000 section 9.4). */
static int move_to_mixed(km_conn *conn, km_path *mixed) {
  int rv = km_quic_path_add(conn, mixed);
  if (rv != 0) {
    km_path_unref(conn->ep->ms, mixed);
    return rv;
  }
  ngtcp2_path to;
  fill(entry_of(conn, mixed), &to);
  rv = ngtcp2_conn_initiate_immediate_migration(conn->quic, &to, km_endpoint_now(conn->ep));
  if (rv != 0) {
    remove_entry(conn, conn->path_count - 1);
    return rv;
  }
  km_intake_carry(conn, mixed);
  conn->mixed = mixed;
  km_mixed_grows(conn->ep->ms, mixed, conn->lookup != NULL);
  return 0;
}

static void reopen_to(km_conn *conn, const key_list *list) {
  km_ts now = km_endpoint_now(conn->ep);
  const km_path *left = km_quic_path_current(conn);
  km_path *mixed;
  km_conn_note_event(conn, KM_EXPLAIN_EVENT_LOST, left == NULL ? NULL : &left->key, 0);
  km_conn_note_event(conn, KM_EXPLAIN_EVENT_REOPENED, NULL, (uint32_t)list->count);
  conn->reopened_at = now;
  int rv = km_mixed_new(conn->ep->ms, list->at, list->count, &mixed);
  rv = rv == 0 ? move_to_mixed(conn, mixed) : rv;
  if (rv == 0 || uses_mixed(conn)) { /* where the peer gave no more ids: as it is, then */
    km_mixed_answered(conn->mixed, NULL);
    conn->mixed_final = false;
    conn->reopened_tx = packets_sent(conn);
  }
  CONN_LOG(conn, KM_LOG_INFO, KM_LOGC_PATH, rv == 0 ? "reopened" : "reopen-failed",
           "candidates=%zu code=%d", list->count, rv);
  conn->prune_at = now + PRUNE_AFTER_MIN_NS;
  conn->seek_wait = SEEK_AFTER_LOSS_NS / 2; /* it doubles */
  conn->seek_at = KM_TS_NEVER;
  km_conn_mark_dirty(conn);
}

int km_quic_path_jump(km_conn *conn, const km_path_key *key) {
  km_quic_path *cp;
  int rv = entry_for(conn, key, &cp);
  if (rv != 0) {
    return rv;
  }
  ngtcp2_path to;
  fill(cp, &to);
  rv = ngtcp2_conn_initiate_immediate_migration(conn->quic, &to, km_endpoint_now(conn->ep));
  if (rv != 0) {
    conn->prune_at = km_endpoint_now(conn->ep);
    return rv;
  }
  if (conn->mixed != NULL) {
    conn->mixed_final = true; /* what its other candidates say is late */
  }
  km_conn_mark_dirty(conn);
  return 0;
}

/* A candidate that the next mixed path does not have, for later. Without memory it is forgotten. */
static void set_aside(km_conn *conn, const km_path_key *key) {
  for (size_t i = 0; i < conn->set_aside_count; i++) {
    if (km_udp_addr_equal(&conn->set_aside[i].remote, &key->remote)) {
      return;
    }
  }
  km_path_key *more = conn->set_aside_count >= KM_MIXED_MAX_CANDIDATES
                          ? NULL
                          : km_env_realloc(&conn->ep->env, conn->set_aside,
                                           conn->set_aside_count + 1, sizeof *more);
  if (more != NULL) {
    conn->set_aside = more;
    more[conn->set_aside_count++] = *key;
  }
}

/* As long as there is another. */
static void leave_out(km_conn *conn, key_list *list) {
  const km_path *left = km_quic_path_current(conn);
  if (left == NULL || left->key.way != KM_WAY_DIRECT) {
    return;
  }
  km_quic_select_avoid(conn, &left->key);
  for (size_t i = 0; list->count > 1 && i < list->count; i++) {
    if (km_udp_addr_equal(&list->at[i].remote, &left->key.remote)) {
      set_aside(conn, &list->at[i]);
      list->at[i] = list->at[--list->count];
      return;
    }
  }
}

void km_quic_path_reopen(km_conn *conn, bool leave) {
  km_ts now = km_endpoint_now(conn->ep);
  if (!conn->is_client || !conn->progress.confirmed || conn->mixed == NULL || conn->in_quic) {
    return;
  }
  km_intake_recall(conn);
  km_discover_again(conn);
  key_list list = {.count = 0};
  add_given(conn, &list);
  add_found(conn, &list);
  if (list.count == 0 || (uses_mixed(conn) && list.count < 2)) {
    return; /* there is nowhere else to go */
  }
  if (leave) {
    leave_out(conn, &list);
  }
  if (uses_mixed(conn) && !conn->mixed_final) {
    km_mixed_answered(conn->mixed, NULL); /* open already: once more to all */
    return;
  }
  if (conn->reopened_at != 0 && now - conn->reopened_at < REOPEN_NS) {
    return;
  }
  reopen_to(conn, &list);
}

/* What others measured on a way: QUIC forgets its round trip with each move. 0: nobody did. */
static uint64_t known_round_trip(const km_conn *conn, const km_path_key *key) {
  km_punch_way_info info;
  if (key->way == KM_WAY_RELAY) {
    return 2 * km_magicsock_relay_round_trip(conn->ep->ms, key); /* the peer's side may be as far */
  }
  return km_remote_find(&conn->select.user, key, &info) ? info.rtt_ns : 0;
}

/* Nothing was heard for as long as two probes take (RFC 9002 section 6.2): the way may be dead
 * though nobody said so, and the next probes go every way there is. A direct way gets more time: a
 * radio that roams is silent for a moment. */
static bool is_silent(const km_conn *conn, km_ts now) {
  const km_quic_path *cp = in_use(conn);
  const km_path *path = km_quic_path_current(conn);
  uint64_t patience = SILENT_PTOS * ngtcp2_conn_get_pto2(conn->quic);
  if (path != NULL && path->key.way == KM_WAY_DIRECT && patience < SILENT_DIRECT_NS) {
    patience = SILENT_DIRECT_NS;
  }
  uint64_t far = path == NULL ? 0 : SILENT_TRIPS * known_round_trip(conn, &path->key);
  patience = patience < far ? far : patience;
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info2(conn->quic, &info);
  if (cp == NULL || info.bytes_in_flight == 0) {
    return false;
  }
  km_ts since = cp->last_rx > conn->waiting_since ? cp->last_rx : conn->waiting_since;
  return now - since >= patience;
}

/* Direct beats relay whenever it works: while a relay carries a connection that has direct
 * candidates, these are probed, one after the other. */
static bool next_direct(km_conn *conn, km_path_key *ret) {
  key_list list = {.count = 0};
  add_given(conn, &list);
  for (size_t i = 0; i < list.count; i++) {
    *ret = list.at[conn->seek_index++ % list.count];
    if (ret->way == KM_WAY_DIRECT) {
      return true;
    }
  }
  return false;
}

static void seek_direct(km_conn *conn, km_ts now) {
  const km_path *path = km_quic_path_current(conn);
  if (path == NULL || path->key.way != KM_WAY_RELAY || !km_quic_select_probes(conn)) {
    conn->seek_at = KM_TS_NEVER;
    conn->seek_wait = 0;
    return;
  }
  if (conn->seek_at <= now && conn->probing == NULL) {
    km_path_key key;
    if (!next_direct(conn, &key)) {
      conn->seek_at = KM_TS_NEVER;
      return;
    }
    int rv = km_quic_migrate(conn, &key, NULL);
    (void)rv; /* it stays where it is, then */
  }
  if (conn->seek_at <= now || conn->seek_at == KM_TS_NEVER) {
    conn->seek_wait = conn->seek_wait == 0 ? SEEK_MIN_NS : 2 * conn->seek_wait;
    conn->seek_wait = conn->seek_wait < SEEK_MAX_NS ? conn->seek_wait : SEEK_MAX_NS;
    conn->seek_at = now + conn->seek_wait;
  }
}

/* No other way answers: those that were left out were not worse. */
static void take_back(km_conn *conn, km_ts now) {
  if (now - conn->reopened_at < REOPEN_NS || !km_quic_select_may_be_direct(conn)) {
    return;
  }
  for (size_t i = 0; i < conn->set_aside_count; i++) {
    km_path_key key;
    if (km_magicsock_key(conn->ep->ms, &conn->set_aside[i].remote, &key) == 0 &&
        km_mixed_add_stranger(conn->ep->ms, conn->mixed, &key, km_intake_allowance(conn, &key)) !=
            0) {
      break; /* it is tried again with the next time-out */
    }
  }
}

void km_quic_path_timeout(km_conn *conn) {
  km_ts now = km_endpoint_now(conn->ep);
  bool silent = conn->progress.completed && is_silent(conn, now);
  if (silent) {
    km_quic_select_silent(conn);
  }
  if (!conn->is_client || !conn->progress.completed || conn->mixed == NULL) {
    conn->seek_at = KM_TS_NEVER;
    return;
  }
  if (uses_mixed(conn) && !conn->mixed_final) { /* that is under way */
    take_back(conn, now);
    conn->seek_at = KM_TS_NEVER;
    return;
  }
  if (silent) {
    km_quic_path_reopen(conn, true);
    conn->seek_at = conn->seek_at <= now ? now + SEEK_MIN_NS : conn->seek_at;
  } else {
    seek_direct(conn, now);
  }
}

void km_quic_path_candidates_came(km_conn *conn) {
  if (conn->is_client && conn->progress.completed) {
    conn->seek_wait = 0;
    conn->seek_at = km_endpoint_now(conn->ep);
  }
}

void km_quic_path_network_changed(km_conn *conn, bool moved) {
  km_quic_path_refresh(conn);
  if (!conn->is_client || !conn->progress.completed) {
    return;
  }
  conn->seek_wait = 0;
  conn->seek_at = km_endpoint_now(conn->ep);
  if (moved) {
    km_quic_select_avoid_nothing(conn); /* it was so on another network */
    conn->reopened_at = 0;
    km_quic_path_reopen(conn, false);
  }
  km_conn_mark_dirty(conn);
}
