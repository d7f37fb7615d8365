/* Asks the system for the default gateway. */
#ifndef KM_HOLEPUNCH_GATEWAY_IO_H
#define KM_HOLEPUNCH_GATEWAY_IO_H

#include "base/env.h"
#include "holepunch/gateway.h"

typedef struct km_gateway {
  km_udp_addr addr;  /* port 0; a link-local one has its scope */
  km_udp_addr local; /* our address towards it, port 0 */
} km_gateway;

/* Of a family, 4 or 6. 0; KM_ERR_NO_NETWORK: there is none; KM_ERR_UNSUPPORTED: this system does
 * not tell; KM_ERR_*. */
KM_NODISCARD int km_gateway_find(const km_env *env, uint8_t family, km_gateway *ret,
                                 km_errinfo *err);

#endif /* KM_HOLEPUNCH_GATEWAY_IO_H */
