/* km-node run --once-handshake: a handshake with every configured peer, a table, an exit status. */
#include <stdlib.h>
#include <string.h>

#include "cmd/node/daemon/daemon.h"
#include "cmd/node/daemon/request_impl.h"

#define HOOK_WAIT_MS 50
#define ROUNDS 3 /* QUIC, HELLO, and to be sure */

typedef enum outcome { OUTCOME_OPEN, OUTCOME_OK, OUTCOME_FAILED } outcome;

typedef struct row {
  const project_peer *peer;
  outcome outcome;
  km_path_kind path;
  uint64_t rtt_us;
  char reason[192];
} row;

struct once {
  row *rows;
  size_t count, open;
  km_mesh_peer *peers; /* for the options */
  km_timer *timer;
  uint64_t hook_waits; /* of HOOK_WAIT_MS each */
};

/* --- the table -------------------------------------------------------------------------------- */

static const char *name_of(const row *r, char buf[KM_ID_TEXT_CAP]) {
  if (r->peer->name != NULL && r->peer->name[0] != '\0') {
    (void)snprintf(buf, KM_ID_TEXT_CAP, "%s", r->peer->name);
  } else if (r->peer->has_id) {
    (void)km_id_format(&r->peer->id, KM_ID_SHORT, buf, KM_ID_TEXT_CAP);
  } else {
    (void)snprintf(buf, KM_ID_TEXT_CAP, "%.*s", KM_PEER_NAME_MAX, r->peer->id_text);
  }
  return buf;
}

static const char *path_name(km_path_kind path) {
  static const char *const names[] = {"none", "direct", "relay"};
  return names[path];
}

static void print_row(const node_daemon *d, const row *r, int width) {
  char name[KM_ID_TEXT_CAP], rtt[24] = "-";
  bool ok = r->outcome == OUTCOME_OK;
  if (r->rtt_us > 0) {
    (void)snprintf(rtt, sizeof rtt, "%.1f ms", (double)r->rtt_us / 1000.0);
  }
  cli_say(&d->out, "%-*s  %-6s  %9s  %-6s  %s", width, name_of(r, name), ok ? "ok" : "failed", rtt,
          ok ? path_name(r->path) : "-", r->reason);
  cJSON *event = cli_event(&d->out, "handshake");
  if (event == NULL) {
    return;
  }
  if (r->peer->has_id) {
    put_id(event, "id", &r->peer->id);
  } else {
    put_text(event, "id", NULL);
  }
  put_text(event, "name", r->peer->name);
  put_flag(event, "ok", ok);
  if (r->rtt_us > 0) {
    put_number(event, "rtt_ms", (double)r->rtt_us / 1000.0);
  } else {
    put_text(event, "rtt_ms", NULL);
  }
  put_text(event, "path", path_name(ok ? r->path : KM_PATH_NONE));
  put_text(event, "reason", ok ? NULL : r->reason);
  cli_emit_to(&d->out, event);
}

static void print_table(const node_daemon *d, const once *o) {
  int width = 4;
  size_t good = 0;
  char name[KM_ID_TEXT_CAP];
  for (size_t i = 0; i < o->count; i++) {
    int len = (int)strlen(name_of(&o->rows[i], name));
    width = len > width ? len : width;
    good += o->rows[i].outcome == OUTCOME_OK ? 1 : 0;
  }
  cli_say(&d->out, "%-*s  %-6s  %9s  %-6s  %s", width, "PEER", "RESULT", "RTT", "PATH", "REASON");
  for (size_t i = 0; i < o->count; i++) {
    print_row(d, &o->rows[i], width);
  }
  cli_say(&d->out, "%zu of %zu handshakes succeeded", good, o->count);
  cJSON *event = cli_event(&d->out, "done");
  put_number(event, "ok", (double)good);
  put_number(event, "failed", (double)(o->count - good));
  cli_emit_to(&d->out, event);
}

static void on_hook_wait(void *ctx);

/* A message that came in between is the hook's: it gets its time, but no more of them come, and
 * nobody waits for ever. */
static bool wait_for_hook(node_daemon *d) {
  once *o = d->once;
  uint64_t asked_ms = d->options->timeout_s * 1000;
  uint64_t limit_ms = asked_ms != 0 && asked_ms < HOOK_LIMIT_MS ? asked_ms : HOOK_LIMIT_MS;
  if (!hook_is_busy(d->hook) || o->hook_waits++ >= limit_ms / HOOK_WAIT_MS) {
    return false;
  }
  km_mesh_close(d->node.mesh);
  return km_timer_start(&o->timer, d->loop, HOOK_WAIT_MS, on_hook_wait, d) == 0;
}

static void finish(node_daemon *d) {
  once *o = d->once;
  int status = CLI_EXIT_OK;
  if (d->stopping) {
    return;
  }
  km_timer_cancel(o->timer);
  o->timer = NULL;
  if (wait_for_hook(d)) {
    return;
  }
  for (size_t i = 0; i < o->count; i++) {
    status = o->rows[i].outcome == OUTCOME_OK ? status : CLI_EXIT_FAILED;
  }
  print_table(d, o);
  daemon_stop(d, status);
}

static void on_hook_wait(void *ctx) {
  node_daemon *d = ctx;
  d->once->timer = NULL;
  finish(d);
}

/* --- outcomes --------------------------------------------------------------------------------- */

static void settle(node_daemon *d, row *r, outcome end, const char *reason) {
  r->outcome = end;
  (void)snprintf(r->reason, sizeof r->reason, "%s", reason);
  if (--d->once->open == 0) {
    finish(d);
  }
}

static void take(node_daemon *d, row *r, const km_peer_status *peer) {
  km_path_info path = {0};
  const char *reason = peer->last_error != NULL ? peer->last_error : "it closed the connection";
  if (peer->state == KM_PEER_CONNECTED) {
    const km_conn *conn = km_peer_conn(d->node.mesh, &peer->id);
    if (conn != NULL) {
      (void)km_conn_path(conn, &path);
    }
    r->path = path.kind;
    r->rtt_us = path.rtt_us != 0 ? path.rtt_us : peer->rtt_us;
    settle(d, r, OUTCOME_OK, "");
  } else if (peer->state == KM_PEER_REFUSED) {
    settle(d, r, OUTCOME_FAILED, reason);
  } else if (peer->state == KM_PEER_WAITING && peer->attempts > 0) {
    if (d->options->timeout_s == 0) {
      settle(d, r, OUTCOME_FAILED, reason);
    } else {
      (void)snprintf(r->reason, sizeof r->reason, "%s", reason); /* it is tried again */
    }
  }
}

void once_peer(node_daemon *d, const km_peer_status *peer) {
  once *o = d->once;
  for (size_t i = 0; i < o->count && !d->stopping; i++) {
    row *r = &o->rows[i];
    if (r->outcome == OUTCOME_OPEN && r->peer->has_id && km_id_equal(&r->peer->id, &peer->id)) {
      take(d, r, peer);
    }
  }
}

static void on_timeout(void *ctx) {
  node_daemon *d = ctx;
  once *o = d->once;
  o->timer = NULL;
  for (size_t i = 0; i < o->count && !d->stopping; i++) {
    row *r = &o->rows[i];
    if (r->outcome == OUTCOME_OPEN) {
      char reason[sizeof r->reason];
      (void)snprintf(reason, sizeof reason, "%s", r->reason);
      settle(d, r, OUTCOME_FAILED, reason[0] != '\0' ? reason : "no answer in time");
    }
  }
}

/* --- start ------------------------------------------------------------------------------------ */

int once_start(node_daemon *d, km_mesh_options *options, km_errinfo *err) {
  const project *p = d->project;
  once *o = calloc(1, sizeof *o);
  if (o == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  d->once = o;
  o->rows = calloc(p->peer_count + 1, sizeof *o->rows);
  o->peers = calloc(options->peer_count + 1, sizeof *o->peers);
  if (o->rows == NULL || o->peers == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  o->count = o->open = p->peer_count;
  for (size_t i = 0; i < p->peer_count; i++) {
    o->rows[i].peer = &p->peers[i];
  }
  for (size_t i = 0; i < options->peer_count; i++) {
    o->peers[i] = options->peers[i];
    o->peers[i].dial = true; /* those as well that only dial us */
  }
  options->peers = o->peers;
  return 0;
}

void once_begin(node_daemon *d) {
  once *o = d->once;
  uint64_t limit_ms = d->options->timeout_s * 1000;
  if (limit_ms == 0) {
    limit_ms = ROUNDS * (uint64_t)d->project->connect_timeout_ms;
  }
  if (o->count == 0) {
    finish(d);
    return;
  }
  if (km_timer_start(&o->timer, d->loop, limit_ms, on_timeout, d) != 0) {
    on_timeout(d);
    return;
  }
  for (size_t i = 0; i < o->count && !d->stopping; i++) {
    if (!o->rows[i].peer->has_id) {
      settle(d, &o->rows[i], OUTCOME_FAILED, "its id is not known: put it into keymesh.yaml");
    }
  }
}

void once_free(once *o) {
  if (o != NULL) {
    km_timer_cancel(o->timer);
    free(o->rows);
    free(o->peers);
    free(o);
  }
}
