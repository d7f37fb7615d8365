/* Bytes out of hex, for vectors. */
#ifndef KM_TEST_RELAY_HEX_H
#define KM_TEST_RELAY_HEX_H

#include "base/enc.h"
#include "test/base/test_env.h"

static inline size_t from_hex(uint8_t *ret, size_t cap, const char *hex) {
  size_t len = strlen(hex) / 2;
  assert_true(len <= cap && km_hex_decode(ret, len, hex, 2 * len));
  return len;
}

#endif /* KM_TEST_RELAY_HEX_H */
