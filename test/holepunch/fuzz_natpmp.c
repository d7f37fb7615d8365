/* Any packet: no crash, and only what the packet says. */
#include <stdlib.h>

#include "holepunch/natpmp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  km_natpmp_answer a;
  if (!km_natpmp_read(&a, data, len)) {
    return 0;
  }
  check(len >= 8 && data[0] == 0 && data[1] >= 128);
  check((a.result != 0) == (a.kind == KM_NATPMP_FAILED));
  check(a.kind != KM_NATPMP_ADDRESS || (len >= 12 && a.op == 0 && a.lifetime_s == 0));
  check(a.kind != KM_NATPMP_MAP || (len >= 16 && a.op == 1));
  check(km_natpmp_result_name(a.result)[0] != '\0');
  return 0;
}
