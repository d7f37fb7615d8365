/* UPnP's Internet Gateway Device. Talking to it blocks (igd_io.h), so each job has a thread of its
 * own, and an end: nobody waits for it longer than KM_UPNP_LONGEST_NS. Its XML is read by
 * miniupnpc. */
#ifndef KM_HOLEPUNCH_PORTMAP_UPNP_IO_H
#define KM_HOLEPUNCH_PORTMAP_UPNP_IO_H

#include "base/io/loop_io.h"
#include "holepunch/gateway_io.h"
#include "holepunch/igd.h"

#define KM_UPNP_LONGEST_NS (30 * KM_NS_PER_S)
#define KM_UPNP_MAX_THREADS 4 /* of this process */

typedef enum km_upnp_what { KM_UPNP_FIND, KM_UPNP_MAP, KM_UPNP_UNMAP } km_upnp_what;

/* A gateway's service that maps ports. */
typedef struct km_upnp_igd {
  km_igd_url url; /* where it is controlled */
  char service[KM_IGD_SERVICE_CAP];
  km_udp_addr client; /* our address towards it */
} km_upnp_igd;

typedef struct km_upnp_request {
  km_upnp_what what;
  km_gateway gateway; /* to find: the first to be believed; family 0: not known */
  km_upnp_igd igd;    /* to map and unmap */
  uint16_t internal_port, external_port;
  uint32_t lifetime_s;
} km_upnp_request;

typedef struct km_upnp_result {
  char trouble[80];     /* empty: it worked */
  km_upnp_igd igd;      /* found */
  km_udp_addr external; /* mapped */
  uint32_t lifetime_s;  /* 0: for ever */
} km_upnp_result;

typedef struct km_upnp km_upnp;

bool km_upnp_is_built_in(void);
/* `fn` runs once, from the loop, and may free the job. 0 or KM_ERR_*. */
KM_NODISCARD int km_upnp_new(km_upnp **ret, const km_env *env, km_loop *loop,
                             const km_upnp_request *request,
                             void (*fn)(void *ctx, const km_upnp_result *result), void *ctx);
/* `fn` does not run any more. A mapping that is being made is deleted again. NULL does nothing. */
void km_upnp_free(km_upnp *job);
/* Deletes a mapping, with nobody waiting for it. */
void km_upnp_unmap(const km_upnp_request *request);

#endif /* KM_HOLEPUNCH_PORTMAP_UPNP_IO_H */
