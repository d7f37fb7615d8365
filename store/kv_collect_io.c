#include <string.h>

#include "base/id_list.h"
#include "store/kv_impl.h"

/* --- who reads -------------------------------------------------------------------------------- */

/* The peer's change number; -1: it is no reader. */
static int reader_seq(km_store *s, const km_kv_share *share, const km_id *peer, int64_t *ret,
                      km_errinfo *err) {
  km_db_stmt *stmt = s->kv->reader_seq;
  km_db_bind_int(stmt, 1, share->id);
  km_db_bind_bytes(stmt, 2, peer->bytes, KM_ID_BYTES);
  int rv = km_db_step(stmt, err);
  *ret = rv > 0 ? km_db_int(stmt, 0) : -1;
  if (rv > 0) {
    km_db_reset(stmt);
  }
  return rv < 0 ? rv : 0;
}

int km_kv_synced(km_store *store, const char *share, const km_id *peer, uint64_t seq,
                 km_errinfo *err) {
  km_kv_share *s;
  int64_t had = -1;
  int rv = km_kv_share_of(store, share, &s, err);
  if (rv == 0) {
    rv = reader_seq(store, s, peer, &had, err);
  }
  if (rv != 0 || had < 0 || (uint64_t)had >= seq) {
    return rv == KM_ERR_NOT_FOUND ? 0 : rv;
  }
  km_db_stmt *stmt = store->kv->set_synced;
  km_db_bind_int(stmt, 1, (int64_t)seq);
  km_db_bind_int(stmt, 2, s->id);
  km_db_bind_bytes(stmt, 3, peer->bytes, KM_ID_BYTES);
  rv = km_db_run(stmt, err);
  return rv != 0 ? km_kv_failed(store, rv) : 0;
}

static int run_for(km_db_stmt *stmt, const km_kv_share *share, const km_id *peer, km_errinfo *err) {
  km_db_bind_int(stmt, 1, share->id);
  km_db_bind_bytes(stmt, 2, peer->bytes, KM_ID_BYTES);
  return km_db_run(stmt, err);
}

/* Those that there are. The number, or an error. */
static int64_t read_readers(km_store *s, const km_kv_share *share,
                            void (*fn)(void *ctx, const km_id *peer), void *ctx, km_errinfo *err) {
  km_db_stmt *stmt = s->kv->readers;
  int64_t count = 0;
  int rv;
  km_db_bind_int(stmt, 1, share->id);
  while ((rv = km_db_step(stmt, err)) > 0) {
    km_id peer;
    if (km_db_id(stmt, 0, &peer)) {
      fn(ctx, &peer);
      count++;
    }
  }
  return rv < 0 ? rv : count;
}

static void list_reader(void *ctx, const km_id *peer) {
  km_id_list_add(ctx, peer);
}

/* Both lists are sorted: one pass over them writes what is different, and nothing else. */
static int write_readers(km_store *s, const km_kv_share *share, const km_id_list *had,
                         const km_id_list *wanted, km_errinfo *err) {
  int rv = 0;
  for (size_t h = 0, w = 0; rv == 0 && (h < had->count || w < wanted->count);) {
    int order = h == had->count      ? 1
                : w == wanted->count ? -1
                                     : memcmp(had->at[h].bytes, wanted->at[w].bytes, KM_ID_BYTES);
    if (order < 0) {
      rv = run_for(s->kv->drop_reader, share, &had->at[h], err);
    } else if (order > 0) {
      rv = run_for(s->kv->add_reader, share, &wanted->at[w], err);
    }
    h += order <= 0;
    w += order >= 0;
  }
  return rv;
}

static int set_readers(km_store *s, const km_kv_share *share, const km_id *readers, size_t count,
                       km_errinfo *err) {
  km_id_list had = {.env = s->env}, wanted = {.env = s->env};
  for (size_t i = 0; i < count; i++) {
    km_id_list_add(&wanted, &readers[i]);
  }
  int64_t rv = read_readers(s, share, list_reader, &had, err);
  km_id_list_sort(&had);
  km_id_list_sort(&wanted);
  if (rv >= 0) {
    rv = had.failed || wanted.failed ? km_fail(err, KM_ERR_NOMEM, NULL)
                                     : write_readers(s, share, &had, &wanted, err);
  }
  km_id_list_free(&had);
  km_id_list_free(&wanted);
  return (int)rv;
}

int km_kv_set_readers(km_store *store, const char *share, const km_id *readers, size_t count,
                      km_errinfo *err) {
  size_t len = strlen(share);
  bool own;
  int64_t rv = km_share_name_check(share, len, err);
  if (rv == 0) {
    rv = km_kv_enter(store, &own, err);
  }
  if (rv != 0) {
    return (int)rv;
  }
  km_kv_share *s;
  rv = km_kv_intern_share(store, share, len, &s, err);
  if (rv == 0) {
    rv = set_readers(store, s, readers, count, err);
  }
  return (int)km_kv_leave(store, own, rv, err);
}

static int add_reader(km_store *s, const char *share, const km_id *peer, km_errinfo *err) {
  km_kv_share *at;
  int rv = km_kv_intern_share(s, share, strlen(share), &at, err);
  return rv != 0 ? rv : run_for(s->kv->add_reader, at, peer, err);
}

int km_kv_add_reader(km_store *store, const char *share, const km_id *peer, km_errinfo *err) {
  km_kv_share *s;
  int64_t seq = -1;
  bool own;
  int rv = km_kv_share_of(store, share, &s, err);
  if (rv == 0) {
    rv = reader_seq(store, s, peer, &seq, err);
  }
  if ((rv != 0 && rv != KM_ERR_NOT_FOUND) || seq >= 0) {
    return rv;
  }
  rv = km_kv_enter(store, &own, err);
  return rv != 0 ? rv : (int)km_kv_leave(store, own, add_reader(store, share, peer, err), err);
}

int km_kv_drop_reader(km_store *store, const char *share, const km_id *peer, km_errinfo *err) {
  km_kv_share *s;
  int rv = km_kv_share_of(store, share, &s, err);
  if (rv == 0) {
    rv = run_for(store->kv->drop_reader, s, peer, err);
    rv = rv != 0 ? km_kv_failed(store, rv) : 0;
  }
  return rv == KM_ERR_NOT_FOUND ? 0 : rv;
}

int64_t km_kv_readers(km_store *store, const char *share, void (*fn)(void *ctx, const km_id *peer),
                      void *ctx, km_errinfo *err) {
  km_kv_share *s;
  int rv = km_kv_share_of(store, share, &s, err);
  if (rv != 0) {
    return rv == KM_ERR_NOT_FOUND ? 0 : rv;
  }
  return read_readers(store, s, fn, ctx, err);
}

/* --- forgetting deletions --------------------------------------------------------------------- */

/* Which deletions of a share may go. */
typedef struct old {
  int64_t share, max_clock, max_seq;
  int64_t max_returned; /* the same for those that came back */
} old;

static void bind_old(km_db_stmt *stmt, const old *o) {
  km_db_bind_int(stmt, 1, o->share);
  km_db_bind_int(stmt, 2, o->max_clock);
  km_db_bind_int(stmt, 3, o->max_returned);
  km_db_bind_int(stmt, 4, o->max_seq);
}

/* What all readers have; without any, everything. */
static int all_have(km_store *s, int64_t share, int64_t *ret, km_errinfo *err) {
  km_db_stmt *stmt = s->kv->low_seq;
  km_db_bind_int(stmt, 1, share);
  int rv = km_db_step(stmt, err); /* one row, null without readers */
  if (rv > 0) {
    size_t len;
    *ret = km_db_bytes(stmt, 0, &len) != NULL ? km_db_int(stmt, 0) : INT64_MAX;
    km_db_reset(stmt);
  }
  return rv < 0 ? rv : 0;
}

/* How many, and the highest clock among them. */
static int64_t sum_old(km_store *s, const old *o, uint64_t *ret_clock, km_errinfo *err) {
  km_db_stmt *stmt = s->kv->old_sum;
  bind_old(stmt, o);
  int rv = km_db_step(stmt, err);
  if (rv <= 0) {
    return rv;
  }
  int64_t count = km_db_int(stmt, 0);
  *ret_clock = (uint64_t)km_db_int(stmt, 1);
  km_db_reset(stmt);
  return count;
}

static int64_t forget(km_store *s, km_kv_share *share, const old *o, km_errinfo *err) {
  uint64_t clock = 0;
  int64_t count = sum_old(s, o, &clock, err);
  if (count <= 0) {
    return count;
  }
  int rv = km_kv_keep_highest(s, err);
  if (rv == 0 && clock > share->horizon && clock > share->new_horizon) {
    share->new_horizon = clock;
    s->kv->new_horizons = true;
    km_db_bind_int(s->kv->set_horizon, 1, (int64_t)clock);
    km_db_bind_int(s->kv->set_horizon, 2, share->id);
    rv = km_db_run(s->kv->set_horizon, err);
  }
  if (rv == 0) {
    bind_old(s->kv->old_drop, o);
    rv = km_db_run(s->kv->old_drop, err);
    s->kv->version++;
  }
  return rv != 0 ? rv : count;
}

/* Those that came back have been here for tombstone_min_s up to the change number that is given: 0
 * but for one time in so long. */
static int64_t returned_long_ago(km_store *s, km_errinfo *err) {
  struct km_kv *kv = s->kv;
  int64_t now_s = km_store_wall(s).unix_ns / (int64_t)KM_NS_PER_S;
  uint64_t now = now_s > 0 ? (uint64_t)now_s : 0, to = kv->returned_to;
  bool clock_went_back = kv->returned_at > now;
  if (!clock_went_back && now - kv->returned_at < s->options.tombstone_min_s) {
    return 0;
  }
  int rv = km_kv_set_meta(s, "returned_to", kv->seq, err);
  rv = rv != 0 ? rv : km_kv_set_meta(s, "returned_at", now, err);
  if (rv != 0) {
    return rv;
  }
  kv->returned_to = kv->seq;
  kv->returned_at = now;
  return clock_went_back ? 0 : (int64_t)to;
}

static int64_t forget_all(km_store *s, int64_t max_clock, km_errinfo *err) {
  int64_t total = 0, max_returned = returned_long_ago(s, err);
  if (max_returned < 0) {
    return max_returned;
  }
  for (size_t i = 0; i < s->kv->share_count; i++) {
    km_kv_share *share = &s->kv->shares[i];
    old o = {.share = share->id, .max_clock = max_clock, .max_returned = max_returned};
    int64_t rv = all_have(s, share->id, &o.max_seq, err);
    if (rv == 0) {
      rv = forget(s, share, &o, err);
    }
    if (rv < 0) {
      return rv;
    }
    total += rv;
  }
  return total;
}

int64_t km_kv_collect(km_store *store, km_errinfo *err) {
  bool own;
  int rv = km_kv_enter(store, &own, err);
  if (rv != 0) {
    return rv;
  }
  km_wall since = km_store_wall(store);
  since.unix_ns -= (int64_t)store->options.tombstone_min_s * (int64_t)KM_NS_PER_S;
  int64_t max_clock = (int64_t)km_hlc_from_wall(since);
  return km_kv_leave(store, own, forget_all(store, max_clock, err), err);
}
