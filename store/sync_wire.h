/* Frames of a synchronization. Pure; docs/protocol-mesh.md.
 *
 *   frame     = varint length of what follows, type:u8, body
 *   OPEN      = version:u8, n:u8, n bytes of the share's name, 16 bytes of key, message
 *   RECONCILE = message                       of store/reconcile.h
 *   WANT      = more:u8, floor, short names   more: another WANT follows
 *   ENTRIES   = floor, entries                as km_entry_encode writes them
 *   DONE      = varint entries                that were sent in all
 *   END       = complete:u8                   1: all of them were taken
 *   REFUSE    = code:u8, text
 *   floor     = varint clock                  no entry that follows is newer; 0: none follows */
#ifndef KM_STORE_SYNC_WIRE_H
#define KM_STORE_SYNC_WIRE_H

#include "store/reconcile.h"

#define KM_SYNC_VERSION 1
#define KM_SYNC_FRAME_HEAD_MAX 6 /* bytes of length and type */

typedef enum km_sync_type {
  KM_SYNC_OPEN = 1,
  KM_SYNC_RECONCILE,
  KM_SYNC_WANT,
  KM_SYNC_ENTRIES,
  KM_SYNC_DONE_SENDING,
  KM_SYNC_END,
  KM_SYNC_REFUSE
} km_sync_type;

typedef enum km_sync_refusal {
  KM_SYNC_NOT_ALLOWED = 1, /* no such share for this peer */
  KM_SYNC_OTHER_VERSION,
  KM_SYNC_TOO_MUCH,
  KM_SYNC_BROKEN,
  KM_SYNC_TROUBLE /* of who refuses: its disk, its memory */
} km_sync_refusal;

typedef struct km_sync_frame {
  km_sync_type type;
  km_rd body;
  size_t size; /* with its head */
} km_sync_frame;

/* 1: a whole frame lies at `bytes`; 0: more is needed; KM_ERR_BAD_PACKET (empty, of an unknown
 * type, or longer than max_size). */
KM_NODISCARD int km_sync_frame_read(km_sync_frame *ret, const uint8_t *bytes, size_t len,
                                    size_t max_size, km_errinfo *err);
/* Writes the head of a frame right before its body; the head's length, at most
 * KM_SYNC_FRAME_HEAD_MAX. */
size_t km_sync_frame_put_head(uint8_t *body, size_t body_len, km_sync_type type);

typedef struct km_sync_open {
  uint8_t version;
  char share[KM_SHARE_NAME_MAX + 1];
  uint8_t key[KM_RECONCILE_KEY_BYTES];
  const uint8_t *message;
  size_t message_len;
} km_sync_open;

void km_sync_open_write(km_wr *wr, const km_sync_open *open);
/* Of another version nothing but that is read. 0 or KM_ERR_BAD_PACKET. */
KM_NODISCARD int km_sync_open_read(km_sync_open *ret, km_rd body, km_errinfo *err);

km_sync_refusal km_sync_refusal_of(int error);
/* The error that a REFUSE means, with the sentence. Always below 0. */
int km_sync_refuse_read(km_rd body, km_errinfo *err);

#endif /* KM_STORE_SYNC_WIRE_H */
