/* Messages as the mesh delivers them, beside keymesh/message.h. A broadcast of others is kept here
 * too, until it expires, and offered to every peer that has not confirmed it. */
#ifndef KM_STORE_OUTBOX_H
#define KM_STORE_OUTBOX_H

#include "store/message.h"

/* The next message for this peer, in its signed form, that it has not confirmed and that comes
 * behind `after` in the order of arrival (0: the first). `*ret_place` is its place in that order.
 * `*ret_bytes` is valid until the next call on the store. 0; KM_ERR_NOT_FOUND: no more. */
KM_NODISCARD int km_outbox_next(km_store *store, const km_id *peer, int64_t after,
                                int64_t *ret_place, const uint8_t **ret_bytes, size_t *ret_len,
                                uint8_t ret_id[KM_MESSAGE_ID_BYTES], km_errinfo *err);
/* How many km_outbox_next would give from the first on, without reading them. */
KM_NODISCARD int64_t km_outbox_count(km_store *store, const km_id *peer, km_errinfo *err);
/* How many km_message_waiting would give that no receiver refused, without reading them. */
KM_NODISCARD int64_t km_outbox_count_own(km_store *store, km_errinfo *err);
/* Gives the next of what km_message_waiting gives, behind `*place` (0: the first), and takes
 * `*place` to it. 1; 1 without a call of `fn`: it cannot be read any more; 0: no more. */
KM_NODISCARD int km_outbox_next_own(km_store *store, int64_t *place, km_message_fn fn, void *ctx,
                                    km_errinfo *err);
/* The same of what km_message_received gives, the newest (INT64_MAX) first. */
KM_NODISCARD int km_inbox_next(km_store *store, int64_t *place, km_message_fn fn, void *ctx,
                               km_errinfo *err);
/* The peer has it. A message to it alone is taken out. Unknown ids are 0 too. */
KM_NODISCARD int km_outbox_confirmed(km_store *store, const km_id *peer,
                                     const uint8_t id[KM_MESSAGE_ID_BYTES], km_errinfo *err);
/* The peer has it, and will never take it: it is not offered to it again. A message to it alone
 * stays in the outbox with the reason until it expires. Unknown ids are 0 too. */
KM_NODISCARD int km_outbox_refused(km_store *store, const km_id *peer,
                                   const uint8_t id[KM_MESSAGE_ID_BYTES], const char *reason,
                                   km_errinfo *err);

typedef enum km_inbox_verdict {
  KM_INBOX_NEW,    /* kept; give it to the program, confirm it */
  KM_INBOX_KNOWN,  /* confirm it again */
  KM_INBOX_REFUSED /* expired, from the future, not for us, too many of its sender: confirm
                      nothing */
} km_inbox_verdict;
/* Takes a decoded message, unless a batch is open (KM_ERR_STATE: it has to come again). `bytes` is
 * its signed form, kept to be passed on if it is a broadcast. `from` is the peer that handed it
 * over and so has it. Below 0: an error. */
KM_NODISCARD int km_inbox_take(km_store *store, const km_message *m, const uint8_t *bytes,
                               size_t len, const km_id *from, km_errinfo *err);
/* Drops what is expired, and the marks of who has what. How much, or an error. */
KM_NODISCARD int64_t km_outbox_cleanup(km_store *store, km_errinfo *err);

/* Called when something was put into the outbox. `to` is NULL for a broadcast. One hook. */
typedef void (*km_outbox_changed_fn)(void *ctx, const km_id *to);
void km_outbox_on_change(km_store *store, km_outbox_changed_fn fn, void *ctx);

#endif /* KM_STORE_OUTBOX_H */
