#include "endpoint/intake.h"

#include <string.h>

static km_candidates *told_of(km_conn *conn) {
  if (conn->told == NULL) {
    conn->told = km_env_zalloc(&conn->ep->env, 1, sizeof *conn->told);
  }
  return conn->told;
}

km_rank km_intake_rank(const km_conn *conn, const km_path_key *key) {
  const km_told *t = km_candidates_find(conn->told, key);
  return t == NULL ? KM_RANK_GIVEN : (km_rank)t->rank;
}

km_ts km_intake_since(const km_conn *conn, const km_path_key *key) {
  const km_told *t = km_candidates_find(conn->told, key);
  return t == NULL ? 0 : t->since;
}

uint32_t km_intake_allowance(const km_conn *conn, const km_path_key *key) {
  const km_told *t = km_candidates_find(conn->told, key);
  return t == NULL || t->rank != KM_RANK_CLAIMED ? KM_MIXED_UNLIMITED : t->left;
}

bool km_intake_is_out(const km_conn *conn, const km_path_key *key) {
  const km_told *t = km_candidates_find(conn->told, key);
  return t != NULL && t->out;
}

static void allow(km_path *mixed, const km_told *t, uint32_t packets) {
  const km_path *path = km_candidates_path(mixed, t);
  if (path != NULL) {
    km_mixed_allow(mixed, &path->key, packets);
  }
}

/* Out of the mixed path. */
static void take_out(km_conn *conn, const km_told *t) {
  const km_path *path = km_candidates_path(conn->mixed, t);
  if (path != NULL) {
    const km_path_key key = path->key;
    (void)km_mixed_remove(conn->ep->ms, conn->mixed, &key);
    km_quic_path_check_held(conn);
  }
}

/* --- in and out ------------------------------------------------------------------------------- */

static bool is_set_aside(const km_conn *conn, const km_path_key *key) {
  for (size_t i = 0; key->way == KM_WAY_DIRECT && i < conn->set_aside_count; i++) {
    if (km_udp_addr_equal(&conn->set_aside[i].remote, &key->remote)) {
      return true;
    }
  }
  return false;
}

static void stop_waiting(km_conn *conn, km_told *t) {
  if (t->waits != NULL) {
    km_path_unref(conn->ep->ms, t->waits);
    t->waits = NULL;
  }
}

/* Indices of relays are used again: none is remembered as one that is out. */
static void let_go(km_conn *conn, km_told *t) {
  stop_waiting(conn, t);
  take_out(conn, t);
  t->out = true;
  if (t->key.way == KM_WAY_RELAY) {
    km_candidates_drop(conn->told, &conn->ep->env, t);
  }
}

static bool make_room(km_conn *conn, const km_told *fresh, km_way way) {
  if (!km_candidates_are_full(conn->told, conn->mixed, fresh, way)) {
    return true;
  }
  km_told *victim = km_candidates_victim(conn->told, conn->mixed, fresh, way);
  if (victim != NULL) {
    let_go(conn, victim);
  }
  return victim != NULL;
}

static bool try_now(km_conn *conn, km_told *t) {
  int rv = km_mixed_add_stranger(conn->ep->ms, conn->mixed, &t->key,
                                 t->rank == KM_RANK_CLAIMED ? t->left : KM_MIXED_UNLIMITED);
  stop_waiting(conn, t);
  return rv == 0;
}

static bool wait_for_others(km_conn *conn, km_told *t) {
  if (km_magicsock_path(conn->ep->ms, &t->key, &t->waits) != 0) {
    t->waits = NULL;
    return false;
  }
  km_ts at = km_endpoint_now(conn->ep) + KM_INTAKE_RELAYS_WAIT_NS;
  conn->relays_at = at < conn->relays_at ? at : conn->relays_at;
  return true;
}

static bool begin(km_conn *conn, const km_told *fresh) {
  km_told *t = km_candidates_add(conn->told, &conn->ep->env, fresh);
  if (t == NULL) {
    return false;
  }
  bool waits = t->key.way == KM_WAY_RELAY && t->rank == KM_RANK_CLAIMED &&
               !conn->progress.completed && km_mixed_count(conn->mixed) > 0;
  if (!(waits ? wait_for_others(conn, t) : try_now(conn, t))) {
    km_candidates_drop(conn->told, &conn->ep->env, t);
    return false;
  }
  return true;
}

/* Somebody else says the same, or the same once more. */
static void confirm(km_conn *conn, km_told *known, const km_told *fresh) {
  if (known == NULL) {
    return;
  }
  known->old = false;
  if (fresh->rank > known->rank) {
    known->rank = fresh->rank;
    allow(conn->mixed, known, KM_MIXED_UNLIMITED);
    if (known->waits != NULL) {
      (void)try_now(conn, known);
    }
  }
}

/* 1: new; 0: known; -1: not taken. */
static int take(km_conn *conn, const km_told *fresh) {
  km_way way = (km_way)fresh->key.way;
  km_told *known = km_candidates_find(conn->told, &fresh->key);
  if (km_candidates_path(conn->mixed, fresh) != NULL || is_set_aside(conn, &fresh->key) ||
      (known != NULL && known->waits != NULL)) {
    confirm(conn, known, fresh);
    return 0;
  }
  if ((known != NULL && (known->wrong || (known->out && fresh->rank <= known->rank))) ||
      !km_candidates_may_take(conn->told, fresh, way) || !make_room(conn, fresh, way)) {
    return -1;
  }
  known = km_candidates_find(conn->told, &fresh->key); /* others may have moved */
  if (known != NULL) {
    km_candidates_drop(conn->told, &conn->ep->env, known);
  }
  return begin(conn, fresh) ? 1 : -1;
}

static size_t take_addresses(km_conn *conn, const km_addr *addr, km_told *fresh) {
  size_t count = 0;
  for (size_t i = 0; i < km_addr_udp_count(addr); i++) {
    const km_udp_addr *at = km_addr_udp_at(addr, i);
    int taken = km_dial_key(conn->ep, at, &fresh->key) == 0 ? take(conn, fresh) : -1;
    count += taken > 0;
    if (taken >= 0) {
      km_remote_add(&conn->select.user, at);
    }
  }
  return count;
}

static size_t take_relays(km_conn *conn, const km_addr *addr, km_told *fresh) {
  bool claimed = fresh->rank == KM_RANK_CLAIMED;
  size_t count = 0, most = claimed ? KM_CLAIMED_RELAYS_AT_ONCE : KM_ADDR_MAX_RELAYS;
  if (claimed && conn->progress.completed && !km_quic_path_is_open_first_flight(conn)) {
    return 0; /* it does without */
  }
  for (size_t i = 0; i < km_addr_relay_count(addr) && i < most; i++) {
    const char *url = km_addr_relay_at(addr, i);
    int rv = claimed
                 ? km_magicsock_stranger_relay_key(conn->ep->ms, url, &conn->remote_id, &fresh->key)
                 : km_magicsock_relay_key(conn->ep->ms, url, &conn->remote_id, &fresh->key);
    count += rv == 0 && take(conn, fresh) > 0;
  }
  return count;
}

size_t km_intake(km_conn *conn, const km_found *found) {
  if (told_of(conn) == NULL) {
    return 0; /* the others are tried */
  }
  km_told fresh = km_candidates_answer(conn->told, found);
  fresh.since = km_endpoint_now(conn->ep);
  size_t count = km_quic_select_may_be_direct(conn) ? take_addresses(conn, found->addr, &fresh) : 0;
  return count + take_relays(conn, found->addr, &fresh);
}

/* --- later ------------------------------------------------------------------------------------ */

static void let_go_of_tainted(km_conn *conn) {
  for (size_t i = conn->told->count; i-- > 0;) {
    km_told *t = &conn->told->at[i];
    if (!t->out && km_candidates_is_tainted(conn->told, t)) {
      let_go(conn, t);
    }
  }
}

void km_intake_wrong(km_conn *conn, const km_path_key *key, bool mute) {
  const km_told given = {.key = *key, .rank = KM_RANK_GIVEN};
  km_candidates *c = told_of(conn);
  km_told *t = km_candidates_find(c, key);
  if (mute && km_intake_rank(conn, key) != KM_RANK_CLAIMED) {
    return;
  }
  if (t == NULL && c != NULL && key->way == KM_WAY_DIRECT) {
    t = km_candidates_add(c, &conn->ep->env, &given);
  }
  if (t != NULL) {
    km_candidates_wrong(c, t, mute);
    if (key->way == KM_WAY_RELAY) {
      km_candidates_drop(c, &conn->ep->env, t); /* its index may be another's later */
    }
    let_go_of_tainted(conn);
  }
}

void km_intake_carry(km_conn *conn, km_path *next) {
  for (size_t i = 0; conn->told != NULL && i < conn->told->count; i++) {
    km_told *t = &conn->told->at[i];
    if (t->rank != KM_RANK_CLAIMED) {
      continue;
    }
    const km_path *path = conn->mixed == NULL ? NULL : km_candidates_path(conn->mixed, t);
    if (path != NULL) {
      t->left = km_mixed_allowance(conn->mixed, &path->key);
    }
    allow(next, t, t->left);
  }
}

void km_intake_hurry(km_conn *conn) {
  conn->relays_at = KM_TS_NEVER;
  for (size_t i = 0; conn->told != NULL && i < conn->told->count; i++) {
    if (conn->told->at[i].waits != NULL) {
      (void)try_now(conn, &conn->told->at[i]);
    }
  }
}

void km_intake_timeout(km_conn *conn) {
  km_ts now = km_endpoint_now(conn->ep);
  if (conn->relays_at > now) {
    return;
  }
  if (conn->responded && !conn->progress.completed) {
    conn->relays_at = now + KM_INTAKE_RELAYS_WAIT_NS;
    return;
  }
  km_intake_hurry(conn);
  km_conn_mark_dirty(conn);
}

/* --- a connection with a path ----------------------------------------------------------------- */

static void vouch(km_conn *conn, km_told *t) {
  const char *url = km_magicsock_relay_url(conn->ep->ms, &t->key);
  km_path_key key;
  t->rank = KM_RANK_WORKED;
  allow(conn->mixed, t, KM_MIXED_UNLIMITED);
  if (url != NULL) {
    int rv = km_magicsock_relay_key(conn->ep->ms, url, &conn->remote_id, &key);
    (void)rv; /* it is known */
  }
}

static size_t kept_urls(const km_candidates *c) {
  size_t count = 0;
  for (size_t i = 0; i < c->count; i++) {
    count += c->at[i].url != NULL;
  }
  return count;
}

static void do_without(km_conn *conn, km_told *t) {
  const char *url = km_magicsock_relay_url(conn->ep->ms, &t->key);
  if (kept_urls(conn->told) >= KM_CLAIMED_RELAYS_AT_ONCE) {
    let_go(conn, t);
    return;
  }
  if (url != NULL && t->url == NULL) {
    t->url = km_env_strdup(&conn->ep->env, url); /* without memory it is forgotten */
  }
  stop_waiting(conn, t);
  take_out(conn, t);
  memset(&t->key, 0, sizeof t->key); /* the index may be another relay's by then */
  t->key.way = KM_WAY_MIXED;
}

void km_intake_settle(km_conn *conn) {
  const km_path *used = conn->mixed == NULL ? NULL : km_mixed_current(conn->mixed);
  conn->relays_at = KM_TS_NEVER;
  if (conn->told == NULL || used == NULL) {
    return;
  }
  for (size_t i = conn->told->count; i-- > 0;) {
    km_told *t = &conn->told->at[i];
    if (t->rank != KM_RANK_CLAIMED) {
      continue;
    }
    if (used == km_candidates_path(conn->mixed, t)) {
      vouch(conn, t);
    } else if (t->key.way == KM_WAY_RELAY) {
      do_without(conn, t);
    }
  }
}

void km_intake_recall(km_conn *conn) {
  for (size_t i = 0; conn->told != NULL && i < conn->told->count; i++) {
    km_told *t = &conn->told->at[i];
    if (t->url != NULL &&
        km_magicsock_stranger_relay_key(conn->ep->ms, t->url, &conn->remote_id, &t->key) == 0) {
      km_env_free(&conn->ep->env, t->url);
      t->url = NULL;
      (void)try_now(conn, t);
    }
  }
}

void km_intake_again(km_conn *conn) {
  km_candidates *c = told_of(conn);
  if (c == NULL) {
    return;
  }
  km_candidates_age(c);
  for (size_t i = 0; i < km_mixed_count(conn->mixed); i++) {
    const km_path *path = km_mixed_at(conn->mixed, i);
    km_told *t = km_candidates_find(c, &path->key);
    const km_told given = {.key = path->key, .rank = KM_RANK_GIVEN, .old = true};
    if (t == NULL) {
      (void)km_candidates_add(c, &conn->ep->env, &given);
    } else if (t->rank == KM_RANK_CLAIMED) {
      km_mixed_allow(conn->mixed, &path->key, t->left);
    }
  }
}

void km_intake_end(km_conn *conn) {
  for (size_t i = 0; conn->told != NULL && i < conn->told->count; i++) {
    stop_waiting(conn, &conn->told->at[i]);
  }
  if (conn->told != NULL) {
    km_candidates_clear(conn->told, &conn->ep->env);
    km_env_free(&conn->ep->env, conn->told);
    conn->told = NULL;
  }
}
