/* Two sides that reconcile, without a stream between them. */
#ifndef KM_TEST_STORE_RECONCILE_BED_H
#define KM_TEST_STORE_RECONCILE_BED_H

#include "store/reconcile.h"
#include "test/base/test_env.h"

typedef struct bed {
  km_reconcile *side[2]; /* the first one begins */
  size_t bytes;          /* of all messages */
  size_t longest;        /* message */
  unsigned messages;
  size_t named; /* short names asked for in the end */
} bed;

static inline uint64_t bed_random(uint64_t *state) {
  uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

static inline km_item bed_item(uint64_t clock, uint64_t *state) {
  km_item item = {clock, {0}};
  uint64_t hash[2] = {bed_random(state), bed_random(state)};
  memcpy(item.hash, hash, sizeof item.hash);
  return item;
}

static inline int bed_compare(const void *a, const void *b) {
  return km_item_compare(a, b);
}

static inline km_item *bed_copy(const km_item *items, size_t count) {
  km_item *copy = malloc((count + 1) * sizeof *copy);
  assert_non_null(copy);
  if (count > 0) {
    memcpy(copy, items, count * sizeof *copy);
  }
  return copy;
}

static inline km_reconcile_config bed_config(void) {
  return (km_reconcile_config){.env = &km_env_system,
                               .key = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
                               .max_message = 262144,
                               .max_rounds = 512,
                               .max_needs = 1000000};
}

static inline void bed_open(bed *b, const km_reconcile_config *config, const km_item *first,
                            size_t first_count, const km_item *second, size_t second_count) {
  *b = (bed){0};
  assert_int_equal(km_reconcile_new(&b->side[0], config, bed_copy(first, first_count), first_count),
                   0);
  assert_int_equal(
      km_reconcile_new(&b->side[1], config, bed_copy(second, second_count), second_count), 0);
}

/* All messages, then what each side asks the other for. */
static inline void bed_run(bed *b) {
  uint8_t *message, name[KM_SHORT_NAME_BYTES];
  km_errinfo err;
  unsigned to = 1;
  int64_t len = km_reconcile_begin(b->side[0], &message);
  for (; len > 0; to = 1 - to) {
    b->bytes += (size_t)len;
    b->longest = (size_t)len > b->longest ? (size_t)len : b->longest;
    b->messages++;
    uint8_t *copy = malloc((size_t)len);
    assert_non_null(copy);
    memcpy(copy, message, (size_t)len);
    len = km_reconcile_step(b->side[to], copy, (size_t)len, &message, &err);
    free(copy);
    if (len < 0) {
      fail_msg("%s", err.text);
    }
  }
  for (unsigned i = 0; i < 2; i++) {
    size_t before = b->named;
    while (km_reconcile_next_need(b->side[i], name)) {
      b->named++;
      assert_true(km_reconcile_want(b->side[1 - i], name) > 0);
    }
    assert_true(b->named - before <= km_reconcile_items(b->side[1 - i])); /* none twice */
  }
}

/* What a side is to send, the newest first. The number of them. */
static inline size_t bed_haves(const bed *b, unsigned side, km_item *ret, size_t max) {
  size_t count = 0;
  km_item item;
  while (km_reconcile_next_have(b->side[side], &item)) {
    assert_true(count < max);
    ret[count++] = item;
  }
  return count;
}

static inline void bed_close(bed *b) {
  km_reconcile_free(b->side[0]);
  km_reconcile_free(b->side[1]);
}

#endif /* KM_TEST_STORE_RECONCILE_BED_H */
