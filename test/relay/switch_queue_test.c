/* What waits for one client, and what waits for all of them. */
#include "relay/switch_queue.h"
#include "test/base/test_env.h"

static test_env env;
static km_switch_pool pool;
static uint8_t data[KM_RELAY_MAX_MESSAGE];

static int setup(void **state) {
  (void)state;
  test_env_init(&env);
  for (size_t i = 0; i < sizeof data; i++) {
    data[i] = (uint8_t)(i * 7 + i / 253);
  }
  km_switch_pool_init(&pool, &env.env, 64 << 20);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  assert_int_equal(pool.bytes, 0);
  km_switch_pool_clear(&pool);
  assert_int_equal(env.live, 0);
  return 0;
}

static bool add(km_switch_queue *q, bool datagram, size_t len) {
  size_t head = len < 34 ? len : 34;
  return km_switch_queue_add(q, &pool, datagram, data, head, data + head, len - head);
}

/* Takes all that is queued, as a client reads it; returns the number of messages. */
static unsigned drain(km_switch_queue *q, size_t expected_len) {
  unsigned count = 0;
  uint8_t *at;
  size_t left;
  while ((at = km_switch_queue_first(q, &left)) != NULL) {
    assert_true(left > 0);
    while (left > 0) {
      assert_true(left >= 2);
      assert_int_equal(at[0], 0x82);
      assert_int_equal(at[1] & 0x80, 0); /* not masked */
      size_t len = at[1], header = 2;
      if (len == 126) {
        len = (size_t)at[2] << 8 | at[3];
        header = 4;
        assert_true(len >= 126); /* RFC 6455 section 5.2: the shortest form */
      } else if (len == 127) {
        len = 0;
        for (int i = 0; i < 8; i++) {
          len = len << 8 | at[2 + i];
        }
        header = 10;
        assert_true(len >= 65536);
      }
      assert_int_equal(len, expected_len);
      assert_true(left >= header + len);
      assert_memory_equal(at + header, data, len);
      at += header + len;
      left -= header + len;
      count++;
    }
    km_switch_queue_pop(q, &pool);
  }
  assert_int_equal(left, 0);
  assert_true(km_switch_queue_empty(q));
  assert_int_equal(q->datagrams, 0);
  assert_int_equal(q->others, 0);
  assert_int_equal(q->bytes, 0);
  return count;
}

static void messages_of_all_lengths_are_framed(void **state) {
  (void)state;
  static const size_t lengths[] = {1,     2,     34,    125,   126,   127,   200,
                                   246,   247,   256,   257,   1234,  8000,  16374,
                                   16375, 16384, 16385, 40000, 65535, 65536, 65537};
  for (size_t i = 0; i < COUNT_OF(lengths); i++) {
    km_switch_queue q = {0};
    for (int n = 0; n < 5; n++) {
      assert_true(add(&q, n % 2 == 0, lengths[i]));
    }
    assert_int_equal(q.datagrams, 3);
    assert_int_equal(q.others, 2);
    assert_int_equal(drain(&q, lengths[i]), 5);
  }
}

static void an_empty_queue_has_nothing(void **state) {
  (void)state;
  km_switch_queue q = {0};
  assert_int_equal(drain(&q, 0), 0);
  km_switch_queue_clear(&q, &pool);
}

static void datagrams_and_others_are_counted_apart(void **state) {
  (void)state;
  km_switch_queue q = {0};
  for (int i = 0; i < KM_SWITCH_DATAGRAMS; i++) {
    assert_true(add(&q, true, 1200));
  }
  assert_false(add(&q, true, 1200));
  for (int i = 0; i < KM_SWITCH_OTHERS; i++) {
    assert_true(add(&q, false, 1200));
  }
  assert_false(add(&q, false, 1));
  assert_false(add(&q, true, 1));
  /* What is written makes room, a block at a time. */
  size_t len;
  assert_non_null(km_switch_queue_first(&q, &len));
  km_switch_queue_pop(&q, &pool);
  unsigned room = KM_SWITCH_DATAGRAMS - q.datagrams;
  assert_in_range(room, 1, KM_SWITCH_BLOCK / 1200);
  while (room-- > 0) {
    assert_true(add(&q, true, 1200));
  }
  assert_false(add(&q, true, 1200));
  km_switch_queue_clear(&q, &pool);
  assert_true(km_switch_queue_empty(&q));
}

static void a_single_ping_takes_a_small_block(void **state) {
  (void)state;
  km_switch_queue q = {0};
  assert_true(add(&q, false, 9));
  assert_int_equal(pool.bytes, KM_SWITCH_SMALL);
  assert_true(add(&q, false, 9)); /* into the same */
  assert_int_equal(pool.bytes, KM_SWITCH_SMALL);
  assert_true(add(&q, false, 240)); /* does not fit any more */
  assert_int_equal(pool.bytes, KM_SWITCH_SMALL + KM_SWITCH_BLOCK);
  km_switch_queue_clear(&q, &pool);
}

static void a_long_message_has_a_block_of_its_own(void **state) {
  (void)state;
  km_switch_queue q = {0};
  assert_true(add(&q, true, 65537));
  assert_int_equal(pool.bytes, 65537 + 10);
  assert_true(add(&q, true, 65537));
  assert_int_equal(drain(&q, 65537), 2);
  assert_int_equal(env.live, 0); /* those are not kept */
}

/* A client may have a quarter of what is left, and everybody one block while there is any. */
static void the_pool_is_shared_fairly(void **state) {
  (void)state;
  km_switch_queue greedy = {0}, modest = {0}, late = {0};
  pool.max_bytes = 40 * KM_SWITCH_BLOCK;
  unsigned taken = 0;
  while (add(&greedy, true, 16000)) {
    taken++;
  }
  assert_int_equal(taken, 8); /* a ninth is more than a quarter of the 32 that are left */
  assert_true(add(&modest, true, 16000));
  for (unsigned i = 0; i < 3; i++) {
    assert_true(add(&modest, true, 16000));
  }
  pool.max_bytes = pool.bytes + 100;
  assert_false(add(&late, false, 9));
  pool.max_bytes = pool.bytes + KM_SWITCH_SMALL;
  assert_true(add(&late, false, 9));
  assert_false(add(&late, true, 1200));
  km_switch_queue_clear(&greedy, &pool);
  km_switch_queue_clear(&modest, &pool);
  km_switch_queue_clear(&late, &pool);
}

static void what_is_held_counts_too(void **state) {
  (void)state;
  km_switch_queue q = {0};
  pool.max_bytes = KM_SWITCH_BLOCK;
  assert_true(add(&q, true, 16000));
  km_switch_queue_pop(&q, &pool);
  km_switch_pool_hold(&pool, 16000);
  assert_int_equal(pool.bytes, 16000);
  assert_false(add(&q, true, 1200));
  assert_true(add(&q, false, 9));
  km_switch_queue_clear(&q, &pool);
  km_switch_pool_let_go(&pool, 16000);
  assert_true(add(&q, true, 16000));
  km_switch_queue_clear(&q, &pool);
}

static void spare_blocks_are_bounded(void **state) {
  (void)state;
  enum { MANY = KM_SWITCH_POOL_MAX + 50 };
  static km_switch_queue q[MANY];
  for (int round = 0; round < 2; round++) {
    for (size_t len = 9; len <= 9000; len += 8991) { /* of both kinds */
      for (int i = 0; i < MANY; i++) {
        assert_true(add(&q[i], true, len));
      }
      for (int i = 0; i < MANY; i++) {
        km_switch_queue_clear(&q[i], &pool);
      }
    }
    assert_int_equal(env.live, 2 * KM_SWITCH_POOL_MAX);
  }
  env.fail_after = 0; /* a spare one needs no memory */
  for (int i = 0; i < KM_SWITCH_POOL_MAX; i++) {
    assert_true(add(&q[i], true, 9000));
  }
  assert_false(add(&q[KM_SWITCH_POOL_MAX], true, 9000));
  assert_false(add(&q[0], true, 9000)); /* no second one either, and the first one stays */
  for (int i = 0; i < KM_SWITCH_POOL_MAX; i++) {
    assert_int_equal(drain(&q[i], 9000), 1);
  }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(messages_of_all_lengths_are_framed),
      TEST(an_empty_queue_has_nothing),
      TEST(datagrams_and_others_are_counted_apart),
      TEST(a_single_ping_takes_a_small_block),
      TEST(a_long_message_has_a_block_of_its_own),
      TEST(the_pool_is_shared_fairly),
      TEST(what_is_held_counts_too),
      TEST(spare_blocks_are_bounded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
