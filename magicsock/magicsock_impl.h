/* The inside of a km_magicsock: its sockets, and who asks them for what. magicsock/ only, and its
 * tests. */
#ifndef KM_MAGICSOCK_MAGICSOCK_IMPL_H
#define KM_MAGICSOCK_MAGICSOCK_IMPL_H

#include "base/token_bucket.h"
#include "magicsock/magicsock.h"
#include "magicsock/path_table.h"
#include "magicsock/udp.h"

/* free -> current -> old -> free; rebinding makes the current sockets of a family old, the last
 * path makes an old one free. Extra ones (km_magicsock_spray) are never current: free -> extra ->
 * old. All can die, when their descriptor becomes useless; a dead one keeps its slot as long as
 * paths refer to it. */
typedef enum km_socket_state {
  KM_SOCKET_FREE,
  KM_SOCKET_CURRENT,
  KM_SOCKET_EXTRA,
  KM_SOCKET_OLD,
  KM_SOCKET_DEAD
} km_socket_state;

/* What a socket with a kept batch waits for. */
typedef enum km_socket_wait {
  KM_SOCKET_READY,         /* nothing is kept */
  KM_SOCKET_WAIT_WRITABLE, /* its own buffer is full: poll tells when it is not */
  KM_SOCKET_WAIT_RETRY     /* a queue below it is full: retry_at */
} km_socket_wait;

/* A batch that the kernel did not take yet. */
typedef struct km_kept_batch {
  uint8_t *data; /* owned */
  size_t len, segment;
  uint8_t ecn;
  bool has_local_ip;
  uint8_t local_ip[16];
  km_sockaddr to;
  socklen_t to_len;
  uint32_t path; /* index of the path it belongs to, 0: none */
} km_kept_batch;

typedef struct km_socket {
  km_magicsock *ms;
  km_socket_state state;
  bool busy;     /* its events are being handled: it is closed after that */
  bool replaced; /* it is dead, and another one was opened in its stead */
  uint8_t slot;
  const void *owner;   /* of an extra one */
  uint32_t generation; /* a new one for each socket */
  uint32_t refs;       /* direct paths that use it */
  km_udp udp;
  km_poll *poll;
  km_socket_wait wait;
  km_kept_batch kept;
  km_ts retry_at;
  unsigned retries; /* in a row without a packet getting through */
} km_socket;

/* Who takes packets of a kind that is no QUIC. */
typedef struct km_side_watch {
  km_magicsock_side_fn fn;
  void *ctx;
} km_side_watch;

struct km_magicsock {
  km_magicsock_config config; /* `bind` is not kept */
  const km_udp_driver *driver;
  const km_udp_calls *calls;
  km_udp_rx_pool *pool;
  km_path_table *paths;
  struct km_relays *relays; /* NULL: not used */
  km_deadline *retry;       /* the earliest retry_at; now, when wake_writers */
  bool wake_writers;        /* a socket that had a batch kept has gone */
  bool bound_to_any;        /* nobody said where: both families, where the system has them */
  km_socket sockets[KM_MAGICSOCK_MAX_SOCKETS];
  km_socket *spray; /* the slots after them, or NULL */
  size_t spray_count;
  uint32_t generation; /* of the last socket that was opened */
  km_side_watch stun, disco;
  km_token_bucket strangers; /* packets to candidates with an allowance */
  km_magicsock_stats stats;
};

/* Datagrams of `segment` bytes each that are no QUIC: to who watches for them. */
void km_magicsock_side(km_magicsock *ms, const km_path_key *from, const uint8_t *data, size_t len,
                       size_t segment);

/* km_magicsock_new with a driver and system calls of the caller's choice; NULL: the default. */
KM_NODISCARD int km_magicsock_new_with(km_magicsock **ret, const km_magicsock_config *config,
                                       const km_udp_driver *driver, const km_udp_calls *calls,
                                       km_errinfo *err);

/* magicsock/socket_io.c */

/* Opens a socket in a free slot, current at once. KM_ERR_LIMIT when there is no slot. */
KM_NODISCARD int km_socket_open(km_magicsock *ms, const km_udp_addr *bind, km_socket **ret,
                                km_errinfo *err);
/* The same in this slot, which is free. */
KM_NODISCARD int km_socket_open_at(km_magicsock *ms, size_t slot, const km_udp_addr *bind,
                                   km_socket_state state, km_errinfo *err);
static inline size_t km_socket_slots(const km_magicsock *ms) {
  return KM_MAGICSOCK_MAX_SOCKETS + ms->spray_count;
}
static inline km_socket *km_socket_at(const km_magicsock *ms, size_t slot) {
  km_magicsock *m = (km_magicsock *)(uintptr_t)ms;
  return slot < KM_MAGICSOCK_MAX_SOCKETS ? &m->sockets[slot]
                                         : &m->spray[slot - KM_MAGICSOCK_MAX_SOCKETS];
}
void km_socket_close(km_socket *s);
/* Frees the slot when nothing needs the socket any more. */
void km_socket_settle(km_socket *s);
/* The living or dead socket a direct key names; NULL when it is gone. */
km_socket *km_socket_of(const km_magicsock *ms, const km_path_key *key);
/* `path` is NULL for a batch that belongs to none. */
void km_socket_send(km_socket *s, const km_udp_tx *tx, km_path *path);
/* The deadline's callback: ctx is the km_magicsock. */
void km_sockets_retry(void *ctx);

static inline bool km_socket_is_open(const km_socket *s) {
  return s->state == KM_SOCKET_CURRENT || s->state == KM_SOCKET_EXTRA || s->state == KM_SOCKET_OLD;
}

#endif /* KM_MAGICSOCK_MAGICSOCK_IMPL_H */
