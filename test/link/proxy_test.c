/* The program km-udp-proxy with real sockets. */
#include <arpa/inet.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "test/link/proxy_child.h"

enum { PATIENCE_MS = 20000, QUIET_MS = 100 };

static int open_udp(km_udp_addr *ret) {
  struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof in;
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  assert_true(fd >= 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof in), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
  memset(ret, 0, sizeof *ret);
  ret->family = 4;
  ret->port = ntohs(in.sin_port);
  memcpy(ret->ip, &in.sin_addr, 4);
  return fd;
}

static struct sockaddr_in sockaddr_of(const km_udp_addr *addr) {
  struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(addr->port)};
  memcpy(&in.sin_addr, addr->ip, 4);
  return in;
}

static void send_text(int fd, const struct sockaddr_in *to, const char *text) {
  ssize_t n = sendto(fd, text, strlen(text), 0, (const struct sockaddr *)to, sizeof *to);
  assert_int_equal(n, strlen(text));
}

/* Waits for `text` and tells where it came from. */
static struct sockaddr_in expect_text(int fd, const char *text) {
  char buf[128] = "";
  struct sockaddr_in from;
  socklen_t len = sizeof from;
  struct pollfd p = {.fd = fd, .events = POLLIN};
  assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
  ssize_t n = recvfrom(fd, buf, sizeof buf - 1, 0, (struct sockaddr *)&from, &len);
  assert_int_equal(n, strlen(text));
  assert_memory_equal(buf, text, strlen(text));
  return from;
}

static void clients_look_like_different_ports(void **state) {
  (void)state;
  km_udp_addr server_addr, unused;
  proxy_child proxy;
  int server = open_udp(&server_addr);
  int a = open_udp(&unused), b = open_udp(&unused);
  proxy_child_start(&proxy, &server_addr, NULL);
  struct sockaddr_in via = sockaddr_of(&proxy.listen);
  send_text(a, &via, "from a");
  struct sockaddr_in seen_a = expect_text(server, "from a");
  send_text(b, &via, "from b");
  struct sockaddr_in seen_b = expect_text(server, "from b");
  assert_int_not_equal(seen_a.sin_port, seen_b.sin_port);
  send_text(server, &seen_b, "to b");
  send_text(server, &seen_a, "to a");
  struct sockaddr_in back = expect_text(a, "to a");
  assert_int_equal(back.sin_port, via.sin_port);
  expect_text(b, "to b");
  send_text(a, &via, "again");
  assert_int_equal(expect_text(server, "again").sin_port, seen_a.sin_port);
  proxy_child_stop(&proxy);
  assert_int_equal(proxy_child_stat(&proxy, NULL, "clients"), 2);
  assert_int_equal(proxy_child_stat(&proxy, "up", "delivered"), 3);
  assert_int_equal(proxy_child_stat(&proxy, "down", "delivered"), 2);
  close(server);
  close(a);
  close(b);
}

static void a_rebind_changes_the_port_and_forgets_the_old(void **state) {
  (void)state;
  km_udp_addr server_addr, unused;
  proxy_child proxy;
  int server = open_udp(&server_addr), a = open_udp(&unused);
  proxy_child_start(&proxy, &server_addr, NULL);
  struct sockaddr_in via = sockaddr_of(&proxy.listen);
  send_text(a, &via, "one");
  struct sockaddr_in before = expect_text(server, "one");
  proxy_child_rebind(&proxy);
  send_text(a, &via, "two");
  struct sockaddr_in after = expect_text(server, "two");
  assert_int_not_equal(before.sin_port, after.sin_port);
  send_text(server, &before, "to the old port");
  send_text(server, &after, "to the new port");
  expect_text(a, "to the new port");
  proxy_child_stop(&proxy);
  assert_int_equal(proxy_child_stat(&proxy, NULL, "rebinds"), 1);
  close(server);
  close(a);
}

static void a_blackhole_can_be_switched(void **state) {
  (void)state;
  km_udp_addr server_addr, unused;
  proxy_child proxy;
  int server = open_udp(&server_addr), a = open_udp(&unused);
  proxy_child_start(&proxy, &server_addr, NULL);
  struct sockaddr_in via = sockaddr_of(&proxy.listen);
  proxy_child_toggle_blackhole(&proxy);
  send_text(a, &via, "lost");
  struct pollfd p = {.fd = server, .events = POLLIN};
  assert_int_equal(poll(&p, 1, QUIET_MS), 0);
  proxy_child_toggle_blackhole(&proxy);
  send_text(a, &via, "heard");
  expect_text(server, "heard");
  proxy_child_stop(&proxy);
  assert_int_equal(proxy_child_stat(&proxy, "up", "blackholed"), 1);
  close(server);
  close(a);
}

static void options_reach_the_link(void **state) {
  (void)state;
  km_udp_addr server_addr, unused;
  proxy_child proxy;
  int server = open_udp(&server_addr), a = open_udp(&unused);
  const char *const args[] = {"--dup", "1", "--seed", "3", NULL};
  proxy_child_start(&proxy, &server_addr, args);
  struct sockaddr_in via = sockaddr_of(&proxy.listen);
  send_text(a, &via, "twin");
  struct sockaddr_in seen = expect_text(server, "twin");
  expect_text(server, "twin");
  send_text(server, &seen, "twin");
  expect_text(a, "twin");
  expect_text(a, "twin");
  proxy_child_stop(&proxy);
  close(server);
  close(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(clients_look_like_different_ports),
      cmocka_unit_test(a_rebind_changes_the_port_and_forgets_the_old),
      cmocka_unit_test(a_blackhole_can_be_switched),
      cmocka_unit_test(options_reach_the_link),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
