/* A connection in virtual time: ngtcp2 on both sides, packets that nobody encrypts, a relay and a
 * direct way between them. The accepting side sends without end; the dialling side is behind a NAT
 * and moves. What happens comes from a seed. */
#ifndef KM_TEST_ENDPOINT_MOVING_H
#define KM_TEST_ENDPOINT_MOVING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ngtcp2/ngtcp2.h>

#define MOVING_MS ((uint64_t)1000000)
#define MOVING_S (1000 * MOVING_MS)

/* One direction of a way. What finds no room in its queue is lost. */
typedef struct moving_link {
  uint64_t delay;
  uint64_t rate; /* bytes a second */
  uint64_t room; /* bytes */
  uint32_t lost_permille;
  bool cut;
  uint64_t free_at;
} moving_link;

typedef enum moving_way { MOVING_RELAY, MOVING_DIRECT } moving_way;

typedef struct moving_datagram moving_datagram;

typedef struct moving_side {
  struct moving *world;
  ngtcp2_conn *conn;
  bool server;
  const ngtcp2_path *batch;
  uint8_t hello[512]; /* transport parameters of the peer */
  size_t hello_len;
} moving_side;

typedef struct moving {
  uint64_t now, random;
  moving_side client, server;
  moving_link links[2][2]; /* of a way: to the client, to the server */
  uint16_t port;           /* the NAT's, of the direct way; 0: the next packet gets a fresh one */
  uint16_t last_port;
  uint16_t relayed; /* the dialling side's newest local address of the relay's way */
  moving_datagram *queue;
  size_t queued;
  uint64_t order;
  bool completed; /* both sides */
  int64_t stream;
  uint64_t received, received_at; /* bytes of the transfer */
  uint64_t longest, longest_at;   /* time without any more */
  uint64_t heard;                 /* datagrams that reached the accepting side */
} moving;

void moving_open(moving *m, uint64_t seed);
void moving_close(moving *m);
void moving_run(moving *m, uint64_t until);
uint64_t moving_random(moving *m, uint64_t below);
moving_way moving_now_on(const moving_side *s);
/* The NAT drops the mapping of the direct way. */
void moving_rebind(moving *m);
/* The dialling side goes there, at once or, with `prove`, when QUIC proved the path. False: it may
 * not yet. */
bool moving_go(moving *m, moving_way way, bool prove);

#endif /* KM_TEST_ENDPOINT_MOVING_H */
