/* Inside of a link's push: the stream out (push.c), the stream in (push_in.c). */
#ifndef KM_ENDPOINT_MESH_PUSH_IMPL_H
#define KM_ENDPOINT_MESH_PUSH_IMPL_H

#include "endpoint/mesh/push.h"

/* Changes that wait for a slow peer; more of them, and a synchronization takes their place. */
#define KM_PUSH_ENTRIES_MAX 1024
#define KM_PUSH_CONFIRMS_MAX 4096
#define KM_PUSH_STATEMENTS_MAX 1024

/* What is said of a message that came. */
typedef struct km_push_answer {
  uint8_t id[KM_MESSAGE_ID_BYTES];
  bool too_large; /* refused; else it is stored here */
} km_push_answer;

typedef struct km_push_change_note {
  uint16_t share; /* in mesh->options.shares */
  km_item item;
} km_push_change_note;

/* Grows, is read from the front. */
typedef struct km_push_queue {
  uint8_t *at;
  size_t size; /* of one */
  size_t first, count, cap;
} km_push_queue;

struct km_push {
  km_link *link;
  km_stream *out;
  uint8_t *frame; /* what the stream has not taken yet */
  size_t frame_at, frame_len, frame_cap;
  km_push_queue changes, confirms;
  km_push_queue news;       /* statements as they are made, before those that are kept here */
  km_push_queue statements; /* of those that are kept, the next ones */
  km_statement_place statements_at;
  bool statements_more;
  int64_t outbox_at;
  km_ts paced_until;    /* messages wait; KM_TS_NEVER: they do not */
  uint64_t unconfirmed; /* messages sent that no confirmation came for */
  bool outbox_more, ask_statements, overflowed;
  bool too_early; /* `out` was opened before the peer is known to be up: it may refuse it */

  km_stream *in;
  bool in_came; /* one there was: it is the only one */
  bool in_more; /* whole frames may be left in rx */
  bool deaf;    /* it broke the protocol: nothing more is read */
  uint8_t *rx;
  size_t rx_len, rx_cap;
  char *scratch; /* for km_message_decode */
  size_t scratch_cap;
  uint64_t held;    /* bytes that the peer got no credit for yet */
  km_ts held_until; /* KM_TS_NEVER: not held */
  bool waits;       /* until then nothing is taken either */
};

typedef struct km_push_statement_bytes {
  uint16_t len;
  uint8_t bytes[KM_STATEMENT_MAX];
} km_push_statement_bytes;

/* Sends what waits and fits. */
void km_push_pump(km_push *p);
void km_push_confirm(km_push *p, const uint8_t id[KM_MESSAGE_ID_BYTES]);
/* It is longer than options.max_message. */
void km_push_refuse_message(km_push *p, const uint8_t id[KM_MESSAGE_ID_BYTES]);
/* All statements that are kept here, from the first on. */
void km_push_all_statements(km_push *p);
/* A turn's worth of what came: part of mesh->work. */
void km_push_in_work(km_push *p);
void km_push_in_free(km_push *p);

#endif /* KM_ENDPOINT_MESH_PUSH_IMPL_H */
