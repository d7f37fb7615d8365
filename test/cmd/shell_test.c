/* The shell without its terminal, on a store in memory. */
#include "cmd/node/ctl/shell.h"

#include "test/cmd/request_asker.h"

static void ask_store(void *ctx, const char *name, cJSON *args, const request_reply *reply,
                      request **ret) {
  request_run(ctx, name, args, reply, ret);
  cJSON_Delete(args);
}

static void open_core(shell_core *s, asker *a) {
  shell_core_init(s, &a->project, true, ask_store, &a->node);
}

/* --- arguments -------------------------------------------------------------------------------- */

static int args_of(const shell_core *s, const char *line, char **ret, km_errinfo *err) {
  word_list w;
  cJSON *args = NULL;
  int rv = words_split(&w, line, err);
  if (rv != 0) {
    return rv;
  }
  const shell_command *command = shell_command_find(w.at[0]);
  assert_non_null(command);
  rv = shell_command_args(s, command, &w, line, &args, err);
  words_free(&w);
  if (rv == 0) {
    *ret = cJSON_PrintUnformatted(args);
    assert_non_null(*ret);
    cJSON_Delete(args);
  }
  return rv;
}

static void check_args(const shell_core *s, const char *line, const char *wanted) {
  char *got = NULL;
  km_errinfo err = {0};
  if (args_of(s, line, &got, &err) != 0) {
    fail_msg("%s: %s", line, err.text);
  }
  assert_string_equal(got, wanted);
  cJSON_free(got);
}

static void check_refused(const shell_core *s, const char *line, const char *wanted) {
  char *got;
  km_errinfo err = {0};
  assert_int_equal(args_of(s, line, &got, &err), KM_ERR_INVALID);
  if (strstr(err.text, wanted) == NULL) {
    fail_msg("%s: '%s', not '%s'", line, err.text, wanted);
  }
}

static void words_become_arguments(void **state) {
  shell_core s;
  open_core(&s, *state);
  check_args(&s, "add k 'a value'", "{\"share\":\"docs\",\"key\":\"k\",\"value\":\"a value\"}");
  check_args(&s, "add k \"\\xff\"", "{\"share\":\"docs\",\"key\":\"k\",\"value_b64\":\"/w==\"}");
  check_args(&s, "list", "{\"share\":\"docs\"}");
  check_args(&s, "list other pre", "{\"share\":\"other\",\"prefix\":\"pre\"}");
  check_args(&s, "watch", "{}");
  check_args(&s, "trust bob", "{\"peer\":\"bob\"}");
  check_args(&s, "trust bob Bob", "{\"peer\":\"bob\",\"name\":\"Bob\"}");
  check_args(&s, "test-access-control bob", "{\"peer\":\"bob\",\"share\":\"docs\"}");
  check_args(&s, "test-access-control bob x", "{\"peer\":\"bob\",\"share\":\"x\"}");
  check_args(&s, "verify-signature", "{\"share\":\"docs\"}");
  check_args(&s, "messages 5", "{\"limit\":5}");
}

static void json_needs_no_quotes(void **state) {
  shell_core s;
  open_core(&s, *state);
  const char *wanted =
      "{\"peer\":\"bob\",\"type\":\"note\",\"json\":\"{\\\"a\\\": [1, \\\"x y\\\"]}\"}";
  check_args(&s, "send bob note {\"a\": [1, \"x y\"]}", wanted);
  check_args(&s, "send bob note '{\"a\": [1, \"x y\"]}'", wanted);
  check_args(&s, "broadcast alarm 17", "{\"type\":\"alarm\",\"json\":\"17\"}");
  check_args(&s, "broadcast alarm \"text\"", "{\"type\":\"alarm\",\"json\":\"\\\"text\\\"\"}");
  check_refused(&s, "send bob note hello", "JSON");
  check_refused(&s, "send bob note {\"a\": 1} x", "JSON");
}

static void what_is_wrong_is_said(void **state) {
  shell_core s;
  open_core(&s, *state);
  check_refused(&s, "add k", "missing: add KEY VALUE");
  check_refused(&s, "add k v w", "'w' is one word too many");
  check_refused(&s, "peers x", "too many");
  check_refused(&s, "messages x", "number");
  check_refused(&s, "messages 0", "number");
  s.share[0] = '\0';
  check_refused(&s, "add k v", "no share is in use");
  check_refused(&s, "list", "no share is in use");
  check_args(&s, "list docs", "{\"share\":\"docs\"}");
}

/* Every row of the table names a request that is there, or is the shell's own. */
static void the_table_is_whole(void **state) {
  (void)state;
  for (const shell_command *c = shell_commands; c->name != NULL; c++) {
    bool known = c->request == NULL;
    for (const char *const *name = request_names(); *name != NULL && !known; name++) {
      known = strcmp(*name, c->request) == 0;
    }
    if (!known) {
      fail_msg("%s asks for %s, which is no request", c->name, c->request);
    }
    assert_ptr_equal(shell_command_find(c->name), c); /* no name twice */
  }
}

/* --- lines ------------------------------------------------------------------------------------ */

static void lines_run(void **state) {
  asker *a = *state;
  shell_core s;
  open_core(&s, a);
  shell_core_line(&s, "");
  shell_core_line(&s, "# comment");
  shell_core_line(&s, "add greeting 'hello world'");
  assert_int_equal(s.status, CLI_EXIT_OK);
  assert_false(s.waiting);
  ask(a, "kv.get", "{\"share\":\"docs\",\"key\":\"greeting\"}");
  assert_string_equal(text_of(a->result, "value"), "hello world");
  shell_core_line(&s, "use notes");
  assert_string_equal(s.share, "notes");
  shell_core_line(&s, "get greeting");
  assert_int_equal(s.status, CLI_EXIT_FAILED);
  shell_core_line(&s, "add");
  assert_int_equal(s.status, CLI_EXIT_USAGE);
  shell_core_line(&s, "add 'x");
  assert_int_equal(s.status, CLI_EXIT_USAGE);
  s.status = 0;
  shell_core_line(&s, "lits");
  assert_int_equal(s.status, CLI_EXIT_USAGE);
  assert_false(s.quit);
  shell_core_line(&s, "quit");
  assert_true(s.quit);
}

/* --- completion ------------------------------------------------------------------------------- */

/* `wanted`: the choices with a blank behind each. */
static void check_choices(shell_core *s, const char *line, const char *wanted, const char *insert) {
  shell_choices c;
  char got[512] = "";
  shell_complete(s, line, strlen(line), &c);
  for (size_t i = 0; i < c.count; i++) {
    size_t used = strlen(got);
    (void)snprintf(got + used, sizeof got - used, "%s ", c.at[i]);
  }
  if (strcmp(got, wanted) != 0 || (c.insert == NULL) != (insert == NULL) ||
      (insert != NULL && strcmp(c.insert, insert) != 0)) {
    fail_msg("'%s': choices '%s', inserts '%s'", line, got, c.insert == NULL ? "-" : c.insert);
  }
  shell_choices_free(&c);
}

static void commands_complete(void **state) {
  shell_core s;
  open_core(&s, *state);
  check_choices(&s, "ad", "add ", "add ");
  check_choices(&s, "add", "add ", "add ");
  check_choices(&s, "  rec", "recommend-peer ", "recommend-peer ");
  check_choices(&s, "req", "request-keys request-whitelist requests ", "request");
  check_choices(&s, "request", "request-keys request-whitelist requests ", NULL);
  check_choices(&s, "nothing", "", NULL);
  check_choices(&s, "help wh", "why ", "why ");
  check_choices(&s, "nothing x", "", NULL);
  check_choices(&s, "peers x", "", NULL);
}

static void shares_and_keys_complete(void **state) {
  shell_core s;
  open_core(&s, *state);
  check_choices(&s, "use ", "docs ", "docs ");
  check_choices(&s, "list d", "docs ", "docs ");
  shell_core_line(&s, "add a/one 1");
  shell_core_line(&s, "add a/two 2");
  shell_core_line(&s, "add 'b c' 3");
  shell_core_line(&s, "add solo 4");
  check_choices(&s, "get ", "a/ b c solo ", NULL);
  check_choices(&s, "get a", "a/ ", "a/");
  check_choices(&s, "get a/", "a/one a/two ", NULL);
  check_choices(&s, "get a/t", "a/two ", "a/two ");
  check_choices(&s, "get b", "b c ", "\"b c\" ");
  check_choices(&s, "get 'b", "b c ", "'b c' ");
  check_choices(&s, "get \"b c", "b c ", "\"b c\" ");
  check_choices(&s, "delete so", "solo ", "solo ");
  check_choices(&s, "list docs a/o", "a/one ", "a/one ");
  check_choices(&s, "list other a", "", NULL);
}

static void peers_complete(void **state) {
  asker *a = *state;
  shell_core s;
  char id[KM_ID_TEXT_CAP], line[KM_ID_TEXT_CAP + 16], wanted[KM_ID_TEXT_CAP + 16];
  open_core(&s, a);
  assert_true(km_id_format(&a->other, KM_ID_HEX, id, sizeof id) > 0);
  assert_int_equal(km_trust_add(a->node.store, &a->other, "bob", NULL, 0, NULL), 0);
  check_choices(&s, "trust ", "bob ", "bob ");
  check_choices(&s, "dial b", "bob ", "bob ");
  (void)snprintf(line, sizeof line, "why %.6s", id);
  (void)snprintf(wanted, sizeof wanted, "%s ", id);
  check_choices(&s, line, wanted, wanted);
  check_choices(&s, "known t", "trusted ", "trusted ");
}

int main(void) {
#define ON_A_STORE(test) cmocka_unit_test_setup_teardown(test, asker_set_up, asker_tear_down)
  const struct CMUnitTest tests[] = {
      ON_A_STORE(words_become_arguments),
      ON_A_STORE(json_needs_no_quotes),
      ON_A_STORE(what_is_wrong_is_said),
      cmocka_unit_test(the_table_is_whole),
      ON_A_STORE(lines_run),
      ON_A_STORE(commands_complete),
      ON_A_STORE(shares_and_keys_complete),
      ON_A_STORE(peers_complete),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
