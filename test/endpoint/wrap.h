/* Two places where tests get between the library and the world, by the linker's --wrap, so that the
 * product has no door for it: the clock, and packets on their way into encryption. */
#ifndef KM_TEST_ENDPOINT_WRAP_H
#define KM_TEST_ENDPOINT_WRAP_H

#include "test/endpoint/lab.h"

/* --- the clock (wrap_clock_io.c): km_clock_now, timerfd_settime ------------------------------- */

/* The library's clock leaps; deadlines that are over fire in the next turn. */
void clock_forward(uint64_t ns);
/* It stands still, or goes on from where it stood. No deadline fires meanwhile. */
void clock_freeze(bool on);

/* --- packets (wrap_packets.c) ---------------------------------------------------------------- */

typedef struct plain_packet {
  uint8_t first_byte; /* of the header: bit 0x80 is the long one */
  const uint8_t *dcid;
  size_t dcid_len;
  uint8_t *data; /* frames; the watcher may change them */
  size_t len;
} plain_packet;

/* Sees every packet of every endpoint of this process before it is encrypted. NULL: nobody does. */
void packets_watch(void (*fn)(void *ctx, plain_packet *packet), void *ctx);

/* Makes `c` send a packet with nothing in it but these frames and padding, whatever they say: 1,000
 * bytes at most. ngtcp2 believes that it sent a datagram. */
enum { FORGED_MAX = 1000 };
void packets_forge(lab_conn *c, const uint8_t *frames, size_t len);

/* Clients from now on tell servers to give them this many connection ids, 64 at least; 0: as many
 * as the library takes. ngtcp2 does not know that it said so. */
void packets_allow_cids(uint64_t count);

#endif /* KM_TEST_ENDPOINT_WRAP_H */
