/* The default gateway, and port mapping where there is none, in a network of our own. Skipped where
 * no network namespace can be had. What a gateway answers is in test/netlab/portmap_test.py. */
#include "holepunch/portmap_io.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include "holepunch/gateway_io.h"
#include "test/base/test_env.h"

#define LIMIT_NS (60 * KM_NS_PER_S) /* only reached when something is wrong */

static void sh(const char *command) {
  print_message("$ %s\n", command);
  assert_int_equal(system(command), 0);
}

static km_udp_addr addr_of(const char *text) {
  km_udp_addr ret;
  assert_int_equal(km_udp_addr_parse(&ret, text, strlen(text), NULL), 0);
  return ret;
}

static int set_up(void **state) {
  (void)state;
  sh("ip link add k0 type veth peer name k1 && ip link set k0 up && ip link set k1 up");
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  sh("ip link del k0");
  return 0;
}

static void gateways(void **state) {
  (void)state;
  km_gateway gw = {.addr = {.port = 7}};
  km_errinfo err = {0};
  assert_int_equal(km_gateway_find(&km_env_system, 4, &gw, &err), KM_ERR_NO_NETWORK);
  assert_int_equal(km_gateway_find(&km_env_system, 6, &gw, &err), KM_ERR_NO_NETWORK);
  assert_int_equal(gw.addr.port, 7); /* untouched */
  sh("ip addr add 192.168.5.2/24 dev k0 && ip route add default via 192.168.5.9 metric 7");
  sh("ip route add default via 192.168.5.1 metric 5 && ip route add default dev k1 metric 1 && "
     "ip route add 0.0.0.0/1 via 192.168.5.8");
  assert_int_equal(km_gateway_find(&km_env_system, 4, &gw, &err), 0);
  km_udp_addr want = addr_of("192.168.5.1:0"), own = addr_of("192.168.5.2:0");
  assert_true(km_udp_addr_equal(&gw.addr, &want));
  assert_true(km_udp_addr_equal(&gw.local, &own));
  sh("ip addr add fe80::2/64 dev k0 nodad && ip -6 route add default via fe80::1 dev k0");
  assert_int_equal(km_gateway_find(&km_env_system, 6, &gw, &err), 0);
  want = addr_of("[fe80::1%1]:0");
  assert_int_not_equal(gw.addr.scope_id, 0); /* which interface it is on */
  want.scope_id = gw.addr.scope_id;
  assert_true(km_udp_addr_equal(&gw.addr, &want));
}

typedef struct lab {
  km_loop *loop;
  km_portmap *p;
  km_portmap_status last;
  int calls;
  bool free_it;
} lab;

static void on_status(void *ctx, const km_portmap_status *status) {
  lab *l = ctx;
  l->last = *status;
  l->calls++;
  if (l->free_it) {
    km_portmap_free(l->p);
    l->p = NULL;
  }
}

static void await_trouble(lab *l, const char *text) {
  km_ts give_up = km_clock_now() + LIMIT_NS;
  while (strstr(l->last.trouble, text) == NULL && km_clock_now() < give_up) {
    (void)km_loop_run_once(l->loop, 100);
  }
  assert_non_null(strstr(l->last.trouble, text));
  assert_int_equal(l->last.protocol, KM_PORTMAP_NONE);
  assert_false(l->last.probing);
}

static void where_nothing_can_be_mapped(void **state) {
  (void)state;
  lab l = {0};
  km_portmap_status s;
  assert_int_equal(km_loop_new(&l.loop), 0);
  assert_int_equal(km_portmap_new(&l.p, &km_env_system, l.loop, on_status, &l), 0);
  km_portmap_network_changed(l.p); /* at rest: nothing happens */
  (void)km_loop_run_nowait(l.loop);
  assert_int_equal(l.calls, 0);
  km_portmap_set_port(l.p, 4433);
  assert_int_equal(l.calls, 0); /* from the loop only */
  await_trouble(&l, "there is no default gateway");
  sh("ip addr add 44.1.2.3/24 dev k0 && ip route add default via 44.1.2.1");
  km_portmap_network_changed(l.p);
  await_trouble(&l, "this machine has a public address");
  km_portmap_get_status(l.p, &s);
  assert_string_equal(s.trouble, l.last.trouble);
  km_portmap_set_port(l.p, 0);
  km_portmap_get_status(l.p, &s);
  assert_string_equal(s.trouble, "");
  km_portmap_free(l.p);
  km_portmap_free(NULL);
  assert_int_equal(km_loop_free(l.loop), 0);
}

static void freed_by_its_callback(void **state) {
  (void)state;
  lab l = {.free_it = true};
  assert_int_equal(km_loop_new(&l.loop), 0);
  assert_int_equal(km_portmap_new(&l.p, &km_env_system, l.loop, on_status, &l), 0);
  km_portmap_set_port(l.p, 4433);
  await_trouble(&l, "there is no default gateway");
  assert_null(l.p);
  assert_int_equal(km_loop_free(l.loop), 0);
}

/* A gateway that does not exist: the search is given up in the midst of it. */
static void freed_while_it_looks(void **state) {
  (void)state;
  lab l = {0};
  sh("ip addr add 192.168.5.2/24 dev k0 && ip route add default via 192.168.5.1");
  for (int i = 0; i < 3; i++) {
    assert_int_equal(km_loop_new(&l.loop), 0);
    assert_int_equal(km_portmap_new(&l.p, &km_env_system, l.loop, on_status, &l), 0);
    km_portmap_set_port(l.p, 4433);
    for (int turn = 0; turn < 10 * i; turn++) {
      (void)km_loop_run_once(l.loop, 10);
    }
    km_portmap_free(l.p);
    assert_int_equal(km_loop_free(l.loop), 0);
  }
}

static void without_memory(void **state) {
  (void)state;
  test_env t;
  km_loop *loop;
  km_portmap *p;
  km_gateway gw;
  lab l = {0};
  sh("ip addr add 192.168.5.2/24 dev k0 && ip route add default via 192.168.5.1");
  assert_int_equal(km_loop_new(&loop), 0);
  for (long i = 0; i < 12; i++) {
    test_env_init(&t);
    t.fail_after = i;
    if (km_portmap_new(&p, &t.env, loop, on_status, &l) == 0) {
      km_portmap_set_port(p, 4433);
      km_portmap_set_port(p, 4434);
      (void)km_loop_run_nowait(loop);
      km_portmap_free(p);
    }
    int rv = km_gateway_find(&t.env, 4, &gw, NULL);
    assert_true(rv == 0 || rv == KM_ERR_NOMEM);
    assert_int_equal(t.live, 0);
  }
  assert_int_equal(km_loop_free(loop), 0);
}

/* A network of our own; without root inside a user namespace of our own. */
static bool own_network(void) {
  char map[32];
  uid_t uid = geteuid();
  if (unshare(uid == 0 ? CLONE_NEWNET : CLONE_NEWNET | CLONE_NEWUSER) != 0) {
    return false;
  }
  int len = snprintf(map, sizeof map, "0 %u 1\n", (unsigned)uid);
  int fd = uid == 0 ? -1 : open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
  bool ok = uid == 0 || (fd >= 0 && write(fd, map, (size_t)len) == len);
  if (fd >= 0) {
    (void)close(fd);
  }
  return ok;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(gateways, set_up, tear_down),
      cmocka_unit_test_setup_teardown(where_nothing_can_be_mapped, set_up, tear_down),
      cmocka_unit_test_setup_teardown(freed_by_its_callback, set_up, tear_down),
      cmocka_unit_test_setup_teardown(freed_while_it_looks, set_up, tear_down),
      cmocka_unit_test_setup_teardown(without_memory, set_up, tear_down),
  };
  if (!own_network() || system("ip link add k0 type veth peer name k1 && ip link del k0") != 0) {
    print_message("no network of our own, or no ip(8): %s\n", strerror(errno));
    return 77;
  }
  return cmocka_run_group_tests(tests, NULL, NULL);
}
