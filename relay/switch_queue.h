/* What waits to be written to one client of a relay: WebSocket messages, framed and in one piece,
 * so that many of them leave in one system call. Blocks come from a pool. Pure. */
#ifndef KM_RELAY_SWITCH_QUEUE_H
#define KM_RELAY_SWITCH_QUEUE_H

#include "base/env.h"
#include "relay/frame.h"

#define KM_SWITCH_BLOCK 16384   /* bytes of a block of the pool; a bigger message has its own */
#define KM_SWITCH_SMALL 256     /* of one for a ping, a status: many clients may get one at once */
#define KM_SWITCH_POOL_MAX 256  /* free blocks of each kind that are kept */
#define KM_SWITCH_DATAGRAMS 512 /* waiting for one client, as iroh; the next is dropped */
#define KM_SWITCH_OTHERS 512    /* the same for all other messages */
/* Before the bytes of a block, for what libwebsockets writes there. */
#define KM_SWITCH_ROOM 16

typedef struct km_switch_block {
  struct km_switch_block *next;
  size_t len, cap; /* filled, room */
  unsigned datagrams, others;
  uint8_t room[KM_SWITCH_ROOM];
  uint8_t bytes[];
} km_switch_block;

typedef struct km_switch_spares {
  km_switch_block *first;
  unsigned count;
} km_switch_spares;

/* A client may have a quarter of what is left, so that slow ones leave room for all others. */
typedef struct km_switch_pool {
  const km_env *env;
  km_switch_spares small, full;
  size_t bytes;     /* in blocks of clients now, and held */
  size_t max_bytes; /* over all clients */
} km_switch_pool;

void km_switch_pool_init(km_switch_pool *pool, const km_env *env, size_t max_bytes);
void km_switch_pool_clear(km_switch_pool *pool);

/* Bytes that left their queue and still wait elsewhere count until they are let go. At most as many
 * as were in the block that was popped just before. */
void km_switch_pool_hold(km_switch_pool *pool, size_t bytes);
void km_switch_pool_let_go(km_switch_pool *pool, size_t bytes);

typedef struct km_switch_queue {
  km_switch_block *first, *last;
  unsigned datagrams, others;
  size_t bytes; /* in its blocks */
} km_switch_queue;

void km_switch_queue_clear(km_switch_queue *q, km_switch_pool *pool);
/* Appends a binary message made of two parts. False: it was dropped, the queue is full or the pool
 * has nothing left for it. */
bool km_switch_queue_add(km_switch_queue *q, km_switch_pool *pool, bool datagram,
                         const uint8_t *head, size_t head_len, const uint8_t *body,
                         size_t body_len);
/* The bytes to write next; NULL: nothing. */
uint8_t *km_switch_queue_first(const km_switch_queue *q, size_t *ret_len);
/* They were taken, all of them. */
void km_switch_queue_pop(km_switch_queue *q, km_switch_pool *pool);

static inline bool km_switch_queue_empty(const km_switch_queue *q) {
  return q->first == NULL;
}

#endif /* KM_RELAY_SWITCH_QUEUE_H */
