/* What stands for TLS: packets are not encrypted, the handshake only tells transport parameters. */
#include "test/endpoint/moving_tls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { OVERHEAD = 16 };

/* --- no cryptography ------------------------------------------------------------------------- */

static const ngtcp2_crypto_ctx context = {.aead = {.max_overhead = OVERHEAD},
                                          .max_encryption = UINT64_MAX,
                                          .max_decryption_failure = UINT64_MAX};
static const uint8_t iv[12], secret[32];
static const ngtcp2_crypto_aead_ctx aead;
static const ngtcp2_crypto_cipher_ctx cipher;

static int on_encrypt(uint8_t *dest, const ngtcp2_crypto_aead *algorithm,
                      const ngtcp2_crypto_aead_ctx *ctx, const uint8_t *text, size_t len,
                      const uint8_t *nonce, size_t nonce_len, const uint8_t *aad, size_t aad_len) {
  (void)algorithm, (void)ctx, (void)aad, (void)aad_len;
  memmove(dest, text, len);
  memset(dest + len, 0, OVERHEAD);
  memcpy(dest + len, nonce, nonce_len);
  return 0;
}

static int on_decrypt(uint8_t *dest, const ngtcp2_crypto_aead *algorithm,
                      const ngtcp2_crypto_aead_ctx *ctx, const uint8_t *text, size_t len,
                      const uint8_t *nonce, size_t nonce_len, const uint8_t *aad, size_t aad_len) {
  (void)algorithm, (void)ctx, (void)aad, (void)aad_len;
  if (len < OVERHEAD || memcmp(text + len - OVERHEAD, nonce, nonce_len) != 0) {
    return NGTCP2_ERR_DECRYPT; /* a packet so old that its number is taken for another */
  }
  memmove(dest, text, len - OVERHEAD);
  return 0;
}

static int on_hp_mask(uint8_t *dest, const ngtcp2_crypto_cipher *hp,
                      const ngtcp2_crypto_cipher_ctx *ctx, const uint8_t *sample) {
  (void)hp, (void)ctx, (void)sample;
  memset(dest, 0, NGTCP2_HP_MASKLEN);
  return 0;
}

static int on_update_key(ngtcp2_conn *conn, uint8_t *rx_secret, uint8_t *tx_secret,
                         ngtcp2_crypto_aead_ctx *rx_ctx, uint8_t *rx_iv,
                         ngtcp2_crypto_aead_ctx *tx_ctx, uint8_t *tx_iv, const uint8_t *current_rx,
                         const uint8_t *current_tx, size_t len, void *user_data) {
  (void)conn, (void)rx_ctx, (void)tx_ctx, (void)current_rx, (void)current_tx, (void)user_data;
  memset(rx_secret, 0, len);
  memset(tx_secret, 0, len);
  memset(rx_iv, 0, sizeof iv);
  memset(tx_iv, 0, sizeof iv);
  return 0;
}

static void on_delete_aead(ngtcp2_conn *conn, ngtcp2_crypto_aead_ctx *ctx, void *user_data) {
  (void)conn, (void)ctx, (void)user_data;
}

static void on_delete_cipher(ngtcp2_conn *conn, ngtcp2_crypto_cipher_ctx *ctx, void *user_data) {
  (void)conn, (void)ctx, (void)user_data;
}

/* --- a handshake that only tells transport parameters ----------------------------------------- */

static void install_initial(ngtcp2_conn *conn) {
  ngtcp2_conn_set_initial_crypto_ctx(conn, &context);
  assert_int_equal(
      ngtcp2_conn_install_initial_key(conn, &aead, iv, &cipher, &aead, iv, &cipher, sizeof iv), 0);
}

static void install_handshake(ngtcp2_conn *conn) {
  ngtcp2_conn_set_crypto_ctx(conn, &context);
  assert_int_equal(ngtcp2_conn_install_rx_handshake_key(conn, &aead, iv, sizeof iv, &cipher), 0);
  assert_int_equal(ngtcp2_conn_install_tx_handshake_key(conn, &aead, iv, sizeof iv, &cipher), 0);
}

static void install_tx(ngtcp2_conn *conn) {
  assert_int_equal(
      ngtcp2_conn_install_tx_key(conn, secret, sizeof secret, &aead, iv, sizeof iv, &cipher), 0);
}

static void install_rx(ngtcp2_conn *conn) {
  assert_int_equal(
      ngtcp2_conn_install_rx_key(conn, secret, sizeof secret, &aead, iv, sizeof iv, &cipher), 0);
}

static void submit(ngtcp2_conn *conn, ngtcp2_encryption_level level, const uint8_t *data,
                   size_t len) {
  assert_int_equal(ngtcp2_conn_submit_crypto_data(conn, level, data, len), 0);
}

/* Length, then the parameters. ngtcp2 keeps the pointer: it is of the peer's side. */
static void submit_params(moving_side *s, ngtcp2_encryption_level level) {
  moving_side *peer = s->server ? &s->world->client : &s->world->server;
  ngtcp2_ssize n =
      ngtcp2_conn_encode_local_transport_params2(s->conn, peer->hello, sizeof peer->hello);
  assert_true(n > 0 && n <= 255);
  peer->hello_len = (size_t)n;
  submit(s->conn, level, peer->hello, peer->hello_len);
}

static int on_client_initial(ngtcp2_conn *conn, void *user_data) {
  install_initial(conn);
  submit_params(user_data, NGTCP2_ENCRYPTION_LEVEL_INITIAL);
  return 0;
}

static int on_recv_client_initial(ngtcp2_conn *conn, const ngtcp2_cid *dcid, void *user_data) {
  (void)dcid, (void)user_data;
  install_initial(conn);
  return 0;
}

static int take_params(moving_side *s) {
  return ngtcp2_conn_decode_and_set_remote_transport_params(s->conn, s->hello, s->hello_len);
}

static const uint8_t done[] = "done";

static int server_crypto(moving_side *s, ngtcp2_encryption_level level, uint64_t end) {
  if (level == NGTCP2_ENCRYPTION_LEVEL_INITIAL && end == s->hello_len) {
    install_handshake(s->conn);
    assert_int_equal(take_params(s), 0);
    install_tx(s->conn);
    submit(s->conn, NGTCP2_ENCRYPTION_LEVEL_INITIAL, done, sizeof done);
    submit_params(s, NGTCP2_ENCRYPTION_LEVEL_HANDSHAKE);
  }
  if (level == NGTCP2_ENCRYPTION_LEVEL_HANDSHAKE && end == sizeof done) {
    install_rx(s->conn);
    ngtcp2_conn_tls_handshake_completed(s->conn);
    s->world->completed = true;
  }
  return 0;
}

static int client_crypto(moving_side *s, ngtcp2_encryption_level level, uint64_t end) {
  if (level == NGTCP2_ENCRYPTION_LEVEL_INITIAL && end == sizeof done) {
    install_handshake(s->conn);
  }
  if (level == NGTCP2_ENCRYPTION_LEVEL_HANDSHAKE && end == s->hello_len) {
    assert_int_equal(take_params(s), 0);
    install_rx(s->conn);
    install_tx(s->conn);
    submit(s->conn, NGTCP2_ENCRYPTION_LEVEL_HANDSHAKE, done, sizeof done);
    ngtcp2_conn_tls_handshake_completed(s->conn);
  }
  return 0;
}

static int on_crypto(ngtcp2_conn *conn, ngtcp2_encryption_level level, uint64_t offset,
                     const uint8_t *data, size_t len, void *user_data) {
  (void)conn, (void)data;
  moving_side *s = user_data;
  return s->server ? server_crypto(s, level, offset + len) : client_crypto(s, level, offset + len);
}

void moving_tls_fill(ngtcp2_callbacks *cb) {
  *cb = (ngtcp2_callbacks){.client_initial = on_client_initial,
                           .recv_client_initial = on_recv_client_initial,
                           .recv_crypto_data = on_crypto,
                           .encrypt = on_encrypt,
                           .decrypt = on_decrypt,
                           .hp_mask = on_hp_mask,
                           .update_key = on_update_key,
                           .delete_crypto_aead_ctx = on_delete_aead,
                           .delete_crypto_cipher_ctx = on_delete_cipher};
}
