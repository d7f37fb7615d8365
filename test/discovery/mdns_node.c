/* A node that speaks multicast DNS and nothing else, on the public API, for mdns_test.py.
 *
 *   mdns_node SECRET_HEX [--signed | --trusted ID]... [--no-publish] [--watch] [--on INTERFACE]
 *       [--state FILE]
 *
 * Says on stdout, a line each: "id ID", "found ID ADDRS RELAYS DATA proven|unproven", "lost ID",
 * and of look-ups "answer ID ADDRS RELAYS DATA proven|unproven MS" and "done ID COUNT MS". Empty
 * lists are "-". Commands on stdin: "publish ADDRS RELAYS DATA", "withdraw", "resolve ID", "state",
 * "quit". */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <keymesh/discovery.h>

#include "base/env.h"
#include "base/io/loop_io.h"

#define LIST_CAP 2048

typedef struct node {
  km_loop *loop;
  km_discovery *discovery;
  km_secret_key *key;
  km_id id;
  km_poll *commands;
  char line[2 * LIST_CAP];
  size_t line_len;
} node;

typedef struct asked {
  km_id id;
  km_ts since;
} asked;

static void check(bool holds, const char *what, const km_errinfo *err) {
  if (!holds) {
    (void)fprintf(stderr, "mdns_node: %s: %s\n", what, err != NULL ? err->text : "");
    exit(1);
  }
}

static const char *hex(const km_id *id, char ret[KM_ID_TEXT_CAP]) {
  (void)km_id_format(id, KM_ID_HEX, ret, KM_ID_TEXT_CAP);
  return ret;
}

static void join(char *list, const char *text) {
  size_t len = strlen(list);
  (void)snprintf(list + len, LIST_CAP - len, "%s%s", len > 0 ? "," : "", text);
}

static void say_found(const char *what, const km_found *f) {
  char id[KM_ID_TEXT_CAP], addrs[LIST_CAP] = "", relays[LIST_CAP] = "";
  for (size_t i = 0; i < km_addr_udp_count(f->addr); i++) {
    char text[KM_UDP_ADDR_TEXT_CAP];
    (void)km_udp_addr_format(km_addr_udp_at(f->addr, i), text, sizeof text);
    join(addrs, text);
  }
  for (size_t i = 0; i < km_addr_relay_count(f->addr); i++) {
    join(relays, km_addr_relay_at(f->addr, i));
  }
  (void)printf("%s %s %s %s %s %s", what, hex(km_addr_id(f->addr), id), addrs[0] ? addrs : "-",
               relays[0] ? relays : "-", f->user_data != NULL ? f->user_data : "-",
               f->proven ? "proven" : "unproven");
}

static void on_found(void *ctx, const km_found *f) {
  (void)ctx;
  say_found("found", f);
  (void)printf("\n");
}

static void on_lost(void *ctx, const km_id *id, const char *source) {
  char text[KM_ID_TEXT_CAP];
  (void)ctx;
  (void)printf("lost %s %s\n", hex(id, text), source);
}

static unsigned ms_since(km_ts since) {
  return (unsigned)((km_clock_now() - since) / KM_NS_PER_MS);
}

static void on_answer(void *ctx, km_lookup *lookup, const km_found *f) {
  const asked *a = ctx;
  (void)lookup;
  if (strcmp(f->source, "mdns") == 0) {
    say_found("answer", f);
    (void)printf(" %u\n", ms_since(a->since));
  }
}

static void on_done(void *ctx, km_lookup *lookup, size_t found, const km_errinfo *err) {
  char text[KM_ID_TEXT_CAP];
  asked *a = ctx;
  (void)lookup;
  (void)err;
  (void)printf("done %s %zu %u\n", hex(&a->id, text), found, ms_since(a->since));
  free(a);
}

static void resolve(node *n, const char *text) {
  static const km_lookup_callbacks callbacks = {
      .size = sizeof callbacks, .on_found = on_answer, .on_done = on_done};
  km_lookup *lookup;
  km_errinfo err = {0};
  asked *a = calloc(1, sizeof *a);
  check(a != NULL && km_id_parse(&a->id, text, strlen(text), &err) == 0, text, &err);
  a->since = km_clock_now();
  check(km_discovery_lookup(n->discovery, &lookup, &a->id, &callbacks, a, &err) == 0, text, &err);
}

static void publish(node *n, char *addrs, char *relays, const char *data) {
  km_addr *addr;
  km_errinfo err = {0};
  char *at;
  check(km_addr_new(&addr, &n->id) == 0, "address", NULL);
  for (char *word = strtok_r(addrs, ",", &at); word != NULL; word = strtok_r(NULL, ",", &at)) {
    km_udp_addr udp;
    check(km_udp_addr_parse(&udp, word, strlen(word), &err) == 0, word, &err);
    check(km_addr_add_udp(addr, &udp) == 0, word, NULL);
  }
  for (char *word = strtok_r(relays, ",", &at); word != NULL; word = strtok_r(NULL, ",", &at)) {
    if (strcmp(word, "-") != 0) {
      check(km_addr_add_relay(addr, word, strlen(word), &err) == 0, word, &err);
    }
  }
  km_peer_info info = {
      .size = sizeof info, .addr = addr, .user_data = strcmp(data, "-") != 0 ? data : NULL};
  check(km_discovery_publish(n->discovery, &info, &err) == 0, "publish", &err);
  km_addr_free(addr);
}

static void say_state(const node *n) {
  km_publish_state state = {.size = sizeof state};
  for (size_t i = 0; km_discovery_publish_state(n->discovery, i, &state) == 0; i++) {
    (void)printf("state %s %s %s\n", state.source, state.wanted ? "wanted" : "-",
                 state.done ? "done" : "-");
  }
}

static void obey(node *n, char *line) {
  char *at;
  const char *word = strtok_r(line, " ", &at);
  if (word == NULL) {
    return;
  }
  if (strcmp(word, "publish") == 0) {
    char *addrs = strtok_r(NULL, " ", &at), *relays = strtok_r(NULL, " ", &at);
    const char *data = strtok_r(NULL, " ", &at);
    check(data != NULL, "publish ADDRS RELAYS DATA", NULL);
    publish(n, addrs, relays, data);
  } else if (strcmp(word, "withdraw") == 0) {
    check(km_discovery_publish(n->discovery, NULL, NULL) == 0, "withdraw", NULL);
  } else if (strcmp(word, "resolve") == 0) {
    resolve(n, strtok_r(NULL, " ", &at));
  } else if (strcmp(word, "state") == 0) {
    say_state(n);
  } else if (strcmp(word, "quit") == 0) {
    km_loop_stop(n->loop);
  }
}

static void on_commands(void *ctx, int events) {
  node *n = ctx;
  char c;
  ssize_t got;
  (void)events;
  while ((got = read(STDIN_FILENO, &c, 1)) == 1) {
    if (c != '\n') {
      check(n->line_len + 1 < sizeof n->line, "a line is too long", NULL);
      n->line[n->line_len++] = c;
      continue;
    }
    n->line[n->line_len] = '\0';
    n->line_len = 0;
    obey(n, n->line);
  }
  if (got == 0) {
    km_loop_stop(n->loop);
  }
}

static void on_log(void *ctx, const km_log_entry *entry) {
  (void)ctx;
  (void)fprintf(stderr, "%s: %s\n", entry->event, entry->text);
}

static void add_mdns(node *n, int argc, char **argv, bool *watch) {
  km_id trusted[16];
  const char *interfaces[4];
  km_errinfo err = {0};
  km_mdns_options o = {.size = sizeof o, .trusted = trusted, .interfaces = interfaces};
  for (int i = 2; i < argc; i++) {
    if (strcmp(argv[i], "--signed") == 0) {
      o.mode = KM_MDNS_SIGNED;
    } else if (strcmp(argv[i], "--no-publish") == 0) {
      o.no_publish = true;
    } else if (strcmp(argv[i], "--watch") == 0) {
      *watch = true;
    } else if (strcmp(argv[i], "--trusted") == 0 && i + 1 < argc && o.trusted_count < 16) {
      o.mode = KM_MDNS_TRUSTED;
      i++;
      check(km_id_parse(&trusted[o.trusted_count++], argv[i], strlen(argv[i]), &err) == 0, argv[i],
            &err);
    } else if (strcmp(argv[i], "--state") == 0 && i + 1 < argc) {
      i++; /* main has it */
    } else if (strcmp(argv[i], "--on") == 0 && i + 1 < argc && o.interface_count < 4) {
      interfaces[o.interface_count++] = argv[++i];
    } else {
      check(false, argv[i], NULL);
    }
  }
  check(km_discovery_add_mdns(n->discovery, &o, &err) == 0, "mdns", &err);
}

int main(int argc, char **argv) {
  static const km_watch_callbacks callbacks = {
      .size = sizeof callbacks, .on_found = on_found, .on_lost = on_lost};
  node n = {0};
  km_errinfo err = {0};
  char text[KM_ID_TEXT_CAP];
  bool watch = false;
  km_watch *watcher = NULL;
  km_log_filter filter;
  (void)setvbuf(stdout, NULL, _IOLBF, 0);
  check(argc >= 2, "no secret key", NULL);
  check(km_secret_key_parse(&n.key, argv[1], strlen(argv[1]), &err) == 0, "key", &err);
  km_secret_key_id(n.key, &n.id);
  check(km_loop_new(&n.loop) == 0, "loop", NULL);
  memset(&filter, KM_LOG_DEBUG, sizeof filter);
  km_discovery_options options = {
      .size = sizeof options, .secret_key = n.key, .log = on_log, .log_filter = &filter};
  for (int i = 2; i + 1 < argc; i++) {
    options.state_file = strcmp(argv[i], "--state") == 0 ? argv[i + 1] : options.state_file;
  }
  check(km_discovery_new(&n.discovery, n.loop, &options, &err) == 0, "discovery", &err);
  add_mdns(&n, argc, argv, &watch);
  if (watch) {
    check(km_discovery_watch(n.discovery, &watcher, &callbacks, NULL, &err) == 0, "watch", &err);
  }
  check(fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK) == 0 &&
            km_poll_new(&n.commands, n.loop, STDIN_FILENO, on_commands, &n) == 0 &&
            km_poll_set(n.commands, KM_POLL_READ) == 0,
        "stdin", NULL);
  (void)printf("id %s\n", hex(&n.id, text));
  (void)km_loop_run(n.loop);
  km_watch_cancel(watcher);
  km_discovery_free(n.discovery);
  km_poll_free(n.commands);
  while (km_loop_run_once(n.loop, 0) == 0 && km_loop_free(n.loop) != 0) {
  }
  km_secret_key_free(n.key);
  return 0;
}
