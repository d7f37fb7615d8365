/* A path: one way to reach a peer, shown to QUIC as a pair of socket addresses.
 *
 * QUIC (ngtcp2) tells paths apart by (local, remote) address and lets a client migrate only when
 * the local address changes. Many of our paths share one socket, so every path has a synthetic
 * local address of its own, which carries the path's index; it never leaves the process. Remote
 * addresses are real for direct paths and mapped (magicsock/mapped_addr.h) for all others. */
#ifndef KM_MAGICSOCK_PATH_H
#define KM_MAGICSOCK_PATH_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include <keymesh/addr.h>

#include "base/env.h"

#define KM_PATHS_MAX ((size_t)((1u << 20) - 1)) /* living paths: an index has 20 bits */

typedef enum km_way {
  KM_WAY_DIRECT, /* a UDP address, through one of our sockets */
  KM_WAY_RELAY,  /* (relay, endpoint id); carried by the relay client */
  KM_WAY_MIXED   /* all candidates of a peer at once, until one answers */
} km_way;

/* What identifies a path that packets can come from. Zero it before filling: it is hashed whole. */
typedef struct km_path_key {
  uint8_t way;                /* KM_WAY_DIRECT or KM_WAY_RELAY */
  uint8_t socket;             /* direct: slot of the socket */
  uint16_t relay;             /* relay: index of the relay */
  uint32_t socket_generation; /* direct: tells a re-bound slot from its predecessor */
  /* Direct: where the packets go. Relay: the mapped address of (relay, peer), so that every source
   * has an address, the same one whenever it is met; see km_relays_key. */
  km_udp_addr remote;
  km_id peer; /* relay */
  /* Direct, of packets that came to a wildcard socket: the address of ours that they were sent to.
   * Answers leave from it, since a peer takes them from nowhere else. All zero: the system chooses.
   * Compare keys with km_path_key_matches, never by memcmp: an unset local_ip matches every one,
   * so a path that was dialled is found for the packets that answer on it. */
  uint8_t local_ip[16];
} km_path_key;

/* Same way to the same peer; see local_ip. */
bool km_path_key_matches(const km_path_key *a, const km_path_key *b);

/* Room for the two kinds of address we hand to QUIC. */
typedef union km_sockaddr {
  struct sockaddr sa;
  struct sockaddr_in in;
  struct sockaddr_in6 in6;
} km_sockaddr;

typedef struct km_path {
  uint32_t index;     /* unique among living paths, never 0 */
  km_path_key key;    /* way KM_WAY_MIXED: only `way` is set */
  km_sockaddr local;  /* synthetic; carries `index` */
  km_sockaddr remote; /* real (direct) or mapped */
  socklen_t remote_len;
  int last_errno; /* of the last send that failed here, 0 after one that worked */
  uint64_t tx_bytes, tx_packets;
  uint64_t rx_bytes, rx_packets; /* counted by km_path_received */
  uint32_t refs;
  struct km_path *next_in_bucket_; /* path_table.c's */
} km_path;

/* Length of the synthetic local address. */
#define KM_PATH_LOCAL_LEN ((socklen_t)sizeof(struct sockaddr_in6))

/* The path index inside a synthetic local address, 0 when it is none. */
uint32_t km_path_index_of(const struct sockaddr *local, socklen_t len);

static inline void km_path_received(km_path *path, size_t packets, size_t bytes) {
  path->rx_packets += packets;
  path->rx_bytes += bytes;
}

#endif /* KM_MAGICSOCK_PATH_H */
