/* Is it the relay that answers, or a captive portal? The codec, then real sockets. */
#include "relay/captive_io.h"

#include <sys/socket.h>
#include <unistd.h>

#include "base/udp_addr.h"
#include "test/base/test_env.h"

#define TOKEN "0123456789abcdef"
#define GENUINE                                                                                    \
  "HTTP/1.1 204 No Content\r\nx-iroh-response: response " TOKEN "\r\nContent-Length: 0\r\n\r\n"

static void where_it_is_asked(void **state) {
  (void)state;
  static const struct {
    const char *relay, *authority;
    uint16_t port;
  } cases[] = {
      {"https://relay.example.org/", "relay.example.org", 80},
      {"https://relay.example.org:8443/?token=x", "relay.example.org", 80},
      {"http://relay.example.org/", "relay.example.org", 80},
      {"http://relay.example.org:3340/", "relay.example.org:3340", 3340},
      {"https://[2001:db8::1]:444/", "[2001:db8::1]", 80},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    km_relay_url relay, url;
    char request[KM_CAPTIVE_REQUEST_CAP], host[400];
    assert_int_equal(km_relay_url_read(&relay, cases[i].relay, NULL), 0);
    km_captive_url(&url, &relay);
    assert_false(url.tls);
    assert_int_equal(url.port, cases[i].port);
    size_t len = km_captive_request(request, &url, TOKEN);
    assert_int_equal(strlen(request), len);
    (void)snprintf(host, sizeof host, "\r\nHost: %s\r\n", cases[i].authority);
    assert_non_null(strstr(request, host));
    assert_ptr_equal(strstr(request, "GET /generate_204 HTTP/1.1\r\n"), request);
    assert_non_null(strstr(request, "\r\nX-Iroh-Challenge: " TOKEN "\r\n"));
    assert_null(strstr(request, "token"));
    assert_string_equal(request + len - 4, "\r\n\r\n");
  }
}

static void answers(void **state) {
  (void)state;
  static const struct {
    const char *text;
    km_net_answer answer;
  } cases[] = {
      {GENUINE, KM_NET_NO},
      {"HTTP/1.0 204 x\nX-IROH-RESPONSE:response " TOKEN " \n\n", KM_NET_NO},
      {"HTTP/1.1 204 No Content\r\n\r\n", KM_NET_YES},
      {"HTTP/1.1 204 No Content\r\nX-Iroh-Response: response 0\r\n\r\n", KM_NET_YES},
      {"HTTP/1.1 204 No Content\r\nX-Iroh-Response: " TOKEN "\r\n\r\n", KM_NET_YES},
      {"HTTP/1.1 204 No Content\r\nX-Iroh-Response: response " TOKEN "1\r\n\r\n", KM_NET_YES},
      {"HTTP/1.1 204 No Content\r\nX-Iroh-Responses: response " TOKEN "\r\n\r\n", KM_NET_YES},
      {"HTTP/1.1 302 Found\r\nLocation: http://portal/\r\n\r\n", KM_NET_YES},
      {"HTTP/1.1 200 OK\r\nX-Iroh-Response: response " TOKEN "\r\n\r\n", KM_NET_YES},
      /* in the body it does not count */
      {"HTTP/1.1 204 OK\r\n\r\nX-Iroh-Response: response " TOKEN "\r\n\r\n", KM_NET_YES},
      {"<html>", KM_NET_YES},
      {"", KM_NET_UNKNOWN},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    size_t len = strlen(cases[i].text);
    assert_int_equal(km_captive_read(cases[i].text, len, true, TOKEN), cases[i].answer);
  }
}

static void bytes_that_come_one_by_one(void **state) {
  (void)state;
  size_t all = strlen(GENUINE);
  for (size_t len = 0; len < all; len++) {
    char *exact = malloc(len + 1); /* its end is watched */
    assert_non_null(exact);
    memcpy(exact, GENUINE, len);
    assert_int_equal(km_captive_read(exact, len, false, TOKEN), KM_NET_UNKNOWN);
    free(exact);
  }
  assert_int_equal(km_captive_read(GENUINE, all, false, TOKEN), KM_NET_NO);
}

static void headers_without_an_end(void **state) {
  (void)state;
  static char text[KM_CAPTIVE_ANSWER_MAX];
  memset(text, 'x', sizeof text);
  memcpy(text, "HTTP/1.1 204 ", 13);
  assert_int_equal(km_captive_read(text, sizeof text - 1, false, TOKEN), KM_NET_UNKNOWN);
  assert_int_equal(km_captive_read(text, sizeof text, false, TOKEN), KM_NET_YES);
}

/* --- sockets ---------------------------------------------------------------------------------- */

typedef struct lab {
  km_loop *loop;
  int fd; /* listens */
  char url[64];
  bool ended;
  km_net_answer answer;
} lab;

static void on_answer(void *ctx, km_net_answer portal) {
  lab *l = ctx;
  l->ended = true;
  l->answer = portal;
}

static void lab_open(lab *l) {
  struct sockaddr_storage ss;
  km_udp_addr addr = {.family = 4, .ip = {127, 0, 0, 1}};
  socklen_t len = km_udp_addr_to_sockaddr(&addr, &ss);
  *l = (lab){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  assert_int_equal(km_loop_new(&l->loop), 0);
  assert_true(l->fd >= 0);
  assert_int_equal(bind(l->fd, (struct sockaddr *)&ss, len), 0);
  assert_int_equal(listen(l->fd, 4), 0);
  assert_int_equal(getsockname(l->fd, (struct sockaddr *)&ss, &len), 0);
  assert_true(km_udp_addr_from_sockaddr(&addr, (struct sockaddr *)&ss, len));
  (void)snprintf(l->url, sizeof l->url, "http://127.0.0.1:%u/", (unsigned)addr.port);
}

static void lab_close(lab *l) {
  (void)close(l->fd);
  while (km_loop_free(l->loop) != 0) {
    (void)km_loop_run_once(l->loop, 10);
  }
}

static km_captive *begin(lab *l, uint64_t timeout_ns) {
  km_captive *c = NULL;
  km_errinfo err = {0};
  const km_captive_config config = {.env = &km_env_system,
                                    .loop = l->loop,
                                    .relay_url = l->url,
                                    .timeout_ns = timeout_ns,
                                    .fn = on_answer,
                                    .ctx = l};
  assert_int_equal(km_captive_new(&c, &config, &err), 0);
  return c;
}

static void run_to_end(lab *l) {
  for (int i = 0; i < 3000 && !l->ended; i++) {
    (void)km_loop_run_once(l->loop, 10);
  }
  assert_true(l->ended);
}

/* Accepts, reads the request, and gives its challenge. */
static int accept_one(lab *l, char challenge[64]) {
  char request[KM_CAPTIVE_REQUEST_CAP + 1];
  size_t len = 0;
  for (int i = 0; i < 20; i++) { /* connecting, and writing */
    (void)km_loop_run_once(l->loop, 5);
  }
  int fd = accept(l->fd, NULL, NULL);
  assert_true(fd >= 0);
  do {
    (void)km_loop_run_once(l->loop, 5);
    ssize_t n = recv(fd, request + len, KM_CAPTIVE_REQUEST_CAP - len, MSG_DONTWAIT);
    len += n > 0 ? (size_t)n : 0;
    request[len] = '\0';
  } while (strstr(request, "\r\n\r\n") == NULL);
  const char *value = strstr(request, "X-Iroh-Challenge: ");
  assert_non_null(value);
  assert_int_equal(sscanf(value, "X-Iroh-Challenge: %63[0-9a-f]", challenge), 1);
  return fd;
}

static void say(int fd, const char *text) {
  assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static void a_relay_and_a_portal(void **state) {
  (void)state;
  char challenges[2][64];
  for (int portal = 0; portal < 2; portal++) {
    lab l;
    char text[256];
    lab_open(&l);
    (void)begin(&l, 20 * KM_NS_PER_S);
    int fd = accept_one(&l, challenges[portal]);
    (void)snprintf(text, sizeof text, "HTTP/1.1 204 No Content\r\nX-Iroh-Response: response %s\r\n",
                   portal == 0 ? challenges[portal] : "x");
    say(fd, text);
    for (int i = 0; i < 5; i++) {
      (void)km_loop_run_once(l.loop, 5);
    }
    assert_false(l.ended);
    say(fd, "\r\n");
    run_to_end(&l);
    assert_int_equal(l.answer, portal == 0 ? KM_NET_NO : KM_NET_YES);
    (void)close(fd);
    lab_close(&l);
  }
  assert_int_equal(strlen(challenges[0]), 32);
  assert_string_not_equal(challenges[0], challenges[1]);
}

static void silence_says_nothing(void **state) {
  (void)state;
  char challenge[64];
  lab l;
  lab_open(&l);
  (void)begin(&l, 20 * KM_NS_PER_S);
  (void)close(accept_one(&l, challenge)); /* hangs up */
  run_to_end(&l);
  assert_int_equal(l.answer, KM_NET_UNKNOWN);
  l.ended = false;
  (void)begin(&l, 100 * KM_NS_PER_MS); /* nobody accepts */
  run_to_end(&l);
  assert_int_equal(l.answer, KM_NET_UNKNOWN);
  l.ended = false;
  (void)close(l.fd);
  (void)begin(&l, 20 * KM_NS_PER_S); /* nobody is there */
  run_to_end(&l);
  assert_int_equal(l.answer, KM_NET_UNKNOWN);
  l.fd = dup(0);
  lab_close(&l);
}

static void giving_it_up(void **state) {
  (void)state;
  char challenge[64];
  lab l;
  lab_open(&l);
  km_captive_free(begin(&l, KM_NS_PER_S));
  km_captive *c = begin(&l, KM_NS_PER_S);
  int fd = accept_one(&l, challenge);
  km_captive_free(c);
  (void)close(fd);
  km_captive_free(NULL);
  assert_false(l.ended);
  km_errinfo err = {0};
  const km_captive_config config = {
      .env = &km_env_system, .loop = l.loop, .relay_url = "nonsense", .fn = on_answer, .ctx = &l};
  assert_int_equal(km_captive_new(&c, &config, &err), KM_ERR_BAD_RELAY_URL);
  lab_close(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(where_it_is_asked),
      cmocka_unit_test(answers),
      cmocka_unit_test(bytes_that_come_one_by_one),
      cmocka_unit_test(headers_without_an_end),
      cmocka_unit_test(a_relay_and_a_portal),
      cmocka_unit_test(silence_says_nothing),
      cmocka_unit_test(giving_it_up),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
