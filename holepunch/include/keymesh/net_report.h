/**
 * @file keymesh/net_report.h
 * What the network around an endpoint allows: UDP, the NAT in front of it, relays; and what a
 * person can do about it. km_endpoint_net_report (keymesh/endpoint.h) measures it.
 *
 * Plain values and pure functions; any thread.
 */
#ifndef KEYMESH_NET_REPORT_H
#define KEYMESH_NET_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <keymesh/addr.h>
#include <keymesh/error.h>
#include <keymesh/export.h>

KM_BEGIN_DECLS

/** How a NAT chooses the public address of a socket behind it (RFC 4787 section 4.1). */
typedef enum km_nat_mapping {
  KM_NAT_MAPPING_UNKNOWN = 0,          /**< not measured: it takes answers from two addresses */
  KM_NAT_MAPPING_NONE,                 /**< no NAT: the public address is our own */
  KM_NAT_MAPPING_ENDPOINT_INDEPENDENT, /**< one for all destinations */
  KM_NAT_MAPPING_ADDRESS_DEPENDENT,    /**< another for every destination address */
  KM_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT /**< another for every destination address and port;
                                                 also when only that it varies was seen */
} km_nat_mapping;

/** Whose packets a NAT or firewall lets in to a socket that sends (RFC 4787 section 5). */
typedef enum km_nat_filtering {
  KM_NAT_FILTERING_UNKNOWN = 0,               /**< not measured: it takes a server as of RFC 5780 */
  KM_NAT_FILTERING_NONE,                      /**< nothing is filtered, and there is no NAT */
  KM_NAT_FILTERING_ENDPOINT_INDEPENDENT,      /**< everybody's */
  KM_NAT_FILTERING_ADDRESS_DEPENDENT,         /**< those of addresses that were sent to, any port */
  KM_NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT /**< those of addresses and ports that were sent to */
} km_nat_filtering;

/** The whole in one word. */
typedef enum km_nat_verdict {
  KM_NAT_VERDICT_UNKNOWN = 0, /**< nothing could be measured */
  KM_NAT_VERDICT_OPEN,        /**< no NAT, no filter: everybody can reach us directly */
  KM_NAT_VERDICT_EASY,        /**< "easy NAT" or a firewall: direct connections work mostly */
  KM_NAT_VERDICT_HARD,        /**< "hard NAT": direct connections work with some only */
  KM_NAT_VERDICT_UDP_BLOCKED  /**< "UDP blocked": relays only */
} km_nat_verdict;

/** Yes, no, or not known. */
typedef enum km_net_answer { KM_NET_UNKNOWN = 0, KM_NET_NO, KM_NET_YES } km_net_answer;

/** UDP over IPv4, or over IPv6. */
typedef struct km_net_family {
  bool bound;              /**< the endpoint has a socket of this family */
  bool works;              /**< a STUN server answered */
  km_udp_addr public_addr; /**< what others see us as, from one server's view; family 0: unknown.
                                Behind NAT64 that of `udp6` is an IPv4 address */
  km_nat_mapping mapping;
  km_nat_filtering filtering;
  km_net_answer hairpin; /**< can two endpoints behind this NAT meet at its public address? */
  int16_t port_step;     /**< a NAT that maps every destination differently takes the port so much
                              further each time; 0: at random, or not known */
} km_net_family;

/** One of the endpoint's relays. */
typedef struct km_net_relay {
  char url[256];       /**< cut to fit, without its query (that may be a token) */
  uint64_t latency_us; /**< of a request over an open connection; 0 when it did not answer */
  bool home;           /**< it is the endpoint's home relay now */
  char error[192];     /**< why it did not answer; "" when it did */
} km_net_relay;

/** One STUN server that was asked. */
typedef struct km_net_stun {
  char name[256];      /**< as it was configured, cut to fit */
  km_udp_addr addr;    /**< the address asked; family 0: the name has none */
  uint64_t latency_us; /**< 0 when it did not answer */
  km_udp_addr mapped;  /**< what it sees us as; family 0: unknown */
} km_net_stun;

/** What a router offered for opening a port. */
typedef struct km_net_portmap {
  km_net_answer pcp, nat_pmp, upnp; /**< RFC 6887, RFC 6886, UPnP IGD */
  km_udp_addr external;             /**< a port that is open for us; family 0: none */
} km_net_portmap;

#define KM_NET_REPORT_MAX_RELAYS 8
#define KM_NET_REPORT_MAX_STUN 16
#define KM_NET_REPORT_MAX_ADVICE 8

/** A report. Later versions append members: look at those only that `size` covers. */
typedef struct km_net_report {
  size_t size; /**< of what was filled in */
  km_net_family udp4, udp6;
  km_net_portmap portmap;
  km_net_relay relays[KM_NET_REPORT_MAX_RELAYS]; /**< in the order of the options */
  size_t relay_count;
  km_net_stun stun[KM_NET_REPORT_MAX_STUN];
  size_t stun_count;
  km_net_answer captive_portal; /**< somebody answers in the place of the relays: log in first */
  km_nat_verdict verdict;       /**< of IPv4, or of IPv6 when only that works */
  char advice[KM_NET_REPORT_MAX_ADVICE][256]; /**< sentences for people, the important ones first */
  size_t advice_count;
} km_net_report;

/** Called once with the report, which is valid during the call. */
typedef void (*km_net_report_fn)(void *ctx, const km_net_report *report);

/** Names: "none", "endpoint-independent", "address-dependent", "address-and-port-dependent",
 *  "unknown". Static. */
KM_EXPORT const char *km_nat_mapping_name(km_nat_mapping mapping);
KM_EXPORT const char *km_nat_filtering_name(km_nat_filtering filtering);
/** Names: "open", "easy NAT", "hard NAT", "UDP blocked", "unknown". Static. */
KM_EXPORT const char *km_nat_verdict_name(km_nat_verdict verdict);
/** What a verdict means for direct connections, one sentence. Static. */
KM_EXPORT const char *km_nat_verdict_text(km_nat_verdict verdict);

/**
 * The verdict on a NAT of which mapping and filtering are known. UDP_BLOCKED is never its result.
 */
KM_EXPORT km_nat_verdict km_nat_verdict_of(km_nat_mapping mapping, km_nat_filtering filtering);

KM_END_DECLS

#endif /* KEYMESH_NET_REPORT_H */
