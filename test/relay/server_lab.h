/* For the tests of the relay server: the server on loopback sockets with its memory counted, and a
 * client made of a bare socket, which does what no decent client does. Beside it the real relay
 * client of client_lab.h, on the same loop. */
#ifndef KM_TEST_RELAY_SERVER_LAB_H
#define KM_TEST_RELAY_SERVER_LAB_H

#include "relay/server.h"
#include "test/relay/client_lab.h"

/* Descriptors for more than a thousand connections with both ends; false: not to be had. */
bool lab_many_files(void);

/* --- the server ------------------------------------------------------------------------------ */

typedef struct lab_memory {
  km_env env;
  long live;          /* allocations */
  size_t bytes, peak; /* in them */
  long fail_after;    /* -1: never */
} lab_memory;

typedef struct lab_server {
  km_relay_server_config config; /* set what is to be otherwise before lab_server_open */
  lab_memory memory;
  km_relay_server *s;
  uint16_t port, tls_port;
  bool stopped; /* of lab_server_stop */
} lab_server;

/* Everybody is let in, plain HTTP on 127.0.0.1, no accept rate. */
void lab_server_init(lab_server *l);
void lab_server_open(lab_server *l);
/* Asserts that it gives all memory back. */
void lab_server_close(lab_server *l);
void lab_server_stop(lab_server *l, uint32_t grace_ms); /* starts it; then wait for `stopped` */
km_relay_server_stats lab_stats(const lab_server *l);

/* --- the client ------------------------------------------------------------------------------ */

typedef struct lab_raw {
  int fd; /* -1: closed by us */
  km_poll *poll;
  struct WOLFSSL *ssl;
  struct WOLFSSL_CTX *tls;
  uint8_t *rx; /* what came and was not looked at, somewhere in `buffer` */
  size_t rx_len;
  uint8_t *buffer;
  size_t cap;
  bool ended; /* the server closed it, or it was reset */
  bool deaf;  /* reads nothing */
  km_relay_version version;
  km_secret_key *key;
  km_id id;
  uint8_t challenge[KM_RELAY_CHALLENGE_LEN];
} lab_raw;

/* Connects to 127.0.0.1, from 127.0.0.`from` if that is not 0. */
void lab_raw_open(lab_raw *r, uint16_t port, int from);
void lab_raw_tls(lab_raw *r); /* right after that; believes any certificate */
void lab_raw_close(lab_raw *r);
void lab_raw_reset(lab_raw *r); /* the same without a goodbye */
/* A new key, or that of `like`. */
void lab_raw_key(lab_raw *r, const lab_raw *like);
void lab_raw_deaf(lab_raw *r); /* reads nothing from now on */

/* All of it; the loop runs meanwhile. False: the server does not want it any more. */
bool lab_raw_put(lab_raw *r, const void *bytes, size_t len);
bool lab_raw_text(lab_raw *r, const char *text);
/* What the server sent up to and with the end of a header; "" when it closed. Valid until then. */
const char *lab_raw_head(lab_raw *r);
int lab_raw_status(lab_raw *r); /* of that, and skips its Content-Length; 0 when it closed */
void lab_raw_await_end(lab_raw *r);

/* A WebSocket frame. */
bool lab_raw_frame(lab_raw *r, unsigned first_byte, const void *payload, size_t len);
/* The payload of the next one; false: the server closed. Valid until the next. */
bool lab_raw_next(lab_raw *r, unsigned *opcode, const uint8_t **payload, size_t *len);

/* The relay protocol. `protocols`: what is offered; more: header lines or "". */
int lab_raw_upgrade(lab_raw *r, const char *protocols, const char *more);
void lab_raw_await_challenge(lab_raw *r);
void lab_raw_await_confirmation(lab_raw *r);
void lab_raw_prove(lab_raw *r);                                          /* the challenge */
void lab_raw_login(lab_raw *r, uint16_t port, km_relay_version version); /* all of it */
bool lab_raw_send(lab_raw *r, km_relay_frame frame);
bool lab_raw_send_to(lab_raw *r, const km_id *to, const char *text);
km_relay_frame lab_raw_expect(lab_raw *r, km_relay_type type); /* answers pings meanwhile */
void lab_raw_expect_text(lab_raw *r, const km_id *from, const char *text);
/* Asserts that two clients still reach each other. */
void lab_raw_exchange(lab_raw *a, lab_raw *b);

#endif /* KM_TEST_RELAY_SERVER_LAB_H */
