/* A map from ids to pointers. Ids come from strangers: places are found by a keyed hash. Pure. */
#ifndef KM_DISCOVERY_ID_MAP_H
#define KM_DISCOVERY_ID_MAP_H

#include <keymesh/id.h>

#include "base/env.h"

typedef struct km_id_slot {
  km_id id;
  void *value; /* NULL: the slot is free */
} km_id_slot;

typedef struct km_id_map {
  const km_env *env;
  km_id_slot *slots;
  size_t cap, count;
  uint8_t key[16];
} km_id_map;

void km_id_map_init(km_id_map *map, const km_env *env);
void km_id_map_clear(km_id_map *map); /* the values are the caller's */

void *km_id_map_get(const km_id_map *map, const km_id *id); /* NULL: not there */
/* Puts or replaces; `value` is not NULL. 0 or KM_ERR_NOMEM, which replacing never gives. */
KM_NODISCARD int km_id_map_set(km_id_map *map, const km_id *id, void *value);
void *km_id_map_take(km_id_map *map, const km_id *id); /* out of the map; NULL: not there */

/* The first used slot from `*at` on, which is moved behind it; NULL at the end. The map must not
 * change meanwhile, except for values. */
km_id_slot *km_id_map_next(const km_id_map *map, size_t *at);

#endif /* KM_DISCOVERY_ID_MAP_H */
