/* STUN servers, and a NAT in front of two sockets, as pure functions in virtual time: what
 * nat_probe's tests run it in. */
#ifndef KM_TEST_HOLEPUNCH_NAT_WORLD_H
#define KM_TEST_HOLEPUNCH_NAT_WORLD_H

#include "holepunch/nat_probe.h"

#define WORLD_MAX_SERVERS 20
#define WORLD_MAX_FLIGHTS 256
#define WORLD_MAX_MAPPINGS 256

typedef struct world_server {
  km_udp_addr addr;
  bool dead;
  bool discovers;      /* RFC 5780: origin and other are told, CHANGE-REQUEST is followed */
  bool mute_alternate; /* tells of it, and never answers from there */
  bool refuses;        /* tells of it, and refuses to answer from there: 420 */
  km_udp_addr other;
  km_udp_addr lie;     /* family not 0: says this instead of the truth */
  bool lies_to_second; /* to the second socket only */
  uint64_t delay_ns;   /* each way */
} world_server;

typedef enum world_kind {
  WORLD_EIM = KM_NAT_MAPPING_ENDPOINT_INDEPENDENT,
  WORLD_ADM = KM_NAT_MAPPING_ADDRESS_DEPENDENT,
  WORLD_APDM = KM_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT,
  WORLD_NO_NAT = KM_NAT_MAPPING_NONE
} world_kind;

typedef struct world_mapping {
  uint8_t socket;
  km_udp_addr to; /* of the first packet; what of it counts depends on the kind */
  km_udp_addr out;
  km_udp_addr sent[16]; /* whom the filter lets in */
  size_t sent_count;
} world_mapping;

typedef struct world_flight {
  km_ts at;
  uint8_t socket; /* where it arrives */
  km_udp_addr from;
  size_t len;
  uint8_t bytes[KM_STUN_MAX_LONG_ANSWER];
} world_flight;

typedef struct world {
  km_nat_probe *probe;
  km_ts now;
  km_udp_addr sockets[2];
  world_kind mapping;
  km_nat_filtering filtering; /* ENDPOINT_INDEPENDENT and NONE are the same */
  bool hairpin;
  int step;         /* between ports of mappings; 0: all over the place */
  unsigned lose;    /* every n-th packet is lost, 0: none */
  bool blocked;     /* nothing gets out */
  bool second_mute; /* there is no second socket */
  world_server servers[WORLD_MAX_SERVERS];
  size_t server_count;
  world_mapping mappings[WORLD_MAX_MAPPINGS];
  size_t mapping_count;
  world_flight flights[WORLD_MAX_FLIGHTS];
  size_t flight_count;
  uint16_t next_port;
  unsigned packets; /* sent by the probe */
} world;

km_udp_addr world_addr(const char *text);
/* Behind no NAT, in IPv4: sockets 10.0.0.2:4000 and :4001. */
void world_init(world *w, const km_env *env);
world_server *world_add(world *w, const char *addr);
/* A server of RFC 5780 with its four addresses; the first is returned. */
world_server *world_add_discovery(world *w, const char *ip1, uint16_t port1, const char *ip2,
                                  uint16_t port2);
/* Tells the probe of its sockets, and of all servers, or of the first `count`. */
void world_tell(world *w, size_t count);
/* Until the probe rests and nothing is in flight, or for `limit_ns`. Returns how long that took. */
uint64_t world_run(world *w, uint64_t limit_ns);
void world_free(world *w);

#endif /* KM_TEST_HOLEPUNCH_NAT_WORLD_H */
