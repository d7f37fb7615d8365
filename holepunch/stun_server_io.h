/* A STUN server (stun.h) on UDP sockets of its own. Loop thread only.
 *
 * With an alternate address it is one as of RFC 5780: beside the bound address 1 with port 1 and
 * the alternate address 2 with port 2 it listens on address 1 with port 2 and address 2 with port
 * 1, and answers from whichever of the four CHANGE-REQUEST asks for. */
#ifndef KM_HOLEPUNCH_STUN_SERVER_IO_H
#define KM_HOLEPUNCH_STUN_SERVER_IO_H

#include "base/env.h"
#include "base/io/loop_io.h"

#include <keymesh/addr.h>

#define KM_STUN_SERVER_MAX_BINDS 4
#define KM_STUN_SERVER_MAX_ALTERNATES 2
#define KM_STUN_SERVER_RATE 20000 /* answers a second, of all sockets, unless told otherwise */

typedef struct km_stun_server km_stun_server;

typedef struct km_stun_server_config {
  const km_env *env; /* outlives it */
  km_loop *loop;
  /* [::] takes IPv4 as well, so that one address is enough for both. Port 0: any. */
  km_udp_addr binds[KM_STUN_SERVER_MAX_BINDS];
  size_t bind_count;
  /* Each goes with the first of `binds` of its family, which is no wildcard and differs in address
   * and port. Port 0: any. */
  km_udp_addr alternates[KM_STUN_SERVER_MAX_ALTERNATES];
  size_t alternate_count;
  uint32_t max_per_second; /* answers; what comes beyond is dropped. 0: KM_STUN_SERVER_RATE */
} km_stun_server_config;

/* Every packet received ends in exactly one of the other counters. */
typedef struct km_stun_server_stats {
  uint64_t received;
  uint64_t answered;
  uint64_t refused; /* answered with error 420 */
  uint64_t ignored; /* STUN, but no Binding request */
  uint64_t not_stun;
  uint64_t over_rate;
  uint64_t send_dropped; /* the system took no more, or refused */
} km_stun_server_stats;

/* 0, KM_ERR_INVALID, KM_ERR_NOMEM, KM_ERR_SYSTEM or what binding gives (KM_ERR_ADDR_IN_USE,
 * KM_ERR_ADDR_NOT_AVAILABLE, KM_ERR_PERMISSION ...). */
KM_NODISCARD int km_stun_server_new(km_stun_server **ret, const km_stun_server_config *config,
                                    km_errinfo *err);
void km_stun_server_free(km_stun_server *s); /* NULL does nothing */

/* Where the socket of binds[i] really is. */
const km_udp_addr *km_stun_server_bound(const km_stun_server *s, size_t i);
/* Where the socket of alternates[i] really is. */
const km_udp_addr *km_stun_server_alternate(const km_stun_server *s, size_t i);
const km_stun_server_stats *km_stun_server_get_stats(const km_stun_server *s);

#endif /* KM_HOLEPUNCH_STUN_SERVER_IO_H */
