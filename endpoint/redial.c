#include "endpoint/redial.h"

#include <stdio.h>
#include <string.h>

#include "endpoint/intake.h"
#include "endpoint/qlog_io.h"
#include "endpoint/quic_tls.h"

/* Whether the candidate is to blame, and not this machine. */
static bool is_of_candidate(int liberr) {
  return liberr != NGTCP2_ERR_NOMEM && liberr != NGTCP2_ERR_CALLBACK_FAILURE &&
         liberr != NGTCP2_ERR_INTERNAL;
}

static bool may_go_on(const km_conn *conn) {
  return conn->is_client && conn->state == KM_CONN_HANDSHAKE && !conn->progress.completed &&
         conn->mixed != NULL && !conn->mixed_final && conn->rounds < KM_REDIAL_ROUNDS_MAX &&
         km_endpoint_now(conn->ep) < conn->handshake_deadline;
}

static size_t keys_of_others(const km_conn *conn, const km_path *wrong,
                             km_path_key keys[KM_MIXED_MAX_CANDIDATES]) {
  size_t count = 0;
  for (size_t i = 0; i < km_mixed_count(conn->mixed) && count < KM_MIXED_MAX_CANDIDATES; i++) {
    const km_path *path = km_mixed_at(conn->mixed, i);
    if (path != wrong) {
      keys[count++] = path->key;
    }
  }
  for (size_t i = 0; i < conn->set_aside_count && count < KM_MIXED_MAX_CANDIDATES; i++) {
    if (km_mixed_candidate(conn->mixed, &conn->set_aside[i]) == NULL &&
        !km_intake_is_out(conn, &conn->set_aside[i])) {
      keys[count++] = conn->set_aside[i];
    }
  }
  return count;
}

/* Takes over why `conn` is closing, for the case that nobody else answers. */
static bool keep_verdict(km_conn *conn) {
  km_close_info *verdict = conn->verdict;
  if (verdict == NULL) {
    verdict = km_env_alloc(&conn->ep->env, sizeof *verdict);
    if (verdict == NULL) {
      return false;
    }
  } else {
    km_env_free(&conn->ep->env, conn->verdict_reason);
  }
  *verdict = conn->close_info;
  conn->verdict = verdict;
  conn->verdict_reason = conn->close_reason;
  conn->close_reason = NULL;
  conn->close_info = (km_close_info){0};
  return true;
}

/* As it was before the first packet. */
static void reset(km_conn *conn, km_path *mixed) {
  km_conn_forget_cids(conn);
  km_quic_paths_clear(conn);
  ngtcp2_conn_del(conn->quic);
  conn->quic = NULL;
  km_quic_tls_stop(conn);
  km_qlog_free(conn->qlog);
  conn->qlog = NULL;
  conn->state = KM_CONN_HANDSHAKE;
  conn->progress = (km_conn_progress){0};
  conn->remote_known = conn->wrong_peer_seen = conn->alpn_refused = false;
  conn->reset_seen = conn->ecn_seen = conn->close_silently = conn->draining = false;
  conn->early_offered = conn->responded = conn->retried = false;
  conn->key_preparations = 0;
  conn->cipher = conn->group = "";
  conn->mixed = mixed;
  km_mixed_grows(conn->ep->ms, mixed, conn->lookup != NULL);
  int rv = km_quic_path_add(conn, mixed);
  (void)rv; /* cannot fail: it is the first */
}

static int start(km_conn *conn) {
  km_ts left = conn->handshake_deadline - km_endpoint_now(conn->ep);
  uint32_t ms = left < KM_NS_PER_MS ? 1 : (uint32_t)(left / KM_NS_PER_MS);
  bool early = conn->early != KM_EARLY_NONE;
  int rv = km_quic_client_new(conn, ms, false, NULL);
  conn->early = early ? KM_EARLY_REJECTED : KM_EARLY_NONE;
  return rv;
}

/* Without a handshake that could say so. */
static void end_silently(km_conn *conn) {
  conn->state = KM_CONN_CLOSING;
  conn->close_silently = true;
  conn->close_info = (km_close_info){.origin = KM_CLOSE_LOCAL_TRANSPORT, .error = KM_ERR_NOMEM};
  (void)snprintf(conn->close_info.text, sizeof conn->close_info.text, "%s",
                 km_strerror(KM_ERR_NOMEM));
  km_conn_mark_dirty(conn);
}

/* Ends the attempt, of which `told` hears, or everybody (NULL), and begins one over `mixed`. */
static void restart(km_conn *conn, km_path *told, km_path *mixed) {
  km_mixed_answered(conn->mixed, told);
  km_conn_end_attempt(conn);
  km_intake_carry(conn, mixed);
  reset(conn, mixed);
  conn->attempt_at = km_endpoint_now(conn->ep);
  if (start(conn) != 0 && !km_redial_give_up(conn)) {
    end_silently(conn);
  }
  km_stream_lose_early(conn);
  km_conn_mark_dirty(conn);
}

/* A token of one candidate goes to all; that another does not know it is not the other's fault. */
static const km_path_key *who_is_to_blame(const km_conn *conn, const km_path_key *from) {
  const ngtcp2_ccerr *ccerr = ngtcp2_conn_get_ccerr(conn->quic);
  bool token =
      ccerr->type == NGTCP2_CCERR_TYPE_TRANSPORT && ccerr->error_code == NGTCP2_INVALID_TOKEN;
  return token && conn->retried ? &conn->retry_from : from;
}

static km_ts at_least(km_ts a, km_ts b) {
  return a > b ? a : b;
}

/* By when it has to finish. */
static km_ts finish_by(const km_conn *conn, const km_path_key *from) {
  km_ts now = km_endpoint_now(conn->ep);
  km_ts since = at_least(conn->attempt_at, km_intake_since(conn, from));
  km_ts took = 3 * (now - at_least(since, conn->started));
  if (km_intake_rank(conn, from) != KM_RANK_CLAIMED) {
    return now + at_least(took, KM_REDIAL_FINISH_NS);
  }
  km_ts least =
      at_least(KM_REDIAL_FINISH_CLAIMED_NS >> conn->told->mutes, KM_REDIAL_FINISH_LEAST_NS);
  km_ts left = conn->handshake_deadline > now ? conn->handshake_deadline - now : 0;
  km_ts finish = at_least(took, least);
  return now + (finish < left / 4 ? finish : left / 4);
}

void km_redial_responded(km_conn *conn, const km_path_key *from) {
  if (conn->responded || conn->mixed == NULL || conn->progress.completed) {
    return;
  }
  conn->responded = true;
  conn->responder = *from;
  conn->patience = finish_by(conn, from);
}

void km_redial_retried(km_conn *conn) {
  if (conn->answering != NULL) {
    conn->retried = true;
    conn->retry_from = conn->answering->key;
    km_redial_responded(conn, &conn->retry_from);
  }
}

/* Nobody of its kind is taken in again. Returns how many others there are. */
static size_t drop(km_conn *conn, km_path *wrong, bool mute,
                   km_path_key keys[KM_MIXED_MAX_CANDIDATES]) {
  km_mixed_answered(conn->mixed, wrong); /* what it got is not for the others */
  km_intake_wrong(conn, &wrong->key, mute);
  km_intake_hurry(conn);
  return keys_of_others(conn, wrong, keys);
}

bool km_redial_without(km_conn *conn, const km_path_key *from, int liberr) {
  km_path_key keys[KM_MIXED_MAX_CANDIDATES];
  km_path *wrong = may_go_on(conn) && is_of_candidate(liberr)
                       ? km_mixed_candidate(conn->mixed, who_is_to_blame(conn, from))
                       : NULL;
  size_t count =
      wrong == NULL ? 0 : drop(conn, wrong, liberr == NGTCP2_ERR_HANDSHAKE_TIMEOUT, keys);
  km_path *mixed = NULL;
  bool none = count == 0 && (wrong == NULL || conn->lookup == NULL); /* and none can come */
  if (none || km_mixed_new(conn->ep->ms, keys, count, &mixed) != 0) {
    return false;
  }
  km_conn_close_by_liberr(conn, liberr); /* finds the words */
  if (!keep_verdict(conn)) {
    km_path_unref(conn->ep->ms, mixed);
    return true;
  }
  CONN_LOG(conn, KM_LOG_INFO, KM_LOGC_QUIC, "candidate-dropped", "%s; %zu others",
           conn->verdict->text, count);
  conn->patience = km_endpoint_now(conn->ep) + KM_REDIAL_PATIENCE_NS;
  conn->rounds++;
  restart(conn, wrong, mixed);
  return true;
}

bool km_redial_give_up(km_conn *conn) {
  if (conn->verdict == NULL || conn->state == KM_CONN_CLOSING) {
    return false;
  }
  conn->state = KM_CONN_CLOSING;
  conn->close_silently = true; /* the wrong one was told, and there is nobody else */
  conn->close_info = *conn->verdict;
  conn->close_reason = conn->verdict_reason;
  conn->verdict_reason = NULL;
  km_conn_mark_dirty(conn);
  return true;
}

static size_t keys_of(const km_conn *conn, km_way way, km_path_key *keys) {
  size_t count = 0;
  for (size_t i = 0; i < km_mixed_count(conn->mixed) && count < KM_MIXED_MAX_CANDIDATES; i++) {
    const km_path_key *key = &km_mixed_at(conn->mixed, i)->key;
    if (key->way == way) {
      keys[count++] = *key;
    }
  }
  return count;
}

static bool has_both_kinds(const km_conn *conn) {
  bool direct = false, relay = false;
  for (size_t i = 0; i < km_mixed_count(conn->mixed); i++) {
    uint8_t way = km_mixed_at(conn->mixed, i)->key.way;
    direct = direct || way == KM_WAY_DIRECT;
    relay = relay || way == KM_WAY_RELAY;
  }
  return direct && relay;
}

static bool has_relay_up(const km_conn *conn) {
  for (size_t i = 0; i < km_mixed_count(conn->mixed); i++) {
    if (km_magicsock_relay_is_up(conn->ep->ms, &km_mixed_at(conn->mixed, i)->key)) {
      return true;
    }
  }
  return false;
}

void km_redial_begin(km_conn *conn) {
  if (has_both_kinds(conn)) {
    conn->patience = km_endpoint_now(conn->ep) + KM_REDIAL_SILENCE_NS;
  }
}

void km_redial_candidates_came(km_conn *conn, bool first) {
  km_ts patience = km_endpoint_now(conn->ep) + KM_REDIAL_PATIENCE_NS;
  if (conn->responded) {
    return;
  }
  if (conn->verdict != NULL) {
    conn->patience = patience;
  } else if (first || conn->patience == KM_TS_NEVER) {
    km_redial_begin(conn);
  }
}

void km_redial_no_more_come(km_conn *conn) {
  if (conn->state == KM_CONN_HANDSHAKE && conn->verdict != NULL && !conn->responded) {
    conn->patience = km_endpoint_now(conn->ep) + KM_REDIAL_PATIENCE_NS;
  }
}

static bool begin_again(km_conn *conn, const km_path_key *keys, size_t count) {
  km_path *mixed = NULL;
  if (count == 0 || km_mixed_new(conn->ep->ms, keys, count, &mixed) != 0) {
    return false;
  }
  restart(conn, NULL, mixed);
  return true;
}

bool km_redial_longer(km_conn *conn, int liberr) {
  bool silence = liberr == NGTCP2_ERR_HANDSHAKE_TIMEOUT || liberr == NGTCP2_ERR_IDLE_CLOSE;
  if (!silence || !conn->patient || conn->progress.completed || conn->mixed == NULL ||
      conn->mixed_final || conn->verdict != NULL) {
    return false;
  }
  uint64_t longest = 0;
  for (size_t i = 0; i < km_mixed_count(conn->mixed); i++) {
    const km_path_key *key = &km_mixed_at(conn->mixed, i)->key;
    uint64_t rtt = km_magicsock_relay_round_trip(conn->ep->ms, key);
    bool believed = km_intake_rank(conn, key) != KM_RANK_CLAIMED; /* who is slow could say so */
    longest = believed && rtt > longest ? rtt : longest;
  }
  bool within = longest < KM_REDIAL_FAR_NS / KM_REDIAL_TRIPS;
  km_ts until = conn->started + (within ? KM_REDIAL_TRIPS * longest : KM_REDIAL_FAR_NS);
  if (until <= km_endpoint_now(conn->ep)) {
    return false;
  }
  km_path_key keys[KM_MIXED_MAX_CANDIDATES];
  conn->handshake_deadline = until;
  return begin_again(conn, keys, keys_of_others(conn, NULL, keys));
}

static void relays_alone(km_conn *conn) {
  km_path_key direct[KM_MIXED_MAX_CANDIDATES], relays[KM_MIXED_MAX_CANDIDATES];
  size_t count = keys_of(conn, KM_WAY_DIRECT, direct);
  km_path_key *kept = km_env_zalloc(&conn->ep->env, count, sizeof *kept);
  if (kept == NULL) {
    return;
  }
  memcpy(kept, direct, count * sizeof *kept);
  if (!begin_again(conn, relays, keys_of(conn, KM_WAY_RELAY, relays))) {
    km_env_free(&conn->ep->env, kept);
    return;
  }
  conn->set_aside = kept;
  conn->set_aside_count = count;
  conn->patience = km_endpoint_now(conn->ep) + KM_REDIAL_RELAYS_NS;
  CONN_LOG(conn, KM_LOG_INFO, KM_LOGC_QUIC, "relays-alone", "no answer yet; %zu set aside", count);
}

static void all_again(km_conn *conn) {
  km_path_key keys[KM_MIXED_MAX_CANDIDATES];
  (void)begin_again(conn, keys, keys_of_others(conn, NULL, keys)); /* or with what is tried now */
}

/* Nobody answered at all. */
static void silence(km_conn *conn) {
  if (conn->verdict != NULL && conn->lookup != NULL) {
    conn->patience = km_endpoint_now(conn->ep) + KM_REDIAL_PATIENCE_NS; /* more may come */
    return;
  }
  if (km_redial_give_up(conn)) {
    return;
  }
  if (conn->set_aside != NULL) {
    all_again(conn);
    return;
  }
  if (conn->mixed == NULL || !has_both_kinds(conn)) {
    return;
  }
  /* Again later without memory, and without a relay: the direct way may just be long. */
  conn->patience = km_endpoint_now(conn->ep) + KM_REDIAL_SILENCE_NS;
  if (has_relay_up(conn)) {
    relays_alone(conn);
  }
}

void km_redial_timeout(km_conn *conn) {
  if (conn->patience > km_endpoint_now(conn->ep)) {
    return;
  }
  conn->patience = KM_TS_NEVER;
  if (conn->state != KM_CONN_HANDSHAKE || conn->progress.completed) {
    return;
  }
  if (!conn->responded) {
    silence(conn);
  } else if (!km_redial_without(conn, &conn->responder, NGTCP2_ERR_HANDSHAKE_TIMEOUT)) {
    return; /* there is nobody else: all the time of the dial is for this one */
  }
}

void km_redial_forget(km_conn *conn) {
  km_env_free(&conn->ep->env, conn->verdict);
  km_env_free(&conn->ep->env, conn->verdict_reason);
  km_env_free(&conn->ep->env, conn->set_aside);
  conn->set_aside = NULL;
  conn->verdict = NULL;
  conn->verdict_reason = NULL;
}
