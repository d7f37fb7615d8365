/* The two ends of a measured transfer: bytes that depend on a seed alone, and a receiver that
 * hashes what comes and watches for pauses. Pure. */
#ifndef KM_TEST_NETLAB_TRANSFER_FLOW_H
#define KM_TEST_NETLAB_TRANSFER_FLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sodium.h>

enum { FLOW_HASH_LEN = 32, FLOW_PIECE = 65536 };

typedef struct flow_hash {
  crypto_generichash_state state;
} flow_hash;

/* The sending end. What is made is hashed. */
typedef struct flow_source {
  uint64_t left; /* bytes still to be made */
  uint64_t seed;
  flow_hash hash;
  uint8_t piece[FLOW_PIECE];
  size_t start, end; /* of what was made and not taken yet */
} flow_source;

void flow_source_init(flow_source *s, uint64_t bytes, uint64_t seed);
/* The bytes to send next: `*ret_len` of them, valid until flow_source_taken. `*ret_last`: the flow
 * ends behind them. */
const uint8_t *flow_source_next(flow_source *s, size_t *ret_len, bool *ret_last);
void flow_source_taken(flow_source *s, size_t len);

/* A time without progress. */
typedef struct flow_gap {
  uint64_t from, ns;
} flow_gap;

/* The receiving end. */
typedef struct flow_sink {
  uint64_t bytes;
  uint64_t first, last; /* when bytes came; 0: none yet */
  flow_gap longest;
  flow_hash hash;
} flow_sink;

void flow_sink_init(flow_sink *s);
/* Returns the gap that ends with these bytes; ns is 0 for the first. */
flow_gap flow_sink_take(flow_sink *s, uint64_t now, const void *data, size_t len);

/* As hex, NUL-terminated; ends the hash. */
void flow_hash_text(flow_hash *h, char ret[2 * FLOW_HASH_LEN + 1]);

#endif /* KM_TEST_NETLAB_TRANSFER_FLOW_H */
