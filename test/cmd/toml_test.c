/* The reader of configuration files. */
#include "cmd/cli/toml.h"

#include "test/base/test_env.h"

static void parse(toml *t, const char *text) {
  km_errinfo err = {0};
  if (toml_parse(t, "f", text, strlen(text), &err) != 0) {
    fail_msg("%s: %s", text, err.text);
  }
}

static const toml_value *get(toml *t, const char *path, toml_kind kind) {
  const toml_value *v = toml_find(t, path);
  assert_non_null(v);
  assert_int_equal(v->kind, kind);
  assert_true(v->used);
  return v;
}

static void check_bad(const char *text, const char *wanted) {
  toml t;
  km_errinfo err = {0};
  assert_int_equal(toml_parse(&t, "f", text, strlen(text), &err), KM_ERR_INVALID);
  if (strncmp(err.text, "f:", 2) != 0 || strstr(err.text, wanted) == NULL) {
    fail_msg("%s: '%s', not '%s'", text, err.text, wanted);
  }
  assert_int_equal(err.code, KM_ERR_INVALID);
  assert_int_equal(t.count, 0);
}

/* --- values ---------------------------------------------------------------------------------- */

static void every_kind_of_value(void **state) {
  (void)state;
  toml t;
  parse(&t, "text = \"a # b\" # comment\r\n"
            "literal = 'C:\\new'\n"
            "\tempty = ''\n"
            "yes = true\nno=false\n"
            "number = 1_000_000\nminus = -17\nplus = +5\nzero = 0\n"
            "real = 2.5\nhalf = -0.5e1\n"
            "list = [ 'a', \"b\", # one\n  'c',\n\n]\nnone = []\n"
            "table = { x = 1, y.z = 'deep' }\nhollow = {}\n");
  assert_string_equal(get(&t, "text", TOML_TEXT)->text, "a # b");
  assert_string_equal(get(&t, "literal", TOML_TEXT)->text, "C:\\new");
  assert_string_equal(get(&t, "empty", TOML_TEXT)->text, "");
  assert_int_equal(get(&t, "yes", TOML_BOOL)->number, 1);
  assert_int_equal(get(&t, "no", TOML_BOOL)->number, 0);
  assert_int_equal(get(&t, "number", TOML_INTEGER)->number, 1000000);
  assert_int_equal(get(&t, "minus", TOML_INTEGER)->number, -17);
  assert_int_equal(get(&t, "plus", TOML_INTEGER)->number, 5);
  assert_int_equal(get(&t, "zero", TOML_INTEGER)->number, 0);
  assert_true(get(&t, "minus", TOML_INTEGER)->real <= -17);
  assert_true(get(&t, "real", TOML_FLOAT)->real >= 2.5 && toml_find(&t, "real")->real <= 2.5);
  assert_true(get(&t, "half", TOML_FLOAT)->real <= -5 && toml_find(&t, "half")->real >= -5);
  const toml_value *list = get(&t, "list", TOML_ARRAY);
  assert_int_equal(list->item_count, 3);
  assert_string_equal(list->items[2], "c");
  assert_int_equal(get(&t, "none", TOML_ARRAY)->item_count, 0);
  assert_int_equal(get(&t, "table.x", TOML_INTEGER)->number, 1);
  assert_string_equal(get(&t, "table.y.z", TOML_TEXT)->text, "deep");
  assert_true(toml_has_table(&t, "table") && toml_has_table(&t, "hollow"));
  assert_null(toml_find(&t, "absent"));
  toml_free(&t);
}

static void tables_and_dotted_keys(void **state) {
  (void)state;
  toml t;
  parse(&t, "\xef\xbb\xbf"
            "a.b = 1\n a . 'c' . \"d\" = 2\n[ t ]\nx = 3\n[t.u]\nx = 4\n[\"q\"]\n[e]#\n");
  assert_int_equal(get(&t, "a.b", TOML_INTEGER)->line, 1);
  assert_int_equal(get(&t, "a.c.d", TOML_INTEGER)->number, 2);
  assert_int_equal(get(&t, "t.x", TOML_INTEGER)->number, 3);
  assert_int_equal(get(&t, "t.u.x", TOML_INTEGER)->line, 6);
  assert_true(toml_has_table(&t, "a") && toml_has_table(&t, "a.c") && toml_has_table(&t, "q"));
  assert_true(toml_has_table(&t, "e"));
  assert_false(toml_has_table(&t, "t.x"));
  assert_false(toml_has_table(&t, "a.b"));
  toml_free(&t);
}

static void nothing_is_a_file_as_well(void **state) {
  (void)state;
  static const char *const texts[] = {"", "\n", "# only this", " \t\r\n#\n", "\xef\xbb\xbf"};
  for (size_t i = 0; i < COUNT_OF(texts); i++) {
    toml t;
    parse(&t, texts[i]);
    assert_int_equal(t.count, 0);
    toml_free(&t);
  }
}

static void escapes(void **state) {
  (void)state;
  toml t;
  parse(&t, "x = \"\\\"\\\\\\b\\f\\n\\r\\t\\u00e4\\u20ac\\U0001F600\\u0041\"");
  assert_string_equal(get(&t, "x", TOML_TEXT)->text,
                      "\"\\\b\f\n\r\t\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"
                      "A");
  toml_free(&t);
  static const char *const bad[] = {"x=\"\\x41\"",       "x=\"\\u12\"",      "x=\"\\ud800\"",
                                    "x=\"\\U00110000\"", "x=\"\\u0000\"",    "x=\"\\",
                                    "x=\"\\\n\"",        "x=\"\\U0000000\"", "x=\"\\ \""};
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    check_bad(bad[i], "f:1: ");
  }
}

/* --- what is refused ------------------------------------------------------------------------- */

static void numbers_that_are_none(void **state) {
  (void)state;
  static const char *const words[] = {
      "01",    "-01", "_1",    "1_",         "1__0",     "0x10", "0b1", "0o7",  "1.",   ".5",
      "1e",    "1e+", "+",     "-",          "1-2",      "inf",  "nan", "tru",  "True", "tr_ue",
      "1.2.3", "--1", "1e5e5", "1979-05-27", "07:32:00", "",     "yes", "1_.5", "1._5"};
  for (size_t i = 0; i < COUNT_OF(words); i++) {
    char text[64];
    (void)snprintf(text, sizeof text, "x = %s\n", words[i]);
    check_bad(text, "was expected");
  }
  check_bad("x = 1234567890123456789", "18 digits");
  check_bad("x = 12345678901234567890123456789012345", "too long");
}

static void what_this_part_of_toml_has_not(void **state) {
  (void)state;
  check_bad("x = \"\"\"a\"\"\"", "several lines");
  check_bad("x = '''a'''", "several lines");
  check_bad("[[x]]", "lists of tables");
  check_bad("x = [1, 2]", "strings only");
  check_bad("x = [['a']]", "strings only");
  check_bad("'a.b' = 1", "a dot in it");
  check_bad("'' = 1", "empty");
}

static void damaged_files(void **state) {
  (void)state;
  check_bad("x", "= was expected");
  check_bad("x =", "was expected");
  check_bad("= 1", "a key was expected");
  check_bad("x. = 1", "a key was expected");
  check_bad("x y = 1", "= was expected");
  check_bad("x = 1 y = 2", "behind the value");
  check_bad("x = 'a' 'b'", "behind the value");
  check_bad("x = 'a", "has no end");
  check_bad("x = \"a\n\"", "has no end");
  check_bad("x = \"\x01\"", "control character");
  check_bad("[x", "] was expected");
  check_bad("[]", "a key was expected");
  check_bad("[x] y = 1", "behind the value");
  check_bad("x = ['a' 'b']", "a comma or ]");
  check_bad("x = ['a',", "strings only");
  check_bad("x = {", "a key was expected");
  check_bad("x = { y = 1", "a comma or }");
  check_bad("x = { y = 1, }", "a key was expected");
  check_bad("x = { y = 1\n}", "a comma or }");
  check_bad("\n\n\nx = [\n'a'\n", "f:6: ");
}

static void nul_bytes(void **state) {
  (void)state;
  static const char word[] = "x = true\0false\n", text[] = "x = 'a\0b'\n";
  toml t;
  km_errinfo err = {0};
  assert_int_equal(toml_parse(&t, "f", word, sizeof word - 1, &err), KM_ERR_INVALID);
  assert_int_equal(toml_parse(&t, "f", text, sizeof text - 1, &err), KM_ERR_INVALID);
  assert_int_equal(toml_parse(&t, "f", "\0", 1, NULL), KM_ERR_INVALID);
}

static void nothing_is_said_twice(void **state) {
  (void)state;
  static const char *const texts[] = {"a = 1\na = 2",
                                      "[a]\n[a]",
                                      "[a]\nb = 1\n[a]\n",
                                      "a = 1\n[a]",
                                      "a = 1\na.b = 2",
                                      "a.b = 1\na = 2",
                                      "a.b.c = 1\na.b = 2",
                                      "[a.b]\nc = 1\n[a]\nb = 2",
                                      "a = { b = 1, b = 2 }",
                                      "a = { b = 1 }\na.c = 2",
                                      "a = { b = 1 }\n[a]",
                                      "a = { b = 1 }\n[a.c]",
                                      "a = { b = {} , b.c = 1 }",
                                      "a = []\n[a]"};
  for (size_t i = 0; i < COUNT_OF(texts); i++) {
    check_bad(texts[i], "given before, in line");
  }
  toml t;
  parse(&t, "ab = 1\na.b = 2\n[a.c]\n[a]\nd = 3\n"); /* what only looks so */
  toml_free(&t);
}

/* --- bounds ---------------------------------------------------------------------------------- */

static char *repeat(const char *head, const char *part, size_t count, const char *tail) {
  size_t part_len = strlen(part), head_len = strlen(head);
  char *ret = malloc(head_len + count * part_len + strlen(tail) + 1);
  assert_non_null(ret);
  memcpy(ret, head, head_len);
  for (size_t i = 0; i < count; i++) {
    memcpy(ret + head_len + i * part_len, part, part_len);
  }
  memcpy(ret + head_len + count * part_len, tail, strlen(tail) + 1);
  return ret;
}

static void check_bounded(const char *head, const char *part, size_t count, const char *tail,
                          const char *wanted) {
  char *text = repeat(head, part, count, tail);
  if (wanted == NULL) {
    toml t;
    parse(&t, text);
    toml_free(&t);
  } else {
    check_bad(text, wanted);
  }
  free(text);
}

static void everything_is_bounded(void **state) {
  (void)state;
  check_bounded("x = '", "a", 4080, "'", NULL);
  check_bounded("x = '", "a", 5000, "'", "longer than");
  check_bounded("x = \"", "\\u00e4", 5000, "\"", "longer than");
  check_bounded("x = [", "'a',", 65536, "]", NULL);
  check_bounded("x = [", "'a',", 65537, "]", "65,536");
  check_bounded("", "a", 250, " = 1", NULL);
  check_bounded("", "a", 300, " = 1", "too long");
  check_bounded("", "a.", 200, "b = 1", "too long");
  check_bounded("x = ", "{a=", 500, "1", "too long");
  char *text = malloc(20000);
  assert_non_null(text);
  for (size_t count = 1000; count <= 1001; count++) {
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
      used += (size_t)snprintf(text + used, 20000 - used, "k%zu = 1\n", i);
    }
    if (count == 1000) {
      toml t;
      parse(&t, text);
      assert_int_equal(t.count, 1000);
      toml_free(&t);
    } else {
      check_bad(text, "more than 1,000");
    }
  }
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_kind_of_value),
      cmocka_unit_test(tables_and_dotted_keys),
      cmocka_unit_test(nothing_is_a_file_as_well),
      cmocka_unit_test(escapes),
      cmocka_unit_test(numbers_that_are_none),
      cmocka_unit_test(what_this_part_of_toml_has_not),
      cmocka_unit_test(damaged_files),
      cmocka_unit_test(nul_bytes),
      cmocka_unit_test(nothing_is_said_twice),
      cmocka_unit_test(everything_is_bounded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
