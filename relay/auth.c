#include "relay/auth.h"

#include <blake3.h>
#include <sodium/utils.h>
#include <string.h>

#include "base/wire.h"

/* Of the exported bytes the first half is signed, the second shown. */
enum { HALF = KM_RELAY_EXPORTED_LEN / 2, HEADER_BYTES = 32 + 1 + KM_RELAY_SIGNATURE_LEN + HALF };

/* What is signed for a challenge. */
static void derive(uint8_t ret[BLAKE3_OUT_LEN], const uint8_t challenge[KM_RELAY_CHALLENGE_LEN]) {
  blake3_hasher hasher;
  blake3_hasher_init_derive_key(&hasher, "iroh-relay handshake v1 challenge signature");
  blake3_hasher_update(&hasher, challenge, KM_RELAY_CHALLENGE_LEN);
  blake3_hasher_finalize(&hasher, ret, BLAKE3_OUT_LEN);
}

void km_relay_challenge_sign(uint8_t ret[KM_RELAY_SIGNATURE_LEN], const km_secret_key *key,
                             const uint8_t challenge[KM_RELAY_CHALLENGE_LEN]) {
  uint8_t message[BLAKE3_OUT_LEN];
  derive(message, challenge);
  km_secret_key_sign(key, message, sizeof message, ret);
}

bool km_relay_challenge_verify(const km_id *id, const uint8_t challenge[KM_RELAY_CHALLENGE_LEN],
                               const uint8_t signature[KM_RELAY_SIGNATURE_LEN]) {
  uint8_t message[BLAKE3_OUT_LEN];
  derive(message, challenge);
  return km_id_verify(id, message, sizeof message, signature) == 0;
}

void km_relay_auth_header_write(char ret[KM_RELAY_AUTH_HEADER_LEN + 1], const km_secret_key *key,
                                const uint8_t exported[KM_RELAY_EXPORTED_LEN]) {
  uint8_t bytes[HEADER_BYTES], signature[KM_RELAY_SIGNATURE_LEN];
  km_id id;
  km_secret_key_id(key, &id);
  km_secret_key_sign(key, exported, HALF, signature);
  km_wr wr = km_wr_init(bytes, sizeof bytes);
  km_wr_bytes(&wr, id.bytes, sizeof id.bytes);
  km_wr_varint(&wr, sizeof signature);
  km_wr_bytes(&wr, signature, sizeof signature);
  km_wr_bytes(&wr, exported + HALF, HALF);
  (void)sodium_bin2base64(ret, KM_RELAY_AUTH_HEADER_LEN + 1, bytes, sizeof bytes,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

int km_relay_auth_header_read(km_relay_auth_header *ret, const char *text, size_t len) {
  uint8_t bytes[HEADER_BYTES];
  size_t decoded = 0;
  const char *end = NULL;
  if (len != KM_RELAY_AUTH_HEADER_LEN ||
      sodium_base642bin(bytes, sizeof bytes, text, len, NULL, &decoded, &end,
                        sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0 ||
      end != text + len || decoded != sizeof bytes || bytes[32] != KM_RELAY_SIGNATURE_LEN ||
      km_id_from_bytes(&ret->id, bytes) != 0) {
    return KM_ERR_RELAY_PROTOCOL;
  }
  memcpy(ret->signature, bytes + 33, sizeof ret->signature);
  memcpy(ret->suffix, bytes + 33 + sizeof ret->signature, sizeof ret->suffix);
  return 0;
}

bool km_relay_auth_header_verify(const km_relay_auth_header *header,
                                 const uint8_t exported[KM_RELAY_EXPORTED_LEN]) {
  return sodium_memcmp(header->suffix, exported + HALF, HALF) == 0 &&
         km_id_verify(&header->id, exported, HALF, header->signature) == 0;
}
