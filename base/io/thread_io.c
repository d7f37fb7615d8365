#include "base/io/thread_io.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

void km_thread_over(km_thread_limit *limit) {
  (void)atomic_fetch_sub(&limit->running, 1);
}

int km_thread_start(km_thread_limit *limit, void *(*fn)(void *arg), void *arg) {
  pthread_t thread;
  pthread_attr_t attr;
  sigset_t all, old;
  (void)sigfillset(&all);
  pid_t self = getpid();
  if (atomic_exchange(&limit->counted_by, self) != self) {
    atomic_store(&limit->running, 0);
  }
  if (atomic_fetch_add(&limit->running, 1) >= limit->max || pthread_attr_init(&attr) != 0) {
    km_thread_over(limit);
    return KM_ERR_LIMIT;
  }
  (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  (void)pthread_sigmask(SIG_SETMASK, &all, &old);
  int rv = pthread_create(&thread, &attr, fn, arg);
  (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
  (void)pthread_attr_destroy(&attr);
  if (rv != 0) {
    km_thread_over(limit);
  }
  return rv == 0 ? 0 : KM_ERR_SYSTEM;
}
