/* What the tests of whole meshes share: nodes (an endpoint, a store in memory, a mesh), each on a
 * loop of its own, so that one can be frozen as a killed process is: it answers nothing and says no
 * goodbye. And raw peers, that speak whatever bytes a test gives them. */
#ifndef KM_TEST_MESH_MESH_LAB_H
#define KM_TEST_MESH_MESH_LAB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <keymesh/keymesh.h>

enum { LAB_NODES = 8, LAB_HISTORY = 4096, LAB_PATIENCE_S = 60, LAB_RAWS = 128 };

struct mesh_lab;

/* A state that on_peer told of. */
typedef struct told {
  km_id id;
  km_peer_state state;
} told;

typedef struct node {
  struct mesh_lab *lab;
  km_loop *loop;
  km_secret_key *key;
  km_id id;
  km_endpoint *ep;
  km_store *store;
  km_mesh *mesh;
  km_udp_addr addr; /* stays the same when it is started again */
  km_endpoint_options ep_opt;
  km_mesh_options opt;
  km_mesh_peer peers[LAB_NODES];
  size_t peer_count;
  bool frozen;
  told history[LAB_HISTORY];
  size_t told_count;
  unsigned requests;
  km_id requester;
  char requester_name[KM_PEER_NAME_MAX + 1];
  void (*on_peer_hook)(struct node *n, const km_peer_status *s);
} node;

/* A connection of a raw peer, and what came on its control stream. */
typedef struct raw {
  struct mesh_lab *lab;
  km_endpoint *ep; /* its own key */
  km_loop *loop;
  km_conn *conn; /* NULL after on_closed */
  km_stream *control;
  bool connected, closed;
  km_close_info info;
  char reason[1025];
  uint8_t rx[8192];
  size_t rx_len;
  unsigned streams, resets;
  unsigned pushes; /* of these streams the unidirectional ones */
  bool keeps_push; /* they are not reset at once; `push` is the one that is open */
  km_stream *push;
  unsigned accepted; /* connections; `conn` is the last one */
} raw;

typedef struct mesh_lab {
  node *nodes[LAB_NODES];
  size_t node_count;
  raw *raws[LAB_RAWS];
  size_t raw_count;
  uint8_t floor; /* of the first byte of the first node's id */
} mesh_lab;

void mesh_lab_open(mesh_lab *l);
void mesh_lab_close(mesh_lab *l);

/* A node with quick timings that is not started yet. Ids ascend in the order of the calls: each
 * node has a higher one than those before. */
node *node_new(mesh_lab *l);
/* Configures `to` as a peer of `n`, before the start. */
void node_peer(node *n, const node *to, bool dial);
void node_start(node *n);
void node_stop(node *n);                         /* in good order; the store stays */
const char *node_error(node *n, const node *of); /* "" without one */
km_peer_status node_status(node *n, const node *of);
bool node_up(node *n, const node *of);
bool node_was(const node *n, const node *of, km_peer_state state);
km_mesh_stats node_stats(node *n);
/* Connections of the mesh protocol between two that live, as `n` sees it. */
unsigned node_conns(node *n);

/* A peer of one's own making, on the loop of `n`. */
raw *raw_dial(mesh_lab *l, node *n, uint8_t key);
/* A peer that waits to be dialled, on the loop of `n`, which gets it as a configured one. Its
 * answers are up to the test. */
raw *raw_listen(mesh_lab *l, node *n, uint8_t key);
/* One more connection with the key of `r`. */
raw *raw_dial_again(raw *r, node *n);
void raw_say(raw *r, const char *json);
void raw_bytes(raw *r, const void *bytes, size_t len);
/* Opens a stream and writes to it. */
km_stream *raw_stream(raw *r, bool bidi, const void *bytes, size_t len);
bool raw_heard(const raw *r, const char *text); /* in what came */
km_id raw_id(const raw *r);

/* A turn of all loops that are not frozen. */
void mesh_lab_turn(mesh_lab *l);
void mesh_lab_run(mesh_lab *l, unsigned ms);
uint64_t mesh_lab_ms(void);

#define WAIT(l, condition)                                                                         \
  do {                                                                                             \
    uint64_t until_ = mesh_lab_ms() + 1000u * LAB_PATIENCE_S;                                      \
    while (!(condition)) {                                                                         \
      if (mesh_lab_ms() > until_) {                                                                \
        fail_msg("%s:%d: waited in vain for: %s", __FILE__, __LINE__, #condition);                 \
      }                                                                                            \
      mesh_lab_turn(l);                                                                            \
    }                                                                                              \
  } while (0)

#define HELLO_OF(name, version)                                                                    \
  "{\"type\":\"HELLO\",\"node_id\":\"" name "\",\"version\":\"" version                            \
  "\",\"capabilities\":{\"shares\":[],\"features\":[]}}"

#define ACK_OF(name, more)                                                                         \
  "{\"type\":\"ACK\",\"ok\":true,\"reason\":null,\"peer_id\":\"" name "\"" more                    \
  ",\"capabilities\":{\"shares\":[],\"features\":[]}}"
#define BEAT "{\"type\":\"HEARTBEAT\",\"ts\":1}"

#endif /* KM_TEST_MESH_MESH_LAB_H */
