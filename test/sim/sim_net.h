/* Endpoints in virtual time: hole-punching cores, the NATs they sit behind, links that delay, lose,
 * reorder and repeat, and a relay. What a shell does around a core is done here in the plainest
 * way; whatever a core does is checked against the promises of punch.h as it happens. */
#ifndef KM_TEST_SIM_NET_H
#define KM_TEST_SIM_NET_H

#include "holepunch/punch.h"
#include "sim_nat.h"

#define SIM_MS(n) ((uint64_t)(n)*KM_NS_PER_MS)
#define SIM_S(n) ((uint64_t)(n)*KM_NS_PER_S)
#define SIM_MAX_PEERS 4
#define SIM_MAX_NATS 8
#define SIM_MAX_VIAS 320
#define SIM_MAX_OPEN 64
#define SIM_PINGS 8192 /* remembered, to check Pongs by */

typedef struct sim_link {
  uint64_t delay, jitter; /* one way */
  uint32_t loss, repeat;  /* permille */
} sim_link;

typedef struct sim_sent {
  uint8_t tx[KM_DISCO_TX_LEN];
  km_punch_way way;
} sim_sent;

typedef struct sim_peer {
  struct sim_net *net;
  size_t index;
  km_env env;
  long live;
  long fail_after; /* allocations; -1: none fails */
  uint64_t seed;
  km_punch *core;
  km_probe_budget budget;
  km_id id;
  bool wanted;

  km_udp_addr ip4, ip6; /* of its interface; port 0; family 0: none */
  uint16_t port;
  sim_nat *behind4, *behind6; /* NULL: the internet */
  bool loopback;              /* says that it is reached at 127.0.0.1, too */
  bool nat_unknown;           /* was not measured */
  km_nat_info nat;
  km_ts stun_at;

  bool via_used[SIM_MAX_VIAS];     /* 1 and up: extra sockets */
  km_punch_way open[SIM_MAX_OPEN]; /* as its core said */
  size_t open_count;
  km_ts open_at; /* since when there is one; KM_TS_NEVER: none */

  sim_sent sent[SIM_PINGS];
  size_t sent_count;
  km_punch_way proven[SIM_MAX_OPEN];
  size_t proven_count;
  double unproven_level; /* what a bucket of the promised size would hold */
  km_ts unproven_at;
  uint64_t sent_packets, sent_calls, deaths, opened;
  size_t spins; /* steps without time going by */
  km_ts spun_at;
} sim_peer;

typedef struct sim_event sim_event;

typedef struct sim_net {
  km_ts now;
  uint64_t first_seed, seed;
  sim_link direct, relay;
  bool relay_down;
  bool cut; /* nothing gets through directly */
  sim_peer *peers;
  size_t peer_count;
  sim_nat nats[SIM_MAX_NATS];
  size_t nat_count;
  sim_event **queue; /* a heap */
  size_t queued, queue_cap;
  uint64_t number;
  const uint8_t *choices; /* of a fuzzer; NULL: the seed decides */
  size_t choice_count;
  uint64_t trace; /* a hash over all that was sent: equal seeds give equal runs */
} sim_net;

void sim_net_init(sim_net *net, uint64_t seed);
void sim_net_clear(sim_net *net);
uint32_t sim_below(sim_net *net, uint32_t bound);
/* The same for what shapes a run: 0 when a fuzzer's bytes are used up. */
uint32_t sim_choose(sim_net *net, uint32_t bound);

/* The NATs of the field. What it is called, and how it behaves. */
typedef enum sim_kind {
  SIM_KIND_NONE,
  SIM_KIND_FIREWALL,
  SIM_KIND_FULL_CONE,
  SIM_KIND_ADDRESS,
  SIM_KIND_PORT,
  SIM_KIND_SYMMETRIC,
  SIM_KIND_SEQUENTIAL, /* symmetric, with ports that can be predicted */
  SIM_KIND_DOUBLE,     /* port-restricted behind port-restricted */
  SIM_KIND_BLOCKED,
  SIM_KIND_COUNT_
} sim_kind;

const char *sim_kind_name(sim_kind kind);
/* NULL for SIM_KIND_NONE. */
sim_nat *sim_net_kind(sim_net *net, sim_kind kind);
/* Whether two endpoints behind these can meet directly for sure, by RFC 4787 alone. */
bool sim_kinds_meet(sim_kind a, sim_kind b);

/* A NAT inside `parent` (NULL: the internet). */
sim_nat *sim_net_nat(sim_net *net, const sim_nat_config *config, sim_nat *parent);
/* An endpoint whose IPv4 interface is inside `behind`; it has no IPv6. */
sim_peer *sim_net_peer(sim_net *net, sim_nat *behind);
void sim_peer_give_ip6(sim_peer *peer, sim_nat *behind);
void sim_peer_move(sim_peer *peer, sim_nat *behind); /* another network, another address */
void sim_peer_restart(sim_peer *peer);
void sim_peer_want(sim_peer *peer, bool wanted);
void sim_peer_gather(sim_peer *peer); /* candidates: what STUN shows now */
void sim_peer_use(sim_peer *peer);    /* a connection uses the first open way */
void sim_peer_pull(sim_peer *peer);
/* A copy of what a third party sent, or of what the peer sent before, arrives as if from `src`. */
void sim_inject(sim_peer *to, km_via via, const km_udp_addr *src, const km_disco_message *msg);

void sim_net_run(sim_net *net, uint64_t span);
/* Until all peers have an open way; false: not within `span`. */
bool sim_net_run_to_open(sim_net *net, uint64_t span);

#endif /* KM_TEST_SIM_NET_H */
