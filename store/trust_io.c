/* The table of peers: who is trusted, blocked or waits. */
#include <stdio.h>
#include <string.h>

#include "base/id_list.h"
#include "base/text.h"
#include "store/transaction_io.h"
#include "store/trust_impl.h"

static const char *const sql[KM_TRUST_SQL_COUNT] = {
    [KM_TRUST_SQL_FIND] =
        "SELECT state, origin, name, note, since, expires, seen FROM trust WHERE id = ?1",
    [KM_TRUST_SQL_PUT] = "INSERT OR REPLACE INTO trust(id, state, origin, name, note, since,"
                         " expires, seen) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [KM_TRUST_SQL_DROP] = "DELETE FROM trust WHERE id = ?1",
    [KM_TRUST_SQL_LIST] = "SELECT state, origin, name, note, since, expires, seen, id FROM trust"
                          " WHERE ?1 = 0 OR state = ?1 ORDER BY name, id",
    [KM_TRUST_SQL_EXCESS] =
        "DELETE FROM trust WHERE id <> ?1 AND id IN (SELECT id FROM trust WHERE state = ?2 AND"
        " origin = ?3 ORDER BY seen DESC LIMIT -1 OFFSET ?4) RETURNING id",
    [KM_TRUST_SQL_CHANGES] = "SELECT changes()",
    [KM_STATEMENT_SQL_FIND] = "SELECT bytes FROM statement WHERE author = ?1 AND subject = ?2",
    [KM_STATEMENT_SQL_PUT] = "INSERT OR REPLACE INTO statement(author, subject, kind, at, expires,"
                             " bytes) VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
    [KM_STATEMENT_SQL_COUNT] = "SELECT count(*) FROM statement WHERE author = ?1",
    [KM_STATEMENT_SQL_MAKE_ROOM] =
        "DELETE FROM statement WHERE author = ?1 AND subject = (SELECT subject FROM statement"
        " WHERE author = ?1 AND (kind = 2 AND ?2 = 4 OR expires > 0 AND expires <= ?3)"
        " ORDER BY expires, at LIMIT 1)",
    [KM_STATEMENT_SQL_RECOMMENDERS] =
        "SELECT author FROM statement WHERE subject = ?1 AND kind = 2 AND expires > ?2",
    [KM_STATEMENT_SQL_ALL] =
        "SELECT bytes FROM statement WHERE (expires = 0 OR expires > ?1) AND author NOT IN"
        " (SELECT id FROM trust WHERE state = ?2) AND"
        " (kind = 4, at, author, subject) < (?3, ?4, ?5, ?6)"
        " ORDER BY kind = 4 DESC, at DESC, author DESC, subject DESC LIMIT ?7",
    [KM_STATEMENT_SQL_EXPIRE] = "DELETE FROM statement WHERE expires > 0 AND expires <= ?1",
    [KM_STATEMENT_SQL_UNTIL] = "SELECT until FROM recommended WHERE author = ?1 AND subject = ?2",
    [KM_STATEMENT_SQL_PUT_UNTIL] =
        "INSERT INTO recommended(author, subject, until) VALUES(?1, ?2, ?3)"
        " ON CONFLICT DO UPDATE SET until = excluded.until WHERE excluded.until > until",
    [KM_STATEMENT_SQL_EXPIRE_UNTIL] = "DELETE FROM recommended WHERE until <= ?1",
};

int km_trust_open(km_store *s, km_errinfo *err) {
  km_trust_db *db = km_env_zalloc(s->env, 1, sizeof *db);
  if (db == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  s->trust = db;
  for (size_t i = 0; i < KM_TRUST_SQL_COUNT; i++) {
    int rv = km_db_prepare(s->db, &db->sql[i], sql[i], err);
    if (rv != 0) {
      km_trust_close(s);
      return rv;
    }
  }
  return 0;
}

void km_trust_close(km_store *s) {
  km_env_free(s->env, s->trust); /* the statements go with the database */
  s->trust = NULL;
}

void km_trust_on_change(km_store *store, km_trust_changed_fn fn, void *ctx) {
  store->trust->changed = fn;
  store->trust->changed_ctx = ctx;
}

void km_trust_on_configured(km_store *store, bool (*fn)(void *ctx, const km_id *id), void *ctx) {
  store->trust->configured = fn;
  store->trust->configured_ctx = ctx;
}

void km_trust_tell(km_store *s, const km_id *id, const km_statement *statement) {
  if (s->trust->changed != NULL) {
    s->trust->changed(s->trust->changed_ctx, id, statement);
  }
}

/* --- checks ----------------------------------------------------------------------------------- */

int64_t km_trust_now(const km_store *s) {
  return km_store_wall(s).unix_ns / (int64_t)KM_NS_PER_S;
}

int km_trust_text_check(const char *what, const char *text, size_t max, km_errinfo *err) {
  if (text == NULL || km_peer_text_ok(text, strlen(text), max)) {
    return 0;
  }
  return km_fail(err, KM_ERR_INVALID,
                 "%s has at most %zu bytes of UTF-8 without control characters", what, max);
}

int km_trust_date_check(int64_t expires, int64_t now, km_errinfo *err) {
  if (expires == 0 || (expires > now && expires <= KM_TRUST_DATE_MAX)) {
    return 0;
  }
  return km_fail(err, KM_ERR_INVALID, "the date of expiry is %s",
                 expires <= now ? "in the past" : "too far away");
}

int km_trust_not_own(const km_store *s, const km_id *id, km_errinfo *err) {
  if (!km_id_equal(id, &s->id)) {
    return 0;
  }
  return km_fail(err, KM_ERR_INVALID, "that is this node's own id; name a peer");
}

/* --- rows ------------------------------------------------------------------------------------- */

static void copy_text(char *ret, size_t cap, const char *text) {
  (void)snprintf(ret, cap, "%s", text == NULL ? "" : text); /* what we wrote ourselves fits */
}

/* The first seven columns of the statement. */
static void read_row(km_db_stmt *q, km_trust_row *ret) {
  ret->state = (km_trust_state)km_db_int(q, 0);
  ret->origin = (km_trust_origin)km_db_int(q, 1);
  copy_text(ret->name, sizeof ret->name, km_db_text(q, 2));
  copy_text(ret->note, sizeof ret->note, km_db_text(q, 3));
  ret->since = km_db_int(q, 4);
  ret->expires = km_db_int(q, 5);
  ret->seen = km_db_int(q, 6);
}

int km_trust_row_find(km_store *s, const km_id *id, km_trust_row *ret, km_errinfo *err) {
  km_db_stmt *q = s->trust->sql[KM_TRUST_SQL_FIND];
  memset(ret, 0, sizeof *ret);
  km_db_bind_bytes(q, 1, id->bytes, KM_ID_BYTES);
  int rv = km_db_step(q, err);
  if (rv > 0) {
    read_row(q, ret);
    km_db_reset(q);
  }
  return rv;
}

int km_trust_row_put(km_store *s, const km_id *id, const km_trust_row *row, km_errinfo *err) {
  km_db_stmt *q = s->trust->sql[KM_TRUST_SQL_PUT];
  km_db_bind_bytes(q, 1, id->bytes, KM_ID_BYTES);
  km_db_bind_int(q, 2, row->state);
  km_db_bind_int(q, 3, row->origin);
  km_db_bind_text(q, 4, row->name);
  km_db_bind_text(q, 5, row->note);
  km_db_bind_int(q, 6, row->since);
  km_db_bind_int(q, 7, row->expires);
  km_db_bind_int(q, 8, row->seen);
  return km_db_run(q, err);
}

bool km_trust_row_expired(const km_trust_row *row, int64_t now) {
  return row->state == KM_TRUST_TRUSTED && row->expires != 0 && row->expires <= now;
}

int64_t km_trust_changes(km_store *s, km_errinfo *err) {
  return km_db_number(s->trust->sql[KM_TRUST_SQL_CHANGES], err);
}

/* Those of the same kind that were seen longest ago make room, never the one that just came. */
static int drop_excess(km_store *s, const km_id *id, const km_trust_row *row, int64_t max,
                       km_id_list *ret_dropped, km_errinfo *err) {
  km_db_stmt *q = s->trust->sql[KM_TRUST_SQL_EXCESS];
  int rv;
  km_db_bind_bytes(q, 1, id->bytes, KM_ID_BYTES);
  km_db_bind_int(q, 2, row->state);
  km_db_bind_int(q, 3, row->origin);
  km_db_bind_int(q, 4, max);
  while ((rv = km_db_step(q, err)) > 0) {
    km_id dropped;
    if (km_db_id(q, 0, &dropped)) {
      km_id_list_add(ret_dropped, &dropped);
    }
  }
  return rv == 0 && ret_dropped->failed ? km_fail(err, KM_ERR_NOMEM, NULL) : rv;
}

/* Tells of those that made room. */
static int put_bounded(km_store *s, const km_id *id, const km_trust_row *row, int64_t max,
                       km_errinfo *err) {
  km_id_list dropped = {.env = s->env};
  int rv = km_transaction_begin(s, err);
  if (rv != 0) {
    return rv;
  }
  rv = km_trust_row_put(s, id, row, err);
  if (rv == 0) {
    rv = drop_excess(s, id, row, max, &dropped, err);
  }
  rv = km_transaction_end(s, rv, err);
  for (size_t i = 0; rv == 0 && i < dropped.count; i++) {
    km_trust_tell(s, &dropped.at[i], NULL);
  }
  km_id_list_free(&dropped);
  return rv;
}

static int put_and_tell(km_store *s, const km_id *id, const km_trust_row *row, km_errinfo *err) {
  int rv = km_transaction_alone(s, err);
  rv = rv != 0 ? rv : km_trust_row_put(s, id, row, err);
  if (rv == 0) {
    km_trust_tell(s, id, NULL);
  }
  return rv;
}

/* --- by hand ---------------------------------------------------------------------------------- */

int km_trust_add(km_store *store, const km_id *id, const char *name, const char *note,
                 int64_t expires, km_errinfo *err) {
  int64_t now = km_trust_now(store);
  km_trust_row row;
  int rv = km_trust_not_own(store, id, err);
  rv = rv != 0 ? rv : km_trust_text_check("a peer's name", name, KM_PEER_NAME_MAX, err);
  rv = rv != 0 ? rv : km_trust_text_check("a peer's note", note, KM_PEER_NOTE_MAX, err);
  rv = rv != 0 ? rv : km_trust_date_check(expires, now, err);
  if (rv != 0) {
    return rv;
  }
  rv = km_trust_row_find(store, id, &row, err);
  if (rv < 0) {
    return rv;
  }
  if (row.state != KM_TRUST_TRUSTED || km_trust_row_expired(&row, now)) {
    row.since = now;
    row.note[0] = '\0'; /* it said why not */
  }
  row.state = KM_TRUST_TRUSTED;
  row.origin = KM_TRUST_BY_HAND;
  row.expires = expires;
  if (name != NULL) {
    copy_text(row.name, sizeof row.name, name);
  }
  if (note != NULL) {
    copy_text(row.note, sizeof row.note, note);
  }
  return put_and_tell(store, id, &row, err);
}

int km_trust_block_row(km_store *s, const km_id *id, km_trust_origin origin, const char *note,
                       km_errinfo *err) {
  km_trust_row row;
  int rv = km_trust_row_find(s, id, &row, err);
  if (rv < 0) {
    return rv;
  }
  if (row.state != KM_TRUST_BLOCKED) {
    row.since = km_trust_now(s);
  }
  if (row.state != KM_TRUST_BLOCKED || row.origin != origin) {
    row.note[0] = '\0'; /* of another decision */
  }
  row.state = KM_TRUST_BLOCKED;
  row.origin = origin;
  row.expires = 0;
  if (note != NULL) {
    copy_text(row.note, sizeof row.note, note);
  }
  return km_trust_row_put(s, id, &row, err);
}

static int block(km_store *store, const km_id *id, km_trust_origin origin, const char *note,
                 km_errinfo *err) {
  int rv = km_trust_not_own(store, id, err);
  rv = rv != 0 ? rv : km_trust_text_check("a peer's note", note, KM_PEER_NOTE_MAX, err);
  rv = rv != 0 ? rv : km_transaction_alone(store, err);
  rv = rv != 0 ? rv : km_trust_block_row(store, id, origin, note, err);
  if (rv == 0) {
    km_trust_tell(store, id, NULL);
  }
  return rv;
}

int km_trust_block(km_store *store, const km_id *id, const char *note, km_errinfo *err) {
  return block(store, id, KM_TRUST_BY_HAND, note, err);
}

int km_trust_block_by_config(km_store *store, const km_id *id, const char *note, km_errinfo *err) {
  return block(store, id, KM_TRUST_BY_CONFIG, note, err);
}

int km_trust_forget(km_store *store, const km_id *id, km_errinfo *err) {
  km_db_stmt *q = store->trust->sql[KM_TRUST_SQL_DROP];
  km_db_bind_bytes(q, 1, id->bytes, KM_ID_BYTES);
  int rv = km_transaction_alone(store, err);
  rv = rv != 0 ? rv : km_db_run(q, err);
  int64_t dropped = rv != 0 ? rv : km_trust_changes(store, err);
  if (dropped < 0) {
    return (int)dropped;
  }
  if (dropped == 0) {
    return km_fail(err, KM_ERR_NOT_FOUND, "nothing is known of that peer");
  }
  km_trust_tell(store, id, NULL);
  return 0;
}

/* A peer that waits is let in or not. */
static int answer(km_store *s, const km_id *id, km_trust_state state, km_trust_origin origin,
                  km_errinfo *err) {
  km_trust_row row;
  int rv = km_trust_row_find(s, id, &row, err);
  if (rv < 0) {
    return rv;
  }
  if (row.state != KM_TRUST_PENDING) {
    return km_fail(err, KM_ERR_NOT_FOUND, "that peer does not wait for approval");
  }
  row.state = state;
  row.origin = origin;
  row.since = km_trust_now(s);
  row.expires = 0;
  return put_and_tell(s, id, &row, err);
}

int km_trust_approve(km_store *store, const km_id *id, km_errinfo *err) {
  return answer(store, id, KM_TRUST_TRUSTED, KM_TRUST_BY_APPROVAL, err);
}

int km_trust_deny(km_store *store, const km_id *id, km_errinfo *err) {
  return answer(store, id, KM_TRUST_BLOCKED, KM_TRUST_BY_HAND, err);
}

/* --- by itself -------------------------------------------------------------------------------- */

/* A name that a stranger gave itself. False: it is the same as before, or none. */
static bool take_name(km_trust_row *row, const char *name) {
  char text[KM_PEER_NAME_MAX + 1];
  copy_text(text, sizeof text, name);
  km_text_clean(text);
  if (text[0] == '\0' || strcmp(text, row->name) == 0) {
    return false;
  }
  memcpy(row->name, text, sizeof text);
  return true;
}

int km_trust_request(km_store *store, const km_id *id, const char *name, km_errinfo *err) {
  int64_t now = km_trust_now(store);
  km_trust_row row;
  if (km_id_equal(id, &store->id)) {
    return 0;
  }
  int rv = km_trust_row_find(store, id, &row, err);
  if (rv < 0) {
    return rv;
  }
  bool was_pending = row.state == KM_TRUST_PENDING;
  bool expired = km_trust_row_expired(&row, now);
  bool first_use = row.state == KM_TRUST_TRUSTED && row.origin == KM_TRUST_BY_FIRST_USE;
  if (row.state == KM_TRUST_BLOCKED || (row.state == KM_TRUST_TRUSTED && !expired && !first_use)) {
    return 0;
  }
  bool named = !expired && take_name(&row, name); /* the name given by hand stays */
  if (was_pending && !named && row.seen == now) {
    return 0; /* who knocks often does not make us write often */
  }
  row.state = KM_TRUST_PENDING;
  row.origin = KM_TRUST_BY_FIRST_USE;
  row.since = was_pending ? row.since : now;
  row.expires = 0;
  row.seen = now;
  rv = put_bounded(store, id, &row, KM_TRUST_PENDING_MAX, err);
  if (rv == 0 && !was_pending) {
    km_trust_tell(store, id, NULL);
  }
  return rv;
}

int km_trust_first_use(km_store *store, const km_id *id, const char *name, km_errinfo *err) {
  km_trust_row row;
  if (km_id_equal(id, &store->id)) {
    return 0;
  }
  int rv = km_trust_row_find(store, id, &row, err);
  if (rv < 0) {
    return rv;
  }
  if (row.state != KM_TRUST_UNKNOWN && row.state != KM_TRUST_PENDING) {
    return 0;
  }
  (void)take_name(&row, name); /* may be the same */
  row.state = KM_TRUST_TRUSTED;
  row.origin = KM_TRUST_BY_FIRST_USE;
  row.since = row.seen = km_trust_now(store);
  rv = put_bounded(store, id, &row, KM_TRUST_FIRST_USE_MAX, err);
  if (rv == 0) {
    km_trust_tell(store, id, NULL);
  }
  return rv;
}

/* --- asking ----------------------------------------------------------------------------------- */

int km_trust_ask(km_store *store, const km_id *id, bool (*configured)(void *ctx, const km_id *id),
                 void *ctx, km_trust_question *q, km_errinfo *err) {
  km_trust_row row;
  int rv = km_trust_row_find(store, id, &row, err);
  if (rv < 0) {
    return rv;
  }
  int64_t count = km_trust_recommenders(store, id, configured, ctx, err);
  if (count < 0) {
    return (int)count;
  }
  q->state = row.state;
  q->origin = row.origin;
  q->expired = km_trust_row_expired(&row, km_trust_now(store));
  q->recommended_by = (uint32_t)count;
  return 0;
}

/* Texts go to the store's buffers. */
static int fill_info(km_store *s, const km_id *id, const km_trust_row *row, km_trust_info *ret,
                     km_errinfo *err) {
  km_trust_db *db = s->trust;
  int64_t count = km_trust_recommenders(s, id, db->configured, db->configured_ctx, err);
  if (count < 0) {
    return (int)count;
  }
  memcpy(db->name, row->name, sizeof db->name);
  memcpy(db->note, row->note, sizeof db->note);
  bool expired = km_trust_row_expired(row, km_trust_now(s));
  *ret = (km_trust_info){.id = *id,
                         .state = expired ? KM_TRUST_UNKNOWN : row->state,
                         .origin = row->origin,
                         .name = db->name,
                         .note = db->note,
                         .since = row->since,
                         .expires = row->expires,
                         .last_seen = row->seen,
                         .recommended_by = (uint32_t)count};
  return 0;
}

int km_trust_get(km_store *store, const km_id *id, km_trust_info *ret, km_errinfo *err) {
  km_trust_row row;
  int rv = km_trust_row_find(store, id, &row, err);
  if (rv == 0) {
    return km_fail(err, KM_ERR_NOT_FOUND, "nothing is known of that peer");
  }
  return rv < 0 ? rv : fill_info(store, id, &row, ret, err);
}

/* The row that the listing statement stands on. 1: it was given; 0: it is left out. */
static int list_one(km_store *s, km_db_stmt *q, km_trust_state state, km_trust_fn fn, void *ctx,
                    km_errinfo *err) {
  km_trust_row row;
  km_trust_info info;
  km_id id;
  if (!km_db_id(q, 7, &id)) {
    return km_fail(err, KM_ERR_STORE_DAMAGED, "the table of trust holds what is no id");
  }
  read_row(q, &row);
  if (state == KM_TRUST_TRUSTED && km_trust_row_expired(&row, km_trust_now(s))) {
    return 0;
  }
  int rv = fill_info(s, &id, &row, &info, err);
  if (rv != 0) {
    return rv;
  }
  if (fn != NULL) {
    fn(ctx, &info);
  }
  return 1;
}

int64_t km_trust_list(km_store *store, km_trust_state state, km_trust_fn fn, void *ctx,
                      km_errinfo *err) {
  km_db_stmt *q = store->trust->sql[KM_TRUST_SQL_LIST];
  if (store->trust->listing) {
    return km_fail(err, KM_ERR_STATE, "a list is being read already");
  }
  store->trust->listing = true;
  km_db_bind_int(q, 1, state);
  int64_t count = 0;
  int rv;
  while ((rv = km_db_step(q, err)) > 0) {
    rv = list_one(store, q, state, fn, ctx, err);
    if (rv < 0) {
      km_db_reset(q);
      break;
    }
    count += rv;
  }
  store->trust->listing = false;
  return rv < 0 ? rv : count;
}

const char *km_trust_name(km_store *store, const km_id *id, char buf[KM_PEER_NAME_MAX + 1]) {
  km_trust_row row;
  int rv = km_trust_row_find(store, id, &row, NULL);
  buf[0] = '\0';
  if (rv > 0 && (row.state == KM_TRUST_TRUSTED || row.state == KM_TRUST_BLOCKED)) {
    copy_text(buf, KM_PEER_NAME_MAX + 1, row.name);
  }
  if (buf[0] == '\0') {
    km_trust_announced(store, id, buf);
  }
  return buf;
}
