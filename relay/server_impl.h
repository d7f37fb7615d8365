/* The inside of a km_relay_server. relay/server*.c only. */
#ifndef KM_RELAY_SERVER_IMPL_H
#define KM_RELAY_SERVER_IMPL_H

#include "base/addr_counter.h"
#include "base/io/lws_conns_io.h"
#include "base/io/lws_listen_io.h"
#include "base/io/lws_tls_io.h"
#include "relay/assembly.h"
#include "relay/handshake.h"
#include "relay/server.h"
#include "relay/switchboard.h"

/* A connection: http -> handshake -> deciding -> relaying -> closing; closing from anywhere. */
typedef enum km_server_conn_state {
  KM_SERVER_HTTP,      /* requests, or none yet */
  KM_SERVER_HANDSHAKE, /* upgraded; the client has to prove its id */
  KM_SERVER_DECIDING,  /* `authorize` was asked */
  KM_SERVER_RELAYING,
  KM_SERVER_CLOSING /* nothing is heard any more; what waits is still written */
} km_server_conn_state;

typedef struct km_server_conn {
  km_relay_server *s;
  km_lws_conn conn;
  km_server_conn_state state;
  km_ts established_by; /* deadline of the login, of closing; KM_TS_NEVER while relaying */
  km_ts blocked_since;  /* the socket is full; KM_TS_NEVER: it is not */
  uint64_t write_ns;    /* how long it may be, set when it gets full */
  km_ts paused_until;   /* for its rate; KM_TS_NEVER: it is not */
  bool header_proven;
  km_relay_version version; /* 0: not upgraded */
  km_id proven;             /* by the header */
  char *token;              /* owned; NULL: none */
  km_relay_server_handshake hs;
  uint64_t login; /* number of it while deciding, else 0 */
  struct km_server_conn *next_login, *prev_login;
  km_assembly part;  /* of a message that comes in several reads */
  size_t lws_holds;  /* at most so many bytes that the socket did not take */
  bool deaf;         /* reading has stopped, for its rate */
  bool said_goodbye; /* all is written, and the other side knows */
  km_switch_client client;
} km_server_conn;

#define KM_SERVER_CONN(c) KM_LIST_ITEM(c, km_server_conn, conn)
#define KM_SERVER_CLIENT(c) ((km_server_conn *)((char *)(c)-offsetof(km_server_conn, client)))
#define KM_SERVER_PART(a) ((km_server_conn *)((char *)(a)-offsetof(km_server_conn, part)))

struct km_relay_server {
  km_relay_server_config config; /* pointers in it are copies, or cleared */
  km_lws *lws;
  km_lws_tls *tls;
  km_lws_listener listeners[2 * KM_RELAY_SERVER_MAX_BINDS];
  size_t listener_count;
  km_switchboard sb;
  km_lws_conns conns;
  km_defer *flush;
  km_server_conn *first_login, *last_login; /* undecided, in the order of their numbers */
  km_assembly_pool parts;
  km_addr_counter by_addr;
  km_addr_counter recent; /* accepted since `recent_since`, for a second */
  km_ts recent_since;
  km_token_bucket accepts;
  uint64_t login_count;
  km_relay_server_stats stats;
  bool stopping;
  void (*on_stopped)(void *ctx);
  void *stopped_ctx;
};

static inline km_ts km_server_now(const km_relay_server *s) {
  return km_loop_now(s->config.loop);
}

/* server_io.c */
/* The round trip of a connection as TCP measured it, in nanoseconds; 0: not known. */
uint64_t km_server_round_trip(const km_server_conn *c);
/* How long what is written may go without an answer: write_timeout_ms, or three round trips. */
uint64_t km_server_write_patience(const km_server_conn *c);
/* Cuts a connection off as soon as it is safe. */
void km_server_conn_kill(km_server_conn *c);
void km_server_conn_arm(km_server_conn *c); /* its timer, to the nearest of its deadlines */

/* server_http_io.c */
/* LWS_CALLBACK_HTTP. */
int km_server_http(km_server_conn *c, const char *uri);
/* LWS_CALLBACK_HTTP_CONFIRM_UPGRADE: 0 goes on, above 0 it was answered with an error. */
int km_server_check_upgrade(km_server_conn *c, const char *to);
/* LWS_CALLBACK_ADD_HEADERS of an upgrade. */
int km_server_fix_version(km_server_conn *c, const struct lws_process_html_args *response);
/* Takes from the request what the login needs; false: not worth keeping. */
bool km_server_read_login(km_server_conn *c);

/* server_relay_io.c */
int km_server_upgraded(km_server_conn *c);
/* A ping or a pong of WebSocket, with a payload of `len` bytes. */
void km_server_control_frame(km_server_conn *c, size_t len);
int km_server_received(km_server_conn *c, const uint8_t *bytes, size_t len);
int km_server_writable(km_server_conn *c);
void km_server_decided(km_server_conn *c, const char *denial);
void km_server_forget_login(km_server_conn *c); /* nobody waits for a decision any more */
/* It is gone, or as good as: gives back what it holds of what all share. */
void km_server_let_go(km_server_conn *c);
/* Writes what all clients have waiting. */
void km_server_flush(km_relay_server *s);
/* What its deadlines ask for; false: cut it off. */
bool km_server_relay_tick(km_server_conn *c, km_ts now);

/* server_tls_io.c */
/* Keying material of the connection under an id; false without TLS. */
bool km_server_tls_export(struct lws *wsi, const km_id *id, uint8_t ret[KM_RELAY_EXPORTED_LEN]);
/* The exporter is not needed any more: gives its memory back. */
void km_server_tls_export_done(struct lws *wsi);

#endif /* KM_RELAY_SERVER_IMPL_H */
