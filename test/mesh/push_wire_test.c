/* Frames of the push stream, cut anywhere. */
#include "endpoint/mesh/push.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define MAX 70000

static int read_one(const uint8_t *data, size_t len, size_t *used, size_t *want, uint8_t *type,
                    km_rd *body) {
  *used = 0;
  *type = 0;
  return km_push_frame(data, len, MAX, used, want, type, body);
}

static void what_is_written_is_read(void **state) {
  (void)state;
  static uint8_t buf[MAX + KM_PUSH_HEAD_MAX];
  const size_t sizes[] = {0, 1, 126, 127, 128, 16382, 16383, 16384, MAX - 1};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    km_wr wr = km_wr_init(buf, sizeof buf);
    km_push_head(&wr, KM_PUSH_MESSAGE, sizes[i]);
    size_t head = (size_t)(wr.at - buf);
    assert_true(head <= KM_PUSH_HEAD_MAX);
    memset(wr.at, (int)i, sizes[i]);
    size_t len = head + sizes[i], used, want;
    uint8_t type;
    km_rd body;
    for (size_t cut = 0; cut < len; cut = cut < 10 || cut > len - 10 ? cut + 1 : cut + 997) {
      assert_int_equal(read_one(buf, cut, &used, &want, &type, &body), 0);
      assert_true(want == 0 || want == len);
    }
    assert_int_equal(read_one(buf, len, &used, &want, &type, &body), 1);
    assert_int_equal(used, len);
    assert_int_equal(type, KM_PUSH_MESSAGE);
    assert_int_equal(km_rd_left(&body), sizes[i]);
    assert_true(sizes[i] == 0 || body.at[0] == (uint8_t)i);
  }
}

static void what_cannot_be_is_refused(void **state) {
  (void)state;
  static const struct {
    uint8_t bytes[6];
    size_t len;
  } bad[] = {
      {{0}, 1},                                  /* no type */
      {{0xf1, 0xa2, 0x04}, 3},                   /* 70,001 */
      {{0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, 5}, /* more than 32 bits */
      {{0x80, 0x80, 0x80, 0x80, 0x80, 0x01}, 6}, /* no end */
      {{0xff, 0xff, 0xff, 0xff, 0x0f}, 5},       /* 4 GiB */
  };
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    size_t used, want;
    uint8_t type;
    km_rd body;
    assert_int_equal(read_one(bad[i].bytes, bad[i].len, &used, &want, &type, &body),
                     KM_ERR_BAD_PACKET);
  }
}

static void two_frames_are_read_one_by_one(void **state) {
  (void)state;
  const uint8_t bytes[] = {1, KM_PUSH_STATEMENTS_PLEASE, 3, 0x7f, 'a', 'b', 2};
  size_t used, want;
  uint8_t type;
  km_rd body;
  assert_int_equal(read_one(bytes, sizeof bytes, &used, &want, &type, &body), 1);
  assert_int_equal(used, 2);
  assert_int_equal(type, KM_PUSH_STATEMENTS_PLEASE);
  assert_int_equal(read_one(bytes + 2, sizeof bytes - 2, &used, &want, &type, &body), 1);
  assert_int_equal(used, 4);
  assert_int_equal(type, 0x7f);
  assert_memory_equal(km_rd_bytes(&body, 2), "ab", 2);
  assert_int_equal(read_one(bytes + 6, 1, &used, &want, &type, &body), 0);
  assert_int_equal(want, 3);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_written_is_read),
      cmocka_unit_test(what_cannot_be_is_refused),
      cmocka_unit_test(two_frames_are_read_one_by_one),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
