/* The network monitor's shell: clocks, a timer, and the drivers in their turn. */
#include <time.h>

#include "magicsock/netmon_driver.h"

struct km_netmon {
  const km_env *env;
  km_loop *loop;
  const km_netmon_driver *const *drivers; /* that were not tried yet */
  const km_netmon_driver *use;            /* NULL: none is left */
  void *driver;
  km_deadline *timer;
  km_netmon_state state;
  km_netmon_picture picture; /* the one being taken: too large for a stack */
  void (*fn)(void *ctx, unsigned what);
  void *ctx;
};

/* How much a clock that goes on while the machine sleeps is ahead of ours. Where there is none, one
 * that is set forward looks like a sleep. */
static uint64_t slept_clock(void) {
  uint64_t boot = (uint64_t)km_clock_wall().unix_ns, now = km_clock_now();
#ifdef CLOCK_BOOTTIME
  struct timespec ts;
  if (clock_gettime(CLOCK_BOOTTIME, &ts) == 0) {
    boot = (uint64_t)ts.tv_sec * KM_NS_PER_S + (uint64_t)ts.tv_nsec;
  }
#endif
  return boot > now ? boot - now : 0;
}

static void arm(km_netmon *m) {
  km_deadline_set(m->timer, km_netmon_state_deadline(&m->state));
}

static void on_changed(void *ctx, bool broken);

static int open_driver(km_netmon *m, km_errinfo *err) {
  int rv = KM_ERR_UNSUPPORTED;
  for (m->use = NULL; m->use == NULL && *m->drivers != NULL; m->drivers++) {
    rv = (*m->drivers)->open(&m->driver, m->env, m->loop, on_changed, m, err);
    if (rv == 0) {
      m->use = *m->drivers;
    } else if (m->drivers[1] != NULL) {
      KM_LOG(&m->env->logger, KM_LOG_INFO, KM_LOGC_PATH, NULL, NULL, "netmon",
             "driver=%s refused=\"%s\" next=%s", (*m->drivers)->name, err->text,
             m->drivers[1]->name);
    }
  }
  return rv;
}

static int look(km_netmon *m, km_errinfo *err) {
  m->picture.addr_count = m->picture.route_count = 0;
  return m->use->look(m->driver, &m->picture, err);
}

/* The next driver sees the world in its own way: what differs by that is no change. */
static void replace_driver(km_netmon *m) {
  km_errinfo err = {0};
  m->use->close(m->driver);
  if (open_driver(m, &err) == 0 && look(m, &err) == 0) {
    m->state.told = m->picture;
    m->state.tick_ns = m->use->tick_ns;
    m->state.tick = km_loop_now(m->loop) + m->state.tick_ns;
  }
}

static void on_changed(void *ctx, bool broken) {
  km_netmon *m = ctx;
  if (broken) {
    KM_LOG(&m->env->logger, KM_LOG_WARN, KM_LOGC_PATH, NULL, NULL, "netmon", "driver=%s broken",
           m->use->name);
    replace_driver(m);
  } else {
    km_ts now = km_loop_now(m->loop);
    km_netmon_state_clocks(&m->state, now, slept_clock());
    km_netmon_state_touch(&m->state, now);
  }
  arm(m);
}

/* Without a driver the clocks are still watched. A look that failed is repeated. */
static void settle(km_netmon *m) {
  km_errinfo err = {0};
  int rv = m->use != NULL ? look(m, &err) : 0;
  if (rv != 0 || m->use == NULL) {
    m->picture = m->state.told;
  }
  if (rv != 0) {
    KM_LOG(&m->env->logger, KM_LOG_DEBUG, KM_LOGC_PATH, NULL, NULL, "netmon", "look=\"%s\"",
           err.text);
    m->state.first = m->state.last = km_loop_now(m->loop) + KM_NETMON_LONGEST_NS;
  }
  unsigned what = km_netmon_state_settle(&m->state, &m->picture);
  arm(m);
  if (what != 0) {
    KM_LOG(&m->env->logger, KM_LOG_INFO, KM_LOGC_PATH, NULL, NULL, "network-changed",
           "added=%d lost=%d route=%d resumed=%d addresses=%zu",
           (what & KM_NETMON_ADDRESS_ADDED) != 0, (what & KM_NETMON_ADDRESS_LOST) != 0,
           (what & KM_NETMON_ROUTE) != 0, (what & KM_NETMON_RESUMED) != 0, m->picture.addr_count);
    m->fn(m->ctx, what); /* may free it */
  }
}

/* A driver that does not tell is asked; differences settle before they are told. */
static void tick(km_netmon *m) {
  km_errinfo err = {0};
  if (m->use != NULL && !m->use->tells && look(m, &err) == 0 &&
      km_netmon_picture_diff(&m->state.told, &m->picture) != 0) {
    km_netmon_state_touch(&m->state, km_loop_now(m->loop));
  }
  arm(m);
}

static void on_timer(void *ctx) {
  km_netmon *m = ctx;
  switch (km_netmon_state_due(&m->state, km_loop_now(m->loop), slept_clock())) {
  case KM_NETMON_DUE_SETTLED:
    settle(m);
    return;
  case KM_NETMON_DUE_TICK:
    tick(m);
    return;
  default:
    arm(m);
    return;
  }
}

static int start(km_netmon *m) {
  km_errinfo err = {0};
  int rv = km_deadline_new(&m->timer, m->loop, on_timer, m);
  rv = rv == 0 ? open_driver(m, &err) : rv;
  if (rv != 0) {
    return rv;
  }
  if (look(m, &err) != 0) { /* the first change will be told as too much */
    m->picture.addr_count = m->picture.route_count = 0;
  }
  km_netmon_state_init(&m->state, &m->picture, km_loop_now(m->loop), slept_clock(),
                       m->use->tick_ns);
  arm(m);
  return 0;
}

int km_netmon_new_with(km_netmon **ret, const km_env *env, km_loop *loop,
                       const km_netmon_driver *const *drivers, void (*fn)(void *ctx, unsigned what),
                       void *ctx) {
  km_netmon *m = km_env_zalloc(env, 1, sizeof *m);
  if (m == NULL) {
    return KM_ERR_NOMEM;
  }
  m->env = env;
  m->loop = loop;
  m->drivers = drivers;
  m->fn = fn;
  m->ctx = ctx;
  int rv = start(m);
  if (rv != 0) {
    km_netmon_free(m);
    return rv;
  }
  *ret = m;
  return 0;
}

int km_netmon_new(km_netmon **ret, const km_env *env, km_loop *loop,
                  void (*fn)(void *ctx, unsigned what), void *ctx) {
  static const km_netmon_driver *const drivers[] = {
#ifdef __linux__
      &km_netmon_netlink,
#endif
      &km_netmon_poll, NULL};
  return km_netmon_new_with(ret, env, loop, drivers, fn, ctx);
}

void km_netmon_free(km_netmon *m) {
  if (m == NULL) {
    return;
  }
  if (m->use != NULL) {
    m->use->close(m->driver);
  }
  km_deadline_free(m->timer);
  km_env_free(m->env, m);
}

const char *km_netmon_driver_name(const km_netmon *m) {
  return m->use != NULL ? m->use->name : "none";
}
