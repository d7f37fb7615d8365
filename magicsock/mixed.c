#include "magicsock/mixed.h"

#include <assert.h>

#include "magicsock/magicsock.h"

typedef struct mixed {
  km_path path; /* first: a km_path of way KM_WAY_MIXED is one of these */
  km_path *current;
  km_path **at;
  uint32_t count, cap;
} mixed;

static mixed *mixed_of(km_path *path) {
  assert(path->key.way == KM_WAY_MIXED);
  return (mixed *)path;
}

static const mixed *const_mixed_of(const km_path *path) {
  assert(path->key.way == KM_WAY_MIXED);
  return (const mixed *)path;
}

int km_mixed_make(km_path_table *table, const km_env *env, km_path **ret) {
  mixed *m = km_env_zalloc(env, 1, sizeof *m);
  if (m == NULL) {
    return KM_ERR_NOMEM;
  }
  m->path.key.way = KM_WAY_MIXED;
  m->path.refs = 1;
  int rv = km_path_table_add(table, &m->path);
  if (rv != 0) {
    km_env_free(env, m);
    return rv;
  }
  *ret = &m->path;
  return 0;
}

int km_mixed_append(const km_env *env, km_path *path, km_path *candidate) {
  mixed *m = mixed_of(path);
  if (m->count == KM_MIXED_MAX_CANDIDATES) {
    return KM_ERR_LIMIT;
  }
  if (m->count == m->cap) {
    uint32_t cap = m->cap == 0 ? 4 : m->cap * 2;
    km_path **at = km_env_realloc(env, m->at, cap, sizeof(km_path *));
    if (at == NULL) {
      return KM_ERR_NOMEM;
    }
    m->at = at;
    m->cap = cap;
  }
  m->at[m->count++] = candidate;
  return 0;
}

void km_mixed_replace(km_path *path, size_t index, km_path *with) {
  mixed *m = mixed_of(path);
  m->current = m->current == m->at[index] ? with : m->current;
  m->at[index] = with;
}

void km_mixed_free(const km_env *env, km_path *path) {
  mixed *m = mixed_of(path);
  km_env_free(env, m->at);
  km_env_free(env, m);
}

km_path *km_mixed_candidate(const km_path *path, const km_path_key *key) {
  const mixed *m = const_mixed_of(path);
  for (uint32_t i = 0; i < m->count; i++) {
    if (km_path_key_matches(&m->at[i]->key, key)) {
      return m->at[i];
    }
  }
  return NULL;
}

void km_mixed_answered(km_path *path, km_path *candidate) {
  mixed_of(path)->current = candidate;
}

km_path *km_mixed_current(const km_path *path) {
  return const_mixed_of(path)->current;
}

size_t km_mixed_count(const km_path *path) {
  return const_mixed_of(path)->count;
}

km_path *km_mixed_at(const km_path *path, size_t index) {
  const mixed *m = const_mixed_of(path);
  return index < m->count ? m->at[index] : NULL;
}
