#include <sodium.h>
#include <string.h>

#include "store/kv_impl.h"

static int64_t read_items(km_store *s, const km_kv_share *share, const km_item *after, km_item *ret,
                          size_t max, km_errinfo *err) {
  km_db_stmt *items = s->kv->items;
  km_db_bind_int(items, 1, share->id);
  km_db_bind_int(items, 2, after != NULL ? (int64_t)after->clock : -1);
  km_db_bind_bytes(items, 3, after != NULL ? (const void *)after->hash : "",
                   after != NULL ? sizeof after->hash : 0);
  km_db_bind_int(items, 4, (int64_t)max);
  size_t count = 0;
  int rv = 0;
  while (count < max && (rv = km_db_step(items, err)) > 0) {
    size_t len;
    const uint8_t *hash = km_db_bytes(items, 1, &len);
    if (len != sizeof ret->hash) {
      rv = km_fail(err, KM_ERR_STORE_DAMAGED, "the database is damaged: an entry has no hash");
      break;
    }
    ret[count].clock = (uint64_t)km_db_int(items, 0);
    memcpy(ret[count].hash, hash, sizeof ret->hash);
    const km_item *before = count > 0 ? &ret[count - 1] : after;
    if (before != NULL && km_item_compare(before, &ret[count]) >= 0) {
      rv = km_fail(err, KM_ERR_STORE_DAMAGED, "the database is damaged: two entries are one");
      break;
    }
    count++;
  }
  km_db_reset(items);
  return rv < 0 ? rv : (int64_t)count;
}

int64_t km_kv_items(km_store *store, const char *share, const km_item *after, km_item *ret,
                    size_t max, km_errinfo *err) {
  km_kv_share *s;
  int rv = km_kv_share_of(store, share, &s, err);
  if (rv < 0) {
    return rv == KM_ERR_NOT_FOUND ? 0 : rv;
  }
  return max == 0 ? 0 : read_items(store, s, after, ret, max, err);
}

int km_kv_hash(km_store *store, const char *share, uint8_t ret[KM_KV_HASH_BYTES], km_errinfo *err) {
  enum { SLICE = 256 };
  km_item items[SLICE];
  crypto_generichash_state h;
  (void)crypto_generichash_init(&h, NULL, 0, KM_KV_HASH_BYTES); /* these three cannot fail */
  int64_t count;
  for (const km_item *after = NULL;
       (count = km_kv_items(store, share, after, items, SLICE, err)) > 0;
       after = &items[SLICE - 1]) {
    for (int64_t i = 0; i < count; i++) {
      uint8_t bytes[8 + KM_ENTRY_HASH_BYTES];
      km_wr wr = km_wr_init(bytes, sizeof bytes);
      km_wr_be(&wr, items[i].clock, 8);
      km_wr_bytes(&wr, items[i].hash, KM_ENTRY_HASH_BYTES);
      (void)crypto_generichash_update(&h, bytes, sizeof bytes);
    }
    if (count < SLICE) {
      break;
    }
  }
  if (count < 0) {
    return (int)count;
  }
  (void)crypto_generichash_final(&h, ret, KM_KV_HASH_BYTES);
  return 0;
}

static int fail_replaced(km_errinfo *err) {
  return km_fail(err, KM_ERR_NOT_FOUND, "the entry was replaced meanwhile");
}

int km_kv_find(km_store *store, const char *share, const km_item *item, km_entry *ret,
               km_errinfo *err) {
  km_kv_share *s;
  km_kv_row *row = &store->kv->found;
  int rv = km_kv_share_of(store, share, &s, err);
  if (rv == 0) {
    km_db_bind_int(store->kv->by_item, 1, s->id);
    km_db_bind_int(store->kv->by_item, 2, (int64_t)item->clock);
    km_db_bind_bytes(store->kv->by_item, 3, item->hash, sizeof item->hash);
    rv = km_kv_one_row(store, store->kv->by_item, row, err);
  }
  if (rv == 0 && km_kv_prove(store, row) != 0) {
    rv = km_kv_drop_forged(store, row, err);
    rv = rv == 0 ? KM_ERR_NOT_FOUND : rv;
  }
  if (rv != 0) {
    return rv == KM_ERR_NOT_FOUND ? fail_replaced(err) : rv;
  }
  *ret = row->entry;
  return 0;
}
