/* What the integration tests of endpoint/ share: endpoints on one loop, recorders of everything
 * that happens to connections and streams, and waiting for it. A failed expectation fails the
 * running cmocka test; everything made here is freed by lab_close, which checks that nothing
 * stays open. */
#ifndef KM_TEST_ENDPOINT_LAB_H
#define KM_TEST_ENDPOINT_LAB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include <keymesh/keymesh.h>

#define LAB_ALPN "km/echo/1"
enum { LAB_PATIENCE_S = 60, LAB_MAX_ACCEPTED = 2048, LAB_MAX_STREAMS = 1024 };

struct lab_conn;

/* What to do with a stream that the peer opens, or what comes on one of ours. */
typedef enum lab_mode {
  LAB_RECORD, /* count and hash what comes */
  LAB_ECHO,   /* send it back, with back-pressure */
  LAB_HOLD    /* count, but give no credit */
} lab_mode;

/* A stream and all that happened to it. */
typedef struct lab_stream {
  km_stream *stream; /* NULL after on_closed */
  struct lab_conn *owner;
  lab_mode mode;
  uint64_t received;
  crypto_hash_sha256_state hash;
  uint8_t first[64]; /* the first bytes that came */
  unsigned fins, on_writable, on_delivered;
  bool reset, stopped, closed;
  uint64_t reset_code, stop_code;
  int error;              /* of on_closed */
  unsigned closed_order;  /* lab.closed_streams at that time */
  uint64_t to_send, sent; /* of the pattern */
  bool finish;            /* with fin behind it */
  uint8_t *echo;          /* waits to be sent back */
  size_t echo_len, echo_cap;
  bool echo_fin;
} lab_stream;

/* A connection and all that happened to it. */
typedef struct lab_conn {
  km_conn *conn; /* NULL after on_closed */
  struct lab *lab;
  lab_mode stream_mode;                      /* of streams that the peer opens */
  void (*datagram_hook)(struct lab_conn *c); /* called from on_datagram */
  bool refuse_streams;                       /* give them no callbacks */
  bool echo_datagrams;
  unsigned connected, closed, path_changes, datagrams, datagrams_sendable, streams_available;
  unsigned early_answers;
  bool early_accepted;
  km_path_info path;      /* of the last on_path */
  uint8_t datagram[2048]; /* the last one */
  size_t datagram_len;
  km_close_info info; /* its reason points to `reason` */
  uint8_t reason[1024];
  lab_stream *streams[LAB_MAX_STREAMS]; /* that the peer opened */
  size_t stream_count;
} lab_conn;

typedef struct lab_endpoint {
  struct lab *lab;
  km_endpoint *ep; /* NULL after on_closed */
  km_udp_addr addr;
  lab_mode stream_mode; /* of accepted connections */
  bool refuse_streams, echo_datagrams;
  km_accept_verdict verdict;
  unsigned incoming, incoming_validated;
  bool refuse_peers;
  unsigned peers_seen;
  lab_conn *accepted[LAB_MAX_ACCEPTED];
  size_t accepted_count;
} lab_endpoint;

typedef struct lab {
  km_loop *loop;
  lab_endpoint *endpoints[16];
  size_t endpoint_count;
  void **garbage; /* freed at the end */
  size_t garbage_count;
  unsigned closed_streams;
  struct lab_tap *taps; /* tap.h */
} lab;

void lab_open(lab *l);
void lab_close(lab *l);
void *lab_alloc(lab *l, size_t size); /* zeroed, freed by lab_close */

/* Defaults of a test: 127.0.0.1, any port, no log. */
void lab_options(km_endpoint_options *ret);
/* A fixed key for tests, one a number. Freed by the caller. */
km_secret_key *lab_key(uint8_t number);

/* Opens an endpoint with `options` (NULL: lab_options); callbacks are filled in. */
lab_endpoint *lab_endpoint_open(lab *l, const km_endpoint_options *options);
/* The same, accepting LAB_ALPN with streams in `mode`. */
lab_endpoint *lab_server_open(lab *l, const km_endpoint_options *options, lab_mode mode);
void lab_accept(lab_endpoint *e, const char *alpn);
/* Closes and waits until it is closed. */
void lab_endpoint_close(lab_endpoint *e);
km_endpoint_stats lab_stats(const lab_endpoint *e);

/* id of `e` with one address, `at` or, when NULL, its own. Freed by the caller. */
km_addr *lab_addr(const lab_endpoint *e, const km_udp_addr *at);
/* Dials `to` at `at` (NULL: its own address) and returns the recorder at once. */
lab_conn *lab_dial(lab_endpoint *from, const lab_endpoint *to, const km_udp_addr *at);
lab_conn *lab_dial_with(lab_endpoint *from, const km_addr *addr, const char *alpn,
                        const km_dial_options *options);
/* Dials, waits until both sides are connected; the accepting side is the last of to->accepted. */
lab_conn *lab_connect(lab_endpoint *from, lab_endpoint *to, const km_udp_addr *at);
void lab_conn_close(lab_conn *c, uint64_t code, const char *reason);

/* Opens a stream in LAB_RECORD mode. */
lab_stream *lab_stream_open(lab_conn *c, bool bidi);
/* Sends `bytes` more of the pattern, with fin behind it if `finish`; goes on by itself. */
void lab_stream_send(lab_stream *s, uint64_t bytes, bool finish);
void lab_stream_write_text(lab_stream *s, const char *text, bool fin);
/* Fails unless exactly the first `bytes` of the pattern came, once and whole. */
void lab_expect_pattern(lab_stream *s, uint64_t bytes);
/* Sends `bytes` on a new bidirectional stream to an echo server and waits for all of it. */
void lab_expect_echo(lab_conn *c, uint64_t bytes);

uint64_t lab_now_ms(void);
/* One round of the loop; false when `until_ms` has passed. */
bool lab_turn(lab *l, uint64_t until_ms);
/* Runs the loop for a time, whatever happens. */
void lab_run_for(lab *l, unsigned ms);

#define LAB_WAIT_S(l, seconds, condition)                                                          \
  do {                                                                                             \
    uint64_t lab_until_ = lab_now_ms() + 1000u * (uint64_t)(seconds);                              \
    while (!(condition)) {                                                                         \
      if (!lab_turn((l), lab_until_)) {                                                            \
        fail_msg("%s:%d: waited %d s for: %s", __FILE__, __LINE__, (int)(seconds), #condition);    \
      }                                                                                            \
    }                                                                                              \
  } while (0)
#define LAB_WAIT(l, condition) LAB_WAIT_S(l, LAB_PATIENCE_S, condition)

#endif /* KM_TEST_ENDPOINT_LAB_H */
