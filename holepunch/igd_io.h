/* The network part of UPnP: blocking, for a thread of its own, but never for longer than said and
 * never more bytes than bounded. miniupnpc's own knows neither: whoever answers it without an end
 * has its memory. */
#ifndef KM_HOLEPUNCH_IGD_IO_H
#define KM_HOLEPUNCH_IGD_IO_H

#include "base/env.h"
#include "holepunch/gateway_io.h"
#include "holepunch/igd.h"

#define KM_IGD_MAX_ANSWERS 8

typedef struct km_igd_answer {
  km_udp_addr from;
  char location[KM_IGD_URL_CAP];
} km_igd_answer;

/* Searches for so long, from `local` if that is known; how many different ones answered. Those of
 * `gateway` end it. */
size_t km_igd_discover(km_igd_answer ret[KM_IGD_MAX_ANSWERS], const km_gateway *gateway,
                       km_ts wait_ns);

/* A request and its answer of up to KM_IGD_MAX_HTTP bytes, which `ret` has room for. Its length; 0:
 * there was none in time. `ret_local` is the address of ours that was used. */
size_t km_igd_exchange(char *ret, const km_udp_addr *host, const char *request, size_t len,
                       km_ts wait_ns, km_udp_addr *ret_local);

#endif /* KM_HOLEPUNCH_IGD_IO_H */
