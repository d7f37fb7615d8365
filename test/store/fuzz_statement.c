/* Any bytes as a statement: no crash, and there is one form only. */
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "store/statement.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  km_statement s;
  km_errinfo err = {0};
  uint8_t buf[KM_STATEMENT_MAX];
  int rv = km_statement_decode(&s, data, len, &err);
  check(rv == 0 || rv == KM_ERR_BAD_PACKET || rv == KM_ERR_CRYPTO || rv == KM_ERR_UNSUPPORTED);
  check(err.code == rv);
  if (km_statement_read(&s, data, len, NULL) != 0) {
    check(rv == KM_ERR_BAD_PACKET || rv == KM_ERR_UNSUPPORTED);
    return 0;
  }
  check(rv == 0 || rv == KM_ERR_CRYPTO);
  check(km_peer_text_ok(s.text, s.text_len, KM_PEER_NOTE_MAX));
  check(km_statement_encode(&s, buf, sizeof buf) == (int)len);
  check(memcmp(buf, data, len) == 0);
  return 0;
}
