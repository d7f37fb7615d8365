/* Statements: those that count are kept, one of each author about each subject. */
#include <stdio.h>
#include <string.h>

#include "store/transaction_io.h"
#include "store/trust_impl.h"

/* --- rows ------------------------------------------------------------------------------------- */

/* 1: found, pointing into `buf`; 0: none, or it cannot be read any more. */
static int find(km_store *s, const km_id *author, const km_id *subject, km_statement *ret,
                uint8_t buf[KM_STATEMENT_MAX], km_errinfo *err) {
  km_db_stmt *q = s->trust->sql[KM_STATEMENT_SQL_FIND];
  km_db_bind_bytes(q, 1, author->bytes, KM_ID_BYTES);
  km_db_bind_bytes(q, 2, subject->bytes, KM_ID_BYTES);
  int rv = km_db_step(q, err);
  if (rv <= 0) {
    return rv;
  }
  size_t len;
  const uint8_t *bytes = km_db_bytes(q, 0, &len);
  bool fits = len > 0 && len <= KM_STATEMENT_MAX;
  if (fits) {
    memcpy(buf, bytes, len);
  }
  km_db_reset(q);
  return fits && km_statement_read(ret, buf, len, NULL) == 0;
}

/* The latest end of all recommendations of the subject that we have signed, whatever we said after
 * them; 0: none. Until then somebody may have one and bring it back. */
static int64_t recommended_until(km_store *s, const km_id *subject, km_errinfo *err) {
  km_db_stmt *q = s->trust->sql[KM_STATEMENT_SQL_UNTIL];
  km_db_bind_bytes(q, 1, s->id.bytes, KM_ID_BYTES);
  km_db_bind_bytes(q, 2, subject->bytes, KM_ID_BYTES);
  return km_db_number(q, err);
}

static int note_until(km_store *s, const km_statement *st, km_errinfo *err) {
  km_db_stmt *q = s->trust->sql[KM_STATEMENT_SQL_PUT_UNTIL];
  if (st->kind != KM_STATEMENT_RECOMMEND || !km_id_equal(&st->author, &s->id)) {
    return 0;
  }
  km_db_bind_bytes(q, 1, st->author.bytes, KM_ID_BYTES);
  km_db_bind_bytes(q, 2, st->subject.bytes, KM_ID_BYTES);
  km_db_bind_int(q, 3, st->expires);
  return km_db_run(q, err);
}

static int put(km_store *s, const km_statement *st, km_errinfo *err) {
  uint8_t buf[KM_STATEMENT_MAX];
  int len = km_statement_encode(st, buf, sizeof buf);
  if (len < 0) {
    return km_fail(err, len, NULL);
  }
  km_db_stmt *q = s->trust->sql[KM_STATEMENT_SQL_PUT];
  km_db_bind_bytes(q, 1, st->author.bytes, KM_ID_BYTES);
  km_db_bind_bytes(q, 2, st->subject.bytes, KM_ID_BYTES);
  km_db_bind_int(q, 3, st->kind);
  km_db_bind_int(q, 4, st->at);
  km_db_bind_int(q, 5, st->expires);
  km_db_bind_bytes(q, 6, buf, (size_t)len);
  int rv = km_db_run(q, err);
  return rv != 0 ? rv : note_until(s, st, err);
}

static int64_t count_of(km_store *s, const km_id *author, km_errinfo *err) {
  km_db_stmt *q = s->trust->sql[KM_STATEMENT_SQL_COUNT];
  km_db_bind_bytes(q, 1, author->bytes, KM_ID_BYTES);
  return km_db_number(q, err);
}

/* Whether a statement about a new subject may come to those of its author. What is expired makes
 * room, and for a revocation a recommendation does. 1, 0 or an error. */
static int has_room(km_store *s, const km_statement *st, km_errinfo *err) {
  int64_t count = count_of(s, &st->author, err);
  if (count < KM_STATEMENTS_PER_AUTHOR) {
    return count < 0 ? (int)count : 1;
  }
  km_db_stmt *q = s->trust->sql[KM_STATEMENT_SQL_MAKE_ROOM];
  km_db_bind_bytes(q, 1, st->author.bytes, KM_ID_BYTES);
  km_db_bind_int(q, 2, st->kind);
  km_db_bind_int(q, 3, km_trust_now(s));
  int rv = km_db_run(q, err);
  return rv != 0 ? rv : (int)km_trust_changes(s, err);
}

/* --- recommendations -------------------------------------------------------------------------- */

/* Whether somebody's recommendations count. */
static int counts(km_store *s, const km_id *author, bool (*configured)(void *, const km_id *),
                  void *ctx, int64_t now, km_errinfo *err) {
  km_trust_row row;
  if (km_id_equal(author, &s->id)) {
    return 0;
  }
  int rv = km_trust_row_find(s, author, &row, err);
  if (rv < 0 || row.state == KM_TRUST_BLOCKED) {
    return rv < 0 ? rv : 0;
  }
  if (configured != NULL && configured(ctx, author)) {
    return 1;
  }
  return row.state == KM_TRUST_TRUSTED && !km_trust_row_expired(&row, now) &&
         (row.origin == KM_TRUST_BY_HAND || row.origin == KM_TRUST_BY_APPROVAL ||
          row.origin == KM_TRUST_BY_CONFIG);
}

int64_t km_trust_recommenders(km_store *s, const km_id *subject,
                              bool (*configured)(void *ctx, const km_id *id), void *ctx,
                              km_errinfo *err) {
  km_db_stmt *q = s->trust->sql[KM_STATEMENT_SQL_RECOMMENDERS];
  int64_t now = km_trust_now(s), count = 0;
  km_db_bind_bytes(q, 1, subject->bytes, KM_ID_BYTES);
  km_db_bind_int(q, 2, now);
  int rv;
  while ((rv = km_db_step(q, err)) > 0) {
    km_id author;
    rv = km_db_id(q, 0, &author) ? counts(s, &author, configured, ctx, now, err) : 0;
    if (rv < 0) {
      km_db_reset(q);
      return rv;
    }
    count += rv;
  }
  return rv < 0 ? rv : count;
}

void km_trust_announced(km_store *s, const km_id *id, char buf[KM_PEER_NAME_MAX + 1]) {
  uint8_t bytes[KM_STATEMENT_MAX];
  km_statement st;
  buf[0] = '\0';
  if (find(s, id, id, &st, bytes, NULL) > 0 && st.text_len <= KM_PEER_NAME_MAX &&
      (st.expires == 0 || st.expires > km_trust_now(s))) {
    memcpy(buf, st.text, st.text_len);
    buf[st.text_len] = '\0';
  }
}

/* --- those of others -------------------------------------------------------------------------- */

/* The time behind which a statement is from the future. */
static int64_t latest(const km_store *s) {
  return km_trust_now(s) + (s->options.max_skew_ms + 999) / 1000;
}

static bool timely(const km_store *s, const km_statement *st) {
  return st->at <= latest(s) && (st->expires == 0 || st->expires > km_trust_now(s));
}

/* Whom we hear. A name may be announced by anybody who is let in for good. */
static int heard(km_store *s, const km_statement *st, bool author_counts, km_errinfo *err) {
  km_trust_row row;
  if (km_id_equal(&st->author, &s->id)) {
    return 1; /* our own, come back: we may have lost it */
  }
  int rv = km_trust_row_find(s, &st->author, &row, err);
  if (rv < 0 || row.state == KM_TRUST_BLOCKED) {
    return rv < 0 ? rv : 0;
  }
  return author_counts || (st->kind == KM_STATEMENT_ANNOUNCE && row.state == KM_TRUST_TRUSTED &&
                           !km_trust_row_expired(&row, km_trust_now(s)));
}

static int keep(km_store *s, const km_statement *st, km_errinfo *err) {
  uint8_t buf[KM_STATEMENT_MAX];
  km_statement old;
  int rv = find(s, &st->author, &st->subject, &old, buf, err);
  if (rv > 0 && km_statement_compare(st, &old) <= 0) {
    return KM_STATEMENT_KNOWN;
  }
  if (rv == 0) {
    rv = has_room(s, st, err);
    if (rv == 0) {
      return KM_STATEMENT_REFUSED;
    }
  }
  rv = rv < 0 ? rv : put(s, st, err);
  return rv < 0 ? rv : KM_STATEMENT_NEW;
}

/* By hand or by another revocation it may be blocked already: that stays as it is. */
static int block_revoked(km_store *s, const km_statement *st, km_errinfo *err) {
  km_trust_row row;
  char note[KM_PEER_NOTE_MAX + 1];
  int rv = km_trust_row_find(s, &st->subject, &row, err);
  if (rv < 0 || row.state == KM_TRUST_BLOCKED) {
    return rv < 0 ? rv : 0;
  }
  (void)snprintf(note, sizeof note, "%.*s", (int)st->text_len, st->text_len > 0 ? st->text : "");
  return km_trust_block_row(s, &st->subject, KM_TRUST_BY_REVOCATION, st->text_len > 0 ? note : NULL,
                            err);
}

/* The end of a withdrawal: known for as long as somebody may still have what it takes back. */
static int64_t behind(int64_t expires) {
  return expires < KM_TRUST_DATE_MAX ? expires + 1 : expires;
}

/* Whether one of our own that came back holds against one here that takes more back: it is later,
 * since our clock was behind or we lost some, or it lives longer. */
static bool outdoes(const km_statement *st, const km_statement *ours) {
  return km_statement_compare(st, ours) > 0 ||
         (ours->kind == KM_STATEMENT_WITHDRAW && behind(st->expires) > ours->expires);
}

/* Ours from the future is refused by who still has `st`: it is said with the right time, too. What
 * is kept stays as it is. */
static void say_now(const km_store *s, const km_statement *st, km_statement *ours) {
  int64_t now = km_trust_now(s);
  ours->at = now > st->at ? now : st->at + 1;
  km_statement_sign(ours, s->key);
}

/* One of our own, come back. What takes more back stays, and is said again when it has to:
 * `*again`, whose text is in `buf`. */
static int keep_own(km_store *s, const km_statement *st, km_statement *again,
                    uint8_t buf[KM_STATEMENT_MAX], km_errinfo *err) {
  km_statement old;
  int rv = find(s, &s->id, &st->subject, &old, buf, err);
  int noted = rv < 0 ? rv : note_until(s, st, err);
  if (noted < 0) {
    return noted;
  }
  if (rv == 0 || old.kind <= st->kind) {
    return keep(s, st, err);
  }
  if (!outdoes(st, &old)) {
    if (old.at > latest(s) && st->at < latest(s)) {
      say_now(s, st, &old);
      *again = old;
    }
    return KM_STATEMENT_KNOWN;
  }
  old.at = (st->at > old.at ? st->at : old.at) + 1;
  if (old.kind == KM_STATEMENT_WITHDRAW && behind(st->expires) > old.expires) {
    old.expires = behind(st->expires);
  }
  km_statement_sign(&old, s->key);
  rv = put(s, &old, err);
  *again = old;
  return rv < 0 ? rv : KM_STATEMENT_KNOWN;
}

int km_trust_take(km_store *store, const km_statement *s, bool author_counts, bool take_revocation,
                  bool subject_configured, km_errinfo *err) {
  uint8_t buf[KM_STATEMENT_MAX];
  km_statement again = {.at = 0};
  if (!timely(store, s)) {
    return KM_STATEMENT_REFUSED;
  }
  int rv = heard(store, s, author_counts, err);
  if (rv <= 0) {
    return rv < 0 ? rv : KM_STATEMENT_REFUSED;
  }
  rv = km_transaction_begin(store, err);
  if (rv != 0) {
    return rv;
  }
  rv = km_id_equal(&s->author, &store->id) ? keep_own(store, s, &again, buf, err)
                                           : keep(store, s, err);
  bool obey = s->kind == KM_STATEMENT_REVOKE && take_revocation && author_counts &&
              !subject_configured && !km_id_equal(&s->subject, &store->id);
  if (rv == KM_STATEMENT_NEW && obey) {
    int blocked = block_revoked(store, s, err);
    rv = blocked < 0 ? blocked : rv;
  }
  rv = km_transaction_end(store, rv, err);
  if (rv == KM_STATEMENT_NEW && s->kind != KM_STATEMENT_ANNOUNCE) {
    km_trust_tell(store, &s->subject, NULL);
  } else if (rv >= 0 && again.at != 0) {
    km_trust_tell(store, &s->subject, &again);
  }
  return rv;
}

/* The place behind which the next ones are; the first is behind one that there cannot be. */
static void bind_place(km_db_stmt *q, const km_statement_place *place) {
  km_db_bind_int(q, 3, place->begun ? place->kind == KM_STATEMENT_REVOKE : 2);
  km_db_bind_int(q, 4, place->at);
  km_db_bind_bytes(q, 5, place->author.bytes, KM_ID_BYTES);
  km_db_bind_bytes(q, 6, place->subject.bytes, KM_ID_BYTES);
}

int64_t km_trust_statements(km_store *store, km_statement_fn fn, void *ctx, km_errinfo *err) {
  km_statement_place first = {.begun = false};
  return km_trust_statements_next(store, &first, INT64_MAX, fn, ctx, err);
}

int64_t km_trust_statements_next(km_store *store, km_statement_place *place, size_t max,
                                 km_statement_fn fn, void *ctx, km_errinfo *err) {
  const km_statement_place from = *place;
  km_db_stmt *q = store->trust->sql[KM_STATEMENT_SQL_ALL];
  if (store->trust->listing) {
    return km_fail(err, KM_ERR_STATE, "a list is being read already");
  }
  store->trust->listing = true;
  km_db_bind_int(q, 1, km_trust_now(store));
  km_db_bind_int(q, 2, KM_TRUST_BLOCKED);
  bind_place(q, &from);
  km_db_bind_int(q, 7, max < INT64_MAX ? (int64_t)max : INT64_MAX);
  int64_t count = 0;
  int rv;
  while ((rv = km_db_step(q, err)) > 0) {
    km_statement st;
    size_t len;
    const uint8_t *bytes = km_db_bytes(q, 0, &len);
    if (km_statement_read(&st, bytes, len, NULL) == 0) {
      *place = (km_statement_place){
          .begun = true, .kind = st.kind, .at = st.at, .author = st.author, .subject = st.subject};
      fn(ctx, &st);
      count++;
    }
  }
  store->trust->listing = false;
  return rv < 0 ? rv : count;
}

int64_t km_trust_cleanup(km_store *store, km_errinfo *err) {
  km_db_stmt *q = store->trust->sql[KM_STATEMENT_SQL_EXPIRE];
  km_db_bind_int(q, 1, km_trust_now(store));
  int rv = km_db_run(q, err);
  int64_t dropped = rv != 0 ? rv : km_trust_changes(store, err);
  if (dropped < 0) {
    return dropped;
  }
  q = store->trust->sql[KM_STATEMENT_SQL_EXPIRE_UNTIL];
  km_db_bind_int(q, 1, km_trust_now(store));
  rv = km_db_run(q, err);
  return rv != 0 ? rv : dropped;
}

/* --- our own ---------------------------------------------------------------------------------- */

/* As far as the clock of entries may be ahead of the machine's (kv_io.c). */
#define AHEAD_MAX_S 86400

/* By a clock that does not fall as the machine's can. */
static int64_t steady_now(const km_store *s) {
  int64_t now = km_trust_now(s), seen = (int64_t)(km_hlc_ms(s->clock.last) / 1000);
  return now > seen ? now : seen;
}

static bool ends_after_it_begins(const km_statement *st) {
  return st->at <= KM_TRUST_DATE_MAX && (st->expires == 0 || st->at < st->expires);
}

/* What we said last is from the future. Either our clock is behind now, and all have that; or it
 * was ahead then, and all refused it. So we say it twice, and keep what is likelier to be heard
 * later. One that ends nothing is not left with others later than what is here. */
static void say_twice(const km_store *s, const km_statement *old, km_statement *st,
                      km_statement *also) {
  bool near = old->at <= steady_now(s) + AHEAD_MAX_S;
  *also = *st;
  st->at = near ? old->at + 1 : km_trust_now(s);
  also->at = near ? km_trust_now(s) : old->at + 1;
  if ((near || st->kind >= KM_STATEMENT_WITHDRAW) && ends_after_it_begins(also)) {
    km_statement_sign(also, s->key);
  } else {
    also->at = 0;
  }
}

/* Signs and keeps it, later than what we said about the subject before. `*also`: to be told too,
 * unless its `at` is 0. */
static int say(km_store *s, km_statement *st, km_statement *also, km_errinfo *err) {
  uint8_t buf[KM_STATEMENT_MAX];
  km_statement old;
  also->at = 0;
  st->author = s->id;
  st->at = km_trust_now(s);
  int rv = find(s, &st->author, &st->subject, &old, buf, err);
  if (rv < 0) {
    return rv;
  }
  bool any = rv > 0;
  if (any && old.at > latest(s)) {
    say_twice(s, &old, st, also);
  } else if (any && old.at >= st->at) {
    st->at = old.at + 1;
  }
  if (!ends_after_it_begins(st)) {
    return km_fail(err, KM_ERR_INVALID,
                   "it would end before it begins: this machine's clock is %lld s behind what this "
                   "node said last; set the clock right or name a later end",
                   (long long)(st->at - km_trust_now(s)));
  }
  km_statement_sign(st, s->key);
  rv = any ? put(s, st, err) : keep(s, st, err);
  if (rv == KM_STATEMENT_REFUSED) {
    return km_fail(err, KM_ERR_LIMIT, "this node has made %d statements: take some back first",
                   KM_STATEMENTS_PER_AUTHOR);
  }
  return rv < 0 ? rv : 0;
}

static void tell_others(km_store *s, const km_statement *st, const km_statement *also) {
  const km_id subject = st->subject;
  km_trust_tell(s, &subject, st);
  if (also->at != 0) {
    km_trust_tell(s, &subject, also);
  }
}

static int say_alone(km_store *s, km_statement *st, km_errinfo *err) {
  km_statement also = {.at = 0};
  int rv = km_transaction_begin(s, err);
  if (rv != 0) {
    return rv;
  }
  rv = km_transaction_end(s, say(s, st, &also, err), err);
  if (rv == 0) {
    tell_others(s, st, &also);
  }
  return rv;
}

static void set_text(km_statement *st, const char *text) {
  st->text = text == NULL ? "" : text;
  st->text_len = strlen(st->text);
}

/* None ends before an earlier one: behind its end that one would come back. 0 or an error. */
static int set_end(km_store *s, km_statement *st, int64_t expires, km_errinfo *err) {
  int64_t now = km_trust_now(s), until = recommended_until(s, &st->subject, err);
  if (until < 0) {
    return (int)until;
  }
  if (expires != 0 && expires < until) {
    return km_fail(err, KM_ERR_INVALID,
                   "this node recommended that peer for longer, for %lld more days, and who kept "
                   "that could bring it back: recommend it for as long, and withdraw it in time",
                   (long long)((until - now + 86399) / 86400));
  }
  st->expires = expires != 0 ? expires : now + KM_STATEMENT_LIFE_S;
  if (st->expires < until) {
    st->expires = until;
  }
  return 0;
}

int km_trust_recommend(km_store *store, const km_id *id, const char *name, int64_t expires,
                       km_errinfo *err) {
  km_statement st = {.kind = KM_STATEMENT_RECOMMEND, .subject = *id};
  int rv = km_trust_not_own(store, id, err);
  rv = rv != 0 ? rv : km_trust_text_check("a peer's name", name, KM_PEER_NAME_MAX, err);
  rv = rv != 0 ? rv : km_trust_date_check(expires, km_trust_now(store), err);
  rv = rv != 0 ? rv : set_end(store, &st, expires, err);
  if (rv != 0) {
    return rv;
  }
  set_text(&st, name);
  return say_alone(store, &st, err);
}

int km_trust_withdraw(km_store *store, const km_id *id, km_errinfo *err) {
  uint8_t buf[KM_STATEMENT_MAX];
  km_statement old;
  int rv = find(store, &store->id, id, &old, buf, err);
  int64_t until = rv < 0 ? rv : recommended_until(store, id, err);
  if (until < 0) {
    return (int)until;
  }
  bool revoked = rv > 0 && old.kind == KM_STATEMENT_REVOKE;
  if (revoked || until <= km_trust_now(store)) {
    return km_fail(err, KM_ERR_NOT_FOUND, "this node does not recommend that peer");
  }
  km_statement st = {.kind = KM_STATEMENT_WITHDRAW, .subject = *id};
  st.expires = behind(until);
  set_text(&st, NULL);
  return say_alone(store, &st, err);
}

int km_trust_revoke(km_store *store, const km_id *id, const char *reason, km_errinfo *err) {
  km_statement st = {.kind = KM_STATEMENT_REVOKE, .subject = *id}, also = {.at = 0};
  int rv = km_trust_not_own(store, id, err);
  rv = rv != 0 ? rv : km_trust_text_check("a reason", reason, KM_PEER_NOTE_MAX, err);
  rv = rv != 0 ? rv : km_transaction_begin(store, err);
  if (rv != 0) {
    return rv;
  }
  set_text(&st, reason);
  rv = km_trust_block_row(store, id, KM_TRUST_BY_HAND, reason, err);
  rv = rv != 0 ? rv : say(store, &st, &also, err);
  bool untold = rv == KM_ERR_LIMIT; /* blocked it is all the same */
  rv = km_transaction_end(store, untold ? 0 : rv, err);
  if (rv != 0) {
    return rv;
  }
  if (!untold) {
    tell_others(store, &st, &also);
    return 0;
  }
  km_trust_tell(store, id, NULL);
  return km_fail(err, KM_ERR_LIMIT,
                 "it is blocked here, but others are not told: this node has made %d statements",
                 KM_STATEMENTS_PER_AUTHOR);
}

int km_trust_announce(km_store *store, const char *name, km_errinfo *err) {
  km_statement st = {.kind = KM_STATEMENT_ANNOUNCE, .subject = store->id};
  int rv = km_trust_text_check("a node's name", name, KM_PEER_NAME_MAX, err);
  if (rv == 0 && (name == NULL || name[0] == '\0')) {
    rv = km_fail(err, KM_ERR_INVALID, "a node's name has at least one byte");
  }
  if (rv != 0) {
    return rv;
  }
  set_text(&st, name);
  return say_alone(store, &st, err);
}
