#include "endpoint/quic_select.h"

#include <string.h>

#include "endpoint/conn_impl.h"
#include "endpoint/intake.h"
#include "magicsock/path_select.h"

/* A peer on ngtcp2 checks the way that was left for up to three seconds (RFC 9000 section 9.3.3),
 * and does not go back to it meanwhile. */
#define AVOID_NS (5 * KM_NS_PER_S) /* doubled each time that the same way fails again soon */
#define AVOID_MAX_NS (80 * KM_NS_PER_S)
#define RETRY_NS KM_NS_PER_S /* after a move that could not begin */
/* A way that the peer does not name any more, or through a socket of ours that was replaced, goes
 * behind all others. */
#define WITHDRAWN_NS (20 * KM_NS_PER_MS)
#define OUTDATED_NS KM_NS_PER_S
/* While packets are sent the path in use is looked at so often. */
#define LOOK_NS (3 * KM_NS_PER_S)
#define LOSS_MATTERS 20u /* permille */
#define LOSS_WAIT_NS (15 * KM_NS_PER_S)
#define LOSS_WAIT_MAX_NS (240 * KM_NS_PER_S)
#define LOOK_MIN_PACKETS 20u    /* fewer say nothing about loss */
#define STALLED_MIN_BYTES 2400u /* two full packets */
/* Who received a moment ago and hears nothing now asks so soon whether the way is there. */
#define LISTEN_MS 300u
/* A way that disco calls dead was heard of by QUIC so long ago at least. */
#define DEAD_QUIET_NS (150 * KM_NS_PER_MS)

static km_ts now_of(const km_conn *conn) {
  return km_endpoint_now(conn->ep);
}

static void on_change(km_remote_user *user) {
  km_conn *conn = KM_LIST_ITEM(user, km_conn, select.user);
  if (conn->state == KM_CONN_CONNECTED) {
    km_quic_path_refresh(conn);
    km_quic_select_choose(conn);
    km_conn_mark_dirty(conn);
  }
}

void km_quic_select_init(km_conn *conn) {
  km_conn_select *s = &conn->select;
  km_remote_user_init(&s->user, on_change);
  s->policy = conn->ep->opt.path_policy;
  s->within_ms = conn->ep->opt.direct_within_ms;
  s->required_at = s->again_at = s->relayed_at = s->direct_at = s->look.next_at = KM_TS_NEVER;
}

bool km_quic_select_may_be_direct(const km_conn *conn) {
  return conn->select.policy != KM_POLICY_RELAY_ONLY;
}

static bool looks_for_direct(const km_conn *conn) {
  return conn->select.policy == KM_POLICY_PREFER_DIRECT ||
         conn->select.policy == KM_POLICY_REQUIRE_DIRECT;
}

static void require_direct(km_conn *conn) {
  km_conn_select *s = &conn->select;
  const km_path *path = km_quic_path_current(conn);
  bool direct = path != NULL && path->key.way == KM_WAY_DIRECT;
  if (s->policy != KM_POLICY_REQUIRE_DIRECT || direct) {
    s->required_at = KM_TS_NEVER;
  } else if (s->required_at == KM_TS_NEVER) {
    s->required_at = now_of(conn) + s->within_ms * KM_NS_PER_MS;
  }
}

int km_quic_select_policy(km_conn *conn, km_path_policy policy, uint32_t within_ms) {
  const km_endpoint_options *o = &conn->ep->opt;
  within_ms = within_ms == 0 ? o->direct_within_ms : within_ms;
  if (policy < KM_POLICY_DEFAULT || policy > KM_POLICY_RELAY_ONLY ||
      (policy == KM_POLICY_REQUIRE_DIRECT && within_ms > 600000)) {
    return KM_ERR_INVALID;
  }
  conn->select.policy = policy == KM_POLICY_DEFAULT ? o->path_policy : policy;
  conn->select.within_ms = within_ms;
  if (conn->state == KM_CONN_CONNECTED) {
    km_conn_note_event(conn, KM_EXPLAIN_EVENT_POLICY, NULL, (uint32_t)conn->select.policy);
    if (!looks_for_direct(conn)) {
      km_quic_select_leave(conn);
    }
    km_quic_select_path_changed(conn);
    km_conn_mark_dirty(conn);
  }
  return 0;
}

void km_quic_select_leave(km_conn *conn) {
  km_remote_leave(&conn->select.user);
}

/* --- the search for ways ---------------------------------------------------------------------- */

static void tell_relay(km_conn *conn, const km_path *path) {
  bool used = path == km_quic_path_current(conn);
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info2(conn->quic, &info);
  km_remote_relay(&conn->select.user, &path->key,
                  used && info.min_rtt != UINT64_MAX ? info.smoothed_rtt : 0);
}

static void tell_candidate(km_conn *conn, const km_path *path) {
  if (path->key.way == KM_WAY_DIRECT) {
    km_remote_add(&conn->select.user, &path->key.remote);
  } else if (km_intake_rank(conn, &path->key) != KM_RANK_CLAIMED) {
    tell_relay(conn, path);
  }
}

static void tell_paths(km_conn *conn, bool first) {
  for (size_t i = 0; first && i < conn->set_aside_count; i++) {
    km_remote_add(&conn->select.user, &conn->set_aside[i].remote);
  }
  for (size_t i = 0; i < conn->path_count; i++) {
    const km_path *path = conn->paths[i].path;
    if (path->key.way == KM_WAY_RELAY) {
      tell_relay(conn, path);
    }
    for (size_t k = 0; first && path->key.way == KM_WAY_MIXED && k < km_mixed_count(path); k++) {
      tell_candidate(conn, km_mixed_at(path, k));
    }
  }
}

static void look_for_direct(km_conn *conn) {
  km_remote_user *user = &conn->select.user;
  bool joined = user->remote != NULL;
  int rv = km_remote_join(conn->ep->remotes, &conn->remote_id, user);
  if (rv != 0) {
    CONN_LOG(conn, KM_LOG_WARN, KM_LOGC_PUNCH, "not-looking", "%s", km_strerror(rv));
    return;
  }
  tell_paths(conn, !joined);
  conn->select.start_due = conn->select.start_due || !joined;
}

static void note_kind(km_conn *conn, const km_path *path) {
  km_conn_select *s = &conn->select;
  km_ts *first = path->key.way == KM_WAY_DIRECT ? &s->direct_at : &s->relayed_at;
  if (*first == KM_TS_NEVER) {
    *first = now_of(conn);
  }
}

void km_quic_select_path_changed(km_conn *conn) {
  const km_path *path = km_quic_path_current(conn);
  require_direct(conn);
  if (path == NULL || !conn->reported_connected) {
    return;
  }
  note_kind(conn, path);
  conn->select.loss_permille = 0; /* of the path that was left */
  if (looks_for_direct(conn) &&
      (path->key.way == KM_WAY_RELAY || conn->select.user.remote != NULL)) {
    look_for_direct(conn);
  }
  km_remote_use(&conn->select.user, &path->key);
  conn->select.again_at = now_of(conn); /* a better one may have been found before */
}

bool km_quic_select_probes(const km_conn *conn) {
  const km_punch *punch = km_remote_punch(&conn->select.user);
  return looks_for_direct(conn) && (punch == NULL || km_punch_peer(punch) == NULL);
}

/* --- the choice ------------------------------------------------------------------------------- */

/* Its place, or the one that is missed least. */
static km_avoided *place_for(km_conn_select *s, const km_path_key *key) {
  km_avoided *place = &s->avoided[0];
  for (size_t i = 0; i < KM_CONN_MAX_AVOIDED; i++) {
    km_avoided *a = &s->avoided[i];
    if (a->until != 0 && km_path_key_matches(&a->key, key)) {
      return a;
    }
    place = a->until < place->until ? a : place;
  }
  *place = (km_avoided){.key = *key};
  return place;
}

/* A way may pass probes and lose what is larger: it must not be taken again and again. */
void km_quic_select_avoid(km_conn *conn, const km_path_key *key) {
  km_conn_select *s = &conn->select;
  km_ts now = now_of(conn);
  km_avoided *a = place_for(s, key);
  bool again = a->until != 0 && now < a->until + 2 * a->wait;
  a->wait = !again ? AVOID_NS : a->until <= now ? 2 * a->wait : a->wait;
  a->wait = a->wait < AVOID_MAX_NS ? a->wait : AVOID_MAX_NS;
  a->until = now + a->wait;
  s->again_at = a->until < s->again_at ? a->until : s->again_at;
}

void km_quic_select_avoid_nothing(km_conn *conn) {
  memset(conn->select.avoided, 0, sizeof conn->select.avoided);
}

typedef struct choice {
  km_path_sample samples[KM_PUNCH_MAX_WAYS + 1];
  km_path_key keys[KM_PUNCH_MAX_WAYS + 1];
  size_t count;
  km_ts avoiding; /* an open way is left out until then; KM_TS_NEVER: none is */
} choice;

static void add_sample(choice *c, const km_path_key *key, const km_path_sample *sample) {
  c->keys[c->count] = *key;
  c->samples[c->count] = *sample;
  c->samples[c->count].order = c->count;
  c->count++;
}

static uint64_t penalty(const km_conn *conn, const km_punch_way_info *info) {
  const uint8_t unnamed = KM_CANDIDATE_PEER_REFLEXIVE | KM_CANDIDATE_GUESSED;
  const km_punch_way fresh = {.addr = info->way.addr};
  km_punch_way_info other;
  bool outdated = info->way.via != 0 &&
                  km_punch_find(km_remote_punch(&conn->select.user), &fresh, &other) &&
                  other.state == KM_PUNCH_WAY_OPEN;
  return outdated ? OUTDATED_NS : (info->source & ~unnamed) == 0 ? WITHDRAWN_NS : 0;
}

static void add_current(const km_conn *conn, const km_path *path, choice *c) {
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info2(conn->quic, &info);
  km_path_sample sample = {.usable = true,
                           .current = true,
                           .relay = path->key.way != KM_WAY_DIRECT,
                           .family = path->key.remote.family,
                           .rtt_ns = info.smoothed_rtt};
  km_punch_way_info way;
  if (km_remote_find(&conn->select.user, &path->key, &way)) {
    sample.rtt_ns = (way.rtt_ns != 0 ? way.rtt_ns : sample.rtt_ns) + penalty(conn, &way);
    sample.loss_permille = way.loss_permille;
  }
  if (conn->select.loss_permille > sample.loss_permille) {
    sample.loss_permille = conn->select.loss_permille; /* of many packets, not of few probes */
  }
  sample.usable = !conn->select.user.lost;
  add_sample(c, &path->key, &sample);
}

/* Until when; 0: it is not. */
static km_ts avoided_until(const km_conn *conn, const km_path_key *key) {
  for (size_t i = 0; i < KM_CONN_MAX_AVOIDED; i++) {
    const km_avoided *a = &conn->select.avoided[i];
    if (a->until > now_of(conn) && km_path_key_matches(&a->key, key)) {
      return a->until;
    }
  }
  return 0;
}

static void add_ways(const km_conn *conn, choice *c) {
  km_punch_way_info ways[KM_PUNCH_MAX_WAYS];
  size_t count = km_punch_ways(km_remote_punch(&conn->select.user), ways, KM_PUNCH_MAX_WAYS);
  for (size_t i = 0; i < count; i++) {
    km_path_key key;
    if (ways[i].state != KM_PUNCH_WAY_OPEN ||
        km_remote_key(&conn->select.user, &ways[i].way, &key) != 0 ||
        km_path_key_matches(&c->keys[0], &key)) {
      continue;
    }
    km_ts until = avoided_until(conn, &key);
    if (until != 0) {
      c->avoiding = until < c->avoiding ? until : c->avoiding;
      continue;
    }
    add_sample(c, &key,
               &(km_path_sample){.usable = true,
                                 .family = ways[i].way.addr.family,
                                 .rtt_ns = ways[i].rtt_ns + penalty(conn, &ways[i]),
                                 .loss_permille = ways[i].loss_permille});
  }
}

/* What is avoided now is looked at again. */
static void come_back(km_conn *conn, const choice *c) {
  if (c->avoiding < conn->select.again_at) {
    conn->select.again_at = c->avoiding;
  }
}

static bool may_choose(const km_conn *conn) {
  return conn->is_client && conn->state == KM_CONN_CONNECTED && conn->progress.confirmed &&
         !conn->in_quic && conn->probing == NULL && conn->select.user.remote != NULL;
}

/* To a way that was proven, without waiting for QUIC's own, slower, proof. False: there is none. */
static bool jump(km_conn *conn, choice *c) {
  add_ways(conn, c);
  come_back(conn, c);
  size_t best = km_path_select(c->samples, c->count);
  if (best >= c->count) {
    return false;
  }
  int rv = km_quic_path_jump(conn, &c->keys[best]);
  CONN_LOG(conn, KM_LOG_INFO, KM_LOGC_PATH, rv == 0 ? "jumped" : "jump-failed", "code=%d", rv);
  return rv == 0;
}

/* Packets go to all candidates, none answered yet, and a way was proven meanwhile. */
static void leave_first_flight(km_conn *conn) {
  choice c = {.avoiding = KM_TS_NEVER};
  const km_path_key nowhere = {.way = KM_WAY_MIXED};
  add_sample(&c, &nowhere, &(km_path_sample){.usable = false, .current = true});
  (void)jump(conn, &c); /* it waits, then */
}

/* Probes on the current way are not answered any more, and QUIC heard nothing either. */
static bool is_dead(const km_conn *conn, const choice *c) {
  return !c->samples[0].usable && now_of(conn) - km_quic_path_last_heard(conn) >= DEAD_QUIET_NS;
}

static void leave_dead(km_conn *conn, const km_path *path, choice *c) {
  CONN_LOG(conn, KM_LOG_INFO, KM_LOGC_PATH, "dead", "%s",
           "probes on the direct path are not answered any more");
  km_quic_select_avoid(conn, &path->key);
  if (!jump(conn, c)) {
    km_quic_path_reopen(conn, true);
  }
}

static void note_loss_move(km_conn_select *s, km_ts now) {
  bool long_ago = now > s->loss_after + 2 * s->loss_wait;
  s->loss_wait = s->loss_wait == 0 || long_ago ? LOSS_WAIT_NS : 2 * s->loss_wait;
  s->loss_wait = s->loss_wait < LOSS_WAIT_MAX_NS ? s->loss_wait : LOSS_WAIT_MAX_NS;
  s->loss_after = now + s->loss_wait;
}

static void move_to_best(km_conn *conn, choice *c) {
  add_ways(conn, c);
  come_back(conn, c);
  size_t best = km_path_select(c->samples, c->count);
  km_errinfo err;
  if (best == 0 || best >= c->count) {
    return;
  }
  if (conn->select.loss_permille >= LOSS_MATTERS && !c->samples[0].relay) {
    note_loss_move(&conn->select, now_of(conn));
  }
  if (km_quic_migrate(conn, &c->keys[best], &err) != 0) {
    CONN_LOG(conn, KM_LOG_DEBUG, KM_LOGC_PATH, "not-moving", "%s", err.text);
    conn->select.again_at = now_of(conn) + RETRY_NS;
  }
}

void km_quic_select_choose(km_conn *conn) {
  const km_path *path = km_quic_path_current(conn);
  choice c = {.avoiding = KM_TS_NEVER};
  if (!may_choose(conn)) {
    return;
  }
  if (km_quic_path_is_open_first_flight(conn)) {
    leave_first_flight(conn);
    return;
  }
  if (path == NULL) {
    return;
  }
  add_current(conn, path, &c);
  if (is_dead(conn, &c)) {
    leave_dead(conn, path, &c);
  } else {
    c.samples[0].usable = true; /* QUIC hears something */
    move_to_best(conn, &c);
  }
}

/* --- how the path in use does ----------------------------------------------------------------- */

static void note_look(km_conn *conn, const ngtcp2_conn_info *info) {
  conn->select.look = (km_path_look){.next_at = conn->select.look.next_at,
                                     .sent = info->pkt_sent,
                                     .lost = info->pkt_lost,
                                     .bytes_sent = info->bytes_sent,
                                     .bytes_lost = info->bytes_lost};
}

/* Full packets are lost again and again though something is heard: small ones get through, perhaps
 * a router on the way became unable to carry large ones and does not say so (RFC 4821). */
static bool is_stalled(const km_conn *conn, const ngtcp2_conn_info *info) {
  const km_path_look *before = &conn->select.look;
  uint64_t lost = info->bytes_lost - before->bytes_lost;
  uint64_t sent = info->bytes_sent - before->bytes_sent;
  return lost >= STALLED_MIN_BYTES && info->bytes_in_flight >= STALLED_MIN_BYTES / 2 &&
         lost > sent - sent / 4;
}

/* Ways that have a bottleneck in common lose alike: each move because of loss makes the next one
 * wait longer. */
static void measure_loss(km_conn *conn, const ngtcp2_conn_info *info) {
  km_conn_select *s = &conn->select;
  if (now_of(conn) < s->loss_after) {
    return;
  }
  uint64_t sent = info->pkt_sent - s->look.sent, lost = info->pkt_lost - s->look.lost;
  if (sent >= LOOK_MIN_PACKETS) {
    uint32_t now = (uint32_t)(lost >= sent ? 1000 : 1000 * lost / sent);
    s->loss_permille = (s->loss_permille + now) / 2;
  }
}

/* Choices are made when a way opens or dies; what only got worse is noticed here. */
static void look(km_conn *conn) {
  km_conn_select *s = &conn->select;
  const km_path *path = km_quic_path_current(conn);
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info2(conn->quic, &info);
  bool idle = info.pkt_sent == s->look.sent && info.bytes_in_flight == 0;
  bool direct = path != NULL && path->key.way == KM_WAY_DIRECT;
  s->look.next_at = idle ? KM_TS_NEVER : now_of(conn) + LOOK_NS;
  measure_loss(conn, &info);
  bool stalled = direct && is_stalled(conn, &info);
  note_look(conn, &info);
  if (stalled) {
    CONN_LOG(conn, KM_LOG_INFO, KM_LOGC_PATH, "stalled", "%s",
             "full packets are lost on the direct path, small ones are not");
    km_quic_path_reopen(conn, true);
  } else {
    km_quic_select_choose(conn);
  }
}

/* The peer listens to us when the handshake is done there too: its last message goes first. */
void km_quic_select_written(km_conn *conn) {
  if (conn->select.start_due) {
    conn->select.start_due = false;
    km_remote_start(&conn->select.user);
  }
  if (conn->is_client && conn->select.look.next_at == KM_TS_NEVER &&
      conn->state == KM_CONN_CONNECTED) {
    ngtcp2_conn_info info;
    ngtcp2_conn_get_conn_info2(conn->quic, &info);
    if (info.pkt_sent != conn->select.look.sent) {
      note_look(conn, &info);
      conn->select.look.next_at = now_of(conn) + LOOK_NS;
    }
  }
}

/* --- time and silence ------------------------------------------------------------------------- */

km_ts km_quic_select_deadline(const km_conn *conn) {
  const km_conn_select *s = &conn->select;
  km_ts at = s->again_at < s->required_at ? s->again_at : s->required_at;
  return s->look.next_at < at ? s->look.next_at : at;
}

static void give_up(km_conn *conn) {
  CONN_LOG(conn, KM_LOG_WARN, KM_LOGC_PATH, "no-direct-path", "not direct within %u ms",
           conn->select.within_ms);
  km_conn_note_event(conn, KM_EXPLAIN_EVENT_GAVE_UP, NULL, conn->select.within_ms);
  km_conn_begin_close(conn, KM_CLOSE_LOCAL_TRANSPORT, KM_ERR_NO_DIRECT_PATH, false, NGTCP2_NO_ERROR,
                      NULL, 0);
}

void km_quic_select_timeout(km_conn *conn) {
  km_conn_select *s = &conn->select;
  km_ts now = now_of(conn);
  if (s->again_at <= now) {
    s->again_at = KM_TS_NEVER;
    km_quic_select_choose(conn);
  }
  if (s->look.next_at <= now) {
    look(conn);
  }
  if (s->required_at <= now) {
    s->required_at = KM_TS_NEVER;
    give_up(conn);
  }
}

/* Whoever only receives has nothing in flight that could be missed. While the application's bytes
 * come in, a short silence is answered with a PING; the answer to that ends it. */
static void listen_closely(km_conn *conn) {
  km_conn_select *s = &conn->select;
  uint64_t app = conn->stream_rx + conn->dgram_rx;
  bool listening = app != s->heard_app && conn->keep_alive_ms > LISTEN_MS;
  s->heard_app = app;
  if (listening != s->listening) {
    s->listening = listening;
    km_quic_set_keep_alive(conn, listening ? LISTEN_MS : conn->keep_alive_ms);
  }
}

void km_quic_select_heard(km_conn *conn, const km_path_key *from) {
  if (conn->state == KM_CONN_CONNECTED) {
    listen_closely(conn);
    km_remote_heard(&conn->select.user, from);
  }
}

void km_quic_select_silent(km_conn *conn) {
  const km_path *path = km_quic_path_current(conn);
  if (path != NULL && path->key.way == KM_WAY_DIRECT) {
    km_remote_suspect(&conn->select.user);
  }
}
