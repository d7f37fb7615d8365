/* Packets on disk and in memory, with a real database in a folder of its own. The store does not
 * look into packets, so these are made without signing. */
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "discovery/server/packet_store_io.h"

static atomic_llong wall_ahead_s;

km_wall __real_km_clock_wall(void);
km_wall __wrap_km_clock_wall(void);

km_wall __wrap_km_clock_wall(void) {
  km_wall wall = __real_km_clock_wall();
  wall.unix_ns += atomic_load(&wall_ahead_s) * (int64_t)KM_NS_PER_S;
  return wall;
}

typedef struct lab {
  char dir[64], path[96];
  km_loop *loop;
  km_packet_store *store;
  km_packet_store_config config;
  size_t told;
  km_packet_put results[8192];
  km_errinfo err;
  bool close_when_told;
  km_env env; /* with a log of ours */
  size_t lines;
  char logged[1024]; /* events */
} lab;

static km_pkarr packet_of(uint32_t number, uint64_t timestamp, size_t len) {
  km_pkarr p = {.timestamp_us = timestamp, .dns_len = (uint16_t)len};
  memcpy(p.id.bytes, &number, sizeof number);
  memset(p.signature, (int)(number & 0xff), sizeof p.signature);
  memset(p.dns, (int)(timestamp & 0xff), len);
  return p;
}

static void open_store(lab *l) {
  km_errinfo err = {0};
  if (km_packet_store_open(&l->store, &l->config, &err) != 0) {
    fail_msg("%s", err.text);
  }
}

static void on_log(void *ctx, const km_log_entry *entry) {
  lab *l = ctx;
  size_t used = strlen(l->logged);
  l->lines++;
  (void)snprintf(l->logged + used, sizeof l->logged - used, "%s ", entry->event);
}

static int set_up(void **state) {
  lab *l = calloc(1, sizeof *l);
  assert_non_null(l);
  (void)snprintf(l->dir, sizeof l->dir, "packet_store_test.XXXXXX");
  assert_non_null(mkdtemp(l->dir));
  (void)snprintf(l->path, sizeof l->path, "%s/packets.db", l->dir);
  assert_int_equal(km_loop_new(&l->loop), 0);
  l->env = km_env_system;
  l->env.logger.sink = on_log;
  l->env.logger.ctx = l;
  assert_int_equal(km_log_filter_parse(&l->env.logger.filter, "info", NULL), 0);
  l->config.env = &l->env;
  l->config.loop = l->loop;
  l->config.path = l->path;
  l->config.cache_bytes = 1 << 20;
  atomic_store(&wall_ahead_s, 0);
  *state = l;
  return 0;
}

static int tear_down(void **state) {
  lab *l = *state;
  km_packet_store_close(l->store);
  (void)km_loop_run_nowait(l->loop);
  assert_int_equal(km_loop_free(l->loop), 0);
  static const char *const suffixes[] = {"", "-wal", "-shm", "-lock", "-journal"};
  for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
    char name[128];
    (void)snprintf(name, sizeof name, "%s%s", l->path, suffixes[i]);
    (void)unlink(name);
  }
  assert_int_equal(rmdir(l->dir), 0);
  free(l);
  return 0;
}

static void on_put(void *ctx, km_packet_put result, const km_errinfo *err) {
  lab *l = ctx;
  l->results[l->told++ % 8192] = result;
  assert_int_equal(err != NULL, result == KM_PACKET_FAILED);
  if (err != NULL) {
    l->err = *err;
  }
  if (l->close_when_told) {
    km_packet_store_close(l->store);
    l->store = NULL;
  }
}

static void put(lab *l, const km_pkarr *p) {
  assert_int_equal(km_packet_store_put(l->store, p, on_put, l, NULL), 0);
}

static void wait_told(lab *l, size_t count) {
  while (l->told < count) {
    (void)km_loop_run_once(l->loop, 10000);
  }
}

static km_packet_put put_and_wait(lab *l, const km_pkarr *p) {
  size_t told = l->told;
  put(l, p);
  assert_int_equal(l->told, told); /* never from within */
  wait_told(l, told + 1);
  return l->results[told % 8192];
}

static void assert_stored(lab *l, const km_pkarr *p) {
  km_pkarr got;
  memset(&got, 0xee, sizeof got);
  int64_t stored = 0;
  assert_int_equal(km_packet_store_get(l->store, &p->id, &got, &stored), 1);
  assert_memory_equal(got.id.bytes, p->id.bytes, sizeof p->id.bytes);
  assert_memory_equal(got.signature, p->signature, sizeof p->signature);
  assert_int_equal(got.timestamp_us, p->timestamp_us);
  assert_int_equal(got.dns_len, p->dns_len);
  assert_memory_equal(got.dns, p->dns, p->dns_len);
  assert_true(stored > 1700000000);
}

static void assert_absent(lab *l, const km_pkarr *p) {
  km_pkarr got;
  assert_int_equal(km_packet_store_get(l->store, &p->id, &got, NULL), 0);
}

static void reopen(lab *l) {
  km_packet_store_close(l->store);
  open_store(l);
}

static km_packet_store_stats stats_of(const lab *l) {
  km_packet_store_stats stats;
  km_packet_store_get_stats(l->store, &stats);
  return stats;
}

static void newest_wins(lab *l) {
  km_pkarr old = packet_of(1, 100, 40), next = packet_of(1, 200, 80), other = packet_of(2, 1, 0);
  assert_absent(l, &old);
  assert_int_equal(put_and_wait(l, &old), KM_PACKET_NEW);
  assert_stored(l, &old);
  assert_int_equal(put_and_wait(l, &old), KM_PACKET_SAME);
  assert_int_equal(put_and_wait(l, &next), KM_PACKET_NEW);
  assert_int_equal(put_and_wait(l, &old), KM_PACKET_OLDER);
  assert_stored(l, &next);
  assert_int_equal(put_and_wait(l, &other), KM_PACKET_NEW);
  /* As new, but other bytes: the larger ones win, as pkarr has it. */
  km_pkarr larger = next, smaller = next;
  larger.dns[3]++;
  smaller.dns[3]--;
  assert_int_equal(put_and_wait(l, &smaller), KM_PACKET_OLDER);
  assert_int_equal(put_and_wait(l, &larger), KM_PACKET_NEW);
  assert_int_equal(put_and_wait(l, &next), KM_PACKET_OLDER);
  assert_stored(l, &larger);
  assert_stored(l, &other);
  km_packet_store_stats stats = stats_of(l);
  assert_int_equal(stats.packets, 2);
  assert_int_equal(stats.puts_new, 4);
  assert_int_equal(stats.puts_same, 1);
  assert_int_equal(stats.puts_older, 3);
}

static void test_newest_wins(void **state) {
  lab *l = *state;
  open_store(l);
  newest_wins(l);
}

static void test_newest_wins_in_memory(void **state) {
  lab *l = *state;
  l->config.path = NULL;
  open_store(l);
  newest_wins(l);
}

/* The same while nothing is on disk yet: order is that of the calls. */
static void test_newest_wins_in_flight(void **state) {
  lab *l = *state;
  open_store(l);
  km_pkarr p[3] = {packet_of(9, 300, 10), packet_of(9, 200, 10), packet_of(9, 400, 10)};
  for (size_t i = 0; i < 3; i++) {
    put(l, &p[i]);
    assert_stored(l, i < 2 ? &p[0] : &p[2]);
  }
  put(l, &p[2]);
  wait_told(l, 4);
  static const km_packet_put want[] = {KM_PACKET_NEW, KM_PACKET_OLDER, KM_PACKET_NEW,
                                       KM_PACKET_SAME};
  assert_memory_equal(l->results, want, sizeof want);
  reopen(l);
  assert_stored(l, &p[2]);
  assert_int_equal(put_and_wait(l, &p[0]), KM_PACKET_OLDER);
}

static void test_extremes(void **state) {
  lab *l = *state;
  open_store(l);
  km_pkarr late = packet_of(1, UINT64_MAX, KM_PKARR_DNS_MAX), early = packet_of(1, 0, 0);
  km_pkarr middle = packet_of(1, UINT64_C(1) << 63, 3);
  assert_int_equal(put_and_wait(l, &early), KM_PACKET_NEW);
  reopen(l);
  assert_stored(l, &early);
  assert_int_equal(put_and_wait(l, &middle), KM_PACKET_NEW);
  assert_int_equal(put_and_wait(l, &late), KM_PACKET_NEW);
  reopen(l);
  assert_int_equal(put_and_wait(l, &middle), KM_PACKET_OLDER);
  assert_stored(l, &late);
}

static void test_groups(void **state) {
  lab *l = *state;
  open_store(l);
  for (uint32_t i = 0; i < 3000; i++) {
    km_pkarr p = packet_of(i, 1, 100);
    put(l, &p);
  }
  wait_told(l, 3000);
  km_packet_store_stats stats = stats_of(l);
  assert_int_equal(stats.packets, 3000);
  assert_true(stats.commits < 1000); /* one at a time it would be 3,000 */
  reopen(l);
  assert_int_equal(stats_of(l).packets, 3000);
  for (uint32_t i = 0; i < 3000; i++) {
    km_pkarr p = packet_of(i, 1, 100);
    assert_stored(l, &p);
  }
}

static void test_small_memory(void **state) {
  lab *l = *state;
  l->config.cache_bytes = 3000; /* some ten of them */
  open_store(l);
  for (uint32_t i = 0; i < 500; i++) {
    km_pkarr p = packet_of(i, 1 + i, 100);
    put(l, &p);
  }
  wait_told(l, 500);
  for (uint32_t round = 0; round < 2; round++) {
    for (uint32_t i = 0; i < 500; i++) {
      km_pkarr p = packet_of(i, 1 + i, 100);
      assert_stored(l, &p);
    }
  }
  assert_true(stats_of(l).gets_disk > 900);
  km_pkarr p = packet_of(499, 500, 100);
  assert_stored(l, &p);
  assert_true(stats_of(l).gets_memory > 0);
  /* What is on disk only counts too when another is put. */
  km_pkarr older = packet_of(3, 1, 100), newer = packet_of(3, 99, 100);
  assert_int_equal(put_and_wait(l, &older), KM_PACKET_OLDER);
  assert_int_equal(put_and_wait(l, &newer), KM_PACKET_NEW);
}

/* What is not on disk yet stays in memory, however little there is. */
static void test_in_flight_stays(void **state) {
  lab *l = *state;
  l->config.cache_bytes = 1;
  open_store(l);
  for (uint32_t i = 0; i < 6000; i++) {
    km_pkarr p = packet_of(i, 7, 100);
    put(l, &p);
  }
  wait_told(l, 1);
  for (uint32_t i = 5999; i >= 4500; i--) {
    km_pkarr p = packet_of(i, 7, 100);
    assert_stored(l, &p);
  }
  wait_told(l, 6000);
  km_pkarr p = packet_of(5, 7, 100);
  assert_stored(l, &p);
}

static void run_until_evicted(lab *l, uint64_t age, uint64_t room) {
  for (int i = 0; i < 600; i++) {
    km_packet_store_stats stats = stats_of(l);
    if (stats.evicted_age >= age && stats.evicted_room >= room) {
      return;
    }
    (void)km_loop_run_once(l->loop, 100);
  }
  fail_msg("nothing was dropped");
}

static void test_room(void **state) {
  lab *l = *state;
  l->config.max_packets = 1000;
  open_store(l);
  for (uint32_t i = 0; i < 2500; i++) {
    if (i % 500 == 0) {
      atomic_fetch_add(&wall_ahead_s, 10); /* so that some are older */
    }
    km_pkarr p = packet_of(i, 1, 20);
    put(l, &p);
  }
  wait_told(l, 2500);
  run_until_evicted(l, 0, 1500);
  assert_int_equal(stats_of(l).packets, 1000);
  for (uint32_t i = 0; i < 2500; i += 17) {
    km_pkarr p = packet_of(i, 1, 20);
    i < 1500 ? assert_absent(l, &p) : assert_stored(l, &p);
  }
  reopen(l);
  assert_int_equal(stats_of(l).packets, 1000);
  km_pkarr gone = packet_of(10, 1, 20);
  assert_absent(l, &gone);
  /* Renewed ones stay. */
  atomic_fetch_add(&wall_ahead_s, 10);
  km_pkarr renewed = packet_of(1501, 2, 20);
  assert_int_equal(put_and_wait(l, &renewed), KM_PACKET_NEW);
  atomic_fetch_add(&wall_ahead_s, 10);
  for (uint32_t i = 5000; i < 5600; i++) {
    km_pkarr p = packet_of(i, 1, 20);
    put(l, &p);
  }
  wait_told(l, 2500 + 1 + 600);
  run_until_evicted(l, 0, 600);
  assert_stored(l, &renewed);
  /* The newest one may come back, an older one may not. */
  km_pkarr older = packet_of(1510, 0, 20), same = packet_of(1510, 1, 20);
  assert_int_equal(put_and_wait(l, &older), KM_PACKET_OLDER);
  assert_absent(l, &older);
  assert_int_equal(put_and_wait(l, &same), KM_PACKET_NEW);
}

/* A newer packet alone renews; anybody can put the same one again. */
static void test_age(void **state) {
  lab *l = *state;
  l->config.max_age_s = 100;
  open_store(l);
  km_pkarr a = packet_of(1, 50, 20), b = packet_of(2, 50, 20), next_b = packet_of(2, 60, 20);
  assert_int_equal(put_and_wait(l, &a), KM_PACKET_NEW);
  assert_int_equal(put_and_wait(l, &b), KM_PACKET_NEW);
  atomic_fetch_add(&wall_ahead_s, 60);
  assert_int_equal(put_and_wait(l, &a), KM_PACKET_SAME);
  assert_int_equal(put_and_wait(l, &next_b), KM_PACKET_NEW);
  assert_stored(l, &a);
  atomic_fetch_add(&wall_ahead_s, 60);
  assert_absent(l, &a); /* at once, not when it is dropped */
  assert_stored(l, &next_b);
  reopen(l);
  assert_absent(l, &a); /* and when it is on disk only */
  run_until_evicted(l, 1, 0);
  assert_int_equal(stats_of(l).packets, 1);
  assert_absent(l, &a);
}

/* What has expired cannot be brought back by who kept a copy. */
static void test_no_way_back(void **state) {
  lab *l = *state;
  l->config.max_age_s = 100;
  open_store(l);
  km_pkarr a = packet_of(1, 50, 20), before = packet_of(1, 40, 20), next = packet_of(1, 60, 20);
  assert_int_equal(put_and_wait(l, &a), KM_PACKET_NEW);
  atomic_fetch_add(&wall_ahead_s, 120);
  assert_int_equal(put_and_wait(l, &a), KM_PACKET_OLDER); /* dropped or not */
  run_until_evicted(l, 1, 0);
  reopen(l);
  assert_int_equal(put_and_wait(l, &a), KM_PACKET_OLDER);
  assert_int_equal(put_and_wait(l, &before), KM_PACKET_OLDER);
  assert_absent(l, &a);
  assert_int_equal(put_and_wait(l, &next), KM_PACKET_NEW);
  reopen(l);
  assert_stored(l, &next);
  assert_int_equal(put_and_wait(l, &a), KM_PACKET_OLDER);
  /* What is remembered has an end: four times as long. */
  atomic_fetch_add(&wall_ahead_s, 120);
  run_until_evicted(l, 1, 0);
  assert_int_equal(put_and_wait(l, &a), KM_PACKET_OLDER);
  atomic_fetch_add(&wall_ahead_s, 420);
  km_packet_put result = KM_PACKET_OLDER;
  for (int i = 0; i < 200 && result == KM_PACKET_OLDER; i++) {
    result = put_and_wait(l, &before);
  }
  assert_int_equal(result, KM_PACKET_NEW);
}

/* The clock of the machine jumps: nothing is dropped for that. */
static void test_clock_jump(void **state) {
  lab *l = *state;
  l->config.max_age_s = 100;
  for (int memory = 0; memory < 2; memory++) {
    l->config.path = memory ? NULL : l->path;
    atomic_store(&wall_ahead_s, 0);
    open_store(l);
    km_pkarr a = packet_of(1, 1, 20), b = packet_of(2, 1, 20);
    assert_int_equal(put_and_wait(l, &a), KM_PACKET_NEW);
    atomic_store(&wall_ahead_s, 1000000000);
    for (uint64_t i = 0; i < 5; i++) { /* after each the writer looks for old ones */
      b.timestamp_us++;
      assert_int_equal(put_and_wait(l, &b), KM_PACKET_NEW);
    }
    assert_stored(l, &a);
    assert_stored(l, &b);
    assert_int_equal(stats_of(l).evicted_age, 0);
    km_packet_store_close(l->store);
    l->store = NULL;
  }
}

/* Pages are overwritten while it runs. What cannot be read is not said to be absent, nor taken for
 * older than what comes. */
static void test_damage(void **state) {
  lab *l = *state;
  enum { COUNT = 300, PAGE = 4096 };
  static const uint8_t junk[PAGE] = {0x77, 0x77, 0x77};
  l->config.cache_bytes = 1;
  open_store(l);
  for (uint32_t i = 0; i < COUNT; i++) {
    km_pkarr p = packet_of(i, 1000, 500);
    put(l, &p);
  }
  wait_told(l, COUNT);
  reopen(l);
  FILE *f = fopen(l->path, "r+b");
  assert_non_null(f);
  assert_int_equal(fseek(f, 0, SEEK_END), 0);
  long pages = ftell(f) / PAGE;
  assert_true(pages > 20);
  for (long i = 4; i < pages; i++) {
    assert_int_equal(fseek(f, i * PAGE, SEEK_SET), 0);
    assert_int_equal(fwrite(junk, sizeof junk, 1, f), 1);
  }
  assert_int_equal(fclose(f), 0);
  /* What changes makes SQLite forget what it has read. */
  km_pkarr fresh = packet_of(COUNT, 1, 500);
  assert_int_equal(put_and_wait(l, &fresh), KM_PACKET_NEW);
  size_t failed = 0;
  for (uint32_t i = 0; i < COUNT; i++) {
    km_pkarr p = packet_of(i, 1000, 500), older = packet_of(i, 1, 500), got;
    int rv = km_packet_store_get(l->store, &p.id, &got, NULL);
    assert_int_not_equal(rv, 0);
    if (rv < 0) {
      failed++;
      assert_true(km_packet_store_put(l->store, &older, on_put, l, NULL) < 0);
    } else {
      assert_int_equal(put_and_wait(l, &older), KM_PACKET_OLDER);
    }
  }
  assert_true(failed > COUNT / 2);
  assert_int_equal(stats_of(l).gets_failed, 2 * failed);
  assert_int_equal(stats_of(l).failing, 1);
  assert_int_equal(stats_of(l).puts_new, 1);
  assert_string_equal(l->logged, "packet-read-failed "); /* once, not hundreds of times */
}

static void test_room_in_memory(void **state) {
  lab *l = *state;
  l->config.path = NULL;
  l->config.max_packets = 100;
  l->config.max_age_s = 1000;
  open_store(l);
  for (uint32_t i = 0; i < 150; i++) {
    km_pkarr p = packet_of(i, 1, 20);
    put(l, &p);
    km_pkarr first = packet_of(0, 2 + i, 20);
    put(l, &first); /* renewed all the time */
  }
  wait_told(l, 300);
  km_packet_store_stats stats = stats_of(l);
  assert_int_equal(stats.packets, 100);
  assert_int_equal(stats.evicted_room, 50);
  km_pkarr gone = packet_of(1, 1, 20), kept = packet_of(149, 1, 20), first = packet_of(0, 151, 20);
  assert_absent(l, &gone);
  assert_stored(l, &kept);
  assert_stored(l, &first);
  for (int i = 0; i < 3; i++) {
    i < 2 ? assert_stored(l, &kept) : (void)0;
    atomic_fetch_add(&wall_ahead_s, 450);
    assert_int_equal(put_and_wait(l, &kept), i < 2 ? KM_PACKET_SAME : KM_PACKET_OLDER);
  }
  assert_absent(l, &kept);
  assert_int_equal(put_and_wait(l, &gone), KM_PACKET_NEW);
  assert_int_equal(stats_of(l).evicted_age, 100);
  /* Who kept a copy cannot bring it back. */
  km_pkarr newer = packet_of(149, 2, 20), older = packet_of(2, 0, 20);
  assert_int_equal(put_and_wait(l, &kept), KM_PACKET_OLDER);
  assert_int_equal(put_and_wait(l, &older), KM_PACKET_OLDER);
  assert_absent(l, &kept);
  assert_int_equal(put_and_wait(l, &newer), KM_PACKET_NEW);
}

static void test_forget_and_close(void **state) {
  lab *l = *state;
  open_store(l);
  km_pkarr p[20];
  for (uint32_t i = 0; i < 20; i++) {
    p[i] = packet_of(i, 1, 10);
    put(l, &p[i]);
  }
  km_packet_store_forget(l->store, l);
  reopen(l); /* writes what waits */
  for (uint32_t i = 0; i < 20; i++) {
    assert_stored(l, &p[i]);
    put(l, &p[i]);
  }
  assert_int_equal(l->told, 0);
  l->close_when_told = true;
  wait_told(l, 1);
  (void)km_loop_run_nowait(l->loop);
  assert_int_equal(l->told, 1);
  assert_null(l->store);
  l->close_when_told = false;
}

static void test_close_in_memory(void **state) {
  lab *l = *state;
  l->config.path = NULL;
  open_store(l);
  km_pkarr a = packet_of(1, 1, 10), b = packet_of(2, 1, 10);
  put(l, &a);
  put(l, &b);
  l->close_when_told = true;
  wait_told(l, 1);
  (void)km_loop_run_nowait(l->loop);
  assert_int_equal(l->told, 1);
}

static void test_too_many_wait(void **state) {
  lab *l = *state;
  open_store(l);
  int rv = 0;
  size_t accepted = 0;
  km_errinfo err = {0};
  /* Callbacks come from the loop only, so all of them wait. */
  for (uint32_t i = 0; rv == 0 && i < 100000; i++) {
    km_pkarr p = packet_of(i % 10, i, 10);
    rv = km_packet_store_put(l->store, &p, on_put, l, &err);
    accepted += rv == 0;
  }
  assert_int_equal(rv, KM_ERR_LIMIT);
  assert_true(err.text[0] != '\0');
  wait_told(l, accepted);
  km_pkarr p = packet_of(10, 1, 10);
  assert_int_equal(put_and_wait(l, &p), KM_PACKET_NEW);
}

static void test_one_process_only(void **state) {
  lab *l = *state;
  open_store(l);
  km_packet_store *second;
  km_errinfo err = {0};
  assert_int_equal(km_packet_store_open(&second, &l->config, &err), KM_ERR_STORE_BUSY);
  assert_non_null(strstr(err.text, l->path));
  km_pkarr p = packet_of(1, 1, 1);
  assert_int_equal(put_and_wait(l, &p), KM_PACKET_NEW);
  struct stat st;
  assert_int_equal(stat(l->path, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
}

static void test_no_database(void **state) {
  lab *l = *state;
  FILE *f = fopen(l->path, "w");
  assert_non_null(f);
  for (int i = 0; i < 1000; i++) {
    (void)fputs("this is no database\n", f);
  }
  assert_int_equal(fclose(f), 0);
  km_errinfo err = {0};
  assert_int_equal(km_packet_store_open(&l->store, &l->config, &err), KM_ERR_STORE_DAMAGED);
  l->config.path = "nowhere/at/all.db";
  assert_int_equal(km_packet_store_open(&l->store, &l->config, &err), KM_ERR_FILE_NOT_FOUND);
  l->store = NULL;
}

/* --- a process of its own --------------------------------------------------------------------- */

/* Puts for as long as it lives, and says which are acknowledged. */
static void on_child_put(void *ctx, km_packet_put result, const km_errinfo *err) {
  const uint32_t *number = ctx;
  (void)err;
  if (result == KM_PACKET_NEW && write(STDOUT_FILENO, number, sizeof *number) < 0) {
    _exit(1);
  }
}

static void child(lab *l) {
  if (km_loop_new(&l->loop) != 0) {
    _exit(1);
  }
  l->config.loop = l->loop;
  if (km_packet_store_open(&l->store, &l->config, NULL) != 0) {
    _exit(1);
  }
  static uint32_t numbers[65536]; /* more than may wait */
  for (uint32_t i = 0;; i++) {
    numbers[i % 65536] = i;
    km_pkarr p = packet_of(i % 1500, i + 1, 50 + i % 200);
    if (km_packet_store_put(l->store, &p, on_child_put, &numbers[i % 65536], NULL) != 0) {
      _exit(1);
    }
    if (i % 64 == 0) {
      (void)km_loop_run_nowait(l->loop);
    }
    if (i % 2048 == 0) {
      (void)km_loop_run_once(l->loop, 20);
    }
  }
}

static void test_killed(void **state) {
  lab *l = *state;
  int pipes[2];
  for (int round = 0; round < 4; round++) {
    static uint32_t newest[1500];
    memset(newest, 0, sizeof newest);
    assert_int_equal(pipe(pipes), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
      (void)dup2(pipes[1], STDOUT_FILENO);
      (void)close(pipes[0]);
      child(l);
    }
    (void)close(pipes[1]);
    size_t acknowledged = 0;
    uint32_t number;
    while (read(pipes[0], &number, sizeof number) == (ssize_t)sizeof number) {
      newest[number % 1500] = number + 1;
      if (++acknowledged == 3000 + (size_t)round * 977) {
        assert_int_equal(kill(pid, SIGKILL), 0);
      }
    }
    (void)close(pipes[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    open_store(l);
    for (uint32_t i = 0; i < 1500; i++) {
      km_pkarr want = packet_of(i, 0, 0), got;
      if (newest[i] != 0) {
        assert_int_equal(km_packet_store_get(l->store, &want.id, &got, NULL), 1);
        assert_true(got.timestamp_us >= newest[i]); /* what was not told in time may be there too */
      }
    }
    km_packet_store_close(l->store);
    l->store = NULL;
    char name[128];
    (void)snprintf(name, sizeof name, "%s-wal", l->path);
    (void)unlink(name);
    assert_int_equal(unlink(l->path), 0);
  }
}

/* A file system of 256 KiB that nobody else sees. False: not allowed. */
static bool mount_small(const lab *l) {
  return unshare(CLONE_NEWNS) == 0 && mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) == 0 &&
         mount("none", l->dir, "tmpfs", 0, "size=256k") == 0;
}

static void test_disk_full(void **state) {
  lab *l = *state;
  if (!mount_small(l)) {
    print_message("needs root: cannot mount a small file system\n");
    skip();
  }
  open_store(l);
  km_pkarr old = packet_of(1, 1, 500);
  assert_int_equal(put_and_wait(l, &old), KM_PACKET_NEW);
  size_t first = l->told;
  for (uint32_t round = 0; round < 20; round++) {
    for (uint32_t i = 0; i < 100; i++) {
      km_pkarr p = packet_of(1 + round * 100 + i, 2, 900);
      put(l, &p);
    }
    wait_told(l, first + (round + 1) * 100);
  }
  assert_int_equal(l->err.code, KM_ERR_NO_SPACE);
  assert_non_null(strstr(l->err.text, "full"));
  assert_true(stats_of(l).puts_failed > 1000); /* 2 MB do not fit */
  assert_int_equal(strncmp(l->logged, "packet-write-failed ", 20), 0);
  assert_true(l->lines < 20); /* of a thousand failures */
  /* What was there is there; memory says nothing else than the disk. */
  for (int round = 0; round < 2; round++) {
    for (uint32_t i = 0; i < 2000; i++) {
      km_pkarr p = packet_of(1 + i, 2, 900);
      if (l->results[first + i] != KM_PACKET_FAILED) {
        assert_stored(l, &p);
      } else if (i == 0) {
        assert_stored(l, &old);
      } else {
        assert_absent(l, &p);
      }
    }
    reopen(l);
  }
  /* As soon as there is room it goes on. */
  for (uint32_t i = 0; i < 300; i++) {
    km_pkarr p = packet_of(1 + i, 3, 900);
    put(l, &p);
  }
  wait_told(l, first + 2300);
  km_packet_put result = KM_PACKET_NEW;
  for (uint32_t i = 10000; i < 20000 && result != KM_PACKET_FAILED; i++) {
    km_pkarr p = packet_of(i, 1, 900);
    result = put_and_wait(l, &p);
  }
  assert_int_equal(result, KM_PACKET_FAILED);
  assert_int_equal(stats_of(l).failing, 1);
  assert_int_equal(mount("none", l->dir, "tmpfs", MS_REMOUNT, "size=16m"), 0);
  for (int i = 0; stats_of(l).failing != 0 && i < 300; i++) {
    (void)km_loop_run_once(l->loop, 100); /* nobody puts anything: it finds out by itself */
  }
  assert_int_equal(stats_of(l).failing, 0);
  assert_non_null(strstr(l->logged, "packet-write-works"));
  km_pkarr next = packet_of(1, 4, 900);
  assert_int_equal(put_and_wait(l, &next), KM_PACKET_NEW);
  reopen(l);
  assert_stored(l, &next);
  km_packet_store_close(l->store);
  l->store = NULL;
  assert_int_equal(umount(l->dir), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
      TEST(test_newest_wins),
      TEST(test_newest_wins_in_memory),
      TEST(test_newest_wins_in_flight),
      TEST(test_extremes),
      TEST(test_groups),
      TEST(test_small_memory),
      TEST(test_in_flight_stays),
      TEST(test_room),
      TEST(test_age),
      TEST(test_no_way_back),
      TEST(test_clock_jump),
      TEST(test_damage),
      TEST(test_room_in_memory),
      TEST(test_forget_and_close),
      TEST(test_close_in_memory),
      TEST(test_too_many_wait),
      TEST(test_one_process_only),
      TEST(test_no_database),
      TEST(test_killed),
      TEST(test_disk_full),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
