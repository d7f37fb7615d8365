/* Ways that reviewers found to split a mesh of honest nodes, to get round the rates, and to hold up
 * what matters behind what does not. */
#include "endpoint/mesh/mesh_impl.h"
#include "endpoint/mesh/push.h"
#include "store/store_impl.h"
#include "store/sync_wire.h"

#include "test/mesh/mesh_lab.h"

#define DOCS "docs"
#define HELLO_DOCS                                                                                 \
  "{\"type\":\"HELLO\",\"node_id\":\"mallory\",\"version\":\"1.0\","                               \
  "\"capabilities\":{\"shares\":[\"docs\"],\"features\":[]}}"
#define ACK_DOCS                                                                                   \
  "{\"type\":\"ACK\",\"ok\":true,\"reason\":null,\"peer_id\":\"mallory\","                         \
  "\"capabilities\":{\"shares\":[\"docs\"],\"features\":[]}}"

static const km_mesh_share read_write = {.name = DOCS, .others = KM_ACCESS_WRITE};
static const km_mesh_share read_only = {.name = DOCS, .others = KM_ACCESS_READ};

static node *open_node(mesh_lab *l, km_security_level level) {
  node *n = node_new(l);
  n->opt.shares = &read_write;
  n->opt.share_count = 1;
  n->opt.level = level;
  n->opt.heartbeat_timeout_ms = 60000; /* raw peers send none */
  return n;
}

static void pair(mesh_lab *l, node *a, node *b) {
  node_peer(a, b, true);
  node_peer(b, a, true);
  node_start(a);
  node_start(b);
  WAIT(l, node_up(a, b) && node_up(b, a));
}

static void put(node *n, const char *key) {
  assert_int_equal(km_kv_put(n->store, DOCS, key, "v", 1, NULL), 0);
}

static bool has(node *n, const char *key) {
  km_kv_entry e;
  return km_kv_get(n->store, DOCS, key, &e, NULL) == 0;
}

static void put_some(node *n, const char *prefix, unsigned count) {
  for (unsigned i = 0; i < count; i++) {
    char key[32];
    snprintf(key, sizeof key, "%s/%u", prefix, i);
    put(n, key);
  }
}

static km_stream *begin_push(mesh_lab *l, raw *r) {
  const uint8_t kind = KM_STREAM_PUSH;
  raw_say(r, HELLO_DOCS);
  WAIT(l, raw_heard(r, "\"ok\":true"));
  return raw_stream(r, false, &kind, 1);
}

static void push(km_stream *s, uint8_t type, const void *body, size_t len) {
  uint8_t frame[512];
  size_t taken = 0;
  km_wr wr = km_wr_init(frame, sizeof frame);
  km_push_head(&wr, type, len);
  km_wr_bytes(&wr, body, len);
  assert_false(wr.failed);
  assert_int_equal(km_stream_write(s, frame, (size_t)(wr.at - frame), false, &taken, NULL), 0);
}

static void push_entry(km_stream *s, uint8_t key_byte, const char *key) {
  uint8_t seed[KM_SECRET_KEY_BYTES], sig[KM_SIGNATURE_BYTES], body[256];
  km_secret_key *author;
  memset(seed, 0x80 + key_byte, sizeof seed);
  assert_int_equal(km_secret_key_from_bytes(&author, seed), 0);
  km_entry e = {.share = DOCS,
                .key = key,
                .value = (const uint8_t *)"v",
                .share_len = sizeof DOCS - 1,
                .key_len = (uint32_t)strlen(key),
                .value_len = 1,
                .clock = km_hlc_from_wall(km_clock_wall()),
                .sig = sig};
  km_secret_key_id(author, &e.author);
  km_entry_sign(&e, author, sig);
  km_secret_key_free(author);
  km_wr wr = km_wr_init(body, sizeof body);
  km_wr_u8(&wr, (uint8_t)e.share_len);
  km_wr_bytes(&wr, e.share, e.share_len);
  km_entry_encode(&e, &wr);
  push(s, KM_PUSH_ENTRY, body, (size_t)(wr.at - body));
}

/* --- honest nodes stay together -------------------------------------------------------------- */

static void who_carries_what_others_wrote_is_not_cut_off(void **state) {
  (void)state;
  mesh_lab l;
  mesh_lab_open(&l);
  node *a = open_node(&l, KM_SECURITY_DEVELOPMENT), *b = open_node(&l, KM_SECURITY_DEVELOPMENT);
  pair(&l, a, b);
  raw *c = raw_dial(&l, a, 1);
  km_id id = raw_id(c);
  assert_int_equal(km_trust_block(b->store, &id, "stolen", NULL), 0); /* at b alone */
  km_stream *s = begin_push(&l, c);
  for (unsigned i = 0; i < 40; i++) {
    char key[16];
    snprintf(key, sizeof key, "c/%u", i);
    push_entry(s, 1, key);
  }
  WAIT(&l, has(a, "c/39"));
  put(a, "after");
  WAIT(&l, has(b, "after"));
  assert_int_equal(km_mesh_sync(b->mesh, NULL), 0);
  WAIT(&l, node_stats(b).faults.forbidden >= 40);
  assert_false(has(b, "c/0"));
  assert_int_equal(node_stats(b).faults.cut, 0);
  assert_true(node_up(b, a) && node_up(a, b));
  mesh_lab_close(&l);
}

static void sync_times(mesh_lab *l, node *n, unsigned times) {
  for (unsigned i = 0; i < times; i++) {
    uint64_t done = node_stats(n).syncs;
    assert_int_equal(km_mesh_sync(n->mesh, NULL), 0);
    WAIT(l, node_stats(n).syncs > done);
  }
}

static void what_was_refused_travels_once_and_comes_when_it_is_welcome(void **state) {
  (void)state;
  mesh_lab l;
  mesh_lab_open(&l);
  node *a = open_node(&l, KM_SECURITY_DEVELOPMENT), *b = open_node(&l, KM_SECURITY_DEVELOPMENT);
  node_start(a);
  raw *c = raw_dial(&l, a, 1);
  km_id id = raw_id(c);
  assert_int_equal(km_trust_block(b->store, &id, "stolen", NULL), 0); /* at b alone */
  km_stream *s = begin_push(&l, c);
  for (unsigned i = 0; i < 40; i++) {
    char key[16];
    snprintf(key, sizeof key, "c/%u", i);
    push_entry(s, 1, key);
  }
  WAIT(&l, has(a, "c/39"));
  node_stop(a);
  pair(&l, a, b);
  WAIT(&l, node_stats(b).faults.forbidden == 40 && node_stats(a).entries_out == 40);
  sync_times(&l, b, 3);
  sync_times(&l, a, 3);
  assert_int_equal(node_stats(b).faults.forbidden, 40);
  assert_int_equal(node_stats(a).entries_out, 40);
  assert_int_equal(km_trust_forget(b->store, &id, NULL), 0);
  sync_times(&l, b, 2);
  WAIT(&l, has(b, "c/39") && has(b, "c/0"));
  mesh_lab_close(&l);
}

static void nor_is_who_carries_broadcasts(void **state) {
  (void)state;
  mesh_lab l;
  mesh_lab_open(&l);
  node *a = open_node(&l, KM_SECURITY_DEVELOPMENT), *b = open_node(&l, KM_SECURITY_SECURE);
  node *c = open_node(&l, KM_SECURITY_DEVELOPMENT);
  node_peer(c, a, true);
  pair(&l, a, b);
  node_start(c);
  WAIT(&l, node_up(c, a));
  for (unsigned i = 0; i < 20; i++) {
    assert_int_equal(km_message_broadcast(c->store, "t", "1", 0, NULL, NULL), 0);
  }
  WAIT(&l, node_stats(b).faults.forbidden >= 20);
  put(a, "after");
  WAIT(&l, has(b, "after"));
  assert_int_equal(node_stats(b).faults.cut, 0);
  mesh_lab_close(&l);
}

static void nor_is_a_reader_that_wrote(void **state) {
  (void)state;
  mesh_lab l;
  mesh_lab_open(&l);
  node *a = open_node(&l, KM_SECURITY_DEVELOPMENT), *b = open_node(&l, KM_SECURITY_DEVELOPMENT);
  a->opt.shares = &read_only;
  put_some(b, "local", 30);
  pair(&l, a, b);
  put_some(b, "more", 30);
  put(a, "news");
  WAIT(&l, has(b, "news"));
  WAIT(&l, node_stats(a).faults.forbidden >= 30);
  assert_int_equal(node_stats(a).faults.cut, 0);
  assert_true(node_up(a, b));
  mesh_lab_close(&l);
}

/* --- trust ----------------------------------------------------------------------------------- */

static void who_is_blocked_while_it_is_dialled_does_not_come_up(void **state) {
  (void)state;
  mesh_lab l;
  mesh_lab_open(&l);
  node *a = open_node(&l, KM_SECURITY_SECURE);
  a->opt.connect_timeout_ms = 20000;
  raw *r = raw_listen(&l, a, 1);
  km_id id = raw_id(r);
  node_start(a);
  WAIT(&l, r->control != NULL && raw_heard(r, "HELLO"));
  assert_int_equal(km_message_send(a->store, &id, "t", "1", 0, NULL, NULL), 0);
  assert_int_equal(km_trust_block(a->store, &id, "stolen", NULL), 0);
  if (r->control != NULL) {
    raw_say(r, ACK_DOCS);
  }
  WAIT(&l, r->closed);
  km_peer_status s = {.size = sizeof s};
  assert_int_equal(km_peer_get(a->mesh, &id, &s), 0);
  assert_true(s.state != KM_PEER_CONNECTED && s.messages_out == 0 && r->streams == 0);
  mesh_lab_close(&l);
}

static void trust_that_expires_ends_the_connection(void **state) {
  (void)state;
  mesh_lab l;
  mesh_lab_open(&l);
  node *a = open_node(&l, KM_SECURITY_SECURE), *b = open_node(&l, KM_SECURITY_DEVELOPMENT);
  node_peer(b, a, true);
  int64_t now = km_clock_wall().unix_ns / (int64_t)KM_NS_PER_S;
  assert_int_equal(km_trust_add(a->store, &b->id, "guest", NULL, now + 3, NULL), 0);
  node_start(a);
  node_start(b);
  WAIT(&l, node_up(b, a));
  WAIT(&l, node_was(b, a, KM_PEER_REFUSED));
  put(a, "later");
  mesh_lab_run(&l, 300);
  assert_false(has(b, "later"));
  mesh_lab_close(&l);
}

/* --- rates ----------------------------------------------------------------------------------- */

static void push_some(km_stream *s, const char *prefix, unsigned count) {
  for (unsigned i = 0; i < count; i++) {
    char key[32];
    snprintf(key, sizeof key, "%s/%u", prefix, i);
    push_entry(s, 1, key);
  }
}

static void bye(mesh_lab *l, raw *r) {
  km_conn_close(r->conn, 0, "", 0);
  WAIT(l, r->closed);
  mesh_lab_run(l, 100);
}

static void a_debt_outlives_the_connection(void **state) {
  (void)state;
  mesh_lab l;
  mesh_lab_open(&l);
  node *a = open_node(&l, KM_SECURITY_DEVELOPMENT);
  a->opt.rate_per_second = 1; /* 60 at once */
  a->opt.max_conns_per_addr = 100;
  node_start(a);
  raw *first = raw_dial(&l, a, 1);
  push_some(begin_push(&l, first), "first", 70);
  WAIT(&l, has(a, "first/69"));
  assert_true(node_stats(a).faults.flooded > 0);
  bye(&l, first);
  /* Ten seconds of it: neither is anything taken, nor when the connection ends. */
  raw *second = raw_dial_again(first, a);
  push_some(begin_push(&l, second), "second", 70);
  mesh_lab_run(&l, 1000);
  bye(&l, second);
  raw *third = raw_dial_again(first, a);
  push_some(begin_push(&l, third), "third", 1);
  mesh_lab_run(&l, 1000);
  assert_false(has(a, "second/0") || has(a, "third/0"));
  WAIT(&l, has(a, "third/0")); /* it is paid */
  assert_false(has(a, "second/0"));
  mesh_lab_close(&l);
}

static void what_a_peer_in_debt_said_last_comes_again(void **state) {
  (void)state;
  mesh_lab l;
  mesh_lab_open(&l);
  node *a = open_node(&l, KM_SECURITY_DEVELOPMENT), *b = open_node(&l, KM_SECURITY_DEVELOPMENT);
  node_peer(b, a, true);
  node_start(a);
  km_mpeer *p = km_mpeer_get(a->mesh, &b->id);
  assert_non_null(p);
  for (unsigned i = 0; i < 60 + 8; i++) { /* eight seconds of it */
    (void)km_guard_message(&p->guard, km_loop_now(a->loop));
  }
  node_start(b);
  WAIT(&l, node_up(b, a));
  sync_times(&l, b, 1);
  put(b, "said");
  assert_int_equal(km_message_send(b->store, &a->id, "t", "1", 0, NULL, NULL), 0);
  WAIT(&l, node_stats(b).messages_out == 1 && node_stats(b).entries_out == 1);
  mesh_lab_run(&l, 300);
  node_stop(b);
  mesh_lab_run(&l, 100);
  assert_false(has(a, "said"));
  assert_int_equal(node_stats(a).messages_in, 0);
  node_start(b);
  WAIT(&l, has(a, "said") && km_outbox_count(b->store, &a->id, NULL) == 0);
  assert_int_equal(node_stats(a).messages_in, 1);
  mesh_lab_close(&l);
}

static void there_is_one_push_stream_in_the_life_of_a_connection(void **state) {
  (void)state;
  mesh_lab l;
  mesh_lab_open(&l);
  node *a = open_node(&l, KM_SECURITY_DEVELOPMENT);
  node_start(a);
  raw *r = raw_dial(&l, a, 1);
  km_stream *s = begin_push(&l, r);
  push_entry(s, 1, "first");
  WAIT(&l, has(a, "first"));
  size_t taken;
  assert_int_equal(km_stream_write(s, NULL, 0, true, &taken, NULL), 0);
  mesh_lab_run(&l, 100);
  const uint8_t kind = KM_STREAM_PUSH;
  s = raw_stream(r, false, &kind, 1);
  WAIT(&l, r->resets > 0);
  assert_int_equal(node_stats(a).faults.malformed, 1);
  mesh_lab_close(&l);
}

static void confirmations_of_nothing_are_faults(void **state) {
  (void)state;
  mesh_lab l;
  mesh_lab_open(&l);
  node *a = open_node(&l, KM_SECURITY_DEVELOPMENT);
  node_start(a);
  raw *r = raw_dial(&l, a, 1);
  km_stream *s = begin_push(&l, r);
  static const uint8_t id[KM_MESSAGE_ID_BYTES] = {1};
  for (unsigned i = 0; i < 16; i++) {
    push(s, KM_PUSH_CONFIRM, id, sizeof id);
  }
  WAIT(&l, r->closed);
  assert_int_equal(r->info.code, KM_MESH_CUT);
  mesh_lab_close(&l);
}

static void statements_are_not_sent_as_often_as_they_are_asked_for(void **state) {
  (void)state;
  mesh_lab l;
  mesh_lab_open(&l);
  node *a = open_node(&l, KM_SECURITY_DEVELOPMENT);
  node_start(a);
  raw *r = raw_dial(&l, a, 1);
  km_stream *s = begin_push(&l, r);
  for (unsigned i = 0; i < 2000; i++) {
    push(s, KM_PUSH_STATEMENTS_PLEASE, NULL, 0);
  }
  WAIT(&l, node_stats(a).faults.flooded >= 1000);
  assert_int_equal(node_stats(a).faults.cut, 0);
  mesh_lab_close(&l);
}

static void on_begun_closed(void *ctx, km_stream *s, int error) {
  (void)s;
  (void)error;
  *(km_stream **)ctx = NULL;
}

static void synchronizations_have_a_rate(void **state) {
  (void)state;
  mesh_lab l;
  mesh_lab_open(&l);
  node *a = open_node(&l, KM_SECURITY_DEVELOPMENT);
  node_start(a);
  raw *r = raw_dial(&l, a, 1);
  (void)begin_push(&l, r);
  static const km_stream_callbacks callbacks = {.size = sizeof callbacks,
                                                .on_closed = on_begun_closed};
  const uint8_t kind = KM_STREAM_SYNC;
  for (unsigned i = 0; i < 80 && r->conn != NULL; i++) {
    km_stream *s;
    size_t taken;
    assert_int_equal(km_conn_open_stream(r->conn, &s, true, &callbacks, &s), 0);
    assert_int_equal(km_stream_write(s, &kind, 1, false, &taken, NULL), 0);
    mesh_lab_run(&l, 5);
    if (s != NULL) {
      (void)km_stream_reset(s, 0);
      (void)km_stream_stop(s, 0);
    }
    WAIT(&l, s == NULL);
  }
  km_id id = raw_id(r);
  km_peer_status status = {.size = sizeof status};
  assert_int_equal(km_peer_get(a->mesh, &id, &status), 0);
  assert_true(status.faults.flooded > 0);
  mesh_lab_close(&l);
}

static void on_answer(void *ctx, km_stream *s, const void *data, size_t len, bool fin) {
  (void)s;
  (void)data;
  (void)len;
  (void)fin;
  (*(unsigned *)ctx)++;
}

/* Opens a synchronization with a fingerprint that is not right. */
static void ask_about_all(raw *r, unsigned *answers) {
  static const km_stream_callbacks callbacks = {.size = sizeof callbacks, .on_data = on_answer};
  static const uint8_t question[] = {62 << 2 | 1, 9, 9, 9, 9, 9, 9, 9, 9};
  const km_sync_open open = {.version = KM_SYNC_VERSION,
                             .share = DOCS,
                             .message = question,
                             .message_len = sizeof question};
  uint8_t bytes[128] = {KM_STREAM_SYNC}, *body = bytes + 1 + KM_SYNC_FRAME_HEAD_MAX;
  km_stream *s;
  size_t taken;
  km_wr wr = km_wr_init(body, sizeof bytes - 1 - KM_SYNC_FRAME_HEAD_MAX);
  km_sync_open_write(&wr, &open);
  size_t len = (size_t)(wr.at - body), head = km_sync_frame_put_head(body, len, KM_SYNC_OPEN);
  assert_int_equal(km_conn_open_stream(r->conn, &s, true, &callbacks, answers), 0);
  assert_int_equal(km_stream_write(s, bytes, 1, false, &taken, NULL), 0);
  assert_int_equal(km_stream_write(s, body - head, head + len, false, &taken, NULL), 0);
}

static void who_closes_the_connection_pays_for_its_synchronizations(void **state) {
  (void)state;
  mesh_lab l;
  mesh_lab_open(&l);
  node *a = open_node(&l, KM_SECURITY_DEVELOPMENT);
  put_some(a, "some", 1000);
  node_start(a);
  raw *r = raw_dial(&l, a, 1);
  (void)begin_push(&l, r);
  km_id id = raw_id(r);
  unsigned answers = 0;
  ask_about_all(r, &answers);
  ask_about_all(r, &answers);
  WAIT(&l, answers == 2);
  const km_guard *g = &km_mpeer_find(a->mesh, &id)->guard; /* stays: there is a debt */
  assert_int_equal(g->broken_syncs.tokens, (int64_t)g->broken_syncs.burst);
  km_conn_close(r->conn, 0, "", 0);
  WAIT(&l, node_stats(a).connected == 0);
  assert_true(g->broken_syncs.tokens < (int64_t)g->broken_syncs.burst - KM_PACE_A_MESSAGE);
  assert_true(g->items.tokens < (int64_t)g->items.burst - 2 * (2000 + 500));
  mesh_lab_close(&l);
}

static void as_many_synchronizations_as_shares_are_no_flood(void **state) {
  (void)state;
  enum { SHARES = 100 };
  static char names[SHARES][8];
  static km_mesh_share many[SHARES];
  mesh_lab l;
  mesh_lab_open(&l);
  node *a = open_node(&l, KM_SECURITY_DEVELOPMENT), *b = open_node(&l, KM_SECURITY_DEVELOPMENT);
  for (unsigned i = 0; i < SHARES; i++) {
    snprintf(names[i], sizeof names[i], "s%u", i);
    many[i] = (km_mesh_share){.name = names[i], .others = KM_ACCESS_WRITE};
    assert_int_equal(km_kv_put(a->store, names[i], "k", "v", 1, NULL), 0);
  }
  a->opt.shares = b->opt.shares = many;
  a->opt.share_count = b->opt.share_count = SHARES;
  pair(&l, a, b);
  WAIT(&l, node_stats(b).syncs >= SHARES);
  assert_int_equal(node_stats(a).syncs_failed + node_stats(b).syncs_failed, 0);
  km_kv_entry e;
  assert_int_equal(km_kv_get(b->store, names[SHARES - 1], "k", &e, NULL), 0);
  assert_int_equal(node_stats(b).faults.flooded, 0);
  mesh_lab_close(&l);
}

/* --- one thing does not hold up another ------------------------------------------------------- */

static void entries_do_not_wait_behind_a_full_outbox(void **state) {
  (void)state;
  mesh_lab l;
  mesh_lab_open(&l);
  node *a = open_node(&l, KM_SECURITY_DEVELOPMENT), *b = open_node(&l, KM_SECURITY_DEVELOPMENT);
  for (unsigned i = 0; i < 400; i++) {
    assert_int_equal(km_message_send(a->store, &b->id, "t", "1", 0, NULL, NULL), 0);
  }
  pair(&l, a, b);
  WAIT(&l, node_stats(b).messages_in >= 60);
  put(a, "now");
  WAIT(&l, has(b, "now"));
  assert_int_equal(node_stats(b).faults.flooded, 0);
  assert_true(node_stats(b).messages_in < 300); /* 60 at once, then one a second */
  assert_int_equal(km_trust_announce(a->store, "kitchen", NULL), 0);
  WAIT(&l, strcmp(node_status(b, a).name, "kitchen") == 0);
  mesh_lab_close(&l);
}

typedef struct refusals {
  unsigned count;
  char reason[160];
} refusals;

static void count_refused(void *ctx, const km_message *m) {
  refusals *seen = ctx;
  if (m->refused != NULL) {
    seen->count++;
    snprintf(seen->reason, sizeof seen->reason, "%s", m->refused);
  }
}

static void a_message_that_is_too_large_for_the_other_stops_nothing(void **state) {
  (void)state;
  mesh_lab l;
  mesh_lab_open(&l);
  node *a = open_node(&l, KM_SECURITY_DEVELOPMENT), *b = open_node(&l, KM_SECURITY_DEVELOPMENT);
  b->opt.max_message = 1000;
  static char body[200001];
  memset(body, 'x', sizeof body - 1);
  body[0] = body[sizeof body - 2] = '"';
  assert_int_equal(km_message_send(a->store, &b->id, "t", body, 0, NULL, NULL), 0);
  assert_int_equal(km_message_broadcast(a->store, "t", body, 0, NULL, NULL), 0);
  assert_int_equal(km_message_send(a->store, &b->id, "t", "1", 0, NULL, NULL), 0);
  pair(&l, a, b);
  WAIT(&l, node_stats(b).messages_in == 1);
  put(a, "after");
  WAIT(&l, has(b, "after"));
  assert_int_equal(node_stats(b).faults.malformed, 0);
  /* It says so, and gets neither again. */
  WAIT(&l, km_outbox_count(a->store, &b->id, NULL) == 0);
  refusals seen = {0};
  assert_int_equal(km_message_waiting(a->store, count_refused, &seen, NULL), 2);
  assert_int_equal(seen.count, 1);
  assert_string_equal(seen.reason, "longer than the 1000 bytes that are taken there");
  assert_int_equal(node_stats(a).messages_out, 3);
  assert_int_equal(node_stats(a).faults.malformed, 0);
  mesh_lab_close(&l);
}

static void a_refusals_words_are_cleaned_and_one_of_nothing_is_a_fault(void **state) {
  (void)state;
  mesh_lab l;
  mesh_lab_open(&l);
  node *a = open_node(&l, KM_SECURITY_DEVELOPMENT);
  node_start(a);
  raw *r = raw_dial(&l, a, 1);
  uint8_t body[KM_MESSAGE_ID_BYTES + KM_PUSH_REASON_MAX + 1] = {0};
  const km_id to = raw_id(r);
  assert_int_equal(km_message_send(a->store, &to, "t", "1", 0, body, NULL), 0);
  km_stream *s = begin_push(&l, r);
  WAIT(&l, node_stats(a).messages_out == 1);
  memcpy(body + KM_MESSAGE_ID_BYTES, "no\n\x1b[1m", 7);
  push(s, KM_PUSH_REFUSED, body, KM_MESSAGE_ID_BYTES + 7);
  WAIT(&l, km_outbox_count(a->store, &to, NULL) == 0);
  refusals seen = {0};
  assert_int_equal(km_message_waiting(a->store, count_refused, &seen, NULL), 1);
  assert_string_equal(seen.reason, "no??[1m");
  assert_int_equal(node_stats(a).faults.malformed, 0);
  push(s, KM_PUSH_REFUSED, body, KM_MESSAGE_ID_BYTES + 7);
  WAIT(&l, node_stats(a).faults.malformed == 1); /* nothing was sent since */
  mesh_lab_close(&l);
}

/* --- what was lost --------------------------------------------------------------------------- */

/* The ACK is late: whoever dialled takes no stream before it. */
static void a_stream_that_came_too_early_comes_again(void **state) {
  (void)state;
  enum { TOO_EARLY = 2 };
  for (int order = 0; order < 2; order++) {
    mesh_lab l;
    mesh_lab_open(&l);
    node *a = open_node(&l, KM_SECURITY_DEVELOPMENT);
    node_start(a);
    raw *r = raw_dial(&l, a, 1);
    const km_id to = raw_id(r);
    assert_int_equal(km_message_send(a->store, &to, "t", "1", 0, NULL, NULL), 0);
    r->keeps_push = true;
    raw_say(r, HELLO_DOCS);
    WAIT(&l, r->pushes == 1); /* after a second without a sign */
    WAIT(&l, node_stats(a).messages_out == 1);
    if (order == 0) {
      raw_say(r, BEAT);
      mesh_lab_run(&l, 100);
    }
    assert_int_equal(r->pushes, 1);
    assert_non_null(r->push);
    assert_int_equal(km_stream_stop(r->push, TOO_EARLY), 0);
    if (order == 1) {
      mesh_lab_run(&l, 100);
      assert_int_equal(r->pushes, 1); /* not before it gives a sign */
      raw_say(r, BEAT);
    }
    WAIT(&l, r->pushes == 2 && node_stats(a).messages_out == 2);
    assert_non_null(r->push);
    assert_int_equal(km_stream_stop(r->push, TOO_EARLY), 0);
    mesh_lab_run(&l, 200);
    assert_int_equal(r->pushes, 2); /* and no more */
    assert_non_null(r->conn);
    mesh_lab_close(&l);
  }
}

static void count_statement(void *ctx, const km_statement *s) {
  (void)s;
  ++*(unsigned *)ctx;
}

static unsigned statements_of(node *n) {
  unsigned count = 0;
  assert_true(km_trust_statements(n->store, count_statement, &count, NULL) >= 0);
  return count;
}

/* `count` recommendations of an author whom both trust. */
static void say_much(node *a, node *b, uint8_t author, unsigned count) {
  km_secret_key *key;
  km_id id;
  uint8_t seed[KM_SECRET_KEY_BYTES];
  memset(seed, author, sizeof seed);
  assert_int_equal(km_secret_key_from_bytes(&key, seed), 0);
  km_secret_key_id(key, &id);
  assert_int_equal(km_trust_add(b->store, &id, NULL, NULL, 0, NULL), 0);
  for (unsigned i = 0; i < count; i++) {
    km_secret_key *about;
    int64_t now = km_store_wall(a->store).unix_ns / (int64_t)KM_NS_PER_S;
    km_statement s = {
        .kind = KM_STATEMENT_RECOMMEND, .at = now, .expires = now + 86400, .text = ""};
    memset(seed, 0, sizeof seed);
    memcpy(seed, &i, sizeof i);
    assert_int_equal(km_secret_key_from_bytes(&about, seed), 0);
    km_secret_key_id(about, &s.subject);
    km_statement_sign(&s, key);
    assert_int_equal(km_trust_take(a->store, &s, true, false, false, NULL), KM_STATEMENT_NEW);
    km_secret_key_free(about);
  }
  km_secret_key_free(key);
}

static void more_statements_than_wait_at_once_all_come(void **state) {
  (void)state;
  enum { AUTHORS = 9, EACH = 256 };
  mesh_lab l;
  mesh_lab_open(&l);
  node *a = open_node(&l, KM_SECURITY_DEVELOPMENT), *b = open_node(&l, KM_SECURITY_DEVELOPMENT);
  a->opt.rate_per_minute = b->opt.rate_per_minute = 0;
  for (uint8_t i = 0; i < AUTHORS; i++) {
    say_much(a, b, (uint8_t)(0xa0 + i), EACH);
  }
  assert_int_equal(statements_of(a), AUTHORS * EACH);
  pair(&l, a, b);
  WAIT(&l, statements_of(b) == AUTHORS * EACH);
  mesh_lab_close(&l);
}

typedef struct listing {
  node *n;
  km_id removes, seen[8];
  size_t count;
} listing;

static void list_and_remove(void *ctx, const km_peer_status *s) {
  listing *list = ctx;
  list->seen[list->count++] = s->id;
  (void)!km_peer_remove(list->n->mesh, &list->removes);
}

static void who_lists_peers_may_remove_the_next_one(void **state) {
  (void)state;
  mesh_lab l;
  mesh_lab_open(&l);
  node *a = open_node(&l, KM_SECURITY_SECURE);
  node others[5];
  for (unsigned i = 0; i < 5; i++) {
    others[i] =
        (node){.id = {{1, (uint8_t)(i + 1)}}, .addr = {.family = 4, .ip = {127}, .port = 9}};
    node_peer(a, &others[i], false);
  }
  node_start(a);
  listing list = {.n = a, .removes = others[1].id};
  size_t count = km_peer_list(a->mesh, list_and_remove, &list);
  assert_int_equal(count, list.count);
  for (unsigned i = 2; i < 5; i++) {
    bool seen = false;
    for (size_t k = 0; k < list.count; k++) {
      seen = seen || km_id_equal(&list.seen[k], &others[i].id);
    }
    assert_true(seen);
  }
  mesh_lab_close(&l);
}

static void add_again(node *n, const km_peer_status *s) {
  km_mesh_peer peer = {.size = sizeof peer, .id = s->id, .addr = n->peers[0].addr, .dial = true};
  assert_int_equal(km_peer_add(n->mesh, &peer, NULL), 0);
  (void)km_peer_dial(n->mesh, &s->id);
}

static void what_a_callback_causes_is_told_in_another_turn(void **state) {
  (void)state;
  mesh_lab l;
  mesh_lab_open(&l);
  node *a = open_node(&l, KM_SECURITY_DEVELOPMENT), *b = open_node(&l, KM_SECURITY_DEVELOPMENT);
  node_peer(a, b, true);
  a->on_peer_hook = add_again;
  node_start(a);
  uint64_t until = mesh_lab_ms() + 300;
  while (mesh_lab_ms() < until) {
    mesh_lab_turn(&l); /* each of them returns */
  }
  a->on_peer_hook = NULL;
  node_start(b);
  WAIT(&l, node_up(a, b));
  mesh_lab_close(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(who_carries_what_others_wrote_is_not_cut_off),
      cmocka_unit_test(what_was_refused_travels_once_and_comes_when_it_is_welcome),
      cmocka_unit_test(nor_is_who_carries_broadcasts),
      cmocka_unit_test(nor_is_a_reader_that_wrote),
      cmocka_unit_test(who_is_blocked_while_it_is_dialled_does_not_come_up),
      cmocka_unit_test(trust_that_expires_ends_the_connection),
      cmocka_unit_test(a_debt_outlives_the_connection),
      cmocka_unit_test(what_a_peer_in_debt_said_last_comes_again),
      cmocka_unit_test(there_is_one_push_stream_in_the_life_of_a_connection),
      cmocka_unit_test(confirmations_of_nothing_are_faults),
      cmocka_unit_test(statements_are_not_sent_as_often_as_they_are_asked_for),
      cmocka_unit_test(synchronizations_have_a_rate),
      cmocka_unit_test(who_closes_the_connection_pays_for_its_synchronizations),
      cmocka_unit_test(as_many_synchronizations_as_shares_are_no_flood),
      cmocka_unit_test(entries_do_not_wait_behind_a_full_outbox),
      cmocka_unit_test(a_message_that_is_too_large_for_the_other_stops_nothing),
      cmocka_unit_test(a_refusals_words_are_cleaned_and_one_of_nothing_is_a_fault),
      cmocka_unit_test(a_stream_that_came_too_early_comes_again),
      cmocka_unit_test(more_statements_than_wait_at_once_all_come),
      cmocka_unit_test(who_lists_peers_may_remove_the_next_one),
      cmocka_unit_test(what_a_callback_causes_is_told_in_another_turn),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
