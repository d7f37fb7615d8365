#include "endpoint/quic_tls.h"

/* wolfSSL's headers redefine names of <ngtcp2/...> nowhere, but options.h must come first. */
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#include <wolfssl/quic.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/ed25519.h>

#include <ngtcp2/ngtcp2_crypto_wolfssl.h>
#include <sodium.h>
#include <string.h>

#include "base/secret_key.h"
#include "endpoint/keylog_io.h"

#ifdef WOLFSSL_SSLKEYLOGFILE
#error                                                                                             \
    "this wolfSSL writes every secret to ./sslkeylog.log: build it without --enable-keylog-export"
#endif

#define SPKI_BYTES 44
#define QUIC_PARAMS_EXTENSION 0x39 /* RFC 9001 section 8.2 */
#define EARLY_DATA_MAX UINT32_MAX  /* the only value QUIC allows (RFC 9001 section 4.6.1) */

static const uint8_t spki_prefix[SPKI_BYTES - KM_ID_BYTES] = {0x30, 0x2a, 0x30, 0x05, 0x06, 0x03,
                                                              0x2b, 0x65, 0x70, 0x03, 0x21, 0x00};

struct km_quic_tls {
  km_endpoint *ep;
  WOLFSSL_CTX *client, *server;
  WOLFSSL_SESSION *no_session; /* what is found by any session id */
  int keylog_fd;
};

static km_conn *conn_of(WOLFSSL *ssl) {
  ngtcp2_crypto_conn_ref *ref = wolfSSL_get_app_data(ssl);
  return ref == NULL ? NULL : ref->user_data;
}

static ngtcp2_conn *quic_of(ngtcp2_crypto_conn_ref *ref) {
  const km_conn *conn = ref->user_data;
  return conn->quic;
}

/* The one place where a peer's key is accepted. Runs before the peer's signature is checked by
 * wolfSSL, and before any application byte. */
static int verify_peer(int preverify, WOLFSSL_X509_STORE_CTX *store) {
  (void)preverify; /* wolfSSL's verdict on a chain; a raw key has none */
  WOLFSSL *ssl =
      wolfSSL_X509_STORE_CTX_get_ex_data(store, wolfSSL_get_ex_data_X509_STORE_CTX_idx());
  km_conn *conn = ssl == NULL ? NULL : conn_of(ssl);
  if (conn == NULL || store->totalCerts != 1 || store->certs == NULL ||
      store->certs[0].length != SPKI_BYTES ||
      memcmp(store->certs[0].buffer, spki_prefix, sizeof spki_prefix) != 0) {
    return 0;
  }
  km_id id;
  if (km_id_from_bytes(&id, store->certs[0].buffer + sizeof spki_prefix) != 0) {
    return 0;
  }
  if (conn->is_client && !km_id_equal(&id, &conn->remote_id)) {
    conn->wrong_peer_seen = true;
    conn->reached_id = id;
    return 0;
  }
  if (!conn->is_client && conn->remote_known && !km_id_equal(&id, &conn->remote_id)) {
    return 0; /* early data came from somebody else */
  }
  conn->remote_id = id;
  conn->remote_known = true;
  return 1;
}

/* Our order decides among the names that the client offers, as in iroh. */
static int select_alpn(WOLFSSL *ssl, const unsigned char **out, unsigned char *out_len,
                       const unsigned char *in, unsigned in_len, void *arg) {
  km_endpoint *ep = arg;
  km_conn *conn = conn_of(ssl);
  for (size_t p = 0; conn != NULL && p < ep->protocol_count; p++) {
    const km_protocol_entry *entry = &ep->protocols[p];
    for (unsigned i = 0; i < in_len && i + 1u + in[i] <= in_len; i += 1u + in[i]) {
      if (in[i] != entry->alpn_len || memcmp(in + i + 1, entry->alpn, entry->alpn_len) != 0) {
        continue;
      }
      if (conn->alpn == NULL) {
        conn->alpn = km_env_alloc(&ep->env, entry->alpn_len + 1);
        if (conn->alpn == NULL) {
          return SSL_TLSEXT_ERR_ALERT_FATAL;
        }
        memcpy(conn->alpn, entry->alpn, entry->alpn_len + 1);
        conn->cb = entry->conn;
        conn->ctx = entry->ctx;
      }
      *out = in + i + 1;
      *out_len = in[i];
      return SSL_TLSEXT_ERR_OK;
    }
  }
  if (conn != NULL) {
    conn->alpn_refused = true;
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* Accepting side: whom a resumed handshake is with. Its ticket is the only one that was opened. */
static bool take_ticket_peer(km_conn *conn) {
  if (!conn->remote_known && conn->ticket_number != 0) {
    conn->remote_id = conn->ticket_peer;
    conn->remote_known = true;
  }
  return conn->remote_known;
}

bool km_quic_tls_use_early_ticket(km_conn *conn) {
  return conn->ticket_number != 0 && km_ticket_guard_use(conn->ep->tickets, conn->ticket_number) &&
         take_ticket_peer(conn);
}

/* wolfSSL's hook for session tickets; see ticket_guard.h for what we put in them. */
static int seal_or_open_ticket(WOLFSSL *ssl, unsigned char name[WOLFSSL_TICKET_NAME_SZ],
                               unsigned char iv[WOLFSSL_TICKET_IV_SZ],
                               unsigned char mac[WOLFSSL_TICKET_MAC_SZ], int seal,
                               unsigned char *body, int len, int *out_len, void *arg) {
  km_endpoint *ep = arg;
  km_conn *conn = conn_of(ssl);
  km_ts now = km_endpoint_now(ep);
  /* wolfSSL selects the ALPN before it looks at tickets (tls13.c, DoTls13ClientHello). */
  if (conn == NULL || conn->alpn == NULL || len < 0) {
    return WOLFSSL_TICKET_RET_REJECT;
  }
  if (seal) {
    bool known = conn->remote_known || (wolfSSL_session_reused(ssl) && take_ticket_peer(conn));
    if (!known || *out_len < len + (int)KM_TICKET_OVERHEAD) {
      return WOLFSSL_TICKET_RET_REJECT;
    }
    km_ticket_guard_seal(ep->tickets, &conn->remote_id, conn->alpn, body, (size_t)len, name, iv,
                         mac, now);
    *out_len = len + (int)KM_TICKET_OVERHEAD;
    return WOLFSSL_TICKET_RET_OK;
  }
  km_id peer;
  uint64_t number;
  if (!km_ticket_guard_open(ep->tickets, conn->alpn, body, (size_t)len, name, iv, mac, now, &peer,
                            &number)) {
    return WOLFSSL_TICKET_RET_REJECT;
  }
  /* wolfSSL opens every ticket that a client offers, over both flights of a HelloRetryRequest, and
   * does not tell which one it resumes from. With one only there is nothing to confuse. */
  if (conn->ticket_number != 0 && conn->ticket_number != number) {
    return WOLFSSL_TICKET_RET_REJECT;
  }
  conn->ticket_peer = peer;
  conn->ticket_number = number;
  *out_len = len - (int)KM_TICKET_OVERHEAD;
  return WOLFSSL_TICKET_RET_OK;
}

/* Client: a ticket came. It is kept with the transport parameters that 0-RTT must assume. */
static int keep_ticket(WOLFSSL *ssl, WOLFSSL_SESSION *session) {
  km_conn *conn = conn_of(ssl);
  if (conn == NULL || conn->quic == NULL || !conn->is_client) {
    return 0;
  }
  unsigned char *der = NULL;
  int len = wolfSSL_i2d_SSL_SESSION(session, &der);
  uint8_t params[512];
  ngtcp2_ssize params_len =
      ngtcp2_conn_encode_0rtt_transport_params(conn->quic, params, sizeof params);
  if (len > 0 && params_len > 0) {
    km_session_cache_put_ticket(conn->ep->sessions, &conn->remote_id, conn->alpn, der, (size_t)len,
                                params, (size_t)params_len);
    conn->progress.ticket_received = true;
  }
  if (der != NULL) {
    if (len > 0) {
      sodium_memzero(der, (size_t)len);
    }
    XFREE(der, NULL, DYNAMIC_TYPE_OPENSSL);
  }
  return 0; /* the session stays wolfSSL's */
}

static void write_keylog(const WOLFSSL *ssl, const char *line) {
  ngtcp2_crypto_conn_ref *ref = wolfSSL_get_app_data(ssl);
  if (ref == NULL) {
    return;
  }
  const km_conn *conn = ref->user_data;
  km_keylog_write(conn->ep->tls->keylog_fd, line);
}

static int load_identity(WOLFSSL_CTX *ctx, const km_endpoint *ep) {
  uint8_t spki[SPKI_BYTES], der[128];
  ed25519_key key;
  int rv = KM_ERR_TLS;
  if (wc_ed25519_init(&key) != 0) {
    return rv;
  }
  memcpy(spki, spki_prefix, sizeof spki_prefix);
  memcpy(spki + sizeof spki_prefix, ep->id.bytes, KM_ID_BYTES);
  /* The encoding must hold the public key too, or signing fails later. */
  int len = -1;
  if (wc_ed25519_import_private_key(km_secret_key_seed(ep->key), KM_SECRET_KEY_BYTES, ep->id.bytes,
                                    KM_ID_BYTES, &key) == 0) {
    len = wc_Ed25519KeyToDer(&key, der, sizeof der);
  }
  if (len > 0 &&
      wolfSSL_CTX_use_certificate_buffer(ctx, spki, sizeof spki, WOLFSSL_FILETYPE_ASN1) ==
          WOLFSSL_SUCCESS &&
      wolfSSL_CTX_use_PrivateKey_buffer(ctx, der, len, WOLFSSL_FILETYPE_ASN1) == WOLFSSL_SUCCESS) {
    rv = 0;
  }
  sodium_memzero(der, sizeof der);
  wc_ed25519_free(&key);
  return rv;
}

static int configure(WOLFSSL_CTX *ctx, km_quic_tls *tls, bool server) {
  static const char ciphers[] =
      "TLS13-AES128-GCM-SHA256:TLS13-AES256-GCM-SHA384:TLS13-CHACHA20-POLY1305-SHA256";
  const km_endpoint *ep = tls->ep;
  /* An accepting endpoint takes the hybrid group from anyone who offers it. */
  bool pq = ep->opt.prefer_post_quantum || server;
  char groups[64];
  strncpy(groups, pq ? "X25519MLKEM768:X25519" : "X25519", sizeof groups - 1);
  groups[sizeof groups - 1] = '\0';
  char type[1] = {WOLFSSL_CERT_TYPE_RPK};
  int rv = server ? ngtcp2_crypto_wolfssl_configure_server_context(ctx)
                  : ngtcp2_crypto_wolfssl_configure_client_context(ctx);
  if (rv != 0 || load_identity(ctx, ep) != 0 ||
      wolfSSL_CTX_set_client_cert_type(ctx, type, 1) != WOLFSSL_SUCCESS ||
      wolfSSL_CTX_set_server_cert_type(ctx, type, 1) != WOLFSSL_SUCCESS ||
      wolfSSL_CTX_set_cipher_list(ctx, ciphers) != WOLFSSL_SUCCESS ||
      wolfSSL_CTX_set1_groups_list(ctx, groups) != WOLFSSL_SUCCESS) {
    return KM_ERR_TLS;
  }
  /* RFC 7250 keys are proven by Ed25519 signatures only (iroh: 0x0807). */
  if (wolfSSL_CTX_set1_sigalgs_list(ctx, "ED25519") != WOLFSSL_SUCCESS) {
    return KM_ERR_TLS;
  }
  wolfSSL_CTX_set_verify(
      ctx, WOLFSSL_VERIFY_PEER | (server ? WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), verify_peer);
  /* Resumption works by tickets only: wolfSSL's own cache would bring back sessions whose peer
   * nobody knows. */
  wolfSSL_CTX_set_session_cache_mode(ctx, WOLFSSL_SESS_CACHE_OFF);
  if (tls->keylog_fd >= 0) {
    wolfSSL_CTX_set_keylog_callback(ctx, write_keylog);
  }
  return 0;
}

static int make_client(km_quic_tls *tls) {
  tls->client = wolfSSL_CTX_new(wolfTLSv1_3_client_method());
  if (tls->client == NULL) {
    return KM_ERR_NOMEM;
  }
  int rv = configure(tls->client, tls, false);
  if (rv == 0) {
    wolfSSL_CTX_UseSessionTicket(tls->client);
    wolfSSL_CTX_sess_set_new_cb(tls->client, keep_ticket);
  }
  return rv;
}

/* wolfSSL takes early data only of sessions that it could remove from a cache, so that none is used
 * twice. Our cache is the ticket guard, which has refused used tickets before this is called. */
static void session_removed(WOLFSSL_CTX *ctx, WOLFSSL_SESSION *session) {
  (void)ctx;
  (void)session;
}

/* wolfSSL takes an identity of 32 bytes for the name of a session in its cache, which the whole
 * process shares (DoClientTicket_ex), whatever the cache mode of the context. No such session is of
 * a peer of ours. One without a protocol version is refused, and keeps wolfSSL from looking on. */
static WOLFSSL_SESSION *find_session(WOLFSSL *ssl, const unsigned char *id, int len, int *copy) {
  (void)id;
  (void)len;
  const km_conn *conn = conn_of(ssl);
  *copy = 1; /* it stays ours */
  return conn == NULL ? NULL : conn->ep->tls->no_session;
}

static int make_server(km_quic_tls *tls) {
  tls->server = wolfSSL_CTX_new(wolfTLSv1_3_server_method());
  if (tls->server == NULL) {
    return KM_ERR_NOMEM;
  }
  int rv = configure(tls->server, tls, true);
  if (rv != 0) {
    return rv;
  }
  wolfSSL_CTX_set_alpn_select_cb(tls->server, select_alpn, tls->ep);
  if (wolfSSL_CTX_set_TicketEncCb(tls->server, seal_or_open_ticket) != WOLFSSL_SUCCESS ||
      wolfSSL_CTX_set_TicketEncCtx(tls->server, tls->ep) != WOLFSSL_SUCCESS ||
      wolfSSL_CTX_set_TicketHint(tls->server, (int)KM_TICKET_LIFETIME_S) != WOLFSSL_SUCCESS) {
    return KM_ERR_TLS;
  }
  wolfSSL_CTX_sess_set_remove_cb(tls->server, session_removed);
  tls->no_session = wolfSSL_SESSION_new();
  if (tls->no_session == NULL) {
    return KM_ERR_NOMEM;
  }
  wolfSSL_CTX_sess_set_get_cb(tls->server, find_session);
  if (tls->ep->opt.early_data && wolfSSL_CTX_set_max_early_data(tls->server, EARLY_DATA_MAX) < 0) {
    return KM_ERR_TLS;
  }
  return 0;
}

int km_quic_tls_new(km_quic_tls **ret, km_endpoint *ep, const char *keylog_file, km_errinfo *err) {
  if (wolfSSL_Init() != WOLFSSL_SUCCESS) { /* counted by wolfSSL: cheap after the first */
    return km_fail(err, KM_ERR_TLS, "the TLS library could not be initialised");
  }
  km_quic_tls *tls = km_env_zalloc(&ep->env, 1, sizeof *tls);
  if (tls == NULL) {
    wolfSSL_Cleanup();
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  tls->ep = ep;
  tls->keylog_fd = -1;
  int rv = 0;
  if (keylog_file != NULL) {
    tls->keylog_fd = km_keylog_open(keylog_file, err);
    if (tls->keylog_fd < 0) {
      rv = tls->keylog_fd;
      km_quic_tls_free(tls);
      return rv;
    }
  }
  rv = make_client(tls);
  if (rv == 0) {
    rv = make_server(tls);
  }
  if (rv != 0) {
    km_quic_tls_free(tls);
    return km_fail(err, rv, "the TLS library refused its configuration");
  }
  *ret = tls;
  return 0;
}

void km_quic_tls_free(km_quic_tls *tls) {
  if (tls == NULL) {
    return;
  }
  wolfSSL_CTX_free(tls->client);
  wolfSSL_CTX_free(tls->server);
  wolfSSL_SESSION_free(tls->no_session);
  if (tls->keylog_fd >= 0) {
    km_keylog_close(tls->keylog_fd);
  }
  km_env_free(&tls->ep->env, tls);
  wolfSSL_Cleanup();
}

/* Offers a stored session. What wolfSSL refuses is dropped: the handshake is a full one then. */
static bool offer_ticket(km_conn *conn, km_session_bytes *ret_params) {
  km_endpoint *ep = conn->ep;
  km_session_bytes ticket;
  if (!km_session_cache_take_ticket(ep->sessions, &conn->remote_id, conn->alpn, &ticket,
                                    ret_params)) {
    return false;
  }
  const unsigned char *p = ticket.ptr;
  WOLFSSL_SESSION *session = wolfSSL_d2i_SSL_SESSION(NULL, &p, (long)ticket.len);
  bool ok = session != NULL && wolfSSL_set_session(conn->ssl, session) == WOLFSSL_SUCCESS;
  bool early = ok && wolfSSL_SESSION_get_max_early_data(session) > 0;
  if (session != NULL) {
    wolfSSL_SESSION_free(session);
  }
  sodium_memzero(ticket.ptr, ticket.len);
  km_env_free(&ep->env, ticket.ptr);
  if (!early) {
    km_env_free(&ep->env, ret_params->ptr);
    memset(ret_params, 0, sizeof *ret_params);
  }
  return early;
}

static int start_client(km_conn *conn, bool early, km_session_bytes *ret_params) {
  wolfSSL_set_connect_state(conn->ssl);
  if (wolfSSL_UseALPN(conn->ssl, conn->alpn, (unsigned)strlen(conn->alpn),
                      WOLFSSL_ALPN_FAILED_ON_MISMATCH) != WOLFSSL_SUCCESS) {
    return KM_ERR_TLS;
  }
  /* Shares for both groups, or a server without the hybrid one costs a round trip. */
  if (conn->ep->opt.prefer_post_quantum &&
      (wolfSSL_UseKeyShare(conn->ssl, WOLFSSL_X25519MLKEM768) != WOLFSSL_SUCCESS ||
       wolfSSL_UseKeyShare(conn->ssl, WOLFSSL_ECC_X25519) != WOLFSSL_SUCCESS)) {
    return KM_ERR_TLS;
  }
  wolfSSL_UseSessionTicket(conn->ssl);
  if (early && offer_ticket(conn, ret_params)) {
    wolfSSL_set_quic_early_data_enabled(conn->ssl, 1);
    conn->early_offered = true;
  }
  return 0;
}

int km_quic_tls_start(km_conn *conn, bool early, km_session_bytes *ret_params) {
  km_quic_tls *tls = conn->ep->tls;
  memset(ret_params, 0, sizeof *ret_params);
  conn->ssl = wolfSSL_new(conn->is_client ? tls->client : tls->server);
  if (conn->ssl == NULL) {
    return KM_ERR_NOMEM;
  }
  conn->ref.get_conn = quic_of;
  conn->ref.user_data = conn;
  wolfSSL_set_app_data(conn->ssl, &conn->ref);
  wolfSSL_set_quic_transport_version(conn->ssl, QUIC_PARAMS_EXTENSION);
  if (conn->is_client) {
    int rv = start_client(conn, early, ret_params);
    if (rv != 0) {
      km_quic_tls_stop(conn);
    }
    return rv;
  }
  wolfSSL_set_accept_state(conn->ssl);
  if (conn->ep->opt.early_data) {
    wolfSSL_set_quic_early_data_enabled(conn->ssl, 1);
  }
  return 0;
}

void km_quic_tls_stop(km_conn *conn) {
  if (conn->ssl != NULL) {
    wolfSSL_set_app_data(conn->ssl, NULL);
    wolfSSL_free(conn->ssl);
    conn->ssl = NULL;
  }
}

int km_quic_tls_finished(km_conn *conn) {
  char *name = NULL;
  unsigned short len = 0;
  bool has_alpn = wolfSSL_ALPN_GetProtocol(conn->ssl, &name, &len) == WOLFSSL_SUCCESS;
  conn->cipher = wolfSSL_get_cipher_name(conn->ssl);
  conn->group = wolfSSL_get_curve_name(conn->ssl);
  if (conn->group == NULL) {
    conn->group = "";
  }
  conn->progress.resumed = wolfSSL_session_reused(conn->ssl) != 0;
  if (!has_alpn || conn->alpn == NULL || len != strlen(conn->alpn) ||
      memcmp(name, conn->alpn, len) != 0) {
    return KM_ERR_ALPN_REFUSED; /* wolfSSL lets a peer without the extension pass */
  }
  if (conn->progress.resumed) {
    /* A client resumes only with tickets of the peer it dials; a server reads the id in them. */
    conn->remote_known = conn->is_client || take_ticket_peer(conn);
    if (!conn->is_client && conn->early == KM_EARLY_NONE) {
      /* Used before: then it gave no early data, and the keys are fresh anyway. */
      if (!km_ticket_guard_use(conn->ep->tickets, conn->ticket_number)) {
        CONN_LOG(conn, KM_LOG_DEBUG, KM_LOGC_TLS, "ticket-reused", "%s", "");
      }
    }
  }
  return conn->remote_known ? 0 : KM_ERR_TLS;
}

bool km_quic_tls_early_accepted(const km_conn *conn) {
  return wolfSSL_get_early_data_status(conn->ssl) == WOLFSSL_EARLY_DATA_ACCEPTED;
}

const char *km_tls_alert_name(uint8_t alert) {
  static const struct {
    uint8_t alert;
    const char *name;
  } names[] = {{0, "close notify"},
               {10, "unexpected message"},
               {20, "bad record"},
               {40, "handshake failure"},
               {42, "bad certificate"},
               {43, "unsupported certificate"},
               {44, "certificate revoked"},
               {45, "certificate expired"},
               {46, "certificate unknown"},
               {47, "illegal parameter"},
               {48, "unknown key"},
               {49, "access denied"},
               {50, "decode error"},
               {51, "decrypt error"},
               {70, "protocol version"},
               {71, "insufficient security"},
               {80, "internal error"},
               {86, "inappropriate fallback"},
               {109, "missing extension"},
               {110, "unsupported extension"},
               {112, "unrecognized name"},
               {115, "unknown PSK identity"},
               {116, "certificate required"},
               {120, "no application protocol"}};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    if (names[i].alert == alert) {
      return names[i].name;
    }
  }
  return "TLS alert";
}
