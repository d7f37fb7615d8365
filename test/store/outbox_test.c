/* Messages on disk: what waits, what came, what is recognised. */
#include "store/outbox.h"

#include <signal.h>
#include <sys/resource.h>

#include "store/transaction_io.h"
#include "store/trust_db.h"
#include "test/store/trust_lab.h"

#define DAY 86400

/* --- helpers ---------------------------------------------------------------------------------- */

/* A message as another node signs it. */
typedef struct made {
  km_message m;
  uint8_t *bytes;
  size_t len;
  char *scratch;
} made;

static uint8_t next_nonce;

static made make(lab *l, unsigned sender, unsigned to, const char *body, int64_t sent_s,
                 int64_t ttl_s) {
  made ret = {.len = 0};
  assert_non_null(l->store);
  km_message m = {.broadcast = to == 0,
                  .type = "t",
                  .body = body,
                  .body_len = strlen(body),
                  .sent_ms = sent_s * 1000,
                  .expires_ms = (sent_s + ttl_s) * 1000};
  if (to != 0) {
    m.to = lab_id(to);
  }
  memset(m.id, next_nonce++, sizeof m.id);
  km_secret_key *key = lab_key(sender);
  ret.len = km_message_size(&m);
  ret.bytes = malloc(ret.len);
  ret.scratch = malloc(ret.len + 2);
  assert_non_null(ret.bytes);
  assert_non_null(ret.scratch);
  km_wr wr = km_wr_init(ret.bytes, ret.len);
  assert_int_equal(km_message_encode(&m, key, &wr, NULL), 0);
  assert_int_equal(km_message_decode(&ret.m, ret.bytes, ret.len, ret.scratch, NULL), 0);
  km_secret_key_free(key);
  return ret;
}

static void drop(made *m) {
  free(m->bytes);
  free(m->scratch);
}

static int take_from(lab *l, const made *m, unsigned from) {
  km_id id = lab_id(from);
  return km_inbox_take(l->store, &m->m, m->bytes, m->len, &id, NULL);
}

/* Made, taken and dropped. */
static int take_new(lab *l, unsigned sender, unsigned to, const char *body) {
  made m = make(l, sender, to, body, lab_now(l), DAY);
  int rv = take_from(l, &m, sender);
  drop(&m);
  return rv;
}

/* The bodies that wait for a peer, in order, each followed by a blank. */
static const char *offered(lab *l, unsigned peer, char *buf, size_t cap) {
  km_id id = lab_id(peer);
  int64_t place = 0;
  size_t at = 0, len;
  const uint8_t *bytes;
  uint8_t message_id[KM_MESSAGE_ID_BYTES];
  int rv, count = 0;
  buf[0] = '\0';
  while ((rv = km_outbox_next(l->store, &id, place, &place, &bytes, &len, message_id, NULL)) == 0) {
    char *scratch = malloc(len + 2);
    km_message m;
    assert_non_null(scratch);
    assert_int_equal(km_message_decode(&m, bytes, len, scratch, NULL), 0);
    assert_memory_equal(m.id, message_id, sizeof message_id);
    at += (size_t)snprintf(buf + at, cap - at, "%s ", m.body);
    free(scratch);
    count++;
  }
  assert_int_equal(rv, KM_ERR_NOT_FOUND);
  assert_int_equal(km_outbox_count(l->store, &id, NULL), count);
  return buf;
}

static void assert_offered(lab *l, unsigned peer, const char *expected) {
  char buf[400];
  assert_string_equal(offered(l, peer, buf, sizeof buf), expected);
}

static void confirm_first(lab *l, unsigned peer) {
  km_id id = lab_id(peer);
  int64_t place;
  size_t len;
  const uint8_t *bytes;
  uint8_t message_id[KM_MESSAGE_ID_BYTES];
  assert_int_equal(km_outbox_next(l->store, &id, 0, &place, &bytes, &len, message_id, NULL), 0);
  assert_int_equal(km_outbox_confirmed(l->store, &id, message_id, NULL), 0);
}

typedef struct bodies {
  char text[400];
  unsigned count, refused;
  km_store *store;
} bodies;

static void write_body(void *ctx, const km_message *m) {
  bodies *b = ctx;
  size_t len = strlen(b->text);
  b->count++;
  b->refused += m->refused != NULL;
  (void)snprintf(b->text + len, sizeof b->text - len, "%s%s%s ", m->body,
                 m->refused == NULL ? "" : ":", m->refused == NULL ? "" : m->refused);
}

static void assert_waiting(lab *l, const char *expected) {
  bodies b = {0};
  int64_t count = km_message_waiting(l->store, write_body, &b, NULL);
  assert_int_equal(count, b.count);
  assert_string_equal(b.text, expected);
  bodies one_by_one = {0};
  int64_t place = 0;
  while (km_outbox_next_own(l->store, &place, write_body, &one_by_one, NULL) == 1) {
  }
  assert_string_equal(one_by_one.text, expected);
  assert_int_equal(km_outbox_count_own(l->store, NULL), b.count - b.refused);
}

static void assert_received(lab *l, size_t limit, const char *expected) {
  bodies b = {0};
  int64_t count = km_message_received(l->store, limit, write_body, &b, NULL);
  assert_int_equal(count, b.count);
  assert_string_equal(b.text, expected);
  bodies one_by_one = {0};
  int64_t place = INT64_MAX;
  while (one_by_one.count < limit &&
         km_inbox_next(l->store, &place, write_body, &one_by_one, NULL) == 1) {
  }
  assert_string_equal(one_by_one.text, expected);
}

static void say(lab *l, unsigned to, const char *body) {
  km_id id = lab_id(to);
  assert_int_equal(to == 0 ? km_message_broadcast(l->store, "t", body, 0, NULL, NULL)
                           : km_message_send(l->store, &id, "t", body, 0, NULL, NULL),
                   0);
}

/* --- the outbox ------------------------------------------------------------------------------- */

static void messages_wait_in_order_also_after_a_restart(void **state) {
  lab *l = *state;
  say(l, 2, "1");
  say(l, 3, "2");
  say(l, 0, "3");
  say(l, 2, "4");
  lab_reopen(l);
  assert_waiting(l, "1 2 3 4 ");
  assert_offered(l, 2, "1 3 4 ");
  assert_offered(l, 3, "2 3 ");
  assert_offered(l, 9, "3 ");
}

static void what_a_peer_confirmed_is_not_offered_again(void **state) {
  lab *l = *state;
  say(l, 2, "1");
  say(l, 0, "2");
  say(l, 2, "3");
  confirm_first(l, 2);
  assert_offered(l, 2, "2 3 ");
  confirm_first(l, 2);
  lab_reopen(l);
  assert_offered(l, 2, "3 ");
  assert_offered(l, 3, "2 ");
  assert_waiting(l, "2 3 ");
  /* A confirmation of what is not there, or of somebody else's, does nothing. */
  uint8_t unknown[KM_MESSAGE_ID_BYTES] = {1}, id[KM_MESSAGE_ID_BYTES];
  km_id two = lab_id(2), three = lab_id(3);
  assert_int_equal(km_outbox_confirmed(l->store, &two, unknown, NULL), 0);
  assert_int_equal(km_message_send(l->store, &two, "t", "5", 0, id, NULL), 0);
  assert_int_equal(km_outbox_confirmed(l->store, &three, id, NULL), 0);
  assert_offered(l, 2, "3 5 ");
}

static void what_a_peer_refused_is_shown_and_not_offered_again(void **state) {
  lab *l = *state;
  uint8_t direct[KM_MESSAGE_ID_BYTES], all[KM_MESSAGE_ID_BYTES];
  km_id two = lab_id(2), three = lab_id(3);
  assert_int_equal(km_message_send(l->store, &two, "t", "1", 0, direct, NULL), 0);
  assert_int_equal(km_message_broadcast(l->store, "t", "2", 0, all, NULL), 0);
  say(l, 2, "3");
  assert_int_equal(km_outbox_refused(l->store, &three, direct, "not yours", NULL), 0);
  assert_offered(l, 2, "1 2 3 "); /* who is somebody else has no say */
  assert_int_equal(km_outbox_refused(l->store, &two, direct, "too long", NULL), 0);
  assert_int_equal(km_outbox_refused(l->store, &two, all, "too long", NULL), 0);
  lab_reopen(l);
  assert_offered(l, 2, "3 ");
  assert_offered(l, 3, "2 "); /* others may take it */
  assert_waiting(l, "1:too long 2 3 ");
  assert_int_equal(km_message_cancel(l->store, direct, NULL), 0);
  assert_waiting(l, "2 3 ");
}

/* Made before messages could be refused. */
static void an_older_outbox_is_brought_up(void **state) {
  lab *l = *state;
  uint8_t id[KM_MESSAGE_ID_BYTES];
  km_id two = lab_id(2);
  assert_int_equal(km_message_send(l->store, &two, "t", "1", 0, id, NULL), 0);
  assert_int_equal(km_db_exec(l->store->db,
                              "ALTER TABLE message DROP COLUMN refused; DROP TABLE recommended;"
                              "PRAGMA user_version=1",
                              NULL),
                   0);
  lab_reopen(l);
  assert_waiting(l, "1 ");
  assert_int_equal(km_outbox_refused(l->store, &two, id, "no", NULL), 0);
  assert_waiting(l, "1:no ");
}

static void what_cannot_be_sent_is_refused_with_a_sentence(void **state) {
  lab *l = *state;
  km_id two = lab_id(2), own = lab_id(1), nobody = {{0}};
  const struct {
    const km_id *to;
    const char *type, *json;
    uint32_t ttl;
    const char *part;
  } bad[] = {{&own, "t", "1", 0, "another node"}, {&nobody, "t", "1", 0, "nobody"},
             {NULL, "t", "1", 0, "another node"}, {&two, "", "1", 0, "type"},
             {&two, "a b", "1", 0, "type"},       {&two, NULL, "1", 0, "type"},
             {&two, "t", "{", 0, "not JSON"},     {&two, "t", "", 0, "not JSON"},
             {&two, "t", NULL, 0, "JSON"},        {&two, "t", "1", 2592001, "30 days"}};
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    km_errinfo err = {0};
    assert_int_equal(
        km_message_send(l->store, bad[i].to, bad[i].type, bad[i].json, bad[i].ttl, NULL, &err),
        KM_ERR_INVALID);
    if (strstr(err.text, bad[i].part) == NULL) {
      fail_msg("%s", err.text);
    }
  }
  assert_waiting(l, "");
}

static void messages_expire(void **state) {
  lab *l = *state;
  km_id two = lab_id(2);
  assert_int_equal(km_message_send(l->store, &two, "t", "1", 10, NULL, NULL), 0);
  assert_int_equal(km_message_send(l->store, &two, "t", "2", 0, NULL, NULL), 0);
  assert_int_equal(km_message_broadcast(l->store, "t", "3", 0, NULL, NULL), 0);
  lab_pass(l, 9);
  assert_offered(l, 2, "1 2 3 ");
  lab_pass(l, 1);
  assert_offered(l, 2, "2 3 ");
  assert_waiting(l, "2 3 ");
  assert_int_equal(km_outbox_cleanup(l->store, NULL), 1);
  lab_pass(l, DAY);
  assert_offered(l, 2, "2 ");
  lab_pass(l, 7 * DAY);
  assert_offered(l, 2, "");
  assert_int_equal(km_outbox_cleanup(l->store, NULL), 2);
  assert_int_equal(km_outbox_cleanup(l->store, NULL), 0);
}

static void a_message_can_be_cancelled_if_it_is_ours(void **state) {
  lab *l = *state;
  km_id two = lab_id(2);
  uint8_t id[KM_MESSAGE_ID_BYTES];
  assert_int_equal(km_message_send(l->store, &two, "t", "1", 0, id, NULL), 0);
  say(l, 2, "2");
  assert_int_equal(km_message_cancel(l->store, id, NULL), 0);
  assert_int_equal(km_message_cancel(l->store, id, NULL), KM_ERR_NOT_FOUND);
  assert_waiting(l, "2 ");
  made m = make(l, 3, 0, "3", START_S, DAY);
  assert_int_equal(take_from(l, &m, 3), KM_INBOX_NEW);
  assert_int_equal(km_message_cancel(l->store, m.m.id, NULL), KM_ERR_NOT_FOUND);
  drop(&m);
}

static void ten_thousand_messages_wait_and_no_more(void **state) {
  lab *l = *state;
  assert_int_equal(km_transaction_begin(l->store, NULL), 0); /* for speed */
  for (int i = 0; i < 9999; i++) {
    say(l, i % 2 == 0 ? 2 : 0, "1");
  }
  assert_int_equal(km_transaction_end(l->store, 0, NULL), 0);
  made m = make(l, 3, 0, "3", START_S, DAY); /* does not count as ours */
  assert_int_equal(take_from(l, &m, 3), KM_INBOX_NEW);
  drop(&m);
  say(l, 2, "2");
  km_errinfo err = {0};
  km_id two = lab_id(2);
  assert_int_equal(km_message_send(l->store, &two, "t", "1", 0, NULL, &err), KM_ERR_LIMIT);
  assert_non_null(strstr(err.text, "10000"));
  assert_int_equal(km_message_broadcast(l->store, "t", "1", 0, NULL, NULL), KM_ERR_LIMIT);
  confirm_first(l, 2);
  assert_int_equal(km_message_send(l->store, &two, "t", "1", 0, NULL, NULL), 0);
}

static void on_change(void *ctx, const km_id *to) {
  char *text = ctx;
  km_id two = lab_id(2);
  size_t len = strlen(text);
  const char *name = to == NULL ? "all " : km_id_equal(to, &two) ? "two " : "? ";
  (void)snprintf(text + len, 64 - len, "%s", name);
}

static void the_hook_hears_of_each_message(void **state) {
  lab *l = *state;
  char text[64] = "";
  km_outbox_on_change(l->store, on_change, text);
  say(l, 2, "1");
  say(l, 0, "2");
  assert_int_equal(take_new(l, 3, 0, "3"), KM_INBOX_NEW); /* to be passed on */
  assert_int_equal(take_new(l, 3, 1, "4"), KM_INBOX_NEW); /* ours alone */
  km_id own = lab_id(1);
  assert_int_equal(km_message_send(l->store, &own, "t", "1", 0, NULL, NULL), KM_ERR_INVALID);
  assert_string_equal(text, "two all all ");
  km_outbox_on_change(l->store, NULL, NULL);
  say(l, 2, "5");
  assert_string_equal(text, "two all all ");
}

/* --- the inbox -------------------------------------------------------------------------------- */

static void a_repeat_is_recognised_also_after_a_restart(void **state) {
  lab *l = *state;
  made m = make(l, 2, 1, "1", START_S, DAY);
  assert_int_equal(take_from(l, &m, 2), KM_INBOX_NEW);
  assert_int_equal(take_from(l, &m, 2), KM_INBOX_KNOWN);
  assert_int_equal(take_from(l, &m, 3), KM_INBOX_KNOWN); /* whoever brings it */
  lab_reopen(l);
  assert_int_equal(take_from(l, &m, 2), KM_INBOX_KNOWN);
  lab_pass(l, DAY - 1);
  assert_int_equal(km_outbox_cleanup(l->store, NULL), 0);
  assert_int_equal(take_from(l, &m, 2), KM_INBOX_KNOWN);
  lab_pass(l, 10);
  assert_int_equal(km_outbox_cleanup(l->store, NULL), 0); /* the clock may go back a minute */
  lab_pass(l, -10);
  assert_int_equal(take_from(l, &m, 2), KM_INBOX_KNOWN);
  lab_pass(l, 61);
  assert_int_equal(km_outbox_cleanup(l->store, NULL), 1);
  assert_int_equal(take_from(l, &m, 2), KM_INBOX_REFUSED);
  assert_received(l, 10, "1 ");
  drop(&m);
}

static void what_is_not_for_us_or_not_timely_is_refused(void **state) {
  lab *l = *state;
  static const struct {
    unsigned to;
    int64_t sent, ttl;
    int expected;
  } cases[] = {{3, START_S, DAY, KM_INBOX_REFUSED},     {1, START_S - 10, 10, KM_INBOX_REFUSED},
               {1, START_S - 10, 11, KM_INBOX_NEW},     {0, START_S - 10, 10, KM_INBOX_REFUSED},
               {1, START_S + 60, DAY, KM_INBOX_NEW},    {1, START_S + 61, DAY, KM_INBOX_REFUSED},
               {0, START_S + 61, DAY, KM_INBOX_REFUSED}};
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    made m = make(l, 2, cases[i].to, "1", cases[i].sent, cases[i].ttl);
    assert_int_equal(take_from(l, &m, 2), cases[i].expected);
    drop(&m);
  }
  assert_received(l, 10, "1 1 ");
  assert_offered(l, 5, "");
}

static void broadcasts_are_passed_on_to_who_lacks_them(void **state) {
  lab *l = *state;
  made m = make(l, 2, 0, "1", START_S, DAY);
  assert_int_equal(take_from(l, &m, 3), KM_INBOX_NEW);
  assert_offered(l, 2, ""); /* its sender */
  assert_offered(l, 3, ""); /* who brought it */
  assert_offered(l, 4, "1 ");
  assert_offered(l, 5, "1 ");
  assert_int_equal(take_from(l, &m, 4), KM_INBOX_KNOWN); /* 4 has it too */
  lab_reopen(l);
  assert_offered(l, 4, "");
  assert_offered(l, 5, "1 ");
  assert_waiting(l, ""); /* nothing of ours */
  assert_received(l, 10, "1 ");
  lab_pass(l, DAY);
  assert_offered(l, 5, "");
  drop(&m);
}

static void our_own_broadcast_comes_back(void **state) {
  lab *l = *state;
  int64_t place;
  size_t len;
  const uint8_t *bytes;
  uint8_t id[KM_MESSAGE_ID_BYTES];
  km_id four = lab_id(4);
  say(l, 0, "1");
  assert_int_equal(km_outbox_next(l->store, &four, 0, &place, &bytes, &len, id, NULL), 0);
  made m = {.bytes = malloc(len), .len = len, .scratch = malloc(len + 2)};
  assert_non_null(m.bytes);
  assert_non_null(m.scratch);
  memcpy(m.bytes, bytes, len);
  assert_int_equal(km_message_decode(&m.m, m.bytes, len, m.scratch, NULL), 0);
  assert_int_equal(take_from(l, &m, 3), KM_INBOX_KNOWN);
  assert_offered(l, 3, ""); /* it has it from somebody else */
  assert_offered(l, 4, "1 ");
  assert_int_equal(km_message_cancel(l->store, id, NULL), 0);
  assert_int_equal(take_from(l, &m, 4), KM_INBOX_KNOWN);
  assert_offered(l, 5, "");
  assert_received(l, 10, "");
  drop(&m);
}

static void a_sender_has_a_thousand_broadcasts(void **state) {
  lab *l = *state;
  assert_int_equal(km_transaction_begin(l->store, NULL), 0); /* for speed */
  char body[16];
  for (int i = 0; i < 1000; i++) {
    (void)snprintf(body, sizeof body, "%d", i);
    assert_int_equal(take_new(l, 2, 0, body), KM_INBOX_NEW);
  }
  assert_int_equal(km_transaction_end(l->store, 0, NULL), 0);
  assert_int_equal(take_new(l, 2, 0, "-1"), KM_INBOX_REFUSED);
  assert_int_equal(take_new(l, 2, 1, "-2"), KM_INBOX_NEW); /* to us alone */
  assert_int_equal(take_new(l, 3, 0, "-3"), KM_INBOX_NEW); /* of another one */
  say(l, 0, "-4");
  lab_pass(l, DAY);
  assert_int_equal(km_outbox_cleanup(l->store, NULL), 1001 + 1);
  assert_int_equal(take_new(l, 2, 0, "-5"), KM_INBOX_NEW);
}

static void a_senders_broadcasts_have_64_mib(void **state) {
  lab *l = *state;
  char *body = malloc(KM_MESSAGE_BODY_MAX + 1);
  assert_non_null(body);
  memset(body, 'x', KM_MESSAGE_BODY_MAX);
  body[0] = body[KM_MESSAGE_BODY_MAX - 1] = '"';
  body[KM_MESSAGE_BODY_MAX] = '\0';
  for (int i = 0; i < 63; i++) {
    assert_int_equal(take_new(l, 2, 0, body), KM_INBOX_NEW);
  }
  assert_int_equal(take_new(l, 2, 0, body), KM_INBOX_REFUSED); /* 64 MiB without the heads */
  assert_int_equal(take_new(l, 2, 0, "1"), KM_INBOX_NEW);
  assert_int_equal(take_new(l, 3, 0, body), KM_INBOX_NEW);
  /* Of what came, no more than 64 MiB are kept either: the oldest went. */
  bodies b = {0};
  assert_int_equal(km_message_received(l->store, 1000, write_body, &b, NULL), 64);
  free(body);
}

static void fill_table(lab *l, const char *sql) {
  km_errinfo err = {0};
  if (km_db_exec(l->store->db, sql, &err) != 0) {
    fail_msg("%s", err.text);
  }
}

static void all_others_broadcasts_have_256_mib(void **state) {
  lab *l = *state;
  fill_table(l, "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 255)"
                " INSERT INTO message(id, sender, target, expires, size, bytes) SELECT"
                " randomblob(16), randomblob(32), x'', 1e15, 1048576, x'00' FROM n");
  assert_int_equal(take_new(l, 2, 0, "1"), KM_INBOX_REFUSED);
  assert_int_equal(take_new(l, 2, 1, "2"), KM_INBOX_NEW);
  say(l, 0, "3"); /* ours do not count */
  fill_table(l, "DELETE FROM message WHERE place = 1");
  assert_int_equal(take_new(l, 2, 0, "4"), KM_INBOX_NEW);
}

static void count_refusals(void *ctx, const km_log_entry *entry) {
  *(unsigned *)ctx += strcmp(entry->event, "messages refused") == 0;
}

static void of_a_sender_a_million_messages_are_remembered(void **state) {
  lab *l = *state;
  unsigned told = 0;
  char sql[400], hex[2 * KM_ID_BYTES + 1];
  km_id two = lab_id(2);
  km_hex_encode(hex, two.bytes, KM_ID_BYTES);
  (void)snprintf(
      sql, sizeof sql,
      "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999998)"
      " INSERT INTO message_seen SELECT x'%s', CAST(printf('%%016d', i) AS BLOB), %lld FROM n",
      hex, (long long)(START_S + 10) * 1000);
  fill_table(l, sql);
  l->env.env.logger = (km_logger){.sink = count_refusals, .ctx = &told};
  assert_int_equal(km_log_filter_parse(&l->env.env.logger.filter, "warn", NULL), 0);
  assert_int_equal(take_new(l, 2, 1, "0"), KM_INBOX_NEW);
  assert_int_equal(told, 0);
  assert_int_equal(take_new(l, 2, 1, "1"), KM_INBOX_REFUSED);
  assert_int_equal(take_new(l, 2, 1, "1"), KM_INBOX_REFUSED);
  assert_int_equal(told, 1); /* once is enough */
  assert_int_equal(take_new(l, 3, 1, "2"), KM_INBOX_NEW);
  lab_pass(l, 71); /* a minute behind their expiry */
  assert_int_equal(km_outbox_cleanup(l->store, NULL), 999999);
  assert_int_equal(take_new(l, 2, 1, "3"), KM_INBOX_NEW);
}

static void the_last_thousand_that_came_are_kept(void **state) {
  lab *l = *state;
  assert_int_equal(km_transaction_begin(l->store, NULL), 0); /* for speed */
  char body[16];
  for (int i = 0; i < 1010; i++) {
    (void)snprintf(body, sizeof body, "%d", i);
    assert_int_equal(take_new(l, 2, 1, body), KM_INBOX_NEW);
  }
  assert_int_equal(km_transaction_end(l->store, 0, NULL), 0);
  lab_reopen(l);
  assert_received(l, 3, "1009 1008 1007 ");
  bodies b = {0};
  assert_int_equal(km_message_received(l->store, 1000, write_body, &b, NULL), 1000);
  assert_int_equal(km_message_received(l->store, 0, write_body, &b, NULL), KM_ERR_INVALID);
  assert_int_equal(km_message_received(l->store, 1001, write_body, &b, NULL), KM_ERR_INVALID);
}

/* With all its tables full, a message that cannot be stored is neither known nor confirmed. */
static void nothing_of_a_failed_message_stays(void **state) {
  lab *l = *state;
  made m = make(l, 2, 0, "1", START_S, DAY);
  assert_int_equal(km_db_exec(l->store->db,
                              "CREATE TEMP TRIGGER full BEFORE INSERT ON message_mark BEGIN"
                              " SELECT RAISE(FAIL, 'full'); END",
                              NULL),
                   0);
  km_errinfo err = {0};
  km_id from = lab_id(3);
  assert_true(km_inbox_take(l->store, &m.m, m.bytes, m.len, &from, &err) < 0);
  assert_non_null(strstr(err.text, "full"));
  assert_received(l, 10, "");
  assert_offered(l, 5, "");
  assert_int_equal(km_db_exec(l->store->db, "DROP TRIGGER full", NULL), 0);
  assert_int_equal(take_from(l, &m, 3), KM_INBOX_NEW);
  assert_received(l, 10, "1 ");
  drop(&m);
}

static void without_memory_nothing_is_lost(void **state) {
  lab *l = *state;
  km_id two = lab_id(2);
  int64_t place;
  size_t len;
  const uint8_t *bytes;
  uint8_t id[KM_MESSAGE_ID_BYTES];
  bodies b = {0};
  say(l, 2, "1");
  l->env.fail_after = 0;
  assert_int_equal(km_message_send(l->store, &two, "t", "2", 0, NULL, NULL), KM_ERR_NOMEM);
  assert_int_equal(km_outbox_next(l->store, &two, 0, &place, &bytes, &len, id, NULL), KM_ERR_NOMEM);
  assert_int_equal(km_message_waiting(l->store, write_body, &b, NULL), KM_ERR_NOMEM);
  place = 0;
  assert_int_equal(km_outbox_next_own(l->store, &place, write_body, &b, NULL), KM_ERR_NOMEM);
  assert_int_equal(km_outbox_count_own(l->store, NULL), 1); /* which reads none of them */
  assert_int_equal(take_new(l, 2, 1, "3"), KM_INBOX_NEW);   /* needs none of ours */
  l->env.fail_after = -1;
  assert_waiting(l, "1 ");
  assert_offered(l, 2, "1 ");
  assert_received(l, 10, "3 ");
}

static void a_full_disk_is_said_and_what_was_kept_stays(void **state) {
  lab *l = *state;
  struct rlimit before, small;
  char body[40000];
  km_id two = lab_id(2);
  km_errinfo err = {0};
  say(l, 2, "1");
  memset(body, '7', sizeof body);
  body[0] = body[sizeof body - 2] = '"';
  body[sizeof body - 1] = '\0';
  made m = make(l, 2, 0, body, START_S, DAY);
  assert_ptr_not_equal(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
  small = before;
  small.rlim_cur = 4096;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
  assert_int_equal(km_message_send(l->store, &two, "t", body, 0, NULL, &err), KM_ERR_NO_SPACE);
  int taken = take_from(l, &m, 2);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
  assert_non_null(strstr(err.text, "disk is full"));
  assert_int_equal(taken, KM_ERR_NO_SPACE);
  lab_reopen(l);
  assert_waiting(l, "1 ");
  assert_received(l, 10, "");
  assert_int_equal(take_from(l, &m, 2), KM_INBOX_NEW); /* it comes again */
  assert_int_equal(take_from(l, &m, 2), KM_INBOX_KNOWN);
  drop(&m);
}

static void ask_within(void *ctx, const km_message *m) {
  bodies *b = ctx;
  write_body(ctx, m);
  int64_t place = INT64_MAX;
  assert_int_equal(km_message_received(b->store, 1, write_body, ctx, NULL), KM_ERR_STATE);
  assert_int_equal(km_inbox_next(b->store, &place, write_body, ctx, NULL), KM_ERR_STATE);
  place = 0;
  assert_int_equal(km_outbox_next_own(b->store, &place, write_body, ctx, NULL), KM_ERR_STATE);
  assert_int_equal(km_message_cancel(b->store, m->id, NULL), 0);
}

static void from_a_list_messages_can_be_cancelled(void **state) {
  lab *l = *state;
  say(l, 2, "1");
  say(l, 2, "2");
  bodies b = {.store = l->store};
  assert_int_equal(km_message_waiting(l->store, ask_within, &b, NULL), 2);
  assert_string_equal(b.text, "1 2 ");
  assert_waiting(l, "");
}

/* What was said to be kept would be gone with the batch. */
static void while_a_batch_is_open_nothing_is_said_or_taken(void **state) {
  lab *l = *state;
  km_id two = lab_id(2), three = lab_id(3);
  uint8_t id[KM_MESSAGE_ID_BYTES];
  km_errinfo err = {0};
  made m = make(l, 2, 1, "1", START_S, DAY);
  assert_int_equal(km_message_send(l->store, &two, "t", "2", 0, id, NULL), 0);
  assert_int_equal(km_trust_request(l->store, &two, NULL, NULL), 0);
  assert_int_equal(km_kv_begin(l->store, NULL), 0);
  assert_int_equal(km_message_send(l->store, &two, "t", "3", 0, NULL, &err), KM_ERR_STATE);
  assert_non_null(strstr(err.text, "a batch is open"));
  assert_int_equal(km_message_broadcast(l->store, "t", "4", 0, NULL, NULL), KM_ERR_STATE);
  assert_int_equal(km_message_cancel(l->store, id, NULL), KM_ERR_STATE);
  assert_int_equal(take_from(l, &m, 2), KM_ERR_STATE);
  assert_int_equal(km_trust_add(l->store, &three, NULL, NULL, 0, NULL), KM_ERR_STATE);
  assert_int_equal(km_trust_block(l->store, &three, NULL, NULL), KM_ERR_STATE);
  assert_int_equal(km_trust_forget(l->store, &two, NULL), KM_ERR_STATE);
  assert_int_equal(km_trust_approve(l->store, &two, NULL), KM_ERR_STATE);
  assert_int_equal(km_trust_deny(l->store, &two, NULL), KM_ERR_STATE);
  assert_int_equal(km_trust_recommend(l->store, &three, NULL, 0, NULL), KM_ERR_STATE);
  assert_int_equal(km_trust_revoke(l->store, &three, NULL, NULL), KM_ERR_STATE);
  assert_int_equal(km_trust_announce(l->store, "a", NULL), KM_ERR_STATE);
  km_kv_rollback(l->store);
  assert_waiting(l, "2 ");
  assert_received(l, 10, "");
  assert_int_equal(take_from(l, &m, 2), KM_INBOX_NEW);
  assert_int_equal(km_trust_revoke(l->store, &three, NULL, NULL), 0);
  drop(&m);
}

#define LAB_TEST(name) cmocka_unit_test_setup_teardown(name, lab_set_up, lab_tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      LAB_TEST(messages_wait_in_order_also_after_a_restart),
      LAB_TEST(what_a_peer_confirmed_is_not_offered_again),
      LAB_TEST(what_a_peer_refused_is_shown_and_not_offered_again),
      LAB_TEST(an_older_outbox_is_brought_up),
      LAB_TEST(what_cannot_be_sent_is_refused_with_a_sentence),
      LAB_TEST(messages_expire),
      LAB_TEST(a_message_can_be_cancelled_if_it_is_ours),
      LAB_TEST(ten_thousand_messages_wait_and_no_more),
      LAB_TEST(the_hook_hears_of_each_message),
      LAB_TEST(a_repeat_is_recognised_also_after_a_restart),
      LAB_TEST(what_is_not_for_us_or_not_timely_is_refused),
      LAB_TEST(broadcasts_are_passed_on_to_who_lacks_them),
      LAB_TEST(our_own_broadcast_comes_back),
      LAB_TEST(a_sender_has_a_thousand_broadcasts),
      LAB_TEST(a_senders_broadcasts_have_64_mib),
      LAB_TEST(all_others_broadcasts_have_256_mib),
      LAB_TEST(of_a_sender_a_million_messages_are_remembered),
      LAB_TEST(the_last_thousand_that_came_are_kept),
      LAB_TEST(nothing_of_a_failed_message_stays),
      LAB_TEST(without_memory_nothing_is_lost),
      LAB_TEST(a_full_disk_is_said_and_what_was_kept_stays),
      LAB_TEST(from_a_list_messages_can_be_cancelled),
      LAB_TEST(while_a_batch_is_open_nothing_is_said_or_taken),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
