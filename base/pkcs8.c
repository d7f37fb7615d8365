#include "base/pkcs8.h"

#include <sodium.h>
#include <string.h>

#include "base/wire.h"

#define DER_V1_BYTES 48
#define DER_MAX 256

static const uint8_t der_head[] = {0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06,
                                   0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20};

static bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

const char *km_pem_body(const char *begin, const char *end, const char *text, size_t len,
                        size_t *ret_len) {
  while (len > 0 && is_space(*text)) {
    text++;
    len--;
  }
  while (len > 0 && is_space(text[len - 1])) {
    len--;
  }
  size_t begin_len = strlen(begin), end_len = strlen(end);
  if (len < begin_len + end_len || memcmp(text, begin, begin_len) != 0 ||
      memcmp(text + len - end_len, end, end_len) != 0) {
    return NULL;
  }
  *ret_len = len - begin_len - end_len;
  return text + begin_len;
}

/* RFC 8410 section 7: a public key may follow, context tag 1. */
static bool public_key_fits(km_rd *r, const uint8_t seed[32]) {
  if (km_rd_left(r) == 0) {
    return true;
  }
  static const uint8_t head[] = {0x81, 0x21, 0x00};
  const uint8_t *p = km_rd_bytes(r, sizeof head);
  if (p == NULL || memcmp(p, head, sizeof head) != 0) {
    return false;
  }
  uint8_t pk[crypto_sign_ed25519_PUBLICKEYBYTES], sk[crypto_sign_ed25519_SECRETKEYBYTES];
  p = km_rd_bytes(r, sizeof pk);
  crypto_sign_ed25519_seed_keypair(pk, sk, seed);
  sodium_memzero(sk, sizeof sk);
  return p != NULL && km_rd_left(r) == 0 && memcmp(p, pk, sizeof pk) == 0;
}

static bool decode_der(uint8_t ret_seed[32], const uint8_t *der, size_t len) {
  km_rd r = km_rd_init(der, len);
  const uint8_t *head = km_rd_bytes(&r, sizeof der_head);
  const uint8_t *seed = km_rd_bytes(&r, 32);
  /* Outer length and version differ between the versions; the rest of the head is fixed. */
  if (head == NULL || seed == NULL || head[0] != der_head[0] || head[1] != len - 2 ||
      memcmp(head + 2, der_head + 2, 2) != 0 || head[4] > 1 ||
      memcmp(head + 5, der_head + 5, sizeof der_head - 5) != 0) {
    return false;
  }
  bool ok = head[4] == 0 ? km_rd_left(&r) == 0 : public_key_fits(&r, seed);
  if (ok) {
    memcpy(ret_seed, seed, 32);
  }
  return ok;
}

bool km_pem_decode(uint8_t ret_seed[32], const char *text, size_t len) {
  uint8_t der[DER_MAX];
  size_t body_len, der_len;
  const char *body = km_pem_body(KM_PEM_BEGIN, KM_PEM_END, text, len, &body_len);
  bool ok = body != NULL &&
            sodium_base642bin(der, sizeof der, body, body_len, " \t\r\n", &der_len, NULL,
                              sodium_base64_VARIANT_ORIGINAL) == 0 &&
            decode_der(ret_seed, der, der_len);
  sodium_memzero(der, sizeof der);
  return ok;
}

int km_pem_encode(const uint8_t seed[32], char *buf, size_t cap) {
  uint8_t der[DER_V1_BYTES];
  char b64[sodium_base64_ENCODED_LEN(DER_V1_BYTES, sodium_base64_VARIANT_ORIGINAL)];
  memcpy(der, der_head, sizeof der_head);
  memcpy(der + sizeof der_head, seed, 32);
  sodium_bin2base64(b64, sizeof b64, der, sizeof der, sodium_base64_VARIANT_ORIGINAL);
  sodium_memzero(der, sizeof der);
  const char *const parts[] = {KM_PEM_BEGIN, "\n", b64, "\n", KM_PEM_END, "\n"};
  size_t used = 0;
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
    size_t n = strlen(parts[i]);
    if (used + n >= cap) {
      sodium_memzero(b64, sizeof b64);
      return -1;
    }
    memcpy(buf + used, parts[i], n);
    used += n;
  }
  buf[used] = '\0';
  sodium_memzero(b64, sizeof b64);
  return (int)used;
}
