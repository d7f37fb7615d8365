/* One UDP port of ours on the gateway: which protocol maps it, when to ask, to ask again, to renew,
 * and when a mapping is lost. Pure: answers and time in, packets and jobs out.
 *
 * All three protocols are looked for at once. PCP maps if it answers within half a second; then
 * NAT-PMP; UPnP, slow and easily wrong, after both. Who has mapped stays in charge until the
 * mapping is lost. IPv4 only: what opens an IPv6 firewall (MAP over IPv6) is not done. */
#ifndef KM_HOLEPUNCH_PORTMAP_H
#define KM_HOLEPUNCH_PORTMAP_H

#include "base/env.h"
#include "holepunch/natpmp.h"
#include "holepunch/pcp.h"
#include "holepunch/portmap_status.h"

#define KM_PORTMAP_LIFETIME_S 7200u      /* asked for, as RFC 6886 recommends */
#define KM_PORTMAP_MAX_LIFETIME_S 86400u /* whatever was granted */
#define KM_PORTMAP_MIN_LIFETIME_S 10u    /* believed, lest renewal becomes a flood */
#define KM_PORTMAP_PCP_FIRST_NS (500 * KM_NS_PER_MS)
#define KM_PORTMAP_UPNP_LAST_NS (1500 * KM_NS_PER_MS)
#define KM_PORTMAP_PROBE_NS (5 * KM_NS_PER_S) /* then silence is a result */

typedef enum km_portmap_do {
  KM_PORTMAP_SEND,       /* bytes to the gateway, port 5351 */
  KM_PORTMAP_UPNP_FIND,  /* answered by km_portmap_core_upnp_found */
  KM_PORTMAP_UPNP_MAP,   /* answered by km_portmap_core_upnp_mapped */
  KM_PORTMAP_UPNP_UNMAP, /* not answered */
  KM_PORTMAP_TELL        /* the status changed */
} km_portmap_do;

typedef struct km_portmap_out {
  km_portmap_do what;
  size_t len;
  uint8_t bytes[KM_PCP_MAP_LEN];
  uint16_t internal_port, external_port; /* UPnP; external 0: any */
  uint32_t lifetime_s;
} km_portmap_out;

/* What there is to be known of one protocol. */
typedef enum km_portmap_side_state {
  KM_PORTMAP_RESTING, /* not asked */
  KM_PORTMAP_ASKING,  /* asked, to be repeated at `at` */
  KM_PORTMAP_FOUND,   /* it is there, and may map from `at` on */
  KM_PORTMAP_REFUSED, /* it is there and said no; asked again at `at` */
  KM_PORTMAP_ABSENT   /* it is not there; asked again at `at`, if ever */
} km_portmap_side_state;

typedef struct km_portmap_side {
  km_portmap_side_state state;
  km_ts at, interval;
  unsigned tries;
  bool mapping;   /* asking for the mapping, no more for whether it is there */
  bool has_epoch; /* the server's clock, and ours then (RFC 6887 section 8.5) */
  uint32_t epoch_s;
  km_ts epoch_at;
} km_portmap_side;

typedef struct km_portmap_core {
  const km_env *env;
  uint32_t lifetime_s; /* to ask for */
  uint8_t allowed;     /* 1 << km_portmap_protocol */
  uint16_t port;       /* 0: at rest */
  km_udp_addr gateway, local;
  uint8_t nonce[KM_PCP_NONCE_LEN];
  km_portmap_side sides[KM_PORTMAP_UPNP + 1]; /* by protocol; the first is not used */
  km_ts round;                                /* when looking for them began */
  bool probing;
  uint8_t found;
  char no_gateway[96], refusal[96];
  /* The mapping that is held. */
  km_portmap_protocol holder;
  km_udp_addr external;
  uint32_t granted_s;
  km_ts granted, expires, renew;
  km_ts suspect;   /* 0, or the gateway forgot: how long to wait for its answer this time */
  uint16_t wished; /* external port, as it was before; 0: any */
  uint8_t natpmp_ip[4];
  km_ts restart; /* the gateway restarted while nothing was held: look again then */
  km_portmap_status told;
  km_portmap_out outs[16];
  size_t out_count;
} km_portmap_core;

/* `allowed` 0: all. At rest until there are a gateway and a port. */
void km_portmap_core_init(km_portmap_core *c, const km_env *env, uint32_t lifetime_s,
                          uint8_t allowed);
/* Begins anew. Family 0: there is none, and `trouble` says why. */
void km_portmap_core_set_gateway(km_portmap_core *c, const km_udp_addr *gateway,
                                 const km_udp_addr *local, const char *trouble, km_ts now);
/* Deletes what is mapped; 0: rests. */
void km_portmap_core_set_port(km_portmap_core *c, uint16_t port, km_ts now);
/* A packet from the gateway's port 5351. */
void km_portmap_core_input(km_portmap_core *c, const uint8_t *bytes, size_t len, km_ts now);
/* Nobody listens on that port (ICMP). */
void km_portmap_core_no_listener(km_portmap_core *c, km_ts now);
/* One that it sent to everybody's port 5350. */
void km_portmap_core_announced(km_portmap_core *c, const uint8_t *bytes, size_t len, km_ts now);
/* `trouble` NULL: it is there. */
void km_portmap_core_upnp_found(km_portmap_core *c, const char *trouble, km_ts now);
/* `trouble` NULL: mapped. `lifetime_s` 0: for ever. */
void km_portmap_core_upnp_mapped(km_portmap_core *c, const km_udp_addr *external,
                                 uint32_t lifetime_s, const char *trouble, km_ts now);
void km_portmap_core_timeout(km_portmap_core *c, km_ts now);
km_ts km_portmap_core_deadline(const km_portmap_core *c);
bool km_portmap_core_next(km_portmap_core *c, km_portmap_out *ret); /* pull until false */
void km_portmap_core_status(const km_portmap_core *c, km_portmap_status *ret);

#endif /* KM_HOLEPUNCH_PORTMAP_H */
