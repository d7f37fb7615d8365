/* A peer that is let in and means harm: what it pushes is refused, counted, and it is cut off when
 * it goes on; others notice nothing of it. */
#include "endpoint/mesh/push.h"
#include "store/store_impl.h"

#include "test/mesh/mesh_lab.h"

#define DOCS "docs"
#define HELLO_DOCS                                                                                 \
  "{\"type\":\"HELLO\",\"node_id\":\"mallory\",\"version\":\"1.0\","                               \
  "\"capabilities\":{\"shares\":[\"docs\",\"private\"],\"features\":[]}}"

static const km_mesh_share shares[] = {{.name = DOCS, .others = KM_ACCESS_WRITE},
                                       {.name = "private", .others = KM_ACCESS_NONE}};

typedef struct lab {
  mesh_lab mesh;
  node *n, *witness; /* two that trust each other */
  raw *mallory;
  km_secret_key *key; /* mallory's */
  km_stream *push;
  int64_t began_ms;
} lab;

static node *open_node(mesh_lab *l) {
  node *n = node_new(l);
  n->opt.shares = shares;
  n->opt.share_count = 2;
  n->opt.level = KM_SECURITY_DEVELOPMENT;
  n->opt.heartbeat_timeout_ms = 60000; /* raw peers send none */
  return n;
}

static km_peer_status mallory_is(lab *l) {
  km_peer_status s = {.size = sizeof s};
  km_id id;
  km_secret_key_id(l->key, &id);
  assert_int_equal(km_peer_get(l->n->mesh, &id, &s), 0);
  return s;
}

static void open_lab(lab *l) {
  memset(l, 0, sizeof *l);
  l->began_ms = km_clock_wall().unix_ns / 1000000;
  mesh_lab_open(&l->mesh);
  l->n = open_node(&l->mesh);
  l->witness = open_node(&l->mesh);
  node_peer(l->n, l->witness, true);
  node_peer(l->witness, l->n, true);
  node_start(l->n);
  node_start(l->witness);
  WAIT(&l->mesh, node_up(l->n, l->witness) && node_up(l->witness, l->n));
  l->mallory = raw_dial(&l->mesh, l->n, 1);
  raw_say(l->mallory, HELLO_DOCS);
  WAIT(&l->mesh, raw_heard(l->mallory, "\"ok\":true"));
  uint8_t seed[KM_SECRET_KEY_BYTES], kind = KM_STREAM_PUSH;
  memset(seed, 0x81, sizeof seed);
  assert_int_equal(km_secret_key_from_bytes(&l->key, seed), 0);
  l->push = raw_stream(l->mallory, false, &kind, 1);
}

static void close_lab(lab *l) {
  km_secret_key_free(l->key);
  mesh_lab_close(&l->mesh);
}

static void push(lab *l, uint8_t type, const uint8_t *body, size_t len) {
  uint8_t *frame = malloc(len + KM_PUSH_HEAD_MAX);
  size_t taken = 0;
  assert_non_null(frame);
  km_wr wr = km_wr_init(frame, len + KM_PUSH_HEAD_MAX);
  km_push_head(&wr, type, len);
  km_wr_bytes(&wr, body, len);
  size_t size = (size_t)(wr.at - frame);
  if (l->mallory->conn != NULL) {
    assert_int_equal(km_stream_write(l->push, frame, size, false, &taken, NULL), 0);
    assert_int_equal(taken, size);
  }
  free(frame);
}

static km_entry entry_of(const km_secret_key *author, const char *share, const char *key,
                         uint64_t ahead_ms, uint8_t sig[KM_SIGNATURE_BYTES]) {
  km_entry e = {.share = share,
                .key = key,
                .value = (const uint8_t *)"v",
                .share_len = (uint32_t)strlen(share),
                .key_len = (uint32_t)strlen(key),
                .value_len = 1,
                .clock = km_hlc_from_wall(km_clock_wall()) + (ahead_ms << KM_HLC_COUNTER_BITS),
                .sig = sig};
  km_secret_key_id(author, &e.author);
  km_entry_sign(&e, author, sig);
  return e;
}

static void push_entry(lab *l, const km_entry *e) {
  uint8_t body[2048];
  km_wr wr = km_wr_init(body, sizeof body);
  km_wr_u8(&wr, (uint8_t)e->share_len);
  km_wr_bytes(&wr, e->share, e->share_len);
  km_entry_encode(e, &wr);
  assert_false(wr.failed);
  push(l, KM_PUSH_ENTRY, body, (size_t)(wr.at - body));
}

static bool has(node *n, const char *share, const char *key) {
  km_kv_entry e;
  return km_kv_get(n->store, share, key, &e, NULL) == 0;
}

/* Something honest goes through, so that what was sent before it has been looked at. */
static void push_marker(lab *l, const char *key) {
  uint8_t sig[KM_SIGNATURE_BYTES];
  km_entry e = entry_of(l->key, DOCS, key, 0, sig);
  push_entry(l, &e);
  WAIT(&l->mesh, has(l->n, DOCS, key) && has(l->witness, DOCS, key));
}

/* --- entries --------------------------------------------------------------------------------- */

static void an_entry_in_the_name_of_another_is_refused(void **state) {
  (void)state;
  lab l;
  uint8_t sig[KM_SIGNATURE_BYTES];
  open_lab(&l);
  km_entry e = entry_of(l.witness->key, DOCS, "forged", 0, sig);
  sig[0] ^= 1;
  push_entry(&l, &e);
  push_marker(&l, "after");
  assert_false(has(l.n, DOCS, "forged") || has(l.witness, DOCS, "forged"));
  assert_int_equal(mallory_is(&l).faults.forged, 1);
  /* What the other did sign is taken from anybody. */
  e = entry_of(l.witness->key, DOCS, "carried", 0, sig);
  push_entry(&l, &e);
  WAIT(&l.mesh, has(l.n, DOCS, "carried"));
  close_lab(&l);
}

static void a_wrong_signature_of_its_own_is_never_passed_on(void **state) {
  (void)state;
  lab l;
  uint8_t sig[KM_SIGNATURE_BYTES];
  open_lab(&l);
  km_entry e = entry_of(l.key, DOCS, "unsigned", 0, sig);
  sig[5] ^= 1;
  push_entry(&l, &e);
  push_marker(&l, "after");
  WAIT(&l.mesh, !has(l.n, DOCS, "unsigned"));
  assert_false(has(l.witness, DOCS, "unsigned"));
  WAIT(&l.mesh, mallory_is(&l).faults.forged == 1);
  close_lab(&l);
}

static void an_entry_from_the_future_is_refused_and_no_more(void **state) {
  (void)state;
  lab l;
  uint8_t sig[KM_SIGNATURE_BYTES];
  open_lab(&l);
  for (int i = 0; i < 40; i++) {
    km_entry e = entry_of(l.key, DOCS, "tomorrow", 86400000, sig);
    push_entry(&l, &e);
  }
  push_marker(&l, "after");
  assert_false(has(l.n, DOCS, "tomorrow"));
  assert_int_equal(mallory_is(&l).faults.future, 40);
  assert_int_equal(mallory_is(&l).faults.cut, 0);
  assert_non_null(l.mallory->conn);
  close_lab(&l);
}

static void an_old_entry_changes_nothing(void **state) {
  (void)state;
  lab l;
  uint8_t old_sig[KM_SIGNATURE_BYTES], new_sig[KM_SIGNATURE_BYTES];
  open_lab(&l);
  km_entry old = entry_of(l.key, DOCS, "k", 0, old_sig);
  push_entry(&l, &old);
  WAIT(&l.mesh, has(l.witness, DOCS, "k"));
  km_entry later = entry_of(l.key, DOCS, "k", 5, new_sig);
  later.value = (const uint8_t *)"w";
  km_entry_sign(&later, l.key, new_sig);
  push_entry(&l, &later);
  for (int i = 0; i < 10; i++) {
    push_entry(&l, &old); /* replayed */
  }
  push_marker(&l, "after");
  km_kv_entry e;
  assert_int_equal(km_kv_get(l.n->store, DOCS, "k", &e, NULL), 0);
  assert_int_equal(e.value[0], 'w');
  assert_int_equal(mallory_is(&l).entries_in, 3);
  close_lab(&l);
}

static void a_share_that_it_may_not_see_is_not_written(void **state) {
  (void)state;
  lab l;
  uint8_t sig[KM_SIGNATURE_BYTES];
  open_lab(&l);
  km_entry e = entry_of(l.key, "private", "k", 0, sig);
  push_entry(&l, &e);
  e = entry_of(l.key, "unheard-of", "k", 0, sig);
  push_entry(&l, &e);
  push_marker(&l, "after");
  assert_false(has(l.n, "private", "k") || has(l.n, "unheard-of", "k"));
  assert_int_equal(mallory_is(&l).faults.forbidden, 2);
  close_lab(&l);
}

/* Its author has other limits, and who passes it on is honest. */
static void an_entry_larger_than_our_limits_is_passed_over(void **state) {
  (void)state;
  lab l;
  char key[258];
  uint8_t sig[KM_SIGNATURE_BYTES];
  memset(key, 'k', sizeof key - 1);
  key[257] = '\0';
  open_lab(&l);
  km_entry e = entry_of(l.key, DOCS, key, 0, sig);
  for (int i = 0; i < 20; i++) {
    push_entry(&l, &e);
  }
  push_marker(&l, "after");
  assert_int_equal(mallory_is(&l).faults.malformed, 0);
  close_lab(&l);
}

/* --- frames ---------------------------------------------------------------------------------- */

static void what_cannot_be_read_is_counted(void **state) {
  (void)state;
  lab l;
  open_lab(&l);
  static const uint8_t junk[64] = {0xff, 0xfe, 0xfd};
  push(&l, KM_PUSH_ENTRY, junk, sizeof junk);
  push(&l, KM_PUSH_MESSAGE, junk, sizeof junk);
  push(&l, KM_PUSH_STATEMENT, junk, sizeof junk);
  push(&l, KM_PUSH_CONFIRM, junk, sizeof junk);
  push(&l, KM_PUSH_ENTRY, NULL, 0);
  push(&l, 0x7f, junk, sizeof junk); /* of a later version */
  push_marker(&l, "after");
  assert_in_range(mallory_is(&l).faults.malformed, 4, 5);
  assert_int_equal(mallory_is(&l).faults.cut, 0);
  close_lab(&l);
}

static void a_frame_longer_than_any_ends_the_stream(void **state) {
  (void)state;
  lab l;
  open_lab(&l);
  static const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff, 0x07, KM_PUSH_MESSAGE};
  size_t taken;
  assert_int_equal(km_stream_write(l.push, huge, sizeof huge, false, &taken, NULL), 0);
  WAIT(&l.mesh, l.mallory->resets > 0);
  assert_int_equal(mallory_is(&l).faults.malformed, 1);
  close_lab(&l);
}

static void who_goes_on_is_cut_off(void **state) {
  (void)state;
  lab l;
  open_lab(&l);
  static const uint8_t junk[8] = {0};
  for (int i = 0; i < 16; i++) {
    push(&l, KM_PUSH_CONFIRM, junk, sizeof junk);
  }
  WAIT(&l.mesh, l.mallory->closed);
  assert_true(l.mallory->info.application);
  assert_int_equal(l.mallory->info.code, KM_MESH_CUT);
  assert_int_equal(node_stats(l.n).faults.cut, 1);
  /* For ten minutes it is let in no more. */
  raw *again = raw_dial_again(l.mallory, l.n);
  if (again->control != NULL) {
    raw_say(again, HELLO_DOCS);
  }
  WAIT(&l.mesh, again->closed);
  assert_false(raw_heard(again, "\"ok\":true"));
  assert_true(node_up(l.n, l.witness));
  close_lab(&l);
}

static void a_second_push_stream_is_refused(void **state) {
  (void)state;
  lab l;
  open_lab(&l);
  const uint8_t kind = KM_STREAM_PUSH;
  push_marker(&l, "first");
  (void)raw_stream(l.mallory, false, &kind, 1);
  WAIT(&l.mesh, l.mallory->resets > 0);
  push_marker(&l, "still");
  close_lab(&l);
}

static void a_flood_waits_and_others_do_not(void **state) {
  (void)state;
  lab l;
  uint8_t sig[KM_SIGNATURE_BYTES];
  open_lab(&l);
  for (int i = 0; i < 3000; i++) {
    char key[32];
    snprintf(key, sizeof key, "flood/%d", i % 50);
    km_entry e = entry_of(l.key, DOCS, key, 0, sig);
    push_entry(&l, &e);
  }
  WAIT(&l.mesh, mallory_is(&l).faults.flooded > 0);
  assert_int_equal(km_kv_put(l.witness->store, DOCS, "honest", "1", 1, NULL), 0);
  WAIT(&l.mesh, has(l.n, DOCS, "honest"));
  assert_int_equal(mallory_is(&l).faults.cut, 0);
  close_lab(&l);
}

/* --- synchronizations ------------------------------------------------------------------------ */

static void open_sync(lab *l, const char *share) {
  uint8_t bytes[128];
  size_t name_len = strlen(share);
  km_wr wr = km_wr_init(bytes, sizeof bytes);
  km_wr_u8(&wr, KM_STREAM_SYNC);
  km_wr_varint(&wr, 1 + 1 + 1 + name_len + KM_RECONCILE_KEY_BYTES);
  km_wr_u8(&wr, 1); /* OPEN */
  km_wr_u8(&wr, 1); /* version */
  km_wr_u8(&wr, (uint8_t)name_len);
  km_wr_bytes(&wr, share, name_len);
  km_wr_bytes(&wr, "0123456789abcdef", KM_RECONCILE_KEY_BYTES);
  (void)raw_stream(l->mallory, true, bytes, (size_t)(wr.at - bytes));
}

static void a_share_that_it_may_not_see_is_not_synchronized(void **state) {
  (void)state;
  lab l;
  open_lab(&l);
  assert_int_equal(km_kv_put(l.n->store, "private", "k", "v", 1, NULL), 0);
  open_sync(&l, "private");
  WAIT(&l.mesh, mallory_is(&l).faults.forbidden == 1);
  open_sync(&l, "unheard-of");
  WAIT(&l.mesh, mallory_is(&l).faults.forbidden == 2);
  push_marker(&l, "after");
  close_lab(&l);
}

static void synchronizations_at_once_are_bounded(void **state) {
  (void)state;
  lab l;
  open_lab(&l);
  const uint8_t kind = KM_STREAM_SYNC;
  for (int i = 0; i < 6; i++) {
    (void)raw_stream(l.mallory, true, &kind, 1);
  }
  WAIT(&l.mesh, l.mallory->resets >= 4);
  push_marker(&l, "after");
  close_lab(&l);
}

static void junk_on_a_synchronization_is_counted(void **state) {
  (void)state;
  lab l;
  open_lab(&l);
  static const uint8_t junk[] = {KM_STREAM_SYNC, 5, 0x2a, 1, 2, 3, 4};
  (void)raw_stream(l.mallory, true, junk, sizeof junk);
  WAIT(&l.mesh, mallory_is(&l).faults.malformed == 1);
  push_marker(&l, "after");
  close_lab(&l);
}

/* --- messages and statements ------------------------------------------------------------------ */

static void push_message(lab *l, const km_secret_key *sender, const km_id *to, bool forge) {
  uint8_t bytes[1024];
  km_message m = {.broadcast = to == NULL,
                  .type = "t",
                  .body = "1",
                  .body_len = 1,
                  .sent_ms = l->began_ms, /* a part of the id: the same one is the same again */
                  .expires_ms = l->began_ms + 600000};
  km_wr wr = km_wr_init(bytes, sizeof bytes);
  km_secret_key_id(sender, &m.sender);
  m.to = to != NULL ? *to : (km_id){{0}};
  assert_int_equal(km_message_encode(&m, sender, &wr, NULL), 0);
  bytes[(size_t)(wr.at - bytes) - 1] ^= forge;
  push(l, KM_PUSH_MESSAGE, bytes, (size_t)(wr.at - bytes));
}

static unsigned received;

static void on_message(void *ctx, km_mesh *mesh, const km_message *m) {
  (void)ctx;
  (void)mesh;
  (void)m;
  received++;
}

static void messages_of_others_and_forged_ones_are_refused(void **state) {
  (void)state;
  lab l;
  received = 0;
  open_lab(&l);
  node_stop(l.n);
  l.n->opt.callbacks.on_message = on_message;
  node_start(l.n);
  l.mallory = raw_dial_again(l.mallory, l.n);
  raw_say(l.mallory, HELLO_DOCS);
  WAIT(&l.mesh, raw_heard(l.mallory, "\"ok\":true"));
  const uint8_t kind = KM_STREAM_PUSH;
  l.push = raw_stream(l.mallory, false, &kind, 1);
  push_message(&l, l.key, &l.n->id, true);
  push_message(&l, l.witness->key, &l.n->id, false); /* to us, and not from its sender */
  push_message(&l, l.key, &l.n->id, false);
  push_message(&l, l.key, &l.n->id, false); /* again */
  WAIT(&l.mesh, received == 1);
  WAIT(&l.mesh, node_up(l.n, l.witness) && node_up(l.witness, l.n));
  push_marker(&l, "after");
  assert_int_equal(received, 1);
  assert_int_equal(mallory_is(&l).faults.forged, 1);
  assert_int_equal(mallory_is(&l).faults.forbidden, 1);
  close_lab(&l);
}

static void a_statement_in_the_name_of_another_is_refused(void **state) {
  (void)state;
  lab l;
  uint8_t bytes[KM_STATEMENT_MAX];
  open_lab(&l);
  km_statement s = {.kind = KM_STATEMENT_REVOKE,
                    .author = l.witness->id,
                    .subject = raw_id(l.mallory),
                    .at = km_clock_wall().unix_ns / (int64_t)KM_NS_PER_S,
                    .text = "",
                    .text_len = 0};
  km_statement_sign(&s, l.key); /* with its own key */
  s.author = l.witness->id;
  int len = km_statement_encode(&s, bytes, sizeof bytes);
  assert_true(len > 0);
  push(&l, KM_PUSH_STATEMENT, bytes, (size_t)len);
  WAIT(&l.mesh, mallory_is(&l).faults.forged == 1);
  close_lab(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_entry_in_the_name_of_another_is_refused),
      cmocka_unit_test(a_wrong_signature_of_its_own_is_never_passed_on),
      cmocka_unit_test(an_entry_from_the_future_is_refused_and_no_more),
      cmocka_unit_test(an_old_entry_changes_nothing),
      cmocka_unit_test(a_share_that_it_may_not_see_is_not_written),
      cmocka_unit_test(what_cannot_be_read_is_counted),
      cmocka_unit_test(an_entry_larger_than_our_limits_is_passed_over),
      cmocka_unit_test(a_frame_longer_than_any_ends_the_stream),
      cmocka_unit_test(who_goes_on_is_cut_off),
      cmocka_unit_test(a_second_push_stream_is_refused),
      cmocka_unit_test(a_flood_waits_and_others_do_not),
      cmocka_unit_test(a_share_that_it_may_not_see_is_not_synchronized),
      cmocka_unit_test(synchronizations_at_once_are_bounded),
      cmocka_unit_test(junk_on_a_synchronization_is_counted),
      cmocka_unit_test(messages_of_others_and_forged_ones_are_refused),
      cmocka_unit_test(a_statement_in_the_name_of_another_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
