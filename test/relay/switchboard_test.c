/* The relay's core, driven by messages and a made-up clock: who is there, whose packet goes where,
 * who is told what. What clients get is read back from their queues. */
#include "relay/switchboard.h"
#include "test/base/test_env.h"

#define T0 (UINT64_C(1000) * KM_NS_PER_S)
#define MAX_QUEUED (64 << 20)

static test_env env;
static km_switchboard sb;

static int setup(void **state) {
  (void)state;
  test_env_init(&env);
  return km_switchboard_init(&sb, &env.env, MAX_QUEUED);
}

static int teardown(void **state) {
  (void)state;
  assert_int_equal(sb.stats.clients, 0);
  assert_int_equal(sb.stats.ids, 0);
  assert_int_equal(sb.pool.bytes, 0);
  assert_null(km_switchboard_next_dirty(&sb));
  km_switchboard_clear(&sb);
  assert_int_equal(env.live, 0);
  return 0;
}

/* --- clients --------------------------------------------------------------------------------- */

static km_id id_of(unsigned n) {
  km_id id = {.bytes = {(uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16), 7}};
  return id;
}

static void enter_at(km_switch_client *c, unsigned n, km_relay_version version, km_ts now) {
  km_id id = id_of(n);
  *c = (km_switch_client){0};
  km_token_bucket_init(&c->rx, 0, 0, now);
  assert_int_equal(km_switchboard_enter(&sb, c, &id, version, now), 0);
}

static void enter(km_switch_client *c, unsigned n) {
  enter_at(c, n, KM_RELAY_V2, T0);
}

static void leave(km_switch_client *c) {
  km_switchboard_leave(&sb, c);
}

static int receive(km_switch_client *c, const void *msg, size_t len) {
  km_errinfo err = {0};
  int rv = km_switchboard_receive(&sb, c, msg, len, T0, &err);
  assert_int_equal(err.code, rv);
  return rv;
}

static void send_frame(km_switch_client *c, km_relay_frame f) {
  static uint8_t msg[KM_RELAY_MAX_MESSAGE];
  int len = km_relay_frame_write(msg, sizeof msg, &f);
  assert_true(len > 0);
  assert_int_equal(receive(c, msg, (size_t)len), 0);
}

static void send_to(km_switch_client *c, unsigned to, const char *text) {
  send_frame(c, (km_relay_frame){.type = KM_RELAY_TO_RELAY,
                                 .peer = id_of(to),
                                 .ecn = 2,
                                 .data = (const uint8_t *)text,
                                 .len = strlen(text)});
}

/* The next frame that waits for it; false: none. One message a block, so read it often. */
static bool next_frame(km_switch_client *c, km_relay_frame *ret) {
  static uint8_t copy[KM_SWITCH_BLOCK + 65536];
  static size_t at, len;
  static km_switch_client *whose;
  if (whose != c || at == len) {
    uint8_t *bytes = km_switch_queue_first(&c->out, &len);
    whose = c;
    at = 0;
    if (bytes == NULL) {
      len = 0;
      return false;
    }
    assert_true(len <= sizeof copy);
    memcpy(copy, bytes, len);
    km_switch_queue_pop(&c->out, &sb.pool);
  }
  size_t body = copy[at + 1], header = body < 126 ? 2 : body == 126 ? 4 : 10;
  for (size_t i = 2; i < header; i++) {
    body = (i == 2 ? 0 : body << 8) | copy[at + i];
  }
  assert_int_equal(
      km_relay_frame_read(ret, KM_RELAY_READ_CLIENT, c->version, copy + at + header, body, NULL),
      0);
  at += header + body;
  assert_true(at <= len);
  return true;
}

static km_relay_frame expect(km_switch_client *c, km_relay_type type) {
  km_relay_frame f;
  assert_true(next_frame(c, &f));
  assert_int_equal(f.type, type);
  return f;
}

static void expect_nothing(km_switch_client *c) {
  km_relay_frame f;
  assert_false(next_frame(c, &f));
}

static void expect_status(km_switch_client *c, uint8_t code) {
  assert_int_equal(expect(c, KM_RELAY_STATUS).status, code);
}

static void expect_text(km_switch_client *c, unsigned from, const char *text) {
  km_relay_frame f = expect(c, KM_RELAY_TO_CLIENT);
  km_id id = id_of(from);
  assert_true(km_id_equal(&f.peer, &id));
  assert_int_equal(f.len, strlen(text));
  assert_memory_equal(f.data, text, f.len);
  assert_int_equal(f.ecn, 2);
}

/* --- packets --------------------------------------------------------------------------------- */

static void a_packet_goes_to_whom_it_names(void **state) {
  (void)state;
  km_switch_client a, b, c;
  enter(&a, 1);
  enter(&b, 2);
  enter(&c, 3);
  send_to(&a, 2, "hello");
  send_to(&a, 2, "again");
  send_to(&b, 1, "yes?");
  expect_text(&b, 1, "hello");
  expect_text(&b, 1, "again");
  expect_text(&a, 2, "yes?");
  send_to(&a, 1, "myself");
  expect_text(&a, 1, "myself");
  expect_nothing(&c);
  assert_int_equal(sb.stats.datagrams, 4);
  assert_int_equal(sb.stats.datagram_bytes, 5 + 5 + 4 + 6);
  assert_int_equal(sb.stats.rx_messages, 4);
  assert_ptr_equal(km_switchboard_next_dirty(&sb), &b);
  assert_ptr_equal(km_switchboard_next_dirty(&sb), &a);
  assert_null(km_switchboard_next_dirty(&sb));
  leave(&a);
  leave(&b);
  leave(&c);
}

static void batches_stay_batches(void **state) {
  (void)state;
  km_switch_client a, b;
  static uint8_t data[5000];
  static const struct {
    size_t len;
    uint16_t segment, out; /* 0: as one datagram */
  } cases[] = {{5000, 1200, 1200}, {1201, 1200, 1200}, {1200, 1200, 0}, {100, 1200, 0}, {10, 1, 1}};
  enter(&a, 1);
  enter_at(&b, 2, KM_RELAY_V1, T0);
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    uint8_t msg[6000] = {KM_RELAY_TO_RELAY_BATCH, 2, 0, 0, 7};
    msg[33] = 3;
    msg[34] = (uint8_t)(cases[i].segment >> 8);
    msg[35] = (uint8_t)cases[i].segment;
    memcpy(msg + 36, data, cases[i].len);
    assert_int_equal(receive(&a, msg, 36 + cases[i].len), 0);
    km_relay_frame f = expect(&b, cases[i].out > 0 ? KM_RELAY_TO_CLIENT_BATCH : KM_RELAY_TO_CLIENT);
    assert_int_equal(f.segment, cases[i].out);
    assert_int_equal(f.len, cases[i].len);
    assert_int_equal(f.ecn, 3);
  }
  leave(&a);
  leave(&b);
}

static void the_longest_message_passes(void **state) {
  (void)state;
  km_switch_client a, b;
  static uint8_t msg[KM_RELAY_MAX_MESSAGE + 1] = {KM_RELAY_TO_RELAY, 2, 0, 0, 7};
  enter(&a, 1);
  enter(&b, 2);
  assert_int_equal(receive(&a, msg, KM_RELAY_MAX_MESSAGE), 0);
  assert_int_equal(expect(&b, KM_RELAY_TO_CLIENT).len, KM_RELAY_MAX_MESSAGE - 34);
  assert_int_equal(receive(&a, msg, sizeof msg), KM_ERR_RELAY_PROTOCOL);
  expect_nothing(&b);
  leave(&a);
  leave(&b);
}

static void nobody_there_nothing_kept(void **state) {
  (void)state;
  km_switch_client a;
  enter(&a, 1);
  send_to(&a, 2, "lost");
  send_to(&a, 2, "lost");
  send_frame(&a, (km_relay_frame){.type = KM_RELAY_TO_RELAY, .peer = id_of(1)}); /* empty */
  expect_nothing(&a); /* iroh tells nobody of it either */
  assert_int_equal(sb.stats.dropped_absent, 2);
  assert_int_equal(sb.stats.datagrams, 0);
  assert_null(a.correspondents);
  leave(&a);
}

static void bad_messages_are_an_end(void **state) {
  (void)state;
  km_switch_client a, old;
  static const uint8_t none[] = {14}, wrong[] = {KM_RELAY_TO_CLIENT, 0}, ping[9 + 1] = {9},
                       status[] = {13, 0}, restarting[9] = {12}, auth[] = {1}, short_to[32] = {4};
  static const struct {
    const uint8_t *msg;
    size_t len;
  } bad[] = {{none, 1},
             {wrong, 2},
             {ping, 8},
             {ping, 10},
             {status, 2},
             {restarting, 9},
             {auth, 1},
             {short_to, 32},
             {NULL, 0},
             {(const uint8_t *)"\x0bx", 2},
             {(const uint8_t *)"\x40", 1}};
  enter(&a, 1);
  enter_at(&old, 2, KM_RELAY_V1, T0);
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    assert_int_equal(receive(&a, bad[i].msg, bad[i].len), KM_ERR_RELAY_PROTOCOL);
    assert_int_equal(receive(&old, bad[i].msg, bad[i].len), KM_ERR_RELAY_PROTOCOL);
  }
  assert_int_equal(sb.stats.bad_messages, 2 * COUNT_OF(bad));
  expect_nothing(&a);
  leave(&a);
  leave(&old);
}

/* What waits for a slow client is bounded, as iroh's queues are. */
static void a_full_queue_drops_the_newest(void **state) {
  (void)state;
  km_switch_client a, b;
  enter(&a, 1);
  enter(&b, 2);
  for (int i = 0; i < KM_SWITCH_DATAGRAMS; i++) {
    send_to(&a, 2, "early");
  }
  send_to(&a, 2, "late");
  assert_int_equal(sb.stats.dropped_full, 1);
  assert_int_equal(sb.stats.datagrams, KM_SWITCH_DATAGRAMS);
  for (int i = 0; i < KM_SWITCH_DATAGRAMS; i++) {
    expect_text(&b, 1, "early");
  }
  expect_nothing(&b);
  send_to(&a, 2, "now");
  expect_text(&b, 1, "now");
  leave(&a);
  leave(&b);
}

static void without_room_messages_are_dropped_and_counted(void **state) {
  (void)state;
  km_switch_client a, b;
  enter(&a, 1);
  enter(&b, 2);
  sb.pool.max_bytes = 0;
  send_to(&a, 2, "x");
  assert_int_equal(sb.stats.dropped_full, 1);
  send_frame(
      &a, (km_relay_frame){.type = KM_RELAY_PING, .data = (const uint8_t *)"12345678", .len = 8});
  assert_int_equal(sb.stats.dropped_others, 1);
  assert_int_equal(sb.stats.pings_rx, 1);
  leave(&b);
  assert_int_equal(sb.stats.gone_sent, 0);
  sb.pool.max_bytes = MAX_QUEUED;
  env.fail_after = 0;
  send_frame(
      &a, (km_relay_frame){.type = KM_RELAY_PING, .data = (const uint8_t *)"12345678", .len = 8});
  assert_int_equal(sb.stats.dropped_others, 2);
  env.fail_after = -1;
  leave(&a);
}

/* --- the same id ----------------------------------------------------------------------------- */

static void the_newest_of_an_id_receives(void **state) {
  (void)state;
  km_switch_client a, first, second, third;
  enter(&a, 1);
  enter(&first, 2);
  enter(&second, 2);
  expect_status(&first, KM_RELAY_SAME_ID);
  assert_false(first.active);
  enter(&third, 2);
  expect_status(&second, KM_RELAY_SAME_ID);
  expect_nothing(&first);
  assert_int_equal(sb.stats.clients, 4);
  assert_int_equal(sb.stats.ids, 2);
  assert_int_equal(sb.stats.replaced, 2);
  send_to(&a, 2, "for the newest");
  expect_text(&third, 1, "for the newest");
  expect_nothing(&first);
  expect_nothing(&second);
  send_to(&first, 1, "from the oldest"); /* it may still send */
  expect_text(&a, 2, "from the oldest");

  leave(&second); /* from between: nobody notices */
  expect_nothing(&first);
  leave(&third);
  expect_status(&first, KM_RELAY_HEALTHY);
  assert_int_equal(sb.stats.restored, 1);
  send_to(&a, 2, "for who is left");
  expect_text(&first, 1, "for who is left");
  expect_nothing(&a); /* the id is still there: nobody is gone */
  leave(&first);
  expect(&a, KM_RELAY_ENDPOINT_GONE);
  leave(&a);
}

static void version_1_is_told_in_words(void **state) {
  (void)state;
  km_switch_client first, second;
  enter_at(&first, 2, KM_RELAY_V1, T0);
  enter(&second, 2);
  km_relay_frame f = expect(&first, KM_RELAY_HEALTH);
  assert_true(f.len > 0);
  leave(&second);
  f = expect(&first, KM_RELAY_HEALTH);
  assert_int_equal(f.len, 0); /* nothing is wrong any more */
  leave(&first);
}

static void the_oldest_may_leave_first(void **state) {
  (void)state;
  km_switch_client first, second;
  enter(&first, 2);
  enter(&second, 2);
  leave(&first);
  expect_nothing(&second);
  assert_true(second.active);
  leave(&second);
}

/* --- gone ------------------------------------------------------------------------------------ */

static void whom_it_wrote_to_is_told(void **state) {
  (void)state;
  km_switch_client a, b, c, d;
  enter(&a, 1);
  enter(&b, 2);
  enter(&c, 3);
  enter(&d, 4);
  send_to(&a, 2, "x");
  send_to(&a, 3, "x");
  send_to(&a, 2, "x");
  send_to(&d, 1, "x"); /* d wrote to a, not a to d */
  expect_text(&b, 1, "x");
  expect_text(&b, 1, "x");
  expect_text(&c, 1, "x");
  leave(&c); /* who is gone itself is not told */
  leave(&a);
  km_relay_frame f = expect(&b, KM_RELAY_ENDPOINT_GONE);
  km_id id = id_of(1);
  assert_true(km_id_equal(&f.peer, &id));
  expect_nothing(&b);
  expect_nothing(&d);
  assert_int_equal(sb.stats.gone_sent, 1);
  leave(&b);
  leave(&d);
}

static void clients_of_one_id_tell_the_peers_of_both(void **state) {
  (void)state;
  km_switch_client first, second, b, c;
  for (int newest_first = 0; newest_first < 2; newest_first++) {
    enter(&b, 2);
    enter(&c, 3);
    enter(&first, 1);
    enter(&second, 1);
    expect_status(&first, KM_RELAY_SAME_ID);
    send_to(&first, 2, "x");
    send_to(&second, 3, "x");
    expect_text(&b, 1, "x");
    expect_text(&c, 1, "x");
    leave(newest_first != 0 ? &second : &first);
    expect_nothing(&b);
    expect_nothing(&c);
    leave(newest_first != 0 ? &first : &second);
    expect(&b, KM_RELAY_ENDPOINT_GONE);
    expect(&c, KM_RELAY_ENDPOINT_GONE);
    leave(&b);
    leave(&c);
  }
}

static void only_the_newest_peers_are_remembered(void **state) {
  (void)state;
  enum { MANY = KM_SWITCH_CORRESPONDENTS + 10 };
  static km_switch_client peers[MANY];
  km_switch_client a;
  enter(&a, 1);
  for (unsigned i = 0; i < MANY; i++) {
    enter(&peers[i], 100 + i);
  }
  for (unsigned i = 0; i < MANY; i++) {
    send_to(&a, 100 + i, "x");
    expect_text(&peers[i], 1, "x");
  }
  leave(&a);
  assert_int_equal(sb.stats.gone_sent, KM_SWITCH_CORRESPONDENTS);
  for (unsigned i = 0; i < MANY; i++) {
    if (i >= MANY - KM_SWITCH_CORRESPONDENTS) {
      expect(&peers[i], KM_RELAY_ENDPOINT_GONE);
    }
    expect_nothing(&peers[i]);
    leave(&peers[i]);
  }
}

static void without_memory_nobody_is_remembered(void **state) {
  (void)state;
  km_switch_client a, b;
  enter(&a, 1);
  enter(&b, 2);
  send_to(&b, 1, "x"); /* the pool has a block then */
  expect_text(&a, 2, "x");
  env.fail_after = 0;
  send_to(&a, 2, "still arrives");
  env.fail_after = -1;
  expect_text(&b, 1, "still arrives");
  leave(&a);
  expect_nothing(&b);
  leave(&b);
}

/* Whom a packet went to last is remembered; that must never be one who left. */
static void a_route_does_not_outlive_its_end(void **state) {
  (void)state;
  km_switch_client a, b, again;
  enter(&a, 1);
  enter(&b, 2);
  send_to(&a, 2, "x");
  expect_text(&b, 1, "x");
  leave(&b);
  memset(&b, 0xee, sizeof b);
  send_to(&a, 2, "lost");
  assert_int_equal(sb.stats.dropped_absent, 1);
  enter(&again, 2);
  send_to(&a, 2, "found");
  expect_text(&again, 1, "found");
  enter(&b, 2); /* takes over while the route is in use */
  send_to(&a, 2, "newest");
  expect_text(&b, 1, "newest");
  leave(&again);
  leave(&b);
  expect_nothing(&a); /* they wrote to nobody */
  leave(&a);
}

static void many_clients_are_all_found(void **state) {
  (void)state;
  enum { MANY = 5000 };
  km_switch_client *all = calloc(MANY, sizeof *all);
  for (unsigned i = 0; i < MANY; i++) {
    if (i == 1000) {
      env.fail_after = 0; /* no room for more buckets: it gets slower, nothing else */
    }
    enter(&all[i], i);
  }
  env.fail_after = -1;
  assert_int_equal(sb.ids, MANY);
  for (unsigned i = 0; i < MANY; i++) {
    send_to(&all[i], (i * 7 + 3) % MANY, "x");
    expect_text(&all[(i * 7 + 3) % MANY], i, "x");
  }
  for (unsigned i = 0; i < MANY; i += 2) {
    leave(&all[i]);
  }
  for (unsigned i = 1; i < MANY; i += 2) {
    km_relay_frame f;
    while (next_frame(&all[i], &f)) {
      assert_int_equal(f.type, KM_RELAY_ENDPOINT_GONE);
    }
    send_to(&all[i], i, "x");
    expect_text(&all[i], i, "x");
  }
  for (unsigned i = 1; i < MANY; i += 2) {
    leave(&all[i]);
  }
  free(all);
}

/* --- pings and time -------------------------------------------------------------------------- */

static void pings_are_answered(void **state) {
  (void)state;
  km_switch_client a;
  enter(&a, 1);
  send_frame(
      &a, (km_relay_frame){.type = KM_RELAY_PING, .data = (const uint8_t *)"12345678", .len = 8});
  assert_memory_equal(expect(&a, KM_RELAY_PONG).data, "12345678", 8);
  assert_int_equal(sb.stats.pings_rx, 1);
  send_frame(
      &a, (km_relay_frame){.type = KM_RELAY_PONG, .data = (const uint8_t *)"whatever", .len = 8});
  assert_int_equal(sb.stats.pongs_rx, 1); /* that nobody asked for */
  expect_nothing(&a);
  leave(&a);
}

static void silence_is_pinged_and_then_cut(void **state) {
  (void)state;
  km_switch_client a;
  enter(&a, 1);
  km_ts at = km_switchboard_deadline(&a);
  assert_in_range(at - T0, 16 * KM_NS_PER_S, 20 * KM_NS_PER_S); /* 15 s, and 1 to 5 more */
  assert_true(km_switchboard_tick(&sb, &a, at - 1));
  expect_nothing(&a);
  assert_true(km_switchboard_tick(&sb, &a, at));
  expect(&a, KM_RELAY_PING);
  assert_int_equal(sb.stats.pings_tx, 1);
  km_ts lost = km_switchboard_deadline(&a);
  assert_int_equal(lost, at + 5 * KM_NS_PER_S);
  assert_true(km_switchboard_tick(&sb, &a, lost - 1));
  expect_nothing(&a);
  assert_false(km_switchboard_tick(&sb, &a, lost));
  leave(&a);
}

/* The pong of a client that is far away, and what it is waited for at most. */
static void far_clients_have_longer(void **state) {
  (void)state;
  km_switch_client a;
  const uint64_t round_trips[] = {10 * KM_NS_PER_S, 100 * KM_NS_PER_S};
  const uint64_t waits[] = {30 * KM_NS_PER_S, 45 * KM_NS_PER_S};
  for (size_t i = 0; i < 2; i++) {
    enter(&a, 1);
    km_relay_ping_expect(&a.ping, round_trips[i]);
    km_ts at = km_switchboard_deadline(&a);
    assert_true(km_switchboard_tick(&sb, &a, at));
    expect(&a, KM_RELAY_PING);
    km_ts lost = km_switchboard_deadline(&a);
    assert_int_equal(lost, at + waits[i]);
    assert_true(km_switchboard_tick(&sb, &a, lost - 1));
    assert_false(km_switchboard_tick(&sb, &a, lost));
    leave(&a);
  }
}

static void an_answer_or_any_word_keeps_it(void **state) {
  (void)state;
  km_switch_client a;
  enter(&a, 1);
  km_ts at = km_switchboard_deadline(&a);
  assert_true(km_switchboard_tick(&sb, &a, at));
  km_relay_frame ping = expect(&a, KM_RELAY_PING);
  uint8_t pong[9] = {KM_RELAY_PONG};
  memcpy(pong + 1, ping.data, 8);
  /* Another word while the pong is awaited: 5 s more. */
  km_ts word = at + 4 * KM_NS_PER_S;
  uint8_t packet[35] = {KM_RELAY_TO_RELAY};
  assert_int_equal(km_switchboard_receive(&sb, &a, packet, sizeof packet, word, NULL), 0);
  assert_int_equal(km_switchboard_deadline(&a), word + 5 * KM_NS_PER_S);
  /* The pong: 30 ms later, so the next one may take 500 ms at the most. */
  km_ts then = at + 30 * KM_NS_PER_MS;
  assert_int_equal(km_switchboard_receive(&sb, &a, pong, sizeof pong, then, NULL), 0);
  at = km_switchboard_deadline(&a);
  assert_in_range(at - then, 16 * KM_NS_PER_S, 20 * KM_NS_PER_S);
  assert_true(km_switchboard_tick(&sb, &a, at));
  assert_int_equal(km_switchboard_deadline(&a), at + 500 * KM_NS_PER_MS);
  km_switchboard_heard(&a, at + 400 * KM_NS_PER_MS); /* it could not be heard until now */
  assert_true(km_switchboard_tick(&sb, &a, at + 500 * KM_NS_PER_MS));
  leave(&a);
}

static void a_rate_is_kept_and_told_once(void **state) {
  (void)state;
  for (km_relay_version version = KM_RELAY_V1; version <= KM_RELAY_V2; version++) {
    km_switch_client a;
    sb.stats = (km_switch_stats){0};
    enter_at(&a, 1, version, T0);
    km_token_bucket_init(&a.rx, 1000, 100, T0);
    assert_true(km_switchboard_read(&sb, &a, 100, T0));
    expect_nothing(&a);
    assert_false(km_switchboard_read(&sb, &a, 500, T0));
    assert_false(km_switchboard_read(&sb, &a, 500, T0)); /* the rest of what was read */
    assert_int_equal(km_token_bucket_when(&a.rx, T0), T0 + KM_NS_PER_S + 1000);
    assert_int_equal(sb.stats.rate_limited, 1);
    if (version == KM_RELAY_V2) {
      expect_status(&a, KM_RELAY_RATE_LIMITED);
    }
    expect_nothing(&a);
    km_ts later = T0 + 2 * KM_NS_PER_S;
    assert_true(km_switchboard_read(&sb, &a, 10, later));
    assert_false(km_switchboard_read(&sb, &a, 1000, later));
    assert_int_equal(sb.stats.rate_limited, 2);
    assert_int_equal(sb.stats.rate_limited_clients, 1);
    assert_int_equal(sb.stats.rx_bytes, 100 + 500 + 500 + 10 + 1000);
    expect_nothing(&a); /* it knows */
    leave(&a);
  }
}

static void everybody_is_told_of_a_restart(void **state) {
  (void)state;
  km_switch_client a, old, b;
  enter(&a, 1);
  enter_at(&old, 2, KM_RELAY_V1, T0);
  enter(&b, 2);
  expect(&old, KM_RELAY_HEALTH);
  send_to(&a, 2, "x");
  expect_text(&b, 1, "x");
  km_switchboard_restarting(&sb, 1000, 60000);
  km_switch_client *const all[] = {&a, &old, &b};
  for (size_t i = 0; i < COUNT_OF(all); i++) {
    km_relay_frame f = expect(all[i], KM_RELAY_RESTARTING);
    assert_int_equal(f.reconnect_in_ms, 1000);
    assert_int_equal(f.try_for_ms, 60000);
  }
  leave(&a);
  expect_nothing(&b); /* all have to go: that one went is no news */
  leave(&b);
  leave(&old);
}

static void who_is_marked_comes_up_once(void **state) {
  (void)state;
  km_switch_client a, b, c;
  enter(&a, 1);
  enter(&b, 2);
  enter(&c, 3);
  km_switchboard_mark(&sb, &a);
  km_switchboard_mark(&sb, &b);
  km_switchboard_mark(&sb, &c);
  km_switchboard_mark(&sb, &a);
  leave(&b); /* from the middle of the list */
  assert_ptr_equal(km_switchboard_next_dirty(&sb), &a);
  km_switchboard_mark(&sb, &a);
  assert_ptr_equal(km_switchboard_next_dirty(&sb), &c);
  leave(&a);
  leave(&c);
  assert_null(km_switchboard_next_dirty(&sb));
}

static void no_memory_no_switchboard(void **state) {
  (void)state;
  km_switchboard other;
  env.fail_after = 0;
  assert_int_equal(km_switchboard_init(&other, &env.env, 1), KM_ERR_NOMEM);
  km_switchboard_clear(&other);
  km_switchboard_clear(&(km_switchboard){0}); /* that never came so far */
  env.fail_after = -1;
  km_switch_client never = {0};
  leave(&never); /* who never entered may leave */
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(a_packet_goes_to_whom_it_names),
      TEST(batches_stay_batches),
      TEST(the_longest_message_passes),
      TEST(nobody_there_nothing_kept),
      TEST(bad_messages_are_an_end),
      TEST(a_full_queue_drops_the_newest),
      TEST(without_room_messages_are_dropped_and_counted),
      TEST(the_newest_of_an_id_receives),
      TEST(version_1_is_told_in_words),
      TEST(the_oldest_may_leave_first),
      TEST(whom_it_wrote_to_is_told),
      TEST(clients_of_one_id_tell_the_peers_of_both),
      TEST(only_the_newest_peers_are_remembered),
      TEST(without_memory_nobody_is_remembered),
      TEST(a_route_does_not_outlive_its_end),
      TEST(many_clients_are_all_found),
      TEST(pings_are_answered),
      TEST(silence_is_pinged_and_then_cut),
      TEST(far_clients_have_longer),
      TEST(an_answer_or_any_word_keeps_it),
      TEST(a_rate_is_kept_and_told_once),
      TEST(everybody_is_told_of_a_restart),
      TEST(who_is_marked_comes_up_once),
      TEST(no_memory_no_switchboard),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
