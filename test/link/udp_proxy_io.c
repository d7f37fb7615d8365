/* km-udp-proxy: a bad network between UDP clients and one UDP server. Each client address gets an
 * upstream socket of its own, as behind a NAT. A test program, never installed. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/env.h"
#include "test/link/proxy_options.h"

#define MAX_CLIENTS 1024
#define SOCKET_BUFFER (8 << 20)
#define PACKETS_A_TURN 256 /* read from one socket before the others get their turn */
#define NS_PER_S UINT64_C(1000000000)

typedef struct address {
  struct sockaddr_storage sa;
  socklen_t len;
} address;

/* A client and its upstream socket. */
typedef struct client {
  address from;
  int upstream;
} client;

typedef struct proxy {
  proxy_options options;
  address to;
  int listener;
  client clients[MAX_CLIENTS];
  size_t client_count;
  link_dir up, down;
  uint64_t seed_up, seed_down;
  uint64_t rebinds, turned_away, send_errors;
} proxy;

/* Set by signals; looked at between turns. */
static volatile sig_atomic_t stop_asked, blackhole_toggles, rebinds_asked;

static void on_signal(int number) {
  if (number == SIGUSR1) {
    blackhole_toggles++;
  } else if (number == SIGUSR2) {
    rebinds_asked++;
  } else {
    stop_asked = 1;
  }
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static void to_sockaddr(address *ret, const km_udp_addr *addr) {
  memset(ret, 0, sizeof *ret);
  if (addr->family == 4) {
    struct sockaddr_in *in = (void *)&ret->sa;
    in->sin_family = AF_INET;
    in->sin_port = htons(addr->port);
    memcpy(&in->sin_addr, addr->ip, 4);
    ret->len = sizeof *in;
    return;
  }
  struct sockaddr_in6 *in6 = (void *)&ret->sa;
  in6->sin6_family = AF_INET6;
  in6->sin6_port = htons(addr->port);
  in6->sin6_scope_id = addr->scope_id;
  memcpy(&in6->sin6_addr, addr->ip, 16);
  ret->len = sizeof *in6;
}

static void print_address(int fd) {
  struct sockaddr_storage sa;
  socklen_t len = sizeof sa;
  char host[INET6_ADDRSTRLEN] = "";
  if (getsockname(fd, (struct sockaddr *)&sa, &len) != 0) {
    return;
  }
  if (sa.ss_family == AF_INET) {
    const struct sockaddr_in *in = (const void *)&sa;
    inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
    printf("%s:%u", host, (unsigned)ntohs(in->sin_port));
  } else {
    const struct sockaddr_in6 *in6 = (const void *)&sa;
    inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
    printf("[%s]:%u", host, (unsigned)ntohs(in6->sin6_port));
  }
}

/* A non-blocking socket with room, so that only the emulated link loses packets. -1: errno says. */
static int open_socket(int family) {
  int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  int size = SOCKET_BUFFER;
  if (fd >= 0) {
#ifdef SO_RCVBUFFORCE
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) == 0) {
      return fd;
    }
#endif
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  }
  return fd;
}

/* Connected, so that only the server is heard, on a fresh port. */
static int open_upstream(const proxy *p) {
  int fd = open_socket(p->to.sa.ss_family);
  if (fd >= 0 && connect(fd, (const struct sockaddr *)&p->to.sa, p->to.len) != 0) {
    close(fd);
    return -1;
  }
  return fd;
}

static client *find_client(proxy *p, const address *from) {
  for (size_t i = 0; i < p->client_count; i++) {
    client *c = &p->clients[i];
    if (c->from.len == from->len && memcmp(&c->from.sa, &from->sa, from->len) == 0) {
      return c;
    }
  }
  if (p->client_count == MAX_CLIENTS) {
    return NULL;
  }
  client *c = &p->clients[p->client_count];
  c->from = *from;
  c->upstream = open_upstream(p);
  if (c->upstream < 0) {
    return NULL;
  }
  p->client_count++;
  return c;
}

static void rebind_upstreams(proxy *p) {
  for (size_t i = 0; i < p->client_count; i++) {
    int fd = open_upstream(p); /* before the old one goes: never the same port */
    if (fd < 0) {
      continue;
    }
    close(p->clients[i].upstream);
    p->clients[i].upstream = fd;
  }
  p->rebinds++;
}

static void read_listener(proxy *p) {
  static uint8_t buf[65536];
  for (int i = 0; i < PACKETS_A_TURN; i++) {
    address from;
    memset(&from, 0, sizeof from);
    from.len = sizeof from.sa;
    ssize_t n = recvfrom(p->listener, buf, sizeof buf, 0, (struct sockaddr *)&from.sa, &from.len);
    if (n < 0) {
      return;
    }
    client *c = find_client(p, &from);
    if (c == NULL) {
      p->turned_away++;
    } else if (!link_send(&p->up, now_ns(), buf, (size_t)n, c)) {
      p->turned_away++;
    }
  }
}

static void read_upstream(proxy *p, client *c) {
  static uint8_t buf[65536];
  for (int i = 0; i < PACKETS_A_TURN; i++) {
    ssize_t n = recv(c->upstream, buf, sizeof buf, 0);
    if (n < 0) {
      return; /* also ECONNREFUSED: the server is not there, which a NAT would not tell */
    }
    if (!link_send(&p->down, now_ns(), buf, (size_t)n, c)) {
      p->turned_away++;
    }
  }
}

static void deliver(proxy *p) {
  uint64_t now = now_ns();
  link_packet *packet;
  while ((packet = link_pop(&p->up, now)) != NULL) {
    const client *c = packet->tag;
    if (send(c->upstream, packet->data, packet->len, 0) < 0) {
      p->send_errors++;
    }
    free(packet);
  }
  while ((packet = link_pop(&p->down, now)) != NULL) {
    const client *c = packet->tag;
    if (sendto(p->listener, packet->data, packet->len, 0, (const struct sockaddr *)&c->from.sa,
               c->from.len) < 0) {
      p->send_errors++;
    }
    free(packet);
  }
}

/* Time until the next packet is due; NULL when nothing is under way. */
static const struct timespec *time_left(const proxy *p, struct timespec *ret) {
  uint64_t next = link_next(&p->up) < link_next(&p->down) ? link_next(&p->up) : link_next(&p->down);
  if (next == LINK_NEVER) {
    return NULL;
  }
  uint64_t now = now_ns();
  uint64_t left = next > now ? next - now : 0;
  ret->tv_sec = (time_t)(left / NS_PER_S);
  ret->tv_nsec = (long)(left % NS_PER_S);
  return ret;
}

/* Says what was done, so that whoever sent the signal can wait for it. */
static void obey_signals(proxy *p) {
  for (; blackhole_toggles > 0; blackhole_toggles--) {
    p->up.blackhole = p->down.blackhole = !p->up.blackhole;
    printf(p->options.json ? "{\"event\":\"blackhole\",\"on\":%s}\n" : "blackhole %s\n",
           p->up.blackhole ? "true" : "false");
  }
  for (; rebinds_asked > 0; rebinds_asked--) {
    rebind_upstreams(p);
    puts(p->options.json ? "{\"event\":\"rebound\"}" : "rebound");
  }
  fflush(stdout);
}

static void turn(proxy *p, const sigset_t *unblocked) {
  static struct pollfd fds[MAX_CLIENTS + 1];
  struct timespec left;
  size_t clients = p->client_count;
  fds[0] = (struct pollfd){.fd = p->listener, .events = POLLIN};
  for (size_t i = 0; i < clients; i++) {
    fds[i + 1] = (struct pollfd){.fd = p->clients[i].upstream, .events = POLLIN};
  }
  int ready = ppoll(fds, clients + 1, time_left(p, &left), unblocked);
  if (ready > 0) {
    if (fds[0].revents != 0) {
      read_listener(p);
    }
    for (size_t i = 0; i < clients; i++) {
      if (fds[i + 1].revents != 0) {
        read_upstream(p, &p->clients[i]);
      }
    }
  }
  deliver(p);
  obey_signals(p);
}

static void print_link_stats(const char *name, const link_stats *s) {
  printf("\"%s\":{\"sent\":%llu,\"sent_bytes\":%llu,\"delivered\":%llu,\"delivered_bytes\":%llu,"
         "\"lost\":%llu,\"overflowed\":%llu,\"blackholed\":%llu,\"duplicated\":%llu,"
         "\"corrupted\":%llu,\"reordered\":%llu}",
         name, (unsigned long long)s->sent_packets, (unsigned long long)s->sent_bytes,
         (unsigned long long)s->delivered_packets, (unsigned long long)s->delivered_bytes,
         (unsigned long long)s->lost, (unsigned long long)s->overflowed,
         (unsigned long long)s->blackholed, (unsigned long long)s->duplicated,
         (unsigned long long)s->corrupted, (unsigned long long)s->reordered);
}

static void print_ready(const proxy *p) {
  fputs(p->options.json ? "{\"event\":\"ready\",\"listen\":\"" : "listening on ", stdout);
  print_address(p->listener);
  puts(p->options.json ? "\"}" : "");
  fflush(stdout);
}

static void print_stats(const proxy *p) {
  printf(p->options.json ? "{\"event\":\"stats\",\"clients\":%zu,\"rebinds\":%llu,"
                           "\"turned_away\":%llu,\"send_errors\":%llu,"
                         : "clients %zu, rebinds %llu, turned away %llu, send errors %llu\n",
         p->client_count, (unsigned long long)p->rebinds, (unsigned long long)p->turned_away,
         (unsigned long long)p->send_errors);
  print_link_stats("up", &p->up.stats);
  fputs(p->options.json ? "," : "\n", stdout);
  print_link_stats("down", &p->down.stats);
  puts(p->options.json ? "}" : "");
  fflush(stdout);
}

/* Signals arrive only inside ppoll, so none is slept over. */
static void take_signals(sigset_t *ret_unblocked) {
  static const int numbers[] = {SIGUSR1, SIGUSR2, SIGINT, SIGTERM};
  struct sigaction action = {.sa_handler = on_signal};
  sigset_t blocked;
  sigemptyset(&blocked);
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
    sigaddset(&blocked, numbers[i]);
    sigaction(numbers[i], &action, NULL);
  }
  sigprocmask(SIG_BLOCK, &blocked, ret_unblocked);
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
    sigdelset(ret_unblocked, numbers[i]);
  }
}

static int listen_on(proxy *p, km_errinfo *err) {
  address at;
  to_sockaddr(&at, &p->options.listen);
  p->listener = open_socket(at.sa.ss_family);
  if (p->listener < 0) {
    return km_fail_errno(err, errno, "cannot open a socket");
  }
  if (bind(p->listener, (const struct sockaddr *)&at.sa, at.len) != 0) {
    return km_fail_errno(err, errno, "cannot bind the address given to --listen");
  }
  return 0;
}

static void close_proxy(proxy *p) {
  link_clear(&p->up);
  link_clear(&p->down);
  for (size_t i = 0; i < p->client_count; i++) {
    close(p->clients[i].upstream);
  }
  close(p->listener);
}

int main(int argc, char **argv) {
  static proxy p;
  km_errinfo err = {0};
  sigset_t unblocked;
  if (proxy_options_parse(&p.options, argc, argv, &err) != 0) {
    fprintf(stderr, "km-udp-proxy: %s\n%s", err.text, PROXY_USAGE);
    return 2;
  }
  if (listen_on(&p, &err) != 0) {
    fprintf(stderr, "km-udp-proxy: %s\n", err.text);
    return 1;
  }
  to_sockaddr(&p.to, &p.options.to);
  p.seed_up = p.options.seed;
  p.seed_down = ~p.options.seed;
  link_init(&p.up, &p.options.link, link_splitmix, &p.seed_up);
  link_init(&p.down, &p.options.link, link_splitmix, &p.seed_down);
  take_signals(&unblocked);
  print_ready(&p);
  while (!stop_asked) {
    turn(&p, &unblocked);
  }
  print_stats(&p);
  close_proxy(&p);
  return 0;
}
