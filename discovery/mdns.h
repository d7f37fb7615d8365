/* The multicast DNS node: asks, answers, announces, and keeps who is there (RFC 6762, RFC 6763, and
 * swarm-discovery's form of it, which iroh's nodes speak). Pure: packets and time go in, packets
 * and news come out. */
#ifndef KM_DISCOVERY_MDNS_H
#define KM_DISCOVERY_MDNS_H

#include <keymesh/discovery.h>

#include "base/env.h"

#define KM_MDNS_PORT 5353
#define KM_MDNS_SEND_MAX 1400    /* iroh's nodes read 1,472 bytes, and an IPv6 packet has to fit */
#define KM_MDNS_RECEIVE_MAX 9000 /* RFC 6762 section 17 */
#define KM_MDNS_LINKS_MAX 64
#define KM_MDNS_NETS_MAX 8
#define KM_MDNS_SERVICE "_irohv1._udp.local"

/* An address of an interface, and how many bits of it are the network's. */
typedef struct km_mdns_net {
  km_udp_addr addr;
  uint8_t bits;
} km_mdns_net;

/* One interface with one family of addresses. */
typedef struct km_mdns_link {
  uint32_t index; /* of the interface */
  uint8_t family;
  size_t net_count;
  km_mdns_net nets[KM_MDNS_NETS_MAX];
} km_mdns_link;

/* Called from within the functions below. */
typedef struct km_mdns_ops {
  /* Sends on a link; `to` NULL: to all who are on it. What fails is lost. */
  void (*send)(void *ctx, uint32_t index, uint8_t family, const km_udp_addr *to,
               const uint8_t *bytes, size_t len);
  /* A peer was heard. `changed`: it is new, or says something new. */
  void (*found)(void *ctx, const km_found *found, bool changed);
  void (*lost)(void *ctx, const km_id *id);
  /* Milliseconds since 1970, more than it ever said before for this key, whatever became of the
   * clock; NULL: as far as this object remembers. */
  uint64_t (*time_ms)(void *ctx, km_wall wall);
} km_mdns_ops;

typedef struct km_mdns_config {
  const km_env *env;              /* outlives it */
  const km_secret_key *key;       /* outlives it; NULL: it cannot publish */
  const km_mdns_options *options; /* read by km_mdns_new only */
  const km_mdns_ops *ops;         /* outlives it */
  void *ctx;
} km_mdns_config;

typedef struct km_mdns km_mdns;

/* 0, KM_ERR_INVALID, KM_ERR_LIMIT, KM_ERR_NOMEM */
KM_NODISCARD int km_mdns_new(km_mdns **ret, const km_mdns_config *config, km_ts now,
                             km_errinfo *err);
/* Says nothing any more: withdraw before. NULL does nothing. */
void km_mdns_free(km_mdns *m);

/* All links there are now; what comes beyond KM_MDNS_LINKS_MAX is left out. */
void km_mdns_set_links(km_mdns *m, const km_mdns_link *links, size_t count, km_ts now);

/* What is said of ourselves from now on; the same again changes nothing. NULL: withdraws it, with a
 * goodbye at once. Without a key, or with `no_publish`, nothing happens. */
void km_mdns_publish(km_mdns *m, const km_peer_info *info, km_ts now);
/* Something is to be said, and it was said on a link at least once. */
bool km_mdns_is_wanted(const km_mdns *m);
bool km_mdns_is_announced(const km_mdns *m);

/* Somebody waits for `id`: it is asked for until km_mdns_unwant. 0 or KM_ERR_NOMEM. */
KM_NODISCARD int km_mdns_want(km_mdns *m, const km_id *id, km_ts now);
void km_mdns_unwant(km_mdns *m, const km_id *id);
/* Somebody wants to know of all who come and go. */
void km_mdns_watch(km_mdns *m, bool on, km_ts now);

/* False: it is not known to be there. `ret` is valid until the next call. */
bool km_mdns_get(km_mdns *m, const km_id *id, km_ts now, km_found *ret);
/* All who are there, by ops->found as changed. */
void km_mdns_tell_all(km_mdns *m, km_ts now);

typedef struct km_mdns_arrival {
  uint32_t index; /* of the interface it came in by */
  km_udp_addr from;
  bool multicast; /* it was sent to all */
} km_mdns_arrival;

void km_mdns_receive(km_mdns *m, const km_mdns_arrival *arrival, const uint8_t *bytes, size_t len,
                     km_ts now, km_wall wall);
/* Does what is due. */
void km_mdns_step(km_mdns *m, km_ts now, km_wall wall);
/* When km_mdns_step is due next, KM_TS_NEVER: never. */
km_ts km_mdns_next(const km_mdns *m);

#endif /* KM_DISCOVERY_MDNS_H */
