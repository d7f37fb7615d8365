/* Names and verdicts of a net report, and the advice that goes with it. */
#include "holepunch/net_report.h"

#include <stdio.h>
#include <string.h>

#include "holepunch/nat_rules.h"

const char *km_nat_mapping_name(km_nat_mapping mapping) {
  switch (mapping) {
  case KM_NAT_MAPPING_NONE:
    return "none";
  case KM_NAT_MAPPING_ENDPOINT_INDEPENDENT:
    return "endpoint-independent";
  case KM_NAT_MAPPING_ADDRESS_DEPENDENT:
    return "address-dependent";
  case KM_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT:
    return "address-and-port-dependent";
  case KM_NAT_MAPPING_UNKNOWN:
    break;
  }
  return "unknown";
}

const char *km_nat_filtering_name(km_nat_filtering filtering) {
  switch (filtering) {
  case KM_NAT_FILTERING_NONE:
    return "none";
  case KM_NAT_FILTERING_ENDPOINT_INDEPENDENT:
    return "endpoint-independent";
  case KM_NAT_FILTERING_ADDRESS_DEPENDENT:
    return "address-dependent";
  case KM_NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT:
    return "address-and-port-dependent";
  case KM_NAT_FILTERING_UNKNOWN:
    break;
  }
  return "unknown";
}

const char *km_nat_verdict_name(km_nat_verdict verdict) {
  switch (verdict) {
  case KM_NAT_VERDICT_OPEN:
    return "open";
  case KM_NAT_VERDICT_EASY:
    return "easy NAT";
  case KM_NAT_VERDICT_HARD:
    return "hard NAT";
  case KM_NAT_VERDICT_UDP_BLOCKED:
    return "UDP blocked";
  case KM_NAT_VERDICT_UNKNOWN:
    break;
  }
  return "unknown";
}

const char *km_nat_verdict_text(km_nat_verdict verdict) {
  switch (verdict) {
  case KM_NAT_VERDICT_OPEN:
    return "nothing is in the way: everybody can connect directly";
  case KM_NAT_VERDICT_EASY:
    return "direct connections work with almost everybody";
  case KM_NAT_VERDICT_HARD:
    return "direct connections work with some peers, those with an open or easy network; others "
           "go through a relay";
  case KM_NAT_VERDICT_UDP_BLOCKED:
    return "no direct connections from here: everything goes through a relay, which is slower";
  case KM_NAT_VERDICT_UNKNOWN:
    break;
  }
  return "this could not be found out";
}

/* A NAT that says EASY of itself may turn out worse when both mapping and filtering are known; not
 * knowing the filter, the common one is supposed. */
km_nat_verdict km_nat_verdict_of(km_nat_mapping mapping, km_nat_filtering filtering) {
  switch (mapping) {
  case KM_NAT_MAPPING_NONE:
    return filtering == KM_NAT_FILTERING_NONE ? KM_NAT_VERDICT_OPEN : KM_NAT_VERDICT_EASY;
  case KM_NAT_MAPPING_ENDPOINT_INDEPENDENT:
    return KM_NAT_VERDICT_EASY;
  case KM_NAT_MAPPING_ADDRESS_DEPENDENT:
  case KM_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT:
    return KM_NAT_VERDICT_HARD;
  case KM_NAT_MAPPING_UNKNOWN:
    break;
  }
  return KM_NAT_VERDICT_UNKNOWN;
}

/* --- conclusions ------------------------------------------------------------------------------ */

static bool relay_works(const km_net_report *r) {
  for (size_t i = 0; i < r->relay_count; i++) {
    if (r->relays[i].error[0] == '\0') {
      return true;
    }
  }
  return false;
}

static bool stun_was_asked(const km_net_report *r) {
  for (size_t i = 0; i < r->stun_count; i++) {
    if (r->stun[i].addr.family != 0) {
      return true;
    }
  }
  return false;
}

/* Silence is UDP's fault only if something else works. Without a relay to compare with, it is what
 * one has to suppose. */
static bool udp_is_blocked(const km_net_report *r) {
  return !r->udp4.works && !r->udp6.works && stun_was_asked(r) &&
         (r->relay_count == 0 || relay_works(r));
}

static void advise(km_net_report *r, const char *sentence) {
  if (r->advice_count < KM_NET_REPORT_MAX_ADVICE) {
    (void)snprintf(r->advice[r->advice_count], sizeof r->advice[0], "%s", sentence);
    r->advice_count++;
  }
}

static void advise_on_failure(km_net_report *r) {
  if (r->captive_portal == KM_NET_YES) {
    advise(r, "This network wants you to log in first: open a web page in a browser, log in there, "
              "then try again.");
  } else if (r->relay_count > 0 && !relay_works(r) && !r->udp4.works && !r->udp6.works) {
    advise(r, "Nothing answers, neither relays nor STUN servers: check that this machine is online "
              "at all, and that the addresses of the relays are right.");
  }
  if (r->relay_count == 0 && r->stun_count == 0) {
    advise(r, "No relay and no STUN server is known: name one, as with --relay URL or "
              "--stun HOST, so that there is somebody to ask.");
  } else if (r->stun_count > 0 && !stun_was_asked(r)) {
    advise(r, "None of the servers' names could be looked up, or none has an address of a kind "
              "that this endpoint has a socket for: check the names, and the name server (DNS) "
              "of this machine.");
  }
}

static void advise_on_blocked(km_net_report *r) {
  if (r->relay_count > 0) {
    advise(r, "UDP does not get through: ask whoever runs this network to let UDP out to any port "
              "(or at least to port 3478), or try another network, such as a phone's.");
    advise(r, "Not every relay has a STUN server beside it (km-relay has): to be sure that it is "
              "UDP that fails, name one that has, as with --stun HOST.");
  } else {
    advise(r, "No STUN server answered: either UDP is blocked on this network, or the servers are "
              "not there. Name a relay too (--relay URL), to tell one from the other.");
  }
}

/* The router's outside is not what the internet sees: another NAT is in front of it. */
static bool two_nats(const km_net_report *r) {
  const km_udp_addr *outside = &r->portmap.external, *seen = &r->udp4.public_addr;
  return outside->family == 4 &&
         (km_nat_is_private(outside) ||
          (seen->family == 4 && memcmp(outside->ip, seen->ip, sizeof seen->ip) != 0));
}

static void advise_on_hard(km_net_report *r) {
  if (r->portmap.external.family == 0 || two_nats(r)) {
    advise(r, "The router gives every connection another port. Turn on UPnP, NAT-PMP or PCP in it, "
              "or forward a UDP port to this machine and bind that (--bind 0.0.0.0:PORT).");
  }
  if (!r->udp6.works) {
    advise(r, "IPv6 has no such trouble: if your provider offers it, turn it on in the router.");
  }
}

static void advise_more(km_net_report *r) {
  bool needed = r->verdict == KM_NAT_VERDICT_HARD || r->verdict == KM_NAT_VERDICT_UNKNOWN;
  if (needed && r->portmap.external.family != 0 && !two_nats(r)) {
    advise(r, "The router opened a port for this endpoint, which makes up for what its NAT may do: "
              "peers can connect to it.");
  }
  const km_net_family *six = &r->udp6;
  if (r->verdict == KM_NAT_VERDICT_UNKNOWN && (r->udp4.works || six->works)) {
    advise(r, "UDP works, but only one STUN server answered: name a second one, at another "
              "address, and the kind of NAT can be told.");
  }
  if (r->verdict == KM_NAT_VERDICT_HARD && six->works &&
      km_nat_verdict_of(six->mapping, six->filtering) != KM_NAT_VERDICT_HARD) {
    advise(r, "IPv6 works here: with peers that have it too, direct connections do as well.");
  }
  if (two_nats(r)) {
    advise(r, "There is a second NAT in front of the router (the provider's, CGNAT, or another "
              "router): the port that the router opened helps only peers behind that one.");
  }
  for (size_t i = 0; i < r->relay_count; i++) {
    if (r->relays[i].error[0] != '\0' && relay_works(r)) {
      advise(r, "Not every relay answers; the others do, so that this is no harm now.");
      return;
    }
  }
}

static km_nat_verdict verdict_of(const km_net_report *r) {
  if (udp_is_blocked(r)) {
    return KM_NAT_VERDICT_UDP_BLOCKED;
  }
  const km_net_family *f = r->udp4.works ? &r->udp4 : &r->udp6;
  return f->works ? km_nat_verdict_of(f->mapping, f->filtering) : KM_NAT_VERDICT_UNKNOWN;
}

void km_net_report_conclude(km_net_report *r) {
  r->verdict = verdict_of(r);
  r->advice_count = 0;
  advise_on_failure(r);
  if (r->verdict == KM_NAT_VERDICT_UDP_BLOCKED && r->captive_portal != KM_NET_YES) {
    advise_on_blocked(r);
  } else if (r->verdict == KM_NAT_VERDICT_HARD) {
    advise_on_hard(r);
  }
  advise_more(r);
}
