/* What lives on a loop: polls, deadlines, deferred calls, timers; each may free itself. */
#include <keymesh/uv.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/io/loop_impl.h"
#include "test/base/test_env.h"

static km_loop *new_loop(void) {
  km_loop *loop;
  assert_int_equal(km_loop_new(&loop), 0);
  return loop;
}

typedef struct probe {
  km_loop *loop;
  km_timer *timer;
  km_deadline *deadline;
  km_defer *defer;
  km_defer *other;
  km_poll *poll;
  km_ts due;
  int calls;
  int again; /* how often the callback arms itself once more */
  int fd;
  int events;
} probe;

/* Timers. */

static void on_timer(void *ctx) {
  probe *p = ctx;
  p->calls++;
  assert_true(km_clock_now() >= p->due);
}

static void a_timer_fires_once_and_never_early(void **state) {
  (void)state;
  for (uint64_t delay_ms = 0; delay_ms < 12; delay_ms++) {
    probe p = {.loop = new_loop()};
    p.due = km_clock_now() + delay_ms * KM_NS_PER_MS;
    assert_int_equal(km_timer_start(&p.timer, p.loop, delay_ms, on_timer, &p), 0);
    assert_int_equal(km_loop_run(p.loop), 0);
    assert_int_equal(p.calls, 1);
    assert_int_equal(km_loop_free(p.loop), 0);
  }
}

static void cancel_itself(void *ctx) {
  probe *p = ctx;
  p->calls++;
  km_timer_cancel(p->timer);
}

static void a_timer_may_cancel_itself(void **state) {
  (void)state;
  probe p = {.loop = new_loop()};
  assert_int_equal(km_timer_start(&p.timer, p.loop, 1, cancel_itself, &p), 0);
  assert_int_equal(km_loop_run(p.loop), 0);
  assert_int_equal(p.calls, 1);
  assert_int_equal(km_loop_free(p.loop), 0);
}

static void a_cancelled_timer_never_fires(void **state) {
  (void)state;
  probe p = {.loop = new_loop()};
  assert_int_equal(km_timer_start(&p.timer, p.loop, 0, on_timer, &p), 0);
  km_timer_cancel(p.timer);
  km_timer_cancel(NULL);
  assert_int_equal(km_loop_run(p.loop), 0);
  assert_int_equal(p.calls, 0);
  /* The longest delay there is does not wrap around. */
  assert_int_equal(km_timer_start(&p.timer, p.loop, UINT64_MAX, on_timer, &p), 0);
  assert_int_equal(km_loop_run_once(p.loop, 5), 0);
  assert_int_equal(p.calls, 0);
  km_timer_cancel(p.timer);
  assert_int_equal(km_loop_free(p.loop), 0);
}

/* Deadlines. */

static void on_deadline(void *ctx) {
  probe *p = ctx;
  p->calls++;
  assert_true(km_loop_now(p->loop) >= p->due);
  assert_true(km_clock_now() >= p->due);
  if (p->again > 0) {
    p->again--;
    p->due = km_loop_now(p->loop) + 50000; /* 50 us */
    km_deadline_set(p->deadline, p->due);
  } else {
    km_deadline_free(p->deadline);
    p->deadline = NULL;
  }
}

static void a_deadline_fires_at_or_after_its_time(void **state) {
  (void)state;
  probe p = {.loop = new_loop(), .again = 100};
  assert_int_equal(km_deadline_new(&p.deadline, p.loop, on_deadline, &p), 0);
  p.due = km_clock_now() + 3 * KM_NS_PER_MS;
  km_deadline_set(p.deadline, p.due);
  assert_int_equal(km_loop_run(p.loop), 0); /* ends when the callback has freed its deadline */
  assert_int_equal(p.calls, 101);
  assert_int_equal(km_loop_free(p.loop), 0);
}

static void a_deadline_in_the_past_fires_at_once(void **state) {
  (void)state;
  static const km_ts past[] = {0, 1, KM_NS_PER_S};
  for (size_t i = 0; i < COUNT_OF(past); i++) {
    probe p = {.loop = new_loop()};
    assert_int_equal(km_deadline_new(&p.deadline, p.loop, on_deadline, &p), 0);
    km_deadline_set(p.deadline, past[i]);
    assert_int_equal(km_loop_run(p.loop), 0);
    assert_int_equal(p.calls, 1);
    assert_int_equal(km_loop_free(p.loop), 0);
  }
}

static void a_moved_deadline_fires_at_its_last_time_only(void **state) {
  (void)state;
  probe p = {.loop = new_loop()};
  assert_int_equal(km_deadline_new(&p.deadline, p.loop, on_deadline, &p), 0);
  km_ts start = km_clock_now();
  km_deadline_set(p.deadline, start + KM_NS_PER_MS);
  km_deadline_set(p.deadline, KM_TS_NEVER - 1);
  km_deadline_set(p.deadline, start + 10 * KM_NS_PER_MS);
  p.due = start + 10 * KM_NS_PER_MS;
  assert_int_equal(km_loop_run(p.loop), 0);
  assert_int_equal(p.calls, 1);
  assert_int_equal(km_loop_free(p.loop), 0);
}

static void a_disarmed_deadline_is_silent_until_armed_again(void **state) {
  (void)state;
  probe p = {.loop = new_loop()};
  assert_int_equal(km_deadline_new(&p.deadline, p.loop, on_deadline, &p), 0);
  km_deadline_set(p.deadline, km_clock_now() + KM_NS_PER_MS);
  km_deadline_set(p.deadline, KM_TS_NEVER);
  for (int i = 0; i < 3; i++) {
    assert_int_equal(km_loop_run_once(p.loop, 3), 0);
  }
  assert_int_equal(p.calls, 0);
  p.due = km_clock_now() + KM_NS_PER_MS;
  km_deadline_set(p.deadline, p.due);
  assert_int_equal(km_loop_run(p.loop), 0);
  assert_int_equal(p.calls, 1);
  assert_int_equal(km_loop_free(p.loop), 0);
}

static void a_freed_deadline_never_fires(void **state) {
  (void)state;
  probe p = {.loop = new_loop()};
  assert_int_equal(km_deadline_new(&p.deadline, p.loop, on_deadline, &p), 0);
  km_deadline_set(p.deadline, 1);
  km_deadline_free(p.deadline);
  km_deadline_free(NULL);
  assert_int_equal(km_loop_run(p.loop), 0);
  assert_int_equal(p.calls, 0);
  assert_int_equal(km_loop_free(p.loop), 0);
}

static void on_busy_poll(void *ctx, int events) {
  probe *p = ctx;
  p->events = events; /* leaves the byte where it is: the descriptor stays readable */
  if (p->deadline == NULL) {
    km_poll_free(p->poll);
  }
}

/* The kernel is told of deadlines only where the loop sleeps, which this one never does. */
static void a_deadline_fires_in_a_loop_that_never_sleeps(void **state) {
  (void)state;
  probe p = {.loop = new_loop(), .again = 10};
  int fds[2];
  assert_int_equal(pipe(fds), 0);
  assert_int_equal(write(fds[1], "x", 1), 1);
  assert_int_equal(km_poll_new(&p.poll, p.loop, fds[0], on_busy_poll, &p), 0);
  assert_int_equal(km_poll_set(p.poll, KM_POLL_READ), 0);
  assert_int_equal(km_deadline_new(&p.deadline, p.loop, on_deadline, &p), 0);
  p.due = km_clock_now() + KM_NS_PER_MS;
  km_deadline_set(p.deadline, p.due);
  assert_int_equal(km_loop_run(p.loop), 0); /* ends when both have been freed */
  assert_int_equal(p.calls, 11);
  assert_int_equal(p.events, KM_POLL_READ);
  assert_int_equal(km_loop_free(p.loop), 0);
  assert_int_equal(close(fds[0]), 0);
  assert_int_equal(close(fds[1]), 0);
}

typedef struct due_pair {
  km_deadline *at[2];
  int calls;
} due_pair;

static void free_due_pair(void *ctx) {
  due_pair *pair = ctx;
  pair->calls++;
  km_deadline_free(pair->at[0]);
  km_deadline_free(pair->at[1]);
}

static void a_due_deadline_may_free_itself_and_others(void **state) {
  (void)state;
  due_pair pair = {.calls = 0};
  km_loop *loop = new_loop();
  for (int i = 0; i < 2; i++) {
    assert_int_equal(km_deadline_new(&pair.at[i], loop, free_due_pair, &pair), 0);
    km_deadline_set(pair.at[i], 1);
  }
  assert_int_equal(km_loop_run(loop), 0);
  assert_int_equal(pair.calls, 1);
  assert_int_equal(km_loop_free(loop), 0);
}

/* Deferred calls. */

static void on_defer(void *ctx) {
  probe *p = ctx;
  p->calls++;
  if (p->again > 0) {
    p->again--;
    km_defer_run(p->defer);
  }
}

static void a_deferred_call_runs_once_however_often_armed(void **state) {
  (void)state;
  probe p = {.loop = new_loop()};
  assert_int_equal(km_defer_new(&p.defer, p.loop, on_defer, &p), 0);
  assert_int_equal(km_loop_run_nowait(p.loop), 0);
  assert_int_equal(p.calls, 0);
  assert_int_not_equal(km_loop_timeout_ms(p.loop), 0);
  km_defer_run(p.defer);
  km_defer_run(p.defer);
  assert_int_equal(p.calls, 0); /* never inside the call */
  assert_int_equal(km_loop_timeout_ms(p.loop), 0);
  assert_int_equal(km_loop_run_nowait(p.loop), 0);
  assert_int_equal(p.calls, 1);
  assert_int_equal(km_loop_run_nowait(p.loop), 0);
  assert_int_equal(p.calls, 1);
  assert_int_not_equal(km_loop_timeout_ms(p.loop), 0);
  km_defer_free(p.defer);
  km_defer_free(NULL);
  assert_int_equal(km_loop_free(p.loop), 0);
}

static void a_call_that_arms_itself_never_lets_the_loop_sleep(void **state) {
  (void)state;
  probe p = {.loop = new_loop(), .again = 50};
  assert_int_equal(km_defer_new(&p.defer, p.loop, on_defer, &p), 0);
  km_defer_run(p.defer);
  for (int i = 0; i < 60 && p.again > 0; i++) {
    assert_int_equal(km_loop_timeout_ms(p.loop), 0);
    assert_int_equal(km_loop_run_once(p.loop, -1), 0); /* would hang if it slept */
  }
  assert_int_equal(p.again, 0);
  assert_int_equal(km_loop_run_nowait(p.loop), 0);
  assert_int_equal(p.calls, 51);
  km_defer_free(p.defer);
  assert_int_equal(km_loop_free(p.loop), 0);
}

static void arm_and_note(void *ctx) {
  probe *p = ctx;
  assert_int_equal(p->calls, 0);
  km_defer_run(p->defer);
}

static void a_call_armed_by_a_posted_call_runs_in_the_same_turn(void **state) {
  (void)state;
  probe p = {.loop = new_loop()};
  assert_int_equal(km_defer_new(&p.defer, p.loop, on_defer, &p), 0);
  assert_int_equal(km_loop_post(p.loop, arm_and_note, &p), 0);
  assert_int_equal(km_loop_run_once(p.loop, 1000), 0);
  assert_int_equal(p.calls, 1);
  km_defer_free(p.defer);
  assert_int_equal(km_loop_free(p.loop), 0);
}

static void a_call_armed_by_a_timer_runs_before_the_loop_sleeps(void **state) {
  (void)state;
  probe p = {.loop = new_loop()};
  assert_int_equal(km_defer_new(&p.defer, p.loop, on_defer, &p), 0);
  assert_int_equal(km_timer_start(&p.timer, p.loop, 1, arm_and_note, &p), 0);
  for (int i = 0; i < 3 && p.calls == 0; i++) {
    assert_int_equal(km_loop_run_once(p.loop, -1), 0);
  }
  assert_int_equal(p.calls, 1);
  km_defer_free(p.defer);
  assert_int_equal(km_loop_free(p.loop), 0);
}

static void free_both(void *ctx) {
  probe *p = ctx;
  p->calls++;
  km_defer_free(p->defer);
  km_defer_free(p->other);
}

static void a_deferred_call_may_free_itself_and_others(void **state) {
  (void)state;
  for (int first = 0; first < 2; first++) {
    probe p = {.loop = new_loop()};
    assert_int_equal(km_defer_new(&p.defer, p.loop, free_both, &p), 0);
    assert_int_equal(km_defer_new(&p.other, p.loop, free_both, &p), 0);
    km_defer_run(first == 0 ? p.defer : p.other);
    km_defer_run(first == 0 ? p.other : p.defer);
    assert_int_equal(km_loop_run(p.loop), 0);
    assert_int_equal(p.calls, 1);
    assert_int_equal(km_loop_free(p.loop), 0);
  }
}

static void a_freed_deferred_call_never_runs(void **state) {
  (void)state;
  probe p = {.loop = new_loop()};
  assert_int_equal(km_defer_new(&p.defer, p.loop, on_defer, &p), 0);
  km_defer_run(p.defer);
  km_defer_free(p.defer);
  assert_int_equal(km_loop_run(p.loop), 0);
  assert_int_equal(p.calls, 0);
  assert_int_equal(km_loop_free(p.loop), 0);
}

static void close_arming(uv_handle_t *handle) {
  km_defer_run(((probe *)handle->data)->defer);
}

static void a_call_armed_by_a_close_callback_runs_before_the_loop_sleeps(void **state) {
  (void)state;
  uv_loop_t uv;
  assert_int_equal(uv_loop_init(&uv), 0);
  probe p = {0};
  assert_int_equal(km_loop_from_uv(&p.loop, &uv), 0);
  assert_int_equal(km_defer_new(&p.defer, p.loop, on_defer, &p), 0);
  uv_timer_t handle = {.data = &p};
  assert_int_equal(uv_timer_init(&uv, &handle), 0);
  uv_close((uv_handle_t *)&handle, close_arming);
  for (int i = 0; i < 3 && p.calls == 0; i++) {
    (void)uv_run(&uv, UV_RUN_ONCE); /* would hang if it slept */
  }
  assert_int_equal(p.calls, 1);
  km_defer_free(p.defer);
  assert_int_equal(km_loop_free(p.loop), 0);
  assert_int_equal(uv_run(&uv, UV_RUN_DEFAULT), 0);
  assert_int_equal(uv_loop_close(&uv), 0);
}

/* Polls. */

static void on_poll(void *ctx, int events) {
  probe *p = ctx;
  p->calls++;
  p->events = events;
  if ((events & KM_POLL_READ) != 0) {
    char byte;
    assert_int_equal(read(p->fd, &byte, 1), 1);
  }
}

static void a_poll_reports_what_was_asked_for(void **state) {
  (void)state;
  probe p = {.loop = new_loop()};
  int fds[2];
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  p.fd = fds[0];
  assert_int_equal(km_poll_new(&p.poll, p.loop, p.fd, on_poll, &p), 0);
  assert_int_equal(write(fds[1], "abc", 3), 3);
  assert_int_equal(km_loop_run_nowait(p.loop), 0);
  assert_int_equal(p.calls, 0); /* nothing was asked for yet */
  assert_int_equal(km_poll_set(p.poll, KM_POLL_READ), 0);
  assert_int_equal(km_loop_run_once(p.loop, 5000), 0);
  assert_int_equal(p.events, KM_POLL_READ);
  assert_int_equal(km_poll_set(p.poll, KM_POLL_WRITE), 0);
  assert_int_equal(km_loop_run_once(p.loop, 5000), 0);
  assert_int_equal(p.events, KM_POLL_WRITE);
  assert_int_equal(km_poll_set(p.poll, KM_POLL_READ | KM_POLL_WRITE), 0);
  assert_int_equal(km_loop_run_once(p.loop, 5000), 0);
  assert_int_equal(p.events, KM_POLL_READ | KM_POLL_WRITE);
  assert_int_equal(p.calls, 3);
  assert_int_equal(km_poll_set(p.poll, 0), 0);
  assert_int_equal(km_loop_run_once(p.loop, 2), 0);
  assert_int_equal(p.calls, 3); /* paused, although a byte waits */
  km_poll_free(p.poll);
  km_poll_free(NULL);
  assert_int_equal(close(fds[0]), 0);
  assert_int_equal(close(fds[1]), 0);
  assert_int_equal(km_loop_free(p.loop), 0);
}

static void free_poll(void *ctx, int events) {
  probe *p = ctx;
  (void)events;
  p->calls++;
  km_poll_free(p->poll);
  assert_int_equal(close(p->fd), 0);
}

static void a_poll_may_free_itself_and_close_its_descriptor(void **state) {
  (void)state;
  probe p = {.loop = new_loop()};
  int fds[2];
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  p.fd = fds[0];
  assert_int_equal(km_poll_new(&p.poll, p.loop, p.fd, free_poll, &p), 0);
  assert_int_equal(km_poll_set(p.poll, KM_POLL_READ | KM_POLL_WRITE), 0);
  assert_int_equal(km_loop_run(p.loop), 0);
  assert_int_equal(p.calls, 1);
  assert_int_equal(close(fds[1]), 0);
  assert_int_equal(km_loop_free(p.loop), 0);
}

typedef struct pair {
  probe a, b;
} pair;

static void free_both_polls(void *ctx, int events) {
  pair *both = ctx;
  (void)events;
  both->a.calls++;
  km_poll_free(both->a.poll);
  km_poll_free(both->b.poll);
}

static void a_poll_freed_by_another_is_silent_in_the_same_turn(void **state) {
  (void)state;
  pair both = {.a = {.loop = new_loop()}};
  int fds[2];
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  assert_int_equal(km_poll_new(&both.a.poll, both.a.loop, fds[0], free_both_polls, &both), 0);
  assert_int_equal(km_poll_new(&both.b.poll, both.a.loop, fds[1], free_both_polls, &both), 0);
  assert_int_equal(km_poll_set(both.a.poll, KM_POLL_WRITE), 0);
  assert_int_equal(km_poll_set(both.b.poll, KM_POLL_WRITE), 0);
  assert_int_equal(km_loop_run(both.a.loop), 0);
  assert_int_equal(both.a.calls, 1);
  assert_int_equal(close(fds[0]), 0);
  assert_int_equal(close(fds[1]), 0);
  assert_int_equal(km_loop_free(both.a.loop), 0);
}

static void on_error(void *ctx, int events) {
  probe *p = ctx;
  p->calls++;
  p->events |= events;
}

/* The read end is gone: the kernel reports nothing but an error, at every look. */
static void an_error_is_reported_and_the_watch_goes_on(void **state) {
  (void)state;
  probe p = {.loop = new_loop()};
  int fds[2];
  assert_int_equal(pipe(fds), 0);
  assert_int_equal(close(fds[0]), 0);
  assert_int_equal(km_poll_new(&p.poll, p.loop, fds[1], on_error, &p), 0);
  assert_int_equal(km_poll_set(p.poll, KM_POLL_WRITE), 0);
  for (int i = 0; i < 5; i++) {
    assert_int_equal(km_loop_run_once(p.loop, 1000), 0);
  }
  assert_true(p.calls >= 2);
  assert_true((p.events & KM_POLL_WRITE) != 0); /* it was asked for, and a write gives the error */
  km_poll_free(p.poll);
  assert_int_equal(close(fds[1]), 0);
  assert_int_equal(km_loop_free(p.loop), 0);
}

static void a_bad_descriptor_is_refused(void **state) {
  (void)state;
  probe p = {.loop = new_loop()};
  assert_true(km_poll_new(&p.poll, p.loop, 999999, on_poll, &p) < 0);
  assert_int_equal(km_loop_free(p.loop), 0);
}

static void a_paused_poll_keeps_the_loop_running(void **state) {
  (void)state;
  probe p = {.loop = new_loop()};
  int fds[2];
  assert_int_equal(pipe(fds), 0);
  p.fd = fds[0];
  assert_int_equal(km_poll_new(&p.poll, p.loop, fds[0], on_poll, &p), 0);
  km_ts before = km_clock_now();
  assert_int_equal(km_loop_run_once(p.loop, 10), 0);
  assert_true(km_clock_now() - before >= 9 * KM_NS_PER_MS);
  km_poll_free(p.poll);
  assert_int_equal(close(fds[0]), 0);
  assert_int_equal(close(fds[1]), 0);
  assert_int_equal(km_loop_free(p.loop), 0);
}

/* Nothing left. */

static int open_one_of_each(test_env *t) {
  probe p = {0};
  int rv = km_loop_new_in(&p.loop, &t->env);
  if (rv != 0) {
    return rv;
  }
  int fds[2];
  assert_int_equal(pipe(fds), 0);
  rv = km_poll_new(&p.poll, p.loop, fds[0], on_poll, &p);
  if (rv == 0) {
    rv = km_deadline_new(&p.deadline, p.loop, on_deadline, &p);
  }
  if (rv == 0) {
    rv = km_defer_new(&p.defer, p.loop, on_defer, &p);
  }
  if (rv == 0) {
    rv = km_timer_start(&p.timer, p.loop, 1000, on_timer, &p);
  }
  if (rv == 0) {
    rv = km_loop_post(p.loop, on_timer, &p);
  }
  km_timer_cancel(p.timer);
  km_defer_free(p.defer);
  km_deadline_free(p.deadline);
  km_poll_free(p.poll);
  assert_int_equal(close(fds[0]), 0);
  assert_int_equal(close(fds[1]), 0);
  assert_int_equal(km_loop_free(p.loop), 0);
  assert_int_equal(p.calls, rv == 0); /* what was posted ran */
  return rv;
}

static void running_out_of_memory_leaks_nothing(void **state) {
  (void)state;
  test_env t;
  long n = 0;
  for (int rv = KM_ERR_NOMEM; rv != 0; n++) {
    test_env_init(&t);
    t.fail_after = n;
    rv = open_one_of_each(&t);
    assert_true(rv == 0 || rv == KM_ERR_NOMEM);
    assert_int_equal(t.live, 0);
  }
  assert_true(n > 6); /* each of the six kinds has failed before all went well */
}

/* Lets `spare` more descriptors be opened. */
static void limit_descriptors(const struct rlimit *old, int spare) {
  int next = dup(STDERR_FILENO); /* the lowest free number */
  assert_true(next >= 0);
  assert_int_equal(close(next), 0);
  const struct rlimit limit = {.rlim_cur = (rlim_t)(next + spare), .rlim_max = old->rlim_max};
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void running_out_of_descriptors_is_reported(void **state) {
  (void)state;
  probe p = {.loop = new_loop()};
  assert_int_equal(km_loop_run_nowait(p.loop), 0);
  struct rlimit old;
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
  limit_descriptors(&old, 0);
  int no_deadline = km_deadline_new(&p.deadline, p.loop, on_deadline, &p);
  int results[6];
  for (int spare = 0; spare < 6; spare++) {
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    limit_descriptors(&old, spare);
    km_loop *loop = NULL;
    results[spare] = km_loop_new(&loop);
    assert_int_equal(km_loop_free(loop), 0);
  }
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
  assert_int_equal(no_deadline, KM_ERR_SYSTEM);
  assert_int_equal(results[0], KM_ERR_SYSTEM);
  assert_int_equal(results[5], 0);
  /* What was refused did no harm. */
  assert_int_equal(km_deadline_new(&p.deadline, p.loop, on_deadline, &p), 0);
  km_deadline_set(p.deadline, 1);
  assert_int_equal(km_loop_run(p.loop), 0);
  assert_int_equal(p.calls, 1);
  assert_int_equal(km_loop_free(p.loop), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(running_out_of_memory_leaks_nothing),
      cmocka_unit_test(running_out_of_descriptors_is_reported),
      cmocka_unit_test(a_timer_fires_once_and_never_early),
      cmocka_unit_test(a_cancelled_timer_never_fires),
      cmocka_unit_test(a_deadline_fires_at_or_after_its_time),
      cmocka_unit_test(a_deadline_in_the_past_fires_at_once),
      cmocka_unit_test(a_moved_deadline_fires_at_its_last_time_only),
      cmocka_unit_test(a_disarmed_deadline_is_silent_until_armed_again),
      cmocka_unit_test(a_freed_deadline_never_fires),
      cmocka_unit_test(a_deadline_fires_in_a_loop_that_never_sleeps),
      cmocka_unit_test(a_due_deadline_may_free_itself_and_others),
      cmocka_unit_test(a_deferred_call_runs_once_however_often_armed),
      cmocka_unit_test(a_call_that_arms_itself_never_lets_the_loop_sleep),
      cmocka_unit_test(a_call_armed_by_a_posted_call_runs_in_the_same_turn),
      cmocka_unit_test(a_call_armed_by_a_timer_runs_before_the_loop_sleeps),
      cmocka_unit_test(a_deferred_call_may_free_itself_and_others),
      cmocka_unit_test(a_freed_deferred_call_never_runs),
      cmocka_unit_test(a_call_armed_by_a_close_callback_runs_before_the_loop_sleeps),
      cmocka_unit_test(a_poll_reports_what_was_asked_for),
      cmocka_unit_test(a_poll_may_free_itself_and_close_its_descriptor),
      cmocka_unit_test(a_poll_freed_by_another_is_silent_in_the_same_turn),
      cmocka_unit_test(an_error_is_reported_and_the_watch_goes_on),
      cmocka_unit_test(a_bad_descriptor_is_refused),
      cmocka_unit_test(a_paused_poll_keeps_the_loop_running),
      cmocka_unit_test(a_timer_may_cancel_itself),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
