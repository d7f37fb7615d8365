/* Guessing the ports of a hard NAT: one that maps each destination of a socket to another port, so
 * that the peer's address as anybody else sees it is of no use.
 *
 *   easy here, hard there   we ping ports of the peer's NAT: those that follow from its step, then
 *                           random ones. The peer sprays meanwhile.
 *   hard here, easy there   spray: many sockets ping the peer's one address. With 256 of them open,
 *                           each guess of the peer's meets one with 1 in 250.
 *   both hard               only steps help: both ping predicted ports, one side counting up, the
 *                           other down, so that they meet wherever both NATs began to count.
 *                           Without a step a few guesses: what was measured may be wrong.
 *
 * IPv4 only: behind IPv6 firewalls there is no port to guess. */
#include <string.h>

#include "holepunch/punch_impl.h"

#define TICK KM_PUNCH_MS(20)
#define GUESSES_A_TICK 3 /* 150 a second, what the budget of one peer allows */
#define SPRAYS_A_TICK 16 /* mappings should be there before the guesses come */
#define PREDICTED 32
#define GUESSES_BLIND 64
#define SPRAY_AGAIN KM_PUNCH_S(3)
#define SPRAY_LASTS KM_PUNCH_S(9) /* the peer's guesses take 7 s */
#define LINGER_MIN KM_PUNCH_S(1)
#define LINGER_MAX KM_PUNCH_S(20)

#define PORT_FIRST 1024
#define PORTS (65536 - PORT_FIRST) /* 2^10 * 3^2 * 7 */

#define SENT_MAX 2048 /* pings that are remembered */
#define TARGETS 2

typedef enum guess_mode { GUESS_NOTHING, GUESS_PORTS, GUESS_SPRAY, GUESS_STEPS } guess_mode;

typedef struct guess_ping {
  uint8_t tx[KM_DISCO_TX_LEN];
  km_punch_way way; /* family 0: none, or answered */
  km_ts at;
} guess_ping;

struct km_punch_guess {
  guess_mode mode;
  bool running;
  bool started; /* its time runs: the extra sockets are there, if it needs any */
  km_udp_addr targets[TARGETS];
  size_t target_count;
  uint32_t done, limit; /* guesses; sprayed pings of this pass */
  uint32_t predicted;   /* of the guesses, the first so many */
  bool downward;
  int32_t step;
  uint32_t scale, shift; /* port number n is PORT_FIRST + (n * scale + shift) % PORTS */
  uint32_t ready;        /* paid, to be sent now */
  km_ts tick_at, end_at, again_at, free_at;
  km_via vias[KM_PUNCH_SPRAY_SOCKETS];
  size_t via_count;
  size_t next_sent;
  guess_ping sent[SENT_MAX];
};

/* --- whether, and how ------------------------------------------------------------------------- */

static bool is_hard(uint8_t mapping) {
  return mapping == KM_NAT_MAPPING_ADDRESS_DEPENDENT ||
         mapping == KM_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT;
}

/* Lets in a ping from an unknown port of an address that was pinged: the rounds suffice then. */
static bool lets_in(uint8_t filtering) {
  return filtering == KM_NAT_FILTERING_NONE || filtering == KM_NAT_FILTERING_ENDPOINT_INDEPENDENT ||
         filtering == KM_NAT_FILTERING_ADDRESS_DEPENDENT;
}

static guess_mode choose_mode(const km_punch *p) {
  if (!p->called) {
    return GUESS_NOTHING;
  }
  const km_nat_info *own = &p->nat, *peer = &p->peer.nat;
  bool own_hard = is_hard(own->mapping4), peer_hard = is_hard(peer->mapping4);
  if (own_hard && peer_hard) {
    return GUESS_STEPS;
  }
  if (peer_hard) {
    return lets_in(own->filtering4) ? GUESS_NOTHING : GUESS_PORTS;
  }
  if (own_hard) {
    return lets_in(peer->filtering4) ? GUESS_NOTHING : GUESS_SPRAY;
  }
  return GUESS_NOTHING;
}

/* The peer's outer addresses; ports matter only if it is sprayed at. */
static size_t find_targets(const km_punch *p, guess_mode mode, km_udp_addr ret[TARGETS]) {
  uint8_t outer = KM_CANDIDATE_REFLEXIVE | KM_CANDIDATE_SEEN | KM_CANDIDATE_MAPPED;
  if (p->peer.nat.mapping4 == KM_NAT_MAPPING_NONE) { /* behind a firewall */
    outer |= KM_CANDIDATE_INTERFACE;
  }
  size_t n = 0;
  for (size_t i = 0; i < p->peer.count && n < TARGETS; i++) {
    const km_candidate *c = &p->peer.candidates[i];
    bool known =
        c->addr.family != 4 || (c->source & outer) == 0 || !km_punch_ways_allowed(p, &c->addr);
    for (size_t k = 0; k < n && !known; k++) {
      known = memcmp(ret[k].ip, c->addr.ip, 4) == 0 &&
              (mode != GUESS_SPRAY || ret[k].port == c->addr.port);
    }
    if (!known) {
      ret[n++] = c->addr;
    }
  }
  return n;
}

static void choose_order(km_punch *p, km_punch_guess *g) {
  do { /* coprime to PORTS: all ports come once */
    g->scale = 1 + (uint32_t)km_env_random_below(p->env, PORTS - 1);
  } while (g->scale % 2 == 0 || g->scale % 3 == 0 || g->scale % 7 == 0);
  g->shift = (uint32_t)km_env_random_below(p->env, PORTS);
}

static void plan(km_punch *p, km_punch_guess *g) {
  g->step = p->peer.nat.port_step;
  g->predicted = g->step != 0 ? PREDICTED : 0;
  if (g->mode == GUESS_PORTS) {
    g->limit = KM_PUNCH_MAX_GUESSES;
  } else if (g->mode == GUESS_STEPS) {
    /* Counting in opposite directions meets at every second offset: the next attempt takes the
     * other ones. */
    g->downward = memcmp(p->own_id.bytes, p->peer_id.bytes, sizeof p->own_id.bytes) > 0;
    g->predicted += g->predicted > 0 && g->downward ? (uint32_t)(p->stats.attempts & 1) : 0;
    g->limit = g->predicted > 0 ? g->predicted : GUESSES_BLIND;
  }
}

static km_punch_guess *allocate(km_punch *p) {
  if (p->guess == NULL) {
    p->guess = km_env_zalloc(p->env, 1, sizeof *p->guess);
  }
  return p->guess;
}

bool km_punch_guess_begin(km_punch *p) {
  km_udp_addr targets[TARGETS];
  guess_mode mode = choose_mode(p);
  size_t target_count = find_targets(p, mode, targets);
  km_punch_guess *g = mode != GUESS_NOTHING && target_count > 0 ? allocate(p) : NULL;
  if (g == NULL) {
    return false;
  }
  g->mode = mode;
  g->target_count = target_count;
  memcpy(g->targets, targets, sizeof targets);
  g->running = true;
  g->started = g->mode != GUESS_SPRAY;
  g->done = g->limit = g->predicted = g->ready = 0;
  g->downward = false;
  g->tick_at = p->now;
  g->end_at = km_punch_after(p->now, SPRAY_LASTS);
  g->again_at = g->free_at = KM_TS_NEVER;
  choose_order(p, g);
  plan(p, g);
  if (g->mode == GUESS_SPRAY) {
    g->via_count = 0;
    g->tick_at = KM_TS_NEVER;
    p->spray_ask = true;
    p->spray_addr = g->targets[0];
  }
  return true;
}

/* --- its course ------------------------------------------------------------------------------- */

static uint64_t linger(const km_punch *p) {
  uint64_t gap = 2 * p->relay_rtt;
  return gap < LINGER_MIN ? LINGER_MIN : gap > LINGER_MAX ? LINGER_MAX : gap;
}

void km_punch_guess_sprayed(km_punch *p, const km_via *vias, size_t count) {
  km_punch_guess *g = p->guess;
  if (g == NULL || !g->running || g->mode != GUESS_SPRAY || g->started) {
    p->spray_end = p->spray_end || count > 0; /* too late */
    return;
  }
  g->via_count = count < KM_PUNCH_SPRAY_SOCKETS ? count : KM_PUNCH_SPRAY_SOCKETS;
  for (size_t i = 0; i < g->via_count; i++) {
    g->vias[i] = vias[i];
  }
  g->started = true;
  g->limit = (uint32_t)(g->via_count * g->target_count);
  g->tick_at = p->now;
  g->again_at = km_punch_after(p->now, SPRAY_AGAIN);
  g->end_at = g->via_count > 0 ? km_punch_after(p->now, SPRAY_LASTS + linger(p)) : p->now;
}

/* Pays for as many pings as this tick may send. */
static void tick(km_punch *p, km_punch_guess *g) {
  uint32_t most = g->mode == GUESS_SPRAY ? SPRAYS_A_TICK : GUESSES_A_TICK;
  while (g->ready < most && g->done + g->ready < g->limit) {
    if (!km_punch_pay(p)) {
      p->stats.put_off += g->mode != GUESS_SPRAY;
      break;
    }
    g->ready++;
  }
  g->tick_at = km_punch_after(p->now, TICK);
}

static void pass_over(km_punch *p, km_punch_guess *g) {
  g->tick_at = KM_TS_NEVER;
  if (g->mode != GUESS_SPRAY) {
    g->end_at = km_punch_after(p->now, linger(p));
  }
}

void km_punch_guess_timeout(km_punch *p) {
  km_punch_guess *g = p->guess;
  if (g == NULL) {
    return;
  }
  if (!g->running) {
    if (g->free_at <= p->now) {
      km_punch_guess_del(p);
    }
    return;
  }
  if (g->started && g->again_at <= p->now) {
    g->again_at = km_punch_after(p->now, SPRAY_AGAIN);
    g->done = 0;
    g->tick_at = p->now;
  }
  if (g->tick_at <= p->now) {
    tick(p, g);
    if (g->done + g->ready >= g->limit) {
      pass_over(p, g);
    }
  }
  bool busy = g->ready > 0 || (g->mode != GUESS_SPRAY && g->tick_at != KM_TS_NEVER);
  if (!busy && g->end_at <= p->now) {
    km_punch_guess_end(p);
  }
}

km_ts km_punch_guess_deadline(const km_punch *p) {
  const km_punch_guess *g = p->guess;
  if (g == NULL) {
    return KM_TS_NEVER;
  }
  if (!g->running) {
    return g->free_at;
  }
  km_ts end = g->mode != GUESS_SPRAY && g->tick_at != KM_TS_NEVER ? KM_TS_NEVER : g->end_at;
  return km_punch_min(end, km_punch_min(g->tick_at, g->again_at));
}

bool km_punch_guess_running(const km_punch *p) {
  return p->guess != NULL && p->guess->running;
}

/* Extra sockets without an open way are closed, so what is known of them goes. */
static void forget_sockets(km_punch *p) {
  for (size_t i = 0; i < p->count; i++) {
    km_punch_rec *rec = &p->ways[i];
    if (rec->way.via != 0 && !km_punch_is_open(rec)) {
      rec->gone = true;
      rec->due = rec->send = false;
    }
  }
}

void km_punch_guess_end(km_punch *p) {
  km_punch_guess *g = p->guess;
  if (g == NULL || !g->running) {
    return;
  }
  g->running = false;
  g->ready = 0;
  g->free_at = km_punch_after(p->now, KM_PUNCH_LATE);
  p->spray_ask = false;
  if (g->mode == GUESS_SPRAY && g->started && g->via_count > 0) {
    p->spray_end = true;
    forget_sockets(p);
  }
  km_punch_log(p, KM_PUNCH_EVENT_GUESSING, NULL, g->mode == GUESS_SPRAY ? g->via_count : g->done);
}

void km_punch_guess_del(km_punch *p) {
  km_env_free(p->env, p->guess);
  p->guess = NULL;
}

void km_punch_guess_via_gone(km_punch *p, km_via via) {
  km_punch_guess *g = p->guess;
  if (g == NULL) {
    return;
  }
  for (size_t i = g->via_count; i-- > 0;) {
    if (g->vias[i] == via) {
      g->vias[i] = g->vias[--g->via_count];
    }
  }
  if (g->mode == GUESS_SPRAY) {
    g->limit = (uint32_t)(g->via_count * g->target_count);
  }
}

/* --- the pings -------------------------------------------------------------------------------- */

static uint16_t random_port(const km_punch_guess *g, uint32_t n) {
  return (uint16_t)(PORT_FIRST + ((uint64_t)n * g->scale + g->shift) % PORTS);
}

static uint16_t predicted_port(const km_punch_guess *g, uint16_t last, uint32_t n) {
  int32_t nth = (int32_t)(g->downward ? g->predicted - n : n + 1);
  int32_t port = ((int32_t)last - PORT_FIRST + g->step * nth) % PORTS;
  return (uint16_t)(PORT_FIRST + (port < 0 ? port + PORTS : port));
}

static km_punch_way choose(const km_punch_guess *g, uint32_t n) {
  km_punch_way way = {0};
  if (g->mode == GUESS_SPRAY) {
    way.via = g->vias[n % g->via_count];
    way.addr = g->targets[n / g->via_count];
    return way;
  }
  way.addr = g->targets[n % g->target_count];
  bool predict = n < g->predicted;
  way.addr.port =
      predict ? predicted_port(g, way.addr.port, n / (uint32_t)g->target_count) : random_port(g, n);
  return way;
}

bool km_punch_guess_next(km_punch *p, km_punch_way *ret, uint8_t tx[KM_DISCO_TX_LEN]) {
  km_punch_guess *g = p->guess;
  if (g == NULL || g->ready == 0) {
    return false;
  }
  g->ready--;
  if (g->done >= g->limit) { /* sockets went meanwhile */
    g->ready = 0;
    return false;
  }
  *ret = choose(g, g->done++);
  km_env_random(p->env, tx, KM_DISCO_TX_LEN);
  guess_ping *ping = &g->sent[g->next_sent];
  g->next_sent = (g->next_sent + 1) % SENT_MAX;
  memcpy(ping->tx, tx, KM_DISCO_TX_LEN);
  ping->way = *ret;
  ping->at = p->now;
  p->stats.guesses++;
  return true;
}

bool km_punch_guess_pong(km_punch *p, const km_punch_way *from, const km_disco_message *msg) {
  km_punch_guess *g = p->guess;
  for (size_t i = 0; g != NULL && i < SENT_MAX; i++) {
    guess_ping *ping = &g->sent[i];
    uint64_t rtt = km_punch_since(p->now, ping->at);
    if (ping->way.addr.family == 0 || memcmp(ping->tx, msg->tx, sizeof ping->tx) != 0 ||
        !km_punch_way_equal(&ping->way, from) || rtt > KM_PUNCH_LATE) {
      continue;
    }
    ping->way.addr.family = 0;
    km_punch_rec *rec = km_punch_ways_add(p, from, KM_CANDIDATE_GUESSED);
    if (rec != NULL) {
      km_punch_way_open(p, rec, rtt, &msg->observed);
    }
    return rec != NULL;
  }
  return false;
}
