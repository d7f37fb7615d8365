/* Which path a connection takes: its policy, the ways that were found to its peer, when to move.
 * How a connection moves is quic_path.c's. */
#ifndef KM_ENDPOINT_QUIC_SELECT_H
#define KM_ENDPOINT_QUIC_SELECT_H

#include <keymesh/conn.h>

#include "magicsock/remote.h"

struct km_conn;

/* A way that was just left or refused. */
#define KM_CONN_MAX_AVOIDED 4
typedef struct km_avoided {
  km_path_key key;
  km_ts until; /* 0: the place is free */
  uint64_t wait;
} km_avoided;

/* What QUIC counted by the last look at it. */
typedef struct km_path_look {
  km_ts next_at;       /* KM_TS_NEVER: nothing is sent */
  uint64_t sent, lost; /* packets */
  uint64_t bytes_sent, bytes_lost;
} km_path_look;

typedef struct km_conn_select {
  km_remote_user user;
  km_path_policy policy; /* never KM_POLICY_DEFAULT */
  uint32_t within_ms;
  km_ts required_at; /* KM_POLICY_REQUIRE_DIRECT: it ends then, unless direct by then */
  km_ts again_at;    /* when to choose again */
  km_avoided avoided[KM_CONN_MAX_AVOIDED];
  km_ts relayed_at; /* first time on a relay; KM_TS_NEVER: never */
  km_ts direct_at;  /* first time on a direct path; KM_TS_NEVER: never */
  km_path_look look;
  km_ts loss_after;       /* loss counts again */
  uint64_t loss_wait;     /* the last pause before that */
  uint32_t loss_permille; /* of packets on the path in use, by QUIC's count */
  uint64_t heard_app;     /* bytes of the application's by the last genuine packet */
  bool start_due;         /* the search begins when what is queued was sent */
  bool listening;         /* it received a moment ago: silence is asked about sooner */
} km_conn_select;

void km_quic_select_init(struct km_conn *conn);
/* 0 or KM_ERR_INVALID. */
int km_quic_select_policy(struct km_conn *conn, km_path_policy policy, uint32_t within_ms);
void km_quic_select_leave(struct km_conn *conn);
/* The peer is proven, or the path in use is another one. */
void km_quic_select_path_changed(struct km_conn *conn);
/* Packets were written. */
void km_quic_select_written(struct km_conn *conn);
/* Takes a better way if there is one. */
void km_quic_select_choose(struct km_conn *conn);
void km_quic_select_timeout(struct km_conn *conn);
km_ts km_quic_select_deadline(const struct km_conn *conn);
/* Do not go (back) to this way for a while. */
void km_quic_select_avoid(struct km_conn *conn, const km_path_key *key);
void km_quic_select_avoid_nothing(struct km_conn *conn); /* the network is another one */
/* A genuine packet came; nothing came though it should. */
void km_quic_select_heard(struct km_conn *conn, const km_path_key *from);
void km_quic_select_silent(struct km_conn *conn);
/* Whether the peer's direct addresses are to be probed by QUIC: it speaks no disco. */
bool km_quic_select_probes(const struct km_conn *conn);
bool km_quic_select_may_be_direct(const struct km_conn *conn);

#endif /* KM_ENDPOINT_QUIC_SELECT_H */
