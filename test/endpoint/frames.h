/* The frames of a QUIC v1 packet in the clear (RFC 9000 section 19), as far as the library's
 * endpoints send them. */
#ifndef KM_TEST_ENDPOINT_FRAMES_H
#define KM_TEST_ENDPOINT_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  FRAME_PADDING = 0x00,
  FRAME_PING = 0x01,
  FRAME_ACK = 0x02,
  FRAME_ACK_ECN = 0x03,
  FRAME_CRYPTO = 0x06,
  FRAME_NEW_CONNECTION_ID = 0x18,
  FRAME_RETIRE_CONNECTION_ID = 0x19,
  FRAME_PATH_CHALLENGE = 0x1a,
  FRAME_CLOSE = 0x1c,
  FRAME_HANDSHAKE_DONE = 0x1e,
};

typedef struct frame {
  uint64_t type;
  uint64_t first;  /* its first number: largest acknowledged, offset, sequence, error code ... */
  uint64_t ranges; /* ACK: the runs of packets that it names, one at least */
  const uint8_t *at;
  size_t len; /* of the whole frame */
} frame;

/* Reads the frame at *at and steps over it. False at the end, and at what it does not know. */
bool frame_next(const uint8_t **at, const uint8_t *end, frame *ret);
/* The first frame of a type; false when there is none. */
bool frame_find(const uint8_t *data, size_t len, uint64_t type, frame *ret);

/* Reads a variable-length integer and steps over it; false when it is cut off. */
bool take_varint(const uint8_t **at, const uint8_t *end, uint64_t *ret);
/* Appends a variable-length integer; returns the place behind it. */
uint8_t *put_varint(uint8_t *at, uint64_t value);

#endif /* KM_TEST_ENDPOINT_FRAMES_H */
