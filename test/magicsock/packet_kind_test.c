#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "magicsock/packet_kind.h"

/* What each first byte alone says, in a packet whose other bytes are 1. */
static void the_first_byte_decides(void **state) {
  (void)state;
  uint8_t data[KM_DISCO_MIN_BYTES];
  memset(data, 1, sizeof data);
  for (unsigned first = 0; first < 256; first++) {
    data[0] = (uint8_t)first;
    km_packet_kind want = KM_PACKET_UNKNOWN;
    if (first >= 0xc0) {
      want = KM_PACKET_QUIC_LONG;
    } else if (first >= 0x40 && first < 0x80) {
      want = KM_PACKET_QUIC_SHORT;
    } else if (first == 1) {
      want = KM_PACKET_DISCO;
    }
    assert_int_equal(km_packet_kind_of(data, sizeof data), want);
    assert_int_equal(km_packet_is_quic(data, sizeof data), (first & 0x40) != 0);
  }
}

static void version_negotiation_needs_no_fixed_bit(void **state) {
  (void)state;
  uint8_t data[7] = {0};
  for (unsigned first = 0x80; first < 256; first++) {
    data[0] = (uint8_t)first;
    assert_int_equal(km_packet_kind_of(data, sizeof data), KM_PACKET_QUIC_VERSION_NEGOTIATION);
    /* Cut before the version's end it is only what its first byte says. */
    assert_int_equal(km_packet_kind_of(data, 4),
                     first >= 0xc0 ? KM_PACKET_QUIC_LONG : KM_PACKET_UNKNOWN);
  }
  for (size_t i = 1; i < 5; i++) {
    uint8_t versioned[7] = {0x80};
    versioned[i] = 1;
    assert_int_equal(km_packet_kind_of(versioned, sizeof versioned), KM_PACKET_UNKNOWN);
  }
  data[0] = 0x3f; /* no long header */
  assert_int_equal(km_packet_kind_of(data, sizeof data), KM_PACKET_UNKNOWN);
}

static void stun_shows_its_cookie(void **state) {
  (void)state;
  uint8_t stun[28] = {0x01, 0x01, 0, 8, 0x21, 0x12, 0xa4, 0x42};
  for (uint8_t first = 0; first < 4; first++) {
    stun[0] = first;
    assert_int_equal(km_packet_kind_of(stun, sizeof stun), KM_PACKET_STUN);
  }
  stun[0] = 4;
  assert_int_equal(km_packet_kind_of(stun, sizeof stun), KM_PACKET_UNKNOWN);
  stun[0] = 1;
  for (size_t len = 1; len < sizeof stun; len++) { /* the length it tells must be there */
    assert_int_equal(km_packet_kind_of(stun, len), KM_PACKET_UNKNOWN);
  }
  stun[3] = 7;
  assert_int_equal(km_packet_kind_of(stun, sizeof stun), KM_PACKET_UNKNOWN);
  stun[3] = 8;
  stun[2] = 0xff;
  assert_int_equal(km_packet_kind_of(stun, sizeof stun), KM_PACKET_UNKNOWN);
  stun[2] = 0;
  stun[7] = 0;
  assert_int_equal(km_packet_kind_of(stun, sizeof stun), KM_PACKET_UNKNOWN);
}

static void disco_has_a_least_length(void **state) {
  (void)state;
  uint8_t data[KM_DISCO_MIN_BYTES] = {1};
  assert_int_equal(km_packet_kind_of(data, sizeof data), KM_PACKET_DISCO);
  assert_int_equal(km_packet_kind_of(data, sizeof data - 1), KM_PACKET_UNKNOWN);
  assert_int_equal(km_packet_kind_of(data, 0), KM_PACKET_EMPTY);
  assert_false(km_packet_is_quic(data, 0));
}

/* Batches written as letters: q is a QUIC packet, x is not. Runs as "begin+length", in packets. */
static void runs_are_cut_where_quic_ends(void **state) {
  (void)state;
  static const struct {
    const char *batch;
    size_t last; /* bytes of the last packet, the others have 3 */
    struct {
      size_t begin, len;
    } runs[3]; /* bytes; up to len 0 */
    uint64_t skipped;
  } cases[] = {
      {"", 3, {{0, 0}}, 0},
      {"q", 3, {{0, 3}}, 0},
      {"q", 1, {{0, 1}}, 0},
      {"x", 3, {{0, 0}}, 1},
      {"qqqq", 2, {{0, 11}}, 0},
      {"xxxx", 2, {{0, 0}}, 4},
      {"xqqx", 3, {{3, 6}}, 2},
      {"qxqq", 1, {{0, 3}, {6, 4}}, 1},
      {"qxxqxq", 2, {{0, 3}, {9, 3}, {15, 2}}, 3},
  };
  for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
    uint8_t data[32] = {0};
    size_t count = strlen(cases[c].batch), len = count == 0 ? 0 : (count - 1) * 3 + cases[c].last;
    for (size_t i = 0; i < count; i++) {
      data[3 * i] = cases[c].batch[i] == 'q' ? 0x40 : 0x20;
    }
    size_t at = 0, got, run = 0;
    uint64_t skipped = 0;
    while ((got = km_packet_run(data, len, 3, &at, &skipped)) > 0) {
      assert_true(run < 3);
      assert_int_equal(at, cases[c].runs[run].begin);
      assert_int_equal(got, cases[c].runs[run].len);
      at += got;
      run++;
    }
    assert_true(run == 3 || cases[c].runs[run].len == 0);
    assert_int_equal(at, len);
    assert_int_equal(skipped, cases[c].skipped);
  }
}

static void a_segment_longer_than_the_batch_is_one_packet(void **state) {
  (void)state;
  static const uint8_t data[4] = {0x40};
  size_t at = 0;
  uint64_t skipped = 0;
  assert_int_equal(km_packet_run(data, sizeof data, 65535, &at, &skipped), 4);
  assert_int_equal(at, 0);
  assert_int_equal(skipped, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_first_byte_decides),
      cmocka_unit_test(version_negotiation_needs_no_fixed_bit),
      cmocka_unit_test(stun_shows_its_cookie),
      cmocka_unit_test(disco_has_a_least_length),
      cmocka_unit_test(runs_are_cut_where_quic_ends),
      cmocka_unit_test(a_segment_longer_than_the_batch_is_one_packet),
  };
  return cmocka_run_group_tests_name("packet kind", tests, NULL, NULL);
}
