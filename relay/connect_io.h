/* A TCP connection to a relay's host, or through a proxy to it: the name is looked up,
 * then all addresses in turn with a head start each (happy eyeballs, RFC 8305). */
#ifndef KM_RELAY_CONNECT_IO_H
#define KM_RELAY_CONNECT_IO_H

#include "base/env.h"
#include "base/io/loop_io.h"
#include "relay/connect_proxy.h"
#include "relay/resolve_io.h"

#define KM_RELAY_DNS_DEADLINE (3 * KM_NS_PER_S)
#define KM_RELAY_NEXT_ADDRESS (250 * KM_NS_PER_MS) /* RFC 8305: connection attempt delay */

typedef struct km_relay_dial km_relay_dial;

/* `fd` >= 0: the connection to `remote`, now the callee's, and no error. Otherwise `err`. */
typedef void (*km_relay_dial_fn)(void *ctx, int fd, const km_udp_addr *remote,
                                 const km_errinfo *err);

typedef struct km_relay_dial_config {
  const km_env *env;
  km_loop *loop;
  const km_relay_url *url;     /* copied */
  const km_relay_proxy *proxy; /* copied */
  km_udp_addr last;            /* to be tried last, it did no good; family 0: none */
  const km_udp_addr *addrs;    /* those of the host, when known already (copied); else NULL */
  size_t addr_count;
} km_relay_dial_config;

/* `fn` runs once, from a later turn, unless it is freed before; it may free the dial, and somebody
 * must. It has no deadline of its own but the one for the name. 0, KM_ERR_NOMEM or
 * KM_ERR_SYSTEM. */
KM_NODISCARD int km_relay_dial_new(km_relay_dial **ret, const km_relay_dial_config *config,
                                   km_relay_dial_fn fn, void *ctx);
void km_relay_dial_free(km_relay_dial *d);

#endif /* KM_RELAY_CONNECT_IO_H */
