/* The network monitor in a network of its own that is changed by ip(8), by both drivers, and in a
 * sandbox that refuses netlink. Skipped where no network namespace can be had. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "magicsock/netmon_driver.h"
#include "test/base/test_env.h"

#define LIMIT_NS (60 * KM_NS_PER_S) /* only reached when something is wrong */
#define STILL_NS (300 * KM_NS_PER_MS)
#define ADDED KM_NETMON_ADDRESS_ADDED
#define LOST KM_NETMON_ADDRESS_LOST
#define ROUTE KM_NETMON_ROUTE
#define RESUMED KM_NETMON_RESUMED

/* How long the machine "slept" (--wrap=clock_gettime). */
static time_t slept_s;
int __real_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts) {
  int rv = __real_clock_gettime(clock, ts);
  ts->tv_sec += clock == CLOCK_BOOTTIME ? slept_s : 0;
  return rv;
}

/* --- a shell beside us, which a sandbox of ours does not bind -------------------------------- */

static FILE *to_shell, *from_shell;

static void start_shell(void) {
  int to[2], from[2];
  assert_int_equal(pipe2(to, O_CLOEXEC), 0);
  assert_int_equal(pipe2(from, O_CLOEXEC), 0);
  if (fork() == 0) {
    (void)dup2(to[0], 0);
    (void)dup2(from[1], 1);
    (void)execl("/bin/sh", "sh", (char *)NULL);
    _exit(1);
  }
  (void)close(to[0]);
  (void)close(from[1]);
  to_shell = fdopen(to[1], "w");
  from_shell = fdopen(from[0], "r");
}

static int status_of(const char *command) {
  int status = -1;
  (void)fprintf(to_shell, "(%s) >&2\necho $?\n", command);
  (void)fflush(to_shell);
  assert_int_equal(fscanf(from_shell, "%d", &status), 1);
  return status;
}

static void sh(const char *command) {
  print_message("$ %s\n", command);
  assert_int_equal(status_of(command), 0);
}

/* An interface with a carrier: that of the other end. */
#define VETH(name)                                                                                 \
  "ip link add " name " type veth peer name x" name " && ip link set x" name                       \
  " up && ip link set " name " up"

/* --- the monitor ----------------------------------------------------------------------------- */

typedef struct lab {
  km_loop *loop;
  km_netmon *monitor;
  unsigned told;
  int calls, logged;
  bool free_it;
  km_env env;
  char log[512];
} lab;

static void on_change(void *ctx, unsigned what) {
  lab *l = ctx;
  l->told |= what;
  l->calls++;
  if (l->free_it) {
    km_netmon_free(l->monitor);
    l->monitor = NULL;
  }
}

static void on_log(void *ctx, const km_log_entry *entry) {
  lab *l = ctx;
  if (strcmp(entry->event, "netmon") == 0) {
    l->logged++;
    (void)snprintf(l->log, sizeof l->log, "%s", entry->text);
  }
}

static void start(lab *l, const km_netmon_driver *driver) {
  static const km_netmon_driver *list[2];
  memset(l, 0, sizeof *l);
  l->env = km_env_system;
  l->env.logger = (km_logger){.sink = on_log, .ctx = l};
  assert_int_equal(km_log_filter_parse(&l->env.logger.filter, "info", NULL), 0);
  list[0] = driver;
  assert_int_equal(km_loop_new(&l->loop), 0);
  assert_int_equal(driver != NULL
                       ? km_netmon_new_with(&l->monitor, &l->env, l->loop, list, on_change, l)
                       : km_netmon_new(&l->monitor, &l->env, l->loop, on_change, l),
                   0);
}

static void stop(lab *l) {
  km_netmon_free(l->monitor);
  assert_int_equal(km_loop_free(l->loop), 0);
}

/* A change may be told in parts: until all of them were. */
static void expect(lab *l, unsigned what) {
  km_ts give_up = km_clock_now() + LIMIT_NS;
  while ((l->told & what) != what && km_clock_now() < give_up) {
    (void)km_loop_run_once(l->loop, 100);
  }
  assert_int_equal(l->told, what);
  l->told = 0;
}

static void expect_nothing(lab *l) {
  km_ts end = km_clock_now() + STILL_NS;
  while (km_clock_now() < end) {
    (void)km_loop_run_once(l->loop, 100);
  }
  assert_int_equal(l->told, 0);
}

static void change(lab *l, const char *command, unsigned what) {
  sh(command);
  if (what != 0) {
    expect(l, what);
  } else {
    expect_nothing(l);
  }
}

static km_netmon_driver fast_poll(void) {
  km_netmon_driver d = km_netmon_poll;
  d.tick_ns = 50 * KM_NS_PER_MS;
  return d;
}

static void clean_up(void) {
  sh("for i in ka kb kc many; do ip link del $i; done 2> /dev/null; "
     "ip addr flush dev lo; ip link set lo down");
}

/* --- what happens to networks ---------------------------------------------------------------- */

static void addresses_and_routes(const km_netmon_driver *driver) {
  lab l;
  start(&l, driver);
  assert_string_equal(km_netmon_driver_name(l.monitor), driver->name);
  change(&l, "ip link set lo up", 0);
  change(&l, VETH("ka"), 0);
  change(&l, "ip addr add 10.9.0.2/24 dev ka", ADDED);
  change(&l, "ip addr add 10.9.0.3/24 dev ka", ADDED);
  change(&l, "ip addr del 10.9.0.3/24 dev ka", LOST);
  change(&l, "ip addr add 127.0.0.9/8 dev lo", 0);
  change(&l, "ip addr add 169.254.3.3/16 dev ka", 0);
  change(&l, "ip route add 10.20.0.0/16 via 10.9.0.1", 0);
  change(&l, "ip route add default via 10.9.0.1", ROUTE);
  change(&l, "ip addr add 2001:db8:1::2/64 dev ka nodad", ADDED);
  change(&l, "ip -6 route add default via fe80::1 dev ka", ROUTE);
  change(&l, "ip -6 route del default via fe80::1 dev ka", ROUTE);
  change(&l, VETH("kb") " && ip addr add 10.8.0.2/24 dev kb", ADDED);
  change(&l, "ip route add default via 10.8.0.1 metric 50", 0); /* the one without goes first */
  change(&l, "ip route del default via 10.9.0.1", ROUTE);
  change(&l, "ip link set kb down", LOST | ROUTE);
  change(&l, "ip link del ka", LOST);
  stop(&l);
  clean_up();
}

static void by_netlink(void **state) {
  (void)state;
  addresses_and_routes(&km_netmon_netlink);
}

static void by_polling(void **state) {
  (void)state;
  const km_netmon_driver fast = fast_poll();
  addresses_and_routes(&fast);
}

/* What no source address shows, and what only the kernel knows. */
static void netlink_sees_more(void **state) {
  (void)state;
  lab l;
  start(&l, &km_netmon_netlink);
  change(&l, VETH("ka") " && ip addr add 10.9.0.2/24 dev ka", ADDED);
  change(&l, "ip route add default via 10.9.0.1", ROUTE);
  change(&l, "ip route replace default via 10.9.0.254", ROUTE);
  change(&l, "ip route add 128.0.0.0/1 via 10.9.0.7", ROUTE); /* as VPN programs do */
  change(&l, "ip route add unreachable default metric 9999", 0);
  change(&l, "ip route replace default nexthop via 10.9.0.1 dev ka nexthop via 10.9.0.254 dev ka",
         ROUTE);
  change(&l, "ip route add default via 10.9.0.9 table 77", ROUTE);
  change(&l, VETH("kc"), 0);
  change(&l, "ip link del kc", 0);
  change(&l, "ip link set xka down", ROUTE); /* the cable is out, the address stays */
  change(&l, "ip link set xka up", ROUTE);
  stop(&l);
  clean_up();
}

/* A new address is one once nobody else answered for it; one that grows old stays one. */
static void duplicate_detection(void **state) {
  (void)state;
  lab l;
  start(&l, &km_netmon_netlink);
  sh(VETH("kc"));
  change(&l, "ip addr add 2001:db8:2::2/64 dev kc", ADDED);
  change(&l, "ip addr change 2001:db8:2::2/64 dev kc preferred_lft 0", 0);
  change(&l, "ip addr add 2001:db8:2::2/64 dev xkc", 0); /* it is taken */
  for (int i = 0; i < 4; i++) { /* the kernel takes a second or two to find out */
    expect_nothing(&l);
  }
  change(&l, "ip link del kc", LOST);
  stop(&l);
  clean_up();
}

/* More than a socket's buffer holds, while nobody reads: the kernel drops messages and says so. */
static void messages_are_lost(void **state) {
  (void)state;
  lab l;
  start(&l, &km_netmon_netlink);
  sh(VETH("many"));
  change(&l,
         "for i in $(seq 2000); do echo addr add 10.5.$((i / 250)).$((i % 250 + 1))/32 dev many; "
         "done | ip -batch -",
         ADDED);
  change(&l, "ip addr flush dev many; ip addr add 10.6.0.1/24 dev many", ADDED | LOST);
  change(&l, "ip link del many", LOST);
  stop(&l);
  clean_up();
}

static void a_machine_that_slept(void **state) {
  (void)state;
  lab l;
  km_netmon_driver fast = km_netmon_netlink;
  start(&l, &km_netmon_netlink);
  slept_s += 4;
  change(&l, "ip link add kc type veth peer name xkc", 0);
  slept_s += 3600;
  change(&l, "ip link set kc up", RESUMED); /* noticed by the first event */
  stop(&l);
  fast.tick_ns = 50 * KM_NS_PER_MS;
  start(&l, &fast);
  slept_s += 3600;
  expect(&l, RESUMED); /* or by the tick */
  expect_nothing(&l);
  assert_int_equal(l.calls, 1);
  stop(&l);
  clean_up();
}

static void freed_by_its_callback(void **state) {
  (void)state;
  lab l;
  start(&l, &km_netmon_netlink);
  l.free_it = true;
  change(&l, VETH("ka") " && ip addr add 10.9.0.2/24 dev ka", ADDED);
  assert_null(l.monitor);
  sh("ip link del ka");
  expect_nothing(&l);
  stop(&l);
  km_netmon_free(NULL);
}

/* A driver that works for a turn of the loop. */
typedef struct breaking {
  km_deadline *timer;
  void (*changed)(void *ctx, bool broken);
  void *ctx;
} breaking;

static void on_break(void *ctx) {
  breaking *b = ctx;
  b->changed(b->ctx, true); /* closes it */
}

static int breaking_open(void **ret, const km_env *env, km_loop *loop,
                         void (*changed)(void *ctx, bool broken), void *ctx, km_errinfo *err) {
  breaking *b = km_env_zalloc(env, 1, sizeof *b);
  (void)err;
  assert_non_null(b);
  b->changed = changed;
  b->ctx = ctx;
  assert_int_equal(km_deadline_new(&b->timer, loop, on_break, b), 0);
  km_deadline_set(b->timer, 1);
  *ret = b;
  return 0;
}

static int breaking_look(void *driver, km_netmon_picture *ret, km_errinfo *err) {
  const km_udp_addr addr = {.family = 4, .ip = {10, 7, 7, 7}}; /* nobody else sees that */
  (void)driver;
  (void)err;
  km_netmon_picture_add_addr(ret, &addr, 0);
  return 0;
}

static void breaking_close(void *driver) {
  breaking *b = driver;
  km_deadline_free(b->timer);
  km_env_free(&km_env_system, b);
}

static void a_driver_that_breaks(void **state) {
  (void)state;
  static const km_netmon_driver breaks = {.name = "breaks",
                                          .tick_ns = 50 * KM_NS_PER_MS,
                                          .tells = true,
                                          .open = breaking_open,
                                          .look = breaking_look,
                                          .close = breaking_close};
  const km_netmon_driver fast = fast_poll();
  const km_netmon_driver *const both[] = {&breaks, &fast, NULL}, *const one[] = {&breaks, NULL};
  lab l = {.env = km_env_system};
  assert_int_equal(km_loop_new(&l.loop), 0);
  assert_int_equal(km_netmon_new_with(&l.monitor, &l.env, l.loop, both, on_change, &l), 0);
  assert_string_equal(km_netmon_driver_name(l.monitor), "breaks");
  expect_nothing(&l); /* that the next one sees other things is no change of the network */
  assert_string_equal(km_netmon_driver_name(l.monitor), "poll");
  change(&l, VETH("ka") " && ip addr add 10.9.0.2/24 dev ka", ADDED);
  km_netmon_free(l.monitor);
  assert_int_equal(km_netmon_new_with(&l.monitor, &l.env, l.loop, one, on_change, &l), 0);
  expect_nothing(&l);
  assert_string_equal(km_netmon_driver_name(l.monitor), "none");
  slept_s += 3600;
  expect(&l, RESUMED); /* the clocks are left */
  stop(&l);
  clean_up();
}

static void without_memory(void **state) {
  (void)state;
  test_env t;
  km_loop *loop;
  km_netmon *m = NULL;
  assert_int_equal(km_loop_new(&loop), 0);
  int rv = KM_ERR_NOMEM;
  for (long i = 0; rv != 0; i++) {
    test_env_init(&t);
    t.fail_after = i;
    rv = km_netmon_new(&m, &t.env, loop, on_change, NULL);
    if (rv == 0) {
      km_netmon_free(m);
    }
    assert_true(rv == 0 || rv == KM_ERR_NOMEM);
    assert_int_equal(t.live, 0);
    assert_true(i < 100);
  }
  assert_int_equal(km_loop_free(loop), 0);
}

/* From here on no netlink socket can be had in this process. Then nobody lists the interfaces
 * either, and what is left are the addresses that the system would send from. */
static void refuse_netlink(void) {
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_NETLINK, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAFNOSUPPORT),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const struct sock_fprog program = {.len = COUNT_OF(code), .filter = code};
  assert_int_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
  assert_int_equal(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static void in_a_sandbox(void **state) {
  (void)state;
  lab l;
  refuse_netlink();
  start(&l, NULL);
  assert_string_equal(km_netmon_driver_name(l.monitor), "poll");
  assert_int_equal(l.logged, 1);
  assert_non_null(strstr(l.log, "driver=netlink"));
  assert_non_null(strstr(l.log, "next=poll"));
  change(&l,
         VETH("ka") " && ip addr add 10.9.0.2/24 dev ka && "
                    "ip route add default via 10.9.0.1",
         ADDED | ROUTE);
  assert_int_equal(l.logged, 1);
  stop(&l);
  clean_up();
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
      cmocka_unit_test(by_netlink),
      cmocka_unit_test(by_polling),
      cmocka_unit_test(netlink_sees_more),
      cmocka_unit_test(duplicate_detection),
      cmocka_unit_test(messages_are_lost),
      cmocka_unit_test(a_machine_that_slept),
      cmocka_unit_test(freed_by_its_callback),
      cmocka_unit_test(a_driver_that_breaks),
      cmocka_unit_test(without_memory),
      cmocka_unit_test(in_a_sandbox),
  };
  if (!own_network()) {
    print_message("no network namespace to be had: %s\n", strerror(errno));
    return 77;
  }
  start_shell();
  if (status_of(VETH("ka") " && ip link del ka") != 0) {
    print_message("no ip(8), or no virtual interfaces\n");
    return 77;
  }
  int rv = cmocka_run_group_tests(tests, NULL, NULL);
  (void)fclose(to_shell);
  (void)fclose(from_shell);
  (void)wait(NULL);
  return rv;
}
