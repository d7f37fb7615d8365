/* A wall clock to count ages by, which does not believe every jump: one step of the machine's clock
 * (no battery, a wrong time server) must not make everything old at once. Pure. */
#ifndef KM_DISCOVERY_SERVER_AGE_CLOCK_H
#define KM_DISCOVERY_SERVER_AGE_CLOCK_H

#include "base/env.h"

#define KM_AGE_CLOCK_STEP_S 600    /* what is taken on at once */
#define KM_AGE_CLOCK_BELIEVE_S 900 /* for so long it goes on as before: endpoints publish anew */

typedef struct km_age_clock {
  int64_t wall_s; /* Unix seconds at `at` */
  km_ts at;
  km_ts differs_since; /* KM_TS_NEVER: it does not */
} km_age_clock;

void km_age_clock_init(km_age_clock *c, int64_t wall_s, km_ts now);
/* Unix seconds, given what the machine's clocks say. */
int64_t km_age_clock_now(km_age_clock *c, int64_t wall_s, km_ts now);

#endif /* KM_DISCOVERY_SERVER_AGE_CLOCK_H */
