/* Any opened body: no crash; what is read holds what the header says of it, and is written as a
 * body that is read as the same. */
#include <stdlib.h>
#include <string.h>

#include "holepunch/disco.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

static void check_call(const km_call_me_maybe *call) {
  check(call->count <= KM_DISCO_MAX_CANDIDATES);
  for (size_t i = 0; i < call->count; i++) {
    check(km_disco_may_probe(&call->candidates[i].addr));
    check(call->candidates[i].addr.scope_id == 0);
  }
  check(memchr(call->relay_url, '\0', sizeof call->relay_url) != NULL);
  check(call->nat.mapping4 <= KM_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT);
  check(call->nat.mapping6 <= KM_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT);
  check(call->nat.filtering4 <= KM_NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT);
  check(call->nat.filtering6 <= KM_NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT);
}

static void check_same_call(const km_call_me_maybe *a, const km_call_me_maybe *b) {
  check(a->flags == b->flags && a->nat.port_step == b->nat.port_step);
  check(a->nat.mapping4 == b->nat.mapping4 && a->nat.mapping6 == b->nat.mapping6);
  check(a->nat.filtering4 == b->nat.filtering4 && a->nat.filtering6 == b->nat.filtering6);
  check(a->count == b->count && strcmp(a->relay_url, b->relay_url) == 0);
  for (size_t i = 0; i < a->count; i++) {
    check(a->candidates[i].source == b->candidates[i].source);
    check(km_udp_addr_equal(&a->candidates[i].addr, &b->candidates[i].addr));
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  km_disco_message msg, back;
  uint8_t again[KM_DISCO_MAX_PACKET];
  km_disco_header header;
  (void)km_disco_header_read(&header, data, len); /* any answer will do */
  if (km_disco_read(&msg, data, len) != 0) {
    return 0;
  }
  check(msg.observed.family == 0 || km_disco_may_probe(&msg.observed));
  check_call(&msg.call);
  int n = km_disco_write(&msg, again, sizeof again);
  check(n > 0 && (size_t)n <= sizeof again - KM_DISCO_HEADER_LEN - KM_DISCO_TAG_LEN);
  check(km_disco_read(&back, again, (size_t)n) == 0);
  check(msg.type == back.type && memcmp(msg.tx, back.tx, sizeof msg.tx) == 0);
  check(km_udp_addr_equal(&msg.observed, &back.observed));
  check_same_call(&msg.call, &back.call);
  return 0;
}
