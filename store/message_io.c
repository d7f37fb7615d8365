/* Messages as programs send and read them. */
#include <string.h>

#include "store/outbox_impl.h"
#include "store/transaction_io.h"

#define TTL_MAX_S 2592000
#define TTL_S 604800
#define BROADCAST_TTL_S 86400

/* --- sending ---------------------------------------------------------------------------------- */

static int check_room(km_store *s, km_errinfo *err) {
  km_outbox *o = s->outbox;
  if (o->waiting < 0 || o->waiting >= KM_OUTBOX_WAITING_MAX) {
    km_db_stmt *q = o->sql[KM_OUTBOX_SQL_COUNT];
    km_db_bind_bytes(q, 1, s->id.bytes, KM_ID_BYTES);
    o->waiting = km_db_number(q, err);
  }
  if (o->waiting < KM_OUTBOX_WAITING_MAX) {
    return o->waiting < 0 ? (int)o->waiting : 0;
  }
  return km_fail(err, KM_ERR_LIMIT,
                 "%d messages wait already: cancel some, or let them be delivered",
                 KM_OUTBOX_WAITING_MAX);
}

static int sign_and_add(km_store *s, km_message *m, km_errinfo *err) {
  size_t len = km_message_size(m);
  uint8_t *bytes = km_env_alloc(s->env, len);
  if (bytes == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  km_wr wr = km_wr_init(bytes, len);
  km_env_random(s->env, m->id, sizeof m->id);
  int rv = km_message_encode(m, s->key, &wr, err);
  if (rv == 0) {
    rv = km_outbox_add(s, m, bytes, len, err);
  }
  s->outbox->waiting += rv == 0;
  km_env_free(s->env, bytes);
  return rv;
}

static int send_message(km_store *s, const km_id *to, const char *type, const char *json,
                        uint32_t ttl_s, uint8_t *ret_id, km_errinfo *err) {
  if (type == NULL || json == NULL) {
    return km_fail(err, KM_ERR_INVALID, "a message needs a type and a JSON value");
  }
  if (ttl_s > TTL_MAX_S) {
    return km_fail(err, KM_ERR_INVALID, "delivery is tried for at most %d s (30 days)", TTL_MAX_S);
  }
  km_message m = {.broadcast = to == NULL,
                  .type = type,
                  .body = json,
                  .body_len = strlen(json),
                  .sent_ms = km_outbox_now(s)};
  if (to != NULL) {
    m.to = *to;
  }
  m.expires_ms = m.sent_ms + (int64_t)ttl_s * 1000;
  int rv = km_transaction_alone(s, err);
  rv = rv != 0 ? rv : check_room(s, err);
  /* Before its size is asked for. */
  rv = rv != 0 ? rv : km_message_type_check(type, strlen(type), err);
  rv = rv != 0 ? rv : sign_and_add(s, &m, err);
  if (rv != 0) {
    return rv;
  }
  if (ret_id != NULL) {
    memcpy(ret_id, m.id, KM_MESSAGE_ID_BYTES);
  }
  km_outbox_tell(s, to);
  return 0;
}

int km_message_send(km_store *store, const km_id *to, const char *type, const char *json,
                    uint32_t ttl_s, uint8_t ret_id[KM_MESSAGE_ID_BYTES], km_errinfo *err) {
  if (to == NULL || km_id_equal(to, &store->id)) {
    return km_fail(err, KM_ERR_INVALID, "a message goes to another node: name a peer");
  }
  return send_message(store, to, type, json, ttl_s > 0 ? ttl_s : TTL_S, ret_id, err);
}

int km_message_broadcast(km_store *store, const char *type, const char *json, uint32_t ttl_s,
                         uint8_t ret_id[KM_MESSAGE_ID_BYTES], km_errinfo *err) {
  return send_message(store, NULL, type, json, ttl_s > 0 ? ttl_s : BROADCAST_TTL_S, ret_id, err);
}

int km_message_cancel(km_store *store, const uint8_t id[KM_MESSAGE_ID_BYTES], km_errinfo *err) {
  km_db_stmt *q = store->outbox->sql[KM_OUTBOX_SQL_CANCEL];
  km_db_bind_bytes(q, 1, id, KM_MESSAGE_ID_BYTES);
  km_db_bind_bytes(q, 2, store->id.bytes, KM_ID_BYTES);
  int rv = km_transaction_alone(store, err);
  rv = rv != 0 ? rv : km_db_run(q, err);
  int64_t dropped = rv != 0 ? rv : km_outbox_changes(store, err);
  store->outbox->waiting = -1;
  if (dropped == 0) {
    return km_fail(err, KM_ERR_NOT_FOUND, "no such message waits in the outbox");
  }
  return dropped < 0 ? (int)dropped : 0;
}

/* --- reading ---------------------------------------------------------------------------------- */

/* The message that the statement stands on. 1: it was given; 0: it cannot be read any more. */
static int give(km_store *s, km_db_stmt *q, km_message_fn fn, void *ctx, km_errinfo *err) {
  size_t len;
  const uint8_t *bytes = km_db_bytes(q, 0, &len);
  char *scratch = km_env_alloc(s->env, len + 2);
  if (scratch == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  km_message m;
  bool good = km_message_read(&m, bytes, len, scratch, NULL) == 0;
  m.refused = good ? km_db_text(q, 1) : NULL;
  if (good && fn != NULL) {
    fn(ctx, &m);
  }
  km_env_free(s->env, scratch);
  return good;
}

static int64_t give_all(km_store *s, km_db_stmt *q, km_message_fn fn, void *ctx, km_errinfo *err) {
  int64_t count = 0;
  int rv;
  s->outbox->listing = true;
  while ((rv = km_db_step(q, err)) > 0) {
    rv = give(s, q, fn, ctx, err);
    if (rv < 0) {
      km_db_reset(q);
      break;
    }
    count += rv;
  }
  s->outbox->listing = false;
  return rv < 0 ? rv : count;
}

static int check_alone(const km_store *s, km_errinfo *err) {
  return s->outbox->listing ? km_fail(err, KM_ERR_STATE, "messages are being read already") : 0;
}

int64_t km_message_waiting(km_store *store, km_message_fn fn, void *ctx, km_errinfo *err) {
  km_db_stmt *q = store->outbox->sql[KM_OUTBOX_SQL_WAITING];
  int rv = check_alone(store, err);
  if (rv != 0) {
    return rv;
  }
  km_db_bind_bytes(q, 1, store->id.bytes, KM_ID_BYTES);
  km_db_bind_int(q, 2, km_outbox_now(store));
  return give_all(store, q, fn, ctx, err);
}

int64_t km_message_received(km_store *store, size_t limit, km_message_fn fn, void *ctx,
                            km_errinfo *err) {
  km_db_stmt *q = store->outbox->sql[KM_INBOX_SQL_LAST];
  if (limit == 0 || limit > KM_INBOX_KEPT_MAX) {
    return km_fail(err, KM_ERR_INVALID, "between 1 and %d messages can be asked for",
                   KM_INBOX_KEPT_MAX);
  }
  int rv = check_alone(store, err);
  if (rv != 0) {
    return rv;
  }
  km_db_bind_int(q, 1, (int64_t)limit);
  return give_all(store, q, fn, ctx, err);
}

/* --- one by one ------------------------------------------------------------------------------- */

static int give_next(km_store *s, km_db_stmt *q, int64_t *place, km_message_fn fn, void *ctx,
                     km_errinfo *err) {
  int rv = km_db_step(q, err);
  if (rv <= 0) {
    return rv;
  }
  *place = km_db_int(q, 2);
  s->outbox->listing = true;
  rv = give(s, q, fn, ctx, err);
  s->outbox->listing = false;
  km_db_reset(q);
  return rv < 0 ? rv : 1;
}

int km_outbox_next_own(km_store *store, int64_t *place, km_message_fn fn, void *ctx,
                       km_errinfo *err) {
  km_db_stmt *q = store->outbox->sql[KM_OUTBOX_SQL_NEXT_OWN];
  int rv = check_alone(store, err);
  if (rv != 0) {
    return rv;
  }
  km_db_bind_bytes(q, 1, store->id.bytes, KM_ID_BYTES);
  km_db_bind_int(q, 2, km_outbox_now(store));
  km_db_bind_int(q, 3, *place);
  return give_next(store, q, place, fn, ctx, err);
}

int km_inbox_next(km_store *store, int64_t *place, km_message_fn fn, void *ctx, km_errinfo *err) {
  km_db_stmt *q = store->outbox->sql[KM_INBOX_SQL_BEFORE];
  int rv = check_alone(store, err);
  if (rv != 0) {
    return rv;
  }
  km_db_bind_int(q, 1, *place);
  return give_next(store, q, place, fn, ctx, err);
}

int64_t km_outbox_count_own(km_store *store, km_errinfo *err) {
  km_db_stmt *q = store->outbox->sql[KM_OUTBOX_SQL_COUNT_OWN];
  km_db_bind_bytes(q, 1, store->id.bytes, KM_ID_BYTES);
  km_db_bind_int(q, 2, km_outbox_now(store));
  return km_db_number(q, err);
}
