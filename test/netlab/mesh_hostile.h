/* km-netlab-mesh-hostile: peers with keys of their own and proper connections, which then do to a
 * mesh node what no honest peer does. Files:
 *   mesh_hostile_io.c        the process: keys, endpoints, connections, streams
 *   mesh_hostile_frames.c    frames of keymesh/1, well-formed or not
 *   mesh_hostile_commands.c  the commands, a line of stdin each */
#ifndef KM_TEST_NETLAB_MESH_HOSTILE_H
#define KM_TEST_NETLAB_MESH_HOSTILE_H

#include <cjson/cJSON.h>
#include <keymesh/keymesh.h>

#include "base/io/loop_io.h"
#include "endpoint/mesh/push.h"
#include "store/entry.h"
#include "store/sync_wire.h"

enum { HOSTILE_PEERS = 256, HOSTILE_RECORDED = 64, HOSTILE_SECRET_MAX = 64 };

typedef struct hostile hostile;
typedef struct hostile_peer hostile_peer;

/* What a stream is for. */
typedef enum hostile_role {
  ROLE_CONTROL,
  ROLE_PUSH, /* ours */
  ROLE_SYNC, /* ours: every answer is another question, if `endless` */
  ROLE_THEIRS
} hostile_role;

/* Bytes that grow. */
typedef struct hostile_bytes {
  uint8_t *bytes;
  size_t len, cap;
} hostile_bytes;

/* A stream of a peer, until its on_closed. */
typedef struct hostile_stream {
  hostile_peer *peer;
  km_stream *stream;
  hostile_role role;
  bool endless, refused;
  bool begun; /* something came */
  hostile_bytes in;
  hostile_bytes out; /* what the stream did not take yet, from out_at on */
  size_t out_at;
  uint8_t tail[HOSTILE_SECRET_MAX]; /* the last bytes that came */
  size_t tail_len;
} hostile_stream;

struct hostile_peer {
  hostile *owner;
  km_secret_key *key;
  km_endpoint *endpoint; /* NULL: not open */
  km_conn *conn;         /* NULL: none */
  hostile_stream *control, *push;
  bool said_hello;
  unsigned endless_left;
};

struct hostile {
  km_loop *loop;
  km_poll *input;
  hostile_bytes line;
  km_addr *victim;
  km_udp_addr from; /* where new endpoints are bound */
  uint32_t seed;
  hostile_peer peers[HOSTILE_PEERS];
  size_t peer_count;
  bool quiet, over; /* quiet: no heartbeats */
  char secret[HOSTILE_SECRET_MAX];
  hostile_bytes recorded[HOSTILE_RECORDED]; /* ENTRY frames that were pushed to us */
  size_t recorded_count;
  unsigned entry_number; /* of all, so that no two clocks are the same */
  /* what a report says */
  uint64_t bytes_in, resets, stops, rounds, refusals, sessions, entries_in;
  bool saw_secret;
};

/* mesh_hostile_io.c */
/* Prints {"event":name, ...} and frees it; `more` may be NULL. */
void hostile_tell(const char *name, cJSON *more);
_Noreturn void hostile_die(const char *what);
void hostile_add(hostile_bytes *to, const void *bytes, size_t len);
/* The key of the peer with this index. */
km_secret_key *hostile_key(const hostile *h, uint32_t index);
/* One more key, with an endpoint and a connection of its own. */
void hostile_dial_new(hostile *h);
void hostile_dial(hostile_peer *p);
hostile_stream *hostile_open(hostile_peer *p, hostile_role role, bool bidi);
/* Sends now what there is room for, and the rest later. */
void hostile_send(hostile_stream *s, const void *bytes, size_t len);
void hostile_control(hostile_peer *p, const char *json);
/* What came on a stream, as far as it is understood. */
void hostile_received(hostile_stream *s, const uint8_t *data, size_t len);
void hostile_close(hostile *h);

/* mesh_hostile_commands.c */
void hostile_command(hostile *h, char *line);
/* The next of the endless synchronizations, if any is left. */
void hostile_endless_next(hostile_peer *p);

/* mesh_hostile_frames.c */
typedef struct hostile_entry {
  const char *share, *key;
  size_t value_len;
  int64_t ahead_ms;
  const km_id *author; /* NULL: the peer's own key */
  bool spoil;          /* its signature */
} hostile_entry;

void hostile_frame(hostile_bytes *to, uint8_t type, const void *body, size_t len);
void hostile_entry_frame(hostile_peer *p, hostile_bytes *to, const hostile_entry *e);
/* A message of its own to the victim; each has another id. */
void hostile_message_frame(hostile_peer *p, hostile_bytes *to);
/* Opens a synchronization with a question that has no right answer, and asks it again. */
void hostile_sync_open(hostile_bytes *to, const char *share);
void hostile_sync_again(hostile_bytes *to);

#endif /* KM_TEST_NETLAB_MESH_HOSTILE_H */
