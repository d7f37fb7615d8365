/* kill -9 at any moment: what was acknowledged is there, a batch is there as a whole or not at all,
 * the file is sound, and the clock goes on. */
#include "test/store/kv_fixture.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 40, KEYS = 23, BATCH = 8, MAX_ACKS = 120 };

/* A child's acknowledgement: this number is stored alone, and that one as a batch. */
typedef struct ack {
  uint32_t alone, batch;
} ack;

static int put_number(km_store *s, const char *share, unsigned key, uint32_t number) {
  char name[16], value[16];
  (void)snprintf(name, sizeof name, "k%u", key);
  int len = snprintf(value, sizeof value, "%u", (unsigned)number);
  return km_kv_put(s, share, name, value, (size_t)len, NULL);
}

/* 0: none. */
static uint32_t number_of(kv_fixture *f, const char *share, unsigned key) {
  char name[16], value[16] = "";
  km_kv_entry e;
  (void)snprintf(name, sizeof name, "k%u", key);
  int rv = km_kv_get(f->store, share, name, &e, &f->err);
  if (rv == KM_ERR_NOT_FOUND) {
    return 0;
  }
  KV_OK(f, rv);
  assert_true(e.value_len < sizeof value);
  memcpy(value, e.value, e.value_len);
  return (uint32_t)strtoul(value, NULL, 10);
}

static int write_batch(km_store *s, uint32_t number) {
  int rv = km_kv_begin(s, NULL);
  for (unsigned i = 0; rv == 0 && i < BATCH; i++) {
    rv = put_number(s, "batch", i, number);
  }
  return rv == 0 ? km_kv_commit(s, NULL) : rv;
}

/* Writes and acknowledges until it is killed. */
static void child(kv_fixture *f, int to_parent, ack from, km_durability durability) {
  km_store_options o;
  km_store_options_default(&o);
  o.path = f->path;
  o.secret_key = f->keys[0];
  o.durability = durability;
  km_store *s;
  if (km_store_open_with(&s, &o, &km_env_system, kv_wall, f, NULL) != 0) {
    _exit(2);
  }
  for (ack a = from;;) {
    a.alone++;
    if (put_number(s, "alone", a.alone % KEYS, a.alone) != 0) {
      _exit(3);
    }
    if (a.alone % 3 == 0) {
      a.batch++;
      if (write_batch(s, a.batch) != 0) {
        _exit(4);
      }
    }
    if (a.alone % 5 == 0 && km_kv_check_some(s, 7, NULL) < 0) {
      _exit(5);
    }
    if (write(to_parent, &a, sizeof a) != (ssize_t)sizeof a) {
      _exit(6);
    }
  }
}

/* The last acknowledgement of a child that is killed after so many. */
static ack run_child(kv_fixture *f, ack from, unsigned acks, km_durability durability) {
  int pipes[2];
  ack last = from, a;
  assert_int_equal(pipe(pipes), 0);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    (void)close(pipes[0]);
    child(f, pipes[1], from, durability);
  }
  (void)close(pipes[1]);
  for (unsigned i = 0; i < acks && read(pipes[0], &a, sizeof a) == (ssize_t)sizeof a; i++) {
    last = a;
  }
  assert_int_equal(kill(pid, SIGKILL), 0);
  int status = 0;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  if (!WIFSIGNALED(status)) {
    fail_msg("the child ended by itself: %d", WEXITSTATUS(status));
  }
  while (read(pipes[0], &a, sizeof a) == (ssize_t)sizeof a) {
    last = a; /* acknowledged before it died */
  }
  (void)close(pipes[0]);
  return last;
}

/* Nothing acknowledged is missing: each key has the last number that was its, or a later one. The
 * highest number found. */
static uint32_t expect_alone(kv_fixture *f, uint32_t acknowledged) {
  uint32_t highest = 0;
  for (unsigned key = 0; key < KEYS; key++) {
    uint32_t have = number_of(f, "alone", key);
    uint32_t want = acknowledged < key ? 0 : acknowledged - (acknowledged - key) % KEYS;
    if (have < want || (have != 0 && have % KEYS != key)) {
      fail_msg("k%u: %u was acknowledged, %u is there", key, (unsigned)want, (unsigned)have);
    }
    highest = have > highest ? have : highest;
  }
  assert_true(highest <= acknowledged + 1);
  return highest;
}

static uint32_t expect_batch(kv_fixture *f, uint32_t acknowledged) {
  uint32_t first = number_of(f, "batch", 0);
  for (unsigned key = 1; key < BATCH; key++) {
    assert_int_equal(number_of(f, "batch", key), first);
  }
  assert_in_range(first, acknowledged, acknowledged + 1);
  return first;
}

static void expect_clock_goes_on(kv_fixture *f, uint64_t *last) {
  assert_true(f->store->clock.last >= *last);
  kv_put(f, "clock", "k", "x");
  km_kv_entry e;
  KV_OK(f, km_kv_get(f->store, "clock", "k", &e, &f->err));
  assert_true(e.clock > *last);
  *last = e.clock;
}

static void run(kv_fixture *f, km_durability durability) {
  ack last = {0};
  uint64_t clock = 0;
  km_store_close(f->store);
  f->store = NULL;
  for (unsigned round = 0; round < ROUNDS; round++) {
    last = run_child(f, last, round * 37 % MAX_ACKS, durability);
    /* The machine's clock may be anywhere when it is up again. */
    kv_set_ms(f, KV_START_MS + (round % 2 == 0 ? -3600 * 1000 : 1000));
    kv_must_open(f);
    KV_OK(f, km_store_check(f->store, &f->err));
    last.alone = expect_alone(f, last.alone);
    last.batch = expect_batch(f, last.batch);
    expect_clock_goes_on(f, &clock);
    km_store_close(f->store);
    f->store = NULL;
  }
  assert_true(last.alone > ROUNDS);
}

static void test_killed(void **state) {
  run(*state, KM_DURABLE_PROCESS);
}

static void test_killed_with_fsync(void **state) {
  run(*state, KM_DURABLE_POWER);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      KV_TEST(test_killed),
      KV_TEST(test_killed_with_fsync),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
