#include "cmd/node/node.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "cmd/cli/signals_io.h"
#include "cmd/node/key_option.h"
#include "cmd/node/qr.h"

void node_add_options(cli_option table[NODE_OPTIONS_MAX], node_options *o) {
  const cli_option rows[] = {
      {"--bind", CLI_LIST, &o->bind, "IP:PORT", "bind here (again for more; default any)", 0, 0},
      {"--secret-key", CLI_TEXT, &o->secret_key, "HEX", "secret key (ps shows it; prefer a file)",
       0, 0},
      {"--key-file", CLI_TEXT, &o->key_file, "PATH", "file with the secret key, mode 0600", 0, 0},
      {"--relay", CLI_LIST, &o->relay, "URL",
       "relay (again for more), or default, staging, disabled", 0, 0},
      {"--relay-ca", CLI_TEXT, &o->relay_ca, "FILE", "PEM authorities of relays (default system's)",
       0, 0},
      {"--relay-token", CLI_TEXT, &o->relay_token, "TOKEN",
       "what these relays want to see (default $KM_RELAY_TOKEN)", 0, 0},
      {"--stun", CLI_LIST, &o->stun, "HOST[:PORT]",
       "STUN server (again for more; default the relays' hosts)", 0, 0},
      {"--policy", CLI_TEXT, &o->policy, "POLICY",
       "any, prefer-direct (default), relay-only or direct:SECONDS", 0, 0},
      {"--no-port-mapping", CLI_FLAG, &o->no_port_mapping, NULL, "ask no router for a port", 0, 0},
      {"--congestion", CLI_TEXT, &o->congestion, "NAME", "cubic (default), bbr or reno", 0, 0},
      {"--post-quantum", CLI_FLAG, &o->post_quantum, NULL, "prefer X25519MLKEM768", 0, 0},
      {"--log", CLI_TEXT, &o->log, "FILTER", "log to stderr: info,quic=debug (or KM_LOG)", 0, 0},
      {"--qlog", CLI_TEXT, &o->qlog, "DIR", "one qlog file a connection", 0, 0},
      {"--keylog", CLI_TEXT, &o->keylog, "FILE", "TLS secrets for Wireshark; keep it safe", 0, 0},
      {"--json", CLI_FLAG, &o->json, NULL, "one JSON object a line on stdout", 0, 0},
      {0},
  };
  size_t used = 0;
  while (table[used].name != NULL) {
    used++;
  }
  assert(used + sizeof rows / sizeof rows[0] <= NODE_OPTIONS_MAX);
  memcpy(table + used, rows, sizeof rows);
}

void node_add_discovery(cli_option table[NODE_OPTIONS_MAX], node_options *o) {
  discovery_add_options(table, NODE_OPTIONS_MAX, &o->discovery, true);
  o->finds_peers = true;
}

static int parse_binds(const cli_list *list, km_udp_addr *ret, km_errinfo *err) {
  if (list->count > KM_ENDPOINT_MAX_SOCKETS) {
    return km_fail(err, KM_ERR_INVALID, "--bind was given too often");
  }
  for (size_t i = 0; i < list->count; i++) {
    int rv = km_udp_addr_parse(&ret[i], list->at[i], strlen(list->at[i]), err);
    if (rv != 0) {
      return rv;
    }
  }
  return 0;
}

static int check_stun(const cli_list *list, km_errinfo *err) {
  return list->count <= KM_NET_REPORT_MAX_STUN
             ? 0
             : km_fail(err, KM_ERR_INVALID, "--stun was given too often: %d servers are enough",
                       KM_NET_REPORT_MAX_STUN);
}

static int parse_relays(const cli_list *list, km_endpoint_options *ret, km_errinfo *err) {
  static const struct {
    const char *word;
    km_relay_mode mode;
  } modes[] = {{"disabled", KM_RELAY_MODE_DISABLED},
               {"default", KM_RELAY_MODE_DEFAULT},
               {"staging", KM_RELAY_MODE_STAGING}};
  for (size_t i = 0; i < list->count; i++) {
    for (size_t k = 0; k < sizeof modes / sizeof modes[0]; k++) {
      if (strcmp(list->at[i], modes[k].word) == 0) {
        ret->relay_mode = modes[k].mode;
        return list->count == 1
                   ? 0
                   : km_fail(err, KM_ERR_INVALID, "--relay %s goes alone", modes[k].word);
      }
    }
  }
  if (list->count > 0) {
    ret->relay_mode = KM_RELAY_MODE_CUSTOM;
    ret->relay_urls = list->at;
    ret->relay_url_count = list->count;
  }
  return 0;
}

const char *node_relay_token(const char *option) {
  const char *set = option != NULL ? option : getenv("KM_RELAY_TOKEN");
  return set != NULL && set[0] != '\0' ? set : NULL;
}

static int parse_congestion(const char *text, km_endpoint_options *ret, km_errinfo *err) {
  if (text == NULL || strcmp(text, "cubic") == 0) {
    ret->congestion = KM_CC_CUBIC;
  } else if (strcmp(text, "bbr") == 0) {
    ret->congestion = KM_CC_BBR;
  } else if (strcmp(text, "reno") == 0) {
    ret->congestion = KM_CC_RENO;
  } else {
    return km_fail(err, KM_ERR_INVALID, "--congestion is cubic, bbr or reno, not '%.40s'", text);
  }
  return 0;
}

#define MAX_WITHIN_S 600

/* "direct:SECONDS" */
static bool parse_within(const char *text, uint32_t *ret_ms) {
  const char word[] = "direct:";
  size_t len = strlen(word);
  if (strncmp(text, word, len) != 0) {
    return false;
  }
  uint32_t seconds = 0;
  for (text += len; text[0] >= '0' && text[0] <= '9' && seconds <= MAX_WITHIN_S; text++) {
    seconds = 10 * seconds + (uint32_t)(text[0] - '0');
  }
  *ret_ms = seconds * 1000;
  return text[0] == '\0' && seconds > 0 && seconds <= MAX_WITHIN_S;
}

static int parse_policy(const char *text, km_endpoint_options *ret, km_errinfo *err) {
  if (text == NULL || strcmp(text, "prefer-direct") == 0) {
    ret->path_policy = KM_POLICY_PREFER_DIRECT;
  } else if (strcmp(text, "any") == 0) {
    ret->path_policy = KM_POLICY_ANY;
  } else if (strcmp(text, "relay-only") == 0) {
    ret->path_policy = KM_POLICY_RELAY_ONLY;
  } else if (parse_within(text, &ret->direct_within_ms)) {
    ret->path_policy = KM_POLICY_REQUIRE_DIRECT;
  } else {
    return km_fail(err, KM_ERR_INVALID,
                   "--policy is any, prefer-direct, relay-only or direct:SECONDS (1 to %d), "
                   "not '%.40s'",
                   MAX_WITHIN_S, text);
  }
  return 0;
}

static int parse_log(const char *text, km_endpoint_options *ret, km_errinfo *err) {
  const char *filter = cli_log_filter(text);
  if (filter == NULL) {
    return 0;
  }
  ret->log = km_log_to_stderr;
  return km_log_filter_parse(&ret->log_filter, filter, err);
}

/* --- readiness ------------------------------------------------------------------------------- */

#define RELAY_WAIT_MS 5000

static void be_ready(node *n) {
  void (*fn)(node * n) = n->on_ready;
  km_timer_cancel(n->ready_timer);
  n->ready_timer = NULL;
  n->on_ready = NULL;
  n->ready = true;
  fn(n);
}

static void on_relay_late(void *ctx) {
  node *n = ctx;
  n->ready_timer = NULL;
  (void)fprintf(stderr,
                "warning: no relay answered within %d s; until one does, only direct addresses "
                "work (--log relay=debug says more)\n",
                RELAY_WAIT_MS / 1000);
  be_ready(n);
}

void node_when_ready(node *n, void (*fn)(node *n)) {
  n->on_ready = fn;
  if (!n->has_relays || km_endpoint_online(n->endpoint) ||
      km_timer_start(&n->ready_timer, n->loop, RELAY_WAIT_MS, on_relay_late, n) != 0) {
    be_ready(n);
  }
}

static void on_endpoint_closed(void *ctx, km_endpoint *endpoint) {
  node *n = ctx;
  (void)endpoint;
  n->endpoint = NULL;
  km_loop_stop(n->loop);
}

static bool home_is_news(node *n);
static void tell_home(const node *n);

static void on_home_relay(void *ctx, km_endpoint *endpoint) {
  node *n = ctx;
  if (n->ready && home_is_news(n)) { /* or it is about another standby */
    tell_home(n);
  } else if (!n->ready && n->on_ready != NULL && km_endpoint_online(endpoint)) {
    be_ready(n);
  }
}

static void on_stop(void *ctx) {
  node *n = ctx;
  node_finish(n, n->stop_status);
}

static bool publishes(const node_options *o) {
  bool made_up = o->secret_key == NULL && o->key_file == NULL;
  return !o->discovery.no_publish && !(o->dials && made_up);
}

/* It signs with the key of the endpoint, which is made here if none was given. */
static int open_discovery(node *n, const node_options *o, const km_endpoint_options *opt,
                          km_secret_key **key, km_errinfo *err) {
  if (!o->finds_peers || o->discovery.none) {
    return 0;
  }
  int rv = *key != NULL ? 0 : km_secret_key_generate(key);
  if (rv != 0) {
    return km_fail(err, rv, NULL);
  }
  const discovery_setup setup = {.loop = n->loop,
                                 .key = *key,
                                 .relay_mode = opt->relay_mode,
                                 .no_publish = !publishes(o),
                                 .log = opt->log,
                                 .log_filter = &opt->log_filter};
  return discovery_open(&n->discovery, &o->discovery, &setup, err);
}

static int open_endpoint(node *n, const node_options *o, km_errinfo *err) {
  km_endpoint_options opt;
  km_udp_addr binds[KM_ENDPOINT_MAX_SOCKETS];
  km_secret_key *key = NULL;
  km_endpoint_options_default(&opt);
  int rv = parse_binds(&o->bind, binds, err);
  rv = rv != 0 ? rv : parse_relays(&o->relay, &opt, err);
  rv = rv != 0 ? rv : check_stun(&o->stun, err);
  rv = rv != 0 ? rv : parse_policy(o->policy, &opt, err);
  rv = rv != 0 ? rv : parse_congestion(o->congestion, &opt, err);
  rv = rv != 0 ? rv : parse_log(o->log, &opt, err);
  rv = rv != 0 ? rv : key_option_load(o->secret_key, o->key_file, &key, err);
  if (rv != 0) {
    return rv;
  }
  n->has_relays =
      opt.relay_mode != KM_RELAY_MODE_DISABLED && opt.relay_mode != KM_RELAY_MODE_DIAL_ONLY;
  opt.relay_ca_file = o->relay_ca;
  opt.relay_token =
      opt.relay_mode == KM_RELAY_MODE_CUSTOM ? node_relay_token(o->relay_token) : NULL;
  opt.stun_servers = o->stun.at;
  opt.stun_server_count = o->stun.count;
  opt.port_mapping = !o->no_port_mapping;
  opt.bind = binds;
  opt.bind_count = o->bind.count;
  opt.prefer_post_quantum = o->post_quantum;
  opt.qlog_dir = o->qlog;
  opt.keylog_file = o->keylog;
  opt.callbacks = (km_endpoint_callbacks){.size = sizeof opt.callbacks,
                                          .on_home_relay = on_home_relay,
                                          .on_closed = on_endpoint_closed};
  opt.ctx = n;
  rv = open_discovery(n, o, &opt, &key, err);
  opt.secret_key = key;
  opt.discovery = n->discovery;
  opt.publish = publishes(o);
  rv = rv != 0 ? rv : km_endpoint_open(&n->endpoint, n->loop, &opt, err);
  km_secret_key_free(key);
  if (rv != 0) {
    km_discovery_free(n->discovery);
    n->discovery = NULL;
  }
  return rv;
}

int node_open(node *n, const node_options *options) {
  km_errinfo err;
  cli_output_init(&n->out, options->json);
  memset(&err, 0, sizeof err);
  err.code = km_loop_new(&n->loop);
  if (err.code != 0) {
    return cli_error(&n->out, CLI_EXIT_FAILED, &err);
  }
  int rv = open_endpoint(n, options, &err);
  if (rv != 0) {
    (void)km_loop_free(n->loop);
    int status = cli_status_of(rv);
    /* What cannot be bound or loaded is the fault of the option given. */
    bool usage = status == CLI_EXIT_FAILED || rv == KM_ERR_RELAY_TLS;
    return cli_error(&n->out, usage ? CLI_EXIT_USAGE : status, &err);
  }
  if (cli_signals_watch(n->loop, on_stop, n) != 0) {
    node_finish(n, CLI_EXIT_FAILED);
  }
  return 0;
}

int node_run(node *n) {
  while (n->endpoint != NULL) {
    (void)km_loop_run(n->loop);
  }
  cli_signals_stop();
  km_discovery_free(n->discovery);
  n->discovery = NULL;
  (void)km_loop_free(n->loop);
  return n->status;
}

void node_finish(node *n, int status) {
  if (n->status == CLI_EXIT_OK) {
    n->status = status;
  }
  n->on_ready = NULL;
  km_timer_cancel(n->ready_timer);
  n->ready_timer = NULL;
  km_endpoint_close(n->endpoint);
}

void node_fail(node *n, const km_errinfo *err) {
  node_finish(n, cli_error(&n->out, cli_status_of(err->code), err));
}

/* --- ready ----------------------------------------------------------------------------------- */

/* The home relay's url, or null. */
static const char *add_home(const node *n, cJSON *event, const char *name) {
  const char *home = km_endpoint_home_relay(n->endpoint);
  if (home != NULL) {
    cli_add_text(event, name, home);
  } else {
    cli_add_null(event, name);
  }
  return home;
}

static void say_ready(node *n, const char *id, const char *ticket, const km_addr *addr) {
  cli_say(&n->out, "id      %s", id);
  cli_say(&n->out, "ticket  %s", ticket);
  for (size_t i = 0; i < km_addr_udp_count(addr); i++) {
    char text[KM_UDP_ADDR_TEXT_CAP];
    (void)km_udp_addr_format(km_addr_udp_at(addr, i), text, sizeof text);
    cli_say(&n->out, "direct  %s", text);
  }
  for (size_t i = 0; i < km_addr_relay_count(addr); i++) {
    cli_say(&n->out, "relay   %s", km_addr_relay_at(addr, i));
  }
}

static void emit_ready(node *n, const char *id, const char *ticket, const km_addr *addr) {
  cJSON *event = cli_event(&n->out, "ready");
  cli_add_text(event, "id", id);
  cli_add_text(event, "ticket", ticket);
  cJSON *direct = event == NULL ? NULL : cJSON_AddArrayToObject(event, "direct");
  for (size_t i = 0; direct != NULL && i < km_addr_udp_count(addr); i++) {
    char text[KM_UDP_ADDR_TEXT_CAP];
    (void)km_udp_addr_format(km_addr_udp_at(addr, i), text, sizeof text);
    (void)cJSON_AddItemToArray(direct, cJSON_CreateString(text));
  }
  add_home(n, event, "relay");
  (void)home_is_news(n);
  cli_emit(event);
}

static bool home_is_news(node *n) {
  const char *home = km_endpoint_home_relay(n->endpoint);
  home = home == NULL ? "" : home;
  if (strcmp(home, n->home) == 0) {
    return false;
  }
  (void)snprintf(n->home, sizeof n->home, "%s", home);
  return true;
}

static void tell_home(const node *n) {
  cJSON *event = cli_event(&n->out, "relay");
  const char *home = add_home(n, event, "home");
  cli_emit(event);
  if (home == NULL) {
    cli_say(&n->out, "no relay answers; only direct addresses work");
  } else {
    cli_say(&n->out, "home relay is %s", home);
  }
}

int node_print_ready(node *n) {
  km_addr *addr;
  char id[KM_ID_TEXT_CAP];
  char ticket[KM_TICKET_MAX];
  int rv = km_endpoint_addr(n->endpoint, &addr);
  if (rv != 0) {
    return rv;
  }
  rv = km_ticket_format(addr, ticket, sizeof ticket, NULL);
  if (rv == 0) {
    (void)km_id_format(km_endpoint_id(n->endpoint), KM_ID_HEX, id, sizeof id);
    emit_ready(n, id, ticket, addr);
    say_ready(n, id, ticket, addr);
    km_errinfo err;
    if (n->qr && !n->out.json && qr_print(ticket, &err) != 0) {
      (void)fprintf(stderr, "warning: %s\n", err.text);
    }
  }
  km_addr_free(addr);
  return rv;
}

/* --- peers ----------------------------------------------------------------------------------- */

static int peer_from_id(km_addr **ret, const char *text, km_errinfo *err) {
  km_id id;
  int rv = km_id_parse(&id, text, strlen(text), err);
  if (rv == 0) {
    rv = km_addr_new(ret, &id);
  }
  return rv;
}

static int add_direct(km_addr *addr, const char *text, km_errinfo *err) {
  km_udp_addr udp;
  int rv = km_udp_addr_parse(&udp, text, strlen(text), err);
  if (rv == 0) {
    rv = km_addr_add_udp(addr, &udp);
    if (rv != 0) {
      (void)snprintf(err->text, sizeof err->text, "--addr %s cannot be dialled: %s", text,
                     rv == KM_ERR_BAD_ADDR ? "it has no port" : km_strerror(rv));
    }
  }
  return rv;
}

int node_parse_peer(const cli_output *out, km_addr **ret, const char *text, const cli_list *addrs,
                    const cli_list *relays) {
  km_errinfo err;
  km_addr *addr = NULL;
  memset(&err, 0, sizeof err);
  bool ticket = strncmp(text, "endpoint", strlen("endpoint")) == 0;
  int rv =
      ticket ? km_ticket_parse(&addr, text, strlen(text), &err) : peer_from_id(&addr, text, &err);
  for (size_t i = 0; rv == 0 && i < addrs->count; i++) {
    rv = add_direct(addr, addrs->at[i], &err);
  }
  for (size_t i = 0; rv == 0 && relays != NULL && i < relays->count; i++) {
    rv = km_addr_add_relay(addr, relays->at[i], strlen(relays->at[i]), &err);
  }
  if (rv == 0) {
    *ret = addr;
    return 0;
  }
  km_addr_free(addr);
  err.code = rv;
  return cli_error(out, CLI_EXIT_USAGE, &err);
}

cli_list node_take_relays(node_options *o) {
  cli_list relays = {0};
  if (o->relay.count > 0 && strstr(o->relay.at[0], "://") != NULL) {
    relays = o->relay;
    o->relay.count = node_relay_token(o->relay_token) != NULL ? relays.count : 0;
  }
  return relays;
}
