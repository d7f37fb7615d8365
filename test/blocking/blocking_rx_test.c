/* The receive buffer of a blocking stream. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "endpoint/blocking_rx.h"

static uint8_t byte_at(size_t at) {
  return (uint8_t)(at * 37 + at / 251);
}

static void append(km_brx *rx, size_t *written, size_t len) {
  uint8_t data[40000];
  assert_true(len <= sizeof data);
  for (size_t i = 0; i < len; i++) {
    data[i] = byte_at(*written + i);
  }
  assert_int_equal(km_brx_append(rx, data, len), 0);
  *written += len;
}

static size_t take(km_brx *rx, size_t *read, size_t cap) {
  uint8_t data[60000];
  km_brx_chunk *whole;
  assert_true(cap < sizeof data);
  memset(data, 0xee, sizeof data);
  size_t n = km_brx_take(rx, data, cap, &whole);
  km_brx_copy_whole(whole, data);
  assert_true(n <= cap);
  for (size_t i = 0; i < n; i++) {
    assert_int_equal(data[i], byte_at(*read + i));
  }
  assert_int_equal(data[n], 0xee); /* nothing behind the end */
  *read += n;
  return n;
}

static void test_empty(void **state) {
  (void)state;
  km_brx rx = {0};
  size_t read = 0, written = 0;
  assert_int_equal(take(&rx, &read, 100), 0);
  append(&rx, &written, 0);
  assert_int_equal(rx.len, 0);
  assert_null(rx.head);
  km_brx_clear(&rx);
}

static void test_whole_and_part(void **state) {
  (void)state;
  km_brx rx = {0};
  size_t read = 0, written = 0;
  append(&rx, &written, 1400);  /* first chunk: 2,048 */
  append(&rx, &written, 30000); /* fills it, then one of 29,352 */
  append(&rx, &written, 100);   /* a third */
  assert_int_equal(rx.len, 31500);
  assert_int_equal(take(&rx, &read, 1), 1);
  assert_int_equal(take(&rx, &read, 2047), 2047); /* exactly the rest of the first */
  assert_int_equal(take(&rx, &read, 29353), 29353);
  assert_int_equal(take(&rx, &read, 50000), 99);
  assert_int_equal(rx.len, 0);
  assert_null(rx.head);
  assert_null(rx.tail);
  append(&rx, &written, 5);
  assert_int_equal(take(&rx, &read, 5), 5);
}

/* Any split of writes and reads gives the same bytes. */
static void test_any_split(void **state) {
  (void)state;
  km_brx rx = {0};
  size_t read = 0, written = 0;
  uint32_t random = 1;
  for (unsigned i = 0; i < 4000; i++) {
    random = random * 1664525u + 1013904223u;
    size_t len = (random >> 16) % 5000;
    if ((random & 0x8000) != 0) {
      append(&rx, &written, len);
    } else {
      size_t want = rx.len < len ? rx.len : len;
      assert_int_equal(take(&rx, &read, len), want);
    }
    assert_int_equal(rx.len, written - read);
  }
  while (rx.len > 0) {
    (void)take(&rx, &read, 50000);
  }
  assert_int_equal(read, written);
}

static void test_clear(void **state) {
  (void)state;
  km_brx rx = {0};
  size_t written = 0;
  append(&rx, &written, 40000);
  append(&rx, &written, 40000);
  km_brx_clear(&rx);
  assert_int_equal(rx.len, 0);
  assert_null(rx.head);
  assert_null(rx.tail);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_empty),
      cmocka_unit_test(test_whole_and_part),
      cmocka_unit_test(test_any_split),
      cmocka_unit_test(test_clear),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
