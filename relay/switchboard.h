/* The relay's core: who is there, and whose packet goes where. Pure: messages and the time in;
 * bytes to write, in each client's queue, out.
 *
 * The newest client of an id is active and receives; older ones stay, may send, and are told
 * (iroh-relay/src/server/clients.rs). A packet for somebody who is not there is dropped. */
#ifndef KM_RELAY_SWITCHBOARD_H
#define KM_RELAY_SWITCHBOARD_H

#include "relay/ping.h"
#include "relay/switch_queue.h"
#include "base/token_bucket.h"

#define KM_SWITCH_CORRESPONDENTS 64 /* newest peers of a client, told when it is gone */

typedef struct km_switch_client {
  km_id id;
  km_relay_version version;
  bool entered, active;
  bool rate_limited;                       /* it was, once at least */
  bool in_debt;                            /* it is: nothing should be read */
  bool dirty;                              /* in the switchboard's list */
  struct km_switch_client *older, *newer;  /* of the same id; the newest, the head, is active */
  struct km_switch_client *next_in_bucket; /* heads only */
  struct km_switch_client *next_dirty, *prev_dirty;
  struct km_switch_client *last_to; /* whom the last packet went to; see `epoch` */
  uint64_t last_to_epoch;
  km_id *correspondents; /* a ring, made with the first packet */
  unsigned correspondent_count, correspondent_next;
  km_switch_queue out;
  km_token_bucket rx;
  km_relay_ping ping;
  uint64_t ping_jitter; /* on top of the interval, so that not all are pinged at once */
} km_switch_client;

typedef struct km_switch_stats {
  uint64_t rx_messages, rx_bytes;     /* of clients, all kinds */
  uint64_t datagrams, datagram_bytes; /* forwarded: in a queue */
  uint64_t dropped_absent;            /* nobody of that id */
  uint64_t dropped_full;              /* its queue, or the pool */
  uint64_t dropped_others;            /* other messages without room */
  uint64_t others;                    /* other messages to clients: in a queue */
  uint64_t gone_sent, pings_rx, pongs_rx, pings_tx;
  uint64_t replaced;             /* clients that a newer one of the same id took over from */
  uint64_t restored;             /* clients that became active again when it left */
  uint64_t rate_limited;         /* times that reading stopped */
  uint64_t rate_limited_clients; /* clients that this happened to */
  uint64_t bad_messages;
  uint64_t clients, ids; /* now */
} km_switch_stats;

typedef struct km_switchboard {
  const km_env *env;
  km_switch_client **buckets;
  size_t bucket_count, ids;
  uint64_t epoch; /* changes when anybody leaves: what was looked up before may be gone */
  km_switch_client *dirty_first, *dirty_last;
  km_switch_pool pool;
  km_switch_stats stats;
  uint8_t hash_key[16];
  bool restarting; /* all are told to go: nobody is told that others went */
} km_switchboard;

/* 0 or KM_ERR_NOMEM. `max_queued`: bytes that wait for slow clients, over all of them. */
KM_NODISCARD int km_switchboard_init(km_switchboard *sb, const km_env *env, size_t max_queued);
void km_switchboard_clear(km_switchboard *sb); /* all clients must have left */

/* A client logged in; `c` is zeroed, but for `rx` (km_token_bucket_init). 0 or KM_ERR_NOMEM. */
KM_NODISCARD int km_switchboard_enter(km_switchboard *sb, km_switch_client *c, const km_id *id,
                                      km_relay_version version, km_ts now);
/* It is gone. Its peers are told if it was the last of its id, else another one of that id will do
 * it; its queue is emptied. */
void km_switchboard_leave(km_switchboard *sb, km_switch_client *c);

/* A whole message of it. 0 or KM_ERR_RELAY_PROTOCOL: it has to be cut off. */
KM_NODISCARD int km_switchboard_receive(km_switchboard *sb, km_switch_client *c, const uint8_t *msg,
                                        size_t len, km_ts now, km_errinfo *err);
/* `bytes` were read from its connection. False: stop reading until c->rx has paid its debt. */
bool km_switchboard_read(km_switchboard *sb, km_switch_client *c, uint64_t bytes, km_ts now);

/* It is there, whatever it says; or it could not be heard until now, as nothing was read. */
void km_switchboard_heard(km_switch_client *c, km_ts now);
/* What is due of its pings; false: it did not answer and has to be cut off. */
bool km_switchboard_tick(km_switchboard *sb, km_switch_client *c, km_ts now);
km_ts km_switchboard_deadline(const km_switch_client *c);

/* Tells all clients, once each, that the relay is about to restart. */
void km_switchboard_restarting(km_switchboard *sb, uint32_t reconnect_in_ms, uint32_t try_for_ms);

/* The next client whose queue got something to write, or that was marked; NULL: none. */
km_switch_client *km_switchboard_next_dirty(km_switchboard *sb);
void km_switchboard_mark(km_switchboard *sb, km_switch_client *c);

#endif /* KM_RELAY_SWITCHBOARD_H */
