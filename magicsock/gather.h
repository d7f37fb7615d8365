/* Where peers may reach us directly: interfaces, what STUN servers and peers see, port mappings of
 * the router. Kept fresh while somebody needs it, silent otherwise. */
#ifndef KM_MAGICSOCK_GATHER_H
#define KM_MAGICSOCK_GATHER_H

#include "base/io/loop_io.h"
#include "holepunch/disco.h"
#include "holepunch/portmap_io.h"
#include "magicsock/magicsock.h"
#include "magicsock/report_io.h"

typedef struct km_gather km_gather;

typedef struct km_gather_config {
  const km_env *env; /* outlives it */
  km_loop *loop;
  km_magicsock *ms;
  const char *const *stun_servers; /* as km_reporter_config has them; copied */
  size_t stun_count;
  bool learn_servers; /* hosts of relays that are used answer STUN too */
  bool port_mapping;
  /* The candidates or what is known of the NAT changed. */
  void (*on_change)(void *ctx);
  /* The NAT is about to forget the mapping of the sockets of this family: bind fresh ones. */
  void (*on_renew)(void *ctx, uint8_t family);
  void *ctx;
} km_gather_config;

KM_NODISCARD int km_gather_new(km_gather **ret, const km_gather_config *config, km_errinfo *err);
void km_gather_free(km_gather *g);

/* Whether a connection wants a direct way. */
void km_gather_set_active(km_gather *g, bool active);
/* A relay is used for the first time: its host is asked as a STUN server. */
void km_gather_learn_relay(km_gather *g, const char *relay_url);
/* A connection found no way so far: the router is asked for a port mapping, once. */
void km_gather_want_mapping(km_gather *g);
/* A way died, or the peer is about to be told: our outer address may be another one by now. */
void km_gather_refresh(km_gather *g);
void km_gather_network_changed(km_gather *g);
/* The sockets of the family are new ones. */
void km_gather_rebound(km_gather *g, uint8_t family);
/* A peer saw the socket that its address's family uses now at this address. */
void km_gather_seen(km_gather *g, const km_udp_addr *outer);

size_t km_gather_candidates(const km_gather *g, km_candidate *ret, size_t cap);
void km_gather_nat(const km_gather *g, km_nat_info *ret);
km_reporter *km_gather_reporter(km_gather *g);
/* Behind a NAT64, without IPv4 of our own: the IPv6 address under which an IPv4 one is reached. */
bool km_gather_translate(const km_gather *g, const km_udp_addr *v4, km_udp_addr *ret);
/* What the router said; false: it was not asked. */
bool km_gather_mapping(const km_gather *g, km_portmap_status *ret);

#endif /* KM_MAGICSOCK_GATHER_H */
