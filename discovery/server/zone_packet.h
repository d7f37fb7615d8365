/* The records of a signed packet, as a zone asks for them. Pure. */
#ifndef KM_DISCOVERY_SERVER_ZONE_PACKET_H
#define KM_DISCOVERY_SERVER_ZONE_PACKET_H

#include "discovery/pkarr.h"
#include "discovery/server/dns_reply.h"

typedef struct km_zone_packet_found {
  size_t count;        /* records of the type, written to the reply */
  bool exists;         /* the name has records, or a name below it has */
  bool damaged;        /* the packet is no DNS message */
  km_dns_name target;  /* of the first CNAME */
  uint32_t target_ttl; /* its TTL */
  bool has_target;
} km_zone_packet_found;

/* Writes the records of `name` (as in the packet: "<labels>.<z32>.") that have `type`; their owner
 * is `owner` (NULL: the question's). KM_DNS_ANY writes none. SOA, NS and what is no data (OPT, ANY,
 * ...) are not there; neither are records whose data is malformed. */
void km_zone_packet_find(km_zone_packet_found *ret, const km_pkarr *packet, const km_dns_name *name,
                         uint16_t type, km_dns_reply *reply, const km_dns_name *owner);

#endif /* KM_DISCOVERY_SERVER_ZONE_PACKET_H */
