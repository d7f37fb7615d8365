#include "store/reconcile_wire.h"

#include <string.h>

enum { SHIFT_MAX = 61, SHIFT_ENDLESS = 62, SHIFT_WITH_HASH = 63 };

int km_item_compare(const km_item *a, const km_item *b) {
  if (a->clock != b->clock) {
    return a->clock < b->clock ? -1 : 1;
  }
  return memcmp(a->hash, b->hash, sizeof a->hash);
}

km_bound km_bound_between(const km_item *before, const km_item *after) {
  km_bound b = {{0, {0}}, false};
  if (before->clock == after->clock) {
    size_t same = 0;
    while (same + 1 < sizeof before->hash && before->hash[same] == after->hash[same]) {
      same++;
    }
    b.at.clock = after->clock;
    memcpy(b.at.hash, after->hash, same + 1);
    return b;
  }
  /* Of the clocks above `before` and up to `after`, the one with the most zero bits at its end. */
  uint64_t differ = before->clock ^ after->clock;
  unsigned highest = 63;
  while (differ >> highest == 0) {
    highest--;
  }
  uint64_t below = (UINT64_C(1) << highest) - 1;
  b.at.clock = after->clock & ~below;
  return b;
}

static bool has_hash(const km_item *at) {
  static const uint8_t none[KM_ENTRY_HASH_BYTES];
  return memcmp(at->hash, none, sizeof none) != 0;
}

static void put_hash(km_wr *wr, const km_item *at) {
  uint8_t len = KM_ENTRY_HASH_BYTES;
  while (at->hash[len - 1] == 0) {
    len--;
  }
  km_wr_u8(wr, len);
  km_wr_bytes(wr, at->hash, len);
}

void km_range_put_head(km_wr *wr, km_range_mode mode, const km_item *begin, const km_bound *end) {
  if (end->endless) {
    km_wr_u8(wr, (uint8_t)(SHIFT_ENDLESS << 2 | (unsigned)mode));
    return;
  }
  uint64_t clock = end->at.clock;
  if (has_hash(&end->at)) {
    km_wr_u8(wr, (uint8_t)(SHIFT_WITH_HASH << 2 | (unsigned)mode));
    km_wr_varint(wr, clock - begin->clock);
    put_hash(wr, &end->at);
    return;
  }
  unsigned shift = 0;
  while (shift < SHIFT_MAX && (clock >> shift & 1) == 0) {
    shift++;
  }
  km_wr_u8(wr, (uint8_t)(shift << 2 | (unsigned)mode));
  km_wr_varint(wr, (clock >> shift) - (begin->clock >> shift));
}

static void read_clock(km_bound *b, km_rd *rd, const km_item *begin, unsigned shift) {
  uint64_t from = begin->clock >> shift;
  uint64_t more = km_rd_varint(rd, 64);
  if (more > (UINT64_MAX >> shift) - from) {
    rd->failed = true;
    return;
  }
  b->at.clock = (from + more) << shift;
}

static void read_hash(km_bound *b, km_rd *rd) {
  uint8_t len = km_rd_u8(rd);
  const uint8_t *bytes = km_rd_bytes(rd, len);
  if (bytes == NULL || len == 0 || len > KM_ENTRY_HASH_BYTES) {
    rd->failed = true;
    return;
  }
  memcpy(b->at.hash, bytes, len);
}

static km_bound read_bound(km_rd *rd, unsigned shift, const km_item *begin) {
  km_bound b = {{0, {0}}, shift == SHIFT_ENDLESS};
  if (shift == SHIFT_WITH_HASH) {
    read_clock(&b, rd, begin, 0);
    read_hash(&b, rd);
  } else if (!b.endless) {
    read_clock(&b, rd, begin, shift);
  }
  return b;
}

static void read_content(km_range *range, km_rd *rd) {
  if (range->mode == KM_RANGE_FINGERPRINT) {
    range->fingerprint = km_rd_be(rd, 8);
  } else if (range->mode == KM_RANGE_LIST) {
    uint64_t count = km_rd_varint(rd, 32);
    range->count = (size_t)count;
    if (count <= KM_RANGE_NAMES_MAX) {
      range->names = km_rd_bytes(rd, (size_t)count * KM_SHORT_NAME_BYTES);
    }
  }
}

int km_range_read(km_range *ret, km_rd *rd, const km_item *begin, km_errinfo *err) {
  uint8_t head = km_rd_u8(rd);
  km_range range = {.mode = (km_range_mode)(head & 3)};
  if (range.mode >= KM_RANGE_MODE_COUNT_) {
    return km_fail(err, KM_ERR_BAD_PACKET, "a range of an unknown kind in a reconciliation");
  }
  range.end = read_bound(rd, head >> 2, begin);
  read_content(&range, rd);
  if (rd->failed) {
    return km_fail(err, KM_ERR_BAD_PACKET, "a reconciliation message is cut short");
  }
  if (range.count > KM_RANGE_NAMES_MAX) {
    return km_fail(err, KM_ERR_BAD_PACKET, "a reconciliation lists %zu names in one range",
                   range.count);
  }
  if (!range.end.endless && km_item_compare(&range.end.at, begin) <= 0) {
    return km_fail(err, KM_ERR_BAD_PACKET, "the ranges of a reconciliation do not go upwards");
  }
  *ret = range;
  return 0;
}
