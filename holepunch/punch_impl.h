/* The inside of the hole-punching core (punch.h): what its files share.
 *
 *   punch.c         life, what the shell tells it, states
 *   punch_ways.c    the table of ways and what each of them went through
 *   punch_rounds.c  attempts, rounds, calls, and their timers
 *   punch_guess.c   guessing the ports of a hard NAT
 *   punch_out.c     what it wants done
 *   punch_log.c     time line and counters */
#ifndef KM_HOLEPUNCH_PUNCH_IMPL_H
#define KM_HOLEPUNCH_PUNCH_IMPL_H

#include "holepunch/punch.h"

#define KM_PUNCH_MS(n) ((uint64_t)(n)*KM_NS_PER_MS)
#define KM_PUNCH_S(n) ((uint64_t)(n)*KM_NS_PER_S)

/* Of one way: the Pings that are remembered. More than the longest series that decides on death. */
#define KM_PUNCH_PINGS 16
#define KM_PUNCH_LATE KM_PUNCH_S(30)      /* a Pong counts that long: there are links of 10 s */
#define KM_PUNCH_KEEP_ALIVE KM_PUNCH_S(8) /* behind QUIC's own, of 5 s by default */
#define KM_PUNCH_FRESH KM_PUNCH_S(5)  /* what was heard so long ago is believed without asking */
#define KM_PUNCH_TRIAL KM_PUNCH_S(60) /* other candidates, while a way is open */

/* What KM_CANDIDATE_* a Call-me-maybe may hold. */
#define KM_PUNCH_CALLED                                                                            \
  (KM_CANDIDATE_INTERFACE | KM_CANDIDATE_REFLEXIVE | KM_CANDIDATE_MAPPED | KM_CANDIDATE_SEEN)

typedef enum km_ping_state {
  KM_PING_NONE,
  KM_PING_OUT,
  KM_PING_ANSWERED,
  KM_PING_LOST, /* overdue; its Pong still counts */
  KM_PING_VOID  /* overdue, but says nothing about the way: it was not open yet */
} km_ping_state;

typedef struct km_punch_ping {
  uint8_t tx[KM_DISCO_TX_LEN];
  uint8_t state; /* km_ping_state */
  bool early;    /* sent before the way was open */
  km_ts at;
} km_punch_ping;

typedef struct km_punch_rec {
  km_punch_way way;
  uint8_t source;
  km_punch_way_state state;
  bool told_open;   /* the shell knows it as open */
  bool gone;        /* to be forgotten as soon as the shell was told of its death */
  bool due;         /* to be pinged as soon as the budget allows */
  bool put_off;     /* the budget did not allow it at once */
  bool send;        /* to be pinged now */
  bool logged;      /* a ping of this attempt is in the time line */
  bool ping_came;   /* the first ping from there is in the time line */
  bool rtt_doubted; /* measured on another network */
  uint8_t next_ping;
  uint8_t quick_left; /* suspect: pings to come */
  uint32_t users;
  uint32_t pings, pongs;
  uint32_t call;   /* number of the call that listed it last; 0: none */
  uint64_t order;  /* grows with each sign of life or of interest */
  uint64_t rtt_ns; /* smoothed as by RFC 6298; 0: never measured */
  uint64_t rtt_var;
  km_ts opened_at, heard_at, pinged_at; /* KM_TS_NEVER: never */
  km_ts riposte_at;                     /* it was pinged because a ping came from there */
  km_ts quick_since, quick_at;          /* suspect */
  km_udp_addr observed;
  km_punch_ping sent[KM_PUNCH_PINGS];
} km_punch_rec;

typedef struct km_punch_guess km_punch_guess;

struct km_punch {
  const km_env *env;
  km_probe_budget *shared;
  km_probe_budget alone; /* this peer's half */
  km_id own_id, peer_id;
  km_ts now; /* of the call that runs, or ran last */

  bool wanted;
  km_punch_state state;

  km_candidate own[KM_DISCO_MAX_CANDIDATES];
  size_t own_count;
  km_nat_info nat;
  char relay_url[KM_DISCO_MAX_URL + 1];

  bool called;        /* `peer` is valid */
  bool peer_answered; /* something came from the peer since the attempt began */
  km_call_me_maybe peer;
  uint32_t call_number; /* of the last one that came */
  uint32_t call_tokens; /* calls that may begin rounds */
  km_ts call_token_at;

  km_punch_rec *ways;
  size_t count, cap;
  uint64_t order;

  uint64_t relay_rtt; /* 0: not known */
  km_ts attempt_at;
  uint32_t attempts; /* since something changed: the back-off */
  uint32_t round;    /* 1 is the first since they began */
  uint32_t rounds_left;
  uint64_t round_gap;
  km_ts round_at; /* the next one, or the end of the last */
  km_ts wait_at;  /* waiting: the next attempt */
  km_ts trial_at; /* open: the next look at the other candidates */
  km_ts budget_at;
  bool budget_logged; /* in this attempt */

  bool call_due, call_ask; /* a call of ours is to go out at call_at */
  km_ts call_at;
  km_ts called_at; /* our last one went out; KM_TS_NEVER: none */
  bool call_send;  /* now */
  uint8_t call_flags;
  uint32_t recalls; /* repetitions of this attempt's call */
  uint64_t recall_gap;
  km_ts recall_at;

  km_punch_guess *guess; /* NULL: no guessing so far, or long over */
  bool guessed;          /* in this attempt */
  bool spray_ask, spray_end;
  km_udp_addr spray_addr;

  km_punch_event *events;
  size_t event_count, event_cap, event_first;
  km_punch_stats stats;
  km_disco_message out;
};

static inline km_ts km_punch_after(km_ts at, uint64_t gap) {
  return at >= KM_TS_NEVER - 1 - gap ? KM_TS_NEVER - 1 : at + gap;
}

static inline uint64_t km_punch_since(km_ts now, km_ts then) {
  return now > then ? now - then : 0; /* a then of KM_TS_NEVER gives 0: ask first */
}

static inline km_ts km_punch_min(km_ts a, km_ts b) {
  return a < b ? a : b;
}

static inline bool km_punch_is_open(const km_punch_rec *rec) {
  return rec->state == KM_PUNCH_WAY_OPEN || rec->state == KM_PUNCH_WAY_SUSPECT;
}

bool km_punch_way_equal(const km_punch_way *a, const km_punch_way *b);

/* probe_budget.c */
bool km_probe_budget_has(km_probe_budget *b, uint32_t per_second, uint32_t burst, km_ts now);
/* One ping toward an address that has proven nothing; false: not now. */
bool km_punch_pay(km_punch *p);

/* punch.c */
void km_punch_set_state(km_punch *p, km_punch_state state);
void km_punch_settle(km_punch *p); /* ends every call: states, payments */

/* punch_ways.c */
km_punch_rec *km_punch_ways_find(const km_punch *p, const km_punch_way *way);
/* NULL: no room, or no memory. Adds the source to one that is known. */
km_punch_rec *km_punch_ways_add(km_punch *p, const km_punch_way *way, uint8_t source);
void km_punch_ways_remove(km_punch *p, size_t index);
bool km_punch_ways_allowed(const km_punch *p, const km_udp_addr *addr); /* may be a candidate */
void km_punch_ways_from_call(km_punch *p, const km_call_me_maybe *call);
void km_punch_ways_forget_own(km_punch *p); /* those that are ours by now */
void km_punch_ways_forget_stale(km_punch *p);
bool km_punch_ways_any_open(const km_punch *p);
km_punch_ping *km_punch_way_ping(km_punch *p, km_punch_rec *rec); /* a new one goes out */
bool km_punch_way_pong(km_punch *p, km_punch_rec *rec, const km_disco_message *msg);
void km_punch_way_open(km_punch *p, km_punch_rec *rec, uint64_t rtt, const km_udp_addr *observed);
void km_punch_way_suspect(km_punch *p, km_punch_rec *rec);
void km_punch_way_heard(km_punch *p, km_punch_rec *rec);
void km_punch_way_dead(km_punch *p, km_punch_rec *rec);
void km_punch_way_timeout(km_punch *p, km_punch_rec *rec);
void km_punch_way_overslept(km_punch *p, km_punch_rec *rec);
km_ts km_punch_way_deadline(const km_punch *p, const km_punch_rec *rec);
void km_punch_way_info_of(const km_punch_rec *rec, km_punch_way_info *ret);

/* punch_rounds.c */
void km_punch_attempt_begin(km_punch *p, bool called); /* by the peer: it knows already */
void km_punch_attempt_end(km_punch *p);                /* a way is open */
void km_punch_rounds_begin(km_punch *p, uint32_t rounds);
void km_punch_rounds_again(km_punch *p); /* all of them */
void km_punch_rounds_rest(km_punch *p);  /* no more of all that */
void km_punch_rounds_timeout(km_punch *p);
km_ts km_punch_rounds_deadline(const km_punch *p);
void km_punch_call(km_punch *p, bool ask);
void km_punch_call_news(km_punch *p, bool ask); /* our candidates changed: sooner */
void km_punch_call_came(km_punch *p, const km_call_me_maybe *call);

/* punch_guess.c */
/* False: no hard NAT is between, nothing is known to guess at, or there is no memory. */
bool km_punch_guess_begin(km_punch *p);
void km_punch_guess_timeout(km_punch *p);
km_ts km_punch_guess_deadline(const km_punch *p);
bool km_punch_guess_running(const km_punch *p);
void km_punch_guess_end(km_punch *p); /* its pings may still be answered */
void km_punch_guess_del(km_punch *p);
/* False: none is to be sent now. */
bool km_punch_guess_next(km_punch *p, km_punch_way *ret, uint8_t tx[KM_DISCO_TX_LEN]);
void km_punch_guess_sprayed(km_punch *p, const km_via *vias, size_t count);
void km_punch_guess_via_gone(km_punch *p, km_via via);
/* A Pong on an unknown way: when it answers a guess, the way is opened. */
bool km_punch_guess_pong(km_punch *p, const km_punch_way *from, const km_disco_message *msg);

/* punch_log.c */
void km_punch_log(km_punch *p, km_punch_event_kind kind, const km_punch_way *way, uint64_t value);

#endif /* KM_HOLEPUNCH_PUNCH_IMPL_H */
