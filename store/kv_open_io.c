#include <string.h>

#include "store/kv_impl.h"

#define SELECT_ROW "SELECT " KM_KV_COLUMNS " FROM kv_entry WHERE "

typedef struct statement {
  size_t at; /* in struct km_kv */
  const char *sql;
} statement;

#define S(member) offsetof(struct km_kv, member)

static const statement statements[] = {
    {S(begin), "BEGIN IMMEDIATE"},
    {S(commit), "COMMIT"},
    {S(rollback), "ROLLBACK"},
    {S(put), "INSERT OR REPLACE INTO kv_entry(" KM_KV_COLUMNS ") VALUES(?,?,?,?,?,?,?,?,?,?)"},
    {S(get), SELECT_ROW "share = ? AND key = ?"},
    {S(by_seq), SELECT_ROW "seq = ?"},
    {S(by_item), SELECT_ROW "share = ? AND clock = ? AND hash = ?"},
    {S(next), SELECT_ROW "seq > ? ORDER BY seq LIMIT 1"},
    {S(winner), "SELECT clock, author, hash FROM kv_entry WHERE share = ? AND key = ?"},
    {S(list), SELECT_ROW "share = ? AND key >= ? AND key < ? AND flags <= ? ORDER BY key LIMIT ?"},
    {S(sums), "SELECT share, count(*), sum(flags), sum(length(key) + ifnull(length(value), 0)) "
              "FROM kv_entry GROUP BY share"},
    {S(items), "SELECT clock, hash FROM kv_entry INDEXED BY kv_entry_item "
               "WHERE share = ? AND (clock, hash) > (?, ?) ORDER BY clock, hash LIMIT ?"},
    {S(todo), SELECT_ROW "seq > ? AND seq <= ? AND state & 3 ORDER BY seq LIMIT 1"},
    {S(set_proof), "UPDATE kv_entry SET sig = ?, state = state & ~3 WHERE seq = ?"},
    {S(drop), "DELETE FROM kv_entry WHERE seq = ?"},
    {S(add_share), "INSERT INTO kv_share(id, name) VALUES(?, ?)"},
    {S(get_meta), "SELECT value FROM kv_meta WHERE name = ?"},
    {S(set_meta), "INSERT OR REPLACE INTO kv_meta(name, value) VALUES(?, ?)"},
    {S(readers), "SELECT peer FROM kv_reader WHERE share = ? ORDER BY peer"},
    {S(add_reader), "INSERT OR IGNORE INTO kv_reader(share, peer, seq) VALUES(?, ?, 0)"},
    {S(drop_reader), "DELETE FROM kv_reader WHERE share = ? AND peer = ?"},
    {S(reader_seq), "SELECT seq FROM kv_reader WHERE share = ? AND peer = ?"},
    {S(set_synced), "UPDATE kv_reader SET seq = ? WHERE share = ? AND peer = ?"},
    {S(low_seq), "SELECT min(seq) FROM kv_reader WHERE share = ?"},
    {S(old_sum), "SELECT count(*), max(clock) FROM kv_entry WHERE share = ? AND flags = 1 "
                 "AND clock <= ? AND seq <= CASE WHEN state & 4 THEN ? ELSE ? END"},
    {S(old_drop), "DELETE FROM kv_entry WHERE share = ? AND flags = 1 AND clock <= ? "
                  "AND seq <= CASE WHEN state & 4 THEN ? ELSE ? END"},
    {S(set_horizon), "UPDATE kv_share SET horizon = ? WHERE id = ?"},
    {S(top_clock), "SELECT clock FROM kv_entry WHERE share = ? ORDER BY clock DESC LIMIT 1"},
    {S(top_seq), "SELECT max(seq) FROM kv_entry"},
    {S(top_read), "SELECT max(seq) FROM kv_reader"},
    {S(integrity), "PRAGMA integrity_check(1)"},
};

#undef S

static int prepare(km_store *s, km_errinfo *err) {
  int rv = 0;
  for (size_t i = 0; rv == 0 && i < sizeof statements / sizeof statements[0]; i++) {
    km_db_stmt **ret = (km_db_stmt **)(void *)((char *)s->kv + statements[i].at);
    rv = km_db_prepare(s->db, ret, statements[i].sql, err);
  }
  return rv;
}

/* --- what was there --------------------------------------------------------------------------- */

/* The number that a bound statement of one row gives; 0 for null or no row. */
static int number(km_db_stmt *stmt, uint64_t *ret, km_errinfo *err) {
  int rv = km_db_step(stmt, err);
  *ret = 0;
  if (rv > 0) {
    int64_t value = km_db_int(stmt, 0);
    *ret = value > 0 ? (uint64_t)value : 0;
    km_db_reset(stmt);
    rv = 0;
  }
  return rv;
}

static int meta(km_store *s, const char *name, uint64_t *ret, km_errinfo *err) {
  km_db_bind_text(s->kv->get_meta, 1, name);
  return number(s->kv->get_meta, ret, err);
}

static int load_shares(km_store *s, km_errinfo *err) {
  km_db_stmt *stmt;
  int rv = km_db_prepare(s->db, &stmt, "SELECT id, name, horizon FROM kv_share ORDER BY id", err);
  while (rv == 0 && (rv = km_db_step(stmt, err)) > 0) {
    const char *name = km_db_text(stmt, 1);
    size_t len = name == NULL ? 0 : strlen(name);
    rv = km_share_name_check(name, len, NULL) != 0
             ? km_fail(err, KM_ERR_STORE_DAMAGED, "the database is damaged: a share has no name")
             : km_kv_remember_share(s, km_db_int(stmt, 0), name, len, (uint64_t)km_db_int(stmt, 2),
                                    NULL, err);
  }
  return rv;
}

static void raise(uint64_t *value, uint64_t to) {
  if (*value < to) {
    *value = to;
  }
}

static int load_clock(km_store *s, km_errinfo *err) {
  int rv = meta(s, "clock", &s->clock.last, err);
  for (size_t i = 0; rv == 0 && i < s->kv->share_count; i++) {
    uint64_t clock;
    km_db_bind_int(s->kv->top_clock, 1, s->kv->shares[i].id);
    rv = number(s->kv->top_clock, &clock, err);
    raise(&s->clock.last, clock);
  }
  return rv;
}

static int load_seq(km_store *s, km_errinfo *err) {
  struct km_kv *kv = s->kv;
  uint64_t seq = 0, read = 0, checked = 0;
  int rv = meta(s, "seq", &kv->seq, err);
  if (rv == 0) {
    rv = number(kv->top_seq, &seq, err);
  }
  if (rv == 0) {
    rv = number(kv->top_read, &read, err);
  }
  if (rv == 0) {
    rv = meta(s, "checked", &checked, err);
  }
  if (rv == 0) {
    rv = meta(s, "returned_to", &kv->returned_to, err);
  }
  if (rv == 0) {
    rv = meta(s, "returned_at", &kv->returned_at, err);
  }
  raise(&kv->seq, seq);
  raise(&kv->seq, read);
  kv->checked_to = kv->checked_saved = kv->proven_to = checked < kv->seq ? checked : kv->seq;
  return rv;
}

/* Whose store it is: noted when it is new. */
static int check_id(km_store *s, km_errinfo *err) {
  km_db_stmt *get = s->kv->get_meta;
  km_db_bind_text(get, 1, "id");
  int rv = km_db_step(get, err);
  if (rv > 0) {
    size_t len;
    const uint8_t *id = km_db_bytes(get, 0, &len);
    bool same = len == KM_ID_BYTES && memcmp(id, s->id.bytes, len) == 0;
    km_db_reset(get);
    return same ? 0
                : km_fail(err, KM_ERR_STATE,
                          "the store %s belongs to another key: use that key, or another file",
                          s->path);
  }
  if (rv == 0) {
    km_db_bind_text(s->kv->set_meta, 1, "id");
    km_db_bind_bytes(s->kv->set_meta, 2, s->id.bytes, KM_ID_BYTES);
    rv = km_db_run(s->kv->set_meta, err);
  }
  return rv;
}

int km_kv_open(km_store *s, km_errinfo *err) {
  s->kv = km_env_zalloc(s->env, 1, sizeof *s->kv);
  if (s->kv == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  km_list_init(&s->kv->watches);
  static int (*const steps[])(km_store *, km_errinfo *) = {prepare, check_id, load_shares,
                                                           load_clock, load_seq};
  int rv = 0;
  for (size_t i = 0; rv == 0 && i < sizeof steps / sizeof steps[0]; i++) {
    rv = steps[i](s, err);
  }
  return rv;
}

void km_kv_close(km_store *s) {
  struct km_kv *kv = s->kv;
  if (kv == NULL) {
    return;
  }
  km_kv_rollback(s);
  int noted = km_kv_note_proofs(s, NULL);
  (void)noted; /* else it is looked at again */
  km_kv_free_watches(s);
  km_kv_clear_row(s->env, &kv->row);
  km_kv_clear_row(s->env, &kv->found);
  km_env_free(s->env, kv->changes);
  km_env_free(s->env, kv->sums_kept);
  km_env_free(s->env, kv->shares);
  km_env_free(s->env, kv);
  s->kv = NULL;
}
