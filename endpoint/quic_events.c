/* What ngtcp2 calls: each callback hands the event to the module that owns the matter. */
#include <ngtcp2/ngtcp2_crypto_wolfssl.h>
#include <string.h>

#include "endpoint/conn_impl.h"
#include "endpoint/qlog_io.h"
#include "endpoint/quic_tls.h"
#include "endpoint/redial.h"

#define TICKET_WAIT_NS (10 * KM_NS_PER_S)

static void random_bytes(uint8_t *dest, size_t len, const ngtcp2_rand_ctx *ctx) {
  km_env_random(ctx->native_handle, dest, len);
}

static int new_connection_id(ngtcp2_conn *quic, ngtcp2_cid *cid,
                             ngtcp2_stateless_reset_token *token, size_t len, void *user_data) {
  (void)quic;
  km_conn *conn = user_data;
  km_endpoint *ep = conn->ep;
  cid->datalen = len;
  km_env_random(&ep->env, cid->data, len);
  if (ngtcp2_crypto_generate_stateless_reset_token(token->data, ep->reset_secret,
                                                   sizeof ep->reset_secret, cid) != 0 ||
      km_cid_table_add(&ep->cids, cid->data, cid->datalen, &conn->owner) != 0) {
    return NGTCP2_ERR_CALLBACK_FAILURE;
  }
  return 0;
}

static int remove_connection_id(ngtcp2_conn *quic, const ngtcp2_cid *cid, void *user_data) {
  (void)quic;
  km_conn *conn = user_data;
  km_cid_table_remove(&conn->ep->cids, cid->data, cid->datalen, &conn->owner);
  return 0;
}

/* After the handshake state is freed only new tickets and the like could come: not wanted. */
static int recv_crypto_data(ngtcp2_conn *quic, ngtcp2_encryption_level level, uint64_t offset,
                            const uint8_t *data, size_t len, void *user_data) {
  const km_conn *conn = user_data;
  if (level != NGTCP2_ENCRYPTION_LEVEL_INITIAL) {
    km_qlog_begin(conn->qlog); /* who sends these has seen our answer (RFC 9000 section 8.1) */
  }
  if (conn->ssl == NULL) {
    return level == NGTCP2_ENCRYPTION_LEVEL_1RTT ? 0 : NGTCP2_ERR_CRYPTO;
  }
  return ngtcp2_crypto_recv_crypto_data_cb(quic, level, offset, data, len, user_data);
}

static void close_for_tls(km_conn *conn, int error) {
  bool alpn = error == KM_ERR_ALPN_REFUSED;
  uint8_t alert = alpn ? KM_TLS_ALERT_NO_APPLICATION_PROTOCOL : KM_TLS_ALERT_UNKNOWN_CA;
  km_conn_begin_close(conn, KM_CLOSE_LOCAL_TRANSPORT, error, false,
                      KM_QUIC_CRYPTO_ERROR + (uint64_t)alert, NULL, 0);
}

static void report_early(km_conn *conn) {
  if (conn->is_client && conn->early == KM_EARLY_PENDING) {
    conn->early = KM_EARLY_ACCEPTED;
  }
  if (conn->is_client && conn->early != KM_EARLY_NONE && conn->cb.on_early_data != NULL) {
    conn->cb.on_early_data(conn->ctx, conn, conn->early == KM_EARLY_ACCEPTED);
  }
}

static void offer_token(km_conn *conn, const ngtcp2_addr *remote) {
  uint8_t token[NGTCP2_CRYPTO_MAX_REGULAR_TOKENLEN];
  const km_endpoint *ep = conn->ep;
  ngtcp2_ssize len = ngtcp2_crypto_generate_regular_token2(
      token, ep->token_secret, sizeof ep->token_secret, remote->addr, remote->addrlen, NULL, 0,
      km_endpoint_now(ep));
  if (len > 0) {
    (void)ngtcp2_conn_submit_new_token(conn->quic, token, (size_t)len);
  }
}

static void completed_as_client(km_conn *conn) {
  conn->ep->stats.dialled++;
  conn->tls_free_at = km_endpoint_now(conn->ep) + TICKET_WAIT_NS;
  if (conn->early_offered && !km_quic_tls_early_accepted(conn)) {
    (void)ngtcp2_conn_tls_early_data_rejected(conn->quic);
  }
}

static void completed_as_server(km_conn *conn) {
  conn->ep->stats.accepted++;
  conn->progress.confirmed = true; /* RFC 9001 section 4.1.2; ngtcp2 tells only clients */
  km_conn_leave_half_open(conn);
  offer_token(conn, &ngtcp2_conn_get_path2(conn->quic)->remote);
}

static int handshake_completed(ngtcp2_conn *quic, void *user_data) {
  (void)quic;
  km_conn *conn = user_data;
  int rv = km_quic_tls_finished(conn);
  if (rv != 0) {
    close_for_tls(conn, rv);
    return 0;
  }
  conn->progress.completed = true;
  if (conn->is_client) {
    completed_as_client(conn);
  } else {
    completed_as_server(conn);
  }
  km_quic_path_settle(conn);
  if (km_conn_report_connected(conn)) {
    report_early(conn);
  }
  if (conn->state != KM_CONN_CLOSING) {
    km_stream_start_waiting(conn);
  }
  return 0;
}

static int handshake_confirmed(ngtcp2_conn *quic, void *user_data) {
  (void)quic;
  km_conn *conn = user_data;
  conn->progress.confirmed = true;
  conn->select.again_at = km_endpoint_now(conn->ep); /* now it may move */
  return 0;
}

/* Accepting side: early data is agreed. The ticket is used up now, before a byte of it is read. */
static int recv_rx_key(ngtcp2_conn *quic, ngtcp2_encryption_level level, void *user_data) {
  (void)quic;
  km_conn *conn = user_data;
  if (conn->is_client || level != NGTCP2_ENCRYPTION_LEVEL_0RTT) {
    return 0;
  }
  if (!km_quic_tls_use_early_ticket(conn)) {
    return NGTCP2_ERR_CALLBACK_FAILURE;
  }
  conn->progress.resumed = true;
  conn->early = KM_EARLY_ACCEPTED;
  return 0;
}

static int early_data_rejected(ngtcp2_conn *quic, void *user_data) {
  (void)quic;
  km_conn *conn = user_data;
  conn->early = KM_EARLY_REJECTED;
  km_stream_lose_early(conn);
  return 0;
}

static int recv_new_token(ngtcp2_conn *quic, const uint8_t *token, size_t len, void *user_data) {
  (void)quic;
  const km_conn *conn = user_data;
  km_session_cache_put_token(conn->ep->sessions, &conn->remote_id, conn->alpn, token, len);
  return 0;
}

/* A reset carries a random connection id (RFC 9000 section 10.3.1): the demultiplexer finds the
 * connection by its token. */
static int dcid_status(ngtcp2_conn *quic, ngtcp2_connection_id_status_type type, uint64_t seq,
                       const ngtcp2_cid *cid, const ngtcp2_stateless_reset_token *token,
                       void *user_data) {
  (void)quic;
  (void)seq;
  (void)cid;
  km_conn *conn = user_data;
  km_cid_table *tokens = &conn->ep->reset_tokens;
  if (token == NULL) {
    return 0;
  }
  if (type == NGTCP2_CONNECTION_ID_STATUS_TYPE_ACTIVATE) {
    int rv = km_cid_table_add(tokens, token->data, sizeof token->data, &conn->owner);
    (void)rv; /* without it a reset goes unseen and the idle timeout ends the connection */
  } else {
    km_cid_table_remove(tokens, token->data, sizeof token->data, &conn->owner);
  }
  return 0;
}

static int recv_stateless_reset(ngtcp2_conn *quic, const ngtcp2_pkt_stateless_reset2 *sr,
                                void *user_data) {
  (void)quic;
  (void)sr;
  km_conn *conn = user_data;
  conn->reset_seen = true;
  return 0;
}

/* --- streams --------------------------------------------------------------------------------- */

static int stream_open(ngtcp2_conn *quic, int64_t id, void *user_data) {
  km_conn *conn = user_data;
  /* Early data: the peer is known from its ticket, and the handshake not yet done. */
  if (!conn->is_client && !conn->reported_connected &&
      (!conn->remote_known || !km_conn_report_connected(conn))) {
    return conn->state == KM_CONN_CLOSING ? 0 : NGTCP2_ERR_CALLBACK_FAILURE;
  }
  km_stream *s = km_stream_new(conn, id, ngtcp2_is_bidi_stream(id) != 0, false);
  if (s == NULL) {
    return NGTCP2_ERR_CALLBACK_FAILURE;
  }
  (void)ngtcp2_conn_set_stream_user_data(quic, id, s);
  if (conn->cb.on_stream != NULL && conn->state != KM_CONN_CLOSING) {
    conn->cb.on_stream(conn->ctx, conn, s);
  }
  if (!s->has_callbacks && conn->state != KM_CONN_CLOSING) {
    (void)ngtcp2_conn_shutdown_stream(quic, 0, id, 0);
    s->reset_sent = s->stop_sent = true;
  }
  return 0;
}

static int recv_stream_data(ngtcp2_conn *quic, uint32_t flags, int64_t id, uint64_t offset,
                            const uint8_t *data, size_t len, void *user_data, void *stream) {
  (void)offset;
  km_conn *conn = user_data;
  if (stream == NULL || conn->state == KM_CONN_CLOSING) {
    (void)ngtcp2_conn_extend_max_stream_offset(quic, id, len);
    ngtcp2_conn_extend_max_offset(quic, len);
    return 0;
  }
  km_stream_data_came(stream, data, len, (flags & NGTCP2_STREAM_DATA_FLAG_FIN) != 0);
  return 0;
}

static int acked_stream_data(ngtcp2_conn *quic, int64_t id, uint64_t offset, uint64_t len,
                             void *user_data, void *stream) {
  (void)quic;
  (void)id;
  (void)user_data;
  if (stream != NULL) {
    km_stream_data_acked(stream, offset, len);
  }
  return 0;
}

static int stream_reset(ngtcp2_conn *quic, int64_t id, uint64_t final_size, uint64_t code,
                        void *user_data, void *stream) {
  (void)quic;
  (void)id;
  (void)final_size;
  (void)user_data;
  if (stream != NULL) {
    km_stream_was_reset(stream, code);
  }
  return 0;
}

static int stop_sending(ngtcp2_conn *quic, int64_t id, uint64_t code, void *user_data,
                        void *stream) {
  (void)quic;
  (void)id;
  (void)user_data;
  if (stream != NULL) {
    km_stream_was_stopped(stream, code);
  }
  return 0;
}

static int stream_close(ngtcp2_conn *quic, uint32_t flags, int64_t id, uint64_t code,
                        void *user_data, void *stream) {
  (void)flags;
  (void)code;
  (void)user_data;
  bool remote = !ngtcp2_conn_is_local_stream(quic, id);
  if (remote && ngtcp2_is_bidi_stream(id)) {
    ngtcp2_conn_extend_max_streams_bidi(quic, 1);
  } else if (remote) {
    ngtcp2_conn_extend_max_streams_uni(quic, 1);
  }
  km_stream *s = stream;
  if (s != NULL) {
    km_stream_finish(s, s->error);
  }
  return 0;
}

static int more_stream_data(ngtcp2_conn *quic, int64_t id, uint64_t max, void *user_data,
                            void *stream) {
  (void)quic;
  (void)id;
  (void)max;
  (void)user_data;
  km_stream *s = stream;
  if (s != NULL) {
    s->flow_blocked = false;
    km_stream_became_ready(s);
  }
  return 0;
}

static void more_streams(km_conn *conn, bool *wanted) {
  if (!conn->progress.completed) {
    return;
  }
  km_stream_start_waiting(conn);
  if (*wanted && conn->state == KM_CONN_CONNECTED) {
    *wanted = false;
    if (conn->cb.on_streams_available != NULL) {
      conn->cb.on_streams_available(conn->ctx, conn);
    }
  }
}

static int more_streams_bidi(ngtcp2_conn *quic, uint64_t max, void *user_data) {
  (void)quic;
  (void)max;
  km_conn *conn = user_data;
  more_streams(conn, &conn->bidi_wanted);
  return 0;
}

static int more_streams_uni(ngtcp2_conn *quic, uint64_t max, void *user_data) {
  (void)quic;
  (void)max;
  km_conn *conn = user_data;
  more_streams(conn, &conn->uni_wanted);
  return 0;
}

/* --- datagrams, paths, keys ------------------------------------------------------------------ */

static int recv_datagram(ngtcp2_conn *quic, uint32_t flags, const uint8_t *data, size_t len,
                         void *user_data) {
  (void)quic;
  (void)flags;
  km_conn *conn = user_data;
  if (!conn->is_client && !conn->reported_connected &&
      (!conn->remote_known || !km_conn_report_connected(conn))) {
    return 0;
  }
  conn->dgram_rx++;
  if (conn->cb.on_datagram != NULL && conn->state == KM_CONN_CONNECTED) {
    conn->cb.on_datagram(conn->ctx, conn, len == 0 ? (const uint8_t *)"" : data, len);
  }
  return 0;
}

static int lost_datagram(ngtcp2_conn *quic, uint64_t id, void *user_data) {
  (void)quic;
  (void)id;
  km_conn *conn = user_data;
  conn->dgram_lost++;
  return 0;
}

static int path_validation(ngtcp2_conn *quic, uint32_t flags, const ngtcp2_path *path,
                           const ngtcp2_path *fallback, ngtcp2_path_validation_result result,
                           void *user_data) {
  (void)quic;
  (void)fallback;
  km_conn *conn = user_data;
  bool ok = result == NGTCP2_PATH_VALIDATION_RESULT_SUCCESS;
  km_quic_path_validated(conn, path, ok);
  if (ok && !conn->is_client && (flags & NGTCP2_PATH_VALIDATION_FLAG_NEW_TOKEN) != 0) {
    offer_token(conn, &path->remote);
  }
  return 0;
}

static int update_key(ngtcp2_conn *quic, uint8_t *rx_secret, uint8_t *tx_secret,
                      ngtcp2_crypto_aead_ctx *rx_aead_ctx, uint8_t *rx_iv,
                      ngtcp2_crypto_aead_ctx *tx_aead_ctx, uint8_t *tx_iv,
                      const uint8_t *current_rx_secret, const uint8_t *current_tx_secret,
                      size_t secret_len, void *user_data) {
  km_conn *conn = user_data;
  conn->key_preparations++;
  return ngtcp2_crypto_update_key_cb(quic, rx_secret, tx_secret, rx_aead_ctx, rx_iv, tx_aead_ctx,
                                     tx_iv, current_rx_secret, current_tx_secret, secret_len,
                                     user_data);
}

static void fill_crypto(ngtcp2_callbacks *cb) {
  cb->encrypt = ngtcp2_crypto_encrypt_cb;
  cb->decrypt = ngtcp2_crypto_decrypt_cb;
  cb->hp_mask = ngtcp2_crypto_hp_mask_cb;
  cb->recv_crypto_data = recv_crypto_data;
  cb->update_key = update_key;
  cb->delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb;
  cb->delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb;
  cb->get_path_challenge_data2 = ngtcp2_crypto_get_path_challenge_data2_cb;
  cb->version_negotiation = ngtcp2_crypto_version_negotiation_cb;
}

static int on_retry(ngtcp2_conn *quic, const ngtcp2_pkt_hd *hd, void *user_data) {
  km_redial_retried(user_data);
  return ngtcp2_crypto_recv_retry_cb(quic, hd, user_data);
}

void km_quic_fill_callbacks(ngtcp2_callbacks *cb, bool client) {
  memset(cb, 0, sizeof *cb);
  fill_crypto(cb);
  cb->rand = random_bytes;
  cb->get_new_connection_id2 = new_connection_id;
  cb->remove_connection_id = remove_connection_id;
  cb->handshake_completed = handshake_completed;
  cb->handshake_confirmed = handshake_confirmed;
  cb->recv_stateless_reset2 = recv_stateless_reset;
  cb->dcid_status2 = dcid_status;
  cb->stream_open = stream_open;
  cb->recv_stream_data = recv_stream_data;
  cb->acked_stream_data_offset = acked_stream_data;
  cb->stream_reset = stream_reset;
  cb->recv_stop_sending = stop_sending;
  cb->stream_close = stream_close;
  cb->extend_max_stream_data = more_stream_data;
  cb->extend_max_local_streams_bidi = more_streams_bidi;
  cb->extend_max_local_streams_uni = more_streams_uni;
  cb->recv_datagram = recv_datagram;
  cb->lost_datagram = lost_datagram;
  cb->path_validation = path_validation;
  if (client) {
    cb->client_initial = ngtcp2_crypto_client_initial_cb;
    cb->recv_retry = on_retry;
    cb->recv_new_token = recv_new_token;
    cb->tls_early_data_rejected = early_data_rejected;
  } else {
    cb->recv_client_initial = ngtcp2_crypto_recv_client_initial_cb;
    cb->recv_rx_key = recv_rx_key;
  }
}
