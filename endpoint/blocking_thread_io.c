/* The loop thread: opens the endpoint, runs the loop until the endpoint is closed. */
#include <signal.h>

#include "endpoint/blocking_impl.h"

typedef struct start_args {
  km_blocking *b;
  km_endpoint_options *options;
  const km_blocking_discovery *discovery; /* NULL: none */
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

static int open_discovery(km_blocking *b, const start_args *args, const km_secret_key *key) {
  const km_blocking_discovery *d = args->discovery;
  const km_discovery_options options = {.size = sizeof options,
                                        .secret_key = key,
                                        .state_file = d->state_file,
                                        .log = args->options->log,
                                        .log_ctx = args->options->log_ctx,
                                        .log_filter = &args->options->log_filter};
  int rv = km_discovery_new(&b->discovery, b->loop, &options, &b->start_err);
  if (rv == 0 && d->add_sources != NULL) {
    rv = d->add_sources(d->ctx, b->discovery, &b->start_err);
  }
  args->options->discovery = b->discovery;
  return rv;
}

/* Discovery signs with the endpoint's key, which is made here if none was given. */
static int open_endpoint(km_blocking *b, const start_args *args) {
  km_secret_key *key = NULL;
  int rv = 0;
  if (args->discovery != NULL) {
    const km_secret_key *given = args->options->secret_key;
    rv = given != NULL ? km_secret_key_copy(&key, given) : km_secret_key_generate(&key);
    rv = rv == 0 ? open_discovery(b, args, key) : rv;
    args->options->secret_key = key;
  }
  if (rv == 0) {
    rv = km_endpoint_open(&b->endpoint, b->loop, args->options, &b->start_err);
  }
  km_secret_key_free(key);
  if (rv != 0 && b->start_err.text[0] == '\0') {
    return km_fail(&b->start_err, rv, NULL);
  }
  b->start_err.code = rv;
  return rv;
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
  rv = open_endpoint(b, args);
  if (rv == 0) {
    b->id = *km_endpoint_id(b->endpoint);
  }
  report_started(b, rv); /* `args` is gone from here on */
  if (rv == 0) {
    run_until_closed(b);
  }
  km_discovery_free(b->discovery);
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

int km_blocking_start(km_blocking *b, km_endpoint_options *options,
                      const km_blocking_discovery *discovery, km_errinfo *err) {
  start_args args = {b, options, discovery};
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
