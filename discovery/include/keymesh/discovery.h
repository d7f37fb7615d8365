/**
 * @file keymesh/discovery.h
 * Where is the endpoint with this key? A set of sources that answer, and that are told of ours.
 *
 * Make a km_discovery on the loop of an endpoint, add sources, and name it in the endpoint's
 * options: then km_endpoint_dial takes an id alone, and the endpoint publishes where it can be
 * reached. Or use it by itself: look ids up, watch who is on the network.
 *
 * Sources that are here: an address book in memory, a file, a cache of what worked, DNS (TXT
 * records as iroh has them), PKARR relays (signed packets over HTTP), and mDNS (the local network,
 * without any server). All are asked at once and none waits for another. Programs can bring their
 * own (km_source_ops).
 *
 * What a source says is a hint: a peer proves its key when it is dialled. Only PKARR packets, key
 * name records (keymesh/record.h) and signed announcements are proven to come from the peer.
 *
 * Threads: a km_discovery and all that belongs to it live on the thread that runs the loop.
 * Callbacks run from the loop, never from inside a call of yours; they may call everything here.
 * With a state file the loop waits for the disk: at most 25 ms for another process that writes to
 * it, and until a packet's timestamp is safe (fsync) before a PKARR relay is sent one.
 *
 * Processes: several may use one state file. A child of fork(2) must not use a km_discovery of its
 * parent's, nor free it: make one after fork, or call exec or _exit.
 *
 * @code
 *   km_discovery *d;
 *   km_discovery_options options = {.size = sizeof options, .secret_key = key};
 *   km_discovery_new(&d, loop, &options, &err);
 *   km_discovery_add_mdns(d, NULL, &err);
 *   km_dns_options dns = {.size = sizeof dns};
 *   km_discovery_add_dns(d, &dns, &err);
 *   endpoint_options.discovery = d;
 * @endcode
 */
#ifndef KEYMESH_DISCOVERY_H
#define KEYMESH_DISCOVERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <keymesh/addr.h>
#include <keymesh/error.h>
#include <keymesh/export.h>
#include <keymesh/id.h>
#include <keymesh/log.h>
#include <keymesh/loop.h>

KM_BEGIN_DECLS

typedef struct km_discovery km_discovery;

#define KM_USER_DATA_MAX 245        /**< bytes of user data, UTF-8 (iroh's limit) */
#define KM_DISCOVERY_MAX_SOURCES 16 /**< in one km_discovery */
#define KM_RECORD_BYTES_MAX 600     /**< of a signed key name record */

/** iroh's public servers, for those who use its public relays. */
#define KM_DNS_ORIGIN_IROH "dns.iroh.link"
#define KM_PKARR_RELAY_IROH "https://dns.iroh.link/pkarr"
/** Its servers for trying things out. */
#define KM_DNS_ORIGIN_IROH_STAGING "staging-dns.iroh.link"
#define KM_PKARR_RELAY_IROH_STAGING "https://staging-dns.iroh.link/pkarr"

/** What an endpoint says of itself. */
typedef struct km_peer_info {
  size_t size;           /**< sizeof this struct */
  const km_addr *addr;   /**< id, addresses, relays */
  const char *user_data; /**< at most KM_USER_DATA_MAX bytes of UTF-8, for the application's use;
                              NULL = none */
  const uint8_t *record; /**< a signed key name record (km_record_sign); NULL = none */
  size_t record_len;     /**< of it, at most KM_RECORD_BYTES_MAX */
} km_peer_info;

/** What a source says of a peer. Valid during the callback. */
typedef struct km_found {
  size_t size;         /**< sizeof this struct, as the library knows it */
  const char *source;  /**< the source's name: "mdns", "dns", "pkarr", "cache", "file", "memory" */
  const km_addr *addr; /**< maybe without any way to reach it */
  const char *user_data; /**< NULL = none */
  const uint8_t *record; /**< a key name record as it came; km_record_read checks it; NULL = none */
  size_t record_len;
  int64_t published_ms; /**< Unix time in milliseconds, by the peer's clock; 0 = it did not say */
  uint32_t age_s;       /**< since the source heard it; 0 = just now */
  uint32_t valid_s;     /**< how long it may be believed from now on; 0 = nobody knows */
  bool proven;          /**< signed by the peer's key, and the signature was checked */
  bool worked;          /**< from here the peer was reached there before, and proved its key (the
                             cache) */
} km_found;

/** Options of a km_discovery. */
typedef struct km_discovery_options {
  size_t size;                     /**< sizeof this struct */
  const km_secret_key *secret_key; /**< copied; signs what is published; NULL: nothing that needs a
                                        signature can be published */
  const char *state_file;          /**< SQLite database for the cache and for what must survive a
                                        restart (timestamps of packets); made with mode 0600 in an
                                        existing directory; NULL = in memory only */
  km_log_fn log;                   /**< NULL = no log */
  void *log_ctx;
  const km_log_filter *log_filter; /**< copied; NULL = info */
} km_discovery_options;

/**
 * @param[out] ret  free with km_discovery_free
 * @param loop      must outlive it
 * @param options   NULL takes the defaults: no key, no state file, no log
 * @return 0, KM_ERR_INVALID, KM_ERR_FILE_NOT_FOUND, KM_ERR_PERMISSION, KM_ERR_NO_SPACE,
 *   KM_ERR_STORE, KM_ERR_STORE_BUSY (another process keeps it for itself), KM_ERR_STORE_DAMAGED (a
 *   state file that is no database of ours is left as it is), KM_ERR_SYSTEM or KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int km_discovery_new(km_discovery **ret, km_loop *loop,
                                            const km_discovery_options *options, km_errinfo *err);

/** Ends all look-ups without a callback, withdraws what was published where that can be done at
 *  once (mDNS says goodbye), and frees it. Best after km_endpoint_close of the endpoint that uses
 *  it, whose on_closed need not have come; an endpoint that is open goes on without, and its dials
 *  that wait for an address end when their time is over. Not from the callbacks of a source of your
 *  own. NULL does nothing. */
KM_EXPORT void km_discovery_free(km_discovery *discovery);

/* --- sources that come with the library ------------------------------------------------------- */

/**
 * Puts a peer into the address book in memory: from a ticket, from a configuration. What is there
 * of it is replaced. It is the one source that is always there.
 * @return 0, KM_ERR_INVALID (user data too long or no UTF-8) or KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int km_discovery_put(km_discovery *discovery, const km_addr *addr,
                                            const char *user_data);
/** Takes it out again. Returns 0 or KM_ERR_NOT_FOUND. */
KM_EXPORT int km_discovery_remove(km_discovery *discovery, const km_id *id);

/**
 * A file of peers, one a line: a ticket, or an id followed by "IP:PORT" and relay urls, separated
 * by blanks; '#' begins a comment. It is read again when it changed. Lines that cannot be read are
 * logged with their number, the others count.
 * @return 0, KM_ERR_FILE_NOT_FOUND, KM_ERR_PERMISSION, KM_ERR_INVALID (no regular file), KM_ERR_IO,
 *   KM_ERR_LIMIT (16 sources, 16 MiB, 65,536 lines) or KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int km_discovery_add_file(km_discovery *discovery, const char *path,
                                                 km_errinfo *err);

/**
 * Remembers where peers were reached (km_discovery_worked, which an endpoint calls) and what they
 * signed, for 30 days, and answers with it at once: in the state file, or in memory without one.
 * What other sources said without a proof is kept in memory, for ten minutes at most and not beyond
 * its own `valid_s`. What it tells is `worked`, `proven`, or neither, in that order.
 * @param max_peers  the least recently used ones make room; 0 takes 4,096
 * @return 0, KM_ERR_STATE (there is one), KM_ERR_LIMIT, KM_ERR_STORE or KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int km_discovery_add_cache(km_discovery *discovery, size_t max_peers,
                                                  km_errinfo *err);

/** DNS: TXT records of `_iroh.<z-base-32 id>.<origin>`. */
typedef struct km_dns_options {
  size_t size;                /**< sizeof this struct */
  const char *const *origins; /**< domains to ask under, at most 8; none = KM_DNS_ORIGIN_IROH */
  size_t origin_count;
  const char *const *servers; /**< "IP", "IP:PORT", "[v6]:PORT", at most 8; none = the system's,
                                   followed when its configuration changes */
  size_t server_count;
  uint32_t timeout_ms; /**< of a look-up with all its repetitions; 0 = 10,000 */
} km_dns_options;

/** @param options  NULL takes the defaults
 *  @return 0, KM_ERR_INVALID (the text names the value), KM_ERR_LIMIT, KM_ERR_SYSTEM, KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int km_discovery_add_dns(km_discovery *discovery,
                                                const km_dns_options *options, km_errinfo *err);

/** PKARR relays: km-dns, iroh-dns-server, and those of pubky. */
typedef struct km_pkarr_options {
  size_t size;               /**< sizeof this struct */
  const char *const *relays; /**< http(s) urls to which "/<z-base-32 id>" is appended, at most 8;
                                  none = KM_PKARR_RELAY_IROH */
  size_t relay_count;
  bool no_publish;      /**< only look ids up */
  bool no_resolve;      /**< only publish */
  bool publish_direct;  /**< IP addresses too; otherwise relays only, as iroh: the world need not
                                know where somebody lives */
  uint32_t republish_s; /**< 10 to 86,400; 0 = 300 */
  uint32_t ttl_s;       /**< of the DNS records in the packet, 1 to 86,400; 0 = 30 */
  uint32_t timeout_ms;  /**< of one request; 0 = 10,000 */
  const char *ca_file;  /**< PEM file of the authorities for https; NULL = the system's */
} km_pkarr_options;

/** @param options  NULL takes the defaults: publishes at and asks KM_PKARR_RELAY_IROH
 *  @return 0, KM_ERR_INVALID, KM_ERR_LIMIT, KM_ERR_SERVER_TLS (ca_file), KM_ERR_FILE_NOT_FOUND,
 *    KM_ERR_SYSTEM or KM_ERR_NOMEM */
KM_EXPORT KM_NODISCARD int km_discovery_add_pkarr(km_discovery *discovery,
                                                  const km_pkarr_options *options, km_errinfo *err);

/** Whom mDNS believes. */
typedef enum km_mdns_mode {
  KM_MDNS_OPEN,   /**< everybody, as iroh does; iroh's nodes and ours find each other */
  KM_MDNS_SIGNED, /**< announcements that carry a fresh signature of the key they are about */
  KM_MDNS_TRUSTED /**< the same, of the ids in `trusted` only; and only they are answered */
} km_mdns_mode;

/** mDNS (RFC 6762, 6763) in the form of iroh's: service `_irohv1._udp.local`. */
typedef struct km_mdns_options {
  size_t size; /**< sizeof this struct */
  km_mdns_mode mode;
  const km_id *trusted; /**< for KM_MDNS_TRUSTED, at most 1,024; copied */
  size_t trusted_count;
  bool no_publish;               /**< look and listen only */
  const char *const *interfaces; /**< names, at most 16; none = all that are up, can multicast and
                                      are not loopback, followed as they come and go */
  size_t interface_count;
} km_mdns_options;

/** @param options  NULL takes the defaults: open, all interfaces
 *  @return 0, KM_ERR_INVALID, KM_ERR_LIMIT, KM_ERR_ADDR_IN_USE (another program holds port 5353 for
 *    itself), KM_ERR_PERMISSION, KM_ERR_SYSTEM or KM_ERR_NOMEM */
KM_EXPORT KM_NODISCARD int km_discovery_add_mdns(km_discovery *discovery,
                                                 const km_mdns_options *options, km_errinfo *err);

/* --- use -------------------------------------------------------------------------------------- */

/**
 * Tells all sources that publish. Each takes what it may: PKARR leaves IP addresses out unless told
 * otherwise. A later call replaces an earlier one; the same again costs nothing. NULL withdraws.
 * An endpoint calls it whenever where it can be reached changes, and withdraws with
 * km_endpoint_close.
 * @return 0, KM_ERR_INVALID (too long, no UTF-8, not the id of the secret key) or KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int km_discovery_publish(km_discovery *discovery, const km_peer_info *info,
                                                km_errinfo *err);

/** Sets user data and record of what an endpoint publishes; NULL: none. Both are copied.
 *  @return 0, KM_ERR_INVALID or KM_ERR_NOMEM */
KM_EXPORT KM_NODISCARD int km_discovery_set_user_data(km_discovery *discovery, const char *text);
KM_EXPORT KM_NODISCARD int km_discovery_set_record(km_discovery *discovery, const uint8_t *record,
                                                   size_t len);

/** How publishing goes at one source. */
typedef struct km_publish_state {
  size_t size;        /**< sizeof this struct, set by the caller */
  const char *source; /**< static */
  const char *where;  /**< the relay's url; "" for sources without servers */
  bool wanted;        /**< there is something to publish */
  bool done;          /**< the present state is published there */
  uint32_t failures;  /**< in a row */
  km_errinfo error;   /**< the last failure; code 0 = none */
} km_publish_state;

/** The state of the place `index`, from 0. 0 or KM_ERR_NOT_FOUND (no such place). */
KM_EXPORT int km_discovery_publish_state(const km_discovery *discovery, size_t index,
                                         km_publish_state *ret);

typedef struct km_lookup km_lookup;

typedef struct km_lookup_callbacks {
  size_t size; /**< sizeof this struct */
  /** One answer. Several may come, of one source too; each stands for itself. */
  void (*on_found)(void *ctx, km_lookup *lookup, const km_found *found);
  /** No more answers come; the last callback. `found` of them came that have a way to reach the
   *  peer. `err` is 0, or where there was none it says in a sentence what each source had to say
   *  (KM_ERR_NOT_FOUND, KM_ERR_TIMEOUT, ...). */
  void (*on_done)(void *ctx, km_lookup *lookup, size_t found, const km_errinfo *err);
} km_lookup_callbacks;

/**
 * Asks all sources at once. It ends when all of them have, mDNS after ten seconds.
 * @param[out] ret  valid until on_done or km_lookup_cancel
 * @return 0, KM_ERR_INVALID, KM_ERR_LIMIT (1,024 look-ups are under way) or KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int km_discovery_lookup(km_discovery *discovery, km_lookup **ret,
                                               const km_id *id,
                                               const km_lookup_callbacks *callbacks, void *ctx,
                                               km_errinfo *err);
/** Ends it without a callback. NULL does nothing. */
KM_EXPORT void km_lookup_cancel(km_lookup *lookup);

typedef struct km_watch km_watch;

typedef struct km_watch_callbacks {
  size_t size; /**< sizeof this struct */
  /** A peer is there, or what is known of it changed. */
  void (*on_found)(void *ctx, const km_found *found);
  /** It said goodbye, or was silent for too long. */
  void (*on_lost)(void *ctx, const km_id *id, const char *source);
} km_watch_callbacks;

/** Follows who comes and goes, as far as sources can tell (mDNS). Those who are there already are
 *  told first. Ended by km_watch_cancel. 0, KM_ERR_INVALID, KM_ERR_LIMIT (64 are there) or
 *  KM_ERR_NOMEM */
KM_EXPORT KM_NODISCARD int km_discovery_watch(km_discovery *discovery, km_watch **ret,
                                              const km_watch_callbacks *callbacks, void *ctx,
                                              km_errinfo *err);
KM_EXPORT void km_watch_cancel(km_watch *watch); /**< NULL does nothing */

/** A peer was reached: what worked is remembered (km_discovery_add_cache). */
KM_EXPORT void km_discovery_worked(km_discovery *discovery, const km_addr *addr);

/* --- sources of your own ---------------------------------------------------------------------- */

typedef struct km_source km_source; /**< a source within a km_discovery */
typedef struct km_query km_query;   /**< one look-up at one source */

/** What a source can do; members may be NULL. Called from the loop. */
typedef struct km_source_ops {
  size_t size;      /**< sizeof this struct */
  const char *name; /**< 1 to 16 lower-case letters; static */
  /** Publishes, or withdraws (NULL). Valid during the call. */
  void (*publish)(void *ctx, const km_peer_info *info);
  /** Begins to look `id` up, and calls km_query_found any number of times and km_query_done once,
   *  from within or later. */
  void (*resolve)(void *ctx, km_query *query, const km_id *id);
  /** The query ends now: neither function may be called for it any more. Not called once it is
   *  done. */
  void (*cancel)(void *ctx, km_query *query);
  /** From now on (or no more) somebody watches: km_source_found and km_source_lost are welcome.
   *  With `on` those who are known are told again. */
  void (*watch)(void *ctx, bool on);
  /** Something was reached, or found by another source, for those who remember. What nobody asked
   *  for is only told when it is proven. */
  void (*learn)(void *ctx, const km_found *found, bool worked);
  /** The state of the place `index` of this source. 0 or KM_ERR_NOT_FOUND. */
  int (*publish_state)(void *ctx, size_t index, km_publish_state *ret);
  /** The last call: frees `ctx`. Queries were cancelled before. */
  void (*close)(void *ctx);
} km_source_ops;

/**
 * Adds a source; it lives until the km_discovery is freed.
 * @param[out] ret  may be NULL; for km_source_found
 * @return 0, KM_ERR_INVALID (size, name), KM_ERR_LIMIT or KM_ERR_NOMEM; `close` does not run then
 */
KM_EXPORT KM_NODISCARD int km_discovery_add(km_discovery *discovery, km_source **ret,
                                            const km_source_ops *ops, void *ctx, km_errinfo *err);

/** An answer; copied. `source` in it is filled in. What has another id is dropped, and so is one
 *  whose `size` does not reach to `user_data` at least. */
KM_EXPORT void km_query_found(km_query *query, const km_found *found);
/** No more answers. `err` may be NULL: it went well. */
KM_EXPORT void km_query_done(km_query *query, const km_errinfo *err);
/** A pointer for the source's own use, NULL at first. */
KM_EXPORT void km_query_set_data(km_query *query, void *data);
KM_EXPORT void *km_query_data(const km_query *query);

/** A peer is there, or changed, for those who watch; and nobody asked. */
KM_EXPORT void km_source_found(km_source *source, const km_found *found);
KM_EXPORT void km_source_lost(km_source *source, const km_id *id);

KM_END_DECLS

#endif /* KEYMESH_DISCOVERY_H */
