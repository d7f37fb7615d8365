/* Where a network monitor has its knowledge from. */
#ifndef KM_MAGICSOCK_NETMON_DRIVER_H
#define KM_MAGICSOCK_NETMON_DRIVER_H

#include "magicsock/netmon.h"
#include "magicsock/netmon_state.h"

typedef struct km_netmon_driver {
  const char *name;
  km_ts tick_ns; /* how often to look: at the clocks, and at the picture unless it `tells` */
  bool tells;    /* calls `changed` when there is something to see */
  /* `changed` runs from the loop; with `broken` the driver is of no use any more. It may close the
   * driver. */
  int (*open)(void **ret, const km_env *env, km_loop *loop, void (*changed)(void *ctx, bool broken),
              void *ctx, km_errinfo *err);
  /* Fills an empty picture. KM_ERR_AGAIN: it changed while we looked. */
  int (*look)(void *driver, km_netmon_picture *ret, km_errinfo *err);
  void (*close)(void *driver); /* takes NULL */
} km_netmon_driver;

extern const km_netmon_driver km_netmon_netlink; /* Linux */
extern const km_netmon_driver km_netmon_poll;    /* anywhere */

/* The first of the drivers that opens; NULL ends the list. Each is tried in its turn, also when
 * the one before breaks later on. */
KM_NODISCARD int km_netmon_new_with(km_netmon **ret, const km_env *env, km_loop *loop,
                                    const km_netmon_driver *const *drivers,
                                    void (*fn)(void *ctx, unsigned what), void *ctx);
const char *km_netmon_driver_name(const km_netmon *m);

#endif /* KM_MAGICSOCK_NETMON_DRIVER_H */
