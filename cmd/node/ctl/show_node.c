/* How the node itself and its connections look. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/node/ctl/show.h"

#define ERROR_SHOWN 60
#define CELL_CAP 256

/* Texts of a list, with commas between. */
static const char *join(const cJSON *object, const char *name, char buf[CELL_CAP]) {
  const cJSON *item;
  size_t used = 0;
  buf[0] = '\0';
  cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(object, name)) {
    const char *text = cJSON_GetStringValue(item);
    if (text != NULL && used < CELL_CAP - 1) {
      int n = snprintf(buf + used, CELL_CAP - used, "%s%s", used == 0 ? "" : ", ", text);
      used += n > 0 ? (size_t)n : 0;
    }
  }
  return buf;
}

static const char *size_text(double bytes, char buf[CELL_CAP]) {
  static const char *const units[] = {"B", "KiB", "MiB", "GiB"};
  size_t i = 0;
  while (i < 3 && bytes >= 1024) {
    bytes /= 1024;
    i++;
  }
  (void)snprintf(buf, CELL_CAP, i == 0 || bytes >= 10 ? "%.0f %s" : "%.1f %s", bytes, units[i]);
  return buf;
}

static const char *count_text(const cJSON *o, const char *name, char buf[CELL_CAP]) {
  (void)snprintf(buf, CELL_CAP, "%.0f", show_number(o, name));
  return buf;
}

/* --- peers ------------------------------------------------------------------------------------ */

static const char *rtt_text(const cJSON *peer, char buf[CELL_CAP]) {
  double rtt = show_number(peer, "rtt_ms");
  buf[0] = '\0';
  if (rtt > 0) {
    (void)snprintf(buf, CELL_CAP, rtt < 10 ? "%.1f ms" : "%.0f ms", rtt);
  }
  return buf;
}

static const char *peer_name(const cJSON *peer) {
  const char *name = show_text(peer, "name");
  return name[0] != '\0' ? name : show_text(peer, "node_id");
}

/* Why it is not connected, and when it is tried again. */
static const char *trouble(const show *s, const cJSON *peer, char buf[CELL_CAP]) {
  const char *error = show_text(peer, "last_error");
  char next[WHEN_TEXT_CAP] = "";
  bool planned = show_number(peer, "next_attempt") > 0;
  if (planned) {
    (void)show_time(s, peer, "next_attempt", next);
  }
  char *line = show_line(s, error, ERROR_SHOWN);
  (void)snprintf(buf, CELL_CAP, planned ? "%.*s; next try %s" : "%.*s",
                 CELL_CAP - WHEN_TEXT_CAP - 16, line == NULL ? "" : line, next);
  free(line);
  return buf;
}

static const char *sync_text(const show *s, const cJSON *peer, char buf[WHEN_TEXT_CAP]) {
  if (show_flag(peer, "syncing")) {
    (void)snprintf(buf, WHEN_TEXT_CAP, "syncing");
    return buf;
  }
  return show_time(s, peer, "last_sync_ts", buf);
}

static void row_peer(show *s, const cJSON *peer) {
  char id[SHOW_ID_CAP], rtt[CELL_CAP], error[CELL_CAP], beat[WHEN_TEXT_CAP], sync[WHEN_TEXT_CAP];
  char shares[CELL_CAP];
  bool connected = show_flag(peer, "connected");
  table_add(&s->table, (const char *const[]){
                           show_id(s, peer, "id", NULL, id), peer_name(peer),
                           show_text(peer, "state"), connected ? show_text(peer, "path") : "",
                           rtt_text(peer, rtt), show_time(s, peer, "last_heartbeat_ts", beat),
                           sync_text(s, peer, sync), show_text(peer, "addr"),
                           trouble(s, peer, error), join(peer, "allowed_shares", shares)});
}

/* --- shares ----------------------------------------------------------------------------------- */

static void row_share(show *s, const cJSON *share) {
  char entries[CELL_CAP], deleted[CELL_CAP], bytes[CELL_CAP];
  table_add(&s->table,
            (const char *const[]){show_text(share, "name"), count_text(share, "entries", entries),
                                  count_text(share, "deleted", deleted),
                                  size_text(show_number(share, "bytes"), bytes),
                                  show_text(share, "others"), show_text(share, "path")});
}

/* --- the node --------------------------------------------------------------------------------- */

static void result_health(show *s, const cJSON *o) {
  char up[WHEN_TEXT_CAP];
  cli_say(&s->out, "%s runs for %s, %.0f of %.0f peers connected", show_text(o, "node_id"),
          when_span(up, (int64_t)(show_number(o, "uptime_s") * 1000)), show_number(o, "connected"),
          show_number(o, "peers"));
}

static void say_store(show *s, const cJSON *o) {
  char bytes[CELL_CAP], entries[SHOW_COUNT_CAP], deleted[SHOW_COUNT_CAP], waiting[SHOW_COUNT_CAP];
  const cJSON *store = cJSON_GetObjectItemCaseSensitive(o, "store");
  cli_say(&s->out, "store     %s, %s; %s remembered%s%s",
          show_count(store, "entries", "entry", "entries", entries),
          size_text(show_number(store, "bytes"), bytes),
          show_count(store, "deleted", "deletion", "deletions", deleted), s->full ? ": " : "",
          s->full ? show_text(store, "path") : "");
  cli_say(&s->out, "outbox    %s",
          show_count(o, "waiting_messages", "message waits", "messages wait", waiting));
}

static void result_status(show *s, const cJSON *o) {
  char up[WHEN_TEXT_CAP], direct[CELL_CAP], syncs[SHOW_COUNT_CAP];
  const char *relay = show_text(o, "relay");
  cli_say(&s->out, "node      %s", show_text(o, "node_id"));
  cli_say(&s->out, "id        %s", show_text(o, "id"));
  cli_say(&s->out, "version   %s, runs for %s, process %.0f", show_text(o, "version"),
          when_span(up, (int64_t)(show_number(o, "uptime_s") * 1000)), show_number(o, "pid"));
  cli_say(&s->out, "address   %s%s%s", join(o, "direct", direct),
          relay[0] == '\0' ? "" : "; relay ", relay);
  if (s->full) {
    cli_say(&s->out, "ticket    %s", show_text(o, "ticket"));
    cli_say(&s->out, "config    %s", show_text(o, "config"));
  }
  cli_say(&s->out, "security  %s", show_text(o, "security_level"));
  say_store(s, o);
  cli_say(&s->out, "peers     %.0f of %.0f connected; %s, %.0f failed", show_number(o, "connected"),
          show_number(o, "peers"),
          show_count(o, "syncs", "synchronization", "synchronizations", syncs),
          show_number(o, "syncs_failed"));
}

static void result_why(show *s, const cJSON *o) {
  const cJSON *line;
  cli_say(&s->out, "%s (%s)", show_text(o, "sentence"), show_text(o, "path"));
  if (show_text(o, "advice")[0] != '\0') {
    cli_say(&s->out, "  %s", show_text(o, "advice"));
  }
  cJSON_ArrayForEach(line, cJSON_GetObjectItemCaseSensitive(o, "lines")) {
    cli_say(&s->out, "  %8.1f s  %s", show_number(line, "at_s"), show_text(line, "text"));
  }
}

static void result_sync(show *s, const cJSON *o) {
  char count[SHOW_COUNT_CAP];
  cli_say(&s->out, "synchronizing with %s", show_count(o, "peers", "peer", "peers", count));
}

static void result_asked(show *s, const cJSON *o) {
  char count[SHOW_COUNT_CAP];
  cli_say(&s->out, "asked %s for names, recommendations and revocations",
          show_count(o, "asked", "peer", "peers", count));
}

static void result_dialled(show *s, const cJSON *o) {
  char count[SHOW_COUNT_CAP];
  cli_say(&s->out, "dialling %s again",
          show_count(o, "dialled", "peer that refused us", "peers that refused us", count));
}

static void result_announced(show *s, const cJSON *o) {
  cli_say(&s->out, "all others are told that this node is called %s", show_text(o, "name"));
}

static void result_reloaded(show *s, const cJSON *o) {
  const cJSON *line;
  int count = 0;
  cJSON_ArrayForEach(line, cJSON_GetObjectItemCaseSensitive(o, "changed")) {
    cli_say(&s->out, "%s", cJSON_IsString(line) ? line->valuestring : "");
    count++;
  }
  cJSON_ArrayForEach(line, cJSON_GetObjectItemCaseSensitive(o, "restart")) {
    cli_say(&s->out, "needs a restart: %s", cJSON_IsString(line) ? line->valuestring : "");
    count++;
  }
  if (count == 0) {
    cli_say(&s->out, "nothing changed");
  }
}

static const char *const peer_heads[] = {"ID",        "NAME", "STATE",   "PATH",    ">RTT",
                                         "HEARTBEAT", "SYNC", "ADDRESS", "TROUBLE", NULL};
static const char *const peer_heads_full[] = {"ID",      "NAME",      "STATE", "PATH",
                                              ">RTT",    "HEARTBEAT", "SYNC",  "ADDRESS",
                                              "TROUBLE", "MAY READ",  NULL};
static const char *const share_heads[] = {"SHARE",  ">ENTRIES", ">DELETED", ">SIZE",
                                          "OTHERS", "PATH",     NULL};

const show_view show_node_views[] = {
    {.request = "peers",
     .event = "peer",
     .list = "peers",
     .heads = peer_heads,
     .heads_full = peer_heads_full,
     .none = "no peers: km-node peer add ID or TICKET, or name some in keymesh.yaml and km-node "
             "reload",
     .row = row_peer},
    {.request = "shares",
     .event = "share",
     .list = "shares",
     .heads = share_heads,
     .none = "no shares: name some in keymesh.yaml",
     .row = row_share},
    {.request = "health", .event = "health", .result = result_health},
    {.request = "status", .event = "status", .result = result_status},
    {.request = "why", .event = "why", .result = result_why},
    {.request = "sync", .event = "sync", .result = result_sync},
    {.request = "request-keys", .event = "asked", .result = result_asked},
    {.request = "request-access", .event = "asked", .result = result_dialled},
    {.request = "announce", .event = "announced", .result = result_announced},
    {.request = "reload", .event = "reloaded", .result = result_reloaded},
    {0},
};
