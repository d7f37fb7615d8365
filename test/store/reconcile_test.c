#include "test/store/reconcile_bed.h"

#include "store/reconcile_wire.h"

/* --- Sets --- */

typedef struct sets {
  km_item *all;
  uint8_t *where; /* bit 0: the first side has it, bit 1: the second */
  size_t count;
} sets;

/* Clocks repeat often when `spread` is small. */
static sets make_sets(size_t count, uint64_t spread, unsigned percent_differ, uint64_t *state) {
  sets s = {malloc((count + 1) * sizeof *s.all), malloc(count + 1), count};
  assert_non_null(s.all);
  assert_non_null(s.where);
  for (size_t i = 0; i < count; i++) {
    s.all[i] = bed_item((UINT64_C(1700000000000) << 16) + bed_random(state) % spread, state);
  }
  qsort(s.all, count, sizeof *s.all, bed_compare);
  for (size_t i = 0; i < count; i++) {
    bool differs = bed_random(state) % 100 < percent_differ;
    s.where[i] = differs ? (uint8_t)(1 + bed_random(state) % 2) : 3;
  }
  return s;
}

static void free_sets(sets *s) {
  free(s->all);
  free(s->where);
}

static size_t side_of(const sets *s, unsigned side, km_item *ret) {
  size_t count = 0;
  for (size_t i = 0; i < s->count; i++) {
    if ((s->where[i] >> side & 1) != 0) {
      ret[count++] = s->all[i];
    }
  }
  return count;
}

static void open_sets(bed *b, const km_reconcile_config *config, const sets *s) {
  km_item *first = malloc((s->count + 1) * sizeof *first);
  km_item *second = malloc((s->count + 1) * sizeof *second);
  assert_non_null(first);
  assert_non_null(second);
  size_t first_count = side_of(s, 0, first), second_count = side_of(s, 1, second);
  bed_open(b, config, first, first_count, second, second_count);
  free(first);
  free(second);
}

/* What each side is to send is exactly what it alone has, the newest first. */
static void check_haves(const bed *b, const sets *s) {
  km_item *haves = malloc((s->count + 1) * sizeof *haves);
  assert_non_null(haves);
  for (unsigned side = 0; side < 2; side++) {
    size_t count = bed_haves(b, side, haves, s->count), at = 0;
    for (size_t i = s->count; i-- > 0;) {
      if (s->where[i] == 1u << side) {
        assert_true(at < count);
        assert_int_equal(km_item_compare(&haves[at++], &s->all[i]), 0);
      }
    }
    assert_int_equal(at, count);
  }
  free(haves);
}

static void reconcile_sets(const km_reconcile_config *config, const sets *s, bed *b) {
  open_sets(b, config, s);
  bed_run(b);
  check_haves(b, s);
}

static void test_sets_of_all_sizes(void **state) {
  (void)state;
  static const size_t sizes[] = {0,  1,  2,  7,   8,   9,   10,  15,  16,   17,
                                 31, 33, 64, 127, 136, 137, 150, 999, 1160, 5000};
  static const unsigned percents[] = {0, 1, 10, 50, 100};
  static const uint64_t spreads[] = {1, 4, 1000, UINT64_C(1) << 40};
  uint64_t seed = 1;
  for (size_t i = 0; i < COUNT_OF(sizes); i++) {
    for (size_t j = 0; j < COUNT_OF(percents); j++) {
      for (size_t k = 0; k < COUNT_OF(spreads); k++) {
        km_reconcile_config config = bed_config();
        bed b;
        sets s = make_sets(sizes[i], spreads[k], percents[j], &seed);
        reconcile_sets(&config, &s, &b);
        bed_close(&b);
        free_sets(&s);
      }
    }
  }
}

static void test_one_side_empty(void **state) {
  (void)state;
  km_reconcile_config config = bed_config();
  uint64_t seed = 2;
  for (uint8_t side = 1; side <= 2; side++) {
    sets s = make_sets(3000, 1000, 0, &seed);
    bed b;
    memset(s.where, side, s.count);
    reconcile_sets(&config, &s, &b);
    assert_true(b.bytes < 200); /* nobody lists what the other cannot have */
    bed_close(&b);
    free_sets(&s);
  }
}

/* Items at both ends of what a clock can be. */
static void test_extreme_clocks(void **state) {
  (void)state;
  km_reconcile_config config = bed_config();
  uint64_t seed = 3;
  sets s = make_sets(400, 1, 20, &seed);
  for (size_t i = 0; i < s.count; i++) {
    s.all[i].clock = i < 100 ? 0 : i < 200 ? 1 : i < 300 ? UINT64_MAX - (s.count - i) : UINT64_MAX;
  }
  qsort(s.all, s.count, sizeof *s.all, bed_compare);
  bed b;
  reconcile_sets(&config, &s, &b);
  bed_close(&b);
  free_sets(&s);
}

/* A bound that is an item itself: it begins the range behind. */
static void test_items_on_bounds(void **state) {
  (void)state;
  km_reconcile_config config = bed_config();
  uint64_t seed = 11;
  sets s = make_sets(4000, 1, 5, &seed);
  for (size_t i = 0; i < s.count; i++) {
    s.all[i] = (km_item){64 * (i + 1), {0}};
  }
  bed b;
  reconcile_sets(&config, &s, &b);
  assert_true(b.messages < 20);
  bed_close(&b);
  free_sets(&s);
}

/* Messages keep to the limit, and it ends all the same. */
static void test_small_messages(void **state) {
  (void)state;
  km_reconcile_config config = bed_config();
  uint64_t seed = 4;
  config.max_message = KM_RECONCILE_MESSAGE_MIN;
  sets s = make_sets(20000, UINT64_C(1) << 40, 30, &seed);
  bed b;
  config.max_rounds = 2000;
  reconcile_sets(&config, &s, &b);
  assert_true(b.longest <= config.max_message);
  assert_true(b.messages > 20);
  bed_close(&b);
  free_sets(&s);
}

/* What is listed again behind full messages is asked for once. */
static void test_few_against_many(void **state) {
  (void)state;
  km_reconcile_config config = bed_config();
  uint64_t seed = 13;
  config.max_message = KM_RECONCILE_MESSAGE_MIN;
  for (unsigned few = 0; few < 2; few++) {
    sets s = make_sets(60000, UINT64_C(1) << 40, 0, &seed);
    bed b;
    for (size_t i = 0; i < s.count; i++) {
      s.where[i] = i % 20 == 0 ? (uint8_t)(1 + few) : (uint8_t)(2 - few);
    }
    reconcile_sets(&config, &s, &b);
    bed_close(&b);
    free_sets(&s);
  }
}

/* What both have from now on: each side what the other one found out that it lacks, too. */
static void exchange(const bed *b, sets *s) {
  for (unsigned side = 0; side < 2; side++) {
    km_item have;
    while (km_reconcile_next_have(b->side[side], &have)) {
      const km_item *at = bsearch(&have, s->all, s->count, sizeof have, bed_compare);
      assert_non_null(at);
      s->where[at - s->all] = 3;
    }
  }
}

static size_t differing(const sets *s) {
  size_t count = 0;
  for (size_t i = 0; i < s->count; i++) {
    count += s->where[i] != 3;
  }
  return count;
}

/* Neither the messages nor the names of one session are enough: the next ones go on. */
static void test_many_short_sessions(void **state) {
  (void)state;
  static const size_t needs[] = {100, 1000, 1000000};
  uint64_t seed = 12;
  for (size_t i = 0; i < 3 * COUNT_OF(needs); i++) {
    km_reconcile_config config = bed_config();
    unsigned cut = 0, sessions = 0;
    config.max_message = KM_RECONCILE_MESSAGE_MIN;
    config.max_rounds = 10;
    config.max_needs = needs[i % COUNT_OF(needs)];
    sets s = make_sets(6000, i < COUNT_OF(needs) ? 3 : UINT64_C(1) << 40, 100, &seed);
    for (size_t left = s.count; left > 0; sessions++) {
      bed b;
      open_sets(&b, &config, &s);
      bed_run(&b);
      cut += km_reconcile_cut_short(b.side[0]) || km_reconcile_cut_short(b.side[1]);
      exchange(&b, &s);
      assert_true(differing(&s) == 0 || differing(&s) < left);
      left = differing(&s);
      bed_close(&b);
    }
    assert_true(cut > 0 && sessions < 100);
    free_sets(&s);
  }
}

static void test_rounds_grow_slowly(void **state) {
  (void)state;
  km_reconcile_config config = bed_config();
  uint64_t seed = 5;
  sets s = make_sets(50000, UINT64_C(1) << 40, 1, &seed);
  bed b;
  reconcile_sets(&config, &s, &b);
  assert_true(b.messages <= 12);
  bed_close(&b);
  free_sets(&s);
}

/* --- Names that two items share --- */

/* Under the key 01 02 ... 10 the items with these clocks and no hash have one short name. */
enum { TWIN_A = 9880457, TWIN_B = 25145551 };

static km_item plain_item(uint64_t clock) {
  return (km_item){clock, {0}};
}

/* Which of the two twins each side has. */
static void check_twins(uint8_t a_where, uint8_t b_where) {
  km_reconcile_config config = bed_config();
  sets s = {(km_item[]){plain_item(5), plain_item(TWIN_A), plain_item(TWIN_B)},
            (uint8_t[]){3, a_where, b_where}, 3};
  bed b;
  km_item haves[4];
  open_sets(&b, &config, &s);
  bed_run(&b);
  for (unsigned side = 0; side < 2; side++) {
    size_t count = bed_haves(&b, side, haves, 4);
    for (size_t i = 0; i < 3; i++) {
      if (s.where[i] == 1u << side) {
        size_t at = 0;
        while (at < count && km_item_compare(&haves[at], &s.all[i]) != 0) {
          at++;
        }
        assert_true(at < count); /* more may be sent, but not less */
      }
    }
  }
  bed_close(&b);
}

static void test_twins(void **state) {
  (void)state;
  for (uint8_t a = 1; a <= 3; a++) {
    for (uint8_t b = 1; b <= 3; b++) {
      if (!(a == 1 && b == 2) && !(a == 2 && b == 1)) {
        check_twins(a, b);
      }
    }
  }
}

static void test_twins_are_named_together(void **state) {
  (void)state;
  km_reconcile_config config = bed_config();
  km_item items[] = {plain_item(5), plain_item(TWIN_A), plain_item(TWIN_B)}, item;
  uint8_t *message, names[64];
  km_errinfo err;
  bed b;
  bed_open(&b, &config, items, 3, items, 0);
  int64_t len = km_reconcile_begin(b.side[0], &message);
  assert_int_equal(km_reconcile_step(b.side[1], message, (size_t)len, &message, &err), 0);
  assert_int_equal(km_reconcile_needs(b.side[1]), 2); /* one name stands for both */
  assert_true(km_reconcile_next_need(b.side[1], names));
  assert_true(km_reconcile_next_need(b.side[1], names + KM_SHORT_NAME_BYTES));
  int found = km_reconcile_want(b.side[0], names);
  found += km_reconcile_want(b.side[0], names + KM_SHORT_NAME_BYTES);
  assert_int_equal(found, 3);
  for (unsigned i = 0; i < 3; i++) {
    assert_true(km_reconcile_next_have(b.side[0], &item));
  }
  assert_false(km_reconcile_next_have(b.side[0], &item));
  bed_close(&b);
}

/* --- What is to be sent --- */

static void test_marks(void **state) {
  (void)state;
  km_reconcile_config config = bed_config();
  km_item items[200], item;
  uint8_t *message, none[2] = {62 << 2 | KM_RANGE_LIST, 0};
  km_errinfo err;
  bed b;
  for (size_t i = 0; i < COUNT_OF(items); i++) {
    items[i] = plain_item(1000 + i);
  }
  bed_open(&b, &config, items, 200, items, 0);
  assert_false(km_reconcile_newest_have(b.side[0], &item));
  assert_int_equal(km_reconcile_newest_common(b.side[0]), 1199);
  assert_int_equal(km_reconcile_have_bound(b.side[0]), 0);
  assert_true(km_reconcile_begin(b.side[0], &message) > 0);
  assert_int_equal(km_reconcile_have_bound(b.side[0]), 1199); /* listed, may be asked for */
  assert_int_equal(km_reconcile_step(b.side[0], none, sizeof none, &message, &err), 0);
  assert_int_equal(km_reconcile_newest_common(b.side[0]), 0);
  for (size_t i = COUNT_OF(items); i-- > 0;) {
    assert_true(km_reconcile_newest_have(b.side[0], &item));
    assert_int_equal(item.clock, 1000 + i);
    assert_true(km_reconcile_next_have(b.side[0], &item));
    assert_int_equal(item.clock, 1000 + i);
  }
  assert_false(km_reconcile_next_have(b.side[0], &item));
  assert_int_equal(km_reconcile_have_bound(b.side[1]), 0);
  bed_close(&b);
}

static void test_unknown_names_are_passed_over(void **state) {
  (void)state;
  km_reconcile_config config = bed_config();
  km_item item = plain_item(5);
  bed b;
  bed_open(&b, &config, &item, 1, &item, 0);
  const uint8_t name[KM_SHORT_NAME_BYTES] = {1, 2, 3};
  assert_int_equal(km_reconcile_want(b.side[0], name), 0);
  assert_int_equal(km_reconcile_want(b.side[1], name), 0);
  bed_close(&b);
}

/* --- Bounds --- */

static void test_bounds_lie_between(void **state) {
  (void)state;
  uint64_t seed = 6;
  for (unsigned i = 0; i < 20000; i++) {
    uint64_t mask = UINT64_MAX >> bed_random(&seed) % 64;
    km_item a = bed_item(bed_random(&seed) & mask, &seed);
    km_item b = bed_item(bed_random(&seed) % 4 == 0 ? a.clock : bed_random(&seed) & mask, &seed);
    if (bed_random(&seed) % 3 == 0) {
      memcpy(b.hash, a.hash, bed_random(&seed) % sizeof b.hash);
    }
    if (km_item_compare(&a, &b) == 0) {
      continue;
    }
    const km_item *low = km_item_compare(&a, &b) < 0 ? &a : &b, *high = low == &a ? &b : &a;
    km_bound bound = km_bound_between(low, high);
    assert_true(km_item_compare(low, &bound.at) < 0);
    assert_true(km_item_compare(&bound.at, high) <= 0);
    uint8_t bytes[KM_RANGE_HEAD_MAX];
    km_wr wr = km_wr_init(bytes, sizeof bytes);
    km_range range;
    km_range_put_head(&wr, KM_RANGE_SKIP, low, &bound);
    assert_false(wr.failed);
    km_rd rd = km_rd_init(bytes, (size_t)(wr.at - bytes));
    assert_int_equal(km_range_read(&range, &rd, low, NULL), 0);
    assert_int_equal(km_rd_left(&rd), 0);
    assert_false(range.end.endless);
    assert_int_equal(km_item_compare(&range.end.at, &bound.at), 0);
  }
}

/* --- What the other side must not do --- */

typedef struct broken {
  const char *what;
  uint8_t bytes[24];
  size_t len;
} broken;

#define HEAD(shift, mode) (uint8_t)((shift) << 2 | (mode))

static const broken broken_messages[] = {
    {"unknown mode", {HEAD(62, 3)}, 1},
    {"no bound", {HEAD(0, 0)}, 1},
    {"half a bound", {HEAD(0, 0), 0x80}, 2},
    {"bound at the beginning", {HEAD(5, 0), 0}, 2},
    {"bound twice", {HEAD(0, 0), 7, HEAD(0, 0), 0}, 4},
    {"bound that goes back", {HEAD(0, 0), 7, HEAD(2, 0), 0}, 4},
    {"bound above all clocks", {HEAD(61, 0), 8}, 2},
    {"bound above all clocks that wraps", {HEAD(60, 0), 17}, 2},
    {"bound above all clocks later", {HEAD(61, 0), 7, HEAD(60, 0), 7}, 4},
    {"hash of no bytes", {HEAD(63, 0), 1, 0}, 3},
    {"hash that is too long",
     {HEAD(63, 0), 1, 17, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17},
     20},
    {"hash cut short", {HEAD(63, 0), 1, 3, 1, 2}, 5},
    {"hash that goes back", {HEAD(63, 0), 1, 1, 9, HEAD(63, 0), 0, 1, 8}, 8},
    {"fingerprint cut short", {HEAD(62, 1), 1, 2, 3, 4, 5, 6, 7}, 8},
    {"list cut short", {HEAD(62, 2), 2, 1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5}, 13},
    {"list of too many", {HEAD(62, 2), 0xff, 0xff, 0xff, 0xff, 0x0f}, 6},
    {"list of more than 32 bits", {HEAD(62, 2), 0xff, 0xff, 0xff, 0xff, 0x7f}, 6},
    {"list without a count", {HEAD(62, 2)}, 1},
    {"something behind the end", {HEAD(62, 0), HEAD(62, 0)}, 2},
};

static void test_broken_messages(void **state) {
  (void)state;
  km_reconcile_config config = bed_config();
  uint64_t seed = 8;
  for (size_t i = 0; i < COUNT_OF(broken_messages); i++) {
    const broken *m = &broken_messages[i];
    sets s = make_sets(100, 1000, 0, &seed);
    bed b;
    uint8_t *answer, *copy = malloc(m->len);
    km_errinfo err = {0};
    assert_non_null(copy);
    memcpy(copy, m->bytes, m->len);
    open_sets(&b, &config, &s);
    if (km_reconcile_step(b.side[0], copy, m->len, &answer, &err) != KM_ERR_BAD_PACKET) {
      fail_msg("taken: %s", m->what);
    }
    assert_int_equal(err.code, KM_ERR_BAD_PACKET);
    assert_true(strlen(err.text) > 10);
    free(copy);
    bed_close(&b);
    free_sets(&s);
  }
}

static void test_every_message_can_be_cut_short(void **state) {
  (void)state;
  km_reconcile_config config = bed_config();
  uint64_t seed = 9;
  sets s = make_sets(2000, 100000, 5, &seed);
  bed b;
  uint8_t *message, *answer;
  km_errinfo err;
  open_sets(&b, &config, &s);
  int64_t len = km_reconcile_begin(b.side[0], &message);
  assert_true(len > 0);
  for (int64_t cut = 0; cut < len; cut++) {
    uint8_t *copy = malloc((size_t)cut + 1);
    assert_non_null(copy);
    memcpy(copy, message, (size_t)cut);
    int64_t rv = km_reconcile_step(b.side[1], copy, (size_t)cut, &answer, &err);
    assert_true(rv >= 0 || rv == KM_ERR_BAD_PACKET);
    free(copy);
  }
  bed_close(&b);
  free_sets(&s);
}

static void test_limits(void **state) {
  (void)state;
  km_reconcile_config config = bed_config();
  km_reconcile *r;
  km_errinfo err = {0};
  uint8_t *answer;
  config.max_message = KM_RECONCILE_MESSAGE_MIN - 1;
  assert_int_equal(km_reconcile_new(&r, &config, NULL, 0), KM_ERR_INVALID);

  config = bed_config();
  config.max_rounds = 3;
  assert_int_equal(km_reconcile_new(&r, &config, NULL, 0), 0);
  const uint8_t ask[] = {HEAD(62, KM_RANGE_FINGERPRINT), 1, 2, 3, 4, 5, 6, 7, 8};
  for (unsigned i = 0; i < 2; i++) {
    assert_int_equal(km_reconcile_step(r, ask, sizeof ask, &answer, &err), 2);
  }
  assert_false(km_reconcile_left_out(r) || km_reconcile_cut_short(r));
  assert_int_equal(km_reconcile_step(r, ask, sizeof ask, &answer, &err), 0);
  assert_true(km_reconcile_left_out(r) && km_reconcile_cut_short(r));
  assert_int_equal(km_reconcile_step(r, ask, sizeof ask, &answer, &err), KM_ERR_BAD_PACKET);
  assert_non_null(strstr(err.text, "3 rounds"));
  km_reconcile_free(r);

  config = bed_config();
  config.max_needs = 2;
  assert_int_equal(km_reconcile_new(&r, &config, NULL, 0), 0);
  const uint8_t list[2 + 3 * 6] = {
      HEAD(62, KM_RANGE_LIST), 3, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 3};
  assert_false(km_reconcile_left_out(r));
  assert_int_equal(km_reconcile_step(r, list, sizeof list, &answer, &err), 0);
  assert_int_equal(km_reconcile_needs(r), 2);
  assert_true(km_reconcile_left_out(r));
  km_reconcile_free(r);
  km_reconcile_free(NULL);
}

/* A list that nobody who keeps to the rules makes is not even sorted. */
static void test_long_lists(void **state) {
  (void)state;
  enum { MAX = KM_RANGE_NAMES_MAX };
  static uint8_t list[16 + (MAX + 1) * KM_SHORT_NAME_BYTES];
  km_reconcile_config config = bed_config();
  km_reconcile *r;
  uint8_t *answer;
  assert_int_equal(km_reconcile_new(&r, &config, NULL, 0), 0);
  for (unsigned count = MAX; count <= MAX + 1; count++) {
    km_wr wr = km_wr_init(list, sizeof list);
    km_wr_u8(&wr, HEAD(62, KM_RANGE_LIST));
    km_wr_varint(&wr, count);
    for (unsigned i = 0; i < count; i++) {
      km_wr_be(&wr, i, KM_SHORT_NAME_BYTES);
    }
    km_errinfo err = {0};
    int64_t rv = km_reconcile_step(r, list, (size_t)(wr.at - list), &answer, &err);
    assert_int_equal(rv, count == MAX ? 0 : KM_ERR_BAD_PACKET);
    assert_int_equal(km_reconcile_needs(r), MAX);
    assert_true(count == MAX || strstr(err.text, "1025 names") != NULL);
  }
  km_reconcile_free(r);
}

/* --- What messages cost --- */

/* A range of the message over all from `begin` to `end`; NULL: without end. */
static void put_range(km_wr *wr, km_range_mode mode, const km_item *begin, const km_item *end) {
  const km_item lowest = {0, {0}};
  km_bound bound = {end == NULL ? lowest : *end, end == NULL};
  km_range_put_head(wr, mode, begin == NULL ? &lowest : begin, &bound);
}

/* A list of names that nobody has over all below `end`, then a fingerprint that is never right. */
static size_t put_question(uint8_t *message, size_t cap, const km_item *end) {
  km_wr wr = km_wr_init(message, cap);
  put_range(&wr, KM_RANGE_LIST, NULL, end);
  km_wr_varint(&wr, KM_RANGE_NAMES_MAX);
  for (unsigned i = 1; i <= KM_RANGE_NAMES_MAX; i++) {
    km_wr_be(&wr, i, KM_SHORT_NAME_BYTES);
  }
  put_range(&wr, KM_RANGE_FINGERPRINT, end, NULL);
  km_wr_be(&wr, 12345, 8);
  assert_false(wr.failed);
  return (size_t)(wr.at - message);
}

/* Who asks about the same items again and again has them looked at some times, and no more. */
static void test_what_questions_cost(void **state) {
  (void)state;
  enum { COUNT = 3000 };
  static uint8_t message[8192];
  static km_item items[COUNT];
  for (unsigned i = 0; i < COUNT; i++) {
    items[i] = plain_item(1000 + i);
  }
  for (unsigned listed = 0; listed < 2; listed++) {
    km_reconcile_config config = bed_config();
    km_errinfo err;
    uint8_t *answer;
    bed b;
    bed_open(&b, &config, items, COUNT, items, 0);
    size_t len = put_question(message, sizeof message, &items[listed == 1 ? COUNT - 20 : 1]);
    for (unsigned i = 0; i + 1 < config.max_rounds; i++) {
      assert_true(km_reconcile_step(b.side[0], message, len, &answer, &err) > 0);
    }
    assert_true(km_reconcile_looked_at(b.side[0]) <= 17 * COUNT);
    bed_close(&b);
  }
}

/* The names of 8 items, as one side lists them. */
static void put_names(km_wr *wr, const km_item *items) {
  km_reconcile_config config = bed_config();
  uint8_t *message;
  bed b;
  bed_open(&b, &config, items, 8, items, 0);
  assert_int_equal(km_reconcile_begin(b.side[0], &message), 2 + 8 * KM_SHORT_NAME_BYTES);
  km_wr_bytes(wr, message + 2, 8 * KM_SHORT_NAME_BYTES);
  bed_close(&b);
}

/* The second list of items is looked up by its names, and says the same. */
static void test_lists_that_overlap(void **state) {
  (void)state;
  enum { COUNT = 300 };
  km_reconcile_config config = bed_config();
  uint8_t message[256], *answer;
  km_item items[COUNT], item;
  km_errinfo err;
  bed b;
  for (unsigned i = 0; i < COUNT; i++) {
    items[i] = plain_item(1000 + i);
  }
  bed_open(&b, &config, items, COUNT, items, 0);
  km_wr wr = km_wr_init(message, sizeof message);
  put_range(&wr, KM_RANGE_LIST, NULL, &items[250]);
  km_wr_varint(&wr, 0);
  assert_int_equal(km_reconcile_step(b.side[0], message, (size_t)(wr.at - message), &answer, &err),
                   0);
  wr = km_wr_init(message, sizeof message);
  put_range(&wr, KM_RANGE_SKIP, NULL, &items[100]);
  put_range(&wr, KM_RANGE_LIST, &items[100], NULL);
  km_wr_varint(&wr, 25);
  put_names(&wr, &items[10]);  /* outside of the range */
  put_names(&wr, &items[120]); /* lacking before, and as it is said first */
  put_names(&wr, &items[260]);
  km_wr_be(&wr, 1, KM_SHORT_NAME_BYTES); /* nobody's */
  assert_int_equal(km_reconcile_step(b.side[0], message, (size_t)(wr.at - message), &answer, &err),
                   0);
  assert_int_equal(km_reconcile_looked_at(b.side[0]), 250);
  assert_int_equal(km_reconcile_needs(b.side[0]), 9);
  for (unsigned i = COUNT; i-- > 0;) {
    if (i < 260 || i >= 268) {
      assert_true(km_reconcile_next_have(b.side[0], &item));
      assert_int_equal(item.clock, items[i].clock);
    }
  }
  assert_false(km_reconcile_next_have(b.side[0], &item));
  bed_close(&b);
}

/* Whichever request for memory fails: an error, and nothing is left behind. */
static void test_no_memory(void **state) {
  (void)state;
  uint64_t seed = 10;
  sets s = make_sets(600, 100000, 40, &seed);
  bool done = false;
  for (long fail_after = 0; !done; fail_after++) {
    test_env t;
    test_env_init(&t);
    km_reconcile_config config = bed_config();
    km_reconcile *r = NULL;
    km_errinfo err;
    uint8_t *message;
    config.env = &t.env;
    km_item *items = km_env_alloc(&t.env, s.count * sizeof *items);
    assert_non_null(items);
    size_t count = side_of(&s, 0, items);
    t.fail_after = fail_after;
    int64_t rv = km_reconcile_new(&r, &config, items, count);
    rv = rv == 0 ? km_reconcile_begin(r, &message) : rv;
    const uint8_t list[2 + 6] = {HEAD(62, KM_RANGE_LIST), 1, 9, 9, 9, 9, 9, 9};
    rv = rv > 0 ? km_reconcile_step(r, list, sizeof list, &message, &err) : rv;
    rv = rv == 0 ? km_reconcile_want(r, list + 2) : rv;
    done = rv == 0;
    assert_true(done || rv == KM_ERR_NOMEM);
    km_reconcile_free(r);
    assert_int_equal(t.live, 0);
  }
  free_sets(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_sets_of_all_sizes),
      cmocka_unit_test(test_one_side_empty),
      cmocka_unit_test(test_extreme_clocks),
      cmocka_unit_test(test_items_on_bounds),
      cmocka_unit_test(test_small_messages),
      cmocka_unit_test(test_few_against_many),
      cmocka_unit_test(test_many_short_sessions),
      cmocka_unit_test(test_rounds_grow_slowly),
      cmocka_unit_test(test_twins),
      cmocka_unit_test(test_twins_are_named_together),
      cmocka_unit_test(test_marks),
      cmocka_unit_test(test_unknown_names_are_passed_over),
      cmocka_unit_test(test_bounds_lie_between),
      cmocka_unit_test(test_broken_messages),
      cmocka_unit_test(test_every_message_can_be_cut_short),
      cmocka_unit_test(test_limits),
      cmocka_unit_test(test_long_lists),
      cmocka_unit_test(test_what_questions_cost),
      cmocka_unit_test(test_lists_that_overlap),
      cmocka_unit_test(test_no_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
