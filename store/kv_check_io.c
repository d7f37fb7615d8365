#include <string.h>

#include "store/kv_impl.h"

/* Rows with nothing to do are passed over so many numbers at a time. */
#define STRIDE 4096

/* --- proofs ----------------------------------------------------------------------------------- */

int km_kv_prove(km_store *s, km_kv_row *row) {
  km_kv_proof *proof = &s->kv->proofs[row->seq % KM_KV_PROOFS];
  if ((row->state & (KM_KV_TO_SIGN | KM_KV_TO_VERIFY)) == 0) {
    return 0;
  }
  if (proof->seq != row->seq) {
    if ((row->state & KM_KV_TO_SIGN) != 0) {
      km_entry_sign(&row->entry, s->key, row->sig);
    } else if (km_entry_verify(&row->entry) != 0) {
      return KM_ERR_CRYPTO;
    }
    proof->seq = row->seq;
    memcpy(proof->sig, row->sig, sizeof proof->sig);
  }
  memcpy(row->sig, proof->sig, sizeof row->sig);
  row->entry.sig = row->sig;
  return 0;
}

/* The next time that peers sync they find out that the entry is missing here. */
int km_kv_drop_forged(km_store *s, const km_kv_row *row, km_errinfo *err) {
  bool own;
  int64_t rv = km_kv_enter(s, &own, err);
  if (rv != 0) {
    return (int)rv;
  }
  rv = km_kv_keep_highest(s, err);
  if (rv == 0) {
    km_db_bind_int(s->kv->drop, 1, (int64_t)row->seq);
    rv = km_db_run(s->kv->drop, err);
    s->kv->version++;
  }
  rv = km_kv_leave(s, own, rv, err);
  s->kv->stats.refused_forged += rv == 0;
  KM_LOG(&s->env->logger, KM_LOG_WARN, KM_LOGC_STORE, &row->entry.author, NULL, "entry dropped",
         "the signature of %s in the share %s is wrong", row->entry.key, row->share);
  if (rv == 0 && s->kv->forged != NULL) {
    s->kv->forged(s->kv->forged_ctx, &row->entry.author);
  }
  return (int)rv;
}

/* --- in the background ------------------------------------------------------------------------ */

/* The next row with something to do behind `at`, within a stride; `at` goes there, or to the end of
 * the stride. 1, or 0: none there. */
static int next_todo(km_store *s, uint64_t *at, uint64_t end, km_kv_row *row, km_errinfo *err) {
  uint64_t to = end - *at > STRIDE ? *at + STRIDE : end;
  km_db_bind_int(s->kv->todo, 1, (int64_t)*at);
  km_db_bind_int(s->kv->todo, 2, (int64_t)to);
  int rv = km_kv_one_row(s, s->kv->todo, row, err);
  if (rv != 0 && rv != KM_ERR_NOT_FOUND) {
    return rv;
  }
  *at = rv == 0 ? row->seq : to;
  return rv == 0 ? 1 : 0;
}

/* One row; a wrong one goes. */
static int prove_row(km_store *s, km_kv_row *row, km_errinfo *err) {
  if (km_kv_prove(s, row) != 0) {
    return km_kv_drop_forged(s, row, err);
  }
  s->kv->proven++;
  return 0;
}

static int prove_some(km_store *s, size_t *max, km_kv_row *row, km_errinfo *err) {
  struct km_kv *kv = s->kv;
  for (; *max > 0 && kv->proven_to < kv->seq && kv->proven < KM_KV_PROOFS; --*max) {
    uint64_t at = kv->proven_to; /* an empty stride costs about as much as a signature */
    int rv = next_todo(s, &at, kv->seq, row, err);
    if (rv > 0) {
      rv = prove_row(s, row, err);
    }
    if (rv != 0) {
      return rv;
    }
    kv->proven_to = at;
  }
  return 0;
}

static int note_row(km_store *s, km_kv_row *row, km_errinfo *err) {
  if (km_kv_prove(s, row) != 0) { /* it was good; whoever writes to the file may have changed it */
    return km_kv_drop_forged(s, row, err);
  }
  km_db_bind_bytes(s->kv->set_proof, 1, row->sig, sizeof row->sig);
  km_db_bind_int(s->kv->set_proof, 2, (int64_t)row->seq);
  return km_db_run(s->kv->set_proof, err);
}

static int note_all(km_store *s, km_kv_row *row, km_errinfo *err) {
  struct km_kv *kv = s->kv;
  uint64_t at = kv->checked_to;
  while (at < kv->proven_to) {
    int rv = next_todo(s, &at, kv->proven_to, row, err);
    if (rv > 0) {
      rv = note_row(s, row, err);
    }
    if (rv != 0) {
      return rv;
    }
  }
  kv->checked_to = kv->proven_to;
  return km_kv_set_meta(s, "checked", kv->checked_to, err);
}

int km_kv_note_proofs(km_store *s, km_errinfo *err) {
  struct km_kv *kv = s->kv;
  if (kv->proven_to <= kv->checked_saved) {
    return 0;
  }
  bool own;
  int64_t rv = km_kv_enter(s, &own, err);
  if (rv != 0) {
    return (int)rv;
  }
  km_kv_row row = {0};
  rv = km_kv_leave(s, own, note_all(s, &row, err), err);
  km_kv_clear_row(s->env, &row);
  if (rv == 0) {
    kv->proven = 0;
    kv->checked_saved = kv->checked_to;
  }
  return (int)rv;
}

int64_t km_kv_check_some(km_store *store, size_t max, km_errinfo *err) {
  struct km_kv *kv = store->kv;
  km_kv_row row = {0};
  int rv = km_kv_check_batch(store, err);
  while (rv == 0 && max > 0 && kv->proven_to < kv->seq) {
    rv = prove_some(store, &max, &row, err);
    if (rv == 0 && (kv->proven >= KM_KV_PROOFS || kv->proven_to == kv->seq)) {
      rv = km_kv_note_proofs(store, err);
    }
  }
  km_kv_clear_row(store->env, &row);
  return rv != 0 ? rv : (int64_t)(kv->seq - kv->proven_to);
}

/* --- the whole file --------------------------------------------------------------------------- */

static int check_file(km_store *s, km_errinfo *err) {
  km_db_stmt *stmt = s->kv->integrity;
  int rv = km_db_step(stmt, err);
  if (rv <= 0) {
    return rv == 0 ? KM_ERR_STORE_DAMAGED : rv;
  }
  const char *text = km_db_text(stmt, 0);
  rv = text != NULL && strcmp(text, "ok") == 0
           ? 0
           : km_fail(err, KM_ERR_STORE_DAMAGED, "the database %s is damaged: %s",
                     s->path != NULL ? s->path : "in memory", text != NULL ? text : "?");
  km_db_reset(stmt);
  return rv;
}

static int check_entry(km_store *s, const km_kv_row *row, km_errinfo *err) {
  uint8_t hash[KM_ENTRY_HASH_BYTES];
  km_entry_hash(&row->entry, hash);
  return memcmp(hash, row->hash, sizeof hash) == 0
             ? 0
             : km_fail(err, KM_ERR_STORE_DAMAGED,
                       "the database %s is damaged: %s in the share %s is not what was stored",
                       s->path != NULL ? s->path : "in memory", row->entry.key, row->share);
}

int km_store_check(km_store *store, km_errinfo *err) {
  km_kv_row row = {0};
  int rv = check_file(store, err);
  while (rv == 0) {
    km_db_bind_int(store->kv->next, 1, (int64_t)row.seq);
    rv = km_kv_one_row(store, store->kv->next, &row, err);
    if (rv == 0) {
      rv = check_entry(store, &row, err);
    }
  }
  km_kv_clear_row(store->env, &row);
  return rv == KM_ERR_NOT_FOUND ? 0 : rv;
}
