/* The inside of a km_conn and a km_stream. Included by endpoint/ only. */
#ifndef KM_ENDPOINT_CONN_IMPL_H
#define KM_ENDPOINT_CONN_IMPL_H

#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>

#include "endpoint/candidates.h"
#include "endpoint/endpoint_impl.h"
#include "endpoint/explain.h"
#include "endpoint/explain_notes.h"
#include "endpoint/quic_select.h"
#include "endpoint/stream_sched.h"

#define KM_CONN_MAX_PATHS 8     /* as iroh (iroh/src/socket.rs) */
#define KM_CONN_REASON_MAX 1024 /* bytes of a close reason kept or sent */
#define KM_PATH_TEXT_CAP 160
#define KM_CONN_MAX_WAITING_STREAMS 100 /* opened before the handshake was done */

/* handshake -> connected -> closing -> (freed); handshake -> closing. Only km_conn_begin_close and
 * km_conn_finish_close leave a state for closing and for freed. */
typedef enum km_conn_state {
  KM_CONN_HANDSHAKE, /* keys are not agreed yet */
  KM_CONN_CONNECTED, /* on_connected ran or is due: the peer's key is proven */
  KM_CONN_CLOSING    /* the reason is set; the end of the turn finishes it */
} km_conn_state;

/* A path as this connection shows it to ngtcp2. */
typedef struct km_quic_path {
  km_path *path; /* one reference */
  km_sockaddr local;
  km_ts last_rx;
  bool validated;
} km_quic_path;

typedef struct km_conn_datagram {
  struct km_conn_datagram *next;
  size_t len;
  uint8_t data[];
} km_conn_datagram;

/* What of the handshake is behind us. */
typedef struct km_conn_progress {
  bool completed; /* TLS is done, the peer's key proven */
  bool confirmed; /* RFC 9001 section 4.1.2 */
  bool half_open; /* counted as such: accepting side until `completed` */
  bool proven;    /* the client proved its address with a token */
  bool ticket_received, resumed;
} km_conn_progress;

struct km_conn {
  km_cid_owner owner; /* first: see cid_table.h */
  km_conn_state state;
  km_endpoint *ep;
  km_list all, dirty, blocked;
  km_timer_node timer;

  bool is_client;
  bool in_quic;                 /* ngtcp2 is on the stack: it must not be entered again */
  const ngtcp2_path *batch;     /* of the packets that are being written */
  bool reported_connected;      /* on_connected ran */
  bool bidi_wanted, uni_wanted; /* an open failed with KM_ERR_STREAM_LIMIT */
  bool datagrams_wanted;        /* a send failed with KM_ERR_AGAIN */
  bool early_offered;
  bool reset_seen; /* a stateless reset came */
  bool ecn_seen;   /* packets came with ECN marks */
  bool wrong_peer_seen, alpn_refused;
  bool key_update_due, migration_due; /* asked for while ngtcp2 was on the stack */
  km_conn_progress progress;
  km_early_state early;

  km_id remote_id;   /* dialled or proven */
  bool remote_known; /* proven */
  km_id reached_id;  /* the key that answered, when it was the wrong one */
  char *alpn;
  km_conn_callbacks cb;
  void *ctx;

  ngtcp2_conn *quic;
  ngtcp2_cid initial_dcid; /* server: the id that the client chose; length 0: none */
  struct WOLFSSL *ssl;     /* NULL once the handshake needs it no more */
  ngtcp2_crypto_conn_ref ref;
  km_ts tls_free_at;      /* when the handshake state may go, KM_TS_NEVER before */
  uint64_t ticket_number; /* server: of the one ticket that was opened, 0 = none */
  km_id ticket_peer; /* whom it was given to; not proven before the handshake resumes from it */
  const char *cipher, *group;
  struct km_qlog *qlog;

  km_quic_path paths[KM_CONN_MAX_PATHS];
  size_t path_count;
  km_path *mixed;     /* client: the path of the first flight, also in `paths` */
  bool mixed_final;   /* it has settled on the candidate that answered */
  km_path *answering; /* the candidate whose packet is being read, or NULL */
  km_path *current;   /* as last reported; no reference */
  km_path *probing;   /* a migration under way, or NULL; no reference */
  km_path_key migration_key;
  km_sockaddr server_local; /* server: the one local address of all paths */
  km_path_key first_key;    /* server: where the first packet came from */
  km_ts reopened_at;        /* all candidates were tried again; 0: never */
  uint64_t reopened_tx;     /* packets sent by then */
  km_ts waiting_since;      /* for an answer: nothing was in flight before */
  km_ts seek_at;            /* when to try for a direct way again */
  uint64_t seek_wait;       /* the last pause before that */
  size_t seek_index;        /* of the candidate that is next */
  km_ts prune_at;
  km_conn_select select;
  km_conn_notes notes; /* for explanations */

  struct km_stream *streams; /* all, newest first */
  size_t stream_count;
  struct km_stream *waiting_first, *waiting_last; /* opened, without an id yet */
  size_t waiting_count;
  km_stream_sched sched;

  km_conn_datagram *dgram_first, *dgram_last;
  uint32_t dgram_count;

  km_ts started;
  km_ts handshake_deadline; /* client: of all rounds of the dial */
  bool patient;             /* client: it may be put off (km_redial_longer) */
  km_ts patience;           /* client: when to stop waiting for other candidates (redial.h) */
  km_path_key responder;    /* client: who answered the first flight; see responded */
  km_path_key retry_from;   /* client: who sent the Retry; see retried */
  bool responded, retried;
  km_path_key *set_aside; /* client: direct candidates that the mixed path has not, or NULL */
  size_t set_aside_count;
  km_candidates *told;     /* client: the candidates that others named, or NULL (intake.h) */
  km_ts relays_at;         /* client: when claimed relays are tried */
  km_ts attempt_at;        /* client: when this round of the dial began */
  uint32_t rounds;         /* client: of the dial, after candidates that were wrong */
  km_ts asked_at;          /* client: for the last time, where the peer is */
  km_lookup *lookup;       /* client: where the peer is, is being asked; NULL: not now */
  km_close_info *verdict;  /* client: what the last wrong candidate did, or NULL */
  uint8_t *verdict_reason; /* that `verdict` points to */
  uint32_t keep_alive_ms;
  uint64_t handshake_us;
  uint64_t stream_tx, stream_rx, dgram_tx, dgram_rx, dgram_lost, key_preparations, migrations;

  ngtcp2_ccerr close_error; /* what CONNECTION_CLOSE says */
  bool close_silently;      /* send nothing: idle, draining, stateless reset */
  bool draining;            /* the peer closed: swallow what it still repeats */
  km_close_info close_info;
  uint8_t *close_reason;
};

/* A stream's own flags; the directions of a unidirectional one that do not exist are "done" from
 * the start. */
struct km_stream {
  struct km_stream *prev, *next; /* in km_conn.streams or in the waiting list */
  km_conn *conn;
  int64_t id; /* -1: waits for the handshake */
  km_stream_callbacks cb;
  void *ctx;
  km_sched_node sched;
  km_send_queue send;
  bool bidi, local, has_callbacks, waiting;
  bool fin_queued, fin_sent, fin_acked; /* sending side */
  bool fin_with_data; /* FIN went in the frame of the last byte: one acknowledgement for both */
  bool delivered;
  bool reset_sent, stopped, flow_blocked, wants_writable;
  bool stop_sent, reset_received, fin_received; /* receiving side */
  bool hold_credit, early;
  bool lost;                      /* it was of early data that was rejected: about to be finished */
  uint64_t reset_code, stop_code; /* sent; kept for a stream that still waits */
  uint64_t peer_code;             /* from STOP_SENDING */
  int error;
  uint64_t uncredited; /* bytes given to on_data under hold_credit */
  /* Frames in flight, counted in two generations: ngtcp2 fails the whole connection when 8,000
   * frames of a stream wait to be repeated (ngtcp2_strm.c). */
  uint32_t frames_old, frames_new;
  uint64_t frames_old_end; /* when this is acknowledged, the old ones are gone */
};

#define KM_STREAM_MAX_FRAMES 6000
#define KM_QUIC_CODE_MAX ((UINT64_C(1) << 62) - 1) /* what a variable-length integer holds */

/* conn_life.c */
KM_NODISCARD int km_conn_new(km_endpoint *ep, bool is_client, km_conn **ret);
void km_conn_free(km_conn *conn);       /* runs no callbacks */
void km_conn_mark_dirty(km_conn *conn); /* something to do at the end of the turn */
void km_conn_flush(km_conn *conn);      /* does it; may free `conn` */
void km_conn_update_timer(km_conn *conn);
/* The peer is proven and may be shown to the application. False: it was refused. */
bool km_conn_report_connected(km_conn *conn);
void km_conn_leave_half_open(km_conn *conn);
void km_conn_forget_cids(km_conn *conn); /* its connection ids are nobody's from now on */
/* Copies callbacks of any size of the struct. */
void km_conn_take_callbacks(km_conn_callbacks *ret, const km_conn_callbacks *from);

/* quic_conn.c: ngtcp2 around one connection. */
KM_NODISCARD int km_quic_client_new(km_conn *conn, uint32_t timeout_ms, bool early,
                                    km_errinfo *err);
KM_NODISCARD int km_quic_server_new(km_conn *conn, const ngtcp2_pkt_hd *hd,
                                    const ngtcp2_cid *original_dcid, bool retried);
/* Hands over one packet. Returns ngtcp2's verdict on it; the caller closes by it. */
int km_quic_read(km_conn *conn, const km_path_key *from, uint8_t ecn, const uint8_t *data,
                 size_t len);
void km_quic_timeout(km_conn *conn);
void km_quic_set_keep_alive(km_conn *conn, uint32_t interval_ms); /* 0: none */
uint64_t km_quic_packets_received(const km_conn *conn);           /* genuine ones */

/* quic_events.c: what ngtcp2 calls. */
void km_quic_fill_callbacks(ngtcp2_callbacks *cb, bool client);

/* quic_write.c */
/* Whether the packet that ngtcp2 asks for goes the way of the batch that it is to be part of. The
 * first packet of a batch says the way, and may be for another path than the one in use: the check
 * of a path that was left (RFC 9000 section 9.3.3) is. What ngtcp2 would put behind it is for the
 * path in use. `given` is what ngtcp2 gave to its callback: `batch` for the first packet only. */
bool km_quic_batch_goes_on(const ngtcp2_conn *quic, const ngtcp2_path *batch,
                           const ngtcp2_path *given);
void km_quic_write(km_conn *conn);

/* quic_path.c */
KM_NODISCARD int km_quic_path_add(km_conn *conn, km_path *path); /* takes over a reference */
/* The path a packet came on, as ngtcp2 sees it. `ret_known` is NULL for a source that has no entry
 * yet (accepting side: the peer moved). False: not a source of this connection. */
bool km_quic_path_of_source(km_conn *conn, const km_path_key *from, ngtcp2_path_storage *ret,
                            km_quic_path **ret_known);
km_quic_path *km_quic_path_of_addrs(km_conn *conn, const ngtcp2_path *path);
/* Whether it matters that a packet is genuine: it would teach us something about the path. */
bool km_quic_path_is_curious(const km_conn *conn, const km_quic_path *known,
                             const km_path_key *from);
/* A packet came on the path in use, genuine or not. */
void km_quic_path_received(km_quic_path *known, size_t bytes);
/* A genuine packet came. */
void km_quic_path_accepted(km_conn *conn, km_quic_path *known, const km_path_key *from,
                           size_t bytes);
void km_quic_path_settle(km_conn *conn); /* the handshake is done: no more first flights */
/* Client: its path is dead, or may be: to all candidates at once. With `leave` not to the direct
 * way in use: the peer would answer where the first copy comes from, and may not be heard there. */
void km_quic_path_reopen(km_conn *conn, bool leave);
/* Its mixed path has more candidates: they are tried where they may be better. */
void km_quic_path_candidates_came(km_conn *conn);
/* A direct way may be there again; `moved`: the one in use is probably gone. */
void km_quic_path_network_changed(km_conn *conn, bool moved);
/* Client: to this way at once, without asking QUIC first: it was proven otherwise. 0, KM_ERR_LIMIT,
 * KM_ERR_NOMEM, KM_ERR_CLOSED, or what ngtcp2 has against it. */
KM_NODISCARD int km_quic_path_jump(km_conn *conn, const km_path_key *key);
bool km_quic_path_is_open_first_flight(const km_conn *conn); /* to all candidates, no answer yet */
km_ts km_quic_path_last_heard(const km_conn *conn);          /* on the path in use */
void km_quic_path_timeout(km_conn *conn); /* reopens what is silent, seeks a direct way */
void km_quic_path_check(km_conn *conn);   /* reports a change of path */
void km_quic_path_prune(km_conn *conn);   /* lets go of paths out of use */
void km_quic_path_refresh(km_conn *conn); /* lets go of sockets that were replaced */
void km_quic_paths_clear(km_conn *conn);
void km_quic_path_check_held(km_conn *conn); /* a candidate was let go */
void km_quic_path_validated(km_conn *conn, const ngtcp2_path *path, bool ok);
void km_quic_path_info(const km_conn *conn, const km_path *path, km_path_info *ret);
km_path *km_quic_path_concrete(km_path *path);      /* of a mixed one what answered, or NULL */
km_path *km_quic_path_current(const km_conn *conn); /* a direct or relay path, or NULL */
KM_NODISCARD int km_quic_migrate(km_conn *conn, const km_path_key *key, km_errinfo *err);
/* "192.0.2.1:4433" or "relay https://..." of the path in use, for logs; cut to fit. */
const char *km_conn_path_text(const km_conn *conn, char buf[KM_PATH_TEXT_CAP]);
void km_path_text(const km_magicsock *ms, const km_path *path, char buf[KM_PATH_TEXT_CAP]);

/* dial.c */
/* The ways to try: every address that a socket of ours can send to, and every relay. */
int km_dial_key(const km_endpoint *ep, const km_udp_addr *at, km_path_key *ret);
size_t km_dial_keys(const km_endpoint *ep, const km_addr *addr, bool direct,
                    km_path_key keys[KM_MIXED_MAX_CANDIDATES]);
/* So that our own address is known by the time that the peer is to be told of it. */
void km_dial_learn_relays(const km_conn *conn, const km_addr *addr);

/* quic_close.c */
void km_conn_begin_close(km_conn *conn, km_close_origin origin, int error, bool application,
                         uint64_t code, const void *reason, size_t reason_len);
void km_conn_close_by_liberr(km_conn *conn, int liberr);
void km_conn_finish_close(km_conn *conn); /* frees `conn` */
/* Tells the peer and leaves a tombstone: `conn->quic` is about to go. */
void km_conn_end_attempt(km_conn *conn);

/* stream.c */
km_stream *km_stream_new(km_conn *conn, int64_t id, bool bidi, bool local);
void km_stream_start_waiting(km_conn *conn);    /* gives ids to streams that wait */
void km_stream_lose_early(km_conn *conn);       /* finishes all that have ids: they are void */
void km_stream_finish(km_stream *s, int error); /* runs on_closed, frees */
void km_stream_data_came(km_stream *s, const uint8_t *data, size_t len, bool fin);
void km_stream_data_acked(km_stream *s, uint64_t offset, uint64_t len);
void km_stream_was_reset(km_stream *s, uint64_t code);
void km_stream_was_stopped(km_stream *s, uint64_t code);
void km_stream_became_ready(km_stream *s);
bool km_stream_frames_full(const km_stream *s);

/* datagram.c */
void km_conn_drop_datagrams(km_conn *conn);
void km_conn_pop_datagram(km_conn *conn);

#define CONN_LOG(conn, level, component, event, ...)                                               \
  do {                                                                                             \
    char km_path_buf_[KM_PATH_TEXT_CAP];                                                           \
    KM_LOG(&(conn)->ep->env.logger, level, component, &(conn)->remote_id,                          \
           km_conn_path_text(conn, km_path_buf_), event, __VA_ARGS__);                             \
  } while (0)

#endif /* KM_ENDPOINT_CONN_IMPL_H */
