/* Lines of the control socket. */
#include "cmd/node/daemon/control_line.h"

#include "test/base/test_env.h"

static int parse(control_request *r, const char *line, km_errinfo *err) {
  *err = (km_errinfo){0};
  return control_parse(r, line, strlen(line), err);
}

static void request_is_read(void **state) {
  (void)state;
  control_request r;
  km_errinfo err;
  assert_int_equal(
      parse(&r, "{\"id\":\"x\",\"cmd\":\"kv.get\",\"args\":{\"share\":\"d\"},\"more\":1}", &err),
      0);
  assert_string_equal(r.cmd, "kv.get");
  assert_string_equal(r.id->valuestring, "x");
  assert_true(cJSON_IsObject(r.args));
  cJSON_Delete(r.json);
  assert_int_equal(parse(&r, "{\"id\":7,\"cmd\":\"health\"}", &err), 0);
  assert_int_equal(r.id->valuedouble, 7);
  assert_null(r.args);
  cJSON_Delete(r.json);
}

static void refused(const char *line, bool has_id, const char *words) {
  control_request r;
  km_errinfo err;
  assert_int_equal(parse(&r, line, &err), KM_ERR_INVALID);
  assert_int_equal(r.id != NULL, has_id);
  if (strstr(err.text, words) == NULL) {
    fail_msg("'%s' lacks '%s'", err.text, words);
  }
  cJSON_Delete(r.json);
}

static void other_lines_are_refused(void **state) {
  (void)state;
  refused("", false, "JSON");
  refused("GET / HTTP/1.1", false, "JSON");
  refused("{\"id\":1", false, "JSON");
  refused("{\"id\":1,\"cmd\":\"a\\u0000b\"}", false, "NUL");
  refused("{\"id\":1,\"cmd\":\"\xff\"}", false, "UTF-8");
  refused("[1]", false, "object");
  refused("7", false, "object");
  refused("{\"cmd\":\"health\"}", false, "'id'");
  refused("{\"id\":[],\"cmd\":\"health\"}", false, "'id'");
  refused("{\"id\":1}", true, "'cmd'");
  refused("{\"id\":1,\"cmd\":2}", true, "'cmd'");
}

/* What the daemon said is what the client's caller gets. */
static void error_goes_through(int code, const char *text, const char *wanted) {
  km_errinfo err = {.code = code}, back = {0};
  (void)snprintf(err.text, sizeof err.text, "%s", text);
  cJSON *answer = control_answer(NULL);
  control_add_end(answer, NULL, &err);
  assert_true(cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(answer, "id")));
  assert_true(cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(answer, "ok")));
  control_read_error(answer, &back);
  assert_int_equal(back.code, code);
  assert_string_equal(back.text, wanted);
  cJSON_Delete(answer);
}

static void errors_go_through(void **state) {
  (void)state;
  error_goes_through(KM_ERR_NOT_FOUND, "no such key", "no such key");
  error_goes_through(KM_ERR_STORE_DAMAGED, "row 7 100% wrong", "row 7 100% wrong");
  error_goes_through(KM_ERR_LIMIT, "", km_strerror(KM_ERR_LIMIT));
  km_errinfo back = {0};
  cJSON *odd = cJSON_Parse("{\"ok\":false,\"error\":{\"code\":\"WHAT\"}}");
  control_read_error(odd, &back);
  assert_int_equal(back.code, KM_ERR_INTERNAL);
  cJSON_Delete(odd);
}

static void result_is_kept(void **state) {
  (void)state;
  cJSON *id = cJSON_CreateString("seven");
  cJSON *answer = control_answer(id);
  control_add_end(answer, cJSON_CreateNumber(3), NULL);
  char *line = cJSON_PrintUnformatted(answer);
  assert_string_equal(line, "{\"id\":\"seven\",\"ok\":true,\"result\":3}");
  cJSON_free(line);
  cJSON_Delete(answer);
  cJSON_Delete(id);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(request_is_read),
      cmocka_unit_test(other_lines_are_refused),
      cmocka_unit_test(errors_go_through),
      cmocka_unit_test(result_is_kept),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
