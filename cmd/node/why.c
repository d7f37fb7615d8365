/* km-node why: why the connection to a peer is direct, or is not, and what to change. */
#include <stdio.h>
#include <string.h>

#include "base/env.h"
#include "cmd/node/ctl/why_peer.h"
#include "cmd/node/node.h"

#define DEFAULT_WAIT_S 10
#define TICK_MS 200
#define SETTLE_MS 300 /* a direct path measures its round trip before it is shown */

typedef struct why {
  node n;
  km_conn *conn;
  km_timer *timer, *tick;
  uint64_t wait_s, timeout_s; /* timeout_s 0: the default, longer where a relay is far */
  unsigned ticks;
  int shown; /* width of the progress line; 0: none */
  bool connected, done;
} why;

/* --- for who waits --------------------------------------------------------------------------- */

static void end_progress(why *w) {
  if (w->shown > 0) {
    (void)fprintf(stderr, "\r%*s\r", w->shown, "");
    w->shown = 0;
  }
}

static void start_tick(why *w);

static void on_tick(void *ctx) {
  why *w = ctx;
  w->tick = NULL;
  if (w->done) {
    return;
  }
  km_path_info path = {0};
  if (w->conn != NULL) {
    (void)km_conn_path(w->conn, &path);
  }
  double seconds = ++w->ticks * TICK_MS / 1000.0;
  int width = fprintf(stderr, "\r%s, %.1f s",
                      !w->connected                 ? "dialling"
                      : path.kind == KM_PATH_DIRECT ? "direct"
                                                    : "relayed, looking for a direct path",
                      seconds);
  w->shown = width > w->shown ? width : w->shown;
  start_tick(w);
}

static void start_tick(why *w) {
  if (cli_watched(&w->n.out) && km_timer_start(&w->tick, w->n.loop, TICK_MS, on_tick, w) != 0) {
    w->tick = NULL;
  }
}

/* --- for people ------------------------------------------------------------------------------ */

static const char *path_text(const km_path_info *path, char buf[CLI_PATH_TEXT_CAP]) {
  (void)cli_path_addr(path, buf);
  return buf;
}

static const char *state_name(const km_path_info *info) {
  static const char *const names[] = {[KM_PATH_UNTRIED] = "not tried",
                                      [KM_PATH_PROBING] = "no answer",
                                      [KM_PATH_OPEN] = "open",
                                      [KM_PATH_SUSPECT] = "silent",
                                      [KM_PATH_DEAD] = "dead"};
  bool spare = info->kind == KM_PATH_RELAY && info->state < KM_PATH_OPEN;
  return info->selected ? "in use" : spare ? "not used" : names[info->state];
}

/* The sentence, in lines that fit a terminal. */
static void say_wrapped(const cli_output *out, const char *first, const char *text) {
  enum { WIDTH = 78 };
  char line[256];
  size_t indent = strlen(first);
  int used = snprintf(line, sizeof line, "%s", first);
  for (const char *word = text; *word != '\0';) {
    size_t len = strcspn(word, " ");
    if ((size_t)used > indent && (size_t)used + 1 + len > WIDTH) {
      cli_say(out, "%s", line);
      used = snprintf(line, sizeof line, "%*s", (int)indent, "");
    }
    used += snprintf(line + used, sizeof line - (size_t)used, "%s%.*s",
                     (size_t)used > indent ? " " : "", (int)(len < 120 ? len : 120), word);
    word += len + (word[len] == ' ');
  }
  cli_say(out, "%s", line);
}

static void say_side(const cli_output *out, const char *name, const km_explain_side *side) {
  if (!side->known) {
    cli_say(out, "%s not known: it told nothing", name);
    return;
  }
  char ipv6[160] = "";
  if (side->mapping6 != KM_NAT_MAPPING_UNKNOWN || side->filtering6 != KM_NAT_FILTERING_UNKNOWN) {
    (void)snprintf(ipv6, sizeof ipv6, "; IPv6: mapping %s, filtering %s",
                   km_nat_mapping_name(side->mapping6), km_nat_filtering_name(side->filtering6));
  }
  cli_say(out, "%s %s (mapping %s, filtering %s%s)", name, km_nat_verdict_name(side->verdict),
          km_nat_mapping_name(side->mapping4), km_nat_filtering_name(side->filtering4), ipv6);
}

static void say_offers(const cli_output *out, const km_explain_side *side) {
  for (size_t i = 0; i < side->candidate_count; i++) {
    char addr[KM_UDP_ADDR_TEXT_CAP], from[128];
    (void)km_udp_addr_format(&side->candidates[i].addr, addr, sizeof addr);
    cli_say(out, "  %-42s %s", addr,
            km_explain_sources(side->candidates[i].sources, from, sizeof from));
  }
}

static void say_path(const cli_output *out, const km_explain_path *path) {
  char addr[CLI_PATH_TEXT_CAP], from[128], rtt[32] = "-", pings[48] = "-", loss[16] = "-";
  if (path->info.rtt_us > 0) {
    (void)snprintf(rtt, sizeof rtt, "%.2f ms", (double)path->info.rtt_us / 1000);
  }
  if (path->pings > 0) {
    (void)snprintf(pings, sizeof pings, "%llu/%llu", (unsigned long long)path->pongs,
                   (unsigned long long)path->pings);
  }
  if (path->pongs > 0) {
    (void)snprintf(loss, sizeof loss, "%.1f %%", path->info.loss_permille / 10.0);
  }
  bool relay = path->info.kind == KM_PATH_RELAY;
  cli_say(out, "  %-42s %-9s %10s %7s %7s  %s", path_text(&path->info, addr),
          state_name(&path->info), rtt, pings, loss,
          relay ? "relay" : km_explain_sources(path->sources, from, sizeof from));
}

static void say_steps(const cli_output *out, const km_explanation *ex) {
  cli_say(out, "\nWhat happened (ms since the connection began):");
  for (size_t i = 0; i < ex->event_count; i++) {
    const km_explain_event *e = &ex->events[i];
    char times[32] = "";
    if (e->times > 1) {
      (void)snprintf(times, sizeof times, " (%u times)", e->times);
    }
    cli_say(out, "  %8lld  %s%s", (long long)e->at_ms, e->text, times);
  }
}

static void say_explanation(const cli_output *out, const km_explanation *ex) {
  bool told = ex->policy != KM_POLICY_ANY && ex->policy != KM_POLICY_RELAY_ONLY;
  say_wrapped(out, "verdict  ", ex->why);
  if (ex->advice[0] != '\0') {
    say_wrapped(out, "to do    ", ex->advice);
  }
  say_side(out, "\nour NAT   ", &ex->here);
  say_side(out, "peer's NAT", &ex->there);
  cli_say(out, "\nOur addresses%s:", told ? ", as the peer is told" : " (the peer is told none)");
  say_offers(out, &ex->here);
  cli_say(out, "\nWays to the peer:\n  %-42s %-9s %10s %7s %7s  %s", "", "state", "rtt", "answers",
          "loss", "known from");
  for (size_t i = 0; i < ex->path_count; i++) {
    say_path(out, &ex->paths[i]);
  }
  say_steps(out, ex);
}

/* --- for machines ---------------------------------------------------------------------------- */

static cJSON *add_object(cJSON *to, const char *name) {
  return to == NULL ? NULL : cJSON_AddObjectToObject(to, name);
}

static cJSON *add_list(cJSON *to, const char *name) {
  return to == NULL ? NULL : cJSON_AddArrayToObject(to, name);
}

static cJSON *add_item(cJSON *list) {
  cJSON *item = list == NULL ? NULL : cJSON_CreateObject();
  if (item != NULL && !cJSON_AddItemToArray(list, item)) {
    cJSON_Delete(item);
    return NULL;
  }
  return item;
}

static void add_addr(cJSON *to, const char *name, const km_udp_addr *addr) {
  char text[KM_UDP_ADDR_TEXT_CAP];
  if (addr->family != 0 && km_udp_addr_format(addr, text, sizeof text) > 0) {
    cli_add_text(to, name, text);
  } else {
    cli_add_null(to, name);
  }
}

static void add_sources(cJSON *to, uint32_t sources) {
  cJSON *list = add_list(to, "from");
  char one[32];
  for (uint32_t bit = 1; list != NULL && bit != 0 && bit <= KM_SOURCE_GUESSED; bit <<= 1) {
    if ((sources & bit) != 0) {
      (void)cJSON_AddItemToArray(list,
                                 cJSON_CreateString(km_explain_sources(bit, one, sizeof one)));
    }
  }
}

static void add_side(cJSON *to, const char *name, const km_explain_side *side) {
  if (!side->known) {
    cli_add_null(to, name);
    return;
  }
  cJSON *object = add_object(to, name);
  cli_add_text(object, "nat", km_nat_verdict_name(side->verdict));
  cli_add_text(object, "mapping4", km_nat_mapping_name(side->mapping4));
  cli_add_text(object, "filtering4", km_nat_filtering_name(side->filtering4));
  cli_add_text(object, "mapping6", km_nat_mapping_name(side->mapping6));
  cli_add_text(object, "filtering6", km_nat_filtering_name(side->filtering6));
  cli_add_number(object, "port_step", side->port_step);
  cJSON *list = add_list(object, "addresses");
  for (size_t i = 0; i < side->candidate_count; i++) {
    cJSON *item = add_item(list);
    add_addr(item, "addr", &side->candidates[i].addr);
    add_sources(item, side->candidates[i].sources);
  }
}

static void add_way(cJSON *list, const km_explain_path *path) {
  cJSON *item = add_item(list);
  char addr[CLI_PATH_TEXT_CAP];
  cli_add_text(item, "kind", cli_path_name(&path->info));
  cli_add_text(item, "addr", path_text(&path->info, addr));
  cli_add_text(item, "state", state_name(&path->info));
  cli_add_number(item, "rtt_us", (double)path->info.rtt_us);
  cli_add_number(item, "loss_permille", path->info.loss_permille);
  cli_add_number(item, "pings", (double)path->pings);
  cli_add_number(item, "pongs", (double)path->pongs);
  cli_add_number(item, "tx_bytes", (double)path->info.tx_bytes);
  cli_add_number(item, "rx_bytes", (double)path->info.rx_bytes);
  add_sources(item, path->sources);
  add_addr(item, "we_are_seen_as", &path->observed);
}

static void emit_steps(const cli_output *out, const km_explanation *ex) {
  for (size_t i = 0; i < ex->event_count; i++) {
    const km_explain_event *e = &ex->events[i];
    cJSON *event = cli_event(out, "step");
    cli_add_number(event, "at_ms", (double)e->at_ms);
    cli_add_text(event, "kind", km_explain_event_name(e->kind));
    add_addr(event, "addr", &e->addr);
    cli_add_number(event, "times", e->times);
    cli_add_text(event, "text", e->text);
    cli_emit(event);
  }
}

static void add_time(cJSON *to, const char *name, int64_t ms) {
  if (ms < 0) {
    cli_add_null(to, name);
  } else {
    cli_add_number(to, name, (double)ms);
  }
}

static void add_figures(cJSON *event, const km_explanation *ex) {
  add_time(event, "connected_ms", ex->connected_ms);
  add_time(event, "relayed_ms", ex->relayed_ms);
  add_time(event, "direct_ms", ex->direct_ms);
  const struct {
    const char *name;
    uint64_t value;
  } figures[] = {{"age_ms", ex->age_ms},
                 {"attempts", ex->attempts},
                 {"successes", ex->successes},
                 {"pings_sent", ex->pings_sent},
                 {"pings_received", ex->pings_received},
                 {"pongs_received", ex->pongs_received},
                 {"guesses", ex->guesses},
                 {"put_off", ex->put_off},
                 {"time_to_direct_us", ex->time_to_direct_us},
                 {"moves_tried", ex->moves_tried},
                 {"moves_failed", ex->moves_failed}};
  for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++) {
    cli_add_number(event, figures[i].name, (double)figures[i].value);
  }
}

static void emit_explanation(const why *w, const km_explanation *ex) {
  char id[KM_ID_TEXT_CAP];
  const cli_output *out = &w->n.out;
  emit_steps(out, ex);
  cJSON *event = cli_event(out, "explanation");
  (void)km_id_format(km_conn_remote_id(w->conn), KM_ID_HEX, id, sizeof id);
  cli_add_text(event, "remote", id);
  cli_add_text(event, "reason", km_explain_reason_name(ex->reason));
  cli_add_text(event, "why", ex->why);
  cli_add_text(event, "advice", ex->advice);
  cli_add_text(event, "kind", cli_path_name(&ex->path));
  cli_add_path(event, &ex->path);
  add_side(event, "here", &ex->here);
  add_side(event, "there", &ex->there);
  cJSON *list = add_list(event, "ways");
  for (size_t i = 0; i < ex->path_count; i++) {
    add_way(list, &ex->paths[i]);
  }
  add_figures(event, ex);
  cli_emit(event);
}

/* --- the connection -------------------------------------------------------------------------- */

static int explain(why *w) {
  km_explanation *ex;
  end_progress(w);
  if (km_conn_explain(w->conn, &ex) != 0) {
    const km_errinfo err = {.code = KM_ERR_NOMEM};
    return cli_error(&w->n.out, CLI_EXIT_FAILED, &err);
  }
  int status = ex->path.kind == KM_PATH_DIRECT ? CLI_EXIT_OK : CLI_EXIT_RELAYED;
  emit_explanation(w, ex);
  say_explanation(&w->n.out, ex);
  km_explanation_free(ex);
  return status;
}

static void finish(why *w) {
  w->done = true;
  node_finish(&w->n, explain(w));
}

static void on_time(void *ctx) {
  why *w = ctx;
  w->timer = NULL;
  if (!w->done && w->conn != NULL) {
    finish(w);
  }
}

static void explain_in(why *w, uint64_t ms) {
  km_timer_cancel(w->timer);
  w->timer = NULL;
  if (km_timer_start(&w->timer, w->n.loop, ms, on_time, w) != 0) {
    w->timer = NULL;
    finish(w);
  }
}

static void on_path(void *ctx, km_conn *conn, const km_path_info *path) {
  why *w = ctx;
  (void)conn;
  if (!w->done) {
    explain_in(w, path->kind == KM_PATH_DIRECT ? SETTLE_MS : w->wait_s * 1000);
  }
}

static void on_connected(void *ctx, km_conn *conn) {
  why *w = ctx;
  km_path_info path;
  w->connected = true;
  (void)km_conn_path(conn, &path);
  on_path(ctx, conn, &path);
}

static void on_conn_closed(void *ctx, km_conn *conn, const km_close_info *info) {
  why *w = ctx;
  (void)conn;
  end_progress(w);
  if (!w->done && info->error != KM_OK) {
    w->done = true;
    if (w->connected) {
      (void)explain(w);
    }
    km_errinfo err = {.code = info->error, .peer_code = info->code};
    (void)snprintf(err.text, sizeof err.text, "%s", info->text);
    int status = cli_status_of(info->error);
    bool lost = w->connected && status == CLI_EXIT_FAILED;
    node_finish(&w->n, cli_error(&w->n.out, lost ? CLI_EXIT_LOST : status, &err));
  }
  w->conn = NULL;
  node_finish(&w->n, CLI_EXIT_OK);
}

static void dial(why *w, const km_addr *addr, const char *alpn) {
  static const km_conn_callbacks callbacks = {.size = sizeof callbacks,
                                              .on_connected = on_connected,
                                              .on_path = on_path,
                                              .on_closed = on_conn_closed};
  const km_dial_options options = {.size = sizeof options,
                                   .timeout_ms = (uint32_t)(w->timeout_s * 1000)};
  km_errinfo err;
  int rv = km_endpoint_dial(w->n.endpoint, &w->conn, addr, alpn, &callbacks, w, &options, &err);
  if (rv == KM_ERR_NO_ADDRESS && km_addr_udp_count(addr) + km_addr_relay_count(addr) == 0) {
    (void)snprintf(err.text, sizeof err.text, "%s", NODE_NO_ADDRESS);
  }
  if (rv != 0) {
    w->done = true;
    node_fail(&w->n, &err);
  }
}

static int run(why *w, const node_options *o, const km_addr *addr, const char *alpn) {
  int status = node_open(&w->n, o);
  if (status != CLI_EXIT_OK) {
    return status;
  }
  dial(w, addr, alpn);
  start_tick(w);
  while (w->n.endpoint != NULL) {
    (void)km_loop_run(w->n.loop);
  }
  end_progress(w);
  km_timer_cancel(w->timer);
  km_timer_cancel(w->tick);
  return node_run(&w->n);
}

/* The word is no id, and no node is there to ask for a name. */
static int nobody_knows(const cli_output *out, const char *word) {
  km_errinfo err;
  km_id id;
  (void)!km_id_parse(&id, word, strlen(word), &err);
  char text[sizeof err.text];
  (void)snprintf(text, sizeof text, "%s", err.text);
  (void)km_fail(&err, KM_ERR_BAD_ID,
                "%.120s; nor is it a name here, which a node that runs would know: km-node run",
                text);
  return cli_error(out, CLI_EXIT_USAGE, &err);
}

int cmd_why(int argc, char **argv) {
  node_options o = {.dials = true};
  why w = {.n = {.stop_status = 130}, .wait_s = DEFAULT_WAIT_S};
  cli_list addrs = {0};
  const char *alpn = NODE_DEFAULT_ALPN;
  ctl_options mesh = {0};
  cli_option options[NODE_OPTIONS_MAX] = {
      {"--config", CLI_TEXT, &mesh.config, "FILE",
       "of NAME: the project whose node runs (default $KM_PROJECT, or here)", 0, 0},
      {"--addr", CLI_LIST, &addrs, "IP:PORT", "where to try (again for more)", 0, 0},
      {"--alpn", CLI_TEXT, &alpn, "NAME", "protocol to ask for (default " NODE_DEFAULT_ALPN ")", 0,
       0},
      {"--wait", CLI_NUMBER, &w.wait_s, "SECONDS", "for a direct path (default 10)", 1, 600},
      {"--timeout", CLI_NUMBER, &w.timeout_s, "SECONDS",
       "to connect (30, more where a relay is far)", 1, 600},
  };
  node_add_options(options, &o);
  node_add_discovery(options, &o);
  const cli_command command = {
      .name = "km-node why",
      .usage = "km-node why TICKET|ID|NAME [--addr IP:PORT]... [--relay URL]... [--wait SECONDS]",
      .about =
          "Dials a node, waits for a direct path, and says why there is one or not: the "
          "reason,\n"
          "what to change, both NATs, every address that was tried, and what happened when.\n"
          "A NAME is that of a peer of the node that runs on this project; it is not dialled,\n"
          "but the connection that the node has is explained.\n"
          "Exit status: 0 direct, 7 relayed, 2 bad arguments, 3 unreachable, 4 another key\n"
          "answered, 5 ALPN refused, 6 connection lost.",
      .example = "  km-node why endpointab43kv... --wait 20\n"
                 "  km-node why bob",
      .options = options,
      .min_words = 1,
      .max_words = 1,
  };
  km_errinfo err;
  cli_words words;
  cli_result result = cli_parse(&command, argc, argv, &words, &err);
  cli_output_init(&w.n.out, o.json);
  if (result != CLI_RUN) {
    return result == CLI_HELPED ? CLI_EXIT_OK : cli_error(&w.n.out, CLI_EXIT_USAGE, &err);
  }
  if (why_peer_is_name(words.at[0])) {
    mesh.json = o.json;
    int asked = why_peer(&mesh, words.at[0]);
    return asked >= 0 ? asked : nobody_knows(&w.n.out, words.at[0]);
  }
  km_addr *addr;
  const cli_list relays = node_take_relays(&o);
  int status = node_parse_peer(&w.n.out, &addr, words.at[0], &addrs, &relays);
  if (status != CLI_EXIT_OK) {
    return status;
  }
  status = run(&w, &o, addr, alpn);
  km_addr_free(addr);
  return status;
}
