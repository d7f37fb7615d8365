/* A file of peers as a source: found, followed, and never waited for. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core_lab.h"

static const char *hex(uint32_t number) {
  static char text[16][KM_ID_TEXT_CAP];
  static size_t turn;
  km_id id = lab_id(number);
  char *ret = text[turn++ % 16];
  assert_true(km_id_format(&id, KM_ID_HEX, ret, KM_ID_TEXT_CAP) > 0);
  return ret;
}

static void write_file(const lab *l, const char *fmt, ...) KM_PRINTF(2, 3);
static void write_file(const lab *l, const char *fmt, ...) {
  FILE *file = fopen(lab_path(l, "peers"), "w");
  assert_non_null(file);
  va_list args;
  va_start(args, fmt);
  assert_true(vfprintf(file, fmt, args) >= 0);
  va_end(args);
  assert_int_equal(fclose(file), 0);
}

/* As if it were of long ago, `n` seconds after: it need not be read again for being young. */
static void set_age(const lab *l, time_t n) {
  const struct timespec times[2] = {{.tv_sec = 1000000000 + n}, {.tv_sec = 1000000000 + n}};
  assert_int_equal(utimensat(AT_FDCWD, lab_path(l, "peers"), times, 0), 0);
}

static void add(lab *l) {
  km_errinfo err = {0};
  if (km_discovery_add_file(l->d, lab_path(l, "peers"), &err) != 0) {
    fail_msg("%s", err.text);
  }
}

static void found_and_followed(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  write_file(&l, "%s 192.0.2.1:1\nnonsense\n", hex(1));
  set_age(&l, 0);
  add(&l);
  assert_int_equal(lab_logged(&l, "peers, line 2: not an endpoint id"), 1);
  lab_expect_lookup(&l, 1, "file: 192.0.2.1:1; done 1");
  write_file(&l, "%s 192.0.2.1:2\n", hex(1)); /* as long as before */
  set_age(&l, 1);
  lab_expect_lookup(&l, 1, "file: 192.0.2.1:2; done 1");
  write_file(&l, "%s 192.0.2.1:3\n", hex(1)); /* and as old: only ctime tells */
  set_age(&l, 1);
  lab_expect_lookup(&l, 1, "file: 192.0.2.1:3; done 1");
  write_file(&l, "%s 192.0.2.1:4\n", hex(1)); /* young files are always read */
  lab_expect_lookup(&l, 1, "file: 192.0.2.1:4; done 1");
  write_file(&l, "%s 192.0.2.1:5\n", hex(1));
  lab_expect_lookup(&l, 1, "file: 192.0.2.1:5; done 1");
  assert_int_equal(rename(lab_path(&l, "peers"), lab_path(&l, "away")), 0);
  lab_expect_lookup(&l, 1, "file: 192.0.2.1:5; done 1");
  lab_expect_lookup(&l, 1, "file: 192.0.2.1:5; done 1");
  assert_int_equal(lab_logged(&l, "file-unreadable"), 1); /* one line */
  write_file(&l, "%s 192.0.2.1:6\n", hex(1));
  lab_expect_lookup(&l, 1, "file: 192.0.2.1:6; done 1");
  assert_int_equal(l.log_count, 2);
  lab_clear(&l);
}

/* Two changes may come within one tick of the file system's clock. */
static void changes_in_quick_succession(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  write_file(&l, "%s 192.0.2.1:100\n", hex(1));
  add(&l);
  for (int i = 101; i < 140; i++) {
    char want[64];
    write_file(&l, "%s 192.0.2.1:%d\n", hex(1), i);
    (void)snprintf(want, sizeof want, "file: 192.0.2.1:%d; done 1", i);
    lab_expect_lookup(&l, 1, want);
  }
  lab_clear(&l);
}

static void what_is_refused(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  km_errinfo err = {0};
  assert_int_equal(km_discovery_add_file(l.d, lab_path(&l, "peers"), &err), KM_ERR_FILE_NOT_FOUND);
  assert_non_null(strstr(err.text, "peers"));
  assert_int_equal(km_discovery_add_file(l.d, "", &err), KM_ERR_INVALID);
  assert_int_equal(km_discovery_add_file(l.d, NULL, &err), KM_ERR_INVALID);
  assert_int_equal(km_discovery_add_file(l.d, l.dir, &err), KM_ERR_INVALID);
  assert_int_equal(km_discovery_add_file(l.d, "/dev/zero", &err), KM_ERR_INVALID);
  assert_int_equal(mkfifo(lab_path(&l, "peers"), 0600), 0);
  assert_int_equal(km_discovery_add_file(l.d, lab_path(&l, "peers"), &err), KM_ERR_INVALID);
  assert_int_equal(unlink(lab_path(&l, "peers")), 0);
  write_file(&l, "x");
  assert_int_equal(truncate(lab_path(&l, "peers"), (16 << 20) + 1), 0);
  assert_int_equal(km_discovery_add_file(l.d, lab_path(&l, "peers"), &err), KM_ERR_LIMIT);
  write_file(&l, "# nobody yet\n");
  for (int i = 1; i < KM_DISCOVERY_MAX_SOURCES; i++) {
    add(&l);
  }
  assert_int_equal(km_discovery_add_file(l.d, lab_path(&l, "peers"), &err), KM_ERR_LIMIT);
  lab_clear(&l);
}

static void it_becomes_something_else(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  write_file(&l, "%s 192.0.2.1:1\n", hex(1));
  add(&l);
  assert_int_equal(unlink(lab_path(&l, "peers")), 0);
  assert_int_equal(mkfifo(lab_path(&l, "peers"), 0600), 0); /* opening it would wait for ever */
  lab_expect_lookup(&l, 1, "file: 192.0.2.1:1; done 1");
  assert_int_equal(lab_logged(&l, "is not a regular file"), 1);
  lab_clear(&l);
}

static void many_bad_lines(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  FILE *file = fopen(lab_path(&l, "peers"), "w");
  assert_non_null(file);
  for (int i = 0; i < 5000; i++) {
    assert_true(fputs("x\n", file) >= 0);
  }
  assert_true(fprintf(file, "%s 192.0.2.1:1\n", hex(1)) > 0);
  assert_int_equal(fclose(file), 0);
  add(&l);
  assert_int_equal(l.log_count, 21);
  assert_int_equal(lab_logged(&l, "5000 lines cannot be read"), 1);
  lab_expect_lookup(&l, 1, "file: 192.0.2.1:1; done 1");
  lab_clear(&l);
}

/* --- watching --------------------------------------------------------------------------------- */

static void on_found(void *ctx, const km_found *found) {
  lab_see(ctx, "+");
  lab_see_found(ctx, found);
}

static void on_lost(void *ctx, const km_id *id, const char *source) {
  km_id two = lab_id(2);
  lab_see(ctx, "-%s %d; ", source, km_id_equal(id, &two));
}

static const km_watch_callbacks callbacks = {
    .size = sizeof(km_watch_callbacks), .on_found = on_found, .on_lost = on_lost};

static void watched(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  write_file(&l, "%s 192.0.2.1:1\n%s 192.0.2.2:2\n", hex(1), hex(2));
  add(&l);
  km_watch *watch;
  assert_int_equal(km_discovery_watch(l.d, &watch, &callbacks, &l, NULL), 0);
  lab_turn(&l);
  assert_non_null(strstr(l.seen, "+file: 192.0.2.1:1; "));
  assert_non_null(strstr(l.seen, "+file: 192.0.2.2:2; "));
  l.seen[0] = '\0';
  write_file(&l, "%s 192.0.2.1:1\n%s 192.0.2.3:3\n", hex(1), hex(3));
  lab_await(&l, "192.0.2.3:3"); /* nobody looks anything up */
  lab_expect(&l, "-file 1; +file: 192.0.2.3:3; ");
  km_watch_cancel(watch);
  lab_turn(&l);
  lab_clear(&l);
}

typedef struct crowd {
  size_t found, turns;
} crowd;

static void count_found(void *ctx, const km_found *found) {
  (void)found;
  ((crowd *)ctx)->found++;
}

/* A long file does not hold the loop up: it is read and told in steps. */
static void a_long_file(void **state) {
  (void)state;
  lab l;
  lab_init(&l);
  lab_open(&l, NULL, NULL);
  enum { PEERS = 3000 };
  write_file(&l, "# nobody yet\n");
  set_age(&l, 0);
  add(&l);
  FILE *file = fopen(lab_path(&l, "peers"), "w");
  assert_non_null(file);
  for (uint32_t i = 0; i < PEERS; i++) {
    assert_true(fprintf(file, "%s 192.0.2.1:%u\n", hex(i), (unsigned)i + 1) > 0);
  }
  assert_int_equal(fclose(file), 0);
  set_age(&l, 1);
  const km_watch_callbacks counting = {.size = sizeof counting, .on_found = count_found};
  crowd c = {0};
  km_watch *watch;
  assert_int_equal(km_discovery_watch(l.d, &watch, &counting, &c, NULL), 0);
  km_ts give_up = km_clock_now() + LAB_LIMIT_NS;
  size_t most = 0;
  for (size_t before = 0; c.found < PEERS && km_clock_now() < give_up; before = c.found) {
    assert_int_equal(km_loop_run_once(l.loop, 50), 0);
    most = c.found - before > most ? c.found - before : most;
    c.turns++;
  }
  assert_int_equal(c.found, PEERS);
  assert_in_range(most, 1, 256); /* of a turn */
  assert_true(c.turns > 20);
  lab_expect_lookup(&l, PEERS - 1, "file: 192.0.2.1:3000; done 1");
  lab_clear(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(found_and_followed), cmocka_unit_test(changes_in_quick_succession),
      cmocka_unit_test(what_is_refused),    cmocka_unit_test(it_becomes_something_else),
      cmocka_unit_test(many_bad_lines),     cmocka_unit_test(watched),
      cmocka_unit_test(a_long_file),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
