#include <stdlib.h>
#include <string.h>

#include "store/kv_impl.h"

/* Rows are copied out a page at a time, so that callbacks may read the store. */
enum { PAGE_ROWS = 64, PAGE_BYTES = 256 * 1024 };

/* Above every key: this byte is in no UTF-8. */
static const char highest[] = "\xff";

/* The least string above all that begin with the prefix. */
static size_t end_of_prefix(const char *prefix, char *ret) {
  size_t len = strlen(prefix);
  memcpy(ret, prefix, len);
  while (len > 0 && (uint8_t)ret[len - 1] == 0xff) {
    len--;
  }
  if (len == 0) {
    ret[0] = highest[0];
    return 1;
  }
  ret[len - 1] = (char)((uint8_t)ret[len - 1] + 1);
  return len;
}

typedef struct cursor {
  km_store *store;
  int64_t share;
  char low[KM_KV_KEY_MAX + 2], high[KM_KV_KEY_MAX + 2]; /* from and below */
  size_t low_len, high_len;
  int64_t max_flags;
  size_t left; /* at most so many more */
  km_kv_row rows[PAGE_ROWS];
} cursor;

/* Keys have no zero bytes: the key and one is the next that there could be. */
static void go_behind(cursor *c, const char *key, size_t len) {
  memcpy(c->low, key, len);
  c->low[len] = '\0';
  c->low_len = len + 1;
}

static int set_range(cursor *c, const km_kv_query *q, km_errinfo *err) {
  const char *prefix = q->prefix != NULL ? q->prefix : "";
  const char *after = q->after != NULL ? q->after : "";
  if (strlen(prefix) > KM_KV_KEY_MAX || strlen(after) > KM_KV_KEY_MAX) {
    return km_fail(err, KM_ERR_INVALID, "no key is so long: a key has up to %d bytes",
                   KM_KV_KEY_MAX);
  }
  c->high_len = end_of_prefix(prefix, c->high);
  if (strcmp(after, prefix) >= 0 && after[0] != '\0') {
    go_behind(c, after, strlen(after));
  } else {
    c->low_len = strlen(prefix);
    memcpy(c->low, prefix, c->low_len);
  }
  c->max_flags = q->with_deleted ? KM_ENTRY_DELETED : 0;
  c->left = q->limit > 0 ? q->limit : SIZE_MAX;
  return 0;
}

/* The next page: how many rows, 0 at the end, or an error. */
static int read_page(cursor *c, km_errinfo *err) {
  km_db_stmt *list = c->store->kv->list;
  int max = c->left < PAGE_ROWS ? (int)c->left : PAGE_ROWS;
  km_db_bind_int(list, 1, c->share);
  km_db_bind_bytes(list, 2, c->low, c->low_len);
  km_db_bind_bytes(list, 3, c->high, c->high_len);
  km_db_bind_int(list, 4, c->max_flags);
  km_db_bind_int(list, 5, max);
  int count = 0, rv = 1;
  size_t bytes = 0;
  while (count < max && bytes < PAGE_BYTES && (rv = km_db_step(list, err)) > 0) {
    rv = km_kv_read_row(c->store, list, &c->rows[count], err);
    if (rv != 0) {
      break;
    }
    bytes += c->rows[count++].entry.value_len;
  }
  km_db_reset(list);
  return rv < 0 ? rv : count;
}

static int64_t walk(cursor *c, km_kv_fn fn, void *ctx, km_errinfo *err) {
  int64_t total = 0;
  for (;;) {
    int count = c->left > 0 ? read_page(c, err) : 0;
    if (count <= 0) {
      return count < 0 ? count : total;
    }
    for (int i = 0; i < count && fn != NULL; i++) {
      km_kv_entry e;
      km_kv_show_row(c->store, &c->rows[i], &e);
      fn(ctx, &e);
    }
    const km_entry *last = &c->rows[count - 1].entry;
    go_behind(c, last->key, last->key_len);
    c->left -= (size_t)count;
    total += count;
  }
}

int64_t km_kv_list(km_store *store, const char *share, const km_kv_query *query, km_kv_fn fn,
                   void *ctx, km_errinfo *err) {
  km_kv_query q = {.size = sizeof q};
  if (query != NULL) {
    memcpy(&q, query, query->size != 0 && query->size < sizeof q ? query->size : sizeof q);
  }
  km_kv_share *s;
  int64_t rv = km_kv_share_of(store, share, &s, err);
  if (rv != 0) {
    return rv == KM_ERR_NOT_FOUND ? 0 : rv;
  }
  cursor *c = km_env_zalloc(store->env, 1, sizeof *c);
  if (c == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  c->store = store;
  c->share = s->id;
  rv = set_range(c, &q, err);
  if (rv == 0) {
    rv = walk(c, fn, ctx, err);
  }
  for (size_t i = 0; i < PAGE_ROWS; i++) {
    km_kv_clear_row(store->env, &c->rows[i]);
  }
  km_env_free(store->env, c);
  return rv;
}

/* --- shares ----------------------------------------------------------------------------------- */

/* What a share holds; they are counted anew only when rows came or went, because that reads the
 * whole table. */
struct km_kv_sum {
  char name[KM_SHARE_NAME_MAX + 1];
  uint64_t entries, deleted, bytes;
};

static int by_name(const void *a, const void *b) {
  return strcmp(((const struct km_kv_sum *)a)->name, ((const struct km_kv_sum *)b)->name);
}

/* `all` has room for every share. How many, or an error. */
static int64_t read_sums(km_store *s, struct km_kv_sum *all, km_errinfo *err) {
  km_db_stmt *sums = s->kv->sums;
  size_t count = 0;
  int rv;
  while ((rv = km_db_step(sums, err)) > 0) {
    const km_kv_share *share = km_kv_share_by_id(s->kv, km_db_int(sums, 0));
    if (share == NULL || count == s->kv->share_count) {
      km_db_reset(sums);
      return km_fail(err, KM_ERR_STORE_DAMAGED, "the database is damaged: a share has no name");
    }
    struct km_kv_sum *sum = &all[count++];
    memcpy(sum->name, share->name, sizeof sum->name);
    sum->deleted = (uint64_t)km_db_int(sums, 2);
    sum->entries = (uint64_t)km_db_int(sums, 1) - sum->deleted;
    sum->bytes = (uint64_t)km_db_int(sums, 3);
  }
  if (rv == 0 && count > 0) {
    qsort(all, count, sizeof *all, by_name);
  }
  return rv < 0 ? rv : (int64_t)count;
}

static int renew_sums(km_store *s, km_errinfo *err) {
  struct km_kv *kv = s->kv;
  if (kv->sums_kept != NULL && kv->sums_version == kv->version) {
    return 0;
  }
  struct km_kv_sum *all = km_env_zalloc(s->env, kv->share_count + 1, sizeof *all);
  if (all == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  int64_t count = read_sums(s, all, err);
  if (count < 0) {
    km_env_free(s->env, all);
    return (int)count;
  }
  km_env_free(s->env, kv->sums_kept);
  kv->sums_kept = all;
  kv->sums_count = (size_t)count;
  kv->sums_version = kv->version;
  return 0;
}

int64_t km_kv_shares(km_store *store,
                     void (*fn)(void *ctx, const char *share, uint64_t entries, uint64_t deleted,
                                uint64_t bytes),
                     void *ctx, km_errinfo *err) {
  int rv = renew_sums(store, err);
  if (rv != 0) {
    return rv;
  }
  /* A callback that writes, or asks again, has its own. */
  struct km_kv_sum *all = store->kv->sums_kept;
  size_t count = store->kv->sums_count;
  store->kv->sums_kept = NULL;
  for (size_t i = 0; i < count && fn != NULL; i++) {
    fn(ctx, all[i].name, all[i].entries, all[i].deleted, all[i].bytes);
  }
  if (store->kv->sums_kept == NULL) {
    store->kv->sums_kept = all;
  } else {
    km_env_free(store->env, all);
  }
  return (int64_t)count;
}
