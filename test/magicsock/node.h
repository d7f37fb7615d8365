/* For the tests of magicsock/: a magicsock on real loopback sockets that writes down what its
 * callbacks were told, and system calls that fail on demand. */
#ifndef KM_TEST_MAGICSOCK_NODE_H
#define KM_TEST_MAGICSOCK_NODE_H

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "magicsock/magicsock_impl.h"

/* System calls that go through to the kernel unless told to fail. A count of UINT_MAX: for ever. */
typedef struct faults {
  km_udp_calls calls; /* hand this to node_open */
  int send_errno;
  unsigned send_passes;  /* so many sending calls work, */
  unsigned send_fails;   /* then so many fail */
  bool send_gso_only;    /* only those with UDP_SEGMENT */
  size_t send_longer;    /* only datagrams (single or segments) longer than this; 0: all */
  unsigned send_at_most; /* datagrams one sendmmsg takes; 0: as many as the kernel does */
  int recv_errno;
  unsigned recv_fails;
  unsigned recv_cut;               /* so many receiving calls say that the datagram did not fit */
  int socket_errno, socket_domain; /* socket() fails for one domain; 0 for all */
  int bind_errno;
  int option_errno, option_level, option_name; /* setsockopt() fails for one option */
  unsigned send_calls, gso_calls, recv_calls;
  size_t most_segments, most_bytes; /* of one call with UDP_SEGMENT */
} faults;

void faults_init(faults *f);

typedef struct packet {
  km_path_key from;
  uint8_t ecn;
  uint8_t *data;
  size_t len;
} packet;

typedef struct node {
  km_magicsock *ms;
  packet *packets;
  size_t count, cap;
  unsigned batches, done_calls, writable_calls;
  unsigned since_done, most_between_done; /* packets handed over before on_rx_done */
  void (*on_rx)(struct node *n, const km_rx_batch *batch);
  void (*on_writable)(struct node *n);
  void *ctx; /* of the two above */
} node;

typedef struct node_options {
  const char *bind[4]; /* none: the default */
  bool no_gso, no_ecn;
  size_t max_paths; /* 0: 64 */
  const km_udp_driver *driver;
  faults *faults;
  const km_env *env;
} node_options;

/* The loop all nodes of a test live on: made by node_setup, gone with node_teardown. */
extern km_loop *test_loop;
int node_setup(void **state);
int node_teardown(void **state);

/* km_magicsock_new's result. */
int node_try(node *n, const node_options *options, km_errinfo *err);
void node_open(node *n, const node_options *options);
void node_close(node *n);
void node_forget(node *n); /* what arrived so far */
km_udp_addr node_addr(const node *n,
                      uint8_t family); /* its first bound one; loopback if a wildcard */
km_magicsock_stats node_stats(const node *n);

km_udp_addr addr_of(const char *text);
bool have_ipv6(void);
/* The path from `n` to an address, with one reference. */
km_path *path_to(node *n, km_udp_addr to);

/* Packets whose contents tell their number: one short-header byte, the number, a pattern. */
#define PACKET_MIN 5
void packet_fill(uint8_t *data, size_t len, uint32_t number);
/* `len` bytes of packets of `segment` bytes, numbered from `first`. */
void packets_fill(uint8_t *data, size_t len, size_t segment, uint32_t first);
/* Everything in `n->packets` is numbered `first`, first + 1, ..., complete and unharmed, and
 * makes `len` bytes. */
void packets_expect(const node *n, size_t len, size_t segment, uint32_t first);

/* Runs the loop until the condition holds. The bound is for broken code only. */
#define WAIT_FOR(condition)                                                                        \
  do {                                                                                             \
    km_ts wait_end_ = km_clock_now() + 30 * KM_NS_PER_S;                                           \
    while (!(condition) && km_clock_now() < wait_end_) {                                           \
      km_loop_run_once(test_loop, 100);                                                            \
    }                                                                                              \
    assert_true(condition);                                                                        \
  } while (0)

/* A plain socket beside the library, bound to an address. */
int raw_open(const char *bind_text, km_udp_addr *ret_bound);
void raw_send(int fd, km_udp_addr to, const void *data, size_t len);
/* The next datagram; -1 when none came in a long time. */
ssize_t raw_recv(int fd, void *buf, size_t cap, km_udp_addr *ret_from);

#endif /* KM_TEST_MAGICSOCK_NODE_H */
