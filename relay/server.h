/* A relay server: iroh's relay protocol (v1 and v2) over WebSocket on libwebsockets, and the HTTP
 * pages that belong to it. Loop thread only. Not part of libkeymesh: km-relay links it. */
#ifndef KM_RELAY_SERVER_H
#define KM_RELAY_SERVER_H

#include <keymesh/addr.h>
#include <keymesh/id.h>

#include "base/env.h"
#include "base/io/loop_io.h"
#include "relay/frame.h"

typedef struct km_relay_server km_relay_server;

#define KM_RELAY_SERVER_MAX_BINDS 8
/* Round trips are TCP's, which a client can make long, but no longer than this. */
#define KM_RELAY_SERVER_ESTABLISH_MAX (90 * KM_NS_PER_S)

/* A number of 0 is no limit, except for times. Connections are never more than RLIMIT_NOFILE has
 * room for. */
typedef struct km_relay_server_limits {
  uint32_t connections;          /* of any kind, all together */
  uint32_t connections_per_addr; /* of one IPv4 address or IPv6 /64 */
  uint32_t accepts_per_second, accept_burst;
  /* Of a client; reading pauses, nothing is dropped. No burst: that of a tenth of a second. */
  uint64_t rx_bytes_per_second, rx_burst;
  /* From accept to login, or to the end of the last request: or six round trips where these are
   * more, KM_RELAY_SERVER_ESTABLISH_MAX at most. */
  uint32_t establish_timeout_ms;
  /* A client that takes nothing for so long, or for three round trips, is cut off. */
  uint32_t write_timeout_ms;
  uint64_t queued_bytes;  /* waiting for slow clients, over all of them */
  uint64_t partial_bytes; /* of messages that came in part; beyond it the oldest is cut off */
} km_relay_server_limits;

void km_relay_server_limits_default(km_relay_server_limits *ret);

/* Somebody proved an id and wants in. Valid during the callback. */
typedef struct km_relay_login {
  uint64_t number; /* for km_relay_server_decide */
  km_id id;
  km_udp_addr remote;
  const char *token; /* of the Authorization header (Bearer), or of the query; NULL: none */
} km_relay_login;

typedef struct km_relay_server_config {
  const km_env *env; /* outlives the server */
  km_loop *loop;
  const km_udp_addr *http; /* plain HTTP; port 0 takes any */
  size_t http_count;
  const km_udp_addr *https;
  size_t https_count;
  const char *cert_file, *key_file; /* PEM; needed with `https` */
  /* What plain HTTP serves beside /generate_204: with TLS nothing else, or everything. */
  bool relay_over_http;
  km_relay_server_limits limits;
  const char *version; /* for /healthz; outlives the server */
  /* Answers with km_relay_server_decide, at once or later. NULL: everybody is let in. */
  void (*authorize)(void *ctx, km_relay_server *server, const km_relay_login *login);
  void *ctx;
} km_relay_server_config;

/* 0; KM_ERR_ADDR_IN_USE, KM_ERR_PERMISSION, KM_ERR_ADDR_NOT_AVAILABLE (err names the address);
 * KM_ERR_RELAY_TLS, KM_ERR_FILE_NOT_FOUND (certificate, key); KM_ERR_INVALID, KM_ERR_NOMEM. */
KM_NODISCARD int km_relay_server_new(km_relay_server **ret, const km_relay_server_config *config,
                                     km_errinfo *err);
/* Cuts everybody off and frees it. Not from `authorize`. NULL does nothing. */
void km_relay_server_free(km_relay_server *s);

/* Reads certificate and key again: for connections from now on. On failure the old ones stay. */
KM_NODISCARD int km_relay_server_reload(km_relay_server *s, km_errinfo *err);
/* `denial` NULL lets it in; otherwise a reason that the client is told. A login that is gone is
 * none any more. */
void km_relay_server_decide(km_relay_server *s, uint64_t login, const char *denial);

/* Accepts nobody any more, tells all clients that the relay restarts, and cuts them off once that
 * is written, `grace_ms` later at the latest. `on_done` runs once, from the loop; free it then. */
void km_relay_server_shutdown(km_relay_server *s, uint32_t grace_ms, void (*on_done)(void *ctx),
                              void *ctx);

/* Bound addresses with the real ports: http first, then https. */
size_t km_relay_server_bound(const km_relay_server *s, km_udp_addr *ret, size_t cap);

/* Counters since the start, and what is there now. */
typedef struct km_relay_server_stats {
  uint64_t connections, clients, ids; /* now */
  uint64_t accepted;                  /* TCP connections */
  uint64_t refused_limit;             /* of them, for a limit */
  uint64_t http_requests, bad_upgrades;
  uint64_t upgrades_v1, upgrades_v2;
  uint64_t logins_header, logins_challenge; /* proven by the header, by the challenge */
  uint64_t logins_denied, logins_failed;    /* by `authorize`; a wrong or no proof */
  uint64_t disconnects;                     /* of clients that were logged in */
  uint64_t timeouts_establish, timeouts_write, timeouts_ping;
  uint64_t messages_rx, bytes_rx, bytes_tx; /* of the relay protocol */
  uint64_t datagrams, datagram_bytes;       /* forwarded */
  uint64_t dropped_absent, dropped_full, dropped_others;
  uint64_t gone_sent, pings_rx, pings_tx, pongs_rx;
  uint64_t replaced, rate_limited, bad_messages;
  uint64_t rate_limited_clients;
  uint64_t queued_bytes;  /* now */
  uint64_t partial_bytes; /* now */
  uint64_t partial_cut;   /* clients cut off in mid-message, as others needed the room */
} km_relay_server_stats;
void km_relay_server_get_stats(const km_relay_server *s, km_relay_server_stats *ret);

#endif /* KM_RELAY_SERVER_H */
