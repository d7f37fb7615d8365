/* TLS 1.3 with raw public keys (RFC 7250), Ed25519 on both sides, through wolfSSL's QUIC API.
 *
 * wolfSSL proves that the peer owns the key it shows and accepts any key; who that may be is
 * decided here, in the verify callback. Identity of a resumed session comes from its ticket. */
#ifndef KM_ENDPOINT_QUIC_TLS_H
#define KM_ENDPOINT_QUIC_TLS_H

#include "endpoint/conn_impl.h"

KM_NODISCARD int km_quic_tls_new(km_quic_tls **ret, km_endpoint *ep, const char *keylog_file,
                                 km_errinfo *err);
void km_quic_tls_free(km_quic_tls *tls);

/* Makes conn->ssl. A dialling connection with `early` takes a ticket out of the cache and sets
 * conn->early_offered when there was one that allows early data; its transport parameters are
 * returned for ngtcp2, freed by the caller. */
KM_NODISCARD int km_quic_tls_start(km_conn *conn, bool early, km_session_bytes *ret_params);
void km_quic_tls_stop(km_conn *conn);

/* Accepting side, when early data was agreed: uses the ticket up and takes the peer from it. False:
 * it was used before, or there is none. */
KM_NODISCARD bool km_quic_tls_use_early_ticket(km_conn *conn);

/* After the handshake: takes the negotiated protocol, cipher and group over into `conn`.
 * 0, or KM_ERR_ALPN_REFUSED or KM_ERR_TLS when the peer left something out. */
KM_NODISCARD int km_quic_tls_finished(km_conn *conn);

/* Dialling side, after the handshake: the peer took the early data. */
bool km_quic_tls_early_accepted(const km_conn *conn);

/* A TLS alert description in words, "bad certificate". Static. */
const char *km_tls_alert_name(uint8_t alert);

#define KM_TLS_ALERT_UNKNOWN_CA 48
#define KM_TLS_ALERT_NO_APPLICATION_PROTOCOL 120
#define KM_QUIC_CRYPTO_ERROR 0x100 /* + alert (RFC 9001 section 4.8) */

#endif /* KM_ENDPOINT_QUIC_TLS_H */
