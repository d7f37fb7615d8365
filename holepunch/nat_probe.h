/* Finds out, with STUN servers, as whom others see our sockets and what the NAT in between does.
 * Pure: time and packets are handed in, requests are pulled out.
 *
 * Three depths. A refresh asks one server of each family, and all when its answer is a new one or
 * none. Quick asks all: addresses, and the mapping behaviour if two of them answer or one can do
 * RFC 5780. Full then finds out the filtering, whether hairpins work and how far ports step, with a
 * second socket: the first one has sent to too many addresses already to tell what a filter lets
 * in.
 *
 *   of a family:  resting -> asking -> testing -> resting
 *
 * asking ends when every server answered or was given up, or a while after the first did; testing
 * (full, or a lone server of RFC 5780) when all its tests ended. */
#ifndef KM_HOLEPUNCH_NAT_PROBE_H
#define KM_HOLEPUNCH_NAT_PROBE_H

#include "base/env.h"
#include "holepunch/nat.h"
#include "holepunch/stun_client.h"

#define KM_NAT_MAX_SERVERS 16
#define KM_NAT_MAX_OWN 32
#define KM_NAT_MAX_REFLEXIVE 8
#define KM_NAT_FRESH (60 * KM_NS_PER_S) /* an older answer is no candidate any more */

/* The sockets that requests leave from. */
enum { KM_NAT_MAIN = 0, KM_NAT_SECOND = 1 };

typedef enum km_nat_depth { KM_NAT_REFRESH, KM_NAT_QUICK, KM_NAT_FULL } km_nat_depth;

/* What is known of a family. */
typedef struct km_nat_family {
  bool works;
  km_udp_addr mapped;
  km_nat_mapping mapping;
  km_nat_filtering filtering;
  km_net_answer hairpin;
  int16_t port_step;
} km_nat_family;

typedef struct km_nat_server {
  km_udp_addr addr, mapped; /* mapped: family 0 when it did not answer, or with nonsense */
  uint64_t rtt_ns;
} km_nat_server;

typedef struct km_nat_probe km_nat_probe;

KM_NODISCARD int km_nat_probe_new(km_nat_probe **ret, const km_env *env); /* which outlives it */
void km_nat_probe_del(km_nat_probe *p);

/* Addresses of the main sockets, ports included. Copied; what is too many is left out. */
void km_nat_probe_set_own(km_nat_probe *p, const km_udp_addr *own, size_t count);
/* Servers, at most KM_NAT_MAX_SERVERS. Copied. What is known from those that stay is kept. True:
 * they are others than before, and a run under way ended: start again. */
bool km_nat_probe_set_servers(km_nat_probe *p, const km_udp_addr *servers, size_t count);
/* The network is another one now: nothing that was known holds. */
void km_nat_probe_forget(km_nat_probe *p);

/* Begins, or deepens what runs. All is over after `patience_ns` without any answer; the
 * tests of a full run take up to two seconds more. */
void km_nat_probe_start(km_nat_probe *p, km_nat_depth depth, uint64_t patience_ns, km_ts now);
bool km_nat_probe_busy(const km_nat_probe *p);

/* After each call with a time, until false: what to send. */
bool km_nat_probe_pull(km_nat_probe *p, km_ts now, km_stun_out *ret);
/* True: the packet was an answer of ours, or our own request come back. */
bool km_nat_probe_receive(km_nat_probe *p, km_ts now, uint8_t socket, const km_udp_addr *from,
                          const uint8_t *data, size_t len);
km_ts km_nat_probe_deadline(const km_nat_probe *p);

/* Grows whenever reflexive addresses or what is in km_nat_info become others. */
uint32_t km_nat_probe_changes(const km_nat_probe *p);
/* Our addresses as servers saw them lately, without duplicates. */
size_t km_nat_probe_reflexive(const km_nat_probe *p, km_ts now, km_udp_addr *ret, size_t cap);
/* The time of the newest answer; 0: none. */
km_ts km_nat_probe_answered(const km_nat_probe *p);
void km_nat_probe_info(const km_nat_probe *p, km_nat_info *ret);
const km_nat_family *km_nat_probe_family(const km_nat_probe *p, uint8_t family); /* 4 or 6 */
size_t km_nat_probe_servers(const km_nat_probe *p, km_nat_server *ret, size_t cap);

#endif /* KM_HOLEPUNCH_NAT_PROBE_H */
