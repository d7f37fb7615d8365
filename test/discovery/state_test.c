/* Timestamps: they grow, whatever the clock and the disk do. */
#include "discovery/state_io.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core_lab.h"

typedef struct home {
  lab l; /* its folder and log */
  km_env env;
  km_discovery_state *s;
  km_id id;
} home;

static void home_open(home *h) {
  km_errinfo err = {0};
  if (km_discovery_state_open(&h->s, &h->env, lab_path(&h->l, "state.db"), &err) != 0) {
    fail_msg("%s", err.text);
  }
}

static void home_init(home *h) {
  lab_init(&h->l);
  h->env = km_env_system;
  h->env.logger = (km_logger){.sink = lab_log, .ctx = &h->l};
  memset(h->env.logger.filter.level, KM_LOG_INFO, sizeof h->env.logger.filter.level);
  h->id = lab_id(1);
  home_open(h);
}

static void home_reopen(home *h) {
  km_discovery_state_close(h->s);
  home_open(h);
}

static void home_clear(home *h) {
  km_discovery_state_close(h->s);
  lab_clear(&h->l);
}

static uint64_t at(home *h, int64_t wall_us) {
  return km_discovery_state_timestamp(h->s, &h->id, (km_wall){.unix_ns = wall_us * 1000});
}

static void clocks_step_both_ways(void **state) {
  (void)state;
  for (int reopen = 0; reopen < 2; reopen++) {
    home h;
    home_init(&h);
    static const int64_t clock[] = {5000000, 5000000, 5000001, 9000000, 100,
                                    0,       -7,      9000002, 9000009};
    static const uint64_t want[] = {5000000, 5000001, 5000002, 9000000, 9000001,
                                    9000002, 9000003, 9000004, 9000009};
    for (size_t i = 0; i < COUNT_OF(clock); i++) {
      assert_int_equal(at(&h, clock[i]), want[i]);
      if (reopen == 1) {
        home_reopen(&h);
      }
    }
    km_id other = lab_id(2); /* each key has its own */
    assert_int_equal(km_discovery_state_timestamp(h.s, &other, (km_wall){.unix_ns = 3000}), 3);
    assert_int_equal(h.l.log_count, 0);
    home_clear(&h);
  }
}

static void what_was_seen(void **state) {
  (void)state;
  home h;
  home_init(&h);
  km_discovery_state_seen(h.s, &h.id, 700);
  assert_int_equal(at(&h, 5), 701);
  km_discovery_state_seen(h.s, &h.id, 300); /* long past */
  assert_int_equal(at(&h, 5), 702);
  home_reopen(&h);
  km_discovery_state_seen(h.s, &h.id, 300); /* the file knows more */
  assert_int_equal(at(&h, 5), 703);
  km_discovery_state_seen(h.s, &h.id, 900);
  home_reopen(&h);
  assert_int_equal(at(&h, 5), 901);
  km_discovery_state_seen(h.s, &h.id, UINT64_MAX); /* even then they grow */
  uint64_t last = at(&h, 5);
  for (int i = 0; i < 10; i++) {
    home_reopen(&h);
    uint64_t next = at(&h, 5);
    assert_true(next > last && next <= INT64_MAX);
    last = next;
  }
  home_clear(&h);
}

static void two_processes(void **state) {
  (void)state;
  home h;
  home_init(&h);
  km_discovery_state *other;
  assert_int_equal(km_discovery_state_open(&other, &h.env, lab_path(&h.l, "state.db"), NULL), 0);
  uint64_t last = 0;
  for (int i = 0; i < 20; i++) {
    uint64_t next = i % 3 == 0 ? km_discovery_state_timestamp(other, &h.id, (km_wall){.unix_ns = 1})
                               : at(&h, 0);
    assert_true(next > last);
    last = next;
  }
  km_discovery_state_close(other);
  home_clear(&h);
}

/* Another process holds the file: nothing can be stored. */
static void without_the_disk(void **state) {
  (void)state;
  home h;
  home_init(&h);
  assert_int_equal(at(&h, 50), 50);
  km_discovery_state *other;
  assert_int_equal(km_discovery_state_open(&other, &h.env, lab_path(&h.l, "state.db"), NULL), 0);
  assert_int_equal(km_db_exec(km_discovery_state_db(other), "BEGIN IMMEDIATE", NULL), 0);
  assert_int_equal(at(&h, 40), 51);
  assert_int_equal(at(&h, 40), 52);
  km_discovery_state_seen(h.s, &h.id, 80);
  assert_int_equal(at(&h, 40), 81);
  assert_int_equal(lab_logged(&h.l, "timestamp-not-stored"), 1); /* one line */
  assert_int_equal(km_db_exec(km_discovery_state_db(other), "COMMIT", NULL), 0);
  km_discovery_state_close(other);
  assert_int_equal(at(&h, 40), 82); /* is stored again */
  home_reopen(&h);
  assert_int_equal(at(&h, 40), 83);
  assert_int_equal(h.l.log_count, 1);
  home_clear(&h);
}

static void in_memory(void **state) {
  (void)state;
  km_discovery_state *s;
  assert_int_equal(km_discovery_state_open(&s, &km_env_system, NULL, NULL), 0);
  km_id id = lab_id(1);
  assert_int_equal(km_discovery_state_timestamp(s, &id, (km_wall){.unix_ns = 9000}), 9);
  assert_int_equal(km_discovery_state_timestamp(s, &id, (km_wall){.unix_ns = 2000}), 10);
  km_discovery_state_close(s);
  km_discovery_state_close(NULL);
}

/* --- packets of others ------------------------------------------------------------------------ */

static bool newest(home *h, uint32_t peer, uint64_t timestamp_us, int64_t wall_us) {
  km_id id = lab_id(peer);
  return km_discovery_state_newest(h->s, &id, timestamp_us, (km_wall){.unix_ns = wall_us * 1000});
}

static void older_packets_of_others(void **state) {
  (void)state;
  for (int reopen = 0; reopen < 2; reopen++) {
    home h;
    home_init(&h);
    static const uint64_t stamp[] = {700, 700, 699, 0, 800, 799, 801};
    static const bool want[] = {true, true, false, false, true, false, true};
    for (size_t i = 0; i < COUNT_OF(stamp); i++) {
      assert_int_equal(newest(&h, 2, stamp[i], 1000), want[i]);
      if (reopen == 1) {
        home_reopen(&h);
      }
    }
    assert_true(newest(&h, 3, 5, 1000)); /* each key has its own */
    assert_int_equal(h.l.log_count, 0);
    home_clear(&h);
  }
}

/* Whose clock was wrong once is not refused for ever. */
static void packets_of_the_future(void **state) {
  (void)state;
  home h;
  home_init(&h);
  assert_true(newest(&h, 2, UINT64_MAX, 1000));
  assert_false(newest(&h, 2, 999, 1001));
  assert_true(newest(&h, 2, 1001, 1001));
  assert_false(newest(&h, 2, 1000, 1001));
  assert_true(newest(&h, 3, 900, -5)); /* our own clock may be wrong, too */
  assert_true(newest(&h, 3, 800, 0));
  home_clear(&h);
}

static void many_keys_of_others(void **state) {
  (void)state;
  home h;
  home_init(&h);
  assert_int_equal(km_db_exec(km_discovery_state_db(h.s), "BEGIN", NULL), 0); /* only quicker */
  for (uint32_t i = 0; i < KM_DISCOVERY_NEWEST_MAX; i++) {
    assert_true(newest(&h, i, 100 + i, 1000000));
  }
  assert_false(newest(&h, 0, 99, 1000000));
  assert_true(newest(&h, KM_DISCOVERY_NEWEST_MAX, 99999, 1000000));
  assert_true(newest(&h, 0, 99, 1000000)); /* forgotten: the oldest, and now it is again */
  assert_false(newest(&h, 2, 101, 1000000));
  assert_int_equal(km_db_exec(km_discovery_state_db(h.s), "COMMIT", NULL), 0);
  home_clear(&h);
}

/* The loop waits meanwhile: it must be short. */
static void others_are_not_waited_for(void **state) {
  (void)state;
  home h;
  home_init(&h);
  km_discovery_state *other;
  assert_true(newest(&h, 2, 500, 1000));
  assert_int_equal(km_discovery_state_open(&other, &h.env, lab_path(&h.l, "state.db"), NULL), 0);
  assert_int_equal(km_db_exec(km_discovery_state_db(other), "BEGIN IMMEDIATE", NULL), 0);
  assert_true(newest(&h, 2, 600, 1000)); /* the disk is no reason to refuse it */
  assert_false(newest(&h, 2, 400, 1000));
  km_db_stmt *stmt;
  assert_int_equal(km_db_prepare(km_discovery_state_db(h.s), &stmt, "PRAGMA busy_timeout", NULL),
                   0);
  assert_int_equal(km_db_step(stmt, NULL), 1);
  assert_in_range(km_db_int(stmt, 0), 1, 25);
  km_db_reset(stmt);
  assert_int_equal(km_db_exec(km_discovery_state_db(other), "COMMIT", NULL), 0);
  km_discovery_state_close(other);
  home_clear(&h);
}

static void killed(void **state) {
  (void)state;
  home h;
  home_init(&h);
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  km_discovery_state_close(h.s); /* no database crosses a fork */
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    home_open(&h);
    for (int64_t wall = 1000;; wall += 3) {
      uint64_t value = at(&h, wall);
      if (write(ends[1], &value, sizeof value) != sizeof value) {
        _exit(1);
      }
    }
  }
  (void)close(ends[1]);
  uint64_t last = 0, next;
  for (int i = 0; i < 50; i++) {
    assert_int_equal(read(ends[0], &last, sizeof last), sizeof last);
  }
  assert_int_equal(kill(child, SIGKILL), 0);
  while (read(ends[0], &next, sizeof next) == sizeof next) {
    last = next;
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  (void)close(ends[0]);
  home_open(&h);
  assert_true(at(&h, 0) > last); /* though the clock says 1970 */
  home_clear(&h);
}

static void no_state_file(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  km_errinfo err = {0};
  assert_int_equal(lab_try_open(&l, "no/state.db", NULL, &err), KM_ERR_FILE_NOT_FOUND);
  FILE *file = fopen(lab_path(&l, "text"), "w");
  assert_non_null(file);
  assert_true(fputs("this is no database at all, is it?", file) >= 0);
  assert_int_equal(fclose(file), 0);
  assert_int_equal(lab_try_open(&l, "text", NULL, &err), KM_ERR_STORE_DAMAGED);
  assert_null(l.d);
  lab_clear(&l); /* nothing was left open */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(clocks_step_both_ways),
      cmocka_unit_test(what_was_seen),
      cmocka_unit_test(two_processes),
      cmocka_unit_test(without_the_disk),
      cmocka_unit_test(in_memory),
      cmocka_unit_test(older_packets_of_others),
      cmocka_unit_test(packets_of_the_future),
      cmocka_unit_test(many_keys_of_others),
      cmocka_unit_test(others_are_not_waited_for),
      cmocka_unit_test(killed),
      cmocka_unit_test(no_state_file),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
