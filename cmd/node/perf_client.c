/* km-node perf client: runs the modes one after another over one connection, or many. */
#include "cmd/node/perf_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/node/report.h"

static const struct {
  const char *name;
  void (*start)(perf *p);
} modes[] = {
    {"upload", perf_bulk_start},     {"download", perf_bulk_start},
    {"latency", perf_latency_start}, {"handshake", perf_handshake_start},
    {"memory", perf_memory_start},   {"idle", perf_idle_start},
};

#define MODES (sizeof modes / sizeof modes[0])

const char *perf_mode_name(const perf *p) {
  return modes[p->mode].name;
}

void perf_fail(perf *p, int code, const char *text) {
  if (p->done) {
    return;
  }
  km_errinfo err = {.code = code};
  (void)snprintf(err.text, sizeof err.text, "%s", text);
  p->done = true;
  node_fail(&p->n, &err);
}

/* --- what the server used -------------------------------------------------------------------- */

typedef struct question {
  perf *p;
  uint8_t answer[16];
  size_t len;
  perf_then then;
} question;

static void on_answer(void *ctx, km_stream *s, const void *data, size_t len, bool fin) {
  question *q = ctx;
  (void)s;
  (void)fin;
  if (len > sizeof q->answer - q->len) {
    len = sizeof q->answer - q->len;
  }
  memcpy(q->answer + q->len, data, len);
  q->len += len;
}

static void on_answered(void *ctx, km_stream *s, int error) {
  question *q = ctx;
  perf *p = q->p;
  (void)s;
  perf_usage usage = {perf_get64(q->answer), perf_get64(q->answer + 8)};
  bool ok = error == 0 && q->len == sizeof q->answer;
  perf_then then = q->then;
  free(q);
  if (ok) {
    then(p, &usage);
  } else if (error != KM_ERR_CLOSED) {
    perf_fail(p, KM_ERR_TRANSPORT, "the server did not say what it used");
  }
}

void perf_ask_usage(perf *p, perf_then then) {
  static const km_stream_callbacks callbacks = {
      .size = sizeof callbacks, .on_data = on_answer, .on_closed = on_answered};
  question *q = calloc(1, sizeof *q);
  km_stream *s;
  if (q == NULL || km_conn_open_stream(p->conn, &s, true, &callbacks, q) != 0) {
    free(q);
    perf_fail(p, KM_ERR_NOMEM, "no stream to ask the server on");
    return;
  }
  q->p = p;
  q->then = then;
  uint8_t head[PERF_HEAD_BYTES] = {PERF_USAGE};
  size_t taken;
  int rv = km_stream_write(s, head, sizeof head, true, &taken, NULL);
  (void)rv; /* a failure ends the stream, and that is heard of */
}

/* --- modes in turn --------------------------------------------------------------------------- */

static void start_mode(perf *p) {
  while (p->mode < MODES && !p->wanted[p->mode]) {
    p->mode++;
  }
  if (p->mode == MODES) {
    p->done = true;
    km_conn_close(p->conn, 0, NULL, 0);
    return;
  }
  if (cli_watched(&p->n.out)) {
    (void)fprintf(stderr, "measuring %s ...\n", modes[p->mode].name);
  }
  modes[p->mode].start(p);
}

void perf_next_mode(perf *p) {
  p->mode++;
  start_mode(p);
}

/* --- the connection -------------------------------------------------------------------------- */

static void on_waited(void *ctx) {
  perf *p = ctx;
  p->timer = NULL;
  perf_fail(p, KM_ERR_NO_DIRECT_PATH, km_strerror(KM_ERR_NO_DIRECT_PATH));
}

static void on_connected(void *ctx, km_conn *conn) {
  perf *p = ctx;
  km_path_info path = {.kind = KM_PATH_NONE};
  if (p->wait_direct_s == 0) {
    start_mode(p);
    return;
  }
  report_connected(&p->n, conn);
  if (km_conn_path(conn, &path) == 0 && path.kind == KM_PATH_DIRECT) {
    start_mode(p);
    return;
  }
  p->waiting = true;
  if (km_timer_start(&p->timer, p->n.loop, p->wait_direct_s * 1000, on_waited, p) != 0) {
    perf_fail(p, KM_ERR_NOMEM, "out of memory for a timer");
  }
}

static void on_path(void *ctx, km_conn *conn, const km_path_info *path) {
  perf *p = ctx;
  if (p->wait_direct_s == 0) {
    return; /* who asked for nothing but figures gets nothing else */
  }
  report_path(&p->n, conn, path);
  if (p->waiting && path->kind == KM_PATH_DIRECT) {
    p->waiting = false;
    km_timer_cancel(p->timer);
    p->timer = NULL;
    start_mode(p);
  }
}

static void on_closed(void *ctx, km_conn *conn, const km_close_info *info) {
  perf *p = ctx;
  (void)conn;
  p->conn = NULL;
  p->waiting = false;
  km_timer_cancel(p->timer);
  p->timer = NULL;
  if (!p->done) {
    perf_fail(p, info->error == KM_OK ? KM_ERR_CANCELLED : info->error,
              info->error == KM_ERR_ALPN_REFUSED ? "the peer is no km-node perf server"
                                                 : info->text);
  }
  node_finish(&p->n, CLI_EXIT_OK);
}

static int run(perf *p, const node_options *o) {
  static const km_conn_callbacks callbacks = {.size = sizeof callbacks,
                                              .on_connected = on_connected,
                                              .on_path = on_path,
                                              .on_closed = on_closed};
  int status = node_open(&p->n, o);
  if (status != CLI_EXIT_OK) {
    return status;
  }
  km_errinfo err;
  int rv = km_endpoint_dial(p->n.endpoint, &p->conn, p->addr, PERF_ALPN, &callbacks, p, NULL, &err);
  if (rv != 0) {
    p->done = true;
    node_fail(&p->n, &err);
  }
  return node_run(&p->n);
}

static int choose(perf *p, const char *name) {
  bool any = false;
  bool all = strcmp(name, "all") == 0;
  for (size_t i = 0; i < MODES; i++) {
    bool measures = modes[i].start != perf_idle_start; /* seconds would tell nothing of a minute */
    p->wanted[i] = (all && measures) || strcmp(name, modes[i].name) == 0;
    any = any || p->wanted[i];
  }
  return any ? 0 : KM_ERR_INVALID;
}

int perf_client(int argc, char **argv) {
  node_options o = {0};
  perf p = {.n = {.stop_status = 130},
            .streams = 1,
            .seconds = 5,
            .size = 64,
            .connections = 500,
            .parallel = 1};
  const char *mode = "all";
  cli_option options[NODE_OPTIONS_MAX] = {
      {"--mode", CLI_TEXT, &mode, "NAME",
       "upload, download, latency, handshake, memory, all (default) or idle", 0, 0},
      {"--streams", CLI_NUMBER, &p.streams, "N", "upload, download: streams at once (1)", 1, 100},
      {"--time", CLI_NUMBER, &p.seconds, "S", "seconds a mode (5)", 1, 3600},
      {"--size", CLI_NUMBER, &p.size, "BYTES", "latency: bytes of request and answer (64)", 0,
       PERF_REQUEST_MAX},
      {"--conns", CLI_NUMBER, &p.connections, "N", "memory: idle connections (500)", 1, 50000},
      {"--parallel", CLI_NUMBER, &p.parallel, "N", "handshake: dials at once (1)", 1, 64},
      {"--wait-direct", CLI_NUMBER, &p.wait_direct_s, "SECONDS",
       "for a direct path, at most so long, before the first mode", 1, 600},
  };
  node_add_options(options, &o);
  const cli_command command = {
      .name = "km-node perf client",
      .usage = "km-node perf client TICKET [--mode NAME] [--time S]",
      .about =
          "Measures against a km-node perf server: goodput up and down with the CPU seconds a\n"
          "gigabyte of each side, request latency, handshakes a second, memory a connection.",
      .example = "  km-node perf client endpointab43kv... --mode upload --streams 4",
      .options = options,
      .min_words = 1,
      .max_words = 1,
  };
  km_errinfo err;
  cli_words words;
  cli_result result = cli_parse(&command, argc, argv, &words, &err);
  cli_output_init(&p.n.out, o.json);
  if (result != CLI_RUN) {
    return result == CLI_HELPED ? CLI_EXIT_OK : cli_error(&p.n.out, CLI_EXIT_USAGE, &err);
  }
  if (choose(&p, mode) != 0) {
    err.code = KM_ERR_INVALID;
    (void)snprintf(err.text, sizeof err.text,
                   "--mode is upload, download, latency, handshake, memory, idle or all");
    return cli_error(&p.n.out, CLI_EXIT_USAGE, &err);
  }
  const cli_list none = {0};
  int status = node_parse_peer(&p.n.out, &p.addr, words.at[0], &none, NULL);
  if (status == CLI_EXIT_OK) {
    status = run(&p, &o);
    km_addr_free(p.addr);
  }
  return status;
}
