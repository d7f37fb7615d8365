/* DNS over UDP and TCP (RFC 1035, 7766), answered by a zone. Loop thread only. */
#ifndef KM_DISCOVERY_SERVER_DNS_IO_H
#define KM_DISCOVERY_SERVER_DNS_IO_H

#include "base/io/loop_io.h"
#include "discovery/server/rate_limit.h"
#include "discovery/server/zone.h"

typedef struct km_dns_io km_dns_io;

typedef struct km_dns_io_config {
  const km_env *env;
  km_loop *loop;
  km_zone *zone;           /* outlives it */
  const km_udp_addr *bind; /* each for UDP and TCP; port 0 takes any, the same for both; [::] takes
                              IPv4 as well unless an IPv4 address is there too */
  size_t bind_count;
  uint32_t max_tcp;          /* connections at once */
  uint32_t max_tcp_per_addr; /* of one IPv4 address or IPv6 /56 */
  uint32_t tcp_idle_ms;
  /* Of questions by source; NULL: none. Over UDP, what exceeds it is dropped, but every second one
   * is answered with TC: real ones come by TCP then. There a connection waits for its turn. */
  km_rate_limit *limit, *tcp_limit;
} km_dns_io_config;

/* 0, KM_ERR_ADDR_IN_USE, KM_ERR_PERMISSION, KM_ERR_ADDR_NOT_AVAILABLE, KM_ERR_SYSTEM, KM_ERR_NOMEM
 *  */
KM_NODISCARD int km_dns_io_new(km_dns_io **ret, const km_dns_io_config *config, km_errinfo *err);
void km_dns_io_free(km_dns_io *d);
size_t km_dns_io_bound(const km_dns_io *d, km_udp_addr *ret, size_t cap);

typedef struct km_dns_io_stats {
  uint64_t udp_queries, tcp_queries;
  uint64_t tcp_connections, tcp_refused; /* since the beginning */
  uint64_t limited, tx_errors;
} km_dns_io_stats;
void km_dns_io_get_stats(const km_dns_io *d, km_dns_io_stats *ret);

#endif /* KM_DISCOVERY_SERVER_DNS_IO_H */
