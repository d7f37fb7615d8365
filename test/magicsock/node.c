#include "test/magicsock/node.h"

#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

km_loop *test_loop;

/* Faults */

static bool hit(unsigned *left) {
  if (*left == 0) {
    return false;
  }
  if (*left != UINT_MAX) {
    (*left)--;
  }
  return true;
}

static size_t gso_segment(const struct msghdr *msg) {
  struct msghdr copy = *msg; /* CMSG_NXTHDR wants one that is not const */
  for (struct cmsghdr *c = CMSG_FIRSTHDR(&copy); c != NULL; c = CMSG_NXTHDR(&copy, c)) {
    if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_SEGMENT) {
      uint16_t segment;
      memcpy(&segment, CMSG_DATA(c), sizeof segment);
      return segment;
    }
  }
  return 0;
}

static bool send_fails(faults *f, const struct msghdr *msg) {
  size_t segment = gso_segment(msg);
  f->send_calls++;
  f->gso_calls += segment != 0;
  size_t bytes = msg->msg_iov->iov_len, datagram = segment != 0 ? segment : bytes;
  if (segment != 0 && (bytes + segment - 1) / segment > f->most_segments) {
    f->most_segments = (bytes + segment - 1) / segment;
  }
  if (segment != 0 && bytes > f->most_bytes) {
    f->most_bytes = bytes;
  }
  if ((f->send_gso_only && segment == 0) || (f->send_longer != 0 && datagram <= f->send_longer) ||
      hit(&f->send_passes) || !hit(&f->send_fails)) {
    return false;
  }
  errno = f->send_errno;
  return true;
}

static ssize_t fault_sendmsg(void *ctx, int fd, const struct msghdr *msg, int flags) {
  return send_fails(ctx, msg) ? -1 : sendmsg(fd, msg, flags);
}

static int fault_sendmmsg(void *ctx, int fd, struct mmsghdr *msgs, unsigned count, int flags) {
  faults *f = ctx;
  if (send_fails(f, &msgs[0].msg_hdr)) {
    return -1;
  }
  /* As in the kernel: what is before the one that fails goes out. */
  unsigned good = 1;
  while (good < count && !(f->send_longer != 0 && f->send_fails > 0 &&
                           msgs[good].msg_hdr.msg_iov->iov_len > f->send_longer)) {
    good++;
  }
  if (f->send_at_most != 0 && good > f->send_at_most) {
    good = f->send_at_most;
  }
  return sendmmsg(fd, msgs, good, flags);
}

static bool recv_fails(faults *f) {
  f->recv_calls++;
  if (!hit(&f->recv_fails)) {
    return false;
  }
  errno = f->recv_errno;
  return true;
}

static ssize_t fault_recvmsg(void *ctx, int fd, struct msghdr *msg, int flags) {
  faults *f = ctx;
  ssize_t n = recv_fails(f) ? -1 : recvmsg(fd, msg, flags);
  if (n >= 0 && hit(&f->recv_cut)) {
    msg->msg_flags |= MSG_TRUNC;
  }
  return n;
}

static int fault_recvmmsg(void *ctx, int fd, struct mmsghdr *msgs, unsigned count, int flags) {
  faults *f = ctx;
  int n = recv_fails(f) ? -1 : recvmmsg(fd, msgs, count, flags, NULL);
  for (int i = 0; i < n && hit(&f->recv_cut); i++) {
    msgs[i].msg_hdr.msg_flags |= MSG_TRUNC;
  }
  return n;
}

static int fault_socket(void *ctx, int domain, int type, int protocol) {
  const faults *f = ctx;
  if (f->socket_errno != 0 && (f->socket_domain == 0 || f->socket_domain == domain)) {
    errno = f->socket_errno;
    return -1;
  }
  return socket(domain, type, protocol);
}

static int fault_bind(void *ctx, int fd, const struct sockaddr *addr, socklen_t len) {
  const faults *f = ctx;
  if (f->bind_errno != 0) {
    errno = f->bind_errno;
    return -1;
  }
  return bind(fd, addr, len);
}

static int fault_setsockopt(void *ctx, int fd, int level, int name, const void *value,
                            socklen_t len) {
  const faults *f = ctx;
  if (f->option_errno != 0 && f->option_level == level && f->option_name == name) {
    errno = f->option_errno;
    return -1;
  }
  return setsockopt(fd, level, name, value, len);
}

void faults_init(faults *f) {
  memset(f, 0, sizeof *f);
  f->calls = (km_udp_calls){.ctx = f,
                            .socket = fault_socket,
                            .bind = fault_bind,
                            .setsockopt = fault_setsockopt,
                            .sendmsg = fault_sendmsg,
                            .recvmsg = fault_recvmsg,
                            .sendmmsg = fault_sendmmsg,
                            .recvmmsg = fault_recvmmsg};
}

/* Nodes */

int node_setup(void **state) {
  (void)state;
  return km_loop_new(&test_loop);
}

/* km_loop_free refuses while something is open: a test that leaves something behind fails here. */
int node_teardown(void **state) {
  (void)state;
  int rv = km_loop_free(test_loop);
  test_loop = NULL;
  return rv;
}

static void record(node *n, const km_rx_batch *batch, size_t at) {
  assert_true(batch->len > at && batch->segment > 0);
  if (n->count == n->cap) {
    n->cap = n->cap == 0 ? 64 : n->cap * 2;
    n->packets = realloc(n->packets, n->cap * sizeof *n->packets);
    assert_non_null(n->packets);
  }
  packet *p = &n->packets[n->count++];
  p->from = batch->from;
  p->ecn = batch->ecn;
  p->len = batch->len - at < batch->segment ? batch->len - at : batch->segment;
  p->data = malloc(p->len + 1);
  assert_non_null(p->data);
  memcpy(p->data, batch->data + at, p->len);
}

static void on_rx(void *ctx, const km_rx_batch *batch) {
  node *n = ctx;
  n->batches++;
  for (size_t at = 0; at < batch->len; at += batch->segment) {
    record(n, batch, at);
    n->since_done++;
  }
  if (n->on_rx != NULL) {
    n->on_rx(n, batch);
  }
}

static void on_rx_done(void *ctx) {
  node *n = ctx;
  n->done_calls++;
  if (n->since_done > n->most_between_done) {
    n->most_between_done = n->since_done;
  }
  n->since_done = 0;
}

static void on_writable(void *ctx) {
  node *n = ctx;
  n->writable_calls++;
  if (n->on_writable != NULL) {
    n->on_writable(n);
  }
}

int node_try(node *n, const node_options *options, km_errinfo *err) {
  memset(n, 0, sizeof *n);
  km_udp_addr bind[4];
  size_t count = 0;
  while (count < 4 && options->bind[count] != NULL) {
    bind[count] = addr_of(options->bind[count]);
    count++;
  }
  const km_magicsock_config config = {.env = options->env != NULL ? options->env : &km_env_system,
                                      .loop = test_loop,
                                      .bind = bind,
                                      .bind_count = count,
                                      .gso = !options->no_gso,
                                      .ecn = !options->no_ecn,
                                      .max_paths =
                                          options->max_paths != 0 ? options->max_paths : 64,
                                      .on_rx = on_rx,
                                      .on_rx_done = on_rx_done,
                                      .on_writable = on_writable,
                                      .ctx = n};
  return km_magicsock_new_with(&n->ms, &config, options->driver,
                               options->faults != NULL ? &options->faults->calls : NULL, err);
}

void node_open(node *n, const node_options *options) {
  km_errinfo err = {0};
  if (node_try(n, options, &err) != 0) {
    fail_msg("%s", err.text);
  }
}

void node_forget(node *n) {
  for (size_t i = 0; i < n->count; i++) {
    free(n->packets[i].data);
  }
  n->count = 0;
}

void node_close(node *n) {
  node_forget(n);
  free(n->packets);
  assert_int_equal(km_magicsock_path_count(n->ms), 0);
  km_magicsock_free(n->ms);
  n->ms = NULL;
}

km_udp_addr node_addr(const node *n, uint8_t family) {
  km_udp_addr bound[KM_MAGICSOCK_MAX_SOCKETS];
  size_t count = km_magicsock_bound(n->ms, bound, KM_MAGICSOCK_MAX_SOCKETS);
  static const uint8_t any[16];
  for (size_t i = 0; i < count; i++) {
    if (bound[i].family != family) {
      continue;
    }
    if (memcmp(bound[i].ip, any, sizeof any) == 0) {
      km_udp_addr loopback = addr_of(family == 4 ? "127.0.0.1:1" : "[::1]:1");
      loopback.port = bound[i].port;
      return loopback;
    }
    return bound[i];
  }
  fail_msg("no socket of the family");
  return (km_udp_addr){0};
}

km_magicsock_stats node_stats(const node *n) {
  km_magicsock_stats stats;
  km_magicsock_get_stats(n->ms, &stats);
  return stats;
}

km_udp_addr addr_of(const char *text) {
  km_udp_addr ret;
  km_errinfo err = {0};
  if (km_udp_addr_parse(&ret, text, strlen(text), &err) != 0) {
    fail_msg("%s: %s", text, err.text);
  }
  return ret;
}

bool have_ipv6(void) {
  int fd = socket(AF_INET6, SOCK_DGRAM, 0);
  struct sockaddr_in6 one = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
  bool have = fd >= 0 && bind(fd, (const struct sockaddr *)&one, sizeof one) == 0;
  if (fd >= 0) {
    close(fd);
  }
  return have;
}

km_path *path_to(node *n, km_udp_addr to) {
  km_path_key key;
  km_path *path = NULL;
  assert_int_equal(km_magicsock_key(n->ms, &to, &key), 0);
  assert_int_equal(km_magicsock_path(n->ms, &key, &path), 0);
  return path;
}

/* Packets */

void packet_fill(uint8_t *data, size_t len, uint32_t number) {
  assert_true(len >= PACKET_MIN);
  data[0] = 0x40;
  for (int i = 0; i < 4; i++) {
    data[1 + i] = (uint8_t)(number >> (24 - 8 * i));
  }
  for (size_t i = PACKET_MIN; i < len; i++) {
    data[i] = (uint8_t)(number * 7 + i);
  }
}

void packets_fill(uint8_t *data, size_t len, size_t segment, uint32_t first) {
  for (size_t at = 0; at < len; at += segment) {
    packet_fill(data + at, len - at < segment ? len - at : segment, first++);
  }
}

void packets_expect(const node *n, size_t len, size_t segment, uint32_t first) {
  uint8_t *want = malloc(segment);
  assert_non_null(want);
  size_t i = 0;
  for (size_t at = 0; at < len; at += segment, i++) {
    size_t piece = len - at < segment ? len - at : segment;
    assert_true(i < n->count);
    assert_int_equal(n->packets[i].len, piece);
    packet_fill(want, piece, first + (uint32_t)i);
    assert_memory_equal(n->packets[i].data, want, piece);
  }
  assert_int_equal(n->count, i);
  free(want);
}

/* Raw sockets */

int raw_open(const char *bind_text, km_udp_addr *ret_bound) {
  km_udp_addr to = addr_of(bind_text);
  struct sockaddr_storage ss;
  socklen_t len = km_udp_addr_to_sockaddr(&to, &ss);
  int fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  assert_true(fd >= 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&ss, len), 0);
  socklen_t got = sizeof ss;
  assert_int_equal(getsockname(fd, (struct sockaddr *)&ss, &got), 0);
  assert_true(km_udp_addr_from_sockaddr(ret_bound, (struct sockaddr *)&ss, got));
  return fd;
}

void raw_send(int fd, km_udp_addr to, const void *data, size_t len) {
  struct sockaddr_storage ss;
  socklen_t ss_len = km_udp_addr_to_sockaddr(&to, &ss);
  assert_int_equal(sendto(fd, data, len, 0, (struct sockaddr *)&ss, ss_len), (ssize_t)len);
}

ssize_t raw_recv(int fd, void *buf, size_t cap, km_udp_addr *ret_from) {
  struct pollfd p = {fd, POLLIN, 0};
  if (poll(&p, 1, 10000) != 1) {
    return -1;
  }
  struct sockaddr_storage ss;
  socklen_t len = sizeof ss;
  ssize_t n = recvfrom(fd, buf, cap, 0, (struct sockaddr *)&ss, &len);
  if (n >= 0 && ret_from != NULL) {
    assert_true(km_udp_addr_from_sockaddr(ret_from, (struct sockaddr *)&ss, len));
  }
  return n;
}
