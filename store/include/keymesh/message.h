/**
 * @file keymesh/message.h
 * Messages between nodes: a type and JSON, signed by the sender, kept on disk until the receiver
 * has it. At least once on the wire, once to the receiver's program: repeats are recognised.
 *
 * They are written into a km_store; a km_mesh on it delivers. To one peer: when it is connected. To
 * all: to every peer, who pass it on, so that it also reaches those we are not connected to.
 *
 * Threads: as in keymesh/store.h.
 */
#ifndef KEYMESH_MESSAGE_H
#define KEYMESH_MESSAGE_H

#include <keymesh/store.h>

KM_BEGIN_DECLS

#define KM_MESSAGE_ID_BYTES 16
#define KM_MESSAGE_TYPE_MAX 64      /**< bytes: a-z A-Z 0-9 . _ -, without the NUL */
#define KM_MESSAGE_BODY_MAX 1048576 /**< bytes of JSON */

/** A message; valid during the callback. */
typedef struct km_message {
  uint8_t id[KM_MESSAGE_ID_BYTES];
  km_id sender;
  bool broadcast;
  km_id to; /**< all zero for a broadcast */
  const char *type;
  const char *body; /**< JSON text as sent, checked to be JSON; NUL-terminated */
  size_t body_len;
  int64_t sent_ms;     /**< UNIX milliseconds, by the sender's clock */
  int64_t expires_ms;  /**< given up, and forgotten, after that */
  const char *refused; /**< km_message_waiting: why its receiver will not take it, in its words; it
                            is not sent again. Else NULL */
} km_message;

typedef void (*km_message_fn)(void *ctx, const km_message *message);

/**
 * Puts a message into the outbox. When it returns it is as durable as the store's options say.
 * @param to        whose; not our own id
 * @param type      1 to KM_MESSAGE_TYPE_MAX bytes, NUL-terminated
 * @param json      a JSON value, NUL-terminated, up to KM_MESSAGE_BODY_MAX bytes
 * @param ttl_s     how long delivery is tried, 1 to 2,592,000 s; 0 = 604,800 (a week)
 * @param[out] ret_id  may be NULL
 * @return 0, KM_ERR_INVALID (the text says what is wrong), KM_ERR_STATE (a batch is open, see
 *   km_kv_begin), KM_ERR_LIMIT (10,000 messages wait),
 *   KM_ERR_NO_SPACE, KM_ERR_STORE or KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int km_message_send(km_store *store, const km_id *to, const char *type,
                                           const char *json, uint32_t ttl_s,
                                           uint8_t ret_id[KM_MESSAGE_ID_BYTES], km_errinfo *err);
/** The same to all. `ttl_s` 0 = 86,400 (a day). */
KM_EXPORT KM_NODISCARD int km_message_broadcast(km_store *store, const char *type, const char *json,
                                                uint32_t ttl_s, uint8_t ret_id[KM_MESSAGE_ID_BYTES],
                                                km_errinfo *err);
/** What waits in the outbox, the oldest first. The number, or KM_ERR_STORE, KM_ERR_NOMEM. */
KM_EXPORT KM_NODISCARD int64_t km_message_waiting(km_store *store, km_message_fn fn, void *ctx,
                                                  km_errinfo *err);
/** Takes a message out of the outbox. 0, KM_ERR_NOT_FOUND, KM_ERR_STATE (a batch is open),
 *  KM_ERR_STORE. */
KM_EXPORT KM_NODISCARD int km_message_cancel(km_store *store, const uint8_t id[KM_MESSAGE_ID_BYTES],
                                             km_errinfo *err);
/** The last messages that came, at most `limit` (1 to 1,000), the newest first. 1,000 are kept, and
 *  no more than 64 MiB of them. The number, or KM_ERR_INVALID, KM_ERR_STORE, KM_ERR_NOMEM. */
KM_EXPORT KM_NODISCARD int64_t km_message_received(km_store *store, size_t limit, km_message_fn fn,
                                                   void *ctx, km_errinfo *err);

KM_END_DECLS

#endif /* KEYMESH_MESSAGE_H */
