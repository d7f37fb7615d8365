/* When packets are published, by a clock of ours. */
#include "discovery/pkarr_publisher.h"

#include "test/base/test_env.h"

#define MS KM_NS_PER_MS
#define S KM_NS_PER_S
#define START (1000 * S)
#define INTERVAL (300 * S)

static uint64_t seed;
static km_env env;
static km_pkarr_publisher p;

static void draw(void *ctx, void *buf, size_t len) {
  (void)ctx;
  for (size_t i = 0; i < len; i++) {
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    ((uint8_t *)buf)[i] = (uint8_t)(seed >> 56);
  }
}

static int setup(void **state) {
  (void)state;
  seed = 1;
  env = (km_env){.random = draw};
  km_pkarr_publisher_init(&p, &env, INTERVAL, false);
  return 0;
}

static void expect(km_ts now, km_publish_step step) {
  assert_int_equal(km_pkarr_publisher_next(&p, now), step);
}

/* Something is due at `now` and not before, and begins. */
static void begin(km_ts now, km_publish_step step) {
  assert_int_equal(km_pkarr_publisher_at(&p), now);
  expect(now - 1, KM_PUBLISH_WAIT);
  expect(now, step);
  km_pkarr_publisher_begun(&p, now, step);
  expect(now + 3600 * S, KM_PUBLISH_WAIT);
  assert_int_equal(km_pkarr_publisher_at(&p), KM_TS_NEVER);
}

/* The same between two times; returns when. */
static km_ts begin_within(km_ts from, km_ts to, km_publish_step step) {
  km_ts at = km_pkarr_publisher_at(&p);
  assert_in_range(at, from, to);
  begin(at, step);
  return at;
}

static km_ts begin_again(km_ts published) {
  return begin_within(published + INTERVAL / 10 * 9, published + INTERVAL, KM_PUBLISH_PUT);
}

static void nothing_is_published_unasked(void **state) {
  (void)state;
  expect(START, KM_PUBLISH_WAIT);
  assert_int_equal(km_pkarr_publisher_at(&p), KM_TS_NEVER);
  assert_false(p.done);
}

static void changes_go_out_together(void **state) {
  (void)state;
  km_pkarr_publisher_changed(&p, START, true);
  km_pkarr_publisher_changed(&p, START + 60 * MS, true);
  km_pkarr_publisher_changed(&p, START + 99 * MS, true);
  begin(START + 100 * MS, KM_PUBLISH_PUT);
  assert_false(p.done);
  km_pkarr_publisher_put(&p, START + 150 * MS, KM_PUBLISH_OK, 0);
  assert_true(p.done);
  (void)begin_again(START + 150 * MS);
}

static void there_is_a_second_between_packets(void **state) {
  (void)state;
  km_pkarr_publisher_changed(&p, START, true);
  begin(START + 100 * MS, KM_PUBLISH_PUT);
  km_pkarr_publisher_put(&p, START + 110 * MS, KM_PUBLISH_OK, 0);
  km_pkarr_publisher_changed(&p, START + 120 * MS, true);
  assert_false(p.done);
  begin(START + 1100 * MS, KM_PUBLISH_PUT);
  km_pkarr_publisher_put(&p, START + 1110 * MS, KM_PUBLISH_OK, 0);
  km_pkarr_publisher_changed(&p, START + 5 * S, true);
  begin(START + 5100 * MS, KM_PUBLISH_PUT);
}

static void a_change_under_way_is_published_next(void **state) {
  (void)state;
  km_pkarr_publisher_changed(&p, START, true);
  begin(START + 100 * MS, KM_PUBLISH_PUT);
  km_pkarr_publisher_changed(&p, START + 200 * MS, true);
  expect(START + 5 * S, KM_PUBLISH_WAIT); /* one request at a time */
  km_pkarr_publisher_put(&p, START + 500 * MS, KM_PUBLISH_OK, 0);
  assert_false(p.done);
  begin(START + 1100 * MS, KM_PUBLISH_PUT);
  km_pkarr_publisher_changed(&p, START + 1200 * MS, true);
  km_pkarr_publisher_put(&p, START + 1300 * MS, KM_PUBLISH_FAILED, 0);
  (void)begin_within(START + 2300 * MS, START + 2550 * MS, KM_PUBLISH_PUT);
}

static void changes_wait_for_who_fails(void **state) {
  (void)state;
  km_ts now = START + 100 * MS;
  km_pkarr_publisher_changed(&p, START, true);
  begin(now, KM_PUBLISH_PUT);
  for (uint32_t n = 1; n <= 70; n++) {
    km_pkarr_publisher_changed(&p, now + 10 * MS, true); /* while it is under way */
    km_pkarr_publisher_put(&p, now + 20 * MS, KM_PUBLISH_FAILED, 0);
    km_pkarr_publisher_changed(&p, now + 30 * MS, true);
    uint64_t wait = (n < 10 ? n : 10) * S; /* what is new is not kept back for a minute */
    now = begin_within(now + wait, now + 20 * MS + wait + wait / 4, KM_PUBLISH_PUT);
  }
  km_pkarr_publisher_put(&p, now, KM_PUBLISH_OK, 0);
  km_pkarr_publisher_changed(&p, now + 5 * S, true);
  begin(now + 5100 * MS, KM_PUBLISH_PUT);
}

static void a_new_round_is_for_all_relays(void **state) {
  (void)state;
  km_pkarr_publisher_renewed(&p, START); /* nothing was published: nothing is due */
  assert_int_equal(km_pkarr_publisher_at(&p), KM_TS_NEVER);
  km_pkarr_publisher_changed(&p, START, true);
  begin(START + 100 * MS, KM_PUBLISH_PUT);
  km_pkarr_publisher_put(&p, START + 150 * MS, KM_PUBLISH_OK, 0);
  km_pkarr_publisher_renewed(&p, START + 50 * S);
  begin(START + 50 * S + 100 * MS, KM_PUBLISH_PUT);
  km_pkarr_publisher_put(&p, START + 51 * S, KM_PUBLISH_FAILED, 0);
  km_pkarr_publisher_renewed(&p, START + 51 * S); /* who fails has its own times */
  (void)begin_within(START + 52 * S, START + 53 * S, KM_PUBLISH_PUT);
}

static void republishing_is_spread(void **state) {
  (void)state;
  km_ts soonest = KM_TS_NEVER, latest = 0;
  km_pkarr_publisher_changed(&p, START, true);
  begin(START + 100 * MS, KM_PUBLISH_PUT);
  km_ts now = START + 100 * MS;
  for (int i = 0; i < 1000; i++) {
    km_pkarr_publisher_put(&p, now, KM_PUBLISH_OK, 0);
    km_ts next = begin_again(now);
    soonest = next - now < soonest ? next - now : soonest;
    latest = next - now > latest ? next - now : latest;
    now = next;
  }
  assert_in_range(soonest, INTERVAL / 10 * 9, INTERVAL / 100 * 91);
  assert_in_range(latest, INTERVAL / 100 * 99, INTERVAL);
}

static void failures_wait_longer_and_longer(void **state) {
  (void)state;
  km_ts now = START + 100 * MS;
  bool late = false;
  km_pkarr_publisher_changed(&p, START, true);
  begin(now, KM_PUBLISH_PUT);
  for (uint32_t n = 1; n <= 70; n++) {
    km_pkarr_publisher_put(&p, now, KM_PUBLISH_FAILED, 0);
    assert_int_equal(p.failures, n);
    assert_false(p.done);
    uint64_t wait = (n < 60 ? n : 60) * S;
    km_ts next = begin_within(now + wait, now + wait + wait / 4, KM_PUBLISH_PUT);
    late = late || next > now + wait + wait / 8; /* there is jitter */
    now = next;
  }
  assert_true(late);
  km_pkarr_publisher_put(&p, now, KM_PUBLISH_OK, 0);
  assert_int_equal(p.failures, 0);
  assert_true(p.done);
  now = begin_again(now);
  km_pkarr_publisher_put(&p, now, KM_PUBLISH_FAILED, 0);
  (void)begin_within(now + S, now + S + S / 4, KM_PUBLISH_PUT);
}

static void the_relay_may_ask_for_patience(void **state) {
  (void)state;
  km_pkarr_publisher_changed(&p, START, true);
  begin(START + 100 * MS, KM_PUBLISH_PUT);
  km_pkarr_publisher_put(&p, START + 200 * MS, KM_PUBLISH_FAILED, 30);
  km_pkarr_publisher_changed(&p, START + 5 * S, true); /* a change has to wait as well */
  begin(START + 200 * MS + 30 * S, KM_PUBLISH_PUT);
  km_pkarr_publisher_changed(&p, START + 31 * S, true);
  km_pkarr_publisher_put(&p, START + 32 * S, KM_PUBLISH_FAILED, 20);
  begin(START + 52 * S, KM_PUBLISH_PUT);
  km_pkarr_publisher_put(&p, START + 53 * S, KM_PUBLISH_FAILED, UINT32_MAX);
  begin(START + 53 * S + 3600 * S, KM_PUBLISH_PUT);
  km_pkarr_publisher_put(&p, START + 4000 * S, KM_PUBLISH_OK, 0);
  km_pkarr_publisher_changed(&p, START + 4001 * S, true);
  begin(START + 4001 * S + 100 * MS, KM_PUBLISH_PUT);
}

static void a_newer_packet_is_asked_for_once(void **state) {
  (void)state;
  km_pkarr_publisher_changed(&p, START, true);
  begin(START + 100 * MS, KM_PUBLISH_PUT);
  km_pkarr_publisher_put(&p, START + 200 * MS, KM_PUBLISH_NEWER, 0);
  assert_int_equal(p.failures, 0);
  begin(START + 200 * MS, KM_PUBLISH_GET);
  km_pkarr_publisher_got(&p, START + 300 * MS);
  begin(START + 300 * MS, KM_PUBLISH_PUT);
  km_pkarr_publisher_put(&p, START + 400 * MS, KM_PUBLISH_NEWER, 0); /* and again: no racing */
  assert_int_equal(p.failures, 1);
  km_ts now = begin_within(START + 1400 * MS, START + 1650 * MS, KM_PUBLISH_PUT);
  km_pkarr_publisher_put(&p, now, KM_PUBLISH_NEWER, 0);
  begin(now, KM_PUBLISH_GET);
  km_pkarr_publisher_got(&p, now + 100 * MS);
  begin(now + 100 * MS, KM_PUBLISH_PUT);
  km_pkarr_publisher_put(&p, now + 200 * MS, KM_PUBLISH_OK, 0);
  assert_true(p.done);
}

static void who_knows_nothing_asks_first(void **state) {
  (void)state;
  km_pkarr_publisher_init(&p, &env, INTERVAL, true);
  km_pkarr_publisher_changed(&p, START, true);
  begin(START + 100 * MS, KM_PUBLISH_GET);
  km_pkarr_publisher_changed(&p, START + 150 * MS, true); /* goes out with what waits */
  km_pkarr_publisher_got(&p, START + 200 * MS);
  begin(START + 200 * MS, KM_PUBLISH_PUT);
  km_pkarr_publisher_put(&p, START + 300 * MS, KM_PUBLISH_OK, 0);
  assert_true(p.done);
  (void)begin_again(START + 300 * MS);
}

static void withdrawing_stops_it(void **state) {
  (void)state;
  km_pkarr_publisher_changed(&p, START, true);
  km_pkarr_publisher_changed(&p, START + 10 * MS, false);
  expect(START + INTERVAL, KM_PUBLISH_WAIT);
  assert_int_equal(km_pkarr_publisher_at(&p), KM_TS_NEVER);
  km_pkarr_publisher_changed(&p, START + 20 * MS, true);
  begin(START + 120 * MS, KM_PUBLISH_PUT);
  km_pkarr_publisher_changed(&p, START + 130 * MS, false);
  km_pkarr_publisher_put(&p, START + 200 * MS, KM_PUBLISH_OK, 0);
  assert_false(p.done);
  expect(START + 2 * INTERVAL, KM_PUBLISH_WAIT);
  km_pkarr_publisher_changed(&p, START + 3 * S, true);
  begin(START + 3100 * MS, KM_PUBLISH_PUT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(nothing_is_published_unasked, setup),
      cmocka_unit_test_setup(changes_go_out_together, setup),
      cmocka_unit_test_setup(there_is_a_second_between_packets, setup),
      cmocka_unit_test_setup(a_change_under_way_is_published_next, setup),
      cmocka_unit_test_setup(changes_wait_for_who_fails, setup),
      cmocka_unit_test_setup(a_new_round_is_for_all_relays, setup),
      cmocka_unit_test_setup(republishing_is_spread, setup),
      cmocka_unit_test_setup(failures_wait_longer_and_longer, setup),
      cmocka_unit_test_setup(the_relay_may_ask_for_patience, setup),
      cmocka_unit_test_setup(a_newer_packet_is_asked_for_once, setup),
      cmocka_unit_test_setup(who_knows_nothing_asks_first, setup),
      cmocka_unit_test_setup(withdrawing_stops_it, setup),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
