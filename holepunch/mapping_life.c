#include "holepunch/mapping_life.h"

void km_mapping_life_init(km_mapping_life *m) {
  *m = (km_mapping_life){.born = 0};
}

void km_mapping_life_restart(km_mapping_life *m, bool forget, km_ts now) {
  uint64_t last_life = forget ? 0 : m->last_life, life = forget ? 0 : m->life;
  *m = (km_mapping_life){.born = now, .last_seen = now, .last_life = last_life, .life = life};
}

/* Within a quarter of the longer one. */
static bool about_same(uint64_t a, uint64_t b) {
  uint64_t longer = a > b ? a : b, shorter = a > b ? b : a;
  return longer - shorter <= longer / 4;
}

static bool is_longer(uint64_t age, uint64_t life) {
  return age > life + life / 2;
}

/* The mapping was there at `last_seen` and is not any more. Where nobody looked in the last quarter
 * of that time there is nothing to learn: it may just have been idle. */
static void learn(km_mapping_life *m, km_ts now) {
  uint64_t lived = m->last_seen - m->born;
  if (!about_same(lived, now - m->born)) {
    return;
  }
  if (lived < KM_MAPPING_LIFE_MIN || lived > KM_MAPPING_LIFE_MAX) {
    m->last_life = 0;
    return;
  }
  if (about_same(m->last_life, lived)) {
    m->life = lived < m->last_life ? lived : m->last_life;
  }
  m->last_life = lived;
}

static void begin(km_mapping_life *m, const km_udp_addr *outer, km_ts now) {
  m->outer = *outer;
  m->born = m->last_seen = now;
}

void km_mapping_life_observed(km_mapping_life *m, const km_udp_addr *outer, km_ts now) {
  if (outer->family == 0 || now < m->last_seen) {
    return;
  }
  if (m->outer.family == 0) {
    begin(m, outer, now);
    return;
  }
  bool same = km_udp_addr_equal(&m->outer, outer);
  if (same) {
    m->last_seen = now;
  }
  if (m->life != 0 && is_longer(m->last_seen - m->born, m->life)) {
    m->life = m->last_life = 0;
  }
  if (!same) {
    learn(m, now);
    begin(m, outer, now);
  }
}

km_ts km_mapping_life_renew_at(const km_mapping_life *m) {
  if (m->life == 0 || m->outer.family == 0) {
    return KM_TS_NEVER;
  }
  return m->born + m->life - m->life / 4;
}
