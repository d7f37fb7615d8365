/* The life of a relay client without its sockets: when to dial, the handshake, pings, what a
 * message means, and when to try again. Pure: time is an argument, randomness comes from the
 * environment. The shell feeds it and then does what `todo` says. */
#ifndef KM_RELAY_CLIENT_CORE_H
#define KM_RELAY_CLIENT_CORE_H

#include "relay/backoff.h"
#include "relay/client.h"
#include "relay/handshake.h"
#include "relay/ping.h"

/* An attempt has 10 s from the name to the confirmation. Where the relay's host answers and takes
 * its time, it has three times as long as the last answer took, from that answer on. After an
 * attempt that nobody answered, the next one waits longer for the first word: no longer than that a
 * relay which is back is found soon, since TCP doubles the time between its own attempts. */
#define KM_RELAY_ATTEMPT_DEADLINE (10 * KM_NS_PER_S)
#define KM_RELAY_FIRST_ANSWER_MAX (20 * KM_NS_PER_S)
#define KM_RELAY_ATTEMPT_MAX (90 * KM_NS_PER_S)  /* altogether, however slow the answers are */
#define KM_RELAY_RESTART_WAIT_MAX_MS (60 * 1000) /* a relay's wishes go so far ... */
#define KM_RELAY_RESTART_TRY_MAX_MS (10 * 60 * 1000)
#define KM_RELAY_SHORT_SESSION (10 * KM_NS_PER_S) /* a shorter one does not reset the back-off */
#define KM_RELAY_CONTESTED_TRIES 7 /* of the back-off, at least, where another has our id */

/* For the shell; it takes the bits away as it does them, in this order. */
enum {
  KM_RELAY_TODO_CLOSE = 1, /* whatever connection or attempt there is */
  KM_RELAY_TODO_DIAL = 2,
  KM_RELAY_TODO_SEND = 4, /* km_relay_core_next_frame has something */
  KM_RELAY_TODO_TELL = 8  /* the state changed: `state` and `why` */
};

/* What a message was, for the user. */
typedef enum km_relay_event {
  KM_RELAY_EVENT_NONE,
  KM_RELAY_EVENT_DATAGRAMS, /* peer, ecn, data, len; segment is in 1..len */
  KM_RELAY_EVENT_GONE,      /* peer */
  KM_RELAY_EVENT_ELSEWHERE, /* another endpoint has our id */
  KM_RELAY_EVENT_ALONE      /* no longer */
} km_relay_event;

typedef struct km_relay_core {
  const km_env *env;
  const km_secret_key *key;
  km_relay_client_state state;
  unsigned todo;
  km_errinfo why; /* code 0 while all is well */

  bool upgraded; /* to WebSocket */
  km_relay_version version;
  km_relay_client_handshake hs;
  km_ts attempt_deadline; /* while connecting */
  km_ts attempt_began;
  km_ts answered_at;   /* last in this attempt; its beginning if it was not yet */
  uint64_t round_trip; /* what the last answer of the handshake took, 0: none yet */
  uint64_t patience;   /* with the first answer */
  km_ts down_since;    /* while it is not connected */
  km_ts connected_at;
  km_ts retry_at; /* while waiting */
  km_ts last_rx;  /* 0: never */
  km_relay_ping ping;
  bool had_pong;
  bool elsewhere;

  km_relay_backoff backoff;
  bool restarting; /* the relay said so */
  uint32_t reconnect_in_ms, try_for_ms;
  km_ts restart_until; /* short waits until then */

  uint8_t reply[KM_RELAY_HANDSHAKE_MAX]; /* of the handshake */
  size_t reply_len;
  uint8_t pong[KM_RELAY_PING_LEN];
  bool pong_due, ping_due;
  uint64_t connects, failures;
} km_relay_core;

/* Connecting, with KM_RELAY_TODO_DIAL. */
void km_relay_core_init(km_relay_core *c, const km_env *env, const km_secret_key *key, km_ts now);
/* The relay's host answered what was sent to it: TCP, TLS. */
void km_relay_core_answered(km_relay_core *c, km_ts now);
/* The WebSocket is there, which is an answer, too. */
void km_relay_core_upgraded(km_relay_core *c, km_ts now, km_relay_version version);
/* A binary message; `frame` (into `msg`) goes with the event. */
km_relay_event km_relay_core_message(km_relay_core *c, km_ts now, const uint8_t *msg, size_t len,
                                     km_relay_frame *frame);
/* The attempt failed or the connection ended; nothing while waiting. */
void km_relay_core_lost(km_relay_core *c, km_ts now, const km_errinfo *why);
void km_relay_core_timer(km_relay_core *c, km_ts now);
km_ts km_relay_core_deadline(const km_relay_core *c);
/* Of the last pong, of the handshake before that; 0: not known. */
uint64_t km_relay_core_round_trip(const km_relay_core *c);
void km_relay_core_check(km_relay_core *c, km_ts now, uint64_t patience);
/* `stranded`: the address of ours that the connection goes from is not ours any more. */
void km_relay_core_network_changed(km_relay_core *c, km_ts now, bool stranded);
/* The next frame of its own to be sent, at most KM_RELAY_HANDSHAKE_MAX bytes; 0: none. */
size_t km_relay_core_next_frame(km_relay_core *c, uint8_t ret[KM_RELAY_HANDSHAKE_MAX]);

#endif /* KM_RELAY_CLIENT_CORE_H */
