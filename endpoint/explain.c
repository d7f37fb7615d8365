/* Explanations: what the connection, the search and the gathering know, put together. */
#include "endpoint/explain.h"

#include <stdio.h>
#include <string.h>

#include "base/udp_addr.h"
#include "endpoint/conn_impl.h"
#include "endpoint/explain_line.h"
#include "endpoint/explain_rules.h"
#include "holepunch/gateway.h"

#define MAX_PATHS (KM_PUNCH_MAX_WAYS + KM_CONN_MAX_PATHS + KM_MIXED_MAX_CANDIDATES)
#define STUN_TIME_NS (3 * KM_NS_PER_S) /* by then a server has answered, if it does at all */
#define SILENT_KEEP_ALIVES 3u

#define OUTER_SOURCES (KM_SOURCE_STUN | KM_SOURCE_MAPPED | KM_SOURCE_SEEN)

typedef struct explanation {
  km_explanation pub; /* first: what the application holds */
  km_explain_path paths[MAX_PATHS];
  km_explain_event events[KM_EXPLAIN_MAX_EVENTS];
  char *urls[MAX_PATHS + 1]; /* that paths point to */
  size_t url_count;
} explanation;

static const km_punch *punch_of(const km_conn *conn) {
  return km_remote_punch(&conn->select.user);
}

static int64_t ms_since(const km_conn *conn, km_ts at) {
  return at == KM_TS_NEVER ? -1 : (int64_t)((at - conn->started) / KM_NS_PER_MS);
}

/* --- notes ------------------------------------------------------------------------------------ */

void km_conn_note_event(km_conn *conn, km_explain_event_kind kind, const km_path_key *key,
                        uint32_t value) {
  km_conn_notes_add(&conn->notes, &conn->ep->env, km_endpoint_now(conn->ep), kind, key, value);
}

static uint32_t count_notes(const km_conn *conn, km_explain_event_kind kind, bool of_this_path) {
  uint32_t count = 0;
  for (size_t i = conn->notes.count; i-- > 0;) {
    const km_conn_note *note = &conn->notes.at[i];
    count += note->kind == kind ? note->times : 0;
    if (of_this_path && note->kind == KM_EXPLAIN_EVENT_PATH) {
      break;
    }
  }
  return count;
}

/* When the connection left its last direct path. */
static km_ts left_direct_at(const km_conn *conn) {
  km_ts at = conn->select.direct_at;
  for (size_t i = conn->notes.count; i-- > 0;) {
    const km_conn_note *note = &conn->notes.at[i];
    if (note->kind == KM_EXPLAIN_EVENT_PATH && !note->relayed) {
      break;
    }
    if (note->kind == KM_EXPLAIN_EVENT_LOST || note->kind == KM_EXPLAIN_EVENT_PATH) {
      at = note->at;
    }
  }
  return at;
}

/* --- both sides ------------------------------------------------------------------------------- */

static void fill_side(km_explain_side *side, const km_nat_info *nat, const km_candidate *candidates,
                      size_t count) {
  *side = (km_explain_side){.known = true,
                            .mapping4 = (km_nat_mapping)nat->mapping4,
                            .mapping6 = (km_nat_mapping)nat->mapping6,
                            .filtering4 = (km_nat_filtering)nat->filtering4,
                            .filtering6 = (km_nat_filtering)nat->filtering6,
                            .port_step = nat->port_step};
  bool only6 = side->mapping4 == KM_NAT_MAPPING_UNKNOWN && side->mapping6 != KM_NAT_MAPPING_UNKNOWN;
  side->verdict = only6 ? km_nat_verdict_of(side->mapping6, side->filtering6)
                        : km_nat_verdict_of(side->mapping4, side->filtering4);
  for (size_t i = 0; i < count && i < KM_EXPLAIN_MAX_CANDIDATES; i++) {
    side->candidates[i] =
        (km_explain_candidate){.addr = candidates[i].addr, .sources = candidates[i].source};
    side->candidate_count = i + 1;
  }
}

static void fill_sides(const km_conn *conn, km_explanation *ret) {
  const km_gather *gather = km_remotes_gather(conn->ep->remotes);
  const km_call_me_maybe *call = punch_of(conn) == NULL ? NULL : km_punch_peer(punch_of(conn));
  km_candidate own[KM_DISCO_MAX_CANDIDATES];
  km_nat_info nat;
  size_t count = km_gather_candidates(gather, own, KM_DISCO_MAX_CANDIDATES);
  km_gather_nat(gather, &nat);
  fill_side(&ret->here, &nat, own, count);
  if (call != NULL) {
    fill_side(&ret->there, &call->nat, call->candidates, call->count);
  }
}

static bool is_outer(const km_explain_candidate *c) {
  return (c->sources & OUTER_SOURCES) != 0;
}

static bool has_outer(const km_explain_side *side) {
  for (size_t i = 0; i < side->candidate_count; i++) {
    if (is_outer(&side->candidates[i])) {
      return true;
    }
  }
  return false;
}

static bool share_public(const km_explain_side *a, const km_explain_side *b) {
  for (size_t i = 0; i < a->candidate_count; i++) {
    for (size_t k = 0; k < b->candidate_count; k++) {
      const km_explain_candidate *x = &a->candidates[i], *y = &b->candidates[k];
      if (is_outer(x) && is_outer(y) && x->addr.family == 4 && y->addr.family == 4 &&
          memcmp(x->addr.ip, y->addr.ip, 4) == 0) {
        return true;
      }
    }
  }
  return false;
}

/* --- paths ------------------------------------------------------------------------------------ */

static bool was_given(const km_conn *conn, const km_udp_addr *addr) {
  size_t count = conn->mixed == NULL ? 0 : km_mixed_count(conn->mixed);
  for (size_t i = 0; i < count; i++) {
    const km_path_key *key = &km_mixed_at(conn->mixed, i)->key;
    if (key->way == KM_WAY_DIRECT && km_udp_addr_equal(&key->remote, addr)) {
      return true;
    }
  }
  for (size_t i = 0; i < conn->set_aside_count; i++) {
    if (km_udp_addr_equal(&conn->set_aside[i].remote, addr)) {
      return true;
    }
  }
  return false;
}

/* The same address may be reached through several sockets of ours. What a connection uses is
 * "given" to the search by itself (quic_select.c): only the dial tells what really was. */
static void add_ways(const km_conn *conn, km_explain_path *path) {
  km_punch_way_info ways[KM_PUNCH_MAX_WAYS];
  size_t count =
      punch_of(conn) == NULL ? 0 : km_punch_ways(punch_of(conn), ways, KM_PUNCH_MAX_WAYS);
  path->sources = was_given(conn, &path->info.remote) ? KM_SOURCE_GIVEN : 0;
  for (size_t i = 0; i < count; i++) {
    if (km_udp_addr_equal(&ways[i].way.addr, &path->info.remote)) {
      path->sources |= ways[i].source & ~(uint32_t)KM_SOURCE_GIVEN;
      path->pings += ways[i].pings;
      path->pongs += ways[i].pongs;
      path->observed = ways[i].observed.family != 0 ? ways[i].observed : path->observed;
    }
  }
}

/* The url lives no longer than the connection. */
static int keep_url(explanation *e, km_path_info *info) {
  if (info->relay_url == NULL) {
    return 0;
  }
  char *copy = km_env_strdup(&km_env_system, info->relay_url);
  info->relay_url = copy;
  if (copy == NULL) {
    return KM_ERR_NOMEM;
  }
  e->urls[e->url_count++] = copy;
  return 0;
}

static int fill_paths(const km_conn *conn, explanation *e) {
  km_path_info *infos = km_env_zalloc(&km_env_system, MAX_PATHS, sizeof *infos);
  int rv = infos == NULL ? KM_ERR_NOMEM : 0;
  size_t count = infos == NULL ? 0 : km_conn_paths(conn, infos, MAX_PATHS);
  for (size_t i = 0; rv == 0 && i < count; i++) {
    e->paths[i].info = infos[i];
    rv = keep_url(e, &e->paths[i].info);
    if (infos[i].kind == KM_PATH_DIRECT) {
      add_ways(conn, &e->paths[i]);
    }
  }
  km_env_free(&km_env_system, infos);
  e->pub.paths = e->paths;
  e->pub.path_count = count;
  if (count > 0 && e->paths[0].info.selected) {
    e->pub.path = e->paths[0].info;
  }
  return rv;
}

/* --- the time line ---------------------------------------------------------------------------- */

static const char *relay_url(void *ctx, uint16_t relay) {
  const km_conn *conn = ctx;
  const km_path_key key = {.way = KM_WAY_RELAY, .relay = relay};
  return km_magicsock_relay_url(conn->ep->ms, &key);
}

static void fill_events(const km_conn *conn, explanation *e) {
  km_punch_event punched[KM_PUNCH_MAX_EVENTS];
  const km_explain_line line = {
      .began = conn->started,
      .notes = conn->notes.at,
      .note_count = conn->notes.count,
      .punch = punched,
      .punch_count = punch_of(conn) == NULL
                         ? 0
                         : km_punch_events(punch_of(conn), punched, KM_PUNCH_MAX_EVENTS),
      .relay_url = relay_url,
      .ctx = (void *)(uintptr_t)conn,
  };
  km_explain_line_write(&line, e->events);
  e->pub.events = e->events;
  e->pub.event_count = line.note_count + line.punch_count;
}

/* --- the reason ------------------------------------------------------------------------------- */

static void gather_ways(const km_explanation *ex, km_explain_facts *f, char open_at[]) {
  for (size_t i = 0; i < ex->path_count; i++) {
    const km_explain_path *p = &ex->paths[i];
    if (p->info.kind != KM_PATH_DIRECT) {
      continue;
    }
    f->ways_pinged += p->pings > 0;
    f->ping_came = f->ping_came || (p->sources & KM_SOURCE_PING) != 0;
    if (p->pongs > 0 && p->info.state == KM_PATH_OPEN && f->ways_open++ == 0) {
      (void)km_udp_addr_format(&p->info.remote, open_at, KM_UDP_ADDR_TEXT_CAP);
    }
  }
  for (size_t i = 0; i < ex->event_count; i++) {
    f->ping_came = f->ping_came || ex->events[i].kind == KM_EXPLAIN_EVENT_PING_CAME;
  }
}

static bool is_silent(const km_conn *conn) {
  if (conn->quic == NULL || conn->keep_alive_ms == 0) {
    return false;
  }
  uint64_t patience = SILENT_KEEP_ALIVES * (conn->keep_alive_ms * KM_NS_PER_MS +
                                            (uint64_t)ngtcp2_conn_get_pto2(conn->quic));
  km_ts heard = km_quic_path_last_heard(conn);
  return km_quic_path_is_open_first_flight(conn) ||
         (heard != 0 && km_endpoint_now(conn->ep) - heard > patience);
}

static void gather_network(const km_conn *conn, const km_explanation *ex, km_explain_facts *f) {
  km_gather *gather = km_remotes_gather(conn->ep->remotes);
  km_udp_addr bound;
  km_ts since = conn->select.relayed_at;
  f->stun_answered = km_reporter_age(km_gather_reporter(gather)) != UINT64_MAX;
  f->stun_asked = since != KM_TS_NEVER && km_endpoint_now(conn->ep) - since >= STUN_TIME_NS;
  km_gather_nat(gather, &f->own_nat);
  f->own_addresses = ex->here.candidate_count;
  f->peer_addresses = ex->there.candidate_count;
  f->own_public = has_outer(&ex->here);
  f->peer_public = has_outer(&ex->there);
  f->same_public = share_public(&ex->here, &ex->there);
  f->port_mapping = conn->ep->opt.port_mapping;
  f->mapping_asked = km_gather_mapping(gather, &f->mapping);
  f->mapping_is_public = !km_gateway_is_private(&f->mapping.external);
  f->own_port = km_magicsock_bound(conn->ep->ms, &bound, 1) == 1 ? bound.port : 0;
}

static void gather_search(const km_conn *conn, km_explain_facts *f) {
  const km_punch *punch = punch_of(conn);
  km_punch_stats stats;
  if (punch == NULL) {
    return;
  }
  km_punch_get_stats(punch, &stats);
  f->searches = true;
  f->state = km_punch_get_state(punch);
  f->attempts = stats.attempts;
  f->guesses = stats.guesses;
  f->peer_spoke = km_punch_peer(punch) != NULL;
  if (f->peer_spoke) {
    f->peer_nat = km_punch_peer(punch)->nat;
  }
}

static size_t count_given(const km_conn *conn) {
  size_t given = conn->set_aside_count;
  size_t count = conn->mixed == NULL ? 0 : km_mixed_count(conn->mixed);
  for (size_t i = 0; i < count; i++) {
    given += km_mixed_at(conn->mixed, i)->key.way == KM_WAY_DIRECT;
  }
  return given;
}

static void decide(const km_conn *conn, km_explanation *ret) {
  char open_at[KM_UDP_ADDR_TEXT_CAP] = "", path_text[KM_PATH_TEXT_CAP] = "";
  const km_path *path = km_quic_path_current(conn);
  km_explain_facts f = {
      .connected = conn->reported_connected,
      .is_client = conn->is_client,
      .path = ret->path.kind,
      .path_text = path == NULL ? "" : path_text,
      .rtt_us = ret->path.rtt_us,
      .policy = conn->select.policy,
      .silent = is_silent(conn),
      .relay_trouble = path == NULL ? NULL : km_magicsock_relay_trouble(conn->ep->ms, &path->key),
      .was_direct = conn->select.direct_at != KM_TS_NEVER,
      .gave_up = count_notes(conn, KM_EXPLAIN_EVENT_GAVE_UP, false) > 0,
      .moves_refused = count_notes(conn, KM_EXPLAIN_EVENT_MOVE_REFUSED, true),
      .moves_failed = count_notes(conn, KM_EXPLAIN_EVENT_MOVE_FAILED, true),
      .open_at = open_at,
      .given = count_given(conn),
  };
  if (path != NULL) {
    km_path_text(conn->ep->ms, path, path_text);
  }
  if (f.was_direct) {
    f.lost_after_ms = (left_direct_at(conn) - conn->started) / KM_NS_PER_MS;
  }
  gather_ways(ret, &f, open_at);
  gather_network(conn, ret, &f);
  gather_search(conn, &f);
  ret->reason = km_explain_decide(&f);
  km_explain_words(ret->reason, &f, ret);
}

/* --- the whole -------------------------------------------------------------------------------- */

static void fill_figures(const km_conn *conn, km_explanation *ret) {
  km_punch_stats s = {0};
  if (punch_of(conn) != NULL) {
    km_punch_get_stats(punch_of(conn), &s);
  }
  ret->policy = conn->select.policy;
  ret->connected = conn->state == KM_CONN_CONNECTED;
  ret->age_ms = (km_endpoint_now(conn->ep) - conn->started) / KM_NS_PER_MS;
  ret->connected_ms = conn->reported_connected ? (int64_t)(conn->handshake_us / 1000) : -1;
  ret->relayed_ms = ms_since(conn, conn->select.relayed_at);
  ret->direct_ms = ms_since(conn, conn->select.direct_at);
  ret->attempts = s.attempts;
  ret->successes = s.successes;
  ret->pings_sent = s.pings_sent;
  ret->pings_received = s.pings_received;
  ret->pongs_received = s.pongs_received;
  ret->guesses = s.guesses;
  ret->put_off = s.put_off;
  ret->time_to_direct_us = s.time_to_direct_ns / 1000;
  ret->moves_tried = count_notes(conn, KM_EXPLAIN_EVENT_MOVE_TRIED, false);
  ret->moves_failed = count_notes(conn, KM_EXPLAIN_EVENT_MOVE_FAILED, false) +
                      count_notes(conn, KM_EXPLAIN_EVENT_MOVE_REFUSED, false);
}

int km_conn_explain(const km_conn *conn, km_explanation **ret) {
  if (conn == NULL || ret == NULL) {
    return KM_ERR_INVALID;
  }
  explanation *e = km_env_zalloc(&km_env_system, 1, sizeof *e);
  if (e == NULL) {
    return KM_ERR_NOMEM;
  }
  e->pub.size = sizeof e->pub;
  int rv = fill_paths(conn, e);
  if (rv != 0) {
    km_explanation_free(&e->pub);
    return rv;
  }
  fill_sides(conn, &e->pub);
  fill_events(conn, e);
  fill_figures(conn, &e->pub);
  decide(conn, &e->pub);
  *ret = &e->pub;
  return 0;
}

void km_explanation_free(km_explanation *explanation_) {
  explanation *e = (void *)explanation_;
  if (e == NULL) {
    return;
  }
  for (size_t i = 0; i < e->url_count; i++) {
    km_env_free(&km_env_system, e->urls[i]);
  }
  km_env_free(&km_env_system, e);
}

void km_explain_no_direct_path(const km_conn *conn, char *buf, size_t cap) {
  km_explanation *ex;
  int n = snprintf(buf, cap, "no direct path within %u ms", conn->select.within_ms);
  if (n < 0 || (size_t)n >= cap || km_conn_explain(conn, &ex) != 0) {
    return;
  }
  size_t used = (size_t)n, len = strlen(ex->why);
  const char *sentence = strstr(ex->why, ". ");
  if (used + 2 + len >= cap && sentence != NULL) {
    len = (size_t)(sentence - ex->why) + 1; /* the first sentence is the reason */
  }
  (void)snprintf(buf + used, cap - used, ": %.*s", (int)len, ex->why);
  km_explanation_free(ex);
}
