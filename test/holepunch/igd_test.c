/* UPnP's texts. */
#include "holepunch/igd.h"

#include "test/base/test_env.h"

/* A copy without a byte after it, for the sanitizer's sake. */
static char *exactly(const char *text, size_t len) {
  char *copy = malloc(len > 0 ? len : 1);
  assert_non_null(copy);
  memcpy(copy, text, len);
  return copy;
}

static void searches(void **state) {
  (void)state;
  for (unsigned kind = 0; kind < KM_IGD_KINDS; kind++) {
    char text[KM_IGD_REQUEST_CAP];
    size_t len = km_igd_search(text, kind);
    assert_int_equal(len, strlen(text));
    assert_ptr_equal(strstr(text, "M-SEARCH * HTTP/1.1\r\n"), text);
    assert_non_null(strstr(text, "\r\nST: urn:schemas-upnp-org:"));
    assert_string_equal(text + len - 4, "\r\n\r\n");
  }
}

static void locations(void **state) {
  (void)state;
  static const struct {
    const char *answer, *location; /* NULL: none */
  } cases[] = {
      {"HTTP/1.1 200 OK\r\nST: x\r\nLOCATION: http://192.168.1.1:5000/a.xml\r\n\r\n",
       "http://192.168.1.1:5000/a.xml"},
      {"HTTP/1.0 200 OK\r\nLocation:http://192.168.1.1/\t \r\n\r\n", "http://192.168.1.1/"},
      {"http/1.1 200 ok\nlocation: x\n", "x"},
      {"HTTP/1.1 200 OK\r\nlocation: x", "x"}, /* cut behind it */
      {"HTTP/1.1 200 OK\r\nX-Location: y\r\n\r\n", NULL},
      {"HTTP/1.1 200 OK\r\nLocation: \r\n\r\n", NULL},
      {"HTTP/1.1 200 OK\r\nLocation: a b\r\n\r\n", NULL},
      {"HTTP/1.1 200 OK\r\nLocation: a\x7f\r\n\r\n", NULL},
      {"HTTP/1.1 200 OK\r\nLocation: \xc3\xa4\r\n\r\n", NULL},
      {"HTTP/1.1 200 Location: x\r\n\r\n", NULL},
      {"HTTP/1.1 404 Not Found\r\nLocation: x\r\n\r\n", NULL},
      {"NOTIFY * HTTP/1.1\r\nLocation: x\r\n\r\n", NULL},
      {"", NULL},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    char ret[KM_IGD_URL_CAP] = "";
    size_t len = strlen(cases[i].answer);
    char *copy = exactly(cases[i].answer, len);
    print_message("%s\n", cases[i].answer);
    assert_int_equal(km_igd_location(ret, copy, len), cases[i].location != NULL);
    assert_string_equal(ret, cases[i].location != NULL ? cases[i].location : "");
    free(copy);
  }
  char text[600] = "HTTP/1.1 200 OK\r\nLocation: ", ret[KM_IGD_URL_CAP];
  size_t head = strlen(text);
  memset(text + head, 'a', sizeof text - head);
  assert_true(km_igd_location(ret, text, head + KM_IGD_URL_CAP - 1));
  assert_false(km_igd_location(ret, text, head + KM_IGD_URL_CAP));
}

static void urls(void **state) {
  (void)state;
  static const struct {
    const char *url, *path; /* NULL: not to be called */
  } cases[] = {
      {"http://192.168.1.1:5000/ctl/IPConn", "/ctl/IPConn"},
      {"http://192.168.1.1", "/"},
      {"http://192.168.1.1/?a", "/?a"},
      {"http://192.168.1.1/a b", NULL},
      {"http://192.168.1.1/a\r\nX: y", NULL},
      {"http://203.0.113.1/a", NULL},
      {"ftp://192.168.1.1/a", NULL},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    km_igd_url url = {0};
    assert_int_equal(km_igd_url_read(&url, cases[i].url), cases[i].path != NULL);
    assert_string_equal(url.path, cases[i].path != NULL ? cases[i].path : "");
  }
  char text[KM_IGD_URL_CAP + 1] = "http://10.0.0.1/";
  km_igd_url url;
  memset(text + strlen(text), 'a', KM_IGD_URL_CAP - strlen(text));
  assert_false(km_igd_url_read(&url, text));
  text[KM_IGD_URL_CAP - 1] = '\0';
  assert_true(km_igd_url_read(&url, text));
}

static void services(void **state) {
  (void)state;
  char text[KM_IGD_SERVICE_CAP + 1] = "urn:schemas-upnp-org:service:WAN";
  assert_true(km_igd_service_is_good("urn:schemas-upnp-org:service:WANIPConnection:2"));
  assert_false(km_igd_service_is_good("urn:schemas-upnp-org:service:Layer3Forwarding:1"));
  assert_false(km_igd_service_is_good("urn:schemas-upnp-org:service:WAN\"\r\nX: y"));
  assert_false(km_igd_service_is_good("urn:schemas-upnp-org:service:WAN<x>"));
  assert_false(km_igd_service_is_good(""));
  memset(text + strlen(text), 'a', KM_IGD_SERVICE_CAP - strlen(text));
  assert_false(km_igd_service_is_good(text));
  text[KM_IGD_SERVICE_CAP - 1] = '\0';
  assert_true(km_igd_service_is_good(text));
}

static void requests(void **state) {
  (void)state;
  char text[KM_IGD_REQUEST_CAP];
  km_igd_url url;
  assert_true(km_igd_url_read(&url, "http://10.0.0.1:5000/x"));
  size_t len = km_igd_get(text, &url);
  assert_int_equal(len, strlen(text));
  assert_string_equal(text, "GET /x HTTP/1.1\r\nHost: 10.0.0.1:5000\r\nConnection: close\r\n\r\n");
  len = km_igd_call(text, &url, "urn:s", "Do", "<a>1</a>");
  assert_int_equal(len, strlen(text));
  assert_ptr_equal(strstr(text, "POST /x HTTP/1.1\r\nHost: 10.0.0.1:5000\r\n"), text);
  assert_non_null(strstr(text, "\r\nSOAPAction: \"urn:s#Do\"\r\n"));
  assert_non_null(strstr(text, "<s:Body><u:Do xmlns:u=\"urn:s\"><a>1</a></u:Do></s:Body>"));
  const char *body = strstr(text, "\r\n\r\n") + 4;
  unsigned promised = 0;
  assert_int_equal(sscanf(strstr(text, "Content-Length: "), "Content-Length: %u", &promised), 1);
  assert_int_equal(promised, strlen(body));
  char arguments[KM_IGD_REQUEST_CAP];
  memset(arguments, 'a', sizeof arguments - 1);
  arguments[sizeof arguments - 1] = '\0';
  assert_int_equal(km_igd_call(text, &url, "urn:s", "Do", arguments), 0);
}

static void answers(void **state) {
  (void)state;
  static const struct {
    const char *text;
    bool whole, read;
    int status;
    const char *body;
  } cases[] = {
      {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", true, true, 200, "abc"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd", true, true, 200, "abc"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", false, true, 200, "ab"},
      {"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n", true, true, 500, ""},
      {"HTTP/1.0 200 OK\r\n\r\nabc", false, true, 200, "abc"}, /* until the connection ends */
      {"HTTP/1.1 200 OK\r\nContent-Length: 999999999999999999999\r\n\r\nabc", false, true, 200,
       "abc"},
      {"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc", false, true, 200, "abc"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0"
       "\r\n\r\n",
       true, true, 200, "abc0123456789"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n5\r\nde", false, true, 200,
       "abcde"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc", false, true,
       200, ""},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, true, 200, ""},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", false, true, 200, ""},
      {"HTTP/1.1 \r\n\r\n", false, false, 0, ""},
      {"HTTP/1.1 2000 OK\r\n\r\n", false, false, 0, ""},
      {"HTTP/1.\r\n\r\n", false, false, 0, ""},
      {"HTTP/2 200\r\n\r\n", false, false, 0, ""},
      {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n", false, false, 0, ""},
      {"", false, false, 0, ""},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    size_t len = strlen(cases[i].text);
    char *copy = exactly(cases[i].text, len);
    km_igd_http http = {0};
    print_message("%s\n", cases[i].text);
    assert_int_equal(km_igd_http_is_whole(copy, len), cases[i].whole);
    assert_int_equal(km_igd_http_read(&http, copy, len), cases[i].read);
    assert_int_equal(http.status, cases[i].status);
    assert_int_equal(http.len, strlen(cases[i].body));
    assert_true(http.len == 0 || memcmp(http.body, cases[i].body, http.len) == 0);
    free(copy);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(searches), cmocka_unit_test(locations), cmocka_unit_test(urls),
      cmocka_unit_test(services), cmocka_unit_test(requests),  cmocka_unit_test(answers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
