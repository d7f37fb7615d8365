/**
 * @file keymesh/mesh.h
 * A mesh: an endpoint and a store among peers. It keeps a connection to each peer (protocol
 * `keymesh/1`, docs/protocol-mesh.md): a handshake in which each side says who it is and may
 * refuse, heartbeats, reconnection with back-off; shares of the store stay in sync, messages are
 * delivered, trust spreads.
 *
 * Threads and callbacks: as in keymesh/endpoint.h; the store belongs to the loop's thread from
 * km_mesh_open until on_closed. From a callback everything here may be called, km_mesh_close
 * included.
 */
#ifndef KEYMESH_MESH_H
#define KEYMESH_MESH_H

#include <keymesh/endpoint.h>
#include <keymesh/kv.h>
#include <keymesh/message.h>
#include <keymesh/trust.h>

KM_BEGIN_DECLS

#define KM_MESH_ALPN "keymesh/1"
#define KM_MESH_VERSION "1.0" /**< of the handshake; peers of another major version are refused */
#define KM_MESH_MAX_PEERS 4096
#define KM_MESH_MAX_SHARES 256

typedef struct km_mesh km_mesh;

/** What a peer may do with a share. */
typedef enum km_access { KM_ACCESS_NONE, KM_ACCESS_READ, KM_ACCESS_WRITE } km_access;

/** A share of this node. */
typedef struct km_mesh_share {
  const char *name;
  km_access others; /**< of peers that are let in and have no km_mesh_grant of their own, and of
                         authors that we know from their entries only */
} km_mesh_share;

/** What one peer may do with one share. */
typedef struct km_mesh_grant {
  const char *share;
  km_access access;
} km_mesh_grant;

/** A peer to keep a connection to. */
typedef struct km_mesh_peer {
  size_t size; /**< sizeof this struct */
  km_id id;
  const char *name;    /**< may be NULL */
  const km_addr *addr; /**< where it is; NULL: found by the endpoint's discovery */
  const km_mesh_grant *grants;
  size_t grant_count;
  bool dial; /**< false: only let it in when it dials us */
  /** true: not this lets it in, but its trust in the store, for as long as that lasts */
  bool by_trust;
} km_mesh_peer;

/** Where a peer's connection stands. */
typedef enum km_peer_state {
  KM_PEER_IDLE,      /**< not dialled: let in when it comes */
  KM_PEER_DIALLING,  /**< QUIC handshake */
  KM_PEER_HANDSHAKE, /**< HELLO was sent or is awaited */
  KM_PEER_CONNECTED,
  KM_PEER_WAITING, /**< for the next attempt */
  KM_PEER_REFUSED  /**< by the peer, or by us (it is not trusted); tried again with the longest
                           back-off */
} km_peer_state;

/** Counters of what a peer did that it should not. */
typedef struct km_peer_faults {
  uint64_t forged;    /**< entries, messages or statements with a wrong signature */
  uint64_t future;    /**< entries with a clock too far ahead */
  uint64_t forbidden; /**< entries of authors who may not write, shares it may not read */
  uint64_t malformed; /**< frames that broke the protocol */
  uint64_t flooded;   /**< over the rate limits: it was made to wait */
  uint64_t cut;       /**< times it was disconnected for it */
} km_peer_faults;

/** A peer as it is now. Texts are valid during the callback or until the next call on the mesh. */
typedef struct km_peer_status {
  size_t size;
  km_id id;
  const char *name;    /**< configured, trusted or announced; "" if none */
  const char *node_id; /**< as its HELLO or ACK said; "" before */
  const char *addr;    /**< where it is or was reached, else as configured; "" if not known */
  km_peer_state state;
  bool configured;
  bool dialled_by_us;                                    /**< the connection; false without one */
  const char *last_error;                                /**< NULL: none since the last handshake */
  int64_t last_hello_ms, last_ack_ms, last_heartbeat_ms; /**< UNIX milliseconds; 0 = never */
  int64_t connected_ms;                                  /**< since when; 0 when not connected */
  int64_t next_attempt_ms;                               /**< UNIX milliseconds; 0 = none planned */
  uint32_t attempts;                                     /**< failed ones since the last success */
  const char *const *allowed_shares;                     /**< it may read from us */
  size_t allowed_share_count;
  const char *const *remote_shares; /**< it offers us; as said in its handshake */
  size_t remote_share_count;
  const char *const *remote_features;
  size_t remote_feature_count;
  const char *remote_version; /**< "" before the handshake */
  uint64_t rtt_us, jitter_us; /**< of heartbeats; 0 = not measured */
  km_path_kind path;          /**< of its connection */
  bool syncing;               /**< a synchronization is under way */
  int64_t last_sync_ms;       /**< UNIX milliseconds of the last one that ended well; 0 = never */
  uint64_t entries_in, entries_out, messages_in, messages_out, waiting_messages;
  km_peer_faults faults;
} km_peer_status;

/** Callbacks of a mesh. Any may be NULL. */
typedef struct km_mesh_callbacks {
  size_t size;
  /** A peer's state changed. */
  void (*on_peer)(void *ctx, km_mesh *mesh, const km_peer_status *peer);
  /** A message came. It is stored: km_message_received has it if the program dies in here. */
  void (*on_message)(void *ctx, km_mesh *mesh, const km_message *message);
  /** A stranger asks to be let in, and waits for km_trust_approve. */
  void (*on_request)(void *ctx, km_mesh *mesh, const km_trust_info *who);
  /** A synchronization of a share with a peer ended; `error` 0 or why. */
  void (*on_sync)(void *ctx, km_mesh *mesh, const km_id *peer, const char *share, int error,
                  uint64_t received, uint64_t sent);
  void (*on_closed)(void *ctx, km_mesh *mesh); /**< the last one */
} km_mesh_callbacks;

#define KM_MESH_BACKOFF_MAX 16

/** Options of a mesh. Fill with km_mesh_options_default. */
typedef struct km_mesh_options {
  size_t size;
  km_store *store; /**< must be of the endpoint's key; outlives the mesh */
  const char
      *node_id; /**< the name we go by in handshakes; default: the first 10 digits of the id */
  const char *const *features; /**< said in the handshake beside our own; may be NULL */
  size_t feature_count;

  const km_mesh_share *shares; /**< copied */
  size_t share_count;          /**< at most KM_MESH_MAX_SHARES */
  const km_mesh_peer *peers;   /**< copied; the configured ones, which are trusted */
  size_t peer_count;           /**< at most KM_MESH_MAX_PEERS */
  const km_id *allow;          /**< let in as if configured */
  size_t allow_count;
  const char *const *allow_fingerprints; /**< the same by "sha256:..." (KM_ID_FINGERPRINT) */
  size_t allow_fingerprint_count;
  const km_id *block; /**< never let in */
  size_t block_count;

  km_security_level level;      /**< default KM_SECURITY_SECURE */
  uint32_t recommend_threshold; /**< trusted peers that must recommend; 0 = never; default 2 */
  bool accept_revocations;      /**< of peers trusted by hand or configuration (default false;
                                      true at level strict whatever this says) */

  uint32_t heartbeat_ms;         /**< default 20,000; 100 to 3,600,000 */
  uint32_t heartbeat_timeout_ms; /**< silence after which a peer is given up; 0 = 3 intervals */
  uint32_t connect_timeout_ms;   /**< QUIC and HELLO each; default 5,000; 100 to 600,000 */
  const uint32_t *backoff_ms;    /**< waits between attempts, the last one repeats; default 1, 3,
                                      10, 30 s; at most KM_MESH_BACKOFF_MAX */
  size_t backoff_count;
  uint8_t backoff_jitter_percent; /**< of each wait, more or less; default 20, at most 50 */

  uint32_t sync_interval_ms;   /**< shares are reconciled when a peer connects and so often after;
                                      default 60,000 */
  uint32_t max_message;        /**< bytes of a message's body taken; default 1,048,576 */
  uint32_t rate_per_minute;    /**< messages and statements of one peer; default 60; 0 = no limit */
  uint32_t rate_per_second;    /**< pushed entries of one peer; default 10, with bursts of a
                                      minute's worth; what is over it waits. 0 = no limit */
  uint32_t max_conns_per_addr; /**< accepted connections of one address; default 16 */
  uint32_t max_faults;         /**< forged, malformed or forbidden things within ten minutes after
                                      which a peer is cut off for as long; default 16 */

  km_mesh_callbacks callbacks;
  void *ctx;
  km_log_fn log; /**< NULL = the endpoint's */
  void *log_ctx;
  km_log_filter log_filter;
} km_mesh_options;

KM_EXPORT void km_mesh_options_default(km_mesh_options *options);

/**
 * Starts a mesh: accepts KM_MESH_ALPN on the endpoint and dials the peers.
 * @return 0, KM_ERR_INVALID (the text names the option), KM_ERR_STATE (the store is of another key
 *   than the endpoint, or the endpoint has a mesh), KM_ERR_STORE or KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int km_mesh_open(km_mesh **ret, km_endpoint *endpoint,
                                        const km_mesh_options *options, km_errinfo *err);
/** Says goodbye to all peers and closes; on_closed follows from the loop, after which the mesh is
 *  gone and endpoint and store may be closed. Again it does nothing. */
KM_EXPORT void km_mesh_close(km_mesh *mesh);

KM_EXPORT km_endpoint *km_mesh_endpoint(const km_mesh *mesh);
KM_EXPORT km_store *km_mesh_store(const km_mesh *mesh);

/** Adds a peer, or replaces what is configured of it; it is dialled at once. 0, KM_ERR_INVALID,
 *  KM_ERR_LIMIT, KM_ERR_NOMEM. It is not kept across a restart. */
KM_EXPORT KM_NODISCARD int km_peer_add(km_mesh *mesh, const km_mesh_peer *peer, km_errinfo *err);
/** Takes a configured or added peer out and closes its connection. 0 or KM_ERR_NOT_FOUND. */
KM_EXPORT int km_peer_remove(km_mesh *mesh, const km_id *id);
/** Dials now, whatever the back-off says. 0, KM_ERR_NOT_FOUND. */
KM_EXPORT int km_peer_dial(km_mesh *mesh, const km_id *id);
/** Fills `ret` up to ret->size. 0 or KM_ERR_NOT_FOUND. */
KM_EXPORT int km_peer_get(km_mesh *mesh, const km_id *id, km_peer_status *ret);
typedef void (*km_peer_fn)(void *ctx, const km_peer_status *peer);
/** All peers: configured ones first, in their order. `fn` may add and remove peers. The number that
 *  it was called for; 0 also without memory. */
KM_EXPORT size_t km_peer_list(km_mesh *mesh, km_peer_fn fn, void *ctx);
/** The connection to a connected peer, for protocols of one's own beside it; NULL without one. It
 *  belongs to the mesh. */
KM_EXPORT km_conn *km_peer_conn(km_mesh *mesh, const km_id *id);

/** Synchronizes all shares with a peer now, or with all (NULL). 0 or KM_ERR_NOT_FOUND (not
 *  connected, or not long enough to begin). */
KM_EXPORT int km_mesh_sync(km_mesh *mesh, const km_id *peer);
/** Asks all connected peers for the statements they know (names, recommendations, revocations). The
 *  number of peers asked. */
KM_EXPORT size_t km_mesh_request_statements(km_mesh *mesh);
/** Dials all configured peers that refused us again, now. The number. */
KM_EXPORT size_t km_mesh_request_access(km_mesh *mesh);
/** What a peer may do with a share, and why (a static sentence). For `test-access-control`. */
KM_EXPORT km_access km_mesh_access(km_mesh *mesh, const km_id *peer, const char *share,
                                   const char **ret_reason);

/** Totals of a mesh. */
typedef struct km_mesh_stats {
  size_t size;
  uint64_t peers, connected, handshakes, refused_in, refused_out, heartbeats_in, heartbeats_out;
  uint64_t syncs, syncs_failed, entries_in, entries_out, entries_relayed;
  uint64_t messages_in, messages_out, messages_relayed;
  km_peer_faults faults;
} km_mesh_stats;
KM_EXPORT int km_mesh_get_stats(km_mesh *mesh, km_mesh_stats *ret);

KM_END_DECLS

#endif /* KEYMESH_MESH_H */
