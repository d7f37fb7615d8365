/* Why a connection is not direct: from what is known to a reason, and to words. Pure. */
#ifndef KM_ENDPOINT_EXPLAIN_RULES_H
#define KM_ENDPOINT_EXPLAIN_RULES_H

#include <keymesh/explain.h>

#include "holepunch/nat.h"
#include "holepunch/portmap_status.h"
#include "holepunch/punch.h"

typedef struct km_explain_facts {
  bool connected, is_client;
  km_path_kind path;     /* in use */
  const char *path_text; /* "192.0.2.1:4433", or a relay's url */
  uint64_t rtt_us;
  km_path_policy policy;
  bool silent;               /* packets go every way, and none answers */
  const char *relay_trouble; /* why the relay cannot be used; NULL: it can */
  bool was_direct;
  uint64_t lost_after_ms; /* was_direct: the direct path died so long after the connection began */
  bool gave_up;           /* not direct in time, as the policy demands */
  uint32_t moves_refused, moves_failed; /* since the last change of path */

  bool searches; /* there is a punch core */
  km_punch_state state;
  uint64_t attempts, guesses;
  size_t ways_open, ways_pinged;
  bool ping_came;      /* from the peer, directly */
  const char *open_at; /* the address of an open way; "" for none */

  km_nat_info own_nat, peer_nat;
  size_t own_addresses, peer_addresses; /* that each tells the other */
  bool own_public, peer_public;         /* one of them is not only an interface's */
  bool same_public;                     /* both have the same public IP address */
  bool peer_spoke;                      /* it sent a Call-me-maybe */
  size_t given;                         /* direct addresses that were dialled */
  bool stun_asked, stun_answered;

  bool port_mapping;      /* wanted */
  bool mapping_asked;     /* the router was; `mapping` is valid */
  bool mapping_is_public; /* others can send to mapping.external */
  km_portmap_status mapping;
  uint16_t own_port; /* of the socket; 0: none */
} km_explain_facts;

km_explain_reason km_explain_decide(const km_explain_facts *facts);
/* Fill `why` and `advice` of `ret`. */
void km_explain_words(km_explain_reason reason, const km_explain_facts *facts, km_explanation *ret);

#endif /* KM_ENDPOINT_EXPLAIN_RULES_H */
