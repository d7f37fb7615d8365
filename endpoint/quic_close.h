/* Ends of connections, and what is left of them: tombstones, which answer a peer that repeats
 * packets with the same CONNECTION_CLOSE, or swallow them (RFC 9000 section 10.2). */
#ifndef KM_ENDPOINT_QUIC_CLOSE_H
#define KM_ENDPOINT_QUIC_CLOSE_H

#include "endpoint/endpoint_impl.h"

typedef struct km_tombstone km_tombstone;

/* A packet of `len` bytes came for a connection that is closed. Anybody may have sent it, from any
 * address: answers are at most three times what came from there (RFC 9000 section 10.2.1). */
void km_tombstone_answer(km_tombstone *t, const km_path_key *from, size_t len);

/* The endpoint closes: those that only swallow packets are not waited for. */
void km_tombstones_hurry(km_endpoint *ep);

#endif /* KM_ENDPOINT_QUIC_CLOSE_H */
