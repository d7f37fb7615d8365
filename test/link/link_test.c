/* test/link/link.c: the emulated link itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test/link/link.h"

#define MS UINT64_C(1000000)

typedef struct fixture {
  link_dir link;
  link_options options;
  uint64_t seed;
} fixture;

static void prepare(fixture *f) {
  link_options_default(&f->options);
  f->seed = 1;
}

static void start(fixture *f) {
  link_init(&f->link, &f->options, link_splitmix, &f->seed);
}

static void send_number(fixture *f, uint64_t now, uint32_t number) {
  uint8_t packet[100] = {0};
  memcpy(packet, &number, sizeof number);
  assert_true(link_send(&f->link, now, packet, sizeof packet, NULL));
}

/* The number in the next due packet, or -1. */
static int64_t take_number(fixture *f, uint64_t now) {
  link_packet *p = link_pop(&f->link, now);
  if (p == NULL) {
    return -1;
  }
  uint32_t number;
  assert_int_equal(p->len, 100);
  memcpy(&number, p->data, sizeof number);
  free(p);
  return number;
}

static void a_perfect_link_changes_nothing(void **state) {
  (void)state;
  fixture f;
  int here;
  prepare(&f);
  start(&f);
  assert_true(link_next(&f.link) == LINK_NEVER);
  assert_null(link_pop(&f.link, LINK_NEVER));
  for (uint32_t i = 0; i < 1000; i++) {
    send_number(&f, 7, i);
  }
  assert_true(link_next(&f.link) == 7);
  for (uint32_t i = 0; i < 1000; i++) {
    assert_int_equal(take_number(&f, 7), i);
  }
  assert_int_equal(take_number(&f, LINK_NEVER), -1);
  assert_true(link_send(&f.link, 8, NULL, 0, &here)); /* an empty datagram is one, too */
  link_packet *p = link_pop(&f.link, 8);
  assert_non_null(p);
  assert_int_equal(p->len, 0);
  assert_ptr_equal(p->tag, &here);
  free(p);
  assert_int_equal(f.link.stats.sent_packets, 1001);
  assert_int_equal(f.link.stats.delivered_packets, 1001);
  assert_int_equal(f.link.stats.delivered_bytes, 100000);
  assert_int_equal(f.link.queued_bytes, 0);
  link_clear(&f.link);
}

static void delay_is_exact(void **state) {
  (void)state;
  fixture f;
  prepare(&f);
  f.options.delay_ns = 30 * MS;
  start(&f);
  send_number(&f, 5 * MS, 1);
  assert_true(link_next(&f.link) == 35 * MS);
  assert_int_equal(take_number(&f, 35 * MS - 1), -1);
  assert_int_equal(take_number(&f, 35 * MS), 1);
  link_clear(&f.link);
}

static void jitter_keeps_the_order(void **state) {
  (void)state;
  fixture f;
  uint64_t earliest = LINK_NEVER, latest = 0;
  prepare(&f);
  f.options.delay_ns = 10 * MS;
  f.options.jitter_ns = 8 * MS;
  start(&f);
  for (uint32_t i = 0; i < 500; i++) {
    uint64_t now = (uint64_t)i * 100 * MS; /* far apart: each shows its own jitter */
    send_number(&f, now, i);
    uint64_t took = link_next(&f.link) - now;
    assert_true(took >= 10 * MS && took <= 18 * MS);
    earliest = took < earliest ? took : earliest;
    latest = took > latest ? took : latest;
    assert_int_equal(take_number(&f, link_next(&f.link)), i);
  }
  assert_true(latest - earliest > 6 * MS);
  for (uint32_t i = 0; i < 500; i++) { /* close together: none overtakes */
    send_number(&f, 100000 * MS + i, i);
  }
  for (uint32_t i = 0; i < 500; i++) {
    assert_int_equal(take_number(&f, LINK_NEVER), i);
  }
  link_clear(&f.link);
}

static void loss_is_as_asked(void **state) {
  (void)state;
  fixture f;
  prepare(&f);
  f.options.loss = 0.1;
  start(&f);
  uint32_t came = 0;
  for (uint32_t i = 0; i < 100000; i++) {
    send_number(&f, i, i);
    came += take_number(&f, i) >= 0;
  }
  assert_int_equal(came + f.link.stats.lost, 100000);
  assert_in_range(f.link.stats.lost, 9500, 10500);
  link_clear(&f.link);
  f.options.loss = 1;
  start(&f);
  for (uint32_t i = 0; i < 100; i++) {
    send_number(&f, i, i);
  }
  assert_int_equal(f.link.stats.lost, 100);
  link_clear(&f.link);
}

static void duplicates_come_twice(void **state) {
  (void)state;
  fixture f;
  prepare(&f);
  f.options.dup = 1;
  start(&f);
  for (uint32_t i = 0; i < 10; i++) {
    send_number(&f, i, i);
    assert_int_equal(take_number(&f, i), i);
    assert_int_equal(take_number(&f, i), i);
    assert_int_equal(take_number(&f, i), -1);
  }
  assert_int_equal(f.link.stats.duplicated, 10);
  link_clear(&f.link);
}

static void corruption_flips_one_bit(void **state) {
  (void)state;
  fixture f;
  uint8_t clean[64] = {0};
  uint32_t places = 0;
  prepare(&f);
  f.options.corrupt = 1;
  start(&f);
  for (int i = 0; i < 400; i++) {
    assert_true(link_send(&f.link, 0, clean, sizeof clean, NULL));
    link_packet *p = link_pop(&f.link, 0);
    int bits = 0;
    for (size_t k = 0; k < sizeof clean; k++) {
      bits += __builtin_popcount(p->data[k]);
      places |= p->data[k] != 0 ? 1u << (k / 2) : 0;
    }
    assert_int_equal(bits, 1);
    free(p);
  }
  assert_int_equal(places, UINT32_MAX);              /* anywhere in the packet */
  assert_true(link_send(&f.link, 0, NULL, 0, NULL)); /* nothing to flip */
  assert_int_equal(f.link.stats.corrupted, 400);
  link_clear(&f.link);
}

static void reordered_packets_are_overtaken(void **state) {
  (void)state;
  fixture f;
  prepare(&f);
  f.options.reorder = 0.2;
  start(&f);
  for (uint32_t i = 0; i < 1000; i++) {
    send_number(&f, i * MS, i);
  }
  int64_t highest = -1;
  uint32_t late = 0, came = 0;
  for (int64_t n = 0; (n = take_number(&f, LINK_NEVER)) >= 0; came++) {
    late += n < highest;
    assert_true(n >= highest - 5); /* held for 5 ms: 5 packets at most overtake it */
    highest = n > highest ? n : highest;
  }
  assert_int_equal(came, 1000);
  assert_in_range(f.link.stats.reordered, 150, 250);
  assert_in_range(late, f.link.stats.reordered / 2, f.link.stats.reordered);
  link_clear(&f.link);
}

static void rate_spreads_packets(void **state) {
  (void)state;
  fixture f;
  prepare(&f);
  f.options.rate_bps = 8000000; /* 100 bytes take 0.1 ms */
  f.options.delay_ns = 1 * MS;
  start(&f);
  for (uint32_t i = 0; i < 10; i++) {
    send_number(&f, 0, i);
  }
  for (uint32_t i = 0; i < 10; i++) {
    uint64_t due = 1 * MS + (i + 1) * MS / 10;
    assert_true(link_next(&f.link) == due);
    assert_int_equal(take_number(&f, due), i);
  }
  send_number(&f, 50 * MS, 10); /* the link had time to drain */
  assert_true(link_next(&f.link) == 51 * MS + MS / 10);
  link_clear(&f.link);
}

static void a_full_queue_drops(void **state) {
  (void)state;
  fixture f;
  uint8_t big[500] = {0};
  prepare(&f);
  f.options.queue_bytes = 250;
  f.options.delay_ns = MS;
  start(&f);
  for (uint32_t i = 0; i < 4; i++) {
    send_number(&f, 0, i);
  }
  assert_int_equal(f.link.stats.overflowed, 2);
  assert_int_equal(f.link.queued_bytes, 200);
  assert_int_equal(take_number(&f, MS), 0);
  send_number(&f, MS, 4);
  assert_int_equal(f.link.stats.overflowed, 2);
  assert_true(link_send(&f.link, MS, big, sizeof big, NULL)); /* larger than the whole queue */
  assert_int_equal(f.link.stats.overflowed, 3);
  link_clear(&f.link);
}

static void a_blackhole_swallows_what_is_sent_into_it(void **state) {
  (void)state;
  fixture f;
  prepare(&f);
  f.options.delay_ns = MS;
  start(&f);
  send_number(&f, 0, 1);
  f.link.blackhole = true;
  send_number(&f, 0, 2);
  f.link.blackhole = false;
  send_number(&f, 0, 3);
  assert_int_equal(take_number(&f, MS), 1);
  assert_int_equal(take_number(&f, MS), 3);
  assert_int_equal(take_number(&f, MS), -1);
  assert_int_equal(f.link.stats.blackholed, 1);
  link_clear(&f.link);
}

static void forget_drops_one_destination(void **state) {
  (void)state;
  fixture f;
  int a, b;
  prepare(&f);
  f.options.jitter_ns = 50 * MS;
  f.options.reorder = 0.5;
  start(&f);
  for (uint8_t i = 0; i < 200; i++) {
    assert_true(link_send(&f.link, i * MS, &i, 1, i % 3 == 0 ? &a : &b));
  }
  link_forget(&f.link, &b);
  assert_int_equal(f.link.queued_bytes, 67);
  uint64_t last = 0;
  for (int i = 0; i < 67; i++) {
    assert_true(link_next(&f.link) >= last);
    last = link_next(&f.link);
    link_packet *p = link_pop(&f.link, last);
    assert_ptr_equal(p->tag, &a);
    assert_int_equal(p->data[0] % 3, 0);
    free(p);
  }
  assert_true(link_next(&f.link) == LINK_NEVER);
  link_clear(&f.link);
}

static void all_faults(link_options *o) {
  o->loss = 0.1;
  o->dup = 0.1;
  o->corrupt = 0.1;
  o->reorder = 0.1;
  o->delay_ns = 20 * MS;
  o->jitter_ns = 5 * MS;
  o->rate_bps = 50000000;
}

/* FNV-1a over everything that comes out of 5,000 packets. */
static uint64_t fingerprint(uint64_t seed) {
  fixture f;
  uint64_t hash = UINT64_C(0xcbf29ce484222325);
  prepare(&f);
  f.seed = seed;
  all_faults(&f.options);
  start(&f);
  for (uint32_t i = 0; i < 5000; i++) {
    send_number(&f, i * MS / 50, i);
  }
  for (link_packet *p; (p = link_pop(&f.link, LINK_NEVER)) != NULL; free(p)) {
    hash = (hash ^ p->due) * UINT64_C(0x100000001b3);
    for (size_t i = 0; i < p->len; i++) {
      hash = (hash ^ p->data[i]) * UINT64_C(0x100000001b3);
    }
  }
  const link_stats *s = &f.link.stats;
  assert_int_equal(s->delivered_packets, s->sent_packets - s->lost + s->duplicated);
  link_clear(&f.link);
  return hash;
}

static void the_seed_decides_everything(void **state) {
  (void)state;
  assert_true(fingerprint(1) == fingerprint(1));
  assert_true(fingerprint(1) != fingerprint(2));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_perfect_link_changes_nothing),
      cmocka_unit_test(delay_is_exact),
      cmocka_unit_test(jitter_keeps_the_order),
      cmocka_unit_test(loss_is_as_asked),
      cmocka_unit_test(duplicates_come_twice),
      cmocka_unit_test(corruption_flips_one_bit),
      cmocka_unit_test(reordered_packets_are_overtaken),
      cmocka_unit_test(rate_spreads_packets),
      cmocka_unit_test(a_full_queue_drops),
      cmocka_unit_test(a_blackhole_swallows_what_is_sent_into_it),
      cmocka_unit_test(forget_drops_one_destination),
      cmocka_unit_test(the_seed_decides_everything),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
