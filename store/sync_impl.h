/* Inside of a km_sync. Files:
 *   sync.c       life, what comes in, slices of work
 *   sync_send.c  what goes out
 *   sync_wire.c  frames
 *
 * A session has these parts, which each side goes through in this order:
 *   1. the items are read from the store (who was called: after OPEN);
 *   2. reconciliation, message and answer by turns, until one side has nothing left to ask;
 *   3. both name what they lack (WANT), that side first;
 *   4. both send what the other lacks, the newest first (ENTRIES), then DONE;
 *   5. both say whether they took it all (END).
 *
 * In part 4 an item waits while the other side may still have newer ones to send, because one of
 * those may replace it; when its turn comes it is looked up again, and left out if it is gone. */
#ifndef KM_STORE_SYNC_IMPL_H
#define KM_STORE_SYNC_IMPL_H

#include "store/kv_impl.h"
#include "store/sync.h"
#include "store/sync_wire.h"

/* Times that an item may wait for newer ones of the other side; then all are sent as they come. */
#define KM_SYNC_TURNS_MAX 8

typedef enum km_sync_part {
  KM_SYNC_AWAITS_OPEN,
  KM_SYNC_READS_ITEMS,
  KM_SYNC_RECONCILES,
  KM_SYNC_EXCHANGES, /* parts 3 to 5; the flags below say how far each side is */
  KM_SYNC_OVER
} km_sync_part;

struct km_sync {
  const km_env *env;
  km_sync_config config;
  char share[KM_SHARE_NAME_MAX + 1];
  km_sync_part part;
  km_errinfo error; /* code 0: none */
  km_sync_stats stats;

  /* Items, until `reconcile` takes them. */
  km_item *items;
  size_t item_count, item_cap;
  size_t not_ours; /* of these: what the peer has and was refused here */
  uint64_t seq;    /* the store's when reading began */
  uint8_t key[KM_RECONCILE_KEY_BYTES];
  km_reconcile *reconcile;

  /* Bytes that came: in[in_at..in_len) is not worked off. */
  uint8_t *in;
  size_t in_at, in_len, in_cap;
  size_t entries_left; /* bytes of the ENTRIES frame at in_at that is being applied */
  bool fin_received;
  bool refused; /* by the other side, which needs no refusal of ours then */

  /* What is being sent: out[out_at..out_len). */
  uint8_t *out;
  size_t out_at, out_len, out_cap;
  bool out_more; /* there is more to find out for the next frame */
  bool fin_ready;

  /* Reconciliation: ours to send, or theirs to come. */
  const uint8_t *message;
  size_t message_len;
  bool opened, our_turn;

  /* Exchange. */
  bool wants_sent, wants_received, done_sent, done_received, end_sent, end_received;
  uint64_t floor, their_floor; /* as announced */
  uint64_t next_floor;         /* theirs, when the frame at in_at is applied */
  uint64_t common;             /* clock of the newest item that both sides have */
  bool waited;
  unsigned turns;
  uint64_t received, wanted; /* entries that came, names that the peer asked for */
};

/* Ends the session. Returns the code. */
int km_sync_fail(km_sync *s, const km_errinfo *err);
/* All is sent and received: DONE. */
void km_sync_check_over(km_sync *s);
/* Somebody has a batch open: nothing is read that may yet be undone, nothing becomes part of it. */
bool km_sync_must_wait(const km_sync *s);

#endif /* KM_STORE_SYNC_IMPL_H */
