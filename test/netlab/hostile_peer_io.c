/* km-netlab-hostile-peer: a peer with a key of its own and a proper connection, through the relay
 * alone, which then tells the other side, in Call-me-maybes that are sealed as they should be,
 * about one address of a third party after the other.
 *
 *   km-netlab-hostile-peer TICKET NET CALLS-A-SECOND SECONDS
 *
 * NET is an IPv4 address: the 65,536 addresses that share its first two bytes are named, with any
 * port. Prints `connected` and, at the end, `done` as JSON. A test program, never installed. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <keymesh/keymesh.h>
#include <sodium.h>

#include "holepunch/disco.h"

#define ALPN "km/netlab-transfer/1"
#define TURN_MS 10

typedef struct hostile {
  km_loop *loop;
  km_endpoint *endpoint; /* NULL once it is closed */
  km_conn *conn;
  km_secret_key *key;
  km_addr *addr;
  uint8_t net[2];
  uint32_t calls_a_second, seconds;
  uint64_t calls, errors;
  uint64_t begun_ms;
  uint64_t wall_ns; /* of the last packet; grows */
  uint8_t shared[KM_DISCO_KEY_LEN];
  int sock;
  bool failed;
} hostile;

static uint64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Ahead of what the endpoint itself sends, so that none of ours is old. */
static uint64_t packet_time(hostile *h) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  uint64_t now = ((uint64_t)t.tv_sec + 1) * 1000000000 + (uint64_t)t.tv_nsec;
  h->wall_ns = now > h->wall_ns ? now : h->wall_ns + 1;
  return h->wall_ns;
}

static void name_third_parties(const hostile *h, km_call_me_maybe *call) {
  memset(call, 0, sizeof *call);
  call->count = KM_DISCO_MAX_CANDIDATES;
  for (size_t i = 0; i < call->count; i++) {
    km_candidate *c = &call->candidates[i];
    c->source = KM_CANDIDATE_INTERFACE;
    c->addr.family = 4;
    c->addr.port = (uint16_t)(1024 + randombytes_uniform(60000));
    memcpy(c->addr.ip, h->net, 2);
    c->addr.ip[2] = (uint8_t)randombytes_uniform(256);
    c->addr.ip[3] = (uint8_t)(1 + randombytes_uniform(254));
  }
}

static int make_call(hostile *h, uint8_t *ret, size_t cap) {
  km_disco_message msg = {.type = KM_DISCO_CALL_ME_MAYBE};
  km_disco_header header = {.time_ns = packet_time(h)};
  uint8_t body[KM_DISCO_MAX_PACKET];
  name_third_parties(h, &msg.call);
  km_secret_key_id(h->key, &header.sender);
  randombytes_buf(header.nonce, sizeof header.nonce);
  int len = km_disco_write(&msg, body, sizeof body);
  return len < 0 ? len : km_disco_seal(&header, h->shared, body, (size_t)len, ret, cap);
}

static void send_call(hostile *h) {
  uint8_t packet[KM_DISCO_MAX_PACKET];
  int len = make_call(h, packet, sizeof packet);
  h->calls++;
  if (len < 0 || send(h->sock, packet, (size_t)len, 0) != len) {
    h->errors++;
  }
}

static void stop(hostile *h) {
  printf("{\"event\":\"done\",\"calls\":%" PRIu64 ",\"errors\":%" PRIu64 ",\"alive\":%s}\n",
         h->calls, h->errors, h->conn != NULL ? "true" : "false");
  fflush(stdout);
  km_endpoint_close(h->endpoint);
}

static void on_turn(void *ctx) {
  hostile *h = ctx;
  km_timer *timer;
  uint64_t passed = now_ms() - h->begun_ms;
  if (h->endpoint == NULL) {
    return;
  }
  if (passed >= (uint64_t)h->seconds * 1000 || h->conn == NULL) {
    stop(h);
    return;
  }
  while (h->calls * 1000 < passed * h->calls_a_second) {
    send_call(h);
  }
  if (km_timer_start(&timer, h->loop, TURN_MS, on_turn, h) != 0) {
    stop(h);
  }
}

/* To the first IPv4 address that the ticket names. */
static int open_socket(const km_addr *addr) {
  for (size_t i = 0; i < km_addr_udp_count(addr); i++) {
    const km_udp_addr *udp = km_addr_udp_at(addr, i);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(udp->port)};
    if (udp->family != 4) {
      continue;
    }
    memcpy(&to.sin_addr, udp->ip, 4);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&to, sizeof to) == 0) {
      return fd;
    }
    if (fd >= 0) {
      close(fd);
    }
  }
  return -1;
}

static void on_connected(void *ctx, km_conn *conn) {
  hostile *h = ctx;
  h->sock = open_socket(h->addr);
  h->failed = h->sock < 0 || km_disco_key(h->shared, h->key, km_conn_remote_id(conn)) != 0;
  puts("{\"event\":\"connected\"}");
  fflush(stdout);
  if (h->failed) {
    fprintf(stderr, "km-netlab-hostile-peer: no IPv4 address, or no key\n");
    km_endpoint_close(h->endpoint);
    return;
  }
  h->begun_ms = now_ms();
  on_turn(h);
}

static void on_closed(void *ctx, km_conn *conn, const km_close_info *info) {
  hostile *h = ctx;
  (void)conn;
  fprintf(stderr, "km-netlab-hostile-peer: %s\n", info->text);
  h->failed = h->failed || h->begun_ms == 0;
  h->conn = NULL;
  if (h->begun_ms == 0) {
    km_endpoint_close(h->endpoint);
  }
}

static void on_endpoint_closed(void *ctx, km_endpoint *endpoint) {
  hostile *h = ctx;
  (void)endpoint;
  h->endpoint = NULL;
  km_loop_stop(h->loop);
}

static int dial_by_relay(hostile *h, const km_conn_callbacks *callbacks, km_errinfo *err) {
  km_addr *addr;
  int rv = km_addr_new(&addr, km_addr_id(h->addr));
  if (rv != 0) {
    return rv;
  }
  for (size_t i = 0; rv == 0 && i < km_addr_relay_count(h->addr); i++) {
    const char *url = km_addr_relay_at(h->addr, i);
    rv = km_addr_add_relay(addr, url, strlen(url), err);
  }
  if (rv == 0) {
    rv = km_endpoint_dial(h->endpoint, &h->conn, addr, ALPN, callbacks, h, NULL, err);
  }
  km_addr_free(addr);
  return rv;
}

static int start(hostile *h, km_errinfo *err) {
  static const km_conn_callbacks callbacks = {
      .size = sizeof callbacks, .on_connected = on_connected, .on_closed = on_closed};
  km_endpoint_options opt;
  km_endpoint_options_default(&opt);
  opt.secret_key = h->key;
  opt.callbacks.on_closed = on_endpoint_closed;
  opt.ctx = h;
  int rv = km_endpoint_open(&h->endpoint, h->loop, &opt, err);
  if (rv == 0) {
    rv = dial_by_relay(h, &callbacks, err);
  }
  return rv;
}

static int read_words(hostile *h, char **argv, km_errinfo *err) {
  struct in_addr net;
  if (inet_pton(AF_INET, argv[2], &net) != 1) {
    return -1;
  }
  memcpy(h->net, &net, 2);
  h->calls_a_second = (uint32_t)strtoul(argv[3], NULL, 10);
  h->seconds = (uint32_t)strtoul(argv[4], NULL, 10);
  return km_ticket_parse(&h->addr, argv[1], strlen(argv[1]), err);
}

int main(int argc, char **argv) {
  static hostile h = {.sock = -1};
  km_errinfo err = {.text = "usage: km-netlab-hostile-peer TICKET NET CALLS-A-SECOND SECONDS"};
  if (argc != 5 || sodium_init() < 0 || read_words(&h, argv, &err) != 0 ||
      km_loop_new(&h.loop) != 0 || km_secret_key_generate(&h.key) != 0) {
    fprintf(stderr, "km-netlab-hostile-peer: %s\n", err.text);
    return 2;
  }
  int rv = start(&h, &err);
  if (rv != 0) {
    fprintf(stderr, "km-netlab-hostile-peer: %s\n", err.text);
    km_endpoint_close(h.endpoint);
  }
  while (h.endpoint != NULL) {
    (void)km_loop_run(h.loop);
  }
  if (h.sock >= 0) {
    close(h.sock);
  }
  km_addr_free(h.addr);
  km_secret_key_free(h.key);
  return km_loop_free(h.loop) != 0 || rv != 0 || h.failed || h.errors > 0;
}
