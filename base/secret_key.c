#include "base/secret_key.h"

#include <sodium.h>
#include <string.h>

#include "base/enc.h"
#include "base/env.h"
#include "base/pkcs8.h"

/* Lives in sodium_malloc's memory: locked, fenced by guard pages, wiped when freed. */
struct km_secret_key {
  uint8_t seed[KM_SECRET_KEY_BYTES];
  uint8_t expanded[crypto_sign_ed25519_SECRETKEYBYTES]; /* seed and public key */
  km_id id;
};

int km_secret_key_from_bytes(km_secret_key **ret, const uint8_t seed[KM_SECRET_KEY_BYTES]) {
  if (ret == NULL || seed == NULL) {
    return KM_ERR_INVALID;
  }
  if (sodium_init() < 0) {
    return KM_ERR_CRYPTO;
  }
  km_secret_key *key = sodium_malloc(sizeof *key);
  if (key == NULL) {
    return KM_ERR_NOMEM;
  }
  memcpy(key->seed, seed, sizeof key->seed);
  crypto_sign_ed25519_seed_keypair(key->id.bytes, key->expanded, key->seed);
  *ret = key;
  return 0;
}

int km_secret_key_generate(km_secret_key **ret) {
  uint8_t seed[KM_SECRET_KEY_BYTES];
  if (sodium_init() < 0) {
    return KM_ERR_CRYPTO;
  }
  randombytes_buf(seed, sizeof seed);
  int rv = km_secret_key_from_bytes(ret, seed);
  sodium_memzero(seed, sizeof seed);
  return rv;
}

/* iroh's rule, the same as for ids: the length decides between the two forms. */
static bool decode_line(uint8_t ret[KM_SECRET_KEY_BYTES], const char *text, size_t len) {
  if (len == 2 * KM_SECRET_KEY_BYTES) {
    return km_hex_decode(ret, KM_SECRET_KEY_BYTES, text, len);
  }
  return len == KM_BASE32_LEN(KM_SECRET_KEY_BYTES) &&
         km_base32_decode(KM_BASE32_RFC4648, ret, text, len);
}

int km_secret_key_parse(km_secret_key **ret, const char *text, size_t len, km_errinfo *err) {
  uint8_t seed[KM_SECRET_KEY_BYTES];
  if (ret == NULL || text == NULL) {
    return km_fail(err, KM_ERR_BAD_KEY, "no secret key was given");
  }
  /* The text is never quoted in the sentence: it may be a key with one wrong character. */
  if (!decode_line(seed, text, len) && !km_pem_decode(seed, text, len)) {
    sodium_memzero(seed, sizeof seed);
    return km_fail(err, KM_ERR_BAD_KEY,
                   "not a secret key: that is 64 lower-case hex digits, 52 base32 letters or a "
                   "PEM block '%s'",
                   KM_PEM_BEGIN);
  }
  int rv = km_secret_key_from_bytes(ret, seed);
  sodium_memzero(seed, sizeof seed);
  return rv == 0 ? 0 : km_fail(err, rv, NULL);
}

int km_secret_key_copy(km_secret_key **ret, const km_secret_key *key) {
  return key == NULL ? KM_ERR_INVALID : km_secret_key_from_bytes(ret, key->seed);
}

void km_secret_key_free(km_secret_key *key) {
  sodium_free(key);
}

void km_secret_key_id(const km_secret_key *key, km_id *ret) {
  *ret = key->id;
}

void km_secret_key_bytes(const km_secret_key *key, uint8_t ret[KM_SECRET_KEY_BYTES]) {
  memcpy(ret, key->seed, KM_SECRET_KEY_BYTES);
}

const uint8_t *km_secret_key_seed(const km_secret_key *key) {
  return key->seed;
}

void km_secret_key_sign(const km_secret_key *key, const void *msg, size_t len,
                        uint8_t ret_sig[KM_SIGNATURE_BYTES]) {
  crypto_sign_ed25519_detached(ret_sig, NULL, msg, len, key->expanded);
}

static int format_hex(const km_secret_key *key, char *buf, size_t cap) {
  if (cap < 2 * KM_SECRET_KEY_BYTES + 1) {
    return KM_ERR_BUFFER;
  }
  sodium_bin2hex(buf, cap, key->seed, KM_SECRET_KEY_BYTES);
  return 2 * KM_SECRET_KEY_BYTES;
}

static int format_base32(const km_secret_key *key, char *buf, size_t cap) {
  size_t len = KM_BASE32_LEN(KM_SECRET_KEY_BYTES);
  if (cap < len + 1) {
    return KM_ERR_BUFFER;
  }
  km_base32_encode(KM_BASE32_RFC4648, buf, key->seed, KM_SECRET_KEY_BYTES);
  return (int)len;
}

int km_secret_key_format(const km_secret_key *key, km_key_form form, char *buf, size_t cap) {
  if (key == NULL || buf == NULL) {
    return KM_ERR_INVALID;
  }
  switch (form) {
  case KM_KEY_HEX:
    return format_hex(key, buf, cap);
  case KM_KEY_BASE32:
    return format_base32(key, buf, cap);
  case KM_KEY_PEM: {
    int n = km_pem_encode(key->seed, buf, cap);
    return n < 0 ? KM_ERR_BUFFER : n;
  }
  }
  return KM_ERR_INVALID;
}
