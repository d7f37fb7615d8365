/* What follows from the answers of STUN servers about the NAT in between: RFC 5780 section 4, made
 * for any number of servers. Pure functions of values. */
#ifndef KM_HOLEPUNCH_NAT_RULES_H
#define KM_HOLEPUNCH_NAT_RULES_H

#include <keymesh/net_report.h>

/* One server's answer to one socket of ours. */
typedef struct km_nat_seen {
  km_udp_addr server, mapped;
  uint32_t order; /* when this server was first asked, counting up: the NAT mapped in that order */
} km_nat_seen;

/* False for answers that cannot be true: a port 0, an address that nobody can send to, loopback
 * from elsewhere, a private address as seen from the internet unless it is one of `own` (addresses
 * of this machine, whatever their ports). A server that lies beyond that gains a wrong candidate,
 * no more. */
bool km_nat_answer_plausible(const km_udp_addr *server, const km_udp_addr *mapped,
                             const km_udp_addr *own, size_t own_count);
/* Whether OTHER-ADDRESS may be asked: it differs in address and port, and a public server does not
 * send us into our own network. */
bool km_nat_other_plausible(const km_udp_addr *server, const km_udp_addr *other);

/* An address that is nobody's on the internet: private, or between a carrier and its homes. */
bool km_nat_is_private(const km_udp_addr *addr);

/* From answers of about the same time; `own`: the addresses of the socket. */
km_nat_mapping km_nat_mapping_of(const km_nat_seen *seen, size_t count, const km_udp_addr *own,
                                 size_t own_count);
/* How far the port goes from one mapping to the next, when that is small and the same at least
 * twice, or seen only once; else 0. */
int16_t km_nat_port_step_of(const km_nat_seen *seen, size_t count);

/* What came of the two tests of RFC 5780 section 4.4. */
typedef struct km_nat_filter_tests {
  bool from_both; /* something came from another address and port */
  bool from_port; /* something came from another port */
} km_nat_filter_tests;
km_nat_filtering km_nat_filtering_of(km_nat_mapping mapping, const km_nat_filter_tests *tests);

#endif /* KM_HOLEPUNCH_NAT_RULES_H */
