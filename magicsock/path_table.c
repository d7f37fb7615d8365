#include "magicsock/path_table.h"

#include <sodium/crypto_shorthash.h>
#include <string.h>

#include "magicsock/mapped_addr.h"
#include "magicsock/sockaddr.h"

/* An index is (generation << 20) | (place + 1). Free places queue up, oldest first, so that a place
 * rests before it is used again, and its generation makes the index a new one even then: QUIC may
 * still hold the synthetic address of a path that died. */
enum { PLACE_BITS = 20, GENERATION_MASK = 0xfff, FIRST_PLACES = 16, FIRST_BUCKETS = 32 };
#define PLACE_MASK ((1u << PLACE_BITS) - 1)
#define NO_PLACE UINT32_MAX

typedef struct place {
  km_path *path; /* NULL when free */
  uint32_t next_free;
  uint32_t generation;
} place;

struct km_path_table {
  const km_env *env;
  size_t max_paths;
  size_t count;
  place *places;
  uint32_t place_count, place_cap;
  uint32_t free_head, free_tail;
  km_path **buckets;
  size_t bucket_count; /* a power of two */
  size_t keyed;
  uint8_t hash_key[crypto_shorthash_KEYBYTES];
};

int km_path_table_new(km_path_table **ret, const km_env *env, size_t max_paths) {
  if (max_paths == 0 || max_paths > KM_PATH_TABLE_MAX) {
    return KM_ERR_INVALID;
  }
  km_path_table *t = km_env_zalloc(env, 1, sizeof *t);
  if (t == NULL) {
    return KM_ERR_NOMEM;
  }
  t->env = env;
  t->max_paths = max_paths;
  t->free_head = t->free_tail = NO_PLACE;
  t->bucket_count = FIRST_BUCKETS;
  t->buckets = km_env_zalloc(env, t->bucket_count, sizeof(km_path *));
  if (t->buckets == NULL) {
    km_env_free(env, t);
    return KM_ERR_NOMEM;
  }
  km_env_random(env, t->hash_key, sizeof t->hash_key);
  *ret = t;
  return 0;
}

void km_path_table_del(km_path_table *t) {
  if (t == NULL) {
    return;
  }
  const km_env *env = t->env;
  km_env_free(env, t->places);
  km_env_free(env, t->buckets);
  km_env_free(env, t);
}

size_t km_path_table_count(const km_path_table *t) {
  return t->count;
}

static bool ip_is_unset(const uint8_t ip[16]) {
  static const uint8_t zero[16];
  return memcmp(ip, zero, sizeof zero) == 0;
}

/* Everything of two keys but local_ip. */
static bool same_but_local(const km_path_key *a, const km_path_key *b) {
  if (a->way != b->way) {
    return false;
  }
  if (a->way == KM_WAY_RELAY) {
    return a->relay == b->relay && km_id_equal(&a->peer, &b->peer);
  }
  return a->way == KM_WAY_DIRECT && a->socket == b->socket &&
         a->socket_generation == b->socket_generation && km_udp_addr_equal(&a->remote, &b->remote);
}

bool km_path_key_matches(const km_path_key *a, const km_path_key *b) {
  return same_but_local(a, b) && (memcmp(a->local_ip, b->local_ip, sizeof a->local_ip) == 0 ||
                                  ip_is_unset(a->local_ip) || ip_is_unset(b->local_ip));
}

/* Over all that same_but_local compares. SipHash under a random key: peers choose the addresses
 * they send from, and must not be able to choose the bucket. */
static size_t bucket_of(const km_path_table *t, const km_path_key *key) {
  struct {
    uint32_t way_and_place;
    uint32_t generation_or_relay;
    uint32_t family_and_port;
    uint32_t scope_id;
    uint8_t who[32];
  } in = {.way_and_place = (uint32_t)key->way << 8 | key->socket};
  if (key->way == KM_WAY_RELAY) {
    in.way_and_place = (uint32_t)key->way << 8;
    in.generation_or_relay = key->relay;
    memcpy(in.who, key->peer.bytes, sizeof in.who);
  } else {
    in.generation_or_relay = key->socket_generation;
    in.family_and_port = (uint32_t)key->remote.family << 16 | key->remote.port;
    in.scope_id = key->remote.scope_id;
    memcpy(in.who, key->remote.ip, sizeof key->remote.ip);
  }
  uint8_t hash[crypto_shorthash_BYTES];
  uint64_t number;
  _Static_assert(sizeof in == 48, "no padding may be hashed");
  _Static_assert(sizeof hash == sizeof number, "SipHash-2-4 gives 64 bits");
  crypto_shorthash(hash, (const unsigned char *)&in, sizeof in, t->hash_key);
  memcpy(&number, hash, sizeof number);
  return (size_t)number & (t->bucket_count - 1);
}

km_path *km_path_table_find(const km_path_table *t, const km_path_key *key) {
  if (key->way == KM_WAY_MIXED) {
    return NULL;
  }
  km_path *open = NULL;
  for (km_path *p = t->buckets[bucket_of(t, key)]; p != NULL; p = p->next_in_bucket_) {
    if (!same_but_local(&p->key, key)) {
      continue;
    }
    if (memcmp(p->key.local_ip, key->local_ip, sizeof key->local_ip) == 0) {
      return p;
    }
    if (km_path_key_matches(&p->key, key)) {
      open = p;
    }
  }
  return open;
}

km_path *km_path_table_at(const km_path_table *t, uint32_t index) {
  uint32_t place_plus_one = index & PLACE_MASK;
  if (place_plus_one == 0 || place_plus_one > t->place_count) {
    return NULL;
  }
  km_path *path = t->places[place_plus_one - 1].path;
  return path != NULL && path->index == index ? path : NULL;
}

/* Without room for more buckets the chains just get longer. */
static void grow_buckets(km_path_table *t) {
  size_t new_count = t->bucket_count * 2;
  km_path **new_buckets = km_env_zalloc(t->env, new_count, sizeof(km_path *));
  if (new_buckets == NULL) {
    return;
  }
  km_path **old = t->buckets;
  size_t old_count = t->bucket_count;
  t->buckets = new_buckets;
  t->bucket_count = new_count;
  for (size_t i = 0; i < old_count; i++) {
    km_path *next;
    for (km_path *p = old[i]; p != NULL; p = next) {
      next = p->next_in_bucket_;
      size_t b = bucket_of(t, &p->key);
      p->next_in_bucket_ = t->buckets[b];
      t->buckets[b] = p;
    }
  }
  km_env_free(t->env, old);
}

static int take_place(km_path_table *t, uint32_t *ret) {
  /* A fresh place while there is room in the array, else the one that has rested longest. */
  if (t->place_count == t->place_cap && t->free_head == NO_PLACE) {
    size_t cap = t->place_cap == 0 ? FIRST_PLACES : (size_t)t->place_cap * 2;
    if (cap > t->max_paths) {
      cap = t->max_paths;
    }
    place *places = km_env_realloc(t->env, t->places, cap, sizeof *places);
    if (places == NULL) {
      return KM_ERR_NOMEM;
    }
    t->places = places;
    t->place_cap = (uint32_t)cap;
  }
  if (t->place_count < t->place_cap) {
    *ret = t->place_count++;
    t->places[*ret] = (place){.next_free = NO_PLACE};
    return 0;
  }
  *ret = t->free_head;
  t->free_head = t->places[*ret].next_free;
  if (t->free_head == NO_PLACE) {
    t->free_tail = NO_PLACE;
  }
  return 0;
}

/* What QUIC sees of the path follows from its key and index. */
static void set_addresses(km_path *path) {
  km_mapped_addr_set(&path->local, KM_MAPPED_LOCAL, path->index);
  if (path->key.way == KM_WAY_MIXED) {
    km_mapped_addr_set(&path->remote, KM_MAPPED_MIXED, path->index);
    path->remote_len = (socklen_t)sizeof path->remote.in6;
  } else {
    path->remote_len = km_sockaddr_set(&path->remote, &path->key.remote);
  }
}

int km_path_table_add(km_path_table *t, km_path *path) {
  if (t->count >= t->max_paths) {
    return KM_ERR_LIMIT;
  }
  uint32_t at;
  int rv = take_place(t, &at);
  if (rv != 0) {
    return rv;
  }
  place *p = &t->places[at];
  p->path = path;
  p->next_free = NO_PLACE;
  p->generation = (p->generation + 1) & GENERATION_MASK;
  path->index = p->generation << PLACE_BITS | (at + 1);
  set_addresses(path);
  path->next_in_bucket_ = NULL;
  if (path->key.way != KM_WAY_MIXED) {
    if (t->keyed >= t->bucket_count) {
      grow_buckets(t);
    }
    size_t b = bucket_of(t, &path->key);
    path->next_in_bucket_ = t->buckets[b];
    t->buckets[b] = path;
    t->keyed++;
  }
  t->count++;
  return 0;
}

int km_path_table_make(km_path_table *t, const km_path_key *key, km_path **ret) {
  km_path *path = km_env_zalloc(t->env, 1, sizeof *path);
  if (path == NULL) {
    return KM_ERR_NOMEM;
  }
  path->key = *key;
  path->refs = 1;
  int rv = km_path_table_add(t, path);
  if (rv != 0) {
    km_env_free(t->env, path);
    return rv;
  }
  *ret = path;
  return 0;
}

void km_path_table_remove(km_path_table *t, km_path *path) {
  if (path->key.way != KM_WAY_MIXED) {
    km_path **link = &t->buckets[bucket_of(t, &path->key)];
    while (*link != path) {
      link = &(*link)->next_in_bucket_;
    }
    *link = path->next_in_bucket_;
    path->next_in_bucket_ = NULL;
    t->keyed--;
  }
  uint32_t at = (path->index & PLACE_MASK) - 1;
  t->places[at].path = NULL;
  t->places[at].next_free = NO_PLACE;
  if (t->free_tail == NO_PLACE) {
    t->free_head = at;
  } else {
    t->places[t->free_tail].next_free = at;
  }
  t->free_tail = at;
  t->count--;
}
