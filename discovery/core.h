/* The inside of a km_discovery, for the files that make it up: discovery.c (life, sources),
 * publish.c, lookup.c, watch.c.
 *
 * All work is done by one deferred call, km_discovery_turn in discovery.c: sources are told of what
 * is published, of watchers and of new look-ups; then answers that came go to those who remember
 * and to callbacks. So callbacks and sources run from the loop, never inside each other, and what
 * a callback may do is simple: everything, also free the km_discovery, whose memory then stays
 * until the turn ends. */
#ifndef KM_DISCOVERY_CORE_H
#define KM_DISCOVERY_CORE_H

#include "base/list.h"
#include "discovery/answer.h"
#include "discovery/discovery_impl.h"
#include "discovery/id_map.h"
#include "discovery/memory_source.h"
#include "discovery/user.h"

#define KM_DISCOVERY_MAX_LOOKUPS 1024
#define KM_DISCOVERY_MAX_WATCHES 64
#define KM_DISCOVERY_MAX_LEARNT 1024 /* answers that wait for those who remember */

struct km_source {
  km_discovery *discovery;
  km_source_ops ops;
  void *ctx;
  size_t index;
  uint64_t publish_seen; /* the km_discovery's publish_changes when it was told */
  uint64_t watch_seen;   /* the same of watch_changes */
  bool published;        /* it was told of something */
  bool watched;          /* it was told that somebody watches */
};

struct km_discovery {
  km_env env;
  km_loop *loop;
  km_secret_key *key; /* NULL: none */
  bool used;
  km_discovery_user user; /* while it is used */
  km_discovery_state *state;
  km_defer *turn;
  uint8_t hash_key[KM_ANSWER_HASH_KEY];

  km_source sources[KM_DISCOVERY_MAX_SOURCES];
  size_t source_count;
  km_memory *memory;

  km_info *base;     /* what was published last; NULL: nothing */
  km_info *own;      /* the same with the settings below; what sources are told */
  km_info *settings; /* user data and record that were set; its address is meaningless */
  uint64_t publish_changes;

  km_list lookups; /* all that are under way */
  size_t lookup_count;
  km_list fresh;     /* those whose sources were not asked yet */
  km_list ready;     /* those with something to deliver */
  km_lookup *active; /* the one being asked for or delivered; NULL once it is gone */

  km_list watches;
  size_t watch_count;
  uint64_t watch_changes; /* counts those who came */
  uint64_t watch_round;   /* counts turns */
  km_watch *active_watch; /* the same as `active` */

  km_list learnt;
  size_t learnt_count;

  bool in_turn;
  bool closed; /* freed inside the turn, which frees the memory */
};

/* Has work done at the end of the loop's turn. */
void km_discovery_wake(km_discovery *d);

/* publish.c */
void km_discovery_tell_publish(km_discovery *d);
void km_discovery_withdraw(km_discovery *d);
void km_discovery_clear_publish(km_discovery *d);

/* An answer for those who remember; taken by reference. Dropped where nobody does. */
void km_discovery_learn(km_discovery *d, km_answer *answer);
/* Makes an answer of what `source` says; NULL where it is worth nothing or there is no memory. */
km_answer *km_discovery_answer(km_source *source, const km_found *found);

/* lookup.c */
void km_discovery_start_lookups(km_discovery *d);
void km_discovery_deliver_lookups(km_discovery *d);
void km_discovery_cancel_lookups(km_discovery *d);

/* watch.c */
void km_discovery_tell_watch(km_discovery *d);
void km_discovery_deliver_watches(km_discovery *d);
void km_discovery_cancel_watches(km_discovery *d);

/* The sentence of a look-up that found nothing (said.c). */
typedef struct km_said {
  const char *source;
  km_errinfo err; /* code 0: it had nothing to say */
} km_said;
void km_said_summary(const km_said *said, size_t count, km_errinfo *ret);

#endif /* KM_DISCOVERY_CORE_H */
