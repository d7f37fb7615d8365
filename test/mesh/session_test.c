/* endpoint/mesh/session.c: both roles, with bytes and times in hand. */
#include "test/endpoint/unit/test_env.h"

#include <stdio.h>

#include "endpoint/mesh/session.h"

#define BEAT (20 * KM_NS_PER_S)
#define SILENCE (60 * KM_NS_PER_S)
#define PATIENCE (5 * KM_NS_PER_S)
#define START (1000 * KM_NS_PER_S)

static char *a_shares[] = {"docs"};
static char *b_shares[] = {"docs", "music"};
static const km_capabilities a_caps = {.shares = a_shares, .share_count = 1};
static const km_capabilities b_caps = {.shares = b_shares, .share_count = 2};

/* Two sessions, or one and a peer that we play. */
typedef struct pair {
  test_env env;
  km_session *a, *b; /* a dialled */
  km_ts now;
  const char *refusal;
  unsigned asked;
  char asked_name[KM_NODE_ID_MAX + 1];
} pair;

static const char *refuse(void *ctx, const km_control *hello) {
  pair *p = ctx;
  p->asked++;
  snprintf(p->asked_name, sizeof p->asked_name, "%s", hello->node_id);
  return p->refusal;
}

static km_wall wall_of(const pair *p) {
  return (km_wall){INT64_C(1790000000) * 1000000000 + (int64_t)(p->now - START)};
}

static km_session_config config_of(pair *p, bool initiator) {
  return (km_session_config){.env = &p->env.env,
                             .initiator = initiator,
                             .node_id = initiator ? "node-a" : "node-b",
                             .instance = initiator ? 0xa : 0xb,
                             .caps = initiator ? &a_caps : &b_caps,
                             .heartbeat_ns = BEAT,
                             .silence_ns = SILENCE,
                             .hello_timeout_ns = PATIENCE,
                             .refuse = initiator ? NULL : refuse,
                             .ctx = p};
}

static void open_pair(pair *p) {
  *p = (pair){.now = START};
  test_env_init(&p->env, 1);
  km_session_config a = config_of(p, true), b = config_of(p, false);
  assert_int_equal(km_session_new(&p->a, &a, p->now, wall_of(p)), 0);
  assert_int_equal(km_session_new(&p->b, &b, p->now, wall_of(p)), 0);
}

static void close_pair(pair *p) {
  km_session_free(p->a);
  km_session_free(p->b);
  assert_int_equal(p->env.live, 0);
}

/* Gives `to` what `from` has to send; the first event. */
static km_session_event carry(pair *p, km_session *from, km_session *to, km_errinfo *err) {
  const uint8_t *bytes;
  size_t len = km_session_output(from, &bytes);
  km_session_event event = km_session_receive(to, bytes, len, p->now, wall_of(p), err);
  km_session_sent(from, len);
  return event;
}

static km_session_event tick(pair *p, km_session *s, km_errinfo *err) {
  return km_session_tick(s, p->now, wall_of(p), err);
}

static void shake_hands(pair *p) {
  km_errinfo err;
  assert_int_equal(carry(p, p->a, p->b, &err), KM_SESSION_UP);
  assert_int_equal(carry(p, p->b, p->a, &err), KM_SESSION_UP);
}

static km_session_info info_of(const km_session *s) {
  km_session_info info;
  km_session_get_info(s, &info);
  return info;
}

/* A frame of our own making. */
static size_t frame(uint8_t *buf, const char *json) {
  size_t len = strlen(json);
  const uint8_t head[] = {(uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
                          (uint8_t)len};
  memcpy(buf, head, sizeof head);
  memcpy(buf + sizeof head, json, len);
  return len + sizeof head;
}

static km_session_event say(pair *p, km_session *to, const char *json, km_errinfo *err) {
  uint8_t buf[1024];
  return km_session_receive(to, buf, frame(buf, json), p->now, wall_of(p), err);
}

#define SEED_HELLO                                                                                 \
  "{\"type\":\"HELLO\",\"node_id\":\"old\",\"version\":\"1.0\",\"capabilities\":{}}"
#define SEED_ACK                                                                                   \
  "{\"type\":\"ACK\",\"ok\":true,\"reason\":null,\"peer_id\":\"old\",\"capabilities\":{}}"
#define SEED_BEAT "{\"type\":\"HEARTBEAT\",\"ts\":1790000000}"
#define UNKNOWN "{\"type\":\"GOSSIP\"}"

/* --- handshake ------------------------------------------------------------------------------- */

static void both_sides_come_up_and_know_each_other(void **state) {
  (void)state;
  pair p;
  open_pair(&p);
  p.now += 1500 * KM_NS_PER_MS;
  shake_hands(&p);
  km_session_info a = info_of(p.a), b = info_of(p.b);
  assert_string_equal(a.node_id, "node-b");
  assert_string_equal(b.node_id, "node-a");
  assert_string_equal(p.asked_name, "node-a");
  assert_int_equal(p.asked, 1);
  assert_string_equal(a.version, KM_MESH_VERSION);
  assert_string_equal(b.version, KM_MESH_VERSION);
  assert_true(a.instance == 0xb && b.instance == 0xa);
  assert_int_equal(a.caps->share_count, 2);
  assert_int_equal(b.caps->share_count, 1);
  assert_string_equal(b.caps->shares[0], "docs");
  assert_true(a.hello_ms == INT64_C(1790000000000) && a.ack_ms == INT64_C(1790000001500));
  assert_true(b.hello_ms == INT64_C(1790000001500) && b.ack_ms == INT64_C(1790000001500));
  assert_true(a.heartbeat_ms == 0 && a.rtt_us == 0);
  close_pair(&p);
}

static void the_accepting_side_says_nothing_before_hello(void **state) {
  (void)state;
  pair p;
  open_pair(&p);
  const uint8_t *bytes;
  assert_int_equal(km_session_output(p.b, &bytes), 0);
  assert_true(km_session_output(p.a, &bytes) > 0);
  close_pair(&p);
}

static void a_peer_of_the_first_protocol_comes_up_on_either_side(void **state) {
  (void)state;
  pair p;
  km_errinfo err;
  open_pair(&p);
  assert_int_equal(say(&p, p.b, SEED_HELLO, &err), KM_SESSION_UP);
  assert_int_equal(say(&p, p.a, SEED_ACK, &err), KM_SESSION_UP);
  assert_true(info_of(p.a).instance == 0 && info_of(p.b).instance == 0);
  assert_string_equal(info_of(p.a).version, "");
  assert_int_equal(say(&p, p.b, SEED_BEAT, &err), KM_SESSION_NOTHING);
  assert_int_equal(say(&p, p.a, SEED_BEAT, &err), KM_SESSION_NOTHING);
  assert_true(info_of(p.a).heartbeat_ms > 0 && info_of(p.a).rtt_us == 0);
  close_pair(&p);
}

static void refused_peers_are_told_why_and_not_what_there_is(void **state) {
  (void)state;
  pair p;
  km_errinfo err;
  open_pair(&p);
  p.refusal = "waiting for approval";
  assert_int_equal(carry(&p, p.a, p.b, &err), KM_SESSION_REFUSED);
  assert_string_equal(info_of(p.b).reason, "waiting for approval");
  assert_int_equal(carry(&p, p.b, p.a, &err), KM_SESSION_REFUSED);
  assert_string_equal(info_of(p.a).reason, "waiting for approval");
  assert_int_equal(info_of(p.a).caps->share_count, 0);
  assert_true(km_session_next(p.a) == KM_TS_NEVER && km_session_next(p.b) == KM_TS_NEVER);
  close_pair(&p);
}

static void a_refusal_without_a_reason_still_has_words(void **state) {
  (void)state;
  pair p;
  km_errinfo err;
  open_pair(&p);
  assert_int_equal(
      say(&p, p.a, "{\"type\":\"ACK\",\"ok\":false,\"peer_id\":\"b\",\"capabilities\":{}}", &err),
      KM_SESSION_REFUSED);
  assert_true(strlen(info_of(p.a).reason) > 0);
  close_pair(&p);
}

static void another_major_version_is_refused_by_name_on_both_sides(void **state) {
  (void)state;
  pair p;
  km_errinfo err;
  open_pair(&p);
  assert_int_equal(
      say(&p, p.b, "{\"type\":\"HELLO\",\"node_id\":\"n\",\"version\":\"2.0\",\"capabilities\":{}}",
          &err),
      KM_SESSION_REFUSED);
  assert_int_equal(p.asked, 0); /* it does not get as far as trust */
  assert_non_null(strstr(info_of(p.b).reason, "incompatible version"));
  assert_non_null(strstr(info_of(p.b).reason, "2.0"));
  assert_int_equal(carry(&p, p.b, p.a, &err), KM_SESSION_REFUSED);
  assert_non_null(strstr(info_of(p.a).reason, "incompatible version"));
  close_pair(&p);
  open_pair(&p);
  assert_int_equal(say(&p, p.a,
                       "{\"type\":\"ACK\",\"ok\":true,\"peer_id\":\"n\",\"version\":\"2.0\","
                       "\"capabilities\":{}}",
                       &err),
                   KM_SESSION_REFUSED);
  assert_non_null(strstr(info_of(p.a).reason, "incompatible version"));
  close_pair(&p);
}

static void a_later_minor_version_comes_up(void **state) {
  (void)state;
  pair p;
  km_errinfo err;
  open_pair(&p);
  assert_int_equal(say(&p, p.b,
                       "{\"type\":\"HELLO\",\"node_id\":\"n\",\"version\":\"1.9\","
                       "\"capabilities\":{\"features\":[\"of tomorrow\"]},\"more\":1}",
                       &err),
                   KM_SESSION_UP);
  assert_string_equal(info_of(p.b).version, "1.9");
  close_pair(&p);
}

/* --- what breaks it -------------------------------------------------------------------------- */

/* Who gets it in which state: 'i' before ACK, 'a' before HELLO, 'I' and 'A' when up. */
static void what_comes_out_of_turn_breaks_the_session(void **state) {
  (void)state;
  static const struct {
    char who;
    const char *json, *says;
  } cases[] = {
      {'a', SEED_ACK, "ACK before HELLO"},
      {'a', SEED_BEAT, "HEARTBEAT before HELLO"},
      {'a', UNKNOWN, "before HELLO"},
      {'a', "{}", "type"},
      {'i', SEED_HELLO, "HELLO before ACK"},
      {'i', SEED_BEAT, "HEARTBEAT before ACK"},
      {'i', UNKNOWN, "before ACK"},
      {'I', SEED_HELLO, "HELLO after the handshake"},
      {'I', SEED_ACK, "ACK after the handshake"},
      {'A', SEED_HELLO, "HELLO after the handshake"},
      {'A', SEED_ACK, "ACK after the handshake"},
      {'A', "{\"type\":\"HEARTBEAT\"}", "ts"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    pair p;
    km_errinfo err = {0};
    open_pair(&p);
    if (cases[i].who == 'I' || cases[i].who == 'A') {
      shake_hands(&p);
    }
    km_session *s = cases[i].who == 'i' || cases[i].who == 'I' ? p.a : p.b;
    assert_int_equal(say(&p, s, cases[i].json, &err), KM_SESSION_BROKEN);
    if (strstr(err.text, cases[i].says) == NULL) {
      fail_msg("%s: %s", cases[i].json, err.text);
    }
    /* Nothing comes after the end. */
    assert_int_equal(say(&p, s, SEED_BEAT, &err), KM_SESSION_NOTHING);
    p.now += 2 * SILENCE;
    assert_int_equal(tick(&p, s, &err), KM_SESSION_NOTHING);
    assert_true(km_session_next(s) == KM_TS_NEVER);
    close_pair(&p);
  }
}

static void unknown_frames_are_passed_over_once_up(void **state) {
  (void)state;
  pair p;
  km_errinfo err;
  open_pair(&p);
  shake_hands(&p);
  assert_int_equal(say(&p, p.b, UNKNOWN, &err), KM_SESSION_NOTHING);
  assert_int_equal(say(&p, p.b, SEED_BEAT, &err), KM_SESSION_NOTHING);
  assert_int_equal(info_of(p.b).heartbeats_in, 1);
  close_pair(&p);
}

static void a_bad_length_breaks_it(void **state) {
  (void)state;
  pair p;
  km_errinfo err;
  const uint8_t zero[4] = {0};
  open_pair(&p);
  assert_int_equal(km_session_receive(p.b, zero, 4, p.now, wall_of(&p), &err), KM_SESSION_BROKEN);
  assert_int_equal(err.code, KM_ERR_BAD_PACKET);
  close_pair(&p);
}

static void a_flood_of_heartbeats_breaks_it(void **state) {
  (void)state;
  pair p;
  km_errinfo err;
  open_pair(&p);
  shake_hands(&p);
  unsigned taken = 0;
  while (say(&p, p.b, SEED_BEAT, &err) == KM_SESSION_NOTHING) {
    assert_true(++taken < 2000);
  }
  assert_int_equal(err.code, KM_ERR_LIMIT);
  close_pair(&p);
  /* The same number within a longer time is none. */
  open_pair(&p);
  shake_hands(&p);
  for (unsigned i = 0; i < 2 * taken; i++) {
    p.now += 100 * KM_NS_PER_MS;
    assert_int_equal(say(&p, p.b, SEED_BEAT, &err), KM_SESSION_NOTHING);
  }
  close_pair(&p);
}

/* --- events, one after the other -------------------------------------------------------------- */

static void what_comes_behind_an_event_waits_for_the_next_call(void **state) {
  (void)state;
  pair p;
  km_errinfo err;
  uint8_t buf[1024];
  open_pair(&p);
  size_t len = frame(buf, SEED_HELLO);
  len += frame(buf + len, SEED_BEAT);
  len += frame(buf + len, UNKNOWN);
  len += frame(buf + len, SEED_BEAT);
  len += frame(buf + len, SEED_HELLO);
  len += frame(buf + len, SEED_BEAT);
  assert_int_equal(km_session_receive(p.b, buf, len, p.now, wall_of(&p), &err), KM_SESSION_UP);
  assert_int_equal(info_of(p.b).heartbeats_in, 0);
  assert_int_equal(km_session_receive(p.b, NULL, 0, p.now, wall_of(&p), &err), KM_SESSION_BROKEN);
  assert_int_equal(info_of(p.b).heartbeats_in, 2);
  assert_int_equal(km_session_receive(p.b, NULL, 0, p.now, wall_of(&p), &err), KM_SESSION_NOTHING);
  close_pair(&p);
}

static void a_byte_at_a_time_gives_the_same(void **state) {
  (void)state;
  pair p;
  km_errinfo err;
  open_pair(&p);
  const uint8_t *bytes;
  size_t len = km_session_output(p.a, &bytes);
  for (size_t i = 0; i + 1 < len; i++) {
    assert_int_equal(km_session_receive(p.b, bytes + i, 1, p.now, wall_of(&p), &err),
                     KM_SESSION_NOTHING);
  }
  assert_int_equal(km_session_receive(p.b, bytes + len - 1, 1, p.now, wall_of(&p), &err),
                   KM_SESSION_UP);
  km_session_sent(p.a, len);
  close_pair(&p);
}

static void output_may_go_in_pieces(void **state) {
  (void)state;
  pair p;
  km_errinfo err;
  open_pair(&p);
  km_session_event event = KM_SESSION_NOTHING;
  const uint8_t *bytes;
  while (km_session_output(p.a, &bytes) > 0) {
    assert_int_equal(event, KM_SESSION_NOTHING);
    event = km_session_receive(p.b, bytes, 1, p.now, wall_of(&p), &err);
    km_session_sent(p.a, 1);
  }
  assert_int_equal(event, KM_SESSION_UP);
  close_pair(&p);
}

/* --- time ------------------------------------------------------------------------------------ */

static void who_says_nothing_is_given_up(void **state) {
  (void)state;
  pair p;
  km_errinfo err;
  open_pair(&p);
  assert_true(km_session_next(p.a) == START + PATIENCE);
  assert_true(km_session_next(p.b) == START + PATIENCE);
  p.now = START + PATIENCE - 1;
  assert_int_equal(tick(&p, p.a, &err), KM_SESSION_NOTHING);
  p.now = START + PATIENCE;
  assert_int_equal(tick(&p, p.a, &err), KM_SESSION_SILENT);
  assert_non_null(strstr(err.text, "ACK"));
  assert_int_equal(tick(&p, p.b, &err), KM_SESSION_SILENT);
  assert_non_null(strstr(err.text, "HELLO"));
  close_pair(&p);
}

static void half_a_hello_does_not_stop_the_clock(void **state) {
  (void)state;
  pair p;
  km_errinfo err;
  uint8_t buf[1024];
  open_pair(&p);
  size_t len = frame(buf, SEED_HELLO);
  p.now += PATIENCE / 2;
  assert_int_equal(km_session_receive(p.b, buf, len - 1, p.now, wall_of(&p), &err),
                   KM_SESSION_NOTHING);
  p.now = START + PATIENCE;
  assert_int_equal(tick(&p, p.b, &err), KM_SESSION_SILENT);
  close_pair(&p);
}

static void a_peer_that_stops_its_heartbeats_is_given_up(void **state) {
  (void)state;
  pair p;
  km_errinfo err;
  open_pair(&p);
  shake_hands(&p);
  p.now += 10 * KM_NS_PER_S;
  assert_int_equal(say(&p, p.b, SEED_BEAT, &err), KM_SESSION_NOTHING);
  km_ts last = p.now;
  /* It is asked to send its own all the while, and other frames do not count. */
  while (p.now < last + SILENCE) {
    assert_int_equal(tick(&p, p.b, &err), KM_SESSION_NOTHING);
    assert_int_equal(say(&p, p.b, UNKNOWN, &err), KM_SESSION_NOTHING);
    p.now = km_session_next(p.b);
  }
  assert_true(p.now == last + SILENCE);
  assert_int_equal(tick(&p, p.b, &err), KM_SESSION_SILENT);
  assert_non_null(strstr(err.text, "heartbeats"));
  close_pair(&p);
}

/* Three of its own intervals, of which an hour counts; never less than ours. */
static void a_peer_that_beats_slower_is_waited_for(void **state) {
  (void)state;
  static const struct {
    const char *beat;
    km_ts patience;
  } cases[] = {
      {"{\"type\":\"HEARTBEAT\",\"ts\":1,\"interval_ms\":1}", SILENCE},
      {"{\"type\":\"HEARTBEAT\",\"ts\":1,\"interval_ms\":100000}", 300 * KM_NS_PER_S},
      {"{\"type\":\"HEARTBEAT\",\"ts\":1,\"interval_ms\":9007199254740992}", 10800 * KM_NS_PER_S}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    pair p;
    km_errinfo err;
    open_pair(&p);
    shake_hands(&p);
    km_ts began = p.now;
    assert_int_equal(say(&p, p.b, cases[i].beat, &err), KM_SESSION_NOTHING);
    km_session_event event = KM_SESSION_NOTHING;
    while (event == KM_SESSION_NOTHING) {
      p.now = km_session_next(p.b);
      event = tick(&p, p.b, &err);
    }
    assert_int_equal(event, KM_SESSION_SILENT);
    assert_true(p.now == began + cases[i].patience);
    close_pair(&p);
  }
}

/* Runs both with a way that takes `there` and `back`; events are none. */
static void live(pair *p, km_ts until, uint64_t there, uint64_t back) {
  km_errinfo err;
  while (p->now < until) {
    km_ts next = km_session_next(p->a) < km_session_next(p->b) ? km_session_next(p->a)
                                                               : km_session_next(p->b);
    p->now = next > p->now ? next : p->now;
    assert_int_equal(tick(p, p->a, &err), KM_SESSION_NOTHING);
    assert_int_equal(tick(p, p->b, &err), KM_SESSION_NOTHING);
    const uint8_t *bytes;
    while (km_session_output(p->a, &bytes) + km_session_output(p->b, &bytes) > 0) {
      p->now += there;
      assert_int_equal(carry(p, p->a, p->b, &err), KM_SESSION_NOTHING);
      p->now += back;
      assert_int_equal(carry(p, p->b, p->a, &err), KM_SESSION_NOTHING);
    }
  }
}

static void nodes_with_unequal_intervals_stay_together(void **state) {
  (void)state;
  pair p = {.now = START};
  test_env_init(&p.env, 1);
  km_session_config slow = config_of(&p, true), fast = config_of(&p, false);
  slow.heartbeat_ns = 20 * BEAT;
  slow.silence_ns = 60 * BEAT;
  assert_int_equal(km_session_new(&p.a, &slow, p.now, wall_of(&p)), 0);
  assert_int_equal(km_session_new(&p.b, &fast, p.now, wall_of(&p)), 0);
  shake_hands(&p);
  live(&p, START + 200 * BEAT, 0, 0);
  assert_in_range(info_of(p.b).heartbeats_in, 9, 13);
  close_pair(&p);
}

static void heartbeats_go_both_ways_each_interval_and_keep_it_alive(void **state) {
  (void)state;
  pair p;
  open_pair(&p);
  shake_hands(&p);
  live(&p, START + 100 * BEAT, 0, 0);
  km_session_info a = info_of(p.a), b = info_of(p.b);
  /* One an interval, and the first ones that measure the way at once. */
  assert_in_range(a.heartbeats_in, 99, 102);
  assert_in_range(b.heartbeats_in, 99, 103);
  assert_int_equal(a.heartbeats_in, b.heartbeats_out);
  assert_int_equal(b.heartbeats_in, a.heartbeats_out);
  close_pair(&p);
}

static void the_round_trip_is_known_on_both_sides_soon(void **state) {
  (void)state;
  pair p;
  km_errinfo err;
  open_pair(&p);
  shake_hands(&p);
  p.now += 30 * KM_NS_PER_MS;
  assert_int_equal(carry(&p, p.a, p.b, &err), KM_SESSION_NOTHING);
  p.now += 10 * KM_NS_PER_MS;
  assert_int_equal(carry(&p, p.b, p.a, &err), KM_SESSION_NOTHING);
  assert_int_equal(info_of(p.a).rtt_us, 40000);
  p.now += 30 * KM_NS_PER_MS;
  assert_int_equal(carry(&p, p.a, p.b, &err), KM_SESSION_NOTHING);
  assert_int_equal(info_of(p.b).rtt_us, 40000);
  /* And then it is quiet until the interval is over. */
  const uint8_t *bytes;
  assert_int_equal(km_session_output(p.a, &bytes) + km_session_output(p.b, &bytes), 0);
  assert_true(km_session_next(p.b) - p.now > BEAT / 2);
  close_pair(&p);
}

/* An echo of `echo` that lay there for `delay_us`. */
static void beat_of(pair *p, uint64_t seq, uint64_t echo, uint64_t delay_us) {
  char json[160];
  km_errinfo err;
  snprintf(json, sizeof json,
           "{\"type\":\"HEARTBEAT\",\"ts\":1,\"seq\":%llu,\"echo\":%llu,\"echo_delay_us\":%llu}",
           (unsigned long long)seq, (unsigned long long)echo, (unsigned long long)delay_us);
  assert_int_equal(say(p, p->a, json, &err), KM_SESSION_NOTHING);
}

/* RFC 6298 section 2: the first sample as it is, then 7/8 and 1/8; RFC 3550 section 6.4.1: 15/16 of
 * the jitter and 1/16 of the change. */
static void round_trips_are_smoothed_and_their_changes_are_jitter(void **state) {
  (void)state;
  pair p;
  open_pair(&p);
  shake_hands(&p); /* our heartbeat 1 goes out now */
  p.now += 80 * KM_NS_PER_MS;
  beat_of(&p, 1, 1, 0);
  assert_int_equal(info_of(p.a).rtt_us, 80000);
  assert_int_equal(info_of(p.a).jitter_us, 0);
  /* Heartbeat 2 was the answer to it, sent now. It lies there for 3 s. */
  p.now += 3 * KM_NS_PER_S + 160 * KM_NS_PER_MS;
  beat_of(&p, 2, 2, 3000000);
  assert_int_equal(info_of(p.a).rtt_us, 90000);   /* 7/8 of 80, 1/8 of 160 */
  assert_int_equal(info_of(p.a).jitter_us, 5000); /* 1/16 of 80 */
  close_pair(&p);
}

static void false_echoes_measure_nothing(void **state) {
  (void)state;
  pair p;
  open_pair(&p);
  shake_hands(&p);
  p.now += 80 * KM_NS_PER_MS;
  beat_of(&p, 1, 77, 0); /* never sent */
  assert_int_equal(info_of(p.a).rtt_us, 0);
  beat_of(&p, 2, 1, 500000); /* lay there longer than it was away */
  assert_int_equal(info_of(p.a).rtt_us, 0);
  beat_of(&p, 3, 1, 0);
  assert_int_equal(info_of(p.a).rtt_us, 80000);
  p.now += KM_NS_PER_S;
  beat_of(&p, 4, 1, 0); /* the same once more */
  assert_int_equal(info_of(p.a).rtt_us, 80000);
  close_pair(&p);
}

/* --- memory ---------------------------------------------------------------------------------- */

static void lack_of_memory_ends_it_and_leaves_nothing_behind(void **state) {
  (void)state;
  km_session_event event = KM_SESSION_BROKEN;
  int opened = KM_ERR_NOMEM;
  long tries = 0;
  for (; opened != 0 || event == KM_SESSION_BROKEN; tries++) {
    pair p = {.now = START};
    km_errinfo err;
    test_env_init(&p.env, 1);
    km_session_config a = config_of(&p, true), b = config_of(&p, false);
    p.env.fail_after = tries;
    opened = km_session_new(&p.a, &a, p.now, wall_of(&p));
    opened = opened == 0 ? km_session_new(&p.b, &b, p.now, wall_of(&p)) : opened;
    if (opened != 0) {
      assert_int_equal(opened, KM_ERR_NOMEM);
      km_session_free(p.a);
      assert_int_equal(p.env.live, 0);
      continue;
    }
    event = carry(&p, p.a, p.b, &err);
    event = event == KM_SESSION_UP ? carry(&p, p.b, p.a, &err) : event;
    assert_true(event == KM_SESSION_UP || err.code == KM_ERR_NOMEM);
    close_pair(&p);
  }
  assert_true(tries > 8);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(both_sides_come_up_and_know_each_other),
      cmocka_unit_test(the_accepting_side_says_nothing_before_hello),
      cmocka_unit_test(a_peer_of_the_first_protocol_comes_up_on_either_side),
      cmocka_unit_test(refused_peers_are_told_why_and_not_what_there_is),
      cmocka_unit_test(a_refusal_without_a_reason_still_has_words),
      cmocka_unit_test(another_major_version_is_refused_by_name_on_both_sides),
      cmocka_unit_test(a_later_minor_version_comes_up),
      cmocka_unit_test(what_comes_out_of_turn_breaks_the_session),
      cmocka_unit_test(unknown_frames_are_passed_over_once_up),
      cmocka_unit_test(a_bad_length_breaks_it),
      cmocka_unit_test(a_flood_of_heartbeats_breaks_it),
      cmocka_unit_test(what_comes_behind_an_event_waits_for_the_next_call),
      cmocka_unit_test(a_byte_at_a_time_gives_the_same),
      cmocka_unit_test(output_may_go_in_pieces),
      cmocka_unit_test(who_says_nothing_is_given_up),
      cmocka_unit_test(half_a_hello_does_not_stop_the_clock),
      cmocka_unit_test(a_peer_that_stops_its_heartbeats_is_given_up),
      cmocka_unit_test(a_peer_that_beats_slower_is_waited_for),
      cmocka_unit_test(nodes_with_unequal_intervals_stay_together),
      cmocka_unit_test(heartbeats_go_both_ways_each_interval_and_keep_it_alive),
      cmocka_unit_test(the_round_trip_is_known_on_both_sides_soon),
      cmocka_unit_test(round_trips_are_smoothed_and_their_changes_are_jitter),
      cmocka_unit_test(false_echoes_measure_nothing),
      cmocka_unit_test(lack_of_memory_ends_it_and_leaves_nothing_behind),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
