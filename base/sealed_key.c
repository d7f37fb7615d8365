/* In base64, integers big-endian:
 *
 *   version 1 | passes 4 | memory in KiB 4 | salt 16 | nonce 24 | sealed seed 48
 *
 * Authenticated with it: DOMAIN with its NUL, and all that stands before the sealed seed. */
#include "base/sealed_key.h"

#include <sodium.h>
#include <string.h>

#include "base/pkcs8.h"
#include "base/wire.h"

#define VERSION 1
#define DOMAIN "KeyMesh sealed key 1"
#define HEAD_BYTES (1 + 4 + 4 + KM_SEALED_SALT_BYTES + KM_SEALED_NONCE_BYTES)
#define BOX_BYTES (KM_SECRET_KEY_BYTES + crypto_aead_xchacha20poly1305_ietf_ABYTES)
#define TOTAL_BYTES (HEAD_BYTES + BOX_BYTES)
#define LINE 64 /* RFC 7468 section 2 */

_Static_assert(KM_SEALED_SALT_BYTES == crypto_pwhash_SALTBYTES, "libsodium's salt");
_Static_assert(KM_SEALED_NONCE_BYTES == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
               "libsodium's nonce");

static bool in_bounds(const km_sealed_config *c) {
  return c->passes >= 1 && c->passes <= KM_SEALED_PASSES_MAX &&
         c->memory_kib >= KM_SEALED_MEMORY_KIB_MIN && c->memory_kib <= KM_SEALED_MEMORY_KIB_MAX;
}

static int derive(uint8_t ret[crypto_aead_xchacha20poly1305_ietf_KEYBYTES], const char *passphrase,
                  size_t len, const km_sealed_config *c) {
  size_t memory = (size_t)c->memory_kib * 1024;
  int rc = crypto_pwhash(ret, crypto_aead_xchacha20poly1305_ietf_KEYBYTES, passphrase, len, c->salt,
                         c->passes, memory, crypto_pwhash_ALG_ARGON2ID13);
  return rc == 0 ? 0 : KM_ERR_NOMEM; /* its only way to fail within the bounds */
}

static void write_head(uint8_t ret[HEAD_BYTES], const km_sealed_config *c) {
  km_wr wr = km_wr_init(ret, HEAD_BYTES);
  km_wr_u8(&wr, VERSION);
  km_wr_be(&wr, c->passes, 4);
  km_wr_be(&wr, c->memory_kib, 4);
  km_wr_bytes(&wr, c->salt, sizeof c->salt);
  km_wr_bytes(&wr, c->nonce, sizeof c->nonce);
}

#define AD_BYTES (sizeof DOMAIN + HEAD_BYTES)

static void write_ad(uint8_t ret[AD_BYTES], const uint8_t head[HEAD_BYTES]) {
  memcpy(ret, DOMAIN, sizeof DOMAIN);
  memcpy(ret + sizeof DOMAIN, head, HEAD_BYTES);
}

/* --- writing ---------------------------------------------------------------------------------- */

static int write_text(const uint8_t bytes[TOTAL_BYTES], char *buf, size_t cap) {
  char b64[sodium_base64_ENCODED_LEN(TOTAL_BYTES, sodium_base64_VARIANT_ORIGINAL)];
  sodium_bin2base64(b64, sizeof b64, bytes, TOTAL_BYTES, sodium_base64_VARIANT_ORIGINAL);
  km_wr wr = km_wr_init((uint8_t *)buf, cap);
  km_wr_bytes(&wr, KM_SEALED_BEGIN "\n", sizeof KM_SEALED_BEGIN);
  for (size_t at = 0, n; at < sizeof b64 - 1; at += n) {
    size_t left = sizeof b64 - 1 - at;
    n = left < LINE ? left : LINE;
    km_wr_bytes(&wr, b64 + at, n);
    km_wr_u8(&wr, '\n');
  }
  km_wr_bytes(&wr, KM_SEALED_END "\n", sizeof KM_SEALED_END);
  km_wr_u8(&wr, '\0');
  return wr.failed ? KM_ERR_BUFFER : (int)((char *)wr.at - buf) - 1;
}

int km_sealed_key_encode(const uint8_t seed[KM_SECRET_KEY_BYTES], const char *passphrase,
                         size_t len, const km_sealed_config *config, char *buf, size_t cap) {
  uint8_t bytes[TOTAL_BYTES], ad[AD_BYTES], key[crypto_aead_xchacha20poly1305_ietf_KEYBYTES];
  if (!in_bounds(config)) {
    return KM_ERR_INVALID;
  }
  if (sodium_init() < 0) {
    return KM_ERR_CRYPTO;
  }
  int rv = derive(key, passphrase, len, config);
  if (rv == 0) {
    write_head(bytes, config);
    write_ad(ad, bytes);
    (void)crypto_aead_xchacha20poly1305_ietf_encrypt(bytes + HEAD_BYTES, NULL, seed,
                                                     KM_SECRET_KEY_BYTES, ad, sizeof ad, NULL,
                                                     config->nonce, key); /* always 0 */
    rv = write_text(bytes, buf, cap);
  }
  sodium_memzero(key, sizeof key);
  return rv;
}

/* --- reading ---------------------------------------------------------------------------------- */

bool km_sealed_key_is(const char *text, size_t len) {
  size_t body_len;
  return km_pem_body(KM_SEALED_BEGIN, KM_SEALED_END, text, len, &body_len) != NULL;
}

static bool read_text(uint8_t ret[TOTAL_BYTES], const char *text, size_t len) {
  size_t body_len, bytes_len;
  const char *body = km_pem_body(KM_SEALED_BEGIN, KM_SEALED_END, text, len, &body_len);
  return body != NULL &&
         sodium_base642bin(ret, TOTAL_BYTES, body, body_len, " \t\r\n", &bytes_len, NULL,
                           sodium_base64_VARIANT_ORIGINAL) == 0 &&
         bytes_len == TOTAL_BYTES;
}

static bool read_head(km_sealed_config *ret, const uint8_t bytes[TOTAL_BYTES]) {
  km_rd rd = km_rd_init(bytes, HEAD_BYTES);
  uint8_t version = km_rd_u8(&rd);
  ret->passes = (uint32_t)km_rd_be(&rd, 4);
  ret->memory_kib = (uint32_t)km_rd_be(&rd, 4);
  memcpy(ret->salt, bytes + 9, sizeof ret->salt);
  memcpy(ret->nonce, bytes + 9 + sizeof ret->salt, sizeof ret->nonce);
  return version == VERSION && in_bounds(ret);
}

int km_sealed_key_decode(uint8_t ret_seed[KM_SECRET_KEY_BYTES], const char *text, size_t text_len,
                         const char *passphrase, size_t len) {
  uint8_t bytes[TOTAL_BYTES], ad[AD_BYTES], key[crypto_aead_xchacha20poly1305_ietf_KEYBYTES];
  uint8_t seed[KM_SECRET_KEY_BYTES];
  km_sealed_config config;
  if (sodium_init() < 0) {
    return KM_ERR_CRYPTO;
  }
  if (!read_text(bytes, text, text_len) || !read_head(&config, bytes)) {
    return KM_ERR_BAD_KEY;
  }
  int rv = derive(key, passphrase, len, &config);
  if (rv == 0) {
    write_ad(ad, bytes);
    rv = crypto_aead_xchacha20poly1305_ietf_decrypt(seed, NULL, NULL, bytes + HEAD_BYTES, BOX_BYTES,
                                                    ad, sizeof ad, config.nonce, key) == 0
             ? 0
             : KM_ERR_CRYPTO;
  }
  if (rv == 0) {
    memcpy(ret_seed, seed, sizeof seed);
  }
  sodium_memzero(seed, sizeof seed);
  sodium_memzero(key, sizeof key);
  return rv;
}
