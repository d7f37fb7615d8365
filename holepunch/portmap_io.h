/* Keeps one UDP port of ours mapped on the gateway: by PCP (RFC 6887), NAT-PMP (RFC 6886) or
 * UPnP-IGD, whichever the gateway speaks. Only ever talks to the default gateway, and by UPnP to a
 * private address. */
#ifndef KM_HOLEPUNCH_PORTMAP_IO_H
#define KM_HOLEPUNCH_PORTMAP_IO_H

#include "base/io/loop_io.h"
#include "holepunch/portmap_status.h"

typedef struct km_portmap km_portmap;

/* `fn` runs from the loop when the status changed, and may free it. Rests until it has a port. */
KM_NODISCARD int km_portmap_new(km_portmap **ret, const km_env *env, km_loop *loop,
                                void (*fn)(void *ctx, const km_portmap_status *), void *ctx);

typedef struct km_portmap_config {
  uint32_t lifetime_s; /* of a mapping, to ask for; 0: two hours */
  uint8_t allowed;     /* protocols, 1 << km_portmap_protocol each; 0: all */
} km_portmap_config;
KM_NODISCARD int km_portmap_new_with(km_portmap **ret, const km_env *env, km_loop *loop,
                                     const km_portmap_config *config,
                                     void (*fn)(void *ctx, const km_portmap_status *), void *ctx);
/* The port to keep mapped; 0: unmap, and rest. */
void km_portmap_set_port(km_portmap *p, uint16_t local_port);
/* The gateway may be another one: everything is asked for anew. */
void km_portmap_network_changed(km_portmap *p);
void km_portmap_get_status(const km_portmap *p, km_portmap_status *ret);
/* Asks the gateway to delete the mapping, at best effort and without blocking. */
void km_portmap_free(km_portmap *p);

#endif /* KM_HOLEPUNCH_PORTMAP_IO_H */
