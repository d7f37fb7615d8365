/* endpoint/mesh/gate.c: who is let in, and who may do what with a share. */
#include "endpoint/mesh/mesh_impl.h"

#include "store/kv_sync.h"
#include "store/store_impl.h"
#include "store/trust_impl.h"
#include "test/mesh/mesh_lab.h"

static const km_mesh_share shares[] = {{.name = "docs", .others = KM_ACCESS_READ},
                                       {.name = "music", .others = KM_ACCESS_WRITE},
                                       {.name = "private", .others = KM_ACCESS_NONE}};
static const km_mesh_grant grants[] = {{.share = "docs", .access = KM_ACCESS_WRITE},
                                       {.share = "music", .access = KM_ACCESS_NONE}};

typedef struct fixture {
  mesh_lab lab;
  node *n, *configured, *stranger, *third;
} fixture;

static void open_with(fixture *f, km_security_level level) {
  mesh_lab_open(&f->lab);
  f->n = node_new(&f->lab);
  f->configured = node_new(&f->lab);
  f->stranger = node_new(&f->lab);
  f->third = node_new(&f->lab);
  f->n->opt.shares = shares;
  f->n->opt.share_count = 3;
  f->n->opt.level = level;
  node_peer(f->n, f->configured, false);
  f->n->peers[0].grants = grants;
  f->n->peers[0].grant_count = 2;
  node_start(f->n);
}

static void shut(fixture *f) {
  f->n->peers[0].grants = NULL;
  f->n->peers[0].grant_count = 0;
  mesh_lab_close(&f->lab);
}

static km_access access_of(fixture *f, const node *of, const char *share) {
  const char *reason = NULL;
  km_access access = km_gate_access(f->n->mesh, &of->id, share, &reason);
  assert_true(reason != NULL && reason[0] != '\0');
  return access;
}

static void grants_come_before_what_a_share_gives_to_all(void **state) {
  (void)state;
  fixture f;
  open_with(&f, KM_SECURITY_SECURE);
  assert_int_equal(access_of(&f, f.configured, "docs"), KM_ACCESS_WRITE);
  assert_int_equal(access_of(&f, f.configured, "music"), KM_ACCESS_NONE);
  assert_int_equal(access_of(&f, f.configured, "private"), KM_ACCESS_NONE);
  assert_int_equal(access_of(&f, f.stranger, "docs"), KM_ACCESS_READ);
  assert_int_equal(access_of(&f, f.stranger, "music"), KM_ACCESS_WRITE);
  assert_int_equal(access_of(&f, f.stranger, "private"), KM_ACCESS_NONE);
  assert_int_equal(access_of(&f, f.n, "private"), KM_ACCESS_WRITE);
  assert_int_equal(access_of(&f, f.n, "nowhere"), KM_ACCESS_NONE);
  assert_int_equal(access_of(&f, f.configured, "DOCS"), KM_ACCESS_NONE);
  shut(&f);
}

static void who_is_blocked_may_nothing_from_that_moment_on(void **state) {
  (void)state;
  fixture f;
  open_with(&f, KM_SECURITY_SECURE);
  assert_int_equal(access_of(&f, f.stranger, "music"), KM_ACCESS_WRITE);
  assert_int_equal(km_trust_block(f.n->store, &f.stranger->id, NULL, NULL), 0);
  assert_int_equal(access_of(&f, f.stranger, "music"), KM_ACCESS_NONE);
  assert_int_equal(km_trust_block(f.n->store, &f.configured->id, NULL, NULL), 0);
  assert_int_equal(access_of(&f, f.configured, "docs"), KM_ACCESS_NONE);
  assert_int_equal(km_trust_forget(f.n->store, &f.stranger->id, NULL), 0);
  assert_int_equal(access_of(&f, f.stranger, "music"), KM_ACCESS_WRITE);
  shut(&f);
}

/* What km_mesh_access says of peers: one that is not let in has no access, whatever the share. */
static void access_of_a_peer_that_is_not_let_in_is_none(void **state) {
  (void)state;
  fixture f;
  const char *reason = NULL;
  open_with(&f, KM_SECURITY_SECURE);
  assert_int_equal(km_mesh_access(f.n->mesh, &f.stranger->id, "music", &reason), KM_ACCESS_NONE);
  assert_string_equal(reason, "it is not let in here");
  assert_int_equal(km_trust_add(f.n->store, &f.stranger->id, NULL, NULL, 0, NULL), 0);
  assert_int_equal(km_mesh_access(f.n->mesh, &f.stranger->id, "music", &reason), KM_ACCESS_WRITE);
  assert_int_equal(km_mesh_access(f.n->mesh, &f.configured->id, "docs", NULL), KM_ACCESS_WRITE);
  assert_int_equal(km_mesh_access(f.n->mesh, &f.n->id, "docs", NULL), KM_ACCESS_WRITE);
  shut(&f);
}

static km_trust_info info_of(fixture *f, const node *of) {
  km_trust_info info = {.state = KM_TRUST_UNKNOWN};
  int rv = km_trust_get(f->n->store, &of->id, &info, NULL);
  assert_true(rv == 0 || rv == KM_ERR_NOT_FOUND);
  return info;
}

static void strangers_are_noted_as_the_level_says(void **state) {
  (void)state;
  static const struct {
    km_security_level level;
    const char *refusal; /* NULL: let in */
    km_trust_state then;
  } cases[] = {{KM_SECURITY_DEVELOPMENT, NULL, KM_TRUST_UNKNOWN},
               {KM_SECURITY_SIGNED, NULL, KM_TRUST_TRUSTED},
               {KM_SECURITY_SECURE, "waiting for approval", KM_TRUST_PENDING},
               {KM_SECURITY_STRICT, "not trusted here", KM_TRUST_UNKNOWN}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    fixture f;
    open_with(&f, cases[i].level);
    /* Asking changes nothing. */
    assert_int_equal(km_gate_lets_in(f.n->mesh, &f.stranger->id), cases[i].refusal == NULL);
    assert_int_equal(info_of(&f, f.stranger).state, KM_TRUST_UNKNOWN);
    const char *refusal = km_gate_refuses(f.n->mesh, &f.stranger->id, "newcomer");
    if (cases[i].refusal == NULL) {
      assert_null(refusal);
    } else {
      assert_string_equal(refusal, cases[i].refusal);
    }
    assert_int_equal(info_of(&f, f.stranger).state, cases[i].then);
    assert_null(km_gate_refuses(f.n->mesh, &f.configured->id, "known"));
    assert_int_equal(info_of(&f, f.configured).state, KM_TRUST_UNKNOWN); /* nothing to note */
    assert_int_equal(km_gate_takes_revocations(f.n->mesh), cases[i].level == KM_SECURITY_STRICT);
    shut(&f);
  }
}

static void the_program_hears_of_a_request_once_and_not_when_it_was_decided(void **state) {
  (void)state;
  fixture f;
  open_with(&f, KM_SECURITY_SECURE);
  assert_non_null(km_gate_refuses(f.n->mesh, &f.stranger->id, "first"));
  assert_non_null(km_gate_refuses(f.n->mesh, &f.stranger->id, "first"));
  assert_non_null(km_gate_refuses(f.n->mesh, &f.third->id, "second"));
  assert_int_equal(f.n->requests, 0); /* from the loop, never from inside */
  assert_int_equal(km_trust_deny(f.n->store, &f.third->id, NULL), 0);
  WAIT(&f.lab, f.n->requests > 0);
  mesh_lab_run(&f.lab, 20);
  assert_int_equal(f.n->requests, 1);
  assert_string_equal(f.n->requester_name, "first");
  assert_string_equal(km_gate_refuses(f.n->mesh, &f.third->id, "second"), "blocked");
  shut(&f);
}

/* Whose word counts: recommendations and revocations of others are taken from them only. */
static void who_counts_was_chosen_by_a_person(void **state) {
  (void)state;
  fixture f;
  open_with(&f, KM_SECURITY_SIGNED);
  assert_true(km_gate_counts(f.n->mesh, &f.configured->id));
  assert_false(km_gate_counts(f.n->mesh, &f.stranger->id));
  assert_null(km_gate_refuses(f.n->mesh, &f.stranger->id, "by first use"));
  assert_int_equal(info_of(&f, f.stranger).origin, KM_TRUST_BY_FIRST_USE);
  assert_false(km_gate_counts(f.n->mesh, &f.stranger->id));
  assert_int_equal(km_trust_add(f.n->store, &f.stranger->id, NULL, NULL, 0, NULL), 0);
  assert_true(km_gate_counts(f.n->mesh, &f.stranger->id));
  assert_int_equal(km_trust_block(f.n->store, &f.configured->id, NULL, NULL), 0);
  assert_false(km_gate_counts(f.n->mesh, &f.configured->id));
  shut(&f);
}

static void count_reader(void *ctx, const km_id *peer) {
  (void)peer;
  ++*(unsigned *)ctx;
}

static unsigned readers(const node *n, const char *share) {
  unsigned count = 0;
  int64_t all = km_kv_readers(n->store, share, count_reader, &count, NULL);
  assert_int_equal(all, count);
  return count;
}

/* Deletions wait for all that read, in whatever way they were let in, but not for strangers. */
static void who_is_let_in_is_waited_for(void **state) {
  (void)state;
  for (int secure = 0; secure < 2; secure++) {
    fixture f;
    km_errinfo err;
    open_with(&f, secure ? KM_SECURITY_SECURE : KM_SECURITY_DEVELOPMENT);
    km_mesh_options *o = &f.n->mesh->options;
    const km_id *const allow = o->allow;
    o->allow = &f.stranger->id;
    o->allow_count = 1;
    assert_null(km_gate_refuses(f.n->mesh, &f.stranger->id, "allowed"));
    assert_int_equal(km_gate_refuses(f.n->mesh, &f.third->id, "stranger") == NULL, !secure);
    assert_int_equal(km_gate_set_readers(f.n->mesh, &err), 0);
    assert_int_equal(readers(f.n, "docs"), secure ? 2 : 1);
    assert_int_equal(readers(f.n, "music"), secure ? 1 : 0); /* the configured one may not */
    assert_int_equal(readers(f.n, "private"), 0);
    assert_int_equal(km_gate_set_readers(f.n->mesh, &err), 0);
    assert_int_equal(readers(f.n, "docs"), secure ? 2 : 1); /* it stays one */
    o->allow = allow;
    o->allow_count = 0;
    assert_int_equal(km_gate_set_readers(f.n->mesh, &err), 0);
    assert_int_equal(readers(f.n, "docs"), 1); /* it is not let in any more */
    shut(&f);
  }
}

/* `n` is recommended by one that it trusts: nothing is written down of that, and yet it reads. */
static void who_was_recommended_is_waited_for(void **state) {
  (void)state;
  mesh_lab l;
  node *n[3];
  mesh_lab_open(&l);
  for (int i = 0; i < 3; i++) {
    n[i] = node_new(&l);
    n[i]->opt.shares = shares;
    n[i]->opt.share_count = 3;
    n[i]->opt.level = KM_SECURITY_SECURE;
    n[i]->opt.recommend_threshold = 1;
  }
  node_peer(n[0], n[1], true);
  node_peer(n[1], n[0], true);
  node_peer(n[2], n[0], true);
  assert_int_equal(km_trust_recommend(n[1]->store, &n[2]->id, NULL, 0, NULL), 0);
  for (int i = 0; i < 3; i++) {
    node_start(n[i]);
  }
  WAIT(&l, node_up(n[0], n[1]) && node_up(n[2], n[0]));
  assert_int_equal(readers(n[0], "music"), 2);
  assert_int_equal(km_trust_block(n[0]->store, &n[2]->id, NULL, NULL), 0);
  WAIT(&l, readers(n[0], "music") == 1);
  mesh_lab_close(&l);
}

/* Also when nobody says so: its trust ran out. */
static void whose_trust_ran_out_is_waited_for_no_more(void **state) {
  (void)state;
  fixture f;
  km_errinfo err;
  open_with(&f, KM_SECURITY_SECURE);
  int64_t now = km_store_wall(f.n->store).unix_ns / (int64_t)KM_NS_PER_S;
  assert_int_equal(km_trust_add(f.n->store, &f.third->id, NULL, NULL, now + 2, &err), 0);
  WAIT(&f.lab, readers(f.n, "music") == 1);
  WAIT(&f.lab, !km_gate_lets_in(f.n->mesh, &f.third->id));
  mesh_lab_run(&f.lab, 1100); /* seconds are rounded */
  f.n->mesh->hourly.fire(&f.n->mesh->hourly);
  assert_int_equal(readers(f.n, "music"), 0);
  shut(&f);
}

/* One that km_gate_set_readers would take out: while it is there, it was not called. */
static void add_leftover(fixture *f) {
  const km_id leftover = {{1, 2, 3}};
  assert_int_equal(km_kv_add_reader(f->n->store, "music", &leftover, NULL), 0);
}

static void remember_strangers(fixture *f, unsigned count) {
  char sql[256];
  (void)snprintf(sql, sizeof sql,
                 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %u)"
                 " INSERT INTO trust SELECT randomblob(32), %d, %d, '', '', i, 0, i FROM n",
                 count, KM_TRUST_TRUSTED, KM_TRUST_BY_FIRST_USE);
  assert_int_equal(km_db_exec(f->n->store->db, sql, NULL), 0);
}

/* However many are known: it is added, the oldest makes room, and that is all. */
static void a_first_use_goes_through_no_other_readers(void **state) {
  (void)state;
  fixture f;
  km_errinfo err;
  open_with(&f, KM_SECURITY_SIGNED);
  remember_strangers(&f, KM_TRUST_FIRST_USE_MAX);
  mesh_lab_run(&f.lab, 20);
  assert_int_equal(km_gate_set_readers(f.n->mesh, &err), 0);
  assert_int_equal(readers(f.n, "docs"), KM_TRUST_FIRST_USE_MAX + 1); /* and the configured one */
  add_leftover(&f);
  assert_int_equal(readers(f.n, "music"), KM_TRUST_FIRST_USE_MAX + 1);
  assert_null(km_gate_refuses(f.n->mesh, &f.stranger->id, "new"));
  assert_null(km_gate_refuses(f.n->mesh, &f.third->id, "new, too"));
  assert_int_equal(readers(f.n, "docs"), KM_TRUST_FIRST_USE_MAX + 1);
  assert_int_equal(readers(f.n, "private"), 0);
  assert_int_equal(km_kv_drop_reader(f.n->store, "docs", &f.stranger->id, &err), 0);
  assert_int_equal(readers(f.n, "docs"), KM_TRUST_FIRST_USE_MAX); /* it was one */
  mesh_lab_run(&f.lab, 20);
  assert_int_equal(f.n->mesh->readers.index, 0);
  assert_int_equal(readers(f.n, "music"), KM_TRUST_FIRST_USE_MAX + 1);
  f.n->mesh->hourly.fire(&f.n->mesh->hourly);
  assert_int_equal(readers(f.n, "music"), KM_TRUST_FIRST_USE_MAX);
  shut(&f);
}

/* Each change counts at once for the one it is of, and once in a while for all. */
static void a_drip_of_changes_goes_through_the_readers_once(void **state) {
  (void)state;
  fixture f;
  open_with(&f, KM_SECURITY_SECURE);
  mesh_lab_run(&f.lab, 20);
  add_leftover(&f);
  for (int i = 0; i < 20; i++) {
    assert_int_equal(km_trust_add(f.n->store, &f.third->id, NULL, NULL, 0, NULL), 0);
    assert_int_equal(readers(f.n, "music"), 2);
    assert_int_equal(km_trust_block(f.n->store, &f.third->id, NULL, NULL), 0);
    assert_int_equal(readers(f.n, "music"), 1);
    mesh_lab_run(&f.lab, 2);
  }
  assert_int_equal(readers(f.n, "music"), 1);
  assert_true(f.n->mesh->readers.index != 0); /* it is set, to the time of the first */
  f.n->mesh->readers.fire(&f.n->mesh->readers);
  WAIT(&f.lab, readers(f.n, "music") == 0);
  shut(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(grants_come_before_what_a_share_gives_to_all),
      cmocka_unit_test(who_is_blocked_may_nothing_from_that_moment_on),
      cmocka_unit_test(access_of_a_peer_that_is_not_let_in_is_none),
      cmocka_unit_test(strangers_are_noted_as_the_level_says),
      cmocka_unit_test(the_program_hears_of_a_request_once_and_not_when_it_was_decided),
      cmocka_unit_test(who_counts_was_chosen_by_a_person),
      cmocka_unit_test(who_is_let_in_is_waited_for),
      cmocka_unit_test(who_was_recommended_is_waited_for),
      cmocka_unit_test(whose_trust_ran_out_is_waited_for_no_more),
      cmocka_unit_test(a_first_use_goes_through_no_other_readers),
      cmocka_unit_test(a_drip_of_changes_goes_through_the_readers_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
