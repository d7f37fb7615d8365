/* One socket out of many: UDP over IPv4 and IPv6, and relays.
 *
 * The endpoint asks for paths, sends on them, and is told what arrived from where. It never sees
 * a descriptor. Everything runs on the loop thread. Nothing here knows QUIC beyond the first byte
 * of a packet. */
#ifndef KM_MAGICSOCK_MAGICSOCK_H
#define KM_MAGICSOCK_MAGICSOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/env.h"
#include "base/io/loop_io.h"
#include "magicsock/path.h"

#include <keymesh/id.h>

typedef struct km_magicsock km_magicsock;

#define KM_MAGICSOCK_MAX_SOCKETS 16  /* slots, including old ones that still carry paths */
#define KM_MAGICSOCK_MAX_SPRAY 239   /* extra sockets beside them, for guessing ports */
#define KM_MAGICSOCK_MAX_BATCH 65535 /* bytes in one send */
#define KM_MIXED_MAX_CANDIDATES 40   /* 32 direct + 8 relays */

/* Datagrams of one sender that the kernel handed over together: `len` bytes in segments of
 * `segment` bytes, the last may be shorter. Valid during the callback. QUIC packets only: what the
 * first byte marks as something else (fixed bit clear) goes to those who watch for it. */
typedef struct km_rx_batch {
  const uint8_t *data;
  size_t len;
  size_t segment;
  uint8_t ecn; /* the two ECN bits of the IP header, 0 when unknown */
  km_path_key from;
} km_rx_batch;

/* Which relays to use, and who wants to know. */
typedef struct km_magicsock_relay_config {
  const km_secret_key *key; /* outlives the magicsock */
  const char *ca_file;      /* NULL: the system's trust store. Copied */
  const char *token;        /* for the relays of `urls` only; NULL: none. Copied */
  uint64_t check_ns;        /* of silence, then home is asked whether it is there; 0: a second */
  const char *const *urls;  /* normalised; one of them becomes home. Copied */
  size_t url_count;         /* KM_ADDR_MAX_RELAYS at most */
  /* Where others find us changed: see km_magicsock_home. May call everything but free. */
  void (*on_home)(void *ctx);
  /* The connection to a relay was lost: paths over it lead nowhere for a while. */
  void (*on_lost)(void *ctx, uint16_t relay);
  /* The relay says that this peer is not there any more. */
  void (*on_gone)(void *ctx, uint16_t relay, const km_id *peer);
} km_magicsock_relay_config;

typedef struct km_magicsock_config {
  const km_env *env; /* outlives the magicsock */
  km_loop *loop;
  const km_udp_addr *bind; /* count 0: 0.0.0.0:0, and [::]:0 if the system has IPv6 */
  size_t bind_count;
  bool gso; /* UDP_SEGMENT and UDP_GRO where the kernel can */
  bool ecn;
  size_t max_paths; /* living paths; beyond it km_magicsock_path gives KM_ERR_LIMIT */
  /* A batch arrived. May call everything but km_magicsock_free. */
  void (*on_rx)(void *ctx, const km_rx_batch *batch);
  /* All that was ready has been handed over: the time to write answers. */
  void (*on_rx_done)(void *ctx);
  /* A socket that was blocked can send again. */
  void (*on_writable)(void *ctx);
  void *ctx;
  const km_magicsock_relay_config *relay; /* NULL: none, not even those of addresses */
} km_magicsock_config;

/* Binds the sockets. Errors as km_endpoint_open names them; `err` names the address. */
KM_NODISCARD int km_magicsock_new(km_magicsock **ret, const km_magicsock_config *config,
                                  km_errinfo *err);
/* Closes the sockets and frees it. All path references must be gone. NULL does nothing. */
void km_magicsock_free(km_magicsock *ms);

/* Bound addresses of the current sockets, with the real ports. */
size_t km_magicsock_bound(const km_magicsock *ms, km_udp_addr *ret, size_t cap);
/* The addresses peers can try: bound ones, a wildcard counted with all interfaces that are up;
 * loopback only when there is nothing else. */
size_t km_magicsock_candidates(const km_magicsock *ms, km_udp_addr *ret, size_t cap);
/* The bound address of the socket a direct path uses; family 0 for others. */
km_udp_addr km_magicsock_local_of(const km_magicsock *ms, const km_path *path);

/* Binds one more socket, which becomes the one that new paths of its family use. Older ones of the
 * family stay as long as a path refers to them, then they close by themselves. */
KM_NODISCARD int km_magicsock_rebind(km_magicsock *ms, const km_udp_addr *bind, km_errinfo *err);

/* Whether nobody said what to bind: then a fresh port is as good as the one there is. */
bool km_magicsock_bound_to_any(const km_magicsock *ms);
/* The key under which `remote` is reached through the current socket of its family.
 * KM_ERR_NO_NETWORK when there is no such socket (an IPv6 address without IPv6), KM_ERR_BAD_ADDR
 * for what cannot be sent to: no family, port 0, a mapped address. */
KM_NODISCARD int km_magicsock_key(const km_magicsock *ms, const km_udp_addr *remote,
                                  km_path_key *ret);
/* The key under which `peer` is reached through a relay, by its normalised url.
 * 0, KM_ERR_NO_NETWORK (relays are not used), KM_ERR_LIMIT, KM_ERR_NOMEM, KM_ERR_BAD_RELAY_URL. */
KM_NODISCARD int km_magicsock_relay_key(km_magicsock *ms, const char *url, const km_id *peer,
                                        km_path_key *ret);
/* The same, of a relay that nobody vouches for: KM_RELAYS_MAX_STRANGERS of them are known at most,
 * as long as a path goes through them. */
KM_NODISCARD int km_magicsock_stranger_relay_key(km_magicsock *ms, const char *url,
                                                 const km_id *peer, km_path_key *ret);
/* Whether this relay is one of ours, or one that a path goes through now. */
bool km_magicsock_knows_relay(const km_magicsock *ms, const char *url);
/* The url of a relay path; NULL for others. */
const char *km_magicsock_relay_url(const km_magicsock *ms, const km_path_key *key);
/* Whether we are connected to the relay of a path. */
bool km_magicsock_relay_is_up(const km_magicsock *ms, const km_path_key *key);
/* A round trip to the relay of a path, also while we are connecting to it; 0: not known. */
uint64_t km_magicsock_relay_round_trip(const km_magicsock *ms, const km_path_key *key);
/* Why the relay of a path cannot be used now, in a sentence; NULL when it can, and for others. */
const char *km_magicsock_relay_trouble(const km_magicsock *ms, const km_path_key *key);
/* Urls of the relays of the configuration, in its order. */
size_t km_magicsock_own_relays(const km_magicsock *ms, const char **ret, size_t cap);
/* What probes of relays need. 0, KM_ERR_NO_NETWORK (relays are not used), KM_ERR_NOMEM or
 * KM_ERR_RELAY_TLS. */
struct km_relay_clients; /* relay/client.h */
KM_NODISCARD int km_magicsock_relay_clients(km_magicsock *ms, struct km_relay_clients **ret,
                                            km_errinfo *err);
/* Urls of the relays at which we can be reached now: home, then its standby. */
size_t km_magicsock_home(const km_magicsock *ms, const char **ret, size_t cap);
/* Addresses or routes of this machine changed: relays are checked or dialled at once, sockets that
 * died are opened anew. */
void km_magicsock_network_changed(km_magicsock *ms);
/* A number for the local socket of a direct key: 0 when it is the one that km_magicsock_key takes
 * for that address now. And the key of an address through such a socket: 0, or the errors of
 * km_magicsock_key; KM_ERR_CLOSED when the socket is gone. */
uint32_t km_magicsock_via(const km_magicsock *ms, const km_path_key *key);
KM_NODISCARD int km_magicsock_key_via(const km_magicsock *ms, const km_udp_addr *remote,
                                      uint32_t via, km_path_key *ret);
/* Opens up to `cap` extra sockets for `owner`, for NATs that give each socket a port of its own.
 * They receive, and send what is sent through their number. Returns how many there are. */
size_t km_magicsock_spray(km_magicsock *ms, const void *owner, uint8_t family, uint32_t *ret_vias,
                          size_t cap);
/* Closes those of the owner that no path uses; the others close when none does. */
void km_magicsock_spray_end(km_magicsock *ms, const void *owner);
/* The living path of a key, without a reference; NULL when there is none. */
km_path *km_magicsock_find(const km_magicsock *ms, const km_path_key *key);
/* The path of a key, made if need be, with one reference more.
 * 0, KM_ERR_LIMIT, KM_ERR_NOMEM, KM_ERR_CLOSED (the socket is gone) or KM_ERR_INVALID (no key). */
KM_NODISCARD int km_magicsock_path(km_magicsock *ms, const km_path_key *key, km_path **ret);
void km_path_ref(km_path *path);
void km_path_unref(km_magicsock *ms, km_path *path);
size_t km_magicsock_path_count(const km_magicsock *ms);

/* A mixed path over `count` candidates (their keys), with one reference. What is sent on it goes
 * to every candidate until km_mixed_answered names one. Released with km_path_unref. */
KM_NODISCARD int km_mixed_new(km_magicsock *ms, const km_path_key *candidates, size_t count,
                              km_path **ret);
/* One more candidate, found later; a known one changes nothing. 0, KM_ERR_LIMIT, KM_ERR_NOMEM.
 *
 * A candidate that nobody vouches for has an allowance: so many packets are sent to it before it
 * answers, in all, and of all mixed paths together KM_STRANGERS_PER_SECOND: who tells us addresses
 * cannot make us flood others. What is beyond is not sent there. */
#define KM_MIXED_UNLIMITED UINT32_MAX
#define KM_STRANGERS_PER_SECOND 300
#define KM_STRANGERS_BURST 1000
KM_NODISCARD int km_mixed_add(km_magicsock *ms, km_path *mixed, const km_path_key *candidate);
KM_NODISCARD int km_mixed_add_stranger(km_magicsock *ms, km_path *mixed,
                                       const km_path_key *candidate, uint32_t allowance);
/* Sets the allowance of a candidate, tells what is left of it (KM_MIXED_UNLIMITED of none). */
void km_mixed_allow(km_path *mixed, const km_path_key *candidate, uint32_t packets);
uint32_t km_mixed_allowance(const km_path *mixed, const km_path_key *candidate);
/* Lets go of a candidate; not of the one that answered. False: there is none such. */
bool km_mixed_remove(km_magicsock *ms, km_path *mixed, const km_path_key *candidate);
/* Whether candidates are still being looked for: then what was sent last is sent to a new one
 * too. */
void km_mixed_grows(km_magicsock *ms, km_path *mixed, bool grows);
/* Lets go of sockets that were replaced: candidates through them go through the current ones from
 * now on. With `keep_current` the one that answered stays as it is. */
void km_mixed_refresh(km_magicsock *ms, km_path *mixed, bool keep_current);
/* The candidate with this key, NULL if it is none. */
km_path *km_mixed_candidate(const km_path *mixed, const km_path_key *key);
/* From now on what is sent goes to `candidate` only; NULL: to all again. */
void km_mixed_answered(km_path *mixed, km_path *candidate);
/* The one that answered, or NULL. */
km_path *km_mixed_current(const km_path *mixed);
size_t km_mixed_count(const km_path *mixed);
km_path *km_mixed_at(const km_path *mixed, size_t index);

/* False while the socket under the path waits for room: produce nothing for it now. A mixed path
 * can send when any of its targets can. */
bool km_path_can_send(const km_magicsock *ms, const km_path *path);

/* Sends `len` bytes as datagrams of `segment` bytes (the last may be shorter; `segment` == `len`
 * for one), with one system call where the kernel can. Never fails for the caller: what the kernel
 * takes later is copied and kept (one batch a socket), what it refuses (unreachable, too long,
 * firewall) is dropped and counted as the network would, with path->last_errno set. */
void km_magicsock_send(km_magicsock *ms, km_path *path, const uint8_t *data, size_t len,
                       size_t segment, uint8_t ecn);

/* Sends one datagram to a source without keeping a path: Retry, version negotiation, reset. */
void km_magicsock_reply(km_magicsock *ms, const km_path_key *to, const uint8_t *data, size_t len);

/* One datagram that is no QUIC, from `from`; valid during the call. `fn` may call everything but
 * km_magicsock_free. One watcher of a kind; NULL: none, such packets are dropped. */
typedef void (*km_magicsock_side_fn)(void *ctx, const km_path_key *from, const uint8_t *data,
                                     size_t len);
void km_magicsock_watch_stun(km_magicsock *ms, km_magicsock_side_fn fn,
                             void *ctx); /* direct ones */
void km_magicsock_watch_disco(km_magicsock *ms, km_magicsock_side_fn fn, void *ctx);

typedef struct km_magicsock_stats {
  uint64_t rx_packets, rx_bytes, rx_batches; /* of any kind; batches are the kernel's */
  uint64_t tx_packets, tx_bytes, tx_batches; /* what the kernel took; batches are system calls */
  uint64_t rx_not_quic;                      /* datagrams that on_rx was spared */
  uint64_t rx_truncated;                     /* datagrams longer than a buffer */
  uint64_t tx_blocked;                       /* batches that had to wait */
  uint64_t tx_errors;                        /* packets dropped, whatever the reason */
} km_magicsock_stats;
void km_magicsock_get_stats(const km_magicsock *ms, km_magicsock_stats *ret);

#endif /* KM_MAGICSOCK_MAGICSOCK_H */
