/* Frames of a push stream: what happened, as it happens. After the stream's first byte
 * (KM_STREAM_PUSH): length (postcard varint), type, body. Unknown types are passed over. Pure.
 * docs/protocol-mesh.md. */
#ifndef KM_ENDPOINT_MESH_PUSH_H
#define KM_ENDPOINT_MESH_PUSH_H

#include "endpoint/mesh/mesh_impl.h"

enum {
  KM_PUSH_ENTRY = 1,             /* length of the share's name (1 byte), name, entry */
  KM_PUSH_MESSAGE = 2,           /* store/message.h */
  KM_PUSH_CONFIRM = 3,           /* id of a message */
  KM_PUSH_STATEMENT = 4,         /* store/statement.h */
  KM_PUSH_STATEMENTS_PLEASE = 5, /* nothing */
  KM_PUSH_REFUSED = 6            /* id of a message, why it will not be taken */
};

/* Bytes of a refusal's reason at most: UTF-8, cleaned by who gets it. */
#define KM_PUSH_REASON_MAX 128

/* Bytes of a frame's header at most. */
#define KM_PUSH_HEAD_MAX 6

/* One frame of a stream's bytes. 1: it is whole, `*used` bytes with its header; 0: more is needed,
 * `*want` bytes in all (0: not known yet); KM_ERR_BAD_PACKET: empty, or longer than `max`. */
KM_NODISCARD int km_push_frame(const uint8_t *data, size_t len, size_t max, size_t *used,
                               size_t *want, uint8_t *ret_type, km_rd *ret_body);
/* Writes a header for a body of `len` bytes. */
void km_push_head(km_wr *wr, uint8_t type, size_t len);

#endif /* KM_ENDPOINT_MESH_PUSH_H */
