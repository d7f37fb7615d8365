#include <string.h>

#include "store/kv_impl.h"

/* How far the clock may be ahead of the machine's for what is written here: further, and the
 * machine's clock or an entry is wrong, and all others would refuse what we write. */
#define MAX_AHEAD_MS UINT64_C(86400000)

/* --- shares ----------------------------------------------------------------------------------- */

km_kv_share *km_kv_find_share(struct km_kv *kv, const char *name, size_t len) {
  for (size_t i = 0; i < kv->share_count; i++) {
    km_kv_share *share = &kv->shares[i];
    if (share->len == len && memcmp(share->name, name, len) == 0) {
      return share;
    }
  }
  return NULL;
}

/* They are in the order of their ids. */
km_kv_share *km_kv_share_by_id(struct km_kv *kv, int64_t id) {
  size_t low = 0, high = kv->share_count;
  while (low < high) {
    size_t mid = low + (high - low) / 2;
    if (kv->shares[mid].id < id) {
      low = mid + 1;
    } else {
      high = mid;
    }
  }
  return low < kv->share_count && kv->shares[low].id == id ? &kv->shares[low] : NULL;
}

int km_kv_remember_share(km_store *s, int64_t id, const char *name, size_t len, uint64_t horizon,
                         km_kv_share **ret, km_errinfo *err) {
  struct km_kv *kv = s->kv;
  if (kv->share_count == kv->share_cap) {
    size_t cap = kv->share_cap == 0 ? 8 : kv->share_cap * 2;
    km_kv_share *grown = km_env_realloc(s->env, kv->shares, cap, sizeof *grown);
    if (grown == NULL) {
      return km_fail(err, KM_ERR_NOMEM, NULL);
    }
    kv->shares = grown;
    kv->share_cap = cap;
  }
  km_kv_share *share = &kv->shares[kv->share_count++];
  *share = (km_kv_share){.id = id, .horizon = horizon, .len = (uint8_t)len};
  memcpy(share->name, name, len);
  if (ret != NULL) {
    *ret = share;
  }
  return 0;
}

int km_kv_intern_share(km_store *s, const char *name, size_t len, km_kv_share **ret,
                       km_errinfo *err) {
  struct km_kv *kv = s->kv;
  *ret = km_kv_find_share(kv, name, len);
  if (*ret != NULL) {
    return 0;
  }
  char text[KM_SHARE_NAME_MAX + 1];
  memcpy(text, name, len);
  text[len] = '\0';
  int64_t id = kv->share_count == 0 ? 1 : kv->shares[kv->share_count - 1].id + 1;
  km_db_bind_int(kv->add_share, 1, id);
  km_db_bind_text(kv->add_share, 2, text);
  int rv = km_db_run(kv->add_share, err);
  return rv != 0 ? km_kv_failed(s, rv) : km_kv_remember_share(s, id, name, len, 0, ret, err);
}

int km_kv_share_of(km_store *s, const char *name, km_kv_share **ret, km_errinfo *err) {
  if (name == NULL) {
    return km_fail(err, KM_ERR_INVALID, "name a share");
  }
  size_t len = strlen(name);
  int rv = km_share_name_check(name, len, err);
  if (rv != 0) {
    return rv;
  }
  *ret = km_kv_find_share(s->kv, name, len);
  return *ret != NULL ? 0 : KM_ERR_NOT_FOUND;
}

/* --- transactions ----------------------------------------------------------------------------- */

static void forget_batch(struct km_kv *kv) {
  kv->batch = KM_KV_BATCH_NONE;
  kv->change_count = 0;
}

static void settle_horizons(struct km_kv *kv, bool committed) {
  for (size_t i = 0; kv->new_horizons && i < kv->share_count; i++) {
    km_kv_share *share = &kv->shares[i];
    share->horizon = committed && share->new_horizon > 0 ? share->new_horizon : share->horizon;
    share->new_horizon = 0;
  }
  kv->new_horizons = false;
}

static void undo(km_store *s, size_t shares, uint64_t checked) {
  if (km_db_in_transaction(s->db)) {
    int undone = km_db_run(s->kv->rollback, NULL);
    (void)undone; /* it cannot fail while there is a transaction */
  }
  settle_horizons(s->kv, false);
  s->kv->version++;
  s->kv->share_count = shares;
  /* What was looked at meanwhile may not be what is there now. */
  if (s->kv->checked_to > checked) {
    s->kv->checked_to = checked;
  }
  if (s->kv->checked_saved > checked) {
    s->kv->checked_saved = checked;
  }
  s->kv->proven_to = s->kv->checked_to;
  s->kv->proven = 0;
}

int km_kv_failed(km_store *s, int rv) {
  if (s->kv->batch == KM_KV_BATCH_OPEN && !km_db_in_transaction(s->db)) {
    s->kv->batch = KM_KV_BATCH_BROKEN;
    s->kv->batch_code = rv;
  }
  return rv;
}

/* Others who use the database may have broken it without a word. */
int km_kv_check_batch(km_store *s, km_errinfo *err) {
  struct km_kv *kv = s->kv;
  (void)km_kv_failed(s, KM_ERR_STORE);
  return kv->batch != KM_KV_BATCH_BROKEN
             ? 0
             : km_fail(err, kv->batch_code, "the batch was given up: %s",
                       km_strerror(kv->batch_code));
}

int km_kv_begin(km_store *store, km_errinfo *err) {
  struct km_kv *kv = store->kv;
  if (kv->batch != KM_KV_BATCH_NONE) {
    return km_fail(err, KM_ERR_STATE, "a batch is open already; commit it or roll it back");
  }
  int rv = km_db_run(kv->begin, err);
  if (rv == 0) {
    kv->batch = KM_KV_BATCH_OPEN;
    kv->batch_shares = kv->share_count;
    kv->batch_checked = kv->checked_to;
  }
  return rv;
}

void km_kv_rollback(km_store *store) {
  struct km_kv *kv = store->kv;
  if (kv->batch != KM_KV_BATCH_NONE) {
    undo(store, kv->batch_shares, kv->batch_checked);
    forget_batch(kv);
  }
}

/* What was replaced within the batch is not there any more, and is not told. */
static int tell_change(km_store *s, const km_kv_change *change, km_kv_row *row) {
  km_db_bind_int(s->kv->by_seq, 1, (int64_t)change->seq);
  int rv = km_kv_one_row(s, s->kv->by_seq, row, NULL);
  if (rv != 0) {
    return rv;
  }
  km_kv_entry e;
  km_item item = {.clock = row->entry.clock};
  memcpy(item.hash, row->hash, sizeof item.hash);
  km_kv_show_row(s, row, &e);
  bool returned = (row->state & KM_KV_RETURNED) != 0;
  km_kv_tell(s, &e, returned ? NULL : &item, change->own ? NULL : &change->from);
  return 0;
}

/* Watchers may write, and open batches. */
static void tell_changes(km_store *s) {
  struct km_kv *kv = s->kv;
  km_kv_change *changes = kv->changes;
  size_t count = kv->change_count;
  kv->changes = NULL;
  kv->change_count = kv->change_cap = 0;
  km_kv_row row = {0};
  for (size_t i = 0; i < count; i++) {
    (void)tell_change(s, &changes[i], &row); /* what cannot be read is not told */
  }
  km_kv_clear_row(s->env, &row);
  km_env_free(s->env, changes);
}

int km_kv_commit(km_store *store, km_errinfo *err) {
  struct km_kv *kv = store->kv;
  if (kv->batch == KM_KV_BATCH_NONE) {
    return km_fail(err, KM_ERR_STATE, "no batch is open");
  }
  int rv = km_kv_check_batch(store, err);
  if (rv == 0) {
    rv = km_db_run(kv->commit, err);
  }
  if (rv != 0) {
    km_kv_rollback(store);
    return rv;
  }
  kv->batch = KM_KV_BATCH_NONE;
  settle_horizons(kv, true);
  tell_changes(store);
  return 0;
}

int km_kv_enter(km_store *s, bool *ret_own, km_errinfo *err) {
  struct km_kv *kv = s->kv;
  *ret_own = kv->batch == KM_KV_BATCH_NONE;
  return *ret_own ? km_kv_begin(s, err) : km_kv_check_batch(s, err);
}

int64_t km_kv_leave(km_store *s, bool own, int64_t rv, km_errinfo *err) {
  if (!own) {
    return rv < 0 ? km_kv_failed(s, (int)rv) : rv;
  }
  if (rv < 0) {
    km_kv_rollback(s);
    return rv;
  }
  int failed = km_kv_commit(s, err);
  return failed != 0 ? failed : rv;
}

/* --- writing ---------------------------------------------------------------------------------- */

static int reserve_change(km_store *s, km_errinfo *err) {
  struct km_kv *kv = s->kv;
  if (kv->change_count < kv->change_cap) {
    return 0;
  }
  size_t cap = kv->change_cap == 0 ? 64 : kv->change_cap * 2;
  km_kv_change *grown = km_env_realloc(s->env, kv->changes, cap, sizeof *grown);
  if (grown == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  kv->changes = grown;
  kv->change_cap = cap;
  return 0;
}

static int insert(struct km_kv *kv, uint64_t seq, const km_kv_share *share, const km_entry *e,
                  const uint8_t *hash, unsigned state, km_errinfo *err) {
  km_db_stmt *put = kv->put;
  km_db_bind_int(put, 1, (int64_t)seq);
  km_db_bind_int(put, 2, share->id);
  km_db_bind_int(put, 3, (int64_t)e->clock);
  km_db_bind_int(put, 4, e->flags);
  km_db_bind_int(put, 5, state);
  km_db_bind_bytes(put, 6, hash, KM_ENTRY_HASH_BYTES);
  km_db_bind_bytes(put, 7, e->author.bytes, KM_ID_BYTES);
  km_db_bind_bytes(put, 8, e->key, e->key_len);
  if (e->sig != NULL) { /* else null, as after a reset */
    km_db_bind_bytes(put, 9, e->sig, KM_SIGNATURE_BYTES);
  }
  if ((e->flags & KM_ENTRY_DELETED) == 0) {
    km_db_bind_bytes(put, 10, e->value != NULL ? (const void *)e->value : "", e->value_len);
  }
  return km_db_run(put, err);
}

static void tell_now(km_store *s, const km_kv_share *share, const km_entry *e, const uint8_t *hash,
                     unsigned state, const km_id *from) {
  char name[KM_SHARE_NAME_MAX + 1], key[KM_KV_KEY_MAX + 1];
  memcpy(name, share->name, sizeof name);
  memcpy(key, e->key, e->key_len);
  key[e->key_len] = '\0';
  bool deleted = (e->flags & KM_ENTRY_DELETED) != 0;
  const km_kv_entry shown = {.share = name,
                             .key = key,
                             .value = deleted            ? NULL
                                      : e->value != NULL ? e->value
                                                         : (const uint8_t *)"",
                             .value_len = e->value_len,
                             .deleted = deleted,
                             .author = e->author,
                             .clock = e->clock,
                             .own = km_id_equal(&e->author, &s->id)};
  km_item item = {.clock = e->clock};
  memcpy(item.hash, hash, sizeof item.hash);
  km_kv_tell(s, &shown, (state & KM_KV_RETURNED) != 0 ? NULL : &item, from);
}

int km_kv_store_entry(km_store *s, const km_kv_share *share, const km_entry *e,
                      const uint8_t hash[KM_ENTRY_HASH_BYTES], unsigned state, const km_id *from,
                      km_errinfo *err) {
  struct km_kv *kv = s->kv;
  bool watched = km_kv_is_watched(kv), batch = kv->batch == KM_KV_BATCH_OPEN;
  int rv = watched && batch ? reserve_change(s, err) : 0;
  if (rv == 0) {
    rv = insert(kv, kv->seq + 1, share, e, hash, state, err);
  }
  if (rv != 0) {
    return km_kv_failed(s, rv);
  }
  kv->seq++;
  kv->version++;
  if ((state & (KM_KV_TO_SIGN | KM_KV_TO_VERIFY)) == 0 && kv->proven_to + 1 == kv->seq) {
    kv->checked_to = kv->checked_to == kv->proven_to ? kv->seq : kv->checked_to;
    kv->proven_to = kv->seq;
  }
  if (watched && batch) {
    km_kv_change *change = &kv->changes[kv->change_count++];
    *change = (km_kv_change){.seq = kv->seq, .own = from == NULL};
    if (from != NULL) {
      change->from = *from;
    }
  } else if (watched) {
    tell_now(s, share, e, hash, state, from);
  }
  return 0;
}

static int check_names(const km_store *s, const char *share, const char *key, km_errinfo *err) {
  if (share == NULL || key == NULL) {
    return km_fail(err, KM_ERR_INVALID, "name a share and a key");
  }
  int rv = km_share_name_check(share, strlen(share), err);
  return rv != 0 ? rv : km_entry_key_check(key, strlen(key), s->options.max_key, err);
}

static int stamp(km_store *s, uint64_t *ret, km_errinfo *err) {
  km_wall wall = km_store_wall(s);
  if (km_hlc_next(&s->clock, wall, MAX_AHEAD_MS, ret) == 0) {
    return 0;
  }
  uint64_t ahead_ms = km_hlc_ms(s->clock.last) - km_hlc_ms(km_hlc_from_wall(wall));
  return km_fail(err, KM_ERR_LIMIT,
                 "entries here are %llu s ahead of this machine's clock: set it right; if it is, "
                 "export them, move the store's file away, and import them",
                 (unsigned long long)(ahead_ms / 1000));
}

static int write_own(km_store *s, const char *share_name, const char *key, const void *value,
                     size_t len, uint8_t flags, km_errinfo *err) {
  km_entry e = {.share = share_name,
                .key = key,
                .value = value,
                .share_len = (uint32_t)strlen(share_name),
                .key_len = (uint32_t)strlen(key),
                .value_len = (uint32_t)len,
                .author = s->id,
                .flags = flags};
  km_kv_share *share;
  int rv = km_kv_check_batch(s, err);
  if (rv == 0) {
    rv = km_kv_intern_share(s, e.share, e.share_len, &share, err);
  }
  if (rv == 0) {
    rv = stamp(s, &e.clock, err);
  }
  if (rv != 0) {
    return rv;
  }
  uint8_t hash[KM_ENTRY_HASH_BYTES];
  km_entry_hash(&e, hash);
  return km_kv_store_entry(s, share, &e, hash, KM_KV_TO_SIGN, NULL, err);
}

int km_kv_put(km_store *store, const char *share, const char *key, const void *value, size_t len,
              km_errinfo *err) {
  int rv = check_names(store, share, key, err);
  if (rv == 0 && len > store->options.max_value) {
    rv = km_fail(err, KM_ERR_INVALID, "a value has up to %u bytes, not %zu",
                 (unsigned)store->options.max_value, len);
  }
  if (rv == 0 && value == NULL && len > 0) {
    rv = km_fail(err, KM_ERR_INVALID, "there is no value, but it has %zu bytes", len);
  }
  if (rv == 0) {
    rv = write_own(store, share, key, value, len, 0, err);
  }
  store->kv->stats.puts += rv == 0;
  return rv;
}

static int fail_not_found(const char *share, const char *key, km_errinfo *err) {
  return km_fail(err, KM_ERR_NOT_FOUND, "the share %s has no entry %s", share, key);
}

/* The row of a key, deleted or not, into kv->row. */
static int read_key(km_store *s, const char *share_name, const char *key, km_errinfo *err) {
  km_kv_share *share = NULL;
  int rv = check_names(s, share_name, key, err);
  if (rv == 0) {
    rv = km_kv_share_of(s, share_name, &share, err);
  }
  if (rv == 0 && share != NULL) {
    km_db_bind_int(s->kv->get, 1, share->id);
    km_db_bind_bytes(s->kv->get, 2, key, strlen(key));
    rv = km_kv_one_row(s, s->kv->get, &s->kv->row, err);
  }
  return rv == KM_ERR_NOT_FOUND ? fail_not_found(share_name, key, err) : rv;
}

int km_kv_delete(km_store *store, const char *share, const char *key, km_errinfo *err) {
  int rv = read_key(store, share, key, err);
  if (rv == 0 && (store->kv->row.entry.flags & KM_ENTRY_DELETED) != 0) {
    rv = fail_not_found(share, key, err);
  }
  if (rv == 0) {
    rv = write_own(store, share, key, NULL, 0, KM_ENTRY_DELETED, err);
  }
  store->kv->stats.deletes += rv == 0;
  return rv;
}

int km_kv_get(km_store *store, const char *share, const char *key, km_kv_entry *ret,
              km_errinfo *err) {
  int rv = read_key(store, share, key, err);
  if (rv == 0 && (store->kv->row.entry.flags & KM_ENTRY_DELETED) != 0) {
    rv = fail_not_found(share, key, err);
  }
  if (rv == 0) {
    km_kv_show_row(store, &store->kv->row, ret);
  }
  return rv;
}

int km_kv_verify(km_store *store, const char *share, const char *key, km_errinfo *err) {
  int rv = read_key(store, share, key, err);
  if (rv != 0) {
    return rv;
  }
  km_kv_row *row = &store->kv->row;
  uint8_t hash[KM_ENTRY_HASH_BYTES];
  km_entry_hash(&row->entry, hash);
  if (memcmp(hash, row->hash, sizeof hash) != 0 ||
      (row->entry.sig != NULL ? km_entry_verify(&row->entry) : km_kv_prove(store, row)) != 0) {
    return km_fail(err, KM_ERR_CRYPTO, "the signature of %s in the share %s is wrong", key, share);
  }
  return 0;
}

void km_kv_get_stats(const km_store *store, km_kv_stats *ret) {
  *ret = store->kv->stats;
  ret->unchecked = store->kv->seq - store->kv->proven_to;
}

uint64_t km_kv_seq(const km_store *store) {
  return store->kv->seq;
}

/* --- what must not fall ----------------------------------------------------------------------- */

int km_kv_set_meta(km_store *s, const char *name, uint64_t value, km_errinfo *err) {
  km_db_bind_text(s->kv->set_meta, 1, name);
  km_db_bind_int(s->kv->set_meta, 2, (int64_t)value);
  int rv = km_db_run(s->kv->set_meta, err);
  return rv != 0 ? km_kv_failed(s, rv) : 0;
}

int km_kv_keep_highest(km_store *s, km_errinfo *err) {
  int rv = km_kv_set_meta(s, "seq", s->kv->seq, err);
  return rv != 0 ? rv : km_kv_set_meta(s, "clock", s->clock.last, err);
}
