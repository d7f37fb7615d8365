/* Lines of the shell as words. */
#include "cmd/node/ctl/words.h"

#include <stdlib.h>

#include "test/base/test_env.h"

/* Splits `line`; the words must be these, NULL at the end. */
static void check(const char *line, const char *const *wanted) {
  word_list w;
  km_errinfo err = {0};
  int rv = words_split(&w, line, &err);
  if (rv != 0) {
    fail_msg("%s: %s", line, err.text);
    return;
  }
  size_t i = 0;
  while (i < w.count && wanted[i] != NULL) {
    assert_string_equal(w.at[i], wanted[i]);
    i++;
  }
  assert_int_equal(i, w.count);
  assert_null(wanted[i]);
  assert_null(w.at[i]);
  words_free(&w);
}

#define CHECK(line, ...) check(line, (const char *const[]){__VA_ARGS__, NULL})
#define CHECK_NONE(line) check(line, (const char *const[]){NULL})

static void check_bad(const char *line, const char *wanted) {
  word_list w;
  km_errinfo err = {0};
  assert_int_equal(words_split(&w, line, &err), KM_ERR_INVALID);
  if (strstr(err.text, wanted) == NULL) {
    fail_msg("%s: '%s', not '%s'", line, err.text, wanted);
  }
}

static void blanks_separate(void **state) {
  (void)state;
  CHECK_NONE("");
  CHECK_NONE(" \t\r\n");
  CHECK("add", "add");
  CHECK("  add \t key   value \r\n", "add", "key", "value");
  CHECK("gr\xc3\xbc\xc3\x9f"
        "e w",
        "gr\xc3\xbc\xc3\x9f"
        "e",
        "w");
}

static void quotes_keep(void **state) {
  (void)state;
  CHECK("add k 'hello  world'", "add", "k", "hello  world");
  CHECK("add k \"hello  world\"", "add", "k", "hello  world");
  CHECK("add '' \"\"", "add", "", "");
  CHECK("a'b c'd\"e f\"", "ab cde f");
  CHECK("'a\\n\"' \"b'c\"", "a\\n\"", "b'c");
  CHECK("'two\nlines'", "two\nlines");
}

static void backslashes(void **state) {
  (void)state;
  CHECK("a\\ b \\' \\\" \\\\", "a b", "'", "\"", "\\");
  CHECK("\"a\\\\b\\\"c\\n\\t\\r\"", "a\\b\"c\n\t\r");
  CHECK("\"\\x41\\xc3\\xA4\"", "A\xc3\xa4");
  /* What means nothing stays: JSON in double quotes needs few backslashes. */
  CHECK("\"\\u0041 \\d\"", "\\u0041 \\d");
  CHECK("a\\nb", "anb");
}

static void comments(void **state) {
  (void)state;
  CHECK_NONE("# add k v");
  CHECK_NONE("   #");
  CHECK("add #1 a#b", "add", "#1", "a#b");
  CHECK("'#' x", "#", "x");
}

static void what_is_open_is_an_error(void **state) {
  (void)state;
  check_bad("add 'k", "quote");
  check_bad("add \"k", "quote");
  check_bad("add \"k\\\"", "quote");
  check_bad("add \"k\\", "quote");
  check_bad("add k\\", "backslash");
  check_bad("add \"\\x4\"", "hex");
  check_bad("add \"\\x00\"", "hex");
  check_bad("add \"\\xg1\"", "hex");
}

static void too_many_words(void **state) {
  (void)state;
  char line[2 * WORDS_MAX + 3];
  for (size_t i = 0; i < WORDS_MAX; i++) {
    memcpy(line + 2 * i, "a ", 2);
  }
  line[2 * WORDS_MAX] = '\0';
  word_list w;
  km_errinfo err = {0};
  assert_int_equal(words_split(&w, line, &err), 0);
  assert_int_equal(w.count, WORDS_MAX);
  words_free(&w);
  memcpy(line + 2 * WORDS_MAX, "a", 2);
  check_bad(line, "too many");
}

static void where_words_begin(void **state) {
  (void)state;
  word_list w;
  km_errinfo err = {0};
  assert_int_equal(words_split(&w, "send  bob 'x' {\"a\": 1}", &err), 0);
  assert_int_equal(w.count, 5);
  assert_int_equal(w.from[0], 0);
  assert_int_equal(w.from[1], 6);
  assert_int_equal(w.from[2], 10);
  assert_int_equal(w.from[3], 14);
  assert_string_equal(w.at[3], "{a:");
  words_free(&w);
}

static void partial(const char *line, size_t count, const char *last, char quote, bool ended) {
  word_list w;
  /* Not NUL-terminated, as what an editor has. */
  size_t len = strlen(line);
  char *bytes = malloc(len + 1);
  assert_non_null(bytes);
  memcpy(bytes, line, len);
  bytes[len] = 'z';
  assert_int_equal(words_split_partial(&w, bytes, len), 0);
  assert_int_equal(w.count, count);
  if (count > 0) {
    assert_string_equal(w.at[count - 1], last);
  }
  assert_int_equal(w.quote, quote);
  assert_int_equal(w.ended, ended);
  words_free(&w);
  free(bytes);
}

static void lines_that_are_typed(void **state) {
  (void)state;
  partial("", 0, NULL, 0, true);
  partial("ad", 1, "ad", 0, false);
  partial("add ", 1, "add", 0, true);
  partial("get 'a b", 2, "a b", '\'', false);
  partial("get \"a b", 2, "a b", '"', false);
  partial("get \"a b\"", 2, "a b", 0, false);
  partial("get a\\", 2, "a", 0, false);
  partial("get \"a\\x4", 2, "a4", '"', false);
}

static void check_quoted(const char *word, char quote, const char *wanted) {
  char *text = words_quote(word, quote);
  assert_non_null(text);
  assert_string_equal(text, wanted);
  CHECK(text, word);
  free(text);
}

static void quoted_words_come_back(void **state) {
  (void)state;
  check_quoted("plain/key-1", 0, "plain/key-1");
  check_quoted("", 0, "\"\"");
  check_quoted("two words", 0, "\"two words\"");
  check_quoted("#tag", 0, "\"#tag\"");
  check_quoted("it's", 0, "\"it's\"");
  check_quoted("it's", '\'', "'it'\\''s'");
  check_quoted("a\"b\\c\n\r\t", 0, "\"a\\\"b\\\\c\\n\\r\\t\"");
  check_quoted("plain", '\'', "'plain'");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(blanks_separate),
      cmocka_unit_test(quotes_keep),
      cmocka_unit_test(backslashes),
      cmocka_unit_test(comments),
      cmocka_unit_test(what_is_open_is_an_error),
      cmocka_unit_test(too_many_words),
      cmocka_unit_test(where_words_begin),
      cmocka_unit_test(lines_that_are_typed),
      cmocka_unit_test(quoted_words_come_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
