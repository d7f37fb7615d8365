/* test/netlab/link_pipe.c: bursts of losses, the bottleneck's buffer, packets that are too long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test/netlab/link_frame.h"
#include "test/netlab/link_pipe.h"

#define MS UINT64_C(1000000)
enum { HEAD = FRAME_HEAD, LEN = 1000 };

typedef struct fixture {
  link_pipe pipe;
  pipe_options options;
  uint64_t seed;
  uint64_t now; /* of count_losses */
} fixture;

static void prepare(fixture *f) {
  pipe_options_default(&f->options);
  f->seed = 1;
  f->now = 0;
}

static void start(fixture *f) {
  pipe_init(&f->pipe, &f->options, link_splitmix, &f->seed);
}

static void send_one(fixture *f, uint64_t now, size_t len) {
  uint8_t frame[2000] = {0};
  assert_true(len <= sizeof frame);
  assert_true(pipe_send(&f->pipe, now, frame, len, HEAD));
}

/* Sends at `now` and takes out at once. True when it came through. */
static bool passes(fixture *f, uint64_t now, size_t len) {
  send_one(f, now, len);
  link_packet *p = link_pop(&f->pipe.dir, now);
  free(p);
  return p != NULL;
}

static size_t drain(fixture *f) {
  size_t count = 0;
  link_packet *p;
  while ((p = link_pop(&f->pipe.dir, LINK_NEVER)) != NULL) {
    free(p);
    count++;
  }
  return count;
}

typedef struct losses {
  size_t lost, bursts;
} losses;

static losses count_losses(fixture *f, size_t packets) {
  losses found = {0, 0};
  bool before = false;
  for (size_t i = 0; i < packets; i++) {
    bool lost = !passes(f, f->now++, LEN);
    found.lost += lost;
    found.bursts += lost && !before;
    before = lost;
  }
  return found;
}

static void bursts_have_the_share_and_the_length_that_was_asked_for(void **state) {
  (void)state;
  fixture f;
  prepare(&f);
  f.options.link.loss = 0.05;
  f.options.burst = 8;
  start(&f);
  losses found = count_losses(&f, 200000);
  assert_in_range(found.lost, 9000, 11000);                /* 5 % of them are 10,000 */
  assert_in_range(found.lost * 10 / found.bursts, 70, 90); /* 8 in a row */
  assert_int_equal(f.pipe.dir.stats.lost, found.lost);     /* they are counted */
  assert_int_equal(f.pipe.dir.stats.sent_packets, 200000); /* as what came in is */
  assert_int_equal(f.pipe.dir.stats.delivered_packets, 200000 - found.lost);
  pipe_clear(&f.pipe);
}

static void without_a_burst_packets_are_lost_one_by_one(void **state) {
  (void)state;
  fixture f;
  prepare(&f);
  f.options.link.loss = 0.05;
  start(&f);
  losses found = count_losses(&f, 200000);
  assert_in_range(found.lost, 9000, 11000);
  assert_in_range(found.lost * 100 / found.bursts, 100, 110); /* 1/0.95 in a row */
  pipe_clear(&f.pipe);
}

static void the_same_seed_loses_the_same_packets(void **state) {
  (void)state;
  fixture f, g;
  prepare(&f);
  f.options.link.loss = 0.2;
  f.options.burst = 3;
  g = f;
  start(&f);
  start(&g);
  for (uint64_t i = 0; i < 1000; i++) {
    assert_int_equal(passes(&f, i, LEN), passes(&g, i, LEN));
  }
  pipe_clear(&f.pipe);
  pipe_clear(&g.pipe);
}

static void all_and_nothing_can_be_lost(void **state) {
  (void)state;
  fixture f;
  prepare(&f);
  f.options.burst = 5;
  start(&f);
  assert_int_equal(count_losses(&f, 1000).lost, 0);
  f.options.link.loss = 1;
  pipe_set(&f.pipe, &f.options);
  assert_int_equal(count_losses(&f, 1000).lost, 1000);
  f.options.link.loss = 0;
  pipe_set(&f.pipe, &f.options);
  assert_int_equal(count_losses(&f, 1000).lost, 0);
  pipe_clear(&f.pipe);
}

static void a_full_buffer_drops_and_empties_with_time(void **state) {
  (void)state;
  fixture f;
  prepare(&f);
  f.options.link.rate_bps = 8000000;  /* 1,000 bytes a millisecond */
  f.options.link.delay_ns = 500 * MS; /* what is on its way does not count */
  f.options.buffer_bytes = 4 * LEN;
  start(&f);
  for (int i = 0; i < 10; i++) {
    send_one(&f, 0, LEN);
  }
  assert_int_equal(f.pipe.dir.stats.overflowed, 6);
  send_one(&f, 2 * MS, LEN); /* two have left */
  send_one(&f, 2 * MS, LEN);
  send_one(&f, 2 * MS, LEN);
  assert_int_equal(f.pipe.dir.stats.overflowed, 7);
  assert_int_equal(drain(&f), 6);
  pipe_clear(&f.pipe);
}

static void a_packet_that_is_too_long_vanishes(void **state) {
  (void)state;
  fixture f;
  prepare(&f);
  f.options.max_len = 1280;
  start(&f);
  assert_true(passes(&f, 0, HEAD + 1280)); /* the frame's head does not count */
  assert_false(passes(&f, 0, HEAD + 1281));
  assert_int_equal(f.pipe.too_long, 1);
  pipe_clear(&f.pipe);
}

static void a_cut_link_swallows_what_comes_and_not_what_is_under_way(void **state) {
  (void)state;
  fixture f;
  prepare(&f);
  f.options.link.delay_ns = 10 * MS;
  start(&f);
  send_one(&f, 0, LEN);
  f.options.blackhole = true;
  pipe_set(&f.pipe, &f.options);
  send_one(&f, 1 * MS, LEN);
  assert_int_equal(f.pipe.dir.stats.blackholed, 1);
  f.options.blackhole = false;
  pipe_set(&f.pipe, &f.options);
  send_one(&f, 2 * MS, LEN);
  assert_int_equal(drain(&f), 2);
  pipe_clear(&f.pipe);
}

static void a_change_of_delay_is_for_what_comes_after_it(void **state) {
  (void)state;
  fixture f;
  prepare(&f);
  f.options.link.delay_ns = 10 * MS;
  start(&f);
  send_one(&f, 0, LEN);
  f.options.link.delay_ns = 30 * MS;
  pipe_set(&f.pipe, &f.options);
  send_one(&f, 0, LEN);
  assert_int_equal(link_next(&f.pipe.dir), 10 * MS);
  free(link_pop(&f.pipe.dir, 10 * MS));
  assert_int_equal(link_next(&f.pipe.dir), 30 * MS);
  assert_int_equal(drain(&f), 1);
  pipe_clear(&f.pipe);
}

static void neighbours_are_told_from_packets(void **state) {
  (void)state;
  uint8_t frame[100] = {0};
  frame[12] = 0x08;
  frame[13] = 0x06;
  assert_true(frame_is_neighbour(frame, 60)); /* ARP */
  frame[13] = 0x00;
  assert_false(frame_is_neighbour(frame, 60)); /* IPv4 */
  frame[12] = 0x86;
  frame[13] = 0xdd;
  frame[FRAME_HEAD + 6] = 58;
  frame[FRAME_HEAD + 40] = 135;
  assert_true(frame_is_neighbour(frame, 86));  /* neighbour solicitation */
  assert_false(frame_is_neighbour(frame, 54)); /* cut before its type */
  frame[FRAME_HEAD + 40] = 128;
  assert_false(frame_is_neighbour(frame, 86)); /* echo request */
  frame[FRAME_HEAD + 40] = 135;
  frame[FRAME_HEAD + 6] = 17;
  assert_false(frame_is_neighbour(frame, 86)); /* UDP */
  assert_false(frame_is_neighbour(frame, 13));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bursts_have_the_share_and_the_length_that_was_asked_for),
      cmocka_unit_test(without_a_burst_packets_are_lost_one_by_one),
      cmocka_unit_test(the_same_seed_loses_the_same_packets),
      cmocka_unit_test(all_and_nothing_can_be_lost),
      cmocka_unit_test(a_full_buffer_drops_and_empties_with_time),
      cmocka_unit_test(a_packet_that_is_too_long_vanishes),
      cmocka_unit_test(a_cut_link_swallows_what_comes_and_not_what_is_under_way),
      cmocka_unit_test(a_change_of_delay_is_for_what_comes_after_it),
      cmocka_unit_test(neighbours_are_told_from_packets),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
