/* A connection to one relay, kept up: name resolution, happy eyeballs, proxy, TLS, upgrade,
 * handshake, pings, and reconnecting with jittered back-off until it is freed. Loop thread only.
 *
 * States: connecting -> connected -> waiting (for the back-off) -> connecting ... A fresh client
 * connects at once. */
#ifndef KM_RELAY_CLIENT_H
#define KM_RELAY_CLIENT_H

#include "base/env.h"
#include "base/io/loop_io.h"
#include "relay/frame.h"

#include <keymesh/addr.h>

/* What several clients share: one libwebsockets context on the loop, the trust store. */
typedef struct km_relay_clients km_relay_clients;

typedef struct km_relay_clients_config {
  const km_env *env; /* outlives it */
  km_loop *loop;
  const km_secret_key *key; /* outlives it */
  const char *ca_file;      /* PEM; NULL: the system's trust store. Copied */
  const char *user_agent;   /* copied */
} km_relay_clients_config;

/* 0, KM_ERR_NOMEM, KM_ERR_FILE_NOT_FOUND / KM_ERR_RELAY_TLS (the CA file cannot be used). */
KM_NODISCARD int km_relay_clients_new(km_relay_clients **ret, const km_relay_clients_config *config,
                                      km_errinfo *err);
/* All clients and probes must have been freed. NULL does nothing. */
void km_relay_clients_free(km_relay_clients *all);

typedef enum km_relay_client_state {
  KM_RELAY_CLIENT_CONNECTING, /* up to and with the handshake */
  KM_RELAY_CLIENT_CONNECTED,
  KM_RELAY_CLIENT_WAITING /* for its next attempt */
} km_relay_client_state;

typedef struct km_relay_client km_relay_client;

/* Any but on_state may be NULL. They may send; only on_state may free the client or the
 * km_relay_clients. */
typedef struct km_relay_client_callbacks {
  /* `why` is what ended the connection or the attempt; NULL when connected. */
  void (*on_state)(void *ctx, km_relay_client *c, km_relay_client_state state,
                   const km_errinfo *why);
  /* Datagrams of `peer`: `len` bytes, never 0, in segments of `segment`. Valid during the call. */
  void (*on_datagrams)(void *ctx, km_relay_client *c, const km_id *peer, uint8_t ecn,
                       const uint8_t *data, size_t len, size_t segment);
  /* The peer left this relay. */
  void (*on_gone)(void *ctx, km_relay_client *c, const km_id *peer);
  /* Another endpoint with our id took over (true), or left again (false). */
  void (*on_same_id)(void *ctx, km_relay_client *c, bool elsewhere);
  /* km_relay_client_send gave KM_ERR_AGAIN and there is room again. */
  void (*on_writable)(void *ctx, km_relay_client *c);
  void *ctx;
} km_relay_client_callbacks;

/* `url`: normalised (base/relay_url.h), http or https (ws, wss), with `token` in its query or not.
 * 0, KM_ERR_NOMEM or KM_ERR_BAD_RELAY_URL. Callbacks run from later loop turns only. */
KM_NODISCARD int km_relay_client_new(km_relay_client **ret, km_relay_clients *all, const char *url,
                                     const km_relay_client_callbacks *cb, km_errinfo *err);
/* A secret that this relay, and no other, gets to see with every login (Authorization: Bearer).
 * Visible ASCII, KM_RELAY_TOKEN_MAX bytes at most. Copied. Before the loop's next turn.
 * 0, KM_ERR_INVALID or KM_ERR_NOMEM. */
KM_NODISCARD int km_relay_client_set_token(km_relay_client *c, const char *token, km_errinfo *err);
/* Says goodbye if it can at once, and frees it. No callback runs any more. NULL does nothing. */
void km_relay_client_free(km_relay_client *c);

km_relay_client_state km_relay_client_get_state(const km_relay_client *c);
const char *km_relay_client_url(const km_relay_client *c);
/* Of the last pong, in nanoseconds; 0 when unknown. */
uint64_t km_relay_client_rtt(const km_relay_client *c);
/* The same; before the first pong, what an answer took while connecting. */
uint64_t km_relay_client_round_trip(const km_relay_client *c);
/* When anything last came from the server; 0: never. */
km_ts km_relay_client_last_rx(const km_relay_client *c);
/* A ping now, and with `deadline_ns` for its pong instead of the usual: is the relay still there?
 * Nothing, while such a check is under way or nothing is connected. */
void km_relay_client_check(km_relay_client *c, uint64_t deadline_ns);
/* The network changed: drop the back-off and connect at once; a connected one is checked, or given
 * up when the address of ours that it used is not ours any more (`is_ours`; NULL: not known). */
void km_relay_client_network_changed(km_relay_client *c,
                                     bool (*is_ours)(void *ctx, const km_udp_addr *addr),
                                     void *ctx);

/* Sends datagrams to `peer`: `len` bytes (1 to KM_RELAY_MAX_PAYLOAD) in segments of `segment`.
 * Copies them. 0; KM_ERR_AGAIN: not connected yet, or the queue is full: nothing was taken, and
 * on_writable follows once there is room. */
KM_NODISCARD int km_relay_client_send(km_relay_client *c, const km_id *peer, uint8_t ecn,
                                      const uint8_t *data, size_t len, size_t segment);

typedef struct km_relay_client_stats {
  uint64_t tx_packets, tx_bytes, rx_packets, rx_bytes; /* datagrams */
  uint64_t connects, failures;
  uint64_t tx_refused; /* KM_ERR_AGAIN */
} km_relay_client_stats;
void km_relay_client_get_stats(const km_relay_client *c, km_relay_client_stats *ret);

/* A latency probe: one GET of /ping. Ends by itself with on_done, once, within `timeout_ns`; the
 * time is that of the request alone, connection and TLS not counted. */
typedef struct km_relay_probe km_relay_probe;
typedef struct km_relay_probe_result {
  km_errinfo err;      /* code 0: it answered */
  uint64_t rtt_ns;     /* request to answer */
  uint64_t connect_ns; /* name, TCP and TLS */
  km_udp_addr remote;  /* that answered; family 0 when a proxy did or nothing */
  int status;          /* HTTP */
} km_relay_probe_result;
typedef void (*km_relay_probe_fn)(void *ctx, const km_relay_probe_result *result);
/* As km_relay_client_new. The probe is gone when on_done returns. */
KM_NODISCARD int km_relay_probe_new(km_relay_probe **ret, km_relay_clients *all, const char *url,
                                    uint64_t timeout_ns, km_relay_probe_fn on_done, void *ctx,
                                    km_errinfo *err);
/* Gives it up; on_done does not run. */
void km_relay_probe_free(km_relay_probe *p);

#endif /* KM_RELAY_CLIENT_H */
