/* ngtcp2 around one connection: made, fed with packets and time. */
#include <sodium.h>
#include <string.h>

#include "endpoint/conn_impl.h"
#include "endpoint/qlog_io.h"
#include "endpoint/quic_tls.h"
#include "endpoint/intake.h"
#include "endpoint/redial.h"

#define FIRST_DCID_LEN 8 /* RFC 9000 section 7.2: at least 8 unpredictable bytes */
#define ACTIVE_CID_LIMIT 7
/* RFC 9002 section 6.2.2 suggests 333 ms, which makes the first repetition, also on each new path,
 * wait a second. Most paths are shorter, and on longer ones a few packets are sent twice. */
#define INITIAL_RTT (100 * KM_NS_PER_MS)
#define MAX_DATAGRAM_FRAME 65535 /* any size, as iroh */

static void log_quic(void *user_data, char *msg, size_t len) {
  km_conn *conn = user_data;
  CONN_LOG(conn, KM_LOG_TRACE, KM_LOGC_QUIC, "ngtcp2", "%.*s", (int)len, msg);
}

static ngtcp2_cc_algo congestion(km_congestion cc) {
  switch (cc) {
  case KM_CC_BBR:
    return NGTCP2_CC_ALGO_BBR;
  case KM_CC_RENO:
    return NGTCP2_CC_ALGO_RENO;
  case KM_CC_CUBIC:
    break;
  }
  return NGTCP2_CC_ALGO_CUBIC;
}

/* `probes` is copied by ngtcp2 when it makes the connection. */
static void fill_settings(ngtcp2_settings *st, km_conn *conn, uint32_t timeout_ms,
                          const ngtcp2_cid *original_dcid, uint16_t probes[2]) {
  const km_endpoint_options *o = &conn->ep->opt;
  ngtcp2_settings_default(st);
  st->cc_algo = congestion(o->congestion);
  st->initial_ts = km_endpoint_now(conn->ep);
  st->initial_rtt = INITIAL_RTT;
  st->handshake_timeout = timeout_ms * KM_NS_PER_MS;
  st->max_tx_udp_payload_size = o->max_udp_payload;
  st->no_pmtud = !o->pmtud;
  if (o->max_udp_payload > NGTCP2_MAX_PMTUD_UDP_PAYLOAD_SIZE) {
    probes[0] = NGTCP2_MAX_PMTUD_UDP_PAYLOAD_SIZE; /* as far as ngtcp2 probes by itself */
    probes[1] = (uint16_t)o->max_udp_payload;
    st->pmtud_probes = probes;
    st->pmtud_probeslen = 2;
  }
  st->rand_ctx.native_handle = &conn->ep->env;
  if (conn->ep->env.logger.sink != NULL &&
      conn->ep->env.logger.filter.level[KM_LOGC_QUIC] >= KM_LOG_TRACE) {
    st->log_write = log_quic;
  }
  if (o->qlog_dir != NULL) {
    conn->qlog = km_qlog_new(&conn->ep->env, o->qlog_dir, original_dcid->data,
                             original_dcid->datalen, conn->is_client);
    if (conn->is_client || conn->progress.proven) {
      km_qlog_begin(conn->qlog);
    }
    st->qlog_write = conn->qlog == NULL ? NULL : km_qlog_write;
  }
}

static void fill_params(ngtcp2_transport_params *tp, const km_endpoint_options *o) {
  ngtcp2_transport_params_default(tp);
  tp->initial_max_stream_data_bidi_local = o->stream_window;
  tp->initial_max_stream_data_bidi_remote = o->stream_window;
  tp->initial_max_stream_data_uni = o->stream_window;
  tp->initial_max_data = o->connection_window;
  tp->initial_max_streams_bidi = o->max_streams_bidi;
  tp->initial_max_streams_uni = o->max_streams_uni;
  tp->max_idle_timeout = o->idle_timeout_ms * KM_NS_PER_MS;
  tp->active_connection_id_limit = ACTIVE_CID_LIMIT;
  tp->max_datagram_frame_size = MAX_DATAGRAM_FRAME;
}

static void random_cid(const km_conn *conn, ngtcp2_cid *cid, size_t len) {
  cid->datalen = len;
  km_env_random(&conn->ep->env, cid->data, len);
}

static int add_cid(km_conn *conn, const ngtcp2_cid *cid) {
  return km_cid_table_add(&conn->ep->cids, cid->data, cid->datalen, &conn->owner);
}

static void drop_cid(km_conn *conn, const ngtcp2_cid *cid) {
  km_cid_table_remove(&conn->ep->cids, cid->data, cid->datalen, &conn->owner);
}

void km_quic_set_keep_alive(km_conn *conn, uint32_t interval_ms) {
  ngtcp2_conn_set_keep_alive_timeout(conn->quic,
                                     interval_ms == 0 ? UINT64_MAX : interval_ms * KM_NS_PER_MS);
}

static int make_client(km_conn *conn, uint32_t timeout_ms, const km_session_bytes *token) {
  ngtcp2_callbacks cb;
  ngtcp2_settings st;
  ngtcp2_transport_params tp;
  ngtcp2_path path;
  ngtcp2_cid dcid, scid;
  random_cid(conn, &dcid, FIRST_DCID_LEN);
  random_cid(conn, &scid, KM_CID_LEN);
  km_quic_fill_callbacks(&cb, true);
  uint16_t probes[2];
  fill_settings(&st, conn, timeout_ms, &dcid, probes);
  fill_params(&tp, &conn->ep->opt);
  st.token = token->ptr;
  st.tokenlen = token->len;
  st.token_type = NGTCP2_TOKEN_TYPE_NEW_TOKEN;
  const km_quic_path *cp = &conn->paths[0];
  path = (ngtcp2_path){{(ngtcp2_sockaddr *)(uintptr_t)&cp->local.sa, KM_PATH_LOCAL_LEN},
                       {&cp->path->remote.sa, cp->path->remote_len},
                       NULL};
  if (add_cid(conn, &scid) != 0) {
    return KM_ERR_NOMEM;
  }
  if (ngtcp2_conn_client_new(&conn->quic, &dcid, &scid, &path, NGTCP2_PROTO_VER_V1, &cb, &st, &tp,
                             NULL, conn) != 0) {
    drop_cid(conn, &scid);
    return KM_ERR_NOMEM;
  }
  km_quic_set_keep_alive(conn, conn->keep_alive_ms);
  return 0;
}

static void free_secret(km_conn *conn, km_session_bytes *b) {
  if (b->ptr != NULL) {
    sodium_memzero(b->ptr, b->len);
    km_env_free(&conn->ep->env, b->ptr);
    b->ptr = NULL;
  }
}

/* Remembered transport parameters make early data possible; what ngtcp2 refuses is not sent. */
static void use_early_params(km_conn *conn, const km_session_bytes *params) {
  if (params->ptr == NULL ||
      ngtcp2_conn_decode_and_set_0rtt_transport_params(conn->quic, params->ptr, params->len) != 0) {
    conn->early_offered = false;
  }
  conn->early = conn->early_offered ? KM_EARLY_PENDING : KM_EARLY_NONE;
}

int km_quic_client_new(km_conn *conn, uint32_t timeout_ms, bool early, km_errinfo *err) {
  km_session_bytes params = {0}, token = {0};
  int rv = km_quic_tls_start(conn, early, &params);
  if (rv != 0) {
    return km_fail(err, rv, "the TLS library could not start a handshake");
  }
  (void)km_session_cache_take_token(conn->ep->sessions, &conn->remote_id, conn->alpn, &token);
  rv = make_client(conn, timeout_ms, &token);
  if (rv == 0) {
    ngtcp2_conn_set_tls_native_handle(conn->quic, conn->ssl);
    use_early_params(conn, &params);
  }
  free_secret(conn, &params);
  free_secret(conn, &token);
  return rv == 0 ? 0 : km_fail(err, rv, NULL);
}

int km_quic_server_new(km_conn *conn, const ngtcp2_pkt_hd *hd, const ngtcp2_cid *original_dcid,
                       bool retried) {
  ngtcp2_callbacks cb;
  ngtcp2_settings st;
  ngtcp2_transport_params tp;
  ngtcp2_cid scid;
  km_session_bytes none;
  km_endpoint *ep = conn->ep;
  const ngtcp2_cid *first = original_dcid != NULL ? original_dcid : &hd->dcid;
  random_cid(conn, &scid, KM_CID_LEN);
  km_quic_fill_callbacks(&cb, false);
  uint16_t probes[2];
  fill_settings(&st, conn, ep->opt.handshake_timeout_ms, first, probes);
  fill_params(&tp, &ep->opt);
  tp.original_dcid = *first;
  tp.original_dcid_present = 1;
  if (retried) {
    tp.retry_scid = hd->dcid;
    tp.retry_scid_present = 1;
  }
  if (conn->progress.proven) {
    st.token = hd->token;
    st.tokenlen = hd->tokenlen;
    st.token_type = retried ? NGTCP2_TOKEN_TYPE_RETRY : NGTCP2_TOKEN_TYPE_NEW_TOKEN;
  }
  tp.stateless_reset_token_present =
      ngtcp2_crypto_generate_stateless_reset_token(tp.stateless_reset_token, ep->reset_secret,
                                                   sizeof ep->reset_secret, &scid) == 0;
  if (add_cid(conn, &scid) != 0) {
    return KM_ERR_NOMEM;
  }
  const km_quic_path *cp = &conn->paths[0];
  const ngtcp2_path path = {{(ngtcp2_sockaddr *)(uintptr_t)&cp->local.sa, KM_PATH_LOCAL_LEN},
                            {&cp->path->remote.sa, cp->path->remote_len},
                            NULL};
  if (km_quic_tls_start(conn, false, &none) != 0 ||
      ngtcp2_conn_server_new(&conn->quic, &hd->scid, &scid, &path, hd->version, &cb, &st, &tp, NULL,
                             conn) != 0) {
    drop_cid(conn, &scid);
    return KM_ERR_NOMEM;
  }
  ngtcp2_conn_set_tls_native_handle(conn->quic, conn->ssl);
  /* The client uses the id it chose until it has seen ours. */
  if (add_cid(conn, &hd->dcid) != 0) {
    return KM_ERR_NOMEM;
  }
  conn->initial_dcid = hd->dcid;
  km_quic_set_keep_alive(conn, conn->keep_alive_ms);
  return 0;
}

uint64_t km_quic_packets_received(const km_conn *conn) {
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info2(conn->quic, &info);
  return info.pkt_recv;
}

int km_quic_read(km_conn *conn, const km_path_key *from, uint8_t ecn, const uint8_t *data,
                 size_t len) {
  ngtcp2_path_storage ps;
  km_quic_path *known;
  if (!km_quic_path_of_source(conn, from, &ps, &known)) {
    conn->ep->stats.rx_dropped++;
    return 0;
  }
  const ngtcp2_pkt_info pi = {.ecn = ecn};
  bool curious = km_quic_path_is_curious(conn, known, from);
  uint64_t before = curious ? km_quic_packets_received(conn) : 0;
  conn->answering =
      conn->mixed == NULL || conn->mixed_final ? NULL : km_mixed_candidate(conn->mixed, from);
  conn->in_quic = true;
  int rv = ngtcp2_conn_read_pkt(conn->quic, &ps.path, &pi, data, len, km_endpoint_now(conn->ep));
  conn->in_quic = false;
  conn->answering = NULL;
  conn->ecn_seen = conn->ecn_seen || ecn != 0;
  if (!curious) {
    km_quic_path_received(known, len);
  } else if (km_quic_packets_received(conn) > before) {
    km_quic_path_accepted(conn, known, from, len);
    km_redial_responded(conn, from);
  }
  return rv;
}

void km_quic_timeout(km_conn *conn) {
  km_ts now = km_endpoint_now(conn->ep);
  km_redial_timeout(conn);
  km_intake_timeout(conn);
  if (conn->state != KM_CONN_CLOSING && ngtcp2_conn_get_expiry2(conn->quic) <= now) {
    if (conn->mixed != NULL && !conn->mixed_final) {
      km_mixed_answered(conn->mixed, NULL); /* no answer in time: try all candidates again */
    }
    conn->in_quic = true;
    int rv = ngtcp2_conn_handle_expiry(conn->quic, now);
    conn->in_quic = false;
    if (rv != 0 && !km_redial_longer(conn, rv)) {
      km_conn_close_by_liberr(conn, rv);
    }
  }
  if (conn->state != KM_CONN_CLOSING) {
    km_quic_path_timeout(conn);
    km_quic_select_timeout(conn);
  }
  km_conn_mark_dirty(conn);
}
