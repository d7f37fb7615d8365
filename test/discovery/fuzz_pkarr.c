/* First byte: what the rest is. Even, a relay's payload; odd, a DNS message that the key's owner
 * signs, be it hostile: no crash, and what is read is written as it was. */
#include <stdlib.h>
#include <string.h>

#include "discovery/pkarr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

static void check_details(const km_pkarr *p) {
  km_details d;
  check(km_details_init(&d, &km_env_system, &p->id) == 0);
  int rv = km_pkarr_details(p, &d);
  check(rv == 0 || rv == KM_ERR_BAD_PACKET);
  check(km_user_data_valid(d.user_data, strlen(d.user_data)));
  km_details_clear(&d);
}

static void read_payload(const km_id *id, const uint8_t *payload, size_t len) {
  uint8_t again[KM_PKARR_PAYLOAD_MAX];
  km_pkarr p;
  km_errinfo err = {0};
  int rv = km_pkarr_read(&p, id, payload, len, &err);
  check(rv == 0 || (rv == KM_ERR_BAD_PACKET && err.text[0] != '\0'));
  check(err.code == rv);
  if (rv == 0) {
    check(km_pkarr_write(&p, again) == len && memcmp(again, payload, len) == 0);
    check_details(&p);
  }
}

static void sign_message(const km_secret_key *key, const km_id *id, const uint8_t *dns,
                         size_t len) {
  uint8_t payload[KM_PKARR_PAYLOAD_MAX];
  km_pkarr p, again;
  int rv = km_pkarr_sign(&p, key, 1754900000123456, dns, len);
  check(rv == 0 || rv == KM_ERR_INVALID || (rv == KM_ERR_LIMIT && len > KM_PKARR_DNS_MAX));
  if (rv == 0) {
    size_t n = km_pkarr_write(&p, payload);
    check(km_pkarr_read(&again, id, payload, n, NULL) == 0);
    check(km_pkarr_compare(&p, &again) == 0);
    check_details(&again);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  uint8_t seed[KM_SECRET_KEY_BYTES];
  km_secret_key *key;
  km_id id;
  if (len == 0) {
    return 0;
  }
  for (size_t i = 0; i < sizeof seed; i++) {
    seed[i] = (uint8_t)(i + 1);
  }
  check(km_secret_key_from_bytes(&key, seed) == 0);
  km_secret_key_id(key, &id);
  if (data[0] % 2 == 0) {
    read_payload(&id, data + 1, len - 1);
  } else {
    sign_message(key, &id, data + 1, len - 1);
  }
  km_secret_key_free(key);
  return 0;
}
