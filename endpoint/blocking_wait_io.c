#include <errno.h>

#include <keymesh/error.h>

#include "endpoint/blocking_wait.h"

km_bdeadline km_bdeadline_in(int timeout_ms) {
  km_bdeadline d = {.never = timeout_ms < 0};
  if (!d.never) {
    (void)clock_gettime(CLOCK_MONOTONIC, &d.at);
    d.at.tv_sec += timeout_ms / 1000;
    d.at.tv_nsec += (long)(timeout_ms % 1000) * 1000000L;
    if (d.at.tv_nsec >= 1000000000L) {
      d.at.tv_nsec -= 1000000000L;
      d.at.tv_sec++;
    }
  }
  return d;
}

int km_bcond_init(pthread_cond_t *cond) {
  pthread_condattr_t attr;
  if (pthread_condattr_init(&attr) != 0) {
    return KM_ERR_NOMEM;
  }
  int rv = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
  if (rv == 0) {
    rv = pthread_cond_init(cond, &attr);
  }
  (void)pthread_condattr_destroy(&attr);
  return rv == 0 ? 0 : KM_ERR_NOMEM;
}

bool km_bcond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, const km_bdeadline *deadline) {
  if (deadline->never) {
    (void)pthread_cond_wait(cond, mutex);
    return true;
  }
  return pthread_cond_timedwait(cond, mutex, &deadline->at) != ETIMEDOUT;
}
