#include <sys/timerfd.h>
#include <time.h>

#include "base/env.h"
#include "test/endpoint/wrap.h"

enum { MAX_FDS = 1024 };

typedef struct deadline {
  bool set;
  km_ts at; /* by the library's clock */
} deadline;

static int64_t ahead; /* of the real clock */
static bool frozen;
static km_ts frozen_at;
static deadline deadlines[MAX_FDS];

km_ts __real_km_clock_now(void);
km_ts __wrap_km_clock_now(void);
int __real_timerfd_settime(int fd, int flags, const struct itimerspec *new_value,
                           struct itimerspec *old_value);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *new_value,
                           struct itimerspec *old_value);

km_ts __wrap_km_clock_now(void) {
  return frozen ? frozen_at : (km_ts)((int64_t)__real_km_clock_now() + ahead);
}

/* A deadline by the real clock; what is over fires at once, and 0 would disarm. */
static km_ts real_time(km_ts at) {
  if (at >= INT64_MAX) {
    return INT64_MAX;
  }
  int64_t when = (int64_t)at - ahead; /* both are far from the ends */
  return when > 0 ? (km_ts)when : 1;
}

static int arm(int fd) {
  struct itimerspec spec = {0};
  if (!frozen) {
    km_ts when = real_time(deadlines[fd].at);
    spec.it_value.tv_sec = (time_t)(when / KM_NS_PER_S);
    spec.it_value.tv_nsec = (long)(when % KM_NS_PER_S);
  }
  return __real_timerfd_settime(fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *new_value,
                           struct itimerspec *old_value) {
  if (flags != TFD_TIMER_ABSTIME || fd >= MAX_FDS) {
    return __real_timerfd_settime(fd, flags, new_value, old_value);
  }
  deadlines[fd].set = true;
  deadlines[fd].at =
      (km_ts)new_value->it_value.tv_sec * KM_NS_PER_S + (km_ts)new_value->it_value.tv_nsec;
  return arm(fd);
}

static void arm_all(void) {
  for (int fd = 0; fd < MAX_FDS; fd++) {
    if (deadlines[fd].set && arm(fd) != 0) {
      deadlines[fd].set = false; /* closed meanwhile */
    }
  }
}

void clock_forward(uint64_t ns) {
  ahead += (int64_t)ns;
  frozen_at += ns;
  arm_all();
}

void clock_freeze(bool on) {
  km_ts now = __wrap_km_clock_now();
  if (!on) {
    ahead = (int64_t)now - (int64_t)__real_km_clock_now();
  }
  frozen_at = now;
  frozen = on;
  arm_all();
}
