/* The cache: what is remembered, for how long, and what cannot push it out. */
#include "discovery/cache.h"

#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core_lab.h"

#define DAY INT64_C(86400)

static int64_t clock_s = 1000000000; /* what the cache sees */

static km_wall wall(void) {
  return (km_wall){.unix_ns = clock_s * (int64_t)KM_NS_PER_S};
}

/* Says and does not say things as "dns", at any time. */
typedef struct world {
  lab l;
  fake dns, mdns;
} world;

static void world_open(world *w, size_t max_peers) {
  km_errinfo err = {0};
  lab_open(&w->l, "state.db", NULL);
  if (km_cache_add(w->l.d, max_peers, wall, &err) != 0) {
    fail_msg("%s", err.text);
  }
  w->dns = w->mdns = (fake){0};
  fake_add(&w->dns, &w->l, "dns");
  fake_add(&w->mdns, &w->l, "mdns");
  lab_turn(&w->l);
}

static void world_init(world *w, size_t max_peers) {
  clock_s = 1000000000;
  lab_init(&w->l);
  world_open(w, max_peers);
}

static void world_reopen(world *w, size_t max_peers) {
  lab_close(&w->l);
  w->l.seen[0] = '\0';
  world_open(w, max_peers);
}

static void world_clear(world *w) {
  lab_clear(&w->l);
}

static void hear_found(fake *f, uint32_t number, const char *ways, km_found found) {
  km_addr *addr = lab_addr(number, ways);
  found.size = sizeof found;
  found.addr = addr;
  km_source_found(f->source, &found);
  km_addr_free(addr);
  lab_turn(f->l);
}

/* With a signature; claims are told by hand. */
static void hear(fake *f, uint32_t number, const char *ways) {
  hear_found(f, number, ways, (km_found){.proven = true});
}

static void see_with_age(void *ctx, km_lookup *lookup, const km_found *found) {
  (void)lookup;
  lab_see(ctx, "%u s ", found->age_s);
  lab_see_found(ctx, found);
}

static void expect(world *w, uint32_t number, const char *want) {
  const km_lookup_callbacks callbacks = {
      .size = sizeof callbacks, .on_found = see_with_age, .on_done = lab_on_done};
  km_id id = lab_id(number);
  km_lookup *lookup;
  assert_int_equal(km_discovery_lookup(w->l.d, &lookup, &id, &callbacks, &w->l, NULL), 0);
  lab_await(&w->l, "done");
  lab_expect(&w->l, want);
}

#define NOBODY "done 0 NOT_FOUND: nobody knows it: not in memory, cache, dns, mdns"

/* A second connection to the same file. */
static km_db *look_inside(const world *w) {
  km_discovery_state *s;
  assert_int_equal(km_discovery_state_open(&s, &km_env_system, lab_path(&w->l, "state.db"), NULL),
                   0);
  km_db *db = km_discovery_state_db(s);
  (void)db;
  km_discovery_state_close(s);
  static const char *const none[] = {"", ""};
  const km_db_config config = {.env = &km_env_system,
                               .path = lab_path(&w->l, "state.db"),
                               .application_id = UINT32_C(0x4b4d6473),
                               .migrations = none,
                               .migration_count = COUNT_OF(none)};
  assert_int_equal(km_db_open(&db, &config, NULL), 0);
  return db;
}

static int64_t number_of(km_db *db, const char *sql) {
  km_db_stmt *s;
  assert_int_equal(km_db_prepare(db, &s, sql, NULL), 0);
  assert_int_equal(km_db_step(s, NULL), 1);
  int64_t ret = km_db_int(s, 0);
  km_db_reset(s);
  return ret;
}

/* Runs until the query gives 1. */
static void await_stored(world *w, km_db *db, const char *sql) {
  km_ts give_up = km_clock_now() + LAB_LIMIT_NS;
  while (number_of(db, sql) != 1) {
    assert_true(km_clock_now() < give_up);
    assert_int_equal(km_loop_run_once(w->l.loop, 50), 0);
  }
}

/* The first batch, which is due at once, is over: the next is a second away. */
static void await_quiet(world *w) {
  km_ts start = km_clock_now();
  while (km_clock_now() - start < 20 * KM_NS_PER_MS) {
    assert_int_equal(km_loop_run_once(w->l.loop, 5), 0);
  }
}

/* --- remembering ------------------------------------------------------------------------------ */

static void across_restarts(void **state) {
  (void)state;
  world w;
  world_init(&w, 0);
  hear_found(&w.dns, 1, "192.0.2.1:1 [2001:db8::1]:7 https://r.example/",
             (km_found){.user_data = "hi", .proven = true, .published_ms = 5, .age_s = 10});
  expect(&w, 1, "10 s cache: 192.0.2.1:1 [2001:db8::1]:7 https://r.example/ 'hi' proven; done 1");
  clock_s += 90;
  world_reopen(&w, 0);
  expect(&w, 1, "100 s cache: 192.0.2.1:1 [2001:db8::1]:7 https://r.example/ 'hi' proven; done 1");
  expect(&w, 2, NOBODY);
  world_clear(&w);
}

static void what_worked_comes_first(void **state) {
  (void)state;
  for (int reopen = 0; reopen < 2; reopen++) {
    world w;
    world_init(&w, 0);
    hear(&w.dns, 1, "192.0.2.1:1");
    lab_worked(&w.l, 1, "192.0.2.2:2");
    lab_turn(&w.l);
    clock_s += 5;
    lab_worked(&w.l, 1, "192.0.2.3:3 https://r.example/");
    hear(&w.mdns, 1, "192.0.2.4:4");
    if (reopen == 1) {
      world_reopen(&w, 0);
    }
    clock_s += 5;
    expect(&w, 1,
           reopen == 1 ? "5 s cache: 192.0.2.2:2 192.0.2.3:3 https://r.example/ worked; "
                         "5 s cache: 192.0.2.4:4 proven; 10 s cache: 192.0.2.1:1 proven; done 3"
                       : "5 s cache: 192.0.2.2:2 192.0.2.3:3 https://r.example/ worked; "
                         "10 s cache: 192.0.2.1:1 proven; 5 s cache: 192.0.2.4:4 proven; done 3");
    world_clear(&w);
  }
}

static void claims_do_not_replace_what_worked(void **state) {
  (void)state;
  world w;
  world_init(&w, 0);
  lab_worked(&w.l, 1, "192.0.2.2:2");
  world_reopen(&w, 0);
  for (int i = 1; i < 200; i++) {
    char way[32];
    (void)snprintf(way, sizeof way, "198.51.100.1:%d", i);
    hear(i % 2 == 0 ? &w.dns : &w.mdns, 1, way);
  }
  hear(&w.dns, 1, ""); /* the source knows nothing any more */
  world_reopen(&w, 0);
  expect(&w, 1, "0 s cache: 192.0.2.2:2 worked; 0 s cache: 198.51.100.1:199 proven; done 2");
  world_clear(&w);
}

static void so_many_ways_are_kept(void **state) {
  (void)state;
  world w;
  world_init(&w, 0);
  for (int i = 1; i <= 12; i++) {
    char way[32];
    (void)snprintf(way, sizeof way, "192.0.2.1:%d", i);
    lab_worked(&w.l, 1, way);
    lab_turn(&w.l);
    clock_s += 100;
  }
  char all[8192] = "";
  for (int i = 0; i < KM_ADDR_MAX_RELAYS; i++) { /* nor do long urls grow without end */
    char url[1100];
    (void)snprintf(url, sizeof url, "%shttps://r%d.example/%0*d", i > 0 ? " " : "", i, 1000, 0);
    (void)snprintf(all + strlen(all), sizeof all - strlen(all), "%s", url);
  }
  hear(&w.dns, 1, all);
  world_reopen(&w, 0);
  km_db *db = look_inside(&w);
  assert_int_equal(number_of(db, "SELECT count(*) FROM worked"), KM_CACHE_MAX_WORKED);
  assert_in_range(number_of(db, "SELECT max(length(ways)) FROM heard"), 1000, KM_CACHE_WAYS_CAP);
  km_db_close(db);
  (void)lab_lookup(&w.l, 1);
  lab_await(&w.l, "done 2");
  assert_non_null(strstr(w.l.seen, "cache: 192.0.2.1:5 192.0.2.1:6 192.0.2.1:7 192.0.2.1:8 "
                                   "192.0.2.1:9 192.0.2.1:10 192.0.2.1:11 192.0.2.1:12 worked; "));
  world_clear(&w);
}

static void what_waits_counts_already(void **state) {
  (void)state;
  world w;
  world_init(&w, 0);
  hear(&w.dns, 1, "192.0.2.1:1");
  lab_worked(&w.l, 1, "192.0.2.1:2");
  world_reopen(&w, 0);
  await_quiet(&w);
  clock_s += 5;
  hear(&w.dns, 1, "192.0.2.1:3"); /* in the place of what it said before */
  lab_worked(&w.l, 1, "192.0.2.1:4");
  expect(&w, 1, "0 s cache: 192.0.2.1:2 192.0.2.1:4 worked; 0 s cache: 192.0.2.1:3 proven; done 2");
  world_clear(&w);
}

static void what_is_not_remembered(void **state) {
  (void)state;
  world w;
  lab_init(&w.l);
  km_secret_key *key = lab_key(7);
  lab_open(&w.l, "state.db", key);
  km_secret_key_free(key);
  assert_int_equal(km_discovery_add_cache(w.l.d, 0, NULL), 0);
  assert_int_equal(km_discovery_add_cache(w.l.d, 0, NULL), KM_ERR_STATE);
  fake f = {0};
  fake_add(&f, &w.l, "dns");
  hear(&f, 7, "192.0.2.1:1"); /* ourselves */
  lab_put(&w.l, 1, "192.0.2.1:1", NULL);
  lab_expect_lookup(&w.l, 1, "memory: 192.0.2.1:1; done 1"); /* the address book has it */
  lab_worked(&w.l, 2, "");
  lab_close(&w.l);
  km_db *db = look_inside(&w);
  assert_int_equal(number_of(db, "SELECT count(*) FROM peer"), 0);
  km_db_close(db);
  lab_clear(&w.l);
}

static void older_packets(void **state) {
  (void)state;
  world w;
  world_init(&w, 0);
  hear_found(&w.dns, 1, "192.0.2.1:1", (km_found){.proven = true, .published_ms = 500});
  world_reopen(&w, 0);
  hear_found(&w.dns, 1, "192.0.2.1:2", (km_found){.proven = true, .published_ms = 400});
  world_reopen(&w, 0);
  expect(&w, 1, "0 s cache: 192.0.2.1:1 proven; done 1");
  hear_found(&w.dns, 1, "192.0.2.1:3", (km_found){.proven = true, .published_ms = 600});
  world_reopen(&w, 0);
  expect(&w, 1, "0 s cache: 192.0.2.1:3 proven; done 1");
  world_clear(&w);
}

/* --- claims ----------------------------------------------------------------------------------- */

/* An answer of `f` to a look-up, of what nobody proves. */
static void claim(world *w, fake *f, uint32_t number, const char *ways, uint32_t valid_s) {
  f->late = true;
  (void)lab_lookup(&w->l, number);
  lab_turn(&w->l);
  assert_non_null(f->query);
  km_addr *addr = lab_addr(number, ways);
  const km_found found = {.size = sizeof found, .addr = addr, .valid_s = valid_s};
  km_query_found(f->query, &found);
  km_addr_free(addr);
  km_query *query = f->query;
  f->query = NULL;
  f->late = false;
  km_query_done(query, NULL);
  lab_await(&w->l, "done");
  w->l.seen[0] = '\0';
}

static void claims_are_not_stored(void **state) {
  (void)state;
  world w;
  world_init(&w, 0);
  hear(&w.mdns, 1, "192.0.2.1:1");
  lab_worked(&w.l, 1, "192.0.2.1:2");
  claim(&w, &w.dns, 1, "192.0.2.1:3", 0);
  claim(&w, &w.dns, 2, "192.0.2.2:1", 300);
  clock_s += 7;
  /* What they are is said with them, and they come last. */
  expect(&w, 1,
         "7 s cache: 192.0.2.1:2 worked; 7 s cache: 192.0.2.1:1 proven; "
         "7 s cache: 192.0.2.1:3; done 3");
  expect(&w, 2, "7 s cache: 192.0.2.2:1; done 1");
  world_reopen(&w, 0);
  expect(&w, 1, "7 s cache: 192.0.2.1:2 worked; 7 s cache: 192.0.2.1:1 proven; done 2");
  expect(&w, 2, NOBODY);
  km_db *db = look_inside(&w);
  assert_int_equal(number_of(db, "SELECT count(*) FROM peer"), 1);
  km_db_close(db);
  world_clear(&w);
}

static void claims_end_soon(void **state) {
  (void)state;
  world w;
  world_init(&w, 0);
  claim(&w, &w.dns, 1, "192.0.2.1:1", 1);
  claim(&w, &w.dns, 2, "192.0.2.1:2", 1000000);
  claim(&w, &w.dns, 3, "192.0.2.1:3", 0);
  expect(&w, 1, "0 s cache: 192.0.2.1:1; done 1");
  clock_s += 1;
  expect(&w, 1, NOBODY);
  clock_s += KM_CACHE_MAX_CLAIM_S - 2;
  expect(&w, 2, "599 s cache: 192.0.2.1:2; done 1");
  expect(&w, 3, "599 s cache: 192.0.2.1:3; done 1");
  clock_s += 1;
  expect(&w, 2, NOBODY);
  expect(&w, 3, NOBODY);
  claim(&w, &w.dns, 4, "192.0.2.1:4", 0);
  clock_s -= 1; /* a clock that is set back makes nothing last longer */
  expect(&w, 4, NOBODY);
  world_clear(&w);
}

static void a_claim_replaces_that_of_its_source(void **state) {
  (void)state;
  world w;
  world_init(&w, 0);
  claim(&w, &w.dns, 1, "192.0.2.1:1", 0);
  claim(&w, &w.mdns, 1, "192.0.2.1:2", 0);
  claim(&w, &w.dns, 1, "192.0.2.1:3", 0);
  expect(&w, 1, "0 s cache: 192.0.2.1:2; 0 s cache: 192.0.2.1:3; done 2");
  claim(&w, &w.mdns, 1, "", 0); /* it knows nothing any more */
  expect(&w, 1, "0 s cache: 192.0.2.1:3; done 1");
  for (uint32_t i = 0; i < 256; i++) {
    claim(&w, &w.dns, 100 + i, "192.0.2.1:9", 0);
  }
  expect(&w, 1, NOBODY); /* the oldest made room */
  expect(&w, 100, "0 s cache: 192.0.2.1:9; done 1");
  expect(&w, 355, "0 s cache: 192.0.2.1:9; done 1");
  world_clear(&w);
}

static void claims_that_nobody_asked_for(void **state) {
  (void)state;
  world w;
  world_init(&w, 0);
  hear_found(&w.mdns, 1, "192.0.2.1:1", (km_found){.valid_s = 100});
  expect(&w, 1, NOBODY);
  hear_found(&w.mdns, 1, "192.0.2.1:1", (km_found){.proven = true});
  expect(&w, 1, "0 s cache: 192.0.2.1:1 proven; done 1");
  world_clear(&w);
}

/* One of before: claims had a place in it. */
static void an_older_state_file(void **state) {
  (void)state;
  world w;
  clock_s = 1000000000;
  lab_init(&w.l);
  static const char *const first[] = {
      "CREATE TABLE stamp(id BLOB PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;"
      "CREATE TABLE peer(id BLOB PRIMARY KEY, used INTEGER NOT NULL, worked INTEGER NOT NULL)"
      " WITHOUT ROWID;"
      "CREATE INDEX peer_order ON peer(worked, used);"
      "CREATE TABLE worked(id BLOB NOT NULL REFERENCES peer ON DELETE CASCADE, way TEXT NOT NULL,"
      " at INTEGER NOT NULL, PRIMARY KEY(id, way)) WITHOUT ROWID;"
      "CREATE TABLE heard(id BLOB NOT NULL REFERENCES peer ON DELETE CASCADE, source TEXT NOT NULL,"
      " at INTEGER NOT NULL, ways TEXT NOT NULL, user_data TEXT, published INTEGER NOT NULL,"
      " proven INTEGER NOT NULL, PRIMARY KEY(id, source)) WITHOUT ROWID;"};
  const km_db_config config = {.env = &km_env_system,
                               .path = lab_path(&w.l, "state.db"),
                               .application_id = UINT32_C(0x4b4d6473),
                               .migrations = first,
                               .migration_count = COUNT_OF(first)};
  km_db *db;
  assert_int_equal(km_db_open(&db, &config, NULL), 0);
  char sql[1024];
  char hex[KM_ID_TEXT_CAP];
  km_id id = lab_id(1);
  assert_true(km_id_format(&id, KM_ID_HEX, hex, sizeof hex) > 0);
  (void)snprintf(sql, sizeof sql,
                 "INSERT INTO peer VALUES(x'%s', 1, 1);"
                 "INSERT INTO worked VALUES(x'%s', '192.0.2.1:1', 1000000000);"
                 "INSERT INTO heard VALUES(x'%s', 'pkarr', 1000000000, '192.0.2.1:2', NULL, 5, 1);"
                 "INSERT INTO heard VALUES(x'%s', 'dns', 1000000000, '192.0.2.1:3', NULL, 0, 0)",
                 hex, hex, hex, hex);
  assert_int_equal(km_db_exec(db, sql, NULL), 0);
  km_db_close(db);
  world_open(&w, 0);
  expect(&w, 1, "0 s cache: 192.0.2.1:1 worked; 0 s cache: 192.0.2.1:2 proven; done 2");
  world_clear(&w);
}

/* --- time ------------------------------------------------------------------------------------- */

static void thirty_days(void **state) {
  (void)state;
  world w;
  world_init(&w, 0);
  lab_worked(&w.l, 1, "192.0.2.1:1");
  hear(&w.dns, 1, "192.0.2.1:2");
  world_reopen(&w, 0);
  clock_s += 30 * DAY;
  expect(&w, 1, "2592000 s cache: 192.0.2.1:1 worked; 2592000 s cache: 192.0.2.1:2 proven; done 2");
  clock_s += 1;
  expect(&w, 1, NOBODY);
  km_db *db = look_inside(&w);
  world_reopen(&w, 0);
  await_stored(&w, db, "SELECT count(*) = 0 FROM peer"); /* it is forgotten, not only hidden */
  km_db_close(db);
  world_clear(&w);
}

static void the_clock_is_set_back(void **state) {
  (void)state;
  world w;
  world_init(&w, 0);
  for (int i = 1; i <= 8; i++) {
    char way[32];
    (void)snprintf(way, sizeof way, "192.0.2.1:%d", i);
    lab_worked(&w.l, 1, way);
    lab_turn(&w.l);
  }
  hear(&w.dns, 1, "192.0.2.2:1");
  world_reopen(&w, 0);
  clock_s -= 300 * DAY;
  expect(&w, 1,
         "0 s cache: 192.0.2.1:1 192.0.2.1:2 192.0.2.1:3 192.0.2.1:4 192.0.2.1:5 "
         "192.0.2.1:6 192.0.2.1:7 192.0.2.1:8 worked; 0 s cache: 192.0.2.2:1 proven; done 2");
  lab_worked(&w.l, 1, "192.0.2.9:9"); /* takes the place of one of the future */
  hear(&w.dns, 1, "192.0.2.2:2");
  world_reopen(&w, 0);
  clock_s += 10;
  (void)lab_lookup(&w.l, 1);
  lab_await(&w.l, "done 2");
  assert_non_null(strstr(w.l.seen, "192.0.2.9:9 worked; "));
  assert_non_null(strstr(w.l.seen, "cache: 192.0.2.2:2 proven; "));
  world_clear(&w);
}

/* --- room ------------------------------------------------------------------------------------- */

static void the_least_used_make_room(void **state) {
  (void)state;
  world w;
  world_init(&w, 3);
  for (uint32_t i = 1; i <= 3; i++) {
    hear(&w.dns, i, "192.0.2.1:1");
  }
  world_reopen(&w, 3);
  expect(&w, 1, "0 s cache: 192.0.2.1:1 proven; done 1"); /* is used now */
  world_reopen(&w, 3);
  hear(&w.dns, 4, "192.0.2.1:1");
  world_reopen(&w, 3);
  expect(&w, 2, NOBODY);
  for (uint32_t i = 1; i <= 4; i += i == 1 ? 2 : 1) {
    expect(&w, i, "0 s cache: 192.0.2.1:1 proven; done 1");
  }
  world_clear(&w);
}

/* Another process counts uses as well. */
static void two_processes(void **state) {
  (void)state;
  world w, other;
  world_init(&w, 4);
  for (uint32_t i = 1; i <= 4; i++) {
    lab_worked(&w.l, i, "192.0.2.1:1");
  }
  world_reopen(&w, 4);
  other.l = w.l; /* the same folder and loop */
  world_open(&other, 4);
  for (int again = 0; again < 2; again++) {
    clock_s += 100;
    for (uint32_t i = 1; i <= 3; i++) {
      lab_worked(&w.l, i, "192.0.2.1:1");
    }
    world_reopen(&w, 4);
  }
  lab_worked(&other.l, 4, "192.0.2.1:1");
  lab_close(&other.l);
  lab_worked(&w.l, 5, "192.0.2.1:1");
  world_reopen(&w, 4);
  expect(&w, 1, NOBODY); /* its use was before that of 4 */
  expect(&w, 4, "0 s cache: 192.0.2.1:1 worked; done 1");
  world_clear(&w);
}

static void a_flood_does_not_push_out_what_worked(void **state) {
  (void)state;
  world w;
  world_init(&w, 20);
  for (uint32_t i = 1; i <= 10; i++) {
    lab_worked(&w.l, i, "192.0.2.1:1");
    lab_turn(&w.l);
  }
  for (int round = 0; round < 3; round++) {
    for (uint32_t i = 0; i < 300; i++) {
      hear(&w.mdns, 100 + 300 * (uint32_t)round + i, "198.51.100.1:1");
    }
    world_reopen(&w, 20);
  }
  for (uint32_t i = 1; i <= 10; i++) {
    expect(&w, i, "0 s cache: 192.0.2.1:1 worked; done 1");
  }
  km_db *db = look_inside(&w);
  assert_int_equal(number_of(db, "SELECT count(*) FROM peer"), 20);
  assert_int_equal(number_of(db, "SELECT count(*) FROM heard"), 10); /* nothing is left over */
  km_db_close(db);
  world_clear(&w);
}

/* --- the disk --------------------------------------------------------------------------------- */

static void nothing_is_written_for_nothing(void **state) {
  (void)state;
  world w;
  world_init(&w, 0);
  km_db *db = look_inside(&w);
  hear(&w.dns, 1, "192.0.2.1:1");
  lab_worked(&w.l, 1, "192.0.2.1:2");
  await_stored(&w, db, "SELECT count(*) FROM worked");
  int64_t version = number_of(db, "PRAGMA data_version");
  for (int i = 0; i < 20; i++) { /* longer than the time between two batches */
    hear(&w.dns, 1, "192.0.2.1:1");
    lab_worked(&w.l, 1, "192.0.2.1:2");
    expect(&w, 1, "0 s cache: 192.0.2.1:2 worked; 0 s cache: 192.0.2.1:1 proven; done 2");
    assert_int_equal(km_loop_run_once(w.l.loop, 100), 0);
  }
  world_reopen(&w, 0);
  assert_int_equal(number_of(db, "PRAGMA data_version"), version);
  clock_s += 3600; /* now and then it is, to stay young */
  hear(&w.dns, 1, "192.0.2.1:1");
  lab_close(&w.l);
  assert_int_not_equal(number_of(db, "PRAGMA data_version"), version);
  km_db_close(db);
  world_clear(&w);
}

static void killed(void **state) {
  (void)state;
  world w;
  world_init(&w, 0);
  lab_close(&w.l);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    world_open(&w, 0);
    lab_worked(&w.l, 1, "192.0.2.1:1");
    km_db *db = look_inside(&w);
    await_stored(&w, db, "SELECT count(*) FROM worked");
    (void)kill(getpid(), SIGKILL);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  world_open(&w, 0);
  w.l.seen[0] = '\0';
  expect(&w, 1, "0 s cache: 192.0.2.1:1 worked; done 1");
  world_clear(&w);
}

static void another_process_holds_the_file(void **state) {
  (void)state;
  world w;
  world_init(&w, 0);
  lab_worked(&w.l, 1, "192.0.2.1:1");
  world_reopen(&w, 0);
  km_db *db = look_inside(&w);
  assert_int_equal(km_db_exec(db, "BEGIN IMMEDIATE", NULL), 0);
  lab_worked(&w.l, 2, "192.0.2.1:2");
  hear(&w.dns, 2, "192.0.2.1:3");
  km_ts give_up = km_clock_now() + LAB_LIMIT_NS;
  while (w.l.log_count == 0 && km_clock_now() < give_up) {
    assert_int_equal(km_loop_run_once(w.l.loop, 50), 0);
  }
  assert_int_equal(lab_logged(&w.l, "cache-degraded"), 1);
  expect(&w, 1, "0 s cache: 192.0.2.1:1 worked; done 1");
  expect(&w, 2, "0 s cache: 192.0.2.1:2 worked; 0 s cache: 192.0.2.1:3 proven; done 2");
  lab_worked(&w.l, 3, "192.0.2.1:4");
  lab_turn(&w.l);
  assert_int_equal(w.l.log_count, 1); /* one line */
  assert_int_equal(km_db_exec(db, "COMMIT", NULL), 0);
  await_stored(&w, db, "SELECT count(*) = 3 FROM worked"); /* what waited is written now */
  assert_int_equal(lab_logged(&w.l, "cache-stored-again"), 1);
  km_db_close(db);
  world_clear(&w);
}

/* A disk of 256 KiB, where one may be mounted. */
static void a_full_disk(void **state) {
  (void)state;
  world w;
  clock_s = 1000000000;
  lab_init(&w.l);
  if (mount("none", w.l.dir, "tmpfs", 0, "size=256k") != 0) {
    lab_clear(&w.l);
    skip();
  }
  world_open(&w, 0);
  lab_worked(&w.l, 1, "192.0.2.1:1");
  world_reopen(&w, 0);
  FILE *file = fopen(lab_path(&w.l, "ballast"), "w");
  assert_non_null(file);
  while (fputc('x', file) != EOF && fflush(file) == 0) {
  }
  (void)fclose(file);
  for (uint32_t i = 2; i < 100; i++) {
    lab_worked(&w.l, i, "192.0.2.1:2");
    lab_turn(&w.l);
  }
  km_ts give_up = km_clock_now() + LAB_LIMIT_NS;
  while (w.l.log_count == 0 && km_clock_now() < give_up) {
    assert_int_equal(km_loop_run_once(w.l.loop, 50), 0);
  }
  assert_int_equal(lab_logged(&w.l, "the disk is full"), 1);
  expect(&w, 1, "0 s cache: 192.0.2.1:1 worked; done 1");
  expect(&w, 99, "0 s cache: 192.0.2.1:2 worked; done 1");
  km_id id = lab_id(1);
  km_discovery_state *s = km_discovery_get_state(w.l.d);
  assert_int_equal(km_discovery_state_timestamp(s, &id, (km_wall){.unix_ns = 9000}), 9);
  assert_int_equal(km_discovery_state_timestamp(s, &id, (km_wall){.unix_ns = 9000}), 10);
  assert_int_equal(unlink(lab_path(&w.l, "ballast")), 0);
  world_reopen(&w, 0); /* what could be stored at last, was */
  expect(&w, 1, "0 s cache: 192.0.2.1:1 worked; done 1");
  expect(&w, 99, "0 s cache: 192.0.2.1:2 worked; done 1");
  lab_close(&w.l);
  assert_int_equal(umount(w.l.dir), 0);
  world_clear(&w);
}

static void in_memory(void **state) {
  (void)state;
  world w;
  clock_s = 1000000000;
  lab_init(&w.l);
  lab_open(&w.l, NULL, NULL);
  assert_int_equal(km_cache_add(w.l.d, 0, wall, NULL), 0);
  w.dns = (fake){.number = 1, .ways = "192.0.2.1:1"};
  fake_add(&w.dns, &w.l, "dns");
  lab_expect_lookup(&w.l, 1, "dns: 192.0.2.1:1; done 1");
  w.dns.ways = NULL; /* the server is gone */
  w.dns.error = "unreachable";
  lab_expect_lookup(&w.l, 1, "cache: 192.0.2.1:1; done 1");
  lab_clear(&w.l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(across_restarts),
      cmocka_unit_test(what_worked_comes_first),
      cmocka_unit_test(claims_do_not_replace_what_worked),
      cmocka_unit_test(so_many_ways_are_kept),
      cmocka_unit_test(what_waits_counts_already),
      cmocka_unit_test(what_is_not_remembered),
      cmocka_unit_test(older_packets),
      cmocka_unit_test(claims_are_not_stored),
      cmocka_unit_test(claims_end_soon),
      cmocka_unit_test(a_claim_replaces_that_of_its_source),
      cmocka_unit_test(claims_that_nobody_asked_for),
      cmocka_unit_test(an_older_state_file),
      cmocka_unit_test(thirty_days),
      cmocka_unit_test(the_clock_is_set_back),
      cmocka_unit_test(the_least_used_make_room),
      cmocka_unit_test(two_processes),
      cmocka_unit_test(a_flood_does_not_push_out_what_worked),
      cmocka_unit_test(nothing_is_written_for_nothing),
      cmocka_unit_test(killed),
      cmocka_unit_test(another_process_holds_the_file),
      cmocka_unit_test(a_full_disk),
      cmocka_unit_test(in_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
