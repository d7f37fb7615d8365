/* What a terminal sends for keys. */
#include "cmd/node/ctl/keys.h"

#include "test/base/test_env.h"

static void check(const char *bytes, size_t used, const char *text) {
  keys_key key;
  keys_next(&key, (const uint8_t *)bytes, strlen(bytes));
  if (key.used != used || strcmp(key.text, text) != 0) {
    fail_msg("%zu bytes were taken as '%s' (%zu), not as '%s' (%zu)", strlen(bytes), key.text,
             key.used, text, used);
  }
}

static void characters(void **state) {
  (void)state;
  check("abc", 1, "a");
  check("\xc3\xa4x", 2, "\xc3\xa4");
  check("\xf0\x9f\x98\x80", 4, "\xf0\x9f\x98\x80");
  check("\xc3", 0, ""); /* the rest is under way */
  check("\xf0\x9f\x98", 0, "");
  check("\xc3x", 1, ""); /* it is not */
  check("\xff", 1, "");
  check("\x80", 1, "");
  check("\xc2\x9b"
        "31m",
        2, ""); /* C1: terminals obey it */
}

static void controls(void **state) {
  (void)state;
  check("\r", 1, "\r");
  check("\n", 1, "\n");
  check("\t", 1, "\t");
  check("\x7f", 1, "\x7f");
  check("\x03", 1, "\x03");
  check("\x04", 1, "\x04");
  /* They would make the editor wait for another key, or belong to the driver. */
  const char *const ignored[] = {"\x11", "\x13", "\x16", "\x18", "\x1a", "\x1c", "\x1d"};
  for (size_t i = 0; i < COUNT_OF(ignored); i++) {
    check(ignored[i], 1, "");
  }
  keys_key key;
  keys_next(&key, (const uint8_t *)"\0a", 2);
  assert_int_equal(key.used, 1);
  assert_string_equal(key.text, "");
}

static void arrows(void **state) {
  (void)state;
  check("\x1b[A", 3, "\x10");
  check("\x1bOB", 3, "\x0e");
  check("\x1b[C...", 3, "\x06");
  check("\x1b[D", 3, "\x02");
  check("\x1b[H", 3, "\x01");
  check("\x1b[4~", 4, "\x05");
  check("\x1b[3~", 4, "\x1f");
  check("\x1b[1;5C", 6,
        "\x1b"
        "f");
  check("\x1b[1;5D", 6,
        "\x1b"
        "b");
  check("\x1b"
        "f",
        2,
        "\x1b"
        "f");
}

static void keys_without_meaning(void **state) {
  (void)state;
  check("\x1b[15~x", 5, "");
  check("\x1b[200~", 6, "");
  check("\x1b"
        "x",
        2, "");
  check("\x1b\x1b[A", 1, "");
  check("\x1b\r", 1, "");
  check("\x1b[1\x01", 3, ""); /* broken off: Ctrl-A is a key of its own */
  check("\x1b[1111111111111111111", 18, "");
}

static void what_is_not_whole(void **state) {
  (void)state;
  check("\x1b", 0, "");
  check("\x1b[", 0, "");
  check("\x1bO", 0, "");
  check("\x1b[1;5", 0, "");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(characters),
      cmocka_unit_test(controls),
      cmocka_unit_test(arrows),
      cmocka_unit_test(keys_without_meaning),
      cmocka_unit_test(what_is_not_whole),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
