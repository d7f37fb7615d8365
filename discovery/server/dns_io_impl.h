/* What the two halves of the DNS server share: datagrams and connections. */
#ifndef KM_DISCOVERY_SERVER_DNS_IO_IMPL_H
#define KM_DISCOVERY_SERVER_DNS_IO_IMPL_H

#include "base/addr_counter.h"
#include "base/list.h"
#include "discovery/server/dns_io.h"
#include "discovery/server/dns_reply.h"

#define KM_DNS_UDP_BATCH 64
#define KM_DNS_UDP_QUERY_MAX 2048 /* longer datagrams are no questions */
#define KM_DNS_TCP_QUERY_MAX 4096
#define KM_DNS_TCP_GATHER 16384 /* bytes of answers that go out together */

typedef struct km_dns_socket {
  km_dns_io *io;
  km_poll *poll;
  int fd; /* -1: not open */
  bool v6, wildcard;
  km_udp_addr bound;
} km_dns_socket;

typedef struct km_dns_udp_pool km_dns_udp_pool;

struct km_dns_io {
  const km_env *env;
  km_loop *loop;
  km_zone *zone;
  km_rate_limit *limit, *tcp_limit;
  uint32_t max_tcp, max_tcp_per_addr;
  uint64_t tcp_idle_ns;

  km_dns_socket *udp, *tcp; /* one of each an address; in the second half those of IPv4 that go */
  size_t count, bind_count; /* with an [::] in the first, or none */
  km_dns_udp_pool *pool;
  unsigned slip; /* of limited questions: which one gets an answer */

  km_list conns; /* of km_dns_conn, the one quiet for longest first */
  uint32_t conn_count;
  km_addr_counter per_addr;
  km_deadline *timer; /* idle connections, and when accepting may go on */
  km_ts accept_at;    /* KM_TS_NEVER: it goes on */
  km_list paused;     /* of km_dns_conn, whose source has had its share */
  km_ts resume_at;    /* KM_TS_NEVER: there are none */
  uint8_t *scratch;   /* answers with their lengths in front */
  km_dns_io_stats stats;
};

/* Opens, binds, and fills `ret`. Port 0 takes any. After a failure too it is km_dns_socket_close
 * that closes it. */
KM_NODISCARD int km_dns_socket_open(km_dns_io *io, km_dns_socket *ret, const km_udp_addr *bind,
                                    int type, km_errinfo *err);
KM_NODISCARD int km_dns_udp_open(km_dns_io *io, km_dns_socket *ret, const km_udp_addr *bind,
                                 km_errinfo *err);
KM_NODISCARD int km_dns_tcp_open(km_dns_io *io, km_dns_socket *ret, const km_udp_addr *bind,
                                 km_errinfo *err);
void km_dns_socket_close(km_dns_socket *s);

KM_NODISCARD int km_dns_udp_pool_new(km_dns_udp_pool **ret, const km_env *env);
void km_dns_udp_pool_free(const km_env *env, km_dns_udp_pool *pool);

void km_dns_tcp_on_timer(km_dns_io *io);
void km_dns_tcp_close_all(km_dns_io *io);

#endif /* KM_DISCOVERY_SERVER_DNS_IO_IMPL_H */
