/* Messages on disk, as the mesh delivers and takes them. */
#include <string.h>

#include "store/outbox_impl.h"
#include "store/transaction_io.h"

static const char *const sql[KM_OUTBOX_SQL_ALL] = {
    [KM_OUTBOX_SQL_ADD] = "INSERT INTO message(id, sender, target, expires, size, bytes)"
                          " VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
    [KM_OUTBOX_SQL_COUNT] = "SELECT count(*), total(size) FROM message WHERE sender = ?1",
    [KM_OUTBOX_SQL_OTHERS] = "SELECT total(size) FROM message WHERE sender <> ?1",
    [KM_OUTBOX_SQL_NEXT_TO] = "SELECT place, id, bytes FROM message WHERE target = ?1 AND"
                              " place > ?2 AND expires > ?3 AND refused IS NULL"
                              " ORDER BY place LIMIT 1",
    [KM_OUTBOX_SQL_NEXT_ALL] =
        "SELECT place, id, bytes FROM message m WHERE target = x'' AND place > ?2 AND"
        " expires > ?3 AND sender <> ?1 AND NOT EXISTS (SELECT 1 FROM message_mark k WHERE"
        " k.place = m.place AND k.peer = ?1) ORDER BY place LIMIT 1",
    [KM_OUTBOX_SQL_COUNT_FOR] =
        "SELECT (SELECT count(*) FROM message WHERE target = ?1 AND expires > ?2 AND refused IS "
        "NULL) +"
        " (SELECT count(*) FROM message m WHERE target = x'' AND expires > ?2 AND sender <> ?1 AND"
        " NOT EXISTS (SELECT 1 FROM message_mark k WHERE k.place = m.place AND k.peer = ?1))",
    [KM_OUTBOX_SQL_DELIVERED] = "DELETE FROM message WHERE id = ?1 AND target = ?2",
    [KM_OUTBOX_SQL_REFUSED] = "UPDATE message SET refused = ?3 WHERE id = ?1 AND target = ?2",
    [KM_OUTBOX_SQL_MARK] = "INSERT OR IGNORE INTO message_mark(place, peer) SELECT place, ?2 FROM"
                           " message WHERE id = ?1 AND target = x''",
    [KM_OUTBOX_SQL_CANCEL] = "DELETE FROM message WHERE id = ?1 AND sender = ?2",
    [KM_OUTBOX_SQL_WAITING] =
        "SELECT bytes, refused FROM message WHERE sender = ?1 AND expires > ?2 ORDER BY place",
    /* An index would have them sorted, all of them for each. */
    [KM_OUTBOX_SQL_NEXT_OWN] =
        "SELECT bytes, refused, place FROM message NOT INDEXED WHERE sender = ?1 AND expires > ?2"
        " AND place > ?3 ORDER BY place LIMIT 1",
    [KM_OUTBOX_SQL_COUNT_OWN] = "SELECT count(*) FROM message WHERE sender = ?1 AND expires > ?2"
                                " AND refused IS NULL",
    [KM_OUTBOX_SQL_EXPIRE] = "DELETE FROM message WHERE expires <= ?1",
    [KM_OUTBOX_SQL_CHANGES] = "SELECT changes()",
    [KM_INBOX_SQL_IS_SEEN] = "SELECT count(*) FROM message_seen WHERE sender = ?1 AND id = ?2",
    [KM_INBOX_SQL_COUNT_SEEN] = "SELECT count(*) FROM message_seen WHERE sender = ?1",
    [KM_INBOX_SQL_SEE] = "INSERT INTO message_seen(sender, id, expires) VALUES(?1, ?2, ?3)",
    [KM_INBOX_SQL_FORGET] = "DELETE FROM message_seen WHERE expires <= ?1",
    [KM_INBOX_SQL_KEEP] = "INSERT INTO message_received(size, bytes) VALUES(?1, ?2)",
    [KM_INBOX_SQL_TRIM] = "DELETE FROM message_received WHERE place <= (SELECT place FROM"
                          " message_received ORDER BY place DESC LIMIT 1 OFFSET ?1)",
    [KM_INBOX_SQL_TRIM_BYTES] =
        "DELETE FROM message_received WHERE place <= (SELECT max(place) FROM (SELECT place,"
        " sum(size) OVER (ORDER BY place DESC) AS upto FROM message_received) WHERE upto > ?1)",
    [KM_INBOX_SQL_LAST] = "SELECT bytes, NULL FROM message_received ORDER BY place DESC LIMIT ?1",
    [KM_INBOX_SQL_BEFORE] = "SELECT bytes, NULL, place FROM message_received WHERE place < ?1"
                            " ORDER BY place DESC LIMIT 1",
};

int km_outbox_open(km_store *s, km_errinfo *err) {
  km_outbox *o = km_env_zalloc(s->env, 1, sizeof *o);
  if (o == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  s->outbox = o;
  o->waiting = o->others = -1;
  for (size_t i = 0; i < KM_OUTBOX_SQL_ALL; i++) {
    int rv = km_db_prepare(s->db, &o->sql[i], sql[i], err);
    if (rv != 0) {
      km_outbox_close(s);
      return rv;
    }
  }
  return 0;
}

void km_outbox_close(km_store *s) {
  if (s->outbox != NULL) {
    km_env_free(s->env, s->outbox->next);
    km_env_free(s->env, s->outbox); /* the statements go with the database */
    s->outbox = NULL;
  }
}

void km_outbox_on_change(km_store *store, km_outbox_changed_fn fn, void *ctx) {
  store->outbox->changed = fn;
  store->outbox->changed_ctx = ctx;
}

void km_outbox_tell(km_store *s, const km_id *to) {
  if (s->outbox->changed != NULL) {
    s->outbox->changed(s->outbox->changed_ctx, to);
  }
}

int64_t km_outbox_now(const km_store *s) {
  return km_store_wall(s).unix_ns / (int64_t)KM_NS_PER_MS;
}

int64_t km_outbox_changes(km_store *s, km_errinfo *err) {
  return km_db_number(s->outbox->sql[KM_OUTBOX_SQL_CHANGES], err);
}

int km_outbox_add(km_store *s, const km_message *m, const uint8_t *bytes, size_t len,
                  km_errinfo *err) {
  km_db_stmt *q = s->outbox->sql[KM_OUTBOX_SQL_ADD];
  km_db_bind_bytes(q, 1, m->id, KM_MESSAGE_ID_BYTES);
  km_db_bind_bytes(q, 2, m->sender.bytes, KM_ID_BYTES);
  km_db_bind_bytes(q, 3, m->to.bytes, m->broadcast ? 0 : KM_ID_BYTES);
  km_db_bind_int(q, 4, m->expires_ms);
  km_db_bind_int(q, 5, (int64_t)len);
  km_db_bind_bytes(q, 6, bytes, len);
  return km_db_run(q, err);
}

/* --- delivering ------------------------------------------------------------------------------- */

typedef struct found {
  km_db_stmt *q; /* stands on the row; NULL: nothing was found */
  int64_t place;
} found;

static int look(km_store *s, km_outbox_sql which, const km_id *peer, int64_t after, found *ret,
                km_errinfo *err) {
  km_db_stmt *q = s->outbox->sql[which];
  km_db_bind_bytes(q, 1, peer->bytes, KM_ID_BYTES);
  km_db_bind_int(q, 2, after);
  km_db_bind_int(q, 3, km_outbox_now(s));
  int rv = km_db_step(q, err);
  ret->q = rv > 0 ? q : NULL;
  ret->place = rv > 0 ? km_db_int(q, 0) : INT64_MAX;
  return rv < 0 ? rv : 0;
}

static int copy_found(km_outbox *o, const km_env *env, const found *f, const uint8_t **ret_bytes,
                      size_t *ret_len, uint8_t ret_id[KM_MESSAGE_ID_BYTES], km_errinfo *err) {
  size_t len, id_len;
  const uint8_t *id = km_db_bytes(f->q, 1, &id_len);
  if (id_len != KM_MESSAGE_ID_BYTES) {
    return km_fail(err, KM_ERR_STORE_DAMAGED, "the outbox holds a message without an id");
  }
  memcpy(ret_id, id, KM_MESSAGE_ID_BYTES);
  const uint8_t *bytes = km_db_bytes(f->q, 2, &len);
  if (bytes == NULL) {
    return km_fail(err, KM_ERR_STORE_DAMAGED, "the outbox holds an empty message");
  }
  if (len > o->next_cap) {
    uint8_t *grown = km_env_realloc(env, o->next, len, 1);
    if (grown == NULL) {
      return km_fail(err, KM_ERR_NOMEM, NULL);
    }
    o->next = grown;
    o->next_cap = len;
  }
  memcpy(o->next, bytes, len);
  *ret_bytes = o->next;
  *ret_len = len;
  return 0;
}

int km_outbox_next(km_store *store, const km_id *peer, int64_t after, int64_t *ret_place,
                   const uint8_t **ret_bytes, size_t *ret_len, uint8_t ret_id[KM_MESSAGE_ID_BYTES],
                   km_errinfo *err) {
  found to = {0}, all = {0};
  int rv = look(store, KM_OUTBOX_SQL_NEXT_TO, peer, after, &to, err);
  if (rv == 0) {
    rv = look(store, KM_OUTBOX_SQL_NEXT_ALL, peer, after, &all, err);
  }
  const found *first = to.place < all.place ? &to : &all;
  if (rv == 0 && first->q == NULL) {
    rv = km_fail(err, KM_ERR_NOT_FOUND, "nothing waits for that peer");
  }
  if (rv == 0) {
    *ret_place = first->place;
    rv = copy_found(store->outbox, store->env, first, ret_bytes, ret_len, ret_id, err);
  }
  if (to.q != NULL) {
    km_db_reset(to.q);
  }
  if (all.q != NULL) {
    km_db_reset(all.q);
  }
  return rv;
}

int64_t km_outbox_count(km_store *store, const km_id *peer, km_errinfo *err) {
  km_db_stmt *q = store->outbox->sql[KM_OUTBOX_SQL_COUNT_FOR];
  km_db_bind_bytes(q, 1, peer->bytes, KM_ID_BYTES);
  km_db_bind_int(q, 2, km_outbox_now(store));
  return km_db_number(q, err);
}

static int mark(km_store *s, const km_id *peer, const uint8_t id[KM_MESSAGE_ID_BYTES],
                km_errinfo *err) {
  km_db_stmt *q = s->outbox->sql[KM_OUTBOX_SQL_MARK];
  km_db_bind_bytes(q, 1, id, KM_MESSAGE_ID_BYTES);
  km_db_bind_bytes(q, 2, peer->bytes, KM_ID_BYTES);
  return km_db_run(q, err);
}

static int delivered(km_store *s, const km_id *peer, const uint8_t id[KM_MESSAGE_ID_BYTES],
                     km_errinfo *err) {
  km_db_stmt *q = s->outbox->sql[KM_OUTBOX_SQL_DELIVERED];
  km_db_bind_bytes(q, 1, id, KM_MESSAGE_ID_BYTES);
  km_db_bind_bytes(q, 2, peer->bytes, KM_ID_BYTES);
  return km_db_run(q, err);
}

int km_outbox_confirmed(km_store *store, const km_id *peer, const uint8_t id[KM_MESSAGE_ID_BYTES],
                        km_errinfo *err) {
  int rv = km_transaction_begin(store, err);
  if (rv != 0) {
    return rv;
  }
  rv = delivered(store, peer, id, err);
  if (rv == 0) {
    rv = mark(store, peer, id, err);
  }
  store->outbox->waiting = -1;
  return km_transaction_end(store, rv, err);
}

static int refused(km_store *s, const km_id *peer, const uint8_t id[KM_MESSAGE_ID_BYTES],
                   const char *reason, km_errinfo *err) {
  km_db_stmt *q = s->outbox->sql[KM_OUTBOX_SQL_REFUSED];
  km_db_bind_bytes(q, 1, id, KM_MESSAGE_ID_BYTES);
  km_db_bind_bytes(q, 2, peer->bytes, KM_ID_BYTES);
  km_db_bind_text(q, 3, reason);
  return km_db_run(q, err);
}

int km_outbox_refused(km_store *store, const km_id *peer, const uint8_t id[KM_MESSAGE_ID_BYTES],
                      const char *reason, km_errinfo *err) {
  int rv = km_transaction_begin(store, err);
  if (rv != 0) {
    return rv;
  }
  rv = refused(store, peer, id, reason, err);
  if (rv == 0) {
    rv = mark(store, peer, id, err);
  }
  return km_transaction_end(store, rv, err);
}

/* --- taking ----------------------------------------------------------------------------------- */

static int64_t seen_before(km_store *s, const km_message *m, km_errinfo *err) {
  km_db_stmt *q = s->outbox->sql[KM_INBOX_SQL_IS_SEEN];
  km_db_bind_bytes(q, 1, m->sender.bytes, KM_ID_BYTES);
  km_db_bind_bytes(q, 2, m->id, KM_MESSAGE_ID_BYTES);
  return km_db_number(q, err);
}

static km_inbox_sum *sum_of(km_outbox *o, const km_id *sender) {
  return &o->sums[sender->bytes[0] % KM_INBOX_SUMS];
}

static void forget_sums(km_outbox *o) {
  memset(o->sums, 0, sizeof o->sums);
}

static void tell_full(km_store *s, const km_id *sender) {
  if (!s->outbox->full_told) {
    KM_LOG(&s->env->logger, KM_LOG_WARN, KM_LOGC_STORE, sender, NULL, "messages refused",
           "%d of this sender are remembered already, until they expire", KM_INBOX_SEEN_MAX);
    s->outbox->full_told = true;
  }
}

/* Whether its sender has room for one more that is remembered. 1, 0 or an error. */
static int room_to_see(km_store *s, const km_message *m, km_errinfo *err) {
  km_inbox_sum *sum = sum_of(s->outbox, &m->sender);
  if (!sum->known || !km_id_equal(&sum->sender, &m->sender)) {
    km_db_stmt *q = s->outbox->sql[KM_INBOX_SQL_COUNT_SEEN];
    km_db_bind_bytes(q, 1, m->sender.bytes, KM_ID_BYTES);
    int64_t count = km_db_number(q, err);
    if (count < 0) {
      return (int)count;
    }
    *sum = (km_inbox_sum){.sender = m->sender, .count = count, .known = true};
  }
  if (sum->count >= KM_INBOX_SEEN_MAX) {
    tell_full(s, &m->sender);
  }
  return sum->count < KM_INBOX_SEEN_MAX;
}

/* Whether one more of its sender's broadcasts may be kept to be passed on. 1, 0 or an error. */
static int room_to_pass_on(km_store *s, const km_message *m, size_t len, km_errinfo *err) {
  km_outbox *o = s->outbox;
  km_db_stmt *q = o->sql[KM_OUTBOX_SQL_COUNT];
  km_db_bind_bytes(q, 1, m->sender.bytes, KM_ID_BYTES);
  int rv = km_db_step(q, err);
  if (rv <= 0) {
    return rv;
  }
  bool room = km_db_int(q, 0) < KM_OUTBOX_SENDER_MAX &&
              km_db_int(q, 1) + (int64_t)len <= KM_OUTBOX_SENDER_BYTES;
  km_db_reset(q);
  if (o->others < 0 || o->others + (int64_t)len > KM_OUTBOX_OTHERS_BYTES) {
    q = o->sql[KM_OUTBOX_SQL_OTHERS];
    km_db_bind_bytes(q, 1, s->id.bytes, KM_ID_BYTES);
    o->others = km_db_number(q, err);
    if (o->others < 0) {
      return (int)o->others;
    }
  }
  return room && o->others + (int64_t)len <= KM_OUTBOX_OTHERS_BYTES;
}

static int see(km_store *s, const km_message *m, km_errinfo *err) {
  km_db_stmt *q = s->outbox->sql[KM_INBOX_SQL_SEE];
  km_db_bind_bytes(q, 1, m->sender.bytes, KM_ID_BYTES);
  km_db_bind_bytes(q, 2, m->id, KM_MESSAGE_ID_BYTES);
  km_db_bind_int(q, 3, m->expires_ms);
  int rv = km_db_run(q, err);
  sum_of(s->outbox, &m->sender)->count += rv == 0;
  return rv;
}

static int keep(km_store *s, const uint8_t *bytes, size_t len, km_errinfo *err) {
  km_db_stmt *q = s->outbox->sql[KM_INBOX_SQL_KEEP];
  km_db_bind_int(q, 1, (int64_t)len);
  km_db_bind_bytes(q, 2, bytes, len);
  int rv = km_db_run(q, err);
  if (rv == 0) {
    q = s->outbox->sql[KM_INBOX_SQL_TRIM];
    km_db_bind_int(q, 1, KM_INBOX_KEPT_MAX);
    rv = km_db_run(q, err);
  }
  if (rv == 0) {
    q = s->outbox->sql[KM_INBOX_SQL_TRIM_BYTES];
    km_db_bind_int(q, 1, KM_INBOX_KEPT_BYTES);
    rv = km_db_run(q, err);
  }
  return rv;
}

static int pass_on(km_store *s, const km_message *m, const uint8_t *bytes, size_t len,
                   const km_id *from, km_errinfo *err) {
  int rv = km_outbox_add(s, m, bytes, len, err);
  if (rv == 0) {
    s->outbox->others += (int64_t)len;
    rv = mark(s, from, m->id, err);
  }
  return rv;
}

/* Within a transaction. The verdict or an error. */
static int take(km_store *s, const km_message *m, const uint8_t *bytes, size_t len,
                const km_id *from, km_errinfo *err) {
  int rv = room_to_see(s, m, err);
  if (rv > 0 && m->broadcast) {
    rv = room_to_pass_on(s, m, len, err);
  }
  if (rv <= 0) {
    return rv < 0 ? rv : KM_INBOX_REFUSED;
  }
  rv = see(s, m, err);
  rv = rv != 0 ? rv : keep(s, bytes, len, err);
  if (rv == 0 && m->broadcast) {
    rv = pass_on(s, m, bytes, len, from, err);
  }
  return rv != 0 ? rv : KM_INBOX_NEW;
}

int km_inbox_take(km_store *store, const km_message *m, const uint8_t *bytes, size_t len,
                  const km_id *from, km_errinfo *err) {
  bool own = km_id_equal(&m->sender, &store->id);
  if (!m->broadcast && !km_id_equal(&m->to, &store->id)) {
    return KM_INBOX_REFUSED;
  }
  int64_t seen = own ? 1 : seen_before(store, m, err);
  if (seen != 0) {
    int rv = seen > 0 && m->broadcast ? mark(store, from, m->id, err) : (int)(seen < 0 ? seen : 0);
    return rv < 0 ? rv : KM_INBOX_KNOWN;
  }
  int64_t now = km_outbox_now(store);
  if (m->expires_ms <= now || m->sent_ms > now + (int64_t)store->options.max_skew_ms) {
    return KM_INBOX_REFUSED;
  }
  int rv = km_transaction_begin(store, err);
  if (rv != 0) {
    return rv;
  }
  rv = km_transaction_end(store, take(store, m, bytes, len, from, err), err);
  if (rv < 0) {
    store->outbox->others = -1;
    forget_sums(store->outbox);
  } else if (rv == KM_INBOX_NEW && m->broadcast) {
    km_outbox_tell(store, NULL);
  }
  return rv;
}

/* --- cleanup ---------------------------------------------------------------------------------- */

static int64_t drop_until(km_store *s, km_outbox_sql which, int64_t ms, km_errinfo *err) {
  km_db_stmt *q = s->outbox->sql[which];
  km_db_bind_int(q, 1, ms);
  int rv = km_db_run(q, err);
  return rv != 0 ? rv : km_outbox_changes(s, err);
}

int64_t km_outbox_cleanup(km_store *store, km_errinfo *err) {
  int64_t now = km_outbox_now(store);
  int64_t messages = drop_until(store, KM_OUTBOX_SQL_EXPIRE, now, err);
  store->outbox->waiting = store->outbox->others = -1;
  store->outbox->full_told = false;
  forget_sums(store->outbox);
  if (messages < 0) {
    return messages;
  }
  /* By then it would be refused as expired, also if the clock went back a little. */
  int64_t seen =
      drop_until(store, KM_INBOX_SQL_FORGET, now - (int64_t)store->options.max_skew_ms, err);
  return seen < 0 ? seen : messages + seen;
}
