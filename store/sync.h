/* One synchronization of one share with one peer, on a stream of its own: reconciliation, then the
 * entries that either side lacks. Both roles. Does no I/O: bytes in, bytes out; it reads and writes
 * a km_store. docs/protocol-mesh.md. */
#ifndef KM_STORE_SYNC_H
#define KM_STORE_SYNC_H

#include "store/kv_sync.h"
#include "store/refused.h"

typedef struct km_sync km_sync;

typedef struct km_sync_config {
  const km_env *env;
  km_store *store;
  km_id peer;
  bool initiator;
  const char *share; /* initiator: which; copied. The other side reads it from the stream */
  /* May the peer read the share from us, and may this author write it? Asked for each share once,
   * and for each entry. */
  bool (*may_read)(void *ctx, const char *share);
  bool (*may_write)(void *ctx, const char *share, const km_id *author);
  void *ctx;
  km_refused *refused; /* of this peer, for the sessions to come; NULL: nothing is remembered */
  size_t max_items;    /* of a share, ours or theirs; more: KM_ERR_LIMIT; 0: 10,000,000 */
  size_t max_needs;    /* names of entries that we lack, kept in one session; 0: 1,000,000 */
  size_t max_buffered; /* bytes of an unfinished frame; 0: 1 MiB + 64 KiB */
  /* Of reconciliation: bytes of a message of ours; 0: 256 KiB. Messages of the peer; 0: 512. What
   * is not found out by then is left for the next session. */
  size_t max_message;
  uint32_t max_rounds;
} km_sync_config;

/* 0, KM_ERR_NOMEM, or for an initiator KM_ERR_INVALID (the share's name) or KM_ERR_PERMISSION (the
 * peer may not read it from us). */
KM_NODISCARD int km_sync_new(km_sync **ret, const km_sync_config *config);
void km_sync_free(km_sync *s);

/* Bytes that came, in pieces of any length; they are kept, and worked off at once only where more
 * than max_buffered would wait. 0, or why the session is over: KM_ERR_BAD_PACKET (protocol broken),
 * KM_ERR_PERMISSION (a share the peer may not see), KM_ERR_LIMIT, KM_ERR_CLOSED_BY_PEER,
 * KM_ERR_STORE... After an error km_sync_output still has the refusal for the other side. */
KM_NODISCARD int km_sync_receive(km_sync *s, const uint8_t *data, size_t len, bool fin,
                                 km_errinfo *err);
/* A slice of the work that is due: loads items, reconciles, applies entries. True: call again soon
 * (another turn). When it gives false, all that came is worked off: the moment to credit the peer.
 * `err` is filled when the session failed. Look at km_sync_output afterwards. */
bool km_sync_work(km_sync *s, km_errinfo *err);
/* Bytes to send: what is there, made as it is asked for, so that memory stays small however much
 * there is to send. `*ret` is valid until km_sync_sent. 0: nothing now. */
size_t km_sync_output(km_sync *s, const uint8_t **ret, bool *ret_fin);
void km_sync_sent(km_sync *s, size_t len);

typedef enum km_sync_state { KM_SYNC_RUNNING, KM_SYNC_DONE, KM_SYNC_FAILED } km_sync_state;
/* DONE: all was received, and all that is to be sent was taken by km_sync_sent. */
km_sync_state km_sync_get_state(const km_sync *s);
/* Why it failed, also when that came up in km_sync_output; 0: it did not. */
int km_sync_error(const km_sync *s, km_errinfo *err);

typedef struct km_sync_stats {
  uint64_t sent_bytes, received_bytes, entries_sent, entries_new, entries_old;
  uint64_t entries_forged, entries_future, entries_forbidden; /* refused */
  uint64_t rounds;
  uint64_t items_read; /* of ours, to be compared */
} km_sync_stats;
void km_sync_get_stats(const km_sync *s, km_sync_stats *ret);
const char *km_sync_share(const km_sync *s); /* NULL: not known yet */

#endif /* KM_STORE_SYNC_H */
