/* What synchronization needs of the key-value store, beside keymesh/kv.h. */
#ifndef KM_STORE_KV_SYNC_H
#define KM_STORE_KV_SYNC_H

#include "store/entry.h"
#include "store/reconcile.h"

/* What became of an entry that came. */
typedef enum km_kv_verdict {
  KM_KV_NEW,      /* stored: it won, or there was none */
  KM_KV_KNOWN,    /* the very same is here */
  KM_KV_OLD,      /* a later one is here */
  KM_KV_FUTURE,   /* its clock is too far ahead of ours: refused */
  KM_KV_FORGED,   /* its signature is wrong: refused */
  KM_KV_FORBIDDEN /* its author may not write the share: refused (km_kv_may_write) */
} km_kv_verdict;

/* Applies one entry, within km_kv_begin and km_kv_commit or alone. `from` is the peer that sent it,
 * whom QUIC has authenticated: an entry of the sender itself is believed at once and its signature
 * checked before it is passed on (km_kv_check_some, km_kv_find), all others are checked here. The
 * verdict is >= 0; below 0: KM_ERR_STORE, KM_ERR_NO_SPACE, KM_ERR_NOMEM, KM_ERR_INVALID (larger
 * than the store's options allow). Watchers hear of KM_KV_NEW, also before the signature of what is
 * believed was checked. Whether the author may write is the
 * caller's to ask before. */
KM_NODISCARD int km_kv_apply(km_store *store, const km_entry *e, const km_id *from,
                             km_errinfo *err);

/* Checks and signs what was put off, at most `max` entries, the oldest first. An entry with a wrong
 * signature is taken out and counted against its author. How many are left to do (may be an
 * estimate), or an error. */
KM_NODISCARD int64_t km_kv_check_some(km_store *store, size_t max, km_errinfo *err);

/* All items (clock and hash) of a share, in order, `max` a call from behind `after` (NULL: the
 * first). The number written, or an error. */
KM_NODISCARD int64_t km_kv_items(km_store *store, const char *share, const km_item *after,
                                 km_item *ret, size_t max, km_errinfo *err);

/* The entry with this clock and hash, signed and checked; valid until the next call on the store.
 * 0; KM_ERR_NOT_FOUND (replaced meanwhile); KM_ERR_STORE. */
KM_NODISCARD int km_kv_find(km_store *store, const char *share, const km_item *item, km_entry *ret,
                            km_errinfo *err);

/* The highest change number of the store: grows with each change. */
uint64_t km_kv_seq(const km_store *store);
/* A sync of the share with `peer` ended with both sides equal, as of the change number `seq`. For
 * km_kv_collect. */
KM_NODISCARD int km_kv_synced(km_store *store, const char *share, const km_id *peer, uint64_t seq,
                              km_errinfo *err);
/* Peers that km_kv_collect waits for: all that may read the share, but for strangers that anybody
 * may bring. Replaces the list. */
KM_NODISCARD int km_kv_set_readers(km_store *store, const char *share, const km_id *readers,
                                   size_t count, km_errinfo *err);

/* One more, if it is none yet. */
KM_NODISCARD int km_kv_add_reader(km_store *store, const char *share, const km_id *peer,
                                  km_errinfo *err);
/* One less, if it is one. */
KM_NODISCARD int km_kv_drop_reader(km_store *store, const char *share, const km_id *peer,
                                   km_errinfo *err);
/* Those that there are; `fn` leaves the store alone. The number, or an error. */
KM_NODISCARD int64_t km_kv_readers(km_store *store, const char *share,
                                   void (*fn)(void *ctx, const km_id *peer), void *ctx,
                                   km_errinfo *err);

/* For those who push: called for each change, with its signed form asked for by km_kv_find. `from`
 * is NULL for what was written here. One hook a store; NULL takes it away. */
typedef void (*km_kv_changed_fn)(void *ctx, const char *share, const km_item *item,
                                 const km_id *from);
void km_kv_on_change(km_store *store, km_kv_changed_fn fn, void *ctx);

/* Called when a signature that was not checked at first turned out to be wrong: the entry is gone
 * again, and its author sent it to us itself. One hook; NULL takes it away. */
typedef void (*km_kv_forged_fn)(void *ctx, const km_id *author);
void km_kv_on_forged(km_store *store, km_kv_forged_fn fn, void *ctx);

/* Counters. */
typedef struct km_kv_stats {
  uint64_t puts, deletes, applied_new, applied_known, applied_old;
  uint64_t refused_future, refused_forged;
  uint64_t unchecked; /* entries whose signature was not checked or made yet */
} km_kv_stats;
void km_kv_get_stats(const km_store *store, km_kv_stats *ret);

#endif /* KM_STORE_KV_SYNC_H */
