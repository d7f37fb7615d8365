/* The discovery server put together: what it refuses to be made of, its end, and want of memory. */
#include "discovery/server/server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io/metrics_page_io.h"
#include "base/udp_addr.h"
#include "test/base/test_env.h"

static const km_udp_addr here = {.family = 4, .ip = {127, 0, 0, 1}};
static const char *const origins[] = {"dns.example", "."};
static const km_dns_server_record records[] = {{"dns.example", "A", "192.0.2.1", 60},
                                               {"dns.example", "NS", "ns.dns.example.", 60}};

static km_dns_server_config config_of(const km_env *env, km_loop *loop) {
  km_dns_server_config c;
  km_dns_server_config_default(&c);
  c.env = env;
  c.loop = loop;
  c.dns = c.http = &here;
  c.dns_count = c.http_count = 1;
  c.origins = origins;
  c.origin_count = COUNT_OF(origins);
  c.records = records;
  c.record_count = COUNT_OF(records);
  c.version = "0";
  return c;
}

static void bound(void **state) {
  (void)state;
  km_loop *loop = NULL;
  km_dns_server *s = NULL;
  km_errinfo err = {0};
  km_udp_addr at[4];
  assert_int_equal(km_loop_new(&loop), 0);
  km_dns_server_config c = config_of(&km_env_system, loop);
  assert_int_equal(km_dns_server_new(&s, &c, &err), 0);
  assert_int_equal(km_dns_server_bound_dns(s, at, COUNT_OF(at)), 1);
  assert_true(at[0].port > 0);
  assert_int_equal(km_dns_server_bound_http(s, at + 1, COUNT_OF(at)), 1);
  assert_true(at[1].port > 0);
  assert_int_equal(km_dns_server_reload(s, &err), KM_ERR_STATE);

  km_dns_server *second = NULL;
  c.http = &at[1];
  assert_int_equal(km_dns_server_new(&second, &c, &err), KM_ERR_ADDR_IN_USE);
  c.http = &here;
  c.dns = &at[0];
  assert_int_equal(km_dns_server_new(&second, &c, &err), KM_ERR_ADDR_IN_USE);
  km_dns_server_free(s);
  assert_int_equal(km_dns_server_new(&second, &c, &err), 0); /* it is free again */
  km_dns_server_free(second);
  km_dns_server_free(NULL);
  assert_int_equal(km_loop_free(loop), 0);
}

static void what_it_cannot_be_made_of(void **state) {
  (void)state;
  km_loop *loop = NULL;
  km_dns_server *s = NULL;
  assert_int_equal(km_loop_new(&loop), 0);
  const km_dns_server_config good = config_of(&km_env_system, loop);
  const km_dns_server_record outside = {"example.org", "A", "192.0.2.1", 60};
  const km_dns_server_record damaged = {"dns.example", "A", "192.0.2", 60};
  km_udp_addr many[KM_DNS_SERVER_MAX_BINDS + 1];
  for (size_t i = 0; i < COUNT_OF(many); i++) {
    many[i] = here;
  }
  for (int i = 0; i < 8; i++) {
    km_errinfo err = {0};
    km_dns_server_config c = good;
    int wanted = KM_ERR_INVALID;
    switch (i) {
    case 0:
      c.http_count = c.dns_count = 0;
      break;
    case 1:
      c.origin_count = 0;
      break;
    case 2:
      c.origin_count = 1; /* not the root, which everything is below of */
      c.records = &outside;
      c.record_count = 1;
      break;
    case 3:
      c.records = &damaged;
      c.record_count = 1;
      break;
    case 4:
      c.http = many;
      c.http_count = COUNT_OF(many);
      break;
    case 5:
      c.https = &here;
      c.https_count = 1;
      break;
    case 6:
      c.https = &here;
      c.https_count = 1;
      c.cert_file = c.key_file = "/nonexistent";
      wanted = KM_ERR_FILE_NOT_FOUND;
      break;
    case 7:
      c.https = &here;
      c.https_count = 1;
      c.cert_file = c.key_file = "/dev/null";
      wanted = KM_ERR_SERVER_TLS;
      break;
    default:
      break;
    }
    assert_int_equal(km_dns_server_new(&s, &c, &err), wanted);
    assert_true(err.text[0] != '\0');
  }
  assert_int_equal(km_loop_free(loop), 0);
}

static void on_done(void *ctx) {
  km_loop_stop(ctx);
}

/* Somebody who says nothing does not hold it up. */
static void shutdown_with_a_silent_client(void **state) {
  (void)state;
  km_loop *loop = NULL;
  km_dns_server *s = NULL;
  km_errinfo err = {0};
  km_udp_addr at;
  struct sockaddr_storage ss;
  assert_int_equal(km_loop_new(&loop), 0);
  const km_dns_server_config c = config_of(&km_env_system, loop);
  assert_int_equal(km_dns_server_new(&s, &c, &err), 0);
  assert_int_equal(km_dns_server_bound_http(s, &at, 1), 1);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  socklen_t len = km_udp_addr_to_sockaddr(&at, &ss);
  assert_int_equal(connect(fd, (struct sockaddr *)&ss, len), 0);
  km_dns_server_stats stats = {0};
  while (stats.http_connections == 0) {
    (void)km_loop_run_once(loop, 1000);
    km_dns_server_get_stats(s, &stats);
  }
  km_dns_server_shutdown(s, 600000, on_done, loop);
  (void)km_loop_run(loop);
  char byte;
  assert_int_equal(recv(fd, &byte, 1, 0), 0);
  (void)close(fd);
  km_dns_server_get_stats(s, &stats);
  assert_int_equal(stats.http_connections, 0);
  km_dns_server_free(s);
  assert_int_equal(km_loop_free(loop), 0);
}

/* A connection that `s` has taken on or refused by the time this returns. */
static int connect_from(km_loop *loop, const km_dns_server *s, const km_udp_addr *from,
                        const km_udp_addr *to) {
  struct sockaddr_storage ss;
  km_dns_server_stats before, now;
  km_dns_server_get_stats(s, &before);
  int fd = socket(to->family == 6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
  assert_true(fd >= 0);
  socklen_t len = km_udp_addr_to_sockaddr(from, &ss);
  assert_int_equal(bind(fd, (struct sockaddr *)&ss, len), 0);
  len = km_udp_addr_to_sockaddr(to, &ss);
  assert_int_equal(connect(fd, (struct sockaddr *)&ss, len), 0);
  do {
    (void)km_loop_run_once(loop, 1000);
    km_dns_server_get_stats(s, &now);
  } while (now.http_connections + now.http_refused + now.dns.tcp_connections +
               now.dns.tcp_refused ==
           before.http_connections + before.http_refused + before.dns.tcp_connections +
               before.dns.tcp_refused);
  return fd;
}

/* In a child: it gets a network of its own. */
static int hold_from_a_customers_network(void) {
  km_loop *loop = NULL;
  km_dns_server *s = NULL;
  const km_udp_addr any = {.family = 6, .ip = {[15] = 1}};
  km_udp_addr to[2];
  if (unshare(CLONE_NEWNET) != 0 ||
      system("ip link set lo up && for i in 0 1 2 3 4 5 6 7 100; do"
             " ip -6 addr add 2001:db8:0:$i::1/128 dev lo nodad || exit 1; done") != 0) {
    return 77;
  }
  assert_int_equal(km_loop_new(&loop), 0);
  km_dns_server_config c = config_of(&km_env_system, loop);
  c.dns = c.http = &any;
  c.max_http_per_addr = c.max_tcp_per_addr = 3;
  assert_int_equal(km_dns_server_new(&s, &c, NULL), 0);
  assert_int_equal(km_dns_server_bound_dns(s, &to[0], 1), 1);
  assert_int_equal(km_dns_server_bound_http(s, &to[1], 1), 1);
  for (int way = 0; way < 2; way++) {
    for (uint8_t i = 0; i < 8; i++) { /* each from another /64 of a /56 */
      const km_udp_addr from = {.family = 6, .ip = {0x20, 1, 0x0d, 0xb8, 0, 0, 0, i, [15] = 1}};
      (void)connect_from(loop, s, &from, &to[way]);
    }
    const km_udp_addr other = {.family = 6, .ip = {0x20, 1, 0x0d, 0xb8, 0, 0, 1, 0, [15] = 1}};
    (void)connect_from(loop, s, &other, &to[way]);
  }
  km_dns_server_stats stats;
  km_dns_server_get_stats(s, &stats);
  assert_int_equal(stats.dns.tcp_refused, 5);
  assert_int_equal(stats.http_refused, 5);
  assert_int_equal(stats.http_connections, 4);
  km_dns_server_free(s);
  return km_loop_free(loop) == 0 ? 0 : 1;
}

static void a_customers_network_is_one_source(void **state) {
  (void)state;
  int status;
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    _exit(hold_from_a_customers_network());
  }
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) {
    print_message("needs root: cannot make a network of its own\n");
    skip();
  }
  assert_int_equal(WEXITSTATUS(status), 0);
}

enum { MANY = 400 };

/* In a child: as many connections to each of both as there are descriptors, until it is killed. */
static void hold_many(const km_udp_addr to[2]) {
  for (size_t i = 0; i < 2 * MANY; i++) {
    struct sockaddr_storage ss;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t len = km_udp_addr_to_sockaddr(&to[i / MANY], &ss);
    if (fd < 0 || connect(fd, (struct sockaddr *)&ss, len) != 0) {
      _exit(1);
    }
  }
  for (;;) {
    (void)pause();
  }
}

static int64_t open_files(void) {
  km_process_stats now;
  km_process_stats_read(&now);
  return now.open_fds;
}

/* What limits allow, and descriptors do not: there is something left for all that is not a
 * connection. */
static void few_descriptors(void **state) {
  (void)state;
  km_loop *loop = NULL;
  km_dns_server *s = NULL;
  struct rlimit all, few;
  km_udp_addr to[2];
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &all), 0);
  few = (struct rlimit){.rlim_cur = MANY, .rlim_max = all.rlim_max};
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
  assert_int_equal(km_loop_new(&loop), 0);
  km_dns_server_config c = config_of(&km_env_system, loop);
  c.max_http_per_addr = c.max_tcp_per_addr = 2 * MANY;
  assert_int_equal(km_dns_server_new(&s, &c, NULL), 0);
  assert_int_equal(km_dns_server_bound_dns(s, &to[0], 1), 1);
  assert_int_equal(km_dns_server_bound_http(s, &to[1], 1), 1);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    (void)setrlimit(RLIMIT_NOFILE, &all);
    hold_many(to);
  }
  km_dns_server_stats stats = {0};
  int64_t most = 0;
  while (stats.dns.tcp_connections + stats.dns.tcp_refused < MANY ||
         stats.http_connections + stats.http_refused < MANY) {
    (void)km_loop_run_once(loop, 1000);
    km_dns_server_get_stats(s, &stats);
    most = open_files() > most ? open_files() : most;
  }
  assert_int_equal(kill(pid, SIGKILL), 0);
  assert_int_equal(waitpid(pid, NULL, 0), pid);
  assert_true(stats.http_connections >= 100 && stats.dns.tcp_connections >= 50);
  assert_true(most <= MANY - 32); /* for the database, certificates, metrics */
  km_dns_server_free(s);
  assert_int_equal(km_loop_free(loop), 0);
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &all), 0);
}

/* Whatever allocation fails: no server, its reason, and nothing is left behind. */
static void want_of_memory(void **state) {
  (void)state;
  km_loop *loop = NULL;
  assert_int_equal(km_loop_new(&loop), 0);
  bool made = false;
  for (long n = 0; !made; n++) {
    test_env t;
    km_errinfo err = {0};
    km_dns_server *s = NULL;
    test_env_init(&t);
    t.fail_after = n;
    const km_dns_server_config c = config_of(&t.env, loop);
    int rv = km_dns_server_new(&s, &c, &err);
    made = rv == 0;
    if (made) {
      t.fail_after = -1;
      km_dns_server_free(s);
    } else {
      assert_true(rv == KM_ERR_NOMEM || rv == KM_ERR_SYSTEM || rv == KM_ERR_STORE);
      assert_int_equal(err.code, rv);
    }
    assert_int_equal(t.live, 0);
  }
  assert_int_equal(km_loop_free(loop), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bound),
      cmocka_unit_test(what_it_cannot_be_made_of),
      cmocka_unit_test(shutdown_with_a_silent_client),
      cmocka_unit_test(a_customers_network_is_one_source),
      cmocka_unit_test(few_descriptors),
      cmocka_unit_test(want_of_memory),
  };
  return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
