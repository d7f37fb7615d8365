#include "test/endpoint/initial.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>
#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/aes.h>

enum { TAG = 16, SAMPLE = 16, MIN_DATAGRAM = 1200 };

typedef struct keys {
  uint8_t key[16], iv[12], hp[16];
} keys;

/* HKDF-Expand-Label of TLS 1.3 for at most 32 bytes. */
static void expand_label(const uint8_t secret[32], const char *label, uint8_t *out, size_t len) {
  crypto_auth_hmacsha256_state state;
  uint8_t info[64], block[32];
  size_t label_len = strlen(label);
  assert(len <= sizeof block && label_len + 10 < sizeof info);
  info[0] = 0;
  info[1] = (uint8_t)len;
  info[2] = (uint8_t)(6 + label_len);
  memcpy(info + 3, "tls13 ", 6);
  memcpy(info + 9, label, label_len);
  info[9 + label_len] = 0;
  info[10 + label_len] = 1; /* HKDF-Expand's counter */
  crypto_auth_hmacsha256_init(&state, secret, 32);
  crypto_auth_hmacsha256_update(&state, info, 11 + label_len);
  crypto_auth_hmacsha256_final(&state, block);
  memcpy(out, block, len);
}

/* `label`: "client in" or "server in". */
static keys keys_of(const uint8_t *dcid, size_t len, const char *label) {
  static const uint8_t salt[20] = {0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17,
                                   0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a};
  crypto_auth_hmacsha256_state state;
  uint8_t initial_secret[32], side[32];
  keys k;
  crypto_auth_hmacsha256_init(&state, salt, sizeof salt);
  crypto_auth_hmacsha256_update(&state, dcid, len);
  crypto_auth_hmacsha256_final(&state, initial_secret);
  expand_label(initial_secret, label, side, 32);
  expand_label(side, "quic key", k.key, sizeof k.key);
  expand_label(side, "quic iv", k.iv, sizeof k.iv);
  expand_label(side, "quic hp", k.hp, sizeof k.hp);
  return k;
}

static void hp_mask(const keys *k, const uint8_t sample[SAMPLE], uint8_t mask[16]) {
  Aes aes;
  wc_AesInit(&aes, NULL, INVALID_DEVID);
  wc_AesSetKeyDirect(&aes, k->hp, sizeof k->hp, NULL, AES_ENCRYPTION);
  wc_AesEncryptDirect(&aes, mask, sample);
  wc_AesFree(&aes);
}

/* Reads a variable-length integer at *at; false past the end. */
static bool read_varint(const uint8_t *data, size_t len, size_t *at, uint64_t *ret) {
  if (*at >= len || *at + ((size_t)1 << (data[*at] >> 6)) > len) {
    return false;
  }
  size_t size = (size_t)1 << (data[*at] >> 6);
  uint64_t value = data[*at] & 0x3f;
  for (size_t i = 1; i < size; i++) {
    value = value << 8 | data[*at + i];
  }
  *at += size;
  *ret = value;
  return true;
}

static bool read_bytes(const uint8_t *data, size_t len, size_t *at, uint64_t count, uint8_t *ret,
                       size_t cap) {
  if (count > cap || count > len - *at) {
    return false;
  }
  memcpy(ret, data + *at, (size_t)count);
  *at += (size_t)count;
  return true;
}

static bool read_header(initial *ret, const uint8_t *d, size_t len, size_t *at, uint64_t *body) {
  uint64_t token_len;
  if (len < 7 || (d[0] & 0xf0) != 0xc0 || memcmp(d + 1, "\0\0\0\1", 4) != 0) {
    return false;
  }
  ret->dcid_len = d[5];
  *at = 6;
  if (!read_bytes(d, len, at, ret->dcid_len, ret->dcid, sizeof ret->dcid) || *at >= len) {
    return false;
  }
  ret->scid_len = d[(*at)++];
  if (!read_bytes(d, len, at, ret->scid_len, ret->scid, sizeof ret->scid) ||
      !read_varint(d, len, at, &token_len) ||
      !read_bytes(d, len, at, token_len, ret->token, sizeof ret->token)) {
    return false;
  }
  ret->token_len = (size_t)token_len;
  return read_varint(d, len, at, body) && *body >= 4 + SAMPLE && *body <= len - *at;
}

static void nonce_of(const keys *k, uint32_t number, uint8_t nonce[12]) {
  memcpy(nonce, k->iv, 12);
  for (int i = 0; i < 4; i++) {
    nonce[11 - i] ^= (uint8_t)(number >> (8 * i));
  }
}

/* `keys_from` NULL: they come from the packet's own destination. */
static bool open_with(initial *ret, const uint8_t *datagram, size_t len, const char *label,
                      const uint8_t *keys_from, size_t keys_from_len) {
  uint8_t mask[16], header[INITIAL_MAX], nonce[12];
  size_t at;
  uint64_t body;
  memset(ret, 0, sizeof *ret);
  if (len > INITIAL_MAX || !read_header(ret, datagram, len, &at, &body)) {
    return false;
  }
  keys k = keys_from == NULL ? keys_of(ret->dcid, ret->dcid_len, label)
                             : keys_of(keys_from, keys_from_len, label);
  hp_mask(&k, datagram + at + 4, mask);
  memcpy(header, datagram, at + 4);
  header[0] ^= mask[0] & 0x0f;
  size_t number_len = (size_t)(header[0] & 3) + 1;
  uint32_t number = 0;
  for (size_t i = 0; i < number_len; i++) {
    header[at + i] ^= mask[1 + i];
    number = number << 8 | header[at + i];
  }
  size_t head = at + number_len;
  ret->payload_len = (size_t)body - number_len - TAG;
  const uint8_t *sealed = datagram + head;
  nonce_of(&k, number, nonce);
  Aes aes;
  wc_AesInit(&aes, NULL, INVALID_DEVID);
  wc_AesGcmSetKey(&aes, k.key, sizeof k.key);
  int rv = wc_AesGcmDecrypt(&aes, ret->payload, sealed, (word32)ret->payload_len, nonce, 12,
                            sealed + ret->payload_len, TAG, header, (word32)head);
  wc_AesFree(&aes);
  return rv == 0;
}

bool initial_open(initial *ret, const uint8_t *datagram, size_t len) {
  return open_with(ret, datagram, len, "client in", NULL, 0);
}

bool initial_open_answer(initial *ret, const uint8_t *datagram, size_t len, const uint8_t *dcid,
                         size_t dcid_len) {
  return open_with(ret, datagram, len, "server in", dcid, dcid_len);
}

static size_t put_two_byte_varint(uint8_t *out, size_t value) {
  assert(value < 16384);
  out[0] = (uint8_t)(0x40 | value >> 8);
  out[1] = (uint8_t)value;
  return 2;
}

size_t initial_seal(const initial *in, uint8_t out[INITIAL_MAX]) {
  uint8_t payload[INITIAL_MAX] = {0}, mask[16], nonce[12];
  size_t at = 0;
  out[at++] = 0xc3; /* four bytes of packet number */
  memcpy(out + at, "\0\0\0\1", 4);
  at += 4;
  out[at++] = (uint8_t)in->dcid_len;
  memcpy(out + at, in->dcid, in->dcid_len);
  at += in->dcid_len;
  out[at++] = (uint8_t)in->scid_len;
  memcpy(out + at, in->scid, in->scid_len);
  at += in->scid_len;
  at += put_two_byte_varint(out + at, in->token_len);
  memcpy(out + at, in->token, in->token_len);
  at += in->token_len;
  size_t fixed = at + 2 + 4 + TAG;
  size_t len = fixed + in->payload_len < MIN_DATAGRAM ? MIN_DATAGRAM - fixed : in->payload_len;
  assert(fixed + len <= INITIAL_MAX);
  memcpy(payload, in->payload, in->payload_len); /* zeros behind it are PADDING */
  at += put_two_byte_varint(out + at, 4 + len + TAG);
  memset(out + at, 0, 4);
  size_t head = at + 4;
  keys k = keys_of(in->dcid, in->dcid_len, "client in");
  nonce_of(&k, 0, nonce);
  Aes aes;
  wc_AesInit(&aes, NULL, INVALID_DEVID);
  wc_AesGcmSetKey(&aes, k.key, sizeof k.key);
  wc_AesGcmEncrypt(&aes, out + head, payload, (word32)len, nonce, 12, out + head + len, TAG, out,
                   (word32)head);
  wc_AesFree(&aes);
  hp_mask(&k, out + head, mask); /* the sample begins 4 bytes behind the number's first */
  out[0] ^= mask[0] & 0x0f;
  for (size_t i = 0; i < 4; i++) {
    out[at + i] ^= mask[1 + i];
  }
  return head + len + TAG;
}
