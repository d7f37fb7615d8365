/**
 * @file keymesh/blocking.h
 * KeyMesh with a thread of its own and calls that wait: for programs without an event loop.
 *
 * km_blocking_open starts a thread with a loop and an endpoint on it. The calls here may be made
 * from any other thread, several at once on one km_blocking or km_bconn; each waits until it is
 * done or its timeout passed. One km_bstream may be read by one thread and written by another at
 * the same time. A handle is freed once, when no thread wants to use it any more.
 *
 * All timeouts are in milliseconds; 0 does not wait for the peer, -1 waits without end.
 *
 * Callbacks (filters, log) run on the endpoint's own thread: a call here that waits gives
 * KM_ERR_THREAD there. After fork() the child has no such thread and must use none of this.
 *
 * @code
 *   km_blocking *b;   km_bconn *c;   km_bstream *s;   char buf[64];   size_t n;
 *   km_blocking_open(&b, NULL, &err);
 *   km_blocking_dial(b, &c, addr, "km/echo/1", 30000, &err);
 *   km_bconn_open(c, &s, true, 5000, &err);
 *   km_bstream_write(s, "hello", 5, true, 5000, &err);
 *   while (km_bstream_read(s, buf, sizeof buf, &n, 5000, &err) == 0 && n > 0) {
 *     fwrite(buf, 1, n, stdout);
 *   }
 *   km_bstream_free(s);  km_bconn_free(c);  km_blocking_close(b);
 * @endcode
 */
#ifndef KEYMESH_BLOCKING_H
#define KEYMESH_BLOCKING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <keymesh/addr.h>
#include <keymesh/conn.h>
#include <keymesh/discovery.h>
#include <keymesh/endpoint.h>
#include <keymesh/error.h>
#include <keymesh/export.h>

KM_BEGIN_DECLS

typedef struct km_blocking km_blocking; /**< an endpoint with its thread */
typedef struct km_bconn km_bconn;       /**< a connection */
typedef struct km_bstream km_bstream;   /**< a stream */

/**
 * Starts the thread and opens the endpoint. `options->callbacks` runs on that thread;
 * on_closed and `options->discovery` must be NULL.
 * @return 0 or the errors of km_endpoint_open, or KM_ERR_SYSTEM when no thread can be had
 */
KM_EXPORT KM_NODISCARD int km_blocking_open(km_blocking **ret, const km_endpoint_options *options,
                                            km_errinfo *err);

/** How an endpoint with a thread of its own finds peers (keymesh/discovery.h). */
typedef struct km_blocking_discovery {
  size_t size;            /**< sizeof this struct */
  const char *state_file; /**< as km_discovery_options has it */
  /** Adds the sources (km_discovery_add_dns, ...). Runs once, on the endpoint's own thread, before
   *  the endpoint opens. What it returns other than 0 ends km_blocking_open_with; it may leave a
   *  sentence in `err`. NULL: there is the address book only, which stays empty. */
  int (*add_sources)(void *ctx, km_discovery *discovery, km_errinfo *err);
  void *ctx; /**< passed to it */
} km_blocking_discovery;

/**
 * The same, for an endpoint that dials ids and publishes where it is. The km_discovery signs with
 * the endpoint's key, logs where the endpoint does, and is freed with it. `options->discovery` must
 * be NULL.
 * @param discovery  NULL: as km_blocking_open
 * @return as km_blocking_open, the errors of km_discovery_new, or what add_sources returned
 */
KM_EXPORT KM_NODISCARD int km_blocking_open_with(km_blocking **ret,
                                                 const km_endpoint_options *options,
                                                 const km_blocking_discovery *discovery,
                                                 km_errinfo *err);

/** Closes everything gracefully, ends the thread, frees `b`. Calls that wait in other threads
 *  return KM_ERR_CLOSED. A km_bconn or km_bstream that is left lives on until it is freed; its
 *  calls give KM_ERR_CLOSED. NULL does nothing. */
KM_EXPORT void km_blocking_close(km_blocking *b);

/** The id. Valid while `b` is. */
KM_EXPORT const km_id *km_blocking_id(const km_blocking *b);

/** Waits until one of the endpoint's own relays can be used (km_endpoint_online): before that
 *  km_blocking_addr names none.
 *  @return 0, KM_ERR_TIMEOUT, KM_ERR_CLOSED, or KM_ERR_STATE when it has none by its relay_mode */
KM_EXPORT KM_NODISCARD int km_blocking_wait_online(km_blocking *b, int timeout_ms, km_errinfo *err);

/** As km_endpoint_addr. */
KM_EXPORT KM_NODISCARD int km_blocking_addr(km_blocking *b, km_addr **ret);

/** Accepts connections for an ALPN; they queue (at most 128, more are refused) for
 *  km_blocking_accept. Returns as km_endpoint_add_protocol. */
KM_EXPORT KM_NODISCARD int km_blocking_listen(km_blocking *b, const char *alpn, km_errinfo *err);

/** Waits for the next accepted connection.
 *  @return 0, KM_ERR_TIMEOUT or KM_ERR_CLOSED */
KM_EXPORT KM_NODISCARD int km_blocking_accept(km_blocking *b, km_bconn **ret, int timeout_ms,
                                              km_errinfo *err);

/** Dials and waits until connected.
 *  @return 0, the errors of km_endpoint_dial, KM_ERR_TIMEOUT, or what ended the attempt:
 *  KM_ERR_UNREACHABLE, KM_ERR_WRONG_PEER, KM_ERR_ALPN_REFUSED, KM_ERR_REFUSED, ... */
KM_EXPORT KM_NODISCARD int km_blocking_dial(km_blocking *b, km_bconn **ret, const km_addr *addr,
                                            const char *alpn, int timeout_ms, km_errinfo *err);

/** The peer's id and the protocol; valid while `conn` is. */
KM_EXPORT const km_id *km_bconn_remote_id(const km_bconn *conn);
KM_EXPORT const char *km_bconn_alpn(const km_bconn *conn);

/** As km_conn_close; returns when the close is under way. */
KM_EXPORT void km_bconn_close(km_bconn *conn, uint64_t code, const void *reason, size_t len);

/** Waits until the connection ended. `ret->reason` points into `conn`.
 *  @return 0 or KM_ERR_TIMEOUT */
KM_EXPORT KM_NODISCARD int km_bconn_wait_closed(km_bconn *conn, km_close_info *ret, int timeout_ms);

/** Closes with code 0 if still open, and frees. NULL does nothing. */
KM_EXPORT void km_bconn_free(km_bconn *conn);

/** Opens a stream; waits while the peer allows none.
 *  @return 0, KM_ERR_TIMEOUT, KM_ERR_CLOSED, KM_ERR_CLOSED_BY_PEER, ... (what ended `conn`) */
KM_EXPORT KM_NODISCARD int km_bconn_open(km_bconn *conn, km_bstream **ret, bool bidi,
                                         int timeout_ms, km_errinfo *err);

/** Waits for a stream that the peer opened. Returns as km_bconn_open. */
KM_EXPORT KM_NODISCARD int km_bconn_accept(km_bconn *conn, km_bstream **ret, int timeout_ms,
                                           km_errinfo *err);

/** As km_conn_send_datagram; waits while the queue is full. */
KM_EXPORT KM_NODISCARD int km_bconn_send_datagram(km_bconn *conn, const void *data, size_t len,
                                                  int timeout_ms, km_errinfo *err);

/** Waits for a datagram (at most 256 are kept, the oldest goes first). A longer one than `cap` is
 *  cut; `*ret_len` is its full length. */
KM_EXPORT KM_NODISCARD int km_bconn_recv_datagram(km_bconn *conn, void *buf, size_t cap,
                                                  size_t *ret_len, int timeout_ms, km_errinfo *err);

/** Writes all of `data`; waits while the buffer is full. After KM_ERR_TIMEOUT an unknown part was
 *  taken: reset the stream.
 *  @return 0, KM_ERR_TIMEOUT, KM_ERR_STREAM_STOPPED, KM_ERR_STREAM_FINISHED, KM_ERR_CLOSED, ... */
KM_EXPORT KM_NODISCARD int km_bstream_write(km_bstream *s, const void *data, size_t len, bool fin,
                                            int timeout_ms, km_errinfo *err);

/** Waits for bytes and takes up to `cap`. `*ret_len` 0 is the end of the stream.
 *  @return 0, KM_ERR_TIMEOUT, KM_ERR_STREAM_RESET, KM_ERR_CLOSED, ... */
KM_EXPORT KM_NODISCARD int km_bstream_read(km_bstream *s, void *buf, size_t cap, size_t *ret_len,
                                           int timeout_ms, km_errinfo *err);

/** As km_stream_reset and km_stream_stop; a code above 2^62 - 1 counts as that. */
KM_EXPORT void km_bstream_reset(km_bstream *s, uint64_t code);
KM_EXPORT void km_bstream_stop(km_bstream *s, uint64_t code);

/** Frees the handle. What was written and finished is still delivered; an unfinished sending side
 *  is reset and an unread receiving side is stopped, both with code 0. NULL does nothing. */
KM_EXPORT void km_bstream_free(km_bstream *s);

KM_END_DECLS

#endif /* KEYMESH_BLOCKING_H */
