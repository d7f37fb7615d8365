/* The loop thread: opens the endpoint, runs the loop until the endpoint is closed. */
#include <signal.h>

#include "endpoint/blocking_impl.h"

typedef struct start_args {
  km_blocking *b;
  const km_endpoint_options *options;
} start_args;

static void report_started(km_blocking *b, int rv) {
  km_blocking_lock(b);
  b->start_rv = rv;
  b->started = true;
  (void)pthread_cond_broadcast(&b->cond);
  km_blocking_unlock(b);
}

static void run_until_closed(km_blocking *b) {
  while (!b->endpoint_closed) {
    (void)km_loop_run(b->loop);
  }
  km_blocking_lock(b);
  while (!km_list_empty(&b->work)) {
    km_bwork_run_all(b); /* what came too late is refused, not forgotten */
  }
  b->ended = true;
  km_blocking_unlock(b);
}

static void *thread_main(void *arg) {
  const start_args *args = arg;
  km_blocking *b = args->b;
  b->loop_thread = pthread_self(); /* others look at it after `started` */
  int rv = km_loop_new(&b->loop);
  if (rv != 0) {
    report_started(b, km_fail(&b->start_err, rv, NULL));
    return NULL;
  }
  rv = km_endpoint_open(&b->endpoint, b->loop, args->options, &b->start_err);
  if (rv == 0) {
    b->id = *km_endpoint_id(b->endpoint);
  }
  report_started(b, rv); /* `args` is gone from here on */
  if (rv == 0) {
    run_until_closed(b);
  }
  (void)km_loop_free(b->loop);
  return NULL;
}

/* Signals are the application's: the thread takes none of them. */
static int create_thread(km_blocking *b, start_args *args) {
  sigset_t all, before;
  (void)sigfillset(&all);
  (void)pthread_sigmask(SIG_SETMASK, &all, &before);
  int rv = pthread_create(&b->thread, NULL, thread_main, args);
  (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
  return rv;
}

int km_blocking_start(km_blocking *b, const km_endpoint_options *options, km_errinfo *err) {
  start_args args = {b, options};
  const km_bdeadline never = {.never = true};
  int sys_errno = create_thread(b, &args);
  if (sys_errno != 0) {
    (void)km_fail_errno(err, sys_errno, "cannot start a thread");
    if (err != NULL) {
      err->code = KM_ERR_SYSTEM;
    }
    return KM_ERR_SYSTEM;
  }
  km_blocking_lock(b);
  while (!b->started) {
    (void)km_bcond_wait(&b->cond, &b->mutex, &never);
  }
  km_blocking_unlock(b);
  if (b->start_rv != 0) {
    (void)pthread_join(b->thread, NULL);
    return km_bfail_copy(err, b->start_rv, &b->start_err);
  }
  return 0;
}
