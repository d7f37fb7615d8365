/* cmd/cli/yaml: what is read, what is refused, and in which line. */
#include "cmd/cli/yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/base/test_env.h"

static void check_good(tree *t, const char *text) {
  km_errinfo err = {0};
  if (tree_parse(t, "f", text, strlen(text), &err) != 0) {
    fail_msg("%s: %s", text, err.text);
  }
}

static void check_bad(const char *text, const char *start, const char *word) {
  tree t;
  km_errinfo err = {0};
  assert_int_equal(tree_parse(&t, "f", text, strlen(text), &err), KM_ERR_INVALID);
  if (strncmp(err.text, start, strlen(start)) != 0 || strstr(err.text, word) == NULL) {
    fail_msg("%s: %s", text, err.text);
  }
  assert_null(t.items);
  assert_int_equal(t.count, 0);
}

static void test_tree(void **state) {
  (void)state;
  tree t;
  check_good(&t, "# comment\n"
                 "node:\n"
                 "  id: host-A\n"
                 "  port: \"51888\"\n"
                 "list: [1, two, {a: b}]\n"
                 "dashes:\n"
                 "  - x\n"
                 "  - |\n"
                 "    block\n");
  assert_int_equal(t.kind, TREE_MAP);
  assert_int_equal(t.count, 3);
  const tree *node = tree_get(&t, "node");
  assert_int_equal(node->kind, TREE_MAP);
  assert_int_equal(node->line, 3);
  assert_string_equal(tree_get(node, "id")->text, "host-A");
  assert_false(tree_get(node, "id")->quoted);
  assert_true(tree_get(node, "port")->quoted);
  assert_int_equal(tree_get(node, "port")->line, 4);
  assert_int_equal(node->key_lines[1], 4);
  const tree *list = tree_get(&t, "list");
  assert_int_equal(list->kind, TREE_LIST);
  assert_int_equal(list->count, 3);
  assert_string_equal(list->items[1].text, "two");
  assert_string_equal(tree_get(&list->items[2], "a")->text, "b");
  const tree *dashes = tree_get(&t, "dashes");
  assert_string_equal(dashes->items[1].text, "block\n");
  assert_null(tree_get(&t, "missing"));
  assert_null(tree_get(list, "a"));
  assert_null(tree_get(NULL, "a"));
  tree_free(&t);
}

static void test_empty(void **state) {
  (void)state;
  static const char *const texts[] = {"", "\n\n", "# only a comment\n", "\xef\xbb\xbf", "{}"};
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    tree t;
    check_good(&t, texts[i]);
    assert_int_equal(t.kind, TREE_MAP);
    assert_int_equal(t.count, 0);
    tree_free(&t);
  }
}

static void test_null(void **state) {
  (void)state;
  tree t;
  check_good(&t, "a:\nb: ~\nc: null\nd: \"\"\ne: 'null'\nf: 0\ng: []\n");
  for (size_t i = 0; i < t.count; i++) {
    assert_int_equal(tree_is_null(&t.items[i]), i < 3);
  }
  tree_free(&t);
}

static void test_refused(void **state) {
  (void)state;
  check_bad("a: 1\nb: &x 2\n", "f:2: ", "anchors");
  check_bad("a: &x [1]\n", "f:1: ", "anchors");
  check_bad("a: &x {b: 1}\n", "f:1: ", "anchors");
  check_bad("a: &x 1\nb: *x\n", "f:1: ", "anchors");
  check_bad("\nb: *x\n", "f:2: ", "aliases");
  check_bad("a: !!str 1\n", "f:1: ", "tags");
  check_bad("a: !mine [1]\n", "f:1: ", "tags");
  check_bad("a: 1\nb: 2\na: 3\n", "f:3: ", "given before, in line 1");
  check_bad("a: {b: 1, b: 2}\n", "f:1: ", "given before");
  check_bad("a: 1\n---\nb: 2\n", "f:3: ", "second document");
  check_bad("%YAML 1.1\n---\na: 1\n", "f:1: ", "directives");
  check_bad("? [a]\n: 1\n", "f:1: ", "a key has to be a word");
  check_bad("a: \"x\\0y\"\n", "f:1: ", "NUL");
}

static void test_syntax(void **state) {
  (void)state;
  check_bad("a: 1\n\tb: 2\n", "f:2: ", "not YAML");
  check_bad("a: [1\nb: 2\n", "f:", "not YAML");
  check_bad("a: \"x\n", "f:", "not YAML");
  check_bad("a: 1\nb: \xff\n", "f:2: ", "not YAML");
  check_bad("a: 1\n  b: 2\n", "f:2: ", "not YAML");
}

static void test_bounds(void **state) {
  (void)state;
  tree t;
  check_good(&t, "[[[[[[[[1]]]]]]]]");
  tree_free(&t);
  check_bad("[[[[[[[[[1]]]]]]]]]", "f:1: ", "too deeply");

  size_t cap = TREE_MAX_BYTES + 2;
  char *text = malloc(cap);
  assert_non_null(text);
  memset(text, '\n', cap - 1);
  text[cap - 1] = '\0';
  check_bad(text, "f:1: ", "1 MiB");

  char *at = text;
  for (int i = 0; i < 257; i++) {
    at += snprintf(at, 16, "k%d: 1\n", i);
  }
  check_bad(text, "f:257: ", "256 keys");

  at = text;
  *at++ = '[';
  for (int i = 0; i < TREE_MAX_NODES + 1; i++) {
    at += snprintf(at, 4, "1,");
  }
  (void)snprintf(at, 4, "]");
  check_bad(text, "f:1: ", "values");
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_tree),    cmocka_unit_test(test_empty),  cmocka_unit_test(test_null),
      cmocka_unit_test(test_refused), cmocka_unit_test(test_syntax), cmocka_unit_test(test_bounds),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
