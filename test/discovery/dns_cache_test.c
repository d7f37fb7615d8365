/* Answers of name servers that are kept for a while, by a clock of ours. */
#include "discovery/dns_cache.h"

#include "test/base/test_env.h"

#define S KM_NS_PER_S
#define START (1000 * S)

static test_env t;
static km_dns_cache cache;

static int setup(void **state) {
  (void)state;
  test_env_init(&t);
  km_dns_cache_init(&cache, &t.env);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  km_dns_cache_clear(&cache);
  assert_int_equal(t.live, 0);
  return 0;
}

static void put(const char *name, const char *bytes, uint32_t ttl_s, km_ts now) {
  km_dns_cache_put(&cache, name, (const uint8_t *)bytes, bytes != NULL ? strlen(bytes) : 0, ttl_s,
                   now);
}

static void answers_live_as_long_as_they_say(void **state) {
  (void)state;
  assert_null(km_dns_cache_get(&cache, "a.test", START));
  put("a.test", "one", 30, START);
  const km_dns_cached *e = km_dns_cache_get(&cache, "a.test", START + 30 * S - 1);
  assert_non_null(e);
  assert_int_equal(e->len, 3);
  assert_memory_equal(e->bytes, "one", 3);
  assert_int_equal(e->since, START);
  assert_null(km_dns_cache_get(&cache, "b.test", START));
  assert_null(km_dns_cache_get(&cache, "a.test", START + 30 * S));
  assert_int_equal(cache.count, 0);
}

static void lives_have_a_limit(void **state) {
  (void)state;
  put("long.test", "x", 86400, START);
  put("absent.test", NULL, 86400, START);
  assert_non_null(km_dns_cache_get(&cache, "long.test", START + 300 * S - 1));
  assert_null(km_dns_cache_get(&cache, "long.test", START + 300 * S));
  const km_dns_cached *e = km_dns_cache_get(&cache, "absent.test", START + 10 * S - 1);
  assert_non_null(e);
  assert_null(e->bytes);
  assert_null(km_dns_cache_get(&cache, "absent.test", START + 10 * S));
}

static void nothing_does_not_replace_what_lives(void **state) {
  (void)state;
  put("a.test", "one", 30, START);
  put("a.test", NULL, 10, START + 1 * S);
  const km_dns_cached *e = km_dns_cache_get(&cache, "a.test", START + 30 * S - 1);
  assert_non_null(e);
  assert_memory_equal(e->bytes, "one", 3);
  put("a.test", NULL, 10, START + 30 * S); /* it died */
  e = km_dns_cache_get(&cache, "a.test", START + 31 * S);
  assert_non_null(e);
  assert_null(e->bytes);
}

static void what_must_not_be_kept_replaces_what_was(void **state) {
  (void)state;
  static uint8_t big[KM_DNS_CACHE_BYTES + 1];
  put("a.test", "one", 30, START);
  put("a.test", "two", 30, START + S);
  assert_memory_equal(km_dns_cache_get(&cache, "a.test", START + S)->bytes, "two", 3);
  assert_int_equal(cache.count, 1);
  put("a.test", "three", 0, START + S);
  assert_null(km_dns_cache_get(&cache, "a.test", START + S));
  km_dns_cache_put(&cache, "big.test", big, sizeof big - 1, 30, START);
  assert_non_null(km_dns_cache_get(&cache, "big.test", START));
  km_dns_cache_put(&cache, "big.test", big, sizeof big, 30, START);
  assert_null(km_dns_cache_get(&cache, "big.test", START));
}

static void the_least_recently_used_makes_room(void **state) {
  (void)state;
  char name[32];
  for (unsigned i = 0; i < KM_DNS_CACHE_ENTRIES; i++) {
    (void)snprintf(name, sizeof name, "%u.test", i);
    put(name, "x", 30, START);
  }
  assert_non_null(km_dns_cache_get(&cache, "0.test", START));
  put("new.test", "x", 30, START);
  assert_int_equal(cache.count, KM_DNS_CACHE_ENTRIES);
  assert_non_null(km_dns_cache_get(&cache, "0.test", START));
  assert_null(km_dns_cache_get(&cache, "1.test", START));
  assert_non_null(km_dns_cache_get(&cache, "2.test", START));
  assert_non_null(km_dns_cache_get(&cache, "new.test", START));
}

static void without_memory_nothing_is_kept(void **state) {
  (void)state;
  for (long after = 0; after < 3; after++) {
    t.fail_after = after;
    put("a.test", "one", 30, START);
    assert_null(km_dns_cache_get(&cache, "a.test", START));
    assert_int_equal(t.live, 0);
  }
  t.fail_after = 3;
  put("a.test", "one", 30, START);
  assert_non_null(km_dns_cache_get(&cache, "a.test", START));
  t.fail_after = -1;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(answers_live_as_long_as_they_say, setup, teardown),
      cmocka_unit_test_setup_teardown(lives_have_a_limit, setup, teardown),
      cmocka_unit_test_setup_teardown(nothing_does_not_replace_what_lives, setup, teardown),
      cmocka_unit_test_setup_teardown(what_must_not_be_kept_replaces_what_was, setup, teardown),
      cmocka_unit_test_setup_teardown(the_least_recently_used_makes_room, setup, teardown),
      cmocka_unit_test_setup_teardown(without_memory_nothing_is_kept, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
