/* Inside of the key-value store, for store/kv_*.c. */
#ifndef KM_STORE_KV_IMPL_H
#define KM_STORE_KV_IMPL_H

#include "store/kv_sync.h"
#include "store/store_impl.h"

#define KM_KV_KEY_MAX 1024
#define KM_KV_VALUE_MAX 1048576

/* kv_entry.state, a set. */
#define KM_KV_TO_VERIFY 0x01 /* its author sent it, the signature was not looked at yet */
#define KM_KV_TO_SIGN 0x02   /* written here, not signed yet */
#define KM_KV_RETURNED 0x04  /* a deletion that came back after it was forgotten here */

typedef struct km_kv_share {
  int64_t id;
  uint64_t horizon;     /* the highest clock of a deletion that was forgotten */
  uint64_t new_horizon; /* it will be when the transaction is committed; 0: as it is */
  uint8_t len;
  char name[KM_SHARE_NAME_MAX + 1];
} km_kv_share;

/* A row with memory of its own; all zero: none. `entry.key` is NUL-terminated. */
typedef struct km_kv_row {
  uint64_t seq;
  unsigned state;
  km_entry entry;
  uint8_t hash[KM_ENTRY_HASH_BYTES];
  uint8_t sig[KM_SIGNATURE_BYTES];
  char share[KM_SHARE_NAME_MAX + 1];
  uint8_t *buf;
  size_t cap;
} km_kv_row;

/* The columns that km_kv_read_row takes, in its order. */
#define KM_KV_COLUMNS "seq, share, clock, flags, state, hash, author, key, sig, value"

/* A signature that was made or found good, but is not noted in the database yet: asking for an
 * entry writes nothing, and a transaction, which costs an fsync, notes many. */
typedef struct km_kv_proof {
  uint64_t seq; /* 0: empty */
  uint8_t sig[KM_SIGNATURE_BYTES];
} km_kv_proof;

#define KM_KV_PROOFS 256 /* a proof's place is its seq modulo this */

/* What is to be told when the batch is committed. */
typedef struct km_kv_change {
  uint64_t seq;
  km_id from;
  bool own;
} km_kv_change;

typedef enum km_kv_batch {
  KM_KV_BATCH_NONE,
  KM_KV_BATCH_OPEN,
  KM_KV_BATCH_BROKEN /* SQLite gave the transaction up; km_kv_commit and rollback end it */
} km_kv_batch;

struct km_kv {
  km_db_stmt *begin, *commit, *rollback;
  km_db_stmt *put, *get, *by_seq, *by_item, *next, *winner; /* SQL: kv_open_io.c */
  km_db_stmt *list, *sums, *items;
  km_db_stmt *todo, *set_proof, *drop;
  km_db_stmt *add_share, *set_horizon, *get_meta, *set_meta;
  km_db_stmt *readers, *add_reader, *drop_reader, *reader_seq, *set_synced, *low_seq;
  km_db_stmt *old_sum, *old_drop;
  km_db_stmt *top_clock, *top_seq, *top_read, *integrity;
  uint64_t seq;           /* the highest change number given out */
  uint64_t checked_to;    /* nothing is to be signed or verified up to here */
  uint64_t checked_saved; /* as the database has it */
  uint64_t proven_to;     /* >= checked_to; in between are `proven` rows to be noted */
  size_t proven;
  /* Deletions that came back up to this change number go when tombstone_min_s is over since. */
  uint64_t returned_to, returned_at; /* the latter in UNIX seconds */
  bool new_horizons;                 /* a share has one */
  km_kv_share *shares;
  size_t share_count, share_cap;
  km_kv_batch batch;
  int batch_code;         /* why it is broken */
  size_t batch_shares;    /* share_count when it began */
  uint64_t batch_checked; /* checked_to when it began */
  km_kv_change *changes;  /* of the batch, if somebody wants to know */
  size_t change_count, change_cap;
  km_kv_row row, found; /* what km_kv_get and km_kv_find gave last */
  km_kv_proof proofs[KM_KV_PROOFS];
  km_list watches;
  unsigned telling; /* depth of calls of watchers */
  uint64_t events;
  uint64_t version;            /* grows whenever rows come or go */
  struct km_kv_sum *sums_kept; /* kv_list_io.c: as of sums_version */
  size_t sums_count;
  uint64_t sums_version;
  km_kv_changed_fn hook;
  void *hook_ctx;
  km_kv_forged_fn forged;
  void *forged_ctx;
  km_kv_stats stats;
};

/* --- kv_io.c ---------------------------------------------------------------------------------- */

/* One that the database has. `ret` may be NULL. */
KM_NODISCARD int km_kv_remember_share(km_store *s, int64_t id, const char *name, size_t len,
                                      uint64_t horizon, km_kv_share **ret, km_errinfo *err);
/* The share of this name; NULL: there is none. Valid until the next one is added. */
km_kv_share *km_kv_find_share(struct km_kv *kv, const char *name, size_t len);
km_kv_share *km_kv_share_by_id(struct km_kv *kv, int64_t id);
/* Adds it if there is none. */
KM_NODISCARD int km_kv_intern_share(km_store *s, const char *name, size_t len, km_kv_share **ret,
                                    km_errinfo *err);
/* Checks the name and finds the share. KM_ERR_NOT_FOUND without a text, KM_ERR_INVALID. */
KM_NODISCARD int km_kv_share_of(km_store *s, const char *name, km_kv_share **ret, km_errinfo *err);
/* Writes an entry that has won, with its change number, and tells of it. `from` NULL: own. */
KM_NODISCARD int km_kv_store_entry(km_store *s, const km_kv_share *share, const km_entry *e,
                                   const uint8_t hash[KM_ENTRY_HASH_BYTES], unsigned state,
                                   const km_id *from, km_errinfo *err);
/* A transaction around what follows unless a batch is open: end it with km_kv_leave, which commits
 * when `rv` is 0 or more and returns it, or why it could not. */
KM_NODISCARD int km_kv_enter(km_store *s, bool *ret_own, km_errinfo *err);
KM_NODISCARD int64_t km_kv_leave(km_store *s, bool own, int64_t rv, km_errinfo *err);
/* Why the batch that is open was given up; 0: it was not. */
KM_NODISCARD int km_kv_check_batch(km_store *s, km_errinfo *err);
/* After an error of the database: is the batch still there? Returns `rv`. */
int km_kv_failed(km_store *s, int rv);
/* Before rows go: the clock and the change numbers do not fall with them. */
KM_NODISCARD int km_kv_keep_highest(km_store *s, km_errinfo *err);
KM_NODISCARD int km_kv_set_meta(km_store *s, const char *name, uint64_t value, km_errinfo *err);

/* --- kv_check_io.c ---------------------------------------------------------------------------- */

/* Notes what was proven since the last time, in one transaction. */
KM_NODISCARD int km_kv_note_proofs(km_store *s, km_errinfo *err);

/* --- kv_row_io.c ------------------------------------------------------------------------------ */

/* Copies the row that the statement stands at. 0, KM_ERR_STORE_DAMAGED, KM_ERR_NOMEM. */
KM_NODISCARD int km_kv_read_row(km_store *s, km_db_stmt *stmt, km_kv_row *row, km_errinfo *err);
void km_kv_clear_row(const km_env *env, km_kv_row *row);
/* The one row that the bound statement gives; resets it. KM_ERR_NOT_FOUND without a text. */
KM_NODISCARD int km_kv_one_row(km_store *s, km_db_stmt *stmt, km_kv_row *row, km_errinfo *err);
/* As the program sees it; points into the row. */
void km_kv_show_row(const km_store *s, const km_kv_row *row, km_kv_entry *ret);

/* --- kv_check_io.c ---------------------------------------------------------------------------- */

/* Signs or verifies a row if that is still to do; `row->sig` is its signature then. 0, or
 * KM_ERR_CRYPTO: the signature is wrong. Writes nothing. */
KM_NODISCARD int km_kv_prove(km_store *s, km_kv_row *row);
/* Takes a row with a wrong signature out. */
KM_NODISCARD int km_kv_drop_forged(km_store *s, const km_kv_row *row, km_errinfo *err);

/* --- kv_watch.c ------------------------------------------------------------------------------- */

/* Does anybody want to know of changes? */
bool km_kv_is_watched(const struct km_kv *kv);
/* `e` has to outlive what the watchers do. `item` NULL: only they are told, it is not pushed on. */
void km_kv_tell(km_store *s, const km_kv_entry *e, const km_item *item, const km_id *from);
void km_kv_free_watches(km_store *s);

#endif /* KM_STORE_KV_IMPL_H */
