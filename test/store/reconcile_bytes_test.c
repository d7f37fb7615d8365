/* How much reconciliation says: d differences in 100,000 items, beside the entries themselves,
 * which are the bound that no protocol can go below. The aim is 3 times that in all. */
#include "test/store/reconcile_bed.h"

enum {
  ITEMS = 100000,
  ENTRY = 150, /* bytes: a key of 20, a value of 20, clock, author, signature, lengths */
  FRAMES = 60  /* what store/sync.h adds around it, both ways */
};

typedef enum kind { NEW_AT_THE_END, MISSING_ANYWHERE, UPDATES } kind;

static const char *const kind_names[] = {"new at the end", "missing anywhere", "updates"};

typedef struct pair_of_sets {
  km_item *richer, *poorer; /* the richer one has what the other lacks */
  size_t richer_count, poorer_count;
} pair_of_sets;

/* Marks `count` of the items. */
static uint8_t *choose(size_t count, uint64_t *state) {
  uint8_t *chosen = calloc(ITEMS, 1);
  assert_non_null(chosen);
  while (count > 0) {
    size_t i = bed_random(state) % ITEMS;
    count -= chosen[i] == 0;
    chosen[i] = 1;
  }
  return chosen;
}

/* Items of a year and more, as often as not some in the same millisecond. */
static pair_of_sets make_sets(kind k, size_t differences, uint64_t *state) {
  pair_of_sets s = {malloc((ITEMS + differences) * sizeof *s.richer),
                    malloc((ITEMS + differences) * sizeof *s.poorer), 0, 0};
  uint8_t *chosen = choose(k == NEW_AT_THE_END ? 0 : differences, state);
  uint64_t clock = UINT64_C(1700000000000) << 16;
  assert_non_null(s.richer);
  assert_non_null(s.poorer);
  size_t count = k == MISSING_ANYWHERE ? ITEMS : ITEMS + differences;
  for (size_t i = 0; i < count; i++) {
    clock += bed_random(state) % 3 == 0 ? 1 : bed_random(state) % 900000 << 16;
    km_item item = bed_item(clock, state);
    bool late = i >= ITEMS, is_chosen = !late && chosen[i] != 0;
    if (!(k == UPDATES && is_chosen)) {
      s.richer[s.richer_count++] = item;
    }
    if (!late && !(k == MISSING_ANYWHERE && is_chosen)) {
      s.poorer[s.poorer_count++] = item;
    }
  }
  free(chosen);
  return s;
}

/* The bytes of one reconciliation, the names asked for included. */
static size_t measure(kind k, size_t differences, bool richer_begins, uint64_t *state,
                      unsigned *messages) {
  pair_of_sets s = make_sets(k, differences, state);
  km_reconcile_config config = bed_config();
  km_item *haves = malloc((ITEMS + differences) * sizeof *haves);
  bed b;
  assert_non_null(haves);
  bed_random(state);
  memcpy(config.key, state, sizeof *state);
  if (richer_begins) {
    bed_open(&b, &config, s.richer, s.richer_count, s.poorer, s.poorer_count);
  } else {
    bed_open(&b, &config, s.poorer, s.poorer_count, s.richer, s.richer_count);
  }
  bed_run(&b);
  unsigned richer = richer_begins ? 0 : 1;
  assert_int_equal(bed_haves(&b, richer, haves, ITEMS + differences), differences);
  assert_int_equal(bed_haves(&b, 1 - richer, haves, ITEMS + differences),
                   k == UPDATES ? differences : 0);
  bed_close(&b);
  free(haves);
  free(s.richer);
  free(s.poorer);
  *messages = b.messages;
  return b.bytes + b.named * KM_SHORT_NAME_BYTES;
}

/* Bytes allowed besides the entries, and messages. */
typedef struct allowance {
  kind kind;
  size_t differences, bytes;
  unsigned messages;
} allowance;

static const allowance allowances[] = {
    {NEW_AT_THE_END, 1, 180, 2},
    {NEW_AT_THE_END, 100, 400, 4},
    {NEW_AT_THE_END, 10000, 400, 4},
    {MISSING_ANYWHERE, 1, 220, 4},
    {MISSING_ANYWHERE, 100, 8000, 14},
    {MISSING_ANYWHERE, 10000, 600000, 24},
    {UPDATES, 1, 220, 4},
    {UPDATES, 100, 8000, 14},
    {UPDATES, 10000, 600000, 24},
};

static void test_bytes(void **state) {
  (void)state;
  uint64_t seed = 1;
  for (size_t i = 0; i < COUNT_OF(allowances); i++) {
    const allowance *a = &allowances[i];
    for (unsigned side = 0; side < 2; side++) {
      unsigned messages;
      size_t bytes = measure(a->kind, a->differences, side == 0, &seed, &messages);
      size_t bound = a->differences * ENTRY;
      print_message("%-16s d = %-5zu %s: %zu bytes in %u messages, with the entries %.2f times "
                    "the bound\n",
                    kind_names[a->kind], a->differences, side == 0 ? "richer" : "poorer", bytes,
                    messages, (double)(bytes + bound + FRAMES) / (double)bound);
      assert_true(bytes <= a->bytes);
      assert_true(messages <= a->messages);
      assert_true(bytes + bound + FRAMES <= 3 * bound);
    }
  }
}

static void test_equal_sets_cost_one_message(void **state) {
  (void)state;
  uint64_t seed = 7;
  unsigned messages;
  size_t bytes = measure(NEW_AT_THE_END, 0, true, &seed, &messages);
  assert_int_equal(messages, 1);
  assert_true(bytes <= 140);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_bytes),
      cmocka_unit_test(test_equal_sets_cost_one_message),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
