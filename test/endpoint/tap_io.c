#include "test/endpoint/tap.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SOCKET_BUFFER = 8 << 20 };

/* --- raw sockets ----------------------------------------------------------------------------- */

static struct sockaddr_in to_sockaddr(const km_udp_addr *addr) {
  struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(addr->port)};
  memcpy(&in.sin_addr, addr->ip, 4);
  return in;
}

static km_udp_addr from_sockaddr(const struct sockaddr_in *in) {
  km_udp_addr addr = {.family = 4, .port = ntohs(in->sin_port)};
  memcpy(addr.ip, &in->sin_addr, 4);
  return addr;
}

int raw_open(km_udp_addr *ret) {
  const km_udp_addr any = {.family = 4, .ip = {127, 0, 0, 1}};
  struct sockaddr_in in = to_sockaddr(&any);
  socklen_t len = sizeof in;
  int size = SOCKET_BUFFER;
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  assert_true(fd >= 0);
  (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
  (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
  assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof in), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
  *ret = from_sockaddr(&in);
  return fd;
}

void raw_send(int fd, const km_udp_addr *to, const void *data, size_t len) {
  struct sockaddr_in in = to_sockaddr(to);
  (void)!sendto(fd, data, len, 0, (struct sockaddr *)&in, sizeof in);
}

size_t raw_recv(int fd, void *buf, size_t cap, km_udp_addr *ret_from) {
  struct sockaddr_in in;
  socklen_t len = sizeof in;
  ssize_t n = recvfrom(fd, buf, cap, 0, (struct sockaddr *)&in, &len);
  if (n <= 0) {
    return 0;
  }
  if (ret_from != NULL) {
    *ret_from = from_sockaddr(&in);
  }
  return (size_t)n;
}

size_t raw_wait(lab *l, int fd, void *buf, size_t cap) {
  uint64_t until = lab_now_ms() + 1000u * LAB_PATIENCE_S;
  size_t n;
  while ((n = raw_recv(fd, buf, cap, NULL)) == 0) {
    assert_true(lab_turn(l, until));
  }
  return n;
}

/* --- the tap --------------------------------------------------------------------------------- */

static void deliver(void *ctx) {
  lab_tap *tap = ctx;
  km_loop_update(tap->l->loop);
  km_ts now = km_loop_now(tap->l->loop);
  link_packet *p;
  while ((p = link_pop(&tap->up, now)) != NULL) {
    raw_send(tap->back, &tap->server, p->data, p->len);
    free(p);
  }
  while ((p = link_pop(&tap->down, now)) != NULL) {
    raw_send(tap->front, &tap->client, p->data, p->len);
    free(p);
  }
  km_ts up = link_next(&tap->up), down = link_next(&tap->down);
  km_deadline_set(tap->timer, up < down ? up : down);
}

static void record(lab_tap *tap, const uint8_t *data, size_t len) {
  if (tap->recorded_count < TAP_MAX_RECORDED && len <= TAP_MAX_PACKET) {
    tap_packet *p = &tap->recorded[tap->recorded_count++];
    memcpy(p->data, data, len);
    p->len = len;
  }
}

static void on_front(void *ctx, int events) {
  static uint8_t buf[65536];
  lab_tap *tap = ctx;
  km_udp_addr from;
  size_t n;
  (void)events;
  while ((n = raw_recv(tap->front, buf, sizeof buf, &from)) > 0) {
    tap->client = from;
    record(tap, buf, n);
    if (tap->lost != NULL && tap->lost(tap->lost_ctx, buf, n)) {
      continue;
    }
    assert_true(link_send(&tap->up, km_loop_now(tap->l->loop), buf, n, NULL));
  }
  deliver(tap);
}

static void on_back(void *ctx, int events) {
  static uint8_t buf[65536];
  lab_tap *tap = ctx;
  size_t n;
  (void)events;
  while ((n = raw_recv(tap->back, buf, sizeof buf, NULL)) > 0) {
    assert_true(link_send(&tap->down, km_loop_now(tap->l->loop), buf, n, NULL));
  }
  deliver(tap);
}

static void open_back(lab_tap *tap) {
  km_udp_addr unused;
  tap->back = raw_open(&unused);
  assert_int_equal(km_poll_new(&tap->back_poll, tap->l->loop, tap->back, on_back, tap), 0);
  assert_int_equal(km_poll_set(tap->back_poll, KM_POLL_READ), 0);
}

lab_tap *lab_tap_open(lab *l, const km_udp_addr *server, const link_options *options) {
  lab_tap *tap = lab_alloc(l, sizeof *tap);
  link_options perfect;
  link_options_default(&perfect);
  tap->l = l;
  tap->server = *server;
  tap->seed_up = 1;
  tap->seed_down = 2;
  link_init(&tap->up, options == NULL ? &perfect : options, link_splitmix, &tap->seed_up);
  link_init(&tap->down, options == NULL ? &perfect : options, link_splitmix, &tap->seed_down);
  assert_int_equal(km_deadline_new(&tap->timer, l->loop, deliver, tap), 0);
  tap->front = raw_open(&tap->addr);
  assert_int_equal(km_poll_new(&tap->front_poll, l->loop, tap->front, on_front, tap), 0);
  assert_int_equal(km_poll_set(tap->front_poll, KM_POLL_READ), 0);
  open_back(tap);
  tap->next = l->taps;
  l->taps = tap;
  return tap;
}

void lab_tap_blackhole(lab_tap *tap, bool on) {
  tap->up.blackhole = tap->down.blackhole = on;
}

void lab_tap_redirect(lab_tap *tap, const km_udp_addr *server) {
  tap->server = *server;
}

void lab_tap_rebind(lab_tap *tap) {
  int old = tap->back;
  km_poll_free(tap->back_poll);
  open_back(tap); /* before the old one goes: never the same port */
  close(old);
}

void lab_taps_close(lab *l) {
  for (lab_tap *tap = l->taps; tap != NULL; tap = tap->next) {
    km_poll_free(tap->front_poll);
    km_poll_free(tap->back_poll);
    km_deadline_free(tap->timer);
    close(tap->front);
    close(tap->back);
    link_clear(&tap->up);
    link_clear(&tap->down);
  }
  l->taps = NULL;
}
