/* Any bytes as a sealed key: no crash, and nothing opens that was not sealed. What would cost more
 * than a few milliseconds is left out. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/pkcs8.h"
#include "base/sealed_key.h"
#include "base/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

/* Whether it asks for real work within the bounds. */
static bool dear(const char *text, size_t len) {
  uint8_t bytes[128];
  size_t body_len, n;
  const char *body = km_pem_body(KM_SEALED_BEGIN, KM_SEALED_END, text, len, &body_len);
  if (body == NULL || sodium_base642bin(bytes, sizeof bytes, body, body_len, " \t\r\n", &n, NULL,
                                        sodium_base64_VARIANT_ORIGINAL) != 0) {
    return false;
  }
  km_rd rd = km_rd_init(bytes, n);
  (void)km_rd_u8(&rd); /* the version */
  uint64_t passes = km_rd_be(&rd, 4), memory_kib = km_rd_be(&rd, 4);
  return passes <= KM_SEALED_PASSES_MAX && memory_kib > 64 &&
         memory_kib <= KM_SEALED_MEMORY_KIB_MAX;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  uint8_t seed[KM_SECRET_KEY_BYTES];
  const char *text = (const char *)data;
  if (dear(text, len)) {
    return 0;
  }
  int rv = km_sealed_key_decode(seed, text, len, "pass", 4);
  check(rv == 0 || rv == KM_ERR_BAD_KEY || rv == KM_ERR_CRYPTO);
  check(rv != 0 || km_sealed_key_is(text, len));
  static const uint8_t sealed[KM_SECRET_KEY_BYTES] = {7}; /* in the corpus */
  check(rv != 0 || memcmp(seed, sealed, sizeof sealed) == 0);
  return 0;
}
