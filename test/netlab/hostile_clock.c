/* Preloaded into a program: its wall clock is $KM_NETLAB_CLOCK seconds ahead of the machine's (or
 * behind it: a negative number). The monotonic clock stays what it is, as on a machine whose owner
 * never set the time. */
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

typedef int clock_gettime_fn(clockid_t id, struct timespec *ret);

__attribute__((visibility("default"))) int clock_gettime(clockid_t id, struct timespec *ret);
__attribute__((visibility("default"))) int gettimeofday(struct timeval *ret, void *zone);
__attribute__((visibility("default"))) time_t time(time_t *ret);

static time_t offset(void) {
  const char *text = getenv("KM_NETLAB_CLOCK");
  return text == NULL ? 0 : (time_t)strtoll(text, NULL, 10);
}

int clock_gettime(clockid_t id, struct timespec *ret) {
  static clock_gettime_fn *real;
  if (real == NULL) {
    *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
  }
  int rv = real(id, ret);
  if (rv == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
    ret->tv_sec += offset();
  }
  return rv;
}

int gettimeofday(struct timeval *ret, void *zone) {
  struct timespec now;
  (void)zone;
  int rv = clock_gettime(CLOCK_REALTIME, &now);
  ret->tv_sec = now.tv_sec;
  ret->tv_usec = now.tv_nsec / 1000;
  return rv;
}

time_t time(time_t *ret) {
  struct timespec now;
  (void)clock_gettime(CLOCK_REALTIME, &now);
  if (ret != NULL) {
    *ret = now.tv_sec;
  }
  return now.tv_sec;
}
