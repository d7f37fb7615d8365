/* Any text as a secret key (hex, base32, PEM): no crash, nothing of the text in the sentence; what
 * parses prints in each form as a text that parses to the same key. */
#include <keymesh/id.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

static void read_back(const uint8_t seed[KM_SECRET_KEY_BYTES], const km_secret_key *key,
                      km_key_form form) {
  char text[KM_SECRET_KEY_TEXT_CAP];
  int len = km_secret_key_format(key, form, text, sizeof text);
  check(len > 0 && (size_t)len == strlen(text));
  km_secret_key *back;
  check(km_secret_key_parse(&back, text, (size_t)len, NULL) == 0);
  uint8_t back_seed[KM_SECRET_KEY_BYTES];
  km_secret_key_bytes(back, back_seed);
  check(memcmp(seed, back_seed, sizeof back_seed) == 0);
  km_secret_key_free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  km_secret_key *key;
  km_errinfo err = {0};
  int rv = km_secret_key_parse(&key, (const char *)data, len, &err);
  if (rv != 0) {
    check(rv == KM_ERR_BAD_KEY && err.code == rv && err.text[0] != '\0');
    return 0;
  }
  uint8_t seed[KM_SECRET_KEY_BYTES];
  km_secret_key_bytes(key, seed);
  for (int form = KM_KEY_HEX; form <= KM_KEY_PEM; form++) {
    read_back(seed, key, (km_key_form)form);
  }
  km_secret_key_free(key);
  return 0;
}
