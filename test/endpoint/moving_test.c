/* A transfer from the accepting side goes on, whatever becomes of the dialling side's paths. */
#include "test/endpoint/moving.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#ifdef MOVING_OUR_NGTCP2
enum { OURS = 1 };
#else
enum { OURS = 0 };
#endif

static uint64_t smoothed_rtt(const moving *m) {
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info2(m->server.conn, &info);
  return info.smoothed_rtt;
}

/* With a transfer under way that fills the relay's queue. */
static void open_relayed(moving *m, uint64_t seed) {
  moving_open(m, seed);
  moving_run(m, m->now + 5 * MOVING_S);
  assert_true(m->received > 1000000);
}

static void open_direct(moving *m, uint64_t seed) {
  open_relayed(m, seed);
  assert_true(moving_go(m, MOVING_DIRECT, true));
  moving_run(m, m->now + 10 * MOVING_S);
  assert_int_equal(moving_now_on(&m->client), MOVING_DIRECT);
}

static void cut(moving *m, moving_way way, bool on) {
  m->links[way][0].cut = m->links[way][1].cut = on;
}

/* How long until more came; fails if that takes `patience`. */
static uint64_t until_more(moving *m, uint64_t patience) {
  uint64_t begin = m->now, had = m->received;
  while (m->received == had) {
    assert_true(m->now - begin < patience);
    moving_run(m, m->now + MOVING_MS);
  }
  return m->now - begin;
}

/* --- anything -------------------------------------------------------------------------------- */

typedef struct plan {
  uint64_t rebind, go; /* when */
} plan;

static void play(moving *m, plan *p) {
  if (p->rebind <= p->go) {
    moving_run(m, p->rebind);
    moving_rebind(m);
    p->rebind += 15 * MOVING_S + moving_random(m, 10 * MOVING_S);
    return;
  }
  moving_run(m, p->go);
  if (moving_now_on(&m->client) == MOVING_DIRECT && moving_random(m, 2) == 0) {
    cut(m, MOVING_DIRECT, true);
    moving_run(m, m->now + 400 * MOVING_MS); /* until that is noticed */
  }
  moving_way to = moving_now_on(&m->client) == MOVING_RELAY ? MOVING_DIRECT : MOVING_RELAY;
  assert_true(moving_go(m, to, to == MOVING_DIRECT)); /* there is always a connection id for it */
  moving_run(m, m->now + MOVING_S);
  cut(m, MOVING_DIRECT, false);
  p->go = m->now + moving_random(m, 12 * MOVING_S);
}

static void a_transfer_goes_on(void **state) {
  enum { SEEDS = 20, SECONDS = 200, LONGEST_MS = OURS ? 2000 : 6000 };
  (void)state;
  for (uint64_t seed = 0; seed < SEEDS; seed++) {
    moving m;
    open_relayed(&m, seed);
    plan p = {m.now, m.now + moving_random(&m, 5 * MOVING_S)};
    m.links[MOVING_DIRECT][0].lost_permille = (uint32_t)moving_random(&m, 20);
    while (m.now < SECONDS * MOVING_S) {
      play(&m, &p);
    }
    if (m.longest >= LONGEST_MS * MOVING_MS) {
      fail_msg("seed %llu: nothing came for %llu ms, %llu ms after the beginning",
               (unsigned long long)seed, (unsigned long long)(m.longest / MOVING_MS),
               (unsigned long long)(m.longest_at / MOVING_MS));
    }
    moving_close(&m);
  }
}

/* --- what only our ngtcp2 does: third_party/patches/ngtcp2-moved-path.patch ------------------- */

/* RFC 9000 section 9.4 */
static void the_round_trip_of_a_path_that_was_left_does_not_count(void **state) {
  (void)state;
  moving m;
  open_relayed(&m, 1);
  assert_true(smoothed_rtt(&m) > 400 * MOVING_MS);
  assert_true(
      moving_go(&m, MOVING_DIRECT, false)); /* what the relay still has is acknowledged there */
  for (unsigned ms = 0; ms < 3000; ms += 10) {
    moving_run(&m, m.now + 10 * MOVING_MS);
    if (moving_now_on(&m.server) == MOVING_DIRECT) {
      assert_true(smoothed_rtt(&m) < 200 * MOVING_MS);
    }
  }
  assert_int_equal(moving_now_on(&m.server), MOVING_DIRECT);
  moving_close(&m);
}

/* All that is under way was lost, and probes have become rare. */
static void a_full_window_does_not_hold_up_a_peer_with_another_port(void **state) {
  enum { DEAD_MS = 4000 };
  (void)state;
  for (uint64_t extra = 0; extra < 20; extra++) {
    moving m;
    open_direct(&m, extra);
    cut(&m, MOVING_DIRECT, true);
    moving_run(&m, m.now + (DEAD_MS + 200 * extra) * MOVING_MS);
    cut(&m, MOVING_DIRECT, false);
    moving_rebind(&m);
    uint64_t heard = m.heard;
    while (m.heard == heard) {
      moving_run(&m, m.now + MOVING_MS);
    }
    (void)until_more(&m, 200 * MOVING_MS); /* a check of the path and its answer, then data */
    moving_close(&m);
  }
}

static void a_full_window_does_not_hold_up_the_proof_of_another_path(void **state) {
  enum { DEAD_MS = 4000 };
  (void)state;
  for (uint64_t extra = 0; extra < 20; extra++) {
    moving m;
    open_relayed(&m, extra);
    cut(&m, MOVING_RELAY, true);
    moving_run(&m, m.now + (DEAD_MS + 200 * extra) * MOVING_MS);
    assert_true(moving_go(&m, MOVING_DIRECT, true));
    (void)until_more(&m, 400 * MOVING_MS);
    moving_close(&m);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_transfer_goes_on),
#ifdef MOVING_OUR_NGTCP2
      cmocka_unit_test(the_round_trip_of_a_path_that_was_left_does_not_count),
      cmocka_unit_test(a_full_window_does_not_hold_up_a_peer_with_another_port),
      cmocka_unit_test(a_full_window_does_not_hold_up_the_proof_of_another_path),
#endif
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
