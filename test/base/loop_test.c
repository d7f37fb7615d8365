/* The loop as such: running, posting, freeing, and being driven from outside. */
#include <keymesh/uv.h>
#include <poll.h>
#include <unistd.h>

#include "base/io/loop_io.h"
#include "test/base/test_env.h"

static km_loop *new_loop(void) {
  km_loop *loop;
  assert_int_equal(km_loop_new(&loop), 0);
  return loop;
}

/* Remembers the order in which calls came. */
typedef struct trace {
  km_loop *loop;
  size_t count;
  int seen[4096];
} trace;

typedef struct call {
  trace *to;
  int number;
} call;

static void note(void *ctx) {
  call *c = ctx;
  assert_true(c->to->count < COUNT_OF(c->to->seen));
  c->to->seen[c->to->count++] = c->number;
}

static void nothing(void *ctx) {
  (void)ctx;
}

static void increment(void *ctx) {
  (*(int *)ctx)++;
}

static void running_an_idle_loop_returns(void **state) {
  (void)state;
  km_loop *loop = new_loop();
  assert_int_equal(km_loop_run(loop), 0);
  assert_int_equal(km_loop_run_nowait(loop), 0);
  assert_int_equal(km_loop_run_once(loop, 0), 0);
  assert_int_equal(km_loop_run_once(loop, 1), 0);
  assert_int_equal(km_loop_free(loop), 0);
}

static void posted_calls_run_in_order_and_once(void **state) {
  (void)state;
  trace t = {.loop = new_loop()};
  call calls[100];
  for (int i = 0; i < 100; i++) {
    calls[i] = (call){.to = &t, .number = i};
    assert_int_equal(km_loop_post(t.loop, note, &calls[i]), 0);
  }
  assert_int_equal(t.count, 0); /* never inside the call */
  assert_int_equal(km_loop_run_nowait(t.loop), 0);
  assert_int_equal(km_loop_run_nowait(t.loop), 0);
  assert_int_equal(t.count, 100);
  for (int i = 0; i < 100; i++) {
    assert_int_equal(t.seen[i], i);
  }
  assert_int_equal(km_loop_free(t.loop), 0);
}

static void post_again(void *ctx) {
  call *c = ctx;
  note(c);
  if (c->number++ < 5) {
    assert_int_equal(km_loop_post(c->to->loop, post_again, c), 0);
  }
}

static void a_posted_call_may_post(void **state) {
  (void)state;
  trace t = {.loop = new_loop()};
  call c = {.to = &t};
  assert_int_equal(km_loop_post(t.loop, post_again, &c), 0);
  assert_int_equal(km_loop_run(t.loop), 0); /* goes on while calls are waiting */
  assert_int_equal(t.count, 6);
  assert_int_equal(km_loop_free(t.loop), 0);
}

enum { POSTERS = 4, POSTS = 1000 };

typedef struct poster {
  uv_thread_t thread;
  km_loop *loop;
  call calls[POSTS];
} poster;

static void post_all(void *arg) {
  poster *p = arg;
  for (int i = 0; i < POSTS; i++) {
    if (km_loop_post(p->loop, note, &p->calls[i]) != 0) {
      abort(); /* cmocka's assertions work on the first thread only */
    }
  }
}

static void threads_post_in_their_own_order(void **state) {
  (void)state;
  static trace t;
  static poster posters[POSTERS];
  t = (trace){.loop = new_loop()};
  km_timer *keep;
  assert_int_equal(km_timer_start(&keep, t.loop, 3600000, nothing, NULL), 0);
  for (int p = 0; p < POSTERS; p++) {
    posters[p].loop = t.loop;
    for (int i = 0; i < POSTS; i++) {
      posters[p].calls[i] = (call){.to = &t, .number = p * POSTS + i};
    }
    assert_int_equal(uv_thread_create(&posters[p].thread, post_all, &posters[p]), 0);
  }
  while (t.count < (size_t)POSTERS * POSTS) {
    assert_int_equal(km_loop_run_once(t.loop, -1), 0); /* woken from sleep by the posts */
  }
  int next[POSTERS] = {0};
  for (size_t i = 0; i < t.count; i++) {
    int p = t.seen[i] / POSTS;
    assert_int_equal(t.seen[i] % POSTS, next[p]++);
  }
  for (int p = 0; p < POSTERS; p++) {
    assert_int_equal(uv_thread_join(&posters[p].thread), 0);
  }
  km_timer_cancel(keep);
  assert_int_equal(km_loop_free(t.loop), 0);
}

static void stop(void *ctx) {
  km_loop_stop(ctx);
}

static void stop_ends_a_run_with_things_open(void **state) {
  (void)state;
  km_loop *loop = new_loop();
  km_timer *timer;
  int fired = 0;
  assert_int_equal(km_timer_start(&timer, loop, 3600000, increment, &fired), 0);
  assert_int_equal(km_loop_post(loop, stop, loop), 0);
  assert_int_equal(km_loop_run(loop), 0);
  assert_int_equal(fired, 0);
  km_timer_cancel(timer);
  assert_int_equal(km_loop_free(loop), 0);
}

static void run_once_waits_no_longer_than_told(void **state) {
  (void)state;
  km_loop *loop = new_loop();
  km_timer *timer;
  int fired = 0;
  assert_int_equal(km_timer_start(&timer, loop, 3600000, increment, &fired), 0);
  km_ts before = km_clock_now();
  assert_int_equal(km_loop_run_once(loop, 20), 0); /* returns at all */
  assert_true(km_clock_now() - before >= 19 * KM_NS_PER_MS);
  assert_int_equal(km_loop_run_once(loop, 0), 0);
  assert_int_equal(km_loop_run_nowait(loop), 0);
  assert_int_equal(fired, 0);
  km_timer_cancel(timer);
  assert_int_equal(km_loop_free(loop), 0);
}

/* What ran before libuv looked at its descriptors was the round's event: no wait for another. */
static void run_once_returns_after_a_timer_that_was_due_already(void **state) {
  (void)state;
  km_loop *loop = new_loop();
  km_timer *keep;
  km_timer *timer;
  int fired = 0;
  assert_int_equal(km_timer_start(&keep, loop, 3600000, nothing, NULL), 0);
  assert_int_equal(km_timer_start(&timer, loop, 0, increment, &fired), 0);
  assert_int_equal(km_loop_run_once(loop, -1), 0);
  assert_int_equal(fired, 1);
  km_timer_cancel(keep);
  assert_int_equal(km_loop_free(loop), 0);
}

static void run_once_returns_after_a_deferred_call(void **state) {
  (void)state;
  km_loop *loop = new_loop();
  km_timer *keep;
  km_defer *defer;
  int calls = 0;
  assert_int_equal(km_timer_start(&keep, loop, 3600000, nothing, NULL), 0);
  assert_int_equal(km_defer_new(&defer, loop, increment, &calls), 0);
  km_defer_run(defer);
  assert_int_equal(km_loop_run_once(loop, -1), 0);
  assert_int_equal(calls, 1);
  assert_true(km_loop_timeout_ms(loop) > 0); /* and the next round may sleep again */
  km_defer_free(defer);
  km_timer_cancel(keep);
  assert_int_equal(km_loop_free(loop), 0);
}

static void burn(km_ts ns) {
  km_ts until = km_clock_now() + ns;
  while (km_clock_now() < until) {
  }
}

static void burn_in_timer_phase(void *ctx) {
  burn(3 * KM_NS_PER_MS);
  increment(ctx);
}

static void run_once_ends_when_its_limit_passes_before_the_wait(void **state) {
  (void)state;
  km_loop *loop = new_loop();
  km_timer *keep;
  assert_int_equal(km_timer_start(&keep, loop, 3600000, nothing, NULL), 0);
  for (int i = 0; i < 20; i++) {
    int calls = 0;
    km_timer *slow;
    assert_int_equal(km_timer_start(&slow, loop, 0, burn_in_timer_phase, &calls), 0);
    assert_int_equal(km_loop_run_once(loop, 1), 0);
    assert_int_equal(calls, 1);
    assert_int_equal(km_loop_run_once(loop, 1), 0);
  }
  km_timer_cancel(keep);
  assert_int_equal(km_loop_free(loop), 0);
}

static void free_is_refused_while_something_is_open(void **state) {
  (void)state;
  km_loop *loop = new_loop();
  int pipe_fds[2];
  assert_int_equal(pipe(pipe_fds), 0);
  km_timer *timer;
  km_defer *defer;
  km_deadline *deadline;
  km_poll *watch;
  assert_int_equal(km_timer_start(&timer, loop, 1000, nothing, NULL), 0);
  assert_int_equal(km_loop_free(loop), KM_ERR_STATE);
  km_timer_cancel(timer);
  assert_int_equal(km_defer_new(&defer, loop, nothing, NULL), 0);
  assert_int_equal(km_loop_free(loop), KM_ERR_STATE);
  km_defer_free(defer);
  assert_int_equal(km_deadline_new(&deadline, loop, nothing, NULL), 0);
  assert_int_equal(km_loop_free(loop), KM_ERR_STATE);
  km_deadline_free(deadline);
  assert_int_equal(km_poll_new(&watch, loop, pipe_fds[0], (km_poll_fn)NULL, NULL), 0);
  assert_int_equal(km_loop_free(loop), KM_ERR_STATE);
  /* Nothing was freed meanwhile: the loop still works. */
  int calls = 0;
  assert_int_equal(km_loop_post(loop, increment, &calls), 0);
  assert_int_equal(km_loop_run_nowait(loop), 0);
  assert_int_equal(calls, 1);
  km_poll_free(watch);
  assert_int_equal(km_loop_free(loop), 0);
  assert_int_equal(close(pipe_fds[0]), 0);
  assert_int_equal(close(pipe_fds[1]), 0);
}

static void a_handle_of_the_applications_keeps_the_loop(void **state) {
  (void)state;
  km_loop *loop = new_loop();
  uv_timer_t timer;
  assert_int_equal(uv_timer_init(km_loop_uv(loop), &timer), 0);
  assert_int_equal(km_loop_free(loop), KM_ERR_STATE);
  uv_close((uv_handle_t *)&timer, NULL);
  assert_int_equal(km_loop_free(loop), 0);
}

static void calls_posted_before_the_free_still_run(void **state) {
  (void)state;
  km_loop *loop = new_loop();
  int calls = 0;
  assert_int_equal(km_loop_post(loop, increment, &calls), 0);
  assert_int_equal(km_loop_free(loop), 0);
  assert_int_equal(calls, 1);
}

typedef struct opener {
  km_loop *loop;
  km_timer *timer;
  int result;
} opener;

static void open_timer(void *ctx) {
  opener *o = ctx;
  o->result = km_timer_start(&o->timer, o->loop, 3600000, nothing, NULL);
}

static void a_posted_call_that_opens_something_stops_the_free(void **state) {
  (void)state;
  opener o = {.loop = new_loop(), .result = -1};
  assert_int_equal(km_loop_post(o.loop, open_timer, &o), 0);
  assert_int_equal(km_loop_free(o.loop), KM_ERR_STATE);
  assert_int_equal(o.result, 0);
  int calls = 0; /* posting works again */
  assert_int_equal(km_loop_post(o.loop, increment, &calls), 0);
  km_timer_cancel(o.timer);
  assert_int_equal(km_loop_free(o.loop), 0);
  assert_int_equal(calls, 1);
}

static void free_inside(void *ctx) {
  opener *o = ctx;
  o->result = km_loop_free(o->loop);
}

static void an_own_loop_is_not_freed_inside_its_run(void **state) {
  (void)state;
  opener o = {.loop = new_loop(), .result = 1};
  assert_int_equal(km_loop_post(o.loop, free_inside, &o), 0);
  assert_int_equal(km_loop_run_nowait(o.loop), 0);
  assert_int_equal(o.result, KM_ERR_STATE);
  assert_int_equal(km_loop_free(o.loop), 0);
}

static void post_to_closing(void *ctx) {
  opener *o = ctx;
  o->result = km_loop_post(o->loop, nothing, NULL);
}

static void posting_to_a_loop_being_freed_is_refused(void **state) {
  (void)state;
  opener o = {.loop = new_loop(), .result = 1};
  assert_int_equal(km_loop_post(o.loop, post_to_closing, &o), 0);
  assert_int_equal(km_loop_free(o.loop), 0);
  assert_int_equal(o.result, KM_ERR_CLOSED);
}

/* A loop of the application's own, as in the example of keymesh/loop.h. */

typedef struct echo {
  km_loop *loop;
  km_poll *poll;
  int fd;
  int reads;
} echo;

static void on_readable(void *ctx, int events) {
  echo *e = ctx;
  char byte;
  assert_int_equal(events, KM_POLL_READ);
  assert_int_equal(read(e->fd, &byte, 1), 1);
  e->reads++;
}

/* One turn as the example has it; false when poll() ran into its limit, that is, overslept. */
static bool turn(km_loop *loop) {
  struct pollfd p = {.fd = km_loop_fd(loop), .events = POLLIN};
  int timeout = km_loop_timeout_ms(loop);
  const int limit = 5000;
  int n = poll(&p, 1, timeout < 0 || timeout > limit ? limit : timeout);
  assert_int_equal(km_loop_run_nowait(loop), 0);
  return n > 0 || (timeout >= 0 && timeout < limit);
}

static void a_watch_made_between_turns_wakes_the_descriptor(void **state) {
  (void)state;
  echo e = {.loop = new_loop()};
  int pipe_fds[2];
  assert_int_equal(pipe(pipe_fds), 0);
  e.fd = pipe_fds[0];
  assert_int_equal(km_loop_run_nowait(e.loop), 0);
  assert_int_equal(km_poll_new(&e.poll, e.loop, e.fd, on_readable, &e), 0);
  assert_int_equal(km_poll_set(e.poll, KM_POLL_READ), 0);
  assert_int_equal(write(pipe_fds[1], "x", 1), 1);
  for (int i = 0; i < 3 && e.reads == 0; i++) {
    assert_true(turn(e.loop));
  }
  assert_int_equal(e.reads, 1);
  km_poll_free(e.poll);
  assert_int_equal(km_loop_free(e.loop), 0);
  assert_int_equal(close(pipe_fds[0]), 0);
  assert_int_equal(close(pipe_fds[1]), 0);
}

static void a_deadline_set_between_turns_wakes_the_descriptor(void **state) {
  (void)state;
  km_loop *loop = new_loop();
  km_deadline *deadline;
  int fired = 0;
  assert_int_equal(km_deadline_new(&deadline, loop, increment, &fired), 0);
  assert_int_equal(km_loop_run_nowait(loop), 0);
  for (int round = 1; round <= 3; round++) {
    km_deadline_set(deadline, km_clock_now() + 5 * KM_NS_PER_MS);
    for (int i = 0; i < 20 && fired < round; i++) {
      assert_true(turn(loop));
    }
    assert_int_equal(fired, round);
  }
  km_deadline_free(deadline);
  assert_int_equal(km_loop_free(loop), 0);
}

typedef struct watcher_maker {
  echo *e;
  int made;
} watcher_maker;

static void make_watch(void *ctx) {
  watcher_maker *m = ctx;
  assert_int_equal(km_poll_new(&m->e->poll, m->e->loop, m->e->fd, on_readable, m->e), 0);
  assert_int_equal(km_poll_set(m->e->poll, KM_POLL_READ), 0);
  m->made++;
}

static void a_watch_made_in_a_callback_wakes_the_descriptor(void **state) {
  (void)state;
  echo e = {.loop = new_loop()};
  int pipe_fds[2];
  assert_int_equal(pipe(pipe_fds), 0);
  e.fd = pipe_fds[0];
  assert_int_equal(write(pipe_fds[1], "x", 1), 1);
  watcher_maker m = {.e = &e};
  assert_int_equal(km_loop_post(e.loop, make_watch, &m), 0);
  for (int i = 0; i < 5 && e.reads == 0; i++) {
    assert_true(turn(e.loop));
  }
  assert_int_equal(m.made, 1);
  assert_int_equal(e.reads, 1);
  km_poll_free(e.poll);
  assert_int_equal(km_loop_free(e.loop), 0);
  assert_int_equal(close(pipe_fds[0]), 0);
  assert_int_equal(close(pipe_fds[1]), 0);
}

static void an_idle_loop_neither_spins_nor_misses_a_post(void **state) {
  (void)state;
  km_loop *loop = new_loop();
  assert_int_equal(km_loop_run_nowait(loop), 0);
  assert_int_equal(km_loop_timeout_ms(loop), -1);
  struct pollfd p = {.fd = km_loop_fd(loop), .events = POLLIN};
  assert_int_equal(poll(&p, 1, 0), 0);
  int calls = 0;
  assert_int_equal(km_loop_post(loop, increment, &calls), 0);
  assert_int_equal(poll(&p, 1, 5000), 1);
  assert_int_equal(km_loop_run_nowait(loop), 0);
  assert_int_equal(calls, 1);
  assert_int_equal(poll(&p, 1, 0), 0); /* the wake-up is used up */
  assert_int_equal(km_loop_timeout_ms(loop), -1);
  assert_int_equal(km_loop_free(loop), 0);
}

static void the_timeout_is_that_of_the_next_timer(void **state) {
  (void)state;
  km_loop *loop = new_loop();
  km_timer *timer;
  int fired = 0;
  assert_int_equal(km_timer_start(&timer, loop, 60000, increment, &fired), 0);
  assert_int_equal(km_loop_run_nowait(loop), 0);
  int timeout = km_loop_timeout_ms(loop);
  assert_true(timeout > 0 && timeout <= 60001);
  km_timer_cancel(timer);
  assert_int_equal(km_loop_free(loop), 0);
}

/* On a libuv loop of the application's. */

static void a_wrapper_leaves_the_uv_loop_clean(void **state) {
  (void)state;
  uv_loop_t uv;
  assert_int_equal(uv_loop_init(&uv), 0);
  km_loop *loop;
  assert_int_equal(km_loop_from_uv(&loop, &uv), 0);
  assert_ptr_equal(km_loop_uv(loop), &uv);
  int calls = 0;
  km_timer *timer;
  assert_int_equal(km_timer_start(&timer, loop, 0, increment, &calls), 0);
  assert_int_equal(uv_run(&uv, UV_RUN_DEFAULT), 0); /* ends: the wrapper alone keeps nothing up */
  assert_int_equal(calls, 1);
  assert_int_equal(km_loop_free(loop), 0);
  assert_int_equal(uv_run(&uv, UV_RUN_DEFAULT), 0);
  assert_int_equal(uv_loop_close(&uv), 0);
}

static void free_by_timer(uv_timer_t *timer) {
  free_inside(timer->data);
  uv_close((uv_handle_t *)timer, NULL);
}

static void a_wrapper_may_be_freed_in_a_callback(void **state) {
  (void)state;
  uv_loop_t uv;
  assert_int_equal(uv_loop_init(&uv), 0);
  opener o = {.result = 1};
  assert_int_equal(km_loop_from_uv(&o.loop, &uv), 0);
  uv_timer_t timer = {.data = &o};
  assert_int_equal(uv_timer_init(&uv, &timer), 0);
  assert_int_equal(uv_timer_start(&timer, free_by_timer, 0, 0), 0);
  int calls = 0;
  assert_int_equal(km_loop_post(o.loop, increment, &calls), 0);
  assert_int_equal(uv_run(&uv, UV_RUN_DEFAULT), 0);
  assert_int_equal(o.result, 0);
  assert_int_equal(calls, 1);
  assert_int_equal(uv_loop_close(&uv), 0);
}

static void a_wrapper_is_not_run_by_us(void **state) {
  (void)state;
  uv_loop_t uv;
  assert_int_equal(uv_loop_init(&uv), 0);
  km_loop *loop;
  assert_int_equal(km_loop_from_uv(&loop, &uv), 0);
  assert_int_equal(km_loop_run(loop), KM_ERR_STATE);
  assert_int_equal(km_loop_run_once(loop, 0), KM_ERR_STATE);
  assert_int_equal(km_loop_run_nowait(loop), KM_ERR_STATE);
  assert_int_equal(km_loop_free(loop), 0);
  assert_int_equal(uv_run(&uv, UV_RUN_DEFAULT), 0);
  assert_int_equal(uv_loop_close(&uv), 0);
}

/* Threads and time. */

typedef struct runner {
  km_loop *loop;
  bool before, after;
} runner;

static void run_elsewhere(void *arg) {
  runner *r = arg;
  r->before = km_loop_on_thread(r->loop);
  if (km_loop_run_nowait(r->loop) != 0) {
    abort();
  }
  r->after = km_loop_on_thread(r->loop);
}

static void a_loop_belongs_to_the_thread_that_ran_it_last(void **state) {
  (void)state;
  runner r = {.loop = new_loop()};
  assert_true(km_loop_on_thread(r.loop));
  uv_thread_t thread;
  assert_int_equal(uv_thread_create(&thread, run_elsewhere, &r), 0);
  assert_int_equal(uv_thread_join(&thread), 0);
  assert_false(r.before);
  assert_true(r.after);
  assert_false(km_loop_on_thread(r.loop));
  assert_int_equal(km_loop_run_nowait(r.loop), 0);
  assert_true(km_loop_on_thread(r.loop));
  assert_int_equal(km_loop_free(r.loop), 0);
}

typedef struct clock_probe {
  km_loop *loop;
  km_ts first, second, updated;
} clock_probe;

static void probe_clock(void *ctx) {
  clock_probe *p = ctx;
  p->first = km_loop_now(p->loop);
  burn(KM_NS_PER_MS);
  p->second = km_loop_now(p->loop);
  km_loop_update(p->loop);
  p->updated = km_loop_now(p->loop);
}

static void time_stands_still_within_a_turn_only(void **state) {
  (void)state;
  clock_probe p = {.loop = new_loop()};
  km_ts before = km_loop_now(p.loop);
  burn(KM_NS_PER_MS);
  /* Between turns there is no turn whose time could stand still. */
  km_ts later = km_loop_now(p.loop);
  assert_true(later >= before + KM_NS_PER_MS);
  assert_int_equal(km_loop_post(p.loop, probe_clock, &p), 0);
  burn(KM_NS_PER_MS);
  assert_int_equal(km_loop_run_nowait(p.loop), 0);
  assert_true(p.first >= later + KM_NS_PER_MS);
  assert_true(p.second == p.first);
  assert_true(p.updated >= p.first + KM_NS_PER_MS);
  assert_true(km_loop_now(p.loop) >= p.updated);
  assert_int_equal(km_loop_free(p.loop), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(running_an_idle_loop_returns),
      cmocka_unit_test(posted_calls_run_in_order_and_once),
      cmocka_unit_test(a_posted_call_may_post),
      cmocka_unit_test(threads_post_in_their_own_order),
      cmocka_unit_test(stop_ends_a_run_with_things_open),
      cmocka_unit_test(run_once_waits_no_longer_than_told),
      cmocka_unit_test(run_once_returns_after_a_timer_that_was_due_already),
      cmocka_unit_test(run_once_returns_after_a_deferred_call),
      cmocka_unit_test(run_once_ends_when_its_limit_passes_before_the_wait),
      cmocka_unit_test(free_is_refused_while_something_is_open),
      cmocka_unit_test(calls_posted_before_the_free_still_run),
      cmocka_unit_test(a_posted_call_that_opens_something_stops_the_free),
      cmocka_unit_test(an_own_loop_is_not_freed_inside_its_run),
      cmocka_unit_test(posting_to_a_loop_being_freed_is_refused),
      cmocka_unit_test(a_watch_made_between_turns_wakes_the_descriptor),
      cmocka_unit_test(a_watch_made_in_a_callback_wakes_the_descriptor),
      cmocka_unit_test(a_deadline_set_between_turns_wakes_the_descriptor),
      cmocka_unit_test(an_idle_loop_neither_spins_nor_misses_a_post),
      cmocka_unit_test(the_timeout_is_that_of_the_next_timer),
      cmocka_unit_test(a_wrapper_leaves_the_uv_loop_clean),
      cmocka_unit_test(a_wrapper_may_be_freed_in_a_callback),
      cmocka_unit_test(a_wrapper_is_not_run_by_us),
      cmocka_unit_test(a_loop_belongs_to_the_thread_that_ran_it_last),
      cmocka_unit_test(time_stands_still_within_a_turn_only),
      cmocka_unit_test(a_handle_of_the_applications_keeps_the_loop),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
