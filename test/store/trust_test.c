/* Whom a node trusts, and what others say about it. */
#include <keymesh/trust.h>

#include "store/trust_db.h"
#include "test/store/trust_lab.h"

#define DAY 86400

/* --- helpers ---------------------------------------------------------------------------------- */

static km_trust_info get(lab *l, unsigned n) {
  km_id id = lab_id(n);
  km_trust_info info;
  assert_int_equal(km_trust_get(l->store, &id, &info, NULL), 0);
  return info;
}

static km_trust_state state_of(lab *l, unsigned n) {
  km_id id = lab_id(n);
  km_trust_info info;
  int rv = km_trust_get(l->store, &id, &info, NULL);
  assert_true(rv == 0 || rv == KM_ERR_NOT_FOUND);
  return rv == 0 ? info.state : KM_TRUST_UNKNOWN;
}

static void trust(lab *l, unsigned n) {
  km_id id = lab_id(n);
  assert_int_equal(km_trust_add(l->store, &id, NULL, NULL, 0, NULL), 0);
}

/* Node 99 stands in the configuration. */
static bool configured(void *ctx, const km_id *id) {
  km_id who = lab_id(99);
  assert_non_null(ctx);
  return km_id_equal(id, &who);
}

static km_trust_question ask(lab *l, unsigned n) {
  km_id id = lab_id(n);
  km_trust_question q = {0};
  assert_int_equal(km_trust_ask(l->store, &id, configured, l, &q, NULL), 0);
  return q;
}

static km_statement statement(unsigned author, km_statement_kind kind, unsigned subject, int64_t at,
                              int64_t expires, const char *text) {
  km_secret_key *key = lab_key(author);
  km_statement s = {.kind = kind,
                    .subject = lab_id(subject),
                    .at = at,
                    .expires = expires,
                    .text = text,
                    .text_len = strlen(text)};
  km_statement_sign(&s, key);
  km_secret_key_free(key);
  return s;
}

static int take(lab *l, const km_statement *s) {
  return km_trust_take(l->store, s, true, true, false, NULL);
}

static int hear(lab *l, unsigned author, km_statement_kind kind, unsigned subject) {
  int64_t now = lab_now(l);
  bool ends = kind == KM_STATEMENT_RECOMMEND || kind == KM_STATEMENT_WITHDRAW;
  km_statement s = statement(author, kind, subject, now, ends ? now + DAY : 0,
                             kind == KM_STATEMENT_ANNOUNCE ? "me" : "");
  return take(l, &s);
}

typedef struct heard {
  unsigned changes, statements;
  km_id last;
  km_statement_kind kind;
} heard;

static void on_change(void *ctx, const km_id *id, const km_statement *s) {
  heard *h = ctx;
  h->changes++;
  h->last = *id;
  if (s != NULL) {
    h->statements++;
    h->kind = s->kind;
  }
}

static void count_statement(void *ctx, const km_statement *s) {
  uint8_t buf[KM_STATEMENT_MAX];
  km_statement back;
  int len = km_statement_encode(s, buf, sizeof buf);
  assert_true(len > 0); /* what is passed on is as it was signed */
  assert_int_equal(km_statement_decode(&back, buf, (size_t)len, NULL), 0);
  ++*(unsigned *)ctx;
}

static unsigned statements(lab *l) {
  unsigned count = 0;
  int64_t given = km_trust_statements(l->store, count_statement, &count, NULL);
  assert_int_equal(given, count);
  return count;
}

/* --- by hand ---------------------------------------------------------------------------------- */

static void what_is_said_by_hand_stays_after_a_restart(void **state) {
  lab *l = *state;
  km_id id = lab_id(2);
  assert_int_equal(
      km_trust_add(l->store, &id, "gr\xc3\xbc\x6e", "in the attic", START_S + DAY, NULL), 0);
  lab_pass(l, 10);
  assert_int_equal(km_trust_add(l->store, &id, NULL, NULL, START_S + DAY, NULL), 0);
  lab_reopen(l);
  km_trust_info info = get(l, 2);
  assert_int_equal(info.state, KM_TRUST_TRUSTED);
  assert_int_equal(info.origin, KM_TRUST_BY_HAND);
  assert_string_equal(info.name, "gr\xc3\xbc\x6e");
  assert_string_equal(info.note, "in the attic");
  assert_int_equal(info.since, START_S);
  assert_int_equal(info.expires, START_S + DAY);
  assert_true(km_id_equal(&info.id, &id));

  assert_int_equal(km_trust_block(l->store, &id, "lost", NULL), 0);
  lab_reopen(l);
  info = get(l, 2);
  assert_int_equal(info.state, KM_TRUST_BLOCKED);
  assert_string_equal(info.name, "gr\xc3\xbc\x6e");
  assert_string_equal(info.note, "lost");
  assert_int_equal(info.since, START_S + 10);
  assert_int_equal(info.expires, 0);

  assert_int_equal(km_trust_forget(l->store, &id, NULL), 0);
  assert_int_equal(km_trust_forget(l->store, &id, NULL), KM_ERR_NOT_FOUND);
  assert_int_equal(km_trust_get(l->store, &id, &info, NULL), KM_ERR_NOT_FOUND);
}

static void what_cannot_be_is_refused_with_a_sentence(void **state) {
  lab *l = *state;
  km_id peer = lab_id(2), own = lab_id(1);
  char name[KM_PEER_NAME_MAX + 2], note[KM_PEER_NOTE_MAX + 2];
  memset(name, 'x', sizeof name);
  memset(note, 'x', sizeof note);
  name[KM_PEER_NAME_MAX + 1] = note[KM_PEER_NOTE_MAX + 1] = '\0';
  const struct {
    const km_id *id;
    const char *name, *note;
    int64_t expires;
    const char *part;
  } bad[] = {{&own, NULL, NULL, 0, "own id"},
             {&peer, name, NULL, 0, "64 bytes"},
             {&peer, "a\tb", NULL, 0, "control"},
             {&peer, "\xc3", NULL, 0, "UTF-8"},
             {&peer, NULL, note, 0, "256 bytes"},
             {&peer, NULL, "\x7f", 0, "control"},
             {&peer, NULL, NULL, START_S, "in the past"},
             {&peer, NULL, NULL, -1, "in the past"},
             {&peer, NULL, NULL, INT64_MAX, "too far"}};
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    km_errinfo err = {0};
    assert_int_equal(
        km_trust_add(l->store, bad[i].id, bad[i].name, bad[i].note, bad[i].expires, &err),
        KM_ERR_INVALID);
    assert_non_null(strstr(err.text, bad[i].part));
  }
  assert_int_equal(km_trust_block(l->store, &own, NULL, NULL), KM_ERR_INVALID);
  assert_int_equal(km_trust_revoke(l->store, &own, NULL, NULL), KM_ERR_INVALID);
  assert_int_equal(km_trust_revoke(l->store, &peer, note, NULL), KM_ERR_INVALID);
  assert_int_equal(km_trust_recommend(l->store, &own, NULL, 0, NULL), KM_ERR_INVALID);
  assert_int_equal(km_trust_recommend(l->store, &peer, name, 0, NULL), KM_ERR_INVALID);
  assert_int_equal(km_trust_recommend(l->store, &peer, NULL, START_S, NULL), KM_ERR_INVALID);
  assert_int_equal(km_trust_announce(l->store, "", NULL), KM_ERR_INVALID);
  assert_int_equal(km_trust_announce(l->store, name, NULL), KM_ERR_INVALID);
  assert_int_equal(state_of(l, 2), KM_TRUST_UNKNOWN);
  assert_int_equal(statements(l), 0);
  name[KM_PEER_NAME_MAX] = note[KM_PEER_NOTE_MAX] = '\0';
  assert_int_equal(km_trust_add(l->store, &peer, name, note, 0, NULL), 0);
}

static void an_expired_peer_counts_as_unknown(void **state) {
  lab *l = *state;
  km_id id = lab_id(2);
  assert_int_equal(km_trust_add(l->store, &id, "x", NULL, START_S + 100, NULL), 0);
  lab_pass(l, 99);
  assert_int_equal(state_of(l, 2), KM_TRUST_TRUSTED);
  assert_false(ask(l, 2).expired);
  lab_pass(l, 1);
  assert_int_equal(state_of(l, 2), KM_TRUST_UNKNOWN);
  km_trust_question q = ask(l, 2);
  assert_int_equal(q.state, KM_TRUST_TRUSTED);
  assert_true(q.expired);
  /* It may ask again, keeps its name, and can be let in without an end. */
  assert_int_equal(km_trust_request(l->store, &id, "somebody", NULL), 0);
  assert_int_equal(state_of(l, 2), KM_TRUST_PENDING);
  assert_string_equal(get(l, 2).name, "x");
  assert_int_equal(km_trust_approve(l->store, &id, NULL), 0);
  assert_int_equal(get(l, 2).expires, 0);
  assert_int_equal(get(l, 2).origin, KM_TRUST_BY_APPROVAL);
}

typedef struct listing {
  char text[400];
  km_store *store;
} listing;

static void write_name(void *ctx, const km_trust_info *info) {
  listing *list = ctx;
  size_t len = strlen(list->text);
  (void)snprintf(list->text + len, sizeof list->text - len, "%s%d ", info->name, info->state);
  assert_int_equal(km_trust_list(list->store, KM_TRUST_UNKNOWN, write_name, ctx, NULL),
                   KM_ERR_STATE);
}

static void lists_are_by_name(void **state) {
  lab *l = *state;
  static const char *const names[] = {"c", "a", "b", ""};
  for (unsigned n = 0; n < 4; n++) {
    km_id id = lab_id(n + 2);
    assert_int_equal(km_trust_add(l->store, &id, names[n], NULL, n == 1 ? START_S + 5 : 0, NULL),
                     0);
  }
  km_id blocked = lab_id(4);
  assert_int_equal(km_trust_block(l->store, &blocked, NULL, NULL), 0);
  listing all = {.store = l->store}, trusted = all, later = all, waiting = all;
  assert_int_equal(km_trust_list(l->store, KM_TRUST_UNKNOWN, write_name, &all, NULL), 4);
  assert_string_equal(all.text, "2 a2 b3 c2 ");
  assert_int_equal(km_trust_list(l->store, KM_TRUST_TRUSTED, write_name, &trusted, NULL), 3);
  assert_string_equal(trusted.text, "2 a2 c2 ");
  lab_pass(l, 5);
  assert_int_equal(km_trust_list(l->store, KM_TRUST_TRUSTED, write_name, &later, NULL), 2);
  assert_string_equal(later.text, "2 c2 ");
  assert_int_equal(km_trust_list(l->store, KM_TRUST_PENDING, write_name, &waiting, NULL), 0);
}

/* --- requests and first use ------------------------------------------------------------------- */

static void requests_wait_for_an_answer(void **state) {
  lab *l = *state;
  km_id two = lab_id(2), three = lab_id(3), own = lab_id(1);
  assert_int_equal(km_trust_request(l->store, &own, "me", NULL), 0);
  assert_int_equal(state_of(l, 1), KM_TRUST_UNKNOWN);
  assert_int_equal(km_trust_request(l->store, &two, "first\n\xff", NULL), 0);
  assert_string_equal(get(l, 2).name, "first??");
  lab_pass(l, 7);
  assert_int_equal(km_trust_request(l->store, &two, "second", NULL), 0);
  lab_reopen(l);
  km_trust_info info = get(l, 2);
  assert_int_equal(info.state, KM_TRUST_PENDING);
  assert_string_equal(info.name, "second");
  assert_int_equal(info.since, START_S);
  assert_int_equal(info.last_seen, START_S + 7);
  assert_int_equal(km_trust_approve(l->store, &three, NULL), KM_ERR_NOT_FOUND);
  assert_int_equal(km_trust_approve(l->store, &two, NULL), 0);
  assert_int_equal(get(l, 2).state, KM_TRUST_TRUSTED);
  assert_int_equal(get(l, 2).origin, KM_TRUST_BY_APPROVAL);
  assert_int_equal(km_trust_deny(l->store, &two, NULL), KM_ERR_NOT_FOUND);

  assert_int_equal(km_trust_request(l->store, &three, NULL, NULL), 0);
  assert_int_equal(km_trust_deny(l->store, &three, NULL), 0);
  assert_int_equal(state_of(l, 3), KM_TRUST_BLOCKED);
  /* Neither asks again. */
  assert_int_equal(km_trust_request(l->store, &two, "x", NULL), 0);
  assert_int_equal(km_trust_request(l->store, &three, "x", NULL), 0);
  assert_int_equal(state_of(l, 2), KM_TRUST_TRUSTED);
  assert_string_equal(get(l, 2).name, "second");
  assert_int_equal(state_of(l, 3), KM_TRUST_BLOCKED);
}

static void a_thousand_requests_are_kept_the_oldest_go(void **state) {
  lab *l = *state;
  for (unsigned n = 2; n < 1007; n++) {
    km_id id = lab_id(n);
    lab_pass(l, 1);
    assert_int_equal(km_trust_request(l->store, &id, NULL, NULL), 0);
    if (n == 4) {
      trust(l, n); /* is no request any more */
    }
  }
  assert_int_equal(state_of(l, 2), KM_TRUST_UNKNOWN);
  assert_int_equal(state_of(l, 3), KM_TRUST_UNKNOWN);
  assert_int_equal(state_of(l, 4), KM_TRUST_TRUSTED);
  assert_int_equal(state_of(l, 5), KM_TRUST_UNKNOWN);
  assert_int_equal(state_of(l, 6), KM_TRUST_UNKNOWN);
  assert_int_equal(state_of(l, 7), KM_TRUST_PENDING);
  assert_int_equal(state_of(l, 1006), KM_TRUST_PENDING);
}

static void first_use_is_remembered_and_takes_nothing_away(void **state) {
  lab *l = *state;
  km_id ids[5];
  for (unsigned n = 0; n < 5; n++) {
    ids[n] = lab_id(n + 2);
  }
  assert_int_equal(km_trust_first_use(l->store, &ids[0], "new", NULL), 0);
  lab_reopen(l);
  assert_int_equal(get(l, 2).state, KM_TRUST_TRUSTED);
  assert_int_equal(get(l, 2).origin, KM_TRUST_BY_FIRST_USE);
  assert_string_equal(get(l, 2).name, "new");
  assert_int_equal(km_trust_block(l->store, &ids[1], NULL, NULL), 0);
  assert_int_equal(km_trust_first_use(l->store, &ids[1], "x", NULL), 0);
  assert_int_equal(state_of(l, 3), KM_TRUST_BLOCKED);
  assert_int_equal(km_trust_add(l->store, &ids[2], NULL, NULL, START_S + 5, NULL), 0);
  lab_pass(l, 10);
  assert_int_equal(km_trust_first_use(l->store, &ids[2], "x", NULL), 0);
  assert_int_equal(state_of(l, 4), KM_TRUST_UNKNOWN); /* expired, as before */
  /* Where first use does not count any more, they ask like all others. */
  assert_int_equal(km_trust_request(l->store, &ids[0], NULL, NULL), 0);
  assert_int_equal(state_of(l, 2), KM_TRUST_PENDING);
  assert_int_equal(km_trust_first_use(l->store, &ids[0], NULL, NULL), 0);
  assert_int_equal(state_of(l, 2), KM_TRUST_TRUSTED);
}

static void count_since_0(void *ctx, const km_trust_info *info) {
  *(unsigned *)ctx += info->since == 0;
}

static void ten_thousand_first_uses_are_remembered(void **state) {
  lab *l = *state;
  char sql[256];
  (void)snprintf(sql, sizeof sql,
                 "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 9999)"
                 " INSERT INTO trust SELECT randomblob(32), %d, %d, '', '', i, 0, i FROM n",
                 KM_TRUST_TRUSTED, KM_TRUST_BY_FIRST_USE);
  assert_int_equal(km_db_exec(l->store->db, sql, NULL), 0);
  trust(l, 3);
  km_id two = lab_id(2);
  heard h = {0};
  km_trust_on_change(l->store, on_change, &h);
  assert_int_equal(km_trust_first_use(l->store, &two, NULL, NULL), 0);
  assert_int_equal(h.changes, 2); /* of the oldest, too */
  unsigned oldest = 0;
  assert_int_equal(km_trust_list(l->store, KM_TRUST_TRUSTED, count_since_0, &oldest, NULL), 10001);
  assert_int_equal(oldest, 0);
  assert_int_equal(state_of(l, 2), KM_TRUST_TRUSTED);
  assert_int_equal(state_of(l, 3), KM_TRUST_TRUSTED);
}

/* --- recommendations -------------------------------------------------------------------------- */

static void recommendations_of_the_trusted_count(void **state) {
  lab *l = *state;
  km_id four = lab_id(4), five = lab_id(5), six = lab_id(6);
  trust(l, 2);
  assert_int_equal(hear(l, 2, KM_STATEMENT_RECOMMEND, 10), KM_STATEMENT_NEW);
  assert_int_equal(ask(l, 10).recommended_by, 1);
  assert_int_equal(hear(l, 99, KM_STATEMENT_RECOMMEND, 10), KM_STATEMENT_NEW); /* configured */
  assert_int_equal(ask(l, 10).recommended_by, 2);
  assert_int_equal(hear(l, 3, KM_STATEMENT_RECOMMEND, 10), KM_STATEMENT_NEW); /* unknown now */
  assert_int_equal(ask(l, 10).recommended_by, 2);
  trust(l, 3);
  assert_int_equal(ask(l, 10).recommended_by, 3);
  assert_int_equal(km_trust_request(l->store, &four, NULL, NULL), 0);
  assert_int_equal(km_trust_approve(l->store, &four, NULL), 0);
  assert_int_equal(hear(l, 4, KM_STATEMENT_RECOMMEND, 10), KM_STATEMENT_NEW);
  assert_int_equal(ask(l, 10).recommended_by, 4);
  /* First use does not count, nor does what we say ourselves, nor who was himself recommended. */
  assert_int_equal(km_trust_first_use(l->store, &five, NULL, NULL), 0);
  assert_int_equal(hear(l, 5, KM_STATEMENT_RECOMMEND, 10), KM_STATEMENT_NEW);
  km_id ten = lab_id(10);
  assert_int_equal(km_trust_recommend(l->store, &ten, NULL, 0, NULL), 0);
  assert_int_equal(hear(l, 2, KM_STATEMENT_RECOMMEND, 6), KM_STATEMENT_NEW);
  assert_int_equal(hear(l, 3, KM_STATEMENT_RECOMMEND, 6), KM_STATEMENT_NEW);
  assert_int_equal(km_trust_request(l->store, &six, NULL, NULL), 0);
  assert_int_equal(hear(l, 6, KM_STATEMENT_RECOMMEND, 10), KM_STATEMENT_NEW);
  assert_int_equal(ask(l, 10).recommended_by, 4);
  /* All of it after a restart, and the list says so too. */
  lab_reopen(l);
  assert_int_equal(ask(l, 10).recommended_by, 4);
  assert_int_equal(km_trust_request(l->store, &ten, NULL, NULL), 0);
  assert_int_equal(get(l, 10).recommended_by, 3);
  km_trust_on_configured(l->store, configured, l);
  assert_int_equal(get(l, 10).recommended_by, 4);
  km_id blocked = lab_id(99);
  assert_int_equal(km_trust_block(l->store, &blocked, NULL, NULL), 0);
  assert_int_equal(ask(l, 10).recommended_by, 3);
}

static void recommendations_end(void **state) {
  lab *l = *state;
  km_id two = lab_id(2), three = lab_id(3);
  assert_int_equal(km_trust_add(l->store, &two, NULL, NULL, START_S + 50, NULL), 0);
  trust(l, 3);
  trust(l, 4);
  trust(l, 5);
  trust(l, 6);
  for (unsigned n = 2; n < 6; n++) {
    assert_int_equal(hear(l, n, KM_STATEMENT_RECOMMEND, 10), KM_STATEMENT_NEW);
  }
  km_statement brief = statement(6, KM_STATEMENT_RECOMMEND, 10, START_S, START_S + 100, "x");
  assert_int_equal(take(l, &brief), KM_STATEMENT_NEW);
  assert_int_equal(ask(l, 10).recommended_by, 5);
  lab_pass(l, 50); /* trust in 2 expired */
  assert_int_equal(ask(l, 10).recommended_by, 4);
  lab_pass(l, 50); /* what 6 said expired */
  assert_int_equal(ask(l, 10).recommended_by, 3);
  assert_int_equal(km_trust_block(l->store, &three, NULL, NULL), 0);
  assert_int_equal(ask(l, 10).recommended_by, 2);
  assert_int_equal(hear(l, 4, KM_STATEMENT_WITHDRAW, 10), KM_STATEMENT_NEW);
  assert_int_equal(ask(l, 10).recommended_by, 1);
  assert_int_equal(hear(l, 5, KM_STATEMENT_REVOKE, 10), KM_STATEMENT_NEW);
  assert_int_equal(ask(l, 10).recommended_by, 0);
  assert_int_equal(take(l, &brief), KM_STATEMENT_REFUSED);
}

static void an_older_statement_never_comes_back(void **state) {
  lab *l = *state;
  trust(l, 2);
  km_statement yes = statement(2, KM_STATEMENT_RECOMMEND, 10, START_S, START_S + DAY, "");
  km_statement no = statement(2, KM_STATEMENT_WITHDRAW, 10, START_S + 1, START_S + DAY, "");
  assert_int_equal(take(l, &yes), KM_STATEMENT_NEW);
  assert_int_equal(take(l, &yes), KM_STATEMENT_KNOWN);
  assert_int_equal(take(l, &no), KM_STATEMENT_NEW);
  assert_int_equal(take(l, &yes), KM_STATEMENT_KNOWN);
  lab_reopen(l);
  assert_int_equal(take(l, &yes), KM_STATEMENT_KNOWN);
  assert_int_equal(ask(l, 10).recommended_by, 0);
}

/* --- statements of others --------------------------------------------------------------------- */

static void what_others_say_has_to_be_timely_and_of_the_trusted(void **state) {
  lab *l = *state;
  trust(l, 2);
  km_statement soon = statement(2, KM_STATEMENT_RECOMMEND, 10, START_S + 60, START_S + DAY, "");
  km_statement late = statement(2, KM_STATEMENT_RECOMMEND, 11, START_S + 61, START_S + DAY, "");
  km_statement over = statement(2, KM_STATEMENT_RECOMMEND, 12, START_S - 9, START_S, "");
  assert_int_equal(take(l, &soon), KM_STATEMENT_NEW);
  assert_int_equal(take(l, &late), KM_STATEMENT_REFUSED);
  assert_int_equal(take(l, &over), KM_STATEMENT_REFUSED);
  km_statement s = statement(3, KM_STATEMENT_RECOMMEND, 10, START_S, START_S + DAY, "");
  assert_int_equal(km_trust_take(l->store, &s, false, true, false, NULL), KM_STATEMENT_REFUSED);
  km_id three = lab_id(3);
  assert_int_equal(km_trust_block(l->store, &three, NULL, NULL), 0);
  assert_int_equal(take(l, &s), KM_STATEMENT_REFUSED); /* whatever the caller thinks of it */
  assert_int_equal(statements(l), 1);
}

static void names_are_announced(void **state) {
  lab *l = *state;
  char buf[KM_PEER_NAME_MAX + 1];
  km_id two = lab_id(2), three = lab_id(3);
  km_statement s = statement(2, KM_STATEMENT_ANNOUNCE, 2, START_S, 0, "alpha");
  assert_string_equal(km_trust_name(l->store, &two, buf), "");
  assert_int_equal(km_trust_take(l->store, &s, false, false, false, NULL), KM_STATEMENT_REFUSED);
  assert_int_equal(km_trust_first_use(l->store, &two, NULL, NULL), 0);
  assert_int_equal(km_trust_take(l->store, &s, false, false, false, NULL), KM_STATEMENT_NEW);
  assert_string_equal(km_trust_name(l->store, &two, buf), "alpha");
  assert_int_equal(km_trust_add(l->store, &two, "my own name for it", NULL, 0, NULL), 0);
  assert_string_equal(km_trust_name(l->store, &two, buf), "my own name for it");
  assert_int_equal(km_trust_request(l->store, &three, "claimed", NULL), 0);
  assert_string_equal(km_trust_name(l->store, &three, buf), "");
  km_id own = lab_id(1);
  assert_int_equal(km_trust_announce(l->store, "our name", NULL), 0);
  assert_int_equal(km_trust_announce(l->store, "our other name", NULL), 0);
  assert_string_equal(km_trust_name(l->store, &own, buf), "our other name");
  assert_int_equal(statements(l), 2);
}

static void revocations_block_where_they_are_taken(void **state) {
  lab *l = *state;
  km_id eleven = lab_id(11);
  trust(l, 2);
  trust(l, 10);
  km_statement s = statement(2, KM_STATEMENT_REVOKE, 10, START_S, 0, "stolen");
  assert_int_equal(km_trust_take(l->store, &s, true, false, false, NULL), KM_STATEMENT_NEW);
  assert_int_equal(state_of(l, 10), KM_TRUST_TRUSTED);
  s = statement(2, KM_STATEMENT_REVOKE, 10, START_S + 1, 0, "stolen");
  assert_int_equal(km_trust_take(l->store, &s, true, true, true, NULL), KM_STATEMENT_NEW);
  assert_int_equal(state_of(l, 10), KM_TRUST_TRUSTED); /* it is configured here */
  s = statement(2, KM_STATEMENT_REVOKE, 10, START_S + 2, 0, "stolen");
  assert_int_equal(km_trust_take(l->store, &s, false, true, false, NULL), KM_STATEMENT_REFUSED);
  assert_int_equal(take(l, &s), KM_STATEMENT_NEW);
  lab_reopen(l);
  assert_int_equal(get(l, 10).state, KM_TRUST_BLOCKED);
  assert_int_equal(get(l, 10).origin, KM_TRUST_BY_REVOCATION);
  assert_string_equal(get(l, 10).note, "stolen");
  /* By hand it is let in again, and the same revocation does not undo that. */
  trust(l, 10);
  assert_int_equal(take(l, &s), KM_STATEMENT_KNOWN);
  assert_int_equal(state_of(l, 10), KM_TRUST_TRUSTED);
  /* Who is blocked by hand stays so; we ourselves cannot be revoked. */
  assert_int_equal(km_trust_block(l->store, &eleven, "mine", NULL), 0);
  assert_int_equal(hear(l, 2, KM_STATEMENT_REVOKE, 11), KM_STATEMENT_NEW);
  assert_int_equal(get(l, 11).origin, KM_TRUST_BY_HAND);
  assert_string_equal(get(l, 11).note, "mine");
  assert_int_equal(hear(l, 2, KM_STATEMENT_REVOKE, 1), KM_STATEMENT_NEW);
  assert_int_equal(state_of(l, 1), KM_TRUST_UNKNOWN);
}

static void an_author_has_256_statements_and_revocations_find_room(void **state) {
  lab *l = *state;
  trust(l, 2);
  trust(l, 3);
  for (unsigned n = 0; n < 256; n++) {
    assert_int_equal(hear(l, 2, KM_STATEMENT_RECOMMEND, 1000 + n), KM_STATEMENT_NEW);
  }
  assert_int_equal(hear(l, 2, KM_STATEMENT_RECOMMEND, 2000), KM_STATEMENT_REFUSED);
  assert_int_equal(hear(l, 3, KM_STATEMENT_RECOMMEND, 2000), KM_STATEMENT_NEW);
  assert_int_equal(hear(l, 2, KM_STATEMENT_REVOKE, 2000), KM_STATEMENT_NEW);
  assert_int_equal(state_of(l, 2000), KM_TRUST_BLOCKED);
  assert_int_equal(statements(l), 257);
  lab_pass(l, 1);
  assert_int_equal(hear(l, 2, KM_STATEMENT_WITHDRAW, 1255), KM_STATEMENT_NEW); /* in its place */
  assert_int_equal(statements(l), 257);
  lab_pass(l, DAY); /* what is expired makes room by itself */
  assert_int_equal(hear(l, 2, KM_STATEMENT_RECOMMEND, 3000), KM_STATEMENT_NEW);
}

/* It is what keeps the recommendation from coming back. */
static void withdrawals_are_never_dropped_for_room(void **state) {
  lab *l = *state;
  trust(l, 2);
  km_statement yes = statement(2, KM_STATEMENT_RECOMMEND, 10, START_S, START_S + DAY, "");
  km_statement no = statement(2, KM_STATEMENT_WITHDRAW, 10, START_S + 1, START_S + DAY + 1, "");
  assert_int_equal(take(l, &yes), KM_STATEMENT_NEW);
  assert_int_equal(take(l, &no), KM_STATEMENT_NEW);
  for (unsigned n = 0; n < 255; n++) {
    assert_int_equal(hear(l, 2, KM_STATEMENT_REVOKE, 1000 + n), KM_STATEMENT_NEW);
  }
  assert_int_equal(hear(l, 2, KM_STATEMENT_REVOKE, 2000), KM_STATEMENT_REFUSED);
  assert_int_equal(take(l, &yes), KM_STATEMENT_KNOWN);
  assert_int_equal(ask(l, 10).recommended_by, 0);
}

static void revocations_are_never_dropped_for_room(void **state) {
  lab *l = *state;
  trust(l, 2);
  for (unsigned n = 0; n < 256; n++) {
    assert_int_equal(hear(l, 2, KM_STATEMENT_REVOKE, 1000 + n), KM_STATEMENT_NEW);
  }
  assert_int_equal(hear(l, 2, KM_STATEMENT_REVOKE, 2000), KM_STATEMENT_REFUSED);
  assert_int_equal(state_of(l, 2000), KM_TRUST_UNKNOWN);
  assert_int_equal(statements(l), 256);
}

static void cleanup_drops_what_is_expired(void **state) {
  lab *l = *state;
  trust(l, 2);
  assert_int_equal(hear(l, 2, KM_STATEMENT_RECOMMEND, 10), KM_STATEMENT_NEW);
  assert_int_equal(hear(l, 2, KM_STATEMENT_REVOKE, 11), KM_STATEMENT_NEW);
  assert_int_equal(km_trust_cleanup(l->store, NULL), 0);
  lab_pass(l, DAY);
  assert_int_equal(statements(l), 1);
  assert_int_equal(km_trust_cleanup(l->store, NULL), 1);
  assert_int_equal(km_trust_cleanup(l->store, NULL), 0);
  assert_int_equal(state_of(l, 11), KM_TRUST_BLOCKED);
}

static void what_the_blocked_said_is_not_passed_on(void **state) {
  lab *l = *state;
  km_id two = lab_id(2);
  trust(l, 2);
  assert_int_equal(hear(l, 2, KM_STATEMENT_RECOMMEND, 10), KM_STATEMENT_NEW);
  assert_int_equal(statements(l), 1);
  assert_int_equal(km_trust_block(l->store, &two, NULL, NULL), 0);
  assert_int_equal(statements(l), 0);
}

/* --- our own statements ----------------------------------------------------------------------- */

static void what_we_say_is_signed_kept_and_later_than_before(void **state) {
  lab *l = *state;
  km_id ten = lab_id(10);
  heard h = {0};
  km_trust_on_change(l->store, on_change, &h);
  assert_int_equal(km_trust_withdraw(l->store, &ten, NULL), KM_ERR_NOT_FOUND);
  assert_int_equal(km_trust_recommend(l->store, &ten, "ten", 0, NULL), 0);
  assert_int_equal(h.kind, KM_STATEMENT_RECOMMEND);
  assert_int_equal(km_trust_withdraw(l->store, &ten, NULL), 0);
  assert_int_equal(h.kind, KM_STATEMENT_WITHDRAW);
  assert_int_equal(km_trust_recommend(l->store, &ten, "ten", 0, NULL), 0);
  assert_int_equal(statements(l), 1);
  assert_int_equal(km_trust_revoke(l->store, &ten, "gone", NULL), 0);
  assert_int_equal(h.kind, KM_STATEMENT_REVOKE);
  assert_true(km_id_equal(&h.last, &ten));
  assert_int_equal(h.changes, 4);
  assert_int_equal(h.statements, 4);
  assert_int_equal(get(l, 10).state, KM_TRUST_BLOCKED);
  assert_string_equal(get(l, 10).note, "gone");
  lab_reopen(l);
  assert_int_equal(statements(l), 1);
}

/* The one about the subject that `*ctx` names; its text is gone afterwards. */
static void note_about(void *ctx, const km_statement *s) {
  km_statement *ret = ctx;
  if (km_id_equal(&s->subject, &ret->subject)) {
    *ret = *s;
  }
}

static km_statement said_about(lab *l, unsigned n) {
  km_statement ret = {.subject = lab_id(n)};
  assert_true(km_trust_statements(l->store, note_about, &ret, NULL) >= 0);
  return ret;
}

/* What was said with a clock that was ahead was refused by all: it does not hold up what is said
 * after that. */
static void what_was_said_in_the_future_holds_nothing_up(void **state) {
  lab *l = *state;
  km_id ten = lab_id(10);
  lab_pass(l, 2 * DAY);
  assert_int_equal(km_trust_recommend(l->store, &ten, NULL, 0, NULL), 0);
  lab_pass(l, -2 * DAY);
  assert_int_equal(km_trust_revoke(l->store, &ten, NULL, NULL), 0);
  km_statement last = said_about(l, 10);
  assert_int_equal(last.kind, KM_STATEMENT_REVOKE);
  assert_int_equal(last.at, lab_now(l));
  /* Within what others accept, or what a clock may have fallen by, it is later, as ever. */
  static const int64_t ahead[] = {60, DAY - 1};
  for (unsigned i = 0; i < COUNT_OF(ahead); i++) {
    km_id id = lab_id(11 + i);
    lab_pass(l, ahead[i]);
    assert_int_equal(km_trust_recommend(l->store, &id, NULL, 0, NULL), 0);
    lab_pass(l, -ahead[i]);
    assert_int_equal(km_trust_withdraw(l->store, &id, NULL), 0);
    last = said_about(l, 11 + i);
    assert_int_equal(last.kind, KM_STATEMENT_WITHDRAW);
    assert_int_equal(last.at, START_S + ahead[i] + 1);
  }
  /* It has to end after that. */
  km_id id = lab_id(13);
  km_errinfo err = {0};
  lab_pass(l, DAY - 1);
  assert_int_equal(km_trust_revoke(l->store, &id, NULL, NULL), 0);
  lab_pass(l, 1 - DAY);
  assert_int_equal(km_trust_recommend(l->store, &id, NULL, START_S + DAY / 2, &err),
                   KM_ERR_INVALID);
  assert_non_null(strstr(err.text, "clock is 86400 s behind"));
}

typedef struct order {
  uint8_t seen[64][KM_SIGNATURE_BYTES];
  unsigned count;
} order;

static void note_order(void *ctx, const km_statement *s) {
  order *o = ctx;
  assert_true(o->count < 64);
  memcpy(o->seen[o->count++], s->sig, KM_SIGNATURE_BYTES);
}

static void statements_are_given_in_parts(void **state) {
  lab *l = *state;
  for (unsigned n = 0; n < 40; n++) {
    unsigned author = 2 + n % 3;
    assert_int_equal(
        hear(l, author, n % 4 == 0 ? KM_STATEMENT_REVOKE : KM_STATEMENT_RECOMMEND, 100 + n),
        KM_STATEMENT_NEW);
    lab_pass(l, n % 7 == 0 ? 1 : 0);
  }
  static order all, parts;
  all.count = parts.count = 0;
  int64_t count = km_trust_statements(l->store, note_order, &all, NULL);
  assert_int_equal(count, all.count);
  assert_true(count > 20);
  km_statement_place place = {.begun = false};
  int64_t given;
  while ((given = km_trust_statements_next(l->store, &place, 7, note_order, &parts, NULL)) > 0) {
    assert_true(given == 7 || given == (int64_t)all.count % 7);
  }
  assert_int_equal(given, 0);
  assert_int_equal(parts.count, all.count);
  assert_memory_equal(parts.seen, all.seen, all.count * sizeof all.seen[0]);
}

static void who_has_said_too_much_can_still_block(void **state) {
  lab *l = *state;
  for (unsigned n = 0; n < 256; n++) {
    km_id id = lab_id(1000 + n);
    assert_int_equal(km_trust_revoke(l->store, &id, NULL, NULL), 0);
  }
  km_id last = lab_id(2000);
  km_errinfo err = {0};
  heard h = {0};
  km_trust_on_change(l->store, on_change, &h);
  assert_int_equal(km_trust_recommend(l->store, &last, NULL, 0, NULL), KM_ERR_LIMIT);
  assert_int_equal(km_trust_revoke(l->store, &last, "late", &err), KM_ERR_LIMIT);
  assert_non_null(strstr(err.text, "blocked here"));
  assert_int_equal(h.changes, 1);
  assert_int_equal(h.statements, 0);
  lab_reopen(l);
  assert_int_equal(state_of(l, 2000), KM_TRUST_BLOCKED);
  assert_int_equal(statements(l), 256);
}

/* Another node believes what we say in one and the same second. */
typedef struct carry {
  lab *to;
  unsigned taken;
} carry;

static void carry_over(void *ctx, const km_id *id, const km_statement *s) {
  carry *c = ctx;
  (void)id;
  if (s != NULL) {
    c->taken += take(c->to, s) == KM_STATEMENT_NEW;
  }
}

static void others_follow_what_we_say(void **state) {
  lab *l = *state;
  void *other_state;
  assert_int_equal(lab_set_up(&other_state), 0);
  lab *other = other_state;
  km_store_close(other->store);
  assert_int_equal(unlink(other->path), 0);
  other->owner = 2;
  lab_open(other);
  km_id one = lab_id(1), ten = lab_id(10);
  assert_int_equal(km_trust_add(other->store, &one, NULL, NULL, 0, NULL), 0);
  carry c = {.to = other};
  km_trust_on_change(l->store, carry_over, &c);
  assert_int_equal(km_trust_recommend(l->store, &ten, "ten", 0, NULL), 0);
  assert_int_equal(ask(other, 10).recommended_by, 1);
  assert_int_equal(km_trust_withdraw(l->store, &ten, NULL), 0);
  assert_int_equal(ask(other, 10).recommended_by, 0);
  assert_int_equal(km_trust_recommend(l->store, &ten, "ten", 0, NULL), 0);
  assert_int_equal(ask(other, 10).recommended_by, 1);
  assert_int_equal(km_trust_revoke(l->store, &ten, NULL, NULL), 0);
  assert_int_equal(state_of(other, 10), KM_TRUST_BLOCKED);
  assert_int_equal(c.taken, 4);
  assert_int_equal(lab_tear_down(&other_state), 0);
}

static void changes_are_told_once_each(void **state) {
  lab *l = *state;
  heard h = {0};
  km_id two = lab_id(2), three = lab_id(3);
  km_trust_on_change(l->store, on_change, &h);
  assert_int_equal(km_trust_request(l->store, &two, NULL, NULL), 0);
  assert_int_equal(h.changes, 1);
  lab_pass(l, 1);
  assert_int_equal(km_trust_request(l->store, &two, NULL, NULL), 0); /* nothing new */
  assert_int_equal(h.changes, 1);
  assert_int_equal(km_trust_approve(l->store, &two, NULL), 0);
  assert_int_equal(km_trust_add(l->store, &two, NULL, NULL, 0, NULL), 0);
  assert_int_equal(hear(l, 2, KM_STATEMENT_RECOMMEND, 3), KM_STATEMENT_NEW);
  assert_int_equal(h.changes, 4);
  assert_true(km_id_equal(&h.last, &three));
  assert_int_equal(hear(l, 2, KM_STATEMENT_RECOMMEND, 3), KM_STATEMENT_KNOWN);
  assert_int_equal(km_trust_block(l->store, &two, NULL, NULL), 0);
  assert_int_equal(km_trust_forget(l->store, &two, NULL), 0);
  assert_int_equal(km_trust_forget(l->store, &two, NULL), KM_ERR_NOT_FOUND);
  assert_int_equal(h.changes, 6);
  assert_int_equal(h.statements, 0);
  km_trust_on_change(l->store, NULL, NULL);
  assert_int_equal(km_trust_first_use(l->store, &three, NULL, NULL), 0);
  assert_int_equal(h.changes, 6);
}

#define LAB_TEST(name) cmocka_unit_test_setup_teardown(name, lab_set_up, lab_tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      LAB_TEST(what_is_said_by_hand_stays_after_a_restart),
      LAB_TEST(what_cannot_be_is_refused_with_a_sentence),
      LAB_TEST(an_expired_peer_counts_as_unknown),
      LAB_TEST(lists_are_by_name),
      LAB_TEST(requests_wait_for_an_answer),
      LAB_TEST(a_thousand_requests_are_kept_the_oldest_go),
      LAB_TEST(first_use_is_remembered_and_takes_nothing_away),
      LAB_TEST(ten_thousand_first_uses_are_remembered),
      LAB_TEST(recommendations_of_the_trusted_count),
      LAB_TEST(recommendations_end),
      LAB_TEST(an_older_statement_never_comes_back),
      LAB_TEST(what_others_say_has_to_be_timely_and_of_the_trusted),
      LAB_TEST(names_are_announced),
      LAB_TEST(revocations_block_where_they_are_taken),
      LAB_TEST(an_author_has_256_statements_and_revocations_find_room),
      LAB_TEST(withdrawals_are_never_dropped_for_room),
      LAB_TEST(revocations_are_never_dropped_for_room),
      LAB_TEST(cleanup_drops_what_is_expired),
      LAB_TEST(what_the_blocked_said_is_not_passed_on),
      LAB_TEST(what_we_say_is_signed_kept_and_later_than_before),
      LAB_TEST(what_was_said_in_the_future_holds_nothing_up),
      LAB_TEST(who_has_said_too_much_can_still_block),
      LAB_TEST(statements_are_given_in_parts),
      LAB_TEST(others_follow_what_we_say),
      LAB_TEST(changes_are_told_once_each),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
