/* Detached threads for calls into the system or a library that cannot be interrupted. Nothing waits
 * for them: they may outlive whoever began them. */
#ifndef KM_BASE_IO_THREAD_IO_H
#define KM_BASE_IO_THREAD_IO_H

#include <stdatomic.h>
#include <sys/types.h>

#include "base/env.h"

/* How many of a kind run in this process. Static; all but `max` is zero at first. */
typedef struct km_thread_limit {
  unsigned max;
  atomic_uint running;
  _Atomic pid_t counted_by; /* a forked child has none of them */
} km_thread_limit;

/* Runs `fn(arg)` with all signals blocked: these are for the threads of the application. `fn` calls
 * km_thread_over at its end. 0, KM_ERR_LIMIT or KM_ERR_SYSTEM. */
KM_NODISCARD int km_thread_start(km_thread_limit *limit, void *(*fn)(void *arg), void *arg);
void km_thread_over(km_thread_limit *limit);

#endif /* KM_BASE_IO_THREAD_IO_H */
