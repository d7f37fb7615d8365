#include "sim_net.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXTRA_PORT 20000 /* of the first extra socket */
#define STUN_EVERY SIM_S(20)
#define STUN_TAKES SIM_MS(30)

struct sim_event {
  km_ts at;
  uint64_t number;
  bool relayed;
  sim_peer *to;     /* relayed */
  sim_nat *segment; /* where the packet is, on its way down */
  km_udp_addr src, dst;
  km_disco_message msg;
};

#define CHECK(peer, condition)                                                                     \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      fail(peer, #condition, __LINE__);                                                            \
    }                                                                                              \
  } while (0)

static void fail(const sim_peer *peer, const char *what, int line) {
  (void)fprintf(stderr, "KM_SIM_SEED=%llu\nsim_net.c:%d: peer %zu at %.3f s: not so: %s\n",
                (unsigned long long)peer->net->first_seed, line, peer->index,
                (double)peer->net->now / 1e9, what);
  abort();
}

uint32_t sim_below(sim_net *net, uint32_t bound) {
  return (uint32_t)(sim_random(&net->seed) % bound);
}

uint32_t sim_choose(sim_net *net, uint32_t bound) {
  if (net->choices == NULL) {
    return sim_below(net, bound);
  }
  uint32_t value = 0;
  for (uint32_t reach = 1; reach < bound && net->choice_count > 0; reach *= 256) {
    value = value * 256 + *net->choices++;
    net->choice_count--;
  }
  return value % bound;
}

/* --- queue ------------------------------------------------------------------------------------ */

static bool before(const sim_event *a, const sim_event *b) {
  return a->at != b->at ? a->at < b->at : a->number < b->number;
}

static void push(sim_net *net, sim_event *e) {
  if (net->queued == net->queue_cap) {
    net->queue_cap = net->queue_cap == 0 ? 64 : 2 * net->queue_cap;
    net->queue = realloc(net->queue, net->queue_cap * sizeof *net->queue);
    assert(net->queue != NULL);
  }
  e->number = net->number++;
  size_t i = net->queued++;
  while (i > 0 && before(e, net->queue[(i - 1) / 2])) {
    net->queue[i] = net->queue[(i - 1) / 2];
    i = (i - 1) / 2;
  }
  net->queue[i] = e;
}

static sim_event *pop(sim_net *net) {
  sim_event *first = net->queue[0];
  sim_event *last = net->queue[--net->queued];
  size_t i = 0;
  for (;;) {
    size_t child = 2 * i + 1;
    if (child >= net->queued) {
      break;
    }
    child += child + 1 < net->queued && before(net->queue[child + 1], net->queue[child]);
    if (!before(net->queue[child], last)) {
      break;
    }
    net->queue[i] = net->queue[child];
    i = child;
  }
  net->queue[i] = last;
  return first;
}

/* --- packets ---------------------------------------------------------------------------------- */

static bool same_ip(const km_udp_addr *a, const km_udp_addr *b) {
  return a->family == b->family && memcmp(a->ip, b->ip, sizeof a->ip) == 0;
}

static bool has_ip(const sim_peer *peer, const km_udp_addr *addr, const sim_nat *segment) {
  return addr->family == 4 ? same_ip(&peer->ip4, addr) && peer->behind4 == segment
                           : same_ip(&peer->ip6, addr) && peer->behind6 == segment;
}

static sim_peer *host_of(sim_net *net, const km_udp_addr *addr, const sim_nat *segment) {
  for (size_t i = 0; i < net->peer_count; i++) {
    if (has_ip(&net->peers[i], addr, segment)) {
      return &net->peers[i];
    }
  }
  return NULL;
}

/* The NAT in `segment` that leads to `addr`. */
static sim_nat *nat_of(sim_net *net, const km_udp_addr *addr, const sim_nat *segment) {
  for (size_t i = 0; i < net->nat_count; i++) {
    sim_nat *nat = &net->nats[i];
    bool leads = nat->config.mapping == KM_NAT_MAPPING_NONE ? host_of(net, addr, nat) != NULL
                                                            : same_ip(&nat->ip, addr);
    if (nat->parent == segment && leads) {
      return nat;
    }
  }
  return NULL;
}

/* Up to the segment from which it only goes down. */
static bool climb(sim_net *net, sim_event *e) {
  while (host_of(net, &e->dst, e->segment) == NULL && nat_of(net, &e->dst, e->segment) == NULL) {
    sim_nat *nat = e->segment;
    if (nat == NULL || !sim_nat_out(nat, &e->src, &e->dst, net->now)) {
      return false;
    }
    if (nat->config.mapping != KM_NAT_MAPPING_NONE && same_ip(&nat->ip, &e->dst)) {
      return nat->config.hairpin && sim_nat_in(nat, &e->src, &e->dst, net->now);
    }
    e->segment = nat->parent;
  }
  return true;
}

static sim_peer *descend(sim_net *net, sim_event *e) {
  for (;;) {
    sim_peer *peer = host_of(net, &e->dst, e->segment);
    if (peer != NULL) {
      return peer;
    }
    sim_nat *nat = nat_of(net, &e->dst, e->segment);
    if (nat == NULL || !sim_nat_in(nat, &e->src, &e->dst, net->now)) {
      return NULL;
    }
    e->segment = nat;
  }
}

static void note(sim_net *net, const sim_event *e) {
  uint64_t mix = net->trace ^ e->at ^ ((uint64_t)e->src.port << 48) ^
                 ((uint64_t)e->dst.port << 32) ^ (uint64_t)e->msg.type;
  net->trace = sim_random(&mix);
}

static void carry(sim_net *net, const sim_event *e, const sim_link *link) {
  unsigned copies = 1 + (sim_below(net, 1000) < link->repeat);
  for (unsigned i = 0; i < copies; i++) {
    uint64_t jitter = link->jitter > 0 ? sim_random(&net->seed) % link->jitter : 0;
    if (sim_below(net, 1000) < link->loss) {
      continue;
    }
    sim_event *copy = malloc(sizeof *copy);
    assert(copy != NULL);
    *copy = *e;
    copy->at = net->now + link->delay + jitter;
    note(net, copy);
    push(net, copy);
  }
}

static void send_direct(sim_peer *peer, const km_punch_way *way, const km_disco_message *msg) {
  sim_net *net = peer->net;
  bool ip4 = way->addr.family == 4;
  sim_event e = {.src = ip4 ? peer->ip4 : peer->ip6,
                 .dst = way->addr,
                 .segment = ip4 ? peer->behind4 : peer->behind6,
                 .msg = *msg};
  if (e.src.family == 0) {
    return; /* it has no such address */
  }
  e.src.port = way->via == 0 ? peer->port : (uint16_t)(EXTRA_PORT + way->via);
  peer->sent_packets++;
  if (!net->cut && climb(net, &e)) {
    carry(net, &e, &net->direct);
  }
}

static void send_relayed(sim_peer *peer, const km_disco_message *msg) {
  sim_net *net = peer->net;
  peer->sent_packets++;
  for (size_t i = 0; i < net->peer_count; i++) {
    sim_event e = {.relayed = true, .to = &net->peers[i], .msg = *msg};
    if (i != peer->index && i / 2 == peer->index / 2 && !net->relay_down) {
      carry(net, &e, &net->relay);
    }
  }
}

/* --- what a core does, against what it promised ----------------------------------------------- */

static size_t index_of(const km_punch_way *ways, size_t count, const km_punch_way *way) {
  size_t i = 0;
  while (i < count && !(ways[i].via == way->via && km_udp_addr_equal(&ways[i].addr, &way->addr))) {
    i++;
  }
  return i;
}

static void remember_ping(sim_peer *peer, const km_punch_out *out) {
  sim_sent *sent = &peer->sent[peer->sent_count++ % SIM_PINGS];
  memcpy(sent->tx, out->msg->tx, sizeof sent->tx);
  sent->way = out->way;
  if (index_of(peer->open, peer->open_count, &out->way) < peer->open_count) {
    return;
  }
  double elapsed = (double)(peer->net->now - peer->unproven_at) / 1e9;
  peer->unproven_at = peer->net->now;
  peer->unproven_level += elapsed * KM_PROBE_PER_SECOND / 2;
  if (peer->unproven_level > KM_PROBE_BURST / 2.0) {
    peer->unproven_level = KM_PROBE_BURST / 2.0;
  }
  peer->unproven_level -= 1;
  CHECK(peer, peer->unproven_level > -1.5);
}

/* A Pong that proves a way: it came from where a Ping with its number went. */
static void remember_pong(sim_peer *peer, const km_punch_way *from, const km_disco_message *msg) {
  size_t known = peer->sent_count < SIM_PINGS ? peer->sent_count : SIM_PINGS;
  for (size_t i = 0; i < known; i++) {
    const sim_sent *sent = &peer->sent[i];
    if (memcmp(sent->tx, msg->tx, sizeof sent->tx) == 0 && index_of(&sent->way, 1, from) == 0 &&
        index_of(peer->proven, peer->proven_count, from) == peer->proven_count) {
      peer->proven[peer->proven_count++ % SIM_MAX_OPEN] = *from;
      peer->proven_count -= peer->proven_count > SIM_MAX_OPEN;
    }
  }
}

static void forget(km_punch_way *ways, size_t *count, const km_punch_way *way) {
  size_t i = index_of(ways, *count, way);
  if (i < *count) {
    ways[i] = ways[--*count];
  }
}

static void way_opened(sim_peer *peer, const km_punch_way *way) {
  CHECK(peer, index_of(peer->proven, peer->proven_count, way) < peer->proven_count);
  CHECK(peer, index_of(peer->open, peer->open_count, way) == peer->open_count);
  CHECK(peer, peer->open_count < SIM_MAX_OPEN);
  peer->opened++;
  peer->open[peer->open_count++] = *way;
  peer->open_at = peer->open_at == KM_TS_NEVER ? peer->net->now : peer->open_at;
}

static void way_died(sim_peer *peer, const km_punch_way *way) {
  CHECK(peer, index_of(peer->open, peer->open_count, way) < peer->open_count);
  forget(peer->open, &peer->open_count, way);
  forget(peer->proven, &peer->proven_count, way);
  peer->deaths++;
  if (peer->stun_at > peer->net->now + STUN_TAKES) { /* was it our address that changed? */
    peer->stun_at = peer->net->now + STUN_TAKES;
  }
  peer->open_at = peer->open_count > 0 ? peer->open_at : KM_TS_NEVER;
}

static bool via_needed(const sim_peer *peer, km_via via) {
  for (size_t i = 0; i < peer->open_count; i++) {
    if (peer->open[i].via == via) {
      return true;
    }
  }
  return false;
}

static void close_extra(sim_peer *peer, bool all) {
  for (km_via via = 1; via < SIM_MAX_VIAS; via++) {
    if (peer->via_used[via] && (all || !via_needed(peer, via))) {
      peer->via_used[via] = false;
      km_punch_via_gone(peer->core, via);
    }
  }
}

static void open_extra(sim_peer *peer, size_t count) {
  km_via vias[SIM_MAX_VIAS];
  size_t n = 0;
  for (km_via via = 1; via < SIM_MAX_VIAS && n < count; via++) {
    if (!peer->via_used[via]) {
      peer->via_used[via] = true;
      vias[n++] = via;
    }
  }
  km_punch_spray_ready(peer->core, vias, n, peer->net->now);
}

static void do_out(sim_peer *peer, const km_punch_out *out) {
  switch (out->kind) {
  case KM_PUNCH_OUT_PING:
    CHECK(peer, peer->wanted);
    CHECK(peer, out->way.via == 0 || peer->via_used[out->way.via]);
    remember_ping(peer, out);
    send_direct(peer, &out->way, out->msg);
    break;
  case KM_PUNCH_OUT_CALL:
    CHECK(peer, peer->wanted);
    peer->sent_calls++;
    send_relayed(peer, out->msg);
    for (size_t i = 0; i < peer->open_count; i++) {
      send_direct(peer, &peer->open[i], out->msg);
    }
    break;
  case KM_PUNCH_OUT_OPEN:
    way_opened(peer, &out->way);
    break;
  case KM_PUNCH_OUT_DEAD:
    way_died(peer, &out->way);
    break;
  case KM_PUNCH_OUT_SPRAY:
    open_extra(peer, out->count);
    break;
  case KM_PUNCH_OUT_SPRAY_END:
    close_extra(peer, false);
    break;
  }
}

static void check_state(sim_peer *peer) {
  km_punch_state state = km_punch_get_state(peer->core);
  CHECK(peer, peer->wanted == (state != KM_PUNCH_RESTING));
  CHECK(peer, !peer->wanted || (state == KM_PUNCH_OPEN) == (peer->open_count > 0));
  CHECK(peer, peer->wanted == (km_punch_deadline(peer->core) != KM_TS_NEVER));
}

void sim_peer_pull(sim_peer *peer) {
  km_punch_out out;
  size_t n = 0;
  while (km_punch_next(peer->core, &out)) {
    do_out(peer, &out);
    CHECK(peer, ++n < 2000);
  }
  check_state(peer);
}

static void arrive(sim_peer *peer, const km_punch_way *from, const km_disco_message *msg) {
  if (from != NULL && msg->type == KM_DISCO_PING) {
    km_disco_message pong = {.type = KM_DISCO_PONG, .observed = from->addr};
    memcpy(pong.tx, msg->tx, sizeof pong.tx);
    send_direct(peer, from, &pong);
  }
  if (from != NULL && msg->type == KM_DISCO_PONG) {
    remember_pong(peer, from, msg);
  }
  (void)km_punch_input(peer->core, from, msg, peer->net->now); /* strays are expected here */
  sim_peer_pull(peer);
}

static void deliver(sim_net *net, sim_event *e) {
  sim_peer *peer = e->relayed ? e->to : descend(net, e);
  if (peer == NULL) {
    return;
  }
  if (e->relayed) {
    arrive(peer, NULL, &e->msg);
    return;
  }
  km_punch_way from = {.addr = e->src};
  if (e->dst.port != peer->port) {
    from.via = (km_via)(e->dst.port - EXTRA_PORT);
    if (e->dst.port <= EXTRA_PORT || from.via >= SIM_MAX_VIAS || !peer->via_used[from.via]) {
      return;
    }
  }
  arrive(peer, &from, &e->msg);
}

void sim_inject(sim_peer *to, km_via via, const km_udp_addr *src, const km_disco_message *msg) {
  km_punch_way from = {.via = via};
  if (src != NULL) {
    from.addr = *src;
  }
  arrive(to, src != NULL ? &from : NULL, msg);
}

/* --- peers ------------------------------------------------------------------------------------ */

static bool may_alloc(sim_peer *peer) {
  if (peer->fail_after > 0) {
    peer->fail_after--;
    return true;
  }
  return peer->fail_after < 0;
}

static void *env_alloc(void *ctx, size_t size) {
  sim_peer *peer = ctx;
  void *ptr = may_alloc(peer) ? malloc(size) : NULL;
  peer->live += ptr != NULL;
  return ptr;
}

static void *env_realloc(void *ctx, void *ptr, size_t size) {
  sim_peer *peer = ctx;
  void *grown = may_alloc(peer) ? realloc(ptr, size) : NULL;
  peer->live += ptr == NULL && grown != NULL;
  return grown;
}

static void env_free(void *ctx, void *ptr) {
  sim_peer *peer = ctx;
  peer->live -= ptr != NULL;
  free(ptr);
}

static void env_random(void *ctx, void *buf, size_t len) {
  sim_peer *peer = ctx;
  for (size_t i = 0; i < len; i++) {
    ((uint8_t *)buf)[i] = (uint8_t)sim_random(&peer->seed);
  }
}

static km_udp_addr ip4(uint8_t a, uint8_t b, uint8_t c, uint8_t d) {
  return (km_udp_addr){.family = 4, .ip = {a, b, c, d}};
}

/* Where a STUN server in the internet sees the main socket. */
static bool reflexive(sim_peer *peer, km_udp_addr *ret) {
  km_udp_addr server = ip4(203, 0, 113, 1);
  server.port = 3478;
  *ret = peer->ip4;
  ret->port = peer->port;
  for (sim_nat *nat = peer->behind4; nat != NULL; nat = nat->parent) {
    if (!sim_nat_out(nat, ret, &server, peer->net->now)) {
      return false;
    }
  }
  return peer->ip4.family != 0;
}

/* The hardest NAT on the way decides. */
static km_nat_info measure(const sim_peer *peer) {
  km_nat_info info = {.mapping4 = KM_NAT_MAPPING_NONE, .filtering4 = KM_NAT_FILTERING_NONE};
  for (const sim_nat *nat = peer->behind4; nat != NULL; nat = nat->parent) {
    const sim_nat_config *c = &nat->config;
    info.filtering4 = c->filtering > info.filtering4 ? c->filtering : info.filtering4;
    if (c->mapping > info.mapping4) {
      info.mapping4 = c->mapping;
      info.port_step = c->mapping >= KM_NAT_MAPPING_ADDRESS_DEPENDENT ? c->step : 0;
    }
  }
  return info;
}

void sim_peer_gather(sim_peer *peer) {
  km_candidate own[4];
  size_t n = 0;
  km_udp_addr seen;
  if (peer->ip4.family != 0) {
    own[n] = (km_candidate){.source = KM_CANDIDATE_INTERFACE, .addr = peer->ip4};
    own[n++].addr.port = peer->port;
  }
  if (peer->ip6.family != 0) {
    own[n] = (km_candidate){.source = KM_CANDIDATE_INTERFACE, .addr = peer->ip6};
    own[n++].addr.port = peer->port;
  }
  if (reflexive(peer, &seen) && !km_udp_addr_equal(&seen, &own[0].addr)) {
    own[n++] = (km_candidate){.source = KM_CANDIDATE_REFLEXIVE, .addr = seen};
  }
  if (peer->loopback) {
    own[n] = (km_candidate){.source = KM_CANDIDATE_INTERFACE, .addr = ip4(127, 0, 0, 1)};
    own[n++].addr.port = peer->port;
  }
  km_nat_info unknown = {0}, info = measure(peer);
  km_punch_set_local(peer->core, own, n, peer->nat_unknown ? &unknown : &info, "https://r.test./",
                     peer->net->now);
  peer->stun_at = peer->net->now + STUN_EVERY;
  sim_peer_pull(peer);
}

static void make_core(sim_peer *peer) {
  km_punch_config config = {.env = &peer->env, .budget = &peer->budget};
  config.own.bytes[0] = (uint8_t)peer->index;
  config.peer.bytes[0] = (uint8_t)(peer->index ^ 1);
  peer->id = config.own;
  int rv = km_punch_new(&peer->core, &config, peer->net->now);
  assert(rv == 0);
  km_probe_budget_init(&peer->budget, peer->net->now);
  peer->unproven_level = KM_PROBE_BURST / 2.0;
  peer->unproven_at = peer->net->now;
  km_punch_relay_rtt(peer->core, 2 * peer->net->relay.delay);
}

sim_peer *sim_net_peer(sim_net *net, sim_nat *behind) {
  assert(net->peer_count < SIM_MAX_PEERS);
  sim_peer *peer = &net->peers[net->peer_count];
  *peer = (sim_peer){.net = net, .index = net->peer_count++, .fail_after = -1};
  peer->env = (km_env){.ctx = peer,
                       .alloc = env_alloc,
                       .realloc = env_realloc,
                       .free = env_free,
                       .random = env_random};
  peer->seed = sim_random(&net->seed);
  peer->open_at = KM_TS_NEVER;
  peer->port = (uint16_t)(4000 + peer->index);
  make_core(peer);
  sim_peer_move(peer, behind);
  return peer;
}

void sim_peer_give_ip6(sim_peer *peer, sim_nat *behind) {
  peer->ip6 = (km_udp_addr){.family = 6, .ip = {0x20, 0x01, 0x0d, 0xb8}};
  peer->ip6.ip[7] = (uint8_t)(1 + peer->index);
  peer->ip6.ip[15] = 1;
  peer->behind6 = behind;
}

void sim_peer_move(sim_peer *peer, sim_nat *behind) {
  bool inside = behind != NULL && behind->config.mapping != KM_NAT_MAPPING_NONE;
  uint8_t d = (uint8_t)(1 + sim_random(&peer->seed) % 250);
  peer->ip4 = inside ? ip4(192, 168, (uint8_t)(1 + peer->index), d)
                     : ip4(198, 51, (uint8_t)(100 + peer->index), d);
  peer->behind4 = behind;
}

void sim_peer_restart(sim_peer *peer) {
  close_extra(peer, true);
  km_punch_del(peer->core);
  peer->open_count = peer->proven_count = 0;
  peer->open_at = KM_TS_NEVER;
  peer->fail_after = -1;
  make_core(peer);
  bool wanted = peer->wanted;
  peer->wanted = false;
  sim_peer_gather(peer);
  sim_peer_want(peer, wanted);
}

void sim_peer_want(sim_peer *peer, bool wanted) {
  peer->wanted = wanted;
  peer->spins = 0;
  km_punch_want(peer->core, wanted, peer->net->now);
  sim_peer_pull(peer);
}

void sim_peer_use(sim_peer *peer) {
  assert(peer->open_count > 0);
  km_punch_use(peer->core, &peer->open[0], true, peer->net->now);
}

/* --- time ------------------------------------------------------------------------------------- */

void sim_net_init(sim_net *net, uint64_t seed) {
  *net = (sim_net){.now = SIM_S(1), .first_seed = seed, .seed = seed};
  net->direct = (sim_link){.delay = SIM_MS(15)};
  net->relay = (sim_link){.delay = SIM_MS(20)};
  net->peers = calloc(SIM_MAX_PEERS, sizeof *net->peers);
  assert(net->peers != NULL);
}

void sim_net_clear(sim_net *net) {
  for (size_t i = 0; i < net->peer_count; i++) {
    km_punch_del(net->peers[i].core);
    CHECK(&net->peers[i], net->peers[i].live == 0);
  }
  for (size_t i = 0; i < net->nat_count; i++) {
    sim_nat_clear(&net->nats[i]);
  }
  while (net->queued > 0) {
    free(pop(net));
  }
  free(net->queue);
  free(net->peers);
}

sim_nat *sim_net_nat(sim_net *net, const sim_nat_config *config, sim_nat *parent) {
  assert(net->nat_count < SIM_MAX_NATS);
  sim_nat *nat = &net->nats[net->nat_count];
  uint8_t n = (uint8_t)(1 + net->nat_count++);
  km_udp_addr ip = parent == NULL ? ip4(192, 0, 2, n) : ip4(100, 64, 0, n);
  sim_nat_init(nat, config, &ip, sim_random(&net->seed));
  nat->parent = parent;
  return nat;
}

const char *sim_kind_name(sim_kind kind) {
  static const char *const names[SIM_KIND_COUNT_] = {
      "none",       "firewall",   "full cone", "address-restricted", "port-restricted", "symmetric",
      "sequential", "double NAT", "blocked"};
  return names[kind];
}

static sim_nat_config config_of(sim_kind kind) {
  sim_nat_config c = {.mapping = KM_NAT_MAPPING_ENDPOINT_INDEPENDENT,
                      .filtering = KM_NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT,
                      .ports = SIM_PORTS_RANDOM,
                      .idle = SIM_S(30)};
  switch (kind) {
  case SIM_KIND_FIREWALL:
    c.mapping = KM_NAT_MAPPING_NONE;
    break;
  case SIM_KIND_FULL_CONE:
    c.filtering = KM_NAT_FILTERING_ENDPOINT_INDEPENDENT;
    break;
  case SIM_KIND_ADDRESS:
    c.filtering = KM_NAT_FILTERING_ADDRESS_DEPENDENT;
    break;
  case SIM_KIND_SYMMETRIC:
    c.mapping = KM_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT;
    break;
  case SIM_KIND_SEQUENTIAL:
    c.mapping = KM_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT;
    c.ports = SIM_PORTS_SEQUENCE;
    c.step = 1;
    break;
  case SIM_KIND_BLOCKED:
    c.blocked = true;
    break;
  default:
    c.ports = SIM_PORTS_PRESERVE;
  }
  return c;
}

sim_nat *sim_net_kind(sim_net *net, sim_kind kind) {
  sim_nat_config c = config_of(kind);
  if (kind == SIM_KIND_NONE) {
    return NULL;
  }
  return sim_net_nat(net, &c, kind == SIM_KIND_DOUBLE ? sim_net_nat(net, &c, NULL) : NULL);
}

bool sim_kinds_meet(sim_kind a, sim_kind b) {
  bool hard_a = a == SIM_KIND_SYMMETRIC || a == SIM_KIND_SEQUENTIAL;
  bool hard_b = b == SIM_KIND_SYMMETRIC || b == SIM_KIND_SEQUENTIAL;
  bool lets_a = a == SIM_KIND_NONE || a == SIM_KIND_FULL_CONE || a == SIM_KIND_ADDRESS;
  bool lets_b = b == SIM_KIND_NONE || b == SIM_KIND_FULL_CONE || b == SIM_KIND_ADDRESS;
  if (a == SIM_KIND_BLOCKED || b == SIM_KIND_BLOCKED) {
    return false;
  }
  return (!hard_a && !hard_b) || (hard_a && lets_b) || (hard_b && lets_a);
}

static km_ts due(const sim_peer *peer) {
  km_ts at = km_punch_deadline(peer->core);
  return peer->wanted && peer->stun_at < at ? peer->stun_at : at;
}

static void step(sim_peer *peer) {
  sim_net *net = peer->net;
  peer->spins = peer->spun_at == net->now ? peer->spins + 1 : 0;
  peer->spun_at = net->now;
  CHECK(peer, peer->spins < 100); /* a deadline that does not move */
  if (peer->stun_at <= net->now) {
    sim_peer_gather(peer);
  }
  km_punch_timeout(peer->core, net->now);
  sim_peer_pull(peer);
}

/* The next thing that happens, unless it is after `end`. */
static bool advance(sim_net *net, km_ts end) {
  km_ts at = net->queued > 0 ? net->queue[0]->at : KM_TS_NEVER;
  sim_peer *who = NULL;
  for (size_t i = 0; i < net->peer_count; i++) {
    if (due(&net->peers[i]) < at) {
      at = due(&net->peers[i]);
      who = &net->peers[i];
    }
  }
  if (at > end) {
    return false;
  }
  net->now = at > net->now ? at : net->now;
  if (who != NULL) {
    step(who);
    return true;
  }
  sim_event *e = pop(net);
  deliver(net, e);
  free(e);
  return true;
}

void sim_net_run(sim_net *net, uint64_t span) {
  km_ts end = net->now + span;
  while (advance(net, end)) {
  }
  net->now = end;
}

static bool all_open(const sim_net *net) {
  for (size_t i = 0; i < net->peer_count; i++) {
    if (net->peers[i].open_count == 0) {
      return false;
    }
  }
  return true;
}

bool sim_net_run_to_open(sim_net *net, uint64_t span) {
  km_ts end = net->now + span;
  while (!all_open(net)) {
    if (!advance(net, end)) {
      net->now = end;
      return false;
    }
  }
  return true;
}
