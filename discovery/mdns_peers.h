/* Who is on the local network: a bounded table of peers with what they last said. Pure. */
#ifndef KM_DISCOVERY_MDNS_PEERS_H
#define KM_DISCOVERY_MDNS_PEERS_H

#include <keymesh/discovery.h>

#include "base/list.h"
#include "discovery/mdns_sign.h"

#define KM_MDNS_PEERS_MAX 4096
#define KM_MDNS_PEERS_PER_SOURCE 256
#define KM_MDNS_PEER_BUCKETS 1024

typedef struct km_mdns_peer {
  km_list used; /* in km_mdns_peers.used, the one heard longest ago first */
  struct km_mdns_peer *next;
  km_id id;
  bool live; /* false: only what must not be forgotten of it, the time of its signature */
  bool proven;
  bool leaving;       /* it said goodbye, it seems */
  bool left;          /* it did, and what it said before is over */
  bool asking;        /* the next question is for it too */
  km_udp_addr source; /* who said it; port 0 */
  uint64_t time_ms;   /* of the last signature that was right; 0: none */
  uint8_t digest[KM_MDNS_DIGEST_BYTES];
  km_ts since;    /* when that signature was heard first */
  uint32_t ttl_s; /* 0: as iroh's nodes send it, no promise */
  km_ts heard, expires;
  unsigned asks;    /* how many times, since it was heard */
  km_ts ask_at;     /* when it is asked whether it is still there */
  km_ts sure_until; /* it was asked after a goodbye and was there: another one is no news */
  km_ts deaf_until; /* it said goodbye: what still comes of it before that is of no concern */
  km_addr *addr;
  char *user_data; /* NULL: none */
} km_mdns_peer;

typedef struct km_mdns_peers {
  const km_env *env;
  km_list used;
  size_t count, live, silent; /* silent: live ones with ttl_s 0 */
  uint64_t salt;
  km_mdns_peer *buckets[KM_MDNS_PEER_BUCKETS];
} km_mdns_peers;

void km_mdns_peers_init(km_mdns_peers *p, const km_env *env);
void km_mdns_peers_clear(km_mdns_peers *p);

km_mdns_peer *km_mdns_peers_find(km_mdns_peers *p, const km_id *id);
/* Who stays whatever comes, and who is told of a live one that had to make room. */
typedef struct km_mdns_peers_rules {
  bool (*is_kept)(void *ctx, const km_id *id);
  void (*lost)(void *ctx, const km_mdns_peer *peer);
  void *ctx;
} km_mdns_peers_rules;

/* Finds or adds one, not live. Where `source` speaks for too many, or the table is full, the one
 * heard longest ago makes room: of those that are gone, else of those that are not proven, else,
 * for one that is `proven` or kept itself, of all. NULL: nobody makes room, or no memory. */
km_mdns_peer *km_mdns_peers_get(km_mdns_peers *p, const km_id *id, const km_udp_addr *source,
                                bool proven, const km_mdns_peers_rules *rules);
/* Takes over what it says. `changed`: something of it is new. 0, or KM_ERR_NOMEM or
 * KM_ERR_NO_ADDRESS (nothing that can be dialled): the peer is as it was. */
KM_NODISCARD int km_mdns_peers_update(km_mdns_peers *p, km_mdns_peer *peer,
                                      const km_mdns_details *d, bool same_host, bool *changed);
/* Now heard of, with this TTL. */
void km_mdns_peers_heard(km_mdns_peers *p, km_mdns_peer *peer, uint32_t ttl_s, km_ts now);
/* No longer live; it stays in the table if it must not be forgotten, else `peer` is freed. */
void km_mdns_peers_gone(km_mdns_peers *p, km_mdns_peer *peer);

/* What an address is good for. */
typedef enum km_mdns_addr_kind {
  KM_MDNS_ADDR_NONE,
  KM_MDNS_ADDR_LINK_LOCAL,
  KM_MDNS_ADDR_LOOPBACK,
  KM_MDNS_ADDR_ANY
} km_mdns_addr_kind;

km_mdns_addr_kind km_mdns_kind_of(const km_udp_addr *addr);

/* As a source reports it. */
void km_mdns_peer_found(const km_mdns_peer *peer, km_ts now, km_found *ret);

#endif /* KM_DISCOVERY_MDNS_PEERS_H */
