/* Names on threads of their own. getaddrinfo is the real one, or waits, or gives what a test wants:
 * the linker's --wrap. */
#include "relay/resolve_io.h"

#include <netdb.h>
#include <pthread.h>

#include "base/udp_addr.h"
#include "test/base/test_env.h"

enum { MAX_THREADS = KM_RESOLVE_MAX_THREADS, MANY = 40 };

static km_loop *loop;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER; /* held: look-ups wait */
static struct addrinfo *made_up;                         /* NULL: ask the system */
static unsigned told;
static km_resolve_result last;

int __real_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                       struct addrinfo **ret);
int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                       struct addrinfo **ret);
void __real_freeaddrinfo(struct addrinfo *list);
void __wrap_freeaddrinfo(struct addrinfo *list);

int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                       struct addrinfo **ret) {
  (void)pthread_mutex_lock(&gate);
  *ret = made_up;
  (void)pthread_mutex_unlock(&gate);
  return *ret != NULL ? 0 : __real_getaddrinfo(host, service, hints, ret);
}

void __wrap_freeaddrinfo(struct addrinfo *list) {
  if (list != made_up) {
    __real_freeaddrinfo(list);
  }
}

static int setup(void **state) {
  (void)state;
  (void)pthread_mutex_trylock(&gate); /* a test that failed may have left it closed */
  (void)pthread_mutex_unlock(&gate);
  told = 0;
  made_up = NULL;
  return km_loop_new(&loop);
}

static int teardown(void **state) {
  (void)state;
  return km_loop_free(loop);
}

static void on_result(void *ctx, const km_resolve_result *result) {
  km_resolve **r = ctx;
  told++;
  last = *result;
  km_resolve_free(*r);
  *r = NULL;
}

static void wait_for(unsigned count) {
  for (int i = 0; told < count && i < 3000; i++) {
    km_loop_run_once(loop, 10);
  }
  assert_int_equal(told, count);
}

static void look_up(km_resolve **r, const char *host) {
  assert_int_equal(km_resolve_new(r, &km_env_system, loop, host, 443, on_result, r), 0);
}

/* The thread of a look-up that was told may be about to end, and counts until then. */
static int look_up_when_free(km_resolve **r) {
  int rv = KM_ERR_LIMIT;
  for (int i = 0; rv == KM_ERR_LIMIT && i < 3000; i++) {
    rv = km_resolve_new(r, &km_env_system, loop, "localhost", 443, on_result, r);
    km_loop_run_once(loop, rv == KM_ERR_LIMIT ? 1 : 0);
  }
  return rv;
}

static void a_name_has_addresses(void **state) {
  (void)state;
  km_resolve *r;
  look_up(&r, "localhost");
  assert_int_equal(told, 0); /* never from within */
  wait_for(1);
  assert_int_equal(last.status, 0);
  assert_true(last.count > 0);
  for (size_t i = 0; i < last.count; i++) {
    assert_int_equal(last.addrs[i].port, 443);
  }
}

static void an_unknown_name_is_told(void **state) {
  (void)state;
  km_resolve *r;
  look_up(&r, "no-such-host.invalid");
  wait_for(1);
  assert_int_not_equal(last.status, 0);
  assert_int_equal(last.count, 0);
}

static void sixteen_addresses_are_kept(void **state) {
  (void)state;
  km_resolve *r;
  static struct addrinfo list[MANY];
  static struct sockaddr_storage addrs[MANY];
  for (size_t i = 0; i < MANY; i++) {
    const km_udp_addr addr = {.family = 4, .ip = {192, 0, 2, (uint8_t)i}, .port = 443};
    list[i] = (struct addrinfo){.ai_addr = (struct sockaddr *)&addrs[i],
                                .ai_addrlen = km_udp_addr_to_sockaddr(&addr, &addrs[i]),
                                .ai_next = i + 1 < MANY ? &list[i + 1] : NULL};
  }
  made_up = list;
  look_up(&r, "many.example");
  wait_for(1);
  assert_int_equal(last.count, KM_RELAY_MAX_ADDRESSES);
  assert_int_equal(last.addrs[KM_RELAY_MAX_ADDRESSES - 1].ip[3], KM_RELAY_MAX_ADDRESSES - 1);
}

/* A silent name server holds threads; nobody waits for them, and there are not ever more. */
static void threads_are_bounded(void **state) {
  (void)state;
  km_resolve *r[MAX_THREADS], *more;
  (void)pthread_mutex_lock(&gate);
  for (size_t i = 0; i < MAX_THREADS; i++) {
    assert_int_equal(look_up_when_free(&r[i]), 0);
  }
  assert_int_equal(km_resolve_new(&more, &km_env_system, loop, "localhost", 443, on_result, &more),
                   KM_ERR_LIMIT);
  for (size_t i = 0; i < MAX_THREADS / 2; i++) {
    km_resolve_free(r[i]); /* given up; its thread is still at it */
  }
  assert_int_equal(km_resolve_new(&more, &km_env_system, loop, "localhost", 443, on_result, &more),
                   KM_ERR_LIMIT);
  (void)pthread_mutex_unlock(&gate);
  wait_for(MAX_THREADS / 2);
  assert_int_equal(look_up_when_free(&more), 0);
  wait_for(MAX_THREADS / 2 + 1);
}

/* The loop does not wait for a thread that nobody needs. */
static void a_loop_ends_before_its_look_up(void **state) {
  (void)state;
  km_resolve *r;
  (void)pthread_mutex_lock(&gate);
  look_up(&r, "localhost");
  km_resolve_free(r);
  assert_int_equal(km_loop_free(loop), 0);
  (void)pthread_mutex_unlock(&gate);
  assert_int_equal(km_loop_new(&loop), 0);
}

static void want_of_memory_is_told(void **state) {
  (void)state;
  test_env t;
  km_resolve *r;
  test_env_init(&t);
  t.fail_after = 0;
  assert_int_equal(km_resolve_new(&r, &t.env, loop, "localhost", 443, on_result, &r), KM_ERR_NOMEM);
  assert_int_equal(t.live, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_name_has_addresses, setup, teardown),
      cmocka_unit_test_setup_teardown(an_unknown_name_is_told, setup, teardown),
      cmocka_unit_test_setup_teardown(sixteen_addresses_are_kept, setup, teardown),
      cmocka_unit_test_setup_teardown(threads_are_bounded, setup, teardown),
      cmocka_unit_test_setup_teardown(a_loop_ends_before_its_look_up, setup, teardown),
      cmocka_unit_test_setup_teardown(want_of_memory_is_told, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
