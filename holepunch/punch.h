/* Finds direct ways to one peer, proves them, watches them. Pure; one of these a peer, shared by
 * all connections to it, whichever side dialled.
 *
 * A way is a pair: `via`, a local socket, and the peer's address. It is open when a Ping of ours
 * sent there was answered from there: it works both ways then. What happens:
 *
 *   resting    nobody wants a direct way. Pings are answered (by the shell), nothing is sent.
 *   rounds     Call-me-maybe was sent; all candidates are pinged at once, again after 100 ms, 200,
 *              400 ... (times that grow with the round trip over the relay); both sides do so at
 *              the same time, because each begins when the other's Call-me-maybe arrives.
 *   guessing   rounds found nothing and one NAT is hard: ports are guessed, within bounds.
 *   open       a way is open: it is pinged every few seconds while it is in use, at once when it is
 *              suspected, and is dead after five Pings in a row without an answer (more where Pings
 *              are lost anyway). Other candidates are tried again once a minute, as one of them may
 *              be better.
 *   waiting    nothing worked. Again after 15 s, 30, 60 ... 300 s, or when anything changed: a new
 *              Call-me-maybe, candidates of ours, the network.
 *
 *   resting  -> rounds    km_punch_want(true)
 *   rounds   -> open      a Pong            rounds   -> guessing  two rounds, and a NAT is hard
 *   rounds   -> waiting   rounds over       guessing -> open      a Pong
 *   guessing -> waiting   guesses used up   guessing -> rounds    the network changed
 *   waiting  -> open      a late Pong       waiting  -> rounds    time, Call-me-maybe, changes
 *   open     -> rounds    the last open way died     any -> resting  km_punch_want(false)
 *
 * Packets toward addresses that have proven nothing are paid out of a budget that all peers share
 * (km_probe_budget): nobody can make us send more than that to third parties. */
#ifndef KM_HOLEPUNCH_PUNCH_H
#define KM_HOLEPUNCH_PUNCH_H

#include "holepunch/disco.h"

#define KM_PUNCH_MAX_WAYS 64    /* known at once; unproven ones make room */
#define KM_PUNCH_MAX_EVENTS 128 /* of the time line */
#define KM_PUNCH_SPRAY_SOCKETS 256
#define KM_PUNCH_MAX_GUESSES 1024 /* ports of the peer's that are tried, an attempt */

/* Pings toward unproven addresses, all peers together: a bucket of KM_PROBE_BURST, refilled by
 * KM_PROBE_PER_SECOND. A peer alone gets at most half of it. */
#define KM_PROBE_PER_SECOND 300
#define KM_PROBE_BURST 300
typedef struct km_probe_budget {
  uint32_t left;
  km_ts refilled;
} km_probe_budget;
void km_probe_budget_init(km_probe_budget *b, km_ts now);

/* A local socket. 0: the one that the address's family uses now. */
typedef uint32_t km_via;

typedef struct km_punch_way {
  km_via via;
  km_udp_addr addr;
} km_punch_way;

typedef struct km_punch km_punch;

typedef struct km_punch_config {
  const km_env *env;       /* outlives it */
  km_probe_budget *budget; /* outlives it */
  km_id own, peer;         /* for ties: the greater id does what only one side should do */
} km_punch_config;

KM_NODISCARD int km_punch_new(km_punch **ret, const km_punch_config *config, km_ts now);
void km_punch_del(km_punch *p);

/* --- what the shell tells it ------------------------------------------------------------------ */

/* Whether a connection wants a direct way. */
void km_punch_want(km_punch *p, bool wanted, km_ts now);
/* Where we may be reached, what our NAT does, our home relay (NULL: none). Copied. When it differs
 * from before, and a way is wanted, the peer is told. */
void km_punch_set_local(km_punch *p, const km_candidate *own, size_t count, const km_nat_info *nat,
                        const char *relay_url, km_ts now);
/* An address of the peer's that was learnt elsewhere (KM_CANDIDATE_GIVEN). */
void km_punch_add(km_punch *p, const km_udp_addr *addr, uint8_t source, km_ts now);
/* A fresh message of the peer's. `from` NULL: it came through a relay. For a Ping the shell has
 * sent the Pong already. Returns false for a Pong that answers nothing of ours. */
bool km_punch_input(km_punch *p, const km_punch_way *from, const km_disco_message *msg, km_ts now);
/* A round trip through the relay takes so long, as far as is known: rounds are spaced by it. */
void km_punch_relay_rtt(km_punch *p, uint64_t rtt_ns);
/* A connection uses this way (counted by who calls: used true, later false): it is kept alive. */
void km_punch_use(km_punch *p, const km_punch_way *way, bool used, km_ts now);
/* A connection heard something genuine on an open way: as good as a Pong, and free. */
void km_punch_heard(km_punch *p, const km_punch_way *way, km_ts now);
/* A connection hears nothing on this way though it should: it is pinged at once. */
void km_punch_suspect(km_punch *p, const km_punch_way *way, km_ts now);
/* Sockets were bound anew or addresses of this machine changed: all ways are in doubt, rounds begin
 * at once. Ways whose `via` is not 0 and is gone are forgotten with km_punch_via_gone. */
void km_punch_network_changed(km_punch *p, km_ts now);
void km_punch_via_gone(km_punch *p, km_via via);
/* The extra sockets that KM_PUNCH_OUT_SPRAY asked for; `count` may be less, or 0. */
void km_punch_spray_ready(km_punch *p, const km_via *vias, size_t count, km_ts now);

/* Call when now >= the deadline; harmless if early. */
void km_punch_timeout(km_punch *p, km_ts now);
km_ts km_punch_deadline(const km_punch *p); /* KM_TS_NEVER when nothing is due */

/* --- what it wants done; pulled after every call above until there is no more ----------------- */

typedef enum km_punch_out_kind {
  KM_PUNCH_OUT_PING,     /* send `msg` on `way` */
  KM_PUNCH_OUT_CALL,     /* send `msg` through the relay, and on every open way */
  KM_PUNCH_OUT_OPEN,     /* `way` works */
  KM_PUNCH_OUT_DEAD,     /* `way` worked and does not any more */
  KM_PUNCH_OUT_SPRAY,    /* open up to `count` more sockets of `way.addr`'s family */
  KM_PUNCH_OUT_SPRAY_END /* close those that no connection uses and no open way needs */
} km_punch_out_kind;

typedef struct km_punch_out {
  km_punch_out_kind kind;
  km_punch_way way;
  size_t count;
  const km_disco_message *msg; /* valid until the next call */
} km_punch_out;

bool km_punch_next(km_punch *p, km_punch_out *ret);

/* --- what is known ---------------------------------------------------------------------------- */

typedef enum km_punch_state {
  KM_PUNCH_RESTING,
  KM_PUNCH_ROUNDS,
  KM_PUNCH_GUESSING,
  KM_PUNCH_OPEN,
  KM_PUNCH_WAITING
} km_punch_state;

typedef enum km_punch_way_state {
  KM_PUNCH_WAY_UNTRIED,
  KM_PUNCH_WAY_PROBING, /* pinged, not answered (yet) */
  KM_PUNCH_WAY_OPEN,
  KM_PUNCH_WAY_SUSPECT, /* open until the pings that are out are overdue */
  KM_PUNCH_WAY_DEAD
} km_punch_way_state;

typedef struct km_punch_way_info {
  km_punch_way way;
  uint8_t source; /* KM_CANDIDATE_* bits */
  km_punch_way_state state;
  uint64_t rtt_ns;        /* smoothed; 0: never answered */
  uint32_t loss_permille; /* of recent pings */
  uint32_t pings, pongs;
  km_ts opened_at;      /* KM_TS_NEVER: not open */
  km_ts heard_at;       /* last Pong or genuine packet; KM_TS_NEVER: never */
  km_udp_addr observed; /* our address as the peer sees it there */
} km_punch_way_info;

km_punch_state km_punch_get_state(const km_punch *p);
size_t km_punch_ways(const km_punch *p, km_punch_way_info *ret, size_t cap);
/* False: not known. */
bool km_punch_find(const km_punch *p, const km_punch_way *way, km_punch_way_info *ret);
/* What the peer last told; NULL: nothing, so it may speak no disco at all. */
const km_call_me_maybe *km_punch_peer(const km_punch *p);

/* What was tried, in order; the oldest are forgotten beyond KM_PUNCH_MAX_EVENTS. */
typedef enum km_punch_event_kind {
  KM_PUNCH_EVENT_STATE,     /* value: the new km_punch_state */
  KM_PUNCH_EVENT_LOCAL,     /* our candidates changed; value: how many */
  KM_PUNCH_EVENT_CALL_SENT, /* value: candidates */
  KM_PUNCH_EVENT_CALL_CAME, /* value: candidates */
  KM_PUNCH_EVENT_CANDIDATE, /* a new one; way, value: source */
  KM_PUNCH_EVENT_PING_SENT, /* the first of an attempt to that way; value: the round */
  KM_PUNCH_EVENT_PING_CAME, /* the first from that way */
  KM_PUNCH_EVENT_OPEN,      /* value: rtt in us */
  KM_PUNCH_EVENT_SUSPECT,
  KM_PUNCH_EVENT_DEAD,     /* value: how long it was open, ms */
  KM_PUNCH_EVENT_GUESSING, /* it ended; value: guesses, or extra sockets, of this attempt */
  KM_PUNCH_EVENT_BUDGET,   /* pings were put off: the budget was used up */
  KM_PUNCH_EVENT_NETWORK   /* the network changed */
} km_punch_event_kind;

typedef struct km_punch_event {
  km_ts at;
  km_punch_event_kind kind;
  km_punch_way way; /* family 0: none */
  uint64_t value;
} km_punch_event;

size_t km_punch_events(const km_punch *p, km_punch_event *ret, size_t cap);

typedef struct km_punch_stats {
  uint64_t attempts;  /* to find a way: from any state into rounds */
  uint64_t successes; /* of them that ended with an open way */
  uint64_t pings_sent, pings_received, pongs_received, pongs_stray;
  uint64_t calls_sent, calls_received;
  uint64_t guesses;
  uint64_t put_off;           /* pings that the budget kept back */
  uint64_t time_to_direct_ns; /* of the last success; 0: none */
} km_punch_stats;
void km_punch_get_stats(const km_punch *p, km_punch_stats *ret);

#endif /* KM_HOLEPUNCH_PUNCH_H */
