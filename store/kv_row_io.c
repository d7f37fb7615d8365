#include <string.h>

#include "store/kv_impl.h"

/* In the order of KM_KV_COLUMNS. */
enum {
  COL_SEQ,
  COL_SHARE,
  COL_CLOCK,
  COL_FLAGS,
  COL_STATE,
  COL_HASH,
  COL_AUTHOR,
  COL_KEY,
  COL_SIG,
  COL_VALUE
};

static int damaged(km_store *s, km_db_stmt *stmt, km_errinfo *err) {
  return km_fail(err, KM_ERR_STORE_DAMAGED,
                 "the database %s is damaged: its entry %lld is not of the right form",
                 s->path != NULL ? s->path : "in memory", (long long)km_db_int(stmt, COL_SEQ));
}

static int reserve(const km_env *env, km_kv_row *row, size_t need) {
  if (need <= row->cap) {
    return 0;
  }
  size_t cap = need < 512 ? 512 : need;
  uint8_t *buf = km_env_alloc(env, cap);
  if (buf == NULL) {
    return KM_ERR_NOMEM;
  }
  km_env_free(env, row->buf);
  row->buf = buf;
  row->cap = cap;
  return 0;
}

/* The fields of fixed length. False: one has another. */
static bool read_fixed(km_db_stmt *stmt, km_kv_row *row) {
  size_t hash_len, author_len, sig_len;
  const uint8_t *hash = km_db_bytes(stmt, COL_HASH, &hash_len);
  const uint8_t *author = km_db_bytes(stmt, COL_AUTHOR, &author_len);
  const uint8_t *sig = km_db_bytes(stmt, COL_SIG, &sig_len);
  if (hash_len != sizeof row->hash || author_len != KM_ID_BYTES ||
      (sig_len != 0 && sig_len != sizeof row->sig)) {
    return false;
  }
  row->seq = (uint64_t)km_db_int(stmt, COL_SEQ);
  row->state = (unsigned)km_db_int(stmt, COL_STATE);
  memcpy(row->hash, hash, sizeof row->hash);
  memcpy(row->entry.author.bytes, author, KM_ID_BYTES);
  row->entry.clock = (uint64_t)km_db_int(stmt, COL_CLOCK);
  row->entry.flags = (uint8_t)km_db_int(stmt, COL_FLAGS);
  row->entry.sig = NULL;
  if (sig_len > 0) {
    memcpy(row->sig, sig, sizeof row->sig);
    row->entry.sig = row->sig;
  }
  return sig_len > 0 || (row->state & KM_KV_TO_SIGN) != 0;
}

int km_kv_read_row(km_store *s, km_db_stmt *stmt, km_kv_row *row, km_errinfo *err) {
  const km_kv_share *share = km_kv_share_by_id(s->kv, km_db_int(stmt, COL_SHARE));
  size_t key_len, value_len;
  const uint8_t *key = km_db_bytes(stmt, COL_KEY, &key_len);
  const uint8_t *value = km_db_bytes(stmt, COL_VALUE, &value_len);
  if (share == NULL || key_len == 0 || key_len > KM_KV_KEY_MAX || value_len > KM_KV_VALUE_MAX ||
      !read_fixed(stmt, row)) {
    return damaged(s, stmt, err);
  }
  if (reserve(s->env, row, key_len + 1 + value_len) != 0) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  memcpy(row->share, share->name, sizeof row->share);
  memcpy(row->buf, key, key_len);
  row->buf[key_len] = '\0';
  if (value_len > 0) {
    memcpy(row->buf + key_len + 1, value, value_len);
  }
  row->entry.share = row->share;
  row->entry.share_len = share->len;
  row->entry.key = (const char *)row->buf;
  row->entry.key_len = (uint32_t)key_len;
  row->entry.value = row->buf + key_len + 1;
  row->entry.value_len = (uint32_t)value_len;
  return 0;
}

void km_kv_clear_row(const km_env *env, km_kv_row *row) {
  km_env_free(env, row->buf);
  *row = (km_kv_row){0};
}

int km_kv_one_row(km_store *s, km_db_stmt *stmt, km_kv_row *row, km_errinfo *err) {
  int rv = km_db_step(stmt, err);
  if (rv <= 0) {
    return rv == 0 ? KM_ERR_NOT_FOUND : rv;
  }
  rv = km_kv_read_row(s, stmt, row, err);
  km_db_reset(stmt);
  return rv;
}

void km_kv_show_row(const km_store *s, const km_kv_row *row, km_kv_entry *ret) {
  bool deleted = (row->entry.flags & KM_ENTRY_DELETED) != 0;
  *ret = (km_kv_entry){.share = row->share,
                       .key = row->entry.key,
                       .value = deleted ? NULL : row->entry.value,
                       .value_len = row->entry.value_len,
                       .deleted = deleted,
                       .author = row->entry.author,
                       .clock = row->entry.clock,
                       .own = km_id_equal(&row->entry.author, &s->id)};
}
