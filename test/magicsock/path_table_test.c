#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "magicsock/mapped_addr.h"
#include "magicsock/path_table.h"

static const km_env *const env = &km_env_system;

static km_path_key direct(uint8_t last_octet, uint16_t port) {
  km_path_key key;
  memset(&key, 0, sizeof key);
  key.way = KM_WAY_DIRECT;
  key.remote = (km_udp_addr){.family = 4, .port = port, .ip = {192, 0, 2, last_octet}};
  return key;
}

static km_path_key relayed(uint16_t relay, uint8_t id_byte) {
  km_path_key key;
  memset(&key, 0, sizeof key);
  key.way = KM_WAY_RELAY;
  key.relay = relay;
  key.peer.bytes[31] = id_byte;
  key.remote = km_mapped_udp_addr(KM_MAPPED_RELAY, (uint64_t)relay << 8 | id_byte);
  return key;
}

static km_path *make(km_path_table *t, km_path_key key) {
  km_path *path = NULL;
  assert_int_equal(km_path_table_make(t, &key, &path), 0);
  return path;
}

static void drop(km_path_table *t, km_path *path) {
  km_path_table_remove(t, path);
  km_env_free(env, path);
}

static km_path_table *table(size_t max) {
  km_path_table *t = NULL;
  assert_int_equal(km_path_table_new(&t, env, max), 0);
  return t;
}

/* Mapped addresses */

static void mapped_addresses_are_iroh_s(void **state) {
  (void)state;
  km_sockaddr addr;
  km_mapped_addr_set(&addr, KM_MAPPED_RELAY, UINT64_C(0x0102030405060708));
  static const uint8_t want[16] = {0xfd, 0x15, 0x07, 0x0a, 0x51, 0x0b, 0, 1,
                                   1,    2,    3,    4,    5,    6,    7, 8};
  assert_int_equal(addr.in6.sin6_family, AF_INET6);
  assert_int_equal(ntohs(addr.in6.sin6_port), 12345);
  assert_memory_equal(&addr.in6.sin6_addr, want, 16);
  uint16_t subnet = 9;
  uint64_t number = 9;
  assert_true(km_mapped_addr_get(&addr.sa, sizeof addr.in6, &subnet, &number));
  assert_int_equal(subnet, KM_MAPPED_RELAY);
  assert_true(number == UINT64_C(0x0102030405060708));
  assert_true(km_mapped_addr_get(&addr.sa, sizeof addr.in6, NULL, NULL));
}

static void other_addresses_are_not_mapped(void **state) {
  (void)state;
  km_sockaddr addr;
  km_mapped_addr_set(&addr, KM_MAPPED_LOCAL, 5);
  assert_int_equal(km_path_index_of(&addr.sa, sizeof addr.in6), 5);
  assert_int_equal(km_path_index_of(&addr.sa, sizeof addr.in), 0); /* cut off */
  km_sockaddr changed = addr;
  changed.in6.sin6_port = htons(4433);
  assert_int_equal(km_path_index_of(&changed.sa, sizeof changed.in6), 0);
  changed = addr;
  changed.in6.sin6_addr.s6_addr[5] ^= 1;
  assert_int_equal(km_path_index_of(&changed.sa, sizeof changed.in6), 0);
  km_mapped_addr_set(&changed, KM_MAPPED_MIXED, 5);
  assert_int_equal(km_path_index_of(&changed.sa, sizeof changed.in6), 0); /* no local address */
  km_mapped_addr_set(&changed, KM_MAPPED_LOCAL, (uint64_t)1 << 32);
  assert_int_equal(km_path_index_of(&changed.sa, sizeof changed.in6), 0);
  memset(&changed, 0, sizeof changed);
  changed.in.sin_family = AF_INET;
  assert_int_equal(km_path_index_of(&changed.sa, sizeof changed.in6), 0);

  km_udp_addr ours = {.family = 6, .port = 1, .ip = {0xfd, 0x15, 0x07, 0x0a, 0x51, 0x0b, 7, 7}};
  assert_true(km_mapped_addr_is(&ours)); /* any port, any subnet */
  ours.ip[0] = 0xfc;
  assert_false(km_mapped_addr_is(&ours));
}

/* Keys */

static void a_key_matches_by_everything_that_names_a_path(void **state) {
  (void)state;
  const km_path_key base = direct(1, 4433);
  assert_true(km_path_key_matches(&base, &base));
  km_path_key k = base;
  k.remote.port++;
  assert_false(km_path_key_matches(&base, &k));
  k = base;
  k.remote.ip[3]++;
  assert_false(km_path_key_matches(&base, &k));
  k = base;
  k.socket = 1;
  assert_false(km_path_key_matches(&base, &k));
  k = base;
  k.socket_generation = 1;
  assert_false(km_path_key_matches(&base, &k));
  k = base;
  k.way = KM_WAY_RELAY;
  assert_false(km_path_key_matches(&base, &k));

  km_path_key relay = relayed(1, 2), other_relay = relayed(2, 2), other_peer = relayed(1, 3);
  assert_true(km_path_key_matches(&relay, &relay));
  assert_false(km_path_key_matches(&relay, &other_relay));
  assert_false(km_path_key_matches(&relay, &other_peer));
  km_path_key mixed;
  memset(&mixed, 0, sizeof mixed);
  mixed.way = KM_WAY_MIXED;
  assert_false(km_path_key_matches(&mixed, &mixed)); /* names no path */
}

static void an_unset_local_ip_matches_every_one(void **state) {
  (void)state;
  km_path_key open = direct(1, 4433), one = open, two = open;
  one.local_ip[3] = 1;
  two.local_ip[3] = 2;
  assert_true(km_path_key_matches(&open, &one));
  assert_true(km_path_key_matches(&one, &open));
  assert_false(km_path_key_matches(&one, &two));

  km_path_table *t = table(8);
  km_path *p_open = make(t, open);
  assert_ptr_equal(km_path_table_find(t, &one), p_open); /* dialled, then answered */
  km_path *p_one = make(t, one);
  assert_ptr_equal(km_path_table_find(t, &one), p_one); /* the exact one goes first */
  assert_ptr_equal(km_path_table_find(t, &two), p_open);
  assert_ptr_equal(km_path_table_find(t, &open), p_open);
  drop(t, p_open);
  assert_null(km_path_table_find(t, &two));
  assert_ptr_equal(km_path_table_find(t, &open), p_one);
  drop(t, p_one);
  km_path_table_del(t);
}

/* The table */

static void paths_are_found_by_key_and_index(void **state) {
  (void)state;
  km_path_table *t = table(8);
  km_path *d = make(t, direct(1, 4433)), *r = make(t, relayed(0, 1));
  assert_int_equal(km_path_table_count(t), 2);
  km_path_key key = direct(1, 4433);
  assert_ptr_equal(km_path_table_find(t, &key), d);
  key = relayed(0, 1);
  assert_ptr_equal(km_path_table_find(t, &key), r);
  key = direct(2, 4433);
  assert_null(km_path_table_find(t, &key));
  assert_ptr_equal(km_path_table_at(t, d->index), d);
  assert_ptr_equal(km_path_table_at(t, r->index), r);
  assert_null(km_path_table_at(t, 0));
  assert_null(km_path_table_at(t, r->index + 1));
  assert_null(km_path_table_at(t, UINT32_MAX));
  assert_int_equal(d->refs, 1);
  drop(t, d);
  drop(t, r);
  km_path_table_del(t);
}

static void quic_sees_addresses_that_tell_paths_apart(void **state) {
  (void)state;
  km_path_table *t = table(8);
  km_path_key key = direct(1, 4433);
  km_path *v4 = make(t, key);
  key.remote = (km_udp_addr){.family = 6, .port = 5, .scope_id = 3, .ip = {0xfe, 0x80, [15] = 1}};
  km_path *v6 = make(t, key), *r = make(t, relayed(0, 1));
  assert_int_equal(v4->remote_len, sizeof(struct sockaddr_in));
  assert_int_equal(v4->remote.in.sin_family, AF_INET);
  assert_int_equal(ntohs(v4->remote.in.sin_port), 4433);
  assert_memory_equal(&v4->remote.in.sin_addr, v4->key.remote.ip, 4);
  assert_int_equal(v6->remote_len, sizeof(struct sockaddr_in6));
  assert_int_equal(v6->remote.in6.sin6_scope_id, 3);
  assert_memory_equal(&v6->remote.in6.sin6_addr, key.remote.ip, 16);
  uint16_t subnet;
  uint64_t number;
  assert_true(km_mapped_addr_get(&r->remote.sa, r->remote_len, &subnet, &number));
  assert_int_equal(subnet, KM_MAPPED_RELAY);
  assert_int_equal(number, 1);
  assert_int_equal(km_path_index_of(&v4->local.sa, KM_PATH_LOCAL_LEN), v4->index);
  assert_int_equal(km_path_index_of(&v6->local.sa, KM_PATH_LOCAL_LEN), v6->index);
  assert_int_equal(km_path_index_of(&r->local.sa, KM_PATH_LOCAL_LEN), r->index);
  assert_int_not_equal(v4->index, v6->index);
  drop(t, v4);
  drop(t, v6);
  drop(t, r);
  km_path_table_del(t);
}

static void the_limit_counts_the_living(void **state) {
  (void)state;
  km_path_table *t = NULL;
  assert_int_equal(km_path_table_new(&t, env, 0), KM_ERR_INVALID);
  assert_int_equal(km_path_table_new(&t, env, KM_PATH_TABLE_MAX + 1), KM_ERR_INVALID);
  t = table(2);
  km_path *a = make(t, direct(1, 1)), *b = make(t, direct(1, 2)), *c = NULL;
  km_path_key key = direct(1, 3);
  assert_int_equal(km_path_table_make(t, &key, &c), KM_ERR_LIMIT);
  assert_null(c);
  drop(t, a);
  assert_int_equal(km_path_table_make(t, &key, &c), 0);
  drop(t, b);
  drop(t, c);
  assert_int_equal(km_path_table_count(t), 0);
  km_path_table_del(t);
}

static void an_index_is_not_soon_given_again(void **state) {
  (void)state;
  km_path_table *t = table(1); /* the worst case: one place */
  uint32_t seen[4000];
  for (size_t i = 0; i < 4000; i++) {
    km_path *p = make(t, direct(1, 1));
    seen[i] = p->index;
    assert_int_not_equal(p->index, 0);
    assert_ptr_equal(km_path_table_at(t, p->index), p);
    if (i > 0) {
      assert_null(km_path_table_at(t, seen[i - 1]));
    }
    drop(t, p);
  }
  for (size_t i = 1; i < 4000; i++) {
    assert_int_not_equal(seen[i], seen[0]);
    assert_int_not_equal(seen[i], seen[i - 1]);
  }
  km_path_table_del(t);
}

/* Against a plain array: what is in the table is found, what is out of it is not. */
static void a_thousand_paths_come_and_go(void **state) {
  (void)state;
  enum { KEYS = 1000, STEPS = 20000 };
  km_path_table *t = table(KEYS);
  km_path *living[KEYS] = {0};
  size_t count = 0;
  uint32_t x = 1;
  for (int step = 0; step < STEPS; step++) {
    x = x * 1664525 + 1013904223;
    size_t k = (x >> 8) % KEYS;
    km_path_key key = k % 3 == 0 ? relayed((uint16_t)k, 1) : direct((uint8_t)k, (uint16_t)(k + 1));
    assert_ptr_equal(km_path_table_find(t, &key), living[k]);
    if (living[k] == NULL) {
      living[k] = make(t, key);
      count++;
    } else {
      drop(t, living[k]);
      living[k] = NULL;
      count--;
    }
    assert_int_equal(km_path_table_count(t), count);
  }
  for (size_t k = 0; k < KEYS; k++) {
    if (living[k] != NULL) {
      assert_ptr_equal(km_path_table_at(t, living[k]->index), living[k]);
      drop(t, living[k]);
    }
  }
  km_path_table_del(t);
}

/* Out of memory */

typedef struct oom {
  size_t calls, fail_at;
} oom;

static void *oom_alloc(void *ctx, size_t size) {
  oom *o = ctx;
  return ++o->calls == o->fail_at ? NULL : malloc(size);
}

static void *oom_realloc(void *ctx, void *ptr, size_t size) {
  oom *o = ctx;
  return ++o->calls == o->fail_at ? NULL : realloc(ptr, size);
}

static void oom_free(void *ctx, void *ptr) {
  (void)ctx;
  free(ptr);
}

static void oom_random(void *ctx, void *buf, size_t len) {
  (void)ctx;
  memset(buf, 7, len);
}

static void failed_allocations_leave_the_table_whole(void **state) {
  (void)state;
  for (size_t fail_at = 1;; fail_at++) {
    oom o = {.fail_at = fail_at};
    const km_env failing = {.ctx = &o,
                            .alloc = oom_alloc,
                            .realloc = oom_realloc,
                            .free = oom_free,
                            .random = oom_random};
    km_path_table *t;
    if (km_path_table_new(&t, &failing, 100) != 0) {
      continue;
    }
    km_path *paths[100] = {0};
    size_t made = 0;
    for (uint16_t i = 0; i < 100; i++) {
      km_path_key key = direct(1, (uint16_t)(i + 1));
      int rv = km_path_table_make(t, &key, &paths[i]);
      assert_true(rv == 0 || rv == KM_ERR_NOMEM);
      made += rv == 0;
      assert_ptr_equal(km_path_table_find(t, &key), paths[i]);
    }
    assert_int_equal(km_path_table_count(t), made);
    assert_true(made >= 99);
    for (size_t i = 0; i < 100; i++) {
      if (paths[i] != NULL) {
        km_path_table_remove(t, paths[i]);
        free(paths[i]);
      }
    }
    km_path_table_del(t);
    if (o.calls < fail_at) {
      assert_int_equal(made, 100);
      return;
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(mapped_addresses_are_iroh_s),
      cmocka_unit_test(other_addresses_are_not_mapped),
      cmocka_unit_test(a_key_matches_by_everything_that_names_a_path),
      cmocka_unit_test(an_unset_local_ip_matches_every_one),
      cmocka_unit_test(paths_are_found_by_key_and_index),
      cmocka_unit_test(quic_sees_addresses_that_tell_paths_apart),
      cmocka_unit_test(the_limit_counts_the_living),
      cmocka_unit_test(an_index_is_not_soon_given_again),
      cmocka_unit_test(a_thousand_paths_come_and_go),
      cmocka_unit_test(failed_allocations_leave_the_table_whole),
  };
  return cmocka_run_group_tests_name("path table", tests, NULL, NULL);
}
