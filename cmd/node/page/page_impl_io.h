/* The inside of a status_page. cmd/node/page/page_*_io.c only. */
#ifndef KM_CMD_NODE_PAGE_PAGE_IMPL_IO_H
#define KM_CMD_NODE_PAGE_PAGE_IMPL_IO_H

#include "base/io/lws_conns_io.h"
#include "base/io/lws_listen_io.h"
#include "cmd/node/page/page_check.h"
#include "cmd/node/page/page_data.h"
#include "cmd/node/page/page_history.h"
#include "cmd/node/page/status_page_io.h"

#define PAGE_CONNECTIONS 64             /* at once */
#define PAGE_EVICTED_MAX 16             /* beyond these, while they are being closed */
#define PAGE_EVICT_AFTER_NS KM_NS_PER_S /* without a step a connection makes room for another */
#define PAGE_WATCHERS 16                /* of them */
#define PAGE_REQUEST_HEAD_MAX 16384 /* bytes; a browser sends the cookies of all ports of a host */
#define PAGE_HEAD_MAX 2048          /* of a reply */
#define PAGE_CHUNK 65536            /* of a body, in one write: the page is one */
#define PAGE_PATIENCE_NS (10 * KM_NS_PER_S)  /* for a request, and for each step of a reply */
#define PAGE_HEARTBEAT_NS (15 * KM_NS_PER_S) /* a comment for watchers, so that proxies wait on */
#define PAGE_SOONEST_NS (250 * KM_NS_PER_MS) /* between two events */
#define PAGE_LOOK_NS (1 * KM_NS_PER_S)       /* whether something changed that nobody told of */
#define PAGE_SAMPLE_NS (2 * KM_NS_PER_S)     /* between two looks at latencies */
#define PAGE_HOST_MAX 300                    /* bytes of a Host or Origin field that is looked at */

/* Bytes that several connections may be sending. */
typedef struct page_body {
  size_t refs, len;
  uint8_t bytes[];
} page_body;

/* A document of ours, and what a browser may do for it. */
#define PAGE_POLICY_MAX 512
typedef struct page_document {
  page_body *body;
  char policy[PAGE_POLICY_MAX]; /* Content-Security-Policy */
} page_document;

/* A connection: idle -> sending -> idle; idle -> watching; from anywhere: closing. */
typedef enum page_conn_state {
  PAGE_CONN_IDLE,
  PAGE_CONN_SENDING,
  PAGE_CONN_WATCHING,
  PAGE_CONN_CLOSING
} page_conn_state;

typedef struct page_conn {
  status_page *s;
  km_lws_conn conn; /* its deadline: of the next step; of a watcher only while it has to read */
  page_conn_state state;
  km_udp_addr local;
  bool watches; /* counted among the watchers */
  /* The present request. */
  bool head;      /* HEAD: no body */
  bool last;      /* the connection ends after it */
  bool elsewhere; /* a page of another origin leads here */
  char host[PAGE_HOST_MAX];
  page_body *body;
  size_t sent;    /* of `body` */
  page_body *due; /* of a watcher: what comes after `body`, the newest there is */
} page_conn;

struct status_page {
  const km_env *env;
  node_context *node;
  char *host; /* as configured */
  bool has_token;
  page_token token;
  page_guesses guesses;
  km_lws *lws;
  km_lws_listener listener;
  km_udp_addr bound;
  km_lws_conns conns;
  km_deadline *tick; /* of watchers */
  km_deadline *look; /* at latencies */
  page_counts counts;
  page_history history;
  page_document page, login;
  char cookie_name[32]; /* cookies are shared by all ports of a host */
  /* What watchers were told last, when, and when they are told next. */
  char *told;
  page_body *event; /* the same, as it is sent */
  km_ts told_at, beat_at, look_at;
  bool changed;
  uint8_t out[LWS_PRE + PAGE_HEAD_MAX + PAGE_CHUNK];
};

static inline km_ts page_now(const status_page *s) {
  return km_loop_now(s->node->loop);
}

/* status_page_io.c */
void page_conn_arm(page_conn *c);    /* its deadline begins anew */
void page_conn_disarm(page_conn *c); /* it may take as long as it likes */
void page_conn_kill(page_conn *c);   /* from outside of its callbacks */

/* page_reply_io.c. int: what an lws callback returns. */
page_body *page_body_new(const km_env *env, const void *bytes, size_t len);
page_body *page_body_ref(page_body *body);
void page_body_unref(const km_env *env, page_body *body); /* NULL does nothing */

typedef struct page_field {
  const char *name, *value; /* the name with its colon */
} page_field;

typedef struct page_reply {
  unsigned status;
  const char *type;
  page_body *body;      /* a reference is taken over; NULL: there is no memory */
  const char *policy;   /* NULL: nothing at all */
  page_field fields[3]; /* end with a NULL name */
} page_reply;

int page_reply_send(page_conn *c, const page_reply *r);
/* {"ok":false,"error":"..."} */
int page_refuse(page_conn *c, unsigned status, const char *why);
/* The head of an answer without an end. */
int page_reply_stream(page_conn *c);
int page_reply_go_on(page_conn *c); /* the socket takes more */

/* page_document_io.c */
KM_NODISCARD int page_documents_init(status_page *s);

/* page_request_io.c */
int page_request(page_conn *c, const char *path);

/* page_events_io.c */
int page_watch(page_conn *c);
void page_watch_end(page_conn *c);
int page_watch_go_on(page_conn *c); /* the socket takes more */
void page_watch_tick(void *ctx);    /* a status_page */
void page_look(void *ctx);          /* at latencies; a status_page */

#endif /* KM_CMD_NODE_PAGE_PAGE_IMPL_IO_H */
