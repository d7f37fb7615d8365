/* Buckets of pings toward addresses that have proven nothing. */
#include "holepunch/punch_impl.h"

void km_probe_budget_init(km_probe_budget *b, km_ts now) {
  *b = (km_probe_budget){.left = KM_PROBE_BURST, .refilled = now};
}

bool km_probe_budget_has(km_probe_budget *b, uint32_t per_second, uint32_t burst, km_ts now) {
  uint64_t elapsed = km_punch_since(now, b->refilled);
  if (elapsed >= KM_NS_PER_S * burst / per_second) {
    b->left = burst;
    b->refilled = now;
  } else {
    uint64_t grown = elapsed * per_second / KM_NS_PER_S;
    b->refilled += grown * KM_NS_PER_S / per_second; /* what is less than one ping waits */
    b->left = (uint32_t)(b->left + grown < burst ? b->left + grown : burst);
  }
  return b->left > 0;
}

bool km_punch_pay(km_punch *p) {
  if (!km_probe_budget_has(&p->alone, KM_PROBE_PER_SECOND / 2, KM_PROBE_BURST / 2, p->now) ||
      !km_probe_budget_has(p->shared, KM_PROBE_PER_SECOND, KM_PROBE_BURST, p->now)) {
    return false;
  }
  p->alone.left--;
  p->shared->left--;
  return true;
}
