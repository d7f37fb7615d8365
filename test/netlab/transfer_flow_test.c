/* test/netlab/transfer_flow.c: what is sent is what is hashed, and pauses are seen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test/netlab/transfer_flow.h"

#define MS UINT64_C(1000000)

/* Takes all of a source, `step` bytes at most at a time, into a sink. */
static void carry(flow_source *source, flow_sink *sink, size_t step, size_t damage_at) {
  bool last = false;
  size_t at = 0;
  for (;;) {
    size_t len;
    uint8_t copy[FLOW_PIECE];
    const uint8_t *data = flow_source_next(source, &len, &last);
    if (len == 0) {
      assert_true(last);
      return;
    }
    len = len < step ? len : step;
    memcpy(copy, data, len);
    if (damage_at >= at && damage_at < at + len) {
      copy[damage_at - at] ^= 1;
    }
    (void)flow_sink_take(sink, 1 + at, copy, len);
    flow_source_taken(source, len);
    at += len;
  }
}

static bool hashes_agree(uint64_t bytes, size_t step, size_t damage_at) {
  static flow_source source[1]; /* the hash wants more than malloc's alignment */
  static flow_sink sink;
  char sent[2 * FLOW_HASH_LEN + 1], came[2 * FLOW_HASH_LEN + 1];
  flow_source_init(source, bytes, 7);
  flow_sink_init(&sink);
  carry(source, &sink, step, damage_at);
  assert_int_equal(sink.bytes, bytes);
  flow_hash_text(&source->hash, sent);
  flow_hash_text(&sink.hash, came);
  assert_int_equal(strlen(sent), 2 * FLOW_HASH_LEN);
  return strcmp(sent, came) == 0;
}

static void what_is_made_is_what_is_hashed(void **state) {
  (void)state;
  assert_true(hashes_agree(0, 100, SIZE_MAX));
  assert_true(hashes_agree(1, 100, SIZE_MAX));
  assert_true(hashes_agree(FLOW_PIECE, 1000, SIZE_MAX));
  assert_true(hashes_agree(3 * FLOW_PIECE + 17, 4096, SIZE_MAX));
  assert_true(hashes_agree(3 * FLOW_PIECE + 17, FLOW_PIECE, SIZE_MAX));
}

static void one_bit_is_noticed(void **state) {
  (void)state;
  assert_false(hashes_agree(3 * FLOW_PIECE + 17, 4096, 0));
  assert_false(hashes_agree(3 * FLOW_PIECE + 17, 4096, 3 * FLOW_PIECE + 16));
}

static void the_end_is_told_with_the_last_bytes(void **state) {
  (void)state;
  static flow_source source[1];
  size_t len;
  bool last;
  flow_source_init(source, FLOW_PIECE + 1, 7);
  (void)flow_source_next(source, &len, &last);
  assert_int_equal(len, FLOW_PIECE);
  assert_false(last);
  flow_source_taken(source, len);
  (void)flow_source_next(source, &len, &last);
  assert_int_equal(len, 1);
  assert_true(last);
}

static void the_longest_pause_is_kept(void **state) {
  (void)state;
  static flow_sink sink; /* zeroed and aligned */
  flow_sink_init(&sink);
  assert_int_equal(flow_sink_take(&sink, 100 * MS, "a", 1).ns, 0); /* nothing was before it */
  assert_int_equal(flow_sink_take(&sink, 130 * MS, "b", 1).ns, 30 * MS);
  flow_gap gap = flow_sink_take(&sink, 300 * MS, "c", 1);
  assert_int_equal(gap.from, 130 * MS);
  assert_int_equal(gap.ns, 170 * MS);
  (void)flow_sink_take(&sink, 310 * MS, "d", 1);
  assert_int_equal(sink.longest.from, 130 * MS);
  assert_int_equal(sink.longest.ns, 170 * MS);
  assert_int_equal(sink.first, 100 * MS);
  assert_int_equal(sink.last, 310 * MS);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_made_is_what_is_hashed),
      cmocka_unit_test(one_bit_is_noticed),
      cmocka_unit_test(the_end_is_told_with_the_last_bytes),
      cmocka_unit_test(the_longest_pause_is_kept),
  };
  return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
