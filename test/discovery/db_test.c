/* The database below discovery: what it refuses and leaves alone, what it survives. */
#include "store/db_io.h"

#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/base/test_env.h"

#define OURS UINT32_C(0x12345678)

static const char *const steps[] = {"CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)",
                                    "ALTER TABLE t ADD COLUMN c TEXT"};

typedef struct folder {
  char dir[64];
  char path[128];
} folder;

static int set_up(void **state) {
  folder *f = calloc(1, sizeof *f);
  assert_non_null(f);
  const char *base = getenv("TMPDIR");
  (void)snprintf(f->dir, sizeof f->dir, "%s/km-db-XXXXXX", base != NULL ? base : "/tmp");
  assert_non_null(mkdtemp(f->dir));
  (void)snprintf(f->path, sizeof f->path, "%s/x.db", f->dir);
  *state = f;
  return 0;
}

static int tear_down(void **state) {
  folder *f = *state;
  char command[128];
  (void)snprintf(command, sizeof command, "rm -rf '%s'", f->dir);
  assert_int_equal(system(command), 0);
  free(f);
  return 0;
}

static int open_with(km_db **ret, const char *path, size_t version, bool exclusive,
                     km_errinfo *err) {
  const km_db_config config = {.env = &km_env_system,
                               .path = path,
                               .application_id = OURS,
                               .migrations = steps,
                               .migration_count = version,
                               .exclusive = exclusive,
                               .cache_kib = 512};
  return km_db_open(ret, &config, err);
}

static km_db *must_open(const char *path, size_t version) {
  km_db *db;
  km_errinfo err = {0};
  if (open_with(&db, path, version, false, &err) != 0) {
    fail_msg("%s", err.text);
  }
  return db;
}

static void expect_refusal(const char *path, int code, const char *text) {
  km_db *db = NULL;
  km_errinfo err = {0};
  assert_int_equal(open_with(&db, path, 2, false, &err), code);
  assert_null(db);
  assert_int_equal(err.code, code);
  if (strstr(err.text, text) == NULL) {
    fail_msg("'%s' is not in '%s'", text, err.text);
  }
}

static int64_t number(km_db *db, const char *sql) {
  km_db_stmt *s;
  assert_int_equal(km_db_prepare(db, &s, sql, NULL), 0);
  assert_int_equal(km_db_step(s, NULL), 1);
  int64_t ret = km_db_int(s, 0);
  km_db_reset(s);
  return ret;
}

static void must_exec(km_db *db, const char *sql) {
  km_errinfo err = {0};
  if (km_db_exec(db, sql, &err) != 0) {
    fail_msg("%s: %s", sql, err.text);
  }
}

/* A hash over all files of the folder that have something in them, names included. */
static void digest(const folder *f, char ret[65]) {
  char command[256];
  (void)snprintf(command, sizeof command,
                 "cd '%s' && find . -type f -size +0 ! -name '*-shm' | sort | xargs sha256sum | "
                 "sha256sum",
                 f->dir);
  FILE *p = popen(command, "r");
  assert_non_null(p);
  assert_non_null(fgets(ret, 65, p));
  assert_int_equal(pclose(p), 0);
}

/* --- opening ---------------------------------------------------------------------------------- */

static void a_new_file(void **state) {
  const folder *f = *state;
  static const mode_t masks[] = {0, 0777};
  for (size_t i = 0; i < COUNT_OF(masks); i++) {
    mode_t old = umask(masks[i]);
    km_db *db = must_open(f->path, 2);
    must_exec(db, "INSERT INTO t VALUES(1, x'00', 'x')");
    (void)umask(old);
    struct stat st;
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    char wal[140];
    (void)snprintf(wal, sizeof wal, "%s-wal", f->path);
    assert_int_equal(stat(wal, &st), 0); /* it is in WAL mode */
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(number(db, "PRAGMA user_version"), 2);
    assert_int_equal(number(db, "PRAGMA application_id"), OURS);
    assert_int_equal(number(db, "PRAGMA foreign_keys"), 1);
    assert_int_equal(number(db, "PRAGMA trusted_schema"), 0);
    assert_int_equal(number(db, "PRAGMA synchronous"), 1);
    km_db_close(db);
    assert_int_equal(stat(wal, &st), -1); /* tidied up */
    assert_int_equal(unlink(f->path), 0);
  }
}

static void names_with_signs(void **state) {
  const folder *f = *state;
  char path[140];
  (void)snprintf(path, sizeof path, "%s/a?b#c%%41 d", f->dir);
  for (int i = 0; i < 2; i++) { /* the second time it is looked at by URI */
    km_db *db = must_open(path, 1);
    assert_int_equal(number(db, "SELECT count(*) FROM t"), i);
    must_exec(db, "INSERT INTO t(b) VALUES('x')");
    km_db_close(db);
  }
  assert_int_equal(access(path, F_OK), 0);
  assert_int_equal(chdir(f->dir), 0);
  km_db_close(must_open("relative", 1));
  km_db_close(must_open("relative", 1));
  assert_int_equal(access("relative", F_OK), 0);
  assert_int_equal(chdir("/"), 0);
}

static void in_memory(void **state) {
  (void)state;
  km_db *db = must_open(NULL, 2);
  must_exec(db, "INSERT INTO t VALUES(1, x'00', 'x')");
  km_db_close(db);
  km_db_close(NULL);
}

static void an_older_version(void **state) {
  const folder *f = *state;
  km_db *db = must_open(f->path, 1);
  must_exec(db, "INSERT INTO t VALUES(7, x'0102')");
  km_db_close(db);
  db = must_open(f->path, 2);
  assert_int_equal(number(db, "SELECT a FROM t WHERE c IS NULL AND b = x'0102'"), 7);
  assert_int_equal(number(db, "PRAGMA user_version"), 2);
  km_db_close(db);
}

static void a_step_that_fails(void **state) {
  const folder *f = *state;
  km_db *db = must_open(f->path, 1);
  must_exec(db, "INSERT INTO t VALUES(7, NULL)");
  km_db_close(db);
  static const char *const bad[] = {"", "CREATE TABLE u(x); CREATE TABLE u(x)"};
  const km_db_config config = {.env = &km_env_system,
                               .path = f->path,
                               .application_id = OURS,
                               .migrations = bad,
                               .migration_count = 2};
  km_errinfo err = {0};
  assert_int_equal(km_db_open(&db, &config, &err), KM_ERR_STORE);
  assert_non_null(strstr(err.text, "already exists"));
  db = must_open(f->path, 1); /* as it was */
  assert_int_equal(number(db, "SELECT count(*) FROM sqlite_schema WHERE name = 'u'"), 0);
  assert_int_equal(number(db, "SELECT a FROM t"), 7);
  km_db_close(db);
}

static void an_empty_file(void **state) {
  const folder *f = *state;
  FILE *file = fopen(f->path, "w");
  assert_non_null(file);
  assert_int_equal(fclose(file), 0);
  km_db_close(must_open(f->path, 2)); /* what a crash right after its making leaves */
}

/* --- what is refused -------------------------------------------------------------------------- */

/* Leaves a database behind as a killed process does: what it wrote last is in the WAL only. */
static void make_and_die(const char *path, const char *sql) {
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    sqlite3 *db;
    bool ok = sqlite3_open(path, &db) == SQLITE_OK &&
              sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK;
    (void)kill(getpid(), ok ? SIGKILL : SIGTERM);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* Refused, and nothing of it touched, not even what was left over. */
static void expect_untouched(const folder *f, const char *sql, const char *text) {
  char before[65], after[65];
  make_and_die(f->path, sql);
  digest(f, before);
  expect_refusal(f->path, KM_ERR_STORE_DAMAGED, text);
  digest(f, after);
  assert_string_equal(before, after);
}

static void somebody_elses(void **state) {
  expect_untouched(*state,
                   "PRAGMA journal_mode=WAL;CREATE TABLE theirs(x);INSERT INTO theirs VALUES(1)",
                   "belongs to another program");
}

/* A change that was under way, which an ordinary connection takes back. */
static void somebody_elses_in_the_middle(void **state) {
  expect_untouched(*state,
                   "CREATE TABLE theirs(x);INSERT INTO theirs VALUES(zeroblob(100000));"
                   "PRAGMA cache_size=1;BEGIN;UPDATE theirs SET x=randomblob(100000);"
                   "INSERT INTO theirs VALUES(randomblob(100000))",
                   "belongs to another program");
}

static void a_newer_version(void **state) {
  expect_untouched(*state,
                   "PRAGMA application_id=0x12345678;PRAGMA user_version=3;"
                   "PRAGMA journal_mode=WAL;CREATE TABLE later(x)",
                   "newer version");
}

/* Only the WAL tells. */
static void a_version_that_just_became_newer(void **state) {
  expect_untouched(*state,
                   "PRAGMA application_id=0x12345678;PRAGMA user_version=2;"
                   "PRAGMA journal_mode=WAL;BEGIN;CREATE TABLE later(x);"
                   "PRAGMA user_version=3;COMMIT",
                   "newer version");
}

static void no_database(void **state) {
  const folder *f = *state;
  FILE *file = fopen(f->path, "w");
  assert_non_null(file);
  for (int i = 0; i < 1000; i++) {
    assert_true(fputs("dear diary, ", file) >= 0);
  }
  assert_int_equal(fclose(file), 0);
  char before[65], after[65];
  digest(f, before);
  expect_refusal(f->path, KM_ERR_STORE_DAMAGED, "damaged");
  digest(f, after);
  assert_string_equal(before, after);
}

static void no_file(void **state) {
  const folder *f = *state;
  expect_refusal(f->dir, KM_ERR_STORE_DAMAGED, "not a regular file");
  expect_refusal("/dev/null", KM_ERR_STORE_DAMAGED, "not a regular file");
  assert_int_equal(mkfifo(f->path, 0600), 0);
  expect_refusal(f->path, KM_ERR_STORE_DAMAGED, "not a regular file");
  char path[140];
  (void)snprintf(path, sizeof path, "%s/no/x.db", f->dir);
  expect_refusal(path, KM_ERR_FILE_NOT_FOUND, "cannot make the database");
  (void)snprintf(path, sizeof path, "%s/link", f->dir);
  assert_int_equal(symlink("/nowhere/at/all", path), 0);
  expect_refusal(path, KM_ERR_FILE_NOT_FOUND, "cannot make the database");
}

/* As somebody who may not, where the tests run as root. */
static void no_permission(void **state) {
  const folder *f = *state;
  km_db_close(must_open(f->path, 2));
  assert_int_equal(chmod(f->path, 0444), 0);
  assert_int_equal(chmod(f->dir, 0555), 0);
  bool root = geteuid() == 0;
  if (root) {
    assert_int_equal(seteuid(65534), 0);
  }
  char path[140];
  (void)snprintf(path, sizeof path, "%s/new", f->dir);
  km_db *db = NULL;
  km_errinfo cannot_write = {0}, cannot_make = {0};
  int a = open_with(&db, f->path, 2, false, &cannot_write);
  int b = open_with(&db, path, 2, false, &cannot_make);
  if (root) {
    assert_int_equal(seteuid(0), 0);
  }
  assert_int_equal(chmod(f->dir, 0700), 0);
  assert_int_equal(a, KM_ERR_PERMISSION);
  assert_int_equal(b, KM_ERR_PERMISSION);
  assert_non_null(strstr(cannot_write.text, "cannot be written"));
  assert_non_null(strstr(cannot_make.text, "cannot make"));
}

static void fill(km_db *db, int rows) {
  km_db_stmt *s;
  uint8_t bytes[1000];
  memset(bytes, 0x5a, sizeof bytes);
  assert_int_equal(km_db_prepare(db, &s, "INSERT INTO t(b) VALUES(?1)", NULL), 0);
  must_exec(db, "BEGIN");
  for (int i = 0; i < rows; i++) {
    km_db_bind_bytes(s, 1, bytes, sizeof bytes);
    assert_int_equal(km_db_run(s, NULL), 0);
  }
  must_exec(db, "COMMIT");
}

static void damage(void **state) {
  const folder *f = *state;
  km_db *db = must_open(f->path, 2);
  fill(db, 200);
  km_db_close(db);
  struct stat st;
  assert_int_equal(stat(f->path, &st), 0);
  FILE *file = fopen(f->path, "r+");
  assert_non_null(file);
  assert_int_equal(fseek(file, 8 * 4096, SEEK_SET), 0);
  for (int i = 0; i < 4096; i++) {
    assert_true(fputc(0xa7, file) != EOF);
  }
  assert_int_equal(fclose(file), 0);
  char before[65], after[65];
  digest(f, before);
  expect_refusal(f->path, KM_ERR_STORE_DAMAGED, "damaged");
  digest(f, after);
  assert_string_equal(before, after);
  assert_int_equal(truncate(f->path, st.st_size / 2 + 100), 0);
  expect_refusal(f->path, KM_ERR_STORE_DAMAGED, "damaged");
  assert_int_equal(truncate(f->path, 60), 0);
  expect_refusal(f->path, KM_ERR_STORE_DAMAGED, "");
}

/* --- several users ---------------------------------------------------------------------------- */

/* What another process gets when it opens the file. */
static int open_elsewhere(const char *path, bool exclusive) {
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    km_db *db = NULL;
    int rv = open_with(&db, path, 2, exclusive, NULL);
    _exit(write(ends[1], &rv, sizeof rv) == sizeof rv ? 0 : 1);
  }
  int rv = 1, status;
  assert_int_equal(read(ends[0], &rv, sizeof rv), sizeof rv);
  assert_int_equal(waitpid(child, &status, 0), child);
  (void)close(ends[0]);
  (void)close(ends[1]);
  return rv;
}

static void one_process_only(void **state) {
  const folder *f = *state;
  km_db *db = NULL, *second = NULL;
  for (int i = 0; i < 2; i++) { /* a new file, and one that is there */
    assert_int_equal(open_with(&db, f->path, 2, true, NULL), 0);
    assert_int_equal(open_elsewhere(f->path, true), KM_ERR_STORE_BUSY);
    assert_int_equal(open_with(&second, f->path, 2, true, NULL), KM_ERR_STORE_BUSY);
    /* The attempt from this process did not drop the lock. */
    assert_int_equal(open_elsewhere(f->path, false), KM_ERR_STORE_BUSY);
    must_exec(db, "INSERT INTO t(b) VALUES('x')");
    km_db_close(db);
  }
  assert_int_equal(open_elsewhere(f->path, true), 0);
}

static void locked(void **state) {
  const folder *f = *state;
  km_db *a = must_open(f->path, 2), *b = must_open(f->path, 2);
  must_exec(a, "BEGIN IMMEDIATE; INSERT INTO t(a) VALUES(1)");
  km_errinfo err = {0};
  km_db_stmt *s;
  assert_int_equal(km_db_prepare(b, &s, "INSERT INTO t(a) VALUES(2)", NULL), 0);
  assert_int_equal(km_db_run(s, &err), KM_ERR_STORE_BUSY);
  assert_non_null(strstr(err.text, "another process"));
  assert_int_equal(number(b, "SELECT count(*) FROM t"), 0); /* reading goes on */
  must_exec(a, "COMMIT");
  assert_int_equal(km_db_run(s, NULL), 0); /* the statement was reset */
  assert_int_equal(number(a, "SELECT count(*) FROM t"), 2);
  km_db_close(a);
  km_db_close(b);
}

/* --- what it survives ------------------------------------------------------------------------- */

/* Inserts 1, 2, 3, ... and says so after each, until it is killed. */
static void insert_for_ever(const char *path, int to) {
  km_db *db;
  km_db_stmt *s;
  if (open_with(&db, path, 2, false, NULL) != 0 ||
      km_db_prepare(db, &s, "INSERT INTO t(a) VALUES(?1)", NULL) != 0) {
    _exit(1);
  }
  for (int64_t i = 1;; i++) {
    km_db_bind_int(s, 1, i);
    if (km_db_run(s, NULL) != 0 || write(to, &i, sizeof i) != sizeof i) {
      _exit(1);
    }
  }
}

static void killed(void **state) {
  const folder *f = *state;
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    insert_for_ever(f->path, ends[1]);
  }
  (void)close(ends[1]);
  int64_t last = 0, next;
  for (int i = 0; i < 500; i++) {
    assert_int_equal(read(ends[0], &last, sizeof last), sizeof last);
  }
  assert_int_equal(kill(child, SIGKILL), 0);
  while (read(ends[0], &next, sizeof next) == sizeof next) {
    last = next;
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  (void)close(ends[0]);
  km_db *db = must_open(f->path, 2);
  int64_t count = number(db, "SELECT count(*) FROM t");
  assert_true(count >= last);
  assert_int_equal(number(db, "SELECT max(a) FROM t"), count);
  km_db_close(db);
}

/* A checkpoint wrote the first pages when the process was killed: the rest is in the WAL only. */
static void killed_while_tidying_up(void **state) {
  const folder *f = *state;
  char command[512];
  km_db *db = must_open(f->path, 2);
  fill(db, 200);
  (void)snprintf(command, sizeof command, "cp '%s-wal' '%s/kept'", f->path, f->dir);
  assert_int_equal(system(command), 0);
  km_db_close(db); /* writes all pages */
  (void)snprintf(command, sizeof command, "mv '%s/kept' '%s-wal'", f->dir, f->path);
  assert_int_equal(system(command), 0);
  assert_int_equal(truncate(f->path, 2 * 4096), 0);
  db = must_open(f->path, 2);
  assert_int_equal(number(db, "SELECT count(*) FROM t WHERE length(b) = 1000"), 200);
  km_db_close(db);
}

/* In a child, whose files may not grow beyond 256 KiB. */
static int fill_the_disk(const char *path) {
  const struct rlimit limit = {256 << 10, 256 << 10};
  km_db *db;
  km_db_stmt *s;
  uint8_t bytes[1000] = {0};
  if (signal(SIGXFSZ, SIG_IGN) == SIG_ERR || open_with(&db, path, 2, false, NULL) != 0 ||
      km_db_prepare(db, &s, "INSERT INTO t(b) VALUES(?1)", NULL) != 0 ||
      setrlimit(RLIMIT_FSIZE, &limit) != 0) {
    return 100;
  }
  int rows = 0, rv;
  do {
    km_db_bind_bytes(s, 1, bytes, sizeof bytes);
    rv = km_db_run(s, NULL);
    rows += rv == 0 ? 1 : 0;
  } while (rv == 0 && rows < 10000);
  if (rv != KM_ERR_NO_SPACE || rows < 10) {
    return 101;
  }
  if (number(db, "SELECT count(*) FROM t") != rows) {
    return 102; /* what was stored is there, what failed is not */
  }
  km_db_close(db);
  return 0;
}

static void full(void **state) {
  const folder *f = *state;
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    _exit(fill_the_disk(f->path));
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
  km_db *db = must_open(f->path, 2);
  assert_true(number(db, "SELECT count(*) FROM t") >= 10);
  km_db_close(db);
}

/* --- statements ------------------------------------------------------------------------------- */

static void values(void **state) {
  (void)state;
  km_db *db = must_open(NULL, 2);
  km_db_stmt *put, *get;
  assert_int_equal(km_db_prepare(db, &put, "INSERT INTO t VALUES(?1, ?2, ?3)", NULL), 0);
  assert_int_equal(km_db_prepare(db, &get, "SELECT * FROM t ORDER BY a", NULL), 0);
  km_db_bind_int(put, 1, INT64_MIN);
  km_db_bind_bytes(put, 2, "", 0);
  km_db_bind_text(put, 3, "x");
  assert_int_equal(km_db_run(put, NULL), 0);
  km_db_bind_int(put, 1, INT64_MAX);
  km_db_bind_bytes(put, 2, NULL, 0);
  km_db_bind_text(put, 3, NULL);
  assert_int_equal(km_db_run(put, NULL), 0);
  size_t len = 7;
  assert_int_equal(km_db_step(get, NULL), 1);
  assert_true(km_db_int(get, 0) == INT64_MIN);
  (void)km_db_bytes(get, 1, &len);
  assert_int_equal(len, 0);
  assert_string_equal(km_db_text(get, 2), "x");
  assert_int_equal(km_db_step(get, NULL), 1);
  assert_true(km_db_int(get, 0) == INT64_MAX);
  assert_null(km_db_bytes(get, 1, &len));
  assert_null(km_db_text(get, 2));
  assert_int_equal(km_db_step(get, NULL), 0);
  assert_int_equal(km_db_step(get, NULL), 1); /* from the beginning */
  km_db_close(db);                            /* takes the statements with it */
}

static void mistakes(void **state) {
  (void)state;
  km_db *db = must_open(NULL, 2);
  km_db_stmt *s;
  km_errinfo err = {0};
  assert_int_equal(km_db_prepare(db, &s, "SELEKT", &err), KM_ERR_STORE);
  assert_non_null(strstr(err.text, "syntax"));
  assert_int_equal(km_db_exec(db, "INSERT INTO nowhere VALUES(1)", &err), KM_ERR_STORE);
  assert_int_equal(km_db_prepare(db, &s, "INSERT INTO t(a) VALUES(?1)", NULL), 0);
  km_db_bind_int(s, 2, 1); /* there is no second */
  assert_int_equal(km_db_run(s, NULL), KM_ERR_STORE);
  km_db_bind_int(s, 1, 5);
  assert_int_equal(km_db_run(s, NULL), 0); /* the mistake is over */
  km_db_bind_int(s, 1, 5);
  assert_int_equal(km_db_run(s, &err), KM_ERR_STORE);
  assert_non_null(strstr(err.text, "UNIQUE"));
  km_db_bind_int(s, 1, 6);
  assert_int_equal(km_db_run(s, NULL), 0);
  assert_int_equal(number(db, "SELECT count(*) FROM t"), 2);
  km_db_close(db);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_new_file, set_up, tear_down),
      cmocka_unit_test_setup_teardown(names_with_signs, set_up, tear_down),
      cmocka_unit_test(in_memory),
      cmocka_unit_test_setup_teardown(an_older_version, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_step_that_fails, set_up, tear_down),
      cmocka_unit_test_setup_teardown(an_empty_file, set_up, tear_down),
      cmocka_unit_test_setup_teardown(somebody_elses, set_up, tear_down),
      cmocka_unit_test_setup_teardown(somebody_elses_in_the_middle, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_newer_version, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_version_that_just_became_newer, set_up, tear_down),
      cmocka_unit_test_setup_teardown(no_database, set_up, tear_down),
      cmocka_unit_test_setup_teardown(no_file, set_up, tear_down),
      cmocka_unit_test_setup_teardown(no_permission, set_up, tear_down),
      cmocka_unit_test_setup_teardown(damage, set_up, tear_down),
      cmocka_unit_test_setup_teardown(one_process_only, set_up, tear_down),
      cmocka_unit_test_setup_teardown(locked, set_up, tear_down),
      cmocka_unit_test_setup_teardown(killed, set_up, tear_down),
      cmocka_unit_test_setup_teardown(killed_while_tidying_up, set_up, tear_down),
      cmocka_unit_test_setup_teardown(full, set_up, tear_down),
      cmocka_unit_test(values),
      cmocka_unit_test(mistakes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
