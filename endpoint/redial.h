/* A dial that goes on without a candidate that turned out to be wrong: another key, a refusal, no
 * QUIC that we speak. Its address may have been out of date, or somebody else's by now; the others
 * deserve a handshake of their own.
 *
 * The km_conn stays, with its streams, which wait; ngtcp2's connection and the TLS object are made
 * anew. Each round has one candidate less, which does not come back, and there are 40 rounds at
 * most, so that there is an end. While it is being looked up where the peer is, the dial goes on
 * without anybody. */
#ifndef KM_ENDPOINT_REDIAL_H
#define KM_ENDPOINT_REDIAL_H

#include "endpoint/conn_impl.h"

/* How long the others have to answer anything, before the dial fails with what the wrong one did: a
 * refusal is mostly meant. */
#define KM_REDIAL_PATIENCE_NS (5 * KM_NS_PER_S)

/* Reading a packet from `from` failed with `liberr`. True: that is dealt with, the handshake with
 * the others is under way, or `conn` is closing. False: not a matter for this module. */
KM_NODISCARD bool km_redial_without(km_conn *conn, const km_path_key *from, int liberr);

/* Closes `conn` for what the last wrong candidate did. False: there was none. */
bool km_redial_give_up(km_conn *conn);

/* How long one that answered the first flight may take to finish the handshake, three times as long
 * as it took to answer at least: who holds an old address of the peer could hold up the dial. Who
 * is only claimed to be there (candidates.h) has less, each one after such a mute one half of that,
 * and a quarter of what is left of the dial at most. */
#define KM_REDIAL_FINISH_NS (8 * KM_NS_PER_S)
#define KM_REDIAL_FINISH_CLAIMED_NS (3 * KM_NS_PER_S)
#define KM_REDIAL_FINISH_LEAST_NS (750 * KM_NS_PER_MS)
#define KM_REDIAL_ROUNDS_MAX 40

/* A candidate answered, or sent a Retry. */
void km_redial_responded(km_conn *conn, const km_path_key *from);
void km_redial_retried(km_conn *conn);

/* Gives up if nobody has answered in KM_REDIAL_PATIENCE_NS, drops who did and said no more. */
void km_redial_timeout(km_conn *conn);

/* Nobody answered for so long: perhaps the peer answers where the first copy came from, and cannot
 * be heard there (a firewall that lets packets through one way). Then relays alone are tried, then
 * all again. */
#define KM_REDIAL_SILENCE_NS (3 * KM_NS_PER_S)
#define KM_REDIAL_RELAYS_NS (5 * KM_NS_PER_S)

/* Where a relay is so far that the usual time is not enough to connect to it and then through it, a
 * dial has twelve of its round trips: two or three for the relay's answer, four to log in, two for
 * the handshake, and some to lose. */
#define KM_REDIAL_TRIPS 12
#define KM_REDIAL_FAR_NS (120 * KM_NS_PER_S)

/* The time is over, ngtcp2 says in `liberr`. True: it was too short, and the dial goes on. */
KM_NODISCARD bool km_redial_longer(km_conn *conn, int liberr);

/* A dial begins. */
void km_redial_begin(km_conn *conn);

/* More candidates were found, the first ones (`first`) or others. */
void km_redial_candidates_came(km_conn *conn, bool first);

/* And no more come. */
void km_redial_no_more_come(km_conn *conn);

/* Frees what is kept. */
void km_redial_forget(km_conn *conn);

#endif /* KM_ENDPOINT_REDIAL_H */
