/* Range-based set reconciliation (Meyer 2022, arXiv 2212.13567) over items ordered by clock and
 * hash. Two sides that hold n items each and differ in d exchange O(d log n) bytes. Pure.
 *
 * Fingerprints are sums of a keyed hash of the items (SipHash-2-4 under a key of the session), so
 * that nobody who writes entries can make two sets look alike. docs/protocol-mesh.md. */
#ifndef KM_STORE_RECONCILE_H
#define KM_STORE_RECONCILE_H

#include "base/env.h"
#include "store/entry.h"

typedef struct km_item {
  uint64_t clock;
  uint8_t hash[KM_ENTRY_HASH_BYTES];
} km_item;

int km_item_compare(const km_item *a, const km_item *b);

#define KM_RECONCILE_KEY_BYTES 16
#define KM_RECONCILE_MESSAGE_MIN 4096 /* least max_message */

typedef struct km_reconcile km_reconcile;

typedef struct km_reconcile_config {
  const km_env *env;
  uint8_t key[KM_RECONCILE_KEY_BYTES];
  size_t max_message;  /* bytes of one message; what does not fit comes in the next one */
  uint32_t max_rounds; /* messages taken from the other side: the last one is not answered */
  size_t max_needs;    /* names of items that we lack that are kept; more are left out */
} km_reconcile_config;

/* `items` are sorted and without repeats, and belong to it from now on, also when this fails (freed
 * with env). 0, KM_ERR_INVALID (max_message too small), KM_ERR_LIMIT (2^32 items), KM_ERR_NOMEM. */
KM_NODISCARD int km_reconcile_new(km_reconcile **ret, const km_reconcile_config *config,
                                  km_item *items, size_t count);
void km_reconcile_free(km_reconcile *r); /* NULL does nothing */

/* The first message, by who begins. Its length, or KM_ERR_NOMEM. */
KM_NODISCARD int64_t km_reconcile_begin(km_reconcile *r, uint8_t **ret);
/* Takes a message and makes the answer, which belongs to `r` until the next call. The length of the
 * answer; 0: nothing is left to ask, the other side's last message needs no answer, or it was the
 * last of max_rounds. Errors: KM_ERR_BAD_PACKET (also: one more), KM_ERR_NOMEM. On the way it finds
 * out
 *  - items that the other side lacks: they are marked, see km_reconcile_next_have;
 *  - items that we lack, known by their short names only: km_reconcile_next_need. */
KM_NODISCARD int64_t km_reconcile_step(km_reconcile *r, const uint8_t *msg, size_t len,
                                       uint8_t **ret, km_errinfo *err);

/* Of the keyed hash of an item, the low 48 bits. Two items can have the same. */
#define KM_SHORT_NAME_BYTES 6
/* How many names we lack that km_reconcile_next_need did not give yet; each counts once. */
size_t km_reconcile_needs(km_reconcile *r);
/* We lack more than max_needs, or max_rounds cut it short: the others have to come in another
 * session. */
bool km_reconcile_left_out(const km_reconcile *r);
/* max_rounds did: neither side knows all that it lacks, the other one not even that. */
bool km_reconcile_cut_short(const km_reconcile *r);
size_t km_reconcile_items(const km_reconcile *r); /* how many it began with */
/* How often one of ours was looked at by itself; in ranges of up to 8, only for lists. At most 17
 * times as many as it began with, however many messages come. */
uint64_t km_reconcile_looked_at(const km_reconcile *r);
/* The next one that we lack, found since; false: no more now. */
bool km_reconcile_next_need(km_reconcile *r, uint8_t ret[KM_SHORT_NAME_BYTES]);
/* The other side asked for it: marks our items of that name. How many, or KM_ERR_NOMEM. */
KM_NODISCARD int km_reconcile_want(km_reconcile *r, const uint8_t name[KM_SHORT_NAME_BYTES]);

/* The newest item that is marked; false: none is. */
bool km_reconcile_newest_have(km_reconcile *r, km_item *ret);
/* The same, and takes the mark away: all that are marked, the newest first. */
bool km_reconcile_next_have(km_reconcile *r, km_item *ret);
/* The clock that no item exceeds which is marked or may yet be asked for; 0: no item at all. */
uint64_t km_reconcile_have_bound(km_reconcile *r);
/* The clock of the newest item that is not marked; 0: none. */
uint64_t km_reconcile_newest_common(const km_reconcile *r);

#endif /* KM_STORE_RECONCILE_H */
