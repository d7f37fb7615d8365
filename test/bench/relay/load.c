/* km-bench-relay: load for a relay, and what came of it, as one JSON object.
 *
 *   km-bench-relay MODE --url http://127.0.0.1:PORT [--protocol relay|plain] [--time S] [--pairs N]
 *                  [--size BYTES] [--window N] [--rate N] [--clients N] [--pid PID]
 *
 *   forward   pairs send `size` bytes over and over, at most `window` packets under way a pair
 *   latency   `rate` packets a second over all pairs; how long each takes
 *   connect   clients one after another, logged in and gone again
 *   idle      `clients` that do nothing: memory of the process `pid`
 *
 * "plain" is what km-bench-forwarder speaks. One thread, plain TCP, WebSocket frames written here,
 * masked with zeros (RFC 6455 section 5.3 asks for a mask, a load may choose a cheap one). */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/env.h"
#include "relay/handshake.h"

enum { RX_BYTES = 262144, TX_BYTES = 262144, NAME = 32, SAMPLES_MAX = 4000000, STAMP = 16 };

typedef struct options {
  const char *mode;
  struct sockaddr_in to;
  bool plain;
  double time;
  unsigned pairs, size, window, rate, clients, pid;
} options;

typedef struct client {
  int fd;
  km_id id;
  km_secret_key *key;
  uint8_t *rx, *tx; /* RX_BYTES, TX_BYTES; NULL while idle */
  size_t rx_len, tx_at, tx_len;
  struct client *peer;
  uint64_t sent, received; /* packets */
} client;

static uint64_t samples[SAMPLES_MAX]; /* latencies in ns */
static size_t sample_count;

static _Noreturn void die(const char *what) {
  (void)fprintf(stderr, "km-bench-relay: %s: %s\n", what, strerror(errno));
  exit(1);
}

static uint64_t now_ns(void) {
  return km_clock_now();
}

/* --- the process that is measured ------------------------------------------------------------ */

static double cpu_seconds(unsigned pid) {
  char path[64], text[1024];
  (void)snprintf(path, sizeof path, "/proc/%u/stat", pid);
  FILE *f = pid == 0 ? NULL : fopen(path, "r");
  if (f == NULL) {
    return 0;
  }
  size_t n = fread(text, 1, sizeof text - 1, f);
  (void)fclose(f);
  text[n] = '\0';
  const char *at = strrchr(text, ')');
  unsigned long user = 0, system = 0;
  if (at == NULL ||
      sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2) {
    return 0;
  }
  return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static double resident_bytes(unsigned pid) {
  char path[64];
  long pages = 0;
  (void)snprintf(path, sizeof path, "/proc/%u/statm", pid);
  FILE *f = pid == 0 ? NULL : fopen(path, "r");
  if (f == NULL || fscanf(f, "%*d %ld", &pages) != 1) {
    pages = 0;
  }
  if (f != NULL) {
    (void)fclose(f);
  }
  return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

/* --- WebSocket, the client's side ------------------------------------------------------------ */

static uint8_t *put_frame_header(uint8_t *at, size_t len) {
  *at++ = 0x82; /* final, binary */
  if (len < 126) {
    *at++ = (uint8_t)(0x80 | len);
  } else {
    *at++ = 0x80 | 126;
    *at++ = (uint8_t)(len >> 8);
    *at++ = (uint8_t)len;
  }
  memset(at, 0, 4);
  return at + 4;
}

/* The next whole binary message in `rx`: its bytes. Returns the length of its frame; 0: not yet. */
static size_t next_message(const uint8_t *rx, size_t len, const uint8_t **msg, size_t *msg_len) {
  if (len < 2) {
    return 0;
  }
  size_t head = 2, body = rx[1] & 0x7f;
  if (body == 126) {
    if (len < 4) {
      return 0;
    }
    head = 4;
    body = (size_t)rx[2] << 8 | rx[3];
  } else if (body == 127) {
    if (len < 10) {
      return 0;
    }
    head = 10;
    body = (size_t)rx[6] << 24 | (size_t)rx[7] << 16 | (size_t)rx[8] << 8 | rx[9];
  }
  if (len < head + body) {
    return 0;
  }
  *msg = rx + head;
  *msg_len = (rx[0] & 0x0f) == 2 ? body : 0; /* control frames are passed over */
  return head + body;
}

static void write_all(int fd, const void *bytes, size_t len) {
  while (len > 0) {
    ssize_t n = write(fd, bytes, len);
    if (n <= 0) {
      die("write");
    }
    bytes = (const uint8_t *)bytes + n;
    len -= (size_t)n;
  }
}

static void send_message(int fd, const uint8_t *msg, size_t len) {
  uint8_t frame[2048];
  uint8_t *body = put_frame_header(frame, len);
  memcpy(body, msg, len);
  write_all(fd, frame, (size_t)(body - frame) + len);
}

/* --- connecting (blocking) ------------------------------------------------------------------- */

static void upgrade(client *c, const options *o) {
  char text[512];
  int n = snprintf(text, sizeof text,
                   "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
                   "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                   "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: %s\r\n\r\n",
                   o->plain ? "/" : "/relay", o->plain ? "forward" : KM_RELAY_PROTOCOL_V2);
  write_all(c->fd, text, (size_t)n);
}

/* Reads until there is a message (or, before the upgrade's answer, a whole head). */
static void read_more(client *c, uint8_t *buf, size_t cap, size_t *len) {
  ssize_t n = read(c->fd, buf + *len, cap - *len);
  if (n <= 0) {
    errno = n == 0 ? ECONNRESET : errno;
    die("the relay closed the connection while it was set up");
  }
  *len += (size_t)n;
}

static void log_in(client *c, const options *o) {
  uint8_t buf[4096], out[KM_RELAY_HANDSHAKE_MAX];
  size_t len = 0, out_len = 0;
  const uint8_t *end;
  upgrade(c, o);
  while ((end = memmem(buf, len, "\r\n\r\n", 4)) == NULL) {
    read_more(c, buf, sizeof buf, &len);
  }
  if (memcmp(buf, "HTTP/1.1 101", 12) != 0) {
    die("no upgrade");
  }
  size_t at = (size_t)(end - buf) + 4;
  if (o->plain) {
    send_message(c->fd, c->id.bytes, NAME);
    return;
  }
  km_relay_client_handshake hs;
  km_relay_client_handshake_init(&hs);
  while (hs.state != KM_RELAY_HS_DONE) {
    const uint8_t *msg;
    size_t msg_len, used;
    while ((used = next_message(buf + at, len - at, &msg, &msg_len)) == 0) {
      read_more(c, buf, sizeof buf, &len);
    }
    at += used;
    if (km_relay_client_handshake_read(&hs, c->key, msg, msg_len, out, &out_len, NULL) != 0) {
      die("the relay's handshake failed");
    }
    if (out_len > 0) {
      send_message(c->fd, out, out_len);
    }
  }
}

static void connect_client(client *c, const options *o) {
  const int one = 1;
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (c->fd < 0 || connect(c->fd, (const struct sockaddr *)&o->to, sizeof o->to) != 0) {
    die("connect");
  }
  (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  log_in(c, o);
}

static void make_client(client *c, const options *o) {
  if (km_secret_key_generate(&c->key) != 0) {
    die("no memory for a key");
  }
  km_secret_key_id(c->key, &c->id);
  connect_client(c, o);
}

static void free_clients(client *all, unsigned count) {
  for (unsigned i = 0; i < count; i++) {
    (void)close(all[i].fd);
    free(all[i].rx);
    free(all[i].tx);
    km_secret_key_free(all[i].key);
  }
  free(all);
}

/* --- packets --------------------------------------------------------------------------------- */

static void put_packet(client *c, const options *o, uint64_t stamp) {
  size_t len = (o->plain ? NAME : NAME + 2) + o->size;
  uint8_t *at = put_frame_header(c->tx + c->tx_len, len);
  if (!o->plain) {
    *at++ = KM_RELAY_TO_RELAY;
  }
  memcpy(at, c->peer->id.bytes, NAME);
  at += NAME;
  if (!o->plain) {
    *at++ = 0;
  }
  memcpy(at, &stamp, sizeof stamp); /* what comes after it was never written: it may be anything */
  c->tx_len = (size_t)(at - c->tx) + o->size;
  c->sent++;
}

static void flush_tx(client *c) {
  while (c->tx_at < c->tx_len) {
    ssize_t n = write(c->fd, c->tx + c->tx_at, c->tx_len - c->tx_at);
    if (n < 0 && errno == EAGAIN) {
      return;
    }
    if (n <= 0) {
      die("write");
    }
    c->tx_at += (size_t)n;
  }
  c->tx_at = c->tx_len = 0;
}

static void take_message(client *c, const options *o, const uint8_t *msg, size_t len) {
  size_t head = o->plain ? NAME : NAME + 2;
  if (len != head + o->size || (!o->plain && msg[0] != KM_RELAY_TO_CLIENT)) {
    if (!o->plain && len == 9 && msg[0] == KM_RELAY_PING) {
      uint8_t pong[9];
      memcpy(pong, msg, sizeof pong);
      pong[0] = KM_RELAY_PONG;
      send_message(c->fd, pong, sizeof pong); /* small: fits, whatever else waits */
    }
    return;
  }
  uint64_t stamp;
  memcpy(&stamp, msg + head, sizeof stamp);
  c->received++;
  if (stamp != 0 && sample_count < SAMPLES_MAX) {
    samples[sample_count++] = now_ns() - stamp;
  }
}

static void read_client(client *c, const options *o) {
  ssize_t n = read(c->fd, c->rx + c->rx_len, RX_BYTES - c->rx_len);
  if (n < 0 && errno == EAGAIN) {
    return;
  }
  if (n <= 0) {
    errno = n == 0 ? ECONNRESET : errno;
    die("read");
  }
  c->rx_len += (size_t)n;
  size_t at = 0, used, len;
  const uint8_t *msg;
  while ((used = next_message(c->rx + at, c->rx_len - at, &msg, &len)) > 0) {
    take_message(c, o, msg, len);
    at += used;
  }
  c->rx_len -= at;
  memmove(c->rx, c->rx + at, c->rx_len);
}

/* --- forward, latency ------------------------------------------------------------------------ */

static client *make_pairs(const options *o, int epoll) {
  client *all = calloc(2 * (size_t)o->pairs, sizeof *all);
  for (unsigned i = 0; all != NULL && i < 2 * o->pairs; i++) {
    client *c = &all[i];
    make_client(c, o);
    c->rx = malloc(RX_BYTES);
    c->tx = calloc(1, TX_BYTES);
    c->peer = &all[i ^ 1];
    if (c->rx == NULL || c->tx == NULL || fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0) {
      die("a client");
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    (void)epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
  }
  if (all == NULL) {
    die("memory");
  }
  return all;
}

/* A packet that a relay dropped would keep its place in the window for good. */
static void fill_window(client *c, const options *o) {
  size_t frame = 8 + NAME + 2 + o->size;
  while (c->sent - c->peer->received < o->window && c->tx_len + frame <= TX_BYTES) {
    put_packet(c, o, 0);
  }
  flush_tx(c);
}

static void serve(int epoll, const options *o, int timeout_ms) {
  struct epoll_event events[64];
  int n = epoll_wait(epoll, events, 64, timeout_ms);
  for (int i = 0; i < n; i++) {
    read_client(events[i].data.ptr, o);
  }
}

static uint64_t received_by(const client *all, unsigned pairs) {
  uint64_t sum = 0;
  for (unsigned i = 0; i < pairs; i++) {
    sum += all[2 * i + 1].received;
  }
  return sum;
}

static void run_forward(const options *o) {
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  client *all = make_pairs(o, epoll);
  uint64_t begin = now_ns(), warm = begin + 300000000, end = warm + (uint64_t)(o->time * 1e9);
  uint64_t counted = 0, counted_at = 0, moved_at = begin, last = 0;
  double cpu = 0;
  for (uint64_t now = begin; now < end; now = now_ns()) {
    if (counted_at == 0 && now >= warm) {
      counted = received_by(all, o->pairs);
      counted_at = now;
      cpu = cpu_seconds(o->pid);
    }
    uint64_t sum = received_by(all, o->pairs);
    if (sum != last) {
      last = sum;
      moved_at = now;
    } else if (now - moved_at > 200000000) { /* dropped packets fill the windows: begin anew */
      for (unsigned i = 0; i < o->pairs; i++) {
        all[2 * i].sent = all[2 * i + 1].received;
      }
      moved_at = now;
    }
    for (unsigned i = 0; i < o->pairs; i++) {
      fill_window(&all[2 * i], o);
    }
    serve(epoll, o, 1);
  }
  double seconds = (double)(now_ns() - counted_at) / 1e9;
  double packets = (double)(received_by(all, o->pairs) - counted);
  cpu = cpu_seconds(o->pid) - cpu;
  printf("{\"event\":\"relay\",\"mode\":\"forward\",\"packets_s\":%.0f,\"gbit_s\":%.4f,"
         "\"cpu_s\":%.3f,\"packets_cpu_s\":%.0f}\n",
         packets / seconds, packets * o->size * 8 / seconds / 1e9, cpu,
         cpu > 0 ? packets / cpu : 0);
  free_clients(all, 2 * o->pairs);
  (void)close(epoll);
}

static int compare(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y ? 1 : 0;
}

static double quantile_us(double q) {
  return sample_count == 0 ? 0 : (double)samples[(size_t)(q * (double)(sample_count - 1))] / 1e3;
}

static void run_latency(const options *o) {
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  client *all = make_pairs(o, epoll);
  uint64_t begin = now_ns(), end = begin + (uint64_t)(o->time * 1e9), gap = 1000000000 / o->rate;
  uint64_t due = begin, sent = 0;
  for (uint64_t now = begin; now < end; now = now_ns()) {
    for (; due <= now; due += gap, sent++) {
      client *c = &all[2 * (sent % o->pairs)];
      if (c->tx_len + 2048 < TX_BYTES) {
        put_packet(c, o, now);
      }
    }
    for (unsigned i = 0; i < o->pairs; i++) {
      flush_tx(&all[2 * i]);
    }
    serve(epoll, o, 0);
  }
  qsort(samples, sample_count, sizeof samples[0], compare);
  printf("{\"event\":\"relay\",\"mode\":\"latency\",\"sent\":%llu,\"received\":%zu,\"p50_us\":%.1f,"
         "\"p99_us\":%.1f,\"max_us\":%.1f}\n",
         (unsigned long long)sent, sample_count, quantile_us(0.5), quantile_us(0.99),
         quantile_us(1));
  free_clients(all, 2 * o->pairs);
  (void)close(epoll);
}

/* --- connect, idle --------------------------------------------------------------------------- */

static void run_connect(const options *o) {
  client c = {0};
  if (km_secret_key_generate(&c.key) != 0) {
    die("no memory for a key");
  }
  km_secret_key_id(c.key, &c.id);
  uint64_t begin = now_ns(), end = begin + (uint64_t)(o->time * 1e9);
  double cpu = cpu_seconds(o->pid);
  unsigned count = 0;
  while (now_ns() < end) {
    connect_client(&c, o);
    (void)close(c.fd);
    count++;
  }
  cpu = cpu_seconds(o->pid) - cpu;
  printf("{\"event\":\"relay\",\"mode\":\"connect\",\"per_second\":%.0f,\"per_cpu_second\":%.0f}\n",
         (double)count / ((double)(now_ns() - begin) / 1e9), cpu > 0 ? count / cpu : 0);
  km_secret_key_free(c.key);
}

static void run_idle(const options *o) {
  client *all = calloc(o->clients, sizeof *all);
  if (all == NULL) {
    die("memory");
  }
  make_client(&all[0], o); /* what the first one costs is not counted */
  double before = resident_bytes(o->pid);
  for (unsigned i = 1; i < o->clients; i++) {
    make_client(&all[i], o);
  }
  (void)sleep(1);
  double after = resident_bytes(o->pid);
  printf("{\"event\":\"relay\",\"mode\":\"idle\",\"clients\":%u,\"bytes_per_client\":%.0f}\n",
         o->clients, (after - before) / (o->clients - 1));
  free_clients(all, o->clients);
}

/* --- options --------------------------------------------------------------------------------- */

static void parse_url(options *o, const char *url) {
  char host[64];
  unsigned port = 0;
  if (sscanf(url, "http://%63[0-9.]:%u", host, &port) != 2 || port == 0 || port > 65535 ||
      inet_pton(AF_INET, host, &o->to.sin_addr) != 1) {
    errno = EINVAL;
    die("--url takes http://IP:PORT");
  }
  o->to.sin_family = AF_INET;
  o->to.sin_port = htons((uint16_t)port);
}

static void parse(options *o, int argc, char **argv) {
  const struct {
    const char *name;
    unsigned *to;
  } numbers[] = {{"--pairs", &o->pairs}, {"--size", &o->size},       {"--window", &o->window},
                 {"--rate", &o->rate},   {"--clients", &o->clients}, {"--pid", &o->pid}};
  o->mode = argc > 1 ? argv[1] : "";
  for (int i = 2; i + 1 < argc; i += 2) {
    bool known = true;
    if (strcmp(argv[i], "--url") == 0) {
      parse_url(o, argv[i + 1]);
    } else if (strcmp(argv[i], "--protocol") == 0) {
      o->plain = strcmp(argv[i + 1], "plain") == 0;
    } else if (strcmp(argv[i], "--time") == 0) {
      o->time = atof(argv[i + 1]);
    } else {
      known = false;
    }
    for (size_t k = 0; k < sizeof numbers / sizeof numbers[0]; k++) {
      if (strcmp(argv[i], numbers[k].name) == 0) {
        *numbers[k].to = (unsigned)strtoul(argv[i + 1], NULL, 10);
        known = true;
      }
    }
    if (!known) {
      errno = EINVAL;
      die(argv[i]);
    }
  }
  if (o->size < STAMP || o->size > 65000 || o->pairs == 0 || o->rate == 0 || o->clients < 2) {
    errno = EINVAL;
    die("a number is out of range");
  }
}

int main(int argc, char **argv) {
  static const struct {
    const char *name;
    void (*run)(const options *o);
  } modes[] = {{"forward", run_forward},
               {"latency", run_latency},
               {"connect", run_connect},
               {"idle", run_idle}};
  options o = {.time = 3, .pairs = 4, .size = 1200, .window = 128, .rate = 20000, .clients = 10000};
  struct rlimit files;
  parse(&o, argc, argv);
  if (sodium_init() < 0 || getrlimit(RLIMIT_NOFILE, &files) != 0) {
    die("the system");
  }
  files.rlim_cur = files.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &files);
  for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
    if (strcmp(modes[i].name, o.mode) == 0) {
      modes[i].run(&o);
      return 0;
    }
  }
  errno = EINVAL;
  die(o.mode);
}
