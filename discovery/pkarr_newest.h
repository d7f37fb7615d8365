/* The newest timestamp seen of each key, so that nobody can hand us an older packet later on. As
 * many keys as there is room for; the least recently used one makes room. Pure. */
#ifndef KM_DISCOVERY_PKARR_NEWEST_H
#define KM_DISCOVERY_PKARR_NEWEST_H

#include <keymesh/id.h>

#include "base/env.h"

#define KM_PKARR_NEWEST_MAX 1024

typedef struct km_pkarr_newest_entry {
  km_id id;
  uint64_t timestamp_us;
  uint64_t used;
} km_pkarr_newest_entry;

typedef struct km_pkarr_newest {
  const km_env *env;
  km_pkarr_newest_entry *entries;
  size_t count, cap;
  uint64_t clock;
} km_pkarr_newest;

void km_pkarr_newest_init(km_pkarr_newest *n, const km_env *env);
void km_pkarr_newest_clear(km_pkarr_newest *n);
/* A verified packet of `id` came. False: a newer one is known. Without memory it is not
 * remembered. */
bool km_pkarr_newest_take(km_pkarr_newest *n, const km_id *id, uint64_t timestamp_us);

#endif /* KM_DISCOVERY_PKARR_NEWEST_H */
