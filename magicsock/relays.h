/* The relays an endpoint uses: those of its configuration, of which one is home, and those that
 * addresses of peers name, connected to while they are needed. A relay is known by an index, which
 * stands in the keys of its paths. */
#ifndef KM_MAGICSOCK_RELAYS_H
#define KM_MAGICSOCK_RELAYS_H

#include "base/io/loop_io.h"
#include "magicsock/magicsock.h"

typedef struct km_relays km_relays;
struct km_relay_clients; /* relay/client.h */

#define KM_RELAYS_MAX 64              /* known at once */
#define KM_RELAYS_MAX_STRANGERS 16    /* of these, relays that nobody vouches for */
#define KM_RELAY_WAITING_PACKETS 64   /* batches kept for a relay that is not connected */
#define KM_RELAY_WAITING_BYTES 262144 /* their bytes */

typedef struct km_relays_config {
  const km_env *env; /* outlives it */
  km_loop *loop;
  const km_magicsock_relay_config *relay;
  void (*on_rx)(void *ctx, const km_rx_batch *batch);
  void (*on_rx_done)(void *ctx);
  void (*on_writable)(void *ctx);
  void *rx_ctx; /* of the three above */
  /* Datagrams of `segment` bytes that are no QUIC; may be NULL. */
  void (*on_side)(void *ctx, const km_path_key *from, const uint8_t *data, size_t len,
                  size_t segment);
  void *ctx;             /* of on_side */
  uint64_t *rx_not_quic; /* counts datagrams that on_rx was spared */
} km_relays_config;

/* 0, KM_ERR_NOMEM, or what km_relay_clients_new says of the CA file. */
KM_NODISCARD int km_relays_new(km_relays **ret, const km_relays_config *config, km_errinfo *err);
void km_relays_free(km_relays *r);

/* The key of `peer` behind the relay; the relay is remembered as long as a path refers to it.
 * `url` is normalised. A stranger is one that some unproven answer named: it is forgotten with the
 * last path, and is none any more when it is asked for otherwise. 0, KM_ERR_LIMIT, KM_ERR_NOMEM or
 * KM_ERR_BAD_RELAY_URL. */
KM_NODISCARD int km_relays_key(km_relays *r, const char *url, const km_id *peer, bool stranger,
                               km_path_key *ret);
bool km_relays_knows(km_relays *r, const char *url);
/* A path with this relay's index came or went. */
void km_relays_ref(km_relays *r, uint16_t index);
void km_relays_unref(km_relays *r, uint16_t index);

/* NULL when there is none of that index. */
const char *km_relays_url(const km_relays *r, uint16_t index);
/* What keeps it from being used, NULL when nothing does. */
const char *km_relays_trouble(const km_relays *r, uint16_t index);
bool km_relays_is_up(const km_relays *r, uint16_t index);
/* As measured while connecting or since; 0: not known. */
uint64_t km_relays_round_trip(const km_relays *r, uint16_t index);
bool km_relays_can_send(const km_relays *r, uint16_t index);
/* Sends, or keeps it for a moment while the relay is being connected to. 0, or an errno for what
 * was dropped. */
int km_relays_send(km_relays *r, const km_path_key *to, const uint8_t *data, size_t len,
                   size_t segment, uint8_t ecn);

/* Urls of the configured relays, in their order. */
size_t km_relays_configured(const km_relays *r, const char **ret, size_t cap);
/* What all of them share, for probes. 0, KM_ERR_NOMEM or KM_ERR_RELAY_TLS. */
KM_NODISCARD int km_relays_clients(km_relays *r, struct km_relay_clients **ret, km_errinfo *err);
/* Urls of the relays at which we can be reached now, home first. */
size_t km_relays_home(const km_relays *r, const char **ret, size_t cap);
void km_relays_network_changed(km_relays *r);

#endif /* KM_MAGICSOCK_RELAYS_H */
