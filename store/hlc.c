#include "store/hlc.h"

uint64_t km_hlc_from_wall(km_wall wall) {
  if (wall.unix_ns < 0) {
    return 0;
  }
  uint64_t ms = (uint64_t)wall.unix_ns / KM_NS_PER_MS;
  return (ms < KM_HLC_MS_MAX ? ms : KM_HLC_MS_MAX) << KM_HLC_COUNTER_BITS;
}

uint64_t km_hlc_ms(uint64_t clock) {
  return clock >> KM_HLC_COUNTER_BITS;
}

static bool is_ahead(uint64_t clock, km_wall wall, uint64_t max_ms) {
  uint64_t ms = km_hlc_ms(clock), now_ms = km_hlc_ms(km_hlc_from_wall(wall));
  return ms > now_ms && ms - now_ms > max_ms;
}

int km_hlc_next(km_hlc *h, km_wall wall, uint64_t max_ahead_ms, uint64_t *ret) {
  if (h->last == UINT64_MAX) {
    return KM_ERR_LIMIT;
  }
  /* A counter that is full runs over into the milliseconds. */
  uint64_t now = km_hlc_from_wall(wall);
  uint64_t next = h->last < now ? now : h->last + 1;
  if (is_ahead(next, wall, max_ahead_ms)) {
    return KM_ERR_LIMIT;
  }
  h->last = next;
  *ret = next;
  return 0;
}

int km_hlc_see(km_hlc *h, uint64_t clock, km_wall wall, uint64_t max_skew_ms) {
  if (is_ahead(clock, wall, max_skew_ms)) {
    return KM_ERR_LIMIT;
  }
  if (h->last < clock) {
    h->last = clock;
  }
  return 0;
}
