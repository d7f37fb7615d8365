/* What heartbeats cost a node with many peers: one node here, its peers in a process of their own,
 * all on loopback. The same connections are measured with heartbeats and with QUIC's keep-alive
 * alone, in turns, so that the difference is theirs. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <keymesh/keymesh.h>
#include <sodium.h>

#define LONG_MS 1800000u /* longer than any run; twice that is the longest silence */

typedef struct place {
  km_id id;
  km_udp_addr addr;
} place;

typedef struct node {
  km_loop *loop;
  km_secret_key *key;
  km_endpoint *ep;
  km_store *store;
  km_mesh *mesh;
  place place;
} node;

static void must(int rv, const km_errinfo *err, const char *what) {
  if (rv != 0) {
    fprintf(stderr, "%s: %s (%s)\n", what, err->text, km_error_name(rv));
    exit(1);
  }
}

static void open_node(node *n, km_loop *loop) {
  static const km_udp_addr loopback = {.family = 4, .ip = {127, 0, 0, 1}};
  km_errinfo err = {0};
  km_endpoint_options ep;
  km_store_options store;
  n->loop = loop;
  must(km_secret_key_generate(&n->key), &err, "key");
  km_endpoint_options_default(&ep);
  ep.secret_key = n->key;
  ep.bind = &loopback;
  ep.bind_count = 1;
  ep.relay_mode = KM_RELAY_MODE_DISABLED;
  ep.network_monitor = ep.port_mapping = false;
  must(km_endpoint_open(&n->ep, loop, &ep, &err), &err, "endpoint");
  km_store_options_default(&store);
  store.secret_key = n->key;
  must(km_store_open(&n->store, &store, &err), &err, "store");
  n->place.id = *km_endpoint_id(n->ep);
  (void)km_endpoint_bound(n->ep, &n->place.addr, 1);
}

static void open_mesh(node *n, const km_mesh_peer *peers, size_t count, uint32_t heartbeat_ms) {
  km_errinfo err = {0};
  km_mesh_options o;
  km_mesh_options_default(&o);
  o.store = n->store;
  o.peers = peers;
  o.peer_count = count;
  o.level = KM_SECURITY_DEVELOPMENT;
  o.heartbeat_ms = heartbeat_ms;
  o.heartbeat_timeout_ms = 2 * LONG_MS;
  o.connect_timeout_ms = 60000;
  o.max_conns_per_addr = KM_MESH_MAX_PEERS;
  must(km_mesh_open(&n->mesh, n->ep, &o, &err), &err, "mesh");
}

/* --- the peers ------------------------------------------------------------------------------- */

static void be_peers(size_t count, uint32_t heartbeat_ms, int out) {
  node *nodes = calloc(count, sizeof *nodes);
  km_errinfo err = {0};
  km_loop *loop;
  must(km_loop_new(&loop), &err, "loop");
  for (size_t i = 0; nodes != NULL && i < count; i++) {
    open_node(&nodes[i], loop);
    open_mesh(&nodes[i], NULL, 0, heartbeat_ms);
    if (write(out, &nodes[i].place, sizeof nodes[i].place) != sizeof nodes[i].place) {
      exit(1);
    }
  }
  (void)km_loop_run(loop);
  exit(0);
}

static pid_t start_peers(size_t count, uint32_t heartbeat_ms, place *ret) {
  int ends[2];
  if (pipe(ends) != 0) {
    exit(1);
  }
  pid_t child = fork();
  if (child == 0) {
    (void)close(ends[0]);
    be_peers(count, heartbeat_ms, ends[1]);
  }
  (void)close(ends[1]);
  for (size_t i = 0; i < count; i++) {
    for (size_t have = 0; have < sizeof *ret;) {
      ssize_t n = read(ends[0], (char *)&ret[i] + have, sizeof *ret - have);
      if (n <= 0) {
        fprintf(stderr, "the peers did not start\n");
        exit(1);
      }
      have += (size_t)n;
    }
  }
  (void)close(ends[0]);
  return child;
}

/* --- the node that is measured --------------------------------------------------------------- */

static double cpu_seconds(void) {
  struct rusage u;
  (void)getrusage(RUSAGE_SELF, &u);
  return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
         (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void on_time(void *ctx) {
  *(bool *)ctx = true;
}

static void run_for(km_loop *loop, uint64_t ms) {
  bool over = false;
  km_timer *timer;
  km_errinfo err = {0};
  must(km_timer_start(&timer, loop, ms, on_time, &over), &err, "timer");
  while (!over) {
    (void)km_loop_run_once(loop, -1);
  }
}

static km_mesh_stats mesh_stats(node *n) {
  km_mesh_stats s = {.size = sizeof s};
  (void)km_mesh_get_stats(n->mesh, &s);
  return s;
}

static km_mesh_peer *peers_of(const place *places, size_t count) {
  km_mesh_peer *peers = calloc(count, sizeof *peers);
  for (size_t i = 0; peers != NULL && i < count; i++) {
    km_errinfo err = {0};
    km_addr *addr;
    must(km_addr_new(&addr, &places[i].id), &err, "address");
    must(km_addr_add_udp(addr, &places[i].addr), &err, "address");
    peers[i] =
        (km_mesh_peer){.size = sizeof peers[i], .id = places[i].id, .addr = addr, .dial = true};
  }
  return peers;
}

static long resident_kib(void) {
  long pages = 0, ignored;
  FILE *f = fopen("/proc/self/statm", "r");
  if (f == NULL || fscanf(f, "%ld %ld", &ignored, &pages) != 2) {
    pages = 0;
  }
  if (f != NULL) {
    (void)fclose(f);
  }
  return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* One line of JSON: what this run cost. */
static void measure(size_t count, uint32_t heartbeat_ms, uint64_t seconds) {
  place *places = calloc(count, sizeof *places);
  pid_t child = places == NULL ? -1 : start_peers(count, heartbeat_ms, places);
  km_errinfo err = {0};
  node hub = {0};
  km_loop *loop = NULL;
  must(child < 0 ? KM_ERR_NOMEM : km_loop_new(&loop), &err, "loop");
  open_node(&hub, loop);
  long before = resident_kib();
  open_mesh(&hub, peers_of(places, count), count, heartbeat_ms);
  while (mesh_stats(&hub).connected < count) {
    (void)km_loop_run_once(loop, 1000);
  }
  run_for(loop, 1000); /* what connecting left to do */
  km_endpoint_stats ep = {.size = sizeof ep}, ep_end = {.size = sizeof ep_end};
  km_mesh_stats begin = mesh_stats(&hub);
  (void)km_endpoint_get_stats(hub.ep, &ep);
  double cpu = cpu_seconds();
  run_for(loop, seconds * 1000);
  cpu = cpu_seconds() - cpu;
  km_mesh_stats end = mesh_stats(&hub);
  (void)km_endpoint_get_stats(hub.ep, &ep_end);
  printf(
      "{\"peers\": %zu, \"heartbeat_ms\": %u, \"seconds\": %llu, \"cpu_s\": %.4f, "
      "\"heartbeats\": %llu, \"packets\": %llu, \"bytes\": %llu, \"kib_a_peer\": %.1f, "
      "\"connected\": %llu}\n",
      count, heartbeat_ms, (unsigned long long)seconds, cpu,
      (unsigned long long)(end.heartbeats_in + end.heartbeats_out - begin.heartbeats_in -
                           begin.heartbeats_out),
      (unsigned long long)(ep_end.rx_packets + ep_end.tx_packets - ep.rx_packets - ep.tx_packets),
      (unsigned long long)(ep_end.rx_bytes + ep_end.tx_bytes - ep.rx_bytes - ep.tx_bytes),
      (double)(resident_kib() - before) / (double)count, (unsigned long long)end.connected);
  (void)kill(child, SIGKILL);
  (void)waitpid(child, NULL, 0);
}

int main(int argc, char **argv) {
  if (argc != 4 || sodium_init() < 0) {
    fprintf(stderr, "usage: km-bench-heartbeats PEERS HEARTBEAT_MS SECONDS\n"
                    "HEARTBEAT_MS 0: none within the run\n");
    return 2;
  }
  unsigned long ms = strtoul(argv[2], NULL, 10);
  measure(strtoul(argv[1], NULL, 10), ms == 0 ? LONG_MS : (uint32_t)ms,
          strtoull(argv[3], NULL, 10));
  (void)fflush(stdout);
  _exit(0); /* what is open goes with the process */
}
