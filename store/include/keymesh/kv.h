/**
 * @file keymesh/kv.h
 * A replicated key-value store: entries in shares (namespaces), each signed by who wrote it.
 *
 * The last writer wins: of two entries with one share and key the one with the higher hybrid
 * logical clock stays, and of equal clocks the one of the higher author id. That order is total, so
 * stores that have seen the same entries, in whatever order and however often, are the same.
 *
 * Limits: a share's name has 1 to 64 bytes of a-z A-Z 0-9 . _ -, and begins with a letter or digit.
 * A key has 1 to km_store_options.max_key bytes of UTF-8 without control characters; it does not
 * begin with '/', and none of its parts between slashes is empty, "." or "..". A value has any
 * bytes, up to km_store_options.max_value.
 *
 * Threads and callbacks: as in keymesh/store.h. From inside a callback of km_kv_list the store may
 * be read but not written.
 */
#ifndef KEYMESH_KV_H
#define KEYMESH_KV_H

#include <keymesh/store.h>

KM_BEGIN_DECLS

#define KM_SHARE_NAME_MAX 64 /**< bytes without the NUL */
#define KM_KV_HASH_BYTES 32

/** An entry; everything in it is valid during the callback, or as the function says. */
typedef struct km_kv_entry {
  const char *share;
  const char *key;      /**< NUL-terminated */
  const uint8_t *value; /**< not NUL-terminated; NULL when `deleted` */
  size_t value_len;
  bool deleted; /**< a deletion that is still remembered */
  km_id author;
  uint64_t clock; /**< hybrid logical clock: milliseconds since 1970 in the upper 48 bits, a
                        counter in the lower 16 */
  bool own;       /**< written by this store's node */
} km_kv_entry;

typedef void (*km_kv_fn)(void *ctx, const km_kv_entry *entry);

/**
 * Writes an entry. When it returns, the entry is as durable as the store's options say, unless a
 * batch is open.
 * @param share, key  see Limits above; NUL-terminated
 * @param value       `len` bytes; may be NULL when `len` is 0; not what km_kv_get gave, which may
 *   go while watchers are told: copy it first
 * @return 0, KM_ERR_INVALID (the text says what is wrong with the name or size), KM_ERR_LIMIT (the
 *   clock is more than a day ahead of the machine's: others would refuse the entry),
 *   KM_ERR_NO_SPACE, KM_ERR_STORE or KM_ERR_NOMEM. Nothing changed then.
 */
KM_EXPORT KM_NODISCARD int km_kv_put(km_store *store, const char *share, const char *key,
                                     const void *value, size_t len, km_errinfo *err);

/** Deletes an entry: a deletion is an entry too and spreads like one. 0; KM_ERR_NOT_FOUND when
 *  there is none, or it is deleted already; else as km_kv_put. */
KM_EXPORT KM_NODISCARD int km_kv_delete(km_store *store, const char *share, const char *key,
                                        km_errinfo *err);

/**
 * Reads an entry.
 * @param[out] ret  valid until the next call on the store
 * @return 0, KM_ERR_NOT_FOUND (also when it was deleted), KM_ERR_INVALID, KM_ERR_STORE_DAMAGED,
 *   KM_ERR_STORE or KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int km_kv_get(km_store *store, const char *share, const char *key,
                                     km_kv_entry *ret, km_errinfo *err);

/** Which entries km_kv_list gives. All zero is: all of the share. */
typedef struct km_kv_query {
  size_t size;        /**< sizeof this struct */
  const char *prefix; /**< keys that begin so; NULL = all */
  const char *after;  /**< keys behind this one, for the next page; NULL = from the first */
  size_t limit;       /**< at most so many; 0 = all */
  bool with_deleted;  /**< deletions too */
} km_kv_query;

/**
 * Gives the entries of a share, by key in byte order.
 * @param query  NULL: all of the share
 * @param fn     called for each, from inside this call; NULL: they are counted
 * @return how many, or KM_ERR_INVALID, KM_ERR_STORE_DAMAGED, KM_ERR_STORE or KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int64_t km_kv_list(km_store *store, const char *share,
                                          const km_kv_query *query, km_kv_fn fn, void *ctx,
                                          km_errinfo *err);

/** Names of all shares that have entries, in byte order. The number of them, or an error. `fn` may
 *  be NULL. */
KM_EXPORT KM_NODISCARD int64_t km_kv_shares(km_store *store,
                                            void (*fn)(void *ctx, const char *share,
                                                       uint64_t entries, uint64_t deleted,
                                                       uint64_t bytes),
                                            void *ctx, km_errinfo *err);

/** Somebody who watches. */
typedef struct km_kv_watch km_kv_watch;

/**
 * Calls `fn` for each entry that changes from now on, written here or by others, after it was
 * stored, from inside the call that did it (km_kv_commit within a batch). From `fn` everything here
 * may be called, km_kv_watch_cancel included. Of an entry that its author itself sent the signature
 * is checked a little later: where it is wrong the entry goes again without another call.
 * @param share   NULL: all shares
 * @param prefix  NULL: all keys
 * @return 0, KM_ERR_INVALID or KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int km_kv_watch_start(km_kv_watch **ret, km_store *store, const char *share,
                                             const char *prefix, km_kv_fn fn, void *ctx,
                                             km_errinfo *err);
KM_EXPORT void km_kv_watch_cancel(km_kv_watch *watch); /**< NULL does nothing */

/**
 * Opens a batch: what km_kv_put and km_kv_delete do becomes durable with km_kv_commit, all of it or
 * nothing. While it is open, km_message_* and km_trust_* that write give KM_ERR_STATE, and a
 * km_mesh takes no message and synchronizes nothing: commit it before returning to the loop.
 * 0, KM_ERR_STATE (one is open) or KM_ERR_STORE.
 */
KM_EXPORT KM_NODISCARD int km_kv_begin(km_store *store, km_errinfo *err);
/** 0, KM_ERR_STATE (none is open), KM_ERR_NO_SPACE or KM_ERR_STORE: nothing of it was kept then. */
KM_EXPORT KM_NODISCARD int km_kv_commit(km_store *store, km_errinfo *err);
KM_EXPORT void km_kv_rollback(km_store *store); /**< without a batch it does nothing */

/**
 * A hash of all that a share holds, deletions included: equal in stores that are in sync.
 * 0, KM_ERR_INVALID or KM_ERR_STORE.
 */
KM_EXPORT KM_NODISCARD int km_kv_hash(km_store *store, const char *share,
                                      uint8_t ret[KM_KV_HASH_BYTES], km_errinfo *err);

/** Checks the signature of an entry as it is stored. 0, KM_ERR_NOT_FOUND, KM_ERR_CRYPTO,
 *  KM_ERR_STORE or KM_ERR_NOMEM. */
KM_EXPORT KM_NODISCARD int km_kv_verify(km_store *store, const char *share, const char *key,
                                        km_errinfo *err);

/**
 * Forgets deletions that are older than km_store_options.tombstone_min_s and that every peer which
 * may read the share has (as of the last sync with it).
 * @return how many, or KM_ERR_STORE or KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int64_t km_kv_collect(km_store *store, km_errinfo *err);

KM_END_DECLS

#endif /* KEYMESH_KV_H */
