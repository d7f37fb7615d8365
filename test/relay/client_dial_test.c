/* Happy eyeballs on real sockets: which of several addresses wins, and what the others leave. */
#include "base/udp_addr.h"
#include "relay/connect_io.h"
#include "test/relay/client_lab.h"

#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

/* Accepts at an address, or does not even answer: its queue of connections is full, so the kernel
 * drops every further SYN as a firewall does. */
typedef struct place {
  int fd;
  int fill[16];
  km_udp_addr addr;
} place;

static bool has_ipv6(void) {
  const struct sockaddr_in6 sa = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
  int fd = socket(AF_INET6, SOCK_STREAM, 0);
  bool has = fd >= 0 && bind(fd, (const struct sockaddr *)&sa, sizeof sa) == 0;
  if (fd >= 0) {
    close(fd);
  }
  if (!has) {
    print_message("no IPv6 here: skipped\n");
  }
  return has;
}

static void open_place(place *p, const char *ip, bool black_hole) {
  struct sockaddr_storage sa;
  km_udp_addr wanted;
  assert_true(km_relay_host_literal(ip, 1, &wanted));
  wanted.port = 0;
  socklen_t len = km_udp_addr_to_sockaddr(&wanted, &sa);
  p->fd = socket(sa.ss_family, SOCK_STREAM, 0);
  assert_int_equal(bind(p->fd, (struct sockaddr *)&sa, len), 0);
  assert_int_equal(listen(p->fd, black_hole ? 0 : 16), 0);
  len = sizeof sa;
  assert_int_equal(getsockname(p->fd, (struct sockaddr *)&sa, &len), 0);
  assert_true(km_udp_addr_from_sockaddr(&p->addr, (struct sockaddr *)&sa, len));
  for (size_t i = 0; i < COUNT_OF(p->fill); i++) {
    p->fill[i] = black_hole ? socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0) : -1;
    if (black_hole) {
      (void)connect(p->fill[i], (struct sockaddr *)&sa, len); /* EINPROGRESS */
    }
  }
}

static void close_place(place *p) {
  for (size_t i = 0; i < COUNT_OF(p->fill); i++) {
    if (p->fill[i] >= 0) {
      close(p->fill[i]);
    }
  }
  close(p->fd);
}

static km_udp_addr dead(void) {
  return (km_udp_addr){.family = 4, .port = lab_dead_port(), .ip = {127, 0, 0, 1}};
}

typedef struct dialled {
  unsigned done;
  int fd;
  km_udp_addr remote;
  km_errinfo err;
  km_relay_dial *dial;
} dialled;

static void on_dialled(void *ctx, int fd, const km_udp_addr *remote, const km_errinfo *err) {
  dialled *d = ctx;
  d->done++;
  d->fd = fd;
  assert_true((fd >= 0) == (err == NULL) && (fd >= 0) == (remote != NULL));
  if (remote != NULL) {
    d->remote = *remote;
  } else {
    d->err = *err;
  }
  km_relay_dial_free(d->dial);
}

static void begin(dialled *d, const km_udp_addr *addrs, size_t count, const km_udp_addr *last) {
  km_relay_url url;
  const km_relay_proxy proxy = {.used = false};
  assert_int_equal(km_relay_url_read(&url, "http://relay.test/", NULL), 0);
  km_relay_dial_config config = {.env = &km_env_system,
                                 .loop = lab_loop,
                                 .url = &url,
                                 .proxy = &proxy,
                                 .addrs = addrs,
                                 .addr_count = count};
  if (last != NULL) {
    config.last = *last;
  }
  *d = (dialled){.fd = -1};
  assert_int_equal(km_relay_dial_new(&d->dial, &config, on_dialled, d), 0);
}

static unsigned open_fds(void) {
  unsigned count = 0;
  DIR *dir = opendir("/proc/self/fd");
  assert_non_null(dir);
  while (readdir(dir) != NULL) {
    count++;
  }
  closedir(dir);
  return count;
}

static void a_black_hole_costs_a_head_start(void **state) {
  (void)state;
  place hole, live;
  dialled d;
  open_place(&hole, "127.0.0.1", true);
  open_place(&live, "127.0.0.1", false);
  unsigned before = open_fds();
  km_udp_addr addrs[] = {hole.addr, live.addr};
  km_ts began = km_clock_now();
  begin(&d, addrs, 2, NULL);
  LAB_WAIT_FOR(d.done == 1);
  assert_true(d.fd >= 0);
  assert_true(km_udp_addr_equal(&d.remote, &live.addr));
  assert_true(km_clock_now() - began >= KM_RELAY_NEXT_ADDRESS);
  close(d.fd);
  assert_int_equal(open_fds(), before); /* the loser is closed */
  close_place(&hole);
  close_place(&live);
}

static void the_next_follows_a_failure_at_once(void **state) {
  (void)state;
  place hole, live;
  dialled d;
  open_place(&hole, "127.0.0.1", true);
  open_place(&live, "127.0.0.1", false);
  /* Refused, refused, live: no timer is needed, so a deadline that is never reached shows it. */
  km_udp_addr addrs[] = {dead(), dead(), live.addr, hole.addr};
  begin(&d, addrs, 4, NULL);
  LAB_WAIT_FOR(d.done == 1);
  assert_true(km_udp_addr_equal(&d.remote, &live.addr));
  close(d.fd);
  close_place(&hole);
  close_place(&live);
}

static void all_dead_is_the_last_ones_error(void **state) {
  (void)state;
  dialled d;
  km_udp_addr addrs[] = {dead(), dead()};
  begin(&d, addrs, 2, NULL);
  LAB_WAIT_FOR(d.done == 1);
  assert_int_equal(d.fd, -1);
  assert_int_equal(d.err.code, KM_ERR_RELAY_UNREACHABLE);
  assert_true(d.err.sys_errno != 0);
  assert_non_null(strstr(d.err.text, "relay.test"));
}

static void an_address_without_a_route_is_passed_over(void **state) {
  (void)state;
  place live;
  dialled d;
  open_place(&live, "127.0.0.1", false);
  km_udp_addr addrs[] = {{.family = 6, .port = 9, .ip = {0x01}}, live.addr}; /* 100::, discard */
  begin(&d, addrs, 2, NULL);
  LAB_WAIT_FOR(d.done == 1);
  assert_true(km_udp_addr_equal(&d.remote, &live.addr));
  close(d.fd);
  close_place(&live);
}

/* The classic: a network whose IPv6 leads nowhere, or whose IPv4 does. */
static void the_other_family_wins(void **state) {
  (void)state;
  static const char *const ips[] = {"::1", "127.0.0.1"};
  if (!has_ipv6()) {
    skip();
  }
  for (size_t i = 0; i < COUNT_OF(ips); i++) {
    place hole, live;
    dialled d;
    open_place(&hole, ips[i], true);
    open_place(&live, ips[1 - i], false);
    km_udp_addr addrs[] = {hole.addr, live.addr};
    begin(&d, addrs, 2, NULL);
    LAB_WAIT_FOR(d.done == 1);
    assert_true(d.fd >= 0);
    assert_int_equal(d.remote.family, live.addr.family);
    close(d.fd);
    close_place(&hole);
    close_place(&live);
  }
}

static void what_did_no_good_is_tried_last(void **state) {
  (void)state;
  place one, two;
  dialled d;
  open_place(&one, "127.0.0.1", false);
  open_place(&two, "127.0.0.1", false);
  km_udp_addr addrs[] = {one.addr, two.addr};
  begin(&d, addrs, 2, &one.addr);
  LAB_WAIT_FOR(d.done == 1);
  assert_true(km_udp_addr_equal(&d.remote, &two.addr));
  close(d.fd);
  close_place(&one);
  close_place(&two);
}

static void may_be_given_up_at_any_time(void **state) {
  (void)state;
  place hole, live;
  open_place(&hole, "127.0.0.1", true);
  open_place(&live, "127.0.0.1", false);
  unsigned before = open_fds();
  for (unsigned turns = 0; turns < 6; turns++) {
    dialled d;
    km_udp_addr addrs[] = {dead(), hole.addr, live.addr};
    begin(&d, addrs, 3, NULL);
    for (unsigned i = 0; i < turns; i++) {
      km_loop_run_nowait(lab_loop);
    }
    if (d.done == 0) {
      km_relay_dial_free(d.dial);
    } else if (d.fd >= 0) {
      close(d.fd);
    }
  }
  assert_int_equal(open_fds(), before);
  close_place(&hole);
  close_place(&live);
}

/* The whole client, over IPv6. */
static void a_literal_of_ipv6_is_dialled(void **state) {
  (void)state;
  if (!has_ipv6()) {
    skip();
  }
  lab_relay r = {0};
  lab_client l = {0};
  char url[256];
  lab_relay_open(&r, "::1", 0, NULL, NULL);
  lab_client_open(&l, NULL, NULL);
  lab_client_dial(&l, lab_url(url, "http", "[::1]", r.port));
  LAB_WAIT_FOR(l.states[KM_RELAY_CLIENT_CONNECTED] == 1);
  assert_non_null(strstr(r.request, "Host: [::1]:"));
  lab_client_close(&l);
  lab_relay_close(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_black_hole_costs_a_head_start),
      cmocka_unit_test(the_next_follows_a_failure_at_once),
      cmocka_unit_test(all_dead_is_the_last_ones_error),
      cmocka_unit_test(an_address_without_a_route_is_passed_over),
      cmocka_unit_test(the_other_family_wins),
      cmocka_unit_test(what_did_no_good_is_tried_last),
      cmocka_unit_test(may_be_given_up_at_any_time),
      cmocka_unit_test(a_literal_of_ipv6_is_dialled),
  };
  return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
