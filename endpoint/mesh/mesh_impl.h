/* Inside of a km_mesh: its peers, and one link for each connection. Files:
 *   mesh.c          options, open, close, totals
 *   peers.c         the table of peers: who is dialled when, which link is the peer's
 *   link.c          one connection: control stream, session, which streams belong to whom
 *   gate.c          who is let in, who may read and write what
 *   push.c          changes and messages as they happen, both ways
 *   sync_streams.c  synchronizations, both ways */
#ifndef KM_ENDPOINT_MESH_MESH_IMPL_H
#define KM_ENDPOINT_MESH_MESH_IMPL_H

#include "base/io/loop_io.h"
#include "base/list.h"
#include "base/timer_heap.h"
#include "endpoint/mesh/backoff.h"
#include "endpoint/mesh/guard.h"
#include "endpoint/mesh/session.h"
#include "store/kv_sync.h"
#include "store/outbox.h"
#include "store/sync.h"
#include "store/trust_db.h"

/* The first byte of every stream but the control stream, which is the first bidirectional one of
 * who dialled. */
#define KM_STREAM_PUSH 0x50 /* unidirectional: frames, see push.h */
#define KM_STREAM_SYNC 0x53 /* bidirectional: store/sync.h */

/* Application codes of a close (docs/protocol-mesh.md). */
enum {
  KM_MESH_BYE = 0,
  KM_MESH_REFUSED = 1,   /* the reason stands in the ACK */
  KM_MESH_DUPLICATE = 2, /* another connection between the two lives on */
  KM_MESH_BROKEN = 3,
  KM_MESH_SILENT = 4,
  KM_MESH_CUT = 5,    /* too many faults */
  KM_MESH_REVOKED = 6 /* no longer trusted */
};

#define KM_MPEER_BUCKETS 1024

typedef struct km_link km_link;
typedef struct km_push km_push;
typedef struct km_sync_streams km_sync_streams;

/* A peer, configured or come by itself. Found by id; freed when it is not configured and has no
 * link (its guard's faults are kept for as long as it is cut off). */
typedef struct km_mpeer {
  km_mesh *mesh;
  km_id id;
  bool configured, dial, by_trust;
  char *name;    /* configured; NULL */
  km_addr *addr; /* configured; NULL */
  km_mesh_grant *grants;
  size_t grant_count;
  km_peer_state state;
  km_backoff backoff;
  km_timer_node retry; /* in mesh->timers */
  int64_t next_attempt_ms;
  km_conn *dialling; /* until its session is up; then link->conn */
  km_link *link;     /* the one that is up; NULL */
  char *last_error;  /* NULL */
  /* kept from the last session, for who asks when it is gone */
  char *node_id, *remote_version;
  km_capabilities remote;
  int64_t last_hello_ms, last_ack_ms, last_heartbeat_ms, connected_ms, last_sync_ms;
  uint64_t rtt_us, jitter_us;
  uint64_t entries_in, entries_out, messages_in, messages_out;
  km_guard guard;
  km_token_bucket pace;  /* of messages to it: as fast as it takes them without a debt */
  char *reached;         /* where its connection goes or went; NULL */
  bool report_due;       /* on_peer, from mesh->work */
  bool refused_here;     /* we do not let it in */
  struct km_mpeer *next; /* in the mesh's list, configured ones first */
  struct km_mpeer *same_bucket;
} km_mpeer;

/* One connection that speaks keymesh/1. */
struct km_link {
  km_mesh *mesh;
  km_mpeer *peer; /* NULL on the accepting side until the key is known */
  km_conn *conn;
  km_stream *control;
  km_session *session;
  km_capabilities allowed; /* what we said in our HELLO or ACK */
  bool dialled, up, closing;
  km_timer_node tick;     /* of the session, in mesh->timers */
  km_timer_node service;  /* of push and syncs (service.c), there too: room for both is reserved */
  km_push *push;          /* while up */
  km_sync_streams *syncs; /* while up */
  /* Its life: the session is up (session_up), both sides know that (up: services run). Of several
   * links of a peer one is peer->link; others wait for it to end or to be closed (peers.c). */
  bool session_up, proven, refusing, duplicate, refused;
  km_ts up_at, confirm_at, close_at; /* close_at: KM_TS_NEVER, or when it has to be gone */
  km_udp_addr source; /* km_guard_source of an accepted one that is not relayed; else family 0 */
  uint64_t code;      /* we closed it with */
  char why[192];      /* it ends, by us; "" */
  km_link *next;
};

struct km_mesh {
  const km_env *env;
  km_loop *loop;
  km_endpoint *endpoint;
  km_store *store;
  km_mesh_options options; /* lists are ours */
  char *node_id;
  uint64_t instance;
  km_mpeer *peers;
  km_mpeer *buckets[KM_MPEER_BUCKETS]; /* the same by id */
  size_t peer_count;
  km_link *links;
  km_timer_heap timers;
  km_deadline *deadline;
  km_defer *work; /* slices of syncs, signatures that were put off */
  km_mesh_stats stats;
  bool opening, closing;
  km_env own_env; /* env points to it */
  void *lists;    /* memory of what options points to */
  size_t link_count;
  km_timer_node sync_timer, hourly, recheck, check, readers;
  bool recheck_due, readers_due, reap_due, check_due;
  struct km_gate *gate;
  const char **allowed_names; /* share_count of them, for peer_status.c */
  char name_text[KM_PEER_NAME_MAX + 1], addr_text[KM_UDP_ADDR_TEXT_CAP]; /* the same */
};

/* peers.c */
km_mpeer *km_mpeer_find(const km_mesh *m, const km_id *id);
km_mpeer *km_mpeer_get(km_mesh *m, const km_id *id); /* made if there is none; NULL: no memory, or
                                                        KM_MESH_MAX_PEERS */
void km_mpeer_error(km_mpeer *p, const char *fmt, ...) KM_PRINTF(2, 3);
void km_mpeer_report(km_mpeer *p); /* on_peer, from mesh->work */
void km_mpeer_set_state(km_mpeer *p, km_peer_state state);
void km_mpeer_dial(km_mpeer *p); /* now, unless there is a connection or no reason for one */
/* What link.c tells. */
bool km_mpeer_is_duplicate(const km_link *l, uint64_t instance); /* of an accepted one, at HELLO */
void km_mpeer_session_up(km_link *l);
/* The other side knows that the session is up: `proven`, or it had the time to. */
void km_mpeer_confirmed(km_link *l, bool proven);
void km_mpeer_used(km_link *l); /* the other side opened a stream on it */
void km_mpeer_link_ended(km_link *l, const km_close_info *info); /* it is out of mesh->links */
void km_mpeer_keep_info(km_mpeer *p, const km_link *l);
/* What mesh.c asks for. */
void km_mpeers_reap(km_mesh *m);
void km_mpeers_report(km_mesh *m);
void km_mpeers_recheck(km_mesh *m);
void km_mpeers_free(km_mesh *m);
KM_NODISCARD int km_mpeer_add(km_mesh *m, const km_mesh_peer *peer, km_errinfo *err);

/* gate.c */
KM_NODISCARD int km_gate_open(km_mesh *m);
void km_gate_close(km_mesh *m);
void km_gate_changed(km_mesh *m);  /* trust changed */
void km_gate_requests(km_mesh *m); /* on_request, from mesh->work */
KM_NODISCARD int km_gate_set_readers(km_mesh *m, km_errinfo *err);
/* The same for one whose trust changed. `*ret_counted`: others may have been let in on its word,
 * and be readers no more. */
KM_NODISCARD int km_gate_set_reader(km_mesh *m, const km_id *peer, bool *ret_counted,
                                    km_errinfo *err);
bool km_gate_is_configured(const km_mesh *m, const km_id *id); /* or allowed there */
/* NULL: let in; else the reason. Takes note of requests and first uses. */
const char *km_gate_refuses(km_mesh *m, const km_id *peer, const char *node_id);
km_access km_gate_access(km_mesh *m, const km_id *peer, const char *share, const char **ret_reason);
/* Trusted by hand, approval or configuration. */
bool km_gate_counts(km_mesh *m, const km_id *peer);
/* Would be let in now; takes no note. */
bool km_gate_lets_in(km_mesh *m, const km_id *peer);
bool km_gate_takes_revocations(const km_mesh *m);

/* link.c */
KM_NODISCARD int km_link_dial(km_mpeer *p, km_errinfo *err);
extern const km_conn_callbacks km_link_accept_callbacks; /* their ctx is the mesh */
KM_NODISCARD int km_link_start_services(km_link *l);
void km_link_set_tick(km_link *l);
/* mesh_options.c */
KM_NODISCARD int km_mesh_options_copy(km_mesh *m, const km_mesh_options *from, km_errinfo *err);
KM_NODISCARD int km_mesh_text_check(const char *text, size_t max, const char *what,
                                    km_errinfo *err);
bool km_mesh_has_share(const km_mesh *m, const char *name, size_t *ret_place);
/* Room for the timers of all peers and links, and of one more each. */
KM_NODISCARD int km_mesh_reserve_timers(km_mesh *m);
/* Closes the connection. km_push_stop and km_sync_streams_stop follow from its on_closed, never
 * from inside this call: whoever calls it may be in the middle of their data. */
void km_link_close(km_link *l, uint64_t code, const char *reason);
/* A fault of the peer's; closes the link when it was one too many. False: it is being closed. */
bool km_link_fault(km_link *l, km_fault fault, const char *what);
/* True when the peer may read the share from us, and offers it, so that it is synchronized. */
bool km_link_shares(const km_link *l, const char *share);
void km_mesh_wake(km_mesh *m); /* arms mesh->timers' deadline anew */

/* push.c: started and stopped by link.c when the session is up and when it ends. */
KM_NODISCARD int km_push_start(km_link *l);
void km_push_stop(km_link *l);
void km_push_proven(
    km_link *l); /* the peer gave a sign: what it refused as too early begins anew */
void km_push_stream(km_link *l, km_stream *stream, const uint8_t *data, size_t len, bool fin);
/* From the store's hooks, by mesh.c: to all links that are up. `from` has it already. */
void km_push_change(km_mesh *m, const char *share, const km_item *item, const km_id *from);
void km_push_outbox(km_mesh *m, const km_id *to);
void km_push_statement(km_mesh *m, const km_statement *s, const km_id *from);
void km_push_request_statements(km_link *l);

/* sync_streams.c */
KM_NODISCARD int km_sync_streams_start(km_link *l); /* the side with the lower id begins */
void km_sync_streams_stop(km_link *l);
void km_sync_streams_incoming(km_link *l, km_stream *stream, const uint8_t *data, size_t len,
                              bool fin);
int km_sync_streams_now(km_link *l);
/* What waits for the clock: credit held back, sessions that stand still. */
km_ts km_push_next(const km_link *l);
void km_push_tick(km_link *l, km_ts now);
km_ts km_sync_streams_next(const km_link *l);
void km_sync_streams_tick(km_link *l, km_ts now);
/* service.c: sets l->service to the nearer of the two. */
void km_link_service_set(km_link *l);
/* Sends what the push queues hold: part of mesh->work. */
void km_push_work(km_link *l);
/* Work of a slice, about a millisecond. True: there is more. */
bool km_sync_streams_work(km_link *l);
bool km_sync_streams_busy(const km_link *l);

#endif /* KM_ENDPOINT_MESH_MESH_IMPL_H */
