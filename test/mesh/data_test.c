/* What goes over a mesh: entries as they change and after a time apart, messages, statements. Real
 * endpoints over loopback, real stores. */
#include "base/env.h"
#include "store/store_impl.h"
#include "store/trust_db.h"
#include "test/mesh/mesh_lab.h"

#define DOCS "docs"

static const km_mesh_share open_share = {.name = DOCS, .others = KM_ACCESS_WRITE};

/* Nodes of which each knows its neighbours only, as configured peers. */
static void chain(mesh_lab *l, node *nodes[], size_t count) {
  mesh_lab_open(l);
  for (size_t i = 0; i < count; i++) {
    nodes[i] = node_new(l);
    nodes[i]->opt.shares = &open_share;
    nodes[i]->opt.share_count = 1;
    nodes[i]->opt.level = KM_SECURITY_DEVELOPMENT;
    nodes[i]->opt.sync_interval_ms = 1000;
  }
  for (size_t i = 0; i < count; i++) {
    if (i > 0) {
      node_peer(nodes[i], nodes[i - 1], true);
    }
    if (i + 1 < count) {
      node_peer(nodes[i], nodes[i + 1], true);
    }
  }
}

static void start_all(mesh_lab *l, node *nodes[], size_t count) {
  for (size_t i = 0; i < count; i++) {
    node_start(nodes[i]);
  }
  for (size_t i = 0; i + 1 < count; i++) {
    WAIT(l, node_up(nodes[i], nodes[i + 1]) && node_up(nodes[i + 1], nodes[i]));
  }
}

static void put(node *n, const char *key, const char *value) {
  km_errinfo err = {0};
  if (km_kv_put(n->store, DOCS, key, value, strlen(value), &err) != 0) {
    fail_msg("put: %s", err.text);
  }
}

static bool has(node *n, const char *key, const char *value) {
  km_kv_entry e;
  int rv = km_kv_get(n->store, DOCS, key, &e, NULL);
  return value == NULL
             ? rv == KM_ERR_NOT_FOUND
             : rv == 0 && e.value_len == strlen(value) && memcmp(e.value, value, e.value_len) == 0;
}

static bool same(node *a, node *b) {
  uint8_t one[KM_KV_HASH_BYTES], two[KM_KV_HASH_BYTES];
  assert_int_equal(km_kv_hash(a->store, DOCS, one, NULL), 0);
  assert_int_equal(km_kv_hash(b->store, DOCS, two, NULL), 0);
  return memcmp(one, two, sizeof one) == 0;
}

static void put_many(node *n, const char *prefix, unsigned count) {
  assert_int_equal(km_kv_begin(n->store, NULL), 0);
  for (unsigned i = 0; i < count; i++) {
    char key[64];
    snprintf(key, sizeof key, "%s/%06u", prefix, i);
    put(n, key, key);
  }
  assert_int_equal(km_kv_commit(n->store, NULL), 0);
}

/* --- entries --------------------------------------------------------------------------------- */

static void what_is_written_appears_at_the_other(void **state) {
  (void)state;
  mesh_lab l;
  node *n[2];
  chain(&l, n, 2);
  start_all(&l, n, 2);
  put(n[0], "from-a", "1");
  put(n[1], "from-b", "2");
  WAIT(&l, has(n[1], "from-a", "1") && has(n[0], "from-b", "2"));
  put(n[0], "from-b", "3");
  WAIT(&l, has(n[1], "from-b", "3"));
  assert_int_equal(km_kv_delete(n[1]->store, DOCS, "from-a", NULL), 0);
  WAIT(&l, has(n[0], "from-a", NULL));
  assert_true(same(n[0], n[1]));
  mesh_lab_close(&l);
}

static void edits_made_apart_are_merged(void **state) {
  (void)state;
  mesh_lab l;
  node *n[2];
  chain(&l, n, 2);
  put_many(n[0], "a", 300);
  put_many(n[1], "b", 200);
  put(n[0], "both", "older");
  mesh_lab_run(&l, 5);
  put(n[1], "both", "newer");
  start_all(&l, n, 2);
  WAIT(&l, same(n[0], n[1]));
  assert_true(has(n[0], "both", "newer") && has(n[1], "a/000299", "a/000299"));
  node_stop(n[1]);
  put(n[0], "while-away", "x");
  put(n[1], "b/000007", "changed");
  node_start(n[1]);
  WAIT(&l, has(n[1], "while-away", "x") && has(n[0], "b/000007", "changed"));
  WAIT(&l, same(n[0], n[1]));
  mesh_lab_close(&l);
}

static void it_reaches_those_who_do_not_know_the_author(void **state) {
  (void)state;
  mesh_lab l;
  node *n[4];
  chain(&l, n, 4);
  start_all(&l, n, 4);
  put(n[0], "far", "away");
  put(n[3], "back", "again");
  WAIT(&l, has(n[3], "far", "away") && has(n[0], "back", "again"));
  km_kv_entry e;
  assert_int_equal(km_kv_get(n[3]->store, DOCS, "far", &e, NULL), 0);
  assert_true(km_id_equal(&e.author, &n[0]->id) && !e.own);
  assert_int_equal(km_kv_verify(n[3]->store, DOCS, "far", NULL), 0);
  assert_true(node_stats(n[1]).entries_relayed > 0);
  mesh_lab_close(&l);
}

static void a_flood_of_changes_becomes_a_synchronization(void **state) {
  (void)state;
  mesh_lab l;
  node *n[2];
  chain(&l, n, 2);
  start_all(&l, n, 2);
  put_many(n[0], "bulk", 5000);
  WAIT(&l, same(n[0], n[1]));
  assert_true(has(n[1], "bulk/004999", "bulk/004999"));
  assert_true(node_stats(n[0]).syncs > 0);
  /* The rate of pushed entries is 10 a second with 600 at once: it did not take minutes. */
  mesh_lab_close(&l);
}

static void who_may_only_read_writes_nothing_here(void **state) {
  (void)state;
  mesh_lab l;
  node *n[2];
  chain(&l, n, 2);
  static const km_mesh_share closed = {.name = DOCS, .others = KM_ACCESS_NONE};
  static const km_mesh_grant read = {.share = DOCS, .access = KM_ACCESS_READ};
  static const km_mesh_grant write = {.share = DOCS, .access = KM_ACCESS_WRITE};
  n[0]->opt.shares = n[1]->opt.shares = &closed;
  n[0]->peers[0].grants = &read;
  n[1]->peers[0].grants = &write;
  n[0]->peers[0].grant_count = n[1]->peers[0].grant_count = 1;
  put(n[1], "before", "of the reader");
  start_all(&l, n, 2);
  put(n[0], "mine", "1");
  put(n[1], "theirs", "2");
  WAIT(&l, has(n[1], "mine", "1"));
  WAIT(&l, node_status(n[0], n[1]).faults.forbidden > 0);
  assert_true(has(n[0], "theirs", NULL) && has(n[0], "before", NULL));
  assert_int_equal(km_mesh_access(n[0]->mesh, &n[1]->id, DOCS, NULL), KM_ACCESS_READ);
  mesh_lab_close(&l);
}

static void a_share_that_is_not_granted_stays_here(void **state) {
  (void)state;
  mesh_lab l;
  node *n[2];
  chain(&l, n, 2);
  static const km_mesh_share two[] = {{.name = DOCS, .others = KM_ACCESS_WRITE},
                                      {.name = "private", .others = KM_ACCESS_NONE}};
  static const km_mesh_share all[] = {{.name = DOCS, .others = KM_ACCESS_WRITE},
                                      {.name = "private", .others = KM_ACCESS_WRITE}};
  n[0]->opt.shares = two;
  n[1]->opt.shares = all;
  n[0]->opt.share_count = n[1]->opt.share_count = 2;
  assert_int_equal(km_kv_put(n[0]->store, "private", "secret", "s", 1, NULL), 0);
  start_all(&l, n, 2);
  assert_int_equal(km_kv_put(n[0]->store, "private", "later", "s", 1, NULL), 0);
  put(n[0], "public", "p");
  WAIT(&l, has(n[1], "public", "p"));
  assert_int_equal(km_mesh_sync(n[1]->mesh, NULL), 0);
  mesh_lab_run(&l, 300);
  assert_int_equal(km_kv_list(n[1]->store, "private", NULL, NULL, NULL, NULL), 0);
  mesh_lab_close(&l);
}

/* --- messages -------------------------------------------------------------------------------- */

typedef struct inbox {
  unsigned count;
  char last[64];
  km_id sender;
} inbox;

static inbox inboxes[LAB_NODES];

static void count_one(void *ctx, const km_message *m) {
  (void)m;
  (*(unsigned *)ctx)++;
}

static unsigned waiting(node *n) {
  unsigned count = 0;
  assert_true(km_message_waiting(n->store, count_one, &count, NULL) >= 0);
  return count;
}

static void on_message(void *ctx, km_mesh *mesh, const km_message *m) {
  (void)mesh;
  const node *n = ctx;
  for (size_t i = 0; i < n->lab->node_count; i++) {
    if (n->lab->nodes[i] == n) {
      inboxes[i].count++;
      inboxes[i].sender = m->sender;
      snprintf(inboxes[i].last, sizeof inboxes[i].last, "%s %s", m->type, m->body);
    }
  }
}

static void take_messages(node *nodes[], size_t count) {
  memset(inboxes, 0, sizeof inboxes);
  for (size_t i = 0; i < count; i++) {
    nodes[i]->opt.callbacks.on_message = on_message;
  }
}

static void a_message_waits_for_its_receiver_and_comes_once(void **state) {
  (void)state;
  mesh_lab l;
  node *n[2];
  chain(&l, n, 2);
  take_messages(n, 2);
  node_start(n[0]);
  uint8_t id[KM_MESSAGE_ID_BYTES];
  assert_int_equal(km_message_send(n[0]->store, &n[1]->id, "greet", "{\"n\":1}", 0, id, NULL), 0);
  assert_int_equal(waiting(n[0]), 1);
  mesh_lab_run(&l, 100);
  node_start(n[1]);
  WAIT(&l, inboxes[1].count == 1);
  assert_string_equal(inboxes[1].last, "greet {\"n\":1}");
  assert_true(km_id_equal(&inboxes[1].sender, &n[0]->id));
  WAIT(&l, waiting(n[0]) == 0);
  node_stop(n[1]);
  node_start(n[1]);
  WAIT(&l, node_up(n[0], n[1]) && node_up(n[1], n[0]));
  mesh_lab_run(&l, 200);
  assert_int_equal(inboxes[1].count, 1);
  assert_int_equal(km_message_send(n[1]->store, &n[0]->id, "re", "[]", 0, NULL, NULL), 0);
  WAIT(&l, inboxes[0].count == 1);
  mesh_lab_close(&l);
}

static void a_large_message_arrives_whole(void **state) {
  (void)state;
  mesh_lab l;
  node *n[2];
  chain(&l, n, 2);
  take_messages(n, 2);
  start_all(&l, n, 2);
  size_t len = KM_MESSAGE_BODY_MAX;
  char *body = malloc(len + 1);
  assert_non_null(body);
  memset(body, 'x', len);
  body[0] = body[len - 1] = '"';
  body[len] = '\0';
  assert_int_equal(km_message_send(n[0]->store, &n[1]->id, "large", body, 0, NULL, NULL), 0);
  put(n[0], "beside", "it");
  WAIT(&l, inboxes[1].count == 1 && has(n[1], "beside", "it"));
  free(body);
  WAIT(&l, waiting(n[0]) == 0);
  mesh_lab_close(&l);
}

static void a_broadcast_reaches_everybody_once(void **state) {
  (void)state;
  mesh_lab l;
  node *n[4];
  chain(&l, n, 4);
  node_peer(n[0], n[3], true); /* a ring: it comes from two sides */
  node_peer(n[3], n[0], true);
  take_messages(n, 4);
  for (size_t i = 0; i < 3; i++) {
    node_start(n[i]);
  }
  WAIT(&l, node_up(n[0], n[1]) && node_up(n[1], n[2]) && node_up(n[2], n[1]));
  assert_int_equal(km_message_broadcast(n[0]->store, "news", "1", 0, NULL, NULL), 0);
  WAIT(&l, inboxes[1].count == 1 && inboxes[2].count == 1);
  node_start(n[3]); /* late, and still */
  WAIT(&l, inboxes[3].count == 1);
  WAIT(&l, node_up(n[3], n[0]) && node_up(n[3], n[2]));
  mesh_lab_run(&l, 300);
  assert_int_equal(inboxes[0].count, 0);
  for (size_t i = 1; i < 4; i++) {
    assert_int_equal(inboxes[i].count, 1);
    assert_true(km_id_equal(&inboxes[i].sender, &n[0]->id));
  }
  mesh_lab_close(&l);
}

/* --- trust ----------------------------------------------------------------------------------- */

static bool knows_name(node *n, const node *of, const char *name) {
  km_peer_status s = {.size = sizeof s};
  return km_peer_get(n->mesh, &of->id, &s) == 0 && strcmp(s.name, name) == 0;
}

static void recommended_by_enough_it_is_let_in(void **state) {
  (void)state;
  mesh_lab l;
  node *n[2];
  chain(&l, n, 2);
  n[1]->opt.level = KM_SECURITY_SECURE;
  n[1]->opt.recommend_threshold = 1;
  /* A stranger that 1 does not know, and that 0 recommends. */
  node *stranger = node_new(&l);
  stranger->opt.shares = &open_share;
  stranger->opt.share_count = 1;
  stranger->opt.level = KM_SECURITY_DEVELOPMENT;
  node_peer(stranger, n[1], true);
  start_all(&l, n, 2);
  node_start(stranger);
  WAIT(&l, node_status(stranger, n[1]).state == KM_PEER_REFUSED);
  WAIT(&l, n[1]->requests == 1);
  assert_int_equal(km_trust_recommend(n[0]->store, &stranger->id, "newcomer", 0, NULL), 0);
  WAIT(&l, node_up(stranger, n[1]) && node_up(n[1], stranger));
  /* Taken back, it is cut. */
  assert_int_equal(km_trust_revoke(n[0]->store, &stranger->id, "lost", NULL), 0);
  WAIT(&l, !node_up(n[1], stranger));
  mesh_lab_close(&l);
}

static void names_spread(void **state) {
  (void)state;
  mesh_lab l;
  node *n[3];
  chain(&l, n, 3);
  start_all(&l, n, 3);
  assert_int_equal(km_trust_announce(n[0]->store, "kitchen", NULL), 0);
  WAIT(&l, knows_name(n[1], n[0], "kitchen"));
  mesh_lab_close(&l);
}

static void a_revocation_spreads_to_those_who_take_it(void **state) {
  (void)state;
  mesh_lab l;
  node *n[3];
  chain(&l, n, 3);
  n[1]->opt.accept_revocations = true;
  node *outcast = node_new(&l);
  outcast->opt.shares = &open_share;
  outcast->opt.share_count = 1;
  outcast->opt.level = KM_SECURITY_DEVELOPMENT;
  node_peer(outcast, n[1], true);
  node_peer(outcast, n[2], true);
  start_all(&l, n, 3);
  node_start(outcast);
  WAIT(&l, node_up(n[1], outcast) && node_up(n[2], outcast));
  assert_int_equal(km_trust_revoke(n[0]->store, &outcast->id, "stolen", NULL), 0);
  WAIT(&l, !node_up(n[1], outcast));
  WAIT(&l, node_status(outcast, n[1]).state == KM_PEER_REFUSED);
  km_trust_info info;
  assert_int_equal(km_trust_get(n[1]->store, &outcast->id, &info, NULL), 0);
  assert_int_equal(info.state, KM_TRUST_BLOCKED);
  assert_int_equal(info.origin, KM_TRUST_BY_REVOCATION);
  mesh_lab_run(&l, 200);
  assert_true(node_up(n[2], outcast)); /* it takes none */
  mesh_lab_close(&l);
}

static km_statement by(node *author, km_statement_kind kind, const km_id *subject, int64_t at) {
  km_statement s = {.kind = kind, .subject = *subject, .at = at, .expires = at + 86400, .text = ""};
  km_statement_sign(&s, author->key);
  return s;
}

typedef struct last {
  km_id subject;
  km_statement_kind kind;
  int64_t at;
} last;

static void note_about(void *ctx, const km_statement *s) {
  last *ret = ctx;
  if (km_id_equal(&s->subject, &ret->subject)) {
    ret->kind = s->kind;
    ret->at = s->at;
  }
}

static last said_about(node *n, const km_id *subject) {
  last ret = {.subject = *subject};
  assert_true(km_trust_statements(n->store, note_about, &ret, NULL) >= 0);
  return ret;
}

/* Withdrawn while its clock was behind, and nobody heard of it: it is said again, later. */
static void a_withdrawal_that_was_not_later_is_said_again(void **state) {
  (void)state;
  mesh_lab l;
  node *n[3];
  chain(&l, n, 3);
  int64_t now = km_store_wall(n[0]->store).unix_ns / (int64_t)KM_NS_PER_S;
  const km_id *about = &n[2]->id;
  km_statement no = by(n[0], KM_STATEMENT_WITHDRAW, about, now - 3600);
  km_statement yes = by(n[0], KM_STATEMENT_RECOMMEND, about, now);
  assert_int_equal(km_trust_take(n[0]->store, &no, false, false, false, NULL), KM_STATEMENT_NEW);
  assert_int_equal(km_trust_take(n[1]->store, &yes, true, false, false, NULL), KM_STATEMENT_NEW);
  start_all(&l, n, 2);
  WAIT(&l, said_about(n[1], about).kind == KM_STATEMENT_WITHDRAW);
  assert_int_equal(said_about(n[0], about).at, now + 1);
  assert_int_equal(said_about(n[1], about).at, now + 1);
  mesh_lab_close(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_written_appears_at_the_other),
      cmocka_unit_test(edits_made_apart_are_merged),
      cmocka_unit_test(it_reaches_those_who_do_not_know_the_author),
      cmocka_unit_test(a_flood_of_changes_becomes_a_synchronization),
      cmocka_unit_test(who_may_only_read_writes_nothing_here),
      cmocka_unit_test(a_share_that_is_not_granted_stays_here),
      cmocka_unit_test(a_message_waits_for_its_receiver_and_comes_once),
      cmocka_unit_test(a_large_message_arrives_whole),
      cmocka_unit_test(a_broadcast_reaches_everybody_once),
      cmocka_unit_test(recommended_by_enough_it_is_let_in),
      cmocka_unit_test(names_spread),
      cmocka_unit_test(a_revocation_spreads_to_those_who_take_it),
      cmocka_unit_test(a_withdrawal_that_was_not_later_is_said_again),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
