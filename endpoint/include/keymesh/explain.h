/**
 * @file keymesh/explain.h
 * "Why am I not direct?" What was tried to get a direct path for one connection, what both networks
 * allow, the reason in plain words, and what a person can change.
 *
 * An explanation is a snapshot and its own memory: it may outlive its connection, and may be read
 * on any thread. km_conn_explain belongs to the thread of the endpoint.
 */
#ifndef KEYMESH_EXPLAIN_H
#define KEYMESH_EXPLAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <keymesh/conn.h>
#include <keymesh/net_report.h>

KM_BEGIN_DECLS

/** Why a connection is direct, or is not. */
typedef enum km_explain_reason {
  KM_EXPLAIN_CONNECTING,        /**< there is no connection yet */
  KM_EXPLAIN_DIRECT,            /**< it is direct */
  KM_EXPLAIN_TRYING,            /**< relayed; the search has just begun, or a path was just found */
  KM_EXPLAIN_POLICY,            /**< the policy of this side asks for no direct path */
  KM_EXPLAIN_RELAY_TROUBLE,     /**< nothing comes through at the moment, not by the relay either */
  KM_EXPLAIN_MOVE_REFUSED,      /**< a direct path is open; the peer forbids to move there */
  KM_EXPLAIN_MOVE_FAILED,       /**< a direct path is open for probes; QUIC's packets do not pass */
  KM_EXPLAIN_DIRECT_LOST,       /**< it was direct; that path died, and there is no other so far */
  KM_EXPLAIN_NOT_TRIED,         /**< the search could not begin: too many peers at once */
  KM_EXPLAIN_PEER_SILENT,       /**< the peer takes no part in hole punching */
  KM_EXPLAIN_PEER_HIDDEN,       /**< the peer takes part but tells no address */
  KM_EXPLAIN_UDP_BLOCKED_HERE,  /**< no STUN server answers this side, no ping gets anywhere */
  KM_EXPLAIN_UDP_BLOCKED_THERE, /**< the same of the peer's side */
  KM_EXPLAIN_SAME_NETWORK,      /**< both share a public address; their network keeps them apart */
  KM_EXPLAIN_BOTH_HARD,         /**< both NATs are hard */
  KM_EXPLAIN_HARD_AND_RESTRICTED, /**< one is hard, the other filters by port */
  KM_EXPLAIN_NO_ANSWER            /**< addresses were exchanged and pinged; none answered */
} km_explain_reason;

/** Where an address is from. Bits: one address may be found in several ways. */
enum {
  KM_SOURCE_INTERFACE = 1, /**< an interface of the machine */
  KM_SOURCE_STUN = 2,      /**< what a STUN server saw */
  KM_SOURCE_MAPPED = 4,    /**< a port mapping of the router */
  KM_SOURCE_SEEN = 8,      /**< what another peer saw */
  KM_SOURCE_GIVEN = 16,    /**< in the address that was dialled */
  KM_SOURCE_PING = 32,     /**< a ping came from there */
  KM_SOURCE_GUESSED = 64   /**< a port that a hard NAT was guessed to use */
};

/** A path of the connection or a candidate for one. */
typedef struct km_explain_path {
  km_path_info info;     /**< its relay_url lives as long as the explanation */
  uint32_t sources;      /**< KM_SOURCE_* bits; 0 for relays */
  uint64_t pings, pongs; /**< sent there, and their answers */
  km_udp_addr observed;  /**< our address as the peer sees it there; family 0: not known */
} km_explain_path;

/** An address of ours that peers are told. */
typedef struct km_explain_candidate {
  km_udp_addr addr;
  uint32_t sources; /**< KM_SOURCE_* bits */
} km_explain_candidate;

#define KM_EXPLAIN_MAX_CANDIDATES 32

/** What is known of the network of one side. */
typedef struct km_explain_side {
  bool known; /**< measured, or told by the peer; else the rest is zero */
  km_nat_mapping mapping4, mapping6;
  km_nat_filtering filtering4, filtering6;
  int16_t port_step;      /**< see km_net_family */
  km_nat_verdict verdict; /**< of IPv4, or of IPv6 when only that is known */
  km_explain_candidate candidates[KM_EXPLAIN_MAX_CANDIDATES]; /**< the addresses it tells */
  size_t candidate_count;
} km_explain_side;

/** What happened, in the time line. */
typedef enum km_explain_event_kind {
  KM_EXPLAIN_EVENT_CONNECTED,
  KM_EXPLAIN_EVENT_PATH,         /**< packets take another path */
  KM_EXPLAIN_EVENT_MOVE_TRIED,   /**< QUIC asks on another path whether its packets pass there */
  KM_EXPLAIN_EVENT_MOVE_REFUSED, /**< it may not ask */
  KM_EXPLAIN_EVENT_MOVE_FAILED,  /**< no answer to that */
  KM_EXPLAIN_EVENT_LOST,         /**< the path in use is silent or gone */
  KM_EXPLAIN_EVENT_REOPENED,     /**< packets go every known way, until one answers */
  KM_EXPLAIN_EVENT_POLICY,       /**< another policy */
  KM_EXPLAIN_EVENT_GAVE_UP,      /**< not direct in time, as the policy demands */
  KM_EXPLAIN_EVENT_SEARCH,       /**< the search for a direct path went on to another stage */
  KM_EXPLAIN_EVENT_OWN_ADDRESSES,
  KM_EXPLAIN_EVENT_CALL_SENT, /**< our addresses were told to the peer */
  KM_EXPLAIN_EVENT_CALL_CAME, /**< the peer told its addresses */
  KM_EXPLAIN_EVENT_CANDIDATE, /**< an address of the peer that was not known */
  KM_EXPLAIN_EVENT_PING_SENT, /**< the first of an attempt to that address */
  KM_EXPLAIN_EVENT_PING_CAME, /**< the first from that address */
  KM_EXPLAIN_EVENT_OPEN,      /**< a ping was answered: that way works in both directions */
  KM_EXPLAIN_EVENT_SUSPECT,
  KM_EXPLAIN_EVENT_DEAD,
  KM_EXPLAIN_EVENT_GUESSED, /**< ports were guessed */
  KM_EXPLAIN_EVENT_PUT_OFF, /**< pings had to wait: too many to unproven addresses at once */
  KM_EXPLAIN_EVENT_NETWORK, /**< the network of this machine changed */
  KM_EXPLAIN_EVENT_ASKED,   /**< discovery was asked where the peer is */
  KM_EXPLAIN_EVENT_FOUND    /**< a source of discovery told a way that was not known */
} km_explain_event_kind;

/** One entry of the time line. */
typedef struct km_explain_event {
  int64_t at_ms; /**< since the connection began (the dial, or its first packet); less than 0: found
                      by an earlier connection to the same peer */
  km_explain_event_kind kind;
  uint32_t times;   /**< the same again and again counts as one */
  km_udp_addr addr; /**< that it is about; family 0: none, or a relay */
  char text[256];   /**< a sentence for people */
} km_explain_event;

/** An explanation. Later versions append members: look at those only that `size` covers. */
typedef struct km_explanation {
  size_t size;
  km_explain_reason reason;
  char why[400];         /**< the reason, a sentence or two for people */
  char advice[600];      /**< what to change; "" when nothing needs to be */
  km_path_info path;     /**< in use; its relay_url lives as long as the explanation */
  km_path_policy policy; /**< never KM_POLICY_DEFAULT */
  bool connected;        /**< now */
  uint64_t age_ms;       /**< since the connection began */
  int64_t connected_ms;  /**< when it was connected, relayed for the first time, direct for the */
  int64_t relayed_ms, direct_ms; /**< first time, since it began; -1: never */
  km_explain_side here, there;
  const km_explain_path *paths; /**< the one in use first */
  size_t path_count;
  const km_explain_event *events; /**< in order; the oldest may be missing */
  size_t event_count;
  /** Of the search, by all connections to this peer. */
  uint64_t attempts, successes, pings_sent, pings_received, pongs_received, guesses, put_off;
  uint64_t time_to_direct_us;         /**< of the last success of the search; 0: none */
  uint64_t moves_tried, moves_failed; /**< of this connection, see KM_EXPLAIN_EVENT_MOVE_TRIED */
} km_explanation;

/**
 * Explains which path a connection uses and why. Valid from km_endpoint_dial or on_connected until
 * on_closed returned.
 *
 * @param[out] ret  free with km_explanation_free
 * @return 0, KM_ERR_INVALID or KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int km_conn_explain(const km_conn *conn, km_explanation **ret);
/** NULL does nothing. */
KM_EXPORT void km_explanation_free(km_explanation *explanation);

/** Names for machines: "direct", "both-hard", ... Static. */
KM_EXPORT const char *km_explain_reason_name(km_explain_reason reason);
/** Names for machines: "connected", "ping-sent", ... Static. */
KM_EXPORT const char *km_explain_event_name(km_explain_event_kind kind);
/** Writes "STUN, port mapping" for KM_SOURCE_* bits, NUL-terminated, cut to fit; "" for none.
 *  Returns `buf`. */
KM_EXPORT char *km_explain_sources(uint32_t sources, char *buf, size_t cap);

KM_END_DECLS

#endif /* KEYMESH_EXPLAIN_H */
