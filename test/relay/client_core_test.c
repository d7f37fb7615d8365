/* The life of a relay client, by the clock of the test. */
#include "relay/client_core.h"
#include "test/relay/hex.h"

#define MS KM_NS_PER_MS
#define S KM_NS_PER_S

typedef struct core_test {
  test_env env;
  km_secret_key *key;
  km_relay_core core;
} core_test;

static int setup(void **state) {
  core_test *t = calloc(1, sizeof *t);
  test_env_init(&t->env);
  assert_int_equal(km_secret_key_generate(&t->key), 0);
  km_relay_core_init(&t->core, &t->env.env, t->key, 100 * S);
  *state = t;
  return 0;
}

static int teardown(void **state) {
  core_test *t = *state;
  km_secret_key_free(t->key);
  free(t);
  return 0;
}

static unsigned take_todo(km_relay_core *c) {
  unsigned todo = c->todo;
  c->todo = 0;
  return todo;
}

static km_relay_event give(km_relay_core *c, km_ts now, const void *msg, size_t len) {
  km_relay_frame frame;
  return km_relay_core_message(c, now, msg, len, &frame);
}

/* Connected at `now`, its first ping sent. */
static void connect_at(km_relay_core *c, km_ts now) {
  uint8_t buf[KM_RELAY_HANDSHAKE_MAX];
  assert_int_equal(take_todo(c) & KM_RELAY_TODO_DIAL, KM_RELAY_TODO_DIAL);
  km_relay_core_upgraded(c, now, KM_RELAY_V2);
  assert_int_equal(give(c, now, "\x02", 1), KM_RELAY_EVENT_NONE);
  assert_int_equal(c->state, KM_RELAY_CLIENT_CONNECTED);
  assert_int_equal(take_todo(c), KM_RELAY_TODO_TELL | KM_RELAY_TODO_SEND);
  assert_int_equal(km_relay_core_next_frame(c, buf), 9);
  assert_int_equal(buf[0], KM_RELAY_PING);
  assert_int_equal(km_relay_core_next_frame(c, buf), 0);
}

static void answer_ping(km_relay_core *c, km_ts now) {
  uint8_t pong[9] = {KM_RELAY_PONG};
  memcpy(pong + 1, c->ping.bytes, 8);
  assert_int_equal(give(c, now, pong, sizeof pong), KM_RELAY_EVENT_NONE);
}

static const km_errinfo refused = {.code = KM_ERR_RELAY_UNREACHABLE, .text = "refused"};
static const km_errinfo lost = {.code = KM_ERR_RELAY_LOST, .text = "lost"};

static void dials_at_once(void **state) {
  core_test *t = *state;
  assert_int_equal(t->core.state, KM_RELAY_CLIENT_CONNECTING);
  assert_int_equal(take_todo(&t->core), KM_RELAY_TODO_DIAL);
  assert_int_equal(km_relay_core_deadline(&t->core), 110 * S);
}

static void an_attempt_has_ten_seconds(void **state) {
  core_test *t = *state;
  take_todo(&t->core);
  km_relay_core_timer(&t->core, 110 * S - 1);
  assert_int_equal(t->core.state, KM_RELAY_CLIENT_CONNECTING);
  km_relay_core_timer(&t->core, 110 * S);
  assert_int_equal(t->core.state, KM_RELAY_CLIENT_WAITING);
  assert_int_equal(t->core.why.code, KM_ERR_RELAY_UNREACHABLE);
  assert_int_equal(take_todo(&t->core), KM_RELAY_TODO_CLOSE | KM_RELAY_TODO_TELL);
}

static void the_handshake_is_within_them(void **state) {
  core_test *t = *state;
  take_todo(&t->core);
  km_relay_core_upgraded(&t->core, 101 * S, KM_RELAY_V1);
  uint8_t challenge[17] = {KM_RELAY_SERVER_CHALLENGE, 1}, buf[KM_RELAY_HANDSHAKE_MAX];
  give(&t->core, 102 * S, challenge, sizeof challenge);
  assert_int_equal(take_todo(&t->core), KM_RELAY_TODO_SEND);
  assert_int_equal(km_relay_core_next_frame(&t->core, buf), 98);
  assert_int_equal(buf[0], KM_RELAY_CLIENT_AUTH);
  assert_int_equal(km_relay_core_next_frame(&t->core, buf), 0);
  assert_int_equal(km_relay_core_deadline(&t->core), 110 * S);
  km_relay_core_timer(&t->core, 110 * S);
  assert_int_equal(t->core.state, KM_RELAY_CLIENT_WAITING);
  assert_non_null(strstr(t->core.why.text, "handshake"));
}

/* --- far away -------------------------------------------------------------------------------- */

static void patience_has_bounds(void **state) {
  (void)state;
  assert_int_equal(km_relay_patience(5 * S, 3, 0, 45 * S), 5 * S);
  assert_int_equal(km_relay_patience(5 * S, 3, 1 * S, 45 * S), 5 * S);
  assert_int_equal(km_relay_patience(5 * S, 3, 2 * S, 45 * S), 6 * S);
  assert_int_equal(km_relay_patience(5 * S, 3, 15 * S, 45 * S), 45 * S);
  assert_int_equal(km_relay_patience(5 * S, 3, 16 * S, 45 * S), 45 * S);
  assert_int_equal(km_relay_patience(5 * S, 3, UINT64_MAX, 45 * S), 45 * S);
  assert_int_equal(km_relay_patience(60 * S, 3, UINT64_MAX, 45 * S), 60 * S); /* as configured */
}

/* TCP, TLS, the upgrade and the login take 9 s each. */
static void who_answers_slowly_has_three_times_as_long_again(void **state) {
  core_test *t = *state;
  uint8_t challenge[17] = {KM_RELAY_SERVER_CHALLENGE, 1};
  take_todo(&t->core);
  assert_int_equal(km_relay_core_round_trip(&t->core), 0);
  for (km_ts now = 109 * S; now <= 118 * S; now += 9 * S) {
    km_relay_core_answered(&t->core, now);
    assert_int_equal(km_relay_core_deadline(&t->core), now + 27 * S);
    km_relay_core_timer(&t->core, now + 27 * S - 1);
    assert_int_equal(t->core.state, KM_RELAY_CLIENT_CONNECTING);
    assert_int_equal(km_relay_core_round_trip(&t->core), 9 * S);
  }
  km_relay_core_upgraded(&t->core, 127 * S, KM_RELAY_V2);
  give(&t->core, 127 * S, challenge, sizeof challenge);
  assert_int_equal(km_relay_core_deadline(&t->core), 154 * S);
  give(&t->core, 136 * S, "\x02", 1);
  assert_int_equal(t->core.state, KM_RELAY_CLIENT_CONNECTED);
  assert_int_equal(km_relay_core_deadline(&t->core), 163 * S); /* for the first pong */
}

static void who_stops_answering_is_given_up(void **state) {
  core_test *t = *state;
  take_todo(&t->core);
  km_relay_core_answered(&t->core, 109 * S);
  km_relay_core_timer(&t->core, 136 * S);
  assert_int_equal(t->core.state, KM_RELAY_CLIENT_WAITING);
  assert_non_null(strstr(t->core.why.text, "within 36 s"));
}

/* What hangs after quick answers costs no more than before. */
static void quick_answers_give_no_more_time(void **state) {
  core_test *t = *state;
  take_todo(&t->core);
  km_relay_core_answered(&t->core, 100 * S + 100 * MS);
  km_relay_core_answered(&t->core, 100 * S + 300 * MS);
  km_relay_core_upgraded(&t->core, 100 * S + 400 * MS, KM_RELAY_V2);
  assert_int_equal(km_relay_core_deadline(&t->core), 110 * S);
}

static void an_attempt_is_over_after_ninety_seconds(void **state) {
  core_test *t = *state;
  take_todo(&t->core);
  for (km_ts now = 109 * S; now < 190 * S; now += 9 * S) {
    km_relay_core_answered(&t->core, now);
    assert_in_range(km_relay_core_deadline(&t->core), now + 1, 190 * S);
  }
  km_relay_core_timer(&t->core, 190 * S);
  assert_int_equal(t->core.state, KM_RELAY_CLIENT_WAITING);
}

/* The next attempt; gives back when it began. */
static km_ts try_again(km_relay_core *c) {
  km_ts now = km_relay_core_deadline(c);
  km_relay_core_timer(c, now);
  assert_int_equal(c->state, KM_RELAY_CLIENT_CONNECTING);
  take_todo(c);
  return now;
}

static void after_silence_the_first_answer_has_longer(void **state) {
  core_test *t = *state;
  km_relay_core *c = &t->core;
  km_relay_core_timer(c, 110 * S);
  assert_non_null(strstr(c->why.text, "within 10 s"));
  for (int i = 0; i < 3; i++) {
    km_ts began = try_again(c);
    assert_int_equal(km_relay_core_deadline(c), began + 20 * S);
    km_relay_core_timer(c, began + 20 * S);
    assert_non_null(strstr(c->why.text, "within 20 s"));
  }
  km_ts began = try_again(c);
  km_relay_core_answered(c, began + 15 * S);
  assert_int_equal(km_relay_core_deadline(c), began + 60 * S);
  km_relay_core_lost(c, began + 20 * S, &lost);
  began = try_again(c); /* it is known to be far */
  assert_int_equal(km_relay_core_deadline(c), began + 20 * S);
  km_relay_core_answered(c, began + 1 * MS); /* it is not any more */
  assert_int_equal(km_relay_core_deadline(c), began + 10 * S);
  km_relay_core_lost(c, began + 2 * MS, &lost);
  began = try_again(c);
  assert_int_equal(km_relay_core_deadline(c), began + 10 * S);
}

static void a_refusal_is_no_silence(void **state) {
  core_test *t = *state;
  take_todo(&t->core);
  km_relay_core_lost(&t->core, 109 * S, &refused);
  km_ts began = try_again(&t->core);
  assert_int_equal(km_relay_core_deadline(&t->core), began + 10 * S);
}

static void another_network_may_be_nearer(void **state) {
  core_test *t = *state;
  km_relay_core_timer(&t->core, 110 * S);
  km_relay_core_network_changed(&t->core, 111 * S, false);
  assert_int_equal(km_relay_core_deadline(&t->core), 121 * S);
}

static void pongs_have_three_round_trips(void **state) {
  core_test *t = *state;
  km_relay_core *c = &t->core;
  connect_at(c, 101 * S);
  answer_ping(c, 105 * S);
  km_relay_core_timer(c, 120 * S);
  assert_int_equal(km_relay_core_deadline(c), 132 * S); /* 4 s each */
  answer_ping(c, 130 * S);
  km_relay_core_timer(c, 145 * S);
  assert_int_equal(km_relay_core_deadline(c), 175 * S);
  answer_ping(c, 165 * S);
  km_relay_core_network_changed(c, 170 * S, false);
  assert_int_equal(km_relay_core_deadline(c), 215 * S); /* 20 s each would be a minute */
  km_relay_core_timer(c, 215 * S);
  assert_int_equal(c->state, KM_RELAY_CLIENT_WAITING);
}

static void messages_before_the_upgrade_are_not_read(void **state) {
  core_test *t = *state;
  take_todo(&t->core);
  give(&t->core, 101 * S, "\x02", 1);
  assert_int_equal(t->core.state, KM_RELAY_CLIENT_CONNECTING);
}

static void waits_longer_each_time(void **state) {
  core_test *t = *state;
  uint64_t most = 10 * MS;
  km_ts now = 100 * S, longest = 0;
  for (int i = 0; i < 40; i++) {
    take_todo(&t->core);
    km_relay_core_lost(&t->core, now, &refused);
    assert_int_equal(take_todo(&t->core), KM_RELAY_TODO_CLOSE | KM_RELAY_TODO_TELL);
    km_ts at = km_relay_core_deadline(&t->core);
    /* While connections may still be waiting for the relay, never for long. */
    km_ts ceiling = now < 130 * S ? 4 * S : 16 * S;
    assert_in_range(at, now, now + (most < ceiling ? most : ceiling));
    longest = at - now > longest ? at - now : longest;
    if (at > now) {
      km_relay_core_timer(&t->core, at - 1);
      assert_int_equal(t->core.state, KM_RELAY_CLIENT_WAITING);
    }
    km_relay_core_timer(&t->core, at);
    assert_int_equal(t->core.state, KM_RELAY_CLIENT_CONNECTING);
    assert_int_equal(t->core.why.code, 0);
    assert_int_equal(take_todo(&t->core), KM_RELAY_TODO_DIAL | KM_RELAY_TODO_TELL);
    now = at;
    most = most < 8 * S ? 2 * most : 16 * S;
  }
  assert_true(longest > 4 * S); /* it is random, and not always small */
  assert_int_equal(t->core.failures, 40);
}

static void comes_back_at_once_after_a_connection_that_worked(void **state) {
  core_test *t = *state;
  connect_at(&t->core, 101 * S);
  answer_ping(&t->core, 101 * S + 20 * MS);
  assert_int_equal(t->core.ping.rtt, 20 * MS);
  km_relay_core_lost(&t->core, 200 * S, &lost);
  assert_in_range(km_relay_core_deadline(&t->core), 200 * S, 200 * S + 100 * MS);
  assert_int_equal(t->core.backoff.tries, 0);
}

static void a_connection_without_a_pong_counts_as_a_failure(void **state) {
  core_test *t = *state;
  connect_at(&t->core, 101 * S);
  km_relay_core_lost(&t->core, 103 * S, &lost);
  assert_int_equal(t->core.backoff.tries, 1);
  assert_in_range(km_relay_core_deadline(&t->core), 103 * S, 103 * S + 10 * MS);
}

/* A relay that takes us and throws us out at once is not dialled in a tight loop. */
static void short_sessions_do_not_reset_the_back_off(void **state) {
  core_test *t = *state;
  km_ts now = 101 * S;
  for (unsigned i = 0; i < 5; i++) {
    connect_at(&t->core, now);
    answer_ping(&t->core, now + 1 * MS);
    km_relay_core_lost(&t->core, now + 2 * MS, &lost);
    assert_int_equal(t->core.backoff.tries, i + 1);
    take_todo(&t->core);
    now = km_relay_core_deadline(&t->core);
    km_relay_core_timer(&t->core, now);
  }
}

/* Another endpoint has our id, and the relay throws the older one out: however long that took, the
 * two of them do not chase each other. */
static void an_id_that_is_contested_waits_longer(void **state) {
  core_test *t = *state;
  km_ts now = 101 * S;
  uint64_t most = 1280 * MS, sum = 0;
  for (unsigned i = 0; i < 20; i++) {
    connect_at(&t->core, now);
    answer_ping(&t->core, now + 1 * MS);
    assert_int_equal(give(&t->core, now + 60 * S, "\x0d\x01", 2), KM_RELAY_EVENT_ELSEWHERE);
    km_relay_core_lost(&t->core, now + 60 * S, &lost);
    take_todo(&t->core);
    km_ts at = km_relay_core_deadline(&t->core);
    assert_in_range(at, now + 60 * S, now + 60 * S + most);
    sum += at - (now + 60 * S);
    most = most < 8 * S ? 2 * most : 16 * S;
    now = at;
    km_relay_core_timer(&t->core, now);
  }
  assert_true(sum > 30 * S); /* 20 waits of 0 to 16 s */
  connect_at(&t->core, now);
  answer_ping(&t->core, now + 1 * MS);
  km_relay_core_lost(&t->core, now + 60 * S, &lost); /* the other one is gone */
  assert_in_range(km_relay_core_deadline(&t->core), now + 60 * S, now + 60 * S + 100 * MS);
}

static void a_restart_spreads_its_clients(void **state) {
  core_test *t = *state;
  static const uint8_t restarting[] = {KM_RELAY_RESTARTING, 0, 0, 0x13, 0x88, 0, 0, 0x75, 0x30};
  connect_at(&t->core, 101 * S);
  answer_ping(&t->core, 102 * S);
  give(&t->core, 110 * S, restarting, sizeof restarting); /* in 5 s, for 30 s */
  assert_int_equal(t->core.state, KM_RELAY_CLIENT_CONNECTED);
  km_relay_core_lost(&t->core, 111 * S, &lost);
  km_ts now = km_relay_core_deadline(&t->core), until = now + 30 * S;
  assert_in_range(now, 111 * S, 116 * S);
  while (now < until) {
    km_relay_core_timer(&t->core, now);
    km_relay_core_lost(&t->core, now, &refused);
    km_ts next = km_relay_core_deadline(&t->core);
    assert_in_range(next, now, now + 1 * S); /* short waits all the while */
    now = next + 1;
  }
  for (int i = 0; i < 4; i++) { /* then as always */
    km_relay_core_timer(&t->core, now);
    km_relay_core_lost(&t->core, now, &refused);
    assert_in_range(km_relay_core_deadline(&t->core), now, now + 16 * S);
    now = km_relay_core_deadline(&t->core);
  }
}

static void a_restart_does_not_last_for_ever(void **state) {
  core_test *t = *state;
  static const uint8_t restarting[] = {
      KM_RELAY_RESTARTING, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
  connect_at(&t->core, 101 * S);
  give(&t->core, 110 * S, restarting, sizeof restarting);
  km_relay_core_lost(&t->core, 111 * S, &lost);
  assert_in_range(km_relay_core_deadline(&t->core), 111 * S, 171 * S);
  assert_in_range(t->core.restart_until, 111 * S, 171 * S + 600 * S);
}

static void pings_after_fifteen_seconds_of_silence(void **state) {
  core_test *t = *state;
  uint8_t buf[KM_RELAY_HANDSHAKE_MAX];
  connect_at(&t->core, 101 * S);
  assert_int_equal(km_relay_core_deadline(&t->core), 106 * S); /* no round trip is known: 5 s */
  answer_ping(&t->core, 101 * S + 400 * MS);
  assert_int_equal(km_relay_core_deadline(&t->core), 116 * S + 400 * MS);
  km_relay_core_timer(&t->core, 116 * S + 400 * MS - 1);
  assert_int_equal(take_todo(&t->core), 0);
  km_relay_core_timer(&t->core, 116 * S + 400 * MS);
  assert_int_equal(take_todo(&t->core), KM_RELAY_TODO_SEND);
  assert_int_equal(km_relay_core_next_frame(&t->core, buf), 9);
  assert_int_equal(km_relay_core_deadline(&t->core), 117 * S + 600 * MS); /* 3 round trips */
  km_relay_core_timer(&t->core, 117 * S + 600 * MS);
  assert_int_equal(t->core.state, KM_RELAY_CLIENT_WAITING);
  assert_int_equal(t->core.why.code, KM_ERR_RELAY_LOST);
}

static void frames_put_the_ping_off(void **state) {
  core_test *t = *state;
  static const uint8_t pong[9] = {KM_RELAY_PONG, 1, 2, 3};
  connect_at(&t->core, 101 * S);
  answer_ping(&t->core, 101 * S + 400 * MS);
  give(&t->core, 110 * S, pong, sizeof pong); /* of nobody's ping */
  assert_int_equal(km_relay_core_deadline(&t->core), 125 * S);
  assert_int_equal(t->core.ping.rtt, 400 * MS);
  assert_int_equal(t->core.last_rx, 110 * S);
}

/* A pong may be stuck behind a lot of data, but who sends data is there. */
static void who_speaks_is_not_lost(void **state) {
  core_test *t = *state;
  static const uint8_t status[2] = {KM_RELAY_STATUS, 99};
  connect_at(&t->core, 101 * S);
  give(&t->core, 105 * S, status, sizeof status);
  km_relay_core_timer(&t->core, 106 * S);
  assert_int_equal(t->core.state, KM_RELAY_CLIENT_CONNECTED);
  assert_int_equal(km_relay_core_deadline(&t->core), 110 * S);
  km_relay_core_timer(&t->core, 110 * S);
  assert_int_equal(t->core.state, KM_RELAY_CLIENT_WAITING);
}

static void who_speaks_and_never_answers_is_lost(void **state) {
  core_test *t = *state;
  static const uint8_t status[2] = {KM_RELAY_STATUS, 99};
  connect_at(&t->core, 101 * S);
  for (km_ts now = 102 * S; now < 146 * S; now += S) {
    give(&t->core, now, status, sizeof status);
    km_relay_core_timer(&t->core, now);
    assert_int_equal(t->core.state, KM_RELAY_CLIENT_CONNECTED);
  }
  assert_int_equal(km_relay_core_deadline(&t->core), 146 * S);
  km_relay_core_timer(&t->core, 146 * S);
  assert_int_equal(t->core.state, KM_RELAY_CLIENT_WAITING);
}

static void a_check_has_its_own_deadline(void **state) {
  core_test *t = *state;
  km_relay_core_check(&t->core, 100 * S, 300 * MS);
  assert_int_equal(take_todo(&t->core), KM_RELAY_TODO_DIAL); /* nothing is connected */
  t->core.todo = KM_RELAY_TODO_DIAL;
  connect_at(&t->core, 101 * S);
  answer_ping(&t->core, 102 * S);
  km_relay_core_check(&t->core, 103 * S, 300 * MS);
  assert_int_equal(take_todo(&t->core), KM_RELAY_TODO_SEND);
  assert_int_equal(km_relay_core_deadline(&t->core), 103 * S + 300 * MS);
  uint8_t before[8];
  memcpy(before, t->core.ping.bytes, 8);
  km_relay_core_check(&t->core, 103 * S + 100 * MS, 10 * S); /* one is under way */
  assert_memory_equal(before, t->core.ping.bytes, 8);
  assert_int_equal(take_todo(&t->core), 0);
  answer_ping(&t->core, 103 * S + 200 * MS);
  assert_int_equal(t->core.ping.rtt, 200 * MS);
  km_relay_core_check(&t->core, 104 * S, 300 * MS);
  km_relay_core_timer(&t->core, 104 * S + 300 * MS);
  assert_int_equal(t->core.state, KM_RELAY_CLIENT_WAITING);
}

static void a_new_network_starts_afresh(void **state) {
  core_test *t = *state;
  take_todo(&t->core);
  km_relay_core_network_changed(&t->core, 105 * S, false); /* in the middle of an attempt */
  assert_int_equal(take_todo(&t->core), KM_RELAY_TODO_CLOSE | KM_RELAY_TODO_DIAL);
  assert_int_equal(km_relay_core_deadline(&t->core), 115 * S);

  t->core.backoff.tries = 9;
  km_relay_core_lost(&t->core, 106 * S, &refused); /* while waiting */
  take_todo(&t->core);
  km_relay_core_network_changed(&t->core, 106 * S, false);
  assert_int_equal(t->core.state, KM_RELAY_CLIENT_CONNECTING);
  assert_int_equal(t->core.backoff.tries, 0);
  assert_int_equal(t->core.todo, KM_RELAY_TODO_DIAL | KM_RELAY_TODO_TELL);

  connect_at(&t->core, 107 * S); /* while connected */
  answer_ping(&t->core, 107 * S + 10 * MS);
  km_relay_core_network_changed(&t->core, 108 * S, false);
  assert_int_equal(take_todo(&t->core), KM_RELAY_TODO_SEND);
  assert_int_equal(km_relay_core_deadline(&t->core), 108 * S + 500 * MS);
}

static void pings_are_answered(void **state) {
  core_test *t = *state;
  uint8_t buf[KM_RELAY_HANDSHAKE_MAX];
  static const uint8_t ping[9] = {KM_RELAY_PING, 8, 7, 6, 5, 4, 3, 2, 1};
  connect_at(&t->core, 101 * S);
  give(&t->core, 102 * S, ping, sizeof ping);
  assert_int_equal(take_todo(&t->core), KM_RELAY_TODO_SEND);
  assert_int_equal(km_relay_core_next_frame(&t->core, buf), 9);
  assert_int_equal(buf[0], KM_RELAY_PONG);
  assert_memory_equal(buf + 1, ping + 1, 8);
  assert_int_equal(km_relay_core_next_frame(&t->core, buf), 0);
}

static void a_denial_is_told_and_tried_again(void **state) {
  core_test *t = *state;
  take_todo(&t->core);
  km_relay_core_upgraded(&t->core, 101 * S, KM_RELAY_V2);
  give(&t->core, 101 * S, "\x03\x02no", 4);
  assert_int_equal(t->core.state, KM_RELAY_CLIENT_WAITING);
  assert_int_equal(t->core.why.code, KM_ERR_RELAY_DENIED);
  km_relay_core_lost(&t->core, 101 * S, &lost); /* the socket's end comes later and says nothing */
  assert_int_equal(t->core.why.code, KM_ERR_RELAY_DENIED);
  assert_int_equal(t->core.failures, 1);
}

static void the_same_id_elsewhere_is_told(void **state) {
  core_test *t = *state;
  connect_at(&t->core, 101 * S);
  assert_int_equal(give(&t->core, 102 * S, "\x0d\x00", 2), KM_RELAY_EVENT_NONE);
  assert_int_equal(give(&t->core, 102 * S, "\x0d\x01", 2), KM_RELAY_EVENT_ELSEWHERE);
  assert_int_equal(give(&t->core, 102 * S, "\x0d\x02", 2), KM_RELAY_EVENT_NONE);
  assert_int_equal(give(&t->core, 102 * S, "\x0d\x00", 2), KM_RELAY_EVENT_ALONE);
  assert_int_equal(give(&t->core, 102 * S, "\x0d\x00", 2), KM_RELAY_EVENT_NONE);
}

static void what_is_broken_ends_it(void **state) {
  core_test *t = *state;
  uint8_t gone[33] = {KM_RELAY_ENDPOINT_GONE};
  memset(gone + 1, 2, 32); /* no point of the curve: 0202... */
  connect_at(&t->core, 101 * S);
  give(&t->core, 102 * S, gone, sizeof gone);
  assert_int_equal(t->core.state, KM_RELAY_CLIENT_WAITING);
  assert_int_equal(t->core.why.code, KM_ERR_RELAY_PROTOCOL);
}

#define CORE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      CORE_TEST(dials_at_once),
      CORE_TEST(an_attempt_has_ten_seconds),
      CORE_TEST(the_handshake_is_within_them),
      cmocka_unit_test(patience_has_bounds),
      CORE_TEST(who_answers_slowly_has_three_times_as_long_again),
      CORE_TEST(who_stops_answering_is_given_up),
      CORE_TEST(quick_answers_give_no_more_time),
      CORE_TEST(an_attempt_is_over_after_ninety_seconds),
      CORE_TEST(after_silence_the_first_answer_has_longer),
      CORE_TEST(a_refusal_is_no_silence),
      CORE_TEST(another_network_may_be_nearer),
      CORE_TEST(pongs_have_three_round_trips),
      CORE_TEST(messages_before_the_upgrade_are_not_read),
      CORE_TEST(waits_longer_each_time),
      CORE_TEST(comes_back_at_once_after_a_connection_that_worked),
      CORE_TEST(a_connection_without_a_pong_counts_as_a_failure),
      CORE_TEST(short_sessions_do_not_reset_the_back_off),
      CORE_TEST(an_id_that_is_contested_waits_longer),
      CORE_TEST(a_restart_spreads_its_clients),
      CORE_TEST(a_restart_does_not_last_for_ever),
      CORE_TEST(pings_after_fifteen_seconds_of_silence),
      CORE_TEST(frames_put_the_ping_off),
      CORE_TEST(who_speaks_is_not_lost),
      CORE_TEST(who_speaks_and_never_answers_is_lost),
      CORE_TEST(a_check_has_its_own_deadline),
      CORE_TEST(a_new_network_starts_afresh),
      CORE_TEST(pings_are_answered),
      CORE_TEST(a_denial_is_told_and_tried_again),
      CORE_TEST(the_same_id_elsewhere_is_told),
      CORE_TEST(what_is_broken_ends_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
