/* km-netlab-transfer: sends or receives so many bytes over one connection, on the public API alone,
 * and says each thing that happens as a JSON object a line, with the time by the monotonic clock:
 *
 *   ready, connected, path, progress (each 100 ms), gap (no byte for --gap ms), received (hash, and
 *   the longest gap), sent (hash, once all is acknowledged), paths, stats, closed
 *
 * Either side sends. A test program, never installed. */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <keymesh/keymesh.h>

#include "test/netlab/transfer_flow.h"
#include "test/netlab/transfer_options.h"

#define ALPN "km/netlab-transfer/1"
#define PROGRESS_MS 100
#define MAX_PATHS 16

typedef struct transfer {
  transfer_options options;
  km_loop *loop;
  km_endpoint *endpoint; /* NULL once it is closed */
  km_conn *conn;         /* NULL while there is none */
  km_stream *out;        /* NULL while nothing is sent */
  km_timer *timer;
  flow_source source;
  flow_sink sink;
  uint64_t told; /* bytes of the last progress */
  bool wanted;   /* sending may begin */
  bool sent;     /* all of it, acknowledged */
  bool received; /* all of it */
  bool failed;
  char line[64]; /* of standard input, as far as it came */
  size_t line_len;
  bool input_over;
} transfer;

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

static double seconds(uint64_t ns) {
  return (double)ns / 1e9;
}

static double ms(uint64_t ns) {
  return (double)ns / 1e6;
}

/* --- what is said ----------------------------------------------------------------------------- */

static void begin(const char *event) {
  printf("{\"event\":\"%s\",\"time\":%.6f", event, seconds(now_ns()));
}

static void end(void) {
  puts("}");
  fflush(stdout);
}

/* Texts of the library and of peers: what would need escapes is left out. */
static void add_text(const char *name, const char *text) {
  printf(",\"%s\":\"", name);
  for (; *text != '\0'; text++) {
    if (*text >= ' ' && *text <= '~' && *text != '"' && *text != '\\') {
      putchar(*text);
    }
  }
  putchar('"');
}

static const char *kind_name(km_path_kind kind) {
  return kind == KM_PATH_DIRECT ? "direct" : kind == KM_PATH_RELAY ? "relay" : "none";
}

static void add_address(const char *name, const km_udp_addr *addr) {
  char text[KM_UDP_ADDR_TEXT_CAP] = "";
  (void)km_udp_addr_format(addr, text, sizeof text);
  add_text(name, text);
}

static void add_path(const km_path_info *path) {
  add_text("kind", kind_name(path->kind));
  if (path->kind == KM_PATH_DIRECT) {
    add_address("remote", &path->remote);
    add_address("local", &path->local);
  } else if (path->kind == KM_PATH_RELAY && path->relay_url != NULL) {
    add_text("relay", path->relay_url);
  }
  printf(",\"rtt_ms\":%.3f,\"selected\":%s,\"validated\":%s,\"tx_bytes\":%" PRIu64
         ",\"rx_bytes\":%" PRIu64,
         (double)path->rtt_us / 1e3, path->selected ? "true" : "false",
         path->validated ? "true" : "false", path->tx_bytes, path->rx_bytes);
}

static void say_error(const transfer *t, const char *what, const km_errinfo *err) {
  (void)t;
  begin("error");
  add_text("what", what);
  add_text("text", err->text);
  end();
}

static const char *path_now(const transfer *t) {
  km_path_info path = {.kind = KM_PATH_NONE};
  if (t->conn == NULL || km_conn_path(t->conn, &path) != 0) {
    return "none";
  }
  return kind_name(path.kind);
}

static void say_paths(const transfer *t) {
  km_path_info paths[MAX_PATHS];
  size_t count = t->conn == NULL ? 0 : km_conn_paths(t->conn, paths, MAX_PATHS);
  begin("paths");
  printf(",\"paths\":[");
  for (size_t i = 0; i < count; i++) {
    printf("%s{\"number\":%zu", i == 0 ? "" : ",", i);
    add_path(&paths[i]);
    putchar('}');
  }
  putchar(']');
  end();
}

static void say_stats(const transfer *t) {
  km_conn_stats s = {.size = sizeof s};
  if (t->conn == NULL || km_conn_get_stats(t->conn, &s) != 0) {
    return;
  }
  begin("stats");
  printf(",\"rtt_ms\":%.3f,\"cwnd\":%" PRIu64 ",\"in_flight\":%" PRIu64 ",\"tx_packets\":%" PRIu64
         ",\"rx_packets\":%" PRIu64 ",\"lost_packets\":%" PRIu64 ",\"migrations\":%" PRIu64
         ",\"mtu\":%" PRIu32,
         (double)s.rtt_us / 1e3, s.cwnd_bytes, s.bytes_in_flight, s.tx_packets, s.rx_packets,
         s.lost_packets, s.migrations, s.mtu);
  add_text("path", path_now(t));
  end();
}

static void say_received(transfer *t) {
  char hash[2 * FLOW_HASH_LEN + 1];
  const flow_sink *s = &t->sink;
  flow_hash_text(&t->sink.hash, hash);
  begin("received");
  printf(",\"bytes\":%" PRIu64 ",\"seconds\":%.6f,\"longest_gap_ms\":%.3f,\"longest_gap_at\":%.6f",
         s->bytes, seconds(s->last - s->first), ms(s->longest.ns), seconds(s->longest.from));
  add_text("hash", hash);
  add_text("path", path_now(t));
  end();
}

static void say_sent(transfer *t) {
  char hash[2 * FLOW_HASH_LEN + 1];
  flow_hash_text(&t->source.hash, hash);
  begin("sent");
  printf(",\"bytes\":%" PRIu64, t->options.send);
  add_text("hash", hash);
  add_text("path", path_now(t));
  end();
}

/* --- sending ---------------------------------------------------------------------------------- */

static void finish_if_done(transfer *t);

static void fill(void *ctx, km_stream *stream) {
  transfer *t = ctx;
  km_errinfo err = {0};
  for (;;) {
    size_t len, taken = 0;
    bool last;
    const uint8_t *data = flow_source_next(&t->source, &len, &last);
    if (len == 0) {
      return; /* all was taken, the end included */
    }
    if (km_stream_write(stream, data, len, last, &taken, &err) != 0) {
      say_error(t, "write", &err);
      t->failed = true;
      km_conn_close(t->conn, 1, NULL, 0);
      return;
    }
    flow_source_taken(&t->source, taken);
    if (taken < len) {
      return; /* on_writable goes on */
    }
  }
}

static void on_delivered(void *ctx, km_stream *stream) {
  transfer *t = ctx;
  (void)stream;
  t->sent = true;
  say_sent(t);
  finish_if_done(t);
}

static void on_out_closed(void *ctx, km_stream *stream, int error) {
  transfer *t = ctx;
  (void)stream;
  t->out = NULL;
  if (error != 0 && error != KM_ERR_CLOSED) {
    begin("error");
    add_text("what", "stream");
    add_text("text", km_strerror(error));
    end();
    t->failed = true;
  }
}

static void start_sending(transfer *t) {
  static const km_stream_callbacks callbacks = {.size = sizeof callbacks,
                                                .on_writable = fill,
                                                .on_delivered = on_delivered,
                                                .on_closed = on_out_closed};
  if (!t->wanted || t->options.send == 0 || t->out != NULL || t->sent || t->conn == NULL ||
      !km_conn_is_connected(t->conn)) {
    return;
  }
  int rv = km_conn_open_stream(t->conn, &t->out, false, &callbacks, t);
  if (rv != 0) {
    begin("error");
    add_text("what", "open stream");
    add_text("text", km_strerror(rv));
    end();
    t->failed = true;
    return;
  }
  begin("sending");
  end();
  flow_source_init(&t->source, t->options.send, now_ns());
  fill(t, t->out);
}

/* --- receiving -------------------------------------------------------------------------------- */

static void on_data(void *ctx, km_stream *stream, const void *data, size_t len, bool fin) {
  transfer *t = ctx;
  (void)stream;
  if (len > 0) {
    flow_gap gap = flow_sink_take(&t->sink, now_ns(), data, len);
    if (gap.ns >= (uint64_t)t->options.gap_ms * 1000000) {
      begin("gap");
      printf(",\"from\":%.6f,\"ms\":%.3f,\"bytes\":%" PRIu64, seconds(gap.from), ms(gap.ns),
             t->sink.bytes - len);
      add_text("path", path_now(t));
      end();
    }
  }
  if (fin) {
    t->received = true;
    say_received(t);
  }
}

static void on_progress(void *ctx);

static void keep_telling(transfer *t) {
  if (t->timer == NULL && km_timer_start(&t->timer, t->loop, PROGRESS_MS, on_progress, t) != 0) {
    t->timer = NULL;
  }
}

static void on_progress(void *ctx) {
  transfer *t = ctx;
  t->timer = NULL;
  if (t->received || t->conn == NULL) {
    return;
  }
  if (t->sink.bytes != t->told) {
    begin("progress");
    printf(",\"bytes\":%" PRIu64, t->sink.bytes);
    add_text("path", path_now(t));
    end();
    t->told = t->sink.bytes;
  }
  keep_telling(t);
}

static void on_stream(void *ctx, km_conn *conn, km_stream *stream) {
  static const km_stream_callbacks callbacks = {.size = sizeof callbacks, .on_data = on_data};
  transfer *t = ctx;
  if (conn != t->conn || t->sink.bytes > 0) {
    (void)km_stream_stop(stream, 1);
    return;
  }
  km_stream_set_callbacks(stream, &callbacks, t);
  keep_telling(t);
}

/* --- the connection --------------------------------------------------------------------------- */

/* Whoever sends ends it: all was acknowledged then. */
static void finish_if_done(transfer *t) {
  if (t->sent && !t->options.hold) {
    km_conn_close(t->conn, 0, NULL, 0);
  }
}

static void on_connected(void *ctx, km_conn *conn) {
  transfer *t = ctx;
  km_path_info path = {.kind = KM_PATH_NONE};
  char id[KM_ID_TEXT_CAP] = "";
  if (t->conn != NULL && t->conn != conn) {
    return; /* it may stay; what it sends is not wanted */
  }
  t->conn = conn;
  (void)km_conn_path(conn, &path);
  (void)km_id_format(km_conn_remote_id(conn), KM_ID_HEX, id, sizeof id);
  begin("connected");
  add_text("peer", id);
  add_path(&path);
  end();
  start_sending(t);
}

static void on_path(void *ctx, km_conn *conn, const km_path_info *path) {
  (void)ctx;
  (void)conn;
  begin("path");
  add_path(path);
  end();
}

static void on_closed(void *ctx, km_conn *conn, const km_close_info *info) {
  transfer *t = ctx;
  if (conn != t->conn) {
    return;
  }
  bool good = info->error == 0 || (info->error == KM_ERR_CLOSED_BY_PEER && info->application);
  t->failed = t->failed || !good || info->code != 0;
  t->conn = NULL;
  begin("closed");
  add_text("error", info->error == 0 ? "" : km_error_name(info->error));
  add_text("text", info->text);
  printf(",\"code\":%" PRIu64 ",\"bytes\":%" PRIu64, info->code, t->sink.bytes);
  end();
  if (!t->options.hold) {
    km_endpoint_close(t->endpoint);
  }
}

static const km_conn_callbacks conn_callbacks = {.size = sizeof conn_callbacks,
                                                 .on_connected = on_connected,
                                                 .on_stream = on_stream,
                                                 .on_path = on_path,
                                                 .on_closed = on_closed};

static int peer_addr(km_addr **ret, const transfer_options *o, km_errinfo *err) {
  size_t len = strlen(o->peer);
  km_id id;
  if (strncmp(o->peer, "endpoint", 8) == 0) {
    return km_ticket_parse(ret, o->peer, len, err);
  }
  int rv = km_id_parse(&id, o->peer, len, err);
  rv = rv != 0 ? rv : km_addr_new(ret, &id);
  for (size_t i = 0; rv == 0 && i < o->relay_count; i++) {
    rv = km_addr_add_relay(*ret, o->relays[i], strlen(o->relays[i]), err);
  }
  return rv;
}

static int dial(transfer *t, km_errinfo *err) {
  km_addr *addr = NULL;
  int rv = peer_addr(&addr, &t->options, err);
  if (rv == 0) {
    rv = km_endpoint_dial(t->endpoint, &t->conn, addr, ALPN, &conn_callbacks, t, NULL, err);
  }
  km_addr_free(addr);
  return rv;
}

static int start(transfer *t, km_errinfo *err) {
  km_protocol protocol = {.size = sizeof protocol, .alpn = ALPN, .conn = conn_callbacks, .ctx = t};
  if (t->options.peer != NULL) {
    return dial(t, err);
  }
  return km_endpoint_add_protocol(t->endpoint, &protocol, err);
}

static void say_ready(transfer *t) {
  km_addr *addr = NULL;
  char id[KM_ID_TEXT_CAP] = "", ticket[KM_TICKET_MAX] = "";
  if (km_endpoint_addr(t->endpoint, &addr) == 0) {
    if (km_ticket_format(addr, ticket, sizeof ticket, NULL) != 0) {
      ticket[0] = '\0';
    }
    km_addr_free(addr);
  }
  (void)km_id_format(km_endpoint_id(t->endpoint), KM_ID_HEX, id, sizeof id);
  const char *home = km_endpoint_home_relay(t->endpoint);
  begin("ready");
  add_text("id", id);
  add_text("ticket", ticket);
  add_text("home", home == NULL ? "" : home);
  end();
}

static void on_home_relay(void *ctx, km_endpoint *endpoint) {
  transfer *t = ctx;
  (void)endpoint;
  say_ready(t); /* again each time that it changes */
}

static void on_endpoint_closed(void *ctx, km_endpoint *endpoint) {
  transfer *t = ctx;
  (void)endpoint;
  t->endpoint = NULL;
}

static int open_endpoint(transfer *t, km_errinfo *err) {
  const transfer_options *o = &t->options;
  km_endpoint_options opt;
  km_secret_key *key = NULL;
  int rv = 0;
  km_endpoint_options_default(&opt);
  if (o->key != NULL) {
    rv = km_secret_key_parse(&key, o->key, strlen(o->key), err);
  }
  if (rv == 0 && o->log != NULL) {
    rv = km_log_filter_parse(&opt.log_filter, o->log, err);
    opt.log = km_log_to_stderr;
  }
  if (o->relay_count > 0) {
    opt.relay_mode = KM_RELAY_MODE_CUSTOM;
    opt.relay_urls = o->relays;
    opt.relay_url_count = o->relay_count;
  }
  if (o->timeout_ms > 0) {
    opt.handshake_timeout_ms = opt.idle_timeout_ms = o->timeout_ms;
  }
  opt.bind = &o->bind;
  opt.bind_count = o->bind.family != 0;
  opt.congestion = o->congestion;
  opt.secret_key = key;
  opt.callbacks.on_home_relay = on_home_relay;
  opt.callbacks.on_closed = on_endpoint_closed;
  opt.ctx = t;
  rv = rv != 0 ? rv : km_endpoint_open(&t->endpoint, t->loop, &opt, err);
  km_secret_key_free(key);
  return rv;
}

/* --- standard input --------------------------------------------------------------------------- */

static void obey(transfer *t, const char *line) {
  if (strcmp(line, "go") == 0) {
    t->wanted = true;
    start_sending(t);
  } else if (strcmp(line, "paths") == 0) {
    say_paths(t);
  } else if (strcmp(line, "stats") == 0) {
    say_stats(t);
  } else if (strcmp(line, "network") == 0) {
    km_endpoint_network_changed(t->endpoint);
  } else if (strcmp(line, "quit") == 0) {
    t->input_over = true;
  } else {
    fprintf(stderr, "km-netlab-transfer: what is '%s'?\n", line);
  }
}

static void read_input(transfer *t) {
  ssize_t n = read(STDIN_FILENO, t->line + t->line_len, sizeof t->line - 1 - t->line_len);
  if (n <= 0) {
    t->input_over = true;
    return;
  }
  t->line_len += (size_t)n;
  t->line[t->line_len] = '\0';
  char *from = t->line, *newline;
  while ((newline = strchr(from, '\n')) != NULL && !t->input_over) {
    *newline = '\0';
    obey(t, from);
    from = newline + 1;
  }
  t->line_len -= (size_t)(from - t->line);
  memmove(t->line, from, t->line_len + 1);
  t->input_over = t->input_over || t->line_len == sizeof t->line - 1;
}

static void turn(transfer *t) {
  bool listen = t->options.hold && !t->input_over;
  struct pollfd fds[] = {{km_loop_fd(t->loop), POLLIN, 0}, {listen ? STDIN_FILENO : -1, POLLIN, 0}};
  (void)poll(fds, 2, km_loop_timeout_ms(t->loop));
  if (fds[1].revents != 0) {
    read_input(t);
    if (t->input_over) {
      km_endpoint_close(t->endpoint);
    }
  }
  (void)km_loop_run_nowait(t->loop);
}

static int run(transfer *t) {
  km_errinfo err = {0};
  if (open_endpoint(t, &err) != 0) {
    say_error(t, "open", &err);
    return 1;
  }
  say_ready(t);
  if (start(t, &err) != 0) {
    say_error(t, "start", &err);
    t->failed = true;
    km_endpoint_close(t->endpoint);
  }
  while (t->endpoint != NULL) {
    turn(t);
  }
  km_timer_cancel(t->timer);
  bool done = t->options.send > 0 ? t->sent : t->received;
  return t->failed || !done;
}

int main(int argc, char **argv) {
  static transfer t;
  km_errinfo err = {0};
  if (transfer_options_parse(&t.options, argc, argv, &err) != 0) {
    fprintf(stderr, "km-netlab-transfer: %s\n%s", err.text, TRANSFER_USAGE);
    return 2;
  }
  if (sodium_init() < 0 || km_loop_new(&t.loop) != 0) {
    fprintf(stderr, "km-netlab-transfer: no loop to be had\n");
    return 1;
  }
  t.wanted = !t.options.hold;
  flow_sink_init(&t.sink);
  int status = run(&t);
  return km_loop_free(t.loop) != 0 ? 1 : status;
}
