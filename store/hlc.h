/* Hybrid logical clock (Kulkarni et al. 2014): 48 bits of milliseconds since 1970, 16 bits of
 * counter. Grows with every event and never runs behind what it has seen. Pure. */
#ifndef KM_STORE_HLC_H
#define KM_STORE_HLC_H

#include "base/env.h"

typedef struct km_hlc {
  uint64_t last; /* the highest given out or seen; persisted with what it stamps */
} km_hlc;

#define KM_HLC_COUNTER_BITS 16
#define KM_HLC_MS_MAX ((UINT64_C(1) << 48) - 1)

uint64_t km_hlc_from_wall(km_wall wall); /* counter 0; before 1970 and after 48 bits: clamped */
uint64_t km_hlc_ms(uint64_t clock);
/* The next stamp. KM_ERR_LIMIT when it would be more than `max_ahead_ms` ahead of the wall clock
 * (the wall clock went back that far): nothing changes then. */
KM_NODISCARD int km_hlc_next(km_hlc *h, km_wall wall, uint64_t max_ahead_ms, uint64_t *ret);
/* Takes a stamp of others in. KM_ERR_LIMIT when it is more than `max_skew_ms` ahead of the wall
 * clock: nothing changes then, the entry has to be refused. */
KM_NODISCARD int km_hlc_see(km_hlc *h, uint64_t clock, km_wall wall, uint64_t max_skew_ms);

#endif /* KM_STORE_HLC_H */
