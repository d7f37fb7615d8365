/* What there is to be said about a mapped port. */
#ifndef KM_HOLEPUNCH_PORTMAP_STATUS_H
#define KM_HOLEPUNCH_PORTMAP_STATUS_H

#include <keymesh/addr.h>

typedef enum km_portmap_protocol {
  KM_PORTMAP_NONE,
  KM_PORTMAP_PCP,
  KM_PORTMAP_NATPMP,
  KM_PORTMAP_UPNP
} km_portmap_protocol;

typedef struct km_portmap_status {
  km_portmap_protocol protocol; /* of the mapping there is */
  km_udp_addr external;         /* family 0: none. May be a private address: two NATs in a row */
  bool probing;                 /* nothing is known yet */
  uint32_t lifetime_s;          /* as the gateway granted it */
  uint8_t found;                /* bit 1 << km_portmap_protocol for each that answered */
  char trouble[128];            /* why there is none, for people; empty: nothing went wrong */
} km_portmap_status;

const char *km_portmap_protocol_name(km_portmap_protocol protocol); /* "PCP", ... Static. */

#endif /* KM_HOLEPUNCH_PORTMAP_STATUS_H */
