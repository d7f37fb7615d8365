/* A node with a status page, and a friend that comes and goes as stdin says; for page_test.py and
 * page_browser_test.py. All of it is real: stores in memory, endpoints on loopback, meshes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "base/env.h"
#include "base/io/loop_io.h"
#include "cmd/node/page/status_page_io.h"

#define LINE_MAX_BYTES 512

static const char *const usage =
    "page_node [--host IP] [--port N] [--token T] [--alone] [--name NAME] [--friend NAME]\n";

struct app;

typedef struct side {
  struct app *app;
  km_secret_key *key;
  km_id id;
  km_store *store;
  km_endpoint *endpoint;
  km_mesh *mesh;
  bool closing, closed;
} side;

typedef struct app {
  km_loop *loop;
  side a, b;
  km_id ghost; /* never there */
  const char *friend_name;
  project project;
  project_share shares[2];
  node_context node;
  status_page_config config;
  status_page *page;
  km_poll *input;
  char line[LINE_MAX_BYTES];
  size_t line_len;
  km_errinfo err;
} app;

static void must(app *t, int rv, const char *what) {
  if (rv != 0) {
    (void)fprintf(stderr, "page_node: %s: %s\n", what, t->err.text);
    exit(1);
  }
}

/* --- nodes ----------------------------------------------------------------------------------- */

static void on_mesh_closed(void *ctx, km_mesh *mesh) {
  side *s = ctx;
  (void)mesh;
  s->mesh = NULL;
  km_endpoint_close(s->endpoint);
}

static void on_endpoint_closed(void *ctx, km_endpoint *endpoint) {
  side *s = ctx;
  (void)endpoint;
  s->endpoint = NULL;
  s->closed = true;
}

static void on_peer(void *ctx, km_mesh *mesh, const km_peer_status *peer) {
  side *s = ctx;
  app *t = s->app;
  (void)mesh;
  (void)peer;
  if (s == &t->a && t->page != NULL) {
    status_page_changed(t->page);
  }
}

static void open_endpoint(app *t, side *s) {
  km_udp_addr bind = {.family = 4, .ip = {127, 0, 0, 1}};
  km_endpoint_options options;
  km_endpoint_options_default(&options);
  options.secret_key = s->key;
  options.bind = &bind;
  options.bind_count = 1;
  options.relay_mode = KM_RELAY_MODE_DISABLED;
  options.port_mapping = false;
  options.network_monitor = false;
  options.callbacks.on_closed = on_endpoint_closed;
  options.ctx = s;
  must(t, km_endpoint_open(&s->endpoint, t->loop, &options, &t->err), "endpoint");
  s->closed = s->closing = false;
}

static void open_store(app *t, side *s) {
  km_store_options options;
  km_store_options_default(&options);
  options.secret_key = s->key;
  must(t, km_store_open(&s->store, &options, &t->err), "store");
}

static void open_mesh(app *t, side *s, const char *node_id, const km_mesh_peer *peers,
                      size_t count) {
  static const km_mesh_share shares[] = {{"notes", KM_ACCESS_WRITE}, {"photos", KM_ACCESS_NONE}};
  static const uint32_t backoff[] = {300, 20000};
  km_mesh_options options;
  km_mesh_options_default(&options);
  options.store = s->store;
  options.node_id = node_id;
  options.shares = shares;
  options.share_count = s == &t->a ? 2 : 1;
  options.peers = peers;
  options.peer_count = count;
  options.heartbeat_ms = 300;
  options.heartbeat_timeout_ms = 60000; /* a slow machine is not a lost peer */
  options.backoff_ms = backoff;
  options.backoff_count = 2;
  options.callbacks.on_peer = on_peer;
  options.callbacks.on_closed = on_mesh_closed;
  options.ctx = s;
  must(t, km_mesh_open(&s->mesh, s->endpoint, &options, &t->err), "mesh");
}

static km_addr *address(app *t, const km_id *id, const km_udp_addr *udp) {
  km_addr *addr = NULL;
  must(t, km_addr_new(&addr, id), "address");
  must(t, km_addr_add_udp(addr, udp), "address");
  return addr;
}

/* The friend is let in when it dials; the ghost is dialled and never there. */
static void open_a(app *t, bool alone) {
  km_udp_addr nowhere = {.family = 4, .ip = {127, 0, 0, 1}, .port = 9};
  km_addr *addr = address(t, &t->ghost, &nowhere);
  km_mesh_peer peers[2] = {
      {.size = sizeof peers[0], .id = t->b.id, .name = t->friend_name},
      {.size = sizeof peers[0], .id = t->ghost, .name = "ghost", .addr = addr, .dial = true},
  };
  open_store(t, &t->a);
  open_endpoint(t, &t->a);
  open_mesh(t, &t->a, t->project.node_id, peers, alone ? 0 : 2);
  km_addr_free(addr);
}

static void join(app *t) {
  km_udp_addr at[KM_ENDPOINT_MAX_SOCKETS];
  (void)km_endpoint_bound(t->a.endpoint, at, KM_ENDPOINT_MAX_SOCKETS);
  km_addr *addr = address(t, &t->a.id, &at[0]);
  km_mesh_peer peer = {
      .size = sizeof peer, .id = t->a.id, .name = "home", .addr = addr, .dial = true};
  open_store(t, &t->b);
  open_endpoint(t, &t->b);
  open_mesh(t, &t->b, "friend", &peer, 1);
  km_addr_free(addr);
}

static void close_side(app *t, side *s) {
  if (s->store == NULL) {
    return;
  }
  km_mesh_close(s->mesh);
  while (!s->closed) {
    (void)km_loop_run_once(t->loop, 1000);
  }
  km_store_close(s->store);
  s->store = NULL;
}

/* --- what stdin says ------------------------------------------------------------------------- */

static void obey(app *t, char *line) {
  char share[64], key[64], value[64];
  if (strcmp(line, "join") == 0) {
    join(t);
  } else if (strcmp(line, "leave") == 0) {
    t->b.closing = true; /* not from inside the loop */
    km_loop_stop(t->loop);
  } else if (sscanf(line, "put %63s %63s %63s", share, key, value) == 3) {
    must(t, km_kv_put(t->a.store, share, key, value, strlen(value), &t->err), "put");
    status_page_changed(t->page);
  } else if (sscanf(line, "fill %63s %63s", share, value) == 2) {
    must(t, km_kv_begin(t->a.store, &t->err), "begin");
    for (long i = strtol(value, NULL, 10); i > 0; i--) {
      (void)snprintf(key, sizeof key, "key/%ld", i);
      must(t, km_kv_put(t->a.store, share, key, key, strlen(key), &t->err), "put");
    }
    must(t, km_kv_commit(t->a.store, &t->err), "commit");
  } else if (strcmp(line, "changed") == 0) {
    status_page_changed(t->page);
  } else {
    (void)fprintf(stderr, "page_node: what is \"%s\"?\n", line);
    exit(1);
  }
  (void)printf("ok\n");
}

static void on_input(void *ctx, int events) {
  app *t = ctx;
  (void)events;
  ssize_t len = read(STDIN_FILENO, t->line + t->line_len, sizeof t->line - 1 - t->line_len);
  if (len <= 0) {
    km_poll_free(t->input);
    t->input = NULL;
    km_loop_stop(t->loop);
    return;
  }
  t->line_len += (size_t)len;
  t->line[t->line_len] = '\0';
  char *at = t->line;
  for (char *end; (end = strchr(at, '\n')) != NULL; at = end + 1) {
    *end = '\0';
    obey(t, at);
  }
  t->line_len = strlen(at);
  memmove(t->line, at, t->line_len + 1);
}

/* --- life ------------------------------------------------------------------------------------ */

static void make_key(app *t, side *s) {
  must(t, km_secret_key_generate(&s->key), "key");
  km_secret_key_id(s->key, &s->id);
}

static bool read_options(app *t, int argc, char **argv) {
  bool alone = false;
  t->config.host = "127.0.0.1";
  t->friend_name = "friend";
  t->project.node_id = "page-node";
  for (int i = 1; i < argc; i++) {
    const char *value = i + 1 < argc ? argv[i + 1] : "";
    if (strcmp(argv[i], "--alone") == 0) {
      alone = true;
      continue;
    } else if (strcmp(argv[i], "--host") == 0) {
      t->config.host = value;
    } else if (strcmp(argv[i], "--port") == 0) {
      t->config.port = (uint16_t)strtol(value, NULL, 10);
    } else if (strcmp(argv[i], "--token") == 0) {
      t->config.token = value;
    } else if (strcmp(argv[i], "--name") == 0) {
      t->project.node_id = argv[i + 1];
    } else if (strcmp(argv[i], "--friend") == 0) {
      t->friend_name = value;
    } else {
      (void)fputs(usage, stderr);
      exit(2);
    }
    i++;
  }
  return alone;
}

static void open_page(app *t) {
  t->node = (node_context){.loop = t->loop,
                           .store = t->a.store,
                           .mesh = t->a.mesh,
                           .project = &t->project,
                           .started_ms = km_clock_wall().unix_ns / 1000000};
  t->config.node = &t->node;
  must(t, status_page_open(&t->page, &t->config, &t->err), "page");
  char friend_id[KM_ID_TEXT_CAP], id[KM_ID_TEXT_CAP];
  (void)km_id_format(&t->a.id, KM_ID_HEX, id, sizeof id);
  (void)km_id_format(&t->b.id, KM_ID_HEX, friend_id, sizeof friend_id);
  (void)printf("{\"port\":%u,\"id\":\"%s\",\"friend\":\"%s\"}\n", status_page_bound(t->page)->port,
               id, friend_id);
}

int main(int argc, char **argv) {
  app *t = sodium_init() < 0 ? NULL : calloc(1, sizeof *t);
  if (t == NULL) {
    return 1;
  }
  t->a.app = t->b.app = t;
  (void)setvbuf(stdout, NULL, _IOLBF, 0);
  bool alone = read_options(t, argc, argv);
  side ghost = {0};
  make_key(t, &t->a);
  make_key(t, &t->b);
  make_key(t, &ghost);
  t->ghost = ghost.id;
  t->shares[0] = (project_share){.name = "notes", .others = KM_ACCESS_WRITE};
  t->shares[1] = (project_share){.name = "photos", .path = "/srv/photos"};
  t->project.shares = t->shares;
  t->project.share_count = alone ? 0 : 2;
  must(t, km_loop_new(&t->loop), "loop");
  open_a(t, alone);
  open_page(t);
  must(t, km_poll_new(&t->input, t->loop, STDIN_FILENO, on_input, t), "stdin");
  must(t, km_poll_set(t->input, KM_POLL_READ), "stdin");
  while (t->input != NULL) {
    (void)km_loop_run(t->loop);
    if (t->b.closing) {
      close_side(t, &t->b);
    }
  }
  status_page_close(t->page);
  t->page = NULL;
  close_side(t, &t->b);
  close_side(t, &t->a);
  km_secret_key_free(t->a.key);
  km_secret_key_free(t->b.key);
  km_secret_key_free(ghost.key);
  int rv = km_loop_free(t->loop);
  free(t);
  return rv == 0 ? 0 : 1;
}
