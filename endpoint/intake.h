/* What a dial, or a connection that lost its path, takes in of what is found: candidates.h says the
 * rule, this puts it into the mixed path. Claimed relays are connected to when nothing else has
 * answered for a moment; a connection that does without them lets go of them, and knows their names
 * for when its path is lost. */
#ifndef KM_ENDPOINT_INTAKE_H
#define KM_ENDPOINT_INTAKE_H

#include "endpoint/candidates.h"
#include "endpoint/conn_impl.h"

/* How long a claimed relay waits for others to answer. */
#define KM_INTAKE_RELAYS_WAIT_NS (300 * KM_NS_PER_MS)

/* Returns how many ways are new. */
size_t km_intake(km_conn *conn, const km_found *found);
/* How far a candidate is believed. */
km_rank km_intake_rank(const km_conn *conn, const km_path_key *key);
/* It answered wrongly, or made room, and is no candidate any more. */
bool km_intake_is_out(const km_conn *conn, const km_path_key *key);
/* When it was taken in; 0: with the dial. */
km_ts km_intake_since(const km_conn *conn, const km_path_key *key);
/* What a candidate may be sent that is in no mixed path now. */
uint32_t km_intake_allowance(const km_conn *conn, const km_path_key *key);
/* It answered wrongly, or began to answer (`mute`) and said no more. Where that is more than a
 * claim the way may just be a bad one: it may be named again. */
void km_intake_wrong(km_conn *conn, const km_path_key *key, bool mute);
/* `next` takes the place of the connection's mixed path. */
void km_intake_carry(km_conn *conn, km_path *next);
/* Relays that wait are tried now. */
void km_intake_hurry(km_conn *conn);
void km_intake_timeout(km_conn *conn);
/* The connection has a path: it does without claimed relays, but the one it uses is vouched for. */
void km_intake_settle(km_conn *conn);
/* It lost its path: those relays are candidates again. */
void km_intake_recall(km_conn *conn);
/* It asks again: what is known makes room for what is found. */
void km_intake_again(km_conn *conn);
void km_intake_end(km_conn *conn);

#endif /* KM_ENDPOINT_INTAKE_H */
