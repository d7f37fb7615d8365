/* Any bytes as entries of a stream: no crash, what is taken keeps to the rules, and written again
 * it is the bytes that were read. */
#include <stdlib.h>
#include <string.h>

#include "store/entry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { MAX_KEY = 64, MAX_VALUE = 1024 };

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

static void check_entry(const km_entry *e, const uint8_t *bytes, size_t len) {
  uint8_t again[2048], hash[KM_ENTRY_HASH_BYTES];
  km_errinfo err = {0};
  check(km_entry_key_check(e->key, e->key_len, MAX_KEY, &err) == 0);
  check(e->value_len <= MAX_VALUE && (e->flags & ~KM_ENTRY_DELETED) == 0);
  check(km_entry_size(e) == len);
  km_wr wr = km_wr_init(again, sizeof again);
  km_entry_encode(e, &wr);
  check(!wr.failed && (size_t)(wr.at - again) == len && memcmp(again, bytes, len) == 0);
  km_entry_hash(e, hash);
  int rv = km_entry_verify(e);
  check(rv == 0 || rv == KM_ERR_CRYPTO);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  km_rd rd = km_rd_init(data, len);
  while (km_rd_left(&rd) > 0) {
    const uint8_t *from = rd.at;
    km_entry e;
    km_errinfo err = {0};
    int rv = km_entry_decode(&e, &rd, "notes", 5, MAX_KEY, MAX_VALUE, &err);
    check(rv == 0 || (rv == KM_ERR_BAD_PACKET && err.code == rv && err.text[0] != '\0'));
    if (rv != 0) {
      check(rd.at == from);
      break;
    }
    check_entry(&e, from, (size_t)(rd.at - from));
  }
  km_errinfo err = {0};
  int rv = km_share_name_check((const char *)data, len, &err);
  check(rv == 0 || rv == KM_ERR_INVALID);
  return 0;
}
