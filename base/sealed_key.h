/* A secret key under a passphrase, as text: Argon2id makes a key of the passphrase, XChaCha20 with
 * Poly1305 seals the seed with it. docs/protocol-keyfile.md. Pure: salt and nonce are given. */
#ifndef KM_BASE_SEALED_KEY_H
#define KM_BASE_SEALED_KEY_H

#include <keymesh/id.h>

#define KM_SEALED_BEGIN "-----BEGIN KEYMESH SEALED KEY-----"
#define KM_SEALED_END "-----END KEYMESH SEALED KEY-----"
#define KM_SEALED_SALT_BYTES 16
#define KM_SEALED_NONCE_BYTES 24
#define KM_SEALED_TEXT_CAP 256 /* holds the text with its NUL */

/* How dear a guess at the passphrase is: passes over that much memory. A file asks for no more than
 * these bounds, so that a hostile one can neither take all memory nor all day. */
#define KM_SEALED_PASSES_MAX 16
#define KM_SEALED_MEMORY_KIB_MAX 1048576
#define KM_SEALED_MEMORY_KIB_MIN 8

typedef struct km_sealed_config {
  uint32_t passes, memory_kib;
  uint8_t salt[KM_SEALED_SALT_BYTES], nonce[KM_SEALED_NONCE_BYTES];
} km_sealed_config;

/* True when the text says that it is a sealed key, whether or not it is a good one. */
bool km_sealed_key_is(const char *text, size_t len);
/* With a newline at its end and a NUL. The length without the NUL; KM_ERR_INVALID (a parameter out
 * of bounds), KM_ERR_NOMEM (for Argon2id), KM_ERR_BUFFER. */
KM_NODISCARD int km_sealed_key_encode(const uint8_t seed[KM_SECRET_KEY_BYTES],
                                      const char *passphrase, size_t len,
                                      const km_sealed_config *config, char *buf, size_t cap);
/* 0; KM_ERR_BAD_KEY (not in this form, or parameters out of bounds), KM_ERR_CRYPTO (another
 * passphrase, or the text was changed), KM_ERR_NOMEM. */
KM_NODISCARD int km_sealed_key_decode(uint8_t ret_seed[KM_SECRET_KEY_BYTES], const char *text,
                                      size_t text_len, const char *passphrase, size_t len);

#endif /* KM_BASE_SEALED_KEY_H */
