/* Watching, publishing and remembering: what goes between a km_discovery and its sources. */
#include "core_lab.h"

/* A source that watches, publishes and remembers, and writes down what it is told. */
typedef struct spy {
  lab *l;
  km_source *source;
  const char *known;    /* the ways of peer 1, told when somebody begins to watch; NULL: nothing */
  size_t places;        /* of its publish_state */
  bool publishes_again; /* from inside publish */
} spy;

static void spy_say(spy *s, uint32_t number, const char *ways, bool proven) {
  km_addr *addr = lab_addr(number, ways);
  const km_found found = {.size = sizeof found, .addr = addr, .proven = proven};
  km_source_found(s->source, &found);
  km_addr_free(addr);
}

static void spy_tell(spy *s, uint32_t number, const char *ways) {
  spy_say(s, number, ways, false);
}

static void spy_watch(void *ctx, bool on) {
  spy *s = ctx;
  lab_see(s->l, "watch %d; ", on);
  if (on && s->known != NULL) {
    spy_tell(s, 1, s->known);
  }
}

static void spy_publish(void *ctx, const km_peer_info *info) {
  spy *s = ctx;
  if (info == NULL) {
    lab_see(s->l, "publish nothing; ");
    return;
  }
  if (s->publishes_again) {
    s->publishes_again = false;
    assert_int_equal(km_discovery_set_user_data(s->l->d, "again"), 0);
  }
  char ways[1024];
  km_ways_write(info->addr, ways, sizeof ways);
  lab_see(s->l, "publish %s %s %zu:%d; ", ways, info->user_data != NULL ? info->user_data : "-",
          info->record_len, info->record != NULL ? info->record[0] : -1);
}

static void spy_learn(void *ctx, const km_found *found, bool worked) {
  spy *s = ctx;
  lab_see(s->l, "learn%s ", worked ? " worked" : "");
  lab_see_found(s->l, found);
}

static int spy_state(void *ctx, size_t index, km_publish_state *ret) {
  const spy *s = ctx;
  ret->failures = (uint32_t)(index + 10 * s->places);
  return index < s->places ? 0 : KM_ERR_NOT_FOUND;
}

static void spy_close(void *ctx) {
  lab_see(((spy *)ctx)->l, "close; ");
}

static void spy_add(spy *s, lab *l, const char *name, bool learns) {
  const km_source_ops ops = {.size = sizeof ops,
                             .name = name,
                             .publish = spy_publish,
                             .watch = spy_watch,
                             .learn = learns ? spy_learn : NULL,
                             .publish_state = s->places > 0 ? spy_state : NULL,
                             .close = spy_close};
  s->l = l;
  assert_int_equal(km_discovery_add(l->d, &s->source, &ops, s, NULL), 0);
}

/* --- watching --------------------------------------------------------------------------------- */

typedef struct eye {
  lab *l;
  const char *name;
  km_watch *watch, *other;
  bool cancel_self, cancel_other, free_all, look_again;
} eye;

static void act(eye *e) {
  if (e->cancel_other) {
    km_watch_cancel(e->other);
    e->other = NULL;
  }
  if (e->cancel_self) {
    km_watch_cancel(e->watch);
  }
  if (e->free_all) {
    lab_close(e->l);
  }
  if (e->look_again) {
    e->look_again = false;
    (void)lab_lookup(e->l, 1);
  }
}

static void on_found(void *ctx, const km_found *found) {
  eye *e = ctx;
  lab_see(e->l, "%s sees ", e->name);
  act(e);
  lab_see_found(e->l, found);
}

static void on_lost(void *ctx, const km_id *id, const char *source) {
  eye *e = ctx;
  km_id one = lab_id(1);
  lab_see(e->l, "%s lost %d of %s; ", e->name, km_id_equal(id, &one), source);
  act(e);
}

static void open_eye(eye *e, lab *l, const char *name) {
  static const km_watch_callbacks callbacks = {
      .size = sizeof callbacks, .on_found = on_found, .on_lost = on_lost};
  e->l = l;
  e->name = name;
  assert_int_equal(km_discovery_watch(l->d, &e->watch, &callbacks, e, NULL), 0);
}

static void who_comes_and_goes(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  spy s = {.known = "192.0.2.1:1"};
  spy_add(&s, &l, "spy", false);
  lab_turn(&l);
  spy_tell(&s, 1, "192.0.2.9:9");
  lab_turn(&l);
  lab_expect(&l, ""); /* nobody watches */
  eye a = {0}, b = {0};
  open_eye(&a, &l, "a");
  lab_expect(&l, "");
  lab_turn(&l);
  lab_expect(&l, "watch 1; a sees spy: 192.0.2.1:1; ");
  spy_tell(&s, 1, "192.0.2.1:1"); /* nothing new */
  lab_turn(&l);
  lab_expect(&l, "");
  open_eye(&b, &l, "b"); /* all tell again; only b wants to hear it */
  lab_turn(&l);
  lab_expect(&l, "watch 1; b sees spy: 192.0.2.1:1; ");
  spy_tell(&s, 1, "192.0.2.1:2");
  lab_expect(&l, "");
  lab_turn(&l);
  lab_expect(&l, "a sees spy: 192.0.2.1:2; b sees spy: 192.0.2.1:2; ");
  km_id one = lab_id(1), two = lab_id(2);
  km_source_lost(s.source, &two); /* nobody heard of it */
  km_watch_cancel(b.watch);
  km_source_lost(s.source, &one);
  km_source_lost(s.source, &one);
  lab_turn(&l);
  lab_expect(&l, "a lost 1 of spy; ");
  spy_tell(&s, 1, "192.0.2.1:2"); /* it is back */
  lab_turn(&l);
  lab_expect(&l, "a sees spy: 192.0.2.1:2; ");
  km_watch_cancel(a.watch);
  km_watch_cancel(NULL);
  lab_turn(&l);
  lab_expect(&l, "watch 0; ");
  lab_clear(&l);
}

static void a_watch_of_an_instant(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  spy s = {.known = "192.0.2.1:1"};
  spy_add(&s, &l, "spy", false);
  eye a = {0};
  open_eye(&a, &l, "a");
  km_watch_cancel(a.watch);
  lab_turn(&l);
  lab_expect(&l, "");
  lab_clear(&l);
}

static void the_address_book_is_watched(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  lab_put(&l, 1, "192.0.2.1:1", "x");
  eye a = {0};
  open_eye(&a, &l, "a");
  lab_turn(&l);
  lab_expect(&l, "a sees memory: 192.0.2.1:1 'x'; ");
  lab_put(&l, 1, "192.0.2.1:2", NULL);
  lab_put(&l, 1, "192.0.2.1:2", NULL);
  lab_turn(&l);
  lab_expect(&l, "a sees memory: 192.0.2.1:2; ");
  km_id one = lab_id(1);
  assert_int_equal(km_discovery_remove(l.d, &one), 0);
  lab_turn(&l);
  lab_expect(&l, "a lost 1 of memory; ");
  lab_clear(&l);
}

static void watchers_do_as_they_like(void **state) {
  (void)state;
  static const eye acts[] = {{.cancel_self = true},
                             {.cancel_other = true},
                             {.cancel_self = true, .cancel_other = true},
                             {.free_all = true},
                             {.cancel_self = true, .free_all = true},
                             {.look_again = true}};
  static const char *const want[] = {
      "a sees memory: 192.0.2.1:1; b sees memory: 192.0.2.1:1; b sees memory: 192.0.2.1:2; ",
      "a sees memory: 192.0.2.1:1; a sees memory: 192.0.2.1:2; ",
      "a sees memory: 192.0.2.1:1; ",
      "a sees memory: 192.0.2.1:1; ",
      "a sees memory: 192.0.2.1:1; ",
      ("a sees memory: 192.0.2.1:1; a sees memory: 192.0.2.1:2; b sees memory: 192.0.2.1:1; "
       "b sees memory: 192.0.2.1:2; memory: 192.0.2.1:2; done 1"),
  };
  for (size_t i = 0; i < COUNT_OF(acts); i++) {
    lab l;
    lab_init(&l);
    lab_open(&l, NULL, NULL);
    eye a = acts[i], b = {0};
    open_eye(&a, &l, "a");
    open_eye(&b, &l, "b");
    a.other = b.watch;
    lab_turn(&l);
    lab_put(&l, 1, "192.0.2.1:1", NULL);
    lab_put(&l, 1, "192.0.2.1:2", NULL);
    lab_turn(&l);
    lab_expect(&l, want[i]);
    lab_clear(&l);
  }
}

static void so_many_may_watch(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  static const km_watch_callbacks none = {.size = sizeof none.size};
  km_watch *w;
  for (int i = 0; i < 64; i++) {
    assert_int_equal(km_discovery_watch(l.d, &w, &none, NULL, NULL), 0);
  }
  assert_int_equal(km_discovery_watch(l.d, &w, &none, NULL, NULL), KM_ERR_LIMIT);
  lab_put(&l, 1, "192.0.2.1:1", NULL);
  km_id one = lab_id(1);
  assert_int_equal(km_discovery_remove(l.d, &one), 0);
  lab_turn(&l);
  assert_int_equal(km_discovery_watch(l.d, &w, NULL, NULL, NULL), KM_ERR_INVALID);
  lab_clear(&l);
}

/* --- publishing ------------------------------------------------------------------------------- */

static void publish(lab *l, const char *ways, const char *user_data) {
  km_addr *addr = lab_addr(1, ways);
  const km_peer_info info = {.size = sizeof info, .addr = addr, .user_data = user_data};
  assert_int_equal(km_discovery_publish(l->d, &info, NULL), 0);
  km_addr_free(addr);
}

static void what_sources_publish(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  km_secret_key *key = lab_key(1);
  lab_open(&l, NULL, key);
  km_secret_key_free(key); /* it was copied */
  spy s = {0}, late = {0};
  spy_add(&s, &l, "spy", false);
  lab_turn(&l);
  assert_int_equal(km_discovery_publish(l.d, NULL, NULL), 0);
  lab_turn(&l);
  lab_expect(&l, ""); /* there is nothing to withdraw */
  publish(&l, "192.0.2.1:1", NULL);
  lab_expect(&l, "");
  publish(&l, "192.0.2.1:2", NULL);
  lab_turn(&l);
  lab_expect(&l, "publish 192.0.2.1:2 - 0:-1; "); /* only the last counts */
  publish(&l, "192.0.2.1:2", NULL);
  lab_turn(&l);
  lab_expect(&l, "");
  assert_int_equal(km_discovery_set_user_data(l.d, "mine"), 0);
  const uint8_t record[3] = {7, 8, 9};
  assert_int_equal(km_discovery_set_record(l.d, record, sizeof record), 0);
  lab_turn(&l);
  lab_expect(&l, "publish 192.0.2.1:2 mine 3:7; ");
  assert_int_equal(km_discovery_set_user_data(l.d, "mine"), 0);
  lab_turn(&l);
  lab_expect(&l, "");
  publish(&l, "192.0.2.1:3", "its own");
  lab_turn(&l);
  lab_expect(&l, "publish 192.0.2.1:3 its own 3:7; ");
  spy_add(&late, &l, "late", false);
  lab_turn(&l);
  lab_expect(&l, "publish 192.0.2.1:3 its own 3:7; "); /* the new one only */
  assert_int_equal(km_discovery_set_record(l.d, NULL, 0), 0);
  assert_int_equal(km_discovery_set_user_data(l.d, NULL), 0);
  publish(&l, "192.0.2.1:3", "");
  lab_turn(&l);
  lab_expect(&l, "publish 192.0.2.1:3 - 0:-1; publish 192.0.2.1:3 - 0:-1; ");
  assert_int_equal(km_discovery_publish(l.d, NULL, NULL), 0);
  lab_turn(&l);
  lab_expect(&l, "publish nothing; publish nothing; ");
  publish(&l, "192.0.2.1:3", NULL);
  lab_turn(&l);
  lab_expect(&l, "publish 192.0.2.1:3 - 0:-1; publish 192.0.2.1:3 - 0:-1; ");
  lab_close(&l);
  lab_expect(&l, "publish nothing; publish nothing; close; close; ");
  lab_clear(&l);
}

static void settings_come_first(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  spy s = {.publishes_again = true};
  spy_add(&s, &l, "spy", false);
  assert_int_equal(km_discovery_set_user_data(l.d, "mine"), 0);
  lab_turn(&l);
  lab_expect(&l, ""); /* nothing is published yet */
  publish(&l, "192.0.2.1:1", NULL);
  lab_turn(&l);
  /* what it was told stays valid though it publishes something else meanwhile */
  lab_expect(&l, "publish 192.0.2.1:1 mine 0:-1; publish 192.0.2.1:1 again 0:-1; ");
  lab_clear(&l);
}

static void what_is_not_published(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  km_secret_key *key = lab_key(2);
  lab_open(&l, NULL, key);
  km_secret_key_free(key);
  km_errinfo err = {0};
  km_addr *addr = lab_addr(1, "192.0.2.1:1"), *own = lab_addr(2, "192.0.2.1:1");
  char text[KM_USER_DATA_MAX + 2];
  memset(text, 'a', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  uint8_t record[KM_RECORD_BYTES_MAX + 1] = {0};
  km_peer_info info = {.size = sizeof info, .addr = addr};
  assert_int_equal(km_discovery_publish(l.d, &info, &err), KM_ERR_INVALID);
  assert_non_null(strstr(err.text, "another id"));
  info.addr = NULL;
  assert_int_equal(km_discovery_publish(l.d, &info, NULL), KM_ERR_INVALID);
  info.addr = own;
  info.user_data = text;
  assert_int_equal(km_discovery_publish(l.d, &info, NULL), KM_ERR_INVALID);
  info.user_data = "\xf0\x9f";
  assert_int_equal(km_discovery_publish(l.d, &info, NULL), KM_ERR_INVALID);
  info.user_data = text + 1;
  info.record = record;
  info.record_len = sizeof record;
  assert_int_equal(km_discovery_publish(l.d, &info, NULL), KM_ERR_INVALID);
  info.record_len--;
  assert_int_equal(km_discovery_publish(l.d, &info, NULL), 0);
  info.size = 1;
  assert_int_equal(km_discovery_publish(l.d, &info, NULL), KM_ERR_INVALID);
  assert_int_equal(km_discovery_set_user_data(l.d, text), KM_ERR_INVALID);
  assert_int_equal(km_discovery_set_record(l.d, record, sizeof record), KM_ERR_INVALID);
  assert_int_equal(km_discovery_set_record(l.d, record, 0), KM_ERR_INVALID);
  km_addr_free(addr);
  km_addr_free(own);
  lab_clear(&l);
}

static void how_publishing_goes(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  spy none = {0}, two = {.places = 2}, one = {.places = 1};
  spy_add(&none, &l, "none", false);
  spy_add(&two, &l, "two", false);
  spy_add(&one, &l, "one", false);
  static const char *const names[] = {"two", "two", "one"};
  static const uint32_t failures[] = {20, 21, 10};
  for (size_t i = 0; i < 3; i++) {
    km_publish_state st = {.size = sizeof st};
    assert_int_equal(km_discovery_publish_state(l.d, i, &st), 0);
    assert_string_equal(st.source, names[i]);
    assert_string_equal(st.where, "");
    assert_int_equal(st.failures, failures[i]);
    assert_int_equal(st.size, sizeof st);
  }
  km_publish_state st = {.size = sizeof st};
  assert_int_equal(km_discovery_publish_state(l.d, 3, &st), KM_ERR_NOT_FOUND);
  assert_int_equal(km_discovery_publish_state(l.d, SIZE_MAX, &st), KM_ERR_NOT_FOUND);
  lab_clear(&l);
}

/* --- remembering ------------------------------------------------------------------------------ */

static void those_who_remember(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  fake dns = {.number = 1, .ways = "192.0.2.1:1"};
  spy memory = {0}, plain = {0};
  fake_add(&dns, &l, "dns");
  spy_add(&memory, &l, "elephant", true);
  spy_add(&plain, &l, "plain", false);
  (void)lab_lookup(&l, 1);
  lab_turn(&l);
  lab_expect(&l, "learn dns: 192.0.2.1:1; dns: 192.0.2.1:1; done 1");
  spy_say(&plain, 1, "192.0.2.1:2", true); /* nobody asked, nobody watches */
  spy_tell(&plain, 1, "192.0.2.1:6");      /* and nobody proves it */
  spy_say(&memory, 1, "192.0.2.1:3", true);
  lab_turn(&l);
  lab_expect(&l, "learn plain: 192.0.2.1:2 proven; "); /* not its own */
  lab_worked(&l, 1, "192.0.2.1:4");
  lab_expect(&l, "");
  lab_turn(&l);
  lab_expect(&l, "learn worked : 192.0.2.1:4 proven; ");
  lab_worked(&l, 1, "192.0.2.1:5");
  lab_close(&l); /* is not forgotten */
  lab_expect(&l, "learn worked : 192.0.2.1:5 proven; close; close; close; ");
  lab_clear(&l);
}

static void a_flood_is_not_remembered(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  size_t learnt = 0;
  spy flood = {0};
  spy_add(&flood, &l, "flood", false);
  spy memory = {0};
  spy_add(&memory, &l, "elephant", true);
  for (int i = 0; i < 1100; i++) {
    spy_say(&flood, 1, "", true);
  }
  lab_turn(&l);
  for (const char *at = l.seen; (at = strstr(at, "learn ")) != NULL; at++) {
    learnt++;
  }
  assert_in_range(learnt, 1, 1024);
  lab_clear(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(who_comes_and_goes),          cmocka_unit_test(a_watch_of_an_instant),
      cmocka_unit_test(the_address_book_is_watched), cmocka_unit_test(watchers_do_as_they_like),
      cmocka_unit_test(so_many_may_watch),           cmocka_unit_test(what_sources_publish),
      cmocka_unit_test(settings_come_first),         cmocka_unit_test(what_is_not_published),
      cmocka_unit_test(how_publishing_goes),         cmocka_unit_test(those_who_remember),
      cmocka_unit_test(a_flood_is_not_remembered),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
