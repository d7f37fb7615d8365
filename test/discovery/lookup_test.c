/* Look-ups: who is asked, what is delivered and when, and what callbacks may do. */
#include "core_lab.h"

static void nobody_to_ask(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  lab_expect_lookup(&l, 1,
                    "done 0 NOT_FOUND: nobody knows it: only the address book was asked; add a "
                    "source (DNS, PKARR, mDNS), or give a ticket");
  lab_clear(&l);
}

static void the_address_book(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  lab_put(&l, 1, "192.0.2.1:1", "hi");
  km_lookup *lookup = lab_lookup(&l, 1);
  assert_non_null(lookup);
  lab_expect(&l, ""); /* never from inside a call */
  lab_turn(&l);
  lab_expect(&l, "memory: 192.0.2.1:1 'hi'; done 1");
  lab_put(&l, 1, "192.0.2.2:2 https://r.example/", NULL); /* replaces */
  lab_expect_lookup(&l, 1, "memory: 192.0.2.2:2 https://r.example/; done 1");
  km_id id = lab_id(1);
  assert_int_equal(km_discovery_remove(l.d, &id), 0);
  assert_int_equal(km_discovery_remove(l.d, &id), KM_ERR_NOT_FOUND);
  (void)lab_lookup(&l, 1);
  lab_turn(&l);
  assert_non_null(strstr(l.seen, "done 0 NOT_FOUND"));
  lab_clear(&l);
}

static void the_address_book_refuses(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  km_addr *addr = lab_addr(1, "192.0.2.1:1");
  char text[KM_USER_DATA_MAX + 2];
  memset(text, 'a', sizeof text);
  text[KM_USER_DATA_MAX + 1] = '\0';
  assert_int_equal(km_discovery_put(l.d, addr, text), KM_ERR_INVALID);
  text[KM_USER_DATA_MAX] = '\0';
  assert_int_equal(km_discovery_put(l.d, addr, text), 0);
  assert_int_equal(km_discovery_put(l.d, addr, "\xff"), KM_ERR_INVALID);
  assert_int_equal(km_discovery_put(l.d, NULL, NULL), KM_ERR_INVALID);
  km_addr_free(addr);
  lab_clear(&l);
}

static void all_sources_at_once(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  fake quick = {.number = 1, .ways = "192.0.2.1:1"}, slow = {.number = 1, .late = true},
       failing = {.number = 1, .error = "no such name"}, mute = {.number = 1, .late = true};
  fake_add(&mute, &l, "mute");
  fake_add(&failing, &l, "failing");
  fake_add(&slow, &l, "slow");
  fake_add(&quick, &l, "quick");
  km_lookup *lookup = lab_lookup(&l, 1);
  lab_turn(&l);
  lab_expect(&l, "quick: 192.0.2.1:1; "); /* though others fail or are silent */
  fake_say(&slow, slow.query, "192.0.2.2:2");
  lab_expect(&l, ""); /* never from inside a source's call either */
  lab_turn(&l);
  lab_expect(&l, "slow: 192.0.2.2:2; ");
  km_query_done(slow.query, NULL);
  fake_say(&slow, slow.query, "192.0.2.3:3"); /* too late */
  km_query_done(slow.query, NULL);
  lab_turn(&l);
  lab_expect(&l, "");
  km_lookup_cancel(lookup);
  lab_expect(&l, "cancel; "); /* only the one that is not done */
  lab_turn(&l);
  lab_expect(&l, "");
  lab_close(&l);
  lab_expect(&l, "close; close; close; close; ");
  lab_clear(&l);
}

static void what_is_dropped(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  fake a = {.number = 1, .late = true}, b = {.number = 1, .late = true};
  fake_add(&a, &l, "a");
  fake_add(&b, &l, "b");
  (void)lab_lookup(&l, 1);
  lab_turn(&l);
  fake_say(&a, a.query, "192.0.2.1:1");
  fake_say(&a, a.query, "192.0.2.1:1"); /* the same again */
  fake_say(&b, b.query, "192.0.2.1:1"); /* another source says it */
  fake_say(&a, a.query, "192.0.2.1:2");
  fake_say(&a, a.query, "192.0.2.1:1");
  a.number = 2;
  fake_say(&a, a.query, "192.0.2.1:3"); /* of somebody else */
  km_found found = {.size = sizeof found};
  km_query_found(a.query, &found); /* of nobody */
  km_query_found(a.query, NULL);
  found.size = 3;
  km_query_found(a.query, &found);
  lab_turn(&l);
  lab_expect(&l, "a: 192.0.2.1:1; b: 192.0.2.1:1; a: 192.0.2.1:2; ");
  km_query_done(a.query, NULL);
  km_query_done(b.query, NULL);
  lab_turn(&l);
  lab_expect(&l, "done 3");
  lab_clear(&l);
}

static void a_flood_of_one_does_not_drown_another(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  fake liar = {.number = 1, .late = true}, honest = {.number = 1, .late = true};
  fake_add(&liar, &l, "liar");
  fake_add(&honest, &l, "honest");
  (void)lab_lookup(&l, 1);
  lab_turn(&l);
  for (int i = 1; i <= 1000; i++) {
    char way[32];
    (void)snprintf(way, sizeof way, "192.0.2.1:%d", i);
    fake_say(&liar, liar.query, way);
  }
  fake_say(&honest, honest.query, "192.0.2.2:2");
  km_query_done(liar.query, NULL);
  km_query_done(honest.query, NULL);
  lab_turn(&l);
  assert_non_null(strstr(l.seen, "honest: 192.0.2.2:2"));
  assert_non_null(strstr(l.seen, "done 33"));
  lab_clear(&l);
}

static void answers_are_checked(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  fake a = {.number = 1, .late = true};
  fake_add(&a, &l, "a");
  (void)lab_lookup(&l, 1);
  lab_turn(&l);
  km_addr *addr = lab_addr(1, "");
  uint8_t record[KM_RECORD_BYTES_MAX + 1] = {7};
  char text[KM_USER_DATA_MAX + 2];
  memset(text, 'a', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  km_found found = {.size = sizeof found, .addr = addr, .user_data = "\xc3", .proven = true};
  km_query_found(a.query, &found);
  lab_turn(&l);
  lab_expect(&l, "a:  proven; ");
  found.user_data = text;
  found.proven = false;
  found.record = record;
  found.record_len = sizeof record;
  km_query_found(a.query, &found);
  lab_turn(&l);
  lab_expect(&l, "a: ; ");
  found.record_len = sizeof record - 1;
  km_query_found(a.query, &found); /* differs by its record */
  lab_turn(&l);
  lab_expect(&l, "a: ; ");
  fake_fail(a.query, KM_ERR_NOT_FOUND, "it says nothing of addresses");
  lab_turn(&l);
  lab_expect(&l, "done 0 NOT_FOUND: nobody knows it: a: it says nothing of addresses");
  km_addr_free(addr);
  lab_clear(&l);
}

static void resolve_nothing(void *ctx, km_query *query, const km_id *id) {
  (void)query;
  (void)id;
  (*(size_t *)ctx)++;
}

static void count_down(void *ctx, km_query *query) {
  (void)query;
  (*(size_t *)ctx)--;
}

static void as_many_as_allowed(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  size_t open = 0;
  const km_source_ops ops = {
      .size = sizeof ops, .name = "mute", .resolve = resolve_nothing, .cancel = count_down};
  assert_int_equal(km_discovery_add(l.d, NULL, &ops, &open, NULL), 0);
  km_lookup *all[1024], *one;
  for (size_t i = 0; i < COUNT_OF(all); i++) {
    all[i] = lab_lookup(&l, 1);
  }
  km_id id = lab_id(1);
  km_errinfo err = {0};
  assert_int_equal(km_discovery_lookup(l.d, &one, &id, &lab_lookup_callbacks, &l, &err),
                   KM_ERR_LIMIT);
  assert_non_null(strstr(err.text, "1024"));
  km_lookup_cancel(all[500]);
  assert_int_equal(open, 0); /* none was begun: the source heard nothing of any */
  (void)lab_lookup(&l, 1);
  lab_turn(&l);
  assert_int_equal(open, 1024);
  km_lookup_cancel(all[0]);
  assert_int_equal(open, 1023);
  lab_close(&l);
  assert_int_equal(open, 0);
  lab_expect(&l, "");
  lab_clear(&l);
}

static void bad_arguments(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  km_id id = lab_id(1);
  km_lookup *one;
  const km_lookup_callbacks unset = {0};
  const km_lookup_callbacks *ok = &lab_lookup_callbacks;
  assert_int_equal(km_discovery_lookup(l.d, &one, &id, NULL, &l, NULL), KM_ERR_INVALID);
  assert_int_equal(km_discovery_lookup(l.d, &one, &id, &unset, &l, NULL), KM_ERR_INVALID);
  assert_int_equal(km_discovery_lookup(l.d, &one, NULL, ok, &l, NULL), KM_ERR_INVALID);
  assert_int_equal(km_discovery_lookup(l.d, NULL, &id, ok, &l, NULL), KM_ERR_INVALID);
  assert_int_equal(km_discovery_lookup(NULL, &one, &id, ok, &l, NULL), KM_ERR_INVALID);
  km_lookup_cancel(NULL);
  km_discovery_free(NULL);
  km_discovery_worked(l.d, NULL);
  km_discovery *d;
  const km_discovery_options small = {.size = 1};
  assert_int_equal(km_discovery_new(&d, l.loop, &small, NULL), KM_ERR_INVALID);
  assert_int_equal(km_discovery_new(&d, NULL, NULL, NULL), KM_ERR_INVALID);
  assert_int_equal(km_discovery_new(&d, l.loop, NULL, NULL), 0);
  km_discovery_free(d);
  lab_clear(&l);
}

static void sources_have_names(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  km_source_ops ops = {.size = sizeof ops};
  static const char *const bad[] = {NULL, "", "A", "a b", "a1", "abcdefghijklmnopq"};
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    ops.name = bad[i];
    assert_int_equal(km_discovery_add(l.d, NULL, &ops, NULL, NULL), KM_ERR_INVALID);
  }
  ops.name = "abcdefghijklmnop";
  ops.size = 0;
  assert_int_equal(km_discovery_add(l.d, NULL, &ops, NULL, NULL), KM_ERR_INVALID);
  ops.size = sizeof ops;
  for (int i = 1; i < KM_DISCOVERY_MAX_SOURCES; i++) { /* memory is the first */
    assert_int_equal(km_discovery_add(l.d, NULL, &ops, NULL, NULL), 0);
  }
  assert_int_equal(km_discovery_add(l.d, NULL, &ops, NULL, NULL), KM_ERR_LIMIT);
  lab_clear(&l); /* sources without any function are no trouble */
}

/* --- what callbacks do ------------------------------------------------------------------------ */

typedef struct wild {
  lab *l;
  km_lookup *self, *other;
  bool cancel_self, cancel_other, free_all, again;
  bool in_done; /* acts in on_done, else in on_found */
} wild;

static void go_wild(wild *w) {
  if (w->cancel_other) {
    km_lookup_cancel(w->other);
  }
  if (w->cancel_self) {
    km_lookup_cancel(w->self);
  }
  if (w->free_all) {
    lab_close(w->l);
  }
  if (w->again) {
    w->again = false;
    (void)lab_lookup(w->l, 1);
  }
}

static void wild_found(void *ctx, km_lookup *lookup, const km_found *found) {
  wild *w = ctx;
  assert_ptr_equal(lookup, w->self);
  lab_see(w->l, "wild ");
  if (!w->in_done) {
    go_wild(w);
  }
  lab_see_found(w->l, found); /* valid to the end of the callback, whatever was done */
}

static void wild_done(void *ctx, km_lookup *lookup, size_t found, const km_errinfo *err) {
  wild *w = ctx;
  assert_ptr_equal(lookup, w->self);
  lab_see(w->l, "wild done %zu %d; ", found, err->code);
  if (w->in_done) {
    go_wild(w);
  }
}

static void begin_wild(wild *w, lab *l) {
  static const km_lookup_callbacks callbacks = {
      .size = sizeof callbacks, .on_found = wild_found, .on_done = wild_done};
  km_id id = lab_id(1);
  w->l = l;
  assert_int_equal(km_discovery_lookup(l->d, &w->self, &id, &callbacks, w, NULL), 0);
}

/* Two answers of a source that is not done, then one of another look-up. */
static void run_wild(wild *w, const char *want) {
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  lab_put(&l, 1, "192.0.2.1:1", NULL);
  fake a = {.number = 1, .ways = "192.0.2.1:2", .late = !w->in_done};
  fake_add(&a, &l, "a");
  begin_wild(w, &l);
  lab_turn(&l);
  lab_expect(&l, want);
  if (l.d != NULL && !w->cancel_self && !w->in_done) {
    km_lookup_cancel(w->self);
  }
  lab_clear(&l);
}

static void a_callback_ends_its_look_up(void **state) {
  (void)state;
  wild found = {.cancel_self = true};
  run_wild(&found, "wild cancel; memory: 192.0.2.1:1; ");
  wild done = {.cancel_self = true, .in_done = true};
  run_wild(&done, "wild memory: 192.0.2.1:1; wild a: 192.0.2.1:2; wild done 2 0; ");
}

static void a_callback_frees_everything(void **state) {
  (void)state;
  wild found = {.free_all = true};
  run_wild(&found, "wild cancel; close; memory: 192.0.2.1:1; ");
  wild both = {.free_all = true, .cancel_self = true};
  run_wild(&both, "wild cancel; close; memory: 192.0.2.1:1; ");
  wild done = {.free_all = true, .in_done = true};
  run_wild(&done, "wild memory: 192.0.2.1:1; wild a: 192.0.2.1:2; wild done 2 0; close; ");
  wild done_both = {.free_all = true, .cancel_self = true, .in_done = true};
  run_wild(&done_both, "wild memory: 192.0.2.1:1; wild a: 192.0.2.1:2; wild done 2 0; close; ");
}

static void a_callback_ends_another_look_up(void **state) {
  (void)state;
  for (int order = 0; order < 2; order++) {
    lab l;
    lab_init(&l);
    lab_open(&l, NULL, NULL);
    lab_put(&l, 1, "192.0.2.1:1", NULL);
    wild w = {.cancel_other = true};
    if (order == 0) {
      begin_wild(&w, &l);
      w.other = lab_lookup(&l, 1);
      lab_turn(&l);
      lab_expect(&l, "wild memory: 192.0.2.1:1; wild done 1 0; ");
    } else {
      w.other = lab_lookup(&l, 1);
      begin_wild(&w, &l);
      km_lookup_cancel(w.other);
      w.other = lab_lookup(&l, 1);
      lab_turn(&l);
      lab_expect(&l, "wild memory: 192.0.2.1:1; wild done 1 0; ");
    }
    lab_clear(&l);
  }
}

static void a_callback_looks_up_again(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  lab_put(&l, 1, "192.0.2.1:1", NULL);
  wild w = {.again = true, .in_done = true};
  begin_wild(&w, &l);
  lab_turn(&l);
  lab_expect(&l, "wild memory: 192.0.2.1:1; wild done 1 0; memory: 192.0.2.1:1; done 1");
  lab_clear(&l);
}

static void callbacks_may_be_missing(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  lab_put(&l, 1, "192.0.2.1:1", NULL);
  const km_lookup_callbacks none = {.size = sizeof none.size}; /* as an older program has them */
  km_id id = lab_id(1);
  km_lookup *lookup;
  assert_int_equal(km_discovery_lookup(l.d, &lookup, &id, &none, NULL, NULL), 0);
  lab_turn(&l);
  lab_clear(&l);
}

/* --- what sources do -------------------------------------------------------------------------- */

static void cancel_own(fake *f) {
  km_lookup_cancel(f->arg); /* makes fake_cancel clear f->query */
}

static void say_after_cancel(fake *f, km_query *query) {
  fake_say(f, query, "192.0.2.9:9");
  km_query_done(query, NULL);
}

static void a_source_ends_the_look_up(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  lab_put(&l, 1, "192.0.2.1:1", NULL);
  fake a = {.number = 1, .in_resolve = cancel_own, .in_cancel = say_after_cancel},
       b = {.number = 1, .ways = "192.0.2.1:2"};
  fake_add(&a, &l, "a");
  fake_add(&b, &l, "b");
  a.arg = lab_lookup(&l, 1);
  lab_turn(&l);
  lab_expect(&l, "cancel; "); /* b was never asked */
  assert_null(b.query);
  lab_clear(&l);
}

static void look_up_more(fake *f) {
  if (f->arg == NULL) {
    f->arg = lab_lookup(f->l, 1);
  }
}

static void a_source_looks_up(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  fake a = {.number = 1, .in_resolve = look_up_more, .ways = "192.0.2.1:2"};
  fake_add(&a, &l, "a");
  (void)lab_lookup(&l, 1);
  lab_turn(&l);
  lab_expect(&l, "a: 192.0.2.1:2; done 1a: 192.0.2.1:2; done 1");
  lab_clear(&l);
}

static void on_other_thread_turn(void *ctx) {
  fake *f = ctx;
  fake_say(f, f->query, "192.0.2.7:7");
  km_query_done(f->query, NULL);
}

static void a_source_answers_later(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  fake a = {.number = 1, .late = true};
  fake_add(&a, &l, "a");
  (void)lab_lookup(&l, 1);
  lab_turn(&l);
  int x = 0;
  km_query_set_data(a.query, &x);
  assert_ptr_equal(km_query_data(a.query), &x);
  km_timer *timer;
  assert_int_equal(km_timer_start(&timer, l.loop, 20, on_other_thread_turn, &a), 0);
  lab_await(&l, "done");
  lab_expect(&l, "a: 192.0.2.7:7; done 1");
  lab_clear(&l);
}

static void a_source_of_later_is_not_asked_for_what_is_under_way(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  fake a = {.number = 1, .late = true}, b = {.number = 1, .ways = "192.0.2.1:2"};
  fake_add(&a, &l, "a");
  (void)lab_lookup(&l, 1);
  fake_add(&b, &l, "b");
  lab_turn(&l);
  assert_null(b.query);
  km_query_done(a.query, NULL);
  lab_turn(&l);
  lab_expect(&l, "done 0 NOT_FOUND: nobody knows it: not in memory, a");
  lab_clear(&l);
}

static void the_sentence(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  fake dns = {.late = true}, pkarr = {.late = true}, mdns = {.late = true};
  fake_add(&dns, &l, "dns");
  fake_add(&pkarr, &l, "pkarr");
  fake_add(&mdns, &l, "mdns");
  (void)lab_lookup(&l, 1);
  lab_turn(&l);
  fake_fail(mdns.query, KM_ERR_TIMEOUT, "silent for 10 s");
  fake_fail(pkarr.query, KM_ERR_NOT_FOUND, "not found (404)");
  fake_fail(dns.query, KM_ERR_NOT_FOUND, "dns: no such name"); /* its own name is not repeated */
  lab_turn(&l);
  lab_expect(&l, "done 0 NOT_FOUND: nobody knows it: dns: no such name; pkarr: not found (404); "
                 "mdns: silent for 10 s");
  (void)lab_lookup(&l, 1);
  lab_turn(&l);
  fake_fail(mdns.query, KM_ERR_TIMEOUT, "silent for 10 s");
  fake_fail(pkarr.query, KM_ERR_SERVER_UNREACHABLE, "");
  fake_fail(dns.query, KM_ERR_TIMEOUT, "no answer");
  lab_turn(&l);
  lab_expect(&l, "done 0 SERVER_UNREACHABLE: nobody knows it: dns: no answer; "
                 "pkarr: the discovery server cannot be reached; mdns: silent for 10 s");
  lab_clear(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nobody_to_ask),
      cmocka_unit_test(the_address_book),
      cmocka_unit_test(the_address_book_refuses),
      cmocka_unit_test(all_sources_at_once),
      cmocka_unit_test(what_is_dropped),
      cmocka_unit_test(a_flood_of_one_does_not_drown_another),
      cmocka_unit_test(answers_are_checked),
      cmocka_unit_test(as_many_as_allowed),
      cmocka_unit_test(bad_arguments),
      cmocka_unit_test(sources_have_names),
      cmocka_unit_test(a_callback_ends_its_look_up),
      cmocka_unit_test(a_callback_frees_everything),
      cmocka_unit_test(a_callback_ends_another_look_up),
      cmocka_unit_test(a_callback_looks_up_again),
      cmocka_unit_test(callbacks_may_be_missing),
      cmocka_unit_test(a_source_ends_the_look_up),
      cmocka_unit_test(a_source_looks_up),
      cmocka_unit_test(a_source_answers_later),
      cmocka_unit_test(a_source_of_later_is_not_asked_for_what_is_under_way),
      cmocka_unit_test(the_sentence),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
