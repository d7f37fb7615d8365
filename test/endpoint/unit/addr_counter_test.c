/* endpoint/addr_counter.c: half-open handshakes a source. */
#include "test_env.h"

#include <sodium.h>

#include "base/addr_counter.h"

static int start_sodium(void **state) {
  (void)state;
  return sodium_init() < 0 ? -1 : 0;
}

static km_udp_addr v4(uint32_t ip, uint16_t port) {
  km_udp_addr a = {.family = 4, .port = port};
  a.ip[0] = (uint8_t)(ip >> 24);
  a.ip[1] = (uint8_t)(ip >> 16);
  a.ip[2] = (uint8_t)(ip >> 8);
  a.ip[3] = (uint8_t)ip;
  return a;
}

static km_udp_addr v6(uint8_t prefix_end, uint8_t host_end) {
  km_udp_addr a = {.family = 6, .port = 1};
  a.ip[0] = 0x26;
  a.ip[7] = prefix_end;
  a.ip[15] = host_end;
  return a;
}

static void empty_counter_counts_nothing(void **state) {
  (void)state;
  test_env t;
  km_addr_counter c;
  km_udp_addr a = v4(0x7f000001, 1);
  test_env_init(&t, 1);
  km_addr_counter_init(&c, &t.env);
  assert_int_equal(km_addr_counter_get(&c, &a), 0);
  km_addr_counter_remove(&c, &a);
  km_addr_counter_clear(&c);
  assert_int_equal(t.live, 0);
}

/* An attacker picks ports at will, and owns a whole /64: neither may multiply its share. */
static void ports_and_host_bits_count_together(void **state) {
  (void)state;
  test_env t;
  km_addr_counter c;
  test_env_init(&t, 1);
  km_addr_counter_init(&c, &t.env);
  km_udp_addr a = v4(0x7f000001, 1), a2 = v4(0x7f000001, 2), b = v4(0x7f000002, 1);
  km_udp_addr p = v6(1, 1), p2 = v6(1, 2), q = v6(2, 1);
  assert_int_equal(km_addr_counter_add(&c, &a), 0);
  assert_int_equal(km_addr_counter_add(&c, &a2), 0);
  assert_int_equal(km_addr_counter_add(&c, &p), 0);
  assert_int_equal(km_addr_counter_add(&c, &p2), 0);
  assert_int_equal(km_addr_counter_get(&c, &a), 2);
  assert_int_equal(km_addr_counter_get(&c, &b), 0);
  assert_int_equal(km_addr_counter_get(&c, &p), 2);
  assert_int_equal(km_addr_counter_get(&c, &q), 0);
  km_addr_counter_remove(&c, &a2);
  km_addr_counter_remove(&c, &b); /* unknown */
  assert_int_equal(km_addr_counter_get(&c, &a), 1);
  km_addr_counter_remove(&c, &a);
  km_addr_counter_remove(&c, &a); /* once too often */
  assert_int_equal(km_addr_counter_get(&c, &a), 0);
  assert_int_equal(km_addr_counter_get(&c, &p), 2);
  assert_int_equal(c.used, 1);
  km_addr_counter_clear(&c);
  assert_int_equal(t.live, 0);
}

/* :: has an all-zero prefix, the value of a free slot. */
static void zero_prefix_is_a_source_like_others(void **state) {
  (void)state;
  test_env t;
  km_addr_counter c;
  km_udp_addr zero = {.family = 6, .port = 1};
  test_env_init(&t, 1);
  km_addr_counter_init(&c, &t.env);
  assert_int_equal(km_addr_counter_add(&c, &zero), 0);
  assert_int_equal(km_addr_counter_get(&c, &zero), 1);
  km_addr_counter_remove(&c, &zero);
  assert_int_equal(km_addr_counter_get(&c, &zero), 0);
  assert_int_equal(c.used, 0);
  km_addr_counter_clear(&c);
}

static void lack_of_memory_changes_nothing(void **state) {
  (void)state;
  test_env t;
  km_addr_counter c;
  test_env_init(&t, 1);
  km_addr_counter_init(&c, &t.env);
  km_udp_addr a = v4(1, 1);
  t.fail_after = 0;
  assert_int_equal(km_addr_counter_add(&c, &a), KM_ERR_NOMEM);
  assert_int_equal(km_addr_counter_get(&c, &a), 0);
  t.fail_after = 1;
  uint32_t n = 0;
  for (;; n++) {
    a = v4(n, 1);
    if (km_addr_counter_add(&c, &a) != 0) {
      break;
    }
  }
  assert_int_equal(n, 32);
  for (uint32_t i = 0; i < n; i++) {
    a = v4(i, 1);
    assert_int_equal(km_addr_counter_get(&c, &a), 1);
  }
  km_addr_counter_clear(&c);
  assert_int_equal(t.live, 0);
}

enum { SOURCES = 500, STEPS = 60000 };

static void behaves_like_an_array(void **state) {
  (void)state;
  test_env t;
  test_rng rng = {.state = 3};
  km_addr_counter c;
  static uint32_t counts[SOURCES];
  test_env_init(&t, 8);
  km_addr_counter_init(&c, &t.env);
  for (int step = 0; step < STEPS; step++) {
    uint32_t i = (uint32_t)test_rng_below(&rng, SOURCES);
    km_udp_addr a =
        i % 2 == 0 ? v4(0x0a000000 + i, (uint16_t)step) : v6((uint8_t)(i / 2), (uint8_t)step);
    size_t adds = step < STEPS / 2 ? 6 : 3;
    if (test_rng_below(&rng, 10) < adds) {
      assert_int_equal(km_addr_counter_add(&c, &a), 0);
      counts[i]++;
    } else {
      km_addr_counter_remove(&c, &a);
      counts[i] -= counts[i] > 0;
    }
    if (step % 100 == 0) {
      size_t used = 0;
      for (uint32_t k = 0; k < SOURCES; k++) {
        a = k % 2 == 0 ? v4(0x0a000000 + k, 9) : v6((uint8_t)(k / 2), 9);
        assert_int_equal(km_addr_counter_get(&c, &a), counts[k]);
        used += counts[k] > 0;
      }
      assert_int_equal(c.used, used);
    }
  }
  km_addr_counter_clear(&c);
  assert_int_equal(t.live, 0);
}

/* One customer has a /56 at least, and 256 networks in it. */
static void shorter_networks_count_together(void **state) {
  (void)state;
  test_env t;
  km_addr_counter c;
  test_env_init(&t, 1);
  km_addr_counter_init_net(&c, &t.env, 7);
  km_udp_addr other = v6(0, 1);
  other.ip[6] = 1;
  for (int i = 0; i < 256; i++) {
    km_udp_addr a = v6((uint8_t)i, 1);
    assert_int_equal(km_addr_counter_add(&c, &a), 0);
    assert_int_equal(km_addr_counter_get(&c, &a), i + 1);
  }
  assert_int_equal(km_addr_counter_get(&c, &other), 0);
  for (int i = 0; i < 256; i++) {
    km_udp_addr a = v6((uint8_t)i, 2);
    km_addr_counter_remove(&c, &a);
  }
  assert_int_equal(c.used, 0);
  km_addr_counter_clear(&c);
  assert_int_equal(t.live, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(empty_counter_counts_nothing),
      cmocka_unit_test(ports_and_host_bits_count_together),
      cmocka_unit_test(zero_prefix_is_a_source_like_others),
      cmocka_unit_test(lack_of_memory_changes_nothing),
      cmocka_unit_test(behaves_like_an_array),
      cmocka_unit_test(shorter_networks_count_together),
  };
  return cmocka_run_group_tests(tests, start_sodium, NULL);
}
