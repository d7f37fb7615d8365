/* Bounds on what is asked about access; what answers mean is tested through km-relay
 * (test/cmd/km_relay_access_test.py). */
#include "relay/access_http_io.h"

#include <sodium.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/udp_addr.h"
#include "test/base/test_env.h"

#define IN_FLIGHT 3

/* An asker and a listener that says nothing. */
typedef struct lab {
  km_loop *loop;
  km_relay_asker *asker;
  int listener;
  uint64_t answers, allowed;
  uint64_t seen[8192]; /* how often each number was answered */
} lab;

static void on_answer(void *ctx, uint64_t number, bool allowed) {
  lab *l = ctx;
  l->answers++;
  l->allowed += allowed;
  assert_in_range(number, 0, COUNT_OF(l->seen) - 1);
  l->seen[number]++;
}

static void listen_somewhere(lab *l, char url[100]) {
  struct sockaddr_storage ss;
  km_udp_addr at;
  char text[KM_UDP_ADDR_TEXT_CAP];
  assert_int_equal(km_udp_addr_parse(&at, "127.0.0.1:0", 11, NULL), 0);
  socklen_t len = km_udp_addr_to_sockaddr(&at, &ss);
  l->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_true(l->listener >= 0);
  assert_int_equal(bind(l->listener, (struct sockaddr *)&ss, len), 0);
  assert_int_equal(listen(l->listener, 100), 0);
  len = sizeof ss;
  assert_int_equal(getsockname(l->listener, (struct sockaddr *)&ss, &len), 0);
  assert_true(km_udp_addr_from_sockaddr(&at, (struct sockaddr *)&ss, len));
  assert_true(km_udp_addr_format(&at, text, sizeof text) > 0);
  (void)snprintf(url, 100, "http://%s/", text);
}

static void start(lab *l, uint64_t timeout_ms) {
  char url[100];
  km_errinfo err = {0};
  memset(l, 0, sizeof *l);
  assert_int_equal(km_loop_new(&l->loop), 0);
  listen_somewhere(l, url);
  const km_relay_asker_config config = {.env = &km_env_system,
                                        .loop = l->loop,
                                        .url = url,
                                        .timeout_ns = timeout_ms * KM_NS_PER_MS,
                                        .in_flight = IN_FLIGHT,
                                        .on_answer = on_answer,
                                        .ctx = l};
  if (km_relay_asker_new(&l->asker, &config, &err) != 0) {
    fail_msg("%s", err.text);
  }
}

static void stop(lab *l) {
  km_relay_asker_free(l->asker);
  (void)close(l->listener);
  assert_int_equal(km_loop_free(l->loop), 0);
}

/* Of a client of its own, somewhere in the world. */
static int ask_one(lab *l, uint64_t i) {
  km_id id = {{0}};
  const km_udp_addr remote = {.family = 4, .ip = {10, 0, (uint8_t)(i >> 8), (uint8_t)i}, .port = 1};
  return km_relay_ask(l->asker, i, &id, &remote);
}

static void ask_all(lab *l, uint64_t count) {
  for (uint64_t i = 0; i < count; i++) {
    assert_int_equal(ask_one(l, i), 0);
  }
}

static void one_address_cannot_take_all_places(void **state) {
  (void)state;
  static lab l;
  km_id id = {{0}};
  start(&l, 200);
  for (uint64_t i = 0; i <= KM_RELAY_ASK_PER_ADDR; i++) {
    const km_udp_addr remote = {.family = 4, .ip = {192, 0, 2, 1}, .port = (uint16_t)(i + 1)};
    assert_int_equal(km_relay_ask(l.asker, i, &id, &remote),
                     i < KM_RELAY_ASK_PER_ADDR ? 0 : KM_ERR_LIMIT);
  }
  assert_int_equal(ask_one(&l, KM_RELAY_ASK_PER_ADDR), 0); /* of another */
  while (l.answers <= KM_RELAY_ASK_PER_ADDR) {
    (void)km_loop_run_once(l.loop, 1000);
  }
  const km_udp_addr again = {.family = 4, .ip = {192, 0, 2, 1}, .port = 1};
  assert_int_equal(km_relay_ask(l.asker, 0, &id, &again), 0); /* there is room again */
  stop(&l);
}

static void questions_are_bounded_and_all_come_to_an_end(void **state) {
  (void)state;
  static lab l;
  const uint64_t all = KM_RELAY_ASK_WAITING + IN_FLIGHT;
  start(&l, 200);
  ask_all(&l, all);
  assert_int_equal(ask_one(&l, all), KM_ERR_LIMIT);
  const km_relay_asker_stats *s = km_relay_asker_get_stats(l.asker);
  assert_int_equal(s->asked, all);
  assert_int_equal(s->in_flight, IN_FLIGHT);
  assert_int_equal(s->waiting, KM_RELAY_ASK_WAITING);
  assert_int_equal(l.answers, 0); /* from a later turn */
  while (l.answers < all) {
    assert_true(s->in_flight <= IN_FLIGHT);
    (void)km_loop_run_once(l.loop, 1000);
  }
  assert_int_equal(l.allowed, 0);
  assert_int_equal(s->failed, all);
  assert_int_equal(s->in_flight + s->waiting + s->allowed + s->denied, 0);
  for (uint64_t i = 0; i < all; i++) {
    assert_int_equal(l.seen[i], 1);
  }
  assert_int_equal(ask_one(&l, all), 0); /* there is room again */
  stop(&l);
}

static void freed_while_it_asks(void **state) {
  (void)state;
  for (int turns = 0; turns < 6; turns++) {
    static lab l;
    start(&l, 60000);
    ask_all(&l, 10);
    for (int i = 0; i < turns; i++) {
      (void)km_loop_run_once(l.loop, 20);
    }
    km_relay_asker_free(l.asker);
    l.asker = NULL;
    (void)km_loop_run_nowait(l.loop);
    assert_int_equal(l.answers, 0);
    stop(&l);
  }
}

static void bad_configurations(void **state) {
  (void)state;
  static const struct {
    const char *url, *bearer, *ca_file;
    int code;
  } bad[] = {
      {"", NULL, NULL, KM_ERR_BAD_RELAY_URL},
      {"ftp://x/", NULL, NULL, KM_ERR_BAD_RELAY_URL},
      {"http://", NULL, NULL, KM_ERR_BAD_RELAY_URL},
      {"http://me@x/", NULL, NULL, KM_ERR_BAD_RELAY_URL},
      {"http://x/", "", NULL, KM_ERR_INVALID},
      {"http://x/", "two words", NULL, KM_ERR_INVALID},
      {"http://x/", "line\r\nbreak: 1", NULL, KM_ERR_INVALID},
      {"https://x/", NULL, "/does/not/exist", KM_ERR_FILE_NOT_FOUND},
      {"https://x/", NULL, "/dev/null", KM_ERR_RELAY_TLS},
  };
  km_loop *loop;
  assert_int_equal(km_loop_new(&loop), 0);
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    km_relay_asker *asker = NULL;
    km_errinfo err = {0};
    const km_relay_asker_config config = {.env = &km_env_system,
                                          .loop = loop,
                                          .url = bad[i].url,
                                          .bearer = bad[i].bearer,
                                          .ca_file = bad[i].ca_file,
                                          .on_answer = on_answer};
    assert_int_equal(km_relay_asker_new(&asker, &config, &err), bad[i].code);
    assert_int_equal(err.code, bad[i].code);
    assert_true(err.text[0] != '\0');
    assert_null(asker);
  }
  km_relay_asker_free(NULL);
  assert_int_equal(km_loop_free(loop), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(questions_are_bounded_and_all_come_to_an_end),
      cmocka_unit_test(one_address_cannot_take_all_places),
      cmocka_unit_test(freed_while_it_asks),
      cmocka_unit_test(bad_configurations),
  };
  return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
