#include "endpoint/candidates.h"

#include <string.h>

km_rank km_rank_of_found(const km_found *found) {
  if (strcmp(found->source, "memory") == 0 || strcmp(found->source, "file") == 0) {
    return KM_RANK_GIVEN; /* by the program, or whoever runs it */
  }
  return found->worked ? KM_RANK_WORKED : found->proven ? KM_RANK_SIGNED : KM_RANK_CLAIMED;
}

/* --- the list --------------------------------------------------------------------------------- */

/* There are never more sources than places. */
static uint8_t source_of(km_candidates *c, const char *name) {
  uint8_t i = 0;
  while (i < c->source_count && strncmp(c->sources[i], name, sizeof c->sources[i] - 1) != 0) {
    i++;
  }
  if (i == KM_DISCOVERY_MAX_SOURCES) {
    return (uint8_t)(i - 1);
  }
  if (i == c->source_count) {
    size_t len = strnlen(name, sizeof c->sources[i] - 1);
    memcpy(c->sources[i], name, len);
    c->sources[i][len] = '\0';
    c->source_count++;
  }
  return i;
}

km_told km_candidates_answer(km_candidates *c, const km_found *found) {
  return (km_told){.rank = (uint8_t)km_rank_of_found(found),
                   .source = source_of(c, found->source),
                   .answer = ++c->answer,
                   .left = KM_CLAIM_PACKETS};
}

static bool is_same(const km_path_key *a, const km_path_key *b) {
  if (a->way != b->way) {
    return false;
  }
  return a->way == KM_WAY_DIRECT ? km_udp_addr_equal(&a->remote, &b->remote)
                                 : km_path_key_matches(a, b);
}

km_told *km_candidates_find(const km_candidates *c, const km_path_key *key) {
  for (size_t i = 0; c != NULL && i < c->count; i++) {
    if (is_same(&c->at[i].key, key)) {
      return &c->at[i];
    }
  }
  return NULL;
}

km_path *km_candidates_path(const km_path *mixed, const km_told *told) {
  for (size_t i = 0; i < km_mixed_count(mixed); i++) {
    km_path *path = km_mixed_at(mixed, i);
    if (is_same(&path->key, &told->key)) {
      return path;
    }
  }
  return NULL;
}

km_told *km_candidates_add(km_candidates *c, const km_env *env, const km_told *told) {
  if (c->count == c->cap) {
    size_t cap = c->cap == 0 ? 8 : 2 * c->cap;
    km_told *at = cap > KM_CANDIDATES_MAX_TOLD ? NULL : km_env_realloc(env, c->at, cap, sizeof *at);
    if (at == NULL) {
      return NULL;
    }
    c->at = at;
    c->cap = cap;
  }
  if (told->rank == KM_RANK_CLAIMED && told->key.way == KM_WAY_RELAY) {
    c->relays_taken++;
  } else if (told->rank == KM_RANK_CLAIMED) {
    c->taken[told->source]++;
  }
  c->at[c->count] = *told;
  return &c->at[c->count++];
}

void km_candidates_drop(km_candidates *c, const km_env *env, km_told *told) {
  size_t i = (size_t)(told - c->at);
  km_env_free(env, told->url);
  c->count--;
  memmove(&c->at[i], &c->at[i + 1], (c->count - i) * sizeof c->at[0]);
}

void km_candidates_clear(km_candidates *c, const km_env *env) {
  while (c->count > 0) {
    km_candidates_drop(c, env, &c->at[c->count - 1]);
  }
  km_env_free(env, c->at);
  *c = (km_candidates){0};
}

/* --- room ------------------------------------------------------------------------------------- */

bool km_candidates_may_take(const km_candidates *c, const km_told *fresh, km_way way) {
  if (fresh->rank != KM_RANK_CLAIMED) {
    return true;
  }
  return c->claims_wrong < KM_CLAIMS_WRONG_MAX &&
         (way == KM_WAY_RELAY ? c->relays_taken < KM_CLAIMED_RELAYS_MAX
                              : c->taken[fresh->source] < KM_CLAIMS_OF_SOURCE);
}

/* In the mixed path or about to be; and the one that answered, if it did, must stay. */
static bool is_tried(const km_told *t, const km_path *mixed) {
  return t->waits != NULL || km_candidates_path(mixed, t) != NULL;
}

static bool may_leave(const km_told *t, const km_path *mixed) {
  const km_path *path = km_candidates_path(mixed, t);
  return t->waits != NULL || (path != NULL && path != km_mixed_current(mixed));
}

static bool is_claim_of(const km_told *t, km_way way) {
  return t->rank == KM_RANK_CLAIMED && t->key.way == way;
}

bool km_candidates_are_full(const km_candidates *c, const km_path *mixed, const km_told *fresh,
                            km_way way) {
  size_t claims = 0;
  for (size_t i = 0; i < c->count; i++) {
    claims += is_claim_of(&c->at[i], way) && is_tried(&c->at[i], mixed);
  }
  size_t most = way == KM_WAY_RELAY ? KM_CLAIMED_RELAYS_AT_ONCE : KM_CLAIMS_AT_ONCE;
  return km_mixed_count(mixed) >= KM_MIXED_MAX_CANDIDATES ||
         (fresh->rank == KM_RANK_CLAIMED && claims >= most);
}

/* The worst: old, then by rank. */
static km_told *worse(const km_candidates *c, const km_path *mixed, const km_told *fresh) {
  km_told *worst = NULL;
  for (size_t i = 0; i < c->count; i++) {
    km_told *t = &c->at[i];
    bool is_worse =
        worst == NULL || (t->old && !worst->old) || (t->old == worst->old && t->rank < worst->rank);
    if (is_worse && may_leave(t, mixed) && (t->old || t->rank < fresh->rank)) {
      worst = t;
    }
  }
  return worst;
}

/* Claims of the kind that are tried now, by source and by answer. */
typedef struct shares {
  size_t of_source[KM_DISCOVERY_MAX_SOURCES];
  size_t of_answer[KM_CANDIDATES_MAX_TOLD]; /* of the answer of the entry with this index */
} shares;

static void count_shares(const km_candidates *c, const km_path *mixed, km_way way, shares *ret) {
  memset(ret, 0, sizeof *ret);
  for (size_t i = 0; i < c->count; i++) {
    const km_told *t = &c->at[i];
    if (!is_claim_of(t, way) || !is_tried(t, mixed)) {
      continue;
    }
    ret->of_source[t->source]++;
    for (size_t k = 0; k < c->count; k++) {
      ret->of_answer[k] += c->at[k].answer == t->answer;
    }
  }
}

static size_t share_of_answer(const km_candidates *c, const shares *s, uint16_t answer) {
  for (size_t i = 0; i < c->count; i++) {
    if (c->at[i].answer == answer) {
      return s->of_answer[i];
    }
  }
  return 0;
}

/* The oldest claim of the largest answer of the largest source, where that makes it fairer. */
static km_told *unfair(const km_candidates *c, const km_path *mixed, const km_told *fresh,
                       km_way way) {
  shares s;
  count_shares(c, mixed, way, &s);
  size_t own = share_of_answer(c, &s, fresh->answer), most = 0;
  km_told *worst = NULL;
  for (size_t i = 0; i < c->count; i++) {
    km_told *t = &c->at[i];
    bool same = t->source == fresh->source;
    bool fairer =
        same ? s.of_answer[i] >= own + 2 : s.of_source[t->source] >= s.of_source[fresh->source] + 2;
    size_t weight = s.of_source[t->source] * KM_CANDIDATES_MAX_TOLD + s.of_answer[i];
    if (fairer && weight > most && is_claim_of(t, way) && may_leave(t, mixed)) {
      worst = t;
      most = weight;
    }
  }
  return worst;
}

static km_told *old_claim(const km_candidates *c, const km_path *mixed, km_way way) {
  for (size_t i = 0; i < c->count; i++) {
    km_told *t = &c->at[i];
    if (t->old && t->rank <= KM_RANK_SIGNED && t->key.way == way && may_leave(t, mixed)) {
      return t;
    }
  }
  return NULL;
}

km_told *km_candidates_victim(const km_candidates *c, const km_path *mixed, const km_told *fresh,
                              km_way way) {
  if (fresh->rank != KM_RANK_CLAIMED) {
    return worse(c, mixed, fresh);
  }
  km_told *old = old_claim(c, mixed, way);
  return old != NULL ? old : unfair(c, mixed, fresh, way);
}

/* --- what turned out -------------------------------------------------------------------------- */

void km_candidates_wrong(km_candidates *c, km_told *told, bool mute) {
  if (told->rank == KM_RANK_CLAIMED && !told->wrong) {
    c->claims_wrong++;
    c->mutes = (uint8_t)(c->mutes + (mute ? 1 : 0));
  }
  told->wrong = told->out = true;
}

bool km_candidates_is_tainted(const km_candidates *c, const km_told *told) {
  size_t wrong = 0;
  for (size_t i = 0; i < c->count; i++) {
    wrong += c->at[i].wrong && c->at[i].answer == told->answer;
  }
  return told->rank == KM_RANK_CLAIMED &&
         (wrong >= KM_CLAIMS_WRONG_OF_ANSWER || c->claims_wrong >= KM_CLAIMS_WRONG_MAX);
}

void km_candidates_age(km_candidates *c) {
  size_t kept = 0;
  for (size_t i = 0; i < c->count; i++) {
    if (!c->at[i].out) { /* what is out is an address, and owns nothing */
      c->at[kept] = c->at[i];
      c->at[kept].left = KM_CLAIM_PACKETS;
      c->at[kept++].old = true;
    }
  }
  c->count = kept;
  memset(c->taken, 0, sizeof c->taken);
  c->relays_taken = c->claims_wrong = c->mutes = 0;
}
