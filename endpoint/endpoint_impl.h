/* The inside of a km_endpoint. Included by endpoint/ only. */
#ifndef KM_ENDPOINT_ENDPOINT_IMPL_H
#define KM_ENDPOINT_ENDPOINT_IMPL_H

#include <keymesh/endpoint.h>

#include "base/env.h"
#include "base/io/loop_io.h"
#include "base/addr_counter.h"
#include "endpoint/cid_table.h"
#include "base/list.h"
#include "endpoint/send_queue.h"
#include "endpoint/session_cache.h"
#include "endpoint/ticket_guard.h"
#include "base/timer_heap.h"
#include "magicsock/magicsock.h"
#include "magicsock/netmon.h"
#include "magicsock/remote.h"

#define KM_ENDPOINT_MAX_PROTOCOLS 64
#define KM_ENDPOINT_TX_BYTES 65536       /* one batch of packets */
#define KM_ENDPOINT_MAX_TOMBSTONES 16384 /* closed connections that still answer */

/* An accepted ALPN. */
typedef struct km_protocol_entry {
  char *alpn;
  size_t alpn_len;
  km_conn_callbacks conn;
  void *ctx;
} km_protocol_entry;

#define KM_STATELESS_PERIOD_NS (100 * KM_NS_PER_MS)
#define KM_STATELESS_PER_PERIOD 1000u /* of each kind */

/* Answers that leave no state. Each kind has a budget of its own: a flood that is answered with one
 * of them must not keep another, above all Retry, from those who need it. */
typedef enum km_stateless_kind {
  KM_STATELESS_RETRY,
  KM_STATELESS_REFUSAL,
  KM_STATELESS_RESET,
  KM_STATELESS_VERSION,
  KM_STATELESS_KINDS
} km_stateless_kind;

/* A budget of packets that strangers can make us send, refilled over time. */
typedef struct km_packet_budget {
  uint32_t left;
  km_ts refilled;
} km_packet_budget;

typedef enum km_endpoint_state {
  KM_ENDPOINT_OPEN,
  KM_ENDPOINT_CLOSING, /* connections are being closed, tombstones still answer */
  KM_ENDPOINT_CLOSED   /* on_closed is about to run */
} km_endpoint_state;

typedef struct km_quic_tls km_quic_tls; /* endpoint/quic_tls.h */

struct km_endpoint {
  km_env env;
  km_endpoint_state state;
  km_loop *loop;
  km_secret_key *key;
  km_id id;
  km_endpoint_options opt; /* numbers and callbacks; its pointers are cleared or owned copies */

  km_protocol_entry protocols[KM_ENDPOINT_MAX_PROTOCOLS]; /* in the order of their adding */
  size_t protocol_count;

  km_magicsock *ms;
  km_remotes *remotes;
  struct km_net_measure *measure; /* net_report.c; NULL: none is under way */
  km_netmon *netmon;              /* NULL: not wanted, or the system has none */
  km_deadline *deadline;
  km_defer *defer;
  km_timer_heap timers;
  size_t timer_nodes; /* nodes that room is reserved for */
  bool in_flush;
  bool publish_due; /* where we can be reached may have changed */

  km_cid_table cids;
  km_cid_table reset_tokens; /* of peers, by which their stateless resets are known */
  /* Handshakes under way by source. Those that proved their address are counted apart: whoever
   * forges an address can fill its share of the first, never of the second. */
  km_addr_counter unproven_by_addr, proven_by_addr;
  km_send_pool send_pool;
  km_session_cache *sessions;
  km_ticket_guard *tickets;
  km_quic_tls *tls;
  uint8_t token_secret[32]; /* Retry and NEW_TOKEN; random */
  uint8_t reset_secret[32]; /* derived from the key, so that a restarted endpoint can reset */
  km_packet_budget stateless_budgets[KM_STATELESS_KINDS];

  km_list conns;   /* all, by km_conn.all */
  km_list dirty;   /* those with something to do at the end of the turn */
  km_list blocked; /* those that wait for a socket to drain */
  km_list tombstones;
  size_t conn_count, established_count, half_open_count;
  size_t half_open_relayed; /* of them, through relays */
  size_t tombstone_count;

  uint8_t *tx_buf;
  km_endpoint_stats stats;
};

struct km_conn;

/* net_report.c */
void km_endpoint_cancel_net_report(km_endpoint *ep);
/* network.c */
KM_NODISCARD int km_endpoint_open_remotes(km_endpoint *ep, const char *const *relay_urls,
                                          size_t count, km_errinfo *err);
void km_endpoint_close_remotes(km_endpoint *ep);
/* relays.c */
/* Opens the magicsock with the relays of the options. */
KM_NODISCARD int km_endpoint_open_magicsock(km_endpoint *ep, km_magicsock_config *config,
                                            km_errinfo *err);

/* Arms the flush at the end of the turn. */
void km_endpoint_schedule(km_endpoint *ep);
/* Writes what dirty connections have to send, finishes closes, re-arms the timer. */
void km_endpoint_flush(km_endpoint *ep);
/* Sets a node's deadline in the heap and the loop timer with it. */
void km_endpoint_set_timer(km_endpoint *ep, km_timer_node *node, km_ts at);
/* Room for the timer of one more connection or tombstone. */
KM_NODISCARD int km_endpoint_reserve_timer(km_endpoint *ep);
void km_endpoint_release_timer(km_endpoint *ep, km_timer_node *node);
/* Takes one packet out of the budget for answers of that kind; false when it is used up. */
bool km_endpoint_spend_stateless(km_endpoint *ep, km_stateless_kind kind);

/* What budgets of a source are counted by: its address, or who it is behind a relay. */
km_udp_addr km_endpoint_source(const km_path_key *from);

static inline km_ts km_endpoint_now(const km_endpoint *ep) {
  return km_loop_now(ep->loop);
}

#define EP_LOG(ep, level, component, peer, path, event, ...)                                       \
  KM_LOG(&(ep)->env.logger, level, component, peer, path, event, __VA_ARGS__)

#endif /* KM_ENDPOINT_ENDPOINT_IMPL_H */
