/**
 * @file keymesh/stream.h
 * Streams: ordered, reliable bytes, in one direction or both (RFC 9000 section 2).
 *
 * Opened with km_conn_open_stream or handed out by on_stream. A stream belongs to its connection;
 * the pointer is valid until its on_closed callback returned, which runs exactly once, when both
 * sides are done and everything was acknowledged, or when the connection ends.
 *
 * Threads and callbacks: as in keymesh/endpoint.h.
 */
#ifndef KEYMESH_STREAM_H
#define KEYMESH_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <keymesh/error.h>
#include <keymesh/export.h>

KM_BEGIN_DECLS

typedef struct km_stream km_stream;
struct km_conn;

/** Callbacks of a stream. Any may be NULL. */
typedef struct km_stream_callbacks {
  size_t size; /**< sizeof this struct */
  /**
   * Bytes came, in order; `data` is valid during the call and never NULL. `fin`: they are the last
   * (`len` may be 0). The bytes count as consumed when it returns and the peer may send as many
   * more, unless km_stream_hold_credit is on. Without on_data, what comes is dropped.
   */
  void (*on_data)(void *ctx, km_stream *stream, const void *data, size_t len, bool fin);
  /** There is room again after km_stream_write took less than it was given. */
  void (*on_writable)(void *ctx, km_stream *stream);
  /** Everything written, the end included, was acknowledged by the peer. */
  void (*on_delivered)(void *ctx, km_stream *stream);
  /** The peer broke off its sending side (RESET_STREAM); no more on_data. */
  void (*on_reset)(void *ctx, km_stream *stream, uint64_t code);
  /** The peer reads no more (STOP_SENDING); writing gives KM_ERR_STREAM_STOPPED. */
  void (*on_stopped)(void *ctx, km_stream *stream, uint64_t code);
  /** The end; the last callback. `error` is 0 when both directions ended in good order, else
   *  KM_ERR_STREAM_RESET, KM_ERR_STREAM_STOPPED, KM_ERR_EARLY_DATA_REJECTED, or KM_ERR_CLOSED when
   *  the connection ended. */
  void (*on_closed)(void *ctx, km_stream *stream, int error);
} km_stream_callbacks;

/** Replaces callbacks and context. `callbacks` is copied; NULL removes them all. */
KM_EXPORT void km_stream_set_callbacks(km_stream *stream, const km_stream_callbacks *callbacks,
                                       void *ctx);
/** The context given last. */
KM_EXPORT void *km_stream_ctx(const km_stream *stream);

/** Its connection. */
KM_EXPORT struct km_conn *km_stream_conn(const km_stream *stream);
/** The QUIC stream id; -1 while the stream still waits for the handshake, and for one that ends
 *  because early data was rejected. */
KM_EXPORT int64_t km_stream_id(const km_stream *stream);
KM_EXPORT bool km_stream_is_bidi(const km_stream *stream);
/** True when this side opened it. */
KM_EXPORT bool km_stream_is_local(const km_stream *stream);

/**
 * Queues `len` bytes of `data` for sending.
 *
 * Takes as many bytes as fit the stream's send buffer (km_endpoint_options.send_buffer), copies
 * them and returns at once. If `*accepted` < `len`, wait for on_writable and go on from there.
 * With `fin` the sending side ends after the last byte, provided that all bytes were taken. Data
 * is repeated by QUIC until acknowledged and survives path changes.
 *
 * @param data           read during the call only; may be NULL when `len` is 0
 * @param len            bytes; 0 with `fin` sends the end alone
 * @param[out] accepted  0 to `len`; untouched on error; may be NULL only when `len` is 0
 * @param[out] err       may be NULL
 * @return 0, also when nothing fits now, or
 *   KM_ERR_INVALID          `data` is NULL with `len` > 0, or the stream is receive-only
 *   KM_ERR_STREAM_STOPPED   the peer asked us to stop; its code is in err->peer_code
 *   KM_ERR_STREAM_FINISHED  `fin` or km_stream_reset came before
 *   KM_ERR_CLOSED           the connection is closing
 *   KM_ERR_NOMEM            no buffer could be had; nothing was taken
 */
KM_EXPORT KM_NODISCARD int km_stream_write(km_stream *stream, const void *data, size_t len,
                                           bool fin, size_t *accepted, km_errinfo *err);

/**
 * The same without the copy: all of `data` or nothing. The bytes must stay as they are until
 * `release(ctx, data, len)` was called, which happens exactly once if this function took them: when
 * they were acknowledged, or when the stream or its connection ended.
 *
 * @return as km_stream_write, and KM_ERR_AGAIN when the buffer has no room for a next piece (it
 *   takes one piece of any size up to send_buffer whenever it is not full)
 */
KM_EXPORT KM_NODISCARD int
km_stream_write_ref(km_stream *stream, const void *data, size_t len, bool fin,
                    void (*release)(void *ctx, const void *data, size_t len), void *ctx,
                    km_errinfo *err);

/** Bytes that km_stream_write would take now; 0 also when it would fail. */
KM_EXPORT size_t km_stream_writable(const km_stream *stream);

/** Breaks off sending: unsent data is dropped, the peer's on_reset gets `code` (0 to 2^62 - 1).
 *  Returns 0, KM_ERR_INVALID (receive-only) or KM_ERR_CLOSED; again it does nothing. */
KM_EXPORT int km_stream_reset(km_stream *stream, uint64_t code);

/** Asks the peer to stop sending: its on_stopped gets `code`. Returns 0, KM_ERR_INVALID (send-only)
 *  or KM_ERR_CLOSED; again it does nothing. */
KM_EXPORT int km_stream_stop(km_stream *stream, uint64_t code);

/**
 * Takes flow control into your own hands: with `hold` the bytes given to on_data are credited to
 * the peer only by km_stream_consume. A reader that cannot keep up holds its peer back this way.
 */
KM_EXPORT void km_stream_hold_credit(km_stream *stream, bool hold);

/** Credits `len` bytes of those given to on_data under km_stream_hold_credit; more than were given
 *  counts as all. */
KM_EXPORT void km_stream_consume(km_stream *stream, size_t len);

/** Among the streams of a connection that want to send, higher goes first; equals take turns.
 *  Default 0. */
KM_EXPORT void km_stream_set_priority(km_stream *stream, int8_t priority);
KM_EXPORT int8_t km_stream_priority(const km_stream *stream);

KM_END_DECLS

#endif /* KEYMESH_STREAM_H */
