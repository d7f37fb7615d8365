/* Boxes of disco: who is listened to, replay under clocks that are wrong, keys and memory. */
#include "holepunch/disco_box.h"

#include "test/holepunch/disco_lab.h"

#define S(seconds) ((uint64_t)(seconds)*KM_NS_PER_S)
/* 14 November 2023, a time as good as any. */
#define NOON S(1700000000)

/* B's box, to which A was admitted, and what it takes to make any packet of A's. */
typedef struct lab {
  test_env env;
  km_disco_box *box;
  km_id a, b;
  uint8_t key[KM_DISCO_KEY_LEN];
  uint8_t packet[KM_DISCO_MAX_PACKET + 100];
  size_t len;
  /* Of the last packet that was opened. */
  km_id sender;
  uint64_t time;
  km_disco_message msg;
} lab;

static km_disco_box *new_box(test_env *env, uint8_t byte) {
  km_disco_box *box;
  km_secret_key *key = lab_key(byte);
  assert_int_equal(km_disco_box_new(&box, &env->env, key), 0);
  km_secret_key_free(key); /* is not needed any more */
  return box;
}

/* Without a box. */
static void lab_prepare(lab *l) {
  *l = (lab){.a = lab_id(1), .b = lab_id(2)};
  km_secret_key *a = lab_key(1);
  assert_int_equal(km_disco_key(l->key, a, &l->b), 0);
  km_secret_key_free(a);
  test_env_init(&l->env);
}

static void lab_begin(lab *l) {
  lab_prepare(l);
  l->box = new_box(&l->env, 2);
  assert_int_equal(km_disco_box_admit(l->box, &l->a), 0);
}

static void lab_end(lab *l) {
  km_disco_box_del(l->box);
  assert_int_equal(l->env.live, 0);
}

static void make_raw(lab *l, uint64_t time, const uint8_t *body, size_t body_len) {
  km_disco_header header = {.sender = l->a, .time_ns = time, .nonce = {1}};
  int len = km_disco_seal(&header, l->key, body, body_len, l->packet, sizeof l->packet);
  assert_true(len > 0);
  l->len = (size_t)len;
}

static void make(lab *l, km_disco_type type, uint64_t time) {
  km_disco_message msg = {.type = type};
  uint8_t body[200];
  int len = km_disco_write(&msg, body, sizeof body);
  assert_true(len > 0);
  make_raw(l, time, body, (size_t)len);
}

static int open_it(lab *l) {
  return km_disco_box_open(l->box, l->packet, l->len, &l->sender, &l->time, &l->msg);
}

/* A packet of A's that left at `time` of A's clock arrives. */
static int arrive(lab *l, km_disco_type type, uint64_t time) {
  make(l, type, time);
  return open_it(l);
}

#define assert_fresh(l, type, time) assert_int_equal(arrive(l, type, time), 0)
#define assert_old(l, type, time) assert_int_equal(arrive(l, type, time), KM_ERR_STATE)

/* --- who is listened to ---------------------------------------------------------------------- */

static void two_boxes_understand_each_other(void **state) {
  (void)state;
  test_env env;
  test_env_init(&env);
  km_id ids[2] = {lab_id(1), lab_id(2)};
  km_disco_box *boxes[2] = {new_box(&env, 1), new_box(&env, 2)};
  assert_int_equal(km_disco_box_admit(boxes[0], &ids[1]), 0);
  assert_int_equal(km_disco_box_admit(boxes[1], &ids[0]), 0);
  for (uint64_t seed = 0; seed < 300; seed++) {
    uint64_t random = seed, time;
    uint8_t packet[KM_DISCO_MAX_PACKET];
    km_disco_message msg = lab_random_message(&random), back;
    km_wall wall = {(int64_t)(NOON + seed)};
    size_t from = seed % 2;
    km_id sender;
    int len = km_disco_box_seal(boxes[from], &ids[1 - from], &msg, wall, packet, sizeof packet);
    assert_true(len > 0);
    assert_int_equal(km_disco_box_open(boxes[1 - from], packet, (size_t)len, &sender, &time, &back),
                     0);
    assert_true(km_id_equal(&sender, &ids[from]));
    assert_int_equal(time, NOON + seed);
    lab_assert_same(&back, &msg);
  }
  km_disco_box_stats stats;
  km_disco_box_get_stats(boxes[0], &stats);
  assert_int_equal(stats.opened, 150);
  assert_int_equal(stats.strangers + stats.forged + stats.malformed + stats.replayed, 0);
  km_disco_box_del(boxes[0]);
  km_disco_box_del(boxes[1]);
  assert_int_equal(env.live, 0);
}

static void strangers_are_not_listened_to(void **state) {
  (void)state;
  lab l;
  lab_begin(&l);
  km_id c = lab_id(3);
  km_disco_message ping = {.type = KM_DISCO_PING};
  km_disco_box_stats stats;
  km_disco_box_dismiss(l.box, &l.a);
  assert_int_equal(arrive(&l, KM_DISCO_PING, NOON), KM_ERR_NOT_FOUND);
  assert_int_equal(km_disco_box_seal(l.box, &c, &ping, (km_wall){0}, l.packet, sizeof l.packet),
                   KM_ERR_NOT_FOUND);
  assert_int_equal(km_disco_box_admit(l.box, &c), 0);
  assert_int_equal(arrive(&l, KM_DISCO_PING, NOON), KM_ERR_NOT_FOUND);
  km_disco_box_get_stats(l.box, &stats);
  assert_int_equal(stats.strangers, 2);
  assert_int_equal(stats.opened, 0);
  lab_end(&l);
}

static void our_own_packets_are_a_strangers(void **state) {
  (void)state;
  lab l;
  lab_begin(&l);
  km_disco_message ping = {.type = KM_DISCO_PING};
  km_disco_box_stats stats;
  assert_int_equal(km_disco_box_admit(l.box, &l.b), KM_ERR_SELF_DIAL);
  int len = km_disco_box_seal(l.box, &l.a, &ping, (km_wall){0}, l.packet, sizeof l.packet);
  assert_int_equal(len, KM_DISCO_PING_LEN);
  l.len = (size_t)len;
  assert_int_equal(open_it(&l), KM_ERR_NOT_FOUND);
  km_disco_box_get_stats(l.box, &stats);
  assert_int_equal(stats.strangers, 1);
  /* Turned around: in the name of whom it was for. */
  memcpy(l.packet + 1, l.a.bytes, sizeof l.a.bytes);
  assert_int_equal(open_it(&l), KM_ERR_INVALID);
  km_disco_box_get_stats(l.box, &stats);
  assert_int_equal(stats.forged, 1);
  lab_end(&l);
}

static void as_often_dismissed_as_admitted(void **state) {
  (void)state;
  lab l;
  lab_begin(&l);
  km_id c = lab_id(3);
  assert_int_equal(km_disco_box_admit(l.box, &l.a), 0);
  km_disco_box_dismiss(l.box, &l.a);
  assert_fresh(&l, KM_DISCO_PING, NOON);
  assert_old(&l, KM_DISCO_PING, NOON);
  km_disco_box_dismiss(l.box, &l.a);
  assert_int_equal(arrive(&l, KM_DISCO_PING, NOON), KM_ERR_NOT_FOUND);
  km_disco_box_dismiss(l.box, &l.a); /* once too often, and somebody who never was */
  km_disco_box_dismiss(l.box, &c);
  assert_int_equal(km_disco_box_admit(l.box, &l.a), 0);
  assert_fresh(&l, KM_DISCO_PING, NOON); /* what was known of it is gone */
  km_disco_box_proved(l.box, &c, NOON);
  lab_end(&l);
}

static void ids_that_make_no_key_are_not_admitted(void **state) {
  (void)state;
  static const char *const ids[] = {
      "0100000000000000000000000000000000000000000000000000000000000000",
      "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
      "0200000000000000000000000000000000000000000000000000000000000000",
  };
  lab l;
  lab_begin(&l);
  for (size_t i = 0; i < COUNT_OF(ids); i++) {
    km_id id;
    assert_int_equal(from_hex(id.bytes, sizeof id.bytes, ids[i]), sizeof id.bytes);
    assert_int_equal(km_disco_box_admit(l.box, &id), KM_ERR_BAD_ID);
    memcpy(l.packet + 1, id.bytes, sizeof id.bytes);
    l.packet[0] = KM_DISCO_MAGIC;
    l.len = KM_DISCO_PING_LEN;
    assert_int_equal(open_it(&l), KM_ERR_NOT_FOUND);
  }
  lab_end(&l);
}

/* --- packets --------------------------------------------------------------------------------- */

static void what_is_not_what_it_says(void **state) {
  (void)state;
  static const uint8_t cut[] = {KM_DISCO_PING, 0, 1, 2, 3}, later[] = {9, 0, 1};
  uint8_t long_body[KM_DISCO_MAX_PACKET] = {KM_DISCO_PING};
  lab l;
  lab_begin(&l);
  km_disco_box_stats stats;
  make_raw(&l, NOON, cut, sizeof cut);
  assert_int_equal(open_it(&l), KM_ERR_INVALID);
  make_raw(&l, NOON, cut, 0);
  assert_int_equal(open_it(&l), KM_ERR_INVALID);
  l.packet[0] = 0;
  assert_int_equal(open_it(&l), KM_ERR_INVALID);
  l.packet[0] = KM_DISCO_MAGIC;
  l.len = KM_DISCO_HEADER_LEN + KM_DISCO_TAG_LEN - 1;
  assert_int_equal(open_it(&l), KM_ERR_INVALID);
  l.len = KM_DISCO_MAX_PACKET + 1;
  assert_int_equal(open_it(&l), KM_ERR_INVALID);
  km_disco_box_get_stats(l.box, &stats);
  assert_int_equal(stats.malformed, 5);
  make_raw(&l, NOON, later, sizeof later);
  assert_int_equal(open_it(&l), KM_ERR_UNSUPPORTED);
  km_disco_box_get_stats(l.box, &stats);
  assert_int_equal(stats.future, 1);
  make_raw(&l, NOON, long_body, KM_DISCO_MAX_PACKET - KM_DISCO_HEADER_LEN - KM_DISCO_TAG_LEN);
  assert_int_equal(l.len, KM_DISCO_MAX_PACKET);
  assert_int_equal(open_it(&l), 0);
  km_disco_box_get_stats(l.box, &stats);
  assert_int_equal(stats.opened, 1);
  assert_int_equal(stats.forged + stats.strangers + stats.replayed, 0);
  lab_end(&l);
}

static void every_flipped_bit_is_noticed(void **state) {
  (void)state;
  lab l;
  lab_begin(&l);
  km_disco_box_stats stats;
  make(&l, KM_DISCO_PING, NOON);
  for (size_t bit = 0; bit < 8 * l.len; bit++) {
    l.packet[bit / 8] ^= (uint8_t)(1 << bit % 8);
    assert_true(open_it(&l) < 0);
    l.packet[bit / 8] ^= (uint8_t)(1 << bit % 8);
  }
  km_disco_box_get_stats(l.box, &stats);
  assert_int_equal(stats.malformed, 8);
  assert_int_equal(stats.strangers, 8 * sizeof l.a.bytes);
  assert_int_equal(stats.forged, 8 * (KM_DISCO_PING_LEN - 33));
  assert_int_equal(open_it(&l), 0); /* and none of them counts as seen */
  lab_end(&l);
}

static void sealing_needs_room_and_a_message(void **state) {
  (void)state;
  lab l;
  lab_begin(&l);
  km_disco_message ping = {.type = KM_DISCO_PING}, nothing = {.type = (km_disco_type)9};
  for (size_t cap = 0; cap < KM_DISCO_PING_LEN; cap++) {
    uint8_t *exact = malloc(cap + 1); /* its end is watched */
    assert_non_null(exact);
    exact[cap] = 0x5a;
    assert_int_equal(km_disco_box_seal(l.box, &l.a, &ping, (km_wall){0}, exact, cap),
                     KM_ERR_BUFFER);
    assert_int_equal(exact[cap], 0x5a);
    free(exact);
  }
  assert_int_equal(km_disco_box_seal(l.box, &l.a, &ping, (km_wall){0}, l.packet, KM_DISCO_PING_LEN),
                   KM_DISCO_PING_LEN);
  assert_int_equal(
      km_disco_box_seal(l.box, &l.a, &nothing, (km_wall){0}, l.packet, sizeof l.packet),
      KM_ERR_INVALID);
  lab_end(&l);
}

/* --- our clock ------------------------------------------------------------------------------- */

static uint64_t seal_at(lab *l, const km_id *to, int64_t wall) {
  km_disco_message ping = {.type = KM_DISCO_PING};
  km_disco_header header;
  int len = km_disco_box_seal(l->box, to, &ping, (km_wall){wall}, l->packet, sizeof l->packet);
  assert_int_equal(len, KM_DISCO_PING_LEN);
  assert_true(km_disco_header_read(&header, l->packet, (size_t)len));
  return header.time_ns;
}

static void our_times_only_grow(void **state) {
  (void)state;
  lab l;
  lab_begin(&l);
  assert_int_equal(seal_at(&l, &l.a, INT64_MIN), 1);
  assert_int_equal(seal_at(&l, &l.a, 0), 2);
  assert_int_equal(seal_at(&l, &l.a, (int64_t)NOON), NOON);
  assert_int_equal(seal_at(&l, &l.a, (int64_t)NOON), NOON + 1);
  assert_int_equal(seal_at(&l, &l.a, (int64_t)(NOON - S(3600))), NOON + 2);
  /* Also for a peer that was away meanwhile: it may remember us. */
  km_disco_box_dismiss(l.box, &l.a);
  assert_int_equal(km_disco_box_admit(l.box, &l.a), 0);
  assert_int_equal(seal_at(&l, &l.a, (int64_t)(NOON - S(3600))), NOON + 3);
  assert_int_equal(seal_at(&l, &l.a, (int64_t)(NOON + S(1))), NOON + S(1));
  assert_int_equal(seal_at(&l, &l.a, INT64_MAX), INT64_MAX);
  assert_int_equal(seal_at(&l, &l.a, 0), (uint64_t)INT64_MAX + 1);
  lab_end(&l);
}

static void nonces_are_not_repeated(void **state) {
  (void)state;
  lab l;
  uint8_t first[24];
  lab_begin(&l);
  (void)seal_at(&l, &l.a, 5); /* the packet is what counts here */
  memcpy(first, l.packet + 41, sizeof first);
  (void)seal_at(&l, &l.a, 5);
  assert_memory_not_equal(first, l.packet + 41, sizeof first);
  lab_end(&l);
}

/* --- replay ---------------------------------------------------------------------------------- */

static void a_packet_is_taken_once(void **state) {
  (void)state;
  lab l;
  lab_begin(&l);
  km_disco_box_stats stats;
  assert_fresh(&l, KM_DISCO_PING, NOON);
  assert_old(&l, KM_DISCO_PING, NOON);
  assert_true(km_id_equal(&l.sender, &l.a)); /* who it was, for those who want to ask */
  assert_fresh(&l, KM_DISCO_CALL_ME_MAYBE, NOON + 1);
  assert_old(&l, KM_DISCO_CALL_ME_MAYBE, NOON + 1);
  assert_old(&l, KM_DISCO_PING, NOON + 1);
  km_disco_box_get_stats(l.box, &stats);
  assert_int_equal(stats.opened, 2);
  assert_int_equal(stats.replayed, 3);
  lab_end(&l);
}

static void out_of_order_within_the_window(void **state) {
  (void)state;
  lab l;
  lab_begin(&l);
  assert_fresh(&l, KM_DISCO_PING, NOON);
  assert_fresh(&l, KM_DISCO_PING, NOON - S(9));
  assert_fresh(&l, KM_DISCO_PING, NOON - S(10) + 1);
  assert_old(&l, KM_DISCO_PING, NOON - S(10));
  assert_old(&l, KM_DISCO_PING, NOON - S(11));
  assert_fresh(&l, KM_DISCO_PING, NOON + S(3600));
  assert_old(&l, KM_DISCO_PING, NOON + S(3590));
  assert_fresh(&l, KM_DISCO_PING, NOON + S(3590) + 1);
  assert_old(&l, KM_DISCO_PING, 0);
  assert_fresh(&l, KM_DISCO_PING, UINT64_MAX);
  assert_old(&l, KM_DISCO_PING, UINT64_MAX);
  assert_fresh(&l, KM_DISCO_PING, UINT64_MAX - 1);
  lab_end(&l);
}

static void times_near_zero(void **state) {
  (void)state;
  lab l;
  lab_begin(&l);
  assert_old(&l, KM_DISCO_PING, 0); /* nobody sends it */
  assert_fresh(&l, KM_DISCO_PING, 2);
  assert_fresh(&l, KM_DISCO_PING, 1);
  assert_old(&l, KM_DISCO_PING, 1);
  assert_fresh(&l, KM_DISCO_PING, S(10));
  assert_fresh(&l, KM_DISCO_PING, 3);
  assert_fresh(&l, KM_DISCO_PING, S(10) + 4);
  assert_old(&l, KM_DISCO_PING, 4);
  assert_fresh(&l, KM_DISCO_PING, 5);
  lab_end(&l);
}

static void an_old_call_does_not_undo_a_newer_one(void **state) {
  (void)state;
  lab l;
  lab_begin(&l);
  assert_fresh(&l, KM_DISCO_CALL_ME_MAYBE, NOON);
  assert_old(&l, KM_DISCO_CALL_ME_MAYBE, NOON - S(1));
  assert_fresh(&l, KM_DISCO_PING, NOON - S(1));
  assert_fresh(&l, KM_DISCO_PING, NOON + S(2));
  assert_fresh(&l, KM_DISCO_CALL_ME_MAYBE, NOON + S(1)); /* older than a Ping, and yet news */
  assert_fresh(&l, KM_DISCO_PING, NOON + S(20));
  assert_old(&l, KM_DISCO_CALL_ME_MAYBE, NOON + S(10));
  lab_end(&l);
}

static void what_was_forgotten_counts_as_seen(void **state) {
  (void)state;
  lab l;
  lab_begin(&l);
  for (uint64_t i = 0; i < KM_DISCO_WINDOW_SEEN; i++) {
    assert_fresh(&l, KM_DISCO_PING, NOON + 2 * i);
  }
  assert_fresh(&l, KM_DISCO_PING, NOON + 1); /* makes the very first one be forgotten */
  assert_old(&l, KM_DISCO_PING, NOON);
  assert_old(&l, KM_DISCO_PING, NOON - 1);
  assert_old(&l, KM_DISCO_PING, NOON + 1);
  assert_old(&l, KM_DISCO_PING, NOON + 2);
  assert_fresh(&l, KM_DISCO_PING, NOON + 1000);
  assert_old(&l, KM_DISCO_PING, NOON + 1);
  assert_fresh(&l, KM_DISCO_PING, NOON + 3);
  lab_end(&l);
}

static void one_that_is_older_than_all_that_are_remembered(void **state) {
  (void)state;
  lab l;
  lab_begin(&l);
  for (uint64_t i = 0; i < KM_DISCO_WINDOW_SEEN; i++) {
    assert_fresh(&l, KM_DISCO_PING, NOON + i);
  }
  assert_fresh(&l, KM_DISCO_PING, NOON - 5);
  assert_old(&l, KM_DISCO_PING, NOON - 5);
  assert_old(&l, KM_DISCO_PING, NOON - 6);
  assert_fresh(&l, KM_DISCO_PING, NOON - 4);
  for (uint64_t i = 0; i < KM_DISCO_WINDOW_SEEN; i++) {
    assert_old(&l, KM_DISCO_PING, NOON + i);
  }
  /* Once the window has moved on, there is room for all that are in it. */
  assert_fresh(&l, KM_DISCO_PING, NOON + S(11));
  assert_fresh(&l, KM_DISCO_PING, NOON + S(1) + 1);
  lab_end(&l);
}

/* A plain model of what was taken, to compare with. */
typedef struct model {
  uint64_t taken[1500];
  size_t count;
  uint64_t newest;
} model;

static bool model_took(const model *m, uint64_t time) {
  for (size_t i = 0; i < m->count; i++) {
    if (m->taken[i] == time) {
      return true;
    }
  }
  return false;
}

static bool model_may_have_forgotten(const model *m) {
  size_t in_window = 0;
  for (size_t i = 0; i < m->count; i++) {
    in_window += m->taken[i] + KM_DISCO_WINDOW_NS > m->newest;
  }
  return in_window >= KM_DISCO_WINDOW_SEEN;
}

static void model_step(model *m, lab *l, uint64_t time) {
  bool replayed = model_took(m, time), too_old = time + KM_DISCO_WINDOW_NS <= m->newest;
  int rv = arrive(l, KM_DISCO_PING, time);
  if (replayed || too_old) {
    assert_int_equal(rv, KM_ERR_STATE);
    return;
  }
  if (time > m->newest || !model_may_have_forgotten(m)) {
    assert_int_equal(rv, 0);
  }
  if (rv == 0) {
    m->taken[m->count++] = time;
    m->newest = time > m->newest ? time : m->newest;
  }
}

/* Random times that crowd, spread, repeat and jump. */
static void no_time_is_taken_twice(void **state) {
  (void)state;
  static const uint64_t spreads[3] = {500, S(15), S(40)};
  for (uint64_t seed = 0; seed < 40; seed++) {
    model m = {.count = 0};
    uint64_t random = seed, base = NOON, spread = spreads[seed % 3];
    lab l;
    lab_begin(&l);
    for (size_t i = 0; i < COUNT_OF(m.taken); i++) {
      base += lab_below(&random, 200) == 0 ? lab_below(&random, S(60)) : spread / 300;
      model_step(&m, &l, base + lab_below(&random, spread) - spread / 2);
    }
    lab_end(&l);
  }
}

/* --- the peer's clock ------------------------------------------------------------------------ */

static void a_pong_is_passed_on_whatever_its_time(void **state) {
  (void)state;
  lab l;
  lab_begin(&l);
  assert_fresh(&l, KM_DISCO_PING, NOON);
  assert_fresh(&l, KM_DISCO_PONG, NOON - S(3600));
  assert_int_equal(l.time, NOON - S(3600));
  assert_fresh(&l, KM_DISCO_PONG, NOON - S(3600)); /* whoever asked knows it */
  assert_fresh(&l, KM_DISCO_PONG, NOON + S(3600));
  assert_fresh(&l, KM_DISCO_PING, NOON + 1); /* a Pong that nobody asked for moved nothing */
  assert_old(&l, KM_DISCO_PING, NOON);
  lab_end(&l);
}

static void a_peer_whose_clock_was_set_back_by_an_hour(void **state) {
  (void)state;
  lab l;
  lab_begin(&l);
  uint64_t back = NOON - S(3600);
  assert_fresh(&l, KM_DISCO_CALL_ME_MAYBE, NOON);
  assert_fresh(&l, KM_DISCO_PING, NOON + 1);
  assert_old(&l, KM_DISCO_PING, back);
  assert_old(&l, KM_DISCO_CALL_ME_MAYBE, back + 1);
  assert_fresh(&l, KM_DISCO_PONG, back + 2);
  km_disco_box_proved(l.box, &l.a, l.time);
  assert_fresh(&l, KM_DISCO_PING, back + 3);
  assert_fresh(&l, KM_DISCO_CALL_ME_MAYBE, back + 1);
  assert_fresh(&l, KM_DISCO_PING, back);
  assert_old(&l, KM_DISCO_PING, back);
  assert_old(&l, KM_DISCO_CALL_ME_MAYBE, back + 1);
  assert_old(&l, KM_DISCO_PING, back - S(10));
  lab_end(&l);
}

static void set_back_after_so_much_that_some_was_forgotten(void **state) {
  (void)state;
  lab l;
  lab_begin(&l);
  uint64_t back = NOON - S(3600);
  for (uint64_t i = 0; i < 2 * KM_DISCO_WINDOW_SEEN; i++) {
    assert_fresh(&l, KM_DISCO_PING, NOON + i);
  }
  assert_old(&l, KM_DISCO_PING, back);
  km_disco_box_proved(l.box, &l.a, back);
  assert_fresh(&l, KM_DISCO_PING, back + 1);
  assert_old(&l, KM_DISCO_PING, back + 1);
  lab_end(&l);
}

/* A recorded packet of a time when the peer's clock was wrong must not lock it out for good. */
static void a_replayed_packet_of_the_future(void **state) {
  (void)state;
  lab l;
  lab_begin(&l);
  assert_fresh(&l, KM_DISCO_CALL_ME_MAYBE, NOON + S(86400));
  assert_old(&l, KM_DISCO_PING, NOON);
  km_disco_box_proved(l.box, &l.a, NOON + 1);
  assert_fresh(&l, KM_DISCO_PING, NOON);
  assert_fresh(&l, KM_DISCO_CALL_ME_MAYBE, NOON + 2);
  lab_end(&l);
}

static void a_pong_within_the_window_forgets_nothing(void **state) {
  (void)state;
  lab l;
  lab_begin(&l);
  assert_fresh(&l, KM_DISCO_CALL_ME_MAYBE, NOON - S(9));
  assert_fresh(&l, KM_DISCO_PING, NOON);
  km_disco_box_proved(l.box, &l.a, NOON - S(10) + 1);
  assert_old(&l, KM_DISCO_PING, NOON);
  assert_old(&l, KM_DISCO_CALL_ME_MAYBE, NOON - S(9));
  assert_old(&l, KM_DISCO_PING, NOON - S(10));
  km_disco_box_proved(l.box, &l.a, NOON - S(10)); /* that is before it */
  assert_fresh(&l, KM_DISCO_PING, NOON);
  lab_end(&l);
}

static void a_pong_moves_the_window_on(void **state) {
  (void)state;
  lab l;
  lab_begin(&l);
  assert_fresh(&l, KM_DISCO_PING, NOON);
  km_disco_box_proved(l.box, &l.a, NOON + S(60));
  assert_old(&l, KM_DISCO_PING, NOON + S(50));
  assert_fresh(&l, KM_DISCO_PING, NOON + S(50) + 1);
  assert_fresh(&l, KM_DISCO_PING, NOON + S(61));
  lab_end(&l);
}

/* The box of A restarts while B's goes on: with a good clock nothing has to be said about it. */
static void a_peer_that_restarts(void **state) {
  (void)state;
  lab l;
  lab_begin(&l);
  for (int64_t start = 0; start < 3; start++) {
    km_disco_box *a = new_box(&l.env, 1);
    assert_int_equal(km_disco_box_admit(a, &l.b), 0);
    for (int64_t i = 0; i < 3; i++) {
      static const km_disco_type types[3] = {KM_DISCO_CALL_ME_MAYBE, KM_DISCO_PING, KM_DISCO_PING};
      km_disco_message msg = {.type = types[i]};
      km_wall wall = {(int64_t)NOON + 10 * start};
      int len = km_disco_box_seal(a, &l.b, &msg, wall, l.packet, sizeof l.packet);
      assert_true(len > 0);
      l.len = (size_t)len;
      assert_int_equal(open_it(&l), 0);
    }
    km_disco_box_del(a);
  }
  lab_end(&l);
}

/* --- memory ---------------------------------------------------------------------------------- */

static void an_idle_peer_is_one_allocation(void **state) {
  (void)state;
  lab l;
  lab_begin(&l);
  long before = l.env.live;
  km_id c = lab_id(3);
  assert_int_equal(km_disco_box_admit(l.box, &c), 0);
  assert_int_equal(l.env.live, before + 1);
  assert_int_equal(seal_at(&l, &l.a, 1), 1);
  assert_fresh(&l, KM_DISCO_PONG, NOON);
  assert_int_equal(l.env.live, before + 1);
  assert_fresh(&l, KM_DISCO_PING, NOON);
  assert_int_equal(l.env.live, before + 2);
  km_disco_box_dismiss(l.box, &c);
  km_disco_box_dismiss(l.box, &l.a);
  assert_int_equal(l.env.live, before - 1);
  lab_end(&l);
}

/* What left the window makes room: a peer that sends now and then asks for memory once. */
static void a_quiet_peer_stays_small(void **state) {
  (void)state;
  lab l;
  lab_begin(&l);
  l.env.fail_after = 100;
  for (uint64_t i = 0; i < 1000; i++) {
    assert_fresh(&l, KM_DISCO_PING, NOON + S(5) * i);
  }
  assert_int_equal(l.env.fail_after, 99);
  lab_end(&l);
}

static void no_memory_for_a_box_or_a_peer(void **state) {
  (void)state;
  lab l;
  lab_prepare(&l);
  km_secret_key *key = lab_key(2);
  long n = 0;
  for (int rv = KM_ERR_NOMEM; rv != 0; n++) {
    l.env.fail_after = n;
    rv = km_disco_box_new(&l.box, &l.env.env, key);
    assert_true(rv == 0 || rv == KM_ERR_NOMEM);
    assert_int_equal(l.env.live > 0, rv == 0);
  }
  assert_true(n > 2);
  km_secret_key_free(key);
  l.env.fail_after = 0;
  assert_int_equal(km_disco_box_admit(l.box, &l.a), KM_ERR_NOMEM);
  assert_int_equal(arrive(&l, KM_DISCO_PING, NOON), KM_ERR_NOT_FOUND);
  /* Buckets need not grow: with nothing but peers all are found. */
  km_id ids[100];
  km_disco_message ping = {.type = KM_DISCO_PING};
  l.env.fail_after = -1;
  for (size_t i = 0; i < COUNT_OF(ids); i++) {
    ids[i] = lab_id((uint8_t)(10 + i));
    l.env.fail_after = 1;
    assert_int_equal(km_disco_box_admit(l.box, &ids[i]), 0);
  }
  l.env.fail_after = -1;
  for (size_t i = 0; i < COUNT_OF(ids); i++) {
    assert_int_equal(
        km_disco_box_seal(l.box, &ids[i], &ping, (km_wall){0}, l.packet, sizeof l.packet),
        KM_DISCO_PING_LEN);
  }
  lab_end(&l);
}

/* Without memory for what was seen only growing times are taken: nothing twice, ever. */
static void no_memory_for_what_was_seen(void **state) {
  (void)state;
  for (long n = 0; n < 8; n++) {
    lab l;
    lab_begin(&l);
    l.env.fail_after = n;
    for (uint64_t i = 0; i < 600; i++) {
      assert_fresh(&l, KM_DISCO_PING, NOON + i);
      assert_old(&l, KM_DISCO_PING, NOON + i);
      assert_old(&l, KM_DISCO_PING, NOON + i / 2);
    }
    if (n == 0) {
      assert_old(&l, KM_DISCO_PING, NOON - 1);
    }
    lab_end(&l);
  }
}

/* An environment whose free() looks whether a key is still in what it gets. */
typedef struct watched {
  const uint8_t *key;
  bool found, seen_wiped;
} watched;

static void *watched_alloc(void *ctx, size_t size) {
  (void)ctx;
  size_t *block = malloc(sizeof *block + size);
  assert_non_null(block);
  memset(block + 1, 0xa5, size); /* all of it is looked at in the end */
  *block = size;
  return block + 1;
}

static void *watched_realloc(void *ctx, void *ptr, size_t size) {
  assert_null(ptr);
  return watched_alloc(ctx, size);
}

static void watched_free(void *ctx, void *ptr) {
  watched *w = ctx;
  if (ptr == NULL) {
    return;
  }
  size_t *block = (size_t *)ptr - 1;
  const uint8_t *bytes = ptr;
  for (size_t i = 0; i + KM_DISCO_KEY_LEN <= *block; i++) {
    w->found = w->found || memcmp(bytes + i, w->key, KM_DISCO_KEY_LEN) == 0;
  }
  w->seen_wiped = true;
  free(block);
}

static void watched_random(void *ctx, void *buf, size_t len) {
  (void)ctx;
  memset(buf, 7, len);
}

static void keys_are_wiped(void **state) {
  (void)state;
  for (int by_dismissal = 0; by_dismissal < 2; by_dismissal++) {
    lab l;
    lab_prepare(&l);
    watched w = {.key = l.key};
    km_env env = {.ctx = &w,
                  .alloc = watched_alloc,
                  .realloc = watched_realloc,
                  .free = watched_free,
                  .random = watched_random};
    km_secret_key *key = lab_key(2);
    assert_int_equal(km_disco_box_new(&l.box, &env, key), 0);
    km_secret_key_free(key);
    assert_int_equal(km_disco_box_admit(l.box, &l.a), 0);
    assert_fresh(&l, KM_DISCO_PING, NOON);
    if (by_dismissal != 0) {
      km_disco_box_dismiss(l.box, &l.a);
    }
    km_disco_box_del(l.box);
    assert_true(w.seen_wiped && !w.found);
  }
  km_disco_box_del(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(two_boxes_understand_each_other),
      cmocka_unit_test(strangers_are_not_listened_to),
      cmocka_unit_test(our_own_packets_are_a_strangers),
      cmocka_unit_test(as_often_dismissed_as_admitted),
      cmocka_unit_test(ids_that_make_no_key_are_not_admitted),
      cmocka_unit_test(what_is_not_what_it_says),
      cmocka_unit_test(every_flipped_bit_is_noticed),
      cmocka_unit_test(sealing_needs_room_and_a_message),
      cmocka_unit_test(our_times_only_grow),
      cmocka_unit_test(nonces_are_not_repeated),
      cmocka_unit_test(a_packet_is_taken_once),
      cmocka_unit_test(out_of_order_within_the_window),
      cmocka_unit_test(times_near_zero),
      cmocka_unit_test(an_old_call_does_not_undo_a_newer_one),
      cmocka_unit_test(what_was_forgotten_counts_as_seen),
      cmocka_unit_test(one_that_is_older_than_all_that_are_remembered),
      cmocka_unit_test(no_time_is_taken_twice),
      cmocka_unit_test(a_pong_is_passed_on_whatever_its_time),
      cmocka_unit_test(a_peer_whose_clock_was_set_back_by_an_hour),
      cmocka_unit_test(set_back_after_so_much_that_some_was_forgotten),
      cmocka_unit_test(a_replayed_packet_of_the_future),
      cmocka_unit_test(a_pong_within_the_window_forgets_nothing),
      cmocka_unit_test(a_pong_moves_the_window_on),
      cmocka_unit_test(a_peer_that_restarts),
      cmocka_unit_test(an_idle_peer_is_one_allocation),
      cmocka_unit_test(a_quiet_peer_stays_small),
      cmocka_unit_test(no_memory_for_a_box_or_a_peer),
      cmocka_unit_test(no_memory_for_what_was_seen),
      cmocka_unit_test(keys_are_wiped),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
