/* The reporter on the sockets of a real magicsock, with real STUN servers on loopback. */
#include "magicsock/report_io.h"

#include <sys/socket.h>
#include <unistd.h>

#include "base/udp_addr.h"
#include "holepunch/stun.h"
#include "holepunch/stun_server_io.h"
#include "test/base/test_env.h"

#define LIMIT_MS 60000

typedef struct lab {
  km_loop *loop;
  km_magicsock *ms;
  km_stun_server *server;
  km_reporter *reporter;
  char name[64]; /* of the server */
  unsigned changes, reports;
  km_net_report report;
} lab;

static km_udp_addr addr_of(const char *text) {
  km_udp_addr ret;
  assert_int_equal(km_udp_addr_parse(&ret, text, strlen(text), NULL), 0);
  return ret;
}

static void on_rx(void *ctx, const km_rx_batch *batch) {
  (void)ctx;
  (void)batch;
}

static void on_nothing(void *ctx) {
  (void)ctx;
}

static void on_change(void *ctx) {
  lab *l = ctx;
  l->changes++;
}

static void on_report(void *ctx, const km_net_report *report) {
  lab *l = ctx;
  l->reports++;
  l->report = *report;
}

static void open_sockets(lab *l, const char *bind_to) {
  const km_udp_addr bind = addr_of(bind_to);
  km_errinfo err = {0};
  *l = (lab){.changes = 0};
  assert_int_equal(km_loop_new(&l->loop), 0);
  const km_magicsock_config config = {.env = &km_env_system,
                                      .loop = l->loop,
                                      .bind = &bind,
                                      .bind_count = 1,
                                      .max_paths = 16,
                                      .on_rx = on_rx,
                                      .on_rx_done = on_nothing,
                                      .on_writable = on_nothing,
                                      .ctx = l};
  assert_int_equal(km_magicsock_new(&l->ms, &config, &err), 0);
}

static void open_server(lab *l, const char *bind_to, const char *alternate) {
  km_errinfo err = {0};
  km_stun_server_config config = {.env = &km_env_system, .loop = l->loop, .bind_count = 1};
  config.binds[0] = addr_of(bind_to);
  if (alternate != NULL) {
    config.alternates[config.alternate_count++] = addr_of(alternate);
  }
  assert_int_equal(km_stun_server_new(&l->server, &config, &err), 0);
  assert_true(km_udp_addr_format(km_stun_server_bound(l->server, 0), l->name, sizeof l->name) > 0);
}

static void report_to(lab *l, const char *const *names, size_t count) {
  km_errinfo err = {0};
  const km_reporter_config config = {.env = &km_env_system,
                                     .loop = l->loop,
                                     .ms = l->ms,
                                     .stun_servers = names,
                                     .stun_count = count,
                                     .on_change = on_change,
                                     .ctx = l};
  if (km_reporter_new(&l->reporter, &config, &err) != 0) {
    fail_msg("%s", err.text);
  }
}

static void close_all(lab *l) {
  km_reporter_free(l->reporter);
  km_stun_server_free(l->server);
  km_magicsock_free(l->ms);
  while (km_loop_free(l->loop) != 0) {
    (void)km_loop_run_once(l->loop, 10);
  }
}

static uint64_t answered(const lab *l) {
  return km_stun_server_get_stats(l->server)->answered;
}

static void run_until_answered(lab *l, uint64_t count) {
  for (int i = 0; i < LIMIT_MS && answered(l) < count; i++) {
    (void)km_loop_run_once(l->loop, 1);
  }
  assert_int_equal(answered(l), count);
  for (int i = 0; i < 20; i++) { /* the answer comes, and no more is asked */
    (void)km_loop_run_once(l->loop, 1);
  }
  assert_int_equal(answered(l), count);
}

static void run_to_report(lab *l) {
  unsigned before = l->reports;
  assert_int_equal(km_reporter_full(l->reporter, on_report, l), 0);
  for (int i = 0; i < LIMIT_MS && l->reports == before; i++) {
    (void)km_loop_run_once(l->loop, 1);
  }
  assert_int_equal(l->reports, before + 1);
}

static void our_address_is_told_once(void **state) {
  (void)state;
  lab l;
  km_udp_addr bound, seen[4];
  km_nat_info nat;
  open_sockets(&l, "127.0.0.1:0");
  open_server(&l, "127.0.0.1:0", NULL);
  report_to(&l, (const char *const[]){l.name}, 1);
  assert_int_equal(km_reporter_reflexive(l.reporter, seen, 4), 0);
  assert_true(km_reporter_age(l.reporter) == UINT64_MAX);
  run_until_answered(&l, 1);
  assert_int_equal(km_magicsock_bound(l.ms, &bound, 1), 1);
  assert_int_equal(km_reporter_reflexive(l.reporter, seen, 4), 1);
  assert_int_equal(km_reporter_reflexive(l.reporter, seen, 0), 0);
  assert_true(km_udp_addr_equal(&seen[0], &bound));
  assert_true(l.changes > 0);
  assert_true(km_reporter_age(l.reporter) < 60 * KM_NS_PER_S);
  km_reporter_nat(l.reporter, &nat);
  assert_int_equal(nat.mapping4, KM_NAT_MAPPING_NONE);
  close_all(&l);
}

static void a_refresh_asks_again(void **state) {
  (void)state;
  lab l;
  open_sockets(&l, "127.0.0.1:0");
  open_server(&l, "127.0.0.1:0", NULL);
  report_to(&l, (const char *const[]){l.name}, 1);
  run_until_answered(&l, 1);
  unsigned changes = l.changes;
  km_reporter_refresh(l.reporter);
  km_reporter_refresh(l.reporter); /* one for both */
  run_until_answered(&l, 2);
  km_reporter_set_active(l.reporter, true);
  run_until_answered(&l, 3);
  km_reporter_set_active(l.reporter, true);
  km_reporter_set_active(l.reporter, false);
  run_until_answered(&l, 3);
  assert_int_equal(l.changes, changes); /* nothing new was heard */
  close_all(&l);
}

static void a_new_socket_is_a_new_address(void **state) {
  (void)state;
  lab l;
  km_udp_addr before, after;
  const km_udp_addr again = addr_of("127.0.0.1:0");
  open_sockets(&l, "127.0.0.1:0");
  open_server(&l, "127.0.0.1:0", NULL);
  report_to(&l, (const char *const[]){l.name}, 1);
  run_until_answered(&l, 1);
  assert_int_equal(km_reporter_reflexive(l.reporter, &before, 1), 1);
  unsigned changes = l.changes;
  assert_int_equal(km_magicsock_rebind(l.ms, &again, NULL), 0);
  km_reporter_refresh(l.reporter);
  run_until_answered(&l, 2);
  assert_int_equal(km_reporter_reflexive(l.reporter, &after, 1), 1);
  assert_false(km_udp_addr_equal(&before, &after));
  assert_true(l.changes > changes);
  close_all(&l);
}

static void all_of_it(void **state) {
  (void)state;
  lab l;
  open_sockets(&l, "127.0.0.1:0");
  open_server(&l, "127.0.0.1:0", "127.0.0.2:0");
  report_to(&l, (const char *const[]){l.name, "[::1]:9"}, 2);
  for (unsigned i = 0; i < 2; i++) {
    run_to_report(&l);
    const km_net_report *r = &l.report;
    assert_true(r->udp4.bound && r->udp4.works && !r->udp6.bound && !r->udp6.works);
    assert_int_equal(r->udp4.mapping, KM_NAT_MAPPING_NONE);
    assert_int_equal(r->udp4.filtering, KM_NAT_FILTERING_NONE);
    assert_int_equal(r->udp4.hairpin, KM_NET_UNKNOWN);
    assert_int_equal(r->verdict, KM_NAT_VERDICT_OPEN);
    assert_int_equal(r->stun_count, 2);
    assert_string_equal(r->stun[0].name, l.name);
    assert_true(r->stun[0].latency_us > 0);
    assert_int_equal(r->stun[0].mapped.family, 4);
    assert_string_equal(r->stun[1].name, "[::1]:9"); /* no socket of ours gets there */
    assert_int_equal(r->stun[1].addr.family, 0);
  }
  close_all(&l);
}

static void one_report_at_a_time(void **state) {
  (void)state;
  lab l;
  open_sockets(&l, "127.0.0.1:0");
  open_server(&l, "127.0.0.1:0", NULL);
  report_to(&l, (const char *const[]){l.name}, 1);
  assert_int_equal(km_reporter_full(l.reporter, on_report, &l), 0);
  assert_int_equal(km_reporter_full(l.reporter, on_report, &l), KM_ERR_STATE);
  km_reporter_full_cancel(l.reporter);
  run_to_report(&l);
  assert_int_equal(km_reporter_full(l.reporter, on_report, &l), 0);
  close_all(&l); /* in the middle of it */
  assert_int_equal(l.reports, 1);
}

/* Names are looked up, all at once; one that does not exist harms nobody. */
static void names_are_looked_up(void **state) {
  (void)state;
  lab l;
  char name[32];
  open_sockets(&l, "127.0.0.1:0");
  open_server(&l, "127.0.0.1:0", NULL);
  (void)snprintf(name, sizeof name, "localhost:%u",
                 (unsigned)km_stun_server_bound(l.server, 0)->port);
  report_to(&l, (const char *const[]){"missing.invalid", name}, 2);
  run_to_report(&l);
  assert_true(l.report.udp4.works);
  assert_int_equal(l.report.stun_count, 2);
  assert_int_equal(l.report.stun[0].addr.family, 0);
  assert_string_equal(l.report.stun[1].name, name);
  assert_int_equal(l.report.stun[1].mapped.family, 4);
  close_all(&l);
}

static void nobody_to_ask(void **state) {
  (void)state;
  lab l;
  open_sockets(&l, "127.0.0.1:0");
  report_to(&l, NULL, 0);
  run_to_report(&l);
  assert_false(l.report.udp4.works);
  assert_int_equal(l.report.stun_count, 0);
  assert_int_equal(l.report.verdict, KM_NAT_VERDICT_UNKNOWN);
  assert_true(l.report.advice_count > 0);
  close_all(&l);
}

/* Packets of others that look like STUN change nothing. */
static void strangers(void **state) {
  (void)state;
  lab l;
  km_udp_addr bound, seen;
  struct sockaddr_storage ss;
  uint8_t id[KM_STUN_ID_LEN] = {0}, request[KM_STUN_REQUEST_LEN], answer[KM_STUN_MAX_ANSWER];
  const km_udp_addr lie = addr_of("203.0.113.1:1");
  km_stun_message msg;
  open_sockets(&l, "127.0.0.1:0");
  open_server(&l, "127.0.0.1:0", NULL);
  report_to(&l, (const char *const[]){l.name}, 1);
  run_until_answered(&l, 1);
  unsigned changes = l.changes;
  km_stun_request(request, id);
  assert_true(km_stun_read(&msg, request, sizeof request));
  size_t len = km_stun_answer(answer, &msg, &lie);
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  assert_true(fd >= 0);
  assert_int_equal(km_magicsock_bound(l.ms, &bound, 1), 1);
  socklen_t ss_len = km_udp_addr_to_sockaddr(&bound, &ss);
  for (int i = 0; i < 50; i++) {
    assert_true(sendto(fd, answer, len, 0, (struct sockaddr *)&ss, ss_len) > 0);
    assert_true(sendto(fd, request, sizeof request, 0, (struct sockaddr *)&ss, ss_len) > 0);
    (void)km_loop_run_once(l.loop, 1);
  }
  km_magicsock_stats stats;
  km_magicsock_get_stats(l.ms, &stats);
  assert_true(stats.rx_packets > 50);
  uint8_t none;
  assert_int_equal(recv(fd, &none, 1, MSG_DONTWAIT), -1); /* and we answer nobody */
  assert_int_equal(km_reporter_reflexive(l.reporter, &seen, 1), 1);
  assert_true(km_udp_addr_equal(&seen, &bound));
  assert_int_equal(l.changes, changes);
  (void)close(fd);
  close_all(&l);
}

static void names_that_are_none(void **state) {
  (void)state;
  lab l;
  km_errinfo err = {0};
  open_sockets(&l, "127.0.0.1:0");
  const km_reporter_config config = {.env = &km_env_system,
                                     .loop = l.loop,
                                     .ms = l.ms,
                                     .stun_servers = (const char *const[]){"good", "a b"},
                                     .stun_count = 2};
  assert_int_equal(km_reporter_new(&l.reporter, &config, &err), KM_ERR_INVALID);
  assert_non_null(strstr(err.text, "'a b'"));
  assert_null(l.reporter);
  close_all(&l);
}

static void no_memory(void **state) {
  (void)state;
  for (long after = 0;; after++) {
    lab l;
    test_env t;
    km_errinfo err = {0};
    test_env_init(&t);
    t.fail_after = after;
    open_sockets(&l, "127.0.0.1:0");
    const km_reporter_config config = {.env = &t.env, .loop = l.loop, .ms = l.ms};
    int rv = km_reporter_new(&l.reporter, &config, &err);
    assert_true(rv == 0 || rv == KM_ERR_NOMEM);
    close_all(&l);
    assert_int_equal(t.live, 0);
    if (rv == 0) {
      assert_true(after > 0);
      return;
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(our_address_is_told_once),
      cmocka_unit_test(a_refresh_asks_again),
      cmocka_unit_test(a_new_socket_is_a_new_address),
      cmocka_unit_test(all_of_it),
      cmocka_unit_test(one_report_at_a_time),
      cmocka_unit_test(names_are_looked_up),
      cmocka_unit_test(nobody_to_ask),
      cmocka_unit_test(strangers),
      cmocka_unit_test(names_that_are_none),
      cmocka_unit_test(no_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
