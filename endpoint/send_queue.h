/* The sending side of a stream: bytes that wait to be sent or to be acknowledged. Pure.
 *
 * QUIC keeps pointers to what it has sent until it is acknowledged, so bytes never move: they sit
 * in blocks, copied in or lent by the application, and a block goes when its last byte is
 * acknowledged.
 *
 *     acked            sent             end
 *   ----|----------------|----------------|
 *       in flight         waiting
 */
#ifndef KM_ENDPOINT_SEND_QUEUE_H
#define KM_ENDPOINT_SEND_QUEUE_H

#include "base/env.h"

typedef void (*km_release_fn)(void *ctx, const void *data, size_t len);

#define KM_SEND_BLOCK_BYTES 65536u /* a full-sized copied block with its header */
#define KM_SEND_POOL_BLOCKS 64u    /* free full-sized blocks an endpoint keeps */

typedef struct km_send_block km_send_block;

/* Free full-sized blocks, shared by all streams of an endpoint. */
typedef struct km_send_pool {
  const km_env *env;
  km_send_block *free;
  size_t free_count;
} km_send_pool;

void km_send_pool_init(km_send_pool *pool, const km_env *env);
void km_send_pool_clear(km_send_pool *pool);

typedef struct km_send_queue {
  km_send_block *head, *tail;
  km_send_block *next; /* the block that holds the byte at `sent`, NULL when all is sent */
  size_t next_offset;  /* of that byte in the block */
  uint64_t acked, sent, end;
} km_send_queue;

/* A piece of waiting data. */
typedef struct km_send_vec {
  const uint8_t *base;
  size_t len;
} km_send_vec;

void km_send_queue_init(km_send_queue *q);
/* Gives every block back, calling the release functions. */
void km_send_queue_clear(km_send_queue *q, km_send_pool *pool);

/* Copies as much of `data` as memory allows for; returns the bytes taken (short only when out of
 * memory). */
size_t km_send_queue_copy(km_send_queue *q, km_send_pool *pool, const uint8_t *data, size_t len);
/* Lends `len` > 0 bytes. KM_ERR_NOMEM: nothing was taken. */
KM_NODISCARD int km_send_queue_lend(km_send_queue *q, km_send_pool *pool, const uint8_t *data,
                                    size_t len, km_release_fn release, void *ctx);

static inline uint64_t km_send_queue_buffered(const km_send_queue *q) {
  return q->end - q->acked;
}
static inline uint64_t km_send_queue_waiting(const km_send_queue *q) {
  return q->end - q->sent;
}

/* Fills up to `cap` pieces with waiting data, in order, until they have `enough` bytes; returns how
 * many. */
size_t km_send_queue_peek(const km_send_queue *q, km_send_vec *vec, size_t cap, size_t enough);
/* `len` waiting bytes were sent; at most km_send_queue_waiting. */
void km_send_queue_sent(km_send_queue *q, size_t len);
/* The next `len` bytes in flight were acknowledged; at most sent - acked. */
void km_send_queue_acked(km_send_queue *q, km_send_pool *pool, uint64_t len);

#endif /* KM_ENDPOINT_SEND_QUEUE_H */
