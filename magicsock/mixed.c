#include "magicsock/mixed.h"

#include <assert.h>
#include <string.h>

#include "magicsock/magicsock.h"

typedef struct candidate {
  km_path *path;
  uint32_t left; /* packets that it may be sent before it answers, or KM_MIXED_UNLIMITED */
} candidate;

typedef struct mixed {
  km_path path; /* first: a km_path of way KM_WAY_MIXED is one of these */
  km_path *current;
  candidate *at;
  uint32_t count, cap;
  bool grows;
  km_mixed_flight *flight; /* NULL: nothing is remembered */
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

int km_mixed_append(const km_env *env, km_path *path, km_path *with, uint32_t allowance) {
  mixed *m = mixed_of(path);
  if (m->count == KM_MIXED_MAX_CANDIDATES) {
    return KM_ERR_LIMIT;
  }
  if (m->count == m->cap) {
    uint32_t cap = m->cap == 0 ? 4 : m->cap * 2;
    candidate *at = km_env_realloc(env, m->at, cap, sizeof *at);
    if (at == NULL) {
      return KM_ERR_NOMEM;
    }
    m->at = at;
    m->cap = cap;
  }
  m->at[m->count++] = (candidate){with, allowance};
  return 0;
}

km_path *km_mixed_take_out(km_path *path, const km_path_key *key) {
  mixed *m = mixed_of(path);
  for (uint32_t i = 0; i < m->count; i++) {
    km_path *out = m->at[i].path;
    if (out != m->current && km_path_key_matches(&out->key, key)) {
      m->count--;
      memmove(&m->at[i], &m->at[i + 1], (m->count - i) * sizeof m->at[0]);
      return out;
    }
  }
  return NULL;
}

static candidate *find(const mixed *m, const km_path_key *key) {
  for (uint32_t i = 0; i < m->count; i++) {
    if (km_path_key_matches(&m->at[i].path->key, key)) {
      return &m->at[i];
    }
  }
  return NULL;
}

void km_mixed_allow(km_path *path, const km_path_key *key, uint32_t packets) {
  candidate *c = find(mixed_of(path), key);
  if (c != NULL) {
    c->left = packets;
  }
}

uint32_t km_mixed_allowance(const km_path *path, const km_path_key *key) {
  const candidate *c = find(const_mixed_of(path), key);
  return c == NULL ? KM_MIXED_UNLIMITED : c->left;
}

uint32_t km_mixed_left_at(const km_path *path, size_t index) {
  return const_mixed_of(path)->at[index].left;
}

void km_mixed_pay(km_path *path, size_t index, uint32_t packets) {
  mixed_of(path)->at[index].left -= packets;
}

void km_mixed_replace(km_path *path, size_t index, km_path *with) {
  mixed *m = mixed_of(path);
  m->current = m->current == m->at[index].path ? with : m->current;
  m->at[index].path = with;
}

void km_mixed_set_grows(const km_env *env, km_path *path, bool grows) {
  mixed *m = mixed_of(path);
  m->grows = grows;
  if (!grows) {
    km_env_free(env, m->flight);
    m->flight = NULL;
  }
}

void km_mixed_remember(const km_env *env, km_path *path, const uint8_t *data, size_t len,
                       size_t segment, uint8_t ecn) {
  mixed *m = mixed_of(path);
  if (!m->grows || segment > KM_MIXED_FLIGHT_MAX) {
    return;
  }
  if (m->flight == NULL) {
    m->flight = km_env_alloc(env, sizeof *m->flight);
    if (m->flight == NULL) {
      return;
    }
  }
  size_t most = KM_MIXED_FLIGHT_MAX / segment * segment;
  m->flight->len = len < most ? len : most;
  m->flight->segment = segment;
  m->flight->ecn = ecn;
  memcpy(m->flight->data, data, m->flight->len);
}

const km_mixed_flight *km_mixed_last_flight(const km_path *path) {
  return const_mixed_of(path)->flight;
}

void km_mixed_free(const km_env *env, km_path *path) {
  mixed *m = mixed_of(path);
  km_env_free(env, m->flight);
  km_env_free(env, m->at);
  km_env_free(env, m);
}

km_path *km_mixed_candidate(const km_path *path, const km_path_key *key) {
  const candidate *c = find(const_mixed_of(path), key);
  return c == NULL ? NULL : c->path;
}

void km_mixed_answered(km_path *path, km_path *who) {
  mixed_of(path)->current = who;
}

km_path *km_mixed_current(const km_path *path) {
  return const_mixed_of(path)->current;
}

size_t km_mixed_count(const km_path *path) {
  return const_mixed_of(path)->count;
}

km_path *km_mixed_at(const km_path *path, size_t index) {
  const mixed *m = const_mixed_of(path);
  return index < m->count ? m->at[index].path : NULL;
}
