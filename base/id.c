#include <keymesh/id.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/enc.h"
#include "base/env.h"

/* SubjectPublicKeyInfo of an Ed25519 key up to the key (RFC 8410 section 4). */
static const uint8_t spki_head[12] = {0x30, 0x2a, 0x30, 0x05, 0x06, 0x03,
                                      0x2b, 0x65, 0x70, 0x03, 0x21, 0x00};

int km_id_from_bytes(km_id *ret, const uint8_t bytes[KM_ID_BYTES]) {
  /* libsodium's own check of a point also refuses non-canonical encodings, small orders and points
   * outside the main subgroup; iroh takes all of them. Adding the neutral element only needs both
   * to decompress. */
  static const uint8_t neutral[KM_ID_BYTES] = {1};
  uint8_t sum[KM_ID_BYTES];
  if (crypto_core_ed25519_add(sum, bytes, neutral) != 0) {
    return KM_ERR_BAD_ID;
  }
  memcpy(ret->bytes, bytes, KM_ID_BYTES);
  return 0;
}

int km_id_parse(km_id *ret, const char *text, size_t len, km_errinfo *err) {
  uint8_t bytes[KM_ID_BYTES];
  if (len == KM_ID_HEX_LEN) {
    if (!km_hex_decode(bytes, sizeof bytes, text, len)) {
      return km_fail(err, KM_ERR_BAD_ID,
                     "not an endpoint id: 64 characters must be lower-case hex digits");
    }
  } else if (len == KM_ID_BASE32_LEN) {
    if (!km_base32_decode(KM_BASE32_RFC4648, bytes, text, len)) {
      return km_fail(err, KM_ERR_BAD_ID,
                     "not an endpoint id: 52 characters must be base32 (a to z, 2 to 7)");
    }
  } else {
    return km_fail(err, KM_ERR_BAD_ID,
                   "not an endpoint id: it has %zu characters, not 64 (hex) or 52 (base32)", len);
  }
  if (km_id_from_bytes(ret, bytes) != 0) {
    return km_fail(err, KM_ERR_BAD_ID,
                   "not an endpoint id: the bytes are not a public key; was it copied wholly?");
  }
  return 0;
}

static int copy_out(char *buf, size_t cap, const char *text) {
  size_t len = strlen(text);
  if (len >= cap) {
    return KM_ERR_BUFFER;
  }
  memcpy(buf, text, len + 1);
  return (int)len;
}

static void fingerprint(const km_id *id, char text[KM_ID_TEXT_CAP]) {
  uint8_t spki[sizeof spki_head + KM_ID_BYTES];
  memcpy(spki, spki_head, sizeof spki_head);
  memcpy(spki + sizeof spki_head, id->bytes, KM_ID_BYTES);
  uint8_t hash[crypto_hash_sha256_BYTES];
  (void)crypto_hash_sha256(hash, spki, sizeof spki); /* always 0 */
  static const char prefix[] = "sha256:";
  memcpy(text, prefix, sizeof prefix - 1);
  km_hex_encode(text + sizeof prefix - 1, hash, sizeof hash);
}

int km_id_format(const km_id *id, km_id_form form, char *buf, size_t cap) {
  char text[KM_ID_TEXT_CAP];
  switch (form) {
  case KM_ID_HEX:
    km_hex_encode(text, id->bytes, KM_ID_BYTES);
    break;
  case KM_ID_BASE32:
    km_base32_encode(KM_BASE32_RFC4648, text, id->bytes, KM_ID_BYTES);
    break;
  case KM_ID_Z32:
    km_base32_encode(KM_BASE32_Z, text, id->bytes, KM_ID_BYTES);
    break;
  case KM_ID_SHORT:
    km_hex_encode(text, id->bytes, KM_ID_SHORT_LEN / 2);
    break;
  case KM_ID_TLS_NAME:
    km_base32_encode(KM_BASE32_HEX, text, id->bytes, KM_ID_BYTES);
    memcpy(text + KM_ID_BASE32_LEN, ".iroh.invalid", sizeof ".iroh.invalid");
    break;
  case KM_ID_FINGERPRINT:
    fingerprint(id, text);
    break;
  default:
    return KM_ERR_INVALID;
  }
  return copy_out(buf, cap, text);
}

bool km_id_equal(const km_id *a, const km_id *b) {
  return memcmp(a->bytes, b->bytes, KM_ID_BYTES) == 0;
}

int km_id_verify(const km_id *id, const void *msg, size_t len,
                 const uint8_t sig[KM_SIGNATURE_BYTES]) {
  return crypto_sign_verify_detached(sig, msg, len, id->bytes) == 0 ? 0 : KM_ERR_CRYPTO;
}
