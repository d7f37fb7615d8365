/* Looks a name up with the system's resolver, whatever that is configured to do, on a thread of its
 * own: getaddrinfo cannot be interrupted, and nobody else should have to wait for it. */
#ifndef KM_RELAY_RESOLVE_IO_H
#define KM_RELAY_RESOLVE_IO_H

#include <keymesh/addr.h>

#include "base/io/loop_io.h"

#define KM_RELAY_MAX_ADDRESSES 16
#define KM_RESOLVE_MAX_THREADS 16

typedef struct km_resolve km_resolve;

typedef struct km_resolve_result {
  int status; /* getaddrinfo's, for gai_strerror; 0: it worked */
  size_t count;
  km_udp_addr addrs[KM_RELAY_MAX_ADDRESSES];
} km_resolve_result;

/* `fn` runs once, from the loop, and may free it. 0, KM_ERR_NOMEM, KM_ERR_SYSTEM (descriptors,
 * threads) or KM_ERR_LIMIT: 16 look-ups of this process are under way, all name servers silent. */
KM_NODISCARD int km_resolve_new(km_resolve **ret, const km_env *env, km_loop *loop,
                                const char *host, uint16_t port,
                                void (*fn)(void *ctx, const km_resolve_result *result), void *ctx);
/* `fn` does not run any more. The thread ends when the system's resolver does; nothing waits for
 * it. NULL does nothing. */
void km_resolve_free(km_resolve *r);

#endif /* KM_RELAY_RESOLVE_IO_H */
