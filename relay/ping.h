/* Is the other side of a connection still there? Pings of our own, their pongs, and how long to
 * wait for them (iroh-relay/src/ping_tracker.rs has the same numbers, but never waits for more than
 * 5 s, which a satellite path may need). Pure. */
#ifndef KM_RELAY_PING_H
#define KM_RELAY_PING_H

#include "base/env.h"
#include "relay/frame.h"

#define KM_RELAY_PING_INTERVAL (15 * KM_NS_PER_S) /* of silence */
#define KM_RELAY_PONG_MIN (500 * KM_NS_PER_MS)
#define KM_RELAY_PONG_FIRST                                                                        \
  (5 * KM_NS_PER_S) /* at least, while no pong has told how long it takes */
#define KM_RELAY_PONG_MAX (45 * KM_NS_PER_S)
/* Behind other frames a pong may come this late: who talks on and takes nothing in is lost, too. */
#define KM_RELAY_PONG_STUCK (45 * KM_NS_PER_S)

typedef struct km_relay_ping {
  bool waiting;  /* for a pong to `bytes` */
  bool checking; /* ... with a deadline that somebody asked for */
  uint8_t bytes[KM_RELAY_PING_LEN];
  km_ts sent;
  uint64_t patience; /* how long may pass without a word */
  km_ts deadline;    /* KM_TS_NEVER while not waiting */
  km_ts next;        /* when to ping again */
  uint64_t rtt;      /* of the last pong, 0: none yet */
  uint64_t expected; /* what it may be, before that; 0: not known */
} km_relay_ping;

#define KM_RELAY_TRIPS 3 /* an answer is waited for so many round trips */
/* `usual`, or `trips` round trips where these take longer, as long as they do not exceed `most`. */
uint64_t km_relay_patience(uint64_t usual, unsigned trips, uint64_t rtt, uint64_t most);

/* Pings are due from now on. */
void km_relay_ping_init(km_relay_ping *p, km_ts now);
/* A round trip took so long in the handshake. */
void km_relay_ping_expect(km_relay_ping *p, uint64_t rtt);
/* How long to wait for a pong. */
uint64_t km_relay_ping_timeout(const km_relay_ping *p);
/* A ping goes out: fills `p->bytes`. `patience` 0 takes the usual timeout. */
void km_relay_ping_start(km_relay_ping *p, const km_env *env, km_ts now, uint64_t patience);
/* Anything came: whoever speaks is there, though its pong may be stuck behind other frames. */
void km_relay_ping_heard(km_relay_ping *p, km_ts now);
/* True when it answers our ping. Others are tolerated. */
bool km_relay_ping_pong(km_relay_ping *p, km_ts now, const uint8_t bytes[KM_RELAY_PING_LEN]);

static inline bool km_relay_ping_is_due(const km_relay_ping *p, km_ts now) {
  return !p->waiting && now >= p->next;
}
static inline bool km_relay_ping_is_lost(const km_relay_ping *p, km_ts now) {
  return p->waiting && now >= p->deadline;
}
/* When to look again. */
static inline km_ts km_relay_ping_deadline(const km_relay_ping *p) {
  return p->waiting ? p->deadline : p->next;
}

#endif /* KM_RELAY_PING_H */
