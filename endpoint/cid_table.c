#include "endpoint/cid_table.h"

#include <sodium.h>
#include <string.h>

void km_cid_table_init(km_cid_table *table, const km_env *env) {
  memset(table, 0, sizeof *table);
  table->env = env;
  km_env_random(env, table->key, sizeof table->key);
}

void km_cid_table_clear(km_cid_table *table) {
  km_env_free(table->env, table->slots);
  table->slots = NULL;
  table->cap = table->count = table->last = 0;
}

static size_t home_of(const km_cid_table *table, const uint8_t *cid, size_t len) {
  uint8_t hash[crypto_shorthash_BYTES];
  uint64_t h;
  crypto_shorthash(hash, cid, len, table->key);
  memcpy(&h, hash, sizeof h);
  return (size_t)h & (table->cap - 1);
}

static bool entry_is(const km_cid_entry *e, const uint8_t *cid, size_t len) {
  return e->len == len && memcmp(e->data, cid, len) == 0;
}

/* The slot of an id, or the free one where it would go. */
static km_cid_entry *probe(const km_cid_table *table, const uint8_t *cid, size_t len) {
  size_t i = home_of(table, cid, len);
  while (table->slots[i].owner != NULL && !entry_is(&table->slots[i], cid, len)) {
    i = (i + 1) & (table->cap - 1);
  }
  return &table->slots[i];
}

static int grow(km_cid_table *table) {
  km_cid_table bigger = *table;
  bigger.cap = table->cap == 0 ? 64 : table->cap * 2;
  bigger.slots = km_env_zalloc(table->env, bigger.cap, sizeof *bigger.slots);
  if (bigger.slots == NULL) {
    return KM_ERR_NOMEM;
  }
  for (size_t i = 0; i < table->cap; i++) {
    const km_cid_entry *e = &table->slots[i];
    if (e->owner != NULL) {
      *probe(&bigger, e->data, e->len) = *e;
    }
  }
  km_env_free(table->env, table->slots);
  *table = bigger;
  return 0;
}

int km_cid_table_add(km_cid_table *table, const uint8_t *cid, size_t len, km_cid_owner *owner) {
  if (len > KM_CID_MAX) {
    return KM_ERR_INVALID;
  }
  if (table->count + 1 > table->cap / 2) { /* at most half full: short probes */
    int rv = grow(table);
    if (rv != 0) {
      return rv;
    }
  }
  km_cid_entry *e = probe(table, cid, len);
  if (e->owner != NULL) {
    return KM_ERR_STATE;
  }
  e->owner = owner;
  e->len = (uint8_t)len;
  if (len > 0) {
    memcpy(e->data, cid, len);
  }
  table->count++;
  return 0;
}

void km_cid_table_remove(km_cid_table *table, const uint8_t *cid, size_t len,
                         const km_cid_owner *owner) {
  if (table->cap == 0 || len > KM_CID_MAX) {
    return;
  }
  km_cid_entry *e = probe(table, cid, len);
  if (e->owner != owner || owner == NULL) {
    return;
  }
  /* Close the gap, so that no probe ends early at it. */
  size_t mask = table->cap - 1;
  size_t gap = (size_t)(e - table->slots);
  for (size_t i = (gap + 1) & mask; table->slots[i].owner != NULL; i = (i + 1) & mask) {
    size_t home = home_of(table, table->slots[i].data, table->slots[i].len);
    if (((i - home) & mask) >= ((i - gap) & mask)) {
      table->slots[gap] = table->slots[i];
      gap = i;
    }
  }
  memset(&table->slots[gap], 0, sizeof table->slots[gap]);
  table->count--;
}

bool km_cid_table_move(km_cid_table *table, const uint8_t *cid, size_t len, km_cid_owner *owner) {
  if (table->cap == 0 || len > KM_CID_MAX) {
    return false;
  }
  km_cid_entry *e = probe(table, cid, len);
  if (e->owner == NULL) {
    return false;
  }
  e->owner = owner;
  return true;
}

/* Packets come in batches of one connection. An id is in one slot only, so the slot that has it is
 * the right one, whatever happened to the table since. */
km_cid_owner *km_cid_table_find(km_cid_table *table, const uint8_t *cid, size_t len) {
  if (table->cap == 0 || len > KM_CID_MAX) {
    return NULL;
  }
  const km_cid_entry *e = &table->slots[table->last];
  if (e->owner == NULL || !entry_is(e, cid, len)) {
    e = probe(table, cid, len);
    table->last = (size_t)(e - table->slots);
  }
  return e->owner;
}
