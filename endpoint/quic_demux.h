/* Which connection a packet belongs to, and answers to packets that belong to none. */
#ifndef KM_ENDPOINT_QUIC_DEMUX_H
#define KM_ENDPOINT_QUIC_DEMUX_H

#include "endpoint/endpoint_impl.h"

/* Handles one packet of `len` > 0 bytes. */
void km_quic_demux(km_endpoint *ep, const km_path_key *from, uint8_t ecn, const uint8_t *data,
                   size_t len);

/* quic_accept.c: a first packet for a connection that does not exist yet. */
void km_quic_accept(km_endpoint *ep, const km_path_key *from, uint8_t ecn, const uint8_t *data,
                    size_t len);

#endif /* KM_ENDPOINT_QUIC_DEMUX_H */
