/* The loop, on libuv: its turns, its life, and the ways of running it. */
#include "base/io/loop_io.h"

#include <keymesh/uv.h>

#include "base/io/loop_impl.h"

/* --- turns ----------------------------------------------------------------------------------- */

void km_loop_enter(km_loop *loop) {
  atomic_store_explicit(&loop->thread, uv_thread_self(), memory_order_relaxed);
  loop->in_callback++;
  loop->handled = true;
  if (!loop->now_valid) {
    km_loop_update(loop);
    loop->now_valid = true;
  }
}

void km_loop_leave(km_loop *loop) {
  loop->in_callback--;
}

void km_loop_end_turn(km_loop *loop) {
  loop->now_valid = false;
}

km_ts km_loop_now(km_loop *loop) {
  /* Outside of our callbacks nobody knows when the turn began. */
  if (loop->in_callback == 0) {
    km_loop_update(loop);
  }
  return loop->now;
}

void km_loop_update(km_loop *loop) {
  km_ts now = km_clock_now();
  loop->now = now > loop->now ? now : loop->now;
}

bool km_loop_on_thread(const km_loop *loop) {
  uv_thread_t self = uv_thread_self();
  uv_thread_t owner = atomic_load_explicit(&loop->thread, memory_order_relaxed);
  return uv_thread_equal(&owner, &self) != 0;
}

static void finish_turn(km_loop *loop) {
  if (loop->armed != NULL) {
    km_loop_enter(loop);
    km_loop_run_deferred(loop);
    km_loop_leave(loop);
  }
  km_loop_end_turn(loop);
}

static void run_due_deadlines(km_loop *loop) {
  if (loop->unarmed != NULL) {
    km_loop_enter(loop);
    km_loop_run_deadlines(loop);
    km_loop_leave(loop);
  }
}

/* Before the loop may sleep; libuv tells the kernel about changed watches right after. */
static void on_prepare(uv_prepare_t *prepare) {
  km_loop *loop = prepare->data;
  finish_turn(loop);
  km_loop_prepare_deadlines(loop);
  loop->changed = false;
  if (loop->once && loop->handled) {
    /* A timer or a deferred call was this round's event; libuv would wait for one more. */
    km_loop_stay_awake(loop);
  }
}

/* After it woke and ran what was ready. */
static void on_check(uv_check_t *check) {
  km_loop *loop = check->data;
  run_due_deadlines(loop);
  finish_turn(loop);
  km_loop_may_sleep(loop);
}

static void on_idle(uv_idle_t *idle) {
  (void)idle; /* that it is active is all that matters */
}

void km_loop_stay_awake(km_loop *loop) {
  (void)uv_idle_start(&loop->idle, on_idle); /* fails for a NULL callback only */
}

void km_loop_may_sleep(km_loop *loop) {
  if (loop->armed == NULL && loop->unarmed == NULL) {
    (void)uv_idle_stop(&loop->idle); /* always 0 */
  }
}

void km_loop_opened(km_loop *loop) {
  if (loop->open++ == 0) {
    uv_ref((uv_handle_t *)&loop->prepare);
  }
}

void km_loop_shut(km_loop *loop) {
  if (--loop->open == 0) {
    uv_unref((uv_handle_t *)&loop->prepare);
  }
}

/* --- life ------------------------------------------------------------------------------------ */

static bool is_own(const km_loop *loop) {
  return loop->uv == &loop->own;
}

/* The first one fails where descriptors have run out; the others only link a handle in. */
static int start_handles(km_loop *loop) {
  int rv = uv_async_init(loop->uv, &loop->wake, km_loop_on_wake);
  if (rv != 0) {
    return rv;
  }
  (void)uv_prepare_init(loop->uv, &loop->prepare);
  (void)uv_check_init(loop->uv, &loop->check);
  (void)uv_idle_init(loop->uv, &loop->idle);
  (void)uv_timer_init(loop->uv, &loop->limit);
  loop->wake.data = loop->prepare.data = loop->check.data = loop->idle.data = loop;
  loop->limit.data = loop;
  (void)uv_prepare_start(&loop->prepare, on_prepare);
  (void)uv_check_start(&loop->check, on_check);
  /* Our own handles keep no loop running; what is open does (km_loop_opened), and so does an armed
   * deferred call (the idle handle). */
  uv_unref((uv_handle_t *)&loop->wake);
  uv_unref((uv_handle_t *)&loop->prepare);
  uv_unref((uv_handle_t *)&loop->check);
  return 0;
}

static int to_code(int uv_result) {
  if (uv_result == 0) {
    return 0;
  }
  return uv_result == UV_ENOMEM ? KM_ERR_NOMEM : KM_ERR_SYSTEM;
}

int km_loop_from_uv_in(km_loop **ret, const km_env *env, uv_loop_t *uv) {
  km_loop *loop = km_env_zalloc(env, 1, sizeof *loop);
  if (loop == NULL) {
    return KM_ERR_NOMEM;
  }
  loop->env = env;
  loop->uv = uv != NULL ? uv : &loop->own;
  loop->changed = true; /* the wake-up descriptor itself */
  atomic_init(&loop->thread, uv_thread_self());
  int rv = uv_mutex_init(&loop->lock);
  if (rv != 0) {
    goto no_lock;
  }
  rv = uv == NULL ? uv_loop_init(&loop->own) : 0;
  if (rv != 0) {
    goto no_loop;
  }
  rv = start_handles(loop);
  if (rv != 0) {
    goto no_handles;
  }
  *ret = loop;
  return 0;

no_handles:
  if (uv == NULL) {
    (void)uv_loop_close(&loop->own); /* nothing is on it */
  }
no_loop:
  uv_mutex_destroy(&loop->lock);
no_lock:
  km_env_free(env, loop);
  return to_code(rv);
}

int km_loop_new_in(km_loop **ret, const km_env *env) {
  return km_loop_from_uv_in(ret, env, NULL);
}

int km_loop_new(km_loop **ret) {
  return km_loop_new_in(ret, &km_env_system);
}

int km_loop_from_uv(km_loop **ret, uv_loop_t *uv) {
  return km_loop_from_uv_in(ret, &km_env_system, uv);
}

uv_loop_t *km_loop_uv(const km_loop *loop) {
  return loop->uv;
}

enum { HANDLES = 5 };

static void list_handles(km_loop *loop, uv_handle_t *ret[HANDLES]) {
  ret[0] = (uv_handle_t *)&loop->wake;
  ret[1] = (uv_handle_t *)&loop->prepare;
  ret[2] = (uv_handle_t *)&loop->check;
  ret[3] = (uv_handle_t *)&loop->idle;
  ret[4] = (uv_handle_t *)&loop->limit;
}

typedef struct search {
  uv_handle_t *ours[HANDLES];
  bool found;
} search;

static void look_for_foreign(uv_handle_t *handle, void *arg) {
  search *s = arg;
  bool ours = uv_is_closing(handle) != 0;
  for (int i = 0; i < HANDLES; i++) {
    ours = ours || handle == s->ours[i];
  }
  s->found = s->found || !ours;
}

/* Whatever would keep it from being freed: of ours, or a handle that the application put on it. */
static bool is_in_use(km_loop *loop) {
  search s = {.found = false};
  if (is_own(loop)) {
    list_handles(loop, s.ours);
    uv_walk(loop->uv, look_for_foreign, &s);
  }
  return loop->running || loop->open > 0 || s.found;
}

static void set_closing(km_loop *loop, bool closing) {
  uv_mutex_lock(&loop->lock);
  loop->closing = closing;
  uv_mutex_unlock(&loop->lock);
}

static void on_handle_closed(uv_handle_t *handle) {
  km_loop *loop = handle->data;
  if (--loop->handles_left == 0) {
    uv_mutex_destroy(&loop->lock);
    if (!is_own(loop)) {
      km_env_free(loop->env, loop);
    }
  }
}

static void close_handles(km_loop *loop) {
  uv_handle_t *handles[HANDLES];
  list_handles(loop, handles);
  loop->handles_left = HANDLES;
  for (int i = 0; i < HANDLES; i++) {
    uv_close(handles[i], on_handle_closed);
  }
}

int km_loop_free(km_loop *loop) {
  if (loop == NULL) {
    return 0;
  }
  if (is_in_use(loop)) {
    return KM_ERR_STATE;
  }
  /* Calls posted so far are owed; they may open something again. */
  set_closing(loop, true);
  km_loop_enter(loop);
  km_loop_run_posts(loop);
  km_loop_leave(loop);
  if (is_in_use(loop)) {
    set_closing(loop, false);
    return KM_ERR_STATE;
  }
  close_handles(loop);
  if (is_own(loop)) {
    (void)uv_run(&loop->own, UV_RUN_DEFAULT); /* ends with the last close callback */
    (void)uv_loop_close(&loop->own);          /* nothing is left on it */
    km_env_free(loop->env, loop);
  }
  return 0;
}

/* --- running --------------------------------------------------------------------------------- */

static int begin_run(km_loop *loop) {
  if (!is_own(loop) || loop->running) {
    return KM_ERR_STATE;
  }
  loop->running = true;
  atomic_store_explicit(&loop->thread, uv_thread_self(), memory_order_relaxed);
  km_loop_end_turn(loop);
  return 0;
}

static void end_run(km_loop *loop) {
  finish_turn(loop);
  km_loop_arm_deadlines(loop); /* whoever polls km_loop_fd sleeps elsewhere */
  loop->running = false;
}

/* One round. libuv does not look at its descriptors at all while no handle is referenced, but a
 * post may wait: so the handle that wakes it is. */
static void run_round(km_loop *loop, uv_run_mode mode) {
  uv_ref((uv_handle_t *)&loop->wake);
  (void)uv_run(loop->uv, mode); /* says whether something is open, which we know */
  uv_unref((uv_handle_t *)&loop->wake);
}

int km_loop_run(km_loop *loop) {
  int rv = begin_run(loop);
  if (rv != 0) {
    return rv;
  }
  bool ended = false; /* by uv_stop */
  do {
    run_round(loop, UV_RUN_NOWAIT);
    ended = loop->stopped || uv_run(loop->uv, UV_RUN_DEFAULT) != 0;
  } while (!ended && km_loop_has_posts(loop));
  loop->stopped = false;
  end_run(loop);
  return 0;
}

static void on_limit(uv_timer_t *timer) {
  km_loop *loop = timer->data;
  loop->handled = true; /* ends the wait, also where it fires before the wait began */
}

int km_loop_run_once(km_loop *loop, int timeout_ms) {
  int rv = begin_run(loop);
  if (rv != 0) {
    return rv;
  }
  if (timeout_ms > 0) {
    uv_update_time(loop->uv);
    (void)uv_timer_start(&loop->limit, on_limit, (uint64_t)timeout_ms, 0); /* cannot fail */
  }
  /* With nothing open, waiting without a limit would be for ever. */
  bool wait = timeout_ms > 0 || (timeout_ms < 0 && uv_loop_alive(loop->uv) != 0);
  loop->once = true;
  loop->handled = false;
  run_round(loop, wait ? UV_RUN_ONCE : UV_RUN_NOWAIT);
  loop->once = false;
  (void)uv_timer_stop(&loop->limit); /* always 0 */
  loop->stopped = false;
  end_run(loop);
  return 0;
}

int km_loop_run_nowait(km_loop *loop) {
  return km_loop_run_once(loop, 0);
}

void km_loop_stop(km_loop *loop) {
  loop->stopped = true;
  uv_stop(loop->uv);
}

int km_loop_fd(const km_loop *loop) {
  return uv_backend_fd(loop->uv);
}

int km_loop_timeout_ms(const km_loop *loop) {
  /* libuv before 1.45 does not say that the kernel knows less than it does. */
  if (loop->changed || loop->armed != NULL || loop->unarmed != NULL) {
    return 0;
  }
  if (uv_loop_alive(loop->uv) == 0) {
    return -1;
  }
  uv_update_time(loop->uv);
  return uv_backend_timeout(loop->uv);
}
