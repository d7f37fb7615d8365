/* First byte: what the rest is.
 * 0: a message to a side with some hundred items: no crash, an answer within its limit that the
 *    other side can read.
 * else: two sets, a byte an item. Both sides find out exactly what differs. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "store/reconcile_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { ITEMS = 600, MAX = KM_RECONCILE_MESSAGE_MIN };

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

static km_reconcile_config config_of(void) {
  return (km_reconcile_config){.env = &km_env_system,
                               .key = {1, 2, 3},
                               .max_message = MAX,
                               .max_rounds = 400,
                               .max_needs = 2000};
}

static km_reconcile *make(const km_item *items, size_t count) {
  km_reconcile_config config = config_of();
  km_item *copy = malloc((count + 1) * sizeof *copy);
  km_reconcile *r;
  check(copy != NULL);
  if (count > 0) {
    memcpy(copy, items, count * sizeof *copy);
  }
  check(km_reconcile_new(&r, &config, copy, count) == 0);
  return r;
}

/* The answer can be read, and its bounds go upwards. */
static void check_answer(const uint8_t *answer, size_t len) {
  km_rd rd = km_rd_init(answer, len);
  km_item from = {0, {0}};
  check(len <= MAX);
  while (km_rd_left(&rd) > 0) {
    km_range range;
    check(km_range_read(&range, &rd, &from, NULL) == 0);
    check(!range.end.endless || km_rd_left(&rd) == 0);
    from = range.end.at;
  }
}

static void one_message(const uint8_t *data, size_t len) {
  km_item items[ITEMS], item;
  uint8_t *answer, name[KM_SHORT_NAME_BYTES];
  km_errinfo err = {0};
  for (unsigned i = 0; i < ITEMS; i++) {
    items[i] = (km_item){1000 + i / 3 * 50, {(uint8_t)(i % 3), (uint8_t)i}};
  }
  km_reconcile *r = make(items, ITEMS);
  int64_t rv = km_reconcile_step(r, data, len, &answer, &err);
  check(rv >= 0 || rv == KM_ERR_BAD_PACKET || rv == KM_ERR_LIMIT);
  check(rv >= 0 || err.code == rv);
  if (rv > 0) {
    check_answer(answer, (size_t)rv);
  }
  while (km_reconcile_next_need(r, name)) {
    check(km_reconcile_want(r, name) >= 0);
  }
  unsigned haves = 0;
  while (km_reconcile_next_have(r, &item)) {
    haves++;
  }
  check(haves <= ITEMS);
  km_reconcile_free(r);
}

/* Bits 0 and 1: who has it (neither: both do), the rest: how far it is from the one before. */
static size_t read_sets(const uint8_t *data, size_t len, km_item *items, uint8_t *where) {
  uint64_t clock = 1;
  size_t count = len < ITEMS ? len : ITEMS;
  for (size_t i = 0; i < count; i++) {
    unsigned step = data[i] >> 2;
    clock += step < 8 ? 0 : UINT64_C(1) << (step - 8);
    items[i] = (km_item){clock, {0}};
    items[i].hash[step % 16] = 1;
    items[i].hash[14] = (uint8_t)(i >> 8);
    items[i].hash[15] = (uint8_t)i;
    where[i] = (data[i] & 3) == 0 ? 3 : data[i] & 3;
  }
  return count;
}

typedef struct placed {
  km_item item;
  uint8_t where;
} placed;

static int compare_placed(const void *a, const void *b) {
  return km_item_compare(&((const placed *)a)->item, &((const placed *)b)->item);
}

static void talk(km_reconcile *const side[2]) {
  uint8_t *message, name[KM_SHORT_NAME_BYTES];
  int64_t len = km_reconcile_begin(side[0], &message);
  for (unsigned to = 1; len > 0; to = 1 - to) {
    check_answer(message, (size_t)len);
    len = km_reconcile_step(side[to], message, (size_t)len, &message, NULL);
  }
  check(len == 0);
  for (unsigned i = 0; i < 2; i++) {
    while (km_reconcile_next_need(side[i], name)) {
      check(km_reconcile_want(side[1 - i], name) > 0);
    }
  }
}

static void two_sets(const uint8_t *data, size_t len) {
  km_item items[ITEMS];
  uint8_t where[ITEMS];
  placed all[ITEMS];
  size_t count = read_sets(data, len, items, where);
  for (size_t i = 0; i < count; i++) {
    all[i] = (placed){items[i], where[i]};
  }
  qsort(all, count, sizeof *all, compare_placed);
  km_reconcile *side[2];
  for (unsigned s = 0; s < 2; s++) {
    size_t own = 0;
    for (size_t i = 0; i < count; i++) {
      if ((all[i].where >> s & 1) != 0) {
        items[own++] = all[i].item;
      }
    }
    side[s] = make(items, own);
  }
  talk(side);
  for (unsigned s = 0; s < 2; s++) {
    km_item item;
    for (size_t i = count; i-- > 0;) {
      if (all[i].where == 1u << s) {
        check(km_reconcile_next_have(side[s], &item));
        check(km_item_compare(&item, &all[i].item) == 0);
      }
    }
    check(!km_reconcile_next_have(side[s], &item));
    km_reconcile_free(side[s]);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  if (len > 0 && data[0] == 0) {
    one_message(data + 1, len - 1);
  } else if (len > 0) {
    two_sets(data + 1, len - 1);
  }
  return 0;
}
