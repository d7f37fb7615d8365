#include "discovery/server/age_clock.h"

void km_age_clock_init(km_age_clock *c, int64_t wall_s, km_ts now) {
  *c = (km_age_clock){.wall_s = wall_s, .at = now, .differs_since = KM_TS_NEVER};
}

int64_t km_age_clock_now(km_age_clock *c, int64_t wall_s, km_ts now) {
  int64_t own_s = c->wall_s + (int64_t)((now - c->at) / KM_NS_PER_S);
  int64_t ahead_s = wall_s - own_s;
  bool differs = ahead_s > KM_AGE_CLOCK_STEP_S || ahead_s < -KM_AGE_CLOCK_STEP_S;
  if (differs && c->differs_since == KM_TS_NEVER) {
    c->differs_since = now;
  }
  if (differs && now - c->differs_since < KM_AGE_CLOCK_BELIEVE_S * KM_NS_PER_S) {
    return own_s;
  }
  km_age_clock_init(c, wall_s, now);
  return wall_s;
}
