#include "test/netlab/transfer_flow.h"

#include <string.h>

static void hash_init(flow_hash *h) {
  (void)crypto_generichash_init(&h->state, NULL, 0, FLOW_HASH_LEN);
}

void flow_hash_text(flow_hash *h, char ret[2 * FLOW_HASH_LEN + 1]) {
  uint8_t hash[FLOW_HASH_LEN];
  (void)crypto_generichash_final(&h->state, hash, sizeof hash);
  (void)sodium_bin2hex(ret, 2 * FLOW_HASH_LEN + 1, hash, sizeof hash);
}

void flow_source_init(flow_source *s, uint64_t bytes, uint64_t seed) {
  s->left = bytes;
  s->seed = seed;
  s->start = s->end = 0;
  hash_init(&s->hash);
}

/* SplitMix64. */
static uint64_t draw(uint64_t *state) {
  uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

static void make_piece(flow_source *s) {
  size_t len = s->left < FLOW_PIECE ? (size_t)s->left : FLOW_PIECE;
  for (size_t i = 0; i < FLOW_PIECE; i += sizeof(uint64_t)) {
    uint64_t word = draw(&s->seed);
    memcpy(s->piece + i, &word, sizeof word);
  }
  (void)crypto_generichash_update(&s->hash.state, s->piece, len);
  s->left -= len;
  s->start = 0;
  s->end = len;
}

const uint8_t *flow_source_next(flow_source *s, size_t *ret_len, bool *ret_last) {
  if (s->start == s->end && s->left > 0) {
    make_piece(s);
  }
  *ret_len = s->end - s->start;
  *ret_last = s->left == 0;
  return s->piece + s->start;
}

void flow_source_taken(flow_source *s, size_t len) {
  s->start += len;
}

void flow_sink_init(flow_sink *s) {
  memset(s, 0, sizeof *s);
  hash_init(&s->hash);
}

flow_gap flow_sink_take(flow_sink *s, uint64_t now, const void *data, size_t len) {
  flow_gap gap = {now, 0};
  if (s->bytes == 0) {
    s->first = now;
  } else {
    gap = (flow_gap){s->last, now - s->last};
  }
  if (gap.ns > s->longest.ns) {
    s->longest = gap;
  }
  s->last = now;
  s->bytes += len;
  (void)crypto_generichash_update(&s->hash.state, data, len);
  return gap;
}
