/* QUIC v1 Initial packets of a client, taken apart and put together (RFC 9001 section 5), so that
 * tests can send valid ones under any connection id. */
#ifndef KM_TEST_ENDPOINT_INITIAL_H
#define KM_TEST_ENDPOINT_INITIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { INITIAL_MAX = 2048, INITIAL_TOKEN_MAX = 256 };

typedef struct initial {
  uint8_t dcid[20], scid[20];
  size_t dcid_len, scid_len;
  uint8_t token[INITIAL_TOKEN_MAX];
  size_t token_len;
  uint8_t payload[INITIAL_MAX]; /* frames, in the clear */
  size_t payload_len;
} initial;

/* Reads the first packet of a client's datagram. False when it is no Initial that opens. */
bool initial_open(initial *ret, const uint8_t *datagram, size_t len);

/* The same for a server's Initial; `dcid` is of the client's packet that it answers. */
bool initial_open_answer(initial *ret, const uint8_t *datagram, size_t len, const uint8_t *dcid,
                         size_t dcid_len);

/* Writes `in` as a datagram of at least 1,200 bytes, with packet number 0; returns its length. */
size_t initial_seal(const initial *in, uint8_t out[INITIAL_MAX]);

#endif /* KM_TEST_ENDPOINT_INITIAL_H */
