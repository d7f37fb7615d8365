/* For the tests of the relay client: a relay on a real loopback socket that misbehaves on demand, a
 * CONNECT proxy, and a client that writes down what it was told. */
#ifndef KM_TEST_RELAY_CLIENT_LAB_H
#define KM_TEST_RELAY_CLIENT_LAB_H

#include "relay/client.h"
#include "relay/handshake.h"
#include "test/base/test_env.h"

#define LAB_CONNS 16
#define LAB_BUF (256 << 10)

extern km_loop *lab_loop;
int lab_setup(void **state);
int lab_teardown(void **state);

typedef struct lab_relay lab_relay;

typedef struct lab_conn {
  lab_relay *relay;
  int fd; /* -1: free */
  km_poll *poll;
  struct WOLFSSL *ssl;
  bool tls_done, upgraded, closing;
  km_relay_server_handshake hs;
  uint8_t *rx;
  size_t rx_len;
  km_timer *timer;
  size_t dripped;
  unsigned close_code; /* of a close frame, 0: none came */
} lab_conn;

struct lab_relay {
  /* What it does otherwise than a relay should. */
  const char *raw_answer; /* sent as it is instead of an answer to the request */
  bool hang_up;           /* after raw_answer */
  bool silent;            /* not a word after accepting */
  const char *protocol;   /* chosen, "" for none; NULL: version 2 */
  const char *deny;       /* with this reason */
  bool same_challenge;    /* gives a second one */
  bool unconfirmed;       /* says nothing after the challenge was answered */
  bool no_pong;
  bool ignore_header;       /* that proves the id, as if somebody else had terminated TLS */
  bool echo;                /* datagrams come back */
  bool deaf;                /* does not read */
  bool evicts;              /* resets the connection of whoever pings */
  unsigned ping_ms;         /* GET /ping is answered after so long */
  unsigned drip_ms;         /* a byte of raw_answer every so often, again and again */
  const void *with_confirm; /* sent in one piece with the confirmation */
  size_t with_confirm_len;

  /* What it saw. */
  unsigned accepts, upgrades, by_header, by_challenge, pings, pongs, datagrams;
  size_t datagram_bytes;
  char request[4096]; /* the last one */
  unsigned close_code;
  uint8_t last[128]; /* the beginning of the last datagram frame */
  size_t last_len;

  int fd;
  uint16_t port;
  km_poll *poll;
  struct WOLFSSL_CTX *tls;
  lab_conn conns[LAB_CONNS];
};

/* On 127.0.0.1 or ::1, at `port` (0: any). `cert`, `key`: PEM files, NULL for no TLS. Set what it
 * does otherwise before that. */
void lab_relay_open(lab_relay *r, const char *ip, uint16_t port, const char *cert, const char *key);
/* Resets its connections, as kill -9 does. */
void lab_relay_close(lab_relay *r);
void lab_relay_drop(lab_relay *r);
/* Stops it as SIGSTOP does: the kernel still accepts and takes what is sent. Or lets it go on. */
void lab_relay_hang(lab_relay *r, bool on);
/* Bytes to every client, as they are. */
void lab_relay_put(lab_relay *r, const void *data, size_t len);
/* A WebSocket message to every client; `opcode` 2 is binary. */
void lab_relay_send(lab_relay *r, unsigned opcode, const void *msg, size_t len);

typedef struct lab_proxy {
  const char *auth;   /* the header's value that it wants; NULL: nobody needs to say who he is */
  const char *answer; /* instead of connecting */
  unsigned connects;
  char request[2048];
  int fd;
  uint16_t port;
  km_poll *poll;
  struct lab_pipe {
    struct lab_proxy *proxy;
    int fd[2]; /* client, target */
    km_poll *poll[2];
  } pipes[LAB_CONNS];
  unsigned pipe_count;
} lab_proxy;
void lab_proxy_open(lab_proxy *p);
void lab_proxy_close(lab_proxy *p);

typedef struct lab_client {
  km_relay_clients *all;
  km_relay_client *c;
  km_secret_key *key;
  bool key_lent;
  unsigned states[3]; /* how often it was told of each */
  km_errinfo why;     /* of the last end */
  unsigned batches;
  size_t bytes, segment;
  uint8_t ecn;
  km_id peer;
  uint8_t first; /* of the last datagrams */
  bool data_before_state;
  unsigned gone, elsewhere, alone, writable;
  void (*on_state)(struct lab_client *l, km_relay_client_state state);
} lab_client;

/* Clients with a key of their own, and none yet. */
void lab_client_open(lab_client *l, const km_env *env, const char *ca_file);
/* The same with a key that is only lent: it stays the caller's. */
void lab_client_open_as(lab_client *l, km_secret_key *key);
void lab_client_dial(lab_client *l, const char *url);
/* "scheme://host:port/" */
const char *lab_url(char buf[256], const char *scheme, const char *host, uint16_t port);
void lab_client_close(lab_client *l);
/* Whether it was told so, ever. */
bool lab_is_up(const lab_client *l);
bool lab_has_failed(const lab_client *l);
/* Sends 30,000 bytes at a time, in segments of 1,000, until the queue is full. */
void lab_fill_queue(lab_client *l, size_t *ret_sent);
/* Dials a relay of this kind and gives back how the first attempt ended. */
km_errinfo lab_fail_with(lab_relay *r);
/* Somebody's id. */
km_id lab_peer(void);

#define LAB_WAIT_FOR(condition)                                                                    \
  do {                                                                                             \
    km_ts wait_end_ = km_clock_now() + 120 * KM_NS_PER_S;                                          \
    while (!(condition) && km_clock_now() < wait_end_) {                                           \
      km_loop_run_once(lab_loop, 50);                                                              \
    }                                                                                              \
    assert_true(condition);                                                                        \
  } while (0)

/* A port that nothing listens on. */
uint16_t lab_dead_port(void);
/* Open descriptors of this process. */
unsigned lab_count_fds(void);

#endif /* KM_TEST_RELAY_CLIENT_LAB_H */
