/* Frames of the control stream: four bytes of length, big-endian, then a JSON object, as the first
 * KeyMesh had them. HELLO, ACK, HEARTBEAT; other types and unknown members are passed over. Pure.
 * docs/protocol-mesh.md. */
#ifndef KM_ENDPOINT_MESH_CONTROL_H
#define KM_ENDPOINT_MESH_CONTROL_H

#include <keymesh/mesh.h>

#include "base/env.h"

#define KM_CONTROL_FRAME_MAX 65536 /* bytes of JSON */
#define KM_CONTROL_SHARES_MAX KM_MESH_MAX_SHARES
#define KM_CONTROL_FEATURES_MAX 64
#define KM_NODE_ID_MAX 64 /* bytes of a node_id, UTF-8 without control characters */
#define KM_CONTROL_REASON_MAX 128

typedef enum km_control_type {
  KM_CONTROL_HELLO,
  KM_CONTROL_ACK,
  KM_CONTROL_HEARTBEAT,
  KM_CONTROL_UNKNOWN /* to be passed over */
} km_control_type;

/* Shares and features. */
typedef struct km_capabilities {
  char **shares;
  size_t share_count;
  char **features;
  size_t feature_count;
} km_capabilities;

typedef struct km_control {
  km_control_type type;
  char node_id[KM_NODE_ID_MAX + 1];       /* HELLO: node_id, ACK: peer_id */
  char version[16];                       /* HELLO; ACK has it too, "" from who sends none */
  uint64_t instance;                      /* of this run of the node; 0 from who sends none */
  bool ok;                                /* ACK */
  char reason[KM_CONTROL_REASON_MAX + 1]; /* ACK, "" when none */
  km_capabilities caps;                   /* HELLO, ACK; lists of km_env memory */
  uint64_t ts;                            /* HEARTBEAT: UNIX seconds */
  uint64_t seq, echo;                     /* HEARTBEAT: ours and the last of the peer's, 0 = none */
  uint64_t echo_delay_us;                 /* how long the echoed one lay here */
  uint64_t interval_ms;                   /* the next one comes after; 0: not said */
} km_control;

/* A frame with its length. `*ret` is of env's memory. The length, KM_ERR_LIMIT or KM_ERR_NOMEM. */
KM_NODISCARD int64_t km_control_encode(const km_env *env, const km_control *c, uint8_t **ret);
/* The JSON of one frame. KM_ERR_BAD_PACKET with the sentence that says what is wrong, KM_ERR_NOMEM.
 * Free with km_control_free. */
KM_NODISCARD int km_control_decode(const km_env *env, km_control *ret, const uint8_t *json,
                                   size_t len, km_errinfo *err);
void km_control_free(const km_env *env, km_control *c);
void km_capabilities_free(const km_env *env, km_capabilities *caps);
/* "1.0" and "1.7" can talk; "2.0" and what is no version cannot. */
bool km_version_fits(const char *ours, const char *theirs);

/* Puts a stream's bytes together to frames. */
typedef struct km_frame_reader {
  const km_env *env;
  uint8_t *buf;
  size_t len, cap;
} km_frame_reader;
/* Takes bytes; `*used` of them were taken when it returns 1: a whole frame of `*ret_len` bytes lies
 * at `*ret` until the next call. 0: all were taken, more is needed. KM_ERR_BAD_PACKET (a length of
 * 0 or above KM_CONTROL_FRAME_MAX), KM_ERR_NOMEM. */
KM_NODISCARD int km_frame_read(km_frame_reader *r, const uint8_t *data, size_t len, size_t *used,
                               const uint8_t **ret, size_t *ret_len);
void km_frame_reader_free(km_frame_reader *r);

#endif /* KM_ENDPOINT_MESH_CONTROL_H */
