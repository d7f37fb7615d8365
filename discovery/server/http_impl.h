/* The inside of a km_dns_http. discovery/server/http*_io.c only. */
#ifndef KM_DISCOVERY_SERVER_HTTP_IMPL_H
#define KM_DISCOVERY_SERVER_HTTP_IMPL_H

#include "base/addr_counter.h"
#include "base/io/lws_conns_io.h"
#include "base/io/lws_listen_io.h"
#include "base/io/lws_tls_io.h"
#include "discovery/server/http_io.h"

#define KM_DNS_HTTP_REQUEST_HEAD_MAX 4096 /* bytes; more is cut off by lws */
#define KM_DNS_HTTP_HEAD_MAX 2048         /* bytes of a reply's head */
#define KM_DNS_HTTP_BODY_MAX 131072       /* of its body: JSON takes more room than DNS */

typedef enum km_dns_http_method {
  KM_DNS_HTTP_GET = 1,
  KM_DNS_HTTP_HEAD = 2,
  KM_DNS_HTTP_PUT = 4,
  KM_DNS_HTTP_POST = 8,
  KM_DNS_HTTP_OPTIONS = 16,
  KM_DNS_HTTP_OTHER = 32
} km_dns_http_method;

/* A connection: idle -> [body -> [waiting]] -> idle; idle -> discarding; from anywhere: closing. */
typedef enum km_dns_http_state {
  KM_DNS_HTTP_IDLE,       /* no request, or its head is on the way */
  KM_DNS_HTTP_BODY,       /* of a request that is taken */
  KM_DNS_HTTP_WAITING,    /* the store was asked */
  KM_DNS_HTTP_DISCARDING, /* it was refused; the rest of its body is read, then it ends */
  KM_DNS_HTTP_CLOSING
} km_dns_http_state;

typedef struct km_dns_http_conn km_dns_http_conn;
/* A request, when its body is there. Below 0 ends the connection. */
typedef int (*km_dns_http_body_fn)(km_dns_http_conn *c);

struct km_dns_http_conn {
  km_dns_http *s;
  km_lws_conn conn; /* its deadline: until the request is over, or the next one begins */
  km_dns_http_state state;
  /* The present request. */
  km_dns_http_method method;
  km_udp_addr source; /* who is asking, for limits */
  bool last;          /* the connection ends after it */
  km_dns_http_body_fn on_body;
  uint8_t *body;
  size_t body_len, body_cap;
  size_t unread;            /* bytes of a body that nobody wants so far */
  km_id id;                 /* of a PUT */
  int64_t unmodified_since; /* of a PUT, Unix seconds; below 0: any */
  uint8_t doh_form;         /* of a POST: km_doh_form */
};

struct km_dns_http {
  km_dns_server_config config; /* pointers in it are copies, or cleared */
  km_zone *zone;
  km_packet_store *store;
  km_lws *lws;
  km_lws_tls *tls;
  km_udp_addr *binds; /* http, then https */
  km_lws_listener listeners[2 * KM_DNS_SERVER_MAX_BINDS];
  size_t listener_count;
  km_lws_conns conns;
  km_defer *check; /* whether all are gone */
  km_addr_counter by_addr;
  km_rate_limit *requests, *puts;
  km_dns_server_stats stats; /* what is counted here */
  bool stopping;
  void (*on_stopped)(void *ctx);
  void *stopped_ctx;
  uint8_t answer[KM_ZONE_ANSWER_MAX];
  char page[KM_DNS_HTTP_BODY_MAX];
  uint8_t out[LWS_PRE + KM_DNS_HTTP_HEAD_MAX + KM_DNS_HTTP_BODY_MAX];
};

static inline km_ts km_dns_http_now(const km_dns_http *s) {
  return km_loop_now(s->config.loop);
}

typedef struct km_dns_http_field {
  const char *name, *value; /* the name with its colon; a NULL value is left out */
} km_dns_http_field;

typedef struct km_dns_http_reply {
  unsigned status;
  const char *type; /* NULL: no body */
  const void *body;
  size_t len;
  km_dns_http_field fields[5]; /* end with a NULL name */
} km_dns_http_reply;

/* http_reply_io.c: each returns what an lws callback does. */
/* The request is over. */
int km_dns_http_reply_send(km_dns_http_conn *c, const km_dns_http_reply *r);
/* {"status": "...", "detail": "..."}, as iroh-dns-server's. */
int km_dns_http_refuse(km_dns_http_conn *c, unsigned status, const char *detail);
int km_dns_http_refuse_rate(km_dns_http_conn *c, unsigned status, uint32_t retry_after_s,
                            const char *detail);
/* "100 Continue" for who waits for it. */
int km_dns_http_go_on(km_dns_http_conn *c);

/* http_routes_io.c */
int km_dns_http_request(km_dns_http_conn *c, const char *uri);
int km_dns_http_received(km_dns_http_conn *c, const uint8_t *bytes, size_t len);
int km_dns_http_received_all(km_dns_http_conn *c);
/* Gets ready for a body of `max` bytes at most, for `fn`; replies when it cannot be. */
int km_dns_http_expect(km_dns_http_conn *c, size_t max, km_dns_http_body_fn fn);
/* A header; NULL: there is none, or it does not fit. */
const char *km_dns_http_header(const km_dns_http_conn *c, enum lws_token_indexes token, char *buf,
                               size_t cap);

/* http_pkarr_io.c */
int km_dns_http_pkarr(km_dns_http_conn *c, const char *z32);

/* http_doh_io.c */
int km_dns_http_doh(km_dns_http_conn *c);

/* http_io.c */
/* Ends a connection as soon as it is safe, from outside of its callbacks. */
void km_dns_http_kill(km_dns_http_conn *c);
void km_dns_http_arm(km_dns_http_conn *c); /* its deadline begins anew */

#endif /* KM_DISCOVERY_SERVER_HTTP_IMPL_H */
