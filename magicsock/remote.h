/* The peers that connections want direct ways to: each has a punch core (holepunch/punch.h), which
 * all connections to it share. This is the shell: it opens and seals disco packets, sends what the
 * cores ask for, tells them where we may be reached, and tells connections what they found. */
#ifndef KM_MAGICSOCK_REMOTE_H
#define KM_MAGICSOCK_REMOTE_H

#include "base/list.h"
#include "holepunch/disco_box.h"
#include "holepunch/punch.h"
#include "magicsock/gather.h"

#define KM_REMOTE_MAX_RELAYS 3 /* through which a peer is called */

typedef struct km_remotes km_remotes;
typedef struct km_remote km_remote;

typedef struct km_remotes_config {
  const km_env *env; /* outlives it */
  km_loop *loop;
  km_magicsock *ms;
  const km_secret_key *key;        /* outlives it */
  const char *const *stun_servers; /* copied */
  size_t stun_count;
  bool learn_servers; /* as km_gather_config has it */
  bool port_mapping;
  /* Where we can be reached changed; may be NULL. */
  void (*on_local_change)(void *ctx);
  void *ctx;
} km_remotes_config;

KM_NODISCARD int km_remotes_new(km_remotes **ret, const km_remotes_config *config, km_errinfo *err);
void km_remotes_free(km_remotes *all); /* everybody has left */

void km_remotes_network_changed(km_remotes *all);
void km_remotes_local_changed(km_remotes *all);           /* our home relay is another one */
void km_remotes_rebound(km_remotes *all, uint8_t family); /* sockets of it were bound anew */
km_gather *km_remotes_gather(km_remotes *all);
void km_remotes_get_stats(const km_remotes *all, km_disco_box_stats *ret);
/* Attempts to find a way to a peer, and successes, of all peers so far. */
void km_remotes_count_attempts(const km_remotes *all, uint64_t *ret_attempts,
                               uint64_t *ret_successes);

/* One who wants ways to a peer: a connection. Part of it. */
typedef struct km_remote_user {
  km_list node;
  km_remote *remote; /* NULL: has not joined */
  bool uses, told;
  bool lost;        /* what it uses is dead, as far as probes tell */
  km_path_key used; /* the direct path it uses */
  km_punch_way used_way;
  /* Ways opened or died. From the loop, at the end of a turn; may leave. */
  void (*on_change)(struct km_remote_user *user);
} km_remote_user;

void km_remote_user_init(km_remote_user *user, void (*on_change)(km_remote_user *user));
/* Joins those who want ways to that peer. Again does nothing. 0, KM_ERR_LIMIT, KM_ERR_NOMEM or
 * KM_ERR_BAD_ID. */
KM_NODISCARD int km_remote_join(km_remotes *all, const km_id *peer, km_remote_user *user);
/* Begins to look, with what was told of relays and addresses before; on_change follows. */
void km_remote_start(km_remote_user *user);
void km_remote_leave(km_remote_user *user);

/* The rest is harmless for a user that has not joined. */

/* An address of the peer that was given. */
void km_remote_add(km_remote_user *user, const km_udp_addr *addr);
/* The peer can be called through this relay path; a round trip takes `rtt_ns` (0: not known). */
void km_remote_relay(km_remote_user *user, const km_path_key *relay, uint64_t rtt_ns);
/* The relay paths through which the peer is called, by index. False: no more. */
bool km_remote_relay_at(const km_remote_user *user, size_t index, km_path_key *ret);
/* Whether the peer was heard through this one of them (km_remote_heard): it is no mere claim. */
bool km_remote_relay_was_heard(const km_remote_user *user, const km_path_key *relay);
/* The path that the user uses; NULL or a relay's: none that has to be watched. */
void km_remote_use(km_remote_user *user, const km_path_key *key);
/* Something genuine of the proven peer came on a path. */
void km_remote_heard(km_remote_user *user, const km_path_key *key);
/* Nothing comes though it should. */
void km_remote_suspect(km_remote_user *user); /* all ways: what took one may have taken others */

/* NULL when it has not joined. */
const km_punch *km_remote_punch(const km_remote_user *user);
/* What is known of the way under a path. */
bool km_remote_find(const km_remote_user *user, const km_path_key *key, km_punch_way_info *ret);
/* The key of a way. 0, or the errors of km_magicsock_key_via. */
KM_NODISCARD int km_remote_key(const km_remote_user *user, const km_punch_way *way,
                               km_path_key *ret);

#endif /* KM_MAGICSOCK_REMOTE_H */
