#include "base/enc.h"

static const char *const alphabets[] = {
    [KM_BASE32_RFC4648] = "abcdefghijklmnopqrstuvwxyz234567",
    [KM_BASE32_HEX] = "0123456789abcdefghijklmnopqrstuv",
    [KM_BASE32_Z] = "ybndrfg8ejkmcpqxot1uwisza345h769",
};

/* All ones when a == b, for values below 2^31. */
static uint32_t mask_equal(uint32_t a, uint32_t b) {
  return 0U - (((a ^ b) - 1U) >> 31);
}

/* Reads all of the alphabet, so that the cache does not learn the index. */
static char symbol_at(const char *alphabet, uint32_t size, uint32_t value) {
  uint32_t found = 0;
  for (uint32_t i = 0; i < size; i++) {
    found |= mask_equal(i, value) & (uint8_t)alphabet[i];
  }
  return (char)found;
}

/* The value of a symbol; `*bad` becomes non-zero where there is none. */
static uint32_t value_of(const char *alphabet, uint32_t size, uint32_t symbol, uint32_t *bad) {
  uint32_t value = 0;
  uint32_t found = 0;
  for (uint32_t i = 0; i < size; i++) {
    uint32_t here = mask_equal((uint8_t)alphabet[i], symbol);
    value |= here & i;
    found |= here;
  }
  *bad |= ~found;
  return value;
}

static const char hex_digits[] = "0123456789abcdef";

void km_hex_encode(char *ret, const uint8_t *bytes, size_t len) {
  for (size_t i = 0; i < len; i++) {
    ret[2 * i] = symbol_at(hex_digits, 16, bytes[i] >> 4);
    ret[2 * i + 1] = symbol_at(hex_digits, 16, bytes[i] & 15U);
  }
  ret[2 * len] = '\0';
}

bool km_hex_decode(uint8_t *ret, size_t len, const char *text, size_t text_len) {
  if (text_len % 2 != 0 || text_len / 2 != len) {
    return false;
  }
  uint32_t bad = 0;
  for (size_t i = 0; i < len; i++) {
    uint32_t high = value_of(hex_digits, 16, (uint8_t)text[2 * i], &bad);
    uint32_t low = value_of(hex_digits, 16, (uint8_t)text[2 * i + 1], &bad);
    ret[i] = (uint8_t)(high << 4 | low);
  }
  return bad == 0;
}

void km_base32_encode(km_base32 alphabet, char *ret, const uint8_t *bytes, size_t len) {
  uint32_t bits = 0;
  unsigned have = 0;
  size_t at = 0;
  for (size_t i = 0; i < len; i++) {
    bits = (bits << 8 | bytes[i]) & 0xfff;
    for (have += 8; have >= 5; have -= 5) {
      ret[at++] = symbol_at(alphabets[alphabet], 32, bits >> (have - 5) & 31U);
    }
  }
  if (have > 0) {
    ret[at++] = symbol_at(alphabets[alphabet], 32, bits << (5 - have) & 31U);
  }
  ret[at] = '\0';
}

/* ASCII letters in lower case, all else as it is, without a branch. */
static uint32_t fold_case(uint32_t c) {
  uint32_t upper = ((c - 'A') >> 31 ^ 1U) & (('Z' - c) >> 31 ^ 1U);
  return c | upper << 5;
}

bool km_base32_decode(km_base32 alphabet, uint8_t *ret, const char *text, size_t text_len) {
  /* 1, 3 or 6 symbols over leave 5 bits or more that no byte needs. */
  size_t rest = text_len % 8;
  if (rest == 1 || rest == 3 || rest == 6) {
    return false;
  }
  uint32_t bits = 0;
  uint32_t bad = 0;
  unsigned have = 0;
  size_t at = 0;
  for (size_t i = 0; i < text_len; i++) {
    uint32_t symbol = (uint8_t)text[i];
    if (alphabet == KM_BASE32_RFC4648) {
      symbol = fold_case(symbol);
    }
    bits = (bits << 5 | value_of(alphabets[alphabet], 32, symbol, &bad)) & 0xfff;
    have += 5;
    if (have >= 8) {
      have -= 8;
      ret[at++] = (uint8_t)(bits >> have);
    }
  }
  uint32_t trailing = bits & ((1U << have) - 1U);
  return (bad | trailing) == 0;
}
