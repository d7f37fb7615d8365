/**
 * @file keymesh/endpoint.h
 * An endpoint: one key, a few sockets, any number of connections.
 *
 * Make a km_loop, fill km_endpoint_options (always through km_endpoint_options_default), open the
 * endpoint, add the protocols (ALPNs) it accepts, or dial. Close it with km_endpoint_close; it is
 * freed after its on_closed callback returned.
 *
 * Threads: an endpoint, its connections and its streams belong to the thread that runs the loop.
 * Callbacks run on it, from the loop, never from inside a call of yours. From a callback you may
 * call everything here, km_endpoint_close and km_conn_close included.
 *
 * @code
 *   static void on_data(void *ctx, km_stream *s, const void *data, size_t len, bool fin) {
 *     size_t taken;
 *     if (km_stream_write(s, data, len, fin, &taken, NULL) != 0 || taken < len) {
 *       km_stream_reset(s, 1); // a real one would wait for on_writable
 *     }
 *   }
 *   static void on_stream(void *ctx, km_conn *conn, km_stream *s) {
 *     static const km_stream_callbacks echo = {.size = sizeof echo, .on_data = on_data};
 *     km_stream_set_callbacks(s, &echo, NULL);
 *   }
 *   ...
 *   km_endpoint_options opt;
 *   km_endpoint_options_default(&opt);
 *   km_endpoint_open(&ep, loop, &opt, &err);
 *   km_protocol echo = {.size = sizeof echo, .alpn = "km/echo/1"};
 *   echo.conn.on_stream = on_stream;
 *   km_endpoint_add_protocol(ep, &echo, &err);
 *   km_loop_run(loop);
 * @endcode
 */
#ifndef KEYMESH_ENDPOINT_H
#define KEYMESH_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <keymesh/addr.h>
#include <keymesh/conn.h>
#include <keymesh/discovery.h>
#include <keymesh/error.h>
#include <keymesh/export.h>
#include <keymesh/id.h>
#include <keymesh/log.h>
#include <keymesh/loop.h>
#include <keymesh/net_report.h>

KM_BEGIN_DECLS

typedef struct km_endpoint km_endpoint;

/** Congestion control (RFC 9438, BBRv2 as ngtcp2 has it, RFC 9002 section 7). */
typedef enum km_congestion { KM_CC_CUBIC, KM_CC_BBR, KM_CC_RENO } km_congestion;

/**
 * Which relays to use. A relay (iroh's protocol, `km-relay` or `iroh-relay`) passes encrypted
 * packets on between endpoints that cannot reach each other directly. An endpoint with relays of
 * its own keeps a connection to one of them, its home relay, so that others can reach it there, and
 * to a second one, which takes over at once when the first fails.
 */
typedef enum km_relay_mode {
  KM_RELAY_MODE_DISABLED, /**< none at all, not even those in addresses that are dialled */
  KM_RELAY_MODE_DEFAULT,  /**< iroh's public relays */
  KM_RELAY_MODE_STAGING,  /**< iroh's staging relays */
  KM_RELAY_MODE_CUSTOM,   /**< the urls in relay_urls */
  KM_RELAY_MODE_DIAL_ONLY /**< no home relay; those in addresses that are dialled are used */
} km_relay_mode;

/** What to do with a connection attempt. */
typedef enum km_accept_verdict {
  KM_ACCEPT,
  KM_ACCEPT_RETRY,  /**< make the client prove its address first (RFC 9000 section 8.1.2) */
  KM_ACCEPT_REFUSE, /**< answer CONNECTION_REFUSED */
  KM_ACCEPT_IGNORE  /**< answer nothing */
} km_accept_verdict;

/** A connection attempt before any state is kept for it; valid during the callback. */
typedef struct km_incoming {
  km_udp_addr remote; /**< where the packet came from; may be forged unless `validated` */
  bool validated;     /**< a token proved that the client receives at `remote` */
  size_t half_open;   /**< handshakes under way on the endpoint */
  size_t connections; /**< established connections */
  /** NULL unless the packet came through a relay: who sent it, as the relay says. A relay may lie;
   *  only on_peer proves. `remote` then is an address of this process for that peer at that relay,
   *  the same for as long as the endpoint lives. */
  const km_id *relay_peer;
  const char *relay_url; /**< that relay's */
} km_incoming;

/** Callbacks of an endpoint. Any may be NULL. */
typedef struct km_endpoint_callbacks {
  size_t size; /**< sizeof this struct */
  /** Filters connection attempts; without it all are accepted. Must not call back. */
  km_accept_verdict (*on_incoming)(void *ctx, const km_incoming *incoming);
  /** Filters peers once their key is proven, before their first byte is read. False refuses. */
  bool (*on_peer)(void *ctx, const km_id *peer, const char *alpn);
  /** Where others can reach it changed: the home relay was found, changed, or was lost
   *  (km_endpoint_online tells). Addresses given out before may be out of date. */
  void (*on_home_relay)(void *ctx, km_endpoint *endpoint);
  /** The last callback of an endpoint; its memory is gone when it returns. */
  void (*on_closed)(void *ctx, km_endpoint *endpoint);
} km_endpoint_callbacks;

/** Options of an endpoint. Fill with km_endpoint_options_default, then change what you want. Before
 *  version 1.0 new members are put where they belong, so a program needs the version that it was
 *  compiled against; from 1.0 on they come last, and `size` tells them apart. */
typedef struct km_endpoint_options {
  size_t size; /**< sizeof this struct; set by km_endpoint_options_default */

  const km_secret_key *secret_key; /**< copied; NULL makes a fresh key */

  /** Sockets to bind, at most KM_ENDPOINT_MAX_SOCKETS; none means 0.0.0.0:0 and, if the system
   *  has IPv6, [::]:0. Port 0 takes any. IPv6 sockets are IPv6 only. */
  const km_udp_addr *bind;
  size_t bind_count;

  km_relay_mode relay_mode;      /**< default KM_RELAY_MODE_DIAL_ONLY */
  const char *const *relay_urls; /**< for KM_RELAY_MODE_CUSTOM: 1 to KM_ADDR_MAX_RELAYS; copied */
  size_t relay_url_count;
  const char *relay_ca_file; /**< PEM file of the authorities that relays' certificates may come
                                  from; NULL = the system's trust store */
  const char *relay_token;   /**< what the endpoint's own relays, all of them, get to see
                                  (Authorization: Bearer): 1 to 512 visible ASCII characters;
                                  relays that only an address names never get it; NULL = none */
  uint32_t relay_check_ms;   /**< the home relay is asked whether it is still there when it was
                                  silent for so long, 200 to 60,000; default 1,000, so that it is
                                  replaced in less than 3 s */

  /** STUN servers ("host", "host:port", "[v6]:port"; 16 at most) that tell our public address; none
   *  means the hosts of the endpoint's relays. Copied. */
  const char *const *stun_servers;
  size_t stun_server_count;

  km_path_policy path_policy; /**< of connections that say nothing else; default
                                   KM_POLICY_PREFER_DIRECT */
  uint32_t direct_within_ms;  /**< for KM_POLICY_REQUIRE_DIRECT, 1 to 600,000; default 10,000 */
  bool port_mapping;          /**< ask the router for a port (PCP, NAT-PMP, UPnP) when a connection
                                   finds no direct path otherwise (default true) */
  bool network_monitor;       /**< follow changes of the machine's network (default true); without
                                   it call km_endpoint_network_changed */

  km_discovery *discovery; /**< asked where peers are that are dialled, told where this endpoint is
                                whenever that changes; on the same loop, and with no other endpoint.
                                It may be freed after km_endpoint_close; before that the endpoint
                                goes on without. NULL = none: dial addresses */
  bool publish;            /**< tell `discovery` where this endpoint is, until km_endpoint_close
                                (default true); its secret key, if it has one, must be this one's */

  km_congestion congestion; /**< default KM_CC_CUBIC */
  bool prefer_post_quantum; /**< offer X25519MLKEM768 first (default false, as iroh) */
  bool ecn;                 /**< mark and report ECN (default true) */
  bool pmtud;               /**< search for the path MTU (default true) */
  bool gso;                 /**< batch with UDP_SEGMENT and UDP_GRO where the kernel can (true) */
  bool early_data;          /**< accept 0-RTT on the accepting side (default true) */

  uint32_t idle_timeout_ms; /**< 1 to 600,000; default 30,000 (RFC 9000 section 10.1) */
  uint32_t keep_alive_ms;   /**< 0 = none, and then who only listens does not notice that a way is
                                      lost; default 5,000 */
  uint32_t handshake_timeout_ms; /**< 100 to 600,000; default 30,000. A dial without a time of its
                                      own goes on for twelve round trips of a relay, where that is
                                      longer, but not beyond 120 s */

  uint32_t max_streams_bidi; /**< that a peer may have open at once; 0 to 65,536; default 100 */
  uint32_t max_streams_uni;  /**< the same for unidirectional ones; default 100 */
  uint32_t stream_window; /**< receive window a stream, bytes; 1,024 to 8 MiB; default 1,250,000 */
  uint32_t connection_window; /**< receive window a connection; default 8 MiB, up to 64 MiB */
  uint32_t send_buffer;       /**< unacknowledged and waiting bytes a stream; 4 KiB to 8 MiB;
                                    default 1 MiB. See docs/limits.md for why not more */
  uint32_t datagram_queue;    /**< datagrams waiting to be sent a connection; default 256 */
  uint32_t max_udp_payload;   /**< 1,200 to 65,527; default 1,452; above it only for jumbo links */

  uint32_t max_connections;        /**< established and half-open; default 65,536 */
  uint32_t max_half_open;          /**< handshakes of accepted connections; default 1,024 */
  uint32_t max_half_open_per_addr; /**< the same for one address (IPv4 /32, IPv6 /64); default 64 */
  uint32_t retry_threshold;        /**< half-open handshakes from which Retry is asked for; 128 */

  const char *qlog_dir;    /**< existing directory for one qlog file a connection; NULL = none. Of
                                accepted ones only when the client proved its address */
  const char *keylog_file; /**< appends TLS secrets in NSS form; NULL = none. Whoever reads the
                                file can read the traffic: it is made with mode 0600; one that is
                                there must be a regular file of ours that others cannot read */

  km_log_fn log; /**< NULL = no log */
  void *log_ctx;
  km_log_filter log_filter; /**< default: info for all components */

  km_endpoint_callbacks callbacks;
  void *ctx; /**< passed to `callbacks` */
} km_endpoint_options;

#define KM_ENDPOINT_MAX_SOCKETS 8

/** Fills in the defaults named above. */
KM_EXPORT void km_endpoint_options_default(km_endpoint_options *options);

/**
 * Opens an endpoint: makes its key if need be and binds its sockets.
 *
 * @param[out] ret  closed with km_endpoint_close; untouched on failure
 * @param loop      must outlive the endpoint
 * @param options   NULL takes the defaults; copied, nothing in it need outlive the call
 * @param[out] err  may be NULL
 * @return 0, KM_ERR_INVALID (an option out of range, or a km_discovery of another loop or key; the
 *   text says which), KM_ERR_STATE (another endpoint uses the km_discovery), KM_ERR_ADDR_IN_USE,
 *   KM_ERR_ADDR_NOT_AVAILABLE, KM_ERR_PERMISSION, KM_ERR_FILE_NOT_FOUND (qlog or key log),
 *   KM_ERR_BAD_RELAY_URL, KM_ERR_RELAY_TLS (relay_ca_file), KM_ERR_SYSTEM, KM_ERR_TLS or
 *   KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int km_endpoint_open(km_endpoint **ret, km_loop *loop,
                                            const km_endpoint_options *options, km_errinfo *err);

/**
 * Closes gracefully, as iroh does: every connection is closed with application code 0 and an empty
 * reason, their on_closed run, then the endpoint's. Peers that repeat packets are answered for
 * three probe timeouts (RFC 9000 section 10.2) before the sockets go. What was published of it is
 * withdrawn, and it lets go of its km_discovery at once. A second call does nothing.
 */
KM_EXPORT void km_endpoint_close(km_endpoint *endpoint);

/** The id others dial. Valid while the endpoint lives. */
KM_EXPORT const km_id *km_endpoint_id(const km_endpoint *endpoint);

/** The loop it lives on. */
KM_EXPORT km_loop *km_endpoint_loop(const km_endpoint *endpoint);

/** Addresses the sockets are bound to. Returns how many were written, at most `cap`. */
KM_EXPORT size_t km_endpoint_bound(const km_endpoint *endpoint, km_udp_addr *ret, size_t cap);

/**
 * The address to hand to others: id, the direct addresses (a wildcard socket counts with the
 * addresses of all interfaces that are up; loopback only if there is nothing else; what STUN
 * servers see, and a port mapping of the router), and the relays that answer now: home first, then
 * its standby. Without the direct addresses when path_policy is KM_POLICY_RELAY_ONLY.
 * @param[out] ret  free with km_addr_free
 * @return 0, KM_ERR_CLOSED or KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int km_endpoint_addr(km_endpoint *endpoint, km_addr **ret);

/**
 * True while the endpoint has a home relay that answers: others can reach it by id and relay from
 * anywhere. False without relays of its own, and until one was reached; `on_home_relay` follows.
 */
KM_EXPORT bool km_endpoint_online(const km_endpoint *endpoint);

/** The home relay's url; NULL while there is none. Valid until the endpoint's next callback. */
KM_EXPORT const char *km_endpoint_home_relay(const km_endpoint *endpoint);

/**
 * Tells the endpoint that the machine's network changed (an interface came or went, it woke up):
 * relays are checked, or dialled again without waiting, connections look for their peers everywhere
 * again. With network_monitor the endpoint notices by itself. Harmless when nothing did.
 */
KM_EXPORT void km_endpoint_network_changed(km_endpoint *endpoint);

/**
 * Measures what the network around the endpoint allows: UDP, public addresses, the NAT's behaviour,
 * port mapping, relays, a captive portal; with a verdict and advice (keymesh/net_report.h). It
 * sends some tens of packets to the STUN servers of the options and to those that they name as
 * their second address, asks each relay of the options once, and the default gateway for a port.
 *
 * @param fn   called once, from the loop, after one to four seconds, or up to 20 where nothing
 *             answers; never before this returned, and not at all when the endpoint is closed
 *             first. May call everything, km_endpoint_close and this included
 * @param ctx  passed to it
 * @param[out] err  may be NULL
 * @return 0, KM_ERR_INVALID (no `fn`), KM_ERR_STATE (one is under way), KM_ERR_CLOSED, KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int km_endpoint_net_report(km_endpoint *endpoint, km_net_report_fn fn,
                                                  void *ctx, km_errinfo *err);

/** A protocol this endpoint accepts, and who handles its connections. */
typedef struct km_protocol {
  size_t size;            /**< sizeof this struct */
  const char *alpn;       /**< name, NUL-terminated, 1 to 255 bytes; copied */
  km_conn_callbacks conn; /**< callbacks of accepted connections; `size` in it may stay 0 */
  void *ctx;              /**< passed to them until km_conn_set_callbacks changes it */
} km_protocol;

/**
 * Accepts connections for one more ALPN. Of several that a client offers, the one added first here
 * wins (iroh's rule). An endpoint without protocols accepts nobody.
 * @return 0, KM_ERR_BAD_ALPN, KM_ERR_LIMIT (more than 64), KM_ERR_INVALID (there already),
 *   KM_ERR_CLOSED or KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int km_endpoint_add_protocol(km_endpoint *endpoint,
                                                    const km_protocol *protocol, km_errinfo *err);

/** Stops accepting an ALPN; its connections live on. Returns 0 or KM_ERR_NOT_FOUND. */
KM_EXPORT int km_endpoint_remove_protocol(km_endpoint *endpoint, const char *alpn);

/** Options of one dial. All zero (but for `size`) is the default. */
typedef struct km_dial_options {
  size_t size; /**< sizeof this struct */
  /** Send in the first flight with a ticket of an earlier connection to this peer and ALPN, if
   *  there is one (0-RTT, RFC 9001 section 4.6). Early data can be replayed by an attacker: use it
   *  only for what may happen twice. See km_conn_early_state. */
  bool early_data;
  uint32_t timeout_ms;       /**< for the handshake; 0 = the endpoint's handshake_timeout_ms */
  km_path_policy policy;     /**< KM_POLICY_DEFAULT takes the endpoint's */
  uint32_t direct_within_ms; /**< for KM_POLICY_REQUIRE_DIRECT; 0 = the endpoint's */
} km_dial_options;

/**
 * Dials a peer. The first packets go to all its addresses at once; the first that answers carries
 * the connection. The peer must prove the key that was dialled, else KM_ERR_WRONG_PEER. When one of
 * several addresses turns out to be wrong (another key, a refusal, another version of QUIC), the
 * handshake begins again with the others, which have five seconds to answer; when none does, the
 * dial fails with what the wrong one did. Early data is lost then as if it was rejected,
 * though the peer may have seen it.
 *
 * The connection is returned at once; on_connected or on_closed of `callbacks` tells how it went,
 * never before this function returned. Streams may be opened at once: without early data they wait
 * for the handshake.
 *
 * @param[out] ret    belongs to the endpoint, valid until its on_closed returned
 * @param addr        read during the call only
 * @param alpn        NUL-terminated, 1 to 255 bytes, no comma
 * @param callbacks   copied; may be NULL
 * @param ctx         passed to them
 * @param options     may be NULL
 * @return 0, KM_ERR_BAD_ALPN, KM_ERR_SELF_DIAL, KM_ERR_NO_ADDRESS, KM_ERR_LIMIT, KM_ERR_CLOSED,
 *   KM_ERR_TLS or KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int km_endpoint_dial(km_endpoint *endpoint, km_conn **ret,
                                            const km_addr *addr, const char *alpn,
                                            const km_conn_callbacks *callbacks, void *ctx,
                                            const km_dial_options *options, km_errinfo *err);

/**
 * Binds a fresh local port (or `bind`) beside or instead of the sockets of its family and moves
 * dialled connections that use them over, by RFC 9000 section 9 migration. Accepted connections
 * keep working on the old socket, which stays until no path uses it.
 * @param bind  NULL takes the wildcard address and any port
 * @return 0 or the errors of km_endpoint_open's binding
 */
KM_EXPORT KM_NODISCARD int km_endpoint_rebind(km_endpoint *endpoint, const km_udp_addr *bind,
                                              km_errinfo *err);

/** Counters since the endpoint was opened. */
typedef struct km_endpoint_stats {
  size_t size;           /**< sizeof this struct, set by the caller */
  uint64_t connections;  /**< established now */
  uint64_t half_open;    /**< accepted handshakes under way now */
  uint64_t paths;        /**< paths known now */
  uint64_t accepted;     /**< handshakes completed as the accepting side */
  uint64_t dialled;      /**< handshakes completed as the dialling side */
  uint64_t retries_sent; /**< Retry packets */
  uint64_t refused;      /**< attempts refused: limits, filters, ALPN */
  uint64_t resets_sent;  /**< stateless resets */
  uint64_t version_negotiations_sent;
  uint64_t rx_packets, rx_bytes, rx_batches; /**< a batch is one datagram buffer from the kernel */
  uint64_t tx_packets, tx_bytes, tx_batches;
  uint64_t rx_dropped;      /**< packets that belong to nothing known */
  uint64_t tx_blocked;      /**< sends that found the socket buffer full */
  uint64_t tx_errors;       /**< packets the kernel refused */
  uint64_t punch_attempts;  /**< to find a direct path to a peer */
  uint64_t punch_successes; /**< of them that found one */
  /** Hole-punching packets: taken; of peers without a connection that looks for a path; not sealed
   *  by who they say; seen before or too old. The last three have no effect at all. */
  uint64_t disco_opened, disco_strangers, disco_forged, disco_replayed;
} km_endpoint_stats;

/** Fills `ret` up to ret->size. Returns 0 or KM_ERR_INVALID. */
KM_EXPORT int km_endpoint_get_stats(const km_endpoint *endpoint, km_endpoint_stats *ret);

KM_END_DECLS

#endif /* KEYMESH_ENDPOINT_H */
