#include "endpoint/quic_close.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "endpoint/conn_impl.h"
#include "endpoint/discover.h"
#include "endpoint/quic_tls.h"
#include "endpoint/redial.h"

#define TOMBSTONE_MAX_CIDS 16
#define CLOSE_PTOS 3u /* RFC 9000 section 10.2 */
#define CLOSE_MAX_NS (3 * KM_NS_PER_S)
#define AMPLIFICATION_MAX 3u                     /* RFC 9000 section 8.1 */
#define CLOSE_UNMEASURED_NS (300 * KM_NS_PER_MS) /* no round trip yet: the PTO is a guess of 1 s */

struct km_tombstone {
  km_cid_owner owner; /* first: see cid_table.h */
  km_endpoint *ep;
  km_list link;
  km_timer_node timer;
  ngtcp2_cid cids[TOMBSTONE_MAX_CIDS];
  size_t cid_count;
  uint64_t received, answer_at; /* answers at the 1st, 2nd, 4th, 8th ... packet */
  km_path_key source;           /* of the last packet */
  uint64_t credit;              /* bytes that may be sent there */
  size_t packet_len;            /* 0: swallow */
  uint8_t packet[];
};

/* --- why a connection ended ------------------------------------------------------------------ */

static void set_reason(km_conn *conn, const void *reason, size_t len) {
  len = len > KM_CONN_REASON_MAX ? KM_CONN_REASON_MAX : len;
  conn->close_reason = len == 0 ? NULL : km_env_alloc(&conn->ep->env, len);
  if (conn->close_reason != NULL) {
    memcpy(conn->close_reason, reason, len);
    conn->close_info.reason = conn->close_reason;
    conn->close_info.reason_len = len;
  }
}

static void addresses_tried(const km_conn *conn, char *buf, size_t cap) {
  size_t used = 0;
  size_t count = conn->mixed == NULL ? 0 : km_mixed_count(conn->mixed);
  buf[0] = '\0';
  for (size_t i = 0; i < count && i < 3; i++) {
    char text[KM_PATH_TEXT_CAP];
    const km_path *path = km_mixed_at(conn->mixed, i);
    const char *trouble = km_magicsock_relay_trouble(conn->ep->ms, &path->key);
    km_path_text(conn->ep->ms, path, text);
    int n = snprintf(buf + used, cap - used, "%s%s%s%s%s", i == 0 ? "" : ", ", text,
                     trouble == NULL ? "" : " (", trouble == NULL ? "" : trouble,
                     trouble == NULL ? "" : ")");
    used += n > 0 && (size_t)n < cap - used ? (size_t)n : 0;
  }
  if (count > 3) {
    (void)snprintf(buf + used, cap - used, " and %zu more", count - 3);
  }
}

/* As much of the peer's reason as fits; it may be any bytes. */
static void copy_reason(const km_close_info *info, char *buf, size_t cap) {
  size_t n = info->reason_len < cap - 1 ? info->reason_len : cap - 1;
  for (size_t i = 0; i < n; i++) {
    buf[i] = info->reason[i] == '\0' ? '?' : (char)info->reason[i];
  }
  buf[n] = '\0';
}

static void write_text(km_conn *conn) {
  km_close_info *info = &conn->close_info;
  unsigned long long code = (unsigned long long)info->code;
  char *text = info->text;
  size_t cap = sizeof info->text;
  char detail[128];
  copy_reason(info, detail, sizeof detail);
  switch (info->error) {
  case KM_OK:
    (void)snprintf(text, cap, "we closed the connection with code %llu", code);
    break;
  case KM_ERR_CLOSED_BY_PEER:
    (void)snprintf(text, cap, "the peer closed the connection with %scode %llu%s%s",
                   info->application ? "" : "transport ", code, detail[0] == '\0' ? "" : ": ",
                   detail);
    break;
  case KM_ERR_UNREACHABLE:
    if (km_discover_is_waited_for(conn)) {
      (void)snprintf(
          text, cap, "nobody told within %llu ms where the peer is",
          (unsigned long long)((km_endpoint_now(conn->ep) - conn->started) / KM_NS_PER_MS));
      break;
    }
    addresses_tried(conn, detail, sizeof detail);
    (void)snprintf(
        text, cap, "the peer did not answer on %s within %llu ms",
        detail[0] == '\0' ? "any address" : detail,
        (unsigned long long)((km_endpoint_now(conn->ep) - conn->started) / KM_NS_PER_MS));
    break;
  case KM_ERR_WRONG_PEER: {
    char want[KM_ID_TEXT_CAP], got[KM_ID_TEXT_CAP];
    (void)km_id_format(&conn->remote_id, KM_ID_SHORT, want, sizeof want);
    (void)km_id_format(&conn->reached_id, KM_ID_SHORT, got, sizeof got);
    (void)snprintf(text, cap, "dialled %.10s..., but %.10s... answered: a different key", want,
                   got);
    break;
  }
  case KM_ERR_ALPN_REFUSED:
    (void)snprintf(text, cap, "%s does not speak the protocol %.100s",
                   conn->is_client ? "the peer" : "this endpoint",
                   conn->alpn == NULL ? "that was asked for" : conn->alpn);
    break;
  case KM_ERR_TLS:
    (void)snprintf(text, cap, "the TLS handshake failed: %s%s (code 0x%llx)",
                   info->origin == KM_CLOSE_REMOTE_TRANSPORT ? "the peer sent: " : "",
                   km_tls_alert_name((uint8_t)info->code), code);
    break;
  case KM_ERR_TRANSPORT:
    (void)snprintf(text, cap, "%s ended the connection: transport error 0x%llx%s%s",
                   info->origin == KM_CLOSE_REMOTE_TRANSPORT ? "the peer" : "we", code,
                   detail[0] == '\0' ? "" : ": ", detail);
    break;
  case KM_ERR_NO_DIRECT_PATH:
    km_explain_no_direct_path(conn, text, cap);
    break;
  default:
    (void)snprintf(text, cap, "%s", km_strerror(info->error));
    break;
  }
  km_text_clean(text); /* reasons, protocol names and urls are of strangers, and may be cut */
}

void km_conn_begin_close(km_conn *conn, km_close_origin origin, int error, bool application,
                         uint64_t code, const void *reason, size_t reason_len) {
  if (conn->state == KM_CONN_CLOSING) {
    return;
  }
  conn->state = KM_CONN_CLOSING;
  conn->close_info.origin = origin;
  conn->close_info.error = error;
  conn->close_info.application = application;
  conn->close_info.code = code;
  set_reason(conn, reason, reason_len);
  const km_close_info *info = &conn->close_info;
  if (application) {
    ngtcp2_ccerr_set_application_error(&conn->close_error, code, info->reason, info->reason_len);
  } else {
    ngtcp2_ccerr_set_transport_error(&conn->close_error, code, info->reason, info->reason_len);
  }
  write_text(conn);
  km_conn_mark_dirty(conn);
}

static int error_of_transport_code(uint64_t code) {
  if (code == KM_QUIC_CRYPTO_ERROR + (uint64_t)KM_TLS_ALERT_NO_APPLICATION_PROTOCOL) {
    return KM_ERR_ALPN_REFUSED;
  }
  if (code >= KM_QUIC_CRYPTO_ERROR && code <= KM_QUIC_CRYPTO_ERROR + 0xff) {
    return KM_ERR_TLS;
  }
  switch (code) {
  case NGTCP2_NO_ERROR:
  case NGTCP2_APPLICATION_ERROR: /* an application's close before the handshake was done */
    return KM_ERR_CLOSED_BY_PEER;
  case NGTCP2_CONNECTION_REFUSED:
    return KM_ERR_REFUSED;
  default:
    return KM_ERR_TRANSPORT;
  }
}

static void closed_by_peer(km_conn *conn) {
  conn->close_silently = conn->draining = true;
  if (conn->reset_seen) {
    km_conn_begin_close(conn, KM_CLOSE_REMOTE_TRANSPORT, KM_ERR_RESET_BY_PEER, false, 0, NULL, 0);
    return;
  }
  const ngtcp2_ccerr *cc = ngtcp2_conn_get_ccerr2(conn->quic);
  if (cc->type == NGTCP2_CCERR_TYPE_APPLICATION) {
    km_conn_begin_close(conn, KM_CLOSE_REMOTE_APP, KM_ERR_CLOSED_BY_PEER, true, cc->error_code,
                        cc->reason, cc->reasonlen);
  } else {
    km_conn_begin_close(conn, KM_CLOSE_REMOTE_TRANSPORT, error_of_transport_code(cc->error_code),
                        false, cc->error_code, cc->reason, cc->reasonlen);
  }
}

static void closed_by_tls(km_conn *conn) {
  uint8_t alert = ngtcp2_conn_get_tls_alert2(conn->quic);
  int error = KM_ERR_TLS;
  if (conn->wrong_peer_seen) {
    error = KM_ERR_WRONG_PEER;
    alert = KM_TLS_ALERT_UNKNOWN_CA; /* what iroh sends then */
  } else if (conn->alpn_refused || alert == KM_TLS_ALERT_NO_APPLICATION_PROTOCOL) {
    error = KM_ERR_ALPN_REFUSED;
    alert = KM_TLS_ALERT_NO_APPLICATION_PROTOCOL;
    conn->ep->stats.refused += conn->is_client ? 0 : 1;
  }
  km_conn_begin_close(conn, KM_CLOSE_LOCAL_TRANSPORT, error, false,
                      KM_QUIC_CRYPTO_ERROR + (uint64_t)alert, NULL, 0);
}

static void closed_silently(km_conn *conn, int error) {
  if (error == KM_ERR_UNREACHABLE && km_redial_give_up(conn)) {
    return; /* somebody did answer, if the wrong one */
  }
  conn->close_silently = true;
  km_conn_begin_close(conn, KM_CLOSE_LOCAL_TRANSPORT, error, false, 0, NULL, 0);
}

void km_conn_close_by_liberr(km_conn *conn, int liberr) {
  if (conn->state == KM_CONN_CLOSING) {
    return;
  }
  switch (liberr) {
  case NGTCP2_ERR_DRAINING:
    closed_by_peer(conn);
    break;
  case NGTCP2_ERR_CRYPTO:
    closed_by_tls(conn);
    break;
  case NGTCP2_ERR_IDLE_CLOSE:
    closed_silently(conn, conn->progress.completed ? KM_ERR_IDLE_TIMEOUT : KM_ERR_UNREACHABLE);
    break;
  case NGTCP2_ERR_HANDSHAKE_TIMEOUT:
    closed_silently(conn, KM_ERR_UNREACHABLE);
    break;
  case NGTCP2_ERR_RECV_VERSION_NEGOTIATION:
    closed_silently(conn, KM_ERR_VERSION);
    break;
  case NGTCP2_ERR_DROP_CONN:
  case NGTCP2_ERR_CLOSING:
    closed_silently(conn, KM_ERR_TRANSPORT);
    break;
  default: {
    bool ours = liberr == NGTCP2_ERR_CALLBACK_FAILURE || liberr == NGTCP2_ERR_INTERNAL;
    km_conn_begin_close(conn, KM_CLOSE_LOCAL_TRANSPORT,
                        liberr == NGTCP2_ERR_NOMEM ? KM_ERR_NOMEM
                        : ours                     ? KM_ERR_INTERNAL
                                                   : KM_ERR_TRANSPORT,
                        false, ngtcp2_err_infer_quic_transport_error_code(liberr),
                        ngtcp2_strerror(liberr), strlen(ngtcp2_strerror(liberr)));
    break;
  }
  }
}

/* --- tombstones ------------------------------------------------------------------------------ */

static void bury(km_tombstone *t) {
  km_endpoint *ep = t->ep;
  for (size_t i = 0; i < t->cid_count; i++) {
    km_cid_table_remove(&ep->cids, t->cids[i].data, t->cids[i].datalen, &t->owner);
  }
  km_endpoint_release_timer(ep, &t->timer);
  km_list_remove(&t->link);
  ep->tombstone_count--;
  km_env_free(&ep->env, t);
}

static void on_timer(km_timer_node *node) {
  bury(KM_LIST_ITEM(node, km_tombstone, timer)); /* the turn's flush sees to a closing endpoint */
}

static void take_cids(km_tombstone *t, km_conn *conn) {
  km_cid_table *table = &t->ep->cids;
  size_t count = ngtcp2_conn_get_scid2(conn->quic, NULL);
  if (count < TOMBSTONE_MAX_CIDS) {
    (void)ngtcp2_conn_get_scid2(conn->quic, t->cids);
    t->cid_count = count;
  }
  if (!conn->is_client) {
    t->cids[t->cid_count++] = conn->initial_dcid;
  }
  for (size_t i = 0; i < t->cid_count; i++) {
    if (km_cid_table_find(table, t->cids[i].data, t->cids[i].datalen) == &conn->owner) {
      (void)km_cid_table_move(table, t->cids[i].data, t->cids[i].datalen, &t->owner);
    }
  }
}

static km_ts closing_period(const km_conn *conn) {
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info2(conn->quic, &info);
  km_ts limit = info.min_rtt == UINT64_MAX ? CLOSE_UNMEASURED_NS : CLOSE_MAX_NS;
  km_ts wait = CLOSE_PTOS * ngtcp2_conn_get_pto2(conn->quic);
  return wait < limit ? wait : limit;
}

/* Without memory or room there is none: stateless resets answer then. */
static void leave_tombstone(km_conn *conn, const uint8_t *packet, size_t len) {
  km_endpoint *ep = conn->ep;
  if (ep->tombstone_count >= KM_ENDPOINT_MAX_TOMBSTONES || km_endpoint_reserve_timer(ep) != 0) {
    return;
  }
  km_tombstone *t = km_env_zalloc(&ep->env, 1, sizeof *t + len);
  if (t == NULL) {
    ep->timer_nodes--;
    return;
  }
  t->owner.kind = KM_CID_OWNER_TOMBSTONE;
  t->ep = ep;
  t->timer.fire = on_timer;
  t->answer_at = 1;
  t->packet_len = len;
  if (len > 0) {
    memcpy(t->packet, packet, len);
  }
  take_cids(t, conn);
  km_list_init(&t->link);
  km_list_append(&ep->tombstones, &t->link);
  ep->tombstone_count++;
  km_endpoint_set_timer(ep, &t->timer, km_endpoint_now(ep) + closing_period(conn));
}

void km_tombstones_hurry(km_endpoint *ep) {
  km_list *next;
  for (km_list *n = ep->tombstones.next; n != &ep->tombstones; n = next) {
    next = n->next;
    km_tombstone *t = KM_LIST_ITEM(n, km_tombstone, link);
    if (t->packet_len == 0) {
      bury(t);
    }
  }
}

void km_tombstone_answer(km_tombstone *t, const km_path_key *from, size_t len) {
  t->received++;
  if (!km_path_key_matches(&t->source, from)) {
    t->source = *from;
    t->credit = 0;
  }
  t->credit += (uint64_t)len * AMPLIFICATION_MAX;
  if (t->packet_len > 0 && t->received >= t->answer_at && t->credit >= t->packet_len) {
    t->answer_at = t->received * 2;
    t->credit -= t->packet_len;
    km_magicsock_reply(t->ep->ms, from, t->packet, t->packet_len);
  }
}

/* --- the end --------------------------------------------------------------------------------- */

/* Returns the length of the close packet in the endpoint's buffer, 0 for none. */
static size_t send_close(km_conn *conn) {
  km_endpoint *ep = conn->ep;
  ngtcp2_path_storage ps;
  ngtcp2_pkt_info pi = {0};
  if (conn->close_silently || conn->quic == NULL) {
    return 0;
  }
  ngtcp2_path_storage_zero(&ps);
  ngtcp2_ssize n = ngtcp2_conn_write_connection_close(conn->quic, &ps.path, &pi, ep->tx_buf,
                                                      KM_ENDPOINT_TX_BYTES, &conn->close_error,
                                                      km_endpoint_now(ep));
  const km_quic_path *cp = n > 0 ? km_quic_path_of_addrs(conn, &ps.path) : NULL;
  if (cp == NULL) {
    return 0;
  }
  km_magicsock_send(ep->ms, cp->path, ep->tx_buf, (size_t)n, (size_t)n, (uint8_t)pi.ecn);
  return (size_t)n;
}

void km_conn_end_attempt(km_conn *conn) {
  size_t packet = send_close(conn);
  bool swallow = conn->draining && conn->ep->state == KM_ENDPOINT_OPEN;
  if (conn->quic != NULL && (packet > 0 || swallow)) {
    leave_tombstone(conn, conn->ep->tx_buf, packet);
  }
}

void km_conn_finish_close(km_conn *conn) {
  const km_close_info *info = &conn->close_info;
  km_conn_end_attempt(conn);
  km_conn_leave_half_open(conn);
  while (conn->waiting_first != NULL) {
    km_stream_finish(conn->waiting_first, KM_ERR_CLOSED);
  }
  while (conn->streams != NULL) {
    km_stream_finish(conn->streams, KM_ERR_CLOSED);
  }
  CONN_LOG(conn, KM_LOG_INFO, KM_LOGC_QUIC, "closed", "%s", info->text);
  if ((conn->is_client || conn->reported_connected) && conn->cb.on_closed != NULL) {
    conn->cb.on_closed(conn->ctx, conn, info);
  }
  km_conn_free(conn);
}
