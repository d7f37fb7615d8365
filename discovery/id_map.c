#include "discovery/id_map.h"

#include <sodium/crypto_shorthash.h>
#include <string.h>

#define FIRST_CAP 16

_Static_assert(crypto_shorthash_KEYBYTES == sizeof((km_id_map *)0)->key, "a key of the hash");

void km_id_map_init(km_id_map *map, const km_env *env) {
  *map = (km_id_map){.env = env};
  km_env_random(env, map->key, sizeof map->key);
}

void km_id_map_clear(km_id_map *map) {
  if (map->env != NULL) {
    km_env_free(map->env, map->slots);
  }
  map->slots = NULL;
  map->cap = map->count = 0;
}

static size_t home_of(const km_id_map *map, const km_id *id) {
  uint8_t hash[crypto_shorthash_BYTES];
  uint64_t number;
  (void)crypto_shorthash(hash, id->bytes, sizeof id->bytes, map->key); /* always 0 */
  memcpy(&number, hash, sizeof number);
  return (size_t)number & (map->cap - 1);
}

/* The slot of `id`, or the free one where it belongs. There is always a free one. */
static km_id_slot *find(const km_id_map *map, const km_id *id) {
  size_t at = home_of(map, id);
  while (map->slots[at].value != NULL && !km_id_equal(&map->slots[at].id, id)) {
    at = (at + 1) & (map->cap - 1);
  }
  return &map->slots[at];
}

void *km_id_map_get(const km_id_map *map, const km_id *id) {
  return map->count == 0 ? NULL : find(map, id)->value;
}

static int grow(km_id_map *map) {
  km_id_map larger = *map;
  larger.cap = map->cap == 0 ? FIRST_CAP : map->cap * 2;
  larger.slots = km_env_zalloc(map->env, larger.cap, sizeof *larger.slots);
  if (larger.slots == NULL) {
    return KM_ERR_NOMEM;
  }
  for (size_t i = 0; i < map->cap; i++) {
    if (map->slots[i].value != NULL) {
      *find(&larger, &map->slots[i].id) = map->slots[i];
    }
  }
  km_env_free(map->env, map->slots);
  *map = larger;
  return 0;
}

int km_id_map_set(km_id_map *map, const km_id *id, void *value) {
  km_id_slot *slot = map->cap == 0 ? NULL : find(map, id);
  if (slot != NULL && slot->value != NULL) {
    slot->value = value;
    return 0;
  }
  if ((map->count + 1) * 4 > map->cap * 3) {
    int rv = grow(map);
    if (rv != 0) {
      return rv;
    }
    slot = NULL;
  }
  slot = slot != NULL ? slot : find(map, id);
  *slot = (km_id_slot){.id = *id, .value = value};
  map->count++;
  return 0;
}

/* Those behind a gap that belong before it move into it, so that no search ends at it. */
static void close_gap(km_id_map *map, size_t gap) {
  size_t mask = map->cap - 1;
  for (size_t at = (gap + 1) & mask; map->slots[at].value != NULL; at = (at + 1) & mask) {
    size_t home = home_of(map, &map->slots[at].id);
    if (((at - home) & mask) >= ((at - gap) & mask)) {
      map->slots[gap] = map->slots[at];
      gap = at;
    }
  }
  map->slots[gap].value = NULL;
}

void *km_id_map_take(km_id_map *map, const km_id *id) {
  km_id_slot *slot = map->count == 0 ? NULL : find(map, id);
  if (slot == NULL || slot->value == NULL) {
    return NULL;
  }
  void *value = slot->value;
  close_gap(map, (size_t)(slot - map->slots));
  map->count--;
  return value;
}

km_id_slot *km_id_map_next(const km_id_map *map, size_t *at) {
  while (*at < map->cap) {
    km_id_slot *slot = &map->slots[(*at)++];
    if (slot->value != NULL) {
      return slot;
    }
  }
  return NULL;
}
