/* Frames of a client that wait for room in the socket: a ring of bytes, whole frames in one piece,
 * each with room before it for what WebSocket writes there. It grows up to a limit and is then
 * reused: no memory is taken for a packet. Pure. */
#ifndef KM_RELAY_CLIENT_QUEUE_H
#define KM_RELAY_CLIENT_QUEUE_H

#include "base/env.h"

#define KM_RELAY_QUEUE_FRAMES 256
#define KM_RELAY_QUEUE_BYTES (4u << 20)
#define KM_RELAY_QUEUE_ROOM 16 /* LWS_PRE is at most this */

typedef struct km_relay_queue {
  const km_env *env;
  uint8_t *bytes;
  size_t cap;
  size_t used; /* bytes of frames, without what is around them */
  unsigned first, count;
  struct {
    size_t at;
    size_t len;
  } frames[KM_RELAY_QUEUE_FRAMES];
} km_relay_queue;

void km_relay_queue_init(km_relay_queue *q, const km_env *env);
void km_relay_queue_free(km_relay_queue *q);
/* Room for `count` frames of `bytes` in all, as far as the limits go. */
bool km_relay_queue_has_room(const km_relay_queue *q, unsigned count, size_t bytes);
/* Where a frame of `len` bytes is to be written, the last in the queue; NULL: full or no memory. */
uint8_t *km_relay_queue_add(km_relay_queue *q, size_t len);
/* The first frame, with KM_RELAY_QUEUE_ROOM bytes before it that may be overwritten; or NULL. */
uint8_t *km_relay_queue_first(km_relay_queue *q, size_t *ret_len);
void km_relay_queue_drop_first(km_relay_queue *q);

#endif /* KM_RELAY_CLIENT_QUEUE_H */
