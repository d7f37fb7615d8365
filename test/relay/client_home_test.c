/* Which relay is home, over real connections to relays that are slow, hang, or throw us out. The
 * clock can be put forward (test/endpoint/wrap_clock_io.c). */
#include "magicsock/relays.h"
#include "test/relay/client_lab.h"

void clock_forward(uint64_t ns);

enum { FAR_MS = 100, CHANGES_MAX = 64 };

typedef struct node {
  km_relays *r;
  km_secret_key *key;
  char urls[3][256];
  size_t count;
  int home[CHANGES_MAX]; /* index of the url after each change, -1: none */
  unsigned changes;
  unsigned told;
  uint64_t not_quic;
} node;

/* Index of the home, or of the standby; -1: none. */
static int at_place(const node *n, size_t place) {
  const char *urls[2];
  if (place >= km_relays_home(n->r, urls, 2)) {
    return -1;
  }
  for (size_t i = 0; i < n->count; i++) {
    if (strcmp(urls[place], n->urls[i]) == 0) {
      return (int)i;
    }
  }
  fail_msg("%s is none of ours", urls[place]);
  return -1;
}

static int home_of(const node *n) {
  return at_place(n, 0);
}

static int standby_of(const node *n) {
  return at_place(n, 1);
}

/* True when that is home, and we were told so. */
static bool is_home(const node *n, int which) {
  return home_of(n) == which && n->changes > 0 && n->home[n->changes - 1] == which;
}

static void on_home(void *ctx) {
  node *n = ctx;
  int home = home_of(n);
  n->told++;
  if (n->changes == 0 || n->home[n->changes - 1] != home) {
    assert_true(n->changes < CHANGES_MAX);
    n->home[n->changes++] = home;
  }
}

static void on_rx(void *ctx, const km_rx_batch *batch) {
  (void)ctx;
  (void)batch;
}

static void on_nothing(void *ctx) {
  (void)ctx;
}

static void node_open(node *n, lab_relay *const *relays, size_t count) {
  const char *urls[3];
  *n = (node){.count = count};
  for (size_t i = 0; i < count; i++) {
    urls[i] = lab_url(n->urls[i], "http", "127.0.0.1", relays[i]->port);
  }
  assert_int_equal(km_secret_key_generate(&n->key), 0);
  const km_magicsock_relay_config relay = {
      .key = n->key, .urls = urls, .url_count = count, .on_home = on_home};
  const km_relays_config config = {.env = &km_env_system,
                                   .loop = lab_loop,
                                   .relay = &relay,
                                   .on_rx = on_rx,
                                   .on_rx_done = on_nothing,
                                   .on_writable = on_nothing,
                                   .rx_ctx = n,
                                   .rx_not_quic = &n->not_quic};
  assert_int_equal(km_relays_new(&n->r, &config, NULL), 0);
}

static void node_close(node *n) {
  km_relays_free(n->r);
  km_secret_key_free(n->key);
}

static void run_for_ms(int ms) {
  for (km_ts end = km_clock_now() + (km_ts)ms * KM_NS_PER_MS; km_clock_now() < end;) {
    km_loop_run_once(lab_loop, 20);
  }
}

/* Not while a ping is on its way: it would have taken that long. */
static void leap(uint64_t ns) {
  run_for_ms(50);
  clock_forward(ns);
}

static void open_relays(lab_relay *far, lab_relay *near) {
  far->ping_ms = FAR_MS;
  lab_relay_open(far, "127.0.0.1", 0, NULL, NULL);
  lab_relay_open(near, "127.0.0.1", 0, NULL, NULL);
}

static void close_relays(lab_relay *far, lab_relay *near) {
  lab_relay_close(far);
  lab_relay_close(near);
}

static void the_nearest_is_home(void **state) {
  (void)state;
  lab_relay far = {0}, near = {0};
  node n;
  open_relays(&far, &near);
  node_open(&n, (lab_relay *[]){&far, &near}, 2);
  LAB_WAIT_FOR(standby_of(&n) >= 0);
  assert_int_equal(home_of(&n), 1);
  assert_int_equal(standby_of(&n), 0);
  assert_int_equal(n.home[n.changes - 1], 1);
  node_close(&n);
  close_relays(&far, &near);
}

static void a_home_that_hangs_is_not_named(void **state) {
  (void)state;
  lab_relay far = {0}, near = {0};
  node n;
  open_relays(&far, &near);
  node_open(&n, (lab_relay *[]){&far, &near}, 2);
  LAB_WAIT_FOR(is_home(&n, 1) && standby_of(&n) == 0);
  lab_relay_hang(&near, true);
  /* Less than three seconds of the clock; time that passes by itself comes on top and helps. */
  for (int step = 0; step < 28 && !is_home(&n, 0); step++) {
    clock_forward(100 * KM_NS_PER_MS);
    for (int turn = 0; turn < 5; turn++) {
      km_loop_run_once(lab_loop, 1);
    }
  }
  assert_true(is_home(&n, 0));
  assert_int_equal(standby_of(&n), -1);
  unsigned changes = n.changes;
  run_for_ms(2000); /* it accepts new connections, as a hung one does */
  assert_int_equal(standby_of(&n), -1);

  lab_relay_hang(&near, false);
  LAB_WAIT_FOR(standby_of(&n) == 1);
  assert_int_equal(n.changes, changes); /* back, but not trusted at once */
  run_for_ms(1500);
  assert_int_equal(home_of(&n), 0);
  leap(31 * KM_NS_PER_S);
  LAB_WAIT_FOR(is_home(&n, 1) && standby_of(&n) == 0);
  assert_int_equal(n.changes, changes + 1);
  node_close(&n);
  close_relays(&far, &near);
}

static void one_that_hangs_from_the_start_is_not_waited_for(void **state) {
  (void)state;
  lab_relay far = {0}, near = {0};
  node n;
  open_relays(&far, &near);
  lab_relay_hang(&near, true);
  node_open(&n, (lab_relay *[]){&near, &far}, 2);
  LAB_WAIT_FOR(is_home(&n, 1));
  run_for_ms(4000);
  assert_int_equal(standby_of(&n), -1);
  assert_int_equal(n.changes, 1);
  node_close(&n);
  close_relays(&far, &near);
}

/* It takes us, and lets us go again, over and over: home stays where it is. */
static void one_that_throws_us_out_is_no_home(void **state) {
  (void)state;
  lab_relay far = {0}, near = {.evicts = true};
  node n;
  open_relays(&far, &near);
  node_open(&n, (lab_relay *[]){&far, &near}, 2);
  LAB_WAIT_FOR(near.pings >= 2 && is_home(&n, 0));
  unsigned changes = n.changes;
  LAB_WAIT_FOR(near.pings >= 10);
  assert_int_equal(n.changes, changes);
  near.evicts = false;
  unsigned pings = near.pings;
  LAB_WAIT_FOR(near.pings > pings && standby_of(&n) == 1);
  leap(31 * KM_NS_PER_S);
  LAB_WAIT_FOR(is_home(&n, 1));
  assert_int_equal(n.changes, changes + 1);
  node_close(&n);
  close_relays(&far, &near);
}

static void one_that_denies_us_is_no_home(void **state) {
  (void)state;
  lab_relay far = {0}, near = {.deny = "no members of that club"};
  node n;
  open_relays(&far, &near);
  node_open(&n, (lab_relay *[]){&near, &far}, 2);
  LAB_WAIT_FOR(is_home(&n, 1));
  LAB_WAIT_FOR(near.upgrades >= 3);
  assert_int_equal(n.changes, 1);
  assert_int_equal(standby_of(&n), -1);
  assert_non_null(strstr(km_relays_trouble(n.r, 0), "no members of that club"));
  node_close(&n);
  close_relays(&far, &near);
}

/* What is measured now and then moves home only when it is much, and not for one slow answer. */
static void home_follows_the_latency(void **state) {
  (void)state;
  lab_relay far = {0}, near = {0};
  node n;
  open_relays(&far, &near);
  node_open(&n, (lab_relay *[]){&far, &near}, 2);
  LAB_WAIT_FOR(is_home(&n, 1) && standby_of(&n) == 0);
  unsigned changes = n.changes;
  near.ping_ms = 4 * FAR_MS;
  km_relays_network_changed(n.r); /* what was measured before is of another network */
  LAB_WAIT_FOR(is_home(&n, 0));
  assert_int_equal(n.changes, changes + 1);
  near.ping_ms = FAR_MS;
  far.ping_ms = 4 * FAR_MS;
  for (int i = 0; i < 2; i++) { /* one slow answer, and another: the lowest counts */
    leap(76 * KM_NS_PER_S);
    run_for_ms(700);
    assert_int_equal(n.changes, changes + 1);
  }
  for (int i = 0; i < 4 && home_of(&n) == 0; i++) {
    leap(76 * KM_NS_PER_S);
    run_for_ms(700);
  }
  assert_int_equal(home_of(&n), 1);
  node_close(&n);
  close_relays(&far, &near);
}

/* All of them gone, and one back: nothing is named in between, and it is found again. */
static void none_is_named_when_none_answers(void **state) {
  (void)state;
  lab_relay far = {0}, near = {0}, again = {0};
  node n;
  open_relays(&far, &near);
  node_open(&n, (lab_relay *[]){&far, &near}, 2);
  LAB_WAIT_FOR(standby_of(&n) >= 0);
  uint16_t port = far.port;
  close_relays(&far, &near);
  LAB_WAIT_FOR(is_home(&n, -1));
  assert_int_equal(n.home[n.changes - 1], -1);
  lab_relay_open(&again, "127.0.0.1", port, NULL, NULL);
  km_relays_network_changed(n.r);
  LAB_WAIT_FOR(is_home(&n, 0));
  node_close(&n);
  lab_relay_close(&again);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_nearest_is_home),
      cmocka_unit_test(a_home_that_hangs_is_not_named),
      cmocka_unit_test(one_that_hangs_from_the_start_is_not_waited_for),
      cmocka_unit_test(one_that_throws_us_out_is_no_home),
      cmocka_unit_test(one_that_denies_us_is_no_home),
      cmocka_unit_test(home_follows_the_latency),
      cmocka_unit_test(none_is_named_when_none_answers),
  };
  return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
