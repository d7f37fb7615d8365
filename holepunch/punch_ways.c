/* The ways to a peer, and what each of them went through. */
#include <string.h>

#include "holepunch/punch_impl.h"

#define STRANGERS 16 /* unproven ways that only a ping of the peer's told of */

#define RTO_UNKNOWN KM_PUNCH_MS(500)
#define RTO_MIN KM_PUNCH_MS(200)
#define RTO_MAX KM_PUNCH_S(15)

/* A suspected way is pinged so often in a row, a third of its round trip apart. Five, not fewer: at
 * 8 % loss each way one ping in six stays unanswered, three in a row would be an hourly event. */
#define QUICK_PINGS 5
#define QUICK_PINGS_MAX 12
#define QUICK_GAP_MIN KM_PUNCH_MS(25)
#define QUICK_GAP_MAX KM_PUNCH_MS(250)

/* --- the table -------------------------------------------------------------------------------- */

bool km_punch_way_equal(const km_punch_way *a, const km_punch_way *b) {
  return a->via == b->via && km_udp_addr_equal(&a->addr, &b->addr);
}

km_punch_rec *km_punch_ways_find(const km_punch *p, const km_punch_way *way) {
  for (size_t i = 0; i < p->count; i++) {
    if (!p->ways[i].gone && km_punch_way_equal(&p->ways[i].way, way)) {
      return &p->ways[i];
    }
  }
  return NULL;
}

void km_punch_ways_remove(km_punch *p, size_t index) {
  p->count--;
  memmove(&p->ways[index], &p->ways[index + 1], (p->count - index) * sizeof p->ways[0]);
}

static bool is_pinned(const km_punch_rec *rec) {
  return km_punch_is_open(rec) || rec->told_open || rec->users > 0 || rec->gone;
}

static bool is_stranger(const km_punch_rec *rec) {
  return !is_pinned(rec) && rec->pongs == 0 &&
         (rec->source & ~(KM_CANDIDATE_PEER_REFLEXIVE | KM_CANDIDATE_GUESSED)) == 0;
}

/* The one to make room, SIZE_MAX: none. Strangers go first, then what proved nothing, then what is
 * dead; the oldest of each. */
static size_t victim(const km_punch *p, bool strangers_only) {
  size_t found = SIZE_MAX;
  int found_rank = 3;
  for (size_t i = 0; i < p->count; i++) {
    const km_punch_rec *rec = &p->ways[i];
    int rank = is_stranger(rec) ? 0 : rec->pongs == 0 ? 1 : 2;
    if (is_pinned(rec) || (strangers_only && rank > 0) || rank > found_rank) {
      continue;
    }
    if (rank < found_rank || rec->order < p->ways[found].order) {
      found = i;
      found_rank = rank;
    }
  }
  return found;
}

static size_t count_strangers(const km_punch *p) {
  size_t n = 0;
  for (size_t i = 0; i < p->count; i++) {
    n += is_stranger(&p->ways[i]);
  }
  return n;
}

static bool make_room(km_punch *p, uint8_t source) {
  bool stranger = source == KM_CANDIDATE_PEER_REFLEXIVE;
  bool crowded = stranger && count_strangers(p) >= STRANGERS;
  if (crowded || p->count == KM_PUNCH_MAX_WAYS) {
    size_t index = victim(p, stranger);
    if (index == SIZE_MAX) {
      return false;
    }
    km_punch_ways_remove(p, index);
  }
  if (p->count < p->cap) {
    return true;
  }
  size_t cap = p->cap == 0 ? 8 : p->cap * 2;
  km_punch_rec *ways = km_env_realloc(p->env, p->ways, cap, sizeof *ways);
  if (ways == NULL) {
    return false;
  }
  p->ways = ways;
  p->cap = cap;
  return true;
}

km_punch_rec *km_punch_ways_add(km_punch *p, const km_punch_way *way, uint8_t source) {
  km_punch_rec *rec = km_punch_ways_find(p, way);
  if (rec == NULL) {
    if (!make_room(p, source)) {
      return NULL;
    }
    rec = &p->ways[p->count++];
    *rec = (km_punch_rec){.way = *way,
                          .opened_at = KM_TS_NEVER,
                          .heard_at = KM_TS_NEVER,
                          .pinged_at = KM_TS_NEVER,
                          .riposte_at = KM_TS_NEVER,
                          .quick_at = KM_TS_NEVER};
    km_punch_log(p, KM_PUNCH_EVENT_CANDIDATE, way, source);
  }
  rec->source |= source;
  rec->order = ++p->order;
  return rec;
}

/* --- which candidates ------------------------------------------------------------------------- */

static bool is_loopback(const km_udp_addr *addr) {
  static const uint8_t loopback6[16] = {[15] = 1};
  return addr->family == 4 ? addr->ip[0] == 127
                           : memcmp(addr->ip, loopback6, sizeof loopback6) == 0;
}

/* What others say of us does not count: they could keep us from another peer. */
static bool is_own(const km_punch *p, const km_udp_addr *addr) {
  for (size_t i = 0; i < p->own_count; i++) {
    if ((p->own[i].source & KM_CANDIDATE_INTERFACE) != 0 &&
        km_udp_addr_equal(&p->own[i].addr, addr)) {
      return true;
    }
  }
  return false;
}

/* Loopback only between endpoints that both are reached there: on one machine. */
static bool own_loopback(const km_punch *p) {
  const uint8_t sure = KM_CANDIDATE_INTERFACE | KM_CANDIDATE_REFLEXIVE;
  for (size_t i = 0; i < p->own_count; i++) {
    if ((p->own[i].source & sure) != 0 && is_loopback(&p->own[i].addr)) {
      return true;
    }
  }
  return false;
}

bool km_punch_ways_allowed(const km_punch *p, const km_udp_addr *addr) {
  return km_disco_may_probe(addr) && !is_own(p, addr) && (!is_loopback(addr) || own_loopback(p));
}

/* What the former call listed, and nobody else knows of, goes; what once worked stays. */
static void forget_former(km_punch *p) {
  for (size_t i = p->count; i-- > 0;) {
    km_punch_rec *rec = &p->ways[i];
    if ((rec->source & KM_PUNCH_CALLED) == 0 || rec->call == p->call_number) {
      continue;
    }
    rec->source &= (uint8_t)~KM_PUNCH_CALLED; /* so that others are preferred to it */
    if (rec->source == 0 && rec->pongs == 0 && !is_pinned(rec)) {
      km_punch_ways_remove(p, i);
    }
  }
}

void km_punch_ways_from_call(km_punch *p, const km_call_me_maybe *call) {
  p->call_number++;
  for (size_t i = 0; i < call->count && i < KM_DISCO_MAX_CANDIDATES; i++) {
    const km_candidate *c = &call->candidates[i];
    uint8_t source = c->source & KM_PUNCH_CALLED;
    km_punch_way way = {.addr = c->addr};
    if (!km_punch_ways_allowed(p, &c->addr)) {
      continue;
    }
    km_punch_rec *rec = km_punch_ways_find(p, &way);
    if (rec != NULL && rec->call != p->call_number) {
      rec->source &= (uint8_t)~KM_PUNCH_CALLED;
    }
    rec = km_punch_ways_add(p, &way, source != 0 ? source : KM_CANDIDATE_SEEN);
    if (rec != NULL) {
      rec->call = p->call_number;
    }
  }
  forget_former(p);
}

void km_punch_ways_forget_own(km_punch *p) {
  for (size_t i = p->count; i-- > 0;) {
    if (!is_pinned(&p->ways[i]) && !km_punch_ways_allowed(p, &p->ways[i].way.addr)) {
      km_punch_ways_remove(p, i);
    }
  }
}

/* Ways that once worked, that nobody lists any more, and that have been silent for long. */
void km_punch_ways_forget_stale(km_punch *p) {
  for (size_t i = p->count; i-- > 0;) {
    const km_punch_rec *rec = &p->ways[i];
    bool listed =
        (rec->source & KM_CANDIDATE_GIVEN) != 0 || (rec->call != 0 && rec->call == p->call_number);
    if (!listed && !is_pinned(rec) && rec->pongs > 0 &&
        km_punch_since(p->now, rec->heard_at) > KM_PUNCH_S(300)) {
      km_punch_ways_remove(p, i);
    }
  }
}

bool km_punch_ways_any_open(const km_punch *p) {
  for (size_t i = 0; i < p->count; i++) {
    if (km_punch_is_open(&p->ways[i])) {
      return true;
    }
  }
  return false;
}

/* --- one way ---------------------------------------------------------------------------------- */

/* When a ping that was sent counts as lost. */
static uint64_t rto(const km_punch_rec *rec) {
  uint64_t measured = rec->rtt_ns * 3 > rec->rtt_ns + 4 * rec->rtt_var
                          ? rec->rtt_ns * 3
                          : rec->rtt_ns + 4 * rec->rtt_var;
  uint64_t least = rec->rtt_ns == 0 || rec->rtt_doubted ? RTO_UNKNOWN : RTO_MIN;
  return measured < least ? least : measured > RTO_MAX ? RTO_MAX : measured;
}

static uint64_t quick_gap(const km_punch_rec *rec) {
  uint64_t gap = rec->rtt_ns / 3;
  return gap < QUICK_GAP_MIN ? QUICK_GAP_MIN : gap > QUICK_GAP_MAX ? QUICK_GAP_MAX : gap;
}

static unsigned count_sent(const km_punch_rec *rec, km_ping_state state) {
  unsigned n = 0;
  for (size_t i = 0; i < KM_PUNCH_PINGS; i++) {
    n += rec->sent[i].state == (uint8_t)state;
  }
  return n;
}

km_punch_ping *km_punch_way_ping(km_punch *p, km_punch_rec *rec) {
  km_punch_ping *ping = &rec->sent[rec->next_ping];
  rec->next_ping = (uint8_t)((rec->next_ping + 1) % KM_PUNCH_PINGS);
  *ping = (km_punch_ping){.state = KM_PING_OUT, .early = !km_punch_is_open(rec), .at = p->now};
  km_env_random(p->env, ping->tx, sizeof ping->tx);
  rec->pings++;
  rec->pinged_at = p->now;
  if (rec->state == KM_PUNCH_WAY_UNTRIED) {
    rec->state = KM_PUNCH_WAY_PROBING;
  }
  return ping;
}

static void measure(km_punch_rec *rec, uint64_t rtt) {
  rtt = rtt > 0 ? rtt : 1;
  if (rec->rtt_ns == 0 || rec->rtt_doubted) {
    rec->rtt_ns = rtt;
    rec->rtt_var = rtt / 2;
  } else {
    uint64_t off = rtt > rec->rtt_ns ? rtt - rec->rtt_ns : rec->rtt_ns - rtt;
    rec->rtt_var = (3 * rec->rtt_var + off) / 4;
    rec->rtt_ns = (7 * rec->rtt_ns + rtt) / 8;
  }
  rec->rtt_doubted = false;
}

void km_punch_way_heard(km_punch *p, km_punch_rec *rec) {
  rec->heard_at = p->now;
  rec->order = ++p->order;
  rec->quick_left = 0;
  rec->quick_at = KM_TS_NEVER;
  rec->state = KM_PUNCH_WAY_OPEN;
}

void km_punch_way_open(km_punch *p, km_punch_rec *rec, uint64_t rtt, const km_udp_addr *observed) {
  measure(rec, rtt);
  rec->observed = *observed;
  rec->pongs++;
  if (!km_punch_is_open(rec)) {
    rec->opened_at = p->now;
    rec->due = rec->send = false;
    for (size_t i = 0; i < KM_PUNCH_PINGS; i++) {
      km_punch_ping *ping = &rec->sent[i];
      ping->early = true; /* unanswered because the hole was not there yet */
      ping->state = ping->state == KM_PING_LOST ? KM_PING_VOID : ping->state;
    }
    km_punch_log(p, KM_PUNCH_EVENT_OPEN, &rec->way, rtt / 1000);
  }
  km_punch_way_heard(p, rec);
}

bool km_punch_way_pong(km_punch *p, km_punch_rec *rec, const km_disco_message *msg) {
  for (size_t i = 0; i < KM_PUNCH_PINGS; i++) {
    km_punch_ping *ping = &rec->sent[i];
    bool waits = ping->state != KM_PING_NONE && ping->state != KM_PING_ANSWERED;
    if (waits && memcmp(ping->tx, msg->tx, sizeof ping->tx) == 0) {
      uint64_t rtt = km_punch_since(p->now, ping->at);
      if (rtt > KM_PUNCH_LATE) {
        return false;
      }
      ping->state = KM_PING_ANSWERED;
      km_punch_way_open(p, rec, rtt, &msg->observed);
      return true;
    }
  }
  return false;
}

void km_punch_way_suspect(km_punch *p, km_punch_rec *rec) {
  if (rec->state != KM_PUNCH_WAY_OPEN) {
    return;
  }
  unsigned pings = QUICK_PINGS + count_sent(rec, KM_PING_LOST);
  rec->state = KM_PUNCH_WAY_SUSPECT;
  rec->quick_left = (uint8_t)(pings < QUICK_PINGS_MAX ? pings : QUICK_PINGS_MAX);
  rec->quick_since = rec->quick_at = p->now;
  km_punch_log(p, KM_PUNCH_EVENT_SUSPECT, &rec->way, 0);
  km_punch_way_timeout(p, rec);
}

void km_punch_way_dead(km_punch *p, km_punch_rec *rec) {
  uint64_t lived = km_punch_since(p->now, rec->opened_at) / KM_NS_PER_MS;
  km_punch_log(p, KM_PUNCH_EVENT_DEAD, &rec->way, lived);
  rec->state = KM_PUNCH_WAY_DEAD;
  rec->opened_at = KM_TS_NEVER;
  rec->quick_left = 0;
  rec->quick_at = KM_TS_NEVER;
  rec->due = rec->send = rec->logged = false;
  if (rec->way.via != 0) { /* an extra socket has no other purpose */
    rec->gone = true;
    p->spray_end = true;
  }
}

/* Sent in this series, or (open) since the way is, and neither answered nor overdue yet. */
static bool counts(const km_punch_rec *rec, const km_punch_ping *ping) {
  if (ping->state != KM_PING_OUT || ping->early) {
    return false;
  }
  return rec->state != KM_PUNCH_WAY_SUSPECT || ping->at >= rec->quick_since;
}

/* True when one of them became overdue, and nothing else was heard since it was sent. */
static bool expire(const km_punch *p, km_punch_rec *rec) {
  bool lost = false;
  for (size_t i = 0; i < KM_PUNCH_PINGS; i++) {
    km_punch_ping *ping = &rec->sent[i];
    if (ping->state == KM_PING_OUT && km_punch_since(p->now, ping->at) >= rto(rec)) {
      lost |= counts(rec, ping) && rec->heard_at <= ping->at;
      ping->state = ping->early ? KM_PING_VOID : KM_PING_LOST;
    }
  }
  return lost;
}

static km_ts oldest_expiry(const km_punch_rec *rec) {
  km_ts at = KM_TS_NEVER;
  for (size_t i = 0; i < KM_PUNCH_PINGS; i++) {
    if (counts(rec, &rec->sent[i])) {
      at = km_punch_min(at, km_punch_after(rec->sent[i].at, rto(rec)));
    }
  }
  return at;
}

static km_ts keep_alive_at(const km_punch_rec *rec) {
  if (rec->users == 0) {
    return KM_TS_NEVER;
  }
  km_ts last = rec->heard_at;
  if (rec->pinged_at != KM_TS_NEVER && rec->pinged_at > last) {
    last = rec->pinged_at;
  }
  return km_punch_after(last, KM_PUNCH_KEEP_ALIVE);
}

static void quick_series(km_punch *p, km_punch_rec *rec) {
  if (rec->quick_left > 0 && rec->quick_at <= p->now) {
    rec->quick_left--;
    rec->quick_at = rec->quick_left > 0 ? km_punch_after(p->now, quick_gap(rec)) : KM_TS_NEVER;
    rec->send = true;
  }
  if (rec->quick_left == 0 && !rec->send && oldest_expiry(rec) == KM_TS_NEVER) {
    km_punch_way_dead(p, rec);
  }
}

void km_punch_way_timeout(km_punch *p, km_punch_rec *rec) {
  if (!km_punch_is_open(rec)) {
    return;
  }
  bool lost = expire(p, rec);
  if (rec->state == KM_PUNCH_WAY_SUSPECT) {
    quick_series(p, rec);
  } else if (lost) {
    km_punch_way_suspect(p, rec);
  } else if (keep_alive_at(rec) <= p->now) {
    rec->send = true;
  }
}

/* The machine slept: what was out was not lost on the way. */
void km_punch_way_overslept(km_punch *p, km_punch_rec *rec) {
  for (size_t i = 0; i < KM_PUNCH_PINGS; i++) {
    if (rec->sent[i].state == KM_PING_OUT) {
      rec->sent[i].state = KM_PING_VOID;
    }
  }
  if (km_punch_is_open(rec)) {
    rec->state = KM_PUNCH_WAY_OPEN;
    km_punch_way_suspect(p, rec);
  }
}

km_ts km_punch_way_deadline(const km_punch *p, const km_punch_rec *rec) {
  if (rec->gone || !km_punch_is_open(rec)) {
    return KM_TS_NEVER;
  }
  if (rec->state == KM_PUNCH_WAY_SUSPECT) {
    km_ts at = km_punch_min(rec->quick_at, oldest_expiry(rec));
    return at == KM_TS_NEVER ? p->now : at; /* nothing is out: it dies at the next step */
  }
  return km_punch_min(oldest_expiry(rec), keep_alive_at(rec));
}

void km_punch_way_info_of(const km_punch_rec *rec, km_punch_way_info *ret) {
  unsigned lost = count_sent(rec, KM_PING_LOST);
  unsigned all = lost + count_sent(rec, KM_PING_ANSWERED);
  *ret = (km_punch_way_info){.way = rec->way,
                             .source = rec->source,
                             .state = rec->state,
                             .rtt_ns = rec->rtt_ns,
                             .loss_permille = all > 0 ? lost * 1000 / all : 0,
                             .pings = rec->pings,
                             .pongs = rec->pongs,
                             .opened_at = rec->opened_at,
                             .heard_at = rec->heard_at,
                             .observed = rec->observed};
}
