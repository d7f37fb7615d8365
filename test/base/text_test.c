#include "base/text.h"

#include "test/base/test_env.h"

static void knows_well_formed_utf8(void **state) {
  (void)state;
  static const struct {
    const char *bytes;
    size_t len; /* of the first sequence, 0 for none */
  } cases[] = {
      {"a", 1},
      {"\x7f", 1},
      {"\x80", 0},
      {"\xc1\xbf", 0}, /* overlong */
      {"\xc2\x80", 2},
      {"\xdf\xbf", 2},
      {"\xc3", 0},
      {"\xc3(", 0},
      {"\xe0\x9f\xbf", 0}, /* overlong */
      {"\xe0\xa0\x80", 3},
      {"\xed\x9f\xbf", 3},
      {"\xed\xa0\x80", 0}, /* a surrogate */
      {"\xee\x80\x80", 3},
      {"\xe2\x82", 0},
      {"\xf0\x8f\xbf\xbf", 0}, /* overlong */
      {"\xf0\x90\x80\x80", 4},
      {"\xf4\x8f\xbf\xbf", 4},
      {"\xf4\x90\x80\x80", 0}, /* beyond U+10FFFF */
      {"\xf5\x80\x80\x80", 0},
      {"\xff", 0},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    assert_int_equal(km_utf8_sequence(cases[i].bytes, strlen(cases[i].bytes)), cases[i].len);
  }
  assert_int_equal(km_utf8_sequence("", 0), 0);
}

static void replaces_what_could_harm_a_terminal_or_json(void **state) {
  (void)state;
  static const struct {
    const char *in, *out;
  } cases[] = {
      {"", ""},
      {"plain", "plain"},
      {"a\nb\x1b[31mc\x7f", "a?b?[31mc?"},
      {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
      {"\xc2\x9b"
       "31m",
       "??31m"}, /* CSI as one character */
      {"a\xff\xfe"
       "b",
       "a??b"},
      {"a\xc3(", "a?("},
      {"cut \xe2\x82", "cut "}, /* a broken end disappears */
      {"\xe2\x82"
       "x",
       "??x"},
      {"\xed\xa0\x80", "???"},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    char text[32];
    memcpy(text, cases[i].in, strlen(cases[i].in) + 1);
    km_text_clean(text);
    assert_string_equal(text, cases[i].out);
  }
}

static void tells_text_and_clean_text(void **state) {
  (void)state;
  static const struct {
    const char *bytes;
    size_t len;
    bool utf8, clean;
  } cases[] = {
      {"", 0, true, true},
      {"plain", 5, true, true},
      {"gr\xc3\xbc\xc3\x9f", 6, true, true},
      {"gr\xc3\xbc\xc3\x9f", 5, false, false}, /* cut */
      {"two\nlines", 9, true, false},
      {"\x1b[31m", 5, true, false},
      {"\xc2\x9b", 2, true, false},
      {"a\0b", 3, false, false},
      {"\xed\xa0\x80", 3, false, false},
      {"\xff", 1, false, false},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    assert_int_equal(km_text_is_utf8(cases[i].bytes, cases[i].len), cases[i].utf8);
    assert_int_equal(km_text_is_clean(cases[i].bytes, cases[i].len), cases[i].clean);
  }
}

static void quotes_what_could_forge_a_field(void **state) {
  (void)state;
  static const struct {
    const char *in, *out;
  } cases[] = {
      {"", "\"\""},
      {"plain name", "\"plain name\""},
      {"a\" state=\"up", "\"a\\\" state=\\\"up\""},
      {"end\\", "\"end\\\\\""}, /* the last quote stays one */
      {"a\nb\xe2\x80\xae\xff", "\"a?b??\""},
      {"gr\xc3\xbc\xc3\x9f", "\"gr\xc3\xbc\xc3\x9f\""},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    char buf[KM_TEXT_QUOTED_CAP(16)];
    assert_string_equal(km_text_quote(buf, sizeof buf, cases[i].in), cases[i].out);
  }
  char all[KM_TEXT_QUOTED_CAP(3)];
  assert_string_equal(km_text_quote(all, sizeof all, "\"\"\""), "\"\\\"\\\"\\\"\"");
  char small[6];
  assert_string_equal(km_text_quote(small, 6, "abc"), "\"abc\"");
  assert_string_equal(km_text_quote(small, 5, "abc"), "\"ab\"");
  assert_string_equal(km_text_quote(small, 5, "a\"c"), "\"a\""); /* no backslash alone */
  assert_string_equal(km_text_quote(small, 4, "\xc3\xbc"), "\"\"");
  assert_string_equal(km_text_quote(small, 3, "abc"), "\"\"");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(knows_well_formed_utf8),
      cmocka_unit_test(tells_text_and_clean_text),
      cmocka_unit_test(replaces_what_could_harm_a_terminal_or_json),
      cmocka_unit_test(quotes_what_could_forge_a_field),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
