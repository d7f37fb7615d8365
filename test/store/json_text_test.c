/* What is JSON and what is not; cJSON has to read whatever is. */
#include "store/json_text.h"

#include <cjson/cJSON.h>

#include "test/base/test_env.h"

static void json_is_taken(void **state) {
  (void)state;
  static const char *const texts[] = {
      "null",
      "true",
      "false",
      "0",
      "-0",
      "12.5e-3",
      "1E+2",
      "\"\"",
      " \t\r\n\"a\" ",
      "[]",
      "{}",
      "[ ]",
      "{ }",
      "[1,2,[3]]",
      "[[],{}]",
      "{\"a\":1}",
      "{\"a\" : {\"b\":[{}]} , \"\":[]}",
      "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"",
      "\"\\ud83d\\ude00\"",
      "\"gr\xc3\xbc\xc3\x9f\x65 \xf0\x9f\x98\x80 \x7f\"",
  };
  for (size_t i = 0; i < COUNT_OF(texts); i++) {
    if (!km_json_text_ok(texts[i], strlen(texts[i]))) {
      fail_msg("refused: %s", texts[i]);
    }
    cJSON *tree = cJSON_Parse(texts[i]);
    assert_non_null(tree);
    cJSON_Delete(tree);
  }
}

static void what_is_no_json_is_refused(void **state) {
  (void)state;
  static const char *const texts[] = {
      "",
      " ",
      "nul",
      "nulll",
      "True",
      "01",
      "1.",
      ".5",
      "+1",
      "-",
      "1e",
      "1e+",
      "0x1",
      "NaN",
      "\"",
      "\"a",
      "'a'",
      "\"\\x\"",
      "\"\\",
      "\"\\u12\"",
      "\"\\u00g0\"",
      "[",
      "]",
      "[1",
      "[1,",
      "[1,]",
      "[,]",
      "[1 2]",
      "{",
      "}",
      "{\"a\"",
      "{\"a\":",
      "{\"a\":1",
      "{\"a\":1,",
      "{\"a\":1,}",
      "{1:2}",
      "{a:1}",
      "{\"a\",1}",
      "[1}",
      "{\"a\":1]",
      "[]]",
      "[][]",
      "1 2",
      "\"a\nb\"",
      "\"\x01\"",
      "\"\xff\"",
      "\"\xc3\"",
      "\"\xed\xa0\x80\"",
      "\"\\ud800\"",
      "\"\\ud800\\u0041\"",
      "\"\\udc00\"",
      "\"\\u0000\"",
      "/**/1",
      "\xef\xbb\xbf[]",
      "\"a\":1",
      ",",
      ":",
  };
  for (size_t i = 0; i < COUNT_OF(texts); i++) {
    if (km_json_text_ok(texts[i], strlen(texts[i]))) {
      fail_msg("taken: %s", texts[i]);
    }
  }
  assert_false(km_json_text_ok("1\0", 2));
  assert_false(km_json_text_ok("\"\0\"", 3));
  assert_false(km_json_text_ok("\"\\\0\"", 4));
}

static void depth_has_a_limit(void **state) {
  (void)state;
  char text[2 * (KM_JSON_DEPTH_MAX + 1)];
  for (size_t depth = 1; depth <= KM_JSON_DEPTH_MAX + 1; depth++) {
    memset(text, '[', depth);
    memset(text + depth, ']', depth);
    assert_int_equal(km_json_text_ok(text, 2 * depth), depth <= KM_JSON_DEPTH_MAX);
  }
}

static void numbers_have_a_limit(void **state) {
  (void)state;
  char text[KM_JSON_NUMBER_MAX + 2];
  memset(text, '7', sizeof text);
  assert_true(km_json_text_ok(text, KM_JSON_NUMBER_MAX));
  text[0] = '-';
  assert_true(km_json_text_ok(text, KM_JSON_NUMBER_MAX));
  assert_false(km_json_text_ok(text, KM_JSON_NUMBER_MAX + 1));
}

/* Cut anywhere, a text is none; and nothing is read behind its end. */
static void no_beginning_of_a_text_is_one(void **state) {
  (void)state;
  static const char text[] = "{\"a\":[1,-2.5e7,true,{\"b\":\"\\u00e9\\ud83d\\ude00\"}],\"c\":null}";
  for (size_t len = 0; len <= strlen(text); len++) {
    char *exact = malloc(len + 1);
    assert_non_null(exact);
    memcpy(exact + 1, text, len);
    assert_int_equal(km_json_text_ok(exact + 1, len), len == strlen(text));
    free(exact);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(json_is_taken),
      cmocka_unit_test(what_is_no_json_is_refused),
      cmocka_unit_test(depth_has_a_limit),
      cmocka_unit_test(numbers_have_a_limit),
      cmocka_unit_test(no_beginning_of_a_text_is_one),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
