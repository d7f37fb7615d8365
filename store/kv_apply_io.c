#include <string.h>

#include "store/kv_impl.h"

/* What is here under the same key. */
typedef struct winner {
  bool any;
  uint64_t clock;
  km_id author;
  uint8_t hash[KM_ENTRY_HASH_BYTES];
} winner;

static int find_winner(km_store *s, const km_kv_share *share, const km_entry *e, winner *ret,
                       km_errinfo *err) {
  km_db_stmt *stmt = s->kv->winner;
  km_db_bind_int(stmt, 1, share->id);
  km_db_bind_bytes(stmt, 2, e->key, e->key_len);
  int rv = km_db_step(stmt, err);
  ret->any = rv > 0;
  if (rv <= 0) {
    return rv;
  }
  size_t author_len, hash_len;
  const uint8_t *author = km_db_bytes(stmt, 1, &author_len);
  const uint8_t *hash = km_db_bytes(stmt, 2, &hash_len);
  if (author_len == KM_ID_BYTES && hash_len == KM_ENTRY_HASH_BYTES) {
    ret->clock = (uint64_t)km_db_int(stmt, 0);
    memcpy(ret->author.bytes, author, KM_ID_BYTES);
    memcpy(ret->hash, hash, KM_ENTRY_HASH_BYTES);
    rv = 0;
  } else {
    rv = km_fail(err, KM_ERR_STORE_DAMAGED, "the database is damaged: an entry has no author");
  }
  km_db_reset(stmt);
  return rv;
}

static km_kv_verdict judge(const km_entry *e, const uint8_t *hash, const winner *w) {
  int order =
      w->any ? km_entry_compare(e->clock, &e->author, hash, w->clock, &w->author, w->hash) : 1;
  return order > 0 ? KM_KV_NEW : order == 0 ? KM_KV_KNOWN : KM_KV_OLD;
}

/* Nothing is here that the deletion could delete, and later deletions were forgotten: so was this
 * one, and somebody who has not forgotten it yet gave it back. It must not wait for all readers
 * once more. Nobody is told of it, and for a while it stays, so that the peer that is still waiting
 * to forget it does not hand it over again and again. */
static bool is_returned(const km_entry *e, const km_kv_share *share, const winner *w) {
  return (e->flags & KM_ENTRY_DELETED) != 0 && !w->any && e->clock <= share->horizon;
}

static int take(km_store *s, const km_kv_share *share, const km_entry *e, const uint8_t *hash,
                const winner *w, const km_id *from, km_errinfo *err) {
  bool returned = is_returned(e, share, w);
  /* What it would replace of somebody else's must not be lost to a forgery. */
  bool believed = km_id_equal(&e->author, from) && !returned &&
                  (!w->any || km_id_equal(&w->author, &e->author));
  if (!believed && km_entry_verify(e) != 0) {
    return KM_KV_FORGED;
  }
  if (km_hlc_see(&s->clock, e->clock, km_store_wall(s), s->options.max_skew_ms) != 0) {
    return KM_KV_FUTURE;
  }
  unsigned state = (believed ? KM_KV_TO_VERIFY : 0u) | (returned ? KM_KV_RETURNED : 0u);
  int rv = km_kv_store_entry(s, share, e, hash, state, from, err);
  return rv == 0 ? KM_KV_NEW : rv;
}

static int apply(km_store *s, const km_entry *e, const km_id *from, km_errinfo *err) {
  km_hlc trial = s->clock;
  if (km_hlc_see(&trial, e->clock, km_store_wall(s), s->options.max_skew_ms) != 0) {
    return KM_KV_FUTURE;
  }
  km_kv_share *share;
  winner w = {0};
  int rv = km_kv_check_batch(s, err);
  if (rv == 0) {
    rv = km_kv_intern_share(s, e->share, e->share_len, &share, err);
  }
  if (rv == 0) {
    rv = find_winner(s, share, e, &w, err);
  }
  if (rv != 0) {
    return rv;
  }
  uint8_t hash[KM_ENTRY_HASH_BYTES];
  km_entry_hash(e, hash);
  km_kv_verdict verdict = judge(e, hash, &w);
  return verdict == KM_KV_NEW ? take(s, share, e, hash, &w, from, err) : (int)verdict;
}

/* Whoever decoded it should have looked. */
static int check_size(const km_store *s, const km_entry *e, km_errinfo *err) {
  return e->share_len <= KM_SHARE_NAME_MAX && e->key_len <= s->options.max_key &&
                 e->value_len <= s->options.max_value
             ? 0
             : km_fail(err, KM_ERR_INVALID, "an entry is larger than this store takes");
}

int km_kv_apply(km_store *store, const km_entry *e, const km_id *from, km_errinfo *err) {
  int rv = check_size(store, e, err);
  if (rv == 0) {
    rv = apply(store, e, from, err);
  }
  km_kv_stats *stats = &store->kv->stats;
  uint64_t *const counters[] = {[KM_KV_NEW] = &stats->applied_new,
                                [KM_KV_KNOWN] = &stats->applied_known,
                                [KM_KV_OLD] = &stats->applied_old,
                                [KM_KV_FUTURE] = &stats->refused_future,
                                [KM_KV_FORGED] = &stats->refused_forged};
  if (rv < 0) {
    return km_kv_failed(store, rv);
  }
  ++*counters[rv];
  return rv;
}
