/* What a node says itself, with clocks that are wrong and against who kept what it said before:
 * another one follows it all the same. */
#include <keymesh/trust.h>

#include "store/trust_db.h"
#include "test/store/trust_lab.h"

#define DAY 86400
#define HOUR 3600

/* Node 1 speaks, node 2 listens, each by a clock of its own. */
typedef struct pair {
  lab *a, *b;
  bool apart; /* nothing arrives */
  unsigned told;
  uint8_t kept[64][KM_STATEMENT_MAX]; /* the first ones that were told */
  size_t len[64];
} pair;

static lab *open_lab(unsigned owner) {
  void *state;
  assert_int_equal(lab_set_up(&state), 0);
  lab *l = state;
  if (owner != l->owner) {
    km_store_close(l->store);
    assert_int_equal(unlink(l->path), 0);
    l->owner = owner;
    lab_open(l);
  }
  return l;
}

static int take(lab *l, const km_statement *s) {
  return km_trust_take(l->store, s, l->owner == 2, l->owner == 2, false, NULL);
}

static void on_told(void *ctx, const km_id *id, const km_statement *s) {
  pair *p = ctx;
  (void)id;
  if (s == NULL) {
    return;
  }
  if (p->told < COUNT_OF(p->kept)) {
    int len = km_statement_encode(s, p->kept[p->told], KM_STATEMENT_MAX);
    assert_true(len > 0);
    p->len[p->told] = (size_t)len;
  }
  p->told++;
  assert_true(p->apart || take(p->b, s) >= 0);
}

static int set_up(void **state) {
  pair *p = calloc(1, sizeof *p);
  assert_non_null(p);
  p->a = open_lab(1);
  p->b = open_lab(2);
  km_id one = lab_id(1);
  assert_int_equal(km_trust_add(p->b->store, &one, NULL, NULL, 0, NULL), 0);
  km_trust_on_change(p->a->store, on_told, p);
  *state = p;
  return 0;
}

static int tear_down(void **state) {
  pair *p = *state;
  void *a = p->a, *b = p->b;
  free(p);
  return lab_tear_down(&a) + lab_tear_down(&b);
}

static void pass(pair *p, int64_t seconds) {
  lab_pass(p->a, seconds);
  lab_pass(p->b, seconds);
}

static void give_one(void *ctx, const km_statement *s) {
  assert_true(take(ctx, s) >= 0);
}

/* As when they connect: each gives all that it keeps. */
static void meet(pair *p) {
  p->apart = false;
  assert_true(km_trust_statements(p->a->store, give_one, p->b, NULL) >= 0);
  uint8_t bytes[KM_STATEMENT_MAX];
  km_db_stmt *q;
  /* Beside the listing, because what comes back may be answered at once. */
  assert_int_equal(km_db_prepare(p->b->store->db, &q, "SELECT bytes FROM statement", NULL), 0);
  while (km_db_step(q, NULL) > 0) {
    km_statement s;
    size_t len;
    const uint8_t *at = km_db_bytes(q, 0, &len);
    memcpy(bytes, at, len);
    assert_int_equal(km_statement_decode(&s, bytes, len, NULL), 0);
    assert_true(take(p->a, &s) >= 0);
  }
}

static int replay(pair *p, unsigned which) {
  km_statement s;
  assert_int_equal(km_statement_decode(&s, p->kept[which], p->len[which], NULL), 0);
  return take(p->b, &s);
}

static uint32_t recommended(pair *p, unsigned n) {
  km_id id = lab_id(n);
  km_trust_question q = {0};
  assert_int_equal(km_trust_ask(p->b->store, &id, NULL, NULL, &q, NULL), 0);
  return q.recommended_by;
}

static bool blocked(pair *p, unsigned n) {
  km_id id = lab_id(n);
  km_trust_info info;
  return km_trust_get(p->b->store, &id, &info, NULL) == 0 && info.state == KM_TRUST_BLOCKED;
}

static void recommend(pair *p, unsigned n, int64_t expires) {
  km_id id = lab_id(n);
  assert_int_equal(km_trust_recommend(p->a->store, &id, NULL, expires, NULL), 0);
}

static void withdraw(pair *p, unsigned n) {
  km_id id = lab_id(n);
  assert_int_equal(km_trust_withdraw(p->a->store, &id, NULL), 0);
}

static void take_back(pair *p, unsigned n) {
  km_id id = lab_id(n);
  assert_int_equal(km_trust_revoke(p->a->store, &id, "stolen", NULL), 0);
}

/* --- a clock that falls ----------------------------------------------------------------------- */

static void with_a_clock_behind_it_takes_back_what_it_said(void **state) {
  pair *p = *state;
  static const int64_t back[] = {61, HOUR, DAY, 30 * DAY, START_S - 5};
  for (unsigned i = 0; i < COUNT_OF(back); i++) {
    recommend(p, 10 + i, 0);
    recommend(p, 20 + i, 0);
    assert_int_equal(recommended(p, 10 + i), 1);
    lab_pass(p->a, -back[i]);
    take_back(p, 10 + i);
    withdraw(p, 20 + i);
    lab_pass(p->a, back[i]);
    assert_true(blocked(p, 10 + i));
    assert_int_equal(recommended(p, 10 + i), 0);
    assert_int_equal(recommended(p, 20 + i), 0);
  }
}

static void so_it_does_when_nobody_hears_it_at_first(void **state) {
  pair *p = *state;
  static const int64_t back[] = {61, HOUR, 30 * DAY};
  for (unsigned i = 0; i < COUNT_OF(back); i++) {
    recommend(p, 10 + i, 0);
    recommend(p, 20 + i, 0);
    p->apart = true;
    lab_pass(p->a, -back[i]);
    take_back(p, 10 + i);
    withdraw(p, 20 + i);
    lab_pass(p->a, back[i]);
    meet(p);
    assert_true(blocked(p, 10 + i));
    assert_int_equal(recommended(p, 20 + i), 0);
  }
}

static void a_clock_of_entries_tells_that_ours_is_behind(void **state) {
  pair *p = *state;
  recommend(p, 10, 0);
  p->a->store->clock.last = km_hlc_from_wall(p->a->now);
  p->apart = true;
  lab_pass(p->a, -30 * DAY);
  withdraw(p, 10);
  assert_int_equal(km_trust_statements(p->a->store, give_one, p->b, NULL), 1);
  assert_int_equal(recommended(p, 10), 0);
}

static void withdrawn_again_it_is_later(void **state) {
  pair *p = *state;
  recommend(p, 10, 0);
  p->apart = true;
  lab_pass(p->a, -30 * DAY);
  withdraw(p, 10);
  lab_pass(p->a, 30 * DAY + 1);
  p->apart = false;
  assert_int_equal(recommended(p, 10), 1);
  withdraw(p, 10);
  assert_int_equal(recommended(p, 10), 0);
}

/* --- a clock that was ahead ------------------------------------------------------------------- */

static void take_back_after(pair *p, const int64_t *ahead, unsigned count, bool apart) {
  for (unsigned i = 0; i < count; i++) {
    recommend(p, 10 + i, 0);
    recommend(p, 20 + i, 0);
    pass(p, 1);
    lab_pass(p->a, ahead[i]);
    recommend(p, 10 + i, 0); /* refused as from the future */
    recommend(p, 20 + i, 0);
    lab_pass(p->a, -ahead[i]);
    p->apart = apart;
    take_back(p, 10 + i);
    withdraw(p, 20 + i);
    if (apart) {
      meet(p);
    }
    assert_true(blocked(p, 10 + i));
    assert_int_equal(recommended(p, 20 + i), 0);
  }
}

static void said_in_the_future_it_holds_nothing_up(void **state) {
  static const int64_t ahead[] = {61, HOUR, 2 * DAY, 3000 * DAY};
  take_back_after(*state, ahead, COUNT_OF(ahead), false);
}

static void nor_when_nobody_hears_what_takes_it_back(void **state) {
  static const int64_t ahead[] = {61, HOUR, DAY, 2 * DAY};
  take_back_after(*state, ahead, COUNT_OF(ahead), true);
}

/* Who kept what was said in the future spreads it when that time has come. */
static void nor_does_it_come_back(void **state) {
  pair *p = *state;
  lab_pass(p->a, 2 * DAY);
  recommend(p, 10, 0);
  lab_pass(p->a, -2 * DAY);
  recommend(p, 10, 0);
  withdraw(p, 10);
  assert_int_equal(recommended(p, 10), 0);
  pass(p, 2 * DAY + 1);
  (void)replay(p, 0); /* the withdrawal of then is later already, or is made so */
  meet(p);
  assert_int_equal(recommended(p, 10), 0);
}

/* --- our own, come back ----------------------------------------------------------------------- */

static void what_was_lost_comes_back_and_can_be_taken_back(void **state) {
  pair *p = *state;
  recommend(p, 10, 0);
  take_back(p, 11);
  assert_int_equal(km_db_exec(p->a->store->db, "DELETE FROM statement", NULL), 0);
  meet(p);
  unsigned told = p->told;
  meet(p);
  assert_int_equal(p->told, told); /* nothing new */
  pass(p, 1);
  withdraw(p, 10);
  assert_int_equal(recommended(p, 10), 0);
  assert_true(blocked(p, 11));
}

static void of_two_of_our_own_the_stricter_stays(void **state) {
  pair *p = *state;
  recommend(p, 10, 0);
  pass(p, 1);
  assert_int_equal(km_db_exec(p->a->store->db, "CREATE TABLE old AS SELECT * FROM statement", NULL),
                   0);
  take_back(p, 10);
  /* From an old copy of the store: what we said since then is not undone by what we know. */
  assert_int_equal(km_db_exec(p->a->store->db,
                              "DELETE FROM statement; INSERT INTO statement SELECT * FROM old;"
                              "DROP TABLE old",
                              NULL),
                   0);
  meet(p);
  meet(p);
  assert_true(blocked(p, 10));
  assert_int_equal(recommended(p, 10), 0);
  km_id ten = lab_id(10);
  assert_int_equal(km_trust_withdraw(p->a->store, &ten, NULL), KM_ERR_NOT_FOUND);
}

/* --- recommendations that end ----------------------------------------------------------------- */

static void clean(pair *p) {
  assert_true(km_trust_cleanup(p->a->store, NULL) >= 0);
  assert_true(km_trust_cleanup(p->b->store, NULL) >= 0);
}

static int64_t end_of(lab *l, unsigned n) {
  km_id id = lab_id(n);
  km_db_stmt *q;
  assert_int_equal(
      km_db_prepare(l->store->db, &q, "SELECT expires FROM statement WHERE subject = ?1", NULL), 0);
  km_db_bind_bytes(q, 1, id.bytes, KM_ID_BYTES);
  assert_int_equal(km_db_step(q, NULL), 1);
  int64_t end = km_db_int(q, 0);
  km_db_reset(q);
  return end;
}

static void a_longer_one_does_not_come_back_behind_a_shorter_one(void **state) {
  pair *p = *state;
  km_id ten = lab_id(10);
  km_errinfo err = {0};
  recommend(p, 10, START_S + 365 * DAY);
  pass(p, 1);
  assert_int_equal(km_trust_recommend(p->a->store, &ten, NULL, START_S + 30 * DAY, &err),
                   KM_ERR_INVALID);
  assert_non_null(strstr(err.text, "for 365 more days"));
  recommend(p, 10, 0); /* as long, since no end was named */
  assert_int_equal(end_of(p->b, 10), START_S + 365 * DAY);
  withdraw(p, 10);
  assert_int_equal(km_trust_recommend(p->a->store, &ten, NULL, START_S + 30 * DAY, NULL),
                   KM_ERR_INVALID);
  assert_int_equal(end_of(p->b, 10), START_S + 365 * DAY + 1);
  pass(p, 364 * DAY);
  clean(p);
  assert_int_equal(replay(p, 0), KM_STATEMENT_KNOWN);
  assert_int_equal(recommended(p, 10), 0);
  pass(p, DAY); /* then it is over */
  clean(p);
  recommend(p, 10, lab_now(p->a) + 5);
  assert_int_equal(recommended(p, 10), 1);
}

static void nor_behind_a_revocation(void **state) {
  pair *p = *state;
  km_id ten = lab_id(10);
  recommend(p, 10, START_S + 365 * DAY);
  take_back(p, 10);
  lab_reopen(p->a);
  km_trust_on_change(p->a->store, on_told, p);
  assert_int_equal(km_trust_recommend(p->a->store, &ten, NULL, START_S + 30 * DAY, NULL),
                   KM_ERR_INVALID);
  recommend(p, 10, START_S + 365 * DAY);
  withdraw(p, 10);
  pass(p, 364 * DAY);
  clean(p);
  assert_int_equal(replay(p, 0), KM_STATEMENT_KNOWN);
}

/* Revocations took the place of the recommendation here; others have it. */
static void what_made_room_can_be_taken_back(void **state) {
  pair *p = *state;
  recommend(p, 10, 0);
  p->apart = true;
  pass(p, 1);
  for (unsigned n = 0; n < 256; n++) {
    take_back(p, 1000 + n);
  }
  km_id ten = lab_id(10);
  assert_int_equal(km_trust_withdraw(p->a->store, &ten, NULL), KM_ERR_LIMIT);
  assert_int_equal(km_db_exec(p->a->store->db, "DELETE FROM statement", NULL), 0);
  p->apart = false;
  withdraw(p, 10);
  assert_int_equal(recommended(p, 10), 0);
}

/* Whatever it says in whatever order, and whoever kept all of it: what it said last counts. */
static void what_was_said_last_counts_always(void **state) {
  pair *p = *state;
  km_id ten = lab_id(10);
  uint32_t seed = 1;
  int64_t until = 0;
  while (p->told < COUNT_OF(p->kept)) {
    seed = seed * 1103515245 + 12345;
    unsigned what = seed >> 16 & 7;
    int64_t end = lab_now(p->a) + 1 + (seed >> 19 & 63) * DAY;
    if (what < 3 && km_trust_recommend(p->a->store, &ten, NULL, end, NULL) == 0) {
      until = end;
    } else if (what < 5 && what > 2 && km_trust_withdraw(p->a->store, &ten, NULL) == 0) {
      until = 0;
    } else if (what == 5) {
      take_back(p, 10);
      until = 0;
    } else {
      pass(p, (seed >> 25) * DAY / 8);
    }
    clean(p);
    for (unsigned i = 0; i < p->told; i++) {
      assert_true(replay(p, i) >= 0);
      assert_int_equal(recommended(p, 10), until > lab_now(p->a));
    }
  }
}

/* Made before ends were noted, and while withdrawals could be too short. */
static void an_older_store_is_brought_up(void **state) {
  pair *p = *state;
  km_id ten = lab_id(10), eleven = lab_id(11);
  recommend(p, 10, START_S + 50 * DAY);
  recommend(p, 11, START_S + 60 * DAY);
  withdraw(p, 11);
  assert_int_equal(
      km_db_exec(p->a->store->db, "DROP TABLE recommended; PRAGMA user_version=2", NULL), 0);
  lab_reopen(p->a);
  km_trust_on_change(p->a->store, on_told, p);
  assert_int_equal(km_trust_recommend(p->a->store, &ten, NULL, START_S + 50 * DAY - 1, NULL),
                   KM_ERR_INVALID);
  assert_int_equal(km_trust_recommend(p->a->store, &eleven, NULL, START_S + 60 * DAY - 1, NULL),
                   KM_ERR_INVALID);
  recommend(p, 11, START_S + 60 * DAY);
}

static void a_withdrawal_that_ends_too_soon_is_said_again(void **state) {
  pair *p = *state;
  recommend(p, 10, START_S + 365 * DAY);
  /* All that is left of it is with who kept it. */
  assert_int_equal(
      km_db_exec(p->a->store->db, "DELETE FROM statement; DELETE FROM recommended", NULL), 0);
  pass(p, 1);
  recommend(p, 10, START_S + 30 * DAY);
  withdraw(p, 10);
  assert_int_equal(end_of(p->b, 10), START_S + 30 * DAY + 1);
  km_statement first;
  assert_int_equal(km_statement_decode(&first, p->kept[0], p->len[0], NULL), 0);
  assert_int_equal(take(p->a, &first), KM_STATEMENT_KNOWN);
  assert_int_equal(end_of(p->b, 10), START_S + 365 * DAY + 1);
  unsigned told = p->told;
  assert_int_equal(take(p->a, &first), KM_STATEMENT_KNOWN);
  assert_int_equal(p->told, told);
}

#define PAIR_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      PAIR_TEST(with_a_clock_behind_it_takes_back_what_it_said),
      PAIR_TEST(so_it_does_when_nobody_hears_it_at_first),
      PAIR_TEST(a_clock_of_entries_tells_that_ours_is_behind),
      PAIR_TEST(withdrawn_again_it_is_later),
      PAIR_TEST(said_in_the_future_it_holds_nothing_up),
      PAIR_TEST(nor_when_nobody_hears_what_takes_it_back),
      PAIR_TEST(nor_does_it_come_back),
      PAIR_TEST(what_was_lost_comes_back_and_can_be_taken_back),
      PAIR_TEST(of_two_of_our_own_the_stricter_stays),
      PAIR_TEST(a_longer_one_does_not_come_back_behind_a_shorter_one),
      PAIR_TEST(nor_behind_a_revocation),
      PAIR_TEST(what_made_room_can_be_taken_back),
      PAIR_TEST(what_was_said_last_counts_always),
      PAIR_TEST(an_older_store_is_brought_up),
      PAIR_TEST(a_withdrawal_that_ends_too_soon_is_said_again),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
