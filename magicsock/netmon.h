/* Tells when the network that this machine is in changed. */
#ifndef KM_MAGICSOCK_NETMON_H
#define KM_MAGICSOCK_NETMON_H

#include "base/io/loop_io.h"

typedef struct km_netmon km_netmon;

enum {
  KM_NETMON_ADDRESS_ADDED = 1,
  KM_NETMON_ADDRESS_LOST = 2,
  KM_NETMON_ROUTE = 4,  /* a default route came, went or leads elsewhere */
  KM_NETMON_RESUMED = 8 /* the clocks say that the machine, or we, slept */
};

/* `fn` runs from the loop once changes settled: 100 ms after the last, at most 1 s after the first.
 * `what` is a set of the above; addresses that came and went in between are not told. It may free
 * the monitor. On Linux the kernel tells of changes; where it does not, they are looked for every
 * 5 s. */
KM_NODISCARD int km_netmon_new(km_netmon **ret, const km_env *env, km_loop *loop,
                               void (*fn)(void *ctx, unsigned what), void *ctx);
void km_netmon_free(km_netmon *m);

#endif /* KM_MAGICSOCK_NETMON_H */
