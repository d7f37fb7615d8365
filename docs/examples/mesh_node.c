/* A node of a mesh: keeps one share in sync with its peers, and prints who is there and what comes.
 *
 *   mesh_node KEYFILE STORE [TICKET]...    peers by their tickets, which must be given ours, too
 *
 * Lines on standard input: "KEY VALUE" writes an entry, "! TEXT" tells all. Its end is the end. */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <keymesh/keymesh.h>

enum { MAX_PEERS = 16, LINE = 1024 };

typedef struct app {
  km_loop *loop;
  km_secret_key *key;
  km_store *store;
  km_endpoint *endpoint;
  km_mesh *mesh;
  km_kv_watch *watch;
  char line[LINE];
  size_t line_len;
} app;

/* --- what happens --- */

static void on_peer(void *ctx, km_mesh *mesh, const km_peer_status *peer) {
  static const char *const states[] = {"idle",      "dialling", "handshake",
                                       "connected", "waiting",  "refused"};
  char id[KM_ID_TEXT_CAP];
  (void)ctx, (void)mesh;
  (void)km_id_format(&peer->id, KM_ID_SHORT, id, sizeof id);
  printf("peer %s %s%s%s\n", id, states[peer->state], peer->last_error == NULL ? "" : ": ",
         peer->last_error == NULL ? "" : peer->last_error);
}

static void on_message(void *ctx, km_mesh *mesh, const km_message *message) {
  char id[KM_ID_TEXT_CAP];
  (void)ctx, (void)mesh;
  (void)km_id_format(&message->sender, KM_ID_SHORT, id, sizeof id);
  printf("message of %s: %s %s\n", id, message->type, message->body);
}

static void on_entry(void *ctx, const km_kv_entry *entry) {
  (void)ctx;
  printf("%s %s = %.*s\n", entry->own ? "wrote" : "got", entry->key, (int)entry->value_len,
         entry->deleted ? "" : (const char *)entry->value);
}

static void on_endpoint_closed(void *ctx, km_endpoint *endpoint) {
  (void)endpoint;
  ((app *)ctx)->endpoint = NULL;
}

static void on_mesh_closed(void *ctx, km_mesh *mesh) {
  app *a = ctx;
  (void)mesh; /* its memory is gone when this returns */
  a->mesh = NULL;
  km_endpoint_close(a->endpoint);
}

/* --- opening and closing --- */

static int open_all(app *a, const char *key_file, const char *store_file, km_errinfo *err) {
  km_store_options store;
  km_endpoint_options endpoint;
  int rv = km_loop_new(&a->loop);
  rv = rv != 0 ? rv : km_secret_key_load(&a->key, key_file, err);
  if (rv == KM_ERR_FILE_NOT_FOUND) {
    rv = km_secret_key_generate(&a->key);
    rv = rv != 0 ? rv : km_secret_key_save(a->key, key_file, err);
  }
  km_store_options_default(&store);
  store.path = store_file;
  store.secret_key = a->key; /* of one key with the endpoint */
  rv = rv != 0 ? rv : km_store_open(&a->store, &store, err);
  rv = rv != 0 ? rv : km_kv_watch_start(&a->watch, a->store, "notes", NULL, on_entry, a, err);
  km_endpoint_options_default(&endpoint);
  endpoint.secret_key = a->key;
  endpoint.callbacks.on_closed = on_endpoint_closed;
  endpoint.ctx = a;
  return rv != 0 ? rv : km_endpoint_open(&a->endpoint, a->loop, &endpoint, err);
}

/* Peers that are configured are trusted: the others would wait for km_trust_approve. */
static int open_mesh(app *a, char **tickets, size_t count, km_errinfo *err) {
  const km_mesh_share notes = {.name = "notes", .others = KM_ACCESS_WRITE};
  km_mesh_peer peers[MAX_PEERS];
  km_addr *addrs[MAX_PEERS] = {NULL};
  km_mesh_options opt;
  int rv = 0;
  for (size_t i = 0; rv == 0 && i < count; i++) {
    rv = km_ticket_parse(&addrs[i], tickets[i], strlen(tickets[i]), err);
    if (rv == 0) {
      peers[i] = (km_mesh_peer){
          .size = sizeof peers[i], .id = *km_addr_id(addrs[i]), .addr = addrs[i], .dial = true};
    }
  }
  km_mesh_options_default(&opt);
  opt.store = a->store;
  opt.shares = &notes;
  opt.share_count = 1;
  opt.peers = peers;
  opt.peer_count = count;
  opt.callbacks.on_peer = on_peer;
  opt.callbacks.on_message = on_message;
  opt.callbacks.on_closed = on_mesh_closed;
  opt.ctx = a;
  rv = rv != 0 ? rv : km_mesh_open(&a->mesh, a->endpoint, &opt, err);
  for (size_t i = 0; i < count; i++) {
    km_addr_free(addrs[i]); /* all of the options was copied */
  }
  return rv;
}

static void print_ticket(app *a) {
  static char ticket[KM_TICKET_MAX];
  km_addr *addr;
  if (km_endpoint_addr(a->endpoint, &addr) == 0) {
    printf("ticket %s\n", km_ticket_format(addr, ticket, sizeof ticket, NULL) == 0 ? ticket : "");
    km_addr_free(addr);
  }
}

/* --- standard input --- */

static int take_line(app *a, char *line, km_errinfo *err) {
  char json[LINE + 2], *value = strchr(line, ' ');
  if (value == NULL) {
    return km_kv_delete(a->store, "notes", line, err);
  }
  *value++ = '\0';
  if (strcmp(line, "!") != 0) {
    return km_kv_put(a->store, "notes", line, value, strlen(value), err);
  }
  (void)snprintf(json, sizeof json, "\"%s\"", value);
  return km_message_broadcast(a->store, "note", json, 0, NULL, err);
}

/* False at the end. */
static bool take_input(app *a) {
  ssize_t n = read(STDIN_FILENO, a->line + a->line_len, sizeof a->line - 1 - a->line_len);
  char *end;
  a->line_len += n > 0 ? (size_t)n : 0;
  a->line[a->line_len] = '\0';
  while ((end = strchr(a->line, '\n')) != NULL) {
    km_errinfo err = {.text = ""};
    *end++ = '\0';
    if (take_line(a, a->line, &err) != 0) {
      fprintf(stderr, "mesh_node: %s\n", err.text);
    }
    a->line_len -= (size_t)(end - a->line);
    memmove(a->line, end, a->line_len + 1);
  }
  return n > 0 && a->line_len < sizeof a->line - 1;
}

/* The library's descriptor in a loop of one's own. */
static void run(app *a) {
  struct pollfd fds[] = {{.fd = km_loop_fd(a->loop), .events = POLLIN},
                         {.fd = STDIN_FILENO, .events = POLLIN}};
  nfds_t count = 2;
  while (a->endpoint != NULL) {
    (void)fflush(stdout);
    (void)poll(fds, count, km_loop_timeout_ms(a->loop));
    if (count == 2 && fds[1].revents != 0 && !take_input(a)) {
      count = 1;
      km_mesh_close(a->mesh); /* the endpoint follows */
    }
    (void)km_loop_run_nowait(a->loop);
  }
}

int main(int argc, char **argv) {
  app a = {.line_len = 0};
  km_errinfo err = {.text = "give KEYFILE STORE [TICKET]..."};
  int rv = argc >= 3 && argc <= 3 + MAX_PEERS ? 0 : KM_ERR_INVALID;
  rv = rv != 0 ? rv : open_all(&a, argv[1], argv[2], &err);
  rv = rv != 0 ? rv : open_mesh(&a, argv + 3, (size_t)argc - 3, &err);
  if (rv == 0) {
    print_ticket(&a);
  } else {
    fprintf(stderr, "mesh_node: %s\n", err.text);
    if (a.endpoint != NULL) {
      km_endpoint_close(a.endpoint);
    }
  }
  while (rv != 0 && a.endpoint != NULL) {
    (void)km_loop_run(a.loop);
  }
  if (rv == 0) {
    run(&a);
  }
  km_kv_watch_cancel(a.watch);
  km_store_close(a.store);
  km_secret_key_free(a.key);
  return (a.loop != NULL && km_loop_free(a.loop) != 0) || rv != 0 ? 1 : 0;
}
