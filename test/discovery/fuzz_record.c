/* First byte: what the rest is. Even, a record; odd, one without its signature, which is put there:
 * no crash, and what is read is signed as the same bytes. */
#include <keymesh/record.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define CONTEXT "KeyMesh key name record 1"

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

static size_t sign(const km_secret_key *key, uint8_t ret[KM_RECORD_BYTES_MAX], const uint8_t *body,
                   size_t len) {
  uint8_t text[sizeof CONTEXT + KM_RECORD_BYTES_MAX];
  if (len > KM_RECORD_BYTES_MAX - KM_SIGNATURE_BYTES) {
    len = KM_RECORD_BYTES_MAX - KM_SIGNATURE_BYTES;
  }
  memcpy(text, CONTEXT, sizeof CONTEXT);
  memcpy(text + sizeof CONTEXT, body, len);
  memcpy(ret, body, len);
  km_secret_key_sign(key, text, sizeof CONTEXT + len, ret + len);
  return len + KM_SIGNATURE_BYTES;
}

static void read_record(const km_secret_key *key, const uint8_t *bytes, size_t len) {
  uint8_t again[KM_RECORD_BYTES_MAX];
  km_record r = {.size = sizeof r};
  km_id id;
  km_errinfo err = {0};
  km_secret_key_id(key, &id);
  int rv = km_record_read(&r, &id, bytes, len, 0, &err);
  check(rv == 0 || (rv == KM_ERR_BAD_RECORD && err.text[0] != '\0'));
  check(err.code == rv);
  if (rv == 0) {
    check(km_record_sign(&r, key, again, NULL) == (int)len && memcmp(again, bytes, len) == 0);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  uint8_t seed[KM_SECRET_KEY_BYTES], bytes[KM_RECORD_BYTES_MAX];
  km_secret_key *key;
  if (len == 0) {
    return 0;
  }
  for (size_t i = 0; i < sizeof seed; i++) {
    seed[i] = (uint8_t)(i + 1);
  }
  check(km_secret_key_from_bytes(&key, seed) == 0);
  if (data[0] % 2 == 0) {
    read_record(key, data + 1, len - 1);
  } else {
    size_t n = sign(key, bytes, data + 1, len - 1);
    read_record(key, bytes, n);
  }
  km_secret_key_free(key);
  return 0;
}
