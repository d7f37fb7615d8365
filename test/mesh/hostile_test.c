/* Peers that break the protocol, flood, or die at any moment: refused, counted, cut off, and
 * nothing is left of them. */
#include "endpoint/mesh/mesh_impl.h"

#include "test/mesh/mesh_lab.h"

static const uint8_t push_kind[] = {0x50, 0x00}, sync_kind[] = {0x53, 0x00},
                     unknown_kind[] = {0x7f};

/* A node that lets everybody in. */
static node *open_node(mesh_lab *l) {
  mesh_lab_open(l);
  node *n = node_new(l);
  n->opt.level = KM_SECURITY_DEVELOPMENT;
  return n;
}

static raw *up_with(mesh_lab *l, node *n, uint8_t key) {
  raw *r = raw_dial(l, n, key);
  raw_say(r, HELLO_OF("raw", "1.0"));
  WAIT(l, raw_heard(r, "\"ok\":true"));
  return r;
}

static void what_is_no_protocol_ends_in_a_close_that_says_so(void **state) {
  (void)state;
  static const struct {
    const char *first, *second; /* frames; NULL: none */
    const char *says;
  } cases[] = {
      {"{", NULL, "not a JSON object"},
      {"[1]", NULL, "not a JSON object"},
      {"{\"type\":\"HELLO\"}", NULL, "node_id"},
      {BEAT, NULL, "HEARTBEAT before HELLO"},
      {"{\"type\":\"GOSSIP\"}", NULL, "before HELLO"},
      {ACK_OF("raw", ""), NULL, "ACK before HELLO"},
      {HELLO_OF("raw", "1.0"), HELLO_OF("raw", "1.0"), "HELLO after"},
      {HELLO_OF("raw", "1.0"), ACK_OF("raw", ""), "ACK after"},
      {HELLO_OF("raw", "1.0"), "{\"type\":\"HEARTBEAT\",\"ts\":-5}", "ts"},
  };
  mesh_lab l;
  node *n = open_node(&l);
  node_start(n);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    raw *r = raw_dial(&l, n, (uint8_t)i);
    raw_say(r, cases[i].first);
    if (cases[i].second != NULL) {
      raw_say(r, cases[i].second);
    }
    WAIT(&l, r->closed);
    assert_int_equal(r->info.code, 3); /* broken */
    if (strstr(r->reason, cases[i].says) == NULL) {
      fail_msg("%s: %s", cases[i].first, r->reason);
    }
    assert_int_equal(node_stats(n).faults.malformed, i + 1);
  }
  static const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff}, zero[4] = {0};
  raw *r = raw_dial(&l, n, 100);
  raw_bytes(r, huge, sizeof huge);
  WAIT(&l, r->closed);
  assert_int_equal(r->info.code, 3);
  r = raw_dial(&l, n, 101);
  raw_bytes(r, zero, sizeof zero);
  WAIT(&l, r->closed);
  assert_int_equal(r->info.code, 3);
  mesh_lab_close(&l);
}

static void who_says_no_hello_is_closed(void **state) {
  (void)state;
  mesh_lab l;
  node *n = open_node(&l);
  n->opt.connect_timeout_ms = 200;
  node_start(n);
  raw *silent = raw_dial(&l, n, 1), *slow = raw_dial(&l, n, 2);
  raw_bytes(slow, "\0\0\0\x20{", 5); /* the rest never comes */
  WAIT(&l, silent->closed && slow->closed);
  assert_int_equal(silent->info.code, 4);
  assert_int_equal(slow->info.code, 4);
  assert_non_null(strstr(silent->reason, "no HELLO"));
  mesh_lab_close(&l);
}

static void who_stops_its_heartbeats_is_closed(void **state) {
  (void)state;
  mesh_lab l;
  node *n = open_node(&l);
  node_start(n);
  raw *r = up_with(&l, n, 1);
  WAIT(&l, r->closed);
  assert_int_equal(r->info.code, 4);
  assert_non_null(strstr(r->reason, "heartbeats"));
  assert_true(raw_heard(r, "HEARTBEAT")); /* of ours */
  mesh_lab_close(&l);
}

static void the_end_of_the_control_stream_is_the_end(void **state) {
  (void)state;
  mesh_lab l;
  node *n = open_node(&l);
  node_start(n);
  for (int i = 0; i < 3; i++) {
    raw *r = up_with(&l, n, (uint8_t)(1 + i));
    switch (i) {
    case 0:
      assert_int_equal(km_stream_write(r->control, NULL, 0, true, NULL, NULL), 0);
      break;
    case 1:
      assert_int_equal(km_stream_reset(r->control, 7), 0);
      break;
    default:
      assert_int_equal(km_stream_stop(r->control, 7), 0);
    }
    WAIT(&l, r->closed);
    assert_int_equal(r->info.code, 3);
    assert_non_null(strstr(r->reason, "control stream"));
  }
  mesh_lab_close(&l);
}

static void streams_come_too_early_or_of_unknown_kind_are_reset(void **state) {
  (void)state;
  mesh_lab l;
  node *n = open_node(&l);
  n->opt.heartbeat_timeout_ms = 60000;
  node_start(n);
  raw *r = raw_dial(&l, n, 1);
  raw_bytes(r, "\0", 1); /* the control stream is there, HELLO is not */
  (void)raw_stream(r, false, push_kind, sizeof push_kind);
  (void)raw_stream(r, true, sync_kind, sizeof sync_kind);
  WAIT(&l, r->resets >= 3); /* the bidirectional one in both directions */
  assert_false(r->closed);
  raw *up = up_with(&l, n, 2);
  (void)raw_stream(up, true, unknown_kind, sizeof unknown_kind);
  (void)raw_stream(up, false, unknown_kind, sizeof unknown_kind);
  (void)raw_stream(up, true, push_kind, sizeof push_kind); /* of the wrong direction */
  (void)raw_stream(up, false, sync_kind, sizeof sync_kind);
  WAIT(&l, up->resets >= 6);
  raw_say(up, BEAT);
  mesh_lab_run(&l, 50);
  assert_false(up->closed); /* what it may mean one day is no fault */
  assert_int_equal(node_stats(n).faults.malformed, 0);
  mesh_lab_close(&l);
}

static void who_breaks_it_again_and_again_is_cut_off(void **state) {
  (void)state;
  mesh_lab l;
  enum { MAX = 4 };
  node *n = open_node(&l);
  n->opt.max_faults = MAX;
  node_start(n);
  raw *first = raw_dial(&l, n, 1), *r = first;
  for (int i = 0; i < MAX; i++) {
    raw_say(r, "{}");
    WAIT(&l, r->closed);
    assert_int_equal(r->info.code, i + 1 < MAX ? 3 : 5); /* broken; cut off */
    r = raw_dial_again(first, n);
  }
  raw_say(r, HELLO_OF("raw", "1.0"));
  WAIT(&l, raw_heard(r, "cut off"));
  WAIT(&l, r->closed);
  assert_int_equal(r->info.code, 1);
  node of = {.id = raw_id(first)};
  assert_int_equal(node_status(n, &of).faults.cut, 1);
  assert_int_equal(node_stats(n).faults.cut, 1);
  /* Others are not. */
  (void)up_with(&l, n, 2);
  mesh_lab_close(&l);
}

static void one_peer_has_a_few_connections_at_most(void **state) {
  (void)state;
  mesh_lab l;
  node *n = open_node(&l);
  node_start(n);
  raw *first = raw_dial(&l, n, 1);
  unsigned closed = 0;
  raw *all[8] = {first};
  for (int i = 1; i < 8; i++) {
    all[i] = raw_dial_again(first, n);
  }
  mesh_lab_run(&l, 100);
  for (int i = 0; i < 8; i++) {
    closed += all[i]->closed;
    assert_true(!all[i]->closed || strstr(all[i]->reason, "of this peer") != NULL);
  }
  assert_int_equal(closed, 4);
  mesh_lab_close(&l);
}

static void strangers_that_only_connect_leave_room_for_peers(void **state) {
  (void)state;
  mesh_lab l;
  enum { STRANGERS = 70 };
  node *n = open_node(&l), *friend = node_new(&l);
  n->opt.level = KM_SECURITY_SECURE;
  n->opt.max_conns_per_addr = 1000;
  n->opt.connect_timeout_ms = 30000;
  node_peer(n, friend, false);
  node_peer(friend, n, true);
  node_start(n);
  for (int i = 0; i < STRANGERS; i++) {
    (void)raw_dial(&l, n, (uint8_t)i);
    mesh_lab_turn(&l);
    mesh_lab_turn(&l);
  }
  WAIT(&l, node_stats(n).refused_in >= STRANGERS - 64);
  assert_true(node_stats(n).peers <= 65);
  node_start(friend);
  WAIT(&l, node_up(n, friend) && node_up(friend, n));
  mesh_lab_close(&l);
}

/* The mesh ends while its peers stand anywhere in the handshake. */
static void it_closes_in_every_state_of_its_peers(void **state) {
  (void)state;
  for (unsigned turns = 0; turns < 24; turns++) {
    mesh_lab l;
    node *n = open_node(&l), *other = node_new(&l), *nobody = node_new(&l);
    other->opt.level = KM_SECURITY_DEVELOPMENT;
    node_peer(n, other, true);
    node_peer(n, nobody, true);
    node_peer(other, n, true);
    node_start(other);
    node_start(n);
    raw *r = raw_dial(&l, n, 1);
    raw_say(r, turns % 2 == 0 ? HELLO_OF("raw", "1.0") : HELLO_OF("raw", "2.0"));
    for (unsigned i = 0; i < turns; i++) {
      km_loop_run_once(n->loop, 0);
      km_loop_run_once(other->loop, 0);
    }
    km_mesh_close(n->mesh);
    km_mesh_close(n->mesh); /* again does nothing */
    WAIT(&l, n->mesh == NULL);
    /* What was half open when it closed comes up afterwards, or not: nobody is there for it. */
    mesh_lab_run(&l, 5);
    WAIT(&l, node_conns(n) == 0);
    mesh_lab_close(&l);
  }
}

/* --- no memory ------------------------------------------------------------------------------- */

static long may_fail_after; /* so many allocations of the mesh succeed; below 0: all */

static bool has_memory(void) {
  may_fail_after -= may_fail_after > 0;
  return may_fail_after != 0;
}

static void *scarce_alloc(void *ctx, size_t size) {
  (void)ctx;
  return has_memory() ? malloc(size) : NULL;
}

static void *scarce_realloc(void *ctx, void *ptr, size_t size) {
  (void)ctx;
  return has_memory() ? realloc(ptr, size) : NULL;
}

/* The mesh's memory runs out at every allocation of a handshake in turn: it neither dies nor hangs,
 * and when there is memory again the two find each other. */
static void memory_that_runs_out_and_comes_back(void **state) {
  (void)state;
  static const km_mesh_share docs = {.name = "docs", .others = KM_ACCESS_WRITE};
  mesh_lab l;
  may_fail_after = -1;
  node *n = open_node(&l), *other = node_new(&l);
  n->opt.shares = other->opt.shares = &docs;
  n->opt.share_count = other->opt.share_count = 1;
  node_peer(n, other, true);
  node_peer(other, n, true);
  node_start(n);
  node_start(other);
  n->mesh->own_env.alloc = scarce_alloc;
  n->mesh->own_env.realloc = scarce_realloc;
  WAIT(&l, node_up(n, other) && node_up(other, n));
  for (long i = 1; i <= 60; i++) {
    may_fail_after = i;
    (void)km_peer_remove(n->mesh, &other->id);
    int rv = km_peer_add(n->mesh, &n->peers[0], NULL);
    assert_true(rv == 0 || rv == KM_ERR_NOMEM || rv == KM_ERR_LIMIT);
    mesh_lab_run(&l, 20);
    may_fail_after = -1;
    assert_int_equal(km_peer_add(n->mesh, &n->peers[0], NULL), 0);
    WAIT(&l, node_up(n, other) && node_up(other, n));
  }
  assert_int_equal(node_status(n, other).faults.malformed, 0); /* it is nobody's fault */
  assert_int_equal(node_status(other, n).faults.malformed, 0);
  mesh_lab_close(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_no_protocol_ends_in_a_close_that_says_so),
      cmocka_unit_test(who_says_no_hello_is_closed),
      cmocka_unit_test(who_stops_its_heartbeats_is_closed),
      cmocka_unit_test(the_end_of_the_control_stream_is_the_end),
      cmocka_unit_test(streams_come_too_early_or_of_unknown_kind_are_reset),
      cmocka_unit_test(who_breaks_it_again_and_again_is_cut_off),
      cmocka_unit_test(one_peer_has_a_few_connections_at_most),
      cmocka_unit_test(strangers_that_only_connect_leave_room_for_peers),
      cmocka_unit_test(it_closes_in_every_state_of_its_peers),
      cmocka_unit_test(memory_that_runs_out_and_comes_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
