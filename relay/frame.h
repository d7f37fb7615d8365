/* Frames of iroh's relay protocol, version 1 and 2: one frame is one binary WebSocket message, its
 * first bytes are the type as a QUIC varint. Byte layouts: iroh-relay/src/protos/relay.rs and
 * handshake.rs; docs/protocol-relay.md. Pure. */
#ifndef KM_RELAY_FRAME_H
#define KM_RELAY_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <keymesh/error.h>
#include <keymesh/export.h>
#include <keymesh/id.h>

#define KM_RELAY_MAX_MESSAGE 65537 /* bytes of a message that a reader takes: type and body */
#define KM_RELAY_MAX_BODY 65535 /* bytes of a body that a writer makes, so that all readers agree */
#define KM_RELAY_MAX_HEADER 36  /* bytes before the payload of a datagram frame */
/* Payload of one datagram frame, whatever its kind. */
#define KM_RELAY_MAX_PAYLOAD (KM_RELAY_MAX_BODY - KM_RELAY_MAX_HEADER + 1)

typedef enum km_relay_version { KM_RELAY_V1 = 1, KM_RELAY_V2 = 2 } km_relay_version;
#define KM_RELAY_PROTOCOL_V1 "iroh-relay-v1"
#define KM_RELAY_PROTOCOL_V2 "iroh-relay-v2"

typedef enum km_relay_type {
  KM_RELAY_SERVER_CHALLENGE = 0,
  KM_RELAY_CLIENT_AUTH = 1,
  KM_RELAY_SERVER_CONFIRMS = 2,
  KM_RELAY_SERVER_DENIES = 3,
  KM_RELAY_TO_RELAY = 4, /* datagram, client to server: `peer` is the destination */
  KM_RELAY_TO_RELAY_BATCH =
      5,                  /* several of them, of `segment` bytes each, the last may be shorter */
  KM_RELAY_TO_CLIENT = 6, /* datagram, server to client: `peer` is the source */
  KM_RELAY_TO_CLIENT_BATCH = 7,
  KM_RELAY_ENDPOINT_GONE = 8,
  KM_RELAY_PING = 9,
  KM_RELAY_PONG = 10,
  KM_RELAY_HEALTH = 11, /* version 1: a sentence */
  KM_RELAY_RESTARTING = 12,
  KM_RELAY_STATUS = 13 /* version 2: a code */
} km_relay_type;

/* Codes of KM_RELAY_STATUS; others exist or will, and mean nothing to us. */
enum { KM_RELAY_HEALTHY = 0, KM_RELAY_SAME_ID = 1, KM_RELAY_RATE_LIMITED = 2 };

#define KM_RELAY_CHALLENGE_LEN 16
#define KM_RELAY_SIGNATURE_LEN 64
#define KM_RELAY_PING_LEN 8

/* Who reads: each side may receive only what the other may send. */
typedef enum km_relay_reader { KM_RELAY_READ_CLIENT, KM_RELAY_READ_SERVER } km_relay_reader;

typedef struct km_relay_frame {
  km_relay_type type;
  km_id peer;       /* datagrams, endpoint gone, client auth (who it is) */
  uint8_t ecn;      /* datagrams: the two ECN bits; more than two are read as 0 */
  uint16_t segment; /* batches: bytes of a segment; 0 is read as one datagram */
  /* Payload, challenge (16), signature (64), ping's bytes (8), health's or a denial's text. Points
   * into the message. */
  const uint8_t *data;
  size_t len;
  uint32_t reconnect_in_ms, try_for_ms; /* restarting */
  uint8_t status;
} km_relay_frame;

/* Reads a frame of the handshake (types 0 to 3). 0 or KM_ERR_RELAY_PROTOCOL with a sentence. */
KM_NODISCARD int km_relay_frame_read_handshake(km_relay_frame *ret, km_relay_reader reader,
                                               const uint8_t *msg, size_t len, km_errinfo *err);
/* Reads a frame after the handshake. Whether `peer` is a point on the curve is not looked at: for
 * one who only passes packets on, ids are names. 0 or KM_ERR_RELAY_PROTOCOL. */
KM_NODISCARD int km_relay_frame_read(km_relay_frame *ret, km_relay_reader reader,
                                     km_relay_version version, const uint8_t *msg, size_t len,
                                     km_errinfo *err);

/* What stands before the payload of a datagram frame: 34 bytes, 36 for a batch (`segment` > 0 and
 * < `payload_len`). Written into `ret`; returns the length. `type`: KM_RELAY_TO_RELAY or
 * KM_RELAY_TO_CLIENT, which becomes its batch form by itself. */
size_t km_relay_datagram_header(uint8_t ret[KM_RELAY_MAX_HEADER], km_relay_type type,
                                const km_id *peer, uint8_t ecn, uint16_t segment,
                                size_t payload_len);
/* Writes any other frame (and datagrams whole). Returns its length, or KM_ERR_BUFFER. */
int km_relay_frame_write(uint8_t *ret, size_t cap, const km_relay_frame *frame);

#endif /* KM_RELAY_FRAME_H */
