/* STUN requests under way: to several servers at once, repeated as RFC 8489 section 6.2.1 says.
 * Pure: the caller sends what km_stun_client_pull gives it, and hands in what came.
 *
 * A transaction is free -> waiting -> done -> free: it waits for its answer, sending again and
 * again, and is done with an answer, an error, or silence, until km_stun_client_take took that. */
#ifndef KM_HOLEPUNCH_STUN_CLIENT_H
#define KM_HOLEPUNCH_STUN_CLIENT_H

#include "base/env.h"
#include "holepunch/stun.h"

#define KM_STUN_CLIENT_MAX 64     /* transactions at once */
#define KM_STUN_CLIENT_SERVERS 16 /* addresses whose round trip is remembered */
#define KM_STUN_RTO (500 * KM_NS_PER_MS)
#define KM_STUN_RC 7  /* requests */
#define KM_STUN_RM 16 /* so many RTO is waited after the last */

typedef struct km_stun_ask {
  km_udp_addr server; /* where the request goes */
  km_udp_addr expect; /* where an answer has to come from; family 0: from there. Errors always do */
  uint32_t tag;       /* the caller's */
  uint8_t socket;     /* the caller's name of the socket it leaves from; the answer comes there */
  bool change_ip, change_port; /* CHANGE-REQUEST */
  /* `server` is an address of our own: what has to arrive, at any other socket, is the request. */
  bool loops;
  uint8_t rc, rm; /* 0: those above */
} km_stun_ask;

typedef struct km_stun_out {
  km_udp_addr to;
  uint8_t socket;
  size_t len;
  uint8_t bytes[KM_STUN_MAX_REQUEST];
} km_stun_out;

typedef struct km_stun_done {
  uint32_t tag;
  int code;       /* 0, KM_ERR_TIMEOUT, KM_ERR_REFUSED or KM_ERR_UNSUPPORTED */
  uint16_t error; /* with KM_ERR_REFUSED: the number */
  km_udp_addr mapped, origin, other;
  uint64_t rtt_ns; /* since the request was first sent: too much if it was sent again */
} km_stun_done;

typedef struct km_stun_rtt {
  km_udp_addr server; /* its port does not matter, and is 0 */
  uint64_t srtt_ns, var_ns, rto_ns;
  km_ts used;
} km_stun_rtt;

typedef struct km_stun_transaction {
  enum { KM_STUN_FREE, KM_STUN_WAITING, KM_STUN_DONE } state;
  km_stun_ask ask;
  uint8_t id[KM_STUN_ID_LEN];
  unsigned sent;      /* times */
  km_ts first, again; /* sent first; send again, or give up when `sent` is rc */
  uint64_t rto_ns;
  km_stun_done done;
} km_stun_transaction;

typedef struct km_stun_client {
  const km_env *env;
  km_stun_transaction at[KM_STUN_CLIENT_MAX];
  km_stun_rtt rtts[KM_STUN_CLIENT_SERVERS];
} km_stun_client;

void km_stun_client_init(km_stun_client *c, const km_env *env); /* which outlives it */

/* Begins a transaction; pull then gives its request. 0 or KM_ERR_LIMIT. */
KM_NODISCARD int km_stun_client_ask(km_stun_client *c, const km_stun_ask *ask, km_ts now);
/* The next request that is to be sent now; false: there is none. Gives silent servers up. */
bool km_stun_client_pull(km_stun_client *c, km_ts now, km_stun_out *ret);
/* When to pull next. */
km_ts km_stun_client_deadline(const km_stun_client *c);
/* A packet that came to `socket`. True: it was for a transaction of ours. */
bool km_stun_client_receive(km_stun_client *c, km_ts now, uint8_t socket, const km_udp_addr *from,
                            const uint8_t *bytes, size_t len);
/* The next one that is done; false: there is none. */
bool km_stun_client_take(km_stun_client *c, km_stun_done *ret);
/* Whether a transaction of that tag waits. */
bool km_stun_client_waits(const km_stun_client *c, uint32_t tag);
/* Ends those of that tag without a word. */
void km_stun_client_cancel(km_stun_client *c, uint32_t tag);

#endif /* KM_HOLEPUNCH_STUN_CLIENT_H */
