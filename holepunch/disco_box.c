#include "holepunch/disco_box.h"

#include <sodium.h>
#include <string.h>

enum { FIRST_BUCKETS = 16, FIRST_SEEN = 8 };
#define BODY_CAP (KM_DISCO_MAX_PACKET - KM_DISCO_HEADER_LEN - KM_DISCO_TAG_LEN)

typedef struct peer {
  struct peer *next; /* in its bucket */
  void *owner;
  km_id id;
  uint8_t key[KM_DISCO_KEY_LEN]; /* the X25519 public key until the shared one is needed */
  size_t admitted;
  uint64_t newest; /* time of the newest packet; 0: nothing came yet */
  uint64_t newest_call;
  uint64_t forgotten; /* packets up to this time may have been seen */
  uint64_t *seen;     /* times, ascending */
  uint16_t seen_count, seen_cap;
  bool key_is_shared;
} peer;

struct km_disco_box {
  const km_env *env;
  km_id own;
  uint8_t *secret; /* X25519, in locked memory */
  peer **buckets;
  size_t bucket_count; /* a power of two */
  size_t peer_count;
  uint64_t last_time; /* of what we sealed */
  km_disco_box_stats stats;
  uint8_t hash_key[crypto_shorthash_KEYBYTES];
};

/* --- peers ------------------------------------------------------------------------------------ */

/* SipHash under a random key: anybody may choose ids, but not which of them share a bucket. */
static peer **bucket_of(const km_disco_box *box, const km_id *id) {
  uint8_t hash[crypto_shorthash_BYTES];
  uint64_t number;
  _Static_assert(sizeof hash == sizeof number, "SipHash-2-4 gives 64 bits");
  crypto_shorthash(hash, id->bytes, sizeof id->bytes, box->hash_key);
  memcpy(&number, hash, sizeof number);
  return &box->buckets[number & (box->bucket_count - 1)];
}

/* The link that points to the peer, or to NULL where it would be. */
static peer **link_of(const km_disco_box *box, const km_id *id) {
  peer **link = bucket_of(box, id);
  while (*link != NULL && !km_id_equal(&(*link)->id, id)) {
    link = &(*link)->next;
  }
  return link;
}

/* Without room for more buckets the chains just get longer. */
static void grow_buckets(km_disco_box *box) {
  size_t old_count = box->bucket_count;
  peer **old = box->buckets;
  peer **grown = km_env_zalloc(box->env, old_count * 2, sizeof(peer *));
  if (grown == NULL) {
    return;
  }
  box->buckets = grown;
  box->bucket_count = old_count * 2;
  for (size_t i = 0; i < old_count; i++) {
    peer *next;
    for (peer *p = old[i]; p != NULL; p = next) {
      next = p->next;
      peer **bucket = bucket_of(box, &p->id);
      p->next = *bucket;
      *bucket = p;
    }
  }
  km_env_free(box->env, old);
}

static void peer_del(const km_disco_box *box, peer *p) {
  km_env_free(box->env, p->seen);
  sodium_memzero(p, sizeof *p);
  km_env_free(box->env, p);
}

int km_disco_box_admit(km_disco_box *box, const km_id *id) {
  if (km_id_equal(id, &box->own)) {
    return KM_ERR_SELF_DIAL;
  }
  peer *p = *link_of(box, id);
  if (p != NULL) {
    p->admitted++;
    return 0;
  }
  if (box->peer_count >= KM_DISCO_MAX_PEERS) {
    return KM_ERR_LIMIT;
  }
  uint8_t public[KM_DISCO_KEY_LEN];
  int rv = km_disco_public(public, id);
  if (rv != 0) {
    return rv;
  }
  p = km_env_zalloc(box->env, 1, sizeof *p);
  if (p == NULL) {
    return KM_ERR_NOMEM;
  }
  p->id = *id;
  p->admitted = 1;
  memcpy(p->key, public, sizeof p->key);
  if (box->peer_count >= box->bucket_count) {
    grow_buckets(box);
  }
  peer **bucket = bucket_of(box, id);
  p->next = *bucket;
  *bucket = p;
  box->peer_count++;
  return 0;
}

void km_disco_box_set_owner(km_disco_box *box, const km_id *id, void *owner) {
  peer *p = *link_of(box, id);
  if (p != NULL) {
    p->owner = owner;
  }
}

void *km_disco_box_owner(const km_disco_box *box, const km_id *id) {
  const peer *p = *link_of(box, id);
  return p == NULL ? NULL : p->owner;
}

void km_disco_box_dismiss(km_disco_box *box, const km_id *id) {
  peer **link = link_of(box, id);
  peer *p = *link;
  if (p == NULL || --p->admitted > 0) {
    return;
  }
  *link = p->next;
  box->peer_count--;
  peer_del(box, p);
}

/* The shared key, made when it is needed first. NULL when there is none. */
static const uint8_t *key_of(const km_disco_box *box, peer *p) {
  if (!p->key_is_shared) {
    uint8_t shared[KM_DISCO_KEY_LEN];
    if (km_disco_shared(shared, p->key, box->secret) != 0) {
      return NULL;
    }
    memcpy(p->key, shared, sizeof p->key);
    sodium_memzero(shared, sizeof shared);
    p->key_is_shared = true;
  }
  return p->key;
}

/* --- replay ----------------------------------------------------------------------------------- */

static uint64_t window_start(const peer *p) {
  uint64_t start = p->newest > KM_DISCO_WINDOW_NS ? p->newest - KM_DISCO_WINDOW_NS : 0;
  return start > p->forgotten ? start : p->forgotten;
}

/* How many of the times seen are `time` or before. */
static size_t seen_until(const peer *p, uint64_t time) {
  size_t from = 0, to = p->seen_count;
  while (from < to) {
    size_t middle = from + (to - from) / 2;
    if (p->seen[middle] <= time) {
      from = middle + 1;
    } else {
      to = middle;
    }
  }
  return from;
}

static void drop_oldest(peer *p, size_t count) {
  if (count > 0) {
    memmove(p->seen, p->seen + count, (p->seen_count - count) * sizeof *p->seen);
    p->seen_count = (uint16_t)(p->seen_count - count);
  }
}

/* Makes room for one more time: those before the window go, or else the array grows. */
static bool make_room(const km_disco_box *box, peer *p) {
  drop_oldest(p, seen_until(p, window_start(p)));
  if (p->seen_count < p->seen_cap) {
    return true;
  }
  if (p->seen_cap >= KM_DISCO_WINDOW_SEEN) {
    return false;
  }
  size_t cap = p->seen_cap > 0 ? (size_t)p->seen_cap * 2 : FIRST_SEEN;
  uint64_t *grown = km_env_realloc(box->env, p->seen, cap, sizeof *grown);
  if (grown == NULL) {
    return false;
  }
  p->seen = grown;
  p->seen_cap = (uint16_t)cap;
  return true;
}

/* Notes a time that was not seen. Without room for it the oldest is forgotten, be it this one. */
static void note(const km_disco_box *box, peer *p, uint64_t time) {
  p->newest = time > p->newest ? time : p->newest;
  bool room = make_room(box, p);
  size_t at = seen_until(p, time);
  if (!room && at == 0) {
    p->forgotten = time;
    return;
  }
  if (!room) {
    p->forgotten = p->seen[0];
    drop_oldest(p, 1);
    at--;
  }
  memmove(p->seen + at + 1, p->seen + at, (p->seen_count - at) * sizeof *p->seen);
  p->seen[at] = time;
  p->seen_count++;
}

static bool is_fresh(const km_disco_box *box, peer *p, km_disco_type type, uint64_t time) {
  if (type == KM_DISCO_PONG) {
    return true;
  }
  size_t until = seen_until(p, time);
  if (time <= window_start(p) || (until > 0 && p->seen[until - 1] == time) ||
      (type == KM_DISCO_CALL_ME_MAYBE && time <= p->newest_call)) {
    return false;
  }
  if (type == KM_DISCO_CALL_ME_MAYBE) {
    p->newest_call = time;
  }
  note(box, p, time);
  return true;
}

void km_disco_box_proved(km_disco_box *box, const km_id *id, uint64_t time_ns) {
  peer *p = *link_of(box, id);
  if (p == NULL) {
    return;
  }
  if (time_ns >= p->newest) {
    p->newest = time_ns;
  } else if (p->newest - time_ns >= KM_DISCO_WINDOW_NS) {
    p->newest = time_ns;
    p->newest_call = p->forgotten = 0;
    p->seen_count = 0;
  }
}

/* --- packets ---------------------------------------------------------------------------------- */

int km_disco_box_open(km_disco_box *box, const uint8_t *packet, size_t len, km_id *ret_sender,
                      uint64_t *ret_time, km_disco_message *ret) {
  km_disco_header header;
  if (!km_disco_header_read(&header, packet, len)) {
    box->stats.malformed++;
    return KM_ERR_INVALID;
  }
  peer *p = *link_of(box, &header.sender);
  if (p == NULL) {
    box->stats.strangers++;
    return KM_ERR_NOT_FOUND;
  }
  if (len > KM_DISCO_MAX_PACKET) {
    box->stats.malformed++;
    return KM_ERR_INVALID;
  }
  uint8_t body[BODY_CAP];
  const uint8_t *key = key_of(box, p);
  int body_len = key != NULL ? km_disco_open(packet, len, key, body, sizeof body) : KM_ERR_INVALID;
  if (body_len < 0) {
    box->stats.forged++;
    return KM_ERR_INVALID;
  }
  int rv = km_disco_read(ret, body, (size_t)body_len);
  if (rv != 0) {
    *(rv == KM_ERR_UNSUPPORTED ? &box->stats.future : &box->stats.malformed) += 1;
    return rv;
  }
  *ret_sender = header.sender;
  *ret_time = header.time_ns;
  if (!is_fresh(box, p, ret->type, header.time_ns)) {
    box->stats.replayed++;
    return KM_ERR_STATE;
  }
  box->stats.opened++;
  return 0;
}

/* Now, or just after the last one when the clock stands still or was set back. */
static uint64_t next_time(km_disco_box *box, km_wall wall) {
  uint64_t now = wall.unix_ns > 0 ? (uint64_t)wall.unix_ns : 0;
  box->last_time = now > box->last_time ? now : box->last_time + 1;
  return box->last_time;
}

int km_disco_box_seal(km_disco_box *box, const km_id *id, const km_disco_message *msg, km_wall wall,
                      uint8_t *ret, size_t cap) {
  peer *p = *link_of(box, id);
  const uint8_t *key = p != NULL ? key_of(box, p) : NULL;
  if (key == NULL) {
    return KM_ERR_NOT_FOUND;
  }
  if (cap < KM_DISCO_HEADER_LEN) {
    return KM_ERR_BUFFER;
  }
  uint8_t *body = ret + KM_DISCO_HEADER_LEN;
  int body_len = km_disco_write(msg, body, cap - KM_DISCO_HEADER_LEN);
  if (body_len < 0) {
    return body_len;
  }
  km_disco_header header = {.sender = box->own, .time_ns = next_time(box, wall)};
  km_env_random(box->env, header.nonce, sizeof header.nonce);
  return km_disco_seal(&header, key, body, (size_t)body_len, ret, cap);
}

/* --- the box ---------------------------------------------------------------------------------- */

int km_disco_box_new(km_disco_box **ret, const km_env *env, const km_secret_key *key) {
  km_disco_box *box = km_env_zalloc(env, 1, sizeof *box);
  if (box == NULL) {
    return KM_ERR_NOMEM;
  }
  box->env = env;
  box->bucket_count = FIRST_BUCKETS;
  box->buckets = km_env_zalloc(env, box->bucket_count, sizeof(peer *));
  box->secret = sodium_malloc(KM_DISCO_KEY_LEN);
  if (box->buckets == NULL || box->secret == NULL) {
    km_disco_box_del(box);
    return KM_ERR_NOMEM;
  }
  km_secret_key_id(key, &box->own);
  km_disco_secret(box->secret, key);
  km_env_random(env, box->hash_key, sizeof box->hash_key);
  *ret = box;
  return 0;
}

void km_disco_box_del(km_disco_box *box) {
  if (box == NULL) {
    return;
  }
  const km_env *env = box->env;
  for (size_t i = 0; box->buckets != NULL && i < box->bucket_count; i++) {
    peer *next;
    for (peer *p = box->buckets[i]; p != NULL; p = next) {
      next = p->next;
      peer_del(box, p);
    }
  }
  sodium_free(box->secret);
  km_env_free(env, box->buckets);
  km_env_free(env, box);
}

void km_disco_box_get_stats(const km_disco_box *box, km_disco_box_stats *ret) {
  *ret = box->stats;
}
