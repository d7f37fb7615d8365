/* km-node node2: dials, sends, checks the echo. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/node/report.h"
#include "cmd/node/source_io.h"

#define CHUNK 65536
#define FILE_CHANGED "the file changed or cannot be read any more"
#define DEFAULT_TIMEOUT_S 30
#define PROGRESS_BYTES (8u << 20) /* files from here on take long enough to show it */

typedef struct dialler {
  node n;
  km_conn *conn;
  km_stream *stream;
  km_timer *timer;
  source *source;
  uint64_t count, timeout_s; /* timeout_s 0: the default, longer where a relay is far */
  uint64_t wait_direct_s;    /* for a direct path, before anything is sent; 0: not at all */
  uint64_t round;            /* echoes that came back whole */
  uint64_t sent, received;   /* of this round */
  uint64_t total;            /* bytes echoed in all rounds */
  uint64_t seen_at_timeout;  /* progress when the timer was set */
  int percent;               /* shown last; -1: none */
  bool connected, waiting, done;
} dialler;

/* --- for who waits --------------------------------------------------------------------------- */

static void show_progress(dialler *d) {
  uint64_t size = source_size(d->source);
  if (size < PROGRESS_BYTES || !cli_watched(&d->n.out)) {
    return;
  }
  int percent = (int)(d->received * 100 / size);
  if (percent != d->percent) {
    (void)fprintf(stderr, "\r%3d %%", percent);
    d->percent = percent;
  }
}

static void end_progress(dialler *d) {
  if (d->percent >= 0) {
    (void)fputc('\n', stderr);
    d->percent = -1;
  }
}

/* --- time ------------------------------------------------------------------------------------ */

static void set_timer(dialler *d);

static uint64_t patience_s(const dialler *d) {
  return d->timeout_s != 0 ? d->timeout_s : DEFAULT_TIMEOUT_S;
}

static uint64_t progress(const dialler *d) {
  return d->total + d->sent + d->received + d->round;
}

static void on_timeout(void *ctx) {
  dialler *d = ctx;
  d->timer = NULL;
  if (d->done) {
    return;
  }
  if (progress(d) != d->seen_at_timeout) {
    set_timer(d); /* slow is not stuck */
    return;
  }
  end_progress(d);
  km_errinfo err = {.code = KM_ERR_IDLE_TIMEOUT};
  (void)snprintf(err.text, sizeof err.text, "connected, but the echo did not come for %llu s",
                 (unsigned long long)patience_s(d));
  d->done = true;
  node_fail(&d->n, &err);
}

static void set_timer(dialler *d) {
  d->seen_at_timeout = progress(d);
  if (km_timer_start(&d->timer, d->n.loop, patience_s(d) * 1000, on_timeout, d) != 0) {
    d->timer = NULL;
  }
}

/* --- the echo -------------------------------------------------------------------------------- */

static void fail(dialler *d, int code, const char *text) {
  if (d->done) {
    return;
  }
  km_errinfo err = {.code = code};
  (void)snprintf(err.text, sizeof err.text, "%s", text);
  d->done = true;
  end_progress(d);
  node_fail(&d->n, &err);
}

static void send_more(dialler *d) {
  uint8_t buf[CHUNK];
  uint64_t size = source_size(d->source);
  for (;;) {
    size_t len = size - d->sent < CHUNK ? (size_t)(size - d->sent) : CHUNK;
    size_t taken = 0;
    if (!source_read(d->source, d->sent, buf, len)) {
      fail(d, KM_ERR_IO, FILE_CHANGED);
      return;
    }
    bool last = d->sent + len == size;
    if (km_stream_write(d->stream, buf, len, last, &taken, NULL) != 0) {
      return; /* the stream's end tells why */
    }
    d->sent += taken;
    if (taken < len || last) {
      return;
    }
  }
}

static void finish(dialler *d);
static void next_round(dialler *d);

static void on_data(void *ctx, km_stream *s, const void *data, size_t len, bool fin) {
  dialler *d = ctx;
  (void)s;
  int rv = source_compare(d->source, d->received, data, len);
  if (rv != 0) {
    fail(d, rv, rv == KM_ERR_IO ? FILE_CHANGED : "the echo differs from what was sent");
    return;
  }
  d->received += len;
  show_progress(d);
  if (fin && d->received != source_size(d->source)) {
    fail(d, KM_ERR_STREAM_RESET, "the echo is shorter than what was sent");
  }
}

static void on_writable(void *ctx, km_stream *s) {
  (void)s;
  send_more(ctx);
}

static void on_stream_closed(void *ctx, km_stream *s, int error) {
  dialler *d = ctx;
  d->stream = NULL;
  if (d->done || error == KM_ERR_CLOSED) {
    return;
  }
  if (error != 0) {
    fail(d, error, "the peer broke the stream off");
    return;
  }
  end_progress(d);
  report_stream(&d->n, d->conn, s, d->received, d->sent);
  d->total += d->received;
  if (++d->round == d->count) {
    finish(d);
  } else {
    next_round(d);
  }
}

static void next_round(dialler *d) {
  static const km_stream_callbacks callbacks = {
      .size = sizeof callbacks,
      .on_data = on_data,
      .on_writable = on_writable,
      .on_closed = on_stream_closed,
  };
  d->sent = d->received = 0;
  int rv = km_conn_open_stream(d->conn, &d->stream, true, &callbacks, d);
  if (rv != 0) {
    fail(d, rv, "the peer allows no stream");
    return;
  }
  send_more(d);
}

static void finish(dialler *d) {
  km_conn_stats stats = {.size = sizeof stats};
  km_path_info path;
  char addr[CLI_PATH_TEXT_CAP];
  (void)km_conn_get_stats(d->conn, &stats);
  (void)km_conn_path(d->conn, &path);
  cli_say(&d->n.out, "echo is right: %llu x %llu bytes over %s %s, rtt %.2f ms",
          (unsigned long long)d->count, (unsigned long long)source_size(d->source),
          cli_path_name(&path), cli_path_addr(&path, addr), (double)stats.rtt_us / 1000);
  d->done = true;
  km_conn_close(d->conn, 0, NULL, 0);
}

/* --- the connection -------------------------------------------------------------------------- */

static void start_sending(dialler *d) {
  km_timer_cancel(d->timer);
  d->waiting = false;
  set_timer(d);
  next_round(d);
}

static void on_waited(void *ctx) {
  dialler *d = ctx;
  d->timer = NULL;
  cli_say(&d->n.out, "not direct after %llu s, going on over the relay",
          (unsigned long long)d->wait_direct_s);
  start_sending(d);
}

static void on_connected(void *ctx, km_conn *conn) {
  dialler *d = ctx;
  km_path_info path;
  d->connected = true;
  report_connected(&d->n, conn);
  (void)km_conn_path(conn, &path);
  if (d->wait_direct_s == 0 || path.kind == KM_PATH_DIRECT ||
      km_timer_start(&d->timer, d->n.loop, d->wait_direct_s * 1000, on_waited, d) != 0) {
    start_sending(d);
    return;
  }
  d->waiting = true;
}

static void on_path(void *ctx, km_conn *conn, const km_path_info *path) {
  dialler *d = ctx;
  report_path(&d->n, conn, path);
  if (d->waiting && path->kind == KM_PATH_DIRECT) {
    start_sending(d);
  }
}

static void on_conn_closed(void *ctx, km_conn *conn, const km_close_info *info) {
  dialler *d = ctx;
  end_progress(d);
  km_timer_cancel(d->timer);
  d->timer = NULL;
  d->waiting = false;
  if (d->connected) {
    report_closed(&d->n, conn, info);
  }
  d->conn = NULL;
  if (!d->done && info->error != KM_OK) {
    d->done = true;
    km_errinfo err = {.code = info->error, .peer_code = info->code};
    (void)snprintf(err.text, sizeof err.text, "%s", info->text);
    node_finish(&d->n, cli_error(&d->n.out,
                                 d->connected && cli_status_of(info->error) == CLI_EXIT_FAILED
                                     ? CLI_EXIT_LOST
                                     : cli_status_of(info->error),
                                 &err));
    return;
  }
  node_finish(&d->n, d->done ? d->n.status : CLI_EXIT_OK);
}

static void dial(dialler *d, const km_addr *addr, const char *alpn) {
  static const km_conn_callbacks callbacks = {
      .size = sizeof callbacks,
      .on_connected = on_connected,
      .on_path = on_path,
      .on_closed = on_conn_closed,
  };
  const km_dial_options options = {.size = sizeof options,
                                   .timeout_ms = (uint32_t)(d->timeout_s * 1000)};
  km_errinfo err;
  int rv = km_endpoint_dial(d->n.endpoint, &d->conn, addr, alpn, &callbacks, d, &options, &err);
  if (rv == KM_ERR_NO_ADDRESS && km_addr_udp_count(addr) + km_addr_relay_count(addr) == 0) {
    (void)snprintf(err.text, sizeof err.text, "%s", NODE_NO_ADDRESS);
  }
  if (rv != 0) {
    d->done = true;
    node_fail(&d->n, &err);
    return;
  }
  if (cli_watched(&d->n.out)) {
    (void)fprintf(stderr, "dialling ...\n");
  }
}

static int run(dialler *d, const node_options *o, const km_addr *addr, const char *alpn) {
  int status = node_open(&d->n, o);
  if (status != CLI_EXIT_OK) {
    return status;
  }
  dial(d, addr, alpn);
  while (d->n.endpoint != NULL) {
    (void)km_loop_run(d->n.loop);
  }
  km_timer_cancel(d->timer);
  return node_run(&d->n);
}

int cmd_node2(int argc, char **argv) {
  node_options o = {.dials = true};
  dialler d = {.n = {.stop_status = 130}, .count = 1, .percent = -1};
  cli_list addrs = {0};
  const char *alpn = NODE_DEFAULT_ALPN, *text = NULL, *file = NULL;
  cli_option options[NODE_OPTIONS_MAX] = {
      {"--addr", CLI_LIST, &addrs, "IP:PORT", "where to try (again for more)", 0, 0},
      {"--alpn", CLI_TEXT, &alpn, "NAME", "protocol to ask for (default " NODE_DEFAULT_ALPN ")", 0,
       0},
      {"--send", CLI_TEXT, &text, "TEXT", "send this text", 0, 0},
      {"--file", CLI_TEXT, &file, "PATH", "send this file; - is standard input", 0, 0},
      {"--count", CLI_NUMBER, &d.count, "N", "so many times, one stream each (default 1)", 1,
       1000000},
      {"--wait-direct", CLI_NUMBER, &d.wait_direct_s, "SECONDS",
       "for a direct path, at most so long, before sending", 1, 600},
      {"--timeout", CLI_NUMBER, &d.timeout_s, "SECONDS",
       "to connect (30, more where a relay is far), and without progress", 1, 600},
  };
  node_add_options(options, &o);
  node_add_discovery(options, &o);
  const cli_command command = {
      .name = "km-node node2",
      .usage = "km-node node2 TICKET|ID [--addr IP:PORT]... [--relay URL]... [--send TEXT | --file "
               "PATH]",
      .about =
          "Dials a node by ticket, or by id and addresses or relays, sends, and checks that the "
          "same\n"
          "bytes come back. Exit status: 0 the echo is right, 2 bad arguments, 3 unreachable,\n"
          "4 another key answered, 5 ALPN refused, 6 connection lost.",
      .example = "  km-node node2 endpointab43kv... --file picture.jpg",
      .options = options,
      .min_words = 1,
      .max_words = 1,
  };
  km_errinfo err;
  cli_words words;
  cli_result result = cli_parse(&command, argc, argv, &words, &err);
  cli_output_init(&d.n.out, o.json);
  if (result != CLI_RUN) {
    return result == CLI_HELPED ? CLI_EXIT_OK : cli_error(&d.n.out, CLI_EXIT_USAGE, &err);
  }
  km_addr *addr;
  const cli_list relays = node_take_relays(&o);
  int status = node_parse_peer(&d.n.out, &addr, words.at[0], &addrs, &relays);
  if (status != CLI_EXIT_OK) {
    return status;
  }
  if (source_open(&d.source, text, file, &err) != 0) {
    km_addr_free(addr);
    return cli_error(&d.n.out, cli_status_of(err.code), &err);
  }
  status = run(&d, &o, addr, alpn);
  source_close(d.source);
  km_addr_free(addr);
  return status;
}
