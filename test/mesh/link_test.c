/* Two meshes over loopback: the first KeyMesh's acceptance walk, and what is told on the way. */
#include "test/mesh/mesh_lab.h"

#include <time.h>

static km_mesh_share docs[] = {{.name = "docs", .others = KM_ACCESS_WRITE},
                               {.name = "private", .others = KM_ACCESS_NONE}};

typedef struct two {
  mesh_lab lab;
  node *a, *b;
} two;

/* Both dial each other unless told otherwise. */
static void open_two(two *t, bool a_dials, bool b_dials) {
  mesh_lab_open(&t->lab);
  t->a = node_new(&t->lab);
  t->b = node_new(&t->lab);
  t->a->opt.node_id = "host-A";
  t->b->opt.node_id = "host-B";
  t->a->opt.shares = t->b->opt.shares = docs;
  t->a->opt.share_count = 2;
  t->b->opt.share_count = 1;
  node_peer(t->a, t->b, a_dials);
  node_peer(t->b, t->a, b_dials);
}

static void wait_up(two *t) {
  WAIT(&t->lab, node_up(t->a, t->b) && node_up(t->b, t->a));
}

static int64_t wall_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Start A: back-off. Start B: handshake. Stop B: not connected. Start it again: connected. */
static void the_acceptance_walk(void **state) {
  (void)state;
  two t;
  open_two(&t, true, false);
  node_start(t.a);
  WAIT(&t.lab, node_status(t.a, t.b).attempts >= 2);
  km_peer_status s = node_status(t.a, t.b);
  assert_non_null(s.last_error);
  assert_true(s.configured && s.connected_ms == 0 && s.last_ack_ms == 0);
  assert_true(node_was(t.a, t.b, KM_PEER_DIALLING));
  assert_true(node_was(t.a, t.b, KM_PEER_WAITING));
  assert_false(node_was(t.a, t.b, KM_PEER_CONNECTED));

  node_start(t.b);
  wait_up(&t);
  assert_true(node_was(t.a, t.b, KM_PEER_HANDSHAKE));

  node_stop(t.b);
  WAIT(&t.lab, !node_up(t.a, t.b));
  WAIT(&t.lab, node_status(t.a, t.b).last_error != NULL);
  s = node_status(t.a, t.b);
  assert_int_equal(s.connected_ms, 0);
  assert_true(s.last_ack_ms > 0); /* what was known stays known */

  node_start(t.b);
  wait_up(&t);
  assert_null(node_status(t.a, t.b).last_error);
  mesh_lab_close(&t.lab);
}

static void what_is_told_of_a_peer_is_true(void **state) {
  (void)state;
  two t;
  int64_t before = wall_ms();
  static const char *const features[] = {"of the program"};
  open_two(&t, true, false);
  t.b->opt.features = features;
  t.b->opt.feature_count = 1;
  t.a->peers[0].name = "the other one";
  t.a->opt.heartbeat_timeout_ms = t.b->opt.heartbeat_timeout_ms = 60000; /* however slow */
  node_start(t.a);
  node_start(t.b);
  wait_up(&t);
  WAIT(&t.lab, node_status(t.a, t.b).rtt_us > 0 && node_status(t.b, t.a).rtt_us > 0);
  km_peer_status s = node_status(t.a, t.b);
  assert_string_equal(s.name, "the other one");
  assert_string_equal(s.node_id, "host-B");
  assert_string_equal(s.remote_version, KM_MESH_VERSION);
  assert_true(s.dialled_by_us && s.path == KM_PATH_DIRECT);
  char addr[KM_UDP_ADDR_TEXT_CAP];
  assert_true(km_udp_addr_format(&t.b->addr, addr, sizeof addr) > 0);
  assert_string_equal(s.addr, addr);
  assert_int_equal(s.allowed_share_count, 1);
  assert_string_equal(s.allowed_shares[0], "docs");
  assert_int_equal(s.remote_share_count, 1);
  assert_string_equal(s.remote_shares[0], "docs");
  assert_string_equal(s.remote_features[s.remote_feature_count - 1], "of the program");
  assert_in_range(s.last_hello_ms, before, wall_ms());
  assert_in_range(s.last_ack_ms, s.last_hello_ms, wall_ms());
  assert_in_range(s.last_heartbeat_ms, before, wall_ms());
  assert_in_range(s.connected_ms, before, wall_ms());
  assert_true(s.attempts == 0 && s.next_attempt_ms == 0);
  assert_true(s.rtt_us < 10000000);
  s = node_status(t.b, t.a);
  assert_false(s.dialled_by_us);
  assert_string_equal(s.node_id, "host-A");
  assert_string_equal(s.name, "");
  km_mesh_stats stats = node_stats(t.b);
  assert_true(stats.peers == 1 && stats.connected == 1 && stats.handshakes == 1);
  assert_true(stats.heartbeats_in > 0 && stats.heartbeats_out > 0);
  mesh_lab_close(&t.lab);
}

static void heartbeats_go_on_and_are_counted(void **state) {
  (void)state;
  two t;
  open_two(&t, true, true);
  node_start(t.a);
  node_start(t.b);
  wait_up(&t);
  WAIT(&t.lab, node_stats(t.a).heartbeats_in >= 8 && node_stats(t.b).heartbeats_in >= 8);
  assert_true(node_up(t.a, t.b) && node_up(t.b, t.a));
  mesh_lab_close(&t.lab);
}

/* A process that was killed says no goodbye. */
static void a_peer_that_falls_silent_is_noticed_and_found_again(void **state) {
  (void)state;
  two t;
  open_two(&t, true, false);
  node_start(t.a);
  node_start(t.b);
  wait_up(&t);
  t.b->frozen = true;
  WAIT(&t.lab, !node_up(t.a, t.b));
  assert_non_null(strstr(node_error(t.a, t.b), "heartbeats stopped"));
  WAIT(&t.lab, node_status(t.a, t.b).attempts >= 1);
  t.b->frozen = false;
  WAIT(&t.lab, node_up(t.a, t.b) && node_up(t.b, t.a));
  mesh_lab_close(&t.lab);
}

static void goodbye_is_said_and_shown(void **state) {
  (void)state;
  two t;
  open_two(&t, true, false);
  node_start(t.a);
  node_start(t.b);
  wait_up(&t);
  node_stop(t.b);
  WAIT(&t.lab, node_error(t.a, t.b)[0] != '\0');
  assert_non_null(strstr(node_error(t.a, t.b), "goodbye"));
  mesh_lab_close(&t.lab);
}

static void a_flapping_peer_is_not_hammered(void **state) {
  (void)state;
  two t;
  static const uint32_t waits[] = {100, 3000};
  open_two(&t, true, false);
  t.a->opt.backoff_ms = waits;
  t.a->opt.backoff_count = 2;
  t.a->opt.backoff_jitter_percent = 0;
  t.a->opt.heartbeat_ms = 5000; /* up for a while: as long as that */
  t.a->opt.heartbeat_timeout_ms = 15000;
  node_start(t.a);
  for (int i = 0; i < 2; i++) {
    node_start(t.b);
    wait_up(&t);
    node_stop(t.b);
    WAIT(&t.lab, node_error(t.a, t.b)[0] != '\0' && node_status(t.a, t.b).next_attempt_ms > 0);
  }
  /* The second time it waits longer, though it was connected between. */
  km_peer_status s = node_status(t.a, t.b);
  assert_true(s.attempts >= 2);
  assert_in_range(s.next_attempt_ms, wall_ms() + 1000, wall_ms() + 3000);
  assert_int_equal(km_peer_dial(t.a->mesh, &t.b->id), 0); /* unless it is asked to */
  assert_int_equal(node_status(t.a, t.b).state, KM_PEER_DIALLING);
  mesh_lab_close(&t.lab);
}

static void count_peer(void *ctx, const km_peer_status *peer) {
  assert_int_equal(peer->state, KM_PEER_CONNECTED);
  ++*(unsigned *)ctx;
}

static void peers_come_and_go_while_it_runs(void **state) {
  (void)state;
  two t;
  open_two(&t, false, false);
  km_mesh_peer peer = t.a->peers[0];
  t.a->peer_count = 0;
  node_start(t.a);
  node_start(t.b);
  km_peer_status s = {.size = sizeof s};
  assert_int_equal(km_peer_get(t.a->mesh, &t.b->id, &s), KM_ERR_NOT_FOUND);
  assert_int_equal(km_peer_dial(t.a->mesh, &t.b->id), KM_ERR_NOT_FOUND);
  assert_null(km_peer_conn(t.a->mesh, &t.b->id));
  peer.dial = true;
  assert_int_equal(km_peer_add(t.a->mesh, &peer, NULL), 0);
  wait_up(&t);
  assert_non_null(km_peer_conn(t.a->mesh, &t.b->id));
  unsigned listed = 0;
  assert_int_equal(km_peer_list(t.a->mesh, count_peer, &listed), 1);
  assert_int_equal(listed, 1);
  assert_int_equal(km_peer_remove(t.a->mesh, &t.b->id), 0);
  assert_int_equal(km_peer_remove(t.a->mesh, &t.b->id), KM_ERR_NOT_FOUND);
  WAIT(&t.lab, !node_up(t.b, t.a));
  WAIT(&t.lab, km_peer_get(t.a->mesh, &t.b->id, &s) == KM_ERR_NOT_FOUND);
  t.a->peer_count = 1; /* its address is freed with the node */
  mesh_lab_close(&t.lab);
}

/* One that only dials us is dialled once when it is asked for, and nothing is left of that. */
static void a_dial_that_fails_at_once_leaves_no_wait(void **state) {
  (void)state;
  mesh_lab l;
  mesh_lab_open(&l);
  node *n = node_new(&l);
  node nowhere = {.id = {{1, 2, 3}}};
  km_mesh_peer peer = {.size = sizeof peer, .id = nowhere.id}; /* no address, no discovery */
  node_start(n);
  assert_int_equal(km_peer_add(n->mesh, &peer, NULL), 0);
  assert_int_equal(km_peer_dial(n->mesh, &nowhere.id), 0);
  WAIT(&l, node_error(n, &nowhere)[0] != '\0');
  assert_int_equal(node_status(n, &nowhere).state, KM_PEER_IDLE);
  assert_int_equal(node_status(n, &nowhere).next_attempt_ms, 0);
  mesh_lab_close(&l);
}

static void who_gave_no_sign_yet_is_not_synchronized(void **state) {
  (void)state;
  mesh_lab l;
  mesh_lab_open(&l);
  node *n = node_new(&l);
  n->opt.level = KM_SECURITY_DEVELOPMENT;
  n->opt.heartbeat_timeout_ms = 60000;
  node_start(n);
  raw *r = raw_dial(&l, n, 1);
  const km_id id = raw_id(r);
  raw_say(r, HELLO_OF("raw", "1.0"));
  WAIT(&l, raw_heard(r, "\"ok\":true"));
  if (r->streams == 0) { /* a second is not over */
    assert_int_equal(km_mesh_sync(n->mesh, &id), KM_ERR_NOT_FOUND);
  }
  raw_say(r, BEAT);
  WAIT(&l, km_mesh_sync(n->mesh, &id) == 0);
  mesh_lab_close(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_dial_that_fails_at_once_leaves_no_wait),
      cmocka_unit_test(who_gave_no_sign_yet_is_not_synchronized),
      cmocka_unit_test(the_acceptance_walk),
      cmocka_unit_test(what_is_told_of_a_peer_is_true),
      cmocka_unit_test(heartbeats_go_on_and_are_counted),
      cmocka_unit_test(a_peer_that_falls_silent_is_noticed_and_found_again),
      cmocka_unit_test(goodbye_is_said_and_shown),
      cmocka_unit_test(a_flapping_peer_is_not_hammered),
      cmocka_unit_test(peers_come_and_go_while_it_runs),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
