/**
 * @file keymesh/id.h
 * Endpoint ids (Ed25519 public keys) and secret keys.
 *
 * An id is the address of an endpoint; the secret key proves it. Both have the forms that iroh
 * uses: hex (64 lower-case digits, what is printed), base32 (RFC 4648, 52 letters, either case, no
 * padding), and z-base-32 (DNS labels; printed, never parsed by km_id_parse).
 *
 * Threads: a km_id is a value. A km_secret_key may be read from several threads at once; free it
 * when no other call uses it.
 */
#ifndef KEYMESH_ID_H
#define KEYMESH_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <keymesh/error.h>
#include <keymesh/export.h>

KM_BEGIN_DECLS

#define KM_ID_BYTES 32
#define KM_SECRET_KEY_BYTES 32
#define KM_SIGNATURE_BYTES 64
#define KM_ID_HEX_LEN 64    /**< characters without the NUL */
#define KM_ID_BASE32_LEN 52 /**< characters without the NUL; also z-base-32 and base32hex */
#define KM_ID_SHORT_LEN 10
#define KM_ID_TEXT_CAP 80 /**< a buffer that holds any text form of an id, with the NUL */

/** An endpoint id: the 32 bytes of an Ed25519 public key. */
typedef struct km_id {
  uint8_t bytes[KM_ID_BYTES];
} km_id;

/** The text forms of an id. */
typedef enum km_id_form {
  KM_ID_HEX,        /**< 64 lower-case hex digits: the canonical form */
  KM_ID_BASE32,     /**< 52 lower-case RFC 4648 letters, no padding */
  KM_ID_Z32,        /**< 52 z-base-32 letters: DNS labels and pkarr paths */
  KM_ID_SHORT,      /**< the first 10 hex digits, for logs; cannot be parsed */
  KM_ID_TLS_NAME,   /**< <base32hex>.iroh.invalid: the server name of a TLS handshake */
  KM_ID_FINGERPRINT /**< "sha256:" and 64 hex digits of SHA-256 over the 44-byte SPKI */
} km_id_form;

/** A secret key, in memory that is locked and wiped when freed. */
typedef struct km_secret_key km_secret_key;

/**
 * Reads an id as iroh does: exactly 64 lower-case hex digits, or 52 base32 letters of either case
 * with zero trailing bits. The bytes must be a point of the curve.
 *
 * @param[out] ret  untouched on failure
 * @param text      need not be NUL-terminated
 * @param len       bytes of `text`
 * @param[out] err  may be NULL
 * @return 0 or KM_ERR_BAD_ID
 */
KM_EXPORT KM_NODISCARD int km_id_parse(km_id *ret, const char *text, size_t len, km_errinfo *err);

/**
 * Takes 32 bytes as an id if they decompress to a point of the curve (what iroh accepts: also
 * non-canonical and small-order points).
 * @return 0 or KM_ERR_BAD_ID
 */
KM_EXPORT KM_NODISCARD int km_id_from_bytes(km_id *ret, const uint8_t bytes[KM_ID_BYTES]);

/**
 * Writes `id` in the form asked for, NUL-terminated.
 * @param cap  size of `buf`; KM_ID_TEXT_CAP always suffices
 * @return the length without the NUL, or KM_ERR_BUFFER, or KM_ERR_INVALID for an unknown form
 */
KM_EXPORT int km_id_format(const km_id *id, km_id_form form, char *buf, size_t cap);

/** True when both are the same id. Ids are public: the comparison is not constant-time. */
KM_EXPORT bool km_id_equal(const km_id *a, const km_id *b);

/**
 * Checks an Ed25519 signature, strictly: small-order points and non-canonical scalars fail.
 * @return 0 or KM_ERR_CRYPTO
 */
KM_EXPORT KM_NODISCARD int km_id_verify(const km_id *id, const void *msg, size_t len,
                                        const uint8_t sig[KM_SIGNATURE_BYTES]);

/**
 * Makes a new random key.
 * @param[out] ret  free with km_secret_key_free
 * @return 0, KM_ERR_NOMEM, or KM_ERR_CRYPTO when the system gives no randomness
 */
KM_EXPORT KM_NODISCARD int km_secret_key_generate(km_secret_key **ret);

/** Takes a 32-byte seed; every 32 bytes are a valid key. Returns 0 or KM_ERR_NOMEM. */
KM_EXPORT KM_NODISCARD int km_secret_key_from_bytes(km_secret_key **ret,
                                                    const uint8_t seed[KM_SECRET_KEY_BYTES]);

/**
 * Reads a key: 64 lower-case hex digits, 52 base32 letters, or PEM (PKCS#8 of RFC 8410,
 * "-----BEGIN PRIVATE KEY-----"). Leading and trailing white space is allowed around PEM only.
 * @return 0, KM_ERR_BAD_KEY or KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int km_secret_key_parse(km_secret_key **ret, const char *text, size_t len,
                                               km_errinfo *err);

/** A second, independent copy. Returns 0 or KM_ERR_NOMEM. */
KM_EXPORT KM_NODISCARD int km_secret_key_copy(km_secret_key **ret, const km_secret_key *key);

/** Wipes and frees; NULL does nothing. */
KM_EXPORT void km_secret_key_free(km_secret_key *key);

/** The id that belongs to the key. */
KM_EXPORT void km_secret_key_id(const km_secret_key *key, km_id *ret);

/** Copies the 32-byte seed out. Wipe it after use. */
KM_EXPORT void km_secret_key_bytes(const km_secret_key *key, uint8_t ret[KM_SECRET_KEY_BYTES]);

/** Signs (Ed25519, deterministic). */
KM_EXPORT void km_secret_key_sign(const km_secret_key *key, const void *msg, size_t len,
                                  uint8_t ret_sig[KM_SIGNATURE_BYTES]);

/** Text forms a secret key can be written in. */
typedef enum km_key_form { KM_KEY_HEX, KM_KEY_BASE32, KM_KEY_PEM } km_key_form;

#define KM_SECRET_KEY_TEXT_CAP 256 /**< holds any form, with the NUL */

/**
 * Writes the key as text, NUL-terminated. Wipe the buffer after use.
 * @return the length without the NUL, KM_ERR_BUFFER or KM_ERR_INVALID
 */
KM_EXPORT int km_secret_key_format(const km_secret_key *key, km_key_form form, char *buf,
                                   size_t cap);

/**
 * Reads a key file (any form that km_secret_key_parse takes, one trailing newline allowed).
 *
 * The file must be a regular file of at most 4,096 bytes that only its owner may read; it is
 * checked after opening, so that the file checked is the file read. A sealed file gives
 * KM_ERR_KEY_SEALED: see km_secret_key_load_sealed.
 *
 * @return 0, KM_ERR_FILE_NOT_FOUND, KM_ERR_PERMISSION, KM_ERR_KEY_FILE_MODE, KM_ERR_BAD_KEY_FILE,
 *   KM_ERR_KEY_SEALED, KM_ERR_IO or KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int km_secret_key_load(km_secret_key **ret, const char *path,
                                              km_errinfo *err);

/**
 * Writes a new key file with mode 0600 in PEM form, atomically (temporary file, fsync, link).
 * An existing file is never overwritten, and on failure nothing is left behind.
 *
 * @return 0, KM_ERR_FILE_EXISTS, KM_ERR_FILE_NOT_FOUND (no such directory), KM_ERR_PERMISSION,
 *   KM_ERR_NO_SPACE, KM_ERR_IO or KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int km_secret_key_save(const km_secret_key *key, const char *path,
                                              km_errinfo *err);

/**
 * Writes a new key file as km_secret_key_save does, but sealed: whoever wants the key needs the
 * passphrase too (Argon2id over 256 MiB, XChaCha20-Poly1305). Takes about a second and that memory.
 *
 * @param passphrase  any bytes; wipe them after use. Nobody can help who forgets them
 * @param len         1 to 1,024
 * @return as km_secret_key_save, or KM_ERR_INVALID (no passphrase, or one too long)
 */
KM_EXPORT KM_NODISCARD int km_secret_key_save_sealed(const km_secret_key *key, const char *path,
                                                     const char *passphrase, size_t len,
                                                     km_errinfo *err);

/**
 * Reads a sealed key file, under the rules of km_secret_key_load. What the file asks for is
 * bounded: 1 GiB and 16 passes over it.
 *
 * @return as km_secret_key_load (KM_ERR_BAD_KEY_FILE also for a file that is not sealed), or
 *   KM_ERR_KEY_SEALED when the passphrase does not open it, or KM_ERR_INVALID as above
 */
KM_EXPORT KM_NODISCARD int km_secret_key_load_sealed(km_secret_key **ret, const char *path,
                                                     const char *passphrase, size_t len,
                                                     km_errinfo *err);

/** True when the file can be read as km_secret_key_load does, and is sealed. */
KM_EXPORT bool km_secret_key_is_sealed(const char *path);

KM_END_DECLS

#endif /* KEYMESH_ID_H */
