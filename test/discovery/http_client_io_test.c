/* The HTTP client against a server that does what it should not. */
#include "discovery/http_client_io.h"

#include "test/discovery/net_lab.h"

enum { MAX_ANSWER = 1072 };

static lab_peer server;
static km_http_client *client;

typedef struct result {
  unsigned count;
  km_http_answer answer;
  uint8_t body[4096];
  km_errinfo err;
} result;

static void on_answer(void *ctx, const km_http_answer *answer, const km_errinfo *err) {
  result *r = ctx;
  r->count++;
  r->answer = *answer;
  r->err = *err;
  assert_true(answer->len <= sizeof r->body);
  if (answer->len > 0) {
    memcpy(r->body, answer->body, answer->len);
  }
}

static int start(void **state) {
  int rv = lab_setup(state);
  const km_http_client_config config = {
      .env = &km_env_system, .loop = lab_loop, .user_agent = "km-test"};
  return rv != 0 ? rv : km_http_client_new(&client, &config, NULL);
}

static int stop(void **state) {
  km_http_client_free(client);
  return lab_teardown(state);
}

static int start_server(void **state) {
  (void)state;
  lab_peer_start(&server, "hostile_http.py", NULL);
  return 0;
}

static int stop_server(void **state) {
  (void)state;
  lab_peer_stop(&server);
  return 0;
}

static const char *url_of(const char *path) {
  static char url[256];
  (void)snprintf(url, sizeof url, "http://127.0.0.1:%d%s", server.port, path);
  return url;
}

static km_http_request *begin(result *r, const char *path, uint64_t timeout_ms) {
  km_http_request *request = NULL;
  const km_http_request_config config = {
      .url = url_of(path), .max_answer = MAX_ANSWER, .timeout_ns = timeout_ms * KM_NS_PER_MS};
  *r = (result){0};
  assert_int_equal(km_http_request_new(&request, client, &config, on_answer, r, NULL), 0);
  assert_int_equal(r->count, 0);
  return request;
}

static result get(const char *path, uint64_t timeout_ms) {
  result r;
  (void)begin(&r, path, timeout_ms);
  LAB_UNTIL(r.count > 0);
  lab_run_ms(5);
  assert_int_equal(r.count, 1);
  return r;
}

static void check_body(const result *r, const char *text) {
  assert_int_equal(r->err.code, 0);
  assert_int_equal(r->answer.status, 200);
  assert_int_equal(r->answer.len, strlen(text));
  assert_memory_equal(r->body, text, strlen(text));
}

static void bodies_come_in_every_form(void **state) {
  (void)state;
  static const struct {
    const char *path, *body;
  } cases[] = {{"/plain", "hello"},         {"/empty", ""},
               {"/open", "until the end"},  {"/old", "older"},
               {"/chunked", "hello again"}, {"/drip", "slow"}};
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    result r = get(cases[i].path, 20000);
    if (r.answer.status != 200) {
      fail_msg("%s: %d %s", cases[i].path, r.answer.status, r.err.text);
    }
    check_body(&r, cases[i].body);
  }
  result r = get("/exact", 20000);
  assert_int_equal(r.answer.status, 200);
  assert_int_equal(r.answer.len, MAX_ANSWER);
}

static void a_status_is_an_answer(void **state) {
  (void)state;
  static const struct {
    const char *path;
    int status;
    uint32_t retry_after_s;
  } cases[] = {{"/nothing", 204, 0},
               {"/not-found", 404, 0},
               {"/busy", 429, 17},
               {"/busy-junk", 503, 0},
               {"/redirect", 301, 0}};
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    result r = get(cases[i].path, 20000);
    assert_int_equal(r.err.code, 0);
    assert_int_equal(r.answer.status, cases[i].status);
    assert_int_equal(r.answer.len, 0);
    assert_int_equal(r.answer.retry_after_s, cases[i].retry_after_s);
  }
}

static void the_request_says_what_was_asked(void **state) {
  (void)state;
  static const struct {
    km_http_method method;
    const char *name, *body;
  } cases[] = {{KM_HTTP_GET, "GET", ""},
               {KM_HTTP_PUT, "PUT", "bytes"},
               {KM_HTTP_POST, "POST", "more bytes"},
               {KM_HTTP_PUT, "PUT", ""}};
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    km_http_request *request;
    result r = {0};
    char first[64], host[64], length[64];
    const km_http_request_config config = {.url = url_of("/echo/a?b=c#d"),
                                           .method = cases[i].method,
                                           .content_type = "application/dns-message",
                                           .accept = "text/plain",
                                           .body = cases[i].body,
                                           .body_len = strlen(cases[i].body),
                                           .max_answer = 4096,
                                           .timeout_ns = 20 * KM_NS_PER_S};
    assert_int_equal(km_http_request_new(&request, client, &config, on_answer, &r, NULL), 0);
    LAB_UNTIL(r.count > 0);
    assert_int_equal(r.answer.status, 200);
    r.body[r.answer.len] = '\0';
    const char *text = (const char *)r.body;
    (void)snprintf(first, sizeof first, "%s /echo/a?b=c\n", cases[i].name);
    (void)snprintf(host, sizeof host, "\nhost: 127.0.0.1:%d\n", server.port);
    (void)snprintf(length, sizeof length, "\ncontent-length: %zu\n", strlen(cases[i].body));
    assert_memory_equal(text, first, strlen(first));
    assert_non_null(strstr(text, host));
    assert_non_null(strstr(text, "\naccept: text/plain\n"));
    assert_non_null(strstr(text, "\nuser-agent: km-test\n"));
    assert_non_null(strstr(text, "\ncontent-type: application/dns-message\n"));
    if (cases[i].method == KM_HTTP_GET) {
      assert_null(strstr(text, "content-length"));
    } else {
      assert_non_null(strstr(text, length));
    }
    assert_string_equal(strstr(text, "\n\n") + 2, cases[i].body);
  }
}

static void long_bodies_arrive_whole(void **state) {
  (void)state;
  enum { LEN = 200000 };
  uint8_t *body = malloc(LEN);
  assert_non_null(body);
  memset(body, 'x', LEN);
  km_http_request *request;
  result r = {0};
  km_http_request_config config = {.url = url_of("/store/long"),
                                   .method = KM_HTTP_PUT,
                                   .body = body,
                                   .body_len = LEN,
                                   .timeout_ns = 20 * KM_NS_PER_S};
  assert_int_equal(km_http_request_new(&request, client, &config, on_answer, &r, NULL), 0);
  memset(body, 'y', LEN); /* it was copied */
  LAB_UNTIL(r.count > 0);
  assert_int_equal(r.answer.status, 204);
  r = get("/store/long", 20000);
  assert_int_equal(r.err.code, KM_ERR_LIMIT); /* it is there, and longer than wanted */
  free(body);
}

static void broken_answers_are_errors(void **state) {
  (void)state;
  static const struct {
    const char *path;
    int code;
  } cases[] = {{"/cut", KM_ERR_SERVER_UNREACHABLE},
               {"/negative", KM_ERR_SERVER_UNREACHABLE},
               {"/huge-length", KM_ERR_SERVER_UNREACHABLE},
               {"/chunked-cut", KM_ERR_SERVER_UNREACHABLE},
               {"/chunked-negative", KM_ERR_SERVER_HTTP},
               {"/chunked-junk", KM_ERR_SERVER_UNREACHABLE},
               {"/gzip", KM_ERR_SERVER_HTTP},
               {"/huge", KM_ERR_LIMIT},
               {"/one-more", KM_ERR_LIMIT},
               {"/continue", KM_ERR_SERVER_HTTP},
               {"/no-http", KM_ERR_SERVER_UNREACHABLE},
               {"/no-status", KM_ERR_SERVER_UNREACHABLE},
               {"/junk", KM_ERR_SERVER_UNREACHABLE},
               {"/headers", KM_ERR_SERVER_HTTP},
               {"/hang-up", KM_ERR_SERVER_UNREACHABLE}};
  unsigned wrong = 0;
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    result r = get(cases[i].path, 20000);
    if (r.err.code != cases[i].code || r.answer.status != 0 || r.answer.len != 0 ||
        strstr(r.err.text, "127.0.0.1") == NULL) {
      print_error("%s: %d (%d %s)\n", cases[i].path, r.answer.status, r.err.code, r.err.text);
      wrong++;
    }
  }
  assert_int_equal(wrong, 0);
  result r = get("/chunked-overflow", 20000); /* whatever lws makes of it, it ends */
  assert_true(r.answer.status == 200 || r.err.code != 0);
}

static void time_is_bounded(void **state) {
  (void)state;
  static const char *const paths[] = {"/silent", "/slow", "/chunked-endless"};
  for (size_t i = 0; i < COUNT_OF(paths); i++) {
    result r = get(paths[i], 300);
    assert_int_equal(r.err.code, KM_ERR_TIMEOUT);
    assert_int_equal(r.answer.status, 0);
  }
}

static void nobody_there_is_an_error(void **state) {
  (void)state;
  static const char *const urls[] = {"http://127.0.0.1:1/", "http://no-such-name.invalid/"};
  for (size_t i = 0; i < COUNT_OF(urls); i++) {
    km_http_request *request;
    result r = {0};
    const km_http_request_config config = {.url = urls[i], .timeout_ns = 20 * KM_NS_PER_S};
    assert_int_equal(km_http_request_new(&request, client, &config, on_answer, &r, NULL), 0);
    LAB_UNTIL(r.count > 0);
    assert_int_equal(r.err.code, KM_ERR_SERVER_UNREACHABLE);
    assert_true(strlen(r.err.text) > 10);
  }
}

static void urls_are_checked(void **state) {
  (void)state;
  static const char *const urls[] = {"",          "ftp://a.test/",    "http://",
                                     "https:///", "http://u@a.test/", "http://a b/"};
  for (size_t i = 0; i < COUNT_OF(urls); i++) {
    km_http_request *request;
    km_errinfo err = {0};
    const km_http_request_config config = {.url = urls[i], .timeout_ns = KM_NS_PER_S};
    assert_int_equal(km_http_request_new(&request, client, &config, on_answer, NULL, &err),
                     KM_ERR_INVALID);
    assert_true(strlen(err.text) > 10);
  }
}

static void cancelled_requests_say_nothing(void **state) {
  (void)state;
  static const char *const paths[] = {"/plain", "/silent", "/slow", "/chunked-endless", "/huge"};
  for (size_t i = 0; i < COUNT_OF(paths); i++) {
    for (unsigned turns = 0; turns < 8; turns++) {
      result r;
      km_http_request *request = begin(&r, paths[i], 20000);
      for (unsigned t = 0; t < turns && r.count == 0; t++) {
        (void)km_loop_run_once(lab_loop, 5);
      }
      unsigned before = r.count;
      if (before == 0) {
        km_http_request_cancel(request);
      }
      lab_run_ms(10);
      assert_int_equal(r.count, before);
    }
  }
  km_http_request_cancel(NULL);
}

/* A callback that cancels its own request and another, and begins a third one. */
static km_http_request *own, *other;
static result third;

static void on_busy(void *ctx, const km_http_answer *answer, const km_errinfo *err) {
  on_answer(ctx, answer, err);
  km_http_request_cancel(own);
  km_http_request_cancel(other);
  (void)begin(&third, "/plain", 20000);
}

static void callbacks_may_do_everything(void **state) {
  (void)state;
  result r = {0}, never;
  other = begin(&never, "/silent", 20000);
  const km_http_request_config config = {
      .url = url_of("/plain"), .max_answer = 100, .timeout_ns = 20 * KM_NS_PER_S};
  assert_int_equal(km_http_request_new(&own, client, &config, on_busy, &r, NULL), 0);
  LAB_UNTIL(third.count > 0);
  check_body(&third, "hello");
  assert_int_equal(r.count, 1);
  assert_int_equal(never.count, 0);
}

static void many_at_once_are_served_in_turn(void **state) {
  (void)state;
  static result results[KM_HTTP_WAITING + 1];
  km_http_request *request;
  km_errinfo err;
  for (size_t i = 0; i < KM_HTTP_WAITING; i++) {
    (void)begin(&results[i], "/plain", 60000);
  }
  const km_http_request_config config = {.url = url_of("/plain"), .timeout_ns = KM_NS_PER_S};
  assert_int_equal(km_http_request_new(&request, client, &config, on_answer, NULL, &err),
                   KM_ERR_LIMIT);
  for (size_t i = 0; i < KM_HTTP_WAITING; i++) {
    LAB_UNTIL(results[i].count > 0);
    check_body(&results[i], "hello");
  }
}

/* Those that wait are bounded by their own time, too, and the client is freed in the middle. */
static void silence_holds_nobody_up_for_ever(void **state) {
  (void)state;
  static result results[KM_HTTP_IN_FLIGHT + 10];
  for (size_t i = 0; i < COUNT_OF(results); i++) {
    (void)begin(&results[i], "/silent", 400);
  }
  for (size_t i = 0; i < COUNT_OF(results); i++) {
    LAB_UNTIL(results[i].count > 0);
    assert_int_equal(results[i].err.code, KM_ERR_TIMEOUT);
  }
  for (size_t i = 0; i < COUNT_OF(results); i++) {
    (void)begin(&results[i], "/silent", 20000);
  }
  lab_run_ms(50);
}

/* The first one looks the name up for all. */
static void one_look_up_serves_many(void **state) {
  (void)state;
  static result results[50];
  char url[64];
  (void)snprintf(url, sizeof url, "http://localhost:%d/plain", server.port);
  for (size_t i = 0; i < COUNT_OF(results); i++) {
    km_http_request *request;
    const km_http_request_config config = {
        .url = url, .max_answer = 100, .timeout_ns = 20 * KM_NS_PER_S};
    results[i] = (result){0};
    assert_int_equal(km_http_request_new(&request, client, &config, on_answer, &results[i], NULL),
                     0);
    if (i == 0) {
      km_http_request_cancel(request); /* somebody else has to do it */
      assert_int_equal(km_http_request_new(&request, client, &config, on_answer, &results[i], NULL),
                       0);
    }
  }
  for (size_t i = 0; i < COUNT_OF(results); i++) {
    LAB_UNTIL(results[i].count > 0);
    check_body(&results[i], "hello");
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(bodies_come_in_every_form, start, stop),
      cmocka_unit_test_setup_teardown(a_status_is_an_answer, start, stop),
      cmocka_unit_test_setup_teardown(the_request_says_what_was_asked, start, stop),
      cmocka_unit_test_setup_teardown(long_bodies_arrive_whole, start, stop),
      cmocka_unit_test_setup_teardown(broken_answers_are_errors, start, stop),
      cmocka_unit_test_setup_teardown(time_is_bounded, start, stop),
      cmocka_unit_test_setup_teardown(nobody_there_is_an_error, start, stop),
      cmocka_unit_test_setup_teardown(urls_are_checked, start, stop),
      cmocka_unit_test_setup_teardown(cancelled_requests_say_nothing, start, stop),
      cmocka_unit_test_setup_teardown(callbacks_may_do_everything, start, stop),
      cmocka_unit_test_setup_teardown(many_at_once_are_served_in_turn, start, stop),
      cmocka_unit_test_setup_teardown(silence_holds_nobody_up_for_ever, start, stop),
      cmocka_unit_test_setup_teardown(one_look_up_serves_many, start, stop),
  };
  return cmocka_run_group_tests(tests, start_server, stop_server);
}
