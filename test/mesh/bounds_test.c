/* What is kept of peers is bounded: docs/limits.md, "The mesh". */
#include "endpoint/mesh/push_impl.h"
#include "store/store_impl.h"
#include "store/sync.h"

#include "test/mesh/mesh_lab.h"

#define DOCS "docs"
static const km_mesh_share share = {.name = DOCS, .others = KM_ACCESS_WRITE};

static node *open_node(mesh_lab *l, km_security_level level) {
  mesh_lab_open(l);
  node *n = node_new(l);
  n->opt.shares = &share;
  n->opt.share_count = 1;
  n->opt.level = level;
  n->opt.heartbeat_timeout_ms = 60000; /* raw peers send none */
  return n;
}

static km_id id_of(unsigned n) {
  km_id id = {{(uint8_t)n, (uint8_t)(n >> 8), 1}};
  return id;
}

static raw *up_saying(mesh_lab *l, node *n, uint8_t key, const char *hello) {
  raw *r = raw_dial(l, n, key);
  raw_say(r, hello);
  raw_say(r, BEAT);
  WAIT(l, raw_heard(r, "\"ok\":true") && n->mesh->links != NULL && n->mesh->links->push != NULL);
  return r;
}

static raw *up_with(mesh_lab *l, node *n, uint8_t key) {
  return up_saying(l, n, key, HELLO_OF("raw", "1.0")); /* no share: nothing is synchronized */
}

static void strangers_make_room_for_strangers_but_who_is_cut_off_goes_last(void **state) {
  (void)state;
  mesh_lab l;
  node *n = open_node(&l, KM_SECURITY_DEVELOPMENT);
  node_start(n);
  /* The oldest, with nothing but its faults that is worth to be remembered. */
  km_id bad = id_of(60000);
  km_mpeer *p = km_mpeer_get(n->mesh, &bad);
  while (!km_guard_is_cut(&p->guard, km_loop_now(n->loop))) {
    (void)km_guard_fault(&p->guard, KM_FAULT_FORGED, km_loop_now(n->loop));
  }
  for (unsigned i = 0; i + 1 < KM_MESH_MAX_PEERS; i++) {
    km_id id = id_of(i);
    assert_non_null(km_mpeer_get(n->mesh, &id));
  }
  assert_int_equal(node_stats(n).peers, KM_MESH_MAX_PEERS);
  for (unsigned i = 0; i < 100; i++) {
    km_id id = id_of(KM_MESH_MAX_PEERS + i);
    assert_non_null(km_mpeer_get(n->mesh, &id));
  }
  assert_int_equal(node_stats(n).peers, KM_MESH_MAX_PEERS);
  assert_ptr_equal(km_mpeer_find(n->mesh, &bad), p);
  mesh_lab_close(&l);
}

static void so_many_peers_can_be_configured(void **state) {
  (void)state;
  mesh_lab l;
  node *n = open_node(&l, KM_SECURITY_DEVELOPMENT);
  node_start(n);
  km_mesh_peer peer = {.size = sizeof peer};
  for (unsigned i = 0; i < KM_MESH_MAX_PEERS; i++) {
    peer.id = id_of(i);
    assert_int_equal(km_peer_add(n->mesh, &peer, NULL), 0);
  }
  peer.id = id_of(KM_MESH_MAX_PEERS);
  assert_int_equal(km_peer_add(n->mesh, &peer, NULL), KM_ERR_LIMIT);
  raw *r = raw_dial(&l, n, 1);
  WAIT(&l, r->closed);
  assert_int_equal(r->info.code, KM_MESH_REFUSED);
  assert_string_equal(r->reason, "no room for one more peer");
  mesh_lab_close(&l);
}

static void a_refused_peer_that_takes_no_reason_is_closed_anyway(void **state) {
  (void)state;
  mesh_lab l;
  node *n = open_node(&l, KM_SECURITY_SECURE), *other = node_new(&l);
  node_peer(other, n, true);
  node_start(n);
  node_start(other);
  /* It dies when its HELLO was answered, and acknowledges nothing. */
  uint64_t began = mesh_lab_ms();
  while (!other->frozen) {
    assert_true(mesh_lab_ms() < began + 1000 * LAB_PATIENCE_S);
    km_loop_run_once(n->loop, 1);
    other->frozen = node_stats(n).refused_in > 0;
    km_loop_run_once(other->frozen ? n->loop : other->loop, 1);
  }
  began = mesh_lab_ms();
  assert_non_null(n->mesh->links);
  WAIT(&l, n->mesh->links == NULL || n->mesh->links->closing);
  uint64_t took = mesh_lab_ms() - began;
  assert_true(took >= 1500 && took < 20000);
  mesh_lab_close(&l);
}

static void requests_beyond_the_room_are_told_when_they_come_again(void **state) {
  (void)state;
  enum { MAX = 64 };
  mesh_lab l;
  node *n = open_node(&l, KM_SECURITY_SECURE);
  node_start(n);
  for (unsigned round = 0; round < 2; round++) {
    for (unsigned i = 0; i < MAX + 2; i++) {
      km_id id = id_of(i);
      assert_string_equal(km_gate_refuses(n->mesh, &id, "somebody"), "waiting for approval");
    }
    mesh_lab_run(&l, 20);
    assert_int_equal(n->requests, round == 0 ? MAX : MAX + 2);
  }
  mesh_lab_close(&l);
}

static void so_many_confirmations_wait(void **state) {
  (void)state;
  mesh_lab l;
  node *n = open_node(&l, KM_SECURITY_DEVELOPMENT);
  node_start(n);
  (void)up_with(&l, n, 1);
  km_push *p = n->mesh->links->push;
  for (unsigned i = 0; i < KM_PUSH_CONFIRMS_MAX + 100; i++) {
    uint8_t id[KM_MESSAGE_ID_BYTES] = {(uint8_t)i, (uint8_t)(i >> 8)};
    km_push_confirm(p, id);
  }
  assert_int_equal(p->confirms.count, KM_PUSH_CONFIRMS_MAX);
  mesh_lab_close(&l);
}

static void on_sync(void *ctx, km_mesh *mesh, const km_id *peer, const char *name, int error,
                    uint64_t entries_in, uint64_t entries_out) {
  (void)ctx;
  (void)mesh;
  (void)peer;
  (void)name;
  (void)entries_in;
  (void)entries_out;
  assert_int_equal(error, KM_ERR_TIMEOUT);
}

static void a_synchronization_that_stands_still_is_given_up(void **state) {
  (void)state;
  mesh_lab l;
  node *n = open_node(&l, KM_SECURITY_DEVELOPMENT);
  n->opt.callbacks.on_sync = on_sync;
  node_start(n);
  raw *r = up_with(&l, n, 1);
  static const uint8_t begun[] = {KM_STREAM_SYNC, 20}; /* a frame of which nothing comes */
  (void)raw_stream(r, true, begun, sizeof begun);
  km_link *link = n->mesh->links;
  WAIT(&l, km_sync_streams_next(link) != KM_TS_NEVER);
  km_ts end = km_sync_streams_next(link);
  km_ts left = end - km_loop_now(n->loop);
  assert_true(left > 50 * KM_NS_PER_S && left <= 60 * KM_NS_PER_S);
  km_sync_streams_tick(link, end - 1);
  assert_int_equal(node_stats(n).syncs_failed, 0);
  km_sync_streams_tick(link, end);
  assert_int_equal(node_stats(n).syncs_failed, 1);
  WAIT(&l, r->resets > 0);
  mesh_lab_close(&l);
}

/* The other side of a synchronization, by the book but for the end of its stream. */
typedef struct endless {
  km_stream *stream;
  km_sync *sync;
  unsigned stops;
} endless;

static bool anything(void *ctx, const char *name) {
  (void)ctx;
  (void)name;
  return true;
}

static bool anybody(void *ctx, const char *name, const km_id *author) {
  (void)ctx;
  (void)name;
  (void)author;
  return true;
}

static void on_endless_data(void *ctx, km_stream *s, const void *data, size_t len, bool fin) {
  (void)s;
  assert_int_equal(km_sync_receive(((endless *)ctx)->sync, data, len, fin, NULL), 0);
}

static void on_endless_stopped(void *ctx, km_stream *s, uint64_t code) {
  (void)s;
  assert_int_equal(code, 0);
  ((endless *)ctx)->stops++;
}

static void on_endless_closed(void *ctx, km_stream *s, int error) {
  (void)s;
  (void)error;
  ((endless *)ctx)->stream = NULL;
}

static void say_without_end(endless *e) {
  const uint8_t *bytes;
  bool fin;
  size_t len, taken;
  km_errinfo err;
  (void)km_sync_work(e->sync, &err);
  while ((len = km_sync_output(e->sync, &bytes, &fin)) > 0) {
    assert_int_equal(km_stream_write(e->stream, bytes, len, false, &taken, NULL), 0);
    km_sync_sent(e->sync, taken);
  }
}

static void synchronize_without_end(mesh_lab *l, node *n, raw *r, km_store *store) {
  static const km_stream_callbacks callbacks = {.size = sizeof callbacks,
                                                .on_data = on_endless_data,
                                                .on_stopped = on_endless_stopped,
                                                .on_closed = on_endless_closed};
  endless e = {0};
  const km_sync_config config = {.env = store->env,
                                 .store = store,
                                 .peer = n->id,
                                 .initiator = true,
                                 .share = DOCS,
                                 .may_read = anything,
                                 .may_write = anybody};
  uint64_t before = node_stats(n).syncs;
  assert_int_equal(km_sync_new(&e.sync, &config), 0);
  const uint8_t kind = KM_STREAM_SYNC;
  e.stream = raw_stream(r, true, &kind, 1);
  km_stream_set_callbacks(e.stream, &callbacks, &e);
  while (km_sync_get_state(e.sync) != KM_SYNC_DONE) {
    say_without_end(&e);
    mesh_lab_turn(l);
  }
  WAIT(l, node_stats(n).syncs > before);
  WAIT(l, e.stream == NULL);
  assert_int_equal(e.stops, 1);
  km_sync_free(e.sync);
}

static uint64_t streams_of(node *n) {
  km_conn_stats s = {.size = sizeof s};
  assert_int_equal(km_conn_get_stats(n->mesh->links->conn, &s), 0);
  return s.streams_open;
}

static void a_synchronization_that_the_peer_does_not_end_leaves_no_stream(void **state) {
  (void)state;
  mesh_lab l;
  node *n = open_node(&l, KM_SECURITY_DEVELOPMENT), *other = node_new(&l);
  node_start(n);
  raw *r = up_saying(&l, n, 1,
                     "{\"type\":\"HELLO\",\"node_id\":\"raw\",\"version\":\"1.0\","
                     "\"capabilities\":{\"shares\":[\"" DOCS "\"],\"features\":[]}}");
  km_id id = raw_id(r);
  bool begins = memcmp(&n->id, &id, sizeof id) < 0; /* it is not answered */
  WAIT(&l, node_stats(n).syncs == begins && streams_of(n) == 1);
  assert_int_equal(km_kv_put(n->store, DOCS, "k", "v", 1, NULL), 0);
  for (unsigned i = 0; i < 4; i++) {
    synchronize_without_end(&l, n, r, other->store);
    WAIT(&l, streams_of(n) == 1); /* the control stream */
  }
  km_kv_entry e;
  assert_int_equal(km_kv_get(other->store, DOCS, "k", &e, NULL), 0);
  assert_int_equal(node_stats(n).syncs_failed, begins);
  assert_int_equal(node_stats(n).faults.malformed, 0);
  mesh_lab_close(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(strangers_make_room_for_strangers_but_who_is_cut_off_goes_last),
      cmocka_unit_test(so_many_peers_can_be_configured),
      cmocka_unit_test(a_refused_peer_that_takes_no_reason_is_closed_anyway),
      cmocka_unit_test(requests_beyond_the_room_are_told_when_they_come_again),
      cmocka_unit_test(so_many_confirmations_wait),
      cmocka_unit_test(a_synchronization_that_stands_still_is_given_up),
      cmocka_unit_test(a_synchronization_that_the_peer_does_not_end_leaves_no_stream),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
