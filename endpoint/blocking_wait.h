/* Waiting on a condition with a deadline on the monotonic clock. */
#ifndef KM_ENDPOINT_BLOCKING_WAIT_H
#define KM_ENDPOINT_BLOCKING_WAIT_H

#include <pthread.h>
#include <stdbool.h>
#include <time.h>

#include <keymesh/export.h>

/* The end of a wait. */
typedef struct km_bdeadline {
  bool never;
  struct timespec at; /* CLOCK_MONOTONIC */
} km_bdeadline;

/* From now; a negative timeout is no end. */
km_bdeadline km_bdeadline_in(int timeout_ms);

/* A condition whose timed waits go by the monotonic clock. Returns 0 or KM_ERR_NOMEM. */
KM_NODISCARD int km_bcond_init(pthread_cond_t *cond);

/* Waits for a signal; false when the deadline passed. Wakes may be spurious. */
bool km_bcond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, const km_bdeadline *deadline);

#endif /* KM_ENDPOINT_BLOCKING_WAIT_H */
