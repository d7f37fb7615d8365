#include "discovery/pkarr_newest.h"

enum { FIRST_CAP = 16 };

void km_pkarr_newest_init(km_pkarr_newest *n, const km_env *env) {
  *n = (km_pkarr_newest){.env = env};
}

void km_pkarr_newest_clear(km_pkarr_newest *n) {
  km_env_free(n->env, n->entries);
  km_pkarr_newest_init(n, n->env);
}

static km_pkarr_newest_entry *find(km_pkarr_newest *n, const km_id *id) {
  for (size_t i = 0; i < n->count; i++) {
    if (km_id_equal(&n->entries[i].id, id)) {
      return &n->entries[i];
    }
  }
  return NULL;
}

static km_pkarr_newest_entry *least_used(km_pkarr_newest *n) {
  km_pkarr_newest_entry *least = &n->entries[0];
  for (size_t i = 1; i < n->count; i++) {
    least = n->entries[i].used < least->used ? &n->entries[i] : least;
  }
  return least;
}

static km_pkarr_newest_entry *make_room(km_pkarr_newest *n) {
  if (n->count < n->cap) {
    return &n->entries[n->count++];
  }
  if (n->cap < KM_PKARR_NEWEST_MAX) {
    size_t cap = n->cap > 0 ? 2 * n->cap : FIRST_CAP;
    km_pkarr_newest_entry *grown = km_env_realloc(n->env, n->entries, cap, sizeof *grown);
    if (grown != NULL) {
      n->entries = grown;
      n->cap = cap;
      return &n->entries[n->count++];
    }
  }
  return n->entries != NULL && n->count > 0 ? least_used(n) : NULL;
}

bool km_pkarr_newest_take(km_pkarr_newest *n, const km_id *id, uint64_t timestamp_us) {
  km_pkarr_newest_entry *e = find(n, id);
  if (e == NULL) {
    e = make_room(n);
    if (e == NULL) {
      return true;
    }
    *e = (km_pkarr_newest_entry){.id = *id};
  }
  e->used = ++n->clock;
  if (timestamp_us < e->timestamp_us) {
    return false;
  }
  e->timestamp_us = timestamp_us;
  return true;
}
