/* A disk that is full and a file that is damaged: both are said, nothing that was stored is lost,
 * and a damaged file is left as it is. */
#include "test/store/kv_fixture.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

static uint8_t value[3000];

static int put_nth(kv_fixture *f, unsigned n) {
  char key[16];
  (void)snprintf(key, sizeof key, "k%06u", n);
  return km_kv_put(f->store, "notes", key, value, sizeof value, &f->err);
}

/* Puts until the disk is full; how many there are then. */
static unsigned fill(kv_fixture *f, unsigned from) {
  int rv = 0;
  unsigned n = from;
  while (n < 100000 && (rv = put_nth(f, n)) == 0) {
    n++;
  }
  assert_int_equal(rv, KM_ERR_NO_SPACE);
  assert_non_null(strstr(f->err.text, "the disk is full"));
  return n;
}

static void count_one(void *ctx, const km_kv_entry *e) {
  unsigned *n = ctx;
  char key[16];
  (void)snprintf(key, sizeof key, "k%06u", *n);
  assert_string_equal(e->key, key);
  assert_int_equal(e->value_len, sizeof value);
  ++*n;
}

static void expect_first(kv_fixture *f, unsigned count) {
  unsigned n = 0;
  assert_int_equal(km_kv_list(f->store, "notes", NULL, count_one, &n, &f->err), count);
  assert_int_equal(n, count);
  KV_OK(f, km_store_check(f->store, &f->err));
}

/* --- a small disk ----------------------------------------------------------------------------- */

/* In a name space of its own; skips where that is not allowed. */
static int set_up_small(void **state) {
  (void)kv_set_up(state);
  kv_fixture *f = *state;
  if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0 ||
      mount("none", f->dir, "tmpfs", 0, "size=2m") != 0) {
    print_message("no right to mount: only part of this is tested\n");
    return 0;
  }
  kv_must_open(f);
  return 0;
}

static int tear_down_small(void **state) {
  kv_fixture *f = *state;
  bool mounted = f->store != NULL;
  km_store_close(f->store);
  f->store = NULL;
  if (mounted) {
    assert_int_equal(umount(f->dir), 0);
  }
  return kv_tear_down(state);
}

static void enlarge(const kv_fixture *f) {
  assert_int_equal(mount("none", f->dir, "tmpfs", MS_REMOUNT, "size=16m"), 0);
}

static void test_full(void **state) {
  kv_fixture *f = *state;
  if (f->store == NULL) {
    skip();
  }
  unsigned count = fill(f, 0);
  assert_true(count > 20);
  assert_int_equal(put_nth(f, 0), KM_ERR_NO_SPACE);
  assert_int_equal(put_nth(f, count), KM_ERR_NO_SPACE);
  expect_first(f, count);
  kv_reopen(f); /* a full disk is no reason not to start */
  expect_first(f, count);
  count = fill(f, count); /* closing tidied up */
  expect_first(f, count);
  enlarge(f);
  assert_int_equal(put_nth(f, count), 0);
  expect_first(f, count + 1);
  kv_reopen(f);
  expect_first(f, count + 1);
}

/* Nothing of a batch is kept, and all that follows in it fails until its end. */
static void test_full_in_batch(void **state) {
  kv_fixture *f = *state;
  if (f->store == NULL) {
    skip();
  }
  for (unsigned i = 0; i < 10; i++) {
    KV_OK(f, put_nth(f, i));
  }
  KV_OK(f, km_kv_begin(f->store, &f->err));
  int rv = 0;
  for (unsigned i = 0; rv == 0 && i < 10000; i++) {
    rv = put_nth(f, i); /* more than the page cache holds, so that it is written before the end */
  }
  if (rv == 0) {
    rv = km_kv_commit(f->store, &f->err);
  } else {
    assert_int_equal(rv, KM_ERR_NO_SPACE);
    rv = put_nth(f, 0);
    assert_true(rv == 0 || rv == KM_ERR_NO_SPACE);
    rv = km_kv_commit(f->store, &f->err);
  }
  assert_int_equal(rv, KM_ERR_NO_SPACE);
  expect_first(f, 10);
  assert_int_equal(km_kv_commit(f->store, &f->err), KM_ERR_STATE); /* it is over */
  enlarge(f);
  KV_OK(f, km_kv_begin(f->store, &f->err));
  KV_OK(f, put_nth(f, 10));
  KV_OK(f, km_kv_commit(f->store, &f->err));
  kv_reopen(f);
  expect_first(f, 11);
}

/* Deletions and what is done in the background need space as well. */
static void test_full_otherwise(void **state) {
  kv_fixture *f = *state;
  if (f->store == NULL) {
    skip();
  }
  unsigned count = fill(f, 0);
  km_item item;
  km_entry e;
  int64_t rv = km_kv_check_some(f->store, count, &f->err);
  assert_true(rv == 0 || rv == KM_ERR_NO_SPACE);
  /* What others ask for is signed all the same. */
  assert_int_equal(km_kv_items(f->store, "notes", NULL, &item, 1, &f->err), 1);
  KV_OK(f, km_kv_find(f->store, "notes", &item, &e, &f->err));
  assert_int_equal(km_entry_verify(&e), 0);
  const km_entry *theirs = kv_signed(f, 1, "notes", "theirs", "x", kv_clock(f, 0));
  km_entry large = *theirs;
  large.value = value;
  large.value_len = sizeof value;
  assert_int_equal(km_kv_apply(f->store, &large, &f->ids[1], &f->err), KM_ERR_NO_SPACE);
  assert_int_equal(km_kv_delete(f->store, "notes", "k000000", &f->err), KM_ERR_NO_SPACE);
  expect_first(f, count);
  enlarge(f);
  assert_int_equal(km_kv_apply(f->store, theirs, &f->ids[1], &f->err), KM_KV_NEW);
  KV_OK(f, km_kv_delete(f->store, "notes", "k000000", &f->err));
  assert_int_equal(km_kv_check_some(f->store, 10 * (size_t)count, &f->err), 0);
  KV_OK(f, km_store_check(f->store, &f->err));
}

static void test_no_space_to_begin(void **state) {
  kv_fixture *f = *state;
  if (f->store == NULL) {
    skip();
  }
  (void)fill(f, 0);
  char path[160];
  (void)snprintf(path, sizeof path, "%s/other.db", f->dir);
  km_store *second = NULL;
  assert_int_equal(kv_open_store(f, 0, path, &second), KM_ERR_NO_SPACE);
  assert_null(second);
}

/* Tells how many it could put, and waits to be killed. */
static void fill_limited(kv_fixture *f, int to_parent) {
  const struct rlimit limit = {512 << 10, 512 << 10};
  unsigned count = 0;
  (void)signal(SIGXFSZ, SIG_IGN);
  if (kv_open_store(f, 0, f->path, &f->store) == 0 && setrlimit(RLIMIT_FSIZE, &limit) == 0) {
    count = fill(f, 0);
    expect_first(f, count);
  }
  if (write(to_parent, &count, sizeof count) == (ssize_t)sizeof count) {
    (void)pause();
  }
}

/* Without the right to mount: a limit of the process does nearly the same. */
static void test_limit_of_the_process(void **state) {
  kv_fixture *f = *state;
  int pipes[2];
  kv_put(f, "other", "a", "1");
  km_store_close(f->store);
  f->store = NULL;
  assert_int_equal(pipe(pipes), 0);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    fill_limited(f, pipes[1]);
    _exit(1);
  }
  (void)close(pipes[1]);
  unsigned count = 0, n = 0;
  assert_int_equal(read(pipes[0], &count, sizeof count), sizeof count);
  (void)close(pipes[0]);
  assert_true(count > 20);
  assert_int_equal(kill(pid, SIGKILL), 0);
  assert_int_equal(waitpid(pid, NULL, 0), pid);
  kv_must_open(f); /* after a death without closing */
  kv_expect(f, "other", "a", "1");
  assert_int_equal(km_kv_list(f->store, "notes", NULL, count_one, &n, &f->err), count);
  KV_OK(f, km_store_check(f->store, &f->err));
}

/* --- damage ----------------------------------------------------------------------------------- */

typedef struct file {
  uint8_t *bytes;
  size_t len;
} file;

static file read_file(const char *path) {
  FILE *in = fopen(path, "rb");
  assert_non_null(in);
  struct stat st;
  assert_int_equal(fstat(fileno(in), &st), 0);
  file f = {.len = (size_t)st.st_size};
  f.bytes = malloc(f.len + 1);
  assert_non_null(f.bytes);
  assert_int_equal(fread(f.bytes, 1, f.len, in), f.len);
  assert_int_equal(fclose(in), 0);
  return f;
}

static void write_file(const char *path, const file *f) {
  FILE *out = fopen(path, "wb");
  assert_non_null(out);
  assert_int_equal(fwrite(f->bytes, 1, f->len, out), f->len);
  assert_int_equal(fclose(out), 0);
}

static void close_store(kv_fixture *f) {
  km_store_close(f->store);
  f->store = NULL;
}

/* Refused, and not a byte is touched. */
static void expect_refused(kv_fixture *f, const file *damaged) {
  km_store *s = NULL;
  write_file(f->path, damaged);
  assert_int_equal(kv_open_store(f, 0, f->path, &s), KM_ERR_STORE_DAMAGED);
  assert_non_null(strstr(f->err.text, f->path));
  file after = read_file(f->path);
  assert_int_equal(after.len, damaged->len);
  assert_memory_equal(after.bytes, damaged->bytes, after.len);
  free(after.bytes);
}

static void test_damaged_file(void **state) {
  kv_fixture *f = *state;
  for (unsigned i = 0; i < 50; i++) {
    KV_OK(f, put_nth(f, i));
  }
  close_store(f);
  file good = read_file(f->path);
  file bad = {malloc(good.len), good.len};
  assert_non_null(bad.bytes);
  memcpy(bad.bytes, good.bytes, good.len);
  memset(bad.bytes, 'x', 64); /* its beginning */
  expect_refused(f, &bad);
  for (size_t page = 1; page < 12; page++) { /* a page of a table, an index, ... */
    memcpy(bad.bytes, good.bytes, good.len);
    memset(bad.bytes + page * 4096, 0xa5, 200);
    expect_refused(f, &bad);
  }
  bad.len = good.len / 2; /* its end is missing */
  memcpy(bad.bytes, good.bytes, bad.len);
  expect_refused(f, &bad);
  write_file(f->path, &good);
  kv_must_open(f);
  expect_first(f, 50);
  free(good.bytes);
  free(bad.bytes);
}

static uint8_t *find(const file *f, const char *text) {
  for (size_t i = 0; i + strlen(text) <= f->len; i++) {
    if (memcmp(f->bytes + i, text, strlen(text)) == 0) {
      return f->bytes + i;
    }
  }
  fail_msg("%s is not in the file", text);
  return NULL;
}

/* SQLite cannot see that a value changed; the entry's hash can. */
static void test_changed_value(void **state) {
  kv_fixture *f = *state;
  kv_put(f, "notes", "a", "what was written");
  kv_put(f, "notes", "b", "something else");
  close_store(f);
  file bytes = read_file(f->path);
  *find(&bytes, "was written") = 'W';
  write_file(f->path, &bytes);
  free(bytes.bytes);
  kv_must_open(f);
  assert_int_equal(km_store_check(f->store, &f->err), KM_ERR_STORE_DAMAGED);
  assert_non_null(strstr(f->err.text, "a in the share notes is not what was stored"));
  assert_int_equal(km_kv_verify(f->store, "notes", "a", &f->err), KM_ERR_CRYPTO);
  KV_OK(f, km_kv_verify(f->store, "notes", "b", &f->err));
  kv_expect(f, "notes", "b", "something else");
}

/* Too large to be read through when it is opened: what is hit says so, the rest can be had. */
static void test_damaged_large_file(void **state) {
  kv_fixture *f = *state;
  static uint8_t large[60000];
  KV_OK(f, km_kv_begin(f->store, &f->err));
  for (unsigned i = 0; i < 400; i++) {
    char key[16];
    (void)snprintf(key, sizeof key, "big/%03u", i);
    KV_OK(f, km_kv_put(f->store, "notes", key, large, sizeof large, &f->err));
    if (i == 200) { /* opening looks at the first and the last */
      kv_put(f, "notes", "a", "a value to be found");
    }
  }
  KV_OK(f, km_kv_commit(f->store, &f->err));
  close_store(f);
  file bytes = read_file(f->path);
  assert_true(bytes.len > 4096 * 4096);
  uint8_t *at = find(&bytes, "a value to be found");
  size_t page = (size_t)(at - bytes.bytes) / 4096;
  memset(bytes.bytes + page * 4096, 0xa5, 64);
  write_file(f->path, &bytes);
  kv_must_open(f);
  km_kv_entry e;
  assert_int_equal(km_kv_get(f->store, "notes", "a", &e, &f->err), KM_ERR_STORE_DAMAGED);
  KV_OK(f, km_kv_get(f->store, "notes", "big/000", &e, &f->err));
  assert_int_equal(e.value_len, sizeof large);
  assert_int_equal(km_store_check(f->store, &f->err), KM_ERR_STORE_DAMAGED);
  free(bytes.bytes);
}

#define SMALL(f) cmocka_unit_test_setup_teardown(f, set_up_small, tear_down_small)

int main(void) {
  const struct CMUnitTest tests[] = {
      KV_TEST(test_limit_of_the_process),
      KV_TEST(test_damaged_file),
      KV_TEST(test_changed_value),
      KV_TEST(test_damaged_large_file),
      SMALL(test_full),
      SMALL(test_full_in_batch),
      SMALL(test_full_otherwise),
      SMALL(test_no_space_to_begin),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
