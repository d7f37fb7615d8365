#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>

#include "endpoint/cid_table.h"
#include "test/endpoint/frames.h"
#include "test/endpoint/wrap.h"

enum { MARK = 16, PACKET_MAX = 65536, ACTIVE_CONNECTION_ID_LIMIT = 0x0e };

/* A datagram that begins with it is not to be sent, but what follows: two bytes of length, frames.
 */
static const uint8_t mark[MARK] = "forged packet: ";

static void (*watcher)(void *ctx, plain_packet *packet);
static void *watcher_ctx;
static uint64_t allowed_cids;

int __real_ngtcp2_crypto_encrypt_cb(uint8_t *dest, const ngtcp2_crypto_aead *aead,
                                    const ngtcp2_crypto_aead_ctx *aead_ctx,
                                    const uint8_t *plaintext, size_t plaintextlen,
                                    const uint8_t *nonce, size_t noncelen, const uint8_t *aad,
                                    size_t aadlen);
int __wrap_ngtcp2_crypto_encrypt_cb(uint8_t *dest, const ngtcp2_crypto_aead *aead,
                                    const ngtcp2_crypto_aead_ctx *aead_ctx,
                                    const uint8_t *plaintext, size_t plaintextlen,
                                    const uint8_t *nonce, size_t noncelen, const uint8_t *aad,
                                    size_t aadlen);
ngtcp2_ssize __real_ngtcp2_conn_encode_local_transport_params2(const ngtcp2_conn *conn,
                                                               uint8_t *dest, size_t cap);
ngtcp2_ssize __wrap_ngtcp2_conn_encode_local_transport_params2(const ngtcp2_conn *conn,
                                                               uint8_t *dest, size_t cap);

static void replace_marked(uint8_t *data, size_t len) {
  for (size_t i = 0; i + MARK + 2 <= len; i++) {
    if (memcmp(data + i, mark, MARK) == 0) {
      size_t frames = (size_t)data[i + MARK] << 8 | data[i + MARK + 1];
      assert_true(i + MARK + 2 + frames <= len);
      memmove(data, data + i + MARK + 2, frames);
      memset(data + frames, 0, len - frames); /* PADDING */
      return;
    }
  }
}

int __wrap_ngtcp2_crypto_encrypt_cb(uint8_t *dest, const ngtcp2_crypto_aead *aead,
                                    const ngtcp2_crypto_aead_ctx *aead_ctx,
                                    const uint8_t *plaintext, size_t plaintextlen,
                                    const uint8_t *nonce, size_t noncelen, const uint8_t *aad,
                                    size_t aadlen) {
  static uint8_t copy[PACKET_MAX];
  assert_true(plaintextlen <= sizeof copy && aadlen > 0);
  memcpy(copy, plaintext, plaintextlen);
  replace_marked(copy, plaintextlen);
  bool is_long = (aad[0] & 0x80) != 0;
  plain_packet packet = {
      .first_byte = aad[0],
      .dcid = is_long ? aad + 6 : aad + 1,
      .dcid_len = is_long ? aad[5] : KM_CID_LEN,
      .data = copy,
      .len = plaintextlen,
  };
  if (watcher != NULL) {
    watcher(watcher_ctx, &packet);
  }
  return __real_ngtcp2_crypto_encrypt_cb(dest, aead, aead_ctx, copy, plaintextlen, nonce, noncelen,
                                         aad, aadlen);
}

/* Parameters are triples of number, length and value (RFC 9000 section 18). */
ngtcp2_ssize __wrap_ngtcp2_conn_encode_local_transport_params2(const ngtcp2_conn *conn,
                                                               uint8_t *dest, size_t cap) {
  ngtcp2_ssize n = __real_ngtcp2_conn_encode_local_transport_params2(conn, dest, cap);
  if (allowed_cids == 0 || n < 0 || ngtcp2_conn_is_server2(conn)) {
    return n;
  }
  const uint8_t *at = dest, *end = dest + n;
  uint64_t id, len;
  while (take_varint(&at, end, &id) && take_varint(&at, end, &len) && len < (size_t)(end - at)) {
    if (id == ACTIVE_CONNECTION_ID_LIMIT) {
      uint8_t *length = dest + (at - dest) - 1;
      assert_true(len == 1 && allowed_cids >= 64 && allowed_cids < 16384);
      memmove(length + 3, length + 2, (size_t)(end - at) - 1);
      *length = 2;
      (void)put_varint(length + 1, allowed_cids);
      return n + 1;
    }
    at += len;
  }
  fail_msg("the client names no limit of connection ids");
  return n;
}

void packets_watch(void (*fn)(void *ctx, plain_packet *packet), void *ctx) {
  watcher = fn;
  watcher_ctx = ctx;
}

void packets_forge(lab_conn *c, const uint8_t *frames, size_t len) {
  uint8_t datagram[MARK + 2 + FORGED_MAX];
  assert_true(len <= FORGED_MAX);
  memcpy(datagram, mark, MARK);
  datagram[MARK] = (uint8_t)(len >> 8);
  datagram[MARK + 1] = (uint8_t)len;
  memcpy(datagram + MARK + 2, frames, len);
  assert_int_equal(km_conn_send_datagram(c->conn, datagram, MARK + 2 + len), 0);
}

void packets_allow_cids(uint64_t count) {
  allowed_cids = count;
}
