#include "base/wire.h"

#include "test/base/test_env.h"

/* Ports as the binding writes them, and the limits of the wider types. */
static const struct {
  uint64_t value;
  unsigned bits;
  size_t len;
  uint8_t bytes[10];
} varints[] = {
    {0, 16, 1, {0x00}},
    {1, 16, 1, {0x01}},
    {127, 16, 1, {0x7f}},
    {128, 16, 2, {0x80, 0x01}},
    {16383, 16, 2, {0xff, 0x7f}},
    {16384, 16, 3, {0x80, 0x80, 0x01}},
    {65535, 16, 3, {0xff, 0xff, 0x03}},
    {UINT32_MAX, 32, 5, {0xff, 0xff, 0xff, 0xff, 0x0f}},
    {UINT64_MAX, 64, 10, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}},
};

static void varints_are_postcards(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT_OF(varints); i++) {
    uint8_t buf[10];
    km_wr wr = km_wr_init(buf, sizeof buf);
    km_wr_varint(&wr, varints[i].value);
    assert_false(wr.failed);
    assert_int_equal(wr.at - buf, varints[i].len);
    assert_int_equal(km_varint_len(varints[i].value), varints[i].len);
    assert_memory_equal(buf, varints[i].bytes, varints[i].len);

    km_rd rd = km_rd_init(buf, varints[i].len);
    assert_true(km_rd_varint(&rd, varints[i].bits) == varints[i].value);
    assert_false(rd.failed);
    assert_int_equal(km_rd_left(&rd), 0);

    rd = km_rd_init(buf, varints[i].len - 1);
    assert_true(km_rd_varint(&rd, varints[i].bits) == 0);
    assert_true(rd.failed);
  }
}

static void varints_of_too_many_bits_fail(void **state) {
  (void)state;
  static const struct {
    unsigned bits;
    size_t len;
    uint8_t bytes[11];
    bool ok;
  } cases[] = {
      {16, 2, {0x89, 0x00}, true}, /* longer than need be */
      {16, 3, {0x89, 0x80, 0x00}, true},
      {16, 4, {0x89, 0x80, 0x80, 0x00}, false},
      {16, 3, {0xff, 0xff, 0x07}, false}, /* 131071 */
      {16, 3, {0x80, 0x80, 0x04}, false},
      {32, 5, {0xff, 0xff, 0xff, 0xff, 0x10}, false},
      {64, 10, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02}, false},
      {64, 11, {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00}, false},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    km_rd rd = km_rd_init(cases[i].bytes, cases[i].len);
    uint64_t value = km_rd_varint(&rd, cases[i].bits);
    assert_int_equal(!rd.failed, cases[i].ok);
    assert_true(value == (cases[i].ok ? 9 : 0));
  }
}

static void a_failed_read_stays_failed(void **state) {
  (void)state;
  const uint8_t bytes[3] = {1, 2, 3};
  km_rd rd = km_rd_init(bytes, sizeof bytes);
  assert_int_equal(km_rd_u8(&rd), 1);
  assert_ptr_equal(km_rd_bytes(&rd, 0), bytes + 1);
  assert_ptr_equal(km_rd_bytes(&rd, 1), bytes + 1);
  assert_int_equal(km_rd_left(&rd), 1);
  assert_null(km_rd_bytes(&rd, UINT64_MAX));
  assert_true(rd.failed);
  assert_int_equal(km_rd_left(&rd), 0);
  assert_int_equal(km_rd_u8(&rd), 0);
  assert_null(km_rd_bytes(&rd, 0));

  rd = km_rd_init(NULL, 0);
  assert_int_equal(km_rd_u8(&rd), 0);
  assert_true(rd.failed);
}

static void a_write_that_does_not_fit_changes_nothing(void **state) {
  (void)state;
  uint8_t buf[4] = {9, 9, 9, 9};
  km_wr wr = km_wr_init(buf, 3);
  km_wr_bytes(&wr, NULL, 0);
  km_wr_u8(&wr, 1);
  km_wr_bytes(&wr, "abc", 3);
  assert_true(wr.failed);
  km_wr_u8(&wr, 2); /* would fit, but comes after the failure */
  const uint8_t expected[4] = {1, 9, 9, 9};
  assert_memory_equal(buf, expected, sizeof buf);

  wr = km_wr_init(NULL, 0);
  km_wr_u8(&wr, 1);
  assert_true(wr.failed);
}

/* RFC 9000 appendix A.1. */
static void quic_varints_have_four_lengths(void **state) {
  (void)state;
  static const struct {
    uint8_t bytes[8];
    size_t len;
    uint64_t value;
  } cases[] = {
      {{0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c}, 8, UINT64_C(151288809941952652)},
      {{0x9d, 0x7f, 0x3e, 0x7d}, 4, 494878333},
      {{0x7b, 0xbd}, 2, 15293},
      {{0x25}, 1, 37},
      {{0x40, 0x25}, 2, 37},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    for (size_t len = 0; len <= cases[i].len; len++) {
      km_rd rd = km_rd_init(cases[i].bytes, len);
      assert_true(km_rd_quic_varint(&rd) == (len == cases[i].len ? cases[i].value : 0));
      assert_int_equal(rd.failed, len < cases[i].len);
    }
  }
}

static void big_endian_integers_come_back(void **state) {
  (void)state;
  uint8_t buf[8];
  for (unsigned bytes = 1; bytes <= 8; bytes++) {
    km_wr wr = km_wr_init(buf, bytes);
    km_wr_be(&wr, UINT64_C(0x0102030405060708), bytes);
    assert_false(wr.failed);
    assert_int_equal(buf[0], 9 - bytes);
    assert_int_equal(buf[bytes - 1], 8);
    km_rd rd = km_rd_init(buf, bytes);
    assert_true(km_rd_be(&rd, bytes) ==
                (UINT64_C(0x0102030405060708) & (UINT64_MAX >> (64 - 8 * bytes))));
    rd = km_rd_init(buf, bytes - 1);
    assert_true(km_rd_be(&rd, bytes) == 0 && rd.failed);
  }
  km_wr wr = km_wr_init(buf, 3);
  km_wr_be(&wr, 1, 4);
  assert_true(wr.failed);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(varints_are_postcards),
      cmocka_unit_test(quic_varints_have_four_lengths),
      cmocka_unit_test(big_endian_integers_come_back),
      cmocka_unit_test(varints_of_too_many_bits_fail),
      cmocka_unit_test(a_failed_read_stays_failed),
      cmocka_unit_test(a_write_that_does_not_fit_changes_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
