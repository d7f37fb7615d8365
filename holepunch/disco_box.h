/* Seals and opens disco packets for the peers that we have to do with: keys, replay, books. Pure.
 *
 * Only peers that were admitted (a connection to them is proven or dialled) are listened to: what
 * strangers send costs one look-up. Clocks of peers may be wrong by any amount.
 *
 *   Ping           must be newer than the newest packet of its sender less KM_DISCO_WINDOW_NS and
 *                  not seen before. When more than KM_DISCO_WINDOW_SEEN came within the window, the
 *                  oldest are forgotten, and what is not newer than those counts as seen.
 *   Call-me-maybe  must also be newer than the one before it: it says how things are, and an old
 *                  one that was held up must not undo a newer one.
 *   Pong           is as fresh as the transaction it names, which whoever asked looks up, so it is
 *                  passed on whatever its time.
 *
 * When a Pong's transaction was live (km_disco_box_proved) its time is the peer's present. When
 * that is before the window, the peer's clock was set back: the window moves back to it, and what
 * was seen is forgotten. That is how such a peer is heard again; before it, nothing of it but Pongs
 * is. */
#ifndef KM_HOLEPUNCH_DISCO_BOX_H
#define KM_HOLEPUNCH_DISCO_BOX_H

#include "holepunch/disco.h"

#define KM_DISCO_WINDOW_NS (10 * KM_NS_PER_S)
#define KM_DISCO_WINDOW_SEEN 256 /* packets of one peer remembered; older ones count as seen */
#define KM_DISCO_MAX_PEERS 65536

typedef struct km_disco_box km_disco_box;

typedef struct km_disco_box_stats {
  uint64_t opened;
  uint64_t malformed; /* no disco packet at all, or of an admitted peer and not what it says */
  uint64_t strangers; /* of ids that were not admitted, our own among them */
  uint64_t forged;    /* not sealed by who it says */
  uint64_t replayed;  /* seen before, or too old to know */
  uint64_t future;    /* of a type that is not known */
} km_disco_box_stats;

/* `env` outlives the box, `key` is read during the call only. 0 or KM_ERR_NOMEM. */
KM_NODISCARD int km_disco_box_new(km_disco_box **ret, const km_env *env, const km_secret_key *key);
void km_disco_box_del(km_disco_box *box); /* keys are wiped */

/* Counted: as often admitted, as often dismissed. 0, KM_ERR_BAD_ID, KM_ERR_SELF_DIAL, KM_ERR_LIMIT
 * or KM_ERR_NOMEM. */
KM_NODISCARD int km_disco_box_admit(km_disco_box *box, const km_id *peer);
void km_disco_box_dismiss(km_disco_box *box, const km_id *peer);
/* What the caller keeps for an admitted peer; NULL at first, and for strangers. */
void km_disco_box_set_owner(km_disco_box *box, const km_id *peer, void *owner);
void *km_disco_box_owner(const km_disco_box *box, const km_id *peer);

/* Opens a packet: 0, and who said what. KM_ERR_NOT_FOUND (a stranger), KM_ERR_INVALID (forged,
 * malformed), KM_ERR_UNSUPPORTED (a type of the future), KM_ERR_STATE (replayed, or its clock was
 * set back: `ret_sender` says who; a Ping of ours through a relay, now and then, tells which). On
 * other failures what is behind the pointers is undefined. */
KM_NODISCARD int km_disco_box_open(km_disco_box *box, const uint8_t *packet, size_t len,
                                   km_id *ret_sender, uint64_t *ret_time, km_disco_message *ret);
/* A Pong of `peer` with this time answered a Ping of ours: it is fresh. */
void km_disco_box_proved(km_disco_box *box, const km_id *peer, uint64_t time_ns);
/* Writes the packet for an admitted peer. The times of a box's packets only grow, also when `wall`
 * goes back. Returns its length, KM_ERR_NOT_FOUND, KM_ERR_BUFFER, or KM_ERR_INVALID for what
 * km_disco_write does not write. `ret` is undefined on failure. */
int km_disco_box_seal(km_disco_box *box, const km_id *peer, const km_disco_message *msg,
                      km_wall wall, uint8_t *ret, size_t cap);

void km_disco_box_get_stats(const km_disco_box *box, km_disco_box_stats *ret);

#endif /* KM_HOLEPUNCH_DISCO_BOX_H */
