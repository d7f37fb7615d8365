/* What a datagram is, by its first bytes, after the scheme of RFC 9443. Pure.
 *
 *   first byte      what shares the port
 *   0000 00xx       STUN (RFC 8489), if the magic cookie is where it belongs
 *   0000 0001       disco, if long enough and no STUN
 *   01xx xxxx       QUIC, short header (RFC 9000 section 17.3)
 *   11xx xxxx       QUIC, long header (RFC 9000 section 17.2)
 *   1xxx xxxx       QUIC version negotiation, if the version is 0 (RFC 9000 section 17.2.1)
 *   anything else   unknown
 *
 * The fixed bit of QUIC packets is never clear here: neither we nor iroh offer to grease it
 * (RFC 9287). */
#ifndef KM_MAGICSOCK_PACKET_KIND_H
#define KM_MAGICSOCK_PACKET_KIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum km_packet_kind {
  KM_PACKET_EMPTY,   /* no bytes at all */
  KM_PACKET_UNKNOWN, /* fixed bit clear, and none of the below */
  KM_PACKET_STUN,
  KM_PACKET_DISCO,
  KM_PACKET_QUIC_SHORT,
  KM_PACKET_QUIC_LONG,
  KM_PACKET_QUIC_VERSION_NEGOTIATION
} km_packet_kind;

/* 0x01, sender id, time, nonce and the tag of an empty sealed body: nothing shorter is disco. */
#define KM_DISCO_MIN_BYTES (1 + 32 + 8 + 24 + 16)

km_packet_kind km_packet_kind_of(const uint8_t *data, size_t len);

static inline bool km_packet_is_quic(const uint8_t *data, size_t len) {
  return km_packet_kind_of(data, len) >= KM_PACKET_QUIC_SHORT;
}

/* Finds the next run of QUIC packets in `len` bytes of datagrams of `segment` bytes each (the last
 * may be shorter; `segment` > 0), beginning at `*offset`, which is a multiple of `segment`. Returns
 * the run's length in bytes, 0 when there is none; `*offset` is where it begins, or `len`.
 * `*skipped` grows by the number of datagrams passed over. */
size_t km_packet_run(const uint8_t *data, size_t len, size_t segment, size_t *offset,
                     uint64_t *skipped);

#endif /* KM_MAGICSOCK_PACKET_KIND_H */
