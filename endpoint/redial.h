/* A dial that goes on without a candidate that turned out to be wrong: another key, a refusal, no
 * QUIC that we speak. Its address may have been out of date, or somebody else's by now; the others
 * deserve a handshake of their own.
 *
 * The km_conn stays, with its streams, which wait; ngtcp2's connection and the TLS object are made
 * anew. Each round has one candidate less, so that there is an end. */
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
 * as it took to answer at least: who holds an old address of the peer could hold up the dial. */
#define KM_REDIAL_FINISH_NS (8 * KM_NS_PER_S)

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

/* A dial begins. */
void km_redial_begin(km_conn *conn);

/* Frees what is kept. */
void km_redial_forget(km_conn *conn);

#endif /* KM_ENDPOINT_REDIAL_H */
