/* Who is let in, live: strangers, approval, revocation, versions, limits. */
#include "test/mesh/mesh_lab.h"

typedef struct two {
  mesh_lab lab;
  node *a, *b; /* b dials a */
} two;

static void open_two(two *t, bool configured, km_security_level level) {
  mesh_lab_open(&t->lab);
  t->a = node_new(&t->lab);
  t->b = node_new(&t->lab);
  t->b->opt.node_id = "host-B";
  t->a->opt.level = level;
  node_peer(t->b, t->a, true);
  if (configured) {
    node_peer(t->a, t->b, false);
  }
}

static bool refused_with(two *t, const char *words) {
  return node_status(t->b, t->a).state == KM_PEER_REFUSED &&
         strstr(node_error(t->b, t->a), words) != NULL;
}

static bool both_up(two *t) {
  return node_up(t->a, t->b) && node_up(t->b, t->a);
}

static km_trust_state trust_of(two *t) {
  km_trust_info info;
  return km_trust_get(t->a->store, &t->b->id, &info, NULL) == 0 ? info.state : KM_TRUST_UNKNOWN;
}

static void a_stranger_waits_for_approval_and_is_let_in(void **state) {
  (void)state;
  two t;
  open_two(&t, false, KM_SECURITY_SECURE);
  node_start(t.a);
  node_start(t.b);
  WAIT(&t.lab, refused_with(&t, "refused by the peer: waiting for approval"));
  assert_int_equal(t.a->requests, 1);
  assert_memory_equal(t.a->requester.bytes, t.b->id.bytes, KM_ID_BYTES);
  assert_string_equal(t.a->requester_name, "host-B");
  assert_int_equal(trust_of(&t), KM_TRUST_PENDING);
  assert_true(node_stats(t.a).refused_in >= 1 && node_stats(t.b).refused_out >= 1);
  assert_int_equal(node_status(t.b, t.a).remote_share_count, 0);
  WAIT(&t.lab, node_stats(t.a).refused_in >= 3); /* it asks again and again */
  assert_int_equal(t.a->requests, 1);            /* and the program hears of it once */
  assert_int_equal(km_trust_approve(t.a->store, &t.b->id, NULL), 0);
  WAIT(&t.lab, both_up(&t));
  mesh_lab_close(&t.lab);
}

static void who_asks_for_access_does_not_wait(void **state) {
  (void)state;
  two t;
  static const uint32_t long_wait[] = {3600000};
  open_two(&t, false, KM_SECURITY_SECURE);
  t.b->opt.backoff_ms = long_wait;
  t.b->opt.backoff_count = 1;
  node_start(t.a);
  node_start(t.b);
  WAIT(&t.lab, refused_with(&t, "waiting for approval"));
  assert_true(node_status(t.b, t.a).next_attempt_ms > 0);
  assert_int_equal(km_trust_approve(t.a->store, &t.b->id, NULL), 0);
  assert_int_equal(km_mesh_request_access(t.b->mesh), 1);
  WAIT(&t.lab, both_up(&t));
  assert_int_equal(km_mesh_request_access(t.b->mesh), 0);
  mesh_lab_close(&t.lab);
}

static void revocation_cuts_at_once_and_trust_brings_back(void **state) {
  (void)state;
  two t;
  open_two(&t, false, KM_SECURITY_SECURE);
  node_start(t.a);
  assert_int_equal(km_trust_add(t.a->store, &t.b->id, "bee", NULL, 0, NULL), 0);
  node_start(t.b);
  WAIT(&t.lab, both_up(&t));
  assert_string_equal(node_status(t.a, t.b).name, "bee");
  assert_int_equal(km_trust_block(t.a->store, &t.b->id, NULL, NULL), 0);
  /* From this call on it gets nothing more. */
  assert_null(km_peer_conn(t.a->mesh, &t.b->id));
  WAIT(&t.lab, refused_with(&t, "does not trust this node any more"));
  WAIT(&t.lab, refused_with(&t, "blocked"));
  assert_int_equal(km_trust_add(t.a->store, &t.b->id, NULL, NULL, 0, NULL), 0);
  WAIT(&t.lab, both_up(&t));
  mesh_lab_close(&t.lab);
}

static void a_configured_peer_can_be_blocked_too(void **state) {
  (void)state;
  two t;
  open_two(&t, true, KM_SECURITY_SECURE);
  t.a->peers[0].dial = true;
  node_start(t.a);
  node_start(t.b);
  WAIT(&t.lab, both_up(&t));
  assert_int_equal(km_trust_block(t.a->store, &t.b->id, NULL, NULL), 0);
  WAIT(&t.lab, node_status(t.a, t.b).state == KM_PEER_REFUSED);
  WAIT(&t.lab, strstr(node_error(t.a, t.b), "not trusted here") != NULL);
  /* It is not dialled either. */
  uint64_t handshakes = node_stats(t.a).handshakes;
  mesh_lab_run(&t.lab, 500);
  assert_int_equal(node_stats(t.a).handshakes, handshakes);
  assert_int_equal(km_trust_add(t.a->store, &t.b->id, NULL, NULL, 0, NULL), 0);
  WAIT(&t.lab, both_up(&t));
  mesh_lab_close(&t.lab);
}

static void the_levels_differ_in_strangers(void **state) {
  (void)state;
  static const struct {
    km_security_level level;
    const char *refusal; /* NULL: let in */
    km_trust_state then;
  } cases[] = {
      {KM_SECURITY_DEVELOPMENT, NULL, KM_TRUST_UNKNOWN},
      {KM_SECURITY_SIGNED, NULL, KM_TRUST_TRUSTED},
      {KM_SECURITY_SECURE, "waiting for approval", KM_TRUST_PENDING},
      {KM_SECURITY_STRICT, "not trusted here", KM_TRUST_UNKNOWN},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    two t;
    open_two(&t, false, cases[i].level);
    node_start(t.a);
    node_start(t.b);
    if (cases[i].refusal == NULL) {
      WAIT(&t.lab, both_up(&t));
    } else {
      WAIT(&t.lab, refused_with(&t, cases[i].refusal));
    }
    assert_int_equal(trust_of(&t), cases[i].then);
    mesh_lab_close(&t.lab);
  }
}

static void allow_and_block_lists_of_the_configuration(void **state) {
  (void)state;
  two t;
  char fingerprint[KM_ID_TEXT_CAP];
  const char *fingerprints[] = {"sha256:0", fingerprint};
  /* By id. */
  open_two(&t, false, KM_SECURITY_STRICT);
  t.a->opt.allow = &t.b->id;
  t.a->opt.allow_count = 1;
  node_start(t.a);
  node_start(t.b);
  WAIT(&t.lab, both_up(&t));
  mesh_lab_close(&t.lab);
  /* By fingerprint. */
  open_two(&t, false, KM_SECURITY_STRICT);
  assert_true(km_id_format(&t.b->id, KM_ID_FINGERPRINT, fingerprint, sizeof fingerprint) > 0);
  t.a->opt.allow_fingerprints = fingerprints;
  t.a->opt.allow_fingerprint_count = 2;
  node_start(t.a);
  node_start(t.b);
  WAIT(&t.lab, both_up(&t));
  mesh_lab_close(&t.lab);
  /* Blocked, though everybody else is let in. */
  open_two(&t, false, KM_SECURITY_DEVELOPMENT);
  t.a->opt.block = &t.b->id;
  t.a->opt.block_count = 1;
  node_start(t.a);
  node_start(t.b);
  WAIT(&t.lab, refused_with(&t, "blocked"));
  mesh_lab_close(&t.lab);
}

/* --- versions, and peers that we play --------------------------------------------------------- */

static void another_version_is_refused_with_words_on_both_sides(void **state) {
  (void)state;
  mesh_lab l;
  mesh_lab_open(&l);
  node *n = node_new(&l);
  n->opt.level = KM_SECURITY_DEVELOPMENT;
  raw *theirs = raw_listen(&l, n, 1);
  node of = {.id = raw_id(theirs)};
  node_start(n);
  raw *r = raw_dial(&l, n, 2);
  raw_say(r, HELLO_OF("raw", "2.0"));
  WAIT(&l, r->closed);
  assert_true(raw_heard(r, "\"ok\":false") && raw_heard(r, "incompatible version"));
  assert_int_equal(r->info.code, 1); /* refused */
  assert_non_null(strstr(r->reason, "incompatible version"));
  /* A peer that lets us in, but speaks another version. */
  WAIT(&l, raw_heard(theirs, "HELLO"));
  raw_say(theirs, ACK_OF("raw", ",\"version\":\"2.0\""));
  WAIT(&l, strstr(node_error(n, &of), "incompatible version") != NULL);
  assert_int_equal(node_status(n, &of).state, KM_PEER_REFUSED);
  mesh_lab_close(&l);
}

static void a_peers_refusal_is_told_in_its_words(void **state) {
  (void)state;
  mesh_lab l;
  mesh_lab_open(&l);
  node *n = node_new(&l);
  raw *r = raw_listen(&l, n, 1);
  node of = {.id = raw_id(r)};
  node_start(n);
  WAIT(&l, raw_heard(r, "HELLO"));
  raw_say(r, "{\"type\":\"ACK\",\"ok\":false,\"reason\":\"we are full\",\"peer_id\":\"raw\","
             "\"capabilities\":{}}");
  WAIT(&l, node_status(n, &of).state == KM_PEER_REFUSED);
  assert_string_equal(node_error(n, &of), "refused by the peer: we are full");
  /* And by the code of a close, before any ACK. */
  WAIT(&l, r->accepted >= 2 && r->conn != NULL);
  km_conn_close(r->conn, 1, "go away", 7);
  WAIT(&l, strcmp(node_error(n, &of), "the peer refused: go away") == 0);
  mesh_lab_close(&l);
}

static void a_peer_that_does_not_answer_hello_is_given_up(void **state) {
  (void)state;
  mesh_lab l;
  mesh_lab_open(&l);
  node *n = node_new(&l);
  raw *r = raw_listen(&l, n, 1);
  node of = {.id = raw_id(r)};
  n->opt.connect_timeout_ms = 200;
  node_start(n);
  WAIT(&l, raw_heard(r, "HELLO"));
  WAIT(&l, strstr(node_error(n, &of), "no ACK") != NULL);
  assert_int_equal(node_status(n, &of).state, KM_PEER_WAITING);
  WAIT(&l, r->accepted >= 2); /* and dialled again */
  mesh_lab_close(&l);
}

static void an_address_has_so_many_connections_and_no_more(void **state) {
  (void)state;
  mesh_lab l;
  enum { MAX = 3 };
  mesh_lab_open(&l);
  node *n = node_new(&l);
  n->opt.level = KM_SECURITY_DEVELOPMENT;
  n->opt.max_conns_per_addr = MAX;
  node_start(n);
  raw *all[MAX];
  for (int i = 0; i < MAX; i++) {
    all[i] = raw_dial(&l, n, (uint8_t)i);
    raw_say(all[i], HELLO_OF("raw", "1.0"));
    WAIT(&l, raw_heard(all[i], "\"ok\":true"));
  }
  raw *more = raw_dial(&l, n, MAX);
  WAIT(&l, more->closed);
  assert_int_equal(more->info.code, 1);
  assert_non_null(strstr(more->reason, "address"));
  /* Room again when one is gone. */
  km_conn_close(all[0]->conn, 0, NULL, 0);
  WAIT(&l, all[0]->closed && node_stats(n).connected == MAX - 1);
  more = raw_dial(&l, n, MAX + 1);
  raw_say(more, HELLO_OF("raw", "1.0"));
  WAIT(&l, raw_heard(more, "\"ok\":true"));
  mesh_lab_close(&l);
}

/* --- what the program may do from inside a callback ------------------------------------------- */

static void close_mesh(node *n, const km_peer_status *s) {
  (void)s;
  km_mesh_close(n->mesh);
}

static void remove_peer(node *n, const km_peer_status *s) {
  if (s->state == KM_PEER_CONNECTED) {
    assert_int_equal(km_peer_remove(n->mesh, &s->id), 0);
  }
}

static void callbacks_may_close_and_remove(void **state) {
  (void)state;
  two t;
  open_two(&t, true, KM_SECURITY_SECURE);
  t.b->on_peer_hook = remove_peer;
  node_start(t.a);
  node_start(t.b);
  km_peer_status s = {.size = sizeof s};
  WAIT(&t.lab, node_was(t.b, t.a, KM_PEER_CONNECTED) &&
                   km_peer_get(t.b->mesh, &t.a->id, &s) == KM_ERR_NOT_FOUND);
  node_stop(t.b);
  t.b->on_peer_hook = close_mesh;
  node_start(t.b);
  WAIT(&t.lab, t.b->mesh == NULL);
  mesh_lab_close(&t.lab);
}

/* --- options ---------------------------------------------------------------------------------- */

static void expect_invalid(node *n, const char *names) {
  km_mesh *mesh = NULL;
  km_errinfo err = {0};
  km_endpoint *ep;
  assert_int_equal(km_endpoint_open(&ep, n->loop, &n->ep_opt, NULL), 0);
  n->opt.peers = n->peers;
  n->opt.peer_count = n->peer_count;
  int rv = km_mesh_open(&mesh, ep, &n->opt, &err);
  if (rv != KM_ERR_INVALID || strstr(err.text, names) == NULL) {
    fail_msg("%s: %d %s", names, rv, err.text);
  }
  assert_null(mesh);
  n->ep = ep;
  node_stop(n);
}

static void options_are_checked_by_name(void **state) {
  (void)state;
  mesh_lab l;
  mesh_lab_open(&l);
  node *n = node_new(&l), *other = node_new(&l);
  n->ep_opt.callbacks = (km_endpoint_callbacks){0};
  km_mesh_options good = n->opt;
  static const km_mesh_share twice[] = {{.name = "x"}, {.name = "x"}}, bad[] = {{.name = "a/b"}};
  const km_mesh_grant grant = {.share = "nowhere", .access = KM_ACCESS_READ};
  n->opt.heartbeat_ms = 99;
  expect_invalid(n, "heartbeat_ms");
  n->opt = good;
  n->opt.heartbeat_timeout_ms = n->opt.heartbeat_ms;
  expect_invalid(n, "heartbeat_timeout_ms");
  n->opt = good;
  n->opt.connect_timeout_ms = 600001;
  expect_invalid(n, "connect_timeout_ms");
  n->opt = good;
  n->opt.backoff_jitter_percent = 51;
  expect_invalid(n, "backoff_jitter_percent");
  n->opt = good;
  n->opt.backoff_count = 0;
  expect_invalid(n, "backoff_ms");
  n->opt = good;
  n->opt.shares = twice;
  n->opt.share_count = 2;
  expect_invalid(n, "twice");
  n->opt.shares = bad;
  n->opt.share_count = 1;
  expect_invalid(n, "share");
  static km_mesh_share many[KM_MESH_MAX_SHARES + 1];
  static char names[KM_MESH_MAX_SHARES + 1][8];
  for (unsigned i = 0; i <= KM_MESH_MAX_SHARES; i++) {
    snprintf(names[i], sizeof names[i], "s%u", i);
    many[i].name = names[i];
  }
  n->opt.shares = many;
  n->opt.share_count = KM_MESH_MAX_SHARES + 1;
  expect_invalid(n, "at most 256 shares");
  n->opt = good;
  n->opt.node_id = "a\nb";
  expect_invalid(n, "node_id");
  n->opt = good;
  n->opt.store = NULL;
  expect_invalid(n, "store");
  n->opt = good;
  n->opt.size = 0;
  expect_invalid(n, "km_mesh_options_default");
  n->opt = good;
  node_peer(n, other, true);
  n->peers[0].grants = &grant;
  n->peers[0].grant_count = 1;
  expect_invalid(n, "nowhere");
  n->peers[0].grant_count = 0;
  node_peer(n, other, true);
  expect_invalid(n, "twice");
  node_peer(n, n, true);
  km_mesh_peer second = n->peers[1];
  n->peers[1] = n->peers[2];
  n->peers[2] = second;
  expect_invalid(n, "own id");
  n->peers[1].id = (km_id){{1}};
  expect_invalid(n, "another id");
  mesh_lab_close(&l);
}

static void one_endpoint_one_mesh_one_key(void **state) {
  (void)state;
  mesh_lab l;
  mesh_lab_open(&l);
  node *a = node_new(&l), *b = node_new(&l);
  km_mesh *mesh = NULL;
  km_errinfo err;
  node_start(a);
  assert_int_equal(km_mesh_open(&mesh, a->ep, &a->opt, &err), KM_ERR_STATE);
  node_stop(a);
  a->opt.store = b->store;
  assert_int_equal(km_endpoint_open(&a->ep, a->loop, &a->ep_opt, NULL), 0);
  assert_int_equal(km_mesh_open(&mesh, a->ep, &a->opt, &err), KM_ERR_STATE);
  assert_non_null(strstr(err.text, "key"));
  /* The endpoint is as it was: a mesh with the right store opens. */
  a->opt.store = a->store;
  assert_int_equal(km_mesh_open(&a->mesh, a->ep, &a->opt, &err), 0);
  assert_ptr_equal(km_mesh_endpoint(a->mesh), a->ep);
  assert_ptr_equal(km_mesh_store(a->mesh), a->store);
  mesh_lab_close(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_stranger_waits_for_approval_and_is_let_in),
      cmocka_unit_test(who_asks_for_access_does_not_wait),
      cmocka_unit_test(revocation_cuts_at_once_and_trust_brings_back),
      cmocka_unit_test(a_configured_peer_can_be_blocked_too),
      cmocka_unit_test(the_levels_differ_in_strangers),
      cmocka_unit_test(allow_and_block_lists_of_the_configuration),
      cmocka_unit_test(another_version_is_refused_with_words_on_both_sides),
      cmocka_unit_test(a_peers_refusal_is_told_in_its_words),
      cmocka_unit_test(a_peer_that_does_not_answer_hello_is_given_up),
      cmocka_unit_test(an_address_has_so_many_connections_and_no_more),
      cmocka_unit_test(callbacks_may_close_and_remove),
      cmocka_unit_test(options_are_checked_by_name),
      cmocka_unit_test(one_endpoint_one_mesh_one_key),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
