/* Every kind of NAT against every other: is a direct way found, and how fast? Prints the table.
 * KM_SIM_COUNT=n: so many runs of each pair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "sim_net.h"

#define RUNS 40
#define MAX_RUNS 1000
#define ONE_WAY SIM_MS(15)
#define RELAY_ONE_WAY SIM_MS(20)
#define PATIENCE SIM_S(14) /* less than the first wait: the first attempt has to do it */

typedef struct cell {
  unsigned runs, direct;
  double took[MAX_RUNS]; /* sorted, ms from the first wish to both sides' having a way */
} cell;

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static unsigned runs_of_each(void) {
  const char *text = getenv("KM_SIM_COUNT");
  unsigned n = text != NULL ? (unsigned)strtoul(text, NULL, 10) : RUNS;
  return n < 1 ? 1 : n > MAX_RUNS ? MAX_RUNS : n;
}

/* The one that dials wishes first; the other as soon as its first packet came over the relay. */
static void run(cell *c, sim_kind a, sim_kind b, uint64_t seed, uint32_t loss) {
  sim_net net;
  sim_net_init(&net, seed);
  net.direct = (sim_link){.delay = ONE_WAY, .jitter = SIM_MS(2), .loss = loss};
  net.relay = (sim_link){.delay = RELAY_ONE_WAY, .jitter = SIM_MS(2)};
  sim_peer *dials = sim_net_peer(&net, sim_net_kind(&net, a));
  sim_peer *answers = sim_net_peer(&net, sim_net_kind(&net, b));
  sim_peer_gather(dials);
  sim_peer_gather(answers);
  km_ts start = net.now;
  sim_peer_want(dials, true);
  sim_net_run(&net, RELAY_ONE_WAY);
  sim_peer_want(answers, true);
  c->runs++;
  if (sim_net_run_to_open(&net, PATIENCE)) {
    c->took[c->direct++] = (double)(net.now - start) / 1e6;
  }
  sim_net_clear(&net);
}

static void fill(cell *c, sim_kind a, sim_kind b, unsigned runs, uint32_t loss) {
  *c = (cell){0};
  for (unsigned i = 0; i < runs; i++) {
    run(c, a, b, UINT64_C(1000003) * i + (uint64_t)a * 16 + (uint64_t)b, loss);
  }
  qsort(c->took, c->direct, sizeof c->took[0], compare);
}

static void print_row(const cell *c, sim_kind a, sim_kind b) {
  double rtt = 2.0 * (double)ONE_WAY / 1e6;
  double median = c->direct > 0 ? c->took[c->direct / 2] : 0;
  double last = c->direct > 0 ? c->took[c->direct - 1] : 0;
  print_message("| %-18s | %-18s | %5.1f %% | %6.0f ms | %6.1f | %6.0f ms |\n", sim_kind_name(a),
                sim_kind_name(b), 100.0 * c->direct / c->runs, median, median / rtt, last);
}

static void direct_wherever_rfc_4787_allows_it(void **state) {
  (void)state;
  static cell c;
  unsigned runs = runs_of_each();
  print_message(
      "| dials | answers | direct | median | in RTT | slowest |\n|---|---|---|---|---|---|\n");
  for (sim_kind a = 0; a < SIM_KIND_COUNT_; a++) {
    for (sim_kind b = 0; b < SIM_KIND_COUNT_; b++) {
      fill(&c, a, b, runs, 0);
      print_row(&c, a, b);
      if (sim_kinds_meet(a, b)) {
        assert_int_equal(c.direct, c.runs);
        assert_true(c.took[c.direct / 2] < 3 * 40 + 300); /* three trips over the relay + 300 ms */
      }
      if (a == SIM_KIND_BLOCKED || b == SIM_KIND_BLOCKED) {
        assert_int_equal(c.direct, 0);
      }
    }
  }
}

static void ports_of_a_symmetric_nat_are_guessed(void **state) {
  (void)state;
  static cell c;
  const sim_kind restricted[] = {SIM_KIND_PORT, SIM_KIND_FIREWALL, SIM_KIND_DOUBLE};
  for (size_t i = 0; i < sizeof restricted / sizeof restricted[0]; i++) {
    fill(&c, SIM_KIND_SYMMETRIC, restricted[i], 40, 0);
    assert_true(c.direct >= 36); /* 1 - (1 - 256/64512)^1024 is 98 % */
    fill(&c, restricted[i], SIM_KIND_SYMMETRIC, 40, 0);
    assert_true(c.direct >= 36);
    fill(&c, restricted[i], SIM_KIND_SEQUENTIAL, 40, 0);
    assert_int_equal(c.direct, c.runs);
  }
}

static void both_sequential_meet_by_counting_toward_each_other(void **state) {
  (void)state;
  static cell c;
  fill(&c, SIM_KIND_SEQUENTIAL, SIM_KIND_SEQUENTIAL, 40, 0);
  assert_true(c.direct >= 18); /* every second offset in the first attempt */
}

static void port_restricted_pairs_meet_though_packets_are_lost(void **state) {
  (void)state;
  static cell c;
  fill(&c, SIM_KIND_PORT, SIM_KIND_PORT, 200, 100); /* a tenth, each way */
  print_row(&c, SIM_KIND_PORT, SIM_KIND_PORT);
  assert_int_equal(c.direct, c.runs);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(direct_wherever_rfc_4787_allows_it),
      cmocka_unit_test(ports_of_a_symmetric_nat_are_guessed),
      cmocka_unit_test(both_sequential_meet_by_counting_toward_each_other),
      cmocka_unit_test(port_restricted_pairs_meet_though_packets_are_lost),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
