/* Bytes as text: hex, the three base-32 alphabets, base64. Run time depends on lengths only, never
 * on the bytes, so that keys may pass through. */
#ifndef KM_BASE_ENC_H
#define KM_BASE_ENC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum km_base32 {
  KM_BASE32_RFC4648, /* lower case; decoding takes either case */
  KM_BASE32_HEX,     /* RFC 4648 section 7, lower case ("base32hex", "dnssec") */
  KM_BASE32_Z        /* z-base-32 */
} km_base32;

/* Characters of the text, without padding and without the NUL. */
#define KM_BASE32_LEN(bytes) (((bytes)*8 + 4) / 5)
/* Bytes that `chars` characters decode to. */
#define KM_BASE32_BYTES(chars) ((chars)*5 / 8)

/* Writes 2 * len lower-case digits and a NUL. */
void km_hex_encode(char *ret, const uint8_t *bytes, size_t len);
/* Exactly 2 * len lower-case digits; `ret` is undefined on failure. */
bool km_hex_decode(uint8_t *ret, size_t len, const char *text, size_t text_len);

/* Writes KM_BASE32_LEN(len) characters and a NUL. */
void km_base32_encode(km_base32 alphabet, char *ret, const uint8_t *bytes, size_t len);
/* No padding, no lengths that encoding never gives, zero trailing bits. Writes
 * KM_BASE32_BYTES(text_len) bytes, undefined on failure. */
bool km_base32_decode(km_base32 alphabet, uint8_t *ret, const char *text, size_t text_len);

#endif /* KM_BASE_ENC_H */
