/* Messages of reconciliation as bytes. A message is a list of ranges; each begins where the one
 * before ended, the first one at the lowest item there can be. What is behind the last one is
 * skipped.
 *
 *   range  = head:u8 [bound] [content]
 *   head   = shift << 2 | mode
 *   bound  = varint d                  shift 0 to 61: the clock's upper bits, beyond those of the
 *                                      previous clock: ((previous >> shift) + d) << shift
 *          | nothing                   shift 62: no end
 *          | varint d, n:u8, n bytes   shift 63: previous clock + d, and the first bytes of a hash
 *   mode 0 skip; 1 fingerprint: 8 bytes; 2 list: varint count, count * 6 bytes
 *
 * Pure; docs/protocol-mesh.md. */
#ifndef KM_STORE_RECONCILE_WIRE_H
#define KM_STORE_RECONCILE_WIRE_H

#include "base/wire.h"
#include "store/reconcile.h"

typedef enum km_range_mode {
  KM_RANGE_SKIP,
  KM_RANGE_FINGERPRINT,
  KM_RANGE_LIST,
  KM_RANGE_MODE_COUNT_
} km_range_mode;

/* Where a range ends: before the first item that is not below `at`, or nowhere. */
typedef struct km_bound {
  km_item at;
  bool endless;
} km_bound;

typedef struct km_range {
  km_range_mode mode;
  km_bound end;
  uint64_t fingerprint;
  const uint8_t *names; /* LIST */
  size_t count;
} km_range;

#define KM_RANGE_HEAD_MAX 29    /* bytes of head and bound */
#define KM_RANGE_NAMES_MAX 1024 /* of a list; what is longer is split by who keeps to the rules */

/* The bound between two neighbours that is the shortest to write. */
km_bound km_bound_between(const km_item *before, const km_item *after);
/* Head and bound; the content is the caller's to write. `begin`: where the range before ended. */
void km_range_put_head(km_wr *wr, km_range_mode mode, const km_item *begin, const km_bound *end);
/* 0, or KM_ERR_BAD_PACKET: cut short, an unknown mode, a list of more than KM_RANGE_NAMES_MAX, a
 * bound that is not above `begin`. */
KM_NODISCARD int km_range_read(km_range *ret, km_rd *rd, const km_item *begin, km_errinfo *err);

#endif /* KM_STORE_RECONCILE_WIRE_H */
