/* Any message to either side of the handshake, and as the value of the auth header: no crash, and
 * nobody is let in who did not sign. */
#include <stdlib.h>

#include "relay/handshake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

static void to_client(const uint8_t *data, size_t len) {
  static const uint8_t seed[KM_SECRET_KEY_BYTES] = {1};
  km_secret_key *key;
  check(km_secret_key_from_bytes(&key, seed) == 0);
  uint8_t out[KM_RELAY_HANDSHAKE_MAX];
  size_t out_len;
  km_relay_client_handshake hs;
  km_relay_client_handshake_init(&hs);
  int rv = km_relay_client_handshake_read(&hs, key, data, len, out, &out_len, NULL);
  check((hs.state == KM_RELAY_HS_FAILED) == (rv != 0));
  check(out_len == (rv == 0 && hs.state == KM_RELAY_HS_WAITING ? 98u : 0u));
  km_secret_key_free(key);
}

static void to_server(const uint8_t *data, size_t len) {
  static const uint8_t challenge[KM_RELAY_CHALLENGE_LEN] = {7};
  uint8_t out[KM_RELAY_HANDSHAKE_MAX];
  size_t out_len;
  km_relay_server_handshake hs;
  check(km_relay_server_handshake_init(&hs, NULL, challenge, out) == 17);
  int rv = km_relay_server_handshake_read(&hs, data, len, out, &out_len, NULL);
  if (rv == 0) {
    check(hs.state == KM_RELAY_HS_DECIDING);
    check(km_relay_challenge_verify(&hs.id, challenge, data + len - KM_RELAY_SIGNATURE_LEN));
  } else {
    check(hs.state == KM_RELAY_HS_FAILED);
    check((out_len > 0) == (rv == KM_ERR_RELAY_DENIED));
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  static const uint8_t exported[KM_RELAY_EXPORTED_LEN] = {9};
  to_client(data, len);
  to_server(data, len);
  km_relay_auth_header header;
  if (km_relay_auth_header_read(&header, (const char *)data, len) == 0) {
    (void)km_relay_auth_header_verify(&header, exported);
  }
  return 0;
}
