#include "endpoint/session_cache.h"

#include <sodium.h>
#include <string.h>

typedef struct entry {
  bool used;
  uint64_t stored; /* order of storing */
  km_id peer;
  uint8_t alpn_hash[16];
  km_session_bytes ticket, params, token;
} entry;

struct km_session_cache {
  const km_env *env;
  uint64_t clock;
  entry entries[KM_SESSION_CACHE_MAX];
};

int km_session_cache_new(km_session_cache **ret, const km_env *env) {
  km_session_cache *cache = km_env_zalloc(env, 1, sizeof *cache);
  if (cache == NULL) {
    return KM_ERR_NOMEM;
  }
  cache->env = env;
  *ret = cache;
  return 0;
}

/* A ticket is as good as a password for one connection: never leave it in freed memory. */
static void wipe(km_session_cache *cache, km_session_bytes *b) {
  if (b->ptr != NULL) {
    sodium_memzero(b->ptr, b->len);
    km_env_free(cache->env, b->ptr);
  }
  b->ptr = NULL;
  b->len = 0;
}

static void entry_clear(km_session_cache *cache, entry *e) {
  wipe(cache, &e->ticket);
  wipe(cache, &e->params);
  wipe(cache, &e->token);
  memset(e, 0, sizeof *e);
}

void km_session_cache_free(km_session_cache *cache) {
  if (cache == NULL) {
    return;
  }
  for (size_t i = 0; i < KM_SESSION_CACHE_MAX; i++) {
    entry_clear(cache, &cache->entries[i]);
  }
  km_env_free(cache->env, cache);
}

static void hash_alpn(uint8_t ret[16], const char *alpn) {
  crypto_generichash(ret, 16, (const uint8_t *)alpn, strlen(alpn), NULL, 0);
}

static entry *find(km_session_cache *cache, const km_id *peer, const char *alpn) {
  uint8_t hash[16];
  hash_alpn(hash, alpn);
  for (size_t i = 0; i < KM_SESSION_CACHE_MAX; i++) {
    entry *e = &cache->entries[i];
    if (e->used && memcmp(e->peer.bytes, peer->bytes, sizeof peer->bytes) == 0 &&
        memcmp(e->alpn_hash, hash, sizeof hash) == 0) {
      return e;
    }
  }
  return NULL;
}

/* The entry of a peer, made if need be in the place of the one stored longest ago. */
static entry *obtain(km_session_cache *cache, const km_id *peer, const char *alpn) {
  entry *e = find(cache, peer, alpn);
  if (e == NULL) {
    e = &cache->entries[0];
    for (size_t i = 0; i < KM_SESSION_CACHE_MAX && e->used; i++) {
      if (!cache->entries[i].used || cache->entries[i].stored < e->stored) {
        e = &cache->entries[i];
      }
    }
    entry_clear(cache, e);
    e->used = true;
    e->peer = *peer;
    hash_alpn(e->alpn_hash, alpn);
  }
  e->stored = ++cache->clock;
  return e;
}

static void keep(km_session_cache *cache, km_session_bytes *ret, const uint8_t *bytes, size_t len) {
  wipe(cache, ret);
  if (len == 0 || len > KM_SESSION_MAX_BYTES) {
    return;
  }
  ret->ptr = km_env_alloc(cache->env, len);
  if (ret->ptr != NULL) {
    memcpy(ret->ptr, bytes, len);
    ret->len = len;
  }
}

void km_session_cache_put_ticket(km_session_cache *cache, const km_id *peer, const char *alpn,
                                 const uint8_t *ticket, size_t ticket_len, const uint8_t *params,
                                 size_t params_len) {
  entry *e = obtain(cache, peer, alpn);
  keep(cache, &e->ticket, ticket, ticket_len);
  keep(cache, &e->params, params, params_len);
  /* Early data under other limits than those of the ticket would break the protocol. */
  if (e->ticket.ptr == NULL || (e->params.ptr == NULL && params_len > 0)) {
    wipe(cache, &e->ticket);
    wipe(cache, &e->params);
  }
}

void km_session_cache_put_token(km_session_cache *cache, const km_id *peer, const char *alpn,
                                const uint8_t *token, size_t token_len) {
  keep(cache, &obtain(cache, peer, alpn)->token, token, token_len);
}

static km_session_bytes hand_over(km_session_bytes *from) {
  km_session_bytes b = *from;
  from->ptr = NULL;
  from->len = 0;
  return b;
}

bool km_session_cache_take_ticket(km_session_cache *cache, const km_id *peer, const char *alpn,
                                  km_session_bytes *ret_ticket, km_session_bytes *ret_params) {
  entry *e = find(cache, peer, alpn);
  if (e == NULL || e->ticket.ptr == NULL) {
    return false;
  }
  *ret_ticket = hand_over(&e->ticket);
  *ret_params = hand_over(&e->params);
  return true;
}

bool km_session_cache_take_token(km_session_cache *cache, const km_id *peer, const char *alpn,
                                 km_session_bytes *ret_token) {
  entry *e = find(cache, peer, alpn);
  if (e == NULL || e->token.ptr == NULL) {
    return false;
  }
  *ret_token = hand_over(&e->token);
  return true;
}
