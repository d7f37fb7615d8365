/**
 * @file keymesh/conn.h
 * A connection to one peer: authenticated, encrypted, and moving between paths by itself.
 *
 * Made by km_endpoint_dial or handed out by a protocol's on_connected. It belongs to its endpoint;
 * the pointer is valid until its on_closed callback returned, which runs exactly once. Between
 * km_conn_close and on_closed every call gives KM_ERR_CLOSED.
 *
 * Threads and callbacks: as in keymesh/endpoint.h.
 */
#ifndef KEYMESH_CONN_H
#define KEYMESH_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <keymesh/addr.h>
#include <keymesh/error.h>
#include <keymesh/export.h>
#include <keymesh/id.h>
#include <keymesh/stream.h>

KM_BEGIN_DECLS

typedef struct km_conn km_conn;
struct km_endpoint;

/** Who ended a connection. */
typedef enum km_close_origin {
  KM_CLOSE_LOCAL_APP,       /**< km_conn_close or km_endpoint_close here */
  KM_CLOSE_REMOTE_APP,      /**< the same at the peer: code and reason are the application's */
  KM_CLOSE_LOCAL_TRANSPORT, /**< an error found here: timeout, wrong key, protocol violation */
  KM_CLOSE_REMOTE_TRANSPORT /**< an error found by the peer, sent in a CONNECTION_CLOSE */
} km_close_origin;

/** Why a connection ended. */
typedef struct km_close_info {
  km_close_origin origin;
  int error;        /**< km_error: KM_OK when we closed it, KM_ERR_CLOSED_BY_PEER,
                              KM_ERR_WRONG_PEER, KM_ERR_IDLE_TIMEOUT, KM_ERR_UNREACHABLE, ... */
  bool application; /**< `code` is the application's, else a QUIC transport error code */
  uint64_t code;
  const uint8_t *reason; /**< bytes as sent, not NUL-terminated; valid while the connection is */
  size_t reason_len;     /**< 0 to 1,024 */
  char text[192];        /**< one sentence for people */
} km_close_info;

/** The kind of way packets take. */
typedef enum km_path_kind { KM_PATH_NONE, KM_PATH_DIRECT, KM_PATH_RELAY } km_path_kind;

/** Which paths a connection may take, and what is done for it. */
typedef enum km_path_policy {
  KM_POLICY_DEFAULT,        /**< the endpoint's; there KM_POLICY_PREFER_DIRECT */
  KM_POLICY_ANY,            /**< what answers first; nothing is done for a better one, and peers
                                are not told our addresses */
  KM_POLICY_PREFER_DIRECT,  /**< relayed at first if need be, direct as soon as that works */
  KM_POLICY_REQUIRE_DIRECT, /**< the same, but closed with KM_ERR_NO_DIRECT_PATH when it was not
                                 direct for `direct_within_ms` */
  KM_POLICY_RELAY_ONLY      /**< never direct: the peer does not learn our addresses from us */
} km_path_policy;

/** What is known of a path. */
typedef enum km_path_state {
  KM_PATH_UNTRIED, /**< a candidate that was not tried yet */
  KM_PATH_PROBING, /**< asked, no answer (yet) */
  KM_PATH_OPEN,    /**< it works in both directions */
  KM_PATH_SUSPECT, /**< it worked, and is silent now */
  KM_PATH_DEAD     /**< it worked once */
} km_path_state;

/** A path of a connection, or a candidate for one. */
typedef struct km_path_info {
  km_path_kind kind;
  km_path_state state;
  bool selected;          /**< packets go here now */
  bool validated;         /**< the peer proved that it receives here */
  km_udp_addr remote;     /**< direct: the peer's address */
  km_udp_addr local;      /**< direct: our socket's address */
  const char *relay_url;  /**< relay: its url, valid during the callback or until the next call */
  uint64_t rtt_us;        /**< smoothed; 0 = not measured */
  uint32_t loss_permille; /**< of the probes on this path, 0 to 1,000 */
  uint64_t tx_bytes, rx_bytes; /**< of all connections of the endpoint that use it */
} km_path_info;

/** What became of early data (0-RTT). */
typedef enum km_early_state {
  KM_EARLY_NONE,    /**< not tried: no ticket, or not asked for */
  KM_EARLY_PENDING, /**< sent, not answered yet */
  KM_EARLY_ACCEPTED,
  KM_EARLY_REJECTED /**< every stream opened so far was closed with KM_ERR_EARLY_DATA_REJECTED */
} km_early_state;

/** Callbacks of a connection. Any may be NULL. */
typedef struct km_conn_callbacks {
  size_t size; /**< sizeof this struct; 0 counts as that */
  /** The peer's key is proven. Once, before all others but on_closed. The handshake is done, except
   *  on the accepting side when early data (0-RTT) came: then the key is known from a ticket of
   *  ours that works once, streams can be written, and datagrams wait (KM_ERR_AGAIN) for the peer's
   *  last handshake message, a round trip away. */
  void (*on_connected)(void *ctx, km_conn *conn);
  /** The peer opened a stream. Give it callbacks now, or it is reset with code 0. */
  void (*on_stream)(void *ctx, km_conn *conn, km_stream *stream);
  /** A datagram came. `data` is valid during the call. */
  void (*on_datagram)(void *ctx, km_conn *conn, const void *data, size_t len);
  /** Queued datagrams were sent, or the handshake is done: there is room after KM_ERR_AGAIN. */
  void (*on_datagrams_sendable)(void *ctx, km_conn *conn);
  /** The peer allows more streams after KM_ERR_STREAM_LIMIT. */
  void (*on_streams_available)(void *ctx, km_conn *conn);
  /** Packets take another path now. */
  void (*on_path)(void *ctx, km_conn *conn, const km_path_info *path);
  /** Early data was accepted or rejected. */
  void (*on_early_data)(void *ctx, km_conn *conn, bool accepted);
  /** The end; the last callback. The streams' on_closed ran before it. */
  void (*on_closed)(void *ctx, km_conn *conn, const km_close_info *info);
} km_conn_callbacks;

/** Replaces callbacks and context. `callbacks` is copied; NULL removes them all. */
KM_EXPORT void km_conn_set_callbacks(km_conn *conn, const km_conn_callbacks *callbacks, void *ctx);
/** The context given last. */
KM_EXPORT void *km_conn_ctx(const km_conn *conn);

/** Its endpoint. */
KM_EXPORT struct km_endpoint *km_conn_endpoint(const km_conn *conn);
/** The peer's id: dialled, or proven (after on_connected). All zero before that on the accepting
 *  side. Valid while the connection is. */
KM_EXPORT const km_id *km_conn_remote_id(const km_conn *conn);
/** The protocol, NUL-terminated; "" before it is agreed on the accepting side. */
KM_EXPORT const char *km_conn_alpn(const km_conn *conn);
/** True on the side that dialled. */
KM_EXPORT bool km_conn_is_client(const km_conn *conn);
/** True between on_connected and the close. */
KM_EXPORT bool km_conn_is_connected(const km_conn *conn);
KM_EXPORT km_early_state km_conn_early_state(const km_conn *conn);

/**
 * Closes at once: streams are cut (their on_closed runs with KM_ERR_CLOSED), the peer is told code
 * and reason, on_closed follows on the next turn. To end in good order, finish your streams and
 * wait for their on_closed first. Again, or on a closed connection, it does nothing.
 *
 * @param code    0 to 2^62 - 1; more counts as that
 * @param reason  may be NULL; cut to 1,024 bytes and to what fits a packet
 */
KM_EXPORT void km_conn_close(km_conn *conn, uint64_t code, const void *reason, size_t reason_len);

/**
 * Opens a stream.
 *
 * @param[out] ret   belongs to the connection, valid until its on_closed returned
 * @param bidi       true: both sides may send; false: only we
 * @param callbacks  copied; may be NULL
 * @param ctx        passed to them
 * @return 0, KM_ERR_STREAM_LIMIT (wait for on_streams_available), KM_ERR_CLOSED, KM_ERR_NOMEM,
 *   KM_ERR_STATE (accepting side before on_connected)
 */
KM_EXPORT KM_NODISCARD int km_conn_open_stream(km_conn *conn, km_stream **ret, bool bidi,
                                               const km_stream_callbacks *callbacks, void *ctx);

/**
 * Queues a datagram (RFC 9221): sent once or never, not repeated, order not kept.
 * @return 0, KM_ERR_AGAIN (queue full, or see on_connected; wait for on_datagrams_sendable),
 *   KM_ERR_DATAGRAM_TOO_LARGE, KM_ERR_UNSUPPORTED (the peer takes none), KM_ERR_STATE (before the
 *   handshake), KM_ERR_CLOSED or KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int km_conn_send_datagram(km_conn *conn, const void *data, size_t len);

/** Bytes that fit into one datagram now; 0 when the peer takes none or before the handshake. It
 *  changes with the path's MTU. */
KM_EXPORT size_t km_conn_max_datagram(const km_conn *conn);

/** Updates the packet keys (RFC 9001 section 6). Returns 0, KM_ERR_STATE (handshake not confirmed,
 *  or an update is under way) or KM_ERR_CLOSED. From within a callback it is only noted, and done
 *  when the callback has returned: what keeps it from happening then is logged. */
KM_EXPORT KM_NODISCARD int km_conn_update_keys(km_conn *conn);

/** Keep-alive interval in milliseconds; 0 = none. The endpoint's setting is the default. */
KM_EXPORT void km_conn_set_keep_alive(km_conn *conn, uint32_t interval_ms);

/**
 * Moves the connection to a way to reach the peer that it does not use now. Dialling side only;
 * the new path is validated first and taken when the peer answered on it (on_path). From within a
 * callback it is only noted, and begun when the callback has returned: what keeps it from that is
 * logged, and the connection stays where it is.
 * @return 0, KM_ERR_STATE (not confirmed, or accepting side), KM_ERR_PATH_REFUSED (the peer forbids
 *   migration or gave no connection ids), KM_ERR_BAD_ADDR, KM_ERR_CLOSED or KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int km_conn_migrate(km_conn *conn, const km_udp_addr *remote,
                                           km_errinfo *err);

/** The path that packets take now. Returns 0 or KM_ERR_CLOSED. */
KM_EXPORT int km_conn_path(const km_conn *conn, km_path_info *ret);
/**
 * Changes what paths the connection may take (see km_path_policy). KM_POLICY_RELAY_ONLY must be
 * asked for when dialling: a connection that uses a direct path already stays there.
 *
 * @param direct_within_ms  for KM_POLICY_REQUIRE_DIRECT: 1 to 600,000, else ignored
 * @return 0, KM_ERR_INVALID or KM_ERR_CLOSED
 */
KM_EXPORT int km_conn_set_policy(km_conn *conn, km_path_policy policy, uint32_t direct_within_ms);

/** All paths of the connection and all candidates, the one in use first. Returns how many were
 *  written, at most `cap`. */
KM_EXPORT size_t km_conn_paths(const km_conn *conn, km_path_info *ret, size_t cap);

/** Figures of a connection. */
typedef struct km_conn_stats {
  size_t size;           /**< sizeof this struct, set by the caller */
  uint64_t handshake_us; /**< from dial or first packet to on_connected */
  uint64_t rtt_us, min_rtt_us, rtt_var_us;
  uint64_t cwnd_bytes, bytes_in_flight;
  uint64_t tx_packets, tx_bytes, rx_packets, rx_bytes; /**< UDP payload */
  uint64_t lost_packets, lost_bytes;
  uint64_t stream_tx_bytes, stream_rx_bytes; /**< application data, without repeats */
  uint64_t datagrams_tx, datagrams_rx, datagrams_lost;
  uint64_t streams_open;
  uint64_t key_updates; /**< by either side */
  uint64_t migrations;  /**< changes of path */
  uint32_t mtu;         /**< bytes of UDP payload */
  const char *cipher;   /**< "TLS13-AES128-GCM-SHA256", static */
  const char *group;    /**< "X25519", "X25519MLKEM768", static; "" when unknown */
  bool resumed;         /**< by a session ticket */
  bool ecn;             /**< the path carries ECN marks */
  uint64_t age_us;      /**< since on_connected; 0 before */
} km_conn_stats;

/** Fills `ret` up to ret->size. Returns 0, KM_ERR_INVALID or KM_ERR_CLOSED. */
KM_EXPORT int km_conn_get_stats(const km_conn *conn, km_conn_stats *ret);

KM_END_DECLS

#endif /* KEYMESH_CONN_H */
