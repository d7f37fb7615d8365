/* A bad network on the loop of a lab, between one client and one server: it forwards, records,
 * swallows, redirects. The link itself is test/link/link.c. */
#ifndef KM_TEST_ENDPOINT_TAP_H
#define KM_TEST_ENDPOINT_TAP_H

#include "base/io/loop_io.h"
#include "test/endpoint/lab.h"
#include "test/link/link.h"

enum { TAP_MAX_RECORDED = 64, TAP_MAX_PACKET = 2048 };

typedef struct tap_packet {
  size_t len;
  uint8_t data[TAP_MAX_PACKET];
} tap_packet;

typedef struct lab_tap {
  struct lab_tap *next;
  lab *l;
  km_udp_addr addr; /* where the client sends */
  int front, back;  /* sockets towards the client and the server */
  km_poll *front_poll, *back_poll;
  km_deadline *timer;
  km_udp_addr client, server;
  link_dir up, down;
  uint64_t seed_up, seed_down;
  tap_packet recorded[TAP_MAX_RECORDED]; /* the first from the client */
  size_t recorded_count;
  bool (*lost)(void *ctx, const uint8_t *data, size_t len); /* swallows packets of the client */
  void *lost_ctx;
} lab_tap;

/* `options` NULL: a perfect link. Closed by lab_close. */
lab_tap *lab_tap_open(lab *l, const km_udp_addr *server, const link_options *options);
void lab_tap_blackhole(lab_tap *tap, bool on);
/* From now on to another server. */
void lab_tap_redirect(lab_tap *tap, const km_udp_addr *server);
/* The server sees the client on another port from now on. */
void lab_tap_rebind(lab_tap *tap);
void lab_taps_close(lab *l);

/* A UDP socket of its own on 127.0.0.1, for tests that send what no endpoint would. */
int raw_open(km_udp_addr *ret);
void raw_send(int fd, const km_udp_addr *to, const void *data, size_t len);
/* A packet that has come, or 0; never waits. */
size_t raw_recv(int fd, void *buf, size_t cap, km_udp_addr *ret_from);
/* Runs the loop until a packet came on `fd`. */
size_t raw_wait(lab *l, int fd, void *buf, size_t cap);

#endif /* KM_TEST_ENDPOINT_TAP_H */
