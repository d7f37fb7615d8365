/* The multicast DNS node as a source: look-ups end after ten seconds, or when the peer proved
 * itself. Pure; mdns_io.c has sockets and timers. */
#ifndef KM_DISCOVERY_MDNS_SOURCE_H
#define KM_DISCOVERY_MDNS_SOURCE_H

#include "discovery/mdns.h"

typedef struct km_mdns_source km_mdns_source;

typedef struct km_mdns_source_config {
  const km_env *env;              /* outlives it */
  const km_secret_key *key;       /* outlives it; NULL: none */
  const km_mdns_options *options; /* NULL: the defaults */
  void (*send)(void *ctx, uint32_t index, uint8_t family, const km_udp_addr *to,
               const uint8_t *bytes, size_t len);
  uint64_t (*time_ms)(void *ctx, km_wall wall); /* as in km_mdns_ops; NULL: none */
  void *ctx;
} km_mdns_source_config;

KM_NODISCARD int km_mdns_source_new(km_mdns_source **ret, const km_mdns_source_config *config,
                                    km_ts now, km_errinfo *err);
/* Queries are gone already. NULL does nothing. */
void km_mdns_source_free(km_mdns_source *s);

/* Who is told of those who come and go. */
void km_mdns_source_attach(km_mdns_source *s, km_source *source);
km_mdns *km_mdns_source_node(km_mdns_source *s);

/* As in km_source_ops. */
void km_mdns_source_resolve(km_mdns_source *s, km_query *query, const km_id *id, km_ts now);
void km_mdns_source_cancel(km_mdns_source *s, km_query *query);
void km_mdns_source_watch(km_mdns_source *s, bool on, km_ts now);
int km_mdns_source_publish_state(const km_mdns_source *s, size_t index, km_publish_state *ret);

/* Does what is due; when it is due next. */
void km_mdns_source_step(km_mdns_source *s, km_ts now, km_wall wall);
km_ts km_mdns_source_next(const km_mdns_source *s);

#endif /* KM_DISCOVERY_MDNS_SOURCE_H */
