/* First byte: who reads, and which version. The rest, any message: no crash; what is read is
 * written as a message that is read as the same. */
#include <stdlib.h>
#include <string.h>

#include "relay/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

static void check_same(const km_relay_frame *a, const km_relay_frame *b) {
  check(a->type == b->type && a->ecn == b->ecn && a->status == b->status);
  check(memcmp(a->peer.bytes, b->peer.bytes, sizeof a->peer.bytes) == 0);
  check(a->reconnect_in_ms == b->reconnect_in_ms && a->try_for_ms == b->try_for_ms);
  if (a->type != KM_RELAY_STATUS) { /* what stands behind a status is not kept */
    check(a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0));
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  static uint8_t again[KM_RELAY_MAX_MESSAGE + 8];
  if (len == 0) {
    return 0;
  }
  km_relay_reader reader = (data[0] & 1) != 0 ? KM_RELAY_READ_SERVER : KM_RELAY_READ_CLIENT;
  km_relay_version version = (data[0] & 2) != 0 ? KM_RELAY_V2 : KM_RELAY_V1;
  km_relay_frame f, g;
  km_errinfo err = {0};
  int rv = km_relay_frame_read(&f, reader, version, data + 1, len - 1, &err);
  if (rv != 0) {
    check(err.code == rv && err.text[0] != '\0');
    return 0;
  }
  int n = km_relay_frame_write(again, sizeof again, &f);
  check(n > 0);
  /* A batch of one is written as a datagram. */
  check(km_relay_frame_read(&g, reader, version, again, (size_t)n, NULL) == 0);
  if (f.type == KM_RELAY_TO_RELAY_BATCH || f.type == KM_RELAY_TO_CLIENT_BATCH) {
    check(g.type == f.type || (g.type + 1 == f.type && (f.segment == 0 || f.segment >= f.len)));
    g.type = f.type;
  }
  check_same(&f, &g);
  return 0;
}
