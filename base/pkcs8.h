/* Ed25519 private keys as PKCS#8 (RFC 5958, RFC 8410) in PEM (RFC 7468). Pure. */
#ifndef KM_BASE_PKCS8_H
#define KM_BASE_PKCS8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KM_PEM_BEGIN "-----BEGIN PRIVATE KEY-----"
#define KM_PEM_END "-----END PRIVATE KEY-----"

/* What stands between the two lines of a PEM block; NULL when they are not there. White space
 * around the block is allowed, nothing else. */
const char *km_pem_body(const char *begin, const char *end, const char *text, size_t len,
                        size_t *ret_len);

/* Reads version 1, and version 2 whose public key, if there is one, fits. White space around the
 * block is allowed, nothing else. */
bool km_pem_decode(uint8_t ret_seed[32], const char *text, size_t len);

/* Writes version 1 with a newline at its end and a NUL. Returns the length without the NUL, or -1
 * when `cap` is too small. */
int km_pem_encode(const uint8_t seed[32], char *buf, size_t cap);

#endif /* KM_BASE_PKCS8_H */
